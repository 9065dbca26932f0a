/* SPDX-License-Identifier: Apache-2.0 */
/* Clients whose rings, slots and requests are nonsense. */
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include "base/rng.h"
#include "prog/payload.h"
#include "tests/prog/hostile.h"

#define BYTES (64 * KIB)

struct scene {
	struct live n;
	struct hostile h;
	oc_client *c; /* a good one */
	oc_ns *ns;
	pid_t server;
	uint64_t next;
};

static void scene_begin(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	live_start(&s->n, "--dram", "64M", "--log-level", "error");
	s->c = live_connect_as(&s->n,
			       (struct live_as){ .timeout_ns = 20 * NS_PER_S });
	s->ns = live_ns(s->c, BYTES);
	s->server = live_server(s->c);
	live_write_some(s->ns, 0, 20, BYTES);
	s->next = 1000;
	hostile_join(&s->n, &s->h);
}

/* The good one still gets its work done. */
static void scene_goes_on(struct scene *s)
{
	CHECK_OK(live_write(s->ns, ++s->next, BYTES));
	CHECK_OK(live_read(s->ns, s->next, BYTES));
	CHECK_INT(live_read_some(s->ns, 0, 20, BYTES), ==, 20);
}

static void scene_end(struct scene *s)
{
	scene_goes_on(s);
	CHECK_INT(live_server(s->c), ==, s->server);
	live_check(s->c);
	hostile_leave(&s->h);
	LIVE_WAIT(&s->n, live_stat(s->c).granted == 0);
	live_check(s->c);
	oc_ns_close(s->ns);
	oc_client_close(s->c);
	live_stop(&s->n);
}

static struct ring_call grant_call_for(struct scene *s, uint64_t i)
{
	struct oc_key key = live_key(i);
	struct ring_call q = {
		.op = RING_GRANT,
		.part = frame_part(oc_ns_id(s->ns), 0, 0),
		.timeout_ns = NS_PER_S,
	};

	memcpy(q.key, key.bytes, sizeof(q.key));
	return q;
}

TEST(rings_that_jump)
{
	static const uint64_t tails[] = { UINT64_MAX, 1ull << 63, 1,
					  0,	      UINT32_MAX, 77777 };
	struct scene s;

	scene_begin(&s);
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		shared_store32(&s.h.seg->ring[i], i * 0x9e3779b9u);
		shared_store64(&s.h.seg->req[i].seq, i + 1);
		shared_store64(&s.h.seg->req[i].op, i);
	}
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		shared_store64_release(&s.h.seg->header.tail, tails[i]);
		shared_store64(&s.h.seg->header.touch_tail, tails[i]);
		shared_store64(&s.h.seg->header.pin_high, tails[i]);
		CHECK_INT(send(s.h.bell, "", 1, MSG_NOSIGNAL), ==, 1);
		scene_goes_on(&s);
	}
	for (uint64_t t = 0; t < 200000; t += 700)
		shared_store64_release(&s.h.seg->header.tail, t);
	scene_end(&s);
}

TEST(unknown_operations_and_wrong_numbers)
{
	struct rng rng = { 5 };
	struct scene s;

	scene_begin(&s);
	for (int i = 0; i < LIVE_N(20000); i++) {
		struct ring_call q = {
			.op = rng_below(&rng, RING_OPS + 3),
			.part = frame_part((uint32_t)rng_below(&rng, 3),
					   (uint16_t)rng_below(&rng, 3),
					   (uint16_t)rng_below(&rng, 3)),
			.key = { rng_below(&rng, 20) },
			.loc = frame_loc((uint32_t)rng_below(&rng, 6),
					 (uint32_t)rng_below(&rng, 40)),
			.gen = rng_below(&rng, 4),
			.extent = rng_below(&rng, 2) ? rng_next(&rng)
						     : frame_extent(BYTES, 0),
			.arg = rng_below(&rng, 2048),
			.arg2 = rng_below(&rng, 4) ? rng_below(&rng, 4096)
						   : rng_next(&rng),
			.timeout_ns = NS_PER_MS,
		};

		if (rng_below(&rng, 50) == 0)
			q.loc = q.gen = q.part = q.op = rng_next(&rng);
		hostile_push(&s.h, (uint32_t)rng_below(&rng, RING_SLOTS), q);
		if (i % 2000 == 0)
			scene_goes_on(&s);
	}
	scene_end(&s);
}

