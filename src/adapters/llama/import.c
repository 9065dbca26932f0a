/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the pool into the engine.
 *
 * Blocks are pinned and verified together. Then OC_LLAMA_BLOCKS hands each
 * frame to the engine as it lies, as the state of the scratch sequence, and
 * lets the wanted sequence have its cells; OC_LLAMA_WHOLE puts one state
 * together from the frames' rows. In both the sequence holds whole tokens
 * after every step, and what it holds is what is told.
 */
#include <errno.h>
#include <stdlib.h>
#include "adapters/llama/internal.h"
#include "base/clock.h"
#include "base/fault.h"

#define HASH_NS_PER_BYTE 2u  /* far more than it takes */
#define PATIENCE	 10u /* timeouts */

/* One import under way. */
struct import {
	int32_t seq;
	size_t n, held; /* tokens of the prompt, and there before */
	size_t kept;	/* of those, not let go */
	size_t first;	/* block of pins[0] */
	size_t blocks;	/* pinned and usable */
	size_t take;	/* tokens that the sequence shall hold */
	struct oc_pin *pins;
	uint64_t fetch_ns; /* that blocks on the drive were waited for */
};

static size_t start_of(const oc_llama *l, size_t block)
{
	return block * l->block_tokens;
}

/* Is the frame what the engine would have written for that block? */
static int check_block(oc_llama *l, const struct import *m, size_t i)
{
	const struct oc_pin *pin = &m->pins[i];
	int r = blob_check(&l->shape, pin->data, pin->bytes, l->block_tokens,
			   (uint32_t)start_of(l, m->first + i));

	if (r)
		llama_fail(l, r, "block %zu has another layout", m->first + i);
	return r;
}

static int refused(oc_llama *l, size_t tokens)
{
	return llama_fail(l, -ENOSPC,
			  "the engine did not take %zu tokens of "
			  "state: no room?",
			  tokens);
}

/* ---- by blocks */

/* What the sequence holds of the block already is let go first: the rest alone
 * would lie behind a hole as large as that, and the engine sums in the order of
 * its cells. */
static int import_block(oc_llama *l, struct import *m, size_t i)
{
	const struct oc_pin *pin = &m->pins[i];
	size_t from = start_of(l, m->first + i);
	size_t to = MIN(from + l->block_tokens, m->take);
	int r = check_block(l, m, i);

	if (r)
		return r;
	if (m->kept > from) {
		llama_drop(l, m->seq, from);
		m->kept = from;
	}
	if (l->e.state_seq_set_data(l->ctx, pin->data, pin->bytes,
				    l->scratch) == pin->bytes)
		l->e.memory_seq_cp(l->memory, l->scratch, m->seq, (int32_t)from,
				   (int32_t)to);
	else
		r = refused(l, l->block_tokens);
	if (r == 0)
		l->stat.imported_moved += pin->bytes;
	return r;
}

/* Each state takes the place of the one before in the scratch sequence, so that
 * it need not be cleared in between: that is a walk over all cells. */
static int import_blocks(oc_llama *l, struct import *m)
{
	int r = 0;

	for (size_t i = 0; i < m->blocks && r == 0; i++) {
		r = import_block(l, m, i);
		if (r) {
			m->take = i ? start_of(l, m->first + i) : m->kept;
			m->blocks = i;
		}
	}
	llama_drop(l, l->scratch, 0);
	return r;
}

/* ---- whole */

static void assemble(oc_llama *l, const struct import *m)
{
	struct blob from = blob_canonical(&l->shape, l->block_tokens), to;

	blob_write(&l->shape, l->buffer, l->n_stream, (uint32_t)m->take, 0,
		   &to);
	for (size_t i = 0; i < m->blocks; i++) {
		const struct oc_pin *pin = &m->pins[i];
		size_t start = start_of(l, i);

		blob_copy(&l->shape, l->buffer, &to, (uint32_t)start, pin->data,
			  &from, 0,
			  (uint32_t)MIN(l->block_tokens, m->take - start));
	}
}

