/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: accepted, watched, ended; and those of a predecessor adopted. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "front/native/session.h"

/* Connections that never say HELLO are closed after this. */
#define HELLO_NS (5 * NS_PER_S)

void log_some(struct native *n, const char *fmt, ...)
{
	uint64_t second = clock_ns() / NS_PER_S;
	char line[256];
	va_list ap;

	if (second != n->log_second) {
		n->log_second = second;
		n->log_lines = 0;
	}
	if (++n->log_lines > 10)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_info("%s", line);
}

static int native_room(struct native *n)
{
	struct session **grown;
	uint32_t cap = n->cap ? 2 * n->cap : 16;

	if (n->n_sessions < n->cap)
		return 0;
	grown = mem_grow(n->session, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	n->session = grown;
	n->cap = cap;
	return 0;
}

int session_open(struct native *n, int sock, struct session **ret_session)
{
	struct session *s;
	int r = native_room(n);

	if (r < 0)
		return r;
	s = mem_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->native = n;
	s->sock = sock;
	s->bell = s->bell_peer = s->pidfd = -1;
	s->segment = SEGMENT_NONE;
	s->born_ns = n->now_ns;
	n->session[n->n_sessions++] = s;
	*ret_session = s;
	return 0;
}

static void unlist_awake(struct session *s)
{
	struct session **link = &s->native->awake;

	while (*link && *link != s)
		link = &(*link)->next_awake;
	if (*link)
		*link = s->next_awake;
	s->awake = false;
}

static void unwatch(struct session *s, int *fd)
{
	if (*fd >= 0)
		loop_remove(s->native->options.loop, *fd);
	*fd = fd_close(*fd);
}

static void close_half(struct session *s)
{
	unlist_awake(s);
	unwatch(s, &s->sock);
	unwatch(s, &s->bell);
	s->bell_peer = fd_close(s->bell_peer);
	segment_close(&s->segment);
	free(s->report);
	s->report = NULL;
	s->n_answered = 0;
	s->notify_due = false;
}

void session_close(struct session *s)
{
	struct native *n = s->native;

	close_half(s);
	unwatch(s, &s->pidfd);
	for (uint32_t i = 0; i < n->n_sessions; i++) {
		if (n->session[i] == s) {
			n->session[i] = n->session[--n->n_sessions];
			break;
		}
	}
	free(s);
}

void session_drop_holds(struct session *s, uint64_t id, uint32_t pool,
			bool keep_pidfd)
{
	const struct hold_ops *hold = s->native->options.hold;

	for (uint32_t k = HOLD_CLIENT_SOCK; k <= HOLD_CLIENT_PIDFD; k++) {
		struct hold_tag tag = { k, pool, id };

		if (k != HOLD_CLIENT_PIDFD || !keep_pidfd)
			hold->drop(hold->ctx, &tag);
	}
}

void session_end(struct session *s, bool died)
{
	struct store_client *c = s->client;
	uint64_t id = c ? c->id : 0;
	uint32_t pool = c ? c->pool->number : 0;
	bool gone = true;

	if (c && died)
		store_client_died(c);
	else if (c && !c->closed)
		gone = store_client_close(c);
	else if (c)
		return; /* closed before; waits for its process */
	if (id)
		session_drop_holds(s, id, pool, !gone);
	if (gone)
		session_close(s);
	else
		close_half(s);
}

void native_ended(void *ctx, struct store_client *c)
{
	struct session *s = c->door;

	(void)ctx;
	session_drop_holds(s, c->id, c->pool->number, false);
	session_close(s);
}

/* The kernel says who may: the same user, or CAP_KILL. */
int native_end(void *ctx, struct store_client *c)
{
	const struct session *s = c->door;

	(void)ctx;
	if (syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0) < 0)
		return -errno;
	return 0;
}

void session_send(struct session *s, union msg *m, const int *fds,
		  unsigned n_fds)
{
	/* A client that does not read its answers loses them: it asks again or
	 * gives up, nobody waits for it. */
	int r = segment_send(s->sock, m, m->head.bytes, fds, n_fds);

	if (r < 0 && r != -EAGAIN && r != -EPIPE && r != -ECONNRESET)
		log_debug("an answer could not be sent: %s", strerror(-r));
}

void session_refuse(struct session *s, uint64_t seq, int error,
		    const char *text)
{
	union msg m;

	msg_error(&m, seq, error, text);
	session_send(s, &m, NULL, 0);
}

static void handle(struct session *s, const union msg *m)
{
	if (!s->client && m->head.type != MSG_HELLO) {
		session_refuse(s, m->head.seq, -EPROTO, "say HELLO first");
		return;
	}
	switch ((enum msg_type)m->head.type) {
	case MSG_HELLO:
		hello_handle(s, &m->hello);
		break;
	case MSG_REGION:
		region_handle(s, &m->region);
		break;
	case MSG_INDEX:
		index_handle(s, &m->index);
		break;
	case MSG_CXL:
		cxl_handle(s, &m->cxl);
		break;
	default:
		session_refuse(s, m->head.seq, -EPROTO,
			       "not a message for a server");
	}
}

