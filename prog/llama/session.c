/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "base/text.h"
#include "llama/model.h"
#include "stop.h"

#define LOG_ERRORS 4 /* enum ggml_log_level */
#define KEEP_K	   40
#define KEEP_P	   0.95f
#define NODE_NS	   (2 * NS_PER_S) /* a hung node costs a prompt no more */

static int fail(struct session *s, int r, const char *format, ...)
	PRINTF_LIKE(3, 4);
static int fail(struct session *s, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->error, sizeof(s->error), format, args);
	va_end(args);
	return r;
}

static void log_errors(int level, const char *text, void *ctx)
{
	(void)ctx;
	if (level == LOG_ERRORS)
		fputs(text, stderr);
}

/* ---- the engine and its model */

/* Before the backends are loaded: they log too. */
static int load_engine(struct session *s, const struct session_options *o)
{
	int r = oc_llama_engine(o->engine, s->error);

	if (r == 0)
		r = abi_bind(&s->abi, s->error);
	if (r == 0)
		s->abi.llama_log_set(log_errors, NULL);
	return r;
}

static int random_model(struct session *s, const char *name)
{
	static const struct {
		const char *name;
		struct model_shape shape;
	} known[] = {
		{ "tiny", { 4, 128, 4, 2, 352, 8192, 1 } },
		{ "small", { 8, 512, 8, 4, 1408, 8192, 1 } },
		{ "base", { 12, 640, 10, 5, 1760, 8192, 1 } },
		{ "medium", { 12, 1024, 16, 4, 2816, 8192, 1 } },
	};
	size_t len = strcspn(name, ":");
	int r;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		struct model_shape shape = known[i].shape;

		if (strlen(known[i].name) != len ||
		    strncmp(known[i].name, name, len))
			continue;
		if (name[len] &&
		    text_parse_u64(name + len + 1, UINT64_MAX, &shape.seed))
			return fail(s, -EINVAL, "%s is no seed",
				    name + len + 1);
		s->parameters = model_parameters(&shape);
		r = model_make(&s->abi, &shape, &s->model, s->weights);
		return r ? fail(s, r, "the engine made no model") : 0;
	}
	return fail(s, -EINVAL,
		    "random models are tiny, small, base and medium");
}

static int load_model(struct session *s, const struct session_options *o)
{
	int r;

	s->random = strncmp(o->model, "random:", 7) == 0;
	if (s->random) {
		r = random_model(s, o->model + 7);
		if (r)
			return r;
	} else {
		if (stat(o->model, &s->file) || access(o->model, R_OK))
			return fail(s, -errno, "%s: %s", o->model,
				    oc_strerror(-errno));
		s->model = s->abi.llama_model_load_from_file(o->model,
							     s->abi.model);
		if (!s->model)
			return fail(s, -EINVAL, "%s is no model", o->model);
	}
	s->vocab = s->abi.llama_model_get_vocab(s->model);
	return 0;
}

/* Ctrl-C ends a long prompt too. */
static bool stopped(void *ctx)
{
	(void)ctx;
	return stop_wanted() != 0;
}

/* One sequence, and one for the adapter. */
static int make_context(struct session *s, const struct session_options *o)
{
	struct abi_context_params p = s->abi.context;
	int32_t trained = s->abi.llama_model_n_ctx_train(s->model);

	p.n_ctx = o->context ? o->context : (uint32_t)MIN(trained, 4096);
	p.n_batch = MIN(p.n_ctx, 2048);
	if (o->ubatch)
		p.n_ubatch = o->ubatch;
	p.n_seq_max = 2;
	p.kv_unified = true;
	p.n_threads = p.n_threads_batch = (int32_t)o->threads;
	s->ctx = s->abi.llama_init_from_model(s->model, p);
	if (!s->ctx)
		return fail(s, -ENOMEM, "no context of %u tokens", p.n_ctx);
	s->abi.llama_set_abort_callback(s->ctx, stopped, NULL);
	return 0;
}

static int make_sampler(struct session *s, const struct session_options *o)
{
	struct abi_chain_params p = { .no_perf = true };
	const struct abi *a = &s->abi;

	s->sampler = a->llama_sampler_chain_init(p);
	if (!s->sampler)
		return fail(s, -ENOMEM, "no sampler");
	if (o->temperature <= 0) {
		a->llama_sampler_chain_add(s->sampler,
					   a->llama_sampler_init_greedy());
		return 0;
	}
	a->llama_sampler_chain_add(s->sampler,
				   a->llama_sampler_init_top_k(KEEP_K));
	a->llama_sampler_chain_add(s->sampler,
				   a->llama_sampler_init_top_p(KEEP_P, 1));
	a->llama_sampler_chain_add(s->sampler,
				   a->llama_sampler_init_temp(o->temperature));
	a->llama_sampler_chain_add(s->sampler,
				   a->llama_sampler_init_dist(o->seed));
	return 0;
}

/* ---- the node */

