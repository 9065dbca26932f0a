/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/comeback.h"
#include "policy/log2.h"

#define ONE	     EXP2_ONE
#define PRIOR	     (8 * ONE)	/* events that a ratio begins with */
#define PRIOR_CHANCE (ONE / 10) /* of the second step, and so of all others */
#define PRIOR_FIRST  (ONE / 4)	/* which is longer than the second */
#define MOST_HAZARD  (16 * ONE)
#define FULL	     (4096u * ONE)    /* halve a counter that got here */
#define FIRST_LOG    2551	      /* log2 of COMEBACK_FIRST */
#define LEAST_LOG    (-17 * LOG2_ONE) /* of a hazard that is not 0 */
#define CHANCE_EACH  8
#define CHARGE_LEAST (ONE / 64) /* less is carried on to the next step */
#define JUDGE_EACH   (ONE / 32) /* less does not move a ratio */
#define WAIT_AGES    4

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
	EDGE(30), EDGE(31), EDGE(32),
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

/* log2 of the quotient, with PRIOR events of what was thought before any were
 * seen. */
static int16_t judged(const struct comeback_cell *c, uint32_t before)
{
	uint64_t seen = c->seen + (uint64_t)PRIOR * before / ONE;

	return (int16_t)(log2_of(seen) -
			 log2_of((uint64_t)c->expected + PRIOR));
}

static void count(struct comeback_cell *c, uint32_t seen, uint32_t expected)
{
	c->seen += seen;
	c->expected += expected;
	if (c->seen >= FULL || c->expected >= FULL) {
		c->seen /= 2;
		c->expected /= 2;
	}
}

/* `expected` by all ratios together, this one too: what it alone has to account
 * for is what the others say. */
static void learn(struct comeback_cell *c, int16_t *ratio, uint32_t seen,
		  uint32_t expected, int more)
{
	uint64_t factor = exp2_of(more - *ratio);
	uint64_t others = MIN(expected * factor / ONE, (uint64_t)FULL / 4);
	uint32_t was = c->expected / JUDGE_EACH;

	count(c, seen, (uint32_t)others);
	if (seen || c->expected / JUDGE_EACH != was)
		*ratio = judged(c, ONE);
}

static uint32_t hazard(int log);
static uint32_t chance(uint32_t h);

/* All other ratios begin at 1, whose log2 is 0. */
void comeback_init(struct comeback *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < COMEBACK_CHANCES; i++)
		m->chance[i] = chance(hazard(LEAST_LOG + (int)i * CHANCE_EACH));
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		m->base.ratio[b] = judged(&m->base.cell[b],
					  b ? PRIOR_CHANCE : PRIOR_FIRST);
}

/* Counters and ratios; with whatever lies between rows, which is part of no
 * value. */
void comeback_save(const struct comeback *m, void *ret_bytes)
{
	memcpy(ret_bytes, &m->base, COMEBACK_LEARNED);
}

