/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the engine into the pool.
 *
 * Frames are granted a few at a time. OC_LLAMA_BLOCKS lets the scratch sequence
 * have the cells of one block and has the engine write that sequence's state
 * straight into the frame; OC_LLAMA_WHOLE has it write the whole sequence into
 * a buffer and copies rows from there. A frame that is not filled to the end
 * goes back: nobody has seen it.
 */
#include <errno.h>
#include <stdlib.h>
#include "adapters/llama/internal.h"
#include "base/clock.h"
#include "base/fault.h"

#define WINDOW	   4u  /* frames granted at once, between looks at the clock */
#define WINDOW_ALL 32u /* when there is no hurry */
#define PATIENCE   10u /* timeouts, when there is no hurry */

/* One export under way. */
struct export
{
	int32_t seq;
	struct track *t;
	size_t full;	  /* blocks that the sequence holds */
	uint64_t wait_ns; /* for frames */
	bool hurry;	  /* the caller generates: waiting is no failure yet */
	/* OC_LLAMA_WHOLE: the sequence's state in l->buffer. */
	struct blob blob;
	uint32_t *cells; /* by position */
};

struct window {
	size_t n;
	struct oc_grant grants[WINDOW_ALL];
	uint64_t sums[WINDOW_ALL];
	int results[WINDOW_ALL];
};

static int odd(oc_llama *l, const char *what)
{
	return llama_fail(l, -EPROTO,
			  "the engine's state is not what it was: "
			  "%s",
			  what);
}

/* Which cell has which position: cells[position - first], n of them. */
static int order(oc_llama *l, const uint8_t *bytes, const struct blob *b,
		 size_t first, uint32_t *cells, size_t n)
{
	size_t seen = 0;

	for (size_t i = 0; i < n; i++)
		cells[i] = UINT32_MAX;
	for (uint32_t i = 0; i < b->cells; i++) {
		int64_t at = blob_position(bytes, b, i) - (int64_t)first;

		if (at < 0 || (size_t)at >= n || cells[at] != UINT32_MAX)
			continue;
		cells[at] = i;
		seen++;
	}
	return seen == n ? 0 : odd(l, "positions are missing");
}

/* Rows of the cells in their order, runs of neighbours together. */
static void gather(oc_llama *l, uint8_t *dst, const struct blob *to,
		   const uint8_t *src, const struct blob *from,
		   const uint32_t *cells)
{
	for (uint32_t i = 0, n; i < to->cells; i += n) {
		for (n = 1; i + n < to->cells; n++)
			if (cells[i + n] != cells[i] + n)
				break;
		blob_copy(&l->shape, dst, to, i, src, from, cells[i], n);
	}
}

/* ---- filling one frame */

/* The engine's cells are not in the order of their positions (it filled holes
 * that another sequence had left): once more, through the buffer. */
static int reorder(oc_llama *l, uint8_t *frame, const struct blob *from,
		   size_t first)
{
	uint32_t cells[64];
	struct blob to;
	int r = order(l, frame, from, first, cells, l->block_tokens);

	if (r == 0)
		r = llama_buffer(l, l->block_bytes);
	if (r)
		return r;
	memcpy(l->buffer, frame, l->block_bytes);
	blob_write(&l->shape, frame, 1, l->block_tokens, (uint32_t)first, &to);
	gather(l, frame, &to, l->buffer, from, cells);
	l->stat.exported_moved += 2 * l->block_bytes;
	return 0;
}

static bool ascending(const uint8_t *frame, const struct blob *b, size_t first)
{
	for (uint32_t i = 0; i < b->cells; i++)
		if (blob_position(frame, b, i) != (int32_t)(first + i))
			return false;
	return true;
}

static int fill_block(oc_llama *l, struct export *x, size_t block,
		      uint8_t *frame)
{
	size_t first = block * l->block_tokens, got;
	struct blob b;

	l->e.memory_seq_cp(l->memory, x->seq, l->scratch, (int32_t)first,
			   (int32_t)(first + l->block_tokens));
	got = l->e.state_seq_get_data(l->ctx, frame, l->block_bytes,
				      l->scratch);
	llama_drop(l, l->scratch, 0);
	if (got != l->block_bytes)
		return odd(l, "another size");
	if (blob_parse(&l->shape, frame, got, &b) || b.n_stream != 1 ||
	    b.cells != l->block_tokens)
		return odd(l, "another layout");
	l->stat.exported_moved += l->block_bytes;
	if (!ascending(frame, &b, first))
		return reorder(l, frame, &b, first);
	blob_write(&l->shape, frame, 1, l->block_tokens, (uint32_t)first, &b);
	return 0;
}

static int fill_whole(oc_llama *l, struct export *x, size_t block,
		      uint8_t *frame)
{
	size_t first = block * l->block_tokens;
	struct blob to;

	blob_write(&l->shape, frame, 1, l->block_tokens, (uint32_t)first, &to);
	gather(l, frame, &to, l->buffer, &x->blob, x->cells + first);
	l->stat.exported_moved += l->block_bytes;
	return 0;
}

/* The whole sequence into the buffer. */
static int read_whole(oc_llama *l, struct export *x)
{
	size_t n = x->full * l->block_tokens;
	size_t size = l->e.state_seq_get_size(l->ctx, x->seq);
	int r = llama_buffer(l, size);

	if (r)
		return r;
	if (l->e.state_seq_get_data(l->ctx, l->buffer, size, x->seq) != size)
		return odd(l, "no state");
	l->stat.exported_moved += size;
	if (blob_parse(&l->shape, l->buffer, size, &x->blob))
		return odd(l, "another layout");
	x->cells = mem_array(n, sizeof(*x->cells));
	if (!x->cells)
		return -ENOMEM;
	return order(l, l->buffer, &x->blob, 0, x->cells, n);
}

