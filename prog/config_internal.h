/* SPDX-License-Identifier: Apache-2.0 */
/* Between config.c (values) and config_yaml.c (structure). */
#ifndef ONECOPY_PROG_CONFIG_INTERNAL_H
#define ONECOPY_PROG_CONFIG_INTERNAL_H

#include "config.h"

#define CONFIG_VALUE 128 /* bytes of a value as text; the path is longest */

/* One value: how it is written, where it is kept, what is allowed. */
enum setting_kind {
	SETTING_PATH,
	SETTING_SIZE,	 /* config_size: bytes or percent */
	SETTING_BYTES,	 /* u64; 0 is "auto" */
	SETTING_RATE,	 /* u64, "/s" may follow */
	SETTING_COUNT,	 /* u32 */
	SETTING_PERCENT, /* u32, 1 .. 100 */
	SETTING_WORD,	 /* u32: index in words */
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

/* What libcyaml fills: the file's texts; "" where a key is absent. */
struct raw_tenant {
	config_text name, dram;
	config_number *uids;
	unsigned uids_count;
};
struct raw_config {
	config_text socket, dram, slab, scrub, huge_pages, backend, log_level;
	struct raw_clients {
		config_text max, pins, overflow_pins, granted_frames,
			slab_share;
	} clients;
	struct raw_tenant *tenants;
	unsigned tenants_count;
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

#endif
