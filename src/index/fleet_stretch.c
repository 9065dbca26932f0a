/* SPDX-License-Identifier: Apache-2.0 */
/* Stretches and lines: how they come, grow, shrink, and leave when memory ends. */
#include "index/fleet_internal.h"
#include <errno.h>

/* ---- lines ----------------------------------------------------------------------- */

static int take(struct fleet *f, uint32_t *ret_line)
{
	if (f->free_lines) {
		*ret_line = f->free_lines;
		f->free_lines = (uint32_t)shared_load64(
			&f->line[f->free_lines].word[0]);
		return 0;
	}
	if (f->used == f->lines)
		return -ENOSPC;
	*ret_line = f->used++;
	return 0;
}

int fleet_line_take(struct fleet *f, uint32_t *ret_line)
{
	uint32_t line;
	int err = take(f, &line);

	if (err)
		return err;
	for (unsigned i = 0; i < 8; i++)
		shared_store64(&f->line[line].word[i], 0);
	*ret_line = line;
	return 0;
}

void fleet_line_give(struct fleet *f, uint32_t line)
{
	shared_store64(&f->line[line].word[0], f->free_lines);
	f->free_lines = line;
}

/* A line that becomes a head stays one. */
static int head_take(struct fleet *f, uint32_t *ret_line)
{
	uint32_t line = f->free_heads;
	int err;

	if (line) {
		f->free_heads = shared_load32(&fleet_head(f, line)->parent);
		*ret_line = line;
		return 0;
	}
	err = fleet_line_take(f, &line);
	if (err)
		return err;
	f->head_map[line / 64] |= 1ull << line % 64;
	*ret_line = line;
	return 0;
}

static void head_give(struct fleet *f, uint32_t line)
{
	struct fleet_head *head = fleet_head(f, line);

	fleet_open(head);
	shared_store32(&head->shape, 0);
	shared_store32(&head->parent, f->free_heads);
	fleet_set(&head->live, 0);
	fleet_shut(head);
	f->free_heads = line;
	f->stat.stretches--;
}

/* ---- growing ------------------------------------------------------------------------ */

static void fork_at(struct fleet *f, struct fleet_at parent)
{
	struct fleet_head *head = fleet_head(f, parent.line);

	fleet_set(&head->children, head->children + 1);
	if (parent.off + 1 > head->forks)
		fleet_set(&head->forks, (uint8_t)(parent.off + 1));
}

/* So that its last block is at a depth of 48 k + 47, where the parent's is. */
static uint32_t cap_after(const struct fleet *f, struct fleet_at parent)
{
	uint32_t cap, left;

	if (!parent.line)
		return FLEET_SPAN;
	cap = fleet_shape_cap(
		shared_load32(&fleet_head(f, parent.line)->shape));
	left = cap - (parent.off + 1);
	return left ? left : FLEET_SPAN;
}

int fleet_stretch_create(struct fleet *f, struct fleet_at parent, bool rooted,
			 uint32_t *ret_line)
{
	struct fleet_head *head;
	uint32_t line;
	int err;

	if (parent.line &&
	    fleet_head(f, parent.line)->children == FLEET_CHILDREN_MAX)
		return -ENOSPC;
	err = head_take(f, &line);
	if (err)
		return err;
	head = fleet_head(f, line);
	fleet_open(head);
	shared_store32(&head->parent, parent.line);
	shared_store32(&head->shape, fleet_shape(0, cap_after(f, parent),
						 parent.off, rooted));
	shared_store32(&head->more, 0);
	for (unsigned i = 0; i < FLEET_INLINE; i++)
		shared_store64(&head->word[i], 0);
	fleet_shut(head);
	fleet_set(&head->children, 0);
	fleet_set(&head->forks, 0);
	fleet_set(&head->recent, 1);
	fleet_set(&head->live, 1);
	if (parent.line)
		fork_at(f, parent);
	f->stat.stretches++;
	*ret_line = line;
	return 0;
}

void fleet_stretch_adopt(struct fleet *f, uint32_t line, struct fleet_at parent,
			 bool rooted)
{
	struct fleet_head *head = fleet_head(f, line);
	uint32_t shape = shared_load32(&head->shape);

	fleet_open(head);
	shared_store32(&head->parent, parent.line);
	shared_store32(&head->shape,
		       fleet_shape(fleet_shape_len(shape),
				   fleet_shape_cap(shape), parent.off, rooted));
	fleet_shut(head);
	if (parent.line)
		fork_at(f, parent);
}

