/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is below: under which name the tier keeps a part, how much of it each
 * tenant has, and how it leaves.
 *
 * A space of the tier is a namespace of a tenant. The tier may know spaces that
 * nobody has opened since the node began: they count for nobody until a client
 * opens their namespace.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "store/move_internal.h"

static struct below_space *space_at(struct mover *mv, uint32_t space)
{
	uint32_t n = MAX(2 * mv->n_spaces, 64u);
	struct below_space *grown;

	if (space < mv->n_spaces)
		return &mv->of_space[space];
	if (space >= 1u << 24)
		return NULL;
	n = MAX(n, space + 1);
	grown = mem_grow(mv->of_space, n, sizeof(*grown));
	if (!grown)
		return NULL;
	memset(grown + mv->n_spaces, 0, (n - mv->n_spaces) * sizeof(*grown));
	mv->of_space = grown;
	mv->n_spaces = n;
	return &grown[space];
}

static int ask_space(struct mover *mv, const struct pool *p, uint32_t ns,
		     uint32_t *ret_space)
{
	const struct ns_record *rec = ns_find(p, ns);
	struct tier_space space;
	uint64_t digest[4];

	if (!rec)
		return -ENOENT;
	shared_load_words(digest, rec->digest, 4);
	memcpy(space.digest, digest, sizeof(space.digest));
	shared_load_bytes(space.tenant, sizeof(space.tenant),
			  p->m->header.tenant);
	return mv->t->ops->space(mv->t, &space, ret_space);
}

/* What lay there already counts for this tenant from now on. */
static bool intern(struct mover *mv, const struct pool *p, uint32_t ns,
		   uint32_t *ret_space)
{
	struct pool *pool = mv->s->pool[p->number];
	struct below_space *of;
	int r;

	r = mv->spaces_of[p->number] == SPACES_TENANT
		    ? -ENOSPC
		    : ask_space(mv, p, ns, ret_space);
	if (r == -ENOSPC)
		mv->space[p->number][ns - 1] = SPACE_REFUSED;
	if (r < 0)
		return false;
	of = space_at(mv, *ret_space);
	if (!of)
		return false;
	of->pool = p->number;
	of->ns = ns;
	pool_count(pool, POOL_C_below_parts, of->parts);
	pool_count(pool, POOL_C_below_bytes, of->bytes);
	mv->spent_of[p->number] += of->spent;
	mv->spaces_of[p->number]++;
	mv->space[p->number][ns - 1] = *ret_space + 1;
	return true;
}

bool below_id(struct mover *mv, const struct pool *p, const uint64_t key[4],
	      uint64_t part, struct tier_id *ret_id)
{
	uint32_t ns = frame_part_ns(part), space;

	if (!ns || ns > LAYOUT_NS_MAX)
		return false;
	space = mv->space[p->number][ns - 1];
	if (space == SPACE_REFUSED)
		return false;
	if (space)
		space--;
	else if (!intern(mv, p, ns, &space))
		return false;
	memcpy(ret_id->key, key, sizeof(ret_id->key));
	ret_id->space = space;
	ret_id->part = (uint32_t)part;
	return true;
}

bool below_find(struct mover *mv, const struct pool *p, const uint64_t key[4],
		uint64_t part, struct tier_found *ret_found)
{
	struct tier_id id;

	return mv->stat.state != TIER_COMING && mv->stat.state != TIER_DOWN &&
	       below_id(mv, p, key, part, &id) &&
	       mv->t->ops->find(mv->t, &id, ret_found);
}

void below_count(struct mover *mv, uint32_t space, uint64_t extent, int n)
{
	struct below_space *of = space_at(mv, space);
	uint64_t bytes = frame_extent_bytes(extent), spent = below_spent(bytes);
	struct pool *p;

	if (!of)
		return;
	/* one that came while there was no memory to count it */
	if (n < 0 && !of->parts)
		return;
	bytes = n < 0 ? MIN(bytes, of->bytes) : bytes;
	if (n < 0)
		spent = of->parts == 1 ? of->spent : MIN(spent, of->spent);
	of->parts += (uint64_t)(int64_t)n;
	of->bytes += (uint64_t)(int64_t)n * bytes;
	of->spent += (uint64_t)(int64_t)n * spent;
	p = of->ns ? mv->s->pool[of->pool] : NULL;
	if (!p)
		return;
	pool_count(p, POOL_C_below_parts, (uint64_t)(int64_t)n);
	pool_count(p, POOL_C_below_bytes, (uint64_t)(int64_t)n * bytes);
	mv->spent_of[of->pool] += (uint64_t)(int64_t)n * spent;
}

