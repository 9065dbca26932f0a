/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/range.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

static int range_reserve(struct range_set *s)
{
	struct range_hole *grown;
	size_t cap = s->cap ? 2 * s->cap : 32;

	if (s->n + 1 < s->cap)
		return 0;
	grown = mem_grow(s->hole, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->hole = grown;
	s->cap = cap;
	return 0;
}

static void hole_remove(struct range_set *s, size_t i)
{
	memmove(&s->hole[i], &s->hole[i + 1],
		(s->n - i - 1) * sizeof(s->hole[0]));
	s->n--;
}

int range_take(struct range_set *s, uint32_t n, uint32_t *ret_at)
{
	int r = range_reserve(s);

	if (r < 0)
		return r;
	for (size_t i = 0; i < s->n; i++) {
		struct range_hole *h = &s->hole[i];

		if (h->n < n)
			continue;
		*ret_at = h->at;
		h->at += n;
		h->n -= n;
		if (!h->n)
			hole_remove(s, i);
		return 0;
	}
	if (UINT32_MAX - 1 - s->end < n)
		return -ENOSPC;
	*ret_at = s->end;
	s->end += n;
	return 0;
}

/* The numbers before it that are not given become a hole. */
static int range_reach(struct range_set *s, uint32_t at, uint32_t n)
{
	if (UINT32_MAX - 1 - at < n)
		return -ENOSPC;
	if (at > s->end)
		s->hole[s->n++] = (struct range_hole){ s->end, at - s->end };
	s->end = at + n;
	return 0;
}

int range_take_at(struct range_set *s, uint32_t at, uint32_t n)
{
	int r = range_reserve(s);

	if (r < 0)
		return r;
	if (at >= s->end)
		return range_reach(s, at, n);
	for (size_t i = 0; i < s->n; i++) {
		struct range_hole *h = &s->hole[i];
		uint32_t before = at - h->at;

		if (at < h->at || before >= h->n || n > h->n - before)
			continue;
		if (before + n < h->n) {
			memmove(h + 1, h, (s->n - i) * sizeof(*h));
			s->n++;
			h[1].at = at + n;
			h[1].n -= before + n;
		}
		h->n = before;
		if (!before)
			hole_remove(s, i);
		return 0;
	}
	return -EEXIST;
}

void range_give(struct range_set *s, uint32_t at, uint32_t n)
{
	size_t i = 0;

	while (i < s->n && s->hole[i].at < at)
		i++;
	if (i && s->hole[i - 1].at + s->hole[i - 1].n == at) {
		s->hole[--i].n += n;
	} else {
		if (range_reserve(s) < 0)
			return;
		memmove(&s->hole[i + 1], &s->hole[i],
			(s->n - i) * sizeof(s->hole[0]));
		s->hole[i] = (struct range_hole){ at, n };
		s->n++;
	}
	if (i + 1 < s->n && s->hole[i].at + s->hole[i].n == s->hole[i + 1].at) {
		s->hole[i].n += s->hole[i + 1].n;
		hole_remove(s, i + 1);
	}
	if (s->n && s->hole[s->n - 1].at + s->hole[s->n - 1].n == s->end) {
		s->end = s->hole[s->n - 1].at;
		s->n--;
	}
}

void range_fini(struct range_set *s)
{
	free(s->hole);
	*s = (struct range_set){ 0 };
}
