/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes on one CXL region: what a client of one has sealed is read in place by
 * clients of the other, through all ends of either. A memfd stands in.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/rng.h"
#include "tests/prog/region_rig.h"
#include "tests/prog/run.h"

#define BYTES  TWO_BYTES
#define BLOCKS 40u

static void remember(void *ctx, int event, const struct oc_region *region)
{
	struct oc_region *of = ctx;

	CHECK_INT(event, ==, OC_REGION_COMES);
	if (region->kind == 4) /* ordinary memory that stands in */
		*of = *region;
}

/* In the memory of the region itself, at the place that is told. */
static void in_place(const struct two *t, const struct oc_pin *pin)
{
	struct oc_region region = { 0 };
	char bytes[64];

	oc_region_each(t->cb, remember, &region);
	CHECK_INT(pin->region, ==, region.id);
	CHECK(!region.writable);
	CHECK((const char *)pin->data ==
	      (const char *)region.base + pin->offset);
	CHECK_INT(pin->offset + pin->bytes, <=, region.bytes);
	CHECK_INT(pread(t->fd, bytes, sizeof(bytes), (off_t)pin->offset), ==,
		  sizeof(bytes));
	CHECK_MEM(bytes, pin->data, sizeof(bytes));
}

TEST(a_block_of_another_node_is_read_where_it_lies)
{
	struct oc_key keys[BLOCKS];
	struct oc_block_info info[BLOCKS];
	struct oc_pin pins[BLOCKS];
	struct oc_part part = { 0 };
	struct oc_where where;
	char copy[BYTES];
	uint64_t bytes;
	size_t usable;
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, BLOCKS);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		keys[i] = live_key(i);
		CHECK_OK(live_read(t.nb, i, BYTES));
		CHECK_OK(oc_pin(t.nb, &keys[i], part, OC_PIN_VERIFY, &pins[i]));
		in_place(&t, &pins[i]);
		CHECK(!live_wrong(&keys[i], pins[i].data, BYTES));
	}
	oc_unpin_batch(t.nb, pins, BLOCKS);
	CHECK_OK(oc_match(t.nb, keys, BLOCKS, NULL, info, &usable));
	CHECK_INT(usable, ==, BLOCKS);
	CHECK_INT(info[BLOCKS - 1].tier, ==, OC_TIER_CXL);
	CHECK_INT(info[BLOCKS - 1].bytes, ==, BYTES);
	CHECK_OK(oc_match_pin(t.nb, keys, BLOCKS, NULL, pins, &usable));
	CHECK_INT(usable, ==, BLOCKS);
	in_place(&t, &pins[7]);
	oc_unpin_batch(t.nb, pins, BLOCKS);
	CHECK_OK(oc_pin_batch(t.nb, keys, BLOCKS, part, 0, pins, &usable));
	CHECK_INT(usable, ==, BLOCKS);
	oc_unpin_batch(t.nb, pins, BLOCKS);
	CHECK_OK(oc_exists(t.nb, &keys[3], part));
	CHECK_OK(oc_where(t.nb, &keys[3], part, &where));
	CHECK_INT(where.tier, ==, OC_TIER_CXL);
	CHECK_INT(where.bytes, ==, BYTES);
	CHECK_OK(oc_get(t.nb, &keys[3], part, copy, sizeof(copy), &bytes));
	CHECK(!live_wrong(&keys[3], copy, BYTES));
	/* B moved nothing: it has no frame, and copied what oc_get() was asked for */
	(void)live_stat(t.cb); /* the client says what it counts */
	CHECK_INT(live_counter(t.cb, "region_pins"), ==, 4 * BLOCKS + 1);
	CHECK_INT(live_counter(t.cb, "misses"), ==, 0);
	CHECK_INT(live_counter(t.cb, "grants"), ==, 0);
	CHECK_INT(live_counter(t.cb, "slab_bytes"), ==, 0);
	CHECK_INT(live_counter(t.cb, "promoted"), ==, 0);
	CHECK_INT(live_counter(t.cb, "copied_bytes"), ==, BYTES);
	CHECK_INT(live_counter(t.ca, "region_published_bytes"), ==,
		  BLOCKS * BYTES);
	/* what was removed leaves A's shard with it */
	CHECK_OK(oc_remove(t.na, &keys[3], 0));
	CHECK_INT(live_read(t.nb, 3, BYTES), ==, OC_MISS);
	CHECK_OK(oc_match(t.nb, keys, BLOCKS, NULL, NULL, &usable));
	CHECK_INT(usable, ==, 3);
	two_end(&t);
}

