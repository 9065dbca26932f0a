/* SPDX-License-Identifier: Apache-2.0 */
#include "region/mem.h"
#include "base/hash.h"

static void coherent_publish(shared_u64 *word, uint64_t value)
{
	/* Pairs with coherent_validate(). */
	shared_store64_release(word, value);
}

static bool coherent_validate(const shared_u64 *word, uint64_t value)
{
	/* Pairs with coherent_publish(). */
	return shared_load64_acquire(word) == value;
}

static void coherent_fence(void)
{
	shared_fence();
}

static bool coherent_swap(shared_u64 *word, uint64_t from, uint64_t to)
{
	return shared_swap64(word, from, to);
}

const struct region_mem region_mem_coherent = {
	.name = "coherent",
	.publish = coherent_publish,
	.validate = coherent_validate,
	.fence = coherent_fence,
	.swap = coherent_swap,
	.fill = hash_copy,
};

const struct region_mem *region_mem_of(uint64_t mode)
{
	return mode == REGION_COHERENT ? &region_mem_coherent : NULL;
}
