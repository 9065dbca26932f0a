/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine costs, with the best mix of use, load, pull and recompute.
 *
 * Recompute of a token grows with its depth while a transfer does not, so over
 * the place where the pull ends the time to the first token is concave beyond
 * what the queue hides: the least is at an end. So few places are worth a look:
 * no pull, what arrives while the request would wait anyway, all that the
 * source has. The same holds for loads from lower tiers; between a load and a
 * pull, which run side by side, the place where both end together is one more.
 */
#include "policy/route_price.h"
#include "base/log.h"
#include <math.h>

#define TRUST_LEAST 0.05
#define CROWD_IDLE  0.1	 /* a busy period ends one day */
#define CROWD_MOST  10.0 /* ... and a fleet's overload too */
#define FULL	    0.8

static double positive(double v)
{
	return v > 0 ? v : 0; /* and no NaN */
}

double route_prefill_s(const struct route_engine *e, double from, double to)
{
	double deeper = e->depth > 0 ? (to + from) / (2 * e->depth) : 0;

	if (!(e->token_s > 0))
		return ROUTE_NEVER_S;
	return to > from ? e->token_s * (to - from) * (1 + deeper) : 0;
}

static const struct route_seat *seat_of(const struct route_case *c,
					const struct route_engine *e)
{
	return &c->seat[e - c->f->engine];
}

static uint32_t run_of(const struct route_case *c, const struct route_engine *e,
		       enum route_tier t)
{
	return seat_of(c, e)->run[t];
}

static double tokens_of(const struct route_request *r, uint32_t blocks)
{
	double t = (double)blocks * r->block_tokens;

	return blocks >= r->blocks ? (double)r->tokens
				   : MIN(t, (double)r->tokens);
}

/* Prefill of what is behind `hit` blocks; the last token is always computed. */
static double work_s(const struct route_case *c, const struct route_engine *e,
		     uint32_t hit)
{
	double to = (double)c->r->tokens, from = tokens_of(c->r, hit);
	const struct route_seat *s = seat_of(c, e);
	double steps;

	from = MIN(from, to - 1);
	from = MAX(from, 0);
	steps = (to - from) * s->chunk_s;
	return route_compute_s(s, from, to) + MAX(steps, s->step_s);
}

/* As far as it is believed. */
static double trusted_work_s(const struct route_case *c,
			     const struct route_engine *e, uint32_t hit,
			     double trust)
{
	double work = work_s(c, e, hit);

	if (trust >= 1 || hit == 0)
		return work;
	trust = MAX(trust, TRUST_LEAST);
	return trust * work + (1 - trust) * work_s(c, e, 0);
}

/* Until there is device memory for it: what is asked for beyond its size comes
 * free as requests that hold it end, one full memory in the time that one
 * decodes; those that wait themselves give nothing back yet. */
static double memory_s(const struct route_engine *e, double needs)
{
	double over = positive(e->held) + needs - e->memory;

	if (!(e->memory > 0) || !(over > 0) || !(e->held > 0))
		return 0;
	return over * positive(e->decode_s) / MIN(e->held, e->memory);
}

/* 1 / v, where engines of one kind have the same v: a division each would be a
 * good part of a decision. */
struct inverse {
	double of, is;
};

static double inverse(struct inverse *last, double v)
{
	if (v > last->of || v < last->of)
		*last = (struct inverse){ v, v > 0 ? 1 / v : 0 };
	return last->is;
}

/* A fleet's engines are more than a near cache holds besides. What only some of
 * them are asked for is last. */
#define AHEAD 4u

static void fetch(const struct route_engine *e)
{
	const char *at = (const char *)e;

	for (size_t i = 0; i < offsetof(struct route_engine, load_s); i += 64)
		__builtin_prefetch(at + i);
}

/* Decoding goes on beside prefill: each step takes its time. */
static void sit(struct route_case *c, struct route_seat *s,
		const struct route_engine *e)
{
	uint32_t run = 0, blocks = c->r->blocks;

	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		run = MAX(run, MIN(e->run[t], blocks));
		s->run[t] = run;
	}
	s->reach = route_reach(e, c->r);
	s->needs = blocks - MIN(e->held_run, blocks);
	s->wait_s = positive(e->wait_s);
	s->memory_s = memory_s(e, s->needs);
	s->step_s = positive(e->step_s) + positive(e->running_s) * e->running;
	s->token_s = e->token_s > 0 ? e->token_s : ROUTE_NEVER_S;
}

