/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks over all names: SCAN, FLUSHDB, and the sweep for expired ones.
 *
 * A walk's place is a frame's location: slab after slab, frame after frame. A
 * name that is not written meanwhile stands still, so a walk from beginning to
 * end meets it once. One that is written moves, and may be met twice or not.
 */
#include <stdio.h>
#include "base/glob.h"
#include "front/resp/internal.h"

/* Frames looked at at a time; most of them are free, which is seen quickly. */
#define SCAN_FRAMES_LEAST 8192u /* by one SCAN at least */
#define SCAN_FRAMES_MOST  16384u
#define SCAN_STEPS	  (1u << 20) /* of comparing with the pattern, about */
#define SCAN_PATTERN_MAX  1024u
#define SCAN_COUNT_MAX	  10000
#define SCAN_BYTES	  (256u << 10) /* of names, about: they may be long */
#define FLUSH_FRAMES	  32768u       /* in one tick */
#define SWEEP_FRAMES	  4096u

struct walk {
	uint64_t at; /* frame_loc() of the next frame; 0: the beginning */
	bool over;
};

/* The next frame of slabs that the server writes. False: there is none. */
static bool walk_next(const struct resp_tenant *t, struct walk *w,
		      uint32_t *ret_slab, uint32_t *ret_frame)
{
	const struct pool *p = t->pool;
	uint32_t slab = frame_loc_slab(w->at), frame = frame_loc_frame(w->at);

	for (; slab < p->slab_end; slab++, frame = 0) {
		const struct pool_slab *s = pool_slab_at(p, slab);

		if (!s || s->writer_uid != UID_SERVER || !s->n_sealed ||
		    frame >= s->frames)
			continue;
		*ret_slab = slab;
		*ret_frame = frame;
		w->at = frame_loc(slab, frame) + 1;
		/* the last frame of the largest slab carries into the next */
		return true;
	}
	w->over = true;
	return false;
}

enum exec_result exec_dbsize(struct call *k)
{
	out_int(k->out, (int64_t)tenant_names(k->t));
	return EXEC_DONE;
}

/* ---- SCAN ----------------------------------------------------------------------- */

struct scan {
	struct walk walk;
	int64_t count;
	struct name match;
	bool has_match, none;
};

static bool scan_option(struct call *k, uint32_t i, struct scan *s)
{
	struct name word = call_arg(k, i), value = call_arg(k, i + 1);

	if (word_is(word, "count")) {
		if (!resp_number(value.text, value.len, &s->count)) {
			out_error(k->out, "ERR value is not an integer or out "
					  "of range");
			return false;
		}
		if (s->count >= 1)
			return true;
	} else if (word_is(word, "match")) {
		s->match = value;
		s->has_match = true;
		if (value.len <= SCAN_PATTERN_MAX)
			return true;
		out_error(k->out, "ERR the pattern is too long");
		return false;
	} else if (word_is(word, "type")) {
		s->none = !word_is(value, "string");
		return true;
	}
	out_error(k->out, "ERR syntax error");
	return false;
}

static bool scan_options(struct call *k, struct scan *s)
{
	struct name cursor = call_arg(k, 1);
	int64_t at;

	if (!resp_number(cursor.text, cursor.len, &at) || at < 0 ||
	    (uint64_t)at >> FRAME_LOC_BITS) {
		out_error(k->out, "ERR invalid cursor");
		return false;
	}
	s->walk.at = (uint64_t)at;
	if (k->n % 2) {
		out_error(k->out, "ERR syntax error");
		return false;
	}
	for (uint32_t i = 2; i + 1 < k->n; i += 2)
		if (!scan_option(k, i, s))
			return false;
	s->count = MIN(s->count, (int64_t)SCAN_COUNT_MAX);
	return true;
}

/* The names in `names`; their number. */
static uint32_t scan_names(struct call *k, struct scan *s, struct out *names)
{
	uint32_t left = MIN(MAX((uint32_t)s->count * 8, SCAN_FRAMES_LEAST),
			    SCAN_FRAMES_MOST);
	uint32_t n = 0, slab, frame;
	uint64_t steps = 0;

	while (n < (uint32_t)s->count && left-- && names->len < SCAN_BYTES &&
	       steps < SCAN_STEPS && walk_next(k->t, &s->walk, &slab, &frame)) {
		struct name name;
		struct entry e;

		if (!entry_at(k->t, slab, frame, &name, &e) ||
		    entry_expired(&e) || s->none)
			continue;
		if (s->has_match)
			steps += (s->match.len + 1ull) * (name.len + 1ull);
		if (s->has_match && !glob_match(s->match.text, s->match.len,
						name.text, name.len))
			continue;
		out_bulk(names, name.text, name.len);
		n++;
	}
	return n;
}

enum exec_result exec_scan(struct call *k)
{
	struct scan s = { .count = 10 };
	struct out names = { .protocol = k->out->protocol };
	char cursor[24];
	uint32_t n;

	if (!scan_options(k, &s))
		return EXEC_DONE;
	n = scan_names(k, &s, &names);
	snprintf(cursor, sizeof(cursor), "%llu",
		 s.walk.over ? 0ull : (unsigned long long)s.walk.at);
	out_array(k->out, 2);
	out_text(k->out, cursor);
	out_array(k->out, n);
	out_raw(k->out, names.at, names.len);
	k->out->failed |= names.failed;
	out_fini(&names);
	return EXEC_DONE;
}

/* ---- FLUSHDB ---------------------------------------------------------------------- */

/* Takes all parts away, those too that no record names. */
static void flush(struct resp_tenant *t, struct walk *w)
{
	uint32_t left = FLUSH_FRAMES, slab, frame;
	struct place place;

	while (left-- && walk_next(t, w, &slab, &frame))
		if (place_at(t, slab, frame, &place))
			place_remove(t, &place);
}

/* A piece in each tick, so that others are served in between; what they write
 * behind the walk stays. */
enum exec_result exec_flush(struct call *k)
{
	struct conn *c = k->c;
	struct walk w = { .at = c->walk };

	if (k->n > 2 || (k->n == 2 && !word_is(call_arg(k, 1), "async") &&
			 !word_is(call_arg(k, 1), "sync"))) {
		out_error(k->out, "ERR syntax error");
		return EXEC_DONE;
	}
	flush(k->t, &w);
	c->walk = w.at;
	if (!w.over) {
		c->state = CONN_WALK;
		k->d->n_walking++;
		return EXEC_AGAIN;
	}
	c->walk = 0;
	move_forget_all(k->d->options.store, k->t->pool, k->t->ns);
	out_simple(k->out, "OK");
	return EXEC_DONE;
}

/* ---- the sweep ---------------------------------------------------------------------- */

static void sweep(struct resp_tenant *t, struct walk *w)
{
	uint32_t left = SWEEP_FRAMES, slab, frame;

	while (left-- && walk_next(t, w, &slab, &frame)) {
		struct name name;
		struct entry e;

		if (!entry_at(t, slab, frame, &name, &e) || !e.record.expire_ms)
			continue;
		if (entry_expired(&e))
			place_remove(t, &e.place);
		else
			t->seen = true;
	}
}

void scan_sweep(struct resp_tenant *t)
{
	struct walk w = { .at = t->sweep };

	if (!t->client || !t->expiring)
		return;
	sweep(t, &w);
	t->sweep = w.over ? 0 : w.at;
	if (!w.over)
		return;
	t->expiring = t->seen;
	t->seen = false;
}
