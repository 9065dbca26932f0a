/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A llama model of random weights, made in memory through the engine's API: for
 * demonstrations and tests that need a model's cost and not its wit. The same
 * shape and seed give the same weights on every machine, and so the same
 * digest. Its vocabulary is <unk>, <s>, </s> and the 256 bytes.
 */
#ifndef ONECOPY_PROG_LLAMA_MODEL_H
#define ONECOPY_PROG_LLAMA_MODEL_H

#include "llama/abi.h"

struct model_shape {
	uint32_t layers, width, heads, kv_heads, ffn, context;
	uint64_t seed;
};

/* Weights, all told. */
uint64_t model_parameters(const struct model_shape *shape);

/* 1.4 M, 24 M and 136 M parameters. */
#define MODEL_TINY                         \
	(struct model_shape)               \
	{                                  \
		4, 128, 4, 2, 352, 8192, 1 \
	}
#define MODEL_SMALL                         \
	(struct model_shape)                \
	{                                   \
		8, 512, 8, 4, 1408, 8192, 1 \
	}
#define MODEL_MEDIUM                           \
	(struct model_shape)                   \
	{                                      \
		12, 1024, 16, 4, 2816, 8192, 1 \
	}

/* 0; -ENOSYS the engine lacks a function; -ENOMEM; -EINVAL it refused. */
int model_make(const struct abi *a, const struct model_shape *shape,
	       struct llama_model **ret_model, uint8_t ret_weights[32]);

#endif
