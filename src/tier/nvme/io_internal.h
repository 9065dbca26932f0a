/* SPDX-License-Identifier: Apache-2.0 */
/* Private to io*.c: what the two sides of the engine share. */
#ifndef ONECOPY_TIER_NVME_IO_INTERNAL_H
#define ONECOPY_TIER_NVME_IO_INTERNAL_H

#include "tier/nvme/io.h"

struct nvme_memory {
	char *base;
	uint64_t bytes;
	bool drop, dropped, heap;
	struct nvme_memory *next;
};
/* Registered at once at most, so that a drop does not wait long. */
#define NVME_MEMORY_BYTES (64ull << 20)

void nvme_list_add(struct nvme_io_list *l, struct nvme_io *io);
void nvme_list_remove(struct nvme_io_list *l, struct nvme_io *io);
unsigned nvme_queue_of(const struct nvme_io *io);
void nvme_engine_done(struct nvme_engine *e, struct nvme_io *io);
/* The device's thread. */
void nvme_engine_run(struct nvme_engine *e);

#endif
