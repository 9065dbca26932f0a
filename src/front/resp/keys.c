/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, and what is kept of them (docs/formats/resp.md).
 *
 * A name's block key is a hash of it; the record carries the name itself and is
 * compared, so that two names with one hash can displace each other and never be
 * taken for each other. `<base>kv_bytes` and `<base>metadata` are parts of one
 * block, so the store lets them leave together.
 */
#include <errno.h>
#include "base/clock.h"
#include "base/guard.h"
#include "base/hash.h"
#include "base/log.h"
#include "front/resp/internal.h"
#include "shm/layout.h"

#define KEY_WORD 0x312d70736572636full /* "ocresp-1" */

/* Groups of the namespace: a record and a bulk part for each. */
enum { GROUP_PLAIN = 0, GROUP_BYTES = 2, GROUP_METADATA = 4, GROUPS = 6 };

static bool ends_in(struct name n, const char *tail, size_t len)
{
	return n.len > len && memcmp(n.text + n.len - len, tail, len) == 0;
}

void place_of(struct name name, struct place *ret_place)
{
	static const char bytes[] = "kv_bytes", metadata[] = "metadata";
	uint32_t len = name.len;

	ret_place->group = GROUP_PLAIN;
	if (ends_in(name, bytes, sizeof(bytes) - 1))
		ret_place->group = GROUP_BYTES;
	else if (ends_in(name, metadata, sizeof(metadata) - 1))
		ret_place->group = GROUP_METADATA;
	ret_place->paired = ret_place->group != GROUP_PLAIN;
	if (ret_place->paired)
		len -= (uint32_t)sizeof(bytes) - 1;
	hash_name(name.text, len, ret_place->key);
	ret_place->key[2] = len;
	ret_place->key[3] = KEY_WORD;
}

_Static_assert(RESP_VALUE_NAME_MAX <= RESP_INLINE_MAX, "a record has its name");

void resp_block_key(const char *name, uint32_t len, uint8_t ret_key[32])
{
	struct place place;

	place_of((struct name){ name, len }, &place);
	memcpy(ret_key, place.key, 32);
}

uint64_t resp_block_needs(const uint64_t key[4], uint64_t there)
{
	uint64_t need = 0;

	for (unsigned g = GROUP_PLAIN; g <= GROUP_METADATA; g += 2)
		if (there >> g & 3) /* the record, or what it says more */
			need |= 1ull << g;
	return key[3] == KEY_WORD ? need : 0;
}

uint64_t place_part(const struct resp_tenant *t, const struct place *p,
		    enum place_which which)
{
	return frame_part(t->ns, (uint16_t)(p->group + which), 0);
}

uint64_t place_seed(const struct place *p, enum place_which which)
{
	uint8_t key[32];

	memcpy(key, p->key, sizeof(key));
	return hash_part_seed(key, (uint16_t)(p->group + which), 0);
}

/* ---- records ---------------------------------------------------------------- */

uint64_t record_bytes(struct name name, uint64_t inline_bytes)
{
	return sizeof(struct record) + name.len + inline_bytes;
}

static uint64_t record_fill(const struct place *place, uint8_t *frame,
			    const struct record *head, struct name name,
			    const char *value)
{
	uint64_t inline_bytes = value ? head->value_len : 0;

	must(inline_bytes <= RESP_INLINE_MAX && name.len <= RESP_INLINE_MAX);
	memcpy(frame, head, sizeof(*head));
	memcpy(frame + sizeof(*head), name.text, name.len);
	if (inline_bytes)
		memcpy(frame + sizeof(*head) + name.len, value, inline_bytes);
	return hash_payload(frame, record_bytes(name, inline_bytes),
			    place_seed(place, PLACE_RECORD));
}

struct writing {
	const struct place *place;
	uint8_t *frame;
	const struct record *head;
	struct name name;
	const char *value;
	uint64_t sum;
};

static void write_record(void *ctx)
{
	struct writing *w = ctx;

	w->sum = record_fill(w->place, w->frame, w->head, w->name, w->value);
}

int record_seal(struct resp_tenant *t, const struct place *place,
		const struct local_part *part, const struct record *head,
		struct name name, const char *value)
{
	struct writing w = { place, part->data, head, name, value, 0 };
	uint64_t bytes = record_bytes(name, value ? head->value_len : 0);
	struct guard_fault fault;

	if (guard_run(write_record, &w, &fault) < 0) {
		local_broken(t->client, part, &fault);
		local_abandon(t->client, part);
		return -EIO;
	}
	return local_seal(t->client, part, bytes, w.sum);
}

