/* SPDX-License-Identifier: Apache-2.0 */
/* A short torture, and one with a planted fault, which it must find. */
#include <stdlib.h>
#include "tests/prog/live.h"
#include "tests/prog/run.h"

static uint64_t number(const json_t *root, const char *name)
{
	const json_t *v = json_object_get(root, name);

	CHECK(json_is_number(v));
	return (uint64_t)json_number_value(v);
}

/* A torture with a planted fault, longer each time until it has found wrong
 * bytes: how much comes to pass in a second is the machine's affair. */
static struct run until_found(unsigned seconds, const char *const *words,
			      json_t **ret_root)
{
	for (; seconds <= LIVE_DEADLINE / NS_PER_S; seconds *= 2) {
		const char *argv[20] = { "torture", "--json", "--seconds" };
		char text[16];
		struct run r;
		size_t at = 3;

		snprintf(text, sizeof(text), "%u", seconds);
		argv[at++] = text;
		for (size_t i = 0; words[i]; i++)
			argv[at++] = words[i];
		r = run_program(argv);
		*ret_root = run_json(&r);
		if (number(*ret_root, "wrong_bytes") > 0)
			return r;
		json_decref(*ret_root);
		run_free(&r);
	}
	FAIL("no wrong bytes were found");
}

TEST(nothing_is_wrong)
{
	struct run r = RUN("torture", "--clients", "8", "--kills",
#ifdef LIVE_SLOW
			   "16", "--server-kills", "2",
#else
			   "40", "--server-kills", "4",
#endif
			   "--seconds", "6", "--json");
	json_t *root = run_json(&r);

	CHECK_INT(number(root, "wrong_bytes"), ==, 0);
	CHECK_INT(number(root, "illegal_histories"), ==, 0);
	CHECK_INT(number(root, "leaked_frames"), ==, 0);
	CHECK_INT(number(root, "leaked_pins"), ==, 0);
	CHECK_INT(number(root, "lost_blocks"), ==, 0);
	CHECK_INT(number(root, "problems"), ==, 0);
	CHECK_INT(number(root, "failures"), ==, 0);
	CHECK_INT(number(root, "client_kills"), >=, 16);
	CHECK_INT(number(root, "server_kills"), >=, 2);
	CHECK_INT(number(root, "rounds"), >=, 2);
	CHECK_INT(number(root, "ops"), >, 0);
	CHECK(json_is_true(json_object_get(root, "right")));
	CHECK_INT(r.status, ==, 0);
	json_decref(root);
	run_free(&r);
}

/* The node is not told that devices write, so it quarantines nothing: what they
 * write late lands in other blocks. */
TEST(a_device_that_is_not_told_of_is_found)
{
	json_t *root;
	struct run r =
		until_found(5,
			    (const char *const[]){ "--clients", "8", "--kills",
						   "40", "--server-kills", "0",
						   "--plant-device", NULL },
			    &root);

	CHECK_INT(number(root, "quarantines"), ==, 0);
	CHECK_INT(number(root, "device_kills"), >=, 1);
	CHECK(json_is_false(json_object_get(root, "right")));
	CHECK_INT(r.status, ==, 1);
	json_decref(root);
	run_free(&r);
}

TEST(a_planted_fault_is_found)
{
	struct run r;
	json_t *root;

	/* of a node that it has nothing to do with */
	CHECK_OK(setenv("ONECOPY_TOKEN", "of-another-node-altogether", 1));
	CHECK_OK(setenv("ONECOPY_TENANT", "another", 1));
	r = until_found(2,
			(const char *const[]){ "--clients", "4", "--kills", "2",
					       "--server-kills", "0",
					       "--plant-bytes", NULL },
			&root);
	CHECK(json_is_false(json_object_get(root, "right")));
	CHECK_INT(r.status, ==, 1);
	json_decref(root);
	run_free(&r);
}
