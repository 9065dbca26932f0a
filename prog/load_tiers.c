/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's prefix where the node has a drive: what is there is loaded, or left
 * to be computed, as the policy of the load says.
 *
 * Computing is not done: what it would take follows from the rate that was given
 * and counts as time to the first token. Loading is done, block by block, each
 * timed from being asked for until it is resident, and pinned then: what comes up
 * is the first that goes when more comes up.
 */
#include <errno.h>
#include <onecopy/tiers.h>
#include <stdlib.h>

#include "base/clock.h"
#include "load_part.h"

#define ROW 256u /* blocks asked for at once */

struct load_tiers_state {
	const struct load_options *options;
	oc_client *client;
	oc_ns *ns;
	struct load_result *result;
	struct oc_block_info *info;
	uint64_t *asked_ns; /* by block */
	uint32_t cap;
};

/* What was found of a request's n blocks. */
struct found {
	const struct oc_key *keys;
	struct oc_pin *pins;
	uint32_t n;
	size_t resident; /* in a row from the first, pinned */
	size_t there;	 /* resident or on the drive */
	size_t wanted;	 /* as the policy says */
};

struct load_tiers_state *load_tiers_begin(const struct load_options *options,
					  oc_client *c, oc_ns *ns,
					  struct load_result *result)
{
	struct load_tiers_state *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->options = options;
	t->client = c;
	t->ns = ns;
	t->result = result;
	return t;
}

void load_tiers_end(struct load_tiers_state *t)
{
	if (!t)
		return;
	free(t->info);
	free(t->asked_ns);
	free(t);
}

static int reserve(struct load_tiers_state *t, uint32_t n)
{
	if (n <= t->cap)
		return 0;
	free(t->info);
	free(t->asked_ns);
	t->info = calloc(n, sizeof(*t->info));
	t->asked_ns = calloc(n, sizeof(*t->asked_ns));
	t->cap = t->info && t->asked_ns ? n : 0;
	return t->cap ? 0 : -ENOMEM;
}

/* The first `known` blocks are had for what info says; what the others cost. */
static int plan(const struct load_tiers_state *t, const struct found *f,
		size_t known, struct oc_plan *ret_plan)
{
	const struct load_tiers *o = &t->options->tiers;
	struct oc_plan_options p = {
		.size = sizeof(p),
		.tokens_per_s = o->tokens_per_s,
		.depth_ns = o->depth_ns,
		.block_tokens = t->options->block_tokens,
		.rest = (f->n - known) * (uint64_t)t->options->block_tokens,
	};

	return oc_plan(&p, t->info, known, ret_plan);
}

/* What each policy is expected to take, and what ours wants. */
static int decide(struct load_tiers_state *t, struct found *f)
{
	struct oc_plan all, without;
	int r = plan(t, f, f->there, &all);

	if (r == 0)
		r = plan(t, f, f->resident, &without);
	if (r)
		return r;
	t->result->expected_ns[LOAD_PLANNED] += all.load.ns;
	t->result->expected_ns[LOAD_ALWAYS] += all.all.ns;
	t->result->expected_ns[LOAD_NEVER] += without.all.ns;
	f->wanted = t->options->tiers.policy == LOAD_ALWAYS ? f->there
		    : t->options->tiers.policy == LOAD_NEVER
			    ? f->resident
			    : MAX(all.load.blocks, f->resident);
	return 0;
}

static int look(struct load_tiers_state *t, struct found *f)
{
	struct oc_match_options o = OC_MATCH_INIT;
	size_t resident;
	int r = reserve(t, f->n);

	if (r)
		return r;
	o.flags = OC_MATCH_BELOW;
	r = oc_match(t->ns, f->keys, f->n, &o, t->info, &resident);
	while (r == 0 && f->there < f->n &&
	       t->info[f->there].tier != OC_TIER_NONE) {
		if (t->info[f->there].tier == OC_TIER_NVME)
			t->result->below_blocks++;
		f->there++;
	}
	return r ? r : decide(t, f);
}

/* ---- loading ----------------------------------------------------------------- */

