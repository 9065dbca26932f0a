/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of pool/ alone. */
#ifndef ONECOPY_POOL_INTERNAL_H
#define ONECOPY_POOL_INTERNAL_H

#include "pool/pool.h"

/* pool/pool.c */
int pool_alloc(const struct pool_options *options, struct pool **ret_pool);
void pool_meta_account(struct pool *p, uint64_t add, uint64_t sub);
int pool_hold(struct pool *p, enum hold_kind kind, uint64_t id, int fd);
void pool_drop(struct pool *p, enum hold_kind kind, uint64_t id);

/* pool/frame.c: word by the table; aborts on an illegal event */
void pool_frame_step(struct pool_slab *s, uint32_t frame,
		     enum frame_event event);
/* Onto its arena's list, and off it; of a slab that is not draining. */
void pool_free_link(struct pool *p, struct pool_slab *s, uint32_t frame);
void pool_free_unlink(struct pool *p, struct pool_slab *s, uint32_t frame);
/* One sealed part more or less, for pool.parts. */
void pool_parts_count(struct pool *p, const struct frame_desc *d, int n);
void pool_free_push(struct pool *p, struct pool_slab *s, uint32_t frame);

/* FREE and on no list, of memory that has failed -> QUARANTINED. */
void pool_frame_keep(struct pool *p, struct pool_slab *s, uint32_t frame);

/* pool/twin.c: accounts of a frame's end as one of two; the link goes. */
void pool_twin_unlink(struct pool *p, struct pool_slab *s, uint32_t frame);
/* Both are sealed, and counted by the caller. */
void pool_twin_link(struct pool *p, struct pool_slab *up, uint32_t uf,
		    struct pool_slab *low, uint32_t lf);
/* The index names `to` where it named `from`: the same part. */
void pool_index_switch(struct pool *p, struct pool_slab *from, uint32_t from_f,
		       struct pool_slab *to, uint32_t to_f);
/* A sealed frame that the index names is counted: gauges alone. */
void pool_sealed_count(struct pool *p, struct pool_slab *s, uint32_t frame,
		       int n);

/* pool/arena.c */
int pool_items_take(struct pool *p, struct pool_slab *s);
void pool_items_give(struct pool *p, struct pool_slab *s);

/* pool/slab.c */
/* A record's word by the table; aborts on an illegal event. */
void pool_slab_step(struct pool *p, uint32_t id, enum slab_event event);
void pool_slab_free(struct pool_slab *s);
uint64_t pool_desc_bytes(uint32_t frames);

/* pool/index.c */
int pool_index_create(struct pool *p, uint64_t entries);

#endif