/* DRAM holds less than the shard: what left it is found in the shard. */
TEST(what_has_left_dram_is_found_in_the_shard)
{
	struct two t;

	two_format(&t, 8, 1, 1024);
	live_start(&t.a, "--dram", "2M", "--slab", "256K", "--region", t.path);
	two_open_a(&t);
	for (uint64_t i = 0; i < 512; i += 32)
		two_publish(&t, i, 32);
	CHECK_INT(live_counter(t.ca, "evicted"), >=, 512 - 128);
	CHECK_INT(live_read_some(t.na, 0, 512, BYTES), ==, 512);
	(void)live_stat(t.ca);
	CHECK_INT(live_counter(t.ca, "region_pins"), >=, 512 - 128);
	CHECK_INT(live_counter(t.ca, "promoted"), ==, 0);
	live_check(t.ca);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* The shard holds less than DRAM: what had left it is copied there once more when
 * it leaves DRAM. */
TEST(what_leaves_dram_goes_to_the_shard)
{
	struct two t;

	two_format(&t, 8, 1, 64);
	live_start(&t.a, "--dram", "2M", "--slab", "256K", "--region", t.path);
	two_open_a(&t);
	/* in steps: what leaves DRAM before it was published is so but once */
	for (uint64_t i = 0; i < 512; i += 8) {
		live_write_some(t.na, i, 8, BYTES);
		LIVE_WAIT(&t.a,
			  live_counter(t.ca, "region_published") >= i + 8);
	}
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_published") > 512);
	CHECK_INT(live_read_some(t.na, 0, 512, BYTES), >, 128 + 8);
	live_check(t.ca);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* ---- what is told ---------------------------------------------------------------- */

static void hex_of(uint64_t i, char hex[65])
{
	struct oc_key key = live_key(i);

	for (unsigned b = 0; b < sizeof(key.bytes); b++)
		snprintf(hex + 2 * b, 3, "%02x", key.bytes[b]);
}

TEST(reports_say_where_and_whose)
{
	struct run r;
	char hex[65];
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 8);
	CHECK_INT(live_read_some(t.nb, 0, 8, BYTES), ==, 8);
	hex_of(3, hex);
	two_told(t.ca, "where", hex, "\"dram\"");
	two_told(t.ca, "where", hex, "\"own\":true");
	two_told(t.cb, "where", hex, "\"memory\":\"region\"");
	two_told(t.cb, "where", hex, "\"own\":false");
	two_told(t.cb, "why", hex, "read in place in the CXL region, from the");
	two_told(t.cb, "why", hex, "resident in cxl");
	LIVE_WAIT(&t.b,
		  two_says(t.cb, "stat", NULL, "\"quarantined_shards\":0"));
	two_told(t.cb, "stat", NULL, "\"readers\":1");
	r = RUN("cxl", "status", t.path);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "node") && strstr(r.out, "reader"));
	run_free(&r);
	two_end(&t);
}

