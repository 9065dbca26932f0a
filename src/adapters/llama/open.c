/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: which way, which layout, which namespace.
 *
 * The engine tells nothing of its KV layout but in the blobs it writes, so one
 * token is decoded in a sequence that is empty, its state is read, and the
 * token goes again.
 */
#include "adapters/llama/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "adapters/llama/digest.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "client/options.h"

#define AWAY_NS NS_PER_S

/* ---- what the other files use too */

int llama_fail(oc_llama *l, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(l->error, sizeof(l->error), format, args);
	va_end(args);
	return r;
}

void llama_away(oc_llama *l, int r, const char *what)
{
	llama_fail(l, r, "%s: %s: %s", what, oc_strerror(r),
		   oc_client_error(l->client));
	l->away_until = clock_ns() + AWAY_NS;
}

bool llama_is_away(const oc_llama *l)
{
	return l->away_until && clock_ns() < l->away_until;
}

int llama_buffer(oc_llama *l, size_t bytes)
{
	uint8_t *p;

	if (bytes <= l->buffer_bytes)
		return 0;
	p = mem_alloc(bytes);
	if (!p)
		return llama_fail(l, -ENOMEM, "no memory for %zu bytes", bytes);
	free(l->buffer);
	l->buffer = p;
	l->buffer_bytes = bytes;
	return 0;
}

int llama_held(oc_llama *l, int32_t seq, size_t *ret_held)
{
	int32_t least, most;

	if (seq < 0 || (uint32_t)seq >= l->n_seq ||
	    (l->way == OC_LLAMA_BLOCKS && seq == l->scratch))
		return llama_fail(l, -EINVAL, "no sequence %d to use", seq);
	least = l->e.memory_seq_pos_min(l->memory, seq);
	most = l->e.memory_seq_pos_max(l->memory, seq);
	if (least > 0)
		return llama_fail(l, -EINVAL,
				  "sequence %d begins at position %d", seq,
				  least);
	*ret_held = (size_t)(most + 1);
	return 0;
}

void llama_drop(oc_llama *l, int32_t seq, size_t from)
{
	l->e.memory_seq_rm(l->memory, seq, (int32_t)from, -1);
}

/* ---- the layout */

static int check_model(oc_llama *l)
{
	const struct llama_model *m = l->e.get_model(l->ctx);
	int32_t rope = l->e.model_rope_type(m);

	if (!l->memory)
		return llama_fail(l, -ENOTSUP, "the context has no KV memory");
	if (l->e.model_is_recurrent(m) || l->e.model_is_hybrid(m))
		return llama_fail(l, -ENOTSUP,
				  "a model with recurrent state has no blocks");
	if (l->e.model_n_swa(m) > 0)
		return llama_fail(l, -ENOTSUP,
				  "a model with a sliding window of %d tokens",
				  l->e.model_n_swa(m));
	if (rope != ENGINE_ROPE_NONE && rope != ENGINE_ROPE_NORM &&
	    rope != ENGINE_ROPE_NEOX)
		return llama_fail(l, -ENOTSUP, "positions of type %d", rope);
	return 0;
}

static int probe_decode(oc_llama *l)
{
	int32_t token = 0, pos = 0, n_seq = 1, seq = l->scratch, *seqs = &seq;
	int8_t output = 1;
	struct engine_batch b = { .n_tokens = 1,
				  .token = &token,
				  .pos = &pos,
				  .n_seq_id = &n_seq,
				  .seq_id = &seqs,
				  .logits = &output };
	int r = l->e.decode(l->ctx, b);

	if (r)
		return llama_fail(l, -ENOTSUP,
				  "the engine did not decode a token: %d", r);
	return 0;
}

