/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `onecopy why`: what is known of some keys of one tenant. First the index says
 * which parts are there, in each namespace; then one pass over the frames that
 * are lent now; then the history. Everybody waits meanwhile, so what one answer
 * looks at is bounded; what was left out is told ("cut").
 *
 * Nothing of another tenant is looked at: a key that another tenant has is like
 * one that nobody has.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "front/report/json.h"
#include "front/report/why.h"
#include "front/resp/resp.h"
#include "store/move.h"
#include "store/shard.h"

#define PROBES_MAX (1u << 17) /* in the index */
#define FRAMES_MAX (1u << 19) /* of slabs with frames that are lent */

/* ---- the question ---------------------------------------------------------- */

/* "[ns=N] KEY KEY ...", words between spaces or commas. */
static int parse_word(struct why *w, const char *word, size_t len)
{
	struct why_key *k = &w->key[w->n];
	char text[65];
	uint64_t ns;

	if (len > 64 || len < 4)
		return -EINVAL;
	memcpy(text, word, len);
	text[len] = '\0';
	if (strncmp(text, "ns=", 3) == 0) {
		if (text_parse_u64(text + 3, LAYOUT_NS_MAX, &ns) || !ns)
			return -EINVAL;
		w->ns = (uint32_t)ns;
		return 0;
	}
	if (w->n == REPORT_WHY_KEYS)
		return -E2BIG;
	if (len != 64 || text_parse_hex(text, (uint8_t *)k->key, 32))
		return -EINVAL;
	memcpy(k->hex, text, sizeof(k->hex));
	w->n++;
	return 0;
}

static int parse_words(struct why *w, const char *words)
{
	int r = 0;

	while (r == 0) {
		size_t len;

		words += strspn(words, " ,");
		len = strcspn(words, " ,");
		if (!len)
			return w->n ? 0 : -EINVAL;
		r = parse_word(w, words, len);
		words += len;
	}
	return r;
}

/* ---- what is there --------------------------------------------------------- */

static void probe_part(struct why *w, struct why_ns *n, const uint64_t key[4],
		       unsigned i)
{
	uint64_t part = ns_parts_at(&n->parts, i);
	uint32_t frame;
	const struct pool_slab *s = pool_find(w->pool, key, part, &frame);
	struct tier_found found;

	if (!s && move_find(w->report->store, w->pool, key, part, &found)) {
		n->below |= 1ull << i;
		n->expected_ns = MAX(n->expected_ns, found.expected_ns);
	}
	if (!s)
		return;
	n->have |= 1ull << i;
	n->low |= (uint64_t)s->low << i;
	n->owner = shared_load64(&s->desc[frame].owner);
	n->sealed_ms = shared_load64(&s->desc[frame].sealed_ms);
}

/* It is read there in place, so it is resident. */
static void probe_shards(struct why *w, struct why_ns *n, const uint64_t key[4],
			 unsigned i)
{
	uint64_t part = ns_parts_at(&n->parts, i);
	struct store_region_found found;

	if (n->have >> i & 1 ||
	    !store_region_find(w->report->store, w->pool, key, part, &found))
		return;
	n->have |= 1ull << i;
	n->below &= ~(1ull << i);
	n->low |= 1ull << i;
	n->shards |= 1ull << i;
	text_copy(n->node, sizeof(n->node), found.node);
}

static void look_in_ns(struct why *w, struct why_key *k, uint32_t id)
{
	const struct ns_record *rec = &w->pool->m->ns[id - 1];
	struct why_ns n = { .id = id, .parts = ns_record_parts(rec) };
	unsigned parts = MIN(n.parts.n, 64u);

	if (k->n_ns == WHY_NS || parts > w->probes_left) {
		w->cut = true;
		return;
	}
	w->probes_left -= parts;
	for (unsigned i = 0; i < parts; i++)
		probe_part(w, &n, k->key, i);
	for (unsigned i = 0; i < parts; i++)
		probe_shards(w, &n, k->key, i);
	/* all parts; of a name at the RESP door, some */
	n.need = resp_block_needs(k->key, n.have | n.below);
	if (!n.need)
		n.need = parts >= 64 ? UINT64_MAX : (1ull << parts) - 1;
	if (n.have || n.below || id == w->ns)
		k->ns[k->n_ns++] = n;
}

static void look_for(struct why *w, struct why_key *k)
{
	/* the one asked about first, whatever is left out then */
	if (w->ns && shared_load64(&w->pool->m->ns[w->ns - 1].id))
		look_in_ns(w, k, w->ns);
	for (uint32_t id = 1; id <= LAYOUT_NS_MAX; id++) {
		if (!shared_load64(&w->pool->m->ns[id - 1].id))
			break;
		if (id != w->ns)
			look_in_ns(w, k, id);
	}
}

/* ---- what is being written ------------------------------------------------- */

static uint64_t filter_bit(uint64_t word)
{
	return 1ull << (word * 0x9e3779b97f4a7c15ull >> 58);
}

