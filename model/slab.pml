/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a slab: two clients that map it, the server, the keeper that
 * holds its memory, and the death of any of them between any two steps. Checked
 * by tools/check-model; docs/design/coherence.md tells what it covers.
 *
 * Frames do not occur: a slab that is taken is empty. Memory is a small number;
 * a client has it mapped, or its descriptor in an answer that it has not taken.
 * Records are stored in the server's program order: their stores are releases,
 * and clients load them with acquire, so a client sees a prefix of them.
 *
 * What is sent to the keeper is held: how the keeper reads on after the server's
 * death is in keeper.pml.
 */
#include "tables.h"

#define NC 2
#ifndef NS
#define NS 2 /* ids */
#endif
#define NM 2 /* memories that the limit allows */
#define NH 3 /* descriptors that the keeper has room for */
#ifndef ACTS
#define ACTS 3 /* slabs added, moved, retired */
#endif
/* Slabs that each client asks for; which clients may close (bits). */
#ifndef ASKS0
#define ASKS0 1
#endif
#ifndef ASKS1
#define ASKS1 1
#endif
#ifndef CLOSES
#define CLOSES 0
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 1 /* of clients: at most 1 */
#endif
#ifndef KEEPER_DEATHS
#define KEEPER_DEATHS 0
#endif
#ifndef SAME_USER
#define SAME_USER 1
#endif

#define SW(g, s) ((g) << 2 | (s))
#define SGEN(w) ((w) >> 2)
#define SSTATE(w) ((w) & 3)
#define TAG(i, g) ((g) << 2 | ((i) + 1))
#define BIT(c) (1 << (c))

mtype = { HOLD, DROP };

/* Shared memory: outlives every process. */
byte word[NS];
byte owner[NS];	 /* client + 1, 0: its owner has ended */
byte writer[NS]; /* whose user could write the memory last */
byte given[NS];
byte retired[NS]; /* retire_epoch */
byte epoch = 1;	  /* region_epoch */
byte cstate[NC];
byte letgo[NC];

/* What a client has: answers of the server, mappings. */
byte ask[NC], asked_gen[NC]; /* slab + 1 */
byte ans[NC];		     /* 1 yes, 2 no */
byte ans_mem[NC];	     /* memory + 1: a descriptor under way */
bool ans_write[NC];
byte map[NC * NS], map_word[NC * NS];
bool can_write[NC * NS];
bool shut[NC], dead[NC];

/* The keeper. */
chan to_keeper = [0] of { mtype, byte, byte };
byte held_tag[NH], held_mem[NH];
bool kill_server, server_down, start_server, keeper_dead;

/* The server's own. */
byte mem[NS]; /* memory + 1 behind an id */
bool used[NM];

byte acts = ACTS, server_crashes = SERVER_CRASHES, deaths = DEATHS;
byte keeper_deaths = KEEPER_DEATHS;

/* Ghosts. */
byte true_mem[NS]; /* memory + 1 that the record was published with */
byte moving;	   /* memory + 1 that is between two ids */

#define USER(c) (SAME_USER -> 0 : (c))
#define AT(c, i) ((c) * NS + (i))
/* Has a living client this memory, or its descriptor? */
#define HAS(c, m) (!dead[c] && (map[AT(c, 0)] == (m) || \
	map[AT(c, NS - 1)] == (m) || ans_mem[c] == (m)))
#define WRITES(c, m) (!dead[c] && ( \
	(map[AT(c, 0)] == (m) && can_write[AT(c, 0)]) || \
	(map[AT(c, NS - 1)] == (m) && can_write[AT(c, NS - 1)]) || \
	(ans_mem[c] == (m) && ans_write[c])))
#define NAMED(m) ((SSTATE(word[0]) != SLAB_NONE && true_mem[0] == (m)) || \
	(SSTATE(word[NS - 1]) != SLAB_NONE && true_mem[NS - 1] == (m)))

