/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of requests: the same commands, or the same error, however it is cut
 * and wherever large values are told; numbers as printf writes them. */
#include "base/rng.h"
#include "tests/wire/resp_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct feed plain, whole, cut;

static void try_number(const char *text, size_t len)
{
	char copy[24], back[24];
	int64_t value;
	bool is = resp_number(text, len, &value);

	if (len >= sizeof(copy)) {
		must(!is);
		return;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!is) /* what it would be, were it one */
		value = strtoll(copy, NULL, 10);
	snprintf(back, sizeof(back), "%lld", (long long)value);
	must(is == (strlen(back) == len && memcmp(back, copy, len) == 0));
}

static void tell(struct feed *f, const char *data, size_t size, uint32_t large)
{
	feed_begin(f, large);
	feed(f, data, size);
	feed_finish(f);
}

static void same(const struct feed *a, const struct feed *b)
{
	must(a->told.len == b->told.len);
	must(memcmp(a->told.data, b->told.data, a->told.len) == 0);
}

/* step 0: pieces of any length */
static void try_cut(const char *data, size_t size, uint32_t large, size_t step)
{
	struct rng r = { size * 31 + large };

	feed_begin(&cut, large);
	for (size_t at = 0, n; at < size; at += n) {
		n = step ? step : 1 + rng_below(&r, 40);
		n = MIN(n, size - at);
		feed(&cut, data + at, n);
	}
	feed_finish(&cut);
	same(&cut, &whole);
	feed_end(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t larges[] = { 0, 1, 20 };
	const char *text = (const char *)data;

	try_number(text, size);
	tell(&plain, text, size, 0);
	for (size_t i = 0; i < ARRAY_LEN(larges); i++) {
		tell(&whole, text, size, larges[i]);
		/* what is too big at once may come apart */
		if (!plain.error || !strstr(plain.error, "too big request"))
			same(&whole, &plain);
		try_cut(text, size, larges[i], 1);
		try_cut(text, size, larges[i], 0);
		feed_end(&whole);
	}
	feed_end(&plain);
	return 0;
}
