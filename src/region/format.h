/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies where in a CXL region. docs/formats/region.md is the document.
 *
 *   0        2 MiB         + members * 2 MiB
 *   +--------+------+------+-----+---------+---------+-----+
 *   | control| pin unit 0  | ... | shard 0 | shard 1 | ... |
 *   +--------+------+------+-----+---------+---------+-----+
 *
 *   control   header | member records | owner records
 *   pin unit  header | touch ring | pin slots          one member writes it
 *   shard     header | index table | descriptors | frames     its owner does
 *
 * Everything that is mapped by itself begins and ends at 2 MiB, as a devdax
 * device wants it: nobody can map or give back a part. Members map the whole
 * for reading; for writing the control area, their own pin unit and the shards
 * that they own.
 *
 * Each line has one writer, except the words of member and owner records, which
 * change by compare-and-swap.
 */
#ifndef ONECOPY_REGION_FORMAT_H
#define ONECOPY_REGION_FORMAT_H

#include "coherence/frame.h"
#include "coherence/member.h"
#include "index/table.h"

#define REGION_MAGIC	   0x31474552504f434full /* "OCOPREG1" */
#define REGION_VERSION	   (1ull << 32)		 /* major << 32 | minor */
#define REGION_UNIT	   (2ull << 20)
#define REGION_NAME	   64
#define REGION_MEMBERS_MAX 512u
#define REGION_SHARDS_MAX  512u
#define REGION_TOUCHES	   8192u /* a power of two */
#define REGION_REPORTS	   64u
#define REGION_SLOTS                                      \
	((REGION_UNIT - sizeof(struct region_unit_head) - \
	  REGION_TOUCHES * sizeof(uint64_t)) /            \
	 sizeof(uint64_t))

/* Written by `format` alone, magic last. */
struct region_header {
	shared_u64 magic; /* 0: being formatted */
	shared_u64 version;
	shared_u64 incompat; /* feature bits; this version knows none */
	shared_u64 compat;
	shared_u64 stamp;
	shared_u64 mode;    /* enum region_mode */
	shared_u64 id;	    /* random */
	shared_u64 born_ms; /* CLOCK_REALTIME */
	/* geometry */
	shared_u64 bytes;
	shared_u64 members;
	shared_u64 shards;
	shared_u64 frames; /* of one shard */
	shared_u64 frame_bytes;
	shared_u64 lease_ms;
	shared_u64 reserved[2];
	shared_u64 tenant[REGION_NAME / 8]; /* text, padded with zeros */
	shared_u64 rest[488];
};
_Static_assert(sizeof(struct region_header) == PAGE_BYTES, "a page");

struct region_member {
	/* line 0: by compare-and-swap */
	shared_u64 word; /* coherence/member.h */
	shared_u64 reserved0[7];
	/* line 1: the member */
	shared_u64 known;   /* the incarnation whose lines 1 to 3 are written;
			       release */
	shared_u64 beat;    /* grows with each heartbeat */
	shared_u64 beat_ms; /* CLOCK_REALTIME of its host, then */
	shared_u64 wants;   /* 1: it owns no shard and would take one */
	shared_u64 role;    /* enum region_role */
	shared_u64 reserved1[3];
	/* line 2: the member, in JOINING */
	shared_u64 host[2]; /* region_host_id() */
	shared_u64 pid;	    /* of a node: its keeper's */
	shared_u64 started; /* of the process: clock ticks after boot */
	shared_u64 writer;  /* of a node: its server (region_process()), which
			       changes by compare-and-swap; 0: pid writes */
	shared_u64 image;   /* region_host_image() of pid; 0: not known */
	shared_u64 reserved2[2];
	/* line 3: the member, in JOINING */
	shared_u64 name[REGION_NAME / 8];
};
_Static_assert(sizeof(struct region_member) == 256, "four lines");
_Static_assert(offsetof(struct region_member, known) == 64, "line 1");
_Static_assert(offsetof(struct region_member, host) == 128, "line 2");

enum region_role {
	REGION_OWNER = 0,  /* owns shards or would; has a heart */
	REGION_READER = 1, /* pins alone; no heart: nothing waits for it but its
			      end */
};

/* started << 22 | pid: one process of a host for as long as the host is up. The
 * kernel's numbers of processes are below 1 << 22. */
#define REGION_PID_BITS 22
static inline uint64_t region_process(uint64_t pid, uint64_t started)
{
	return started << REGION_PID_BITS |
	       (pid & ((1ull << REGION_PID_BITS) - 1));
}
static inline uint64_t region_process_pid(uint64_t process)
{
	return process & ((1ull << REGION_PID_BITS) - 1);
}
static inline uint64_t region_process_started(uint64_t process)
{
	return process >> REGION_PID_BITS;
}

/* (member + 1) << 32 | incarnation; 0: nobody. By compare-and-swap. */
struct region_owner {
	shared_u64 word;
	shared_u64 reserved[7];
};
_Static_assert(sizeof(struct region_owner) == 64, "one line");

static inline uint64_t region_owner_word(uint32_t member, uint64_t inc)
{
	return (uint64_t)(member + 1) << 32 | inc;
}
/* owner is not 0 */
static inline uint32_t region_owner_member(uint64_t owner)
{
	return (uint32_t)(owner >> 32) - 1;
}
static inline uint64_t region_owner_inc(uint64_t owner)
{
	return owner & 0xffffffff;
}

struct region_control {
	struct region_header header;
	struct region_member member[REGION_MEMBERS_MAX];
	struct region_owner owner[REGION_SHARDS_MAX];
};
_Static_assert(sizeof(struct region_control) <= REGION_UNIT, "one unit");

