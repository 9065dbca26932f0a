/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CXL region: coherent memory that the processes of several nodes map, each
 * of which writes shards of its own and reads all. A block that one node has
 * sealed is found, pinned, validated and read by another where it lies: no
 * copy, no message, no lock. docs/design/region.md tells why it holds.
 *
 * Life cycle. `region_format()` once. Then each process: region_open(),
 * region_join(), region_tick() at least every third of a lease, region_leave(),
 * region_close(). Who has opened and not joined looks, and touches nothing.
 *
 * Concurrency. A handle is used by one thread at a time; a process may have
 * several, each a member of its own. But of a reader, which has no shards, any
 * number of threads may be in region_find(), region_look() and what is called
 * geometry while one pins, unpins or reports, since these change nothing that a look
 * reads; not while it opens, joins, leaves or closes, and not where guard_install()
 * was called: a look that meets memory that fails notes it in the handle then.
 * Not inherited by fork: a child opens again.
 * Finding, pinning, verifying, granting, filling, sealing, evicting and removing
 * make no system call. What opens, joins, leaves, takes or gives a shard maps and
 * unmaps memory; region_tick(), which does such things in its turn,
 * region_fence() and region_member_status() ask the kernel whether a process
 * lives, and region_shard_status() does of the shard's owner.
 *
 * Death. A member that dies at any store leaves a region in which every block
 * that it had sealed is read as before. Its pins, its slot and its shards'
 * room are used again when it is *proved* dead, and not before: by
 * region_tick() of a member on the same host, which sees the process' end, or by
 * region_fence(), because an operator or a fencing hook says so. A member whose
 * heartbeats stop may be paused only; it is told as late, and its room is
 * quarantined. It comes back and goes on.
 *
 * Memory that fails (SIGBUS, where guard_install() was called) is counted, logged
 * once a page, and costs no more than it must (docs/design/region.md): a block, to
 * whom it is a miss or REGION_BAD; to an owner a shard, whose calls say -EIO and
 * which is one of its own no more; -EIO of region_pin() or region_tick(): this member
 * cannot go on, and must end. region_self() and what is called geometry touch none of
 * it.
 *
 * Trust. Members can write the control area, so all belong to one tenant. What
 * is read from the region is checked against its bounds.
 */
#ifndef ONECOPY_REGION_REGION_H
#define ONECOPY_REGION_REGION_H

#include "region/format.h"

struct region;
struct region_host;

/* Documented answers. */
enum region_answer {
	REGION_MISS = 1,   /* no such block */
	REGION_EXISTS = 2, /* the region has this block already */
	REGION_STALE = 3,  /* it left meanwhile; of a member: declared dead */
	REGION_BAD = 4,	   /* its bytes do not have its checksum */
	REGION_FULL = 5,   /* no room: all is pinned, or there is no shard */
	REGION_ALIVE = 6,  /* not proved dead */
};

/* What stands under the region. */
enum region_kind {
	REGION_DEVDAX = 1,
	REGION_TMPFS,	/* ordinary memory that stands in */
	REGION_HUGETLB, /* the same, in pages of 2 MiB or more */
};
const char *region_kind_name(enum region_kind kind);

/* ---- the memory (open.c, make.c) -------------------------------------------- */

struct region_format_options {
	size_t size;	  /* of this struct */
	uint64_t bytes;	  /* of a file to be made; 0: all of what is there */
	uint32_t members; /* 0: 16 */
	uint32_t shards;  /* 0: as many as members */
	uint64_t frame_bytes; /* 0: 2 MiB */
	uint32_t frames;      /* of a shard; 0: as many as there is room for */
	uint32_t lease_ms;    /* 0: 1000 */
	const char *tenant;   /* NULL: "default" */
	bool unfilled;	      /* a file's frames have no pages until they are
				 touched, and SIGBUS where there are none then:
				 for measurements that touch no payload */
	bool force;	   /* even where a region is, or something else: all of
				 it is lost */
	bool even_if_live; /* with force: even if members are at work there,
				 who go on writing into what is theirs no more */
	bool none;	   /* with force: and make no other; -ENODATA */
};

