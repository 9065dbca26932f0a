/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a frame and of a pin: two clients, the server, the keeper's part
 * (what survives), crashes of any of them between any two steps. Checked by
 * tools/check-model; docs/design/coherence.md tells what it covers.
 *
 * Transitions come from tables.h, which is printed from the C tables that
 * the server uses (gen_table.c).
 *
 * Weak memory. Stores that race with a load of the other side go through a
 * store buffer: the server's stores of frame words (sword is the server's own
 * view, word is memory) and each client's stores of its pin slot (my, slot). An
 * entry is in the buffer while the two differ. It is flushed at any time by
 * env, by a fence, or by the next store to the same word. Entries of different
 * words may be flushed in any order: weaker than x86-TSO, which keeps it.
 * A killed process's buffer reaches memory.
 *
 * DEVICE: clients let a device write their frames, and it writes on when they
 * are dead, at any time. It is done before its client seals. SETTLES: the server
 * learns that it is done, as it does of the tier's (what "dead" is there, is a
 * server before).
 *
 * A client's ring is one request and one reply. The server answers, then
 * advances the head (clears the request): after a crash between these, the new
 * server handles the request again, so requests must be idempotent.
 */
#include "tables.h"

#ifndef NF
#define NF 2 /* frames */
#endif
#ifndef NC
#define NC 2 /* clients */
#endif
#ifndef GMAX
#define GMAX 2 /* fillings of a frame */
#endif
/* Operations of each client, and which: reads, writes, removes. */
#ifndef OPS0
#define OPS0 1
#endif
#ifndef OPS1
#define OPS1 1
#endif
#ifndef MAY0
#define MAY0 7
#endif
#ifndef MAY1
#define MAY1 7
#endif
#define MAY_READ 1
#define MAY_WRITE 2
#define MAY_REMOVE 4
#ifndef DEVICE
#define DEVICE 0
#endif
#ifndef SETTLES
#define SETTLES 0
#endif
#ifdef MUT_SETTLE_EARLY
#define DEVICE_DONE(i) true
#else
#define DEVICE_DONE(i) (!dma[i])
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#define NK 2 /* keys 1..NK; content 0 is half-written */

#define W(g, s) ((g) << 3 | (s))
#define GEN(w) ((w) >> 3)
#define STATE(w) ((w) & 7)
#define PIN(f, g) (((f) + 1) << 4 | (g))

#define OP_NONE 0
#define OP_GRANT 1
#define OP_SEAL 2
#define OP_ABANDON 3
#define OP_REMOVE 4

/* Shared memory: outlives every process. */
byte word[NF];	  /* descriptors */
byte key[NF];
byte owner[NF];	  /* client + 1 */
byte seq[NF];	  /* owner's request that was granted it */
byte content[NF]; /* payload: the key it belongs to */
byte idx[NK + 1]; /* frame + 1; a hint */
byte slot[NC];
byte req_op[NC], req_key[NC], req_frame[NC], req_gen[NC], req_seq[NC];
byte rep[NC], rep_frame[NC], rep_gen[NC]; /* rep: 1 yes, 2 no, 0 none yet */

/* Store buffers. */
byte sword[NF];
byte my[NC];

/* What the keeper knows. */
bool dead[NC], seen[NC];

bool kill_server; /* the server's death on its way */
byte server_crashes = SERVER_CRASHES;

/* Ghosts: the truth that the properties compare with. */
byte writing[NF]; /* client + 1 that was told that it may write */
byte using[NF];	  /* readers between validate and unpin */
byte uses[NC];	  /* what such a reader uses: frame + 1 */
bool live[NF];	  /* sealed, and nobody wanted it gone */
bool dma[NF];	  /* a device writes there, for a dead client */

/* One transition of the C table, stored through the server's buffer; for use
 * in a d_step. */
