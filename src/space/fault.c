/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that serves touches, as far as they need nobody else: what has to
 * wait for the node is a worker's.
 *
 * It reads what the kernel tells, always: whoever lets a block go waits for
 * that, with the lock in hand. So it only tries the lock; when somebody has it,
 * it says so (`wanted`) and is told by `kick` when it is free.
 *
 * What was served meanwhile is woken and no more: a thread that is let go looks
 * again, and faults again if need be.
 */
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>
#include "space/space.h"

#define FAULTS_MOST 256

struct faults {
	oc_space *s;
	struct uffd_fault fault[FAULTS_MOST];
	uint64_t since[FAULTS_MOST];
	size_t n;
};

oc_span *space_find(const oc_space *s, uintptr_t address)
{
	for (oc_span *sp = s->span; sp; sp = sp->next) {
		uintptr_t base = (uintptr_t)sp->base;

		if (address >= base && address - base < sp->shape.bytes)
			return sp;
	}
	return NULL;
}

size_t span_block_of(const oc_span *sp, uintptr_t address)
{
	uint64_t piece =
		(address - (uintptr_t)sp->base) / sp->shape.piece_bytes;

	return (size_t)(piece % sp->shape.capacity);
}

void space_stalled(oc_space *s, uint64_t since)
{
	uint64_t ns = clock_ns() - since;

	s->n.stalled_ns += ns;
	s->n.stalled_most_ns = MAX(s->n.stalled_most_ns, ns);
}

/* Is this page one that the block's frame has? Past its bytes are zeros. */
static bool page_is_frames(const oc_span *sp, size_t i, uintptr_t page)
{
	const struct shape *sh = &sp->shape;
	uint64_t off = page - (uintptr_t)sp->base;
	struct spot spot = block_spot(&sp->block[i]);

	return off % sh->piece_bytes <
	       shape_pages(sh, &spot,
			   (uint32_t)(off / sh->piece_bytes / sh->capacity));
}

static int serve_there(oc_span *sp, size_t i, uintptr_t page)
{
	sp->s->n.faults_again++;
	if (sp->block[i].state == OC_BLOCK_BUS || page_is_frames(sp, i, page))
		return 0;
	return uffd_zero(sp->s->uffd, (void *)page, PAGE_BYTES);
}

/* To a worker: OC_BUSY, who will wake it. flags: OC_PREFETCH_WRITE. */
static int hand_over(oc_span *sp, size_t i, unsigned flags)
{
	struct block *b = &sp->block[i];
	int r;

	if (b->flags & BLOCK_WANTED)
		return OC_BUSY; /* it looks again after that */
	r = space_hand(sp, i, 1, flags);
	if (r == 0) {
		b->flags |= BLOCK_WANTED;
		b->wanted_ns = clock_ns();
	}
	return r == 0 ? OC_BUSY : 0; /* it faults again */
}

static int serve_write(oc_span *sp, size_t i)
{
	if (sp->block[i].flags & BLOCK_HALF)
		return block_map_again(sp, i) ? hand_over(sp, i, 0) : 0;
	if (sp->block[i].state == OC_BLOCK_MAPPED)
		return hand_over(sp, i, OC_PREFETCH_WRITE);
	sp->s->n.faults_again++;
	return 0;
}

/* write: it will be written, by who touched it. */
static int serve_missing(oc_span *sp, size_t i, uintptr_t page, bool write)
{
	struct block *b = &sp->block[i];
	oc_space *s = sp->s;
	int r;

	if (b->flags & BLOCK_HALF)
		return block_map_again(sp, i) ? hand_over(sp, i, 0) : 0;
	if (b->state != OC_BLOCK_ABSENT)
		return serve_there(sp, i, page);
	if (i >= sp->n)
		return block_bus(sp, i); /* past the end, as in a file */
	if (b->flags & BLOCK_AHEAD)
		s->n.prefetch_late++;
	/* It will be written: one copy, and not shown before. */
	if (block_has_turns(sp, i) || (write && span_armed(sp)))
		return hand_over(sp, i, OC_PREFETCH_WRITE);
	r = block_map_quickly(sp, i);
	if (r == OC_BUSY)
		return hand_over(sp, i, 0);
	s->n.faults_map++;
	return r;
}

