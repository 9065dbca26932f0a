/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `onecopy where`: a block's parts. First the parts are found, then one pass
 * over all pin slots counts the pins of all of them.
 */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "coherence/pin.h"
#include "front/report/json.h"
#include "front/report/report.h"
#include "store/move.h"
#include "store/shard.h"
#include <onecopy/onecopy.h>

#define WHERE_MAX 64 /* parts of one answer */

struct where_part {
	const struct pool_slab *slab; /* NULL: on the tier below alone */
	uint32_t frame;
	uint64_t gen, word, pins, mapped; /* mapped: of the pins */
	uint64_t part;
	bool below, twin; /* twin: in CXL memory as well */
	struct tier_found found;
	bool shards; /* this is the one in a CXL region */
	struct store_region_found region;
};

struct where {
	const struct store *store;
	struct pool *pool;
	struct where_part part[WHERE_MAX];
	unsigned n;
	uint64_t filter; /* bits of the words sought: few slots pass it */
	uint64_t slots_left;
	bool cut; /* not all slots were looked at */
};

static uint64_t filter_bit(uint64_t word)
{
	return 1ull << (word * 0x9e3779b97f4a7c15ull >> 58);
}

static void count_slots(struct where *w, const shared_u64 *slots, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t pin = shared_load64(&slots[i]);
		uint64_t word = pin & ~PIN_FLAGS;

		if (!word || !(w->filter & filter_bit(word)))
			continue;
		for (unsigned k = 0; k < w->n; k++) {
			bool here = w->part[k].word == word;

			w->part[k].pins += here;
			w->part[k].mapped += here && pin & PIN_MAPPED;
		}
	}
}

static void count_pins(void *ctx, struct store_client *c)
{
	struct report_slots s = report_slots(c);
	struct where *w = ctx;

	if (w->cut || s.n_pins + s.n_overflow > w->slots_left) {
		w->cut = true;
		return;
	}
	w->slots_left -= s.n_pins + s.n_overflow;
	count_slots(w, s.pins, s.n_pins);
	count_slots(w, s.overflow, s.n_overflow);
}

static void add_below(struct where *w, uint64_t part,
		      const struct tier_found *found)
{
	w->part[w->n++] = (struct where_part){ .part = part,
					       .below = true,
					       .found = *found };
}

static void add_part(struct where *w, const struct pool_slab *slab,
		     uint32_t frame)
{
	struct where_part *p = &w->part[w->n++];
	uint64_t gen = pool_frame_gen(slab, frame);

	*p = (struct where_part){
		.slab = slab,
		.frame = frame,
		.gen = gen,
		.word = pin_word(frame_loc(slab->id, frame), gen),
	};
	w->filter |= filter_bit(p->word);
}

static void add_shards(struct where *w, uint64_t part,
		       const struct store_region_found *found)
{
	w->part[w->n++] = (struct where_part){ .part = part,
					       .shards = true,
					       .region = *found };
}

static void find_parts(struct where *w, uint32_t ns, const uint64_t key[4])
{
	struct ns_parts parts = ns_record_parts(&w->pool->m->ns[ns - 1]);

	for (uint32_t i = 0; i < parts.n; i++) {
		uint64_t part = ns_parts_at(&parts, i);
		struct store_region_found region;
		struct tier_found found;
		uint32_t frame;
		const struct pool_slab *slab =
			pool_find(w->pool, key, part, &frame);
		bool below = move_find(w->store, w->pool, key, part, &found);

		if (w->n == WHERE_MAX)
			return;
		if (slab) {
			add_part(w, slab, frame);
			w->part[w->n - 1].below = below;
			w->part[w->n - 1].twin =
				pool_twin_of(w->pool, slab, frame) !=
				POOL_NO_ITEM;
		} else if (below) {
			add_below(w, part, &found);
		}
		if (w->n < WHERE_MAX &&
		    store_region_find(w->store, w->pool, key, part, &region))
			add_shards(w, part, &region);
	}
}

/* What the part itself says. */
static void part_identity(json_t *o, const struct where *w, uint64_t part,
			  const char *tier)
{
	uint32_t ns = frame_part_ns(part);

	json_num(o, "ns", ns);
	json_shared(o, "ns_label", w->pool->m->ns[ns - 1].label);
	json_num(o, "group", frame_part_group(part));
	json_num(o, "rank", frame_part_rank(part));
	json_object_set_new(o, "tier", json_string(tier));
}

static void part_price(json_t *o, const struct where *w, unsigned tier,
		       uint64_t bytes)
{
	const struct tier_record *t = &w->pool->m->tier[tier];
	uint64_t rate = MAX(shared_load64(&t->bytes_per_s), 1ull);

	if (!shared_load64(&t->measured_ms)) {
		json_object_set_new(o, "expected_ns", json_null());
		return;
	}
	json_num(o, "expected_ns",
		 shared_load64(&t->latency_ns) +
			 (uint64_t)((double)bytes * 1e9 / (double)rate));
}

