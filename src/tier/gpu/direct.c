/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs of cuFile: read, then copied back piece by piece and hashed. Several jobs
 * are with the disk at once where the library has batches; while it reads, those
 * that are done are verified.
 */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "tier/gpu/gpu_internal.h"

#define BATCH_LOOK_NS (100 * NS_PER_MS)
/* The vendor says of a question that failed: ask again. So often. */
#define BATCH_QUESTIONS 8u

static const char wrong_bytes[] = "cuFile gave wrong bytes";

/* The registered region that holds all of the job's room; NULL: none does. */
static const struct gpu_region *region_of(const struct gpu *g,
					  const struct gpu_job *job)
{
	uint64_t whole = ALIGN_UP(job->place.bytes, CUFILE_ALIGN);

	for (size_t i = 0; i < GPU_REGIONS; i++) {
		const struct gpu_region *at = &g->region[i];

		if (at->bytes && job->to >= at->base &&
		    job->to - at->base <= at->bytes &&
		    whole <= at->bytes - (job->to - at->base))
			return at;
	}
	return NULL;
}

const char *gpu_cufile_refuses(const struct gpu *g, const struct gpu_job *job)
{
	uint64_t whole = ALIGN_UP(job->place.bytes, CUFILE_ALIGN);

	if (g->cufile.mode == CUFILE_CLOSED || g->deceived)
		return g->why;
	if (job->place.offset % CUFILE_ALIGN)
		return "the place does not lie on 4096";
	if (job->to % CUFILE_ALIGN)
		return "the address does not lie on 4096";
	if (job->room < whole)
		return "the room does not go on to a multiple of 4096";
	/* Into other memory the library goes through memory of its own on the
	 * device. On an H200 such reads did not verify now and then, whatever was
	 * waited for; ten thousand into registered memory did. */
	if (!region_of(g, job))
		return "the memory is not registered";
	return NULL;
}

/* ---- files and regions --------------------------------------------------------- */

static int handle_open(struct gpu *g, int fd, void **ret_handle)
{
	struct cufile_descr descr = { .type = 1, .handle.fd = fd };

	g->said = g->cufile.said;
	if (fault_point(FAULT_IO))
		return -EIO;
	return CUFILE(&g->cufile, handle_register, ret_handle, &descr);
}

/* A job of GPU_BEST that cuFile cannot do goes the other way, also when the bytes
 * are wrong: whether the disk or the library is, only another way can tell. What
 * did not end may still be written. */
static void job_give_up(struct gpu *g, struct gpu_job *job, int r)
{
	if (job->path != GPU_BEST || r == -ETIMEDOUT) {
		gpu_job_fail(g, job, r);
		return;
	}
	job->took = GPU_FALLBACK;
	job->why = r == -EBADMSG ? wrong_bytes : g->gave_up;
	if (r != -EBADMSG)
		text_copy(g->gave_up, sizeof(g->gave_up), g->cufile.said);
}

/* The disk had the right bytes all the time. */
static void job_doubt(struct gpu *g, const struct gpu_job *job)
{
	if (job->why != wrong_bytes || job->result != JOB_VERIFIED ||
	    g->deceived)
		return;
	g->deceived = true;
	text_copy(g->why, sizeof(g->why), wrong_bytes);
	log_warn("%s, and the disk had the right ones", g->why);
}

void gpu_cufile_judge(struct gpu *g, const struct gpu_job *jobs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		job_doubt(g, &jobs[i]);
}

static struct gpu_file *file_find(struct gpu *g, int fd)
{
	for (size_t i = 0; i < GPU_FILES; i++)
		if (g->file[i].fd == fd)
			return &g->file[i];
	return NULL;
}

int gpu_file_add(struct gpu *g, int fd)
{
	struct gpu_file *f = file_find(g, fd), fresh = { .fd = fd };
	int r;

	if (fd < 0)
		return -EBADF;
	if (f || g->cufile.mode == CUFILE_CLOSED)
		return 0;
	f = file_find(g, -1);
	if (!f)
		return -ENOSPC;
	r = gpu_enter(g);
	if (r)
		return r;
	r = handle_open(g, fd, &fresh.handle);
	gpu_leave(g);
	if (r == 0)
		*f = fresh;
	return r;
}

