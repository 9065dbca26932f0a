/* SPDX-License-Identifier: Apache-2.0 */
/* The rung below DRAM where things go wrong: all at once, memory that fails, pins
 * that stay, a server that dies in the middle. */
#include "base/hash.h"
#include "base/rng.h"
#include "coherence/revoke.h"
#include "tests/store/deep.h"
#include "tests/store/low.h"

#define WIDE_BYTES (2 * PART_BYTES)

/* Blocks of two parts, and blocks whose one part is as large as two. */
struct mix {
	uint32_t pairs, wide;
};

static struct mix mix_of(struct world *w)
{
	return (struct mix){ world_ns(w, 1, 2, PART_BYTES, 1),
			     world_ns(w, 1, 1, WIDE_BYTES, 3) };
}

static uint64_t half(const struct mix *m, uint64_t rank)
{
	return frame_part(m->pairs, 0, (uint16_t)rank);
}

static uint64_t wide(const struct mix *m)
{
	return frame_part(m->wide, 0, 0);
}

static void put_half(struct world *w, uint64_t n, uint64_t part)
{
	uint32_t frame;

	if (!slab_of(w, n, part, &frame) && grant(w, n, part) == 0)
		CHECK_OK(sim_seal(&w->sim[0], n, part, &w->last));
}

static void put_wide(struct world *w, uint64_t n, uint64_t part)
{
	uint32_t frame;

	if (!slab_of(w, n, part, &frame) && grant(w, n, part) == 0)
		seal_zeros(w, n, part, WIDE_BYTES);
}

static void touch_part(struct world *w, uint64_t n, uint64_t part)
{
	uint32_t frame;

	if (!slab_of(w, n, part, &frame))
		return;
	sim_touch(&w->sim[1], n, part);
	store_touches(w->sim[1].c);
}

/* A part that is below alone is brought up into this free frame. */
static void raise_into(struct world *w, uint64_t n, uint64_t part,
		       uint32_t item)
{
	struct pool_filling filling = { .part = part, .owner = CLIENT_SERVER };
	uint32_t uf, lf;
	struct pool_slab *up = pool_item(w->p, item, &uf);
	struct pool_slab *low = slab_of(w, n, part, &lf);

	CHECK(!up->low && low && low->low);
	key_of(n, filling.key);
	filling.extent = shared_load64(&low->desc[lf].extent);
	pool_frame_grant(w->p, up, uf, &filling);
	CHECK_INT(pwrite(up->payload.fd, pool_payload(low, lf).base, PART_BYTES,
			 (off_t)(uf * up->frame_bytes)),
		  ==, PART_BYTES);
	pool_twin_rise(w->p, up, uf, low, lf);
	CHECK(pool_is_twin(w->p, low, lf));
}

/* ---- all at once ---------------------------------------------------------------- */

/* A twin lies before a part of the same block that is below alone, in a slab that
 * is emptied. */
TEST(a_twin_may_lie_before_its_sibling)
{
	struct world *w = begin(&both);
	struct mix m = mix_of(w);
	struct pool_shape shape = { PART_BYTES, 0 };
	struct pool_slab *low;
	uint32_t lf, item;

	for (uint64_t n = 1; n <= 30; n++) {
		put(w, n, half(&m, 0));
		put(w, n, half(&m, 1));
	}
	for (unsigned i = 0; i < 50 && room_find(w->s->local[w->p->number],
						 shape, 1, &item) != 0;
	     i++)
		rest(w);
	low = slab_of(w, 1, half(&m, 0), &lf);
	CHECK(slab_of(w, 1, half(&m, 1), &lf) == low);
	/* one of two is brought up, and no more */
	raise_into(w, 1, half(&m, 0), item);
	CHECK(evict_slab(w->s, w->p, low, false));
	end(w);
}

static void answer(struct sim *c, struct rng *r, bool all)
{
	const shared_u64 *wanted = client_wanted(c->cs, SIM_PINS, SIM_OVER);
	struct client_header *h = &c->cs->header;

	for (uint32_t i = 0; i < SIM_PINS + SIM_OVER; i++)
		if (revoke_meant(wanted, i, shared_load64(&c->cs->slots[i])) &&
		    (all || rng_below(r, 2)))
			pin_clear(&c->cs->slots[i]);
	shared_store64_release(&h->answered, shared_load64_acquire(&h->asked));
}

