/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of a region are killed at random instants, 300 times; in between some are
 * stopped for a while and come back late. Those that live find out by themselves,
 * take over what the dead had, and give it back. No wrong byte is read, and at
 * each count nothing has leaked.
 *
 * Each node works on blocks whose bytes follow from their number and their
 * writer, in shards that are too small for them. What a pinned block is when it
 * is pinned, it is when it is let go of, some operations later. In a build that
 * records stores a node kills itself, before any store.
 */
#include "tests/region/rig.h"

#include "base/rng.h"
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

/* sanitizers look at the same steps, several times as slowly */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROUNDS 100u
#endif
#endif
#if defined(ONECOPY_TSAN)
#define ROUNDS 100u
#endif
#ifndef ROUNDS
#define ROUNDS 300u
#endif
#define COUNTED 50u /* rounds between two counts */
#define NODES	3u
#define FRAMES	24u
#define IDS	150u
#define HELD	6u
#define MOST	60u /* operations that a victim is given */
#define WAIT_MS 60000

struct node {
	pid_t pid;
	bool stopped;
	_Atomic uint64_t target; /* operations after which it says so */
	_Atomic uint64_t ops;	 /* of this process */
	_Atomic uint64_t pins, remote, seals, evictions;
};

struct torture {
	struct rig g;
	struct region *eye; /* of the one who kills: no member */
	struct rng rng;
	int say[2]; /* a node's number, when it has reached its target */
	uint64_t born;
	uint32_t kills, late;
	struct node *node;	/* shared */
	_Atomic uint64_t *over; /* shared */
};

/* ---- a node ------------------------------------------------------------------------ */

struct work {
	struct node *self;
	struct region *r;
	struct rng rng;
	uint64_t writer, id[HELD];
	struct region_pin pin[HELD];
};

#ifdef ONECOPY_RECORD
static uint64_t stores_left;

static void die_before_a_store(void *addr, unsigned width, uint64_t value,
			       enum shared_order order)
{
	(void)addr;
	(void)width;
	(void)value;
	(void)order;
	if (!stores_left--)
		kill(getpid(), SIGKILL);
}
#endif

static void let_go(struct work *w, unsigned at)
{
	if (!w->id[at])
		return;
	CHECK(rig_right(w->id[at], w->pin[at].data, w->pin[at].bytes));
	region_unpin(w->r, &w->pin[at]);
	w->id[at] = 0;
}

static void write_one(struct work *w, uint64_t id)
{
	int err = rig_put(w->r, id, w->writer);

	CHECK(err == 0 || err == REGION_EXISTS || err == REGION_FULL);
	w->self->seals += err == 0;
}

static void one(struct work *w)
{
	unsigned at = (unsigned)(w->self->ops % HELD);
	uint64_t id = 1 + rng_below(&w->rng, IDS);
	struct region_name name = rig_name(id);
	int err;

	let_go(w, at);
	err = rig_pin(w->r, id, &w->pin[at]);
	CHECK(err == 0 || err == REGION_MISS);
	if (err) {
		write_one(w, id);
	} else {
		w->id[at] = id;
		w->self->pins++;
		w->self->remote += !region_owns(w->r, w->pin[at].shard);
	}
	if (rng_below(&w->rng, 40) == 0)
		(void)region_remove(w->r, &name);
	if (w->self->ops % 8 == 0)
		CHECK_OK(region_tick(w->r));
}

static void node_main(struct torture *t, unsigned i)
{
	struct work w = { .self = &t->node[i],
			  .rng = { t->born * 77 },
			  .writer = t->born };
	char number = (char)i;

#ifdef ONECOPY_RECORD
	stores_left = rng_below(&w.rng, MOST * 30);
	shared_record_hook = die_before_a_store;
#endif
	w.r = rig_join(&t->g, "node", 1, true);
	while (!*t->over) {
		one(&w);
		if (++w.self->ops == w.self->target)
			CHECK_INT(write(t->say[1], &number, 1), ==, 1);
	}
#ifdef ONECOPY_RECORD
	shared_record_hook = NULL;
#endif
	for (unsigned at = 0; at < HELD; at++)
		let_go(&w, at);
	CHECK_OK(region_leave(w.r));
	region_close(w.r);
	_exit(0);
}

/* ---- who kills ------------------------------------------------------------------------ */

static void spawn(struct torture *t, unsigned i)
{
	struct node *n = &t->node[i];
	pid_t pid;

	n->ops = 0;
	n->target = 1 + rng_below(&t->rng, MOST);
	t->born++;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		node_main(t, i);
	n->pid = pid;
}

/* Until this node has done what it was given; or, where it dies by itself, has
 * ended. */
static void await(struct torture *t, unsigned i)
{
	struct pollfd p = { .fd = t->say[0], .events = POLLIN };
	char number = 0;

#ifdef ONECOPY_RECORD
	return;
#endif
	while (t->node[i].ops < t->node[i].target) {
		CHECK_INT(poll(&p, 1, WAIT_MS), ==, 1);
		CHECK_INT(read(t->say[0], &number, 1), ==, 1);
	}
}

