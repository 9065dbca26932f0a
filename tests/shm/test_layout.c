/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "shm/layout.h"

static struct pool_meta *new_meta(void)
{
	struct pool_meta *m = aligned_alloc(PAGE_BYTES, POOL_META_BYTES);

	CHECK(m);
	memset((void *)m, 0, POOL_META_BYTES);
	return m;
}

TEST(stamp_is_stable)
{
	CHECK_INT(layout_stamp(), ==, layout_stamp());
	CHECK_INT(layout_stamp(), !=, 0);
}

TEST(counters_have_names_and_texts)
{
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++) {
		CHECK(pool_counter_names[i] && pool_counter_texts[i]);
		CHECK(pool_counter_names[i][0] && pool_counter_texts[i][0]);
	}
	CHECK_STR(pool_counter_names[POOL_C_slab_bytes], "slab_bytes");
	CHECK_STR(pool_counter_texts[POOL_C_client_deaths],
		  "clients that ended without saying so");
}

TEST(init_passes_check)
{
	struct pool_meta *m = new_meta();
	char tenant[LAYOUT_NAME];
	const char *why;

	CHECK_INT(layout_check(m, POOL_META_BYTES, NULL), ==, -EPROTO);
	layout_init(m, 0x1234, "team-a");
	CHECK_OK(layout_check(m, POOL_META_BYTES, &why));
	CHECK_STR(why, "");
	CHECK_INT(shared_load64(&m->header.pool_id), ==, 0x1234);
	CHECK_INT(shared_load64(&m->header.state), ==, POOL_STARTING);
	CHECK_INT(shared_load64(&m->header.born_ms), >, 1600000000000);
	shared_load_bytes(tenant, sizeof(tenant), m->header.tenant);
	CHECK_STR(tenant, "team-a");
	free(m);
}

TEST(long_tenant_stays_terminated)
{
	struct pool_meta *m = new_meta();
	char name[2 * LAYOUT_NAME], tenant[LAYOUT_NAME];

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = 0;
	layout_init(m, 1, name);
	shared_load_bytes(tenant, sizeof(tenant), m->header.tenant);
	CHECK_INT(strnlen(tenant, sizeof(tenant)), ==, LAYOUT_NAME - 1);
	free(m);
}

TEST(another_pool_is_refused)
{
	struct pool_meta *m = new_meta();
	struct pool_header *h = &m->header;
	const struct {
		shared_u64 *field;
		uint64_t value;
		int result;
		const char *says;
	} table[] = {
		{ &h->magic, 1, -EPROTO, "not a pool" },
		{ &h->version, 2ull << 32, -EPROTONOSUPPORT, "version" },
		{ &h->version, (uint64_t)LAYOUT_MAJOR << 32 | 99, 0, "" },
		{ &h->incompat, 1ull << 63, -EPROTONOSUPPORT, "feature" },
		{ &h->compat, 1, 0, "" },
		{ &h->stamp, 1, -EPROTO, "build" },
		{ &h->bytes, POOL_META_BYTES + 1, -EPROTO, "size" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *why = NULL;

		memset((void *)m, 0, POOL_META_BYTES);
		layout_init(m, 1, "default");
		shared_store64(table[i].field, table[i].value);
		CHECK_INT(layout_check(m, POOL_META_BYTES, &why), ==,
			  table[i].result);
		CHECK(strstr(why, table[i].says));
	}
	layout_init(m, 1, "default");
	CHECK_INT(layout_check(m, 8, NULL), ==, -EPROTO);
	CHECK_INT(layout_check(m, POOL_META_BYTES - PAGE_BYTES, NULL), ==,
		  -EPROTO);
	free(m);
}

/* Who knows stripes goes on; the bit keeps out who does not. */
TEST(a_pool_with_stripes_says_so)
{
	struct pool_meta *m = new_meta();

	layout_init(m, 1, "t");
	CHECK_INT(shared_load64(&m->header.incompat), ==, 0);
	layout_feature(m, LAYOUT_INCOMPAT_STRIPES);
	layout_feature(m, LAYOUT_INCOMPAT_STRIPES);
	CHECK_INT(shared_load64(&m->header.incompat), ==,
		  LAYOUT_INCOMPAT_STRIPES);
	CHECK_OK(layout_check(m, POOL_META_BYTES, NULL));
	free(m);
}

TEST(client_segment_is_whole_pages)
{
	CHECK_INT(client_segment_bytes(0, 0) % PAGE_BYTES, ==, 0);
	CHECK_INT(client_segment_bytes(UINT32_MAX, UINT32_MAX), >, 1ull << 35);
}