TEST(a_node_that_is_killed_whole_finds_its_blocks)
{
	struct region_shard_status shard[2];
	struct region *r;
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, BLOCKS);
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS, BYTES), ==, BLOCKS);
	live_kill(&t.a, t.ca);
	/* others read meanwhile, and so does the client that outlives it */
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS, BYTES), ==, BLOCKS);
	two_close_a(&t);
	live_again(&t.a, two_words(&t));
	two_open_a(&t);
	CHECK_INT(live_read_some(t.na, 0, BLOCKS, BYTES), ==, BLOCKS);
	CHECK_INT(live_counter(t.ca, "sealed"), ==, 0);
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS, BYTES), ==, BLOCKS);
	/* each has a shard again */
	r = two_looker(&t);
	LIVE_WAIT(&t.a,
		  (region_shard_status(r, 0, &shard[0]),
		   region_shard_status(r, 1, &shard[1]),
		   shard[0].owner != shard[1].owner && !shard[0].gone &&
			   !shard[1].gone && shard[0].ready && shard[1].ready));
	region_close(r);
	two_publish(&t, BLOCKS, 8);
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS + 8, BYTES), ==, BLOCKS + 8);
	two_end(&t);
}

/* Alone on its memory, keeper and server gone, then a clean stop. */
TEST(blocks_outlive_all_processes)
{
	struct two t;

	two_format(&t, 4, 1, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, BLOCKS);
	live_kill(&t.a, t.ca);
	two_close_a(&t);
	for (unsigned round = 0; round < 2; round++) {
		live_again(&t.a, two_words(&t));
		two_open_a(&t);
		CHECK_INT(live_counter(t.ca, "sealed"), ==, 0);
		CHECK_INT(live_read_some(t.na, 0, BLOCKS, BYTES), ==, BLOCKS);
		live_check(t.ca);
		two_close_a(&t);
		CHECK_OK(kill(t.a.keeper, SIGTERM));
		CHECK_INT(live_ended(&t.a), ==, 0);
	}
	live_remove(&t.a);
	close(t.fd);
}

TEST(the_next_server_is_the_same_member)
{
	struct region_member_status before, after;
	struct region *r;
	uint32_t member;
	struct two t;
	pid_t old;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, BLOCKS / 2);
	r = two_looker(&t);
	member = two_member_of(r, t.a.keeper);
	region_member_status(r, member, &before);
	CHECK_INT(before.server, ==, live_server(t.ca));
	old = live_server(t.ca);
	CHECK_OK(kill(old, SIGKILL));
	LIVE_WAIT(&t.a, live_server(t.ca) != old);
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS / 2, BYTES), ==, BLOCKS / 2);
	two_publish(&t, BLOCKS / 2, BLOCKS / 2);
	CHECK_INT(live_read_some(t.nb, 0, BLOCKS, BYTES), ==, BLOCKS);
	region_member_status(r, member, &after);
	CHECK_INT(after.inc, ==, before.inc);
	CHECK_INT(after.server, ==, live_server(t.ca));
	CHECK_INT(after.shards, ==, before.shards);
	CHECK(!after.ended);
	region_close(r);
	LIVE_WAIT(&t.a, live_said(&t.a, "as before"));
	two_end(&t);
}

/* ---- clients that end ------------------------------------------------------------ */

static void pin_and_wait(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	struct oc_key key = live_key(0);
	struct oc_pin pin;

	(void)arg;
	CHECK_OK(oc_pin(ns, &key, (struct oc_part){ 0 }, 0, &pin));
	child_say(fd, 'p');
	child_hear(fd);
	CHECK(!live_wrong(&key, pin.data, BYTES));
	child_say(fd, 'r');
	child_hear(fd); /* killed here */
}

static uint64_t free_frames(struct region *r)
{
	struct region_shard_status s;
	uint64_t n = 0;

	for (uint32_t i = 0; i < region_geometry_of(r)->shards; i++) {
		region_shard_status(r, i, &s);
		n += s.free;
	}
	return n;
}

/* A pin of a client of B keeps a frame of A until that client has ended, also when
 * all of B has ended before. */