static void on_sock(void *ctx, int fd, unsigned events)
{
	struct session *s = ctx;
	uint8_t raw[MSG_MAX];
	int fds[SEGMENT_FDS_MAX];
	unsigned n_fds = 0;
	size_t len = 0;
	union msg m;
	int r = segment_recv(fd, raw, sizeof(raw), fds, &n_fds, &len);

	(void)events;
	for (unsigned i = 0; r == 0 && i < n_fds; i++)
		fd_close(fds[i]); /* nobody asked for them */
	if (r == -EAGAIN)
		return;
	if (r < 0 && r != -EPROTO) {
		session_end(s, false);
		return;
	}
	if (r == 0 && !len) {
		session_end(s, false);
		return;
	}
	if (r == 0)
		r = msg_check(raw, len, &m);
	if (r < 0)
		session_refuse(s, 0, r,
			       r == -EPROTONOSUPPORT
				       ? "another version of the protocol"
				       : "not a message of this protocol");
	else
		handle(s, &m);
	/* a HELLO may have had a token in it */
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(&m, sizeof(m));
}

static void on_bell(void *ctx, int fd, unsigned events)
{
	struct session *s = ctx;
	uint8_t rings[256];
	ssize_t n = recv(fd, rings, sizeof(rings), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		/* it has shut its end down: only its own ring goes unheard */
		loop_remove(s->native->options.loop, fd);
		return;
	}
	(void)events;
	if (s->client && !s->client->closed)
		turn_wake(s);
}

static void on_pidfd(void *ctx, int fd, unsigned events)
{
	struct session *s = ctx;
	char name[LAYOUT_NAME + 1] = "";

	(void)fd;
	(void)events;
	if (s->client && !s->client->closed) {
		shared_load_bytes(name, LAYOUT_NAME, s->client->record->name);
		log_some(
			s->native,
			"client %llu (%s, process %u) has ended: what it held "
			"is back",
			(unsigned long long)s->client->id, name,
			(unsigned)(shared_load64(&s->client->record->pid_uid) >>
				   32));
	}
	session_end(s, true);
}

int session_watch(struct session *s)
{
	struct loop *l = s->native->options.loop;
	int r = 0;

	if (s->sock >= 0)
		r = loop_add(l, s->sock, LOOP_IN, on_sock, s);
	if (r == -EEXIST) /* since it was accepted */
		r = 0;
	if (r == 0 && s->bell >= 0)
		r = loop_add(l, s->bell, LOOP_IN, on_bell, s);
	if (r == 0 && s->pidfd >= 0)
		r = loop_add(l, s->pidfd, LOOP_IN, on_pidfd, s);
	return r;
}

static void drop_silent(struct native *n)
{
	for (uint32_t i = n->n_sessions; i-- > 0;) {
		struct session *s = n->session[i];

		if (!s->client && n->now_ns - s->born_ns > HELLO_NS)
			session_close(s);
	}
}

/* Room for a newcomer: the oldest connection that has said nothing goes. */
static void drop_oldest_silent(struct native *n)
{
	struct session *oldest = NULL;

	for (uint32_t i = 0; i < n->n_sessions; i++) {
		struct session *s = n->session[i];

		if (!s->client && (!oldest || s->born_ns < oldest->born_ns))
			oldest = s;
	}
	if (oldest)
		session_close(oldest);
}

/* Out of descriptors: with the one that is kept for this, the connection that
 * waits is taken and closed; it would be told of again and again. */
static void refuse_one(struct native *n)
{
	n->spare = fd_close(n->spare);
	fd_close(accept4(n->options.listen_fd, NULL, NULL,
			 SOCK_CLOEXEC | SOCK_NONBLOCK));
	n->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_some(n, "a connection was refused: out of descriptors");
}

static void on_listen(void *ctx, int fd, unsigned events)
{
	struct native *n = ctx;
	const int few = 16384;
	struct session *s;
	int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	n->now_ns = clock_ns();
	drop_silent(n);
	if (sock < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_one(n);
	if (sock < 0)
		return;
	if (n->n_sessions >= 2 * n->options.max_clients + 64)
		drop_oldest_silent(n);
	if (n->n_sessions >= 2 * n->options.max_clients + 64 ||
	    session_open(n, sock, &s) < 0) {
		log_some(n, "a connection was refused: too many, or no memory");
		fd_close(sock);
		return;
	}
	/* answers that nobody reads hold descriptors: a few of them are enough */
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &few, sizeof(few));
	if (loop_add(n->options.loop, sock, LOOP_IN, on_sock, s) < 0)
		session_close(s);
}

