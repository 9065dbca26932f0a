/* SPDX-License-Identifier: Apache-2.0 */
/* The bench nvme on little: its figures are there and make sense; what they are is
 * no matter here. */
#include "tests/prog/run.h"
#include "tests/test.h"

static double value(const json_t *all, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach(all, i, one) {
		const json_t *its = json_object_get(one, "figure");

		if (strcmp(json_string_value(its), name) == 0)
			return json_number_value(json_object_get(one, "value"));
	}
	FAIL("no figure %s", name);
}

static json_t *bench(void)
{
	char dir[300];
	struct run r;
	json_t *all;

	snprintf(dir, sizeof(dir), "%s:128M", run_dir());
	r = RUN("bench", "--json", "-r", "1", "-b", "16384", "-d", dir, "nvme");
	if (r.status)
		FAIL("%d: %s", r.status, r.err);
	all = run_json(&r);
	run_free(&r);
	run_clean();
	return all;
}

TEST(every_figure)
{
	const char *scale = getenv("ONECOPY_TEST_TIME_SCALE");
	json_t *all;

	/* the one below walks the same code, and fio is not ours to check */
	if (scale && strcmp(scale, "1") != 0)
		SKIP("once is enough: in builds without sanitizers");
	all = bench();
	CHECK(value(all, "read_2m_rate") > 0);
	CHECK(value(all, "randread_2m_rate") > 0);
	CHECK(value(all, "write_2m_rate") > 0);
	CHECK(value(all, "randread_64k_rate") > 0);
	CHECK(value(all, "cpu_per_gb_onecopy") > 0);
	CHECK(value(all, "cpu_per_gb_checksum") > 0);
	/* a file system of memory has no drive to fetch from */
	CHECK(value(all, "moves_per_byte") <= 1.001);
	CHECK(value(all, "recover_ms") > 0);
	json_decref(all);
}

TEST(without_fio)
{
	json_t *all;

	CHECK_OK(setenv("PATH", "/nowhere", 1));
	all = bench();
	CHECK(value(all, "read_2m_rate") > 0);
	CHECK(value(all, "read_2m") == 0); /* null */
	CHECK(value(all, "cpu_per_gb") == 0);
	json_decref(all);
}
