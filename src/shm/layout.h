/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies where in the segments that server and clients share. An ABI:
 * fixed-width fields, offsets instead of pointers, one writer to a line.
 *
 * Segments of a pool:
 *
 *   meta (one for a pool; server writes, clients read)
 *     struct pool_header | tiers | counters | namespaces | clients | slabs
 *   index (one at a time; server writes; index/table.h)
 *   descriptors (one for each slab; server writes; array of frame_desc)
 *   payload (one for each slab; server and its owner write)
 *   client (one for each client; the client writes all but the answers and the
 *     overflow pins, which the server writes)
 *   sessions and their history (shm/session.h; the server alone)
 *
 * All are populated before they are shared (shm/segment.h).
 *
 * Version. `major` changes when old code would misread; `incompat` bits are
 * features that a reader must know, `compat` bits may be ignored. The stamp is
 * computed from sizes and offsets and catches builds that disagree.
 */
#ifndef ONECOPY_SHM_LAYOUT_H
#define ONECOPY_SHM_LAYOUT_H

#include "base/shared.h"
#include "coherence/client.h"
#include "coherence/frame.h"
#include "coherence/slab.h"
#include "index/match.h"
#include "wire/ring.h"

#define LAYOUT_MAGIC 0x4c4f4f5059504f43ull
#define LAYOUT_MAJOR 1u
#define LAYOUT_MINOR 3u
/* A namespace, and so a slab, is striped slice by slice. Set with the first one: a
 * pool without is as it was. */
#define LAYOUT_INCOMPAT_STRIPES 1ull
#define LAYOUT_INCOMPAT_KNOWN	LAYOUT_INCOMPAT_STRIPES

#define LAYOUT_NAME		64 /* bytes of a name, zero padded */
#define LAYOUT_NS_MAX		256
#define LAYOUT_CLIENTS_MAX	512
#define LAYOUT_SLABS_MAX	4096
#define LAYOUT_COUNTERS		96
#define LAYOUT_TIERS		8
#define LAYOUT_RANKS_MAX	64 /* groups x ranks as well */
#define LAYOUT_BLOCK_TOKENS_MAX (1u << 20)
/* Bytes of the largest part: an extent keeps them in 32 bits, and a frame is
 * whole pages. */
#define LAYOUT_PART_MAX (UINT32_MAX & ~(PAGE_BYTES - 1))

/* Identity of the layout: XXH3 over the sizes and offsets of all structs. */
uint64_t layout_stamp(void);

enum pool_state {
	POOL_STARTING = 1, /* a server is attaching; metadata may be read */
	POOL_SERVING = 2,
	POOL_STOPPED = 3, /* the node ends: no more answers */
};

struct pool_header {
	/* line 0: written once */
	shared_u64 magic;
	shared_u64 version; /* major << 32 | minor */
	shared_u64 incompat, compat;
	shared_u64 stamp;
	shared_u64 pool_id; /* random */
	shared_u64 bytes;   /* of the meta segment */
	shared_u64 born_ms; /* CLOCK_REALTIME ms */
	/* line 1: server, seldom; clients look at it on every slow path */
	shared_u64 state;	 /* enum pool_state */
	shared_u64 server_epoch; /* number of server starts; release */
	shared_u64 region_epoch; /* grows when a slab record changes; release:
				    pairs with follow_slabs() */
	shared_u64 index_epoch;	 /* grows when a new index segment is there */
	shared_u64 limit_bytes;	 /* the node's limit for slabs */
	shared_u64 max_frame;	 /* bytes of the largest frame */
	shared_u64 server_pid;
	shared_u64 alive_ms; /* CLOCK_MONOTONIC ms of the server's last tick */
	/* line 2 */
	shared_u64 tenant[LAYOUT_NAME / 8];
};
_Static_assert(sizeof(struct pool_header) == 192, "three lines");

/* Price of a tier as measured by the server. */
struct tier_record {
	shared_u64 kind; /* enum oc_tier */
	shared_u64 latency_ns;
	shared_u64 bytes_per_s;
	shared_u64 measured_ms; /* CLOCK_MONOTONIC ms; 0: never */
	shared_u64 reserved[4];
};
_Static_assert(sizeof(struct tier_record) == 64, "one line");

