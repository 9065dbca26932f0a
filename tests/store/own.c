/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/own.h"
#include "base/hash.h"

void own_open(struct own *o, struct world *w)
{
	struct ns_spec spec;
	int64_t id;

	o->w = w;
	memset(&spec, 0, sizeof(spec));
	spec.block_tokens = 1;
	spec.ranks = 1;
	spec.groups = OWN_GROUPS;
	spec.weights[0] = 99;
	for (unsigned g = 0; g < OWN_GROUPS; g++)
		spec.group[g].slice_bytes =
			shared_load64(&w->p->m->header.max_frame);
	id = store_ns_open(w->p, &spec);
	CHECK_INT(id, >, 0);
	o->ns = (uint32_t)id;
	CHECK_OK(local_client(w->s, w->p, &o->c));
}

int64_t own_grant(struct own *o, uint64_t n, uint16_t group, uint64_t bytes,
		  struct local_part *ret)
{
	uint64_t key[4];
	int64_t r;

	key_of(n, key);
	for (unsigned i = 0; i < 8; i++) {
		if (local_grant(o->c, key, own_part(o, group), bytes, o->flags,
				0, 0, &r, ret) == STORE_LATER)
			FAIL("a grant without a timeout waits");
		if (r != -ENOBUFS)
			return r;
		for (unsigned j = 0; j < SIMS; j++)
			if (o->w->sim[j].c && !o->w->sim[j].closed)
				sim_let_go(&o->w->sim[j]);
		world_tick(o->w, WORLD_SEC / 500);
		world_ready(o->w);
	}
	return r;
}

static uint8_t byte_of(uint64_t n, uint16_t group, uint64_t version, uint64_t i)
{
	return (uint8_t)(n * 7 + group * 31 + version * 101 + i + (i >> 8));
}

static uint64_t sum_of(uint64_t n, uint16_t group, const uint8_t *data,
		       uint64_t bytes)
{
	uint64_t key[4];
	uint8_t raw[32];

	key_of(n, key);
	memcpy(raw, key, sizeof(raw));
	return hash_payload(data, bytes, hash_part_seed(raw, group, 0));
}

int own_seal(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes, const struct local_part *part)
{
	CHECK(part->data != NULL);
	CHECK_INT(part->bytes, >=, bytes);
	for (uint64_t i = 0; i < bytes; i++)
		part->data[i] = byte_of(n, group, version, i);
	return local_seal(o->c, part, bytes,
			  sum_of(n, group, part->data, bytes));
}

void own_put(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes)
{
	struct local_part part;

	CHECK_OK(own_grant(o, n, group, bytes, &part));
	CHECK_OK(own_seal(o, n, group, version, bytes, &part));
}

bool own_find(struct own *o, uint64_t n, uint16_t group, struct local_part *ret)
{
	uint64_t key[4];

	key_of(n, key);
	return local_find(o->c, key, own_part(o, group), ret);
}

void own_compare(struct own *o, uint64_t n, uint16_t group, uint64_t version,
		 uint64_t bytes, const struct local_part *part)
{
	(void)o;
	CHECK_INT(part->bytes, ==, bytes);
	for (uint64_t i = 0; i < bytes; i++)
		if (part->data[i] != byte_of(n, group, version, i))
			FAIL("name %llu: byte %llu is wrong",
			     (unsigned long long)n, (unsigned long long)i);
	CHECK_INT(part->checksum, ==, sum_of(n, group, part->data, bytes));
}

bool own_has(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes)
{
	struct local_part part;

	if (!own_find(o, n, group, &part))
		return false;
	own_compare(o, n, group, version, bytes, &part);
	return true;
}

bool own_remove(struct own *o, uint64_t n, uint16_t group)
{
	uint64_t key[4];

	key_of(n, key);
	return local_remove(o->c, key, own_part(o, group));
}

static void remember(struct own_memory *m, uint64_t identity, bool servers)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (m->identity[i] != identity)
			continue;
		/* inodes of memfds are never used twice in a test */
		CHECK_INT(m->servers[i], ==, servers);
		return;
	}
	CHECK_INT(m->n, <, ARRAY_LEN(m->identity));
	m->identity[m->n] = identity;
	m->servers[m->n++] = servers;
}

void own_check(struct own *o, struct own_memory *m)
{
	const struct pool *p = o->w->p;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];
		uint64_t identity;

		if (!s)
			continue;
		CHECK_INT(s->payload.bytes % 4096, ==, 0);
		CHECK_INT(s->writer_uid == UID_SERVER, ==,
			  s->owner == CLIENT_SERVER);
		CHECK_OK(segment_identity(s->payload.fd, &identity));
		remember(m, identity, s->owner == CLIENT_SERVER);
	}
}
