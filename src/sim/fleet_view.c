/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the router believes. Engines report in order, each report between
 * late_least and late_most seconds late (those of one moment together). Rates
 * are believed wrong by up to rate_error, each engine's for the whole run; what
 * the router sends it knows at once.
 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <stdlib.h>

#define MEAN_KEEP 0.99 /* of decaying means, at each request */

static double unit(struct rng *r) /* 0 <= u < 1 */
{
	return (double)(rng_next(r) >> 11) / 9007199254740992.0;
}

static double wrong(struct fleet *f, double v)
{
	return v * (1 + f->o->rate_error * (2 * unit(&f->view.rng) - 1));
}

int fleet_view_init(struct fleet *f)
{
	f->view.rng.state = f->o->seed ^ 0x76696577;
	for (uint32_t i = 0; i < f->o->engines; i++) {
		struct fleet_belief *b = &f->view.engine[i];

		route_book_init(&b->book);
		b->token_s = wrong(f, f->o->token_s);
		b->step_s = wrong(f, f->o->step_s);
		b->running_s = wrong(f, f->o->running_s);
		b->link = wrong(f, f->o->link);
		b->load = wrong(f, 1);
		b->held_first = b->hold = b->ask = FLEET_NONE;
		b->waiting = (struct fleet_list){ FLEET_NONE, FLEET_NONE, 0 };
	}
	return 0;
}

void fleet_view_fini(struct fleet *f)
{
	for (uint32_t i = 0; i < ROUTE_ENGINES_MAX; i++)
		free(f->view.engine[i].mail.ring);
	free(f->view.transfer);
}

/* ---- reports --------------------------------------------------------------------- */

static int mail_grow(struct fleet_mail *m)
{
	uint32_t room = m->room ? 2 * m->room : 256;
	struct fleet_report *ring = mem_array(room, sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->n; i++)
		ring[i] = m->ring[(m->first + i) & (m->room - 1)];
	free(m->ring);
	m->ring = ring;
	m->room = room;
	m->first = 0;
	return 0;
}

static double due_of(struct fleet *f, struct fleet_mail *m, uint32_t engine)
{
	const struct fleet_report *last;
	double due;

	if (m->n) {
		last = &m->ring[(m->first + m->n - 1) & (m->room - 1)];
		if (last->at >= f->now)
			return last->due;
	}
	due = f->now + f->o->late_least +
	      (f->o->late_most - f->o->late_least) * unit(&f->view.rng);
	if (engine + f->o->laggards >= f->o->engines)
		due += f->o->lag_s;
	m->last_due = MAX(m->last_due, due);
	return m->last_due;
}

void fleet_view_tell(struct fleet *f, uint32_t engine, enum fleet_news news,
		     uint32_t tier, uint32_t what)
{
	const struct fleet_engine *e = &f->engine[engine];
	const struct fleet_cache *c = &e->cache[ROUTE_VRAM];
	struct fleet_mail *m = &f->view.engine[engine].mail;
	double used = (double)c->pinned + (double)e->reserved;
	int r = 0;

	if (!fleet_reported(f, engine, news))
		return;
	if (m->n == m->room)
		r = mail_grow(m);
	fleet_fail(f, r);
	if (r)
		return;
	m->ring[(m->first + m->n) & (m->room - 1)] = (struct fleet_report){
		.at = f->now,
		.due = due_of(f, m, engine),
		.what = what,
		.usage = (float)(used / MAX(c->capacity, 1)),
		.news = (uint8_t)news,
		.tier = (uint8_t)tier,
	};
	m->n++;
}

/* ---- reading them ----------------------------------------------------------------- */

static void unlink_waiting(struct fleet *f, struct fleet_list *l,
			   const struct fleet_request *r)
{
	if (r->view_prev != FLEET_NONE)
		f->request[r->view_prev].view_next = r->view_next;
	else
		l->first = r->view_next;
	if (r->view_next != FLEET_NONE)
		f->request[r->view_next].view_prev = r->view_prev;
	else
		l->last = r->view_prev;
	l->n--;
}

