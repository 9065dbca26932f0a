/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the rung below DRAM (store/rung*.c); what others call is in
 * store/internal.h.
 */
#ifndef ONECOPY_STORE_RUNG_INTERNAL_H
#define ONECOPY_STORE_RUNG_INTERNAL_H

#include "store/internal.h"

/* Slabs of other shapes that are tried in one turn. */
#define RUNG_TRIED 8u

/* How it went: done; not yet, what it takes is on its way; not at all. */
enum rung_how { RUNG_READY, RUNG_LATER, RUNG_NONE };

/* One turn. */
struct rung_work {
	struct store *s;
	struct pool *p;
	struct store_client *c; /* the server's own, which low slabs are of */
	uint64_t stamp, rate;	/* of what comes down */
	uint32_t made; /* at the list's end: twins of this turn, pinned ones */
	uint32_t tried[RUNG_TRIED]; /* slabs that could not be emptied */
	uint32_t n_tried;
	uint64_t copied;
	bool exchange; /* for what goes up */
	bool patient;  /* writes to the tier below may be waited for */
};

/* ---- store/rung.c ---- */

/* False: this pool has no such rung, or there is no memory for the server's own
 * client of it. */
bool rung_work_init(struct rung_work *w, struct store *s, struct pool *p);
/* This frame's block is what comes: its stamp and rate are what others are compared
 * with. */
void rung_comes(struct rung_work *w, const struct pool_slab *slab,
		uint32_t frame);
/* The i-th part of a block as it is found; NULL. False: there are no more. */
bool rung_part_at(const struct rung_work *w, const uint64_t key[4], uint32_t ns,
		  unsigned i, struct pool_slab **ret_slab, uint32_t *ret_frame);

/* ---- store/rung_slab.c ---- */

/* True: one is on its way. */
bool rung_slab_ask(struct store *s, struct pool *p, uint32_t arena);

/* ---- store/rung_room.c ---- */

/* A free frame of low memory. */
enum rung_how rung_frame(struct rung_work *w, uint64_t frame_bytes,
			 uint32_t *ret_item);

/* ---- store/rung_copy.c ---- */

/* A free frame is granted to the server, for the part that this one describes. */
void rung_grant(struct rung_work *w, uint32_t item,
		const struct frame_desc *like);
/* From one frame into another that is GRANTED: 0; -EBADMSG the bytes were wrong;
 * -EIO, -EFAULT the memory of the first, of the other has failed; -ENOMEM. */
int rung_copy(struct rung_work *w, struct pool_slab *from, uint32_t ff,
	      struct pool_slab *to, uint32_t tf);
/* A frame that could not be filled: it is free, or its memory has failed. */
void rung_give_up(struct rung_work *w, struct pool_slab *slab, uint32_t frame,
		  int error);

#endif
