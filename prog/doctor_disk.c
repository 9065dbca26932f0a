/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct I/O on a folder: a file without a name is written in pieces of 1 MiB
 * and read back, one piece at a time, and then read in pages from random
 * places. At most 64 MiB and about a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "base/text.h"
#include "doctor.h"

#define PIECE	   (1ull << 20)
#define WHOLE	   (64ull << 20)
#define QUICK	   (8ull << 20)
#define PHASE_NS   (350 * NS_PER_MS)
#define RANDOM_MAX 2000u

struct disk {
	int fd;
	char *piece; /* aligned to a piece */
	uint64_t written;
};

static const char *filesystem_name(uint64_t magic)
{
	static const struct {
		uint64_t magic;
		const char *name;
	} known[] = {
		{ 0xef53, "ext4" },	     { 0x58465342, "xfs" },
		{ 0x9123683e, "btrfs" },     { 0x01021994, "tmpfs" },
		{ 0x794c7630, "overlayfs" }, { 0x6969, "nfs" },
		{ 0x65735546, "fuse" },	     { 0x2fc12fc1, "zfs" },
		{ 0xf2f52010, "f2fs" },	     { 0xff534d42, "cifs" },
		{ 0xfe534d42, "smb2" },	     { 0x00c36400, "ceph" },
		{ 0x0bd00bd0, "lustre" },    { 0x47504653, "gpfs" },
		{ 0x858458f6, "ramfs" },     { 0x958458f6, "hugetlbfs" },
		{ 0x01021997, "9p" },	     { 0xca451a4e, "bcachefs" },
		{ 0x73717368, "squashfs" },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].magic == magic)
			return known[i].name;
	return "unknown";
}

/* A file that no folder names: O_TMPFILE, or unlinked at once where the file
 * system has none. */
static int disk_open(const char *dir, int flags, int *ret_fd)
{
	char path[PATH_MAX];
	int fd;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		if (snprintf(path, sizeof(path), "%s/.onecopy-doctor-%d", dir,
			     (int)getpid()) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | flags,
			  0600);
		/* also after EINVAL: the file is made before it is refused */
		if (fd >= 0 || errno == EINVAL) {
			int e = errno;

			unlink(path);
			errno = e;
		}
	}
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static void disk_alignment(int fd, struct doctor_result *r)
{
#ifdef STATX_DIOALIGN
	struct statx s;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) < 0 ||
	    !(s.stx_mask & STATX_DIOALIGN))
		return;
	doctor_number(r, "memory_alignment", s.stx_dio_mem_align);
	doctor_number(r, "offset_alignment", s.stx_dio_offset_align);
#else
	(void)fd;
	(void)r;
#endif
}

static int disk_write(struct disk *k, uint64_t most, double *ret_rate)
{
	uint64_t start = clock_ns(), now = start;

	while (k->written < most && now - start < PHASE_NS) {
		ssize_t n = pwrite(k->fd, k->piece, PIECE, (off_t)k->written);

		if (n != (ssize_t)PIECE)
			return n < 0 ? -errno : -EIO;
		k->written += PIECE;
		now = clock_ns();
	}
	*ret_rate = (double)k->written * 1e9 / (double)MAX(now - start, 1ull);
	return 0;
}

static int disk_read(struct disk *k, double *ret_rate)
{
	uint64_t start = clock_ns(), now = start, at = 0;

	while (at < k->written && now - start < PHASE_NS) {
		ssize_t n = pread(k->fd, k->piece, PIECE, (off_t)at);

		if (n != (ssize_t)PIECE)
			return n < 0 ? -errno : -EIO;
		at += PIECE;
		now = clock_ns();
	}
	*ret_rate = (double)at * 1e9 / (double)MAX(now - start, 1ull);
	return 0;
}

static int double_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Median of reads of a page. */
static int disk_latency(struct disk *k, double *ret_ns)
{
	CLEANUP(mem_free_at)
	double *each = mem_array(RANDOM_MAX, sizeof(*each));
	uint64_t start = clock_ns(), last = start;
	struct rng rng = { 1 };
	unsigned n = 0;

	if (!each)
		return -ENOMEM;
	while (n < RANDOM_MAX && last - start < PHASE_NS / 2) {
		uint64_t at = rng_below(&rng, k->written / PAGE_BYTES);
		uint64_t now;

		if (pread(k->fd, k->piece, PAGE_BYTES,
			  (off_t)(at * PAGE_BYTES)) != (ssize_t)PAGE_BYTES)
			return errno ? -errno : -EIO;
		now = clock_ns();
		each[n++] = (double)(now - last);
		last = now;
	}
	qsort(each, n, sizeof(*each), double_compare);
	*ret_ns = each[n / 2];
	return 0;
}

