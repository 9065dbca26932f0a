/* SPDX-License-Identifier: Apache-2.0 */
/* `onecopy stat`: docs/formats/http.md names what is in it. */
#include <string.h>
#include "base/fault.h"
#include "front/report/json.h"
#include "front/report/report.h"
#include "store/shard.h"
#include <onecopy/onecopy.h>
#include "tier/tier.h"

static json_t *stat_node(const struct report *r, const struct pool *p)
{
	json_t *o = json_object();

	if (p) {
		const struct pool_header *h = &p->m->header;

		json_shared(o, "tenant", h->tenant);
		json_num(o, "server_pid", shared_load64(&h->server_pid));
		json_num(o, "server_epoch", shared_load64(&h->server_epoch));
		json_num(o, "limit_bytes", shared_load64(&h->limit_bytes));
		json_num(o, "max_frame", shared_load64(&h->max_frame));
		json_num(o, "born_ms", shared_load64(&h->born_ms));
		json_num(o, "used_bytes", p->budget->used);
	}
	json_num(o, "server_start_ms", r->start_unix_ms);
	json_object_set_new(o, "version", json_string(r->version));
	if (r->loop)
		json_object_set_new(o, "loop",
				    json_string(loop_backend_name(r->loop)));
	return o;
}

/* What this tenant has there. */
static void tier_holds(const struct pool *p, const struct tier_ops *ops,
		       json_t *o)
{
	if (ops->open) { /* it has no slabs */
		json_num(o, "slab_bytes", 0);
		json_num(o, "sealed_bytes",
			 pool_counter(p, POOL_C_below_bytes));
		return;
	}
	if (ops->kind == OC_TIER_CXL) {
		json_num(o, "slab_bytes",
			 pool_counter(p, POOL_C_cxl_slab_bytes));
		json_num(o, "sealed_bytes", pool_counter(p, POOL_C_cxl_bytes));
		return;
	}
	json_num(o, "slab_bytes", pool_counter(p, POOL_C_slab_bytes));
	json_num(o, "sealed_bytes",
		 pool_counter(p, POOL_C_sealed_bytes) -
			 pool_counter(p, POOL_C_cxl_bytes));
}

/* The rung below DRAM, of all tenants; NULL: there is none. */
static json_t *stat_cxl(const struct report *r)
{
	struct store_load load;
	json_t *o;

	store_load(r->store, &load);
	if (!load.low_limit)
		return NULL;
	o = json_object();
	json_object_set_new(o, "memory",
			    json_string(segment_kind_name(load.low_kind)));
	json_num(o, "limit_bytes", load.low_limit);
	json_num(o, "used_bytes", load.low_used);
	json_object_set_new(o, "missing",
			    r->low_missing ? json_string(r->low_missing)
					   : json_null());
	json_num(o, "memory_errors", load.low_errors);
	json_num(o, "aside_bytes", load.low_aside);
	return o;
}

json_t *report_region(const struct report *r)
{
	struct store_region_stat st;
	const char *why;
	json_t *o;

	store_region_stat(r->store, &st);
	if (st.state == STORE_REGION_NONE && !r->region_missing)
		return NULL;
	o = json_object();
	json_object_set_new(
		o, "state",
		json_string(r->region_missing
				    ? "not there"
				    : store_region_state_name(st.state)));
	why = report_region_why(r, &st);
	if (why)
		json_object_set_new(o, "why", json_string(why));
	if (st.state != STORE_REGION_IN)
		return o;
	json_object_set_new(o, "tenant", json_string(st.tenant));
	json_object_set_new(o, "memory",
			    json_string(region_kind_name(st.kind)));
	json_num(o, "member", st.member);
	json_num(o, "incarnation", st.inc);
	json_num(o, "frame_bytes", st.geometry.frame_bytes);
	json_num(o, "members", st.geometry.members);
	json_num(o, "shards", st.owned);
	json_num(o, "free", st.free);
	json_num(o, "sealed", st.sealed);
	json_num(o, "held", st.held);
	json_num(o, "failed_shards", st.failed.shards);
	json_num(o, "nodes", st.nodes);
	json_num(o, "readers", st.readers);
	json_num(o, "late", st.late);
	json_num(o, "ended", st.ended);
	json_num(o, "quarantined_shards", st.quarantined);
	for (unsigned i = 0; i < REGION_COUNTS_USED; i++)
		json_num(o, region_count_names[i], st.count[i]);
	return o;
}

