/* SPDX-License-Identifier: Apache-2.0 */
/* Readers while the writer inserts, removes and moves. */
#include "tests/index/table_model.h"
#include <pthread.h>

#define STAYING 60u /* 1..STAYING are never removed */
#define NUMBERS 120u
#define STEPS	20000u

static struct model *m;
static _Atomic bool done;

/* What a reader knows of the staying entries; the writer never changes it. */
static struct table_hash hash_of[NUMBERS + 1];
static uint64_t word_of[NUMBERS + 1];

/* Words that a probe may return: of the same tag, of this table. */
static void check_word(struct table_hash h, uint64_t word)
{
	uint64_t loc = table_word_loc(word);

	CHECK(loc >= 1 && loc <= NUMBERS);
	CHECK(word == word_of[loc]);
	CHECK_INT(word >> 48, ==, h.h >> 48);
}

static void *reader(void *arg)
{
	struct rng r = { (uint64_t)(uintptr_t)arg };
	uint64_t found = 0, missed = 0;

	do {
		uint32_t i = 1 + (uint32_t)rng_below(&r, STAYING);
		unsigned cursor = 0;
		bool hit = false;
		uint64_t word;

		while ((word = table_probe(&m->t, hash_of[i], &cursor))) {
			check_word(hash_of[i], word);
			hit |= word == word_of[i];
		}
		found += hit;
		missed += !hit;
	} while (!atomic_load_explicit(&done, memory_order_acquire));
	printf("found %llu, missed while moved %llu\n",
	       (unsigned long long)found, (unsigned long long)missed);
	CHECK(missed <= found); /* a miss is the moment of a move */
	return NULL;
}

static void write_all(void)
{
	struct rng r = { 11 };

	for (unsigned step = 0; step < STEPS; step++) {
		uint32_t i = STAYING + 1 +
			     (uint32_t)rng_below(&r, NUMBERS - STAYING);

		if (m->in[i])
			CHECK(table_remove(&m->t, hash_of[i], word_of[i]));
		else if (table_insert(&m->t, hash_of[i], word_of[i], model_home,
				      m))
			continue;
		m->in[i] = !m->in[i];
	}
}

TEST(readers_meet_no_wrong_word)
{
	pthread_t thread[3];

	m = model_create(80, NUMBERS); /* 128 places */
	CHECK_INT(m->t.mask, ==, 15);
	for (uint32_t i = 1; i <= NUMBERS; i++) {
		hash_of[i] = model_hash(m, i);
		word_of[i] = model_word(m, i);
	}
	for (uint32_t i = 1; i <= STAYING; i++) {
		CHECK_OK(table_insert(&m->t, hash_of[i], word_of[i], model_home,
				      m));
		m->in[i] = true;
	}
	for (uintptr_t i = 0; i < ARRAY_LEN(thread); i++)
		CHECK_OK(-pthread_create(&thread[i], NULL, reader,
					 (void *)(i + 1)));
	write_all();
	atomic_store_explicit(&done, true, memory_order_release);
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		CHECK_OK(-pthread_join(thread[i], NULL));
	model_check_but(m, 0);
	model_destroy(m);
}
