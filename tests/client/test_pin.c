/* SPDX-License-Identifier: Apache-2.0 */
/* Pins, matches and looks over a fake node. */
#include "tests/client/fake.h"
#include <stdlib.h>
#include "tests/test.h"
#include "base/fault.h"
#include "coherence/pin.h"

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	uint64_t part;
};

static struct rig rig_make(const struct oc_client_options *o)
{
	struct rig r;

	r.f = fake_start();
	r.c = fake_client(r.f, o);
	r.ns = fake_ns(r.c);
	r.part = frame_part(1, 0, 0);
	return r;
}

static void rig_end(struct rig *r)
{
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static void seal_n(struct rig *r, uint64_t first, unsigned n)
{
	pthread_mutex_lock(&r->f->lock);
	for (unsigned i = 0; i < n; i++) {
		struct oc_key key = fake_key(first + i);

		fake_seal(r->f, FAKE_OTHER, i, 5, &key, r->part);
	}
	pthread_mutex_unlock(&r->f->lock);
}

TEST(fake_pin_finds_what_was_sealed)
{
	struct rig r = rig_make(NULL);
	uint8_t expected[FAKE_FRAME_BYTES];
	struct oc_key key = fake_key(3);
	struct oc_pin pin;
	struct oc_stat stat;

	CHECK_INT(oc_pin(r.ns, &key, P0, 0, &pin), ==, OC_MISS);
	seal_n(&r, 0, 8);
	CHECK_OK(oc_pin(r.ns, &key, P0, OC_PIN_VERIFY, &pin));
	CHECK_INT(fake_payload(3, expected), ==, pin.checksum);
	CHECK_INT(pin.bytes, ==, FAKE_FRAME_BYTES);
	CHECK_INT(pin.offset, ==, 3 * FAKE_FRAME_BYTES);
	CHECK_INT(pin.region, ==, FAKE_OTHER);
	CHECK_INT(pin.generation, ==, 5);
	CHECK_MEM(pin.data, expected, FAKE_FRAME_BYTES);
	CHECK_OK(oc_stat(r.c, &stat));
	CHECK_INT(stat.pins_held, ==, 1);
	CHECK_INT(stat.hits, ==, 1);
	CHECK_INT(stat.misses, ==, 1);
	oc_unpin(r.ns, &pin);
	CHECK_OK(oc_stat(r.c, &stat));
	CHECK_INT(stat.pins_held, ==, 0);
	CHECK_INT(shared_load64(&r.f->client->header.touch_tail), ==, 1);
	CHECK_INT(shared_load64(&r.f->client->touch[0]), ==,
		  pin_word(frame_loc(FAKE_OTHER, 3), 5));
	CHECK_INT(oc_pin(r.ns, &key, (struct oc_part){ 1, 0 }, 0, &pin), ==,
		  -EINVAL);
	rig_end(&r);
}

TEST(fake_stale_entries_read_as_a_miss)
{
	struct rig r = rig_make(NULL);
	struct oc_key key = fake_key(1), other = fake_key(2);
	struct oc_pin pin;

	seal_n(&r, 1, 1);
	pthread_mutex_lock(&r.f->lock);
	/* An entry that names another key's frame, one with a generation that
	 * has gone, one in a slab that is not there, one beyond its slab. */
	fake_entry(r.f, &other, r.part, FAKE_OTHER, 0, 5);
	fake_entry(r.f, &other, r.part, FAKE_OTHER, 0, 4);
	fake_entry(r.f, &other, r.part, 3, 0, 5);
	fake_entry(r.f, &other, r.part, FAKE_OTHER, FAKE_FRAMES, 0);
	pthread_mutex_unlock(&r.f->lock);
	CHECK_INT(oc_pin(r.ns, &other, P0, 0, &pin), ==, OC_MISS);
	CHECK_INT(oc_exists(r.ns, &other, P0), ==, OC_MISS);
	CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pin));
	oc_unpin(r.ns, &pin);
	for (enum frame_state s = FRAME_FREE; s < FRAME_STATES; s++) {
		int expected = s == FRAME_SEALED ? 0 : OC_MISS;

		shared_store64(&fake_desc(r.f, FAKE_OTHER, 0)->word,
			       frame_word(5, s));
		CHECK_INT(oc_pin(r.ns, &key, P0, 0, &pin), ==, expected);
		CHECK_INT(oc_exists(r.ns, &key, P0), ==, expected);
		if (expected == 0)
			oc_unpin(r.ns, &pin);
	}
	/* A match behind colliding entries is found. */
	pthread_mutex_lock(&r.f->lock);
	fake_seal(r.f, FAKE_OTHER, 9, 7, &other, r.part);
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_pin(r.ns, &other, P0, OC_PIN_VERIFY, &pin));
	CHECK_INT(pin.generation, ==, 7);
	oc_unpin(r.ns, &pin);
	for (unsigned i = 0; i < FAKE_PINS; i++)
		CHECK_INT(shared_load64(&r.f->client->slots[i]), ==, 0);
	rig_end(&r);
}

