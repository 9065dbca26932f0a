/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/nvme/space.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

int nvme_spaces_init(struct nvme_spaces *s)
{
	s->n = 0;
	s->space = mem_array(LOG_SPACES_MAX, sizeof(*s->space));
	if (!s->space)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void nvme_spaces_fini(struct nvme_spaces *s)
{
	if (!s->space)
		return;
	free(s->space);
	s->space = NULL;
	pthread_mutex_destroy(&s->lock);
}

int nvme_spaces_number(struct nvme_spaces *s, const struct tier_space *space,
		       uint32_t *ret_number)
{
	uint32_t i;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n; i++)
		if (!memcmp(&s->space[i], space, sizeof(*space)))
			break;
	if (i == LOG_SPACES_MAX)
		r = -ENOSPC;
	else if (i == s->n)
		s->space[s->n++] = *space;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		*ret_number = i;
	return r;
}
