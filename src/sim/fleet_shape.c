/* SPDX-License-Identifier: Apache-2.0 */
/* Generated workloads: what recorded traces lack. Equal options give equal
 * requests on every machine with IEEE doubles and the same libm. */
#include "base/rng.h"
#include "sim/fleet_tree.h"
#include <errno.h>
#include <math.h>

#define TURNS_MEAN 8u
#define GAP_MEAN_S 10.0

/* The caller is asked whether to go on each so many */
#define TICK_REQUESTS 1024u
#define TICK_BLOCKS   (1u << 16)

struct shape {
	const struct fleet_shape_options *o;
	struct fleet_tree *tree;
	struct rng rng;
	uint64_t id; /* the next one that nobody has */
};

const char *fleet_shape_name(enum fleet_shape shape)
{
	static const char *const names[FLEET_SHAPES] = { "shared", "bursts",
							 "waves" };

	return (unsigned)shape < FLEET_SHAPES ? names[shape] : NULL;
}

void fleet_shape_defaults(enum fleet_shape shape,
			  struct fleet_shape_options *ret_options)
{
	*ret_options = (struct fleet_shape_options){
		.shape = shape,
		.seed = 1,
		.requests = 2000,
		.agents = 16,
		.prefix = 50000,
		.own = 2000,
		.output = 300,
		.within = 1,
		.every = 20,
		.block_tokens = 512,
	};
	if (shape == FLEET_WAVES) {
		ret_options->requests = 10000;
		ret_options->every = 600;
		ret_options->prefix = 4000;
	}
}

static double unit(struct shape *s) /* 0 < u <= 1 */
{
	return (double)((rng_next(&s->rng) >> 11) + 1) / 9007199254740992.0;
}

static double exponential(struct shape *s, double mean)
{
	return -mean * log(unit(s));
}

/* Mean n, from n / 2 to 3 n / 2. */
static uint64_t about(struct shape *s, uint64_t n)
{
	return n / 2 + rng_below(&s->rng, n + 1);
}

static int ask(const struct shape *s)
{
	double done = (double)s->tree->work->n / (double)s->o->requests;

	if (s->o->tick && s->o->tick(s->o->ctx, MIN(done, 1)))
		return -EINTR;
	return 0;
}

/* Longer by new blocks, until there is room for `tokens`. */
static int extend(struct shape *s, struct fleet_arrival *a, uint64_t tokens)
{
	uint64_t blocks = DIV_UP(tokens, s->o->block_tokens);
	int r = 0;

	while (!r && a->blocks < blocks) {
		if (s->id % TICK_BLOCKS == 0)
			r = ask(s);
		if (!r)
			r = fleet_tree_child(s->tree, a->leaf, s->id++,
					     &a->leaf);
		a->blocks += r == 0;
	}
	a->in = tokens;
	return r;
}

static int add(struct shape *s, const struct fleet_arrival *a)
{
	int r = s->tree->work->n % TICK_REQUESTS ? 0 : ask(s);

	return r ? r : fleet_tree_add(s->tree, a);
}

/* One over the prefix, which ends at a whole block. */
static int sibling(struct shape *s, const struct fleet_arrival *prefix,
		   double at)
{
	struct fleet_arrival a = *prefix;
	uint64_t whole = (uint64_t)a.blocks * s->o->block_tokens;
	int r;

	a.at = at;
	a.out = 1 + about(s, s->o->output);
	r = extend(s, &a, whole + 1 + about(s, s->o->own));
	return r ? r : add(s, &a);
}

/* Agents over one new prefix, from `at` on. */
static int siblings(struct shape *s, double at)
{
	struct fleet_arrival prefix = { 0 };
	int r = extend(s, &prefix, s->o->prefix);

	if (!r && s->o->warm)
		r = sibling(s, &prefix, at - s->o->every / 2);
	for (uint32_t i = 0; !r && i < s->o->agents; i++)
		r = sibling(s, &prefix, at + unit(s) * s->o->within);
	return r;
}

static int make_shared(struct shape *s)
{
	double at = s->o->every;
	int r;

	do {
		r = siblings(s, at);
		at += s->o->every;
	} while (!r && s->tree->work->n + s->o->agents <= s->o->requests);
	return r;
}

/* As many singles as siblings, evenly over the time. */
static int make_bursts(struct shape *s)
{
	double at = 0, next = s->o->every, gap = s->o->every / s->o->agents;
	const struct fleet_arrival nothing = { 0 };
	int r = 0;

	while (!r && s->tree->work->n < s->o->requests) {
		at += exponential(s, gap);
		if (at < next) {
			r = sibling(s, &nothing, at);
			continue;
		}
		r = siblings(s, next);
		next += s->o->every;
	}
	return r;
}

/* A session: turns that grow, with gaps. */
static int session(struct shape *s, double at)
{
	uint64_t turns = 1 + rng_below(&s->rng, 2 * TURNS_MEAN - 1);
	struct fleet_arrival a = { 0 };
	uint64_t tokens = 1 + about(s, s->o->prefix);
	int r = 0;

	for (uint64_t i = 0; !r && i < turns; i++) {
		a.at = at;
		a.out = 1 + about(s, s->o->output);
		r = extend(s, &a, tokens);
		if (!r)
			r = add(s, &a);
		tokens += a.out + about(s, s->o->own);
		at += exponential(s, GAP_MEAN_S);
	}
	return r;
}

/* The rate goes from 1/5 to 9/5 of its mean and back. `agents` sessions begin
 * in ten seconds, in the mean. */
static int make_waves(struct shape *s)
{
	double at = 0, mean = GAP_MEAN_S / s->o->agents;
	int r = 0;

	while (!r && s->tree->work->n < s->o->requests) {
		double turn = sin(2 * M_PI * at / s->o->every);

		at += exponential(s, mean) / (1 + 0.8 * turn);
		r = session(s, at);
	}
	return r;
}

static bool options_right(const struct fleet_shape_options *o)
{
	return (unsigned)o->shape < FLEET_SHAPES && o->agents && o->requests &&
	       o->block_tokens && o->every > 0 && o->every < 1e9 &&
	       o->within >= 0 && o->within < 1e9 && o->agents <= 1u << 20 &&
	       o->prefix <= 1u << 28 && o->own <= 1u << 28 &&
	       o->output <= 1u << 28;
}

int fleet_work_make(const struct fleet_shape_options *o,
		    struct fleet_work *ret_work)
{
	static int (*const make[FLEET_SHAPES])(struct shape *) = {
		[FLEET_SHARED] = make_shared,
		[FLEET_BURSTS] = make_bursts,
		[FLEET_WAVES] = make_waves,
	};
	struct fleet_work work;
	struct fleet_tree tree;
	struct shape s = { .o = o, .tree = &tree, .rng.state = o->seed };
	int r;

	if (!options_right(o))
		return -EINVAL;
	r = fleet_tree_init(&tree, &work);
	if (!r)
		r = make[o->shape](&s);
	if (!r)
		fleet_tree_sort(&tree);
	fleet_tree_fini(&tree);
	if (r) {
		fleet_work_fini(&work);
		return r;
	}
	*ret_work = work;
	return 0;
}
