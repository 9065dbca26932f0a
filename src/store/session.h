/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions, as the store's callers see them: the ring's requests through
 * store_call(), the doors and reports through what is declared here.
 *
 * Who may what, inside a tenant: any client that is not read-only may fork,
 * pause and close any session (it may remove any block as well); keys and the
 * tail are the owner's, or anybody's where there is none. An active session
 * ends with its owner; every session ends when its lease has run out.
 *
 * One thread. Nothing waits.
 */
#ifndef ONECOPY_STORE_SESSION_H
#define ONECOPY_STORE_SESSION_H

#include "pool/session.h"
#include "store/store.h"

struct session_wish {
	char name[LAYOUT_NAME]; /* "": none */
	uint32_t ns;		/* 0, with FIND: whatever it has */
	unsigned flags;		/* enum oc_session_flags */
	uint64_t lease_ms;	/* 0: the default */
	uint64_t seq;		/* of the request */
	bool repeat;
};

/* Positive answers are those of enum oc_answer.
 *
 * OC_MISS (FIND), OC_EXISTS (NEW), OC_BUSY: a living client has it, active;
 * -EINVAL a name that cannot be, no such namespace; -EEXIST the name is in use
 * in another namespace; -ENFILE the tenant's quota of sessions, -EDQUOT the
 * client's; -EPERM; -ENOMEM. *ret_made: it is new. */
int64_t store_session_open(struct store_client *c,
			   const struct session_wish *wish,
			   struct session_record **ret_record, bool *ret_made);
/* keep: keys of the parent that it begins with; UINT64_MAX: all and the tail.
 * OC_EXISTS: the name is in use; OC_STALE: the parent has fewer keys. */
int64_t store_session_fork(struct store_client *c,
			   struct session_record *parent, uint64_t keep,
			   const struct session_wish *wish,
			   struct session_record **ret_record);
/* `at`: keys that the caller believes to be there (UINT64_MAX: as many as are);
 * what was appended at that place already and is the same is a success.
 * OC_STALE: other keys are there; OC_BUSY; -ENOSPC the tenant's history,
 * -EDQUOT the client's. */
int64_t store_session_append(struct store_client *c, struct session_record *r,
			     uint64_t at, const uint64_t (*keys)[4],
			     uint32_t n);
/* What is said when a turn ends; what is not known is 0. */
struct session_turn {
	uint64_t back_ms, lease_ms;
	bool told;	/* back_ms is what others said */
	uint32_t ended; /* ring_answer_end_name(); another: unknown */
	uint64_t answer_tokens;
};
/* enum ring_state. OC_NONE for RESUME, RENEW: nothing; RESUME takes a session
 * that nobody owns, unless `keep_owner`. */
int64_t store_session_state(struct store_client *c, struct session_record *r,
			    enum ring_state what,
			    const struct session_turn *turn, bool keep_owner);
/* Others say that a session comes back in so many ms; 0: they take back what they
 * said, and what it said itself stands. It is not attached to, nor resumed, nor
 * kept alive. OC_MISS: it is not there. */
int64_t store_session_expect(struct store_client *c,
			     const char name[LAYOUT_NAME], uint64_t in_ms);
/* A tier's name, as oc_tier_name() says it. */
const char *session_tier_name(uint64_t tier);
/* Everything that is known of it. deep: also what takes a look at its keys and at
 * other sessions (resident, up to SESSION_RESIDENT_MOST parts of its keys;
 * shared_keys); else these are UINT32_MAX. A key is resident when all parts are
 * that a hit needs of every block. */
#define SESSION_RESIDENT_MOST 16384u
void store_session_say(struct store *s, struct pool *p,
		       const struct session_record *r, bool deep,
		       struct session_said *ret_said);

/* The limits that a store works with. */
const struct store_sessions *store_session_limits(const struct store *s);

#endif
