/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a block: first seal, removal under pins, wrong bytes. */
#include <sched.h>
#include "base/compiler.h"
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES (64 * KIB)

/* ---- the first seal wins */

struct race {
	_Atomic uint32_t round, ready;
	_Atomic uint32_t won[2], existed[2];
	uint32_t rounds;
};

static void seal_one(struct race *race, oc_ns *ns, uint32_t i, int self)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(i);
	struct oc_grant g;
	struct oc_pin pin;
	int r = oc_grant(ns, &key, part, 0, 0, 0, &g);

	CHECK(r == 0 || r == OC_EXISTS);
	if (r == 0) {
		memset(g.data, 1 + self, BYTES); /* not the same bytes */
		r = oc_seal(ns, &g, NULL, 0);
		CHECK(r == 0 || r == OC_EXISTS);
	}
	if (r == 0)
		race->won[self]++;
	else
		race->existed[self]++;
	CHECK_OK(oc_pin(ns, &key, part, OC_PIN_VERIFY, &pin));
	CHECK_INT(*(const char *)pin.data, ==,
		  ((const char *)pin.data)[BYTES - 1]);
	if (r == 0)
		CHECK_INT(*(const char *)pin.data, ==, 1 + self);
	oc_unpin(ns, &pin);
}

static void racer(struct race *race, const struct live *n, int self)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);

	for (uint32_t i = 0; i < race->rounds; i++) {
		race->ready++;
		while (race->ready < 2 * (i + 1))
			sched_yield();
		seal_one(race, ns, i, self);
	}
	CHECK_INT(live_stat(c).granted, <=, 1);
	oc_ns_close(ns);
	oc_client_close(c);
}

static void racer_0(const struct live *n, int fd, void *arg)
{
	(void)fd;
	racer(arg, n, 0);
}

static void racer_1(const struct live *n, int fd, void *arg)
{
	(void)fd;
	racer(arg, n, 1);
}

