/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what of a stretch: member words in the head and in member lines,
 * and rows of bits for those that hold a full stretch whole. The first holders
 * have words in the head; where there are many, most are bits in a row.
 *
 * A change of one word is one store. A move between a word and a row, and a
 * line that leaves, happen while the head's version is odd.
 */
#include "index/fleet_internal.h"
#include <errno.h>

/* Where a holder is: a word, or a bit in a row. line 0: in the head. */
struct spot {
	shared_u64 *word; /* NULL: nowhere */
	uint32_t line;
	bool row;
};

static uint64_t row_bit(uint32_t holder)
{
	return 1ull << holder % 64;
}

static shared_u64 *row_word(struct fleet_more *more, uint32_t holder)
{
	return &more->word[holder % FLEET_ROW / 64];
}

/* All blocks that a stretch can have. */
static uint64_t whole(const struct fleet_head *head)
{
	return fleet_mask(fleet_shape_cap(shared_load32(&head->shape)));
}

static bool fits(uint64_t word, uint32_t holder, bool hole)
{
	return hole ? !word : word && fleet_word_holder(word) == holder;
}

/* The holder's word, or with `hole` the first empty one. */
static struct spot find_word(const struct fleet *f, uint32_t line,
			     uint32_t holder, bool hole)
{
	struct fleet_head *head = fleet_head(f, line);

	for (unsigned i = 0; i < FLEET_INLINE; i++)
		if (fits(shared_load64(&head->word[i]), holder, hole))
			return (struct spot){ .word = &head->word[i] };
	for (uint32_t l = shared_load32(&head->more); l;) {
		struct fleet_more *more = fleet_more(f, l);

		for (unsigned i = 0;
		     !shared_load32(&more->row) && i < FLEET_MORE; i++)
			if (fits(shared_load64(&more->word[i]), holder, hole))
				return (struct spot){ .word = &more->word[i],
						      .line = l };
		l = shared_load32(&more->next);
	}
	return (struct spot){ 0 };
}

/* The word of the holder's row, whether its bit is set or not. */
static struct spot find_row(const struct fleet *f, uint32_t line,
			    uint32_t holder)
{
	uint32_t l = shared_load32(&fleet_head(f, line)->more);

	while (l) {
		struct fleet_more *more = fleet_more(f, l);

		if (shared_load32(&more->row) == holder / FLEET_ROW + 1)
			return (struct spot){ .word = row_word(more, holder),
					      .line = l,
					      .row = true };
		l = shared_load32(&more->next);
	}
	return (struct spot){ 0 };
}

static struct spot find(const struct fleet *f, uint32_t line, uint32_t holder)
{
	struct spot s = find_word(f, line, holder, false);

	if (s.word || !shared_load32(&fleet_head(f, line)->more))
		return s;
	s = find_row(f, line, holder);
	if (s.word && !(shared_load64(s.word) & row_bit(holder)))
		s.word = NULL;
	return s;
}

/* ---- lines that come and go -------------------------------------------------- */

/* A new line in front of the chain; readers see it when it is linked. */
static int add_line(struct fleet *f, uint32_t line, uint32_t row,
		    uint32_t *ret_line)
{
	struct fleet_head *head = fleet_head(f, line);
	int err = fleet_line_take(f, ret_line);

	if (err)
		return err;
	shared_store32(&fleet_more(f, *ret_line)->row, row);
	shared_store32(&fleet_more(f, *ret_line)->next,
		       shared_load32(&head->more));
	/* pairs with fleet_read_step() */
	shared_store32_release(&head->more, *ret_line);
	return 0;
}

/* Version odd. Takes the line out of the chain when nothing is in it. */
static void unlink_empty(struct fleet *f, uint32_t line, uint32_t gone)
{
	shared_u32 *link = &fleet_head(f, line)->more;
	struct fleet_more *more = fleet_more(f, gone);

	for (unsigned i = 0; i < FLEET_MORE; i++)
		if (shared_load64(&more->word[i]))
			return;
	while (shared_load32(link) != gone)
		link = &fleet_more(f, shared_load32(link))->next;
	shared_store32(link, shared_load32(&more->next));
	fleet_line_give(f, gone);
}

