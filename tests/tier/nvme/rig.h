/*
 * A tier on a file of its own, with a clock that stands still unless the test moves
 * it, and a device that fails on demand. Parts are numbers: number n of size s has
 * one content and one key.
 */
#ifndef ONECOPY_TESTS_TIER_NVME_RIG_H
#define ONECOPY_TESTS_TIER_NVME_RIG_H

#include <onecopy/onecopy.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/rng.h"
#include "tier/nvme/nvme.h"
#include "tier/tier.h"
#include "tests/test.h"

#define RIG_PART 65536u /* bytes of a part, unless said otherwise */

struct rig {
	char dir[64];
	struct nvme_io_table table;
	_Atomic uint64_t now;
	/* what the device does: looked at for each operation */
	struct nvme_fate (*_Atomic fate)(struct rig *g, enum nvme_op op,
					 uint64_t offset, uint64_t bytes);
	_Atomic bool held;
	_Atomic int fail_reads, fail_writes; /* these errors, from now on */
	_Atomic uint32_t fail_next;	     /* so many operations fail */
	struct tier_options options;
	struct tier *t;
	uint32_t space;
	uint32_t gone, gone_wrong;
	void (*on_gone)(struct rig *g, const struct tier_id *id, bool wrong);
	void *_Atomic user;
};

/* One part that is read or written. */
struct rig_move {
	struct tier_move m; /* first */
	uint64_t number;
	bool over;
	int result;
};

/* size, segment: 0 for 4 MiB in segments of 256 KiB. In memory, unless
 * TMPDIR says otherwise or a disk is asked for. */
void rig_init(struct rig *g, uint64_t size, uint64_t segment);
void rig_init_on_disk(struct rig *g, uint64_t size, uint64_t segment);
void rig_fini(struct rig *g); /* closes, removes the file */
int rig_open_try(struct rig *g);
void rig_open(struct rig *g); /* and until it is up */
void rig_wait_state(struct rig *g, enum tier_state state);
void rig_stop(struct rig *g);  /* well */
void rig_close(struct rig *g); /* without stop */
/* One turn: waits until the device has something, or not if it has nothing to
 * do; the clock goes on by a millisecond. */
void rig_turn(struct rig *g);
void rig_check(struct rig *g); /* recounts */
struct tier_stat rig_stat(struct rig *g);
const char *rig_file(struct rig *g); /* static buffer */

void rig_id(const struct rig *g, uint64_t number, struct tier_id *ret_id);
void rig_fill(uint64_t number, void *data, uint64_t bytes);
/* done() of a struct rig_move that a test makes itself. */
void rig_move_done(struct tier_move *m, int result);
/* bytes 0: RIG_PART. */
int rig_write_begin(struct rig *g, struct rig_move *m, uint64_t number,
		    uint64_t bytes);
int rig_read_begin(struct rig *g, struct rig_move *m, uint64_t number);
int rig_wait(struct rig *g, struct rig_move *m); /* frees its memory */
/* Again while it says -ENOSPC, for room to be made. */
int rig_write(struct rig *g, uint64_t number, uint64_t bytes);
/* 0, and the bytes were right; OC_MISS, ... The test fails at wrong bytes. */
int rig_read(struct rig *g, uint64_t number);
bool rig_has(struct rig *g, uint64_t number);
int rig_remove(struct rig *g, uint64_t number);

#endif
