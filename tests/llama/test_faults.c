/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real engine and what can go wrong around it: a server that is killed, a bit
 * that flips, another model, an engine that is killed. The answer is right in
 * every case.
 */
#include "adapters/llama/internal.h"
#include "tests/llama/rig.h"

#define PROMPT 600u /* 37 full blocks */

struct faults {
	struct rig r;
	struct live n;
	oc_client *c;
	int32_t tokens[PROMPT];
	float cold[512], warm[512];
};

/* Context and adapter in one. */
struct agent {
	struct llama_context *ctx;
	oc_llama *l;
};

static struct agent agent(struct faults *f)
{
	struct agent a = { .ctx = rig_context(&f->r, RIG_UNIFIED, 1024) };

	a.l = rig_open(&f->r, f->c, a.ctx, (struct oc_llama_options){ 0 });
	return a;
}

static void agent_end(struct faults *f, struct agent *a)
{
	oc_llama_close(a->l);
	f->r.abi.llama_free(a->ctx);
}

/* Imports what there is, computes the rest, shares it; tokens taken over. */
static size_t answer(struct faults *f, struct agent *a, float *logits)
{
	size_t past, left;

	CHECK_OK(oc_llama_import(a->l, 0, f->tokens, PROMPT, &past));
	rig_decode(&f->r, a->ctx, f->tokens, PROMPT, past, logits);
	CHECK_OK(oc_llama_export(a->l, 0, f->tokens, PROMPT, OC_LLAMA_ALL,
				 &left));
	return past;
}

static void begin(struct faults *f)
{
	struct agent a;

	rig_engine(&f->r);
	rig_random(&f->r, MODEL_TINY);
	CHECK_INT(rig_vocab(&f->r), <=, 512);
	live_start(&f->n, "--dram", "128M");
	f->c = live_connect(&f->n);
	rig_tokens(f->tokens, PROMPT, 3);
	a = agent(f);
	CHECK_INT(answer(f, &a, f->cold), ==, 0);
	agent_end(f, &a);
}

static void end(struct faults *f)
{
	live_check(f->c);
	oc_client_close(f->c);
	live_stop(&f->n);
	rig_end(&f->r);
}

static struct faults f;

/* Cold without a node, after `past` tokens in one batch: what a run that took
 * over those must equal. */
static void split_cold(size_t past, float *logits)
{
	struct llama_context *ctx = rig_context(&f.r, RIG_UNIFIED, 1024);

	/* As the exporter: the whole of it, then from `past` on again. */
	CHECK_INT(abi_decode(&f.r.abi, ctx, 0, f.tokens, PROMPT - 1, 0, false),
		  ==, 0);
	f.r.abi.llama_memory_seq_rm(f.r.abi.llama_get_memory(ctx), 0,
				    (int32_t)past, -1);
	rig_decode(&f.r, ctx, f.tokens, PROMPT, past, logits);
	f.r.abi.llama_free(ctx);
}

TEST(equal_after_the_server_was_killed)
{
	struct agent a;

	begin(&f);
	split_cold(592, f.cold);
	a = agent(&f);
	kill(live_server(f.c), SIGKILL);
	CHECK_INT(answer(&f, &a, f.warm), ==, 592);
	rig_same(&f.r, f.cold, f.warm);
	agent_end(&f, &a);
	/* And by one that meets the new server only. */
	LIVE_WAIT(&f.n, live_stat(f.c).server_epoch == 2);
	a = agent(&f);
	CHECK_INT(answer(&f, &a, f.warm), ==, 592);
	rig_same(&f.r, f.cold, f.warm);
	agent_end(&f, &a);
	end(&f);
}

static void find_base(void *ctx, int event, const struct oc_region *region)
{
	const struct oc_region **wanted = ctx;
	static struct oc_region found;

	(void)event;
	if (*wanted == NULL && region->writable) {
		found = *region;
		*wanted = &found;
	}
}

