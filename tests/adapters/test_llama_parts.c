/* SPDX-License-Identifier: Apache-2.0 */
/* Tracks, digests and decisions. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <onecopy/llama.h>
#include "adapters/llama/digest.h"
#include "adapters/llama/plan.h"
#include "adapters/llama/track.h"
#include "base/fault.h"
#include "base/text.h"
#include "tests/test.h"

/* ---- tracks */

static void keys_of(const int32_t *tokens, size_t n, struct oc_key *keys)
{
	struct oc_chain_options o = { .size = sizeof(o), .block_tokens = 16 };
	uint32_t copy[256];
	size_t made;

	for (size_t i = 0; i < n; i++)
		copy[i] = (uint32_t)tokens[i];
	CHECK_OK(oc_chain(&o, copy, n, keys, &made));
}

TEST(a_track_grows_as_the_chain_does)
{
	struct track t = { .block_tokens = 16 };
	struct oc_key keys[16];
	int32_t tokens[256];

	for (int i = 0; i < 256; i++)
		tokens[i] = i * 7;
	keys_of(tokens, 256, keys);
	for (size_t n = 0; n <= 256; n++) {
		CHECK_OK(track_take(&t, tokens, n));
		CHECK_INT(t.blocks, ==, n / 16);
	}
	CHECK_MEM(t.keys, keys, sizeof(keys));
	/* Shorter: nothing is forgotten. */
	t.sealed = 16;
	CHECK_OK(track_take(&t, tokens, 100));
	CHECK_INT(t.blocks, ==, 16);
	/* Another ending: from the first different block on. */
	tokens[100] = -1;
	CHECK_OK(track_take(&t, tokens, 256));
	CHECK_INT(t.sealed, ==, 6);
	keys_of(tokens, 256, keys);
	CHECK_MEM(t.keys, keys, sizeof(keys));
	track_fini(&t);
}

TEST(a_track_without_memory)
{
	int32_t tokens[64] = { 1 };

	for (uint64_t n = 1;; n++) {
		struct track t = { .block_tokens = 16 };
		int r;

		fault_arm(FAULT_ALLOC, n, false);
		r = track_take(&t, tokens, 64);
		fault_arm(0, 0, false);
		CHECK(r == 0 || r == -ENOMEM);
		if (r == 0) {
			CHECK_INT(t.blocks, ==, 4);
			track_fini(&t);
			CHECK_INT(n, >, 2);
			return;
		}
		CHECK_OK(track_take(&t, tokens, 64));
		CHECK_INT(t.blocks, ==, 4);
		track_fini(&t);
	}
}

/* ---- decisions */

TEST(exact_prefixes)
{
	CHECK_INT(oc_llama_exact(0, 2048, 2048, 512), ==, 0);
	CHECK_INT(oc_llama_exact(511, 2048, 2048, 512), ==, 0);
	CHECK_INT(oc_llama_exact(1056, 1400, 2048, 512), ==, 1024);
	CHECK_INT(oc_llama_exact(2047, 2048, 2048, 512), ==, 2047);
	CHECK_INT(oc_llama_exact(2048, 2048, 2048, 512), ==, 2047);
	CHECK_INT(oc_llama_exact(1000, 1400, 700, 512), ==, 700);
	CHECK_INT(oc_llama_exact(1000, 1400, 0, 0), ==, 0);
}

TEST(importing_must_be_worth_it)
{
	struct plan p = { 0 };
	int taken = 0;

	CHECK(plan_worth(&p));
	plan_imported(&p, 100, 100000);
	CHECK(plan_worth(&p));
	plan_computed(&p, 10, 1000000);
	CHECK(plan_worth(&p));
	p = (struct plan){ .import_ns = 10, .compute_ns = 5 };
	for (int i = 0; i < 64; i++)
		taken += plan_worth(&p);
	CHECK_INT(taken, ==, 4);
}

static void check_near(double a, double b)
{
	if (a < b * 0.98 - 1e-6 || a > b * 1.02 + 1e-6)
		FAIL("%g is not about %g", a, b);
}

/* What computing costs is a line over the depth. */
TEST(prefill_is_measured_with_its_growth)
{
	struct prefill p = { 0 };
	double base, growth;

	CHECK(!prefill_fit(&p, &base, &growth));
	prefill_add(&p, 0, 0, 1000);
	CHECK(!prefill_fit(&p, &base, &growth));
	/* one depth: a rate, no growth */
	prefill_add(&p, 0, 101, 101 * 1000);
	CHECK(prefill_fit(&p, &base, &growth));
	check_near(base, 1000);
	check_near(growth, 0);
	/* 1000 ns + 0.5 for each token before: 1025 of 101, 1525 further on */
	p = (struct prefill){ 0 };
	for (int i = 0; i < 20; i++) {
		size_t depth = 1000u * (unsigned)(i % 4);

		prefill_add(&p, depth, 101,
			    101 * (1000 + (uint64_t)(depth + 50) / 2));
	}
	CHECK(prefill_fit(&p, &base, &growth));
	check_near(base, 1000);
	check_near(growth, 0.5);
	/* deeper and cheaper is noise, not a law */
	p = (struct prefill){ 0 };
	prefill_add(&p, 0, 100, 200000);
	prefill_add(&p, 10000, 100, 100000);
	CHECK(prefill_fit(&p, &base, &growth));
	CHECK(base > 0 && growth == 0);
}

