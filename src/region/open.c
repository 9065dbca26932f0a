/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory under a region: what it is, formatting it, mapping it.
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
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
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

static int measure(int fd, enum region_kind *ret_kind, uint64_t *ret_bytes)
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
static int map_at(int fd, uint64_t at, uint64_t bytes, int prot,
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
	int err = map_at(r->fd, at, bytes, PROT_READ | PROT_WRITE, &base);

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
		err = map_at(fd, 0, REGION_UNIT, PROT_READ, &base);
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
	int err = measure(fd, &kind, &bytes);

	if (!err)
		err = read_magic(fd, kind, bytes, &magic);
	if (err)
		return err;
	return magic == REGION_MAGIC ? 0 : -ENODATA;
}

/* Is every word of a unit zero? */
struct blank {
	const shared_u64 *word;
	uint64_t any;
};

static void blank_run(void *ctx)
{
	struct blank *b = ctx;

	for (uint64_t i = 0; i < REGION_UNIT / sizeof(*b->word); i++)
		b->any |= shared_load64(&b->word[i]);
}

/* Nothing that somebody could miss: a file without a page, or a device whose first
 * unit is zero. 0, or -ENOTEMPTY. */
static int look_blank(int fd, enum region_kind kind, uint64_t bytes)
{
	struct blank b = { .any = 0 };
	struct stat st;
	void *base;
	int err;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (kind != REGION_DEVDAX) {
		if (fstat(fd, &st))
			return -errno;
		return st.st_size && st.st_blocks ? -ENOTEMPTY : 0;
	}
	if (bytes < REGION_UNIT)
		return 0;
	err = map_at(fd, 0, REGION_UNIT, PROT_READ, &base);
	if (err)
		return err;
	b.word = base;
	err = guard_run(blank_run, &b, NULL);
	region_unmap(base, REGION_UNIT);
	return err ? err : b.any ? -ENOTEMPTY : 0;
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
	err = map_at(r->fd, 0, REGION_UNIT, PROT_READ | PROT_WRITE, &base);
	if (err)
		return err;
	r->control = base;
	err = read_format(r, bytes, &g);
	if (err)
		return err;
	r->g = g;
	r->mem = region_mem_of(shared_load64(&r->control->header.mode));
	err = map_at(r->fd, 0, g.bytes, PROT_READ, &base);
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
	err = measure(fd, &r->kind, &bytes);
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

/* ---- formatting -------------------------------------------------------------------- */

#define FORMAT_TRIES 100 /* of a millisecond, for the lock */

/* A file's pages exist before it is a region: a hole would be memory that
 * nobody accounts for, and SIGBUS where there is none left. */
static int fill_file(int fd, enum region_kind kind, uint64_t wanted,
		     bool unfilled, uint64_t *bytes)
{
	int err;

	if (wanted > *bytes) {
		wanted = ALIGN_UP(wanted, REGION_UNIT);
		if (fault_point(FAULT_IO))
			return -EIO;
		if (ftruncate(fd, (off_t)wanted))
			return -errno;
		*bytes = wanted;
	}
	if (kind == REGION_DEVDAX || !*bytes || unfilled)
		return 0;
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	do
		err = fallocate(fd, 0, 0, (off_t)*bytes) ? errno : 0;
	while (err == EINTR);
	/* ENOSPC is a region that does not fit into its own memory */
	return err == ENOSPC ? -ENOMEM : -err;
}

/* 2 MiB pages as far as the kernel can make them now. */
static void collapse(char *base, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += REGION_UNIT)
		if (madvise(base + at, PAGE_BYTES, MADV_POPULATE_WRITE))
			return;
	madvise(base, ALIGN_UP(bytes, REGION_UNIT), MADV_COLLAPSE);
}

static void collapse_all(char *base, const struct region_geometry *g,
			 bool unfilled)
{
	struct region_places p;

	if (!unfilled || region_places(g, &p)) {
		collapse(base, g->bytes);
		return;
	}
	collapse(base, p.shards);
	for (uint32_t i = 0; i < g->shards; i++)
		collapse(base + p.shards + i * p.shard_bytes, p.payload);
}

/* What is done in a guard. */
struct formatting {
	void *base;
	const struct region_geometry *g;
	const char *tenant;
	uint64_t id, born_ms;
};

static void write_run(void *ctx)
{
	struct formatting *f = ctx;

	region_write_format(f->base, f->g, f->tenant, f->id, f->born_ms);
}

static void unmake_run(void *ctx)
{
	struct region_header *h = ctx;

	shared_store64_release(&h->magic, 0);
	memset(ctx, 0, REGION_UNIT);
}

static int write_format(int fd, enum region_kind kind,
			const struct region_format_options *o,
			struct region_geometry *g)
{
	struct formatting f = { .g = g,
				.tenant = o->tenant ? o->tenant : "default" };
	struct timespec now;
	void *base;
	int err = map_at(fd, 0, g->bytes, PROT_READ | PROT_WRITE, &base);

