/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CXL region with nodes: two that want to own its shard, one that reads it.
 * Each of them can die between any two steps, stand still for as long as it
 * likes and come back (which no step here can tell from being slow), and join
 * again as another process. Checked by tools/check-model; docs/design/region.md
 * tells what it covers.
 *
 * The tables of frames and members are those of the C code (gen_table.c).
 *
 * The kernel's word that a process has ended is `ended`, after the last of its
 * stores; the judge is whoever reads it. There is no clock: whoever lives may be taken for late at any time,
 * and must not be for dead.
 *
 * Weak memory as in frame.pml: a node's stores of the frame's word, and the
 * reader's of its slot, lie in its buffer until it fences, stores there again, or
 * at any time. A killed process's buffer reaches memory. Compare-and-swaps empty
 * the buffer, as they do where the region is coherent.
 */
#include "tables.h"

#define NODES 2 /* members 0 and 1 own; member 2 reads */
#define READER 2
#ifndef GMAX
#define GMAX 3 /* fillings */
#endif
#ifndef JOINS
#define JOINS 2 /* of each owner */
#endif
#ifndef READER_JOINS
#define READER_JOINS 1
#endif
#ifndef READS
#define READS 1 /* in one life */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef GIVES
#define GIVES 0
#endif
#ifndef LIES
#define LIES 0 /* the reader lives, and somebody vouches that it has ended */
#endif

#define W(g, s) ((g) << 3 | (s))
#define GEN(w) ((w) >> 3)
#define STATE(w) ((w) & 7)
#define M(inc, s) ((inc) << 3 | (s))
#define OWNER(m, inc) (((m) + 1) << 4 | (inc))

/* Shared memory. */
byte mword[3];
byte owner;	/* of the shard */
byte word;	/* of the frame; generation 1 at first, FREE */
byte key;	/* 1 and 2 by turns, from filling to filling */
byte content;	/* the key whose payload is there; 0: half written */
byte slot;	/* the reader's: a generation, 0: none */

/* Store buffers: 0 is empty. */
byte pending[NODES];
byte my;	/* the slot as the reader stored it */

bool dead[3];	/* killed */
bool ended[3];
byte deaths = DEATHS;
byte gives = GIVES;
byte lies = LIES;

/* Ghosts. */
byte writing;	/* member + 1 that writes payload */
bool using;	/* the reader, between its last look (R4) and unpin or a lie:
		 * what was pinned before that, who lied has to answer for */
byte live;	/* the generation that is sealed, and that nobody wanted gone */

#define SEEN(m) (pending[m] != 0 -> pending[m] : word)
/* For a d_step. */
#define FLUSH_(m)                                      \
	if                                             \
	:: pending[m] != 0 -> word = pending[m]; pending[m] = 0 \
	:: else                                        \
	fi
