/* SPDX-License-Identifier: Apache-2.0 */
#include "doors.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define RETRY_NS     (5 * NS_PER_S)
#define REFUSED_MOST 64 /* in one turn of the loop */

static const char *const shown[LISTEN_DOORS] = { "RESP", "HTTP" };

/* The report keeps a pointer to the text. */
static void failed(struct doors *d, enum listen_door door, const char *why)
{
	struct door_place *p = &d->place[door];

	if (strcmp(p->failure, why) == 0)
		return;
	if (!p->failure[0] && d->report->n_failures < REPORT_FAILURES_MAX)
		d->report->failure[d->report->n_failures++] = p->failure;
	text_copy(p->failure, sizeof(p->failure), why);
	log_error("%s", why);
}

static void works(struct doors *d, enum listen_door door)
{
	struct door_place *p = &d->place[door];
	struct report *r = d->report;
	unsigned kept = 0;

	if (!p->failure[0])
		return;
	for (unsigned i = 0; i < r->n_failures; i++)
		if (r->failure[i] != p->failure)
			r->failure[kept++] = r->failure[i];
	r->n_failures = kept;
	p->failure[0] = '\0';
	log_info("%s works again", shown[door]);
}

/* ---- a port without a door ------------------------------------------------------- */

static void stop_refusing(struct door_place *p)
{
	if (p->refusing)
		loop_remove(p->loop, p->fd);
	p->refusing = false;
}

static void on_refused(void *ctx, int fd, unsigned events)
{
	struct door_place *p = ctx;

	(void)events;
	for (unsigned i = 0; i < REFUSED_MOST; i++) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (c >= 0) {
			close(c);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* no descriptors: the loop would spin; until the next try */
		if (errno != EAGAIN)
			stop_refusing(p);
		return;
	}
}