#define STEP_(ev, f)                                            \
	word[f] = sword[f];                                     \
	assert(TO_##ev(STATE(sword[f])) != NOWHERE);            \
	sword[f] = W(GEN(sword[f]) + BUMP_##ev(STATE(sword[f])), \
		     TO_##ev(STATE(sword[f])))

inline server_flush()
{
	d_step {
		word[0] = sword[0];
		word[NF - 1] = sword[NF - 1];
	}
}

/* ---- client ---------------------------------------------------------- */

/* A step ends after each access to shared memory that another process can
 * notice. A store into the own buffer is not one. */

/* The ring holds one entry: wait for the head. Payload stores are before the
 * push by program order (release). Use in a d_step, after the guard
 * req_op[c] == OP_NONE. */
#define SEND_(op, k, f, g)   \
	req_key[c] = k;      \
	req_frame[c] = f;    \
	req_gen[c] = g;      \
	rep[c] = 0;          \
	rep_frame[c] = 0;    \
	rep_gen[c] = 0;      \
	req_op[c] = op

inline answered()
{
	d_step {
		rep[c] != 0 && req_op[c] == OP_NONE;
		rep[c] = 0;
		rep_frame[c] = 0;
		rep_gen[c] = 0;
		f = 0;
		w = 0
	}
}

#define STORE_SLOT_(v)       \
	slot[c] = my[c];     \
	my[c] = v

inline use_block()
{
	assert(content[f] == k);
	d_step {
		assert(content[f] == k);
		using[f]--;
		uses[c] = 0;
		STORE_SLOT_(0)
	}
}

#ifdef MUT_NO_REVALIDATE
#define HOLDS true
#else
#define HOLDS (word[f] == w)
#endif

inline pin_and_use()
{
#ifndef MUT_NO_READER_FENCE
	slot[c] = my[c]; /* R2 */
#endif
	if /* R3 */
	:: d_step { HOLDS -> using[f]++; uses[c] = f + 1 };
		use_block()
	:: d_step { !HOLDS -> STORE_SLOT_(0) }
	fi
}

inline client_read()
{
	f = idx[k];
	if
	:: f == 0 -> skip
	:: else ->
		d_step { f--; w = word[f] };
		if
		:: d_step { STATE(w) == SEALED && key[f] == k ->
				STORE_SLOT_(PIN(f, GEN(w))) }; /* R1 */
			pin_and_use()
		:: else -> skip
		fi
	fi;
	d_step { f = 0; w = 0 }
}

inline write_payload()
{
	d_step {
		assert(word[f] == W(w, GRANTED));
		assert(using[f] == 0);
		content[f] = 0
	};
	d_step {
		assert(word[f] == W(w, GRANTED));
		assert(using[f] == 0);
		content[f] = k
	}
}

inline client_fill()
{
#ifndef MUT_SEAL_FIRST
	write_payload();
#endif
	if
	:: d_step { req_op[c] == OP_NONE -> writing[f] = 0;
			SEND_(OP_SEAL, k, f, w) }
	:: d_step { req_op[c] == OP_NONE -> writing[f] = 0;
			SEND_(OP_ABANDON, k, f, w) }
	fi;
#ifdef MUT_SEAL_FIRST
	content[f] = k
#endif
}

/* Refused; but when the server dies before the head moves, the next one may
 * grant what this one refused. Nobody waits for that frame: give it back. */
inline late_grant()
{
	if
#ifndef MUT_LATE_GRANT_KEPT
	:: d_step {
		req_op[c] == OP_NONE && rep[c] == 1;
		f = rep_frame[c];
		w = rep_gen[c];
		SEND_(OP_ABANDON, k, f, w)
		};
		answered()
	:: d_step { req_op[c] == OP_NONE && rep[c] != 1 -> rep[c] = 0 }
#else
	:: d_step { req_op[c] == OP_NONE -> rep[c] = 0; rep_frame[c] = 0;
			rep_gen[c] = 0 }
#endif
	fi
}

inline client_write()
{
	d_step { req_seq[c]++; SEND_(OP_GRANT, k, 0, 0) };
	if
	:: d_step {
		rep[c] == 1;
		f = rep_frame[c];
		w = rep_gen[c];
		assert(writing[f] == 0); /* no two owners */
		writing[f] = c + 1
		};
		client_fill();
		answered()
	:: d_step { rep[c] == 2 -> rep[c] = 0 };
		late_grant()
	fi
}

inline client_remove()
{
	d_step { SEND_(OP_REMOVE, k, 0, 0) };
	answered()
}

proctype client(byte c)
{
	byte k, f, w, ops = (c == 0 -> OPS0 : OPS1);
	byte may = (c == 0 -> MAY0 : MAY1);

	{
		do
		:: ops > 0 ->
			if
			:: k = 1
			/* Keys are alike: client 0 begins with key 1. */
			:: c != 0 || ops != OPS0 -> k = 2
			fi;
			ops--;
			if
			:: may & MAY_READ -> client_read()
			:: may & MAY_WRITE -> client_write()
			:: may & MAY_REMOVE -> client_remove()
			fi;
			k = 0
		:: else -> false /* lives on until it dies */
		od
	} unless {
		dead[c]
	}
}

/* ---- server ---------------------------------------------------------- */

/* The word's store precedes the answer's (release): a client that reads the
 * answer sees the word. */
inline answer(v, fr, ge)
{
	d_step {
		word[0] = sword[0];
		word[NF - 1] = sword[NF - 1];
		if
		:: !dead[c] ->
			rep_frame[c] = fr;
			rep_gen[c] = ge;
			rep[c] = v
		:: else
		fi
	}
}

/* An answered request is asked for again only after a crash. */
#define GRANTED_TO_C(f) (STATE(sword[f]) == GRANTED && owner[f] == c + 1)
#ifdef MUT_NO_GRANT_SEQ
#define SAME_SEQ(f) false
#else
#define SAME_SEQ(f) (seq[f] == req_seq[c])
#endif
#define GRANTABLE(f) (STATE(sword[f]) == FREE && GEN(sword[f]) < GMAX)

#define HAS_GRANT(f) (GRANTED_TO_C(f) && SAME_SEQ(f))

inline choose_frame()
{
	d_step {
		if
		:: GRANTABLE(0) -> f = 0
		:: !GRANTABLE(0) && GRANTABLE(NF - 1) -> f = NF - 1
		:: else -> f = NF
		fi;
		/* A client that waits for an answer holds no other grant. */
		assert(!GRANTED_TO_C(0) && !GRANTED_TO_C(NF - 1));
		/* Invisible while the word says FREE. */
		if
		:: f < NF ->
			key[f] = req_key[c];
			owner[f] = c + 1;
			seq[f] = req_seq[c]
		:: else
		fi
	}
}

inline serve_grant()
{
	if
	:: HAS_GRANT(0) -> answer(1, 0, GEN(sword[0]))
	:: NF > 1 && HAS_GRANT(NF - 1) ->
		answer(1, NF - 1, GEN(sword[NF - 1]))
	:: !HAS_GRANT(0) && !HAS_GRANT(NF - 1) ->
		choose_frame();
		if
		:: d_step { f < NF -> STEP_(GRANT, f) };
			answer(1, f, GEN(sword[f]))
		:: f == NF -> answer(2, 0, 0)
		fi
	fi
}

#define IS_SEALED(k) (idx[k] != 0 && STATE(sword[idx[k] - 1]) == SEALED)
#ifdef MUT_NO_FIRST_SEAL
#define LOSES(k) false
#else
#define LOSES(k) IS_SEALED(k)
#endif
#define IS_OWN_GRANT (sword[f] == W(req_gen[c], GRANTED) && owner[f] == c + 1)
#define SEALED_AS(i, k) (STATE(sword[i]) == SEALED && key[i] == (k))

inline serve_seal()
{
	f = req_frame[c];
	if
	:: d_step { IS_OWN_GRANT && LOSES(key[f]) -> STEP_(ABANDON, f) };
		answer(2, 0, 0)
	:: d_step {
		IS_OWN_GRANT && !LOSES(key[f]);
		/* The first seal wins. */
		assert(!SEALED_AS(0, key[f]) && !SEALED_AS(NF - 1, key[f]));
		STEP_(SEAL, f);
		live[f] = true
		};
		idx[key[f]] = f + 1;
		answer(1, 0, 0)
	:: !IS_OWN_GRANT && GEN(sword[f]) == req_gen[c] ->
		answer(1, 0, 0) /* again: it was sealed before the crash */
	:: !IS_OWN_GRANT && GEN(sword[f]) != req_gen[c] ->
		answer(2, 0, 0)
	fi
}

inline serve_abandon()
{
	f = req_frame[c];
	if
	:: d_step { IS_OWN_GRANT -> STEP_(ABANDON, f) }
	:: !IS_OWN_GRANT
	fi;
	answer(1, 0, 0)
}

inline serve_remove()
{
	if
	:: d_step { IS_SEALED(req_key[c]) ->
			f = idx[req_key[c]] - 1;
			idx[req_key[c]] = 0 };
		d_step { STEP_(DOOM, f); live[f] = false }
	:: !IS_SEALED(req_key[c])
	fi;
	answer(1, 0, 0)
}

inline serve_request()
{
	if
	:: req_op[c] == OP_GRANT -> serve_grant()
	:: req_op[c] == OP_SEAL -> serve_seal()
	:: req_op[c] == OP_ABANDON -> serve_abandon()
	:: req_op[c] == OP_REMOVE -> serve_remove()
	fi;
	d_step { /* the head */
		req_op[c] = OP_NONE;
		req_key[c] = 0;
		req_frame[c] = 0;
		req_gen[c] = 0;
		f = 0;
		c = 0
	}
}

#define IN_BATCH(f) (batch & (1 << (f)))
#define IS_PINNED(f) (pinned & (1 << (f)))

/* S3: one slot at a time. */
inline scan_slot(i)
{
	d_step {
		if
		:: slot[i] == PIN(0, GEN(sword[0])) -> pinned = pinned | 1
		:: NF > 1 && slot[i] == PIN(NF - 1, GEN(sword[NF - 1])) ->
			pinned = pinned | (1 << (NF - 1))
		:: else
		fi
	}
}

inline scan_slots()
{
	scan_slot(0);
	scan_slot(NC - 1)
}

inline mark(i)
{
	if
	:: d_step { STATE(sword[i]) == SEALED -> STEP_(LEAVE, i);
			batch = batch | (1 << i) }
	:: d_step { STATE(sword[i]) == DOOMED -> batch = batch | (1 << i) }
	:: STATE(sword[i]) != DOOMED /* passed over */
	fi
}

/* All of one frame or of both. */
inline mark_batch()
{
	mark(0);
#if NF > 1
	mark(NF - 1)
#endif
}

#ifdef MUT_NO_BUMP
#define RELEASE_(f)           \
	word[f] = sword[f];   \
	sword[f] = W(GEN(sword[f]), FREE)
#else
#define RELEASE_(f) STEP_(RELEASE, f)
#endif

inline release_frame(i)
{
	if
	:: d_step { IN_BATCH(i) && IS_PINNED(i) &&
			STATE(sword[i]) == LEAVING -> STEP_(SPARE, i) }
	:: d_step { IN_BATCH(i) && !IS_PINNED(i) ->
			if
			:: idx[key[i]] == i + 1 -> idx[key[i]] = 0
			:: else
			fi };
		d_step {
			assert(using[i] == 0);
			RELEASE_(i);
			live[i] = false
		}
	:: !IN_BATCH(i) || (IS_PINNED(i) && STATE(sword[i]) == DOOMED)
	fi
}

inline release_batch()
{
	release_frame(0);
#if NF > 1
	release_frame(NF - 1);
#endif
	d_step { batch = 0; pinned = 0 }
}

inline evict()
{
#ifdef MUT_SCAN_FIRST
	scan_slots();
	mark_batch(); /* S1 */
	server_flush();
#else
	mark_batch(); /* S1 */
#ifndef MUT_NO_SERVER_FENCE
	server_flush(); /* S2 */
#endif
	scan_slots();
#endif
	release_batch()
}

inline take_back(i)
{
	if
#if DEVICE && !defined(MUT_NO_QUARANTINE)
	:: d_step { owner[i] == c + 1 && STATE(sword[i]) == GRANTED ->
			STEP_(QUARANTINE, i) }
	:: d_step { owner[i] == c + 1 && STATE(sword[i]) != GRANTED ->
			STEP_(OWNER_DIED, i) }
#else
	:: d_step { owner[i] == c + 1 -> STEP_(OWNER_DIED, i) }
#endif
	:: owner[i] != c + 1
	fi
}

inline bury()
{
#ifndef MUT_NO_OWNER_DEATH
	take_back(0);
#if NF > 1
	take_back(NF - 1);
#endif
#endif
	/* Last: until here a new server starts over with this funeral. */
	d_step {
		slot[c] = 0;
		my[c] = 0;
		req_op[c] = OP_NONE;
		req_key[c] = 0;
		req_frame[c] = 0;
		req_gen[c] = 0;
		rep[c] = 0;
		rep_frame[c] = 0;
		rep_gen[c] = 0;
		seen[c] = true;
		c = 0
	}
}

inline recover_frame(i)
{
	d_step {
#ifdef MUT_RECOVER_RELEASES
		if
		:: STATE(sword[i]) == LEAVING ->
			assert(using[i] == 0);
			STEP_(RELEASE, i);
			live[i] = false
		:: else -> STEP_(RECOVER, i)
		fi;
#else
		STEP_(RECOVER, i);
#endif
		/* Nobody's crash loses a sealed block. */
		assert(!live[i] || STATE(sword[i]) == SEALED)
	}
}

inline rebuild(k)
{
	d_step {
		if
		:: SEALED_AS(0, k) -> idx[k] = 1
		:: !SEALED_AS(0, k) && SEALED_AS(NF - 1, k) -> idx[k] = NF
		:: else -> idx[k] = 0
		fi
	}
}

inline recover()
{
	recover_frame(0);
#if NF > 1
	recover_frame(NF - 1);
#endif
#ifndef MUT_NO_REBUILD
	rebuild(1);
	rebuild(2);
#endif
	skip
}

inline settle(i)
{
	d_step {
		STATE(sword[i]) == QUARANTINED && DEVICE_DONE(i);
		STEP_(SETTLE, i)
	}
}

#define WANTED(i) (STATE(sword[i]) == SEALED)
#define FOUND(i) (idx[key[i]] == i + 1)
#define SETTLED(i)                                              \
	(STATE(sword[i]) == FREE || STATE(sword[i]) == SEALED || \
	 STATE(sword[i]) == QUARANTINED)

proctype server()
{
	byte c, f, batch, pinned;

again:
	{
		recover();
		do
		:: d_step { req_op[0] != OP_NONE && !dead[0]; c = 0 };
			serve_request()
		:: d_step { NC > 1 && req_op[NC - 1] != OP_NONE &&
				!dead[NC - 1]; c = NC - 1 };
			serve_request()
		:: WANTED(0) || WANTED(NF - 1) || STATE(sword[0]) == DOOMED ||
		   STATE(sword[NF - 1]) == DOOMED ->
			evict()
		:: d_step { dead[0] && !seen[0]; c = 0 };
			bury()
		:: d_step { dead[NC - 1] && !seen[NC - 1]; c = NC - 1 };
			bury()
#if SETTLES
		:: settle(0)
#if NF > 1
		:: settle(NF - 1)
#endif
#endif
		:: d_step {
			seen[0] && seen[NC - 1] &&
			STATE(sword[0]) != DOOMED &&
			STATE(sword[NF - 1]) != DOOMED;
			/* All that the dead held is back, and every block that
			 * is here is found. */
			assert(SETTLED(0) && SETTLED(NF - 1));
			assert(!WANTED(0) || FOUND(0));
			assert(!WANTED(NF - 1) || FOUND(NF - 1));
			assert(!live[0] || WANTED(0));
			assert(!live[NF - 1] || WANTED(NF - 1));
			};
			goto quiet
		od
	} unless {
		kill_server
	};
	kill_server = false;
	d_step { c = 0; f = 0; batch = 0; pinned = 0 };
	goto again;
quiet:
	skip
}

/* ---- crashes and store buffers --------------------------------------- */

inline flush_word(i)
{
	d_step { sword[i] != word[i] -> word[i] = sword[i] }
}

inline flush_slot(i)
{
	d_step { my[i] != slot[i] -> slot[i] = my[i] }
}

/* What a dead client had asked for: nobody else may have the frame. */
inline device_writes(i)
{
	d_step {
		dma[i];
		assert(writing[i] == 0);
		assert(using[i] == 0);
		assert(!live[i]);
		dma[i] = false;
		content[i] = 0
	}
}

/* The process is gone: what it stored is in memory, it stores no more. */
inline client_dies(i)
{
	d_step {
		!dead[i];
		slot[i] = my[i];
		if
		:: uses[i] -> using[uses[i] - 1]--; uses[i] = 0
		:: else
		fi;
		if
		:: writing[0] == i + 1 -> writing[0] = 0; dma[0] = DEVICE
		:: else
		fi;
		if
		:: writing[NF - 1] == i + 1 -> writing[NF - 1] = 0;
			dma[NF - 1] = DEVICE
		:: else
		fi;
		dead[i] = true
	}
}

inline server_dies()
{
	d_step {
		server_crashes > 0 && !(seen[0] && seen[NC - 1]);
		server_crashes--;
		word[0] = sword[0];
		word[NF - 1] = sword[NF - 1];
		kill_server = true
	}
}

proctype env()
{
end:
	do
	:: flush_word(0)
	:: flush_word(NF - 1)
	:: flush_slot(0)
	:: flush_slot(NC - 1)
	:: server_dies()
#if DEVICE
	:: device_writes(0)
	:: device_writes(NF - 1)
#endif
	:: client_dies(0)
	:: client_dies(NC - 1)
	od
}

init
{
	atomic {
		run server();
		run client(0);
		run client(NC - 1);
		run env()
	}
}