void comeback_recall(struct comeback *m, uint64_t now_ms, const void *bytes)
{
	comeback_init(m);
	m->begun_ms = m->now_ms = now_ms;
	m->uneven = (1ull << COMEBACK_STEPS) - 1;
	memcpy(&m->base, bytes, COMEBACK_LEARNED);
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
	return m->base.ratio[b] + s->ratio +
	       m->gap.ratio[diff(against(s->usual_gap), b)] +
	       m->hint[s->told].ratio[diff(against(s->hint), b)] +
	       m->why[why_of(s)].ratio[b] +
	       m->output[s->trait[COMEBACK_OUTPUT]].ratio[b];
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

static int clipped(int sum)
{
	return MAX(-8 * LOG2_ONE, MIN(sum, 8 * LOG2_ONE));
}

static int ratio_of(const struct comeback *m, const struct comeback_session *s,
		    unsigned band)
{
	int sum = 0;

	for (unsigned f = 0; f < COMEBACK_TRAITS; f++)
		sum += m->trait[f][s->trait[f]].ratio[band];
	return clipped(sum);
}

void comeback_begin(const struct comeback *m, struct comeback_session *s)
{
	s->ratio = (int16_t)ratio_of(m, s, 0);
	s->step = 0;
	s->pending = 0;
}

void comeback_resume(const struct comeback *m, struct comeback_session *s)
{
	s->ratio = (int16_t)ratio_of(m, s, s->step / COMEBACK_BAND);
	s->pending = 0;
}

/* ---- learning ------------------------------------------------------------- */

/* Where 0 says that nobody told; elsewhere it is a value like any. */
static bool unknown_at_0(unsigned f)
{
	return f == COMEBACK_OUTPUT || f == COMEBACK_WHY || f == COMEBACK_KIND;
}

/* What was pending was expected by the ratios of when its octave began: it is put
 * on those of now, so that a ratio that has fallen since is not charged twice. */
static void charge(struct comeback *m, struct comeback_session *s,
		   uint32_t seen)
{
	unsigned band = s->step / COMEBACK_BAND;
	int now = ratio_of(m, s, band) - s->ratio;

	for (unsigned f = 0; f < COMEBACK_TRAITS; f++) {
		struct comeback_bands *t = &m->trait[f][s->trait[f]];

		if (s->trait[f] || !unknown_at_0(f))
			learn(&t->cell[band], &t->ratio[band], seen, s->pending,
			      now);
	}
	s->pending = 0;
}

/* Before anything is seen of a step it is like the one before it. */
static uint32_t base_before(const struct comeback *m, unsigned b)
{
	if (b < 2)
		return b ? PRIOR_CHANCE : PRIOR_FIRST;
	return MIN(exp2_of(m->base.ratio[b - 1]), (uint32_t)MOST_HAZARD);
}

/* Judged when the steps are evened. */
static void base_add(struct comeback *m, unsigned b, uint32_t seen,
		     uint32_t part)
{
	count(&m->base.cell[b], seen, part);
	m->uneven |= 1ull << b;
}

void comeback_even(struct comeback *m)
{
	while (m->uneven) {
		unsigned b = (unsigned)__builtin_ctzll(m->uneven);
		int16_t was = m->base.ratio[b];

		m->uneven &= m->uneven - 1;
		m->base.ratio[b] = judged(&m->base.cell[b], base_before(m, b));
		if (m->base.ratio[b] != was && b + 1 < COMEBACK_STEPS)
			m->uneven |= 2ull << b;
	}
}

/* Part of a step (in 1/65536) has passed, and it came back or not. */
static void expose(struct comeback *m, struct comeback_session *s,
		   uint32_t seen, uint32_t part)
{
	unsigned b = s->step, gap = diff(against(s->usual_gap), b);
	unsigned hint = diff(against(s->hint), b);
	struct comeback_steps *why = &m->why[why_of(s)];
	struct comeback_steps *out = &m->output[s->trait[COMEBACK_OUTPUT]];
	uint32_t expected = hazard(log_hazard(m, s, b));

	expected = (uint32_t)((uint64_t)expected * part / ONE);
	s->pending += expected;
	if (s->trait[COMEBACK_WHY])
		learn(&why->cell[b], &why->ratio[b], seen, expected, 0);
	if (s->trait[COMEBACK_OUTPUT])
		learn(&out->cell[b], &out->ratio[b], seen, expected, 0);
	if (s->usual_gap)
		learn(&m->gap.cell[gap], &m->gap.ratio[gap], seen, expected, 0);
	if (s->hint)
		learn(&m->hint[s->told].cell[hint],
		      &m->hint[s->told].ratio[hint], seen, expected, 0);
	base_add(m, b, seen, part);
}

void comeback_age(const struct comeback *m, struct comeback_session *s)
{
	if (s->step == COMEBACK_STEPS - 1)
		return;
	s->step++;
	if (s->step % COMEBACK_BAND == 0)
		s->ratio = (int16_t)ratio_of(m, s, s->step / COMEBACK_BAND);
}

void comeback_pass(struct comeback *m, struct comeback_session *s)
{
	expose(m, s, 0, ONE);
	if (s->step == COMEBACK_STEPS - 1) {
		charge(m, s, 0);
		return;
	}
	if (s->pending >= CHARGE_LEAST)
		charge(m, s, 0);
	comeback_age(m, s);
}

static void learn_return(struct comeback *m, struct comeback_session *s,
			 uint32_t part)
{
	expose(m, s, ONE, part);
	charge(m, s, ONE);
}

static void first_wait_over(struct comeback *m)
{
	struct comeback_wait *w = &m->wait[m->first_wait];

	m->first_wait = (m->first_wait + 1) % COMEBACK_WAITS;
	m->waits--;
	learn_return(m, &w->session, w->part);
}

/* In the order in which they came, not in which they are due: one may wait for
 * longer than its step, behind another that is due later. By due_ms no more is
 * found (docs/design/eviction.md). */
static void wait_for_others(struct comeback *m,
			    const struct comeback_session *s, uint32_t part,
			    uint64_t left_ms)
{
	uint32_t last;

	if (m->waits == COMEBACK_WAITS)
		first_wait_over(m);
	last = (m->first_wait + m->waits++) % COMEBACK_WAITS;
	m->wait[last] = (struct comeback_wait){ *s, part, m->now_ms + left_ms };
}

void comeback_tick(struct comeback *m, uint64_t now_ms)
{
	if (!m->begun_ms)
		m->begun_ms = now_ms;
	m->now_ms = now_ms;
	while (m->waits && m->wait[m->first_wait].due_ms <= now_ms)
		first_wait_over(m);
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
	part = MAX(part, (uint32_t)ONE / 8);
	/* those that announced it return, nearly all: nothing to wait for */
	if (!s->hint && age_ms < to &&
	    age_ms > (m->now_ms - m->begun_ms) / WAIT_AGES)
		wait_for_others(m, s, part, to - age_ms);
	else
		learn_return(m, s, part);
	s->pending = 0;
}

void comeback_forget(struct comeback *m, struct comeback_session *s)
{
	if (s->pending)
		charge(m, s, 0);
}

void comeback_reached(struct comeback *m, bool partial, bool used)
{
	count(&m->last.cell[partial], used ? ONE : 0, ONE);
	m->last.ratio[partial] = judged(&m->last.cell[partial], ONE);
}

int comeback_reach(const struct comeback *m, bool partial)
{
	return MIN(m->last.ratio[partial], 0);
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

/* log2 of the hazards of a session, at each step. */
struct ages {
	int log[COMEBACK_STEPS];
};

/* As diff(): the steps before its range, those in it, and those behind. */
static void add_against(const struct comeback_diffs *d, int first,
			struct ages *ages)
{
	int from = MAX(0, MIN(-first, COMEBACK_STEPS));
	int to = MAX(from, MIN(COMEBACK_DIFFS - first, COMEBACK_STEPS));
	int b = 0;

	for (; b < from; b++)
		ages->log[b] += d->ratio[0];
	for (; b < to; b++)
		ages->log[b] += d->ratio[first + b];
	for (; b < COMEBACK_STEPS; b++)
		ages->log[b] += d->ratio[COMEBACK_DIFFS - 1];
}

static void ages_of(const struct comeback *m, const struct comeback_session *s,
		    struct ages *ret)
{
	const int16_t *why = m->why[why_of(s)].ratio;
	const int16_t *out = m->output[s->trait[COMEBACK_OUTPUT]].ratio;
	int gap = against(s->usual_gap), hint = against(s->hint);
	int band[COMEBACK_BANDS] = { 0 };

	for (unsigned f = 0; f < COMEBACK_TRAITS; f++)
		for (unsigned a = 0; a < COMEBACK_BANDS; a++)
			band[a] += m->trait[f][s->trait[f]].ratio[a];
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		ret->log[b] = m->base.ratio[b] + why[b] + out[b] +
			      clipped(band[b / COMEBACK_BAND]);
	add_against(&m->gap, gap, ret);
	add_against(&m->hint[s->told], hint, ret);
}

static inline uint64_t chance_at(const struct comeback *m, int log)
{
	log = MAX(0,
		  MIN(log - LEAST_LOG, (COMEBACK_CHANCES - 1) * CHANCE_EACH));
	return m->chance[log / CHANCE_EACH];
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
	struct ages a;
	struct part part[COMEBACK_STEPS];
	uint64_t left = 1ull << 32;
	unsigned top = COMEBACK_STEPS;

	ages_of(m, s, &a);
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		part[b] = part_of(chance_at(m, a.log[b]),
				  edges[b + 1] - edges[b], &left);
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
	struct ages a;
	struct part sum = { 0, 0 }, best = { 0, 1 };
	uint64_t left = 1ull << 32;

	ages_of(m, s, &a);
	for (unsigned b = s->step; b < COMEBACK_STEPS; b++) {
		struct part part = part_of(chance_at(m, a.log[b]),
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
