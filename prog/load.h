/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a node with a workload (deck.h) from several processes and counts what
 * happens: writers do what an engine does, readers are other processes that pin
 * and verify what the writers hit and wrote.
 *
 * One request of a writer: oc_match_pin() of its keys; its hits are verified
 * and shown to a reader; the blocks that were missing are granted, filled and
 * sealed from the last to the first; when the reader has verified the hits, the
 * pins go (the library touches from the last to the first). Readers pin with
 * OC_PIN_NO_TOUCH, so that looking does not change what stays resident.
 *
 * A process that dies is reported and ends the load; nobody waits for it.
 */
#ifndef ONECOPY_PROG_LOAD_H
#define ONECOPY_PROG_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/hist.h"
#include "deck.h"
#include "onecopy/onecopy.h"

#define LOAD_PROCESSES_MAX 64 /* writers or readers, each */

enum load_time {
	LOAD_MATCH,
	LOAD_PIN,  /* one block in DRAM */
	LOAD_NVME, /* one block on the drive, from being asked for to resident */
	LOAD_GRANT,
	LOAD_SEAL,
	LOAD_TIMES
};
extern const char *const load_time_names[LOAD_TIMES];

/* What becomes of blocks that are on the node's drive. */
enum load_policy {
	LOAD_PLANNED, /* what oc_plan() says */
	LOAD_ALWAYS,  /* all are loaded */
	LOAD_NEVER,   /* all are computed anew */
	LOAD_POLICIES
};
extern const char *const load_policy_names[LOAD_POLICIES];

struct load_tiers {
	bool ask; /* the node may have a drive: it is asked */
	enum load_policy policy;
	double tokens_per_s, depth_ns; /* of prefill: struct oc_plan_options */
	uint64_t wait_ns;	       /* most for a request's loads; 0: 60 s */
};

struct load;

struct load_options {
	const struct deck *deck; /* dealt to as many clients as writers run */
	const char *socket;	 /* NULL: the default node */
	const char *label;	 /* of the namespace and of the keys */
	uint32_t readers;
	uint32_t block_tokens;
	uint64_t block_bytes;
	uint64_t seed;
	uint64_t first, end; /* requests [first, end); end 0: to the last */
	struct load_tiers tiers;
	double speed;	     /* times real time; 0: as fast as it goes */
	uint64_t timeout_ns; /* of each call; 0: 30 s */
	uint64_t hold_at; /* the first writer that comes to this request holds
			     all, until load_go_on(); 0: none does */
	/* Called some ten times a second while the load runs, with the share
	 * of requests done, 0..1. Non-zero ends the load. May be NULL. */
	int (*tick)(void *ctx, struct load *l, double done);
	void *ctx;
};

struct load_result {
	uint64_t requests, blocks, hit_blocks;
	uint64_t sealed_blocks, exists, refused;
	uint64_t stale; /* grants that were taken away before their seal */
	uint64_t late;	/* blocks that were gone before a reader looked */
	uint64_t filled_bytes;	  /* written into frames */
	uint64_t delivered_bytes; /* reached a process by a pin */
	uint64_t verified_bytes, wrong_bytes, bad_blocks;
	uint64_t ns;
	uint32_t died; /* processes that ended badly */
	struct hist time[LOAD_TIMES];
	/* with tiers.ask: */
	uint64_t nvme_blocks;	 /* hits that came from the drive */
	uint64_t below_blocks;	 /* that could have: they were there */
	uint64_t computed_below; /* of those, computed as planned */
	uint64_t not_come;	 /* asked for, and not had in time, or lost */
	uint64_t first_ns;	 /* times to the first token, summed: loading
				    as it was, computing as the rate says; */
	uint64_t load_ns;	 /* of that, loading */
	uint64_t expected_ns[LOAD_POLICIES]; /* the same as expected before */
};

/* Runs to the end. 0; -EIO when a process died or failed (said on stderr);
 * -EINTR when asked to stop; else -errno. *ret_result is written in every case
 * but -ENOMEM. */
int load_run(const struct load_options *options,
	     struct load_result *ret_result);

/* What a second part of a load has shown is added to what the first has; not ns. */
void load_add(struct load_result *sum, const struct load_result *r);

/* Writes per byte delivered: filled_bytes / delivered_bytes; 0 when nothing
 * was delivered. */
double load_moves(const struct load_result *r);

/* From tick(): holds all writers at the next block that is filled and not
 * sealed yet (grants and pins out), or between requests. 0 when all are held
 * or done; -ETIMEDOUT (they go on then). */
int load_hold(struct load *l, uint64_t timeout_ns);
void load_go_on(struct load *l);
/* True after a writer came to `hold_at`. */
bool load_came_to_hold(const struct load *l);
/* Blocks that writers have filled and not sealed yet, and pins that they have:
 * meaningful while they are held. */
void load_held(const struct load *l, uint64_t *ret_grants, uint64_t *ret_pins);

/* Opens the namespace that the load's processes use. */
int load_ns_open(const struct load_options *options, oc_client *c,
		 oc_ns **ret_ns);

#endif
