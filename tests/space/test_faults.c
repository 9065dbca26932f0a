/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spaces over a fake node, each allocation, mapping and descriptor of which
 * fails once. After each failure the bytes at the addresses are right, and
 * nothing is held when the space has ended.
 *
 * Faults of the kernel are real here; the node is not.
 */
#include <onecopy/space.h>
#include <stdlib.h>
#include "base/fault.h"
#include "tests/client/fake.h"
#include "tests/test.h"

#define BLOCKS	  16u
#define STEPS_MAX 300u
/* Not I/O: the fake node's sockets are in this process, too. The real node's
 * test has those (tests/prog/test_fault.c). */
#define WALKED (FAULT_ALLOC | FAULT_MAP)

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	struct oc_key key[BLOCKS];
};

static void rig_begin(struct rig *r)
{
	r->f = fake_start();
	r->c = fake_client(r->f, NULL);
	r->ns = fake_ns(r->c);
	pthread_mutex_lock(&r->f->lock);
	for (unsigned i = 0; i < BLOCKS; i++) {
		r->key[i] = fake_key(i);
		/* two runs and some that stand alone */
		fake_seal(r->f, FAKE_OTHER, i < 8 ? i : 2 * i, 5, &r->key[i],
			  frame_part(1, 0, 0));
	}
	pthread_mutex_unlock(&r->f->lock);
}

static void rig_end(struct rig *r)
{
	struct oc_stat stat;

	CHECK_OK(oc_stat(r->c, &stat));
	CHECK_INT(stat.pins_held, ==, 0);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static int make(struct rig *r, enum oc_space_how how, oc_space **ret)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = how,
				      .bytes = 1 << 20,
				      .mappings = 1000 };

	return oc_space_create(r->ns, &o, ret);
}

static void need_faults(struct rig *r)
{
	oc_space *s;
	int e = make(r, OC_SPACE_FAULTS, &s);

	if (e)
		SKIP("userfaultfd is refused: %s", strerror(-e));
	oc_space_destroy(s);
}

static void right(oc_span *sp, size_t i)
{
	uint8_t want[FAKE_FRAME_BYTES];
	struct oc_span_info info;

	CHECK_OK(oc_span_info(sp, &info));
	fake_payload(i, want);
	CHECK_MEM((char *)info.base + i * info.block_stride, want,
		  sizeof(want));
}

/* What can fail: 0 when nothing did. Whatever was mapped shows what it should. */
typedef int (*scene_fn)(struct rig *r, oc_space *s, oc_span *sp);

static int scene_create(struct rig *r, oc_space *s, oc_span *sp)
{
	oc_space *other;
	int e = make(r, OC_SPACE_FAULTS, &other);
	(void)s;
	(void)sp;

	if (e == 0)
		oc_space_destroy(other);
	return e;
}

static int scene_map(struct rig *r, oc_space *s, oc_span *sp)
{
	oc_span *other;
	int e = oc_span_map(s, r->key, BLOCKS, NULL, &other);
	(void)sp;

	if (e == 0) {
		for (size_t i = 0; i < BLOCKS; i++)
			right(other, i);
		oc_span_unmap(other);
	}
	return e;
}

static int scene_prefetch(struct rig *r, oc_space *s, oc_span *sp)
{
	(void)r;
	(void)s;
	return oc_span_prefetch(sp, 0, 0, OC_PREFETCH_WAIT, 0);
}

static int scene_let_go(struct rig *r, oc_space *s, oc_span *sp)
{
	(void)r;
	(void)s;
	return oc_span_advise(sp, 3, 8, OC_ADVISE_DO_NOT_NEED, 0);
}

/* By what it is already: the bytes stay. */
static int scene_replace(struct rig *r, oc_space *s, oc_span *sp)
{
	(void)s;
	return oc_span_replace(sp, 3, &r->key[3]);
}

static int scene_touch(struct rig *r, oc_space *s, oc_span *sp)
{
	(void)r;
	(void)s;
	for (size_t i = BLOCKS; i-- > 0;)
		right(sp, i);
	return 0;
}

static void walk(enum oc_space_how how, scene_fn scene, bool all_now)
{
	struct rig r;
	unsigned at = 1;
	bool fired = true;

	rig_begin(&r);
	if (how == OC_SPACE_FAULTS)
		need_faults(&r);
	for (; fired && at < STEPS_MAX; at++) {
		struct oc_span_options o = OC_SPAN_INIT;
		oc_space *s;
		oc_span *sp;
		int e;

		o.flags = all_now ? 0 : OC_SPAN_LAZY;
		CHECK_OK(make(&r, how, &s));
		CHECK_OK(oc_span_map(s, r.key, BLOCKS, &o, &sp));
		fault_arm(WALKED, at, false);
		e = scene(&r, s, sp);
		fired = fault_fired();
		fault_arm(0, 0, false);
		if (!fired)
			CHECK_OK(e);
		/* once more, without: all of it is there */
		if (how == OC_SPACE_EXPLICIT)
			CHECK_OK(oc_span_prefetch(sp, 0, 0, OC_PREFETCH_WAIT,
						  0));
		for (size_t i = 0; i < BLOCKS; i++)
			right(sp, i);
		oc_space_destroy(s);
	}
	CHECK_INT(at, >, 2);
	CHECK_INT(at, <, STEPS_MAX);
	rig_end(&r);
}

