/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region on a memfd (with pages of 2 MiB where there are any), and blocks
 * whose bytes follow from their number and from who wrote them, so that a mix of
 * two writers is as wrong as a mix of two blocks.
 */
#ifndef ONECOPY_TESTS_REGION_RIG_H
#define ONECOPY_TESTS_REGION_RIG_H

#include "region/region.h"
#include "tests/test.h"

#define RIG_FRAME 4096u
#define RIG_BYTES 4000u /* of a block */

struct rig {
	int fd;
	char path[64]; /* of this process */
	bool huge;
	struct region_format_options format;
};

struct rig rig_create(uint32_t members, uint32_t shards, uint32_t frames);
/* On pages of 4 KiB, of which one can be taken away. */
struct rig rig_create_small(uint32_t members, uint32_t shards, uint32_t frames);
/* The region once more, empty. */
void rig_format(const struct rig *g);
void rig_destroy(struct rig *g);

/* The whole, for who does what no member may. */
void *rig_map(const struct rig *g);
void rig_unmap(const struct rig *g, void *all);

struct region *rig_open(const struct rig *g);
struct region *rig_join(const struct rig *g, const char *name, uint32_t shards,
			bool adopt);
/* As if its process had died, and somebody who knows had said so. */
void rig_kill(struct region *victim, struct region *teller);

struct region_name rig_name(uint64_t id);
void rig_fill(uint64_t id, uint64_t writer, void *data);
/* Are these the bytes of that block, by any one writer? */
bool rig_right(uint64_t id, const void *data, uint64_t bytes);

int rig_put(struct region *r, uint64_t id, uint64_t writer);
/* Pins and looks at every byte. The answer of region_pin(). */
int rig_pin(struct region *r, uint64_t id, struct region_pin *ret_pin);
/* Is it there, and right? */
bool rig_has(struct region *r, uint64_t id);
/* Recounts; every problem fails the test. */
struct region_checked rig_check(struct region *r, bool quiet);

#endif