static json_t *stat_tiers(const struct pool *p)
{
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
		json_num(o, "latency_ns", shared_load64(&t->latency_ns));
		json_num(o, "bytes_per_s", shared_load64(&t->bytes_per_s));
		tier_holds(p, ops, o);
		json_array_append_new(list, o);
	}
	return list;
}

json_t *report_below(const struct report *r)
{
	const struct tier_stat *st = store_below_stat(r->store);
	json_t *o;

	if (!st && !r->below_missing)
		return NULL;
	o = json_object();
	json_object_set_new(o, "tier", json_string("nvme"));
	json_object_set_new(o, "state",
			    json_string(st ? tier_state_name(st->state)
					   : "not there"));
	json_object_set_new(o, "why",
			    json_string(st ? st->why : r->below_missing));
	if (!st)
		return o;
	json_object_set_new(o, "io", json_string(st->io));
	json_object_set_new(o, "direct", json_boolean(st->direct));
#define X(name, text) json_num(o, #name, st->name);
	TIER_STATS(X)
#undef X
	json_num(o, "read_latency_ns", st->read.latency_ns);
	json_num(o, "read_bytes_per_s", st->read.bytes_per_s);
	json_num(o, "write_latency_ns", st->write.latency_ns);
	json_num(o, "write_bytes_per_s", st->write.bytes_per_s);
	return o;
}

static const enum pool_counter tenant_gauges[] = {
	POOL_C_clients,	    POOL_C_slabs,	  POOL_C_slab_bytes,
	POOL_C_sealed,	    POOL_C_sealed_bytes,  POOL_C_meta_bytes,
	POOL_C_refused,	    POOL_C_quota_refused, POOL_C_reclaimed_bytes,
	POOL_C_below_parts, POOL_C_below_bytes,	  POOL_C_cxl_slab_bytes,
	POOL_C_cxl_bytes,
};

static json_t *stat_tenants(const struct report *r, const struct pool *own,
			    bool sees_all)
{
	json_t *list = json_array();

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);
		json_t *o;

		if (!p || (p != own && !sees_all))
			continue;
		o = json_object();
		json_shared(o, "tenant", p->m->header.tenant);
		json_num(o, "quota_bytes", p->quota);
		json_num(o, "share_bytes", p->share);
		json_num(o, "borrowed_bytes", store_pool_borrowed(p));
		json_num(o, "below_share_bytes", p->below_share);
		for (size_t i = 0; i < ARRAY_LEN(tenant_gauges); i++)
			json_num(o, pool_counter_names[tenant_gauges[i]],
				 pool_counter(p, tenant_gauges[i]));
		json_array_append_new(list, o);
	}
	return list;
}

/* For who decides how many sessions to let in; an empty list where the policy of
 * eviction knows none. */
static json_t *stat_returns(const struct report *r, const struct pool *own,
			    bool sees_all)
{
	json_t *list = json_array();

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);
		struct policy_load load;
		json_t *o;

		if (!p || (p != own && !sees_all) ||
		    !store_pool_load(r->store, p, &load))
			continue;
		o = json_object();
		json_shared(o, "tenant", p->m->header.tenant);
		json_num(o, "sessions_fit", load.fit);
		json_num(o, "sessions_resident", load.sessions);
		json_num(o, "blocks", load.returned);
		json_num(o, "lost_blocks", load.lost);
		json_num(o, "lately_blocks", load.recent_returned);
		json_num(o, "lately_lost_blocks", load.recent_lost);
		json_array_append_new(list, o);
	}
	return list;
}

/* ---- shapes */

struct shape {
	struct pool_shape is;
	uint64_t slabs, frames, free, sealed, granted;
};

/* The shape's entry among n, or the next one. */
static struct shape *shape_entry(struct shape *shapes, unsigned *n,
				 struct pool_shape is)
{
	unsigned i = 0;

	while (i < *n && !shape_same(shapes[i].is, is))
		i++;
	if (i == *n)
		shapes[(*n)++].is = is;
	return &shapes[i];
}

