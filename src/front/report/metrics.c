/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "front/report/lines.h"
#include "front/report/process.h"
#include "store/shard.h"
#include "tier/tier.h"

#define NAME(text) "onecopy_" text

/* ---- pools ------------------------------------------------------------------- */

/* How a pool's counter is told. One that only grows is a counter. By tier is
 * what lies in memory; all of it is in DRAM so far. */
struct pool_row {
	const char *name;
	enum lines_type type;
	bool tier;
};
#define GAUGE(text)                                             \
	{                                                       \
		.name = NAME("pool_") text, .type = LINES_GAUGE \
	}
/* Of DRAM alone; what has no tier counts memory below it as well. */
#define TIER(text)                                                            \
	{                                                                     \
		.name = NAME("pool_") text, .type = LINES_GAUGE, .tier = true \
	}
#define TOTAL(text)                                                        \
	{                                                                  \
		.name = NAME("pool_") text "_total", .type = LINES_COUNTER \
	}
static const struct pool_row pool_rows[] = {
	[POOL_C_slab_bytes] = TIER("slab_bytes"),
	[POOL_C_meta_bytes] = GAUGE("metadata_bytes"),
	[POOL_C_slabs] = GAUGE("slabs"),
	[POOL_C_frames] = GAUGE("frames"),
	[POOL_C_free_frames] = GAUGE("free_frames"),
	[POOL_C_granted] = GAUGE("granted_frames"),
	[POOL_C_sealed] = TIER("sealed_parts"),
	[POOL_C_sealed_bytes] = TIER("sealed_bytes"),
	[POOL_C_leaving] = GAUGE("leaving_frames"),
	[POOL_C_quarantined] = GAUGE("quarantined_frames"),
	[POOL_C_retiring_bytes] = GAUGE("retiring_bytes"),
	[POOL_C_clients] = GAUGE("clients"),
	[POOL_C_grants] = TOTAL("grants"),
	[POOL_C_seals] = TOTAL("seals"),
	[POOL_C_seal_bytes] = TOTAL("seal_bytes"),
	[POOL_C_exists] = TOTAL("duplicates"),
	[POOL_C_abandons] = TOTAL("abandons"),
	[POOL_C_evicted] = TOTAL("evicted_parts"),
	[POOL_C_evicted_bytes] = TOTAL("evicted_bytes"),
	[POOL_C_removed] = TOTAL("removed_parts"),
	[POOL_C_bad] = TOTAL("wrong_parts"),
	[POOL_C_scrubbed_bytes] = TOTAL("scrubbed_bytes"),
	[POOL_C_refused] = TOTAL("refused_grants"),
	[POOL_C_slabs_made] = TOTAL("slabs_made"),
	[POOL_C_slabs_moved] = TOTAL("slabs_moved"),
	[POOL_C_slabs_retired] = TOTAL("slabs_retired"),
	[POOL_C_spared] = TOTAL("spared_frames"),
	[POOL_C_touches] = TOTAL("touches"),
	[POOL_C_touches_lost] = TOTAL("lost_touches"),
	[POOL_C_pins] = TOTAL("hits"),
	[POOL_C_misses] = TOTAL("misses"),
	[POOL_C_read_bytes] = TOTAL("read_bytes"),
	[POOL_C_copied_bytes] = TOTAL("copied_bytes"),
	[POOL_C_client_deaths] = TOTAL("client_deaths"),
	[POOL_C_quarantines] = TOTAL("quarantines"),
	[POOL_C_sessions] = GAUGE("sessions"),
	[POOL_C_sessions_made] = TOTAL("sessions_made"),
	[POOL_C_forks] = TOTAL("forks"),
	[POOL_C_sessions_ended] = TOTAL("sessions_closed"),
	[POOL_C_sessions_lapsed] = TOTAL("sessions_lapsed"),
	[POOL_C_session_refused] = TOTAL("refused_session_requests"),
	[POOL_C_session_told] = TOTAL("told_sessions"),
	[POOL_C_session_told_unknown] = TOTAL("told_unknown_sessions"),
	[POOL_C_session_told_back] = TOTAL("told_sessions_back"),
	[POOL_C_tail_copies] = TOTAL("tail_copies"),
	[POOL_C_tail_copied_bytes] = TOTAL("tail_copied_bytes"),
	[POOL_C_quota_refused] = TOTAL("quota_refused_grants"),
	[POOL_C_reclaimed_bytes] = TOTAL("reclaimed_bytes"),
	[POOL_C_faults] = TOTAL("faulty_requests"),
	[POOL_C_pin_scans] = TOTAL("pin_scans"),
	[POOL_C_below_parts] = GAUGE("below_parts"),
	[POOL_C_below_bytes] = GAUGE("below_bytes"),
	[POOL_C_promoted] = TOTAL("promoted_parts"),
	[POOL_C_promoted_bytes] = TOTAL("promoted_bytes"),
	[POOL_C_promoted_ahead] = TOTAL("promoted_ahead_parts"),
	[POOL_C_promote_failed] = TOTAL("failed_promotions"),
	[POOL_C_demoted] = TOTAL("demoted_parts"),
	[POOL_C_demoted_bytes] = TOTAL("demoted_bytes"),
	[POOL_C_demote_missed] = TOTAL("unwritten_evictions"),
	[POOL_C_demote_declined] = TOTAL("declined_demotions"),
	[POOL_C_demote_refused] = TOTAL("share_refused_demotions"),
	[POOL_C_demote_failed] = TOTAL("failed_demotions"),
	[POOL_C_cxl_slab_bytes] = GAUGE("cxl_slab_bytes"),
	[POOL_C_cxl_parts] = GAUGE("cxl_parts"),
	[POOL_C_cxl_bytes] = GAUGE("cxl_bytes"),
	[POOL_C_cxl_replicas] = GAUGE("cxl_replicas"),
	[POOL_C_cxl_demoted] = TOTAL("cxl_demoted_parts"),
	[POOL_C_cxl_written] = TOTAL("cxl_written_parts"),
	[POOL_C_cxl_written_bytes] = TOTAL("cxl_written_bytes"),
	[POOL_C_cxl_promoted] = TOTAL("cxl_promoted_parts"),
	[POOL_C_cxl_promoted_bytes] = TOTAL("cxl_promoted_bytes"),
	[POOL_C_cxl_evicted] = TOTAL("cxl_evicted_parts"),
	[POOL_C_cxl_missed] = TOTAL("cxl_missed_parts"),
	[POOL_C_memory_errors] = TOTAL("memory_errors"),
	[POOL_C_revoke_asks] = TOTAL("revocation_requests"),
	[POOL_C_revoked] = TOTAL("revoked_mapped_parts"),
	[POOL_C_revoke_kept] = TOTAL("kept_mapped_parts"),
	[POOL_C_revoke_late] = TOTAL("silent_clients"),
	[POOL_C_revoke_held_bytes] = GAUGE("silently_mapped_bytes"),
	[POOL_C_region_pins] = TOTAL("region_hits"),
	[POOL_C_region_read_bytes] = TOTAL("region_read_bytes"),
	[POOL_C_region_published] = TOTAL("region_published_parts"),
	[POOL_C_region_published_bytes] = TOTAL("region_published_bytes"),
	[POOL_C_region_refused] = TOTAL("region_refused_parts"),
	[POOL_C_region_unfit] = TOTAL("region_unfit_parts"),
	[POOL_C_region_failed] = TOTAL("region_failed_parts"),
	[POOL_C_region_outside] = TOTAL("region_outside_clients"),
	[POOL_C_passed_by] = TOTAL("passed_by_parts"),
	[POOL_C_promoted_passing] = TOTAL("passing_promoted_parts"),
	[POOL_C_cxl_in_place] = TOTAL("cxl_in_place_uses"),
};
_Static_assert(ARRAY_LEN(pool_rows) == POOL_COUNTERS_USED, "a row for each");