static void set_word(struct fleet *f, uint32_t line, struct spot s,
		     uint64_t word)
{
	struct fleet_head *head = fleet_head(f, line);

	if (word || !s.line) {
		/* pairs with fleet_read_step() */
		shared_store64_release(s.word, word);
		return;
	}
	fleet_open(head);
	shared_store64(s.word, 0);
	unlink_empty(f, line, s.line);
	fleet_shut(head);
}

/* A holder of everything that has `s`, or no word yet, becomes a bit. */
static int to_row(struct fleet *f, uint32_t line, struct spot s,
		  uint32_t holder)
{
	struct fleet_head *head = fleet_head(f, line);
	struct spot row = find_row(f, line, holder);
	uint32_t added;

	if (!row.word) {
		int err = add_line(f, line, holder / FLEET_ROW + 1, &added);

		if (err)
			return err;
		row.word = row_word(fleet_more(f, added), holder);
	}
	if (!s.word) {
		shared_store64_release(row.word, shared_load64(row.word) |
							 row_bit(holder));
		return 0;
	}
	fleet_open(head);
	shared_store64(row.word, shared_load64(row.word) | row_bit(holder));
	shared_store64(s.word, 0);
	unlink_empty(f, line, s.line);
	fleet_shut(head);
	return 0;
}

/* ---- adding and taking away --------------------------------------------------- */

/* A holder that is not there yet. */
static int add_new(struct fleet *f, uint32_t line, uint32_t holder,
		   uint64_t bits)
{
	struct fleet_head *head = fleet_head(f, line);
	struct spot s = find_word(f, line, holder, true);
	uint32_t added;
	int err;

	if (bits == whole(head) && (!s.word || s.line)) {
		err = to_row(f, line, (struct spot){ 0 }, holder);
		if (!err || !s.word)
			return err;
	}
	if (!s.word) {
		err = add_line(f, line, 0, &added);
		if (err)
			return err;
		s.word = &fleet_more(f, added)->word[0];
	}
	shared_store64_release(s.word, fleet_word(holder, bits));
	return 0;
}

int fleet_member_add(struct fleet *f, uint32_t line, uint32_t holder,
		     uint64_t bits)
{
	struct fleet_head *head = fleet_head(f, line);
	struct spot s = find(f, line, holder);
	uint64_t had = 0, now = bits;
	int err = 0;

	if (s.word) {
		had = s.row ? whole(head)
			    : fleet_word_bits(shared_load64(s.word));
		now |= had;
	}
	if (!s.word)
		err = add_new(f, line, holder, bits);
	else if (!s.row && now != had &&
		 (now != whole(head) || !s.line || to_row(f, line, s, holder)))
		set_word(f, line, s, fleet_word(holder, now));
	if (err)
		return err;
	fleet_set(&head->recent, 1);
	f->pairs[holder] += (uint64_t)__builtin_popcountll(now ^ had);
	f->stat.pairs += (uint64_t)__builtin_popcountll(now ^ had);
	f->stat.stored += (uint64_t)__builtin_popcountll(now ^ had);
	f->stat.again += (uint64_t)__builtin_popcountll(bits & had);
	return 0;
}

/* A bit of a row becomes a word of what is left; what finds no room for a word
 * is forgotten. */
static void from_row(struct fleet *f, uint32_t line, struct spot s,
		     uint32_t holder, uint64_t left)
{
	struct fleet_head *head = fleet_head(f, line);
	struct spot to = find_word(f, line, holder, true);
	uint64_t lost = (uint64_t)__builtin_popcountll(left);
	uint32_t added;

	if (left && !to.word && !add_line(f, line, 0, &added))
		to.word = &fleet_more(f, added)->word[0];
	fleet_open(head);
	shared_store64(s.word, shared_load64(s.word) & ~row_bit(holder));
	if (left && to.word)
		shared_store64(to.word, fleet_word(holder, left));
	unlink_empty(f, line, s.line);
	fleet_shut(head);
	if (to.word)
		return;
	f->stat.forgotten += lost;
	f->stat.pairs -= lost;
	f->pairs[holder] -= lost;
}

