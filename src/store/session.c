/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to sessions, and for whom. Each change is one store that counts
 * (shm/session.h), so that a request which a server died over is served again
 * by the next without a memory of the first time:
 *
 *   OPEN, FORK  the record remembers the request that made it
 *   APPEND      keys that are there already, at that place, are a success
 *   TAIL        as a seal; then as an append, or the same note once more
 *   STATE       a session that is paused, active or gone already is so
 */
#include "store/session.h"
#include <errno.h>
#include <onecopy/session.h>
#include "base/clock.h"
#include "store/internal.h"
#include "store/move.h"

static const struct store_sessions defaults = STORE_SESSIONS_DEFAULT;

const struct store_sessions *store_session_limits(const struct store *s)
{
	return s->options.sessions.max ? &s->options.sessions : &defaults;
}

static uint64_t now_ms(const struct store_client *c)
{
	return c->store->now_ns / NS_PER_MS;
}

static uint64_t lease_of(const struct store_client *c, uint64_t asked)
{
	const struct store_sessions *l = store_session_limits(c->store);

	return MIN(asked ? asked : l->lease_ms, l->lease_max_ms);
}

static bool owns(const struct store_client *c, const struct session_record *r)
{
	uint64_t owner = shared_load64(&r->owner);

	return !owner || owner == c->id;
}

/* It was used: the lease begins again. */
static void use(const struct store_client *c, struct session_record *r)
{
	uint64_t now = now_ms(c);

	shared_store64(&r->used_ms, now);
	shared_store64(&r->until_ms, now + shared_load64(&r->lease_ms));
}

static uint32_t uid_of(const struct store_client *c)
{
	return (uint32_t)shared_load64(&c->record->pid_uid);
}

static int64_t refused(const struct store_client *c, int error)
{
	pool_count(c->pool, POOL_C_session_refused, 1);
	return error;
}

/* ---- turns ----------------------------------------------------------------- */

/* The gap, and that it came back as told, are counted after the word: a server
 * that dies in between loses them rather than counting them twice. */
static void resume(const struct store_client *c, struct session_record *r)
{
	uint64_t word = shared_load64(&r->word), now = now_ms(c), gap, mean;
	uint32_t turns = session_word_turns(word);
	uint64_t expected = shared_load64(&r->expected_ms);
	bool told = (expected & SESSION_TOLD) &&
		    !expect_over(c->store, expected);

	if (session_word_state(word) != SESSION_PAUSED)
		return;
	shared_store64(&r->expected_ms, 0);
	shared_store64(&r->hot_ms, now);
	shared_store64(&r->until_ms, now + shared_load64(&r->lease_ms));
	pool_session_step(r, SESSION_EV_RESUME);
	gap = now - MIN(now, shared_load64(&r->paused_ms));
	mean = shared_load64(&r->gap_ms);
	shared_store64(&r->last_gap_ms, gap);
	shared_store64(&r->gap_ms,
		       turns <= 1 ? gap : mean - mean / 8 + gap / 8);
	if (told)
		pool_count(c->pool, POOL_C_session_told_back, 1);
	worth_of_return(c, r);
	move_session(c->store, c->pool, r);
}

/* What others said of it stands until its time has come, where the session says
 * nothing itself. */
static struct session_turn known_turn(const struct store_client *c,
				      const struct session_record *r,
				      const struct session_turn *turn)
{
	uint64_t word = shared_load64(&r->expected_ms), now = now_ms(c);
	struct session_turn known = *turn;

	known.back_ms = MIN(known.back_ms,
			    store_session_limits(c->store)->lease_max_ms);
	known.told = !known.back_ms && (word & SESSION_TOLD) &&
		     session_expected(word) > now;
	if (known.told)
		known.back_ms = session_expected(word) - now;
	return known;
}

static void pause_now(const struct store_client *c, struct session_record *r,
		      const struct session_turn *turn)
{
	const struct store_sessions *l = store_session_limits(c->store);
	uint64_t now = now_ms(c), lease = turn->lease_ms;
	uint64_t told = turn->told ? SESSION_TOLD : 0;

	if (!lease)
		lease = MAX(shared_load64(&r->lease_ms),
			    told ? 0 : 2 * turn->back_ms);
	if (pool_session_state(r) == SESSION_ACTIVE) {
		shared_store64(&r->paused_ms, now);
		shared_store64(&r->fetched_for, 0); /* for the return before */
	}
	shared_store64(&r->expected_ms,
		       turn->back_ms ? (now + turn->back_ms) | told : 0);
	shared_store64(&r->until_ms, now + MIN(lease, l->lease_max_ms));
	shared_store64(&r->used_ms, now);
	pool_session_step(r, SESSION_EV_PAUSE);
}

