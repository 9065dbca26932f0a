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
void loop_destroy(struct loop *l);
const char *loop_backend_name(const struct loop *l);

/* fd stays the caller's; it must be removed before it is closed. -EEXIST,
 * -EBADF, -EPERM; loop_change of an unknown fd: -ENOENT. */
int loop_add(struct loop *l, int fd, unsigned events, loop_fn fn, void *ctx);
int loop_change(struct loop *l, int fd, unsigned events);
void loop_remove(struct loop *l, int fd); /* unknown fd: no effect */

/* Waits at most timeout_ns (0: polls; UINT64_MAX: for ever), calls callbacks.
 * Number of events handled, or -errno (EINTR is 0 events). */
int loop_run(struct loop *l, uint64_t timeout_ns);

#endif
