/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding room: a free frame of the client's own, a new slab while the limits
 * allow it, the least recently used frames of its own arena, or a slab that
 * somebody else uses less.
 *
 * Slabs are compared by the mean stamp of what they hold (the touch clock
 * grows with every use, so a lower mean is colder):
 *   - a slab that nobody owns, or of another shape of the same client, is
 *     taken when it is colder than the next victim here: only a new shape on
 *     the same memory;
 *   - a slab of another living client must be clearly colder (its age a
 *     quarter more), because it costs a retirement that others take part in.
 * A client without any slab of the shape takes the coldest there is. A slab too
 * small for one frame is retired, one after the other, until a new one fits.
 * Where a retirement was waited for in vain, what needs nobody's answer is taken
 * first, however warm.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pool/shape.h"
#include "store/revoke.h"

/* Evictions in an arena between two looks at the other slabs. */
#define LOOK_AROUND 64
/* After memory for a slab was refused: how long to do with what there is. */
#define REFUSED_NS (200 * NS_PER_MS)
/* How long a grant waits for one slab to be let go before it tries for another:
 * living clients answer in less, and the dead are buried by then. */
#define AWAIT_NS (100 * NS_PER_MS)
/* After a tenant waited in vain for what others borrow: how long its grants
 * evict what is its own at once. */
#define VAIN_NS NS_PER_S
/* Between two looks for room in an arena where none was found. */
#define VAIN_LEAST_NS (2 * NS_PER_MS)
#define VAIN_MOST_NS  (16 * NS_PER_MS)
/* Part of the tenant's memory that may be the server's own before what is copied
 * up from low memory takes no slab of others. */
#define RISE_PART 8u
/* Slabs asked for at once by one arena. */
#define MAKING_MAX 1

/* Bytes of slabs that the client may have beside those it has. */
static uint64_t share_left(const struct store_client *c)
{
	const struct store_options *o = &c->store->options;
	uint64_t share = o->limit_bytes / 100 * o->slab_percent;
	uint64_t mine = pool_owned_bytes(c->pool, c->id) + c->making_bytes;

	if (o->slab_percent >= 100 || c->local)
		share = o->limit_bytes;
	return share - MIN(mine, share);
}

/* Bytes that a new slab of this client may have at most. */
static uint64_t room_for_slab(const struct store_client *c)
{
	const struct store *s = c->store;
	uint64_t room = quota_room(s, c->pool);

	if (s->now_ns < s->refused_ns)
		return 0;
	room = MIN(room, share_left(c));
	return MIN(room, quota_left(c->pool));
}

static enum past_limit limit_of(const struct store_client *c, uint64_t share,
				uint64_t frame_bytes)
{
	const struct store *s = c->store;

	/* one that is no less than the node's limit is none */
	if (quota_left(c->pool) < frame_bytes &&
	    c->pool->quota < s->budget.limit)
		return LIMIT_QUOTA;
	if (share < frame_bytes && s->options.slab_percent < 100)
		return LIMIT_CLIENT;
	if (s->now_ns < s->refused_ns)
		return LIMIT_KERNEL;
	if (s->budget.limit - MIN(s->budget.used, s->budget.limit) >=
	    frame_bytes)
		return LIMIT_LENT;
	return LIMIT_NODE;
}

enum past_limit room_limit(const struct store_client *c, uint64_t frame_bytes)
{
	return limit_of(c, share_left(c), frame_bytes);
}

static int ask_for_slab(struct store_client *c, uint32_t arena)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct maker_job *job;
	uint64_t bytes =
		p->slab_bytes ? p->slab_bytes
			      : shape_slab_bytes(c->store->options.limit_bytes,
						 a->frame_bytes);
	uint32_t frames = shape_frames(a->frame_bytes, bytes, room_for_slab(c));

	if (!frames)
		return -ENOSPC;
	job = mem_alloc(sizeof(*job));
	if (!job)
		return -ENOMEM;
	job->bytes = frames * a->frame_bytes;
	job->flags = p->segment_flags;
	job->pool = p->number;
	job->frames = frames;
	job->owner = c->id;
	job->shape = a->shape;
	c->store->budget.used += job->bytes;
	a->making++;
	p->making_bytes += job->bytes;
	c->making_bytes += job->bytes;
	maker_ask(c->store->maker, job);
	return 0;
}