/* Of the engines that are not above the mean: who can choose goes to them. */
static double lower_mean(const struct route_case *c, double mean)
{
	double sum = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->f->n; i++) {
		double v = c->seat[i].wait_s;
		bool low = v <= mean;

		sum += low ? v : 0;
		n += low;
	}
	return n ? sum / n : mean;
}

/* What a choice takes from others, per second of work and of memory held. */
static void take(const struct route_case *c, struct route_seat *s,
		 const struct route_engine *e, double part)
{
	double full = (positive(e->held) + s->needs) * part - FULL;
	double arrivals = positive(c->f->arrivals);

	s->usual = e->token_s > 0 ? c->token_s / e->token_s : 1;
	s->crowd = c->crowd + arrivals * s->wait_s;
	s->copies_s = positive(e->copy_s) * (c->longest - s->reach);
	/* what is held beyond the memory waits for it, in the queue */
	full = MIN(full, 1 - FULL);
	s->squeeze = arrivals * positive(full) * s->needs * part;
}

static void crowd(struct route_case *c, double wait)
{
	double busy = positive(c->f->busy), all;
	double arrivals = positive(c->f->arrivals);

	/* A second of work delays all who come until the queues that it finds
	 * are gone: those of a busy period, 1 / (1 - busy) longer. Long queues
	 * beside idle engines are no crowd: who comes goes elsewhere. */
	c->crowd = arrivals * wait / MAX(1 - busy, CROWD_IDLE);
	c->crowd = MIN(c->crowd, CROWD_MOST);
	/* how often no engine is idle, as of eight with one queue */
	all = MIN(busy, 1);
	c->none_idle = all * all * all * all;
	c->astray = arrivals * c->none_idle;
}

void route_case_init(struct route_case *c, const struct route_fleet *f,
		     const struct route_request *r, bool selfish)
{
	struct inverse chunk = { 0 }, depth = { 0 }, memory = { 0 };
	double wait = 0, token = 0;

	must(f->n > 0 && f->n <= ROUTE_ENGINES_MAX);
	c->f = f;
	c->r = r;
	c->selfish = selfish;
	c->longest = c->holders = 0;
	for (uint32_t i = 0; i < f->n; i++) {
		struct route_seat *s = &c->seat[i];

		fetch(&f->engine[MIN(i + AHEAD, f->n - 1)]);
		sit(c, s, &f->engine[i]);
		s->chunk_s = s->step_s * inverse(&chunk, f->engine[i].chunk);
		s->deeper_s =
			s->token_s / 2 * inverse(&depth, f->engine[i].depth);
		c->holders = s->reach > c->longest ? 0 : c->holders;
		c->longest = MAX(c->longest, s->reach);
		c->holders += s->reach == c->longest;
		token += f->engine[i].token_s;
		wait += s->wait_s;
	}
	if (selfish)
		return;
	c->token_s = token / f->n;
	crowd(c, lower_mean(c, wait / f->n));
	for (uint32_t i = 0; i < f->n; i++)
		take(c, &c->seat[i], &f->engine[i],
		     inverse(&memory, f->engine[i].memory));
}

/* ---- one mix --------------------------------------------------------------- */

struct mix {
	uint32_t use, load, pull, from;
	double load_s; /* from lower tiers, once there is room */
	double pull_s; /* until what comes from elsewhere is there */
	double link_s; /* of a free link */
	double trust;
	double most_s; /* a later first token is of no use */
};

/* What work takes from others: who comes while it is done waits for the rest of
 * it, be it because no engine is idle or because its blocks are on this one; in
 * the latter case no longer than it takes to move them. Who is in a queue here
 * waits for all of it. What engines are believed to differ by in speed is left
 * out: among many engines an error in that would decide every time.
 *
 * Device memory is held until the end. It is short before it is full: what
 * holds it now holds it on while more comes.
 *
 * A second copy of what is elsewhere takes the place of something. */
static double late_s(const struct route_case *c, const struct route_engine *e,
		     double work, double load)
{
	const struct route_seat *s = seat_of(c, e);
	double hold = load + work + positive(e->decode_s), half = work / 2;
	double bytes = c->r->block_bytes * c->r->blocks, own = half;

	if (own * e->link > bytes)
		own = bytes / e->link;
	own *= positive(e->returns);

	return work * s->usual * (s->crowd + MAX(own, c->astray * half)) +
	       s->squeeze * hold * hold + s->copies_s;
}

/* All that a step computes is there at its end: those whose last tokens are in
 * one step with its own first ones wait for these. */
