/* SPDX-License-Identifier: Apache-2.0 */
/* What is answered to which path. Knows nothing of connections. */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "front/http/internal.h"
#include "front/report/metrics.h"

#define TEXT_MOST    (4u << 20)
#define CREDIT_SHARE 10		      /* reports may take 1/10 of the time */
#define CREDIT_MOST  (50 * NS_PER_MS) /* at once, and some of one report */

static const char type_json[] = "application/json";
static const char type_text[] = "text/plain; version=0.0.4; charset=utf-8";

static void set_text(struct http_answer *a, unsigned status, char *text)
{
	a->status = status;
	a->type = type_json;
	a->text = text;
	a->bytes = text ? strlen(text) : 0;
}

/* Consumes o. */
static void set_json(struct http_answer *a, unsigned status, json_t *o)
{
	set_text(a, status,
		 fault_point(FAULT_ALLOC) ? NULL : json_dumps(o, JSON_COMPACT));
	json_decref(o);
}

void http_refuse(unsigned status, const char *text,
		 struct http_answer *ret_answer)
{
	set_json(ret_answer, status, json_pack("{s:s}", "error", text));
}

/* ---- who asks ---------------------------------------------------------------- */

/* The comparison takes as long for any token. */
static bool allowed(const struct http_asked *a, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	const size_t n = sizeof(scheme) - 1;
	uint8_t digest[32];

	if (!a->token_sha256)
		return true;
	if (!authorization || strncasecmp(authorization, scheme, n) != 0)
		return false;
	if (!EVP_Digest(authorization + n, strlen(authorization + n), digest,
			NULL, EVP_sha256(), NULL))
		return false;
	return CRYPTO_memcmp(digest, a->token_sha256, sizeof(digest)) == 0;
}

/* ---- reports ----------------------------------------------------------------- */

/* The tenant's pool; without a tenant the first one, if there is any. */
static int find_pool(struct http_asked *a, const char *tenant,
		     struct pool **ret_pool)
{
	struct store *s = a->report->store;

	if (tenant)
		return strlen(tenant) < LAYOUT_NAME
			       ? store_pool_by_tenant(s, tenant, ret_pool)
			       : -ENOENT;
	*ret_pool = NULL;
	for (uint32_t n = 0; n < STORE_POOLS_MAX && !*ret_pool; n++)
		*ret_pool = store_pool(s, n);
	return 0;
}

static void give_metrics(struct http_asked *a, const struct http_request *q,
			 struct http_answer *ret)
{
	int r = metrics_text(a->report, clock_ns(), TEXT_MOST, &ret->text,
			     &ret->bytes);

	(void)q;
	if (r < 0) {
		http_refuse(500, strerror(-r), ret);
		return;
	}
	ret->status = 200;
	ret->type = type_text;
}

static void give_stat(struct http_asked *a, const struct http_request *q,
		      struct http_answer *ret)
{
	struct pool *p;

	if (find_pool(a, q->tenant, &p) < 0)
		http_refuse(404, "There is no such tenant.", ret);
	else
		set_json(ret, 200, report_stat(a->report, p, true));
}

static void give_where(struct http_asked *a, const struct http_request *q,
		       struct http_answer *ret)
{
	struct pool *p;
	json_t *list;
	int r;

	if (!q->key) {
		http_refuse(400, "key=HEX is missing.", ret);
		return;
	}
	if (find_pool(a, q->tenant, &p) < 0) {
		http_refuse(404, "There is no such tenant.", ret);
		return;
	}
	/* nobody has come yet: nothing is anywhere */
	list = p ? report_where(a->report, p, q->key, clock_ns(), &r)
		 : json_array();
	if (list)
		set_json(ret, 200, list);
	else if (r == -EINVAL)
		http_refuse(400, "A key is 64 hexadecimal digits.", ret);
	else
		http_refuse(500, strerror(-r), ret);
}

/* "ns=N KEY,KEY" of the two arguments. False: they are too long. */
static bool why_words(const struct http_request *q, char *words, size_t cap)
{
	int n = snprintf(words, cap, "%s%s %s", q->ns ? "ns=" : "",
			 q->ns ? q->ns : "", q->key);

	return n > 0 && (size_t)n < cap;
}

static void give_why(struct http_asked *a, const struct http_request *q,
		     struct http_answer *ret)
{
	char words[65 * (REPORT_WHY_KEYS + 1)];
	json_t *o = NULL;
	struct pool *p;
	int r = -E2BIG;

