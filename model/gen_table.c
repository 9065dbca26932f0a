/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the tables of src/coherence as Promela macros, so that the models step
 * through the very tables that the server steps through:
 *
 *   state names, each with its number; NOWHERE, and SLAB_, CLIENT_,
 *				SESSION_ and MEMBER_NOWHERE
 *   TO_<event>(s)		next state of a frame, NOWHERE where illegal
 *   BUMP_<event>(s)		1 where the generation grows
 *   SLAB_TO_, SLAB_BUMP_	the same for slabs
 *   CLIENT_TO_<event>(s)	the same for clients
 *   CLIENT_TAKES_<event>(s)	what comes back: 1 grants and pins, 2 slabs
 *   SESSION_TO_<event>(s)	the same for sessions
 *   SESSION_DOES_<event>(s)	beside: 1 the generation grows, 2 a turn begins,
 *				4 nobody's any more
 *   MEMBER_TO_, MEMBER_BUMP_	the same for members of a region
 *   SLAB_MOVES(whose, same)	1: the memory moves, 0: the slab retires
 *   LET_GO(s, given, seen)	client_let_go(); seen: it has seen the epoch
 */
#include <stdio.h>
#include "coherence/client.h"
#include "coherence/frame.h"
#include "coherence/member.h"
#include "coherence/session.h"
#include "coherence/slab.h"

static const char *const frame_states[FRAME_STATES] = {
	[FRAME_FREE] = "FREE",	   [FRAME_GRANTED] = "GRANTED",
	[FRAME_SEALED] = "SEALED", [FRAME_LEAVING] = "LEAVING",
	[FRAME_DOOMED] = "DOOMED", [FRAME_QUARANTINED] = "QUARANTINED",
};

static const char *const frame_events[FRAME_EVENTS] = {
	[FRAME_EV_GRANT] = "GRANT",	[FRAME_EV_SEAL] = "SEAL",
	[FRAME_EV_ABANDON] = "ABANDON", [FRAME_EV_OWNER_DIED] = "OWNER_DIED",
	[FRAME_EV_LEAVE] = "LEAVE",	[FRAME_EV_SPARE] = "SPARE",
	[FRAME_EV_RELEASE] = "RELEASE", [FRAME_EV_DOOM] = "DOOM",
	[FRAME_EV_RECOVER] = "RECOVER", [FRAME_EV_QUARANTINE] = "QUARANTINE",
	[FRAME_EV_SETTLE] = "SETTLE",
};

static const char *const slab_states[SLAB_STATES] = {
	[SLAB_NONE] = "SLAB_NONE",
	[SLAB_LIVE] = "SLAB_LIVE",
	[SLAB_RETIRING] = "SLAB_RETIRING",
};

static const char *const slab_events[SLAB_EVENTS] = {
	[SLAB_EV_ADD] = "ADD",	       [SLAB_EV_MOVE] = "MOVE",
	[SLAB_EV_RETIRE] = "RETIRE",   [SLAB_EV_FINISH] = "FINISH",
	[SLAB_EV_ORPHAN] = "ORPHAN",   [SLAB_EV_LOST] = "LOST",
	[SLAB_EV_RECOVER] = "RECOVER",
};

static const char *const client_states[CLIENT_STATES] = {
	[CLIENT_IS_NONE] = "CLIENT_NONE",
	[CLIENT_IS_OPEN] = "CLIENT_OPEN",
	[CLIENT_IS_CLOSED] = "CLIENT_CLOSED",
	[CLIENT_IS_CLEAR] = "CLIENT_CLEAR",
};

static const char *const client_events[CLIENT_EVENTS] = {
	[CLIENT_EV_PUBLISH] = "PUBLISH",   [CLIENT_EV_CLOSE] = "CLOSE",
	[CLIENT_EV_UNMAPPED] = "UNMAPPED", [CLIENT_EV_LEAVE] = "LEAVE",
	[CLIENT_EV_DIED] = "DIED",	   [CLIENT_EV_EMPTY] = "EMPTY",
	[CLIENT_EV_FORGET] = "FORGET",	   [CLIENT_EV_RECOVER] = "RECOVER",
};

static const char *const session_states[SESSION_STATES] = {
	[SESSION_FREE] = "SESSION_FREE",
	[SESSION_ACTIVE] = "SESSION_ACTIVE",
	[SESSION_PAUSED] = "SESSION_PAUSED",
};

static const char *const session_events[SESSION_EVENTS] = {
	[SESSION_EV_MAKE] = "MAKE",
	[SESSION_EV_PAUSE] = "PAUSE",
	[SESSION_EV_RESUME] = "RESUME",
	[SESSION_EV_TAKE] = "TAKE",
	[SESSION_EV_CLOSE] = "CLOSE",
	[SESSION_EV_LAPSE] = "LAPSE",
	[SESSION_EV_OWNER_DIED] = "OWNER_DIED",
	[SESSION_EV_LOST] = "LOST",
	[SESSION_EV_RECOVER] = "RECOVER",
};