/* All pools, looked at once. */
struct pools {
	struct {
		uint32_t number;
		const struct pool *pool;
		char tenant[LAYOUT_NAME + 1];
		uint64_t counts[POOL_COUNTERS_USED];
	} pool[STORE_POOLS_MAX];
	unsigned n;
};

static void pools_look(const struct report *r, struct pools *ret_pools)
{
	ret_pools->n = 0;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = store_pool(r->store, n);
		unsigned at = ret_pools->n;

		if (!p)
			continue;
		ret_pools->pool[at].number = n;
		ret_pools->pool[at].pool = p;
		report_tenant(p, ret_pools->pool[at].tenant);
		report_counters(r, p, ret_pools->pool[at].counts);
		ret_pools->n++;
	}
}

/* What is resident in CXL memory has rows of its own. */
static uint64_t in_tier(const uint64_t *counts, unsigned c)
{
	if (c == POOL_C_sealed)
		return counts[c] - counts[POOL_C_cxl_parts];
	if (c == POOL_C_sealed_bytes)
		return counts[c] - counts[POOL_C_cxl_bytes];
	return counts[c];
}

static void put_pools(struct lines *l, const struct pools *pools)
{
	for (unsigned c = 0; c < POOL_COUNTERS_USED; c++) {
		const struct pool_row *row = &pool_rows[c];

		lines_family(l, row->name, row->type, pool_counter_texts[c]);
		for (unsigned i = 0; i < pools->n; i++) {
			const struct lines_label labels[LINES_LABELS] = {
				{ "tenant", pools->pool[i].tenant },
				{ row->tier ? "tier" : NULL, "dram" },
			};

			lines_u64(l, "", labels,
				  in_tier(pools->pool[i].counts, c));
		}
	}
}

