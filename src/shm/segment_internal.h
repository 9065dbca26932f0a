/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of shm/ that make segments. */
#ifndef ONECOPY_SHM_SEGMENT_INTERNAL_H
#define ONECOPY_SHM_SEGMENT_INTERNAL_H

#include "shm/segment.h"

/* Maps fd from offset on, at an address where large pages fit. */
int segment_map(struct segment *s, bool writable);
int segment_dax_create(const struct segment_source *source, uint64_t bytes,
		       struct segment *ret_segment);

#endif
