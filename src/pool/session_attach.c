/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new server takes over its predecessor's sessions.
 *
 * What can be half done: a record that is filled and whose word still says
 * FREE, keys behind a head, a history segment that is held and not named. None
 * of them is reached by anything that counts, so nothing has to be undone; the
 * counts are made from what is reached.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "coherence/client.h"
#include "pool/session_internal.h"

static int table_attach_fd(int fd, struct pool_sessions **ret_sessions)
{
	struct segment seg = SEGMENT_NONE;
	struct session_table *t;
	uint64_t records;
	int r = segment_attach(fd, 0, true, &seg);

	if (r < 0) {
		fd_close(fd);
		return r;
	}
	t = seg.base;
	r = -EPROTO;
	/* acquire: pairs with the release in pool_sessions_need() */
	if (shared_load64_acquire(&t->header.magic) != SESSION_MAGIC)
		goto fail;
	records = shared_load64(&t->header.records);
	if (!records || records > SESSION_RECORDS_MAX ||
	    seg.bytes != session_table_bytes((uint32_t)records))
		goto fail;
	r = pool_sessions_alloc((uint32_t)records, ret_sessions);
	if (r < 0)
		goto fail;
	(*ret_sessions)->segment = seg;
	(*ret_sessions)->t = t;
	return 0;
fail:
	segment_close(&seg);
	return r;
}

/* Those that are missing cut the history short: heads beyond are damaged. */
static int segments_attach(struct pool *p, struct hold_set *given)
{
	struct pool_sessions *s = p->sessions;
	/* acquire: pairs with segment_more(); what is named was held before */
	uint64_t n = shared_load64_acquire(&s->t->header.segments);

	n = MIN(n, (uint64_t)SESSION_SEGS_MAX);
	for (uint64_t i = 0; i < n; i++) {
		int fd = hold_set_take(given, HOLD_HISTORY, p->number, i);
		struct segment seg;
		int r;

		if (fd < 0) {
			log_error("history segment %llu is named but was not "
				  "held",
				  (unsigned long long)i);
			shared_store64_release(&s->t->header.segments, i);
			return 0;
		}
		r = segment_attach(fd, SESSION_SEG_BYTES, true, &seg);
		if (r < 0) {
			fd_close(fd);
			return r;
		}
		r = history_add(&s->history, &seg);
		if (r < 0) {
			segment_close(&seg);
			return r;
		}
		p->meta_bytes += SESSION_SEG_BYTES;
	}
	return 0;
}

/* True: it goes on. */
static bool session_attach(struct pool *p, struct session_record *r, bool owned)
{
	struct history *h = &p->sessions->history;
	/* acquire: the fields are there; pairs with pool_session_step() */
	uint64_t word = shared_load64_acquire(&r->word);

	if (session_word_state(word) == SESSION_FREE)
		return false;
	if (session_step(word, SESSION_EV_RECOVER, &word) < 0) {
		log_error("a session's record is damaged: dropped");
		pool_session_step(r, SESSION_EV_LOST);
		return false;
	}
	if (!owned && !session_disowns(word, SESSION_EV_OWNER_DIED)) {
		pool_session_step(r, SESSION_EV_OWNER_DIED);
		return false;
	}
	if (!owned)
		shared_store64(&r->owner, 0);
	/* acquire: the keys are there; pairs with pool_session_extend() */
	if (history_recount(h, shared_load64_acquire(&r->head),
			    (uint32_t)shared_load64(&r->ns)))
		return true;
	log_error("a session's history is damaged: dropped");
	pool_session_step(r, SESSION_EV_LOST);
	return false;
}

/* The index of every live client is its own account's from the start: what a
 * dead one left must not take its place. */
static void accounts_attach(struct pool *p)
{
	struct pool_sessions *s = p->sessions;

	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++)
		s->account[i].id = shared_load64(&p->m->client[i].id);
	s->account[LAYOUT_CLIENTS_MAX].id = CLIENT_SERVER;
}

/* Not whether the owner's process lives: its last request may be served again
 * yet, and what that takes up must have an owner, to end with it. One that has
 * closed is asked nothing any more. */
static bool has_owner(const struct pool *p, const struct session_record *r)
{
	/* acquire: pairs with pool_session_owner() */
	uint64_t owner = shared_load64_acquire(&r->owner);
	const struct client_record *rec;

	if (!owner || owner == CLIENT_SERVER)
		return true;
	rec = &p->m->client[client_id_index(owner)];
	/* acquire: pairs with record_end() and client_take() */
	return shared_load64_acquire(&rec->id) == owner &&
	       client_state_of(owner, shared_load64_acquire(&rec->flags)) ==
		       CLIENT_IS_OPEN;
}

int pool_sessions_attach(struct pool *p, struct hold_set *given)
{
	int fd = hold_set_take(given, HOLD_SESSIONS, p->number, 0);
	struct pool_sessions *s;
	int r;

	pool_set(p, POOL_C_sessions, 0);
	if (fd < 0)
		return 0;
	r = table_attach_fd(fd, &s);
	if (r == -EPROTO) {
		struct hold_tag tag = { HOLD_SESSIONS, p->number, 0 };

		log_error("the sessions of pool %u are damaged: dropped",
			  p->number);
		p->hold->drop(p->hold->ctx, &tag);
		return 0;
	}
	if (r < 0)
		return r;
	p->sessions = s;
	p->meta_bytes += s->segment.bytes;
	r = segments_attach(p, given);
	if (r < 0)
		return r;
	accounts_attach(p);
	for (uint32_t i = s->records; i-- > 0;) {
		struct session_record *rec = pool_session_record(s, i);

		if (session_attach(p, rec, has_owner(p, rec)))
			pool_session_enter(p, rec);
		else
			pool_session_record_free(s, i);
	}
	history_recount_end(&s->history);
	return 0;
}
