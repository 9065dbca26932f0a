/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/gpu/gpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "tier/gpu/gpu_internal.h"

#define PIECE_BYTES (1ull << 20)
#define PIECES	    16u
#define PATIENCE_NS (30 * NS_PER_S)

const char *gpu_path_name(enum gpu_path path)
{
	static const char *const names[GPU_PATHS] = {
		[GPU_BEST] = "best",
		[GPU_DIRECT] = "direct",
		[GPU_FALLBACK] = "fallback",
		[GPU_COMPAT] = "compat",
	};

	return path < GPU_PATHS ? names[path] : "";
}

int gpu_enter(struct gpu *g)
{
	return CUDA(&g->cuda, context_push, g->context);
}

void gpu_leave(struct gpu *g)
{
	cuda_context mine;

	(void)CUDA(&g->cuda, context_pop, &mine);
}

/* ---- pieces ---------------------------------------------------------------------- */

static void slot_look(struct gpu *g, uint32_t i)
{
	struct gpu_slot *s = &g->slot[i];

	if (s->state == GPU_SLOT_LOST && gpu_io_wait(g->io, i, 0) != -ETIME)
		s->state = GPU_SLOT_FREE;
	else if (s->state == GPU_SLOT_COPIES &&
		 CUDA(&g->cuda, event_query, s->event) == 0)
		s->state = GPU_SLOT_FREE;
}

int gpu_slot_take(struct gpu *g, bool wait)
{
	uint32_t oldest = GPU_PIECES_MOST;
	int r;

	for (uint32_t i = 0; i < g->pieces; i++) {
		slot_look(g, i);
		if (g->slot[i].state == GPU_SLOT_FREE)
			return (int)i;
		if (g->slot[i].state == GPU_SLOT_COPIES &&
		    (oldest == GPU_PIECES_MOST ||
		     g->slot[i].order < g->slot[oldest].order))
			oldest = i;
	}
	if (!wait || oldest == GPU_PIECES_MOST)
		return -EBUSY;
	r = gpu_slot_wait(g, oldest);
	return r ? r : (int)oldest;
}

int gpu_slot_copies(struct gpu *g, uint32_t slot)
{
	int r = CUDA(&g->cuda, event_record, g->slot[slot].event, g->stream);

	g->slot[slot].state = GPU_SLOT_COPIES;
	g->slot[slot].order = ++g->order;
	return r;
}

int gpu_slot_wait(struct gpu *g, uint32_t slot)
{
	uint64_t start = clock_ns();
	int r = CUDA(&g->cuda, event_wait, g->slot[slot].event);

	g->stat.copy_ns += clock_ns() - start;
	if (r == 0)
		g->slot[slot].state = GPU_SLOT_FREE;
	return r;
}

/* ---- opening and closing ----------------------------------------------------------- */

static int open_device(struct gpu *g, int number, char *why, size_t cap)
{
	int n = 0, r = CUDA(&g->cuda, device_count, &n);

	if (r == 0 && (number < 0 || number >= n)) {
		snprintf(why, cap, "no device %d, there %s %d", number,
			 n == 1 ? "is" : "are", n);
		return -ENODEV;
	}
	if (r == 0)
		r = CUDA(&g->cuda, device_get, &g->device, number);
	if (r == 0)
		r = CUDA(&g->cuda, context_retain, &g->context, g->device);
	g->have_context = r == 0;
	if (r == 0)
		r = gpu_enter(g);
	if (r)
		snprintf(why, cap, "%s", g->cuda.said);
	return r;
}

static int open_pieces(struct gpu *g)
{
	void *pinned = NULL;
	int r = CUDA(&g->cuda, stream_create, &g->stream,
		     CUDA_STREAM_NON_BLOCKING);

	if (r == 0 && fault_point(FAULT_MAP))
		r = -ENOMEM;
	if (r == 0)
		r = CUDA(&g->cuda, mem_host_alloc, &pinned,
			 g->pieces * g->piece_bytes, CUDA_HOST_PORTABLE);
	if (r)
		return r;
	g->pinned = pinned;
	for (uint32_t i = 0; r == 0 && i < g->pieces; i++)
		r = CUDA(&g->cuda, event_create, &g->slot[i].event,
			 CUDA_EVENT_DISABLE_TIMING);
	return r;
}

