/* SPDX-License-Identifier: Apache-2.0 */
/* Spans: made, grown, looked at, ended. */
#include <stdlib.h>
#include <sys/mman.h>
#include "client/session.h"
#include "space/space.h"

#define HUGE_BYTES (2ull << 20)
#define ALL_FLAGS \
	(OC_SPAN_LAZY | OC_SPAN_READ_ONLY | OC_SPAN_VERIFY | OC_SPAN_PAGES)

void span_free(oc_span *sp)
{
	if (!sp)
		return;
	free(sp->key);
	free(sp->block);
	free(sp);
}

/* ---- addresses ---- */

static uint64_t align_of(uint64_t bytes)
{
	return bytes >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES;
}

/* The first gap that has room for it; `skew`: what its address shall be modulo
 * 2 MiB, so that huge pages of the first frames can be mapped as such. */
static oc_span **find_gap(oc_space *s, uint64_t bytes, uint64_t skew,
			  char **ret_base)
{
	uint64_t align = align_of(bytes);
	oc_span **at = &s->span;
	char *from = s->base;

	skew %= align;
	for (;;) {
		char *end = *at ? (*at)->base : s->base + s->bytes;
		uintptr_t base = ALIGN_UP((uintptr_t)from - skew, align) + skew;

		if (base + bytes >= base && base + bytes <= (uintptr_t)end) {
			*ret_base = from + (base - (uintptr_t)from);
			return at;
		}
		if (!*at)
			return NULL;
		from = (*at)->base + (*at)->shape.bytes;
		at = &(*at)->next;
	}
}

static int span_place(oc_span *sp, uint64_t skew)
{
	oc_space *s = sp->s;
	char *base = NULL;
	oc_span **at = find_gap(s, sp->shape.bytes, skew, &base);
	int r = 0;

	if (!at)
		return client_fail(s->c, -ENOSPC,
				   "no %llu bytes of addresses left in the "
				   "space",
				   (unsigned long long)sp->shape.bytes);
	if (s->stray)
		r = space_make_absent(s, base, sp->shape.bytes);
	if (r)
		return r;
	sp->base = base;
	sp->next = *at;
	*at = sp;
	return 0;
}

static void span_unlink(oc_span *sp)
{
	oc_span **at = &sp->s->span;

	while (*at && *at != sp)
		at = &(*at)->next;
	if (*at)
		*at = sp->next;
}

/* ---- making ---- */

static int options_check(oc_space *s, const struct oc_span_options *o)
{
	if (o->size < sizeof(size_t) || o->size > sizeof(*o) ||
	    !ns_has(s->ns, o->part) || (unsigned)o->layout > OC_LAYOUT_SLICES ||
	    (unsigned)o->lost > OC_LOST_CALL || o->flags & ~ALL_FLAGS ||
	    (o->flags & OC_SPAN_PAGES && o->flags & OC_SPAN_READ_ONLY) ||
	    (o->lost == OC_LOST_CALL && !o->recompute))
		return client_fail(s->c, -EINVAL,
				   "options of a span that cannot be");
	return 0;
}

static int span_new(oc_space *s, const struct oc_key *keys, size_t n,
		    const struct oc_span_options *o, oc_span **ret_span)
{
	size_t capacity = o->capacity ? o->capacity : n + 1;
	oc_span *sp;
	int r;

	if (capacity < n || !capacity)
		return client_fail(s->c, -EINVAL, "a span smaller than it is");
	sp = mem_alloc(sizeof(*sp));
	if (!sp)
		return -ENOMEM;
	*sp = (struct oc_span){
		.s = s,
		.part = o->part,
		.lost = o->lost,
		.flags = o->flags,
		.recompute = o->recompute,
		.ctx = o->ctx,
		.n = n,
		.walk = WALK_INIT,
	};
	r = shape_of(&s->ns->spec, o->part.group, o->layout, capacity,
		     &sp->shape);
	sp->key = mem_array(capacity, sizeof(*sp->key));
	sp->block = mem_array(capacity, sizeof(*sp->block));
	if (r == 0 && (!sp->key || !sp->block))
		r = -ENOMEM;
	if (r) {
		span_free(sp);
		return client_fail(s->c, r, "cannot make a span of %zu blocks",
				   capacity);
	}
	if (n)
		memcpy(sp->key, keys, n * sizeof(*keys));
	sp->gathered = sp->shape.gather;
	*ret_span = sp;
	return 0;
}