static void set_len(struct fleet_head *head, uint32_t len)
{
	uint32_t shape = shared_load32(&head->shape);

	shared_store32_release(&head->shape, (shape & ~63u) | len);
}

/* The name is stored before the length, and both before the entry that leads
 * readers here (release): no version is needed for what was not there. */
int fleet_stretch_append(struct fleet *f, uint32_t line, uint64_t h,
			 uint64_t key)
{
	struct fleet_head *head = fleet_head(f, line);
	uint32_t len = fleet_shape_len(shared_load32(&head->shape)), names;
	int err;

	if (len % 8 == 0) {
		err = fleet_line_take(f, &names);
		if (err)
			return err;
		shared_store32(&head->names[len / 8], names);
	}
	names = shared_load32(&head->names[len / 8]);
	shared_store64(&f->line[names].word[len % 8], key);
	set_len(head, len + 1);
	err = fleet_table_insert(f, h,
				 (struct fleet_at){ .line = line, .off = len });
	if (err) {
		set_len(head, len);
		if (len % 8 == 0)
			fleet_line_give(f, names);
		return err;
	}
	fleet_set(&head->recent, 1);
	f->stat.blocks++;
	return 0;
}

/* ---- shrinking ------------------------------------------------------------------------ */

static void drop_blocks(struct fleet *f, uint32_t line, uint32_t from,
			uint32_t len)
{
	struct fleet_head *head = fleet_head(f, line);

	for (uint32_t off = from; off < len; off++) {
		uint64_t h = fleet_hash(f, fleet_name(f, head, off));

		fleet_table_remove(
			f, h, (struct fleet_at){ .line = line, .off = off });
	}
	/* A reader that found the name must not take the next block's bits at
	 * this offset for its own. */
	fleet_open(head);
	set_len(head, from);
	for (uint32_t i = DIV_UP(from, 8); i < DIV_UP(len, 8); i++)
		fleet_line_give(f, shared_load32(&head->names[i]));
	fleet_shut(head);
	f->stat.blocks -= len - from;
}

/* The stretch is empty: returns its parent. */
static uint32_t leave(struct fleet *f, uint32_t line)
{
	uint32_t up = shared_load32(&fleet_head(f, line)->parent);

	head_give(f, line);
	if (up) {
		struct fleet_head *head = fleet_head(f, up);

		fleet_set(&head->children, head->children - 1);
		if (!head->children)
			fleet_set(&head->forks, 0);
	}
	return up;
}

void fleet_stretch_trim(struct fleet *f, uint32_t line)
{
	while (line && line != f->pin && line != f->next_pin) {
		struct fleet_head *head = fleet_head(f, line);
		uint32_t len = fleet_shape_len(shared_load32(&head->shape));
		uint64_t any;
		uint32_t keep;

		if (head->forks >= len && len)
			return;
		any = fleet_member_any(f, line);
		keep = any ? 64 - (uint32_t)__builtin_clzll(any) : 0;
		keep = MAX(keep, (uint32_t)head->forks);
		if (keep < len)
			drop_blocks(f, line, keep, len);
		if (keep)
			return;
		line = leave(f, line);
	}
}

/* ---- leaving for want of memory ----------------------------------------------------------- */

/* The next head from the hand on, or 0 at the end of the lines. */
static uint32_t next_head(const struct fleet *f, uint32_t line)
{
	while (line < f->used) {
		uint64_t map = f->head_map[line / 64] >> line % 64;

		if (map)
			return line + (uint32_t)__builtin_ctzll(map);
		line = (line / 64 + 1) * 64;
	}
	return 0;
}

/* May it leave? One that was written to since the hand passed gets a turn. */
static bool old_leaf(struct fleet *f, uint32_t line)
{
	struct fleet_head *head = fleet_head(f, line);

	if (!head->live || head->children || line == f->pin ||
	    line == f->next_pin)
		return false;
	if (head->recent) {
		fleet_set(&head->recent, 0);
		return false;
	}
	return true;
}

int fleet_forget(struct fleet *f)
{
	/* twice round: once to take the marks, once to find one; and the rest
	 * of the round in which the hand stands */
	for (unsigned rounds = 0; rounds < 3;) {
		uint32_t line = next_head(f, f->hand);

		f->hand = line + 1;
		if (!line) {
			rounds++;
		} else if (old_leaf(f, line)) {
			f->stat.forgotten += fleet_member_drop(f, line);
			fleet_stretch_trim(f, line);
			return 0;
		}
	}
	return -ENOSPC;
}
