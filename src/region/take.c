/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a shard over, and giving it back.
 *
 * The descriptors are the truth. An owner that dies at any store leaves: a frame
 * GRANTED, which nobody was told of; a block SEALED and not in the index, or
 * LEAVING, or DOOMED. The next owner makes the first free again (unless a device
 * may write there), enters the second, puts the third back, and judges the
 * fourth again: the last owner may have looked at the pins, but this one does
 * not know that. It begins when the last one is proved dead, so nobody else
 * writes here.
 */
#include "base/fault.h"
#include "base/log.h"
#include "region/internal.h"
#include <errno.h>
#include <stdlib.h>

static void recover_frame(struct region *r, struct region_own *own,
			  uint32_t frame)
{
	const struct region_desc *d = &own->desc[frame];
	/* Acquire before a store of the word: pairs with coherent_publish() of
	 * the last owner, whose seal our own store must carry on. */
	uint64_t word = shared_load64_acquire(&d->word);

	switch (frame_word_state(word)) {
	case FRAME_GRANTED:
		(void)region_step(r, own, frame,
				  shared_load64(&d->grant_flags) &
						  FRAME_GRANT_DEVICE
					  ? FRAME_EV_QUARANTINE
					  : FRAME_EV_OWNER_DIED);
		break;
	case FRAME_LEAVING:
		(void)region_step(r, own, frame, FRAME_EV_RECOVER);
		break;
	default:
		break;
	}
}

/* Can the frame hold what its descriptor says? */
static bool fits(const struct region *r, const struct region_own *own,
		 uint32_t frame)
{
	uint64_t bytes =
		frame_extent_bytes(shared_load64(&own->desc[frame].extent));

	return bytes && bytes <= r->g.frame_bytes;
}

static void recover_count(struct region *r, struct region_own *own,
			  uint32_t frame)
{
	if (own->mark[frame] & MARK_HELD)
		return;
	switch (frame_word_state(shared_load64(&own->desc[frame].word))) {
	case FRAME_FREE:
		region_freed(r, own, frame);
		break;
	case FRAME_SEALED:
		/* it may have been left in the middle */
		own->n_sealed += !(own->mark[frame] & MARK_SEALED);
		own->mark[frame] |= MARK_SEALED;
		if (!fits(r, own, frame) || region_enlist(own, frame))
			(void)region_doom(r, own, frame);
		break;
	case FRAME_DOOMED:
		region_list(own, frame, own->doomed, &own->n_doomed);
		break;
	case FRAME_QUARANTINED:
		own->mark[frame] |= MARK_HELD;
		own->n_quarantined++;
		break;
	default:
		/* No owner stores that: its memory is not what it was. No reader
		 * believes it, and it says nothing that could be relied on; so
		 * the frame is held back, and the rest of the shard is of use. */
		region_hold(own, frame);
		break;
	}
}

/* What is done in a guard, for an own shard. */
struct with_own {
	struct region *r;
	struct region_own *own;
	uint32_t left; /* frames [0, left) are to be done */
};

/* From the end, so that frames are handed out from the beginning. */
static void recover_run(void *ctx)
{
	struct with_own *w = ctx;

	while (w->left) {
		if (!(w->own->mark[w->left - 1] & MARK_HELD)) {
			recover_frame(w->r, w->own, w->left - 1);
			recover_count(w->r, w->own, w->left - 1);
		}
		w->left--;
	}
}

/* The index is made of the descriptors anew when it is none any more. */
static void recover_index(void *ctx)
{
	struct with_own *w = ctx;
	unsigned char *at = w->own->base + w->r->places.table;
	uint64_t bytes = w->r->places.table_bytes;

	if (table_attach(&w->own->table, at, bytes) == 0)
		return;
	log_warn("shard %u: the index is damaged, and made anew",
		 w->own->shard);
	for (uint64_t i = 0; i < bytes / sizeof(uint64_t); i++)
		shared_store64((shared_u64 *)(void *)at + i, 0);
	must(table_init(&w->own->table, at, bytes) == 0);
}

/* Those whose descriptors are lost. False: that gets nobody on. One is on a list
 * already, and would be lent; or all were held before. */
static bool hold_lost(struct region_own *own, uint64_t first, uint64_t end)
{
	bool more = false;

	for (uint64_t f = first; f < end && f < own->frames; f++) {
		if (own->mark[f] & MARK_LISTED)
			return false;
		more |= !(own->mark[f] & MARK_HELD);
		region_hold(own, (uint32_t)f);
	}
	return more;
}

/* Frames whose descriptors are lost are held back, whichever frame it was that met
 * them: to enter one in a full bucket is to look at others. Where the index is lost, the
 * shard is of no use. */
static int recover_frames(struct region *r, struct region_own *own)
{
	struct with_own w = { .r = r, .own = own, .left = r->g.frames };
	struct region_where where;
	uint64_t first, end;

	while (region_guard(r, recover_run, &w, &where))
		if (!region_is_desc(r, &where, &first, &end) ||
		    !hold_lost(own, first, end))
			return -EIO;
	return 0;
}

static void recover_end(void *ctx)
{
	struct with_own *w = ctx;
	struct region *r = w->r;
	struct region_own *own = w->own;

	region_gauge(own);
	shared_store64(&own->head->node[0], r->node[0]);
	shared_store64(&own->head->node[1], r->node[1]);
	r->mem->publish(&own->head->ready, own->owner);
}

