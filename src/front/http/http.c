/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections, by libmicrohttpd in its external mode: its epoll descriptor is
 * watched by the server's loop, and MHD_run() does what is due.
 *
 * The library ends a connection on which nothing moves for TIMEOUT_S; one that
 * moves a byte now and then is ended here, REQUEST_NS after its last answer.
 */
#include "front/http/http.h"
#include <errno.h>
#include "base/log.h"
#include "front/http/mhd.h"

#ifdef ONECOPY_MHD
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "front/peer.h"

#define CONNECTIONS_MAX 64u
#define MEMORY_BYTES	((size_t)16 << 10) /* of a connection: its request */
#define TIMEOUT_S	10u
#define REQUEST_NS	(30 * NS_PER_S)

/* ---- connections ------------------------------------------------------------- */

/* Places of one user of this machine, other than the node's own and root: one
 * that holds connections open shall not keep all others out. */
#define USER_SHARE 4u

static unsigned conns_most(const struct http *h)
{
	return h->options.max_connections ? h->options.max_connections
					  : CONNECTIONS_MAX;
}

static uint32_t conn_uid(const struct http *h, int fd)
{
	uint32_t uid;

	if (!h->peers_known || fd < 0 || peer_uid(fd, &uid) < 0 || uid == 0 ||
	    uid == geteuid())
		return CONN_NOBODY;
	return uid;
}

static bool has_too_many(const struct http *h, uint32_t uid)
{
	unsigned n = 0;

	for (const struct http_conn *c = h->conns.next; c != &h->conns;
	     c = c->next)
		n += c->uid == uid && !c->ended;
	return uid != CONN_NOBODY && n >= MAX(conns_most(h) / USER_SHARE, 1u);
}

/* The library sees the end of a socket that was shut. */
static void conn_end(struct http_conn *conn)
{
	conn->ended = true;
	shutdown(conn->fd, SHUT_RDWR);
}

static void conn_open(struct http *h, struct MHD_Connection *c, void **ret)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct http_conn *conn = mem_alloc(sizeof(*conn));

	http_count(h, DOOR_C_connections, 1);
	http_count(h, DOOR_C_connections_now, 1);
	*ret = conn;
	if (!conn) /* then the library's own time limit must do */
		return;
	conn->fd = fd ? fd->connect_fd : -1;
	conn->uid = conn_uid(h, conn->fd);
	if (has_too_many(h, conn->uid)) {
		http_count(h, DOOR_C_refused, 1);
		conn_end(conn);
	}
	conn->since_ns = clock_ns();
	conn->next = &h->conns;
	conn->prev = h->conns.prev;
	conn->next->prev = conn->prev->next = conn;
}

static void conn_close(struct http *h, struct http_conn *conn)
{
	http_count(h, DOOR_C_connections_now, -1ull);
	if (!conn)
		return;
	conn->next->prev = conn->prev;
	conn->prev->next = conn->next;
	free(conn);
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **socket,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		conn_open(ctx, c, socket);
	else
		conn_close(ctx, *socket);
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **request,
			 enum MHD_RequestTerminationCode how)
{
	const union MHD_ConnectionInfo *head = MHD_get_connection_info(
		c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	const union MHD_ConnectionInfo *mine =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_conn *conn = mine ? mine->socket_context : NULL;

	*request = NULL;
	if (head)
		http_count(ctx, DOOR_C_received_bytes, head->header_size);
	if (conn && how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		conn->since_ns = clock_ns();
	if (how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED && conn &&
	    !conn->ended)
		http_count(ctx, DOOR_C_stalled, 1);
}

/* When the next is due. */
static uint64_t end_stalled(struct http *h, uint64_t now_ns)
{
	uint64_t next = UINT64_MAX;

	for (struct http_conn *c = h->conns.next; c != &h->conns; c = c->next) {
		if (c->ended)
			continue;
		if (now_ns < c->since_ns + REQUEST_NS) {
			next = MIN(next, c->since_ns + REQUEST_NS);
			continue;
		}
		conn_end(c);
		http_count(h, DOOR_C_stalled, 1);
	}
	return next;
}

/* ---- the loop ---------------------------------------------------------------- */

static void run(struct http *h, uint64_t now_ns)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(h->mhd);
	h->run_ns = MHD_get_timeout(h->mhd, &ms) == MHD_YES
			    ? now_ns + ms * NS_PER_MS
			    : UINT64_MAX;
}

static void on_ready(void *ctx, int fd, unsigned events)
{
	(void)fd;
	(void)events;
	run(ctx, clock_ns());
}

uint64_t http_tick(struct http *h, uint64_t now_ns)
{
	uint64_t report = report_tick(h->options.report, now_ns);
	uint64_t stalled = end_stalled(h, now_ns);

	if (now_ns >= h->run_ns)
		run(h, now_ns);
	return MIN(MIN(report, stalled), h->run_ns);
}

const struct door *http_door(const struct http *h)
{
	return &h->door;
}

/* ---- life -------------------------------------------------------------------- */

/* While it runs, clients cause these lines: not for the log. */
PRINTF_LIKE(2, 0)
static void on_log(void *ctx, const char *fmt, va_list ap)
{
	const struct http *h = ctx;
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_line(h->starting ? LOG_ERROR : LOG_DEBUG, "http: %s", line);
}

static int check_library(const struct http_options *o)
{
	if (MHD_is_feature_supported(MHD_FEATURE_EPOLL) != MHD_YES) {
		log_error("http: libmicrohttpd was built without epoll");
		return -ENOSYS;
	}
	if (o->certificate &&
	    MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES) {
		log_error("http: libmicrohttpd was built without TLS");
		return -ENOSYS;
	}
	return 0;
}

#define TLS_VERSIONS "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

/* The library wants texts that it could change. */
struct http_tls {
	char *certificate, *key, *versions;
	struct MHD_OptionItem item[4];
};

static void tls_fini(struct http_tls *t)
{
	free(t->certificate);
	free(t->key);
	free(t->versions);
}

static int tls_init(struct http_tls *t, const struct http_options *o)
{
	*t = (struct http_tls){ .item = { { MHD_OPTION_END, 0, NULL } } };
	if (!o->certificate)
		return 0;
	t->certificate = mem_dup(o->certificate);
	t->key = mem_dup(o->key);
	t->versions = mem_dup(TLS_VERSIONS);
	t->item[0] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0,
					      t->certificate };
	t->item[1] =
		(struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, t->key };
	t->item[2] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
					      t->versions };
	t->item[3] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
	return t->certificate && t->key && t->versions ? 0 : -ENOMEM;
}

