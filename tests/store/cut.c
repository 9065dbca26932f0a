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

/* One way to cut. */
struct cut_run {
	struct order_miss miss, missed_again;
	uint64_t again;
};
/* What a child does one after the other: a process for each costs more than
 * the work, and what a dead server leaves open is not much. */
#define RUNS 12

struct cut_shared {
	struct order_log log;
	uint32_t at;  /* the run in hand */
	bool through; /* it was not cut */
};
static struct cut_shared *cut_shared;

static void share(void)
{
	if (cut_shared)
		return;
	cut_shared = mmap(NULL, sizeof(*cut_shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(cut_shared != MAP_FAILED);
	cut_log = &cut_shared->log;
}

/* Stores of the server, or of its clients. */
static void cut_begin(bool clients, uint64_t stores)
{
	share();
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
			CHECK(pin_word_names(pin, pin_word_loc(pin),
					     pool_frame_gen(s, frame)));
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

/* True when the recovery was cut as well. */
static bool recover_cut(struct world *w, const struct cut_run *run)
{
	bool was_cut;

	cut_begin(false, run->again);
	was_cut = setjmp(cut) != 0;
	if (!was_cut) {
		CHECK_OK(world_attach(w));
		world_adopt(w);
	}
	cut_end();
	if (!was_cut)
		return false;
	CHECK(order_valid(cut_log, &run->missed_again));
	order_undo(cut_log, &run->missed_again);
	cut_forget(w);
	return true;
}

/* True: it ran through, and nothing was cut. */
static bool one_cut(const struct cut_case *t, const struct cut_run *run)
{
	static struct world *w; /* static: longjmp */
	static struct before b;
	static bool was_cut;

	w = world_create(t->config);
	w->hold.hold = hold_fenced;
	w->hold.drop = drop_fenced;
	t->prepare(w);
	cut_begin(who_is_cut != SERVER, run->miss.n);
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		t->act(w);
	cut_end();
	CHECK(order_valid(cut_log, &run->miss));
	order_undo(cut_log, &run->miss);
	b.n = 0;
	note(w, &b);
	check_seen(w, &b);
	if (who_is_cut != SERVER) {
		client_dies(w, who_is_cut, run->again != UINT64_MAX);
		check_kept(w, &b);
	} else {
		cut_forget(w);
		if (run->again != UINT64_MAX)
			was_cut = recover_cut(w, run);
		if (!w->s) {
			CHECK_OK(world_attach(w));
			if (run->again == UINT64_MAX)
				check_kept(w, &b);
			world_adopt(w);
		}
	}
	if (t->after)
		t->after(w);
	go_on(w);
	world_destroy(w);
	return !was_cut;
}

static void run_all(const struct cut_case *t, const struct cut_run *run,
		    uint32_t n)
{
	for (uint32_t i = 0; i < n && !cut_shared->through; i++) {
		cut_shared->at = i;
		/* with stores missing, after the last one is a place too */
		cut_shared->through = one_cut(t, &run[i]) && !run[i].miss.k &&
				      !run[i].missed_again.k;
	}
}

/* In a child. How many were cut: fewer than n when the next ran through. */
static uint32_t forked(const struct cut_case *t, const struct cut_run *run,
		       uint32_t n)
{
	int status;
	pid_t pid;

	share();
	cut_shared->at = 0;
	cut_shared->through = false;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(60);
		run_all(t, run, n);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	run += cut_shared->at;
	if (status)
		FAIL("cut after %u stores without %d, %d; recovery after %lld: "
		     "status %#x",
		     run->miss.n, run->miss.k > 0 ? (int)run->miss.at[0] : -1,
		     run->miss.k > 1 ? (int)run->miss.at[1] : -1,
		     (long long)run->again, status);
	return cut_shared->through ? cut_shared->at : n;
}

/* Cuts run(0), run(1), ... until one runs through; their number. */
static uint64_t cut_until(const struct cut_case *t, void *ctx,
			  struct cut_run (*run)(void *ctx, uint64_t i))
{
	struct cut_run some[RUNS];
	uint64_t done = 0;
	uint32_t n;

	do {
		for (uint32_t i = 0; i < RUNS; i++)
			some[i] = run(ctx, done + i);
		n = forked(t, some, RUNS);
		done += n;
	} while (n == RUNS);
	return done;
}

static struct cut_run plain_run(uint64_t stores, uint64_t again)
{
	return (struct cut_run){ .miss = { .n = (uint32_t)stores },
				 .again = again };
}

bool cut_forked(const struct cut_case *t, uint64_t stores, uint64_t again)
{
	struct cut_run run = plain_run(stores, again);

	return forked(t, &run, 1) == 1;
}

static struct cut_run each_store(void *ctx, uint64_t i)
{
	(void)ctx;
	return plain_run(i, UINT64_MAX);
}

struct recoveries {
	uint64_t stores, first, step;
};

static struct cut_run each_recovery(void *ctx, uint64_t i)
{
	const struct recoveries *r = ctx;

	return plain_run(r->stores, r->first + i * r->step);
}

/* The stores of what was recorded last, for a parent to keep. */
static struct order_log *recorded(uint64_t n)
{
	struct order_log *log = malloc(sizeof(*log));

	CHECK(log);
	CHECK_INT(cut_log->n, ==, n);
	memcpy(log, cut_log, sizeof(*log));
	return log;
}

/* Every cut (every `step`th), with one or two of the stores that no fence
 * ordered missing. `first`: these are stores of the recovery after that. */
static uint64_t cut_orders(const struct cut_case *t, uint64_t n, uint32_t step,
			   const struct order_miss *first)
{
	struct order_log *log = recorded(n);
	struct cut_run some[RUNS];
	uint64_t orders = 0;
	uint32_t have = 0;

	for (uint32_t i = 1; i <= n; i += step) {
		struct order_miss miss = { .n = i, .one = first != NULL };

		while (order_next(log, &miss)) {
			some[have] = plain_run(0, first ? i : UINT64_MAX);
			some[have].miss = first ? *first : miss;
			if (first)
				some[have].missed_again = miss;
			orders++;
			if (++have < RUNS)
				continue;
			CHECK_INT(forked(t, some, have), ==, have);
			have = 0;
		}
	}
	if (have)
		forked(t, some, have);
	free(log);
	return orders;
}

/* The recovery cut too: a few places of the first, all but the long runs of
 * the second. For a client: the server dies as well. */
static uint64_t cut_again(const struct cut_case *t, uint64_t n)
{
	uint64_t again = 0;

	for (uint64_t i = 0; who_is_cut != SERVER && i < n; i++)
		again += cut_forked(t, i, 0);
	for (uint64_t i = 0; who_is_cut == SERVER && i < 3; i++)
		again += cut_until(
			t, &(struct recoveries){ (n - 1) * (i + 1) / 3, i, 3 },
			each_recovery);
	return again;
}

void cut_everywhere(const struct cut_case *t)
{
	uint64_t n = cut_until(t, NULL, each_store), orders, again;

	CHECK_INT(n, >, 0);
	orders = cut_orders(t, n, 1, NULL);
	again = cut_again(t, n);
	NOTE("%llu cuts, %llu other orders, %llu cut recoveries",
	     (unsigned long long)n, (unsigned long long)orders,
	     (unsigned long long)again);
}

void cut_recovery(const struct cut_case *t, uint64_t stores)
{
	struct order_miss first = { .n = (uint32_t)stores };
	uint64_t n = cut_until(t, &(struct recoveries){ stores, 0, 1 },
			       each_recovery);
	uint64_t orders;

	CHECK_INT(n, >, 0);
	orders = cut_orders(t, n, 5, &first);
	NOTE("%llu cuts, %llu other orders", (unsigned long long)n,
	     (unsigned long long)orders);
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
