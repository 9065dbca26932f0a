/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass forward finds the run of blocks that the FULL groups have, one pass
 * backward the longest length up to there at which the others agree.
 *
 * For each group the lowest block that it is known to have is kept (`known`).
 * Going backward from length n, a WINDOW group holds at n when the blocks
 * [n - w, n) are present. A miss at block m rules out all lengths in
 * (m, m + w], so n falls to m at once and no block is asked for twice: blocks
 * in [known, n) are present.
 */
#include "index/match.h"

/* Blocks at the end of a usable prefix that the group needs. */
static size_t reach(const struct match_group *group, size_t usable)
{
	switch (group->rule) {
	case MATCH_FULL:
		return usable;
	case MATCH_WINDOW:
		return MIN(usable, (size_t)group->window);
	case MATCH_STATE:
	default:
		return MIN(usable, (size_t)1);
	}
}

bool match_needs(const struct match_group *group, size_t usable, size_t block)
{
	return block < usable && block >= usable - reach(group, usable);
}

static size_t full_run(const struct match_group *groups, unsigned n_groups,
		       size_t n, match_present present, void *ctx)
{
	for (unsigned g = 0; g < n_groups; g++) {
		size_t run = 0;

		if (groups[g].rule != MATCH_FULL)
			continue;
		while (run < n && present(ctx, g, run))
			run++;
		n = run;
	}
	return n;
}

/* The longest length up to n at which the group's rule holds. The blocks
 * [*known, n) are present; where n has fallen below *known, the row starts
 * anew at n. */
static size_t fall_to(const struct match_group *group, unsigned g, size_t n,
		      match_present present, void *ctx, size_t *known)
{
	size_t low = MIN(*known, n);

	while (low > n - reach(group, n)) {
		if (present(ctx, g, low - 1)) {
			low--;
		} else {
			n = low - 1;
			low = n;
		}
	}
	*known = low;
	return n;
}

size_t match_prefix(const struct match_group *groups, unsigned n_groups,
		    size_t n, match_present present, void *ctx)
{
	size_t known[MATCH_GROUPS_MAX];
	unsigned agree = 0, g = 0;

	n = full_run(groups, n_groups, n, present, ctx);
	for (unsigned i = 0; i < n_groups; i++)
		known[i] = n;
	/* Round and round until every group agrees with the same n. */
	while (n && agree < n_groups) {
		size_t to = n;

		if (groups[g].rule != MATCH_FULL)
			to = fall_to(&groups[g], g, n, present, ctx, &known[g]);
		agree = to == n ? agree + 1 : 1;
		n = to;
		g = g + 1 == n_groups ? 0 : g + 1;
	}
	return n;
}
