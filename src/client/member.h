/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member of a CXL region that pins and owns no shard, for any thread of a
 * process.
 *
 * Between member_join() and member_leave(), which are alone, any thread calls any of
 * it. Looking takes no lock: region/region.h says what that rests on, so no such
 * process may install a guard. Pinning and unpinning take a short one.
 */
#ifndef ONECOPY_CLIENT_MEMBER_H
#define ONECOPY_CLIENT_MEMBER_H

#include "region/region.h"

struct member;

/* Takes the descriptor in any case. `host`: whose ends the node can prove; -EXDEV:
 * not this process'. -EBUSY: no slot; -errno. Blocking for 50 ms at most. */
int member_join(int fd, const uint64_t host[2], const char *name,
		struct member **ret_member);
/* Takes NULL. Pins that are out are given back: nobody reads by them. */
void member_leave(struct member *m);
uint32_t member_slot(const struct member *m);
/* It was declared dead. */
bool member_is_lost(const struct member *m);

struct member_memory {
	const void *base;
	uint64_t bytes, frame_bytes;
	bool device;
};
struct member_memory member_memory(const struct member *m);

enum member_answer {
	MEMBER_MISS = 1,
	MEMBER_BAD, /* its bytes are wrong; its owner is told */
	MEMBER_LOST,
};
struct member_pin {
	const void *data;
	uint64_t bytes, gen, checksum;
	uint32_t tokens, slot;
};
enum member_pin_flags {
	MEMBER_VERIFY = 1,   /* look at the bytes first */
	MEMBER_NO_TOUCH = 2, /* it is no use */
};
/* 0; MEMBER_*. */
int member_pin(struct member *m, const struct region_name *name, unsigned flags,
	       struct member_pin *ret_pin);
/* A slot that member_pin() gave, by any thread, once. Also after MEMBER_LOST. */
void member_unpin(struct member *m, uint32_t slot);

/* 0; MEMBER_MISS. What it was at one moment; nothing is held. */
int member_look(struct member *m, const struct region_name *name,
		struct region_seen *ret_seen);

#endif
