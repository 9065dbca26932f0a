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
#include "front/http/internal.h"

#ifdef ONECOPY_MHD
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/fault.h"

#define CONNECTIONS_MAX 64u
#define MEMORY_BYTES	((size_t)16 << 10) /* of a connection: its request */
#define TIMEOUT_S	10u
#define REQUEST_NS	(30 * NS_PER_S)
/* Answers that are not sent yet, all connections together. */
#define UNSENT_MAX ((size_t)32 << 20)

struct conn {
	struct conn *next, *prev;
	int fd;
	uint64_t since_ns; /* it came, or its last answer was sent */
	bool ended;
};

struct http {
	struct http_options options;
	struct http_asked asked;
	uint8_t token[32];
	struct MHD_Daemon *mhd;
	int epoll_fd;
	uint64_t run_ns;   /* when MHD_run() is due */
	struct conn conns; /* head of a ring */
	size_t unsent;
	bool starting; /* what the library says is worth a line */
	struct door door;
};

/* ---- counting ---------------------------------------------------------------- */

static void count(struct http *h, enum door_counter c, uint64_t n)
{
	door_count(&h->door, DOOR_NO_TENANT, c, n);
}

static void count_answer(struct http *h, const struct http_answer *a,
			 uint64_t start_ns)
{
	count(h, DOOR_C_requests, 1);
	if (a->status >= 400)
		count(h, DOOR_C_errors, 1);
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		count(h, DOOR_C_auth_failures, 1);
	count(h, DOOR_C_sent_bytes, a->bytes);
	/* the library sends the first bytes when its handler returns */
	hist_add(&h->door.time_ns[a->kind], clock_ns() - start_ns);
}

/* ---- answers ----------------------------------------------------------------- */

struct reply {
	struct http *http;
	char *text;
	size_t bytes;
};

static void reply_free(void *ctx)
{
	struct reply *r = ctx;

	r->http->unsent -= r->bytes;
	free(r->text);
	free(r);
}

/* Consumes the text. NULL: memory. */
static struct MHD_Response *make_response(struct http *h, struct http_answer *a)
{
	struct reply *reply = a->text ? mem_alloc(sizeof(*reply)) : NULL;
	struct MHD_Response *response;

	if (!reply) {
		free(a->text);
		return NULL;
	}
	*reply = (struct reply){ h, a->text, a->bytes };
	h->unsent += a->bytes;
	response = MHD_create_response_from_buffer_with_free_callback_cls(
		a->bytes, a->text, reply_free, reply);
	if (!response)
		reply_free(reply);
	return response;
}

static void add_headers(struct MHD_Response *response,
			const struct http_answer *a)
{
	MHD_add_response_header(response, "Content-Type", a->type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, "WWW-Authenticate",
					"Bearer realm=\"onecopy\"");
	if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, "Allow", "GET, HEAD");
	if (a->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, "Retry-After", "1");
}

/* MHD_NO: the library closes the connection. */
static enum MHD_Result send_answer(struct http *h, struct MHD_Connection *c,
				   struct http_answer *a)
{
	struct MHD_Response *response = make_response(h, a);
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	add_headers(response, a);
	r = MHD_queue_response(c, a->status, response);
	MHD_destroy_response(response); /* our reference */
	return r;
}

/* ---- requests ---------------------------------------------------------------- */

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static const char *argument(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);
}

static bool has_body(struct MHD_Connection *c)
{
	const char *length = header(c, "Content-Length");

	return header(c, "Transfer-Encoding") ||
	       (length && strcmp(length, "0") != 0);
}

/* What can be told from the head alone. */
static bool refuse_head(struct MHD_Connection *c, const char *method,
			struct http_answer *ret)
{
	ret->kind = HTTP_OTHER;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		http_refuse(405, "Only GET and HEAD: nothing is changed here.",
			    ret);
	else if (has_body(c))
		http_refuse(413, "A request has no body here.", ret);
	else
		return false;
	return true;
}

static void answer_request(struct http *h, struct MHD_Connection *c,
			   const char *path, struct http_answer *ret)
{
	const struct http_request q = {
		.path = path,
		.authorization = header(c, "Authorization"),
		.tenant = argument(c, "tenant"),
		.key = argument(c, "key"),
	};

	if (h->unsent >= UNSENT_MAX)
		http_refuse(503, "Too many answers wait to be read.", ret);
	else
		http_answer(&h->asked, &q, ret);
}

