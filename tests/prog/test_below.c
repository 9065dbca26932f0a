/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node with a drive below (--nvme): what leaves memory comes back from there,
 * also for the next server and the next node, and never with wrong bytes.
 */
#include <onecopy/session.h>
#include <signal.h>
#include <sys/stat.h>
#include "prog/exit.h"
#include "tests/prog/respc.h"
#include "tests/prog/run.h"

#define BYTES 65536ull
#define DRAM  "8M"
/* Three times what memory holds. */
#define NAMES 384u

static char place[LIVE_PLACE], nvme[LIVE_DRIVE];

static void place_begin(void)
{
	live_drive_begin("256M", place, nvme);
}

static void place_end(void)
{
	live_drive_end(place);
}

static void node(struct live *n, bool save)
{
	if (save)
		RESPC_NODE(n, NULL, "--dram", DRAM, "--slab", "512K", "--nvme",
			   nvme, "--save-on-exit");
	else
		RESPC_NODE(n, NULL, "--dram", DRAM, "--slab", "512K", "--nvme",
			   nvme);
	/* it serves before it knows what it has */
	LIVE_WAIT(n, live_said(n, "the nvme tier is up"));
}

static const char *name_of(uint64_t i)
{
	static char name[32];

	snprintf(name, sizeof(name), "below:%llu", (unsigned long long)i);
	return name;
}

/* Short ones lie in their record, long ones beside it. */
static size_t size_of(uint64_t i)
{
	return i % 8 == 0 ? 3000 : BYTES - i % 1000;
}

static void write_some(struct respc *c, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		respc_set(c, name_of(i), i, size_of(i));
}

/* How many are there; each right. */
static uint64_t read_some(struct respc *c, uint64_t first, uint64_t n)
{
	uint64_t there = 0;

	for (uint64_t i = first; i < first + n; i++) {
		int r = respc_get(c, name_of(i), i, size_of(i));

		CHECK_INT(r, >=, 0);
		there += r == 0;
	}
	return there;
}

/* A report has this text. */
static void told(oc_client *o, const char *what, const char *about,
		 const char *text)
{
	char *json;

	CHECK_OK(oc_inspect(o, what, about, 0, &json));
	if (!strstr(json, text))
		FAIL("%s does not tell %s", what, text);
	free(json);
}

static void hex_of(uint64_t i, char hex[65])
{
	struct oc_key key = live_key(i);

	for (unsigned b = 0; b < sizeof(key.bytes); b++)
		snprintf(hex + 2 * b, 3, "%02x", key.bytes[b]);
}

/* Native blocks: where and why say nvme, and a session that resumes has its own
 * in memory again. */
TEST(reports_say_where_it_is)
{
	struct oc_key keys[8];
	oc_session *session;
	char hex[65];
	struct live n;
	oc_client *o;
	oc_ns *ns;

	place_begin();
	node(&n, false);
	o = live_connect(&n);
	ns = live_ns(o, BYTES);
	live_write_some(ns, 0, 8, BYTES);
	for (uint64_t i = 0; i < 8; i++)
		keys[i] = live_key(i);
	CHECK_OK(oc_session_open(ns, NULL, 0, &session));
	CHECK_OK(oc_session_append(session, keys, 8, 0));
	CHECK_OK(oc_session_pause(session, 0, 0, 0));
	live_write_some(ns, 100, NAMES, BYTES);
	hex_of(0, hex);
	told(o, "why", hex, "\"state\":\"on_nvme\"");
	told(o, "where", hex, "\"tier\":\"nvme\"");
	CHECK_OK(oc_session_resume(session, 0));
	LIVE_WAIT(&n, live_read_some(ns, 0, 8, BYTES) == 8);
	CHECK_INT(live_counter(o, "promoted_ahead"), >=, 1);
	CHECK_OK(oc_session_close(session, 0));
	oc_ns_close(ns);
	oc_client_close(o);
	live_stop(&n);
	place_end();
}

