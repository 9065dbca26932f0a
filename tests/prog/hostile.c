/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/hostile.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/fault.h"

int hostile_socket(const struct live *n)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	CHECK_INT(fd, >=, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", n->socket);
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	close(fd);
	return -errno;
}

unsigned hostile_hear(int sock, union msg *ret_msg)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int fds[SEGMENT_FDS_MAX];
	unsigned n = 0;
	size_t len = 0;
	int r;

	CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)), ==, 1);
	r = segment_recv(sock, ret_msg, sizeof(*ret_msg), fds, &n, &len);
	for (unsigned i = 0; i < n; i++)
		fd_close(fds[i]);
	return r || !len ? 0 : ret_msg->head.type;
}

void hostile_join_as(const struct live *n, struct hostile *h,
		     const char *tenant)
{
	int fds[SEGMENT_FDS_MAX];
	struct segment s;
	unsigned got = 0;
	size_t len = 0;
	union msg m;

	memset(h, 0, sizeof(*h));
	h->sock = hostile_socket(n);
	CHECK_INT(h->sock, >=, 0);
	msg_init(&m, MSG_HELLO, 1);
	m.hello.stamp = layout_stamp();
	msg_text(m.hello.tenant, MSG_NAME, tenant);
	msg_text(m.hello.name, MSG_NAME, "hostile");
	CHECK_OK(segment_send(h->sock, &m, m.head.bytes, NULL, 0));
	CHECK_OK(segment_recv(h->sock, &m, sizeof(m), fds, &got, &len));
	CHECK_INT(m.head.type, ==, MSG_WELCOME);
	CHECK_INT(got, ==, 4);
	h->id = m.welcome.client_id;
	h->client_bytes = m.welcome.client_bytes;
	h->pins = m.welcome.pins;
	h->overflow = m.welcome.overflow;
	CHECK_OK(segment_attach(fds[2], h->client_bytes, true, &s));
	h->seg = s.base;
	h->bell = fds[3];
	fd_close(fds[0]);
	fd_close(fds[1]);
	fd_close(fds[2]);
}

void hostile_join(const struct live *n, struct hostile *h)
{
	hostile_join_as(n, h, "default");
}

int hostile_region(struct hostile *h, uint32_t region, uint64_t generation,
		   bool *ret_writable, int ret_fds[2])
{
	int fds[SEGMENT_FDS_MAX];
	unsigned got = 0;
	size_t len = 0;
	union msg m;

	msg_init(&m, MSG_REGION, ++h->seq);
	m.region.region = region;
	m.region.generation = generation;
	CHECK_OK(segment_send(h->sock, &m, m.head.bytes, NULL, 0));
	CHECK_OK(segment_recv(h->sock, &m, sizeof(m), fds, &got, &len));
	if (m.head.type == MSG_ERROR)
		return m.error.error;
	CHECK_INT(m.head.type, ==, MSG_REGION);
	CHECK_INT(got, ==, 2);
	*ret_writable = m.region.writable;
	memcpy(ret_fds, fds, 2 * sizeof(int));
	return 0;
}

void hostile_leave(struct hostile *h)
{
	munmap(h->seg, h->client_bytes);
	close(h->sock);
	close(h->bell);
}

void hostile_push(struct hostile *h, uint32_t slot, struct ring_call call)
{
	uint64_t tail = shared_load64(&h->seg->header.tail);

	call.seq = ++h->seq;
	call.slot = slot;
	ring_req_store(&h->seg->req[slot], &call, true);
	shared_store32(&h->seg->ring[tail % RING_SLOTS], slot);
	shared_store64_release(&h->seg->header.tail, tail + 1);
	shared_fence();
	/* a full queue is a bell that rings already */
	if (send(h->bell, "", 1, MSG_NOSIGNAL) < 0)
		CHECK_INT(errno, ==, EAGAIN);
}

struct ring_answer hostile_ask(const struct live *n, struct hostile *h,
			       uint32_t slot, struct ring_call call)
{
	struct ring_answer a;

	hostile_push(h, slot, call);
	LIVE_WAIT(n, ring_resp_load(&h->seg->resp[slot], h->seq, &a));
	return a;
}
