/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of a pool: their records, their touches, their end.
 *
 * A record's id is stored last when it is made and cleared first when it
 * goes, so a record with an id is whole. An id is `incarnation << 16 | index`;
 * the record keeps the last incarnation of its index, so ids never return.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coherence/pin.h"
#include "pool/session.h"
#include "store/revoke.h"

static enum client_state state_of(const struct client_record *rec)
{
	return client_state_of(shared_load64(&rec->id),
			       shared_load64(&rec->flags));
}

static struct client_step step_of(const struct client_record *rec,
				  enum client_event event)
{
	struct client_step step = { 0 };
	int r = client_step(state_of(rec), event, &step);

	must(r == 0);
	return step;
}

static int client_new(struct store *s, struct pool *p, uint32_t index,
		      struct client_segment *segment,
		      struct store_client **ret_client)
{
	struct store_client *c = mem_alloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->store = s;
	c->pool = p;
	c->index = index;
	c->segment = segment;
	c->record = &p->m->client[index];
	*ret_client = c;
	return 0;
}

static void client_enter(struct store_client *c)
{
	c->store->client[c->pool->number][c->index] = c;
	if (!c->closed)
		pool_count(c->pool, POOL_C_clients, 1);
}

int store_client_add(struct store *s, struct pool *p,
		     const struct store_client_info *info,
		     struct client_segment *segment,
		     struct store_client **ret_client)
{
	uint32_t index = 0;
	struct store_client *c;
	struct client_record *rec;
	uint64_t incarnation;
	int r;

	while (index < LAYOUT_CLIENTS_MAX && s->client[p->number][index])
		index++;
	if (index == LAYOUT_CLIENTS_MAX)
		return -EUSERS;
	r = client_new(s, p, index, segment, &c);
	if (r < 0)
		return r;
	rec = c->record;
	incarnation = shared_load64(&rec->incarnation) + 1;
	shared_store64(&rec->incarnation, incarnation);
	shared_store64(&rec->serving, 0);
	c->id = client_id(incarnation, index);
	c->n_pins = info->pins;
	c->n_overflow = info->overflow;
	c->read_only = info->read_only;
	shared_store64(&rec->pid_uid, (uint64_t)info->pid << 32 | info->uid);
	shared_store64(&rec->flags, info->read_only ? CLIENT_READ_ONLY : 0);
	shared_store64(&rec->pins, (uint64_t)info->pins << 32 | info->overflow);
	shared_store64(&rec->since_ms, s->now_ns / NS_PER_MS);
	shared_store64(&rec->seals, 0);
	shared_store64(&rec->seal_bytes, 0);
	shared_store_bytes(rec->name, LAYOUT_NAME, info->name,
			   strlen(info->name));
	client_enter(c);
	*ret_client = c;
	return 0;
}

/* Release: the rest of the record is there. */
void store_client_publish(struct store_client *c)
{
	must(step_of(c->record, CLIENT_EV_PUBLISH).to == CLIENT_IS_OPEN);
	shared_store64_release(&c->record->id, c->id);
}

/* Frames that were lent to it, by the request that got them. */
static int gather_repeats(struct store_client *c)
{
	struct pool *p = c->pool;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (!s || s->retiring || s->owner != c->id || !s->n_granted)
			continue;
		for (uint32_t f = 0; f < s->frames; f++) {
			struct store_repeat *grown;

			if (pool_frame_state(s, f) != FRAME_GRANTED)
				continue;
			grown = mem_grow(c->repeat, c->n_repeat + 1,
					 sizeof(*grown));
			if (!grown)
				return -ENOMEM;
			c->repeat = grown;
			c->repeat[c->n_repeat++] = (struct store_repeat){
				shared_load64(&s->desc[f].grant_seq),
				frame_loc(id, f)
			};
		}
	}
	c->granted = c->n_repeat;
	return 0;
}

int store_client_adopt(struct store *s, struct pool *p, uint32_t index,
		       struct client_segment *segment,
		       struct store_client **ret_client)
{
	struct store_client *c;
	uint64_t pins;
	int r = client_new(s, p, index, segment, &c);

