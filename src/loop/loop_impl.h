/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to loop/: what the common part and the two backends share.
 *
 * Each registration has a generation, and every change of interest a new one.
 * It travels with the kernel's event, so that an event of an earlier
 * registration of the same number is recognised and dropped. Dropping is safe:
 * readiness is level-triggered, what still holds is told again.
 */
#ifndef ONECOPY_LOOP_LOOP_IMPL_H
#define ONECOPY_LOOP_LOOP_IMPL_H

#include "loop/loop.h"

#define LOOP_FETCH 256 /* events taken by one loop_run */

struct loop_watch {
	loop_fn fn; /* NULL: this number is not registered */
	void *ctx;
	unsigned events;
	uint32_t generation;
	bool armed; /* io_uring: a poll is with the kernel */
};

struct loop_event {
	uint64_t tag;
	unsigned events;
};

struct loop_ops {
	const char *name;
	int (*open)(struct loop *l); /* -ENOSYS: not to be had here */
	void (*close)(struct loop *l);
	int (*add)(struct loop *l, int fd);
	/* The watch has its new interest and generation already. */
	int (*change)(struct loop *l, int fd, uint64_t old_tag);
	void (*remove)(struct loop *l, int fd);
	/* After a callback, if the registration is still the same. */
	int (*again)(struct loop *l, int fd);
	/* Fills l->fetched; number or -errno; EINTR and timeout are 0. */
	int (*wait)(struct loop *l, uint64_t timeout_ns);
};

struct loop {
	const struct loop_ops *ops;
	void *backend;		    /* its own state */
	struct loop_watch *watches; /* by descriptor number */
	unsigned n_watches;
	uint32_t generation;
	bool running;
	struct loop_event fetched[LOOP_FETCH];
};

extern const struct loop_ops loop_uring_ops;
extern const struct loop_ops loop_epoll_ops;

static inline uint64_t loop_tag(const struct loop *l, int fd)
{
	return (uint64_t)l->watches[fd].generation << 32 | (uint32_t)fd;
}

/* The registration that a tag was made for, or NULL when it is gone. */
static inline struct loop_watch *loop_tagged(struct loop *l, uint64_t tag)
{
	uint32_t fd = (uint32_t)tag;

	if (fd >= l->n_watches || !l->watches[fd].fn ||
	    l->watches[fd].generation != tag >> 32)
		return NULL;
	return &l->watches[fd];
}

#endif
