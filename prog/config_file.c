/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's file: yaml_check() judges the shape, libcyaml fills the
 * texts into struct raw_config, the table of config.c reads the values.
 */
#include "config.h"
#include "config_internal.h"
#include "config_yaml.h"
#include "file.h"
#include "base/fault.h"
#include "base/text.h"
#include <errno.h>
#include <stdlib.h>

#define TEXT(key_, struct_, member_) \
	CYAML_FIELD_STRING(key_, CYAML_FLAG_OPTIONAL, struct_, member_, 0)

static const cyaml_schema_value_t uid_schema = { CYAML_VALUE_STRING(
	CYAML_FLAG_DEFAULT, config_number, 0, sizeof(config_number) - 1) };

static const cyaml_schema_value_t text_schema = { CYAML_VALUE_STRING(
	CYAML_FLAG_DEFAULT, config_text, 0, sizeof(config_text) - 1) };

static const cyaml_schema_field_t tenant_fields[] = {
	TEXT("name", struct raw_tenant, name),
	TEXT("dram", struct raw_tenant, dram),
	TEXT("share", struct raw_tenant, share),
	TEXT("nvme", struct raw_tenant, nvme),
	TEXT("borrow", struct raw_tenant, borrow),
	TEXT("token_file", struct raw_tenant, token_file),
	CYAML_FIELD_SEQUENCE(
		"tokens_sha256", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
		struct raw_tenant, tokens, &text_schema, 0, CONFIG_TOKENS_MAX),
	CYAML_FIELD_SEQUENCE("uids", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
			     struct raw_tenant, uids, &uid_schema, 0,
			     CONFIG_UIDS_MAX),
	CYAML_FIELD_END
};

static const cyaml_schema_value_t tenant_schema = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct raw_tenant, tenant_fields) };

static const cyaml_schema_field_t clients_fields[] = {
	TEXT("max", struct raw_clients, max),
	TEXT("pins", struct raw_clients, pins),
	TEXT("overflow_pins", struct raw_clients, overflow_pins),
	TEXT("granted_frames", struct raw_clients, granted_frames),
	TEXT("slab_share", struct raw_clients, slab_share),
	TEXT("revoke_deadline", struct raw_clients, revoke_deadline),
	TEXT("revoke_end", struct raw_clients, revoke_end),
	CYAML_FIELD_END
};

static const cyaml_schema_field_t sessions_fields[] = {
	TEXT("max", struct raw_sessions, max),
	TEXT("per_client", struct raw_sessions, per_client),
	TEXT("keys", struct raw_sessions, keys),
	TEXT("keys_per_client", struct raw_sessions, keys_per_client),
	TEXT("lease", struct raw_sessions, lease),
	TEXT("lease_max", struct raw_sessions, lease_max),
	CYAML_FIELD_END
};

static const cyaml_schema_field_t nvme_fields[] = {
	TEXT("path", struct raw_nvme, path),
	TEXT("size", struct raw_nvme, size),
	TEXT("segment", struct raw_nvme, segment),
	TEXT("backend", struct raw_nvme, backend),
	TEXT("depth", struct raw_nvme, depth),
	TEXT("save_on_exit", struct raw_nvme, save_on_exit),
	TEXT("save_time", struct raw_nvme, save_time),
	CYAML_FIELD_END
};

static const cyaml_schema_field_t cxl_fields[] = {
	TEXT("at", struct raw_cxl, at), TEXT("size", struct raw_cxl, size),
	TEXT("tenant", struct raw_cxl, tenant), CYAML_FIELD_END
};

static const cyaml_schema_field_t region_fields[] = {
	TEXT("path", struct raw_region, path),
	TEXT("tenant", struct raw_region, tenant),
	TEXT("name", struct raw_region, name),
	TEXT("shards", struct raw_region, shards),
	TEXT("adopt", struct raw_region, adopt),
	TEXT("publish", struct raw_region, publish),
	CYAML_FIELD_END
};

static const cyaml_schema_value_t word_schema = { CYAML_VALUE_STRING(
	CYAML_FLAG_DEFAULT, config_word, 0, sizeof(config_word) - 1) };

