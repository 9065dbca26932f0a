/* SPDX-License-Identifier: Apache-2.0 */
/* What every command must do: help, bad usage, exit statuses, JSON. */
#include "tests/prog/run.h"
#include "tests/test.h"

static const char *const commands[] = { "replay",  "demo",    "stat",
					"where",   "why",     "check",
					"bench",   "doctor",  "sim",
					"session", "torture", "cxl" };

#define EACH(name)                               \
	for (const char *const *name = commands; \
	     name < commands + sizeof(commands) / sizeof(commands[0]); name++)

static void expect(struct run r, int status)
{
	CHECK_INT(r.status, ==, status);
	run_free(&r);
}

TEST(help_of_each_command)
{
	EACH(name)
	{
		struct run r = RUN(*name, "--help");

		CHECK_INT(r.status, ==, 0);
		CHECK(strstr(r.out, *name) != NULL);
		CHECK(strstr(r.out, "--json") != NULL);
		run_free(&r);
	}
}

TEST(unknown_options_are_usage)
{
	EACH(name)
	expect(RUN(*name, "--no-such-option"), 2);
}

TEST(wrong_words_are_usage)
{
	expect(RUN("replay"), 2);
	expect(RUN("replay", "a", "b"), 2);
	expect(RUN("demo", "word"), 2);
	expect(RUN("stat", "word"), 2);
	expect(RUN("stat", "--watch", "0"), 2);
	expect(RUN("check", "word"), 2);
	expect(RUN("where"), 2);
	expect(RUN("where", "abc"), 2);
	expect(RUN("why"), 2);
	expect(RUN("why", "abc"), 2);
	expect(RUN("why", "--tokens", "1,2", "word"), 2);
	expect(RUN("why", "--block-tokens", "0", "--tokens", "1"), 2);
	expect(RUN("bench"), 2);
	expect(RUN("bench", "no-such-bench"), 2);
	expect(RUN("cxl"), 2);
	expect(RUN("cxl", "no-such-word"), 2);
	expect(RUN("cxl", "list", "word"), 2);
	expect(RUN("cxl", "list", "--root", "/nowhere", "--poison"), 2);
	expect(RUN("cxl", "format"), 2);
	expect(RUN("cxl", "join"), 2);
	expect(RUN("cxl", "fence", "/nowhere"), 2);
}

TEST(wrong_values_are_usage)
{
	expect(RUN("replay", "--speed", "0", "x"), 2);
	expect(RUN("replay", "--speed", "-1", "x"), 2);
	expect(RUN("replay", "--speed", "fast", "x"), 2);
	expect(RUN("replay", "--clients", "0", "x"), 2);
	expect(RUN("replay", "--clients", "65", "x"), 2);
	expect(RUN("replay", "--block-bytes", "1", "x"), 2);
	expect(RUN("replay", "--dram", "much", "x"), 2);
	expect(RUN("replay", "--embedded", "--node", "y", "x"), 2);
	expect(RUN("where", "--part", "1", "x"), 2);
	expect(RUN("where", "--part", "a/b", "x"), 2);
	expect(RUN("bench", "--runs", "0", "local"), 2);
	expect(RUN("serve", "--print-config", "--cxl", "memory:64M", "--cxl",
		   "node:0"),
	       2);
}

TEST(no_node_is_said)
{
	static const char key[] = "00000000000000000000000000000000"
				  "00000000000000000000000000000000";
	char path[108];

	snprintf(path, sizeof(path), "%s/nobody", run_dir());
	expect(RUN("stat", "--node", path), 3);
	expect(RUN("check", "--node", path), 3);
	expect(RUN("where", "--node", path, key), 3);
	expect(RUN("why", "--node", path, key), 3);
	run_clean();
}

/* A configuration that a node refuses is not printed as one that would be used. */
TEST(settings_of_no_region)
{
	char path[128];
	struct run r;
	FILE *f;

	snprintf(path, sizeof(path), "%s/node.yaml", run_dir());
	f = fopen(path, "we");
	CHECK(f != NULL);
	CHECK_INT(fputs("region: {shards: 2}\n", f), >=, 0);
	CHECK_OK(fclose(f));
	r = RUN("serve", "--config", path, "--print-config");
	CHECK_INT(r.status, ==, 5);
	CHECK(strstr(r.err, "no path") != NULL);
	CHECK_STR(r.out, "");
	run_free(&r);
	run_clean();
}

TEST(a_place_that_cannot_be_had)
{
	char path[128];
	struct run r;

	snprintf(path, sizeof(path), "%s/none/node.sock", run_dir());
	r = RUN("serve", "--socket", path);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "with --socket\n") != NULL);
	run_free(&r);
	run_clean();
}

TEST(a_trace_that_cannot_be_used)
{
	char path[108];
	FILE *f;

	snprintf(path, sizeof(path), "%s/bad.jsonl", run_dir());
	expect(RUN("replay", path), 5);
	f = fopen(path, "we");
	CHECK(f != NULL);
	fprintf(f, "{\"timestamp\": 0}\n");
	fclose(f);
	expect(RUN("replay", path), 5);
	f = fopen(path, "we");
	CHECK(f != NULL);
	fclose(f);
	expect(RUN("replay", path), 5);
	run_clean();
}

TEST(stat_check_and_where_of_a_node)
{
	static const char key[] = "00000000000000000000000000000000"
				  "00000000000000000000000000000000";
	char socket[108];
	pid_t node = run_node("64M", socket);
	struct run r = RUN("stat", "--node", socket, "--json");
	json_t *root;

	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	CHECK(json_is_object(json_object_get(root, "counters")));
	json_decref(root);
	run_free(&r);
	expect(RUN("stat", "--node", socket), 0);

	r = RUN("check", "--node", socket, "--json");
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	CHECK_INT(json_array_size(json_object_get(root, "problems")), ==, 0);
	json_decref(root);
	run_free(&r);

	r = RUN("where", "--node", socket, "--json", key);
	CHECK_INT(r.status, ==, 1);
	root = run_json(&r);
	CHECK_INT(json_array_size(root), ==, 1);
	json_decref(root);
	run_free(&r);
	CHECK_INT(run_end(node, SIGTERM), ==, 0);
	run_clean();
}