/* Firmly, or as a mapping, or as one that can bear a loss. */
static void pin_anew(struct sim *c, struct rng *r, uint32_t slot, uint64_t n,
		     uint64_t part)
{
	static const uint64_t how[] = { 0, PIN_MAPPED,
					PIN_MAPPED | PIN_LOSABLE };
	shared_u64 *at = &c->cs->slots[slot];

	pin_clear(at);
	if (sim_pin(c, slot, n, part))
		shared_store64(at, shared_load64(at) | how[rng_below(r, 3)]);
}

static void restart(struct deep *d)
{
	deep_rest(d);
	deep_restart(d, false);
	d->f->by_itself = true;
}

static void step(struct deep *d, const struct mix *m, struct rng *r)
{
	struct world *w = d->w;
	uint64_t n = 1 + rng_below(r, 40), part = half(m, rng_below(r, 2));

	switch (rng_below(r, 14)) {
	case 0:
	case 1:
	case 2:
		put_half(w, n, part);
		break;
	case 3:
		put_wide(w, 1000 + n, wide(m));
		break;
	case 4:
		pin_anew(&w->sim[1], r, (uint32_t)rng_below(r, 12), n, part);
		break;
	case 5:
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
		break;
	case 6:
		touch_part(w, 1000 + n, wide(m));
		break;
	case 7:
		if (rng_below(r, 3) == 0)
			sim_call(&w->sim[0], call_of(RING_REMOVE, n, part));
		break;
	case 8:
		if (rng_below(r, 30) == 0)
			restart(d);
		break;
	case 9:
		answer(&w->sim[1], r, rng_below(r, 2));
		store_settle(w->s, w->now);
		break;
	default:
		touch_part(w, n, part);
		touch_part(w, n, part);
	}
}

/* Of these seeds some once ended in a frame that left twice. */
TEST(random_moves_of_two_shapes_with_pins_and_deaths)
{
	for (uint64_t seed = 66; seed <= 80; seed++) {
		struct rng r = { seed };
		struct deep d;
		struct mix m;

		deep_begin_as(&d, &both, NULL);
		sim_add(d.w, 1);
		d.f->by_itself = true;
		m = mix_of(d.w);
		for (unsigned i = 0; i < 1500; i++) {
			step(&d, &m, &r);
			if (i % 100 == 0)
				world_check(d.w);
		}
		for (unsigned k = 0; k < 12; k++)
			pin_clear(&d.w->sim[1].cs->slots[k]);
		deep_rest(&d);
		deep_end(&d);
	}
}

/* ---- memory that fails ------------------------------------------------------------ */

/* As if the kernel had said so, of these frames. */
static void lose(struct world *w, struct pool_slab *s, uint32_t frame,
		 uint32_t n)
{
	const uint8_t *at = pool_payload(s, frame).base;

	for (uint32_t i = 0; i < n; i++) {
		struct guard_fault fault = { (uintptr_t)at + i * PAGE_BYTES,
					     PAGE_BYTES };

		broken_at(w->s, w->p, s, &fault);
	}
}

/* A loss may be wider than what was touched: frames that hold nothing are kept
 * from use as well, also by the next server. */
TEST(free_memory_that_is_lost_is_not_used_again)
{
	struct world *w = begin(&both);
	struct pool_slab *low;
	uint32_t frame, free, id;
	uint64_t gen;

	put_all(w, 1, 40);
	low = slab_of(w, 1, PART, &frame);
	free = low->n_free;
	CHECK(low->low && free);
	id = low->id;
	gen = low->gen;
	lose(w, low, 0, low->frames);
	CHECK_INT(low->n_free, ==, 0);
	CHECK_INT(low->n_quarantined, >=, free);
	world_check(w);
	put_all(w, 100, 200);
	/* it has nothing left, and retires */
	low = w->p->slab[id];
	CHECK(!low || low->gen != gen || low->retiring);
	world_restart(w);
	world_check(w);
	end(w);
}

TEST(removed_memory_that_is_lost_is_not_used_again)
{
	struct world *w = begin(&both);
	struct pool_slab *low;
	uint32_t frame;

	put_all(w, 1, 80);
	low = slab_of(w, 5, PART, &frame);
	CHECK(low->low && sim_pin(&w->sim[1], 3, 5, PART));
	CHECK_OK(sim_call(&w->sim[0], call_of(RING_REMOVE, 5, PART)));
	CHECK_INT(pool_frame_state(low, frame), ==, FRAME_DOOMED);
	lose(w, low, frame, 1);
	sim_unpin(&w->sim[1], 3);
	rest(w);
	CHECK_INT(pool_frame_state(low, frame), ==, FRAME_QUARANTINED);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	end(w);
}

