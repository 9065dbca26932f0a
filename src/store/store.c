/* SPDX-License-Identifier: Apache-2.0 */
/* The store's frame: made and ended, its pools, its tick, its requests. */
#include "store/store.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include <onecopy/onecopy.h>
#include "store/learned.h"
#include "store/revoke.h"
#include "tier/tier.h"

#define TICK_BUSY_NS (2 * NS_PER_MS)  /* while grants wait */
#define TICK_IDLE_NS (20 * NS_PER_MS) /* scrubbing, retiring, draining */

int store_create(const struct store_options *options, struct store **ret_store)
{
	struct store *s = mem_alloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	guard_install();
	s->options = *options;
	s->budget.limit = options->limit_bytes;
	s->low.budget.limit = options->low_bytes;
	s->low.source = options->low;
	s->now_ns = clock_ns();
	s->scrub.last_ns = s->now_ns;
	r = maker_create(options->threaded, &s->maker);
	if (r == 0)
		r = scrub_init(s);
	if (r == 0 && options->below)
		r = store_below_attach(s, options->below);
	if (r < 0) {
		store_destroy(s);
		return r;
	}
	*ret_store = s;
	return 0;
}

void client_free(struct store_client *c)
{
	if (c) {
		if (c->revoke)
			free(c->revoke->pin);
		free(c->revoke);
		free(c->repeat);
		free(c->fetch);
	}
	free(c);
}

void store_destroy(struct store *s)
{
	if (!s)
		return;
	fetch_fini(s);
	shard_fini(s);
	mover_destroy(s->mover);
	s->mover = NULL;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		if (s->pool[n])
			s->pool[n]->unmapping = NULL;
		for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++)
			client_free(s->client[n][i]);
		local_free(s->local[n]);
		pool_destroy(s->pool[n]);
		past_destroy(s->past[n]);
		free(s->linger[n]);
	}
	maker_destroy(s->maker);
	scrub_fini(s);
	owed_fini(s);
	revoke_fini(s);
	learned_fini(s);
	free(s->pending);
	pool_low_fini(&s->low);
	free(s->batch.entry);
	free(s->batch.pinned);
	free(s);
}

int store_fd(const struct store *s)
{
	return maker_fd(s->maker);
}

void store_ready(struct store *s, uint64_t now_ns)
{
	struct maker_job *job;

	s->now_ns = now_ns;
	while ((job = maker_take(s->maker))) {
		room_slab_ready(s, job);
		free(job);
	}
	move_settle(s);
	grant_retry(s, false);
	move_settle(s); /* grants of moves were answered */
	fetch_settle(s);
	revoke_send(s);
}

void store_settle(struct store *s, uint64_t now_ns)
{
	s->now_ns = now_ns;
	worth_tick(s);
	revoke_settle(s);
	move_settle(s);
	grant_retry(s, false);
	move_settle(s);
	fetch_settle(s);
	rung_rise(s);
	shard_settle(s);
	revoke_send(s);
}

uint64_t store_tick(struct store *s, uint64_t now_ns)
{
	uint64_t again;

	s->now_ns = now_ns;
	worth_tick(s);
	again = MIN(move_tick(s), shard_tick(s));
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		if (!p)
			continue;
		shared_store64(&p->m->header.alive_ms, now_ns / NS_PER_MS);
		evict_drain(s, p);
	}
	room_quarantine_tick(s);
	room_retire_tick(s);
	room_drain_tick(s);
	clients_tick(s);
	revoke_tick(s);
	session_tick(s);
	learned_tick(s);
	scrub_step(s);
	rung_tick(s);
	rung_rise(s);
	grant_retry(s, true);
	move_settle(s);
	fetch_tick(s);
	revoke_send(s);
	return MIN(again, s->n_pending || fetch_waits(s) ? TICK_BUSY_NS
							 : TICK_IDLE_NS);
}

void store_low_gone(struct store *s, bool gone)
{
	s->low_gone = gone;
}

