/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where should a block be? Tiers of memory as one ladder: rung 0 is the dearest
 * and the fastest, and below the last rung the block is made again (an engine
 * computes it at its depth, an object is read from its source).
 *
 * One value decides all. A block that is kept on a rung saves, for each hit, the
 * time that the cheapest place below takes less the time that this rung takes:
 *
 *	worth = rate * saves / size		saves = below - load(rung)
 *
 * rate: the chance to be used for each ms kept (comeback.h's worth, so the time of
 * keeping is in it); size in KiB. The pressure of a rung is the worth of the
 * block that would have to leave it; a rung takes a block whose worth there is
 * not less (equal ones replace each other, so that a head of a chain is not
 * refused for its own leaf), and among several rungs that would, the one with most
 * worth above its pressure is best.
 *
 *	load(rung) = queue + latency + bytes / bytes_per_s
 *
 * Each answer carries the numbers that it comes from. Pure: no clock, no state,
 * no I/O. Whole numbers, saturating; O(rungs).
 */
#ifndef ONECOPY_POLICY_LADDER_H
#define ONECOPY_POLICY_LADDER_H

#include "base/compiler.h"

#define LADDER_RUNGS	8
#define LADDER_AGAIN	UINT32_MAX /* below the last rung; on none */
#define LADDER_RATE_ONE (1ull << 32)
#define LADDER_NEVER	UINT64_MAX

struct ladder_rung {
	uint64_t latency_ns;
	uint64_t bytes_per_s; /* 0: without limit */
	uint64_t queue_ns;    /* before what is asked for now */
	uint64_t pressure; /* worth of its marginal block; 0: there is room */
	/* Writes wear it out: ns of saving that a KiB written must bring
	 * within the time that blocks stay there. 0: writes are free. */
	uint64_t wear;
	uint64_t stays_ms; /* 0: for ever, as far as is known */
	bool closed;	   /* takes nothing: it is off, full, or failing */
};

struct ladder_block {
	uint64_t bytes;
	/* to compute it at its depth, or to read it from its source;
	 * LADDER_NEVER: it cannot be had again */
	uint64_t again_ns;
	uint64_t rate; /* chance of a use for each ms, in 2^-32; at most one */
	uint32_t on;   /* rungs with a live replica: bit r */
};

enum ladder_what {
	LADDER_KEEP,	/* stays where it is */
	LADDER_DEMOTE,	/* is written to `rung`, below */
	LADDER_DROP,	/* leaves; `rung` still has it, or LADDER_AGAIN */
	LADDER_PROMOTE, /* is copied up to `rung` */
	LADDER_ADMIT,	/* is written to `rung`; it was on none */
	LADDER_WAIT,	/* ask again in wait_ms */
};

enum ladder_why {
	LADDER_WORTH,	/* its worth is not less than the pressure */
	LADDER_ROOM,	/* its worth is less */
	LADDER_REPLICA, /* a lower rung has it already */
	LADDER_SLOW,	/* what is below is as fast */
	LADDER_WEAR,	/* it would not bring what the write costs */
	LADDER_CLOSED,
	LADDER_EARLY, /* it is not due */
};

struct ladder_answer {
	enum ladder_what what;
	enum ladder_why why;
	uint32_t rung;
	/* of the rung that was decided about */
	uint64_t load_ns, below_ns, saves_ns;
	uint64_t worth, pressure;
	uint64_t wait_ms; /* LADDER_WAIT */
};

const char *ladder_what_name(enum ladder_what what);
const char *ladder_why_name(enum ladder_why why);

uint64_t ladder_load_ns(const struct ladder_rung *r, uint64_t bytes);
/* Of a saving, in 2^-32 ns for each ms and KiB. */
uint64_t ladder_worth(uint64_t rate, uint64_t saves_ns, uint64_t bytes);
/* What having it again takes when `rung` does not have it (LADDER_AGAIN: no rung
 * from 0 on counts): the fastest of its replicas below, or making it again. */
uint64_t ladder_below_ns(const struct ladder_rung *rungs, uint32_t n,
			 uint32_t rung, const struct ladder_block *b);
/* Worth of having it on `rung`, with what is below as it is: that rung's pressure
 * when it is the next to leave. */
uint64_t ladder_worth_on(const struct ladder_rung *rungs, uint32_t n,
			 uint32_t rung, const struct ladder_block *b);

/* The block is the next to leave `from`, whose pressure is the worth of what
 * wants its room: keep, demote or drop. With a live replica below nothing is
 * ever written. */
struct ladder_answer ladder_leave(const struct ladder_rung *rungs, uint32_t n,
				  uint32_t from, const struct ladder_block *b);
/* A block that is on no rung and has just been made: LADDER_ADMIT, or
 * LADDER_DROP: it passes by. */
struct ladder_answer ladder_admit(const struct ladder_rung *rungs, uint32_t n,
				  const struct ladder_block *b);
/* It was read on `from`: is it copied up? LADDER_PROMOTE or LADDER_KEEP. The read
 * is over and done with: only uses to come count. */
struct ladder_answer ladder_promote(const struct ladder_rung *rungs, uint32_t n,
				    uint32_t from,
				    const struct ladder_block *b);

/* A session is expected back. */
struct ladder_return {
	uint64_t in_ms;	   /* from now */
	uint64_t bytes;	   /* that it has on the rung */
	uint32_t early_pm; /* begin so much earlier, in 1/1000 of the loading */
};
/* Load it from `from` before that? LADDER_WAIT until loading must begin; then, as
 * ladder_promote() of one of its blocks with the rate of that moment,
 * LADDER_PROMOTE or LADDER_KEEP. One that is not there yet when it is expected
 * is loaded at once if it is worth it. */
struct ladder_answer ladder_prefetch(const struct ladder_rung *rungs,
				     uint32_t n, uint32_t from,
				     const struct ladder_block *b,
				     const struct ladder_return *ret);

#endif
