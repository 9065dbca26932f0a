/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the configuration: one table for the file, the options and the
 * printing. */
#include "config.h"
#include "config_internal.h"
#include "base/text.h"
#include "shm/layout.h"
#include <errno.h>
#include <inttypes.h>

#define SHARE_ALL  10000u /* hundredths of a percent */
#define DRAM_LEAST (1ull << 20)
#define BYTES_MOST (1ull << 50)

_Static_assert(CONFIG_NAME == LAYOUT_NAME, "a tenant's name fits its pool");

static const char *const huge_words[] = { "auto", "never", NULL };
static const char *const backend_words[] = { "auto", "uring", "epoll", NULL };
static const char *const level_words[] = { "error", "warn", "info", "debug",
					   NULL };

#define IN(field)  offsetof(struct node_config, field)
#define RAW(field) offsetof(struct raw_config, field)

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
};
const size_t config_n_settings = ARRAY_LEN(config_settings);
_Static_assert(LAYOUT_CLIENTS_MAX == 512, "texts and manual say so");

const struct cli_option config_options[] = { CONFIG_OPTIONS, CLI_END };
const size_t config_n_options = ARRAY_LEN(config_options) - 1;

void config_defaults(struct node_config *ret_config)
{
	*ret_config = (struct node_config){
		.dram = { .share = SHARE_ALL / 4 },
		.scrub_bytes_per_s = 64ull << 20,
		.log_level = LOG_INFO,
		.max_clients = LAYOUT_CLIENTS_MAX,
		.pins = 16384,
		.overflow_pins = 49152,
		.granted_frames = 4096,
		.slab_percent = 100,
		.n_tenants = 1,
		.tenants = { { .name = "default" } },
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
		return parse_bytes(s, text, at);
	case SETTING_COUNT:
	case SETTING_PERCENT:
		return parse_small(s, text, at);
	case SETTING_WORD:
		return parse_word(s, text, at);
	}
	return -EINVAL;
}

static int expected(const char *text, const char *what,
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
		return expected(text, s->expected, error);
	return 0;
}

int config_quota_set(struct config_size *size, const char *text,
		     char error[CONFIG_ERROR])
{
	if (parse_size(text, DRAM_LEAST, BYTES_MOST, size))
		return expected(text, "a size like 8G from 1M on, or 25%",
				error);
	return 0;
}

int config_apply_option(struct node_config *config, const char *name,
			const char *value, char error[CONFIG_ERROR])
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];

		if (s->option && strcmp(s->option, name) == 0)
			return setting_set(config, s, value, error);
	}
	snprintf(error, CONFIG_ERROR, "no option --%.64s", name);
	return -ENOENT;
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

static void print_size(const struct config_size *size, char text[CONFIG_VALUE])
{
	if (!size->share)
		print_bytes(size->bytes, text);
	else if (size->share % 100)
		snprintf(text, CONFIG_VALUE, "%u.%02u%%", size->share / 100,
			 size->share % 100);
	else
		snprintf(text, CONFIG_VALUE, "%u%%", size->share / 100);
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
		text_copy(ret_text, CONFIG_VALUE, at);
		break;
	case SETTING_SIZE:
		memcpy(&size, at, sizeof(size));
		print_size(&size, ret_text);
		break;
	case SETTING_BYTES:
	case SETTING_RATE:
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

static void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputs("\"\n", out);
}

static void print_tenant(const struct config_tenant *t, FILE *out)
{
	char text[CONFIG_VALUE];

	fputs("  - name: ", out);
	print_quoted(t->name, out);
	if (t->n_uids) {
		fputs("    uids: [", out);
		for (uint32_t i = 0; i < t->n_uids; i++)
			fprintf(out, "%s%u", i ? ", " : "", t->uids[i]);
		fputs("]\n", out);
	}
	if (t->dram.bytes || t->dram.share) {
		print_size(&t->dram, text);
		fprintf(out, "    dram: %s\n", text);
	}
}

void config_print(const struct node_config *config, FILE *out)
{
	bool inside = false;

	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];
		const char *dot = strchr(s->key, '.');
		char text[CONFIG_VALUE];

		setting_get(config, s, text);
		if (!*text)
			continue;
		if (dot && !inside)
			fprintf(out, "%.*s:\n", (int)(dot - s->key), s->key);
		inside = dot != NULL;
		fprintf(out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : s->key);
		if (s->kind == SETTING_PATH)
			print_quoted(text, out);
		else
			fprintf(out, "%s\n", text);
	}
	fputs("tenants:\n", out);
	for (uint32_t i = 0; i < config->n_tenants; i++)
		print_tenant(&config->tenants[i], out);
}

uint64_t config_size_bytes(struct config_size size, uint64_t whole)
{
	uint64_t bytes = size.bytes;

	if (size.share)
		bytes = (uint64_t)((unsigned __int128)whole * size.share /
				   SHARE_ALL);
	return bytes & ~(PAGE_BYTES - 1);
}