static int open_share(struct session *s, const struct session_options *o)
{
	struct oc_client_options c = { .size = sizeof(c),
				       .socket = o->node,
				       .name = "onecopy-llama",
				       .timeout_ns =
					       MAX(NODE_NS, o->timeout_ns) };
	struct oc_llama_options l = {
		.size = sizeof(l),
		.model = s->random ? NULL : o->model,
		.weights = s->random ? s->weights : NULL,
		.block_tokens = o->block_tokens,
		.exact = o->exact,
		.timeout_ns = o->timeout_ns,
		.label = o->model,
	};
	int r = oc_client_connect(&c, &s->client, s->no_node);

	if (r == 0)
		r = oc_llama_open(s->client, s->ctx, &l, &s->share, s->no_node);
	return r;
}

/* The digest must be that of the weights in memory: a file that was replaced or
 * written between the two readings would name them wrongly, for all. */
static int same_file(struct session *s, const struct session_options *o)
{
	struct stat now;

	if (s->random)
		return 0;
	if (stat(o->model, &now) == 0 && now.st_dev == s->file.st_dev &&
	    now.st_ino == s->file.st_ino && now.st_size == s->file.st_size &&
	    now.st_mtim.tv_sec == s->file.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == s->file.st_mtim.tv_nsec)
		return 0;
	oc_llama_close(s->share);
	s->share = NULL;
	snprintf(s->no_node, sizeof(s->no_node),
		 "%.200s changed while it was loaded", o->model);
	return -EAGAIN;
}

static int find_node(struct session *s, const struct session_options *o)
{
	int r;

	if (o->no_node) {
		text_copy(s->no_node, sizeof(s->no_node), "not wanted");
		return 0;
	}
	r = open_share(s, o);
	if (r == 0)
		r = same_file(s, o);
	if (r && o->node)
		return fail(s, r, "%s", s->no_node);
	return 0;
}

int session_init(struct session *s, const struct session_options *o)
{
	int r;

	memset(s, 0, sizeof(*s));
	r = load_engine(s, o);
	if (r == 0)
		r = load_model(s, o);
	if (r == 0)
		r = make_context(s, o);
	if (r == 0)
		r = make_sampler(s, o);
	if (r == 0)
		r = find_node(s, o);
	return r;
}

void session_fini(struct session *s)
{
	oc_llama_close(s->share);
	oc_client_close(s->client);
	if (s->sampler)
		s->abi.llama_sampler_free(s->sampler);
	if (s->ctx)
		s->abi.llama_free(s->ctx);
	if (s->model)
		s->abi.llama_model_free(s->model);
	free(s->tokens);
}

/* ---- text */

/* The engine answers how many there are, negative where they do not fit. */
static int32_t tokenize(struct session *s, const char *text, bool special,
			int32_t **tokens, int32_t cap)
{
	free(*tokens);
	*tokens = calloc((size_t)cap, sizeof(**tokens));
	if (!*tokens)
		return 0;
	return s->abi.llama_tokenize(s->vocab, text, (int32_t)strlen(text),
				     *tokens, cap, true, special);
}

int session_tokens(struct session *s, const char *text, bool special,
		   int32_t **ret_tokens, size_t *ret_n)
{
	size_t len = strlen(text);
	int32_t *tokens = NULL, n;

	if (len > INT32_MAX / 8)
		return fail(s, -E2BIG, "a text of %zu bytes", len);
	n = tokenize(s, text, special, &tokens, (int32_t)len + 8);
	if (n < 0 && n > INT32_MIN)
		n = tokenize(s, text, special, &tokens, -n);
	if (n <= 0) {
		free(tokens);
		return fail(s, -EINVAL, "the model has no tokens for that");
	}
	*ret_tokens = tokens;
	*ret_n = (size_t)n;
	return 0;
}

size_t session_piece(struct session *s, int32_t token, char *buf, size_t cap)
{
	int32_t n = s->abi.llama_token_to_piece(s->vocab, token, buf,
						(int32_t)cap, 0, false);

	return n > 0 ? (size_t)n : 0;
}

/* ---- decoding */

