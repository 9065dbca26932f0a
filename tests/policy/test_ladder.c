/* SPDX-License-Identifier: Apache-2.0 */
/* The ladder: worked examples, and properties against brute force. */
#include <math.h>
#include "base/rng.h"
#include "policy/ladder.h"
#include "tests/test.h"

#define MIB (1ull << 20)
#define MS  1000000ull

/* DRAM at 16 GiB/s and 1 us, NVMe at 4 GiB/s and 100 us. A block of 64 MiB loads
 * in 3,906,250 + 1,000 ns and 15,625,000 + 100,000 ns. */
static const struct ladder_rung two[2] = {
	{ .latency_ns = 1000, .bytes_per_s = 16ull << 30 },
	{ .latency_ns = 100000, .bytes_per_s = 4ull << 30 },
};

static void ladder(struct ladder_rung r[2], uint64_t dram, uint64_t nvme)
{
	memcpy(r, two, sizeof(two));
	r[0].pressure = dram;
	r[1].pressure = nvme;
}

static struct ladder_block block(uint64_t rate)
{
	return (struct ladder_block){
		.bytes = 64 * MIB,
		.again_ns = 100 * MS,
		.rate = rate,
	};
}

TEST(loads_take)
{
	struct ladder_rung r[2];

	ladder(r, 0, 0);
	CHECK_INT(ladder_load_ns(&r[0], 64 * MIB), ==, 3907250);
	CHECK_INT(ladder_load_ns(&r[1], 64 * MIB), ==, 15725000);
	r[1].queue_ns = 5;
	CHECK_INT(ladder_load_ns(&r[1], 0), ==, 100005);
	r[1].queue_ns = UINT64_MAX;
	CHECK_INT(ladder_load_ns(&r[1], UINT64_MAX), ==, UINT64_MAX);
	r[0].bytes_per_s = 0;
	CHECK_INT(ladder_load_ns(&r[0], UINT64_MAX), ==, 1000);
}

/* One in 2^16 ms is 65,536 in 2^-32; 64 MiB are 65,536 KiB: worth is the saving. */
TEST(worths)
{
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];

	ladder(r, 0, 0);
	CHECK_INT(ladder_worth(65536, 1234567, 64 * MIB), ==, 1234567);
	CHECK_INT(ladder_worth_on(r, 2, 0, &b), ==, 100 * MS - 3907250);
	CHECK_INT(ladder_worth_on(r, 2, 1, &b), ==, 100 * MS - 15725000);
	b.on = 2;
	CHECK_INT(ladder_worth_on(r, 2, 0, &b), ==, 15725000 - 3907250);
	CHECK_INT(ladder_below_ns(r, 2, LADDER_AGAIN, &b), ==, 15725000);
	CHECK_INT(ladder_below_ns(r, 2, 1, &b), ==, 100 * MS);
	CHECK_INT(ladder_worth(UINT64_MAX, UINT64_MAX, 0), ==, UINT64_MAX);
	CHECK_INT(ladder_worth(0, UINT64_MAX, 1), ==, 0);
}

/* What wants its room is worth 99 ms: it goes below where that room costs less than
 * what it saves there, else it is dropped. */