/* ---- gathered as a whole ---- */

static int gather_lost(oc_span *sp, size_t i, char *to)
{
	int r;

	if (sp->lost == OC_LOST_CALL) {
		r = sp->recompute(sp->ctx, &sp->key[i], i, to,
				  sp->shape.part_bytes);
		if (r)
			return OC_MISS;
		sp->s->n.recomputed++;
		sp->block[i].state = OC_BLOCK_COPIED;
		return 0;
	}
	if (sp->lost == OC_LOST_BUS)
		return OC_MISS;
	sp->block[i].state = OC_BLOCK_ZERO;
	return 0;
}

static void scatter(oc_span *sp, size_t i, const struct slices *from,
		    uint64_t bytes)
{
	const struct shape *sh = &sp->shape;
	uint64_t run;

	for (uint32_t s = 0; s < sh->slices; s++) {
		uint64_t at = s * sh->from_stride;
		uint64_t n = bytes > at ? MIN(bytes - at, sh->piece_bytes) : 0;

		for (uint64_t k = 0; k < n; k += run) {
			const uint8_t *f = slices_at(from, at + k, n - k, &run);

			memcpy(block_at(sp, s, i) + k, f, run);
		}
	}
}

static int gather_one(oc_span *sp, size_t i, char *scratch)
{
	struct block *b = &sp->block[i];
	struct slices from;
	int r = blocks_pin(sp, i, 1, 0);

	if (r)
		return r;
	if (!b->pin.data) {
		r = gather_lost(sp, i, scratch);
		from = slices_whole(scratch);
		if (r == 0 && b->state == OC_BLOCK_COPIED)
			scatter(sp, i, &from, sp->shape.part_bytes);
		return r;
	}
	from = pin_slices(sp->s->c, &b->pin);
	scatter(sp, i, &from, b->pin.bytes);
	sp->s->n.gathered_bytes += b->pin.bytes;
	oc_unpin(sp->s->ns, &b->pin);
	sp->s->n.pins--;
	b->state = OC_BLOCK_COPIED;
	return 0;
}

/* Blocks [first, first + n) of a span whose addresses are memory already. */
static int gather_some(oc_span *sp, size_t first, size_t n)
{
	char *scratch = mem_alloc(sp->shape.part_bytes);
	int r = scratch ? 0 : -ENOMEM;

	for (size_t i = first; i < first + n && r == 0; i++)
		r = gather_one(sp, i, scratch);
	free(scratch);
	return r;
}

static int span_gather(oc_span *sp)
{
	int r = space_map_at(sp->base, sp->shape.bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE, -1, 0);

	if (r)
		return r;
	space_not_in_child(sp->base, sp->shape.bytes);
	return gather_some(sp, 0, sp->n);
}

/* ---- mapping ---- */

/* Would the slices of these blocks be too many mappings? */
static bool too_many(oc_span *sp)
{
	if (sp->shape.slices == 1)
		return false;
	/* What is pinned says how many, and a lazy one finds out. */
	if (sp->shape.striped)
		return !(sp->flags & OC_SPAN_LAZY) &&
		       !space_room(sp->s, blocks_maps(sp, 0, sp->n));
	/* Each slice of each block at worst, and pinned blocks tell little of
	 * those that are to come. */
	return !space_room(sp->s,
			   2 * (uint64_t)sp->shape.slices * sp->shape.capacity);
}

static int pin_all(oc_span *sp)
{
	if (sp->gathered || sp->flags & OC_SPAN_LAZY)
		return 0;
	return blocks_pin(sp, 0, sp->n, 0);
}

static int span_fill(oc_span *sp)
{
	int r;

	if (sp->gathered)
		return span_gather(sp);
	if (sp->flags & OC_SPAN_LAZY)
		return 0;
	span_busy(sp);
	r = blocks_map_patiently(sp, 0, sp->n);
	span_idle(sp);
	for (size_t i = 0; i < sp->n && r == 0; i++)
		if (sp->block[i].flags & BLOCK_HALF)
			r = -ENOMEM;
	return r;
}