/* Namespaces that a predecessor's clients have opened. */
static void intern_all(struct mover *mv, const struct pool *p)
{
	uint32_t space;

	for (uint32_t ns = 1; ns <= LAYOUT_NS_MAX && ns_find(p, ns); ns++)
		if (!mv->space[p->number][ns - 1])
			intern(mv, p, ns, &space);
}

static void count_one(void *ctx, const struct tier_id *id,
		      const struct tier_block *block)
{
	below_count(ctx, id->space, block->extent, 1);
}

/* Gauges of a predecessor tell of what it knew. */
void below_recount(struct mover *mv)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		if (!mv->s->pool[n])
			continue;
		pool_set(mv->s->pool[n], POOL_C_below_parts, 0);
		pool_set(mv->s->pool[n], POOL_C_below_bytes, 0);
	}
	memset(mv->spent_of, 0, sizeof(mv->spent_of));
	for (uint32_t i = 0; i < mv->n_spaces; i++)
		mv->of_space[i].parts = mv->of_space[i].bytes =
			mv->of_space[i].spent = 0;
	mv->counted = true;
	mv->inexact = false;
	mv->t->ops->each(mv->t, count_one, mv);
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (mv->s->pool[n])
			intern_all(mv, mv->s->pool[n]);
}

/* ---- leaving ------------------------------------------------------------------ */

/* One has gone, and nobody can say how much that was: as much as a part of its
 * space has on average, until the next recount. */
static void count_unknown(struct mover *mv, const struct tier_id *id)
{
	const struct below_space *of = space_at(mv, id->space);
	uint64_t bytes = of && of->parts ? of->bytes / of->parts : 0;

	mv->inexact = true;
	below_count(mv, id->space, frame_extent((uint32_t)bytes, 0), -1);
}

static bool drop(struct mover *mv, const struct pool *p, const uint64_t key[4],
		 uint64_t part)
{
	struct tier_found found;
	struct tier_id id;
	bool known;

	if (!below_id(mv, p, key, part, &id))
		return false;
	/* a tier that is down finds nothing, and forgets all the same */
	known = mv->t->ops->find(mv->t, &id, &found);
	if (mv->t->ops->remove(mv->t, &id) != 0)
		return known;
	if (known && mv->counted)
		below_count(mv, id.space, found.block.extent, -1);
	else if (mv->counted)
		count_unknown(mv, &id);
	return true;
}

bool below_holds(struct mover *mv, const struct pool *p,
		 const struct frame_desc *d)
{
	uint64_t key[4], part = shared_load64(&d->part);
	struct tier_found found;

	shared_load_words(key, d->key, 4);
	if (!below_find(mv, p, key, part, &found))
		return false;
	if (found.block.checksum == shared_load64(&d->checksum) &&
	    found.block.extent == shared_load64(&d->extent))
		return true;
	drop(mv, p, key, part);
	return false;
}

bool move_forget(struct store *s, const struct pool *p, const uint64_t key[4],
		 uint64_t part)
{
	struct mover *mv = s->mover;
	struct move *m;

	if (!mv || !mv->hears)
		owed_add(s, p, key, part);
	if (!mv)
		return false;
	m = move_of(mv, p->number, key, part);
	if (m && !m->stale) {
		/* what it brings, up or down, is of the past */
		m->stale = true;
		if (m->state == MOVE_FLYING)
			mv->t->ops->cancel(mv->t, &m->tm);
	}
	return drop(mv, p, key, part);
}

