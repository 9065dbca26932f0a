/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How words and payload go through the memory of a CXL region: one table, so
 * that a region whose hosts do not see each other's caches can have another.
 *
 * Here is the table for memory that is coherent between all who map it: CXL 3
 * with hardware coherence, one host, or ordinary memory that stands in. There
 * caches need nothing, and `flush` and `refresh` are NULL: the callers leave
 * them out. A table for regions without coherence fills them in (non-temporal
 * stores, flush before load), and has no `swap`: there is no compare-and-swap
 * between such hosts, so membership needs another way (docs/design/region.md).
 *
 * All stores go through base/shared.h.
 */
#ifndef ONECOPY_REGION_MEM_H
#define ONECOPY_REGION_MEM_H

#include "base/shared.h"

/* region_header.mode */
enum region_mode { REGION_COHERENT = 1 };

struct region_mem {
	const char *name;
	/* Writer: what was stored before is seen by whoever sees `value`. */
	void (*publish)(shared_u64 *word, uint64_t value);
	/* Writer: these bytes leave its caches before a later publish. NULL:
	 * nothing to do. */
	void (*flush)(const void *from, size_t bytes);
	/* Reader: these bytes come from memory at the next load, not from a
	 * stale cache. NULL: nothing to do. */
	void (*refresh)(const void *from, size_t bytes);
	/* Reader: is the word `value` now? True: what was stored before it was
	 * published is seen. */
	bool (*validate)(const shared_u64 *word, uint64_t value);
	/* Both: earlier stores are seen before later loads are made. */
	void (*fence)(void);
	/* Several writers of one word. NULL: the memory has no such thing. */
	bool (*swap)(shared_u64 *word, uint64_t from, uint64_t to);
	/* Payload into a frame, and its checksum, in one pass; in memory when
	 * it returns, but for a publish. */
	uint64_t (*fill)(void *dst, const void *src, size_t bytes,
			 uint64_t seed);
};

extern const struct region_mem region_mem_coherent;

/* The table for a mode; NULL: this build has none. */
const struct region_mem *region_mem_of(uint64_t mode);

#endif
