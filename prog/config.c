/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the configuration: one table for the file, the options and the
 * printing. */
#include "config.h"
#include "config_internal.h"
#include "base/clock.h"
#include "base/text.h"
#include "listen.h"
#include "region/format.h"
#include "shm/session.h"
#include <errno.h>
#include <inttypes.h>

#define SHARE_ALL  10000u /* hundredths of a percent */
#define DRAM_LEAST (1ull << 20)
#define NVME_LEAST (16ull << 20)
#define CXL_LEAST  (2ull << 20)
#define BYTES_MOST (1ull << 50)

_Static_assert(CONFIG_NAME == LAYOUT_NAME, "a tenant's name fits its pool");
_Static_assert(offsetof(struct config_resp, chosen) == CONFIG_LISTEN &&
		       offsetof(struct config_http, chosen) == CONFIG_LISTEN,
	       "where SETTING_LISTEN looks");

static const char *const huge_words[] = { "auto", "never", NULL };
static const char *const eviction_words[] = { "lru", "onecopy", NULL };
static const char *const nvme_words[] = { "auto", "uring", "threads", NULL };
static const char *const yes_words[] = { "no", "yes", NULL };
static const char *const backend_words[] = { "auto", "uring", "epoll", NULL };
static const char *const level_words[] = { "error", "warn", "info", "debug",
					   NULL };

#define IN(field)  offsetof(struct node_config, field)
#define RAW(field) offsetof(struct raw_config, field)

#define LISTEN(key_, option_, door_)                                     \
	{                                                                \
		key_, option_, SETTING_LISTEN, IN(door_.listen),         \
			RAW(door_.listen), 0, 0, NULL,                   \
			"ADDRESS:PORT, [ADDRESS]:PORT (numbers), or off" \
	}
#define A_FILE(key_, option_, in_, raw_)                                   \
	{                                                                  \
		key_, option_, SETTING_PATH, IN(in_), RAW(raw_), 1,        \
			CONFIG_FILE - 1, NULL,                             \
			"a path of at most 255 printable ASCII characters" \
	}

