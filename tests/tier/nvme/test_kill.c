/*
 * Killed at random instants while it writes, removes, makes room and closes; again
 * and again on one log. After each death what the tier finds is what a scan of the
 * whole file finds, all bytes are right, what was told to be done is there, and what
 * was told to be removed is not.
 *
 * ONECOPY_NVME_KILLS: rounds (30).
 */
#include <sched.h>
#include <sys/file.h>
#include "base/hash.h"
#include "coherence/frame.h"
#include "tests/tier/nvme/rig.h"
#include "tests/tier/nvme/scan.h"

#define NUMBERS 160u
#define FLYING	6u

/* What the child has been told of a number, where the parent can read it. */
enum told {
	TOLD_NOTHING, /* or dropped, or on its way: found or not */
	TOLD_WRITTEN, /* it must be found */
	TOLD_REMOVED, /* and committed: it must not be found */
};

struct shared {
	_Atomic uint64_t steps; /* of the child */
	_Atomic uint8_t told[NUMBERS];
	_Atomic uint64_t reclaims, removals, carried;
};

struct child {
	struct rig *g;
	struct shared *s;
	struct rng rng;
	struct rig_move move[FLYING];
	bool busy[FLYING];
	bool removing[NUMBERS];
	uint64_t die_at; /* at this operation of the device; 0: when killed */
	_Atomic uint64_t ops;
};

static uint64_t size_of(uint64_t number)
{
	return 1 + hash_bytes(&number, sizeof(number), 5) % 70000;
}

static struct nvme_fate die(struct rig *g, enum nvme_op op, uint64_t offset,
			    uint64_t bytes)
{
	struct child *c = g->user;

	(void)op;
	(void)offset;
	(void)bytes;
	if (c->die_at && ++c->ops == c->die_at)
		kill(getpid(), SIGKILL);
	return (struct nvme_fate){ 0 };
}

static void left(struct rig *g, const struct tier_id *id, bool wrong)
{
	struct child *c = g->user;

	CHECK(!wrong);
	for (uint64_t n = 0; n < NUMBERS; n++) {
		struct tier_id other;

		rig_id(g, n, &other);
		if (!memcmp(&other, id, sizeof(other)))
			c->s->told[n] = TOLD_NOTHING;
	}
	c->s->reclaims++;
}

/* Every removal so far is in a commit page. */
static bool all_removed(const struct rig *g)
{
	const struct nvme *t = nvme_of(g->t);

	if (t->deads)
		return false;
	for (const struct nvme_head *h = t->heads; h; h = h->next)
		if (h->busy && h->deads)
			return false;
	return true;
}

static void settle(struct child *c)
{
	for (unsigned i = 0; i < FLYING; i++) {
		struct rig_move *m = &c->move[i];

		if (!c->busy[i] || !m->over)
			continue;
		c->busy[i] = false;
		free(m->m.data);
		if (m->result == 0)
			c->s->told[m->number] = TOLD_WRITTEN;
	}
	if (!all_removed(c->g))
		return;
	for (uint64_t n = 0; n < NUMBERS; n++) {
		if (c->removing[n])
			c->s->told[n] = TOLD_REMOVED;
		c->s->removals += c->removing[n];
		c->removing[n] = false;
	}
}

static void begin_write(struct child *c, uint64_t n)
{
	for (unsigned i = 0; i < FLYING; i++) {
		enum told was = c->s->told[n];

		if (c->busy[i] || c->removing[n])
			continue;
		/* it may be found from now on, and until it is told */
		if (was == TOLD_REMOVED)
			c->s->told[n] = TOLD_NOTHING;
		c->busy[i] =
			rig_write_begin(c->g, &c->move[i], n, size_of(n)) == 0;
		if (!c->busy[i])
			c->s->told[n] = was;
		return;
	}
}

static void begin_remove(struct child *c, uint64_t n)
{
	if (!rig_has(c->g, n))
		return;
	c->s->told[n] = TOLD_NOTHING;
	CHECK_OK(rig_remove(c->g, n));
	c->removing[n] = true;
}

