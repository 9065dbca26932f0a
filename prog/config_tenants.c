/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants in the configuration: who may come, how much each may have. Tokens are
 * kept as their SHA-256; a file of them is read by config_load() alone, so that
 * parsing stays pure.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/hash.h"
#include "base/text.h"
#include "config_internal.h"
#include "pem.h"

/* ---- reading ------------------------------------------------------------- */

struct tenant_reading {
	struct reading *r;
	const struct raw_tenant *raw;
	struct config_tenant t;
	char at[32]; /* "tenants[3]" */
};

static int wrong_key(struct tenant_reading *q, const char *key,
		     const char *text)
{
	char path[YAML_PATH];

	snprintf(path, sizeof(path), "%s.%s", q->at, key);
	return reading_wrong(q->r, path, text);
}

static bool has_key(const struct tenant_reading *q, const char *key)
{
	char path[YAML_PATH];

	snprintf(path, sizeof(path), "%s.%s", q->at, key);
	return reading_has(q->r, path);
}

static int read_uids(struct tenant_reading *q)
{
	for (unsigned i = 0; i < q->raw->uids_count; i++) {
		char key[32];
		uint64_t uid;

		/* the last one means "no user" to the kernel */
		if (text_parse_u64(q->raw->uids[i], UINT32_MAX - 1, &uid)) {
			snprintf(key, sizeof(key), "uids[%u]", i);
			return wrong_key(q, key, "expected a user's number");
		}
		q->t.uids[q->t.n_uids++] = (uint32_t)uid;
	}
	return 0;
}

static bool path_ok(const char *path, size_t cap)
{
	size_t n = 0;

	while (path[n] >= 0x20 && path[n] < 0x7f)
		n++;
	return n > 0 && n < cap && !path[n];
}

static int read_tokens(struct tenant_reading *q)
{
	char error[CONFIG_ERROR];

	for (unsigned i = 0; i < q->raw->tokens_count; i++) {
		uint8_t *to = q->t.token_sha256[q->t.n_tokens];
		char key[32];

		if (text_parse_hex(q->raw->tokens[i], to, 32)) {
			snprintf(key, sizeof(key), "tokens_sha256[%u]", i);
			return wrong_key(q, key,
					 "expected 64 hexadecimal digits");
		}
		q->t.n_tokens++;
	}
	if (!has_key(q, "token_file"))
		return 0;
	if (!path_ok(q->raw->token_file, sizeof(q->t.token_file))) {
		config_expected(q->raw->token_file,
				"a path of at most 255 printable ASCII "
				"characters",
				error);
		return wrong_key(q, "token_file", error);
	}
	text_copy(q->t.token_file, sizeof(q->t.token_file), q->raw->token_file);
	return 0;
}

static int read_quotas(struct tenant_reading *q)
{
	const char *borrow = q->raw->borrow;
	char error[CONFIG_ERROR];

	if (has_key(q, "dram") &&
	    config_quota_set(&q->t.dram, q->raw->dram, error))
		return wrong_key(q, "dram", error);
	if (has_key(q, "share") &&
	    config_quota_set(&q->t.share, q->raw->share, error))
		return wrong_key(q, "share", error);
	if (has_key(q, "nvme") &&
	    config_quota_set(&q->t.nvme, q->raw->nvme, error))
		return wrong_key(q, "nvme", error);
	if (!has_key(q, "borrow") || strcmp(borrow, "yes") == 0)
		return 0;
	if (strcmp(borrow, "no") != 0) {
		config_expected(borrow, "yes or no", error);
		return wrong_key(q, "borrow", error);
	}
	if (!has_key(q, "share"))
		return wrong_key(q, "borrow",
				 "without a share there is nothing to keep to");
	q->t.strict = 1;
	return 0;
}

bool config_has_tenant(const struct node_config *config, const char *name)
{
	for (uint32_t i = 0; i < config->n_tenants; i++)
		if (strcmp(config->tenants[i].name, name) == 0)
			return true;
	return false;
}

static int read_tenant(struct reading *r, unsigned number)
{
	struct tenant_reading q = { .r = r, .raw = &r->raw->tenants[number] };

	snprintf(q.at, sizeof(q.at), "tenants[%u]", number);
	if (!config_name_ok(q.raw->name))
		return reading_wrong(
			r, q.at,
			"expected a name of 1 to 63 printable ASCII "
			"characters without spaces");
	if (config_has_tenant(&r->config, q.raw->name))
		return reading_wrong(r, q.at, "its name is there twice");
	text_copy(q.t.name, sizeof(q.t.name), q.raw->name);
	if (read_quotas(&q) || read_uids(&q) || read_tokens(&q))
		return -EINVAL;
	r->config.tenants[r->config.n_tenants++] = q.t;
	return 0;
}

int config_tenants_read(struct reading *r)
{
	if (!reading_has(r, "tenants"))
		return 0;
	if (!r->raw->tenants_count)
		return reading_wrong(r, "tenants", "expected at least one");
	memset(r->config.tenants, 0, sizeof(r->config.tenants));
	r->config.n_tenants = 0;
	for (unsigned i = 0; i < r->raw->tenants_count; i++) {
		if (read_tenant(r, i))
			return -EINVAL;
	}
	return 0;
}

