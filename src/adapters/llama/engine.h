/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama.cpp as a table of functions, found at run time. The declarations are
 * onecopy's own, of what llama.h 0.5.0 says; only what the adapter calls is
 * here. Tests put a fake in its place.
 *
 * Structs that are passed by value are part of the engine's ABI:
 * engine_batch is llama_batch, 56 bytes.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_ENGINE_H
#define ONECOPY_ADAPTERS_LLAMA_ENGINE_H

#include "base/compiler.h"

struct llama_context;
struct llama_model;

struct engine_batch {
	int32_t n_tokens;
	int32_t *token;
	float *embd;
	int32_t *pos;
	int32_t *n_seq_id;
	int32_t **seq_id;
	int8_t *logits;
};
_Static_assert(sizeof(struct engine_batch) == 56, "llama_batch");

/* What has positions of more than one dimension keeps more than a position in
 * a cell (llama_rope_type). */
#define ENGINE_ROPE_NORM 0
#define ENGINE_ROPE_NEOX 2
#define ENGINE_ROPE_NONE (-1)

/* X(result, name without "llama_", parameters) */
#define ENGINE_SYMBOLS(X)                                                    \
	X(const struct llama_model *, get_model,                             \
	  (const struct llama_context *))                                    \
	X(void *, get_memory, (const struct llama_context *))                \
	X(uint32_t, n_ctx, (const struct llama_context *))                   \
	X(uint32_t, n_batch, (const struct llama_context *))                 \
	X(uint32_t, n_ubatch, (const struct llama_context *))                \
	X(uint32_t, n_seq_max, (const struct llama_context *))               \
	X(int32_t, model_rope_type, (const struct llama_model *))            \
	X(int32_t, model_n_swa, (const struct llama_model *))                \
	X(bool, model_is_recurrent, (const struct llama_model *))            \
	X(bool, model_is_hybrid, (const struct llama_model *))               \
	X(bool, memory_seq_rm, (void *, int32_t, int32_t, int32_t))          \
	X(void, memory_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t)) \
	X(int32_t, memory_seq_pos_min, (void *, int32_t))                    \
	X(int32_t, memory_seq_pos_max, (void *, int32_t))                    \
	X(size_t, state_seq_get_size, (struct llama_context *, int32_t))     \
	X(size_t, state_seq_get_data,                                        \
	  (struct llama_context *, uint8_t *, size_t, int32_t))              \
	X(size_t, state_seq_set_data,                                        \
	  (struct llama_context *, const uint8_t *, size_t, int32_t))        \
	X(int32_t, decode, (struct llama_context *, struct engine_batch))

struct engine {
#define X(result, name, params) result(*name) params;
	ENGINE_SYMBOLS(X)
#undef X
};

/* Fills the table from the process, or from what engine_load() loaded.
 * -ENOSYS, and *ret_missing names the first function that is not there. */
int engine_bind(struct engine *ret_engine, const char **ret_missing);
/* As oc_llama_engine() says. */
int engine_load(const char *where, char *error, size_t cap);
void *engine_symbol(const char *name);

#endif
