/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the doors' configuration has besides plain values: passwords and tokens,
 * which are hashed as soon as they are read and never printed or shown in an
 * error; users; what a door does without.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/hash.h"
#include "base/text.h"
#include "config_internal.h"
#include "pem.h"

static const char *const without_words[] = { "authentication", "tls" };
_Static_assert(CONFIG_WITHOUT_AUTH == 1 && CONFIG_WITHOUT_TLS == 2,
	       "bits are the words' places");

/* ---- what to do without -------------------------------------------------- */

static int add_without(const char *word, size_t len, uint32_t *without)
{
	for (unsigned i = 0; i < ARRAY_LEN(without_words); i++) {
		if (strlen(without_words[i]) == len &&
		    strncmp(word, without_words[i], len) == 0) {
			*without |= 1u << i;
			return 0;
		}
	}
	return -EINVAL;
}

/* "tls", "authentication,tls" */
static int parse_without(const char *list, uint32_t *ret)
{
	uint32_t without = 0;

	for (;;) {
		size_t len = strcspn(list, ",");

		if (add_without(list, len, &without))
			return -EINVAL;
		list += len;
		if (!*list)
			break;
		list++;
	}
	*ret = without;
	return 0;
}

static int read_without(struct reading *r, const char *door,
			const struct raw_door *raw, uint32_t *without)
{
	for (unsigned i = 0; i < raw->without_count; i++) {
		const char *word = raw->without[i];
		char path[YAML_PATH], error[CONFIG_ERROR];

		if (!add_without(word, strlen(word), without))
			continue;
		snprintf(path, sizeof(path), "%s.without[%u]", door, i);
		config_expected(word, "authentication or tls", error);
		return reading_wrong(r, path, error);
	}
	return 0;
}

/* ---- passwords and tokens ------------------------------------------------ */

/* A token travels in a header; a password may have any bytes. */
static bool secret_ok(const char *text, bool token)
{
	size_t len = strlen(text);

	if (!len || len > CONFIG_SECRET)
		return false;
	for (; token && *text; text++) {
		if (*text <= 0x20 || *text >= 0x7f)
			return false;
	}
	return true;
}

static const char *secret_expected(bool token)
{
	return token ? "expected 1 to 255 printable ASCII characters without "
		       "spaces"
		     : "expected 1 to 255 characters";
}

static int hash_secret(const char *text, uint8_t ret[32])
{
	return hash_sha256(&(struct hash_piece){ text, strlen(text) }, 1, ret);
}

/* WHERE.WORD or WHERE.WORD_sha256. 1: there is one; 0: none. */
static int read_secret(struct reading *r, const char *where, const char *word,
		       const char *plain, const char *hex, uint8_t ret[32])
{
	bool token = strcmp(word, "token") == 0;
	char path[YAML_PATH], hashed[YAML_PATH];

	snprintf(path, sizeof(path), "%s.%s", where, word);
	snprintf(hashed, sizeof(hashed), "%s.%s_sha256", where, word);
	if (!reading_has(r, path)) {
		if (!reading_has(r, hashed))
			return 0;
		if (text_parse_hex(hex, ret, 32))
			return reading_wrong(r, hashed,
					     "expected 64 hexadecimal digits");
		return 1;
	}
	r->plain = true;
	if (reading_has(r, hashed))
		return reading_wrong(r, hashed, "it is there in plain as well");
	if (!secret_ok(plain, token))
		return reading_wrong(r, path, secret_expected(token));
	if (hash_secret(plain, ret)) {
		reading_wrong(r, path, "no memory");
		return -ENOMEM;
	}
	return 1;
}

/* ---- users --------------------------------------------------------------- */

static const struct config_user *find_user(const struct config_resp *resp,
					   const char *name)
{
	for (uint32_t i = 0; i < resp->n_users; i++) {
		if (strcmp(resp->users[i].name, name) == 0)
			return &resp->users[i];
	}
	return NULL;
}

