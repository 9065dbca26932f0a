/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/hold.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

int hold_set_add(struct hold_set *s, const struct hold_tag *tag, int fd)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct hold_given *grown =
			mem_grow(s->given, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->given = grown;
		s->cap = cap;
	}
	s->given[s->n++] = (struct hold_given){ *tag, fd };
	return 0;
}

int hold_set_take(struct hold_set *s, enum hold_kind kind, uint32_t pool,
		  uint64_t id)
{
	for (size_t i = 0; i < s->n; i++) {
		struct hold_given *g = &s->given[i];

		if (g->fd >= 0 && g->tag.kind == (uint32_t)kind &&
		    g->tag.pool == pool && g->tag.id == id)
			return fd_take(&g->fd);
	}
	return -1;
}

void hold_set_close(struct hold_set *s, const struct hold_tag *tag)
{
	for (size_t i = s->n; i-- > 0;) {
		if (memcmp(&s->given[i].tag, tag, sizeof(*tag)))
			continue;
		fd_close(s->given[i].fd);
		s->given[i] = s->given[--s->n];
		return;
	}
}

/* HOLD_LEARNED is taken when the pool is there: learned_attach(). */
static bool pools_own(uint32_t kind)
{
	return (kind >= HOLD_META && kind <= HOLD_DESC) ||
	       kind == HOLD_SESSIONS || kind == HOLD_HISTORY;
}

void hold_set_drop_pool(struct hold_set *s, const struct hold_ops *ops,
			uint32_t pool)
{
	for (size_t i = 0; i < s->n; i++) {
		struct hold_given *g = &s->given[i];

		if (g->fd < 0 || g->tag.pool != pool || !pools_own(g->tag.kind))
			continue;
		ops->drop(ops->ctx, &g->tag);
		g->fd = fd_close(g->fd);
	}
}

void hold_set_fini(struct hold_set *s, const struct hold_ops *ops)
{
	for (size_t i = 0; i < s->n; i++) {
		struct hold_given *g = &s->given[i];

		if (g->fd < 0)
			continue;
		if (ops)
			ops->drop(ops->ctx, &g->tag);
		g->fd = fd_close(g->fd);
	}
	free(s->given);
	*s = (struct hold_set){ 0 };
}
