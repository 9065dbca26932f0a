/* SPDX-License-Identifier: Apache-2.0 */
/* Recounts every invariant of a pool from the descriptors. */
#include <stdarg.h>
#include <stdio.h>
#include "pool/internal.h"
#include "pool/session.h"

struct check {
	struct pool *p;
	void (*problem)(void *ctx, const char *text);
	void *ctx;
	uint64_t n;
	struct pool_checked seen;
	uint64_t sealed_bytes, low_bytes, low_parts;
};

static void PRINTF_LIKE(2, 3) say(struct check *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->n++;
	if (c->n <= 100) /* enough to understand, bounded */
		c->problem(c->ctx, text);
}

#define ULL(x) ((unsigned long long)(x))

/* found: where the index says that its part is. */
static void check_twin(struct check *c, struct pool_slab *s, uint32_t f,
		       const struct pool_slab *found, uint32_t at)
{
	const struct pool_twin *t = &c->p->twin[s->base + f];

	c->seen.twins++;
	if (!found || found->low || found->base + at != t->item ||
	    c->p->twin[t->item].item != s->base + f)
		say(c, "slab %u frame %u: it is no twin of what is found",
		    s->id, f);
	if (c->p->policy_ops->stamp(c->p->policy, s->base + f))
		say(c, "slab %u frame %u: a twin, and in an order", s->id, f);
}

static void check_sealed(struct check *c, struct pool_slab *s, uint32_t f)
{
	const struct frame_desc *d = &s->desc[f];
	uint64_t key[4], bytes;
	uint32_t at;
	struct pool_slab *found;

	shared_load_words(key, d->key, 4);
	bytes = frame_extent_bytes(shared_load64(&d->extent));
	if (bytes > s->frame_bytes || (s->stripes && bytes != s->frame_bytes))
		say(c, "slab %u frame %u: %llu bytes in a frame of %llu", s->id,
		    f, ULL(bytes), ULL(s->frame_bytes));
	found = pool_find(c->p, key, shared_load64(&d->part), &at);
	if (pool_is_twin(c->p, s, f)) {
		check_twin(c, s, f, found, at);
		return;
	}
	c->sealed_bytes += bytes;
	c->low_bytes += s->low ? bytes : 0;
	c->low_parts += s->low;
	if (!found)
		say(c, "slab %u frame %u: sealed but not in the index", s->id,
		    f);
	else if (found != s || at != f)
		say(c,
		    "slab %u frame %u: its key is sealed twice (slab %u "
		    "frame %u)",
		    s->id, f, found->id, at);
	if (!c->p->policy_ops->stamp(c->p->policy, s->base + f))
		say(c, "slab %u frame %u: sealed but in no order", s->id, f);
}

static void check_counts(struct check *c, const struct pool_slab *s,
			 const uint32_t count[FRAME_STATES])
{
	if (count[FRAME_FREE] != s->n_free ||
	    count[FRAME_GRANTED] != s->n_granted ||
	    count[FRAME_SEALED] != s->n_sealed ||
	    count[FRAME_DOOMED] != s->n_doomed ||
	    count[FRAME_QUARANTINED] != s->n_quarantined ||
	    count[FRAME_LEAVING])
		say(c,
		    "slab %u: counts are off (free %u/%u granted %u/%u "
		    "sealed %u/%u doomed %u/%u quarantined %u/%u leaving %u)",
		    s->id, count[FRAME_FREE], s->n_free, count[FRAME_GRANTED],
		    s->n_granted, count[FRAME_SEALED], s->n_sealed,
		    count[FRAME_DOOMED], s->n_doomed, count[FRAME_QUARANTINED],
		    s->n_quarantined, count[FRAME_LEAVING]);
}

static void check_slab(struct check *c, struct pool_slab *s)
{
	uint32_t count[FRAME_STATES] = { 0 };
	const struct slab_record *rec = &c->p->m->slab[s->id];

	if (shared_load64(&rec->word) !=
	    slab_word(s->gen, s->retiring ? SLAB_RETIRING : SLAB_LIVE))
		say(c, "slab %u: record and server disagree", s->id);
	if (shared_load64(&rec->owner) != s->owner)
		say(c, "slab %u: owner and record disagree", s->id);
	c->seen.slabs++;
	if (s->retiring)
		return;
	c->seen.frames += s->frames;
	for (uint32_t f = 0; f < s->frames; f++) {
		enum frame_state state = pool_frame_state(s, f);

		if (state >= FRAME_STATES) {
			say(c, "slab %u frame %u: no such state", s->id, f);
			continue;
		}
		count[state]++;
		if (state == FRAME_SEALED)
			check_sealed(c, s, f);
	}
	c->seen.free += count[FRAME_FREE];
	c->seen.granted += count[FRAME_GRANTED];
	c->seen.sealed += count[FRAME_SEALED];
	c->seen.doomed += count[FRAME_DOOMED];
	c->seen.quarantined += count[FRAME_QUARANTINED];
	check_counts(c, s, count);
}

