/* SPDX-License-Identifier: Apache-2.0 */
/* A fake node asks a space for what it maps: which blocks are given back, and what
 * is counted. */
#include <linux/futex.h>
#include <onecopy/space.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "coherence/pin.h"
#include "coherence/revoke.h"
#include "tests/client/fake.h"
#include "tests/test.h"

#define BLOCKS 6u

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
};

static void rig_begin(struct rig *r)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = OC_SPACE_FAULTS,
				      .bytes = 1 << 20 };
	int e;

	r->f = fake_start();
	r->c = fake_client(r->f, NULL);
	r->ns = fake_ns(r->c);
	pthread_mutex_lock(&r->f->lock);
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct oc_key key = fake_key(i);

		fake_seal(r->f, FAKE_OTHER, i, 5, &key, frame_part(1, 0, 0));
	}
	pthread_mutex_unlock(&r->f->lock);
	e = oc_space_create(r->ns, &o, &r->s);
	if (e)
		SKIP("userfaultfd is refused: %s", strerror(-e));
}

static void rig_end(struct rig *r)
{
	oc_space_destroy(r->s);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static oc_span *map(struct rig *r, unsigned first, unsigned n,
		    enum oc_lost lost)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key key[BLOCKS];
	oc_span *sp;

	for (unsigned i = 0; i < n; i++)
		key[i] = fake_key(first + i);
	o.part = P0;
	o.lost = lost;
	CHECK_OK(oc_span_map(r->s, key, n, &o, &sp));
	return sp;
}

static struct oc_span_block block_of(oc_span *sp, size_t i)
{
	struct oc_span_block b;

	CHECK_OK(oc_span_block(sp, i, &b));
	return b;
}

static void right(oc_span *sp, size_t i, uint64_t n)
{
	uint8_t want[FAKE_FRAME_BYTES];

	fake_payload(n, want);
	CHECK_MEM(block_of(sp, i).address, want, sizeof(want));
}

/* As the server: what it sees in the slots, and the question. */
static void look(struct rig *r)
{
	shared_u64 *wanted =
		client_wanted(r->f->client, FAKE_PINS, FAKE_OVERFLOW);

	for (uint32_t i = 0; i < FAKE_PINS; i++)
		revoke_want(wanted, i, pin_read(&r->f->client->slots[i]));
}

/* ... and the answer. The alarm of the test is its end where there is none. */
static void ask(struct rig *r)
{
	struct client_header *h = &r->f->client->header;
	uint64_t n = shared_load64(&h->asked) + 1;

	shared_store64_release(&h->asked, n);
	syscall(SYS_futex, &h->asked, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	while (shared_load64_acquire(&h->answered) != n)
		sched_yield();
}

static struct oc_space_report report_of(struct rig *r)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(r->s, &report));
	return report;
}

/* The slot of frame n's pin. */
static uint32_t slot_of(struct rig *r, uint32_t n)
{
	for (uint32_t i = 0; i < FAKE_PINS; i++)
		if (pin_word_loc(pin_read(&r->f->client->slots[i])) ==
		    frame_loc(FAKE_OTHER, n))
			return i;
	FAIL("block %u is not pinned", n);
	return 0;
}

TEST(fake_each_block_is_counted_once)
{
	oc_span *sp;
	struct rig r;

	rig_begin(&r);
	sp = map(&r, 0, BLOCKS, OC_LOST_ZERO);
	look(&r);
	/* after the server's look: these are kept, and end a run each */
	CHECK_OK(oc_span_hold(sp, 2, 1, 0, 0));
	CHECK_OK(oc_span_hold(sp, 5, 1, 0, 0));
	ask(&r);
	CHECK_INT(report_of(&r).revoke_asks, ==, 1);
	CHECK_INT(report_of(&r).revoked, ==, BLOCKS - 2);
	CHECK_INT(report_of(&r).revoke_kept, ==, 2);
	for (size_t i = 0; i < BLOCKS; i++)
		CHECK_INT(block_of(sp, i).state, ==,
			  i == 2 || i == 5 ? OC_BLOCK_MAPPED : OC_BLOCK_ABSENT);
	rig_end(&r);
}

/* Between the server's look and the answer, a block goes and another comes in its
 * slot: that one has no answer to a loss, and was not asked for. */
TEST(fake_what_has_come_in_the_slot_stays)
{
	uint32_t slot;
	struct rig r;
	oc_span *sp;

	rig_begin(&r);
	sp = map(&r, 0, 1, OC_LOST_ZERO);
	slot = slot_of(&r, 0);
	look(&r);
	oc_span_unmap(sp);
	sp = map(&r, 1, 1, OC_LOST_BUS);
	CHECK_INT(slot_of(&r, 1), ==, slot);
	ask(&r);
	CHECK_INT(report_of(&r).revoked, ==, 0);
	CHECK_INT(report_of(&r).revoke_kept, ==, 0);
	CHECK_INT(block_of(sp, 0).state, ==, OC_BLOCK_MAPPED);
	right(sp, 0, 1);
	/* the same block, of another span: not for the same */
	look(&r);
	oc_span_unmap(sp);
	sp = map(&r, 1, 1, OC_LOST_ZERO);
	CHECK_INT(slot_of(&r, 1), ==, slot);
	ask(&r);
	CHECK_INT(block_of(sp, 0).state, ==, OC_BLOCK_MAPPED);
	right(sp, 0, 1);
	look(&r);
	ask(&r);
	CHECK_INT(block_of(sp, 0).state, ==, OC_BLOCK_ABSENT);
	CHECK_INT(report_of(&r).revoked, ==, 1);
	rig_end(&r);
}
