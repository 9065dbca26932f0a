/* SPDX-License-Identifier: Apache-2.0 */
/* The door itself: made and ended, accepting, ticks, time-outs. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "front/peer.h"
#include "front/resp/internal.h"

#define ACCEPT_TURN 64u
#define LOG_LINES   10u /* a second */
/* Descriptors kept for clients of the library, for HTTP, for slabs. */
#define FDS_KEPT 128
/* Who stands still gets no longer than this while others wait for room, or when
 * memory for what is half done runs short. */
#define STALL_CROWDED_NS (1 * NS_PER_S)
/* How long a handshake may take, while there are few and while others wait. */
#define SHAKE_NS	 (10 * NS_PER_S)
#define SHAKE_CROWDED_NS (1 * NS_PER_S)

void resp_log(struct resp_door *d, const char *fmt, ...)
{
	uint64_t second = d->now_ns / NS_PER_S;
	char text[256];
	va_list args;

	if (second != d->log_second)
		d->log_lines = 0;
	d->log_second = second;
	if (d->log_lines++ >= LOG_LINES)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_warn("resp: %s", text);
}

/* ---- accepting ------------------------------------------------------------------ */

static void refuse_one(struct resp_door *d, int fd)
{
	static const char full[] = "-ERR max number of clients reached\r\n";

	/* if it cannot be told, it sees the end */
	if (!d->options.tls &&
	    send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0;
	close(fd);
	door_count(&d->counts, DOOR_NO_TENANT, DOOR_C_refused, 1);
	resp_log(d, "connection refused: %u are open, %u may be", d->n_conns,
		 d->options.max_connections);
}

static void on_listen(void *ctx, int fd, unsigned events)
{
	struct resp_door *d = ctx;

	(void)events;
	for (unsigned i = 0; i < ACCEPT_TURN; i++) {
		int sock;

		if (d->n_shaking >= RESP_SHAKING_MAX) {
			loop_remove(d->options.loop, fd);
			d->accepting = false;
			return;
		}
		sock = fault_point(FAULT_IO)
			       ? -1
			       : accept4(fd, NULL, NULL,
					 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (sock < 0 && (errno == EMFILE || errno == ENFILE ||
				 errno == ENOBUFS || errno == ENOMEM)) {
			/* until the next tick: it would be told at once again */
			loop_remove(d->options.loop, fd);
			d->accepting = false;
		}
		if (sock < 0)
			return;
		if (d->n_conns >= d->options.max_connections ||
		    sock >= d->fd_end)
			refuse_one(d, sock);
		else if (conn_open(d, sock) < 0)
			door_count(&d->counts, DOOR_NO_TENANT, DOOR_C_refused,
				   1);
	}
}

/* Handshakes that are over or take too long. */
static void end_shaking(struct resp_door *d)
{
	uint64_t limit = d->n_shaking >= RESP_SHAKING_MAX ? SHAKE_CROWDED_NS
							  : SHAKE_NS;

	for (uint32_t i = 0; d->n_shaking && i < d->conn_end; i++) {
		struct conn *c = d->conn[i];

		if (!c || !c->shaking)
			continue;
		if (stream_shaken(c->stream)) {
			c->shaking = false;
			d->n_shaking--;
		} else if (d->now_ns - c->born_ns > limit) {
			resp_count(c, DOOR_C_stalled, 1);
			conn_close(c);
		}
	}
}

static void accept_again(struct resp_door *d)
{
	if (!d->accepting && d->n_shaking < RESP_SHAKING_MAX)
		d->accepting = loop_add(d->options.loop, d->options.listen_fd,
					LOOP_IN, on_listen, d) == 0;
}

static void address_text(const struct sockaddr_storage *a, char text[64])
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;
	char host[INET6_ADDRSTRLEN] = "?";

	if (a->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
		snprintf(text, 64, "[%s]:%u", host, ntohs(six->sin6_port));
	} else {
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
		snprintf(text, 64, "%s:%u", host, ntohs(four->sin_port));
	}
}

void conn_addresses(const struct conn *c, struct conn_address *ret)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	*ret = (struct conn_address){ "?", "?" };
	if (getpeername(stream_fd(c->stream), (void *)&a, &len) == 0)
		address_text(&a, ret->peer);
	len = sizeof(a);
	if (getsockname(stream_fd(c->stream), (void *)&a, &len) == 0)
		address_text(&a, ret->own);
}

