/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server dies after any of its stores, and another takes over.
 *
 * Each cut runs in a process of its own: the operation is left by longjmp, the
 * dead server's heap with it, and only what the fake keeper holds goes on.
 */
#include "tests/store/world.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else
#include <setjmp.h>

#define SLAB 65536ull
#define SEEN 512

static jmp_buf cut;
static uint64_t stores_left, stores_seen;

static void count_down(void *addr, unsigned width, uint64_t value,
		       enum shared_order order)
{
	(void)addr;
	(void)width;
	(void)value;
	(void)order;
	stores_seen++;
	if (!stores_left--)
		longjmp(cut, 1);
}

/* What must be true again after the recovery. */
struct before {
	uint64_t loc[SEEN], word[SEEN], key[SEEN]; /* sealed or leaving */
	uint64_t part[SEEN];
	unsigned n;
};

struct cut_case {
	const struct world_config *config;
	void (*prepare)(struct world *w);
	void (*act)(struct world *w);	/* is cut */
	void (*after)(struct world *w); /* may be NULL */
};

static const struct world_config two = { .limit = 2 * SLAB,
					 .slab_bytes = SLAB };

static void note(struct world *w, struct before *b)
{
	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		struct pool_slab *s = w->p->slab[id];
		uint64_t state =
			slab_word_state(shared_load64(&w->p->m->slab[id].word));

		for (uint32_t f = 0; s && state == SLAB_LIVE && f < s->frames;
		     f++) {
			enum frame_state at = pool_frame_state(s, f);

			if (at != FRAME_SEALED && at != FRAME_LEAVING)
				continue;
			CHECK_INT(b->n, <, SEEN);
			b->loc[b->n] = frame_loc(id, f);
			b->word[b->n] =
				frame_word(pool_frame_gen(s, f), FRAME_SEALED);
			b->key[b->n] = shared_load64(&s->desc[f].key[1]);
			b->part[b->n++] = shared_load64(&s->desc[f].part);
		}
	}
}

/* Right after the attach, before anything new is done. */
static void check_kept(struct world *w, const struct before *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		uint32_t frame;
		struct pool_slab *s = pool_locate(w->p, b->loc[i], &frame);

		CHECK(s);
		CHECK_INT(shared_load64(&s->desc[frame].word), ==, b->word[i]);
		CHECK(world_has(w, b->key[i], b->part[i]));
	}
}

static void check_pins(struct world *w)
{
	for (unsigned i = 0; i < SIMS; i++) {
		struct sim *c = &w->sim[i];

		for (unsigned slot = 0; c->c && !c->closed && slot < SIM_PINS;
		     slot++) {
			uint64_t pin = shared_load64(&c->cs->slots[slot]);
			struct pool_slab *s;
			uint32_t frame;

			if (!pin)
				continue;
			s = pool_locate(w->p, pin_word_loc(pin), &frame);
			CHECK(s);
			CHECK_INT(pool_frame_gen(s, frame), ==,
				  pin_word_gen(pin));
			CHECK(pool_frame_state(s, frame) == FRAME_SEALED ||
			      pool_frame_state(s, frame) == FRAME_DOOMED);
		}
	}
}

/* No frame is lent that its client was not told of. */
static void check_grants(struct world *w)
{
	for (unsigned i = 0; i < SIMS; i++) {
		struct sim *c = &w->sim[i];

		if (!c->c)
			continue;
		for (uint32_t slot = 0; slot < RING_SLOTS; slot++)
			if (shared_load64(&c->cs->req[slot].seq) && !c->closed)
				CHECK_INT(
					shared_load64(&c->cs->req[slot].seq),
					==,
					shared_load64(&c->cs->resp[slot].seq));
		CHECK_INT(c->c->granted, ==, c->n_grants);
	}
}