static json_t *part_json(const struct where *w, const struct where_part *p,
			 uint64_t now_ms)
{
	const struct frame_desc *d = &p->slab->desc[p->frame];
	uint64_t extent = shared_load64(&d->extent);
	uint64_t bytes = frame_extent_bytes(extent);
	uint64_t sealed_ms = shared_load64(&d->sealed_ms);
	json_t *o = json_object();

	bool low = p->slab->low;

	part_identity(o, w, shared_load64(&d->part), low ? "cxl" : "dram");
	if (low)
		json_object_set_new(
			o, "memory",
			json_string(segment_kind_name(p->slab->payload.kind)));
	json_num(o, "owner", shared_load64(&d->owner));
	json_num(o, "slab_owner", p->slab->owner);
	part_price(o, w, low ? OC_TIER_CXL : OC_TIER_DRAM, bytes);
	json_num(o, "replicas", 1 + p->below + p->twin);
	json_num(o, "region", p->slab->id);
	json_num(o, "offset", pool_frame_offset(p->slab, p->frame));
	if (p->slab->stripes)
		json_num(o, "slice_stride",
			 p->slab->frames * pool_slab_step_bytes(p->slab));
	json_num(o, "bytes", bytes);
	json_num(o, "frame_bytes", p->slab->frame_bytes);
	json_num(o, "generation", p->gen);
	json_num(o, "tokens", frame_extent_tokens(extent));
	if (w->cut) {
		json_object_set_new(o, "pins", json_null());
		json_object_set_new(o, "mapped", json_null());
	} else {
		json_num(o, "pins", p->pins);
		json_num(o, "mapped", p->mapped);
	}
	json_num(o, "age_ms", now_ms - MIN(sealed_ms, now_ms));
	return o;
}

static json_t *below_json(const struct where *w, const struct where_part *p)
{
	uint64_t extent = p->found.block.extent;
	json_t *o = json_object();

	part_identity(o, w, p->part, "nvme");
	json_num(o, "expected_ns", p->found.expected_ns);
	json_num(o, "replicas", 1);
	json_num(o, "bytes", frame_extent_bytes(extent));
	json_num(o, "tokens", frame_extent_tokens(extent));
	json_num(o, "pins", 0);
	json_num(o, "mapped", 0);
	return o;
}

/* Another replica, of whoever owns the shard; who pins it, their nodes know. */
static json_t *shards_json(const struct where *w, const struct where_part *p)
{
	const struct region_seen *s = &p->region.seen;
	json_t *o = json_object();

	part_identity(o, w, p->part, "cxl");
	json_object_set_new(o, "memory", json_string("region"));
	json_object_set_new(o, "node", json_string(p->region.node));
	json_object_set_new(o, "own", json_boolean(p->region.own));
	json_num(o, "shard", s->shard);
	json_num(o, "frame", s->frame);
	part_price(o, w, OC_TIER_CXL, s->bytes);
	json_num(o, "replicas", 1);
	json_num(o, "offset", s->offset);
	json_num(o, "bytes", s->bytes);
	json_num(o, "generation", s->gen);
	json_num(o, "tokens", s->tokens);
	json_object_set_new(o, "pins", json_null());
	return o;
}

json_t *report_where(const struct report *r, struct pool *pool, const char *hex,
		     uint64_t now_ns, int *ret_error)
{
	struct where w = { .store = r->store,
			   .pool = pool,
			   .slots_left = REPORT_SLOTS_MAX };
	uint8_t bytes[32];
	uint64_t key[4];
	json_t *list;

	*ret_error = -EINVAL;
	if (strlen(hex) != 64 || text_parse_hex(hex, bytes, 32) < 0)
		return NULL;
	*ret_error = -ENOMEM;
	memcpy(key, bytes, sizeof(key));
	for (uint32_t ns = 1; ns <= LAYOUT_NS_MAX && w.n < WHERE_MAX; ns++) {
		if (!shared_load64(&pool->m->ns[ns - 1].id))
			break;
		find_parts(&w, ns, key);
	}
	if (w.n)
		store_each_client(r->store, pool, count_pins, &w);
	list = json_array();
	for (unsigned i = 0; i < w.n; i++)
		json_array_append_new(
			list, w.part[i].shards ? shards_json(&w, &w.part[i])
			      : w.part[i].slab ? part_json(&w, &w.part[i],
							   now_ns / NS_PER_MS)
					       : below_json(&w, &w.part[i]));
	return list;
}
