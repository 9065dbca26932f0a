/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has how much of a path. Steps are taken from the root on; with one FULL
 * group an engine that misses a block is out for good, so that sets of engines,
 * 64 to a word, are all there is to compute but for those that end in a step.
 */
#include "index/fleet_reader.h"

#define MORE_MAX (FLEET_HOLDERS_MAX / FLEET_MORE + 256)

/* ---- reading a step --------------------------------------------------------------- */

/* Whoever reads while the writer changes reads anything: holders are bounded. */
static void read_word(struct fleet_reader *r, uint64_t word, uint64_t mask)
{
	const struct fleet *f = r->f;
	uint32_t holder = fleet_word_holder(word), part;
	uint64_t bits = word & mask;

	if (!bits || holder >= f->holders)
		return;
	if (bits == mask) {
		r->whole[holder / 64] |= 1ull << holder % 64;
		return;
	}
	if (r->n_some == f->holders)
		return;
	part = holder / f->stride;
	r->some[r->n_some++] = (struct fleet_some){
		.engine = holder % f->stride,
		.group = part % f->n_groups,
		.tier = part / f->n_groups,
		.bits = bits,
	};
}

static void read_more(struct fleet_reader *r, const struct fleet_more *more,
		      uint64_t mask)
{
	const struct fleet *f = r->f;
	uint32_t row = shared_load32(&more->row), at;

	if (!row) {
		for (unsigned i = 0; i < FLEET_MORE; i++)
			read_word(r, shared_load64_acquire(&more->word[i]),
				  mask);
		return;
	}
	if (row > f->holders / FLEET_ROW + 1)
		return;
	at = (row - 1) * FLEET_MORE;
	for (unsigned i = 0; i < FLEET_MORE && at + i < f->words; i++)
		r->whole[at + i] |= shared_load64_acquire(&more->word[i]);
}

bool fleet_read_step(struct fleet_reader *r, const struct fleet_step *step)
{
	const struct fleet *f = r->f;
	const struct fleet_head *head = fleet_head(f, step->line);
	uint64_t mask = fleet_mask(step->n);
	uint32_t more, hops = 0;

	memset(r->whole, 0, f->words * sizeof(*r->whole));
	r->n_some = 0;
	for (unsigned i = 0; i < FLEET_INLINE; i++)
		read_word(r, shared_load64_acquire(&head->word[i]), mask);
	/* pairs with add_line() */
	more = shared_load32_acquire(&head->more);
	while (more && more < f->lines && hops++ < MORE_MAX) {
		read_more(r, fleet_more(f, more), mask);
		more = shared_load32_acquire(&fleet_more(f, more)->next);
	}
	atomic_thread_fence(memory_order_acquire); /* see fleet_open() */
	return shared_load32(&head->version) == step->version;
}

/* ---- one FULL group ------------------------------------------------------------------ */

/* Blocks that an engine has of tiers up to `tier`, as far as it has not all of
 * them in one tier. */
static uint64_t some_bits(const struct fleet_reader *r, uint32_t engine,
			  uint32_t tier)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < r->n_some; i++)
		if (r->some[i].engine == engine && r->some[i].tier <= tier)
			bits |= r->some[i].bits;
	return bits;
}

/* Engines that have a block of the first step begin. */
static void plain_begin(struct fleet_reader *r)
{
	const struct fleet *f = r->f;
	uint32_t sets = f->stride / 64;

	for (uint32_t w = 0; w < sets; w++)
		for (uint32_t t = 0; t < f->tiers; t++)
			r->seen[w] |= r->whole[t * sets + w];
	for (uint32_t i = 0; i < r->n_some; i++)
		r->seen[r->some[i].engine / 64] |= 1ull
						   << r->some[i].engine % 64;
	for (uint32_t w = 0; w < sets; w++) {
		for (uint32_t t = 0; t < f->tiers; t++)
			r->alive[t * sets + w] = r->seen[w];
		for (uint64_t s = r->seen[w]; s; s &= s - 1)
			memset(fleet_length(
				       r,
				       w * 64 + (uint32_t)__builtin_ctzll(s)),
			       0, FLEET_TIERS_MAX * sizeof(uint32_t));
	}
}

/* Those that have not the whole step in one tier: returns which have it in
 * several; the others end here. */
static uint64_t plain_end(struct fleet_reader *r, const struct fleet_step *step,
			  uint32_t w, uint32_t tier, uint64_t ends)
{
	uint64_t mask = fleet_mask(step->n), go_on = 0;

	for (; ends; ends &= ends - 1) {
		uint32_t e = w * 64 + (uint32_t)__builtin_ctzll(ends);
		uint64_t bits = some_bits(r, e, tier);

		if (bits == mask)
			go_on |= ends & -ends;
		else
			fleet_length(r, e)[tier] =
				step->base + (uint32_t)__builtin_ctzll(~bits);
	}
	return go_on;
}

/* False: nobody goes on. */
static bool plain_step(struct fleet_reader *r, const struct fleet_step *step)
{
	const struct fleet *f = r->f;
	uint32_t sets = f->stride / 64;
	uint64_t any = 0;

	for (uint32_t w = 0; w < sets; w++) {
		uint64_t have = 0;

		for (uint32_t t = 0; t < f->tiers; t++) {
			uint64_t *alive = &r->alive[t * sets + w];
			uint64_t ends;

			have |= r->whole[t * sets + w];
			ends = *alive & ~have;
			if (unlikely(ends))
				*alive &= have | plain_end(r, step, w, t, ends);
			any |= *alive;
		}
	}
	return any;
}

