/* SPDX-License-Identifier: Apache-2.0 */
/* Replays of small traces, and of a real one where it is. */
#include <ftw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/prog/live.h"
#include "tests/prog/run.h"
#include "tests/test.h"

static json_int_t number(const json_t *root, const char *name)
{
	json_t *value = json_object_get(root, name);

	if (!json_is_number(value))
		FAIL("no number %s", name);
	return json_integer_value(value);
}

static void check_right(const json_t *root)
{
	CHECK_INT(number(root, "wrong_bytes"), ==, 0);
	CHECK_INT(number(root, "bad_blocks"), ==, 0);
	CHECK_INT(number(root, "died"), ==, 0);
	CHECK_INT(number(root, "sealed_blocks") + number(root, "exists") +
			  number(root, "refused") + number(root, "hit_blocks"),
		  ==, number(root, "blocks"));
}

/* 8 conversations of 5 turns by 4 blocks, all from one first block: room for
 * everything, so each block is computed once. */
TEST(each_block_is_computed_once)
{
	const char *trace = run_trace(40, 8, 5, 4);
	struct run r = RUN("replay", "--json", "--dram", "64M", "--block-bytes",
			   "16K", trace);
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	check_right(root);
	CHECK_INT(number(root, "requests"), ==, 40);
	CHECK_INT(number(root, "blocks"), ==, 8 * (4 + 8 + 12 + 16 + 20));
	CHECK_INT(number(root, "sealed_blocks"), ==, 8 * 19 + 1);
	CHECK_INT(number(root, "hit_blocks"), ==, 480 - 153);
	CHECK_INT(number(root, "evicted"), ==, 0);
	CHECK_INT(number(root, "verified_bytes"), >=, 2ll * 327 * 16384);
	CHECK(json_is_real(json_object_get(root, "moves_per_byte")));
	CHECK(json_is_object(json_object_get(root, "latency_ns")));
	json_decref(root);
	run_free(&r);
	run_clean();
}

TEST(text_report)
{
	const char *trace = run_trace(20, 4, 5, 2);
	struct run r = RUN("replay", "--dram", "64M", trace);

	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "wrong bytes  0") != NULL);
	run_free(&r);
	run_clean();
}

TEST(several_writers_and_readers)
{
	const char *trace = run_trace(200, 10, 5, 4);
	struct run r = RUN("replay", "--json", "--dram", "64M", "--clients",
			   "3", "--readers", "2", "--block-bytes", "16K",
			   trace);
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	check_right(root);
	CHECK_INT(number(root, "requests"), ==, 200);
	CHECK_INT(number(root, "clients"), ==, 3);
	json_decref(root);
	run_free(&r);
	run_clean();
}

/* The pool is full nearly at once: it makes room, and nothing is wrong. */
TEST(a_small_pool_evicts)
{
	const char *trace = run_trace(400, 20, 5, 4);
	struct run r = RUN("replay", "--json", "--dram", "4M", "--block-bytes",
			   "64K", trace);
	json_t *root = run_json(&r);

	CHECK_INT(r.status, ==, 0);
	check_right(root);
	CHECK_INT(number(root, "evicted"), >, 0);
	json_decref(root);
	run_free(&r);
	run_clean();
}

TEST(limit_and_seed_on_a_running_node)
{
	const char *trace = run_trace(40, 8, 5, 4);
	json_t *root;
	struct run r;
	char socket[108];
	pid_t node = run_node("64M", socket);

	for (int i = 0; i < 3; i++) {
		r = RUN("replay", "--json", "--node", socket, "--limit", "8",
			"--readers", "0", "--seed", i == 2 ? "7" : "1", trace);
		CHECK_INT(r.status, ==, 0);
		root = run_json(&r);
		check_right(root);
		CHECK_INT(number(root, "requests"), ==, 8);
		/* The second finds everything; another seed finds nothing but
		 * the first block, which all conversations share. */
		CHECK_INT(number(root, "hit_blocks"), ==, i == 1 ? 32 : 7);
		json_decref(root);
		run_free(&r);
	}
	CHECK_INT(run_end(node, SIGTERM), ==, 0);
	run_clean();
}

