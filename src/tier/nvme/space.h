/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for spaces, for one open(). Both threads ask while the log is found;
 * afterwards the store's alone. A space never goes. */
#ifndef ONECOPY_TIER_NVME_SPACE_H
#define ONECOPY_TIER_NVME_SPACE_H

#include <pthread.h>
#include "tier/nvme/format.h"

struct nvme_spaces {
	pthread_mutex_t lock;
	struct tier_space *space; /* LOG_SPACES_MAX of them */
	uint32_t n;
};

int nvme_spaces_init(struct nvme_spaces *s); /* -ENOMEM */
void nvme_spaces_fini(struct nvme_spaces *s);
/* -ENOSPC */
int nvme_spaces_number(struct nvme_spaces *s, const struct tier_space *space,
		       uint32_t *ret_number);

#endif
