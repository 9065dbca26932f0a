/* SPDX-License-Identifier: Apache-2.0 */
/* Grants, seals, submit forms, time-outs and a node that is not there. */
#include "tests/client/fake.h"
#include <poll.h>
#include <stdlib.h>
#include "base/clock.h"
#include "tests/test.h"
#include "base/fault.h"

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
};

/* Of a call that nobody answers; what is answered has all the time it needs. */
#define SOON (20 * NS_PER_MS)

static struct rig rig_make(void)
{
	struct oc_client_options o = { .size = sizeof(o) };
	struct rig r;

	r.f = fake_start();
	r.c = fake_client(r.f, &o);
	r.ns = fake_ns(r.c);
	return r;
}

static void rig_end(struct rig *r)
{
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

TEST(fake_put_and_get)
{
	struct rig r = rig_make();
	uint8_t data[FAKE_FRAME_BYTES], buf[FAKE_FRAME_BYTES];
	struct oc_key key = fake_key(5);
	uint64_t n = 0;

	fake_payload(5, data);
	CHECK_OK(oc_put(r.ns, &key, P0, data, sizeof(data), 0));
	CHECK_OK(oc_get(r.ns, &key, P0, buf, sizeof(buf), &n));
	CHECK_INT(n, ==, sizeof(data));
	CHECK_MEM(buf, data, sizeof(data));
	/* A second time it is there already. */
	CHECK_OK(oc_put(r.ns, &key, P0, data, sizeof(data), 0));
	CHECK_INT(r.f->granted, ==, 1);
	rig_end(&r);
}

TEST(fake_grant_is_used_up_by_its_seal)
{
	struct rig r = rig_make();
	struct oc_key key = fake_key(5);
	struct oc_grant g, copy;

	CHECK_OK(oc_grant(r.ns, &key, P0, 0, 0, 0, &g));
	CHECK_INT(g.bytes, ==, FAKE_FRAME_BYTES);
	CHECK_INT(g.region, ==, FAKE_OWN);
	copy = g;
	memset(g.data, 7, g.bytes);
	CHECK_OK(oc_seal(r.ns, &g, NULL, 0));
	CHECK_INT(oc_seal(r.ns, &g, NULL, 0), ==, -EINVAL);
	CHECK_INT(oc_seal(r.ns, &copy, NULL, 0), ==, OC_STALE);
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 0, 0, &g), ==, OC_EXISTS);
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 16, 0, &g), ==, -EINVAL);
	CHECK_INT(oc_grant(r.ns, &key, P0, 1ull << 33, 0, 0, &g), ==, -E2BIG);
	key = fake_key(6);
	CHECK_OK(oc_grant(r.ns, &key, P0, 100, 3, OC_NOWAIT, &g));
	CHECK_OK(oc_abandon(r.ns, &g, 0));
	CHECK_INT(oc_abandon(r.ns, &g, 0), ==, -EINVAL);
	CHECK_INT(r.f->abandoned, ==, 1);
	rig_end(&r);
}

TEST(fake_batches_write)
{
	enum { N = FAKE_FRAMES + 6 };
	struct rig r = rig_make();
	struct oc_key keys[N];
	struct oc_grant grants[N];
	int results[N];

	for (unsigned i = 0; i < N; i++)
		keys[i] = fake_key(i);
	CHECK_OK(oc_grant_batch(r.ns, keys, N, P0, 0, 0, grants, results));
	for (unsigned i = 0; i < N; i++)
		CHECK_INT(results[i], ==, i < FAKE_FRAMES ? 0 : -ENOBUFS);
	for (unsigned i = 0; i < FAKE_FRAMES; i++)
		fake_payload(i, grants[i].data);
	CHECK_OK(oc_seal_batch(r.ns, grants, NULL, 32, 0, results));
	for (unsigned i = 0; i < 32; i++)
		CHECK_INT(results[i], ==, 0);
	CHECK_OK(oc_abandon_batch(r.ns, grants + 32, FAKE_FRAMES - 32, 0));
	CHECK_INT(r.f->abandoned, ==, FAKE_FRAMES - 32);
	CHECK_OK(oc_exists(r.ns, &keys[31], P0));
	CHECK_INT(oc_exists(r.ns, &keys[32], P0), ==, OC_MISS);
	rig_end(&r);
}

