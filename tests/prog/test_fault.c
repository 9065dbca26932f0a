/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation, map and I/O of the library fails once in each public call,
 * against a real node. After each failure the client can be used or closed.
 */
#include <onecopy/space.h>
#include "base/fault.h"
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES	  (16 * KIB)
#define STEPS_MAX 400u

static const struct oc_part part0;

struct stage {
	struct live n;
	oc_client *c;
	oc_ns *ns;
	uint64_t at;
};

/* As live_key(), which may fail here, but for the blocks that were there. */
static struct oc_key fault_key(uint64_t i)
{
	static struct oc_key one;
	struct oc_key key = { .bytes = { 7 } };

	if (!one.bytes[0] && !one.bytes[1] && !one.bytes[2])
		one = live_key(1);
	memcpy(key.bytes + 8, &i, sizeof(i));
	return i == 1 ? one : key;
}

/* One public call; what it made is undone. It may fail, not break. */
typedef int (*scene_fn)(struct stage *s);

static void stage_open(struct stage *s)
{
	struct live_as as = { .timeout_ns = 20 * NS_PER_S };

	s->c = live_connect_as(&s->n, as);
	s->ns = live_ns(s->c, BYTES);
}

static void stage_close(struct stage *s)
{
	oc_ns_close(s->ns);
	oc_client_close(s->c);
}

static int scene_connect(struct stage *s)
{
	oc_client *c;
	char error[256] = "";
	int r = live_try(&s->n, (struct live_as){ 0 }, &c, error);

	if (r == 0)
		oc_client_close(c);
	else
		CHECK(error[0] != '\0');
	return r;
}

static int scene_ns(struct stage *s)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = 4096 } },
	};
	oc_ns *ns;
	int r = oc_ns_open(s->c, &o, 0, &ns);

	if (r == 0)
		oc_ns_close(ns);
	return r;
}

static int scene_write(struct stage *s)
{
	struct oc_key key = fault_key(++s->at);
	struct oc_grant g;
	int r = oc_grant(s->ns, &key, part0, 0, 0, 0, &g);

	if (r)
		return r;
	payload_make(&key, g.data, BYTES);
	r = oc_seal(s->ns, &g, NULL, 0);
	if (r == -ETIMEDOUT)
		oc_abandon(s->ns, &g, 0);
	return r;
}

/* Of a client that has met no slab yet, so that they are mapped here. */
static int scene_read(struct stage *s)
{
	struct oc_key key = fault_key(1);
	struct oc_pin pin;
	int r = oc_pin(s->ns, &key, part0, OC_PIN_VERIFY, &pin);

	if (r)
		return r;
	CHECK_INT(payload_wrong(&key, pin.data, BYTES), ==, 0);
	oc_unpin(s->ns, &pin);
	return 0;
}

static int scene_pin_by_ring(struct stage *s)
{
	struct oc_key key = fault_key(1);
	struct oc_pin pin;
	int r = oc_pin(s->ns, &key, part0, OC_PIN_BY_RING, &pin);

	if (r == 0)
		oc_unpin(s->ns, &pin);
	return r;
}

static int scene_match_pin(struct stage *s)
{
	struct oc_key key[2] = { fault_key(1), fault_key(999999) };
	struct oc_pin pins[2];
	size_t usable = 0;
	int r;

	memset(pins, 0, sizeof(pins));
	r = oc_match_pin(s->ns, key, 2, NULL, pins, &usable);
	if (r == 0)
		oc_unpin_batch(s->ns, pins, 2);
	return r ? r : usable == 1 ? 0 : OC_MISS;
}

static int scene_copies(struct stage *s)
{
	struct oc_key key = fault_key(++s->at);
	char data[BYTES];
	uint64_t bytes;
	int r;

	payload_make(&key, data, BYTES);
	r = oc_put(s->ns, &key, part0, data, BYTES, 0);
	if (r == 0)
		r = oc_get(s->ns, &key, part0, data, BYTES, &bytes);
	if (r == 0)
		r = oc_remove(s->ns, &key, 0);
	return r;
}