/* ---- time ----------------------------------------------------------------------- */

static void free_dead(struct resp_door *d)
{
	struct conn *c;

	while ((c = d->dead)) {
		d->dead = c->busy_next;
		free(c);
	}
}

/* Waiting for the store or for its turn is not the peer's fault. */
static bool stalled(const struct resp_door *d, const struct conn *c,
		    uint64_t limit)
{
	return c->state != CONN_ROOM && c->state != CONN_WALK &&
	       c->state != CONN_BELOW && c->state != CONN_TURN &&
	       d->now_ns - c->step_ns > limit;
}

static bool scarce(const struct resp_door *d)
{
	return d->n_queued || store_waiting(d->options.store) ||
	       d->input_bytes > RESP_INPUT_ALL / 2 ||
	       d->out_bytes > RESP_OUT_ALL / 2;
}

/* A step out is a large piece; a slow peer that takes some of it stands not
 * still. Asked before it is ended, not as it goes. */
static bool takes_some(struct conn *c, uint64_t least)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	uint64_t before = c->acked;

	if (c->state != CONN_SEND && !c->out_len)
		return false;
	if (getsockopt(stream_fd(c->stream), IPPROTO_TCP, TCP_INFO, &info,
		       &len) < 0)
		return false;
	c->acked = info.tcpi_bytes_acked;
	return c->acked - before >= least;
}

static void log_ended(struct conn *c)
{
	struct conn_address a;

	conn_addresses(c, &a);
	resp_log(c->door,
		 "%s was ended: it stood still, or was too slow while "
		 "others wait",
		 a.peer);
}

/* While others wait for room, who fills a frame does so at a pace: a byte now and
 * then would hold it for ever. */
static bool too_slow(const struct resp_door *d, struct conn *c)
{
	uint64_t got = c->fill ? c->fill->got : 0;

	if (c->state != CONN_FILL || c->pace_fill != c->fill ||
	    got - c->pace_got >= RESP_SLOW) {
		c->pace_fill = c->state == CONN_FILL ? c->fill : NULL;
		c->pace_got = got;
		c->pace_ns = d->now_ns;
		return false;
	}
	return d->now_ns - c->pace_ns > STALL_CROWDED_NS;
}

static void end_slow(struct resp_door *d)
{
	struct conn *c = d->busy_first, *next;

	for (; c; c = next) {
		next = c->busy_next;
		if (!too_slow(d, c))
			continue;
		resp_count(c, DOOR_C_stalled, 1);
		log_ended(c);
		conn_close(c);
	}
}

static void end_stalled(struct resp_door *d)
{
	uint64_t limit = d->options.stall_ns;
	struct conn *c, *next;
	bool crowded = scarce(d);

	if (crowded)
		limit = MIN(limit, STALL_CROWDED_NS);
	if (crowded)
		end_slow(d);
	c = d->busy_first;
	/* in the order of their last step */
	for (; c && d->now_ns - c->step_ns > limit; c = next) {
		next = c->busy_next;
		if (!stalled(d, c, limit))
			continue;
		if (takes_some(c, crowded ? RESP_SLOW : 1)) {
			conn_step(c, true);
			continue;
		}
		resp_count(c, DOOR_C_stalled, 1);
		log_ended(c);
		conn_close(c);
	}
}

static void walk_on(struct resp_door *d)
{
	struct conn *c = d->busy_first, *next;
	uint32_t n = d->n_walking;

	/* each once: who goes on walking goes to the end of the list */
	for (; c && n; c = next) {
		next = c->busy_next;
		if (c->state != CONN_WALK)
			continue;
		n--;
		d->n_walking--;
		conn_resume(c, CONN_OPEN);
	}
}

void resp_tick(struct resp_door *d, uint64_t now_ns)
{
	/* what the store answered in this turn was served at a later time */
	d->now_ns = MAX(d->now_ns, now_ns);
	free_dead(d);
	end_shaking(d);
	accept_again(d);
	end_stalled(d);
	if (d->n_queued)
		value_queued(d);
	if (d->n_walking)
		walk_on(d);
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		scan_sweep(&d->tenant[n]);
}

