/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must survive the server is held by the keeper: descriptors under tags.
 *
 * The order that makes it safe: hold first, publish in the metadata second;
 * unpublish first, drop second. So after a crash every descriptor that the
 * metadata names is held; what is held and not named is dropped.
 */
#ifndef ONECOPY_POOL_HOLD_H
#define ONECOPY_POOL_HOLD_H

#include "base/compiler.h"

enum hold_kind {
	HOLD_LISTEN = 1,  /* pool 0, id = enum hold_listen */
	HOLD_META,	  /* id 0 */
	HOLD_INDEX,	  /* id = index epoch */
	HOLD_PAYLOAD,	  /* id = hold_slab_id() */
	HOLD_DESC,	  /* id = hold_slab_id() */
	HOLD_CLIENT_SOCK, /* id = client id; also the next four */
	HOLD_CLIENT_SEG,
	HOLD_CLIENT_BELL,
	HOLD_CLIENT_BELL_PEER,
	HOLD_CLIENT_PIDFD,
	HOLD_SESSIONS, /* id 0: the table */
	HOLD_HISTORY,  /* id = number of the segment */
	HOLD_LEARNED,  /* id 0: what eviction has learned, store/learned.h */
	HOLD_KINDS
};

/* Whose listening socket: libonecopy's, RESP's, HTTP's. Opened by the keeper;
 * a door that is off has none. */
enum hold_listen { HOLD_LISTEN_NATIVE, HOLD_LISTEN_RESP, HOLD_LISTEN_HTTP };

struct hold_tag {
	uint32_t kind; /* enum hold_kind */
	uint32_t pool; /* number of the pool */
	uint64_t id;
};

static inline uint64_t hold_slab_id(uint32_t slab, uint64_t gen)
{
	return (gen & 0xffffffff) << 32 | slab;
}

/* hold: 0 once the descriptor is out of this process's hands (it outlives this
 * process), else -errno. The descriptor stays the caller's. */
struct hold_ops {
	int (*hold)(void *ctx, const struct hold_tag *tag, int fd);
	void (*drop)(void *ctx, const struct hold_tag *tag);
	void *ctx;
};

/* What a new server was given. take() moves a descriptor out (-1: none). */
struct hold_given {
	struct hold_tag tag;
	int fd;
};
struct hold_set {
	struct hold_given *given;
	size_t n, cap;
};
int hold_set_add(struct hold_set *s, const struct hold_tag *tag, int fd);
int hold_set_take(struct hold_set *s, enum hold_kind kind, uint32_t pool,
		  uint64_t id);
/* Closes what is held under this very tag; nothing when there is none. */
void hold_set_close(struct hold_set *s, const struct hold_tag *tag);
/* Drops (and closes) what nobody took of a pool's own descriptors (its clients'
 * are left, and what eviction has learned, which is taken later): what its
 * metadata does not name. Before the pool holds anything
 * new, because the tags of what was half made are used again. */
void hold_set_drop_pool(struct hold_set *s, const struct hold_ops *ops,
			uint32_t pool);
/* Drops and closes all that nobody took; ops NULL: only closes. */
void hold_set_fini(struct hold_set *s, const struct hold_ops *ops);

#endif