	if (err)
		return err;
	if (kind == REGION_TMPFS)
		collapse_all(base, g, o->unfilled);
	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(&f.id, sizeof(f.id), 0) != sizeof(f.id))
		f.id = (uint64_t)now.tv_nsec << 32 | (uint64_t)getpid();
	f.base = base;
	f.born_ms =
		(uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	err = guard_run(write_run, &f, NULL);
	region_unmap(base, g->bytes);
	return err;
}

static struct region_geometry wanted(const struct region_format_options *o)
{
	struct region_geometry g = {
		.members = o->members ? o->members : 16,
		.frame_bytes = o->frame_bytes ? o->frame_bytes : REGION_UNIT,
		.lease_ms = o->lease_ms ? o->lease_ms : 1000,
	};

	g.shards = o->shards ? o->shards : g.members;
	return g;
}

int region_format_least(const struct region_format_options *o,
			struct region_geometry *ret_least)
{
	struct region_geometry g = wanted(o);
	struct region_places p;
	int err;

	g.frames = o->frames ? o->frames : 1;
	err = region_places(&g, &p);
	if (err)
		return err;
	g.bytes = p.shards + g.shards * p.shard_bytes;
	*ret_least = g;
	return 0;
}

static int format_memory(int fd, enum region_kind kind, uint64_t bytes,
			 const struct region_format_options *o)
{
	struct region_geometry g = wanted(o);
	struct region_places p;
	int err;

	if (o->bytes && o->bytes < bytes)
		bytes = o->bytes;
	err = region_fit(&g, bytes & ~(REGION_UNIT - 1));
	if (!err && o->frames > g.frames)
		err = -ENOSPC;
	if (!err && o->frames) {
		g.frames = o->frames;
		err = region_places(&g, &p);
		g.bytes = p.shards + g.shards * p.shard_bytes;
	}
	return err ? err : write_format(fd, kind, o, &g);
}

struct alive {
	struct region *r;
	bool any;
};

static void alive_run(void *ctx)
{
	struct alive *a = ctx;

	for (uint32_t i = 0; i < a->r->g.members; i++)
		a->any |= region_may_live(a->r, i);
}

/* Nobody is at work in the region that is there, if this version can read it: 0,
 * or -EBUSY. The caller has the memory's lock. */
static int look_deserted(int fd)
{
	struct alive a = { .any = false };
	struct region *r = NULL;
	int err = region_open_fd(fd, &r);

	if (err)
		return err == -ENODATA || err == -EPROTO ||
				       err == -EPROTONOSUPPORT
			       ? 0
			       : err;
	r->locked = true;
	a.r = r;
	err = region_guard(r, alive_run, &a, NULL);
	region_close(r);
	return err ? err : a.any ? -EBUSY : 0;
}

/* What must be asked before all that lies there is lost. */
static int may_format(int fd, enum region_kind kind, uint64_t bytes,
		      const struct region_format_options *o)
{
	int err;

	if (o->force)
		return o->even_if_live ? 0 : look_deserted(fd);
	err = region_is_there(fd);
	if (err == -ENODATA)
		return look_blank(fd, kind, bytes);
	return err ? err : -EEXIST;
}

/* Without its magic it is nobody's; and then as blank as look_blank() wants it, a
 * file by giving its pages back. */
static int unmake(int fd, enum region_kind kind, uint64_t bytes)
{
	void *base;
	int err = region_is_there(fd);

	if (!err)
		err = map_at(fd, 0, REGION_UNIT, PROT_READ | PROT_WRITE, &base);
	if (err)
		return err;
	err = guard_run(unmake_run, base, NULL);
	region_unmap(base, REGION_UNIT);
	if (err)
		return err;
	if (kind != REGION_DEVDAX &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)bytes))
		return -errno;
	return 0;
}

/* Nothing is changed before it is known that nobody else has the memory. */
static int format_fd(int fd, const struct region_format_options *o)
{
	enum region_kind kind;
	uint64_t bytes = 0, was;
	int err = measure(fd, &kind, &bytes);

	if (!err)
		err = region_lock(fd, FORMAT_TRIES);
	if (!err)
		err = may_format(fd, kind, bytes, o);
	if (err)
		return err;
	if (o->none)
		return unmake(fd, kind, bytes);
	was = bytes;
	err = fill_file(fd, kind, kind == REGION_DEVDAX ? 0 : o->bytes,
			o->unfilled, &bytes);
	if (!err)
		err = format_memory(fd, kind, bytes, o);
	if (err && bytes > was && ftruncate(fd, (off_t)was))
		return -errno;
	return err;
}

int region_format(const char *path, const struct region_format_options *o)
{
	bool made = false;
	int fd, err;

	if (o->size != sizeof(*o) ||
	    (o->tenant && strlen(o->tenant) > REGION_NAME))
		return -EINVAL;
	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && o->bytes) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		made = fd >= 0;
	}
	if (fd < 0)
		return -errno;
	err = format_fd(fd, o);
	close(fd);
	if (err && made)
		unlink(path);
	return err;
}