	if (r < 0)
		return r;
	pins = shared_load64(&c->record->pins);
	c->id = shared_load64(&c->record->id);
	c->n_pins = (uint32_t)(pins >> 32);
	c->n_overflow = (uint32_t)pins;
	c->read_only = shared_load64(&c->record->flags) & CLIENT_READ_ONLY;
	c->closed = step_of(c->record, CLIENT_EV_RECOVER).to != CLIENT_IS_OPEN;
	if (!c->closed)
		c->touch_head =
			shared_load64_acquire(&segment->header.touch_tail);
	r = gather_repeats(c);
	if (r < 0) {
		free(c->repeat);
		free(c);
		return r;
	}
	client_enter(c);
	c->outside = shard_is_outside(c); /* a predecessor has seen that */
	if (!c->closed)
		revoke_adopt(c);
	*ret_client = c;
	return 0;
}

/* What it counted itself goes into the pool's counters. */
static void fold_counters(struct store_client *c)
{
	shard_outside(c);
	for (unsigned i = 0; i < CLIENT_COUNTS; i++)
		pool_count(c->pool, client_counter_pool[i],
			   shared_load64(&c->segment->header.counter[i]));
}

/* s NULL: it is not noted. */
static void take_grants_back(struct store *s, struct pool *p, uint64_t owner,
			     enum past_event event)
{
	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *slab = p->slab[id];

		if (!slab || slab->owner != owner || !slab->n_granted)
			continue;
		for (uint32_t f = 0; f < slab->frames; f++) {
			if (pool_frame_state(slab, f) != FRAME_GRANTED)
				continue;
			if (s)
				note_unsealed(s, p, slab, f, event);
			pool_frame_owner_died(p, slab, f);
		}
	}
}

static void hand_in(struct store_client *c, enum past_event event)
{
	grant_forget_client(c);
	fetch_forget_client(c);
	revoke_forget_client(c);
	take_grants_back(c->store, c->pool, c->id, event);
	c->granted = 0;
	fold_counters(c);
	pool_count(c->pool, POOL_C_clients, -1ull);
	c->store->retry = true;
}

/* The next client with this index was given nothing. */
static void forget_given(const struct pool *p, uint32_t index)
{
	for (uint32_t id = 1; id < p->slab_end; id++) {
		shared_u64 *word = &p->m->slab[id].given[index / 64];
		uint64_t bit = 1ull << (index % 64);

		if (shared_load64(word) & bit)
			shared_store64(word, shared_load64(word) & ~bit);
	}
}

/* What must not be found under the next client of this index goes before the
 * id; a slab's owner and a session's are compared with ids, which never return.
 * Sessions come after: while a successor may serve its requests again, what
 * they take up has an owner. */
static void record_end(struct pool *p, uint32_t index, uint64_t id)
{
	forget_given(p, index);
	/* release: pairs with has_owner() and orphans_attach() there */
	shared_store64_release(&p->m->client[index].id, 0);
	pool_session_disown(p, id);
	pool_slabs_orphan(p, id);
}

/* One transition of the table. True: the client is gone, and c with it. */
static bool client_take(struct store_client *c, enum client_event event)
{
	struct client_step step = step_of(c->record, event);
	struct store *s = c->store;

	if (step.takes & CLIENT_HANDS_IN)
		hand_in(c, event == CLIENT_EV_DIED ? PAST_ORPHANED
						   : PAST_ABANDONED);
	if (!(step.takes & CLIENT_ORPHANS)) {
		/* release: what it held is back before it says so; pairs with
		 * store_client_adopt(), in a successor */
		shared_store64_release(
			&c->record->flags,
			client_state_flags(shared_load64(&c->record->flags),
					   (enum client_state)step.to));
		/* it is asked nothing any more; as in record_end() */
		pool_session_disown(c->pool, c->id);
		return false;
	}
	record_end(c->pool, c->index, c->id);
	s->client[c->pool->number][c->index] = NULL;
	s->retry = true;
	client_free(c);
	return true;
}

void store_client_forget(struct pool *p, uint32_t index)
{
	const struct client_record *rec = &p->m->client[index];
	uint64_t id = shared_load64(&rec->id);

	if (step_of(rec, CLIENT_EV_FORGET).takes & CLIENT_HANDS_IN)
		take_grants_back(NULL, p, id, PAST_ORPHANED);
	record_end(p, index, id);
}

bool client_owns_slabs(const struct store_client *c)
{
	return pool_owned_bytes(c->pool, c->id) != 0;
}