static int probe_learn(oc_llama *l)
{
	size_t size = l->e.state_seq_get_size(l->ctx, l->scratch);
	struct blob blob;
	int r = llama_buffer(l, size);

	if (r)
		return r;
	if (l->e.state_seq_get_data(l->ctx, l->buffer, size, l->scratch) !=
	    size)
		return llama_fail(l, -EPROTO, "the engine gave no state");
	r = blob_learn(l->buffer, size, &l->shape, &blob);
	if (r == -ENOTSUP)
		return llama_fail(l, r,
				  "V is transposed: make the context "
				  "with flash attention");
	if (r || blob.cells != 1 || blob_position(l->buffer, &blob, 0) != 0)
		return llama_fail(l, r ? r : -EPROTO,
				  "the engine's state has an unknown layout "
				  "(%zu bytes for a token)",
				  size);
	l->n_stream = blob.n_stream;
	return 0;
}

static int probe(oc_llama *l)
{
	int r;

	if (l->e.memory_seq_pos_max(l->memory, l->scratch) >= 0)
		return llama_fail(l, -EBUSY, "sequence %d is not empty",
				  l->scratch);
	r = probe_decode(l);
	if (r == 0)
		r = probe_learn(l);
	llama_drop(l, l->scratch, 0);
	return r;
}

static int choose_way(oc_llama *l, enum oc_llama_way want)
{
	bool blocks = l->n_stream == 1 && l->n_seq > 1;

	if (want == OC_LLAMA_BLOCKS && !blocks)
		return llama_fail(l, -ENOTSUP,
				  "blocks need kv_unified and a sequence to "
				  "spare");
	l->way = want != OC_LLAMA_AUTO ? want
		 : blocks	       ? OC_LLAMA_BLOCKS
				       : OC_LLAMA_WHOLE;
	return 0;
}

/* ---- the namespace */

static int weights_of(oc_llama *l, const struct oc_llama_options *o,
		      uint8_t ret_digest[DIGEST_BYTES])
{
	char cache[512];
	int r;

	if (o->weights) {
		memcpy(ret_digest, o->weights, DIGEST_BYTES);
		return 0;
	}
	r = digest_model(o->model,
			 digest_cache_path(cache, sizeof(cache)) ? NULL : cache,
			 ret_digest);
	if (r)
		return llama_fail(l, r, "%s: %s", o->model, oc_strerror(r));
	return 0;
}

static int layout_of(const oc_llama *l, const char *variant, uint8_t ret[32])
{
	size_t cap = 256 + 40ull * l->shape.n_row;
	char *text CLEANUP(mem_free_at) = mem_alloc(cap);
	int n;
	struct hash_piece pieces[2];

	if (!text)
		return -ENOMEM;
	n = snprintf(text, cap, "llama.cpp state of a sequence, 1\n");
	blob_describe(&l->shape, text + n, cap - (size_t)n);
	pieces[0] = (struct hash_piece){ text, strlen(text) + 1 };
	pieces[1] = (struct hash_piece){ variant ? variant : "",
					 variant ? strlen(variant) : 0 };
	return hash_sha256(pieces, 2, ret);
}

static int open_ns(oc_llama *l, const struct oc_llama_options *o)
{
	struct oc_ns_options n = {
		.size = sizeof(n),
		.block_tokens = l->block_tokens,
		.n_groups = 1,
		.groups = { { .rule = OC_RULE_FULL,
			      .slices = 1,
			      .slice_bytes = l->block_bytes } },
		.label = o->label ? o->label : "llama.cpp",
	};
	int r = weights_of(l, o, n.weights);

	if (r == 0)
		r = layout_of(l, o->variant, n.layout);
	if (r)
		return r;
	r = oc_ns_open(l->client, &n, 0, &l->ns);
	if (r)
		return llama_fail(l, r, "%s", oc_client_error(l->client));
	return 0;
}

/* ---- opening and closing */

