/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy why: why a block is not there, or that it is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/text.h"
#include "why.h"

#define KEYS_AT_ONCE 64u /* of one question */
#define QUESTION     (65 * (KEYS_AT_ONCE + 1))

enum why_option {
	OPT_NAMESPACE = CLI_LONG,
	OPT_BLOCK,
	OPT_SEED,
	OPT_SALT,
	OPT_LORA,
	OPT_ALSO_SALT,
	OPT_ALSO_SEED,
};

static const struct cli_option why_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	ASK_TOKEN_OPTION,
	ASK_REDIS_OPTION,
	{ OPT_NAMESPACE, "namespace", "ID", NULL,
	  "in this namespace, number or label; without it: in any" },
	{ 't', "tokens", "FILE|LIST", NULL,
	  "token ids, or a file of them (- is standard input): their blocks" },
	{ 's', "session", "NAME|#ID", NULL, "the blocks of a session" },
	{ OPT_BLOCK, "block-tokens", "N", "the namespace's",
	  "tokens of a block" },
	{ OPT_SEED, "seed", "TEXT", "0", "the chain's" },
	{ OPT_SALT, "salt", "TEXT", NULL, "the chain's cache salt" },
	{ OPT_LORA, "lora", "NAME", NULL, "the chain's LoRA" },
	{ OPT_ALSO_SALT, "also-salt", "TEXT", NULL,
	  "look for the tokens under this salt too; can be given again" },
	{ OPT_ALSO_SEED, "also-seed", "TEXT", NULL, "the same of a seed" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

int why_add(struct why *w, const struct oc_key *keys, size_t n)
{
	struct oc_key *grown = mem_grow(w->key, w->n_keys + n, sizeof(*grown));

	if (!grown)
		return cli_fail(w->command, PROG_SYSTEM, "no memory");
	memcpy(grown + w->n_keys, keys, n * sizeof(*keys));
	w->key = grown;
	w->n_keys += n;
	return 0;
}

/* ---- asking ---------------------------------------------------------------- */

static int ask_some(struct why *w, const struct oc_key *keys, size_t n,
		    uint64_t ns, json_t *list)
{
	char words[QUESTION], hex[65];
	json_t *root = NULL;
	size_t len = 0;
	int r;

	words[0] = '\0';
	if (ns)
		len = (size_t)snprintf(words, sizeof(words), "ns=%llu",
				       (unsigned long long)ns);
	for (size_t i = 0; i < n; i++) {
		text_hex(keys[i].bytes, sizeof(keys[i].bytes), hex);
		len += (size_t)snprintf(words + len, sizeof(words) - len,
					"%s%s", len ? " " : "", hex);
	}
	r = ask_json(w->client, "why", words, &root);
	if (r)
		return cli_fail(w->command,
				r < 0 ? (int)exit_of(r) : PROG_FAILED, "%s",
				oc_strerror(r));
	json_array_extend(list, json_object_get(root, "keys"));
	w->cut = w->cut || json_is_true(json_object_get(root, "cut"));
	json_decref(w->history);
	w->history = json_incref(json_object_get(root, "history"));
	json_decref(root);
	return 0;
}

int why_ask(struct why *w, const struct oc_key *keys, size_t n, uint64_t ns,
	    json_t **ret_list)
{
	json_t *list = json_array();
	int r = 0;

	for (size_t at = 0; r == 0 && at < n; at += KEYS_AT_ONCE)
		r = ask_some(w, keys + at, MIN(n - at, (size_t)KEYS_AT_ONCE),
			     ns, list);
	if (r == 0 && json_array_size(list) != n)
		r = cli_fail(w->command, PROG_SYSTEM,
			     "the node answered for other keys");
	if (r) {
		json_decref(list);
		return r;
	}
	*ret_list = list;
	return 0;
}

/* The namespaces of the tenant, and which of them is meant. */
static int learn_namespaces(struct why *w)
{
	json_t *root = NULL, *ns;
	size_t i;
	int r = ask_json(w->client, "stat", NULL, &root);

	if (r)
		return cli_fail(w->command, PROG_SYSTEM, "%s", oc_strerror(r));
	w->namespaces = json_incref(json_object_get(root, "namespaces"));
	json_decref(root);
	if (!w->ns_text)
		return 0;
	json_array_foreach(w->namespaces, i, ns) {
		const char *label =
			json_string_value(json_object_get(ns, "label"));
		char id[32];

		snprintf(id, sizeof(id), "%llu",
			 (unsigned long long)ask_u64(ns, "id"));
		if (strcmp(id, w->ns_text) == 0 ||
		    (label && strcmp(label, w->ns_text) == 0))
			w->ns = ask_u64(ns, "id");
	}
	if (w->ns)
		return 0;
	return cli_fail(w->command, PROG_BAD_INPUT,
			"the tenant has no namespace '%.100s'", w->ns_text);
}

/* ---- telling --------------------------------------------------------------- */

static bool is_resident(const json_t *answer)
{
	return json_is_true(json_object_get(answer, "resident"));
}

static size_t first_missing(const struct why *w)
{
	size_t i = 0;

	while (i < w->n_keys && is_resident(json_array_get(w->answers, i)))
		i++;
	return i;
}

static void print_answer(const struct why *w, size_t i)
{
	const json_t *answer = json_array_get(w->answers, i);
	const char *because =
		json_string_value(json_object_get(answer, "because"));

	if (w->session_text)
		printf("block %zu ", i);
	else if (w->tokens_text)
		printf("block %zu (tokens %zu to %zu) ", i,
		       i * w->chain.block_tokens,
		       (i + 1) * w->chain.block_tokens - 1);
	printf("%s: %s.\n",
	       w->redis ? w->word[i]
			: json_string_value(json_object_get(answer, "key")),
	       because ? because : "?");
}

static void print_elsewhere(const json_t *list)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		printf("The same tokens are resident %s (namespace %llu).\n",
		       json_string_value(json_object_get(one, "how")),
		       (unsigned long long)ask_u64(one, "ns"));
}

