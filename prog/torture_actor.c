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
 *
 * To add an operation: a function and a line in `operations`.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "torture.h"
#include "torture_resp.h"
#include "torture_session.h"
#ifdef ONECOPY_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define KEYS	   768u /* of each pool */
#define HOT	   32u	/* of these, every other operation takes one */
#define HELD	   24u	/* pins kept for a while */
#define DEPTH	   6u	/* reads of a device at a time */
#define GRANT_NS   (150 * NS_PER_MS) /* how long a grant may wait for room */
#define GENS	   4096u
#define REGIONS	   4096u
#define NAMES	   64u /* at the RESP door, of each pool */
#define MATCH_KEYS 8u
#define SLOW_MS	   200u /* the slow device takes up to this */

static const struct oc_part part0 = { 0, 0 };

struct pool_of {
	oc_client *client;
	oc_ns *ns;
	_Atomic uint64_t uses[REGIONS]; /* of a region's number */
	bool calm;
};

struct held {
	struct oc_pin pin;
	struct pool_of *pool;
	uint32_t key;
	uint64_t version;
};

/* The last generation of a frame, while its region is the same one. */
struct gen {
	uint64_t offset, use, generation;
	uint32_t region;
};

/* 0: under pressure, 1: calm. All threads of the process use them. */
static struct pool_of pools[2];

/* One thread of it. */
struct actor {
	const struct torture_actor_options *o;
	struct torture_log *log;
	struct rng rng;
	struct pool_of *pool; /* both */
	struct held held[HELD];
	struct torture_device *device;
	struct torture_sessions sessions;
	struct torture_resp resp[2]; /* to each pool */
	uint8_t value[TORTURE_NAMED_BYTES];
	uint64_t version; /* the last one; never used twice */
	struct gen gen[2][GENS];
	enum torture_call call;
	pthread_t thread;
};

/* ---- what the thread sanitizer cannot see --------------------------------------- */

/* A frame goes from thread to thread through the server, another process. That
 * its bytes are in order is what this program looks at itself; the sanitizer is
 * told, frame by frame, and is left to judge the library. */
static void frame_goes(const void *data)
{
#ifdef ONECOPY_TSAN
	__tsan_release((void *)(uintptr_t)data);
#endif
	(void)data;
}

static void frame_comes(const void *data)
{
#ifdef ONECOPY_TSAN
	__tsan_acquire((void *)(uintptr_t)data);
#endif
	(void)data;
}

static void unpin(struct pool_of *p, struct oc_pin *pin)
{
	frame_goes(pin->data);
	oc_unpin(p->ns, pin);
}

/* ---- the log ------------------------------------------------------------------ */

/* A record that is under way; the driver makes UNKNOWN of it if this is the
 * last that is heard. */
static struct trial_record *begin(struct actor *a, enum trial_op op,
				  uint32_t key, uint64_t version, bool calm)
{
	struct torture_log *p = a->log;
	uint32_t n = atomic_load_explicit(&p->n, memory_order_relaxed);
	struct trial_record *r = &p->record[n];

	*r = (struct trial_record){
		.end_ns = UINT64_MAX,
		.version = version,
		.key = key << 1 | calm,
		.op = (uint8_t)op,
		.result = TRIAL_UNKNOWN,
		.calm = calm,
	};
	r->begin_ns = clock_ns();
	/* release: the driver reads it when this process is dead */
	atomic_store_explicit(&p->open, 1, memory_order_release);
	return r;
}

static void see_stall(struct actor *a, uint64_t took)
{
	_Atomic uint64_t *most = &a->log->stall_ns[a->call];

	if (took > atomic_load_explicit(most, memory_order_relaxed))
		atomic_store_explicit(most, took, memory_order_relaxed);
}

/* What the call answered to what the record says of it. */
static void end(struct actor *a, struct trial_record *r,
		enum trial_result result, uint64_t version)
{
	struct torture_log *p = a->log;
	uint32_t n = atomic_load_explicit(&p->n, memory_order_relaxed);
	uint64_t now = clock_ns(), took = now - r->begin_ns;

	if (result != TRIAL_UNKNOWN)
		r->end_ns = now;
	if (version)
		r->version = version;
	r->result = (uint8_t)result;
	atomic_store_explicit(&p->open, 0, memory_order_release);
	atomic_store_explicit(&p->n, n + 1, memory_order_release);
	atomic_fetch_add_explicit(&p->ops, 1, memory_order_relaxed);
	see_stall(a, took);
}

