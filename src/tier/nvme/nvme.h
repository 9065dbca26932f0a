/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe tier: a log of fixed-size log segments in one file or block device.
 *
 * This header is private to tier/nvme. The store's thread owns all of struct
 * nvme but `engine`, whose thread has what is handed to it until done(). While a
 * job finds what the log has (TIER_COMING), index and segments are that job's.
 *
 * A part's life: node WRITING, payload written, record in a commit page, page
 * written, node LIVE; removed: node DEAD, until its tombstone need not be on disk.
 *
 * A log segment's life:
 *
 *	VIRGIN -> MAKING -> FREE -> HEAD -> CLOSING -> CLOSED -> VICTIM -> MAKING
 *
 * One victim at a time: when its new life's first page is written nothing of the
 * old one can be found again, and only then is the next one chosen. Tombstones
 * rely on it (docs/design/nvme.md).
 */
#ifndef ONECOPY_TIER_NVME_NVME_H
#define ONECOPY_TIER_NVME_NVME_H

#include "tier/nvme/format.h"
#include "tier/nvme/health.h"
#include "tier/nvme/index.h"
#include "tier/nvme/io.h"
#include "tier/nvme/space.h"

enum segment_state {
	SEGMENT_VIRGIN, /* the file may not reach so far yet */
	SEGMENT_MAKING, /* its first page is being written */
	SEGMENT_FREE,
	SEGMENT_HEAD,
	SEGMENT_CLOSING,
	SEGMENT_CLOSED,
	SEGMENT_VICTIM,
	SEGMENT_BAD, /* its first pages cannot be written */
	SEGMENT_STATES
};

struct nvme_segment {
	uint64_t seq;	       /* of the life on disk; 0: none */
	uint64_t live_bytes;   /* payload of LIVE nodes */
	uint64_t used_bytes;   /* of those with uses */
	uint32_t first, parts; /* LIVE nodes */
	uint32_t dead, deads;  /* DEAD nodes whose tombstone is here */
	uint32_t holds;	       /* by hold(): not a victim */
	uint32_t reads;	       /* flying: not made anew */
	uint32_t units;	       /* that its life has used, of all kinds */
	uint32_t owed;	       /* tombstones to be committed elsewhere */
	uint8_t state;	       /* enum segment_state */
	bool bad;	       /* has bad places */
};

struct nvme;
struct nvme_head;

/* A part on its way to the log: its payload, then its place in a commit page. */
struct nvme_write {
	struct nvme_io io; /* first */
	struct nvme *t;
	struct nvme_write *next; /* of those that wait, or are in the page */
	struct nvme_head *head;
	uint32_t node, unit;
	uint8_t kind; /* enum write_kind */
};
enum write_kind { WRITE_MOVE, WRITE_CARRY };

struct nvme_read {
	struct nvme_io io; /* first */
	struct nvme *t;
	uint64_t gen;
	uint32_t node, segment;
};

/* A log segment that is being filled or closed. */
struct nvme_head {
	struct nvme *t;
	struct nvme_head *next;
	uint32_t segment;
	uint32_t unit;	 /* payload goes on here */
	uint32_t low;	 /* the lowest unit of commit pages */
	uint32_t number; /* of the next commit page */
	uint32_t writes; /* payloads flying */
	struct nvme_write *waiting, **tail; /* written, not in a page */
	uint32_t waits;
	uint64_t since_ns; /* that the first one waits */
	/* the page that is being written */
	struct nvme_io io;
	uint8_t *page;
	struct nvme_write *committing;
	uint32_t deads; /* DEAD nodes in it, from this one */
	bool busy;	/* io is flying: a page, the summary, the last header */
	bool closing, summed, broken;
	/* all records so far */
	uint8_t *summary;
	uint32_t summary_bytes, summary_room;
	bool no_summary; /* no memory for it: the pages will do */
	uint8_t *spaces; /* bit: it is on record here */
};

/* A segment whose next life begins. */
struct nvme_making {
	struct nvme_io io; /* first */
	struct nvme *t;
	uint64_t seq;
	uint32_t segment;
	bool busy;
	uint8_t *page;
};
#define NVME_MAKINGS 2

struct nvme_carry {
	struct nvme_read read;
	struct nvme_write write;
	void *data;
	uint64_t room;
	bool busy;
};
#define NVME_CARRIES 4
/* Places set aside at most, and their part of the log. */
#define NVME_ASIDES	256u
#define NVME_ASIDE_PART 16u

