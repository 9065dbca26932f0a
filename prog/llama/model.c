/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/model.h"

#include <errno.h>
#include <onecopy/llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_F32     0 /* enum ggml_type */
#define TYPE_F16     1
#define GGUF_I32     5 /* enum gguf_type */
#define GGUF_F32     6
#define VOCAB	     259
#define TENSOR_BYTES 1024 /* of a tensor's description, at most */

struct ggml_context;
struct ggml_params {
	size_t bytes;
	void *buffer;
	bool no_alloc;
};

#define MODEL_SYMBOLS(X)                                                    \
	X(struct gguf_context *, gguf_init_empty, (void))                   \
	X(void, gguf_free, (struct gguf_context *))                         \
	X(void, gguf_set_val_u32,                                           \
	  (struct gguf_context *, const char *, uint32_t))                  \
	X(void, gguf_set_val_f32,                                           \
	  (struct gguf_context *, const char *, float))                     \
	X(void, gguf_set_val_str,                                           \
	  (struct gguf_context *, const char *, const char *))              \
	X(void, gguf_set_arr_data,                                          \
	  (struct gguf_context *, const char *, int, const void *, size_t)) \
	X(void, gguf_set_arr_str,                                           \
	  (struct gguf_context *, const char *, const char **, size_t))     \
	X(void, gguf_add_tensor,                                            \
	  (struct gguf_context *, const struct ggml_tensor *))              \
	X(struct ggml_context *, ggml_init, (struct ggml_params))           \
	X(void, ggml_free, (struct ggml_context *))                         \
	X(struct ggml_tensor *, ggml_new_tensor,                            \
	  (struct ggml_context *, int, int, const int64_t *))               \
	X(struct ggml_tensor *, ggml_set_name,                              \
	  (struct ggml_tensor *, const char *))                             \
	X(const char *, ggml_get_name, (const struct ggml_tensor *))        \
	X(size_t, ggml_nbytes, (const struct ggml_tensor *))                \
	X(void, ggml_backend_tensor_set,                                    \
	  (struct ggml_tensor *, const void *, size_t, size_t))

struct maker {
#define X(result, name, params) result(*name) params;
	MODEL_SYMBOLS(X)
#undef X
	const struct model_shape *shape;
	struct gguf_context *gguf;
	struct ggml_context *ggml;
	bool failed;
};

static int maker_bind(struct maker *m)
{
	void *p;

#define X(result, name, params)     \
	p = oc_llama_symbol(#name); \
	if (!p)                     \
		return -ENOSYS;     \
	memcpy(&m->name, &p, sizeof(m->name));
	MODEL_SYMBOLS(X)
#undef X
	return 0;
}

/* ---- what the model says of itself */

static void put_words(struct maker *m)
{
	const struct model_shape *s = m->shape;

	m->gguf_set_val_str(m->gguf, "general.architecture", "llama");
	m->gguf_set_val_str(m->gguf, "general.name", "random");
	m->gguf_set_val_u32(m->gguf, "llama.context_length", s->context);
	m->gguf_set_val_u32(m->gguf, "llama.embedding_length", s->width);
	m->gguf_set_val_u32(m->gguf, "llama.block_count", s->layers);
	m->gguf_set_val_u32(m->gguf, "llama.feed_forward_length", s->ffn);
	m->gguf_set_val_u32(m->gguf, "llama.attention.head_count", s->heads);
	m->gguf_set_val_u32(m->gguf, "llama.attention.head_count_kv",
			    s->kv_heads);
	m->gguf_set_val_f32(m->gguf, "llama.attention.layer_norm_rms_epsilon",
			    1e-5f);
	m->gguf_set_val_u32(m->gguf, "llama.rope.dimension_count",
			    s->width / s->heads);
}

static void put_vocabulary(struct maker *m)
{
	static const char *const first[] = { "<unk>", "<s>", "</s>" };
	static const int32_t kinds[] = { 2, 3, 3 }; /* unknown, control */
	char bytes[256][8];
	const char *words[VOCAB];
	float scores[VOCAB] = { 0 };
	int32_t types[VOCAB];

	for (int i = 0; i < 3; i++) {
		words[i] = first[i];
		types[i] = kinds[i];
	}
	for (int i = 0; i < 256; i++) {
		snprintf(bytes[i], sizeof(bytes[i]), "<0x%02X>", i);
		words[3 + i] = bytes[i];
		types[3 + i] = 6; /* a byte */
	}
	m->gguf_set_val_str(m->gguf, "tokenizer.ggml.model", "llama");
	m->gguf_set_arr_str(m->gguf, "tokenizer.ggml.tokens", words, VOCAB);
	m->gguf_set_arr_data(m->gguf, "tokenizer.ggml.scores", GGUF_F32, scores,
			     VOCAB);
	m->gguf_set_arr_data(m->gguf, "tokenizer.ggml.token_type", GGUF_I32,
			     types, VOCAB);
	m->gguf_set_val_u32(m->gguf, "tokenizer.ggml.unknown_token_id", 0);
	m->gguf_set_val_u32(m->gguf, "tokenizer.ggml.bos_token_id", 1);
	m->gguf_set_val_u32(m->gguf, "tokenizer.ggml.eos_token_id", 2);
}

/* ---- tensors */

static void put_tensor(struct maker *m, int type, const char *name, int64_t x,
		       int64_t y)
{
	const int64_t ne[2] = { x, y };
	struct ggml_tensor *t =
		m->ggml_new_tensor(m->ggml, type, y ? 2 : 1, ne);

	m->ggml_set_name(t, name);
	m->gguf_add_tensor(m->gguf, t);
}

static void put_layer(struct maker *m, unsigned layer)
{
	const struct model_shape *s = m->shape;
	int64_t w = s->width, kv = s->width / s->heads * s->kv_heads,
		ffn = s->ffn;
	const struct {
		const char *name;
		int64_t x, y;
	} all[] = {
		{ "attn_norm", w, 0 },	 { "attn_q", w, w },
		{ "attn_k", w, kv },	 { "attn_v", w, kv },
		{ "attn_output", w, w }, { "ffn_norm", w, 0 },
		{ "ffn_gate", w, ffn },	 { "ffn_up", w, ffn },
		{ "ffn_down", ffn, w },
	};
	char name[64];

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		snprintf(name, sizeof(name), "blk.%u.%s.weight", layer,
			 all[i].name);
		put_tensor(m, all[i].y ? TYPE_F16 : TYPE_F32, name, all[i].x,
			   all[i].y);
	}
}

