/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block keys as vLLM's `sha256_cbor`:
 *   key_i = SHA-256(canonical CBOR of [parent, [ids of the block], extra])
 * CBOR is RFC 8949; canonical means the shortest head for every length and
 * number. One buffer serves all blocks of a call; its head (the parent) and
 * its tail (extra) are rewritten for each.
 */
#include <errno.h>
#include <stdlib.h>
#include <onecopy/onecopy.h>
#include "base/fault.h"
#include "base/hash.h"
#include "client/options.h"

#define STACK_BYTES 8192
#define HEAD_MOST   9 /* bytes of the longest CBOR head */

enum cbor_major {
	CBOR_UINT = 0,
	CBOR_NEGATIVE = 1,
	CBOR_BYTES = 2,
	CBOR_TEXT = 3,
	CBOR_ARRAY = 4,
};
#define CBOR_NULL 0xf6

/* Writes are bounded by the size that was computed before; see size_of(). */
struct out {
	uint8_t *at;
};

static inline void put_byte(struct out *o, unsigned byte)
{
	*o->at++ = (uint8_t)byte;
}

static inline void put_head(struct out *o, enum cbor_major major, uint64_t v)
{
	unsigned type = (unsigned)major << 5, bytes;

	if (v < 24) {
		put_byte(o, type | (unsigned)v);
		return;
	}
	bytes = v <= 0xff ? 1 : v <= 0xffff ? 2 : v <= 0xffffffff ? 4 : 8;
	put_byte(o, type | (24 + (unsigned)__builtin_ctz(bytes)));
	while (bytes--)
		put_byte(o, (unsigned)(v >> 8 * bytes) & 0xff);
}

static void put_text(struct out *o, const char *text)
{
	size_t n = strlen(text);

	put_head(o, CBOR_TEXT, n);
	memcpy(o->at, text, n);
	o->at += n;
}

static void put_int(struct out *o, int64_t v)
{
	/* -1 - v without overflow: the complement. */
	if (v < 0)
		put_head(o, CBOR_NEGATIVE, ~(uint64_t)v);
	else
		put_head(o, CBOR_UINT, (uint64_t)v);
}

/* What a block's `extra` is made of. */
struct extra {
	const char *lora, *salt;
	const struct oc_chain_item *items;
	size_t n_items;
};

static void put_extra(struct out *o, const struct extra *x)
{
	size_t n = x->n_items + (x->lora != NULL) + (x->salt != NULL);

	if (n == 0) {
		put_byte(o, CBOR_NULL);
		return;
	}
	put_head(o, CBOR_ARRAY, n);
	if (x->lora)
		put_text(o, x->lora);
	for (size_t i = 0; i < x->n_items; i++) {
		put_head(o, CBOR_ARRAY, 2);
		put_text(o, x->items[i].id);
		put_int(o, x->items[i].offset);
	}
	if (x->salt)
		put_text(o, x->salt);
}

/* An upper bound for any block of the call; 0: not representable. */
static size_t size_of(const struct oc_chain_options *o, size_t tokens)
{
	size_t n = 16 + OC_KEY_BYTES + 2 * HEAD_MOST;

	if (tokens > SIZE_MAX / 16)
		return 0;
	n += tokens * 5;
	n += o->lora ? strlen(o->lora) + HEAD_MOST : 0;
	n += o->salt ? strlen(o->salt) + HEAD_MOST : 0;
	for (size_t i = 0; i < o->n_items; i++)
		n += strlen(o->items[i].id) + 3 * HEAD_MOST;
	return n;
}

static int hash_block(uint8_t *buf, const struct oc_key *parent,
		      const uint32_t *tokens, size_t n, const struct extra *x,
		      bool partial, struct oc_key *ret_key)
{
	struct hash_piece piece = { .data = buf };
	struct out o = { buf };

	put_head(&o, CBOR_ARRAY, partial ? 4 : 3);
	put_head(&o, CBOR_BYTES, OC_KEY_BYTES);
	memcpy(o.at, parent->bytes, OC_KEY_BYTES);
	o.at += OC_KEY_BYTES;
	put_head(&o, CBOR_ARRAY, n);
	for (size_t i = 0; i < n; i++)
		put_head(&o, CBOR_UINT, tokens[i]);
	put_extra(&o, x);
	if (partial)
		put_text(&o, "partial");
	piece.len = (size_t)(o.at - buf);
	return hash_sha256(&piece, 1, ret_key->bytes);
}