void gpu_file_drop(struct gpu *g, int fd)
{
	struct gpu_file *f = fd < 0 ? NULL : file_find(g, fd);

	if (!f || g->stuck || gpu_enter(g))
		return; /* stuck: the library may still use it */
	g->cufile.handle_deregister(f->handle);
	gpu_leave(g);
	*f = (struct gpu_file){ .fd = -1 };
}

int gpu_region_add(struct gpu *g, cuda_address base, uint64_t bytes)
{
	size_t i = 0;
	int r;

	if (!base || !bytes || base % CUFILE_ALIGN || bytes % CUFILE_ALIGN)
		return -EINVAL;
	if (g->cufile.mode == CUFILE_CLOSED)
		return 0;
	while (i < GPU_REGIONS && g->region[i].bytes)
		i++;
	if (i == GPU_REGIONS)
		return -ENOSPC;
	r = fault_point(FAULT_IO) ? -EIO : gpu_enter(g);
	if (r)
		return r;
	r = CUFILE(&g->cufile, buf_register, (const void *)(uintptr_t)base,
		   bytes, 0);
	g->said = g->cufile.said;
	gpu_leave(g);
	if (r == 0)
		g->region[i] = (struct gpu_region){ base, bytes };
	return r;
}

void gpu_region_drop(struct gpu *g, cuda_address base)
{
	for (size_t i = 0; i < GPU_REGIONS; i++) {
		struct gpu_region *at = &g->region[i];

		if (!at->bytes || at->base != base || g->stuck || gpu_enter(g))
			continue;
		(void)CUFILE(&g->cufile, buf_deregister,
			     (const void *)(uintptr_t)base);
		gpu_leave(g);
		at->bytes = 0;
	}
}

/* ---- verifying ------------------------------------------------------------------- */

static int back_begin(struct gpu *g, const struct gpu_job *job, uint64_t at,
		      uint32_t *ret_slot)
{
	uint64_t bytes = MIN(g->piece_bytes, job->place.bytes - at);
	int slot = gpu_slot_take(g, true), r;

	if (slot < 0)
		return slot;
	r = CUDA(&g->cuda, copy_out, gpu_piece(g, (uint32_t)slot), job->to + at,
		 bytes, g->stream);
	if (r == 0)
		r = gpu_slot_copies(g, (uint32_t)slot);
	g->slot[slot].bytes = (uint32_t)bytes;
	g->stat.back_bytes += bytes;
	*ret_slot = (uint32_t)slot;
	return r;
}

/* Half of the pieces are on their way back while one is hashed. */
static int job_hash(struct gpu *g, const struct gpu_job *job)
{
	uint32_t queue[GPU_PIECES_MOST], head = 0, queued = 0;
	uint64_t at = 0, start;
	int r = 0;

	hash_stream_reset(g->hash, job->seed);
	while (r == 0 && (at < job->place.bytes || queued)) {
		if (at < job->place.bytes && queued < MAX(g->pieces / 2, 1u)) {
			uint32_t *slot =
				&queue[(head + queued) % GPU_PIECES_MOST];

			r = back_begin(g, job, at, slot);
			queued += r == 0;
			at += r == 0 ? g->slot[*slot].bytes : 0;
			continue;
		}
		r = gpu_slot_wait(g, queue[head]);
		if (r)
			break;
		start = clock_ns();
		hash_stream_add(g->hash, gpu_piece(g, queue[head]),
				g->slot[queue[head]].bytes);
		g->stat.hash_ns += clock_ns() - start;
		head = (head + 1) % GPU_PIECES_MOST;
		queued--;
	}
	return r;
}

/* What cuFile has answered to may still be on its way: in compatibility mode it
 * copies from plain memory, and such a copy returns when it was staged. Work of
 * other streams, as ours, is not ordered after it (seen on an H200: pieces of what
 * had been there before). */
static int job_arrives(struct gpu *g)
{
	uint64_t start = clock_ns();
	int r = CUDA(&g->cuda, context_wait);

	g->stat.copy_ns += clock_ns() - start;
	return r;
}

