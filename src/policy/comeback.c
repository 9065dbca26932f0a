/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/comeback.h"
#include "policy/log2.h"

#define ONE	     EXP2_ONE
#define PRIOR	     (4 * ONE)	/* events that a ratio begins with */
#define PRIOR_CHANCE (ONE / 10) /* of each step */
#define MOST_CHANCE  (ONE * 19 / 20)
#define FULL	     (4096u * ONE) /* halve a counter that got here */
#define CHARGE_STEPS 4		   /* traits are charged every so often */

/* Two steps an octave: 2^(step/2) in 1/256, exact enough for ever. */
uint64_t comeback_edge(unsigned step)
{
	if (!step)
		return 0;
	step--;
	return ((uint64_t)COMEBACK_FIRST << (step / 2)) *
	       (step % 2 ? 362 : 256) / 256;
}

uint8_t comeback_size_class(uint64_t size)
{
	int octave = 1 + log2_of(size + 1) / LOG2_ONE;

	return (uint8_t)(size ? MIN(octave, COMEBACK_VALUES - 1) : 0);
}

uint8_t comeback_count_class(uint64_t count)
{
	int twice = log2_of(count + 1) * 2 / LOG2_ONE;

	return (uint8_t)MIN(twice, COMEBACK_VALUES - 1);
}

/* The quotient, with PRIOR events of what was thought before any were seen. */
static void cell_judge(struct comeback_cell *c, uint32_t before)
{
	uint64_t seen = c->seen + (uint64_t)PRIOR * before / ONE;

	c->ratio = log2_of(seen) - log2_of((uint64_t)c->expected + PRIOR);
}

static void cell_init(struct comeback_cell *c, uint32_t before)
{
	*c = (struct comeback_cell){ 0 };
	cell_judge(c, before);
}

static void cell_add(struct comeback_cell *c, uint32_t seen, uint32_t expected,
		     uint32_t before)
{
	c->seen += seen;
	c->expected += expected;
	if (c->seen >= FULL || c->expected >= FULL) {
		c->seen /= 2;
		c->expected /= 2;
	}
	cell_judge(c, before);
}

void comeback_init(struct comeback *m)
{
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		cell_init(&m->base[b], PRIOR_CHANCE);
	for (unsigned f = 0; f < COMEBACK_TRAITS; f++)
		for (unsigned v = 0; v < COMEBACK_VALUES; v++)
			cell_init(&m->trait[f][v], ONE);
	for (unsigned d = 0; d < COMEBACK_DIFFS; d++) {
		cell_init(&m->gap[d], ONE);
		cell_init(&m->hint[d], ONE);
	}
	for (unsigned b = 0; b < COMEBACK_STEPS; b++) {
		for (unsigned w = 0; w < COMEBACK_WHYS; w++)
			cell_init(&m->why[w][b], ONE);
	}
	cell_init(&m->last[0], ONE);
	cell_init(&m->last[1], ONE);
}

/* ---- chances -------------------------------------------------------------- */

/* Where step b lies against a time that was told: 1 .., 0 when none was. */
static unsigned against(unsigned b, uint16_t told)
{
	int first = log2_of(COMEBACK_FIRST), at = (int)b;
	int d;

	if (!told)
		return 0;
	if (told == UINT16_MAX)
		return COMEBACK_DIFFS - 1;
	d = at - ((int)told - first) * 2 / LOG2_ONE + COMEBACK_DIFFS / 2;
	return (unsigned)MAX(1, MIN(d, COMEBACK_DIFFS - 2));
}

static unsigned why_of(const struct comeback_session *s)
{
	return s->trait[COMEBACK_WHY] % COMEBACK_WHYS;
}

static int log_chance(const struct comeback *m,
		      const struct comeback_session *s, unsigned b)
{
	return m->base[b].ratio + s->ratio +
	       m->gap[against(b, s->usual_gap)].ratio +
	       m->hint[against(b, s->hint)].ratio + m->why[why_of(s)][b].ratio;
}

static uint32_t chance(int log)
{
	return MIN(exp2_of(log), (uint32_t)MOST_CHANCE);
}

static int ratio_of(const struct comeback *m, const struct comeback_session *s)
{
	int sum = 0;

	for (unsigned f = 0; f < COMEBACK_TRAITS; f++)
		sum += m->trait[f][s->trait[f]].ratio;
	return MAX(-8 * LOG2_ONE, MIN(sum, 8 * LOG2_ONE));
}

void comeback_begin(const struct comeback *m, struct comeback_session *s)
{
	s->ratio = (int16_t)ratio_of(m, s);
	s->step = 0;
	s->pending = 0;
}

/* ---- learning ------------------------------------------------------------- */

/* What a cell alone would have had to expect, of what was with it. */
static uint32_t without(uint32_t expected, int ratio)
{
	uint64_t factor = exp2_of(-ratio);

	return (uint32_t)MIN(expected * factor / ONE, (uint64_t)FULL / 4);
}

/* What was pending was expected by the ratios of the last use: it is put on
 * those of now, so that a ratio that has fallen since is not charged twice. */
static void charge(struct comeback *m, struct comeback_session *s,
		   uint32_t seen)
{
	int now = ratio_of(m, s) - s->ratio;

	for (unsigned f = 0; f < COMEBACK_TRAITS; f++) {
		struct comeback_cell *c = &m->trait[f][s->trait[f]];

		cell_add(c, seen, without(s->pending, c->ratio - now), ONE);
	}
	s->pending = 0;
}

/* Before anything is seen of a step it is half way, in the logarithm, between
 * the one before it and what all began with. */