static int64_t resume_owned(struct store_client *c, struct session_record *r,
			    bool keep_owner)
{
	if (!keep_owner && shared_load64(&r->owner) != c->id &&
	    pool_session_state(r) == SESSION_PAUSED)
		pool_session_owner(c->pool, r, c->id);
	resume(c, r);
	use(c, r);
	return 0;
}

static void end(struct pool *p, struct session_record *r, enum pool_counter why)
{
	pool_session_end(p, r, SESSION_EV_CLOSE);
	pool_count(p, why, 1);
}

int64_t store_session_state(struct store_client *c, struct session_record *r,
			    enum ring_state what,
			    const struct session_turn *turn, bool keep_owner)
{
	const struct session_turn closed = { .back_ms = POLICY_CLOSED };
	struct session_turn known;

	if (c->read_only)
		return -EPERM;
	switch (what) {
	case RING_STATE_PAUSE:
		known = known_turn(c, r, turn);
		pause_now(c, r, &known);
		worth_of_session(c, r, &known);
		return 0;
	case RING_STATE_CLOSE:
		worth_of_session(c, r, &closed);
		end(c->pool, r, POOL_C_sessions_ended);
		return 0;
	case RING_STATE_RESUME:
		if (!owns(c, r) && !keep_owner)
			return OC_BUSY;
		return resume_owned(c, r,
				    keep_owner || !shared_load64(&r->owner));
	case RING_STATE_RENEW:
		if (!owns(c, r) && !keep_owner)
			return OC_BUSY;
		use(c, r);
		return 0;
	}
	return -EINVAL;
}

/* ---- open and fork ---------------------------------------------------------- */

static bool name_ok(const char name[LAYOUT_NAME])
{
	size_t n = strnlen(name, LAYOUT_NAME);

	for (size_t i = 0; i < n; i++)
		if (name[i] < 0x20 || name[i] > 0x7e)
			return false;
	return n < LAYOUT_NAME;
}

/* Did this very request make one before its server died? */
static struct session_record *made_before(const struct store_client *c,
					  const struct session_wish *wish)
{
	const struct pool_sessions *s = c->pool->sessions;

	for (uint32_t i = 0; wish->repeat && s && i < s->end; i++) {
		struct session_record *r = pool_session_record(s, i);

		if (pool_session_state(r) != SESSION_FREE &&
		    shared_load64(&r->made_by) == c->id &&
		    shared_load64(&r->made_seq) == wish->seq)
			return r;
	}
	return NULL;
}

/* Sessions that no process owns are their maker's user's: as many as a client may
 * have are made so, and those that were left by owners who died may fill half of
 * the tenant's table before their user makes no more. */
static bool within_quota(const struct store_client *c, bool leased)
{
	const struct store_sessions *l = store_session_limits(c->store);
	uint32_t own, left;

	if (c->local)
		return true;
	own = pool_session_account(c->pool, c->id).sessions;
	left = pool_session_account(c->pool, SESSION_USER(uid_of(c))).sessions;
	return own < l->per_client &&
	       own + left < (leased ? l->per_client
				    : MAX(l->max / 2, l->per_client));
}

static int64_t may_make(struct store_client *c, bool leased)
{
	const struct store_sessions *l = store_session_limits(c->store);
	int r;

	if (c->read_only)
		return -EPERM;
	if (!within_quota(c, leased))
		return refused(c, -EDQUOT);
	r = pool_sessions_need(c->pool, MIN(l->max, SESSION_RECORDS_MAX));
	if (r < 0)
		return r;
	if (!c->pool->sessions->free_head)
		return refused(c, -ENFILE);
	return 0;
}

static int64_t make(struct store_client *c, const struct session_wish *wish,
		    struct pool_session_new *n,
		    struct session_record **ret_record)
{
	int64_t r;

	memcpy(n->name, wish->name, sizeof(n->name));
	n->owner = wish->flags & OC_SESSION_LEASED ? 0 : c->id;
	n->made_by = c->id;
	n->made_user = c->local ? 0 : uid_of(c) + 1ull;
	n->made_seq = wish->seq;
	n->lease_ms = lease_of(c, wish->lease_ms);
	n->now_ms = now_ms(c);
	r = pool_session_make(c->pool, n, ret_record);
	if (r < 0)
		return r;
	pool_count(c->pool, POOL_C_sessions_made, 1);
	return 0;
}

