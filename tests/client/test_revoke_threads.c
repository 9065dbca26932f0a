/* SPDX-License-Identifier: Apache-2.0 */
/* The client's thread for questions over a fake node: who maps is asked, and the
 * answer comes after. */
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fault.h"
#include "client/revoke.h"
#include "tests/client/fake.h"
#include "tests/test.h"

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
};

/* Somebody who maps: `pin` is given back when it is asked for. */
struct user {
	struct revoke_user u;
	oc_client *c;
	oc_ns *ns;
	pthread_mutex_t lock;
	struct oc_pin pin;
	bool keeps;
	_Atomic(unsigned) calls;
};

static void let_go(void *ctx)
{
	struct user *m = ctx;

	pthread_mutex_lock(&m->lock);
	if (m->pin.data && !m->keeps && revoke_wants(m->c, &m->pin))
		oc_unpin(m->ns, &m->pin);
	pthread_mutex_unlock(&m->lock);
	atomic_fetch_add(&m->calls, 1);
}

static void user_join(struct user *m, struct rig *r)
{
	*m = (struct user){ .c = r->c, .ns = r->ns };
	m->u.let_go = let_go;
	m->u.ctx = m;
	pthread_mutex_init(&m->lock, NULL);
	CHECK_OK(revoke_join(r->c, &m->u));
}

static struct rig rig_make(void)
{
	struct rig r = { .f = fake_start() };

	r.c = fake_client(r.f, NULL);
	r.ns = fake_ns(r.c);
	pthread_mutex_lock(&r.f->lock);
	for (unsigned i = 3; i < 5; i++) {
		struct oc_key key = fake_key(i);

		fake_seal(r.f, FAKE_OTHER, i, 5, &key, frame_part(1, 0, 0));
	}
	pthread_mutex_unlock(&r.f->lock);
	return r;
}

static void rig_end(struct rig *r)
{
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static void pin_block(struct user *m, uint64_t n, uint64_t flags)
{
	struct oc_key key = fake_key(n);

	pthread_mutex_lock(&m->lock);
	CHECK_OK(oc_pin(m->ns, &key, P0, 0, &m->pin));
	revoke_say(m->c, &m->pin, flags);
	pthread_mutex_unlock(&m->lock);
}

/* Who lets go may be looking at it still. */
static void unpin(struct user *m)
{
	pthread_mutex_lock(&m->lock);
	oc_unpin(m->ns, &m->pin);
	pthread_mutex_unlock(&m->lock);
}

static void pin(struct user *m, uint64_t flags)
{
	pin_block(m, 3, flags);
}

static shared_u64 *wanted(struct rig *r)
{
	return client_wanted(r->f->client, FAKE_PINS, FAKE_OVERFLOW);
}

/* As the server: what it has seen in the slots ... */
static void look(struct rig *r)
{
	for (uint32_t i = 0; i < FAKE_PINS; i++) {
		uint64_t pin = pin_read(&r->f->client->slots[i]);

		revoke_want(wanted(r), i, pin & PIN_MAPPED ? pin : 0);
	}
}

/* ... the number, the futex. */
static uint64_t ask_so(struct rig *r)
{
	struct client_header *h = &r->f->client->header;
	uint64_t n = shared_load64(&h->asked) + 1;

	shared_store64_release(&h->asked, n);
	syscall(SYS_futex, &h->asked, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	return n;
}

static uint64_t ask(struct rig *r)
{
	look(r);
	return ask_so(r);
}

/* The alarm of the test is its end where nobody answers. */
static void await(struct rig *r, uint64_t asked)
{
	while (shared_load64_acquire(&r->f->client->header.answered) != asked)
		sched_yield();
}

static unsigned pins_of(struct rig *r)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < FAKE_PINS; i++)
		n += pin_read(&r->f->client->slots[i]) != 0;
	return n;
}

TEST(fake_what_is_asked_for_is_given_back)
{
	struct rig r = rig_make();
	struct user m;

	user_join(&m, &r);
	for (unsigned i = 0; i < 200; i++) {
		pin(&m, PIN_MAPPED | PIN_LOSABLE);
		CHECK_INT(pins_of(&r), ==, 1);
		await(&r, ask(&r));
		/* before the answer, not some time after it */
		CHECK_INT(pins_of(&r), ==, 0);
	}
	CHECK_INT(atomic_load(&m.calls), >=, 200);
	revoke_leave(r.c, &m.u);
	rig_end(&r);
}

