/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: an ordered list of keys with a life.
 *
 * A session tells the node what a conversation consists of, so that forks share
 * it, routing knows where it is hot, and what belongs to a process that
 * vanished is forgotten. It holds no payload: the blocks behind its keys live
 * and are evicted as all blocks are. One that was evicted is a miss.
 *
 *   open -> append ... append -> pause -> resume -> append ... -> close
 *                  \-> fork: a session of its own that begins alike
 *
 * Life. An active session belongs to the client that opened it and ends with
 * that client, with its lease, or by oc_session_close(). A paused one outlives
 * its owner until its lease has run out; whoever opens it by its name then has
 * it. With OC_SESSION_LEASED nobody owns it and only the lease counts. Each
 * request of the owner puts the end of the lease off. Sessions outlive the
 * node's server, and end with its keeper.
 *
 * Names are of a tenant: 1 to 63 printable ASCII characters. A session without
 * a name is known by its handle alone. Another tenant's session of the same
 * name is another one, and cannot be told from one that is not there.
 *
 * The tail is what is still growing: the block after the last key. Its frame is
 * lent to this handle and written in place; sealed as a full block it becomes
 * the session's next key. A fork seals it as a partial block, which both sides
 * share; the first of them to write gets a frame of its own with a copy.
 *
 * Results and timeouts are those of onecopy.h. What is here waits for the
 * server, one round trip each unless it says more. Threads: a handle is used by
 * one thread at a time; handles of one client by several.
 */
#ifndef ONECOPY_SESSION_H
#define ONECOPY_SESSION_H

#include <onecopy/onecopy.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

typedef struct oc_session oc_session;

#define OC_SESSION_NAME 64 /* with its zero */

enum oc_session_flags {
	OC_SESSION_LEASED = 1, /* nobody owns it: its lease alone keeps it */
	OC_SESSION_TAKE = 2,   /* also from a living client that has it active:
				  that one's requests give OC_BUSY from then on */
	OC_SESSION_FIND = 4,   /* only look at one that is there: not owned, not
				  resumed; the way of a read-only client, and
				  of an operator, who may pause, resume and
				  close it and leave it to its owner */
	OC_SESSION_NEW = 8,    /* it must not be there yet */
};

struct oc_session_options {
	size_t size;
	const char *name;  /* NULL: none */
	unsigned flags;	   /* enum oc_session_flags */
	uint64_t lease_ms; /* 0: the node's default; its maximum is the limit */
	/* Of a fork: */
	size_t blocks; /* it begins with so many of the parent's blocks; 0: with
			  all of them and the tail */
	const struct oc_key *tail_key; /* what the parent's tail is shared as,
					  when it is being written:
					  oc_session_tail_share() */
	uint32_t tail_tokens;
	/* Of OC_SESSION_FIND: the session of this id, whatever its name and
	 * namespace; 0: by name. */
	uint64_t id;
};
#define OC_SESSION_INIT                                   \
	{                                                 \
		.size = sizeof(struct oc_session_options) \
	}

/* The session of a name in this namespace, made when there is none, resumed
 * when it is paused. OC_BUSY: another living client has it active; OC_EXISTS
 * (NEW), OC_MISS (FIND). -EINVAL a name or options that cannot be; -EEXIST the
 * name is in use in another namespace; -EDQUOT this client has all the sessions
 * that it may have, -ENFILE the tenant has; -EPERM read-only client. */
int oc_session_open(oc_ns *ns, const struct oc_session_options *options,
		    uint64_t timeout_ns, oc_session **ret_session);

/* A session that begins with the keys of this one, and shares them: no payload
 * byte is moved, whatever its length. options NULL: no name, all blocks.
 *
 * When the tail has been written since the last fork it is sealed first, as
 * tail_key: a round trip for each part of it and one more. -EINVAL without
 * tail_key then. OC_EXISTS: the name is in use; OC_STALE: it has fewer blocks;
 * OC_MISS: it has ended; -EDQUOT, -ENFILE, -EPERM as above. On a failure after
 * the tail was sealed, the tail is shared by one. */
int oc_session_fork(oc_session *s, const struct oc_session_options *options,
		    uint64_t timeout_ns, oc_session **ret_session);