static uint32_t base_before(const struct comeback *m, unsigned b)
{
	int flat = log2_of(PRIOR_CHANCE) - log2_of(ONE);

	return exp2_of(b ? m->base[b - 1].ratio : flat);
}

static void base_add(struct comeback *m, unsigned b, uint32_t seen,
		     uint32_t part)
{
	cell_add(&m->base[b], seen, part, base_before(m, b));
	while (++b < COMEBACK_STEPS && !m->base[b].expected)
		cell_judge(&m->base[b], base_before(m, b));
}

/* Part of a step (in 1/65536) has passed, and it came back or not. */
static void expose(struct comeback *m, struct comeback_session *s,
		   uint32_t seen, uint32_t part)
{
	unsigned b = s->step;
	struct comeback_cell *gap = &m->gap[against(b, s->usual_gap)];
	struct comeback_cell *hint = &m->hint[against(b, s->hint)];
	uint32_t expected = chance(log_chance(m, s, b));

	struct comeback_cell *why = &m->why[why_of(s)][b];

	expected = (uint32_t)((uint64_t)expected * part / ONE);
	if (s->trait[COMEBACK_WHY])
		cell_add(why, seen, without(expected, why->ratio), ONE);
	s->pending += expected;
	if (s->usual_gap)
		cell_add(gap, seen, without(expected, gap->ratio), ONE);
	if (s->hint)
		cell_add(hint, seen, without(expected, hint->ratio), ONE);
	base_add(m, b, seen, part);
}

void comeback_pass(struct comeback *m, struct comeback_session *s)
{
	expose(m, s, 0, ONE);
	if (s->step % CHARGE_STEPS == CHARGE_STEPS - 1)
		charge(m, s, 0);
	if (s->step < COMEBACK_STEPS - 1)
		s->step++;
}

void comeback_return(struct comeback *m, struct comeback_session *s,
		     uint64_t age_ms)
{
	uint64_t from, to;
	uint32_t part;

	while (s->step < COMEBACK_STEPS - 1 &&
	       comeback_edge(s->step + 1u) <= age_ms)
		comeback_pass(m, s);
	from = comeback_edge(s->step);
	to = comeback_edge(s->step + 1u);
	part = age_ms >= to ? ONE
			    : (uint32_t)((age_ms - from) * ONE / (to - from));
	expose(m, s, ONE, MAX(part, (uint32_t)ONE / 8));
	charge(m, s, ONE);
}

void comeback_reached(struct comeback *m, bool partial, bool used)
{
	cell_add(&m->last[partial], used ? ONE : 0, ONE, ONE);
}

int comeback_reach(const struct comeback *m, bool partial)
{
	return MIN(m->last[partial].ratio, 0);
}

/* ---- worth ---------------------------------------------------------------- */

/* A stretch of steps, seen from its beginning. */
struct stretch {
	uint64_t yield; /* chance to come back within it, 1/65536 */
	uint64_t cost;	/* expected ms until then or its end, 1/65536 */
	uint64_t left;	/* chance to reach its end, 1/65536 */
};

static struct stretch join(const struct stretch *a, const struct stretch *b)
{
	return (struct stretch){
		.yield = a->yield + a->left * b->yield / ONE,
		.cost = a->cost + a->left * (b->cost / ONE),
		.left = a->left * b->left / ONE,
	};
}

/* Yields are below 2^17 and costs below 2^43. */
static bool better(const struct stretch *a, const struct stretch *b)
{
	return a->yield * b->cost > b->yield * a->cost;
}

static uint8_t worth_class(const struct stretch *s)
{
	int log = log2_of(s->yield + 1) - log2_of(s->cost + 1) +
		  COMEBACK_LEAST * LOG2_ONE;

	return (uint8_t)MAX(0, MIN(log / (LOG2_ONE / 8), 255));
}

/* A session that is within a step is taken to be in the middle of it. */
static uint8_t worth_within(const struct stretch *stack, unsigned n, uint32_t p,
			    uint64_t ms)
{
	struct stretch s = {
		.yield = p / 2,
		.cost = ms / 2 * (ONE - p / 4),
		.left = ONE - p / 2,
	};

	while (n && better(&stack[n - 1], &s))
		s = join(&s, &stack[--n]);
	return worth_class(&s);
}

/*
 * From the last step back. Stretches that are worth less and less as they
 * follow each other stand on a stack; a step that is worth less than what
 * follows it takes that in. Each is taken in once: linear.
 */
static void worth_of(const uint32_t p[COMEBACK_STEPS],
		     uint8_t ret_worth[COMEBACK_STEPS])
{
	struct stretch stack[COMEBACK_STEPS];
	unsigned n = 0;

	for (unsigned b = COMEBACK_STEPS; b-- > 0;) {
		uint64_t ms = comeback_edge(b + 1) - comeback_edge(b);
		struct stretch s = {
			.yield = p[b],
			.cost = ms * (ONE - p[b] / 2),
			.left = ONE - p[b],
		};

		ret_worth[b] = worth_within(stack, n, p[b], ms);
		while (n && better(&stack[n - 1], &s))
			s = join(&s, &stack[--n]);
		stack[n++] = s;
	}
}

void comeback_worth(const struct comeback *m, const struct comeback_session *s,
		    uint8_t ret_worth[COMEBACK_STEPS])
{
	uint32_t p[COMEBACK_STEPS];

	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		p[b] = chance(log_chance(m, s, b));
	worth_of(p, ret_worth);
}

void comeback_worth_of_age(uint8_t ret_worth[COMEBACK_STEPS])
{
	uint32_t p[COMEBACK_STEPS];

	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		p[b] = PRIOR_CHANCE;
	worth_of(p, ret_worth);
}