static const cyaml_schema_field_t user_fields[] = {
	TEXT("name", struct raw_user, name),
	TEXT("password", struct raw_user, password),
	TEXT("password_sha256", struct raw_user, password_sha256),
	TEXT("tenant", struct raw_user, tenant), CYAML_FIELD_END
};

static const cyaml_schema_value_t user_schema = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct raw_user, user_fields) };

#define WITHOUT                                                        \
	CYAML_FIELD_SEQUENCE("without",                                \
			     CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, \
			     struct raw_door, without, &word_schema, 0, 2)
#define TLS(fields_)                                                          \
	CYAML_FIELD_MAPPING("tls", CYAML_FLAG_OPTIONAL, struct raw_door, tls, \
			    fields_)

static const cyaml_schema_field_t resp_tls_fields[] = {
	TEXT("certificate", struct raw_tls, certificate),
	TEXT("key", struct raw_tls, key),
	TEXT("client_ca", struct raw_tls, client_ca), CYAML_FIELD_END
};

static const cyaml_schema_field_t resp_fields[] = {
	TEXT("listen", struct raw_door, listen),
	TEXT("password", struct raw_door, password),
	TEXT("password_sha256", struct raw_door, password_sha256),
	TEXT("max_connections", struct raw_door, max_connections),
	TEXT("stall", struct raw_door, stall),
	TEXT("verify", struct raw_door, verify),
	TLS(resp_tls_fields),
	WITHOUT,
	CYAML_FIELD_SEQUENCE("users", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
			     struct raw_door, users, &user_schema, 0,
			     CONFIG_USERS_MAX),
	CYAML_FIELD_END
};

static const cyaml_schema_field_t http_tls_fields[] = {
	TEXT("certificate", struct raw_tls, certificate),
	TEXT("key", struct raw_tls, key), CYAML_FIELD_END
};

static const cyaml_schema_field_t http_fields[] = {
	TEXT("listen", struct raw_door, listen),
	TEXT("token", struct raw_door, password),
	TEXT("token_sha256", struct raw_door, password_sha256),
	TLS(http_tls_fields),
	WITHOUT,
	CYAML_FIELD_END
};

static const cyaml_schema_field_t config_fields[] = {
	TEXT("socket", struct raw_config, socket),
	TEXT("dram", struct raw_config, dram),
	TEXT("slab", struct raw_config, slab),
	TEXT("scrub", struct raw_config, scrub),
	TEXT("history", struct raw_config, history),
	TEXT("eviction", struct raw_config, eviction),
	TEXT("prefill_rate", struct raw_config, prefill_rate),
	TEXT("prefill_growth", struct raw_config, prefill_growth),
	TEXT("huge_pages", struct raw_config, huge_pages),
	TEXT("backend", struct raw_config, backend),
	TEXT("log_level", struct raw_config, log_level),
	CYAML_FIELD_MAPPING("clients", CYAML_FLAG_OPTIONAL, struct raw_config,
			    clients, clients_fields),
	CYAML_FIELD_MAPPING("sessions", CYAML_FLAG_OPTIONAL, struct raw_config,
			    sessions, sessions_fields),
	CYAML_FIELD_MAPPING("nvme", CYAML_FLAG_OPTIONAL, struct raw_config,
			    nvme, nvme_fields),
	CYAML_FIELD_MAPPING("cxl", CYAML_FLAG_OPTIONAL, struct raw_config, cxl,
			    cxl_fields),
	CYAML_FIELD_MAPPING("region", CYAML_FLAG_OPTIONAL, struct raw_config,
			    region, region_fields),
	CYAML_FIELD_SEQUENCE("tenants",
			     CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
			     struct raw_config, tenants, &tenant_schema, 0,
			     CONFIG_TENANTS_MAX),
	CYAML_FIELD_MAPPING("resp", CYAML_FLAG_OPTIONAL, struct raw_config,
			    resp, resp_fields),
	CYAML_FIELD_MAPPING("http", CYAML_FLAG_OPTIONAL, struct raw_config,
			    http, http_fields),
	CYAML_FIELD_END
};

static const cyaml_schema_value_t config_schema = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_POINTER, struct raw_config, config_fields) };

static void *cyaml_memory(void *ctx, void *p, size_t size)
{
	(void)ctx;
	if (size)
		return mem_grow(p, size, 1);
	free(p);
	return NULL;
}

