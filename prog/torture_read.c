/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: pins, held for a moment or for a while, matches, questions. The bytes of
 * what is pinned are looked at when it is, and once more when it is let go.
 */
#include <errno.h>
#include "torture_actor.h"

static void check_pin(struct actor *a, const struct pool_of *p, uint32_t key,
		      const struct oc_pin *pin, uint64_t *ret_version)
{
	uint64_t n;

	actor_frame_comes(pin->data);
	n = torture_block_wrong(key, pin->data, pin->bytes, ret_version);
	actor_wrong(a, n, "pinned", key, *ret_version);
	actor_generation(a, p, pin->region, pin->offset, pin->generation);
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
	r = actor_begin(a, TRIAL_READ, key, 0, p->calm);
	e = oc_pin(p->ns, &k, actor_part,
		   actor_chance(a, 16) ? 0 : OC_PIN_VERIFY, ret_pin);
	if (e == 0) {
		check_pin(a, p, key, ret_pin, ret_version);
		actor_end(a, r, TRIAL_DONE, *ret_version);
	} else if (e == OC_MISS) {
		actor_end(a, r, TRIAL_MISSED, 0);
	} else {
		actor_end_without(a, r);
		if (e == OC_BAD)
			actor_wrong(a, 1, "its checksum failed", key, 0);
		else
			actor_error(a, "pin", e);
	}
	return e;
}

void actor_get(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_some_key(a);
	struct oc_pin one;
	uint64_t version;

	if (!p->calm && actor_chance(a, 4) == 0)
		key = actor_chance(a, ACTOR_KEYS / 8) * 8 + 7; /* a device's */
	if (pin(a, p, key, &one, &version) == 0)
		actor_unpin(p, &one);
}

/* The bytes are still those that it saw. */
void actor_let_go(struct actor *a, struct held *h)
{
	uint64_t version, n;

	if (!h->pool)
		return;
	n = torture_block_wrong(h->key, h->pin.data, h->pin.bytes, &version);
	if (n == 0 && version != h->version)
		n = 8;
	actor_wrong(a, n, "while pinned", h->key, h->version);
	actor_unpin(h->pool, &h->pin);
	h->pool = NULL;
}

void actor_hold(struct actor *a)
{
	struct held *h = &a->held[actor_chance(a, ACTOR_HELD)];
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_some_key(a);
	uint64_t version;

	actor_let_go(a, h);
	if (pin(a, p, key, &h->pin, &version))
		return;
	h->pool = p;
	h->key = key;
	h->version = version;
}

void actor_release(struct actor *a)
{
	actor_let_go(a, &a->held[actor_chance(a, ACTOR_HELD)]);
}

/* A prefix of keys that follow each other; each is a look of its own, which
 * lasts as long as the whole call. */
void actor_match(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t first = actor_some_key(a) % (ACTOR_KEYS - ACTOR_MATCH_KEYS);
	struct oc_key keys[ACTOR_MATCH_KEYS];
	struct oc_pin pins[ACTOR_MATCH_KEYS];
	uint64_t from = clock_ns(), version;
	size_t n = 0;
	int e = 0;

	for (uint32_t i = 0; i < ACTOR_MATCH_KEYS && e == 0; i++)
		e = torture_key(first + i, p->calm, &keys[i]);
	if (e == 0)
		e = oc_match_pin(p->ns, keys, ACTOR_MATCH_KEYS, NULL, pins, &n);
	if (e) {
		actor_error(a, "match", e);
		return;
	}
	for (uint32_t i = 0; i <= n && i < ACTOR_MATCH_KEYS; i++) {
		struct trial_record *r =
			actor_begin(a, TRIAL_READ, first + i, 0, p->calm);

		r->begin_ns = from;
		version = 0;
		if (i < n)
			check_pin(a, p, first + i, &pins[i], &version);
		actor_end(a, r, i < n ? TRIAL_DONE : TRIAL_MISSED, version);
	}
	for (size_t i = 0; i < n; i++)
		actor_frame_goes(pins[i].data);
	oc_unpin_batch(p->ns, pins, n);
}

void actor_exists(struct actor *a)
{
	struct pool_of *p = actor_some_pool(a);
	uint32_t key = actor_some_key(a);
	struct trial_record *r;
	struct oc_key k;
	int e;

	if (torture_key(key, p->calm, &k))
		return;
	r = actor_begin(a, TRIAL_LOOK, key, 0, p->calm);
	e = oc_exists(p->ns, &k, actor_part);
	if (e == 0 || e == OC_MISS)
		actor_end(a, r, e ? TRIAL_MISSED : TRIAL_DONE, 0);
	else
		actor_end_without(a, r);
}