/* ---- a window of blocks */

/* Fills what was granted, keeps those grants together at the front. */
static int window_fill(oc_llama *l, struct export *x, struct window *w,
		       size_t from)
{
	size_t filled = 0;
	int r = 0;

	for (size_t i = 0; i < w->n; i++) {
		struct oc_grant *g = &w->grants[i];

		l->stat.existing_blocks += w->results[i] == OC_EXISTS;
		if (w->results[i])
			continue;
		if (r == 0)
			r = l->way == OC_LLAMA_BLOCKS
				    ? fill_block(l, x, from + i, g->data)
				    : fill_whole(l, x, from + i, g->data);
		if (r) {
			oc_abandon(l->ns, g, l->timeout_ns);
			continue;
		}
		w->sums[filled] =
			oc_checksum(&g->key, g->part, g->data, g->bytes);
		w->grants[filled++] = *g;
	}
	w->n = filled;
	return r;
}

static int window_seal(oc_llama *l, struct window *w)
{
	int results[WINDOW_ALL];
	int r = oc_seal_batch(l->ns, w->grants, w->sums, w->n, l->timeout_ns,
			      results);

	for (size_t i = 0; i < w->n; i++) {
		if (results[i] == -ETIMEDOUT)
			oc_abandon(l->ns, &w->grants[i], OC_NOWAIT);
		if (results[i] < 0 && r == 0)
			r = results[i];
		if (results[i] == OC_STALE && r == 0)
			r = -EAGAIN;
		if (results[i] == OC_EXISTS)
			l->stat.existing_blocks++;
		if (results[i] == 0) {
			l->stat.exported_blocks++;
			l->stat.exported_bytes += l->block_bytes;
		}
	}
	return r;
}

/* A node that makes memory, or room, answers after a while (-ENOBUFS at the
 * deadline, or nothing): who generates asks again after the next token, and
 * gives up when that lasts. OC_STALE. */
static int refused_by(oc_llama *l, const struct export *x, int r)
{
	uint64_t now = clock_ns();

	if ((r == -ETIMEDOUT || r == -ENOBUFS) && x->hurry) {
		if (!l->slow_since)
			l->slow_since = now;
		if (now - l->slow_since < PATIENCE * l->timeout_ns)
			return OC_STALE;
	}
	l->slow_since = 0;
	llama_away(l, r, "export");
	l->stat.export_failures++;
	return OC_STALE;
}

/* Blocks [from, from + n): 0 when all of them are in the pool. */
static int export_window(oc_llama *l, struct export *x, size_t from, size_t n)
{
	struct window w = { .n = n };
	int r = oc_grant_batch(l->ns, x->t->keys + from, n,
			       (struct oc_part){ 0, 0 }, 0, x->wait_ns,
			       w.grants, w.results);
	int refused = r, sealed = 0;

	for (size_t i = 0; i < n && refused == 0; i++)
		refused = w.results[i] < 0 ? w.results[i] : 0;
	r = window_fill(l, x, &w, from);
	if (w.n)
		sealed = window_seal(l, &w);
	if (r)
		return r;
	if (refused == 0)
		refused = sealed;
	if (refused)
		return refused_by(l, x, refused);
	l->slow_since = 0;
	x->t->sealed = from + n;
	return 0;
}

/* ---- all of it */

static int export_some(oc_llama *l, struct export *x, unsigned flags,
		       uint64_t begin)
{
	bool all = flags & OC_LLAMA_ALL;
	size_t most = all ? WINDOW_ALL : WINDOW, done = 0;
	int r = l->way == OC_LLAMA_WHOLE ? read_whole(l, x) : 0;

	while (r == 0 && x->t->sealed < x->full) {
		size_t n = MIN(x->full - x->t->sealed, most);

		if (!all)
			n = MIN(n, l->export_blocks - done);
		r = export_window(l, x, x->t->sealed, n);
		done += n;
		if (!all && (done >= l->export_blocks ||
			     clock_ns() - begin >= l->export_ns))
			break;
	}
	free(x->cells);
	return r == OC_STALE ? 0 : r;
}

static bool export_due(oc_llama *l, const struct export *x, unsigned flags,
		       uint64_t begin)
{
	bool allowed = pace_allows(&l->pace, begin);

	if (x->t->sealed >= x->full || llama_is_away(l))
		return false;
	if (flags & OC_LLAMA_ALL)
		return true;
	return allowed && ((flags & OC_LLAMA_FLUSH) ||
			   x->full - x->t->sealed >= l->export_blocks);
}

int oc_llama_export(oc_llama *l, int32_t seq, const int32_t *tokens, size_t n,
		    unsigned flags, size_t *ret_left)
{
	struct export x = { .seq = seq };
	uint64_t begin = clock_ns(), end;
	size_t held;
	int r = llama_held(l, seq, &held);

	if (r)
		return r;
	x.t = &l->tracks[seq];
	x.full = MIN(held, n) / l->block_tokens;
	x.hurry = !(flags & OC_LLAMA_ALL);
	x.wait_ns = x.hurry ? MIN(l->export_ns, l->timeout_ns)
			    : PATIENCE * l->timeout_ns;
	r = track_take(x.t, tokens, MIN(held, n));
	if (r == 0 && export_due(l, &x, flags, begin))
		r = export_some(l, &x, flags, begin);
	end = clock_ns();
	pace_spent(&l->pace, begin, end);
	l->stat.export_ns += end - begin;
	if (!(flags & OC_LLAMA_ALL))
		l->stat.export_ns_most =
			MAX(l->stat.export_ns_most, end - begin);
	if (r == 0 && ret_left)
		*ret_left = x.full > x.t->sealed ? x.full - x.t->sealed : 0;
	return r;
}