/* Nothing that others could see came of it. */
static void end_without(struct actor *a, struct trial_record *r)
{
	uint64_t took = clock_ns() - r->begin_ns;

	atomic_store_explicit(&a->log->open, 0, memory_order_release);
	see_stall(a, took);
}

static void wrong_bytes(struct actor *a, uint64_t n, const char *what,
			uint32_t key, uint64_t version)
{
	if (!n)
		return;
	atomic_fetch_add_explicit(&a->log->wrong_bytes, n,
				  memory_order_relaxed);
	fprintf(stderr,
		"onecopy: torture: %llu wrong bytes, %s: key %u, version "
		"%#llx\n",
		(unsigned long long)n, what, key, (unsigned long long)version);
}

static void error_seen(struct actor *a, const char *what, int r)
{
	atomic_fetch_add_explicit(&a->log->errors, 1, memory_order_relaxed);
	if (r != -ENOBUFS && r != -ETIMEDOUT && r != -EDQUOT)
		fprintf(stderr, "onecopy: torture: %s: %s\n", what,
			oc_strerror(r));
}

/* A frame's generation grows, as long as its region is the same. */
static void see_generation(struct actor *a, const struct pool_of *p,
			   uint32_t region, uint64_t offset,
			   uint64_t generation)
{
	uint64_t h = (offset / 4096 + region * 2654435761u) % GENS;
	struct gen *g = &a->gen[p->calm][h];
	uint64_t use = atomic_load_explicit(&p->uses[region % REGIONS],
					    memory_order_relaxed);

	if (g->region == region && g->offset == offset && g->use == use &&
	    generation < g->generation) {
		atomic_fetch_add_explicit(&a->log->generations, 1,
					  memory_order_relaxed);
		fprintf(stderr,
			"onecopy: torture: region %u offset %llu: generation "
			"%llu after %llu\n",
			region, (unsigned long long)offset,
			(unsigned long long)generation,
			(unsigned long long)g->generation);
	}
	*g = (struct gen){ offset, use, generation, region };
}

static void on_region(void *ctx, int event, const struct oc_region *region)
{
	struct pool_of *p = ctx;

	(void)event;
	atomic_fetch_add_explicit(&p->uses[region->id % REGIONS], 1,
				  memory_order_relaxed);
}

/* ---- choices ------------------------------------------------------------------- */

static uint32_t chance(struct actor *a, uint32_t of)
{
	return (uint32_t)rng_below(&a->rng, of);
}

static uint32_t some_key(struct actor *a)
{
	uint32_t key = chance(a, chance(a, 2) ? HOT : KEYS);

	return TORTURE_DEVICE_KEY(key) ? key - 1 : key;
}

static struct pool_of *some_pool(struct actor *a)
{
	return &a->pool[chance(a, 3) == 0];
}

static uint64_t next_version(struct actor *a)
{
	return ++a->version;
}

static void doze(uint32_t us)
{
	struct timespec t = { .tv_nsec = (long)us * 1000 };

	nanosleep(&t, NULL);
}

/* ---- reading --------------------------------------------------------------------- */

static void check_pin(struct actor *a, const struct pool_of *p, uint32_t key,
		      const struct oc_pin *pin, uint64_t *ret_version)
{
	uint64_t n;

	frame_comes(pin->data);
	n = torture_block_wrong(key, pin->data, pin->bytes, ret_version);
	wrong_bytes(a, n, "pinned", key, *ret_version);
	see_generation(a, p, pin->region, pin->offset, pin->generation);
}

/* 0: it is pinned, and of *ret_version. */
static int pin(struct actor *a, struct pool_of *p, uint32_t key,
	       struct oc_pin *ret_pin, uint64_t *ret_version)
{
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return -ENOMEM;
	r = begin(a, TRIAL_READ, key, 0, p->calm);
	e = oc_pin(p->ns, &k, part0, chance(a, 16) ? 0 : OC_PIN_VERIFY,
		   ret_pin);
	if (e == 0) {
		check_pin(a, p, key, ret_pin, ret_version);
		end(a, r, TRIAL_DONE, *ret_version);
	} else if (e == OC_MISS) {
		end(a, r, TRIAL_MISSED, 0);
	} else {
		end_without(a, r);
		if (e == OC_BAD)
			wrong_bytes(a, 1, "its checksum failed", key, 0);
		else
			error_seen(a, "pin", e);
	}
	return e;
}

static void op_get(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = some_key(a);
	struct oc_pin one;
	uint64_t version;

	if (!p->calm && chance(a, 4) == 0)
		key = chance(a, KEYS / 8) * 8 + 7; /* a device's */
	if (pin(a, p, key, &one, &version) == 0)
		unpin(p, &one);
}

