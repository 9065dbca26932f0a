/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeping one view of shared blocks costs, by the number of actors: the
 * node's protocol, and one that copies, flushes and invalidates.
 *
 * Both run in this process, one actor after the other, on memory that the
 * actors would share; so time is the processor time of all who take part, and
 * counts are exact and repeat. The node's side is the node's own code: its
 * store, and the library's steps of a pin and of a request.
 *
 * Counted: messages (a request, an answer; an invalidation, an
 * acknowledgement), and cache lines of shared memory, payload left out, that a
 * step has changed: found by comparing all of it before and after each step.
 */
#ifndef ONECOPY_PROG_BENCH_COHERENCE_H
#define ONECOPY_PROG_BENCH_COHERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COHERENCE_ACTORS 64u
#define COHERENCE_BLOCKS 64u
#define COHERENCE_BYTES	 4096u

/* Shared memory that is watched. */
struct watch {
	struct watched {
		const uint8_t *base;
		uint8_t *before;
		size_t bytes;
	} area[512];
	unsigned n;
	bool on;
	uint64_t lines, messages;
};
int watch_add(struct watch *w, const void *base, size_t bytes);
/* After a step: counts the lines that it changed. */
void watch_step(struct watch *w);
void watch_fini(struct watch *w);

/* A protocol among n actors. read and write: -errno. */
struct coherence_ops {
	const char *name;
	int (*create)(unsigned actors, struct watch *w, void **ret_ctx);
	/* Once all memory is there: what is shared is watched. */
	int (*watch)(void *ctx);
	int (*read)(void *ctx, unsigned actor, unsigned block);
	int (*write)(void *ctx, unsigned actor, unsigned block);
	void (*destroy)(void *ctx);
};
extern const struct coherence_ops coherence_onecopy, coherence_invalidate;

/* Looks at the pin slots that evicting `frames` frames takes. */
int coherence_scans(unsigned frames, uint64_t *ret_scans);

#endif
