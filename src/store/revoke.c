/* SPDX-License-Identifier: Apache-2.0 */
#include "store/revoke.h"
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coherence/revoke.h"

/* What late clients hold is counted anew. */
#define RECOUNT_NS (100 * NS_PER_MS)

static shared_u64 *wanted(const struct store_client *c)
{
	return client_wanted(c->segment, c->n_pins, c->n_overflow);
}

static uint64_t slot_word(const struct store_client *c, uint32_t slot)
{
	return pin_read(&c->segment->slots[slot]);
}

/* ---- choosing ---------------------------------------------------------------- */

bool revoke_note(struct evict_batch *b, struct store_client *c, uint32_t slot,
		 uint32_t block, uint64_t pin)
{
	if (c->local || (c->revoke && c->revoke->late))
		return false;
	if (b->n_notes == b->notes_cap) {
		uint32_t cap = MAX(2 * b->notes_cap, 64u);
		struct revoke_note *grown =
			mem_grow(b->note, cap, sizeof(*grown));

		if (!grown)
			return false;
		b->note = grown;
		b->notes_cap = cap;
	}
	b->note[b->n_notes++] = (struct revoke_note){ c, pin, slot, block };
	return true;
}

/* Blocks that would be lost, to mappings that have no answer to that. */
static void find_dear(struct store *s, const struct pool *p)
{
	struct evict_batch *b = &s->batch;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct evict_entry *e = &b->entry[i];

		if (b->pinned[e->block] == EVICT_MAPPED &&
		    !move_holds(s, p, &e->slab->desc[e->frame]))
			b->pinned[e->block] = EVICT_DEAR;
	}
	/* what may be lost is as good as what is below */
	for (uint32_t i = 0; i < b->n_notes; i++)
		if (b->pinned[b->note[i].block] == EVICT_DEAR &&
		    !(b->note[i].pin & PIN_LOSABLE))
			b->pinned[b->note[i].block] = EVICT_DEAREST;
	for (uint32_t i = 0; i < b->blocks; i++)
		if (b->pinned[i] == EVICT_DEAR)
			b->pinned[i] = EVICT_MAPPED;
		else if (b->pinned[i] == EVICT_DEAREST)
			b->pinned[i] = EVICT_DEAR;
}

/* The last question has no answer yet, or the next one has this pin in it. */
static bool is_asked(const struct revoke_note *n)
{
	struct store_client *c = n->client;
	const struct revoke *r = c->revoke;

	if (!r || r->open)
		return r != NULL;
	return r->unsent && revoke_wanted(wanted(c), n->slot) == n->pin;
}

/* Some of a block's clients are to answer first. */
static void find_awaited(struct evict_batch *b)
{
	for (uint32_t i = 0; i < b->n_notes; i++) {
		uint8_t *what = &b->pinned[b->note[i].block];

		if (*what != EVICT_MAPPED || !is_asked(&b->note[i]))
			continue;
		*what = EVICT_AWAITED;
		b->asked++;
	}
}

static bool any_firmly(const struct evict_batch *b)
{
	for (uint32_t i = 0; i < b->blocks; i++)
		if (b->pinned[i] == EVICT_PINNED || b->pinned[i] == EVICT_DEAR)
			return true;
	return false;
}

/* 0, -ENOMEM. */
static int add_pin(struct store *s, struct store_client *c, uint32_t slot,
		   uint64_t pin)
{
	struct revoke *r = c->revoke;

	if (!r)
		r = c->revoke = mem_alloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	if (r->n == r->cap) {
		uint32_t cap = MAX(2 * r->cap, 16u);
		struct revoke_pin *grown =
			mem_grow(r->pin, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->pin = grown;
		r->cap = cap;
	}
	r->pin[r->n++] = (struct revoke_pin){ pin & ~PIN_MAPPED, slot };
	r->unsent = true;
	r->cause = s->cause;
	s->revoke.unsent = true;
	revoke_want(wanted(c), slot, pin);
	return 0;
}

void revoke_choose(struct store *s, struct pool *p, bool all)
{
	struct evict_batch *b = &s->batch;
	uint32_t chosen = 0;

	if (!b->n_notes)
		return;
	find_dear(s, p);
	find_awaited(b);
	if (all && any_firmly(b))
		return;
	for (uint32_t i = 0; i < b->blocks; i++) {
		if (b->pinned[i] != EVICT_MAPPED)
			continue;
		b->pinned[i] = chosen++ < b->ask_most ? EVICT_ASKED
						      : EVICT_SURPLUS;
		b->asked += b->pinned[i] == EVICT_ASKED;
	}
	for (uint32_t i = 0; i < b->n_notes; i++) {
		const struct revoke_note *n = &b->note[i];

		if (b->pinned[n->block] == EVICT_ASKED &&
		    add_pin(s, n->client, n->slot, n->pin) < 0)
			break; /* it is asked for some other time */
	}
}

/* ---- asking ------------------------------------------------------------------- */

/* A2, release: the words are there. Pairs with revoke_main(). */
static void ask(struct store_client *c)
{
	shared_u64 *asked = &c->segment->header.asked;

	shared_store64_release(asked, shared_load64(asked) + 1);
	if (c->store->options.ask)
		c->store->options.ask(c->store->options.ctx, c);
}

void revoke_nudge(struct store_client *c)
{
	ask(c);
}

static void send_one(struct store *s, struct store_client *c)
{
	struct revoke *r = c->revoke;

	r->unsent = false;
	r->open = true;
	r->since_ns = s->now_ns;
	s->revoke.open++;
	pool_count(c->pool, POOL_C_revoke_asks, 1);
	ask(c);
}

static void each_asked(struct store *s,
		       void (*fn)(struct store *s, struct store_client *c))
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		for (uint32_t i = 0; s->pool[n] && i < LAYOUT_CLIENTS_MAX; i++)
			if (s->client[n][i] && s->client[n][i]->revoke)
				fn(s, s->client[n][i]);
}