/* Who asked for a slab; NULL: it has closed or ended. */
static struct store_client *asker(const struct store *s,
				  const struct maker_job *job)
{
	struct store_client *c =
		job->owner == CLIENT_SERVER
			? s->local[job->pool]
			: s->client[job->pool][client_id_index(job->owner)];

	return c && c->id == job->owner && !c->closed ? c : NULL;
}

static int slab_enter(struct store *s, struct maker_job *job, bool low)
{
	struct pool *p = s->pool[job->pool];
	struct store_client *c = asker(s, job);
	uint32_t arena, id;
	int r;

	if (!c)
		return -ESTALE;
	if (!low)
		c->making_bytes -= job->bytes;
	r = pool_arena_of(p, job->owner, job->shape, low, &arena);
	if (r < 0)
		return r;
	p->arena[arena].making -= p->arena[arena].making != 0;
	r = job->result;
	if (r == 0)
		r = pool_slab_add(p, &job->segment, job->owner, job->shape,
				  job->frames, &id);
	if (r < 0)
		pool_arena_put(p, arena);
	return r;
}

static void low_not_taken(struct store *s, const struct maker_job *job)
{
	const struct segment range = { .kind = job->source.kind,
				       .offset = job->source.offset,
				       .bytes = job->bytes };

	/* the next slab is not made of the same bytes */
	if (job->result == -EIO && range.kind == SEGMENT_DAX)
		pool_low_fails(&s->low,
			       job->lost == MAKER_LOST_ANY ? range.offset
							   : job->lost,
			       job->lost == MAKER_LOST_ANY ? range.bytes
							   : SEGMENT_DAX_UNIT);
	s->low.budget.used -= job->bytes;
	pool_low_give(&s->low, &range);
}

void room_slab_ready(struct store *s, struct maker_job *job)
{
	bool low = segment_is_low(job->source.kind);
	int r = slab_enter(s, job, low);

	s->retry = true;
	if (!low)
		s->pool[job->pool]->making_bytes -= job->bytes;
	if (r == 0)
		return;
	if (r != -ESTALE) {
		log_warn("a slab of %llu bytes%s was refused: %s",
			 (unsigned long long)job->bytes,
			 low ? " of CXL memory" : "", strerror(-r));
		*(low ? &s->low_refused_ns : &s->refused_ns) =
			s->now_ns + REFUSED_NS;
		s->slabs_refused++;
	}
	segment_close(&job->segment);
	if (low)
		low_not_taken(s, job);
	else
		s->budget.used -= job->bytes;
}

static uint64_t slab_mean(const struct pool_slab *s)
{
	return s->n_sealed ? s->touched_sum / s->n_sealed : 0;
}

/* Would it help this arena, if it were empty? */
static bool slab_helps(const struct pool_slab *s, const struct pool_arena *a,
		       const struct store_client *c)
{
	if (!s || s->retiring || s->low)
		return false;
	if (s->owner == c->id && shape_same(s->shape, a->shape))
		return false;
	/* more than its share is none the nearer for others' slabs */
	return s->owner == c->id ||
	       c->share_left >= (s->owner ? a->frame_bytes : s->payload.bytes);
}

static bool slab_takeable(const struct store *st, const struct pool *p,
			  const struct pool_slab *s, const struct pool_arena *a,
			  const struct store_client *c)
{
	if (c ? !slab_helps(s, a, c) : !s || s->retiring || s->low)
		return false;
	return !s->n_granted && !s->n_doomed && !revoke_holds(st, p, s);
}

/* Is this slab cold enough beside the next victim's stamp? */
static bool colder(const struct pool *p, const struct store_client *c,
		   const struct pool_slab *s, uint64_t victim)
{
	uint64_t age = p->touch_clock - MIN(slab_mean(s), p->touch_clock);
	uint64_t own = p->touch_clock - MIN(victim, p->touch_clock);

	if (pool_slab_empty(s))
		return true;
	if (s->owner && s->owner != c->id)
		return age / 5 * 4 > own;
	return age > own;
}

