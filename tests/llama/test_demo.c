/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy-llama demo, small: what it says is right, and nothing stays behind. */
#include <dirent.h>
#include <jansson.h>
#include "tests/llama/rig.h"
#include "tests/prog/run.h"

/* From here on run_program() runs onecopy-llama; what it leaves in its runtime
 * folder is seen there. */
static void begin(void)
{
	const char *binary = rig_program();

	setenv("ONECOPY_BIN", binary, 1);
	setenv("XDG_RUNTIME_DIR", run_dir(), 1);
}

/* Folders of nodes in the runtime folder. */
static unsigned left_behind(void)
{
	DIR *dir = opendir(run_dir());
	struct dirent *e;
	unsigned n = 0;

	CHECK(dir != NULL);
	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, "onecopy-", 8) == 0;
	closedir(dir);
	return n;
}

static json_int_t number(const json_t *root, const char *name)
{
	json_t *value = json_object_get(root, name);

	if (!json_is_integer(value))
		FAIL("no %s", name);
	return json_integer_value(value);
}

static void check_report(const json_t *root)
{
	const json_t *acts = json_object_get(root, "acts");
	const json_t *together = json_array_get(acts, 1);
	json_int_t prompt = number(root, "system_tokens");
	json_int_t block = number(root, "block_bytes");

	CHECK_INT(json_array_size(acts), ==, 5);
	CHECK_INT(number(root, "wrong_answers"), ==, 0);
	CHECK_INT(number(root, "compared_answers"), ==, 15);
	CHECK_INT(number(root, "lost_blocks"), ==, 0);
	CHECK_INT(number(together, "reused_tokens"), ==, 2 * prompt);
	CHECK_INT(number(together, "sharing_engines"), ==, 3);
	CHECK_INT(number(together, "pool_bytes"), ==,
		  number(together, "pool_blocks") * block);
	/* One system prompt, and three times what each agent has of its own. */
	CHECK_INT(number(together, "pool_blocks"), <=, prompt / 16 + 3 * 16);
	CHECK_INT(number(json_array_get(acts, 0), "reused_tokens"), ==, 0);
	for (size_t i = 2; i < 5; i++)
		CHECK_INT(number(json_array_get(acts, i), "computed_tokens"),
			  ==, 3);
	/* the node came back with all, and the answers took it from there */
	CHECK_INT(number(root, "found_blocks"), >=,
		  number(together, "pool_blocks"));
	CHECK_INT(number(json_array_get(acts, 4), "fetched_blocks"), >=,
		  prompt / 16);
	for (size_t i = 0; i < 4; i++)
		CHECK_INT(number(json_array_get(acts, i), "fetched_blocks"), ==,
			  0);
}

static void check_svg(const char *path)
{
	char text[64] = "";
	FILE *f = fopen(path, "re");

	CHECK(f != NULL);
	CHECK(fgets(text, sizeof(text), f) != NULL);
	CHECK(strncmp(text, "<svg ", 5) == 0);
	CHECK_OK(fseek(f, -7, SEEK_END));
	CHECK(fgets(text, sizeof(text), f) != NULL);
	CHECK_STR(text, "</svg>\n");
	fclose(f);
	CHECK_OK(remove(path));
}

static void whole(const char *model)
{
	char svg[128];
	struct run r;
	json_t *root;

	snprintf(svg, sizeof(svg), "%s/demo.svg", run_dir());
	r = RUN("demo", "--model", model, "--json", "--svg", svg);
	if (r.status)
		FAIL("%d: %s%s", r.status, r.err, r.out);
	root = run_json(&r);
	check_report(root);
	json_decref(root);
	run_free(&r);
	check_svg(svg);
	CHECK_INT(left_behind(), ==, 0);
	run_clean();
}

TEST(demo_of_random_weights)
{
	begin();
	whole("random:tiny");
}

TEST(demo_of_a_trained_model)
{
	struct rig r;

	begin();
	rig_engine(&r);
	rig_stories(&r);
	whole(r.path);
	rig_end(&r);
}

/* Waits for the folder of its node, which it makes for the second act. */
static void await_node(void)
{
	uint64_t end = clock_ns() + LIVE_DEADLINE;

	while (left_behind() == 0)
		CHECK_INT(clock_ns(), <, end);
}

TEST(an_interrupted_demo_leaves_nothing)
{
	pid_t pid;

	begin();
	pid = run_start((const char *const[]){ "demo", "--model", "random:tiny",
					       NULL });
	await_node();
	CHECK_INT(run_end(pid, SIGINT), ==, 1);
	CHECK_INT(left_behind(), ==, 0);
	run_clean();
}

TEST(what_the_demo_cannot_do_is_said)
{
	struct run r;

	begin();
	r = RUN("demo", "--model", "/nowhere/model.gguf");
	CHECK_INT(r.status, ==, 5);
	CHECK(strstr(r.err, "/nowhere/model.gguf") != NULL);
	run_free(&r);
	r = RUN("demo", "--engine", "/nowhere");
	CHECK_INT(r.status, ==, 5);
	CHECK(strstr(r.err, "/nowhere") != NULL);
	run_free(&r);
	r = RUN("demo", "--help");
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "usage: onecopy-llama demo") != NULL);
	run_free(&r);
	run_clean();
}