static int scene_batch(struct stage *s)
{
	struct oc_grant g[8];
	struct oc_key key[8];
	int results[8], r, worst = 0;

	for (int i = 0; i < 8; i++)
		key[i] = fault_key(++s->at);
	r = oc_grant_batch(s->ns, key, 8, part0, 0, 0, g, results);
	for (int i = 0; i < 8 && r == 0; i++) {
		worst = results[i] ? results[i] : worst;
		if (results[i] == 0)
			CHECK_OK(oc_abandon(s->ns, &g[i], 0));
	}
	return r ? r : worst;
}

static int scene_op(struct stage *s)
{
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct oc_completion done;
	uint64_t id;
	size_t n;
	int r = oc_op_submit(s->c, &op, &id);

	if (r == 0)
		CHECK_OK(oc_op_take(s->c, &done, 1, 0, &n));
	return r;
}

static int scene_inspect(struct stage *s)
{
	char *text;
	int r = oc_inspect(s->c, "stat", NULL, 0, &text);

	if (r == 0)
		free(text);
	return r;
}

static int scene_dispatch(struct stage *s)
{
	return oc_client_dispatch(s->c);
}

/* Made, a block mapped and asked to be written, ended. */
static int scene_space(struct stage *s)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = OC_SPACE_EXPLICIT,
				      .bytes = 1 << 20 };
	struct oc_key key = fault_key(1);
	struct oc_span_info info;
	oc_space *space;
	oc_span *sp;
	int r = oc_space_create(s->ns, &o, &space);

	if (r)
		return r;
	r = oc_span_map(space, &key, 1, NULL, &sp);
	if (r == 0)
		r = oc_span_prefetch(sp, 0, 1,
				     OC_PREFETCH_WAIT | OC_PREFETCH_WRITE, 0);
	if (r == 0) {
		CHECK_OK(oc_span_info(sp, &info));
		CHECK_INT(payload_wrong(&key, info.base, BYTES), ==, 0);
		CHECK_INT(info.own + info.copied, ==, 1);
	}
	oc_space_destroy(space);
	return r;
}

/* In slices: written, read, and shown slice after slice. */
static int scene_striped(struct stage *s)
{
	struct oc_ns_options no = { .size = sizeof(no),
				    .block_tokens = 16,
				    .n_groups = 1,
				    .groups = { { .slices = 3,
						  .slice_bytes = 4096,
						  .stride = OC_STRIPED } } };
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_EXPLICIT,
				       .bytes = 1 << 20 };
	struct oc_span_options o = OC_SPAN_INIT;
	static uint8_t data[3 * 4096], back[3 * 4096];
	struct oc_key key = fault_key(77);
	struct oc_span_info info;
	oc_space *space = NULL;
	uint64_t bytes;
	oc_span *sp;
	oc_ns *ns;
	int r = oc_ns_open(s->c, &no, 0, &ns);

	if (r)
		return r;
	memset(data, 7, sizeof(data));
	data[4096] = 8;
	r = oc_put(ns, &key, (struct oc_part){ 0, 0 }, data, sizeof(data), 0);
	if (r == 0)
		r = oc_get(ns, &key, (struct oc_part){ 0, 0 }, back,
			   sizeof(back), &bytes);
	if (r == 0)
		CHECK_MEM(back, data, sizeof(data));
	if (r == 0)
		r = oc_space_create(ns, &so, &space);
	o.layout = OC_LAYOUT_SLICES;
	if (r == 0)
		r = oc_span_map(space, &key, 1, &o, &sp);
	if (r == 0)
		r = oc_span_prefetch(sp, 0, 1,
				     OC_PREFETCH_WAIT | OC_PREFETCH_WRITE, 0);
	if (r == 0) {
		CHECK_OK(oc_span_info(sp, &info));
		for (unsigned i = 0; i < 3; i++)
			CHECK_MEM((char *)info.base + i * info.slice_stride,
				  data + i * 4096, 4096);
	}
	if (space)
		oc_space_destroy(space);
	oc_ns_close(ns);
	return r;
}