/* Another client's frame is not sealed, abandoned or cancelled. */
TEST(frames_of_others_are_left_alone)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(50);
	struct oc_grant g;
	struct scene s;
	uint64_t seq;

	scene_begin(&s);
	CHECK_OK(oc_grant(s.ns, &key, part, 0, 0, 0, &g));
	for (int op = RING_SEAL; op <= RING_ABANDON; op++) {
		struct ring_call q = grant_call_for(&s, 50);

		q.op = (uint64_t)op;
		q.loc = g.frame;
		q.gen = g.generation;
		q.extent = frame_extent(BYTES, 0);
		CHECK_INT(hostile_ask(&s.n, &s.h, 3, q).result, !=, 0);
	}
	for (seq = 0; seq < 3 * RING_SLOTS; seq += 11) {
		struct ring_call q = { .op = RING_CANCEL,
				       .arg = seq % RING_SLOTS,
				       .arg2 = seq };

		hostile_ask(&s.n, &s.h, 3, q);
	}
	payload_make(&key, g.data, BYTES);
	CHECK_OK(oc_seal(s.ns, &g, NULL, 0));
	CHECK_OK(live_read(s.ns, 50, BYTES));
	/* a report of wrong bytes where they are right changes nothing */
	for (uint32_t f = 0; f < 20; f++) {
		struct ring_call q = { .op = RING_BAD,
				       .loc = frame_loc(1, f),
				       .gen = f };

		hostile_ask(&s.n, &s.h, 3, q);
	}
	CHECK_INT(live_counter(s.c, "bad"), ==, 0);
	scene_end(&s);
}

TEST(grants_of_impossible_parts)
{
	static const struct {
		uint32_t group, rank, ns;
		uint64_t extent;
	} wrong[] = {
		{ 1, 0, 0, 0 },
		{ 0, 1, 0, 0 },
		{ 0xffff, 0xffff, 0, 0 },
		{ 0, 0, 200, 0 },
		{ 0, 0, UINT32_MAX - 1, 0 },
		{ 0, 0, 0, (uint64_t)UINT32_MAX << 32 },
		{ 0, 0, 0, (uint64_t)(BYTES + 1) << 32 },
		{ 0, 0, 0, 16 }, /* tokens of a full block */
		{ 0, 0, 0, UINT32_MAX },
	};
	struct ring_answer a;
	struct ring_call q;
	struct scene s;

	scene_begin(&s);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		q = grant_call_for(&s, 70 + i);
		q.part = frame_part(oc_ns_id(s.ns) + wrong[i].ns,
				    (uint16_t)wrong[i].group,
				    (uint16_t)wrong[i].rank);
		q.extent = wrong[i].extent;
		CHECK_INT(hostile_ask(&s.n, &s.h, 9, q).result, <, 0);
	}
	/* sealed with another size, other tokens, another key than granted */
	for (int i = 0; i < 3; i++) {
		q = grant_call_for(&s, 80);
		a = hostile_ask(&s.n, &s.h, 9, q);
		CHECK_INT(a.result, ==, 0);
		q.op = RING_SEAL;
		q.loc = a.loc;
		q.gen = a.gen;
		q.extent = i == 0   ? frame_extent(UINT32_MAX, 0)
			   : i == 1 ? frame_extent(BYTES, UINT32_MAX)
				    : frame_extent(BYTES, 0);
		q.key[0] ^= i == 2;
		CHECK_INT(hostile_ask(&s.n, &s.h, 9, q).result, <, 0);
	}
	scene_end(&s);
}

TEST(blobs_and_reports_of_nonsense)
{
	static const char *const words[] = { "",	 "stat ",   "where",
					     "where zz", "check x", "\xff\xfe",
					     "where " };
	struct scene s;
	struct ring_call q = { .op = RING_REPORT };

	scene_begin(&s);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		shared_store_bytes(s.h.seg->blob, 64, words[i],
				   strlen(words[i]) + 1);
		hostile_ask(&s.n, &s.h, 2, q);
	}
	memset(s.h.seg->blob, 'w', RING_BLOB_BYTES);
	CHECK_INT(hostile_ask(&s.n, &s.h, 2, q).result, <, 0);
	shared_store_bytes(s.h.seg->blob, 8, "stat", 5);
	CHECK_INT(hostile_ask(&s.n, &s.h, 2, q).result, >=, 0);
	for (uint64_t i = 0; i < 100; i++) {
		struct ring_call piece = { .op = RING_REPORT,
					   .arg = i * 0x123456789abcdefull,
					   .arg2 = i % 3 + 1 };

		hostile_ask(&s.n, &s.h, 2, piece);
	}
	/* a new report, but not from its beginning */
	shared_store_bytes(s.h.seg->blob, 8, "stat", 5);
	q.arg = -4096ull;
	CHECK_INT(hostile_ask(&s.n, &s.h, 2, q).result, <, 0);
	memset(s.h.seg->blob, 0xff, RING_BLOB_BYTES);
	CHECK_INT(hostile_ask(&s.n, &s.h, 2,
			      (struct ring_call){ .op = RING_NS_OPEN })
			  .result,
		  <, 0);
	scene_end(&s);
}

/* The same slot asks again and again for what has to wait: the node remembers
 * no more of it than a ring can hold. */