/* n keys after those that are there, in windows of 2,048 (a round trip each; a
 * window is appended whole or not at all). A paused session is resumed. The
 * tail, if any, is empty afterwards: what was in it is abandoned.
 * OC_STALE: somebody else appended other keys since this handle looked
 * (oc_session_refresh()); OC_BUSY: another has taken it; OC_MISS: it has ended.
 * -EDQUOT this client's sessions keep all the keys that they may, -ENOSPC the
 * tenant's. */
int oc_session_append(oc_session *s, const struct oc_key *keys, size_t n,
		      uint64_t timeout_ns);

/* The turn is over; the next is expected in so many ms (0: unknown). From here
 * on it lives until its lease has run out: lease_ms from now (0: what it was
 * opened with, but twice the expected return at least). A tail that is being
 * written stays with this handle: oc_session_tail_share() before, when others
 * are to go on with it. Times beyond the node's longest lease (lease_max of
 * onecopy.yaml(5), 24 hours by default) count as that. OC_MISS. */
int oc_session_pause(oc_session *s, uint64_t expected_return_ms,
		     uint64_t lease_ms, uint64_t timeout_ns);
/* The same, with what is known of the answer that ended the turn: it tells when
 * the session comes back, and so which blocks stay. What is learned of it, is
 * learned for each reason apart, so one that is wrong costs little. An older
 * node takes the times and leaves the rest. -EINVAL: no such reason. */
enum oc_answer_end {
	OC_ANSWER_UNKNOWN = 0,
	OC_ANSWER_TURN = 1,   /* it was finished: somebody reads it */
	OC_ANSWER_TOOL = 2,   /* a tool is called: back with what that says */
	OC_ANSWER_LENGTH = 3, /* it was cut at its limit */
	OC_ANSWER_STOP = 4,   /* at a sequence that the caller gave */
	OC_ANSWER_CANCEL = 5, /* its caller went away */
	OC_ANSWER_OTHER = 6,
};
/* "turn", "tool" ...; NULL: there is no such reason. */
const char *oc_answer_end_name(unsigned ended);
struct oc_session_turn {
	size_t size;
	uint64_t expected_return_ms, lease_ms; /* as above */
	unsigned ended;			       /* enum oc_answer_end */
	uint64_t answer_tokens;		       /* 0: unknown */
};
#define OC_SESSION_TURN_INIT                           \
	{                                              \
		.size = sizeof(struct oc_session_turn) \
	}
int oc_session_pause_after(oc_session *s, const struct oc_session_turn *turn,
			   uint64_t timeout_ns);

/* Who runs a workflow says which sessions go on next, and when, whoever has them:
 * n of them, OC_SESSION_NEXT_MAX at most, in one round trip. Each counts as a
 * return that the session had announced, but is believed as far as such words
 * have come true, so one that is wrong costs little: what is expected stays longer
 * and is brought up in time. The newest word of a session counts; its own, when it
 * pauses with one, replaces it, its return ends it, and it lapses when its time is
 * over. The sessions are not opened, resumed or kept alive by it, and of other
 * tenants' nothing can be said.
 *
 * A name that no session of the tenant has is passed over. *ret_known (NULL: not
 * asked for): how many there were. An announcement that is not answered in time
 * may have been taken. -EINVAL: n is 0 or too large; -EPERM: a read-only client. */
#define OC_SESSION_NEXT_MAX 256
struct oc_session_next {
	const char *name;
	/* from now, the node's longest lease at most, as when it pauses; 0: what
	 * was said of it is taken back */
	uint64_t in_ms;
};
int oc_session_expect(oc_client *client, const struct oc_session_next *next,
		      size_t n, uint64_t timeout_ns, size_t *ret_known);
/* The next turn begins. Nothing when it is active. OC_MISS, OC_BUSY. */
int oc_session_resume(oc_session *s, uint64_t timeout_ns);
/* Puts the end of the lease off, when there is nothing else to ask for. */
int oc_session_renew(oc_session *s, uint64_t timeout_ns);
/* Ends the session: its history is forgotten, its blocks stay. Frees the
 * handle, but for -ETIMEDOUT and -ENOTCONN (then close again or leave).
 * OC_MISS: it had ended. Takes NULL. */
int oc_session_close(oc_session *s, uint64_t timeout_ns);
/* Frees the handle; the session goes on. A tail that is being written is
 * abandoned. Takes NULL. Does not wait for the server. */
