/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no policy can be below: each request alone on an idle engine, which has
 * in its device memory all blocks of all prompts that came before it.
 *
 * It bounds every request of every run from below. Take the blocks of a prompt
 * that no prompt before it has: nobody has them when it comes, so somebody
 * computes them after that, one after the other (a block wants those before it
 * at the engine that computes it, and no step gives them away before its end).
 * That takes what it takes here, in at least so many steps, whether the request
 * does it itself or waits for others to do it, on one engine or on several. The
 * tokens after the last block are its own in any case, and so is the last token.
 *
 * Where a prompt is too short for its blocks (a trace that contradicts itself)
 * blocks cost less than their tokens, and one token in one step is all that is
 * sure.
 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Leading blocks that prompts before it have; marks its own. */
static uint32_t known_blocks(struct fleet *f, const struct fleet_arrival *a)
{
	uint32_t node = a->leaf, known = a->blocks;

	for (; known && !f->node[node].known; known--) {
		f->node[node].known = true;
		node = f->work->parent[node];
	}
	return known;
}

static bool too_short(const struct fleet *f, const struct fleet_arrival *a)
{
	return a->blocks && a->in <= (a->blocks - 1ull) * f->o->block_tokens;
}

/* Of the prompts with that last block, the shortest: whoever is first may be
 * it. */
static uint64_t *shortest(struct fleet *f)
{
	const struct fleet_work *w = f->work;
	uint64_t *least = mem_array(MAX(w->nodes, 1), sizeof(*least));

	for (size_t i = 0; least && i < w->n; i++) {
		const struct fleet_arrival *a = &w->arrival[i];
		uint64_t *l = &least[a->leaf];

		*l = *l ? MIN(*l, MAX(a->in, 1)) : MAX(a->in, 1);
		f->result.short_prompts += too_short(f, a);
	}
	return least;
}

static double floor_s(struct fleet *f, const struct fleet_arrival *a,
		      double shortest, double chunk)
{
	double all = (double)a->blocks * f->o->block_tokens;
	double in = (double)MAX(a->in, 1), end = MIN(in, all);
	double from = (double)known_blocks(f, a) * f->o->block_tokens;
	double to = MIN(end, MAX(shortest, from)), tokens, s = 0;

	if (f->result.short_prompts)
		return f->o->step_s + fleet_prefill_s(f, 0, 1);
	tokens = MAX(0, to - from) + (in - end);
	if (to > from)
		s += fleet_prefill_s(f, from, to);
	s += fleet_prefill_s(f, end, in);
	if (tokens < 1) {
		tokens = 1;
		s = fleet_prefill_s(f, in - 1, in);
	}
	return s + f->o->step_s * ceil(tokens / chunk);
}

int fleet_floor_init(struct fleet *f)
{
	const struct fleet_work *w = f->work;
	size_t n = MAX(w->n, 1);
	uint64_t *least = shortest(f), most = 0;
	double chunk;

	f->floor = mem_array(n, sizeof(*f->floor));
	f->floors = mem_array(n, sizeof(*f->floors));
	if (!least || !f->floor || !f->floors) {
		free(least);
		return -ENOMEM;
	}
	for (size_t i = 0; i < w->n; i++)
		most = MAX(most, w->arrival[i].in);
	chunk = MAX((double)f->o->chunk, (double)most / FLEET_STEPS_MOST);
	for (size_t i = 0; i < w->n; i++) {
		const struct fleet_arrival *a = &w->arrival[i];
		double s = floor_s(f, a, (double)least[a->leaf], chunk);

		f->floor[i] = (float)(1000 * s);
	}
	free(least);
	return 0;
}

void fleet_floor_fini(struct fleet *f)
{
	free(f->floor);
	free(f->floors);
}