const struct setting config_settings[] = {
	{ "socket", "socket", SETTING_PATH, IN(socket), RAW(socket), 1,
	  CONFIG_PATH - 1, NULL,
	  "a path of at most 107 printable ASCII characters" },
	{ "dram", "dram", SETTING_SIZE, IN(dram), RAW(dram), DRAM_LEAST,
	  BYTES_MOST, NULL, "a size like 8G from 1M on, or 25%" },
	{ "slab", "slab", SETTING_BYTES, IN(slab_bytes), RAW(slab), 65536,
	  1ull << 40, NULL, "auto, or a size from 64K on in whole 4K pages" },
	{ "scrub", "scrub", SETTING_RATE, IN(scrub_bytes_per_s), RAW(scrub), 0,
	  BYTES_MOST, NULL, "a rate like 64MiB/s, or 0" },
	{ "history", NULL, SETTING_ROOM, IN(history_bytes), RAW(history), 0,
	  1ull << 32, NULL, "a size like 8MiB, or 0" },
	{ "eviction", "eviction", SETTING_WORD, IN(eviction), RAW(eviction), 0,
	  0, eviction_words, "lru or onecopy" },
	{ "prefill_rate", "prefill-rate", SETTING_COUNT, IN(prefill_rate),
	  RAW(prefill_rate), 0, 1u << 30, NULL,
	  "tokens a second from 0 to 1073741824" },
	{ "prefill_growth", NULL, SETTING_COUNT, IN(prefill_growth_ps),
	  RAW(prefill_growth), 0, 1000000000, NULL,
	  "picoseconds a token from 0 to 1000000000" },
	{ "huge_pages", "huge", SETTING_WORD, IN(huge), RAW(huge_pages), 0, 0,
	  huge_words, "auto or never" },
	{ "backend", "backend", SETTING_WORD, IN(backend), RAW(backend), 0, 0,
	  backend_words, "auto, uring or epoll" },
	{ "log_level", "log-level", SETTING_WORD, IN(log_level), RAW(log_level),
	  0, 0, level_words, "error, warn, info or debug" },
	{ "clients.max", "max-clients", SETTING_COUNT, IN(max_clients),
	  RAW(clients.max), 1, LAYOUT_CLIENTS_MAX, NULL,
	  "a number from 1 to 512" },
	{ "clients.pins", NULL, SETTING_COUNT, IN(pins), RAW(clients.pins), 1,
	  1u << 20, NULL, "a number from 1 to 1048576" },
	{ "clients.overflow_pins", NULL, SETTING_COUNT, IN(overflow_pins),
	  RAW(clients.overflow_pins), 0, 1u << 20, NULL,
	  "a number from 0 to 1048576" },
	{ "clients.granted_frames", NULL, SETTING_COUNT, IN(granted_frames),
	  RAW(clients.granted_frames), 1, 1u << 20, NULL,
	  "a number from 1 to 1048576" },
	{ "clients.slab_share", NULL, SETTING_PERCENT, IN(slab_percent),
	  RAW(clients.slab_share), 1, 100, NULL,
	  "whole percents from 1% to 100%" },
	{ "clients.revoke_deadline", "revoke-deadline", SETTING_TIME,
	  IN(revoke_ns), RAW(clients.revoke_deadline), 10 * NS_PER_MS,
	  3600 * NS_PER_S, NULL, "a time like 2s, from 10ms to 1h" },
	{ "clients.revoke_end", "revoke-end", SETTING_WORD, IN(revoke_end),
	  RAW(clients.revoke_end), 0, 0, yes_words, "yes or no" },
	{ "sessions.max", NULL, SETTING_COUNT, IN(sessions.max),
	  RAW(sessions.max), 1, SESSION_RECORDS_MAX, NULL,
	  "a number from 1 to 65536" },
	{ "sessions.per_client", NULL, SETTING_COUNT, IN(sessions.per_client),
	  RAW(sessions.per_client), 1, SESSION_RECORDS_MAX, NULL,
	  "a number from 1 to 65536" },
	{ "sessions.keys", NULL, SETTING_COUNT, IN(sessions.keys),
	  RAW(sessions.keys), SESSION_NODE_KEYS, 1u << 30, NULL,
	  "a number from 62 to 1073741824" },
	{ "sessions.keys_per_client", NULL, SETTING_COUNT,
	  IN(sessions.keys_per_client), RAW(sessions.keys_per_client),
	  SESSION_NODE_KEYS, 1u << 30, NULL, "a number from 62 to 1073741824" },
	{ "sessions.lease", NULL, SETTING_TIME, IN(sessions.lease_ns),
	  RAW(sessions.lease), 1 * NS_PER_S, 30 * 24 * 3600 * NS_PER_S, NULL,
	  "a time like 10m, from 1s to 720h" },
	{ "sessions.lease_max", NULL, SETTING_TIME, IN(sessions.lease_max_ns),
	  RAW(sessions.lease_max), 1 * NS_PER_S, 30 * 24 * 3600 * NS_PER_S,
	  NULL, "a time like 24h, from 1s to 720h" },
	A_FILE("nvme.path", NULL, nvme.path, nvme.path),
	{ "nvme.size", NULL, SETTING_ROOM, IN(nvme.size), RAW(nvme.size),
	  NVME_LEAST, BYTES_MOST, NULL, "a size like 200G, from 16M on" },
	{ "nvme.segment", NULL, SETTING_BYTES, IN(nvme.segment_bytes),
	  RAW(nvme.segment), 1ull << 20, 1ull << 30, NULL,
	  "auto, or a power of two from 1M to 1G" },
	{ "nvme.backend", NULL, SETTING_WORD, IN(nvme.backend),
	  RAW(nvme.backend), 0, 0, nvme_words, "auto, uring or threads" },
	{ "nvme.depth", NULL, SETTING_COUNT, IN(nvme.depth), RAW(nvme.depth), 0,
	  1024, NULL, "a number from 1 to 1024, or 0" },
	{ "nvme.save_on_exit", NULL, SETTING_WORD, IN(nvme.save),
	  RAW(nvme.save_on_exit), 0, 0, yes_words, "yes or no" },
	{ "nvme.save_time", NULL, SETTING_TIME, IN(nvme.save_ns),
	  RAW(nvme.save_time), 1 * NS_PER_S, 3600 * NS_PER_S, NULL,
	  "a time like 60s, from 1s to 1h" },
	A_FILE("cxl.at", NULL, cxl.at, cxl.at),
	{ "cxl.size", NULL, SETTING_ROOM, IN(cxl.size), RAW(cxl.size),
	  CXL_LEAST, BYTES_MOST, NULL, "a size like 64G, from 2M on" },
	A_FILE("cxl.tenant", NULL, cxl.tenant, cxl.tenant),
	A_FILE("region.path", "region", region.path, region.path),
	A_FILE("region.tenant", NULL, region.tenant, region.tenant),
	A_FILE("region.name", NULL, region.name, region.name),
	{ "region.shards", NULL, SETTING_COUNT, IN(region.shards),
	  RAW(region.shards), 0, REGION_SHARDS_MAX, NULL,
	  "a number from 0 to 512" },
	{ "region.adopt", NULL, SETTING_WORD, IN(region.adopt),
	  RAW(region.adopt), 0, 0, yes_words, "yes or no" },
	{ "region.publish", NULL, SETTING_WORD, IN(region.publish),
	  RAW(region.publish), 0, 0, yes_words, "yes or no" },
	LISTEN("resp.listen", "resp", resp),
	{ "resp.max_connections", NULL, SETTING_COUNT, IN(resp.max_connections),
	  RAW(resp.max_connections), 1, 1000000, NULL,
	  "a number from 1 to 1000000" },
	{ "resp.stall", NULL, SETTING_TIME, IN(resp.stall_ns), RAW(resp.stall),
	  100 * NS_PER_MS, 24 * 3600 * NS_PER_S, NULL,
	  "a time like 10s, from 100ms to 24h" },
	{ "resp.verify", NULL, SETTING_TIME, IN(resp.verify_ns),
	  RAW(resp.verify), 0, 3600 * NS_PER_S, NULL,
	  "a time like 1s, from 0s to 1h" },
	A_FILE("resp.tls.certificate", "resp-tls-cert", resp.certificate,
	       resp.tls.certificate),
	A_FILE("resp.tls.key", "resp-tls-key", resp.key, resp.tls.key),
	A_FILE("resp.tls.client_ca", NULL, resp.client_ca, resp.tls.client_ca),
	LISTEN("http.listen", "http", http),
	A_FILE("http.tls.certificate", NULL, http.certificate,
	       http.tls.certificate),
	A_FILE("http.tls.key", NULL, http.key, http.tls.key),
};
const size_t config_n_settings = ARRAY_LEN(config_settings);
_Static_assert(LAYOUT_CLIENTS_MAX == 512 && SESSION_RECORDS_MAX == 65536 &&
		       SESSION_NODE_KEYS == 62,
	       "texts and manual say so");