/* Addresses that belong to no span: SIGBUS, until one has them. */
static int serve_stray(oc_space *s, uintptr_t page)
{
	s->stray = true;
	s->maps += 2;
	return space_bus_at(s, (char *)page, PAGE_BYTES);
}

/* OC_BUSY: somebody else will wake it. */
static int serve(oc_space *s, const struct uffd_fault *f)
{
	oc_span *sp = space_find(s, f->address);
	uintptr_t page = f->address & ~(PAGE_BYTES - 1);
	size_t i;

	s->n.faults++;
	if (!sp || sp->going)
		return serve_stray(s, page);
	i = span_block_of(sp, f->address);
	if (sp->block[i].flags & BLOCK_TAKEN)
		return OC_BUSY;
	return f->protected ? serve_write(sp, i)
			    : serve_missing(sp, i, page, f->write);
}

static void serve_all(struct faults *w)
{
	oc_space *s = w->s;

	s->in_fault = true;
	for (size_t i = 0; i < w->n; i++) {
		int r = serve(s, &w->fault[i]);

		if (r == OC_BUSY)
			continue;
		uffd_wake(s->uffd,
			  (void *)(w->fault[i].address & ~(PAGE_BYTES - 1)),
			  PAGE_BYTES);
		space_stalled(s, w->since[i]);
	}
	s->in_fault = false;
	w->n = 0;
}

static void take_faults(struct faults *w)
{
	struct uffd_fault spare[16];
	uint64_t now;
	size_t got;

	if (w->n == FAULTS_MOST) {
		/* read all the same; who waits there asks again */
		got = uffd_read(w->s->uffd, spare, ARRAY_LEN(spare));
		for (size_t i = 0; i < got; i++)
			uffd_wake(w->s->uffd,
				  (void *)(spare[i].address &
					   ~(PAGE_BYTES - 1)),
				  PAGE_BYTES);
		return;
	}
	got = uffd_read(w->s->uffd, w->fault + w->n, FAULTS_MOST - w->n);
	now = got ? clock_ns() : 0;
	for (size_t i = 0; i < got; i++)
		w->since[w->n + i] = now;
	w->n += got;
}

static bool try_lock(oc_space *s)
{
	if (pthread_mutex_trylock(&s->lock) == 0)
		return true;
	/* Fenced on both sides, pairs with space_unlock(): either that sees this,
	 * or the lock is free below. A thread that waits for a condition says
	 * nothing, so there is a time as well. */
	atomic_store_explicit(&s->wanted, true, memory_order_relaxed);
	shared_fence();
	return pthread_mutex_trylock(&s->lock) == 0;
}

void space_unlock(oc_space *s)
{
	uint64_t one = 1;

	must(pthread_mutex_unlock(&s->lock) == 0);
	shared_fence(); /* pairs with try_lock() */
	if (unlikely(atomic_load_explicit(&s->wanted, memory_order_relaxed)) &&
	    atomic_exchange_explicit(&s->wanted, false, memory_order_relaxed))
		(void)!write(s->kick, &one, sizeof(one));
}

void *fault_main(void *space)
{
	struct faults w = { .s = space };
	oc_space *s = space;
	struct pollfd p[2] = { { .fd = s->uffd, .events = POLLIN },
			       { .fd = s->kick, .events = POLLIN } };
	uint64_t kicks;

	/* Relaxed: the kick after it is read by a system call. */
	while (atomic_load_explicit(&s->stop, memory_order_relaxed) !=
	       STOP_ALL) {
		if (poll(p, 2, w.n ? 1 : -1) < 0)
			continue;
		if (p[1].revents)
			(void)!read(s->kick, &kicks, sizeof(kicks));
		if (p[0].revents)
			take_faults(&w);
		if (w.n && try_lock(s)) {
			serve_all(&w);
			must(pthread_mutex_unlock(&s->lock) == 0);
		}
	}
	return NULL;
}