static uint64_t pool_quota(const struct pool *p)
{
	return p->quota;
}

static uint64_t pool_share(const struct pool *p)
{
	return p->share;
}

/* What the pool's counters do not tell. */
static void put_quotas(struct lines *l, const struct pools *pools)
{
	static const struct {
		const char *name, *help;
		uint64_t (*value)(const struct pool *p);
	} rows[] = {
		{ NAME("pool_quota_bytes"),
		  "bytes of slabs that the tenant may have", pool_quota },
		{ NAME("pool_share_bytes"),
		  "bytes of slabs that the tenant has for certain",
		  pool_share },
		{ NAME("pool_borrowed_bytes"),
		  "bytes of slabs beyond the tenant's share",
		  store_pool_borrowed },
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		lines_family(l, rows[k].name, LINES_GAUGE, rows[k].help);
		for (unsigned i = 0; i < pools->n; i++) {
			const struct lines_label labels[LINES_LABELS] = {
				{ "tenant", pools->pool[i].tenant },
			};

			lines_u64(l, "", labels,
				  rows[k].value(pools->pool[i].pool));
		}
	}
}

/* What the eviction policy has seen of sessions, where it knows them. */
static const struct {
	const char *name;
	enum lines_type type;
	const char *help;
} return_rows[] = {
	{ NAME("sessions_fit"), LINES_GAUGE,
	  "sessions of the usual length that memory holds" },
	{ NAME("sessions_resident"), LINES_GAUGE,
	  "sessions with blocks in memory" },
	{ NAME("sessions_returned_blocks_total"), LINES_COUNTER,
	  "blocks that sessions came back for" },
	{ NAME("sessions_lost_blocks_total"), LINES_COUNTER,
	  "of these, not in memory any more" },
};

static void put_returns(struct lines *l, const struct report *r,
			const struct pools *pools)
{
	struct policy_load load;

	if (!pools->n || !store_pool_load(r->store, pools->pool[0].pool, &load))
		return; /* all pools have the same policy */
	for (size_t k = 0; k < ARRAY_LEN(return_rows); k++) {
		lines_family(l, return_rows[k].name, return_rows[k].type,
			     return_rows[k].help);
		for (unsigned i = 0; i < pools->n; i++) {
			const struct lines_label labels[LINES_LABELS] = {
				{ "tenant", pools->pool[i].tenant },
			};

			store_pool_load(r->store, pools->pool[i].pool, &load);
			lines_u64(l, "", labels,
				  (const uint64_t[]){ load.fit, load.sessions,
						      load.returned,
						      load.lost }[k]);
		}
	}
}

/* ---- tiers ------------------------------------------------------------------- */

static void put_tier(struct lines *l, const struct tier_record *t, bool latency)
{
	const struct tier_ops *ops =
		tier_find((unsigned)shared_load64(&t->kind));
	struct lines_label labels[LINES_LABELS] = { { "tier", NULL } };

	if (!ops || !shared_load64(&t->measured_ms))
		return;
	labels[0].value = ops->name;
	if (latency)
		lines_real(l, "", labels,
			   (double)shared_load64(&t->latency_ns) / 1e9);
	else
		lines_u64(l, "", labels, shared_load64(&t->bytes_per_s));
}