/* Counters of a member; in its pin unit. */
#define REGION_COUNTS(X)                                               \
	X(pins, "blocks pinned")                                       \
	X(pins_remote, "of these, in shards of other members")         \
	X(misses, "look-ups that found nothing")                       \
	X(stale, "blocks that left between look-up and pin")           \
	X(bad, "blocks whose bytes did not have their checksum")       \
	X(seals, "blocks sealed")                                      \
	X(seal_bytes, "bytes of these")                                \
	X(exists, "blocks that were not written: the region had them") \
	X(evictions, "blocks evicted")                                 \
	X(spared, "blocks not evicted because of a pin")               \
	X(removed, "blocks removed")                                   \
	X(refused, "blocks refused for want of room")                  \
	X(exited, "members whose process was seen to end")             \
	X(taken, "shards taken over")                                  \
	X(memory_errors, "times that the region's memory failed under it")
enum region_count {
#define X(name, text) REGION_C_##name,
	REGION_COUNTS(X)
#undef X
		REGION_COUNTS_USED
};

struct region_unit_head {
	shared_u64
		high; /* slots below it may be in use; stored before the slot */
	shared_u64 touch_tail;	/* touches written, ever; release */
	shared_u64 report_tail; /* reports written, ever; release */
	shared_u64 reserved[5];
	shared_u64 report[REGION_REPORTS]; /* pin words of blocks found bad */
	shared_u64 count[64];		   /* enum region_count */
	shared_u64 rest[376];
};
_Static_assert(sizeof(struct region_unit_head) == PAGE_BYTES, "a page");
_Static_assert(REGION_COUNTS_USED <= 64, "room");

struct region_unit {
	struct region_unit_head head;
	shared_u64 touch[REGION_TOUCHES]; /* pin words */
	shared_u64 slot[];		  /* REGION_SLOTS; coherence/pin.h */
};

/* Written by the owner; what it says is for people. */
struct region_shard_head {
	shared_u64 ready; /* the owner word that has taken over what lay there */
	shared_u64 free;  /* frames now */
	shared_u64 sealed;
	shared_u64 quarantined;
	shared_u64 node[2]; /* who had it last (region_join_options), before
			       ready */
	shared_u64 rest[506];
};
_Static_assert(sizeof(struct region_shard_head) == PAGE_BYTES, "a page");

/* As frame_desc (coherence/frame.h) with other fields on line 1. */
struct region_desc {
	shared_u64 word;
	shared_u64 key[4];
	shared_u64 checksum;
	shared_u64 part;   /* region_part() */
	shared_u64 extent; /* payload bytes << 32 | tokens */
	/* line 1 */
	shared_u64 ns[4]; /* the namespace's digest */
	shared_u64 grant_flags;
	shared_u64 sealed_ms; /* CLOCK_REALTIME of the owner's host */
	shared_u64 reserved[2];
};
_Static_assert(sizeof(struct region_desc) == sizeof(struct frame_desc), "as");
_Static_assert(offsetof(struct region_desc, part) ==
		       offsetof(struct frame_desc, part),
	       "line 0 is the same");
_Static_assert(offsetof(struct region_desc, ns) == 64, "line 1");

/* A block's part, as nodes know it who do not share numbers of namespaces. */
struct region_name {
	uint64_t key[4];
	uint64_t ns[4]; /* digest (docs/formats/pool.md) */
	uint16_t group, rank;
};

/* 32 bits of the namespace stand where a pool has its number; the descriptor
 * has all 256, and they are compared. */
static inline uint64_t region_part(const struct region_name *n)
{
	return frame_part((uint32_t)n->ns[0], n->group, n->rank);
}

/* Slab numbers of locations begin with 1. */
static inline uint64_t region_loc(uint32_t shard, uint32_t frame)
{
	return frame_loc(shard + 1, frame);
}

struct region_geometry {
	uint64_t bytes; /* of the region in use, whole units */
	uint32_t members, shards;
	uint32_t frames; /* of one shard */
	uint64_t frame_bytes;
	uint32_t lease_ms;
};

/* Offsets: of the region, and inside each shard. */
struct region_places {
	uint64_t units;	 /* of the first pin unit */
	uint64_t shards; /* of the first shard */
	uint64_t shard_bytes;
	uint64_t table, table_bytes;
	uint64_t desc;
	uint64_t payload;
};

/* Pure. Where everything lies; -EINVAL when the geometry is not one. */
int region_places(const struct region_geometry *g,
		  struct region_places *ret_places);
/* Pure. The most frames for so many bytes: fills g->frames and g->bytes from
 * the rest. -ENOSPC when there is no room for one frame a shard, -EINVAL. */
int region_fit(struct region_geometry *g, uint64_t bytes);

uint64_t region_stamp(void);
/* Zeroes all metadata and writes the header. The memory is nobody else's. */
void region_write_format(void *base, const struct region_geometry *g,
			 const char *tenant, uint64_t id, uint64_t born_ms);
/* Checks the header of `bytes` mapped bytes. -ENODATA: no region there;
 * -EPROTONOSUPPORT: of another version, stamp or with unknown features;
 * -EPROTO: its sizes are wrong. */
int region_read_format(const struct region_header *h, uint64_t bytes,
		       struct region_geometry *ret_g,
		       struct region_places *ret_places);

extern const char *const region_count_names[REGION_COUNTS_USED];
extern const char *const region_count_texts[REGION_COUNTS_USED];

#endif
