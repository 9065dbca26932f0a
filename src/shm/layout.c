/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/layout.h"
#include "base/clock.h"
#include "base/hash.h"
#include "coherence/pin.h"
#include "shm/session.h"
#include "index/table.h"
#include <errno.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "words in segments are little-endian");
_Static_assert(LAYOUT_SLABS_MAX <= FRAME_SLABS_MAX, "a location names them");
_Static_assert(LAYOUT_CLIENTS_MAX <= 1u << 16, "a client id names them");
_Static_assert(offsetof(struct client_segment, slots) % 8 == 0, "aligned");
/* A line with one writer must begin at one. */
_Static_assert(offsetof(struct pool_meta, tier) % CACHE_LINE == 0, "line");
_Static_assert(offsetof(struct pool_meta, client) % CACHE_LINE == 0, "line");
_Static_assert(offsetof(struct pool_meta, slab) % CACHE_LINE == 0, "line");
_Static_assert(offsetof(struct client_segment, req) % CACHE_LINE == 0, "line");
_Static_assert(offsetof(struct client_segment, resp) % CACHE_LINE == 0, "line");

const char *const pool_counter_names[POOL_COUNTERS_USED] = {
#define X(name, text) [POOL_C_##name] = #name,
	POOL_COUNTERS(X)
#undef X
};

const char *const pool_counter_texts[POOL_COUNTERS_USED] = {
#define X(name, text) [POOL_C_##name] = text,
	POOL_COUNTERS(X)
#undef X
};
const enum pool_counter client_counter_pool[CLIENT_COUNTS] = {
	[CLIENT_PINS] = POOL_C_pins,
	[CLIENT_MISSES] = POOL_C_misses,
	[CLIENT_READ_BYTES] = POOL_C_read_bytes,
	[CLIENT_COPIED_BYTES] = POOL_C_copied_bytes,
	[CLIENT_TAIL_COPIES] = POOL_C_tail_copies,
	[CLIENT_TAIL_COPIED_BYTES] = POOL_C_tail_copied_bytes,
	[CLIENT_REGION_PINS] = POOL_C_region_pins,
	[CLIENT_REGION_BYTES] = POOL_C_region_read_bytes,
};

/*
 * What two builds must agree on. A field that is missing here only weakens the
 * stamp; the version is what a deliberate change must raise.
 */