TEST(leaves)
{
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];
	struct ladder_answer a;

	ladder(r, 99 * MS, 50 * MS);
	a = ladder_leave(r, 2, 0, &b);
	CHECK_INT(a.what, ==, LADDER_DEMOTE);
	CHECK_INT(a.rung, ==, 1);
	CHECK_INT(a.worth, ==, 84275000);
	CHECK_INT(a.pressure, ==, 50 * MS);
	CHECK_INT(a.saves_ns, ==, 84275000);
	ladder(r, 99 * MS, 84275001);
	a = ladder_leave(r, 2, 0, &b);
	CHECK_INT(a.what, ==, LADDER_DROP);
	CHECK_INT(a.rung, ==, LADDER_AGAIN);
	CHECK_STR(ladder_why_name(a.why), "room");
	ladder(r, 90 * MS, 84275000); /* 6.09 ms above, and none */
	a = ladder_leave(r, 2, 0, &b);
	CHECK_INT(a.what, ==, LADDER_KEEP);
	ladder(r, 90 * MS, 70 * MS); /* more is left over below */
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_DEMOTE);
	r[1].closed = true;
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_KEEP);
	/* it has a replica: what it saves above is 11.8 ms */
	ladder(r, 12 * MS, 0);
	b.on = 2;
	a = ladder_leave(r, 2, 0, &b);
	CHECK_INT(a.what, ==, LADDER_DROP);
	CHECK_INT(a.rung, ==, 1);
	CHECK_STR(ladder_why_name(a.why), "replica");
	r[0].pressure = 11 * MS;
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_KEEP);
	/* the last rung: again, or nowhere */
	r[1].pressure = 90 * MS;
	CHECK_INT(ladder_leave(r, 2, 1, &b).what, ==, LADDER_DROP);
}

TEST(making_it_again_is_faster)
{
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];
	struct ladder_answer a;

	ladder(r, 1, 0);
	b.again_ns = 15 * MS; /* than the NVMe */
	a = ladder_leave(r, 2, 0, &b);
	CHECK_INT(a.what, ==, LADDER_KEEP);
	r[0].pressure = 12 * MS;
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_DROP);
	/* nowhere else: 12 ms + 3.9 ms above, 15.7 ms below */
	b.again_ns = LADDER_NEVER;
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_DEMOTE);
	r[0].pressure = 11 * MS;
	CHECK_INT(ladder_leave(r, 2, 0, &b).what, ==, LADDER_KEEP);
}

TEST(admits)
{
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];
	struct ladder_answer a;

	ladder(r, 97 * MS, 10 * MS); /* 96.1 ms above, 84.3 ms below */
	a = ladder_admit(r, 2, &b);
	CHECK_INT(a.what, ==, LADDER_ADMIT);
	CHECK_INT(a.rung, ==, 1);
	r[0].pressure = 0;
	CHECK_INT(ladder_admit(r, 2, &b).rung, ==, 0);
	ladder(r, 97 * MS, 85 * MS);
	CHECK_INT(ladder_admit(r, 2, &b).what, ==, LADDER_DROP);
	CHECK_INT(ladder_admit(r, 0, &b).what, ==, LADDER_DROP);
	/* In the 4 s that blocks stay there it is used with a chance of 6.1 %:
	 * 84,275,000 * 4,000 / 65,536 / 65,536 = 78.5 ns for each KiB. */
	ladder(r, 97 * MS, 10 * MS);
	r[1].stays_ms = 4000;
	r[1].wear = 78;
	CHECK_INT(ladder_admit(r, 2, &b).what, ==, LADDER_ADMIT);
	r[1].wear = 79;
	a = ladder_admit(r, 2, &b);
	CHECK_INT(a.what, ==, LADDER_DROP);
	r[1].stays_ms = 0;
	CHECK_INT(ladder_admit(r, 2, &b).what, ==, LADDER_ADMIT);
}

/* A read is over: a block that is not used any more is not copied up, however
 * fast that would be. */
TEST(promotes)
{
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];
	struct ladder_answer a;

	ladder(r, 11 * MS, 0);
	a = ladder_promote(r, 2, 1, &b);
	CHECK_INT(a.what, ==, LADDER_PROMOTE);
	CHECK_INT(a.rung, ==, 0);
	CHECK_INT(a.saves_ns, ==, 15725000 - 3907250);
	r[0].pressure = 12 * MS;
	a = ladder_promote(r, 2, 1, &b);
	CHECK_INT(a.what, ==, LADDER_KEEP);
	CHECK_INT(a.rung, ==, 1);
	b.rate = 0;
	r[0].pressure = 1;
	CHECK_INT(ladder_promote(r, 2, 1, &b).what, ==, LADDER_KEEP);
	CHECK_INT(ladder_promote(r, 2, 0, &b).what, ==, LADDER_KEEP);
	CHECK_INT(ladder_promote(r, 2, 7, &b).what, ==, LADDER_KEEP);
}

