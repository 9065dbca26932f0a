/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: found, opened past the page cache, locked, and its first pages read
 * or made. What is not a log of ours is never written.
 *
 * The lock is taken on the descriptor that all I/O uses. The kernel lets go of it
 * with the last reference to that open file, and each read or write that is under
 * way holds one: so who gets the lock knows that no other node is there, and that
 * the device is done with what a dead one had asked of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <onecopy/onecopy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "tier/nvme/nvme.h"

#define SEGMENT_WANTED	(64ull << 20)
#define SEGMENT_SMALL	(1ull << 20)
#define SEGMENTS_WANTED 16u
#define BLANK_BYTES	(1u << 20) /* of a device that nobody uses */

/* ---- the file ------------------------------------------------------------------ */

/* A directory that is not there is made; its parent is not. */
static int find_file(struct nvme *t)
{
	const char *path = t->options.path;
	size_t room = strlen(path) + sizeof("/onecopy.log");
	struct stat st;

	if (t->path)
		return 0; /* opened again */
	if (stat(path, &st) < 0) {
		if (errno != ENOENT || mkdir(path, 0700) < 0)
			return -errno;
		if (stat(path, &st) < 0)
			return -errno;
	}
	t->device = S_ISBLK(st.st_mode);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !t->device)
		return -EPROTO;
	t->path = mem_alloc(room);
	if (!t->path)
		return -ENOMEM;
	snprintf(t->path, room, S_ISDIR(st.st_mode) ? "%s/onecopy.log" : "%s",
		 path);
	return 0;
}

int nvme_file_open(struct nvme *t)
{
	int r = find_file(t), flags = O_RDWR | O_CLOEXEC;

	if (r < 0)
		return r;
	flags |= t->device ? O_EXCL : O_CREAT;
	t->direct = true;
	r = t->table->open(t->table->ctx, t->path, flags | O_DIRECT, 0600);
	if (r == -EINVAL) {
		t->direct = false;
		r = t->table->open(t->table->ctx, t->path, flags, 0600);
		if (r >= 0)
			log_warn("nvme: %s cannot be read past the page cache "
				 "(O_DIRECT): each move is a copy, and takes "
				 "memory twice",
				 t->path);
	}
	if (r < 0)
		return r;
	t->fd = r;
	return 0;
}

