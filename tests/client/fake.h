/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake node in a thread of the test: real segments, a real socket and a ring
 * that is served, but no policy, one client and two slabs.
 *
 * It proves the library's code, not the server's. What a test changes by
 * itself (entries, descriptors, epochs) it changes under `lock`.
 */
#ifndef ONECOPY_TESTS_CLIENT_FAKE_H
#define ONECOPY_TESTS_CLIENT_FAKE_H

#include <pthread.h>
#include <sys/un.h>
#include "onecopy/onecopy.h"
#include "index/table.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "wire/msg.h"

#define FAKE_PINS	 256
#define FAKE_OVERFLOW	 8
#define FAKE_FRAMES	 64
#define FAKE_FRAME_BYTES 4096
#define FAKE_SLABS	 4
#define FAKE_OWN	 1 /* slab of the client */
#define FAKE_OTHER	 2 /* slab of the server */

struct fake_slab {
	struct segment data, desc;
};

/* A part on a tier below. */
struct fake_below {
	struct oc_key key;
	uint64_t part;
	/* when fetched; LATE: said to be there, and not seen at first */
	enum { BELOW_COMES, BELOW_GONE, BELOW_STUCK, BELOW_LATE } fate;
};

struct fake {
	char path[108];
	pthread_t thread;
	pthread_mutex_t lock;
	int listener, sock, bell, bell_peer, stop;
	struct segment meta_segment, index_segment, client_segment;
	struct pool_meta *meta;
	struct client_segment *client;
	struct table table;
	struct fake_slab slab[FAKE_SLABS];
	uint64_t head; /* ring entries seen */
	uint64_t index_epoch;
	/* Switches of the tests. */
	_Atomic(bool) mute_ring, mute_socket, refuse_region;
	/* seals are not made, nor answered; are made and not answered */
	_Atomic(bool) drop_seals, hush_seals;
	_Atomic(uint64_t) done, granted, abandoned, unpinned, bad, cancelled;
	_Atomic(uint64_t) unanswered; /* seals, by these switches */
	bool stale_once;	      /* a report was lost once */
	struct fake_below below[FAKE_FRAMES];
	uint64_t on_rung; /* groups, a bit each: below is the rung, not the drive */
	uint32_t n_below, groups; /* of its namespace, one rank */
	uint32_t fetched;	  /* frames of FAKE_OTHER, from the last down */
	uint32_t look_most;	  /* keys that a look answers; 0: all */
	_Atomic(uint64_t) looks, fetches, ahead;
	void (*spoil)(union msg *welcome, int *fds, unsigned *n_fds);
};

/* Begins to listen; the pool has slab FAKE_OTHER and an empty index. */
struct fake *fake_start(void);
void fake_stop(struct fake *f);

/* A connected client and its namespace {1 group, 4096 bytes, 16 tokens}. */
oc_client *fake_client(struct fake *f, const struct oc_client_options *o);
oc_ns *fake_ns(oc_client *c);

struct oc_key fake_key(uint64_t n);
uint64_t fake_payload(uint64_t n, uint8_t buf[FAKE_FRAME_BYTES]);

/* Writes a descriptor, its payload and an index entry. */
void fake_seal(struct fake *f, uint32_t slab, uint32_t frame, uint64_t gen,
	       const struct oc_key *key, uint64_t part);
/* The index entry alone. */
void fake_entry(struct fake *f, const struct oc_key *key, uint64_t part,
		uint32_t slab, uint32_t frame, uint64_t gen);
struct frame_desc *fake_desc(struct fake *f, uint32_t slab, uint32_t frame);
/* A slab with this many frames, LIVE, in its next generation. */
void fake_slab_make(struct fake *f, uint32_t slab, uint32_t frames,
		    uint64_t owner);
void fake_slab_retire(struct fake *f, uint32_t slab);
void fake_index_grow(struct fake *f, uint64_t entries);
/* The node has a drive: 1 ms to the first byte, 4,096 bytes a ms. */
void fake_tier(struct fake *f);
/* A part there. Under `lock`. */
void fake_below(struct fake *f, uint64_t n, uint64_t part, int fate);
void fake_serve_again(struct fake *f);

#endif