bool store_client_close(struct store_client *c)
{
	enum client_event event = CLIENT_EV_LEAVE;
	/* what it has unmapped it says itself, at the end; acquire: pairs with
	 * the release of UINT64_MAX in client_destroy() */
	bool said = shared_load64_acquire(&c->segment->header.let_go_epoch) ==
		    UINT64_MAX;

	if (client_owns_slabs(c))
		event = said ? CLIENT_EV_UNMAPPED : CLIENT_EV_CLOSE;
	/* a process that is killed loses its sockets before its pidfd tells */
	if (!said)
		pool_count(c->pool, POOL_C_client_deaths, 1);
	if (client_take(c, event))
		return true;
	c->closed = true;
	c->segment = NULL;
	return false;
}

void store_client_died(struct store_client *c)
{
	if (!c->closed)
		pool_count(c->pool, POOL_C_client_deaths, 1);
	client_take(c, CLIENT_EV_DIED);
}

void clients_tick(struct store *s)
{
	if (!s->slab_gone)
		return;
	s->slab_gone = false;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
			struct store_client *c = s->client[n][i];

			if (!c || !c->closed || client_owns_slabs(c))
				continue;
			s->options.ended(s->options.ctx, c);
			client_take(c, CLIENT_EV_EMPTY);
		}
	}
}

void store_each_client(struct store *s, struct pool *p,
		       void (*fn)(void *ctx, struct store_client *c), void *ctx)
{
	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++)
		if (s->client[p->number][i])
			fn(ctx, s->client[p->number][i]);
}

void store_region_given(struct store_client *c, uint32_t slab)
{
	shared_u64 *word = &c->pool->m->slab[slab].given[c->index / 64];

	shared_store64(word, shared_load64(word) | 1ull << (c->index % 64));
}

/* Lossy on purpose: what was overwritten before it was read is forgotten. */
void store_touches(struct store_client *c)
{
	struct pool *p = c->pool;
	uint64_t tail = shared_load64_acquire(&c->segment->header.touch_tail);
	uint64_t n = tail - c->touch_head;

	if (!n || n > UINT64_MAX / 2) /* none, or it went backwards */
		return;
	if (n > TOUCH_RING) {
		pool_count(p, POOL_C_touches_lost, n - TOUCH_RING);
		n = TOUCH_RING;
	}
	for (uint64_t at = tail - n; at != tail; at++) {
		uint64_t pin = shared_load64(
			&c->segment->touch[at & (TOUCH_RING - 1)]);
		uint32_t frame;
		struct pool_slab *s = pool_locate(p, pin_word_loc(pin), &frame);

		if (s && pool_frame_state(s, frame) == FRAME_SEALED &&
		    pin_word_names(pin, pin_word_loc(pin),
				   pool_frame_gen(s, frame)))
			rung_touch(c->store, p, s, frame);
	}
	pool_count(p, POOL_C_touches, n);
	c->touch_head = tail;
}

struct check_granted {
	void (*problem)(void *ctx, const char *text);
	void *ctx;
	uint64_t granted;
};

static void add_granted(void *ctx, struct store_client *c)
{
	((struct check_granted *)ctx)->granted += c->granted;
}

/* The first of the frames that are lent, for who has to find out why. */
static void tell_lent(const struct pool *p, const struct check_granted *g,
		      uint64_t lent)
{
	char text[256];
	int n = snprintf(text, sizeof(text),
			 "%llu frames are lent, clients hold %llu",
			 (unsigned long long)lent,
			 (unsigned long long)g->granted);

	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];
		uint32_t f = 0;

		while (s && f < s->frames &&
		       pool_frame_state(s, f) != FRAME_GRANTED)
			f++;
		if (!s || f == s->frames)
			continue;
		snprintf(text + n, sizeof(text) - (size_t)n,
			 "; slab %u of %llx%s: frame %u of %llx, request %llu",
			 id, (unsigned long long)s->owner,
			 s->retiring ? ", retiring" : "", f,
			 (unsigned long long)shared_load64(&s->desc[f].owner),
			 (unsigned long long)shared_load64(
				 &s->desc[f].grant_seq));
		break;
	}
	g->problem(g->ctx, text);
}

void store_check(struct store *s, struct pool *p,
		 void (*problem)(void *ctx, const char *text), void *ctx,
		 struct pool_checked *ret_checked)
{
	struct check_granted g = { problem, ctx, 0 };

	pool_check(p, problem, ctx, ret_checked);
	store_each_client(s, p, add_granted, &g);
	if (s->local[p->number])
		add_granted(&g, s->local[p->number]);
	if (g.granted != ret_checked->granted)
		tell_lent(p, &g, ret_checked->granted);
	move_check(s, problem, ctx);
}