/* Takes it out again; when even that fails, its addresses stay taken. */
static void span_end(oc_span *sp)
{
	oc_space *s = sp->s;

	if (sp->base && span_clear(sp))
		return;
	for (size_t i = 0; !sp->base && i < sp->n; i++)
		block_drop(sp, i);
	span_unlink(sp);
	span_free(sp);
	s->maps = space_count_maps(s);
}

static int span_begin(oc_span *sp)
{
	uint64_t skew = 0;
	int r = sp->shape.striped ? pin_all(sp) : 0;

	if (r == 0 && !sp->gathered && too_many(sp)) {
		sp->shape.gather = "its slices are too many mappings";
		/* block by block where touches are told */
		sp->gathered = sp->s->how == OC_SPACE_EXPLICIT ||
			       !(sp->flags & OC_SPAN_LAZY);
	}
	if (sp->gathered)
		blocks_unpin(sp, 0, sp->n);
	else if (r == 0)
		r = pin_all(sp);
	if (r == 0 && sp->n && sp->block[0].pin.data)
		skew = sp->block[0].pin.offset;
	if (r == 0)
		r = span_place(sp, skew);
	if (r == 0)
		r = span_fill(sp);
	return r;
}

static const struct oc_span_options plain = OC_SPAN_INIT;

int oc_span_map(oc_space *s, const struct oc_key *keys, size_t n,
		const struct oc_span_options *options, oc_span **ret_span)
{
	struct oc_span_options o = plain;
	oc_span *sp = NULL;
	int r = space_usable(s);

	if (r)
		return r;
	if (options)
		memcpy(&o, options, MIN(options->size, sizeof(o)));
	r = options_check(s, &o);
	if (r == 0)
		r = span_new(s, keys, n, &o, &sp);
	if (r)
		return r;
	space_lock(s);
	r = span_begin(sp);
	if (r) {
		sp->going = true;
		span_end(sp);
	}
	space_unlock(s);
	if (r)
		return r < 0 ? client_fail(s->c, r, "cannot map a span: %s",
					   oc_strerror(r))
			     : r;
	*ret_span = sp;
	return 0;
}

static int session_keys(oc_session *session, uint64_t timeout_ns,
			struct oc_key **ret_keys, size_t *ret_n)
{
	size_t n = oc_session_blocks(session);
	struct oc_key *keys = mem_array(n ? n : 1, sizeof(*keys));
	int r;

	if (!keys)
		return -ENOMEM;
	r = oc_session_keys(session, 0, keys, n, timeout_ns, ret_n);
	if (r) {
		free(keys);
		return r;
	}
	*ret_keys = keys;
	return 0;
}

int oc_span_map_session(oc_space *s, oc_session *session,
			const struct oc_span_options *options,
			uint64_t timeout_ns, oc_span **ret_span)
{
	struct oc_key *keys = NULL;
	size_t n = 0;
	int r = space_usable(s);

	if (r == 0)
		r = session_keys(session, timeout_ns, &keys, &n);
	if (r == 0)
		r = oc_span_map(s, keys, n, options, ret_span);
	free(keys);
	return r;
}

/* ---- growing ---- */

/* The space is locked. */
static int append(oc_span *sp, const struct oc_key *keys, size_t n)
{
	oc_space *s = sp->s;
	size_t first = sp->n;
	int r = 0;

	if (n > sp->shape.capacity - first)
		r = client_fail(s->c, -ENOSPC, "the span has room for %zu",
				sp->shape.capacity);
	/* a touch past the end may have been there first */
	if (r == 0 && !sp->gathered)
		r = blocks_let_go(sp, first, n);
	if (r == 0 && n && sp->block[first].state == OC_BLOCK_TAIL)
		r = client_fail(s->c, -EBUSY, "the session's tail is there");
	if (r == 0) {
		memcpy(sp->key + first, keys, n * sizeof(*keys));
		if (sp->gathered)
			r = gather_some(sp, first, n);
		else if (!(sp->flags & OC_SPAN_LAZY))
			r = blocks_pin(sp, first, n, 0);
	}
	if (r == 0) {
		sp->n += n;
		if (!sp->gathered && !(sp->flags & OC_SPAN_LAZY))
			blocks_map_patiently(sp, first, n); /* or a touch */
	}
	return r;
}

