/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of DRAM: how long a dependent load takes, and how fast one core
 * reads a stream. Measured on a buffer of its own that is larger than a core's
 * private caches; a shared cache may still flatter it, so this is the price of
 * memory as a process on this machine meets it, not of the bare modules.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/rng.h"
#include "tier/tier.h"

#define BUFFER_BYTES (8ull << 20)
#define LINES	     (BUFFER_BYTES / CACHE_LINE)
#define CHASES	     20000

/* One random cycle through all lines (Sattolo). */
static void chain_make(uint64_t *words)
{
	struct rng r = { 1 };

	for (uint64_t i = 0; i < LINES; i++)
		words[i * 8] = i;
	for (uint64_t i = LINES - 1; i > 0; i--) {
		uint64_t j = rng_below(&r, i), t = words[i * 8];

		words[i * 8] = words[j * 8];
		words[j * 8] = t;
	}
}

static uint64_t chase_ns(const uint64_t *words)
{
	uint64_t at = 0, start = clock_ns();

	for (unsigned i = 0; i < CHASES; i++)
		at = words[at * 8];
	/* the result is used, so the loop stays */
	return (clock_ns() - start + (at == UINT64_MAX)) / CHASES;
}

static int dram_measure(struct tier_price *ret_price)
{
	CLEANUP(mem_free_at) uint64_t *words = mem_alloc(BUFFER_BYTES);
	uint64_t start, ns, seed;

	if (!words)
		return -ENOMEM;
	chain_make(words);
	ret_price->latency_ns = MAX(chase_ns(words), 1ull);
	start = clock_ns();
	seed = hash_bytes(words, BUFFER_BYTES, 0);
	ns = MAX(clock_ns() - start + (seed == 1), 1ull);
	ret_price->bytes_per_s =
		(uint64_t)((double)BUFFER_BYTES * 1e9 / (double)ns);
	return 0;
}

const struct tier_ops tier_dram = {
	.name = "dram",
	.kind = OC_TIER_DRAM,
	.measure = dram_measure,
};
