/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client: HELLO, pins and grants, close, death, funeral; and a new
 * server that adopts those who live and knows all pins before it evicts. Two
 * clients one after the other may use the same record. The keeper is a process;
 * any of them dies between any two steps. Checked by tools/check-model;
 * docs/design/coherence.md tells what it covers.
 *
 * A record has room for one client at a time, an id is its incarnation. Each
 * client pins the one sealed block, or has a frame lent. Frames and pins under
 * weak memory are in frame.pml and pin.pml; here the fences are whole, so a pin
 * is one step: publish and validate.
 */
#include "tables.h"

#define NC 2	/* clients */
#ifndef NR
#define NR 2	/* records; 1: the second client needs the first one's */
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef KEEPER_DEATHS
#define KEEPER_DEATHS 0
#endif
#ifndef EVICTIONS
#define EVICTIONS 1
#endif
/* What the clients do, as bits: pin, be lent a frame, close. */
#ifndef DO0
#define DO0 7
#endif
#ifndef DO1
#define DO1 7
#endif

mtype = { HOLD, DROP };

/* Shared memory. */
byte id[NR];	      /* incarnation, 0: nobody */
byte incarnation[NR]; /* the last */
byte flags[NR];	      /* 0, or CLIENT_CLOSED, CLIENT_CLEAR */
byte state = SEALED;  /* of the block that is pinned */
byte lent = FREE;     /* of the frame that is lent */
byte lent_to;	      /* owner: incarnation << 1 | record */
bool slot[NC];	      /* the client's pin page */

/* Sockets: they live as long as the keeper has them. */
bool hello[NC];	      /* said, and not answered */
byte welcome[NC];     /* record + 1 */
byte my_id[NC];
bool want[NC];	      /* asks for a frame */
bool shut[NC], dead[NC];

/* The keeper. */
chan to_keeper = [0] of { mtype, byte, byte, byte };
byte held[NR];	   /* incarnation under whose id descriptors are held */
byte held_of[NR];  /* whose: client + 1 */
bool kill_server, server_down, start_server, keeper_dead;

byte server_crashes = SERVER_CRASHES, deaths = DEATHS;
byte keeper_deaths = KEEPER_DEATHS, evictions = EVICTIONS;

/* The server's own: the client behind a record that it serves, + 1. */
byte serves[NR];

/* Ghosts. */
bool uses[NC];	   /* between a validated pin and the unpin */
bool writes[NC];   /* told that it may write the frame */

#define STATE_OF(r) (id[r] == 0 -> CLIENT_NONE : \
	(flags[r] == 0 -> CLIENT_OPEN : flags[r]))
#define IDENT(r) (incarnation[r] << 1 | (r))
#define GOES(ev, r) assert(CLIENT_TO_##ev(STATE_OF(r)) == CLIENT_NONE)

/* ---- client ---------------------------------------------------------- */

inline be_welcomed()
{
	hello[c] = true;
	if
	:: d_step { welcome[c] != 0 -> r = welcome[c] - 1 }
	:: keeper_dead && server_down -> goto over
	fi
}

inline pin()
{
	if
	:: d_step { state == SEALED -> slot[c] = true; uses[c] = true };
		d_step {
			!dead[c];
			assert(state == SEALED || state == LEAVING);
			uses[c] = false;
			slot[c] = false
		}
	:: state != SEALED
	fi
}

inline borrow()
{
	want[c] = true;
	if
	:: d_step { writes[c] && !want[c] };
		d_step {
			!dead[c];
			assert(lent == GRANTED && lent_to == my_id[c]);
			writes[c] = false
		}
	:: keeper_dead && server_down -> goto over
	fi
}

#define MAY(bit) ((c == 0 -> DO0 : DO1) & (bit))

proctype client(byte c)
{
	byte r;

	{
		be_welcomed();
		if
		:: MAY(1) -> pin()
		:: MAY(2) -> borrow()
		:: MAY(4)
		fi;
		if
		:: MAY(4) -> shut[c] = true
		:: true
		fi;
over:
		r = 0;
end:
		false
	} unless {
		dead[c]
	}
}

/* ---- server ---------------------------------------------------------- */

#define NEW_FOR(c) (hello[c] && !dead[c] && welcome[c] == 0 && !KNOWN(c))
#define KNOWN(c) (serves[0] == (c) + 1 || serves[NR - 1] == (c) + 1)

