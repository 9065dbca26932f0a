/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: two clients that open, append, fork, share their tails, pause, take
 * over and close; the server, which can die between any two of its stores and is
 * followed by another; clients that die, leases that run out. Checked by
 * tools/check-model.
 *
 * The records and the tree of keys are what the keeper holds (shm/session.h); the
 * tree lies in segments, which come when there is no room and go when nothing is
 * in the last one. `refs`, `used`, `children` and `listed` are the server's own
 * memory (pool/history.c): they go with it, and are counted anew. Each store that
 * another store's order matters to is a step, and after each of them every live
 * session is read from its head and compared with what it should be, `val`; a
 * tail that counts is the one that was noted at these very keys.
 *
 * A list of keys is a number: its digits to the base 3, none of them 0. A tail is
 * a number too, its tokens, and so is its key: they are right when they are equal.
 */
#include "tables.h"

#ifndef OPS0
#define OPS0 3
#endif
#ifndef OPS1
#define OPS1 2
#endif
/* Bits: 1 opens, 2 appends, 4 forks, 8 pauses, 16 closes, 32 shares its tail, 64
 * takes what is another's. */
#ifndef MAY0
#define MAY0 127
#endif
#ifndef MAY1
#define MAY1 127
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef LATES
#define LATES 1
#endif
#ifndef WHO_DIES
#define WHO_DIES 1 /* bits: client 0, client 1 */
#endif
#ifndef NR
#define NR 3   /* records */
#endif
#define NS 2   /* segments of the tree */
#define SN 2   /* nodes of a segment */
#define NN 4   /* nodes, from 1 */
#define NK 2   /* keys of a node */
#define MOST 4 /* keys of a session */

/* A place: a node, and how many of its keys; 0: the beginning. */
#define PLACE(n, count) ((n) == 0 -> 0 : (n) * 4 + (count))
#define NODE(p)		((p) / 4)
#define COUNT(p)	((p) % 4)
#define POW(n) \
	((n) == 0 -> 1 : ((n) == 1 -> 3 : ((n) == 2 -> 9 : ((n) == 3 -> 27 : 81))))

typedef record {
	byte state, gen, head;
	byte owner; /* client + 1; 0: nobody */
	byte by, seq;
	bool named;
	bool late; /* its lease has run out */
	byte tail, tail_at, tail_key /* one word: tail_at, tail */
}
typedef run_of_keys {
	byte parent;
	byte key[NK]
}
record rec[NR];
run_of_keys node[NN + 1];
byte segments; /* the table's word */
bool held[NS]; /* by the keeper */
#define SEG(n) (((n) - 1) / SN)

/* What a session's keys are, by the requests that were done. */
byte val[NR];
/* The keys that its tail was noted at; whose session a record is. */
byte noted[NR], serial[NR];
/* It went on while it was nobody's: its lease alone counts. Not at the request of
 * whom it lost by that one's death. */
bool adrift[NR];
byte lost[NR];
#define NEVER 255

mtype = { OPEN, APPEND, FORK, PAUSE, CLOSE, NOTE };
mtype = { DONE, GONE, BUSY, STALE, FULL };
/* A client's slot in its ring, and the session it has in hand. */
typedef client_side {
	bool asked;
	mtype op, said;
	byte seq, r, gen, k1, k2, keep, meant;
	bool take;
	byte got, got_gen, got_val, got_serial; /* with the answer */
	byte ops;
	bool has;
	byte h, h_gen, h_val, h_serial
}
client_side cl[2];
bool dead[2], gone[2]; /* its process has ended; its funeral is over */

bool kill_server;
byte server_crashes = SERVER_CRASHES, deaths = DEATHS, lates = LATES;

/* The server's own memory. */
byte refs[NN + 1], used[NN + 1], children[NN + 1];
bool listed[NN + 1];
byte segs; /* attached */
byte t_tail, t_at, t_noted; /* of the fork's parent */
byte serials; /* not the server's: how many sessions there were */
byte c, r, q, i, n, again, at_n, at_c, mine, next, old, f;
byte put_n, put_c, put_k;

