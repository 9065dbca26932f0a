/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own client, and the server's end; faults in each operation; all
 * operations in any order, recounted after every step.
 */
#include "tests/store/own.h"
#include "base/fault.h"

#define SLAB 65536ull
static const struct world_config four = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB };

static void begin(struct own *o, const struct world_config *config)
{
	memset(o, 0, sizeof(*o));
	own_open(o, world_create(config));
}

static void restart(struct own *o)
{
	world_restart(o->w);
	own_open(o, o->w);
}

TEST(what_was_sealed_outlives_the_server)
{
	struct local_part part;
	uint32_t ns;
	struct own o;

	begin(&o, &four);
	ns = o.ns;
	own_put(&o, 1, 0, 1, 4096);
	own_put(&o, 2, 3, 7, 300);
	own_put(&o, 1, 0, 2, 4096);
	CHECK_OK(own_grant(&o, 3, 0, 4096, &part));
	CHECK_INT(world_check(o.w).granted, ==, 1);
	restart(&o);
	CHECK_INT(o.ns, ==, ns);
	CHECK_INT(world_check(o.w).granted, ==, 0);
	CHECK_INT(o.c->granted, ==, 0);
	CHECK(own_has(&o, 1, 0, 2, 4096));
	CHECK(own_has(&o, 2, 3, 7, 300));
	CHECK(!own_find(&o, 3, 0, &part));
	for (uint32_t id = 1; id < o.w->p->slab_end; id++)
		CHECK(!o.w->p->slab[id] ||
		      o.w->p->slab[id]->owner == CLIENT_SERVER);
	own_put(&o, 3, 0, 1, 4096);
	CHECK(own_has(&o, 3, 0, 1, 4096));
	world_check(o.w);
	world_destroy(o.w);
}

TEST(pins_die_with_the_server)
{
	struct local_part part;
	struct own o;

	begin(&o, &four);
	own_put(&o, 1, 0, 1, 4096);
	CHECK(own_find(&o, 1, 0, &part));
	CHECK_INT(local_pin(o.c, &part), >=, 0);
	CHECK(own_remove(&o, 1, 0));
	CHECK_INT(world_check(o.w).doomed, ==, 1);
	restart(&o);
	world_tick(o.w, WORLD_SEC / 10);
	CHECK_INT(world_check(o.w).doomed, ==, 0);
	world_destroy(o.w);
}

/* ---- faults ---------------------------------------------------------------- */

static bool fault_grant_seal(struct own *o, uint64_t nth, bool sticky)
{
	struct local_part part;
	uint64_t key[4];
	int64_t r = 0;
	bool fired;

	key_of(1000 + nth, key);
	fault_arm(FAULT_ALL, nth, sticky);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_INT(local_grant(o->c, key, own_part(o, 0), 9000, 0, 0, 0,
				      &r, &part),
			  ==, STORE_ANSWERED);
		world_ready(o->w);
		if (r != -ENOBUFS)
			break;
	}
	if (r == 0)
		r = local_seal(o->c, &part, 9000, 1);
	fired = fault_fired();
	fault_arm(0, 0, false);
	CHECK(r == 0 || r == -ENOMEM || r == -ENOBUFS || r == -EIO ||
	      r == -ENOSPC);
	world_check(o->w);
	o->w->now += WORLD_SEC;
	return fired;
}

TEST(a_grant_survives_faults)
{
	for (unsigned sticky = 0; sticky < 2; sticky++) {
		bool fired = true;

		for (uint64_t nth = 1; fired; nth++) {
			struct own o;

			CHECK_INT(nth, <, 200);
			begin(&o, &four);
			fired = fault_grant_seal(&o, nth, sticky);
			own_put(&o, 5, 0, 1, 9000);
			CHECK(own_has(&o, 5, 0, 1, 9000));
			CHECK_INT(world_check(o.w).granted, ==, 0);
			world_destroy(o.w);
		}
	}
}

static int64_t late_result;
static struct local_part late_part;

static void on_late(struct world *w, const struct ring_call *call,
		    const struct ring_answer *answer)
{
	(void)call;
	late_result = answer->result;
	if (answer->result)
		return;
	late_result =
		local_granted(w->s->local[w->p->number], answer, &late_part);
}