/* 40 blocks load in 625.1 ms; a tenth more makes 687.61: begin at 1,000 - 688. */
TEST(prefetches)
{
	struct ladder_return back = { 1000, 40 * 64 * MIB, 100 };
	struct ladder_block b = block(65536);
	struct ladder_rung r[2];
	struct ladder_answer a;

	ladder(r, 11 * MS, 0);
	a = ladder_prefetch(r, 2, 1, &b, &back);
	CHECK_INT(a.what, ==, LADDER_WAIT);
	CHECK_INT(a.wait_ms, ==, 312);
	back.in_ms -= a.wait_ms;
	a = ladder_prefetch(r, 2, 1, &b, &back);
	CHECK_INT(a.what, ==, LADDER_PROMOTE);
	r[0].pressure = 12 * MS;
	CHECK_INT(ladder_prefetch(r, 2, 1, &b, &back).what, ==, LADDER_KEEP);
	back.in_ms = UINT64_MAX;
	back.bytes = UINT64_MAX;
	back.early_pm = UINT32_MAX;
	CHECK_INT(ladder_prefetch(r, 2, 1, &b, &back).what, ==, LADDER_WAIT);
	CHECK_INT(ladder_prefetch(r, 2, 0, &b, &back).what, ==, LADDER_KEEP);
}

/* ---- properties ----------------------------------------------------------- */

static uint64_t some(struct rng *g, unsigned bits)
{
	return rng_below(g, 1ull << rng_below(g, bits + 1));
}

static uint32_t random_case(struct rng *g, struct ladder_rung *r,
			    struct ladder_block *b)
{
	uint32_t n = 1 + (uint32_t)rng_below(g, LADDER_RUNGS);

	for (uint32_t i = 0; i < n; i++)
		r[i] = (struct ladder_rung){
			.latency_ns = some(g, 24),
			.bytes_per_s = some(g, 36),
			.queue_ns = some(g, 30),
			.pressure = some(g, 40),
			.wear = some(g, 12),
			.stays_ms = some(g, 24),
			.closed = rng_below(g, 16) == 0,
		};
	*b = (struct ladder_block){
		.bytes = 1024 + some(g, 30),
		.again_ns = some(g, 32),
		.rate = some(g, 29),
		.on = rng_below(g, 2) ? 0 : (uint32_t)some(g, n),
	};
	return n;
}

/* The same in floating point, by trying all rungs: what is above the pressure.
 * Below 0: it is not taken there. */
static double above(const struct ladder_rung *r, const struct ladder_block *b,
		    uint64_t below, bool written)
{
	double saves = (double)below - (double)ladder_load_ns(r, b->bytes);
	double worth = (double)b->rate * saves * 1024 / (double)b->bytes;
	double chance = 1;

	if (saves <= 0 || (written && r->closed))
		return -1;
	if (r->stays_ms)
		chance = fmin(1, (double)b->rate / 4294967296.0 *
					 (double)r->stays_ms);
	else if (!b->rate)
		chance = 0;
	if (written &&
	    chance * saves * 1024 / (double)b->bytes < (double)r->wear)
		return -1;
	return worth - (double)r->pressure;
}

static double best_of(const struct ladder_rung *r, uint32_t n, uint32_t from,
		      const struct ladder_block *b)
{
	double best = above(&r[from], b, b->again_ns, false);

	for (uint32_t i = from + 1; i < n; i++)
		best = fmax(best, above(&r[i], b, b->again_ns, true));
	return best;
}