/* Used within one step. */
hidden byte w_n, w_c, w_val, w_len, w_m, x, y, want_refs[5], want_children[5],
	least[5], room, need, spare, want_at, want_key;

/* ---- reading ---------------------------------------------------------------- */

inline walk(PL)
{
	w_n = NODE(PL); w_c = COUNT(PL); w_val = 0; w_len = 0; w_m = 1;
	do
	:: w_n != 0 && w_c > 0 ->
		assert(w_len < MOST);
		assert(SEG(w_n) < segments && held[SEG(w_n)]);
		w_val = w_val + node[w_n].key[w_c - 1] * w_m;
		w_m = w_m * 3;
		w_len++;
		w_c--
	:: w_n != 0 && w_c == 0 ->
		w_c = COUNT(node[w_n].parent);
		w_n = NODE(node[w_n].parent)
	:: w_n == 0 -> break
	od;
	w_c = 0
}

inline length(V)
{
	w_len = (V == 0 -> 0 : (V < 3 -> 1 : (V < 9 -> 2 : (V < 27 -> 3 : 4))))
}

/* Every session has its keys, and no request has made two. */
inline check()
{
	x = 0;
	do
	:: x < NR && rec[x].state != SESSION_FREE ->
		walk(rec[x].head);
		assert(w_val == val[x]);
		assert(rec[x].tail == 0 || rec[x].tail_at != w_len ||
		       (rec[x].tail_key == rec[x].tail && noted[x] == val[x]));
		y = x + 1;
		do
		:: y < NR ->
			assert(rec[y].state == SESSION_FREE ||
			       rec[y].by != rec[x].by || rec[y].seq != rec[x].seq);
			assert(rec[y].state == SESSION_FREE || !rec[y].named ||
			       !rec[x].named);
			y++
		:: y >= NR -> break
		od;
		x++
	:: x < NR && rec[x].state == SESSION_FREE -> x++
	:: x == NR -> break
	od;
	w_m = 0
}

/* ---- the tree --------------------------------------------------------------- */

inline ref(PL)
{
	if
	:: NODE(PL) != 0 -> refs[NODE(PL)]++
	:: else
	fi;
	w_m = 0
}

inline unref(PL)
{
#ifdef MUT_NOT_UNREFERRED
	w_n = 0;
#else
	w_n = NODE(PL);
#endif
	do
	:: w_n == 0 -> break
	:: w_n != 0 ->
		assert(refs[w_n] > 0);
		refs[w_n]--;
		if
		:: refs[w_n] > 0 -> break
		:: else
		fi;
		listed[w_n] = false;
		used[w_n] = 0;
		w_n = NODE(node[w_n].parent);
		if
		:: w_n != 0 -> children[w_n]--
		:: else
		fi
	od;
	w_m = 0
}

/* history_recount() of every record, into want_ and least. */
inline recount()
{
	x = 0;
	do
	:: x <= NN ->
		want_refs[x] = 0; want_children[x] = 0; least[x] = 0; x++
	:: x > NN -> break
	od;
	x = 0;
	do
	:: x == NR -> break
	:: x < NR ->
		w_c = (rec[x].state == SESSION_FREE -> 0 : rec[x].head);
		y = 0;
		do
		:: w_c == 0 -> break
		:: w_c != 0 ->
			w_n = NODE(w_c);
			if
			:: COUNT(w_c) > least[w_n] -> least[w_n] = COUNT(w_c)
			:: else
			fi;
			want_children[w_n] = want_children[w_n] + y;
			want_refs[w_n]++;
			if
			:: want_refs[w_n] > 1 -> break
			:: else
			fi;
			w_c = node[w_n].parent;
			y = 1
		od;
		x++
	od;
	w_m = 0
}

/* Nodes in use are those that are reached. */
inline check_counts()
{
	recount();
	x = 1;
	do
	:: x <= NN ->
		assert(refs[x] == want_refs[x] &&
		       children[x] == want_children[x]);
		assert(listed[x] == (refs[x] > 0) && used[x] >= least[x]);
		x++
	:: x > NN -> break
	od;
	w_m = 0
}

