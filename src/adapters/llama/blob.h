/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one sequence as llama.cpp writes it (llama_state_seq_get_data).
 * Pure. Native byte order, nothing aligned:
 *
 *	lead	u32 magic, i32 sequence		not in older engines
 *		u32 n_stream
 *	stream	u32 cells			0: nothing more of this stream
 *		cells x { i32 position, u32 1, i32 sequence }
 *		u32 v_trans, u32 n_layer
 *		n_layer x { i32 type, u64 row, cells x row bytes }	K
 *		n_layer x { i32 type, u64 row, cells x row bytes }	V
 *
 * One stream at most has cells when one sequence is written. Models without V
 * of their own have K alone. A *shape* is what stays equal for a model and its
 * KV types; it is learned from a blob, and every later blob is held against it.
 *
 * A block in the pool is such a blob in its canonical form: one stream,
 * sequence 0, positions ascending from the block's first. So a frame can be
 * given to the engine, and filled by it, without a move in between.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_BLOB_H
#define ONECOPY_ADAPTERS_LLAMA_BLOB_H

#include "base/compiler.h"

#define BLOB_MAGIC	0xaf143cd8u
#define BLOB_LAYERS_MAX 4096u
#define BLOB_ROW_MAX	(1ull << 30)

struct blob_row {
	int32_t type; /* ggml's number */
	uint64_t bytes;
};

struct blob_shape {
	uint32_t lead; /* bytes before n_stream: 8 or 0 */
	uint32_t n_layer;
	uint32_t n_row;	       /* n_layer, or twice that with V */
	struct blob_row *rows; /* K of each layer, then V of each */
	uint64_t token_bytes;  /* of all rows */
};

/* Where things lie in one blob. */
struct blob {
	uint32_t n_stream, cells;
	size_t cell; /* offset of the first cell */
	size_t data; /* offset of v_trans */
};

/* Learns the shape from a blob of at least one cell. 0; -EPROTO; -ENOTSUP
 * transposed V; -ENOMEM. */
int blob_learn(const uint8_t *bytes, size_t size, struct blob_shape *ret_shape,
	       struct blob *ret_blob);
void blob_fini(struct blob_shape *shape);

/* Holds a blob of one sequence against the shape. 0, -EPROTO. */
int blob_parse(const struct blob_shape *shape, const uint8_t *bytes,
	       size_t size, struct blob *ret_blob);
/* The same and: canonical, with `cells` positions from `first` on. */
int blob_check(const struct blob_shape *shape, const uint8_t *bytes,
	       size_t size, uint32_t cells, uint32_t first);
/* Position of a cell; -1: it is no cell of a single sequence. */
int32_t blob_position(const uint8_t *bytes, const struct blob *blob,
		      uint32_t cell);

/* Size of a blob; everything in it but the rows, in canonical form but for the
 * number of streams (the cells lie in the first). */
size_t blob_bytes(const struct blob_shape *shape, uint32_t n_stream,
		  uint32_t cells);
void blob_write(const struct blob_shape *shape, uint8_t *bytes,
		uint32_t n_stream, uint32_t cells, uint32_t first,
		struct blob *ret_blob);
/* Where things lie in a blob that blob_check() found right, from the shape
 * alone: whoever can write to it has no say any more. */
struct blob blob_canonical(const struct blob_shape *shape, uint32_t cells);
/* Copies the rows of n cells of one blob into another. */
void blob_copy(const struct blob_shape *shape, uint8_t *dst,
	       const struct blob *to, uint32_t to_cell, const uint8_t *src,
	       const struct blob *from, uint32_t from_cell, uint32_t n);

/* The shape as text for a digest: cut where cap ends, length returned as
 * snprintf does. */
size_t blob_describe(const struct blob_shape *shape, char *buf, size_t cap);

#endif