/* One that is there. */
static int64_t open_there(struct store_client *c,
			  const struct session_wish *wish,
			  struct session_record *r)
{
	bool leased = wish->flags & OC_SESSION_LEASED;

	if (wish->ns && shared_load64(&r->ns) != wish->ns)
		return -EEXIST;
	if (wish->flags & OC_SESSION_FIND)
		return 0;
	if (c->read_only)
		return -EPERM;
	if (wish->flags & OC_SESSION_NEW)
		return OC_EXISTS;
	if (!owns(c, r) && pool_session_state(r) == SESSION_ACTIVE &&
	    !(wish->flags & OC_SESSION_TAKE))
		return OC_BUSY;
	if (wish->lease_ms)
		shared_store64(&r->lease_ms, lease_of(c, wish->lease_ms));
	if (shared_load64(&r->owner) != (leased ? 0 : c->id))
		pool_session_owner(c->pool, r, leased ? 0 : c->id);
	return resume_owned(c, r, true);
}

int64_t store_session_open(struct store_client *c,
			   const struct session_wish *wish,
			   struct session_record **ret_record, bool *ret_made)
{
	struct pool_session_new n = { .ns = wish->ns };
	struct session_record *r;
	int64_t result;

	if (!name_ok(wish->name))
		return -EINVAL;
	r = made_before(c, wish);
	if (r) {
		*ret_record = r;
		*ret_made = true;
		return 0;
	}
	r = pool_session_find(c->pool, wish->name);
	if (r) {
		result = open_there(c, wish, r);
		if (result == 0) {
			*ret_record = r;
			*ret_made = false;
		}
		return result;
	}
	if (wish->flags & OC_SESSION_FIND)
		return OC_MISS;
	if (!ns_find(c->pool, wish->ns))
		return -EINVAL;
	result = may_make(c, wish->flags & OC_SESSION_LEASED);
	if (result == 0)
		result = make(c, wish, &n, ret_record);
	if (result == 0)
		*ret_made = true;
	return result;
}

/* The tail goes with a fork of everything. */
static void fork_tail(const struct pool *p, const struct session_record *parent,
		      struct pool_session_new *n)
{
	/* acquire: pairs with note_tail() */
	uint64_t tail = shared_load64_acquire(&parent->tail);

	if ((uint32_t)tail != pool_session_keys(p, parent))
		return;
	n->tail = tail;
	shared_load_words(n->tail_key, parent->tail_key, 4);
}

int64_t store_session_fork(struct store_client *c,
			   struct session_record *parent, uint64_t keep,
			   const struct session_wish *wish,
			   struct session_record **ret_record)
{
	struct pool *p = c->pool;
	struct pool_session_new n = {
		.ns = (uint32_t)shared_load64(&parent->ns),
		.head = shared_load64(&parent->head),
		.parent = pool_session_id(p, parent),
	};
	struct session_record *r = made_before(c, wish);
	int64_t result;

	if (r) {
		*ret_record = r;
		return 0;
	}
	if (!name_ok(wish->name))
		return -EINVAL;
	if (pool_session_find(p, wish->name))
		return OC_EXISTS;
	if (keep == UINT64_MAX)
		fork_tail(p, parent, &n);
	else if (keep > pool_session_keys(p, parent))
		return OC_STALE;
	else
		n.head = history_cut(&p->sessions->history, n.head,
				     (uint32_t)keep);
	result = may_make(c, wish->flags & OC_SESSION_LEASED);
	if (result == 0)
		result = make(c, wish, &n, ret_record);
	if (result == 0)
		pool_count(p, POOL_C_forks, 1);
	return result;
}

/* ---- keys ------------------------------------------------------------------- */

/* Parts of a namespace's blocks: of all groups, or of those that a hit needs of
 * every block (full attention), if there are such. */
struct parts {
	uint32_t n;
	uint64_t part[LAYOUT_RANKS_MAX];
};

static void parts_of(const struct pool *p, uint32_t id, bool full,
		     struct parts *ret_parts)
{
	const struct ns_record *ns = ns_find(p, id);
	struct ns_parts all = ns_record_parts(ns);

	ret_parts->n = 0;
	for (uint32_t i = 0; i < all.n && i < LAYOUT_RANKS_MAX; i++) {
		uint64_t part = ns_parts_at(&all, i);
		const struct ns_group *g =
			&ns->group[frame_part_group(part) % MATCH_GROUPS_MAX];

		if (!full || shared_load64(&g->rule) >> 32 == MATCH_FULL)
			ret_parts->part[ret_parts->n++] = part;
	}
	if (full && ns && !ret_parts->n)
		parts_of(p, id, false, ret_parts);
}

