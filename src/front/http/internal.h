/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of front/http/ alone. */
#ifndef ONECOPY_FRONT_HTTP_INTERNAL_H
#define ONECOPY_FRONT_HTTP_INTERNAL_H

#include "front/http/http.h"

enum http_kind {
	HTTP_METRICS,
	HTTP_HEALTH,
	HTTP_STAT,
	HTTP_WHERE,
	HTTP_WHY,
	HTTP_OTHER,
	HTTP_KINDS
};

/* A request as far as answers depend on it. Texts are borrowed, NULL when not
 * given. */
struct http_request {
	const char *path;
	const char *authorization, *tenant, *key, *ns;
	/* the peer may see all tenants without a token: it is who runs the
	 * node, or root; or the door was told to do without authentication */
	bool trusted;
};

struct http_answer {
	unsigned status;
	enum http_kind kind;
	const char *type; /* Content-Type */
	char *text;	  /* the caller frees it; NULL: memory */
	size_t bytes;
};

/* Processor time that reports may take, so that questions cannot starve the
 * server: what is earned each second, saved up to `most`. */
struct http_credit {
	int64_t ns;
	uint64_t last_ns;
};

struct http_asked {
	struct report *report;
	const uint8_t *token_sha256; /* NULL: none is wanted */
	struct http_credit credit;
};

/* answer.c: pure but for the clock and what the report looks at. */
void http_answer(struct http_asked *a, const struct http_request *request,
		 struct http_answer *ret_answer);
/* {"error":"..."} */
void http_refuse(unsigned status, const char *text,
		 struct http_answer *ret_answer);

#endif
