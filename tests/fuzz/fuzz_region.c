/* A CXL region as another node may have left it. The first byte says what the
 * rest is: 0 a header; else bytes that are laid over a shard's metadata, or over
 * another member's record and pin unit, which a member then works with. What it
 * reads stays inside; a block is right or a miss. */
#include "base/log.h"
#include "region/region.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOCKS 6u
#define FRAMES 8u

static struct region *region;
static struct region_places places;
static struct region_geometry geometry;
static uint8_t *all;
static uint8_t *before; /* control, units, metadata of the shards */
static uint64_t meta;

static struct region_name name_of(uint64_t i)
{
	return (struct region_name){ .key = { i, 2, 3, 4 }, .ns = { 5 } };
}

static void setup(void)
{
	struct region_format_options o = { .size = sizeof(o),
					   .bytes = 16u << 20,
					   .members = 2,
					   .shards = 2,
					   .frames = FRAMES,
					   .frame_bytes = PAGE_BYTES };
	struct region_join_options j = { .size = sizeof(j), .shards = 1 };
	int fd = memfd_create("onecopy-fuzz-region", MFD_CLOEXEC);
	char path[64], block[100] = "block";

	must(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(region_format(path, &o) == 0);
	must(region_open(path, &region) == 0);
	must(region_join(region, &j) == 0);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		struct region_name name = name_of(i);

		must(region_put(region, &name, block, sizeof(block), 0) == 0);
	}
	geometry = *region_geometry_of(region);
	must(region_places(&geometry, &places) == 0);
	all = mmap(NULL, geometry.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   0);
	must(all != MAP_FAILED);
	meta = places.shards + places.payload;
	before = malloc(meta);
	must(before != NULL);
	memcpy(before, all, meta);
}

static void header(const uint8_t *data, size_t size)
{
	static struct region_header h;
	struct region_geometry g;
	struct region_places p;

	memset(&h, 0, sizeof(h));
	memcpy(&h, data, MIN(size, sizeof(h)));
	/* so that the rest of it is looked at */
	h.stamp = region_stamp();
	if (region_read_format(&h, 1ull << 40, &g, &p))
		return;
	must(g.bytes <= 1ull << 40);
	must(p.shards + g.shards * p.shard_bytes == g.bytes);
	must(p.payload + g.frames * g.frame_bytes <= p.shard_bytes);
	must(p.desc + g.frames * sizeof(struct region_desc) <= p.payload);
	must(p.shards == p.units + g.members * REGION_UNIT);
}

static void look(void)
{
	struct region_member_status m;
	struct region_shard_status s;
	struct region_checked done;
	struct region_pin pin;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		struct region_name name = name_of(i);

		if (region_pin(region, &name, &pin))
			continue;
		must(pin.bytes <= geometry.frame_bytes);
		must((const uint8_t *)pin.data != NULL);
		(void)region_verify(region, &name, &pin);
		region_unpin(region, &pin);
	}
	for (uint32_t i = 0; i < 2; i++) {
		region_member_status(region, i, &m);
		region_shard_status(region, i, &s);
	}
	region_check(region, false, true, NULL, NULL, &done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *to;
	uint64_t room;

	if (size == 0)
		return 0;
	if (data[0] == 0) {
		header(data + 1, size - 1);
		return 0;
	}
	if (!region)
		setup();
	if (data[0] & 1) {
		/* a shard, its head first: the table's header is read once */
		to = all + places.shards + places.table +
		     sizeof(struct table_header);
		room = places.payload - places.table -
		       sizeof(struct table_header);
	} else {
		to = all + sizeof(struct region_header) +
		     sizeof(struct region_member); /* member 1 */
		room = sizeof(struct region_member);
	}
	for (size_t i = 1; i < size && i <= room; i++)
		to[i - 1] ^= data[i];
	look();
	memcpy(to, before + (to - all), room);
	return 0;
}
