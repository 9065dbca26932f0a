/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines, as a command: each option reaches the simulation,
 * what is wrong is refused by name, reports say the same in every form. */
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/prog/run.h"
#include "tests/test.h"

/* Generated work, small, with what the caller adds; NULL ends it. */
#define FLEET(...) \
	RUN("sim", "shared", "--limit", "64", "--agents", "16", __VA_ARGS__)

static json_t *parsed(struct run r)
{
	json_t *root;

	CHECK_INT(r.status, ==, 0);
	root = json_loads(r.out, 0, NULL);
	CHECK(root != NULL);
	run_free(&r);
	return root;
}

static double at(const json_t *root, const char *name, const char *inner)
{
	const json_t *v = json_object_get(root, name);

	v = inner ? json_object_get(v, inner) : v;
	CHECK(json_is_number(v));
	return json_number_value(v);
}

static double mean_of(struct run r)
{
	json_t *root = parsed(r);
	double v = at(root, "ttft_ms", "mean");

	json_decref(root);
	return v;
}

static void refused(struct run r, const char *what)
{
	CHECK_INT(r.status, ==, 2);
	CHECK(strstr(r.err, what) != NULL);
	run_free(&r);
}

TEST(each_option_reaches_the_simulation)
{
	double plain = mean_of(FLEET("--engines", "4", "--json"));

	CHECK(plain > 0);
	/* equal options, equal results; one thing else, another result */
	CHECK(mean_of(FLEET("--engines", "4", "--json")) == plain);
	CHECK(mean_of(FLEET("--engines", "2", "--json")) > plain);
	CHECK(mean_of(FLEET("--engines", "4", "--load", "9", "--json")) >
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--seed", "2", "--json")) !=
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--prefix", "9000", "--json")) <
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--own", "9000", "--json")) >
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--within", "9s", "--json")) !=
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--every", "1s", "--json")) !=
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--route", "sglang",
			    "--json")) != plain);
	CHECK(mean_of(FLEET("--engines", "4", "--vram", "110", "--json")) >
	      plain);
	CHECK(mean_of(FLEET("--engines", "4", "--rate-error", "0", "--late",
			    "0s,0s", "--json")) != plain);
}

/* A pull is as fast as the link, and what leaves goes to the tier below. */
TEST(links_and_tiers)
{
	json_t *fast, *slow, *low;

	fast = parsed(FLEET("--engines", "8", "--route", "mooncake", "--link",
			    "400", "--warm", "--json"));
	slow = parsed(FLEET("--engines", "8", "--route", "mooncake", "--link",
			    "10", "--warm", "--json"));
	CHECK(at(fast, "link_gbit", NULL) == 400);
	CHECK(at(fast, "pulled_bytes", NULL) > at(slow, "pulled_bytes", NULL));
	CHECK(at(fast, "ttft_parts_ms", "prefill") > 0);
	low = parsed(FLEET("--engines", "1", "--vram", "220", "--dram", "0",
			   "--nvme", "16G", "--cxl", "0", "--json"));
	CHECK(at(low, "tier_blocks", "dram") == 0);
	/* 512 tokens of 73,728 bytes */
	CHECK(at(low, "tier_blocks", "nvme") ==
	      floor(17179869184.0 / 37748736));
	CHECK(at(low, "demoted_bytes", NULL) > 0);
	refused(FLEET("--engines", "1", "--policy", "arc"), "--policy: arc");
	json_decref(fast);
	json_decref(slow);
	json_decref(low);
}

TEST(mishaps)
{
	json_t *root = parsed(FLEET("--engines", "1", "--load", "20",
				    "--cancel", "60%", "--json"));

	CHECK(at(root, "cancelled", NULL) > 0);
	CHECK(at(root, "cancelled", NULL) + at(root, "requests", NULL) == 64);
	json_decref(root);
	root = parsed(FLEET("--engines", "2", "--liars", "1", "--json"));
	CHECK(at(root, "requests", NULL) == 64);
	json_decref(root);
}

/* All combinations of the lists, each with every policy. */
TEST(sweeps)
{
	json_t *root = parsed(FLEET("--engines", "2,4", "--load", "1,5x",
				    "--link", "10,100G", "--compare",
				    "onecopy,sglang", "--json"));
	json_t *points = json_object_get(root, "points"), *p;
	double sum = 0;
	size_t i;

	CHECK_INT(json_array_size(points), ==, 16);
	json_array_foreach(points, i, p)
		sum += at(p, "engines", NULL) * at(p, "load", NULL) *
		       at(p, "link_gbit", NULL);
	CHECK(sum == (2 + 4) * (1 + 5) * (10 + 100) * 2);
	json_decref(root);
}

TEST(tables_pages_and_reasons)
{
	char page[] = "/tmp/onecopy-sim-XXXXXX";
	struct stat st;
	struct run r;

	CHECK(close(mkostemp(page, O_CLOEXEC)) == 0);
	r = FLEET("--engines", "4", "--compare", "all", "--html", page);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "llmd-blend") && strstr(r.out, "oracle"));
	CHECK(stat(page, &st) == 0 && st.st_size > 4000);
	unlink(page);
	run_free(&r);
	/* known before anything is played */
	r = FLEET("--engines", "4", "--html", "/nowhere/page.html");
	CHECK_INT(r.status, ==, 6);
	CHECK(!*r.out && strstr(r.err, "/nowhere/page.html"));
	run_free(&r);
	r = FLEET("--engines", "4");
	CHECK(strstr(r.out, "... of that, mean") != NULL);
	run_free(&r);
	r = FLEET("--engines", "4", "--explain", "20");
	CHECK(strstr(r.out, "which engine continues it?") != NULL);
	CHECK(strstr(r.out, "should its KV move first?") != NULL);
	CHECK(strstr(r.out, "does one transfer serve several?") != NULL);
	run_free(&r);
}