void store_load(const struct store *s, struct store_load *ret_load)
{
	*ret_load = (struct store_load){
		.limit_bytes = s->budget.limit,
		.used_bytes = s->budget.used,
		.waiting = s->n_pending,
		.slabs_refused = s->slabs_refused,
		.low_limit = s->low.budget.limit,
		.low_used = s->low.budget.used,
		.low_kind = s->low.source.kind,
		.low_aside = s->low.aside,
		.low_errors = s->low_errors,
		.low_gone = s->low_gone,
	};
}

/* Every step-th piece, beginning with the first; how many there are. NULL: they are
 * counted alone. */
static uint64_t low_pieces(const struct store *s, uint64_t bytes, uint64_t step,
			   unsigned most, const void **ret_base)
{
	uint64_t seen = 0, n = 0;

	for (uint32_t i = 0; i < STORE_POOLS_MAX; i++) {
		const struct pool *p = s->pool[i];

		for (uint32_t id = 1; p && id < p->slab_end; id++) {
			const struct pool_slab *slab = p->slab[id];
			uint64_t at = 0;

			if (!slab || !slab->low || !slab->payload.base)
				continue;
			for (; at + bytes <= slab->payload.bytes; at += bytes)
				if (seen++ % step == 0 && ret_base && n < most)
					ret_base[n++] =
						(const char *)
							slab->payload.base +
						at;
		}
	}
	return ret_base ? n : seen;
}

unsigned store_low_samples(const struct store *s, uint64_t bytes, unsigned most,
			   const void **ret_base)
{
	uint64_t all = low_pieces(s, bytes, 1, 0, NULL);

	return (unsigned)low_pieces(s, bytes, MAX(all / most, 1ull), most,
				    ret_base);
}

/* ---- pools ---------------------------------------------------------------- */

static struct pool_options pool_options(struct store *s, uint32_t number,
					const char *tenant, uint64_t quota)
{
	struct pool_options o = {
		.number = number,
		.tenant = tenant,
		.budget = &s->budget,
		.low = s->low.budget.limit ? &s->low : NULL,
		.policy = s->options.policy,
		.quota = quota ? quota : s->options.limit_bytes,
		.slab_bytes = s->options.slab_bytes,
		.segment_flags = s->options.segment_flags,
		.hold = s->options.hold,
		.realtime_ms = clock_realtime_ms(),
	};

	if (getrandom(&o.random, sizeof(o.random), GRND_NONBLOCK) < 0)
		o.random = clock_ns();
	return o;
}

/* A node without it serves as well. */
static void begin_history(struct store *s, uint32_t number)
{
	uint64_t bytes = s->options.history_bytes;

	if (bytes &&
	    past_create(bytes, s->now_ns / NS_PER_MS, &s->past[number]) < 0)
		log_warn("no memory for the history of a pool: `onecopy why` "
			 "will know less");
}

static void set_below_share(const struct store *s, struct pool *p)
{
	char tenant[LAYOUT_NAME + 8] = "";

	shared_load_bytes(tenant, LAYOUT_NAME, p->m->header.tenant);
	if (s->options.below_share)
		p->below_share = s->options.below_share(s->options.ctx, tenant);
}

const struct past *store_past(const struct store *s, const struct pool *p)
{
	return s->past[p->number];
}

int store_pool_add(struct store *s, const char *tenant, uint64_t quota,
		   struct pool **ret_pool)
{
	struct pool_options o;
	uint32_t n = 0;
	int r;

	while (n < STORE_POOLS_MAX && s->pool[n])
		n++;
	if (n == STORE_POOLS_MAX)
		return -ENOSPC;
	o = pool_options(s, n, tenant, quota);
	r = pool_create(&o, &s->pool[n]);
	if (r < 0)
		return r;
	begin_history(s, n);
	set_below_share(s, s->pool[n]);
	move_pool(s, s->pool[n]);
	shard_tell(s, s->pool[n]);
	*ret_pool = s->pool[n];
	return 0;
}

