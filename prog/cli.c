/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "commands.h"
#include "base/compiler.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define HELP_ID	   (CLI_LONG - 1)
#define TEXT_WIDTH 78
#define TEXT_LEFT  26

enum exit_status exit_of(int error)
{
	switch (error) {
	case 0:
		return PROG_OK;
	case -ENOENT:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ENOTCONN:
	case -ETIMEDOUT:
		return PROG_NO_NODE;
	case -EACCES:
	case -EPERM:
	case -EUSERS:
	case -EDQUOT:
	case -ENOSPC:
	case -ENOBUFS:
	case -E2BIG:
	case -EADDRINUSE:
		return PROG_REFUSED;
	default:
		return PROG_SYSTEM;
	}
}

/* What stands between "onecopy" and the name. */
static const char *joint(const struct command *command)
{
	return command->alone ? "-" : " ";
}

int cli_fail(const struct command *command, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "onecopy%s%s: %s\n", command ? joint(command) : "",
		command ? command->name : "", text);
	return status;
}

/* ---- parsing --------------------------------------------------------------- */

static size_t count_options(const struct command *command)
{
	size_t n = 0;

	while (command->options && command->options[n].name)
		n++;
	return MIN(n, (size_t)CLI_OPTIONS_MAX);
}

static bool has_letter(int id)
{
	return id > 0 && id < 128 && isalnum(id);
}

void cli_begin(struct cli *c, const struct command *command, int argc,
	       char **argv)
{
	*c = (struct cli){ .command = command, .argc = argc, .argv = argv };
	optind = 0; /* glibc: forget the last command line */
	opterr = 0;
}

static void make_tables(const struct command *command, char *letters,
			struct option *names)
{
	size_t n = count_options(command);

	*letters++ = ':'; /* a missing value is told from an unknown option */
	for (size_t i = 0; i < n; i++) {
		const struct cli_option *o = &command->options[i];

		names[i] = (struct option){
			.name = o->name,
			.has_arg = o->arg ? required_argument : no_argument,
			.val = o->id,
		};
		if (!has_letter(o->id))
			continue;
		*letters++ = (char)o->id;
		if (o->arg)
			*letters++ = ':';
	}
	*letters++ = 'h';
	*letters = '\0';
	names[n] = (struct option){ .name = "help", .val = HELP_ID };
	names[n + 1] = (struct option){ 0 };
}

static const struct cli_option *find_option(const struct command *command,
					    int id)
{
	size_t n = count_options(command);

	for (size_t i = 0; i < n; i++) {
		if (command->options[i].id == id)
			return &command->options[i];
	}
	return NULL;
}

static const char *nearest_option(const struct command *command,
				  const char *word)
{
	const char *names[CLI_OPTIONS_MAX + 1];
	size_t n = count_options(command);
	char name[64];

	for (size_t i = 0; i < n; i++)
		names[i] = command->options[i].name;
	names[n] = "help";
	text_copy(name, sizeof(name), word);
	name[strcspn(name, "=")] = '\0';
	return text_nearest(name, names, n + 1);
}

static int unknown_option(struct cli *c)
{
	const char *word = c->argv[optind > 0 ? optind - 1 : 0];
	const struct cli_option *o = find_option(c->command, optopt);
	const char *near;

	c->status = PROG_USAGE;
	if (optopt && (o || optopt == HELP_ID)) {
		cli_fail(c->command, 0, "--%s takes no value",
			 o ? o->name : "help");
		return -1;
	}
	if (optopt) {
		cli_fail(c->command, 0, "unknown option -%c; see --help",
			 isprint(optopt) ? optopt : '?');
		return -1;
	}
	near = nearest_option(c->command, word + strspn(word, "-"));
	if (near)
		cli_fail(c->command, 0, "unknown option %s; did you mean --%s?",
			 word, near);
	else
		cli_fail(c->command, 0, "unknown option %s; see --help", word);
	return -1;
}

int cli_next(struct cli *c)
{
	struct option names[CLI_OPTIONS_MAX + 2];
	char letters[2 * CLI_OPTIONS_MAX + 3];
	const struct cli_option *o;
	int id;

	make_tables(c->command, letters, names);
	id = getopt_long(c->argc, c->argv, letters, names, NULL);
	c->value = optarg;
	c->option = o = find_option(c->command, id);
	if (o)
		return id;
	switch (id) {
	case -1:
		c->first = optind;
		return 0;
	case 'h':
	case HELP_ID:
		cli_help(c->command);
		c->status = PROG_OK;
		return -1;
	case ':':
		o = find_option(c->command, optopt);
		cli_fail(c->command, 0, "--%s needs a value: %s",
			 o ? o->name : "?", o ? o->arg : "?");
		c->status = PROG_USAGE;
		return -1;
	default:
		return unknown_option(c);
	}
}

