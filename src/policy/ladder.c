/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ladder.h"

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

__extension__ typedef unsigned __int128 wide;

static uint64_t clip(wide v)
{
	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

const char *ladder_what_name(enum ladder_what what)
{
	static const char *const names[] = {
		[LADDER_KEEP] = "keep",	  [LADDER_DEMOTE] = "demote",
		[LADDER_DROP] = "drop",	  [LADDER_PROMOTE] = "promote",
		[LADDER_ADMIT] = "admit", [LADDER_WAIT] = "wait",
	};

	return what < ARRAY_LEN(names) ? names[what] : "?";
}

const char *ladder_why_name(enum ladder_why why)
{
	static const char *const names[] = {
		[LADDER_WORTH] = "worth",     [LADDER_ROOM] = "room",
		[LADDER_REPLICA] = "replica", [LADDER_SLOW] = "slow",
		[LADDER_WEAR] = "wear",	      [LADDER_CLOSED] = "closed",
		[LADDER_EARLY] = "early",
	};

	return why < ARRAY_LEN(names) ? names[why] : "?";
}

uint64_t ladder_load_ns(const struct ladder_rung *r, uint64_t bytes)
{
	wide ns = (wide)r->queue_ns + r->latency_ns;

	if (r->bytes_per_s)
		ns += (wide)bytes * NS_PER_S / r->bytes_per_s;
	return clip(ns);
}

uint64_t ladder_worth(uint64_t rate, uint64_t saves_ns, uint64_t bytes)
{
	wide yield = (wide)MIN(rate, LADDER_RATE_ONE) * saves_ns;

	/* 2^96 at most: the KiB fit */
	return clip(yield * 1024 / MAX(bytes, 1ull));
}

uint64_t ladder_below_ns(const struct ladder_rung *rungs, uint32_t n,
			 uint32_t rung, const struct ladder_block *b)
{
	uint64_t best = b->again_ns;

	for (uint32_t r = rung + 1; r < n; r++) /* LADDER_AGAIN + 1 is 0 */
		if (b->on >> r & 1)
			best = MIN(best, ladder_load_ns(&rungs[r], b->bytes));
	return best;
}

/* What having it on `rung` would be worth; what: not decided. */
static struct ladder_answer judge(const struct ladder_rung *rungs, uint32_t n,
				  uint32_t rung, const struct ladder_block *b)
{
	struct ladder_answer a = {
		.rung = rung,
		.load_ns = ladder_load_ns(&rungs[rung], b->bytes),
		.below_ns = ladder_below_ns(rungs, n, rung, b),
		.pressure = rungs[rung].pressure,
	};

	if (a.below_ns > a.load_ns)
		a.saves_ns = a.below_ns - a.load_ns;
	a.worth = ladder_worth(b->rate, a.saves_ns, b->bytes);
	if (!a.saves_ns)
		a.why = LADDER_SLOW;
	else
		a.why = a.worth < a.pressure ? LADDER_ROOM : LADDER_WORTH;
	return a;
}

uint64_t ladder_worth_on(const struct ladder_rung *rungs, uint32_t n,
			 uint32_t rung, const struct ladder_block *b)
{
	return judge(rungs, n, rung, b).worth;
}

/* Chance of a use while it stays, times what that saves, against the wear. */
static bool brings_its_wear(const struct ladder_rung *r,
			    const struct ladder_block *b, uint64_t saves_ns)
{
	wide chance = (wide)b->rate * r->stays_ms;

	if (!r->stays_ms || chance > LADDER_RATE_ONE)
		chance = b->rate ? LADDER_RATE_ONE : 0;
	return ladder_worth((uint64_t)chance, saves_ns, b->bytes) >=
	       clip((wide)r->wear * LADDER_RATE_ONE);
}

/* The same where it would have to be written. */
static struct ladder_answer judge_write(const struct ladder_rung *rungs,
					uint32_t n, uint32_t rung,
					const struct ladder_block *b)
{
	struct ladder_answer a = judge(rungs, n, rung, b);

	if (rungs[rung].closed)
		a.why = LADDER_CLOSED;
	else if (a.why == LADDER_WORTH &&
		 !brings_its_wear(&rungs[rung], b, a.saves_ns))
		a.why = LADDER_WEAR;
	return a;
}

/* More worth above the pressure; the upper one where it is the same. */
static bool better(const struct ladder_answer *a, const struct ladder_answer *b)
{
	if (a->why != LADDER_WORTH || b->why != LADDER_WORTH)
		return a->why == LADDER_WORTH;
	return a->worth - a->pressure > b->worth - b->pressure;
}

static struct ladder_answer best_write(const struct ladder_rung *rungs,
				       uint32_t n, uint32_t from,
				       const struct ladder_block *b,
				       struct ladder_answer best)
{
	for (uint32_t r = from; r < n; r++) {
		struct ladder_answer a = judge_write(rungs, n, r, b);

		if (better(&a, &best))
			best = a;
	}
	return best;
}

static bool has_replica_below(uint32_t n, uint32_t rung,
			      const struct ladder_block *b, uint32_t *ret_rung)
{
	for (uint32_t r = rung + 1; r < n; r++)
		if (b->on >> r & 1) {
			*ret_rung = r;
			return true;
		}
	return false;
}

struct ladder_answer ladder_leave(const struct ladder_rung *rungs, uint32_t n,
				  uint32_t from, const struct ladder_block *b)
{
	struct ladder_answer a = judge(rungs, n, from, b), best = a;
	uint32_t replica;

	if (has_replica_below(n, from, b, &replica)) {
		a.what = a.why == LADDER_WORTH ? LADDER_KEEP : LADDER_DROP;
		if (a.what == LADDER_DROP) {
			a.rung = replica;
			a.why = LADDER_REPLICA;
		}
		return a;
	}
	best = best_write(rungs, n, from + 1, b, a);
	if (best.why != LADDER_WORTH) {
		a.what = LADDER_DROP;
		a.rung = LADDER_AGAIN;
		return a;
	}
	best.what = best.rung == from ? LADDER_KEEP : LADDER_DEMOTE;
	return best;
}

struct ladder_answer ladder_admit(const struct ladder_rung *rungs, uint32_t n,
				  const struct ladder_block *b)
{
	struct ladder_answer best = { .rung = LADDER_AGAIN,
				      .below_ns = b->again_ns,
				      .why = LADDER_CLOSED };

	if (n)
		best = judge_write(rungs, n, 0, b);
	best = best_write(rungs, n, 1, b, best);
	best.what = best.why == LADDER_WORTH ? LADDER_ADMIT : LADDER_DROP;
	if (best.what == LADDER_DROP)
		best.rung = LADDER_AGAIN;
	return best;
}

struct ladder_answer ladder_promote(const struct ladder_rung *rungs, uint32_t n,
				    uint32_t from, const struct ladder_block *b)
{
	struct ladder_block here = *b;
	struct ladder_answer best = { .what = LADDER_KEEP, .rung = from };

	if (from >= n)
		return best;
	here.on |= 1u << from;
	if (!from) {
		best = judge(rungs, n, from, b);
		best.what = LADDER_KEEP;
		return best;
	}
	best = judge_write(rungs, n, 0, &here);
	best = best_write(rungs, from, 1, &here, best);
	best.what = best.why == LADDER_WORTH ? LADDER_PROMOTE : LADDER_KEEP;
	if (best.what == LADDER_KEEP)
		best.rung = from;
	return best;
}

struct ladder_answer ladder_prefetch(const struct ladder_rung *rungs,
				     uint32_t n, uint32_t from,
				     const struct ladder_block *b,
				     const struct ladder_return *ret)
{
	struct ladder_answer a = ladder_promote(rungs, n, from, b);
	uint64_t ns = from < n ? ladder_load_ns(&rungs[from], ret->bytes) : 0;
	uint64_t ms =
		clip((wide)ns * (1000 + ret->early_pm) / 1000) / NS_PER_MS;

	if (ret->in_ms <= ms + 1 || from >= n || !from)
		return a;
	a.what = LADDER_WAIT;
	a.why = LADDER_EARLY;
	a.rung = from;
	a.wait_ms = ret->in_ms - (ms + 1);
	return a;
}
