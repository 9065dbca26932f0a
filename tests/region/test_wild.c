/* SPDX-License-Identifier: Apache-2.0 */
/* A member that writes into what is not its own: descriptors of an owner that lives.
 * It may spoil blocks; it does not reach the memory of the owner's process. */
#include "coherence/pin.h"
#include "region/internal.h"
#include "tests/region/rig.h"

#define FRAMES 8u

struct wild {
	struct rig g;
	struct region *a, *c; /* owns; reads */
	char *all;
	struct region_desc *desc;
};

static struct wild begin(void)
{
	struct wild w = { .g = rig_create(9, 1, FRAMES) };

	w.a = rig_join(&w.g, "a", 1, false);
	w.c = rig_join(&w.g, "c", 0, false);
	w.all = rig_map(&w.g);
	w.desc = (void *)(w.all + w.a->places.shards + w.a->places.desc);
	return w;
}

static void end(struct wild *w)
{
	rig_unmap(&w->g, w->all);
	region_close(w->a);
	region_close(w->c);
	rig_destroy(&w->g);
}

/* Every frame is in one place at most, and all are somewhere. */
static void check_own(const struct wild *w)
{
	const struct region_own *own = w->a->own[0];
	unsigned seen[FRAMES] = { 0 };

	CHECK_INT(own->n_free, <=, FRAMES);
	CHECK_INT(own->n_doomed, <=, FRAMES);
	for (uint32_t i = 0; i < own->n_free; i++)
		seen[own->free[i]]++;
	for (uint32_t i = 0; i < own->n_doomed; i++)
		seen[own->doomed[i]]++;
	for (uint32_t i = 0; i < FRAMES; i++)
		CHECK_INT(seen[i], <=, 1);
	CHECK_INT(own->n_free + own->n_sealed + own->n_doomed +
			  own->n_quarantined,
		  ==, FRAMES);
}

/* Doomed and pinned, it says that it is sealed, again and again. */
TEST(a_doomed_frame_that_says_it_is_sealed_is_listed_once)
{
	struct wild w = begin();
	struct region_name name = rig_name(1);
	struct region_pin pin;
	uint64_t sealed;

	CHECK_OK(rig_put(w.a, 1, 1));
	CHECK_OK(rig_put(w.a, 2, 1));
	CHECK_OK(rig_pin(w.c, 1, &pin));
	w.all[(const unsigned char *)pin.data - w.c->all] ^= 1;
	sealed = shared_load64(&w.desc[pin.frame].word);
	for (unsigned i = 0; i < 4 * FRAMES; i++) {
		shared_store64(&w.desc[pin.frame].word, sealed);
		CHECK_INT(region_verify(w.c, &name, &pin), ==, REGION_BAD);
		CHECK_OK(region_tick(w.a));
		check_own(&w);
		CHECK_INT(w.a->own[0]->n_sealed, ==, 1);
	}
	region_unpin(w.c, &pin);
	CHECK_OK(region_tick(w.a));
	check_own(&w);
	CHECK(rig_has(w.c, 2));
	end(&w);
}

/* All say so, whatever they are, when room is made and when blocks are removed. */
TEST(frames_that_say_they_are_sealed_are_not_evicted_twice)
{
	struct wild w = begin();
	struct region_pin pin[2];
	struct region_name name = rig_name(2);

	for (uint64_t id = 1; id <= 4; id++)
		CHECK_OK(rig_put(w.a, id, 1));
	CHECK_OK(rig_pin(w.c, 1, &pin[0]));
	CHECK_OK(rig_pin(w.c, 2, &pin[1]));
	CHECK_OK(region_remove(w.a, &name));
	CHECK_INT(w.a->own[0]->n_doomed, ==, 1);
	for (unsigned i = 0; i < 20; i++) {
		for (uint32_t f = 0; f < FRAMES; f++)
			shared_store64(&w.desc[f].word,
				       frame_word(frame_word_gen(shared_load64(
							  &w.desc[f].word)),
						  FRAME_SEALED));
		(void)region_evict(w.a, FRAMES);
		check_own(&w);
		(void)region_remove(w.a, &name);
		check_own(&w);
		(void)rig_put(w.a, 100 + i, 1);
		check_own(&w);
		CHECK_OK(region_tick(w.a));
		check_own(&w);
	}
	end(&w);
}

static void report(char *all, const struct region *r, uint32_t member,
		   const struct region_pin *pin, unsigned n)
{
	struct region_unit *unit =
		(void *)(all + r->places.units + member * REGION_UNIT);

	for (unsigned i = 0; i < n; i++)
		shared_store64(&unit->head.report[i % REGION_REPORTS],
			       pin_word(region_loc(pin->shard, pin->frame),
					pin->gen));
	shared_store64(&unit->head.report_tail,
		       shared_load64(&unit->head.report_tail) + n);
}

static uint64_t left(const struct wild *w, uint32_t members)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < members; i++)
		n += shared_load64(&region_unit_of(w->a, i)->head.report_tail) -
		     w->a->report_seen[i];
	return n;
}

/* Every member says again and again that a block is bad, which is not: the owner reads
 * a few in a tick, and comes to what an honest one says. */
TEST(false_reports_cost_little)
{
	struct wild w = begin();
	const uint32_t members = w.a->g.members;
	struct region_pin good, bad;
	unsigned ticks = 0;
	uint64_t was;

	CHECK_OK(rig_put(w.a, 1, 1));
	CHECK_OK(rig_put(w.a, 2, 1));
	CHECK_OK(rig_pin(w.c, 1, &good));
	CHECK_OK(rig_pin(w.c, 2, &bad));
	for (uint32_t i = 0; i < members - 1; i++)
		report(w.all, w.a, i, &good, REGION_REPORTS);
	w.all[(const unsigned char *)bad.data - w.c->all] ^= 1;
	region_unpin(w.c, &bad);
	report(w.all, w.a, members - 1, &bad, 1);
	for (; w.a->own[0]->n_sealed == 2; ticks++) {
		was = left(&w, members);
		CHECK_OK(region_tick(w.a));
		CHECK_INT(was - left(&w, members), <=, 4);
	}
	CHECK_INT(ticks, <=, members);
	while ((was = left(&w, members)) > 0) {
		CHECK_OK(region_tick(w.a));
		CHECK_INT(left(&w, members), <, was);
	}
	CHECK(rig_has(w.c, 1) && !rig_has(w.c, 2));
	region_unpin(w.c, &good);
	end(&w);
}