static void print_history(const struct why *w)
{
	const json_t *ms = json_object_get(w->history, "reaches_back_ms");
	char text[32];

	if (json_is_true(json_object_get(w->history, "complete")))
		printf("The history is complete.\n");
	else if (!json_is_integer(ms))
		printf("No history is kept here.\n");
	else
		printf("The history reaches back %s; it does not outlive the "
		       "server process.\n",
		       text_time((uint64_t)json_integer_value(ms) * 1000000,
				 text));
	if (w->cut)
		printf("Not everything could be looked at: ask about fewer "
		       "keys, or in one namespace.\n");
}

static void print_all(const struct why *w, size_t missing,
		      const json_t *elsewhere)
{
	for (size_t i = 0; i < w->n_keys; i++)
		print_answer(w, i);
	if ((w->tokens_text || w->session_text) && missing)
		printf("The first %zu of %zu blocks are resident.\n", missing,
		       w->n_keys);
	print_elsewhere(elsewhere);
	if (missing < w->n_keys)
		print_history(w);
}

static void print_json(const struct why *w, const json_t *elsewhere)
{
	json_t *o;

	for (size_t i = 0; w->redis && i < w->n_keys; i++)
		json_object_set_new(json_array_get(w->answers, i), "name",
				    json_string(w->word[i]));
	o = json_pack("{s:O,s:b,s:O,s:O}", "history", w->history, "cut", w->cut,
		      "keys", w->answers, "elsewhere", elsewhere);

	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

static int tell(struct why *w)
{
	json_t *elsewhere = NULL;
	size_t missing;
	int r = why_ask(w, w->key, w->n_keys, w->ns, &w->answers);

	if (r)
		return r;
	missing = first_missing(w);
	if (w->tokens_text && missing < w->n_keys)
		r = why_elsewhere(w, missing, &elsewhere);
	else
		elsewhere = json_array();
	if (r)
		return r;
	if (w->json)
		print_json(w, elsewhere);
	else
		print_all(w, missing, elsewhere);
	json_decref(elsewhere);
	return missing < w->n_keys ? PROG_FAILED : PROG_OK;
}

/* ---- the command ----------------------------------------------------------- */

static int add_words(struct why *w, const struct cli *c)
{
	w->word = &c->argv[c->first];
	for (int i = c->first; i < c->argc; i++) {
		struct oc_key key;
		int r = ask_key(w->command, c->argv[i], w->redis, &key);

		if (r == 0)
			r = why_add(w, &key, 1);
		if (r)
			return r;
	}
	return 0;
}

static int also(struct why *w, const struct cli *c, const char **list,
		unsigned *n)
{
	if (*n == WHY_ALSO_MAX)
		return cli_fail(w->command, PROG_USAGE,
				"--%s: at most %u of them", c->option->name,
				WHY_ALSO_MAX);
	list[(*n)++] = c->value;
	return 0;
}

static int take_option(struct why *w, const struct cli *c, int id)
{
	uint64_t n = 0;
	int r;

	switch (id) {
	case 'n':
		w->socket = c->value;
		return 0;
	case 't':
		w->tokens_text = c->value;
		return 0;
	case 's':
		w->session_text = c->value;
		return 0;
	case 'j':
		w->json = true;
		return 0;
	case ASK_TOKEN:
		return ask_token(c);
	case ASK_REDIS:
		w->redis = true;
		return 0;
	case OPT_NAMESPACE:
		w->ns_text = c->value;
		return 0;
	case OPT_BLOCK:
		r = cli_number(c, 1, 1u << 20, &n);
		w->chain.block_tokens = (uint32_t)n;
		return r;
	case OPT_SEED:
		w->chain.seed = c->value;
		return 0;
	case OPT_SALT:
		w->chain.salt = c->value;
		return 0;
	case OPT_LORA:
		w->chain.lora = c->value;
		return 0;
	case OPT_ALSO_SALT:
		return also(w, c, w->also_salt, &w->n_also_salt);
	default:
		return also(w, c, w->also_seed, &w->n_also_seed);
	}
}

static int ask_and_tell(struct why *w)
{
	int r = ask_connect(w->socket, &w->client);

	if (r)
		return exit_of(r);
	r = learn_namespaces(w);
	if (r == 0 && w->tokens_text)
		r = why_add_tokens(w);
	if (r == 0 && w->session_text)
		r = why_add_session(w);
	if (r == 0)
		r = tell(w);
	oc_client_close(w->client);
	return r;
}

/* Keys that are not on the command line. */
static bool has_list(const struct why *w)
{
	return w->tokens_text || w->session_text;
}

static int why_run(const struct command *self, int argc, char **argv)
{
	struct why w = { .command = self, .chain = { .seed = "0" } };
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = take_option(&w, &c, id);
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	if (w.redis && has_list(&w))
		return cli_fail(self, PROG_USAGE,
				"--redis is for names on the command line");
	if (w.session_text && (w.tokens_text || w.ns_text))
		return cli_fail(self, PROG_USAGE,
				"--session has its own tokens and namespace");
	r = cli_words(&c, has_list(&w) ? 0 : 1, has_list(&w) ? 0 : 65536);
	if (r == 0)
		r = add_words(&w, &c);
	if (r == 0)
		r = ask_and_tell(&w);
	json_decref(w.namespaces);
	json_decref(w.history);
	json_decref(w.answers);
	free(w.token);
	free(w.key);
	return r;
}

const struct command command_why = {
	.name = "why",
	.summary = "why a block is not there, or that it is",
	.usage = "[OPTIONS] KEY... | --tokens FILE|LIST | --session NAME",
	.options = why_options,
	.run = why_run,
};