#define AT(type, field) offsetof(struct type, field)
static const uint64_t shape[] = {
	/* constants */
	LAYOUT_NAME,
	LAYOUT_NS_MAX,
	LAYOUT_CLIENTS_MAX,
	LAYOUT_SLABS_MAX,
	LAYOUT_COUNTERS,
	LAYOUT_TIERS,
	LAYOUT_RANKS_MAX,
	MATCH_GROUPS_MAX,
	RING_SLOTS,
	RING_BLOB_BYTES,
	RING_OPS,
	TOUCH_RING,
	PAGE_BYTES,
	FRAME_LOC_BITS,
	FRAME_IN_SLAB_BITS,
	PIN_GEN_BITS,
	PIN_MAPPED,
	PIN_LOSABLE,
	FRAME_STATES,
	FRAME_GRANTED,
	FRAME_SEALED,
	FRAME_LEAVING,
	FRAME_DOOMED,
	FRAME_QUARANTINED,
	TABLE_WAYS,
	TABLE_MAGIC,
	SLAB_LIVE,
	SLAB_RETIRING,
	POOL_STARTING,
	POOL_SERVING,
	POOL_STOPPED,
	POOL_COUNTERS_USED,
	MATCH_FULL,
	MATCH_WINDOW,
	MATCH_STATE,
	CLIENT_READ_ONLY,
	/* the meta segment */
	sizeof(struct pool_header),
	AT(pool_header, version),
	AT(pool_header, incompat),
	AT(pool_header, compat),
	AT(pool_header, stamp),
	AT(pool_header, pool_id),
	AT(pool_header, bytes),
	AT(pool_header, born_ms),
	AT(pool_header, state),
	AT(pool_header, server_epoch),
	AT(pool_header, region_epoch),
	AT(pool_header, index_epoch),
	AT(pool_header, limit_bytes),
	AT(pool_header, max_frame),
	AT(pool_header, server_pid),
	AT(pool_header, alive_ms),
	AT(pool_header, tenant),
	sizeof(struct tier_record),
	AT(tier_record, kind),
	AT(tier_record, latency_ns),
	AT(tier_record, bytes_per_s),
	AT(tier_record, measured_ms),
	sizeof(struct ns_group),
	AT(ns_group, rule),
	AT(ns_group, slices),
	AT(ns_group, slice_bytes),
	AT(ns_group, stride),
	sizeof(struct ns_record),
	AT(ns_record, id),
	AT(ns_record, digest),
	AT(ns_record, weights),
	AT(ns_record, layout),
	AT(ns_record, block_tokens),
	AT(ns_record, ranks_groups),
	AT(ns_record, label),
	AT(ns_record, group),
	sizeof(struct ns_spec),
	AT(ns_spec, weights),
	AT(ns_spec, layout),
	AT(ns_spec, block_tokens),
	AT(ns_spec, ranks),
	AT(ns_spec, groups),
	AT(ns_spec, group),
	AT(ns_spec, label),
	sizeof(struct client_record),
	AT(client_record, id),
	AT(client_record, pid_uid),
	AT(client_record, flags),
	AT(client_record, pins),
	AT(client_record, since_ms),
	AT(client_record, seals),
	AT(client_record, seal_bytes),
	AT(client_record, serving),
	AT(client_record, tries),
	AT(client_record, incarnation),
	AT(client_record, name),
	sizeof(struct slab_record),
	AT(slab_record, word),
	AT(slab_record, frame_bytes),
	AT(slab_record, frames_kind),
	AT(slab_record, bytes),
	AT(slab_record, desc_bytes),
	AT(slab_record, owner),
	AT(slab_record, writer_place),
	AT(slab_record, retire_epoch),
	AT(slab_record, given),
	sizeof(struct pool_meta),
	AT(pool_meta, cxl),
	AT(pool_meta, tier),
	AT(pool_meta, counter),
	AT(pool_meta, ns),
	AT(pool_meta, client),
	AT(pool_meta, slab),
	/* index and descriptors */
	sizeof(struct table_header),
	AT(table_header, buckets),
	sizeof(struct table_bucket),
	sizeof(struct frame_desc),
	AT(frame_desc, word),
	AT(frame_desc, key),
	AT(frame_desc, checksum),
	AT(frame_desc, part),
	AT(frame_desc, extent),
	AT(frame_desc, owner),
	AT(frame_desc, grant_seq),
	AT(frame_desc, touched),
	AT(frame_desc, sealed_ms),
	AT(frame_desc, grant_flags),
	AT(frame_desc, depth),
	/* sessions */
	SESSION_MAGIC,
	SESSION_NODE_KEYS,
	SESSION_NODES,
	SESSION_ACTIVE,
	SESSION_PAUSED,
	sizeof(struct session_header),
	AT(session_header, records),
	AT(session_header, segments),
	sizeof(struct session_record),
	AT(session_record, word),
	AT(session_record, head),
	AT(session_record, owner),
	AT(session_record, ns),
	AT(session_record, lease_ms),
	AT(session_record, until_ms),
	AT(session_record, used_ms),
	AT(session_record, hot_ms),
	AT(session_record, paused_ms),
	AT(session_record, expected_ms),
	AT(session_record, gap_ms),
	AT(session_record, last_gap_ms),
	AT(session_record, made_by),
	AT(session_record, made_seq),
	AT(session_record, parent),
	AT(session_record, evict_to),
	AT(session_record, tail),
	AT(session_record, tail_key),
	AT(session_record, born_ms),
	AT(session_record, name),
	sizeof(struct session_node),
	AT(session_node, parent),
	AT(session_node, base),
	AT(session_node, ns),
	AT(session_node, payer),
	AT(session_node, key),
	sizeof(struct session_said),
	/* the client segment */
	sizeof(struct client_header),
	AT(client_header, tail),
	AT(client_header, touch_tail),
	AT(client_header, let_go_epoch),
	AT(client_header, pin_high),
	AT(client_header, answered),
	AT(client_header, cxl),
	CLIENT_CXL_STATES,
	AT(client_header, counter),
	AT(client_header, asleep),
	AT(client_header, overflow_high),
	AT(client_header, asked),
	sizeof(struct ring_req),
	AT(ring_req, seq),
	AT(ring_req, op),
	AT(ring_req, part),
	AT(ring_req, key),
	AT(ring_req, loc),
	AT(ring_req, gen),
	AT(ring_req, extent),
	AT(ring_req, checksum),
	AT(ring_req, timeout_ns),
	AT(ring_req, arg),
	AT(ring_req, arg2),
	AT(ring_req, waiting),
	AT(ring_req, notify),
	sizeof(struct ring_resp),
	AT(ring_resp, seq),
	AT(ring_resp, result),
	AT(ring_resp, loc),
	AT(ring_resp, gen),
	AT(ring_resp, arg),
	AT(ring_resp, arg2),
	sizeof(struct client_segment),
	AT(client_segment, ring),
	AT(client_segment, req),
	AT(client_segment, resp),
	AT(client_segment, touch),
	AT(client_segment, blob),
	AT(client_segment, slots),
	CLIENT_WANTED_BYTES,
};
#undef AT