/* Its memory was taken away: no slab is made of it, what lies there stays until it
 * is touched, and DRAM serves; when it is back it is used. */
TEST(memory_that_is_gone_gets_no_slab)
{
	struct world *w = begin(&both);
	struct store_load load;

	put_all(w, 1, 40);
	CHECK_INT(w->s->low.budget.used, <, 4 * SLAB);
	store_low_gone(w->s, true);
	rest(w);
	store_load(w->s, &load);
	CHECK(load.low_gone);
	put_all(w, 100, 200);
	store_load(w->s, &load);
	CHECK_INT(load.low_used, <, 4 * SLAB);
	CHECK_INT(COUNT(w, refused), ==, 0);
	store_low_gone(w->s, false);
	put_all(w, 400, 200);
	CHECK_INT(w->s->low.budget.used, ==, 4 * SLAB);
	end(w);
}

/* The server dies when it has said so, and before it has done anything. */
TEST(a_new_server_knows_what_is_lost)
{
	struct world *w = begin(&both);
	struct mix m = mix_of(w);
	struct pool_slab *low;
	uint32_t frame, free, id;

	put_all(w, 1, 40);
	low = slab_of(w, 1, PART, &frame);
	free = pool_arena_free(w->p, low->arena);
	CHECK(low->low && free != POOL_NO_ITEM);
	pool_frame_breaks(w->p, low, frame);
	pool_frame_breaks(w->p, pool_item(w->p, free, &free), free);
	id = low->id;
	world_restart(w);
	rest(w);
	low = w->p->slab[id];
	CHECK(!slab_of(w, 1, PART, &frame));
	CHECK_INT(low->owner, ==, CLIENT_SERVER);
	CHECK_INT(COUNT(w, quarantined), ==, 2);
	world_check(w);
	/* nor does the slab serve another shape with it */
	put_all(w, 41, 56);
	for (uint64_t n = 200; n < 280; n++) {
		put_wide(w, n, wide(&m));
		touch_part(w, n, wide(&m));
	}
	end(w);
}

/* A part in DRAM whose twin is as it was. */
TEST(a_block_falls_to_its_twin)
{
	for (unsigned dies = 0; dies < 2; dies++) {
		struct world *w = begin(&both);
		struct pool_slab *s;
		uint32_t frame;

		put_all(w, 1, 80);
		touch(w, 5);
		touch(w, 5);
		rest(w);
		s = slab_of(w, 5, PART, &frame);
		CHECK(!s->low && pool_twin_of(w->p, s, frame) != POOL_NO_ITEM);
		if (dies) {
			pool_frame_breaks(w->p, s, frame);
			world_restart(w);
		} else {
			lose(w, s, frame, 1);
		}
		rest(w);
		CHECK(world_has(w, 5, PART));
		CHECK(slab_of(w, 5, PART, &frame)->low);
		CHECK_INT(COUNT(w, leaving), ==, 0);
		end(w);
	}
}

/* What lies below as well is not lost with its memory. */
TEST(a_block_comes_from_below_again)
{
	struct pool_slab *s = NULL;
	uint64_t n = 0;
	uint32_t frame;
	struct deep d;

	deep_begin_as(&d, &both, NULL);
	deep_put(&d, 1, 300);
	deep_rest(&d);
	while (!(s && deep_below(&d, n)))
		s = slab_of(d.w, ++n, PART, &frame);
	lose(d.w, s, frame, 1);
	CHECK(!slab_of(d.w, n, PART, &frame));
	CHECK(deep_below(&d, n));
	CHECK_OK(deep_fetch(&d, n));
	CHECK(world_has(d.w, n, PART));
	deep_end(&d);
}

/* The frame that a part comes up into fails: the drive is not to blame, the frame is
 * not used again, and the part comes into another. */
