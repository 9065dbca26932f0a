/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shortest program that shares a prefix between two processes. Run it twice
 * with a long text while `onecopy serve` runs: the second run computes only
 * what is left behind the last full block.
 *
 *	cc llama-share.c -lonecopy-llama -lonecopy -lllama -lggml -lggml-base
 *	./a.out MODEL.gguf "$(cat LONG-TEXT)"
 */
#include <onecopy/llama.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENERATE 32

static void must(int r, const char *what)
{
	if (r) {
		fprintf(stderr, "%s\n", what);
		exit(1);
	}
}

/* Tokens [past, n) of sequence 0; the engine counts the positions. */
static void decode(struct llama_context *ctx, int32_t *tokens, size_t past,
		   size_t n)
{
	while (past < n) {
		int32_t most = (int32_t)llama_n_batch(ctx);
		int32_t m = n - past < (size_t)most ? (int32_t)(n - past)
						    : most;

		must(llama_decode(ctx, llama_batch_get_one(tokens + past, m)),
		     "llama_decode failed");
		past += (size_t)m;
	}
}

int main(int argc, char **argv)
{
	struct llama_model_params mp = llama_model_default_params();
	struct llama_context_params cp = llama_context_default_params();
	struct llama_model *model;
	struct llama_context *ctx;
	const struct llama_vocab *vocab;
	struct llama_sampler *greedy = llama_sampler_init_greedy();
	struct oc_llama_options o = { .size = sizeof(o) };
	char error[256] = "no room", piece[64];
	int32_t tokens[8192];
	oc_client *client;
	oc_llama *share;
	size_t n, past;
	must(argc != 3, "usage: llama-share MODEL.gguf TEXT");
	must(oc_llama_engine(NULL, error), error);
	model = llama_model_load_from_file(argv[1], mp);
	must(!model, "no such model");
	vocab = llama_model_get_vocab(model);
	cp.n_ctx = 8192;
	cp.n_seq_max = 2; /* ours, and one for the adapter */
	cp.kv_unified = true;
	ctx = llama_init_from_model(model, cp);
	must(!ctx, "no context");
	must(oc_client_connect(NULL, &client, error), error);
	o.model = argv[1];
	must(oc_llama_open(client, ctx, &o, &share, error), error);

	n = (size_t)llama_tokenize(vocab, argv[2], (int32_t)strlen(argv[2]),
				   tokens, 8192 - GENERATE, true, false);
	must(n == 0 || n > 8192 - GENERATE, "too long a text");
	must(oc_llama_import(share, 0, tokens, n, &past),
	     oc_llama_error(share));
	fprintf(stderr, "%zu tokens: %zu taken over, %zu to compute\n", n, past,
		n - past);
	decode(ctx, tokens, past, n);
	for (int i = 0; i < GENERATE; i++) {
		int32_t token = llama_sampler_sample(greedy, ctx, -1);

		if (llama_vocab_is_eog(vocab, token))
			break;
		printf("%.*s",
		       llama_token_to_piece(vocab, token, piece, sizeof(piece),
					    0, false),
		       piece);
		fflush(stdout);
		tokens[n++] = token;
		decode(ctx, tokens, n - 1, n);
		oc_llama_export(share, 0, tokens, n, 0, NULL);
	}
	putchar('\n');
	oc_llama_export(share, 0, tokens, n, OC_LLAMA_ALL, NULL);
	oc_llama_close(share);
	oc_client_close(client);
	llama_free(ctx);
	llama_model_free(model);
	return 0;
}