/* hello_handle(): held, published, welcomed. */
inline admit(c)
{
	if
	:: id[0] == 0 && serves[0] == 0 -> k = 0
	:: !(id[0] == 0 && serves[0] == 0) && id[NR - 1] == 0 &&
	   serves[NR - 1] == 0 -> k = NR - 1
	:: else -> k = NR
	fi;
	if
	:: k < NR ->
		incarnation[k]++;
		d_step { serves[k] = c + 1; flags[k] = 0 };
#ifdef MUT_PUBLISH_FIRST
		id[k] = incarnation[k];
		to_keeper!HOLD, k, incarnation[k], c + 1;
#else
#ifdef MUT_WELCOME_FIRST
		d_step { hello[c] = false; my_id[c] = IDENT(k);
			welcome[c] = k + 1 };
#endif
		to_keeper!HOLD, k, incarnation[k], c + 1;
		d_step {
			assert(CLIENT_TO_PUBLISH(STATE_OF(k)) == CLIENT_OPEN);
			id[k] = incarnation[k]
		};
#endif
		if
		:: d_step { !dead[c] -> hello[c] = false; my_id[c] = IDENT(k);
				welcome[c] = k + 1 }
		:: dead[c]
		fi
	:: else
	fi;
	k = 0
}

/* It asked again because the answer was lost with a predecessor. */
#define ASKS_AGAIN(r) (serves[r] != 0 && hello[serves[r] - 1] && \
	!dead[serves[r] - 1] && welcome[serves[r] - 1] == 0)

inline welcome_again(r)
{
	d_step {
		k = serves[r] - 1;
		hello[k] = false;
		my_id[k] = IDENT(r);
		welcome[k] = r + 1;
		k = 0
	}
}

#define LENT_TO(r) (lent == GRANTED && lent_to == IDENT(r))

inline grant(r)
{
	if
	:: LENT_TO(r) /* asked again: the answer was lost */
	:: !LENT_TO(r) && lent == FREE ->
		d_step { lent_to = IDENT(r); lent = TO_GRANT(lent) }
	:: else -> skip
	fi;
	if
	:: d_step { LENT_TO(r) && !dead[serves[r] - 1] ->
			assert(!writes[0] && !writes[1]); /* no two owners */
			want[serves[r] - 1] = false;
			writes[serves[r] - 1] = true }
	:: else
	fi
}

/* hand_in(): what was lent comes back; the pins went with its page. */
inline hand_in(r)
{
#ifndef MUT_NOT_HANDED_IN
	if
	:: d_step { LENT_TO(r) -> lent = TO_OWNER_DIED(lent);
			assert(!writes[0] || my_id[0] != lent_to);
			assert(!writes[1] || my_id[1] != lent_to) }
	:: else
	fi
#else
	skip
#endif
}

/* record_end(), then the descriptors; the id goes last of what is shared. */
inline record_end(r)
{
#ifdef MUT_DROP_FIRST
	to_keeper!DROP, r, incarnation[r], 0;
#endif
	id[r] = 0;
#ifndef MUT_DROP_FIRST
	to_keeper!DROP, r, incarnation[r], 0;
#endif
	d_step { serves[r] = 0; flags[r] = 0 }
}

inline bury(r)
{
#ifdef MUT_ID_FIRST
	id[r] = 0;
#endif
	hand_in(r);
	record_end(r)
}

#define HAS_DIED(r) (serves[r] != 0 && dead[serves[r] - 1])
#define HAS_SHUT(r) (serves[r] != 0 && shut[serves[r] - 1] && \
	!dead[serves[r] - 1] && STATE_OF(r) == CLIENT_OPEN)

/* A dead predecessor's client whose page cannot be read yet may pin anything. */
#ifdef MUT_PINS_KNOWN
#define UNKNOWN(r) false
#else
#define UNKNOWN(r) (id[r] != 0 && serves[r] == 0)
#endif
#define PINS(r) (serves[r] != 0 && slot[serves[r] - 1] && id[r] != 0 && \
	flags[r] == 0)

inline evict()
{
	state = TO_LEAVE(state);
	if
	:: UNKNOWN(0) || UNKNOWN(NR - 1) || PINS(0) || PINS(NR - 1) ->
		state = TO_SPARE(state)
	:: else ->
		d_step {
			assert(!uses[0] && !uses[1]);
			state = TO_RELEASE(state)
		}
	fi
}

/* adopt_client(): all that it needs is held, or it is forgotten. */
inline adopt(r)
{
	if
	:: id[r] != 0 && held[r] == id[r] -> serves[r] = held_of[r]
	:: id[r] != 0 && held[r] != id[r] ->
		/* hold first, publish second: nobody who lives is lost */
		assert(false)
	:: id[r] == 0 && held[r] != 0 ->
		/* half made, or half gone: nobody was told of it */
		d_step { assert(held_of[r] == 0 || dead[held_of[r] - 1] ||
			shut[held_of[r] - 1] ||
			welcome[held_of[r] - 1] == 0) };
#ifndef MUT_LEFTOVERS_KEPT
		to_keeper!DROP, r, held[r], 0
#endif
	:: else
	fi
}

