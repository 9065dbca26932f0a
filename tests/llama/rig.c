/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/llama/rig.h"

static void quiet(int level, const char *text, void *ctx)
{
	(void)ctx;
	if (level == 4) /* errors */
		fputs(text, stderr);
}

/* In the sources' folder, or beside it. */
static const char *beside(const char *name, char path[256])
{
	const char *source = getenv("ONECOPY_SOURCE");

	snprintf(path, 256, "%s/%s", source ? source : ".", name);
	return path;
}

void rig_engine(struct rig *r)
{
	char path[256], error[256] = "";
	const char *where = getenv("ONECOPY_LLAMA");

	memset(r, 0, sizeof(*r));
	if (!where && access(beside("build-llama/lib", path), R_OK) == 0)
		where = path;
	if (oc_llama_engine(where, error))
		SKIP("%s", error);
	if (abi_bind(&r->abi, error))
		SKIP("%s", error);
	r->abi.llama_log_set(quiet, NULL);
}

const char *rig_program(void)
{
	const char *binary = getenv("ONECOPY_LLAMA_BIN");
	struct rig r;
	char path[256];

	if (!binary)
		SKIP("ONECOPY_LLAMA_BIN does not name the program");
	rig_engine(&r);
	if (!getenv("ONECOPY_LLAMA"))
		setenv("ONECOPY_LLAMA", beside("build-llama/lib", path), 1);
	return binary;
}

void rig_random(struct rig *r, struct model_shape shape)
{
	CHECK_OK(model_make(&r->abi, &shape, &r->model, r->weights));
}

void rig_stories(struct rig *r)
{
	const char *shared = getenv("ONECOPY_SHARED");

	if (shared)
		snprintf(r->path, sizeof(r->path), "%s/models/stories260K.gguf",
			 shared);
	else
		beside("../shared/models/stories260K.gguf", r->path);
	if (access(r->path, R_OK))
		SKIP("no model at %.200s", r->path);
	r->model = r->abi.llama_model_load_from_file(r->path, r->abi.model);
	CHECK(r->model != NULL);
}

void rig_end(struct rig *r)
{
	r->abi.llama_model_free(r->model);
}

struct llama_context *rig_context(struct rig *r, enum rig_kind kind,
				  uint32_t n_ctx)
{
	struct abi_context_params p = r->abi.context;
	struct llama_context *ctx;

	p.n_ctx = n_ctx;
	p.n_batch = n_ctx;
	p.n_threads = p.n_threads_batch = 1;
	p.n_seq_max = kind == RIG_UNIFIED ? 2 : kind == RIG_ALONE ? 1 : 3;
	p.kv_unified = kind == RIG_UNIFIED;
	if (kind == RIG_STREAMS)
		p.n_ctx *= 3;
	ctx = r->abi.llama_init_from_model(r->model, p);
	CHECK(ctx != NULL);
	return ctx;
}

oc_llama *rig_open(struct rig *r, oc_client *c, struct llama_context *ctx,
		   struct oc_llama_options o)
{
	char error[256] = "";
	oc_llama *l;
	int e;

	o.size = sizeof(o);
	if (o.timeout_ns == 0)
		o.timeout_ns = LIVE_DEADLINE;
	if (r->path[0] && !o.weights)
		o.model = r->path;
	else if (!o.weights)
		o.weights = r->weights;
	e = oc_llama_open(c, ctx, &o, &l, error);
	if (e)
		FAIL("oc_llama_open: %d %s", e, error);
	return l;
}

void rig_tokens(int32_t *tokens, size_t n, uint32_t seed)
{
	uint64_t state = seed;

	for (size_t i = 0; i < n; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		tokens[i] = i ? (int32_t)(3 + (state >> 33) % 250) : 1;
	}
}

size_t rig_vocab(const struct rig *r)
{
	return (size_t)r->abi.llama_vocab_n_tokens(
		r->abi.llama_model_get_vocab(r->model));
}

void rig_decode(struct rig *r, struct llama_context *ctx, const int32_t *tokens,
		size_t n, size_t past, float *logits)
{
	const float *got;

	CHECK_INT(past, <, n);
	if (past < n - 1)
		CHECK_INT(abi_decode(&r->abi, ctx, 0, tokens + past,
				     n - 1 - past, past, false),
			  ==, 0);
	CHECK_INT(abi_decode(&r->abi, ctx, 0, tokens + n - 1, 1, n - 1, true),
		  ==, 0);
	got = r->abi.llama_get_logits_ith(ctx, -1);
	CHECK(got != NULL);
	memcpy(logits, got, rig_vocab(r) * sizeof(float));
}

void rig_same(struct rig *r, const float *a, const float *b)
{
	CHECK_MEM(a, b, rig_vocab(r) * sizeof(float));
}
