/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeper and server: one server at a time, nothing that was sent is lost, and in
 * the end there is a server or no node. Servers die, hang, come back to life
 * after they were given up, and fail to take over; the keeper dies. Checked by
 * tools/check-model, liveness under weak fairness too; docs/design/keeper.md and
 * coherence.md tell the rest.
 *
 * The two server processes take turns. One record of the metadata names one
 * descriptor; two descriptors are enough to tell it from its replacement.
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef HANGS
#define HANGS 1
#endif
#ifndef FAILS
#define FAILS 1 /* starts that end before READY */
#endif
#ifndef KEEPER_DEATHS
#define KEEPER_DEATHS 1
#endif
#ifndef STEPS
#define STEPS 3 /* times that the record changes */
#endif

mtype = { HOLD, DROP, READY };

/* Shared memory: the descriptor that the record names, 0: none. */
byte named;

/* The keeper's: descriptors 1 and 2. */
bool held[3];
byte turn; /* the server in hand: 0, 1; 2: none */
bool keeper_dead, ready;

/* Processes and their sockets. */
bool started[2], ended[2], stuck[2];
bool killed[2]; /* SIGKILL is on its way */
bool given[2];	/* GIVEN was sent, with what was held then */
bool gave1[2], gave2[2];
chan pair0 = [2] of { mtype, byte };
chan pair1 = [2] of { mtype, byte };

byte crashes = CRASHES, hangs = HANGS, fails = FAILS, steps = STEPS;
byte keeper_deaths = KEEPER_DEATHS;

#ifdef LIVE
bool idle;
#endif

/* Ghost: stores to the metadata. */
bool works[2];

#define GAVE(d) ((d) == 1 -> gave1[i] : gave2[i])
#define ALONE assert(!works[1 - i])

inline say(m, d)
{
	if
	:: i == 0 -> pair0!m, d
	:: i == 1 -> pair1!m, d
	fi
}

/* What the record names is there; the rest is dropped. */
inline take_over()
{
	d_step { works[i] = true; ALONE };
	assert(named == 0 || GAVE(named));
	if
	:: gave1[i] && named != 1 -> say(DROP, 1)
	:: else
	fi;
	if
	:: gave2[i] && named != 2 -> say(DROP, 2)
	:: else
	fi
}

/* Hold first, publish second; unpublish first, drop second. */
inline change()
{
	if
	:: named == 0 -> d = 1
	:: named != 0 -> d = 3 - named
	fi;
#ifdef MUT_PUBLISH_FIRST
	old = named;
	named = d;
	say(HOLD, d);
#else
	say(HOLD, d);
	d_step { ALONE; old = named; named = d };
#endif
	if
	:: old != 0 -> say(DROP, old)
	:: else
	fi;
	d = 0;
	old = 0
}

proctype server(byte i)
{
	byte d, old;

endidle:
	started[i] && given[i];
	{
		if
		:: fails > 0 -> fails--;
			/* it cannot take over, and drops nothing */
#ifdef MUT_FAILURE_DROPS
			say(DROP, 1);
#endif
			goto gone
		:: true
		fi;
		take_over();
		say(READY, 0);
endserve:
		do
		:: d_step { steps > 0 && !stuck[i] -> steps-- }; change()
		od
	} unless {
		killed[i] || (keeper_dead && started[i])
	};
gone:
	skip;
	d_step {
		started[i] = false;
		works[i] = false;
		killed[i] = false;
		stuck[i] = false;
		given[i] = false;
		ended[i] = true
	};
	if
	:: !keeper_dead || started[i] -> d = 0; old = 0; goto endidle
	:: keeper_dead && !started[i]
	fi
}

/* ---- the keeper --------------------------------------------------------- */

inline hear(ch)
{
	if
	:: ch?HOLD(x) -> held[x] = true
	:: ch?DROP(x) -> held[x] = false
	:: ch?READY(_) -> ready = true
	fi;
	x = 0
}

inline start(n)
{
	d_step {
		turn = n;
		ready = false;
		ended[n] = false;
		started[n] = true;
		gave1[n] = held[1];
		gave2[n] = held[2];
		given[n] = true
	}
}

/* waitpid(): it has ended, and what it still said counts. */
#ifdef MUT_REST_UNREAD
#define IS_READ(ch) true
#else
#define IS_READ(ch) empty(ch)
#endif

inline restart(n, ch)
{
	d_step { ready = false; turn = 2 };
#ifdef MUT_REST_UNREAD
	do
	:: ch?_, _
	:: empty(ch) -> break
	od;
#endif
	start(1 - n)
}

#ifdef MUT_NOT_AWAITED
#define HAS_ENDED(n) (ended[n] || stuck[n])
#else
#define HAS_ENDED(n) ended[n]
#endif

proctype keeper()
{
	byte x;

	{
		start(0);
end:
		do
		:: atomic { nempty(pair0) -> hear(pair0) }
		:: atomic { nempty(pair1) -> hear(pair1) }
#ifndef MUT_HANG_IGNORED
		/* silent for too long: the end of it is awaited as any other */
		:: d_step { turn == 0 && stuck[0] && !killed[0] ->
				killed[0] = true }
		:: d_step { turn == 1 && stuck[1] && !killed[1] ->
				killed[1] = true }
#endif
		:: turn == 0 && HAS_ENDED(0) && IS_READ(pair0) ->
			restart(0, pair0)
		:: turn == 1 && HAS_ENDED(1) && IS_READ(pair1) ->
			restart(1, pair1)
		od
	} unless {
		keeper_dead
	}
}

proctype env()
{
end:
	do
	:: d_step { crashes > 0 && started[0] && !killed[0] ->
			crashes--; killed[0] = true }
	:: d_step { crashes > 0 && started[1] && !killed[1] ->
			crashes--; killed[1] = true }
	:: d_step { hangs > 0 && works[0] && ready -> hangs--; stuck[0] = true }
	:: d_step { hangs > 0 && works[1] && ready -> hangs--; stuck[1] = true }
#ifndef LIVE
	/* a server that hung goes on */
	:: d_step { stuck[0] -> stuck[0] = false }
	:: d_step { stuck[1] -> stuck[1] = false }
#else
	:: idle = !idle /* nothing has to happen */
#endif
	:: d_step { keeper_deaths > 0 -> keeper_deaths--; keeper_dead = true }
	od
}

#define OVER (!started[0] && !started[1])

proctype watch()
{
	timeout;
	assert(keeper_dead -> OVER : ready);
	assert(keeper_dead || (held[1] == (named == 1) &&
			       held[2] == (named == 2)))
}

init
{
	atomic {
		turn = 2;
		run server(0);
		run server(1);
		run keeper();
		run env();
#ifndef LIVE
		run watch()
#endif
	}
}

#ifdef LIVE
/* Deaths and hangs end; then there is a server for good, or no node. */
#define SETTLED (ready && !stuck[0] && !stuck[1])
ltl goes_on { <>[] (SETTLED || (keeper_dead && OVER)) }
#endif