uint64_t layout_stamp(void)
{
	uint64_t stamp = hash_bytes(shape, sizeof(shape), LAYOUT_MAGIC);

	/* Order of the counters: one put in between moves the others. */
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++) {
		const char *name = pool_counter_names[i];

		stamp = hash_bytes(name, strlen(name), stamp);
	}
	return stamp;
}

static uint64_t version_word(void)
{
	return (uint64_t)LAYOUT_MAJOR << 32 | LAYOUT_MINOR;
}

void layout_init(struct pool_meta *m, uint64_t pool_id, const char *tenant)
{
	struct pool_header *h = &m->header;

	shared_store64(&h->version, version_word());
	shared_store64(&h->incompat, 0);
	shared_store64(&h->compat, 0);
	shared_store64(&h->stamp, layout_stamp());
	shared_store64(&h->pool_id, pool_id);
	shared_store64(&h->bytes, POOL_META_BYTES);
	shared_store64(&h->born_ms, clock_realtime_ms());
	shared_store64(&h->state, POOL_STARTING);
	shared_store_bytes(h->tenant, LAYOUT_NAME, tenant,
			   strnlen(tenant, LAYOUT_NAME - 1));
	/* Last: a segment that was cut short is not a pool. Pairs with the
	 * acquire load in check_header(). */
	shared_store64_release(&h->magic, LAYOUT_MAGIC);
}

void layout_feature(struct pool_meta *m, uint64_t incompat)
{
	shared_u64 *known = &m->header.incompat;

	/* before what it is about: pairs with check_header() */
	shared_store64(known, shared_load64(known) | incompat);
	shared_fence_stores();
}

static int check_header(const struct pool_header *h, uint64_t bytes,
			const char **ret_why)
{
	*ret_why = "not a pool of onecopy";
	if (bytes < sizeof(*h) ||
	    shared_load64_acquire(&h->magic) != LAYOUT_MAGIC)
		return -EPROTO;
	*ret_why = "the pool has another major version";
	if (shared_load64(&h->version) >> 32 != LAYOUT_MAJOR)
		return -EPROTONOSUPPORT;
	*ret_why = "the pool has a feature that this build does not know";
	if (shared_load64(&h->incompat) & ~LAYOUT_INCOMPAT_KNOWN)
		return -EPROTONOSUPPORT;
	*ret_why = "the pool was made by another build (layout stamp)";
	if (shared_load64(&h->stamp) != layout_stamp())
		return -EPROTO;
	*ret_why = "the pool's metadata has another size";
	if (bytes < POOL_META_BYTES || shared_load64(&h->bytes) != bytes)
		return -EPROTO;
	*ret_why = "";
	return 0;
}

int layout_check(const struct pool_meta *m, uint64_t bytes, const char **why)
{
	const char *text;
	int r = check_header(&m->header, bytes, &text);

	if (why)
		*why = text;
	return r;
}