#define STEP_(ev, m)                                                     \
	w = SEEN(m);                                                     \
	FLUSH_(m);                                                       \
	assert(TO_##ev(STATE(w)) != NOWHERE);                            \
	pending[m] = W(GEN(w) + BUMP_##ev(STATE(w)), TO_##ev(STATE(w))); \
	w = 0

/* ---- joining ----------------------------------------------------------------- */

#define MSTATE(m) STATE(mword[m])
#define MSTEP_(ev, m)                                                       \
	mword[m] = M(GEN(mword[m]) + MEMBER_BUMP_##ev(MSTATE(m)),           \
		     MEMBER_TO_##ev(MSTATE(m)))

inline claim(m)
{
	d_step {
		MEMBER_TO_CLAIM(MSTATE(m)) != MEMBER_NOWHERE;
		MSTEP_(CLAIM, m);
		inc = GEN(mword[m]);
		joins--
	}
}

/* A compare-and-swap with its own incarnation: declared dead meanwhile, it is no
 * member. */
inline enter(m)
{
	d_step {
		if
		:: mword[m] == M(inc, MEMBER_JOINING) ->
			MSTEP_(ENTER, m);
			in = true
		:: else -> in = false
		fi
	}
}

/* ---- the shard ----------------------------------------------------------------- */

#define OMEMBER(o) (((o) >> 4) - 1)
#ifdef MUT_NO_INC
#define GONE(o) (MSTATE(OMEMBER(o)) != MEMBER_LIVE && \
		 MSTATE(OMEMBER(o)) != MEMBER_JOINING)
#else
#define GONE(o) (GEN(mword[OMEMBER(o)]) != ((o) & 15) || \
		 (MSTATE(OMEMBER(o)) != MEMBER_LIVE &&   \
		  MSTATE(OMEMBER(o)) != MEMBER_JOINING))
#endif
#define MINE OWNER(m, inc)
#ifdef MUT_NO_SWAP
#define SAME(o) true
#else
#define SAME(o) (owner == (o))
#endif

inline recover(m)
{
	if
	:: d_step { STATE(word) == LEAVING ->
#ifdef MUT_RECOVER_RELEASES
			assert(!using);
			live = 0;
			STEP_(RELEASE, m)
#else
			STEP_(RECOVER, m)
#endif
		}
#ifndef MUT_GRANTED_STAYS
	:: d_step { STATE(word) == GRANTED -> STEP_(OWNER_DIED, m) }
#else
	:: STATE(word) == GRANTED
#endif
	:: STATE(word) != LEAVING && STATE(word) != GRANTED
	fi;
	/* nobody's death loses a sealed block */
	assert(live == 0 || SEEN(m) == W(live, SEALED));
	own = true
}

inline take(m)
{
	o = owner;
	if
	:: o == 0 || GONE(o) ->
		if
		:: d_step { SAME(o) -> FLUSH_(m); owner = MINE };
			recover(m)
		:: !SAME(o)
		fi
	:: o != 0 && !GONE(o)
	fi;
	o = 0
}

inline half(m)
{
	d_step {
		assert(writing == m + 1 && !using);
		content = 0
	}
}

inline whole(m)
{
	d_step {
		assert(writing == m + 1 && !using);
		content = key
	}
}

inline fill(m)
{
	key = 3 - key; /* while the word says FREE */
	d_step { STEP_(GRANT, m) };
	d_step { assert(writing == 0); writing = m + 1 };
	half(m);
#ifdef MUT_SEAL_FIRST
	d_step { STEP_(SEAL, m); live = GEN(SEEN(m)) };
	whole(m);
	writing = 0
#else
	whole(m);
	d_step { writing = 0; STEP_(SEAL, m); live = GEN(SEEN(m)) }
#endif
}

#ifdef MUT_LATE_PINS
/* who may be late does not count */
#define COUNTS (MSTATE(READER) == MEMBER_LIVE && false)
#else
#define COUNTS (MSTATE(READER) == MEMBER_LIVE)
#endif

inline evict(m)
{
#ifdef MUT_SCAN_FIRST
	pinned = COUNTS && slot == GEN(SEEN(m));
#endif
	d_step { STEP_(LEAVE, m) };			/* S1 */
#ifndef MUT_NO_OWNER_FENCE
	d_step { FLUSH_(m) };				/* S2 */
#endif
#ifndef MUT_SCAN_FIRST
	if						/* S3 */
	:: COUNTS -> pinned = (slot == GEN(SEEN(m)))
	:: !COUNTS
	fi;
#endif
	if						/* S4 */
	:: d_step { pinned -> STEP_(SPARE, m); pinned = false }
	:: d_step { !pinned ->
			assert(!using);
#ifdef MUT_NO_BUMP
			w = SEEN(m); FLUSH_(m);
			pending[m] = W(GEN(w), FREE); w = 0;
#else
			STEP_(RELEASE, m);
#endif
			live = 0 }
	fi
}

proctype node(byte m)
{
	byte inc, o, w, joins = JOINS;
	bool in, own, pinned;

again:
	{
		claim(m);
		enter(m);
end:		do
		:: in && !own && (owner == 0 || GONE(owner)) -> take(m)
		:: own && STATE(SEEN(m)) == FREE && GEN(SEEN(m)) < GMAX ->
			fill(m)
		:: own && STATE(SEEN(m)) == SEALED -> evict(m)
		/* Declared dead, and alive: it looks before it begins
		 * anything. */
		:: in && mword[m] != M(inc, MEMBER_LIVE) ->
			in = false; own = false
		:: d_step { own && gives > 0 && owner == MINE ->
				gives--; FLUSH_(m); owner = 0; own = false }
		:: !in && joins > 0 && !dead[m] -> goto again
		od
	} unless {
		dead[m]
	};
	d_step {
		FLUSH_(m);
		ended[m] = true;
		w = 0;
		o = 0;
		in = false;
		own = false;
		pinned = false;
		if
		:: writing == m + 1 -> writing = 0
		:: else
		fi
	};
	if
	:: MSTATE(m) != MEMBER_LIVE && MSTATE(m) != MEMBER_JOINING && joins > 0 ->
		dead[m] = false;
		ended[m] = false;
		goto again
	:: joins == 0
	fi
}

/* ---- a reader -------------------------------------------------------------------- */

/* For a d_step. */
#define STORE_SLOT_(v) \
	slot = my;     \
	my = v

#ifdef MUT_NO_REVALIDATE
#define HOLDS true
#else
#define HOLDS (word == w)
#endif
#define IS_LIVE (mword[READER] == M(inc, MEMBER_LIVE))
/* R4. One who pins before it entered can only be one who does not look. */
#if defined(MUT_NO_LIVE) || defined(MUT_LIVE_FIRST) || defined(MUT_ENTER_LATE)
#define STAYS true
#else
#define STAYS IS_LIVE
#endif
#ifdef MUT_LIVE_FIRST
#define BEGINS IS_LIVE
#else
#define BEGINS true
#endif

inline read_block()
{
	w = word;
	k = key;
	if
	:: d_step { STATE(w) == SEALED && BEGINS ->
			STORE_SLOT_(GEN(w)) };				/* R1 */
#ifndef MUT_NO_READER_FENCE
		slot = my;						/* R2 */
#endif
		if							/* R3 */
		:: HOLDS ->
			if						/* R4 */
			:: d_step { STAYS -> using = true };
				assert(!using || content == k);
				d_step {
					assert(!using || content == k);
					using = false;
					STORE_SLOT_(0)
				}
			:: !STAYS
			fi
		:: d_step { !HOLDS -> STORE_SLOT_(0) }
		fi
	:: STATE(w) != SEALED || !BEGINS
	fi;
	w = 0;
	k = 0
}

proctype reader()
{
	byte inc, w, k, joins = READER_JOINS, reads;
	bool in;

again:
	{
		claim(READER);
		reads = READS;
#ifdef MUT_ENTER_LATE
		do
		:: reads > 0 -> reads--; read_block()
		:: reads == 0 -> break
		od;
		enter(READER);
#else
#ifdef MUT_CLEAR_LATE
		enter(READER);
		d_step { STATE(word) == SEALED -> w = word; k = key;
			STORE_SLOT_(GEN(w)); slot = my };
		d_step { STORE_SLOT_(0) }; /* the last one's pins, it thinks */
		if
		:: d_step { word == w -> using = true };
			d_step { assert(content == k); using = false }
		:: word != w
		fi;
		w = 0;
#else
		d_step { STORE_SLOT_(0); slot = my };
		enter(READER);
#endif
		do
		:: in && reads > 0 -> reads--; read_block()
		:: reads == 0 || !in -> break
		od;
#endif
end:		false /* lives on until it dies */
	} unless {
		dead[READER]
	};
	d_step {
		slot = my;
		ended[READER] = true;
		using = false;
		w = 0;
		k = 0;
		in = false
	};
	if
	:: MSTATE(READER) != MEMBER_LIVE && MSTATE(READER) != MEMBER_JOINING &&
			joins > 0 ->
		dead[READER] = false;
		ended[READER] = false;
		goto again
	:: joins == 0
	fi
}

/* ---- the rest of the world ---------------------------------------------------------- */

#ifdef MUT_FENCE_LATE
#define PROVED(m) true
#else
#define PROVED(m) ended[m]
#endif

inline lie()
{
	d_step {
		lies > 0 && !dead[READER] && MSTATE(READER) == MEMBER_LIVE;
		lies--;
		MSTEP_(TOLD, READER);
		using = false
	}
}

inline judge(m)
{
	d_step {
		PROVED(m) && MEMBER_TO_EXITED(MSTATE(m)) != MEMBER_NOWHERE;
		MSTEP_(EXITED, m)
	}
}

/* Whoever is left owns the shard, and all of it is of use. */
#define OWNED_BY_LIVING                                                 \
	(owner != 0 && !dead[(owner >> 4) - 1] &&                       \
	 mword[(owner >> 4) - 1] == M(owner & 15, MEMBER_LIVE))
#define ANY_LIVING                                        \
	((MSTATE(0) == MEMBER_LIVE && !dead[0]) ||        \
	 (MSTATE(1) == MEMBER_LIVE && !dead[1]))
#define SETTLED (STATE(word) == FREE || STATE(word) == SEALED)

proctype env()
{
end:
	do
	:: d_step { pending[0] != 0 -> FLUSH_(0) }
	:: d_step { pending[1] != 0 -> FLUSH_(1) }
	:: d_step { slot != my -> slot = my }
	:: judge(0)
	:: judge(1)
	:: judge(READER)
	:: lie()
	:: d_step { deaths > 0 && !dead[0] -> deaths--; dead[0] = true }
	:: d_step { deaths > 0 && !dead[1] -> deaths--; dead[1] = true }
	:: d_step { deaths > 0 && !dead[READER] ->
			deaths--; dead[READER] = true }
	:: timeout ->
		assert(!ANY_LIVING || (OWNED_BY_LIVING && SETTLED));
		break
	od
}

init
{
	atomic {
		word = W(1, FREE);
		key = 1;
		mword[0] = M(1, MEMBER_FREE);
		mword[1] = M(1, MEMBER_FREE);
		mword[2] = M(1, MEMBER_FREE);
		run node(0);
		run node(1);
		run reader();
		run env()
	}
}
