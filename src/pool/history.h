/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a pool's sessions: a tree of runs (shm/session.h), as the server
 * sees it.
 *
 * Sessions of one namespace that begin alike share nodes, however they came
 * about: forks begin with their parent's head, and an append looks whether the
 * next key is there already. A node takes keys in place at its end; a session
 * that stands before the end and goes on differently gets a child.
 *
 * Counts are of this process and are made anew from the records by
 * pool_sessions_attach(): a node is in use while it has references (heads that
 * stand in it, and children).
 *
 * One thread. Nothing waits; memory is asked for by history_reserve() alone.
 */
#ifndef ONECOPY_POOL_HISTORY_H
#define ONECOPY_POOL_HISTORY_H

#include "shm/segment.h"
#include "shm/session.h"

#define HISTORY_NONE 0u

struct history_node {
	uint32_t refs; /* heads and children; 0: free */
	uint32_t next; /* of its bucket, or of the free list */
	uint32_t root; /* first node of its history */
	uint32_t children;
	uint32_t sessions; /* of a root: heads in its tree */
	uint32_t used;	   /* keys that some head reaches, or did */
	uint32_t depth;	   /* nodes above */
	uint32_t jump;	   /* one of them, far up; a root's: itself */
};

struct history {
	struct segment *seg;
	uint32_t n_segs, segs_cap;
	struct history_node *node; /* by id; entry 0 unused */
	uint32_t *bucket;	   /* children, by (parent, first key) */
	uint32_t buckets;	   /* a power of two */
	uint64_t seed;		   /* of their hash: clients choose keys */
	uint32_t free_head, n_free;
	uint32_t n_used;
	/* told of each node that comes into use (+1) or goes (-1) */
	void (*pay)(void *ctx, uint64_t payer, int n);
	void *ctx;
};

static inline uint32_t history_end(const struct history *h)
{
	return h->n_segs * SESSION_NODES + 1; /* ids are below */
}
static inline struct session_node *history_at(const struct history *h,
					      uint32_t id)
{
	struct session_node *n = h->seg[(id - 1) / SESSION_NODES].base;

	return &n[(id - 1) % SESSION_NODES];
}
/* Keys before and at a place. */
static inline uint32_t history_keys(const struct history *h, uint64_t head)
{
	uint32_t node = session_head_node(head);

	if (!node)
		return 0;
	return (uint32_t)shared_load64(&history_at(h, node)->base) +
	       session_head_count(head);
}

void history_fini(struct history *h);
/* A segment more (taken on success), its nodes free. -ENOMEM. */
int history_add(struct history *h, struct segment *seg);
/* The last segment, when none of its nodes is in use. False: it is. */
bool history_take_last(struct history *h, struct segment *ret_seg);

/* A head comes to a place or leaves it. */
void history_ref(struct history *h, uint64_t head);
void history_unref(struct history *h, uint64_t head);
/* Nodes that n keys behind a place need, at most: none for those that are there
 * already. */
uint32_t history_nodes(const struct history *h, uint64_t head, uint32_t ns,
		       const uint64_t (*keys)[4], uint32_t n);
/* Goes on from a session's head with n keys of a namespace; history_nodes()
 * are free. The place after them; references are the caller's to move. */
uint64_t history_extend(struct history *h, uint64_t head, uint32_t ns,
			uint64_t payer, const uint64_t (*keys)[4], uint32_t n);
/* The place after the first `keys` keys of a place. Steps: by the logarithm of
 * its nodes. */
uint64_t history_cut(const struct history *h, uint64_t head, uint32_t keys);
/* Keys [first, first + n) of a place; they must be there. */
void history_read(const struct history *h, uint64_t head, uint32_t first,
		  uint32_t n, uint64_t (*ret_keys)[4]);
/* Are the keys from `first` on these? */
bool history_same(const struct history *h, uint64_t head, uint32_t first,
		  const uint64_t (*keys)[4], uint32_t n);
/* Heads whose history begins with the same node, this one included. */
uint32_t history_sharers(const struct history *h, uint64_t head);
/* Keys from the beginning that another head or a child certainly shares: the
 * last node that somebody else uses, and one key of it. A walk up. */
uint32_t history_shared(const struct history *h, uint64_t head);
/* The leading keys that two places have in common. Takes the nodes that it walks
 * over off *steps; 0 when there are no more steps. */
uint32_t history_common(const struct history *h, uint64_t a, uint64_t b,
			uint32_t *steps);

/* After a restart: is this a place? Then counts it. Ends with
 * history_recount_end(). */
bool history_recount(struct history *h, uint64_t head, uint32_t ns);
void history_recount_end(struct history *h);

#endif