/* One transition of the C table; for use in a d_step. */
#define SLAB_STEP_(ev, i)                                              \
	assert(SLAB_TO_##ev(SSTATE(word[i])) != SLAB_NOWHERE);          \
	word[i] = SW(SGEN(word[i]) + SLAB_BUMP_##ev(SSTATE(word[i])), \
		     SLAB_TO_##ev(SSTATE(word[i])))
#define CLIENT_STEP_(ev, c)                                       \
	assert(CLIENT_TO_##ev(cstate[c]) != CLIENT_NOWHERE);       \
	cstate[c] = CLIENT_TO_##ev(cstate[c])

#define GOES(ev, c) assert(CLIENT_TO_##ev(cstate[c]) == CLIENT_NONE)

/* ---- client ---------------------------------------------------------- */

inline unmap(i)
{
	d_step {
		map[AT(c, i)] = 0;
		map_word[AT(c, i)] = 0;
		can_write[AT(c, i)] = false
	}
}

/* The epoch is read before the records. */
inline follow()
{
	e = epoch;
#ifdef MUT_LET_GO_FIRST
	letgo[c] = e;
#endif
	if
	:: map_word[AT(c, 0)] != 0 && map_word[AT(c, 0)] != word[0] -> unmap(0)
	:: else
	fi;
	if
	:: map_word[AT(c, NS - 1)] != 0 &&
	   map_word[AT(c, NS - 1)] != word[NS - 1] -> unmap(NS - 1)
	:: else
	fi;
	d_step { letgo[c] = e; e = 0 }
}

/* need_locked() of client/region.c. */
inline need(i)
{
	w = word[i];
	if
	:: map_word[AT(c, i)] != 0 && map_word[AT(c, i)] != w -> unmap(i)
	:: else
	fi;
	if
	:: d_step { SSTATE(w) == SLAB_LIVE && map_word[AT(c, i)] == 0 ->
			asked_gen[c] = SGEN(w); ask[c] = i + 1 };
		if
		:: d_step {
			ans[c] == 1;
			/* read again: it may have gone while we asked */
			if
			:: word[i] == w ->
				map[AT(c, i)] = ans_mem[c];
				can_write[AT(c, i)] = ans_write[c];
				map_word[AT(c, i)] = w
			:: else
			fi;
			ans_mem[c] = 0;
			ans_write[c] = false;
			ans[c] = 0
			}
		:: d_step { ans[c] == 2 -> ans[c] = 0 }
		:: d_step { keeper_dead && server_down -> ask[c] = 0 }
		fi
	:: else
	fi;
	w = 0
}

/* A frame in a slab is met: what is mapped is what the record means. */
inline use(i)
{
	d_step {
		!shut[c] && map_word[AT(c, i)] != 0 &&
		map_word[AT(c, i)] == word[i] &&
		SSTATE(word[i]) == SLAB_LIVE;
		assert(map[AT(c, i)] == true_mem[i]);
		assert(!can_write[AT(c, i)] || owner[i] == c + 1)
	}
}

inline close()
{
	d_step {
		map[AT(c, 0)] = 0; map[AT(c, NS - 1)] = 0;
		map_word[AT(c, 0)] = 0; map_word[AT(c, NS - 1)] = 0;
		can_write[AT(c, 0)] = false; can_write[AT(c, NS - 1)] = false
	};
	letgo[c] = 255;
	shut[c] = true
}

proctype client(byte c)
{
	byte e, w, asks = (c == 0 -> ASKS0 : ASKS1);

	{
end:
		do
		:: d_step { epoch != letgo[c] && !shut[c]; e = 0 }; follow()
		:: d_step { asks > 0 && !shut[c] -> asks-- };
			if
			:: need(0)
			:: need(NS - 1)
			fi
		:: use(0)
		:: use(NS - 1)
		:: d_step { CLOSES & BIT(c) && asks == 0 && !shut[c]; e = 0 };
			close()
		od
	} unless {
		dead[c]
	}
}

/* ---- server ---------------------------------------------------------- */

/* Nobody but c writes the memory that a record gives to c now. */
#define ALONE(c, m) (!WRITES(1 - (c), m))

#define IS_FREE(i) (SSTATE(word[i]) == SLAB_NONE && mem[i] == 0)

inline hold(i, m)
{
	to_keeper!HOLD, TAG(i, SGEN(word[i]) + 1), m
}

/* record_store(): all of it before the word. */
inline publish(i, m, c, carried)
{
	d_step {
		owner[i] = c + 1;
		writer[i] = USER(c);
		retired[i] = 0;
		given[i] = carried
	};
	d_step {
		true_mem[i] = m;
#ifdef MUT_SLAB_NO_BUMP
		word[i] = SW(1, SLAB_LIVE);
#else
		SLAB_STEP_(ADD, i);
#endif
		mem[i] = m;
		moving = 0;
		assert(i == 0 || SSTATE(word[0]) == SLAB_NONE ||
		       true_mem[0] != m);
		assert(i != 0 || SSTATE(word[NS - 1]) == SLAB_NONE ||
		       NS == 1 || true_mem[NS - 1] != m);
		assert(dead[c] || ALONE(c, m))
	};
	epoch++
}

inline add(i, m, c)
{
#ifdef MUT_PUBLISH_FIRST
	d_step { g = SGEN(word[i]) + 1 };
	publish(i, m, c, 0);
	to_keeper!HOLD, TAG(i, g), m;
	g = 0
#else
	hold(i, m);
	publish(i, m, c, 0)
#endif
}

/* slab_end(): the record first, the descriptors second. */
#define SLAB_END_(ev, i)            \
	g = TAG(i, SGEN(word[i])); \
	SLAB_STEP_(ev, i);          \
	mem[i] = 0

/* pool_slab_reshape(): i becomes j. */
inline move(i, j, c)
{
	d_step { m = mem[i]; k = given[i] };
	hold(j, m);
#ifdef MUT_NO_GIVEN_CARRIED
	k = 0;
#endif
	d_step { moving = m; SLAB_END_(MOVE, i) };
	epoch++;
	to_keeper!DROP, g, 0;
	publish(j, m, c, k);
	d_step { m = 0; g = 0; k = 0 }
}

inline retire(i)
{
	retired[i] = epoch + 1;
#ifdef MUT_EPOCH_FIRST
	epoch++;
	d_step { SLAB_STEP_(RETIRE, i) }
#else
	d_step { SLAB_STEP_(RETIRE, i) };
	epoch++
#endif
}

#define WHOSE(i, c) (owner[i] == (c) + 1 -> SLAB_OWN : \
	(owner[i] == 0 -> SLAB_ORPHAN : SLAB_ANOTHERS))
#ifdef MUT_MOVE_ANOTHERS
#define MOVES(i, c) true
#else
#define MOVES(i, c) SLAB_MOVES(WHOSE(i, c), (writer[i] == USER(c) -> 1 : 0))
#endif

inline take(i, j, c)
{
	if
	:: MOVES(i, c) && IS_FREE(j) -> move(i, j, c)
	:: !MOVES(i, c) -> retire(i)
	:: MOVES(i, c) && !IS_FREE(j) -> skip
	fi
}

#define GIVEN(i, c) (given[i] & BIT(c) -> 1 : 0)
#define SEEN(i, c) (letgo[c] >= retired[i] -> 1 : 0)
#define HAS_LET_GO(i, c) LET_GO(cstate[c], GIVEN(i, c), SEEN(i, c))
#define ALL_LET_GO(i) (HAS_LET_GO(i, 0) && HAS_LET_GO(i, 1))

inline finish(i)
{
	d_step {
		m = mem[i];
		/* memory that goes back is nobody's: the limit holds */
		assert(!HAS(0, m) && !HAS(1, m));
#ifdef MUT_DROP_FIRST
		g = TAG(i, SGEN(word[i]))
#else
		SLAB_END_(FINISH, i)
#endif
	};
#ifdef MUT_DROP_FIRST
	to_keeper!DROP, g, 0;
	d_step { SLAB_STEP_(FINISH, i); mem[i] = 0 };
	epoch++;
#else
	epoch++;
	to_keeper!DROP, g, 0;
#endif
	d_step { used[m - 1] = false; m = 0; g = 0 }
}

/* A question about a slab: noted before the answer leaves. */
inline region(c)
{
	k = ask[c] - 1;
	if
	:: SSTATE(word[k]) == SLAB_LIVE && SGEN(word[k]) == asked_gen[c] ->
#ifndef MUT_GIVEN_LATE
		given[k] = given[k] | BIT(c);
#endif
		d_step {
			if
			:: !dead[c] ->
				ans_mem[c] = mem[k];
				ans_write[c] = owner[k] == c + 1;
				ask[c] = 0;
				ans[c] = 1
			:: else -> ask[c] = 0
			fi
		};
#ifdef MUT_GIVEN_LATE
		given[k] = given[k] | BIT(c);
#endif
		skip
	:: else -> d_step { ask[c] = 0; ans[c] = (dead[c] -> 0 : 2) }
	fi;
	k = 0
}

#define OWNS(c) ((SSTATE(word[0]) != SLAB_NONE && owner[0] == (c) + 1) || \
	(SSTATE(word[NS - 1]) != SLAB_NONE && owner[NS - 1] == (c) + 1))

inline orphan(i, c)
{
	if
	:: d_step { SSTATE(word[i]) != SLAB_NONE && owner[i] == c + 1 ->
			SLAB_STEP_(ORPHAN, i); owner[i] = 0 }
	:: else
	fi
}

/* record_end() of store/clients.c. */
inline gone(c)
{
	given[0] = given[0] & ~BIT(c);
	given[NS - 1] = given[NS - 1] & ~BIT(c);
	d_step { cstate[c] = CLIENT_NONE; ask[c] = 0 };
#ifndef MUT_NO_ORPHANS
	orphan(0, c);
	orphan(NS - 1, c)
#endif
}

inline closes(c)
{
	if
	:: d_step { OWNS(c) && letgo[c] == 255 -> CLIENT_STEP_(UNMAPPED, c) }
	:: d_step { OWNS(c) && letgo[c] != 255 -> CLIENT_STEP_(CLOSE, c) }
	:: d_step { !OWNS(c); GOES(LEAVE, c) }; gone(c)
	fi
}

#define IS_SHUT(c) (cstate[c] == CLIENT_CLOSED || cstate[c] == CLIENT_CLEAR)

inline look_after(c)
{
	if
	:: d_step { dead[c] && cstate[c] != CLIENT_NONE; GOES(DIED, c) };
		gone(c)
	/* a dead client's socket may be seen before its process's end */
	:: (dead[c] || shut[c]) && cstate[c] == CLIENT_OPEN -> closes(c)
	:: d_step { !dead[c] && IS_SHUT(c) && !OWNS(c); GOES(EMPTY, c) };
		gone(c)
	:: ask[c] != 0 && cstate[c] == CLIENT_OPEN -> region(c)
	fi
}

/* What the keeper gave: the memory behind a tag. */
#define FOUND(t) (held_tag[0] == (t) -> held_mem[0] : \
	(held_tag[1] == (t) -> held_mem[1] : \
	(held_tag[2] == (t) -> held_mem[2] : 0)))

