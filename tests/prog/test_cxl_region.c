/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy cxl on a region: real processes that join, work, are killed, stand
 * still and leave. */
#include "region/region.h"
#include "tests/prog/run.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char path[64];

/* A memfd of this test; others open it through /proc. */
static void make(const char *members)
{
	int fd = memfd_create("onecopy-test-region", MFD_CLOEXEC);
	struct run r;

	CHECK(fd >= 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	r = RUN("cxl", "format", path, "--size", "40M", "--members", members,
		"--frame", "16K", "--lease", "200ms");
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "ordinary memory stands in") != NULL);
	run_free(&r);
}

static json_t *status(void)
{
	struct run r = RUN("cxl", "status", "--json", path);
	json_t *root;

	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	run_free(&r);
	return root;
}

static int64_t number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

/* Waits until the member is in that state, and has sealed something. */
static void await(size_t member, const char *state, int64_t seals)
{
	for (;;) {
		json_t *root = status();
		const json_t *one = json_array_get(
			json_object_get(root, "members"), member);
		bool is =
			strcmp(json_string_value(json_object_get(one, "state")),
			       state) == 0 &&
			number(one, "seals") >= seals;

		json_decref(root);
		if (is)
			return;
	}
}

static int64_t of_member(size_t member, const char *name)
{
	json_t *root = status();
	int64_t n = number(
		json_array_get(json_object_get(root, "members"), member), name);

	json_decref(root);
	return n;
}

static int64_t shards_of(size_t member)
{
	return of_member(member, "shards");
}

/* `status` for people. */
static void shows(const char *text, bool does)
{
	struct run r = RUN("cxl", "status", path);

	CHECK_INT(r.status, ==, 0);
	if ((strstr(r.out, text) != NULL) != does)
		FAIL("%s: %s", text, r.out);
	run_free(&r);
}

static int run_status(struct run r)
{
	int s = r.status;

	run_free(&r);
	return s;
}

static pid_t join(const char *name, const char *adopt)
{
	const char *const words[] = { "cxl", "join",   path,   "--name",
				      name,  "--work", "2000", "--json",
				      adopt, NULL };

	return run_start(words);
}

TEST(a_killed_members_blocks_and_room_are_taken_over)
{
	pid_t a, b;
	struct run r;

	make("4");
	a = join("a", NULL);
	await(0, "live", 100);
	b = join("b", "--adopt");
	await(1, "live", 1);
	CHECK_INT(run_status(RUN("cxl", "fence", path, "a")), ==, 4);
	CHECK_INT(run_end(a, SIGKILL), ==, 128 + SIGKILL);
	await(0, "exited", 0);
	while (shards_of(1) < 2)
		;
	r = RUN("cxl", "leave", "--json", path, "b");
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
	CHECK_INT(run_end(b, 0), ==, 0); /* no wrong byte */
	CHECK_INT(run_status(RUN("cxl", "check", "--bytes", "--quiet", "--json",
				 path)),
		  ==, 0);
}

/* Nobody is there to see it: status says so, and fence needs no voucher. */
TEST(the_last_members_end_is_seen_by_who_asks)
{
	pid_t a;

	make("4");
	a = join("a", NULL);
	await(0, "live", 100);
	CHECK_INT(run_end(a, SIGKILL), ==, 128 + SIGKILL);
	await(0, "ended", 0);
	shows("to be fenced", true);
	shows("onecopy cxl fence", true);
	shows("in use", false);
	shows("quarantined", false);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "a")), ==, 1);
	CHECK_INT(run_status(RUN("cxl", "fence", path, "a")), ==, 0);
	await(0, "exited", 0);
	shows("to be taken", true);
	shows("fence", false);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "100",
				 "--operations", "5000")),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "check", "--bytes", "--quiet", path)),
		  ==, 0);
}

/* Its lease runs out and nothing happens to it; when it goes on, it goes on.
 * Whoever is declared dead all the same notices, and ends. */