/* So that some parts are wanted and carried over. */
static void touch(struct child *c, uint64_t n)
{
	struct tier_id id;

	rig_id(c->g, n % 40, &id);
	tier_nvme.use(c->g->t, &id);
}

static void live(struct child *c)
{
	uint64_t carried = 0;

	c->g->fate = die;
	c->g->on_gone = left;
	c->g->user = c;
	rig_open(c->g);
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t n = rng_below(&c->rng, NUMBERS);
		uint64_t what = rng_below(&c->rng, 10);

		if (what < 6)
			begin_write(c, n);
		else if (what == 6)
			begin_remove(c, n);
		else
			touch(c, n);
		rig_turn(c->g);
		settle(c);
		c->s->steps++;
		c->s->carried += rig_stat(c->g).carried_bytes - carried;
		carried = rig_stat(c->g).carried_bytes;
	}
	tier_nvme.stop(c->g->t, UINT64_MAX);
	_exit(0);
}

/* Some die at a certain operation, some when the parent feels like it, and a few
 * are left to end well. */
static void round_of(struct rig *g, struct shared *s, struct rng *r)
{
	struct child c = { .g = g, .s = s };
	uint64_t at = s->steps + 1 + rng_below(r, 200);
	bool self = rng_below(r, 2);
	int status = 0;
	pid_t pid;

	c.rng.state = rng_next(r);
	if (self)
		c.die_at = 1 + rng_below(r, 400);
	g->options.io = rng_below(r, 4) ? TIER_IO_URING : TIER_IO_THREADS;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		live(&c);
	while (!self && s->steps < at && waitpid(pid, &status, WNOHANG) == 0)
		sched_yield();
	if (!self)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (WIFEXITED(status))
		CHECK_INT(WEXITSTATUS(status), ==, 0);
}

struct found {
	const struct scan *scan;
	size_t n;
};

static void compare(void *ctx, const struct tier_id *id,
		    const struct tier_block *block)
{
	struct found *f = ctx;
	const struct scan_part *p = scan_find(f->scan, id->key);

	(void)block;
	CHECK(p);
	CHECK(p->good);
	f->n++;
}

static void judge(struct rig *g, struct shared *s)
{
	struct child here = { .g = g, .s = s }; /* it makes room as well */
	struct scan scan;
	struct found f = { .scan = &scan };

	scan_file(rig_file(g), &scan);
	g->fate = NULL;
	g->on_gone = left;
	g->user = &here;
	CHECK_OK(rig_open_try(g));
	/* until it is known, and before room is made */
	while (!nvme_of(g->t)->found)
		nvme_io_reap(&nvme_of(g->t)->engine);
	tier_nvme.each(g->t, compare, &f);
	CHECK_INT(f.n, ==, scan.n);
	rig_check(g);
	for (uint64_t n = 0; n < NUMBERS; n++) {
		if (s->told[n] == TOLD_WRITTEN)
			CHECK(rig_has(g, n));
		else if (s->told[n] == TOLD_REMOVED)
			CHECK(!rig_has(g, n));
		if (rig_has(g, n))
			CHECK_OK(rig_read(g, n));
	}
	CHECK_INT(rig_stat(g).bad, ==, 0);
	rig_close(g);
	scan_fini(&scan);
}

TEST(kill)
{
	unsigned rounds = test_env("ONECOPY_NVME_KILLS", 30);
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rng r = { 2026 };
	struct rig g;

	CHECK(s != MAP_FAILED);
	rig_init_on_disk(&g, 4u << 20, 256u << 10);
	for (unsigned i = 0; i < rounds; i++) {
		round_of(&g, s, &r);
		judge(&g, s);
	}
	CHECK_INT(s->reclaims, >, rounds);
	CHECK_INT(s->removals, >, rounds);
	CHECK_INT(s->carried, >, rounds);
	NOTE("%u rounds: %llu steps, %llu dropped, %llu removed, %llu KiB "
	     "carried",
	     rounds, (unsigned long long)s->steps,
	     (unsigned long long)s->reclaims, (unsigned long long)s->removals,
	     (unsigned long long)s->carried / 1024);
	rig_fini(&g);
}
