/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brute force beside the fleet index: a forest of blocks with one byte for each
 * (block, holder), and answers counted one block at a time.
 */
#ifndef ONECOPY_TESTS_INDEX_FLEET_MODEL_H
#define ONECOPY_TESTS_INDEX_FLEET_MODEL_H

#include "tests/test.h"
#include "base/rng.h"
#include "index/fleet.h"

#define MODEL_BLOCKS 1600u
#define MODEL_DEPTH  260u

struct model {
	struct fleet *f;
	struct fleet_reader *reader;
	void *mem;
	struct fleet_options o;
	uint32_t holders; /* dense here: (engine * groups + group) * tiers + t */
	uint32_t n;	  /* blocks 1 .. n */
	uint32_t parent[MODEL_BLOCKS + 1]; /* 0: a root */
	uint32_t depth[MODEL_BLOCKS + 1];
	uint8_t *in; /* [block * holders + holder] */
	uint64_t pairs;
	struct rng rng;
};

TEST_STATIC uint64_t model_name(uint32_t block)
{
	return fleet_key(block, 77);
}

TEST_STATIC uint8_t *model_in(struct model *m, uint32_t block, uint32_t engine,
			      uint32_t group, uint32_t tier)
{
	uint32_t groups = MAX(m->o.n_groups, 1u);

	return &m->in[(size_t)block * m->holders +
		      (engine * groups + group) * m->o.tiers + tier];
}

/* Chains that fork from each other at random, with some long and many short. */
TEST_STATIC void model_forest(struct model *m)
{
	while (m->n < MODEL_BLOCKS) {
		uint32_t at = m->n && rng_below(&m->rng, 8)
				      ? 1 + (uint32_t)rng_below(&m->rng, m->n)
				      : 0;
		uint32_t len =
			1 + (uint32_t)rng_below(
				    &m->rng, rng_below(&m->rng, 3) ? 20 : 200);

		for (; len && m->n < MODEL_BLOCKS &&
		       (!at || m->depth[at] + 1 < MODEL_DEPTH);
		     len--) {
			uint32_t b = ++m->n;

			m->parent[b] = at;
			m->depth[b] = at ? m->depth[at] + 1 : 0;
			at = b;
		}
	}
}

TEST_STATIC void model_open(struct model *m, struct fleet_options o,
			    uint64_t bytes, uint64_t seed)
{
	*m = (struct model){ .o = o, .rng = { seed } };
	m->o.size = sizeof(m->o);
	m->holders = o.engines * MAX(o.n_groups, 1u) * o.tiers;
	m->mem = aligned_alloc(64, bytes);
	m->in = calloc(MODEL_BLOCKS + 1, m->holders);
	CHECK(m->mem && m->in);
	memset(m->mem, 0, bytes);
	CHECK_OK(fleet_init(m->mem, bytes, &m->o, &m->f));
	CHECK_OK(fleet_reader_create(m->f, MODEL_DEPTH, &m->reader));
	model_forest(m);
}

TEST_STATIC void model_close(struct model *m)
{
	fleet_reader_destroy(m->reader);
	free(m->mem);
	free(m->in);
}

/* The chain that ends with this block; returns its length. */
TEST_STATIC uint32_t model_chain(const struct model *m, uint32_t block,
				 uint32_t *chain)
{
	uint32_t n = m->depth[block] + 1;

	for (uint32_t i = n; i-- > 0; block = m->parent[block])
		chain[i] = block;
	return n;
}

/* Blocks [from, to) of the chain, in one event or in several. */
TEST_STATIC void model_store(struct model *m, const uint32_t *chain,
			     uint32_t from, uint32_t to, uint32_t engine,
			     uint32_t group, uint32_t tier)
{
	uint64_t names[MODEL_DEPTH];
	struct fleet_event e = { .keys = names,
				 .n = to - from,
				 .engine = engine,
				 .kind = FLEET_STORE,
				 .group = (uint8_t)group,
				 .tier = (uint8_t)tier,
				 .root = !from };

	if (from)
		e.parent = model_name(chain[from - 1]);
	for (uint32_t i = from; i < to; i++) {
		uint8_t *in = model_in(m, chain[i], engine, group, tier);

		names[i - from] = model_name(chain[i]);
		m->pairs += !*in;
		*in = 1;
	}
	fleet_apply(m->f, &e, 1);
}