static unsigned add_shapes(const struct pool *p, struct shape *shapes)
{
	unsigned n = 0;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];
		struct shape *shape;

		if (!s || s->retiring)
			continue;
		shape = shape_entry(shapes, &n, s->shape);
		shape->slabs++;
		shape->frames += s->frames;
		shape->free += s->n_free;
		shape->sealed += s->n_sealed;
		shape->granted += s->n_granted;
	}
	return n;
}

static json_t *stat_shapes(const struct pool *p)
{
	/* no more shapes than slabs */
	CLEANUP(mem_free_at)
	struct shape *shapes = mem_array(p->slab_end + 1, sizeof(*shapes));
	unsigned n = shapes ? add_shapes(p, shapes) : 0;
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *o = json_object();

		json_num(o, "frame_bytes", shapes[i].is.frame_bytes);
		json_num(o, "stripes", shapes[i].is.stripes);
		json_num(o, "slabs", shapes[i].slabs);
		json_num(o, "frames", shapes[i].frames);
		json_num(o, "free", shapes[i].free);
		json_num(o, "sealed", shapes[i].sealed);
		json_num(o, "granted", shapes[i].granted);
		json_array_append_new(list, o);
	}
	return list;
}

/* ---- clients */

struct client_list {
	json_t *list;
	uint64_t slots_left;
};

static uint64_t used(const shared_u64 *slots, uint64_t n)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++)
		count += shared_load64(&slots[i]) != 0;
	return count;
}

static void client_pins(struct client_list *l, json_t *o,
			const struct store_client *c)
{
	struct report_slots s = report_slots(c);

	if (s.n_pins + s.n_overflow > l->slots_left) {
		json_object_set_new(o, "pins", json_null());
		return;
	}
	l->slots_left -= s.n_pins + s.n_overflow;
	json_num(o, "pins",
		 used(s.pins, s.n_pins) + used(s.overflow, s.n_overflow));
}

/* The client's own word. */
static const char *client_cxl(const struct store_client *c)
{
	static const char *const names[CLIENT_CXL_STATES] = {
		[CLIENT_CXL_NONE] = "",
		[CLIENT_CXL_MEMBER] = "member",
		[CLIENT_CXL_FULL] = "no free slot",
		[CLIENT_CXL_APART] = "other process ids than the node",
		[CLIENT_CXL_FENCED] = "declared dead",
		[CLIENT_CXL_FAILED] = "cannot be read",
	};
	uint64_t state = shared_load64(&c->segment->header.cxl) >> 32;

	return state < CLIENT_CXL_STATES ? names[state] : "";
}

static void stat_client(void *ctx, struct store_client *c)
{
	const struct client_record *rec = c->record;
	uint64_t who = shared_load64(&rec->pid_uid);
	struct client_list *l = ctx;
	json_t *o = json_object();

	json_num(o, "id", c->id);
	json_num(o, "pid", who >> 32);
	json_num(o, "uid", (uint32_t)who);
	json_shared(o, "name", rec->name);
	json_object_set_new(o, "read_only", json_boolean(c->read_only));
	json_object_set_new(o, "closed", json_boolean(c->closed));
	json_object_set_new(o, "silent", json_boolean(store_client_silent(c)));
	json_num(o, "slab_bytes", pool_owned_bytes(c->pool, c->id));
	json_num(o, "granted", c->granted);
	json_num(o, "seals", shared_load64(&rec->seals));
	json_num(o, "seal_bytes", shared_load64(&rec->seal_bytes));
	json_num(o, "faults", c->faults);
	json_object_set_new(
		o, "last_fault",
		!c->faults
			? json_null()
			: json_sprintf(
				  "%s: %s", ring_op_name(c->fault_op),
				  c->fault_result > 0
					  ? "not lent to it"
					  : strerror((int)-c->fault_result)));
	json_object_set_new(o, "region",
			    json_string(c->closed ? "" : client_cxl(c)));
	if (!c->closed) {
		const shared_u64 *n = c->segment->header.counter;

		client_pins(l, o, c);
		json_num(o, "hits", shared_load64(&n[CLIENT_PINS]));
		json_num(o, "misses", shared_load64(&n[CLIENT_MISSES]));
		json_num(o, "read_bytes", shared_load64(&n[CLIENT_READ_BYTES]));
		json_num(o, "copied_bytes",
			 shared_load64(&n[CLIENT_COPIED_BYTES]));
	}
	json_array_append_new(l->list, o);
}

