/* SPDX-License-Identifier: Apache-2.0 */
/* Submit forms against a real node. */
#include <poll.h>
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES (16 * KIB)
#define MANY  512u

struct flight {
	struct live n;
	oc_client *c;
	oc_ns *ns;
	struct oc_grant grant[MANY];
	int result[MANY];
	unsigned completed;
};

static void flight_begin(struct flight *f, const char *dram)
{
	memset(f, 0, sizeof(*f));
	live_start(&f->n, "--dram", dram);
	f->c = live_connect(&f->n);
	f->ns = live_ns(f->c, BYTES);
}

static void flight_end(struct flight *f)
{
	CHECK_INT(live_stat(f->c).granted, ==, 0);
	live_check(f->c);
	oc_ns_close(f->ns);
	oc_client_close(f->c);
	live_stop(&f->n);
}

static uint64_t submit(struct flight *f, enum oc_op_kind kind, unsigned i)
{
	struct oc_op op = {
		.size = sizeof(op),
		.kind = kind,
		.ns = f->ns,
		.user_data = i,
		.key = live_key(i),
		.bytes = BYTES,
		.grant = &f->grant[i],
	};
	uint64_t id;

	if (kind == OC_OP_SEAL) {
		payload_make(&op.key, f->grant[i].data, BYTES);
		op.checksum =
			oc_checksum(&op.key, op.part, f->grant[i].data, BYTES);
	}
	CHECK_OK(oc_op_submit(f->c, &op, &id));
	return id;
}

/* Takes until n have completed, sleeping on the descriptor. */
static void take(struct flight *f, unsigned n)
{
	struct pollfd p = { .fd = oc_client_fd(f->c), .events = POLLIN };

	for (f->completed = 0; f->completed < n;) {
		struct oc_completion done[64];
		size_t got = 0;
		int r = oc_op_take(f->c, done, 64, OC_NOWAIT, &got);

		CHECK(r == 0 || r == OC_NONE);
		for (size_t i = 0; r == 0 && i < got; i++)
			f->result[done[i].user_data] = done[i].result;
		f->completed += r == 0 ? (unsigned)got : 0;
		if (f->completed < n && r == OC_NONE)
			CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)),
				  ==, 1);
	}
}

static void all_say(const struct flight *f, unsigned n, int result)
{
	for (unsigned i = 0; i < n; i++)
		CHECK_INT(f->result[i], ==, result);
}

TEST(many_operations_in_flight)
{
	static struct flight f;
	enum oc_op_kind kinds[] = { OC_OP_GRANT, OC_OP_SEAL };

	flight_begin(&f, "64M");
	for (int k = 0; k < 2; k++) {
		for (unsigned i = 0; i < MANY; i++)
			submit(&f, kinds[k], i);
		take(&f, MANY);
		all_say(&f, MANY, 0);
	}
	CHECK_INT(live_read_some(f.ns, 0, MANY, BYTES), ==, MANY);
	/* the same answers as the blocking calls */
	for (unsigned i = 0; i < MANY; i++)
		submit(&f, OC_OP_GRANT, i);
	take(&f, MANY);
	all_say(&f, MANY, OC_EXISTS);
	for (unsigned i = 0; i < MANY; i++)
		submit(&f, OC_OP_REMOVE, i);
	take(&f, MANY);
	all_say(&f, MANY, 0);
	for (unsigned i = 0; i < MANY; i++)
		submit(&f, OC_OP_REMOVE, i);
	take(&f, MANY);
	all_say(&f, MANY, OC_MISS);
	for (unsigned i = 0; i < MANY; i++)
		submit(&f, OC_OP_GRANT, i);
	take(&f, MANY);
	for (unsigned i = 0; i < MANY; i++)
		submit(&f, OC_OP_ABANDON, i);
	take(&f, MANY);
	all_say(&f, MANY, 0);
	flight_end(&f);
}

TEST(a_waiting_grant_is_cancelled)
{
	static struct flight f;
	uint64_t id;

	flight_begin(&f, "1M");
	for (unsigned i = 0; i < 64; i++) /* all of it, lent */
		submit(&f, OC_OP_GRANT, i);
	take(&f, 64);
	all_say(&f, 64, 0);
	id = submit(&f, OC_OP_GRANT, 100);
	CHECK_OK(oc_op_cancel(f.c, id));
	take(&f, 1);
	CHECK_INT(f.result[100], ==, -ECANCELED);
	CHECK_INT(live_stat(f.c).granted, ==, 64);
	/* too late for what is done */
	CHECK_OK(oc_op_cancel(f.c, id));
	for (unsigned i = 0; i < 64; i++)
		submit(&f, OC_OP_ABANDON, i);
	take(&f, 64);
	id = submit(&f, OC_OP_GRANT, 101);
	CHECK_OK(oc_op_cancel(f.c, id));
	take(&f, 1);
	CHECK(f.result[101] == 0 || f.result[101] == -ECANCELED);
	if (f.result[101] == 0)
		CHECK_OK(oc_abandon(f.ns, &f.grant[101], 0));
	flight_end(&f);
}

TEST(operations_in_flight_outlive_the_server)
{
	static struct flight f;

	flight_begin(&f, "64M");
	for (unsigned round = 0; round < 5; round++) {
		pid_t server = live_server(f.c);

		for (unsigned i = 0; i < MANY; i++) {
			submit(&f, OC_OP_GRANT, i);
			if (i == MANY / 2)
				CHECK_OK(kill(server, SIGKILL));
		}
		take(&f, MANY);
		all_say(&f, MANY, 0);
		CHECK_INT(live_stat(f.c).granted, ==, MANY);
		server = live_server(f.c);
		for (unsigned i = 0; i < MANY; i++) {
			submit(&f, OC_OP_SEAL, i);
			if (i == MANY / 2)
				CHECK_OK(kill(server, SIGKILL));
		}
		take(&f, MANY);
		all_say(&f, MANY, 0);
		CHECK_INT(live_read_some(f.ns, 0, MANY, BYTES), ==, MANY);
		for (unsigned i = 0; i < MANY; i++)
			submit(&f, OC_OP_REMOVE, i);
		take(&f, MANY);
		all_say(&f, MANY, 0);
	}
	flight_end(&f);
}

/* The node ends: each operation completes, none stays. */
TEST(operations_in_flight_when_the_node_ends)
{
	static struct flight f;

	flight_begin(&f, "1M");
	for (unsigned i = 0; i < 64; i++)
		submit(&f, OC_OP_GRANT, i);
	take(&f, 64);
	for (unsigned i = 100; i < 200; i++)
		submit(&f, OC_OP_GRANT, i); /* they wait for room */
	live_stop(&f.n);
	for (unsigned got_all = 0; got_all < 100;) {
		struct oc_completion done[64];
		size_t got = 0;

		CHECK_OK(oc_op_take(f.c, done, 64, 0, &got));
		for (size_t i = 0; i < got; i++)
			CHECK_INT(done[i].result, <, 0);
		got_all += (unsigned)got;
	}
	oc_ns_close(f.ns);
	oc_client_close(f.c);
}