/* These blocks, in this order; those that are not there as well. */
TEST_STATIC void model_remove(struct model *m, const uint32_t *blocks,
			      uint32_t n, uint32_t engine, uint32_t group,
			      uint32_t tier)
{
	uint64_t names[MODEL_DEPTH];
	struct fleet_event e = { .keys = names,
				 .n = n,
				 .engine = engine,
				 .kind = FLEET_REMOVE,
				 .group = (uint8_t)group,
				 .tier = (uint8_t)tier };

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *in = model_in(m, blocks[i], engine, group, tier);

		names[i] = model_name(blocks[i]);
		m->pairs -= *in;
		*in = 0;
	}
	fleet_apply(m->f, &e, 1);
}

TEST_STATIC void model_clear(struct model *m, uint32_t engine)
{
	for (uint32_t b = 1; b <= m->n; b++)
		for (uint32_t g = 0; g < MAX(m->o.n_groups, 1u); g++)
			for (uint32_t t = 0; t < m->o.tiers; t++) {
				uint8_t *in = model_in(m, b, engine, g, t);

				m->pairs -= *in;
				*in = 0;
			}
	fleet_clear(m->f, engine);
}

/* ---- answers ----------------------------------------------------------------------- */

struct model_ask {
	struct model *m;
	const uint32_t *chain;
	uint32_t engine, tier;
};

TEST_STATIC bool model_has(void *ctx, unsigned group, size_t block)
{
	const struct model_ask *a = ctx;

	for (uint32_t t = 0; t <= a->tier; t++)
		if (*model_in(a->m, a->chain[block], a->engine, group, t))
			return true;
	return false;
}

TEST_STATIC uint32_t model_prefix(struct model *m, const uint32_t *chain,
				  uint32_t n, uint32_t engine, uint32_t tier)
{
	static const struct match_group full = { .rule = MATCH_FULL };
	struct model_ask a = { m, chain, engine, MIN(tier, m->o.tiers - 1) };

	return (uint32_t)match_prefix(m->o.n_groups ? m->o.groups : &full,
				      MAX(m->o.n_groups, 1u), n, model_has, &a);
}

/* Looks the chain up, with `extra` blocks after it that nobody knows, and
 * compares. `below`: answers may be shorter, never longer. */
TEST_STATIC void model_look(struct model *m, const uint32_t *chain, uint32_t n,
			    uint32_t extra, bool below)
{
	uint64_t names[2 * MODEL_DEPTH];
	struct fleet_found found;
	uint32_t i = 0;

	for (uint32_t k = 0; k < n + extra; k++)
		names[k] = k < n ? model_name(chain[k])
				 : model_name(1000000 + k);
	fleet_look(m->reader, names, n + extra, &found);
	CHECK(!found.cut);
	CHECK_INT(found.tries, ==, 1);
	for (uint32_t e = 0; e < m->o.engines; e++) {
		bool hit = i < found.n_hits && found.hits[i].engine == e;

		for (uint32_t t = 0; t < FLEET_TIERS_MAX; t++) {
			uint32_t got = hit ? found.hits[i].blocks[t] : 0;
			uint32_t want = model_prefix(m, chain, n, e, t);

			if (below)
				CHECK_INT(got, <=, want);
			else
				CHECK_INT(got, ==, want);
		}
		i += hit;
	}
	CHECK_INT(i, ==, found.n_hits);
}

TEST_STATIC void model_check(struct model *m)
{
	const char *bad = fleet_check(m->f);

	if (bad)
		FAIL("fleet_check: %s", bad);
}

TEST_STATIC uint32_t model_any(struct model *m, uint64_t n)
{
	return (uint32_t)rng_below(&m->rng, n);
}

#endif