const struct cli_option config_options[] = { CONFIG_OPTIONS, CLI_END };
const size_t config_n_options = ARRAY_LEN(config_options) - 1;

void config_defaults(struct node_config *ret_config)
{
	*ret_config = (struct node_config){
		.dram = { .share = SHARE_ALL / 4 },
		.nvme = { .save_ns = 60 * NS_PER_S },
		.region = { .shards = 1, .adopt = 1, .publish = 1 },
		.scrub_bytes_per_s = 64ull << 20,
		.history_bytes = 8ull << 20,
		.log_level = LOG_INFO,
		.max_clients = LAYOUT_CLIENTS_MAX,
		.pins = 16384,
		.overflow_pins = 49152,
		.granted_frames = 4096,
		.slab_percent = 100,
		.revoke_ns = 2 * NS_PER_S,
		.sessions = {
			.max = 16384,
			.per_client = 4096,
			.keys = 4u << 20,
			.keys_per_client = 2u << 20,
			.lease_ns = 600 * NS_PER_S,
			.lease_max_ns = 24 * 3600 * NS_PER_S,
		},
		.n_tenants = 1,
		.tenants = { { .name = "default" } },
		.resp = {
			.listen = CONFIG_RESP_LISTEN,
			.max_connections = 10000,
			.stall_ns = 10 * NS_PER_S,
			.verify_ns = 1 * NS_PER_S,
		},
		.http = { .listen = CONFIG_HTTP_LISTEN },
	};
}