/* Counters of a pool: server. All count since the pool began. */
#define POOL_COUNTERS(X)                                                    \
	X(slab_bytes, "bytes in slabs now")                                 \
	X(meta_bytes, "bytes of metadata segments now")                     \
	X(slabs, "slabs now")                                               \
	X(frames, "frames now")                                             \
	X(free_frames, "free frames now")                                   \
	X(granted, "frames lent for writing now")                           \
	X(sealed, "parts resident now")                                     \
	X(sealed_bytes, "payload bytes resident now")                       \
	X(leaving, "frames removed but still pinned, now")                  \
	X(quarantined, "frames that a device may still write, now")         \
	X(retiring_bytes, "slab bytes waiting for clients to let go, now")  \
	X(clients, "clients now")                                           \
	X(grants, "frames granted")                                         \
	X(seals, "parts sealed")                                            \
	X(seal_bytes, "payload bytes sealed")                               \
	X(exists, "grants and seals answered: somebody was first")          \
	X(abandons, "grants given back or lost with their client")          \
	X(evicted, "parts evicted")                                         \
	X(evicted_bytes, "payload bytes evicted")                           \
	X(removed, "parts removed on request")                              \
	X(bad, "parts dropped because their bytes were wrong")              \
	X(scrubbed_bytes, "bytes verified by the scrubber")                 \
	X(refused, "grants refused because everything was in use")          \
	X(slabs_made, "slabs made")                                         \
	X(slabs_moved, "slabs given another shape or owner")                \
	X(slabs_retired, "slabs retired")                                   \
	X(spared, "frames found pinned while evicting")                     \
	X(touches, "touches seen")                                          \
	X(touches_lost, "touches overwritten before they were seen")        \
	X(pins, "parts pinned by clients that ended or reported")           \
	X(misses, "parts not found by such clients")                        \
	X(read_bytes, "bytes delivered by pins of such clients")            \
	X(copied_bytes, "bytes copied out by oc_get")                       \
	X(client_deaths, "clients that ended without saying so")            \
	X(quarantines, "frames whose writer ended while a device wrote")    \
	X(sessions, "sessions now")                                         \
	X(sessions_made, "sessions opened or forked")                       \
	X(forks, "sessions forked")                                         \
	X(sessions_ended, "sessions that were closed")                      \
	X(sessions_lapsed, "sessions that ended with their owner or lease") \
	X(session_refused, "requests of sessions that a quota refused")     \
	X(session_told, "returns of sessions that others announced")        \
	X(session_told_unknown, "the same of sessions that are not there")  \
	X(session_told_back, "sessions that came back after such a word")   \
	X(tail_copies, "tails copied after a fork")                         \
	X(tail_copied_bytes, "bytes of such copies")                        \
	X(quota_refused, "grants refused because of the tenant's quota")    \
	X(reclaimed_bytes, "slab bytes that other tenants took")            \
	X(faults,                                                           \
	  "requests of clients that made no sense or were not allowed")     \
	X(pin_scans, "looks at all pin slots, each for a batch of frames")  \
	X(below_parts, "parts in the tier below now")                       \
	X(below_bytes, "payload bytes in the tier below now")               \
	X(promoted, "parts brought up from the tier below")                 \
	X(promoted_bytes, "payload bytes brought up")                       \
	X(promoted_ahead, "of these parts, brought while nobody waited")    \
	X(promote_failed, "parts that the tier below did not give")         \
	X(demoted, "parts written to the tier below")                       \
	X(demoted_bytes, "payload bytes written there")                     \
	X(demote_missed, "parts evicted before they were written")          \
	X(demote_declined, "blocks that were not worth a write")            \
	X(demote_refused, "blocks over the tenant's share of the tier")     \
	X(demote_failed, "writes that the tier below refused or failed")    \
	X(cxl_slab_bytes, "bytes in slabs of CXL memory now")               \
	X(cxl_parts, "of the parts resident now, those in CXL memory")      \
	X(cxl_bytes, "payload bytes of these")                              \
	X(cxl_replicas, "parts in DRAM that CXL memory has as well, now")   \
	X(cxl_demoted, "parts that left DRAM for CXL memory")               \
	X(cxl_written, "parts written to CXL memory")                       \
	X(cxl_written_bytes, "payload bytes written to CXL memory")         \
	X(cxl_promoted, "parts copied up from CXL memory")                  \
	X(cxl_promoted_bytes, "payload bytes copied up")                    \
	X(cxl_evicted, "parts that left CXL memory, and DRAM")              \
	X(cxl_missed, "parts that left DRAM and found no room in CXL")      \
	X(memory_errors, "frames lost to errors of memory")                 \
	X(revoke_asks, "times that a client was asked for mapped parts")    \
	X(revoked, "mapped parts that were given back when asked for")      \
	X(revoke_kept, "mapped parts that were asked for and kept")         \
	X(revoke_late, "clients that did not answer such a question")       \
	X(revoke_held_bytes,                                                \
	  "frame bytes that mappings of such clients hold, now")            \
	X(region_pins, "of the parts pinned, those in a CXL region")        \
	X(region_read_bytes, "bytes delivered by such pins")                \
	X(region_published, "parts copied into this node's shard")          \
	X(region_published_bytes, "payload bytes copied there")             \
	X(region_refused, "parts that found no room in the shard")          \
	X(region_unfit,                                                     \
	  "parts not for the region: too large, striped (OC_STRIPED), or "  \
	  "values of the RESP door")                                        \
	X(region_failed, "parts that the region did not take: it failed")   \
	X(region_outside,                                                   \
	  "clients that found no free slot in the region, each once")       \
	X(passed_by, "parts sealed, worth less than what would leave next") \
	X(promoted_passing, "of the parts brought up, such ones")           \
	X(cxl_in_place, "uses of parts in CXL memory, not worth a copy up")

