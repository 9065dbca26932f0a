/* SPDX-License-Identifier: Apache-2.0 */
/* The writer dies after any of its stores. */
#include "tests/index/table_model.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else
#include <setjmp.h>

static jmp_buf cut;
static unsigned stores_left;

static void count_down(void *addr, unsigned width, uint64_t value,
		       enum shared_order order)
{
	(void)addr;
	(void)width;
	(void)value;
	(void)order;
	if (!stores_left--)
		longjmp(cut, 1);
}

enum op { INSERT, REMOVE, REPLACE };

static void act(struct model *m, enum op op, uint32_t i, uint64_t other)
{
	struct table_hash h = model_hash(m, i);
	uint64_t word = model_word(m, i);

	if (op == INSERT)
		(void)table_insert(&m->t, h, word, model_home, m);
	else if (op == REMOVE)
		table_remove(&m->t, h, word);
	else
		table_replace(&m->t, h, word, other);
}

/* True when the operation was cut after `stores` stores. */
static bool act_cut(struct model *m, enum op op, uint32_t i, uint64_t other,
		    unsigned stores)
{
	bool was_cut;

	stores_left = stores;
	shared_record_hook = count_down;
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		act(m, op, i, other);
	shared_record_hook = NULL;
	return was_cut;
}

static uint64_t seen_twice;

static void tally(void *ctx, uint64_t bucket, uint64_t word)
{
	(void)bucket;
	if (word == *(uint64_t *)ctx)
		seen_twice++;
}

/* Cuts one operation after 0, 1, 2, ... stores until it runs through; each
 * time all others are there, and the next writer can clear the entry. */
static unsigned cut_everywhere(struct model *m, enum op op, uint32_t i)
{
	uint64_t size = m->bytes, word = model_word(m, i);
	uint64_t other = word ^ 1ull << 40;
	void *before = malloc(size), *mem = m->t.header;
	unsigned stores = 0;
	bool was_cut;

	CHECK(before);
	memcpy(before, mem, size);
	m->stale[i] = true; /* found or missed */
	do {
		memcpy(mem, before, size);
		was_cut = act_cut(m, op, i, other, stores++);
		model_check_but(m, i);
		m->in[i] = true;
		table_remove(&m->t, model_hash(m, i), word);
		table_remove(&m->t, model_hash(m, i), other);
		seen_twice = 0;
		table_each(&m->t, tally, &word);
		CHECK_INT(seen_twice, ==, 0);
		m->in[i] = op != INSERT;
	} while (was_cut);
	memcpy(mem, before, size);
	m->stale[i] = false;
	free(before);
	return stores;
}

TEST(survives_a_cut_after_any_store)
{
	struct model *m = model_create(80, 4000);
	unsigned most = 0, n;

	for (uint32_t i = 1; i < 200; i++) {
		n = cut_everywhere(m, INSERT, i);
		most = MAX(most, n);
		if (table_insert(&m->t, model_hash(m, i), model_word(m, i),
				 model_home, m))
			continue;
		m->in[i] = true;
		cut_everywhere(m, REMOVE, i);
		cut_everywhere(m, REPLACE, i);
	}
	CHECK_INT(most, >, 3); /* some inserts moved others */
	model_destroy(m);
}

/* A cut move leaves two copies; later moves keep working on top of that. */
TEST(goes_on_after_cut_moves)
{
	struct model *m = model_create(80, 4000);
	struct rng r = { 3 };

	for (unsigned step = 0; step < 4000; step++) {
		uint32_t i = 1 + (uint32_t)rng_below(&r, 125);

		if (m->in[i]) {
			CHECK(table_remove(&m->t, model_hash(m, i),
					   model_word(m, i)));
			m->in[i] = false;
		} else {
			act_cut(m, INSERT, i, 0, (unsigned)rng_below(&r, 6));
			m->in[i] = model_find(m, i);
		}
		model_check_but(m, 0);
	}
	model_destroy(m);
}
#endif