/* The node after the place want_at that begins with want_key: f, 0: none. */
inline find_child()
{
	f = 0; x = 1;
	do
	:: x <= NN && listed[x] && node[x].parent == want_at &&
	   node[x].key[0] == want_key -> f = x; break
	:: x <= NN && !(listed[x] && node[x].parent == want_at &&
			node[x].key[0] == want_key) -> x++
	:: x > NN -> break
	od;
	w_m = 0
}

#define KEY(j) ((j) == 0 -> cl[c].k1 : cl[c].k2)

/* history_nodes(): `need` new nodes at most, of `spare`. */
inline nodes()
{
	at_n = NODE(rec[r].head); at_c = COUNT(rec[r].head); i = again;
	do
	:: i == n -> break
	:: i < n && at_n != 0 && at_c < used[at_n] &&
	   node[at_n].key[at_c] == KEY(i) -> at_c++; i++
	:: i < n && !(at_n != 0 && at_c < used[at_n] &&
		      node[at_n].key[at_c] == KEY(i)) ->
		want_at = PLACE(at_n, at_c); want_key = KEY(i);
		find_child();
		if
		:: f == 0 -> break
		:: else -> at_n = f; at_c = 1; i++
		fi
	od;
	room = (at_n != 0 && at_c == used[at_n] -> NK - at_c : 0);
	need = (n - i > room -> (n - i - room + NK - 1) / NK : 0);
	count_spare();
	at_n = 0; at_c = 0; i = 0; f = 0
}

inline count_spare()
{
	spare = 0; x = 1;
	do
	:: x <= segs * SN -> spare = spare + (listed[x] -> 0 : 1); x++
	:: x > segs * SN -> break
	od
}

/* segment_more(): it is held, then it is named. */
inline grow()
{
#ifdef MUT_NAMED_FIRST
	segments = segs + 1;
#endif
	d_step { assert(!held[segs]); held[segs] = true };
	d_step {
		segments = segs + 1;
		segs++;
		count_spare();
		x = 0
	}
}

/* pool_session_trim(): the last one is named no more, then it is dropped. */
inline trim()
{
	d_step { segs-- };
#ifdef MUT_DROP_FIRST
	held[segs] = false;
#endif
	d_step { segments = segs; check() };
	held[segs] = false
}

/* Decides in one step where a key goes, as step_here() and child_make() do: put_n
 * is where it is still to be written, 0: it is there. */
inline place_key()
{
	put_n = 0; put_c = 0; f = 0;
	if
	:: at_n != 0 && at_c < NK && at_c < used[at_n] &&
	   node[at_n].key[at_c] == KEY(i) -> at_c++
	:: else ->
		if
		:: at_n != 0 && at_c < NK && at_c < used[at_n] &&
#ifndef MUT_WRITES_OVER_ANOTHERS
		   refs[at_n] == 1 &&
#endif
		   children[at_n] == 0 &&
		   at_n == mine -> used[at_n] = at_c
		:: else
		fi;
		want_at = PLACE(at_n, at_c); want_key = KEY(i);
		find_child();
		if
		:: f != 0 -> at_n = f; at_c = 1
		:: f == 0 && at_n != 0 && at_c < NK && at_c == used[at_n] ->
			put_n = at_n; put_c = at_c;
			at_c++;
			used[at_n] = at_c
		:: f == 0 && !(at_n != 0 && at_c < NK &&
			       at_c == used[at_n]) ->
			put_n = 1;
			do
			:: put_n <= segs * SN && listed[put_n] -> put_n++
			:: put_n <= segs * SN && !listed[put_n] -> break
			:: put_n > segs * SN -> break
			od;
			assert(put_n <= segs * SN); /* as nodes() said */
			listed[put_n] = true;
			used[put_n] = 1;
			children[put_n] = 0;
			node[put_n].parent = PLACE(at_n, at_c);
			if
			:: at_n != 0 -> refs[at_n]++; children[at_n]++
			:: else
			fi;
			at_n = put_n; at_c = 1
		fi
	fi;
	f = 0;
	put_k = KEY(i);
	check()
}

/* ---- the server: steps ------------------------------------------------------- */