static double shared_s(const struct route_case *c, const struct route_engine *e,
		       uint32_t hit, double work)
{
	double tokens = (double)c->r->tokens - tokens_of(c->r, hit);
	double steps = MAX(tokens, 1), n;

	if (!e->waiting || !(e->chunk > 0))
		return 0;
	steps /= e->chunk;
	n = MIN(e->waiting, 1 + 1 / steps);
	/* reports are late: some of those that wait have their first token */
	n = MIN(n, seat_of(c, e)->wait_s / work);
	return n * work / MAX(steps, 1);
}

static double asked(const struct route_case *c, const struct route_engine *s)
{
	bool shared = c->holders > 1 && seat_of(c, s)->reach == c->longest;

	return shared ? ROUTE_ASKED : 1;
}

static double others_s(const struct route_case *c, const struct route_engine *e,
		       const struct mix *m, double ready, double begin,
		       double work, double shared)
{
	double gap = begin - seat_of(c, e)->wait_s;
	double late = late_s(c, e, work, m->load_s);
	const struct route_engine *s;

	/* and as many come behind it, which do the same to it; where no engine
	 * is idle they do so wherever it goes */
	late += shared * (2 - c->none_idle);
	/* whose blocks are on their way is passed by who is ready sooner */
	if (ready < e->moving_s)
		late += e->moving * work;
	/* the engine is kept free for it */
	late += gap * (c->crowd + c->astray * gap);
	if (m->from == ROUTE_NONE)
		return late;
	s = &c->f->engine[m->from];
	late += m->link_s * (s->flows_out + e->flows_in);
	/* what is still being computed there may take twice as long */
	if (m->pull > run_of(c, s, ROUTE_NVME) && !s->coming_moves)
		late += positive(s->coming_s);
	return late + asked(c, s) * positive(s->served) / s->link;
}

static void consider(const struct route_case *c, uint32_t engine,
		     const struct mix *m, struct route_price *best)
{
	const struct route_engine *e = &c->f->engine[engine];
	double work = trusted_work_s(c, e, MAX(m->pull, m->load), m->trust);
	double ready = MAX(seat_of(c, e)->memory_s + m->load_s, m->pull_s);
	double begin = MAX(seat_of(c, e)->wait_s, ready);
	double ttft = begin + work;
	double others = 0, shared = 0;

	if (ttft > m->most_s)
		return;
	if (!c->selfish) {
		shared = shared_s(c, e, MAX(m->pull, m->load), work);
		others = others_s(c, e, m, ready, begin, work, shared);
	}
	if (!(ttft + others < best->total_s))
		return;
	*best = (struct route_price){
		.ttft_s = ttft,
		.work_s = work,
		.others_s = others,
		.shared_s = shared,
		.total_s = ttft + others,
		.moved_s = MAX(m->load_s, m->pull_s),
		.ready_s = ready,
		.use_blocks = m->use,
		.load_blocks = m->load,
		.pull_blocks = MAX(m->pull, m->load),
		.pull_from = m->from,
		.here_blocks = run_of(c, e, ROUTE_NVME),
	};
}

/* ---- loads from lower tiers --------------------------------------------------- */

/* Until the own tiers have brought the blocks up to `to`; they work side by
 * side. */
static double load_s(const struct route_case *c, const struct route_engine *e,
		     uint32_t to)
{
	uint32_t from = run_of(c, e, ROUTE_VRAM);
	double last = 0;

	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS && from < to; t++) {
		uint32_t end = MIN(run_of(c, e, t), to);

		if (end > from)
			last = MAX(last, positive(e->load_wait_s[t]) +
						 e->load_s[t] * (end - from));
		from = MAX(from, end);
	}
	return last;
}

void route_local(const struct route_case *c, uint32_t engine,
		 struct route_price *ret)
{
	const struct route_engine *e = &c->f->engine[engine];
	uint32_t use = run_of(c, e, ROUTE_VRAM), last = ROUTE_NONE;
	struct mix m = { .use = use,
			 .from = ROUTE_NONE,
			 .trust = e->trust,
			 .most_s = INFINITY };