TEST(fake_late_grant_is_abandoned)
{
	struct rig r = rig_make();
	struct oc_key key = fake_key(1);
	struct oc_grant g;

	r.f->mute_ring = true;
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 0, SOON, &g), ==, -ETIMEDOUT);
	CHECK(*oc_client_error(r.c));
	fake_serve_again(r.f);
	while (r.f->cancelled < 1)
		sched_yield();
	CHECK_INT(r.f->granted, ==, 1);
	while (r.f->abandoned < 1)
		CHECK_OK(oc_client_dispatch(r.c));
	/* And the slots come back. */
	for (int i = 0; i < 3 * RING_SLOTS; i++) {
		CHECK_OK(oc_grant(r.ns, &key, P0, 0, 0, 40000000000, &g));
		CHECK_OK(oc_abandon(r.ns, &g, 40000000000));
	}
	rig_end(&r);
}

TEST(fake_seal_that_timed_out_can_be_tried_again)
{
	struct rig r = rig_make();
	struct oc_key key = fake_key(1);
	struct oc_grant g;
	int result;

	CHECK_OK(oc_grant(r.ns, &key, P0, 0, 0, 40000000000, &g));
	r.f->mute_ring = true;
	CHECK_INT(oc_seal(r.ns, &g, NULL, SOON), ==, -ETIMEDOUT);
	CHECK(g.data != NULL);
	fake_serve_again(r.f);
	result = oc_seal(r.ns, &g, NULL, 40000000000);
	/* The fake does not know a seal that it has made already. */
	CHECK(result == 0 || result == OC_STALE);
	CHECK_OK(oc_exists(r.ns, &key, P0));
	rig_end(&r);
}

TEST(fake_all_slots_under_way)
{
	struct rig r = rig_make();
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct oc_completion done[64];
	struct oc_key key = fake_key(0);
	struct oc_grant g;
	size_t n, total = 0;
	uint64_t id;
	int pushed = 0, rc;

	op.timeout_ns = 40000000000;
	r.f->mute_ring = true;
	while ((rc = oc_op_submit(r.c, &op, &id)) == 0)
		pushed++;
	CHECK_INT(rc, ==, -EAGAIN);
	CHECK_INT(pushed, ==, RING_SLOTS);
	CHECK_INT(oc_op_take(r.c, done, 64, OC_NOWAIT, &n), ==, OC_NONE);
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 0, SOON, &g), ==, -ETIMEDOUT);
	fake_serve_again(r.f);
	while (total < RING_SLOTS) {
		CHECK_OK(oc_op_take(r.c, done, 64, 40000000000, &n));
		total += n;
	}
	CHECK_INT(oc_op_take(r.c, done, 64, 40000000000, &n), ==, OC_NONE);
	rig_end(&r);
}

TEST(fake_submit_forms_complete)
{
	struct rig r = rig_make();
	struct oc_grant g = { 0 };
	struct oc_op op = {
		.size = sizeof(op),
		.kind = OC_OP_GRANT,
		.ns = r.ns,
		.user_data = 11,
		.key = fake_key(1),
		.grant = &g,
	};
	struct pollfd p = { .fd = oc_client_fd(r.c), .events = POLLIN };
	struct oc_completion done;
	uint64_t id;
	size_t n;

	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_INT(poll(&p, 1, 40000), ==, 1);
	CHECK_OK(oc_op_take(r.c, &done, 1, 0, &n));
	CHECK_INT(n, ==, 1);
	CHECK_INT(done.user_data, ==, 11);
	CHECK_INT(done.kind, ==, OC_OP_GRANT);
	CHECK_INT(done.result, ==, 0);
	CHECK(g.data != NULL);
	op.kind = OC_OP_SEAL;
	op.checksum = oc_checksum(&g.key, g.part, g.data, g.bytes);
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_OK(oc_op_take(r.c, &done, 1, 0, &n));
	CHECK_INT(done.result, ==, 0);
	CHECK(g.data == NULL);
	CHECK_OK(oc_exists(r.ns, &op.key, P0));
	op.kind = OC_OP_REMOVE;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_OK(oc_op_take(r.c, &done, 1, 0, &n));
	op.kind = (enum oc_op_kind)77;
	CHECK_INT(oc_op_submit(r.c, &op, &id), ==, -EINVAL);
	op = (struct oc_op){ .kind = OC_OP_NOP };
	CHECK_INT(oc_op_submit(r.c, &op, &id), ==, -EINVAL);
	CHECK(*oc_client_error(r.c));
	rig_end(&r);
}

