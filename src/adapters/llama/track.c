/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/llama/track.h"

#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

static int track_room(struct track *t, size_t blocks)
{
	size_t room = MAX(blocks, MIN(t->room * 2, blocks + 256));
	void *p;

	if (blocks <= t->room)
		return 0;
	p = mem_grow(t->tokens, room * t->block_tokens, sizeof(*t->tokens));
	if (!p)
		return -ENOMEM;
	t->tokens = p;
	p = mem_grow(t->keys, room, sizeof(*t->keys));
	if (!p)
		return -ENOMEM;
	t->keys = p;
	t->room = room;
	return 0;
}

/* Leading blocks that are as before. */
static size_t track_same(const struct track *t, const int32_t *tokens,
			 size_t blocks)
{
	size_t n = t->block_tokens, i = 0;

	while (i < MIN(blocks, t->blocks) &&
	       memcmp(t->tokens + i * n, tokens + i * n, n * sizeof(*tokens)) ==
		       0)
		i++;
	return i;
}

int track_take(struct track *t, const int32_t *tokens, size_t n)
{
	struct oc_chain_options o = { .size = sizeof(o),
				      .block_tokens = t->block_tokens };
	size_t blocks = n / t->block_tokens, made = 0;
	size_t same = track_same(t, tokens, blocks);
	size_t from = same * t->block_tokens;
	int r;

	if (same == blocks)
		return 0;
	r = track_room(t, blocks);
	if (r)
		return r;
	t->blocks = same;
	t->sealed = MIN(t->sealed, same);
	memcpy(t->tokens + from, tokens + from,
	       (blocks - same) * t->block_tokens * sizeof(*tokens));
	if (same)
		o.parent = &t->keys[same - 1];
	r = oc_chain(&o, t->tokens + from, (blocks - same) * t->block_tokens,
		     t->keys + same, &made);
	if (r)
		return r;
	t->blocks = blocks;
	return 0;
}

void track_fini(struct track *t)
{
	free(t->tokens);
	free(t->keys);
	*t = (struct track){ 0 };
}
