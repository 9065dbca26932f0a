/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When does a session come back? A model that is learned while it is used:
 * counters of how often sessions came back at an age, and how often those with
 * some trait did, against what was expected of them.
 *
 * Age is what has passed since the last use, on a scale of two steps an octave.
 * The hazard to come back within step b, when it was not before, is
 *
 *	hazard(b) = base(b) * product over the traits f of seen(f) / expected(f)
 *
 * where `seen` counts the returns of sessions with that trait, and `expected`
 * what base and the other traits said of the same sessions at the same ages. A
 * trait that says nothing has the ratio 1; traits that say the same share it.
 * Each ratio begins as PRIOR events of 1, and each base hazard as so many of 1/4
 * (the first step, which is longer), 1/10 (the second), and then of what the step
 * before it has: of that age alone speaks, and the younger is worth more (LRU).
 * Counters are halved when they are large, so the model follows its workload.
 *
 * Ratios are learned apart for ages an octave apart: who comes back soon says
 * nothing of those that have been away for long, and where few have been seen the
 * prior keeps the ratio at 1, and age alone speaks.
 *
 * Who returns is seen at once, and who does not when the step is over. A model
 * that has not lived for WAIT_AGES times the age would believe that all return:
 * till then the return waits for the end of its step as well, and behind those
 * that began to wait before it.
 *
 * Some traits change with age: how the age compares with the session's gaps so
 * far, and with the return that was announced. So an announcement is believed
 * as far as announcements have been right; those that sessions make of themselves
 * and those that others make of them are judged apart.
 *
 * Worth. Keeping a session from now to the end of step j costs the expected
 * time until it returns or the step ends, and yields its chance to return by
 * then. The best quotient over all j is its worth (Gittins' index of this
 * stopping problem): what has been found to be the price of room decides who
 * stays. A session that surely sleeps for a minute is worth what that minute
 * costs, not what its first second promises.
 *
 * Whole numbers throughout. Pure: no clock, no memory but the struct.
 */
#ifndef ONECOPY_POLICY_COMEBACK_H
#define ONECOPY_POLICY_COMEBACK_H

#include <stddef.h>
#include "base/compiler.h"

#define COMEBACK_STEPS	 32   /* 1 s to 13 hours */
#define COMEBACK_FIRST	 1000 /* ms: the first step is 0 to this */
#define COMEBACK_VALUES	 64   /* of a trait */
#define COMEBACK_BAND	 2    /* steps for which traits are learned apart */
#define COMEBACK_BANDS	 (COMEBACK_STEPS / COMEBACK_BAND)
#define COMEBACK_DIFFS	 64  /* of a trait that compares */
#define COMEBACK_CHANCES 672 /* hazards of 2^-17 to 2^4, 32 an octave */

#define COMEBACK_WHYS 8 /* reasons whose ages are learned apart */

enum comeback_trait {
	COMEBACK_TURNS,	 /* uses so far */
	COMEBACK_OUTPUT, /* tokens of the last answer */
	COMEBACK_LENGTH, /* blocks of the chain */
	COMEBACK_WHY,	 /* the last answer ended, as the caller says */
	COMEBACK_KIND,	 /* of caller */
	COMEBACK_FRESH,	 /* blocks that were new in the last use */
	COMEBACK_TRAITS,
};

/* What the model must know of a session; kept by its owner. */
struct comeback_session {
	uint8_t trait[COMEBACK_TRAITS];
	uint8_t step;	    /* the age that was learned up to */
	uint16_t usual_gap; /* log2 of ms; 0: none yet */
	uint16_t hint;	    /* log2 of ms; 0: none; UINT16_MAX: closed */
	int16_t ratio;	    /* sum over the traits, at the octave it is in, */
			    /* as of when that began */
	bool told;	    /* the hint came from others */
	uint32_t pending;   /* expected, not yet charged to the traits */
};

struct comeback_cell {
	uint32_t seen, expected; /* events, in 1/65536 */
};

/* Cells of one thing at several ages, and log2 of their quotients, with the
 * prior: apart, since a worth reads all of them. */
#define COMEBACK_ROW(name, n)                 \
	struct name {                         \
		struct comeback_cell cell[n]; \
		int16_t ratio[n];             \
	}
