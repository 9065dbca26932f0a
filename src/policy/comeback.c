/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/comeback.h"
#include "policy/log2.h"

#define ONE	     EXP2_ONE
#define PRIOR	     (4 * ONE)	/* events that a ratio begins with */
#define PRIOR_CHANCE (ONE / 10) /* of each step but the first */
#define PRIOR_FIRST  (ONE / 4)	/* which is longer than the second */
#define MOST_HAZARD  (16 * ONE)
#define FULL	     (4096u * ONE)    /* halve a counter that got here */
#define FIRST_LOG    2039	      /* log2 of COMEBACK_FIRST */
#define LEAST_LOG    (-17 * LOG2_ONE) /* of a hazard that is not 0 */
#define CHANCE_EACH  8
#define CHARGE_STEPS 4		/* traits are charged every so often, */
#define CHARGE_LEAST (ONE / 16) /* when it is worth it */

/* Two steps an octave: 2^(step/2) in 1/256, exact enough for ever. A table: a
 * worth asks for all of them. */
#define EDGE(s)                                              \
	((s) ? ((uint64_t)COMEBACK_FIRST << (((s)-1) / 2)) * \
			 (((s)-1) % 2 ? 362 : 256) / 256     \
	     : 0)
static const uint64_t edges[COMEBACK_STEPS + 1] = {
	/* clang-format off */
	EDGE(0), EDGE(1), EDGE(2), EDGE(3), EDGE(4), EDGE(5),
	EDGE(6), EDGE(7), EDGE(8), EDGE(9), EDGE(10), EDGE(11),
	EDGE(12), EDGE(13), EDGE(14), EDGE(15), EDGE(16), EDGE(17),
	EDGE(18), EDGE(19), EDGE(20), EDGE(21), EDGE(22), EDGE(23),
	EDGE(24), EDGE(25), EDGE(26), EDGE(27), EDGE(28), EDGE(29),
	EDGE(30), EDGE(31), EDGE(32), EDGE(33), EDGE(34), EDGE(35),
	EDGE(36),
	/* clang-format on */
};

