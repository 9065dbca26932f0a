/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/abi.h"

#include <errno.h>
#include <onecopy/llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BYTES 256
#define PROBE_BYTES 1024
#define MARK	    0xa5

#if !defined(__x86_64__)
#error "how a large struct is returned is written down for x86-64 only"
#endif

/* On x86-64 a struct that is returned in memory is returned through a pointer
 * that the caller gives first and gets back: void *(void *). The last byte that
 * was written shows the struct's size but for the padding at its end. */
static int probe(void *(*defaults)(void *), size_t size, void *ret)
{
	unsigned char bytes[PROBE_BYTES];
	size_t end = sizeof(bytes);

	memset(bytes, MARK, sizeof(bytes));
	defaults(bytes);
	while (end > 0 && bytes[end - 1] == MARK)
		end--;
	if (end > size || end + 8 <= size)
		return -ENOSYS;
	memcpy(ret, bytes, size);
	return 0;
}

static bool usual(const struct abi *a)
{
	const struct abi_context_params *c = &a->context;

	return c->n_batch >= c->n_ubatch && c->n_ubatch >= 32 &&
	       c->n_seq_max == 1 && c->type_k == 1 && c->type_v == 1 &&
	       c->samplers == NULL && c->n_samplers == 0 &&
	       c->ctx_other == NULL && a->model.progress == NULL &&
	       a->model.kv_overrides == NULL && !a->model.vocab_only;
}

int abi_bind(struct abi *ret_abi, char *error)
{
	struct abi a;
	void *p;

	memset(&a, 0, sizeof(a));
#define X(result, name, params)                                          \
	p = oc_llama_symbol(#name);                                      \
	if (!p) {                                                        \
		snprintf(error, ERROR_BYTES, "this llama.cpp has no %s", \
			 #name);                                         \
		return -ENOSYS;                                          \
	}                                                                \
	memcpy(&a.name, &p, sizeof(a.name));
	ABI_SYMBOLS(X)
#undef X
	if (probe(a.llama_model_default_params, sizeof(a.model), &a.model) ||
	    probe(a.llama_context_default_params, sizeof(a.context),
		  &a.context) ||
	    !usual(&a)) {
		snprintf(error, ERROR_BYTES,
			 "this llama.cpp has other parameters than 0.5.0");
		return -ENOSYS;
	}
	*ret_abi = a;
	return 0;
}

struct piece {
	int32_t *pos, *n_seq;
	int32_t **seqs;
	int8_t *outputs;
};

static void piece_fini(struct piece *p)
{
	free(p->pos);
	free(p->n_seq);
	free(p->seqs);
	free(p->outputs);
}

static int piece_init(struct piece *p, int32_t *seq, size_t n, size_t position,
		      bool output)
{
	p->pos = calloc(n, sizeof(*p->pos));
	p->n_seq = calloc(n, sizeof(*p->n_seq));
	p->seqs = calloc(n, sizeof(*p->seqs));
	p->outputs = calloc(n, 1);
	if (!p->pos || !p->n_seq || !p->seqs || !p->outputs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		p->pos[i] = (int32_t)(position + i);
		p->n_seq[i] = 1;
		p->seqs[i] = seq;
	}
	p->outputs[n - 1] = output;
	return 0;
}

static int decode_piece(const struct abi *a, struct llama_context *ctx,
			int32_t seq, const int32_t *tokens, size_t n,
			size_t position, bool output)
{
	struct piece p = { 0 };
	int r = piece_init(&p, &seq, n, position, output);
	struct engine_batch b = {
		.n_tokens = (int32_t)n,
		.token = (int32_t *)(uintptr_t)tokens,
		.pos = p.pos,
		.n_seq_id = p.n_seq,
		.seq_id = p.seqs,
		.logits = p.outputs,
	};

	if (r == 0)
		r = a->llama_decode(ctx, b);
	piece_fini(&p);
	return r;
}

int abi_decode(const struct abi *a, struct llama_context *ctx, int32_t seq,
	       const int32_t *tokens, size_t n, size_t position, bool output)
{
	size_t most = a->llama_n_batch(ctx), done = 0;
	int r = 0;

	while (r == 0 && done < n) {
		size_t m = n - done < most ? n - done : most;

		r = decode_piece(a, ctx, seq, tokens + done, m, position + done,
				 output && done + m == n);
		done += m;
	}
	return r;
}