static void append_waiting(struct fleet *f, struct fleet_list *l,
			   uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	r->view_prev = l->last;
	r->view_next = FLEET_NONE;
	if (l->n++)
		f->request[l->last].view_next = request;
	else
		l->first = request;
	l->last = request;
}

/* Blocks that another one that waits there will have are expected on. */
static void expects_no_more(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	uint32_t kept = 0, i = f->view.engine[r->engine].waiting.first;

	for (; i != FLEET_NONE; i = f->request[i].view_next) {
		const struct fleet_request *o = &f->request[i];
		uint32_t most = MIN(r->blocks, o->blocks);

		while (i != request && kept < most &&
		       r->path[kept] == o->path[kept])
			kept++;
	}
	for (i = kept; i < r->blocks; i++)
		f->node[r->path[i]].sent &= ~(1ull << r->engine);
}

static void waits_no_more(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	unlink_waiting(f, &f->view.engine[r->engine].waiting, r);
	expects_no_more(f, request);
}

/* What its prefill should have taken, by the rates believed. */
static double expected_s(const struct fleet *f, const struct fleet_belief *b,
			 const struct fleet_request *r)
{
	const struct route_engine e = { .token_s = b->token_s,
					.depth = f->o->depth_tokens };
	double tokens = (double)r->in - (double)r->cached;
	double steps = MAX(1, tokens / f->o->chunk);

	return route_prefill_s(&e, (double)r->cached, (double)r->in) +
	       steps * (b->step_s + b->running_s * b->book.running);
}

/* cached_tokens, against what was taken to be there. */
static void judge(struct fleet *f, const struct fleet_request *r, double at)
{
	double block = f->o->block_tokens, cached = (double)r->cached;
	const struct route_price *p = &r->price;
	struct fleet_belief *b = &f->view.engine[r->engine];

	/* the last token is computed in any case */
	if (r->cached + 1 >= r->in)
		cached = block * r->blocks;
	if (p->pull_from == ROUTE_NONE) {
		route_book_cached(&b->book, at, block * p->use_blocks, cached);
		return;
	}
	b = &f->view.engine[p->pull_from];
	route_book_cached(&b->book, at,
			  block * (p->pull_blocks - p->load_blocks),
			  cached - block * p->load_blocks);
}

static void read_first(struct fleet *f, const struct fleet_report *n)
{
	struct fleet_request *r = &f->request[n->what];
	struct fleet_belief *b = &f->view.engine[r->engine];

	if (r->ticket.state != ROUTE_TICKET_WAITING)
		return;
	f->view.lates = MIN(f->view.lates + 1, 32);
	f->view.late_s += (f->now - n->at - f->view.late_s) / f->view.lates;
	route_book_first(&b->book, &r->ticket, f->now, n->at,
			 expected_s(f, b, r));
	route_book_stored(
		&b->book, r->blocks - r->hits,
		route_prefill_s(
			&(struct route_engine){ .token_s = b->token_s,
						.depth = f->o->depth_tokens },
			0, (double)r->cached));
	judge(f, r, f->now);
	waits_no_more(f, n->what);
}

/* Blocks that another in flight there holds as well stay held. */
static void held_no_more(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request], *heir = NULL;
	struct fleet_belief *b = &f->view.engine[r->engine];
	uint32_t kept = 0;

	if (r->held_prev != FLEET_NONE)
		f->request[r->held_prev].held_next = r->held_next;
	else
		b->held_first = r->held_next;
	if (r->held_next != FLEET_NONE)
		f->request[r->held_next].held_prev = r->held_prev;
	for (uint32_t i = b->held_first; i != FLEET_NONE;
	     i = f->request[i].held_next) {
		struct fleet_request *o = &f->request[i];
		uint32_t most = MIN(r->blocks, o->blocks), end = 0;

		if (most > kept && r->path[kept] == o->path[kept])
			end = kept;
		else
			continue;
		while (end < most && r->path[end] == o->path[end])
			end++;
		kept = end;
		heir = o;
	}
	if (heir && kept > r->held_from) {
		route_ticket_inherit(&r->ticket, &heir->ticket,
				     kept - r->held_from);
		heir->held_from = MIN(heir->held_from, r->held_from);
	}
	for (uint32_t i = kept; i < r->blocks; i++)
		f->node[r->path[i]].held &= ~(1ull << r->engine);
}