void resp_answer(struct resp_door *d, struct store_client *c,
		 const struct ring_call *call, const struct ring_answer *answer)
{
	uint32_t index = call->seq & RESP_CONNECTIONS_MAX;
	struct conn *conn = index < d->conn_end ? d->conn[index] : NULL;

	/* nobody waits for it any more: cancelled */
	if (!conn || conn->ticket != call->seq || !conn->awaits ||
	    conn->tenant->client != c) {
		struct local_part part;

		if (answer->result == 0 && local_granted(c, answer, &part) == 0)
			local_abandon(c, &part);
		return;
	}
	value_granted(conn, answer);
}

/* ---- beginning and end ------------------------------------------------------------ */

static void keep_options(struct resp_door *d, const struct resp_options *o)
{
	d->options = *o;
	d->options.n_users = MIN(o->n_users, (unsigned)RESP_USERS_MAX);
	d->options.max_connections =
		MIN(o->max_connections, RESP_CONNECTIONS_MAX);
	if (o->n_users)
		memcpy(d->users, o->users,
		       d->options.n_users * sizeof(d->users[0]));
	d->options.users = d->users;
	if (!o->password_sha256)
		return;
	memcpy(d->password_sha256, o->password_sha256,
	       sizeof(d->password_sha256));
	d->options.password_sha256 = d->password_sha256;
}

/* The first number that is not for peers. */
static int descriptors(const struct resp_door *d)
{
	struct rlimit limit = { .rlim_cur = 1024 };
	uint64_t end;

	getrlimit(RLIMIT_NOFILE, &limit);
	end = MIN((uint64_t)limit.rlim_cur, (uint64_t)INT32_MAX);
	end -= MIN(end / 2, (uint64_t)FDS_KEPT);
	if (d->options.max_connections > end)
		log_warn("resp: descriptors for about %llu connections, "
			 "max_connections is %u (see LimitNOFILE, ulimit -n)",
			 (unsigned long long)end, d->options.max_connections);
	return (int)end;
}

int resp_create(const struct resp_options *options, struct resp_door **ret_door)
{
	static const char *const kinds[RESP_KINDS] = { "get", "set", "exists",
						       "other" };
	struct resp_door *d = mem_alloc(sizeof(*d));
	int r = -ENOMEM;

	if (!d)
		return r;
	keep_options(d, options);
	d->counts.name = "resp";
	for (unsigned k = 0; k < RESP_KINDS; k++) {
		d->counts.kind[k] = kinds[k];
		hist_init(&d->counts.time_ns[k]);
	}
	d->parser.large = RESP_INLINE_MAX;
	d->born_ns = d->now_ns = clock_ns();
	d->fd_end = descriptors(d);
	turn_init(d);
	/* a place is free again when its connection is not counted any more */
	d->conn = mem_array(d->options.max_connections, sizeof(*d->conn));
	if (!d->conn)
		goto fail;
	r = peer_known();
	if (r < 0)
		goto fail;
	d->peers_known = r > 0;
	if (!auth_needed(d) && d->options.allowed && !d->options.anybody &&
	    !d->peers_known)
		log_warn("resp: the kernel does not tell users of connections "
			 "over loopback: nobody is let in without a password; "
			 "resp.without: [authentication] lets everybody in");
	r = loop_add(d->options.loop, options->listen_fd, LOOP_IN, on_listen,
		     d);
	if (r < 0)
		goto fail;
	d->accepting = true;
	*ret_door = d;
	return 0;
fail:
	must(r < 0);
	free(d->conn);
	free(d);
	return r;
}

void resp_destroy(struct resp_door *d)
{
	if (!d)
		return;
	if (d->accepting)
		loop_remove(d->options.loop, d->options.listen_fd);
	for (uint32_t i = 0; i < d->conn_end; i++)
		if (d->conn[i])
			conn_close(d->conn[i]);
	/* the kernel gives back what it has of theirs */
	while ((d->n_conns || d->soon_busy) &&
	       loop_run(d->options.loop, NS_PER_MS) >= 0)
		free_dead(d);
	free_dead(d);
	if (d->n_conns) /* the loop has failed, and will end them later */
		return;
	out_fini(&d->out);
	free(d->conn);
	free(d);
}

const struct door *resp_counts(const struct resp_door *d)
{
	return &d->counts;
}