/* "default" is always there. */
static int read_user_name(struct reading *r, const char *where,
			  const struct raw_user *raw, struct config_user *user)
{
	const struct config_resp *resp = &r->config.resp;

	if (!config_name_ok(raw->name))
		return reading_wrong(r, where,
				     "expected a name of 1 to 63 printable "
				     "ASCII characters without spaces");
	if (find_user(resp, raw->name))
		return reading_wrong(r, where, "its name is there twice");
	if (resp->has_password && strcmp(raw->name, "default") == 0)
		return reading_wrong(r, where,
				     "resp.password is default's already");
	text_copy(user->name, sizeof(user->name), raw->name);
	return 0;
}

static int read_user_tenant(struct reading *r, const char *where,
			    const struct raw_user *raw,
			    struct config_user *user)
{
	char path[YAML_PATH], error[CONFIG_ERROR];

	snprintf(path, sizeof(path), "%s.tenant", where);
	if (!reading_has(r, path))
		return 0;
	if (strcmp(raw->tenant, "default") &&
	    !config_has_tenant(&r->config, raw->tenant)) {
		config_expected(raw->tenant, "a tenant of this configuration",
				error);
		return reading_wrong(r, path, error);
	}
	text_copy(user->tenant, sizeof(user->tenant), raw->tenant);
	return 0;
}

static int read_user(struct reading *r, unsigned number)
{
	const struct raw_user *raw = &r->raw->resp.users[number];
	struct config_user user = { .name = "" };
	char where[32];
	int result;

	snprintf(where, sizeof(where), "resp.users[%u]", number);
	result = read_user_name(r, where, raw, &user);
	if (!result)
		result = read_user_tenant(r, where, raw, &user);
	if (result)
		return result;
	result = read_secret(r, where, "password", raw->password,
			     raw->password_sha256, user.password_sha256);
	if (result < 0)
		return result;
	if (!result)
		return reading_wrong(r, where,
				     "expected a password or password_sha256");
	r->config.resp.users[r->config.resp.n_users++] = user;
	return 0;
}

/* ---- both doors ---------------------------------------------------------- */

static int read_resp(struct reading *r)
{
	const struct raw_door *raw = &r->raw->resp;
	struct config_resp *resp = &r->config.resp;
	int result = read_without(r, "resp", raw, &resp->without);

	if (result)
		return result;
	result = read_secret(r, "resp", "password", raw->password,
			     raw->password_sha256, resp->password_sha256);
	if (result < 0)
		return result;
	resp->has_password = (uint32_t)result;
	for (unsigned i = 0; i < raw->users_count; i++) {
		result = read_user(r, i);
		if (result)
			return result;
	}
	return 0;
}

static int read_http(struct reading *r)
{
	const struct raw_door *raw = &r->raw->http;
	struct config_http *http = &r->config.http;
	int result = read_without(r, "http", raw, &http->without);

	if (result)
		return result;
	result = read_secret(r, "http", "token", raw->password,
			     raw->password_sha256, http->token_sha256);
	if (result < 0)
		return result;
	http->has_token = (uint32_t)result;
	return 0;
}

int config_doors_read(struct reading *r)
{
	int result = read_resp(r);

	return result ? result : read_http(r);
}

void config_doors_wipe(struct raw_config *raw)
{
	explicit_bzero(raw->resp.password, sizeof(raw->resp.password));
	explicit_bzero(raw->http.password, sizeof(raw->http.password));
	for (unsigned i = 0; i < raw->resp.users_count; i++)
		explicit_bzero(raw->resp.users[i].password,
			       sizeof(raw->resp.users[i].password));
}

/* ---- options ------------------------------------------------------------- */

