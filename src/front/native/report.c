/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node says of itself: JSON for `onecopy stat`, `where` and `check`,
 * fetched through the client's blob in pieces. A client sees its own tenant.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "coherence/pin.h"
#include "front/native/session.h"
#include "tier/tier.h"
#include <onecopy/onecopy.h>

#define WHERE_MAX    64 /* parts of one answer */
#define QUESTION_MAX 256

static json_t *num(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *shared_text(const shared_u64 *words)
{
	char text[LAYOUT_NAME + 1] = "";

	shared_load_bytes(text, LAYOUT_NAME, words);
	return json_string(text);
}

static bool runs_node(const struct session *s)
{
	uint32_t uid = (uint32_t)shared_load64(&s->client->record->pid_uid);

	return uid == 0 || uid == geteuid();
}

/* ---- stat ------------------------------------------------------------------ */

static json_t *stat_node(const struct session *s)
{
	const struct pool *p = s->client->pool;
	const struct pool_header *h = &p->m->header;
	json_t *o = json_object();

	json_object_set_new(o, "tenant", shared_text(h->tenant));
	json_object_set_new(o, "server_pid",
			    num(shared_load64(&h->server_pid)));
	json_object_set_new(o, "server_epoch",
			    num(shared_load64(&h->server_epoch)));
	json_object_set_new(o, "limit_bytes",
			    num(shared_load64(&h->limit_bytes)));
	json_object_set_new(o, "max_frame", num(shared_load64(&h->max_frame)));
	json_object_set_new(o, "born_ms", num(shared_load64(&h->born_ms)));
	json_object_set_new(o, "used_bytes", num(p->budget->used));
	json_object_set_new(
		o, "loop",
		json_string(loop_backend_name(s->native->options.loop)));
	return o;
}

static json_t *stat_tiers(const struct session *s)
{
	const struct pool *p = s->client->pool;
	json_t *list = json_array();

	for (unsigned i = 0; i < LAYOUT_TIERS; i++) {
		const struct tier_record *t = &p->m->tier[i];
		const struct tier_ops *ops =
			tier_find((unsigned)shared_load64(&t->kind));
		json_t *o;

		if (!ops)
			continue;
		o = json_object();
		json_object_set_new(o, "tier", json_string(ops->name));
		json_object_set_new(o, "latency_ns",
				    num(shared_load64(&t->latency_ns)));
		json_object_set_new(o, "bytes_per_s",
				    num(shared_load64(&t->bytes_per_s)));
		json_object_set_new(o, "slab_bytes",
				    num(pool_counter(p, POOL_C_slab_bytes)));
		json_object_set_new(o, "sealed_bytes",
				    num(pool_counter(p, POOL_C_sealed_bytes)));
		json_array_append_new(list, o);
	}
	return list;
}

static const enum pool_counter tenant_gauges[] = {
	POOL_C_clients, POOL_C_slabs,	     POOL_C_slab_bytes,
	POOL_C_sealed,	POOL_C_sealed_bytes, POOL_C_meta_bytes,
};

/* Whoever runs the node sees all tenants, others their own. */
static json_t *stat_tenants(const struct session *s)
{
	json_t *list = json_array();

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(s->native->options.store, n);
		json_t *o;

		if (!p || (p != s->client->pool && !runs_node(s)))
			continue;
		o = json_object();
		json_object_set_new(o, "tenant",
				    shared_text(p->m->header.tenant));
		json_object_set_new(o, "quota_bytes", num(p->quota));
		for (size_t i = 0; i < ARRAY_LEN(tenant_gauges); i++)
			json_object_set_new(
				o, pool_counter_names[tenant_gauges[i]],
				num(pool_counter(p, tenant_gauges[i])));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *shape_entry(json_t *list, uint64_t frame_bytes)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		if ((uint64_t)json_integer_value(
			    json_object_get(o, "frame_bytes")) == frame_bytes)
			return o;
	}
	o = json_pack("{s:I,s:i,s:i,s:i,s:i,s:i}", "frame_bytes",
		      (json_int_t)frame_bytes, "slabs", 0, "frames", 0, "free",
		      0, "sealed", 0, "granted", 0);
	json_array_append_new(list, o);
	return o;
}

