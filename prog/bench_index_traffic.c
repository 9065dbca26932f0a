/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_index_traffic.h"

#include <errno.h>
#include <stdlib.h>

#define MEAN_OWN   730u /* blocks of a session behind its prefix */
#define EVENT_MOST 256u
#define DECODED	   8u /* at most, of a turn */
#define TURN_MOST  220u
#define LOG_MARGIN (8 * TRAFFIC_LONGEST)

static uint64_t traffic_name(const struct traffic *w, uint32_t session,
			     uint32_t i)
{
	uint32_t prefix = w->session[session].prefix;

	if (i < w->prefix_len[prefix])
		return fleet_key((uint64_t)prefix << 32 | i, 1);
	return fleet_key((uint64_t)session << 32 | i, 2);
}

void traffic_prompt(const struct traffic *w, uint32_t session, uint64_t *keys,
		    uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		keys[i] = traffic_name(w, session, i);
}

/* ---- the log ------------------------------------------------------------------- */

static void log_event(struct traffic *w, struct fleet_event e, uint32_t session,
		      uint32_t from, uint32_t to)
{
	e.keys = w->key + w->n_keys;
	e.n = to - from;
	e.root = !from;
	if (e.kind == FLEET_STORE && from)
		e.parent = traffic_name(w, session, from - 1);
	for (uint32_t i = from; i < to; i++)
		w->key[w->n_keys++] = traffic_name(w, session, i);
	w->event[w->n_events++] = e;
}

/* The last few one by one, as they were decoded. */
static void log_store(struct traffic *w, uint32_t session, uint32_t engine,
		      uint8_t tier, uint32_t from, uint32_t to)
{
	struct fleet_event e = { .kind = FLEET_STORE,
				 .engine = engine,
				 .tier = tier };
	uint32_t decoded =
		MIN(to - from, (uint32_t)rng_below(&w->rng, DECODED));

	while (from < to - decoded) {
		uint32_t n = MIN(to - decoded - from, EVENT_MOST);

		log_event(w, e, session, from, from + n);
		from += n;
	}
	for (; from < to; from++)
		log_event(w, e, session, from, from + 1);
}

/* Leaf first; `mixed`: not quite. */
static void log_remove(struct traffic *w, uint32_t session, uint32_t engine,
		       uint8_t tier, uint32_t from, uint32_t to, bool mixed)
{
	struct fleet_event e = { .kind = FLEET_REMOVE,
				 .engine = engine,
				 .tier = tier };
	uint32_t key = w->n_keys, n = to - from, most;

	for (uint32_t i = to; i-- > from;)
		w->key[w->n_keys++] = traffic_name(w, session, i);
	for (uint32_t i = 0; mixed && i < n; i++) {
		uint32_t j = i + (uint32_t)rng_below(&w->rng, MIN(n - i, 8u));
		uint64_t k = w->key[key + i];

		w->key[key + i] = w->key[key + j];
		w->key[key + j] = k;
	}
	most = rng_below(&w->rng, 4) ? 1 : 16;
	for (uint32_t i = 0; i < n; i += most) {
		e.keys = w->key + key + i;
		e.n = MIN(n - i, most);
		w->event[w->n_events++] = e;
	}
}

/* ---- what sessions do ------------------------------------------------------------ */

static void grow(struct traffic *w, uint32_t s, uint32_t blocks)
{
	struct traffic_session *x = &w->session[s];
	uint32_t prefix = w->prefix_len[x->prefix];

	if (!x->len && w->on_engine[x->prefix] >> x->home & 1) {
		x->len = prefix;
	} else if (!x->len) {
		log_store(w, s, x->home, 0, 0, prefix);
		w->on_engine[x->prefix] |= 1ull << x->home;
		x->len = prefix;
	}
	log_store(w, s, x->home, 0, x->len, x->len + blocks);
	if (x->offloads && x->dram_to == x->len) {
		log_store(w, s, x->home, 1, x->len, x->len + blocks);
		x->dram_to += blocks;
	}
	x->len += blocks;
}

/* A tail goes, but never a prefix that others share. */
static uint32_t shrink(struct traffic *w, uint32_t s, uint32_t blocks)
{
	struct traffic_session *x = &w->session[s];
	uint32_t prefix = w->prefix_len[x->prefix], n;

	if (x->len <= prefix)
		return 0;
	n = MIN(blocks, x->len - prefix);
	log_remove(w, s, x->home, 0, x->len - n, x->len,
		   rng_below(&w->rng, 8) == 0);
	x->len -= n;
	return n;
}

/* The second tier loses its oldest blocks, which are those near the root. */
static void age(struct traffic *w, uint32_t s)
{
	struct traffic_session *x = &w->session[s];
	uint32_t n = MIN(x->dram_to - x->dram_from, TURN_MOST);

	if (!n)
		return;
	log_remove(w, s, x->home, 1, x->dram_from, x->dram_from + n, false);
	x->dram_from += n;
	if (x->dram_from == x->dram_to)
		x->dram_from = x->dram_to = w->prefix_len[x->prefix];
}

