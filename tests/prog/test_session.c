/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of a real node: processes that fork, pause, die; servers that die. */
#include <onecopy/session.h>
#include <signal.h>
#include "base/fault.h"
#include "prog/payload.h"
#include "tests/prog/live.h"

static const struct oc_part P0 = { 0, 0 };

#define PART (16 * KIB)

static oc_session *begin(oc_ns *ns, const char *name, unsigned flags)
{
	struct oc_session_options o = OC_SESSION_INIT;
	oc_session *s;

	o.name = name;
	o.flags = flags;
	CHECK_OK(oc_session_open(ns, &o, 0, &s));
	return s;
}

static int try_open(oc_ns *ns, const char *name, unsigned flags,
		    oc_session **ret)
{
	struct oc_session_options o = OC_SESSION_INIT;

	o.name = name;
	o.flags = flags;
	return oc_session_open(ns, &o, 0, ret);
}

static void append(oc_session *s, uint64_t first, uint64_t n)
{
	struct oc_key *keys = calloc(n, sizeof(*keys));

	for (uint64_t i = 0; i < n; i++)
		keys[i] = live_key(first + i);
	CHECK_OK(oc_session_append(s, keys, n, 0));
	free(keys);
}

static void has(oc_session *s, uint64_t first, uint64_t n)
{
	struct oc_key *keys = calloc(n + 1, sizeof(*keys)), want;
	size_t got = 0;

	CHECK_OK(oc_session_keys(s, 0, keys, n + 1, 0, &got));
	CHECK_INT(got, ==, n);
	for (uint64_t i = 0; i < n; i++) {
		want = live_key(first + i);
		CHECK_MEM(&keys[i], &want, sizeof(want));
	}
	free(keys);
}

/* A node, a client of it and its namespace. */
struct rig {
	struct live n;
	oc_client *c;
	oc_ns *ns;
};

static void rig_start(struct rig *r)
{
	live_start(&r->n, "--dram=32MiB");
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, PART);
}

static void rig_end(struct rig *r)
{
	live_check(r->c);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
}

TEST(a_long_session_and_its_forks)
{
	const uint64_t blocks = 8192; /* 128k tokens of 16 */
	oc_session *s, *child[64];
	struct oc_session_info info;
	struct rig r;
	uint64_t seals;

	rig_start(&r);
	s = begin(r.ns, "long", 0);
	append(s, 0, blocks);
	CHECK_INT(oc_session_blocks(s), ==, blocks);
	live_write_some(r.ns, 0, 100, PART);
	seals = live_counter(r.c, "seals");
	for (unsigned i = 0; i < ARRAY_LEN(child); i++)
		CHECK_OK(oc_session_fork(s, NULL, 0, &child[i]));
	/* nothing was moved, and there is one replica */
	CHECK_INT(live_counter(r.c, "seals"), ==, seals);
	CHECK_INT(live_counter(r.c, "sealed"), ==, 100);
	CHECK_OK(oc_session_info(child[5], 0, &info));
	CHECK_INT(info.blocks, ==, blocks);
	CHECK_INT(info.resident_on_dram, ==, 100);
	CHECK_INT(info.shared_with, ==, ARRAY_LEN(child));
	CHECK_INT(info.shared_blocks, ==, blocks);
	CHECK_INT(info.parent, ==, oc_session_id(s));
	CHECK_INT(info.evict_to, ==, OC_TIER_NONE);
	CHECK_INT(info.turns, ==, 1);
	CHECK(!info.paused);
	CHECK(info.hot_since_ms != UINT64_MAX);
	{
		struct oc_key last = live_key(blocks - 1);

		CHECK_MEM(&info.prefix_hash, &last, sizeof(last));
	}
	has(child[63], 0, blocks);
	for (unsigned i = 0; i < ARRAY_LEN(child); i++)
		CHECK_OK(oc_session_close(child[i], 0));
	CHECK_INT(live_counter(r.c, "sessions"), ==, 1);
	has(s, 0, blocks);
	CHECK_OK(oc_session_close(s, 0));
	rig_end(&r);
}

