/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/adapters/fake_engine.h"

#include <stdlib.h>
#include "tests/test.h"

#define ROW   16u
#define MAGIC 0xaf143cd8u

struct fake_engine fake_engine;

static struct {
	int32_t pos;
	uint32_t seqs; /* bits; 0: free */
	uint64_t value;
} cells[FAKE_CELLS];

static uint32_t seqs(void)
{
	return fake_engine.n_seq ? fake_engine.n_seq : 2;
}

static uint32_t streams(void)
{
	return fake_engine.n_stream ? fake_engine.n_stream : 1;
}

static uint32_t layers(void)
{
	return fake_engine.layers ? fake_engine.layers : 2;
}

/* What a row of layer `row` says in a cell of this value. */
static void row_of(uint64_t value, uint32_t row, uint64_t ret[2])
{
	ret[0] = value * 31 + row;
	ret[1] = ~value ^ row;
}

/* ---- cells */

static int find_free(void)
{
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs == 0)
			return i;
	return -1;
}

static int find_cell(int32_t seq, int32_t pos)
{
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs & 1u << seq && cells[i].pos == pos)
			return i;
	return -1;
}

static bool seq_rm(void *mem, int32_t seq, int32_t p0, int32_t p1)
{
	(void)mem;
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs & 1u << seq && cells[i].pos >= p0 &&
		    (p1 < 0 || cells[i].pos < p1))
			cells[i].seqs &= ~(1u << seq);
	return true;
}

static void seq_cp(void *mem, int32_t from, int32_t to, int32_t p0, int32_t p1)
{
	(void)mem;
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs & 1u << from && cells[i].pos >= p0 &&
		    (p1 < 0 || cells[i].pos < p1))
			cells[i].seqs |= 1u << to;
}

static int32_t pos_most(void *mem, int32_t seq)
{
	int32_t most = -1;

	(void)mem;
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs & 1u << seq && cells[i].pos > most)
			most = cells[i].pos;
	return most;
}

static int32_t pos_least(void *mem, int32_t seq)
{
	int32_t least = -1;

	(void)mem;
	for (int i = 0; i < FAKE_CELLS; i++)
		if (cells[i].seqs & 1u << seq &&
		    (least < 0 || cells[i].pos < least))
			least = cells[i].pos;
	return least;
}

static void compute(int32_t seq, int32_t token, int32_t pos)
{
	int before = pos ? find_cell(seq, pos - 1) : -1, at = find_free();
	uint64_t value = before >= 0 ? cells[before].value : 1;

	CHECK_INT(at, >=, 0);
	CHECK(pos == 0 || before >= 0);
	cells[at].pos = pos;
	cells[at].seqs = 1u << seq;
	cells[at].value = value * 1000003 + (uint64_t)token + 1;
}

/* ---- states */

struct writer {
	uint8_t *at;
	size_t n;
};

static void put(struct writer *w, const void *data, size_t n)
{
	if (w->at)
		memcpy(w->at + w->n, data, n);
	w->n += n;
}

static void put_u32(struct writer *w, uint32_t v)
{
	put(w, &v, 4);
}

static uint32_t cells_of(int32_t seq, int *list)
{
	uint32_t n = 0;

	for (int i = 0; i < FAKE_CELLS; i++) {
		int at = fake_engine.backwards ? FAKE_CELLS - 1 - i : i;

		if (cells[at].seqs & 1u << seq)
			list[n++] = at;
	}
	return n;
}

static void put_rows(struct writer *w, const int *list, uint32_t n,
		     uint32_t first)
{
	for (uint32_t l = first; l < first + layers(); l++) {
		uint64_t size = ROW, row[2];

		put_u32(w, (uint32_t)fake_engine.type);
		put(w, &size, 8);
		for (uint32_t i = 0; i < n; i++) {
			row_of(cells[list[i]].value, l, row);
			put(w, row, ROW);
		}
	}
}

static void put_stream(struct writer *w, int32_t seq)
{
	int list[FAKE_CELLS];
	uint32_t n = cells_of(seq, list);

	put_u32(w, n);
	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		put_u32(w, (uint32_t)cells[list[i]].pos);
		put_u32(w, 1);
		put_u32(w, (uint32_t)seq);
	}
	put_u32(w, fake_engine.v_trans);
	put_u32(w, layers());
	put_rows(w, list, n, 0);
	if (!fake_engine.no_v)
		put_rows(w, list, n, layers());
}

static size_t put_state(uint8_t *out, int32_t seq)
{
	struct writer w = { out, 0 };
	uint32_t mine = (uint32_t)seq % streams();

	if (!fake_engine.no_lead) {
		put_u32(&w, MAGIC);
		put_u32(&w, (uint32_t)seq);
	}
	put_u32(&w, streams());
	for (uint32_t s = 0; s < streams(); s++) {
		if (s == mine)
			put_stream(&w, seq);
		else
			put_u32(&w, 0);
	}
	if (fake_engine.trailing)
		put_u32(&w, 7);
	return w.n;
}

static size_t get_size(struct llama_context *ctx, int32_t seq)
{
	(void)ctx;
	return put_state(NULL, seq);
}

static size_t get_data(struct llama_context *ctx, uint8_t *out, size_t size,
		       int32_t seq)
{
	(void)ctx;
	fake_engine.gets++;
	if (fake_engine.on_get)
		fake_engine.on_get(fake_engine.on_get_ctx);
	if (put_state(NULL, seq) > size)
		return 0;
	return put_state(out, seq);
}

