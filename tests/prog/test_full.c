/* SPDX-License-Identifier: Apache-2.0 */
/* A pool at its limit, and shapes that take memory from each other. */
#include <sched.h>
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES (64 * KIB)
#define LIMIT (4 * MIB)

/* Watches the limit from a process of its own. */
struct watch {
	_Atomic bool stop;
	_Atomic uint64_t most, samples;
};

static void watcher(const struct live *n, int fd, void *arg)
{
	struct watch *w = arg;
	oc_client *c =
		live_connect_as(n, (struct live_as){ .read_only = true });

	child_say(fd, 'w');
	while (!w->stop) {
		struct oc_stat s = live_stat(c);

		if (s.slab_bytes > w->most)
			w->most = s.slab_bytes;
		w->samples++;
		CHECK_OK(oc_client_dispatch(c));
		sched_yield();
	}
	oc_client_close(c);
}

static struct watch *watch_new(void)
{
	struct watch *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(w != MAP_FAILED);
	return w;
}

TEST(a_full_pool_of_pins_refuses_in_time_and_goes_on)
{
	struct watch *w = watch_new();
	struct oc_part part = { 0, 0 };
	struct oc_pin pin[LIMIT / BYTES];
	struct oc_key key = live_key(500);
	struct child child;
	struct oc_grant g;
	uint64_t begin = 0;
	struct live n;
	oc_client *c;
	oc_ns *ns;
	int r;

	live_start(&n, "--dram", "4M");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	child = child_start(watcher, &n, w);
	child_hear(child.fd);
	for (uint64_t i = 0; i < LIMIT / BYTES; i++) {
		struct oc_key k = live_key(i);

		CHECK_OK(live_write(ns, i, BYTES));
		CHECK_OK(oc_pin(ns, &k, part, 0, &pin[i]));
	}
	/* a node that does not get to run says nothing in time: a few times */
	r = -ETIMEDOUT;
	for (int i = 0; i < 5 && r == -ETIMEDOUT; i++) {
		begin = clock_ns();
		r = oc_grant(ns, &key, part, 0, 0, 300 * NS_PER_MS, &g);
	}
	CHECK_INT(r, ==, -ENOBUFS);
	CHECK_INT(clock_ns() - begin, >=, 290 * NS_PER_MS);
	CHECK_INT(clock_ns() - begin, <, LIVE_DEADLINE);
	CHECK(strlen(oc_client_error(c)) > 10);
	CHECK(strstr(oc_client_error(c), "full") != NULL);
	CHECK_INT(oc_grant(ns, &key, part, 0, 0, OC_NOWAIT, &g), ==, -ENOBUFS);
	CHECK_INT(live_counter(c, "refused"), >=, 2);
	oc_unpin(ns, &pin[7]);
	r = oc_grant(ns, &key, part, 0, 0, 0, &g);
	CHECK_OK(r);
	payload_make(&key, g.data, BYTES);
	CHECK_OK(oc_seal(ns, &g, NULL, 0));
	CHECK_OK(live_read(ns, 500, BYTES));
	CHECK_INT(live_read(ns, 7, BYTES), ==, OC_MISS);
	for (uint64_t i = 0; i < LIMIT / BYTES; i++) {
		struct oc_key k = live_key(i);

		if (i == 7)
			continue;
		CHECK_INT(payload_wrong(&k, pin[i].data, BYTES), ==, 0);
		oc_unpin(ns, &pin[i]);
	}
	w->stop = true;
	CHECK_INT(child_end(&child), ==, 0);
	CHECK_INT(w->most, <=, LIMIT);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- shapes */

static const uint64_t sizes[] = { 4 * KIB, 36 * KIB, MIB, 33333, 777 };

struct shaper {
	struct watch *w;
	uint64_t first, blocks;
	unsigned shape; /* the one that this writer begins with */
};

/* Block i of a writer has a size that follows from i. */
static uint64_t size_of(const struct shaper *s, uint64_t i)
{
	/* one phase a shape: the working set's shape changes */
	return sizes[(s->shape + i / (s->blocks / ARRAY_LEN(sizes))) %
		     ARRAY_LEN(sizes)];
}

static void shape_writer(const struct live *n, int fd, void *arg)
{
	struct shaper *s = arg;
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns_any(c, MIB);

	child_say(fd, 'w');
	for (uint64_t i = 0; i < s->blocks; i++) {
		uint64_t bytes = size_of(s, i);
		int r = live_write(ns, s->first + i, bytes);

		if (r)
			FAIL("write of %llu: %d %s", (unsigned long long)bytes,
			     r, oc_client_error(c));
		for (uint64_t b = i > 20 ? i - 20 : 0; b < i; b += 5)
			CHECK_INT(live_read(ns, s->first + b, size_of(s, b)),
				  >=, 0);
	}
	oc_ns_close(ns);
	oc_client_close(c);
}

static void shape_reader(const struct live *n, int fd, void *arg)
{
	const struct shaper *all = arg;
	oc_client *c =
		live_connect_as(n, (struct live_as){ .read_only = true });
	oc_ns *ns = live_ns_any(c, MIB);

	child_say(fd, 'r');
	while (!all[0].w->stop)
		for (unsigned k = 0; k < 3; k++)
			for (uint64_t i = 0; i < all[k].blocks; i += 3)
				CHECK_INT(live_read(ns, all[k].first + i,
						    size_of(&all[k], i)),
					  >=, 0);
	oc_ns_close(ns);
	oc_client_close(c);
}

TEST(slabs_change_shape_under_load)
{
	struct watch *w = watch_new();
	struct shaper all[3];
	struct child child[5];
	struct live n;
	oc_client *c;

	live_start(&n, "--dram", "24M");
	c = live_connect(&n);
	for (unsigned i = 0; i < 3; i++)
		all[i] = (struct shaper){ w, i * 1000000, LIVE_N(3000), i };
	for (unsigned i = 0; i < 3; i++)
		child[i] = child_start(shape_writer, &n, &all[i]);
	child[3] = child_start(shape_reader, &n, all);
	child[4] = child_start(watcher, &n, w);
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(child_end(&child[i]), ==, 0);
	w->stop = true;
	CHECK_INT(child_end(&child[3]), ==, 0);
	CHECK_INT(child_end(&child[4]), ==, 0);
	CHECK_INT(w->most, <=, 24 * MIB);
	CHECK_INT(live_node(c, "used_bytes"), <=, 24 * MIB);
	CHECK_INT(live_counter(c, "slabs_moved") +
			  live_counter(c, "slabs_retired"),
		  >, 0);
	live_check(c);
	oc_client_close(c);
	live_stop(&n);
}

/* The shape that had nothing gets what the other no longer uses. */
TEST(a_starved_shape_gets_memory)
{
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "8M");
	c = live_connect(&n);
	ns = live_ns_any(c, MIB);
	live_write_some(ns, 0, 2048, 4 * KIB); /* all of it */
	live_write_some(ns, 100000, 64, MIB);
	/* a frame larger than a slab: several had to go for it */
	CHECK_INT(live_read_some(ns, 100063, 1, MIB), ==, 1);
	CHECK_INT(live_counter(c, "slabs_retired"), >=, 8);
	live_write_some(ns, 200000, 3000, 36 * KIB);
	CHECK_INT(live_read_some(ns, 202900, 100, 36 * KIB), ==, 100);
	CHECK_INT(live_counter(c, "slabs_moved"), >, 0);
	CHECK_INT(live_stat(c).slab_bytes, <=, 8 * MIB);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(odd_sizes_waste_little)
{
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "64M");
	c = live_connect(&n);
	ns = live_ns_any(c, 4 * MIB);
	for (uint64_t bytes = 32 * KIB; bytes <= 4 * MIB;
	     bytes += bytes / 7 + 4093) {
		struct oc_part part = { 0, 0 };
		struct oc_key key = live_key(bytes);
		struct oc_grant g;
		char hex[65], *text, *at;
		unsigned long long frame;

		CHECK_OK(oc_grant(ns, &key, part, bytes, 0, 0, &g));
		CHECK_OK(oc_seal(ns, &g, NULL, 0));
		for (int i = 0; i < 32; i++)
			snprintf(hex + 2 * i, 3, "%02x", key.bytes[i]);
		CHECK_OK(oc_inspect(c, "where", hex, 0, &text));
		at = strstr(text, "\"frame_bytes\":");
		CHECK(at != NULL);
		frame = strtoull(at + 14, NULL, 10);
		CHECK_INT(frame, >=, bytes);
		CHECK_INT((frame - bytes) * 8, <=, frame);
		free(text);
	}
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
