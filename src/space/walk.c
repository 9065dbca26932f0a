/* SPDX-License-Identifier: Apache-2.0 */
#include "space/walk.h"

#include "base/compiler.h"

#define SURE 2u

static int64_t step_to(const struct walk *w, size_t i)
{
	if (i == w->hi + 1)
		return 1;
	if (i + 1 == w->lo)
		return -1;
	return (int64_t)(i - w->at);
}

/* What this step says of the next one. */
static int64_t learn(struct walk *w, int64_t step)
{
	if (step == w->step) {
		w->sure = MIN(w->sure + 1, SURE);
		return w->sure == SURE || step == 1 ? step : 0;
	}
	if (w->sure == SURE && step != 1) {
		w->sure--; /* a jump, perhaps to the next row */
		return 0;
	}
	w->step = step;
	w->sure = 1;
	return step == 1;
}

int64_t walk_touch(struct walk *w, size_t i)
{
	/* Again, or another thread: not a step. */
	if (i == w->at)
		return w->goes;
	w->goes = w->at == SIZE_MAX ? 0 : learn(w, step_to(w, i));
	w->at = w->lo = w->hi = i;
	return w->goes;
}

int64_t walk_steps(size_t a, size_t b, int64_t step)
{
	int64_t d = (int64_t)(b - a);

	return d % step || d / step < 0 ? -1 : d / step;
}

size_t walk_room(size_t from, size_t n, int64_t step)
{
	if (from >= n)
		return 0;
	return (step > 0 ? (n - 1 - from) / (size_t)step
			 : from / (size_t)-step) +
	       1;
}
