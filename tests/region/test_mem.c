/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is whatever needs it refreshed? A member sees the region through a fake cache
 * that is stale from the first moment on: a copy, into which a line comes when
 * the primitives fetch it, and at no other time. Its own stores reach memory.
 * (Membership, which needs compare-and-swap, is not looked at that way.)
 */
#include "base/rng.h"
#include "region/internal.h"
#include "tests/region/rig.h"

#include <sys/mman.h>

static unsigned char *cache;
static const unsigned char *memory;
static uint64_t cached, fetched;

static void fake_refresh(const void *from, size_t bytes)
{
	uint64_t at = (uint64_t)((const unsigned char *)from - cache);
	uint64_t end;

	if (at >= cached)
		return; /* its own part: no other copy of that */
	end = MIN(ALIGN_UP(at + bytes, CACHE_LINE), cached);
	at &= ~(uint64_t)(CACHE_LINE - 1);
	memcpy(cache + at, memory + at, end - at);
	fetched += (end - at) / CACHE_LINE;
}

static bool fake_validate(const shared_u64 *word, uint64_t value)
{
	fake_refresh(word, sizeof(*word));
	return shared_load64_acquire(word) == value;
}

static struct region_mem fake_mem(void)
{
	struct region_mem m = region_mem_coherent;

	m.name = "fake cache";
	m.refresh = fake_refresh;
	m.validate = fake_validate;
	return m;
}

static void *moved(const void *at)
{
	return cache + ((const unsigned char *)at - memory);
}

/* From now on this member looks at the copy. */
static void look_through(struct region *r, const struct region_mem *m)
{
	cached = r->g.bytes;
	memory = r->all;
	cache = mmap(NULL, cached, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(cache != MAP_FAILED);
	memcpy(cache, memory, cached);
	r->all = cache;
	for (uint32_t i = 0; i < r->g.shards; i++) {
		struct region_view *v = &r->view[i];

		v->table.bucket = moved(v->table.bucket);
		v->desc = moved(v->desc);
		v->payload = moved(v->payload);
	}
	r->mem = m;
}

static void close_both(struct rig *g, struct region *a, struct region *b)
{
	b->all = memory;
	region_close(a);
	region_close(b);
	munmap(cache, cached);
	rig_destroy(g);
}

/* The cache is one: without the primitive nothing new is seen. */
TEST(nothing_is_seen_without_the_primitive)
{
	struct rig g = rig_create(2, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, false);
	struct region_mem m = fake_mem();

	m.refresh = NULL;
	look_through(b, &m);
	CHECK_OK(rig_put(a, 1, 1));
	CHECK(!rig_has(b, 1));
	close_both(&g, a, b);
}

TEST(a_reader_sees_what_was_sealed_or_a_miss)
{
	struct rig g = rig_create(2, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_mem m = fake_mem();
	struct rng rng = { 3 };
	uint64_t hits = 0;

	look_through(b, &m);
	for (uint64_t id = 1; id < 800; id++) {
		CHECK_OK(rig_put(a, id, id));
		CHECK(rig_has(b, id));
		for (unsigned i = 0; i < 4; i++)
			hits += rig_has(b, 1 + rng_below(&rng, id));
	}
	CHECK_INT(hits, >, 0);
	CHECK_INT(fetched, >, 0);
	close_both(&g, a, b);
}

/* The owner that evicts is the one with the cache: pins, touches, reports of
 * another reach it. */
TEST(an_owner_sees_the_pins_of_others)
{
	struct rig g = rig_create(2, 1, 32);
	struct region *b = rig_join(&g, "b", 1, false);
	struct region *a = rig_join(&g, "a", 0, false);
	struct region_mem m = fake_mem();
	struct region_pin held[3];

	look_through(b, &m);
	for (uint64_t id = 1; id <= 32; id++)
		CHECK_OK(rig_put(b, id, 1));
	for (uint64_t i = 0; i < 3; i++)
		CHECK_OK(rig_pin(a, 1 + i, &held[i]));
	CHECK(rig_has(a, 4)); /* a touch: it would have been the first */
	CHECK_OK(rig_put(b, 33, 1));
	CHECK(rig_has(a, 4));
	CHECK(!rig_has(a, 5));
	for (uint64_t id = 34; id <= 400; id++)
		CHECK_OK(rig_put(b, id, 1));
	for (uint64_t i = 0; i < 3; i++) {
		CHECK(rig_right(1 + i, held[i].data, held[i].bytes));
		region_unpin(a, &held[i]);
	}
	for (uint64_t id = 401; id <= 500; id++)
		CHECK_OK(rig_put(b, id, 1));
	CHECK(!rig_has(a, 1));
	close_both(&g, a, b);
}