inline recover()
{
	d_step {
		state = TO_RECOVER(state);
		lent = TO_RECOVER(lent);
		assert(state != LEAVING)
	};
	adopt(0);
#if NR > 1
	/* its pins are looked at before anything is evicted, in whatever
	 * order the records are adopted */
	if
	:: d_step { evictions > 0 && state == SEALED -> evictions-- }; evict()
	:: true
	fi;
	adopt(NR - 1)
#endif
}

proctype server()
{
	byte k;

again:
	{
		recover();
endserve:
		do
		:: NEW_FOR(0) && (id[0] == 0 || id[NR - 1] == 0) -> admit(0)
		:: NEW_FOR(1) && (id[0] == 0 || id[NR - 1] == 0) -> admit(1)
		:: ASKS_AGAIN(0) -> welcome_again(0)
		:: serves[0] != 0 && want[serves[0] - 1] && lent == FREE ||
		   serves[0] != 0 && want[serves[0] - 1] && LENT_TO(0) -> grant(0)
		:: d_step { HAS_DIED(0); GOES(DIED, 0) }; bury(0)
		:: d_step { HAS_SHUT(0); GOES(LEAVE, 0) }; bury(0)
#if NR > 1
		:: ASKS_AGAIN(1) -> welcome_again(1)
		:: serves[1] != 0 && want[serves[1] - 1] && lent == FREE ||
		   serves[1] != 0 && want[serves[1] - 1] && LENT_TO(1) -> grant(1)
		:: d_step { HAS_DIED(1); GOES(DIED, 1) }; bury(1)
		:: d_step { HAS_SHUT(1); GOES(LEAVE, 1) }; bury(1)
#endif
		:: d_step { evictions > 0 && state == SEALED -> evictions-- };
			evict()
		od
	} unless {
		kill_server || keeper_dead
	};
	d_step { kill_server = false; server_down = true; k = 0;
		serves[0] = 0; serves[NR - 1] = 0 };
	if
	:: d_step { start_server -> start_server = false; server_down = false };
		goto again
	:: keeper_dead
	fi
}

/* ---- the keeper, and deaths ------------------------------------------- */

byte h_rec, h_id, h_of;

proctype keeper()
{
	{
end:
		do
		:: atomic { to_keeper?HOLD, h_rec, h_id, h_of ->
			d_step { held[h_rec] = h_id; held_of[h_rec] = h_of;
				h_rec = 0; h_id = 0; h_of = 0 } }
		:: atomic { to_keeper?DROP, h_rec, h_id, _ ->
			d_step {
				if
				:: held[h_rec] == h_id -> held[h_rec] = 0;
					held_of[h_rec] = 0
				:: else
				fi;
				h_rec = 0; h_id = 0 } }
		:: d_step { server_down && !start_server ->
				start_server = true }
		od
	} unless {
		keeper_dead
	}
}

inline client_dies(i)
{
	d_step {
		deaths > 0 && !dead[i];
		deaths--;
		dead[i] = true;
		uses[i] = false;
		writes[i] = false;
		want[i] = false;
		hello[i] = false
	}
}

proctype env()
{
end:
	do
	:: d_step { server_crashes > 0 && !server_down && !kill_server ->
			server_crashes--; kill_server = true }
	:: client_dies(0)
	:: client_dies(1)
	:: d_step { keeper_deaths > 0 -> keeper_deaths--; keeper_dead = true }
	od
}

/* Is everybody who is gone forgotten, and everybody who is here known? */
#define BURIED(r) (serves[r] == 0 || !dead[serves[r] - 1])
#define HEARD(c) (dead[c] || !hello[c] || (NR == 1 && id[0] != 0))
#define SERVED(c) (dead[c] || !want[c] || lent == GRANTED)

proctype watch()
{
	timeout;
	assert(keeper_dead || (BURIED(0) && BURIED(NR - 1)));
	assert(keeper_dead || (HEARD(0) && HEARD(1)));
	assert(keeper_dead || (SERVED(0) && SERVED(1)));
	/* what is lent is lent to somebody */
	assert(keeper_dead || lent != GRANTED || (id[lent_to & 1] != 0 &&
		IDENT(lent_to & 1) == lent_to));
	/* held and named are the same */
	assert(keeper_dead || (held[0] == id[0] && held[NR - 1] == id[NR - 1]));
	assert(keeper_dead || state == SEALED || state == FREE)
}

init
{
	atomic {
		run keeper();
		run server();
		run client(0);
		run client(1);
		run env();
		run watch()
	}
}