uint64_t comeback_edge(unsigned step)
{
	return edges[MIN(step, COMEBACK_STEPS)];
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

static void cell_count(struct comeback_cell *c, uint32_t seen,
		       uint32_t expected)
{
	c->seen += seen;
	c->expected += expected;
	if (c->seen >= FULL || c->expected >= FULL) {
		c->seen /= 2;
		c->expected /= 2;
	}
}

static void cell_add(struct comeback_cell *c, uint32_t seen, uint32_t expected,
		     uint32_t before)
{
	cell_count(c, seen, expected);
	cell_judge(c, before);
}

static uint32_t hazard(int log);
static uint32_t chance(uint32_t h);

void comeback_init(struct comeback *m)
{
	for (unsigned i = 0; i < COMEBACK_CHANCES; i++)
		m->chance[i] = chance(hazard(LEAST_LOG + (int)i * CHANCE_EACH));
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		cell_init(&m->base[b], b ? PRIOR_CHANCE : PRIOR_FIRST);
	for (unsigned f = 0; f < COMEBACK_TRAITS; f++)
		for (unsigned v = 0; v < COMEBACK_VALUES; v++)
			cell_init(&m->trait[f][v], ONE);
	for (unsigned d = 0; d < COMEBACK_DIFFS; d++) {
		cell_init(&m->gap[d], ONE);
		cell_init(&m->hint[0][d], ONE);
		cell_init(&m->hint[1][d], ONE);
	}
	for (unsigned b = 0; b < COMEBACK_STEPS; b++) {
		for (unsigned w = 0; w < COMEBACK_WHYS; w++)
			cell_init(&m->why[w][b], ONE);
	}
	m->uneven = 0;
	cell_init(&m->last[0], ONE);
	cell_init(&m->last[1], ONE);
}

/* ---- chances -------------------------------------------------------------- */

/* Where step 0 lies against a time that was told; FAR when none was or it never
 * comes, so that all steps fall into one class. */
#define FAR 1000

static int against(uint16_t told)
{
	if (!told)
		return -FAR;
	if (told == UINT16_MAX)
		return FAR;
	return COMEBACK_DIFFS / 2 - ((int)told - FIRST_LOG) * 2 / LOG2_ONE;
}

static unsigned diff(int first, unsigned b)
{
	int d = first + (int)b;

	return (unsigned)MAX(0, MIN(d, COMEBACK_DIFFS - 1));
}

static unsigned why_of(const struct comeback_session *s)
{
	return s->trait[COMEBACK_WHY] % COMEBACK_WHYS;
}

static int log_hazard(const struct comeback *m,
		      const struct comeback_session *s, unsigned b)
{
	return m->base[b].ratio + s->ratio +
	       m->gap[diff(against(s->usual_gap), b)].ratio +
	       m->hint[s->told][diff(against(s->hint), b)].ratio +
	       m->why[why_of(s)][b].ratio;
}

/* Expected returns within a step, of those that are still away at its begin and
 * stay so: more than one where it is sure to come back early in it. */
static uint32_t hazard(int log)
{
	return MIN(exp2_of(log), (uint32_t)MOST_HAZARD);
}

/* The chance of at least one: 1 - e^-h, as 1 - 1 / (1 + h/2)^2. */
static uint32_t chance(uint32_t h)
{
	uint32_t stays = (1u << 31) / ((2 * ONE + h) / 4);

	return ONE - (uint32_t)((uint64_t)stays * stays / ONE);
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

/* Before anything is seen of a step it is like the one before it. */
static uint32_t base_before(const struct comeback *m, unsigned b)
{
	if (b < 2)
		return b ? PRIOR_CHANCE : PRIOR_FIRST;
	return MIN(exp2_of(m->base[b - 1].ratio), (uint32_t)MOST_HAZARD);
}

/* Judged when the steps are evened. */
static void base_add(struct comeback *m, unsigned b, uint32_t seen,
		     uint32_t part)
{
	cell_count(&m->base[b], seen, part);
	m->uneven |= 1ull << b;
}

void comeback_even(struct comeback *m)
{
	while (m->uneven) {
		unsigned b = (unsigned)__builtin_ctzll(m->uneven);
		int32_t was = m->base[b].ratio;

		m->uneven &= m->uneven - 1;
		cell_judge(&m->base[b], base_before(m, b));
		if (m->base[b].ratio != was && b + 1 < COMEBACK_STEPS)
			m->uneven |= 2ull << b;
	}
}

/* Part of a step (in 1/65536) has passed, and it came back or not. */
static void expose(struct comeback *m, struct comeback_session *s,
		   uint32_t seen, uint32_t part)
{
	unsigned b = s->step;
	struct comeback_cell *gap = &m->gap[diff(against(s->usual_gap), b)];
	struct comeback_cell *hint =
		&m->hint[s->told][diff(against(s->hint), b)];
	uint32_t expected = hazard(log_hazard(m, s, b));

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
	if (s->step % CHARGE_STEPS == CHARGE_STEPS - 1 &&
	    s->pending >= CHARGE_LEAST) {
		charge(m, s, 0);
		s->ratio = (int16_t)ratio_of(m, s); /* as is known by now */
	}
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

void comeback_forget(struct comeback *m, struct comeback_session *s)
{
	if (s->pending)
		charge(m, s, 0);
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

static uint8_t worth_class(uint64_t yield, uint64_t cost)
{
	int log = log2_of(yield) - log2_of(cost) + COMEBACK_LEAST * LOG2_ONE;

	if (!yield)
		return 0;
	return (uint8_t)MAX(0, MIN(log / (LOG2_ONE / 8), 255));
}

typedef unsigned __int128 wide;

/* log2 of the hazards of a session, but for what is the same at all ages. */
struct ages {
	const struct comeback *m;
	const struct comeback_cell *why, *told;
	int ratio, gap, hint;
};

static struct ages ages_of(const struct comeback *m,
			   const struct comeback_session *s)
{
	return (struct ages){
		m,	  m->why[why_of(s)],	 m->hint[s->told],
		s->ratio, against(s->usual_gap), against(s->hint)
	};
}

static inline uint64_t chance_at(const struct ages *a, unsigned b)
{
	int log = a->ratio + a->m->base[b].ratio + a->why[b].ratio +
		  a->m->gap[diff(a->gap, b)].ratio +
		  a->told[diff(a->hint, b)].ratio - LEAST_LOG;

	log = MAX(0, MIN(log, (COMEBACK_CHANCES - 1) * CHANCE_EACH));
	return a->m->chance[log / CHANCE_EACH];
}

/* What a part of the way yields, and what it costs. */
struct part {
	uint64_t yield, cost;
};

/* A step, from its begin to its end; *left of all get there, and less get on. */
static inline struct part part_of(uint64_t p, uint64_t ms, uint64_t *left)
{
	struct part part = { *left * p / ONE,
			     *left * ms / (2 * ONE) * (2 * ONE - p) };

	*left -= part.yield;
	return part;
}

static inline bool less(const struct part *a, const struct part *b)
{
	return (wide)a->yield * b->cost < (wide)b->yield * a->cost;
}

/*
 * The best quotient from each step on is the slope there of the least concave
 * line above yield over cost: from the end to the begin each step is a part of
 * its own, or joins the part behind it where that has more for its cost. Chances
 * are in 1/65536, what is left in 2^-32.
 */
void comeback_worths(const struct comeback *m, const struct comeback_session *s,
		     uint8_t ret_worth[COMEBACK_SHORT])
{
	struct ages a = ages_of(m, s);
	struct part part[COMEBACK_STEPS];
	uint64_t left = 1ull << 32;
	unsigned top = COMEBACK_STEPS;

	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		part[b] = part_of(chance_at(&a, b), edges[b + 1] - edges[b],
				  &left);
	/* those that are done lie from `top` to the end, the first on top */
	for (unsigned b = COMEBACK_STEPS; b-- > 0;) {
		struct part now = part[b];

		while (top < COMEBACK_STEPS && less(&now, &part[top])) {
			now.yield += part[top].yield;
			now.cost += part[top++].cost;
		}
		part[--top] = now;
		if (b < COMEBACK_SHORT)
			ret_worth[b] = worth_class(now.yield, now.cost);
	}
}

/* All that are left cannot yield more than once each: when that would not do for
 * what it has cost already, nothing later does. */
uint8_t comeback_worth(const struct comeback *m,
		       const struct comeback_session *s)
{
	struct ages a = ages_of(m, s);
	struct part sum = { 0, 0 }, best = { 0, 1 };
	uint64_t left = 1ull << 32;

	for (unsigned b = s->step; b < COMEBACK_STEPS; b++) {
		struct part part = part_of(chance_at(&a, b),
					   edges[b + 1] - edges[b], &left);
		struct part most;

		sum.yield += part.yield;
		sum.cost += part.cost;
		if (less(&best, &sum))
			best = sum;
		most = (struct part){ sum.yield + left, sum.cost };
		if (less(&most, &best))
			break;
	}
	return worth_class(best.yield, best.cost);
}