TEST(fake_wrong_bytes_are_bad)
{
	struct rig r = rig_make(NULL);
	struct oc_key key = fake_key(0);
	uint8_t buf[FAKE_FRAME_BYTES];
	struct oc_pin pin;
	uint64_t n;

	seal_n(&r, 0, 1);
	CHECK_OK(oc_get(r.ns, &key, P0, buf, sizeof(buf), &n));
	CHECK_INT(oc_get(r.ns, &key, P0, buf, 10, &n), ==, -ENOSPC);
	CHECK_INT(n, ==, FAKE_FRAME_BYTES);
	((char *)r.f->slab[FAKE_OTHER].data.base)[17] ^= 1;
	CHECK_INT(oc_pin(r.ns, &key, P0, OC_PIN_VERIFY, &pin), ==, OC_BAD);
	CHECK_INT(oc_get(r.ns, &key, P0, buf, sizeof(buf), &n), ==, OC_MISS);
	while (r.f->bad < 2)
		sched_yield();
	rig_end(&r);
}

TEST(fake_batches_pin_what_is_there)
{
	struct rig r = rig_make(NULL);
	struct oc_key keys[64];
	struct oc_pin pins[64];
	size_t n = 0;

	seal_n(&r, 0, 48);
	for (unsigned i = 0; i < 64; i++)
		keys[i] = fake_key(i);
	shared_store64(&fake_desc(r.f, FAKE_OTHER, 7)->word,
		       frame_word(5, FRAME_LEAVING));
	CHECK_OK(oc_pin_batch(r.ns, keys, 64, P0, OC_PIN_VERIFY, pins, &n));
	CHECK_INT(n, ==, 47);
	for (unsigned i = 0; i < 64; i++) {
		CHECK((pins[i].data != NULL) == (i < 48 && i != 7));
		if (pins[i].data)
			CHECK_INT(*(const uint8_t *)pins[i].data, ==, i);
	}
	oc_unpin_batch(r.ns, pins, 64);
	CHECK_INT(shared_load64(&r.f->client->header.touch_tail), ==, 47);
	/* From the last to the first. */
	CHECK_INT(pin_word_loc(shared_load64(&r.f->client->touch[0])), ==,
		  frame_loc(FAKE_OTHER, 47));
	CHECK_INT(pin_word_loc(shared_load64(&r.f->client->touch[46])), ==,
		  frame_loc(FAKE_OTHER, 0));
	rig_end(&r);
}

TEST(fake_more_pins_than_slots_go_through_the_server)
{
	struct rig r = rig_make(NULL);
	struct oc_pin pins[FAKE_PINS + FAKE_OVERFLOW], one;
	struct oc_key key = fake_key(0);
	uint64_t left;

	seal_n(&r, 0, 1);
	for (unsigned i = 0; i < ARRAY_LEN(pins); i++)
		CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pins[i]));
	CHECK_INT(oc_pin(r.ns, &key, P0, 0, &one), ==, -EDQUOT);
	CHECK(*oc_client_error(r.c));
	oc_unpin_batch(r.ns, pins, ARRAY_LEN(pins));
	while (r.f->unpinned < FAKE_OVERFLOW)
		sched_yield();
	for (unsigned i = 0; i < ARRAY_LEN(pins); i++) {
		left = shared_load64(&r.f->client->slots[i]);
		CHECK_INT(left, ==, 0);
	}
	CHECK_OK(oc_pin(r.ns, &key, P0, OC_PIN_BY_RING, &one));
	oc_unpin(r.ns, &one);
	rig_end(&r);
}

