/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exit statuses of all commands; onecopy(1) lists them.
 */
#ifndef ONECOPY_PROG_EXIT_H
#define ONECOPY_PROG_EXIT_H

enum exit_status {
	PROG_OK = 0,
	PROG_FAILED = 1,    /* the work failed: wrong bytes, a failed check */
	PROG_USAGE = 2,	    /* command line */
	PROG_NO_NODE = 3,   /* the node cannot be reached */
	PROG_REFUSED = 4,   /* permission, limits, a second node */
	PROG_BAD_INPUT = 5, /* a file that cannot be used */
	PROG_SYSTEM = 6,    /* the system, or a bug */
};

/* The status for a negative errno that came from talking to a node. */
enum exit_status exit_of(int error);

#endif