TEST(fake_what_is_kept_is_answered_for)
{
	struct rig r = rig_make();
	struct user m;

	user_join(&m, &r);
	m.keeps = true;
	pin(&m, PIN_MAPPED);
	for (unsigned i = 0; i < 50; i++)
		await(&r, ask(&r));
	CHECK_INT(pins_of(&r), ==, 1);
	/* in direct use from now on: the word changes, the pin holds */
	revoke_say(r.c, &m.pin, 0);
	for (uint32_t i = 0; i < FAKE_PINS; i++)
		CHECK(!(pin_read(&r.f->client->slots[i]) & PIN_FLAGS));
	CHECK_INT(pins_of(&r), ==, 1);
	revoke_leave(r.c, &m.u);
	oc_unpin(r.ns, &m.pin);
	rig_end(&r);
}

/* Between the server's look and the answer the slot gets another pin: that was
 * not asked for, whatever the slot. */
TEST(fake_a_slot_that_holds_something_else_by_now_is_kept)
{
	struct rig r = rig_make();
	struct user m;

	user_join(&m, &r);
	pin(&m, PIN_MAPPED | PIN_LOSABLE);
	look(&r);
	unpin(&m);
	pin_block(&m, 4, PIN_MAPPED | PIN_LOSABLE);
	await(&r, ask_so(&r));
	CHECK_INT(pins_of(&r), ==, 1);
	/* the same, of one that has no answer to a loss */
	look(&r);
	unpin(&m);
	pin_block(&m, 4, PIN_MAPPED);
	await(&r, ask_so(&r));
	CHECK_INT(pins_of(&r), ==, 1);
	/* and the new one is asked for as any */
	await(&r, ask(&r));
	CHECK_INT(pins_of(&r), ==, 0);
	revoke_leave(r.c, &m.u);
	rig_end(&r);
}

static void *asks_on(void *rig)
{
	for (unsigned i = 0; i < 500; i++)
		ask(rig);
	return NULL;
}

/* Whoever joins is asked, whoever has left is not; the thread comes and goes. */
TEST(fake_users_come_and_go_while_it_asks)
{
	struct rig r = rig_make();
	struct user a, b;
	pthread_t server;

	CHECK_OK(pthread_create(&server, NULL, asks_on, &r));
	for (unsigned i = 0; i < 100; i++) {
		unsigned calls;

		user_join(&a, &r);
		user_join(&b, &r);
		pin(&a, PIN_MAPPED);
		revoke_leave(r.c, &b.u);
		calls = atomic_load(&b.calls);
		revoke_leave(r.c, &a.u);
		CHECK_INT(atomic_load(&b.calls), ==, calls);
		if (a.pin.data)
			oc_unpin(r.ns, &a.pin);
	}
	pthread_join(server, NULL);
	/* a question that was asked when nobody was there */
	user_join(&a, &r);
	await(&r, shared_load64(&r.f->client->header.asked));
	revoke_leave(r.c, &a.u);
	/* who never joined may leave */
	revoke_leave(r.c, &b.u);
	rig_end(&r);
}

/* A slab that goes is followed, though the client makes no call. */
TEST(fake_a_silent_reader_follows_the_node)
{
	struct rig r = rig_make();
	uint64_t epoch;
	struct user m;

	user_join(&m, &r);
	pin(&m, PIN_MAPPED);
	await(&r, ask(&r));
	pthread_mutex_lock(&r.f->lock);
	fake_slab_retire(r.f, FAKE_OTHER);
	epoch = shared_load64(&r.f->meta->header.region_epoch);
	pthread_mutex_unlock(&r.f->lock);
	await(&r, ask(&r));
	CHECK_INT(shared_load64_acquire(&r.f->client->header.let_go_epoch), ==,
		  epoch);
	revoke_leave(r.c, &m.u);
	rig_end(&r);
}

TEST(fake_no_thread_is_an_error)
{
	struct rig r = rig_make();
	struct user m = { .c = r.c };
	int e;

	for (uint64_t at = 1;; at++) {
		fault_arm(FAULT_ALLOC, at, false);
		e = revoke_join(r.c, &m.u);
		fault_arm(0, 0, false);
		if (e == 0)
			break;
		CHECK(e == -ENOMEM || e == -EAGAIN);
		revoke_leave(r.c, &m.u);
		CHECK_INT(at, <, 10);
	}
	m.u.let_go = let_go;
	revoke_leave(r.c, &m.u);
	rig_end(&r);
}