static void send_unsent(struct store *s, struct store_client *c)
{
	if (c->revoke->unsent)
		send_one(s, c);
}

void revoke_send(struct store *s)
{
	if (!s->revoke.unsent)
		return;
	s->revoke.unsent = false;
	each_asked(s, send_unsent);
}

/* ---- answers ------------------------------------------------------------------- */

static bool still_there(const struct store_client *c,
			const struct revoke_pin *asked)
{
	return (slot_word(c, asked->slot) & ~PIN_FLAGS) ==
	       (asked->pin & ~PIN_FLAGS);
}

static bool maps_any(const struct store_client *c)
{
	for (uint32_t i = 0; i < c->n_pins + c->n_overflow; i++)
		if (slot_word(c, i) & PIN_MAPPED)
			return true;
	return false;
}

/* C1; or it has emptied all the slots for reasons of its own. What a predecessor
 * asked for is not known, so it is all that there is. */
static bool answered(const struct store_client *c)
{
	const struct client_header *h = &c->segment->header;
	const struct revoke *r = c->revoke;

	/* acquire: pairs with answer() in client/revoke.c */
	if (shared_load64_acquire(&h->answered) == shared_load64(&h->asked))
		return true;
	for (uint32_t i = 0; i < r->n; i++)
		if (still_there(c, &r->pin[i]))
			return false;
	return r->n || !maps_any(c);
}

/* What was given back, and nobody else holds, leaves; it was asked for that. */
static void leave(struct store *s, struct pool *p, const struct revoke *r)
{
	struct store_cause cause = s->cause;

	s->cause = r->cause;
	evict_begin(s);
	for (uint32_t i = 0; i < r->n; i++) {
		uint64_t pin = r->pin[i].pin, loc = pin_word_loc(pin);
		uint32_t frame;
		struct pool_slab *slab = pool_locate(p, loc, &frame);

		if (!slab || slab->retiring ||
		    pool_frame_state(slab, frame) != FRAME_SEALED ||
		    !pin_word_names(pin, loc, pool_frame_gen(slab, frame)))
			continue;
		/* the tier may have dropped it meanwhile */
		if (!(pin & PIN_LOSABLE) &&
		    (!move_holds(s, p, &slab->desc[frame]) ||
		     move_victim(s, p, slab, frame) != VICTIM_FREE))
			continue;
		if (!evict_add(s, p, slab, frame))
			break;
	}
	evict_finish(s, p, false);
	s->cause = cause;
	evict_drain(s, p);
}

static void recount(struct store *s, struct pool *p);

static void forgive(struct store *s, struct store_client *c)
{
	c->revoke->late = false;
	s->revoke.late--;
	recount(s, c->pool);
	log_info("client %llu has answered for what it maps",
		 (unsigned long long)c->id);
}

static void settle_one(struct store *s, struct store_client *c)
{
	struct revoke *r = c->revoke, done;
	uint32_t kept = 0, gone = 0;

	if (!r->open || !answered(c))
		return;
	for (uint32_t i = 0; i < r->n; i++) {
		revoke_want(wanted(c), r->pin[i].slot, 0);
		if (still_there(c, &r->pin[i]))
			kept++;
		else
			r->pin[gone++] = r->pin[i];
	}
	pool_count(c->pool, POOL_C_revoke_kept, kept);
	pool_count(c->pool, POOL_C_revoked, gone);
	/* Who looks at pins while these leave may have the next question. */
	done = *r;
	done.n = gone;
	r->pin = NULL;
	r->n = r->cap = 0;
	r->open = false;
	s->revoke.open--;
	if (r->late)
		forgive(s, c);
	leave(s, c->pool, &done);
	free(done.pin);
	s->retry = true;
}

void revoke_settle(struct store *s)
{
	if (s->revoke.open)
		each_asked(s, settle_one);
}

/* ---- those that do not answer --------------------------------------------------- */

struct holding {
	struct pool *p;
	uint64_t *seen; /* items, as bits; NULL: they may be counted twice */
	uint32_t *slab;
	uint64_t bytes;
};

