/* SPDX-License-Identifier: Apache-2.0 */
/* The store's side of the device's thread, and its life. */
#include "tier/nvme/io.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/io_internal.h"

void nvme_list_add(struct nvme_io_list *l, struct nvme_io *io)
{
	io->next = NULL;
	io->prev = l->last;
	if (l->last)
		l->last->next = io;
	else
		l->first = io;
	l->last = io;
	l->n++;
}

void nvme_list_remove(struct nvme_io_list *l, struct nvme_io *io)
{
	if (io->prev)
		io->prev->next = io->next;
	else
		l->first = io->next;
	if (io->next)
		io->next->prev = io->prev;
	else
		l->last = io->prev;
	io->next = io->prev = NULL;
	l->n--;
}

unsigned nvme_queue_of(const struct nvme_io *io)
{
	unsigned cls =
		io->urgency == NVME_LOG_ITSELF ? 0 : 1u + (unsigned)io->urgency;

	return cls * 2 + (io->op != NVME_READ);
}

/* Under the lock. */
void nvme_engine_done(struct nvme_engine *e, struct nvme_io *io)
{
	static const uint64_t one = 1;

	io->at = NVME_AT_DONE;
	nvme_list_add(&e->done, io);
	if (e->told)
		return;
	e->told = true;
	if (write(e->event, &one, sizeof(one)) < 0)
		must(errno == EAGAIN); /* it is readable then */
}

static void lock(struct nvme_engine *e)
{
	must(pthread_mutex_lock(&e->lock) == 0);
}

/* Lets the device's thread see what has changed. */
static void unlock_and_wake(struct nvme_engine *e)
{
	e->posted++;
	pthread_mutex_unlock(&e->lock);
	/* pairs with the store to nap in nvme_engine_run() */
	if (atomic_exchange_explicit(&e->nap, false, memory_order_seq_cst))
		e->backend->wake(e);
}

static void unqueue(struct nvme_engine *e, struct nvme_io *io, int result)
{
	unsigned q = nvme_queue_of(io);

	nvme_list_remove(&e->queue[q], io);
	e->queued_bytes[q] -= io->bytes;
	io->result = result;
	nvme_engine_done(e, io);
}

void nvme_io_submit(struct nvme_engine *e, struct nvme_io *io)
{
	unsigned q = nvme_queue_of(io);

	io->at = NVME_AT_QUEUE;
	io->cancelled = false;
	io->result = 0;
	io->pieces = 0;
	io->sent = io->begun_ns = 0;
	lock(e);
	if (!e->started) { /* the thread has ended */
		io->result = -ECANCELED;
		nvme_engine_done(e, io);
		pthread_mutex_unlock(&e->lock);
		return;
	}
	nvme_list_add(&e->queue[q], io);
	e->queued_bytes[q] += io->bytes;
	unlock_and_wake(e);
}

void nvme_io_cancel(struct nvme_engine *e, struct nvme_io *io)
{
	lock(e);
	if (io->at == NVME_AT_QUEUE)
		unqueue(e, io, -ECANCELED);
	else if (io->at == NVME_AT_DEVICE)
		io->cancelled = true; /* what was not sent is not */
	unlock_and_wake(e);
}

void nvme_io_expire(struct nvme_engine *e, uint64_t now_ns)
{
	struct nvme_io *io, *next;

	lock(e);
	for (unsigned q = 2; q < NVME_QUEUES; q++) {
		for (io = e->queue[q].first; io; io = next) {
			next = io->next;
			if (io->deadline_ns && now_ns >= io->deadline_ns)
				unqueue(e, io, -ETIMEDOUT);
		}
	}
	pthread_mutex_unlock(&e->lock);
}

void nvme_io_drop(struct nvme_engine *e, int result)
{
	lock(e);
	for (unsigned q = 2; q < NVME_QUEUES; q++)
		while (e->queue[q].first)
			unqueue(e, e->queue[q].first, result);
	pthread_mutex_unlock(&e->lock);
}

void nvme_io_kick(struct nvme_engine *e)
{
	lock(e);
	unlock_and_wake(e);
}

void nvme_io_reap(struct nvme_engine *e)
{
	struct nvme_io *io, *next;
	uint64_t count;

	lock(e);
	io = e->done.first;
	e->done = (struct nvme_io_list){ 0 };
	if (e->told && read(e->event, &count, sizeof(count)) < 0)
		must(errno == EAGAIN);
	e->told = false;
	pthread_mutex_unlock(&e->lock);
	for (; io; io = next) {
		next = io->next;
		io->next = io->prev = NULL;
		io->at = NVME_AT_REST;
		io->done(io);
	}
}

void nvme_engine_stat(struct nvme_engine *e, struct nvme_engine_stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	lock(e);
	for (unsigned q = 2; q < NVME_QUEUES; q++)
		ret->queued += e->queue[q].n;
	for (unsigned u = 0; u < TIER_URGENCIES; u++)
		ret->queued_bytes[u] = e->queued_bytes[2 + 2 * u];
	ret->flying = e->device.n;
	if (e->device.first)
		ret->oldest_ns = e->device.first->begun_ns;
	ret->flying_bytes = e->read_flying + e->write_flying;
	ret->read = e->read;
	ret->write = e->write;
	pthread_mutex_unlock(&e->lock);
}