TEST(the_first_seal_wins)
{
	struct race *race = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child child[2];
	struct live n;
	oc_client *c;

	CHECK(race != MAP_FAILED);
	race->rounds = LIVE_N(1000);
	live_start(&n, "--dram", "256M");
	c = live_connect(&n);
	child[0] = child_start(racer_0, &n, race);
	child[1] = child_start(racer_1, &n, race);
	CHECK_INT(child_end(&child[0]), ==, 0);
	CHECK_INT(child_end(&child[1]), ==, 0);
	CHECK_INT(race->won[0] + race->won[1], ==, race->rounds);
	CHECK_INT(race->existed[0] + race->existed[1], ==, race->rounds);
	CHECK_INT(live_counter(c, "sealed"), ==, race->rounds);
	CHECK_INT(live_counter(c, "exists"), ==, race->rounds);
	CHECK_INT(live_stat(c).granted, ==, 0);
	live_check(c);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- removal */

TEST(a_removed_block_stays_for_who_pinned_it)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(1);
	struct oc_pin pin, other;
	uint64_t free_frames;
	oc_client *c, *d;
	oc_ns *ns, *nd;
	struct live n;

	live_start(&n, "--dram", "4M", "--slab", "1M");
	c = live_connect(&n);
	d = live_connect(&n);
	ns = live_ns(c, BYTES);
	nd = live_ns(d, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	CHECK_OK(oc_pin(nd, &key, part, 0, &pin));
	free_frames = live_stat(c).free_frames;
	CHECK_OK(oc_remove(ns, &key, 0));
	CHECK_INT(oc_remove(ns, &key, 0), ==, OC_MISS);
	CHECK_INT(oc_pin(ns, &key, part, 0, &other), ==, OC_MISS);
	CHECK_INT(oc_pin(nd, &key, part, 0, &other), ==, OC_MISS);
	CHECK_INT(oc_pin(nd, &key, part, OC_PIN_BY_RING, &other), ==, OC_MISS);
	CHECK_INT(oc_exists(nd, &key, part), ==, OC_MISS);
	CHECK_INT(live_counter(c, "leaving"), ==, 1);
	/* the same key anew, and every frame used several times over */
	live_write_some(ns, 1, 200, BYTES);
	CHECK_INT(payload_wrong(&key, pin.data, BYTES), ==, 0);
	CHECK_INT(live_counter(c, "leaving"), ==, 1);
	oc_unpin(nd, &pin);
	LIVE_WAIT(&n, live_counter(c, "leaving") == 0);
	CHECK_INT(live_stat(c).free_frames, >=, MIN(free_frames, 1ull));
	CHECK_INT(live_counter(c, "removed"), ==, 1);
	live_check(c);
	oc_ns_close(ns);
	oc_ns_close(nd);
	oc_client_close(c);
	oc_client_close(d);
	live_stop(&n);
}

/* ---- wrong bytes */

struct own {
	char *base[16];
	uint32_t id[16];
	unsigned n;
};

static void own_region(void *ctx, int event, const struct oc_region *region)
{
	struct own *own = ctx;

	if (event != OC_REGION_COMES || !region->writable)
		return;
	CHECK_INT(own->n, <, 16);
	own->id[own->n] = region->id;
	own->base[own->n++] = region->base;
}

/* Flips a byte of a sealed block, as a client with a wild pointer would. */
static void spoil(oc_client *c, oc_ns *ns, uint64_t i)
{
	struct own own = { .n = 0 };
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(i);
	struct oc_where where;

	oc_region_each(c, own_region, &own);
	CHECK_OK(oc_where(ns, &key, part, &where));
	for (unsigned k = 0; k < own.n; k++) {
		if (own.id[k] != where.region)
			continue;
		own.base[k][where.offset + BYTES / 2] ^= 1;
		return;
	}
	FAIL("block %llu is in no slab of its writer", (unsigned long long)i);
}

TEST(wrong_bytes_are_found_by_a_pin_that_verifies)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(3);
	char buf[BYTES];
	struct oc_pin pin;
	uint64_t bytes;
	oc_client *c, *d;
	oc_ns *ns, *nd;
	struct live n;

	live_start(&n, "--dram", "16M", "--scrub", "0");
	c = live_connect(&n);
	d = live_connect_as(&n, (struct live_as){ .read_only = true });
	ns = live_ns(c, BYTES);
	nd = live_ns(d, BYTES);
	live_write_some(ns, 0, 8, BYTES);
	CHECK_OK(oc_pin(nd, &key, part, OC_PIN_VERIFY, &pin));
	oc_unpin(nd, &pin);
	spoil(c, ns, 3);
	CHECK_INT(oc_pin(nd, &key, part, OC_PIN_VERIFY, &pin), ==, OC_BAD);
	/* a report that comes right after another is not looked at */
	LIVE_WAIT(&n, oc_pin(nd, &key, part, OC_PIN_VERIFY, &pin) == OC_MISS);
	LIVE_WAIT(&n, live_counter(c, "bad") == 1);
	CHECK_INT(oc_pin(nd, &key, part, OC_PIN_VERIFY, &pin), ==, OC_MISS);
	CHECK_INT(oc_pin(ns, &key, part, 0, &pin), ==, OC_MISS);
	key = live_key(4);
	spoil(c, ns, 4);
	LIVE_WAIT(&n, oc_get(nd, &key, part, buf, BYTES, &bytes) != 0 &&
			      live_counter(c, "bad") == 2);
	CHECK_INT(oc_get(nd, &key, part, buf, BYTES, &bytes), ==, OC_MISS);
	/* written again, it is right again */
	CHECK_OK(live_write(ns, 3, BYTES));
	CHECK_INT(live_read_some(nd, 0, 8, BYTES), ==, 7);
	live_check(c);
	oc_ns_close(ns);
	oc_ns_close(nd);
	oc_client_close(c);
	oc_client_close(d);
	live_stop(&n);
}

TEST(wrong_bytes_are_found_by_the_scrubber)
{
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "16M", "--scrub", "1G");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, 50, BYTES);
	LIVE_WAIT(&n, live_counter(c, "scrubbed_bytes") > 100 * BYTES);
	CHECK_INT(live_counter(c, "bad"), ==, 0);
	spoil(c, ns, 33);
	LIVE_WAIT(&n, live_counter(c, "bad") == 1);
	CHECK_INT(live_read(ns, 33, BYTES), ==, OC_MISS);
	CHECK_INT(live_read_some(ns, 0, 50, BYTES), ==, 49);
	CHECK(live_said(&n, "wrong bytes"));
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