static json_t *stat_namespaces(const struct pool *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < LAYOUT_NS_MAX; i++) {
		const struct ns_record *rec = &p->m->ns[i];
		struct ns_parts parts = ns_record_parts(rec);
		json_t *o;

		if (!parts.ns)
			continue;
		o = json_object();
		json_num(o, "id", i + 1);
		json_shared(o, "label", rec->label);
		json_num(o, "block_tokens", shared_load64(&rec->block_tokens));
		json_num(o, "ranks", parts.ranks);
		json_num(o, "groups", parts.groups);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *stat_counters(const struct report *r, struct pool *p)
{
	uint64_t counts[POOL_COUNTERS_USED];
	json_t *o = json_object();

	report_counters(r, p, counts);
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++)
		json_num(o, pool_counter_names[i], counts[i]);
	return o;
}

/* ---- doors */

static json_t *door_tenant(const struct report *r, const struct door *d,
			   uint32_t number)
{
	const struct pool *p = store_pool(r->store, number);
	json_t *o = json_object();

	if (p)
		json_shared(o, "tenant", p->m->header.tenant);
	else
		json_object_set_new(o, "tenant", json_null());
	for (unsigned i = 0; i < DOOR_COUNTERS_USED; i++)
		json_num(o, door_counter_names[i], d->count[number][i]);
	return o;
}

static json_t *door_tenants(const struct report *r, const struct door *d,
			    const struct pool *own, bool sees_all)
{
	json_t *list = json_array();

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(r->store, n);

		if (p && (p == own || sees_all))
			json_array_append_new(list, door_tenant(r, d, n));
	}
	if (sees_all)
		json_array_append_new(list, door_tenant(r, d, DOOR_NO_TENANT));
	return list;
}

static json_t *door_kinds(const struct door *d)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < DOOR_KINDS_MAX; k++) {
		const struct hist *h = &d->time_ns[k];
		json_t *o;

		if (!d->kind[k])
			continue;
		o = json_object();
		json_object_set_new(o, "kind", json_string(d->kind[k]));
		json_num(o, "count", h->count);
		json_num(o, "p50_ns", hist_quantile(h, 0.5));
		json_num(o, "p99_ns", hist_quantile(h, 0.99));
		json_array_append_new(list, o);
	}
	return list;
}

/* Times are of all tenants together: for whoever sees all. */
static json_t *stat_doors(const struct report *r, const struct pool *own,
			  bool sees_all)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n_doors; i++) {
		const struct door *d = r->door[i];
		json_t *o = json_object();

		json_object_set_new(o, "door", json_string(d->name));
		json_object_set_new(o, "tenants",
				    door_tenants(r, d, own, sees_all));
		if (sees_all)
			json_object_set_new(o, "kinds", door_kinds(d));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *report_stat(const struct report *r, struct pool *pool, bool sees_all)
{
	json_t *o = json_object();
	struct client_list clients = { json_array(), REPORT_SLOTS_MAX };

	json_object_set_new(o, "node", stat_node(r, pool));
	if (pool) {
		store_each_client(r->store, pool, stat_client, &clients);
		json_object_set_new(o, "tiers", stat_tiers(pool));
	}
	/* of all tenants together */
	if (sees_all) {
		json_object_set_new(o, "below", report_below(r));
		json_object_set_new(o, "cxl", stat_cxl(r));
		json_object_set_new(o, "region", report_region(r));
	}
	json_object_set_new(o, "tenants", stat_tenants(r, pool, sees_all));
	json_object_set_new(o, "returns", stat_returns(r, pool, sees_all));
	json_object_set_new(o, "doors", stat_doors(r, pool, sees_all));
	if (pool) {
		json_object_set_new(o, "shapes", stat_shapes(pool));
		json_object_set_new(o, "namespaces", stat_namespaces(pool));
		json_object_set_new(o, "counters", stat_counters(r, pool));
	}
	json_object_set_new(o, "clients", clients.list);
	return o;
}
