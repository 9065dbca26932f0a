/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory under a region: what it is, its lock, mapping it, opening
 * what was made of it (make.c).
 *
 * A devdax device has no size of its own (st_size is 0; sysfs tells) and takes
 * neither truncation nor mappings that are not whole units; files on tmpfs and
 * hugetlbfs stand in for it and are treated in the same way.
 */
#include "base/dax.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"
#include "region/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

const char *region_kind_name(enum region_kind kind)
{
	switch (kind) {
	case REGION_DEVDAX:
		return "devdax";
	case REGION_TMPFS:
		return "tmpfs";
	case REGION_HUGETLB:
		return "hugetlbfs";
	}
	return "?";
}

_Static_assert(REGION_UNIT % DAX_UNIT == 0, "whole units of a device");

/* ---- what it is --------------------------------------------------------------- */

int region_measure(int fd, enum region_kind *ret_kind, uint64_t *ret_bytes)
{
	struct statfs fs;
	struct stat st;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (S_ISCHR(st.st_mode)) {
		int err = dax_probe(fd, ret_bytes);

		*ret_kind = REGION_DEVDAX;
		return err == -EPROTO ? -EMEDIUMTYPE : err;
	}
	if (!S_ISREG(st.st_mode))
		return -EMEDIUMTYPE;
	if (fs.f_type == TMPFS_MAGIC)
		*ret_kind = REGION_TMPFS;
	else if (fs.f_type == HUGETLBFS_MAGIC &&
		 fs.f_bsize <= (long)REGION_UNIT)
		*ret_kind = REGION_HUGETLB;
	else
		return -EMEDIUMTYPE;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

/* ---- whose it is ---------------------------------------------------------------- */

int region_lock(int fd, unsigned tries)
{
	if (fault_point(FAULT_IO))
		return -EIO;
	for (;;) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (!--tries)
			return -EAGAIN;
		poll(NULL, 0, 1);
	}
}

/* ---- mapping --------------------------------------------------------------------- */

static int map_error(int err)
{
	return err == EAGAIN || err == EFAULT || err == ENOSPC ? -ENOMEM : -err;
}

/* At an address that is a whole unit, so that the page table can take it in
 * entries of 2 MiB; the rest of what was reserved is given back. */