/* Formats a devdax device, or a file on tmpfs or hugetlbfs, which is made with
 * mode 0600 when it is not there. -EEXIST: a region is there;
 * -ENOTEMPTY: something else is, a file with bytes in it or a device whose first
 * unit is not zero; -EBUSY: members of the region may be alive; -EAGAIN: somebody
 * holds the memory's lock, a node that has the device as its rung, or a process
 * that joins or formats; -EMEDIUMTYPE: this is no memory; -ENOSPC: too small
 * for what is asked (region_format_least()); -ENOMEM: the file system has not that
 * much. A file that was there has the size that it had when this fails.
 * Blocking. */
int region_format(const char *path, const struct region_format_options *o);
/* The least region with these members and shards: -EINVAL when there is none. */
int region_format_least(const struct region_format_options *o,
			struct region_geometry *ret_least);
/* Does a region lie in this memory, of whatever version? 0: it does; -ENODATA. */
int region_is_there(int fd);

/* Maps a region for reading and the control area for writing. -ENODATA,
 * -EPROTONOSUPPORT, -EPROTO: as region_read_format(). */
int region_open(const char *path, struct region **ret_region);
/* The same for a descriptor, which stays the caller's. */
int region_open_fd(int fd, struct region **ret_region);
/* The same; the descriptor is taken in any case. It is an open file of its own:
 * who shares it shares its lock. */
int region_open_consume(int fd, struct region **ret_region);
/* Is this the memory that a process finds at the path now? 0; -ENOENT: nothing is there
 * any more; -ESTALE: something else is; -errno: that cannot be told. */
int region_is_at(const struct region *r, const char *path);
/* The same memory opened once more, for another process to consume. */
int region_reopen(const struct region *r, int *ret_fd);
/* Leaves nothing: a member that closes without leaving counts as alive for as
 * long as its process lives. Takes NULL. */
void region_close(struct region *r);

const struct region_geometry *region_geometry_of(const struct region *r);
/* All of it, mapped for reading; geometry.bytes. */
const void *region_memory(const struct region *r);
/* Whose it was made for, when it was opened. Terminated. */
void region_tenant(const struct region *r, char ret_name[REGION_NAME + 1]);
/* Whose ends this process could prove, and who could prove its own. */
const struct region_host *region_host_of(const struct region *r);
enum region_kind region_kind_of(const struct region *r);

/* ---- membership (join.c, fence.c, live.c) ------------------------------------ */

struct region_join_options {
	size_t size;
	const char *name; /* for people, region_name_is_good(); NULL: the host's,
			     and a number behind it where another node that may
			     live has that name; or none if it is not good */
	uint32_t shards;  /* to take at once, at most */
	bool adopt; /* take over the shards of the dead in region_tick() */
	/* It pins and no more: no shards, and region_tick() need not be called. It
	 * is never late. */
	bool reader;
	/* The member is this process and its parent, which starts another when
	 * this one ends: that one goes on as the same member, with its shards,
	 * and the member is proved dead when both are. The parent's number, or 0.
	 * -EBUSY: a process of that member lives; -ECHILD: that is no parent. */
	uint64_t keeper;
	/* Who this is, through all ends: shards that it had are taken first, if
	 * nobody else has them. 0: nobody in particular. */
	uint64_t node[2];
	uint32_t lock_ms; /* how long the memory's lock is waited for; 0: 2000 */
};

/* Printable ASCII, up to REGION_NAME bytes, and nothing that could be a number of a
 * member: not digits and dots alone. */
bool region_name_is_good(const char *name);
/* Becomes a member. -EINVAL: such a name; -ENODATA: the region that was opened is
 * not there any more, or another was made; -EBUSY: every slot is taken, or, of a
 * reader, those left are for nodes (docs/design/region.md); -EAGAIN:
 * somebody of this host holds the memory's lock, as with region_format();
 * REGION_STALE: somebody declared it dead before it was in; -EOPNOTSUPP: the region's
 * mode has no way to join; -EALREADY. Blocking for lock_ms at most. */
int region_join(struct region *r, const struct region_join_options *o);
/* Did the last region_join() go on as a member that was there? */
bool region_resumed(const struct region *r);
/* Gives its shards back with all sealed blocks. -EBUSY: a pin or a grant is still
 * out; shards that had none may have been given back by then. REGION_STALE: it was
 * declared dead meanwhile. -EIO: the control area's memory fails, and it is a member
 * still. */
