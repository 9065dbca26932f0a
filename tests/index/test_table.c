/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/index/table_model.h"

static void tally(void *ctx, uint64_t bucket, uint64_t word)
{
	(void)bucket;
	(void)word;
	++*(uint64_t *)ctx;
}

static void add(struct model *m, uint32_t i, uint64_t *full)
{
	int err = table_insert(&m->t, model_hash(m, i), model_word(m, i),
			       model_home, m);

	if (err)
		CHECK_INT(err, ==, -ENOSPC);
	else
		m->in[i] = true;
	*full += err != 0;
}

static void drop(struct model *m, struct rng *r, uint32_t i)
{
	if (rng_below(r, 4) == 0) {
		m->stale[i] = true; /* left behind, to be overwritten */
	} else {
		CHECK(table_remove(&m->t, model_hash(m, i), model_word(m, i)));
		CHECK(!table_remove(&m->t, model_hash(m, i), model_word(m, i)));
	}
	m->in[i] = false;
	m->gen[i]++;
}

static void swap(struct model *m, uint32_t i)
{
	struct table_hash h = model_hash(m, i);
	uint64_t word = model_word(m, i);
	uint64_t other = word ^ 1ull << 40; /* another generation */

	CHECK(table_replace(&m->t, h, word, other));
	CHECK(!model_find(m, i));
	CHECK(!table_replace(&m->t, h, word, other));
	CHECK(table_replace(&m->t, h, other, word));
}

static void random_steps(uint64_t entries, uint32_t n, unsigned steps)
{
	struct model *m = model_create(entries, n);
	struct rng r = { entries };
	uint64_t full = 0;

	for (unsigned s = 0; s < steps; s++) {
		uint32_t i = 1 + (uint32_t)rng_below(&r, n);

		if (!m->in[i])
			add(m, i, &full);
		else if (rng_below(&r, 3))
			drop(m, &r, i);
		else
			swap(m, i);
		model_check_but(m, 0);
	}
	printf("%llu inserts found no room\n", (unsigned long long)full);
	model_destroy(m);
}

TEST(agrees_with_a_map)
{
	random_steps(40, 60, 6000);
	random_steps(300, 700, 2000);
}

TEST(agrees_with_a_map_when_there_is_one_bucket)
{
	random_steps(4, 12, 3000);
}

TEST(loads_to_nine_tenths_before_it_is_full)
{
	struct model *m = model_create(2800, MODEL_MAX - 1);
	uint64_t full = 0, n = 0, slots = (m->t.mask + 1) * TABLE_WAYS;

	for (uint32_t i = 1; i <= m->n && !full; i++)
		add(m, i, &full);
	table_each(&m->t, tally, &n);
	printf("%llu of %llu\n", (unsigned long long)n,
	       (unsigned long long)slots);
	CHECK(full);
	CHECK_INT(n * 10, >=, slots * 9);
	model_check_but(m, 0);
	model_destroy(m);
}

TEST(has_room_for_what_it_was_sized_for)
{
	for (uint64_t n = 1; n < 100000; n = n * 3 + 1) {
		struct table t = { 0 };
		uint64_t bytes = table_bytes(n);

		t.mask = (bytes - sizeof(struct table_header)) /
				 sizeof(struct table_bucket) -
			 1;
		CHECK_INT((t.mask + 1) * TABLE_WAYS * 7, >=, n * 10);
		CHECK_INT(table_room(&t), <, (t.mask + 1) * TABLE_WAYS);
	}
}

TEST(buckets_of_a_hash_differ)
{
	struct rng r = { 5 };

	for (unsigned bits = 1; bits < 24; bits++) {
		struct table t = { .mask = (1ull << bits) - 1 };

		for (unsigned i = 0; i < 1000; i++) {
			struct table_hash h = { rng_next(&r) };

			CHECK(table_bucket_a(&t, h) != table_bucket_b(&t, h));
			CHECK(table_bucket_b(&t, h) <= t.mask);
		}
	}
}

TEST(a_hostile_header_is_refused)
{
	struct model *m = model_create(100, 1);
	void *mem = m->t.header;
	struct table t = { 0 };

	CHECK_OK(table_attach(&t, mem, m->bytes));
	CHECK_INT(t.mask, ==, m->t.mask);
	CHECK_INT(table_attach(&t, mem, m->bytes - 64), ==, -EPROTO);
	CHECK_INT(table_attach(&t, mem, m->bytes / 2), ==, -EPROTO);
	CHECK_INT(table_attach(&t, mem, 63), ==, -EPROTO);
	CHECK_INT(table_attach(&t, mem, 64), ==, -EPROTO);
	CHECK_INT(table_attach(&t, mem, 64 + 3 * 64), ==, -EPROTO);
	CHECK_INT(table_init(&t, mem, 64 + 3 * 64), ==, -EINVAL);
	CHECK_INT(table_init(&t, mem, 64 + 65), ==, -EINVAL);
	CHECK_INT(table_init(&t, mem, 0), ==, -EINVAL);
	shared_store64(&m->t.header->buckets, 1ull << 40);
	CHECK_INT(table_attach(&t, mem, m->bytes), ==, -EPROTO);
	shared_store64(&m->t.header->buckets, 0);
	CHECK_INT(table_attach(&t, mem, m->bytes), ==, -EPROTO);
	shared_store64(&m->t.header->buckets, m->t.mask + 1);
	shared_store64(&m->t.header->magic, TABLE_MAGIC + 1);
	CHECK_INT(table_attach(&t, mem, m->bytes), ==, -EPROTO);
	model_destroy(m);
}

TEST(the_seed_is_the_part)
{
	const uint64_t key[4] = { 1, 2, 3, 4 };

	CHECK(table_hash(key, 1).h != table_hash(key, 2).h);
	CHECK_INT(table_word_loc(table_word(table_hash(key, 1), 0x1ff, 77)), ==,
		  77);
	CHECK_INT(table_word_gen(table_word(table_hash(key, 1), 0x1fe, 77)), ==,
		  0xfe);
}
