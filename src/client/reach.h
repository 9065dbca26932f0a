/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the node for what is not resident: where parts are on its tiers below
 * DRAM, and to bring them up. Private to client/.
 *
 * Looks are questions with keys in the blob, answered at once, so the blob is
 * never held for long. Waiting for a block is a request of its own with the key
 * in it: what a new server repeats depends on nothing that the client may have
 * written over.
 */
#ifndef ONECOPY_CLIENT_REACH_H
#define ONECOPY_CLIENT_REACH_H

#include "client/client.h"

/* Does the node have a tier below DRAM? Reads shared memory. */
bool reach_exists(const oc_client *c);

/* Where the parts of a row of keys are, as far as it was asked for. */
struct reach {
	oc_ns *ns;
	const struct oc_key *keys;
	size_t n;
	uint16_t rank; /* or RING_RANK_ALL */
	uint64_t deadline;
	int error; /* of the first look that failed: what was not looked at
		      reads as nowhere */
	struct ring_place *place;    /* [group][block] */
	struct reach_window *window; /* [group][window of keys] */
};

/* 0, -ENOMEM. */
int reach_init(struct reach *r, oc_ns *ns, const struct oc_key *keys, size_t n,
	       uint16_t rank, uint64_t deadline);
void reach_fini(struct reach *r);
/* Of all ranks of a group that are meant. Asks where needed. */
const struct ring_place *reach_at(struct reach *r, unsigned group,
				  size_t block);
/* As known; never asks. */
const struct ring_place *reach_peek(const struct reach *r, unsigned group,
				    size_t block);
/* One part by itself. 0, -ETIMEDOUT, ... */
int reach_one(oc_ns *ns, const struct oc_key *key, uint64_t part,
	      uint64_t deadline, struct ring_place *ret_place);

/* A block to bring up: the groups that are meant, a bit each. */
struct reach_job {
	size_t block;
	unsigned groups;
};
/* Told in the order of jobs: 0 resident, OC_MISS, -ETIMEDOUT, -errno. */
typedef void (*reach_done)(void *ctx, const struct reach_job *job, int result);
/* Brings all up and returns when each has been told. done may be NULL. */
void reach_fetch(struct reach *r, const struct reach_job *jobs, size_t n,
		 reach_done done, void *ctx);
/* Begins to; 0 or the first error. */
int reach_ahead(struct reach *r, const struct reach_job *jobs, size_t n);
/* Pins a part that was brought up, or is to be: it is asked for, and again when it
 * is gone by then. A part that eviction has in hand and then spares, because
 * somebody has it pinned, reads as a miss meanwhile; the server answers when that
 * is over. 0, OC_MISS, OC_BAD, -ETIMEDOUT, -errno. */
int reach_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	      unsigned flags, uint64_t deadline, struct oc_pin *ret_pin);
/* The request for one block. */
struct ring_call reach_call(const oc_ns *ns, const struct oc_key *key,
			    uint16_t rank, unsigned groups);

#endif