TEST(fake_dispatch_leaves_completions_readable)
{
	struct rig r = rig_make();
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct pollfd p = { .fd = oc_client_fd(r.c), .events = POLLIN };
	struct oc_completion done;
	uint64_t id;
	size_t n;

	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_INT(poll(&p, 1, 40000), ==, 1);
	CHECK_OK(oc_client_dispatch(r.c));
	/* Not at once where the first event was about the slot's last use. */
	CHECK_INT(poll(&p, 1, 40000), ==, 1);
	CHECK_OK(oc_op_take(r.c, &done, 1, 0, &n));
	rig_end(&r);
}

TEST(fake_cancelled_and_timed_out_operations)
{
	struct rig r = rig_make();
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct oc_completion done;
	uint64_t id;
	size_t n;

	r.f->mute_ring = true;
	op.timeout_ns = 1;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_OK(oc_op_take(r.c, &done, 1, 40000000000, &n));
	CHECK_INT(done.result, ==, -ETIMEDOUT);
	op.timeout_ns = 0;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_OK(oc_op_cancel(r.c, id));
	fake_serve_again(r.f);
	CHECK_OK(oc_op_take(r.c, &done, 1, 40000000000, &n));
	CHECK(done.result == -ECANCELED || done.result == 0);
	rig_end(&r);
}

TEST(fake_stopped_node_ends_waiting)
{
	struct rig r = rig_make();
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct oc_key key = fake_key(0);
	struct oc_completion done;
	struct oc_grant g;
	uint64_t id;
	size_t n;

	r.f->mute_ring = true;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	shared_store64_release(&r.f->meta->header.state, POOL_STOPPED);
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 0, 0, &g), ==, -ENOTCONN);
	CHECK(*oc_client_error(r.c));
	CHECK_OK(oc_op_take(r.c, &done, 1, 40000000000, &n));
	CHECK_INT(done.result, ==, -ENOTCONN);
	rig_end(&r);
}

TEST(fake_keeper_gone_ends_waiting_and_pins_go_on)
{
	struct rig r = rig_make();
	struct oc_key key = fake_key(0);
	struct oc_grant g;
	struct oc_pin pin;

	pthread_mutex_lock(&r.f->lock);
	fake_seal(r.f, FAKE_OTHER, 0, 1, &key, frame_part(1, 0, 0));
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pin));
	oc_unpin(r.ns, &pin);
	fake_stop(r.f);
	CHECK_INT(oc_grant(r.ns, &key, P0, 0, 0, 0, &g), ==, -ENOTCONN);
	CHECK_OK(oc_pin(r.ns, &key, P0, OC_PIN_VERIFY, &pin));
	oc_unpin(r.ns, &pin);
	oc_ns_close(r.ns);
	oc_client_close(r.c);
}

TEST(fake_report_comes_in_pieces)
{
	struct rig r = rig_make();
	char *json = NULL;

	CHECK_OK(oc_inspect(r.c, "stat", NULL, 0, &json));
	CHECK_STR(json, "{\"pool\":\"fake\"}");
	free(json);
	rig_end(&r);
}

/* ---- threads ---- */

static void *write_many(void *ctx)
{
	struct rig *r = ctx;
	static _Atomic(uint64_t) next = 100;

	for (int i = 0; i < 500; i++) {
		struct oc_key key = fake_key(next++);
		struct oc_grant g;

		CHECK_OK(oc_grant(r->ns, &key, P0, 64, 0, 0, &g));
		memset(g.data, i, 64);
		CHECK_OK(oc_abandon(r->ns, &g, 0));
	}
	return NULL;
}

TEST(fake_threads_share_a_ring)
{
	struct rig r = rig_make();
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, write_many, &r));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(r.f->abandoned, ==, 2000);
	rig_end(&r);
}
