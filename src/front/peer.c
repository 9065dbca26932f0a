/* SPDX-License-Identifier: Apache-2.0 */
#include "front/peer.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 req;
};

/* Address and port as sock_diag wants them; an IPv4 address that is written as
 * one of IPv6 belongs to a socket of either family. */
static int split(const struct sockaddr_storage *a, uint16_t *port,
		 uint32_t words[4])
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	memset(words, 0, 4 * sizeof(words[0]));
	if (a->ss_family == AF_INET6) {
		*port = six->sin6_port;
		memcpy(words, &six->sin6_addr, 16);
		return 0;
	}
	*port = four->sin_port;
	words[0] = four->sin_addr.s_addr;
	return a->ss_family == AF_INET ? 0 : -EAFNOSUPPORT;
}

/* The peer's socket, so its source is our destination. */
static int fill(int fd, struct question *q)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
	struct inet_diag_sockid *id = &q->req.id;
	int r;

	if (getsockname(fd, (void *)&own, &own_len) < 0 ||
	    getpeername(fd, (void *)&peer, &peer_len) < 0)
		return -errno;
	*q = (struct question){
		.head = { .nlmsg_len = sizeof(*q),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_family = (uint8_t)peer.ss_family,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = ~0u },
	};
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	r = split(&peer, &id->idiag_sport, id->idiag_src);
	return r < 0 ? r : split(&own, &id->idiag_dport, id->idiag_dst);
}

static int ask(int sock, const struct question *q, uint32_t *ret_uid)
{
	union {
		struct nlmsghdr head;
		char room[1024];
	} answer;
	const struct inet_diag_msg *msg = NLMSG_DATA(&answer.head);
	const struct nlmsgerr *error = NLMSG_DATA(&answer.head);
	ssize_t n;

	if (send(sock, q, sizeof(*q), MSG_DONTWAIT) < 0)
		return -errno;
	/* the kernel answers before send() returns */
	n = recv(sock, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(&answer.head, (size_t)n))
		return -EPROTO;
	if (answer.head.nlmsg_type == NLMSG_ERROR &&
	    answer.head.nlmsg_len >= NLMSG_LENGTH(sizeof(*error)))
		return error->error ? error->error : -ENOENT;
	if (answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    answer.head.nlmsg_len < NLMSG_LENGTH(sizeof(*msg)))
		return -EPROTO;
	/* one that was closed, and waits, has no user any more; where it is gone
	 * altogether the kernel names a listener on its port */
	if (msg->idiag_inode == 0 ||
	    msg->id.idiag_sport != q->req.id.idiag_sport ||
	    msg->id.idiag_dport != q->req.id.idiag_dport)
		return -ENOENT;
	*ret_uid = msg->idiag_uid;
	return 0;
}

int peer_uid(int fd, uint32_t *ret_uid)
{
	CLEANUP(fd_close_at) int sock = -1;
	struct question q;
	int r = fill(fd, &q);

	if (r < 0)
		return r;
	if (fault_point(FAULT_IO))
		return -EIO;
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      NETLINK_SOCK_DIAG);
	if (sock < 0)
		return -errno;
	return ask(sock, &q, ret_uid);
}

/* Does a failure say something about the kernel, or about this moment? */
static int verdict(int r)
{
	switch (r) {
	case -EIO:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return r;
	default:
		return 0;
	}
}

int peer_known(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CLEANUP(fd_close_at) int listener = -1, near = -1, far = -1;
	socklen_t len = sizeof(a);
	uint32_t uid;
	int r;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || far < 0 || bind(listener, (void *)&a, len) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (void *)&a, &len) < 0 ||
	    connect(far, (void *)&a, len) < 0)
		return verdict(-errno);
	near = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (near < 0)
		return verdict(-errno);
	r = peer_uid(near, &uid);
	return r < 0 ? verdict(r) : uid == geteuid();
}
