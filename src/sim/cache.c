/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cache.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

#define TICK_REQUESTS 1024u

static const struct sim_policy *const policies[] = {
	&sim_policy_lru,    &sim_policy_onecopy, &sim_policy_hints,
	&sim_policy_s3fifo, &sim_policy_sieve,	 &sim_policy_arc,
	&sim_policy_lfuda,  &sim_policy_gdsf,	 &sim_policy_bound,
};

static const struct sim_policy *const two_rungs[] = {
	&sim_policy_lru_two,
	&sim_policy_onecopy_two,
	&sim_policy_hints_two,
};

const char *sim_cache_policy_name(size_t i)
{
	return i < ARRAY_LEN(policies) ? policies[i]->name : NULL;
}

static const struct sim_policy *find(const struct sim_cache_options *o)
{
	const struct sim_policy *const *p = o->nvme ? two_rungs : policies;
	size_t n = o->nvme ? ARRAY_LEN(two_rungs) : ARRAY_LEN(policies);

	for (size_t i = 0; o->policy && i < n; i++)
		if (strcmp(p[i]->name, o->policy) == 0)
			return p[i];
	return NULL;
}

double sim_prefill_s(const struct sim_prefill *p, uint64_t from, uint64_t to)
{
	double a = (double)from, b = (double)to;

	return ((b - a) + (b * b - a * a) / (2 * p->twice)) / p->rate;
}

void sim_cache_admit(struct sim_cache *c, uint32_t block)
{
	c->resident[block] = 1;
	c->result.admitted++;
	c->result.resident++;
	c->result.peak = MAX(c->result.peak, c->result.resident);
	if (c->o->decided)
		c->o->decided(c->o->ctx, c->after, '+', c->t->id[block]);
}

void sim_cache_evict(struct sim_cache *c, uint32_t block)
{
	c->resident[block] = 0;
	if (c->ahead_ns)
		c->ahead_ns[block] = 0;
	c->result.evicted++;
	c->result.resident--;
	if (c->o->decided)
		c->o->decided(c->o->ctx, c->after, '-', c->t->id[block]);
}

void sim_cache_write(struct sim_cache *c, uint32_t block)
{
	c->below[block] = 1;
	c->result.written++;
	c->result.nvme_resident++;
	if (c->o->decided)
		c->o->decided(c->o->ctx, c->after, '>', c->t->id[block]);
}

void sim_cache_forget(struct sim_cache *c, uint32_t block)
{
	c->below[block] = 0;
	c->result.nvme_resident--;
	if (c->o->decided)
		c->o->decided(c->o->ctx, c->after, '<', c->t->id[block]);
}

static bool is_found(const struct sim_cache *c, uint32_t block)
{
	return c->resident[block] || (c->below && c->below[block]);
}

/* Time to load a block that was found on a rung; what was copied up ahead may be
 * still on its way, and takes what is left of that. */
static uint64_t load_ns(struct sim_cache *c, uint32_t block, uint32_t rung)
{
	const struct sim_cache_options *o = c->o;
	uint64_t ns = ladder_load_ns(&o->rung[rung], o->block_bytes);
	uint64_t below = ladder_load_ns(&o->rung[1], o->block_bytes);
	uint64_t now = c->q->at_ms * 1000000, there = c->ahead_ns[block];

	if (!there)
		return ns;
	c->ahead_ns[block] = 0;
	if (there - 1 > now)
		ns = MIN(ns + (there - 1 - now), MAX(below, ns));
	c->result.prefetched_used++;
	c->result.prefetch_saved_s += (double)(MAX(below, ns) - ns) / 1e9;
	return ns;
}

/* Loading what was found, or computing it where that is faster. */
static void load(struct sim_cache *c)
{
	const struct sim_cache_options *o = c->o;

	for (uint32_t i = 0; i < c->hits; i++) {
		uint32_t rung = !c->resident[c->blocks[i]];
		uint64_t ns = load_ns(c, c->blocks[i], rung);
		uint64_t at = (uint64_t)i * o->block_tokens;
		uint64_t to = MIN(at + o->block_tokens, (uint64_t)c->q->input);

		c->result.nvme_hit_blocks += rung;
		if (to > at)
			c->result.load_s +=
				MIN((double)ns / 1e9,
				    sim_prefill_s(&o->prefill, at, to));
	}
}

/* What is found, and what that saves. */
static void look(struct sim_cache *c)
{
	const struct sim_cache_options *o = c->o;
	uint64_t found;

	c->hits = 0;
	while (c->hits < c->q->n && is_found(c, c->blocks[c->hits]))
		c->hits++;
	found = MIN((uint64_t)c->hits * o->block_tokens, (uint64_t)c->q->input);
	if (o->found)
		o->found(o->ctx, c->number, c->hits);
	c->result.requests++;
	c->result.blocks += c->q->n;
	c->result.hit_blocks += c->hits;
	c->result.saved_prefill_s += sim_prefill_s(&o->prefill, 0, found);
	c->result.prefill_s += sim_prefill_s(&o->prefill, 0, c->q->input);
	if (c->below)
		load(c);
}

static void one(struct sim_cache *c, const struct sim_policy *p, uint64_t i)
{
	c->number = i;
	c->q = &c->t->request[i];
	c->blocks = c->t->block + c->q->first;
	c->n = MIN(c->q->n, c->o->dram);
	if (p->pass)
		p->pass(c);
	c->after = i;
	look(c);
	for (uint32_t k = 0; k < c->q->n; k++)
		c->in_use[c->blocks[k]] = i + 1;
	p->request(c);
}

static int all(struct sim_cache *c, const struct sim_policy *p)
{
	uint64_t n = c->t->requests;

	if (c->o->limit)
		n = MIN(n, c->o->limit);
	for (uint64_t i = 0; i < n; i++) {
		if (i % TICK_REQUESTS == 0 && c->o->tick &&
		    c->o->tick(c->o->ctx, (double)i / (double)n))
			return -EINTR;
		one(c, p, i);
	}
	return 0;
}

int sim_cache_run(const struct sim_trace *t, const struct sim_cache_options *o,
		  struct sim_cache_result *ret_result)
{
	const struct sim_policy *p = find(o);
	struct sim_cache_options full = *o;
	struct sim_cache c = { .t = t, .o = &full };
	int r = -ENOMEM;

	if (!p || !o->dram)
		return -EINVAL;
	if (!full.block_tokens)
		full.block_tokens = 512;
	if (full.hint_exact)
		full.hint_error_pm = 0;
	else if (!full.hint_error_pm)
		full.hint_error_pm = 500;
	if (!(full.prefill.rate > 0))
		full.prefill.rate = 10000;
	if (!(full.prefill.twice > 0))
		full.prefill.twice = 32768;
	c.resident = mem_array(t->distinct + 1ull, sizeof(*c.resident));
	c.in_use = mem_array(t->distinct + 1ull, sizeof(*c.in_use));
	if (o->nvme) {
		c.below = mem_array(t->distinct + 1ull, sizeof(*c.below));
		c.ahead_ns = mem_array(t->distinct + 1ull, sizeof(*c.ahead_ns));
	}
	if (c.resident && c.in_use && ((c.below && c.ahead_ns) || !o->nvme))
		r = p->create(&c);
	if (!r) {
		r = all(&c, p);
		p->destroy(&c);
	}
	if (!r)
		*ret_result = c.result;
	free(c.resident);
	free(c.below);
	free(c.ahead_ns);
	free(c.in_use);
	return r;
}
