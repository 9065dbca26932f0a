/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table and the map that it must agree with: an entry for each number 1..n,
 * whose hash comes from the number and from how often it was filled.
 */
#ifndef ONECOPY_TESTS_INDEX_TABLE_MODEL_H
#define ONECOPY_TESTS_INDEX_TABLE_MODEL_H

#include "base/rng.h"
#include "index/table.h"
#include "tests/test.h"

#define MODEL_MAX 8192

struct model {
	struct table t;
	uint64_t bytes;
	uint32_t n; /* numbers 1..n */
	uint64_t gen[MODEL_MAX];
	bool in[MODEL_MAX];    /* must be found */
	bool stale[MODEL_MAX]; /* may be there, may go */
};

TEST_STATIC struct table_hash model_hash(const struct model *m, uint32_t i)
{
	uint64_t key[4] = { i, m->gen[i], 7, 9 };

	return table_hash(key, 1);
}

TEST_STATIC uint64_t model_word(const struct model *m, uint32_t i)
{
	return table_word(model_hash(m, i), m->gen[i], i);
}

TEST_STATIC bool model_home(void *ctx, uint64_t word, struct table_hash *ret_h)
{
	struct model *m = ctx;
	uint32_t i = (uint32_t)table_word_loc(word);

	CHECK(i >= 1 && i <= m->n);
	if (!m->in[i] || table_word_gen(word) != (m->gen[i] & 0xff))
		return false;
	*ret_h = model_hash(m, i);
	return true;
}

TEST_STATIC struct model *model_create(uint64_t entries, uint32_t n)
{
	struct model *m = calloc(1, sizeof(*m));
	void *mem;

	CHECK(m && n < MODEL_MAX);
	m->bytes = table_bytes(entries);
	m->n = n;
	mem = aligned_alloc(64, m->bytes);
	CHECK(mem);
	memset(mem, 0, m->bytes);
	CHECK_OK(table_init(&m->t, mem, m->bytes));
	return m;
}

TEST_STATIC void model_destroy(struct model *m)
{
	free(m->t.header);
	free(m);
}

TEST_STATIC bool model_find(const struct model *m, uint32_t i)
{
	struct table_hash h = model_hash(m, i);
	uint64_t word = model_word(m, i), got;
	unsigned cursor = 0;

	while ((got = table_probe(&m->t, h, &cursor)))
		if (got == word)
			return true;
	return false;
}

TEST_STATIC void model_count(void *ctx, uint64_t bucket, uint64_t word)
{
	struct model *m = ctx;
	uint32_t i = (uint32_t)table_word_loc(word);
	struct table_hash h;

	CHECK(i >= 1 && i <= m->n);
	CHECK(m->in[i] || m->stale[i]);
	if (!m->in[i] || word != model_word(m, i))
		return;
	h = model_hash(m, i);
	CHECK(bucket == table_bucket_a(&m->t, h) ||
	      bucket == table_bucket_b(&m->t, h));
}

TEST_STATIC void model_check_but(struct model *m, uint32_t but)
{
	for (uint32_t i = 1; i <= m->n; i++)
		if (i != but)
			CHECK(!m->in[i] || model_find(m, i));
	table_each(&m->t, model_count, m);
}

#endif
