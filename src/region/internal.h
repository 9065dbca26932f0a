/* SPDX-License-Identifier: Apache-2.0 */
/* What a handle knows; private to src/region/. */
#ifndef ONECOPY_REGION_INTERNAL_H
#define ONECOPY_REGION_INTERNAL_H

#include "base/guard.h"
#include "region/host.h"
#include "region/mem.h"
#include "region/region.h"

/* A shard as everybody reads it. */
struct region_view {
	struct table table;
	bool whole; /* it is a table */
	const struct region_desc *desc;
	const unsigned char *payload;
};

/* What a shard's owner has besides; heap. `mark` has a byte for each frame. */
enum region_mark {
	MARK_USED = 1,	  /* since the hand passed */
	MARK_LEAVING = 2, /* judged now */
	MARK_PINNED = 4,  /* of those; or passed over until room is made */
	MARK_BROKEN = 8,  /* its memory has failed: it becomes free no more */
	MARK_HELD = 16,	  /* kept from use, and counted in n_quarantined */
	/* What this process knows the frame to be, whatever its word says: each is
	 * in one of these at most, so lists and counts hold even where a member
	 * that runs wild writes into words. */
	MARK_GRANTED = 32,
	MARK_LISTED = 64,  /* on `free` or `doomed` */
	MARK_SEALED = 128, /* and counted in n_sealed */
	MARK_STAYS = MARK_BROKEN | MARK_HELD | MARK_GRANTED | MARK_LISTED |
		     MARK_SEALED,
};
struct region_own {
	uint32_t shard, frames;
	uint64_t owner; /* our word in the owner record */
	unsigned char *base;
	struct region_shard_head *head;
	struct table table;
	struct region_desc *desc;
	unsigned char *payload;
	uint8_t *mark;
	uint32_t *free;
	uint32_t *doomed; /* [n_doomed] */
	uint32_t n_free, n_sealed, n_doomed, n_quarantined;
	uint32_t hand; /* next to be looked at for eviction */
};

struct region {
	int fd;
	enum region_kind kind;
	const struct region_mem *mem;
	struct region_geometry g;
	uint64_t id; /* of the format that was opened, as `tenant` */
	char tenant[REGION_NAME + 1];
	struct region_places places;
	const unsigned char *all;	/* the whole, for reading */
	struct region_control *control; /* for writing */
	struct region_view *view;	/* [shards] */
	struct region_host host;

	/* of a member */
	uint32_t self;
	uint64_t word;		  /* ours while LIVE; 0: no member */
	bool locked;		  /* inside region_join() */
	bool resumed;		  /* as a member that was there */
	struct region_unit *unit; /* our own, for writing */
	uint32_t *slot;		  /* free slots, a stack of those below made */
	uint32_t n_slot, made, pinned;
	uint64_t touches;
	struct region_own **own;
	uint32_t n_own, next_own, want;
	struct region_own *taking; /* being taken over */
	struct region_own **out;   /* ours, and of no use (lost.c) */
	uint32_t n_out;
	uint64_t faults; /* met by this handle */
	bool adopt;
	uint64_t node[2];
	uint64_t scans;	       /* looks at all pins, ever */
	uint64_t *touch_seen;  /* [members]: touches taken in */
	uint64_t *report_seen; /* [members] */
	uint32_t report_next;  /* whose reports are looked at first */
	uint64_t *beat_seen;   /* [members] */

	uint32_t skip;	  /* a shard that this look-up passes; shards: none */
	uint64_t said[8]; /* lost.c: pages, from 1, that were logged last */
	uint32_t n_said;
};

static inline struct region_member *region_record(const struct region *r,
						  uint32_t member)
{
	return &r->control->member[member];
}

static inline const struct region_unit *region_unit_of(const struct region *r,
						       uint32_t member)
{
	return (const void *)(r->all + r->places.units + member * REGION_UNIT);
}

static inline const struct region_shard_head *
region_head_of(const struct region *r, uint32_t shard)
{
	return (const void *)(r->all + r->places.shards +
			      shard * r->places.shard_bytes);
}

static inline struct table_hash region_hash(const struct region_name *n)
{
	return table_hash(n->key, region_part(n));
}

static inline bool region_desc_is(const struct region_desc *d,
				  const struct region_name *n)
{
	for (unsigned i = 0; i < 4; i++)
		if (shared_load64(&d->key[i]) != n->key[i] ||
		    shared_load64(&d->ns[i]) != n->ns[i])
			return false;
	return shared_load64(&d->part) == region_part(n);
}

/* Of what a name is made, whatever the locale. */
static inline bool region_printable(char c)
{
	return c >= ' ' && c <= '~';
}

uint64_t region_seed(const struct region_name *n);

/* A counter of this member; one writer. Where its memory fails, the guard ends that
 * it is called in: for the pins' way, which that memory is a part of. */
static inline void region_tally(struct region *r, enum region_count what,
				uint64_t n)
{
	shared_u64 *count = &r->unit->head.count[what];

	shared_store64(count, shared_load64(count) + n);
}

/* In a guard: has nobody declared this member dead, nor made the region anew? Then
 * the same word may be another's. */
static inline bool region_is_live(const struct region *r)
{
	return r->word &&
	       shared_load64_acquire(&region_record(r, r->self)->word) ==
		       r->word &&
	       shared_load64(&r->control->header.id) == r->id;
}

/* As region_may_write(), in a guard already. */
int region_says_live(const struct region *r);

