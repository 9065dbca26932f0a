/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts that are removed before it is known what the log has: their ids are kept
 * until then, and removed before anybody finds them. Nothing is written in that
 * time, so the order is simple. What the bound or the memory does not hold is "all
 * that this space has".
 */
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/nvme.h"

static bool grow(struct nvme_early *y)
{
	uint32_t room = y->room ? 2 * y->room : 64;
	struct tier_id *id;

	if (y->n < y->room)
		return true;
	if (y->room == NVME_EARLY)
		return false;
	id = mem_array(room, sizeof(*id));
	if (!id)
		return false;
	if (y->n)
		memcpy(id, y->id, y->n * sizeof(*id));
	free(y->id);
	y->id = id;
	y->room = room;
	return true;
}

static bool whole(const struct nvme_early *y, uint32_t space)
{
	return y->space[space / 8] & 1u << space % 8;
}

void nvme_early_remove(struct nvme *t, const struct tier_id *id)
{
	struct nvme_early *y = &t->early;

	if (id->space >= LOG_SPACES_MAX || whole(y, id->space))
		return;
	if (grow(y)) {
		y->id[y->n++] = *id;
		return;
	}
	log_warn("nvme: %s: too much is removed before it is known what is "
		 "there: nothing is kept of one namespace",
		 t->path ? t->path : t->options.path);
	y->space[id->space / 8] |= (uint8_t)(1u << id->space % 8);
	y->spaces = true;
}

static void kill(struct nvme *t, uint32_t n)
{
	nvme_part_kill(t, n);
	t->count.removed++;
}

void nvme_early_apply(struct nvme *t)
{
	struct nvme_early *y = &t->early;
	uint32_t n;

	for (uint32_t i = 0; i < y->n; i++) {
		n = nvme_index_find(&t->index, &y->id[i]);
		if (n != NODE_NONE &&
		    nvme_node(&t->index, n)->state == NODE_LIVE)
			kill(t, n);
	}
	for (n = 1; y->spaces && n < t->index.made; n++) {
		const struct nvme_node *d = nvme_node(&t->index, n);

		if (d->state == NODE_LIVE && whole(y, d->space))
			kill(t, n);
	}
	nvme_early_free(t);
}

void nvme_early_free(struct nvme *t)
{
	free(t->early.id);
	memset(&t->early, 0, sizeof(t->early));
}