inline recover_slab(i)
{
	d_step {
		mem[i] = 0;
		assert(SLAB_TO_RECOVER(SSTATE(word[i])) == SSTATE(word[i]));
		if
		:: SSTATE(word[i]) != SLAB_NONE ->
			mem[i] = FOUND(TAG(i, SGEN(word[i])));
			/* what a record names is held, and is what it was */
			assert(mem[i] == true_mem[i])
		:: else
		fi
	}
}

#define IS_TAKEN(t) ((t) == 0 || \
	(mem[0] != 0 && (t) == TAG(0, SGEN(word[0]))) || \
	(mem[NS - 1] != 0 && (t) == TAG(NS - 1, SGEN(word[NS - 1]))))

inline drop_leftovers()
{
#ifndef MUT_TAGS_KEPT
	d_step { k = held_tag[0]; m = held_tag[1]; g = held_tag[2] };
	if
	:: !IS_TAKEN(k) -> to_keeper!DROP, k, 0
	:: else
	fi;
	if
	:: !IS_TAKEN(m) -> to_keeper!DROP, m, 0
	:: else
	fi;
	if
	:: !IS_TAKEN(g) -> to_keeper!DROP, g, 0
	:: else
	fi;
#endif
	d_step { k = 0; m = 0; g = 0 }
}