/* What a tenant may have is what private caches are compared with. */
TEST(the_limit_of_a_tenant_is_its_quota)
{
	const char *trace = run_trace(40, 8, 5, 4);
	struct live n;
	json_t *root;
	struct run r;

	live_start_config(&n, "dram: 64MiB\n"
			      "tenants:\n"
			      "  - name: small\n    dram: 16MiB\n"
			      "  - name: default\n");
	CHECK_OK(setenv("ONECOPY_TENANT", "small", 1));
	r = RUN("replay", "--json", "--node", n.socket, "--limit", "8", trace);
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	CHECK_INT(number(root, "dram_bytes"), ==, 16 * MIB);
	json_decref(root);
	run_free(&r);
	CHECK_OK(setenv("ONECOPY_TENANT", "default", 1));
	r = RUN("replay", "--json", "--node", n.socket, "--limit", "8", trace);
	root = run_json(&r);
	CHECK_INT(number(root, "dram_bytes"), ==, 64 * MIB);
	json_decref(root);
	run_free(&r);
	live_stop(&n);
	run_clean();
}

/* ---- with a drive */

static json_int_t inner(const json_t *root, const char *part, const char *name)
{
	return number(json_object_get(root, part), name);
}

static double saved(const json_t *root, const char *name)
{
	return json_real_value(
		json_object_get(json_object_get(root, "first_token"), name));
}

static char drive[64], nvme[96];

static void drive_make(void)
{
	snprintf(drive, sizeof(drive), "/var/tmp/onecopy-replay-XXXXXX");
	CHECK(mkdtemp(drive) != NULL);
	snprintf(nvme, sizeof(nvme), "%s:64M", drive);
}

static int drive_remove_one(const char *path, const struct stat *st, int flag,
			    struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

static void drive_end(void)
{
	CHECK_INT(nftw(drive, drive_remove_one, 8, FTW_DEPTH | FTW_PHYS), ==,
		  0);
}

/* 8 conversations, restarted in the middle: what DRAM held is on the drive, and
 * each conversation goes on from there. */
static json_t *restarted(const char *slow, const char *policy, int status)
{
	const char *trace = run_trace(80, 8, 10, 4);
	json_t *root;
	struct run r;

	drive_make();
	r = slow ? RUN("replay", "--json", "--dram", "64M", "--block-bytes",
		       "16K", "--nvme", nvme, "--restart-at", "40",
		       "--slow-nvme", slow, "--load", policy, trace)
		 : RUN("replay", "--json", "--dram", "64M", "--block-bytes",
		       "16K", "--nvme", nvme, "--restart-at", "40", "--load",
		       policy, trace);
	CHECK_INT(r.status, ==, status);
	root = run_json(&r);
	check_right(root);
	CHECK_INT(number(root, "requests"), ==, 80);
	CHECK_INT(inner(root, "restart", "at"), ==, 40);
	CHECK_INT(inner(root, "restart", "recovered"), ==, 153);
	run_free(&r);
	run_clean();
	drive_end();
	return root;
}

TEST(disk_hits_go_on_after_a_restart)
{
	json_t *root = restarted(NULL, "plan", 0), *after;

	after = json_object_get(json_object_get(root, "restart"), "after");
	CHECK_INT(number(after, "requests"), ==, 40);
	CHECK_INT(number(after, "nvme_blocks"), ==, 153);
	CHECK_INT(number(root, "hit_blocks"), ==, number(root, "blocks") - 313);
	CHECK_INT(inner(root, "tiers", "computed_below"), ==, 0);
	CHECK_INT(inner(root, "tiers", "not_come"), ==, 0);
	CHECK_INT(inner(root, "drive", "read_bytes"), ==, 153ll * 16384);
	CHECK_INT(number(json_object_get(json_object_get(root, "latency_ns"),
					 "nvme"),
			 "count"),
		  ==, 153);
	CHECK(saved(root, "saved_against_compute_s") > 0);
	json_decref(root);
}

/* The same with a drive that is far slower than computing: the answer turns. */
TEST(a_slow_drive_turns_the_plan)
{
	json_t *root = restarted("1000000", "plan", 0);

	CHECK_INT(inner(root, "tiers", "nvme_blocks"), ==, 0);
	CHECK_INT(inner(root, "tiers", "computed_below"), >, 100);
	CHECK(saved(root, "saved_against_load_s") > 0);
	json_decref(root);
}

TEST(a_policy_is_kept_to)
{
	json_t *root = restarted("2", "never", 0);

	CHECK_INT(inner(root, "tiers", "nvme_blocks"), ==, 0);
	json_decref(root);
	root = restarted("2", "always", 0);
	CHECK_INT(inner(root, "tiers", "nvme_blocks"), ==, 153);
	CHECK_INT(inner(root, "tiers", "computed_below"), ==, 0);
	json_decref(root);
}

TEST(a_restart_beyond_the_end_is_said)
{
	const char *trace = run_trace(4, 2, 2, 2);
	struct run r;

	drive_make();
	r = RUN("replay", "--json", "--dram", "64M", "--block-bytes", "16K",
		"--nvme", nvme, "--restart-at", "4", trace);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.err, "no restart, there are 4 requests"));
	run_free(&r);
	run_clean();
	drive_end();
}

