/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HELLO: who is it, which tenant, what does it get.
 *
 * Order: descriptors held by the keeper, record published, WELCOME sent. A
 * server that dies between them leaves held descriptors without a record
 * (dropped by the next) or a client that asks again (answered again).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "front/native/session.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static int peer_pidfd(int sock, const struct ucred *cred)
{
	int fd = -1;
	socklen_t len = sizeof(fd);

	if (fault_point(FAULT_IO))
		return -EIO;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) == 0 &&
	    fd >= 0)
		return fd;
	if (errno != ENOPROTOOPT)
		return -errno; /* it has ended: its number may be another's */
	/* older kernels: the number could have a new process by now, but then
	 * that process's end is what is watched, and the client's socket
	 * closes with it or before */
	fd = (int)syscall(SYS_pidfd_open, cred->pid, 0);
	return fd < 0 ? -errno : fd;
}

static bool own_user(uint32_t uid)
{
	return uid == 0 || uid == geteuid();
}

static const struct native_tenant *tenant_find(const struct native *n,
					       const char *tenant)
{
	for (uint32_t i = 0; i < n->options.n_tenants; i++)
		if (!strcmp(n->options.tenant[i].name, tenant))
			return &n->options.tenant[i];
	return NULL;
}

void native_quota(const struct native *n, const char *tenant, struct pool *p)
{
	const struct native_tenant *t = tenant_find(n, tenant);

	store_pool_quota(p, t ? t->quota_bytes : 0);
	store_pool_share(p, t ? t->share_bytes : 0);
}

/* Takes as long whichever of them it is, and however much is right. */
static bool has_token(const struct native_tenant *t, const uint8_t digest[32])
{
	unsigned right = 0;

	for (uint32_t i = 0; i < t->n_tokens; i++)
		right |= CRYPTO_memcmp(t->token_sha256[i], digest, 32) == 0;
	return right;
}

/* Who comes with a token, and names no tenant, means the token's. */
static const struct native_tenant *token_tenant(const struct native *n,
						const uint8_t digest[32])
{
	const struct native_tenant *t = NULL;

	for (uint32_t i = 0; i < n->options.n_tenants; i++)
		if (has_token(&n->options.tenant[i], digest))
			t = &n->options.tenant[i];
	return t;
}

/* May this user, or who has this token (NULL: none), use the tenant? A stranger
 * is not told which tenants there are. */
static int tenant_allows(const struct native_tenant *t, const char *tenant,
			 uint32_t uid, const uint8_t *digest)
{
	bool allowed = own_user(uid);

	if (!t && strcmp(tenant, "default"))
		return allowed ? -ENOENT : -EACCES;
	for (uint32_t u = 0; t && u < t->n_uids; u++)
		allowed = allowed || t->uids[u] == uid;
	if (t && digest && has_token(t, digest))
		allowed = true;
	return allowed ? 0 : -EACCES;
}

/* The tenant that a HELLO means, and whether it may be used. */
static int tenant_choose(struct native *n, const struct msg_hello *hello,
			 uint32_t uid, const char **ret_tenant)
{
	const struct hash_piece token = { hello->token, strlen(hello->token) };
	const struct native_tenant *t;
	const char *name = hello->tenant;
	uint8_t digest[32];
	int r = token.len ? hash_sha256(&token, 1, digest) : 0;

	if (r < 0)
		return r;
	if (!*name && !token.len)
		name = "default";
	t = *name ? tenant_find(n, name) : token_tenant(n, digest);
	r = *name || t ? tenant_allows(t, t ? t->name : name, uid,
				       token.len ? digest : NULL)
		       : -EACCES;
	if (r == 0)
		*ret_tenant = t ? t->name : name;
	return r;
}

/* The tenant's pool, made when it is used first. */
static int tenant_pool(struct native *n, const char *tenant,
		       struct pool **ret_pool)
{
	struct store *s = n->options.store;
	int r;

	if (store_pool_by_tenant(s, tenant, ret_pool) == 0)
		return 0;
	r = store_pool_add(s, tenant, 0, ret_pool);
	if (r < 0)
		return r;
	native_quota(n, tenant, *ret_pool);
	store_pool_serve(*ret_pool);
	return 0;
}

static int make_fds(struct session *s, uint32_t pins, uint32_t overflow)
{
	int pair[2], r = segment_create("onecopy-client",
					client_segment_bytes(pins, overflow), 0,
					&s->segment);

	if (r < 0)
		return r;
	if (fault_point(FAULT_IO))
		return -EIO;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       pair) < 0)
		return -errno;
	s->bell = pair[0];
	s->bell_peer = pair[1];
	return 0;
}