/* ---- files of tokens ----------------------------------------------------- */

bool config_token_ok(const char *token, size_t len)
{
	if (len < CONFIG_TOKEN_LEAST || len > CONFIG_SECRET)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (token[i] <= 0x20 || token[i] >= 0x7f)
			return false;
	}
	return true;
}

static int add_token(struct config_tenant *t, const char *token, size_t len)
{
	struct hash_piece piece = { token, len };
	uint8_t digest[32];
	int r;

	if (!len)
		return 0;
	if (!config_token_ok(token, len))
		return -EINVAL;
	r = hash_sha256(&piece, 1, digest);
	if (r < 0)
		return r;
	/* its hash may stand beside the file: --print-config writes both */
	for (uint32_t i = 0; i < t->n_tokens; i++)
		if (!memcmp(t->token_sha256[i], digest, sizeof(digest)))
			return 0;
	if (t->n_tokens == CONFIG_TOKENS_MAX)
		return -E2BIG;
	memcpy(t->token_sha256[t->n_tokens++], digest, sizeof(digest));
	return 0;
}

static int add_tokens(struct config_tenant *t, const char *text)
{
	int r = 0;

	while (*text && r == 0) {
		size_t len = strcspn(text, "\n");

		r = add_token(t, text, len);
		text += len + (text[len] == '\n');
	}
	return r;
}

static int load_tokens(struct config_tenant *t, char error[CONFIG_ERROR])
{
	const char *why;
	char *text;
	int r = pem_load(t->token_file, &text);

	if (r == 0) {
		r = add_tokens(t, text);
		pem_free(text);
	}
	if (r == 0)
		return 0;
	why = r == -EINVAL ? "expected tokens, one a line: 16 to 255 printable "
			     "ASCII characters without spaces"
	      : r == -E2BIG ? "more tokens than a tenant may have (4)"
			    : strerror(-r);
	snprintf(error, CONFIG_ERROR, "%.150s: %s", t->token_file, why);
	return r;
}

int config_tenants_load(struct node_config *config, char error[CONFIG_ERROR])
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < config->n_tenants; i++) {
		if (*config->tenants[i].token_file)
			r = load_tokens(&config->tenants[i], error);
	}
	return r;
}

/* ---- how much ------------------------------------------------------------ */

void config_tenant_quota(const struct node_config *config, const char *tenant,
			 uint64_t dram, uint64_t *ret_quota,
			 uint64_t *ret_share)
{
	*ret_quota = *ret_share = 0;
	for (uint32_t i = 0; i < config->n_tenants; i++) {
		const struct config_tenant *t = &config->tenants[i];

		if (strcmp(t->name, tenant) != 0)
			continue;
		*ret_quota = config_size_bytes(t->dram, dram);
		*ret_share = config_size_bytes(t->share, dram);
		if (t->strict && (!*ret_quota || *ret_share < *ret_quota))
			*ret_quota = *ret_share;
	}
}

int config_tenants_check(const struct node_config *config, uint64_t dram,
			 char error[CONFIG_ERROR])
{
	uint64_t all = 0, quota, share;
	char a[32], b[32];

	for (uint32_t i = 0; i < config->n_tenants; i++) {
		const char *name = config->tenants[i].name;

		config_tenant_quota(config, name, dram, &quota, &share);
		all += share;
		if (!quota || share <= quota)
			continue;
		snprintf(error, CONFIG_ERROR,
			 "tenant %s: its share (%s) is more than its dram (%s)",
			 name, text_size(share, a), text_size(quota, b));
		return -EINVAL;
	}
	if (all <= dram)
		return 0;
	snprintf(error, CONFIG_ERROR,
		 "the shares of the tenants add up to %s, and dram is %s",
		 text_size(all, a), text_size(dram, b));
	return -EINVAL;
}

/* ---- printing ------------------------------------------------------------ */

static void print_size(const char *key, const struct config_size *size,
		       FILE *out)
{
	char text[CONFIG_VALUE];

	if (!size->bytes && !size->share)
		return;
	config_size_text(size, text);
	fprintf(out, "    %s: %s\n", key, text);
}

static void print_tokens(const struct config_tenant *t, FILE *out)
{
	char hex[65];

	if (*t->token_file) {
		fputs("    token_file: ", out);
		config_print_quoted(t->token_file, out);
	}
	if (!t->n_tokens)
		return;
	fputs("    tokens_sha256:\n", out);
	for (uint32_t i = 0; i < t->n_tokens; i++) {
		text_hex(t->token_sha256[i], 32, hex);
		fprintf(out, "      - %s\n", hex);
	}
}

void config_tenant_print(const struct config_tenant *t, FILE *out)
{
	fputs("  - name: ", out);
	config_print_quoted(t->name, out);
	if (t->n_uids) {
		fputs("    uids: [", out);
		for (uint32_t i = 0; i < t->n_uids; i++)
			fprintf(out, "%s%u", i ? ", " : "", t->uids[i]);
		fputs("]\n", out);
	}
	print_tokens(t, out);
	print_size("dram", &t->dram, out);
	print_size("share", &t->share, out);
	print_size("nvme", &t->nvme, out);
	if (t->strict)
		fputs("    borrow: no\n", out);
}