static uint32_t client_uid(const struct store_client *c)
{
	return (uint32_t)shared_load64(&c->record->pid_uid);
}

/* Once it is empty: does its memory serve the arena without anybody's answer? Not
 * if it belongs to somebody alive, is too small, a device may still write there,
 * or a process of another user may still hold a writable descriptor of it. */
static bool is_at_hand(const struct store_client *c, const struct pool_arena *a,
		       const struct pool_slab *slab)
{
	enum slab_whose whose = slab->owner == c->id ? SLAB_OWN
				: slab->owner	     ? SLAB_ANOTHERS
						     : SLAB_ORPHAN;
	bool same_user = slab->writer_uid == client_uid(c);

	return slab->payload.bytes >= a->frame_bytes && !slab->n_quarantined &&
	       slab_ways[whose][same_user] != SLAB_EV_RETIRE;
}

enum reach { ANY_SLAB, AT_HAND };

/* c and a NULL: any slab that could leave. None larger than `most`. */
static struct pool_slab *coldest(const struct store *st, const struct pool *p,
				 const struct store_client *c,
				 const struct pool_arena *a,
				 const struct pool_slab *not_before,
				 uint64_t most, enum reach reach)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (!slab_takeable(st, p, s, a, c) || s->payload.bytes > most)
			continue;
		if (reach == AT_HAND && !is_at_hand(c, a, s))
			continue;
		if (not_before && (slab_mean(s) < slab_mean(not_before) ||
				   (slab_mean(s) == slab_mean(not_before) &&
				    s->id <= not_before->id)))
			continue;
		if (!best || slab_mean(s) < slab_mean(best))
			best = s;
	}
	return best;
}

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

/* A slab of pool p, empty, makes room for this arena. */
static void retire_for(struct store_client *c, struct pool_arena *a,
		       struct pool *p, struct pool_slab *slab)
{
	a->awaited = slab->id;
	a->awaited_pool = p->number;
	a->awaited_gen = slab->gen;
	a->awaited_ns = c->store->now_ns;
	room_retire(c->store, p, slab->id);
}

/* 0: its memory serves this arena now; 1: it is on its way out. */
static int slab_take(struct store_client *c, struct pool_arena *a,
		     struct pool_slab *slab)
{
	struct pool *p = c->pool;
	uint32_t fresh;

	if (!is_at_hand(c, a, slab)) {
		retire_for(c, a, p, slab);
		return 1;
	}
	return pool_slab_reshape(p, slab->id, c->id, a->shape, &fresh);
}

/* The slab that is retiring for this arena; NULL: none (any more). */
static const struct pool_slab *awaited(const struct store_client *c,
				       const struct pool_arena *a)
{
	const struct pool *p = c->store->pool[a->awaited_pool];
	const struct pool_slab *s = p ? pool_slab_at(p, a->awaited) : NULL;

	return s && s->gen == a->awaited_gen && s->retiring ? s : NULL;
}

/* Takes the coldest slab that is cold enough and not in use. victim:
 * UINT64_MAX takes any. 0, 1 as slab_take(), -ENOSPC. */
static int take_coldest(struct store_client *c, uint32_t arena, uint64_t victim,
			enum reach reach, bool ask)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct pool_slab *slab = NULL;
	bool asked = !ask; /* for one slab at a time */
	int below;

	for (unsigned tries = 0; tries < 8; tries++) {
		slab = coldest(c->store, p, c, a, slab, UINT64_MAX, reach);
		if (!slab ||
		    (victim != UINT64_MAX && !colder(p, c, slab, victim)))
			break;
		below = pool_slab_empty(slab)
				? 0
				: rung_press_slab(c, p, slab, c->rises);
		if (c->rises && below != 0)
			return below;
		if ((below == 1 && c->may_wait) ||
		    (c->patient && move_press_slab(c->store, p, slab)))
			return 1;
		if (pool_slab_empty(slab) ||
		    evict_slab(c->store, p, slab, !asked))
			return slab_take(c, a, slab);
		if (!ask)
			continue;
		asked = asked || c->store->batch.asked;
		c->asked = c->asked || asked;
		if (asked && c->patient)
			return 1;
	}
	return -ENOSPC;
}