/* The leading blocks that are as they should be. */
static int import_sound(oc_llama *l, struct import *m)
{
	int r = 0;

	for (size_t i = 0; i < m->blocks && r == 0; i++) {
		r = check_block(l, m, i);
		if (r) {
			m->blocks = i;
			m->take = MIN(m->take, start_of(l, i));
		}
	}
	return r;
}

static int import_whole(oc_llama *l, struct import *m)
{
	int sound = import_sound(l, m), r;
	size_t size = blob_bytes(&l->shape, l->n_stream, (uint32_t)m->take);

	if (m->take <= m->held) {
		m->take = m->held;
		m->blocks = 0;
		return sound;
	}
	r = llama_buffer(l, size);
	if (r)
		return r;
	assemble(l, m);
	if (l->e.state_seq_set_data(l->ctx, l->buffer, size, m->seq) != size) {
		r = refused(l, m->take);
		llama_drop(l, m->seq, 0);
		m->take = 0;
		m->blocks = 0;
		return r;
	}
	l->stat.imported_moved += 2 * m->blocks * l->block_bytes;
	return sound;
}

/* ---- all of it */

static int import_pin(oc_llama *l, struct import *m, const struct track *t,
		      size_t blocks, uint64_t wait_ns)
{
	struct oc_match_options o = OC_MATCH_INIT;
	int r;

	o.pin_flags = OC_PIN_VERIFY;
	o.fetch_ns = wait_ns;
	r = oc_match_pin(l->ns, t->keys + m->first, blocks, &o, m->pins,
			 &m->blocks);
	if (r)
		llama_fail(l, r, "match: %s", oc_client_error(l->client));
	return r;
}

/* What of the rest is on the node's drive and worth waiting for. */
static int import_below(oc_llama *l, struct import *m, const struct track *t,
			size_t blocks)
{
	size_t resident = m->blocks, worth;
	uint64_t wait_ns, begin;
	int r = llama_below(l, t->keys + m->first, blocks,
			    start_of(l, m->first), m->n, &worth, &wait_ns);

	if (r)
		llama_fail(l, r, "match: %s", oc_client_error(l->client));
	if (r || worth <= resident)
		return r == -ENOMEM ? r : 0;
	begin = clock_ns();
	oc_unpin_batch(l->ns, m->pins, m->blocks);
	m->blocks = 0;
	r = import_pin(l, m, t, worth, MAX(wait_ns, NS_PER_US));
	m->fetch_ns = clock_ns() - begin;
	l->stat.fetch_ns += m->fetch_ns;
	if (m->blocks > resident)
		l->stat.fetched_blocks += m->blocks - resident;
	return r;
}

/* Pins what is known of the prompt beyond what the sequence holds. */
static int import_find(oc_llama *l, struct import *m, const struct track *t)
{
	size_t blocks = m->n / l->block_tokens;
	int r;

	m->first = l->way == OC_LLAMA_WHOLE ? 0 : m->held / l->block_tokens;
	if (start_of(l, blocks) <= m->held)
		return 0;
	blocks -= m->first;
	m->pins = mem_array(blocks, sizeof(*m->pins));
	if (!m->pins)
		return -ENOMEM;
	r = import_pin(l, m, t, blocks, 0);
	if (r == 0 && m->blocks < blocks)
		r = import_below(l, m, t, blocks);
	return r;
}

/* How many tokens of what was found. */
static void import_cut(const oc_llama *l, struct import *m)
{
	size_t take = MIN(start_of(l, m->first + m->blocks), m->n - 1);

	if (l->exact)
		take = oc_llama_exact(take, m->n, l->n_batch, l->n_ubatch);
	m->take = MAX(take, m->held);
}

