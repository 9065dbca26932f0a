/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node whose lower memory is CXL memory as the kernel's drivers offer it.
 *
 * $ONECOPY_CXL_RUNG is what follows --cxl, /dev/daxX.Y or node:N with 16 MiB free;
 * WHAT LIES THERE IS OVERWRITTEN. Skipped without. tools/check-cxl-vm runs it in an
 * emulated machine.
 */
#include <fcntl.h>
#include <onecopy/tiers.h>
#include <setjmp.h>
#include <signal.h>
#include "tests/prog/live.h"
#include "tests/prog/run.h"
#include "tier/cxl/cxl.h"

#define BYTES 65536ull
/* Blocks that DRAM has room for, and some more; few, for emulated memory is slow. */
#define UPPER 128u
#define BOTH  (UPPER + 48u)
#define ALL   (UPPER + 64u + 64u) /* with the drive, and 4 MiB in between */

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

static const char *env_or_skip(const char *name)
{
	const char *value = getenv(name);

	if (!value || !value[0])
		SKIP("%s names nothing that may be overwritten", name);
	return value;
}

static void node(struct live *n)
{
	char spec[96];

	snprintf(spec, sizeof(spec), "%s:16M", env_or_skip("ONECOPY_CXL_RUNG"));
	live_start(n, "--dram", "8M", "--slab", "2M", "--cxl", spec);
}

/* $ONECOPY_CXL_DRIVE below it, overwritten too. */
static void node_with_drive(struct live *n)
{
	char spec[96], drive[96];

	snprintf(spec, sizeof(spec), "%s:4M", env_or_skip("ONECOPY_CXL_RUNG"));
	snprintf(drive, sizeof(drive), "%s:64M",
		 env_or_skip("ONECOPY_CXL_DRIVE"));
	live_start(n, "--dram", "8M", "--slab", "2M", "--cxl", spec, "--nvme",
		   drive);
	LIVE_WAIT(n, live_said(n, "the nvme tier is up"));
}

static bool is_low(oc_ns *ns, uint64_t i)
{
	struct oc_key key = live_key(i);
	struct oc_where w;

	return oc_where(ns, &key, (struct oc_part){ 0 }, &w) == 0 &&
	       w.tier == OC_TIER_CXL;
}

static void kill_server(struct live *n, oc_client *c)
{
	pid_t old = live_server(c);

	CHECK_OK(kill(old, SIGKILL));
	LIVE_WAIT(n, live_server(c) != old);
}

/* Written, moved down, read in place by another process, also after the server
 * died. */