/* Another engine took the session over, or forgets it again (but for the prefix,
 * which others may share there). */
static void visit(struct traffic *w, uint32_t s)
{
	struct traffic_session *x = &w->session[s];
	uint32_t prefix = w->prefix_len[x->prefix], from = prefix;

	if (x->copied) {
		log_remove(w, s, x->second, 0, prefix, x->copied, false);
		x->copied = 0;
	} else if (x->len > prefix) {
		x->copied =
			x->len - (uint32_t)rng_below(&w->rng, x->len - prefix);
		if (!(w->on_engine[x->prefix] >> x->second & 1))
			from = 0;
		w->on_engine[x->prefix] |= 1ull << x->second;
		log_store(w, s, x->second, 0, from, x->copied);
	}
}

static uint32_t turn(struct traffic *w)
{
	return 1 + (uint32_t)rng_below(&w->rng, TURN_MOST);
}

bool traffic_fill(struct traffic *w)
{
	bool any = false;

	w->n_events = w->n_keys = 0;
	for (uint32_t s = 0; s < w->n && w->n_keys < w->cap / 2; s++) {
		uint32_t i = (uint32_t)rng_below(&w->rng, w->n);
		struct traffic_session *x = &w->session[i];

		/* whoever is drawn, or the next that is not full */
		while (s < w->n && x->len >= x->target) {
			i = i + 1 == w->n ? 0 : i + 1;
			x = &w->session[i];
			s++;
		}
		if (x->len >= x->target)
			break;
		grow(w, i, MIN(turn(w), x->target - x->len));
		if (x->second != x->home && x->len >= x->target)
			visit(w, i);
		any = true;
	}
	return any;
}

void traffic_steady(struct traffic *w, uint32_t ops)
{
	w->n_events = w->n_keys = 0;
	ops = MIN(ops, w->cap - LOG_MARGIN);
	while (w->n_keys < ops) {
		uint32_t s = (uint32_t)rng_below(&w->rng, w->n);
		uint32_t blocks = turn(w), left = blocks;

		if (w->session[s].len + blocks > TRAFFIC_LONGEST)
			continue;
		grow(w, s, blocks);
		for (unsigned i = 0; left && i < 16; i++) {
			uint32_t victim =
				s % TRAFFIC_ENGINES +
				TRAFFIC_ENGINES *
					(uint32_t)rng_below(
						&w->rng,
						w->n / TRAFFIC_ENGINES);

			left -= victim == s ? 0 : shrink(w, victim, left);
		}
		if (w->session[s].offloads && rng_below(&w->rng, 4) == 0)
			age(w, s);
		if (w->session[s].second != w->session[s].home &&
		    rng_below(&w->rng, 16) == 0)
			visit(w, s);
	}
}

/* ---- life --------------------------------------------------------------------------- */

static void traffic_begin(struct traffic *w)
{
	for (uint32_t p = 0; p < TRAFFIC_PREFIXES; p++)
		w->prefix_len[p] = 50 + (uint32_t)rng_below(&w->rng, 250);
	for (uint32_t s = 0; s < w->n; s++) {
		struct traffic_session *x = &w->session[s];

		x->prefix = (uint16_t)rng_below(&w->rng, TRAFFIC_PREFIXES);
		x->home = (uint16_t)(s % TRAFFIC_ENGINES);
		x->second = x->home;
		if (rng_below(&w->rng, 5) == 0)
			x->second =
				(uint16_t)rng_below(&w->rng, TRAFFIC_ENGINES);
		x->offloads = rng_below(&w->rng, 8) == 0;
		x->dram_from = x->dram_to = w->prefix_len[x->prefix];
		x->target = w->prefix_len[x->prefix] + 100 +
			    (uint32_t)rng_below(&w->rng, 2 * (MEAN_OWN - 100));
		x->target = MIN(x->target, TRAFFIC_LONGEST);
	}
}

int traffic_create(struct traffic *w, uint64_t blocks, uint32_t cap)
{
	*w = (struct traffic){ .rng = { 12 }, .cap = MAX(cap, 4 * LOG_MARGIN) };
	w->n = (uint32_t)(blocks / MEAN_OWN / TRAFFIC_ENGINES + 1) *
	       TRAFFIC_ENGINES;
	w->session = calloc(w->n, sizeof(*w->session));
	w->event = calloc(w->cap, sizeof(*w->event));
	w->key = calloc(w->cap, sizeof(*w->key));
	if (!w->session || !w->event || !w->key) {
		traffic_destroy(w);
		return -ENOMEM;
	}
	traffic_begin(w);
	return 0;
}

void traffic_destroy(struct traffic *w)
{
	free(w->session);
	free(w->event);
	free(w->key);
	*w = (struct traffic){ 0 };
}
