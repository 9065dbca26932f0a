/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/llama/blob.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"

#define CELL_BYTES 12u /* position, 1, sequence */
#define ROW_HEAD   12u /* type, row size */

/* A place in a blob that knows where the blob ends. */
struct cursor {
	const uint8_t *bytes;
	size_t at, size;
	bool bad;
};

static const uint8_t *take(struct cursor *c, uint64_t n)
{
	const uint8_t *p = c->bytes + c->at;

	if (c->bad || n > c->size - c->at) {
		c->bad = true;
		return NULL;
	}
	c->at += n;
	return p;
}

static uint32_t take_u32(struct cursor *c)
{
	const uint8_t *p = take(c, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, 4);
	return v;
}

static uint64_t take_u64(struct cursor *c)
{
	const uint8_t *p = take(c, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, 8);
	return v;
}

static uint8_t *put_u32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, 4);
	return at + 4;
}

/* Lead, streams, up to v_trans: fills ret, and the cursor stands behind it. */
static void take_head(struct cursor *c, uint32_t lead, struct blob *ret)
{
	if (lead && take_u32(c) != BLOB_MAGIC)
		c->bad = true;
	take(c, lead ? 4 : 0);
	ret->n_stream = take_u32(c);
	ret->cells = 0;
	for (uint32_t s = 0; s < ret->n_stream && !c->bad; s++) {
		ret->cells = take_u32(c);
		if (ret->cells)
			break;
	}
	ret->cell = c->at;
	take(c, (uint64_t)ret->cells * CELL_BYTES);
	ret->data = c->at;
	if (ret->cells == 0)
		c->bad = true;
}

/* After the rows: streams without cells, to the end of the blob. */
static bool at_end(struct cursor *c)
{
	while (!c->bad && c->at < c->size)
		if (take_u32(c) != 0)
			return false;
	return !c->bad;
}

static bool take_row(struct cursor *c, uint32_t cells, struct blob_row *ret)
{
	ret->type = (int32_t)take_u32(c);
	ret->bytes = take_u64(c);
	if (ret->bytes == 0 || ret->bytes > BLOB_ROW_MAX)
		return false;
	take(c, ret->bytes * cells);
	return !c->bad;
}

/* Rows of K, or of V: as many as there are layers. */
static bool learn_rows(struct cursor *c, uint32_t cells, struct blob_shape *s)
{
	for (uint32_t i = 0; i < s->n_layer; i++) {
		struct blob_row *row = &s->rows[s->n_row];

		if (!take_row(c, cells, row))
			return false;
		s->token_bytes += row->bytes;
		s->n_row++;
	}
	return true;
}

/* What follows K is V, or the streams' empty tail (a row's size is never 0). */
static bool learn_kv(struct cursor *c, uint32_t cells, struct blob_shape *s)
{
	struct cursor here;

	if (!learn_rows(c, cells, s))
		return false;
	here = *c;
	if (at_end(&here))
		return true;
	return learn_rows(c, cells, s) && at_end(c);
}

static uint32_t lead_of(const uint8_t *bytes, size_t size)
{
	uint32_t magic = 0;

	if (size >= 4)
		memcpy(&magic, bytes, 4);
	return magic == BLOB_MAGIC ? 8 : 0;
}

int blob_learn(const uint8_t *bytes, size_t size, struct blob_shape *ret_shape,
	       struct blob *ret_blob)
{
	struct cursor c = { .bytes = bytes, .size = size };
	struct blob_shape s = { .lead = lead_of(bytes, size) };
	struct blob blob;
	uint32_t v_trans;

	take_head(&c, s.lead, &blob);
	v_trans = take_u32(&c);
	s.n_layer = take_u32(&c);
	if (c.bad || v_trans > 1 || s.n_layer == 0 ||
	    s.n_layer > BLOB_LAYERS_MAX)
		return -EPROTO;
	if (v_trans)
		return -ENOTSUP;
	s.rows = mem_array((size_t)s.n_layer * 2, sizeof(*s.rows));
	if (!s.rows)
		return -ENOMEM;
	if (!learn_kv(&c, blob.cells, &s)) {
		blob_fini(&s);
		return -EPROTO;
	}
	*ret_shape = s;
	*ret_blob = blob;
	return 0;
}

void blob_fini(struct blob_shape *shape)
{
	free(shape->rows);
	*shape = (struct blob_shape){ 0 };
}