TEST(fake_match_stops_at_the_first_gap)
{
	struct rig r = rig_make(NULL);
	struct oc_block_info info[64];
	struct oc_key keys[64];
	struct oc_pin pins[64];
	size_t n = 99;

	for (unsigned i = 0; i < 64; i++)
		keys[i] = fake_key(i);
	CHECK_OK(oc_match(r.ns, keys, 64, NULL, info, &n));
	CHECK_INT(n, ==, 0);
	seal_n(&r, 0, 60);
	CHECK_OK(oc_match(r.ns, keys, 64, NULL, info, &n));
	CHECK_INT(n, ==, 60);
	CHECK_INT(info[59].tier, ==, OC_TIER_DRAM);
	CHECK_INT(info[59].bytes, ==, FAKE_FRAME_BYTES);
	CHECK_INT(info[59].expected_ns, ==, 100 + 1000);
	shared_store64(&fake_desc(r.f, FAKE_OTHER, 40)->word,
		       frame_word(5, FRAME_DOOMED));
	CHECK_OK(oc_match_pin(r.ns, keys, 64, NULL, pins, &n));
	CHECK_INT(n, ==, 40);
	for (unsigned i = 0; i < 64; i++)
		CHECK((pins[i].data != NULL) == (i < 40));
	oc_unpin_batch(r.ns, pins, 64);
	rig_end(&r);
}

TEST(fake_match_pin_needs_only_the_window)
{
	struct rig r = rig_make(NULL);
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 2,
		.groups = { { .slices = 1, .slice_bytes = 64 },
			    { .rule = OC_RULE_WINDOW,
			      .window_tokens = 32,
			      .slices = 1,
			      .slice_bytes = 64 } },
	};
	struct oc_key keys[8];
	struct oc_pin pins[16];
	oc_ns *ns;
	size_t n;

	CHECK_OK(oc_ns_open(r.c, &o, 0, &ns));
	pthread_mutex_lock(&r.f->lock);
	for (unsigned i = 0; i < 8; i++) {
		keys[i] = fake_key(i);
		fake_seal(r.f, FAKE_OTHER, i, 2, &keys[i], frame_part(1, 0, 0));
		if (i == 3 || i == 4 || i == 5)
			fake_seal(r.f, FAKE_OTHER, 20 + i, 2, &keys[i],
				  frame_part(1, 1, 0));
	}
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_match_pin(ns, keys, 8, NULL, pins, &n));
	CHECK_INT(n, ==, 6);
	for (unsigned i = 0; i < 8; i++) {
		CHECK((pins[2 * i].data != NULL) == (i < 6));
		CHECK((pins[2 * i + 1].data != NULL) == (i == 4 || i == 5));
	}
	oc_unpin_batch(ns, pins, 16);
	oc_ns_close(ns);
	rig_end(&r);
}

TEST(fake_where_answers_the_four_questions)
{
	struct rig r = rig_make(NULL);
	struct oc_key key = fake_key(2), none = fake_key(77);
	struct oc_where w;

	seal_n(&r, 0, 3);
	CHECK_OK(oc_where(r.ns, &key, P0, &w));
	CHECK_INT(w.tier, ==, OC_TIER_DRAM);
	CHECK_INT(w.owner, ==, oc_client_id(r.c));
	CHECK_INT(w.replicas, ==, 1);
	CHECK_INT(w.offset, ==, 2 * FAKE_FRAME_BYTES);
	CHECK_INT(w.expected_ns, ==, 1100);
	CHECK_INT(oc_where(r.ns, &none, P0, &w), ==, OC_MISS);
	rig_end(&r);
}

/* ---- regions and the index while others probe ---- */

struct events {
	_Atomic(int) comes, goes;
};

static void on_region(void *ctx, int event, const struct oc_region *region)
{
	struct events *e = ctx;

	CHECK(region->base != NULL);
	if (event == OC_REGION_COMES)
		e->comes++;
	else
		e->goes++;
}

struct prober {
	struct rig *r;
	_Atomic(bool) stop;
	_Atomic(uint64_t) rounds;
};

static void *probe(void *ctx)
{
	struct prober *p = ctx;

	while (!p->stop) {
		for (unsigned i = 0; i < 32; i++) {
			struct oc_key key = fake_key(i);
			struct oc_pin pin;
			int r = oc_pin(p->r->ns, &key, P0, 0, &pin);

			CHECK_INT(r, >=, 0);
			if (r)
				continue;
			CHECK_INT(*(const uint8_t *)pin.data, ==, i);
			oc_unpin(p->r->ns, &pin);
		}
		p->rounds++;
	}
	return NULL;
}

static void wait_rounds(struct prober *p, uint64_t n)
{
	uint64_t end = p->rounds + n;

	while (p->rounds < end)
		sched_yield();
}

/* A frame whose slab is to retire may be pinned; the fake, like the server,
 * waits for that. */
static void wait_unpinned(struct rig *r, uint32_t slab)
{
	for (unsigned i = 0; i < FAKE_PINS;) {
		uint64_t w = pin_read(&r->f->client->slots[i]);

		if (w && frame_loc_slab(pin_word_loc(w)) == slab)
			sched_yield();
		else
			i++;
	}
}

