/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy where: the four questions for a block. */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/text.h"
#include "commands.h"

struct where {
	const struct command *command;
	const char *socket;
	const char *ns; /* number or label; NULL: all */
	bool json;
	bool one_part, redis;
	uint64_t group, rank;
	json_t *all; /* with --json */
	bool missed;
};

static const struct cli_option where_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	ASK_TOKEN_OPTION,
	ASK_REDIS_OPTION,
	{ CLI_LONG, "ns", "ID", NULL, "only this namespace, number or label" },
	{ 'p', "part", "GROUP/RANK", NULL, "only this part" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static int where_part(struct where *w, const struct cli *c)
{
	char group[16];
	const char *slash = strchr(c->value, '/');
	size_t n = slash ? (size_t)(slash - c->value) : 0;

	w->one_part = true;
	if (n && n < sizeof(group)) {
		memcpy(group, c->value, n);
		group[n] = '\0';
		if (text_parse_u64(group, UINT16_MAX, &w->group) == 0 &&
		    text_parse_u64(slash + 1, UINT16_MAX, &w->rank) == 0)
			return 0;
	}
	return cli_fail(c->command, PROG_USAGE, "--part: %s is not GROUP/RANK",
			c->value);
}

static bool where_wanted(const struct where *w, const json_t *part)
{
	const char *label =
		json_string_value(json_object_get(part, "ns_label"));
	char id[32];

	if (w->one_part && (ask_u64(part, "group") != w->group ||
			    ask_u64(part, "rank") != w->rank))
		return false;
	if (!w->ns)
		return true;
	snprintf(id, sizeof(id), "%llu",
		 (unsigned long long)ask_u64(part, "ns"));
	return strcmp(id, w->ns) == 0 || (label && strcmp(label, w->ns) == 0);
}

static json_t *where_filter(const struct where *w, const json_t *parts)
{
	json_t *kept = json_array(), *part;
	size_t i;

	json_array_foreach(parts, i, part)
		if (where_wanted(w, part))
			json_array_append(kept, part);
	return kept;
}

static void where_print(const char *key, const json_t *parts)
{
	char text[64];
	json_t *part, *value;
	const char *name;
	size_t i;

	printf("%s%s\n", key, json_array_size(parts) ? "" : "  not resident");
	json_array_foreach(parts, i, part) {
		printf(" ");
		json_object_foreach(part, name, value) {
			ask_value(name, value, text, sizeof(text));
			printf(" %s=%s", name, text);
		}
		printf("\n");
	}
}

/* `word` is what was asked for; *key what that means. */
static int where_key(struct where *w, oc_client *c, const char *word,
		     const struct oc_key *key)
{
	json_t *root = NULL, *parts, *kept, *o;
	char hex[2 * OC_KEY_BYTES + 1];
	int r;

	text_hex(key->bytes, sizeof(key->bytes), hex);
	r = ask_json(c, "where", hex, &root);
	if (r && r != OC_MISS)
		return cli_fail(w->command,
				r < 0 ? (int)exit_of(r) : PROG_FAILED, "%s",
				oc_strerror(r));
	parts = json_is_array(root) ? root : json_object_get(root, "parts");
	kept = where_filter(w, parts);
	if (json_array_size(kept) == 0)
		w->missed = true;
	if (w->json) {
		o = json_pack("{s:s,s:O}", "key", hex, "parts", kept);
		if (w->redis)
			json_object_set_new(o, "name", json_string(word));
		json_array_append_new(w->all, o);
	} else {
		where_print(word, kept);
	}
	json_decref(kept);
	json_decref(root);
	return 0;
}

static int where_keys(struct where *w, const struct cli *c)
{
	struct oc_key key;
	oc_client *client;
	int r = 0;

	for (int i = c->first; r == 0 && i < c->argc; i++)
		r = ask_key(w->command, c->argv[i], w->redis, &key);
	if (r)
		return r;
	r = ask_connect(w->socket, &client);
	if (r)
		return exit_of(r);
	w->all = json_array();
	for (int i = c->first; r == 0 && i < c->argc; i++) {
		r = ask_key(w->command, c->argv[i], w->redis, &key);
		if (r == 0)
			r = where_key(w, client, c->argv[i], &key);
	}
	oc_client_close(client);
	if (r == 0 && w->json) {
		json_dumpf(w->all, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(w->all);
	return r ? r : w->missed ? PROG_FAILED : PROG_OK;
}

static int where_run(const struct command *self, int argc, char **argv)
{
	struct where w = { .command = self };
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = 0;
		if (id == 'n')
			w.socket = c.value;
		else if (id == ASK_TOKEN)
			r = ask_token(&c);
		else if (id == ASK_REDIS)
			w.redis = true;
		else if (id == CLI_LONG)
			w.ns = c.value;
		else if (id == 'p')
			r = where_part(&w, &c);
		else
			w.json = true;
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 1, 4096);
	return r ? r : where_keys(&w, &c);
}

const struct command command_where = {
	.name = "where",
	.summary = "where a block is, whose, how near, how many copies",
	.usage = "[OPTIONS] KEY...",
	.options = where_options,
	.run = where_run,
};