int region_map_at(int fd, uint64_t at, uint64_t bytes, int prot,
		  void **ret_base)
{
	char *room, *base;
	uint64_t head;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	room = mmap(NULL, bytes + REGION_UNIT, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return map_error(errno);
	head = ALIGN_UP((uintptr_t)room, REGION_UNIT) - (uintptr_t)room;
	base = mmap(room + head, bytes, prot, MAP_SHARED | MAP_FIXED, fd,
		    (off_t)at);
	if (base == MAP_FAILED) {
		int err = map_error(errno);

		munmap(room, bytes + REGION_UNIT);
		return err;
	}
	if (head)
		munmap(room, head);
	if (head < REGION_UNIT)
		munmap(base + bytes, REGION_UNIT - head);
	madvise(base, bytes, MADV_HUGEPAGE); /* a wish */
	/* a child is no member */
	madvise(base, bytes, MADV_DONTFORK);
	*ret_base = base;
	return 0;
}

int region_map(struct region *r, uint64_t at, uint64_t bytes, uint64_t populate,
	       void **ret_base)
{
	void *base = NULL;
	int err =
		region_map_at(r->fd, at, bytes, PROT_READ | PROT_WRITE, &base);

	if (err)
		return err;
	/* best effort: a file was filled when it was formatted */
	if (populate)
		madvise(base, populate, MADV_POPULATE_WRITE);
	*ret_base = base;
	return 0;
}

void region_unmap(void *base, uint64_t bytes)
{
	if (base)
		munmap(base, bytes);
}

struct loading {
	const struct region_header *header;
	uint64_t bytes, magic, id;
	char tenant[REGION_NAME + 1];
	struct region_geometry g;
	struct region_places places;
	int result;
};

static void magic_run(void *ctx)
{
	struct loading *l = ctx;

	l->magic = shared_load64(&l->header->magic);
}

static int load_magic(const void *base, uint64_t *ret_magic)
{
	struct loading l = { .header = base };
	int err = guard_run(magic_run, &l, NULL);

	if (!err)
		*ret_magic = l.magic;
	return err;
}

static void format_run(void *ctx)
{
	struct loading *l = ctx;

	l->result = region_read_format(l->header, l->bytes, &l->g, &l->places);
	l->id = shared_load64(&l->header->id);
	shared_load_bytes(l->tenant, REGION_NAME, l->header->tenant);
}

/* A device takes no read; of a file with holes a look through a mapping would make
 * pages, or end the process where there are none. */
static int read_magic(int fd, enum region_kind kind, uint64_t bytes,
		      uint64_t *ret_magic)
{
	uint64_t magic = 0;
	void *base;
	int err;

	if (kind != REGION_DEVDAX) {
		if (fault_point(FAULT_IO))
			return -EIO;
		if (pread(fd, &magic, sizeof(magic), 0) < 0)
			return -errno;
	} else if (bytes >= REGION_UNIT) {
		err = region_map_at(fd, 0, REGION_UNIT, PROT_READ, &base);
		if (err)
			return err;
		err = load_magic(base, &magic);
		region_unmap(base, REGION_UNIT);
		if (err)
			return err;
	}
	*ret_magic = magic;
	return 0;
}

int region_is_there(int fd)
{
	enum region_kind kind;
	uint64_t bytes, magic = 0;
	int err = region_measure(fd, &kind, &bytes);

	if (!err)
		err = read_magic(fd, kind, bytes, &magic);
	if (err)
		return err;
	return magic == REGION_MAGIC ? 0 : -ENODATA;
}

/* ---- opening --------------------------------------------------------------------- */

struct viewing {
	struct region *r;
	uint32_t shard;
	int result;
};

static unsigned char *table_of(const struct region *r, uint32_t shard)
{
	/* only read through: table_init() stores, table_probe() never */
	return (unsigned char *)(uintptr_t)r->all + r->places.shards +
	       shard * r->places.shard_bytes + r->places.table;
}

static void view_run(void *ctx)
{
	struct viewing *v = ctx;
	struct region *r = v->r;

	v->result = table_attach(&r->view[v->shard].table,
				 table_of(r, v->shard), r->places.table_bytes);
}

/* Where an index is damaged nothing is found until its owner has made it anew. */
void region_make_views(struct region *r)
{
	for (uint32_t i = 0; i < r->g.shards; i++) {
		struct viewing v = { .r = r, .shard = i };

		if (!r->view[i].whole)
			r->view[i].whole =
				region_guard(r, view_run, &v, NULL) == 0 &&
				v.result == 0;
	}
}

static int place_views(struct region *r)
{
	int err = 0;

	for (uint32_t i = 0; i < r->g.shards && !err; i++) {
		const unsigned char *base =
			r->all + r->places.shards + i * r->places.shard_bytes;

		r->view[i].desc = (const void *)(base + r->places.desc);
		r->view[i].payload = base + r->places.payload;
		err = table_place(&r->view[i].table, table_of(r, i),
				  r->places.table_bytes);
	}
	if (!err)
		region_make_views(r);
	return err;
}

static int attach_views(struct region *r)
{
	r->view = mem_array(r->g.shards, sizeof(*r->view));
	r->own = mem_array(r->g.shards, sizeof(struct region_own *));
	r->out = mem_array(r->g.shards, sizeof(struct region_own *));
	r->touch_seen = mem_array(r->g.members, sizeof(uint64_t));
	r->report_seen = mem_array(r->g.members, sizeof(uint64_t));
	r->beat_seen = mem_array(r->g.members, sizeof(uint64_t));
	if (!r->view || !r->own || !r->out || !r->touch_seen ||
	    !r->report_seen || !r->beat_seen)
		return -ENOMEM;
	r->skip = r->g.shards;
	return place_views(r);
}

static int read_format(struct region *r, uint64_t bytes,
		       struct region_geometry *ret_g)
{
	struct loading l = { .header = &r->control->header,
			     .bytes = bytes,
			     .tenant = "" };
	int err = guard_run(format_run, &l, NULL);

	if (!err)
		err = l.result;
	if (err)
		return err;
	*ret_g = l.g;
	r->places = l.places;
	r->id = l.id;
	text_copy(r->tenant, sizeof(r->tenant), l.tenant);
	return 0;
}

static int attach(struct region *r, uint64_t bytes)
{
	struct region_geometry g;
	uint64_t magic = 0;
	void *base;
	int err;

	err = read_magic(r->fd, r->kind, bytes, &magic);
	if (err)
		return err;
	if (magic != REGION_MAGIC)
		return -ENODATA; /* and no page was made */
	if (bytes < 3 * REGION_UNIT)
		return -EPROTO; /* a file that was cut */
	err = region_map_at(r->fd, 0, REGION_UNIT, PROT_READ | PROT_WRITE,
			    &base);
	if (err)
		return err;
	r->control = base;
	err = read_format(r, bytes, &g);
	if (err)
		return err;
	r->g = g;
	r->mem = region_mem_of(shared_load64(&r->control->header.mode));
	err = region_map_at(r->fd, 0, g.bytes, PROT_READ, &base);
	if (err)
		return err;
	r->all = base;
	err = region_host_id(r->fd, &r->host);
	return err ? err : attach_views(r);
}

int region_open_consume(int fd, struct region **ret_region)
{
	struct region *r = mem_alloc(sizeof(*r));
	uint64_t bytes = 0;
	int err;

	if (!r) {
		close(fd);
		return -ENOMEM;
	}
	r->fd = fd;
	err = region_measure(fd, &r->kind, &bytes);
	if (!err)
		err = attach(r, bytes);
	if (err) {
		region_close(r);
		return err;
	}
	*ret_region = r;
	return 0;
}

int region_open(const char *path, struct region **ret_region)
{
	int fd;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : region_open_consume(fd, ret_region);
}

int region_open_fd(int fd, struct region **ret_region)
{
	char path[48];

	/* an open file of its own, so that its lock is (join.c) */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return region_open(path, ret_region);
}

int region_reopen(const struct region *r, int *ret_fd)
{
	char path[48];
	int fd;

	if (fault_point(FAULT_IO))
		return -EIO;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* A device by its number: its node may have been made anew. */
int region_is_at(const struct region *r, const char *path)
{
	struct stat mine, there;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(r->fd, &mine) || stat(path, &there))
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (S_ISCHR(mine.st_mode))
		return S_ISCHR(there.st_mode) && mine.st_rdev == there.st_rdev
			       ? 0
			       : -ESTALE;
	return mine.st_dev == there.st_dev && mine.st_ino == there.st_ino
		       ? 0
		       : -ESTALE;
}

const void *region_memory(const struct region *r)
{
	return r->all;
}

const struct region_host *region_host_of(const struct region *r)
{
	return &r->host;
}

void region_tenant(const struct region *r, char ret_name[REGION_NAME + 1])
{
	memcpy(ret_name, r->tenant, sizeof(r->tenant));
}

void region_close(struct region *r)
{
	if (!r)
		return;
	region_forget(r);
	region_unmap(r->control, REGION_UNIT);
	/* mapped read-only: nothing is written through this */
	region_unmap((void *)(uintptr_t)r->all, r->g.bytes);
	fd_close(r->fd);
	free(r->view);
	free(r->own);
	free(r->out);
	free(r->touch_seen);
	free(r->report_seen);
	free(r->beat_seen);
	free(r);
}

const struct region_geometry *region_geometry_of(const struct region *r)
{
	return &r->g;
}

enum region_kind region_kind_of(const struct region *r)
{
	return r->kind;
}