/* ---- memory -------------------------------------------------------------------- */

/* Without memory for the note the region is simply not registered. */
void nvme_engine_memory_add(struct nvme_engine *e, void *base, uint64_t bytes)
{
	struct nvme_memory *m;

	if (!e->backend->memory_add)
		return;
	m = mem_alloc(sizeof(*m));
	if (!m)
		return;
	m->base = base;
	m->bytes = bytes;
	m->heap = true;
	lock(e);
	m->next = e->memory;
	e->memory = m;
	unlock_and_wake(e);
}

/* What was to be registered of it is forgotten. Under the lock. */
static void forget(struct nvme_engine *e, const void *base, uint64_t bytes)
{
	struct nvme_memory **at = &e->memory, *m;

	while ((m = *at)) {
		if (m->drop || (const char *)m->base < (const char *)base ||
		    (const char *)m->base >= (const char *)base + bytes) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		free(m);
	}
}

void nvme_engine_memory_drop(struct nvme_engine *e, void *base, uint64_t bytes)
{
	struct nvme_memory m = { .base = base, .bytes = bytes, .drop = true };

	if (!e->backend->memory_drop)
		return;
	lock(e);
	forget(e, base, bytes);
	m.next = e->memory;
	e->memory = &m;
	unlock_and_wake(e);
	lock(e);
	while (!m.dropped)
		pthread_cond_wait(&e->memory_done, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

/* ---- life ---------------------------------------------------------------------- */

struct starting {
	struct nvme_engine *e;
	int kind, result;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool known;
};

static int open_backend(struct nvme_engine *e, int kind)
{
	int r = -ENOSYS;

	if (kind != TIER_IO_THREADS) {
		e->backend = &nvme_backend_uring;
		r = e->backend->open(e);
	}
	if (r < 0 && kind != TIER_IO_URING) {
		if (kind == TIER_IO_AUTO)
			log_info("nvme: io_uring is refused (%s): a pool of "
				 "threads reads and writes",
				 strerror(-r));
		e->backend = &nvme_backend_threads;
		r = e->backend->open(e);
	}
	return r;
}

static void *engine_thread(void *arg)
{
	struct starting *s = arg;
	struct nvme_engine *e = s->e;
	int r = open_backend(e, s->kind);

	pthread_mutex_lock(&s->lock);
	s->result = r;
	s->known = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		nvme_engine_run(e);
	return NULL;
}

static int begin(struct nvme_engine *e, int kind)
{
	struct starting s = { .e = e,
			      .kind = kind,
			      .lock = PTHREAD_MUTEX_INITIALIZER,
			      .cond = PTHREAD_COND_INITIALIZER };

	if (fault_point(FAULT_ALLOC) ||
	    pthread_create(&e->thread, NULL, engine_thread, &s))
		return -ENOMEM;
	pthread_mutex_lock(&s.lock);
	while (!s.known)
		pthread_cond_wait(&s.cond, &s.lock);
	pthread_mutex_unlock(&s.lock);
	if (s.result < 0)
		pthread_join(e->thread, NULL);
	pthread_cond_destroy(&s.cond);
	pthread_mutex_destroy(&s.lock);
	return s.result;
}

int nvme_engine_start(struct nvme_engine *e, const struct nvme_io_table *table,
		      int fd, int kind, uint32_t depth)
{
	int r;

	memset(e, 0, sizeof(*e));
	e->table = table;
	e->fd = fd;
	e->most = MIN(depth, NVME_PIECES / 2u);
	nvme_depth_init(&e->depth, 4, e->most, 20000000);
	for (unsigned i = 0; i < NVME_PIECES; i++) {
		e->piece[i].next = e->free;
		e->free = &e->piece[i];
	}
	e->vec = mem_array(NVME_PIECES * NVME_VEC, sizeof(*e->vec));
	if (!e->vec)
		return -ENOMEM;
	e->event = fault_point(FAULT_IO)
			   ? -1
			   : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->event < 0) {
		free(e->vec);
		return -EMFILE;
	}
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->memory_done, NULL);
	r = begin(e, kind);
	e->started = r == 0;
	if (r < 0)
		nvme_engine_fini(e);
	return r;
}

void nvme_engine_stop(struct nvme_engine *e)
{
	if (!e->started)
		return;
	nvme_io_drop(e, -ECANCELED);
	lock(e);
	e->stop = true;
	unlock_and_wake(e);
	pthread_join(e->thread, NULL);
	e->backend->close(e); /* here, for who stops it may still wake it */
	e->started = false;
}

void nvme_engine_fini(struct nvme_engine *e)
{
	struct nvme_memory *m;

	must(!e->started);
	while ((m = e->memory)) {
		e->memory = m->next;
		free(m);
	}
	e->event = fd_close(e->event);
	free(e->vec);
	e->vec = NULL;
	pthread_cond_destroy(&e->memory_done);
	pthread_mutex_destroy(&e->lock);
}