/* The place that it goes to is the best of all, to the rounding of both. */
TEST(leaves_for_the_best_place)
{
	struct rng g = { 11 };
	unsigned moved = 0;

	for (int i = 0; i < 200000; i++) {
		struct ladder_rung r[LADDER_RUNGS];
		struct ladder_block b;
		uint32_t n = random_case(&g, r, &b), from, at;
		struct ladder_answer a;
		double best, got, near;

		b.on = 0;
		from = (uint32_t)rng_below(&g, n);
		a = ladder_leave(r, n, from, &b);
		best = best_of(r, n, from, &b);
		near = 4 + fabs(best) * 1e-9;
		if (a.what == LADDER_DROP) {
			CHECK(best <= near);
			continue;
		}
		at = a.rung;
		moved += at != from;
		got = above(&r[at], &b, b.again_ns, false);
		CHECK(got >= -near);
		CHECK(best <= got + near);
	}
	CHECK_INT(moved, >, 1000);
}

/* A live lower replica: kept or dropped, never written. */
TEST(a_replica_is_never_written_again)
{
	struct rng g = { 12 };
	unsigned dropped = 0;

	for (int i = 0; i < 200000; i++) {
		struct ladder_rung r[LADDER_RUNGS];
		struct ladder_block b;
		uint32_t n = random_case(&g, r, &b);
		struct ladder_answer a = ladder_leave(r, n, 0, &b);

		if (!(b.on & ~1u))
			continue;
		CHECK(a.what == LADDER_KEEP || a.what == LADDER_DROP);
		if (a.what == LADDER_DROP)
			CHECK(b.on >> a.rung & 1);
		dropped += a.what == LADDER_DROP;
	}
	CHECK_INT(dropped, >, 1000);
}

/* Who takes at a price takes at a lower one; what is taken with a chance is taken
 * with a greater one; a slower rung is never worth more. */
TEST(monotone)
{
	struct rng g = { 13 };

	for (int i = 0; i < 200000; i++) {
		struct ladder_rung r[LADDER_RUNGS];
		struct ladder_block b, likely;
		uint32_t n = random_case(&g, r, &b);
		uint32_t k = (uint32_t)rng_below(&g, n);
		bool stays = ladder_leave(r, n, 0, &b).what != LADDER_DROP;
		bool came = ladder_admit(r, n, &b).what == LADDER_ADMIT;
		bool rose = ladder_promote(r, n, k, &b).what == LADDER_PROMOTE;
		uint64_t worth = ladder_worth_on(r, n, k, &b);

		likely = b;
		likely.rate += some(&g, 30);
		CHECK(!stays ||
		      ladder_leave(r, n, 0, &likely).what != LADDER_DROP);
		CHECK(!came ||
		      ladder_admit(r, n, &likely).what == LADDER_ADMIT);
		CHECK(!rose ||
		      ladder_promote(r, n, k, &likely).what == LADDER_PROMOTE);
		CHECK(ladder_worth_on(r, n, k, &likely) >= worth);
		r[k].pressure /= 2;
		CHECK(!stays || ladder_leave(r, n, 0, &b).what != LADDER_DROP);
		CHECK(!came || ladder_admit(r, n, &b).what == LADDER_ADMIT);
		r[k].latency_ns += some(&g, 20);
		CHECK(ladder_worth_on(r, n, k, &b) <= worth);
	}
}

/* With one rung the ladder says what the order says: the greater worth stays. */
TEST(one_rung_is_the_order)
{
	struct rng g = { 14 };

	for (int i = 0; i < 100000; i++) {
		struct ladder_rung r = { 0 };
		struct ladder_block in, out;

		in = out = (struct ladder_block){ 1024, 1 * MS, 0, 0 };
		in.rate = some(&g, 32);
		out.rate = some(&g, 32);
		r.pressure = ladder_worth_on(&r, 1, 0, &out);
		CHECK_INT(ladder_admit(&r, 1, &in).what == LADDER_ADMIT, ==,
			  in.rate >= out.rate);
	}
}