	if (!q->key) {
		http_refuse(400, "key=HEX is missing.", ret);
		return;
	}
	if (find_pool(a, q->tenant, &p) < 0) {
		http_refuse(404, "There is no such tenant.", ret);
		return;
	}
	if (why_words(q, words, sizeof(words)))
		o = report_why(a->report, p, words, clock_ns(), &r);
	if (o)
		set_json(ret, 200, o);
	else if (r == -EINVAL)
		http_refuse(400, "A key is 64 hexadecimal digits, ns a number.",
			    ret);
	else if (r == -E2BIG)
		http_refuse(400, "At most 64 keys.", ret);
	else
		http_refuse(500, strerror(-r), ret);
}

/* ---- health ------------------------------------------------------------------ */

static json_t *texts_json(const char (*text)[HEALTH_TEXT], unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_string(text[i]));
	return list;
}

static void give_health(struct http_asked *a, const struct http_request *q,
			struct http_answer *ret)
{
	struct health h;

	(void)q;
	report_health(a->report, clock_ns(), &h);
	set_json(ret, h.live && h.ready ? 200 : 503,
		 json_pack("{s:b,s:b,s:o,s:o}", "live", h.live, "ready",
			   h.ready, "degraded",
			   texts_json(h.degraded, h.n_degraded), "notes",
			   texts_json(h.note, h.n_notes)));
}

/* An answer is the proof. */
static void give_live(struct http_asked *a, const struct http_request *q,
		      struct http_answer *ret)
{
	(void)a;
	(void)q;
	set_json(ret, 200, json_pack("{s:b}", "live", 1));
}

static void give_ready(struct http_asked *a, const struct http_request *q,
		       struct http_answer *ret)
{
	struct health h;

	(void)q;
	report_health(a->report, clock_ns(), &h);
	set_json(ret, h.ready ? 200 : 503,
		 json_pack("{s:b}", "ready", h.ready));
}

/* ---- routes ------------------------------------------------------------------ */

struct route {
	const char *path;
	enum http_kind kind;
	bool open;     /* no token is asked for */
	bool long_;    /* takes from the credit */
	bool tenants_; /* tells of tenants' blocks: not to everybody here */
	void (*give)(struct http_asked *a, const struct http_request *q,
		     struct http_answer *ret);
};

static void give_list(struct http_asked *a, const struct http_request *q,
		      struct http_answer *ret);

static const struct route routes[] = {
	{ "/", HTTP_OTHER, true, false, false, give_list },
	{ "/metrics", HTTP_METRICS, false, true, false, give_metrics },
	{ "/health", HTTP_HEALTH, false, false, false, give_health },
	{ "/health/live", HTTP_HEALTH, true, false, false, give_live },
	{ "/health/ready", HTTP_HEALTH, true, false, false, give_ready },
	{ "/v1/stat", HTTP_STAT, false, true, true, give_stat },
	{ "/v1/where", HTTP_WHERE, false, true, true, give_where },
	{ "/v1/why", HTTP_WHY, false, true, true, give_why },
};

static void give_list(struct http_asked *a, const struct http_request *q,
		      struct http_answer *ret)
{
	json_t *list = json_array();

	(void)a;
	(void)q;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		json_array_append_new(list, json_string(routes[i].path));
	set_json(ret, 200, json_pack("{s:o}", "paths", list));
}

static const struct route *find_route(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(routes[i].path, path))
			return &routes[i];
	return NULL;
}

/* What was earned since it was looked at last. */
static bool credit_left(struct http_credit *c, uint64_t now_ns)
{
	uint64_t passed = now_ns - MIN(c->last_ns, now_ns);

	passed = MIN(passed, CREDIT_MOST * CREDIT_SHARE);
	c->ns = MIN(c->ns + (int64_t)(passed / CREDIT_SHARE),
		    (int64_t)CREDIT_MOST);
	c->last_ns = now_ns;
	return c->ns > 0;
}

static void give_long(struct http_asked *a, const struct route *route,
		      const struct http_request *q, struct http_answer *ret)
{
	uint64_t start = clock_ns();

	if (!credit_left(&a->credit, start)) {
		http_refuse(503, "Too many reports are asked for; later.", ret);
		return;
	}
	route->give(a, q, ret);
	a->credit.ns -= (int64_t)(clock_ns() - start);
}

void http_answer(struct http_asked *a, const struct http_request *request,
		 struct http_answer *ret_answer)
{
	const struct route *route = find_route(request->path);

	*ret_answer = (struct http_answer){
		.kind = route ? route->kind : HTTP_OTHER,
	};
	if ((!route || !route->open) && !allowed(a, request->authorization))
		http_refuse(401, "A bearer token is wanted.", ret_answer);
	else if (route && route->tenants_ && !a->token_sha256 &&
		 !request->trusted)
		http_refuse(403,
			    "Without a token this is for who runs the node.",
			    ret_answer);
	else if (!route)
		http_refuse(404, "There is no such path; / lists them.",
			    ret_answer);
	else if (route->long_)
		give_long(a, route, request, ret_answer);
	else
		route->give(a, request, ret_answer);
}
