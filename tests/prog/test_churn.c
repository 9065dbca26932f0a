/* SPDX-License-Identifier: Apache-2.0 */
/* Much coming and going: nothing grows. And threads that share a client. */
#include <pthread.h>
#include "base/fault.h"
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES (4 * KIB)

static const struct oc_part part0;

struct size {
	uint64_t slab, meta, used;
	unsigned keeper_fds, server_fds;
};

static struct size size_of(const struct live *n, oc_client *c)
{
	struct oc_stat s = live_stat(c);

	return (struct size){ s.slab_bytes, s.meta_bytes,
			      live_node(c, "used_bytes"), live_fds(n->keeper),
			      live_fds(live_server(c)) };
}

static void same_size(const struct live *n, oc_client *c, struct size was)
{
	struct size is = size_of(n, c);

	CHECK_INT(is.slab, <=, was.slab);
	CHECK_INT(is.meta, <=, was.meta);
	CHECK_INT(is.used, <=, was.used);
	LIVE_WAIT(n, live_fds(n->keeper) <= was.keeper_fds);
	LIVE_WAIT(n, live_fds(live_server(c)) <= was.server_fds);
}

TEST(two_thousand_clients_leave_nothing)
{
	struct size was;
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "16M", "--log-level", "error");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	LIVE_WAIT(&n, live_stat(c).clients == 1);
	was = size_of(&n, c);
	for (unsigned i = 0; i < LIVE_N(2000); i++) {
		oc_client *d = live_connect_as(
			&n, (struct live_as){ .read_only = true });
		oc_ns *nd = live_ns(d, BYTES);

		CHECK_OK(live_read(nd, 1, BYTES));
		oc_ns_close(nd);
		oc_client_close(d);
	}
	LIVE_WAIT(&n, live_stat(c).clients == 1);
	same_size(&n, c, was);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* Writers have slabs; these are used again by those who come later. */
TEST(writers_that_come_and_go_leave_nothing)
{
	struct size was = { 0 };
	struct live n;
	oc_client *c;

	live_start(&n, "--dram", "4M", "--log-level", "error");
	c = live_connect(&n);
	for (unsigned i = 0; i < 300; i++) {
		oc_client *d = live_connect(&n);
		oc_ns *nd = live_ns(d, BYTES);

		live_write_some(nd, i * 1000, 4, BYTES);
		CHECK_INT(live_read_some(nd, i * 1000, 4, BYTES), ==, 4);
		oc_ns_close(nd);
		oc_client_close(d);
		CHECK_INT(live_stat(c).slab_bytes, <=, 4 * MIB);
		if (i == 300 / 2) {
			LIVE_WAIT(&n, live_stat(c).clients == 1);
			was = size_of(&n, c);
		}
	}
	LIVE_WAIT(&n, live_stat(c).clients == 1);
	was.slab = was.used = 4 * MIB;
	was.keeper_fds += 8; /* closed clients whose slabs are there still */
	was.server_fds += 8;
	CHECK_INT(live_fds(n.keeper), <=, was.keeper_fds);
	same_size(&n, c, was);
	live_check(c);
	oc_client_close(c);
	live_stop(&n);
}

TEST(two_hundred_thousand_blocks_leave_nothing)
{
	static char page[BYTES];
	struct size was = { 0 };
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "16M", "--log-level", "error");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	for (uint64_t i = 0; i < LIVE_N(200000); i++) {
		struct oc_key key = { .bytes = { 1 } };
		struct oc_grant g;
		struct oc_pin pin;

		memcpy(key.bytes + 8, &i, sizeof(i));
		key.bytes[0] = (uint8_t)(i * 37);
		CHECK_OK(oc_grant(ns, &key, part0, 0, 0, 0, &g));
		memcpy(g.data, page, BYTES);
		CHECK_OK(oc_seal(ns, &g, NULL, 0));
		CHECK_OK(oc_pin(ns, &key, part0, 0, &pin));
		oc_unpin(ns, &pin);
		if (i == LIVE_N(200000) / 2)
			was = size_of(&n, c);
	}
	same_size(&n, c, was);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- threads */

#define THREADS 4

struct worker {
	pthread_t thread;
	oc_client *c;
	oc_ns *ns;
	unsigned self;
};

static void work_once(struct worker *w, uint64_t i)
{
	/* every other block is the same for all threads */
	uint64_t block = i & 1 ? i : (uint64_t)w->self << 32 | i;
	struct oc_key keys[4] = { live_key(block), live_key(i | 1), live_key(1),
				  live_key(2) };
	int r = live_write(w->ns, block, BYTES);
	struct oc_pin pins[4];
	size_t usable;

	CHECK(r == 0 || r == OC_EXISTS);
	r = live_read(w->ns, block, BYTES);
	CHECK(r == 0 || r == OC_MISS);
	CHECK_OK(oc_match(w->ns, keys, 4, NULL, NULL, &usable));
	memset(pins, 0, sizeof(pins));
	CHECK_OK(oc_match_pin(w->ns, keys, 4, NULL, pins, &usable));
	for (size_t k = 0; k < usable; k++)
		CHECK(!live_wrong(&keys[k], pins[k].data, BYTES));
	oc_unpin_batch(w->ns, pins, 4);
	if (i % 16 == 0)
		CHECK_INT(oc_remove(w->ns, &keys[0], 0), >=, 0);
	if (i % 64 == 0)
		live_stat(w->c);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < LIVE_N(8000); i++)
		work_once(w, i);
	return NULL;
}

TEST(threads_share_a_client)
{
	struct worker w[THREADS];
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "8M");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .c = c, .ns = ns, .self = i + 1 };
		CHECK_OK(-pthread_create(&w[i].thread, NULL, work, &w[i]));
	}
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_OK(-pthread_join(w[i].thread, NULL));
	CHECK_INT(live_stat(c).granted, ==, 0);
	CHECK_INT(live_stat(c).pins_held, ==, 0);
	CHECK_INT(live_stat(c).slab_bytes, <=, 8 * MIB);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