/* -EIO: it is out of use. */
static int recover(struct region *r, struct region_own *own)
{
	struct with_own w = { .r = r, .own = own };
	int err;

	r->taking = own;
	err = region_guard(r, recover_index, &w, NULL);
	if (!err)
		err = recover_frames(r, own);
	if (!err)
		err = region_guard(r, recover_end, &w, NULL);
	r->taking = NULL;
	if (err)
		region_out_of_use(r, own);
	else
		r->own[r->n_own++] = own;
	return err;
}

/* ---- taking ------------------------------------------------------------------------ */

static int own_create(struct region *r, uint32_t shard,
		      struct region_own **ret_own)
{
	struct region_own *own = mem_alloc(sizeof(*own));
	void *base = NULL;
	int err = -ENOMEM;

	if (!own)
		return -ENOMEM;
	own->shard = shard;
	own->frames = r->g.frames;
	own->owner = region_owner_word(r->self, member_word_inc(r->word));
	own->mark = mem_array(r->g.frames, 1);
	own->free = mem_array(r->g.frames, sizeof(*own->free));
	own->doomed = mem_array(r->g.frames, sizeof(*own->doomed));
	if (own->mark && own->free && own->doomed)
		err = region_map(
			r, r->places.shards + shard * r->places.shard_bytes,
			r->places.shard_bytes, r->places.payload, &base);
	if (!err) {
		own->base = base;
		own->head = base;
		own->desc = (void *)(own->base + r->places.desc);
		own->payload = own->base + r->places.payload;
	}
	if (err) {
		region_own_destroy(r, own);
		return err;
	}
	*ret_own = own;
	return 0;
}

/* May this member take the shard? */
static int takeable(const struct region *r, uint64_t owner, uint64_t mine)
{
	uint32_t member;

	if (!owner || owner == mine)
		return 0;
	member = region_owner_member(owner);
	if (member >= r->g.members)
		return -EPROTO;
	return member_gone(
		       shared_load64_acquire(&region_record(r, member)->word),
		       region_owner_inc(owner))
		       ? 0
		       : REGION_ALIVE;
}

/* What is done in a guard, to a shard. */
struct with_shard {
	struct region *r;
	uint32_t shard;
	struct region_own *own; /* made, and not taken yet */
	int result;
};

static int take(struct region *r, uint32_t shard, struct region_own **making)
{
	struct region_own *own = NULL;
	shared_u64 *word;
	uint64_t owner;
	int err = region_says_live(r);

	if (err)
		return err;
	if (region_own_of(r, shard))
		return 0;
	if (region_is_out(r, shard))
		return -EIO;
	word = &r->control->owner[shard].word;
	owner = shared_load64_acquire(word);
	err = takeable(r, owner,
		       region_owner_word(r->self, member_word_inc(r->word)));
	if (!err)
		err = own_create(r, shard, &own);
	if (err)
		return err;
	*making = own;
	if (owner != own->owner && !r->mem->swap(word, owner, own->owner)) {
		*making = NULL;
		region_own_destroy(r, own);
		return REGION_ALIVE;
	}
	if (owner)
		region_count(r, REGION_C_taken, 1);
	*making = NULL;
	return recover(r, own); /* it is ours from here on */
}

static void take_run(void *ctx)
{
	struct with_shard *w = ctx;

	w->result = take(w->r, w->shard, &w->own);
}

int region_take(struct region *r, uint32_t shard)
{
	struct with_shard w = { .r = r, .shard = shard };

	if (shard >= r->g.shards)
		return -EINVAL;
	if (region_guard(r, take_run, &w, NULL) == 0)
		return w.result;
	region_own_destroy(r, w.own);
	return -EIO;
}

/* ---- giving ------------------------------------------------------------------------ */

static void give_run(void *ctx)
{
	struct with_own *w = ctx;

	region_gauge(w->own);
	w->r->mem->publish(&w->own->head->ready, 0);
}

static int give(struct region *r, uint32_t shard)
{
	struct region_own *own = region_own_of(r, shard);
	struct with_own w = { .r = r, .own = own };
	int err = region_says_live(r);
	uint32_t i = 0;

	if (err)
		return err;
	if (!own)
		return -EINVAL;
	if (own->n_free + own->n_sealed + own->n_doomed + own->n_quarantined !=
	    r->g.frames)
		return -EBUSY; /* a grant is out */
	if (region_guard(r, give_run, &w, NULL))
		return -EIO; /* it is out of use */
	if (!r->mem->swap(&r->control->owner[shard].word, own->owner, 0))
		err = REGION_STALE;
	while (r->own[i] != own)
		i++;
	memmove(&r->own[i], &r->own[i + 1],
		(--r->n_own - i) * sizeof(struct region_own *));
	region_own_destroy(r, own);
	return err;
}

static void give_shard_run(void *ctx)
{
	struct with_shard *w = ctx;

	w->result = give(w->r, w->shard);
}

int region_give(struct region *r, uint32_t shard)
{
	struct with_shard w = { .r = r, .shard = shard };

	return region_guard(r, give_shard_run, &w, NULL) ? -EIO : w.result;
}
