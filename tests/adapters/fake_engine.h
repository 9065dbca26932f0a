/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake llama.cpp: a table of functions over cells that hold, as their K and V
 * rows, a hash of all tokens up to their own, so that a wrong, missing or moved
 * row is seen at once. It proves the adapter's code, not the engine.
 *
 * One at a time, static: the engine's functions have no context of their own.
 */
#ifndef ONECOPY_TESTS_ADAPTERS_FAKE_ENGINE_H
#define ONECOPY_TESTS_ADAPTERS_FAKE_ENGINE_H

#include "adapters/llama/engine.h"

#define FAKE_CELLS 512
#define FAKE_SEQS  4

struct fake_engine {
	/* Set before use. */
	uint32_t n_seq, n_stream; /* 0: 2 and 1 */
	uint32_t layers;	  /* 0: 2 */
	int32_t type;		  /* of K and V */
	bool no_v, no_lead;
	int32_t swa, rope;
	bool recurrent;
	/* What goes wrong. */
	bool v_trans, trailing, backwards; /* of what it writes */
	uint32_t refuse_after; /* states it takes before it refuses; 0: all */
	void (*on_get)(void *ctx); /* called before a state is written */
	void *on_get_ctx;
	void (*on_set)(void *ctx); /* and before one is taken */
	void *on_set_ctx;
	/* What happened. */
	unsigned gets, sets, decodes;
};
extern struct fake_engine fake_engine;

/* Empty, all of the above 0; returns the table. */
struct engine fake_engine_reset(void);
/* The fake's only context. */
struct llama_context *fake_engine_context(void);
/* Computes tokens[past .. n) of a sequence. */
void fake_engine_compute(int32_t seq, const int32_t *tokens, size_t past,
			 size_t n);
/* Does the sequence hold exactly what tokens[0 .. n) make? */
bool fake_engine_holds(int32_t seq, const int32_t *tokens, size_t n);

#endif