static int hold_all(struct session *s)
{
	const struct hold_ops *hold = s->native->options.hold;
	const int fds[] = { s->sock, s->segment.fd, s->bell, s->bell_peer,
			    s->pidfd };

	for (uint32_t i = 0; i < ARRAY_LEN(fds); i++) {
		struct hold_tag tag = { HOLD_CLIENT_SOCK + i,
					s->client->pool->number,
					s->client->id };
		int r = hold->hold(hold->ctx, &tag, fds[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static void send_welcome(struct session *s, uint64_t seq)
{
	struct pool *p = s->client->pool;
	union msg m;
	int fds[4] = { -1, -1, s->segment.fd, s->bell_peer };

	if (segment_reopen_readonly(p->meta_segment.fd, &fds[0]) < 0 ||
	    segment_reopen_readonly(p->index_segment.fd, &fds[1]) < 0) {
		session_refuse(s, seq, -EMFILE,
			       "the node is out of descriptors");
	} else {
		msg_init(&m, MSG_WELCOME, seq);
		m.welcome.client_id = s->client->id;
		m.welcome.meta_bytes = p->meta_segment.bytes;
		m.welcome.index_bytes = p->index_segment.bytes;
		m.welcome.client_bytes = s->segment.bytes;
		m.welcome.index_epoch =
			shared_load64(&p->m->header.index_epoch);
		m.welcome.pins = s->client->n_pins;
		m.welcome.overflow = s->client->n_overflow;
		session_send(s, &m, fds, 4);
	}
	fd_close(fds[0]);
	fd_close(fds[1]);
}

static int admit(struct session *s, const struct msg_hello *hello,
		 struct pool *p, const struct ucred *cred)
{
	struct native *n = s->native;
	uint32_t pins = hello->pins ? hello->pins : n->options.pins;
	struct store_client_info info = {
		.pid = (uint32_t)cred->pid,
		.uid = cred->uid,
		.read_only = hello->flags & MSG_HELLO_READ_ONLY,
		.pins = MAX(MIN(pins, n->options.pins), 64u),
		.overflow = n->options.overflow,
		.name = hello->name,
	};
	int r = make_fds(s, info.pins, info.overflow);

	if (r < 0)
		return r;
	r = store_client_add(n->options.store, p, &info, s->segment.base,
			     &s->client);
	if (r < 0)
		return r;
	s->client->door = s;
	r = session_watch(s);
	if (r == 0)
		r = hold_all(s);
	if (r < 0)
		return r;
	store_client_publish(s->client);
	return 0;
}

static void refuse_hello(struct session *s, const struct msg_hello *hello,
			 int r, const struct ucred *cred)
{
	char text[200];

	switch (r) {
	case -ENOENT:
		snprintf(
			text, sizeof(text),
			"no tenant \"%s\": name it in the node's configuration",
			hello->tenant);
		break;
	case -EACCES:
		if (!*hello->tenant && *hello->token) {
			snprintf(text, sizeof(text),
				 "no tenant has this token (user id %u)",
				 (unsigned)cred->uid);
			break;
		}
		snprintf(text, sizeof(text),
			 *hello->token
				 ? "neither user id %u nor this token may use "
				   "tenant \"%s\""
				 : "user id %u may not use tenant \"%s\"",
			 (unsigned)cred->uid, hello->tenant);
		break;
	case -EUSERS:
		snprintf(text, sizeof(text),
			 "the node has all the clients that it may have (%u)",
			 s->native->options.max_clients);
		break;
	case -EPROTO:
		snprintf(text, sizeof(text),
			 "library and node are different builds: use the "
			 "library of this node's version");
		break;
	default:
		snprintf(text, sizeof(text),
			 "the node cannot take a client: %s", strerror(-r));
	}
	session_refuse(s, hello->head.seq, r, text);
}

static uint32_t clients(const struct native *n)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n->n_sessions; i++)
		if (n->session[i]->client && !n->session[i]->client->closed)
			count++;
	return count;
}

void hello_handle(struct session *s, const struct msg_hello *hello)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	const char *tenant = NULL;
	struct pool *p;
	int r = 0;

	if (s->client) { /* the answer was lost with a predecessor */
		send_welcome(s, hello->head.seq);
		return;
	}
	if (getsockopt(s->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		r = -errno;
	else if (hello->stamp != layout_stamp())
		r = -EPROTO;
	else if (clients(s->native) >= s->native->options.max_clients)
		r = -EUSERS;
	if (r == 0)
		r = tenant_choose(s->native, hello, cred.uid, &tenant);
	if (r == 0)
		r = tenant_pool(s->native, tenant, &p);
	if (r == 0) {
		s->pidfd = peer_pidfd(s->sock, &cred);
		r = MIN(s->pidfd, 0);
	}
	if (r == 0)
		r = admit(s, hello, p, &cred);
	if (r < 0) {
		log_some(s->native,
			 "a client (process %d, user %u, tenant \"%s\"%s) was "
			 "refused: %s",
			 (int)cred.pid, (unsigned)cred.uid, hello->tenant,
			 *hello->token ? ", with a token" : "", strerror(-r));
		refuse_hello(s, hello, r, &cred);
		session_end(s, s->client != NULL);
		return;
	}
	send_welcome(s, hello->head.seq);
	turn_wake(s);
}
