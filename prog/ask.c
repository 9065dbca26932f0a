/* SPDX-License-Identifier: Apache-2.0 */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "config.h"
#include "front/resp/resp.h"
#include "pem.h"

#define ASK_TIMEOUT_NS (5 * NS_PER_S)
#define ASK_COLUMNS    24u

int ask_token(const struct cli *c)
{
	char *text = NULL;
	int r = pem_load(c->value, &text);

	if (r == 0) {
		text[strcspn(text, "\n")] = '\0';
		if (!config_token_ok(text, strlen(text)))
			r = -EINVAL;
		else if (setenv("ONECOPY_TOKEN", text, 1))
			r = -ENOMEM;
	}
	pem_free(text);
	if (r == 0)
		return 0;
	return cli_fail(c->command, PROG_BAD_INPUT, "--token-file %s: %s",
			c->value,
			r == -EINVAL ? "no token of 16 to 255 characters"
				     : strerror(-r));
}

static int try_as(const char *socket, bool read_only, uint64_t timeout_ns,
		  oc_client **ret_client, char error[ASK_ERROR])
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = socket,
		.name = "onecopy",
		.read_only = read_only,
		.timeout_ns = timeout_ns,
	};
	int r;

	error[0] = '\0';
	r = oc_client_connect(&options, ret_client, error);
	if (r && !error[0])
		snprintf(error, ASK_ERROR, "%s", oc_strerror(r));
	return r;
}

int ask_try(const char *socket, uint64_t timeout_ns, oc_client **ret_client,
	    char error[ASK_ERROR])
{
	return try_as(socket, true, timeout_ns, ret_client, error);
}

static int connect_as(const char *socket, bool read_only,
		      oc_client **ret_client)
{
	char error[ASK_ERROR];
	int r = try_as(socket, read_only, ASK_TIMEOUT_NS, ret_client, error);

	if (r)
		fprintf(stderr, "onecopy: %s\n", error);
	return r;
}

int ask_connect(const char *socket, oc_client **ret_client)
{
	return connect_as(socket, true, ret_client);
}

int ask_connect_writing(const char *socket, oc_client **ret_client)
{
	return connect_as(socket, false, ret_client);
}

int ask_json(oc_client *c, const char *what, const char *args,
	     json_t **ret_root)
{
	char *text;
	int r = oc_inspect(c, what, args, ASK_TIMEOUT_NS, &text);

	if (r)
		return r;
	*ret_root = json_loads(text, JSON_DECODE_ANY, NULL);
	free(text);
	return *ret_root ? 0 : -EPROTO;
}

uint64_t ask_u64(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

int ask_session(oc_client *c, const char *which, oc_ns **ret_ns,
		oc_session **ret_session)
{
	struct oc_session_options o = OC_SESSION_INIT;
	json_t *root;
	oc_ns *ns;
	int r = ask_json(c, "session", which, &root);

	if (r)
		return r;
	o.flags = OC_SESSION_FIND;
	o.id = ask_u64(root, "id");
	r = oc_ns_find(c, (uint32_t)ask_u64(root, "ns"), &ns);
	json_decref(root);
	if (r)
		return r;
	r = oc_session_open(ns, &o, 0, ret_session);
	if (r)
		oc_ns_close(ns);
	else
		*ret_ns = ns;
	return r;
}

static bool ask_ends(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n >= k && strcmp(name + n - k, end) == 0;
}

/* The unit is in the name. */
static void ask_number(const char *name, uint64_t v, char *text, size_t cap)
{
	char unit[32];

	if (ask_ends(name, "bytes") || strcmp(name, "max_frame") == 0)
		snprintf(text, cap, "%s", text_size(v, unit));
	else if (ask_ends(name, "bytes_per_s"))
		snprintf(text, cap, "%s/s", text_size(v, unit));
	else if (ask_ends(name, "_ns"))
		snprintf(text, cap, "%s", text_time(v, unit));
	else if (ask_ends(name, "_ms"))
		snprintf(text, cap, "%s", text_time(v * NS_PER_MS, unit));
	else
		snprintf(text, cap, "%lld", (long long)v);
}

void ask_value(const char *name, const json_t *value, char *text, size_t cap)
{
	if (json_is_integer(value))
		ask_number(name, (uint64_t)json_integer_value(value), text,
			   cap);
	else if (json_is_real(value))
		snprintf(text, cap, "%.3f", json_real_value(value));
	else if (json_is_string(value))
		snprintf(text, cap, "%s", json_string_value(value));
	else if (json_is_boolean(value))
		snprintf(text, cap, "%s", json_is_true(value) ? "yes" : "no");
	else
		snprintf(text, cap, "-");
}

static size_t ask_columns(const json_t *rows, const char **names)
{
	json_t *first = json_array_get(rows, 0), *value;
	const char *name;
	size_t n = 0;

	json_object_foreach(first, name, value)
		if (n < ASK_COLUMNS && !json_is_object(value) &&
		    !json_is_array(value))
			names[n++] = name;
	return n;
}

static void ask_widths(const json_t *rows, const char **names, size_t n,
		       int *width)
{
	char text[96];
	json_t *row;
	size_t i;

	for (size_t k = 0; k < n; k++)
		width[k] = (int)strlen(names[k]);
	json_array_foreach(rows, i, row)
		for (size_t k = 0; k < n; k++) {
			ask_value(names[k], json_object_get(row, names[k]),
				  text, sizeof(text));
			width[k] = MAX(width[k], (int)strlen(text));
		}
}

void ask_table(FILE *out, const json_t *rows)
{
	const char *names[ASK_COLUMNS];
	size_t n = ask_columns(rows, names), i;
	int width[ASK_COLUMNS];
	char text[96];
	json_t *row;

	ask_widths(rows, names, n, width);
	for (size_t k = 0; k < n; k++)
		fprintf(out, "  %*s", width[k], names[k]);
	fprintf(out, "\n");
	json_array_foreach(rows, i, row) {
		for (size_t k = 0; k < n; k++) {
			ask_value(names[k], json_object_get(row, names[k]),
				  text, sizeof(text));
			fprintf(out, "  %*s", width[k], text);
		}
		fprintf(out, "\n");
	}
}

int ask_key(const struct command *command, const char *word, bool redis,
	    struct oc_key *ret_key)
{
	size_t len = strlen(word);

	if (redis && len <= RESP_VALUE_NAME_MAX) {
		resp_block_key(word, (uint32_t)len, ret_key->bytes);
		return 0;
	}
	if (redis)
		return cli_fail(command, PROG_USAGE,
				"%.100s... is no name: at most %u bytes", word,
				RESP_VALUE_NAME_MAX);
	if (len == 2 * sizeof(ret_key->bytes) &&
	    text_parse_hex(word, ret_key->bytes, sizeof(ret_key->bytes)) == 0)
		return 0;
	return cli_fail(command, PROG_USAGE,
			"%.100s is not a key: 64 hexadecimal digits "
			"(--redis: a name at the RESP door)",
			word);
}
