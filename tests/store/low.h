/* SPDX-License-Identifier: Apache-2.0 */
/* A world with a rung below DRAM: ordinary memory stands in for CXL. */
#ifndef ONECOPY_TESTS_STORE_LOW_H
#define ONECOPY_TESTS_STORE_LOW_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/hash.h"
#include "tests/store/world.h"

#define SLAB	       (16ull * PART_BYTES)
#define COUNT(w, name) pool_counter((w)->p, POOL_C_##name)

/* Two slabs in DRAM and four below: 32 and 64 blocks. */
static const struct world_config both = { .limit = 2 * SLAB,
					  .slab_bytes = SLAB,
					  .low = 4 * SLAB };

static inline void rest(struct world *w)
{
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned c = 0; c < SIMS; c++)
			if (w->sim[c].c && !w->sim[c].closed)
				sim_let_go(&w->sim[c]);
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
	}
}

/* As a client that waits a second: slabs below are made meanwhile. 0, or SIM_LATER. */
static inline int64_t grant(struct world *w, uint64_t n, uint64_t part)
{
	struct sim *a = &w->sim[0];
	int64_t r = sim_grant(a, n, part, WORLD_SEC);
	uint32_t slot = a->slot;

	for (unsigned i = 0; i < 50 && r == SIM_LATER; i++) {
		sim_let_go(a);
		world_ready(w);
		world_tick(w, WORLD_SEC / 500);
		r = sim_answer(a, slot);
	}
	return r;
}

static inline void put(struct world *w, uint64_t n, uint64_t part)
{
	CHECK_OK(grant(w, n, part));
	CHECK_OK(sim_seal(&w->sim[0], n, part, &w->last));
}

/* Seals what was granted last as a part of so many zeros. */
static inline void seal_zeros(struct world *w, uint64_t n, uint64_t part,
			      uint32_t bytes)
{
	struct ring_call seal = call_of(RING_SEAL, n, part);
	uint8_t *zeros = calloc(1, bytes);
	struct pool_slab *s;
	uint8_t key[32];
	uint32_t frame;

	CHECK(zeros);
	seal.loc = w->last.loc;
	seal.gen = w->last.gen;
	seal.extent = frame_extent(bytes, 0);
	s = pool_locate(w->p, seal.loc, &frame);
	CHECK_INT(pwrite(s->payload.fd, zeros, bytes,
			 (off_t)(frame * s->frame_bytes)),
		  ==, bytes);
	memcpy(key, seal.key, sizeof(key));
	seal.checksum = hash_payload(zeros, bytes, hash_part_seed(key, 0, 0));
	free(zeros);
	CHECK_OK(sim_call(&w->sim[0], seal));
}

static inline void put_all(struct world *w, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		put(w, i, PART);
}

static inline struct pool_slab *slab_of(struct world *w, uint64_t n,
					uint64_t part, uint32_t *ret_frame)
{
	uint64_t key[4];

	key_of(n, key);
	return pool_find(w->p, key, part, ret_frame);
}

static inline void touch(struct world *w, uint64_t n)
{
	uint32_t frame;

	if (!slab_of(w, n, PART, &frame))
		return;
	sim_touch(&w->sim[1], n, PART);
	store_touches(w->sim[1].c);
}

static inline struct world *begin(const struct world_config *config)
{
	struct world *w = world_create(config);

	sim_add(w, 0);
	sim_add(w, 1);
	return w;
}

static inline void end(struct world *w)
{
	world_check(w);
	world_destroy(w);
}

/* A page of a mapping becomes one behind the end of a file: what touches it gets
 * SIGBUS, as with memory that has failed. */
static inline void spoil_at(void *at)
{
	int fd = memfd_create("end", MFD_CLOEXEC);

	CHECK(at && fd >= 0);
	CHECK(mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) == at);
	close(fd);
}

/* The server's mapping of a frame's page. */
static inline void spoil_page(struct pool_slab *s, uint32_t frame)
{
	spoil_at(pool_payload(s, frame).base);
}

#endif
