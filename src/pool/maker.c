/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/maker.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/fault.h"

struct maker {
	pthread_mutex_t lock; /* guards the fields below */
	pthread_cond_t more;
	struct maker_job *asked, **asked_end;
	struct maker_job *done, **done_end;
	bool stop;
	/* written once */
	bool threaded;
	pthread_t thread;
	int fd;
};

static void job_append(struct maker_job ***end, struct maker_job *job)
{
	job->next = NULL;
	**end = job;
	*end = &job->next;
}

static struct maker_job *job_pop(struct maker_job **head,
				 struct maker_job ***end)
{
	struct maker_job *job = *head;

	if (job) {
		*head = job->next;
		if (!*head)
			*end = head;
	}
	return job;
}

static void job_do(struct maker_job *job)
{
	job->segment = SEGMENT_NONE;
	job->result = segment_create_from(&job->source, "onecopy-slab",
					  job->bytes, job->flags,
					  &job->segment);
	if (job->result == -EIO && job->source.kind == SEGMENT_DAX &&
	    segment_dax_lost(&job->source, job->bytes, &job->lost) < 0)
		job->lost = MAKER_LOST_ANY;
}

static void maker_tell(struct maker *m)
{
	uint64_t one = 1;

	/* the counter cannot overflow; a failed write leaves it readable */
	if (write(m->fd, &one, sizeof(one)) < 0)
		return;
}

static void *maker_main(void *arg)
{
	struct maker *m = arg;
	struct maker_job *job;

	pthread_mutex_lock(&m->lock);
	while (!m->stop) {
		job = job_pop(&m->asked, &m->asked_end);
		if (!job) {
			pthread_cond_wait(&m->more, &m->lock);
			continue;
		}
		pthread_mutex_unlock(&m->lock);
		job_do(job);
		pthread_mutex_lock(&m->lock);
		job_append(&m->done_end, job);
		maker_tell(m);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int maker_start(struct maker *m)
{
	sigset_t all, old;
	int r;

	/* signals are the loop's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = fault_point(FAULT_ALLOC)
		    ? ENOMEM
		    : pthread_create(&m->thread, NULL, maker_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int maker_create(bool threaded, struct maker **ret_maker)
{
	struct maker *m = mem_alloc(sizeof(*m));
	int r = -ENOMEM;

	if (!m)
		return r;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->more, NULL);
	m->asked_end = &m->asked;
	m->done_end = &m->done;
	m->fd = fault_point(FAULT_IO) ? -1
				      : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->fd < 0)
		goto fail;
	if (threaded) {
		r = maker_start(m);
		if (r < 0)
			goto fail;
		m->threaded = true;
	}
	*ret_maker = m;
	return 0;
fail:
	maker_destroy(m);
	return r < 0 ? r : -EMFILE;
}

static void jobs_free(struct maker_job *job)
{
	while (job) {
		struct maker_job *next = job->next;

		segment_close(&job->segment);
		free(job);
		job = next;
	}
}

void maker_destroy(struct maker *m)
{
	if (!m)
		return;
	if (m->threaded) {
		pthread_mutex_lock(&m->lock);
		m->stop = true;
		pthread_cond_signal(&m->more);
		pthread_mutex_unlock(&m->lock);
		pthread_join(m->thread, NULL);
	}
	jobs_free(m->asked);
	jobs_free(m->done);
	fd_close(m->fd);
	pthread_cond_destroy(&m->more);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int maker_fd(const struct maker *m)
{
	return m->fd;
}

void maker_ask(struct maker *m, struct maker_job *job)
{
	job->segment = SEGMENT_NONE;
	if (!m->threaded) {
		job_do(job);
		job_append(&m->done_end, job);
		maker_tell(m);
		return;
	}
	pthread_mutex_lock(&m->lock);
	job_append(&m->asked_end, job);
	pthread_cond_signal(&m->more);
	pthread_mutex_unlock(&m->lock);
}

struct maker_job *maker_take(struct maker *m)
{
	struct maker_job *job;
	uint64_t count;

	pthread_mutex_lock(&m->lock);
	job = job_pop(&m->done, &m->done_end);
	if (!job && read(m->fd, &count, sizeof(count)) < 0)
		errno = 0; /* it was not readable */
	pthread_mutex_unlock(&m->lock);
	return job;
}
