/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines, as a command: each option reaches the simulation,
 * what is wrong is refused by name, reports say the same in every form. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
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
	CHECK(mean_of(FLEET("--engines", "4", "--route", "sglang", "--json")) !=
	      plain);
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

/* Of two values of an option the first token tells which was used. */
static void tells(const char *option, const char *less, const char *more)
{
	double a = mean_of(FLEET("--engines", "2", "--vram", "230", "--dram",
				 "300", "--nvme", "600", "--cxl", "50",
				 "--json", option, less));
	double b = mean_of(FLEET("--engines", "2", "--vram", "230", "--dram",
				 "300", "--nvme", "600", "--cxl", "50",
				 "--json", option, more));

	if (!(a < b))
		FAIL("%s: %g ms with %s, %g ms with %s", option, a, less, b,
		     more);
}

TEST(engines_are_as_told)
{
	tells("--prefill-rate", "80000", "20000");
	tells("--prefill-depth", "100000", "10000");
	tells("--decode-step", "1ms", "50ms");
	tells("--decode-each", "0s", "5ms");
}

/* One engine whose memory forgets: what comes back is loaded, at that rate. */
TEST(tiers_are_as_told)
{
	static const char *const tier[][5] = {
		{ "--nvme", "--nvme-rate", "20G", "2G", "--nvme-latency" },
		{ "--cxl", "--cxl-rate", "20G", "2G", "--cxl-latency" },
		{ "--dram", "--dram-rate", "20G", "2G", "--cxl-latency" },
	};

	for (size_t i = 0; i < 3; i++) {
		const char *const *t = tier[i];
		double v[3];

		for (unsigned k = 0; k < 3; k++)
			v[k] = mean_of(RUN("sim", "waves", "--limit", "600",
					   "--engines", "1", "--vram", "200",
					   "--dram", "0", t[0], "9000", t[1],
					   t[k == 1 ? 3 : 2], t[4],
					   k == 2 ? "40ms" : "0s", "--json"));
		CHECK(v[0] < v[1]);
		CHECK(i == 2 || v[0] < v[2]); /* of memory there is none */
	}
}

TEST(mooncake_refuses_past_the_objective)
{
	json_t *all = parsed(FLEET("--engines", "2", "--route", "mooncake",
				   "--objective", "100s", "--json"));
	json_t *few = parsed(FLEET("--engines", "2", "--route", "mooncake",
				   "--objective", "2500ms", "--json"));

	struct run r = FLEET("--engines", "2", "--compare", "mooncake,sglang",
			     "--objective", "2500ms");

	CHECK(strstr(r.out, "  refused ") != NULL);
	run_free(&r);
	CHECK(at(all, "refused", NULL) == 0);
	CHECK(at(few, "refused", NULL) > 0);
	CHECK(at(few, "requests", NULL) > 0);
	CHECK(at(few, "requests", NULL) + at(few, "refused", NULL) == 64);
	json_decref(all);
	json_decref(few);
}

/* "What would another 4 TB be worth?": against the first, for each TB, in
 * engines; sizes as they were asked for; and where all fits it is said. */
