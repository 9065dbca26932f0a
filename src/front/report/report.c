/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/report.h"
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "front/report/json.h"
#include "store/shard.h"

void report_init(struct report *r, struct store *store, const struct loop *loop,
		 const char *version)
{
	*r = (struct report){
		.store = store,
		.loop = loop,
		.version = version,
		.start_ns = clock_ns(),
		.start_unix_ms = clock_realtime_ms(),
	};
}

int report_door_add(struct report *r, const struct door *d)
{
	if (r->n_doors == DOORS_MAX)
		return -ENOSPC;
	r->door[r->n_doors++] = d;
	return 0;
}

void report_door_remove(struct report *r, const struct door *d)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < r->n_doors; i++)
		if (r->door[i] != d)
			r->door[kept++] = r->door[i];
	r->n_doors = kept;
}

void report_tenant(const struct pool *p, char ret_name[LAYOUT_NAME + 1])
{
	shared_load_bytes(ret_name, LAYOUT_NAME, p->m->header.tenant);
	ret_name[LAYOUT_NAME] = '\0';
}

void json_shared(json_t *o, const char *name, const shared_u64 *words)
{
	char text[LAYOUT_NAME + 1] = "";

	shared_load_bytes(text, LAYOUT_NAME, words);
	json_object_set_new(o, name, json_string(text));
}

struct report_slots report_slots(const struct store_client *c)
{
	const struct client_header *h;

	if (c->closed)
		return (struct report_slots){ 0 };
	h = &c->segment->header;
	/* the client's own word: not trusted further than its slots go */
	return (struct report_slots){
		.pins = c->segment->slots,
		.overflow = c->segment->slots + c->n_pins,
		.n_pins = MIN(shared_load64(&h->pin_high), (uint64_t)c->n_pins),
		.n_overflow = MIN(shared_load64(&h->overflow_high),
				  (uint64_t)c->n_overflow),
	};
}

static void add_live(void *ctx, struct store_client *c)
{
	uint64_t *counts = ctx;

	for (unsigned i = 0; !c->closed && i < CLIENT_COUNTS; i++)
		counts[client_counter_pool[i]] +=
			shared_load64(&c->segment->header.counter[i]);
}

void report_counters(const struct report *r, struct pool *p, uint64_t *counts)
{
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++)
		counts[i] = pool_counter(p, (enum pool_counter)i);
	store_each_client(r->store, p, add_live, counts);
}

uint64_t report_starts(const struct report *r)
{
	uint64_t starts = 0;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (p)
			starts = MAX(starts,
				     shared_load64(&p->m->header.server_epoch));
	}
	return starts;
}

/* ---- health ------------------------------------------------------------------ */

static struct health_counts health_counts(const struct report *r)
{
	struct health_counts c = { 0 };
	struct store_region_stat region;
	struct store_load load;

	store_load(r->store, &load);
	store_region_stat(r->store, &region);
	c.region_errors = region.failed.times;
	c.slabs_refused = load.slabs_refused;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (!p)
			continue;
		c.grants_refused += pool_counter(p, POOL_C_refused);
		c.wrong_parts += pool_counter(p, POOL_C_bad);
		c.memory_errors += pool_counter(p, POOL_C_memory_errors);
	}
	return c;
}

uint64_t report_tick(struct report *r, uint64_t now_ns)
{
	if (now_ns >= health_due(&r->trend)) {
		const struct health_counts c = health_counts(r);

		health_sample(&r->trend, now_ns, &c);
	}
	return health_due(&r->trend);
}

static bool serving(const struct report *r)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (p && shared_load64(&p->m->header.state) != POOL_SERVING)
			return false;
	}
	return true;
}

/* Of all pools. */
static uint64_t all_of(const struct report *r, enum pool_counter counter)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < STORE_POOLS_MAX; i++) {
		const struct pool *p = store_pool(r->store, i);

		n += p ? pool_counter(p, counter) : 0;
	}
	return n;
}

/* Milliseconds since the oldest pool began. */
static uint64_t pools_age_ms(const struct report *r, uint64_t now_ns)
{
	uint64_t now_ms = r->start_unix_ms +
			  (now_ns - MIN(r->start_ns, now_ns)) / NS_PER_MS;
	uint64_t born = now_ms;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (p)
			born = MIN(born, shared_load64(&p->m->header.born_ms));
	}
	return now_ms - born;
}

static void below_facts(const struct report *r, struct health_facts *f)
{
	const struct tier_stat *st = store_below_stat(r->store);

	if (!st) {
		f->below_state = r->below_missing ? "not there" : NULL;
		f->below_why = r->below_missing;
		return;
	}
	if (st->state != TIER_UP)
		f->below_state = tier_state_name(st->state);
	f->below_why = st->why;
	f->below_bad = st->bad;
	f->below_errors = st->errors;
	if (!st->direct && st->state != TIER_COMING)
		f->below_note = "goes through the page cache: O_DIRECT is "
				"refused there";
	if (st->state == TIER_UP && st->why[0])
		f->below_short = st->why;
}

