/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private node with a client and a number of sealed blocks of one size: what
 * benches measure against. Keys are made from their number (payload_key), and
 * payload from the key, so that any block can be verified.
 */
#ifndef ONECOPY_PROG_BENCH_POOL_H
#define ONECOPY_PROG_BENCH_POOL_H

#include <stdint.h>
#include <sys/types.h>

#include "node.h"
#include "onecopy/onecopy.h"

struct bench_pool {
	struct node *node;
	oc_client *client;
	oc_ns *ns;
	uint64_t block_bytes;
	uint64_t blocks;    /* sealed by bench_pool_fill() */
	struct oc_key *key; /* of those, in the order of sealing */
	uint64_t next;	    /* number of the next new key */
	uint8_t *scratch;   /* one block */
};

#define BENCH_BATCH 256u /* blocks a round trip, when filling */

/* 0 or -errno; says on stderr what is wrong. */
int bench_pool_open(uint64_t dram, uint64_t block_bytes,
		    struct bench_pool **ret_pool);
/* With a drive of its own, PATH:SIZE; NULL: none. */
int bench_pool_open_over(uint64_t dram, uint64_t block_bytes, const char *drive,
			 struct bench_pool **ret_pool);
/* One more client of a node that runs already. */
int bench_pool_join(const char *socket, uint64_t block_bytes,
		    struct bench_pool **ret_pool);
/* Takes NULL. Ends the node. */
void bench_pool_close(struct bench_pool *p);

/* Seals n more blocks and remembers their keys. */
int bench_pool_fill(struct bench_pool *p, uint64_t n);
/* Seals n <= BENCH_BATCH new blocks and forgets them; their keys in ret_keys
 * when that is not NULL. */
int bench_pool_put(struct bench_pool *p, uint32_t n, struct oc_key *ret_keys);

/* "MemAvailable" in bytes; 0 when unknown. */
uint64_t bench_memory_free(void);

#endif