static void add(json_t *o, const char *name, uint64_t n)
{
	json_t *have = json_object_get(o, name);

	json_integer_set(have, json_integer_value(have) + (json_int_t)n);
}

static json_t *stat_shapes(const struct pool *p)
{
	json_t *list = json_array();

	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];
		json_t *o;

		if (!s || s->retiring)
			continue;
		o = shape_entry(list, s->frame_bytes);
		add(o, "slabs", 1);
		add(o, "frames", s->frames);
		add(o, "free", s->n_free);
		add(o, "sealed", s->n_sealed);
		add(o, "granted", s->n_granted);
	}
	return list;
}

static uint64_t pins_now(const struct store_client *c)
{
	uint64_t high = shared_load64(&c->segment->header.pin_high), n = 0;
	uint64_t over = shared_load64(&c->segment->header.overflow_high);

	high = MIN(high, (uint64_t)c->n_pins);
	over = MIN(over, (uint64_t)c->n_overflow);
	for (uint64_t i = 0; i < high; i++)
		n += shared_load64(&c->segment->slots[i]) != 0;
	for (uint64_t i = 0; i < over; i++)
		n += shared_load64(&c->segment->slots[c->n_pins + i]) != 0;
	return n;
}

static void stat_client(void *ctx, struct store_client *c)
{
	const struct client_record *rec = c->record;
	uint64_t who = shared_load64(&rec->pid_uid);
	json_t *o = json_object();

	json_object_set_new(o, "id", num(c->id));
	json_object_set_new(o, "pid", num(who >> 32));
	json_object_set_new(o, "uid", num((uint32_t)who));
	json_object_set_new(o, "name", shared_text(rec->name));
	json_object_set_new(o, "read_only", json_boolean(c->read_only));
	json_object_set_new(o, "closed", json_boolean(c->closed));
	json_object_set_new(o, "slab_bytes",
			    num(pool_owned_bytes(c->pool, c->id)));
	json_object_set_new(o, "granted", num(c->granted));
	json_object_set_new(o, "seals", num(shared_load64(&rec->seals)));
	json_object_set_new(o, "seal_bytes",
			    num(shared_load64(&rec->seal_bytes)));
	if (!c->closed) {
		const shared_u64 *n = c->segment->header.counter;

		json_object_set_new(o, "pins", num(pins_now(c)));
		json_object_set_new(o, "hits",
				    num(shared_load64(&n[CLIENT_PINS])));
		json_object_set_new(o, "misses",
				    num(shared_load64(&n[CLIENT_MISSES])));
		json_object_set_new(o, "read_bytes",
				    num(shared_load64(&n[CLIENT_READ_BYTES])));
		json_object_set_new(
			o, "copied_bytes",
			num(shared_load64(&n[CLIENT_COPIED_BYTES])));
	}
	json_array_append_new(ctx, o);
}

static json_t *stat_namespaces(const struct pool *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < LAYOUT_NS_MAX; i++) {
		const struct ns_record *rec = &p->m->ns[i];
		uint64_t shape = shared_load64(&rec->ranks_groups);
		json_t *o;

		if (!shared_load64(&rec->id))
			continue;
		o = json_object();
		json_object_set_new(o, "id", num(i + 1));
		json_object_set_new(o, "label", shared_text(rec->label));
		json_object_set_new(o, "block_tokens",
				    num(shared_load64(&rec->block_tokens)));
		json_object_set_new(o, "ranks", num(shape >> 32));
		json_object_set_new(o, "groups", num((uint32_t)shape));
		json_array_append_new(list, o);
	}
	return list;
}

/* The four counters that clients keep themselves: those of the living too. */
static void add_live(void *ctx, struct store_client *c)
{
	for (unsigned i = 0; !c->closed && i < CLIENT_COUNTS; i++)
		add(ctx, pool_counter_names[client_counter_pool[i]],
		    shared_load64(&c->segment->header.counter[i]));
}