/* That there is none, or that it does not go direct, is no error. */
static int open_cufile(struct gpu *g, const struct gpu_options *o)
{
	int r = -ENOENT;

	if (o->no_cufile)
		text_copy(g->why, sizeof(g->why), "cuFile was not asked for");
	else
		r = cufile_load(o->cufile, &g->cufile, g->why, sizeof(g->why));
	g->have_cufile = r == 0;
	if (r)
		return 0;
	r = cufile_open(&g->cufile, o->compat ? CUFILE_COMPAT : CUFILE_DIRECT);
	if (r)
		text_copy(g->why, sizeof(g->why), g->cufile.said);
	else if (o->compat)
		text_copy(g->why, sizeof(g->why),
			  "cuFile was opened to go through the host");
	return r == -ENOMEM ? r : 0;
}

static int open_all(struct gpu *g, const struct gpu_options *o, char *why,
		    size_t cap)
{
	int r = cuda_open(o->cuda, &g->cuda, why, cap);

	if (r)
		return r;
	r = open_device(g, o->device, why, cap);
	if (r)
		return r;
	r = open_pieces(g);
	if (r == 0)
		r = open_cufile(g, o);
	if (r)
		snprintf(why, cap, "%s",
			 g->cuda.said[0] ? g->cuda.said : strerror(-r));
	gpu_leave(g);
	return r;
}