static void count_outside(void *ctx, struct store_client *c)
{
	struct health_facts *f = ctx;

	f->region_outside += !c->closed &&
			     shared_load64(&c->segment->header.cxl) >> 32 ==
				     CLIENT_CXL_FULL;
}

const char *report_region_why(const struct report *r,
			      const struct store_region_stat *st)
{
	if (r->region_missing)
		return r->region_missing;
	switch (st->state) {
	case STORE_REGION_IN:
		return r->region_moved;
	case STORE_REGION_FENCED:
		return "it goes on without, until it is started again";
	case STORE_REGION_ANEW:
		return "what it had there is lost, and it goes on without, "
		       "until it is started again";
	case STORE_REGION_FAILED:
		return "its memory failed";
	default:
		return NULL;
	}
}

/* NULL: it is a member, or none was asked for. */
static const char *region_trouble(const struct report *r,
				  const struct store_region_stat *st)
{
	if (r->region_missing)
		return "not a member";
	switch (st->state) {
	case STORE_REGION_IN:
		return r->region_moved ? "in a region that others do not find"
				       : NULL;
	case STORE_REGION_FENCED:
		return "declared dead";
	case STORE_REGION_ANEW:
		return "out of it, which was made anew";
	case STORE_REGION_FAILED:
		return "out of it";
	default:
		return NULL;
	}
}

static void region_facts(const struct report *r, struct health_facts *f)
{
	struct store_region_stat st;

	store_region_stat(r->store, &st);
	f->region_state = region_trouble(r, &st);
	f->region_why = report_region_why(r, &st);
	if (st.state != STORE_REGION_IN)
		return;
	f->region_late = st.late;
	f->region_quarantined = st.quarantined;
	f->region_held = st.held;
	f->region_out = st.failed.shards;
	f->region_shards = st.geometry.shards;
	f->region_nobodys = st.nobodys;
	f->region_parts = all_of(r, POOL_C_region_published);
	f->region_bytes = all_of(r, POOL_C_region_published_bytes);
	f->region_frame = st.geometry.frame_bytes;
	f->region_idle = st.wanted && !st.owned && !st.failed.shards;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (store_pool(r->store, n))
			store_each_client(r->store, store_pool(r->store, n),
					  count_outside, f);
}

/* The pool whose sessions lost most. */
static void returns_facts(const struct report *r, struct health_facts *f)
{
	struct policy_load load;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (!p || !store_pool_load(r->store, p, &load) ||
		    load.recent_lost < f->lost)
			continue;
		f->lost = load.recent_lost;
		f->returned = load.recent_returned;
		f->sessions_fit = load.fit;
	}
}

void report_health(const struct report *r, uint64_t now_ns,
		   struct health *ret_health)
{
	const struct health_counts now = health_counts(r);
	struct health_facts f = {
		.serving = serving(r),
		.starts = report_starts(r),
		.up_s = (now_ns - MIN(r->start_ns, now_ns)) / NS_PER_S,
		.age_s = pools_age_ms(r, now_ns) / 1000,
		.ever = now,
		.failure = r->failure,
		.n_failures = r->n_failures,
		.uring_refused = r->loop && !r->loop_wanted_epoll &&
				 !strcmp(loop_backend_name(r->loop), "epoll"),
		.quarantined = all_of(r, POOL_C_quarantined),
		.silent_bytes = all_of(r, POOL_C_revoke_held_bytes),
	};
	struct store_load load;

	below_facts(r, &f);
	store_load(r->store, &load);
	f.low_missing = r->low_missing;
	f.low_aside = load.low_aside;
	region_facts(r, &f);
	returns_facts(r, &f);
	f.lately = health_lately(&r->trend, now_ns, &now);
	health_judge(&f, ret_health);
}

/* ---- check ------------------------------------------------------------------ */

static void add_problem(void *ctx, const char *text)
{
	json_array_append_new(ctx, json_string(text));
}

json_t *report_check(const struct report *r, struct pool *pool)
{
	json_t *root = json_object(), *o = json_object();
	json_t *problems = json_array();
	struct pool_checked seen;

	store_check(r->store, pool, add_problem, problems, &seen);
	json_num(o, "slabs", seen.slabs);
	json_num(o, "frames", seen.frames);
	json_num(o, "sealed", seen.sealed);
	json_num(o, "granted", seen.granted);
	json_num(o, "free", seen.free);
	json_num(o, "leaving", seen.doomed);
	json_num(o, "quarantined", seen.quarantined);
	json_num(o, "index_entries", seen.index_entries);
	json_object_set_new(root, "checked", o);
	json_object_set_new(root, "problems", problems);
	return root;
}