static void settle(struct world *w)
{
	for (unsigned i = 0; i < 30; i++) {
		for (unsigned j = 0; j < SIMS; j++)
			if (w->sim[j].c && !w->sim[j].closed)
				sim_let_go(&w->sim[j]);
		world_tick(w, WORLD_SEC / 2);
		world_ready(w);
		for (unsigned j = 0; j < SIMS; j++)
			for (uint32_t slot = 0;
			     w->sim[j].c && !w->sim[j].closed &&
			     slot < RING_SLOTS;
			     slot++)
				if (shared_load64(&w->sim[j].cs->req[slot].seq))
					sim_answer(&w->sim[j], slot);
	}
}

static void abandon_all(struct world *w)
{
	for (unsigned i = 0; i < SIMS; i++)
		while (w->sim[i].c && w->sim[i].n_grants)
			CHECK_OK(sim_abandon(&w->sim[i], &w->sim[i].grant[0]));
}

/* The dead server's own memory is not looked at again. */
static void forget(struct world *w)
{
	shared_record_hook = NULL;
	w->s = NULL;
	w->p = NULL;
	for (unsigned i = 0; i < SIMS; i++)
		w->sim[i].c = NULL;
}

/* True when the recovery was cut as well, after `stores`. */
static bool recover_cut(struct world *w, uint64_t stores)
{
	bool was_cut;

	stores_left = stores;
	shared_record_hook = count_down;
	was_cut = setjmp(cut) != 0;
	if (!was_cut) {
		CHECK_OK(world_attach(w));
		world_adopt(w);
	}
	shared_record_hook = NULL;
	return was_cut;
}

static void go_on(struct world *w)
{
	struct sim *c = sim_add(w, SIMS - 1);
	int64_t r;

	world_check(w);
	check_pins(w);
	settle(w);
	check_grants(w);
	abandon_all(w);
	CHECK_INT(world_check(w).granted, ==, 0);
	/* something new, in a slab of its own, and all of it once more */
	sim_grant(c, 777777, PART, 20 * WORLD_SEC);
	settle(w);
	if (c->n_grants) {
		r = sim_seal(c, 777777, PART, &c->grant[0]);
		CHECK(r == 0 || r == OC_EXISTS);
		CHECK(world_has(w, 777777, PART));
	}
	settle(w);
	check_pins(w);
	world_check(w);
	{
		bool there = world_has(w, 777777, PART);
		uint64_t sealed = pool_counter(w->p, POOL_C_sealed);

		world_restart(w);
		CHECK_INT(world_check(w).sealed, ==, sealed);
		CHECK_INT(world_has(w, 777777, PART), ==, there);
	}
	check_pins(w);
}

/* In a child. Exit status 0: it was cut; 3: it ran through; else it failed. */
static int one_cut(const struct cut_case *t, uint64_t stores, uint64_t again)
{
	static struct world *w; /* static: longjmp */
	static struct before b;
	static bool was_cut;

	w = world_create(t->config);
	t->prepare(w);
	stores_left = stores;
	shared_record_hook = count_down;
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		t->act(w);
	shared_record_hook = NULL;
	note(w, &b);
	forget(w);
	if (again != UINT64_MAX && recover_cut(w, again))
		forget(w);
	else if (again != UINT64_MAX)
		was_cut = false;
	if (!w->s) {
		CHECK_OK(world_attach(w));
		if (again == UINT64_MAX)
			check_kept(w, &b);
		world_adopt(w);
	}
	if (t->after)
		t->after(w);
	go_on(w);
	return was_cut ? 0 : 3;
}

static int forked(const struct cut_case *t, uint64_t stores, uint64_t again)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		alarm(20);
		_exit(one_cut(t, stores, again));
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	if (!WIFEXITED(status) ||
	    (WEXITSTATUS(status) && WEXITSTATUS(status) != 3))
		FAIL("cut after %llu stores, recovery after %lld: status %#x",
		     (unsigned long long)stores, (long long)again, status);
	return WEXITSTATUS(status);
}

