/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's share of a CXL region (region/region.h, docs/design/region.md).
 *
 * What clients of one tenant seal is copied into a shard that this node owns, in
 * the background and behind the requests: there other nodes' clients pin and
 * read it in place, and there it is found when it has left DRAM. Nothing is ever
 * read from there by the store, so reading brings nothing up.
 *
 * A part takes a frame of the region, whatever its size. Of a namespace with a
 * group whose parts are larger than that nothing is put there: blocks would be
 * there in part, and never found whole.
 *
 * Life cycle. The program opens and joins the region, and gives the handle away
 * with store_region_attach(); from then on it is ticked, and closed, here. It ends
 * with store_region_leave(), or when somebody has declared this member dead or made
 * the region anew (REGION_STALE), or the region's own memory fails: then the node goes
 * on without, and says so.
 *
 * Death. The member is keeper and server: the next server goes on as the same one.
 * What was sealed and not yet copied is found by a look over all frames.
 */
#ifndef ONECOPY_STORE_SHARD_H
#define ONECOPY_STORE_SHARD_H

#include "region/region.h"
#include "store/store.h"

enum store_region_state {
	STORE_REGION_NONE, /* never attached */
	STORE_REGION_IN,   /* a member */
	STORE_REGION_FENCED, /* was declared dead: out of it until the next server */
	STORE_REGION_ANEW,   /* somebody made it anew: the same */
	STORE_REGION_FAILED, /* its memory failed */
	STORE_REGION_LEFT,
};

struct store_region_options {
	const char *tenant; /* whose blocks; all its clients see all of it */
	bool publish;	    /* what is sealed is copied there */
	uint32_t shards;    /* that it was to have */
};

/* A member's handle; taken on success. -EALREADY, -ENOMEM. */
int store_region_attach(struct store *s, struct region *r,
			const struct store_region_options *o);
/* Gives the shards back with what lies in them. 0, REGION_STALE, -EBUSY. */
int store_region_leave(struct store *s);
/* As region_is_at(); 0 where the node is no member. */
int store_region_is_at(const struct store *s, const char *path);
/* Is there something to copy? Then nobody need sleep. */
bool store_region_busy(struct store *s);

/* For a client of this pool: the region's memory once more, and whose ends could be
 * proved here. -ENOENT: it is not for this tenant, or there is none. */
struct store_region_access {
	int fd; /* the caller's */
	uint64_t host[2];
};
int store_region_open(const struct store *s, const struct pool *p,
		      struct store_region_access *ret_access);
/* Pieces of it, as store_low_samples(). */
unsigned store_region_samples(const struct store *s, uint64_t bytes,
			      unsigned most, const void **ret_base);
/* The handle, for looking; NULL. */
struct region *store_region_of(const struct store *s, const struct pool *p);

/* How a reader names a part of this pool; -ENOENT: it has no such namespace. */
int store_region_name(const struct pool *p, const uint64_t key[4],
		      uint64_t part, struct region_name *ret_name);

/* Where a part of this pool lies there; true: it does. */
struct store_region_found {
	struct region_seen seen;
	bool own;		    /* in a shard of this node */
	char node[REGION_NAME + 1]; /* whose shard it is; "": nobody's now */
};
bool store_region_find(const struct store *s, const struct pool *p,
		       const uint64_t key[4], uint64_t part,
		       struct store_region_found *ret_found);

struct store_region_stat {
	enum store_region_state state;
	char tenant[LAYOUT_NAME + 1];
	/* IN: */
	uint32_t member;
	uint64_t inc;
	struct region_geometry geometry;
	enum region_kind kind;
	uint32_t owned;		     /* shards */
	uint64_t free, sealed, held; /* frames of these */
	uint32_t nodes, readers,
		late;	      /* members that live; nodes that are late */
	uint32_t ended;	      /* and not declared dead yet */
	uint32_t quarantined; /* shards of others that nobody may reuse */
	uint32_t nobodys; /* shards, or of the dead: room that is not used */
	struct region_failed failed;
	uint32_t wanted; /* shards, to copy into; 0: none were asked for */
	uint64_t count[REGION_COUNTS_USED]; /* this member's */
};
void store_region_stat(const struct store *s,
		       struct store_region_stat *ret_stat);
const char *store_region_state_name(enum store_region_state state);

#endif