static void note_writer(struct why *w, const struct frame_desc *d)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct why_key *k = &w->key[i];
		uint64_t part = shared_load64(&d->part);

		if (!frame_is(d, k->key, part) || k->n_writers == WHY_WRITERS ||
		    (w->ns && frame_part_ns(part) != w->ns))
			continue;
		k->writer[k->n_writers++] = (struct why_writer){
			part,
			shared_load64(&d->owner),
			shared_load64(&d->granted_ms),
		};
	}
}

static void look_at_slab(struct why *w, const struct pool_slab *s,
			 uint64_t filter)
{
	uint32_t left = s->n_granted;

	for (uint32_t f = 0; left && f < s->frames; f++) {
		const struct frame_desc *d = &s->desc[f];

		if (!w->frames_left--) {
			w->frames_left = 0;
			w->cut = true;
			return;
		}
		if (pool_frame_state(s, f) != FRAME_GRANTED)
			continue;
		left--;
		if (filter & filter_bit(shared_load64(&d->key[0])))
			note_writer(w, d);
	}
}

static void look_at_grants(struct why *w)
{
	uint64_t filter = 0;

	for (unsigned i = 0; i < w->n; i++)
		filter |= filter_bit(w->key[i].key[0]);
	for (uint32_t id = 1; id < w->pool->slab_end; id++) {
		const struct pool_slab *s = w->pool->slab[id];

		if (s && s->n_granted)
			look_at_slab(w, s, filter);
	}
}

static void look_at_waiting(struct why *w)
{
	const struct store *s = w->report->store;
	uint64_t key[4], part, client;

	for (size_t i = 0; i < store_waiting(s); i++) {
		if (w->frames_left < w->n) {
			w->cut = true;
			return;
		}
		w->frames_left -= w->n;
		if (!store_waiting_at(s, w->pool, i, key, &part, &client) ||
		    (w->ns && frame_part_ns(part) != w->ns))
			continue;
		for (unsigned k = 0; k < w->n; k++)
			if (!memcmp(key, w->key[k].key, sizeof(key)))
				w->key[k].waiting = client;
	}
}

/* ---- the judgement --------------------------------------------------------- */

static bool is_whole(const struct why_ns *n)
{
	return (n->have & why_all(n)) == why_all(n);
}

/* Nothing else is known: was it ever there? */
static enum why_state unseen(const struct why *w)
{
	const struct pool *p = w->pool;

	if (!p)
		return WHY_NEVER;
	return w->history.whole &&
			       shared_load64(&p->m->header.server_epoch) == 1
		       ? WHY_NEVER
		       : WHY_UNKNOWN;
}

static const struct why_ns *pick(const struct why *w, const struct why_key *k,
				 bool asked, bool whole)
{
	for (unsigned i = 0; i < k->n_ns; i++) {
		const struct why_ns *n = &k->ns[i];

		if (n->have && is_whole(n) == whole &&
		    (!w->ns || (n->id == w->ns) == asked))
			return n;
	}
	return NULL;
}

/* Whole, with what is below. */
static const struct why_ns *pick_below(const struct why *w,
				       const struct why_key *k)
{
	for (unsigned i = 0; i < k->n_ns; i++) {
		const struct why_ns *n = &k->ns[i];

		if (n->below && !(why_all(n) & ~(n->have | n->below)) &&
		    (!w->ns || n->id == w->ns))
			return n;
	}
	return NULL;
}

static void judge(const struct why *w, struct why_key *k)
{
	k->state = WHY_RESIDENT;
	if ((k->about = pick(w, k, true, true)))
		return;
	k->state = WHY_BELOW;
	if ((k->about = pick_below(w, k)))
		return;
	k->state = WHY_INCOMPLETE;
	if ((k->about = pick(w, k, true, false)))
		return;
	k->state = WHY_WRITTEN;
	if (k->n_writers)
		return;
	k->state = WHY_WAITING;
	if (k->waiting)
		return;
	k->state = WHY_EVENT;
	if (k->n_notes)
		return;
	k->state = WHY_OTHER_NS;
	if (w->ns && (k->about = pick(w, k, false, true)))
		return;
	k->state = unseen(w);
}

static void find_out(struct why *w)
{
	const struct past *h = NULL;

	if (w->pool) {
		h = store_past(w->report->store, w->pool);
		for (unsigned i = 0; i < w->n; i++)
			look_for(w, &w->key[i]);
		if (pool_counter(w->pool, POOL_C_granted))
			look_at_grants(w);
		look_at_waiting(w);
	}
	past_extent(h, &w->history);
	for (unsigned i = 0; i < w->n; i++) {
		struct why_key *k = &w->key[i];

		k->n_notes = past_find(h, k->key, w->ns, WHY_NOTES, k->note);
		judge(w, k);
	}
}

/* ---- JSON ------------------------------------------------------------------ */

static void add_text(json_t *o, const char *name, const char *text)
{
	json_object_set_new(o, name, text ? json_string(text) : json_null());
}

static void add_ago(json_t *o, const struct why *w, uint64_t at_ms)
{
	json_num(o, "ago_ms", w->now_ms - MIN(at_ms, w->now_ms));
}

