/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two real nodes on one CXL region, a memfd, and a client of each. One frame holds a
 * part of TWO_BYTES.
 */
#ifndef ONECOPY_TESTS_PROG_REGION_RIG_H
#define ONECOPY_TESTS_PROG_REGION_RIG_H

#include "region/region.h"
#include "tests/prog/live.h"

#define TWO_BYTES 16384ull

struct two {
	int fd; /* the region's memory */
	char path[64];
	struct live a, b;
	oc_client *ca, *cb;
	oc_ns *na, *nb;
};

void two_format_lease(struct two *t, uint32_t members, uint32_t shards,
		      uint32_t frames, uint32_t lease_ms);
void two_format(struct two *t, uint32_t members, uint32_t shards,
		uint32_t frames);
const char *const *two_words(const struct two *t);
void two_open_a(struct two *t);
void two_open_b(struct two *t);
void two_close_a(struct two *t);
void two_close_b(struct two *t);
void two_begin_lease(struct two *t, uint32_t members, uint32_t frames,
		     uint32_t lease_ms);
void two_begin(struct two *t, uint32_t members, uint32_t frames);
void two_end(struct two *t);
/* n parts that A sealed are in its shard. */
void two_publish(struct two *t, uint64_t first, uint64_t n);
/* A handle that joins nothing. */
struct region *two_looker(const struct two *t);
/* Of the members that live and own a shard, the one with this server or keeper. */
uint32_t two_member_of(struct region *r, pid_t keeper);
/* The report has this text: does it? it must. What has to do with leases, which are
 * of the clock, is waited for: any node may be late for a moment. */
bool two_says(oc_client *c, const char *what, const char *args,
	      const char *text);
void two_told(oc_client *c, const char *what, const char *args,
	      const char *text);

#endif