static void refuse(struct door_place *p)
{
	int r = loop_add(p->loop, p->fd, LOOP_IN, on_refused, p);

	p->refusing = r == 0;
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

/* What a tenant may have, and has for certain, when its pool is made. */
static void quotas(void *ctx, const char *tenant, uint64_t *ret_quota,
		   uint64_t *ret_share)
{
	const struct node_config *config = ctx;
	uint64_t memory = 0;

	config_memory(&memory);
	config_tenant_quota(config, tenant,
			    config_size_bytes(config->dram, memory), ret_quota,
			    ret_share);
}

static uint64_t quota(void *ctx, const char *tenant)
{
	uint64_t hard, share;

	quotas(ctx, tenant, &hard, &share);
	return hard;
}

static uint64_t share(void *ctx, const char *tenant)
{
	uint64_t hard, soft;

	quotas(ctx, tenant, &hard, &soft);
	return soft;
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

static int make_resp(struct doors *d, struct stream_tls *tls)
{
	const struct config_resp *c = &d->config->resp;
	struct resp_user users[RESP_USERS_MAX];
	struct resp_options o = {
		.loop = d->place[LISTEN_RESP].loop,
		.store = d->store,
		.listen_fd = d->place[LISTEN_RESP].fd,
		.tls = tls,
		.password_sha256 = c->has_password ? c->password_sha256 : NULL,
		.users = users,
		.n_users = resp_users(c, users),
		.max_connections = c->max_connections,
		.stall_ns = c->stall_ns,
		.verify_ns = c->verify_ns,
		.version = ONECOPY_VERSION,
		.port = port_of(d->place[LISTEN_RESP].fd),
		.quota = quota,
		.share = share,
		.allowed = allowed,
		.anybody = c->without & CONFIG_WITHOUT_AUTH,
		.ctx = (void *)(uintptr_t)d->config,
	};

	return resp_create(&o, &d->resp);
}

static int open_resp(struct doors *d, char *error)
{
	const struct config_resp *c = &d->config->resp;
	const struct tls_paths paths = { "resp", c->certificate, c->key,
					 c->client_ca };
	struct stream_tls *tls = NULL;
	struct tls_files files;
	int r = tls_files_load(&paths, &files, &tls, error);

	if (r < 0)
		return r;
	r = make_resp(d, tls);
	if (r == 0) {
		tls_files_warn(&paths, &files);
		report_door_add(d->report, resp_counts(d->resp));
		d->tls = tls;
	} else {
		snprintf(error, TLS_FILES_ERROR, "resp: %s", strerror(-r));
		stream_tls_destroy(tls);
	}
	tls_files_free(&files);
	return r;
}

/* ---- HTTP ---------------------------------------------------------------------- */

static int make_http(struct doors *d, const struct tls_files *files)
{
	const struct config_http *c = &d->config->http;
	const struct http_options o = {
		.loop = d->place[LISTEN_HTTP].loop,
		.report = d->report,
		.listen_fd = d->place[LISTEN_HTTP].fd,
		.certificate = files->certificate,
		.key = files->key,
		.token_sha256 = c->has_token ? c->token_sha256 : NULL,
		.anybody = c->without & CONFIG_WITHOUT_AUTH,
	};

	return http_create(&o, &d->http);
}

static int open_http(struct doors *d, char *error)
{
	const struct config_http *c = &d->config->http;
	const struct tls_paths paths = { "http", c->certificate, c->key, "" };
	struct stream_tls *tls = NULL;
	struct tls_files files;
	int r = tls_files_load(&paths, &files, &tls, error);

	if (r < 0)
		return r;
	/* a trial alone: the door's library reads the texts by itself */
	stream_tls_destroy(tls);
	r = make_http(d, &files);
	if (r == 0)
		tls_files_warn(&paths, &files);
	else
		snprintf(error, TLS_FILES_ERROR, "http: %s", strerror(-r));
	tls_files_free(&files);
	return r;
}

/* ---- both ---------------------------------------------------------------------- */

static void try_door(struct doors *d, enum listen_door door)
{
	struct door_place *p = &d->place[door];
	char error[TLS_FILES_ERROR] = "";
	int r;

	stop_refusing(p);
	r = door == LISTEN_RESP ? open_resp(d, error) : open_http(d, error);
	/* what is not built in will not come */
	p->retry = r < 0 && r != -ENOSYS;
	if (r == 0) {
		works(d, door);
		return;
	}
	failed(d, door, error);
	refuse(p);
}

static void start_door(struct doors *d, enum listen_door door,
		       const char *listen)
{
	char why[TLS_FILES_ERROR];

	if (d->place[door].fd >= 0) {
		try_door(d, door);
	} else if (strcmp(listen, "off") != 0) {
		snprintf(why, sizeof(why),
			 "%s: no %s there, the address could not be had",
			 listen, shown[door]);
		failed(d, door, why);
	}
}

void doors_open(struct doors *d, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		int resp_fd, int http_fd)
{
	*d = (struct doors){
		.config = config,
		.store = store,
		.report = report,
		.place = { [LISTEN_RESP] = { .loop = loop, .fd = resp_fd },
			   [LISTEN_HTTP] = { .loop = loop, .fd = http_fd } },
		.retry_ns = clock_ns() + RETRY_NS,
	};
	start_door(d, LISTEN_RESP, config->resp.listen);
	start_door(d, LISTEN_HTTP, config->http.listen);
}

void doors_close(struct doors *d)
{
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		stop_refusing(&d->place[i]);
	http_destroy(d->http);
	if (d->resp)
		report_door_remove(d->report, resp_counts(d->resp));
	resp_destroy(d->resp);
	stream_tls_destroy(d->tls);
	*d = (struct doors){ 0 };
}

static uint64_t retry(struct doors *d, uint64_t now_ns)
{
	bool due = now_ns >= d->retry_ns, left = false;

	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		if (due && d->place[i].retry)
			try_door(d, i);
		left |= d->place[i].retry;
	}
	if (due)
		d->retry_ns = now_ns + RETRY_NS;
	return left ? d->retry_ns : UINT64_MAX;
}

uint64_t doors_turn(struct doors *d, uint64_t now_ns)
{
	uint64_t next = retry(d, now_ns);

	return d->http ? MIN(next, http_tick(d->http, now_ns)) : next;
}
