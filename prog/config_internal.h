/* SPDX-License-Identifier: Apache-2.0 */
/* Between config.c (values), config_file.c (structure) and config_doors.c (what
 * the doors have besides plain values: secrets, users, lists of words). */
#ifndef ONECOPY_PROG_CONFIG_INTERNAL_H
#define ONECOPY_PROG_CONFIG_INTERNAL_H

#include "config.h"
#include "config_yaml.h"

#define CONFIG_VALUE 256 /* bytes of a value as text; a path is longest */
_Static_assert(CONFIG_VALUE >= CONFIG_FILE && CONFIG_VALUE > CONFIG_SECRET,
	       "all values fit");

/* One value: how it is written, where it is kept, what is allowed. */
enum setting_kind {
	SETTING_PATH,
	SETTING_SIZE,	 /* config_size: bytes or percent */
	SETTING_BYTES,	 /* u64; 0 is "auto" */
	SETTING_RATE,	 /* u64, "/s" may follow */
	SETTING_ROOM,	 /* u64 */
	SETTING_COUNT,	 /* u32 */
	SETTING_PERCENT, /* u32, 1 .. 100 */
	SETTING_WORD,	 /* u32: index in words */
	SETTING_TIME,	 /* u64, ns */
	SETTING_LISTEN,	 /* char[CONFIG_LISTEN], then u32 chosen */
};

struct setting {
	const char *key;    /* in YAML: "dram", "clients.pins" */
	const char *option; /* on the command line; NULL: none */
	enum setting_kind kind;
	size_t at;     /* offset in struct node_config */
	size_t raw_at; /* offset of its text in struct raw_config */
	uint64_t least, most;
	const char *const *words; /* ends with NULL */
	const char *expected;
};

typedef char config_text[CONFIG_VALUE];
typedef char config_number[16];
typedef char config_word[32];

/* What libcyaml fills: the file's texts; "" where a key is absent. */
struct raw_tenant {
	config_text name, dram, share, nvme, borrow, token_file;
	config_number *uids;
	unsigned uids_count;
	config_text *tokens;
	unsigned tokens_count;
};
struct raw_user {
	config_text name, password, password_sha256, tenant;
};
/* Both doors; http's password is its token, it has no users. */
struct raw_door {
	config_text listen, password, password_sha256, max_connections, stall,
		verify;
	struct raw_tls {
		config_text certificate, key, client_ca;
	} tls;
	config_word *without;
	unsigned without_count;
	struct raw_user *users;
	unsigned users_count;
};
struct raw_config {
	config_text socket, dram, slab, scrub, history, eviction, huge_pages,
		backend, log_level, prefill_rate, prefill_growth;
	struct raw_clients {
		config_text max, pins, overflow_pins, granted_frames,
			slab_share, revoke_deadline, revoke_end;
	} clients;
	struct raw_sessions {
		config_text max, per_client, keys, keys_per_client, lease,
			lease_max;
	} sessions;
	struct raw_nvme {
		config_text path, size, segment, backend, depth, save_on_exit,
			save_time;
	} nvme;
	struct raw_cxl {
		config_text at, size, tenant;
	} cxl;
	struct raw_region {
		config_text path, tenant, name, shards, adopt, publish;
	} region;
	struct raw_tenant *tenants;
	unsigned tenants_count;
	struct raw_door resp, http;
};

extern const struct setting config_settings[];
extern const size_t config_n_settings;

/* -EINVAL and "VALUE: expected ...". */
int setting_set(struct node_config *config, const struct setting *s,
		const char *text, char error[CONFIG_ERROR]);
void setting_get(const struct node_config *config, const struct setting *s,
		 char ret_text[CONFIG_VALUE]);
/* A quota of a tenant, as for "dram". */
int config_quota_set(struct config_size *size, const char *text,
		     char error[CONFIG_ERROR]);

/* A file being read. */
struct reading {
	const char *name;
	char *error;
	struct yaml_marks marks;
	struct raw_config *raw;
	struct node_config config;
	bool plain; /* a password or token stands in it */
};
bool reading_has(const struct reading *r, const char *path);
/* Puts "NAME:LINE: PATH: " before the text; -EINVAL. */
int reading_wrong(struct reading *r, const char *path, const char *text);
/* Printable ASCII without spaces, fewer than CONFIG_NAME characters. */
bool config_name_ok(const char *name);

/* After the settings. */
int config_tenants_read(struct reading *r);
/* Reads the files of tokens that tenants name. */
int config_tenants_load(struct node_config *config, char error[CONFIG_ERROR]);
void config_tenant_print(const struct config_tenant *t, FILE *out);
void config_size_text(const struct config_size *size,
		      char ret_text[CONFIG_VALUE]);

void config_region_print(const struct node_config *config, FILE *out);
void config_cxl_print(const struct node_config *config, FILE *out);
/* "SPEC" of the option. */
int config_cxl_option(struct node_config *config, const char *value,
		      char error[CONFIG_ERROR]);
const struct setting *config_setting(const char *key);
void config_nvme_print(const struct node_config *config, FILE *out);

/* After the settings and the tenants. */
int config_doors_read(struct reading *r);
/* Forgets the passwords that the file had. */
void config_doors_wipe(struct raw_config *raw);
void config_doors_print(const struct node_config *config, FILE *out);
/* As config_apply_option(), for the options that are no settings. */
int config_doors_option(struct node_config *config, const char *name,
			const char *value, char error[CONFIG_ERROR]);

/* "'VALUE': expected WHAT", the value cut and without what does not print. */
int config_expected(const char *value, const char *what,
		    char error[CONFIG_ERROR]);
/* The settings right below `section` ("resp.tls."; "" is the top). */
void config_print_section(const struct node_config *config, const char *section,
			  FILE *out);
void config_print_quoted(const char *text, FILE *out);

#endif
