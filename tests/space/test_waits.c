/* SPDX-License-Identifier: Apache-2.0 */
/* A touch that waits for a fake node stops no other. */
#include <onecopy/space.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "tests/client/fake.h"
#include "tests/test.h"

#define BLOCKS 24u
#define IN_OWN 8u  /* blocks from here on lie in the other slab */
#define BELOW  16u /* and from here on below */

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
	oc_span *sp;
	char *base;
	uint64_t stride;
	/* a thread that touches */
	pthread_t thread;
	size_t block;
	bool write;
	_Atomic(bool) begun, done;
};

static void seal_all(struct rig *r, struct oc_key *key)
{
	pthread_mutex_lock(&r->f->lock);
	fake_tier(r->f);
	for (unsigned i = 0; i < BLOCKS; i++) {
		key[i] = fake_key(i);
		if (i < BELOW)
			fake_seal(r->f, i < IN_OWN ? FAKE_OTHER : FAKE_OWN, i,
				  5, &key[i], frame_part(1, 0, 0));
		else
			fake_below(r->f, i, frame_part(1, 0, 0),
				   i == BELOW ? BELOW_STUCK : BELOW_COMES);
	}
	pthread_mutex_unlock(&r->f->lock);
}

static void rig_begin(struct rig *r)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = OC_SPACE_FAULTS,
				      .bytes = 1 << 20,
				      .timeout_ns = 20 * NS_PER_S };
	struct oc_span_options so = OC_SPAN_INIT;
	struct oc_key key[BLOCKS];
	struct oc_span_info info;
	int e;

	r->done = r->begun = false;
	r->f = fake_start();
	r->c = fake_client(r->f, NULL);
	r->ns = fake_ns(r->c);
	seal_all(r, key);
	e = oc_space_create(r->ns, &o, &r->s);
	if (e)
		SKIP("userfaultfd is refused: %s", strerror(-e));
	so.flags = OC_SPAN_LAZY;
	so.lost = OC_LOST_ZERO;
	CHECK_OK(oc_span_map(r->s, key, BLOCKS, &so, &r->sp));
	CHECK_OK(oc_span_advise(r->sp, 0, 0, OC_ADVISE_RANDOM, 0));
	CHECK_OK(oc_span_info(r->sp, &info));
	r->base = info.base;
	r->stride = info.block_stride;
}

static void right(struct rig *r, size_t i)
{
	uint8_t want[FAKE_FRAME_BYTES];

	fake_payload(i, want);
	CHECK_MEM(r->base + i * r->stride, want, sizeof(want));
}

static void *touch(void *arg)
{
	struct rig *r = arg;
	_Atomic(char) *p = (_Atomic(char) *)(r->base + r->block * r->stride);

	r->begun = true;
	if (r->write)
		atomic_fetch_add(p, 1); /* by 0 it would be a load */
	else
		(void)atomic_load(p);
	r->done = true;
	return NULL;
}

static uint64_t waiting(struct rig *r)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(r->s, &report));
	return report.faults;
}

/* Returns when the library has taken its fault. */
static void touch_begin(struct rig *r, size_t block, bool write)
{
	uint64_t before = waiting(r), until = clock_ns() + 20 * NS_PER_S;

	r->block = block;
	r->write = write;
	CHECK_OK(pthread_create(&r->thread, NULL, touch, r));
	while (waiting(r) == before)
		CHECK_INT(clock_ns(), <, until);
	CHECK(!r->done);
}

static void rig_end(struct rig *r)
{
	CHECK_OK(pthread_join(r->thread, NULL));
	CHECK(r->done);
	oc_space_destroy(r->s);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

TEST(fake_a_first_write_that_waits_stops_nobody)
{
	struct rig r;

	rig_begin(&r);
	right(&r, 0);
	right(&r, 1);
	r.f->mute_ring = true;
	touch_begin(&r, 1, true);
	for (size_t i = 2; i < IN_OWN; i++)
		right(&r, i);
	CHECK(!r.done);
	fake_serve_again(r.f);
	rig_end(&r);
}

TEST(fake_a_slab_that_is_not_told_stops_nobody)
{
	struct oc_key key = fake_key(IN_OWN);
	struct oc_pin pin;
	struct rig r;

	rig_begin(&r);
	right(&r, 0);
	/* met, and its descriptor is not open */
	CHECK_OK(oc_pin(r.ns, &key, P0, 0, &pin));
	oc_unpin(r.ns, &pin);
	r.f->mute_socket = true;
	touch_begin(&r, IN_OWN, false);
	for (size_t i = 1; i < IN_OWN; i++)
		right(&r, i);
	CHECK(!r.done);
	/* that question is lost: another server is asked */
	r.f->mute_socket = false;
	shared_store64_release(&r.f->meta->header.server_epoch, 2);
	rig_end(&r);
}

TEST(fake_a_fetch_that_waits_stops_nobody)
{
	struct rig r;

	rig_begin(&r);
	touch_begin(&r, BELOW, false);
	for (size_t i = BELOW + 1; i < BLOCKS; i++)
		right(&r, i);
	right(&r, 3);
	CHECK(!r.done);
	pthread_mutex_lock(&r.f->lock);
	r.f->below[0].fate = BELOW_COMES;
	pthread_mutex_unlock(&r.f->lock);
	rig_end(&r);
}
