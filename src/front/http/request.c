/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as libmicrohttpd brings them, and answers as it takes them. */
#ifdef ONECOPY_MHD
#include "front/http/mhd.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "front/peer.h"

/* Answers that are not sent yet, all connections together. */
#define UNSENT_MAX ((size_t)32 << 20)

/* ---- counting ---------------------------------------------------------------- */

static void count_answer(struct http *h, const struct http_answer *a,
			 const char *method, uint64_t start_ns)
{
	http_count(h, DOOR_C_requests, 1);
	if (a->status >= 400)
		http_count(h, DOOR_C_errors, 1);
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		http_count(h, DOOR_C_auth_failures, 1);
	if (strcmp(method, "HEAD") != 0)
		http_count(h, DOOR_C_sent_bytes, a->bytes);
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

static bool trusted(const struct http *h, struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	uint32_t uid;

	if (h->options.anybody)
		return true;
	if (!h->peers_known || !info)
		return false;
	return peer_uid(info->connect_fd, &uid) == 0 &&
	       (uid == 0 || uid == geteuid());
}

static void answer_request(struct http *h, struct MHD_Connection *c,
			   const char *path, struct http_answer *ret)
{
	const struct http_request q = {
		.path = path,
		.authorization = header(c, "Authorization"),
		.tenant = argument(c, "tenant"),
		.key = argument(c, "key"),
		.ns = argument(c, "ns"),
		.trusted = trusted(h, c),
	};

	if (h->unsent >= UNSENT_MAX)
		http_refuse(503, "Too many answers wait to be read.", ret);
	else
		http_answer(&h->asked, &q, ret);
}

/* Called with the head, then (when nothing was answered) with the end. */
enum MHD_Result http_request(void *ctx, struct MHD_Connection *c,
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
	count_answer(h, &a, method, start);
	return send_answer(h, c, &a);
}

#endif