TEST(three_times_memory_is_found_again)
{
	struct respc *c;
	struct live n;
	oc_client *o;

	place_begin();
	node(&n, false);
	c = respc_open(respc_port(&n));
	o = live_connect(&n);
	write_some(c, 0, NAMES);
	/* what a drive that is slow was not in time for is a miss, and counted */
	CHECK_INT(read_some(c, 0, NAMES) + live_counter(o, "demote_missed"), >=,
		  NAMES);
	CHECK_INT(live_counter(o, "promoted"), >, 0);
	CHECK_INT(live_counter(o, "promote_failed"), ==, 0);
	told(o, "stat", NULL, "\"below\":{\"tier\":\"nvme\",\"state\":\"up\"");
	live_check(o);
	oc_client_close(o);
	respc_close(c);
	live_stop(&n);
	place_end();
}

/* Names that others push out of memory. False: the drive was not in time for all of
 * it, so some of them are rightly gone. */
static bool push(struct respc *c, oc_client *o, uint64_t first)
{
	write_some(c, first, NAMES);
	return live_counter(o, "demote_missed") == 0;
}

static void mget_of_four(struct respc *c)
{
	static const char *const head = "*4\r\n";
	const char *answer;
	size_t len;

	RESPC(c, "MGET", "below:1", "below:0", "below:2", "below:3000");
	answer = respc_answer(c, &len);
	CHECK(answer && len > BYTES);
	CHECK_MEM(answer, head, 4);
}

static bool commands_on(struct respc *c, oc_client *o)
{
	write_some(c, 0, 3);
	RESPC_IS(c, ":1\r\n", "EXPIRE", "below:1", "1000");
	if (!push(c, o, 100))
		return false;
	RESPC_IS(c, ":1\r\n", "EXISTS", "below:2");
	RESPC_IS(c, ":3000\r\n", "STRLEN", "below:0");
	RESPC_IS(c, "+string\r\n", "TYPE", "below:1");
	RESPC(c, "TTL", "below:1");
	CHECK_INT(respc_int(c), >, 900);
	if (!push(c, o, 1000))
		return false;
	RESPC_IS(c, "$-1\r\n", "SET", "below:1", "x", "NX");
	RESPC_IS(c, ":1\r\n", "PERSIST", "below:1");
	RESPC_IS(c, ":-1\r\n", "TTL", "below:1");
	CHECK_INT(respc_get(c, "below:1", 1, size_of(1)), ==, 0);
	/* a new value is the value, and a removed one is gone */
	if (!push(c, o, 2000))
		return false;
	respc_set(c, "below:2", 77, BYTES);
	RESPC_IS(c, ":1\r\n", "DEL", "below:0");
	if (!push(c, o, 3000))
		return false;
	CHECK_INT(respc_get(c, "below:2", 77, BYTES), ==, 0);
	CHECK_INT(respc_get(c, "below:0", 0, size_of(0)), ==, 1);
	mget_of_four(c);
	RESPC_IS(c, "+OK\r\n", "FLUSHALL");
	CHECK_INT(read_some(c, 3000, NAMES), ==, 0);
	CHECK_INT(read_some(c, 0, 3), ==, 0);
	return true;
}

TEST(commands_know_what_is_below)
{
	bool done = false;

	for (unsigned i = 0; i < 8 && !done; i++) {
		struct respc *c;
		struct live n;
		oc_client *o;

		place_begin();
		node(&n, false);
		c = respc_open(respc_port(&n));
		o = live_connect(&n);
		done = commands_on(c, o);
		oc_client_close(o);
		respc_close(c);
		live_stop(&n);
		place_end();
	}
	if (!done)
		SKIP("the disk was not in time for a block in any of 8 runs");
}

TEST(a_killed_server_loses_nothing_that_is_below)
{
	struct respc *c;
	struct live n;
	oc_client *o;

	place_begin();
	node(&n, false);
	for (unsigned i = 0; i < 3; i++) {
		c = respc_open(respc_port(&n));
		write_some(c, 1000 * i, NAMES);
		o = live_connect(&n);
		/* in the middle of reading and writing below */
		for (uint64_t k = 0; k < 40; k++)
			RESPC(c, "GET", name_of(1000 * i + k));
		CHECK_INT(kill(live_server(o), SIGKILL), ==, 0);
		respc_close(c);
		oc_client_close(o);
		o = live_connect(&n);
		LIVE_WAIT(&n, live_counter(o, "below_parts") > 0);
		LIVE_WAIT(&n, live_counter(o, "quarantined") == 0);
		c = respc_open(respc_port(&n));
		/* what memory holds, and some of what is below */
		CHECK_INT(read_some(c, 1000 * i, NAMES), >=, NAMES / 3);
		live_check(o);
		oc_client_close(o);
		respc_close(c);
	}
	live_stop(&n);
	place_end();
}

