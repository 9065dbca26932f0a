/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/cut.h"

#ifdef ONECOPY_RECORD
#include <setjmp.h>
#include "tests/order.h"

#define SEEN 512

static jmp_buf cut;
static uint64_t stores_left;
#define SERVER SIMS
static unsigned who_is_cut = SERVER;
static struct order_log *cut_log; /* shared with the children */

static void count_down(void *addr, unsigned width, uint64_t value,
		       enum shared_order order)
{
	if (!stores_left--)
		longjmp(cut, 1);
	order_note(cut_log, addr, width, value, order);
}

static void count_fence(void)
{
	cut_log->fences++;
}

/* A message to the keeper orders what was stored before it. */
static int hold_fenced(void *ctx, const struct hold_tag *tag, int fd)
{
	cut_log->fences++;
	return fake_hold_hold(ctx, tag, fd);
}

static void drop_fenced(void *ctx, const struct hold_tag *tag)
{
	cut_log->fences++;
	fake_hold_drop(ctx, tag);
}

/* Both: stores of the server, or of its clients. */
static void cut_begin(bool clients, uint64_t stores)
{
	if (!cut_log) {
		cut_log = mmap(NULL, sizeof(*cut_log), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(cut_log != MAP_FAILED);
	}
	cut_log->n = 0;
	cut_log->fences = 0;
	stores_left = stores;
	shared_fence_hook = count_fence;
	if (clients)
		world_client_hook = count_down;
	else
		shared_record_hook = count_down;
}

static void cut_end(void)
{
	shared_record_hook = NULL;
	shared_fence_hook = NULL;
	world_client_hook = NULL;
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

/* What a reader finds at this very moment is what was sealed, or a miss. */
static void check_seen(struct world *w, const struct before *b)
{
	for (unsigned i = 0; i < b->n; i++)
		world_has(w, b->key[i], b->part[i]);
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

/* Slots that this client ever used. */
static uint32_t slots_of(const struct sim *c)
{
	return c->c ? (uint32_t)MIN(c->seq - RING_SLOTS, (uint64_t)RING_SLOTS)
		    : 0;
}

/* No frame is lent that its client was not told of. */
static void check_grants(struct world *w)
{
	for (unsigned i = 0; i < SIMS; i++) {
		struct sim *c = &w->sim[i];

		if (!c->c)
			continue;
		for (uint32_t slot = 0; slot < slots_of(c); slot++)
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
			     slot < slots_of(&w->sim[j]);
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
	cut_end();
	w->s = NULL;
	w->p = NULL;
	for (unsigned i = 0; i < SIMS; i++)
		w->sim[i].c = NULL;
}

/* True when the recovery was cut as well, after `stores`. */
static bool recover_cut(struct world *w, uint64_t stores)
{
	bool was_cut;

	cut_begin(false, stores);
	was_cut = setjmp(cut) != 0;
	if (!was_cut) {
		CHECK_OK(world_attach(w));
		world_adopt(w);
	}
	cut_end();
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

/* The client that was cut is dead. */
static void client_dies(struct world *w, unsigned who, bool server_too)
{
	w->sim[who].alive = false;
	if (!server_too) {
		sim_die(&w->sim[who]);
		return;
	}
	cut_forget(w);
	CHECK_OK(world_attach(w));
	world_adopt(w);
}

/* In a child. Exit status 0: it was cut; 3: it ran through; else it failed. */
static int one_cut(const struct cut_case *t, const struct order_miss *miss,
		   uint64_t again, const struct order_miss *missed_again)
{
	static struct world *w; /* static: longjmp */
	static struct before b;
	static bool was_cut;

	w = world_create(t->config);
	w->hold.hold = hold_fenced;
	w->hold.drop = drop_fenced;
	t->prepare(w);
	cut_begin(who_is_cut != SERVER, miss->n);
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		t->act(w);
	cut_end();
	if (miss->k)
		CHECK(order_valid(cut_log, miss));
	order_undo(cut_log, miss);
	note(w, &b);
	check_seen(w, &b);
	if (who_is_cut != SERVER) {
		client_dies(w, who_is_cut, again != UINT64_MAX);
		check_kept(w, &b);
		goto goes_on;
	}
	cut_forget(w);
	if (again != UINT64_MAX && recover_cut(w, again)) {
		if (missed_again)
			order_undo(cut_log, missed_again);
		cut_forget(w);
	} else if (again != UINT64_MAX) {
		was_cut = false;
	}
	if (!w->s) {
		CHECK_OK(world_attach(w));
		if (again == UINT64_MAX)
			check_kept(w, &b);
		world_adopt(w);
	}
goes_on:
	if (t->after)
		t->after(w);
	go_on(w);
	return was_cut ? 0 : 3;
}

static int forked(const struct cut_case *t, const struct order_miss *miss,
		  uint64_t again, const struct order_miss *missed_again)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		alarm(20);
		_exit(one_cut(t, miss, again, missed_again));
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	if (!WIFEXITED(status) ||
	    (WEXITSTATUS(status) && WEXITSTATUS(status) != 3))
		FAIL("cut after %u stores without %d, %d; recovery after %lld: "
		     "status %#x",
		     miss->n, miss->k > 0 ? (int)miss->at[0] : -1,
		     miss->k > 1 ? (int)miss->at[1] : -1, (long long)again,
		     status);
	return WEXITSTATUS(status);
}

int cut_forked(const struct cut_case *t, uint64_t stores, uint64_t again)
{
	struct order_miss miss = { .n = (uint32_t)stores };

	if (!cut_log) { /* before the first child, that all share it */
		cut_begin(false, 0);
		cut_end();
	}
	return forked(t, &miss, again, NULL);
}

/* The stores of the operation in hand, as one child made them all. */
static struct order_log *recorded(const struct cut_case *t, uint64_t n)
{
	struct order_log *log = malloc(sizeof(*log));

	CHECK(log);
	CHECK_INT(cut_forked(t, UINT32_MAX, UINT64_MAX), ==, 3);
	CHECK_INT(cut_log->n, ==, n);
	memcpy(log, cut_log, sizeof(*log));
	return log;
}

/* Every cut, with one or two of the stores that no fence ordered missing. */
static uint64_t cut_orders(const struct cut_case *t, uint64_t n)
{
	struct order_log *log = recorded(t, n);
	uint64_t orders = 0;

	for (uint32_t i = 1; i <= n; i++) {
		struct order_miss miss = { .n = i };

		while (order_next(log, &miss)) {
			forked(t, &miss, UINT64_MAX, NULL);
			orders++;
		}
	}
	free(log);
	return orders;
}

void cut_everywhere(const struct cut_case *t)
{
	uint64_t n = 0, orders, again = 0;

	while (cut_forked(t, n, UINT64_MAX) == 0)
		n++;
	CHECK_INT(n, >, 0);
	orders = cut_orders(t, n);
	if (who_is_cut != SERVER) { /* the server dies as well */
		for (uint64_t i = 0; i < n; i++, again++)
			cut_forked(t, i, 0);
	} else {
		/* the recovery cut too: a few places of the first, all but the
		 * long runs of the second */
		for (uint64_t i = 0; i < 3; i++)
			for (uint64_t m = i;
			     cut_forked(t, (n - 1) * (i + 1) / 3, m) == 0;
			     m += 3)
				again++;
	}
	NOTE("%llu cuts, %llu other orders, %llu cut recoveries",
	     (unsigned long long)n, (unsigned long long)orders,
	     (unsigned long long)again);
}

void cut_client(const struct cut_case *t, unsigned who)
{
	who_is_cut = who;
	cut_everywhere(t);
}

bool cut_after(uint64_t stores, void (*act)(struct world *w), struct world *w)
{
	static bool was_cut; /* static: longjmp */

	cut_begin(false, stores);
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		act(w);
	cut_end();
	return was_cut;
}
#endif
