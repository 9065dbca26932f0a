/* SPDX-License-Identifier: Apache-2.0 */
#include "client/revoke.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "client/pin_inline.h"

#define FOLLOW_NS (50 * NS_PER_MS)

struct revoker {
	oc_client *c;
	pthread_t thread;
	struct revoke_user *user;
	futex_word stop; /* 1: the thread ends */
};

/* The low half on a little-endian machine. */
static const futex_word *asked_word(const oc_client *c)
{
	return (const futex_word *)(uintptr_t)&c->seg->header.asked;
}

/* Until the server asks, or the thread has to end. Kernels that know no waiting
 * for two words (before 5.16) look at the second one at times. */
static void sleep_until_asked(const struct revoker *r, uint32_t seen)
{
	const oc_client *c = r->c;
#ifdef SYS_futex_waitv
	struct futex_waitv w[2] = {
		{ .uaddr = (uintptr_t)asked_word(c),
		  .val = seen,
		  .flags = FUTEX_32 },
		{ .uaddr = (uintptr_t)&r->stop,
		  .val = 0,
		  .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
	};

	if (syscall(SYS_futex_waitv, w, 2, 0, NULL, 0) >= 0 ||
	    (errno != ENOSYS && errno != EPERM))
		return;
#endif
	if (!atomic_load_explicit(&r->stop, memory_order_relaxed))
		futex_sleep(asked_word(c), seen, CLIENT_SLICE_NS, true);
}

/* B2 to B4. */
static void answer(const struct revoker *r, uint64_t asked)
{
	oc_client *c = r->c;
	struct client_header *h = &c->seg->header;

	pthread_mutex_lock(&c->revoke_lock);
	for (struct revoke_user *u = r->user; u; u = u->next)
		u->let_go(u->ctx);
	pthread_mutex_unlock(&c->revoke_lock);
	/* Who only reads what is mapped follows the node nowhere else. */
	if (client_behind(c))
		region_resync(c, clock_ns() + FOLLOW_NS);
	/* B3, release: what was given back is unmapped and its slots are empty.
	 * Pairs with answered(). */
	shared_store64_release(&h->answered, asked);
	/* A full queue is readable, which is all that is wanted. */
	(void)!send(c->bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *revoke_main(void *revoker)
{
	const struct revoker *r = revoker;
	const struct client_header *h = &r->c->seg->header;

	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		/* B1: pairs with ask() */
		uint64_t asked = shared_load64_acquire(&h->asked);

		if (asked != shared_load64(&h->answered))
			answer(r, asked);
		else
			sleep_until_asked(r, (uint32_t)asked);
	}
	return NULL;
}

static int start(oc_client *c)
{
	struct revoker *r = mem_alloc(sizeof(*r));
	sigset_t all, before;
	int e = fault_point(FAULT_ALLOC) ? EAGAIN : 0;

	if (!r)
		return -ENOMEM;
	r->c = c;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (e == 0)
		e = pthread_create(&r->thread, NULL, revoke_main, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (e) {
		free(r);
		return -e;
	}
	c->revoker = r;
	return 0;
}

int revoke_join(oc_client *c, struct revoke_user *u)
{
	int r = 0;

	pthread_mutex_lock(&c->revoke_lock);
	if (!c->revoker)
		r = start(c);
	if (r == 0) {
		u->next = c->revoker->user;
		c->revoker->user = u;
	}
	pthread_mutex_unlock(&c->revoke_lock);
	return r;
}

void revoke_leave(oc_client *c, struct revoke_user *u)
{
	struct revoker *r, *last = NULL;
	struct revoke_user **link;

	pthread_mutex_lock(&c->revoke_lock);
	r = c->revoker;
	for (link = r ? &r->user : NULL; link && *link && *link != u;)
		link = &(*link)->next;
	if (link && *link) {
		*link = u->next;
		if (!r->user) {
			last = r;
			c->revoker = NULL;
		}
	}
	pthread_mutex_unlock(&c->revoke_lock);
	if (!last)
		return;
	atomic_store_explicit(&last->stop, 1, memory_order_relaxed);
	futex_wake_one(&last->stop);
	pthread_join(last->thread, NULL);
	free(last);
}

static uint64_t slot_of(const oc_client *c, const struct oc_pin *pin)
{
	return (uint32_t)pin->slot + (pin->slot & SLOT_OWN ? 0 : c->n_pins);
}

bool revoke_wants(const oc_client *c, const struct oc_pin *pin)
{
	uint64_t slot = slot_of(c, pin);

	return revoke_meant(client_wanted(c->seg, c->n_pins, c->n_overflow),
			    slot, shared_load64(&c->seg->slots[slot]));
}

bool revoke_names(const oc_client *c, const struct oc_pin *pin)
{
	uint64_t slot = slot_of(c, pin);
	uint64_t word = shared_load64(&c->seg->slots[slot]);

	return word && ((word ^ revoke_wanted(client_wanted(c->seg, c->n_pins,
							    c->n_overflow),
					      slot)) &
			~PIN_FLAGS) == 0;
}

/* The slot names the same filling all the time: whichever word the server reads,
 * the pin holds. */
void revoke_say(oc_client *c, const struct oc_pin *pin, uint64_t flags)
{
	shared_u64 *slot = &c->seg->slots[slot_of(c, pin)];

	if (pin->slot & SLOT_OWN)
		shared_store64(slot,
			       (shared_load64(slot) & ~PIN_FLAGS) | flags);
}