int oc_chain_root(const char *seed, struct oc_key *ret_key)
{
	uint8_t head[HEAD_MOST];
	struct out o = { head };
	struct hash_piece pieces[2];

	if (!seed)
		seed = "0";
	put_head(&o, CBOR_TEXT, strlen(seed));
	pieces[0] = (struct hash_piece){ head, (size_t)(o.at - head) };
	pieces[1] = (struct hash_piece){ seed, strlen(seed) };
	return hash_sha256(pieces, 2, ret_key->bytes);
}

/* Options as this build knows them, checked. */
static int options_take(const struct oc_chain_options *from,
			struct oc_chain_options *ret_o)
{
	struct oc_chain_options o = { .size = sizeof(o) };

	if (options_copy(&o, sizeof(o), from))
		return -EINVAL;
	if (o.block_tokens == 0 || (o.n_items && !o.items))
		return -EINVAL;
	for (size_t i = 0; i < o.n_items; i++)
		if (!o.items[i].id ||
		    (i > 0 && o.items[i].block < o.items[i - 1].block))
			return -EINVAL;
	/* Empty names are none, as in the engine. */
	if (o.lora && !*o.lora)
		o.lora = NULL;
	if (o.salt && !*o.salt)
		o.salt = NULL;
	*ret_o = o;
	return 0;
}

static int first_parent(const struct oc_chain_options *o,
			struct oc_key *ret_parent)
{
	if (!o->parent)
		return oc_chain_root(o->seed, ret_parent);
	*ret_parent = *o->parent;
	return 0;
}

/* The items of block i; *at moves on. */
static struct extra extra_of(const struct oc_chain_options *o, size_t i,
			     size_t *at)
{
	struct extra x = {
		.lora = o->lora,
		.salt = i == 0 && !o->parent ? o->salt : NULL,
		.items = o->n_items ? o->items + *at : NULL,
	};

	while (*at < o->n_items && o->items[*at].block == i) {
		x.n_items++;
		++*at;
	}
	return x;
}

/* The stack for ordinary blocks, the heap for large ones. */
static uint8_t *buffer(const struct oc_chain_options *o, size_t tokens,
		       uint8_t *stack, uint8_t **ret_heap)
{
	size_t need = size_of(o, tokens);

	*ret_heap = NULL;
	if (need && need <= STACK_BYTES)
		return stack;
	if (need)
		*ret_heap = mem_alloc(need);
	return *ret_heap;
}

int oc_chain(const struct oc_chain_options *options, const uint32_t *tokens,
	     size_t n, struct oc_key *ret_keys, size_t *ret_n)
{
	struct oc_chain_options o;
	uint8_t stack[STACK_BYTES], *heap, *buf;
	struct oc_key parent;
	size_t blocks, item = 0;
	int r = options_take(options, &o);

	if (r)
		return r;
	blocks = n / o.block_tokens;
	buf = buffer(&o, blocks ? o.block_tokens : 0, stack, &heap);
	if (!buf)
		return -ENOMEM;
	r = first_parent(&o, &parent);
	for (size_t i = 0; i < blocks && r == 0; i++) {
		struct extra x = extra_of(&o, i, &item);

		r = hash_block(buf, &parent, tokens + i * o.block_tokens,
			       o.block_tokens, &x, false, &ret_keys[i]);
		parent = ret_keys[i];
	}
	free(heap);
	if (r == 0)
		*ret_n = blocks;
	return r;
}

int oc_chain_partial(const struct oc_chain_options *options,
		     const uint32_t *tokens, size_t n, struct oc_key *ret_key)
{
	struct oc_chain_options o;
	uint8_t stack[STACK_BYTES], *heap, *buf;
	struct oc_key parent;
	size_t item = 0;
	int r = options_take(options, &o);

	if (r == 0 && (n == 0 || n >= o.block_tokens))
		r = -EINVAL;
	if (r)
		return r;
	buf = buffer(&o, n, stack, &heap);
	if (!buf)
		return -ENOMEM;
	r = first_parent(&o, &parent);
	if (r == 0) {
		struct extra x = extra_of(&o, 0, &item);

		r = hash_block(buf, &parent, tokens, n, &x, true, ret_key);
	}
	free(heap);
	return r;
}