/* Where those who have a slab did not let it go in time, they may be waiting for
 * this very grant: what needs no answer of theirs goes first, however warm. */
static int take_slab(struct store_client *c, uint32_t arena, uint64_t victim)
{
	int r = -ENOSPC;

	c->store->cause.pressure = PRESSURE_SLAB;
	if (awaited(c, &c->pool->arena[arena]))
		r = take_coldest(c, arena, victim, AT_HAND, true);
	if (r == 0 || c->asked)
		return r;
	return take_coldest(c, arena, victim, ANY_SLAB, true);
}

static bool drains_better(const struct pool_slab *s,
			  const struct pool_slab *best)
{
	if (!best || s->n_granted != best->n_granted)
		return !best || s->n_granted < best->n_granted;
	return slab_mean(s) < slab_mean(best);
}

/* Somebody without any slab, and each slab has a frame in use: one of them is
 * closed to new grants and emptied, pins or not. One at a time. */
static void drain_slab(struct store_client *c, uint32_t arena)
{
	struct pool *p = c->pool;
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (s && s->draining)
			return;
		if (slab_helps(s, &p->arena[arena], c) &&
		    !revoke_holds(c->store, p, s) && drains_better(s, best))
			best = s;
	}
	if (!best)
		return;
	pool_slab_drain(p, best->id);
	c->store->cause.pressure = PRESSURE_DRAIN;
	evict_slab_hard(c->store, p, best);
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

static uint32_t first_victim(const struct pool *p, uint32_t arena)
{
	return p->policy_ops->victim(p->policy, arena, POLICY_NONE);
}

static uint64_t next_victim(const struct pool *p, uint32_t arena)
{
	uint32_t item = first_victim(p, arena);

	return item == POLICY_NONE ? UINT64_MAX
				   : p->policy_ops->stamp(p->policy, item);
}

/* Growing batches until something leaves: frames at the cold end may all be
 * pinned. *ret_awaits: what would leave is being written, or unmapped, and there
 * is time for that. */
uint32_t room_evict_some(struct store_client *c, uint32_t arena, uint32_t want,
			 bool *ret_awaits)
{
	struct pool *p = c->pool;

	c->store->cause.pressure = PRESSURE_ARENA;
	if (rung_there(c->store, p) && rung_takes(&p->arena[arena])) {
		bool awaits = false;
		uint32_t n = rung_evict(c, arena, want, &awaits);

		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return MAX(n, 1u);
		if (awaits && c->may_wait) {
			*ret_awaits = true;
			return 0;
		}
	}
	if (move_could_clean(c->store)) {
		evict_from_arena(c->store, p, arena, want, want, true, true);
		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return want;
		if (c->patient && c->store->batch.asked) {
			*ret_awaits = true;
			return 0;
		}
		if (c->patient && move_press(c->store, p, arena, want)) {
			*ret_awaits = true;
			return 0;
		}
		want = 1; /* what is lost is lost one by one */
	}
	for (uint32_t n = want; n < 4 * FRAME_IN_SLAB_MAX; n *= 8) {
		evict_from_arena(c->store, p, arena, n, want, false, true);
		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return n;
		if (c->patient && c->store->batch.asked) {
			*ret_awaits = true;
			return 0;
		}
		if (next_victim(p, arena) == UINT64_MAX)
			break;
	}
	return 0;
}

/* What leaves an arena without a question, or else, where mappings keep its next
 * victims, a slab of others that is colder: nobody is asked for what is in use while
 * there is such a one. 0, 1 as slab_take(), also while that is awaited; -ENOSPC. */
