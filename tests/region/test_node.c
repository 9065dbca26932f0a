/* SPDX-License-Identifier: Apache-2.0 */
/* Members that are a keeper and its server, and members that read alone: real
 * processes, ended in every order. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/region/rig.h"

static const uint64_t node[2] = { 11, 12 };

static struct region *join_as(const struct rig *g, uint32_t shards,
			      pid_t keeper, int expected)
{
	struct region_join_options o = { .size = sizeof(o),
					 .name = "node",
					 .shards = shards,
					 .keeper = (uint64_t)keeper,
					 .node = { node[0], node[1] } };
	struct region *r = rig_open(g);

	CHECK_INT(region_join(r, &o), ==, expected);
	return r;
}

static struct region *join_reader(const struct rig *g)
{
	struct region_join_options o = { .size = sizeof(o),
					 .name = "reader",
					 .reader = true };
	struct region *r = rig_open(g);

	CHECK_OK(region_join(r, &o));
	return r;
}

/* A child that runs to its end. */
static void run_child(const struct rig *g, void (*run)(const struct rig *g))
{
	pid_t pid = fork();
	int status;

	CHECK_INT(pid, >=, 0);
	if (!pid) {
		run(g);
		_exit(0); /* without leaving */
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
}

static void first_server(const struct rig *g)
{
	struct region *r = join_as(g, 1, getppid(), 0);
	struct region_pin pin;
	uint32_t member = 9;
	uint64_t inc = 0;

	CHECK(!region_resumed(r));
	CHECK_OK(region_self(r, &member, &inc));
	CHECK_INT(inc, ==, 1);
	CHECK_OK(rig_put(r, 1, 1));
	CHECK_OK(rig_put(r, 2, 1));
	CHECK_OK(rig_pin(r, 1, &pin)); /* it dies with it */
}

static void next_server(const struct rig *g)
{
	struct region *r = join_as(g, 1, getppid(), 0);
	uint32_t member = 9;
	uint64_t inc = 0;
	struct region_name name = rig_name(1);

	CHECK(region_resumed(r));
	CHECK_OK(region_self(r, &member, &inc));
	CHECK_INT(inc, ==, 1);
	CHECK_INT(region_owned(r), ==, 1);
	CHECK(rig_has(r, 1) && rig_has(r, 2));
	CHECK_OK(rig_put(r, 3, 1));
	/* no pin of the one before it is left */
	CHECK_OK(region_remove(r, &name));
	CHECK_INT(region_free(r), ==, 16 - 2);
	rig_check(r, false);
}

static void last_server(const struct rig *g)
{
	struct region *r = join_as(g, 1, getppid(), 0);

	CHECK(region_resumed(r));
	CHECK(rig_has(r, 3));
	CHECK_OK(region_leave(r));
	region_close(r);
}

/* While the keeper lives, nobody has the shard of a server that died. */
TEST(the_next_process_of_a_keeper_goes_on)
{
	struct rig g = rig_create(4, 2, 16);
	struct region *other = rig_join(&g, "other", 1, true);
	struct region_member_status s;

	run_child(&g, first_server);
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(region_tick(other));
	CHECK_INT(region_owned(other), ==, 1);
	region_member_status(other, 1, &s);
	CHECK(s.state == MEMBER_LIVE && !s.ended);
	CHECK_INT(s.pid, ==, getpid());
	CHECK(rig_has(other, 1));
	run_child(&g, next_server);
	CHECK_OK(region_tick(other));
	CHECK_OK(region_tick(other));
	CHECK_INT(region_owned(other), ==, 1);
	run_child(&g, last_server);
	CHECK(rig_has(other, 3));
	region_member_status(other, 1, &s);
	CHECK_INT(s.state, ==, MEMBER_FREE);
	region_close(other);
	rig_destroy(&g);
}

/* A server that lives is followed by nobody, and a stranger is no keeper. */
static void second_while_first_lives(const struct rig *g)
{
	pid_t pid;

	(void)join_as(g, 1, getppid(), 0);
	pid = fork();
	CHECK_INT(pid, >=, 0);
	if (!pid) /* its parent is the server */
		(void)join_as(g, 1, 1 + getppid(), -ECHILD), _exit(0);
	CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
	(void)join_as(g, 1, getppid(), 0); /* the same process: it goes on */
}

TEST(a_writer_that_lives_is_not_followed)
{
	struct rig g = rig_create(4, 2, 16);
	struct region *r;
	int pair[2], status;
	char byte;
	pid_t pid;

	run_child(&g, second_while_first_lives);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	pid = fork();
	CHECK_INT(pid, >=, 0);
	if (!pid) {
		(void)join_as(&g, 1, getppid(), 0);
		CHECK_INT(write(pair[1], "j", 1), ==, 1);
		CHECK_INT(read(pair[1], &byte, 1), ==, 1);
		_exit(0);
	}
	CHECK_INT(read(pair[0], &byte, 1), ==, 1);
	if (!fork()) {
		r = join_as(&g, 1, getppid(), -EBUSY);
		region_close(r);
		_exit(7);
	}
	CHECK_INT(wait(&status), >, 0);
	CHECK_INT(WEXITSTATUS(status), ==, 7);
	CHECK_INT(write(pair[0], "e", 1), ==, 1);
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	rig_destroy(&g);
}

/* Keeper first, its server later. */
TEST(a_member_of_two_is_dead_when_both_are)
{
	struct rig g = rig_create(4, 2, 16);
	struct region *other = rig_join(&g, "other", 1, true);
	struct region_member_status s;
	pid_t keeper, server;
	int pair[2];
	char byte;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	keeper = fork();
	CHECK_INT(keeper, >=, 0);
	if (!keeper) {
		if (!fork()) {
			struct region *r = join_as(&g, 1, getppid(), 0);

			CHECK_OK(rig_put(r, 1, 1));
			server = getpid();
			CHECK_INT(write(pair[1], &server, sizeof(server)), ==,
				  sizeof(server));
			(void)read(pair[1], &byte, 1);
		}
		pause();
	}
	CHECK_INT(read(pair[0], &server, sizeof(server)), ==, sizeof(server));
	CHECK_OK(kill(keeper, SIGKILL));
	CHECK_INT(waitpid(keeper, NULL, 0), ==, keeper);
	CHECK_OK(region_tick(other));
	CHECK_OK(region_tick(other));
	CHECK_INT(region_fence(other, 1, 0, false), ==, REGION_ALIVE);
	CHECK_INT(region_owned(other), ==, 1);
	CHECK_OK(kill(server, SIGKILL));
	while (region_fence(other, 1, 0, false))
		;
	CHECK_OK(region_tick(other));
	CHECK_INT(region_owned(other), ==, 2);
	CHECK(rig_has(other, 1));
	region_member_status(other, 1, &s);
	CHECK_INT(s.state, ==, MEMBER_EXITED);
	region_close(other);
	rig_destroy(&g);
}

/* ---- a node that comes back -------------------------------------------------------- */

static void node_that_dies(const struct rig *g)
{
	struct region *r = join_as(g, 1, 0, 0);

	CHECK_OK(rig_put(r, 5, 1));
	CHECK(region_owns(r, 0));
}

static void node_after_it(const struct rig *g)
{
	struct region *r = join_as(g, 1, 0, 0);

	CHECK_INT(region_owned(r), ==, 1);
	CHECK(region_owns(r, 0));
	CHECK(rig_has(r, 5));
	CHECK_OK(region_leave(r));
	region_close(r);
}

/* It need not wait for a tick, and takes its own shard though others are free. */
TEST(a_node_takes_what_it_had)
{
	struct rig g = rig_create(4, 4, 16);
	struct region *fresh;

	run_child(&g, node_that_dies);
	run_child(&g, node_after_it);
	/* another takes an empty one */
	fresh = rig_join(&g, "fresh", 1, false);
	CHECK(!region_owns(fresh, 0));
	region_close(fresh);
	rig_destroy(&g);
}

/* ---- readers ----------------------------------------------------------------------- */

TEST(a_reader_is_never_late)
{
	struct rig g = rig_create(4, 2, 16);
	struct region_format_options once = g.format;
	struct region_member_status s;
	struct region *owner, *reader;
	struct region_pin pin;
	struct region_seen seen;
	struct region_name name = rig_name(1);

	once.lease_ms = 1;
	once.force = true;
	g.format = once;
	rig_format(&g);
	owner = rig_join(&g, "owner", 1, false);
	reader = join_reader(&g);
	CHECK_OK(rig_put(owner, 1, 1));
	CHECK_OK(region_look(reader, &name, &seen));
	CHECK_INT(seen.bytes, ==, RIG_BYTES);
	CHECK_OK(rig_pin(reader, 1, &pin));
	CHECK((const char *)region_memory(reader) + seen.offset ==
	      (const char *)pin.data);
	CHECK(region_sound(&name, &pin));
	do /* until who has a heart is late */
		region_member_status(owner, 0, &s);
	while (!s.late);
	region_member_status(owner, 1, &s);
	CHECK(s.reader && !s.late);
	CHECK_OK(region_remove(owner, &name));
	CHECK_INT(region_free(owner), ==, 15);
	CHECK_INT(region_leave(reader), ==, -EBUSY);
	region_unpin_all(reader);
	CHECK_OK(region_leave(reader));
	CHECK_OK(region_tick(owner));
	CHECK_INT(region_free(owner), ==, 16);
	CHECK_INT(region_look(reader, &name, &seen), ==, REGION_MISS);
	region_close(reader);
	region_close(owner);
	rig_destroy(&g);
}

static void reader_that_dies(const struct rig *g)
{
	struct region *r = join_reader(g);
	struct region_pin pin;

	CHECK_OK(rig_pin(r, 1, &pin));
}

TEST(a_readers_end_is_seen)
{
	struct rig g = rig_create(4, 2, 16);
	struct region *owner = rig_join(&g, "owner", 1, false);
	struct region_name name = rig_name(1);
	struct region_member_status s;

	CHECK_OK(rig_put(owner, 1, 1));
	run_child(&g, reader_that_dies);
	CHECK_OK(region_remove(owner, &name));
	CHECK_INT(region_free(owner), ==, 15); /* nobody has seen it yet */
	CHECK_OK(region_tick(owner));
	CHECK_OK(region_tick(owner));
	CHECK_INT(region_free(owner), ==, 16);
	region_member_status(owner, 1, &s);
	CHECK_INT(s.state, ==, MEMBER_EXITED);
	region_close(owner);
	rig_destroy(&g);
}

static int try_reader(const struct rig *g, struct region **ret_region)
{
	struct region_join_options o = { .size = sizeof(o), .reader = true };

	*ret_region = rig_open(g);
	return region_join(*ret_region, &o);
}

/* However many readers come, first or after a node has gone. */
TEST(readers_leave_slots_for_nodes)
{
	struct rig g = rig_create(8, 2, 16);
	struct region *r[8], *late, *a, *b;
	unsigned n = 0;
	uint64_t inc;
	uint32_t member = 9;

	while (try_reader(&g, &r[n]) == 0)
		CHECK_INT(++n, <, ARRAY_LEN(r));
	CHECK_INT(n, ==, 6);
	region_close(r[n]);
	a = join_as(&g, 1, 0, 0);
	CHECK_INT(try_reader(&g, &late), ==, -EBUSY);
	b = join_as(&g, 1, 0, 0);
	CHECK_OK(region_self(b, &member, &inc));
	CHECK_OK(region_fence(a, member, inc, true));
	CHECK_INT(
		region_join(late,
			    &(struct region_join_options){
				    .size = sizeof(struct region_join_options),
				    .reader = true }),
		==, -EBUSY);
	region_close(b);
	b = join_as(&g, 1, 0, 0);
	CHECK_INT(region_owned(b), ==, 1);
	/* no node is missing: the last one is for anybody */
	CHECK_OK(region_leave(r[0]));
	CHECK_OK(region_join(late,
			     &(struct region_join_options){
				     .size = sizeof(struct region_join_options),
				     .reader = true }));
	region_close(late);
	for (unsigned i = 0; i < n; i++)
		region_close(r[i]);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

/* ---- another program in the same process --------------------------------------------- */

#define SECOND "ONECOPY_TEST_SECOND_PROGRAM" /* the region's path */

/* Before any test: is this process the one that the test below has started? */
__attribute__((constructor)) static void second_program(void)
{
	const char *path = getenv(SECOND);
	struct region_join_options o = { .size = sizeof(o), .reader = true };
	struct region_member_status s;
	struct region *r = NULL;
	unsigned n = 0;

	if (!path)
		return;
	if (region_open(path, &r) || region_join(r, &o))
		_exit(2);
	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		region_member_status(r, i, &s);
		n += s.state == MEMBER_LIVE && s.pid == (uint64_t)getpid();
	}
	_exit(n == 1 ? 0 : 3);
}

static void first_program(const struct rig *g)
{
	struct region *r[2] = { join_reader(g), join_reader(g) };
	struct region_member_status s;
	struct region_pin pin;

	CHECK_OK(rig_pin(r[0], 1, &pin));
	/* one that joins once more is no other program */
	region_member_status(r[1], 1, &s);
	CHECK_INT(s.state, ==, MEMBER_LIVE);
	CHECK_OK(setenv(SECOND, g->path, 1));
	execl("/proc/self/exe", "second", (char *)NULL);
	FAIL("exec: %s", strerror(errno));
}

/* The kernel does not tell the two apart; the second ends what the first had. */
TEST(another_program_of_the_process_ends_the_first)
{
	struct rig g = rig_create(8, 1, 16);
	struct region *a = join_as(&g, 1, 0, 0);
	struct region_name name = rig_name(1);

	CHECK_OK(rig_put(a, 1, 1));
	run_child(&g, first_program);
	CHECK_OK(region_tick(a));
	CHECK_OK(region_remove(a, &name));
	CHECK_INT(region_free(a), ==, 16);
	region_close(a);
	rig_destroy(&g);
}

static void name_of(struct region *r, char ret_name[REGION_NAME + 1])
{
	struct region_member_status s;
	uint32_t self = 0;
	uint64_t inc;

	CHECK_OK(region_self(r, &self, &inc));
	region_member_status(r, self, &s);
	memcpy(ret_name, s.name, sizeof(s.name));
}

static void end_at_once(const struct rig *g)
{
	(void)rig_join(g, NULL, 0, false);
}

/* Those that nobody named are told apart; a reader is its host's, and who has ended is
 * in nobody's way. */
TEST(nodes_of_one_host_have_different_names)
{
	struct rig g = rig_create_small(8, 2, 16);
	struct region_join_options reads = { .size = sizeof(reads),
					     .reader = true };
	char names[4][REGION_NAME + 1], second[REGION_NAME + 1];
	struct region *r[4];

	run_child(&g, end_at_once);
	r[0] = rig_open(&g);
	CHECK_OK(region_join(r[0], &reads));
	for (unsigned i = 1; i < 4; i++)
		r[i] = rig_join(&g, NULL, 0, false);
	for (unsigned i = 0; i < 4; i++)
		name_of(r[i], names[i]);
	if (!names[0][0])
		SKIP("the host's name is none for a member");
	CHECK_STR(names[1], names[0]);
	snprintf(second, sizeof(second), "%.59s-2", names[0]);
	CHECK_STR(names[2], second);
	CHECK(strcmp(names[3], names[1]) && strcmp(names[3], names[2]));
	/* whoever comes next has the first one's */
	CHECK_OK(region_leave(r[1]));
	region_close(r[1]);
	r[1] = rig_join(&g, NULL, 0, false);
	name_of(r[1], names[1]);
	CHECK_STR(names[1], names[0]);
	for (unsigned i = 0; i < 4; i++)
		region_close(r[i]);
	rig_destroy(&g);
}