/* The word. `fits`: why it may be. */
#define STEP(j, to, does, fits)                                  \
	assert((fits) && (to) != SESSION_NOWHERE);               \
	rec[j].gen = rec[j].gen + ((does) & 1);                  \
	rec[j].owner = ((does) & 4 -> 0 : rec[j].owner);         \
	rec[j].state = (to)
#define STATE(j) rec[j].state

inline forget()
{
	r = 0; q = 0; i = 0; n = 0; again = 0; at_n = 0; at_c = 0; mine = 0;
	t_tail = 0; t_at = 0; t_noted = 0; next = 0; old = 0; f = 0; put_n = 0; put_c = 0; put_k = 0; c = 0
}

inline ends(J)
{
	unref(rec[J].head);
	rec[J].late = false;
	check()
}

inline answer(WHAT)
{
	d_step {
		cl[c].said = WHAT;
		cl[c].got = r; cl[c].got_gen = rec[r].gen;
		cl[c].got_val = val[r];
		cl[c].got_serial = serial[r];
		cl[c].asked = false;
		/* the owner's, and the session that was meant */
		assert(WHAT != DONE || (cl[c].op != APPEND && cl[c].op != NOTE) ||
		       rec[r].owner == 0 || rec[r].owner == c + 1);
		assert(WHAT != DONE || cl[c].op == OPEN || cl[c].op == FORK ||
		       cl[c].meant == serial[r]);
		/* once, and whole */
		assert(cl[c].op != APPEND || WHAT != DONE ||
		       val[r] == (cl[c].k2 == 0 -> cl[c].h_val * 3 + cl[c].k1 :
				  cl[c].h_val * 9 + cl[c].k1 * 3 + cl[c].k2));
		forget();
		check_counts()
	}
}

inline made_before()
{
	q = 0;
#ifdef MUT_MADE_TWICE
	q = NR;
#endif
	do
	:: q == NR -> break
	:: q < NR && STATE(q) != SESSION_FREE && rec[q].by == c + 1 &&
	   rec[q].seq == cl[c].seq -> break
	:: q < NR && !(STATE(q) != SESSION_FREE && rec[q].by == c + 1 &&
		       rec[q].seq == cl[c].seq) -> q++
	od;
	w_m = 0
}

inline first_free()
{
	q = 0;
	do
	:: q == NR -> break
	:: q < NR && STATE(q) == SESSION_FREE -> break
	:: q < NR && STATE(q) != SESSION_FREE -> q++
	od;
	w_m = 0
}

inline fill()
{
	rec[q].head = next;
	d_step {
		rec[q].owner = c + 1; rec[q].by = c + 1;
		rec[q].seq = cl[c].seq;
		rec[q].named = (cl[c].op == OPEN);
		rec[q].late = false;
#ifndef MUT_TAIL_KEPT
		rec[q].tail = t_tail; rec[q].tail_at = t_at;
		rec[q].tail_key = t_tail;
#endif
		w_m = 0
	}
}

/* pool_session_make(): record q, with the keys of `next`. */
inline make()
{
	if
	:: q == NR -> answer(FULL)
	:: q < NR ->
#ifndef MUT_WORD_FIRST
		fill();
#endif
		d_step {
			walk(next); val[q] = w_val;
			noted[q] = (t_tail == 0 -> NEVER : t_noted);
			serial[q] = serials; serials++; adrift[q] = false; lost[q] = 0;
			STEP(q, SESSION_TO_MAKE(STATE(q)),
			     SESSION_DOES_MAKE(STATE(q)), true);
			ref(next);
			check()
		}
#ifdef MUT_WORD_FIRST
		fill();
#endif
		d_step { r = q };
		answer(DONE)
	fi
}

inline resume()
{
	if
	:: STATE(r) == SESSION_PAUSED ->
		d_step {
			rec[r].late = false;
			STEP(r, SESSION_TO_RESUME(STATE(r)),
			     SESSION_DOES_RESUME(STATE(r)), true);
			check()
		}
	:: else
	fi
}

