/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a region's other members and other processes can do to a node: take it away,
 * hold its lock, stand still, write what is not so, pin all there is.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/prog/region_rig.h"
#include "tests/prog/run.h"

#define BYTES TWO_BYTES

/* All of it: the node goes on with what it has. */
TEST(a_region_that_is_taken_away)
{
	struct two t;

	two_format(&t, 8, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 8);
	CHECK_OK(ftruncate(t.fd, 0));
	LIVE_WAIT(&t.a, live_said(&t.a, "memory of the CXL region fails"));
	live_write_some(t.na, 8, 8, BYTES);
	CHECK_INT(live_read_some(t.na, 0, 16, BYTES), ==, 16);
	CHECK_INT(live_read(t.na, 100, BYTES), ==, OC_MISS);
	two_told(t.ca, "stat", NULL, "\"state\":\"failed\"");
	live_check(t.ca);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* Its file is another's, and then nobody's: the node is a member of what it has, and
 * says that whoever comes finds something else. */
TEST(a_region_that_is_at_its_path_no_more)
{
	struct two t, other;
	int kept;

	two_format(&t, 8, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	CHECK(!two_says(t.ca, "stat", NULL, "\"why\""));
	kept = dup(t.fd); /* words: a test's */
	two_format(&other, 8, 1, 64);
	CHECK_INT(dup2(other.fd, t.fd), ==, t.fd); /* words: the path's */
	close(other.fd);
	LIVE_WAIT(&t.a, live_said(&t.a, "is another file now"));
	CHECK_INT(dup2(kept, t.fd), ==, t.fd); /* words: the path's */
	LIVE_WAIT(&t.a, !two_says(t.ca, "stat", NULL, "is another file"));
	close(t.fd);
	LIVE_WAIT(&t.a, live_said(&t.a, "was deleted"));
	two_told(t.ca, "stat", NULL, "was deleted: start the node again");
	two_publish(&t, 0, 8);
	two_close_a(&t);
	live_stop(&t.a);
	close(kept);
}

/* All but the control area: the node stays a member, and has lost its shard. */
TEST(a_region_that_is_cut_short)
{
	struct two t;

	two_format(&t, 8, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 8);
	CHECK_OK(ftruncate(t.fd, 1 << 20));
	live_write_some(t.na, 8, 8, BYTES);
	LIVE_WAIT(&t.a, live_said(&t.a, "is out of use"));
	two_told(t.ca, "stat", NULL, "\"failed_shards\":1");
	CHECK_INT(live_read_some(t.na, 0, 16, BYTES), ==, 16);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* The only shard is another's; the region was not made for so many nodes. */
TEST(a_node_that_finds_no_shard_says_so)
{
	struct two t;

	two_format(&t, 8, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 1);
	live_start_words(&t.b, two_words(&t));
	LIVE_WAIT(&t.b, live_said(&t.b, "no shard of the region is free"));
	CHECK(!live_said(&t.a, "no shard of the region is free"));
	two_close_a(&t);
	live_stop(&t.b);
	live_stop(&t.a);
	close(t.fd);
}

static int leave(const char *path, const char *member, const char *option)
{
	struct run r = RUN("cxl", "leave", path, member, option);
	int status = r.status;

	run_free(&r);
	return status;
}

/* To leave is to end, for a node: nobody does that by mistake. */
TEST(a_node_is_not_stopped_by_the_way)
{
	struct region_shard_status shard;
	char member[16];
	struct region *r;
	struct two t;

	two_format(&t, 8, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 8);
	r = two_looker(&t);
	region_shard_status(r, 0, &shard);
	region_close(r);
	snprintf(member, sizeof(member), "%d", (int)shard.owner);
	CHECK_INT(leave(t.path, member, NULL), ==, 4);
	two_publish(&t, 8, 8);
	two_told(t.ca, "stat", NULL, "\"state\":\"member\"");
	two_close_a(&t);
	CHECK_INT(leave(t.path, member, "--stop-node"), ==, 0);
	live_stop(&t.a);
	close(t.fd);
}

/* Somebody holds the memory's lock for ever: who cannot join goes on without, and
 * is in as soon as it can. */
TEST(a_lock_that_is_held_stops_nobody)
{
	struct two t;
	int fd;

	two_format(&t, 8, 2, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 8);
	fd = open(t.path, O_RDWR | O_CLOEXEC);
	CHECK_INT(fd, >=, 0);
	CHECK_OK(flock(fd, LOCK_EX));
	live_start_words(&t.b, two_words(&t));
	two_open_b(&t);
	CHECK_INT(live_read(t.nb, 0, BYTES), ==, OC_MISS);
	live_write_some(t.nb, 100, 8, BYTES);
	CHECK_INT(live_read_some(t.nb, 100, 8, BYTES), ==, 8);
	LIVE_WAIT(&t.b, live_said(&t.b, "somebody joins or formats it now"));
	LIVE_WAIT(&t.b, two_says(t.cb, "stat", NULL, "not there"));
	close(fd);
	LIVE_WAIT(&t.b, live_said(&t.b, "member 1.1 of the region"));
	LIVE_WAIT(&t.b, live_read(t.nb, 0, BYTES) == 0);
	two_end(&t);
}

/* The node stands still when its client misses a block: it is a miss, whatever time
 * the client has for other things. */
TEST(a_miss_does_not_wait_for_a_node_that_stands_still)
{
	struct live_as as = { .timeout_ns = 3600 * NS_PER_S };
	pid_t server;
	struct two t;

	two_format(&t, 8, 2, 64);
	live_start_words(&t.a, two_words(&t));
	t.ca = live_connect_as(&t.a, as);
	t.na = live_ns(t.ca, BYTES);
	two_publish(&t, 0, 8);
	server = live_server(t.ca);
	CHECK_OK(kill(t.a.keeper, SIGSTOP));
	CHECK_OK(kill(server, SIGSTOP));
	CHECK_INT(live_read(t.na, 100, BYTES), ==, OC_MISS);
	CHECK_INT(live_read(t.na, 0, BYTES), ==, 0);
	CHECK_OK(kill(server, SIGCONT));
	CHECK_OK(kill(t.a.keeper, SIGCONT));
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* What every member can write: how large the blocks of all shards are. */
static void claim_bytes(const struct two *t, struct region *r, uint64_t bytes)
{
	const struct region_geometry *g = region_geometry_of(r);
	struct region_places p;
	char *all = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			 t->fd, 0);

	CHECK(all != MAP_FAILED);
	CHECK_OK(region_places(g, &p));
	for (uint32_t i = 0; i < g->shards * g->frames; i++) {
		struct region_desc *d =
			(void *)(all + p.shards +
				 i / g->frames * p.shard_bytes + p.desc +
				 i % g->frames * sizeof(*d));

		if (frame_word_state(shared_load64(&d->word)) == FRAME_SEALED)
			shared_store64(&d->extent,
				       frame_extent((uint32_t)bytes, 0));
	}
	munmap(all, g->bytes);
}

/* A reader has room for a part: what says it is more is no block. */
TEST(a_block_that_says_it_is_too_large_is_a_miss)
{
	struct oc_key key = live_key(0);
	struct oc_pin pin;
	struct region *r;
	struct two t;
	oc_ns *na, *nb;

	two_begin(&t, 8, 64);
	na = live_ns(t.ca, 4096);
	nb = live_ns(t.cb, 4096);
	CHECK_OK(live_write(na, 0, 4096));
	LIVE_WAIT(&t.b, oc_pin(nb, &key, (struct oc_part){ 0 }, 0, &pin) == 0);
	CHECK_INT(pin.bytes, ==, 4096);
	oc_unpin(nb, &pin);
	r = two_looker(&t);
	claim_bytes(&t, r, 4097);
	CHECK_INT(oc_pin(nb, &key, (struct oc_part){ 0 }, 0, &pin), ==,
		  OC_MISS);
	CHECK_INT(oc_exists(nb, &key, (struct oc_part){ 0 }), ==, OC_MISS);
	claim_bytes(&t, r, 4096);
	CHECK_OK(oc_pin(nb, &key, (struct oc_part){ 0 }, 0, &pin));
	oc_unpin(nb, &pin);
	region_close(r);
	oc_ns_close(na);
	oc_ns_close(nb);
	two_end(&t);
}

/* A's shard, all of whose frames a client of B pins. */
#define PINNED 8u

static void pin_shard(struct two *t, struct oc_pin pins[PINNED])
{
	two_publish(t, 0, PINNED);
	for (uint64_t i = 0; i < PINNED; i++) {
		struct oc_key key = live_key(i);

		CHECK_OK(oc_pin(t->nb, &key, (struct oc_part){ 0 }, 0,
				&pins[i]));
	}
}

static void unpin_shard(struct two *t, struct oc_pin pins[PINNED])
{
	for (uint64_t i = 0; i < PINNED; i++)
		oc_unpin(t->nb, &pins[i]);
}

/* That there is no room is found out once in a beat, here an hour's tenth, however
 * much waits, and however much leaves DRAM. */
TEST(a_shard_that_is_all_pinned_is_asked_once_in_a_beat)
{
	struct oc_pin pins[PINNED];
	struct two t;

	two_begin_lease(&t, 8, PINNED, 3600000);
	pin_shard(&t, pins);
	live_write_some(t.na, 1000, 100, BYTES);
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_refused") > 0);
	live_write_some(t.na, 2000, 600, BYTES); /* DRAM has 512 */
	CHECK_INT(live_counter(t.ca, "evicted"), >, 0);
	CHECK_INT(live_counter(t.ca, "region_refused"), ==, 1);
	CHECK_INT(live_read_some(t.na, 2590, 10, BYTES), ==, 10);
	unpin_shard(&t, pins);
	two_end(&t);
}

/* And what waited is put there when there is room again. */
TEST(what_found_no_room_is_put_there_later)
{
	struct oc_pin pins[PINNED];
	struct two t;

	two_begin(&t, 8, PINNED);
	pin_shard(&t, pins);
	live_write_some(t.na, 1000, 4, BYTES);
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_refused") > 0);
	CHECK_INT(live_counter(t.ca, "region_published"), ==, PINNED);
	unpin_shard(&t, pins);
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_published") > PINNED);
	live_write_some(t.na, 2000, 4, BYTES);
	LIVE_WAIT(&t.a, live_read(t.nb, 2003, BYTES) == 0);
	two_end(&t);
}