TEST(a_member_that_stands_still_is_late_and_not_dead)
{
	pid_t a, b;

	make("4");
	a = join("a", NULL);
	await(0, "live", 100);
	b = join("b", "--adopt");
	await(1, "live", 1);
	CHECK_OK(kill(a, SIGSTOP));
	await(0, "late", 100);
	CHECK_INT(shards_of(0), ==, 1);
	CHECK_INT(shards_of(1), ==, 1);
	CHECK_INT(run_status(RUN("cxl", "fence", path, "a")), ==, 4);
	CHECK_OK(kill(a, SIGCONT));
	await(0, "live", 100);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "1")), ==, 0);
	CHECK_INT(run_end(b, 0), ==, 0);
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "a")), ==, 0);
	CHECK_INT(run_end(a, 0), ==, 1);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "0")), ==, 1);
}

/* The one that was killed has the first slot still, and its successor the next. */
TEST(a_name_means_one_life)
{
	pid_t a, b;

	make("4");
	a = join("a", NULL);
	await(0, "live", 100);
	CHECK_INT(run_end(a, SIGKILL), ==, 128 + SIGKILL);
	a = join("a", NULL);
	await(1, "live", 1);
	await(0, "exited", 0); /* it saw to that */
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "a")), ==, 4);
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "0.1")), ==,
		  0);
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "1.7")), ==,
		  1);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "1.7")), ==, 1);
	b = join("a", NULL);
	await(0, "live", 1);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "a")), ==, 4);
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "0.1")), ==,
		  1);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "0.2")), ==, 0);
	CHECK_INT(run_end(b, 0), ==, 0);
	CHECK_INT(run_status(RUN("cxl", "leave", path, "a")), ==, 0);
	CHECK_INT(run_end(a, 0), ==, 0);
}

static bool is_signalled(pid_t pid, int signo)
{
	char name[64], line[128];
	unsigned long long pending = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	f = fopen(name, "re");
	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "ShdPnd: %llx", &pending) == 1)
			break;
	fclose(f);
	return pending >> (signo - 1) & 1;
}

TEST(who_is_declared_dead_has_not_left)
{
	const char *const leave[] = { "cxl", "leave", "--timeout", "50s",
				      path,  "a",     NULL };
	siginfo_t info;
	pid_t a, asks;

	make("2");
	a = join("a", NULL);
	await(0, "live", 100);
	CHECK_OK(kill(a, SIGSTOP));
	/* or it might take the next signal before it stands still */
	CHECK_OK(waitid(P_PID, (id_t)a, &info, WSTOPPED));
	asks = run_start(leave);
	while (!is_signalled(a, SIGTERM))
		;
	CHECK_INT(run_status(RUN("cxl", "fence", "--told", path, "a")), ==, 0);
	CHECK_INT(run_end(asks, 0), ==, 1);
	CHECK_INT(run_end(a, SIGKILL), ==, 128 + SIGKILL);
}

/* No matter how long operations take: 255 of them touch a quarter of a gigabyte at
 * the least, which is no matter of two milliseconds. */
TEST(a_member_at_large_blocks_keeps_its_lease)
{
	struct region_member_status s;
	struct region *r = NULL;

	make("2");
	CHECK_INT(run_status(RUN("cxl", "format", path, "--force", "--members",
				 "2", "--shards", "1", "--frame", "1M",
				 "--lease", "1ms")),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "20",
				 "--operations", "255")),
		  ==, 0);
	CHECK_OK(region_open(path, &r));
	region_member_status(r, 0, &s);
	CHECK_INT(s.beats, >=, 20);
	region_close(r);
}

/* Names of objects, at any depth, each in a table of the page. */
static void names_are_in(const char *page, json_t *o)
{
	char cell[64];
	const char *name;
	json_t *v;
	size_t i;

	json_array_foreach(o, i, v)
		names_are_in(page, v);
	json_object_foreach(o, name, v) {
		snprintf(cell, sizeof(cell), "`%s`", name);
		if (!strstr(page, cell))
			FAIL("docs/formats/cxl-region.md has no %s", name);
		names_are_in(page, v);
	}
}

