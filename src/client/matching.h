/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One match under way: the joint hit rule (index/match.h) over what is resident
 * and, where `reach` is set, over what is on tiers below. Private to client/.
 */
#ifndef ONECOPY_CLIENT_MATCHING_H
#define ONECOPY_CLIENT_MATCHING_H

#include "client/reach.h"

/* In oc_pin.slot of an entry with no data: could not be pinned; not yet, but
 * perhaps it is below. */
#define SLOT_FAILED 1
#define SLOT_WANTED 2

struct matching {
	oc_ns *ns;
	const struct oc_key *keys;
	size_t n;
	unsigned first_rank, ranks;
	unsigned parts; /* groups x ranks */
	struct {
		size_t at; /* first block of the chunk; SIZE_MAX: none */
		uint64_t there;
	} chunk[MATCH_GROUPS_MAX];
	struct reach *reach; /* NULL: what is resident counts alone */
	/* When pinning: [block][group][rank]. */
	struct oc_pin *pins;
	bool only_pins;
};

/* Over the defaults, which *o has. -EINVAL with its text, as the next. */
int matching_options(const oc_client *c, const struct oc_match_options *from,
		     struct oc_match_options *o);
int matching_init(struct matching *m, oc_ns *ns, const struct oc_key *keys,
		  size_t n, int32_t rank);
/* The rank as requests name it. */
uint16_t matching_rank(const struct matching *m);
uint64_t matching_part(const struct matching *m, unsigned group, unsigned rank);
/* The longest usable prefix. A miss may be one because this client has not
 * followed the node: it does. */
size_t matching_run(struct matching *m);
/* The same with tiers below, beginning to ask them: r is set up, and stays in
 * m->reach. 0 and the prefix, or -errno. */
int matching_below(struct matching *m, struct reach *r, uint64_t deadline,
		   size_t *ret_reach);

#endif