TEST(fake_create_fails_at_each_step)
{
	walk(OC_SPACE_FAULTS, scene_create, true);
}

TEST(fake_map_fails_at_each_step)
{
	walk(OC_SPACE_FAULTS, scene_map, false);
	walk(OC_SPACE_EXPLICIT, scene_map, false);
}

TEST(fake_prefetch_fails_at_each_step)
{
	walk(OC_SPACE_FAULTS, scene_prefetch, false);
	walk(OC_SPACE_EXPLICIT, scene_prefetch, false);
}

TEST(fake_letting_go_fails_at_each_step)
{
	walk(OC_SPACE_FAULTS, scene_let_go, true);
	walk(OC_SPACE_EXPLICIT, scene_let_go, true);
}

TEST(fake_replacing_fails_at_each_step)
{
	walk(OC_SPACE_FAULTS, scene_replace, true);
	walk(OC_SPACE_EXPLICIT, scene_replace, true);
}

TEST(fake_touches_go_on_after_each_failure)
{
	walk(OC_SPACE_FAULTS, scene_touch, false);
}

TEST(fake_writes_fail_at_each_step)
{
	struct rig r;
	bool fired = true;
	unsigned at = 1;

	rig_begin(&r);
	need_faults(&r);
	for (; fired && at < STEPS_MAX; at++) {
		struct oc_span_info info;
		struct oc_pin pin;
		uint8_t want[FAKE_FRAME_BYTES];
		oc_space *s;
		oc_span *sp;
		char *p;

		CHECK_OK(make(&r, OC_SPACE_FAULTS, &s));
		CHECK_OK(oc_span_map(s, r.key, BLOCKS, NULL, &sp));
		CHECK_OK(oc_span_info(sp, &info));
		if (info.mapped != BLOCKS)
			FAIL("step %u: %s", at, oc_client_error(r.c));
		p = (char *)info.base + 2 * info.block_stride;
		fault_arm(WALKED, at, false);
		p[77] ^= 1;
		fired = fault_fired();
		fault_arm(0, 0, false);
		p[77] ^= 1;
		right(sp, 2);
		p[77] ^= 1;
		CHECK_OK(oc_pin(r.ns, &r.key[2], P0, OC_PIN_VERIFY, &pin));
		fake_payload(2, want);
		CHECK_MEM(pin.data, want, sizeof(want));
		oc_unpin(r.ns, &pin);
		CHECK_OK(oc_span_info(sp, &info));
		if (info.own + info.copied != 1)
			FAIL("step %u: %zu own, %zu copied, %zu mapped", at,
			     info.own, info.copied, info.mapped);
		oc_space_destroy(s);
	}
	CHECK_INT(at, >, 2);
	CHECK_INT(at, <, STEPS_MAX);
	rig_end(&r);
}

TEST(fake_options_that_cannot_be)
{
	struct oc_space_options o = { .size = sizeof(o), .kind = 2 };
	struct oc_span_options so = OC_SPAN_INIT;
	struct oc_space_report report = { .size = 1 };
	oc_space *s;
	oc_span *sp;
	struct rig r;

	rig_begin(&r);
	CHECK_INT(oc_space_create(r.ns, &o, &s), ==, -EOPNOTSUPP);
	o.size = 0;
	CHECK_INT(oc_space_create(r.ns, &o, &s), ==, -EINVAL);
	CHECK_OK(make(&r, OC_SPACE_EXPLICIT, &s));
	CHECK_STR(oc_space_why(s), "");
	so.part.rank = 1;
	CHECK_INT(oc_span_map(s, r.key, 1, &so, &sp), ==, -EINVAL);
	so.part.rank = 0;
	so.lost = OC_LOST_CALL;
	CHECK_INT(oc_span_map(s, r.key, 1, &so, &sp), ==, -EINVAL);
	so.lost = OC_LOST_BUS;
	so.capacity = 1000; /* the space has 1 MiB */
	CHECK_INT(oc_span_map(s, r.key, 1, &so, &sp), ==, -ENOSPC);
	so.capacity = 4;
	so.flags = OC_SPAN_READ_ONLY;
	CHECK_OK(oc_span_map(s, r.key, 1, &so, &sp));
	CHECK_INT(oc_span_append(sp, r.key, 4), ==, -ENOSPC);
	CHECK_INT(oc_span_hold(sp, 0, 2, 0, 0), ==, -EINVAL);
	CHECK_INT(oc_span_hold(sp, 0, 1, OC_PREFETCH_WRITE, 0), ==, -EROFS);
	CHECK_INT(oc_span_advise(sp, 0, 0, OC_ADVISE_PREFERRED_TIER,
				 OC_TIER_VRAM),
		  ==, -EOPNOTSUPP);
	CHECK_INT(oc_span_advise(sp, 0, 0, OC_ADVISE_ACCESSED_BY, 1), ==,
		  -EOPNOTSUPP);
	CHECK_INT(oc_space_report(s, &report), ==, -EINVAL);
	oc_space_destroy(s);
	rig_end(&r);
}