static void hold(struct holding *h, uint64_t pin)
{
	uint64_t loc = pin_word_loc(pin);
	uint32_t frame, item;
	const struct pool_slab *slab;

	if (!(pin & PIN_MAPPED))
		return;
	slab = pool_locate(h->p, loc, &frame);
	if (!slab || !pin_word_names(pin, loc, pool_frame_gen(slab, frame)))
		return;
	item = slab->base + frame;
	if (h->seen && h->seen[item / 64] >> item % 64 & 1)
		return;
	if (h->seen)
		h->seen[item / 64] |= 1ull << item % 64;
	h->bytes += slab->frame_bytes;
	if (h->slab)
		h->slab[slab->id]++;
}

/* What mappings of late clients hold of the pool. */
static void recount(struct store *s, struct pool *p)
{
	uint32_t **slab = &s->revoke.held[p->number];
	struct holding h = { .p = p };

	if (!*slab && s->revoke.late)
		*slab = mem_array(LAYOUT_SLABS_MAX, sizeof(**slab));
	if (*slab)
		memset(*slab, 0, LAYOUT_SLABS_MAX * sizeof(**slab));
	h.slab = *slab;
	if (s->revoke.late)
		h.seen = mem_array(p->items_cap / 64 + 1, sizeof(*h.seen));
	for (uint32_t i = 0; s->revoke.late && i < LAYOUT_CLIENTS_MAX; i++) {
		const struct store_client *c = s->client[p->number][i];

		if (!c || c->closed || !c->revoke || !c->revoke->late)
			continue;
		for (uint32_t k = 0; k < c->n_pins + c->n_overflow; k++)
			hold(&h, slot_word(c, k));
	}
	free(h.seen);
	pool_set(p, POOL_C_revoke_held_bytes, h.bytes);
}

bool store_client_silent(const struct store_client *c)
{
	return c->revoke && c->revoke->late;
}

bool revoke_holds(const struct store *s, const struct pool *p,
		  const struct pool_slab *slab)
{
	const uint32_t *held = s->revoke.held[p->number];

	return s->revoke.late && held && held[slab->id];
}

static void too_late(struct store *s, struct store_client *c)
{
	const struct store_options *o = &s->options;
	struct revoke *r = c->revoke;
	int e = -EPERM;

	r->late = true;
	s->revoke.late++;
	pool_count(c->pool, POOL_C_revoke_late, 1);
	if (o->end && o->revoke_end)
		e = o->end(o->ctx, c);
	r->killed = e == 0;
	recount(s, c->pool);
	log_warn("client %llu (process %u, user %u) did not answer for what it "
		 "maps within %llu ms: %s",
		 (unsigned long long)c->id,
		 (unsigned)(shared_load64(&c->record->pid_uid) >> 32),
		 (unsigned)shared_load64(&c->record->pid_uid),
		 (unsigned long long)(o->revoke_ns / NS_PER_MS),
		 r->killed	 ? "it is ended (SIGKILL)"
		 : o->revoke_end ? "it may not be ended; what it maps stays "
				   "with its tenant"
				 : "what it maps stays with its tenant");
}

static void look_late(struct store *s, struct store_client *c)
{
	struct revoke *r = c->revoke;

	settle_one(s, c);
	if (r->open && !r->late && s->options.revoke_ns &&
	    s->now_ns - r->since_ns >= s->options.revoke_ns)
		too_late(s, c);
}

void revoke_tick(struct store *s)
{
	if (s->revoke.open)
		each_asked(s, look_late);
	if (!s->revoke.late || s->now_ns < s->revoke.recount_ns)
		return;
	s->revoke.recount_ns = s->now_ns + RECOUNT_NS;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (s->pool[n])
			recount(s, s->pool[n]);
}

/* ---- ends ------------------------------------------------------------------------ */

void revoke_forget_client(struct store_client *c)
{
	struct store *s = c->store;
	struct revoke *r = c->revoke;

	if (!r)
		return;
	c->revoke = NULL;
	s->revoke.open -= r->open;
	s->revoke.late -= r->late;
	if (r->late)
		recount(s, c->pool);
	free(r->pin);
	free(r);
}

static void want_none(struct store_client *c, uint32_t first, uint64_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		if (revoke_wanted(wanted(c), i))
			revoke_want(wanted(c), i, 0);
}

void revoke_adopt(struct store_client *c)
{
	const struct client_header *h = &c->segment->header;
	uint64_t high = shared_load64(&h->pin_high),
		 over = shared_load64(&h->overflow_high);

	/* nothing was asked for where no pin has been */
	want_none(c, 0, MIN(high, (uint64_t)c->n_pins));
	want_none(c, c->n_pins, MIN(over, (uint64_t)c->n_overflow));
	if (shared_load64_acquire(&h->answered) == shared_load64(&h->asked))
		return;
	c->revoke = mem_alloc(sizeof(*c->revoke));
	if (!c->revoke)
		return; /* it will be asked again */
	c->revoke->open = true;
	c->revoke->since_ns = c->store->now_ns;
	c->store->revoke.open++;
}

void revoke_fini(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		free(s->revoke.held[n]);
	free(s->batch.note);
}
