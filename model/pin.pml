/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many pins and few fences: a client with two threads, another client, slots
 * below pin_high, a batch of frames that leave together. What one pin and its
 * fences are worth is in frame.pml; here is what is built on it: one fence for a
 * batch, and pin_high, which a thread may find raised by another thread that has
 * not fenced. Checked by tools/check-model.
 *
 * Weak memory as in frame.pml: a store of a slot or of pin_high lies in its
 * thread's buffer until it is flushed, by a fence, by the next store to the same
 * word or at any time, in any order. A store-release, like that of the client's
 * own copy of pin_high, waits for what its thread stored before.
 */
#include "tables.h"

#define NT 3 /* threads: 0 and 1 of client 0, 2 of client 1 */
#define NF 2 /* frames, generation 1 at first */
#define CLIENT(t) ((t) / 2)
#define W(g, s) ((g) << 3 | (s))
#define GEN(w) ((w) >> 3)
#define STATE(w) ((w) & 7)
#define PIN(f, g) (((f) + 1) << 4 | (g))
#ifndef EVICTIONS
#define EVICTIONS 1
#endif
/* Frames that a thread pins with one fence: as bits. */
#ifndef PINS0
#define PINS0 1
#endif
#ifndef PINS1
#define PINS1 3
#endif
#ifndef PINS2
#define PINS2 0
#endif
#define PINS(t) ((t) == 0 -> PINS0 : ((t) == 1 -> PINS1 : PINS2))

byte word[NF], sword[NF]; /* memory, and as the server stored it */
byte high[2];		  /* pin_high of each client, in memory */
byte my_high[2];	  /* as its threads stored it */
byte raiser[2];		  /* the thread in whose buffer that is */
byte known[2];		  /* the client's own copy */
byte slot[NT * NF], my[NT * NF];
byte using[NF];

/* Thread t's slots are 2t and 2t + 1 of its client; pin_high is raised past both
 * by whoever comes first, in steps of HIGH_STEP (both threads' here). */
#define HIGH 1

inline flush_thread(t)
{
	d_step {
		slot[2 * t] = my[2 * t];
		slot[2 * t + 1] = my[2 * t + 1];
		if
		:: raiser[CLIENT(t)] == t ->
			high[CLIENT(t)] = my_high[CLIENT(t)]
		:: else
		fi
	}
}

/* pin_raise_high(): under a lock; the shared number, then the client's own. */
inline raise()
{
	if
	:: known[CLIENT(t)] == HIGH
	:: d_step { known[CLIENT(t)] != HIGH && my_high[CLIENT(t)] != HIGH ->
			my_high[CLIENT(t)] = HIGH; raiser[CLIENT(t)] = t };
#ifndef MUT_HIGH_RELAXED
		/* release: what is stored before is there */
		high[CLIENT(t)] = my_high[CLIENT(t)];
#endif
		known[CLIENT(t)] = HIGH
	/* another thread has the lock: wait for it */
	:: known[CLIENT(t)] != HIGH && my_high[CLIENT(t)] == HIGH ->
		known[CLIENT(t)] == HIGH
	fi
}

inline publish(f)
{
	if
	:: d_step { PINS(t) & (1 << f) && STATE(word[f]) == SEALED ->
			slot[2 * t + f] = my[2 * t + f];
			my[2 * t + f] = PIN(f, GEN(word[f])) }
	:: else
	fi
}

/* R3 and the use; with a pin for every frame, validated one after the other. */
inline validate(f)
{
	if
	:: d_step { my[2 * t + f] != 0 &&
			my[2 * t + f] == PIN(f, GEN(word[f])) &&
			STATE(word[f]) == SEALED -> using[f]++;
			had = had | (1 << f) }
	:: else
	fi
}

inline unpin(f)
{
	d_step {
		if
		:: had & (1 << f) -> using[f]--
		:: else
		fi;
		slot[2 * t + f] = my[2 * t + f];
		my[2 * t + f] = 0
	}
}

proctype thread(byte t)
{
	byte had;

	raise();
	publish(0);
	publish(1);
#ifdef MUT_FENCE_FOR_ONE
	/* a fence after the first pin only is none for the second */
	slot[2 * t] = my[2 * t];
#else
	/* R2: its slots, and what it knew of when it fenced */
	flush_thread(t);
#endif
	validate(0);
	validate(1);
	unpin(0);
	unpin(1)
}

inline mark(f)
{
	if
	:: d_step { STATE(sword[f]) == SEALED ->
			word[f] = sword[f];
			sword[f] = W(GEN(sword[f]), TO_LEAVE(SEALED));
			batch = batch | (1 << f) }
	:: true
	fi
}

/* pin_high first, then the slots below it. */
inline judge(t, f)
{
	d_step {
		if
		:: limit == HIGH && slot[2 * t + f] ==
				PIN(f, GEN(sword[f])) ->
			pinned = pinned | (1 << f)
		:: else
		fi
	}
}

inline judge_client(c)
{
	limit = high[c];
	if
	:: c == 0 ->
		judge(0, 0); judge(0, 1);
		judge(1, 0); judge(1, 1)
	:: c == 1 ->
		judge(2, 0); judge(2, 1)
	fi;
	limit = 0
}

inline release(f)
{
	if
	:: d_step { batch & (1 << f) && pinned & (1 << f) ->
			word[f] = sword[f];
			sword[f] = W(GEN(sword[f]), TO_SPARE(LEAVING)) }
	:: d_step { batch & (1 << f) && !(pinned & (1 << f)) ->
			assert(using[f] == 0);
			word[f] = sword[f];
			sword[f] = W(GEN(sword[f]) + BUMP_RELEASE(LEAVING),
				     TO_RELEASE(LEAVING)) }
	:: !(batch & (1 << f))
	fi
}

proctype server()
{
	byte batch, pinned, limit, evictions = EVICTIONS;

	do
	:: evictions > 0 ->
		evictions--;
		mark(0);
		mark(1);
#ifndef MUT_NO_BATCH_FENCE
		d_step { word[0] = sword[0]; word[1] = sword[1] }; /* S2 */
#endif
		judge_client(0);
		judge_client(1);
		release(0);
		release(1);
		d_step { batch = 0; pinned = 0 }
	:: evictions == 0 -> break
	od
}

inline drain(x, y)
{
	d_step { x != y -> x = y }
}

proctype env()
{
end:
	do
	:: drain(word[0], sword[0])
	:: drain(word[1], sword[1])
	:: drain(slot[0], my[0])
	:: drain(slot[1], my[1])
	:: drain(slot[2], my[2])
	:: drain(slot[3], my[3])
	:: drain(slot[4], my[4])
	:: drain(slot[5], my[5])
	:: drain(high[0], my_high[0])
	:: drain(high[1], my_high[1])
	od
}

init
{
	atomic {
		word[0] = W(1, SEALED);
		word[1] = W(1, SEALED);
		sword[0] = word[0];
		sword[1] = word[1];
		run server();
		run thread(0);
		run thread(1);
		run thread(2);
		run env()
	}
}
