/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks on a node's drive, as its clients reach them: a real node, its own
 * drive in a folder, and where it matters a drive that is slowed for the test. */
#include <errno.h>
#include <ftw.h>
#include <onecopy/tiers.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/prog/hostile.h"
#include "tests/prog/live.h"

#define BYTES (16 * KIB)
#define MANY  64u

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct live n;
	char dir[64], nvme[96];
	oc_client *c;
	oc_ns *ns;
	struct oc_key keys[MANY];
};

static void rig_start(struct rig *r)
{
	live_start(&r->n, "--dram", "32M", "--nvme", r->nvme, "--save-on-exit");
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, BYTES);
}

static void rig_stop(struct rig *r)
{
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

static void rig_end(struct rig *r)
{
	live_check(r->c);
	rig_stop(r);
	CHECK_INT(nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), ==, 0);
}

/* A node that was stopped and started again: MANY blocks, all on its drive, which
 * is so many times slower than it is. */
static void rig_begin(struct rig *r, const char *slow)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/var/tmp/onecopy-tiers-XXXXXX");
	CHECK(mkdtemp(r->dir) != NULL);
	snprintf(r->nvme, sizeof(r->nvme), "%s:64M", r->dir);
	rig_start(r);
	live_write_some(r->ns, 0, MANY, BYTES);
	rig_stop(r);
	if (slow)
		setenv("ONECOPY_TEST_SLOW_NVME", slow, 1);
	rig_start(r);
	for (unsigned i = 0; i < MANY; i++)
		r->keys[i] = live_key(i);
	/* it looks for what it has in the background */
	LIVE_WAIT(&r->n, oc_exists(r->ns, &r->keys[0], P0) == OC_BELOW);
}

TEST(what_was_saved_is_told_and_fetched)
{
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_block_info info[MANY];
	struct oc_pin pins[MANY], pin;
	struct oc_where w;
	size_t usable = 9;
	struct rig r;

	rig_begin(&r, NULL);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), ==, 0);
	CHECK_OK(oc_where(r.ns, &r.keys[3], P0, &w));
	CHECK_INT(w.tier, ==, OC_TIER_NVME);
	CHECK_INT(w.bytes, ==, BYTES);
	o.flags = OC_MATCH_BELOW;
	CHECK_OK(oc_match(r.ns, r.keys, MANY, &o, info, &usable));
	CHECK_INT(usable, ==, 0);
	CHECK_INT(info[MANY - 1].tier, ==, OC_TIER_NVME);
	CHECK_INT(info[MANY - 1].bytes, ==, BYTES);
	CHECK_INT(info[0].expected_ns, >=, info[0].stream_ns);
	/* one, some, the rest */
	CHECK_OK(oc_pin_fetch(r.ns, &r.keys[5], P0, OC_PIN_VERIFY,
			      LIVE_DEADLINE, &pin));
	CHECK(!live_wrong(&r.keys[5], pin.data, BYTES));
	oc_unpin(r.ns, &pin);
	o.fetch_ns = LIVE_DEADLINE;
	o.pin_flags = OC_PIN_VERIFY;
	CHECK_OK(oc_match_pin(r.ns, r.keys, 20, &o, pins, &usable));
	CHECK_INT(usable, ==, 20);
	for (unsigned i = 0; i < 20; i++)
		CHECK(!live_wrong(&r.keys[i], pins[i].data, BYTES));
	oc_unpin_batch(r.ns, pins, 20);
	CHECK_OK(oc_fetch(r.ns, r.keys, MANY, NULL, LIVE_DEADLINE, &usable));
	CHECK_INT(usable, ==, MANY);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), ==, MANY);
	CHECK_INT(live_counter(r.c, "promoted"), ==, MANY);
	rig_end(&r);
}

TEST(fetched_ahead_it_is_there_in_time)
{
	struct oc_fetch_options o = OC_FETCH_INIT;
	size_t usable;
	struct rig r;

	rig_begin(&r, NULL);
	o.flags = OC_FETCH_AHEAD;
	CHECK_OK(oc_fetch(r.ns, r.keys, MANY, &o, LIVE_DEADLINE, NULL));
	LIVE_WAIT(&r.n,
		  oc_match(r.ns, r.keys, MANY, NULL, NULL, &usable) == 0 &&
			  usable == MANY);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), ==, MANY);
	rig_end(&r);
}

/* A read takes ten seconds and more: nobody waits longer than he said. */
TEST(a_deadline_holds)
{
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_pin pins[MANY];
	size_t usable = 9;
	uint64_t begin;
	struct rig r;

	rig_begin(&r, "100000");
	begin = clock_ns();
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[1], P0, 0, 20 * NS_PER_MS, pins),
		  ==, -ETIMEDOUT);
	o.fetch_ns = 20 * NS_PER_MS;
	CHECK_OK(oc_match_pin(r.ns, r.keys, MANY, &o, pins, &usable));
	CHECK_INT(usable, ==, 0);
	CHECK_OK(oc_fetch(r.ns, r.keys, MANY, NULL, 20 * NS_PER_MS, &usable));
	CHECK_INT(usable, ==, 0);
	CHECK_INT(clock_ns() - begin, <, LIVE_DEADLINE);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	rig_end(&r);
}

