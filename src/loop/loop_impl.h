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

#include <sys/socket.h>
#include <sys/uio.h>
#include "loop/loop.h"

#define LOOP_FETCH 256 /* events taken by one loop_run */

/* A tag with this bit belongs to an operation: the rest is the backend's. */
#define LOOP_TAG_OP (1ull << 63)

struct loop_watch {
	loop_fn fn; /* NULL: this number is not registered */
	void *ctx;
	unsigned events;
	uint32_t generation;
	bool armed; /* io_uring: a poll is with the kernel */

	/* operations: only while fn is NULL */
	bool used; /* by operations, and not forgotten since */
	struct loop_op *in, *out;
	/* epoll: what it watches for (0: not registered yet); whether the last
	 * try found nothing to do, and nothing was heard since; whether the
	 * stream has something besides bytes, which a short read may have left
	 * behind */
	uint32_t interest;
	bool in_blocked, out_blocked, odd;
};

struct loop_event {
	uint64_t tag;
	unsigned events;
	int32_t res; /* of an operation */
	uint32_t flags;
};

enum op_kind { OP_SOON, OP_RECEIVE, OP_ANY, OP_SEND };

/* Where an operation is, and which list it is in. */
enum op_at {
	OP_REST,  /* the caller's, in no list */
	OP_DUE,	  /* to be tried or given to the kernel */
	OP_WAITS, /* with the kernel; epoll: for readiness */
	OP_DONE,  /* its callback is due, with `result` */
};

/* What is in loop_op.private_. */
struct op_state {
	int fd;
	uint8_t kind, at, flags;
	bool cancelled;
	unsigned n_pieces, piece; /* all, and the first that is not sent yet */
	size_t len;		  /* asked for */
	size_t moved;
	int64_t result;
	union {
		char *into;
		struct iovec pieces[LOOP_PIECES];
	};
	struct msghdr header; /* io_uring reads it when it is submitted */
} __attribute__((may_alias));

_Static_assert(sizeof(struct op_state) <=
		       sizeof(((struct loop_op *)NULL)->private_),
	       "loop.h leaves room for it");

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

	/* Operations. One that is in `due` is begun by wait() or work(). */
	void (*cancel)(struct loop *l, struct loop_op *op); /* it waits */
	/* An event with LOOP_TAG_OP. Callbacks called. */
	int (*completed)(struct loop *l, const struct loop_event *e);
	int (*work)(struct loop *l); /* after all events; callbacks called */
	void (*forget)(struct loop *l, int fd);
};

struct loop {
	const struct loop_ops *ops;
	void *backend;		    /* its own state */
	struct loop_watch *watches; /* by descriptor number */
	unsigned n_watches;
	uint32_t generation;
	bool running;
	bool closing; /* loop_destroy: no operation starts any more */
	/* Heads of rings: see enum op_at. `doomed` wait as those in `waiting`
	 * do, but the kernel has not been asked yet to end them (io_uring). */
	struct loop_op due, waiting, doomed, done;
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

/* Makes watches[fd] exist. May move all of them. */
int loop_make_room(struct loop *l, int fd);

/* ---- operations -------------------------------------------------------------- */

static inline struct op_state *op_state(struct loop_op *op)
{
	return (struct op_state *)op->private_;
}

static inline void ops_init(struct loop_op *head)
{
	head->next = head->prev = head;
}

static inline struct loop_op *ops_first(const struct loop_op *head)
{
	return head->next == head ? NULL : head->next;
}

static inline void ops_unlink(struct loop_op *op)
{
	op->prev->next = op->next;
	op->next->prev = op->prev;
}

static inline void ops_append(struct loop_op *head, struct loop_op *op)
{
	op->next = head;
	op->prev = head->prev;
	op->prev->next = op;
	head->prev = op;
}

static inline void ops_move(struct loop_op *head, struct loop_op *op,
			    enum op_at at)
{
	ops_unlink(op);
	ops_append(head, op);
	op_state(op)->at = (uint8_t)at;
}

/* All of `from`, in their order, to the empty `to`. */
static inline void ops_take(struct loop_op *to, struct loop_op *from)
{
	ops_init(to);
	if (!ops_first(from))
		return;
	*to = *from;
	to->next->prev = to->prev->next = to;
	ops_init(from);
}

/* All of `from`, in their order, before all of `to`. */
static inline void ops_take_first(struct loop_op *to, struct loop_op *from)
{
	if (!ops_first(from))
		return;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	from->next->prev = to;
	to->next = from->next;
	ops_init(from);
}

/* What a try that moved n bytes (0: the end) or failed (-errno) means: whether
 * the operation is over, and with which result. */
bool op_over(struct loop_op *op, int64_t n, int64_t *ret_result);
/* Ends it: the callback, now. It is in a list. */
void op_end(struct loop *l, struct loop_op *op, const char *data,
	    int64_t result);
/* The same by the next run. */
void op_end_later(struct loop *l, struct loop_op *op, int64_t result);
/* Callbacks of `done`; those that come meanwhile stay. How many. */
int ops_run_done(struct loop *l);
/* Asks all to end, for loop_destroy. */
void ops_cancel_all(struct loop *l);
static inline bool ops_any(const struct loop *l)
{
	return ops_first(&l->due) || ops_first(&l->waiting) ||
	       ops_first(&l->doomed) || ops_first(&l->done);
}

#endif