TEST(the_page_has_every_name)
{
	const char *folder = getenv("ONECOPY_SOURCE");
	char at[512], *page = calloc(1, 65536);
	json_t *o;
	struct run r;
	FILE *f;

	if (!folder)
		SKIP("ONECOPY_SOURCE does not say where the sources are");
	snprintf(at, sizeof(at), "%s/docs/formats/cxl-region.md", folder);
	f = fopen(at, "re");
	CHECK(page && f);
	CHECK(fread(page, 1, 65535, f) > 0);
	fclose(f);
	make("2");
	o = status();
	names_are_in(page, o);
	json_decref(o);
	r = RUN("cxl", "check", "--json", path);
	o = run_json(&r);
	names_are_in(page, o);
	json_decref(o);
	run_free(&r);
	free(page);
}

TEST(blocks_of_another_length_are_not_wrong)
{
	struct region_geometry g;
	struct region_places p;
	struct region *r = NULL;
	int fd;

	make("2");
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "10", "--bytes",
				 "4K", "--operations", "200")),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "20", "--bytes",
				 "5000", "--operations", "200")),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "20",
				 "--operations", "200")),
		  ==, 0);
	/* but such a block is looked at as well */
	CHECK_OK(region_open(path, &r));
	g = *region_geometry_of(r);
	region_close(r);
	CHECK_OK(region_places(&g, &p));
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK_INT(pwrite(fd, "wrong", 5, (off_t)(p.shards + p.payload + 4000)),
		  ==, 5);
	close(fd);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "20",
				 "--operations", "200")),
		  ==, 1);
}

/* Of a process that need not be a child. */
static bool stands_still(pid_t pid)
{
	char name[64], line[128];
	bool is = false;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	f = fopen(name, "re");
	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		is |= strncmp(line, "State:\tT", 8) == 0;
	fclose(f);
	return is;
}

/* Stops the first member with blocks in hand: one may be on its way back. */
static pid_t stop_with_pins(void)
{
	pid_t member;

	await(0, "live", 100);
	member = (pid_t)of_member(0, "pid");
	for (;;) {
		CHECK_OK(kill(member, SIGSTOP));
		while (!stands_still(member))
			;
		if (of_member(0, "pinned") >= 2)
			return member;
		CHECK_OK(kill(member, SIGCONT));
	}
}

/* Cuts the file to `bytes` when the member is at work in it, and asks it to leave,
 * for which it has to look at what it has in hand; in a process of its own, for the
 * caller waits for it. */
static pid_t cut_later(uint64_t bytes)
{
	pid_t pid = fork(), member;

	CHECK(pid >= 0);
	if (pid)
		return pid;
	member = stop_with_pins();
	CHECK_OK(truncate(path, (off_t)bytes));
	if (bytes)
		CHECK_OK(kill(member, SIGTERM));
	CHECK_OK(kill(member, SIGCONT));
	_exit(0);
}

static void expect_lost(uint64_t bytes, const char *words)
{
	pid_t pid = cut_later(bytes);
	struct run r = RUN("cxl", "join", path, "--work", "2000");

	CHECK_INT(r.status, ==, 6);
	if (!strstr(r.err, "its memory fails") || !strstr(r.err, words))
		FAIL("%s", r.err);
	run_free(&r);
	CHECK_INT(run_end(pid, 0), ==, 0);
}

TEST(memory_that_goes_is_told)
{
	struct region_geometry g;
	struct region_places p;
	struct region *r = NULL;

	make("1");
	CHECK_OK(region_open(path, &r));
	g = *region_geometry_of(r);
	region_close(r);
	CHECK_OK(region_places(&g, &p));
	/* all blocks, and nothing else */
	expect_lost(p.shards + p.payload, "shard 0 frame ");
	make("1");
	expect_lost(0, path);
}

