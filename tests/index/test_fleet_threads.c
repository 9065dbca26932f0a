/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of the fleet index beside its writer. The writer lets chains grow,
 * shrink, fork, move between holders and leave, in little memory, so that lines
 * change their use all the time. Before it removes something it says so, and
 * after it removed it too: what a reader is told was there at some moment while
 * it looked, and what nobody touches is found (or the answer says it was cut).
 */
#include "tests/test.h"
#include "base/rng.h"
#include "index/fleet.h"
#include <pthread.h>
#include <stdatomic.h>

#define CHAINS	  24u /* all of them in memory for about half */
#define DEPTH	  130u
#define ENGINES	  80u
#define STEPS	  12000u
#define STAY	  100u /* blocks of chain 0 on engine 0 for ever */
#define READERS	  2u
#define STAYS_MIN 20u /* looks at chain 0 of each reader */

static struct fleet *f;
static _Atomic bool done;
static bool scarce; /* memory: what nobody touches may be forgotten */

/*
 * least[c][e] <= the blocks of chain c that engine e has <= most[c][e], at any
 * moment. The writer raises `most` before it stores, and lowers it after it
 * removed. A reader's answer is at most the greatest `most` during the look-up;
 * `changes` tells it whether there was only one.
 */
static _Atomic uint32_t most[CHAINS][ENGINES];
static _Atomic uint32_t changes[CHAINS][ENGINES];

/* Chains 2 k and 2 k + 1 are one up to block 60. */
static uint64_t name(uint32_t chain, uint32_t block)
{
	if (block < 60)
		chain &= ~1u;
	return fleet_key(chain * 1000 + block, 3);
}

static void send(uint32_t chain, uint32_t from, uint32_t to, uint32_t engine,
		 uint8_t kind)
{
	uint64_t names[DEPTH];
	struct fleet_event e = { .keys = names,
				 .n = to - from,
				 .engine = engine,
				 .kind = kind,
				 .root = !from };

	for (uint32_t i = from; i < to; i++)
		names[kind == FLEET_STORE ? i - from : to - 1 - i] =
			name(chain, i);
	if (from)
		e.parent = name(chain, from - 1);
	fleet_apply(f, &e, 1);
}

/* Both chains that begin with these blocks have the same first 60. An engine
 * has one of the two at a time, so that `most` is right for it. */
static void set_most(uint32_t chain, uint32_t engine, uint32_t blocks)
{
	uint32_t twin = chain ^ 1;

	atomic_store(&most[chain][engine], blocks);
	atomic_store(&most[twin][engine], MIN(blocks, 60u));
	atomic_fetch_add(&changes[chain][engine], 1);
	atomic_fetch_add(&changes[twin][engine], 1);
}

static void write_step(struct rng *r)
{
	uint32_t c = 2 + (uint32_t)rng_below(r, CHAINS - 2);
	uint32_t e = 1 + (uint32_t)rng_below(r, ENGINES - 1);
	uint32_t now = atomic_load(&most[c][e]);
	uint32_t twin = atomic_load(&most[c ^ 1][e]);
	uint32_t to = (uint32_t)rng_below(r, DEPTH + 1);

	if (twin > 60) /* the twin goes further: it shrinks to nothing first */
		c ^= 1, now = twin, to = 0;
	if (to > now) {
		set_most(c, e, to);
		send(c, now, to, e, FLEET_STORE);
	} else if (to < now) {
		send(c, to, now, e, FLEET_REMOVE);
		set_most(c, e, to);
	}
	if (rng_below(r, 500) == 0) {
		fleet_clear(f, e);
		for (c = 2; c < CHAINS; c += 2)
			set_most(c, e, 0);
	}
}

struct tally {
	uint64_t looks, quiet, retried, cut, stays, short_of;
};

static void look_once(struct fleet_reader *reader, struct rng *r,
		      struct tally *t)
{
	uint32_t c = (uint32_t)rng_below(r, CHAINS), i = 0;
	uint32_t before[ENGINES], count[ENGINES];
	uint64_t names[DEPTH];
	struct fleet_found found;

	for (uint32_t k = 0; k < DEPTH; k++)
		names[k] = name(c, k);
	for (uint32_t e = 0; e < ENGINES; e++) {
		/* the count first: if it is the same after the look-up, so was
		 * `most` */
		count[e] = atomic_load(&changes[c][e]);
		before[e] = atomic_load(&most[c][e]);
	}
	fleet_look(reader, names, DEPTH, &found);
	t->looks++;
	t->retried += found.tries > 1;
	t->cut += found.cut;
	t->stays += c == 0 && !found.cut;
	for (uint32_t e = 0; e < ENGINES; e++) {
		bool hit = i < found.n_hits && found.hits[i].engine == e;
		uint32_t got = hit ? found.hits[i].blocks[0] : 0;

		i += hit;
		CHECK(got <= DEPTH);
		if (atomic_load(&changes[c][e]) != count[e])
			continue;
		t->quiet++;
		CHECK_INT(got, <=, before[e]);
		t->short_of += c == 0 && e == 0 && !found.cut && got < STAY;
	}
	CHECK_INT(i, ==, found.n_hits);
}

static void *reader_main(void *arg)
{
	struct rng r = { (uint64_t)(uintptr_t)arg };
	struct tally t = { 0 };
	struct fleet_reader *reader;

	CHECK_OK(fleet_reader_create(f, DEPTH, &reader));
	do {
		look_once(reader, &r, &t);
	} while (!atomic_load(&done) || t.stays < STAYS_MIN);
	fleet_reader_destroy(reader);
	printf("%llu looks, %llu retried, %llu cut, %llu answers compared, "
	       "%llu of %llu short\n",
	       (unsigned long long)t.looks, (unsigned long long)t.retried,
	       (unsigned long long)t.cut, (unsigned long long)t.quiet,
	       (unsigned long long)t.short_of, (unsigned long long)t.stays);
	CHECK(t.quiet > 0);
	/* but for the moment of a move */
	if (!scarce)
		CHECK_INT(t.short_of * 10, <=, t.stays);
	return NULL;
}

static void run(uint64_t bytes, bool lossy)
{
	struct fleet_options o = { .size = sizeof(o), .engines = ENGINES };
	pthread_t reader[READERS];
	struct fleet_stat s;
	struct rng r = { 5 };
	void *mem = aligned_alloc(64, bytes);

	scarce = lossy;
	CHECK(mem);
	memset(mem, 0, bytes);
	CHECK_OK(fleet_init(mem, bytes, &o, &f));
	atomic_store(&most[0][0], STAY);
	atomic_store(&most[1][0], 60);
	send(0, 0, STAY, 0, FLEET_STORE);
	for (uintptr_t i = 0; i < READERS; i++)
		CHECK(!pthread_create(&reader[i], NULL, reader_main,
				      (void *)(i + 1)));
	for (unsigned step = 0; step < STEPS; step++)
		write_step(&r);
	atomic_store(&done, true);
	for (unsigned i = 0; i < READERS; i++)
		CHECK(!pthread_join(reader[i], NULL));
	fleet_stat(f, &s);
	printf("forgotten %llu of %llu\n", (unsigned long long)s.forgotten,
	       (unsigned long long)s.stored);
	CHECK(lossy == !!s.forgotten);
	if (fleet_check(f))
		FAIL("fleet_check: %s", fleet_check(f));
	free(mem);
}

TEST(readers_are_never_told_too_much)
{
	run(1 << 20, false);
}

TEST(nor_where_memory_is_short)
{
	run(1 << 15, true);
}
