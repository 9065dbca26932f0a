/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/llama/blob.h"

#include <stdlib.h>
#include "tests/test.h"

#define LAYERS 3

struct made {
	struct blob_row rows[2 * LAYERS];
	struct blob_shape shape;
	struct blob blob;
	uint8_t *bytes;
	size_t size;
};

static struct made make(uint32_t n_stream, uint32_t cells, uint32_t first,
			bool v, uint32_t lead)
{
	static struct made m;

	m.shape = (struct blob_shape){ .lead = lead,
				       .n_layer = LAYERS,
				       .n_row = v ? 2 * LAYERS : LAYERS,
				       .rows = m.rows };
	for (uint32_t i = 0; i < m.shape.n_row; i++) {
		m.rows[i] = (struct blob_row){ i < LAYERS ? 1 : 0, 8 + 4 * i };
		m.shape.token_bytes += m.rows[i].bytes;
	}
	m.size = blob_bytes(&m.shape, n_stream, cells);
	m.bytes = calloc(1, m.size);
	CHECK(m.bytes != NULL);
	blob_write(&m.shape, m.bytes, n_stream, cells, first, &m.blob);
	return m;
}

static void learns(uint32_t n_stream, bool v, uint32_t lead)
{
	struct made m = make(n_stream, 5, 32, v, lead);
	struct blob_shape s;
	struct blob b;

	CHECK_OK(blob_learn(m.bytes, m.size, &s, &b));
	CHECK_INT(s.lead, ==, lead);
	CHECK_INT(s.n_layer, ==, LAYERS);
	CHECK_INT(s.n_row, ==, m.shape.n_row);
	CHECK_INT(s.token_bytes, ==, m.shape.token_bytes);
	for (uint32_t i = 0; i < s.n_row; i++) {
		CHECK_INT(s.rows[i].type, ==, m.rows[i].type);
		CHECK_INT(s.rows[i].bytes, ==, m.rows[i].bytes);
	}
	CHECK_INT(b.n_stream, ==, n_stream);
	CHECK_INT(b.cells, ==, 5);
	CHECK_INT(blob_position(m.bytes, &b, 4), ==, 36);
	blob_fini(&s);
	free(m.bytes);
}

TEST(learn_finds_the_shape)
{
	learns(1, true, 8);
	learns(1, true, 0);
	learns(1, false, 8);
	learns(4, true, 8);
	learns(64, false, 8);
	learns(64, true, 0);
}

TEST(learn_refuses_every_cut)
{
	struct made m = make(1, 2, 0, true, 8);

	for (size_t n = 0; n < m.size; n++) {
		uint8_t *cut = malloc(n + 1);
		struct blob_shape s;
		struct blob b;

		memcpy(cut, m.bytes, n);
		/* What ends behind K is a model without V. */
		if (blob_learn(cut, n, &s, &b) == 0) {
			CHECK_INT(s.n_row, ==, LAYERS);
			blob_fini(&s);
		}
		CHECK_INT(blob_parse(&m.shape, cut, n, &b), ==, -EPROTO);
		free(cut);
	}
	free(m.bytes);
}

TEST(transposed_v_is_told_apart)
{
	struct made m = make(1, 2, 0, true, 8);
	struct blob_shape s;
	struct blob b;
	uint32_t one = 1;

	memcpy(m.bytes + m.blob.data, &one, 4);
	CHECK_INT(blob_learn(m.bytes, m.size, &s, &b), ==, -ENOTSUP);
	CHECK_INT(blob_parse(&m.shape, m.bytes, m.size, &b), ==, -EPROTO);
	free(m.bytes);
}

/* Whatever header word differs, the blob is refused. */
TEST(check_sees_every_changed_word_outside_the_rows)
{
	struct made m = make(1, 4, 16, true, 8);
	uint8_t *rows = calloc(1, m.size);
	struct made ones = make(1, 4, 16, true, 8);

	/* Mark the rows: those bytes may be anything. */
	for (uint32_t i = 0; i < 4; i++) {
		uint8_t *row = malloc(m.size);

		memset(row, 0xff, m.size);
		blob_copy(&m.shape, rows, &m.blob, i, row, &ones.blob, i, 1);
		free(row);
	}
	CHECK_OK(blob_check(&m.shape, m.bytes, m.size, 4, 16));
	for (size_t i = 0; i < m.size; i++) {
		bool seq = (i >= 4 && i < 8) ||
			   (i >= m.blob.cell && i < m.blob.data &&
			    (i - m.blob.cell) % 12 >= 8);
		int r;

		m.bytes[i] ^= 0x40;
		r = blob_check(&m.shape, m.bytes, m.size, 4, 16);
		CHECK_INT(r, ==, rows[i] || seq ? 0 : -EPROTO);
		m.bytes[i] ^= 0x40;
	}
	CHECK_INT(blob_check(&m.shape, m.bytes, m.size, 4, 32), ==, -EPROTO);
	CHECK_INT(blob_check(&m.shape, m.bytes, m.size, 5, 16), ==, -EPROTO);
	free(rows);
	free(ones.bytes);
	free(m.bytes);
}

TEST(learn_survives_any_bytes)
{
	uint64_t state = 5;

	for (int round = 0; round < 20000; round++) {
		struct made m = make(1 + round % 3, 1 + round % 4, 0, round & 1,
				     round & 2 ? 8 : 0);
		struct blob_shape s;
		struct blob b;

		for (int i = 0; i < 4; i++) {
			state = state * 6364136223846793005ull + 1;
			m.bytes[(state >> 33) % m.size] =
				(uint8_t)(state >> 25);
		}
		if (blob_learn(m.bytes, m.size, &s, &b) == 0)
			blob_fini(&s);
		(void)blob_parse(&m.shape, m.bytes, m.size, &b);
		free(m.bytes);
	}
}

TEST(copy_moves_rows_between_blobs)
{
	struct made big = make(3, 8, 0, true, 8);
	struct made one = make(1, 2, 4, true, 8);
	struct blob b;

	/* Cells 4 and 5 of the big one are all 0x55. */
	{
		uint8_t *fives = malloc(one.size);

		memset(fives, 0x55, one.size);
		blob_copy(&one.shape, one.bytes, &one.blob, 0, fives, &one.blob,
			  0, 2);
		free(fives);
	}
	blob_copy(&big.shape, big.bytes, &big.blob, 4, one.bytes, &one.blob, 0,
		  2);
	CHECK_OK(blob_parse(&big.shape, big.bytes, big.size, &b));
	CHECK_INT(b.n_stream, ==, 3);
	CHECK_OK(blob_check(&one.shape, one.bytes, one.size, 2, 4));
	{
		size_t fives = 0;

		for (size_t i = 0; i < big.size; i++)
			fives += big.bytes[i] == 0x55;
		CHECK_INT(fives, ==, 2 * big.shape.token_bytes);
	}
	free(big.bytes);
	free(one.bytes);
}

TEST(describe_differs_where_the_shape_does)
{
	struct made m = make(1, 1, 0, true, 8);
	char a[512], b[512];
	size_t n = blob_describe(&m.shape, a, sizeof(a));

	CHECK_INT(n, ==, strlen(a));
	m.shape.rows[4].type = 8;
	blob_describe(&m.shape, b, sizeof(b));
	CHECK(strcmp(a, b) != 0);
	CHECK_INT(blob_describe(&m.shape, b, 10), ==, n);
	free(m.bytes);
}
