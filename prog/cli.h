/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: tables of options from which both the parsing and the help
 * come.
 *
 *	static const struct cli_option options[] = {
 *		{ 's', "socket", "PATH", "$ONECOPY_SOCKET", "the node" },
 *		{ 'j', "json", NULL, NULL, "print JSON" },
 *		CLI_END
 *	};
 *
 *	cli_begin(&c, self, argc, argv);
 *	while ((id = cli_next(&c)) > 0) {
 *		if (id == 's')
 *			socket = c.value;
 *		...
 *	}
 *	if (id < 0)
 *		return c.status;
 *
 * --help is answered by itself. Whatever is wrong is said on stderr in one
 * line that names the command. One thread, one command line at a time
 * (getopt_long).
 */
#ifndef ONECOPY_PROG_CLI_H
#define ONECOPY_PROG_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exit.h"

struct command;

struct cli_option {
	int id;		   /* a letter is the short option too; others from
			      CLI_LONG on have only the name */
	const char *name;  /* without "--" */
	const char *arg;   /* name of the value; NULL: takes none */
	const char *usual; /* the default, for the help; NULL: none */
	const char *text;
};
#define CLI_END                           \
	{                                 \
		0, NULL, NULL, NULL, NULL \
	}
#define CLI_LONG	256
#define CLI_OPTIONS_MAX 64

struct cli {
	const struct command *command;
	int argc;
	char **argv;
	const struct cli_option *option; /* the one cli_next() returned */
	const char *value;		 /* its value; NULL: takes none */
	int status; /* to return from run() after cli_next() < 0 */
	int first;  /* after cli_next() == 0: argv[first .. argc) are left */
};

void cli_begin(struct cli *c, const struct command *command, int argc,
	       char **argv);
/* The id of the next option; 0 when there are no more; -1: return c->status
 * (help was printed, or the line is wrong). */
int cli_next(struct cli *c);
/* After cli_next() == 0: are there from `least` to `most` words left? 0, or
 * PROG_USAGE. */
int cli_words(const struct cli *c, int least, int most);

/* The value of the current option. 0, or PROG_USAGE and it was said. Sizes:
 * percent only where `whole` is not 0. */
int cli_size(const struct cli *c, uint64_t whole, uint64_t *ret_bytes);
int cli_time(const struct cli *c, uint64_t *ret_ns);
int cli_number(const struct cli *c, uint64_t least, uint64_t most,
	       uint64_t *ret_value);

/* "onecopy COMMAND: text" on stderr; returns the status. */
int cli_fail(const struct command *command, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void cli_help(const struct command *command);
/* The command of that name, or NULL after saying which is near. */
const struct command *cli_find(const struct command *const *table, size_t n,
			       const char *name);
void cli_help_all(const struct command *const *table, size_t n);

/* Flushes stdout: a full disk must not look like success. */
int cli_finish(int status);

#endif
