/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real llama.cpp for a test: found through $ONECOPY_LLAMA, else where
 * tools/fetch-llama puts it; the test is skipped where there is none. Engine
 * threads spin, so every context has one.
 */
#ifndef ONECOPY_TESTS_LLAMA_RIG_H
#define ONECOPY_TESTS_LLAMA_RIG_H

#include <onecopy/llama.h>
#include "prog/llama/model.h"
#include "tests/prog/live.h"

struct rig {
	struct abi abi;
	struct llama_model *model;
	uint8_t weights[32];
	char path[256]; /* of the model's file; "": made in memory */
};

/* Every test begins here: skips where there is no engine. */
void rig_engine(struct rig *r);
/* So do those of the program onecopy-llama, which finds the engine in
 * $ONECOPY_LLAMA then: its path; skips without either. */
const char *rig_program(void);
/* A model of random weights; the trained one (skips where it is not). */
void rig_random(struct rig *r, struct model_shape shape);
void rig_stories(struct rig *r);
void rig_end(struct rig *r);

enum rig_kind {
	RIG_UNIFIED, /* one sequence and one to spare: by blocks */
	RIG_ALONE,   /* one sequence: whole */
	RIG_STREAMS, /* three sequences of their own: whole */
};
struct llama_context *rig_context(struct rig *r, enum rig_kind kind,
				  uint32_t n_ctx);
oc_llama *rig_open(struct rig *r, oc_client *c, struct llama_context *ctx,
		   struct oc_llama_options o);

/* n tokens that any of the models knows, by seed. */
void rig_tokens(int32_t *tokens, size_t n, uint32_t seed);
/* Decodes tokens[past .. n): all but the last together, then the last alone,
 * and copies its logits (rig_logits() of them). */
void rig_decode(struct rig *r, struct llama_context *ctx, const int32_t *tokens,
		size_t n, size_t past, float *logits);
size_t rig_vocab(const struct rig *r);
/* Bit for bit. */
void rig_same(struct rig *r, const float *a, const float *b);

#endif
