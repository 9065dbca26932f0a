/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is restored computes as what was computed cold: logits bit for bit, by
 * every way, for a whole prompt and for a prefix with the rest recomputed.
 */
#include "tests/llama/rig.h"

#define VOCAB_MOST 4096

struct equal {
	struct rig r;
	struct live n;
	oc_client *c;
	int32_t tokens[2048];
	float cold[VOCAB_MOST], warm[VOCAB_MOST];
};

static void begin(struct equal *e, bool stories)
{
	rig_engine(&e->r);
	if (stories)
		rig_stories(&e->r);
	else
		rig_random(&e->r, MODEL_TINY);
	CHECK_INT(rig_vocab(&e->r), <=, VOCAB_MOST);
	live_start(&e->n, "--dram", "256M");
	e->c = live_connect(&e->n);
	rig_tokens(e->tokens, 2048, 7);
}

static void end(struct equal *e)
{
	live_check(e->c);
	oc_client_close(e->c);
	live_stop(&e->n);
	rig_end(&e->r);
}

/* Computes tokens[0..n) and shares it. */
static void cold(struct equal *e, enum rig_kind kind, size_t n, float *logits)
{
	struct llama_context *ctx = rig_context(&e->r, kind, 2048);
	oc_llama *l =
		rig_open(&e->r, e->c, ctx, (struct oc_llama_options){ 0 });
	size_t past, left;

	CHECK_OK(oc_llama_import(l, 0, e->tokens, n, &past));
	CHECK_INT(past, ==, 0);
	rig_decode(&e->r, ctx, e->tokens, n, 0, logits);
	CHECK_OK(oc_llama_export(l, 0, e->tokens, n, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	oc_llama_close(l);
	e->r.abi.llama_free(ctx);
}

static size_t warm(struct equal *e, enum rig_kind kind, size_t n, bool exact,
		   float *logits)
{
	struct llama_context *ctx = rig_context(&e->r, kind, 2048);
	oc_llama *l = rig_open(&e->r, e->c, ctx,
			       (struct oc_llama_options){ .exact = exact });
	struct oc_llama_stat s;
	size_t past;

	CHECK_OK(oc_llama_import(l, 0, e->tokens, n, &past));
	CHECK_STR(oc_llama_error(l), "");
	rig_decode(&e->r, ctx, e->tokens, n, past, logits);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.tokens_reused, ==, past);
	CHECK_INT(s.imported_moved, ==,
		  s.imported_bytes * (kind == RIG_UNIFIED ? 1 : 2));
	fprintf(stderr, "%zu of %zu tokens: match %.2f ms, import %.2f ms\n",
		past, n, (double)s.match_ns / 1e6, (double)s.import_ns / 1e6);
	oc_llama_close(l);
	e->r.abi.llama_free(ctx);
	return past;
}

static void whole_prompt(bool stories, enum rig_kind from, enum rig_kind to,
			 size_t n)
{
	static struct equal e;

	begin(&e, stories);
	cold(&e, from, n, e.cold);
	CHECK_INT(warm(&e, to, n, true, e.warm), ==, n - 1);
	rig_same(&e.r, e.cold, e.warm);
	end(&e);
}

TEST(whole_prompt_by_blocks)
{
	whole_prompt(false, RIG_UNIFIED, RIG_UNIFIED, 1024);
}

TEST(whole_prompt_whole)
{
	whole_prompt(false, RIG_ALONE, RIG_ALONE, 1024);
}

TEST(whole_prompt_from_one_way_to_the_other)
{
	whole_prompt(false, RIG_UNIFIED, RIG_ALONE, 512);
}

TEST(whole_prompt_and_back)
{
	whole_prompt(false, RIG_STREAMS, RIG_UNIFIED, 512);
}

TEST(whole_prompt_in_streams)
{
	whole_prompt(false, RIG_UNIFIED, RIG_STREAMS, 512);
}

TEST(whole_prompt_of_a_trained_model)
{
	whole_prompt(true, RIG_UNIFIED, RIG_UNIFIED, 512);
}

/* The prefix that is shared ends in the middle of the prompt. */
static void prefix(bool stories, enum rig_kind kind, size_t shared, size_t n)
{
	static struct equal e;
	static float other[VOCAB_MOST];

	begin(&e, stories);
	cold(&e, kind, shared + 40, e.cold);
	rig_tokens(e.tokens + shared, n - shared, 99);
	CHECK_INT(warm(&e, kind, n, true, e.warm), ==, shared / 512 * 512);
	/* Cold, in a namespace of its own. */
	{
		struct llama_context *ctx = rig_context(&e.r, kind, 2048);

		rig_decode(&e.r, ctx, e.tokens, n, 0, other);
		e.r.abi.llama_free(ctx);
	}
	rig_same(&e.r, other, e.warm);
	CHECK(memcmp(e.cold, e.warm, rig_vocab(&e.r) * sizeof(float)) != 0);
	/* Without the rule more is taken over. */
	CHECK_INT(warm(&e, kind, n, false, e.warm), ==, shared / 16 * 16);
	end(&e);
}

TEST(prefix_by_blocks)
{
	prefix(false, RIG_UNIFIED, 1060, 1400);
}

TEST(prefix_whole)
{
	prefix(false, RIG_ALONE, 1060, 1400);
}

TEST(prefix_of_a_trained_model)
{
	prefix(true, RIG_UNIFIED, 530, 600);
}

/* ---- a conversation: the second turn finds its beginning in the context */

#define TURN_1 1040u
#define SAID   10u /* tokens, one by one */
#define TURN_2 1104u

/* As a program that converses: a prompt, its answer, the next prompt. Returns
 * what was taken over of the second, beyond what the context held. */
static size_t converse(struct equal *e, bool share, enum rig_kind kind,
		       float *logits)
{
	struct llama_context *ctx = rig_context(&e->r, kind, 2048);
	oc_llama *l = rig_open(&e->r, e->c, ctx,
			       (struct oc_llama_options){ .exact = true });
	size_t past = 0, held = TURN_1 + SAID, left;

	if (share)
		CHECK_OK(oc_llama_import(l, 0, e->tokens, TURN_1, &past));
	rig_decode(&e->r, ctx, e->tokens, TURN_1, past, logits);
	for (size_t i = TURN_1; i < held; i++)
		rig_decode(&e->r, ctx, e->tokens, i + 1, i, logits);
	past = held;
	if (share)
		CHECK_OK(oc_llama_import(l, 0, e->tokens, TURN_2, &past));
	rig_decode(&e->r, ctx, e->tokens, TURN_2, past, logits);
	CHECK_OK(oc_llama_export(l, 0, e->tokens, TURN_2, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	oc_llama_close(l);
	e->r.abi.llama_free(ctx);
	return past - held;
}

static void conversation(enum rig_kind kind)
{
	static struct equal e;

	begin(&e, false);
	CHECK_INT(converse(&e, false, kind, e.cold), ==, 0);
	CHECK_INT(converse(&e, true, kind, e.warm), ==,
		  TURN_2 - 1 - TURN_1 - SAID);
	rig_same(&e.r, e.cold, e.warm);
	end(&e);
}

TEST(conversation_by_blocks)
{
	conversation(RIG_UNIFIED);
}

TEST(conversation_whole)
{
	conversation(RIG_ALONE);
}
