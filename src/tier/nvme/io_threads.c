/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes by a pool of threads, where io_uring is refused. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/io_internal.h"

#define WORKERS 16u

struct pool {
	struct nvme_engine *e;
	pthread_mutex_t lock;
	pthread_cond_t work, news;
	struct nvme_piece *first, **tail; /* to be done */
	struct nvme_piece *ended;
	bool woken, stop;
	uint32_t n;
	pthread_t worker[WORKERS];
};

static int64_t perform(struct nvme_engine *e, const struct nvme_piece *p)
{
	const struct nvme_io *io = p->io;
	off_t at = (off_t)(io->offset + p->from);
	const struct iovec *vec;
	int64_t r;
	int n;

	if (io->op == NVME_ALLOCATE)
		return nvme_io_allocate(e->fd, io->offset, io->bytes);
	if (io->op == NVME_SYNC) {
		r = fdatasync(e->fd);
	} else {
		n = (int)nvme_engine_vec(e, p, &vec);
		r = io->op == NVME_READ ? preadv(e->fd, vec, n, at)
					: pwritev(e->fd, vec, n, at);
	}
	return r < 0 ? -errno : r;
}

static struct nvme_piece *take(struct pool *t)
{
	struct nvme_piece *p;

	while (!t->first && !t->stop)
		pthread_cond_wait(&t->work, &t->lock);
	p = t->first;
	if (p) {
		t->first = p->next;
		if (!t->first)
			t->tail = &t->first;
	}
	return p;
}

static void *worker(void *arg)
{
	struct pool *t = arg;
	struct nvme_piece *p;
	int64_t result;

	pthread_mutex_lock(&t->lock);
	while ((p = take(t))) {
		pthread_mutex_unlock(&t->lock);
		result = perform(t->e, p);
		pthread_mutex_lock(&t->lock);
		/* result of the piece is the fate's until it is told */
		p->from_kernel = result;
		p->next = t->ended;
		t->ended = p;
		pthread_cond_signal(&t->news);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_close(struct nvme_engine *e)
{
	struct pool *t = e->backend_state;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < t->n; i++)
		pthread_join(t->worker[i], NULL);
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->news);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* One thread is enough to go on with. */
static int threads_open(struct nvme_engine *e)
{
	struct pool *t = mem_alloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->e = e;
	t->tail = &t->first;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->news, NULL);
	e->backend_state = t;
	while (t->n < MIN(WORKERS, e->most) && !fault_point(FAULT_ALLOC) &&
	       pthread_create(&t->worker[t->n], NULL, worker, t) == 0)
		t->n++;
	if (t->n > 0)
		return 0;
	threads_close(e);
	return -ENOMEM;
}

static void threads_start(struct nvme_engine *e, struct nvme_piece *p)
{
	struct pool *t = e->backend_state;

	pthread_mutex_lock(&t->lock);
	p->next = NULL;
	*t->tail = p;
	t->tail = &p->next;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
}

static void threads_wait(struct nvme_engine *e, bool wait)
{
	struct pool *t = e->backend_state;
	struct nvme_piece *p, *next;

	pthread_mutex_lock(&t->lock);
	while (wait && !t->woken && !t->ended)
		pthread_cond_wait(&t->news, &t->lock);
	t->woken = false;
	p = t->ended;
	t->ended = NULL;
	pthread_mutex_unlock(&t->lock);
	for (; p; p = next) {
		next = p->next;
		p->next = NULL;
		nvme_engine_ended(e, p, p->from_kernel);
	}
}

static void threads_wake(struct nvme_engine *e)
{
	struct pool *t = e->backend_state;

	pthread_mutex_lock(&t->lock);
	t->woken = true;
	pthread_cond_signal(&t->news);
	pthread_mutex_unlock(&t->lock);
}

const struct nvme_backend nvme_backend_threads = {
	.name = "threads",
	.open = threads_open,
	.close = threads_close,
	.start = threads_start,
	.wait = threads_wait,
	.wake = threads_wake,
};