static int take_unasked(struct store_client *c, uint32_t arena, uint64_t victim,
			uint32_t want, bool awaits)
{
	struct store *s = c->store;
	struct pool_arena *a = &c->pool->arena[arena];

	if (rung_there(s, c->pool))
		return -ENOSPC;
	s->cause.pressure = PRESSURE_ARENA;
	evict_from_arena(s, c->pool, arena, want, want, move_could_clean(s),
			 false);
	if (pool_arena_free(c->pool, arena) != POOL_NO_ITEM) {
		a->evictions += want;
		return 0;
	}
	if (!s->batch.n_notes)
		return -ENOSPC;
	if (awaits)
		return 1;
	s->cause.pressure = PRESSURE_SLAB;
	return take_coldest(c, arena, victim, ANY_SLAB, false);
}

/* The coldest slab of this tenant's that can be emptied and leaves it its share
 * goes. 1: it is on its way out, or asked for; 0: there is none. */
static int take_from_lender(struct store_client *c, struct pool_arena *a,
			    struct pool *q)
{
	struct pool_slab *slab = NULL;
	bool asked = false;

	for (unsigned tries = 0; tries < 8; tries++) {
		slab = coldest(c->store, q, NULL, NULL, slab,
			       store_pool_borrowed(q), ANY_SLAB);
		if (!slab)
			break;
		if (!pool_slab_empty(slab) &&
		    rung_press_slab(c, q, slab, false) == 1 && c->may_wait)
			return 1;
		if (pool_slab_empty(slab) ||
		    evict_slab(c->store, q, slab, !asked)) {
			pool_count(q, POOL_C_reclaimed_bytes,
				   slab->payload.bytes);
			retire_for(c, a, q, slab);
			return 1;
		}
		asked = asked || c->store->batch.asked;
	}
	return asked && c->patient;
}

/* A slab of another tenant's, which borrows more than `more_than`, goes: of the
 * one that borrows most, or, where mappings that nobody answers for hold all of
 * that, of the next. 1: it is on its way out. */
static int take_from_tenant(struct store_client *c, uint32_t arena,
			    uint64_t more_than)
{
	struct pool_arena *a = &c->pool->arena[arena];
	struct store *s = c->store;
	struct pool *q = quota_lender(s, c->pool, more_than, UINT64_MAX);

	if (!q || c->share_left < a->frame_bytes ||
	    quota_left(c->pool) < a->frame_bytes)
		return -ENOSPC;
	s->cause.pressure = PRESSURE_TENANT;
	while (q) {
		if (take_from_lender(c, a, q))
			return 1;
		if (!pool_counter(q, POOL_C_revoke_held_bytes))
			break;
		q = quota_lender(s, c->pool, more_than, store_pool_borrowed(q));
	}
	return -ENOSPC;
}

/* Evictions in an arena after which the other slabs are worth a look: a round
 * of its own frames, where it has few. */
static uint32_t look_after(const struct store_client *c,
			   const struct pool_arena *a)
{
	uint64_t bytes =
		shape_slab_bytes(c->store->options.limit_bytes, a->frame_bytes);
	uint64_t frames = a->slabs * MAX(bytes / a->frame_bytes, 1ull);

	return (uint32_t)MIN(frames, (uint64_t)LOOK_AROUND);
}

/* There is hope that those who have it let go: no second one meanwhile. */
static bool awaits_slab(const struct store_client *c, uint32_t arena)
{
	const struct pool_arena *a = &c->pool->arena[arena];

	return awaited(c, a) && c->store->now_ns - a->awaited_ns < AWAIT_NS;
}

/* Each slab that a lender could give is in use somewhere: one of them is closed
 * to new grants and emptied, as drain_slab() does within a pool. */
static void drain_lent(struct store_client *c, struct pool *q)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < q->slab_end; id++) {
		struct pool_slab *s = q->slab[id];

		if (s && s->draining)
			return;
		if (s && !s->retiring && !s->low &&
		    !revoke_holds(c->store, q, s) &&
		    s->payload.bytes <= store_pool_borrowed(q) &&
		    drains_better(s, best))
			best = s;
	}
	if (!best)
		return;
	pool_slab_drain(q, best->id);
	evict_slab_hard(c->store, q, best);
}

