/* SPDX-License-Identifier: Apache-2.0 */
/* A recount of the whole index; for tests. */
#include "index/fleet_internal.h"
#include "base/fault.h"
#include <stdlib.h>

struct recount {
	const struct fleet *f;
	uint64_t *pairs;    /* of each holder */
	uint32_t *children; /* of each line */
	uint64_t blocks, heads, others;
	uint64_t held;	/* bits of the stretch at hand */
	uint64_t valid; /* its blocks */
	const char *bad;
};

static void claim(struct recount *c, bool good, const char *what)
{
	if (!good && !c->bad)
		c->bad = what;
}

static void count_member(void *ctx, uint32_t holder, uint64_t bits)
{
	struct recount *c = ctx;

	claim(c,
	      holder < c->f->holders && holder % c->f->stride < c->f->engines,
	      "a holder that there is not");
	claim(c, bits && !(bits & ~c->valid), "bits without blocks");
	if (c->bad)
		return;
	c->pairs[holder] += (uint64_t)__builtin_popcountll(bits);
	c->held |= bits;
}

static void check_names(struct recount *c, uint32_t line, uint32_t len)
{
	const struct fleet_head *head = fleet_head(c->f, line);

	for (uint32_t off = 0; off < len; off++) {
		uint64_t key = fleet_name(c->f, head, off);
		struct fleet_at at;

		claim(c,
		      fleet_find(c->f, fleet_hash(c->f, key), key, &at) &&
			      at.line == line && at.off == off,
		      "a block that is not found");
	}
	c->blocks += len;
	c->others += DIV_UP(len, 8);
}

static void check_parent(struct recount *c, uint32_t line, uint32_t shape)
{
	const struct fleet_head *head = fleet_head(c->f, line);
	uint32_t parent = shared_load32(&head->parent), up;

	claim(c, !(parent && fleet_shape_rooted(shape)), "a root's parent");
	if (!parent)
		return;
	claim(c, parent < c->f->used, "a parent out of bounds");
	if (c->bad)
		return;
	up = shared_load32(&fleet_head(c->f, parent)->shape);
	claim(c, fleet_head(c->f, parent)->live, "a parent that has left");
	claim(c, fleet_shape_from(shape) < fleet_shape_len(up),
	      "a parent that is too short");
	claim(c, fleet_shape_from(shape) < fleet_head(c->f, parent)->forks,
	      "a fork that is not marked");
	c->children[parent]++;
}

static void check_head(struct recount *c, uint32_t line)
{
	const struct fleet_head *head = fleet_head(c->f, line);
	uint32_t shape = shared_load32(&head->shape);
	uint32_t len = fleet_shape_len(shape);

	claim(c, !(shared_load32(&head->version) & 1), "an odd version");
	c->others++;
	if (!head->live) {
		claim(c, !len, "a free head with blocks");
		return;
	}
	c->heads++;
	claim(c, len && len <= fleet_shape_cap(shape), "a wrong length");
	c->valid = fleet_mask(len);
	c->held = 0;
	fleet_member_each(c->f, line, count_member, c);
	claim(c, c->held >> (len - 1) || head->forks >= len,
	      "a last block that nobody needs");
	for (uint32_t l = shared_load32(&head->more); l && !c->bad;
	     l = shared_load32(&fleet_more(c->f, l)->next))
		c->others++;
	check_names(c, line, len);
	check_parent(c, line, shape);
}

static void check_sums(struct recount *c)
{
	const struct fleet *f = c->f;
	uint64_t entries = 0, all = 0, free_lines = 0, seconds = 0, strays = 0;

	for (uint64_t b = 0; b < f->buckets; b++) {
		for (unsigned way = 0; way < FLEET_WAYS; way++) {
			uint64_t e = shared_load64(&f->bucket[b].entry[way]);

			entries += !!e;
			seconds += !!(e & FLEET_SECOND);
		}
		strays += f->strays[b];
	}
	claim(c, strays == seconds, "strays");
	for (uint32_t h = 0; h < f->holders; h++) {
		claim(c, f->pairs[h] == c->pairs[h], "pairs of a holder");
		all += c->pairs[h];
	}
	for (uint32_t l = f->free_lines; l && free_lines < f->lines;
	     l = (uint32_t)shared_load64(&f->line[l].word[0]))
		free_lines++;
	claim(c, all == f->stat.pairs, "pairs");
	claim(c, c->blocks == f->stat.blocks, "blocks");
	claim(c, c->heads == f->stat.stretches, "stretches");
	claim(c, entries == c->blocks, "entries of the table");
	claim(c, 1 + c->others + free_lines == f->used, "lines");
	claim(c,
	      f->stat.stored - f->stat.removed -
			      (f->stat.forgotten - f->stat.refused) ==
		      f->stat.pairs,
	      "what came and went");
}

const char *fleet_check(const struct fleet *f)
{
	struct recount c = { .f = f };

	c.pairs = mem_array(f->holders, sizeof(*c.pairs));
	c.children = mem_array(f->lines, sizeof(*c.children));
	if (!c.pairs || !c.children)
		c.bad = "no memory to check in";
	for (uint32_t line = 1; line < f->used && !c.bad; line++)
		if (f->head_map[line / 64] >> line % 64 & 1)
			check_head(&c, line);
	for (uint32_t line = 1; line < f->used && !c.bad; line++)
		if (f->head_map[line / 64] >> line % 64 & 1)
			claim(&c,
			      !fleet_head(f, line)->live ||
				      fleet_head(f, line)->children ==
					      c.children[line],
			      "children");
	if (!c.bad)
		check_sums(&c);
	free(c.pairs);
	free(c.children);
	return c.bad;
}