/* Parts that one append notes a depth for. */
#define DEPTH_PARTS 4096u

/* A hint for policies: how far from the beginning of its chain a block is. Of all
 * its parts that are here; of the first ones of a long append to many. */
static void note_depth(struct store_client *c, const struct session_record *r,
		       uint64_t at, const uint64_t (*keys)[4], uint32_t n)
{
	struct parts parts;

	parts_of(c->pool, (uint32_t)shared_load64(&r->ns), false, &parts);
	n = parts.n ? MIN(n, DEPTH_PARTS / parts.n) : 0;
	for (uint32_t i = 0; i < n * parts.n; i++) {
		uint32_t frame, key = i / parts.n;
		struct pool_slab *s = pool_find(
			c->pool, keys[key], parts.part[i % parts.n], &frame);

		if (s)
			shared_store64(&s->desc[frame].depth, at + key + 1);
	}
}

/* Whose quota new nodes count for. */
static uint64_t payer_of(const struct store_client *c,
			 const struct session_record *r)
{
	return shared_load64(&r->owner) ? c->id : pool_session_payer(r);
}

static int64_t may_extend(struct store_client *c,
			  const struct session_record *r,
			  const uint64_t (*keys)[4], uint32_t n)
{
	const struct store_sessions *l = store_session_limits(c->store);
	const struct pool_sessions *s = c->pool->sessions;
	uint32_t nodes = history_nodes(&s->history, shared_load64(&r->head),
				       (uint32_t)shared_load64(&r->ns), keys,
				       n);

	if (!nodes)
		return 0;
	if (pool_session_account(c->pool, payer_of(c, r)).nodes + nodes >
		    l->keys_per_client / SESSION_NODE_KEYS &&
	    !c->local)
		return refused(c, -EDQUOT);
	if (s->history.n_used + nodes > l->keys / SESSION_NODE_KEYS)
		return refused(c, -ENOSPC);
	return pool_session_reserve(c->pool, nodes);
}

int64_t store_session_append(struct store_client *c, struct session_record *r,
			     uint64_t at, const uint64_t (*keys)[4], uint32_t n)
{
	struct history *h = &c->pool->sessions->history;
	uint64_t head = shared_load64(&r->head);
	uint32_t have = history_keys(h, head), again;
	int64_t result;

	if (c->read_only)
		return -EPERM;
	if (!owns(c, r))
		return OC_BUSY;
	at = at == UINT64_MAX ? have : at;
	if (at > have || (uint64_t)have + n > INT32_MAX)
		return OC_STALE;
	/* others have gone on from there; before a walk, which is then no
	 * longer than n */
	if (at + n < have)
		return OC_STALE;
	again = (uint32_t)MIN(have - at, (uint64_t)n);
	if (again && !history_same(h, head, (uint32_t)at, keys, again))
		return OC_STALE;
	result = may_extend(c, r, keys + again, n - again);
	if (result)
		return result;
	resume(c, r);
	if (n > again)
		pool_session_extend(c->pool, r, payer_of(c, r), keys + again,
				    n - again);
	note_depth(c, r, at, keys, n);
	use(c, r);
	return 0;
}

const char *session_tier_name(uint64_t tier)
{
	static const char *const names[] = {
		[OC_TIER_NONE] = "none", [OC_TIER_VRAM] = "vram",
		[OC_TIER_DRAM] = "dram", [OC_TIER_CXL] = "cxl",
		[OC_TIER_NVME] = "nvme", [OC_TIER_NODE] = "node",
	};

	return tier < ARRAY_LEN(names) ? names[tier] : "unknown";
}

/* ---- telling ---------------------------------------------------------------- */

/* Records that are looked at, and nodes that are walked over, for one session's
 * longest common part: some 100 us. Beyond them it is at least what is said,
 * and less than a node's keys more. */
#define SHARED_RECORDS 2048u
#define SHARED_STEPS   4096u

static uint32_t shared_keys(const struct pool *p,
			    const struct session_record *r)
{
	const struct pool_sessions *s = p->sessions;
	uint64_t head = shared_load64(&r->head);
	uint32_t steps = SHARED_STEPS, most;

	if (history_sharers(&s->history, head) < 2)
		return 0;
	most = history_shared(&s->history, head);
	for (uint32_t i = 0; i < MIN(s->end, SHARED_RECORDS); i++) {
		const struct session_record *o = pool_session_record(s, i);
		uint32_t common;

		if (o == r || pool_session_state(o) == SESSION_FREE)
			continue;
		common = history_common(&s->history, head,
					shared_load64(&o->head), &steps);
		most = MAX(most, common);
	}
	return most;
}