/* Below its share: what others borrow comes back. True: a slab is on its way
 * out, and waiting for it loses nothing of the tenant's own. Where lenders did
 * not let go in time, nobody waits for the next ones for a while. */
static bool reclaim(struct store_client *c, uint32_t arena, bool awaits)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct store *s = c->store;
	const struct pool_slab *late = awaits ? NULL : awaited(c, a);

	if (quota_owed(p) < a->frame_bytes || quota_left(p) < a->frame_bytes ||
	    c->share_left < a->frame_bytes)
		return false;
	quota_claim(s, p);
	if (late && a->awaited_pool != p->number)
		p->vain_ns = s->now_ns + VAIN_NS;
	if (!awaits && take_from_tenant(c, arena, 0) != 1) {
		struct pool *q = quota_lender(s, p, 0, UINT64_MAX);

		if (q && c->may_wait)
			drain_lent(c, q);
		return false;
	}
	return c->may_wait && s->now_ns >= p->vain_ns;
}

/* For what nobody waits for: the coldest slab, while the server has few. */
static int make_room_ahead(struct store_client *c, uint32_t arena)
{
	if (!move_may_take(c) || awaits_slab(c, arena))
		return 1;
	c->share_left = share_left(c);
	note_cause(c, PRESSURE_NONE,
		   limit_of(c, c->share_left,
			    c->pool->arena[arena].frame_bytes));
	return take_slab(c, arena, UINT64_MAX) == 0 ? 0 : 1;
}

/* The limits are reached: somebody must leave. */
static int make_room(struct store_client *c, uint32_t arena, uint32_t want)
{
	struct pool *p = c->pool;
	uint64_t victim = next_victim(p, arena);
	bool awaits = awaits_slab(c, arena), writes = false;
	int r = -ENOSPC;

	c->asked = false;
	if (c->moves && !move_may_evict(c, c->moves, first_victim(p, arena)))
		return make_room_ahead(c, arena);

	c->share_left = share_left(c);
	note_cause(c, PRESSURE_NONE,
		   limit_of(c, c->share_left, p->arena[arena].frame_bytes));
	if (reclaim(c, arena, awaits))
		return 1;
	awaits = awaits_slab(c, arena);
	if (!awaits &&
	    (victim == UINT64_MAX ||
	     p->arena[arena].evictions >= look_after(c, &p->arena[arena]))) {
		p->arena[arena].evictions = 0;
		r = take_slab(c, arena, victim);
		if (r == 0)
			return 0;
	}
	if (victim != UINT64_MAX) {
		int u = take_unasked(c, arena, victim, want, awaits || r == 1);

		if (u == 0 || (u == 1 && c->may_wait))
			return u;
		r = u == 1 ? 1 : r;
	}
	if (victim != UINT64_MAX && room_evict_some(c, arena, want, &writes)) {
		p->arena[arena].evictions += want;
		return 0;
	}
	if (awaits || writes)
		return 1;
	if (r < 0 && victim != UINT64_MAX)
		r = take_slab(c, arena, UINT64_MAX);
	/* nothing of its own goes: there is none, or all of it is in use */
	if (r < 0)
		r = take_from_tenant(c, arena,
				     store_pool_borrowed(p) +
					     p->arena[arena].frame_bytes);
	if (r < 0 && !p->arena[arena].slabs && !c->store->retiring && !c->asked)
		drain_slab(c, arena);
	return r == 0 ? 0 : 1;
}

/* A look for room reads every client's pin slots, many times over. Grants that
 * wait in one arena share what one of them found in a pass; and while nothing
 * that the server does changes, only readers who unpin can help, and those are
 * looked for after longer and longer times. */
static bool looked_in_vain(const struct store *s, const struct pool_arena *a)
{
	return s->passing &&
	       (a->vain_pass == s->pass ||
		(!s->changed && !s->last_try && s->now_ns < a->vain_until_ns));
}

