/* SPDX-License-Identifier: Apache-2.0 */
/* The table of sessions: made, looked up, changed. */
#include "pool/session.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "pool/session_internal.h"

uint64_t pool_session_id(const struct pool *p, const struct session_record *r)
{
	return session_id(session_word_gen(shared_load64(&r->word)),
			  (uint32_t)(r - p->sessions->t->record));
}

/* ---- accounts -------------------------------------------------------------- */

/* Where the user's account is, or is to be. */
static struct session_account *user_at(struct pool_sessions *s, uint64_t user)
{
	uint32_t i = 0;

	while (i < ARRAY_LEN(s->user) - 1 && s->user[i].id &&
	       s->user[i].id != user)
		i++;
	return &s->user[i];
}

static struct session_account *account_at(struct pool_sessions *s,
					  uint64_t client)
{
	if (client & SESSION_USER(0))
		return user_at(s, client);
	return &s->account[MIN(client & 0xffff, (uint64_t)LAYOUT_CLIENTS_MAX)];
}

struct session_account pool_session_account(const struct pool *p,
					    uint64_t client)
{
	struct session_account none = { .id = client };
	const struct session_account *a;

	if (!p->sessions)
		return none;
	a = account_at(p->sessions, client);
	return a->id == client ? *a : none;
}

/* The account of an index is its newest client's: what an older one left
 * counts for the tenant alone. Ids grow with the incarnation. */
static struct session_account *account_of(struct pool_sessions *s,
					  uint64_t client, int n)
{
	struct session_account *a = account_at(s, client);

	if (!client || a->id == client)
		return client ? a : NULL;
	if (client & SESSION_USER(0)) {
		a->id = client; /* the last: whose it is does not matter */
		return a;
	}
	if (n < 0 || a->id > client)
		return NULL;
	*a = (struct session_account){ .id = client };
	return a;
}

static void pay_sessions(struct pool_sessions *s, uint64_t client, int n)
{
	struct session_account *a = account_of(s, client, n);

	if (a)
		a->sessions += (uint32_t)n;
}

static void pay_nodes(void *ctx, uint64_t client, int n)
{
	struct session_account *a = account_of(ctx, client, n);

	if (a)
		a->nodes += (uint32_t)n;
}

uint64_t pool_session_payer(const struct session_record *r)
{
	uint64_t owner = shared_load64(&r->owner);
	uint64_t user = shared_load64(&r->made_user);

	if (owner)
		return owner;
	return user ? SESSION_USER(user - 1) : shared_load64(&r->made_by);
}

/* ---- names ----------------------------------------------------------------- */

static uint32_t *bucket_of(const struct pool_sessions *s,
			   const char name[LAYOUT_NAME])
{
	return &s->bucket[hash_bytes(name, LAYOUT_NAME, s->history.seed) &
			  (s->buckets - 1)];
}

static void name_of(const struct session_record *r, char ret[LAYOUT_NAME])
{
	shared_load_bytes(ret, LAYOUT_NAME, r->name);
}

static void name_list(struct pool_sessions *s, struct session_record *r)
{
	uint32_t i = (uint32_t)(r - s->t->record), *link;
	char name[LAYOUT_NAME];

	name_of(r, name);
	if (!name[0])
		return;
	link = bucket_of(s, name);
	s->next[i] = *link;
	*link = i + 1;
}

static void name_unlist(struct pool_sessions *s, const struct session_record *r)
{
	uint32_t i = (uint32_t)(r - s->t->record), *link;
	char name[LAYOUT_NAME];

	name_of(r, name);
	if (!name[0])
		return;
	link = bucket_of(s, name);
	while (*link != i + 1)
		link = &s->next[*link - 1];
	*link = s->next[i];
}

struct session_record *pool_session_find(const struct pool *p, const char *name)
{
	const struct pool_sessions *s = p->sessions;
	char padded[LAYOUT_NAME] = "", have[LAYOUT_NAME];

	if (!s || !name[0])
		return NULL;
	memcpy(padded, name, strnlen(name, LAYOUT_NAME - 1));
	for (uint32_t i = *bucket_of(s, padded); i; i = s->next[i - 1]) {
		struct session_record *r = pool_session_record(s, i - 1);

		name_of(r, have);
		if (!memcmp(have, padded, LAYOUT_NAME))
			return r;
	}
	return NULL;
}

struct session_record *pool_session_at(const struct pool *p, uint64_t id)
{
	const struct pool_sessions *s = p->sessions;
	struct session_record *r;