#define RETIRES(i) (SSTATE(word[i]) == SLAB_RETIRING)

/* A slab that was between two ids when the server died is lost: dropped, not
 * counted, and other memory than what comes in its place. Who has it mapped
 * follows the old id's record. */
#define LOST 9
#define LOSE_(x)               \
	if                     \
	:: x == moving -> x = LOST \
	:: else                \
	fi

inline recount(n)
{
	used[n] = NAMED(n + 1);
	assert(used[n] || (!HAS(0, n + 1) && !HAS(1, n + 1)))
}

inline recover()
{
	recover_slab(0);
#if NS > 1
	recover_slab(NS - 1);
#endif
	drop_leftovers();
	d_step {
		if
		:: moving != 0 ->
			LOSE_(map[0]); LOSE_(map[NS - 1]);
			LOSE_(map[NS]); LOSE_(map[NC * NS - 1]);
			LOSE_(ans_mem[0]); LOSE_(ans_mem[1]);
			moving = 0
		:: else
		fi;
		recount(0);
		recount(1)
	};
	/* owners that ended while no server was there */
	if
	:: dead[0] -> orphan(0, 0); orphan(NS - 1, 0)
	:: dead[1] -> orphan(0, 1); orphan(NS - 1, 1)
	:: else
	fi;
#ifndef MUT_NOT_ANNOUNCED_AGAIN
	if
	:: RETIRES(0) || RETIRES(NS - 1) -> epoch++
	:: else
	fi;
#endif
	skip
}

