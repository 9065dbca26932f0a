/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs on their way out. A slab retires empty: its record says so, everybody who
 * was given it is told, and it goes when all of them who live have let go of it.
 * The ticks look for those that can go now, for slabs in which nothing is left but
 * frames that a device may still write, and for drained ones that nobody waits for
 * any more.
 *
 * In the server's thread alone. After a death the next server finds in the records
 * which slabs were retiring, and announces them again (announce_again).
 */
#include "store/revoke.h"
#include "store/room_internal.h"

/* Tells the owner of a retiring slab, and everybody who was given it. */
static void announce(struct store *s, struct pool *p, uint32_t id)
{
	const struct slab_record *rec = &p->m->slab[id];

	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
		struct store_client *o = s->client[p->number][i];

		if (o && !o->closed &&
		    (o->id == p->slab[id]->owner ||
		     shared_load64(&rec->given[i / 64]) >> (i % 64) & 1)) {
			revoke_nudge(o);
			s->options.announce(s->options.ctx, o);
		}
	}
}

void room_retire(struct store *s, struct pool *p, uint32_t id)
{
	pool_slab_retire(p, id);
	s->retiring++;
	announce(s, p, id);
}

/* Everybody who was given the slab and still lives has let go of it? */
static bool let_go(struct store *s, struct pool *p, uint32_t id)
{
	const struct slab_record *rec = &p->m->slab[id];
	uint64_t epoch = shared_load64(&rec->retire_epoch);

	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
		const struct store_client *c = s->client[p->number][i];
		bool given = shared_load64(&rec->given[i / 64]) >> (i % 64) & 1;
		uint64_t seen = 0;

		if (!c || !given)
			continue;
		/* acquire: pairs with the release in client/region.c, after
		 * unmapping (follow_slabs()) */
		if (!c->closed)
			seen = shared_load64_acquire(
				&c->segment->header.let_go_epoch);
		if (!client_let_go(
			    client_state_of(c->id,
					    shared_load64(&c->record->flags)),
			    given, seen, epoch))
			return false;
	}
	return true;
}

void room_retire_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX && s->retiring; n++) {
		struct pool *p = s->pool[n];

		for (uint32_t id = 1; p && id < p->slab_end; id++) {
			if (!p->slab[id] || !p->slab[id]->retiring)
				continue;
			if (s->announce_again)
				announce(s, p, id);
			if (!let_go(s, p, id))
				continue;
			pool_slab_finish(p, id);
			s->retiring--;
			s->retry = true;
			s->slab_gone = true;
		}
	}
	s->announce_again = false;
}

void room_quarantine_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		if (!p || !pool_counter(p, POOL_C_quarantined))
			continue;
		for (uint32_t id = 1; id < p->slab_end; id++) {
			const struct pool_slab *slab = p->slab[id];

			if (slab && slab->n_quarantined &&
			    pool_slab_empty(slab))
				room_retire(s, p, id);
		}
	}
}

void room_drain_tick(struct store *s)
{
	s->cause = (struct store_cause){ .pressure = PRESSURE_DRAIN };
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		for (uint32_t id = 1; p && id < p->slab_end; id++) {
			struct pool_slab *slab = p->slab[id];

			if (!slab || !slab->draining || slab->retiring)
				continue;
			/* not one that will not come free */
			if (!s->n_pending || revoke_holds(s, p, slab))
				pool_slab_undrain(p, id);
			else if (slab->n_sealed) /* sealed meanwhile */
				evict_slab_hard(s, p, slab);
		}
	}
}