static void submit(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct oc_op op = { .size = sizeof(op),
				    .kind = OC_OP_FETCH,
				    .ns = r->ns,
				    .user_data = i,
				    .timeout_ns = LIVE_DEADLINE,
				    .key = r->keys[i] };
		uint64_t id;

		CHECK_OK(oc_op_submit(r->c, &op, &id));
	}
}

/* The next server does what the dead one had not answered. Until it has its drive
 * again, what is there is a miss. */
TEST(fetches_outlive_the_server)
{
	struct oc_completion done[MANY];
	size_t taken = 0, n, usable = 0;
	struct rig r;

	rig_begin(&r, "300");
	submit(&r, MANY);
	CHECK_INT(kill(live_server(r.c), SIGKILL), ==, 0);
	for (; taken < MANY; taken += n) {
		CHECK_OK(oc_op_take(r.c, done, MANY, LIVE_DEADLINE, &n));
		for (size_t i = 0; i < n; i++)
			CHECK(done[i].result == 0 || done[i].result == OC_MISS);
	}
	LIVE_WAIT(&r.n, oc_fetch(r.ns, r.keys, MANY, NULL, LIVE_DEADLINE,
				 &usable) == 0 &&
				usable == MANY);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), ==, MANY);
	rig_end(&r);
}

static void fetch_and_hang(const struct live *n, int fd, void *arg)
{
	struct rig *r = arg;

	r->c = live_connect(n);
	r->ns = live_ns(r->c, BYTES);
	submit(r, MANY);
	child_say(fd, 'x');
	child_hear(fd);
}

TEST(a_client_dies_while_it_waits)
{
	struct rig r, theirs;
	struct child child;
	size_t usable = 0;

	rig_begin(&r, "300");
	theirs = r;
	child = child_start(fetch_and_hang, &r.n, &theirs);
	CHECK_INT(child_hear(child.fd), ==, 'x');
	child_kill(&child);
	LIVE_WAIT(&r.n, live_stat(r.c).clients == 1);
	live_check(r.c);
	CHECK_OK(oc_fetch(r.ns, r.keys, MANY, NULL, LIVE_DEADLINE, &usable));
	CHECK_INT(usable, ==, MANY);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), ==, MANY);
	rig_end(&r);
}

static void hostile_blob(struct rig *r, struct hostile *h)
{
	for (unsigned i = 0; i < MANY; i++)
		shared_store_bytes(h->seg->blob + 4 * i, OC_KEY_BYTES,
				   r->keys[i].bytes, OC_KEY_BYTES);
}

/* What lies is refused, and what changes under the server's eyes harms nobody. */
TEST(requests_that_lie)
{
	static const uint64_t ns[] = { 0, 1, 2, 255, 256, UINT32_MAX };
	static const uint64_t n[] = {
		0, 1, 2, MANY, RING_BLOB_KEYS, RING_BLOB_KEYS + 1, UINT64_MAX
	};
	static const uint64_t arg2[] = { 0,	1,     2,      0x80,
					 0x100, 0x200, 0xff00, UINT64_MAX };
	struct hostile h;
	struct rig r;

	rig_begin(&r, NULL);
	hostile_join(&r.n, &h);
	for (size_t i = 0; i < ARRAY_LEN(ns) * ARRAY_LEN(n) * ARRAY_LEN(arg2);
	     i++) {
		struct ring_call q = {
			.part = ns[i % ARRAY_LEN(ns)] << 32 | RING_RANK_ALL,
			.arg = n[i / ARRAY_LEN(ns) % ARRAY_LEN(n)],
			.arg2 = arg2[i / ARRAY_LEN(ns) / ARRAY_LEN(n)],
		};
		struct ring_answer a;

		memcpy(q.key, r.keys[i % MANY].bytes, sizeof(q.key));
		hostile_blob(&r, &h);
		q.op = i % 2 ? RING_FETCH : RING_LOOK;
		a = hostile_ask(&r.n, &h, (uint32_t)i % RING_SLOTS, q);
		CHECK(a.result == -EINVAL || a.result == OC_MISS ||
		      a.result == -ETIMEDOUT || a.result == 0);
		if (q.arg == 0 || q.arg > RING_BLOB_KEYS || ns[i % 6] != 1)
			CHECK_INT(a.result, ==, -EINVAL);
	}
	hostile_leave(&h);
	CHECK_INT(live_read_some(r.ns, 0, MANY, BYTES), <=, MANY);
	rig_end(&r);
}