/* Bytes that no compression makes less. */
static void disk_fill(struct disk *k)
{
	uint64_t *words = (void *)k->piece;
	struct rng rng = { clock_ns() };

	for (uint64_t i = 0; i < PIECE / sizeof(*words); i++)
		words[i] = rng_next(&rng);
}

static int disk_measure(struct disk *k, uint64_t most, struct doctor_result *r)
{
	double in = 0, out = 0, ns = 0;
	char text[32];
	int e;

	disk_fill(k);
	e = disk_write(k, most, &in);
	if (e == 0)
		e = disk_read(k, &out);
	if (e == 0)
		e = disk_latency(k, &ns);
	if (e)
		return e;
	doctor_number(r, "write_bytes_per_s", in);
	doctor_number(r, "read_bytes_per_s", out);
	doctor_number(r, "latency_ns", ns);
	doctor_number(r, "bytes_written", (double)k->written);
	doctor_value(r,
		     "O_DIRECT: writes %.2f GB/s, reads %.2f GB/s, 4 KiB "
		     "after %s",
		     in / 1e9, out / 1e9, text_time((uint64_t)ns, text));
	return 0;
}

/* Room for what is written, and for others. */
static uint64_t disk_most(const struct doctor *d)
{
	uint64_t most = d->quick ? QUICK : WHOLE, free;
	struct statvfs s;

	if (statvfs(d->dir, &s) < 0)
		return most;
	free = (uint64_t)s.f_bavail * s.f_frsize;
	return MIN(most, free / 4 / PIECE * PIECE);
}

static void direct_refused(const struct doctor *d, struct doctor_result *r,
			   int e)
{
	switch (e) {
	case -EACCES:
	case -EPERM:
	case -EROFS:
		doctor_failed(r, DOCTOR_MISSING, "no file can be made", e);
		doctor_cost(r, "This user keeps no block below %.100s.",
			    d->dir);
		doctor_mend(r, "onecopy doctor --dir DIR   (one that this user "
			       "may write)");
		break;
	case -ENOSPC:
	case -EDQUOT:
		doctor_failed(r, DOCTOR_MISSING, "no room", e);
		doctor_cost(r, "No block can be kept here.");
		break;
	default:
		doctor_failed(r, DOCTOR_MISSING, "O_DIRECT is refused", e);
		doctor_cost(r, "Each byte is moved twice, through the page "
			       "cache, and takes memory there.");
		doctor_mend(r, "onecopy doctor --dir DIR   (on ext4 or XFS)");
	}
}

static int direct_try(const struct doctor *d, struct doctor_result *r)
{
	struct disk k = { .fd = -1 };
	uint64_t most = disk_most(d);
	int e;

	if (most < PIECE)
		return -ENOSPC;
	e = disk_open(d->dir, O_DIRECT, &k.fd);
	if (e)
		return e;
	disk_alignment(k.fd, r);
	k.piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k.piece == MAP_FAILED)
		e = -ENOMEM;
	else
		e = disk_measure(&k, most, r);
	if (k.piece != MAP_FAILED)
		munmap(k.piece, PIECE);
	fd_close(k.fd);
	return e;
}

void doctor_direct(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "direct I/O");
	const char *name = "unknown";
	char text[DOCTOR_TEXT];
	struct statfs s;
	int e;

	if (statfs(d->dir, &s) == 0)
		name = filesystem_name((uint64_t)(uint32_t)s.f_type);
	doctor_text(r, "dir", d->dir);
	doctor_text(r, "filesystem", name);
	e = direct_try(d, r);
	if (e)
		direct_refused(d, r, e);
	text_copy(text, sizeof(text), r->value);
	doctor_value(r, "%s on %.60s: %.160s", name, d->dir, text);
	if (e == 0 &&
	    (strcmp(name, "tmpfs") == 0 || strcmp(name, "ramfs") == 0)) {
		doctor_cost(r,
			    "%.60s is memory, not a disk: what is kept there "
			    "is lost at a restart.",
			    d->dir);
		doctor_mend(r, "onecopy doctor --dir DIR   (on a disk)");
	}
}