int oc_span_append(oc_span *sp, const struct oc_key *keys, size_t n)
{
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	span_busy(sp);
	r = append(sp, keys, n);
	span_idle(sp);
	space_unlock(sp->s);
	return r;
}

int oc_span_refresh(oc_span *sp, oc_session *session, uint64_t timeout_ns)
{
	struct oc_key *keys = NULL;
	size_t n = 0, have;
	int r = space_usable(sp->s);

	if (r)
		return r;
	r = oc_session_refresh(session, timeout_ns);
	if (r == 0)
		r = session_keys(session, timeout_ns, &keys, &n);
	if (r)
		return r;
	space_lock(sp->s);
	span_busy(sp);
	have = sp->n;
	if (n < have || memcmp(keys, sp->key, have * sizeof(*keys)) != 0)
		r = OC_STALE;
	if (r == 0)
		r = append(sp, keys + have, n - have);
	span_idle(sp);
	space_unlock(sp->s);
	free(keys);
	return r;
}

/* ---- ending ---- */

static void leave_jobs(oc_span *sp)
{
	oc_space *s = sp->s;

	for (uint32_t i = s->jobs_head; i != s->jobs_tail; i++)
		if (s->job[i % JOBS].span == sp)
			s->job[i % JOBS].span = NULL;
}

void oc_span_unmap(oc_span *sp)
{
	oc_space *s;

	if (!sp || client_is_child(sp->s->c))
		return;
	s = sp->s;
	space_lock(s);
	sp->going = true;
	leave_jobs(sp);
	while (sp->busy)
		must(pthread_cond_wait(&s->done, &s->lock) == 0);
	span_end(sp);
	space_unlock(s);
}

/* ---- looking ---- */

static void count_blocks(const oc_span *sp, struct oc_span_info *info)
{
	size_t *const by[] = {
		[OC_BLOCK_ABSENT] = &info->absent,
		[OC_BLOCK_MAPPED] = &info->mapped,
		[OC_BLOCK_OWN] = &info->own,
		[OC_BLOCK_COPIED] = &info->copied,
		[OC_BLOCK_ZERO] = &info->lost,
		[OC_BLOCK_BUS] = &info->lost,
	};

	for (size_t i = 0; i < sp->n; i++)
		(*by[sp->block[i].state])++;
}

int oc_span_info(oc_span *sp, struct oc_span_info *ret_info)
{
	const struct shape *sh = &sp->shape;
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	*ret_info = (struct oc_span_info){
		.base = sp->base,
		.bytes = sh->bytes,
		.blocks = sp->n,
		.capacity = sh->capacity,
		.block_bytes = sh->part_bytes,
		.block_stride = sh->piece_bytes,
		.slice_stride = sh->capacity * sh->piece_bytes,
		.slices = sh->slices,
		.gathered = sp->gathered,
		.why = sh->gather ? sh->gather : "",
		.mappings = span_count_maps(sp),
	};
	count_blocks(sp, ret_info);
	space_unlock(sp->s);
	return 0;
}

int oc_span_block(oc_span *sp, size_t i, struct oc_span_block *ret_block)
{
	struct spot spot;
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	if (i < sp->shape.capacity) {
		const struct block *b = &sp->block[i];

		spot = block_spot(b);
		*ret_block = (struct oc_span_block){
			.address = block_at(sp, 0, i),
			.state = (enum oc_block_state)b->state,
			.bytes = b->state == OC_BLOCK_ABSENT ? 0
				 : spot.region		     ? spot.bytes
					       : sp->shape.part_bytes,
			.held = b->held,
			.region = b->state == OC_BLOCK_MAPPED ? spot.region : 0,
			.offset = spot.offset,
			.bounces = decay_now(b->bounces, space_ms()),
			.turns = decay_now(b->turns, space_ms()),
		};
	} else {
		r = client_fail(sp->s->c, -EINVAL, "no block %zu", i);
	}
	space_unlock(sp->s);
	return r;
}
