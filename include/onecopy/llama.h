/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libonecopy-llama: llama.cpp processes that share one copy of their KV.
 *
 * A program that uses llama.cpp connects to a node (onecopy.h), opens this
 * adapter for a context, and then, for each prompt:
 *
 *	oc_llama_import(l, seq, tokens, n, &past);
 *	...decode tokens[past .. n) as always, at positions past .. n-1...
 *	oc_llama_export(l, seq, tokens, n, 0, NULL);	after each decode
 *
 * What another process computed is put into the context before the decode;
 * what this one computes is there for the others afterwards.
 *
 * The engine. llama.cpp is found at run time: what the process has loaded
 * already, else what oc_llama_engine() loads. Nothing of it is linked, so the
 * adapter has no version of its own; it asks the engine for the layout of its
 * KV state and refuses what it does not know (-EPROTO), or what it cannot
 * share (-ENOTSUP): recurrent and hybrid models, sliding windows, M-RoPE,
 * transposed V (a context without flash attention).
 *
 * Identity. Blocks are shared between contexts of equal weights (SHA-256 of
 * the model file), equal KV types and geometry, equal `variant` and equal
 * block_tokens. The context's length and its batch sizes do not matter.
 *
 * Two ways. OC_LLAMA_BLOCKS needs a context with `kv_unified = true` and a
 * sequence to spare (`n_seq_max` one more than the program uses): each block
 * goes from the frame into the engine's memory, and back, with one move a
 * byte. OC_LLAMA_WHOLE works with any other context: the blocks are put
 * together to one state first, two moves, and an export reads the whole
 * sequence.
 *
 * Exactness. KV values depend in their last bits on how a prompt was split
 * into batches, as llama.cpp's do without onecopy. A restored prompt gives bit
 * for bit the logits of a cold run when (1) both run on one kind of processor
 * with one number of threads, (2) both decode all tokens but the last in one
 * llama_decode() (or in pieces of n_batch, a multiple of n_ubatch), then the
 * last alone, as did the process that exported, (3) the prefix that is taken
 * over ends at a multiple of n_ubatch or is the whole prompt that the exporter
 * had, and (4) no other sequence of a unified context is alive. `exact` and
 * oc_llama_exact() see to (3). Otherwise results are as right as those of any
 * two batch sizes.
 *
 * What must not be exported. A sequence whose KV is not what its tokens alone
 * make: shifted or thinned out (llama_memory_seq_add(), holes), with images or
 * embeddings among its tokens, or computed while `variant` did not hold. The
 * engine does not tell.
 *
 * Failure. Blocks are verified before the engine gets them. Whatever goes
 * wrong with one, the sequence holds fewer tokens, never wrong or half ones,
 * and the caller computes the rest. A node that is away costs at most the
 * timeout, and then nothing for a second; an import that meets a slab for the
 * first time, or asks what is on the node's drive, waits for the answer as long as
 * the client's default (onecopy.h). For blocks there it waits no longer than
 * computing them would take.
 *
 * Memory. What a context holds is private to it and is not shared; the pool
 * holds one copy of what was exported. oc_llama_stat() tells them apart.
 *
 * Threads. An oc_llama is used by the thread that uses its context. Results
 * are as in onecopy.h: 0, negative errno, positive answers.
 */
#ifndef ONECOPY_LLAMA_H
#define ONECOPY_LLAMA_H

#include <onecopy/onecopy.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct llama_context; /* llama.cpp's own */

typedef struct oc_llama oc_llama;

/* ---- the engine --------------------------------------------------------- */

/*
 * Makes llama.cpp's functions known to this process: those of a libllama that
 * is loaded already; else of `where`, a library or the folder of one (NULL:
 * $ONECOPY_LLAMA, else libllama.so or libllama.so.0 as the loader finds it),
 * which is then initialized. Where no backend is loaded, those beside the
 * library are. Later calls do nothing. `error` (may be NULL, at least 256 bytes)
 * gets one line on failure. -ENOENT none there; -ENOSYS one that lacks a
 * function.
 */
int oc_llama_engine(const char *where, char *error);
/* A function of the engine, for programs that do not link it; NULL: none. */
void *oc_llama_symbol(const char *name);

/* ---- one context -------------------------------------------------------- */

enum oc_llama_way {
	OC_LLAMA_AUTO = 0,   /* blocks where the context allows it */
	OC_LLAMA_BLOCKS = 1, /* one move a byte */
	OC_LLAMA_WHOLE = 2,  /* two, and whole sequences */
};

struct oc_llama_options {
	size_t size;
	const char *model;	/* GGUF file of the weights (the first one of
				   a split model), or */
	const uint8_t *weights; /* their digest, 32 bytes, given by the caller:
				   for models that are made in memory */
	const char *variant;	/* whatever else changes KV: LoRA, control
				   vectors, changed rope scaling; NULL: none */
	uint32_t block_tokens;	/* 16 .. 64, 0: 16. What is left behind a last
				   full block must be computed, at some ms a
				   token; a smaller block costs some us more */
	int32_t scratch;	/* the sequence that OC_LLAMA_BLOCKS uses for
				   itself, empty; 0: the context's last */
	enum oc_llama_way way;
	bool exact;		 /* import only what oc_llama_exact() allows */
	uint32_t export_blocks;	 /* that wait before oc_llama_export() works,
				   and most in one call; 0: 8 */
	uint64_t export_ns;	 /* after which a call takes no further block;
				   0: 2 ms */
	uint32_t export_percent; /* of all time that exports may take, 1 to
				   100; 0: 2. Time that passed before, as
				   that of a long prompt, counts */
	uint64_t timeout_ns;	 /* of a wait for the node; 0: 100 ms. While it
				    is not known what computing costs, for
				    blocks on its drive at least as long. An
				    export waits for frames no longer than
				    export_ns, with OC_LLAMA_ALL ten times
				    this */
	const char *label;	 /* of the namespace, for people */
};