/* No log: yaml_check() has said everything with its line. */
static const cyaml_config_t cyaml_options = {
	.mem_fn = cyaml_memory,
	.flags = CYAML_CFG_NO_ALIAS,
};

int reading_wrong(struct reading *r, const char *path, const char *text)
{
	snprintf(r->error, CONFIG_ERROR, "%.60s:%u: %s: %.110s", r->name,
		 yaml_line(&r->marks, path), path, text);
	return -EINVAL;
}

bool reading_has(const struct reading *r, const char *path)
{
	for (unsigned i = 0; i < r->marks.n; i++) {
		if (strcmp(r->marks.mark[i].path, path) == 0)
			return true;
	}
	return false;
}

static int read_settings(struct reading *r)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];
		const char *text = (const char *)r->raw + s->raw_at;
		char error[CONFIG_ERROR];

		if (reading_has(r, s->key) &&
		    setting_set(&r->config, s, text, error))
			return reading_wrong(r, s->key, error);
	}
	return 0;
}

bool config_name_ok(const char *name)
{
	size_t n = 0;

	while (name[n] > 0x20 && name[n] < 0x7f)
		n++;
	return n > 0 && n < CONFIG_NAME && !name[n];
}

static int read_raw(struct reading *r, const char *text, size_t len)
{
	cyaml_data_t *data = NULL;
	cyaml_err_t e = cyaml_load_data((const uint8_t *)text, len,
					&cyaml_options, &config_schema, &data,
					NULL);
	int result;

	if (e != CYAML_OK) {
		snprintf(r->error, CONFIG_ERROR, "%.100s: %s", r->name,
			 cyaml_strerror(e));
		return e == CYAML_ERR_OOM ? -ENOMEM : -EINVAL;
	}
	r->raw = data;
	result = read_settings(r);
	if (!result)
		result = config_tenants_read(r);
	if (!result)
		result = config_doors_read(r);
	config_doors_wipe(r->raw);
	cyaml_free(&cyaml_options, &config_schema, data, 0);
	return result;
}

static int parse(const char *text, size_t len, const char *name,
		 struct node_config *ret_config, bool *ret_plain,
		 char error[CONFIG_ERROR])
{
	struct reading *r;
	int result;

	if (len > CONFIG_BYTES_MAX) {
		snprintf(error, CONFIG_ERROR, "%.100s: larger than 1 MiB",
			 name);
		return -EINVAL;
	}
	r = mem_alloc(sizeof(*r));
	if (!r) {
		snprintf(error, CONFIG_ERROR, "%.100s: no memory", name);
		return -ENOMEM;
	}
	r->name = name;
	r->error = error;
	config_defaults(&r->config);
	result = yaml_check(text, len, name, &config_schema, &r->marks, error,
			    CONFIG_ERROR);
	if (!result)
		result = read_raw(r, text, len);
	if (result >= 0) { /* 1: an empty file is all defaults */
		*ret_config = r->config;
		*ret_plain = r->plain;
	}
	free(r);
	return MIN(result, 0);
}

int config_parse(const char *text, size_t len, const char *name,
		 struct node_config *ret_config, char error[CONFIG_ERROR])
{
	bool plain;

	return parse(text, len, name, ret_config, &plain, error);
}

int config_load(const char *path, struct node_config *ret_config,
		bool *ret_exposed, char error[CONFIG_ERROR])
{
	char *text = mem_alloc(CONFIG_BYTES_MAX + 1);
	struct stat st = { .st_mode = 0 };
	bool plain = false;
	size_t len = 0;
	int r = -ENOMEM;

	if (text)
		r = file_read(path, text, CONFIG_BYTES_MAX + 1, &len, &st);
	if (!r && len > CONFIG_BYTES_MAX)
		r = -EFBIG;
	if (r)
		snprintf(error, CONFIG_ERROR, "%.200s: %s", path, strerror(-r));
	else
		r = parse(text, len, path, ret_config, &plain, error);
	if (!r)
		r = config_tenants_load(ret_config, error);
	if (!r)
		*ret_exposed = plain && st.st_mode & S_IROTH;
	if (text)
		explicit_bzero(text, CONFIG_BYTES_MAX + 1);
	free(text);
	return r;
}