static bool bulk_is_below(const struct resp_tenant *t, struct entry *e)
{
	struct tier_found found;

	if (!move_find(t->client->store, t->pool, e->place.key,
		       place_part(t, &e->place, PLACE_BULK), &found))
		return false;
	e->value = NULL;
	e->bulk_below = true;
	return frame_extent_bytes(found.block.extent) == e->record.value_len &&
	       found.block.checksum == e->record.bulk_sum;
}

/* Memory may fail at any byte of a record (base/guard.h), so its head and its name
 * are looked at in one piece, and what is told of it is its copy's. */
struct look {
	const struct local_part *part;
	struct record *record;
	struct name want; /* text NULL: any */
	uint8_t *name;	  /* where to, then */
	bool found;
};

/* Written here alone, but memory can rot: lengths are looked at before they are
 * used. */
static void look(void *ctx)
{
	struct look *l = ctx;
	const uint8_t *name = l->part->data + sizeof(*l->record);
	struct record *r = l->record;

	memcpy(r, l->part->data, sizeof(*r));
	if (r->magic != RECORD_MAGIC || r->name_len > RESP_INLINE_MAX ||
	    r->name_len > l->part->bytes - sizeof(*r))
		return;
	if (!l->want.text)
		memcpy(l->name, name, r->name_len);
	else if (r->name_len != l->want.len ||
		 memcmp(name, l->want.text, r->name_len) != 0)
		return;
	l->found = true;
}

/* The record in a part, if it is this name's. */
static bool record_read(struct resp_tenant *t, struct entry *e,
			struct name want)
{
	const struct local_part *part = &e->part;
	const struct record *r = &e->record;
	struct look l = { part, &e->record, want, t->copy + sizeof(*r), false };
	struct guard_fault fault;
	uint64_t rest;

	if (part->bytes < sizeof(*r))
		return false;
	if (guard_run(look, &l, &fault) < 0) {
		local_broken(t->client, part, &fault);
		return false;
	}
	if (!l.found)
		return false;
	rest = part->bytes - sizeof(*r) - r->name_len;
	e->is_inline = r->value_len == rest && r->value_len <= RESP_INLINE_MAX;
	e->bulk_below = false;
	e->value = (const char *)t->copy + sizeof(*r) + r->name_len;
	if (e->is_inline)
		return true;
	if (rest)
		return false;
	if (!local_find(t->client, e->place.key,
			place_part(t, &e->place, PLACE_BULK), &e->bulk))
		return bulk_is_below(t, e);
	e->value = (const char *)e->bulk.data;
	return e->bulk.bytes == r->value_len && e->bulk.checksum == r->bulk_sum;
}

bool entry_expired(const struct entry *e)
{
	return e->record.expire_ms &&
	       e->record.expire_ms <= clock_realtime_coarse_ms();
}

static bool entry_of(struct resp_tenant *t, struct name name, struct entry *e)
{
	place_of(name, &e->place);
	return local_find(t->client, e->place.key,
			  place_part(t, &e->place, PLACE_RECORD), &e->part) &&
	       record_read(t, e, name);
}

bool entry_find(struct resp_tenant *t, struct name name, struct entry *ret)
{
	if (!entry_of(t, name, ret))
		return false;
	if (!entry_expired(ret))
		return true;
	place_remove(t, &ret->place);
	return false;
}

bool entry_at(struct resp_tenant *t, uint32_t slab, uint32_t frame,
	      struct name *ret_name, struct entry *ret)
{
	uint64_t part;

	if (!local_at(t->client, slab, frame, t->ns, ret->place.key, &part,
		      &ret->part))
		return false;
	ret->place.group = frame_part_group(part);
	ret->place.paired = ret->place.group != GROUP_PLAIN;
	if (ret->place.group % 2 || !record_read(t, ret, (struct name){ 0 }))
		return false;
	*ret_name = (struct name){ (const char *)t->copy + sizeof(ret->record),
				   ret->record.name_len };
	return true;
}

bool place_at(struct resp_tenant *t, uint32_t slab, uint32_t frame,
	      struct place *ret)
{
	struct local_part found;
	uint64_t part;

	if (!local_at(t->client, slab, frame, t->ns, ret->key, &part, &found))
		return false;
	ret->group = frame_part_group(part) & (uint16_t)~1u;
	ret->paired = ret->group != GROUP_PLAIN;
	return true;
}

struct check {
	uint8_t *to;
	const struct local_part *part;
	uint64_t seed, sum;
};