/* ---- reading values -------------------------------------------------------- */

static bool printable(const char *text)
{
	for (; *text; text++) {
		if (*text < 0x20 || *text >= 0x7f)
			return false;
	}
	return true;
}

static int parse_share(const char *text, struct config_size *ret)
{
	uint64_t share;

	if (text_parse_size(text, SHARE_ALL, &share) || share < 1 ||
	    share > SHARE_ALL)
		return -EINVAL;
	*ret = (struct config_size){ .share = (uint32_t)share };
	return 0;
}

static int parse_size(const char *text, uint64_t least, uint64_t most,
		      struct config_size *ret)
{
	uint64_t bytes;

	if (*text && text[strlen(text) - 1] == '%')
		return parse_share(text, ret);
	if (text_parse_size(text, 0, &bytes) || bytes < least || bytes > most)
		return -EINVAL;
	*ret = (struct config_size){ .bytes = bytes };
	return 0;
}

static int parse_bytes(const struct setting *s, const char *text, uint64_t *ret)
{
	char copy[CONFIG_VALUE];
	uint64_t bytes;
	size_t len;

	if (s->kind == SETTING_BYTES && strcmp(text, "auto") == 0) {
		*ret = 0;
		return 0;
	}
	if (text_copy(copy, sizeof(copy), text))
		return -EINVAL;
	len = strlen(copy);
	if (s->kind == SETTING_RATE && len > 2 &&
	    strcmp(copy + len - 2, "/s") == 0)
		copy[len - 2] = '\0';
	if (text_parse_size(copy, 0, &bytes) || bytes < s->least ||
	    bytes > s->most)
		return -EINVAL;
	if (s->kind == SETTING_BYTES && bytes % PAGE_BYTES)
		return -EINVAL;
	*ret = bytes;
	return 0;
}