/* Removed before it was known what the log has. */
struct nvme_early {
	struct tier_id *id;
	uint32_t n, room;
	bool spaces;			   /* some are removed whole */
	uint8_t space[LOG_SPACES_MAX / 8]; /* bit: all that it has */
};
#define NVME_EARLY 65536u

struct nvme {
	struct tier tier; /* first */
	struct tier_options options;
	char *path; /* of the file */
	const struct nvme_io_table *table;
	int fd;
	bool direct, device, fresh, locked;
	struct log_geometry g;
	uint64_t epoch;
	uint64_t now_ns;

	struct nvme_engine engine;
	enum tier_state state;
	const char *why;
	struct nvme_index index;
	struct nvme_spaces spaces;
	struct nvme_segment *segments;
	uint32_t there; /* segments that the file has */
	uint32_t *free; /* ring of g.segments numbers */
	uint32_t free_at, frees;
	uint64_t seq, gen; /* the next ones */

	struct nvme_head *head, *heads; /* the open one; all */
	struct nvme_making making[NVME_MAKINGS];
	bool grow_failed; /* the file system has no room for more */
	uint64_t grow_ns; /* when it is tried again */
	/* DEAD nodes whose tombstone is in no page yet, by .next */
	uint32_t dead_first, dead_last, deads;
	uint64_t dead_ns; /* since when */

	/* reclaim */
	uint32_t victim; /* UINT32_MAX: none */
	struct nvme_carry carry[NVME_CARRIES];

	/* bad places */
	struct log_bad *bads;
	uint32_t n_bads;
	bool bads_dirty, bads_busy;
	uint64_t bads_seq;
	uint8_t *bads_page;
	struct nvme_io bads_io;
	/* places that gave other bytes: a ring, in memory alone */
	struct log_bad aside[NVME_ASIDES];
	uint32_t asides, aside_at; /* there are; the oldest */

	/* health */
	uint32_t failed_in_a_row;
	uint64_t trial_ns, trial_wait_ns; /* the next one; what was waited */
	uint8_t trial_step;
	bool trial_wrote;
	struct nvme_io trial_io;
	uint8_t *trial_page;
	uint64_t busy_until_ns, lock_ns;

	struct nvme_io recover_io;
	struct nvme_early early;
	bool loaded, found, recovering; /* superblock; what it has; a job */
	uint64_t queue_bytes;	 /* before a read that would be waited for */
	struct tier_price price; /* of reads */
	uint32_t moves;		 /* the store's, not done yet */
	bool stopping;
	struct tier_stat count; /* counters alone */
};

static inline uint64_t nvme_units_bytes(uint64_t bytes)
{
	return ALIGN_UP(bytes, LOG_UNIT);
}

/* ---- super.c: the file and its first pages */

/* Opens the file: t->fd, direct, device. 0, -errno. */
int nvme_file_open(struct nvme *t);
/* 0 it is ours alone, until the last I/O of this process is over; -EBUSY. */
int nvme_file_lock(struct nvme *t);
/* When nothing is under way. */
void nvme_file_close(struct nvme *t);
/* Reads or makes the superblock: t->g, epoch, bads. Errors of tier_ops.open. */
int nvme_super_load(struct nvme *t);
/* Of a file that was opened anew: is it still the log that we know? */
int nvme_super_same(struct nvme *t, int fd);

/* ---- recover.c */

/* Superblock (unless it is known), segments, index and lists: a job. Its end is an
 * event of health. */
void nvme_recover_begin(struct nvme *t);
void nvme_tables_free(struct nvme *t);

/* ---- early.c */

void nvme_early_remove(struct nvme *t, const struct tier_id *id);
/* Once it is known; before anybody finds anything. */
void nvme_early_apply(struct nvme *t);
void nvme_early_free(struct nvme *t);

/* ---- segment.c */

void nvme_segment_link(struct nvme *t, uint32_t n);
void nvme_segment_unlink(struct nvme *t, uint32_t n);
void nvme_segment_used(struct nvme *t, struct nvme_node *d);
uint32_t nvme_segment_free_take(struct nvme *t); /* UINT32_MAX */
void nvme_segment_free_add(struct nvme *t, uint32_t segment);
/* Free ones that are kept ahead of need. */
static inline uint32_t nvme_segments_ahead(const struct nvme *t)
{
	return t->g.segments < 16 ? 2 : 3;
}
/* Makes them. */
void nvme_segment_pump(struct nvme *t);
/* A new life for one of which nothing is left. False: not now. */
bool nvme_segment_make(struct nvme *t, uint32_t segment);
uint64_t nvme_segment_used_bytes(const struct nvme *t);

