/* SPDX-License-Identifier: Apache-2.0 */
/* A node whose eviction is "onecopy": full, killed, right. */
#include "tests/prog/run.h"
#include "tests/test.h"

static long number(const json_t *root, const char *name)
{
	const json_t *v = json_object_get(root, name);

	CHECK(json_is_number(v));
	return (long)json_number_value(v);
}

static void replayed(const char *socket, const char *trace)
{
	struct run r = RUN("replay", "--json", "--node", socket,
			   "--block-bytes", "64K", trace);
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	CHECK_INT(number(root, "wrong_bytes"), ==, 0);
	CHECK_INT(number(root, "evicted"), >, 0);
	json_decref(root);
	run_free(&r);
	r = RUN("check", "--node", socket);
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
}

static void returns_are_told(const char *socket)
{
	struct run r = RUN("stat", "--json", "--node", socket);
	json_t *root = run_json(&r);
	const json_t *one = json_array_get(json_object_get(root, "returns"), 0);

	CHECK(one);
	CHECK_INT(number(one, "sessions_fit"), >=, 0);
	CHECK_INT(number(one, "lost_blocks"), <=, number(one, "blocks"));
	json_decref(root);
	run_free(&r);
}

/* It makes room, and a recount of the order finds nothing. */
TEST(a_full_node_makes_room)
{
	const char *trace = run_trace(400, 20, 5, 4);
	char socket[108];
	pid_t node;

	node = run_node_with("4M", "onecopy", socket);
	for (int i = 0; i < 2; i++)
		replayed(socket, trace);
	returns_are_told(socket);
	CHECK_INT(run_end(node, SIGTERM), ==, 0);
	run_clean();
}

TEST(there_is_no_other)
{
	struct run r = RUN("serve", "--eviction", "best");

	CHECK_INT(r.status, ==, 2);
	CHECK(strstr(r.err, "lru or onecopy") != NULL);
	run_free(&r);
}
