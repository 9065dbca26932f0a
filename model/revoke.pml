/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking for what mappings hold (coherence/revoke.h): a client with a mapping of one
 * frame, its thread for questions and a thread that touches; a server that marks,
 * looks at the slots, asks, and frees; a second server when the first dies. Checked
 * by tools/check-model.
 *
 * What must hold: a frame is used again only when an honest client has no mapping of
 * it, whatever was answered; a filling is given back only when that one was asked
 * for, whatever was in its slot at the time; and a question is answered in the end,
 * or the client has died.
 *
 * Weak memory as in frame.pml, for stores of the client: its slot and its answer lie
 * in its buffer until a release, a fence or the environment flushes them, in any
 * order. The server's stores for the client (the word, then asked by release) are in
 * order.
 */
#include "tables.h"

#ifndef TOUCHES
#define TOUCHES 2
#endif
#ifndef EVICTIONS
#define EVICTIONS 2
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

byte state = SEALED, gen = 1; /* of the frame; the server's stores are seen at
				 once: what LEAVING needs is in frame.pml */
bool slot, my_slot;	      /* names the frame: in memory; as stored */
byte slot_gen, my_gen;
bool mapped;		      /* the client can read the frame's pages */
byte mapped_gen;
bool held;		      /* by the application */
byte want;		      /* the word: a filling, named by gen; 0: none */
byte looked;		      /* what a server saw and asks for, or has asked */
byte asked, answered, my_answered;
bool dead;		      /* the client; its pidfd says so */
bool lock;		      /* the space's */
bool done;		      /* the server evicts no more */

inline flush()
{
	d_step {
		slot = my_slot;
		slot_gen = my_gen;
		answered = my_answered
	}
}

/* A pin, validated, and the mapping of it; under the lock. */
proctype toucher()
{
	byte n = TOUCHES, g;

	do
	:: n > 0 && !dead ->
		n--;
		atomic { !lock || dead -> lock = true };
		if
		:: !mapped ->
			g = gen;
			d_step { my_slot = true; my_gen = g };
			flush(); /* R2 */
			if
			:: d_step { !dead && state == SEALED && gen == g ->
					mapped = true; mapped_gen = g }
			:: else -> d_step { my_slot = false }; flush()
			fi
		:: mapped -> skip
		:: mapped -> /* it goes of its own accord */
			mapped = false;
			my_slot = false
		fi;
		if
		:: held = !held
		:: skip
		fi;
		lock = false
	:: n == 0 || dead -> break
	od
}

/* B1 to B4. */
proctype revoker()
{
	byte e;

end:	do
	:: dead || (done && asked == my_answered) -> break
	:: !dead && asked != my_answered ->
		e = asked;
		atomic { !lock || dead -> lock = true };
		if
#ifdef MUT_SLOT_ASKED
		:: want && my_slot && mapped && !held && !dead ->
#else
		:: want && my_slot && want == my_gen && mapped && !held &&
		   !dead ->
#endif
			assert(dead || my_gen == looked);
#ifdef MUT_UNPIN_FIRST
			d_step { my_slot = false; slot = false };
			mapped = false
#else
			mapped = false;
			/* release: unmapped before */
			d_step { my_slot = false; slot = false }
#endif
		:: else
		fi;
		lock = false;
#ifdef MUT_KEPT_UNANSWERED
		(my_slot == false || dead);
#endif
		/* release */
		d_step { slot = my_slot; slot_gen = my_gen; my_answered = e;
			 answered = e }
	od
}

/* Frees what no slot names. */
inline judge()
{
	d_step {
		if
#ifdef MUT_ANSWER_TRUSTED
		/* what was asked for and answered is taken as given */
		:: open && answered == asked && !dead ->
#else
		:: dead || !(slot && slot_gen == gen) ->
#endif
			assert(dead || !(mapped && mapped_gen == gen));
			state = FREE;
			gen++
		:: else -> state = TO_SPARE(LEAVING)
		fi
	}
}

proctype server()
{
	byte evictions = EVICTIONS, crashes = SERVER_CRASHES;
	bool open;

again:	skip;
	/* a new one: it takes the words back, and waits for what was asked */
	d_step {
		want = 0;
		open = (answered != asked);
		if
		:: state == LEAVING -> state = TO_RECOVER(LEAVING)
		:: else
		fi
	};
	do
	:: evictions > 0 && state == SEALED ->
		evictions--;
		state = TO_LEAVE(SEALED);
		judge();
		if
		:: state == SEALED && !open && !dead && asked < 4 ->
			d_step { want = gen; looked = gen };
			asked++;
			open = true
		:: else
		fi
	:: open && (answered == asked || dead) ->
		d_step { want = 0; open = false }
	/* the frame has a new filling, sealed for all */
	:: state == FREE && evictions > 0 -> state = SEALED
	:: crashes > 0 -> crashes--; goto again
	:: evictions == 0 && !open -> break
	od;
	done = true
}

proctype env()
{
	byte deaths = DEATHS;

end:	do
	:: d_step { slot != my_slot || slot_gen != my_gen ->
			slot = my_slot; slot_gen = my_gen }
	:: d_step { answered != my_answered -> answered = my_answered }
	:: d_step { deaths > 0 && !dead -> deaths--; dead = true;
			mapped = false; lock = false }
	od
}

init
{
	atomic {
		run server();
		run revoker();
		run toucher();
		run env()
	}
}