/* Called with the head, then (when nothing was answered) with the end. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c,
				  const char *path, const char *method,
				  const char *version, const char *upload,
				  size_t *upload_bytes, void **request)
{
	static char seen;
	struct http_answer a = { .kind = HTTP_OTHER };
	uint64_t start = clock_ns();
	struct http *h = ctx;

	(void)version;
	(void)upload;
	if (*request && *upload_bytes)
		return MHD_NO;
	if (!*request) {
		*request = &seen;
		if (!refuse_head(c, method, &a))
			return MHD_YES;
	} else {
		answer_request(h, c, path, &a);
	}
	if (!strcmp(method, "HEAD"))
		count(h, DOOR_C_sent_bytes, 0 - a.bytes); /* told, not sent */
	count_answer(h, &a, start);
	return send_answer(h, c, &a);
}

/* ---- connections ------------------------------------------------------------- */

static void conn_open(struct http *h, struct MHD_Connection *c, void **ret)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct conn *conn = mem_alloc(sizeof(*conn));

	count(h, DOOR_C_connections, 1);
	count(h, DOOR_C_connections_now, 1);
	*ret = conn;
	if (!conn) /* then the library's own time limit must do */
		return;
	conn->fd = fd ? fd->connect_fd : -1;
	conn->since_ns = clock_ns();
	conn->next = &h->conns;
	conn->prev = h->conns.prev;
	conn->next->prev = conn->prev->next = conn;
}

static void conn_close(struct http *h, struct conn *conn)
{
	count(h, DOOR_C_connections_now, -1ull);
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
	struct conn *conn = mine ? mine->socket_context : NULL;

	*request = NULL;
	if (head)
		count(ctx, DOOR_C_received_bytes, head->header_size);
	if (conn && how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		conn->since_ns = clock_ns();
	if (how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED && conn &&
	    !conn->ended)
		count(ctx, DOOR_C_stalled, 1);
}

/* The library sees the end of a socket that was shut. When the next is due. */
static uint64_t end_stalled(struct http *h, uint64_t now_ns)
{
	uint64_t next = UINT64_MAX;

	for (struct conn *c = h->conns.next; c != &h->conns; c = c->next) {
		if (c->ended)
			continue;
		if (now_ns < c->since_ns + REQUEST_NS) {
			next = MIN(next, c->since_ns + REQUEST_NS);
			continue;
		}
		c->ended = true;
		shutdown(c->fd, SHUT_RDWR);
		count(h, DOOR_C_stalled, 1);
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

static int start(struct http *h)
{
	const struct http_options *o = &h->options;
	unsigned most = o->max_connections ? o->max_connections
					   : CONNECTIONS_MAX;
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, NULL },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, NULL },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	CLEANUP(mem_free_at) char *versions = NULL;
	CLEANUP(mem_free_at) char *certificate = NULL;
	CLEANUP(mem_free_at) char *key = NULL;
	CLEANUP(fd_close_at) int fd = -1;

	if (o->certificate) {
		versions = mem_dup(TLS_VERSIONS);
		certificate = mem_dup(o->certificate);
		key = mem_dup(o->key);
		tls[0].ptr_value = certificate;
		tls[1].ptr_value = key;
		tls[2].ptr_value = versions;
		if (!certificate || !key || !versions)
			return -ENOMEM;
	} else {
		tls[0].option = MHD_OPTION_END;
	}
	/* the library closes what it is given */
	if (fault_point(FAULT_IO))
		return -EIO;
	fd = fcntl(o->listen_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG |
					  (o->certificate ? MHD_USE_TLS : 0),
				  0, NULL, NULL, on_request, h,
				  MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
				  MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_CONNECTION_LIMIT, most,
				  MHD_OPTION_PER_IP_CONNECTION_LIMIT,
				  (most + 1) / 2, MHD_OPTION_CONNECTION_TIMEOUT,
				  TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				  MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
				  on_connection, h, MHD_OPTION_NOTIFY_COMPLETED,
				  on_completed, h, MHD_OPTION_ARRAY, tls,
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
		[HTTP_OTHER] = "other",
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