enum pool_counter {
#define X(name, text) POOL_C_##name,
	POOL_COUNTERS(X)
#undef X
		POOL_COUNTERS_USED
};
_Static_assert(POOL_COUNTERS_USED <= LAYOUT_COUNTERS, "room for counters");
extern const char *const pool_counter_names[POOL_COUNTERS_USED];
extern const char *const pool_counter_texts[POOL_COUNTERS_USED];

/* A group's stride: its parts lie in slabs that are striped slice by slice, and how
 * far apart two slices are is the slab's. */
#define NS_STRIDE_SLAB	   UINT64_MAX
#define LAYOUT_STRIPES_MAX 65535u

/* A namespace. Never removed while the pool lives; id = index + 1. */
struct ns_group {
	shared_u64 rule;   /* enum match_rule << 32 | window in tokens */
	shared_u64 slices; /* 0: any size up to slice_bytes */
	shared_u64 slice_bytes;
	shared_u64 stride; /* or NS_STRIDE_SLAB */
};
struct ns_record {
	shared_u64 id;	      /* 0: unused; stored last, release */
	shared_u64 digest[4]; /* SHA-256 of the identity, docs/formats/pool.md */
	shared_u64 weights[4];
	shared_u64 layout[4];
	shared_u64 block_tokens;
	shared_u64 ranks_groups; /* ranks << 32 | groups */
	shared_u64 label[LAYOUT_NAME / 8];
	shared_u64 reserved;
	struct ns_group group[MATCH_GROUPS_MAX];
};
_Static_assert(sizeof(struct ns_record) == 24 * 8 + 8 * 32, "ns record");

/* A namespace's description outside shared memory: what RING_NS_OPEN carries
 * in the blob, and what records decode to. No padding. */
struct ns_spec {
	uint8_t weights[32];
	uint8_t layout[32];
	uint32_t block_tokens;
	uint16_t ranks, groups;
	struct {
		uint32_t rule, window_tokens;
		uint64_t slices, slice_bytes, stride;
	} group[MATCH_GROUPS_MAX];
	char label[LAYOUT_NAME];
};
_Static_assert(sizeof(struct ns_spec) == 72 + 8 * 32 + 64, "no padding");