static json_t *report_stat(struct session *s)
{
	struct pool *p = s->client->pool;
	json_t *o = json_object(), *clients = json_array(),
	       *counters = json_object();

	store_each_client(s->native->options.store, p, stat_client, clients);
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++)
		json_object_set_new(counters, pool_counter_names[i],
				    num(pool_counter(p, (enum pool_counter)i)));
	store_each_client(s->native->options.store, p, add_live, counters);
	json_object_set_new(o, "node", stat_node(s));
	json_object_set_new(o, "tiers", stat_tiers(s));
	json_object_set_new(o, "tenants", stat_tenants(s));
	json_object_set_new(o, "shapes", stat_shapes(p));
	json_object_set_new(o, "namespaces", stat_namespaces(p));
	json_object_set_new(o, "clients", clients);
	json_object_set_new(o, "counters", counters);
	return o;
}

/* ---- where ------------------------------------------------------------------ */

struct pin_count {
	uint64_t loc, gen, pins;
};

static void count_pins(void *ctx, struct store_client *c)
{
	struct pin_count *n = ctx;
	uint64_t word = pin_word(n->loc, n->gen), high;

	if (c->closed)
		return;
	high = MIN(shared_load64(&c->segment->header.pin_high),
		   (uint64_t)c->n_pins);
	for (uint64_t i = 0; i < c->n_pins + (uint64_t)c->n_overflow; i++)
		if ((i < high || i >= c->n_pins) &&
		    shared_load64(&c->segment->slots[i]) == word)
			n->pins++;
}

static json_t *where_part(struct session *s, const struct pool_slab *slab,
			  uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t part = shared_load64(&d->part);
	uint64_t extent = shared_load64(&d->extent);
	uint64_t bytes = frame_extent_bytes(extent);
	struct pool *p = s->client->pool;
	struct tier_record *t = &p->m->tier[OC_TIER_DRAM];
	uint64_t rate = MAX(shared_load64(&t->bytes_per_s), 1ull);
	struct pin_count pins = { frame_loc(slab->id, frame),
				  pool_frame_gen(slab, frame), 0 };
	json_t *o = json_object();

	store_each_client(s->native->options.store, p, count_pins, &pins);
	json_object_set_new(o, "ns", num(frame_part_ns(part)));
	json_object_set_new(
		o, "ns_label",
		shared_text(p->m->ns[frame_part_ns(part) - 1].label));
	json_object_set_new(o, "group", num(frame_part_group(part)));
	json_object_set_new(o, "rank", num(frame_part_rank(part)));
	json_object_set_new(o, "tier", json_string("dram"));
	json_object_set_new(o, "owner", num(shared_load64(&d->owner)));
	json_object_set_new(o, "slab_owner", num(slab->owner));
	json_object_set_new(
		o, "expected_ns",
		num(shared_load64(&t->latency_ns) +
		    (uint64_t)((double)bytes * 1e9 / (double)rate)));
	json_object_set_new(o, "replicas", num(1));
	json_object_set_new(o, "region", num(slab->id));
	json_object_set_new(o, "offset", num(frame * slab->frame_bytes));
	json_object_set_new(o, "bytes", num(bytes));
	json_object_set_new(o, "frame_bytes", num(slab->frame_bytes));
	json_object_set_new(o, "generation", num(pins.gen));
	json_object_set_new(o, "tokens", num(frame_extent_tokens(extent)));
	json_object_set_new(o, "pins", num(pins.pins));
	json_object_set_new(o, "age_ms",
			    num(s->native->now_ns / NS_PER_MS -
				MIN(shared_load64(&d->sealed_ms),
				    s->native->now_ns / NS_PER_MS)));
	return o;
}

