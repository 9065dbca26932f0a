/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node with a rung below DRAM (--cxl). Ordinary memory stands in: this proves
 * the moving, not a device. ONECOPY_TEST_CXL names other memory, for the emulated
 * machine (tools/check-cxl-vm), where all is slow.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/rng.h"
#include "base/sysfs.h"
#include "prog/config.h"
#include "prog/exit.h"
#include "tests/prog/live.h"
#include "tests/prog/run.h"

#define BYTES 65536ull
/* Blocks that DRAM, that the rung below, and that both hold. */
#define UPPER 128u
#define LOWER 256u
#define BOTH  (UPPER + LOWER)

static void node(struct live *n)
{
	const char *spec = getenv("ONECOPY_TEST_CXL");

	live_start(n, "--dram", "8M", "--slab", "512K", "--cxl",
		   spec ? spec : "memory:16M");
}

static unsigned turns(unsigned n)
{
	return getenv("ONECOPY_TEST_CXL") ? MAX(n / 60, 2u) : LIVE_N(n);
}

static void kill_server(struct live *n, oc_client *c)
{
	pid_t old = live_server(c);

	CHECK_OK(kill(old, SIGKILL));
	LIVE_WAIT(n, live_server(c) != old);
}

TEST(both_hold_as_much_as_both)
{
	struct rng r = { 3 };
	struct live n;
	oc_client *c;
	oc_ns *ns;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	CHECK_INT(live_read_some(ns, 0, BOTH, BYTES), ==, BOTH);
	CHECK_INT(live_counter(c, "evicted"), ==, 0);
	CHECK_INT(live_counter(c, "cxl_parts"), ==, LOWER);
	/* used at random, some more than others: they change places */
	for (unsigned i = 0; i < turns(20000); i++)
		CHECK_OK(live_read(ns, rng_below(&r, rng_below(&r, BOTH) + 1),
				   BYTES));
	CHECK_INT(live_read_some(ns, 0, BOTH, BYTES), ==, BOTH);
	CHECK_INT(live_counter(c, "evicted"), ==, 0);
	CHECK_INT(live_counter(c, "cxl_slab_bytes"), <=, 16 * MIB);
	CHECK_INT(live_counter(c, "slab_bytes"), <=, 8 * MIB);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

static const char *tier_of(oc_ns *ns, uint64_t i)
{
	struct oc_key key = live_key(i);
	struct oc_where w;

	if (oc_where(ns, &key, (struct oc_part){ 0 }, &w))
		return "none";
	return oc_tier_name(w.tier);
}

static void why_says(oc_client *c, uint64_t i, const char *says)
{
	struct oc_key key = live_key(i);
	char hex[65], *json;

	for (unsigned b = 0; b < sizeof(key.bytes); b++)
		snprintf(hex + 2 * b, 3, "%02x", key.bytes[b]);
	CHECK_OK(oc_inspect(c, "why", hex, 0, &json));
	if (!strstr(json, says))
		FAIL("\"%s\" does not say \"%s\"", json, says);
	free(json);
}

TEST(reports_say_which_memory_it_is)
{
	struct live n;
	oc_client *c;
	char *json;
	oc_ns *ns;
	char hex[65];
	struct oc_key key = live_key(0);

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, UPPER + 64, BYTES);
	CHECK_STR(tier_of(ns, 0), "cxl");
	CHECK_STR(tier_of(ns, UPPER + 63), "dram");
	for (unsigned b = 0; b < sizeof(key.bytes); b++)
		snprintf(hex + 2 * b, 3, "%02x", key.bytes[b]);
	CHECK_OK(oc_inspect(c, "where", hex, 0, &json));
	CHECK(strstr(json, "\"cxl\"") && strstr(json, "stand-in"));
	free(json);
	why_says(c, 0, "resident in cxl, namespace");
	why_says(c, UPPER + 63, "resident in dram, namespace");
	CHECK_OK(oc_inspect(c, "stat", "", 0, &json));
	CHECK(strstr(json, "stand-in"));
	free(json);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* The server dies again and again while blocks go up and down. What was sealed
 * is there, and what was removed is not. */
TEST(deaths_amid_moves)
{
	bool gone[BOTH] = { false };
	struct rng r = { 11 };
	struct live n;
	oc_client *c;
	oc_ns *ns;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	for (unsigned round = 0; round < turns(20); round++) {
		uint64_t out = rng_below(&r, BOTH);
		struct oc_key key = live_key(out);

		for (unsigned i = 0; i < 300; i++) {
			uint64_t at = rng_below(&r, rng_below(&r, BOTH) + 1);

			CHECK_INT(live_read(ns, at, BYTES), ==,
				  gone[at] ? OC_MISS : 0);
		}
		if (!gone[out])
			CHECK_OK(oc_remove(ns, &key, 0));
		gone[out] = true;
		kill_server(&n, c);
		for (uint64_t i = 0; i < BOTH; i++)
			CHECK_INT(live_read(ns, i, BYTES), ==,
				  gone[i] ? OC_MISS : 0);
	}
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- what is refused, and what is said ------------------------------------- */

static uint64_t memory_bytes(void)
{
	uint64_t bytes;

	CHECK_OK(config_memory(&bytes));
	return bytes;
}

static struct run try_serve(const char *dram, const char *spec)
{
	char socket[128];

	snprintf(socket, sizeof(socket), "%s/node", run_dir());
	return RUN("serve", "--socket", socket, "--dram", dram, "--resp", "off",
		   "--http", "off", "--cxl", spec);
}

static void too_much(const char *dram, const char *spec)
{
	struct run r = try_serve(dram, spec);

	CHECK_INT(r.status, ==, PROG_REFUSED);
	if (!strstr(r.err, "more than the memory there is"))
		FAIL("%s", r.err);
	run_free(&r);
}

/* Either alone would fit. */
TEST(both_may_be_no_more_than_there_is)
{
	char dram[32], spec[64];
	uint64_t bytes = memory_bytes();

	too_much("64M", "memory:100T");
	snprintf(spec, sizeof(spec), "memory:%lluK",
		 (unsigned long long)(bytes / KIB - 32 * KIB));
	too_much("64M", spec);
	snprintf(dram, sizeof(dram), "%lluK", (unsigned long long)bytes / KIB);
	too_much(dram, "memory:2M");
	if (access("/sys/devices/system/node/node0", F_OK) == 0)
		too_much(dram, "node:0:2M");
	run_clean();
}

TEST(a_node_with_processors_is_told)
{
	char cpus[256];
	struct live n;

	if (sysfs_read("", cpus, sizeof(cpus),
		       "/sys/devices/system/node/node0/cpulist") < 0 ||
	    !*cpus)
		SKIP("no node 0 that has processors");
	live_start(&n, "--dram", "4M", "--cxl", "node:0:4M");
	CHECK(live_said(&n, "no memory below it"));
	live_stop(&n);
}

/* A reader that never waits for the server, while what it reads is moved: no wrong
 * byte, and no miss, since all of it fits. */
static void read_until(const struct live *n, int end)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	struct rng r = { 5 };
	char byte;

	do {
		for (unsigned i = 0; i < 200; i++)
			CHECK_OK(live_read(
				ns, rng_below(&r, rng_below(&r, BOTH) + 1),
				BYTES));
	} while (read(end, &byte, 1) != 1);
	oc_ns_close(ns);
	oc_client_close(c);
}

TEST(readers_meet_no_gap)
{
	struct live n;
	int pipes[2], status;
	struct rng r = { 6 };
	oc_client *c;
	pid_t child;
	oc_ns *ns;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	CHECK_OK(pipe2(pipes, O_CLOEXEC | O_NONBLOCK));
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		read_until(&n, pipes[0]);
		_exit(0);
	}
	for (unsigned i = 0; i < turns(20000); i++)
		CHECK_OK(live_read(ns, rng_below(&r, rng_below(&r, BOTH) + 1),
				   BYTES));
	CHECK_INT(write(pipes[1], "x", 1), ==, 1);
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
	CHECK_INT(live_counter(c, "evicted"), ==, 0);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