TEST(a_pin_lasts_as_long_as_its_client)
{
	struct oc_key key = live_key(0);
	struct child child;
	struct region *r;
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 8);
	r = two_looker(&t);
	LIVE_WAIT(&t.a, free_frames(r) == 2 * 64 - 8);
	child = child_start(pin_and_wait, &t.b, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'p');
	live_kill(&t.b, t.cb);
	two_close_b(&t);
	CHECK_OK(oc_remove(t.na, &key, 0));
	/* room is made of all else, and of that not */
	for (uint64_t i = 0; i < 4; i++)
		two_publish(&t, 100 + 64 * i, 64);
	child_say(child.fd, 'r');
	CHECK_INT(child_hear(child.fd), ==, 'r');
	child_kill(&child);
	live_again(&t.b, two_words(&t));
	two_open_b(&t);
	for (uint64_t i = 0; i < 8; i++) {
		key = live_key(i);
		(void)oc_remove(t.na, &key, 0);
	}
	region_close(r);
	two_end(&t);
}

/* ---- no room, no part ------------------------------------------------------------- */

TEST(a_client_without_a_slot_reads_its_own_node)
{
	struct two t;
	char *json;

	two_begin(&t, 2, 64);
	two_publish(&t, 0, 8);
	CHECK_INT(live_read_some(t.na, 0, 8, BYTES), ==, 8);
	CHECK_INT(live_read(t.nb, 0, BYTES), ==, OC_MISS);
	CHECK(strstr(oc_client_error(t.cb), "no free slot") != NULL);
	CHECK_OK(oc_inspect(t.cb, "stat", NULL, 0, &json));
	CHECK(strstr(json, "no free slot") != NULL);
	free(json);
	/* once, and when it is gone */
	LIVE_WAIT(&t.b, live_counter(t.cb, "region_outside") == 1);
	two_close_b(&t);
	two_open_b(&t);
	CHECK_INT(live_counter(t.cb, "region_outside"), ==, 1);
	two_end(&t);
}

/* Declared dead though it lives: it says so and goes on without. */
TEST(a_fenced_node_goes_on_without)
{
	struct region *r;
	struct two t;
	char *json;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 8);
	CHECK_INT(live_read_some(t.nb, 0, 8, BYTES), ==, 8);
	r = two_looker(&t);
	CHECK_OK(region_fence(r, two_member_of(r, t.a.keeper), 0, true));
	LIVE_WAIT(&t.a, live_said(&t.a, "declared dead in the CXL region"));
	live_write_some(t.na, 8, 8, BYTES);
	CHECK_INT(live_read_some(t.na, 0, 16, BYTES), ==, 16);
	CHECK_INT(live_counter(t.ca, "region_published"), ==, 8);
	CHECK_OK(oc_inspect(t.ca, "stat", NULL, 0, &json));
	CHECK(strstr(json, "declared dead") != NULL);
	free(json);
	/* what it had sealed is read on; B has taken its shard */
	CHECK_INT(live_read_some(t.nb, 0, 8, BYTES), ==, 8);
	region_close(r);
	two_end(&t);
}

static uint32_t reader_of(struct region *r)
{
	struct region_member_status s;

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		region_member_status(r, i, &s);
		if (s.state == MEMBER_LIVE && s.reader)
			return i;
	}
	FAIL("nobody reads");
}

/* It gets nothing new; its own node serves it as before. */
TEST(a_fenced_client_reads_its_own_node)
{
	struct oc_key key = live_key(0);
	struct oc_pin pin;
	struct region *r;
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 8);
	CHECK_OK(oc_pin(t.nb, &key, (struct oc_part){ 0 }, 0, &pin));
	r = two_looker(&t);
	CHECK_OK(region_fence(r, reader_of(r), 0, true));
	CHECK_INT(live_read(t.nb, 1, BYTES), ==, OC_MISS);
	CHECK(strstr(oc_client_error(t.cb), "declared dead") != NULL);
	oc_unpin(t.nb, &pin);
	live_write_some(t.nb, 1000, 4, BYTES);
	CHECK_INT(live_read_some(t.nb, 1000, 4, BYTES), ==, 4);
	two_told(t.cb, "stat", NULL, "declared dead");
	CHECK_INT(live_read_some(t.na, 0, 8, BYTES), ==, 8);
	region_close(r);
	two_end(&t);
}