static void check(void *ctx)
{
	struct check *c = ctx;

	/* not hash_copy(): what is copied is read at once */
	memcpy(c->to, c->part->data, c->part->bytes);
	c->sum = hash_payload(c->to, c->part->bytes, c->seed);
}

/* record_read() has seen that it is no longer than the copy may be. */
bool entry_verify(struct resp_tenant *t, const struct entry *e)
{
	struct check c = { t->copy, &e->part,
			   place_seed(&e->place, PLACE_RECORD), 0 };
	struct guard_fault fault;

	if (guard_run(check, &c, &fault) < 0) {
		local_broken(t->client, &e->part, &fault);
		return false;
	}
	if (c.sum == e->part.checksum)
		return true;
	local_bad(t->client, &e->part);
	return false;
}

static void touch_part(struct resp_tenant *t, const struct place *p,
		       enum place_which which)
{
	struct local_part part;

	if (local_find(t->client, p->key, place_part(t, p, which), &part))
		local_touch(t->client, &part);
}

/* The partner is as recent: the block leaves when the oldest of it is due. */
void entry_touch(struct resp_tenant *t, const struct entry *e)
{
	struct place other = e->place;

	local_touch(t->client, &e->part);
	if (!e->is_inline && !e->bulk_below)
		local_touch(t->client, &e->bulk);
	if (!e->place.paired)
		return;
	other.group = e->place.group == GROUP_BYTES ? GROUP_METADATA
						    : GROUP_BYTES;
	touch_part(t, &other, PLACE_RECORD);
	touch_part(t, &other, PLACE_BULK);
}

/* The record first: without it the bulk is not found. */
void place_remove(struct resp_tenant *t, const struct place *place)
{
	local_remove(t->client, place->key, place_part(t, place, PLACE_RECORD));
	local_remove(t->client, place->key, place_part(t, place, PLACE_BULK));
}

bool entry_remove(struct resp_tenant *t, struct name name)
{
	struct entry e;

	if (!entry_find(t, name, &e)) {
		/* nor does it come back from below */
		place_of(name, &e.place);
		place_remove(t, &e.place);
		return false;
	}
	place_remove(t, &e.place);
	return true;
}

static uint64_t part_memory(const struct resp_tenant *t,
			    const struct local_part *part)
{
	uint32_t frame;
	const struct pool_slab *s = pool_locate(t->pool, part->loc, &frame);

	return s ? s->frame_bytes + sizeof(struct frame_desc) : 0;
}

uint64_t entry_memory(struct resp_tenant *t, const struct entry *e)
{
	return part_memory(t, &e->part) +
	       (e->is_inline || e->bulk_below ? 0 : part_memory(t, &e->bulk));
}

/* ---- tenants ----------------------------------------------------------------- */

uint64_t tenant_names(const struct resp_tenant *t)
{
	const uint64_t *parts = t->pool->parts[t->ns - 1];

	return parts[GROUP_PLAIN] + parts[GROUP_BYTES] + parts[GROUP_METADATA];
}

static int64_t namespace_open(struct pool *p)
{
	struct ns_spec spec = {
		.block_tokens = 1, .ranks = 1, .groups = GROUPS, .label = "resp"
	};

	memset(spec.weights, 0, sizeof(spec.weights));
	memcpy(spec.layout, "onecopy resp record 1", 21);
	for (unsigned g = 0; g < GROUPS; g++)
		spec.group[g].slice_bytes =
			shared_load64(&p->m->header.max_frame);
	return store_ns_open(p, &spec);
}

int tenant_open(struct resp_door *d, const char *tenant,
		struct resp_tenant **ret_tenant)
{
	const struct resp_options *o = &d->options;
	struct resp_tenant *t;
	struct pool *p;
	int64_t ns;
	int r = store_pool_by_tenant(o->store, tenant, &p);

	if (r < 0) {
		uint64_t quota = o->quota ? o->quota(o->ctx, tenant) : 0;

		r = store_pool_add(o->store, tenant, quota, &p);
		if (r < 0)
			return r;
		if (o->share)
			store_pool_share(p, o->share(o->ctx, tenant));
		store_pool_serve(p);
	}
	t = &d->tenant[p->number];
	*ret_tenant = t;
	if (t->client)
		return 0;
	ns = namespace_open(p);
	if (ns < 0)
		return (int)ns;
	t->pool = p;
	t->copy = d->copy;
	t->ns = (uint32_t)ns;
	t->expiring = true; /* a predecessor may have left some */
	return local_client(o->store, p, &t->client);
}