inline serve_open()
{
	d_step {
		made_before();
		if
		:: q < NR
		:: else ->
			q = 0;
			do
			:: q == NR -> break
			:: q < NR && STATE(q) != SESSION_FREE && rec[q].named ->
				break
			:: q < NR && !(STATE(q) != SESSION_FREE &&
				       rec[q].named) -> q++
			od
		fi
	};
	if
	:: q == NR ->
		d_step { next = 0; first_free() };
		make()
	:: q < NR && STATE(q) == SESSION_ACTIVE && rec[q].owner != 0 &&
	   rec[q].owner != c + 1 && !cl[c].take -> answer(BUSY)
	:: q < NR && !(STATE(q) == SESSION_ACTIVE && rec[q].owner != 0 &&
		       rec[q].owner != c + 1 && !cl[c].take) ->
		d_step { r = q };
#ifdef MUT_RESUMED_FIRST
		resume();
#endif
		d_step {
			rec[r].owner = c + 1;
			STEP(r, SESSION_TO_TAKE(STATE(r)),
			     SESSION_DOES_TAKE(STATE(r)), true)
		};
		resume();
		rec[r].late = false;
		answer(DONE)
	fi
}

#ifdef MUT_OLD_HANDLE
#define IS_THERE (STATE(r) != SESSION_FREE)
#else
#define IS_THERE (STATE(r) != SESSION_FREE && rec[r].gen == cl[c].gen)
#endif
#ifdef MUT_NOT_FENCED_OFF
#define ANOTHERS(j) false
#else
#define ANOTHERS(j) (rec[j].owner != 0 && rec[j].owner != c + 1)
#endif

inline serve_fork()
{
	d_step {
		made_before();
		if
		:: q < NR -> r = q
		:: else
		fi
	};
	if
	:: q < NR -> answer(DONE)
	:: q == NR && !IS_THERE -> answer(GONE)
	:: q == NR && IS_THERE ->
		d_step {
			first_free();
			next = rec[r].head;
			walk(next);
			y = w_len;
			/* fork_tail() */
			if
#ifdef MUT_TAIL_OF_ALL
			:: rec[r].tail != 0 && rec[r].tail_at == y ->
#else
			:: rec[r].tail != 0 && rec[r].tail_at == y &&
			   cl[c].keep == MOST ->
#endif
				t_tail = rec[r].tail; t_at = y;
				t_noted = noted[r]
			:: else
			fi;
			/* history_cut() */
			do
			:: next == 0 || y <= cl[c].keep -> break
			:: next != 0 && y > cl[c].keep && COUNT(next) > 1 ->
				next--; y--
			:: next != 0 && y > cl[c].keep && COUNT(next) == 1 ->
				next = node[NODE(next)].parent; y--
			od
		};
		make()
	fi
}

inline serve_append()
{
	if
	:: !IS_THERE -> answer(GONE)
	:: IS_THERE && ANOTHERS(r) -> answer(BUSY)
	:: IS_THERE && !ANOTHERS(r) ->
		d_step {
			n = (cl[c].k2 == 0 -> 1 : 2);
			walk(rec[r].head); w_m = w_len;
			length(cl[c].h_val);
			/* w_m: keys there; w_len: keys that the client knows */
			again = (w_m < w_len -> 0 :
				 (w_m - w_len > n -> n : w_m - w_len));
#ifdef MUT_APPENDED_TWICE
			again = 0; length(val[r]);
#endif
			next = (w_m < w_len || w_m > w_len + n ||
				w_len + n > MOST ||
				(again > 0 &&
				 (w_val / POW(w_m - w_len - 1)) % 3 !=
					 KEY(0)) ||
				(again > 1 && w_val % 3 != KEY(1)) -> 1 : 0);
			nodes();
			next = (next == 0 &&
				need > spare + (NS - segs) * SN -> 2 : next);
			put_n = (next == 0 && need > spare -> 1 : 0);
			put_n = (put_n != 0 && need > spare + SN -> 2 : put_n)
		};
		/* put_n: segments that have to come */
		do
		:: put_n == 0 -> break
		:: put_n > 0 -> grow(); put_n--
		od;
		if
		:: next == 1 -> answer(STALE)
		:: next == 2 -> answer(FULL)
		:: next == 0 ->
			d_step { adrift[r] = adrift[r] ||
					     (rec[r].owner == 0 &&
					      lost[r] != c + 1) };
			resume();
			extend();
			rec[r].late = false;
			answer(DONE)
		fi
	fi
}