TEST(what_if)
{
	json_t *root =
		parsed(RUN("sim", "waves", "--limit", "800", "--engines",
			   "1,2,3", "--vram", "200", "--dram", "0", "--nvme",
			   "0,8G,4T", "--load", "2", "--json"));
	json_t *points = json_object_get(root, "points"), *p, *w, *q;
	double tb = floor(4398046511104.0 / 37748736) * 37748736 / 1e12;

	CHECK_INT(json_array_size(points), ==, 9);
	p = json_array_get(points, 0);
	CHECK(!json_object_get(p, "against_first"));
	CHECK_INT(json_array_size(json_object_get(p, "all_fits")), ==, 0);
	q = json_array_get(points, 2);
	CHECK_STR(json_string_value(json_object_get(
			  json_object_get(q, "tier_asked"), "nvme")),
		  "4T");
	CHECK(fabs(at(q, "tier_bytes", "nvme") - tb * 1e12) < 1);
	CHECK_STR(json_string_value(
			  json_array_get(json_object_get(q, "all_fits"), 0)),
		  "nvme");
	CHECK(at(q, "tier_peak_blocks", "nvme") > 0);
	w = json_object_get(q, "against_first");
	CHECK(at(w, "ttft_mean_ms", NULL) < 0);
	CHECK(fabs(at(w, "ttft_mean_ms", NULL) - at(q, "ttft_ms", "mean") +
		   at(p, "ttft_ms", "mean")) < 1e-3);
	CHECK(fabs(at(w, "engine_seconds_saved", NULL) -
		   at(q, "engine_seconds_saved", NULL) +
		   at(p, "engine_seconds_saved", NULL)) < 1e-3);
	CHECK(fabs(at(w, "memory_tb", NULL) - tb) < 1e-6);
	CHECK(fabs(at(w, "for_each_tb", "ttft_mean_ms") * tb -
		   at(w, "ttft_mean_ms", NULL)) < 1e-3);
	/* between two of one, two, three engines without it, or past them */
	p = json_array_get(points, 3);
	if (at(q, "ttft_ms", "mean") >= at(p, "ttft_ms", "mean")) {
		CHECK(at(w, "like_engines", NULL) >= 1);
		CHECK(at(w, "like_engines", NULL) <= 2);
	}
	/* another number of engines is no price of memory */
	w = json_object_get(p, "against_first");
	CHECK(w && !json_object_get(w, "for_each_tb"));
	json_decref(root);
}

/* Two engines serve as one engine and more memory do, where the sweep knows. */
TEST(what_if_in_engines)
{
	json_t *root = parsed(RUN("sim", "waves", "--limit", "800", "--engines",
				  "1,8", "--vram", "200", "--dram", "0,300",
				  "--load", "2", "--json"));
	json_t *points = json_object_get(root, "points"), *p[4], *w;
	double like, mean[3];

	for (size_t i = 0; i < 4; i++)
		p[i] = json_array_get(points, i);
	for (size_t i = 0; i < 3; i++)
		mean[i] = at(p[i], "ttft_ms", "mean");
	CHECK(mean[0] > mean[1] && mean[1] > mean[2]);
	w = json_object_get(p[1], "against_first");
	like = 1 + 7 * (mean[0] - mean[1]) / (mean[0] - mean[2]);
	CHECK(fabs(at(w, "like_engines", NULL) - like) < 1e-6);
	json_decref(root);
}

TEST(what_if_for_people)
{
	struct run r = RUN("sim", "waves", "--limit", "800", "--engines", "2",
			   "--vram", "200", "--dram", "0", "--nvme", "0,8G,4T",
			   "--compare", "onecopy,sglang");

	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "against the first") != NULL);
	CHECK(strstr(r.out, "       8G  sglang") != NULL);
	CHECK(strstr(r.out, "all fits in nvme of 4T") != NULL);
	CHECK(strstr(r.out, "(floor)") != NULL);
	run_free(&r);
}

/* Options that a result depends on are in it. */
TEST(a_result_can_be_repeated)
{
	json_t *root = parsed(FLEET("--engines", "2", "--seed", "7", "--liars",
				    "1", "--late", "1s,2s", "--rate-error",
				    "10", "--policy", "onecopy", "--json"));
	json_t *o = json_object_get(root, "options");

	CHECK(at(o, "seed", NULL) == 7 && at(o, "liars", NULL) == 1);
	CHECK(at(o, "rate_error", NULL) == 0.1);
	CHECK(at(o, "block_bytes", NULL) == 37748736);
	CHECK(json_number_value(
		      json_array_get(json_object_get(o, "late_s"), 1)) == 2);
	CHECK_STR(json_string_value(json_object_get(o, "policy")), "onecopy");
	CHECK(at(o, "generated", "agents") == 16);
	json_decref(root);
}

