/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model, one context, and the node's pool behind it: what onecopy-llama does
 * for each prompt. Everything works without a node; then nothing is shared.
 *
 * The prompt is decoded as the rule for exact logits wants it (onecopy/llama.h):
 * all tokens but the last, then the last alone. Exports run between the decodes
 * of generation, after the first token is out.
 */
#ifndef ONECOPY_PROG_LLAMA_SESSION_H
#define ONECOPY_PROG_LLAMA_SESSION_H

#include <onecopy/llama.h>
#include <sys/stat.h>
#include "llama/abi.h"

#define SESSION_ERROR 256
/* Wait of who compares logits (timeout_ns). */
#define SESSION_COMPARES_NS (10ull * 1000 * 1000 * 1000)

struct session_options {
	const char *engine; /* NULL: as oc_llama_engine() looks */
	const char *
		model; /* a file, or random:tiny|small|base|medium and [:SEED] */
	const char *node; /* NULL: the default place */
	bool no_node;
	bool exact;
	uint32_t threads, context, block_tokens;
	uint32_t ubatch; /* tokens computed at once; 0: the engine's default */
	uint32_t seed;
	float temperature; /* 0: the likeliest token, always */
	/* Of a wait for the node; 0: what serves people who wait for a token.
	 * Who compares logits waits longer: tokens that were computed one by
	 * one have others when they are computed anew together. */
	uint64_t timeout_ns;
};

struct session_times {
	uint64_t first_ns;    /* from the prompt to its first token */
	uint64_t import_ns;   /* of that: taking over */
	uint64_t compute_ns;  /* of that: computing */
	uint64_t generate_ns; /* after the first token */
	uint64_t export_ns;   /* of that: in exports */
	/* Processor time of the process: prompt, and generating. */
	uint64_t prompt_cpu_ns, generate_cpu_ns;
	size_t prompt;
	size_t held;   /* of it: in this engine's context already */
	size_t reused; /* of it: taken over from the pool */
	size_t generated;
};

struct session {
	struct abi abi;
	struct llama_model *model;
	const struct llama_vocab *vocab;
	struct llama_context *ctx;
	struct llama_sampler *sampler;
	oc_client *client;
	oc_llama *share; /* NULL: no node */
	uint8_t weights[32];
	struct stat file; /* the model's, before it was loaded */
	bool random;
	uint64_t parameters; /* of a random model; else 0 */
	int32_t *tokens;     /* what the sequence holds */
	size_t n, room;
	struct session_times times; /* of the last prompt */
	bool watch;		    /* keep the two digests below */
	uint64_t first_logits;	    /* of the last prompt's last token */
	uint64_t logits;	    /* of all that were sampled from since */
	int32_t sampled;	    /* the last token */
	char error[SESSION_ERROR];
	char no_node[SESSION_ERROR]; /* why nothing is shared; "": it is */
};

/* 0; negative errno and s->error says why. A node that was asked for must be
 * there (-ENOENT and so on), else s->no_node says why there is none. */
int session_init(struct session *s, const struct session_options *o);
void session_fini(struct session *s);

/* Text to tokens and back. *ret_tokens is the caller's to free. */
int session_tokens(struct session *s, const char *text, bool special,
		   int32_t **ret_tokens, size_t *ret_n);
/* Writes a token's bytes; their number. */
size_t session_piece(struct session *s, int32_t token, char *buf, size_t cap);

/* Makes the sequence hold tokens[0..n), with the logits of the last. What it
 * holds already, or the pool, is not computed. 0; -ENOSPC the context is too
 * small; -EIO the engine failed. */
int session_prompt(struct session *s, const int32_t *tokens, size_t n);

/* Empties the sequence: the next prompt begins anew. */
void session_forget(struct session *s);
/* For who fills the sequence by other ways: it holds tokens[0..n) and nothing
 * else; then decodes the last of n alone, where the others are there. */
int session_put(struct session *s, const int32_t *tokens, size_t n);
int session_last(struct session *s, const int32_t *tokens, size_t n);

/* Each piece of text as it comes; false: stop. */
typedef bool (*session_say)(void *ctx, const char *bytes, size_t n);
/* Generates up to `most` tokens, until the model ends or say() wants no more.
 * 0; as session_prompt() otherwise. */
int session_generate(struct session *s, size_t most, session_say say,
		     void *ctx);

#endif