/* Made anew for other people while the node serves: it is told so, and the next
 * server does not show them what this tenant writes. */
TEST(a_region_of_another_tenant_is_not_joined)
{
	struct region_format_options o = { .size = sizeof(o),
					   .members = 8,
					   .shards = 2,
					   .frame_bytes = BYTES,
					   .tenant = "others",
					   .lease_ms = 200,
					   .force = true,
					   .even_if_live = true };
	struct region_member_status s;
	struct region *r;
	struct two t;
	pid_t old;

	two_format(&t, 8, 2, 64);
	live_start_words(&t.a, two_words(&t));
	two_open_a(&t);
	two_publish(&t, 0, 8);
	CHECK_OK(region_format(t.path, &o));
	LIVE_WAIT(&t.a, live_said(&t.a, "was made anew under this node"));
	CHECK(!live_said(&t.a, "declared dead in the CXL region"));
	two_told(t.ca, "stat", NULL, "\"state\":\"made anew\"");
	old = live_server(t.ca);
	CHECK_OK(kill(old, SIGKILL));
	LIVE_WAIT(&t.a, live_server(t.ca) != old);
	LIVE_WAIT(&t.a, live_said(&t.a, "made for another tenant"));
	live_write_some(t.na, 8, 8, BYTES);
	r = two_looker(&t);
	for (uint32_t i = 0; i < o.members; i++) {
		region_member_status(r, i, &s);
		CHECK_INT(s.state, ==, MEMBER_FREE);
	}
	region_close(r);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* A node that only stands still is late, and nothing is taken from it. */
TEST(a_paused_node_keeps_its_shard)
{
	struct region_member_status s;
	struct region_shard_status h;
	uint32_t member, owned = 0;
	struct region *r;
	struct two t;
	pid_t server;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 8);
	r = two_looker(&t);
	member = two_member_of(r, t.a.keeper);
	server = live_server(t.ca);
	CHECK_OK(kill(t.a.keeper, SIGSTOP));
	CHECK_OK(kill(server, SIGSTOP));
	LIVE_WAIT(&t.b, (region_member_status(r, member, &s), s.late));
	CHECK_INT(live_read_some(t.nb, 0, 8, BYTES), ==, 8);
	for (uint32_t i = 0; i < 2; i++) {
		region_shard_status(r, i, &h);
		if (h.owner != member) /* which may be late for a moment */
			continue;
		CHECK(h.quarantined);
		owned++;
	}
	CHECK_INT(owned, ==, 1);
	LIVE_WAIT(&t.b,
		  two_says(t.cb, "stat", NULL, "\"quarantined_shards\":1"));
	CHECK_OK(kill(server, SIGCONT));
	CHECK_OK(kill(t.a.keeper, SIGCONT));
	LIVE_WAIT(&t.a, (region_member_status(r, member, &s), !s.late));
	CHECK_INT(s.state, ==, MEMBER_LIVE);
	two_publish(&t, 8, 8);
	CHECK_INT(live_read_some(t.nb, 0, 16, BYTES), ==, 16);
	region_close(r);
	two_end(&t);
}

/* ---- deaths at random ------------------------------------------------------------ */

#define ROUNDS LIVE_N(12)
#define MANY   200u

static void read_on(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	struct rng rng = { 77 };

	(void)arg;
	child_say(fd, 'r');
	for (;;) /* until it is killed; wrong bytes fail it */
		(void)live_read(ns, rng_below(&rng, MANY), BYTES);
}

static void write_on(struct two *t, struct rng *rng)
{
	for (unsigned i = 0; i < 40; i++) {
		oc_ns *ns = rng_below(rng, 2) ? t->na : t->nb;
		uint64_t at = rng_below(rng, MANY);
		struct oc_key key = live_key(at);
		int r = rng_below(rng, 4) ? live_write(ns, at, BYTES)
					  : oc_remove(ns, &key, 0);

		CHECK(r == 0 || r == OC_EXISTS || r == OC_MISS);
		r = live_read(ns, rng_below(rng, MANY), BYTES);
		CHECK(r == 0 || r == OC_MISS);
	}
}