#define NOTHING_WITH(c) (cstate[c] != CLIENT_NONE || !OWNS(c))
/* A tag that is held belongs to a record: nothing leaks in the keeper. */
#define IS_NAMED(t) ((t) == 0 || \
	(SSTATE(word[0]) != SLAB_NONE && (t) == TAG(0, SGEN(word[0]))) || \
	(SSTATE(word[NS - 1]) != SLAB_NONE && \
	 (t) == TAG(NS - 1, SGEN(word[NS - 1]))))
#define CALM(c) (ask[c] == 0 && (dead[c] -> cstate[c] == CLIENT_NONE : \
	!(shut[c] && cstate[c] == CLIENT_OPEN) && \
	!(IS_SHUT(c) && !OWNS(c))))

proctype server()
{
	byte g, k, m;

again:
	{
		recover();
endserve:
		do
		:: d_step { acts > 0 && IS_FREE(0) && !used[0] &&
				cstate[0] == CLIENT_OPEN ->
				acts--; used[0] = true };
			add(0, 1, 0)
#if NS > 1
		:: d_step { acts > 0 && IS_FREE(1) && !IS_FREE(0) && !used[1] &&
				cstate[1] == CLIENT_OPEN ->
				acts--; used[1] = true };
			add(1, 2, 1)
#endif
		:: d_step { acts > 0 && SSTATE(word[0]) == SLAB_LIVE ->
				acts-- };
			if
			:: cstate[0] == CLIENT_OPEN -> take(0, NS - 1, 0)
			:: cstate[1] == CLIENT_OPEN -> take(0, NS - 1, 1)
			:: else -> retire(0)
			fi
#if NS > 1
		:: d_step { acts > 0 && SSTATE(word[1]) == SLAB_LIVE ->
				acts-- };
			if
			:: cstate[0] == CLIENT_OPEN -> take(1, 0, 0)
			:: cstate[1] == CLIENT_OPEN -> take(1, 0, 1)
			:: else -> retire(1)
			fi
#endif
		:: RETIRES(0) && ALL_LET_GO(0) -> finish(0)
#if NS > 1
		:: RETIRES(NS - 1) && ALL_LET_GO(NS - 1) -> finish(NS - 1)
#endif
		:: !CALM(0) -> look_after(0)
		:: !CALM(1) -> look_after(1)
		od
	} unless {
		kill_server || keeper_dead
	};
	d_step { kill_server = false; server_down = true; g = 0; k = 0; m = 0 };
	if
	:: d_step { start_server -> start_server = false; server_down = false };
		goto again
	:: keeper_dead
	fi
}

