/* SPDX-License-Identifier: Apache-2.0 */
/* Reads by threads: each takes the next slot in line and does one pread(). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "tier/gpu/io.h"

#define THREADS_MOST 16u

struct thread_slot {
	enum { SLOT_FREE, SLOT_WAITS, SLOT_DONE } state;
	int fd;
	void *data;
	uint32_t bytes, next;
	uint64_t offset;
	int64_t result;
};

struct thread_io {
	struct gpu_io io;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work, done;
	pthread_t thread[THREADS_MOST];
	uint32_t threads, depth;
	uint32_t queued, head, *line; /* a ring of slots in line */
	bool ending;
	struct thread_slot slot[];
};

static int64_t thread_pread(const struct thread_slot *s)
{
	size_t done = 0;

	while (done < s->bytes) {
		ssize_t n = pread(s->fd, (char *)s->data + done,
				  s->bytes - done, (off_t)(s->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
		if (n % (ssize_t)PAGE_BYTES)
			break; /* the file's end: O_DIRECT goes no further */
	}
	return (int64_t)done;
}

static void *thread_run(void *arg)
{
	struct thread_io *t = arg;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct thread_slot *s, job;

		while (!t->queued && !t->ending)
			pthread_cond_wait(&t->work, &t->lock);
		if (!t->queued)
			break;
		s = &t->slot[t->line[t->head]];
		t->head = (t->head + 1) % t->depth;
		t->queued--;
		job = *s;
		pthread_mutex_unlock(&t->lock);
		job.result = thread_pread(&job);
		pthread_mutex_lock(&t->lock);
		s->result = job.result;
		s->state = SLOT_DONE;
		pthread_cond_broadcast(&t->done);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_destroy(struct gpu_io *io)
{
	struct thread_io *t = container_of(io, struct thread_io, io);

	pthread_mutex_lock(&t->lock);
	t->ending = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < t->threads; i++)
		pthread_join(t->thread[i], NULL);
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->done);
	pthread_mutex_destroy(&t->lock);
	free(t->line);
	free(t);
}

static void threads_init(struct thread_io *t)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static int threads_create(uint32_t depth, struct gpu_io **ret_io)
{
	struct thread_io *t =
		mem_alloc(sizeof(*t) + depth * sizeof(t->slot[0]));
	int r = 0;

	if (!t)
		return -ENOMEM;
	t->io.ops = &gpu_io_threads;
	t->depth = depth;
	t->line = mem_array(depth, sizeof(*t->line));
	threads_init(t);
	if (!t->line)
		r = -ENOMEM;
	while (r == 0 && t->threads < MIN(depth, THREADS_MOST)) {
		r = fault_point(FAULT_ALLOC)
			    ? -EAGAIN
			    : -pthread_create(&t->thread[t->threads], NULL,
					      thread_run, t);
		t->threads += r == 0;
	}
	/* fewer will do, none will not */
	if (r && (!t->line || !t->threads)) {
		threads_destroy(&t->io);
		return r;
	}
	*ret_io = &t->io;
	return 0;
}

static int threads_read(struct gpu_io *io, uint32_t slot, int fd, void *data,
			uint32_t bytes, uint64_t offset)
{
	struct thread_io *t = container_of(io, struct thread_io, io);
	struct thread_slot *s = &t->slot[slot];
	int r = -EBUSY;

	if (fault_point(FAULT_IO))
		return -EIO;
	pthread_mutex_lock(&t->lock);
	if (s->state == SLOT_FREE) {
		*s = (struct thread_slot){ .state = SLOT_WAITS,
					   .fd = fd,
					   .data = data,
					   .bytes = bytes,
					   .offset = offset };
		t->line[(t->head + t->queued) % t->depth] = slot;
		t->queued++;
		pthread_cond_signal(&t->work);
		r = 0;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

static int64_t threads_wait(struct gpu_io *io, uint32_t slot,
			    uint64_t deadline_ns)
{
	struct thread_io *t = container_of(io, struct thread_io, io);
	struct timespec end = { .tv_sec = (time_t)(deadline_ns / NS_PER_S),
				.tv_nsec = (long)(deadline_ns % NS_PER_S) };
	struct thread_slot *s = &t->slot[slot];
	int64_t result = -ETIME;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	while (s->state == SLOT_WAITS && r == 0)
		r = deadline_ns
			    ? pthread_cond_timedwait(&t->done, &t->lock, &end)
			    : ETIMEDOUT;
	if (s->state != SLOT_WAITS) {
		result = s->state == SLOT_DONE ? s->result : -EINVAL;
		s->state = SLOT_FREE;
	}
	pthread_mutex_unlock(&t->lock);
	return result;
}

const struct gpu_io_ops gpu_io_threads = {
	.name = "threads",
	.create = threads_create,
	.destroy = threads_destroy,
	.read = threads_read,
	.wait = threads_wait,
};