int gpu_open(const struct gpu_options *o, struct gpu **ret_gpu, char *why,
	     size_t cap)
{
	struct gpu *g;
	int r;

	snprintf(why, cap, "%s", "");
	if (o->size != sizeof(*o) || o->piece_bytes % PAGE_BYTES ||
	    o->piece_bytes > 1ull << 30 || o->pieces == 1 ||
	    o->pieces > GPU_PIECES_MOST)
		return -EINVAL;
	g = mem_alloc(sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->piece_bytes = o->piece_bytes ? o->piece_bytes : PIECE_BYTES;
	g->pieces = o->pieces ? o->pieces : PIECES;
	g->patience_ns = o->patience_ns ? o->patience_ns : PATIENCE_NS;
	for (size_t i = 0; i < GPU_FILES; i++)
		g->file[i].fd = -1;
	r = hash_stream_create(0, &g->hash);
	if (r == 0)
		r = gpu_io_create(o->io, g->pieces, &g->io);
	if (r == 0)
		r = open_all(g, o, why, cap);
	if (r) {
		if (!why[0])
			snprintf(why, cap, "%s", strerror(-r));
		gpu_close(g);
		return r;
	}
	*ret_gpu = g;
	return 0;
}

static void close_cufile(struct gpu *g)
{
	if (g->cufile.mode == CUFILE_CLOSED)
		return;
	if (g->batch)
		g->cufile.batch_destroy(g->batch);
	for (size_t i = 0; i < GPU_REGIONS; i++)
		if (g->region[i].bytes)
			gpu_region_drop(g, g->region[i].base);
	for (size_t i = 0; i < GPU_FILES; i++)
		gpu_file_drop(g, g->file[i].fd);
	cufile_close(&g->cufile);
}

void gpu_close(struct gpu *g)
{
	if (!g)
		return;
	gpu_io_destroy(g->io); /* nothing writes into the pieces any more */
	if (g->have_context && gpu_enter(g) == 0) {
		if (g->stream)
			(void)CUDA(&g->cuda, stream_wait, g->stream);
		close_cufile(g);
		for (uint32_t i = 0; i < g->pieces; i++)
			if (g->slot[i].event)
				(void)CUDA(&g->cuda, event_destroy,
					   g->slot[i].event);
		if (g->stream)
			(void)CUDA(&g->cuda, stream_destroy, g->stream);
		if (g->pinned)
			(void)CUDA(&g->cuda, mem_host_free, g->pinned);
		gpu_leave(g);
	}
	if (g->have_context)
		(void)CUDA(&g->cuda, context_release, g->device);
	hash_stream_destroy(g->hash);
	free(g);
}

/* ---- what is there ------------------------------------------------------------------ */

void gpu_about(const struct gpu *g, struct gpu_about *ret_about)
{
	const struct cufile *f = &g->cufile;
	struct gpu_about a = { 0 };
	size_t memory = 0;

	if (g->cuda.device_name(a.name, sizeof(a.name), g->device))
		text_copy(a.name, sizeof(a.name), "unknown");
	if (g->cuda.device_pci(a.pci, sizeof(a.pci), g->device))
		a.pci[0] = '\0';
	if (g->cuda.device_memory(&memory, g->device) == CUDA_SUCCESS)
		a.memory = memory;
	a.cuda_version = g->cuda.version;
	a.io = gpu_io_name(g->io);
	a.cufile = g->have_cufile;
	a.direct = f->mode == CUFILE_DIRECT && !g->deceived;
	a.nvidia_fs = f->nvidia_fs;
	a.counts = f->counts;
	a.cufile_version = f->number;
	text_copy(a.cufile_path, sizeof(a.cufile_path), f->path);
	text_copy(a.cufile_by, sizeof(a.cufile_by), f->by ? f->by : "");
	text_copy(a.why, sizeof(a.why), a.direct ? "" : g->why);
	*ret_about = a;
}

const char *gpu_said(const struct gpu *g)
{
	return g->said ? g->said : "";
}

void gpu_stat(const struct gpu *g, struct gpu_stat *ret_stat)
{
	*ret_stat = g->stat;
}

/* ---- reading ------------------------------------------------------------------------- */

void gpu_job_fail(struct gpu *g, struct gpu_job *job, int r)
{
	if (job->result != JOB_WAITS)
		return;
	job->result = r;
	if (r == -EBADMSG)
		g->stat.bad++;
	else
		g->stat.errors++;
	g->said = job->took == GPU_FALLBACK ? g->cuda.said : g->cufile.said;
	(void)CUDA(&g->cuda, fill, job->to, 0, job->place.bytes, g->stream);
}

/* Which path a job takes, or its refusal. */
static void job_begin(struct gpu *g, struct gpu_job *job)
{
	bool compat = g->cufile.mode == CUFILE_COMPAT;
	bool fits = job->room >= job->place.bytes;

	job->took = GPU_FALLBACK;
	job->why = gpu_cufile_refuses(g, job);
	job->result = !job->place.bytes || !job->to ||
				      job->place.offset % PAGE_BYTES ||
				      job->path >= GPU_PATHS
			      ? -EINVAL
		      : !fits ? -E2BIG
			      : JOB_WAITS;
	if (job->result < 0 || job->path == GPU_FALLBACK)
		return;
	if (job->why || (compat && job->path != GPU_COMPAT) ||
	    (!compat && job->path == GPU_COMPAT)) {
		if (!job->why)
			job->why = compat ? g->why
					  : "cuFile was opened to go direct";
		if (job->path != GPU_BEST)
			job->result = -ENOTSUP;
		return;
	}
	job->took = compat ? GPU_COMPAT : GPU_DIRECT;
}

static int job_end(struct gpu *g, struct gpu_job *job, int r)
{
	uint64_t *bytes = job->took == GPU_DIRECT   ? &g->stat.direct_bytes
			  : job->took == GPU_COMPAT ? &g->stat.compat_bytes
						    : &g->stat.fallback_bytes;

	if (r)
		gpu_job_fail(g, job, r);
	if (job->result == JOB_VERIFIED) {
		job->result = r;
		if (r == 0) {
			g->stat.jobs++;
			*bytes += job->place.bytes;
		}
	}
	return job->result;
}

int gpu_read(struct gpu *g, struct gpu_job *jobs, uint32_t n)
{
	int r = gpu_enter(g), first = 0;

	for (uint32_t i = 0; i < n; i++) {
		job_begin(g, &jobs[i]);
		if (r && jobs[i].result == JOB_WAITS)
			jobs[i].result = r;
	}
	if (r)
		return r;
	gpu_cufile(g, jobs, n);
	gpu_fallback(g, jobs, n);
	gpu_cufile_judge(g, jobs, n);
	r = CUDA(&g->cuda, stream_wait, g->stream);
	for (uint32_t i = 0; i < n; i++) {
		int e = job_end(g, &jobs[i], r);

		first = first ? first : e;
	}
	gpu_leave(g);
	return first;
}