/* Starts a sweep whose decisions fill the pipe, so that it cannot end before
 * they are read. */
static pid_t start_sweep(const char *page, int *ret_from)
{
	static const char list[] = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16";
	const char *words[] = { "sim",	    "shared",	   "--limit",	"64",
				"--agents", "16",	   "--engines", "2",
				"--load",   list,	   "--link",	list,
				"--vram",   "200,300,400", "--explain", "0",
				"--html",   page,	   NULL };
	int ends[2], own = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	pid_t pid;

	CHECK(own >= 0);
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	fflush(stdout);
	CHECK(dup2(ends[1], 1) == 1); /* words: its own output */
	pid = run_start(words);
	CHECK(dup2(own, 1) == 1); /* words: the output before */
	close(own);
	close(ends[1]);
	*ret_from = ends[0];
	return pid;
}

TEST(who_is_interrupted_has_what_is_done)
{
	char page[256], beside[300], all[4096];
	struct stat st;
	pid_t pid;
	int from;

	snprintf(page, sizeof(page), "%s/page.html", run_dir());
	pid = start_sweep(page, &from);
	/* more than one run's decisions */
	CHECK(read(from, all, sizeof(all)) > 0);
	CHECK(access(page, F_OK) != 0);
	CHECK_OK(kill(pid, SIGINT));
	while (read(from, all, sizeof(all)) > 0)
		;
	close(from);
	CHECK_INT(run_end(pid, 0), ==, 1);
	CHECK(stat(page, &st) == 0 && st.st_size > 4000);
	snprintf(beside, sizeof(beside), "%s.%ld.part", page, (long)pid);
	CHECK(access(beside, F_OK) != 0);
	run_clean();
}

/* Whose time is before that of the line above is sorted in, and it is said. */
TEST(lines_out_of_order)
{
	static const char lines[] =
		"{\"timestamp\":9,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n"
		"{\"timestamp\":4,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n"
		"{\"timestamp\":9,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n";
	char trace[] = "/tmp/onecopy-sim-XXXXXX";
	int fd = mkostemp(trace, O_CLOEXEC);
	json_t *root;
	struct run r;

	CHECK(write(fd, lines, strlen(lines)) == (ssize_t)strlen(lines));
	CHECK(close(fd) == 0);
	root = parsed(RUN("sim", trace, "--engines", "2", "--json"));
	CHECK(at(root, "late_requests", NULL) == 1);
	CHECK(at(root, "requests", NULL) == 3);
	json_decref(root);
	r = RUN("sim", trace, "--engines", "2");
	CHECK(strstr(r.out, "1 requests were earlier") != NULL);
	run_free(&r);
	unlink(trace);
}

TEST(what_is_wrong_is_named)
{
	refused(FLEET("--engines", "0"), "--engines: 0");
	refused(FLEET("--engines", "65"), "--engines: 65");
	refused(FLEET("--engines", "2,,3"), "--engines: ");
	refused(FLEET("--engines", "2", "--load", "0"), "--load: 0");
	refused(FLEET("--engines", "2", "--link", "fast"), "--link: fast");
	refused(FLEET("--engines", "2", "--vram", "0"), "--vram: 0");
	refused(FLEET("--engines", "2", "--late", "3s"), "--late: 3s");
	refused(FLEET("--engines", "2", "--late", "3s,1s"), "--late: 3s,1s");
	refused(FLEET("--engines", "2", "--cancel", "101"), "--cancel: 101");
	refused(FLEET("--engines", "2", "--rate-error", "100%"), "rate-error");
	refused(FLEET("--engines", "2", "--route", "oncopy"),
		"there is onecopy");
	refused(FLEET("--engines", "2", "--compare", "sglang,best"),
		"no routing policy best");
	refused(FLEET("--engines", "2", "--explain", "first"), "first");
	refused(RUN("sim", "shared"), "--engines");
	refused(FLEET("--engines", "2", "--agents", "0"), "--agents: 0");
	refused(FLEET("--engines", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"),
		"at most 16");
}

/* What would change nothing is refused, not ignored. */
TEST(options_that_do_not_go_together)
{
	static const char line[] =
		"{\"timestamp\":9,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n";
	static const char *const of_fleet[][2] = {
		{ "--html", "/nowhere" }, { "--explain", "0" },
		{ "--cancel", "5" },	  { "--load", "2" },
		{ "--agents", "4" },	  { "--link", "10" },
	};
	char trace[] = "/tmp/onecopy-sim-XXXXXX";
	int fd = mkostemp(trace, O_CLOEXEC);

	CHECK(write(fd, line, strlen(line)) == (ssize_t)strlen(line));
	CHECK(close(fd) == 0);
	for (size_t i = 0; i < sizeof(of_fleet) / sizeof(*of_fleet); i++)
		refused(RUN("sim", trace, of_fleet[i][0], of_fleet[i][1]),
			of_fleet[i][0]);
	refused(RUN("sim", trace, "--warm"), "--warm: needs --engines");
	refused(FLEET("--engines", "2", "--decisions", "/nowhere"),
		"--decisions");
	refused(FLEET("--engines", "2", "--nvme-rate", "5G"), "--nvme-rate");
	refused(RUN("sim", trace, "--engines", "2", "--agents", "4"),
		"--agents");
	refused(RUN("sim", trace, "--engines", "2", "--warm"), "--warm");
	refused(RUN("sim", trace, "--engines", "2", "--explain", "1"),
		"there is 1 request, from 0");
	refused(FLEET("--engines", "2", "--explain", "64"),
		"there are 64 requests");
	unlink(trace);
}