static int parse_small(const struct setting *s, const char *text, uint32_t *ret)
{
	char copy[CONFIG_VALUE];
	uint64_t value;

	if (text_copy(copy, sizeof(copy), text))
		return -EINVAL;
	if (s->kind == SETTING_PERCENT)
		copy[strcspn(copy, "%")] = '\0';
	if (s->kind == SETTING_PERCENT && strcmp(text + strlen(copy), "%") != 0)
		return -EINVAL;
	if (text_parse_u64(copy, s->most, &value) || value < s->least)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int parse_word(const struct setting *s, const char *text, uint32_t *ret)
{
	for (uint32_t i = 0; s->words[i]; i++) {
		if (strcmp(text, s->words[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_path(const struct setting *s, const char *text, char *ret)
{
	size_t len = strlen(text);

	if (len < s->least || len > s->most || !printable(text))
		return -EINVAL;
	memset(ret, 0, s->most + 1);
	memcpy(ret, text, len);
	return 0;
}

static int parse_time(const struct setting *s, const char *text, uint64_t *ret)
{
	uint64_t ns;

	if (text_parse_time(text, &ns) || ns < s->least || ns > s->most)
		return -EINVAL;
	*ret = ns;
	return 0;
}

static int parse_listen(const char *text, char *ret)
{
	const uint32_t chosen = 1;
	struct sockaddr_storage at;
	size_t len = strlen(text);

	if (len >= CONFIG_LISTEN || listen_parse(text, &at) < 0)
		return -EINVAL;
	memset(ret, 0, CONFIG_LISTEN);
	memcpy(ret, text, len);
	memcpy(ret + CONFIG_LISTEN, &chosen, sizeof(chosen));
	return 0;
}

static int parse_setting(struct node_config *config, const struct setting *s,
			 const char *text)
{
	void *at = (char *)config + s->at;

	switch (s->kind) {
	case SETTING_PATH:
		return parse_path(s, text, at);
	case SETTING_SIZE:
		return parse_size(text, s->least, s->most, at);
	case SETTING_BYTES:
	case SETTING_RATE:
	case SETTING_ROOM:
		return parse_bytes(s, text, at);
	case SETTING_COUNT:
	case SETTING_PERCENT:
		return parse_small(s, text, at);
	case SETTING_WORD:
		return parse_word(s, text, at);
	case SETTING_TIME:
		return parse_time(s, text, at);
	case SETTING_LISTEN:
		return parse_listen(text, at);
	}
	return -EINVAL;
}

int config_expected(const char *text, const char *what,
		    char error[CONFIG_ERROR])
{
	char shown[40];
	size_t n = 0;

	for (; text[n] && n + 1 < sizeof(shown); n++)
		shown[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
	shown[n] = '\0';
	snprintf(error, CONFIG_ERROR, "'%s': expected %s", shown, what);
	return -EINVAL;
}

int setting_set(struct node_config *config, const struct setting *s,
		const char *text, char error[CONFIG_ERROR])
{
	if (parse_setting(config, s, text))
		return config_expected(text, s->expected, error);
	return 0;
}

int config_quota_set(struct config_size *size, const char *text,
		     char error[CONFIG_ERROR])
{
	if (parse_size(text, DRAM_LEAST, BYTES_MOST, size))
		return config_expected(
			text, "a size like 8G from 1M on, or 25%", error);
	return 0;
}

const struct setting *config_setting(const char *key)
{
	size_t i = 0;

	while (strcmp(config_settings[i].key, key) != 0)
		i++;
	return &config_settings[i];
}

/* "PATH:SIZE". A path may have colons, a size has none. */
static int nvme_option(struct node_config *config, const char *value,
		       char error[CONFIG_ERROR])
{
	const struct config_nvme before = config->nvme;
	const char *colon = strrchr(value, ':');
	char path[CONFIG_FILE + 1];

	if (!colon || colon == value || !colon[1] ||
	    (size_t)(colon - value) >= sizeof(path))
		return config_expected(value, "PATH:SIZE, like /data/kv:200G",
				       error);
	memcpy(path, value, (size_t)(colon - value));
	path[colon - value] = '\0';
	if (setting_set(config, config_setting("nvme.path"), path, error) ||
	    setting_set(config, config_setting("nvme.size"), colon + 1,
			error)) {
		config->nvme = before;
		return -EINVAL;
	}
	return 0;
}

int config_apply_option(struct node_config *config, const char *name,
			const char *value, char error[CONFIG_ERROR])
{
	if (strcmp(name, "nvme") == 0)
		return nvme_option(config, value, error);
	if (strcmp(name, "cxl") == 0)
		return config_cxl_option(config, value, error);
	if (strcmp(name, "save-on-exit") == 0) {
		config->nvme.save = 1;
		return 0;
	}
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];

		if (s->option && strcmp(s->option, name) == 0)
			return setting_set(config, s, value, error);
	}
	return config_doors_option(config, name, value, error);
}

/* ---- writing values -------------------------------------------------------- */

/* Exact, in the largest unit that has no remainder. */
static void print_bytes(uint64_t bytes, char text[CONFIG_VALUE])
{
	static const char *const units[] = { "",    "KiB", "MiB",
					     "GiB", "TiB", "PiB" };
	unsigned i = 0;

	while (bytes && bytes % 1024 == 0 && i + 1 < ARRAY_LEN(units)) {
		bytes /= 1024;
		i++;
	}
	snprintf(text, CONFIG_VALUE, "%" PRIu64 "%s", bytes, units[i]);
}

void config_size_text(const struct config_size *size, char text[CONFIG_VALUE])
{
	if (!size->share)
		print_bytes(size->bytes, text);
	else if (size->share % 100)
		snprintf(text, CONFIG_VALUE, "%u.%02u%%", size->share / 100,
			 size->share % 100);
	else
		snprintf(text, CONFIG_VALUE, "%u%%", size->share / 100);
}

/* The same of a time. */
static void print_time(uint64_t ns, char text[CONFIG_VALUE])
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = { { "h", 3600 * NS_PER_S }, { "m", 60 * NS_PER_S },
		      { "s", NS_PER_S },	{ "ms", NS_PER_MS },
		      { "us", NS_PER_US },	{ "ns", 1 } };
	size_t i = 0;

	while (ns % units[i].ns)
		i++;
	snprintf(text, CONFIG_VALUE, "%" PRIu64 "%s", ns / units[i].ns,
		 units[i].unit);
}

static uint32_t small_at(const struct node_config *config, size_t at)
{
	uint32_t value;

	memcpy(&value, (const char *)config + at, sizeof(value));
	return value;
}

void setting_get(const struct node_config *config, const struct setting *s,
		 char ret_text[CONFIG_VALUE])
{
	const char *at = (const char *)config + s->at;
	struct config_size size = { 0 };

	ret_text[0] = '\0';
	switch (s->kind) {
	case SETTING_PATH:
	case SETTING_LISTEN:
		text_copy(ret_text, CONFIG_VALUE, at);
		break;
	case SETTING_TIME:
		memcpy(&size.bytes, at, sizeof(size.bytes));
		print_time(size.bytes, ret_text);
		break;
	case SETTING_SIZE:
		memcpy(&size, at, sizeof(size));
		config_size_text(&size, ret_text);
		break;
	case SETTING_BYTES:
	case SETTING_RATE:
	case SETTING_ROOM:
		memcpy(&size.bytes, at, sizeof(size.bytes));
		if (s->kind == SETTING_BYTES && !size.bytes)
			text_copy(ret_text, CONFIG_VALUE, "auto");
		else
			print_bytes(size.bytes, ret_text);
		break;
	case SETTING_COUNT:
		snprintf(ret_text, CONFIG_VALUE, "%u", small_at(config, s->at));
		break;
	case SETTING_PERCENT:
		snprintf(ret_text, CONFIG_VALUE, "%u%%",
			 small_at(config, s->at));
		break;
	case SETTING_WORD:
		text_copy(ret_text, CONFIG_VALUE,
			  s->words[small_at(config, s->at)]);
		break;
	}
}

void config_print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputs("\"\n", out);
}

/* An address that nobody chose is a comment: who reads the rest back has not
 * chosen it either. */
static bool is_remark(const struct node_config *config, const struct setting *s)
{
	return s->kind == SETTING_LISTEN &&
	       !small_at(config, s->at + CONFIG_LISTEN);
}

static unsigned depth_of(const char *section)
{
	unsigned n = 0;

	for (; *section; section++)
		n += *section == '.';
	return n;
}

void config_print_section(const struct node_config *config, const char *section,
			  FILE *out)
{
	size_t len = strlen(section);

	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];
		const char *key = s->key;
		char text[CONFIG_VALUE];

		if (strncmp(key, section, len) != 0 || strchr(key + len, '.'))
			continue;
		setting_get(config, s, text);
		if (!*text)
			continue;
		fprintf(out, "%*s%s%s: ", (int)(2 * depth_of(section)), "",
			is_remark(config, s) ? "# " : "", key + len);
		if (s->kind == SETTING_PATH || s->kind == SETTING_LISTEN)
			config_print_quoted(text, out);
		else
			fprintf(out, "%s\n", text);
	}
}

void config_print(const struct node_config *config, FILE *out)
{
	config_print_section(config, "", out);
	fputs("clients:\n", out);
	config_print_section(config, "clients.", out);
	fputs("sessions:\n", out);
	config_print_section(config, "sessions.", out);
	config_nvme_print(config, out);
	config_cxl_print(config, out);
	config_region_print(config, out);
	fputs("tenants:\n", out);
	for (uint32_t i = 0; i < config->n_tenants; i++)
		config_tenant_print(&config->tenants[i], out);
	config_doors_print(config, out);
}

uint64_t config_size_bytes(struct config_size size, uint64_t whole)
{
	uint64_t bytes = size.bytes;

	if (size.share)
		bytes = (uint64_t)((unsigned __int128)whole * size.share /
				   SHARE_ALL);
	return bytes & ~(PAGE_BYTES - 1);
}