TEST(words_about_a_drive_that_cannot_be)
{
	const char *const bad[][4] = {
		{ "--restart-at", "3" },      { "--slow-nvme", "3" },
		{ "--load", "sometimes" },    { "--prefill-rate", "0" },
		{ "--prefill-growth", "-1" }, { "--slow-nvme", "0.5" },
	};
	const char *trace = run_trace(4, 2, 2, 2);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct run r = RUN("replay", bad[i][0], bad[i][1], trace);

		CHECK_INT(r.status, ==, 2);
		run_free(&r);
	}
	run_clean();
}

static const char *real_trace(char *path, size_t cap)
{
	/* beside the sources, as seen from there and from a build folder */
	const char *dirs[] = { getenv("ONECOPY_TRACES"), "../shared/traces",
			       "../../shared/traces" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		if (!dirs[i])
			continue;
		snprintf(path, cap, "%s/conversation.jsonl", dirs[i]);
		if (access(path, R_OK) == 0)
			return path;
	}
	SKIP("conversation.jsonl is not here; ONECOPY_TRACES names its folder");
}

/* What least-recently-used gives with the same order of touches, as counted by
 * a simulation: 6.534 % at 3,000 blocks and 21.160 % at 10,000. */
static void check_rate(const char *dram, double percent)
{
	char path[256];
	struct run r;
	json_t *root;
	double rate;

	real_trace(path, sizeof(path));
	r = RUN("replay", "--json", "--block-bytes", "4K", "--dram", dram,
		"--readers", "1", path);
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	check_right(root);
	rate = 100 * json_real_value(json_object_get(root, "prefix_hit_rate"));
	if (rate < percent - 0.5 || rate > percent + 0.5)
		FAIL("hit rate %.3f %%, not %.3f %%", rate, percent);
	json_decref(root);
	run_free(&r);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif

TEST(real_trace_starts)
{
	char path[256];
	struct run r;
	json_t *root;

	real_trace(path, sizeof(path));
	r = RUN("replay", "--json", "--limit", "200", "--dram", "64M",
		"--block-bytes", "16K", "--clients", "2", path);
	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	check_right(root);
	json_decref(root);
	run_free(&r);
}

TEST(real_trace_at_3000_blocks)
{
#ifdef SLOW
	SKIP("too slow with a sanitizer");
#endif
	check_rate("12288000", 6.534);
}

TEST(real_trace_at_10000_blocks)
{
#ifdef SLOW
	SKIP("too slow with a sanitizer");
#endif
	check_rate("40960000", 21.160);
}