COMEBACK_ROW(comeback_steps, COMEBACK_STEPS);
COMEBACK_ROW(comeback_bands, COMEBACK_BANDS);
COMEBACK_ROW(comeback_diffs, COMEBACK_DIFFS);
COMEBACK_ROW(comeback_ends, 2);

/* A return that waits for the end of its step. */
struct comeback_wait {
	struct comeback_session session;
	uint32_t part; /* of the step that had passed */
	uint64_t due_ms;
};
#define COMEBACK_WAITS 1024 /* more are learned at once */

struct comeback {
	uint64_t begun_ms, now_ms;
	struct comeback_wait wait[COMEBACK_WAITS]; /* a ring, as they came */
	uint32_t first_wait, waits;
	uint64_t uneven; /* base hazards whose ratios are to be judged anew: bits */
	/* chances of a return within a step, by the log2 of the hazard */
	uint32_t chance[COMEBACK_CHANCES];
	/* what was learned: from here to the end (comeback_save()) */
	struct comeback_steps base;
	struct comeback_bands trait[COMEBACK_TRAITS][COMEBACK_VALUES];
	struct comeback_steps why[COMEBACK_WHYS];
	struct comeback_steps output[COMEBACK_VALUES];
	struct comeback_diffs gap; /* age against usual gap */
	/* age against the hint; [1]: of one that others gave */
	struct comeback_diffs hint[2];
	/* returns that used the chain's last block, of all; [1]: a partial one */
	struct comeback_ends last;
};
#define COMEBACK_LEARNED \
	(sizeof(struct comeback) - offsetof(struct comeback, base))

void comeback_init(struct comeback *m);
/* What was learned, as COMEBACK_LEARNED bytes, which this build alone reads. Returns
 * that wait are not in it, nor how long the model has lived: whose sessions are
 * forgotten begins to see ages from the first one on again. */
void comeback_save(const struct comeback *m, void *ret_bytes);
/* It begins now, and knows what was saved. */
void comeback_recall(struct comeback *m, uint64_t now_ms, const void *bytes);
/* A session whose age was not seen by this model, or not to be learned again. */
void comeback_resume(const struct comeback *m, struct comeback_session *s);

/* The age at which a step begins, ms. */
uint64_t comeback_edge(unsigned step);
/* Classes of sizes, an octave each, 1 ..; and of counts, two an octave. */
uint8_t comeback_size_class(uint64_t size);
uint8_t comeback_count_class(uint64_t count);

/* Time passes: returns that waited are learned. Never goes back. */
void comeback_tick(struct comeback *m, uint64_t now_ms);
/* What was counted of ages is judged, and each step begins as the one before it
 * is by now, so that without returns the older is never thought to be worth more.
 * Now and then. */
void comeback_even(struct comeback *m);

/* A use: traits, usual_gap and hint are set; takes the ratios as they are. */
void comeback_begin(const struct comeback *m, struct comeback_session *s);
/* The next step begins, and nothing is known of the one before. */
void comeback_age(const struct comeback *m, struct comeback_session *s);
/* It has not come back within its step: the next one begins. */
void comeback_pass(struct comeback *m, struct comeback_session *s);
/* It came back at that age, which lies in its step or later. */
void comeback_return(struct comeback *m, struct comeback_session *s,
		     uint64_t age_ms);
/* Nobody asks about it any more. */
void comeback_forget(struct comeback *m, struct comeback_session *s);
/* A return used, or did not, the last block of the chain. */
void comeback_reached(struct comeback *m, bool partial, bool used);
/* log2 of the chance that a return does; <= 0. */
int comeback_reach(const struct comeback *m, bool partial);

/* Worth of keeping the session from its step on: log2 of returns for each ms
 * kept, above 2^-COMEBACK_LEAST: 0 .. 255, eight classes an octave. */
#define COMEBACK_LEAST 32
uint8_t comeback_worth(const struct comeback *m,
		       const struct comeback_session *s);

/* Of the first steps, as long as it does not come back: all at once, for little
 * more than one. */
#define COMEBACK_SHORT 12 /* steps; twelve: 45 s */
void comeback_worths(const struct comeback *m, const struct comeback_session *s,
		     uint8_t ret_worth[COMEBACK_SHORT]);

#endif