/* pool_session_extend() */
inline extend()
{
	if
	:: again < n ->
		d_step {
			old = rec[r].head;
			at_n = NODE(old); at_c = COUNT(old); mine = at_n;
			i = again
		};
		do
		:: i == n -> break
		:: i < n ->
			d_step { place_key() };
			if
			:: put_n != 0 ->
				d_step {
#ifndef MUT_HEAD_FIRST
					node[put_n].key[put_c] = put_k;
#endif
					put_n = 0; put_c = 0; put_k = 0;
					check()
				}
			:: put_n == 0
			fi;
			i++
		od;
		i = 0;
		d_step {
			next = PLACE(at_n, at_c);
			ref(next);
			rec[r].head = next;
			if
			:: again == 0 && n == 2 ->
				val[r] = val[r] * 9 + cl[c].k1 * 3 + cl[c].k2
			:: else -> val[r] = val[r] * 3 + KEY(n - 1)
			fi;
			check();
			unref(old)
		}
	:: else
	fi
}

/* note_tail(): none while its key is being written. */
inline serve_note()
{
	if
	:: !IS_THERE -> answer(GONE)
	:: IS_THERE && ANOTHERS(r) -> answer(BUSY)
	:: IS_THERE && !ANOTHERS(r) ->
		d_step {
			walk(rec[r].head); n = w_len;
			length(cl[c].h_val);
			next = (w_len == n -> 0 : 1)
		};
		if
		:: next == 1 -> answer(STALE)
		:: next == 0 ->
#ifdef MUT_TAIL_FIRST
			d_step { rec[r].tail = cl[c].k1; rec[r].tail_at = n;
				 noted[r] = val[r]; check() };
#else
#ifndef MUT_TAIL_NOT_CLEARED
			rec[r].tail = 0;
#endif
#endif
			d_step { rec[r].tail_key = cl[c].k1; check() };
			d_step { rec[r].tail = cl[c].k1; rec[r].tail_at = n;
				 noted[r] = val[r]; check() };
			answer(DONE)
		fi
	fi
}

inline serve_state()
{
	if
	:: !IS_THERE -> answer(GONE)
	:: IS_THERE && cl[c].op == PAUSE ->
		rec[r].late = false;
		d_step {
			STEP(r, SESSION_TO_PAUSE(STATE(r)),
			     SESSION_DOES_PAUSE(STATE(r)), true);
			check()
		}
		answer(DONE)
	:: IS_THERE && cl[c].op == CLOSE ->
		d_step {
			STEP(r, SESSION_TO_CLOSE(STATE(r)),
			     SESSION_DOES_CLOSE(STATE(r)), true);
			ends(r)
		}
		answer(DONE)
	fi
}

inline serve()
{
	d_step { r = cl[c].r };
	if
	:: cl[c].op == OPEN -> serve_open()
	:: cl[c].op == FORK -> serve_fork()
	:: cl[c].op == APPEND -> serve_append()
	:: cl[c].op == NOTE -> serve_note()
	:: cl[c].op == PAUSE || cl[c].op == CLOSE -> serve_state()
	fi
}

/* One session whose owner has ended. It was paused: it waits for its lease. */
inline bereave(J)
{
	lost[J] = rec[J].owner;
#ifdef MUT_PAUSED_ENDS
	STEP(J, SESSION_TO_LOST(STATE(J)), SESSION_DOES_LOST(STATE(J)),
	     dead[rec[J].owner - 1] && STATE(J) == SESSION_ACTIVE);
#else
	STEP(J, SESSION_TO_OWNER_DIED(STATE(J)),
	     SESSION_DOES_OWNER_DIED(STATE(J)), dead[rec[J].owner - 1]);
#endif
}

#define HIS(j) (STATE(j) != SESSION_FREE && rec[j].owner == c + 1)

inline bereave_all()
{
	r = 0;
	do
	:: r == NR -> break
	:: r < NR && HIS(r) ->
		d_step {
			bereave(r);
			if
			:: STATE(r) == SESSION_FREE -> ends(r)
			:: else
			fi;
			r++
		}
	:: r < NR && !HIS(r) -> r++
	od;
	r = 0
}

