/* SPDX-License-Identifier: Apache-2.0 */
/* What callers ask of blocks: to be there, to stay, to go. */
#include "space/space.h"

/* The range in blocks; n 0: to the end. */
static int range_of(oc_span *sp, size_t first, size_t *n)
{
	if (*n == 0 && first <= sp->n)
		*n = sp->n - first;
	if (first > sp->n || *n > sp->n - first)
		return client_fail(sp->s->c, -EINVAL,
				   "blocks %zu to %zu of a span of %zu", first,
				   first + *n, sp->n);
	return 0;
}

static int check(oc_span *sp, size_t first, size_t *n, unsigned flags,
		 unsigned allowed)
{
	if (flags & ~allowed)
		return client_fail(sp->s->c, -EINVAL, "an unknown flag");
	if (flags & OC_PREFETCH_WRITE && sp->flags & OC_SPAN_READ_ONLY)
		return client_fail(sp->s->c, -EROFS, "a read-only span");
	return range_of(sp, first, n);
}

static int bring_now(oc_span *sp, size_t first, size_t n, unsigned flags,
		     uint64_t timeout_ns)
{
	int r;

	span_busy(sp);
	r = blocks_bring(sp, first, n, flags,
			 client_deadline(sp->s->c, timeout_ns));
	span_idle(sp);
	return r;
}

static int bring_later(oc_span *sp, size_t first, size_t n, unsigned flags)
{
	int r = n ? space_hand(sp, first, n, flags) : 0;

	for (size_t i = first; i < first + n && r == 0; i++)
		if (sp->block[i].state == OC_BLOCK_ABSENT)
			sp->block[i].flags |= BLOCK_AHEAD;
	return r == -EAGAIN ? client_fail(sp->s->c, r,
					  "%u prefetches wait already", JOBS)
			    : r;
}

int oc_span_prefetch(oc_span *sp, size_t first, size_t n, unsigned flags,
		     uint64_t timeout_ns)
{
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	r = check(sp, first, &n, flags, OC_PREFETCH_WAIT | OC_PREFETCH_WRITE);
	if (r == 0)
		r = flags & OC_PREFETCH_WAIT
			    ? bring_now(sp, first, n, flags, timeout_ns)
			    : bring_later(sp, first, n, flags);
	space_unlock(sp->s);
	return r;
}

static void hold(oc_span *sp, size_t first, size_t n, uint32_t by)
{
	for (size_t i = first; i < first + n; i++) {
		sp->block[i].held += by;
		block_say(sp, i);
	}
}

int oc_span_hold(oc_span *sp, size_t first, size_t n, unsigned flags,
		 uint64_t timeout_ns)
{
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	r = check(sp, first, &n, flags, OC_PREFETCH_WRITE);
	if (r == 0) {
		/* at once, so that what comes first does not leave for the rest */
		hold(sp, first, n, 1);
		r = bring_now(sp, first, n, flags, timeout_ns);
		if (r)
			hold(sp, first, n, UINT32_MAX);
	}
	space_unlock(sp->s);
	return r;
}

void oc_span_release(oc_span *sp, size_t first, size_t n)
{
	if (client_is_child(sp->s->c))
		return;
	space_lock(sp->s);
	if (range_of(sp, first, &n) == 0)
		for (size_t i = first; i < first + n; i++)
			if (sp->block[i].held)
				hold(sp, i, 1, UINT32_MAX);
	space_unlock(sp->s);
}

/* ---- advice ---- */

static int let_go_asked(oc_span *sp, size_t first, size_t n)
{
	size_t end = first + n, stop;
	int r = 0;

	if (sp->gathered)
		return 0; /* a copy has nothing to give back */
	while (first < end && r == 0) {
		for (stop = first; stop < end && !sp->block[stop].held;)
			stop++;
		r = blocks_let_go(sp, first, stop - first);
		first = stop + 1;
	}
	return r;
}

static int prefer(oc_span *sp, uint64_t tier)
{
	if (tier == OC_TIER_VRAM)
		return client_fail(sp->s->c, -EOPNOTSUPP,
				   "no space in device memory");
	if (tier == OC_TIER_NONE || tier > OC_TIER_NODE)
		return client_fail(sp->s->c, -EINVAL, "no such tier");
	sp->rank = tier == OC_TIER_DRAM ? 1 : -1;
	return 0;
}

static int accessed(oc_span *sp, size_t first, size_t n, uint64_t who)
{
	if (who)
		return client_fail(sp->s->c, -EOPNOTSUPP,
				   "only the host has access to a space");
	sp->rank = 1;
	return bring_later(sp, first, n, 0);
}

static int advise(oc_span *sp, size_t first, size_t n, enum oc_advice advice,
		  uint64_t arg)
{
	switch (advice) {
	case OC_ADVISE_NORMAL:
		sp->rank = 0;
		/* fall through */
	case OC_ADVISE_READ_MOSTLY:
	case OC_ADVISE_RANDOM:
		sp->pattern = advice;
		return 0;
	case OC_ADVISE_WILL_NEED:
		return bring_later(sp, first, n, 0);
	case OC_ADVISE_DO_NOT_NEED:
		return let_go_asked(sp, first, n);
	case OC_ADVISE_PREFERRED_TIER:
		return prefer(sp, arg);
	case OC_ADVISE_ACCESSED_BY:
		return accessed(sp, first, n, arg);
	}
	return client_fail(sp->s->c, -EINVAL, "no such advice");
}

int oc_span_advise(oc_span *sp, size_t first, size_t n, enum oc_advice advice,
		   uint64_t arg)
{
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	r = range_of(sp, first, &n);
	if (r == 0)
		r = advise(sp, first, n, advice, arg);
	space_unlock(sp->s);
	return r;
}
