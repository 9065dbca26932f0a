/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints frame_table (src/coherence/frame.c) as Promela macros, so that the
 * model steps through the very table that the server steps through:
 *
 *   STATE names:  FREE GRANTED SEALED LEAVING DOOMED QUARANTINED NOWHERE
 *   TO_<event>(s)    next state, NOWHERE where the event is illegal
 *   BUMP_<event>(s)  1 where the generation grows
 */
#include <stdio.h>
#include "coherence/frame.h"

static const char *const states[FRAME_STATES] = {
	[FRAME_FREE] = "FREE",	   [FRAME_GRANTED] = "GRANTED",
	[FRAME_SEALED] = "SEALED", [FRAME_LEAVING] = "LEAVING",
	[FRAME_DOOMED] = "DOOMED", [FRAME_QUARANTINED] = "QUARANTINED",
};

static const char *const events[FRAME_EVENTS] = {
	[FRAME_EV_GRANT] = "GRANT",	[FRAME_EV_SEAL] = "SEAL",
	[FRAME_EV_ABANDON] = "ABANDON", [FRAME_EV_OWNER_DIED] = "OWNER_DIED",
	[FRAME_EV_LEAVE] = "LEAVE",	[FRAME_EV_SPARE] = "SPARE",
	[FRAME_EV_RELEASE] = "RELEASE", [FRAME_EV_DOOM] = "DOOM",
	[FRAME_EV_RECOVER] = "RECOVER", [FRAME_EV_QUARANTINE] = "QUARANTINE",
};

/* A chain of Promela conditionals: ((s) == 0 -> a : ((s) == 1 -> b : ...)) */
static void print_to(unsigned ev)
{
	printf("#define TO_%s(s) ", events[ev]);
	for (unsigned s = 0; s < FRAME_STATES; s++)
		printf("((s) == %u -> %u : ", s, frame_table[s][ev].to);
	printf("%u", FRAME_STATES);
	for (unsigned s = 0; s < FRAME_STATES; s++)
		putchar(')');
	putchar('\n');
}

static void print_bump(unsigned ev)
{
	printf("#define BUMP_%s(s) (0", events[ev]);
	for (unsigned s = 0; s < FRAME_STATES; s++)
		if (frame_table[s][ev].bump)
			printf(" || (s) == %u", s);
	printf(" -> 1 : 0)\n");
}

int main(void)
{
	for (unsigned s = 0; s < FRAME_STATES; s++)
		printf("#define %s %u\n", states[s], s);
	printf("#define NOWHERE %u\n", FRAME_STATES);
	for (unsigned ev = 0; ev < FRAME_EVENTS; ev++) {
		print_to(ev);
		print_bump(ev);
	}
	return ferror(stdout) != 0;
}