TEST(exports_take_their_share_of_time)
{
	struct pace p = { .percent = 2, .last_ns = 1000 };
	uint64_t now = 1000, spent = 0;

	/* A token takes 10 ms, an export, when it is allowed, 1 ms. */
	for (int i = 0; i < 10000; i++) {
		now += 10000000;
		if (pace_allows(&p, now)) {
			pace_spent(&p, now, now + 1000000);
			now += 1000000;
			spent += 1000000;
		}
	}
	CHECK_INT(spent * 1000, <=, now * 21);
	CHECK_INT(spent * 1000, >=, now * 19);
	/* A long silence saves up a tenth of a second, no more. */
	CHECK(pace_allows(&p, now + 1000000000000));
	CHECK_INT(p.credit_ns, ==, 100000000);
}

/* ---- digests */

static char folder[64], cache[128];

static void place(void)
{
	snprintf(folder, sizeof(folder), "/tmp/onecopy-digest-XXXXXX");
	CHECK(mkdtemp(folder) != NULL);
	snprintf(cache, sizeof(cache), "%s/cache", folder);
}

static const char *file(const char *name, const char *text)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "we");
	CHECK(f != NULL);
	fputs(text, f);
	CHECK_OK(fclose(f));
	return path;
}

static void is_hex(const uint8_t *digest, const char *hex)
{
	char got[65];

	text_hex(digest, 32, got);
	CHECK_STR(got, hex);
}

static void clear(void)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	CHECK_OK(system(command));
}

TEST(a_digest_is_that_of_the_content)
{
	uint8_t d[32];

	place();
	CHECK_OK(digest_model(file("m.gguf", "abc"), NULL, d));
	is_hex(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f200"
		  "15ad");
	CHECK_INT(digest_model(file("empty.gguf", ""), NULL, d), ==, -EINVAL);
	CHECK_INT(digest_model(folder, NULL, d), ==, -EINVAL);
	CHECK_INT(digest_model("/nowhere", NULL, d), ==, -ENOENT);
	clear();
}

/* A line that holds for the file is believed, one for another time is not. */
TEST(a_digest_is_remembered)
{
	const char *path;
	struct stat st;
	uint8_t d[32];
	char line[256];

	place();
	path = file("m.gguf", "abc");
	/* Just written: not to be remembered. */
	CHECK_OK(digest_model(path, cache, d));
	CHECK_INT(access(cache, F_OK), ==, -1);
	CHECK_OK(stat(path, &st));
	for (int off = 0; off < 2; off++) {
		int fd = open(cache, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			      0600);

		snprintf(line, sizeof(line), "%llu %llu %llu %lld %lld %064x\n",
			 (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino,
			 (unsigned long long)st.st_size,
			 (long long)st.st_mtim.tv_sec * 1000000000 +
				 st.st_mtim.tv_nsec,
			 (long long)st.st_ctim.tv_sec * 1000000000 +
				 st.st_ctim.tv_nsec + off,
			 7);
		CHECK_INT(write(fd, line, strlen(line)), ==, strlen(line));
		close(fd);
		CHECK_OK(digest_model(path, cache, d));
		CHECK_INT(d[31], ==, off ? 0xad : 7);
	}
	/* Nor is a cache that others may write. */
	CHECK_OK(chmod(cache, 0666));
	CHECK_OK(digest_model(path, cache, d));
	CHECK_INT(d[31], ==, 0xad);
	clear();
}

TEST(a_split_model_has_a_digest_of_all_its_files)
{
	uint8_t one[32], two[32];
	unsigned no, count;

	CHECK(digest_split("x/m-00002-of-00011.gguf", &no, &count));
	CHECK_INT(no, ==, 2);
	CHECK_INT(count, ==, 11);
	CHECK(!digest_split("m-0002-of-00011.gguf", &no, &count));
	CHECK(!digest_split("-of-.gguf", &no, &count));
	place();
	file("m-00002-of-00002.gguf", "two");
	CHECK_OK(digest_model(file("m-00001-of-00002.gguf", "one"), NULL, one));
	file("m-00002-of-00002.gguf", "TWO");
	CHECK_OK(digest_model(file("m-00001-of-00002.gguf", "one"), NULL, two));
	CHECK(memcmp(one, two, 32) != 0);
	CHECK_INT(digest_model(file("m-00002-of-00002.gguf", "x"), NULL, two),
		  ==, -EINVAL);
	CHECK_INT(digest_model(file("n-00001-of-00002.gguf", "x"), NULL, two),
		  ==, -ENOENT);
	clear();
}