int native_create(const struct native_options *options,
		  struct native **ret_native)
{
	struct native *n = mem_alloc(sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->options = *options;
	n->now_ns = clock_ns();
	n->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = loop_add(options->loop, options->listen_fd, LOOP_IN, on_listen, n);
	if (r < 0) {
		fd_close(n->spare);
		free(n);
		return r;
	}
	*ret_native = n;
	return 0;
}

void native_destroy(struct native *n)
{
	if (!n)
		return;
	loop_remove(n->options.loop, n->options.listen_fd);
	while (n->n_sessions)
		session_close(n->session[0]);
	fd_close(n->spare);
	free(n->session);
	free(n);
}

void native_stop(struct native *n)
{
	for (uint32_t i = 0; i < n->n_sessions; i++) {
		struct session *s = n->session[i];

		/* wakes sleepers: they look at the pool's state */
		if (s->client && !s->client->closed) {
			turn_wake_sleepers(s);
			turn_ring(s);
		}
	}
}

/* ---- after a restart ------------------------------------------------------ */

static int peek(const struct hold_set *given, enum hold_kind kind,
		uint32_t pool, uint64_t id)
{
	for (size_t i = 0; i < given->n; i++) {
		const struct hold_given *g = &given->given[i];

		if (g->tag.kind == (uint32_t)kind && g->tag.pool == pool &&
		    g->tag.id == id)
			return g->fd;
	}
	return -1;
}

bool native_alive(const struct hold_set *given, uint32_t pool, uint64_t client)
{
	struct pollfd p = { .fd = peek(given, HOLD_CLIENT_PIDFD, pool, client),
			    .events = POLLIN };

	return p.fd >= 0 && poll(&p, 1, 0) == 0;
}

/* fd: taken on success. */
static int adopt_segment(struct session *s, const struct client_record *rec,
			 int fd)
{
	uint64_t pins = shared_load64(&rec->pins);

	return segment_attach(fd,
			      client_segment_bytes((uint32_t)(pins >> 32),
						   (uint32_t)pins),
			      true, &s->segment);
}

static int adopt_client(struct native *n, struct pool *p, uint32_t index,
			struct hold_set *given)
{
	struct client_record *rec = &p->m->client[index];
	uint64_t id = shared_load64(&rec->id);
	bool closed = shared_load64(&rec->flags) & CLIENT_CLOSED;
	struct session *s;
	int r = session_open(n, -1, &s), seg;

	if (r < 0)
		return r;
	s->pidfd = hold_set_take(given, HOLD_CLIENT_PIDFD, p->number, id);
	s->sock = hold_set_take(given, HOLD_CLIENT_SOCK, p->number, id);
	s->bell = hold_set_take(given, HOLD_CLIENT_BELL, p->number, id);
	s->bell_peer =
		hold_set_take(given, HOLD_CLIENT_BELL_PEER, p->number, id);
	seg = hold_set_take(given, HOLD_CLIENT_SEG, p->number, id);
	if (closed) { /* the predecessor may have died before it let go */
		s->sock = fd_close(s->sock);
		s->bell = fd_close(s->bell);
		s->bell_peer = fd_close(s->bell_peer);
		seg = fd_close(seg);
		session_drop_holds(s, id, p->number, true);
	}
	r = -ENOENT;
	if (s->pidfd < 0 ||
	    (!closed && (s->sock < 0 || s->bell < 0 || s->bell_peer < 0)))
		goto fail;
	if (!closed) {
		r = seg < 0 ? -ENOENT : adopt_segment(s, rec, seg);
		if (r < 0)
			goto fail;
		seg = -1;
	}
	r = store_client_adopt(n->options.store, p, index, s->segment.base,
			       &s->client);
	if (r < 0)
		goto fail;
	s->client->door = s;
	return session_watch(s); /* in part: its process's end is not seen */
fail:
	fd_close(seg);
	if (r == -ENOENT)
		session_drop_holds(s, id, p->number, false);
	session_close(s);
	return r;
}

/* Not before the pins of all clients are known: repeated grants evict. */
static void repeat_client(void *ctx, struct store_client *c)
{
	(void)ctx;
	if (c->closed || !c->door || !shared_load64(&c->record->id))
		return;
	turn_repeat(c->door);
	turn_wake(c->door);
}

int native_adopt(struct native *n, struct pool *p, struct hold_set *given)
{
	char tenant[LAYOUT_NAME + 1] = "";

	shared_load_bytes(tenant, LAYOUT_NAME, p->m->header.tenant);
	native_quota(n, tenant, p);
	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
		uint64_t id = shared_load64(&p->m->client[i].id);
		int r;

		if (!id)
			continue;
		r = adopt_client(n, p, i, given);
		if (r < 0 && r != -ENOENT)
			return r; /* it lives: another server may do better */
		if (r < 0) {
			log_warn("client %llu cannot be taken over: %s",
				 (unsigned long long)id, strerror(-r));
			store_client_forget(p, i);
		}
	}
	store_each_client(n->options.store, p, repeat_client, NULL);
	return 0;
}