	*ret = (struct route_price){ .total_s = INFINITY,
				     .ttft_s = ROUTE_NEVER_S,
				     .pull_from = ROUTE_NONE };
	for (uint32_t t = ROUTE_VRAM; t < ROUTE_TIERS; t++) {
		m.load = run_of(c, e, t);
		if (m.load == last)
			continue;
		last = m.load;
		m.pull = m.load;
		m.load_s = load_s(c, e, m.load);
		consider(c, engine, &m, ret);
	}
	m.load = MIN(e->coming, c->r->blocks);
	if (m.load > last) {
		m.use = m.pull = m.load;
		m.load_s = load_s(c, e, last);
		m.pull_s = e->coming_moves ? positive(e->coming_s) : 0;
		consider(c, engine, &m, ret);
	}
}

/* ---- pulls from another engine ------------------------------------------------- */

/* Bytes a second that one more flow gets. */
static double share(const struct route_engine *e, const struct route_engine *s)
{
	double in = positive(e->link) / (1 + e->flows_in);
	double out = positive(s->link) / (1 + s->flows_out);

	return MIN(in, out);
}

double route_pull_s(const struct route_case *c, uint32_t engine,
		    uint32_t source, uint32_t from, uint32_t to)
{
	const struct route_engine *e = &c->f->engine[engine];
	const struct route_engine *s = &c->f->engine[source];
	double block_s = c->r->block_bytes / share(e, s);
	double last = positive(s->latency_s);
	uint32_t at = run_of(c, s, ROUTE_VRAM), there;

	if (from >= to)
		return 0;
	last += block_s * (to - from);
	/* what lies in a slow tier of the source waits for that */
	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++) {
		uint32_t end = MIN(run_of(c, s, t), to);

		at = MAX(at, from);
		if (end > at && s->load_s[t] > block_s)
			last += (s->load_s[t] - block_s) * (end - at);
		at = MAX(at, end);
	}
	there = run_of(c, s, ROUTE_NVME);
	if (to > there) /* it serves while its replica arrives */
		last = MAX(last, positive(s->coming_s) + block_s);
	return last;
}

/* How far the source's blocks come until `when`. */
static uint32_t until(const struct route_case *c, uint32_t engine,
		      uint32_t source, uint32_t from, uint32_t to, double when)
{
	double all = route_pull_s(c, engine, source, from, to), first, each;
	double n;

	if (all <= when)
		return to;
	first = route_pull_s(c, engine, source, from, from + 1);
	if (first > when || to - from < 2)
		return from;
	each = (all - first) / (to - from - 1);
	n = each > 0 ? 1 + (when - first) / each : 1;
	return from + (uint32_t)MIN(n, (double)(to - from));
}

static void pull_to(const struct route_case *c, uint32_t engine,
		    uint32_t source, struct mix *m, uint32_t to,
		    struct route_price *best)
{
	const struct route_engine *s = &c->f->engine[source];
	const struct route_engine *e = &c->f->engine[engine];
	double link = MIN(positive(e->link), positive(s->link));

	if (to <= m->load || !(link > 0))
		return;
	m->pull = to;
	m->from = source;
	m->link_s = c->r->block_bytes * (to - m->load) / link;
	m->load_s = load_s(c, e, m->load);
	m->pull_s = route_pull_s(c, engine, source, m->load, to);
	m->trust = MIN(s->trust, m->load ? e->trust : 1);
	consider(c, engine, m, best);
}

/* The place in a load from a tier where a pull of the rest ends with it. */
static uint32_t balance(const struct route_case *c, uint32_t engine,
			uint32_t source, uint32_t from, uint32_t to)
{
	const struct route_engine *e = &c->f->engine[engine];
	double load = load_s(c, e, to);
	double pull = route_pull_s(c, engine, source, from, to);

	if (!(load > 0) || !(pull >= 0) || !(pull + load < ROUTE_NEVER_S))
		return to;
	return from + (uint32_t)((to - from) * (pull / (pull + load)));
}

static void route_pull_end(const struct route_case *c, uint32_t engine,
			   uint32_t source, uint32_t end, double most_s,
			   struct route_price *price)
{
	const struct route_engine *e = &c->f->engine[engine];
	uint32_t here = run_of(c, e, ROUTE_VRAM);
	uint32_t low = run_of(c, e, ROUTE_NVME), at[3], n = 0;

	at[n++] = low;
	if (low > here) {
		at[n++] = here;
		at[n++] = balance(c, engine, source, here, MIN(low, end));
	}
	for (uint32_t i = 0; i < n; i++) {
		struct mix m = { .use = MIN(here, at[i]),
				 .load = at[i],
				 .most_s = most_s };
		double hidden = MAX(positive(e->wait_s), load_s(c, e, at[i]));

		if (at[i] >= end)
			continue;
		pull_to(c, engine, source, &m, end, price);
		pull_to(c, engine, source, &m,
			until(c, engine, source, at[i], end, hidden), price);
	}
}

