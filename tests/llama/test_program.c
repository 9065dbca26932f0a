/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy-llama as people run it. */
#include <fcntl.h>
#include <jansson.h>
#include "tests/llama/rig.h"
#include "tests/prog/run.h"

static struct live n;
static char system_file[96];

/* From here on run_program() runs onecopy-llama. */
static void begin(void)
{
	const char *binary = rig_program();

	live_start(&n, "--dram", "128M");
	setenv("ONECOPY_BIN", binary, 1);
}

static void end(void)
{
	live_stop(&n);
}

static const char *system_text(void)
{
	FILE *f;

	snprintf(system_file, sizeof(system_file), "%s/system", n.dir);
	f = fopen(system_file, "we");
	CHECK(f != NULL);
	for (int i = 0; i < 20; i++)
		fprintf(f, "Rule_%d:be_kind.", i);
	CHECK_OK(fclose(f));
	return system_file;
}

/* The figures of its last prompt: the last line of its errors. */
static json_t *figures(const struct run *r)
{
	const char *at = r->err;
	json_t *last = NULL;

	while (at && (at = strchr(at, '{')) != NULL) {
		json_t *one = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);

		if (!one)
			FAIL("no JSON in %s", r->err);
		json_decref(last);
		last = one;
		at = strchr(at, '\n');
	}
	CHECK(last != NULL);
	return last;
}

static json_int_t number(json_t *root, const char *name)
{
	json_t *value = json_object_get(root, name);

	if (!json_is_integer(value))
		FAIL("no %s", name);
	return json_integer_value(value);
}

#define ASK(model_, ...)                                                      \
	RUN("-m", model_, "--temperature", "0", "-n", "12", "--threads", "1", \
	    "--json", __VA_ARGS__)

TEST(a_second_process_reuses_and_says_the_same)
{
	struct run first, second;
	const char *text;
	json_t *f;

	begin();
	text = system_text();
	first = ASK("random:tiny", "--node", n.socket, "--system", text, "-p",
		    "hello");
	CHECK_INT(first.status, ==, 0);
	f = figures(&first);
	CHECK_INT(number(f, "reused_tokens"), ==, 0);
	CHECK_INT(number(f, "exported_bytes"), >, 0);
	json_decref(f);
	second = ASK("random:tiny", "--node", n.socket, "--system", text, "-p",
		     "hello");
	CHECK_INT(second.status, ==, 0);
	f = figures(&second);
	CHECK_INT(number(f, "reused_tokens"), >=, 300);
	CHECK_INT(number(f, "computed_tokens"), <=, 16);
	CHECK_INT(number(f, "exported_bytes"), ==, 0);
	CHECK_INT(number(f, "import_failures"), ==, 0);
	json_decref(f);
	CHECK_STR(first.out, second.out);
	run_free(&first);
	run_free(&second);
	/* Other weights of the same shape. */
	first = ASK("random:tiny:2", "--node", n.socket, "--system", text, "-p",
		    "hello");
	f = figures(&first);
	CHECK_INT(number(f, "reused_tokens"), ==, 0);
	json_decref(f);
	run_free(&first);
	end();
}

TEST(a_trained_model_tells_its_story)
{
	struct rig r;
	struct run run;

	rig_engine(&r);
	rig_stories(&r);
	begin();
	run = ASK(r.path, "--node", n.socket, "-p", "Once upon a time");
	CHECK_INT(run.status, ==, 0);
	CHECK(strstr(run.out, ", there was a little girl named Lily.") ==
	      run.out);
	run_free(&run);
	rig_end(&r);
	end();
}

/* Lines for its standard input. */
static void give_lines(const char *text)
{
	char path[96];
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%s/lines", n.dir);
	f = fopen(path, "we");
	CHECK(f != NULL);
	CHECK(fputs(text, f) >= 0);
	CHECK_OK(fclose(f));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_INT(fd, >=, 0);
	CHECK_INT(dup2(fd, 0), ==, 0); /* words: its standard input */
	close(fd);
	CHECK_OK(unlink(path));
}

/* What this engine holds is not told as taken over; a conversation that another
 * process had before is taken over turn by turn, and answered alike. */