TEST(a_sessions_prefix_is_pinned)
{
	struct oc_pin pins[40];
	oc_session *s;
	struct rig r;
	size_t usable = 0;

	rig_start(&r);
	live_write_some(r.ns, 0, 30, PART);
	s = begin(r.ns, "pinned", 0);
	append(s, 0, 40);
	CHECK_OK(oc_session_match_pin(s, 0, NULL, 0, pins, &usable));
	CHECK_INT(usable, ==, 30);
	for (unsigned i = 0; i < usable; i++) {
		struct oc_key key = live_key(i);

		CHECK(!live_wrong(&key, pins[i].data, pins[i].bytes));
	}
	oc_unpin_batch(r.ns, pins, usable);
	CHECK_OK(oc_session_match_pin(s, 10, NULL, 0, pins, &usable));
	CHECK_INT(usable, ==, 10);
	oc_unpin_batch(r.ns, pins, usable);
	oc_session_leave(s);
	rig_end(&r);
}

static void fill(struct oc_tail *t, uint32_t from, uint32_t to, uint8_t with)
{
	uint64_t each = t->bytes / 16; /* tokens of a block */

	memset((uint8_t *)t->data + from * each, with, (to - from) * each);
}

static void tail_is(const struct oc_tail *t, uint32_t from, uint32_t to,
		    uint8_t with)
{
	uint64_t each = t->bytes / 16;

	for (uint64_t i = from * each; i < to * each; i++)
		CHECK_INT(((const uint8_t *)t->data)[i], ==, with);
}

/* The tail is copied by whoever writes first, and only then. */
TEST(the_tail_is_copied_on_the_first_write)
{
	struct oc_session_options o = OC_SESSION_INIT;
	struct oc_key partial = live_key(900), full = live_key(901),
		      other = live_key(902);
	struct oc_tail t, again;
	oc_session *s, *child;
	struct rig r;

	rig_start(&r);
	s = begin(r.ns, "tail", 0);
	append(s, 0, 3);
	CHECK_OK(oc_session_tail(s, P0, 0, 0, &t));
	CHECK(!t.copied);
	CHECK_INT(t.tokens, ==, 0);
	CHECK_INT(t.bytes, ==, PART);
	fill(&t, 0, 9, 1);
	CHECK_OK(oc_session_tail(s, P0, 0, 0, &again));
	CHECK(again.data == t.data);
	CHECK_INT(oc_session_fork(s, NULL, 0, &child), ==, -EINVAL);
	o.tail_key = &partial;
	o.tail_tokens = 9;
	CHECK_OK(oc_session_fork(s, &o, 0, &child));
	CHECK_INT(oc_session_tail_tokens(s), ==, 9);
	CHECK_INT(oc_session_tail_tokens(child), ==, 9);
	CHECK_INT(live_counter(r.c, "tail_copies"), ==, 0);
	CHECK_INT(live_counter(r.c, "sealed"), ==, 1);
	/* both sides write */
	CHECK_OK(oc_session_tail(child, P0, 0, 0, &t));
	CHECK(t.copied);
	CHECK_INT(t.tokens, ==, 9);
	tail_is(&t, 0, 9, 1);
	fill(&t, 9, 16, 2);
	CHECK_OK(oc_session_tail(s, P0, 0, 0, &again));
	CHECK(again.copied && again.data != t.data);
	tail_is(&again, 0, 9, 1);
	fill(&again, 9, 16, 3);
	tail_is(&t, 9, 16, 2);
	CHECK_OK(oc_session_tail_seal(child, &full, NULL, 0));
	CHECK_OK(oc_session_tail_seal(s, &other, NULL, 0));
	CHECK_INT(oc_session_blocks(child), ==, 4);
	CHECK_INT(oc_session_tail_tokens(child), ==, 0);
	CHECK_INT(live_counter(r.c, "tail_copies"), ==, 2);
	CHECK_INT(live_counter(r.c, "tail_copied_bytes"), ==, 2 * PART);
	CHECK_INT(live_counter(r.c, "granted"), ==, 0);
	{
		uint8_t *buf = malloc(PART);
		uint64_t n;

		CHECK_OK(oc_get(r.ns, &full, P0, buf, PART, &n));
		CHECK_INT(buf[PART - 1], ==, 2);
		CHECK_OK(oc_get(r.ns, &other, P0, buf, PART, &n));
		CHECK_INT(buf[PART - 1], ==, 3);
		CHECK_INT(buf[0], ==, 1);
		free(buf);
	}
	/* a shared tail that has left is a miss, not data */
	o.tail_key = &partial;
	CHECK_OK(oc_session_tail(s, P0, 0, 0, &t));
	CHECK_OK(oc_session_tail_share(s, &(struct oc_key){ { 5 } }, 4, 0));
	CHECK_OK(oc_remove(r.ns, &(struct oc_key){ { 5 } }, 0));
	CHECK_OK(oc_session_tail(s, P0, 0, 0, &t));
	CHECK(!t.copied);
	CHECK_INT(t.tokens, ==, 0);
	CHECK_INT(oc_session_tail_tokens(s), ==, 4);
	oc_session_leave(s);
	CHECK_OK(oc_session_close(child, 0));
	LIVE_WAIT(&r.n, live_counter(r.c, "granted") == 0);
	rig_end(&r);
}