static void leave_all(struct rig *r, uint32_t slab)
{
	for (unsigned i = 0; i < 32; i++) {
		struct frame_desc *d = fake_desc(r->f, slab, i);

		shared_store64(
			&d->word,
			frame_word(frame_word_gen(shared_load64(&d->word)),
				   FRAME_LEAVING));
	}
	shared_fence();
	wait_unpinned(r, slab);
}

TEST(fake_slabs_retire_while_threads_probe)
{
	struct events e = { 0 };
	struct oc_client_options o = {
		.size = sizeof(o),
		.on_region = on_region,
		.region_ctx = &e,
	};
	struct rig r = rig_make(&o);
	struct prober p = { .r = &r };
	pthread_t threads[2];
	const int times = 20;

	for (int i = 0; i < 2; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, probe, &p));
	for (int k = 0; k < times; k++) {
		uint64_t epoch;

		/* Sizes grow and shrink: places are used again. */
		pthread_mutex_lock(&r.f->lock);
		fake_slab_make(r.f, FAKE_OTHER, k % 3 == 2 ? 200 : 64, 0);
		for (unsigned i = 0; i < 32; i++) {
			struct oc_key key = fake_key(i);

			fake_seal(r.f, FAKE_OTHER, i, 100u + (unsigned)k, &key,
				  r.part);
		}
		pthread_mutex_unlock(&r.f->lock);
		wait_rounds(&p, 3);
		pthread_mutex_lock(&r.f->lock);
		leave_all(&r, FAKE_OTHER);
		fake_slab_retire(r.f, FAKE_OTHER);
		epoch = shared_load64(&r.f->meta->header.region_epoch);
		pthread_mutex_unlock(&r.f->lock);
		while (shared_load64_acquire(
			       &r.f->client->header.let_go_epoch) < epoch)
			sched_yield();
		/* Stale entries would fill the buckets. */
		pthread_mutex_lock(&r.f->lock);
		for (uint64_t b = 0; b <= r.f->table.mask; b++)
			for (unsigned w = 0; w < TABLE_WAYS; w++)
				shared_store64(&r.f->table.bucket[b].entry[w],
					       0);
		pthread_mutex_unlock(&r.f->lock);
	}
	p.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(e.goes, ==, e.comes);
	CHECK_INT(e.comes, ==, times);
	rig_end(&r);
}

TEST(fake_index_grows_while_threads_probe)
{
	struct rig r = rig_make(NULL);
	struct prober p = { .r = &r };
	pthread_t threads[2];

	seal_n(&r, 0, 32);
	for (int i = 0; i < 2; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, probe, &p));
	for (int k = 1; k < 6; k++) {
		struct oc_key key = fake_key(1000 + (unsigned)k);

		pthread_mutex_lock(&r.f->lock);
		fake_index_grow(r.f, 256u << k);
		fake_seal(r.f, FAKE_OTHER, 32 + (unsigned)k, 1, &key, r.part);
		pthread_mutex_unlock(&r.f->lock);
		/* Only in the new one: a miss makes the client ask for it. */
		CHECK_OK(oc_exists(r.ns, &key, P0));
		wait_rounds(&p, 3);
	}
	p.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	rig_end(&r);
}

TEST(fake_slab_goes_when_a_quiet_client_dispatches)
{
	struct rig r = rig_make(NULL);
	struct oc_key key = fake_key(0);
	struct oc_pin pin;
	uint64_t epoch;

	seal_n(&r, 0, 1);
	CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pin));
	oc_unpin(r.ns, &pin);
	pthread_mutex_lock(&r.f->lock);
	fake_slab_retire(r.f, FAKE_OTHER);
	epoch = shared_load64(&r.f->meta->header.region_epoch);
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_client_dispatch(r.c));
	CHECK_INT(shared_load64(&r.f->client->header.let_go_epoch), ==, epoch);
	CHECK_INT(oc_pin(r.ns, &key, P0, 0, &pin), ==, OC_MISS);
	rig_end(&r);
}

TEST(fake_a_silent_socket_does_not_hold_a_pin_for_ever)
{
	struct oc_client_options o = {
		.size = sizeof(o),
		.timeout_ns = 1000000000, /* also for what is answered */
	};
	struct rig r = rig_make(&o);
	struct oc_key key = fake_key(0);
	struct oc_pin pin;

	seal_n(&r, 0, 1);
	r.f->mute_socket = true;
	CHECK_INT(oc_pin(r.ns, &key, P0, 0, &pin), ==, -ETIMEDOUT);
	fake_serve_again(r.f);
	CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pin));
	oc_unpin(r.ns, &pin);
	rig_end(&r);
}
