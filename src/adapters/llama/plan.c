/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/llama/plan.h"

#include <onecopy/llama.h>

#define PLAN_TRY_EVERY 16u
#define PREFILL_KEEP   0.9
#define PACE_MOST_NS   100000000ll

static double smooth(double before, size_t tokens, uint64_t ns)
{
	double now = (double)ns / (double)tokens;

	return before == 0 ? now : before * 0.75 + now * 0.25;
}

void plan_imported(struct plan *p, size_t tokens, uint64_t ns)
{
	if (tokens)
		p->import_ns = smooth(p->import_ns, tokens, ns);
}

void plan_computed(struct plan *p, size_t tokens, uint64_t ns)
{
	if (tokens)
		p->compute_ns = smooth(p->compute_ns, tokens, ns);
}

bool plan_worth(struct plan *p)
{
	if (p->import_ns == 0 || p->compute_ns == 0 ||
	    p->import_ns <= p->compute_ns ||
	    ++p->skipped % PLAN_TRY_EVERY == 0) {
		p->skipped = 0;
		return true;
	}
	return false;
}

void prefill_add(struct prefill *p, size_t depth, size_t tokens, uint64_t ns)
{
	double x, y;

	if (!tokens || !ns)
		return;
	x = (double)depth + (double)(tokens - 1) / 2;
	y = (double)ns / (double)tokens;
	p->n = p->n * PREFILL_KEEP + 1;
	p->x = p->x * PREFILL_KEEP + x;
	p->y = p->y * PREFILL_KEEP + y;
	p->xx = p->xx * PREFILL_KEEP + x * x;
	p->xy = p->xy * PREFILL_KEEP + x * y;
}

bool prefill_fit(const struct prefill *p, double *ret_base, double *ret_growth)
{
	double spread, growth = 0, base;

	if (p->n == 0)
		return false;
	spread = p->xx - p->x * p->x / p->n;
	/* depths that are all but alike say nothing of growth */
	if (spread > p->xx * 1e-3)
		growth = (p->xy - p->x * p->y / p->n) / spread;
	base = (p->y - growth * p->x) / p->n;
	if (growth < 0 || base <= 0) {
		growth = 0;
		base = p->y / p->n;
	}
	*ret_base = base;
	*ret_growth = growth;
	return true;
}

bool pace_allows(struct pace *p, uint64_t now_ns)
{
	if (p->last_ns)
		p->credit_ns +=
			(int64_t)((now_ns - p->last_ns) * p->percent / 100);
	p->credit_ns = MIN(p->credit_ns, PACE_MOST_NS);
	p->last_ns = now_ns;
	return p->credit_ns >= 0;
}

void pace_spent(struct pace *p, uint64_t begin_ns, uint64_t end_ns)
{
	p->credit_ns -= (int64_t)(end_ns - begin_ns);
	p->last_ns = end_ns;
}

size_t oc_llama_exact(size_t past, size_t n, uint32_t n_batch,
		      uint32_t n_ubatch)
{
	uint32_t unit = n_ubatch;

	if (n && past >= n - 1)
		return n - 1;
	if (unit == 0 || (n_batch && n_batch % unit))
		unit = n_batch;
	return unit ? past - past % unit : 0;
}
