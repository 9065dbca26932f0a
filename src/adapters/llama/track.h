/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the adapter remembers of one sequence: its tokens, the keys of their
 * full blocks, and how many leading blocks are known to be sealed. A call that
 * brings the tokens again with some more at the end costs the hashes of the new
 * blocks only; where they differ, what lies behind is forgotten.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_TRACK_H
#define ONECOPY_ADAPTERS_LLAMA_TRACK_H

#include <onecopy/onecopy.h>
#include "base/compiler.h"

struct track {
	uint32_t block_tokens;
	uint32_t *tokens; /* of the blocks in keys */
	struct oc_key *keys;
	size_t blocks, room; /* in blocks */
	size_t sealed;	     /* leading blocks that are in the pool */
};

/* Takes tokens[0..n): afterwards keys has n / block_tokens entries, unless
 * more of an equal beginning were known. 0, -ENOMEM. */
int track_take(struct track *t, const int32_t *tokens, size_t n);
void track_fini(struct track *t);

#endif