static int start(struct http *h)
{
	const struct http_options *o = &h->options;
	unsigned most = conns_most(h);
	CLEANUP(tls_fini) struct http_tls tls;
	CLEANUP(fd_close_at) int fd = -1;

	if (tls_init(&tls, o) < 0)
		return -ENOMEM;
	/* the library closes what it is given */
	if (fault_point(FAULT_IO))
		return -EIO;
	fd = fcntl(o->listen_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG |
					  (o->certificate ? MHD_USE_TLS : 0),
				  0, NULL, NULL, http_request, h,
				  MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
				  MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_CONNECTION_LIMIT, most,
				  MHD_OPTION_PER_IP_CONNECTION_LIMIT,
				  (most + 1) / 2, MHD_OPTION_CONNECTION_TIMEOUT,
				  TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				  MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
				  on_connection, h, MHD_OPTION_NOTIFY_COMPLETED,
				  on_completed, h, MHD_OPTION_ARRAY, tls.item,
				  MHD_OPTION_END);
	if (!h->mhd)
		return -EINVAL;
	fd_take(&fd);
	return 0;
}

static int watch(struct http *h)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -ENOSYS;
	r = loop_add(h->options.loop, info->epoll_fd, LOOP_IN, on_ready, h);
	if (r == 0)
		h->epoll_fd = info->epoll_fd;
	return r;
}

static void init(struct http *h, const struct http_options *o)
{
	static const char *const kinds[HTTP_KINDS] = {
		[HTTP_METRICS] = "metrics", [HTTP_HEALTH] = "health",
		[HTTP_STAT] = "stat",	    [HTTP_WHERE] = "where",
		[HTTP_WHY] = "why",	    [HTTP_OTHER] = "other",
	};

	_Static_assert(HTTP_KINDS <= DOOR_KINDS_MAX, "room for kinds");
	h->options = *o;
	h->asked.report = o->report;
	if (o->token_sha256) {
		memcpy(h->token, o->token_sha256, sizeof(h->token));
		h->asked.token_sha256 = h->token;
	}
	h->epoll_fd = -1;
	h->conns.next = h->conns.prev = &h->conns;
	h->door.name = "http";
	for (unsigned i = 0; i < DOOR_KINDS_MAX; i++)
		hist_init(&h->door.time_ns[i]);
	for (unsigned i = 0; i < HTTP_KINDS; i++)
		h->door.kind[i] = kinds[i];
}

int http_create(const struct http_options *options, struct http **ret_http)
{
	struct http *h = mem_alloc(sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	init(h, options);
	h->starting = true;
	r = check_library(options);
	if (r == 0)
		r = peer_known();
	h->peers_known = r > 0;
	if (r == 0 && !options->token_sha256 && !options->anybody)
		log_warn("http: the kernel does not tell users of connections "
			 "over loopback: /v1 wants a token");
	r = MIN(r, 0);
	if (r == 0)
		r = start(h);
	h->starting = false;
	if (r == 0)
		r = watch(h);
	if (r == 0)
		r = report_door_add(options->report, &h->door);
	if (r < 0) {
		http_destroy(h);
		return r;
	}
	*ret_http = h;
	return 0;
}

void http_destroy(struct http *h)
{
	if (!h)
		return;
	report_door_remove(h->options.report, &h->door);
	if (h->epoll_fd >= 0)
		loop_remove(h->options.loop, h->epoll_fd);
	if (h->mhd) {
		/* takes the socket back: the library might shut it, and with
		 * it the caller's */
		fd_close(MHD_quiesce_daemon(h->mhd));
		MHD_stop_daemon(h->mhd);
	}
	free(h);
}

#else /* !ONECOPY_MHD */

int http_create(const struct http_options *options, struct http **ret_http)
{
	(void)options;
	(void)ret_http;
	log_error("http: onecopy was built without libmicrohttpd");
	return -ENOSYS;
}

void http_destroy(struct http *h)
{
	(void)h;
}

const struct door *http_door(const struct http *h)
{
	(void)h;
	return NULL;
}

uint64_t http_tick(struct http *h, uint64_t now_ns)
{
	(void)h;
	(void)now_ns;
	return UINT64_MAX;
}

#endif
