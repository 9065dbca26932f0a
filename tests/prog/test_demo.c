/* SPDX-License-Identifier: Apache-2.0 */
/* The demonstration and the benches, small. */
#include "tests/prog/run.h"
#include "tests/test.h"

static void check_kill(const json_t *root)
{
	json_t *kill = json_object_get(root, "kill");

	CHECK_INT(json_integer_value(json_object_get(root, "wrong_bytes")), ==,
		  0);
	CHECK(json_is_true(json_object_get(kill, "killed")));
	CHECK(json_is_true(json_object_get(kill, "restarted")));
	CHECK_INT(json_integer_value(json_object_get(kill, "resident")), >, 0);
	CHECK_INT(json_integer_value(json_object_get(kill, "lost")), ==, 0);
}

TEST(demo_once)
{
	const char *trace = run_trace(120, 6, 5, 4);
	char socket[108];
	struct run r;
	json_t *root;

	snprintf(socket, sizeof(socket), "%s/demo.sock", run_dir());
	r = RUN("demo", "--once", "--json", "--dram", "64M", "--trace", trace,
		"--socket", socket);
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	check_kill(root);
	json_decref(root);
	run_free(&r);
	CHECK_INT(access(socket, F_OK), !=, 0);
	run_clean();
}

/* A pool that is full when its server is killed. */
TEST(demo_in_a_small_pool)
{
	const char *trace = run_trace(400, 20, 5, 4);
	char socket[108];
	struct run r;
	json_t *root;

	snprintf(socket, sizeof(socket), "%s/demo.sock", run_dir());
	r = RUN("demo", "--once", "--json", "--dram", "16M", "--clients", "2",
		"--trace", trace, "--socket", socket);
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	check_kill(root);
	json_decref(root);
	run_free(&r);
	run_clean();
}

static json_t *figure(const json_t *figures, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(figures, i, one)
		if (strcmp(json_string_value(json_object_get(one, "figure")),
			   name) == 0)
			return one;
	FAIL("no figure %s", name);
}

/* Speed is not judged here: what does not depend on it is. */
TEST(bench_figures)
{
	struct run r = RUN("bench", "--json", "--runs", "1", "--blocks",
			   "16384", "local", "restart");
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	CHECK(json_real_value(
		      json_object_get(figure(root, "pin_ns"), "value")) > 0);
	CHECK(json_is_true(
		json_object_get(figure(root, "restart_lost"), "holds")));
	CHECK(json_is_object(
		json_object_get(figure(root, "restart_ms"), "machine")));
	json_decref(root);
	run_free(&r);
}

/* Every answer of its look-ups is checked by the bench itself. */
TEST(bench_index_figures)
{
	struct run r = RUN("bench", "--json", "--runs", "1", "--blocks",
			   "16384", "index");
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	CHECK(json_is_true(json_object_get(
		figure(root, "bytes_per_engine_block"), "holds")));
	CHECK(json_real_value(json_object_get(figure(root, "drained_ops"),
					      "value")) > 0);
	CHECK(json_real_value(json_object_get(figure(root, "lookup_p50_us"),
					      "value")) > 0);
	json_decref(root);
	run_free(&r);
}
