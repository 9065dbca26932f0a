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
 */
#ifndef ONECOPY_SHM_SEGMENT_H
#define ONECOPY_SHM_SEGMENT_H

#include "base/compiler.h"

enum segment_kind { SEGMENT_DRAM = 1 };

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
	enum segment_kind kind;
};
#define SEGMENT_NONE ((struct segment){ .fd = -1 })

#define SEGMENT_HUGE_BYTES (2ull << 20)
/* Addresses at which 2 MiB of a large segment can be one entry of the page
 * table: the bytes to reserve for `bytes` of them; then of those reserved at
 * `base` the rest is unmapped. The place of `bytes` that is left. */
uint64_t segment_place_bytes(uint64_t bytes);
void *segment_place_trim(void *base, uint64_t bytes);

/* Creates, sizes, maps writable, populates (zeroed) and seals. bytes is a
 * multiple of 4096. -ENOMEM when memory is refused, and nothing is left
 * behind. Blocking. Thread safe. */
int segment_create(const char *name, uint64_t bytes, unsigned flags,
		   struct segment *ret_segment);
/* Takes a descriptor that somebody else made (on failure it stays the
 * caller's). Checks that it is a memfd of exactly `bytes` (0: any) whose size
 * is sealed: -EPROTO otherwise. */
int segment_attach(int fd, uint64_t bytes, bool writable,
		   struct segment *ret_segment);
/* A new descriptor of the same memory that can only be read. */
int segment_reopen_readonly(int fd, int *ret_fd);
/* As attach, but the mapping is not inherited by fork (MADV_DONTFORK), and
 * the descriptor is closed after mapping (on failure it stays the caller's).
 * populate: every page is mapped before the call returns. For clients. */
int segment_map_consume(int fd, uint64_t bytes, bool writable, bool populate,
			struct segment *ret_segment);
/* Unmaps, closes. Takes NULL, SEGMENT_NONE and half-built. */
void segment_close(struct segment *s);
/* Identity of the memory behind a descriptor (inode of the memfd). */
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
