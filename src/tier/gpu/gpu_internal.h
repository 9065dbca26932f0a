/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of tier/gpu share. */
#ifndef ONECOPY_TIER_GPU_GPU_INTERNAL_H
#define ONECOPY_TIER_GPU_GPU_INTERNAL_H

#include "base/hash.h"
#include "tier/gpu/cufile.h"
#include "tier/gpu/gpu.h"

#define GPU_PIECES_MOST 64u
#define GPU_FILES	16u
#define GPU_REGIONS	64u
#define GPU_BATCH	64u /* jobs with cuFile at once */

/* gpu_job.result while a call runs. */
enum { JOB_WAITS = 1, JOB_VERIFIED = 2 };

/* A piece of pinned memory. */
struct gpu_slot {
	enum {
		GPU_SLOT_FREE,
		GPU_SLOT_READS,	 /* the disk writes into it */
		GPU_SLOT_COPIES, /* the copy engine reads or writes it */
		GPU_SLOT_LOST,	 /* nobody waits for its read any more */
	} state;
	uint32_t job, bytes; /* what is in it, while it reads */
	uint64_t at;	     /* where in the job */
	uint64_t order;	     /* of its copy */
	cuda_event event;
};

struct gpu_file {
	int fd; /* -1: none */
	void *handle;
};

struct gpu_region {
	cuda_address base;
	uint64_t bytes; /* 0: none */
};

struct gpu {
	struct cuda cuda;
	struct cufile cufile; /* mode CLOSED: there is none to use */
	bool have_cufile, have_context;
	bool stuck;    /* cuFile was left with work that did not end */
	bool deceived; /* reads went another way than they should have */
	cuda_device device;
	cuda_context context;
	cuda_stream stream;
	struct gpu_io *io;
	struct hash_stream *hash;
	uint8_t *pinned;
	uint64_t piece_bytes, patience_ns;
	uint64_t order; /* copies begun */
	uint32_t pieces;
	struct gpu_slot slot[GPU_PIECES_MOST];
	struct gpu_file file[GPU_FILES];
	struct gpu_region region[GPU_REGIONS];
	void *batch;
	uint32_t batch_entries;
	struct gpu_stat stat;
	char why[160];	   /* it does not go direct */
	char gave_up[160]; /* what cuFile said of a job that went another way */
	const char *said;
};

static inline uint8_t *gpu_piece(const struct gpu *g, uint32_t slot)
{
	return g->pinned + slot * g->piece_bytes;
}

/* The device's context becomes the thread's; and the one before is again. */
int gpu_enter(struct gpu *g);
void gpu_leave(struct gpu *g);

/* A piece that nobody uses. wait: for a copy to end, if need be. -EBUSY: all are
 * under way; -errno of the device. */
int gpu_slot_take(struct gpu *g, bool wait);
/* Its copy was put in line: it is free once that has ended. */
int gpu_slot_copies(struct gpu *g, uint32_t slot);
/* Waits for its copy and frees it. */
int gpu_slot_wait(struct gpu *g, uint32_t slot);

/* Ends a job: r < 0. What it wrote is wiped when the device allows. */
void gpu_job_fail(struct gpu *g, struct gpu_job *job, int r);

/* Jobs of the fallback: those with result JOB_WAITS and took GPU_FALLBACK become
 * JOB_VERIFIED or fail. */
void gpu_fallback(struct gpu *g, struct gpu_job *jobs, uint32_t n);
/* Jobs of cuFile, in either mode. */
void gpu_cufile(struct gpu *g, struct gpu_job *jobs, uint32_t n);
/* After the fallback: was it cuFile that was wrong? */
void gpu_cufile_judge(struct gpu *g, const struct gpu_job *jobs, uint32_t n);
/* Why cuFile cannot take this job; NULL: it can. */
const char *gpu_cufile_refuses(const struct gpu *g, const struct gpu_job *job);

#endif