/* Of either node all of it or its server, or a client that reads. */
static void one_death(struct two *t, struct rng *rng, struct child *reader)
{
	struct live *n = rng_below(rng, 2) ? &t->a : &t->b;
	oc_client *c = n == &t->a ? t->ca : t->cb;
	pid_t old;

	switch (rng_below(rng, 3)) {
	case 0:
		old = live_server(c);
		CHECK_OK(kill(old, SIGKILL));
		LIVE_WAIT(n, live_server(c) != old);
		break;
	case 1:
		live_kill(n, c);
		if (n == &t->a)
			two_close_a(t);
		else
			two_close_b(t);
		live_again(n, two_words(t));
		if (n == &t->a)
			two_open_a(t);
		else
			two_open_b(t);
		break;
	default:
		child_kill(reader);
		*reader = child_start(read_on, &t->b, NULL);
		CHECK_INT(child_hear(reader->fd), ==, 'r');
	}
}

static void tell_problem(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s\n", text);
}

static void check(struct region *r, struct region_checked *done)
{
	CHECK_INT(region_check(r, true, true, tell_problem, NULL, done), ==, 0);
	CHECK_INT(done->free + done->sealed + done->other, ==, done->frames);
	CHECK_INT(done->pins, ==, 0);
}

/* A frame that was removed, and pinned by who was killed then, waits for the next
 * owner of its shard. */
static void take_over(struct region *r)
{
	const struct region_join_options o = {
		.size = sizeof(o), .name = "looker", .shards = 2, .adopt = true
	};
	struct region_checked done;

	CHECK_OK(region_join(r, &o));
	LIVE_WAIT(NULL, (region_tick(r) == 0 && region_owned(r) == 2));
	check(r, &done);
	CHECK_INT(done.other, ==, 0);
	CHECK_OK(region_leave(r));
}

TEST(deaths_at_random)
{
	struct region_checked done;
	struct rng rng = { 5 };
	struct child reader;
	struct region *r;
	struct two t;

	two_begin(&t, 10, 64);
	reader = child_start(read_on, &t.b, NULL);
	CHECK_INT(child_hear(reader.fd), ==, 'r');
	for (unsigned i = 0; i < ROUNDS; i++) {
		write_on(&t, &rng);
		one_death(&t, &rng, &reader);
	}
	child_kill(&reader);
	two_close_a(&t);
	two_close_b(&t);
	live_stop(&t.a);
	live_stop(&t.b);
	r = two_looker(&t);
	/* who was killed last may have been seen by nobody */
	for (uint32_t i = 0; i < 10; i++)
		CHECK_INT(region_fence(r, i, 0, false), !=, REGION_ALIVE);
	check(r, &done);
	take_over(r);
	region_close(r);
	close(t.fd);
}

static uint64_t readers(struct region *r)
{
	struct region_member_status s;
	uint64_t n = 0;

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		region_member_status(r, i, &s);
		n += s.state == MEMBER_LIVE && s.reader;
	}
	return n;
}

/* Joining fails at every point: a miss, and nothing is left of it. */
TEST(a_join_that_fails_is_a_miss)
{
	struct oc_part part = { 0 };
	struct oc_key key = live_key(0);
	struct region *r;
	unsigned at = 1;
	bool fired = true;
	struct two t;

	two_begin(&t, 8, 64);
	two_publish(&t, 0, 1);
	r = two_looker(&t);
	for (; fired; at++) {
		struct oc_pin pin;
		int got;

		CHECK_INT(at, <, 100);
		two_close_b(&t);
		two_open_b(&t);
		fault_arm(FAULT_ALL, at, false);
		got = oc_pin(t.nb, &key, part, 0, &pin);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK(got == 0 || (fired && got == OC_MISS));
		if (got == 0)
			oc_unpin(t.nb, &pin);
		CHECK_INT(readers(r), ==, got == 0);
	}
	CHECK_INT(at, >, 5);
	region_close(r);
	two_end(&t);
}

