/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/cxl/cxl.h"
#include "tier/gpu/gpu.h"
#include "tier/tier.h"

static const struct tier_ops *const tiers[] = { &tier_dram, &tier_cxl,
						&tier_nvme, &tier_gpu };

const struct tier_ops *tier_find(unsigned kind)
{
	for (size_t i = 0; i < ARRAY_LEN(tiers); i++)
		if (tiers[i]->kind == kind)
			return tiers[i];
	return NULL;
}

/* A running mean (1/4 of the new figure), so that one disturbed measurement
 * does not turn decisions around. */
static uint64_t blend(uint64_t old, uint64_t fresh)
{
	return old ? old - old / 4 + fresh / 4 : fresh;
}

void tier_publish_price(unsigned kind, const struct tier_price *price,
			struct pool_meta *m, uint64_t now_ms)
{
	struct tier_record *t = &m->tier[kind];

	shared_store64(&t->latency_ns,
		       blend(shared_load64(&t->latency_ns), price->latency_ns));
	shared_store64(&t->bytes_per_s, blend(shared_load64(&t->bytes_per_s),
					      price->bytes_per_s));
	shared_store64(&t->measured_ms, now_ms);
	shared_store64(&t->kind, kind);
}

int tier_publish(const struct tier_ops *ops, struct pool_meta *m,
		 uint64_t now_ms)
{
	struct tier_price price;
	int r = ops->measure(&price);

	if (r < 0)
		return r;
	tier_publish_price(ops->kind, &price, m, now_ms);
	return 0;
}

const char *tier_state_name(enum tier_state state)
{
	static const char *const names[TIER_STATES] = {
		[TIER_COMING] = "coming", [TIER_UP] = "up",
		[TIER_SLOW] = "slow",	  [TIER_READONLY] = "read-only",
		[TIER_DOWN] = "down",
	};

	return state < TIER_STATES ? names[state] : "";
}
