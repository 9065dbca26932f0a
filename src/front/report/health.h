/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the node fit? Live: it answers. Ready: it serves, and every door that was
 * asked for is there; send it work. Degraded: something wants a person's look;
 * each reason is a short sentence. A note is worth knowing and no reason to act.
 *
 * Pure functions over plain numbers. A memory budget that is used up is how a
 * cache works, and no reason.
 */
#ifndef ONECOPY_FRONT_REPORT_HEALTH_H
#define ONECOPY_FRONT_REPORT_HEALTH_H

#include "base/compiler.h"

/* What only grows and is a matter of how much lately. */
struct health_counts {
	uint64_t grants_refused; /* everything was in use */
	uint64_t wrong_parts;	 /* dropped: their bytes were wrong */
	uint64_t slabs_refused;	 /* no memory for a slab */
	uint64_t memory_errors;	 /* frames whose memory has failed */
	uint64_t region_errors;	 /* times that the CXL region's memory has */
};

#define HEALTH_STEP_NS	10000000000ull /* between samples */
#define HEALTH_LATELY_S 300u	       /* what "lately" looks back */
#define HEALTH_SAMPLES	(HEALTH_LATELY_S / 10 + 1)

/* Zeroed to begin with; samples in a ring. */
struct health_trend {
	struct {
		uint64_t at_ns;
		struct health_counts counts;
	} sample[HEALTH_SAMPLES];
	uint64_t n; /* samples taken so far */
};

/* When the next sample is due: 0 before the first. */
uint64_t health_due(const struct health_trend *t);
void health_sample(struct health_trend *t, uint64_t now_ns,
		   const struct health_counts *now);
/* How much was added since the oldest sample of the last HEALTH_LATELY_S; all
 * zeros before the first sample. */
struct health_counts health_lately(const struct health_trend *t,
				   uint64_t now_ns,
				   const struct health_counts *now);

struct health_facts {
	bool serving;	 /* every pool takes requests */
	uint64_t starts; /* of servers, since the pools began */
	uint64_t up_s;	 /* this server */
	uint64_t age_s;	 /* the oldest pool */
	struct health_counts lately, ever;
	const char *const *failure; /* doors that do not listen */
	unsigned n_failures;
	bool uring_refused; /* and epoll is used */
	/* the tier below; state NULL: all is well with it, or there is none */
	const char *below_state, *below_why;
	const char *below_note;	 /* how it works, where that is not as it should
				   be; NULL */
	const char *below_short; /* it is up, and what it lacks; NULL */
	uint64_t below_bad, below_errors; /* so far */
	/* the memory below DRAM: why it is not there, NULL: all is well, or there
	 * is none; bytes of a device that are lost for good */
	const char *low_missing;
	uint64_t low_aside;
	uint64_t quarantined;  /* frames, now */
	uint64_t silent_bytes; /* mapped by clients that do not answer, now */
	/* the CXL region; state NULL: all is well there, or it has none */
	const char *region_state, *region_why;
	uint32_t region_late;	     /* members that are silent and may live */
	uint32_t region_quarantined; /* shards of these */
	uint32_t region_shards,
		region_nobodys; /* all; those without an owner */
	/* what was copied there, and the room that one part takes */
	uint64_t region_parts, region_bytes, region_frame;
	bool region_idle;     /* it wants a shard there, and has none */
	uint32_t region_out;  /* own shards that are of no use: memory failed */
	uint64_t region_held; /* frames of own shards that are used no more */
	uint32_t region_outside; /* clients that found no slot there, now */
	/* blocks that sessions came back for lately, in the pool that lost most
	 * of them; how many were not in memory, and how many sessions fit */
	uint64_t returned, lost, sessions_fit;
};

#define HEALTH_TEXTS 12
#define HEALTH_TEXT  640 /* a path, and what to do about it */

struct health {
	bool live, ready;
	unsigned n_degraded, n_notes;
	char degraded[HEALTH_TEXTS][HEALTH_TEXT];
	char note[HEALTH_TEXTS][HEALTH_TEXT];
};

void health_judge(const struct health_facts *facts, struct health *ret_health);

#endif