TEST(a_conversation)
{
	static const char lines[] = "good_morning\n\nhow_is_the_weather\n";
	json_int_t reused = 0;
	struct run r[2];

	begin();
	system_text();
	for (int i = 0; i < 2; i++) {
		json_t *f;

		give_lines(lines);
		r[i] = ASK("random:tiny", "--node", n.socket, "--system",
			   system_file, "-i", "--stats");
		CHECK_INT(r[i].status, ==, 0);
		f = figures(&r[i]);
		CHECK_INT(number(f, "held_tokens"), >=, 300);
		CHECK_INT(number(f, "held_tokens") +
				  number(f, "reused_tokens") +
				  number(f, "computed_tokens"),
			  ==, number(f, "prompt_tokens"));
		CHECK(strstr(r[i].err, "were in this engine") != NULL);
		CHECK(strstr(r[i].err, "not shared") != NULL);
		reused = number(f, "reused_tokens");
		json_decref(f);
	}
	CHECK_INT(reused, >, 0);
	CHECK_STR(r[0].out, r[1].out);
	run_free(&r[0]);
	run_free(&r[1]);
	end();
}

TEST(without_a_node_it_works_and_says_so)
{
	struct run run;

	begin();
	unsetenv("ONECOPY_SOCKET");
	setenv("ONECOPY_SOCKET", "/nowhere/at/all", 1);
	run = ASK("random:tiny", "-p", "hello");
	CHECK_INT(run.status, ==, 0);
	CHECK(strstr(run.err, "nothing is shared") != NULL);
	CHECK(strstr(run.err, "/nowhere/at/all") != NULL);
	run_free(&run);
	run = ASK("random:tiny", "-p", "hello", "--no-node");
	CHECK_INT(run.status, ==, 0);
	CHECK(strstr(run.err, "nothing is shared") == NULL);
	run_free(&run);
	run = ASK("random:tiny", "-p", "hello", "--node", "/nowhere/at/all");
	CHECK_INT(run.status, ==, 3);
	run_free(&run);
	end();
}

TEST(what_cannot_be_is_said)
{
	/* Than the engine's smallest context, with a byte a token. */
	static char longer[600];
	static const struct {
		int status;
		const char *words, *argv[8];
	} all[] = {
		{ 2, "are needed", { "-p", "x" } },
		{ 2, "are needed", { "-m", "random:tiny" } },
		{ 2, "--threads", { "-m", "x", "-p", "x", "--threads", "0" } },
		{ 2, "expected 0 to 100", { "--temperature", "warm" } },
		{ 2, "did you mean --stats", { "--stets" } },
		{ 5, "is no model", { "-m", "/etc/passwd", "-p", "x" } },
		{ 5,
		  "No such file",
		  { "-m", "/nowhere/model.gguf", "-p", "x" } },
		{ 5,
		  "zero byte",
		  { "-m", "random:tiny", "-p", "x", "--system",
		    "/proc/self/cmdline", "--no-node" } },
		{ 5,
		  "File too large",
		  { "-m", "random:tiny", "-p", "x", "--system", "/dev/zero",
		    "--no-node" } },
		{ 5, "tiny, small", { "-m", "random:huge", "-p", "x" } },
		{ 5, "is no seed", { "-m", "random:tiny:x", "-p", "x" } },
		{ 5,
		  "/nowhere",
		  { "-m", "random:tiny", "-p", "x", "--system", "/nowhere",
		    "--no-node" } },
		{ 5,
		  "/nowhere",
		  { "-m", "random:tiny", "-p", "x", "--engine", "/nowhere" } },
		{ 1,
		  "do not fit",
		  { "-m", "random:tiny", "-p", longer, "--context", "64",
		    "--no-node" } },
	};

	memset(longer, 'x', sizeof(longer) - 1);
	begin();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct run r;

		r = run_program(all[i].argv);
		if (r.status != all[i].status || !strstr(r.err, all[i].words))
			FAIL("%zu: %d \"%s\"", i, r.status, r.err);
		run_free(&r);
	}
	end();
}

TEST(help_and_version)
{
	struct run r;

	begin();
	r = RUN("--help");
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "usage: onecopy-llama -m FILE") != NULL);
	run_free(&r);
	r = RUN("--version");
	CHECK_INT(r.status, ==, 0);
	CHECK(strncmp(r.out, "onecopy-llama ", 14) == 0);
	run_free(&r);
	end();
}