uint64_t move_forget_block(struct store *s, const struct pool *p,
			   const uint64_t key[4], uint32_t ns)
{
	struct ns_parts parts = ns_parts_of(p, ns);
	uint64_t n = 0;

	for (uint32_t i = 0; i < parts.n; i++)
		n += move_forget(s, p, key, ns_parts_at(&parts, i));
	return n;
}

/* The names of a space's parts: all in one pass over what is below, or, where
 * memory is refused, those for which there is some. */
struct forgetting {
	uint32_t space, n, cap;
	struct tier_id *id;
	bool more;
};

static void collect(void *ctx, const struct tier_id *id,
		    const struct tier_block *block)
{
	struct forgetting *f = ctx;

	(void)block;
	if (id->space != f->space)
		return;
	if (f->n == f->cap) {
		uint32_t cap = MAX(2 * f->cap, 1024u);
		struct tier_id *grown =
			f->more ? NULL : mem_grow(f->id, cap, sizeof(*grown));

		f->more = !grown;
		if (!grown)
			return;
		f->id = grown;
		f->cap = cap;
	}
	f->id[f->n++] = *id;
}

/* What is under way comes to nothing. */
static void forget_moves(struct mover *mv, const struct pool *p, uint32_t ns)
{
	for (uint32_t b = 0; b < MOVE_BUCKETS; b++)
		for (struct move *m = mv->bucket[b]; m; m = m->same) {
			if (m->pool != p->number || m->stale ||
			    frame_part_ns(m->part) != ns)
				continue;
			m->stale = true;
			if (m->state == MOVE_FLYING)
				mv->t->ops->cancel(mv->t, &m->tm);
		}
}

void move_forget_all(struct store *s, const struct pool *p, uint32_t ns)
{
	struct mover *mv = s->mover;
	struct forgetting f = { 0 };
	uint64_t key[4] = { 0 };
	struct tier_id id;

	if (!mv || !mv->hears)
		owed_add_all(s, p, ns);
	if (!mv || !below_id(mv, p, key, frame_part(ns, 0, 0), &id))
		return;
	forget_moves(mv, p, ns);
	f.space = id.space;
	do {
		f.n = 0;
		f.more = false;
		mv->t->ops->each(mv->t, collect, &f);
		for (uint32_t i = 0; i < f.n; i++)
			drop(mv, p, f.id[i].key,
			     (uint64_t)ns << 32 | f.id[i].part);
	} while (f.more && f.n);
	free(f.id);
}

void store_below_gone(struct store *s, const struct tier_id *id, bool wrong)
{
	struct mover *mv = s->mover;
	struct tier_found found;
	struct below_space *of;

	if (!mv || !mv->counted)
		return;
	of = space_at(mv, id->space);
	if (!of)
		return;
	if (mv->t->ops->find(mv->t, id, &found))
		below_count(mv, id->space, found.block.extent, -1);
	else
		count_unknown(mv, id);
	if (of->ns && s->pool[of->pool])
		note_below(s, s->pool[of->pool], of->ns, id->key,
			   wrong ? PAST_WRONG_BELOW : PAST_LEFT_BELOW);
}

/* ---- memory ------------------------------------------------------------------- */

static void unmapping(void *ctx, void *base, uint64_t bytes)
{
	struct mover *mv = ctx;

	mv->t->ops->memory_drop(mv->t, base, bytes);
}

/* Slabs of the server's own. The kernel registers memory only for writing, and
 * the server maps what clients write for reading alone. */
void memory_tick(struct mover *mv)
{
	for (uint32_t n = 0; mv->serving && n < STORE_POOLS_MAX; n++) {
		struct pool *p = mv->s->pool[n];

		for (uint32_t id = 1; p && id < p->slab_end; id++) {
			struct pool_slab *slab = p->slab[id];

			if (!slab || slab->registered || !slab->payload.base ||
			    slab->owner != CLIENT_SERVER)
				continue;
			slab->registered = true;
			p->unmapping = unmapping;
			p->unmapping_ctx = mv;
			mv->t->ops->memory_add(mv->t, slab->payload.base,
					       slab->payload.bytes);
		}
	}
}