/* A member of a node that says what it likes of itself. */
TEST(no_name_hides_a_member)
{
	struct region_control *control;
	json_t *root;
	pid_t a;
	int fd;

	make("4");
	CHECK_INT(run_status(RUN("cxl", "join", path, "--name", "7")), ==, 2);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--name", "")), ==, 2);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--name", "a\nb")), ==,
		  2);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--name", "a\xff")), ==,
		  2);
	a = join("a", NULL);
	await(0, "live", 100);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	control = mmap(NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, 0);
	CHECK(control != MAP_FAILED);
	memcpy(control->member[0].name, "\xff\x1b[2J\nx", 8);
	root = status();
	CHECK_STR(json_string_value(json_object_get(
			  json_array_get(json_object_get(root, "members"), 0),
			  "name")),
		  "??[2J?x");
	json_decref(root);
	shows("??[2J?x", true);
	shows("\x1b", false);
	CHECK_INT(run_end(a, SIGTERM), ==, 0);
	munmap(control, REGION_UNIT);
	close(fd);
}

TEST(format_loses_nothing_unasked)
{
	struct run r;
	pid_t a;
	int fd;

	make("4");
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	a = join("a", NULL);
	await(0, "live", 100);
	r = RUN("cxl", "format", "--force", path);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "0.1 (a)") && strstr(r.err, "--even-if-live"));
	run_free(&r);
	CHECK_INT(run_end(a, SIGTERM), ==, 0); /* no wrong byte */
	CHECK_INT(pwrite(fd, "0123456789", 10, 0), ==, 10);
	r = RUN("cxl", "format", path);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "no region") && strstr(r.err, "--force"));
	run_free(&r);
	CHECK_INT(run_status(RUN("cxl", "format", "--force", path, "--members",
				 "2")),
		  ==, 0);
	close(fd);
}

/* A member that cannot be proved dead, of another host, say. */
TEST(format_over_living_members_wants_a_second_word)
{
	pid_t a;

	make("4");
	a = join("a", NULL);
	await(0, "live", 100);
	CHECK_OK(kill(a, SIGSTOP));
	CHECK_INT(run_status(RUN("cxl", "format", "--even-if-live", path)), ==,
		  4);
	CHECK_INT(run_status(RUN("cxl", "format", "--force", "--even-if-live",
				 "--members", "2", path)),
		  ==, 0);
	CHECK_INT(run_end(a, SIGKILL), ==, 128 + SIGKILL);
}

TEST(what_cannot_be_done_is_said)
{
	struct run r;

	make("2");
	CHECK_INT(run_status(RUN("cxl", "format", path, "--force", "--members",
				 "2", "--lease", "500us")),
		  ==, 2);
	CHECK_INT(run_status(RUN("cxl", "format", path)), ==, 4);
	CHECK_INT(run_status(RUN("cxl", "format", "/tmp")), ==, 5);
	CHECK_INT(run_status(RUN("cxl", "status", "/tmp")), ==, 5);
	r = RUN("cxl", "format", "--force", "--members", "40", path);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "40 members and 40 shards") != NULL);
	CHECK(strstr(r.err, "need 242 MiB") != NULL);
	run_free(&r);
	CHECK_INT(run_status(RUN("cxl", "format", "--force", "--members", "2",
				 path)),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "format", "--none", path)), ==, 4);
	CHECK_INT(run_status(RUN("cxl", "format", "--force", "--none", path)),
		  ==, 0);
	CHECK_INT(run_status(RUN("cxl", "format", "--force", "--none", path)),
		  ==, 5);
	CHECK_INT(run_status(RUN("cxl", "status", path)), ==, 5);
	CHECK_INT(run_status(RUN("cxl", "format", "--members", "2", path)), ==,
		  0);
	CHECK_INT(run_status(RUN("cxl", "status", "/dev/null")), ==, 5);
	CHECK_INT(run_status(RUN("cxl", "status", "/nowhere")), ==, 5);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--bytes", "1G", "--work",
				 "1")),
		  ==, 2);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--operations", "1")), ==,
		  2);
	CHECK_INT(run_status(RUN("cxl", "format", "--frame", "5000", "--force",
				 path)),
		  ==, 2);
	CHECK_INT(run_status(RUN("cxl", "fence", path, "nobody")), ==, 1);
	CHECK_INT(run_status(RUN("cxl", "fence", path, "0")), ==, 1);
	CHECK_INT(run_status(RUN("cxl", "join", path, "--work", "10", "--bytes",
				 "4K", "--operations", "1000")),
		  ==, 0);
}
