/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: grants that are filled and sealed, abandoned, or filled by a slow device,
 * removals, sessions. A thread looks at the bytes of its own frame before it seals it.
 */
#include <errno.h>
#include <string.h>
#include "torture_actor.h"

#define DEPTH	 6u		   /* reads of a device at a time */
#define GRANT_NS (150 * NS_PER_MS) /* how long a grant may wait for room */
#define SLOW_MS	 200u		   /* the slow device takes up to this */

/* 0: granted. What it says of the key is a look. */
static int grant(struct actor *a, struct pool_of *p, uint32_t key,
		 unsigned flags, struct oc_grant *ret_grant)
{
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return -ENOMEM;
	r = actor_begin(a, TRIAL_LOOK, key, 0, p->calm);
	e = oc_grant_flags(p->ns, &k, actor_part, torture_block_bytes(key), 0,
			   flags, GRANT_NS, ret_grant);
	if (e == 0 || e == OC_EXISTS) {
		actor_end(a, r, e ? TRIAL_DONE : TRIAL_MISSED, 0);
	} else {
		actor_end_without(a, r);
		actor_error(a, "grant", e);
	}
	if (e)
		return e;
	actor_frame_comes(ret_grant->data);
	actor_generation(a, p, ret_grant->region, ret_grant->offset,
			 ret_grant->generation);
	return 0;
}

static void seal(struct actor *a, struct pool_of *p, uint32_t key,
		 uint64_t version, struct oc_grant *g)
{
	uint64_t seen, n = torture_block_wrong(key, g->data, g->bytes, &seen);
	struct trial_record *r;
	int e;

	actor_wrong(a, n, "in a frame of its own", key, version);
	if (a->o->options->plant_bytes && actor_chance(a, 50) == 0)
		((uint8_t *)g->data)[100] ^= 1;
	r = actor_begin(a, TRIAL_SEAL, key, version, p->calm);
	actor_frame_goes(g->data);
	e = oc_seal(p->ns, g, NULL, 0);
	if (e == 0)
		actor_end(a, r, TRIAL_DONE, 0);
	else if (e == OC_EXISTS || e == OC_STALE)
		actor_end(a, r, TRIAL_REFUSED, 0);
	else
		actor_end(a, r, TRIAL_UNKNOWN, 0);
	if (e < 0)
		actor_error(a, "seal", e);
	if (e == -ETIMEDOUT)
		oc_abandon(p->ns, g, 0);
}

static bool may_write(const struct actor *a, const struct pool_of *p)
{
	return !p->calm || a->o->calm_writer;
}

void actor_put(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_some_key(a);
	uint64_t version;
	struct oc_grant g;

	if (!may_write(a, p) || grant(a, p, key, 0, &g))
		return;
	version = actor_next_version(a);
	torture_block_fill(key, version, g.data);
	if (actor_chance(a, 8) == 0)
		actor_doze(actor_chance(a, 2000));
	seal(a, p, key, version, &g);
}

void actor_abandon(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_some_key(a);
	struct oc_grant g;
	int e;

	if (!may_write(a, p) || grant(a, p, key, 0, &g))
		return;
	memset(g.data, 0x5a, g.bytes / 2);
	actor_frame_goes(g.data);
	e = oc_abandon(p->ns, &g, 0);
	if (e < 0)
		actor_error(a, "abandon", e);
}

void actor_remove(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_chance(a, 4) ? actor_some_key(a)
					  : actor_chance(a, ACTOR_KEYS);
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return;
	r = actor_begin(a, TRIAL_REMOVE, key, 0, p->calm);
	e = oc_remove(p->ns, &k, 0);
	actor_end(a, r, e < 0 ? TRIAL_UNKNOWN : TRIAL_DONE, 0);
	if (e < 0)
		actor_error(a, "remove", e);
}

/* By the device; or by the processor, so that what an earlier owner's device
 * still writes there is not covered by what this one's writes next. */
static int fill_slices(struct actor *a, void *const *to, const uint32_t *slices,
		       unsigned n)
{
	bool planted = a->o->options->plant_device;
	uint64_t ms = planted ? SLOW_MS : actor_chance(a, SLOW_MS);
	int r;

	if (actor_chance(a, 3) == 0) {
		for (unsigned i = 0; i < n; i++)
			torture_slice_fill(slices[i], to[i]);
		actor_doze(actor_chance(a, 5000));
		return 0;
	}
	atomic_store_explicit(&a->log->device, n, memory_order_relaxed);
	if (planted || !a->device || actor_chance(a, 3) == 0)
		r = torture_device_slow(to, slices, n, ms * NS_PER_MS);
	else
		r = torture_device_read(a->device, to, slices, n);
	atomic_store_explicit(&a->log->device, 0, memory_order_relaxed);
	return r;
}

/* Several blocks whose bytes a device brings. */
void actor_device(struct actor *a)
{
	struct pool_of *p = &a->pool[0];
	struct oc_grant g[DEPTH];
	uint32_t keys[DEPTH], slices[DEPTH];
	uint64_t versions[DEPTH];
	void *to[DEPTH];
	unsigned n = 0;
	int e;

	for (unsigned i = 0; i < DEPTH; i++) {
		keys[n] = actor_chance(a, ACTOR_KEYS / 8) * 8 + 7;
		if (grant(a, p, keys[n],
			  a->o->options->plant_device ? 0 : OC_GRANT_DEVICE,
			  &g[n]))
			continue;
		versions[n] = actor_next_version(a);
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
		actor_frame_goes(g[i].data);
		oc_abandon(p->ns, &g[i], 0);
	}
	if (e)
		actor_error(a, "a read of the device", e);
}

void actor_session(struct actor *a)
{
	struct torture_sessions *t = &a->sessions;
	uint64_t start = clock_ns();

	torture_session_step(t);
	actor_stall(a, clock_ns() - start);
	atomic_fetch_add_explicit(&a->log->ops, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->log->sessions, t->wrong,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&a->log->errors, t->errors,
				  memory_order_relaxed);
	t->wrong = 0;
	t->errors = 0;
}
