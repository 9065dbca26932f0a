/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histogram of 64-bit values with 1/16 relative precision: log-linear, 16
 * buckets for each power of two, no allocation. One writer; readers merge.
 */
#ifndef ONECOPY_BASE_HIST_H
#define ONECOPY_BASE_HIST_H

#include "base/compiler.h"

#define HIST_BUCKETS (16 * 61)

struct hist {
	uint64_t count, sum, min, max;
	uint64_t bucket[HIST_BUCKETS];
};

void hist_init(struct hist *h);
void hist_add(struct hist *h, uint64_t value);
void hist_add_n(struct hist *h, uint64_t value, uint64_t n); /* n times */
void hist_merge(struct hist *into, const struct hist *from);
/* q in 0..1: the upper edge of the bucket that holds that quantile, never
 * beyond max; 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);
/* Values that are certainly not above `value`: those of the bucket that it cuts
 * are left out. */
uint64_t hist_upto(const struct hist *h, uint64_t value);

#endif