/* The bytes are still those that it saw. */
static void let_go(struct actor *a, struct held *h)
{
	uint64_t version, n;

	if (!h->pool)
		return;
	n = torture_block_wrong(h->key, h->pin.data, h->pin.bytes, &version);
	if (n == 0 && version != h->version)
		n = 8;
	wrong_bytes(a, n, "while pinned", h->key, h->version);
	unpin(h->pool, &h->pin);
	h->pool = NULL;
}

static void op_hold(struct actor *a)
{
	struct held *h = &a->held[chance(a, HELD)];
	struct pool_of *p = some_pool(a);
	uint32_t key = some_key(a);
	uint64_t version;

	let_go(a, h);
	if (pin(a, p, key, &h->pin, &version))
		return;
	h->pool = p;
	h->key = key;
	h->version = version;
}

static void op_let_go(struct actor *a)
{
	let_go(a, &a->held[chance(a, HELD)]);
}

/* A prefix of keys that follow each other; each is a look of its own, which
 * lasts as long as the whole call. */
static void op_match(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t first = some_key(a) % (KEYS - MATCH_KEYS);
	struct oc_key keys[MATCH_KEYS];
	struct oc_pin pins[MATCH_KEYS];
	uint64_t from = clock_ns(), version;
	size_t n = 0;
	int e = 0;

	for (uint32_t i = 0; i < MATCH_KEYS && e == 0; i++)
		e = torture_key(first + i, p->calm, &keys[i]);
	if (e == 0)
		e = oc_match_pin(p->ns, keys, MATCH_KEYS, NULL, pins, &n);
	if (e) {
		error_seen(a, "match", e);
		return;
	}
	for (uint32_t i = 0; i <= n && i < MATCH_KEYS; i++) {
		struct trial_record *r =
			begin(a, TRIAL_READ, first + i, 0, p->calm);

		r->begin_ns = from;
		version = 0;
		if (i < n)
			check_pin(a, p, first + i, &pins[i], &version);
		end(a, r, i < n ? TRIAL_DONE : TRIAL_MISSED, version);
	}
	for (size_t i = 0; i < n; i++)
		frame_goes(pins[i].data);
	oc_unpin_batch(p->ns, pins, n);
}

static void op_exists(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = some_key(a);
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return;
	r = begin(a, TRIAL_LOOK, key, 0, p->calm);
	e = oc_exists(p->ns, &k, part0);
	if (e == 0 || e == OC_MISS)
		end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, 0);
	else
		end_without(a, r);
}

/* ---- writing ------------------------------------------------------------------------ */

/* 0: granted. What it says of the key is a look. */
static int grant(struct actor *a, struct pool_of *p, uint32_t key,
		 unsigned flags, struct oc_grant *ret_grant)
{
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return -ENOMEM;
	r = begin(a, TRIAL_LOOK, key, 0, p->calm);
	e = oc_grant_flags(p->ns, &k, part0, torture_block_bytes(key), 0, flags,
			   GRANT_NS, ret_grant);
	if (e == 0 || e == OC_EXISTS) {
		end(a, r, e ? TRIAL_DONE : TRIAL_MISSED, 0);
	} else {
		end_without(a, r);
		error_seen(a, "grant", e);
	}
	if (e)
		return e;
	frame_comes(ret_grant->data);
	see_generation(a, p, ret_grant->region, ret_grant->offset,
		       ret_grant->generation);
	return 0;
}

static void seal(struct actor *a, struct pool_of *p, uint32_t key,
		 uint64_t version, struct oc_grant *g)
{
	uint64_t seen, n = torture_block_wrong(key, g->data, g->bytes, &seen);
	struct trial_record *r;
	int e;

	wrong_bytes(a, n, "in a frame of its own", key, version);
	if (a->o->options->plant_bytes && chance(a, 50) == 0)
		((uint8_t *)g->data)[100] ^= 1;
	r = begin(a, TRIAL_SEAL, key, version, p->calm);
	frame_goes(g->data);
	e = oc_seal(p->ns, g, NULL, 0);
	if (e == 0)
		end(a, r, TRIAL_DONE, 0);
	else if (e == OC_EXISTS || e == OC_STALE)
		end(a, r, TRIAL_REFUSED, 0);
	else
		end(a, r, TRIAL_UNKNOWN, 0);
	if (e < 0)
		error_seen(a, "seal", e);
	if (e == -ETIMEDOUT)
		oc_abandon(p->ns, g, 0);
}

static bool may_write(const struct actor *a, const struct pool_of *p)
{
	return !p->calm || a->o->calm_writer;
}

