/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration from text, and back. */
#ifndef ONECOPY_TESTS_PROG_CONFIG_RIG_H
#define ONECOPY_TESTS_PROG_CONFIG_RIG_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"
#include "prog/config.h"
#include "tests/test.h"

static inline int parse(const char *text, struct node_config *c, char *error)
{
	return config_parse(text, strlen(text), "f.yaml", c, error);
}

static inline void defaults(struct node_config *c)
{
	memset(c, 0, sizeof(*c));
	config_defaults(c);
}

/* Of the word "password"; as `sha256sum` says. */
#define PASSWORD_SHA256                    \
	"5e884898da28047151d0e56f8dc62927" \
	"73603d0d6aabbdd62a11ef721d1542d8"

/* Prints, reads back, compares. */
static inline void check_round_trip(const struct node_config *c)
{
	char *text = NULL, error[CONFIG_ERROR] = "";
	struct node_config back;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	config_print(c, out);
	CHECK_OK(fclose(out));
	memset(&back, 0, sizeof(back));
	fprintf(stderr, "%s", text);
	if (config_parse(text, len, "printed", &back, error))
		FAIL("%s", error);
	CHECK_MEM(c, &back, sizeof(back));
	free(text);
}

static inline void check_password(const uint8_t sha256[32])
{
	char hex[65];

	text_hex(sha256, 32, hex);
	CHECK_STR(hex, PASSWORD_SHA256);
}

struct bad {
	const char *text, *says;
};

static inline void check_bad(const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char error[CONFIG_ERROR] = "";
		struct node_config c, untouched;

		memset(&c, 0x5a, sizeof(c));
		untouched = c;
		fprintf(stderr, "%s\n", bad[i].text);
		CHECK_INT(parse(bad[i].text, &c, error), ==, -EINVAL);
		if (!strstr(error, bad[i].says))
			FAIL("\"%s\" does not say \"%s\"", error, bad[i].says);
		CHECK(!strchr(error, '\n'));
		CHECK_MEM(&c, &untouched, sizeof(c));
	}
}

#endif