static void cut_everywhere(const struct cut_case *t)
{
	uint64_t n = 0;

	while (forked(t, n, UINT64_MAX) == 0)
		n++;
	CHECK_INT(n, >, 0);
	/* the recovery cut too: a few places of the first, all but the long
	 * runs of the second */
	for (uint64_t i = 0; i < 3; i++)
		for (uint64_t m = i; forked(t, (n - 1) * (i + 1) / 3, m) == 0;
		     m += 3)
			;
}

/* ---- operations ----------------------------------------------------------- */

static void prepare_some(struct world *w)
{
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	for (uint64_t n = 1; n <= 8; n++)
		sim_put(a, n, PART);
	CHECK(sim_pin(b, 2, 3, PART));
	CHECK_OK(sim_grant_wait(a, 50, PART));
}

static void prepare_full(struct world *w)
{
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t id;

	for (uint64_t n = 1; n <= 32; n++)
		sim_put(a, n, PART);
	CHECK(sim_pin(b, 2, 1, PART));
	for (id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
}

static void act_grant(struct world *w)
{
	sim_grant(&w->sim[0], 60, PART, 10 * WORLD_SEC);
}

TEST(grant_of_a_free_frame)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_some, act_grant, 0 });
}

TEST(grant_that_evicts)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_full, act_grant, 0 });
}

static void act_grant_slab(struct world *w)
{
	sim_grant(&w->sim[1], 60, PART, 10 * WORLD_SEC);
	world_ready(w);
}

TEST(grant_that_adds_a_slab)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_grant_slab, 0 });
}

static void prepare_shapes(struct world *w)
{
	prepare_full(w);
	CHECK_INT(world_ns(w, 1, 1, 3 * 4096, 9), ==, 2);
}

static void act_reshape(struct world *w)
{
	sim_grant(&w->sim[0], 60, frame_part(2, 0, 0), 10 * WORLD_SEC);
}

TEST(grant_that_reshapes)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_shapes, act_reshape, 0 });
}

static void act_retire(struct world *w)
{
	sim_grant(&w->sim[1], 60, PART, 10 * WORLD_SEC);
	sim_let_go(&w->sim[0]);
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
}

/* The memory moves in spite of it, well before the deadline. */
static void after_retire(struct world *w)
{
	for (unsigned i = 0; i < 8; i++) {
		sim_let_go(&w->sim[0]);
		world_tick(w, WORLD_SEC / 10);
		world_ready(w);
	}
	CHECK_OK(sim_answer(&w->sim[1], w->sim[1].slot));
}

TEST(grant_that_retires)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_full, act_retire,
					   after_retire });
}

static void act_seal(struct world *w)
{
	struct sim *a = &w->sim[0];

	sim_seal(a, 50, PART, &a->grant[0]);
}

static void after_seal(struct world *w)
{
	CHECK(!w->sim[0].n_grants);
	CHECK(world_has(w, 50, PART));
}

/* The request is in the ring before the server dies: its answer comes. */
TEST(seal)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_seal, after_seal });
}

static void prepare_loser(struct world *w)
{
	prepare_some(w);
	sim_put(&w->sim[1], 50, PART);
}

TEST(seal_of_a_loser)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_loser, act_seal,
					   after_seal });
}

static void act_abandon(struct world *w)
{
	sim_abandon(&w->sim[0], &w->sim[0].grant[0]);
}

TEST(abandon)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_abandon, 0 });
}

static void act_remove(struct world *w)
{
	sim_call(&w->sim[0], call_of(RING_REMOVE, 2, PART));
	sim_call(&w->sim[0], call_of(RING_REMOVE, 3, PART)); /* pinned */
}

static void after_remove(struct world *w)
{
	/* the second call may not have been made */
	if (shared_load64(&w->sim[0].cs->req[w->sim[0].slot].key[1]) == 3)
		CHECK(!world_has(w, 3, PART));
	CHECK(!world_has(w, 2, PART));
}

TEST(remove)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_some, act_remove,
					   after_remove });
}

