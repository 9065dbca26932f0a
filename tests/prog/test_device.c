/* SPDX-License-Identifier: Apache-2.0 */
/* What the program says of a GPU and does with it, over fakes of NVIDIA's
 * libraries (tests/fakes/): the program's side of it, and nothing of hardware. */
#include "tests/prog/run.h"
#include "tests/test.h"

/* The fakes lie beside the program. */
static void fakes(const char *cufile)
{
	const char *program = getenv("ONECOPY_BIN");
	char path[512];
	int dir;

	CHECK(program != NULL);
	dir = (int)(strrchr(program, '/') - program);
	snprintf(path, sizeof(path), "%.*s/libfake_cuda.so", dir, program);
	CHECK_OK(setenv("ONECOPY_CUDA", path, 1));
	snprintf(path, sizeof(path), "%.*s/%s", dir, program, cufile);
	CHECK_OK(setenv("ONECOPY_CUFILE", path, 1));
}

static const json_t *figure(const json_t *all, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach(all, i, one) {
		const json_t *its = json_object_get(one, "figure");

		if (strcmp(json_string_value(its), name) == 0)
			return one;
	}
	FAIL("no figure %s", name);
}

static double value(const json_t *all, const char *name)
{
	return json_number_value(json_object_get(figure(all, name), "value"));
}

static json_t *bench(const char *cufile)
{
	char dir[300];
	struct run r;
	json_t *all;

	fakes(cufile);
	snprintf(dir, sizeof(dir), "%s:64M", run_dir());
	r = RUN("bench", "--json", "-r", "1", "-d", dir, "device");
	if (r.status)
		FAIL("%d: %s", r.status, r.err);
	all = run_json(&r);
	run_free(&r);
	run_clean();
	return all;
}

TEST(fake_bench_by_every_path_that_is_there)
{
	json_t *all = bench("libfake_cufile.so");
	const json_t *direct = figure(all, "device_direct");
	const json_t *machine = json_object_get(direct, "machine");

	CHECK(value(all, "device_disk_limit") > 0);
	CHECK(value(all, "device_host_limit") > 0);
	CHECK(value(all, "device_fallback") > 0);
	CHECK(value(all, "device_fallback_cpu_per_gb") > 0);
	CHECK(value(all, "device_compat") > 0);
	/* the fake's machine has no nvidia-fs: not direct, and it is said */
	CHECK(json_is_null(json_object_get(direct, "value")));
	CHECK(strstr(json_string_value(json_object_get(direct, "note")),
		     "nvidia-fs driver is not loaded") != NULL);
	CHECK_STR(json_string_value(json_object_get(machine, "cufile_mode")),
		  "not direct");
	CHECK_STR(json_string_value(json_object_get(machine, "gpu")),
		  "fake GPU");
	json_decref(all);
}

TEST(fake_bench_without_cufile)
{
	json_t *all = bench("libno_such.so");

	CHECK(value(all, "device_fallback") > 0);
	CHECK(json_is_null(
		json_object_get(figure(all, "device_compat"), "value")));
	json_decref(all);
}

TEST(bench_without_a_gpu)
{
	struct run r;
	json_t *all;

	CHECK_OK(setenv("ONECOPY_CUDA", "/nowhere/libcuda.so.1", 1));
	r = RUN("bench", "--json", "device");
	CHECK_INT(r.status, ==, 0);
	all = run_json(&r);
	CHECK_INT(json_array_size(all), ==, 3);
	CHECK_STR(json_string_value(json_object_get(
			  figure(all, "device_fallback"), "note")),
		  "/nowhere/libcuda.so.1 is not found");
	json_decref(all);
	run_free(&r);
	r = RUN("bench", "-d", "/tmp:much", "device");
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.err, "is not DIR:SIZE") != NULL);
	run_free(&r);
}

TEST(fake_doctor_says_the_mode)
{
	struct run r;

	fakes("libfake_cufile.so");
	r = RUN("doctor", "--quick");
	CHECK(strstr(r.out, "fake GPU, 1 GiB") != NULL);
	CHECK(strstr(r.out, "1.15: compatible mode only") != NULL);
	CHECK(strstr(r.out, "modprobe nvidia-fs") != NULL);
	run_free(&r);
}
