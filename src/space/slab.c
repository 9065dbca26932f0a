/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of slabs, open while blocks of them are mapped: an idle space holds
 * none. */
#include "space/space.h"

int slab_get(oc_space *s, uint32_t region)
{
	struct slab_ref *ref = &s->slab[region];
	int r;

	if (!ref->uses) {
		r = region_descriptor(s->c, region, space_deadline(s),
				      &ref->fd);
		if (r)
			return r;
	}
	ref->uses++;
	return 0;
}

int slab_get_kept(oc_space *s, uint32_t region)
{
	struct slab_ref *ref = &s->slab[region];
	int r = ref->uses ? 0 : region_descriptor_kept(s->c, region, &ref->fd);

	ref->uses += r == 0;
	return r;
}

int slab_get_patiently(oc_space *s, uint32_t region)
{
	struct slab_ref *ref = &s->slab[region];
	int fd, r;

	if (ref->uses)
		return slab_get(s, region);
	space_unlock(s);
	r = region_descriptor(s->c, region, space_deadline(s), &fd);
	space_lock(s);
	if (r)
		return r;
	if (ref->uses) /* somebody else was as fast */
		fd_close(fd);
	else
		ref->fd = fd;
	ref->uses++;
	return 0;
}

void slab_put(oc_space *s, uint32_t region)
{
	struct slab_ref *ref = &s->slab[region];

	must(ref->uses > 0);
	if (--ref->uses == 0)
		ref->fd = fd_close(ref->fd);
}