/* 0, or -EINVAL: the rules of include/onecopy/onecopy.h, the bounds, the
 * label printable ASCII, terminated. Canonical as well: window_tokens is 0
 * but for WINDOW, stride is 0 where slices is, unused groups are zeros. Pure.
 * The other ns_spec_ functions take a checked spec. */
int ns_spec_check(const struct ns_spec *spec);
/* Bytes of a whole part as it lies in a frame, strides included (the most,
 * where slices is 0). Of a striped one: those of its slices. */
uint64_t ns_spec_part_bytes(const struct ns_spec *spec, unsigned group);
/* Stripes of the slabs that parts of this group lie in: its slices, or 0. */
static inline uint32_t ns_spec_stripes(const struct ns_spec *spec,
				       unsigned group)
{
	return spec->group[group].stride == NS_STRIDE_SLAB
		       ? (uint32_t)spec->group[group].slices
		       : 0;
}
/* Are parts of any group striped? */
static inline bool ns_spec_is_striped(const struct ns_spec *spec)
{
	for (unsigned g = 0; g < spec->groups; g++)
		if (ns_spec_stripes(spec, g))
			return true;
	return false;
}
/* The rule in blocks, for index/match.h. */
struct match_group ns_spec_rule(const struct ns_spec *spec, unsigned group);
/* Identity: everything but the label; stride 0 equals stride slice_bytes.
 * SHA-256 over (little-endian, no padding) "onecopy namespace 1\0", weights,
 * layout, block_tokens u32, ranks u16, groups u16, and for each used group
 * rule u32, window_tokens u32, slices u64, slice_bytes u64, stride u64.
 * 0 or -ENOMEM. */
int ns_spec_digest(const struct ns_spec *spec, uint8_t ret_digest[32]);
/* Server: fills a record, id last. */
void ns_record_store(struct ns_record *r, uint32_t id,
		     const struct ns_spec *spec, const uint8_t digest[32]);
/* False when the record is unused (or its content is not a spec: a reader does
 * not trust memory further than it must). */
bool ns_record_load(const struct ns_record *r, struct ns_spec *ret_spec);

/* What a namespace's blocks consist of: n parts, group by group, each with its
 * ranks. */
struct ns_parts {
	uint32_t ns, groups, ranks, n;
};
/* For who trusts the record: the server. NULL, or unused: no parts. */
struct ns_parts ns_record_parts(const struct ns_record *r);
/* The i-th of them, i < n. */
static inline uint64_t ns_parts_at(const struct ns_parts *parts, uint32_t i)
{
	return frame_part(parts->ns, (uint16_t)(i / parts->ranks),
			  (uint16_t)(i % parts->ranks));
}

/* A client as the server sees it (its life: coherence/client.h): trusted. id =
 * incarnation << 16 | index, so it is never 0 (incarnations begin at 1) and never
 * used again. */
struct client_record {
	shared_u64 id; /* 0: unused; stored last when made, first when gone */
	shared_u64 pid_uid;  /* pid << 32 | uid */
	shared_u64 flags;    /* enum client_flags */
	shared_u64 pins;     /* slots in its segment << 32 | overflow slots */
	shared_u64 since_ms; /* CLOCK_MONOTONIC */
	shared_u64 reserved0[2];
	shared_u64 seals, seal_bytes;
	shared_u64 serving; /* sequence of its request that is in hand, 0: none */
	shared_u64 tries;   /* how often that was begun: a request that ends
			       servers is given up */
	shared_u64 reserved1[2];
	shared_u64 incarnation; /* the last of this index: it stays */
	shared_u64 reserved2[2];
	shared_u64 name[LAYOUT_NAME / 8];
};
_Static_assert(sizeof(struct client_record) == 192, "three lines");

/* Below LAYOUT_CLIENTS_MAX whatever the id is: who has it is for the caller to
 * compare. */
static inline uint32_t client_id_index(uint64_t id)
{
	return (uint32_t)(id & 0xffff) % LAYOUT_CLIENTS_MAX;
}
/* The server itself, as the owner of slabs that nobody else can write. Never a
 * client's: their incarnations begin at 1. */