/* The server is killed; what was is, and handles go on. */
TEST(sessions_outlive_the_server)
{
	oc_session *s, *child;
	struct rig r;
	struct oc_session_info info;

	rig_start(&r);
	s = begin(r.ns, "lasting", 0);
	append(s, 0, 3000);
	CHECK_OK(oc_session_fork(s, NULL, 0, &child));
	for (unsigned i = 0; i < 5; i++) {
		pid_t server = live_server(r.c);

		CHECK_OK(kill(server, SIGKILL));
		/* into the death */
		append(child, 3000 + i * 100, 100);
		LIVE_WAIT(&r.n, live_server(r.c) != server);
		append(s, 3000 + i * 10, 10);
	}
	has(s, 0, 3050);
	has(child, 0, 3500);
	CHECK_OK(oc_session_info(child, 0, &info));
	CHECK_INT(info.shared_blocks, ==, 3050);
	oc_session_leave(child);
	oc_session_leave(s);
	rig_end(&r);
}

static void pausing(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, PART);
	oc_session *a = begin(ns, "active", 0), *p = begin(ns, "paused", 0);

	(void)arg;
	append(a, 0, 10);
	append(p, 0, 20);
	CHECK_OK(oc_session_pause(p, 1000, 0, 0));
	child_say(fd, 'r');
	child_hear(fd); /* for ever */
}

TEST(a_killed_owners_session_ends_and_a_paused_one_stays)
{
	struct child k;
	oc_session *s = NULL;
	struct rig r;

	rig_start(&r);
	k = child_start(pausing, &r.n, NULL);
	CHECK_INT(child_hear(k.fd), ==, 'r');
	CHECK_INT(try_open(r.ns, "active", 0, &s), ==, OC_BUSY);
	child_kill(&k);
	LIVE_WAIT(&r.n,
		  try_open(r.ns, "active", OC_SESSION_FIND, &s) == OC_MISS);
	s = begin(r.ns, "paused", 0);
	CHECK_INT(oc_session_blocks(s), ==, 20);
	append(s, 20, 5);
	has(s, 0, 25);
	CHECK_OK(oc_session_close(s, 0));
	rig_end(&r);
}