static const char *const member_states[MEMBER_STATES] = {
	[MEMBER_FREE] = "MEMBER_FREE", [MEMBER_JOINING] = "MEMBER_JOINING",
	[MEMBER_LIVE] = "MEMBER_LIVE", [MEMBER_EXITED] = "MEMBER_EXITED",
	[MEMBER_TOLD] = "MEMBER_TOLD",
};

static const char *const member_events[MEMBER_EVENTS] = {
	[MEMBER_EV_CLAIM] = "CLAIM", [MEMBER_EV_ENTER] = "ENTER",
	[MEMBER_EV_LEAVE] = "LEAVE", [MEMBER_EV_EXITED] = "EXITED",
	[MEMBER_EV_TOLD] = "TOLD",
};

/* A cell of a table as two numbers. */
typedef void (*cell_fn)(unsigned state, unsigned event, unsigned *to,
			unsigned *extra);

static void frame_cell(unsigned s, unsigned ev, unsigned *to, unsigned *extra)
{
	*to = frame_table[s][ev].to;
	*extra = frame_table[s][ev].bump;
}

static void slab_cell(unsigned s, unsigned ev, unsigned *to, unsigned *extra)
{
	*to = slab_table[s][ev].to;
	*extra = slab_table[s][ev].bump;
}

static void client_cell(unsigned s, unsigned ev, unsigned *to, unsigned *extra)
{
	*to = client_table[s][ev].to;
	*extra = client_table[s][ev].takes;
}

static void session_cell(unsigned s, unsigned ev, unsigned *to, unsigned *extra)
{
	*to = session_table[s][ev].to;
	*extra = session_table[s][ev].does;
}

static void member_cell(unsigned s, unsigned ev, unsigned *to, unsigned *extra)
{
	*to = member_table[s][ev].to;
	*extra = member_table[s][ev].bump;
}

/* A chain of Promela conditionals: ((s) == 0 -> a : ((s) == 1 -> b : ...)) */
static void print_chain(unsigned states, unsigned ev, bool extra,
			unsigned otherwise, cell_fn cell)
{
	for (unsigned s = 0; s < states; s++) {
		unsigned v[2];

		cell(s, ev, &v[0], &v[1]);
		printf("((s) == %u -> %u : ", s, v[extra]);
	}
	printf("%u", otherwise);
	for (unsigned s = 0; s < states; s++)
		putchar(')');
	putchar('\n');
}

static void print_table(const char *prefix, const char *extra,
			const char *const *state, unsigned states,
			const char *const *event, unsigned events, cell_fn cell)
{
	for (unsigned s = 0; s < states; s++)
		printf("#define %s %u\n", state[s], s);
	printf("#define %sNOWHERE %u\n", prefix, states);
	for (unsigned ev = 0; ev < events; ev++) {
		printf("#define %sTO_%s(s) ", prefix, event[ev]);
		print_chain(states, ev, false, states, cell);
		printf("#define %s%s_%s(s) ", prefix, extra, event[ev]);
		print_chain(states, ev, true, 0, cell);
	}
}

static void print_moves(void)
{
	printf("#define SLAB_OWN %u\n#define SLAB_ORPHAN %u\n"
	       "#define SLAB_ANOTHERS %u\n#define SLAB_MOVES(whose, same) (0",
	       SLAB_OWN, SLAB_ORPHAN, SLAB_ANOTHERS);
	for (unsigned whose = 0; whose < SLAB_WHOSE; whose++)
		for (unsigned same = 0; same < 2; same++)
			if (slab_ways[whose][same] == SLAB_EV_MOVE)
				printf(" || ((whose) == %u && (same) == %u)",
				       whose, same);
	printf(" -> 1 : 0)\n");
}

static void print_let_go(void)
{
	printf("#define LET_GO(s, given, seen) (0");
	for (unsigned s = 0; s < CLIENT_STATES; s++)
		for (unsigned i = 0; i < 4; i++)
			if (client_let_go((enum client_state)s, i & 1, i >> 1,
					  1))
				printf(" || ((s) == %u && (given) == %u && "
				       "(seen) == %u)",
				       s, i & 1, i >> 1);
	printf(" -> 1 : 0)\n");
}

int main(void)
{
	print_table("", "BUMP", frame_states, FRAME_STATES, frame_events,
		    FRAME_EVENTS, frame_cell);
	print_table("SLAB_", "BUMP", slab_states, SLAB_STATES, slab_events,
		    SLAB_EVENTS, slab_cell);
	print_table("CLIENT_", "TAKES", client_states, CLIENT_STATES,
		    client_events, CLIENT_EVENTS, client_cell);
	print_table("SESSION_", "DOES", session_states, SESSION_STATES,
		    session_events, SESSION_EVENTS, session_cell);
	print_table("MEMBER_", "BUMP", member_states, MEMBER_STATES,
		    member_events, MEMBER_EVENTS, member_cell);
	print_moves();
	print_let_go();
	return ferror(stdout) != 0;
}