static void put_tensors(struct maker *m)
{
	int64_t w = m->shape->width;

	put_tensor(m, TYPE_F16, "token_embd.weight", w, VOCAB);
	put_tensor(m, TYPE_F32, "output_norm.weight", w, 0);
	put_tensor(m, TYPE_F16, "output.weight", w, VOCAB);
	for (unsigned i = 0; i < m->shape->layers; i++)
		put_layer(m, i);
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t seed_of(const char *name, uint64_t seed)
{
	for (; *name; name++)
		seed = (seed ^ (unsigned char)*name) * 0x100000001b3ull;
	return seed;
}

/* Halves of either sign whose size is between 1/64 and 1/16. */
static void random_halves(uint16_t *out, size_t n, uint64_t state)
{
	for (size_t i = 0; i < n; i += 4) {
		uint64_t bits = next(&state);

		for (size_t k = i; k < n && k < i + 4; k++, bits >>= 16)
			out[k] = (uint16_t)((bits & 0x87ff) | 9u << 10);
	}
}

/* Norms are ones, all else is random. */
static void fill(struct ggml_tensor *t, void *ctx)
{
	struct maker *m = ctx;
	const char *name = m->ggml_get_name(t);
	size_t bytes = m->ggml_nbytes(t);
	void *data = malloc(bytes);

	if (!data) {
		m->failed = true;
		return;
	}
	if (strstr(name, "norm"))
		for (size_t i = 0; i < bytes / sizeof(float); i++)
			((float *)data)[i] = 1.0f;
	else
		random_halves(data, bytes / 2, seed_of(name, m->shape->seed));
	m->ggml_backend_tensor_set(t, data, 0, bytes);
	free(data);
}

/* ---- */

uint64_t model_parameters(const struct model_shape *s)
{
	uint64_t w = s->width, kv = w / s->heads * s->kv_heads;

	return s->layers * (2 * w * w + 2 * w * kv + 3 * w * s->ffn + 2 * w) +
	       2 * w * VOCAB + w;
}

/* The shape names the weights: its words, spread over 32 bytes. */
static void digest(const struct model_shape *s, uint8_t ret[32])
{
	char text[160];
	uint64_t state;

	snprintf(text, sizeof(text), "random llama 1: %u %u %u %u %u %llu",
		 s->layers, s->width, s->heads, s->kv_heads, s->ffn,
		 (unsigned long long)s->seed);
	state = seed_of(text, 0xcbf29ce484222325ull);
	for (int i = 0; i < 32; i += 8) {
		uint64_t v = next(&state);

		memcpy(ret + i, &v, 8);
	}
}

static int make(struct maker *m, const struct abi *a,
		struct llama_model **ret_model)
{
	struct abi_model_params params = a->model;
	struct llama_model *model;

	put_words(m);
	put_vocabulary(m);
	put_tensors(m);
	model = a->llama_model_init_from_user(m->gguf, fill, m, params);
	if (!model)
		return -EINVAL;
	if (m->failed) {
		a->llama_model_free(model);
		return -ENOMEM;
	}
	*ret_model = model;
	return 0;
}

int model_make(const struct abi *a, const struct model_shape *shape,
	       struct llama_model **ret_model, uint8_t ret_weights[32])
{
	struct maker m = { .shape = shape };
	struct ggml_params p = { .bytes =
					 (shape->layers * 9 + 3) * TENSOR_BYTES,
				 .no_alloc = true };
	int r = maker_bind(&m);

	if (r)
		return r;
	m.gguf = m.gguf_init_empty();
	m.ggml = m.ggml_init(p);
	r = m.gguf && m.ggml ? make(&m, a, ret_model) : -ENOMEM;
	if (m.ggml)
		m.ggml_free(m.ggml);
	if (m.gguf)
		m.gguf_free(m.gguf);
	if (r == 0)
		digest(shape, ret_weights);
	return r;
}
