/* SPDX-License-Identifier: Apache-2.0 */
#include "client/member.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "client/lock.h"
#include "region/host.h"

/* Others join in less; one that stands still in it is not waited for. */
#define LOCK_MS 50

struct member {
	struct region *region;
	struct lock lock; /* over all that changes the handle */
	uint32_t slot;
	atomic_bool lost;
};

static int join(struct member *m, const uint64_t host[2], const char *name)
{
	struct region_join_options o = { .size = sizeof(o),
					 .reader = true,
					 .lock_ms = LOCK_MS };
	const struct region_host *own = region_host_of(m->region);
	uint64_t inc;
	int r;

	if (own->id[0] != host[0] || own->id[1] != host[1])
		return -EXDEV;
	if (name && region_name_is_good(name))
		o.name = name;
	r = region_join(m->region, &o);
	if (r > 0)
		return -EAGAIN; /* declared dead while it joined */
	return r ? r : region_self(m->region, &m->slot, &inc);
}

int member_join(int fd, const uint64_t host[2], const char *name,
		struct member **ret_member)
{
	struct member *m = mem_alloc(sizeof(*m));
	int r;

	if (!m) {
		close(fd);
		return -ENOMEM;
	}
	r = region_open_consume(fd, &m->region);
	if (r == 0)
		r = join(m, host, name);
	if (r) {
		region_close(m->region);
		free(m);
		return r;
	}
	*ret_member = m;
	return 0;
}

void member_leave(struct member *m)
{
	if (!m)
		return;
	region_unpin_all(m->region);
	(void)region_leave(m->region);
	region_close(m->region);
	free(m);
}

uint32_t member_slot(const struct member *m)
{
	return m->slot;
}

bool member_is_lost(const struct member *m)
{
	return atomic_load_explicit(&m->lost, memory_order_relaxed);
}

struct member_memory member_memory(const struct member *m)
{
	const struct region_geometry *g = region_geometry_of(m->region);

	return (struct member_memory){
		.base = region_memory(m->region),
		.bytes = g->bytes,
		.frame_bytes = g->frame_bytes,
		.device = region_kind_of(m->region) == REGION_DEVDAX,
	};
}

/* The handle stays: pins are out that point into its mapping. */
static int lost(struct member *m)
{
	atomic_store_explicit(&m->lost, true, memory_order_relaxed);
	return MEMBER_LOST;
}

static int judge(struct member *m, int r)
{
	switch (r) {
	case 0:
		return 0;
	case REGION_BAD:
		return MEMBER_BAD;
	case REGION_STALE:
	case -ENOTCONN:
		return lost(m);
	default:
		return MEMBER_MISS;
	}
}

/* The bytes are hashed without the lock: reporting alone is under it. */
static int verify(struct member *m, const struct region_name *name,
		  const struct region_pin *pin)
{
	int r;

	if (region_sound(name, pin))
		return 0;
	lock_take_short(&m->lock);
	r = region_report(m->region, pin);
	region_unpin(m->region, pin);
	lock_drop(&m->lock);
	return r;
}

int member_pin(struct member *m, const struct region_name *name, unsigned flags,
	       struct member_pin *ret_pin)
{
	struct region_pin pin;
	int r;

	lock_take_short(&m->lock);
	r = flags & MEMBER_NO_TOUCH ? region_pin_quietly(m->region, name, &pin)
				    : region_pin(m->region, name, &pin);
	lock_drop(&m->lock);
	if (r == 0 && flags & MEMBER_VERIFY)
		r = verify(m, name, &pin);
	if (r)
		return judge(m, r);
	*ret_pin = (struct member_pin){
		.data = pin.data,
		.bytes = pin.bytes,
		.gen = pin.gen,
		.checksum = pin.checksum,
		.tokens = pin.tokens,
		.slot = pin.slot,
	};
	return 0;
}

void member_unpin(struct member *m, uint32_t slot)
{
	struct region_pin pin = { .slot = slot };

	lock_take_short(&m->lock);
	region_unpin(m->region, &pin);
	lock_drop(&m->lock);
}

int member_look(struct member *m, const struct region_name *name,
		struct region_seen *ret_seen)
{
	/* a member without shards: nothing of the handle changes */
	return region_look(m->region, name, ret_seen) ? MEMBER_MISS : 0;
}