/* Flips a bit of block i where its writer, this process, can write. */
static void flip(struct agent *a, size_t i)
{
	const struct oc_region *own = NULL;
	struct oc_pin pin;
	uint8_t *at;

	CHECK_OK(track_take(&a->l->tracks[0], f.tokens, PROMPT));
	CHECK_OK(oc_pin(a->l->ns, &a->l->tracks[0].keys[i],
			(struct oc_part){ 0, 0 }, 0, &pin));
	oc_region_each(f.c, find_base, &own);
	CHECK(own != NULL);
	CHECK_INT(pin.region, ==, own->id);
	at = (uint8_t *)own->base + pin.offset;
	CHECK(at == pin.data);
	at[(pin.bytes / 2) | 1] ^= 0x40; /* of a half's exponent */
	oc_unpin(a->l->ns, &pin);
}

TEST(a_flipped_bit_is_computed_again)
{
	struct agent a;

	begin(&f);
	a = agent(&f);
	flip(&a, 5);
	split_cold(80, f.cold);
	CHECK_INT(answer(&f, &a, f.warm), ==, 80);
	rig_same(&f.r, f.cold, f.warm);
	agent_end(&f, &a);
	/* The block was dropped, and is there again. */
	a = agent(&f);
	CHECK_INT(answer(&f, &a, f.warm), ==, 592);
	agent_end(&f, &a);
	end(&f);
}

/* What verification is for: the engine itself takes any bytes. */
TEST(a_flipped_bit_would_change_the_answer)
{
	struct agent a;
	size_t past;

	begin(&f);
	a = agent(&f);
	split_cold(592, f.cold);
	CHECK_OK(oc_llama_import(a.l, 0, f.tokens, PROMPT, &past));
	CHECK_INT(past, ==, 592);
	f.r.abi.llama_memory_seq_rm(f.r.abi.llama_get_memory(a.ctx), 0, 0, -1);
	flip(&a, 5);
	/* Past the check: straight into the engine, as it lies. */
	for (size_t i = 0; i < 37; i++) {
		struct oc_pin pin;

		CHECK_OK(oc_pin(a.l->ns, &a.l->tracks[0].keys[i],
				(struct oc_part){ 0, 0 }, 0, &pin));
		CHECK_INT(a.l->e.state_seq_set_data(a.ctx, pin.data, pin.bytes,
						    1),
			  ==, pin.bytes);
		a.l->e.memory_seq_cp(a.l->memory, 1, 0, -1, -1);
		a.l->e.memory_seq_rm(a.l->memory, 1, -1, -1);
		oc_unpin(a.l->ns, &pin);
	}
	rig_decode(&f.r, a.ctx, f.tokens, PROMPT, 592, f.warm);
	CHECK(memcmp(f.cold, f.warm, rig_vocab(&f.r) * sizeof(float)) != 0);
	agent_end(&f, &a);
	end(&f);
}

TEST(another_model_finds_nothing)
{
	struct model_shape shape = MODEL_TINY;
	struct llama_model *first;
	struct agent a;

	begin(&f);
	first = f.r.model;
	shape.seed = 2;
	rig_random(&f.r, shape);
	a = agent(&f);
	CHECK_INT(answer(&f, &a, f.warm), ==, 0);
	CHECK(memcmp(f.cold, f.warm, rig_vocab(&f.r) * sizeof(float)) != 0);
	agent_end(&f, &a);
	f.r.abi.llama_model_free(first);
	end(&f);
}

/* KV of another type is another layout. */
TEST(another_type_of_kv_finds_nothing)
{
	struct abi_context_params p;
	struct agent a;
	oc_llama *l;
	size_t past;

	begin(&f);
	p = f.r.abi.context;
	p.n_ctx = p.n_batch = 1024;
	p.n_seq_max = 2;
	p.kv_unified = true;
	p.n_threads = p.n_threads_batch = 1;
	p.type_k = p.type_v = 0; /* F32 */
	a.ctx = f.r.abi.llama_init_from_model(f.r.model, p);
	CHECK(a.ctx != NULL);
	l = rig_open(&f.r, f.c, a.ctx, (struct oc_llama_options){ 0 });
	CHECK_OK(oc_llama_import(l, 0, f.tokens, PROMPT, &past));
	CHECK_INT(past, ==, 0);
	oc_llama_close(l);
	f.r.abi.llama_free(a.ctx);
	end(&f);
}