TEST(a_frame_that_fails_under_a_read_is_replaced)
{
	unsigned at = FAKE_MOVES;
	struct waiter a;
	struct deep d;

	deep_begin(&d, 2);
	deep_put(&d, 1, 64);
	deep_rest(&d);
	CHECK(deep_below(&d, 1) && !world_has(d.w, 1, PART));
	d.f->by_itself = false;
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &a), ==, 0);
	for (unsigned i = 0; i < 50 && at == FAKE_MOVES; i++) {
		world_tick(d.w, WORLD_SEC / 500);
		world_ready(d.w);
		sim_let_go(d.a);
		for (unsigned k = d.f->n_moves; k-- > 0;)
			if (d.f->move[k].write)
				fake_tier_end(d.f, k, 0);
		at = d.f->n_moves ? 0 : FAKE_MOVES; /* a read */
	}
	CHECK_INT(at, <, FAKE_MOVES);
	spoil_at(d.f->move[at].m->slices.base);
	fake_tier_end(d.f, at, -EFAULT);
	deep_rest(&d);
	CHECK_INT(a.told, ==, 1);
	CHECK_INT(a.result, ==, 0);
	CHECK(world_has(d.w, 1, PART));
	CHECK(deep_below(&d, 1));
	CHECK_INT(COUNT(d.w, memory_errors), ==, 1);
	CHECK_INT(COUNT(d.w, promote_failed), ==, 0);
	deep_end(&d);
}

/* A bad page, and a new server: the slab serves on. */
TEST(a_slab_with_a_bad_page_outlives_its_server)
{
	struct world *w = begin(&both);
	struct pool_slab *low;
	uint32_t frame, old = 0;

	put_all(w, 1, 40);
	low = slab_of(w, 1, PART, &frame);
	lose(w, low, frame, 1);
	put_all(w, 41, 56);
	world_restart(w);
	world_check(w);
	put_all(w, 1000, 600);
	for (uint64_t n = 1; n <= 96; n++)
		old += slab_of(w, n, PART, &frame) != NULL;
	CHECK_INT(old, ==, 0);
	CHECK_INT(COUNT(w, cxl_parts), >, 32);
	end(w);
}

/* A device was to write into a slab of the server's when that died: nobody fills
 * the slab any more, and it makes room when it is the coldest. */
TEST(a_slab_of_nobody_s_makes_room)
{
	struct world *w = begin(&both);
	struct pool_filling filling = { .part = PART,
					.owner = CLIENT_SERVER,
					.flags = FRAME_GRANT_DEVICE };
	struct pool_slab *low;
	uint32_t frame, id, old = 0;

	put_all(w, 1, 40);
	low = pool_item(
		w->p, pool_arena_free(w->p, slab_of(w, 1, PART, &frame)->arena),
		&frame);
	key_of(5000, filling.key);
	pool_frame_grant(w->p, low, frame, &filling);
	id = low->id;
	world_restart(w);
	CHECK(w->p->slab[id]->low && !w->p->slab[id]->owner);
	CHECK_INT(w->p->slab[id]->n_quarantined, ==, 1);
	put_all(w, 1000, 600);
	rest(w);
	for (uint64_t n = 1; n <= 40; n++)
		old += slab_of(w, n, PART, &frame) != NULL;
	CHECK_INT(old, ==, 0);
	CHECK_INT(COUNT(w, quarantined), ==, 0);
	put_all(w, 2000, 40);
	CHECK_INT(w->s->low.budget.used, ==, 4 * SLAB);
	end(w);
}

/* ---- pins that stay ------------------------------------------------------------- */

/* As one that has mapped it does, before it became what it is. */
static void pin_as(struct sim *c, uint32_t slot, const struct pool_slab *s,
		   uint32_t frame, uint64_t flags)
{
	shared_u64 *at = &c->cs->slots[slot];

	pin_publish(at, frame_loc(s->id, frame), pool_frame_gen(s, frame));
	shared_store64(at, shared_load64(at) | flags);
	shared_store64(&c->cs->header.pin_high, SIM_PINS);
}

/* Blocks of another shape go down, though the coldest slab is not to be had. */
TEST(the_next_slab_makes_room_for_another_shape)
{
	struct world *w = begin(&both);
	struct mix m = mix_of(w);
	struct pool_slab *low;
	uint32_t frame, below = 0;

	put_all(w, 1, 96);
	low = slab_of(w, 1, PART, &frame);
	CHECK(low->low);
	pin_as(&w->sim[1], 3, low, frame, PIN_MAPPED | PIN_LOSABLE);
	/* DRAM is theirs; what does not fit there goes down */
	for (uint64_t n = 65; n <= 96; n++)
		CHECK_OK(sim_call(&w->sim[0], call_of(RING_REMOVE, n, PART)));
	for (uint64_t n = 200; n < 224; n++)
		put_wide(w, n, wide(&m));
	for (uint64_t n = 200; n < 224; n++) {
		struct pool_slab *s = slab_of(w, n, wide(&m), &frame);

		CHECK(s != NULL);
		below += s->low;
	}
	CHECK_INT(below, ==, 8);
	CHECK(world_has(w, 1, PART));
	sim_unpin(&w->sim[1], 3);
	end(w);
}