int cli_words(const struct cli *c, int least, int most)
{
	int n = c->argc - c->first;

	if (n >= least && n <= most)
		return 0;
	if (n > most)
		return cli_fail(c->command, PROG_USAGE,
				"unexpected '%s'; see --help",
				c->argv[c->first + most]);
	return cli_fail(c->command, PROG_USAGE,
			"something is missing; usage: onecopy%s%s %s",
			joint(c->command), c->command->name, c->command->usage);
}

/* ---- values ---------------------------------------------------------------- */

static int bad_value(const struct cli *c, const char *expected)
{
	return cli_fail(c->command, PROG_USAGE, "--%s '%s': expected %s",
			c->option->name, c->value, expected);
}

int cli_size(const struct cli *c, uint64_t whole, uint64_t *ret_bytes)
{
	if (text_parse_size(c->value, whole, ret_bytes))
		return bad_value(c, whole ? "a size like 8G, or 25%"
					  : "a size like 64K or 8G");
	return 0;
}

int cli_time(const struct cli *c, uint64_t *ret_ns)
{
	if (text_parse_time(c->value, ret_ns))
		return bad_value(c, "a time like 250ms, 5s or 2m");
	return 0;
}

int cli_number(const struct cli *c, uint64_t least, uint64_t most,
	       uint64_t *ret_value)
{
	char expected[80];
	uint64_t value;

	if (!text_parse_u64(c->value, most, &value) && value >= least) {
		*ret_value = value;
		return 0;
	}
	snprintf(expected, sizeof(expected),
		 "a number from %" PRIu64 " to %" PRIu64, least, most);
	return bad_value(c, expected);
}

/* ---- help ------------------------------------------------------------------ */

/* Text in a column that begins at TEXT_LEFT; the cursor is at `at`. */
static void print_column(const char *text, int at)
{
	if (at > TEXT_LEFT - 2) {
		putchar('\n');
		at = 0;
	}
	printf("%*s", TEXT_LEFT - at, "");
	at = TEXT_LEFT;
	while (*text) {
		int word = (int)strcspn(text, " ");

		if (at > TEXT_LEFT && at + 1 + word > TEXT_WIDTH) {
			printf("\n%*s", TEXT_LEFT, "");
			at = TEXT_LEFT;
		}
		at += printf("%s%.*s", at > TEXT_LEFT ? " " : "", word, text);
		text += word;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_option(int id, const char *name, const char *arg,
			 const char *usual, const char *text)
{
	char all[512];
	int at;

	if (has_letter(id))
		at = printf("  -%c, --%s", id, name);
	else
		at = printf("      --%s", name);
	if (arg)
		at += printf(" %s", arg);
	snprintf(all, sizeof(all), usual ? "%s (default: %s)" : "%s%s", text,
		 usual ? usual : "");
	print_column(all, at);
}

void cli_help(const struct command *command)
{
	size_t n = count_options(command);

	printf("onecopy%s%s: %s\n\n", joint(command), command->name,
	       command->summary);
	printf("usage: onecopy%s%s %s\n\n", joint(command), command->name,
	       command->usage ? command->usage : "");
	for (size_t i = 0; i < n; i++) {
		const struct cli_option *o = &command->options[i];

		print_option(o->id, o->name, o->arg, o->usual, o->text);
	}
	print_option(find_option(command, 'h') ? 0 : 'h', "help", NULL, NULL,
		     "print this");
}

void cli_help_all(const struct command *const *table, size_t n)
{
	printf("onecopy: one copy of every KV block of a node\n\n"
	       "usage: onecopy COMMAND [OPTIONS]\n\n");
	for (size_t i = 0; i < n; i++) {
		if (table[i] && !table[i]->hidden)
			print_column(table[i]->summary,
				     printf("  %s", table[i]->name));
	}
	printf("\n'onecopy COMMAND --help' says more of each. "
	       "Exit status: 0 done, 1 failed,\n2 usage, 3 no node, "
	       "4 refused, 5 bad input, 6 system.\n");
}

const struct command *cli_find(const struct command *const *table, size_t n,
			       const char *name)
{
	const char *names[32];
	const char *near;
	size_t known = 0;

	for (size_t i = 0; i < n; i++) {
		if (!table[i])
			continue;
		if (strcmp(table[i]->name, name) == 0)
			return table[i];
		if (!table[i]->hidden && known < ARRAY_LEN(names))
			names[known++] = table[i]->name;
	}
	near = text_nearest(name, names, known);
	if (near)
		cli_fail(NULL, 0, "unknown command '%s'; did you mean '%s'?",
			 name, near);
	else
		cli_fail(NULL, 0, "unknown command '%s'; see onecopy --help",
			 name);
	return NULL;
}

int cli_finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		cli_fail(NULL, 0, "cannot write the output");
		return status == PROG_OK ? PROG_SYSTEM : status;
	}
	return status;
}