TEST(transposed_v_is_refused)
{
	struct oc_llama_options o = { .size = sizeof(o) };
	struct abi_context_params p;
	struct llama_context *ctx;
	char error[256] = "";
	oc_llama *l;

	begin(&f);
	p = f.r.abi.context;
	p.n_ctx = 512;
	p.flash_attn_type = 0;
	ctx = f.r.abi.llama_init_from_model(f.r.model, p);
	CHECK(ctx != NULL);
	o.weights = f.r.weights;
	CHECK_INT(oc_llama_open(f.c, ctx, &o, &l, error), ==, -ENOTSUP);
	CHECK(strstr(error, "flash attention") != NULL);
	f.r.abi.llama_free(ctx);
	end(&f);
}

/* A context with too little room takes what it can, and says so. */
TEST(a_context_that_is_too_small)
{
	struct llama_context *ctx;
	oc_llama *l;
	size_t past;

	begin(&f);
	ctx = rig_context(&f.r, RIG_UNIFIED, 256);
	l = rig_open(&f.r, f.c, ctx, (struct oc_llama_options){ 0 });
	CHECK_OK(oc_llama_import(l, 0, f.tokens, PROMPT, &past));
	CHECK_INT(past, <=, 256);
	CHECK_INT(past % 16, ==, 0);
	CHECK(strstr(oc_llama_error(l), "room") != NULL);
	oc_llama_close(l);
	f.r.abi.llama_free(ctx);
	end(&f);
}

/* ---- engines that die */

/* Where an engine is when it is killed, or soon after. */
enum { AT_OPEN, AT_IMPORT, AT_DECODE, AT_EXPORT, AT_END, STAGES };

/* Says so in its second round. */
static void at_stage(int fd, uint32_t seed, int stage, const int *wanted)
{
	if (seed == 101 && stage == *wanted)
		child_say(fd, 'x');
}

static void dying_engine(const struct live *n, int fd, void *arg)
{
	size_t past, left;
	struct agent a;

	f.c = live_connect(n);
	for (uint32_t seed = 100;; seed++) {
		rig_tokens(f.tokens, PROMPT, seed);
		at_stage(fd, seed, AT_OPEN, arg);
		a = agent(&f);
		at_stage(fd, seed, AT_IMPORT, arg);
		CHECK_OK(oc_llama_import(a.l, 0, f.tokens, PROMPT, &past));
		at_stage(fd, seed, AT_DECODE, arg);
		rig_decode(&f.r, a.ctx, f.tokens, PROMPT, past, f.warm);
		at_stage(fd, seed, AT_EXPORT, arg);
		CHECK_OK(oc_llama_export(a.l, 0, f.tokens, PROMPT, OC_LLAMA_ALL,
					 &left));
		at_stage(fd, seed, AT_END, arg);
		agent_end(&f, &a);
	}
}

TEST(an_engine_that_is_killed_costs_another_nothing)
{
	struct agent a;

	begin(&f);
	split_cold(592, f.cold);
	for (int stage = 0; stage < STAGES; stage++) {
		struct child child = child_start(dying_engine, &f.n, &stage);

		CHECK_INT(child_hear(child.fd), ==, 'x');
		child_kill(&child);
		LIVE_WAIT(&f.n, live_stat(f.c).granted == 0 &&
					live_stat(f.c).clients == 1);
		a = agent(&f);
		CHECK_INT(answer(&f, &a, f.warm), ==, 592);
		rig_same(&f.r, f.cold, f.warm);
		agent_end(&f, &a);
	}
	end(&f);
}
