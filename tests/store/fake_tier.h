/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier that keeps parts in memory and does what it is told: moves end when the
 * test lets them, in the order that it wants, and fail as it wants. What was
 * written stays when the server dies (fake_tier_reopen()), and the device of a
 * dead server goes on writing into the frames that it was given.
 *
 * A fake: it proves the calling code, not a drive.
 */
#ifndef ONECOPY_TESTS_STORE_FAKE_TIER_H
#define ONECOPY_TESTS_STORE_FAKE_TIER_H

#include "tier/tier.h"

#define FAKE_PARTS  4096u
#define FAKE_SPACES 512u
#define FAKE_MOVES  512u

struct fake_part {
	bool used;
	struct tier_id id;
	struct tier_block block;
	uint8_t *data;
};

struct fake_move {
	struct tier_move *m;
	bool write, cancelled;
	uint64_t order; /* of their beginnings */
};

struct fake_tier {
	struct tier tier; /* first */
	struct fake_part part[FAKE_PARTS];
	struct tier_space space[FAKE_SPACES];
	unsigned n_spaces;
	struct fake_move move[FAKE_MOVES];
	unsigned n_moves;
	uint64_t begun;
	/* as told by the test */
	bool by_itself; /* ready() and tick() end all that is under way */
	enum tier_state state;
	bool blank; /* has not found what it has, whatever its state */
	bool fresh; /* knows no price of a read before it has read */
	const char *why;
	uint64_t limit; /* payload bytes; more: -ENOSPC */
	unsigned most;	/* moves at once; more: -EAGAIN. 0: FAKE_MOVES */
	int fail_read, fail_write; /* results of those that end next; 0 */
	int refuse_write;	   /* result of write(); 0 */
	uint32_t refuse_space;	   /* ... of this space's alone, + 1; 0: all */
	struct tier_options options; /* gone */
	/* what was seen */
	uint64_t reads, writes, read_bytes, write_bytes, removes, uses, cancels;
	uint64_t added, dropped; /* memory: bytes */
	uint64_t most_flying;
	uint64_t asked;	 /* for numbers of spaces */
	uint64_t passes; /* over all parts */
};

struct fake_tier *fake_tier_create(void);
void fake_tier_destroy(struct fake_tier *f);
/* The server has ended: what was under way never tells. The next one finds what
 * was written, in TIER_COMING when `coming`. */
void fake_tier_reopen(struct fake_tier *f, bool coming);
/* Ends one of the moves under way (i-th of those that are), with what the test
 * said; how many are left. */
void fake_tier_end(struct fake_tier *f, unsigned i, int result);
void fake_tier_end_all(struct fake_tier *f);
bool fake_tier_has(const struct fake_tier *f, const uint64_t key[4],
		   uint32_t part);
/* A bit of what is kept there turns. */
void fake_tier_spoil(struct fake_tier *f, const uint64_t key[4], uint32_t part);
/* What is kept there is another one, right for its own checksum. */
void fake_tier_replace(struct fake_tier *f, const uint64_t key[4],
		       uint32_t part);
/* The tier makes room: it goes without being asked. */
void fake_tier_drop(struct fake_tier *f, const uint64_t key[4], uint32_t part);
uint64_t fake_tier_bytes(const struct fake_tier *f);
unsigned fake_tier_parts(const struct fake_tier *f);

#endif