void oc_session_leave(oc_session *s);

uint64_t oc_session_id(const oc_session *s);
/* Blocks (keys), and tokens of the shared tail, as this handle knows them. */
size_t oc_session_blocks(const oc_session *s);
uint32_t oc_session_tail_tokens(const oc_session *s);
/* Looks again: others may have appended. OC_MISS. */
int oc_session_refresh(oc_session *s, uint64_t timeout_ns);

/* Keys [first, first + n), as far as there are any; 2,048 a round trip. */
int oc_session_keys(oc_session *s, size_t first, struct oc_key *ret_keys,
		    size_t n, uint64_t timeout_ns, size_t *ret_n);
/* oc_match_pin() over the session's first n blocks (0: all, as this handle
 * knows): ret_pins has n * parts entries, as there. The keys come from the node
 * (oc_session_keys()). -ENOMEM. */
int oc_session_match_pin(oc_session *s, size_t n,
			 const struct oc_match_options *options,
			 uint64_t timeout_ns, struct oc_pin *ret_pins,
			 size_t *ret_usable);

/* ---- the tail ------------------------------------------------------------- */

struct oc_tail {
	void *data;	 /* writable until the tail is sealed or left */
	uint64_t bytes;	 /* of the part */
	uint32_t tokens; /* that are in it: 0 for a fresh one. Fewer than
			    oc_session_tail_tokens(): the shared tail is no
			    longer resident, its tokens must be computed anew */
	bool copied;	 /* from a shared tail, by this call */
	uint64_t stride; /* OC_STRIPED: from slice to slice; else 0 */
};
/* The frame of the tail's part: the same at each call until the tail is sealed.
 * The first call asks for a frame (a round trip), and copies what a fork shared
 * into it: the one move that a fork costs, counted as tail_copied_bytes.
 * bytes 0: the whole part. As oc_grant() fails; OC_BUSY, OC_MISS as above. */
int oc_session_tail(oc_session *s, struct oc_part part, uint64_t bytes,
		    uint64_t timeout_ns, struct oc_tail *ret_tail);
/* Seals the tail that is being written as a partial block, so that others can
 * go on from it: `key` is what oc_chain_partial() says, tokens (1 to
 * block_tokens - 1) lie in it. One round trip for each part. The next
 * oc_session_tail() gets a copy. -EINVAL: no tail is being written. */
int oc_session_tail_share(oc_session *s, const struct oc_key *key,
			  uint32_t tokens, uint64_t timeout_ns);
/* The tail is full: all its parts are sealed as `key`, which becomes the
 * session's next key. One round trip for each part. checksums: one for each
 * part that was asked for, in order of (group, rank); NULL: computed. It is no
 * failure that another sealed the key first. -EINVAL: there is no tail. After
 * -EDQUOT or -ENOSPC of the history the block is sealed and not appended. */
int oc_session_tail_seal(oc_session *s, const struct oc_key *key,
			 const uint64_t *checksums, uint64_t timeout_ns);

/* ---- the record ------------------------------------------------------------ */

/* What routing knows of a session. Ages in ms; UINT64_MAX: never. */
struct oc_session_info {
	char name[OC_SESSION_NAME]; /* "": none */
	uint64_t id, owner, parent; /* 0: none */
	uint32_t ns;
	bool paused;
	uint32_t blocks, tail_tokens;
	/* the record */
	uint32_t resident_on_dram; /* of its blocks */
	uint64_t hot_since_ms;	   /* age; UINT64_MAX: it is paused */
	uint32_t shared_with;	/* sessions that begin with its first block */
	uint32_t shared_blocks; /* the longest that it has in common */
	struct oc_key prefix_hash; /* key of its last block */
	enum oc_tier evict_to;	   /* OC_TIER_NONE: evicted is gone */
	/* turns */
	uint32_t turns;
	uint64_t gap_ms, last_gap_ms; /* between turns: mean, last */
	uint64_t born_ms, used_ms, paused_ms;
	uint64_t expected_return_ms; /* from now; 0: unknown or overdue */
	uint64_t lease_ms;	     /* left */
	uint32_t resident_on_nvme; /* of its blocks, in memory as well or not */
};
/* OC_MISS: it has ended. */
int oc_session_info(oc_session *s, uint64_t timeout_ns,
		    struct oc_session_info *ret_info);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
