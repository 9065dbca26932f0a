/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a region of some memory, and unmaking it.
 *
 * Nothing is changed before it is known that nobody else has the memory (its lock),
 * that nobody could miss what lies there, or that this was asked for, and that no
 * member of a region that is there may be alive, or that this was asked for, too.
 * What is written becomes a region by its magic, which goes last
 * (region_write_format()): who dies before has made none.
 *
 * A file's pages are made first, so that a member never meets a hole; where a file
 * grew for a format that failed it has its old size again.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "region/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define FORMAT_TRIES 100 /* of a millisecond, for the lock */

/* ---- what lies there --------------------------------------------------------------- */

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
	err = region_map_at(fd, 0, REGION_UNIT, PROT_READ, &base);
	if (err)
		return err;
	b.word = base;
	err = guard_run(blank_run, &b, NULL);
	region_unmap(base, REGION_UNIT);
	return err ? err : b.any ? -ENOTEMPTY : 0;
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

/* ---- the memory -------------------------------------------------------------------- */

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

/* ---- the format -------------------------------------------------------------------- */

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
	void *base;
	int err = region_map_at(fd, 0, g->bytes, PROT_READ | PROT_WRITE, &base);

	if (err)
		return err;
	if (kind == REGION_TMPFS)
		collapse_all(base, g, o->unfilled);
	if (getrandom(&f.id, sizeof(f.id), 0) != sizeof(f.id))
		f.id = clock_ns() << 32 | (uint64_t)getpid();
	f.base = base;
	f.born_ms = clock_realtime_ms();
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

/* Without its magic it is nobody's; and then as blank as look_blank() wants it, a
 * file by giving its pages back. */
static int unmake(int fd, enum region_kind kind, uint64_t bytes)
{
	void *base;
	int err = region_is_there(fd);

	if (!err)
		err = region_map_at(fd, 0, REGION_UNIT, PROT_READ | PROT_WRITE,
				    &base);
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
	int err = region_measure(fd, &kind, &bytes);

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
