/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick: what the kernel's sockets alone can do. It understands
 * nothing: it receives as many bytes as a request is known to have, into the
 * next place of an area as large as the working set, and answers "+OK" or a
 * value from such a place. One thread, edge-triggered epoll, no allocation.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"
#include "bench_resp_peer.h"

#define BARE_CONNECTIONS 64 /* by descriptor */
#define BARE_SLACK	 PAGE_BYTES

struct bare_link {
	uint64_t got; /* of the request */
	uint8_t *at;  /* where it is received, and answered from */
	struct iovec out[3];
	bool answering;
	char head[48];
};

struct bare {
	const struct bench_bare *what;
	uint8_t *area;
	uint64_t next; /* place in the area */
	struct bare_link link[BARE_CONNECTIONS];
};

static uint64_t bare_value(const struct bare *b)
{
	return atomic_load_explicit(&b->what->value_bytes,
				    memory_order_relaxed);
}

static void bare_place(struct bare *b, struct bare_link *l)
{
	uint64_t bytes = bare_value(b);

	if (b->next + bytes > BENCH_BARE_AREA)
		b->next = 0;
	l->at = b->area + b->next;
	b->next += bytes;
}

static void bare_answer(struct bare *b, struct bare_link *l)
{
	static const uint64_t stamp = BENCH_BARE_STAMP;
	uint64_t bytes = bare_value(b);
	int n;

	l->got = 0;
	l->answering = true;
	memset(l->out, 0, sizeof(l->out));
	l->out[0].iov_base = l->head;
	if (!atomic_load_explicit(&b->what->answers, memory_order_relaxed)) {
		memcpy(l->head, "+OK\r\n", 5);
		l->out[0].iov_len = 5;
		return;
	}
	n = snprintf(l->head, 24, "$%llu\r\n", (unsigned long long)bytes);
	memcpy(l->head + n, &stamp, sizeof(stamp));
	l->out[0].iov_len = (size_t)n + sizeof(stamp);
	l->out[1] = (struct iovec){ l->at, bytes - 2 * sizeof(stamp) };
	memcpy(l->head + 36, &stamp, sizeof(stamp));
	memcpy(l->head + 36 + sizeof(stamp), "\r\n", 2);
	l->out[2] = (struct iovec){ l->head + 36, sizeof(stamp) + 2 };
}

static void bare_sent(struct bare_link *l, size_t n)
{
	size_t left = 0;

	for (int i = 0; i < 3; i++) {
		size_t now = MIN(n, l->out[i].iov_len);

		if (!now)
			continue;
		l->out[i].iov_base = (uint8_t *)l->out[i].iov_base + now;
		l->out[i].iov_len -= now;
		n -= now;
	}
	for (int i = 0; i < 3; i++)
		left += l->out[i].iov_len;
	l->answering = left > 0;
}

/* One step of a connection: 0, -EAGAIN, or it has ended. */
static int bare_step(struct bare *b, struct bare_link *l, int fd)
{
	struct msghdr m = { .msg_iov = l->out, .msg_iovlen = 3 };
	uint64_t want =
		atomic_load_explicit(&b->what->in_bytes, memory_order_relaxed);
	ssize_t n;

	if (l->answering) {
		n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			bare_sent(l, (size_t)n);
		return n < 0 ? -errno : 0;
	}
	if (l->got == 0)
		bare_place(b, l);
	n = recv(fd, l->at + l->got, want - l->got, MSG_DONTWAIT);
	if (n <= 0)
		return n ? -errno : -EPIPE;
	l->got += (uint64_t)n;
	if (l->got == want)
		bare_answer(b, l);
	return 0;
}

static void bare_accept(struct bare *b, int ep, int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
				 .data.fd = fd };

	if (fd < 0)
		return;
	if (fd >= BARE_CONNECTIONS ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0) {
		close(fd);
		return;
	}
	memset(&b->link[fd], 0, sizeof(b->link[fd]));
}

_Noreturn void bench_bare_serve(int listen_fd, const struct bench_bare *what)
{
	struct epoll_event e[32] = { { .events = EPOLLIN,
				       .data.fd = listen_fd } };
	static struct bare b;
	int ep = epoll_create1(EPOLL_CLOEXEC), n, r;

	b.what = what;
	b.area = mmap(NULL, BENCH_BARE_AREA + BARE_SLACK,
		      PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ep < 0 || b.area == MAP_FAILED ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, listen_fd, e) < 0)
		_exit(1);
	for (;;) {
		n = epoll_wait(ep, e, ARRAY_LEN(e), -1);
		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;

			if (fd == listen_fd) {
				bare_accept(&b, ep, fd);
				continue;
			}
			do
				r = bare_step(&b, &b.link[fd], fd);
			while (r == 0 || r == -EINTR);
			if (r != -EAGAIN)
				close(fd);
		}
	}
}