static void read_over(struct fleet *f, const struct fleet_report *n)
{
	struct fleet_request *r = &f->request[n->what];
	struct fleet_belief *b = &f->view.engine[r->engine];

	if (r->ticket.state == ROUTE_TICKET_WAITING)
		waits_no_more(f, n->what);
	held_no_more(f, n->what);
	route_book_over(&b->book, &r->ticket, n->at);
	fleet_request_free(f, n->what);
}

void fleet_view_over(struct fleet *f, uint32_t request)
{
	read_over(f, &(struct fleet_report){ .at = f->now, .what = request });
}

static bool anywhere(const struct fleet_node *n, uint64_t bit)
{
	uint64_t at = 0;

	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		at |= n->seen[t];
	return at & bit;
}

static void read_one(struct fleet *f, uint32_t engine,
		     const struct fleet_report *n)
{
	uint64_t bit = 1ull << engine;

	f->view.engine[engine].usage = (double)n->usage;
	switch (n->news) {
	case FLEET_STORED:
		f->node[n->what].seen[n->tier] |= bit;
		break;
	case FLEET_REMOVED:
		f->node[n->what].seen[n->tier] &= ~bit;
		if (!anywhere(&f->node[n->what], bit))
			route_book_lost(&f->view.engine[engine].book, 1);
		break;
	case FLEET_FIRST:
		read_first(f, n);
		break;
	default:
		read_over(f, n);
	}
}

static void read_mail(struct fleet *f, uint32_t engine, bool all)
{
	struct fleet_mail *m = &f->view.engine[engine].mail;

	while (m->n) {
		struct fleet_report n = m->ring[m->first];

		if (!all && n.due > f->now)
			return;
		m->first = (m->first + 1) & (m->room - 1);
		m->n--;
		f->view.heard++;
		read_one(f, engine, &n);
	}
}

void fleet_view_read(struct fleet *f)
{
	for (uint32_t i = 0; i < f->o->engines; i++)
		read_mail(f, i, false);
}

void fleet_view_drain(struct fleet *f)
{
	for (uint32_t i = 0; i < f->o->engines; i++)
		read_mail(f, i, true);
}

/* ---- what the router does itself -------------------------------------------------- */

static void transfer_add(struct fleet *f, uint32_t from, uint32_t to,
			 double until)
{
	struct fleet_view *v = &f->view;

	if (v->transfers == v->transfers_room) {
		uint32_t room = v->transfers_room ? 2 * v->transfers_room : 64;
		void *p = mem_grow(v->transfer, room, sizeof(*v->transfer));

		if (!p) {
			fleet_fail(f, -ENOMEM);
			return;
		}
		v->transfer = p;
		v->transfers_room = room;
	}
	v->transfer[v->transfers++] =
		(struct fleet_transfer){ from, to, until };
}

/* Counts it with its engine: blocks that will be there, blocks held. */
static void count(struct fleet *f, uint32_t request,
		  const struct route_request *q, bool again)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_belief *b = &f->view.engine[r->engine];
	double held = 0;

	r->held_from = r->blocks;
	for (uint32_t i = 0; i < r->blocks; i++) {
		struct fleet_node *n = &f->node[r->path[i]];

		if (!(n->held >> r->engine & 1))
			r->held_from = MIN(r->held_from, i);

		held += !(n->held >> r->engine & 1);
		n->sent |= 1ull << r->engine;
		n->held |= 1ull << r->engine;
	}
	if (again)
		route_book_again(&b->book, &r->ticket, r->decided, q, &r->price,
				 held);
	else
		route_book_sent(&b->book, &r->ticket, r->decided, q, &r->price,
				held);
	r->held_prev = FLEET_NONE;
	r->held_next = b->held_first;
	if (b->held_first != FLEET_NONE)
		f->request[b->held_first].held_prev = request;
	b->held_first = request;
}

void fleet_view_queued(struct fleet *f, uint32_t request,
		       const struct route_request *q)
{
	const struct fleet_request *r = &f->request[request];

	count(f, request, q, false);
	append_waiting(f, &f->view.engine[r->engine].waiting, request);
	f->view.work_s = f->view.work_s * MEAN_KEEP + r->price.work_s;
}