static void job_verify(struct gpu *g, struct gpu_job *job)
{
	int r = job_arrives(g);

	if (r == 0)
		r = job_hash(g, job);
	if (r == 0 && hash_stream_value(g->hash) != job->place.block.checksum)
		r = -EBADMSG;
	if (r)
		job_give_up(g, job, r);
	else
		job->result = JOB_VERIFIED;
}

static void job_done(struct gpu *g, struct gpu_job *job, ssize_t n)
{
	ssize_t r = cufile_bytes(&g->cufile, "read", n);

	if (r >= 0 && (uint64_t)r < job->place.bytes)
		r = -EIO;
	if (r < 0)
		job_give_up(g, job, (int)r);
	else
		job_verify(g, job);
}

/* ---- one by one ------------------------------------------------------------------ */

static void job_read(struct gpu *g, struct gpu_job *job, void *handle)
{
	cuda_address base = region_of(g, job)->base;
	uint64_t start = clock_ns();
	ssize_t n = g->cufile.read(handle, (void *)(uintptr_t)base,
				   ALIGN_UP(job->place.bytes, CUFILE_ALIGN),
				   (off_t)job->place.offset,
				   (off_t)(job->to - base));

	g->stat.disk_ns += clock_ns() - start;
	job_done(g, job, n);
}

/* ---- batches --------------------------------------------------------------------- */

static bool batch_ready(struct gpu *g)
{
	const struct cufile *c = &g->cufile;
	uint32_t most = c->properties.batch_entries;

	if (g->batch)
		return true;
	if (!c->batch_create || !c->batch_submit || !c->batch_status ||
	    !c->batch_cancel || !c->batch_destroy)
		return false;
	g->batch_entries = MIN(most ? most : GPU_BATCH, GPU_BATCH);
	return CUFILE(&g->cufile, batch_create, &g->batch, g->batch_entries) ==
	       0;
}

static void batch_event(struct gpu *g, const struct cufile_event *e)
{
	struct gpu_job *job = e->cookie;

	if (!job || job->result != JOB_WAITS || job->took == GPU_FALLBACK)
		return;
	if (e->status == CUFILE_COMPLETE)
		job_done(g, job, (ssize_t)e->ret);
	else if (e->status == CUFILE_TIMEOUT || e->status == CUFILE_CANCELED)
		gpu_job_fail(g, job, -ETIMEDOUT);
	else
		job_give_up(g, job, -EIO);
}

/* Events until all n have come. Of those that do not come in time the memory may
 * still be written: the batch is given up whole. */
static void batch_wait(struct gpu *g, struct gpu_job **jobs, uint32_t n)
{
	struct cufile_event event[GPU_BATCH];
	uint64_t end = clock_ns() + g->patience_ns, start;
	uint32_t came = 0, failed = 0;
	int r = 0;

	while (failed < BATCH_QUESTIONS && came < n && clock_ns() < end) {
		struct timespec wait = { .tv_nsec = BATCH_LOOK_NS };
		unsigned some = n - came;

		memset(event, 0, sizeof(event));
		start = clock_ns();
		r = CUFILE(&g->cufile, batch_status, g->batch, 1u, &some, event,
			   &wait);
		g->stat.disk_ns += clock_ns() - start;
		for (unsigned i = 0; r == 0 && i < MIN(some, n - came); i++)
			batch_event(g, &event[i]);
		came += r == 0 ? MIN(some, n - came) : 0;
		failed = r == 0 ? 0 : failed + 1;
	}
	if (came == n)
		return;
	(void)CUFILE(&g->cufile, batch_cancel, g->batch);
	g->cufile.batch_destroy(g->batch);
	g->batch = NULL;
	g->stuck = true;
	for (uint32_t i = 0; i < n; i++)
		if (jobs[i]->result == JOB_WAITS &&
		    jobs[i]->took != GPU_FALLBACK)
			gpu_job_fail(g, jobs[i], -ETIMEDOUT);
}