void route_pull(const struct route_case *c, uint32_t engine, uint32_t source,
		double most_s, struct route_price *price)
{
	const struct route_engine *s = &c->f->engine[source];
	uint32_t end = seat_of(c, s)->reach, there = run_of(c, s, ROUTE_NVME);

	if (source == engine)
		return;
	route_pull_end(c, engine, source, end, most_s, price);
	if (there < end)
		route_pull_end(c, engine, source, there, most_s, price);
}

static double least_at(const struct route_case *c, const struct route_engine *e,
		       uint32_t hit, double ready)
{
	double work = work_s(c, e, hit), ttft = ready + work;

	if (c->selfish)
		return ttft;
	return ttft + late_s(c, e, work, 0);
}

/* Were everything there for nothing. */
static double least_free(const struct route_case *c,
			 const struct route_engine *e)
{
	const struct route_seat *s = seat_of(c, e);

	return least_at(c, e, c->longest, MAX(s->wait_s, s->memory_s));
}

/* Were its link its own and the longest run one block away: what comes while
 * it would wait anyway, or all of it. */
static double least_pulled(const struct route_case *c,
			   const struct route_engine *e)
{
	const struct route_seat *s = seat_of(c, e);
	double wait = MAX(s->wait_s, s->memory_s), all, some, a, b;
	uint32_t more = c->longest - s->reach, hidden = more;

	if (!more || !(e->link > 0))
		return least_free(c, e);
	some = s->wait_s * e->link / c->r->block_bytes;
	if (some < more)
		hidden = (uint32_t)some + 1;
	all = c->r->block_bytes * more / e->link;
	a = least_at(c, e, s->reach + hidden, wait);
	b = least_at(c, e, c->longest, MAX(wait, all));
	return MIN(a, b);
}

/* In a circle from the first: of equal ones, the first from there on. */
void route_leasts(struct route_case *c, uint32_t first)
{
	uint32_t n = c->f->n, i = first;

	for (uint32_t k = 0; k < n; k++, i = i + 1 == n ? 0 : i + 1)
		c->least[k] = least_free(c, &c->f->engine[i]);
	c->sharp = 0;
	c->first = first;
}

/* Bounds are made sharper only where they are the least so far. */
uint32_t route_next(struct route_case *c, double best)
{
	for (;;) {
		uint32_t at = ROUTE_NONE, i;
		double least = best;

		for (uint32_t k = 0; k < c->f->n; k++) {
			at = c->least[k] < least ? k : at;
			least = MIN(c->least[k], least);
		}
		if (at == ROUTE_NONE)
			return ROUTE_NONE;
		i = c->first + at;
		i -= i >= c->f->n ? c->f->n : 0;
		if (c->sharp >> at & 1) {
			c->least[at] = INFINITY; /* looked at */
			return i;
		}
		c->sharp |= 1ull << at;
		c->least[at] = least_pulled(c, &c->f->engine[i]);
	}
}

/* ---- for callers ------------------------------------------------------------------ */

void route_price_local(const struct route_fleet *f, uint32_t engine,
		       const struct route_request *r,
		       struct route_price *ret_price)
{
	struct route_case c;

	route_case_init(&c, f, r, true);
	route_local(&c, engine, ret_price);
}

void route_price_pull(const struct route_fleet *f, uint32_t engine,
		      uint32_t source, const struct route_request *r,
		      struct route_price *ret_price)
{
	struct route_case c;

	route_case_init(&c, f, r, true);
	route_local(&c, engine, ret_price);
	route_pull(&c, engine, source, INFINITY, ret_price);
}

void route_answer(const struct route_case *c, uint32_t engine,
		  const struct route_price *price,
		  struct route_choice *ret_choice)
{
	const struct route_engine *e = &c->f->engine[engine], *s = NULL;
	uint32_t from = price->pull_from;
	bool here;

	if (from != ROUTE_NONE)
		s = &c->f->engine[from];
	here = e->coming_moves && price->pull_blocks > run_of(c, e, ROUTE_NVME);
	*ret_choice = (struct route_choice){
		.engine = engine,
		.move_first = s || price->load_blocks > price->use_blocks,
		.share = s ? price->pull_blocks > run_of(c, s, ROUTE_NVME)
			   : here,
		.keeps = seat_of(c, e)->reach == c->longest,
		.price = *price,
	};
}
