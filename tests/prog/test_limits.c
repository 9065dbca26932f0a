/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas: of frames, pins, grants, clients, tenants; each with its answer. */
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES (64 * KIB)

static const struct oc_part part0;

TEST(a_block_larger_than_the_largest_frame)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 1,
	};
	struct oc_key key = live_key(1);
	struct oc_grant g;
	struct live n;
	oc_client *c;
	oc_ns *ns;
	uint64_t most;
	int r;

	live_start(&n, "--dram", "16M");
	c = live_connect(&n);
	most = live_node(c, "max_frame");
	CHECK_INT(most, >=, MIB);
	CHECK_INT(most, <=, 16 * MIB);
	o.groups[0].slices = 1;
	o.groups[0].slice_bytes = most + 1;
	r = oc_ns_open(c, &o, 0, &ns);
	CHECK_INT(r, ==, -E2BIG);
	CHECK(strlen(oc_client_error(c)) > 10);
	ns = live_ns_any(c, most);
	CHECK_INT(oc_grant(ns, &key, part0, most + 1, 0, 0, &g), ==, -E2BIG);
	CHECK_OK(oc_grant(ns, &key, part0, most, 0, 0, &g));
	CHECK_OK(oc_abandon(ns, &g, 0));
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(more_clients_than_there_may_be)
{
	char error[256] = "";
	oc_client *c[4];
	struct live n;

	live_start(&n, "--dram", "4M", "--max-clients", "3");
	for (int i = 0; i < 3; i++) {
		struct live_wait w = { 0 };

		/* the one that start used is on its way out */
		while (live_try(&n, (struct live_as){ 0 }, &c[i], error))
			live_pause(&n, &w, error);
	}
	CHECK_INT(live_try(&n, (struct live_as){ 0 }, &c[3], error), ==,
		  -EUSERS);
	CHECK(strstr(error, "3") != NULL);
	oc_client_close(c[0]);
	LIVE_WAIT(&n, live_try(&n, (struct live_as){ 0 }, &c[0], error) == 0);
	for (int i = 0; i < 3; i++)
		oc_client_close(c[i]);
	live_stop(&n);
}

TEST(more_pins_than_a_client_may_have)
{
	struct oc_key key = live_key(1);
	struct oc_pin pin[97];
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start_config(&n, "dram: 4MiB\nclients:\n  pins: 64\n"
			      "  overflow_pins: 32\n");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	for (int i = 0; i < 96; i++) /* the last 32 through the ring */
		CHECK_OK(oc_pin(ns, &key, part0, 0, &pin[i]));
	CHECK_INT(live_stat(c).pins_held, ==, 96);
	CHECK_INT(oc_pin(ns, &key, part0, 0, &pin[96]), ==, -EDQUOT);
	CHECK(strstr(oc_client_error(c), "64") != NULL);
	for (int i = 0; i < 96; i += 2)
		oc_unpin(ns, &pin[i]);
	for (int i = 0; i < 96; i += 2)
		CHECK_OK(oc_pin(ns, &key, part0, 0, &pin[i]));
	oc_unpin_batch(ns, pin, 96);
	LIVE_WAIT(&n, live_stat(c).pins_held == 0);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(more_grants_than_a_client_may_have)
{
	struct oc_grant g[9];
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start_config(&n, "dram: 16MiB\nclients:\n  granted_frames: 8\n");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	for (uint64_t i = 0; i < 9; i++) {
		struct oc_key key = live_key(i);

		CHECK_INT(oc_grant(ns, &key, part0, 0, 0, 0, &g[i]), ==,
			  i < 8 ? 0 : -EDQUOT);
	}
	CHECK(strlen(oc_client_error(c)) > 10);
	CHECK_INT(live_stat(c).granted, ==, 8);
	CHECK_OK(oc_abandon_batch(ns, g, 8, 0));
	CHECK_OK(live_write(ns, 8, BYTES));
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(tenants_are_separate_and_have_quotas)
{
	char error[256] = "";
	struct live n;
	oc_client *a, *b;
	oc_ns *na, *nb;

	live_start_config(&n, "dram: 16MiB\nslab: 256KiB\n"
			      "tenants:\n"
			      "  - name: a\n    dram: 4MiB\n"
			      "  - name: b\n");
	a = live_connect_as(&n, (struct live_as){ .tenant = "a" });
	b = live_connect_as(&n, (struct live_as){ .tenant = "b" });
	CHECK_INT(live_try(&n, (struct live_as){ .tenant = "c" }, &a, error),
		  ==, -EACCES);
	CHECK(strstr(error, "\"c\"") != NULL);
	na = live_ns(a, BYTES);
	nb = live_ns(b, BYTES);
	live_write_some(na, 0, 10, BYTES);
	CHECK_INT(live_read_some(nb, 0, 10, BYTES), ==, 0);
	live_write_some(nb, 0, 10, BYTES);
	CHECK_INT(live_read_some(nb, 0, 10, BYTES), ==, 10);
	CHECK_INT(live_stat(b).sealed_blocks, ==, 10);
	live_write_some(na, 100, 300, BYTES);
	CHECK_INT(live_stat(a).slab_bytes, <=, 4 * MIB);
	CHECK_INT(live_stat(a).sealed_blocks, <=, 64);
	CHECK_INT(live_read_some(nb, 0, 10, BYTES), ==, 10);
	live_check(a);
	live_check(b);
	oc_ns_close(na);
	oc_ns_close(nb);
	oc_client_close(a);
	oc_client_close(b);
	live_stop(&n);
}

/* What fills one tenant's share takes nothing from another's node budget. */
TEST(the_node_is_shared_by_tenants_within_its_limit)
{
	struct live n;
	oc_client *a, *b;
	oc_ns *na, *nb;

	live_start_config(&n, "dram: 8MiB\nslab: 256KiB\n"
			      "tenants:\n"
			      "  - name: a\n    dram: 6MiB\n"
			      "  - name: b\n    dram: 6MiB\n");
	a = live_connect_as(&n, (struct live_as){ .tenant = "a" });
	b = live_connect_as(&n, (struct live_as){ .tenant = "b" });
	na = live_ns(a, BYTES);
	nb = live_ns(b, BYTES);
	live_write_some(na, 0, 200, BYTES);
	live_write_some(nb, 0, 200, BYTES);
	CHECK_INT(live_stat(a).slab_bytes, <=, 6 * MIB);
	CHECK_INT(live_stat(b).slab_bytes, >, 0);
	CHECK_INT(live_stat(a).slab_bytes + live_stat(b).slab_bytes, <=,
		  8 * MIB);
	CHECK_INT(live_node(a, "used_bytes"), <=, 8 * MIB);
	oc_ns_close(na);
	oc_ns_close(nb);
	oc_client_close(a);
	oc_client_close(b);
	live_stop(&n);
}