TEST(blocks_are_served_from_it)
{
	struct live n;
	oc_client *c, *reader;
	oc_ns *ns, *theirs;
	uint64_t low = 0;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	CHECK_INT(live_counter(c, "evicted"), ==, 0);
	CHECK_INT(live_counter(c, "cxl_parts"), >=, BOTH - UPPER);
	reader = live_connect(&n);
	theirs = live_ns(reader, BYTES);
	for (uint64_t i = 0; i < BOTH; i++)
		low += is_low(theirs, i);
	CHECK_INT(low, >=, BOTH - UPPER);
	CHECK_INT(live_read_some(theirs, 0, BOTH, BYTES), ==, BOTH);
	kill_server(&n, c);
	CHECK_INT(live_read_some(theirs, 0, BOTH, BYTES), ==, BOTH);
	live_check(c);
	oc_ns_close(theirs);
	oc_client_close(reader);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* The ladder: DRAM, CXL memory, a drive. What comes back from the drive is right,
 * and nothing was lost but what a grant could not wait for, which is counted. */
TEST(a_drive_lies_below_it)
{
	struct oc_part whole = { 0 };
	uint64_t below = 0, lost = 0;
	struct live n;
	oc_client *c;
	oc_ns *ns;
	int r;

	node_with_drive(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	for (uint64_t i = 0; i < ALL; i++)
		CHECK_OK(live_write(ns, i, BYTES));
	CHECK_INT(live_counter(c, "cxl_parts"), >, 0);
	for (uint64_t i = 0; i < ALL; i++) {
		struct oc_key key = live_key(i);
		struct oc_where w;
		struct oc_pin pin;

		r = oc_where(ns, &key, whole, &w);
		if (r == OC_MISS) {
			lost++;
			continue;
		}
		CHECK_OK(r);
		below += w.tier == OC_TIER_NVME;
		CHECK_OK(oc_pin_fetch(ns, &key, whole, OC_PIN_VERIFY,
				      LIVE_DEADLINE, &pin));
		CHECK(!live_wrong(&key, pin.data, BYTES));
		oc_unpin(ns, &pin);
	}
	CHECK_INT(below, >, 0);
	CHECK_INT(lost, <=, live_counter(c, "demote_missed"));
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- memory that fails -------------------------------------------------------- */

static sigjmp_buf jump;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(jump, 1);
}

/* Pins a block of lower memory and loses the page that it lies in. */
static void block_lose(oc_ns *ns, uint64_t i)
{
	struct oc_key key = live_key(i);
	struct oc_pin pin;

	signal(SIGBUS, on_bus);
	CHECK_OK(oc_pin(ns, &key, (struct oc_part){ 0 }, 0, &pin));
	if (sigsetjmp(jump, 1) == 0 &&
	    madvise((void *)(uintptr_t)pin.data, PAGE_BYTES, MADV_HWPOISON) < 0)
		FAIL("MADV_HWPOISON: %s", strerror(errno));
	oc_unpin(ns, &pin);
	signal(SIGBUS, SIG_DFL);
}

static void early(const char *value)
{
	int fd = open("/proc/sys/vm/memory_failure_early_kill",
		      O_WRONLY | O_CLOEXEC);

	CHECK_INT(fd, >=, 0);
	CHECK_INT(write(fd, value, 1), ==, 1);
	close(fd);
}

/* All that have it mapped are told, the server and the keeper too. */
TEST(a_memory_error_ends_nobody)
{
	struct live n;
	uint64_t there;
	oc_client *c;
	oc_ns *ns;
	pid_t server;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	server = live_server(c);
	CHECK(is_low(ns, 1));
	early("1");
	block_lose(ns, 1);
	early("0");
	there = live_read_some(ns, 2, BOTH - 2, BYTES);
	/* 2 MiB at most, of 64 KiB each */
	CHECK_INT(there, >=, BOTH - 2 - 32);
	live_write_some(ns, 1000, 16, BYTES);
	CHECK_INT(live_read_some(ns, 1000, 16, BYTES), ==, 16);
	CHECK_INT(live_server(c), ==, server);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- taken away ------------------------------------------------------------------ */

static bool is_there(const char *path)
{
	struct cxl_list *list = NULL;
	bool there;

	CHECK_OK(cxl_find("", &list));
	there = cxl_entry(list, path) != NULL;
	cxl_list_destroy(list);
	return there;
}

/* $ONECOPY_CXL_LEAVES is a file that is made when somebody may take it away. */
TEST(it_is_taken_away)
{
	const char *mark = env_or_skip("ONECOPY_CXL_LEAVES");
	const char *path = env_or_skip("ONECOPY_CXL_RUNG");
	oc_client *c, *other;
	oc_ns *ns, *theirs;
	struct live n;
	struct run r;
	int fd;

	node(&n);
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, BOTH, BYTES);
	CHECK(is_low(ns, 0));
	fd = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK_INT(fd, >=, 0);
	close(fd);
	LIVE_WAIT(&n, !is_there(path));
	/* the node looks by itself, and tells */
	LIVE_WAIT(&n, live_said(&n, "no more blocks go there"));
	r = RUN("stat", "--json", "-n", n.socket);
	CHECK(strstr(r.out, "\"missing\": \"") != NULL);
	run_free(&r);
	/* what lay there is a miss; what is in DRAM, and the node, go on */
	LIVE_WAIT(&n, live_counter(c, "cxl_parts") == 0);
	CHECK(!is_low(ns, 0));
	live_write_some(ns, 2000, 64, BYTES);
	other = live_connect(&n);
	theirs = live_ns(other, BYTES);
	CHECK_INT(live_read_some(theirs, 2000, 64, BYTES), ==, 64);
	CHECK_INT(live_read(theirs, 0, BYTES), ==, OC_MISS);
	live_check(other);
	oc_ns_close(theirs);
	oc_client_close(other);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