/* Reasons are a part of the JSON, each of the run that it stands in. */
TEST(reasons_as_json)
{
	json_t *root = parsed(RUN("sim", "waves", "--limit", "900", "--engines",
				  "2,4", "--explain", "700", "--json"));
	json_t *points = json_object_get(root, "points"), *p, *e, *one;
	size_t i, k;

	json_array_foreach(points, i, p) {
		double chosen = -1, least = 1e300;
		bool alone = false;

		e = json_object_get(p, "explain");
		CHECK(at(e, "request", NULL) == 700);
		CHECK_INT(json_array_size(json_object_get(e, "engines")), ==,
			  i ? 4 : 2);
		json_array_foreach(json_object_get(e, "engines"), k, one) {
			json_t *price = json_object_get(one, "price_ms");

			if (!json_is_number(price))
				continue;
			least = fmin(least, json_number_value(price));
			if (k == (size_t)at(e, "engine", NULL))
				chosen = json_number_value(price);
		}
		CHECK(chosen >= 0 && chosen <= least);
		json_array_foreach(json_object_get(e, "ways"), k, one)
			alone |= !strcmp(json_string_value(
						 json_object_get(one, "way")),
					 "move nothing") &&
				 at(one, "ttft_ms", NULL) > 0;
		CHECK(alone);
		CHECK_INT(json_array_size(json_object_get(e, "ways")), >=, 3);
	}
	json_decref(root);
}

/* What became of it stands there too, with each decision that took it elsewhere
 * while the router held it. */
TEST(reasons_to_the_end)
{
	struct run r = RUN("sim", "bursts", "--agents", "64", "--limit", "600",
			   "--engines", "4", "--load", "8", "--vram", "300",
			   "--explain", "119");
	json_t *root =
		parsed(RUN("sim", "bursts", "--agents", "64", "--limit", "600",
			   "--engines", "4", "--load", "8", "--vram", "300",
			   "--explain", "119", "--json"));
	json_t *e = json_object_get(root, "explain"), *anew, *o, *one;
	double sum = 0, engine = at(e, "engine", NULL);
	const char *name;
	size_t i;

	anew = json_object_get(e, "anew");
	o = json_object_get(e, "outcome");
	/* if not, another request has to be asked about here */
	CHECK_INT(json_array_size(anew), >=, 1);
	CHECK(at(o, "went_elsewhere", NULL) == (double)json_array_size(anew));
	json_array_foreach(anew, i, one) {
		CHECK(at(one, "left", NULL) == engine);
		CHECK(at(one, "left_ttft_ms", NULL) >
		      at(one, "left_turn_ms", NULL));
		CHECK_INT(json_array_size(json_object_get(one, "engines")), ==,
			  4);
		engine = at(one, "engine", NULL);
	}
	CHECK(at(o, "engine", NULL) == engine);
	json_object_foreach(json_object_get(o, "parts_ms"), name, one)
		sum += json_number_value(one);
	CHECK(fabs(sum - at(o, "after_ms", NULL)) < 0.01);
	CHECK((strstr(r.out, "decided anew at ") != NULL) ==
	      (json_array_size(anew) > 0));
	CHECK(strstr(r.out, "\nheld at the router for ") != NULL);
	CHECK(strstr(r.out, "\nfirst token after ") != NULL);
	CHECK(strstr(r.out, "decision on ") != NULL);
	json_decref(root);
	run_free(&r);
}

