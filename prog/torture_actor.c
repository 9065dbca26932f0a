/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An actor: one client of each pool, whose threads do operations from a table at
 * random until they are told to end, or killed.
 *
 * What it does is in its thread's log before it does it, and what came of it
 * after: so the log is whole but for one record, whenever it is killed. It
 * checks what nobody else can: the bytes of what it pins, at once and when it
 * lets go; the bytes of its own frames before the seal; that a frame's
 * generation never goes back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "torture_actor.h"

/* 0: under pressure, 1: calm. All threads of the process use them. */
static struct pool_of pools[2];

/* ---- operations -------------------------------------------------------------- */

static const struct operation {
	void (*run)(struct actor *a);
	enum torture_call call; /* actor_named sees further */
	uint32_t weight;
} operations[] = {
	{ actor_put, TORTURE_PUT, 30 },
	{ actor_get, TORTURE_GET, 30 },
	{ actor_hold, TORTURE_HOLD, 12 },
	{ actor_release, TORTURE_LET_GO, 12 },
	{ actor_match, TORTURE_MATCH, 6 },
	{ actor_exists, TORTURE_EXISTS, 4 },
	{ actor_remove, TORTURE_REMOVE, 5 },
	{ actor_abandon, TORTURE_ABANDON, 3 },
	{ actor_session, TORTURE_SESSION, 8 },
	{ actor_named, TORTURE_RESP_SET, 12 },
};
/* A place that has mostly devices write. */
static const struct operation device_operations[] = {
	{ actor_device, TORTURE_DEVICE, 8 },
	{ actor_get, TORTURE_GET, 2 },
	{ actor_put, TORTURE_PUT, 1 },
};

static void run_one(struct actor *a, const struct operation *table, size_t n)
{
	uint32_t sum = 0, at;

	for (size_t i = 0; i < n; i++)
		sum += table[i].weight;
	at = actor_chance(a, sum);
	for (size_t i = 0; i < n; i++) {
		if (at < table[i].weight) {
			a->call = table[i].call;
			table[i].run(a);
			return;
		}
		at -= table[i].weight;
	}
}

/* ---- life -------------------------------------------------------------------- */

static void on_region(void *ctx, int event, const struct oc_region *region)
{
	struct pool_of *p = ctx;

	(void)event;
	atomic_fetch_add_explicit(&p->uses[region->id % ACTOR_REGIONS], 1,
				  memory_order_relaxed);
}

static int open_pool(const struct torture_actor_options *o, bool calm)
{
	struct pool_of *p = &pools[calm];
	struct oc_client_options client = {
		.size = sizeof(client),
		.socket = o->socket,
		.tenant = calm ? "calm" : "default",
		.name = "torture",
		.pins = 256,
		.timeout_ns = 10 * NS_PER_S,
		.on_region = on_region,
		.region_ctx = p,
	};
	struct oc_ns_options ns = {
		.size = sizeof(ns),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slice_bytes = TORTURE_HEAD + TORTURE_SLICE } },
		.label = "torture",
	};
	int r = oc_client_connect(&client, &p->client, NULL);

	p->calm = calm;
	return r ? r : oc_ns_open(p->client, &ns, 0, &p->ns);
}

/* Stands still while the driver looks, unless the phase says end. A grant that
 * comes when it was given up is given back meanwhile. */
static bool rest(struct actor *a)
{
	struct torture_shared *s = a->o->shared;
	uint32_t phase;

	while ((phase = atomic_load_explicit(
			&s->phase, memory_order_acquire)) != TORTURE_RUN) {
		if (phase == TORTURE_END)
			return false;
		for (unsigned i = 0; phase == TORTURE_RELEASE && i < ACTOR_HELD;
		     i++)
			actor_let_go(a, &a->held[i]);
		/* release: the log is whole */
		atomic_store_explicit(&a->log->resting, phase,
				      memory_order_release);
		for (unsigned i = 0; i < 2; i++)
			oc_client_dispatch(a->pool[i].client);
		actor_doze(500);
	}
	atomic_store_explicit(&a->log->resting, TORTURE_RUN,
			      memory_order_release);
	return true;
}

static bool log_full(const struct actor *a)
{
	return atomic_load_explicit(&a->log->n, memory_order_relaxed) +
		       2 * ACTOR_MATCH_KEYS >=
	       TORTURE_LOG;
}

static void act(struct actor *a)
{
	bool devices = a->o->place % 4 == 1;
	static uint64_t planted;

	while (rest(a)) {
		if (a->o->options->plant_race)
			planted++;
		if (log_full(a)) {
			actor_doze(1000);
			continue;
		}
		if (devices)
			run_one(a, device_operations,
				sizeof(device_operations) /
					sizeof(device_operations[0]));
		else
			run_one(a, operations,
				sizeof(operations) / sizeof(operations[0]));
	}
}

static int actor_open(const struct torture_actor_options *o)
{
	int r = 0;

	for (unsigned i = 0; i < 2 && r == 0; i++)
		r = open_pool(o, i);
	if (r)
		fprintf(stderr, "onecopy: torture: connecting: %s\n",
			oc_strerror(r));
	return r;
}

static struct actor *thread_create(const struct torture_actor_options *o,
				   uint32_t thread)
{
	struct actor *a = calloc(1, sizeof(*a));
	struct torture_place *place = &o->shared->place[o->place];
	uint64_t who = o->place * TORTURE_THREADS_MAX + thread;

	if (!a)
		return NULL;
	a->o = o;
	a->log = &place->log[thread];
	a->pool = pools;
	a->version = (who + 1) << 55 | (uint64_t)place->incarnation << 32;
	a->rng.state = o->options->seed * 0x9e3779b97f4a7c15ull + a->version;
	a->sessions = (struct torture_sessions){ .ns = pools[0].ns,
						 .rng = &a->rng,
						 .keys = ACTOR_KEYS };
	for (unsigned i = 0; i < 2; i++)
		a->resp[i] = (struct torture_resp){
			.port = o->resp,
			.user = i ? "calm" : "default",
			.fd = -1,
		};
	if (o->file && torture_device_open(o->file, &a->device) < 0)
		a->device = NULL;
	return a;
}

static void *thread_main(void *actor)
{
	act(actor);
	return NULL;
}

/* The process ends with its main thread, so nothing is freed. */
_Noreturn void torture_actor(const struct torture_actor_options *options)
{
	struct actor *a[TORTURE_THREADS_MAX] = { NULL };
	uint32_t n = options->options->threads;

	if (actor_open(options))
		_exit(1);
	for (uint32_t i = 0; i < n; i++) {
		a[i] = thread_create(options, i);
		if (!a[i] || (i > 0 && pthread_create(&a[i]->thread, NULL,
						      thread_main, a[i])))
			_exit(1);
	}
	act(a[0]);
	for (uint32_t i = 1; i < n; i++)
		if (pthread_join(a[i]->thread, NULL))
			_exit(1);
	for (unsigned i = 0; i < 2; i++)
		oc_client_close(pools[i].client);
	_exit(0);
}