/* Those that are left have everything up to `known`. */
static void plain_rest(struct fleet_reader *r, uint32_t known)
{
	const struct fleet *f = r->f;
	uint32_t sets = f->stride / 64;

	for (uint32_t i = 0; i < sets * f->tiers; i++)
		for (uint64_t s = r->alive[i]; s; s &= s - 1)
			fleet_length(r, i % sets * 64 +
						(uint32_t)__builtin_ctzll(
							s))[i / sets] = known;
}

bool fleet_judge_plain(struct fleet_reader *r, bool last)
{
	uint32_t known = 0;

	for (uint32_t i = r->n_steps; i-- > 0;) {
		const struct fleet_step *step = &r->step[i];

		if (!fleet_read_step(r, step)) {
			if (last)
				plain_rest(r, known);
			return false;
		}
		if (i + 1 == r->n_steps)
			plain_begin(r);
		if (!plain_step(r, step))
			return true;
		known = step->base + step->n;
	}
	plain_rest(r, known);
	return true;
}

/* ---- several groups -------------------------------------------------------------------- */

/* Lengths that end in a step and that a group's rule allows: bit o stands for
 * base + o + 1. *row is the blocks in a row up to the step's beginning. */
static uint64_t allowed(const struct match_group *group, uint64_t bits,
			const struct fleet_step *step, uint32_t *row)
{
	uint64_t mask = 0;

	for (uint32_t o = 0; o < step->n; o++) {
		uint32_t at = step->base + o + 1, need = at;

		if (group->rule == MATCH_WINDOW)
			need = MIN(group->window, at);
		else if (group->rule == MATCH_STATE)
			need = 1;
		*row = bits >> o & 1 ? *row + 1 : 0;
		mask |= (uint64_t)(*row >= need) << o;
	}
	return mask;
}

/* The same where everything is there. */
static uint64_t allowed_whole(const struct match_group *group,
			      const struct fleet_step *step, uint32_t *row)
{
	uint64_t all = fleet_mask(step->n);
	uint32_t before = *row;

	*row += step->n;
	if (before == step->base || group->rule == MATCH_STATE)
		return all;
	if (group->rule == MATCH_FULL)
		return 0;
	if (before + step->n < group->window)
		return 0;
	return group->window <= before + 1
		       ? all
		       : all & ~fleet_mask(group->window - 1 - before);
}

/* Blocks of one group in tiers up to `tier`. */
static uint64_t joint_bits(const struct fleet_reader *r, uint32_t engine,
			   uint32_t group, uint32_t tier, uint64_t all)
{
	uint64_t bits = 0;

	for (uint32_t t = 0; t <= tier; t++) {
		uint32_t h = fleet_holder(r->f, engine, group, t);

		if (r->whole[h / 64] >> h % 64 & 1)
			return all;
		bits |= r->bits[h];
	}
	return bits;
}

/* One engine and tier. */
static void joint_one(struct fleet_reader *r, const struct fleet_step *step,
		      uint32_t engine, uint32_t tier)
{
	const struct fleet *f = r->f;
	uint64_t all = fleet_mask(step->n), mask = all;

	for (uint32_t g = 0; g < f->n_groups; g++) {
		uint32_t *row = &r->row[fleet_holder(f, engine, g, tier)];
		uint64_t bits = joint_bits(r, engine, g, tier, all);

		mask &= bits == all ? allowed_whole(&f->groups[g], step, row)
				    : allowed(&f->groups[g], bits, step, row);
		if (f->groups[g].rule == MATCH_FULL &&
		    *row < step->base + step->n)
			r->dead[tier * (f->stride / 64) + engine / 64] |=
				1ull << engine % 64;
	}
	if (mask)
		fleet_length(r, engine)[tier] =
			step->base + 64 - (uint32_t)__builtin_clzll(mask);
}

/* An engine that appears for the first time has no row behind it. */
static void joint_meet(struct fleet_reader *r, uint32_t engine)
{
	const struct fleet *f = r->f;

	if (r->seen[engine / 64] >> engine % 64 & 1)
		return;
	r->seen[engine / 64] |= 1ull << engine % 64;
	memset(fleet_length(r, engine), 0, FLEET_TIERS_MAX * sizeof(uint32_t));
	for (uint32_t t = 0; t < f->tiers; t++)
		for (uint32_t g = 0; g < f->n_groups; g++)
			r->row[fleet_holder(f, engine, g, t)] = 0;
}

static void joint_step(struct fleet_reader *r, const struct fleet_step *step)
{
	const struct fleet *f = r->f;
	uint32_t sets = f->stride / 64;

	for (uint32_t w = 0; w < f->words; w++)
		for (uint64_t s = r->whole[w]; s; s &= s - 1)
			joint_meet(r, w % sets * 64 +
					      (uint32_t)__builtin_ctzll(s));
	for (uint32_t i = 0; i < r->n_some; i++) {
		const struct fleet_some *some = &r->some[i];

		joint_meet(r, some->engine);
		r->bits[fleet_holder(f, some->engine, some->group, some->tier)] |=
			some->bits;
	}
	for (uint32_t w = 0; w < sets; w++)
		for (uint64_t s = r->seen[w]; s; s &= s - 1)
			for (uint32_t t = 0; t < f->tiers; t++)
				if (!(r->dead[t * sets + w] & (s & -s)))
					joint_one(
						r, step,
						w * 64 +
							(uint32_t)
								__builtin_ctzll(
									s),
						t);
	for (uint32_t i = 0; i < r->n_some; i++)
		r->bits[fleet_holder(f, r->some[i].engine, r->some[i].group,
				     r->some[i].tier)] = 0;
}

bool fleet_judge_joint(struct fleet_reader *r, bool last)
{
	(void)last; /* what was judged so far stands as it is */
	for (uint32_t i = r->n_steps; i-- > 0;) {
		if (!fleet_read_step(r, &r->step[i]))
			return false;
		joint_step(r, &r->step[i]);
	}
	return true;
}
