/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of numbers and names: any text, and what they accept must come
 * back from what they print. */
#include "base/log.h"
#include "base/text.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_hex(const char *text)
{
	uint8_t bytes[32];
	char back[65];

	if (text_parse_hex(text, bytes, 32) != 0)
		return;
	text_hex(bytes, 32, back);
	for (unsigned i = 0; i < 64; i++)
		must((text[i] | 0x20) == (back[i] | 0x20));
}

static void try_numbers(const char *text)
{
	uint64_t v, part;
	char buf[32];

	if (text_parse_size(text, 1000, &v) == 0)
		must(strlen(text_size(v, buf)) < 32);
	if (text_parse_time(text, &v) == 0)
		must(strlen(text_time(v, buf)) < 32);
	if (text_parse_u64(text, 1ull << 40, &v) == 0) {
		must(v <= 1ull << 40);
		must(text_parse_size(text, 0, &part) == 0 && part == v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "serve", "replay", "dram",
					     "memory_limit" };
	char *text = malloc(size + 1), small[16];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	try_numbers(text);
	try_hex(text);
	text_nearest(text, names, ARRAY_LEN(names));
	must(text_copy(small, sizeof(small), text) == 0 ||
	     strlen(small) == sizeof(small) - 1);
	free(text);
	return 0;
}
