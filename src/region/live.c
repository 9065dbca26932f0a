/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a member does while it lives: beats, shards that it wants and gives, leaving.
 *
 * region_tick() is all of it, from the member's own thread, at least every third of a
 * lease: it beats, looks whose processes on this host have ended, takes shards, takes in
 * what readers tell, and gives a shard away to who has none. It waits for nobody, and
 * what fails in it is tried again at the next beat.
 *
 * A member that ends without leaving is a dead one: its shards are taken as they lie.
 */
#include "base/clock.h"
#include "region/internal.h"
#include <errno.h>
#include <stdlib.h>

/* What is done in a guard. */
struct doing {
	struct region *r;
	int result;
};

int region_self(const struct region *r, uint32_t *ret_member, uint64_t *ret_inc)
{
	if (!r->word)
		return -ENOTCONN;
	*ret_member = r->self;
	*ret_inc = member_word_inc(r->word);
	return 0;
}

int region_says_live(const struct region *r)
{
	if (!r->word)
		return -ENOTCONN;
	return region_is_live(r) ? 0 : REGION_STALE;
}

static void anew_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = shared_load64(&d->r->control->header.id) != d->r->id;
}

bool region_is_anew(struct region *r)
{
	struct doing d = { .r = r };

	return region_guard(r, anew_run, &d, NULL) == 0 && d.result;
}

static void may_write_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = region_says_live(d->r);
}

int region_may_write(struct region *r)
{
	struct doing d = { .r = r };

	return region_guard(r, may_write_run, &d, NULL) ? -EIO : d.result;
}

/* ---- shards ------------------------------------------------------------------------ */

/* What is taken first. */
enum liking {
	LIKE_MINE,   /* it is, and a process before this one had it in hand */
	LIKE_FORMER, /* this node had it last */
	LIKE_EMPTY,
	LIKE_FREE,
	LIKE_DEAD, /* or it is somebody's who lives: region_take() knows */
	LIKINGS
};

struct liked {
	const struct region *r;
	uint32_t shard;
	enum liking like;
};

static void like_run(void *ctx)
{
	struct liked *l = ctx;
	const struct region *r = l->r;
	const struct region_shard_head *head = region_head_of(r, l->shard);
	uint64_t owner =
		shared_load64_acquire(&r->control->owner[l->shard].word);

	if (owner == region_owner_word(r->self, member_word_inc(r->word)))
		l->like = LIKE_MINE;
	else if (r->node[0] && shared_load64(&head->node[0]) == r->node[0] &&
		 shared_load64(&head->node[1]) == r->node[1])
		l->like = LIKE_FORMER;
	else if (owner)
		l->like = LIKE_DEAD;
	else
		l->like = shared_load64(&head->sealed) ? LIKE_FREE : LIKE_EMPTY;
}

/* One whose head's memory fails is not liked at all. */
static enum liking liking_of(struct region *r, uint32_t shard)
{
	struct liked l = { .r = r, .shard = shard };

	return region_guard(r, like_run, &l, NULL) ? LIKINGS : l.like;
}

static void take_what_is_wanted(struct region *r)
{
	for (unsigned like = 0; like < LIKINGS; like++)
		for (uint32_t i = 0; i < r->g.shards; i++) {
			uint64_t owner = shared_load64_acquire(
				&r->control->owner[i].word);
			bool more = r->n_own < r->want || like == LIKE_MINE ||
				    (r->adopt && owner);

			if (more && liking_of(r, i) == like)
				(void)region_take(r, i);
		}
}

static bool somebody_wants(const struct region *r)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);

		if (i != r->self &&
		    member_word_state(shared_load64_acquire(&m->word)) ==
			    MEMBER_LIVE &&
		    shared_load64(&m->wants))
			return true;
	}
	return false;
}

static void fence_former_run(void *ctx)
{
	struct region *r = ctx;

	for (uint32_t i = 0; i < r->g.shards; i++) {
		uint64_t owner =
			shared_load64_acquire(&r->control->owner[i].word);

		if (owner && liking_of(r, i) == LIKE_FORMER)
			(void)region_fence(r, region_owner_member(owner),
					   region_owner_inc(owner), false);
	}
}

void region_fence_former(struct region *r)
{
	(void)region_guard(r, fence_former_run, r, NULL);
}

/* ---- beats ------------------------------------------------------------------------- */

static void gauges_run(void *ctx)
{
	struct region *r = ctx;

	for (uint32_t i = 0; i < r->n_own; i++)
		region_gauge(r->own[i]);
}

static int tick(struct region *r)
{
	struct region_member *m = region_record(r, r->self);
	uint64_t wants;

	if (!region_is_live(r))
		return REGION_STALE;
	shared_store64(&m->beat_ms, clock_realtime_ms());
	r->mem->publish(&m->beat, shared_load64(&m->beat) + 1);
	region_fence_ended(r);
	take_what_is_wanted(r);
	region_take_reports(r);
	for (uint32_t i = 0; i < r->n_own; i++)
		if (r->own[i]->n_doomed)
			region_judge_doomed(r, r->own[i]);
	/* the shards that were taken over last */
	if (r->n_own > MAX(r->want, 1u) && somebody_wants(r))
		(void)region_give(r, r->own[r->n_own - 1]->shard);
	wants = r->want && !r->n_own;
	if (shared_load64(&m->wants) != wants)
		r->mem->publish(&m->wants, wants);
	region_make_views(r);
	(void)region_guard(r, gauges_run, r, NULL);
	return 0;
}

static void tick_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = tick(d->r);
}

int region_tick(struct region *r)
{
	struct doing d = { .r = r };

	if (!r->word)
		return -ENOTCONN;
	return region_guard(r, tick_run, &d, NULL) ? -EIO : d.result;
}

/* ---- leaving ----------------------------------------------------------------------- */

/* Those that are of no use are the next one's to judge. */
static void leave_out(struct region *r)
{
	while (r->n_out) {
		struct region_own *own = r->out[r->n_out - 1];

		(void)r->mem->swap(&r->control->owner[own->shard].word,
				   own->owner, 0);
		r->n_out--;
		region_own_destroy(r, own);
	}
}

/* Shards whose memory fails are out of use then: the next one's to judge. */
static int give_all(struct region *r)
{
	while (r->n_own) {
		uint32_t shard = r->own[r->n_own - 1]->shard;
		int err = region_give(r, shard);

		if (err && !(err == -EIO && region_is_out(r, shard)))
			return err;
	}
	return 0;
}

static void leave_run(void *ctx)
{
	struct doing *d = ctx;
	struct region *r = d->r;
	uint64_t left;

	d->result = give_all(r);
	if (d->result < 0)
		return;
	leave_out(r);
	d->result =
		region_record_step(r, r->self, r->word, MEMBER_EV_LEAVE, &left);
	region_forget(r);
}

int region_leave(struct region *r)
{
	struct doing d = { .r = r };

	if (!r->word)
		return -ENOTCONN;
	if (r->pinned)
		return -EBUSY;
	return region_guard(r, leave_run, &d, NULL) ? -EIO : d.result;
}

void region_forget(struct region *r)
{
	while (r->n_own)
		region_own_destroy(r, r->own[--r->n_own]);
	while (r->n_out)
		region_own_destroy(r, r->out[--r->n_out]);
	region_unmap(r->unit, REGION_UNIT);
	free(r->slot);
	r->unit = NULL;
	r->slot = NULL;
	r->n_slot = r->made = r->pinned = 0;
	r->word = 0;
}
