/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include <fcntl.h>
#include "prog/commands.h"
#include "base/compiler.h"

static const struct cli_option options[] = {
	{ 's', "socket", "PATH", "here", "where the node is" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	{ CLI_LONG, "size", "SIZE", NULL, "how much" },
	CLI_END
};

static const struct command thing = {
	.name = "thing",
	.summary = "does a thing",
	.usage = "[OPTIONS] KEY",
	.options = options,
};

/* What a program would print: stdout and stderr of fn, in one text. */
static int captured(int (*fn)(char **argv), char **argv, char *text, size_t cap)
{
	int fds[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup3(fds[1], 1, O_CLOEXEC);
		dup3(fds[1], 2, O_CLOEXEC);
		status = fn(argv);
		fflush(NULL);
		_exit(status);
	}
	close(fds[1]);
	while ((n = read(fds[0], text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK(WIFEXITED(status));
	fprintf(stderr, "%s", text);
	return WEXITSTATUS(status);
}

static int run_thing(char **argv)
{
	uint64_t size = 0;
	struct cli c;
	int id, argc = 0;

	while (argv[argc])
		argc++;
	cli_begin(&c, &thing, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == CLI_LONG && cli_size(&c, 0, &size))
			return PROG_USAGE;
		printf("%s=%s %llu;", c.option->name, c.value ? c.value : "",
		       (unsigned long long)size);
	}
	if (id < 0)
		return c.status;
	if (cli_words(&c, 1, 1))
		return PROG_USAGE;
	printf("%s\n", c.argv[c.first]);
	return PROG_OK;
}

/* A command line of at most five words after the name. */
struct line {
	const char *word[6];
	int status;
	const char *says;
};

TEST(lines)
{
	static const struct line lines[] = {
		{ { "-s", "a", "key" }, 0, "socket=a 0;key" },
		{ { "key", "--socket=a", "-j" }, 0, "socket=a 0;json= 0;key" },
		{ { "--size", "2K", "--", "-x" }, 0, "size=2K 2048;-x" },
		{ { "--help" }, 0, "usage: onecopy thing [OPTIONS] KEY" },
		{ { "-h" }, 0, "where the node is (default: here)" },
		{ { "--sokcet", "a" },
		  2,
		  "onecopy thing: unknown option --sokcet; "
		  "did you mean --socket?\n" },
		{ { "--sokcet=a" }, 2, "did you mean --socket?" },
		{ { "--zzzz" }, 2, "unknown option --zzzz; see --help" },
		{ { "-z" }, 2, "unknown option -z" },
		{ { "--json=1" }, 2, "--json takes no value" },
		{ { "--help=1" }, 2, "--help takes no value" },
		{ { "--socket" }, 2, "--socket needs a value: PATH" },
		{ { "-s" }, 2, "--socket needs a value: PATH" },
		{ { "--size", "x", "k" }, 2, "--size 'x': expected a size" },
		{ { "a", "b" }, 2, "unexpected 'b'" },
		{ { NULL }, 2, "usage: onecopy thing [OPTIONS] KEY" },
	};

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		char name[] = "thing", words[5][32], text[4096];
		char *argv[7] = { name };

		for (int w = 0; w < 5 && lines[i].word[w]; w++) {
			snprintf(words[w], sizeof(words[w]), "%s",
				 lines[i].word[w]);
			argv[w + 1] = words[w];
		}
		CHECK_INT(captured(run_thing, argv, text, sizeof(text)), ==,
			  lines[i].status);
		if (!strstr(text, lines[i].says))
			FAIL("does not say \"%s\"", lines[i].says);
		if (lines[i].status)
			CHECK(strchr(text, '\n') == text + strlen(text) - 1);
	}
}

static const struct command hidden = { .name = "inner",
				       .summary = "not for people",
				       .hidden = true };
static const struct command *const table[] = { &thing, NULL, &hidden };

static int find(char **argv)
{
	return cli_find(table, ARRAY_LEN(table), argv[0]) ? 0 : PROG_USAGE;
}

static int help_all(char **argv)
{
	(void)argv;
	cli_help_all(table, ARRAY_LEN(table));
	return 0;
}

TEST(commands)
{
	char good[] = "thing", in[] = "inner", near[] = "thinh", far[] = "xyz";
	char *argv[] = { good, NULL };
	char text[4096];

	CHECK_INT(captured(find, argv, text, sizeof(text)), ==, 0);
	argv[0] = in;
	CHECK_INT(captured(find, argv, text, sizeof(text)), ==, 0);
	argv[0] = near;
	CHECK_INT(captured(find, argv, text, sizeof(text)), ==, PROG_USAGE);
	CHECK_STR(text, "onecopy: unknown command 'thinh'; "
			"did you mean 'thing'?\n");
	argv[0] = far;
	CHECK_INT(captured(find, argv, text, sizeof(text)), ==, PROG_USAGE);
	CHECK_STR(text, "onecopy: unknown command 'xyz'; "
			"see onecopy --help\n");
	CHECK_INT(captured(help_all, argv, text, sizeof(text)), ==, 0);
	CHECK(strstr(text, "does a thing"));
	CHECK(!strstr(text, "inner"));
}

TEST(statuses_of_errors)
{
	CHECK_INT(exit_of(0), ==, PROG_OK);
	CHECK_INT(exit_of(-ECONNREFUSED), ==, PROG_NO_NODE);
	CHECK_INT(exit_of(-EACCES), ==, PROG_REFUSED);
	CHECK_INT(exit_of(-EIO), ==, PROG_SYSTEM);
}
