/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token ids for `onecopy why`: from a list or a file to keys; and the same
 * tokens as another program may have named them: with another salt, seed or
 * size of blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/text.h"
#include "why.h"

#define FILE_MAX_BYTES ((size_t)256 << 20)

/* ---- reading --------------------------------------------------------------- */

static int read_fd(int fd, char **ret_text)
{
	size_t cap = 1 << 16, len = 0;
	char *text = mem_alloc(cap + 1);
	ssize_t n = 1;

	while (text && n > 0 && len < FILE_MAX_BYTES) {
		char *grown;

		n = read(fd, text + len, cap - len);
		if (n < 0 && errno == EINTR) {
			n = 1;
			continue;
		}
		len += n > 0 ? (size_t)n : 0;
		if (len < cap)
			continue;
		cap *= 2;
		grown = mem_grow(text, cap + 1, 1);
		if (!grown)
			free(text);
		text = grown;
	}
	if (!text)
		return -ENOMEM;
	if (n < 0 || len >= FILE_MAX_BYTES || memchr(text, 0, len)) {
		free(text);
		return n < 0		       ? -errno
		       : len >= FILE_MAX_BYTES ? -EFBIG
					       : -EINVAL;
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

static int read_named(const char *path, char **ret_text)
{
	CLEANUP(fd_close_at) int fd = -1;

	if (strcmp(path, "-") == 0)
		return read_fd(STDIN_FILENO, ret_text);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : read_fd(fd, ret_text);
}

static int add_token(struct why *w, uint32_t token, size_t *cap)
{
	uint32_t *grown;

	if (w->n_tokens == *cap) {
		*cap = *cap ? 2 * *cap : 4096;
		grown = mem_grow(w->token, *cap, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->token = grown;
	}
	if (w->n_tokens == WHY_TOKENS_MAX)
		return -E2BIG;
	w->token[w->n_tokens++] = token;
	return 0;
}

/* Numbers between spaces, commas and brackets. -EINVAL: something else. */
static int parse_tokens(struct why *w, const char *text)
{
	static const char between[] = " ,\t\r\n[]";
	size_t cap = 0;
	int r = 0;

	while (r == 0) {
		char word[12];
		uint64_t token;
		size_t len;

		text += strspn(text, between);
		len = strcspn(text, between);
		if (!len)
			return 0;
		if (len >= sizeof(word))
			return -EINVAL;
		memcpy(word, text, len);
		word[len] = '\0';
		if (text_parse_u64(word, UINT32_MAX, &token))
			return -EINVAL;
		r = add_token(w, (uint32_t)token, &cap);
		text += len;
	}
	return r;
}

static bool is_list(const char *text)
{
	return *text && !text[strspn(text, "0123456789 ,[]")];
}

static int load_tokens(struct why *w)
{
	char *text = NULL;
	int r = 0;

	if (is_list(w->tokens_text))
		r = parse_tokens(w, w->tokens_text);
	else
		r = read_named(w->tokens_text, &text);
	if (r == 0 && text)
		r = parse_tokens(w, text);
	free(text);
	if (r == 0)
		return 0;
	return cli_fail(w->command, r == -ENOMEM ? PROG_SYSTEM : PROG_BAD_INPUT,
			"--tokens %.200s: %s", w->tokens_text,
			r == -EINVAL  ? "not a list of token ids"
			: r == -E2BIG ? "more than 16,777,216 token ids"
				      : strerror(-r));
}

/* ---- keys ------------------------------------------------------------------ */

/* Its keys are of names, not of tokens (docs/formats/resp.md). */
static bool is_of_names(const json_t *ns)
{
	const char *label = json_string_value(json_object_get(ns, "label"));

	return label && strcmp(label, "resp") == 0 &&
	       ask_u64(ns, "block_tokens") == 1;
}

/* Whose blocks have how many tokens; 0: they differ, or there are none. */
static uint32_t usual_block(const struct why *w)
{
	uint64_t tokens = 0;
	json_t *ns;
	size_t i;

	json_array_foreach(w->namespaces, i, ns) {
		uint64_t own = ask_u64(ns, "block_tokens");

		if (w->ns ? ask_u64(ns, "id") != w->ns : is_of_names(ns))
			continue;
		if (tokens && tokens != own)
			return 0;
		tokens = own;
	}
	return (uint32_t)tokens;
}

static int make_keys(const struct why *w, const struct why_chain *chain,
		     size_t n_tokens, struct oc_key **ret_keys, size_t *ret_n)
{
	const struct oc_chain_options o = {
		.size = sizeof(o),
		.block_tokens = chain->block_tokens,
		.seed = chain->seed,
		.salt = chain->salt,
		.lora = chain->lora,
	};
	struct oc_key *keys =
		mem_array(n_tokens / chain->block_tokens + 1, sizeof(*keys));
	int r = keys ? oc_chain(&o, w->token, n_tokens, keys, ret_n) : -ENOMEM;

	if (r < 0) {
		free(keys);
		return r;
	}
	*ret_keys = keys;
	return 0;
}

int why_add_tokens(struct why *w)
{
	struct oc_key *keys;
	size_t n;
	int r = load_tokens(w);

	if (r)
		return r;
	if (!w->chain.block_tokens)
		w->chain.block_tokens = usual_block(w);
	if (!w->chain.block_tokens)
		return cli_fail(w->command, PROG_USAGE,
				"how many tokens has a block? The tenant's "
				"namespaces do not say one number: "
				"--block-tokens N, or --namespace");
	r = make_keys(w, &w->chain, w->n_tokens, &keys, &n);
	if (r)
		return cli_fail(w->command, PROG_SYSTEM, "%s", oc_strerror(r));
	if (!n)
		r = cli_fail(w->command, PROG_BAD_INPUT,
			     "%zu tokens are less than a block of %u",
			     w->n_tokens, w->chain.block_tokens);
	else
		r = why_add(w, keys, n);
	free(keys);
	return r;
}

/* ---- elsewhere --------------------------------------------------------------- */

struct variants {
	struct why_chain chain[256];
	unsigned n;
};

static bool same_text(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static void add_variant(const struct why *w, struct variants *v,
			struct why_chain chain)
{
	if (v->n == ARRAY_LEN(v->chain) || !chain.block_tokens)
		return;
	for (unsigned i = 0; i <= v->n; i++) {
		const struct why_chain *c = i ? &v->chain[i - 1] : &w->chain;

		if (c->block_tokens == chain.block_tokens &&
		    same_text(c->seed, chain.seed) &&
		    same_text(c->salt, chain.salt) &&
		    same_text(c->lora, chain.lora))
			return;
	}
	v->chain[v->n++] = chain;
}

/* Of one size of blocks: each salt with each seed, with the LoRA and without. */
static void add_of_size(const struct why *w, struct variants *v, uint32_t size)
{
	for (unsigned s = 0; s < w->n_also_salt + 2; s++) {
		for (unsigned e = 0; e < w->n_also_seed + 2; e++) {
			struct why_chain c = w->chain;

			c.block_tokens = size;
			c.salt = s == 0	  ? w->chain.salt
				 : s == 1 ? NULL
					  : w->also_salt[s - 2];
			c.seed = e == 0	  ? w->chain.seed
				 : e == 1 ? "0"
					  : w->also_seed[e - 2];
			add_variant(w, v, c);
			c.lora = NULL;
			add_variant(w, v, c);
		}
	}
}

static void make_variants(const struct why *w, struct variants *v)
{
	json_t *ns;
	size_t i;

	add_of_size(w, v, w->chain.block_tokens);
	json_array_foreach(w->namespaces, i, ns)
		if (!is_of_names(ns))
			add_of_size(w, v,
				    (uint32_t)ask_u64(ns, "block_tokens"));
}

static void describe(const struct why *w, const struct why_chain *c, char *text,
		     size_t cap)
{
	const char *comma = "";
	size_t n = 0;

	text[0] = '\0';
#define SAY(...)                                                       \
	do {                                                           \
		n += (size_t)snprintf(text + n, cap - n, "%s", comma); \
		n = MIN(n, cap - 1);                                   \
		n += (size_t)snprintf(text + n, cap - n, __VA_ARGS__); \
		n = MIN(n, cap - 1);                                   \
		comma = ", ";                                          \
	} while (0)
	if (!same_text(c->salt, w->chain.salt) && !c->salt)
		SAY("without a salt");
	else if (!same_text(c->salt, w->chain.salt))
		SAY("with the salt '%.60s'", c->salt);
	if (!same_text(c->seed, w->chain.seed))
		SAY("with the seed '%.60s'", c->seed);
	if (!same_text(c->lora, w->chain.lora))
		SAY("without the LoRA");
	if (c->block_tokens != w->chain.block_tokens)
		SAY("in blocks of %u tokens", c->block_tokens);
#undef SAY
}

/* The last whole block that ends at or before `end`; else the first. */
static int last_key(const struct why *w, const struct why_chain *c, size_t end,
		    struct oc_key *ret_key)
{
	size_t n = MIN(MAX(end, (size_t)c->block_tokens), w->n_tokens);
	struct oc_key *keys;
	int r = make_keys(w, c, n, &keys, &n);

	if (r)
		return r;
	if (n)
		*ret_key = keys[n - 1];
	free(keys);
	return n ? 0 : OC_NONE;
}

static void add_found(const struct why *w, const struct why_chain *c,
		      const json_t *answer, json_t *list)
{
	json_t *ns = json_array_get(json_object_get(answer, "namespaces"), 0);
	char text[256];

	if (!json_is_true(json_object_get(answer, "resident")))
		return;
	describe(w, c, text, sizeof(text));
	json_array_append_new(list,
			      json_pack("{s:s,s:O,s:O,s:O}", "how", text, "key",
					json_object_get(answer, "key"), "ns",
					json_object_get(ns, "ns"), "ns_label",
					json_object_get(ns, "ns_label")));
}

int why_elsewhere(struct why *w, size_t first, json_t **ret_list)
{
	CLEANUP(mem_free_at)
	struct variants *v = mem_alloc(sizeof(*v));
	struct oc_key keys[ARRAY_LEN(v->chain)];
	struct why_chain known[ARRAY_LEN(v->chain)];
	json_t *answers = NULL, *answer;
	size_t n = 0, i;
	int r;

	if (!v)
		return cli_fail(w->command, PROG_SYSTEM, "no memory");
	make_variants(w, v);
	for (unsigned k = 0; k < v->n; k++) {
		if (last_key(w, &v->chain[k],
			     (first + 1) * w->chain.block_tokens, &keys[n]))
			continue;
		known[n++] = v->chain[k];
	}
	r = why_ask(w, keys, n, 0, &answers);
	if (r)
		return r;
	*ret_list = json_array();
	json_array_foreach(answers, i, answer)
		add_found(w, &known[i], answer, *ret_list);
	json_decref(answers);
	return 0;
}
