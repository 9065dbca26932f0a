/* SPDX-License-Identifier: Apache-2.0 */
#include "doors.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/text.h"
#include "listen.h"
#include "pem.h"

/* The report keeps a pointer to the text. */
static void failed(struct doors *d, struct report *report, const char *door,
		   const char *why)
{
	char *text = d->failure[d->n_failures % ARRAY_LEN(d->failure)];

	d->n_failures++;
	snprintf(text, sizeof(d->failure[0]), "%s: %s", door, why);
	log_error("%s", text);
	if (report->n_failures < REPORT_FAILURES_MAX)
		report->failure[report->n_failures++] = text;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	/* both families keep it in the same place */
	return ntohs(((struct sockaddr_in *)(void *)&a)->sin_port);
}

/* What a tenant may have, when its pool is made. */
static uint64_t quota(void *ctx, const char *tenant)
{
	const struct node_config *config = ctx;
	uint64_t memory = 0;

	for (uint32_t i = 0; i < config->n_tenants; i++) {
		if (strcmp(config->tenants[i].name, tenant) != 0)
			continue;
		config_memory(&memory);
		return config_size_bytes(config->tenants[i].dram,
					 config_size_bytes(config->dram,
							   memory));
	}
	return 0;
}

/* The rule of the native door: who runs the node, root, and a tenant's uids. */
static bool allowed(void *ctx, const char *tenant, uint32_t uid)
{
	const struct node_config *config = ctx;

	if (uid == 0 || uid == geteuid())
		return true;
	for (uint32_t i = 0; i < config->n_tenants; i++) {
		const struct config_tenant *t = &config->tenants[i];

		for (uint32_t u = 0; u < t->n_uids; u++)
			if (t->uids[u] == uid && !strcmp(t->name, tenant))
				return true;
	}
	return false;
}

/* ---- RESP ---------------------------------------------------------------------- */

static void free_texts(char **texts, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pem_free(texts[i]);
}

/* 0 without TLS as well. */
static int resp_tls(struct doors *d, const struct config_resp *c,
		    const char **why)
{
	const char *const paths[] = { c->certificate, c->key, c->client_ca };
	char *texts[ARRAY_LEN(paths)] = { NULL };
	int r = 0;

	if (!*c->certificate)
		return 0;
	for (unsigned i = 0; i < ARRAY_LEN(paths) && r == 0; i++) {
		if (!*paths[i])
			continue;
		r = pem_load(paths[i], &texts[i]);
		*why = strerror(-r);
	}
	if (r == 0)
		r = stream_tls_create(texts[0], texts[1], texts[2], &d->tls,
				      why);
	free_texts(texts, ARRAY_LEN(texts));
	return r;
}

static unsigned resp_users(const struct config_resp *c,
			   struct resp_user users[RESP_USERS_MAX])
{
	_Static_assert((int)RESP_USERS_MAX >= (int)CONFIG_USERS_MAX,
		       "all users fit");
	for (uint32_t i = 0; i < c->n_users; i++) {
		text_copy(users[i].name, sizeof(users[i].name),
			  c->users[i].name);
		text_copy(users[i].tenant, sizeof(users[i].tenant),
			  *c->users[i].tenant ? c->users[i].tenant : "default");
		memcpy(users[i].password_sha256, c->users[i].password_sha256,
		       sizeof(users[i].password_sha256));
	}
	return c->n_users;
}

static void open_resp(struct doors *d, const struct node_config *config,
		      struct resp_options *o, struct report *report)
{
	const struct config_resp *c = &config->resp;
	struct resp_user users[RESP_USERS_MAX];
	const char *why = "memory";
	int r = resp_tls(d, c, &why);

	if (r < 0) {
		failed(d, report, "resp, certificate and key", why);
		return;
	}
	o->tls = d->tls;
	o->password_sha256 = c->has_password ? c->password_sha256 : NULL;
	o->users = users;
	o->n_users = resp_users(c, users);
	o->max_connections = c->max_connections;
	o->stall_ns = c->stall_ns;
	o->verify_ns = c->verify_ns;
	o->version = ONECOPY_VERSION;
	o->port = port_of(o->listen_fd);
	o->quota = quota;
	o->allowed = allowed;
	o->anybody = c->without & CONFIG_WITHOUT_AUTH;
	o->ctx = (void *)(uintptr_t)config;
	r = resp_create(o, &d->resp);
	if (r < 0)
		failed(d, report, "resp", strerror(-r));
	else
		report_door_add(report, resp_counts(d->resp));
}

/* ---- HTTP ---------------------------------------------------------------------- */

static void open_http(struct doors *d, const struct config_http *c,
		      struct http_options *o)
{
	const char *const paths[] = { c->certificate, c->key };
	char *texts[ARRAY_LEN(paths)] = { NULL };
	int r = 0;

	for (unsigned i = 0; i < ARRAY_LEN(paths) && r == 0; i++)
		if (*paths[i])
			r = pem_load(paths[i], &texts[i]);
	o->certificate = texts[0];
	o->key = texts[1];
	o->anybody = c->without & CONFIG_WITHOUT_AUTH;
	o->token_sha256 = c->has_token ? c->token_sha256 : NULL;
	if (r == 0)
		r = http_create(o, &d->http);
	if (r < 0)
		failed(d, o->report, "http", strerror(-r));
	free_texts(texts, ARRAY_LEN(texts));
}

/* ---- both ---------------------------------------------------------------------- */

static bool is_off(const char *listen)
{
	return strcmp(listen, "off") == 0;
}

void doors_open(struct doors *d, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		int resp_fd, int http_fd)
{
	struct resp_options resp = { .loop = loop,
				     .store = store,
				     .listen_fd = resp_fd };
	struct http_options http = { .loop = loop,
				     .report = report,
				     .listen_fd = http_fd };

	*d = (struct doors){ 0 };
	if (resp_fd >= 0)
		open_resp(d, config, &resp, report);
	else if (!is_off(config->resp.listen))
		failed(d, report, config->resp.listen,
		       "no RESP there, the address could not be had");
	if (http_fd >= 0)
		open_http(d, &config->http, &http);
	else if (!is_off(config->http.listen))
		failed(d, report, config->http.listen,
		       "no HTTP there, the address could not be had");
}

void doors_close(struct doors *d, struct report *report)
{
	http_destroy(d->http);
	if (d->resp)
		report_door_remove(report, resp_counts(d->resp));
	resp_destroy(d->resp);
	stream_tls_destroy(d->tls);
	*d = (struct doors){ 0 };
}

uint64_t doors_turn(struct doors *d, uint64_t now_ns)
{
	return d->http ? http_tick(d->http, now_ns) : UINT64_MAX;
}