/* The oldest twins are all mapped: the next ones make room, and no block leaves. */
TEST(the_next_twins_make_room)
{
	struct world *w = begin(&both);
	uint32_t frame, item;
	const struct pool_arena *a;

	put_all(w, 1, 64);
	for (uint64_t n = 1; n <= 16; n++) {
		touch(w, n);
		touch(w, n);
		rest(w);
	}
	/* the others into frames of the client's */
	for (uint64_t n = 17; n <= 24; n++) {
		struct pool_slab *s = slab_of(w, n + 32, PART, &frame);

		CHECK(!s->low);
		CHECK_OK(sim_call(&w->sim[0],
				  call_of(RING_REMOVE, n + 32, PART)));
		raise_into(w, n, PART, pool_arena_free(w->p, s->arena));
	}
	for (a = w->p->arena; !a->low || !a->twins; a++)
		CHECK(a < w->p->arena + w->p->n_arenas);
	CHECK_INT(a->twins, ==, 24);
	item = a->twin_first;
	for (uint32_t i = 0; i < 16; i++, item = w->p->twin[item].next) {
		struct pool_slab *s = pool_item(w->p, item, &frame);

		pin_as(&w->sim[1], i, s, frame, PIN_MAPPED);
	}
	/* 88 of 96 frames hold something */
	for (uint64_t n = 100; n < 124; n++) {
		put(w, n, PART);
		for (uint64_t hot = 1; hot <= 24; hot++)
			touch(w, hot);
	}
	CHECK_INT(COUNT(w, evicted), ==, 0);
	CHECK_INT(a->twins, ==, 16);
	for (uint32_t i = 0; i < 16; i++)
		sim_unpin(&w->sim[1], i);
	end(w);
}

/* A twin that is mapped is a copy: nothing is written for its sake. */
TEST(mapped_twins_are_not_dear)
{
	struct pool_slab *up, *low;
	uint32_t uf, lf;
	struct deep d;

	deep_begin_as(&d, &both, NULL);
	sim_add(d.w, 1);
	put_all(d.w, 1, 40);
	touch(d.w, 1);
	touch(d.w, 1);
	rest(d.w);
	up = slab_of(d.w, 1, PART, &uf);
	low = pool_item(d.w->p, pool_twin_of(d.w->p, up, uf), &lf);
	CHECK(!up->low && low->low && !deep_below(&d, 1));
	pin_as(&d.w->sim[1], 3, low, lf, PIN_MAPPED);
	evict_begin(d.w->s);
	CHECK(evict_add_twin(d.w->s, d.w->p, low, lf));
	CHECK_INT(evict_finish(d.w->s, d.w->p, false), ==, 0);
	/* nor does a block that falls leave */
	pin_as(&d.w->sim[1], 3, up, uf, PIN_MAPPED);
	evict_begin(d.w->s);
	CHECK(evict_add(d.w->s, d.w->p, up, uf));
	CHECK_INT(evict_finish(d.w->s, d.w->p, false), ==, 0);
	deep_rest(&d);
	CHECK(!deep_below(&d, 1));
	CHECK(pool_is_twin(d.w->p, low, lf));
	sim_unpin(&d.w->sim[1], 3);
	deep_end(&d);
}

/* Asked for where it lay alone, given back when it has come up: it stays. */
TEST(what_came_up_meanwhile_does_not_leave)
{
	struct world *w = begin(&both);
	struct rng r = { 1 };
	struct pool_slab *s;
	uint32_t frame;

	put_all(w, 1, 40);
	s = slab_of(w, 1, PART, &frame);
	CHECK(s->low);
	pin_as(&w->sim[1], 3, s, frame, PIN_MAPPED | PIN_LOSABLE);
	evict_begin(w->s);
	w->s->batch.ask_most = 1;
	CHECK(evict_add(w->s, w->p, s, frame));
	CHECK_INT(evict_finish(w->s, w->p, false), ==, 0);
	touch(w, 1);
	touch(w, 1);
	rest(w);
	CHECK(!slab_of(w, 1, PART, &frame)->low);
	answer(&w->sim[1], &r, true);
	store_settle(w->s, w->now);
	CHECK_INT(COUNT(w, revoked), ==, 1);
	s = slab_of(w, 1, PART, &frame);
	CHECK(s && !s->low);
	end(w);
}
