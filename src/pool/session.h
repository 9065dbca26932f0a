/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool's sessions: their table and its changes, as the server sees them.
 * When something should happen, and for whom, is store/'s business.
 *
 * Nothing is there before the first session of a pool is made. Threads: the
 * server's one.
 */
#ifndef ONECOPY_POOL_SESSION_H
#define ONECOPY_POOL_SESSION_H

#include "pool/history.h"
#include "pool/pool.h"

/* What one client has to answer for, or one user: for sessions that no process
 * owns (any more), which would else be nobody's as soon as their maker has
 * connected anew. */
struct session_account {
	uint64_t id; /* client, or SESSION_USER() */
	uint32_t sessions, nodes;
};
#define SESSION_USER(uid_) (1ull << 63 | (uint32_t)(uid_))

struct pool_sessions {
	struct segment segment;
	struct session_table *t;
	uint32_t records; /* room */
	uint32_t live;	  /* sessions */
	uint32_t end;	  /* no session at or above */
	struct history history;
	/* names: by hash; free records: linked by next as well */
	uint32_t *bucket, *next, free_head;
	uint32_t buckets;
	/* by the client's index; the last: the server's own client */
	struct session_account account[LAYOUT_CLIENTS_MAX + 1];
	/* by user id, in no order; more users than these share the last */
	struct session_account user[LAYOUT_CLIENTS_MAX];
};

/* Index + 1 of a record, so that 0 is none. */
static inline struct session_record *
pool_session_record(const struct pool_sessions *s, uint32_t index)
{
	return &s->t->record[index];
}
static inline enum session_state
pool_session_state(const struct session_record *r)
{
	return session_word_state(shared_load64(&r->word));
}
static inline uint32_t pool_session_keys(const struct pool *p,
					 const struct session_record *r)
{
	return history_keys(&p->sessions->history, shared_load64(&r->head));
}
uint64_t pool_session_id(const struct pool *p, const struct session_record *r);

/* The table, when there is none yet. -ENOMEM, -errno of holding it. */
int pool_sessions_need(struct pool *p, uint32_t records);
void pool_sessions_free(struct pool_sessions *s);
/* What a predecessor left: taken out of `given`. Sessions that are damaged are
 * dropped and told of in the log; those whose owner has no record end, unless
 * they are paused: then nobody owns them any more. A dead owner whose record is
 * there keeps them until its funeral. 0 also when there are none. */
int pool_sessions_attach(struct pool *p, struct hold_set *given);

/* A session by its id or name; NULL: there is none (any more). */
struct session_record *pool_session_at(const struct pool *p, uint64_t id);
struct session_record *pool_session_find(const struct pool *p,
					 const char *name);
/* Who answers for a session: its owner; its maker's user when it has none. */
uint64_t pool_session_payer(const struct session_record *r);
/* What a client or a user has. */
struct session_account pool_session_account(const struct pool *p,
					    uint64_t client);

struct pool_session_new {
	char name[LAYOUT_NAME]; /* "": none */
	uint32_t ns;
	uint64_t owner, head, parent, made_by, made_user, made_seq;
	uint64_t tail, tail_key[4];
	uint64_t lease_ms, now_ms;
};
/* -ENFILE: the table is full. */
int pool_session_make(struct pool *p, const struct pool_session_new *n,
		      struct session_record **ret_record);
/* The one place that writes a record's word. The event is legal in its state. */
void pool_session_step(struct session_record *r, enum session_event event);
/* `why` leads to FREE. */
void pool_session_end(struct pool *p, struct session_record *r,
		      enum session_event why);
void pool_session_owner(struct pool *p, struct session_record *r,
			uint64_t owner);
/* The client has ended: its active sessions end, nobody owns its paused ones. */
void pool_session_disown(struct pool *p, uint64_t client);
/* So many free nodes in the history. -ENOMEM, -errno of holding them. */
int pool_session_reserve(struct pool *p, uint32_t nodes);
/* n keys after those that are there, which are those of its head. Room was reserved. */
void pool_session_extend(struct pool *p, struct session_record *r,
			 uint64_t payer, const uint64_t (*keys)[4], uint32_t n);
/* The end of the history that nobody uses is given back, some of it each time. */
void pool_session_trim(struct pool *p);

/* Recounts everything; calls say() for each broken invariant. */
void pool_session_check(const struct pool *p,
			void (*say)(void *ctx, const char *text), void *ctx);

#endif