/* The same when the answer comes later: its memory may be refused then. */
TEST(a_grant_that_waited_survives_faults)
{
	bool fired = true;

	for (uint64_t nth = 1; fired; nth++) {
		struct local_part part;
		uint64_t key[4];
		int64_t r;
		struct own o;

		CHECK_INT(nth, <, 200);
		begin(&o, &four);
		o.w->local_answer = on_late;
		late_result = 1;
		key_of(1, key);
		CHECK_INT(local_grant(o.c, key, own_part(&o, 0), 9000, 0, 1,
				      WORLD_SEC, &r, &part),
			  ==, STORE_LATER);
		fault_arm(FAULT_ALL, nth, false);
		world_ready(o.w);
		for (unsigned i = 0; i < 6 && late_result == 1; i++) {
			world_tick(o.w, WORLD_SEC / 3);
			world_ready(o.w);
		}
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK_INT(late_result, <=, 0);
		if (late_result == 0)
			CHECK_OK(own_seal(&o, 1, 0, 1, 9000, &late_part));
		CHECK_INT(world_check(o.w).granted, ==, 0);
		world_destroy(o.w);
	}
}

static void one_of_each(struct own *o)
{
	struct local_part part;
	uint64_t key[4], found;
	int64_t slot;

	if (own_find(o, 1, 0, &part)) {
		local_touch(o->c, &part);
		slot = local_pin(o->c, &part);
		local_at(o->c, frame_loc_slab(part.loc),
			 frame_loc_frame(part.loc), o->ns, key, &found, &part);
		if (slot >= 0)
			local_unpin(o->c, slot);
	}
	own_remove(o, 1, 0);
	if (own_find(o, 2, 0, &part))
		local_bad(o->c, &part);
}

TEST(everything_else_survives_faults)
{
	bool fired = true;

	for (uint64_t nth = 1; fired; nth++) {
		struct own o;

		begin(&o, &four);
		own_put(&o, 1, 0, 1, 4096);
		own_put(&o, 2, 0, 1, 4096);
		restart(&o); /* nothing is mapped */
		fault_arm(FAULT_ALL, nth, true);
		one_of_each(&o);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK(!own_find(&o, 1, 0, &(struct local_part){ 0 }));
		world_check(o.w);
		world_destroy(o.w);
	}
}

TEST(the_client_is_made_or_not)
{
	bool fired = true;

	for (uint64_t nth = 1; fired; nth++) {
		struct world *w = world_create(&four);
		struct store_client *c;
		struct own o = { 0 };
		int r;

		fault_arm(FAULT_ALL, nth, false);
		r = local_client(w->s, w->p, &c);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK_INT(r, ==, fired ? -ENOMEM : 0);
		own_open(&o, w);
		own_put(&o, 1, 0, 1, 100);
		world_destroy(w);
	}
}

/* Wrong bytes: all parts of the block go, and are counted. */
TEST(a_bad_part_takes_its_block_with_it)
{
	struct local_part part;
	struct own o;

	begin(&o, &four);
	own_put(&o, 1, 0, 1, 4096);
	own_put(&o, 1, 1, 1, 4096);
	own_put(&o, 2, 0, 1, 4096);
	CHECK(own_find(&o, 1, 1, &part));
	local_bad(o.c, &part);
	local_bad(o.c, &part); /* it is gone */
	CHECK_INT(pool_counter(o.w->p, POOL_C_bad), ==, 2);
	CHECK(!own_has(&o, 1, 0, 1, 4096));
	CHECK(!own_has(&o, 1, 1, 1, 4096));
	CHECK(own_has(&o, 2, 0, 1, 4096));
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(world_check(o.w).doomed, ==, 0);
	world_destroy(o.w);
}

/* ---- anything in any order ------------------------------------------------------ */

#define NAMES 40
#define HELD  12

struct name_state {
	uint64_t version, bytes; /* version 0: must not be there */
};

struct play {
	struct own o;
	struct own_memory memory;
	struct name_state name[NAMES];
	struct held {
		struct local_part part;
		uint64_t n, version, bytes;
		int64_t slot;
	} pin[HELD];
	struct local_part grant[HELD];
	uint64_t grant_name[HELD], grant_bytes[HELD];
	unsigned n_pins, n_grants;
	uint64_t seed, versions, clients; /* sealed by clients */
};

static uint64_t next(struct play *y, uint64_t n)
{
	y->seed = y->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (y->seed >> 33) % n;
}

static uint64_t size(struct play *y)
{
	static const uint64_t sizes[] = { 0,	1,    511,  512,  513,	1024,
					  2000, 2049, 4096, 5000, 12288 };

	return sizes[next(y, ARRAY_LEN(sizes))];
}

static uint16_t group(uint64_t n)
{
	return (uint16_t)(n % OWN_GROUPS);
}

static void play_grant(struct play *y)
{
	unsigned i = y->n_grants;

	if (i == HELD)
		return;
	y->grant_name[i] = next(y, NAMES);
	y->grant_bytes[i] = size(y);
	if (own_grant(&y->o, y->grant_name[i], group(y->grant_name[i]),
		      y->grant_bytes[i], &y->grant[i]) == 0)
		y->n_grants++;
}