/* Load that rises and falls, over time: of a fleet and of one cache. */
TEST(rows_over_time)
{
	const char *fleet[] = { "--engines", "2" };
	const char *cache[] = { "--dram", "900" };

	for (unsigned i = 0; i < 2; i++) {
		const char **w = i ? cache : fleet;
		json_t *root = parsed(RUN("sim", "waves", "--limit", "900",
					  "--rows", "7", "--json", w[0], w[1]));
		json_t *rows = json_object_get(root, "rows"), *row;
		double sum = 0;
		size_t k;

		CHECK_INT(json_array_size(rows), ==, 7);
		json_array_foreach(rows, k, row)
			sum += at(row, "requests", NULL);
		CHECK(sum == at(root, "requests", NULL));
		json_decref(root);
	}
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

/* How often that text is in the file. */
static int times_in(const char *path, const char *text)
{
	FILE *f = fopen(path, "re");
	char *all = NULL;
	size_t cap = 0;
	int n = 0;

	CHECK(f && getdelim(&all, &cap, 0, f) > 0);
	for (const char *at = all; (at = strstr(at, text)); at++)
		n++;
	free(all);
	fclose(f);
	return n;
}

static int policies(void)
{
	struct run r = FLEET("--engines", "2", "--limit", "2", "--agents", "2",
			     "--compare", "all", "--json");
	json_t *root = parsed(r);
	int n = (int)json_array_size(json_object_get(root, "points"));

	json_decref(root);
	return n;
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
	run_free(&r);
	/* once in the bars, once where the KV was, over time, in the table */
	CHECK_INT(times_in(page, "oracle"), ==, 4);
	CHECK_INT(times_in(page, "<polyline"), ==, policies());
	/* each place has its charts, and the axis says what was asked for */
	r = FLEET("--engines", "4", "--vram", "300,40G", "--link", "10,100",
		  "--html", page);
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
	CHECK_INT(times_in(page, "<details"), ==, 4);
	CHECK_INT(times_in(page, "<polyline"), ==, 4 + 2);
	CHECK_INT(times_in(page, ">10 Gbit/s, vram 40G</text>"), ==, 1);
	CHECK_INT(times_in(page, "stroke-dasharray"), ==, 1);
	/* and what no place says of itself */
	CHECK_INT(times_in(page, "<td class=\"l\">37748736.0</td>"), ==, 1);
	CHECK_INT(times_in(page, "&quot;agents&quot;: 16"), ==, 1);
	unlink(page);
	/* known before anything is played */
	r = FLEET("--engines", "4", "--html", "/nowhere/page.html");
	CHECK_INT(r.status, ==, 6);
	CHECK(!*r.out && strstr(r.err, "/nowhere/page.html"));
	run_free(&r);
	r = FLEET("--engines", "4");
	CHECK(strstr(r.out, "... of that, mean") != NULL);
	CHECK(strstr(r.out, "dram 6000 (all fits: ") != NULL);
	run_free(&r);
	r = FLEET("--engines", "4", "--explain", "20");
	CHECK(strstr(r.out, "which engine continues it?") != NULL);
	CHECK(strstr(r.out, "should its KV move first?") != NULL);
	CHECK(strstr(r.out, "does one transfer serve several?") != NULL);
	CHECK(strstr(r.out, "onecopy, 4 engines, load 1") != NULL);
	CHECK(strstr(r.out, "move nothing") != NULL);
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

/* Who was asked to stop before the work was there has not done it, of a fleet as
 * of one cache; also where no more of it ever comes. */
static void ends(const char *const *fleet, bool comes)
{
	char trace[256];
	const char *words[] = {
		"sim", trace, fleet[0], fleet[1], fleet[2], NULL
	};
	static const char line[] =
		"{\"timestamp\":9,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n";
	pid_t pid;
	ssize_t n;
	int to;

	snprintf(trace, sizeof(trace), "%s/fifo", run_dir());
	CHECK_OK(mkfifo(trace, 0600));
	pid = run_start(words);
	to = open(trace,
		  O_WRONLY | O_CLOEXEC); /* it reads: signals are caught */
	CHECK(to >= 0);
	CHECK_OK(kill(pid, SIGTERM));
	if (comes) {
		signal(SIGPIPE, SIG_IGN); /* it may be gone by now */
		n = write(to, line, strlen(line));
		CHECK(n == (ssize_t)strlen(line) || errno == EPIPE);
		close(to);
	}
	CHECK_INT(run_end(pid, 0), ==, 1);
	if (!comes)
		close(to);
	unlink(trace);
	run_clean();
}

TEST(who_is_asked_to_stop_says_that_it_did)
{
	static const char *const as[][3] = {
		{ "--engines", "2", "--json" },
		{ "--engines", "2", NULL },
		{ "--dram", "2", NULL },
	};

	for (size_t i = 0; i < sizeof(as) / sizeof(*as); i++) {
		ends(as[i], true);
		ends(as[i], false);
	}
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
	/* of one cache the same */
	root = parsed(RUN("sim", trace, "--json"));
	CHECK(at(root, "late_requests", NULL) == 1);
	json_decref(root);
	unlink(trace);
}

/* Both ways say the same of a trace that is empty, out of order twice, or whose
 * lines have more blocks than their tokens fill. */
TEST(both_ways_see_the_same)
{
	static const char lines[] =
		"{\"timestamp\":9,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n"
		"{\"timestamp\":4,\"input_length\":100,\"output_length\":2,"
		"\"hash_ids\":[1,2,3]}\n"
		"{\"timestamp\":5,\"input_length\":512,\"output_length\":2,"
		"\"hash_ids\":[1]}\n";
	const char *text[] = { "", lines };
	char trace[64];

	for (size_t i = 0; i < 2; i++) {
		json_t *fleet, *cache;
		int fd;

		snprintf(trace, sizeof(trace), "/tmp/onecopy-sim-XXXXXX");
		fd = mkostemp(trace, O_CLOEXEC);
		CHECK(write(fd, text[i], strlen(text[i])) ==
		      (ssize_t)strlen(text[i]));
		CHECK(close(fd) == 0);
		cache = parsed(RUN("sim", trace, "--json"));
		fleet = parsed(RUN("sim", trace, "--engines", "2", "--json"));
		CHECK(at(cache, "requests", NULL) == 3.0 * (double)i);
		CHECK(at(fleet, "requests", NULL) == 3.0 * (double)i);
		CHECK(at(cache, "late_requests", NULL) == 2.0 * (double)i);
		CHECK(at(fleet, "late_requests", NULL) == 2.0 * (double)i);
		CHECK(at(cache, "short_prompts", NULL) == (double)i);
		CHECK(at(fleet, "short_prompts", NULL) == (double)i);
		json_decref(cache);
		json_decref(fleet);
		unlink(trace);
	}
}

/* What is said twice is played once. */
TEST(repeats_are_dropped)
{
	json_t *root, *points;

	root = parsed(FLEET("--engines", "4,2,04,2", "--load", "1,1.0x",
			    "--route", "sglang", "--compare",
			    "onecopy,sglang,onecopy", "--json"));
	points = json_object_get(root, "points");
	CHECK_INT(json_array_size(points), ==, 4);
	CHECK(at(json_array_get(points, 0), "engines", NULL) == 4);
	CHECK(at(json_array_get(points, 2), "engines", NULL) == 2);
	json_decref(root);
	root = parsed(FLEET("--engines", "4,4", "--compare", "onecopy,onecopy",
			    "--json"));
	CHECK(at(root, "engines", NULL) == 4);
	json_decref(root);
}

TEST(what_is_wrong_is_named)
{
	refused(FLEET("--engines", "0"), "--engines: 0");
	refused(FLEET("--engines", "65"), "--engines: 65");
	refused(FLEET("--engines", "2,,3"), "--engines: ");
	refused(FLEET("--engines", "2", "--load", "0"), "--load: 0");
	refused(FLEET("--engines", "2", "--link", "fast"), "--link: fast");
	refused(FLEET("--engines", "2", "--vram", "0"), "--vram: 0");
	/* less than a block of 512 tokens of 72 KiB is no tier */
	refused(FLEET("--engines", "2", "--nvme", "4T,10M"),
		"--nvme: 10M is less than a block of 37748736 bytes");
	refused(FLEET("--engines", "2", "--dram", "1K"), "--dram: 1K is less");
	refused(FLEET("--engines", "2", "--late", "3s"), "--late: 3s");
	refused(FLEET("--engines", "2", "--late", "3s,1s"), "--late: 3s,1s");
	refused(FLEET("--engines", "2", "--cancel", "101"), "--cancel: 101");
	refused(FLEET("--engines", "2", "--rate-error", "100%"), "rate-error");
	refused(FLEET("--engines", "2", "--route", "oncopy"),
		"there is onecopy");
	refused(FLEET("--engines", "2", "--compare", "sglang,best"),
		"no routing policy best");
	refused(FLEET("--engines", "2", "--explain", "first"), "first");
	refused(RUN("sim", "shared", "--dram", "1000,2000"),
		"--dram: lists are for a fleet");
	refused(RUN("sim", "shared", "--nvme", "1000,2000"),
		"--nvme: lists are for a fleet");
	refused(FLEET("--engines", "2", "--prefill-rate", "0"),
		"--prefill-rate: 0");
	refused(FLEET("--engines", "2", "--nvme-rate", "0"), "--nvme-rate");
	refused(FLEET("--engines", "2", "--cxl-rate", "0"), "--cxl-rate: 0");
	refused(FLEET("--engines", "2", "--objective", "soon"),
		"--objective: soon");
	refused(FLEET("--engines", "2", "--laggards", "65"), "--laggards: 65");
	refused(FLEET("--engines", "2", "--laggards", "65"),
		"a number from 0 to 64");
	refused(FLEET("--engines", "2", "--decode-step", "0s", "--decode-each",
		      "0s"),
		"--decode-step, --decode-each");
	refused(FLEET("--engines", "2", "--html", ""), "--html: names no file");
	refused(RUN("sim", "shared", "--nvme", "9", "--policy", "s3-fifo"),
		"s3-fifo plays one rung only");
	refused(RUN("sim", "shared", "--nvme", "9", "--policy", "s4-fifo"),
		"there is no 's4-fifo'");
	refused(FLEET("--engines", "2", "--rows", "61"), "--rows");
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
	refused(RUN("sim", trace, "--policy", "onecopy", "--hint-error", "9"),
		"--hint-error: needs --policy onecopy-hints");
	refused(RUN("sim", trace, "--no-prefetch"), "--no-prefetch: needs");
	refused(RUN("sim", trace, "--policy", "onecopy-hints", "--no-prefetch"),
		"--no-prefetch: needs --nvme");
	refused(RUN("sim", trace, "--nvme-rate", "1G"),
		"--nvme-rate: needs --nvme");
	refused(FLEET("--engines", "2", "--lag", "2s"),
		"--lag: needs --laggards");
	refused(FLEET("--engines", "2", "--patience", "2s"),
		"--patience: needs --cancel");
	refused(FLEET("--engines", "2", "--objective", "2s"),
		"--objective: needs --route mooncake");
	refused(FLEET("--engines", "2,3", "--boasters", "4"),
		"--boasters: 4 of 3 engines");
	refused(FLEET("--engines", "2", "--laggards", "3"), "3 of 2 engines");
	refused(RUN("sim", trace, "--warm"), "--warm: of generated work");
	refused(RUN("sim", trace, "--lag", "2s"), "--lag: needs --engines");
	refused(FLEET("--engines", "2", "--decisions", "/nowhere"),
		"--decisions");
	refused(RUN("sim", trace, "--engines", "2", "--agents", "4"),
		"--agents");
	refused(RUN("sim", trace, "--engines", "2", "--warm"), "--warm");
	refused(RUN("sim", trace, "--engines", "2", "--explain", "1"),
		"there is 1 request, from 0");
	refused(FLEET("--engines", "2", "--explain", "64"),
		"there are 64 requests");
	unlink(trace);
}
