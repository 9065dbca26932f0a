/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy bench llama, small: speed is not judged here, what does not depend on
 * it is. And that an engine which cannot be had is told and no failure.
 */
#include <jansson.h>
#include "tests/llama/rig.h"
#include "tests/prog/run.h"

static const json_t *figure(const json_t *figures, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(figures, i, one)
		if (strcmp(json_string_value(json_object_get(one, "figure")),
			   name) == 0)
			return one;
	FAIL("no figure %s", name);
}

static double value(const json_t *figures, const char *name)
{
	const json_t *v = json_object_get(figure(figures, name), "value");

	if (!json_is_number(v))
		FAIL("%s has no value", name);
	return json_number_value(v);
}

TEST(figures)
{
	struct run r;
	json_t *root;

	rig_program();
	r = RUN("bench", "--json", "--runs", "1", "--model", "random:tiny",
		"llama");
	if (r.status)
		FAIL("%d: %s", r.status, r.err);
	root = run_json(&r);
	CHECK(value(root, "compared_answers") >= 10);
	CHECK(value(root, "ttft_drive_vs_cold") > 0);
	CHECK(value(root, "ttft_drive_fetch_ms") > 0);
	CHECK(json_is_true(
		json_object_get(figure(root, "logits_equal"), "holds")));
	CHECK(json_is_true(
		json_object_get(figure(root, "shared_bytes"), "holds")));
	/* Not fewer than there must be: then something was not shared. */
	CHECK(value(root, "shared_bytes") > 0.99);
	CHECK(value(root, "import_moves") == 1.0);
	CHECK(value(root, "ttft_vs_cold") > 0);
	CHECK(value(root, "ttft_vs_statefile") > 0);
	CHECK(value(root, "exported_meanwhile") > 0);
	value(root, "miss_overhead");
	value(root, "export_stall");
	json_decref(root);
	run_free(&r);
}

TEST(without_an_engine)
{
	struct run r;
	json_t *root;

	if (!getenv("ONECOPY_LLAMA_BIN"))
		SKIP("ONECOPY_LLAMA_BIN does not name the program");
	setenv("ONECOPY_LLAMA", "/nowhere", 1);
	r = RUN("bench", "--json", "--runs", "1", "llama");
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	CHECK(json_is_null(
		json_object_get(figure(root, "ttft_vs_cold"), "value")));
	CHECK(strstr(json_string_value(json_object_get(
			     figure(root, "ttft_vs_cold"), "note")),
		     "/nowhere") != NULL);
	json_decref(root);
	run_free(&r);
}
