/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared segments: memfds that are populated before anyone else sees them.
 *
 * Rules, and the reason for each:
 * - size is fixed before it is shared, and sealed (F_SEAL_SHRINK, F_SEAL_GROW,
 *   F_SEAL_SEAL): nobody can pull the pages from under another's mapping.
 * - no write seals: they would lock out the next server.
 * - every page exists before the descriptor is given away: a reader's fault on
 *   a hole would allocate memory that no limit accounts for.
 * - mode 0600, owner the server's user: a process of another user that holds
 *   a read-only descriptor cannot reopen it for writing.
 *
 * Memory of other kinds lies behind the same descriptors (docs/design/cxl.md): a
 * memfd bound to one NUMA node, which follows every rule above, and a range of a
 * devdax device. Such a device has no seals and no holes: its size cannot be
 * changed by who holds a descriptor, so an attach checks that it is one, and that
 * the range lies in it. It is mapped shared, in whole units of 2 MiB, and never
 * unmapped in part. Its descriptor shows all of it, so it is one tenant's.
 */
#ifndef ONECOPY_SHM_SEGMENT_H
#define ONECOPY_SHM_SEGMENT_H

#include "base/dax.h"

/* Part of the layout (slab_record.frames_kind). */
enum segment_kind {
	SEGMENT_DRAM = 1,
	SEGMENT_NODE = 2,    /* a memfd bound to a NUMA node */
	SEGMENT_DAX = 3,     /* a range of a devdax device */
	SEGMENT_STANDIN = 4, /* ordinary memory where CXL would be */
	SEGMENT_KINDS
};
const char *segment_kind_name(enum segment_kind kind);
/* Memory of the rung below DRAM. */
static inline bool segment_is_low(enum segment_kind kind)
{
	return kind > SEGMENT_DRAM && kind < SEGMENT_KINDS;
}

enum segment_flags {
	SEGMENT_TRY_HUGE = 1, /* 2 MiB pages as far as the kernel can make them
				 now (MADV_COLLAPSE); the rest is ordinary.
				 Not hugetlb: who may write it can punch holes,
				 and a reader of a hole gets SIGBUS when no
				 page is left */
};

struct segment {
	int fd;	    /* -1: none */
	void *base; /* NULL: not mapped */
	uint64_t bytes;
	uint64_t offset; /* SEGMENT_DAX: of the range in the device */
	enum segment_kind kind;
};
#define SEGMENT_NONE ((struct segment){ .fd = -1 })

#define SEGMENT_HUGE_BYTES (2ull << 20)
/* Addresses at which 2 MiB of a large segment can be one entry of the page
 * table: the bytes to reserve for `bytes` of them; then of those reserved at
 * `base` the rest is unmapped. The place of `bytes` that is left. */
uint64_t segment_place_bytes(uint64_t bytes);
void *segment_place_trim(void *base, uint64_t bytes);
/* All pages of a mapping that are made from now on, and of the shared file behind
 * it, come from this NUMA node alone. -EINVAL: there is no such node; -EPERM,
 * -ENOSYS: nodes may not be chosen here. */
int segment_bind(void *base, uint64_t bytes, int node);

/* Creates, sizes, maps writable, populates (zeroed) and seals. bytes is a
 * multiple of 4096. -ENOMEM when memory is refused, and nothing is left
 * behind. Blocking. Thread safe. */
int segment_create(const char *name, uint64_t bytes, unsigned flags,
		   struct segment *ret_segment);
/* Where the memory of a segment comes from; zeroes: DRAM. */
struct segment_source {
	enum segment_kind kind;
	int node;	 /* SEGMENT_NODE */
	int fd;		 /* SEGMENT_DAX: the device, opened for writing; stays
			    the caller's */
	uint64_t offset; /* SEGMENT_DAX: of the range, whole units */
};
/* The same from there. SEGMENT_DAX: bytes are whole units, and are zeroed; -EIO
 * when the device has lost some of them. -EINVAL: no such node, no whole units. */
int segment_create_from(const struct segment_source *source, const char *name,
			uint64_t bytes, unsigned flags,
			struct segment *ret_segment);

#define SEGMENT_DAX_UNIT DAX_UNIT
/* Opens a devdax device for writing. *ret_bytes: whole units that it has (its
 * file says 0: sysfs knows). -EPROTO: it is none, or its alignment is another. */
int segment_dax_open(const char *path, int *ret_fd, uint64_t *ret_bytes);
/* Is the descriptor a devdax device that has this range? 0; -EPROTO. */
int segment_dax_check(int fd, uint64_t offset, uint64_t bytes);
/* The first unit of a range that has lost memory. -ENOENT: none has; -errno. */
struct segment_source;
int segment_dax_lost(const struct segment_source *source, uint64_t bytes,
		     uint64_t *ret_offset);

/* Takes a descriptor that somebody else made (on failure it stays the
 * caller's). Checks that it is a memfd of exactly `bytes` (0: any) whose size
 * is sealed: -EPROTO otherwise. */
int segment_attach(int fd, uint64_t bytes, bool writable,
		   struct segment *ret_segment);
/* The same of any kind: of SEGMENT_DAX the range from `offset` on. */
int segment_attach_kind(int fd, enum segment_kind kind, uint64_t offset,
			uint64_t bytes, bool writable,
			struct segment *ret_segment);
/* A new descriptor of the same memory that can only be read. */
int segment_reopen_readonly(int fd, int *ret_fd);
/* As attach, but the mapping is not inherited by fork (MADV_DONTFORK), and
 * the descriptor is closed after mapping (on failure it stays the caller's).
 * populate: every page is mapped before the call returns. For clients. */
int segment_map_consume(int fd, uint64_t bytes, bool writable, bool populate,
			struct segment *ret_segment);
/* The same of any kind. */
int segment_map_consume_kind(int fd, enum segment_kind kind, uint64_t offset,
			     uint64_t bytes, bool writable, bool populate,
			     struct segment *ret_segment);
/* Unmaps, closes. Takes NULL, SEGMENT_NONE and half-built. */
void segment_close(struct segment *s);
/* Identity of the memory behind a descriptor (inode of the memfd or device). */
int segment_identity(int fd, uint64_t *ret_id);

/* Sockets: one message with up to SEGMENT_FDS_MAX descriptors. send: 0, or
 * -errno (-EAGAIN when it would block, -EINVAL for an empty message, -EPROTO
 * when a stream socket took a part only: it cannot be used on). recv: 0, the
 * bytes of the message in *ret_len (0 = peer closed), descriptors
 * close-on-exec; a truncated message or too many descriptors closes what came
 * and gives -EPROTO. ret_fds has room for SEGMENT_FDS_MAX. Never raises
 * SIGPIPE. */
#define SEGMENT_FDS_MAX 16
int segment_send(int sock, const void *msg, size_t len, const int *fds,
		 unsigned n_fds);
int segment_recv(int sock, void *msg, size_t cap, int *ret_fds,
		 unsigned *ret_n_fds, size_t *ret_len);

#endif