/*
 * Opens the adapter for a context. The model file is hashed at its first use;
 * the digest is remembered in $XDG_CACHE_HOME/onecopy/llama-digests (else
 * ~/.cache) under the file's device, inode, size and times. One token is
 * decoded in the scratch sequence to learn the layout. Keeps c and ctx, which
 * must live until oc_llama_close(). Waits for the server. `error` as above.
 * -ENOSYS no engine; -ENOTSUP a model or a context that cannot be shared;
 * -EPROTO an unknown layout of state; -EBUSY the scratch sequence (with
 * OC_LLAMA_WHOLE: sequence 0) is not empty; -EINVAL options that cannot be;
 * what reading the model and oc_ns_open() say.
 */
int oc_llama_open(oc_client *c, struct llama_context *ctx,
		  const struct oc_llama_options *options, oc_llama **ret_llama,
		  char *error);
void oc_llama_close(oc_llama *l); /* takes NULL */
/* One line about the last failure; "" if none. Failures that were turned into
 * recomputation are told here too. */
const char *oc_llama_error(const oc_llama *l);

/*
 * Puts the longest known prefix of tokens[0..n) into sequence `seq`, which is
 * empty or holds the first of them. *ret_past is what it holds then, at most
 * n - 1: the last token must be decoded for its logits. 0 also when nothing
 * was found or the node is away; -EINVAL the sequence holds n tokens or more,
 * or does not begin at position 0; no such sequence.
 */
int oc_llama_import(oc_llama *l, int32_t seq, const int32_t *tokens, size_t n,
		    size_t *ret_past);

enum oc_llama_export_flags {
	OC_LLAMA_FLUSH = 1, /* not only when export_blocks wait */
	OC_LLAMA_ALL = 2,   /* flush, all of them, without a bound of time */
};

/*
 * Shares new full blocks of sequence `seq`, which holds the first of
 * tokens[0..n), or all. Called between two decodes; returns soon. *ret_left
 * (may be NULL): full blocks that still wait. 0 also when the node would not
 * take them; -EPROTO the engine's state is not what it was.
 */
int oc_llama_export(oc_llama *l, int32_t seq, const int32_t *tokens, size_t n,
		    unsigned flags, size_t *ret_left);

/* Tells what the caller decoded after an import, and in which time: for
 * oc_llama_stat(), and so that an import which is slower than computing is not
 * made, nor blocks loaded from the node's drive that are computed sooner. Never
 * needed. */
void oc_llama_computed(oc_llama *l, size_t tokens, uint64_t ns);

/* The part of `past` tokens of a prompt of n that leaves logits exact: past
 * itself when it is n - 1, else rounded down to a multiple of n_ubatch (of
 * n_batch where that is none of n_ubatch). Pure. */
size_t oc_llama_exact(size_t past, size_t n, uint32_t n_batch,
		      uint32_t n_ubatch);

/* ---- what it did -------------------------------------------------------- */

struct oc_llama_stat {
	enum oc_llama_way way;
	uint32_t block_tokens;
	uint64_t block_bytes;	  /* of one block in the pool */
	uint64_t private_bytes;	  /* KV memory of this context, its own */
	uint64_t pool_bytes;	  /* sealed bytes of the tenant's pool */
	uint64_t tokens_reused;	  /* imported instead of computed */
	uint64_t tokens_computed; /* as told */
	uint64_t computed_ns;
	uint64_t imports, imported_blocks, imported_bytes;
	uint64_t imported_moved;  /* bytes that were written for them: divided
				     by imported_bytes, the moves per byte */
	uint64_t match_ns;	  /* keys, match, pin and verification */
	uint64_t import_ns;	  /* moving into the engine */
	uint64_t import_failures; /* turned into recomputation */
	uint64_t skipped_imports; /* computing was cheaper */
	uint64_t exported_blocks, exported_bytes, exported_moved;
	uint64_t existing_blocks; /* another had sealed them: nothing moved */
	uint64_t export_ns;	  /* in all */
	uint64_t export_ns_most;  /* in one call without OC_LLAMA_ALL */
	uint64_t export_failures;
	/* Blocks that were not resident at an import, but on the node's drive,
	 * and those of them that were brought up: the others were cheaper to
	 * compute (oc_plan(), with the rate that oc_llama_computed() tells). */
	uint64_t below_blocks, fetched_blocks;
	uint64_t fetch_ns; /* that imports waited for them; not in match_ns */
};
/* Pool bytes are 0 when the node is away. */
int oc_llama_stat(oc_llama *l, struct oc_llama_stat *ret_stat);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