TEST(waiting_grants_have_a_bound)
{
	struct ring_answer a;
	uint64_t refused;
	struct scene s;
	struct ring_call q;

	scene_begin(&s);
	for (uint64_t i = 0;; i++) { /* all memory lent to the good one */
		struct oc_part part = { 0, 0 };
		struct oc_key key = live_key(5000 + i);
		struct oc_grant g;

		if (oc_grant(s.ns, &key, part, 0, 0, NS_PER_S / 4, &g) ==
		    -ENOBUFS)
			break;
	}
	refused = live_counter(s.c, "refused");
	/* one request after the other in the same slot, each seen by the
	 * server before the next overwrites it */
	for (uint32_t i = 0; i < RING_SLOTS + 50; i++) {
		q = grant_call_for(&s, 10000 + i);
		q.timeout_ns = UINT64_MAX;
		hostile_push(&s.h, 0, q);
		a = hostile_ask(&s.n, &s.h, 1,
				(struct ring_call){ .op = RING_NOP });
		CHECK_INT(a.result, ==, 0);
	}
	CHECK_INT(live_counter(s.c, "refused"), >, refused);
	CHECK_INT(live_read_some(s.ns, 0, 20, BYTES), >=, 0);
	CHECK_INT(live_server(s.c), ==, s.server);
	live_check(s.c);
	hostile_leave(&s.h);
	oc_ns_close(s.ns);
	oc_client_close(s.c);
	live_stop(&s.n);
}

static uint64_t spent(clockid_t clock)
{
	struct timespec t;

	CHECK_OK(clock_gettime(clock, &t));
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* False reports of wrong bytes in a large block: each look takes long. */
TEST(false_reports_do_not_stall_the_node)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key = live_key(777);
	struct ring_answer a;
	struct oc_pin pin;
	struct scene s;
	uint64_t begin, one;
	clockid_t cpu;
	oc_ns *large;

	scene_begin(&s);
	large = live_ns(s.c, 32 * MIB);
	CHECK_OK(live_write(large, 777, 32 * MIB));
	CHECK_OK(oc_pin(large, &key, part, 0, &pin));
	/* in time of processors: others may run in between */
	begin = spent(CLOCK_PROCESS_CPUTIME_ID);
	oc_checksum(&key, part, pin.data, pin.bytes);
	one = spent(CLOCK_PROCESS_CPUTIME_ID) - begin; /* what one look takes */
	CHECK_OK(clock_getcpuclockid(s.server, &cpu));
	begin = spent(cpu);
	for (uint32_t i = 0; i < 1000; i++) {
		struct ring_call q = {
			.op = RING_BAD,
			.loc = frame_loc(pin.region,
					 (uint32_t)(pin.offset / (32 * MIB))),
			.gen = pin.generation,
		};

		hostile_push(&s.h, i, q);
	}
	scene_goes_on(&s);
	a = hostile_ask(&s.n, &s.h, 1001, (struct ring_call){ .op = RING_NOP });
	CHECK_INT(a.result, ==, 0);
	/* all of them are answered; if each were looked at: 1000 times one */
	CHECK_INT(spent(cpu) - begin, <, 300 * one);
	CHECK_INT(live_counter(s.c, "bad"), ==, 0);
	oc_unpin(large, &pin);
	oc_ns_close(large);
	scene_end(&s);
}

static unsigned answered(const struct hostile *h)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < RING_SLOTS; i++)
		n += shared_load64(&h->seg->resp[i].seq) ==
		     shared_load64(&h->seg->req[i].seq);
	return n;
}

/* A request in a slot that the node is not told of. */
static void leave(struct hostile *h, uint32_t slot, enum ring_op op)
{
	struct ring_call q = {
		.op = op,
		.seq = ++h->seq,
		.slot = slot,
		.arg = op == RING_SESSION_EXPECT /* of one session */
	};

	ring_req_store(&h->seg->req[slot], &q, false);
	shared_store_bytes(h->seg->blob, 8, "stat", 4);
}

/* A new server finds what slots are full of. It serves others between long
 * requests, and comes to all of them: reports are numbered as they are made. */
static void wait_for_a_new_server(enum ring_op long_one)
{
	const uint32_t last = RING_SLOTS - 1;
	struct hostile other;
	struct ring_answer a, b;
	struct scene s;
	pid_t old;

	scene_begin(&s);
	hostile_join(&s.n, &other);
	old = s.server;
	for (uint32_t i = 0; i < last; i++)
		leave(&s.h, i, long_one);
	leave(&s.h, last, RING_REPORT);
	leave(&other, 7, RING_REPORT);
	CHECK_OK(kill(old, SIGKILL));
	LIVE_WAIT(&s.n, answered(&s.h) == RING_SLOTS);
	LIVE_WAIT(&s.n, ring_resp_load(&other.seg->resp[7], other.seq, &a));
	CHECK(ring_resp_load(&s.h.seg->resp[last], s.h.seq, &b));
	CHECK_INT(a.result, ==, 0);
	CHECK_INT(b.result, ==, 0);
	CHECK_INT(a.arg2, <, b.arg2);
	hostile_leave(&other);
	s.server = live_server(s.c);
	CHECK(s.server != old);
	scene_end(&s);
}

TEST(requests_that_wait_for_a_new_server)
{
	wait_for_a_new_server(RING_REMOVE);
	wait_for_a_new_server(RING_SESSION_EXPECT);
}