static void op_put(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = some_key(a);
	uint64_t version;
	struct oc_grant g;

	if (!may_write(a, p) || grant(a, p, key, 0, &g))
		return;
	version = next_version(a);
	torture_block_fill(key, version, g.data);
	if (chance(a, 8) == 0)
		doze(chance(a, 2000));
	seal(a, p, key, version, &g);
}

static void op_abandon(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = some_key(a);
	struct oc_grant g;
	int e;

	if (!may_write(a, p) || grant(a, p, key, 0, &g))
		return;
	memset(g.data, 0x5a, g.bytes / 2);
	frame_goes(g.data);
	e = oc_abandon(p->ns, &g, 0);
	if (e < 0)
		error_seen(a, "abandon", e);
}

static void op_remove(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = chance(a, 4) ? some_key(a) : chance(a, KEYS);
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return;
	r = begin(a, TRIAL_REMOVE, key, 0, p->calm);
	e = oc_remove(p->ns, &k, 0);
	end(a, r, e < 0 ? TRIAL_UNKNOWN : TRIAL_DONE, 0);
	if (e < 0)
		error_seen(a, "remove", e);
}

/* By the device; or by the processor, so that what an earlier owner's device
 * still writes there is not covered by what this one's writes next. */
static int fill_slices(struct actor *a, void *const *to, const uint32_t *slices,
		       unsigned n)
{
	bool planted = a->o->options->plant_device;
	uint64_t ms = planted ? SLOW_MS : chance(a, SLOW_MS);
	int r;

	if (chance(a, 3) == 0) {
		for (unsigned i = 0; i < n; i++)
			torture_slice_fill(slices[i], to[i]);
		doze(chance(a, 5000));
		return 0;
	}
	atomic_store_explicit(&a->log->device, n, memory_order_relaxed);
	if (planted || !a->device || chance(a, 3) == 0)
		r = torture_device_slow(to, slices, n, ms * NS_PER_MS);
	else
		r = torture_device_read(a->device, to, slices, n);
	atomic_store_explicit(&a->log->device, 0, memory_order_relaxed);
	return r;
}

/* Several blocks whose bytes a device brings. */
static void op_device(struct actor *a)
{
	struct pool_of *p = &a->pool[0];
	struct oc_grant g[DEPTH];
	uint32_t keys[DEPTH], slices[DEPTH];
	uint64_t versions[DEPTH];
	void *to[DEPTH];
	unsigned n = 0;
	int e;

	for (unsigned i = 0; i < DEPTH; i++) {
		keys[n] = chance(a, KEYS / 8) * 8 + 7;
		if (grant(a, p, keys[n],
			  a->o->options->plant_device ? 0 : OC_GRANT_DEVICE,
			  &g[n]))
			continue;
		versions[n] = next_version(a);
		slices[n] = (uint32_t)(versions[n] % TORTURE_SLICES);
		to[n] = (uint8_t *)g[n].data + TORTURE_HEAD;
		torture_block_fill(keys[n], versions[n], g[n].data);
		n++;
	}
	e = fill_slices(a, to, slices, n);
	for (unsigned i = 0; i < n; i++) {
		if (e == 0) {
			seal(a, p, keys[i], versions[i], &g[i]);
			continue;
		}
		frame_goes(g[i].data);
		oc_abandon(p->ns, &g[i], 0);
	}
	if (e)
		error_seen(a, "a read of the device", e);
}

static void op_session(struct actor *a)
{
	struct torture_sessions *t = &a->sessions;
	uint64_t start = clock_ns();

	torture_session_step(t);
	see_stall(a, clock_ns() - start);
	atomic_fetch_add_explicit(&a->log->ops, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->log->sessions, t->wrong,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&a->log->errors, t->errors,
				  memory_order_relaxed);
	t->wrong = 0;
	t->errors = 0;
}

/* ---- the RESP door ------------------------------------------------------------------------ */

/* What came of a command that changes something. */
static void end_named(struct actor *a, struct trial_record *r, int e)
{
	end(a, r,
	    e == 0  ? TRIAL_DONE
	    : e > 0 ? TRIAL_REFUSED
		    : TRIAL_UNKNOWN,
	    0);
}

static void set_named(struct actor *a, struct pool_of *p, uint32_t key,
		      const char *name)
{
	uint64_t version = next_version(a), bytes = torture_block_bytes(key);
	struct trial_record *r;

	torture_block_fill(key, version, a->value);
	if (a->o->options->plant_bytes && chance(a, 50) == 0)
		a->value[20] ^= 1;
	r = begin(a, TRIAL_REPLACE, key, version, p->calm);
	end_named(a, r,
		  torture_resp_set(&a->resp[p->calm], name, a->value, bytes));
}

