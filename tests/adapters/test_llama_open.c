/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused before a node is asked: a fake engine, no node. */
#include <dlfcn.h>
#include "adapters/llama/internal.h"
#include "tests/adapters/fake_engine.h"
#include "tests/test.h"

static const uint8_t weights[32] = { 1 };

static int try_options(const struct engine *e, struct oc_llama_options o,
		       char *error)
{
	oc_llama *l = NULL;
	int r;

	o.size = sizeof(o);
	r = llama_open(e, NULL, fake_engine_context(), &o, &l, error);
	CHECK(r != 0);
	CHECK(l == NULL);
	return r;
}

#define REFUSED(error_, words_, ...)                                          \
	do {                                                                  \
		char text_[256] = "";                                         \
		int r_ = try_options(                                         \
			&e, (struct oc_llama_options){ __VA_ARGS__ }, text_); \
		if (r_ != (error_) || !strstr(text_, words_))                 \
			FAIL("%d \"%s\"", r_, text_);                         \
	} while (0)

TEST(models_that_cannot_be_shared)
{
	struct engine e = fake_engine_reset();

	fake_engine.recurrent = true;
	REFUSED(-ENOTSUP, "recurrent", .weights = weights);
	e = fake_engine_reset();
	fake_engine.swa = 4096;
	REFUSED(-ENOTSUP, "window", .weights = weights);
	e = fake_engine_reset();
	fake_engine.rope = 8;
	REFUSED(-ENOTSUP, "positions", .weights = weights);
}

TEST(layouts_that_are_not_known)
{
	struct engine e = fake_engine_reset();

	fake_engine.v_trans = true;
	REFUSED(-ENOTSUP, "flash attention", .weights = weights);
	e = fake_engine_reset();
	fake_engine.trailing = true;
	REFUSED(-EPROTO, "unknown layout", .weights = weights);
	/* The token that was tried is gone again. */
	CHECK(fake_engine_holds(1, NULL, 0));
}

TEST(options_that_cannot_be)
{
	struct engine e = fake_engine_reset();

	REFUSED(-EINVAL, "neither", .variant = "x");
	REFUSED(-EINVAL, "block_tokens", .weights = weights, .block_tokens = 8);
	REFUSED(-EINVAL, "block_tokens", .weights = weights,
		.block_tokens = 65);
	REFUSED(-EINVAL, "sequence", .weights = weights, .scratch = 2);
	REFUSED(-ENOENT, "/nowhere", .model = "/nowhere");
	fake_engine.n_seq = 1;
	REFUSED(-ENOTSUP, "kv_unified", .weights = weights,
		.way = OC_LLAMA_BLOCKS);
}

TEST(a_scratch_sequence_in_use)
{
	struct engine e = fake_engine_reset();
	int32_t token = 3;

	fake_engine_compute(1, &token, 0, 1);
	REFUSED(-EBUSY, "not empty", .weights = weights);
	CHECK(fake_engine_holds(1, &token, 1));
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED
#endif
#endif

TEST(no_engine_in_this_process)
{
	struct oc_llama_options o = { .size = sizeof(o), .weights = weights };
	oc_llama *l;
	char error[256] = "";
	Dl_info libc;
	int x;

#ifdef ADDRESS_SANITIZED
	SKIP("libc's functions are the sanitizer's own in this build");
#endif
	CHECK_INT(oc_llama_open((oc_client *)(void *)&x, fake_engine_context(),
				&o, &l, error),
		  ==, -ENOSYS);
	CHECK(strstr(error, "oc_llama_engine") != NULL);
	CHECK(oc_llama_symbol("llama_decode") == NULL);
	CHECK_INT(oc_llama_engine("/nowhere/at/all", error), ==, -ENOENT);
	CHECK(strstr(error, "/nowhere/at/all") != NULL);
	/* A library, and another one. */
	CHECK(dladdr(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), &libc) != 0);
	CHECK_INT(oc_llama_engine(libc.dli_fname, error), ==, -ENOSYS);
	CHECK(strstr(error, "llama_state_seq_set_data") != NULL);
	o.size = 1;
	CHECK_INT(oc_llama_open((oc_client *)(void *)&x, fake_engine_context(),
				&o, &l, error),
		  ==, -EINVAL);
}
