/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server as a client of its own pools: what doors write and read for peers
 * that have no process of ours. Its blocks lie in slabs that only the server
 * can write, so what is read here was written here, whatever clients do.
 *
 * Unlike a client's, a seal here replaces a part that is there already: the old
 * one is doomed first, so nobody ever sees both.
 *
 * Grants may have to wait; they are answered through store_options.answer then
 * (client = this one, call->seq as given). Everything else is done at once.
 *
 * Death: with the server. What it was writing comes back when its successor
 * attaches, pins are gone, what was sealed stays.
 */
#ifndef ONECOPY_STORE_LOCAL_H
#define ONECOPY_STORE_LOCAL_H

#include "store/store.h"

/* Pins at a time. */
#define LOCAL_PINS 65536u

/* A part's filling, as found or granted. Valid until the next call into the
 * store, longer only when pinned (found) or not yet sealed (granted). */
struct local_part {
	uint64_t loc, gen;
	union {
		struct slices slices; /* found: read only */
		uint8_t *data;	      /* of what is in no slices: its begin */
	};
	uint64_t bytes; /* of the payload; granted: of the frame */
	uint64_t checksum, sealed_ms;
};

/* The pool's; made when it is asked for first. -ENOMEM. */
int local_client(struct store *s, struct pool *p,
		 struct store_client **ret_client);

/* A frame for `bytes`; flags: enum frame_grant_flags, FRAME_GRANT_DEVICE when
 * the kernel may write there by itself. STORE_ANSWERED: *ret_result is 0 and *ret_part filled,
 * or -errno (-ENOBUFS no room, -E2BIG, -ENOMEM). STORE_LATER: answered later,
 * with seq. */
enum store_result local_grant(struct store_client *c, const uint64_t key[4],
			      uint64_t part, uint64_t bytes, uint64_t flags,
			      uint64_t seq, uint64_t timeout_ns,
			      int64_t *ret_result, struct local_part *ret_part);
/* What an answer that came later brought (its result was 0). -ENOMEM: memory to
 * map it was refused, the frame is back. */
int local_granted(struct store_client *c, const struct ring_answer *answer,
		  struct local_part *ret_part);
/* A grant that waits is not waited for any more. False: it does not wait. */
bool local_cancel(struct store_client *c, uint64_t seq);
/* Visible from now on: `bytes` of payload, whose checksum is right (the seed is
 * hash_part_seed()'s). -ENOSPC: the index is full, the frame is gone. */
int local_seal(struct store_client *c, const struct local_part *part,
	       uint64_t bytes, uint64_t checksum);
/* Its slab, as long as it is lent. */
struct pool_slab *local_lent(struct store_client *c,
			     const struct local_part *part,
			     uint32_t *ret_frame);
void local_abandon(struct store_client *c, const struct local_part *part);

/* A sealed part in a slab that only the server could write. False: none. */
bool local_find(struct store_client *c, const uint64_t key[4], uint64_t part,
		struct local_part *ret_part);
/* The same, of a frame that the caller walks over: sealed, of namespace ns and
 * written here. */
bool local_at(struct store_client *c, uint32_t slab, uint32_t frame,
	      uint32_t ns, uint64_t ret_key[4], uint64_t *ret_part,
	      struct local_part *ret_found);
void local_touch(struct store_client *c, const struct local_part *part);
/* Takes a part away. False: there was none. */
bool local_remove(struct store_client *c, const uint64_t key[4], uint64_t part);
/* The bytes of a found part are not what its checksum says: its block goes. */
void local_bad(struct store_client *c, const struct local_part *part);

/* The memory that a found part lies in has failed there: it is gone. */
struct guard_fault;
void local_broken(struct store_client *c, const struct local_part *part,
		  const struct guard_fault *fault);

/* Keeps a found part from being reused. The slot, or -EDQUOT. */
int64_t local_pin(struct store_client *c, const struct local_part *part);
void local_unpin(struct store_client *c, int64_t slot);

#endif
