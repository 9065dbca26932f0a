/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door: names, whose values are set, read, looked at, and removed.
 */
#include <errno.h>
#include "torture_actor.h"

#define NAMES 64u /* of each pool */

/* What came of a command that changes something. */
static void end_named(struct actor *a, struct trial_record *r, int e)
{
	actor_end(a, r,
		  e == 0  ? TRIAL_DONE
		  : e > 0 ? TRIAL_REFUSED
			  : TRIAL_UNKNOWN,
		  0);
}

static void set_named(struct actor *a, struct pool_of *p, uint32_t key,
		      const char *name)
{
	uint64_t version = actor_next_version(a),
		 bytes = torture_block_bytes(key);
	struct trial_record *r;

	torture_block_fill(key, version, a->value);
	if (a->o->options->plant_bytes && actor_chance(a, 50) == 0)
		a->value[20] ^= 1;
	r = actor_begin(a, TRIAL_REPLACE, key, version, p->calm);
	end_named(a, r,
		  torture_resp_set(&a->resp[p->calm], name, a->value, bytes));
}

static void get_named(struct actor *a, struct pool_of *p, uint32_t key,
		      const char *name)
{
	struct trial_record *r = actor_begin(a, TRIAL_READ, key, 0, p->calm);
	uint64_t version = 0;
	size_t bytes = 0;
	int e = torture_resp_get(&a->resp[p->calm], name, a->value,
				 sizeof(a->value), &bytes);

	if (e == 0)
		actor_wrong(a,
			    torture_block_wrong(key, a->value, bytes, &version),
			    "at the RESP door", key, version);
	if (e == 0 || e == OC_MISS)
		actor_end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, version);
	else
		actor_end_without(a, r);
	if (e == -EMSGSIZE)
		actor_wrong(a, 1, "a longer value", key, 0);
}

static void look_named(struct actor *a, struct pool_of *p, uint32_t key,
		       const char *name)
{
	struct trial_record *r = actor_begin(a, TRIAL_LOOK, key, 0, p->calm);
	int e = torture_resp_exists(&a->resp[p->calm], name);

	if (e == 0 || e == OC_MISS)
		actor_end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, 0);
	else
		actor_end_without(a, r);
}

static void remove_named(struct actor *a, struct pool_of *p, uint32_t key,
			 const char *name)
{
	struct trial_record *r = actor_begin(a, TRIAL_REMOVE, key, 0, p->calm);
	int e = torture_resp_del(&a->resp[p->calm], name);

	actor_end(a, r, e ? TRIAL_UNKNOWN : TRIAL_DONE, 0);
}

/* A server that dies takes the connection with it; the next command makes
 * another. */
void actor_named(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = TORTURE_NAMES + actor_chance(a, NAMES);
	char name[32];

	snprintf(name, sizeof(name), "torture-%u", key);
	switch (actor_chance(a, 8)) {
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
