/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of the program. Each lives in a file of its own as
 *
 *   const struct command command_NAME = { ... };
 *
 * and stands in the table of main.c.
 */
#ifndef ONECOPY_PROG_COMMANDS_H
#define ONECOPY_PROG_COMMANDS_H

#include "cli.h"

struct command {
	const char *name;
	const char *summary; /* one line, no full stop */
	const char *usage;   /* what follows the name: "[OPTIONS] KEY" */
	const struct cli_option *options; /* ends with CLI_END; NULL: none */
	/* argv[0] is the command's name. Returns an enum exit_status. Begin
	 * with cli_begin(). */
	int (*run)(const struct command *self, int argc, char **argv);
	bool hidden; /* not for people: left out of the help */
	bool alone;  /* a program of its own, onecopy-NAME */
};

extern const struct command command_serve, command_server, command_stat,
	command_where, command_why, command_check, command_replay,
	command_bench, command_demo, command_doctor, command_sim,
	command_session, command_torture, command_cxl;

#endif
