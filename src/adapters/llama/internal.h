/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One adapter: what its files share. Private to adapters/llama and its tests.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_INTERNAL_H
#define ONECOPY_ADAPTERS_LLAMA_INTERNAL_H

#include <onecopy/llama.h>
#include "adapters/llama/blob.h"
#include "adapters/llama/engine.h"
#include "adapters/llama/plan.h"
#include "adapters/llama/track.h"

#define LLAMA_ERROR 256

struct oc_llama {
	struct engine e;
	struct llama_context *ctx;
	void *memory;
	oc_client *client;
	oc_ns *ns;
	struct blob_shape shape;
	enum oc_llama_way way;
	uint32_t n_stream, n_seq, n_ctx, n_batch, n_ubatch;
	uint32_t block_tokens;
	int32_t scratch;
	bool exact;
	size_t block_bytes;
	uint32_t export_blocks;
	uint64_t export_ns, timeout_ns;
	struct pace pace;
	uint64_t away_until;  /* the node failed: not asked before */
	uint64_t deaf_until;  /* a match waited for it: none before */
	uint64_t slow_since;  /* it lets exports wait; 0: it does not */
	struct track *tracks; /* n_seq */
	struct plan plan;
	struct prefill prefill;
	size_t depth;	 /* of what is computed next, after the last import */
	uint8_t *buffer; /* for blobs that are put together */
	size_t buffer_bytes;
	struct oc_llama_stat stat;
	char error[LLAMA_ERROR];
};

/* With a table of functions; what oc_llama_open() does after finding one. */
int llama_open(const struct engine *e, oc_client *c, struct llama_context *ctx,
	       const struct oc_llama_options *options, oc_llama **ret_llama,
	       char *error);

/* Says it in l->error and returns r. */
int llama_fail(oc_llama *l, int r, const char *format, ...) PRINTF_LIKE(3, 4);
/* The node failed with r: said, and left alone for a second. */
void llama_away(oc_llama *l, int r, const char *what);
bool llama_is_away(const oc_llama *l);
/* At least so many bytes in l->buffer. 0, -ENOMEM. */
int llama_buffer(oc_llama *l, size_t bytes);

/* Of n blocks of a prompt behind `held` tokens, not all of which are resident: how
 * many from the first on are worth waiting for, and how long. 0 blocks: none. */
int llama_below(oc_llama *l, const struct oc_key *keys, size_t n, size_t held,
		size_t prompt, size_t *ret_blocks, uint64_t *ret_wait_ns);

/* Tokens that a sequence holds, from position 0 on; -EINVAL. */
int llama_held(oc_llama *l, int32_t seq, size_t *ret_held);
void llama_drop(oc_llama *l, int32_t seq, size_t from);

#endif
