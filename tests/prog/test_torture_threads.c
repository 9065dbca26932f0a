/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short torture whose actors have threads that share clients. The thread
 * sanitizer's build runs this one too: what it reports ends an actor or the
 * server, and both count as failures. It must find a planted race.
 */
#include "tests/prog/live.h"
#include "tests/prog/run.h"

static uint64_t number(const json_t *root, const char *name)
{
	const json_t *v = json_object_get(root, name);

	CHECK(json_is_number(v));
	return (uint64_t)json_number_value(v);
}

TEST(threads_that_share_a_client)
{
	struct run r = RUN("torture", "--clients", "6", "--threads", "3",
			   "--kills", "12", "--server-kills", "2", "--seconds",
			   "5", "--json");
	json_t *root = run_json(&r);

	if (r.status)
		fprintf(stderr, "%s\n", r.err);
	CHECK_INT(number(root, "wrong_bytes"), ==, 0);
	CHECK_INT(number(root, "illegal_histories"), ==, 0);
	CHECK_INT(number(root, "leaked_frames"), ==, 0);
	CHECK_INT(number(root, "leaked_pins"), ==, 0);
	CHECK_INT(number(root, "leaked_sessions"), ==, 0);
	CHECK_INT(number(root, "lost_blocks"), ==, 0);
	CHECK_INT(number(root, "failures"), ==, 0);
	CHECK_INT(number(root, "threads"), ==, 3);
	CHECK_INT(number(root, "client_kills"), ==, 12);
	CHECK_INT(number(root, "ops"), >, 0);
	CHECK_INT(r.status, ==, 0);
	json_decref(root);
	run_free(&r);
}

TEST(a_planted_race_is_found)
{
#ifdef LIVE_TSAN
	struct run r = RUN("torture", "--clients", "4", "--threads", "2",
			   "--kills", "0", "--server-kills", "0", "--seconds",
			   "2", "--plant-race", "--json");
	json_t *root = run_json(&r);

	CHECK_INT(number(root, "failures"), >=, 1);
	CHECK(strstr(r.err, "data race"));
	CHECK_INT(r.status, ==, 1);
	json_decref(root);
	run_free(&r);
#else
	SKIP("only the thread sanitizer's build can find it");
#endif
}