static int scene_chain(struct stage *s)
{
	struct oc_chain_options o = { .size = sizeof(o), .block_tokens = 4 };
	uint32_t tokens[16] = { 1, 2, 3 };
	struct oc_key keys[4];
	size_t n;

	(void)s;
	return oc_chain(&o, tokens, 16, keys, &n);
}

/* Fails point after point of a call, on a fresh client each time or not. */
static void walk(struct stage *s, const char *name, scene_fn scene, bool fresh)
{
	unsigned at = 1;

	for (;; at++) {
		int r;

		if (at > STEPS_MAX)
			FAIL("%s: it never passes untouched", name);
		if (fresh)
			stage_open(s);
		fault_arm(FAULT_ALL, at, false);
		r = scene(s);
		if (!fault_fired()) {
			fault_arm(0, 0, false);
			if (fresh)
				stage_close(s);
			if (r)
				FAIL("%s, untouched: %d", name, r);
			break;
		}
		fault_arm(0, 0, false);
		/* it goes on as if nothing had been */
		r = scene(s);
		if (r)
			FAIL("%s, after point %u failed: %d %s", name, at, r,
			     oc_client_error(s->c));
		if (fresh)
			stage_close(s);
	}
	fprintf(stderr, "%s: %u points\n", name, at - 1);
}

TEST(every_call_with_every_point_failing)
{
	static const struct {
		const char *name;
		scene_fn scene;
	} scenes[] = {
		{ "connect", scene_connect },
		{ "ns_open", scene_ns },
		{ "grant and seal", scene_write },
		{ "pin", scene_read },
		{ "pin by ring", scene_pin_by_ring },
		{ "match_pin", scene_match_pin },
		{ "put, get, remove", scene_copies },
		{ "batch", scene_batch },
		{ "op", scene_op },
		{ "inspect", scene_inspect },
		{ "dispatch", scene_dispatch },
		{ "chain", scene_chain },
		{ "space", scene_space },
		{ "striped", scene_striped },
	};
	struct stage s = { .at = 1000 };
	oc_client *watch;

	live_start(&s.n, "--dram", "64M", "--log-level", "error");
	stage_open(&s);
	fault_key(1);
	live_write_some(s.ns, 1, 1, BYTES);
	stage_close(&s);
	watch = live_connect_as(&s.n, (struct live_as){ .read_only = true });
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		walk(&s, scenes[i].name, scenes[i].scene, true);
		stage_open(&s);
		walk(&s, scenes[i].name, scenes[i].scene, false);
		stage_close(&s);
	}
	LIVE_WAIT(&s.n, live_stat(watch).clients == 1);
	CHECK_INT(live_stat(watch).granted, ==, 0);
	CHECK_INT(live_fds(getpid()), <, 16);
	live_check(watch);
	oc_client_close(watch);
	live_stop(&s.n);
}

/* From a point on, everything fails: no call hangs, and closing works. */
TEST(everything_fails_from_a_point_on)
{
	static const scene_fn scenes[] = { scene_ns,	  scene_write,
					   scene_read,	  scene_match_pin,
					   scene_copies,  scene_batch,
					   scene_inspect, scene_pin_by_ring };
	struct stage s = { .at = 5000 };

	live_start(&s.n, "--dram", "64M", "--log-level", "error");
	stage_open(&s);
	fault_key(1);
	live_write_some(s.ns, 1, 1, BYTES);
	stage_close(&s);
	for (unsigned at = 1; at < 12; at++) {
		for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]);
		     i++) {
			stage_open(&s);
			fault_arm(FAULT_ALLOC | FAULT_MAP, at, true);
			scenes[i](&s);
			fault_arm(0, 0, false);
			stage_close(&s);
		}
	}
	stage_open(&s);
	CHECK_OK(live_read(s.ns, 1, BYTES));
	live_check(s.c);
	stage_close(&s);
	live_stop(&s.n);
}