int region_leave(struct region *r);
/* Of a member, at least every third of a lease: a heartbeat; looks which members
 * of this host have ended; takes shards that it wants, gives one to a member
 * that has none. REGION_STALE: somebody declared this member dead, or made the region
 * anew: it must not write any more. */
int region_tick(struct region *r);
/* Declares a member dead. inc: its incarnation, so that nobody is hit who has got
 * the slot since; 0: whoever has it. told: an operator or a hook vouches that its
 * process has ended, or its host; else the kernel must say so. 0; REGION_ALIVE;
 * REGION_MISS: nobody has the slot, or another incarnation. */
int region_fence(struct region *r, uint32_t member, uint64_t inc, bool told);

/* Was the region formatted anew since it was opened, or unmade? */
bool region_is_anew(struct region *r);
/* Is it a member that nobody has declared dead? 0; REGION_STALE, -ENOTCONN; -EIO: the
 * control area's memory fails. */
int region_may_write(struct region *r);
/* This member's slot and incarnation; -ENOTCONN. */
int region_self(const struct region *r, uint32_t *ret_member,
		uint64_t *ret_inc);

/* ---- shards (shard.c, take.c, fill.c, evict.c) ------------------------------- */

/* Takes a shard that is nobody's, or whose owner is gone, with its blocks. 0,
 * REGION_ALIVE, REGION_STALE (this member was declared dead), -ENOMEM. */
int region_take(struct region *r, uint32_t shard);
/* Gives it back; whoever wants may take it. -EBUSY: a grant is out; -EINVAL: it is
 * not this member's; REGION_STALE. */
int region_give(struct region *r, uint32_t shard);
bool region_owns(const struct region *r, uint32_t shard);
uint32_t region_owned(const struct region *r); /* how many */
/* Frames of own shards that are free. */
uint32_t region_free(const struct region *r);

struct region_grant {
	uint32_t shard, frame;
	uint64_t gen;
	void *data; /* frame_bytes, to be written */
	struct region_name name;
};

/* A frame of an own shard for a block; evicts what was not used when none is
 * free. 0, REGION_EXISTS (in any shard), REGION_FULL, REGION_STALE; -EFBIG.
 * flags: FRAME_GRANT_DEVICE when a device will write it. */
int region_grant(struct region *r, const struct region_name *name,
		 uint64_t bytes, uint32_t tokens, unsigned flags,
		 struct region_grant *ret_grant);
/* Copies and makes the checksum in one pass. -EIO: memory has failed, that of the
 * frame or that of `data`, and the grant is given back; a frame that is broken is kept
 * from use. */
int region_fill(struct region *r, const struct region_grant *g,
		const void *data, uint64_t bytes, uint64_t *ret_checksum);
/* The block is found from now on. `bytes` as granted or fewer. 0; with any other
 * answer the frame is free again: REGION_EXISTS, sealed meanwhile by somebody
 * else; REGION_FULL, the index had no room; -EIO: its memory has failed, or somebody
 * wrote there, and it is kept from use. REGION_STALE: no such grant, or this member
 * was declared dead. */
int region_seal(struct region *r, const struct region_grant *g, uint64_t bytes,
		uint32_t tokens, uint64_t checksum);
void region_abandon(struct region *r, const struct region_grant *g);
/* The three in one. */
int region_put(struct region *r, const struct region_name *name,
	       const void *data, uint64_t bytes, uint32_t tokens);
/* Every replica in the own shards; those of other members stay. 0, REGION_MISS,
 * REGION_STALE, -ENOTCONN. A pinned one goes when its pins have. */
int region_remove(struct region *r, const struct region_name *name);
/* A replica in an own shard is used, as if a reader had said so. */
void region_use(struct region *r, const struct region_name *name);
/* Makes up to n frames free. Returns how many. */
uint32_t region_evict(struct region *r, uint32_t n);

/* ---- reading (look.c) --------------------------------------------------------- */

struct region_found {
	uint32_t shard, frame;
	uint64_t word; /* (gen, SEALED) when it was seen */
};
/* Where a block is: own shards first. 0 or REGION_MISS. A hint until pinned. */
int region_find(struct region *r, const struct region_name *name,
		struct region_found *ret_found);

