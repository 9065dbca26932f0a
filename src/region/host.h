/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which host this is, and whether a process of it has ended.
 *
 * Two processes are on one host when each could prove the other's end: the same
 * boot, the same namespaces of process ids and of time, and the same file behind the
 * region.
 * Where any of these differs (another container, say) they count as strangers,
 * whose end only an operator can vouch for.
 */
#ifndef ONECOPY_REGION_HOST_H
#define ONECOPY_REGION_HOST_H

#include "base/compiler.h"

struct region_host {
	uint64_t id[2];
};

int region_host_id(int fd, struct region_host *ret_host);
/* Start of a process of this host, in clock ticks after boot. -ESRCH. */
int region_host_started(uint64_t pid, uint64_t *ret_started);
/* Of the program that this process runs: another after exec(), in all copies of this
 * code the same. 0: not known. */
uint64_t region_host_image(void);
/* True when the kernel says that this process has ended: every thread of it.
 * False: it lives, or nothing can be said. */
bool region_host_ended(uint64_t pid, uint64_t started);

#endif