int store_pool_attach(struct store *s, uint32_t number, struct hold_set *given,
		      bool (*alive)(void *ctx, uint64_t client), void *ctx,
		      struct pool **ret_pool)
{
	struct pool_options o = pool_options(s, number, "", 0);
	struct pool *p;
	int r = pool_attach(&o, given, alive, ctx, &p);

	if (r < 0)
		return r;
	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->retiring)
			s->retiring++;
	s->pool[number] = p;
	learned_attach(s, p, given);
	pool_set(p, POOL_C_revoke_held_bytes, 0); /* nobody is late here yet */
	begin_history(s, number);
	s->pins_unknown[number] = true;
	s->announce_again = true;
	set_below_share(s, p);
	move_pool(s, p);
	shard_tell(s, p);
	*ret_pool = p;
	return 0;
}

void store_pool_serve(struct pool *p)
{
	struct pool_header *h = &p->m->header;
	uint64_t now_ms = clock_ns() / NS_PER_MS;

	if (!shared_load64(&p->m->tier[tier_dram.kind].measured_ms))
		tier_publish(&tier_dram, p->m, now_ms);
	shared_store64(&h->server_pid, (uint64_t)getpid());
	shared_store64(&h->alive_ms, now_ms);
	shared_store64_release(&h->server_epoch,
			       shared_load64(&h->server_epoch) + 1);
	shared_store64_release(&h->state, POOL_SERVING);
}

void store_pool_quota(struct pool *p, uint64_t quota)
{
	p->quota = quota ? quota : p->budget->limit;
}

void store_pool_share(struct pool *p, uint64_t share)
{
	p->share = MIN(share, p->quota);
}

struct pool *store_pool(struct store *s, uint32_t number)
{
	return number < STORE_POOLS_MAX ? s->pool[number] : NULL;
}

int store_pool_by_tenant(struct store *s, const char *tenant,
			 struct pool **ret_pool)
{
	char name[LAYOUT_NAME];

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		if (!s->pool[n])
			continue;
		shared_load_bytes(name, sizeof(name),
				  s->pool[n]->m->header.tenant);
		if (strncmp(name, tenant, sizeof(name)))
			continue;
		*ret_pool = s->pool[n];
		return 0;
	}
	return -ENOENT;
}

/* ---- requests ------------------------------------------------------------- */

enum store_result store_call(struct store_client *c,
			     const struct ring_call *call, uint32_t backlog,
			     bool repeat, struct ring_answer *ret_answer)
{
	switch ((enum ring_op)call->op) {
	case RING_NOP:
		answer_set(ret_answer, 0);
		break;
	case RING_GRANT:
		return grant_call(c, call, backlog, repeat, ret_answer);
	case RING_SEAL:
		seal_call(c, call, ret_answer);
		break;
	case RING_ABANDON:
		abandon_call(c, call, ret_answer);
		break;
	case RING_REMOVE:
		remove_call(c, call, ret_answer);
		break;
	case RING_PIN:
		pin_call(c, call, repeat, ret_answer);
		break;
	case RING_UNPIN:
		unpin_call(c, call, ret_answer);
		break;
	case RING_CANCEL:
		answer_set(ret_answer,
			   grant_cancel(c, (uint32_t)call->arg, call->arg2) ||
					   fetch_cancel(c, (uint32_t)call->arg,
							call->arg2)
				   ? 0
				   : OC_STALE);
		break;
	case RING_BAD:
		bad_call(c, call, ret_answer);
		break;
	case RING_SESSION_OPEN:
	case RING_SESSION_FORK:
	case RING_SESSION_APPEND:
	case RING_SESSION_TAIL:
	case RING_SESSION_STATE:
	case RING_SESSION_KEYS:
	case RING_SESSION_INFO:
	case RING_SESSION_EXPECT:
		session_call(c, call, repeat, ret_answer);
		break;
	case RING_LOOK:
	case RING_FETCH:
		return fetch_call(c, call, ret_answer);
	default:
		answer_set(ret_answer, -EOPNOTSUPP);
	}
	return STORE_ANSWERED;
}