/* A block as it was at one moment; nothing is held. 0 or REGION_MISS. */
struct region_seen {
	uint32_t shard, frame;
	uint64_t gen, bytes, checksum;
	uint64_t offset; /* in the region */
	uint32_t tokens;
	uint64_t sealed_ms; /* CLOCK_REALTIME of the owner's host */
};
int region_look(struct region *r, const struct region_name *name,
		struct region_seen *ret_seen);

struct region_pin {
	const void *data;
	uint64_t bytes;
	uint32_t tokens;
	uint32_t shard, frame;
	uint64_t gen;
	uint64_t checksum;
	uint32_t slot;
};
/* 0; REGION_MISS; REGION_FULL: no slot; REGION_STALE: this member was declared
 * dead; -ENOTCONN; -EIO: the memory of its slots has failed. Unpinned by the same
 * handle. What a member had pinned when it was declared dead is protected no more:
 * the bytes may change under it. */
int region_pin(struct region *r, const struct region_name *name,
	       struct region_pin *ret_pin);
/* The same, and no use: its owner does not hear of it. */
int region_pin_quietly(struct region *r, const struct region_name *name,
		       struct region_pin *ret_pin);
void region_unpin(struct region *r, const struct region_pin *pin);
/* All that this handle has out. */
void region_unpin_all(struct region *r);
/* Are these bytes what was sealed? Pure; any thread. */
bool region_sound(const struct region_name *name, const struct region_pin *pin);
/* Hashes the bytes: 0; REGION_BAD, which its owner is told; REGION_STALE: they are
 * other bytes, and this member was declared dead: they may be another block's. */
int region_verify(struct region *r, const struct region_name *name,
		  const struct region_pin *pin);
/* For who has found out by region_sound(): REGION_BAD, or REGION_STALE, as above. */
int region_report(struct region *r, const struct region_pin *pin);

/* ---- looking (status.c, check.c) ---------------------------------------------- */

struct region_member_status {
	enum member_state state;
	bool lost; /* memory of its record or its pins fails: nothing is known */
	bool known; /* what follows is there */
	bool here;  /* on this host */
	bool ended; /* live, here, and its process has ended: nobody has
		       declared it dead yet */
	bool late; /* live, and its lease has run out by its host's clock; never a
		       reader */
	bool reader;
	uint64_t inc, pid, started, beats;
	uint64_t server; /* the process that writes, where pid is a keeper's */
	int64_t silent_ms; /* since its last heartbeat, by that clock */
	uint64_t pins;	   /* slots in use */
	uint32_t shards;
	uint64_t count[REGION_COUNTS_USED];
	char name[REGION_NAME + 1]; /* what is not printable ASCII is '?' */
};
/* Memory of the region that failed under this handle: how often (its member's count
 * may have failed with it), and how many of its shards are out of use for that. */
struct region_failed {
	uint64_t times;
	uint32_t shards;
};
struct region_failed region_failed(const struct region *r);

/* member < geometry.members */
void region_member_status(struct region *r, uint32_t member,
			  struct region_member_status *ret_status);

/* The same without `ended`, pins, shards and counts, which cost more. */
void region_member_glance(struct region *r, uint32_t member,
			  struct region_member_status *ret_status);

/* Are two members of one host? Their records must be known. */
bool region_same_host(const struct region *r, uint32_t a, uint32_t b);

struct region_shard_status {
	int64_t owner;	  /* member, -1: nobody */
	bool lost;	  /* memory of its head fails: nothing is known */
	bool gone;	  /* its owner is proved dead: may be taken */
	bool ended;	  /* its owner's process has ended, and nobody has
			     declared it dead yet (region_fence()) */
	bool quarantined; /* its owner is late, and may live: nobody may */
	bool ready;	  /* the owner has taken over what lay there */
	uint64_t free, sealed;
	uint64_t held; /* frames for devices of the dead, and damaged ones */
};
void region_shard_status(struct region *r, uint32_t shard,
			 struct region_shard_status *ret_status);

/* Tells every problem; returns how many. quiet: nobody works in the region, so
 * that counts must agree exactly. Bytes: verify every sealed block's checksum
 * as well. */
struct region_checked {
	uint64_t frames, sealed, free, granted, other;
	uint64_t entries, pins, verified_bytes;
};
uint64_t region_check(struct region *r, bool quiet, bool bytes,
		      void (*tell)(void *ctx, const char *problem), void *ctx,
		      struct region_checked *ret_checked);

#endif
