/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The joint hit rule: the longest usable prefix of a list of keys, given which
 * parts are present. Pure.
 *
 * A model's layers fall into KV groups with a rule each:
 *   FULL    full attention: every block of the prefix
 *   WINDOW  sliding window: the last `window` blocks of the prefix (all of
 *           them where the prefix is shorter)
 *   STATE   recurrent state: the last block of the prefix
 * A prefix of n blocks is usable when every group's rule holds at n for every
 * rank asked for. With FULL groups, n is at most the leading run of blocks
 * present; of the lengths up to there, the longest one at which the other
 * groups agree is chosen. Without a FULL group any length may be usable.
 */
#ifndef ONECOPY_INDEX_MATCH_H
#define ONECOPY_INDEX_MATCH_H

#include "base/compiler.h"

enum match_rule { MATCH_FULL, MATCH_WINDOW, MATCH_STATE };

struct match_group {
	enum match_rule rule;
	uint32_t window; /* blocks; WINDOW only, at least 1 */
};

#define MATCH_GROUPS_MAX 8

/* Is the part of `group` (all ranks asked for) of block i present? Called at
 * most once for each (group, block). */
typedef bool (*match_present)(void *ctx, unsigned group, size_t block);

/* Blocks of the longest usable prefix of n; at most MATCH_GROUPS_MAX groups. */
size_t match_prefix(const struct match_group *groups, unsigned n_groups,
		    size_t n, match_present present, void *ctx);

/* Does using a prefix of `usable` blocks need this group's part of block i? */
bool match_needs(const struct match_group *group, size_t usable, size_t block);

#endif