	if (!s || (uint32_t)id >= s->records)
		return NULL;
	r = pool_session_record(s, (uint32_t)id);
	if (pool_session_state(r) == SESSION_FREE ||
	    session_word_gen(shared_load64(&r->word)) != id >> 32)
		return NULL;
	return r;
}

/* ---- the table ------------------------------------------------------------- */

void pool_sessions_free(struct pool_sessions *s)
{
	if (!s)
		return;
	history_fini(&s->history);
	segment_close(&s->segment);
	free(s->bucket);
	free(s->next);
	free(s);
}

int pool_sessions_alloc(uint32_t records, struct pool_sessions **ret_sessions)
{
	struct pool_sessions *s = mem_alloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->segment = SEGMENT_NONE;
	s->records = records;
	for (s->buckets = 64; s->buckets < records;)
		s->buckets *= 2;
	s->bucket = mem_array(s->buckets, sizeof(*s->bucket));
	s->next = mem_array(records, sizeof(*s->next));
	if (!s->bucket || !s->next) {
		pool_sessions_free(s);
		return -ENOMEM;
	}
	/* clients choose names and keys, but not their buckets */
	if (getrandom(&s->history.seed, sizeof(s->history.seed),
		      GRND_NONBLOCK) < 0)
		s->history.seed = (uint64_t)(uintptr_t)s;
	s->history.pay = pay_nodes;
	s->history.ctx = s;
	*ret_sessions = s;
	return 0;
}

int pool_sessions_need(struct pool *p, uint32_t records)
{
	struct pool_sessions *s;
	int r;

	if (p->sessions)
		return 0;
	r = pool_sessions_alloc(records, &s);
	if (r < 0)
		return r;
	r = segment_create("onecopy-sessions", session_table_bytes(records), 0,
			   &s->segment);
	if (r < 0)
		goto fail;
	s->t = s->segment.base;
	shared_store64(&s->t->header.records, records);
	/* last: pairs with the acquire load in table_attach_fd() */
	shared_store64_release(&s->t->header.magic, SESSION_MAGIC);
	/* whole before it is held: a successor takes what is held */
	r = pool_hold(p, HOLD_SESSIONS, 0, s->segment.fd);
	if (r < 0)
		goto fail;
	for (uint32_t i = records; i-- > 0;)
		pool_session_record_free(s, i);
	p->sessions = s;
	pool_meta_account(p, s->segment.bytes, 0);
	return 0;
fail:
	pool_sessions_free(s);
	return r;
}

void pool_session_record_free(struct pool_sessions *s, uint32_t index)
{
	s->next[index] = s->free_head;
	s->free_head = index + 1;
}

void pool_session_enter(struct pool *p, struct session_record *r)
{
	struct pool_sessions *s = p->sessions;

	s->live++;
	s->end = MAX(s->end, (uint32_t)(r - s->t->record) + 1);
	name_list(s, r);
	pay_sessions(s, pool_session_payer(r), 1);
	pool_count(p, POOL_C_sessions, 1);
}

static void record_fill(struct session_record *r,
			const struct pool_session_new *n)
{
	shared_store64_release(&r->head, n->head);
	shared_store64(&r->owner, n->owner);
	shared_store64(&r->ns, n->ns);
	shared_store64(&r->lease_ms, n->lease_ms);
	shared_store64(&r->until_ms, n->now_ms + n->lease_ms);
	shared_store64(&r->used_ms, n->now_ms);
	shared_store64(&r->hot_ms, n->now_ms);
	shared_store64(&r->paused_ms, 0);
	shared_store64(&r->expected_ms, 0);
	shared_store64(&r->gap_ms, 0);
	shared_store64(&r->last_gap_ms, 0);
	shared_store64(&r->made_by, n->made_by);
	shared_store64(&r->made_user, n->made_user);
	shared_store64(&r->made_seq, n->made_seq);
	shared_store64(&r->parent, n->parent);
	shared_store64(&r->evict_to, 0);
	shared_store64(&r->tail, n->tail);
	shared_store_words(r->tail_key, n->tail_key, 4);
	shared_store64(&r->born_ms, n->now_ms);
	shared_store64(&r->fetched_for, 0);
	shared_store_bytes(r->name, LAYOUT_NAME, n->name,
			   strnlen(n->name, LAYOUT_NAME - 1));
}

/* Release: whatever belongs to the new state is stored before. Pairs with
 * session_attach(), in a successor. */
void pool_session_step(struct session_record *r, enum session_event event)
{
	uint64_t next;

	must(session_step(shared_load64(&r->word), event, &next) == 0);
	shared_store64_release(&r->word, next);
}

int pool_session_make(struct pool *p, const struct pool_session_new *n,
		      struct session_record **ret_record)
{
	struct pool_sessions *s = p->sessions;
	struct session_record *r;