TEST(a_clean_stop_keeps_everything)
{
	uint64_t there;
	struct respc *c;
	struct live n;

	place_begin();
	node(&n, true);
	c = respc_open(respc_port(&n));
	write_some(c, 0, NAMES);
	there = read_some(c, 0, NAMES);
	respc_close(c);
	live_stop(&n);
	node(&n, true);
	c = respc_open(respc_port(&n));
	/* reading pushes others out: what is lost then is not of the restart */
	CHECK_INT(read_some(c, 0, NAMES), >=, there * 9 / 10);
	CHECK_INT(there, >=, NAMES / 3);
	respc_close(c);
	live_stop(&n);
	place_end();
}

/* Ends a node; its log says so much. */
static void end_with(struct live *n, const char *says)
{
	CHECK_INT(kill(n->keeper, SIGTERM), ==, 0);
	CHECK_INT(live_ended(n), ==, 0);
	if (!live_said(n, says))
		FAIL("the log does not say \"%s\"", says);
	live_remove(n);
}

/* A save of which the drive may take a part alone. */
TEST(what_is_not_saved_is_said)
{
	struct respc *c;
	char yaml[256];
	struct live n;

	place_begin();
	snprintf(yaml, sizeof(yaml),
		 "dram: 8M\nslab: 512K\nnvme:\n  path: %s\n  size: 64M\n"
		 "  save_on_exit: yes\ntenants:\n  - name: default\n"
		 "    nvme: 1M\n",
		 place);
	RESPC_NODE(&n, yaml, NULL);
	LIVE_WAIT(&n, live_said(&n, "the nvme tier is up"));
	c = respc_open(respc_port(&n));
	for (uint64_t i = 0; i < 64; i++)
		respc_set(c, name_of(i), i, BYTES);
	respc_close(c);
	end_with(&n, "were in memory alone and are lost: the drive did not "
		     "take them");
	place_end();
}

/* The drive holds an eighth of what memory does. What is read most of late lies
 * in no order of slabs, and is what the next node finds. */
TEST(a_small_drive_gets_the_warmest)
{
	unsigned warm = 0, there = 0;
	struct respc *c;
	struct live n;

	place_begin();
	snprintf(nvme, sizeof(nvme), "%s:16M", place);
	for (unsigned round = 0; round < 2; round++) {
		RESPC_NODE(&n, NULL, "--dram", "160M", "--slab", "512K",
			   "--nvme", nvme, "--save-on-exit");
		LIVE_WAIT(&n, live_said(&n, "the nvme tier is up"));
		c = respc_open(respc_port(&n));
		if (!round)
			write_some(c, 0, 1000);
		/* 50 long ones, 3.2 MiB */
		for (uint64_t i = 3; i < 1000; i += 20) {
			int r = respc_get(c, name_of(i), i, size_of(i));

			warm++;
			there += r == 0;
			if (!round)
				CHECK_INT(r, ==, 0);
		}
		respc_close(c);
		live_stop(&n);
	}
	CHECK_INT(there, ==, warm);
	place_end();
}

TEST(what_is_saved_is_said)
{
	struct respc *c;
	struct live n;

	place_begin();
	node(&n, true);
	c = respc_open(respc_port(&n));
	for (uint64_t i = 1; i < 5; i++)
		respc_set(c, name_of(i), i, size_of(i));
	respc_close(c);
	/* a value is two parts */
	end_with(&n, "saved 8 of 8 parts that were in memory alone");
	place_end();
}

static bool has_pending(pid_t pid, int signo)
{
	unsigned long long pending = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	CHECK(f != NULL);
	while (!pending && fgets(line, sizeof(line), f))
		if (strncmp(line, "ShdPnd:", 7) == 0)
			pending = strtoull(line + 7, NULL, 16);
	fclose(f);
	return pending >> (signo - 1) & 1;
}