int nvme_file_lock(struct nvme *t)
{
	if (fault_point(FAULT_IO))
		return -EIO;
	if (flock(t->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	t->locked = true;
	return 0;
}

void nvme_file_close(struct nvme *t)
{
	/* The kernel may let go of its last reference a little later; but nothing
	 * is under way any more. */
	if (t->locked)
		flock(t->fd, LOCK_UN);
	t->fd = fd_close(t->fd);
	t->locked = false;
}

static int file_bytes(const struct nvme *t, uint64_t *ret_bytes)
{
	struct stat st;

	if (t->device)
		return ioctl(t->fd, BLKGETSIZE64, ret_bytes) < 0 ? -errno : 0;
	if (fstat(t->fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

/* ---- what lies there --------------------------------------------------------------- */

static int io(struct nvme *t, enum nvme_op op, uint64_t at, void *data,
	      uint64_t bytes)
{
	return nvme_io_now(t->table, t->fd, op, at, data, bytes);
}

static bool blank(const uint8_t *data, uint64_t bytes)
{
	return data[0] == 0 && !memcmp(data, data + 1, bytes - 1);
}

/* The better one of the two superblocks in `pages`. */
static int choose(const uint8_t *pages, struct log_geometry *ret_g,
		  uint64_t *ret_epoch)
{
	struct log_geometry g[LOG_SUPERS];
	uint64_t epoch[LOG_SUPERS];
	int best = -1, r, result = -EPROTO;

	for (int i = 0; i < (int)LOG_SUPERS; i++) {
		r = log_super_parse(pages + i * LOG_UNIT, &g[i], &epoch[i]);
		if (r == 0 && (best < 0 || epoch[i] > epoch[best]))
			best = i;
		if (r == -EPROTONOSUPPORT || result == -EPROTO)
			result = r;
	}
	if (best < 0)
		return result == -EBADMSG ? -EPROTO : result;
	*ret_g = g[best];
	*ret_epoch = epoch[best];
	return 0;
}

/* 0; OC_MISS: nothing at all lies there; -EPROTO, -EPROTONOSUPPORT, -errno. */
static int look(struct nvme *t, uint64_t bytes)
{
	uint64_t most = t->device ? BLANK_BYTES : LOG_SUPERS * LOG_UNIT;
	CLEANUP(mem_free_at) uint8_t *pages = nvme_pages(most);
	int r;

	if (!pages)
		return -ENOMEM;
	if (bytes == 0)
		return OC_MISS;
	if (bytes < LOG_UNIT || (t->device && bytes < most))
		return -EPROTO;
	most = MIN(most, bytes & ~(PAGE_BYTES - 1));
	r = io(t, NVME_READ, 0, pages, most);
	if (r < 0)
		return r;
	r = choose(pages, &t->g, &t->epoch);
	if (r == -EPROTO && t->device && blank(pages, BLANK_BYTES))
		return OC_MISS;
	return r;
}

/* Segments that the limit allows; the size of one for a new log. */
static int measure(struct nvme *t, uint64_t bytes)
{
	uint64_t limit = t->device ? MIN(t->options.size, bytes)
				   : t->options.size;
	uint64_t room = limit - MIN(limit, (uint64_t)LOG_FRONT_BYTES), n;
	char has[32], wants[32];

	if (t->fresh && t->options.segment_bytes)
		t->g.segment_bytes = t->options.segment_bytes;
	else if (t->fresh)
		t->g.segment_bytes =
			MAX(MIN(SEGMENT_WANTED,
				round_down_pow2(room / SEGMENTS_WANTED)),
			    SEGMENT_SMALL);
	n = room / t->g.segment_bytes;
	if (n < LOG_SEGMENTS_MIN) {
		log_error(
			"nvme: %s: %s is too little: it takes %s (%u log "
			"segments)",
			t->path, text_size(limit, has),
			text_size(LOG_FRONT_BYTES +
					  LOG_SEGMENTS_MIN * t->g.segment_bytes,
				  wants),
			LOG_SEGMENTS_MIN);
		return -EINVAL;
	}
	t->g.segments = (uint32_t)MIN(n, (uint64_t)INT32_MAX);
	return 0;
}

/* One page, then the other: one of them is whole at any time. */
static int write_supers(struct nvme *t)
{
	CLEANUP(mem_free_at) uint8_t *page = nvme_pages(LOG_UNIT);
	int r;

	if (!page)
		return -ENOMEM;
	log_super_emit(page, &t->g, t->epoch);
	r = io(t, NVME_WRITE, 0, page, LOG_UNIT);
	if (r == 0 && !t->device)
		r = nvme_io_allocate(t->fd, 0, LOG_FRONT_BYTES);
	return r < 0 ? r : io(t, NVME_WRITE, LOG_UNIT, page, LOG_UNIT);
}

/* Never beyond the limit: what a smaller one leaves no room for goes. */
static int fit(struct nvme *t, uint64_t bytes)
{
	uint64_t most = log_at(&t->g, t->g.segments, 0);

	t->there = t->g.segments;
	if (t->device)
		return 0;
	if (bytes > most)
		return ftruncate(t->fd, (off_t)most) < 0 ? -errno : 0;
	bytes -= MIN(bytes, (uint64_t)LOG_FRONT_BYTES);
	t->there = (uint32_t)(bytes / t->g.segment_bytes);
	return 0;
}

static int load_bads(struct nvme *t)
{
	CLEANUP(mem_free_at) uint8_t *pages = nvme_pages(LOG_BAD_BYTES);
	CLEANUP(mem_free_at)
	struct log_bad *list = mem_array(LOG_BADS_MAX, sizeof(*list));
	uint64_t seq;
	uint32_t n;
	int r;

	if (!pages || !list)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		r = io(t, NVME_READ, LOG_BAD_AT(i), pages, LOG_BAD_BYTES);
		if (r < 0)
			log_warn("nvme: %s: the list of bad places cannot be "
				 "read at %u: %s",
				 t->path, LOG_BAD_AT(i), strerror(-r));
		if (r < 0 || !log_bads_parse(pages, &t->g, &seq, list, &n) ||
		    seq < t->bads_seq)
			continue;
		t->bads_seq = seq;
		t->n_bads = n;
		if (n)
			memcpy(t->bads, list, n * sizeof(*list));
	}
	return 0;
}

static int fresh_uuid(struct nvme *t)
{
	t->fresh = true;
	t->epoch = 0;
	if (fault_point(FAULT_IO) || getrandom(t->g.uuid, sizeof(t->g.uuid),
					       0) != (ssize_t)sizeof(t->g.uuid))
		return -EIO;
	return 0;
}

int nvme_super_load(struct nvme *t)
{
	uint64_t bytes;
	int r = file_bytes(t, &bytes);

	if (r == 0)
		r = look(t, bytes);
	if (r == OC_MISS)
		r = fresh_uuid(t);
	if (r == 0)
		r = measure(t, bytes);
	if (r < 0)
		return r;
	if (t->options.segment_bytes &&
	    t->options.segment_bytes != t->g.segment_bytes)
		log_info("nvme: %s keeps its log segments of %llu bytes",
			 t->path, (unsigned long long)t->g.segment_bytes);
	t->epoch++;
	r = write_supers(t);
	if (r == 0)
		r = fit(t, bytes);
	if (r < 0)
		return r;
	t->bads = mem_array(LOG_BADS_MAX, sizeof(*t->bads));
	t->bads_page = nvme_pages(LOG_BAD_BYTES);
	if (!t->bads || !t->bads_page)
		return -ENOMEM;
	return t->fresh ? 0 : load_bads(t);
}

int nvme_super_same(struct nvme *t, int fd)
{
	CLEANUP(mem_free_at)
	uint8_t *pages = nvme_pages(LOG_SUPERS * LOG_UNIT);
	struct log_geometry g;
	uint64_t epoch;
	int r;

	if (!pages)
		return -ENOMEM;
	r = nvme_io_now(t->table, fd, NVME_READ, 0, pages,
			LOG_SUPERS * LOG_UNIT);
	if (r == 0)
		r = choose(pages, &g, &epoch);
	if (r < 0)
		return r;
	return g.uuid[0] == t->g.uuid[0] && g.uuid[1] == t->g.uuid[1] &&
			       epoch == t->epoch
		       ? 0
		       : -ESTALE;
}