static json_t *report_where(struct session *s, const char *hex)
{
	struct pool *p = s->client->pool;
	uint8_t bytes[32];
	uint64_t key[4];
	json_t *list;

	if (strlen(hex) != 64 || text_parse_hex(hex, bytes, 32) < 0)
		return NULL;
	memcpy(key, bytes, sizeof(key));
	list = json_array();
	for (uint32_t ns = 1; ns <= LAYOUT_NS_MAX; ns++) {
		uint64_t shape = shared_load64(&p->m->ns[ns - 1].ranks_groups);
		unsigned ranks = (unsigned)(shape >> 32);

		if (!shared_load64(&p->m->ns[ns - 1].id))
			break;
		for (unsigned i = 0; i < ranks * (unsigned)shape; i++) {
			uint32_t frame;
			struct pool_slab *slab =
				pool_find(p, key,
					  frame_part(ns, (uint16_t)(i / ranks),
						     (uint16_t)(i % ranks)),
					  &frame);

			if (slab && json_array_size(list) < WHERE_MAX)
				json_array_append_new(list, where_part(s, slab,
								       frame));
		}
	}
	return list;
}

/* ---- check ------------------------------------------------------------------ */

static void add_problem(void *ctx, const char *text)
{
	json_array_append_new(ctx, json_string(text));
}

static json_t *report_check(struct session *s)
{
	struct pool_checked seen;
	json_t *problems = json_array();

	store_check(s->native->options.store, s->client->pool, add_problem,
		    problems, &seen);
	return json_pack("{s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:o}", "checked",
			 "slabs", (json_int_t)seen.slabs, "frames",
			 (json_int_t)seen.frames, "sealed",
			 (json_int_t)seen.sealed, "granted",
			 (json_int_t)seen.granted, "free",
			 (json_int_t)seen.free, "leaving",
			 (json_int_t)seen.doomed, "index_entries",
			 (json_int_t)seen.index_entries, "problems", problems);
}

/* ---- fetching ---------------------------------------------------------------- */

static int make_report(struct session *s)
{
	char question[QUESTION_MAX + 1] = "", *args;
	json_t *o = NULL;

	shared_load_bytes(question, QUESTION_MAX, s->client->segment->blob);
	args = strchr(question, ' ');
	if (args)
		*args++ = '\0';
	if (!strcmp(question, "stat"))
		o = report_stat(s);
	else if (!strcmp(question, "where"))
		o = report_where(s, args ? args : "");
	else if (!strcmp(question, "check") && !runs_node(s))
		return -EPERM;
	else if (!strcmp(question, "check"))
		o = report_check(s);
	if (!o)
		return -EINVAL;
	free(s->report);
	s->report = fault_point(FAULT_ALLOC) ? NULL
					     : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!s->report)
		return -ENOMEM;
	s->report_bytes = strlen(s->report);
	s->report_id = ++s->native->reports;
	return 0;
}

/* A report that is gone (another server, another question) is asked anew by
 * the client: OC_STALE. */
void report_call(struct session *s, const struct ring_call *call,
		 struct ring_answer *ret_answer)
{
	uint64_t n;
	int r = 0;

	*ret_answer = (struct ring_answer){ 0 };
	if (!call->arg2)
		r = make_report(s);
	else if (!s->report || call->arg2 != s->report_id)
		r = OC_STALE;
	if (r == 0 && call->arg > s->report_bytes)
		r = -EINVAL;
	ret_answer->result = r;
	if (r != 0)
		return;
	n = MIN(s->report_bytes - call->arg, RING_BLOB_BYTES);
	shared_store_bytes(s->client->segment->blob, ALIGN_UP(n, 8),
			   s->report + call->arg, n);
	ret_answer->loc = n;
	ret_answer->arg = s->report_bytes;
	ret_answer->arg2 = s->report_id;
}

void report_ns_open(struct session *s, struct ring_answer *ret_answer)
{
	struct ns_spec spec;
	int64_t id;

	shared_load_bytes(&spec, sizeof(spec), s->client->segment->blob);
	id = store_ns_open(s->client->pool, &spec);
	*ret_answer = (struct ring_answer){ .result = MIN(id, 0),
					    .arg = (uint64_t)MAX(id, 0) };
}