static void act_pin(struct world *w)
{
	sim_call(&w->sim[1], call_of(RING_PIN, 4, PART));
}

static void after_pin(struct world *w)
{
	struct sim *b = &w->sim[1];
	unsigned used = 0;

	CHECK_OK(sim_answer(b, b->slot));
	for (unsigned i = 0; i < SIM_OVER; i++)
		used += shared_load64(&b->cs->slots[SIM_PINS + i]) != 0;
	CHECK_INT(used, ==, 1);
}

TEST(pin_through_the_ring)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_pin, after_pin });
}

static void act_die(struct world *w)
{
	w->sim[0].alive = false;
	sim_die(&w->sim[0]);
}

static void after_die(struct world *w)
{
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(world_has(w, n, PART));
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		CHECK(!w->p->slab[id] || w->p->slab[id]->owner != w->sim[0].id);
}

TEST(client_that_died)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_die, after_die });
}

static void act_close(struct world *w)
{
	w->sim[0].closed = true;
	w->sim[1].closed = true;
	sim_close(&w->sim[0]);
	sim_close(&w->sim[1]);
}

static void prepare_close(struct world *w)
{
	prepare_some(w);
	sim_unpin(&w->sim[1], 2);
}

TEST(clients_that_close)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_close, act_close, 0 });
}

static void act_add(struct world *w)
{
	sim_add(w, 2);
}

/* A client whose record was not published is nobody. */
static void after_add(struct world *w)
{
	if (!w->sim[2].c)
		w->sim[2].alive = false;
}

TEST(client_that_comes)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_add, after_add });
}

static void act_ns(struct world *w)
{
	world_ns(w, 2, 2, 8192, 3);
}

static void after_ns(struct world *w)
{
	CHECK_INT(world_ns(w, 2, 2, 8192, 3), ==, 2);
}

TEST(namespace)
{
	cut_everywhere(
		&(struct cut_case){ &two, prepare_some, act_ns, after_ns });
}

static void act_index(struct world *w)
{
	CHECK_OK(pool_index_reserve(w->p, 6000));
}

TEST(index_growth)
{
	cut_everywhere(&(struct cut_case){ &two, prepare_some, act_index, 0 });
}

static int create_cut(uint64_t stores)
{
	struct world *w = calloc(1, sizeof(*w));
	struct store_options *o = &w->options;
	static bool was_cut;

	o->limit_bytes = 2 * SLAB;
	o->slab_percent = 100;
	o->grants_per_client = 100;
	world_options(w);
	w->now = WORLD_SEC;
	CHECK_OK(store_create(o, &w->s));
	stores_left = stores;
	shared_record_hook = count_down;
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		CHECK_OK(store_pool_add(w->s, "test", 0, &w->p));
	forget(w);
	/* all or nothing */
	if (world_attach(w) == 0) {
		world_adopt(w);
	} else {
		CHECK_OK(store_pool_add(w->s, "test", 0, &w->p));
		hold_set_fini(&w->given, &w->hold);
	}
	world_check(w);
	world_ns(w, 1, 1, 4096, 0);
	sim_put(sim_add(w, 0), 1, PART);
	world_restart(w);
	CHECK(world_has(w, 1, PART));
	return was_cut ? 0 : 3;
}

TEST(pool_that_is_made)
{
	int status = 0;

	for (uint64_t n = 0; !status; n++) {
		pid_t pid = fork();

		if (!pid)
			_exit(create_cut(n));
		CHECK_INT(waitpid(pid, &status, 0), ==, pid);
		CHECK(WIFEXITED(status));
	}
	CHECK_INT(WEXITSTATUS(status), ==, 3);
}

/* Everything at once, cut at the last moment, and then the recovery. */
TEST(takeover)
{
	struct cut_case t = { &two, prepare_full, act_retire, 0 };

	for (uint64_t n = 20; n < 60; n += 7)
		for (uint64_t m = 0; forked(&t, n, m) == 0; m++)
			;
}
#endif
