/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins against eviction on real processors: readers pin batches of frames and
 * read their payload, which is a plain variable, while one server evicts and
 * fills frames again. A pin that failed to protect shows as payload that
 * changes, and as a race to the thread sanitizer.
 */
#include "base/rng.h"
#include "coherence/pin.h"
#include "tests/test.h"
#include <pthread.h>

#define FRAMES	96u
#define READERS 3u
#define SLOTS	16u
#define ROUNDS	6000u
#define BATCH	16u
#define WORDS	8u

static struct frame_desc desc[FRAMES];
static uint64_t payload[FRAMES][WORDS]; /* plain on purpose */
static _Alignas(64) shared_u64 slot[READERS][SLOTS];
static _Atomic bool done;
static _Atomic uint64_t validated, spared, released;

static uint64_t place_of(uint32_t frame)
{
	return frame_loc(1, frame);
}

static uint64_t content_of(uint32_t frame, uint64_t gen, unsigned word)
{
	struct rng r = { gen << 20 | frame << 4 | word };

	return rng_next(&r);
}

static void step(uint32_t frame, enum frame_event event)
{
	uint64_t next;

	CHECK_OK(frame_step(shared_load64(&desc[frame].word), event, &next));
	/* Every store of the word is a release: a later state hands on what an
	 * earlier one published. Pairs with pin_holds(). */
	shared_store64_release(&desc[frame].word, next);
}

static void fill(uint32_t frame)
{
	uint64_t gen;

	step(frame, FRAME_EV_GRANT);
	gen = frame_word_gen(shared_load64(&desc[frame].word));
	for (unsigned i = 0; i < WORDS; i++)
		payload[frame][i] = content_of(frame, gen, i);
	shared_store64(&desc[frame].checksum, gen);
	step(frame, FRAME_EV_SEAL);
}

/* ---- reader ---- */

static void use(uint32_t frame, uint64_t gen)
{
	for (unsigned i = 0; i < WORDS; i++)
		CHECK_INT(payload[frame][i], ==, content_of(frame, gen, i));
	CHECK_INT(shared_load64(&desc[frame].checksum), ==, gen);
}

static uint64_t pin_batch(shared_u64 *mine, struct rng *r)
{
	uint32_t frame[SLOTS];
	uint64_t gen[SLOTS], held = 0;

	for (unsigned i = 0; i < SLOTS; i++) {
		frame[i] = (uint32_t)rng_below(r, FRAMES);
		gen[i] = frame_word_gen(
			shared_load64_acquire(&desc[frame[i]].word));
		pin_publish(&mine[i], place_of(frame[i]), gen[i]);
	}
	shared_fence();
	for (unsigned i = 0; i < SLOTS; i++) {
		if (pin_holds(&desc[frame[i]], gen[i])) {
			use(frame[i], gen[i]);
			held++;
		}
		pin_clear(&mine[i]);
	}
	return held;
}

static void *reader(void *arg)
{
	shared_u64 *mine = arg;
	struct rng r = { (uint64_t)(mine - slot[0]) };
	uint64_t held = 0;

	while (!atomic_load_explicit(&done, memory_order_acquire))
		held += pin_batch(mine, &r);
	atomic_fetch_add(&validated, held);
	return NULL;
}

/* ---- server ---- */

static bool is_pinned(uint32_t frame)
{
	uint64_t gen = frame_word_gen(shared_load64(&desc[frame].word));
	bool pinned = false;

	/* All of them: each load pairs with an unpin. */
	for (unsigned r = 0; r < READERS; r++)
		for (unsigned i = 0; i < SLOTS; i++)
			pinned |= pin_read(&slot[r][i]) ==
				  pin_word(place_of(frame), gen);
	return pinned;
}

static void evict(uint32_t first)
{
	for (uint32_t i = 0; i < BATCH; i++)
		step(first + i,
		     first + i == 7 ? FRAME_EV_DOOM : FRAME_EV_LEAVE);
	shared_fence();
	for (uint32_t i = 0; i < BATCH; i++) {
		uint32_t frame = first + i;
		bool doomed = frame == 7;

		/* A doomed frame drains: a slot may name it for the moment in
		 * which a reader finds out, but no new pin holds. */
		while (doomed && is_pinned(frame))
			;
		if (!doomed && is_pinned(frame)) {
			step(frame, FRAME_EV_SPARE);
			spared++;
		} else {
			step(frame, FRAME_EV_RELEASE);
			fill(frame);
			released++;
		}
	}
}

TEST(a_pinned_frame_keeps_its_content)
{
	pthread_t thread[READERS];
	struct rng r = { 99 };

	for (uint32_t i = 0; i < FRAMES; i++)
		fill(i);
	for (unsigned i = 0; i < READERS; i++)
		CHECK_OK(-pthread_create(&thread[i], NULL, reader, slot[i]));
	for (unsigned round = 0; round < ROUNDS; round++)
		evict((uint32_t)rng_below(&r, FRAMES / BATCH) * BATCH);
	/* On one processor the readers may not have run yet. */
	while (!spared && !released)
		evict(0);
	atomic_store_explicit(&done, true, memory_order_release);
	for (unsigned i = 0; i < READERS; i++)
		CHECK_OK(-pthread_join(thread[i], NULL));
	printf("%llu pins held, %llu frames spared, %llu released\n",
	       (unsigned long long)validated, (unsigned long long)spared,
	       (unsigned long long)released);
	for (uint32_t i = 0; i < FRAMES; i++) {
		CHECK(!is_pinned(i));
		use(i, frame_word_gen(shared_load64(&desc[i].word)));
	}
}