static void play_end_grant(struct play *y, bool seal)
{
	unsigned i, last;
	uint64_t n;

	if (!y->n_grants)
		return;
	i = (unsigned)next(y, y->n_grants);
	last = --y->n_grants;
	n = y->grant_name[i];
	if (seal) {
		y->name[n] =
			(struct name_state){ ++y->versions, y->grant_bytes[i] };
		CHECK_OK(own_seal(&y->o, n, group(n), y->versions,
				  y->grant_bytes[i], &y->grant[i]));
	} else {
		local_abandon(y->o.c, &y->grant[i]);
	}
	y->grant[i] = y->grant[last];
	y->grant_name[i] = y->grant_name[last];
	y->grant_bytes[i] = y->grant_bytes[last];
}

static void play_pin(struct play *y)
{
	uint64_t n = next(y, NAMES);
	struct held *h = &y->pin[y->n_pins];

	if (y->n_pins == HELD || !y->name[n].version ||
	    !own_find(&y->o, n, group(n), &h->part))
		return;
	h->n = n;
	h->version = y->name[n].version;
	h->bytes = y->name[n].bytes;
	h->slot = local_pin(y->o.c, &h->part);
	CHECK_INT(h->slot, >=, 0);
	y->n_pins++;
}

static void play_unpin(struct play *y)
{
	if (!y->n_pins)
		return;
	local_unpin(y->o.c, y->pin[--y->n_pins].slot);
}

static void play_restart(struct play *y)
{
	restart(&y->o);
	y->n_pins = y->n_grants = 0;
}

static void play_client(struct play *y)
{
	struct world *w = y->o.w;
	unsigned i = (unsigned)next(y, 2);
	struct sim *c = &w->sim[i];
	uint64_t n, part;

	if (!c->c)
		c = sim_add(w, i);
	else if (next(y, 20) == 0) {
		sim_die(c);
		return;
	}
	n = next(y, NAMES);
	/* also under a door's names */
	part = next(y, 3) ? PART : own_part(&y->o, group(n));
	if (sim_grant_wait(c, n, part) == 0)
		y->clients += sim_seal(c, n, part, &c->grant[0]) == 0;
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		if (w->p->slab[id] && !w->p->slab[id]->retiring)
			store_region_given(c->c, id);
}

/* What is there is right; a pinned one is there. */
static void play_look(struct play *y)
{
	uint64_t n = next(y, NAMES);
	struct local_part part;

	if (!own_find(&y->o, n, group(n), &part)) {
		/* it may have had to leave */
		CHECK(!y->name[n].version ||
		      pool_counter(y->o.w->p, POOL_C_evicted));
		return;
	}
	CHECK_INT(y->name[n].version, >, 0);
	own_compare(&y->o, n, group(n), y->name[n].version, y->name[n].bytes,
		    &part);
	local_touch(y->o.c, &part);
}

static void play_step(struct play *y)
{
	uint64_t n;

	switch (next(y, 16)) {
	case 0 ... 3:
		play_grant(y);
		break;
	case 4 ... 7:
		play_end_grant(y, true);
		break;
	case 8:
		play_end_grant(y, false);
		break;
	case 9:
		n = next(y, NAMES);
		own_remove(&y->o, n, group(n));
		y->name[n].version = 0;
		break;
	case 10:
		play_pin(y);
		break;
	case 11:
		play_unpin(y);
		break;
	case 12:
		play_client(y);
		break;
	case 13:
		if (next(y, 30) == 0)
			play_restart(y);
		break;
	default:
		play_look(y);
		world_tick(y->o.w, WORLD_SEC / 100);
		world_ready(y->o.w);
	}
}

static void play(const struct world_config *config, uint64_t seed)
{
	struct play *y = calloc(1, sizeof(*y));

	CHECK(y);
	y->seed = seed;
	begin(&y->o, config);
	for (unsigned i = 0; i < 5000; i++) {
		play_step(y);
		world_check(y->o.w);
		own_check(&y->o, &y->memory);
		for (unsigned p = 0; p < y->n_pins; p++)
			own_compare(&y->o, y->pin[p].n, group(y->pin[p].n),
				    y->pin[p].version, y->pin[p].bytes,
				    &y->pin[p].part);
	}
	CHECK_INT(y->clients, >, 20);
	CHECK_INT(pool_counter(y->o.w->p, POOL_C_evicted) > 0, ==,
		  config == &four);
	world_destroy(y->o.w);
	free(y);
}

TEST(anything_in_any_order_in_little_room)
{
	for (uint64_t seed = 1; seed < 5; seed++)
		play(&four, seed);
}

TEST(anything_in_any_order_in_much_room)
{
	static const struct world_config config = { .limit = 40 * SLAB,
						    .slab_bytes = SLAB };

	play(&config, 77);
}