void fleet_view_begun(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	const struct route_price *p = &r->price;

	r->order = f->view.sent++;
	r->sent = f->now;
	if (p->pull_from == ROUTE_NONE)
		return;
	transfer_add(f, p->pull_from, r->engine, f->now + p->moved_s);
	route_book_served(&f->view.engine[p->pull_from].book, f->now,
			  (p->pull_blocks - p->load_blocks) *
				  f->o->block_bytes);
}

void fleet_view_lift(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	held_no_more(f, request);
	route_book_over(&f->view.engine[r->engine].book, &r->ticket, f->now);
	expects_no_more(f, request);
}

void fleet_view_put(struct fleet *f, uint32_t request,
		    const struct route_request *q)
{
	count(f, request, q, true);
}

void fleet_view_moved(struct fleet *f, uint32_t request, uint32_t from)
{
	const struct fleet_request *r = &f->request[request];

	unlink_waiting(f, &f->view.engine[from].waiting, r);
	append_waiting(f, &f->view.engine[r->engine].waiting, request);
}

/* ---- filling a decision's input ------------------------------------------------------ */

/* The engines in `bits` have their run end at `depth`. */
static void runs_end(struct route_engine *engine, uint64_t bits, uint32_t depth,
		     uint32_t tier)
{
	for (; bits; bits &= bits - 1) {
		struct route_engine *e = &engine[__builtin_ctzll(bits)];

		if (tier < ROUTE_TIERS)
			e->run[tier] = depth;
		else if (tier == ROUTE_TIERS)
			e->coming = depth;
		else
			e->held_run = depth;
	}
}

static void fill_runs(struct fleet *f, uint32_t blocks,
		      struct route_engine *engine)
{
	uint64_t all = f->o->engines < 64 ? (1ull << f->o->engines) - 1
					  : UINT64_MAX;
	uint64_t run[ROUTE_TIERS + 1], held = all;
	uint32_t i;

	for (uint32_t t = 0; t <= ROUTE_TIERS; t++)
		run[t] = all;
	for (i = 0; i < blocks && (run[ROUTE_TIERS] | held); i++) {
		const struct fleet_node *n = &f->node[f->path[i]];
		uint64_t has = 0;

		for (uint32_t t = 0; t <= ROUTE_TIERS; t++) {
			has |= t < ROUTE_TIERS ? n->seen[t] : n->sent;
			runs_end(engine, run[t] & ~has, i, t);
			run[t] &= has;
		}
		runs_end(engine, held & ~n->held, i, ROUTE_TIERS + 1);
		held &= n->held;
	}
	for (uint32_t t = 0; t <= ROUTE_TIERS; t++)
		runs_end(engine, run[t], i, t);
	runs_end(engine, held, i, ROUTE_TIERS + 1);
}

/* When the blocks that were sent for will be there, and how they come. */
static double coming_s(const struct fleet *f, uint32_t engine, uint32_t coming,
		       bool *ret_moves)
{
	const struct fleet_belief *b = &f->view.engine[engine];
	double first = -1, late, step, eta;
	struct route_line line;

	/* a sibling's last step is shared with who comes after it */
	step = f->o->chunk * b->token_s *
	       (1 + coming * (double)f->o->block_tokens / f->o->depth_tokens);

	route_line_begin(&line, &b->book, f->now);
	for (uint32_t i = b->waiting.first; i != FLEET_NONE;
	     i = f->request[i].view_next) {
		const struct fleet_request *r = &f->request[i];
		const struct route_price *p = &r->price;
		bool moves = p->pull_from != ROUTE_NONE &&
			     p->pull_blocks >= coming;

		if (r->ticket.state != ROUTE_TICKET_WAITING)
			continue; /* it is decided anew */
		route_line_add(&line, &r->ticket);
		if (r->blocks < coming ||
		    r->path[coming - 1] != f->path[coming - 1])
			continue;
		eta = f->now + MAX(line.at, 0) + step;
		if (moves && r->state != FLEET_HELD)
			eta = r->sent + p->ready_s;
		if (first < 0 || eta < first) {
			first = eta;
			*ret_moves = moves;
		}
	}
	if (first >= f->now)
		return MAX(first - f->now, route_book_stall(&b->book, f->now));
	/* there, and not reported yet; overdue beyond that: as long again */
	late = f->now - first - 2 * route_book_late(&b->book);
	return MAX(MAX(0, late), route_book_stall(&b->book, f->now));
}