/* False: the library did not take it, and nothing is under way. */
static bool batch_run(struct gpu *g, struct gpu_job **jobs, void **handles,
		      uint32_t n)
{
	struct cufile_io io[GPU_BATCH];

	for (uint32_t i = 0; i < n; i++) {
		cuda_address base = region_of(g, jobs[i])->base;

		io[i] = (struct cufile_io){
			.mode = 1,
			.base = (void *)(uintptr_t)base,
			.file_offset = (off_t)jobs[i]->place.offset,
			.base_offset = (off_t)(jobs[i]->to - base),
			.size = ALIGN_UP(jobs[i]->place.bytes, CUFILE_ALIGN),
			.file = handles[i],
			.cookie = jobs[i],
		};
	}
	if (CUFILE(&g->cufile, batch_submit, g->batch, n, io, 0u))
		return false;
	batch_wait(g, jobs, n);
	return true;
}

/* ---- a call ------------------------------------------------------------------------ */

/* Handles for a group of jobs; those of descriptors that nobody added last for
 * the group alone. A descriptor may be registered once. */
struct group {
	struct gpu_job *job[GPU_BATCH];
	void *handle[GPU_BATCH];
	struct gpu_file own[GPU_BATCH];
	uint32_t n, n_own;
};

static int group_handle(struct gpu *g, struct group *p, int fd, void **ret)
{
	struct gpu_file *f = file_find(g, fd);
	int r;

	for (uint32_t i = 0; !f && i < p->n_own; i++)
		if (p->own[i].fd == fd)
			f = &p->own[i];
	if (!f) {
		f = &p->own[p->n_own];
		f->fd = fd;
		r = fd < 0 ? -EBADF : handle_open(g, fd, &f->handle);
		if (r)
			return r;
		p->n_own++;
	}
	*ret = f->handle;
	return 0;
}

static void group_run(struct gpu *g, struct group *p)
{
	bool batch = p->n > 1 && batch_ready(g);

	for (uint32_t i = 0; i < p->n;) {
		uint32_t n = batch ? MIN(p->n - i, g->batch_entries) : 1;

		if (batch && batch_run(g, &p->job[i], &p->handle[i], n)) {
			i += n;
			batch = batch_ready(g);
			continue;
		}
		batch = false;
		job_read(g, p->job[i], p->handle[i]);
		i++;
	}
	for (uint32_t i = 0; i < p->n_own && !g->stuck; i++)
		g->cufile.handle_deregister(p->own[i].handle);
	*p = (struct group){ 0 };
}

/* Did the reads go the way that they should have? */
static void counts_judge(struct gpu *g, const struct cufile_counts *before,
			 struct gpu_job *jobs, uint32_t n)
{
	struct cufile_counts after;
	uint64_t direct, posix;
	bool compat = g->cufile.mode == CUFILE_COMPAT;

	if (cufile_counts(&g->cufile, &after) || after.all == before->all)
		return; /* nothing is counted here */
	direct = after.p2p + after.nvfs - before->p2p - before->nvfs;
	posix = after.posix - before->posix;
	if (compat ? !direct : !posix)
		return;
	g->deceived = true;
	snprintf(g->why, sizeof(g->why),
		 "cuFile was told to read %s, and did "
		 "not",
		 compat ? "through the host" : "directly");
	log_warn("%s: %llu reads direct, %llu through the host", g->why,
		 (unsigned long long)direct, (unsigned long long)posix);
	for (uint32_t i = 0; i < n; i++)
		if (jobs[i].result == JOB_VERIFIED &&
		    jobs[i].took == (compat ? GPU_COMPAT : GPU_DIRECT))
			jobs[i].took = compat ? GPU_DIRECT : GPU_COMPAT;
}

void gpu_cufile(struct gpu *g, struct gpu_job *jobs, uint32_t n)
{
	struct cufile_counts before = { 0 };
	struct group p = { 0 };
	bool any = false;

	(void)cufile_counts(&g->cufile, &before);
	for (uint32_t i = 0; i < n; i++) {
		struct gpu_job *job = &jobs[i];
		int r;

		if (job->result != JOB_WAITS || job->took == GPU_FALLBACK)
			continue;
		r = group_handle(g, &p, job->place.fd, &p.handle[p.n]);
		if (r) {
			job_give_up(g, job, r);
			continue;
		}
		any = true;
		p.job[p.n++] = job;
		if (p.n == GPU_BATCH)
			group_run(g, &p);
	}
	group_run(g, &p);
	if (any)
		counts_judge(g, &before, jobs, n);
}