/* As timeout(1) does it: its child, then the group that all of them are in. */
TEST(a_signal_to_the_whole_group_saves_as_well)
{
	struct respc *c;
	uint64_t begin;
	struct live n;
	pid_t server;
	oc_client *o;
	bool soon;

	place_begin();
	node(&n, true);
	c = respc_open(respc_port(&n));
	for (uint64_t i = 1; i < 5; i++)
		respc_set(c, name_of(i), i, size_of(i));
	respc_close(c);
	o = live_connect(&n);
	server = live_server(o);
	oc_client_close(o);
	CHECK_INT(kill(server, SIGSTOP), ==, 0);
	begin = clock_ns();
	CHECK_INT(kill(n.keeper, SIGTERM), ==, 0);
	LIVE_WAIT(&n, !has_pending(n.keeper, SIGTERM));
	CHECK_INT(kill(n.keeper, SIGTERM), ==, 0);
	CHECK_INT(kill(server, SIGTERM), ==, 0);
	LIVE_WAIT(&n, !has_pending(n.keeper, SIGTERM));
	/* later it would be a second signal, which ends a save */
	soon = clock_ns() - begin < NS_PER_S;
	CHECK_INT(kill(server, SIGCONT), ==, 0);
	CHECK_INT(live_ended(&n), ==, 0);
	if (soon && !live_said(&n, "saved 8 of 8 parts that were in memory"))
		FAIL("it did not save");
	live_remove(&n);
	place_end();
}

/* A server that dies instead of saving: that is no clean stop. */
TEST(a_save_that_dies_is_told)
{
	struct live n;
	oc_client *o;
	pid_t server;

	place_begin();
	node(&n, true);
	o = live_connect(&n);
	server = live_server(o);
	CHECK_INT(kill(server, SIGSTOP), ==, 0);
	CHECK_INT(kill(n.keeper, SIGTERM), ==, 0);
	CHECK_INT(kill(server, SIGKILL), ==, 0);
	CHECK_INT(live_ended(&n), ==, PROG_SYSTEM);
	CHECK(live_said(&n, "ended by signal 9 while it stopped"));
	oc_client_close(o);
	live_remove(&n);
	place_end();
}

TEST(after_a_power_cut_it_is_right_or_a_miss)
{
	uint64_t there;
	struct respc *c;
	struct live n;
	oc_client *o;
	pid_t server;

	place_begin();
	node(&n, false);
	c = respc_open(respc_port(&n));
	write_some(c, 0, NAMES);
	o = live_connect(&n);
	server = live_server(o);
	CHECK_INT(kill(n.keeper, SIGKILL), ==, 0);
	kill(server, SIGKILL);
	live_ended(&n);
	oc_client_close(o);
	respc_close(c);
	live_remove(&n);
	node(&n, false);
	c = respc_open(respc_port(&n));
	there = read_some(c, 0, NAMES);
	CHECK_INT(there, >, 0);
	CHECK_INT(there, <, NAMES); /* memory is gone */
	respc_close(c);
	live_stop(&n);
	place_end();
}

static void refused(const char *where, const char *says)
{
	char socket[128];
	struct run r;

	snprintf(socket, sizeof(socket), "%s.sock", place);
	r = RUN("serve", "--socket", socket, "--dram", "8M", "--resp", "off",
		"--http", "off", "--nvme", where);
	CHECK_INT(r.status, ==, 4);
	if (!strstr(r.err, says))
		FAIL("\"%s\" does not say \"%s\"", r.err, says);
	run_free(&r);
}

TEST(a_place_that_cannot_be_is_refused_before_anything)
{
	char file[96], at[112], text[96] = "";
	struct live n;
	FILE *f;

	place_begin();
	node(&n, false);
	refused(nvme, "another node uses it");
	live_stop(&n);
	/* somebody's file: not a byte of it changes */
	snprintf(file, sizeof(file), "%s/mine", place);
	f = fopen(file, "we");
	CHECK(f && fputs("what somebody needs", f) >= 0 && fclose(f) == 0);
	snprintf(at, sizeof(at), "%s:64M", file);
	refused(at, "something else lies there");
	f = fopen(file, "re");
	CHECK(f && fgets(text, sizeof(text), f) && fclose(f) == 0);
	CHECK_STR(text, "what somebody needs");
	/* a log whose front is damaged */
	snprintf(at, sizeof(at), "%s/onecopy.log", place);
	CHECK_INT(rename(file, at), ==, 0);
	snprintf(text, sizeof(text), "log of onecopy's, delete %s", place);
	refused(nvme, text);
	place_end();
}
