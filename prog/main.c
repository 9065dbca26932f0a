/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "commands.h"
#include "base/compiler.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const struct command *const commands[] = {
	&command_serve,	  &command_server, &command_stat,    &command_where,
	&command_why,	  &command_check,  &command_session, &command_replay,
	&command_sim,	  &command_bench,  &command_demo,    &command_doctor,
	&command_torture, &command_cxl,
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

/* Descriptors 0 to 2 are somebody's: a socket that took their number would get
 * what is printed. */
static int open_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (open_standard() < 0)
		return PROG_SYSTEM;
	return cli_finish(run(argc, argv));
}