/* client_take(): its record's id, then its sessions, so that what it had asked for
 * is not served again on a session that has lost its owner. */
inline funeral()
{
#ifdef MUT_SESSIONS_FIRST
	bereave_all();
#endif
	d_step { gone[c] = true; cl[c].asked = false };
#ifndef MUT_NO_OWNER_DEATH
	bereave_all();
#endif
	d_step { forget(); check_counts() }
}

inline lapse(J)
{
	d_step {
		STEP(J, SESSION_TO_LAPSE(STATE(J)), SESSION_DOES_LAPSE(STATE(J)),
		     rec[J].late);
		ends(J);
		check_counts()
	}
}

/* pool_sessions_attach(): whose owner's funeral is over; who is dead without one
 * may have a request that is served again yet. Then the counts. */
#ifdef MUT_DISOWNED_EARLY
#define HAS_ENDED(j) dead[j]
#else
#ifdef MUT_NO_OWNER_DEATH
#define HAS_ENDED(j) false
#else
#define HAS_ENDED(j) gone[j]
#endif
#endif
inline recover()
{
	r = 0;
	do
	:: r == NR -> break
	:: r < NR && STATE(r) != SESSION_FREE && rec[r].owner != 0 &&
	   HAS_ENDED(rec[r].owner - 1) -> d_step { bereave(r); check(); r++ }
	:: r < NR && !(STATE(r) != SESSION_FREE && rec[r].owner != 0 &&
		       HAS_ENDED(rec[r].owner - 1)) -> r++
	od;
	r = 0;
	d_step {
		/* segments_attach(); what nobody took is dropped */
		segs = segments;
		x = 0;
		do
		:: x < NS && x < segs -> assert(held[x]); x++
#ifdef MUT_LEFTOVER_HELD
		:: x < NS && x >= segs -> x++
#else
		:: x < NS && x >= segs -> held[x] = false; x++
#endif
		:: x == NS -> break
		od;
		recount();
		x = 1;
		do
		:: x <= NN ->
			refs[x] = want_refs[x];
			children[x] = want_children[x];
#ifdef MUT_CHILDREN_NOT_COUNTED
			children[x] = 0;
#endif
			used[x] = least[x];
			listed[x] = refs[x] > 0;
			x++
		:: x > NN -> break
		od;
		check_counts();
		check()
	}
}

#define LAST_IS_EMPTY (segs == NS && !listed[NN] && !listed[NN - 1])

proctype server()
{
again_:
	{
		recover();
endserve:
		do
		:: d_step { cl[0].asked && !gone[0] -> c = 0 }; serve()
		:: d_step { cl[1].asked && !gone[1] -> c = 1 }; serve()
		:: d_step { dead[0] && !gone[0] -> c = 0 }; funeral()
		:: d_step { dead[1] && !gone[1] -> c = 1 }; funeral()
		:: STATE(0) != SESSION_FREE && rec[0].late -> lapse(0)
		:: STATE(1) != SESSION_FREE && rec[1].late -> lapse(1)
		:: STATE(NR - 1) != SESSION_FREE && rec[NR - 1].late ->
			lapse(NR - 1)
		:: LAST_IS_EMPTY -> trim()
		od
	} unless {
		kill_server
	};
	d_step {
		kill_server = false;
		forget();
		segs = 0;
		x = 1;
		do
		:: x <= NN ->
			refs[x] = 0; used[x] = 0; children[x] = 0;
			listed[x] = false; x++
		:: x > NN -> break
		od
	};
	goto again_
}

/* ---- clients ---------------------------------------------------------------- */

#define CAN(bit)  (!dead[me] && cl[me].ops > 0 && !cl[me].asked && (may & (bit)) != 0)
#define HAS(bit)  (CAN(bit) && cl[me].has)
#define ASK(what)                                                   \
	cl[me].op = what; cl[me].seq++; cl[me].ops--;               \
	cl[me].r = cl[me].h; cl[me].gen = cl[me].h_gen;             \
	cl[me].meant = cl[me].h_serial;                             \
	cl[me].said = 0; cl[me].asked = true