/* It is one tenant's: others' clients do not find it, nor is it given to them. */
TEST(another_tenant_has_no_part_in_it)
{
	struct live_as as = { .tenant = "other" };
	struct region *r;
	oc_client *c;
	struct two t;
	char yaml[256];
	oc_ns *ns;

	two_format(&t, 8, 1, 64);
	snprintf(yaml, sizeof(yaml),
		 "dram: 8M\nregion: {path: %s}\n"
		 "tenants: [{name: default}, {name: other}]\n",
		 t.path);
	live_start_config(&t.a, yaml);
	two_open_a(&t);
	two_publish(&t, 0, 8);
	c = live_connect_as(&t.a, as);
	ns = live_ns(c, BYTES);
	CHECK_INT(live_read(ns, 0, BYTES), ==, OC_MISS);
	live_write_some(ns, 0, 8, BYTES);
	CHECK_INT(live_counter(c, "region_published"), ==, 0);
	CHECK_INT(live_counter(t.ca, "region_published"), ==, 8);
	r = two_looker(&t);
	for (uint32_t i = 0; i < 8; i++) {
		struct region_member_status s;

		region_member_status(r, i, &s);
		CHECK(s.state != MEMBER_LIVE || !s.reader);
	}
	region_close(r);
	oc_ns_close(ns);
	oc_client_close(c);
	two_close_a(&t);
	live_stop(&t.a);
	close(t.fd);
}

/* ---- several parts ------------------------------------------------------------------ */

static oc_ns *ns_of(oc_client *c, uint64_t second)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 2,
		.groups = { { .slices = 1, .slice_bytes = BYTES },
			    { .rule = OC_RULE_WINDOW,
			      .window_tokens = 32,
			      .slices = 1,
			      .slice_bytes = second } },
	};
	oc_ns *ns;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	return ns;
}

static void put(oc_ns *ns, uint64_t i, uint16_t group, uint64_t bytes)
{
	static char data[4 * BYTES];
	struct oc_key key = live_key(i);

	memset(data, (int)(i * 2 + group), bytes);
	CHECK_OK(
		oc_put(ns, &key, (struct oc_part){ group, 0 }, data, bytes, 0));
}

/* The rule is joint over what either node has. */
TEST(a_match_is_joint_over_both_nodes)
{
	struct oc_key keys[8];
	struct oc_pin pins[16];
	oc_ns *na, *nb, *large;
	size_t usable;
	struct two t;

	two_begin(&t, 8, 64);
	na = ns_of(t.ca, 4096);
	nb = ns_of(t.cb, 4096);
	for (uint64_t i = 0; i < 8; i++) {
		keys[i] = live_key(i);
		put(na, i, 0, BYTES);
	}
	put(na, 4, 1, 4096);
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_published") == 9);
	CHECK_OK(oc_match(nb, keys, 8, NULL, NULL, &usable));
	CHECK_INT(usable, ==, 0);
	put(nb, 5, 1, 4096); /* the other block of the window, on B */
	CHECK_OK(oc_match_pin(nb, keys, 8, NULL, pins, &usable));
	CHECK_INT(usable, ==, 6);
	CHECK_INT(((const char *)pins[5 * 2 + 1].data)[0], ==, 11);
	CHECK_INT(((const char *)pins[4 * 2 + 1].data)[0], ==, 9);
	oc_unpin_batch(nb, pins, 16);
	/* a group whose parts do not fit keeps all of its namespace away */
	large = ns_of(t.ca, 4 * BYTES);
	put(large, 20, 0, BYTES);
	put(large, 20, 1, 4 * BYTES);
	LIVE_WAIT(&t.a, live_counter(t.ca, "region_unfit") == 2);
	oc_ns_close(large);
	oc_ns_close(na);
	oc_ns_close(nb);
	two_end(&t);
}
