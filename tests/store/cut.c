/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/cut.h"

#ifdef ONECOPY_RECORD
#include <setjmp.h>

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

const struct world_config cut_two = { .limit = 2 * CUT_SLAB,
				      .slab_bytes = CUT_SLAB };

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
void cut_forget(struct world *w)
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
	cut_forget(w);
	if (again != UINT64_MAX && recover_cut(w, again))
		cut_forget(w);
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

int cut_forked(const struct cut_case *t, uint64_t stores, uint64_t again)
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

void cut_everywhere(const struct cut_case *t)
{
	uint64_t n = 0;

	while (cut_forked(t, n, UINT64_MAX) == 0)
		n++;
	CHECK_INT(n, >, 0);
	/* the recovery cut too: a few places of the first, all but the long
	 * runs of the second */
	for (uint64_t i = 0; i < 3; i++)
		for (uint64_t m = i;
		     cut_forked(t, (n - 1) * (i + 1) / 3, m) == 0; m += 3)
			;
}

bool cut_after(uint64_t stores, void (*act)(struct world *w), struct world *w)
{
	static bool was_cut; /* static: longjmp */

	stores_left = stores;
	shared_record_hook = count_down;
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		act(w);
	shared_record_hook = NULL;
	return was_cut;
}
#endif
