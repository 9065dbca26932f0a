/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "wire/ring.h"
#include <pthread.h>

static struct ring_call call_of(uint64_t seq)
{
	struct ring_call c = {
		.seq = seq,
		.op = seq + 1,
		.part = seq + 2,
		.key = { seq + 3, seq + 4, seq + 5, seq + 6 },
		.loc = seq + 7,
		.gen = seq + 8,
		.extent = seq + 9,
		.checksum = seq + 10,
		.timeout_ns = seq + 11,
		.arg = seq + 12,
		.arg2 = seq + 13,
	};

	return c;
}

static void check_call(const struct ring_call *got, uint64_t seq)
{
	struct ring_call want = call_of(seq);

	CHECK_MEM(got, &want, offsetof(struct ring_call, slot));
}

TEST(unused_slot_has_nothing)
{
	struct ring_req req;
	struct ring_resp resp;
	struct ring_call call;

	memset(&req, 0, sizeof(req));
	memset(&resp, 0, sizeof(resp));
	CHECK(!ring_req_load(&req, &resp, 0, &call));
	/* A stale answer does not make it one under way. */
	shared_store64(&resp.seq, 5);
	CHECK(!ring_req_load(&req, &resp, 0, &call));
}

TEST(round_trip)
{
	struct ring_answer in = { -ENOSPC, 1, 2, 3, 4 }, out;
	struct ring_call call, want = call_of(41);
	struct ring_req req;
	struct ring_resp resp;

	memset(&req, 0, sizeof(req));
	memset(&resp, 0, sizeof(resp));
	shared_store32(&req.waiting, 1);
	ring_req_store(&req, &want, true);
	CHECK_INT(shared_load32(&req.waiting), ==, 0);
	CHECK_INT(shared_load32(&req.notify), ==, 1);
	CHECK(!ring_resp_load(&resp, 41, &out));
	CHECK(ring_req_load(&req, &resp, 9, &call));
	check_call(&call, 41);
	CHECK_INT(call.slot, ==, 9);
	ring_resp_store(&resp, 41, &in);
	CHECK(!ring_req_load(&req, &resp, 9, &call));
	CHECK(!ring_resp_load(&resp, 42, &out));
	CHECK(ring_resp_load(&resp, 41, &out));
	CHECK_MEM(&in, &out, sizeof(in));
}

#define ROUNDS 20000

struct pair {
	struct ring_req req;
	struct ring_resp resp;
};

static void *serve(void *arg)
{
	struct pair *p = arg;
	struct ring_call call;

	for (uint64_t seq = 1; seq <= ROUNDS;) {
		struct ring_answer a = { 0 };

		if (!ring_req_load(&p->req, &p->resp, 3, &call)) {
			sched_yield();
			continue;
		}
		CHECK_INT(call.seq, ==, seq);
		check_call(&call, seq);
		a.result = -(int64_t)seq;
		a.loc = a.gen = a.arg = a.arg2 = seq;
		ring_resp_store(&p->resp, seq++, &a);
	}
	return NULL;
}

/* Two threads, one slot: no field is seen before its sequence number. */
TEST(fields_travel_with_their_number)
{
	static struct pair pair;
	struct ring_answer a;
	pthread_t thread;

	CHECK_OK(pthread_create(&thread, NULL, serve, &pair));
	for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
		struct ring_call call = call_of(seq);

		ring_req_store(&pair.req, &call, false);
		while (!ring_resp_load(&pair.resp, seq, &a))
			sched_yield();
		CHECK_INT(a.result, ==, -(int64_t)seq);
		CHECK(a.loc == seq && a.gen == seq);
		CHECK(a.arg == seq && a.arg2 == seq);
	}
	CHECK_OK(pthread_join(thread, NULL));
}