static int import_move(oc_llama *l, struct import *m)
{
	size_t pinned = m->blocks, wanted;
	uint64_t begin = clock_ns(), ns;
	int r;

	wanted = DIV_UP(m->take, l->block_tokens) - m->first;
	m->blocks = MIN(m->blocks, wanted);
	r = l->way == OC_LLAMA_BLOCKS ? import_blocks(l, m)
				      : import_whole(l, m);
	ns = clock_ns() - begin;
	l->stat.import_ns += ns;
	if (m->take > m->held) {
		l->stat.imports++;
		l->stat.imported_blocks += m->blocks;
		l->stat.imported_bytes += m->blocks * l->block_bytes;
	}
	oc_unpin_batch(l->ns, m->pins, pinned);
	return r;
}

/* A cut that was not planned: to where exact logits allow it. */
static void import_settle(oc_llama *l, struct import *m)
{
	size_t exact = oc_llama_exact(m->take, m->n, l->n_batch, l->n_ubatch);

	if (!l->exact || exact >= m->take || m->take <= m->held)
		return;
	m->take = MAX(exact, m->held);
	llama_drop(l, m->seq, m->take);
}

/* A look-up needs the server only for a slab that it meets for the first time,
 * and then waits as long as the client does. Did it? What was found had to be
 * mapped and hashed, too. */
static bool import_waited(const oc_llama *l, const struct import *m,
			  uint64_t took)
{
	if (m->blocks == 0)
		return took >= l->timeout_ns;
	return took >= PATIENCE * l->timeout_ns +
			       m->blocks * l->block_bytes * HASH_NS_PER_BYTE;
}

/* When it did, the next ones would as well: none for a while. */
static int import_look(oc_llama *l, struct import *m, const struct track *t)
{
	uint64_t begin = clock_ns(), took;
	int r;

	if (begin < l->deaf_until)
		return 0;
	r = import_find(l, m, t);
	took = clock_ns() - begin - m->fetch_ns;
	l->stat.match_ns += took;
	if (r == -ENOMEM || (r == 0 && !import_waited(l, m, took)))
		return r;
	l->deaf_until = clock_ns() + NS_PER_S;
	if (r == 0 && m->blocks == 0)
		r = llama_fail(l, -ETIMEDOUT, "match: the node did not answer");
	return r;
}

static int import_all(oc_llama *l, struct import *m, struct track *t)
{
	uint64_t begin = clock_ns();
	int r = import_look(l, m, t);

	if (r == 0 && m->blocks) {
		import_cut(l, m);
		if (m->take > m->held) {
			t->sealed = MAX(t->sealed, m->first + m->blocks);
			r = import_move(l, m);
			if (r)
				import_settle(l, m);
		} else {
			oc_unpin_batch(l->ns, m->pins, m->blocks);
		}
	}
	if (m->take > m->held)
		plan_imported(&l->plan, m->take - m->held,
			      clock_ns() - begin - m->fetch_ns);
	free(m->pins);
	return r;
}

int oc_llama_import(oc_llama *l, int32_t seq, const int32_t *tokens, size_t n,
		    size_t *ret_past)
{
	struct import m = { .seq = seq, .n = n };
	int r = llama_held(l, seq, &m.held);

	if (r)
		return r;
	if (n == 0 || m.held >= n || n > INT32_MAX)
		return llama_fail(l, -EINVAL,
				  "%zu tokens, and the sequence holds %zu", n,
				  m.held);
	m.take = m.kept = m.held;
	r = track_take(&l->tracks[seq], tokens, n);
	if (r == 0 && !plan_worth(&l->plan))
		l->stat.skipped_imports++;
	else if (r == 0)
		r = import_all(l, &m, &l->tracks[seq]);
	if (r)
		l->stat.import_failures++;
	if (m.take > m.held)
		l->stat.tokens_reused += m.take - m.held;
	l->depth = m.take;
	*ret_past = m.take;
	return 0;
}