#define CLIENT_SERVER 0xffffull
/* slab_record.writer_place says this of such slabs: no process of any user could write it. */
#define UID_SERVER UINT32_MAX
_Static_assert(CLIENT_SERVER >> 16 == 0, "no incarnation");
static inline uint64_t client_id(uint64_t incarnation, uint32_t index)
{
	return incarnation << 16 | index;
}

/* A slab (region); its life: coherence/slab.h. Its id is its index; 0 is never
 * used. A record that changes gets a new generation (word) and the pool a new
 * region_epoch. */
struct slab_record {
	shared_u64 word; /* generation << 8 | enum slab_state */
	shared_u64 frame_bytes;
	shared_u64 frames_kind; /* frames << 32 | stripes << 8 | enum
				   segment_kind; see slab_stripes() */
	shared_u64 bytes;	/* of the payload segment */
	shared_u64 desc_bytes;	/* of the descriptor segment */
	shared_u64 owner;	/* client id, or CLIENT_SERVER; 0: its owner has
				   ended */
	shared_u64 writer_place; /* low half: user id that could write this
				   memory last: it is given to no other user;
				   high half: of a range of a device, units
				   of 2 MiB before it */
	shared_u64 retire_epoch; /* region_epoch at which RETIRING began */
	/* Which clients were given its descriptors: bit = index. */
	shared_u64 given[LAYOUT_CLIENTS_MAX / 64];
};
_Static_assert(sizeof(struct slab_record) == 128, "two lines");

static inline uint64_t slab_frames_kind(uint32_t frames, uint32_t stripes,
					uint32_t kind)
{
	return (uint64_t)frames << 32 | (uint64_t)stripes << 8 | kind;
}
static inline uint32_t slab_frames(const struct slab_record *r)
{
	return (uint32_t)(shared_load64(&r->frames_kind) >> 32);
}
/* 0: frame f is frame_bytes at f * frame_bytes. Else it is so many slices of
 * frame_bytes / stripes each, and slice s of it lies at
 * (s * frames + f) * slice: neighbouring frames' slices are neighbours. */
static inline uint32_t slab_stripes(const struct slab_record *r)
{
	return (uint32_t)shared_load64(&r->frames_kind) >> 8;
}
static inline uint32_t slab_kind(const struct slab_record *r)
{
	return (uint8_t)shared_load64(&r->frames_kind);
}

/* Where a slab's memory lies in its device. */
static inline uint64_t slab_place(const struct slab_record *r)
{
	return (shared_load64(&r->writer_place) >> 32) * (2ull << 20);
}

struct pool_meta {
	struct pool_header header;
	/* What the tenant has of a CXL region: the owner word of the node as its
	 * member (region/format.h); 0: nothing. The server; release. */
	shared_u64 cxl;
	shared_u64 pad[7];
	struct tier_record tier[LAYOUT_TIERS];
	shared_u64 counter[LAYOUT_COUNTERS];
	struct ns_record ns[LAYOUT_NS_MAX];
	struct client_record client[LAYOUT_CLIENTS_MAX];
	struct slab_record slab[LAYOUT_SLABS_MAX];
};
#define POOL_META_BYTES ALIGN_UP(sizeof(struct pool_meta), PAGE_BYTES)

/* Server: formats a zeroed meta segment. */
void layout_init(struct pool_meta *m, uint64_t pool_id, const char *tenant);
/* Server: from now on who does not know this feature (LAYOUT_INCOMPAT_...) is kept
 * out. */
void layout_feature(struct pool_meta *m, uint64_t incompat);
/* Both: is this a segment that this build understands? 0; -EPROTO not a pool
 * or another build (stamp); -EPROTONOSUPPORT version or feature. `why` (may
 * be NULL) gets a static text. */
int layout_check(const struct pool_meta *m, uint64_t bytes, const char **why);

/* ---- the client segment --------------------------------------------------- */

#define TOUCH_RING 16384 /* entries, a power of two */

