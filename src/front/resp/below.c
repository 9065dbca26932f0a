/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values on the tier below: a command that needs one waits until it is here.
 *
 * A name's record says what its value is and when it ends, so commands that only
 * ask about a name bring up its record alone. What cannot be had in time, or is
 * wrong, is a miss. Commands that walk over names (SCAN, DBSIZE, the sweep) know
 * those whose record is in memory.
 */
#include <onecopy/onecopy.h>
#include "front/resp/internal.h"

/* Waits of one command for one name: its record, its bulk, and once more where
 * what came was evicted again. */
#define WAITS_MOST 4u
/* Names of an MGET that are asked for ahead. */
#define AHEAD_NAMES 32u

static struct store *store_of(const struct call *k)
{
	return k->d->options.store;
}

static bool is_below(const struct call *k, const struct place *place,
		     enum place_which which)
{
	uint64_t part = place_part(k->t, place, which);
	struct tier_found found;
	uint32_t frame;

	return !pool_find(k->t->pool, place->key, part, &frame) &&
	       move_find(store_of(k), k->t->pool, place->key, part, &found);
}

/* Which part the command lacks. False: none that could be had. */
static bool lacks(const struct call *k, struct name name, bool value,
		  const struct place *place, enum place_which *ret_which)
{
	struct entry e;

	*ret_which = PLACE_RECORD;
	if (is_below(k, place, PLACE_RECORD))
		return true;
	*ret_which = PLACE_BULK;
	return value && entry_find(k->t, name, &e) && e.bulk_below;
}

/* The names behind the one that is waited for. */
static void ask_ahead(struct call *k, uint32_t arg)
{
	uint32_t last = MIN(k->n, arg + 1 + AHEAD_NAMES);

	if (k->id != RESP_CMD_MGET)
		return;
	for (uint32_t i = arg + 1; i < last; i++) {
		struct place place;

		place_of(call_arg(k, i), &place);
		for (unsigned w = PLACE_RECORD; w <= PLACE_BULK; w++)
			move_up(store_of(k), k->t->pool, place.key,
				place_part(k->t, &place, (enum place_which)w),
				TIER_AHEAD, 0, NULL);
	}
}

static void told(struct move_waiter *w, int result)
{
	struct conn *c = container_of(w, struct conn, wait);

	(void)result; /* the command looks for itself */
	conn_resume(c, CONN_OPEN);
}

bool below_awaited(struct call *k, uint32_t arg, bool value)
{
	struct conn *c = k->c;
	struct name name = call_arg(k, arg);
	enum place_which which;
	struct place place;

	if (!store_below_stat(store_of(k)))
		return false;
	if (c->wait_arg != arg)
		c->waits = 0;
	c->wait_arg = arg;
	place_of(name, &place);
	if (!c->wait_until_ns)
		c->wait_until_ns = k->d->now_ns + RESP_ROOM_NS;
	if (c->waits == WAITS_MOST || k->d->now_ns >= c->wait_until_ns ||
	    !lacks(k, name, value, &place, &which))
		return false;
	c->waits++;
	c->wait.done = told;
	if (move_up(store_of(k), k->t->pool, place.key,
		    place_part(k->t, &place, which), TIER_WAITED,
		    c->wait_until_ns, &c->wait) != 0)
		return false;
	ask_ahead(k, arg);
	c->state = CONN_BELOW;
	return true;
}
