/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference model of the torture: what clients may have seen.
 *
 * Every operation of every client is a record: when it began and ended, on
 * which key, and what came of it. Each filling that somebody seals has a
 * version of its own, which its bytes carry, so a read says whose bytes it saw.
 * Records come in rounds, between which nothing is under way; what the next
 * round can still see is kept, the rest is forgotten.
 *
 * Judged, key by key (times are of one clock; X "before" Y: X ended before Y
 * began):
 *
 *   origin      a version is seen whose seal had not begun, or was refused
 *   removed     a version is seen by a read that began after a removal that
 *               began after the version was sealed
 *   twice       two versions of a key were there at the same time: the first
 *               seal did not win, or an old filling came back
 *   lost        only where nothing is evicted: a version was sealed and
 *               acknowledged, and a look that began afterwards misses it,
 *               though no removal can have been in between
 *
 * A seal that replaces (SET at the RESP door) is a seal, and a removal of all that
 * was there.
 *
 * Without eviction ("calm" keys) a miss must be explained; elsewhere it never
 * is wrong: a block may be evicted, and a look may fall into the moment in
 * which it is marked (coherence/pin.h). Pure; one thread.
 */
#ifndef ONECOPY_PROG_TORTURE_TRIAL_H
#define ONECOPY_PROG_TORTURE_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trial_op {
	TRIAL_SEAL = 1, /* version; DONE, REFUSED or UNKNOWN */
	TRIAL_READ,	/* DONE: version was seen; MISSED */
	TRIAL_LOOK,	/* DONE: something is there, of no known version;
			     MISSED. A grant is one too */
	TRIAL_REMOVE,	/* DONE or UNKNOWN */
	TRIAL_REPLACE,	/* as SEAL */
};

enum trial_result {
	TRIAL_UNKNOWN, /* no answer: it may have happened, also later, until
			    the round's end */
	TRIAL_DONE,
	TRIAL_REFUSED, /* it did not and will not happen */
	TRIAL_MISSED,
};

struct trial_record {
	uint64_t begin_ns, end_ns; /* UNKNOWN: the end is the round's */
	uint64_t version;
	uint32_t key;
	uint8_t op, result, calm, zero;
};

enum trial_wrong {
	TRIAL_ORIGIN,
	TRIAL_REMOVED,
	TRIAL_TWICE,
	TRIAL_LOST,
	TRIAL_WRONGS
};
extern const char *const trial_wrong_names[TRIAL_WRONGS];

struct trial;

/* told: called for each thing that is wrong. -ENOMEM. */
int trial_create(void (*told)(void *ctx, enum trial_wrong what,
			      const struct trial_record *record),
		 void *ctx, struct trial **ret_trial);
void trial_destroy(struct trial *h); /* takes NULL */
/* Records of this round, in any order. -ENOMEM. */
int trial_add(struct trial *h, const struct trial_record *r, size_t n);
/* Judges the round, which ended at end_ns. What is wrong so far, by kind. */
int trial_round(struct trial *h, uint64_t end_ns, uint64_t wrong[TRIAL_WRONGS]);
/* Records that are kept for the next round. */
size_t trial_kept(const struct trial *h);

#endif
