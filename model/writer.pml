/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member of a CXL region that is a keeper and its server (src/region/resume.c):
 * who would prove it dead, and the next server that goes on as the same member.
 * Nobody writes the shard who is not the member, and the member's next server
 * always can go on while nothing else has happened. docs/design/region.md.
 *
 * Each step is one store or load that all see at once: W2's fence stands between
 * W1 and W3, and P1 to P3 are ordered by acquire.
 */
mtype = { LIVE, EXITED, NEXT };

#define S1    1
#define S2    2
#define OTHER 3

mtype word = LIVE;
byte writer = S1;
bool keeper = true;		    /* it lives */
bool alive[3] = { false, true, false }; /* the servers */
bool works[3] = { false, true, false }; /* they write the shard */
bool refused;

/* It dies at some time: the kernel ends its stores before its end is seen. */
active proctype first()
{
	works[S1] = false;
	alive[S1] = false
}

inline swap_writer()
{
#ifdef MUT_NO_SWAP
	writer = S2; /* W1 */
	won = true
#else
	d_step {
		won = writer == S1;
		if
		:: won -> writer = S2
		:: else
		fi
	}
#endif
}

inline look_at_keeper()
{
#ifdef MUT_NO_KEEPER
	sees = true
#else
	sees = keeper /* W3 */
#endif
}

proctype second()
{
	bool won, sees;

#ifdef MUT_KEEPER_FIRST
	look_at_keeper();
	swap_writer();
#else
	swap_writer();
	if
	:: !won -> goto out
	:: else
	fi;
	look_at_keeper();
#endif
	if
	:: !won || !sees -> goto out
	:: else
	fi;
	if
	:: word == LIVE /* W4 */
	:: else -> goto out
	fi;
	works[S2] = true;
	assert(word == LIVE);
	works[S2] = false;
out:
	refused = true;
	alive[S2] = false
}

/* It waits for a server's end before it starts the next, and dies at any time. */
active proctype keeps()
{
	if
	:: !alive[S1] -> /* reaped */
		atomic {
			alive[S2] = true;
			run second()
		}
	:: true
	fi;
	keeper = false
}

inline look_at_writer()
{
	w = writer; /* P2 */
	ended = w == OTHER || !alive[w]
}

/* Another member of the same host, and who claims the slot then. */
active proctype prover()
{
	byte w;
	bool ended;

#ifdef MUT_WRITER_FIRST
	look_at_writer();
	!keeper; /* P1 */
#else
#ifndef MUT_WRITER_ALONE
	!keeper;
#endif
	look_at_writer();
#endif
	if
	:: !ended
	:: else ->
		word = EXITED; /* P3 */
		assert(!works[S1] && !works[S2]);
		writer = OTHER;
		word = NEXT;
		assert(writer == OTHER)
	fi
}

/* While the keeper lives, a server that was started goes on. */
active proctype watcher()
{
end:	d_step {
		alive[S2] && keeper && writer == S2;
		assert(word == LIVE)
	}
}
