/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a sequence as an engine wrote it: what is learned from it holds
 * for it, and its canonical form is accepted. */
#include <stdlib.h>
#include "adapters/llama/blob.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct blob_shape *s, const struct blob *b,
		  const uint8_t *data)
{
	size_t bytes = blob_bytes(s, 1, b->cells);
	uint8_t *copy = malloc(bytes);
	struct blob to;

	if (!copy)
		return;
	blob_write(s, copy, 1, b->cells, 0, &to);
	blob_copy(s, copy, &to, 0, data, b, 0, b->cells);
	must(blob_check(s, copy, bytes, b->cells, 0) == 0);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob_shape s;
	struct blob b, c;

	if (blob_learn(data, size, &s, &b))
		return 0;
	must(b.cells > 0 && b.n_stream > 0);
	must(s.n_row == s.n_layer || s.n_row == 2 * s.n_layer);
	must(blob_parse(&s, data, size, &c) == 0);
	must(c.cells == b.cells && c.data == b.data);
	for (uint32_t i = 0; i < b.cells; i++)
		(void)blob_position(data, &b, i);
	again(&s, &b, data);
	blob_fini(&s);
	return 0;
}
