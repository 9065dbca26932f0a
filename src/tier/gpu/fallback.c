/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk -> pinned memory -> device, in pieces. Reads of many pieces are with the
 * disk; they are taken in the order in which they were begun, so that each job's
 * checksum is one pass, and a copy begins while later pieces are still read:
 *
 *	free -> reads -> (hashed) -> copies -> free
 */
#include <errno.h>

#include "base/clock.h"
#include "tier/gpu/gpu_internal.h"

struct run {
	struct gpu *g;
	struct gpu_job *jobs;
	uint32_t n;
	uint32_t next; /* whose pieces are begun now */
	uint64_t at;   /* how much of it was */
	uint32_t queue[GPU_PIECES_MOST], head, queued;
};

static bool job_waits(const struct gpu_job *job)
{
	return job->took == GPU_FALLBACK && job->result == JOB_WAITS;
}

/* The job that pieces are to be begun of; NULL: all were. */
static struct gpu_job *run_job(struct run *r)
{
	while (r->next < r->n && (!job_waits(&r->jobs[r->next]) ||
				  r->at >= r->jobs[r->next].place.bytes)) {
		r->next++;
		r->at = 0;
	}
	return r->next < r->n ? &r->jobs[r->next] : NULL;
}

static void run_begin(struct run *r, struct gpu_job *job, uint32_t slot)
{
	struct gpu_slot *s = &r->g->slot[slot];
	uint64_t bytes = MIN(r->g->piece_bytes, job->place.bytes - r->at);
	int e = gpu_io_read(r->g->io, slot, job->place.fd,
			    gpu_piece(r->g, slot),
			    (uint32_t)ALIGN_UP(bytes, PAGE_BYTES),
			    job->place.offset + r->at);

	if (e) {
		gpu_job_fail(r->g, job, e);
		return;
	}
	s->state = GPU_SLOT_READS;
	s->job = r->next;
	s->at = r->at;
	s->bytes = (uint32_t)bytes;
	r->queue[(r->head + r->queued) % GPU_PIECES_MOST] = slot;
	r->queued++;
	r->at += bytes;
}

/* As many reads as there are pieces for. */
static void run_fill(struct run *r)
{
	struct gpu_job *job;

	while (r->queued < r->g->pieces && (job = run_job(r)) != NULL) {
		int slot = gpu_slot_take(r->g, r->queued == 0);

		if (slot < 0 && r->queued)
			return; /* one that reads is next */
		if (slot < 0)
			gpu_job_fail(r->g, job, slot);
		else
			run_begin(r, job, (uint32_t)slot);
	}
}

/* Waits for the disk; 0: the piece is whole. */
static int run_wait(struct run *r, uint32_t slot)
{
	struct gpu_slot *s = &r->g->slot[slot];
	uint64_t start = clock_ns();
	int64_t n = gpu_io_wait(r->g->io, slot, start + r->g->patience_ns);

	r->g->stat.disk_ns += clock_ns() - start;
	s->state = n == -ETIME ? GPU_SLOT_LOST : GPU_SLOT_FREE;
	if (n < 0)
		return n == -ETIME ? -ETIMEDOUT : (int)n;
	return n < s->bytes ? -EIO : 0;
}

static int run_hash(struct run *r, const struct gpu_job *job, uint32_t slot)
{
	const struct gpu_slot *s = &r->g->slot[slot];
	uint64_t start = clock_ns();
	bool last = s->at + s->bytes == job->place.bytes;

	if (s->at == 0)
		hash_stream_reset(r->g->hash, job->seed);
	hash_stream_add(r->g->hash, gpu_piece(r->g, slot), s->bytes);
	r->g->stat.hash_ns += clock_ns() - start;
	if (last && hash_stream_value(r->g->hash) != job->place.block.checksum)
		return -EBADMSG;
	return 0;
}

static int run_copy(struct run *r, const struct gpu_job *job, uint32_t slot)
{
	const struct gpu_slot *s = &r->g->slot[slot];
	int e = CUDA(&r->g->cuda, copy_in, job->to + s->at,
		     gpu_piece(r->g, slot), s->bytes, r->g->stream);

	return e ? e : gpu_slot_copies(r->g, slot);
}

static void run_take(struct run *r)
{
	uint32_t slot = r->queue[r->head];
	struct gpu_slot *s = &r->g->slot[slot];
	struct gpu_job *job = &r->jobs[s->job];
	int e;

	r->head = (r->head + 1) % GPU_PIECES_MOST;
	r->queued--;
	e = run_wait(r, slot);
	if (!job_waits(job))
		return; /* an earlier piece of it failed */
	if (e == 0)
		e = run_hash(r, job, slot);
	if (e == 0)
		e = run_copy(r, job, slot);
	if (e)
		gpu_job_fail(r->g, job, e);
	else if (s->at + s->bytes == job->place.bytes)
		job->result = JOB_VERIFIED;
}

void gpu_fallback(struct gpu *g, struct gpu_job *jobs, uint32_t n)
{
	struct run r = { .g = g, .jobs = jobs, .n = n };

	run_fill(&r);
	while (r.queued) {
		run_take(&r);
		run_fill(&r);
	}
}