/* Each pool's record tells the same. */
static void put_tiers(struct lines *l, const struct pools *pools)
{
	const struct pool_meta *m = pools->n ? pools->pool[0].pool->m : NULL;

	lines_family(l, NAME("tier_latency_seconds"), LINES_GAUGE,
		     "measured time to the first byte");
	for (unsigned i = 0; m && i < LAYOUT_TIERS; i++)
		put_tier(l, &m->tier[i], true);
	lines_family(l, NAME("tier_bytes_per_second"), LINES_GAUGE,
		     "measured speed of one reader");
	for (unsigned i = 0; m && i < LAYOUT_TIERS; i++)
		put_tier(l, &m->tier[i], false);
}

/* What does not only grow; the rest is counted since the tier was opened. */
static bool is_gauge(const char *name, const char *text)
{
	static const char *const fixed[] = { "limit_bytes", "recovered",
					     "recover_us" };

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		if (!strcmp(name, fixed[i]))
			return true;
	return strstr(text, " now") != NULL;
}

static void put_below_row(struct lines *l, const char *name, const char *text,
			  uint64_t value)
{
	const struct lines_label labels[LINES_LABELS] = { { "tier", "nvme" } };
	bool now = is_gauge(name, text);
	char full[64];

	snprintf(full, sizeof(full), NAME("below_%s%s"), name,
		 now ? "" : "_total");
	lines_family(l, full, now ? LINES_GAUGE : LINES_COUNTER, text);
	lines_u64(l, "", labels, value);
}

/* The tier below as a device; what each tenant has there is with the pools. */
static void put_below(struct lines *l, const struct report *r)
{
	const struct tier_stat *st = store_below_stat(r->store);
	struct lines_label labels[LINES_LABELS] = { { "tier", "nvme" },
						    { "state", NULL } };

	if (!st)
		return;
	lines_family(l, NAME("below_state"), LINES_GAUGE,
		     "1 for the state that it is in");
	for (unsigned s = 0; s < TIER_STATES; s++) {
		labels[1].value = tier_state_name((enum tier_state)s);
		lines_u64(l, "", labels, st->state == s);
	}
#define X(name, text) put_below_row(l, #name, text, st->name);
	TIER_STATS(X)
#undef X
}

/* ---- doors ------------------------------------------------------------------- */

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), k = strlen(end);

	return n >= k && !strcmp(text + n - k, end);
}

/* connections_now beside connections: a gauge, onecopy_door_open_connections.
 * The name of anything else that is "now" loses the ending. */
static enum lines_type door_name(enum door_counter c, char *name, size_t cap)
{
	const char *own = door_counter_names[c];
	int bare = (int)(strlen(own) - 4);

	if (!ends_in(own, "_now")) {
		snprintf(name, cap, NAME("door_%s_total"), own);
		return LINES_COUNTER;
	}
	snprintf(name, cap, NAME("door_open_%.*s"), bare, own);
	return LINES_GAUGE;
}

static void put_door(struct lines *l, const struct door *d,
		     const struct pools *pools, enum door_counter c)
{
	struct lines_label labels[LINES_LABELS] = {
		{ "door", d->name },
		{ "tenant", "" },
	};

	for (unsigned i = 0; i < pools->n; i++) {
		labels[1].value = pools->pool[i].tenant;
		lines_u64(l, "", labels, d->count[pools->pool[i].number][c]);
	}
	labels[1].value = "";
	lines_u64(l, "", labels, d->count[DOOR_NO_TENANT][c]);
}