TEST(quotas_are_refused_with_a_reason)
{
	static const char yaml[] = "dram: 32MiB\n"
				   "sessions:\n"
				   "  max: 100\n"
				   "  per_client: 20\n"
				   "  keys: 10000\n"
				   "  keys_per_client: 5000\n";
	struct oc_key *keys = calloc(6000, sizeof(*keys));
	oc_session *own[20], *s, *x;
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start_config(&n, yaml);
	c = live_connect(&n);
	ns = live_ns(c, PART);
	for (unsigned i = 0; i < 20; i++)
		own[i] = begin(ns, NULL, 0);
	s = own[7];
	CHECK_INT(try_open(ns, NULL, 0, &x), ==, -EDQUOT);
	CHECK(strstr(oc_client_error(c), "sessions.per_client"));
	CHECK_INT(oc_session_fork(s, NULL, 0, &x), ==, -EDQUOT);
	for (uint64_t i = 0; i < 6000; i++)
		keys[i] = live_key(i);
	CHECK_INT(oc_session_append(s, keys, 6000, 0), ==, -EDQUOT);
	CHECK(strstr(oc_client_error(c), "sessions.keys_per_client"));
	CHECK_INT(oc_session_blocks(s), ==, 4096); /* whole windows */
	CHECK_INT(try_open(ns, "a\tb", 0, &x), ==, -EINVAL);
	CHECK_INT(try_open(ns, "", 0, &x), ==, -EINVAL);
	live_check(c);
	for (unsigned i = 0; i < 20; i++)
		oc_session_leave(own[i]);
	free(keys);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* Each allocation, mapping and I/O of the client fails in turn. */
TEST(a_client_whose_memory_fails)
{
	struct oc_key partial = live_key(900), full = live_key(901);
	const struct oc_session_next next = { "x", 1000 };
	struct oc_session_options o = OC_SESSION_INIT;
	bool through = false;
	struct rig r;

	rig_start(&r);
	o.tail_key = &partial;
	o.tail_tokens = 5;
	for (uint64_t at = 1; !through; at++) {
		oc_session *s = begin(r.ns, NULL, 0), *child = NULL,
			   *found = NULL;
		struct oc_pin pins[3];
		struct oc_tail t;
		size_t n;

		append(s, 0, 3);
		fault_arm(FAULT_ALL, at, false);
		through = oc_session_tail(s, P0, 0, 0, &t) == 0 &&
			  oc_session_fork(s, &o, 0, &child) == 0 &&
			  oc_session_tail(child, P0, 0, 0, &t) == 0 &&
			  oc_session_tail_seal(child, &full, NULL, 0) == 0 &&
			  oc_session_match_pin(child, 3, NULL, 0, pins, &n) ==
				  0 &&
			  try_open(r.ns, "x", 0, &found) == 0 &&
			  oc_session_expect(r.c, &next, 1, 0, &n) == 0 &&
			  oc_session_close(found, 0) == 0;
		through &= !fault_fired();
		fault_arm(0, 0, false);
		CHECK_OK(oc_session_close(child, 0));
		CHECK_OK(oc_session_close(s, 0));
		oc_remove(r.ns, &partial, 0);
		oc_remove(r.ns, &full, 0);
	}
	LIVE_WAIT(&r.n, live_counter(r.c, "sessions") == 0);
	LIVE_WAIT(&r.n, live_counter(r.c, "granted") == 0);
	rig_end(&r);
}

TEST(tenants_names_are_their_own)
{
	char yaml[160];
	struct live n;
	oc_client *c, *d;
	oc_ns *ns, *other;
	oc_session *s, *x;
	struct oc_session_options by_id = OC_SESSION_INIT;
	static const struct oc_session_next next[] = { { "same", 50000 },
						       { NULL, 1 } };
	struct oc_session_info info;
	size_t known;

	snprintf(yaml, sizeof(yaml),
		 "dram: 32MiB\ntenants:\n  - name: team\n    uids: [%u]\n",
		 (unsigned)getuid());
	live_start_config(&n, yaml);
	c = live_connect(&n);
	ns = live_ns(c, PART);
	d = live_connect_as(&n, (struct live_as){ .tenant = "team" });
	other = live_ns(d, PART);
	s = begin(ns, "same", 0);
	append(s, 0, 5);
	/* one that another tenant has is as one that nobody has */
	CHECK_INT(try_open(other, "same", OC_SESSION_FIND, &x), ==, OC_MISS);
	by_id.flags = OC_SESSION_FIND;
	by_id.id = oc_session_id(s);
	CHECK_INT(oc_session_open(other, &by_id, 0, &x), ==, OC_MISS);
	CHECK_OK(oc_session_open(ns, &by_id, 0, &x));
	CHECK_INT(oc_session_blocks(x), ==, 5);
	oc_session_leave(x);
	/* nor can anything be said of it */
	CHECK_OK(oc_session_expect(d, next, 2, 0, &known));
	CHECK_INT(known, ==, 0);
	CHECK_OK(oc_session_info(s, 0, &info));
	CHECK_INT(info.expected_return_ms, ==, 0);
	CHECK_OK(oc_session_expect(c, next, 2, 0, &known));
	CHECK_INT(known, ==, 1);
	CHECK_OK(oc_session_info(s, 0, &info));
	CHECK_INT(info.expected_return_ms, >, 0);
	CHECK_OK(oc_session_expect(c, next, 1, 0, NULL));
	CHECK_INT(oc_session_expect(c, next, 0, 0, &known), ==, -EINVAL);
	CHECK_INT(oc_session_expect(c, next, OC_SESSION_NEXT_MAX + 1, 0, NULL),
		  ==, -EINVAL);
	CHECK_INT(live_counter(c, "session_told"), ==, 2);
	CHECK_INT(live_counter(d, "session_told_unknown"), ==, 2);
	x = begin(other, "same", 0);
	append(x, 100, 7);
	has(s, 0, 5);
	has(x, 100, 7);
	oc_session_leave(x);
	oc_ns_close(other);
	oc_client_close(d);
	oc_session_leave(s);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
