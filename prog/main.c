/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "commands.h"
#include "base/compiler.h"
#include <stdio.h>

/* A command that is not part of this build is left out of the table. */
#pragma weak command_serve
#pragma weak command_server
#pragma weak command_stat
#pragma weak command_where
#pragma weak command_check
#pragma weak command_replay
#pragma weak command_bench
#pragma weak command_demo

static const struct command *const commands[] = {
	&command_serve, &command_server, &command_stat,	 &command_where,
	&command_check, &command_replay, &command_bench, &command_demo,
};

static int help(int argc, char **argv)
{
	const struct command *command;

	if (argc > 2) {
		command = cli_find(commands, ARRAY_LEN(commands), argv[2]);
		if (!command)
			return PROG_USAGE;
		cli_help(command);
	} else {
		cli_help_all(commands, ARRAY_LEN(commands));
	}
	return PROG_OK;
}

static int run(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2)
		return cli_fail(NULL, PROG_USAGE,
				"no command; see onecopy --help");
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("onecopy %s\n", ONECOPY_VERSION);
		return PROG_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return help(argc, argv);
	if (argv[1][0] == '-')
		return cli_fail(NULL, PROG_USAGE,
				"unknown option %s; a command comes first, "
				"see onecopy --help",
				argv[1]);
	command = cli_find(commands, ARRAY_LEN(commands), argv[1]);
	return command ? command->run(command, argc - 1, argv + 1) : PROG_USAGE;
}

int main(int argc, char **argv)
{
	return cli_finish(run(argc, argv));
}