static bool all_there(const struct pool *p, const uint64_t key[4],
		      const struct parts *parts)
{
	uint32_t frame;

	for (uint32_t i = 0; i < parts->n; i++)
		if (!pool_find(p, key, parts->part[i], &frame))
			return false;
	return true;
}

static bool all_below(const struct store *s, const struct pool *p,
		      const uint64_t key[4], const struct parts *parts)
{
	struct tier_found found;

	for (uint32_t i = 0; i < parts->n; i++)
		if (!move_find(s, p, key, parts->part[i], &found))
			return false;
	return true;
}

/* Keys that are in memory, and on the tier below; neither where it would take too
 * many looks. */
static void resident_keys(const struct store *s, const struct pool *p,
			  const struct session_record *r,
			  struct session_said *said)
{
	const struct history *h = &p->sessions->history;
	struct parts parts;
	uint64_t key[64][4];
	uint32_t keys = said->keys;

	parts_of(p, (uint32_t)shared_load64(&r->ns), true, &parts);
	if ((uint64_t)keys * parts.n > SESSION_RESIDENT_MOST)
		return;
	said->resident = said->below = 0;
	if (!parts.n)
		return;
	for (uint32_t at = 0; at < keys; at += ARRAY_LEN(key)) {
		uint32_t some = MIN(keys - at, (uint32_t)ARRAY_LEN(key));

		history_read(h, shared_load64(&r->head), at, some, key);
		for (uint32_t i = 0; i < some; i++) {
			said->resident += all_there(p, key[i], &parts);
			said->below += all_below(s, p, key[i], &parts);
		}
	}
}

static uint64_t since(uint64_t now, uint64_t then)
{
	return then ? now - MIN(now, then) : UINT64_MAX;
}

static uint64_t until(uint64_t now, uint64_t then)
{
	return then > now ? then - now : 0;
}

static void say_times(uint64_t now, const struct session_record *r,
		      struct session_said *said)
{
	bool paused = said->state == SESSION_PAUSED;

	said->born_ms = since(now, shared_load64(&r->born_ms));
	said->used_ms = since(now, shared_load64(&r->used_ms));
	said->hot_ms = paused ? UINT64_MAX
			      : since(now, shared_load64(&r->hot_ms));
	said->paused_ms = since(now, shared_load64(&r->paused_ms));
	said->gap_ms = shared_load64(&r->gap_ms);
	said->last_gap_ms = shared_load64(&r->last_gap_ms);
	said->expected_ms =
		until(now, session_expected(shared_load64(&r->expected_ms)));
	said->lease_ms = until(now, shared_load64(&r->until_ms));
}

/* What leaves memory goes to the tier below, where there is one. */
static uint64_t evict_to(const struct store *s, const struct session_record *r)
{
	return s->mover ? store_below_kind(s) : shared_load64(&r->evict_to);
}

void store_session_say(struct store *s, struct pool *p,
		       const struct session_record *r, bool deep,
		       struct session_said *said)
{
	const struct history *h = &p->sessions->history;
	uint64_t word = shared_load64(&r->word);
	uint64_t tail = shared_load64(&r->tail);
	uint32_t keys = pool_session_keys(p, r);

	*said = (struct session_said){
		.id = pool_session_id(p, r),
		.owner = shared_load64(&r->owner),
		.parent = shared_load64(&r->parent),
		.ns = (uint32_t)shared_load64(&r->ns),
		.state = session_word_state(word),
		.keys = keys,
		.tail_tokens = (uint32_t)tail == keys ? (uint32_t)(tail >> 32)
						      : 0,
		.turns = session_word_turns(word),
		.shared_keys = UINT32_MAX,
		.resident = UINT32_MAX,
		.below = UINT32_MAX,
		.evict_to = evict_to(s, r),
	};
	shared_load_bytes(said->name, sizeof(said->name), r->name);
	said->name[sizeof(said->name) - 1] = '\0';
	shared_load_words(said->tail_key, r->tail_key, 4);
	if (keys)
		history_read(h, shared_load64(&r->head), keys - 1, 1,
			     &said->prefix_hash);
	say_times(s->now_ns / NS_PER_MS, r, said);
	said->shared_with = history_sharers(h, shared_load64(&r->head));
	said->shared_with -= said->shared_with != 0;
	if (deep)
		said->shared_keys = shared_keys(p, r);
	if (deep)
		resident_keys(s, p, r, said);
}