inline let_go(WHO)
{
	cl[WHO].has = false; cl[WHO].h = 0; cl[WHO].h_gen = 0; cl[WHO].h_val = 0;
	cl[WHO].h_serial = 0; cl[WHO].got_serial = 0; cl[WHO].meant = 0;
	cl[WHO].got = 0; cl[WHO].got_gen = 0; cl[WHO].got_val = 0;
	cl[WHO].r = 0; cl[WHO].gen = 0; cl[WHO].k1 = 0; cl[WHO].k2 = 0;
	cl[WHO].keep = 0; cl[WHO].take = false; cl[WHO].said = 0; cl[WHO].op = 0
}

inline ask_append(A, B)
{
	d_step { HAS(2) -> cl[me].k1 = A; cl[me].k2 = B; ASK(APPEND) }
}

proctype client(byte me; byte may)
{
end:
	do
	:: d_step { CAN(1) -> ASK(OPEN) }
	:: d_step { CAN(64) -> cl[me].take = true; ASK(OPEN) }
	:: ask_append(1, 0)
	:: ask_append(1, me + 1)
	:: ask_append(2, 1)
	:: d_step { HAS(4) -> cl[me].keep = MOST; ASK(FORK) }
	:: d_step { HAS(4) && cl[me].h_val > 2 -> cl[me].keep = 1; ASK(FORK) }
	:: d_step { HAS(8) -> ASK(PAUSE) }
	:: d_step { HAS(32) -> cl[me].k1 = 1; ASK(NOTE) }
	:: d_step { HAS(32) -> cl[me].k1 = 2; ASK(NOTE) }
	:: d_step { HAS(16) -> ASK(CLOSE) }
	:: d_step { !cl[me].asked && cl[me].said == DONE &&
		    cl[me].op != CLOSE ->
			cl[me].h = cl[me].got; cl[me].h_gen = cl[me].got_gen;
			cl[me].h_val = cl[me].got_val;
			cl[me].h_serial = cl[me].got_serial;
			cl[me].has = true;
			cl[me].said = 0; cl[me].op = 0;
			cl[me].k1 = 0; cl[me].k2 = 0; cl[me].keep = 0;
			cl[me].take = false }
	:: d_step { !cl[me].asked && cl[me].said != 0 &&
		    (cl[me].said != DONE || cl[me].op == CLOSE) -> let_go(me) }
	:: dead[me] -> d_step { cl[me].ops = 0; cl[me].has = false }; break
	od
}

proctype env()
{
end:
	do
	:: d_step { server_crashes > 0 && !kill_server ->
			server_crashes--; kill_server = true }
	:: d_step { deaths > 0 && (WHO_DIES & 1) -> deaths--; dead[0] = true }
	:: d_step { deaths > 0 && (WHO_DIES & 2) -> deaths--; dead[1] = true }
	:: d_step { lates > 0 && STATE(0) != SESSION_FREE ->
			lates--; rec[0].late = true }
	:: d_step { lates > 0 && STATE(1) != SESSION_FREE ->
			lates--; rec[1].late = true }
	od
}

/* Nobody can go on: nothing is owed, and the dead have nothing but what they
 * paused. */
proctype watch()
{
	timeout;
	d_step {
		assert(!kill_server && !cl[0].asked && !cl[1].asked);
		assert(!dead[0] || gone[0]);
		assert(!dead[1] || gone[1]);
		assert(!LAST_IS_EMPTY);
		x = 0;
		do
		:: x < NR ->
			assert(STATE(x) == SESSION_FREE || !rec[x].late);
			/* an active one has an owner, who lives */
			assert(STATE(x) != SESSION_ACTIVE ||
			       (rec[x].owner != 0 && !dead[rec[x].owner - 1]) ||
			       (rec[x].owner == 0 && adrift[x]));
			x++
		:: x == NR -> break
		od;
		check_counts()
	}
}

init
{
	atomic {
		cl[0].ops = OPS0;
		cl[1].ops = OPS1;
		run server();
		run client(0, MAY0);
		run client(1, MAY1);
		run env();
		run watch()
	}
}