/* open.c: what memory this is, and how much. -EMEDIUMTYPE: none for a region. */
int region_measure(int fd, enum region_kind *ret_kind, uint64_t *ret_bytes);
/* open.c: whole units, at an address that is one; prot as mmap()'s. */
int region_map_at(int fd, uint64_t at, uint64_t bytes, int prot,
		  void **ret_base);
/* open.c: a part of the region for writing; whole units. The first `populate`
 * bytes are mapped before it returns. */
int region_map(struct region *r, uint64_t at, uint64_t bytes, uint64_t populate,
	       void **ret_base);
void region_unmap(void *base, uint64_t bytes);
/* open.c: the indexes of shards; one that was damaged may be whole again. */
void region_make_views(struct region *r);
/* open.c: the lock of the memory, which a process holds while it formats, while it
 * joins, and a node for as long as it has a device as a rung of its own. `tries`
 * of a millisecond; -EAGAIN: another holds it. */
int region_lock(int fd, unsigned tries);

/* shard.c */
struct region_own *region_own_of(const struct region *r, uint32_t shard);
void region_own_destroy(struct region *r, struct region_own *own);
/* One transition of the table, published. -EIO: it is none, since the word is not
 * what any owner stored; the frame is held back. */
int region_step(struct region *r, struct region_own *own, uint32_t frame,
		enum frame_event event);
/* SEALED becomes DOOMED, and is waited for; or, damaged, is held back. False: this
 * owner has not sealed it, whatever its word says, and nothing was done. */
bool region_doom(struct region *r, struct region_own *own, uint32_t frame);
/* The frame has become FREE; one whose memory has failed does not stay so. */
void region_freed(struct region *r, struct region_own *own, uint32_t frame);
/* Once, on one of the two lists of an owner: each has room for all frames. */
void region_list(struct region_own *own, uint32_t frame, uint32_t *frames,
		 uint32_t *n);
/* An entry for a frame that is SEALED, if it has none. 0, -ENOSPC. */
int region_enlist(struct region_own *own, uint32_t frame);
/* Its entry, if it is there. */
void region_unlist(struct region_own *own, uint32_t frame);
/* For people: the gauges of a shard. */
void region_gauge(struct region_own *own);

/* look.c: a replica in an own shard. */
bool region_find_own(struct region *r, const struct region_name *name,
		     struct region_found *ret_found);

/* evict.c: looks at the pins of all members and releases the doomed frames that
 * none names. Returns how many it released. */
uint32_t region_judge_doomed(struct region *r, struct region_own *own);
void region_take_reports(struct region *r);

/* lost.c: memory that fails */
enum region_part { LOST_CONTROL, LOST_UNIT, LOST_META, LOST_FRAME };
struct region_where {
	enum region_part part;
	uint32_t n; /* member, or shard */
	uint32_t frame;
	uint64_t at;	/* in the region */
	uint64_t bytes; /* lost around it: a power of two, aligned */
};
/* Is it memory of a shard's descriptors? Then of which frames, but for those beyond
 * the last. */
bool region_is_desc(const struct region *r, const struct region_where *w,
		    uint64_t *ret_first, uint64_t *ret_end);
/* Runs it as guard_run() does. -EIO: it met memory that has failed; that was
 * counted, logged once a page, and what it costs was paid. ret_where: NULL, or
 * written then. */
int region_guard(struct region *r, void (*fn)(void *ctx), void *ctx,
		 struct region_where *ret_where);
/* region_tally() under a guard of its own: who counts is not left in the middle. */
void region_count(struct region *r, enum region_count what, uint64_t n);
/* An own shard is one no more, for this process; what lies there is read on. */
void region_out_of_use(struct region *r, struct region_own *own);
bool region_is_out(const struct region *r, uint32_t shard);
/* A frame whose word no owner stored is kept from use; one that is listed, when it
 * comes off its list. */
void region_hold(struct region_own *own, uint32_t frame);
/* One that is FREE and on no list becomes QUARANTINED. */
void region_keep(struct region *r, struct region_own *own, uint32_t frame);

/* ---- members: join.c, resume.c, fence.c, live.c ---- */

/* join.c: the memory's lock, but inside region_join(), which has it. */
int region_host_lock(struct region *r, unsigned tries);
void region_host_unlock(struct region *r);
/* join.c: one step of a record, whatever it is now. 0, or REGION_STALE: it was not
 * `from` any more; -EPROTO, -EOVERFLOW. */
int region_record_step(struct region *r, uint32_t member, uint64_t from,
		       enum member_event event, uint64_t *ret_word);
/* join.c: which processes the member is: itself, or its keeper and itself. */
int region_processes(const struct region_join_options *o, uint64_t *ret_pid,
		     uint64_t *ret_started, uint64_t *ret_writer);
/* join.c: the pin unit of `self`, for writing; then without the last one's pins:
 * that one is gone, so nobody reads by them. */
int region_map_unit(struct region *r);
void region_clear_unit(struct region *r);
/* resume.c: goes on as the member of this keeper. REGION_MISS: there is none. */
int region_resume(struct region *r, const struct region_join_options *o);
/* fence.c: is a member in this slot whose end nobody has proved? */
bool region_may_live(struct region *r, uint32_t member);
/* fence.c: has every process that the record names ended? It is of this host. */
bool region_has_ended(const struct region_member *m);
/* fence.c: declares those of this host dead that have ended, of those whose heart
 * stood still since the last call. */
void region_fence_ended(struct region *r);
/* fence.c: a program that this process was before exec(). */
void region_fence_former_program(struct region *r);
/* live.c: a member that this node was before. */
void region_fence_former(struct region *r);
/* live.c: drops what a member had, in this process alone. */
void region_forget(struct region *r);

#endif