static void put_time(struct lines *l, const struct door *d, unsigned kind)
{
	static const struct {
		const char *le;
		uint64_t ns;
	} edges[] = {
		{ "1e-05", 10000 },	{ "2.5e-05", 25000 },
		{ "5e-05", 50000 },	{ "0.0001", 100000 },
		{ "0.00025", 250000 },	{ "0.0005", 500000 },
		{ "0.001", 1000000 },	{ "0.0025", 2500000 },
		{ "0.005", 5000000 },	{ "0.01", 10000000 },
		{ "0.025", 25000000 },	{ "0.05", 50000000 },
		{ "0.1", 100000000 },	{ "0.25", 250000000 },
		{ "0.5", 500000000 },	{ "1", 1000000000 },
		{ "2.5", 2500000000 },	{ "10", 10000000000 },
		{ "+Inf", UINT64_MAX },
	};
	struct lines_label labels[LINES_LABELS] = {
		{ "door", d->name },
		{ "kind", d->kind[kind] },
		{ "le", NULL },
	};
	const struct hist *h = &d->time_ns[kind];

	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		labels[2].value = edges[i].le;
		lines_u64(l, "_bucket", labels, hist_upto(h, edges[i].ns));
	}
	labels[2].name = NULL;
	lines_real(l, "_sum", labels, (double)h->sum / 1e9);
	lines_u64(l, "_count", labels, h->count);
}

static void put_doors(struct lines *l, const struct report *r,
		      const struct pools *pools)
{
	char name[64];

	for (unsigned c = 0; c < DOOR_COUNTERS_USED; c++) {
		enum lines_type type =
			door_name((enum door_counter)c, name, sizeof(name));

		lines_family(l, name, type, door_counter_texts[c]);
		for (unsigned i = 0; i < r->n_doors; i++)
			put_door(l, r->door[i], pools, (enum door_counter)c);
	}
	lines_family(l, NAME("door_request_duration_seconds"), LINES_HISTOGRAM,
		     "from the last byte of a request to the first of its "
		     "answer");
	for (unsigned i = 0; i < r->n_doors; i++)
		for (unsigned k = 0; k < DOOR_KINDS_MAX; k++)
			if (r->door[i]->kind[k])
				put_time(l, r->door[i], k);
}

/* ---- the node and its process ------------------------------------------------ */

static void put_one(struct lines *l, const char *name, enum lines_type type,
		    const char *help, uint64_t value)
{
	lines_family(l, name, type, help);
	lines_u64(l, "", NULL, value);
}

static void put_info(struct lines *l, const struct report *r)
{
	const struct lines_label labels[LINES_LABELS] = {
		{ "version", r->version },
		{ "loop", r->loop ? loop_backend_name(r->loop) : "none" },
	};

	lines_family(l, NAME("build_info"), LINES_GAUGE,
		     "version, and what the event loop uses");
	lines_u64(l, "", labels, 1);
}

static void put_node(struct lines *l, const struct report *r, uint64_t now_ns)
{
	const uint64_t starts = report_starts(r);
	struct store_load load;
	struct health h;

	store_load(r->store, &load);
	report_health(r, now_ns, &h);
	put_info(l, r);
	put_one(l, NAME("memory_limit_bytes"), LINES_GAUGE,
		"most that all slabs may take", load.limit_bytes);
	put_one(l, NAME("memory_used_bytes"), LINES_GAUGE,
		"slabs made, being made or retiring", load.used_bytes);
	put_one(l, NAME("cxl_limit_bytes"), LINES_GAUGE,
		"most that all slabs in memory below DRAM may take; 0: there "
		"is none",
		load.low_limit);
	put_one(l, NAME("cxl_used_bytes"), LINES_GAUGE,
		"slabs in memory below DRAM", load.low_used);
	put_one(l, NAME("cxl_up"), LINES_GAUGE,
		"1: the memory below DRAM is there; 0: there is none, or it "
		"was taken away",
		load.low_limit && !load.low_gone);
	put_one(l, NAME("cxl_memory_errors_total"), LINES_COUNTER,
		"frames below DRAM whose memory has failed", load.low_errors);
	put_one(l, NAME("cxl_aside_bytes"), LINES_GAUGE,
		"of a device below DRAM, lost for good", load.low_aside);
	put_one(l, NAME("waiting_grants"), LINES_GAUGE,
		"grants that wait for room", load.waiting);
	put_one(l, NAME("refused_slabs_total"), LINES_COUNTER,
		"slabs for which the kernel had no memory", load.slabs_refused);
	put_one(l, NAME("server_restarts_total"), LINES_COUNTER,
		"servers that the keeper has started after the first",
		starts - MIN(starts, 1ull));
	put_one(l, NAME("ready"), LINES_GAUGE, "1: the node takes requests",
		h.ready);
	put_one(l, NAME("degraded_reasons"), LINES_GAUGE,
		"reasons that /health gives", h.n_degraded);
}

