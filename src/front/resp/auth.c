/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is it? A user's name selects the tenant. Without a password and without
 * users everybody is "default" of tenant "default".
 *
 * Passwords are compared by their SHA-256, in a time that does not tell how
 * much of it was right.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include "base/hash.h"
#include "front/peer.h"
#include "front/resp/internal.h"

bool auth_needed(const struct resp_door *d)
{
	return d->options.password_sha256 || d->options.n_users;
}

static void enter(struct conn *c, struct resp_tenant *t, const char *user)
{
	resp_count(c, DOOR_C_connections_now, -1ull);
	c->tenant = t;
	c->user = user;
	resp_count(c, DOOR_C_connections_now, 1);
}

/* The same boundary as on the node's own socket. Where the kernel does not tell
 * users, nobody is let in without a password, unless that was said by name. One
 * whose user cannot be looked up now (no descriptor is left) comes again. */
static bool welcome(struct conn *c)
{
	const struct resp_options *o = &c->door->options;
	int fd = stream_fd(c->stream), r;
	uint32_t uid;

	if (!o->allowed || o->anybody)
		return true;
	if (!c->door->peers_known)
		return false;
	r = peer_uid(fd, &uid);
	c->closing = r < 0;
	return r == 0 && o->allowed(o->ctx, "default", uid);
}

void auth_begin(struct conn *c)
{
	struct resp_tenant *t;

	if (auth_needed(c->door))
		return;
	c->stranger = !welcome(c);
	if (c->stranger)
		return;
	if (tenant_open(c->door, "default", &t) < 0)
		return;
	c->tenant = t;
	c->user = "default";
}

static bool is_digest(const uint8_t digest[32], struct name password)
{
	struct hash_piece piece = { password.text, password.len };
	uint8_t have[32];

	return hash_sha256(&piece, 1, have) == 0 &&
	       CRYPTO_memcmp(have, digest, sizeof(have)) == 0;
}

static bool name_is(struct name word, const char *text)
{
	return strlen(text) == word.len &&
	       memcmp(text, word.text, word.len) == 0;
}

/* The tenant of (user, password); NULL: there is no such pair. */
static const char *tenant_of(const struct resp_door *d, struct name user,
			     struct name password, const char **ret_user)
{
	const struct resp_options *o = &d->options;

	*ret_user = "default";
	if (name_is(user, "default") && o->password_sha256)
		return is_digest(o->password_sha256, password) ? "default"
							       : NULL;
	for (unsigned i = 0; i < o->n_users; i++) {
		*ret_user = o->users[i].name;
		if (name_is(user, o->users[i].name))
			return is_digest(o->users[i].password_sha256, password)
				       ? o->users[i].tenant
				       : NULL;
	}
	return NULL;
}

/* Names are not told: passwords get into their place by mistake. */
static void log_failure(struct conn *c)
{
	struct conn_address a;

	conn_addresses(c, &a);
	resp_log(c->door, "wrong user or password from %s", a.peer);
}

/* False: there is a reply. */
static bool login(struct call *k, struct name user, struct name password)
{
	const char *name, *tenant;
	struct resp_tenant *t;

	if (!auth_needed(k->d)) {
		if (name_is(user, "default") && k->c->tenant)
			return true; /* as Redis's user without a password */
		out_error(k->out, "WRONGPASS invalid username-password pair or "
				  "user is disabled.");
		return false;
	}
	tenant = tenant_of(k->d, user, password, &name);
	if (!tenant) {
		resp_count(k->c, DOOR_C_auth_failures, 1);
		log_failure(k->c);
		out_error(k->out, "WRONGPASS invalid username-password pair or "
				  "user is disabled.");
		return false;
	}
	if (tenant_open(k->d, tenant, &t) < 0) {
		out_error(k->out, "ERR the tenant's pool cannot be opened");
		return false;
	}
	enter(k->c, t, name);
	return true;
}

enum exec_result exec_auth(struct call *k)
{
	struct name user = { "default", 7 };

	if (k->n > 3) {
		out_error(k->out, "ERR syntax error");
		return EXEC_DONE;
	}
	if (!auth_needed(k->d) && k->n == 2) {
		out_error(k->out,
			  "ERR AUTH <password> called without any password "
			  "configured for the default user. Are you sure your "
			  "configuration is correct?");
		return EXEC_DONE;
	}
	if (k->n == 3)
		user = call_arg(k, 1);
	if (login(k, user, call_arg(k, k->n - 1)))
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

static bool set_name(struct call *k, struct name name)
{
	return conn_name(k->c, name) == 0;
}

/* HELLO [2|3 [AUTH user password] [SETNAME name]]. False: there is a reply. */
static bool hello_options(struct call *k)
{
	for (uint32_t i = 2; i < k->n;) {
		struct name word = call_arg(k, i);

		if (word_is(word, "auth") && i + 2 < k->n) {
			if (!login(k, call_arg(k, i + 1), call_arg(k, i + 2)))
				return false;
			i += 3;
		} else if (word_is(word, "setname") && i + 1 < k->n) {
			if (!set_name(k, call_arg(k, i + 1))) {
				out_error(k->out, RESP_BAD_NAME);
				return false;
			}
			i += 2;
		} else {
			out_errorf(k->out,
				   "ERR Syntax error in HELLO option '%.*s'",
				   (int)MIN(word.len, 64u), word.text);
			return false;
		}
	}
	return true;
}

static bool hello_version(struct call *k, int64_t *ret_version)
{
	struct name word;

	*ret_version = k->c->protocol;
	if (k->n < 2)
		return true;
	word = call_arg(k, 1);
	if (!resp_number(word.text, word.len, ret_version)) {
		out_error(k->out, "ERR Protocol version is not an integer or "
				  "out of range");
		return false;
	}
	if (*ret_version == 2 || *ret_version == 3)
		return true;
	out_error(k->out, "NOPROTO unsupported protocol version");
	return false;
}

enum exec_result exec_hello(struct call *k)
{
	struct out *o = k->out;
	int64_t version;

	if (!hello_version(k, &version) || !hello_options(k))
		return EXEC_DONE;
	if (!k->c->tenant) {
		out_error(o,
			  "NOAUTH HELLO must be called with the client "
			  "already authenticated, otherwise the HELLO <proto> "
			  "AUTH <user> <pass> option can be used to "
			  "authenticate the client and select the RESP "
			  "protocol version at the same time");
		return EXEC_DONE;
	}
	k->c->protocol = o->protocol = (uint8_t)version;
	out_map(o, 7);
	out_text(o, "server");
	out_text(o, "redis");
	out_text(o, "version");
	out_text(o, RESP_AS_REDIS);
	out_text(o, "proto");
	out_int(o, version);
	out_text(o, "id");
	out_int(o, (int64_t)k->c->id);
	out_text(o, "mode");
	out_text(o, "standalone");
	out_text(o, "role");
	out_text(o, "master");
	out_text(o, "modules");
	out_array(o, 0);
	return EXEC_DONE;
}

enum exec_result exec_reset(struct call *k)
{
	struct conn *c = k->c;

	resp_count(c, DOOR_C_connections_now, -1ull);
	c->tenant = NULL;
	c->user = NULL;
	auth_begin(c);
	resp_count(c, DOOR_C_connections_now, 1);
	free(c->name);
	c->name = NULL;
	c->protocol = k->out->protocol = 2;
	out_simple(k->out, "RESET");
	return EXEC_DONE;
}