/* ---- head.c: places for parts, commit pages, summaries */

/* A place for a part of so many bytes. -ENOSPC, -E2BIG, -ENOMEM. */
int nvme_head_place(struct nvme *t, uint64_t bytes, bool carry,
		    struct nvme_head **ret_head, uint32_t *ret_unit);
/* Nothing will be said of what was written there. */
void nvme_head_unplace(const struct nvme_write *w);
bool nvme_part_fits(const struct nvme *t, uint64_t bytes);
/* The payload is there, or not. */
void nvme_head_written(struct nvme_write *w, int result);
/* Commits what should be committed; closes what is full. */
void nvme_head_pump(struct nvme *t);
/* Closes the open one, as the end comes. */
void nvme_head_close_all(struct nvme *t);
void nvme_head_destroy(struct nvme_head *h);
bool nvme_heads_idle(const struct nvme *t);
uint64_t nvme_head_wants_ns(const struct nvme *t); /* UINT64_MAX: never */

/* ---- part.c: nodes that come and go */

/* The bytes are there and will be found. */
void nvme_part_live(struct nvme *t, uint32_t n, uint32_t segment,
		    uint32_t unit);
/* Removed, or its bytes were wrong: it leaves a tombstone. */
void nvme_part_kill(struct nvme *t, uint32_t n);
/* It leaves without one: its segment goes, or its place is bad. */
void nvme_part_drop(struct nvme *t, uint32_t n, bool wrong);
/* A write that came to nothing. */
void nvme_part_forget(struct nvme *t, uint32_t n);
/* Its bytes were wrong, or could not be read. */
void nvme_part_bad(struct nvme *t, uint32_t n, int result);
/* A tombstone that has to be written (again). */
void nvme_dead_push(struct nvme *t, uint32_t n);

/* ---- move.c */

void nvme_write_over(struct nvme_write *w, int result);
void nvme_carry_written(struct nvme_write *w, int result);

/* ---- reclaim.c */

void nvme_reclaim_pump(struct nvme *t);
uint32_t nvme_carry_segment(const struct nvme *t, uint32_t n);
bool nvme_carry_on(const struct nvme_write *w); /* the part is still there */
void nvme_reclaim_free(struct nvme *t);		/* memory */
bool nvme_reclaim_idle(const struct nvme *t);

/* ---- bad.c */

void nvme_bad_add(struct nvme *t, uint32_t segment, uint32_t unit,
		  uint32_t units);
/* Payload does not go there again, for this open() alone; when too much is set
 * aside the oldest one may be used again. */
void nvme_bad_aside(struct nvme *t, uint32_t segment, uint32_t unit,
		    uint32_t units);
/* The first unit from `unit` on where `units` of them are not bad; may be beyond
 * the segment. */
uint32_t nvme_bad_skip(const struct nvme *t, uint32_t segment, uint32_t unit,
		       uint32_t units);
/* The same downward, for one unit. */
uint32_t nvme_bad_skip_down(const struct nvme *t, uint32_t segment,
			    uint32_t unit);
bool nvme_bad_at(const struct nvme *t, uint32_t segment, uint32_t unit,
		 uint32_t units);
void nvme_bad_pump(struct nvme *t);

/* ---- watch.c: health */

void nvme_watch(struct nvme *t);
/* What the device answered to an operation of ours. */
enum health_answer nvme_watch_answer(struct nvme *t, const struct nvme_io *io);
void nvme_watch_event(struct nvme *t, enum health_event event, const char *why);
void nvme_watch_lock(struct nvme *t);
uint64_t nvme_watch_wants_ns(const struct nvme *t);

/* ---- report.c */

void nvme_stat(const struct tier *tier, struct tier_stat *ret);
void nvme_each(const struct tier *tier,
	       void (*fn)(void *ctx, const struct tier_id *id,
			  const struct tier_block *block),
	       void *ctx);
void nvme_check(const struct tier *tier,
		void (*problem)(void *ctx, const char *text), void *ctx);

/* ---- nvme.c */

void nvme_pump(struct nvme *t);
static inline struct nvme *nvme_of(const struct tier *t)
{
	return (struct nvme *)(uintptr_t)t;
}

#endif
