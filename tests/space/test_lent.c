/* SPDX-License-Identifier: Apache-2.0 */
/* Lent frames of a space over a fake node that loses seals or their answers. */
#include <onecopy/space.h>
#include <stdlib.h>
#include "base/clock.h"
#include "tests/client/fake.h"
#include "tests/test.h"

#define BLOCKS	4u
#define PATIENT (200 * NS_PER_MS)

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
	oc_span *sp;
	char *base;
	uint64_t stride;
};

static int recompute(void *ctx, const struct oc_key *key, size_t block,
		     void *data, uint64_t bytes)
{
	struct fake *f = ctx;
	(void)key;
	(void)bytes;

	f->drop_seals = true;
	fake_payload(block, data);
	return 0;
}

/* The last block is not there. */
static void rig_begin(struct rig *r)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = OC_SPACE_FAULTS,
				      .bytes = 1 << 20,
				      .timeout_ns = PATIENT };
	struct oc_span_options so = OC_SPAN_INIT;
	struct oc_key key[BLOCKS];
	struct oc_span_info info;
	int e;

	r->f = fake_start();
	r->c = fake_client(r->f, NULL);
	r->ns = fake_ns(r->c);
	pthread_mutex_lock(&r->f->lock);
	for (unsigned i = 0; i < BLOCKS; i++) {
		key[i] = fake_key(i);
		if (i + 1 < BLOCKS)
			fake_seal(r->f, FAKE_OTHER, i, 5, &key[i],
				  frame_part(1, 0, 0));
	}
	pthread_mutex_unlock(&r->f->lock);
	e = oc_space_create(r->ns, &o, &r->s);
	if (e)
		SKIP("userfaultfd is refused: %s", strerror(-e));
	so.lost = OC_LOST_CALL;
	so.recompute = recompute;
	so.ctx = r->f;
	CHECK_OK(oc_span_map(r->s, key, BLOCKS, &so, &r->sp));
	CHECK_OK(oc_span_info(r->sp, &info));
	r->base = info.base;
	r->stride = info.block_stride;
}

static void rig_end(struct rig *r)
{
	oc_space_destroy(r->s);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static void right(struct rig *r, size_t i, uint64_t n)
{
	uint8_t want[FAKE_FRAME_BYTES];

	fake_payload(n, want);
	CHECK_MEM(r->base + i * r->stride, want, sizeof(want));
}

static enum oc_block_state state_of(struct rig *r, size_t i)
{
	struct oc_span_block b;

	CHECK_OK(oc_span_block(r->sp, i, &b));
	return b.state;
}

/* Frames that are lent now, when the node has seen all that was asked. */
static unsigned lent(struct rig *r)
{
	struct oc_key key = fake_key(999);
	struct oc_grant g;
	unsigned n = 0;

	CHECK_OK(oc_grant(r->ns, &key, P0, 0, 0, 0, &g));
	CHECK_OK(oc_abandon(r->ns, &g, 0));
	pthread_mutex_lock(&r->f->lock);
	for (uint32_t i = 0; i < FAKE_FRAMES; i++)
		n += frame_word_state(shared_load64(
			     &fake_desc(r->f, FAKE_OWN, i)->word)) ==
		     FRAME_GRANTED;
	pthread_mutex_unlock(&r->f->lock);
	return n;
}

TEST(fake_a_computed_block_whose_seal_is_lost_leaks_nothing)
{
	struct rig r;

	rig_begin(&r);
	CHECK_INT(oc_span_prefetch(r.sp, BLOCKS - 1, 1, OC_PREFETCH_WAIT, 0),
		  ==, 0);
	right(&r, BLOCKS - 1, BLOCKS - 1);
	CHECK_INT(lent(&r), ==, 0);
	rig_end(&r);
}

/* A seal that the node does not answer. It may be slow with what comes before: then
 * it gets longer. */
static void seal_in_vain(struct rig *r, const struct oc_key *key)
{
	uint64_t before = r->f->unanswered;

	for (uint64_t wait = PATIENT / 8; r->f->unanswered == before; wait *= 2)
		CHECK_INT(oc_span_seal(r->sp, 1, key, wait), ==, -ETIMEDOUT);
}

TEST(fake_a_copy_whose_seal_is_lost_leaks_nothing)
{
	struct oc_key key = fake_key(100);
	struct rig r;

	rig_begin(&r);
	fake_payload(100, (uint8_t *)r.base + r.stride);
	CHECK_INT(state_of(&r, 1), ==, OC_BLOCK_OWN);
	r.f->drop_seals = true;
	seal_in_vain(&r, &key);
	CHECK_INT(lent(&r), ==, 1); /* the block's own */
	right(&r, 1, 100);
	r.f->drop_seals = false;
	CHECK_OK(oc_span_seal(r.sp, 1, &key, 0));
	CHECK_INT(lent(&r), ==, 0);
	right(&r, 1, 100);
	rig_end(&r);
}

/* Written as `key`, sealed, and the answer does not come. */
static void seal_unanswered(struct rig *r, const struct oc_key *key)
{
	CHECK_OK(oc_span_write_as(r->sp, 1, key, 0));
	fake_payload(100, (uint8_t *)r->base + r->stride);
	r->f->hush_seals = true;
	seal_in_vain(r, key);
	right(r, 1, 100);
}

static void sealed_right(struct rig *r, const struct oc_key *key)
{
	struct oc_pin pin;

	CHECK_OK(oc_pin(r->ns, key, P0, OC_PIN_VERIFY, &pin));
	oc_unpin(r->ns, &pin);
}

TEST(fake_a_seal_without_an_answer_is_not_written_to)
{
	struct oc_key key = fake_key(100);
	struct rig r;

	rig_begin(&r);
	seal_unanswered(&r, &key);
	/* it has been made all the same: this is nobody else's */
	r.base[r.stride + 9] ^= 0x55;
	sealed_right(&r, &key);
	CHECK_INT((uint8_t)r.base[r.stride + 9], ==, (100 + 9) ^ 0x55);
	CHECK_INT(oc_span_seal(r.sp, 1, &key, 0), ==, OC_EXISTS);
	right(&r, 1, 100);
	rig_end(&r);
}

TEST(fake_a_seal_without_an_answer_is_asked_again)
{
	struct oc_key key = fake_key(100);
	struct rig r;

	rig_begin(&r);
	seal_unanswered(&r, &key);
	r.f->hush_seals = false;
	CHECK_INT(oc_span_seal(r.sp, 1, &key, 0), ==, OC_EXISTS);
	CHECK_INT(state_of(&r, 1), ==, OC_BLOCK_MAPPED);
	right(&r, 1, 100);
	sealed_right(&r, &key);
	CHECK_INT(lent(&r), ==, 0);
	rig_end(&r);
}