static void get_named(struct actor *a, struct pool_of *p, uint32_t key,
		      const char *name)
{
	struct trial_record *r = begin(a, TRIAL_READ, key, 0, p->calm);
	uint64_t version = 0;
	size_t bytes = 0;
	int e = torture_resp_get(&a->resp[p->calm], name, a->value,
				 sizeof(a->value), &bytes);

	if (e == 0)
		wrong_bytes(a,
			    torture_block_wrong(key, a->value, bytes, &version),
			    "at the RESP door", key, version);
	if (e == 0 || e == OC_MISS)
		end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, version);
	else
		end_without(a, r);
	if (e == -EMSGSIZE)
		wrong_bytes(a, 1, "a longer value", key, 0);
}

static void look_named(struct actor *a, struct pool_of *p, uint32_t key,
		       const char *name)
{
	struct trial_record *r = begin(a, TRIAL_LOOK, key, 0, p->calm);
	int e = torture_resp_exists(&a->resp[p->calm], name);

	if (e == 0 || e == OC_MISS)
		end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, 0);
	else
		end_without(a, r);
}

static void remove_named(struct actor *a, struct pool_of *p, uint32_t key,
			 const char *name)
{
	struct trial_record *r = begin(a, TRIAL_REMOVE, key, 0, p->calm);
	int e = torture_resp_del(&a->resp[p->calm], name);

	end(a, r, e ? TRIAL_UNKNOWN : TRIAL_DONE, 0);
}

/* A server that dies takes the connection with it; the next command makes
 * another. */
static void op_named(struct actor *a)
{
	struct pool_of *p = some_pool(a);
	uint32_t key = TORTURE_NAMES + chance(a, NAMES);
	char name[32];

	snprintf(name, sizeof(name), "torture-%u", key);
	switch (chance(a, 8)) {
	case 0:
	case 1:
	case 2:
		set_named(a, p, key, name);
		break;
	case 3:
		a->call = TORTURE_RESP_DEL;
		remove_named(a, p, key, name);
		break;
	case 4:
		a->call = TORTURE_RESP_EXISTS;
		look_named(a, p, key, name);
		break;
	default:
		a->call = TORTURE_RESP_GET;
		get_named(a, p, key, name);
	}
	atomic_fetch_add_explicit(&a->log->resp_ops, 1, memory_order_relaxed);
}

static const struct operation {
	void (*run)(struct actor *a);
	enum torture_call call; /* op_named sees further */
	uint32_t weight;
} operations[] = {
	{ op_put, TORTURE_PUT, 30 },	    { op_get, TORTURE_GET, 30 },
	{ op_hold, TORTURE_HOLD, 12 },	    { op_let_go, TORTURE_LET_GO, 12 },
	{ op_match, TORTURE_MATCH, 6 },	    { op_exists, TORTURE_EXISTS, 4 },
	{ op_remove, TORTURE_REMOVE, 5 },   { op_abandon, TORTURE_ABANDON, 3 },
	{ op_session, TORTURE_SESSION, 8 }, { op_named, TORTURE_RESP_SET, 12 },
};
/* A place that has mostly devices write. */
static const struct operation device_operations[] = {
	{ op_device, TORTURE_DEVICE, 8 },
	{ op_get, TORTURE_GET, 2 },
	{ op_put, TORTURE_PUT, 1 },
};

static void run_one(struct actor *a, const struct operation *table, size_t n)
{
	uint32_t sum = 0, at;

	for (size_t i = 0; i < n; i++)
		sum += table[i].weight;
	at = chance(a, sum);
	for (size_t i = 0; i < n; i++) {
		if (at < table[i].weight) {
			a->call = table[i].call;
			table[i].run(a);
			return;
		}
		at -= table[i].weight;
	}
}

/* ---- life ------------------------------------------------------------------------------ */

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
		for (unsigned i = 0; phase == TORTURE_RELEASE && i < HELD; i++)
			let_go(a, &a->held[i]);
		/* release: the log is whole */
		atomic_store_explicit(&a->log->resting, phase,
				      memory_order_release);
		for (unsigned i = 0; i < 2; i++)
			oc_client_dispatch(a->pool[i].client);
		doze(500);
	}
	atomic_store_explicit(&a->log->resting, TORTURE_RUN,
			      memory_order_release);
	return true;
}

static bool log_full(const struct actor *a)
{
	return atomic_load_explicit(&a->log->n, memory_order_relaxed) +
		       2 * MATCH_KEYS >=
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
			doze(1000);
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
						 .keys = KEYS };
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