static uint64_t cpu_ns(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static int hold(struct session *s, const int32_t *tokens, size_t from, size_t n)
{
	if (n > s->room) {
		size_t room = MAX(n, s->room * 2);
		int32_t *p = realloc(s->tokens, room * sizeof(*p));

		if (!p)
			return fail(s, -ENOMEM, "no memory for %zu tokens", n);
		s->tokens = p;
		s->room = room;
	}
	memcpy(s->tokens + from, tokens + from,
	       (n - from) * sizeof(*s->tokens));
	s->n = n;
	return 0;
}

static void forget(struct session *s, size_t from)
{
	s->abi.llama_memory_seq_rm(s->abi.llama_get_memory(s->ctx), 0,
				   (int32_t)from, -1);
}

/* Keeps what the sequence holds of it, and always computes the last. */
static size_t keep(struct session *s, const int32_t *tokens, size_t n)
{
	size_t same = 0;

	while (same < s->n && same + 1 < n && s->tokens[same] == tokens[same])
		same++;
	if (same < s->n)
		forget(s, same);
	s->n = same;
	return same;
}

static int decode_failed(struct session *s, int r)
{
	if (stop_wanted())
		return fail(s, -EINTR, "interrupted");
	return fail(s, -EIO, "the engine did not decode: %d", r);
}

static int compute(struct session *s, const int32_t *tokens, size_t past,
		   size_t n)
{
	int r = 0;

	if (past + 1 < n)
		r = abi_decode(&s->abi, s->ctx, 0, tokens + past, n - 1 - past,
			       past, false);
	if (r == 0)
		r = abi_decode(&s->abi, s->ctx, 0, tokens + n - 1, 1, n - 1,
			       true);
	return r ? decode_failed(s, r) : 0;
}

void session_forget(struct session *s)
{
	forget(s, 0);
	s->n = 0;
}

int session_put(struct session *s, const int32_t *tokens, size_t n)
{
	forget(s, n);
	return hold(s, tokens, 0, n);
}

int session_last(struct session *s, const int32_t *tokens, size_t n)
{
	int r = hold(s, tokens, 0, n);

	if (r == 0)
		r = compute(s, tokens, n - 1, n);
	s->logits = 0;
	return r;
}

int session_prompt(struct session *s, const int32_t *tokens, size_t n)
{
	uint64_t begin = clock_ns(), cpu = cpu_ns(), taken, done;
	size_t past, held;
	int r;

	s->times = (struct session_times){ .prompt = n };
	if (n >= s->abi.llama_n_ctx(s->ctx))
		return fail(s, -ENOSPC,
			    "%zu tokens do not fit in a context of %u", n,
			    s->abi.llama_n_ctx(s->ctx));
	past = held = keep(s, tokens, n);
	if (s->share && oc_llama_import(s->share, 0, tokens, n, &past))
		past = held;
	held = MIN(held, past);
	taken = clock_ns();
	r = hold(s, tokens, 0, n);
	if (r == 0)
		r = compute(s, tokens, past, n);
	if (r) {
		session_forget(s);
		return r;
	}
	done = clock_ns();
	if (s->share)
		oc_llama_computed(s->share, n - past, done - taken);
	s->times.held = held;
	s->times.reused = past - held;
	s->logits = 0;
	s->times.import_ns = taken - begin;
	s->times.compute_ns = done - taken;
	s->times.first_ns = done - begin;
	s->times.prompt_cpu_ns = cpu_ns() - cpu;
	return 0;
}

/* ---- generating */

static int next(struct session *s, int32_t token)
{
	uint64_t begin = clock_ns();
	int r;

	if (s->n + 1 >= s->abi.llama_n_ctx(s->ctx))
		return fail(s, -ENOSPC, "the context of %u tokens is full",
			    s->abi.llama_n_ctx(s->ctx));
	r = abi_decode(&s->abi, s->ctx, 0, &token, 1, s->n, true);
	if (r)
		return decode_failed(s, r);
	if (s->n == s->room) {
		int32_t *p =
			realloc(s->tokens, (s->room * 2 + 64) * sizeof(*p));

		if (!p)
			return fail(s, -ENOMEM, "no memory for a token");
		s->tokens = p;
		s->room = s->room * 2 + 64;
	}
	s->tokens[s->n++] = token;
	if (s->share)
		oc_llama_computed(s->share, 1, clock_ns() - begin);
	return 0;
}

/* What cannot be shared now is computed by others: no failure here. */
static void share(struct session *s, unsigned flags)
{
	uint64_t begin = clock_ns();

	if (!s->share)
		return;
	(void)oc_llama_export(s->share, 0, s->tokens, s->n, flags, NULL);
	s->times.export_ns += clock_ns() - begin;
}

/* What is about to be sampled from. */
static void watch(struct session *s, bool first)
{
	const float *logits = s->abi.llama_get_logits_ith(s->ctx, -1);
	size_t n = (size_t)s->abi.llama_vocab_n_tokens(s->vocab);

	if (!logits)
		return;
	s->logits = hash_bytes(logits, n * sizeof(*logits), s->logits + 1);
	if (first)
		s->first_logits = s->logits;
}

static int generate(struct session *s, size_t most, session_say say, void *ctx)
{
	char piece[256];

	for (size_t i = 0; i < most; i++) {
		int32_t token;
		int r;

		if (s->watch)
			watch(s, i == 0);
		token = s->abi.llama_sampler_sample(s->sampler, s->ctx, -1);
		s->sampled = token;
		s->times.generated++;
		if (s->abi.llama_vocab_is_eog(s->vocab, token))
			return 0;
		if (!say(ctx, piece,
			 session_piece(s, token, piece, sizeof(piece))))
			return 0;
		share(s, 0);
		if (i + 1 == most)
			return 0;
		r = next(s, token);
		if (r)
			return r;
	}
	return 0;
}

int session_generate(struct session *s, size_t most, session_say say, void *ctx)
{
	uint64_t begin = clock_ns(), cpu = cpu_ns(), exported;
	int r = generate(s, most, say, ctx);

	s->times.generate_ns = clock_ns() - begin;
	s->times.generate_cpu_ns = cpu_ns() - cpu;
	exported = s->times.export_ns;
	share(s, OC_LLAMA_ALL);
	s->times.export_ns = exported;
	return r;
}