static void reap(struct torture *t, unsigned i, bool killed)
{
	int status = 0;

	CHECK_INT(waitpid(t->node[i].pid, &status, 0), ==, t->node[i].pid);
	if (killed) {
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		t->kills++;
	} else {
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

static void end(struct torture *t, unsigned i)
{
	await(t, i);
#ifndef ONECOPY_RECORD
	CHECK_OK(kill(t->node[i].pid, SIGKILL));
#endif
	reap(t, i, true);
}

/* Whoever is stopped is a member still, however long it was silent. */
static void go_on(struct torture *t, unsigned i)
{
	struct region_member_status s;
	bool member = false;

	if (!t->node[i].stopped)
		return;
	for (uint32_t m = 0; m < NODES; m++) {
		region_member_status(t->eye, m, &s);
		member |= s.state == MEMBER_LIVE && s.known &&
			  s.pid == (uint64_t)t->node[i].pid;
	}
	CHECK(member);
	t->late++;
	t->node[i].stopped = false;
	CHECK_OK(kill(t->node[i].pid, SIGCONT));
}

static void stop(struct torture *t, unsigned i)
{
#ifdef ONECOPY_RECORD
	(void)t;
	(void)i;
#else
	await(t, i); /* not while it joins: the others would wait for it */
	CHECK_OK(kill(t->node[i].pid, SIGSTOP));
	t->node[i].stopped = true;
#endif
}

/* One node, now and then two or all of them; another may stand still
 * meanwhile. */
static void strike(struct torture *t)
{
	unsigned first = (unsigned)rng_below(&t->rng, NODES);
	uint64_t how = rng_below(&t->rng, 20), n = how == 0  ? NODES
						   : how < 4 ? 2
							     : 1;

	if (n < NODES && rng_below(&t->rng, 4) == 0)
		stop(t, (first + NODES - 1) % NODES);
	for (unsigned k = 0; k < n; k++)
		end(t, (first + k) % NODES);
	for (unsigned k = 0; k < n; k++)
		spawn(t, (first + k) % NODES);
	for (unsigned i = 0; i < NODES; i++)
		go_on(t, i);
}

/* ---- counting ---------------------------------------------------------------------------- */

static void finish(struct torture *t)
{
	*t->over = 1;
#ifdef ONECOPY_RECORD
	/* some die before they see it */
	for (unsigned i = 0; i < NODES; i++)
		CHECK_INT(waitpid(t->node[i].pid, NULL, 0), ==, t->node[i].pid);
#else
	for (unsigned i = 0; i < NODES; i++)
		reap(t, i, false);
#endif
	*t->over = 0;
}

/* Nobody is left. One who comes finds everything: no pin, no lent frame, each
 * sealed block in the index and right, and all room can be had. */
static void count(struct torture *t)
{
	struct region *r = rig_join(&t->g, "auditor", 0, false);
	struct region_checked done;
	struct region_member_status s;
	uint32_t live = 0;

	CHECK_OK(region_tick(r));
	CHECK_OK(region_tick(r));
	for (uint32_t i = 0; i < NODES; i++) {
		region_member_status(r, i, &s);
		live += s.state == MEMBER_LIVE || s.state == MEMBER_JOINING;
		CHECK_OK(region_take(r, i));
	}
	CHECK_INT(live, ==, 1);
	CHECK_OK(region_tick(r));
	done = rig_check(r, true);
	CHECK_INT(done.sealed + done.free, ==, NODES * FRAMES);
	CHECK_INT(done.entries, ==, done.sealed);
	CHECK_INT(done.pins, ==, 0);
	for (uint64_t id = 1; id <= IDS; id++)
		(void)rig_has(r, id);
	CHECK_OK(region_leave(r));
	region_close(r);
}

static void begin(struct torture *t)
{
	size_t bytes = sizeof(*t->over) + NODES * sizeof(*t->node);
	void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(shared != MAP_FAILED);
	t->node = shared;
	t->over = (void *)&t->node[NODES];
	t->g = rig_create(NODES, NODES, FRAMES);
	t->eye = rig_open(&t->g);
	CHECK_OK(pipe2(t->say, O_CLOEXEC));
}

TEST(nodes_are_killed_at_any_time)
{
	struct torture t = { .rng = { 20261126 } };
	uint64_t pins = 0, remote = 0, seals = 0;

	begin(&t);
	for (unsigned i = 0; i < NODES; i++)
		spawn(&t, i);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		strike(&t);
		if (round % COUNTED)
			continue;
		finish(&t);
		count(&t);
		for (unsigned i = 0; i < NODES && round < ROUNDS; i++)
			spawn(&t, i);
	}
	for (unsigned i = 0; i < NODES; i++) {
		pins += t.node[i].pins;
		remote += t.node[i].remote;
		seals += t.node[i].seals;
	}
	CHECK_INT(t.kills, >=, ROUNDS);
	CHECK_INT(remote, >, 0);
	NOTE("%u kills, %u late returns, %llu pins (%llu of others' blocks), "
	     "%llu seals; pages of %s",
	     t.kills, t.late, (unsigned long long)pins,
	     (unsigned long long)remote, (unsigned long long)seals,
	     t.g.huge ? "2 MiB" : "4 KiB");
	region_close(t.eye);
	rig_destroy(&t.g);
}
