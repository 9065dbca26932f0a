/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the loop that does not depend on the backend: registrations and
 * the order of callbacks. Callbacks may grow the table, so no pointer into it
 * is kept across one.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/log.h"
#include "loop/loop_impl.h"

static int open_with(struct loop *l, const struct loop_ops *ops)
{
	int err;

	must(ops->name && ops->open && ops->close && ops->add && ops->change &&
	     ops->remove && ops->again && ops->wait);
	must(ops->cancel && ops->completed && ops->work && ops->forget);
	err = ops->open(l);
	if (err == 0)
		l->ops = ops;
	return err;
}

int loop_create(enum loop_backend backend, struct loop **ret_loop)
{
	struct loop *l = mem_alloc(sizeof(*l));
	int err = -ENOSYS;

	if (!l)
		return -ENOMEM;
	ops_init(&l->due);
	ops_init(&l->waiting);
	ops_init(&l->doomed);
	ops_init(&l->done);
	if (backend != LOOP_EPOLL)
		err = open_with(l, &loop_uring_ops);
	/* io_uring is refused by containers' filters and by limits on locked
	 * memory: whatever the reason, epoll does the same work. */
	if (backend == LOOP_EPOLL || (backend == LOOP_AUTO && err < 0))
		err = open_with(l, &loop_epoll_ops);
	if (err < 0) {
		free(l);
		return err;
	}
	*ret_loop = l;
	return 0;
}

/* The kernel may still write into their memory, so it is waited for: it ends
 * what was cancelled at once. */
static void end_operations(struct loop *l)
{
	l->closing = l->running = true;
	while (ops_any(l)) {
		int n;

		ops_cancel_all(l);
		n = l->ops->wait(l, ops_first(&l->done) ? 0 : UINT64_MAX);
		must(n >= 0);
		for (int i = 0; i < n; i++)
			if (l->fetched[i].tag & LOOP_TAG_OP)
				l->ops->completed(l, &l->fetched[i]);
		ops_run_done(l);
		l->ops->work(l);
	}
	l->running = false;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	must(!l->running);
	end_operations(l);
	l->ops->close(l);
	free(l->watches);
	free(l);
}

const char *loop_backend_name(const struct loop *l)
{
	return l->ops->name;
}

int loop_make_room(struct loop *l, int fd)
{
	unsigned n = (unsigned)round_up_pow2((uint64_t)fd + 1);
	struct loop_watch *grown;

	if ((unsigned)fd < l->n_watches)
		return 0;
	n = MAX(n, 64u);
	grown = mem_grow(l->watches, n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + l->n_watches, 0, (n - l->n_watches) * sizeof(*grown));
	l->watches = grown;
	l->n_watches = n;
	return 0;
}

static uint32_t next_generation(struct loop *l)
{
	/* tag 0 is nobody's; the highest bit is LOOP_TAG_OP */
	l->generation = l->generation >= INT32_MAX ? 1 : l->generation + 1;
	return l->generation;
}

static struct loop_watch *registered(struct loop *l, int fd)
{
	if (fd < 0 || (unsigned)fd >= l->n_watches || !l->watches[fd].fn)
		return NULL;
	return &l->watches[fd];
}

/* The backends differ in what they say to these. */
static int check_fd(int fd)
{
	struct stat info;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &info) < 0)
		return -errno;
	return S_ISREG(info.st_mode) || S_ISDIR(info.st_mode) ? -EPERM : 0;
}

int loop_add(struct loop *l, int fd, unsigned events, loop_fn fn, void *ctx)
{
	int err;

	if (fd < 0 || !fn)
		return -EINVAL;
	if (registered(l, fd))
		return -EEXIST;
	err = check_fd(fd);
	if (err == 0)
		err = loop_make_room(l, fd);
	if (err < 0)
		return err;
	if (l->watches[fd].used)
		return -EEXIST;
	l->watches[fd] = (struct loop_watch){
		.fn = fn,
		.ctx = ctx,
		.events = events,
		.generation = next_generation(l),
	};
	err = l->ops->add(l, fd);
	if (err < 0)
		l->watches[fd].fn = NULL;
	return err;
}

int loop_change(struct loop *l, int fd, unsigned events)
{
	struct loop_watch *w = registered(l, fd);
	struct loop_watch before;
	uint64_t old_tag;
	int err;

	if (!w)
		return -ENOENT;
	if (w->events == events)
		return 0;
	if (fault_point(FAULT_IO))
		return -EIO;
	before = *w;
	old_tag = loop_tag(l, fd);
	w->events = events;
	w->generation = next_generation(l);
	err = l->ops->change(l, fd, old_tag);
	if (err < 0)
		*w = before;
	return err;
}

void loop_remove(struct loop *l, int fd)
{
	struct loop_watch *w = registered(l, fd);

	if (!w)
		return;
	l->ops->remove(l, fd);
	w->fn = NULL;
}

/* Whether a callback was called. */
static bool dispatch(struct loop *l, const struct loop_event *e, int *err)
{
	struct loop_watch *w = loop_tagged(l, e->tag);
	int fd = (int)(uint32_t)e->tag;
	unsigned events;
	int again;

	if (e->tag & LOOP_TAG_OP)
		return l->ops->completed(l, e) > 0;
	if (!w)
		return false;
	events = e->events & (w->events | LOOP_HUP);
	if (events)
		w->fn(w->ctx, fd, events);
	if (loop_tagged(l, e->tag)) {
		again = l->ops->again(l, fd);
		if (again < 0)
			*err = again;
	}
	return events != 0;
}

int loop_run(struct loop *l, uint64_t timeout_ns)
{
	int n, handled = 0, err = 0;

	must(!l->running);
	if (fault_point(FAULT_IO))
		return -EIO;
	n = l->ops->wait(l, ops_first(&l->done) ? 0 : timeout_ns);
	if (n < 0)
		return n;
	l->running = true;
	for (int i = 0; i < n; i++)
		handled += dispatch(l, &l->fetched[i], &err);
	handled += ops_run_done(l);
	handled += l->ops->work(l);
	l->running = false;
	return err < 0 ? err : handled;
}
