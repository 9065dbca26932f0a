/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of parts, for the store (tier_ops) and for reclaim. */
#ifndef ONECOPY_TIER_NVME_MOVE_H
#define ONECOPY_TIER_NVME_MOVE_H

#include "tier/nvme/nvme.h"

int nvme_move_read(struct tier *tier, struct tier_move *m);
int nvme_move_write(struct tier *tier, struct tier_move *m);
void nvme_move_cancel(struct tier *tier, struct tier_move *m);

uint64_t nvme_seed_of(const uint64_t key[4], uint32_t part);
/* A part that can be read now; NODE_NONE. */
uint32_t nvme_part_find(const struct nvme *t, const struct tier_id *id);

static inline struct tier_block nvme_node_block(const struct nvme_node *d)
{
	return (struct tier_block){ .checksum = d->checksum,
				    .extent = d->extent,
				    .depth = d->depth };
}

void nvme_read_begin(struct nvme *t, struct nvme_read *r, uint32_t n,
		     const struct slices *to, enum tier_urgency urgency,
		     uint64_t deadline_ns, void (*done)(struct nvme_io *io));
struct nvme_node *nvme_read_ended(struct nvme_read *r);
struct nvme_node *nvme_read_node(const struct nvme_read *r);
void nvme_write_begin(struct nvme *t, struct nvme_write *w, uint32_t n,
		      struct nvme_head *h, uint32_t unit,
		      const struct slices *from, enum write_kind kind,
		      enum tier_urgency urgency, uint64_t deadline_ns);

#endif