static void check_arena(struct check *c, uint32_t i)
{
	const struct pool_arena *a = &c->p->arena[i];
	uint64_t listed = 0, expected = 0;
	uint32_t slabs = 0, item = a->free_head, before = POOL_NO_ITEM;

	for (uint32_t id = 1; id < c->p->slab_end; id++) {
		const struct pool_slab *s = c->p->slab[id];

		if (!s || s->retiring || s->arena != i)
			continue;
		slabs++;
		if (!s->draining)
			expected += s->n_free;
		if (s->owner != a->owner || !shape_same(s->shape, a->shape) ||
		    s->low != a->low)
			say(c, "slab %u: not of its arena's kind", id);
	}
	for (; item != POOL_NO_ITEM && listed <= expected; listed++) {
		uint32_t f;
		struct pool_slab *s = pool_item(c->p, item, &f);

		if (s->arena != i || pool_frame_state(s, f) != FRAME_FREE)
			say(c, "slab %u frame %u: on a free list", s->id, f);
		if (c->p->item_prev[item] != before)
			say(c, "slab %u frame %u: its list is broken", s->id,
			    f);
		before = item;
		item = c->p->item_next[item];
	}
	if (listed != expected || slabs != a->slabs)
		say(c,
		    "arena %u: %llu free listed, %llu counted; %u slabs, "
		    "%u counted",
		    i, ULL(listed), ULL(expected), a->slabs, slabs);
}

static void check_gauge(struct check *c, enum pool_counter which,
			uint64_t value)
{
	if (pool_counter(c->p, which) != value)
		say(c, "counter %s is %llu, recounted %llu",
		    pool_counter_names[which], ULL(pool_counter(c->p, which)),
		    ULL(value));
}

static void check_entry(void *ctx, uint64_t bucket, uint64_t word)
{
	struct check *c = ctx;
	uint32_t f;

	(void)bucket;
	c->seen.index_entries++;
	if (!pool_locate(c->p, table_word_loc(word), &f))
		say(c, "index entry %#llx points nowhere", ULL(word));
}

static void say_text(void *ctx, const char *text)
{
	say(ctx, "%s", text);
}

uint64_t pool_check(struct pool *p,
		    void (*problem)(void *ctx, const char *text), void *ctx,
		    struct pool_checked *ret_checked)
{
	struct check c = { .p = p, .problem = problem, .ctx = ctx };
	uint64_t slab_bytes[2] = { 0 };

	for (uint32_t id = 1; id < p->slab_end; id++) {
		if (!p->slab[id])
			continue;
		check_slab(&c, p->slab[id]);
		slab_bytes[p->slab[id]->low] += p->slab[id]->payload.bytes;
	}
	for (uint32_t i = 0; i < p->n_arenas; i++)
		if (p->arena[i].used)
			check_arena(&c, i);
	table_each(&p->table, check_entry, &c);
	check_gauge(&c, POOL_C_slabs, c.seen.slabs);
	check_gauge(&c, POOL_C_slab_bytes, slab_bytes[false]);
	check_gauge(&c, POOL_C_cxl_slab_bytes, slab_bytes[true]);
	check_gauge(&c, POOL_C_cxl_parts, c.low_parts);
	check_gauge(&c, POOL_C_cxl_bytes, c.low_bytes);
	check_gauge(&c, POOL_C_cxl_replicas, c.seen.twins);
	check_gauge(&c, POOL_C_frames, c.seen.frames);
	check_gauge(&c, POOL_C_free_frames, c.seen.free);
	check_gauge(&c, POOL_C_granted, c.seen.granted);
	c.seen.sealed -= c.seen.twins;
	check_gauge(&c, POOL_C_sealed, c.seen.sealed);
	check_gauge(&c, POOL_C_sealed_bytes, c.sealed_bytes);
	check_gauge(&c, POOL_C_leaving, c.seen.doomed);
	check_gauge(&c, POOL_C_quarantined, c.seen.quarantined);
	pool_session_check(p, say_text, &c);
	if (p->sessions) {
		c.seen.sessions = p->sessions->live;
		c.seen.history_nodes = p->sessions->history.n_used;
	}
	check_gauge(&c, POOL_C_sessions, c.seen.sessions);
	if (p->policy_ops->check(p->policy) < 0)
		say(&c, "the %s order is damaged", p->policy_ops->name);
	if (p->budget->used > p->budget->limit)
		say(&c, "%llu bytes of slabs, the limit is %llu",
		    ULL(p->budget->used), ULL(p->budget->limit));
	if (p->low && p->low->budget.used > p->low->budget.limit)
		say(&c, "%llu bytes of CXL slabs, the limit is %llu",
		    ULL(p->low->budget.used), ULL(p->low->budget.limit));
	*ret_checked = c.seen;
	return c.n;
}