static uint32_t get_u32(const uint8_t **at)
{
	uint32_t v;

	memcpy(&v, *at, 4);
	*at += 4;
	return v;
}

/* A cell's value, when all of its rows say the same. */
static bool read_value(const uint8_t *data, uint32_t n, uint32_t cell,
		       uint64_t *ret)
{
	uint32_t rows = layers() * (fake_engine.no_v ? 1 : 2);
	uint64_t row[2], want[2], value = 0;

	for (uint32_t l = 0; l < rows; l++) {
		memcpy(row, data + (12 + (size_t)n * ROW) * l + 12 + cell * ROW,
		       ROW);
		if (l == 0)
			value = ~row[1];
		row_of(value, l, want);
		if (memcmp(row, want, ROW))
			return false;
	}
	*ret = value;
	return true;
}

static bool take_cells(const uint8_t *at, uint32_t n, int32_t seq)
{
	const uint8_t *meta = at, *data = at + 12 * (size_t)n + 8;

	for (uint32_t i = 0; i < n; i++) {
		int cell = find_free();

		if (cell < 0)
			return false;
		cells[cell].pos = (int32_t)get_u32(&meta);
		meta += 8;
		cells[cell].seqs = 1u << seq;
		/* As the real one: a wrong payload is not noticed. */
		if (!read_value(data, n, i, &cells[cell].value))
			cells[cell].value = 0xbad;
	}
	return true;
}

static size_t set_data(struct llama_context *ctx, const uint8_t *in,
		       size_t size, int32_t seq)
{
	const uint8_t *at = in + (fake_engine.no_lead ? 0 : 8);
	uint32_t n = 0;

	(void)ctx;
	if (fake_engine.on_set)
		fake_engine.on_set(fake_engine.on_set_ctx);
	seq_rm(NULL, seq, 0, -1);
	fake_engine.sets++;
	if (fake_engine.refuse_after &&
	    fake_engine.sets > fake_engine.refuse_after)
		return 0;
	if (get_u32(&at) != streams())
		return 0;
	for (uint32_t s = 0; s < streams() && n == 0; s++)
		n = get_u32(&at);
	if (n == 0 || !take_cells(at, n, seq)) {
		seq_rm(NULL, seq, 0, -1);
		return 0;
	}
	return size;
}

/* ---- the rest */

static int32_t decode(struct llama_context *ctx, struct engine_batch b)
{
	(void)ctx;
	fake_engine.decodes++;
	for (int32_t i = 0; i < b.n_tokens; i++)
		compute(b.seq_id[i][0], b.token[i], b.pos[i]);
	return 0;
}

static const struct llama_model *get_model(const struct llama_context *ctx)
{
	return (const struct llama_model *)(const void *)ctx;
}

static void *get_memory(const struct llama_context *ctx)
{
	return (void *)(uintptr_t)ctx;
}

static uint32_t n_ctx(const struct llama_context *ctx)
{
	(void)ctx;
	return FAKE_CELLS;
}

static uint32_t n_ubatch(const struct llama_context *ctx)
{
	(void)ctx;
	return 64;
}

static uint32_t n_seq_max(const struct llama_context *ctx)
{
	(void)ctx;
	return seqs();
}

static int32_t rope_type(const struct llama_model *m)
{
	(void)m;
	return fake_engine.rope;
}

static int32_t n_swa(const struct llama_model *m)
{
	(void)m;
	return fake_engine.swa;
}

static bool is_recurrent(const struct llama_model *m)
{
	(void)m;
	return fake_engine.recurrent;
}

static bool is_hybrid(const struct llama_model *m)
{
	(void)m;
	return false;
}

struct engine fake_engine_reset(void)
{
	memset(&fake_engine, 0, sizeof(fake_engine));
	memset(cells, 0, sizeof(cells));
	fake_engine.type = 1;
	return (struct engine){
		.get_model = get_model,
		.get_memory = get_memory,
		.n_ctx = n_ctx,
		.n_batch = n_ctx,
		.n_ubatch = n_ubatch,
		.n_seq_max = n_seq_max,
		.model_rope_type = rope_type,
		.model_n_swa = n_swa,
		.model_is_recurrent = is_recurrent,
		.model_is_hybrid = is_hybrid,
		.memory_seq_rm = seq_rm,
		.memory_seq_cp = seq_cp,
		.memory_seq_pos_min = pos_least,
		.memory_seq_pos_max = pos_most,
		.state_seq_get_size = get_size,
		.state_seq_get_data = get_data,
		.state_seq_set_data = set_data,
		.decode = decode,
	};
}

struct llama_context *fake_engine_context(void)
{
	return (struct llama_context *)(void *)cells;
}

void fake_engine_compute(int32_t seq, const int32_t *tokens, size_t past,
			 size_t n)
{
	for (size_t i = past; i < n; i++)
		compute(seq, tokens[i], (int32_t)i);
}

bool fake_engine_holds(int32_t seq, const int32_t *tokens, size_t n)
{
	uint64_t value = 1;

	if (pos_most(NULL, seq) + 1 != (int32_t)n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int at = find_cell(seq, (int32_t)i);

		value = value * 1000003 + (uint64_t)tokens[i] + 1;
		if (at < 0 || cells[at].value != value)
			return false;
	}
	return true;
}
