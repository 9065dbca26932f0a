/* SPDX-License-Identifier: Apache-2.0 */
#include "client/slots.h"
#include <pthread.h>
#include <sched.h>
#include "tests/test.h"
#include "base/fault.h"

TEST(slots_are_given_once)
{
	for (uint32_t n = 1; n < 200; n += 13) {
		struct slots s;
		bool had[200] = { false };

		CHECK_OK(slots_init(&s, n));
		for (uint32_t i = 0; i < n; i++) {
			uint32_t slot = slots_claim(&s, i);

			CHECK_INT(slot, <, n);
			CHECK(!had[slot]);
			had[slot] = true;
			CHECK(slots_is_taken(&s, slot));
		}
		CHECK_INT(slots_claim(&s, 3), ==, SLOTS_NONE);
		slots_release(&s, n / 2);
		CHECK_INT(slots_claim(&s, 0), ==, n / 2);
		slots_fini(&s);
	}
}

TEST(slots_come_a_word_at_a_time)
{
	uint32_t hint = 1, word, got = 0;
	struct slots s;
	uint64_t bits;

	CHECK_OK(slots_init(&s, 150));
	bits = slots_claim_some(&s, &hint, 10, &word);
	CHECK_INT(word, ==, 1);
	CHECK_INT(__builtin_popcountll(bits), ==, 10);
	while ((bits = slots_claim_some(&s, &hint, 100, &word)))
		got += (uint32_t)__builtin_popcountll(bits);
	CHECK_INT(got, ==, 140);
	slots_release_bits(&s, 2, 3);
	CHECK_INT(slots_claim_some(&s, &hint, 1, &word), ==, 1);
	slots_fini(&s);
	slots_fini(&s);
}

static struct slots shared_slots;
static _Atomic(uint32_t) owner[70];

static void *claim_many(void *ctx)
{
	uint32_t me = (uint32_t)(uintptr_t)ctx;

	for (int i = 0; i < 20000; i++) {
		uint32_t slot = slots_claim(&shared_slots, me);

		if (slot == SLOTS_NONE) {
			sched_yield();
			continue;
		}
		CHECK_INT(atomic_exchange(&owner[slot], me), ==, 0);
		atomic_store(&owner[slot], 0);
		slots_release(&shared_slots, slot);
	}
	return NULL;
}

TEST(threads_never_share_a_slot)
{
	pthread_t threads[4];

	CHECK_OK(slots_init(&shared_slots, 70));
	for (uintptr_t i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, claim_many,
					(void *)(i + 1)));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 70; i++)
		CHECK(!slots_is_taken(&shared_slots, (uint32_t)i));
	slots_fini(&shared_slots);
}

TEST(no_memory)
{
	struct slots s;

	fault_arm(FAULT_ALLOC, 1, false);
	CHECK_INT(slots_init(&s, 10), ==, -ENOMEM);
	fault_arm(0, 0, false);
}
