/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own client in a world: what a door does with it, with names
 * (numbers) whose bytes say of which name, part and version they are.
 */
#ifndef ONECOPY_TESTS_STORE_OWN_H
#define ONECOPY_TESTS_STORE_OWN_H

#include "store/local.h"
#include "tests/store/world.h"

#define OWN_GROUPS 6

struct own {
	struct world *w;
	struct store_client *c;
	uint32_t ns;	/* parts of any size */
	uint64_t flags; /* of its grants */
};

/* The pool's client and a namespace for it; again after a restart. */
void own_open(struct own *o, struct world *w);
static inline uint64_t own_part(const struct own *o, uint16_t group)
{
	return frame_part(o->ns, group, 0);
}

/* A grant with the slabs that it asks for; -ENOBUFS: no room now. */
int64_t own_grant(struct own *o, uint64_t n, uint16_t group, uint64_t bytes,
		  struct local_part *ret);
/* Writes the bytes of a version and seals. */
int own_seal(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes, const struct local_part *part);
/* Both; must succeed. */
void own_put(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes);
bool own_find(struct own *o, uint64_t n, uint16_t group,
	      struct local_part *ret);
/* Is it there, of this version, with this many right bytes? Wrong bytes and
 * another version fail the test. */
bool own_has(struct own *o, uint64_t n, uint16_t group, uint64_t version,
	     uint64_t bytes);
void own_compare(struct own *o, uint64_t n, uint16_t group, uint64_t version,
		 uint64_t bytes, const struct local_part *part);
bool own_remove(struct own *o, uint64_t n, uint16_t group);

/* Memory that a client can write is never the server's, and the other way
 * round: remembers who had which memory, and looks again. */
struct own_memory {
	uint64_t identity[4096];
	bool servers[4096];
	uint32_t n;
};
void own_check(struct own *o, struct own_memory *m);

#endif
