/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/region/rig.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

/* On pages of 2 MiB where so many are free; they are taken here and now, since other
 * tests want them as well. */
static int memory(uint64_t bytes, bool *ret_huge)
{
	int fd = memfd_create("onecopy-test-huge",
			      MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	*ret_huge = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 &&
		    fallocate(fd, 0, 0, (off_t)bytes) == 0;
	if (*ret_huge)
		return fd;
	if (fd >= 0)
		close(fd);
	return memfd_create("onecopy-test-region", MFD_CLOEXEC);
}

void rig_format(const struct rig *g)
{
	CHECK_OK(region_format(g->path, &g->format));
}

static struct rig create(uint32_t members, uint32_t shards, uint32_t frames,
			 bool may_be_huge)
{
	struct region_geometry geometry = { .members = members,
					    .shards = shards,
					    .frames = frames,
					    .frame_bytes = RIG_FRAME };
	struct region_places places;
	struct rig g;
	uint64_t bytes;

	CHECK_OK(region_places(&geometry, &places));
	bytes = places.shards + shards * places.shard_bytes;
	g.huge = false;
	g.fd = may_be_huge ? memory(bytes, &g.huge)
			   : memfd_create("onecopy-test-region", MFD_CLOEXEC);
	CHECK(g.fd >= 0);
	snprintf(g.path, sizeof(g.path), "/proc/%d/fd/%d", getpid(), g.fd);
	g.format = (struct region_format_options){
		.size = sizeof(g.format),
		.bytes = bytes,
		.members = members,
		.shards = shards,
		.frame_bytes = RIG_FRAME,
		.frames = frames,
		.lease_ms = 100,
		.force = true,
		.even_if_live = true,
	};
	rig_format(&g);
	return g;
}

struct rig rig_create(uint32_t members, uint32_t shards, uint32_t frames)
{
	return create(members, shards, frames, true);
}

struct rig rig_create_small(uint32_t members, uint32_t shards, uint32_t frames)
{
	return create(members, shards, frames, false);
}

void rig_destroy(struct rig *g)
{
	close(g->fd);
}

void *rig_map(const struct rig *g)
{
	void *all = mmap(NULL, g->format.bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED, g->fd, 0);

	CHECK(all != MAP_FAILED);
	return all;
}

void rig_unmap(const struct rig *g, void *all)
{
	munmap(all, g->format.bytes);
}

struct region *rig_open(const struct rig *g)
{
	struct region *r = NULL;

	CHECK_OK(region_open(g->path, &r));
	return r;
}

struct region *rig_join(const struct rig *g, const char *name, uint32_t shards,
			bool adopt)
{
	struct region_join_options o = { .size = sizeof(o),
					 .name = name,
					 .shards = shards,
					 .adopt = adopt };
	struct region *r = rig_open(g);

	CHECK_OK(region_join(r, &o));
	return r;
}

void rig_kill(struct region *victim, struct region *teller)
{
	uint32_t member = 0;
	uint64_t inc;

	CHECK_OK(region_self(victim, &member, &inc));
	region_close(victim);
	CHECK_INT(region_fence(teller, member, 0, false), ==, REGION_ALIVE);
	CHECK_OK(region_fence(teller, member, 0, true));
}

struct region_name rig_name(uint64_t id)
{
	return (struct region_name){
		.key = { id * 0x9e3779b97f4a7c15ull, id, ~id, 7 },
		.ns = { 1, 2, 3, 4 },
		.rank = (uint16_t)(id % 3),
	};
}

void rig_fill(uint64_t id, uint64_t writer, void *data)
{
	uint64_t *w = data;

	for (unsigned i = 0; i < RIG_BYTES / 8; i++)
		w[i] = (id + i) * 0xbf58476d1ce4e5b9ull ^
		       writer * 0x94d049bb133111ebull;
	w[0] = writer;
}

bool rig_right(uint64_t id, const void *data, uint64_t bytes)
{
	uint64_t want[RIG_BYTES / 8], writer;

	if (bytes != RIG_BYTES)
		return false;
	memcpy(&writer, data, sizeof(writer));
	rig_fill(id, writer, want);
	return memcmp(want, data, RIG_BYTES) == 0;
}

int rig_put(struct region *r, uint64_t id, uint64_t writer)
{
	struct region_name name = rig_name(id);
	uint64_t data[RIG_BYTES / 8];

	rig_fill(id, writer, data);
	return region_put(r, &name, data, RIG_BYTES, 16);
}

int rig_pin(struct region *r, uint64_t id, struct region_pin *ret_pin)
{
	struct region_name name = rig_name(id);
	int err = region_pin(r, &name, ret_pin);

	if (err)
		return err;
	CHECK(rig_right(id, ret_pin->data, ret_pin->bytes));
	CHECK_INT(ret_pin->tokens, ==, 16);
	CHECK_OK(region_verify(r, &name, ret_pin));
	return 0;
}

bool rig_has(struct region *r, uint64_t id)
{
	struct region_pin pin;
	int err = rig_pin(r, id, &pin);

	CHECK(err == 0 || err == REGION_MISS);
	if (err == 0)
		region_unpin(r, &pin);
	return err == 0;
}

static void tell(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s\n", text);
}

struct region_checked rig_check(struct region *r, bool quiet)
{
	struct region_checked done;

	CHECK_INT(region_check(r, quiet, true, tell, NULL, &done), ==, 0);
	return done;
}
