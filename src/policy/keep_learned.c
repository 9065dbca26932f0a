/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy "onecopy" has learned, apart from whom it knows: models and
 * counts, but no records. Its owner keeps it where it outlives the process, and
 * gives it to the policy that follows.
 *
 * The bytes are this build's own: whole numbers as they lie in memory, behind a
 * stamp over their sizes, the steps of age and what the numbers mean
 * (LEARNED_VERSION). Whether they are whole is their owner's to check.
 */
#include "policy/keep.h"
#include "base/hash.h"

/* Grows when the same counters come to mean something else. */
#define LEARNED_VERSION 1

struct learned {
	uint64_t stamp;
	uint64_t uses, returns, returned, lost;
	uint64_t recent_returned, recent_lost, recent_returns;
	uint64_t singles, by_age;
	uint64_t model[KEEP_KINDS][ALIGN_UP(COMEBACK_LEARNED, 8) / 8];
};

static uint64_t stamp_of(void)
{
	const uint64_t shape[] = {
		LEARNED_VERSION,
		sizeof(struct learned),
		KEEP_KINDS,
		COMEBACK_STEPS,
		COMEBACK_VALUES,
		COMEBACK_BAND,
		COMEBACK_DIFFS,
		COMEBACK_WHYS,
		COMEBACK_TRAITS,
		comeback_edge(1),
		comeback_edge(COMEBACK_STEPS),
		sizeof(struct comeback_cell),
		offsetof(struct comeback, trait) -
			offsetof(struct comeback, base),
		offsetof(struct comeback, gap) -
			offsetof(struct comeback, base),
	};

	return hash_bytes(shape, sizeof(shape), LEARNED_VERSION);
}

size_t keep_learned_bytes(void)
{
	return sizeof(struct learned);
}

void keep_save(const struct policy *p, void *ret_bytes)
{
	const struct policy_load *l = &p->load;
	struct learned *to = ret_bytes;

	to->stamp = stamp_of();
	to->uses = l->uses;
	to->returns = l->returns;
	to->returned = l->returned;
	to->lost = l->lost;
	to->recent_returned = l->recent_returned;
	to->recent_lost = l->recent_lost;
	to->recent_returns = l->recent_returns;
	to->singles = p->singles;
	to->by_age = p->by_age;
	for (unsigned k = 0; k < KEEP_KINDS; k++) {
		to->model[k][ARRAY_LEN(to->model[k]) - 1] = 0;
		comeback_save(&p->model[k], to->model[k]);
	}
}

static void counts_recall(struct policy *p, const struct learned *from)
{
	struct policy_load *l = &p->load;

	l->uses = from->uses;
	l->returns = from->returns;
	l->returned = from->returned;
	l->lost = from->lost;
	l->recent_returned = from->recent_returned;
	l->recent_lost = from->recent_lost;
	l->recent_returns = from->recent_returns;
	p->singles = from->singles;
	p->by_age = from->by_age;
}

/* As with nothing seen; who is known stays known. */
static void forget(struct policy *p)
{
	static const struct learned none = { .by_age = 1 };

	counts_recall(p, &none);
	for (unsigned k = 0; k < KEEP_KINDS; k++) {
		comeback_init(&p->model[k]);
		comeback_tick(&p->model[k], p->now_ms);
	}
}

/* What each record was taken for until now was judged by another model; and what
 * an age comes to that began in another life was seen there, or by nobody. */
static void judge_all(struct policy *p)
{
	for (uint32_t i = 0; i < p->unused; i++) {
		struct keep_record *r = &p->record[i];

		r->found = true;
		comeback_resume(&p->model[r->kind], &r->session);
		if (r->items)
			keep_rejudge(p, i);
	}
}

bool keep_recall(struct policy *p, const void *bytes, size_t n)
{
	const struct learned *from = bytes;
	bool fits = from && n == sizeof(*from) && from->stamp == stamp_of();

	forget(p);
	if (fits) {
		counts_recall(p, from);
		for (unsigned k = 0; k < KEEP_KINDS; k++) {
			comeback_recall(&p->model[k], p->now_ms,
					from->model[k]);
			comeback_even(&p->model[k]);
		}
	}
	judge_all(p);
	return fits;
}