int blob_parse(const struct blob_shape *shape, const uint8_t *bytes,
	       size_t size, struct blob *ret_blob)
{
	struct cursor c = { .bytes = bytes, .size = size };
	struct blob blob;

	take_head(&c, shape->lead, &blob);
	if (take_u32(&c) != 0 || take_u32(&c) != shape->n_layer)
		return -EPROTO;
	for (uint32_t i = 0; i < shape->n_row; i++) {
		struct blob_row row;

		if (!take_row(&c, blob.cells, &row) ||
		    row.type != shape->rows[i].type ||
		    row.bytes != shape->rows[i].bytes)
			return -EPROTO;
	}
	if (!at_end(&c))
		return -EPROTO;
	*ret_blob = blob;
	return 0;
}

int blob_check(const struct blob_shape *shape, const uint8_t *bytes,
	       size_t size, uint32_t cells, uint32_t first)
{
	struct blob blob;
	int r;

	if (size != blob_bytes(shape, 1, cells))
		return -EPROTO;
	r = blob_parse(shape, bytes, size, &blob);
	if (r)
		return r;
	if (blob.n_stream != 1 || blob.cells != cells)
		return -EPROTO;
	for (uint32_t i = 0; i < cells; i++)
		if (blob_position(bytes, &blob, i) != (int32_t)(first + i))
			return -EPROTO;
	return 0;
}

int32_t blob_position(const uint8_t *bytes, const struct blob *blob,
		      uint32_t cell)
{
	const uint8_t *at = bytes + blob->cell + (size_t)cell * CELL_BYTES;
	uint32_t word[2];

	memcpy(word, at, sizeof(word));
	return word[1] == 1 ? (int32_t)word[0] : -1;
}

size_t blob_bytes(const struct blob_shape *shape, uint32_t n_stream,
		  uint32_t cells)
{
	return shape->lead + 4 + 4ull * n_stream + 8 +
	       (size_t)shape->n_row * ROW_HEAD +
	       (CELL_BYTES + shape->token_bytes) * cells;
}

void blob_write(const struct blob_shape *shape, uint8_t *bytes,
		uint32_t n_stream, uint32_t cells, uint32_t first,
		struct blob *ret_blob)
{
	uint8_t *at = bytes;

	if (shape->lead)
		at = put_u32(put_u32(at, BLOB_MAGIC), 0);
	at = put_u32(put_u32(at, n_stream), cells);
	ret_blob->n_stream = n_stream;
	ret_blob->cells = cells;
	ret_blob->cell = (size_t)(at - bytes);
	for (uint32_t i = 0; i < cells; i++)
		at = put_u32(put_u32(put_u32(at, first + i), 1), 0);
	ret_blob->data = (size_t)(at - bytes);
	at = put_u32(put_u32(at, 0), shape->n_layer);
	for (uint32_t i = 0; i < shape->n_row; i++) {
		at = put_u32(at, (uint32_t)shape->rows[i].type);
		memcpy(at, &shape->rows[i].bytes, 8);
		at += 8 + shape->rows[i].bytes * cells;
	}
	memset(at, 0, 4ull * (n_stream - 1));
}

struct blob blob_canonical(const struct blob_shape *shape, uint32_t cells)
{
	size_t cell = shape->lead + 8;

	return (struct blob){ .n_stream = 1,
			      .cells = cells,
			      .cell = cell,
			      .data = cell + (size_t)CELL_BYTES * cells };
}

void blob_copy(const struct blob_shape *shape, uint8_t *dst,
	       const struct blob *to, uint32_t to_cell, const uint8_t *src,
	       const struct blob *from, uint32_t from_cell, uint32_t n)
{
	uint8_t *d = dst + to->data + 8;
	const uint8_t *s = src + from->data + 8;

	for (uint32_t i = 0; i < shape->n_row; i++) {
		size_t row = shape->rows[i].bytes;

		d += ROW_HEAD;
		s += ROW_HEAD;
		memcpy(d + row * to_cell, s + row * from_cell, row * n);
		d += row * to->cells;
		s += row * from->cells;
	}
}

size_t blob_describe(const struct blob_shape *shape, char *buf, size_t cap)
{
	size_t at = 0;
	int n = snprintf(buf, cap, "lead %u, %u layers, %u rows:", shape->lead,
			 shape->n_layer, shape->n_row);

	at += (size_t)n;
	for (uint32_t i = 0; i < shape->n_row; i++) {
		n = snprintf(at < cap ? buf + at : NULL,
			     at < cap ? cap - at : 0, " %d/%llu",
			     (int)shape->rows[i].type,
			     (unsigned long long)shape->rows[i].bytes);
		at += (size_t)n;
	}
	return at;
}
