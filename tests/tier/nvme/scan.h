/*
 * What a log holds, by reading all of it: every page that could be a commit page, and
 * the payload of every entry. Shares the format's functions with the tier, and no
 * more; it does not look at summaries.
 */
#ifndef ONECOPY_TESTS_TIER_NVME_SCAN_H
#define ONECOPY_TESTS_TIER_NVME_SCAN_H

#include "tests/tier/nvme/rig.h"

struct scan_part {
	uint64_t key[4];
	uint64_t gen, seq;
	bool good; /* its bytes are right */
};

struct scan {
	struct scan_part *part;
	size_t n;
	struct scan_part *tomb; /* seq: unused */
	size_t n_tombs;
};

/* Waits for the lock, so that nobody writes any more. */
void scan_file(const char *path, struct scan *ret_scan);
void scan_fini(struct scan *s);
/* The part by its key, or NULL. */
const struct scan_part *scan_find(const struct scan *s, const uint64_t key[4]);

#endif
