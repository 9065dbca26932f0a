/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions in shared memory: a table of records, and a history of keys that
 * they share. Written and mapped by the server alone; held by the keeper, so
 * that the next server goes on with them.
 *
 *   table     struct session_header | records          one, made when needed
 *   history   SESSION_NODES x struct session_node      any number, by 1 MiB
 *
 * A session is a place in a tree of keys: `head` names a node and how many of
 * its keys belong to the session; the node's `parent` is a place of the same
 * kind. So sessions with a common prefix have one replica of its keys, and a
 * fork is a record with the same head.
 *
 *   node 7: keys 0..61        <- head of A: 7, 40     (A: 40 keys)
 *     node 9: parent 7, 62    <- head of B: 9, 3      (B: 65 keys)
 *     node 8: parent 7, 40    <- head of C: 8, 1      (C: 41 keys)
 *
 * Order. Keys and node fields are written where no head reaches yet, then
 * `head` by one store: that is the append, of any number of keys. A record is
 * written while its word says FREE; the word makes it a session, pauses it,
 * resumes it and ends it, each by one store. Who else uses a node is counted in
 * the server's own memory, from the records (pool/history.h): a crash cannot
 * spoil a count that is not there.
 */
#ifndef ONECOPY_SHM_SESSION_H
#define ONECOPY_SHM_SESSION_H

#include "coherence/session.h"
#include "shm/layout.h"

#define SESSION_MAGIC	    0x3153534553434f31ull /* "1OCSESS1" */
#define SESSION_NODE_KEYS   62u
#define SESSION_NODE_BYTES  2048u
#define SESSION_NODES	    512u /* of one history segment */
#define SESSION_SEG_BYTES   ((uint64_t)SESSION_NODES * SESSION_NODE_BYTES)
#define SESSION_RECORDS_MAX 65536u
#define SESSION_SEGS_MAX    65536u

struct session_header {
	shared_u64 magic;   /* last, release: a table cut short is none */
	shared_u64 records; /* in this table */
	/* History segments: 0 .. segments - 1 are held. Stored after a new one
	 * is held, and before one is dropped. */
	shared_u64 segments;
	shared_u64 reserved[5];
};
_Static_assert(sizeof(struct session_header) == 64, "one line");

/* All times are CLOCK_MONOTONIC ms. */
struct session_record {
	/* line 0: each request */
	shared_u64 word;     /* generation << 32 | turns << 8 | session_state;
			    release. Last when made, first when ended */
	shared_u64 head;     /* session_head(); release: commits an append */
	shared_u64 owner;    /* client id; 0: nobody, only its lease counts */
	shared_u64 ns;	     /* namespace id */
	shared_u64 lease_ms; /* each use puts the end so far away */
	shared_u64 until_ms; /* it ends then */
	shared_u64 used_ms;
	shared_u64 hot_ms; /* active since */
	/* line 1: each turn */
	shared_u64 paused_ms;	/* last time */
	shared_u64 expected_ms; /* the next turn is expected then; 0: unknown;
				   with SESSION_TOLD: others say so */
	shared_u64 gap_ms;	/* between turns: mean, by eighths */
	shared_u64 last_gap_ms;
	shared_u64 made_by, made_seq; /* the request that made it */
	shared_u64 parent;	      /* id of what it was forked from; 0 */
	shared_u64 evict_to;	      /* enum oc_tier; 0: nowhere */
	/* line 2: the tail */
	shared_u64 tail; /* tokens << 32 | keys before it; release, after
			    tail_key. It counts while the session has just so
			    many keys */
	shared_u64 tail_key[4];
	shared_u64 born_ms;
	shared_u64 fetched_for; /* expected_ms for which its blocks were
				   brought up; 0: none since its turn */
	shared_u64 made_user; /* user id + 1 of made_by; 0: the server itself */
	/* line 3 */
	shared_u64 name[LAYOUT_NAME / 8]; /* zeros: none */
};
_Static_assert(sizeof(struct session_record) == 256, "four lines");

struct session_table {
	struct session_header header;
	struct session_record record[];
};

/* A run of keys. Fields and keys never change while a head reaches them. */
struct session_node {
	shared_u64 parent; /* session_head(); 0: the first node of a history */
	shared_u64 base;   /* keys before this node */
	shared_u64 ns;
	shared_u64 payer; /* client id whose quota it counts for */
	shared_u64 reserved[4];
	shared_u64 key[SESSION_NODE_KEYS][4];
};
_Static_assert(sizeof(struct session_node) == SESSION_NODE_BYTES, "no gap");

/* What RING_SESSION_INFO says, in the blob. Ages, not times: ms since; those to
 * come: ms until, 0: none. No padding. */
struct session_said {
	uint64_t id, owner, parent;
	uint32_t ns, state;
	uint32_t keys, tail_tokens;
	uint32_t turns, shared_with;
	uint32_t shared_keys,
		resident; /* of its keys: UINT32_MAX: not looked at */
	uint64_t evict_to;
	uint64_t born_ms, used_ms, hot_ms, paused_ms; /* UINT64_MAX: never */
	uint64_t gap_ms, last_gap_ms, expected_ms, lease_ms;
	uint64_t tail_key[4], prefix_hash[4];
	char name[LAYOUT_NAME];
	uint32_t below; /* of its keys, on the tier below; UINT32_MAX as resident */
	uint32_t zero;
};
_Static_assert(sizeof(struct session_said) == 264, "no padding");
_Static_assert(RING_NAME == LAYOUT_NAME, "a name is a name");

/* A place in the tree: after `count` keys of `node` (from 1; node 0: the
 * beginning, where there is no key). */
static inline uint64_t session_head(uint32_t node, uint32_t count)
{
	return (uint64_t)node << 32 | count;
}
static inline uint32_t session_head_node(uint64_t head)
{
	return (uint32_t)(head >> 32);
}
static inline uint32_t session_head_count(uint64_t head)
{
	return (uint32_t)head;
}

/* A session's id: generation << 32 | index. Generations begin at 1, so no id
 * is 0, and none returns. */
static inline uint64_t session_id(uint32_t gen, uint32_t index)
{
	return (uint64_t)gen << 32 | index;
}

/* Of expected_ms. */
#define SESSION_TOLD (1ull << 63)
static inline uint64_t session_expected(uint64_t expected_ms)
{
	return expected_ms & ~SESSION_TOLD;
}

static inline uint64_t session_tail(uint32_t tokens, uint32_t keys)
{
	return (uint64_t)tokens << 32 | keys;
}

static inline uint64_t session_table_bytes(uint32_t records)
{
	return ALIGN_UP(sizeof(struct session_table) +
				(uint64_t)records *
					sizeof(struct session_record),
			PAGE_BYTES);
}

#endif
