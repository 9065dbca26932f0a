/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loop of one thread: readiness of descriptors, over io_uring's polls or
 * epoll where io_uring is refused; the same behaviour either way
 * (level-triggered). Callbacks may add and remove any descriptor, their own
 * included; after loop_remove() returns, its callback is not called again,
 * even when an event for it was already fetched.
 *
 * An event says that a descriptor was ready when the kernel told it; what
 * somebody read since then is gone. So callbacks read and write without
 * blocking. Regular files and folders are refused (-EPERM).
 *
 * All calls come from the thread that created the loop.
 */
#ifndef ONECOPY_LOOP_LOOP_H
#define ONECOPY_LOOP_LOOP_H

#include "base/compiler.h"

struct loop;

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };
enum loop_events { LOOP_IN = 1, LOOP_OUT = 4, LOOP_HUP = 16 /* always told */ };

typedef void (*loop_fn)(void *ctx, int fd, unsigned events);

/* -ENOSYS when the backend asked for is not to be had. */
int loop_create(enum loop_backend backend, struct loop **ret_loop);
/* Operations under way are ended: each has its callback, from here, with
 * -ECANCELED or what it had come to, and can start no other (-ECANCELED).
 * Registrations simply end. */
void loop_destroy(struct loop *l);
const char *loop_backend_name(const struct loop *l);

/* fd stays the caller's; it must be removed before it is closed. -EEXIST,
 * -EBADF, -EPERM; loop_change of an unknown fd: -ENOENT. */
int loop_add(struct loop *l, int fd, unsigned events, loop_fn fn, void *ctx);
int loop_change(struct loop *l, int fd, unsigned events);
void loop_remove(struct loop *l, int fd); /* unknown fd: no effect */

/* ---- operations: the loop does the I/O and tells how it went -----------------
 *
 * The kernel (io_uring), or the loop itself when a descriptor is ready (epoll),
 * moves bytes between a socket and the caller's memory. Callbacks come from
 * loop_run() alone, never from the call that starts or cancels an operation,
 * and exactly one for each that was started; until it has come, the loop_op,
 * the memory and the descriptor (open, unchanged) belong to the loop. Callbacks
 * may start operations, also with the same loop_op, or free it.
 *
 * One receiving and one sending operation of a descriptor at a time (-EBUSY). A
 * descriptor is used by operations or by loop_add(), not both (-EEXIST).
 * Sockets only, non-blocking or not; what is not a socket is told by the
 * callback.
 */
struct loop_op;
/* result: bytes, 0 (receiving: the peer has closed its side), or -errno;
 * -ECANCELED after loop_cancel(), unless it was done before, or bytes had been
 * moved already (then their number). */
typedef void (*loop_op_fn)(struct loop_op *op, int64_t result);

/* All zero before its first use. */
struct loop_op {
	loop_op_fn fn; /* the caller's */
	/* loop_receive_any(): where the bytes are; during the callback alone */
	const char *data;
	/* the loop's own */
	struct loop_op *next, *prev;
	uint64_t private_[20];
};

/* Most that one loop_receive_any() brings. */
#define LOOP_ANY_BYTES 16384u

enum loop_op_flags {
	/* Nothing is expected yet: do not try before the descriptor is ready. */
	LOOP_NOT_YET = 1,
	/* Receive: all `len` bytes, or what came before the end or an error. */
	LOOP_WHOLE = 2,
	/* Send: more follows at once (MSG_MORE). */
	LOOP_MORE = 4,
};

/* Up to len (> 0) bytes to `into`. 0, or -errno: nothing was started. */
int loop_receive(struct loop *l, struct loop_op *op, int fd, void *into,
		 size_t len, unsigned flags);
/* What there is, `most` (1 .. LOOP_ANY_BYTES) bytes at most, in memory of the
 * loop's: a descriptor that waits so costs no buffer. */
int loop_receive_any(struct loop *l, struct loop_op *op, int fd, size_t most,
		     unsigned flags);
/* All bytes of up to LOOP_PIECES pieces (the array is copied, the bytes are
 * not; together more than 0): the result is their sum, or what was sent before
 * an error, or -errno when that was nothing. SIGPIPE is not raised. */
#define LOOP_PIECES 4
struct iovec;
int loop_send(struct loop *l, struct loop_op *op, int fd,
	      const struct iovec *pieces, unsigned n, unsigned flags);
/* Nothing but a callback (result 0) by the next loop_run(), which does not
 * sleep before it. One that is asked for by such a callback comes a turn later:
 * descriptors have theirs in between. */
void loop_soon(struct loop *l, struct loop_op *op);
/* Asks that it ends soon; its callback comes. After it, or without anything
 * under way: no effect. */
void loop_cancel(struct loop *l, struct loop_op *op);
/* Before a descriptor that operations used is closed, or given to loop_add():
 * the loop keeps it watched between operations, and cannot see that its number
 * is another file. No operation of it is under way. Unknown fd: no effect. */
void loop_forget(struct loop *l, int fd);

/* Waits at most timeout_ns (0: polls; UINT64_MAX: for ever), calls callbacks.
 * Number of events handled, or -errno (EINTR is 0 events). */
int loop_run(struct loop *l, uint64_t timeout_ns);

#endif