/* Client counters: written by the client, reported by the server. */
enum client_counter {
	CLIENT_PINS,
	CLIENT_MISSES,
	CLIENT_READ_BYTES,
	CLIENT_COPIED_BYTES,
	CLIENT_TAIL_COPIES,
	CLIENT_TAIL_COPIED_BYTES,
	CLIENT_REGION_PINS,
	CLIENT_REGION_BYTES,
	CLIENT_COUNTS
};
/* Where they are added to when a client ends. */
extern const enum pool_counter client_counter_pool[CLIENT_COUNTS];

enum client_cxl {
	CLIENT_CXL_NONE, /* it has not looked there yet */
	CLIENT_CXL_MEMBER,
	CLIENT_CXL_FULL,   /* every slot of a member is taken */
	CLIENT_CXL_APART,  /* the node could not prove its end */
	CLIENT_CXL_FENCED, /* it was declared dead there */
	CLIENT_CXL_FAILED,
	CLIENT_CXL_STATES
};

/*
 *   offset 0      line 0: client: tail, touch_tail, let_go_epoch, pin_high
 *                 line 1: client: counters
 *                 line 2: server: asleep
 *                 line 3: server: overflow_high, asked
 *   ring          RING_SLOTS x u32        client
 *   req           RING_SLOTS x 128        client
 *   resp          RING_SLOTS x 64         server
 *   touch         TOUCH_RING x u64        client: pin_word() of what was used
 *   blob          RING_BLOB_BYTES         client for questions, server for
 *                                         answers; one request at a time
 *   pins          u64 each                client; as many as its record says
 *   overflow      u64 each                server; so are these
 *   wanted        u64 for each slot       server: the pin that is asked for,
 *                                         or 0; from a line on
 */
struct client_header {
	/* line 0: client */
	shared_u64 tail;	 /* requests pushed; release */
	shared_u64 touch_tail;	 /* touches written; release; the server reads
				    at most the last TOUCH_RING of them */
	shared_u64 let_go_epoch; /* every slab RETIRING at or before this
				    region_epoch is no longer mapped; release.
				    UINT64_MAX: nothing is mapped any more,
				    stored before the socket is closed */
	shared_u64 pin_high;	 /* slots below this may be in use. Stored
				    before the slot (same fence, R2) */
	shared_u64 answered; /* the last `asked` that was dealt with: what was
				asked for is unmapped and unpinned, or kept;
				release (coherence/revoke.h) */
	shared_u64 cxl; /* its part in the tenant's CXL region, for people: enum
			   client_cxl << 32 | member */
	shared_u64 reserved0[2];
	/* line 1: client */
	shared_u64 counter[8]; /* enum client_counter */
	/* line 2: server */
	shared_u64 asleep; /* 1: push must ring the bell */
	shared_u64 reserved2[7];
	/* line 3: server */
	shared_u64 overflow_high;
	shared_u64 asked; /* grows when pins are asked for; release, after the
			     words that say which. Its low half is a futex */
	shared_u64 reserved3[6];
};
_Static_assert(sizeof(struct client_header) == 256, "four lines");

struct client_segment {
	struct client_header header;
	shared_u32 ring[RING_SLOTS];
	struct ring_req req[RING_SLOTS];
	struct ring_resp resp[RING_SLOTS];
	shared_u64 touch[TOUCH_RING];
	shared_u64 blob[RING_BLOB_BYTES / 8];
	shared_u64 slots[]; /* pins, then overflow */
};

#define CLIENT_WANTED_BYTES 8u /* of a slot */
/* Of the whole segment, where `wanted` begins. */
static inline uint64_t client_wanted_at(uint32_t pins, uint32_t overflow)
{
	return ALIGN_UP(sizeof(struct client_segment) +
				((uint64_t)pins + overflow) * 8,
			CACHE_LINE);
}
static inline shared_u64 *client_wanted(struct client_segment *seg,
					uint32_t pins, uint32_t overflow)
{
	return (shared_u64 *)((char *)seg + client_wanted_at(pins, overflow));
}
static inline uint64_t client_segment_bytes(uint32_t pins, uint32_t overflow)
{
	return ALIGN_UP(client_wanted_at(pins, overflow) +
				((uint64_t)pins + overflow) *
					CLIENT_WANTED_BYTES,
			PAGE_BYTES);
}

#endif
