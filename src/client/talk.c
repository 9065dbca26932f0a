/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions over the socket: messages with descriptors.
 *
 * A question is sent again when the server was replaced meanwhile; an answer
 * to an earlier question (its asker gave up) is dropped with its descriptors.
 */
#include "client/client.h"
#include <poll.h>

void answer_fini(struct answer *a)
{
	for (unsigned i = 0; i < a->n_fds; i++)
		a->fds[i] = fd_close(a->fds[i]);
	a->n_fds = 0;
}

int talk_wait(int socket, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = socket, .events = events };

	for (;;) {
		uint64_t now = clock_ns();
		uint64_t ms =
			now >= deadline ? 0 : DIV_UP(deadline - now, NS_PER_MS);
		int n = poll(&p, 1, (int)MIN(ms, (uint64_t)60000));

		if (n < 0 && errno != EINTR)
			return -errno;
		/* What was sent before the end can still be read. */
		if (n == 1 && p.revents & events)
			return 0;
		if (n == 1)
			return -ENOTCONN;
		if (n == 0 && now >= deadline)
			return -ETIMEDOUT;
	}
}

int talk_send(int socket, const union msg *m, uint64_t deadline)
{
	for (;;) {
		int r = segment_send(socket, m, m->head.bytes, NULL, 0);

		if (r == -EPIPE || r == -ECONNRESET)
			return -ENOTCONN;
		if (r != -EAGAIN)
			return r;
		r = talk_wait(socket, POLLOUT, deadline);
		if (r)
			return r;
	}
}

int talk_receive(int socket, uint64_t deadline, struct answer *ret_answer)
{
	uint8_t raw[MSG_MAX];
	size_t len = 0;
	int r;

	ret_answer->n_fds = 0;
	do {
		r = talk_wait(socket, POLLIN, deadline);
		if (r == 0)
			r = segment_recv(socket, raw, sizeof(raw),
					 ret_answer->fds, &ret_answer->n_fds,
					 &len);
	} while (r == -EAGAIN || r == -EINTR);
	if (r < 0)
		return r == -ECONNRESET ? -ENOTCONN : r;
	if (len == 0)
		return -ENOTCONN;
	r = msg_check(raw, len, &ret_answer->msg);
	if (r)
		answer_fini(ret_answer);
	return r;
}

/* The error of an answer, or 0 when it is what was asked for. */
static int judge(const oc_client *c, const union msg *question,
		 const union msg *m)
{
	if (m->head.type == MSG_ERROR) {
		int error = m->error.error;

		if (error >= 0 || error < -4095)
			error = -EPROTO;
		return client_fail(c, error, "%s", m->error.text);
	}
	if (m->head.type != question->head.type)
		return client_fail(c, -EPROTO,
				   "the server answered with another message");
	return 0;
}

/* Waits for the answer until the deadline or a new server. -EAGAIN: ask
 * again. */
static int await(oc_client *c, const union msg *question, uint64_t deadline,
		 struct answer *ret_answer)
{
	uint64_t epoch = shared_load64_acquire(&c->meta->header.server_epoch);
	int r;

	for (;;) {
		uint64_t slice = clock_ns() + CLIENT_SLICE_NS;

		r = talk_receive(c->socket, MIN(slice, deadline), ret_answer);
		if (r == 0) {
			if (ret_answer->msg.head.seq == question->head.seq)
				return judge(c, question, &ret_answer->msg);
			answer_fini(ret_answer);
			continue;
		}
		if (r != -ETIMEDOUT || clock_ns() >= deadline)
			return r;
		r = client_gone(c);
		if (r)
			return r;
		if (shared_load64_acquire(&c->meta->header.server_epoch) !=
		    epoch)
			return -EAGAIN;
	}
}

int talk_ask(oc_client *c, union msg *question, uint64_t deadline,
	     struct answer *ret_answer)
{
	int r;

	question->head.seq = ++c->msg_seq;
	do {
		ret_answer->n_fds = 0;
		r = talk_send(c->socket, question, deadline);
		if (r == 0)
			r = await(c, question, deadline, ret_answer);
	} while (r == -EAGAIN);
	if (r)
		answer_fini(ret_answer);
	if (r == -ETIMEDOUT)
		return client_fail(c, r,
				   "no answer to a question on the node's "
				   "socket: is the server overloaded?");
	if (r == -ENOTCONN)
		return client_fail(c, r,
				   "the node's keeper has ended: connect "
				   "again when it runs");
	return r;
}
