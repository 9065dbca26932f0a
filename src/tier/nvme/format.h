/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log on disk: pages, and the records in them. Pure: emits into memory,
 * reads from memory that may hold anything. docs/formats/nvme.md draws it.
 *
 *	front area | log segment 0 | log segment 1 | ...
 *
 *	log segment: page 0 "opened", page 1 "closed", payload upward ...
 *		... summary ... commit pages downward from the end
 *
 * All places are in units of 4 KiB. Words are little-endian. Each page carries
 * the log's uuid, the sequence number of its segment's life, and a checksum that
 * is seeded by both, so a page of another log, another segment or an earlier life
 * is not taken for one of this.
 */
#ifndef ONECOPY_TIER_NVME_FORMAT_H
#define ONECOPY_TIER_NVME_FORMAT_H

#include "tier/tier.h"

#define LOG_UNIT	 4096u
#define LOG_VERSION	 1u
#define LOG_FRONT_BYTES	 (64u << 10)
#define LOG_SUPERS	 2u /* pages 0 and 1 */
#define LOG_BAD_BYTES	 (24u << 10)
#define LOG_BAD_AT(i)	 ((2 + 6 * (i)) * LOG_UNIT) /* pages 2-7 and 8-13 */
#define LOG_PROBE_AT	 (15u * LOG_UNIT) /* written to try the device */
#define LOG_FIRST_UNIT	 2u		  /* of payload in a segment */
#define LOG_SEGMENT_MIN	 (64u << 10)
#define LOG_SEGMENT_MAX	 (1u << 30)
#define LOG_SEGMENTS_MIN 8u
/* Commit pages that may be missing in a row (the device failed them). */
#define LOG_COMMIT_GAP 16u

#define LOG_MAGIC_SUPER	 0x52505553474f4c43ull /* "CLOGSUPR" */
#define LOG_MAGIC_OPENED 0x4e45504f474f4c43ull /* "CLOGOPEN" */
#define LOG_MAGIC_CLOSED 0x44534c43474f4c43ull /* "CLOGCLSD" */
#define LOG_MAGIC_COMMIT 0x544d4d43474f4c43ull /* "CLOGCMMT" */
#define LOG_MAGIC_BAD	 0x53444142474f4c43ull /* "CLOGBADS" */

struct log_super {
	uint64_t magic;
	uint32_t version;
	uint32_t reserved;
	uint64_t checksum; /* of the page, with 0 here */
	uint64_t stamp;	   /* log_stamp() */
	uint64_t uuid[2];
	uint64_t segment_bytes;
	uint64_t segments; /* that the limit allowed at the last open */
	uint64_t epoch;	   /* opens */
};

/* Begins each other page. */
struct log_head {
	uint64_t magic;
	uint64_t checksum; /* of the page (bad: of all pages), with 0 here */
	uint64_t uuid[2];
	uint64_t seq;	  /* of the segment's life; bad: of the list */
	uint32_t segment; /* its number */
	uint32_t number;  /* commit: from 0, upward */
	uint32_t bytes;	  /* of records that follow; closed: of the summary */
	uint32_t unit;	  /* closed: where the summary begins */
	uint64_t summary; /* closed: checksum of the summary's bytes */
};
_Static_assert(sizeof(struct log_head) == 64, "64 bytes");

#define LOG_COMMIT_BYTES (LOG_UNIT - (uint32_t)sizeof(struct log_head))
#define LOG_BADS_MAX \
	((LOG_BAD_BYTES - sizeof(struct log_head)) / sizeof(struct log_bad))

/* Where nothing is written again. */
struct log_bad {
	uint32_t segment, unit, units, reserved;
};

enum log_kind { LOG_ENTRY = 1, LOG_TOMB = 2, LOG_SPACE = 3 };

/* tag: enum log_kind | space << 8; a space's number holds within one life of one
 * segment, and its record comes before its first use there. */
struct log_entry {
	uint32_t tag, part, unit, depth;
	uint64_t key[4];
	uint64_t checksum, extent, gen;
};
_Static_assert(sizeof(struct log_entry) == 72, "56 in a page");

/* The entries of this id with no larger generation are gone. Needed while the
 * life `seq` of segment `segment`, which holds such an entry, is on disk. */
struct log_tomb {
	uint32_t tag, part, segment, reserved;
	uint64_t key[4];
	uint64_t seq, gen;
};
_Static_assert(sizeof(struct log_tomb) == 64, "as drawn");

struct log_space {
	uint32_t tag, reserved;
	struct tier_space space;
};
_Static_assert(sizeof(struct log_space) == 104, "as drawn");

#define LOG_SPACES_MAX 4096u
#define LOG_RECORD_MAX ((uint32_t)sizeof(struct log_space))

/* What all pages of a log have in common. */
struct log_geometry {
	uint64_t uuid[2];
	uint64_t segment_bytes;
	uint32_t segments;
};

static inline uint32_t log_units(const struct log_geometry *g)
{
	return (uint32_t)(g->segment_bytes / LOG_UNIT);
}

static inline uint64_t log_at(const struct log_geometry *g, uint32_t segment,
			      uint32_t unit)
{
	return LOG_FRONT_BYTES + segment * g->segment_bytes +
	       (uint64_t)unit * LOG_UNIT;
}

static inline uint32_t log_units_of(uint64_t bytes)
{
	return (uint32_t)DIV_UP(bytes, LOG_UNIT);
}

/* A hash of the sizes and offsets above; two builds must share it. */
uint64_t log_stamp(void);

/* Fills a page. */
void log_super_emit(void *page, const struct log_geometry *g, uint64_t epoch);
/* 0; -EPROTO not a superblock; -EBADMSG a damaged one; -EPROTONOSUPPORT another
 * version's or another build's. */
int log_super_parse(const void *page, struct log_geometry *ret_geometry,
		    uint64_t *ret_epoch);

void log_opened_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq);
void log_closed_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq, uint32_t unit, const void *summary,
		     uint32_t bytes);
/* Records were put behind the head already: `bytes` of them. */
void log_commit_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq, uint32_t number, uint32_t bytes);

/* Each: true when the page is what its name says, of this log, this segment and
 * (but for opened) this life. */
bool log_opened_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t *ret_seq);
bool log_closed_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t seq, uint32_t *ret_unit,
		      uint32_t *ret_bytes, uint64_t *ret_checksum);
bool log_commit_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t seq, uint32_t *ret_bytes);
uint64_t log_summary_checksum(const struct log_geometry *g, uint32_t segment,
			      uint64_t seq, const void *data, uint32_t bytes);

/* LOG_BAD_BYTES of pages. */
void log_bads_emit(void *pages, const struct log_geometry *g, uint64_t seq,
		   const struct log_bad *bads, uint32_t n);
/* bads: LOG_BADS_MAX. */
bool log_bads_parse(const void *pages, const struct log_geometry *g,
		    uint64_t *ret_seq, struct log_bad *bads, uint32_t *ret_n);

/* ---- records: whoever reads goes from 0 to bytes */

struct log_record {
	enum log_kind kind;
	uint32_t space;
	union {
		struct log_entry entry;
		struct log_tomb tomb;
		struct log_space space;
	} u;
};

/* 1 a record was read and *at moved on; 0 at the end; -EBADMSG what follows is no
 * record that could lie in a segment of this log. */
int log_record_next(const struct log_geometry *g, const void *data,
		    uint32_t bytes, uint32_t *at, struct log_record *ret);

#endif