static void fill_transfers(struct fleet *f, struct route_engine *engine)
{
	struct fleet_view *v = &f->view;
	uint32_t to = 0;

	for (uint32_t i = 0; i < v->transfers; i++) {
		struct fleet_transfer t = v->transfer[i];

		if (t.until <= f->now)
			continue;
		engine[t.from].flows_out++;
		engine[t.to].flows_in++;
		v->transfer[to++] = t;
	}
	v->transfers = to;
}

static void fill_moving(struct fleet *f, const struct fleet_belief *b,
			struct route_engine *e)
{
	struct route_gap g;
	bool more = route_gap_begin(&g, &b->book, f->now,
				    2 * f->o->chunk * b->token_s);

	for (uint32_t i = b->waiting.first; more && i != FLEET_NONE;
	     i = f->request[i].view_next)
		more = route_gap_add(&g, &f->request[i].ticket);
	e->moving = g.moving;
	e->moving_s = g.moving_s;
}

static void fill_engine(struct fleet *f, uint32_t i, struct route_engine *e)
{
	struct fleet_belief *b = &f->view.engine[i];

	route_book_usual_late(&b->book, f->view.late_s);
	if (b->waiting.n)
		route_book_head(&b->book, &f->request[b->waiting.first].ticket);
	*e = (struct route_engine){
		.token_s = b->token_s,
		.depth = f->o->depth_tokens,
		.step_s = b->step_s,
		.running_s = b->running_s,
		.chunk = f->o->chunk,
		.link = b->link,
		.latency_s = f->o->latency_s,
		.kv_usage = b->usage,
		.memory = (double)f->o->blocks[ROUTE_VRAM],
	};
	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++) {
		e->load_s[t] = f->o->block_bytes / f->o->rate[t] * b->load;
		e->load_wait_s[t] = f->o->wait_s[t];
	}
	route_book_fill(&b->book, f->now, e);
	fill_moving(f, b, e);
}

void fleet_view_arrival(struct fleet *f)
{
	struct fleet_view *v = &f->view;

	v->gap_s = v->gap_s * MEAN_KEEP + f->now - v->last_arrival;
	v->seen = v->seen * MEAN_KEEP + 1;
	v->last_arrival = f->now;
}

void fleet_view_fill(struct fleet *f, const struct route_request *r,
		     struct route_engine *engine, struct route_fleet *fleet)
{
	struct fleet_view *v = &f->view;
	struct route_book *book[ROUTE_ENGINES_MAX];

	for (uint32_t i = 0; i < f->o->engines; i++)
		book[i] = &v->engine[i].book;
	route_book_usual(book, f->o->engines);
	for (uint32_t i = 0; i < f->o->engines; i++)
		fill_engine(f, i, &engine[i]);
	route_book_pool((const struct route_book *const *)book, engine,
			f->o->engines);
	fill_runs(f, r->blocks, engine);
	for (uint32_t i = 0; i < f->o->engines; i++)
		if (engine[i].coming > engine[i].run[ROUTE_NVME])
			engine[i].coming_s = coming_s(f, i, engine[i].coming,
						      &engine[i].coming_moves);
	fill_transfers(f, engine);
	*fleet = (struct route_fleet){
		.engine = engine,
		.n = f->o->engines,
		.objective_s = f->o->objective_s,
	};
	if (v->gap_s > 0) {
		fleet->arrivals = v->seen / (v->gap_s * f->o->engines);
		fleet->busy = v->work_s / (v->gap_s * f->o->engines);
		for (uint32_t i = 0; i < f->o->engines; i++)
			engine[i].returns =
				v->seen / v->gap_s *
				route_book_returns(book[i], r->serial);
	}
}