static int take_options(oc_llama *l, const struct oc_llama_options *o)
{
	l->block_tokens = o->block_tokens ? o->block_tokens : 16;
	l->export_blocks = o->export_blocks ? o->export_blocks : 8;
	l->export_ns = o->export_ns ? o->export_ns : 2 * NS_PER_MS;
	l->timeout_ns = o->timeout_ns ? o->timeout_ns : 100 * NS_PER_MS;
	l->timeout_ns = MIN(l->timeout_ns, UINT64_MAX / 64);
	l->exact = o->exact;
	l->pace.percent = o->export_percent ? o->export_percent : 2;
	l->pace.last_ns = clock_ns();
	if (!o->model && !o->weights)
		return llama_fail(l, -EINVAL, "neither model nor weights");
	if (l->block_tokens < 16 || l->block_tokens > 64)
		return llama_fail(l, -EINVAL, "block_tokens are 16 to 64");
	if (l->pace.percent > 100)
		return llama_fail(l, -EINVAL, "export_percent is 1 to 100");
	if (o->way > OC_LLAMA_WHOLE || o->scratch < 0 ||
	    (uint32_t)o->scratch >= l->n_seq)
		return llama_fail(l, -EINVAL, "no such way, or no sequence %d",
				  o->scratch);
	l->scratch = o->scratch ? o->scratch : (int32_t)l->n_seq - 1;
	if (o->way == OC_LLAMA_WHOLE)
		l->scratch = 0;
	return 0;
}

static void ask_context(oc_llama *l)
{
	l->memory = l->e.get_memory(l->ctx);
	l->n_ctx = l->e.n_ctx(l->ctx);
	l->n_batch = l->e.n_batch(l->ctx);
	l->n_ubatch = l->e.n_ubatch(l->ctx);
	l->n_seq = l->e.n_seq_max(l->ctx);
}

static int open_all(oc_llama *l, const struct oc_llama_options *o)
{
	int r;

	ask_context(l);
	r = take_options(l, o);
	if (r == 0)
		r = check_model(l);
	if (r == 0)
		r = probe(l);
	if (r == 0)
		r = choose_way(l, o->way);
	if (r)
		return r;
	l->block_bytes = blob_bytes(&l->shape, 1, l->block_tokens);
	l->tracks = mem_array(l->n_seq, sizeof(*l->tracks));
	if (!l->tracks)
		return -ENOMEM;
	for (uint32_t i = 0; i < l->n_seq; i++)
		l->tracks[i].block_tokens = l->block_tokens;
	return open_ns(l, o);
}

int llama_open(const struct engine *e, oc_client *c, struct llama_context *ctx,
	       const struct oc_llama_options *options, oc_llama **ret_llama,
	       char *error)
{
	oc_llama *l = mem_alloc(sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->e = *e;
	l->client = c;
	l->ctx = ctx;
	r = open_all(l, options);
	if (r) {
		if (error)
			snprintf(error, LLAMA_ERROR, "%s",
				 l->error[0] ? l->error : oc_strerror(r));
		oc_llama_close(l);
		return r;
	}
	*ret_llama = l;
	return 0;
}

int oc_llama_open(oc_client *c, struct llama_context *ctx,
		  const struct oc_llama_options *options, oc_llama **ret_llama,
		  char *error)
{
	struct oc_llama_options o = { .size = sizeof(o) };
	struct engine e;
	const char *missing = "";
	int r;

	if (!c || !ctx || !options || options_copy(&o, sizeof(o), options))
		return -EINVAL;
	r = engine_bind(&e, &missing);
	if (r) {
		if (error)
			snprintf(error, LLAMA_ERROR,
				 "no llama.cpp with %s: oc_llama_engine()",
				 missing);
		return r;
	}
	return llama_open(&e, c, ctx, &o, ret_llama, error);
}

void oc_llama_close(oc_llama *l)
{
	if (!l)
		return;
	for (uint32_t i = 0; l->tracks && i < l->n_seq; i++)
		track_fini(&l->tracks[i]);
	free(l->tracks);
	if (l->ns)
		oc_ns_close(l->ns);
	blob_fini(&l->shape);
	free(l->buffer);
	free(l);
}

const char *oc_llama_error(const oc_llama *l)
{
	return l->error;
}
