/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes payload segments in a thread of its own, so that zeroing hundreds of
 * megabytes never holds up the server's loop. The thread touches no metadata.
 *
 * With `threaded` false, requests are done inside maker_ask() (tests).
 */
#ifndef ONECOPY_POOL_MAKER_H
#define ONECOPY_POOL_MAKER_H

#include "pool/shape.h"
#include "shm/segment.h"

struct maker;

#define MAKER_LOST_ANY UINT64_MAX

struct maker_job {
	struct maker_job *next; /* maker's */
	uint64_t bytes;
	unsigned flags; /* enum segment_flags */
	struct segment_source source;
	int result;		/* 0 or -errno */
	struct segment segment; /* valid when result is 0; the asker's */
	/* -EIO of a device: the unit there that has failed, or MAKER_LOST_ANY */
	uint64_t lost;
	uint32_t pool, frames; /* the asker's notes */
	uint64_t owner;
	struct pool_shape shape;
};

int maker_create(bool threaded, struct maker **ret_maker);
/* Waits for the job under way, drops the rest. */
void maker_destroy(struct maker *m);
/* Readable when maker_take() has something. */
int maker_fd(const struct maker *m);
/* Takes ownership of a heap job. */
void maker_ask(struct maker *m, struct maker_job *job);
/* Next finished job (the caller frees it), or NULL. */
struct maker_job *maker_take(struct maker *m);

#endif