	if (!s->free_head)
		return -ENFILE;
	r = pool_session_record(s, s->free_head - 1);
	s->free_head = s->next[s->free_head - 1];
	record_fill(r, n);
	pool_session_step(r, SESSION_EV_MAKE); /* the record is whole */
	history_ref(&s->history, n->head);
	pool_session_enter(p, r);
	*ret_record = r;
	return 0;
}

void pool_session_end(struct pool *p, struct session_record *r,
		      enum session_event why)
{
	struct pool_sessions *s = p->sessions;

	pool_session_step(r, why);
	history_unref(&s->history, shared_load64(&r->head));
	name_unlist(s, r);
	pay_sessions(s, pool_session_payer(r), -1);
	s->live--;
	pool_session_record_free(s, (uint32_t)(r - s->t->record));
	pool_count(p, POOL_C_sessions, -1ull);
}

void pool_session_owner(struct pool *p, struct session_record *r,
			uint64_t owner)
{
	pay_sessions(p->sessions, pool_session_payer(r), -1);
	/* release: after the end of the owner's record; pairs with has_owner(),
	 * in a successor, which must not find this without that */
	shared_store64_release(&r->owner, owner);
	pay_sessions(p->sessions, pool_session_payer(r), 1);
}

void pool_session_disown(struct pool *p, uint64_t client)
{
	struct pool_sessions *s = p->sessions;

	for (uint32_t i = 0; s && i < s->end; i++) {
		struct session_record *r = pool_session_record(s, i);

		if (pool_session_state(r) == SESSION_FREE ||
		    shared_load64(&r->owner) != client)
			continue;
		if (session_disowns(shared_load64(&r->word),
				    SESSION_EV_OWNER_DIED)) {
			pool_session_owner(p, r, 0);
			continue;
		}
		pool_session_end(p, r, SESSION_EV_OWNER_DIED);
		pool_count(p, POOL_C_sessions_lapsed, 1);
	}
}

/* ---- history ---------------------------------------------------------------- */

static int segment_more(struct pool *p)
{
	struct pool_sessions *s = p->sessions;
	uint32_t n = s->history.n_segs;
	struct segment seg;
	int fd, r = segment_create("onecopy-history", SESSION_SEG_BYTES, 0,
				   &seg);

	if (r < 0)
		return r;
	fd = seg.fd;
	r = history_add(&s->history, &seg);
	if (r < 0)
		goto fail;
	r = pool_hold(p, HOLD_HISTORY, n, fd);
	if (r < 0) {
		must(history_take_last(&s->history, &seg));
		goto fail;
	}
	/* held before it is named; pairs with segments_attach() */
	shared_store64_release(&s->t->header.segments, n + 1);
	pool_meta_account(p, SESSION_SEG_BYTES, 0);
	return 0;
fail:
	segment_close(&seg);
	return r;
}

int pool_session_reserve(struct pool *p, uint32_t nodes)
{
	int r = 0;

	while (r == 0 && p->sessions->history.n_free < nodes)
		r = segment_more(p);
	return r;
}

void pool_session_extend(struct pool *p, struct session_record *r,
			 uint64_t payer, const uint64_t (*keys)[4], uint32_t n)
{
	struct history *h = &p->sessions->history;
	uint64_t head = shared_load64(&r->head);
	uint64_t next = history_extend(h, head, (uint32_t)shared_load64(&r->ns),
				       payer, keys, n);

	history_ref(h, next);
	/* the keys are there: the one store that makes them the session's.
	 * Pairs with session_attach() */
	shared_store64_release(&r->head, next);
	history_unref(h, head);
}

/* Segments of one call: each takes a walk over all free nodes. */
#define TRIM_MOST 4u

/* One segment stays in hand, so that a history at the edge of a segment does not
 * make and drop it for each key. */
void pool_session_trim(struct pool *p)
{
	struct pool_sessions *s = p->sessions;
	struct segment seg;

	for (unsigned i = 0; i < TRIM_MOST && s && s->history.n_segs &&
			     s->history.n_free >= 2 * SESSION_NODES &&
			     history_take_last(&s->history, &seg);
	     i++) {
		struct hold_tag tag = { HOLD_HISTORY, p->number,
					s->history.n_segs };

		/* not named any more, then dropped; pairs with
		 * segments_attach() */
		shared_store64_release(&s->t->header.segments,
				       s->history.n_segs);
		p->hold->drop(p->hold->ctx, &tag);
		segment_close(&seg);
		pool_meta_account(p, 0, SESSION_SEG_BYTES);
	}
}