static json_t *parts_json(const struct why_ns *n, uint64_t parts)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n->parts.n && i < 64; i++) {
		uint64_t part = ns_parts_at(&n->parts, i);

		if (parts >> i & 1)
			json_array_append_new(
				list,
				json_pack("{s:i,s:i}", "group",
					  (int)frame_part_group(part), "rank",
					  (int)frame_part_rank(part)));
	}
	return list;
}

static json_t *ns_json(const struct why *w, const struct why_ns *n)
{
	json_t *o = json_object();

	json_num(o, "ns", n->id);
	json_shared(o, "ns_label", w->pool->m->ns[n->id - 1].label);
	json_object_set_new(o, "resident", parts_json(n, n->have));
	json_object_set_new(o, "cxl", parts_json(n, n->low));
	json_object_set_new(o, "region", parts_json(n, n->shards));
	json_object_set_new(o, "below", parts_json(n, n->below));
	json_object_set_new(o, "missing",
			    parts_json(n, why_all(n) & ~(n->have | n->below)));
	if (w->ns && n->id != w->ns)
		add_text(o, "difference",
			 why_difference(w->pool, w->ns, n->id));
	return o;
}

static json_t *writer_json(const struct why *w, const struct why_writer *r)
{
	json_t *o = json_object();

	json_num(o, "ns", frame_part_ns(r->part));
	json_num(o, "group", frame_part_group(r->part));
	json_num(o, "rank", frame_part_rank(r->part));
	json_num(o, "client", r->owner);
	add_ago(o, w, r->granted_ms);
	return o;
}

static json_t *note_json(const struct why *w, const struct past_note *n)
{
	json_t *o = json_object();

	add_text(o, "event", why_event_name(n->event));
	add_ago(o, w, n->at_ms);
	json_num(o, "ns", n->ns);
	json_num(o, "parts", n->parts);
	json_num(o, "owner", n->owner);
	json_num(o, "client", n->client);
	add_text(o, "limit", why_limit_name(n->limit));
	if (n->event == PAST_EVICTED) {
		add_text(o, "pressure", why_pressure_name(n->pressure));
		json_num(o, "idle_uses", n->idle);
	}
	if (n->event < PAST_LEFT_BELOW) {
		json_num(o, "life_ms", n->life_ms);
		json_num(o, "frame_bytes", n->frame_bytes);
	}
	return o;
}

static json_t *key_json(const struct why *w, const struct why_key *k)
{
	json_t *o = json_object(), *ns = json_array(), *writing = json_array(),
	       *events = json_array();
	char text[WHY_TEXT];

	why_sentence(w, k, text);
	add_text(o, "key", k->hex);
	json_object_set_new(o, "resident",
			    json_boolean(k->state == WHY_RESIDENT));
	add_text(o, "state", why_state_name(k));
	add_text(o, "because", text);
	for (unsigned i = 0; i < k->n_ns; i++)
		json_array_append_new(ns, ns_json(w, &k->ns[i]));
	for (unsigned i = 0; i < k->n_writers; i++)
		json_array_append_new(writing, writer_json(w, &k->writer[i]));
	for (unsigned i = 0; i < k->n_notes; i++)
		json_array_append_new(events, note_json(w, &k->note[i]));
	json_object_set_new(o, "namespaces", ns);
	json_object_set_new(o, "writing", writing);
	json_object_set_new(o, "events", events);
	return o;
}

static json_t *history_json(const struct why *w)
{
	const struct past_extent *h = &w->history;
	json_t *o = json_object();

	json_num(o, "notes", h->notes);
	json_num(o, "capacity", h->capacity);
	json_num(o, "bytes", h->bytes);
	if (h->capacity)
		json_num(o, "reaches_back_ms",
			 w->now_ms - MIN(h->since_ms, w->now_ms));
	else
		json_object_set_new(o, "reaches_back_ms", json_null());
	/* of a server that was replaced nothing is kept */
	json_object_set_new(o, "complete",
			    json_boolean(!w->pool ||
					 (h->whole && unseen(w) == WHY_NEVER)));
	return o;
}

static json_t *why_json(const struct why *w)
{
	json_t *o = json_object(), *keys = json_array();

	for (unsigned i = 0; i < w->n; i++)
		json_array_append_new(keys, key_json(w, &w->key[i]));
	json_object_set_new(o, "history", history_json(w));
	json_object_set_new(o, "cut", json_boolean(w->cut));
	json_object_set_new(o, "keys", keys);
	return o;
}

json_t *report_why(const struct report *r, struct pool *pool, const char *words,
		   uint64_t now_ns, int *ret_error)
{
	CLEANUP(mem_free_at)
	struct why *w =
		mem_alloc(sizeof(*w) + REPORT_WHY_KEYS * sizeof(w->key[0]));

	*ret_error = -ENOMEM;
	if (!w)
		return NULL;
	w->report = r;
	w->pool = pool;
	w->now_ms = now_ns / NS_PER_MS;
	w->probes_left = PROBES_MAX;
	w->frames_left = FRAMES_MAX;
	*ret_error = parse_words(w, words);
	if (*ret_error < 0)
		return NULL;
	find_out(w);
	*ret_error = -ENOMEM;
	return why_json(w);
}