/* ---- the keeper, and deaths ------------------------------------------- */

byte h_tag, h_mem; /* the message in hand */

inline keep()
{
	d_step {
		if
		:: held_tag[0] == 0 -> held_tag[0] = h_tag; held_mem[0] = h_mem
		:: held_tag[0] != 0 && held_tag[1] == 0 ->
			held_tag[1] = h_tag; held_mem[1] = h_mem
		:: else ->
			assert(held_tag[2] == 0);
			held_tag[2] = h_tag; held_mem[2] = h_mem
		fi;
		h_tag = 0; h_mem = 0
	}
}

/* The younger of two under one tag. */
inline let_go_of()
{
	d_step {
		if
		:: held_tag[2] == h_tag -> held_tag[2] = 0; held_mem[2] = 0
		:: held_tag[2] != h_tag && held_tag[1] == h_tag ->
			held_tag[1] = held_tag[2]; held_mem[1] = held_mem[2];
			held_tag[2] = 0; held_mem[2] = 0
		:: held_tag[2] != h_tag && held_tag[1] != h_tag &&
		   held_tag[0] == h_tag ->
			held_tag[0] = held_tag[1]; held_mem[0] = held_mem[1];
			held_tag[1] = held_tag[2]; held_mem[1] = held_mem[2];
			held_tag[2] = 0; held_mem[2] = 0
		:: else
		fi;
		h_tag = 0
	}
}

proctype keeper()
{
	{
end:
		do
		:: atomic { to_keeper?HOLD, h_tag, h_mem -> keep() }
		:: atomic { to_keeper?DROP, h_tag, _ -> let_go_of() }
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
		map[AT(i, 0)] = 0; map[AT(i, NS - 1)] = 0;
		map_word[AT(i, 0)] = 0; map_word[AT(i, NS - 1)] = 0;
		can_write[AT(i, 0)] = false; can_write[AT(i, NS - 1)] = false;
		ans[i] = 0; ans_mem[i] = 0; ans_write[i] = false
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

/* Nobody can go on: nobody is stuck, and all that the dead had is back. */
proctype watch()
{
	timeout;
	assert(keeper_dead || (CALM(0) && CALM(1)));
	assert(keeper_dead || (!RETIRES(0) && !RETIRES(NS - 1)));
	assert(keeper_dead || (NOTHING_WITH(0) && NOTHING_WITH(1)));
	assert(keeper_dead || (used[0] == NAMED(1) && used[1] == NAMED(2)));
	assert(keeper_dead || (IS_NAMED(held_tag[0]) && IS_NAMED(held_tag[1]) &&
			       IS_NAMED(held_tag[2])))
}

init
{
	atomic {
		cstate[0] = CLIENT_OPEN;
		cstate[1] = CLIENT_OPEN;
		/* client 0 has written a slab */
		letgo[0] = epoch;
		letgo[1] = epoch;
		word[0] = SW(1, SLAB_LIVE);
		owner[0] = 1;
		writer[0] = USER(0);
		given[0] = BIT(0);
		true_mem[0] = 1;
		mem[0] = 1;
		used[0] = true;
		held_tag[0] = TAG(0, 1);
		held_mem[0] = 1;
		map[AT(0, 0)] = 1;
		map_word[AT(0, 0)] = word[0];
		can_write[AT(0, 0)] = true;
		run keeper();
		run server();
		run client(0);
		run client(1);
		run env();
		run watch()
	}
}