static void note_vain(const struct store_client *c, struct pool_arena *a)
{
	const struct store *s = c->store;

	if (!s->passing)
		return;
	a->vain_pass = s->pass;
	a->vain_wait_ns =
		MIN(MAX(2 * a->vain_wait_ns, VAIN_LEAST_NS), VAIN_MOST_NS);
	a->vain_until_ns = s->now_ns + a->vain_wait_ns;
	/* then it tries for another slab */
	if (awaited(c, a) && a->awaited_ns + AWAIT_NS > s->now_ns)
		a->vain_until_ns =
			MIN(a->vain_until_ns, a->awaited_ns + AWAIT_NS);
}

int room_find(struct store_client *c, struct pool_shape shape, uint32_t want,
	      uint32_t *ret_item)
{
	struct pool *p = c->pool;
	uint32_t arena, item;
	int r = pool_arena_get(p, c->id, shape, &arena);

	if (r < 0)
		return r;
	item = pool_arena_free(p, arena);
	if (item == POOL_NO_ITEM) {
		if (p->arena[arena].making >= MAKING_MAX)
			return 1;
		if (room_for_slab(c) >= MAX(shape.frame_bytes, PAGE_BYTES))
			return ask_for_slab(c, arena) == 0 ? 1 : -ENOMEM;
		if (looked_in_vain(c->store, &p->arena[arena]))
			return 1;
		if (c->moves && rung_takes(&p->arena[arena]) &&
		    !move_may_evict(c, c->moves, first_victim(p, arena)) &&
		    rung_spare(c, shape.frame_bytes, ret_item))
			return 0;
		r = make_room(c, arena, want);
		if (r == 1)
			note_vain(c, &p->arena[arena]);
		/* a reshaped slab may have brought a new arena number */
		if (r == 0)
			r = pool_arena_get(p, c->id, shape, &arena);
		if (r != 0)
			return r;
		item = pool_arena_free(p, arena);
	}
	if (item == POOL_NO_ITEM)
		return 1;
	p->arena[arena].vain_wait_ns = 0;
	*ret_item = item;
	return 0;
}

/* What of an arena may leave for a block that was used twice since `before`. */
static bool worth_less(const struct pool *p, uint32_t victim, uint64_t before,
		       uint64_t rate)
{
	if (victim == POLICY_NONE)
		return false;
	if (rate && p->policy_ops->rate)
		return p->policy_ops->rate(p->policy, victim) < rate;
	return p->policy_ops->stamp(p->policy, victim) < before;
}

int room_rise(struct store_client *c, uint64_t frame_bytes, uint64_t before,
	      uint64_t rate, uint32_t *ret_item)
{
	struct pool *p = c->pool;
	struct pool_shape shape = { .frame_bytes = frame_bytes };
	uint32_t arena;
	int r = pool_arena_get(p, c->id, shape, &arena);

	if (r < 0)
		return r;
	c->may_wait = c->patient = false;
	c->moves = 0;
	if (pool_arena_free(p, arena) == POOL_NO_ITEM) {
		if (p->arena[arena].making)
			return 1;
		if (room_for_slab(c) >= MAX(frame_bytes, PAGE_BYTES))
			return ask_for_slab(c, arena) == 0 ? 1 : -ENOSPC;
		if (worth_less(p, first_victim(p, arena), before, rate))
			rung_exchange(c, arena);
		else if (pool_owned_bytes(p, c->id) <
			 MIN(p->quota, c->store->budget.limit) / RISE_PART) {
			if (awaits_slab(c, arena))
				return 1;
			c->share_left = share_left(c);
			note_cause(c, PRESSURE_NONE, LIMIT_NODE);
			c->rises = true;
			r = take_slab(c, arena, before);
			c->rises = false;
			if (r == 0)
				r = pool_arena_get(p, c->id, shape, &arena);
			if (r != 0)
				return r;
		}
	}
	if (pool_arena_free(p, arena) == POOL_NO_ITEM) {
		pool_arena_put(p, arena);
		return -ENOSPC;
	}
	*ret_item = pool_arena_free(p, arena);
	return 0;
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