/* Nothing where the node is in no region. */
static void put_region(struct lines *l, const struct report *r)
{
	struct store_region_stat st;

	store_region_stat(r->store, &st);
	if (st.state == STORE_REGION_NONE && !r->region_missing)
		return;
	put_one(l, NAME("region_member"), LINES_GAUGE,
		"1: this node is a member of its CXL region",
		st.state == STORE_REGION_IN);
	put_one(l, NAME("region_shards"), LINES_GAUGE,
		"shards that this node owns", st.owned);
	put_one(l, NAME("region_free_frames"), LINES_GAUGE,
		"free frames of these", st.free);
	put_one(l, NAME("region_sealed_frames"), LINES_GAUGE,
		"sealed frames of these", st.sealed);
	put_one(l, NAME("region_held_frames"), LINES_GAUGE,
		"frames of these that are used no more", st.held);
	put_one(l, NAME("region_unowned_shards"), LINES_GAUGE,
		"shards that no living member owns", st.nobodys);
	put_one(l, NAME("region_failed_shards"), LINES_GAUGE,
		"shards of this node that are out of use: their memory failed",
		st.failed.shards);
	put_one(l, NAME("region_memory_errors_total"), LINES_COUNTER,
		"times that the region's memory failed under this node",
		st.failed.times);
	put_one(l, NAME("region_nodes"), LINES_GAUGE,
		"members that own shards or would", st.nodes);
	put_one(l, NAME("region_readers"), LINES_GAUGE,
		"members that read alone", st.readers);
	put_one(l, NAME("region_late_members"), LINES_GAUGE,
		"members that are silent and may live", st.late);
	put_one(l, NAME("region_quarantined_shards"), LINES_GAUGE,
		"shards of these", st.quarantined);
	put_one(l, NAME("region_evicted_frames_total"), LINES_COUNTER,
		"blocks that left this node's shards",
		st.count[REGION_C_evictions]);
	put_one(l, NAME("region_spared_frames_total"), LINES_COUNTER,
		"blocks that did not because of a pin",
		st.count[REGION_C_spared]);
	put_one(l, NAME("region_wrong_frames_total"), LINES_COUNTER,
		"blocks there whose bytes were wrong", st.count[REGION_C_bad]);
}

static void put_known(struct lines *l, const char *name, const char *help,
		      uint64_t value)
{
	if (value)
		put_one(l, name, LINES_GAUGE, help, value);
}

/* The names that Prometheus' own libraries give. */
static void put_process(struct lines *l, const struct report *r)
{
	struct process p;

	process_look(&p);
	put_known(l, "process_resident_memory_bytes", "resident memory",
		  p.resident_bytes);
	put_known(l, "process_virtual_memory_bytes", "virtual memory",
		  p.virtual_bytes);
	put_known(l, "process_open_fds", "open descriptors", p.fds);
	put_known(l, "process_max_fds", "most descriptors", p.fds_most);
	lines_family(l, "process_cpu_seconds_total", LINES_COUNTER,
		     "processor time, user and system");
	lines_real(l, "", NULL, p.cpu_s);
	lines_family(l, "process_start_time_seconds", LINES_GAUGE,
		     "start of the server, since 1970");
	lines_u64(l, "", NULL, r->start_unix_ms / 1000);
}

int metrics_text(const struct report *r, uint64_t now_ns, size_t most,
		 char **ret_text, size_t *ret_bytes)
{
	struct lines l = { .most = most };
	struct pools pools;

	pools_look(r, &pools);
	put_node(&l, r, now_ns);
	put_pools(&l, &pools);
	put_quotas(&l, &pools);
	put_returns(&l, r, &pools);
	put_tiers(&l, &pools);
	put_below(&l, r);
	put_region(&l, r);
	put_doors(&l, r, &pools);
	put_process(&l, r);
	if (l.error) {
		free(l.data);
		return l.error;
	}
	*ret_text = l.data;
	*ret_bytes = l.bytes;
	return 0;
}