/* The file's content without its final newline. */
static int load_secret(const char *path, bool token, uint8_t ret[32],
		       char error[CONFIG_ERROR])
{
	size_t len;
	char *text;
	int r = pem_load(path, &text);

	if (r) {
		snprintf(error, CONFIG_ERROR, "'%.200s': %s", path,
			 strerror(-r));
		return r;
	}
	len = strlen(text);
	if (text[len - 1] == '\n')
		text[len - 1] = '\0';
	r = secret_ok(text, token) ? hash_secret(text, ret) : -EINVAL;
	pem_free(text);
	if (r)
		snprintf(error, CONFIG_ERROR, "'%.150s': %s", path,
			 r == -ENOMEM ? "no memory" : secret_expected(token));
	return r;
}

static int set_password(struct config_resp *resp, const char *path,
			char error[CONFIG_ERROR])
{
	int r;

	if (find_user(resp, "default")) {
		snprintf(error, CONFIG_ERROR,
			 "'%.100s': the file has a user named default, with a "
			 "password of its own",
			 path);
		return -EINVAL;
	}
	r = load_secret(path, false, resp->password_sha256, error);
	if (!r)
		resp->has_password = 1;
	return r;
}

static int set_token(struct config_http *http, const char *path,
		     char error[CONFIG_ERROR])
{
	int r = load_secret(path, true, http->token_sha256, error);

	if (!r)
		http->has_token = 1;
	return r;
}

int config_doors_option(struct node_config *config, const char *name,
			const char *value, char error[CONFIG_ERROR])
{
	bool resp = strcmp(name, "resp-without") == 0;

	if (resp || strcmp(name, "http-without") == 0) {
		if (!parse_without(value, resp ? &config->resp.without
					       : &config->http.without))
			return 0;
		return config_expected(value,
				       "authentication, tls, or both with a "
				       "comma",
				       error);
	}
	if (strcmp(name, "resp-password-file") == 0)
		return set_password(&config->resp, value, error);
	if (strcmp(name, "http-token-file") == 0)
		return set_token(&config->http, value, error);
	snprintf(error, CONFIG_ERROR, "no option --%.64s", name);
	return -ENOENT;
}

/* ---- printing ------------------------------------------------------------ */

static void print_without(uint32_t without, FILE *out)
{
	const char *comma = "";

	fputs("  without: [", out);
	for (unsigned i = 0; i < ARRAY_LEN(without_words); i++) {
		if (!(without & 1u << i))
			continue;
		fprintf(out, "%s%s", comma, without_words[i]);
		comma = ", ";
	}
	fputs("]\n", out);
}

static void print_sha256(const char *key, const uint8_t sha256[32], FILE *out)
{
	char hex[65];

	text_hex(sha256, 32, hex);
	fprintf(out, "%s: %s\n", key, hex);
}

static void print_user(const struct config_user *user, FILE *out)
{
	fputs("    - name: ", out);
	config_print_quoted(user->name, out);
	print_sha256("      password_sha256", user->password_sha256, out);
	if (user->tenant[0]) {
		fputs("      tenant: ", out);
		config_print_quoted(user->tenant, out);
	}
}

static void print_resp(const struct node_config *config, FILE *out)
{
	const struct config_resp *resp = &config->resp;

	fputs("resp:\n", out);
	config_print_section(config, "resp.", out);
	if (resp->has_password)
		print_sha256("  password_sha256", resp->password_sha256, out);
	if (resp->certificate[0] || resp->key[0] || resp->client_ca[0])
		fputs("  tls:\n", out);
	config_print_section(config, "resp.tls.", out);
	print_without(resp->without, out);
	if (resp->n_users)
		fputs("  users:\n", out);
	for (uint32_t i = 0; i < resp->n_users; i++)
		print_user(&resp->users[i], out);
}

void config_doors_print(const struct node_config *config, FILE *out)
{
	const struct config_http *http = &config->http;

	print_resp(config, out);
	fputs("http:\n", out);
	config_print_section(config, "http.", out);
	if (http->has_token)
		print_sha256("  token_sha256", http->token_sha256, out);
	if (http->certificate[0] || http->key[0])
		fputs("  tls:\n", out);
	config_print_section(config, "http.tls.", out);
	print_without(http->without, out);
}