static int ask(struct load_tiers_state *t, const struct found *f, size_t i)
{
	struct oc_op op = { .size = sizeof(op),
			    .kind = OC_OP_FETCH,
			    .ns = t->ns,
			    .user_data = i,
			    .timeout_ns = t->options->tiers.wait_ns,
			    .key = f->keys[i] };
	uint64_t id;

	t->asked_ns[i] = clock_ns();
	return oc_op_submit(t->client, &op, &id);
}

static void pin(struct load_tiers_state *t, const struct found *f, size_t i)
{
	struct oc_part part = { 0, 0 };

	if (oc_pin_fetch(t->ns, &f->keys[i], part, 0, t->options->tiers.wait_ns,
			 &f->pins[i]))
		f->pins[i].data = NULL;
}

/* Takes what has come; waits for one. */
static int take(struct load_tiers_state *t, const struct found *f,
		uint64_t *left)
{
	struct oc_completion done[32];
	uint64_t now;
	size_t n = 0;
	int r = oc_op_take(t->client, done, ARRAY_LEN(done),
			   t->options->tiers.wait_ns + NS_PER_S, &n);

	if (r)
		return r < 0 ? r : -ETIMEDOUT;
	now = clock_ns();
	for (size_t i = 0; i < n; i++) {
		(*left)--;
		if (done[i].result < 0 && done[i].result != -ETIMEDOUT)
			r = done[i].result;
		if (done[i].result)
			continue;
		pin(t, f, done[i].user_data);
		hist_add(&t->result->time[LOAD_NVME],
			 now - t->asked_ns[done[i].user_data]);
	}
	return r;
}

static int bring(struct load_tiers_state *t, const struct found *f)
{
	uint64_t left = 0;
	int r = 0;

	/* what comes up makes others leave */
	for (size_t i = f->resident; i < f->wanted; i++)
		if (t->info[i].tier != OC_TIER_NVME)
			pin(t, f, i);
	for (size_t i = f->resident; i < f->wanted && r == 0; i++) {
		if (t->info[i].tier != OC_TIER_NVME)
			continue;
		while (left == ROW && r == 0)
			r = take(t, f, &left);
		if (r == 0)
			r = ask(t, f, i);
		left += r == 0;
	}
	while (left && r == 0)
		r = take(t, f, &left);
	return r;
}

/* The row that is pinned from the first on; what lies behind a gap is let go. */
static size_t settle(struct load_tiers_state *t, const struct found *f)
{
	size_t hits = 0;

	while (hits < f->n && f->pins[hits].data)
		hits++;
	oc_unpin_batch(t->ns, f->pins + hits, f->n - hits);
	return hits;
}

static size_t below_of(const struct load_tiers_state *t, size_t from, size_t to)
{
	size_t n = 0;

	for (size_t i = from; i < to; i++)
		n += t->info[i].tier == OC_TIER_NVME;
	return n;
}

/* ---- all of it ----------------------------------------------------------------- */

static int account(struct load_tiers_state *t, const struct found *f,
		   size_t hits, uint64_t load_ns)
{
	struct load_result *r = t->result;
	size_t from = MIN(f->resident, hits), had = MIN(hits, f->wanted);
	struct oc_plan p;
	int e;

	r->nvme_blocks += below_of(t, from, had);
	r->computed_below += below_of(t, f->wanted, f->there);
	r->not_come += below_of(t, had, f->wanted);
	/* nothing but what is computed then */
	e = plan(t, f, hits, &p);
	if (e)
		return e;
	r->load_ns += load_ns;
	r->first_ns += load_ns + p.all.compute_ns;
	return 0;
}

int load_tiers_find(struct load_tiers_state *t, const struct oc_key *keys,
		    uint32_t n, struct oc_pin *ret_pins, size_t *ret_hits)
{
	struct found f = { .keys = keys, .pins = ret_pins, .n = n };
	uint64_t begin = clock_ns();
	size_t hits = 0;
	int r = oc_match_pin(t->ns, keys, n, NULL, ret_pins, &f.resident);

	if (r)
		return r;
	r = look(t, &f);
	if (r == 0)
		r = bring(t, &f);
	hits = settle(t, &f);
	if (r == 0)
		r = account(t, &f, hits, clock_ns() - begin);
	if (r)
		oc_unpin_batch(t->ns, ret_pins, hits);
	else
		*ret_hits = hits;
	return r;
}
