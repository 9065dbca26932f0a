/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program of onecopy's calls of llama.cpp beyond what the adapter does:
 * models, contexts, tokens, sampling. Found at run time through
 * oc_llama_symbol(); declared as llama.h 0.5.0 has it, for nothing of llama.cpp
 * is needed to build.
 *
 * The two structs of parameters are passed by value and grow with releases, so
 * abi_bind() has the engine write its defaults into a marked buffer and looks
 * how far it wrote, and whether known defaults are where they should be. An
 * engine with other structs is refused.
 */
#ifndef ONECOPY_PROG_LLAMA_ABI_H
#define ONECOPY_PROG_LLAMA_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adapters/llama/engine.h"

struct llama_vocab;
struct llama_sampler;
struct gguf_context;
struct ggml_tensor;

struct abi_model_params {
	void *devices;
	const void *tensor_buft_overrides;
	int32_t n_gpu_layers, split_mode, load_mode, lazy_mode, main_gpu;
	const float *tensor_split;
	bool (*progress)(float done, void *ctx);
	void *progress_ctx;
	const void *kv_overrides;
	bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc,
		load_mtp;
};
_Static_assert(sizeof(struct abi_model_params) == 80, "llama_model_params");

struct abi_context_params {
	uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max,
		n_outputs_max_per_seq;
	int32_t n_threads, n_threads_batch;
	int32_t ctx_type, rope_scaling_type, pooling_type, attention_type,
		flash_attn_type;
	float rope_freq_base, rope_freq_scale, yarn_ext_factor,
		yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
	uint32_t yarn_orig_ctx;
	float defrag_thold;
	void *cb_eval, *cb_eval_ctx;
	int32_t type_k, type_v;
	void *abort, *abort_ctx;
	bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
	void *samplers;
	size_t n_samplers;
	void *ctx_other;
};
_Static_assert(sizeof(struct abi_context_params) == 160,
	       "llama_context_params");

struct abi_message {
	const char *role, *content;
};
struct abi_chain_params {
	bool no_perf;
};

typedef void (*abi_log_fn)(int level, const char *text, void *ctx);
typedef void (*abi_tensor_fn)(struct ggml_tensor *tensor, void *ctx);

/* X(result, whole name, parameters) */
#define ABI_SYMBOLS(X)                                                       \
	X(void, llama_log_set, (abi_log_fn, void *))                         \
	X(struct llama_model *, llama_model_load_from_file,                  \
	  (const char *, struct abi_model_params))                           \
	X(struct llama_model *, llama_model_init_from_user,                  \
	  (struct gguf_context *, abi_tensor_fn, void *,                     \
	   struct abi_model_params))                                         \
	X(void, llama_model_free, (struct llama_model *))                    \
	X(struct llama_context *, llama_init_from_model,                     \
	  (struct llama_model *, struct abi_context_params))                 \
	X(void, llama_free, (struct llama_context *))                        \
	X(const struct llama_vocab *, llama_model_get_vocab,                 \
	  (const struct llama_model *))                                      \
	X(int32_t, llama_model_n_ctx_train, (const struct llama_model *))    \
	X(const char *, llama_model_chat_template,                           \
	  (const struct llama_model *, const char *))                        \
	X(int32_t, llama_chat_apply_template,                                \
	  (const char *, const struct abi_message *, size_t, bool, char *,   \
	   int32_t))                                                         \
	X(int32_t, llama_vocab_n_tokens, (const struct llama_vocab *))       \
	X(bool, llama_vocab_is_eog, (const struct llama_vocab *, int32_t))   \
	X(int32_t, llama_tokenize,                                           \
	  (const struct llama_vocab *, const char *, int32_t, int32_t *,     \
	   int32_t, bool, bool))                                             \
	X(int32_t, llama_token_to_piece,                                     \
	  (const struct llama_vocab *, int32_t, char *, int32_t, int32_t,    \
	   bool))                                                            \
	X(void *, llama_get_memory, (const struct llama_context *))          \
	X(bool, llama_memory_seq_rm, (void *, int32_t, int32_t, int32_t))    \
	X(int32_t, llama_memory_seq_pos_max, (void *, int32_t))              \
	X(uint32_t, llama_n_ctx, (const struct llama_context *))             \
	X(uint32_t, llama_n_batch, (const struct llama_context *))           \
	X(void, llama_set_abort_callback,                                    \
	  (struct llama_context *, bool (*)(void *), void *))                \
	X(int32_t, llama_decode,                                             \
	  (struct llama_context *, struct engine_batch))                     \
	X(float *, llama_get_logits_ith, (struct llama_context *, int32_t))  \
	X(struct llama_sampler *, llama_sampler_chain_init,                  \
	  (struct abi_chain_params))                                         \
	X(void, llama_sampler_chain_add,                                     \
	  (struct llama_sampler *, struct llama_sampler *))                  \
	X(struct llama_sampler *, llama_sampler_init_greedy, (void))         \
	X(struct llama_sampler *, llama_sampler_init_top_k, (int32_t))       \
	X(struct llama_sampler *, llama_sampler_init_top_p, (float, size_t)) \
	X(struct llama_sampler *, llama_sampler_init_temp, (float))          \
	X(struct llama_sampler *, llama_sampler_init_dist, (uint32_t))       \
	X(int32_t, llama_sampler_sample,                                     \
	  (struct llama_sampler *, struct llama_context *, int32_t))         \
	X(void, llama_sampler_free, (struct llama_sampler *))                \
	X(void *, llama_model_default_params, (void *))                      \
	X(void *, llama_context_default_params, (void *))

struct abi {
#define X(result, name, params) result(*name) params;
	ABI_SYMBOLS(X)
#undef X
	struct abi_model_params model;	   /* the engine's defaults */
	struct abi_context_params context; /* the engine's defaults */
};

/* After oc_llama_engine(). 0, or -ENOSYS and `error` (256 bytes) says why. */
int abi_bind(struct abi *ret_abi, char *error);

/* A batch of one sequence, in arrays of the caller's making. Logits of the
 * last token when `output`. What llama_decode() returned; -ENOMEM. Splits at
 * n_batch. */
int abi_decode(const struct abi *a, struct llama_context *ctx, int32_t seq,
	       const int32_t *tokens, size_t n, size_t position, bool output);

#endif