uint64_t fleet_member_cut(struct fleet *f, uint32_t line, uint32_t holder,
			  uint64_t bits)
{
	struct fleet_head *head = fleet_head(f, line);
	struct spot s = find(f, line, holder);
	uint64_t had, gone;

	if (!s.word)
		return 0;
	had = s.row ? whole(head) : fleet_word_bits(shared_load64(s.word));
	gone = had & bits;
	if (!gone)
		return 0;
	f->pairs[holder] -= (uint64_t)__builtin_popcountll(gone);
	f->stat.pairs -= (uint64_t)__builtin_popcountll(gone);
	if (s.row)
		from_row(f, line, s, holder, had & ~gone);
	else
		set_word(f, line, s,
			 had == gone ? 0 : fleet_word(holder, had & ~gone));
	return gone;
}

/* ---- all of them ----------------------------------------------------------------- */

static void each_bit(uint32_t base, uint64_t word, uint64_t bits,
		     void (*fn)(void *ctx, uint32_t holder, uint64_t bits),
		     void *ctx)
{
	for (; word; word &= word - 1)
		fn(ctx, base + (uint32_t)__builtin_ctzll(word), bits);
}

static void each_more(const struct fleet_more *more, uint64_t all,
		      void (*fn)(void *ctx, uint32_t holder, uint64_t bits),
		      void *ctx)
{
	uint32_t row = shared_load32(&more->row);

	for (unsigned i = 0; i < FLEET_MORE; i++) {
		uint64_t w = shared_load64(&more->word[i]);

		if (row)
			each_bit((row - 1) * FLEET_ROW + i * 64, w, all, fn,
				 ctx);
		else if (w)
			fn(ctx, fleet_word_holder(w), fleet_word_bits(w));
	}
}

void fleet_member_each(const struct fleet *f, uint32_t line,
		       void (*fn)(void *ctx, uint32_t holder, uint64_t bits),
		       void *ctx)
{
	const struct fleet_head *head = fleet_head(f, line);

	for (unsigned i = 0; i < FLEET_INLINE; i++) {
		uint64_t w = shared_load64(&head->word[i]);

		if (w)
			fn(ctx, fleet_word_holder(w), fleet_word_bits(w));
	}
	for (uint32_t l = shared_load32(&head->more); l;) {
		each_more(fleet_more(f, l), whole(head), fn, ctx);
		l = shared_load32(&fleet_more(f, l)->next);
	}
}

static void or_bits(void *ctx, uint32_t holder, uint64_t bits)
{
	(void)holder;
	*(uint64_t *)ctx |= bits;
}

uint64_t fleet_member_any(const struct fleet *f, uint32_t line)
{
	const struct fleet_head *head = fleet_head(f, line);
	uint64_t any = 0;

	if (shared_load32(&head->more)) {
		fleet_member_each(f, line, or_bits, &any);
		return any;
	}
	for (unsigned i = 0; i < FLEET_INLINE; i++)
		any |= fleet_word_bits(shared_load64(&head->word[i]));
	return any;
}

struct dropping {
	struct fleet *f;
	uint64_t pairs;
};

static void drop_one(void *ctx, uint32_t holder, uint64_t bits)
{
	struct dropping *d = ctx;
	uint64_t n = (uint64_t)__builtin_popcountll(bits);

	d->f->pairs[holder] -= n;
	d->pairs += n;
}

uint64_t fleet_member_drop(struct fleet *f, uint32_t line)
{
	struct fleet_head *head = fleet_head(f, line);
	struct dropping d = { .f = f };
	uint32_t l = shared_load32(&head->more);

	fleet_member_each(f, line, drop_one, &d);
	fleet_open(head);
	for (unsigned i = 0; i < FLEET_INLINE; i++)
		shared_store64(&head->word[i], 0);
	shared_store32(&head->more, 0);
	while (l) {
		uint32_t next = shared_load32(&fleet_more(f, l)->next);

		fleet_line_give(f, l);
		l = next;
	}
	fleet_shut(head);
	f->stat.pairs -= d.pairs;
	return d.pairs;
}

uint64_t fleet_member_clear(struct fleet *f, uint32_t line, uint32_t engine)
{
	uint64_t pairs = 0;

	for (uint32_t t = 0; t < f->tiers; t++)
		for (uint32_t g = 0; g < f->n_groups; g++)
			pairs += (uint64_t)__builtin_popcountll(
				fleet_member_cut(f, line,
						 fleet_holder(f, engine, g, t),
						 fleet_mask(FLEET_SPAN)));
	return pairs;
}
