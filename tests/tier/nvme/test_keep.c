/* What stays: parts that are wanted, places that are held; and ways to reach the
 * device: registered memory, without O_DIRECT, over a smaller limit. */
#include <fcntl.h>
#include <sys/stat.h>
#include "tests/tier/nvme/rig.h"

#define BIG (1u << 20) /* beside it the log's own pages are few */

static void init(struct rig *g)
{
	rig_init(g, 64u << 20, 4u << 20);
}

/* Read again and again, they are there when all else was written over. */
TEST(read_parts_stay)
{
	struct tier_stat s;
	struct rig g;

	init(&g);
	rig_open(&g);
	for (uint64_t n = 0; n < 250; n++) {
		CHECK_OK(rig_write(&g, n, BIG));
		CHECK_OK(rig_read(&g, n % 4));
	}
	s = rig_stat(&g);
	CHECK_INT(s.dropped, >, 150);
	CHECK_INT(s.carried_bytes, >=, 4 * BIG);
	CHECK_INT(s.device_write_bytes * 10, <, s.write_bytes * 13);
	for (uint64_t n = 0; n < 4; n++)
		CHECK_OK(rig_read(&g, n));
	CHECK(!rig_has(&g, 10));
	rig_check(&g);
	rig_fini(&g);
}

static bool is_five(void *ctx, const struct tier_id *id,
		    const struct tier_block *block)
{
	(void)ctx;
	(void)id;
	return block->depth == 5;
}

TEST(wanted_parts_stay)
{
	struct rig g;

	init(&g);
	g.options.wanted = is_five;
	rig_open(&g);
	for (uint64_t n = 0; n < 250; n++)
		CHECK_OK(rig_write(&g, n, BIG));
	CHECK_OK(rig_read(&g, 5));
	CHECK(!rig_has(&g, 6));
	rig_fini(&g);
}

/* However much is wanted, little is written twice. */
TEST(all_is_wanted)
{
	struct tier_stat s;
	struct rig g;

	init(&g);
	rig_open(&g);
	for (uint64_t n = 0; n < 300; n++) {
		CHECK_OK(rig_write(&g, n, BIG));
		CHECK_OK(rig_read(&g, n));
	}
	s = rig_stat(&g);
	CHECK_INT(s.carried_bytes, >, 0);
	CHECK_INT(s.device_write_bytes * 10, <, s.write_bytes * 13);
	rig_check(&g);
	rig_fini(&g);
}

TEST(removed_while_carried)
{
	struct rig g;

	init(&g);
	rig_open(&g);
	for (uint64_t n = 0; n < 200; n++) {
		CHECK_OK(rig_write(&g, n, BIG));
		rig_read(&g, n);
		for (uint64_t old = 0; old < n; old++) {
			struct tier_id id;
			uint32_t node;

			rig_id(&g, old, &id);
			node = nvme_index_find(&nvme_of(g.t)->index, &id);
			if (node &&
			    nvme_node(&nvme_of(g.t)->index, node)->flags &
				    NODE_CARRY) {
				CHECK_OK(rig_remove(&g, old));
				g.user = &g; /* it happened */
			}
		}
		rig_check(&g);
	}
	CHECK(g.user);
	rig_stop(&g);
	rig_open(&g);
	for (uint64_t n = 0; n < 200; n++)
		if (rig_has(&g, n))
			CHECK_OK(rig_read(&g, n));
	rig_fini(&g);
}

TEST(held_places_stay)
{
	struct tier_place p;
	uint8_t *now, *want;
	struct tier_id id;
	struct rig g;
	int fd;

	rig_init(&g, 0, 0);
	rig_open(&g);
	CHECK_OK(rig_write(&g, 0, 0));
	rig_id(&g, 0, &id);
	CHECK_OK(tier_nvme.hold(g.t, &id, &p));
	CHECK_INT(p.bytes, ==, RIG_PART);
	CHECK_INT(p.offset % 4096, ==, 0);
	for (uint64_t n = 1; n < 150; n++)
		CHECK_OK(rig_write(&g, n, 0));
	now = malloc(RIG_PART);
	want = malloc(RIG_PART);
	fd = open(rig_file(&g), O_RDONLY | O_CLOEXEC);
	CHECK(now && want && fd >= 0);
	CHECK_INT(pread(fd, now, RIG_PART, (off_t)p.offset), ==, RIG_PART);
	rig_fill(0, want, RIG_PART);
	CHECK_MEM(now, want, RIG_PART);
	close(fd);
	tier_nvme.release(g.t, &p, false);
	for (uint64_t n = 150; n < 400; n++)
		CHECK_OK(rig_write(&g, n, 0));
	rig_check(&g);
	free(now);
	free(want);
	rig_fini(&g);
}

/* ---- ways to the device ------------------------------------------------------------- */

TEST(registered_memory)
{
	uint64_t bytes = 130ull << 20; /* three stretches */
	uint8_t *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rig g;

	CHECK(mem != MAP_FAILED);
	init(&g);
	rig_open(&g);
	for (unsigned round = 0; round < 3; round++) {
		tier_nvme.memory_add(g.t, mem, bytes);
		for (uint64_t n = 0; n < 12; n++) {
			struct rig_move m;
			void *own;

			CHECK_OK(rig_write(&g, round * 100 + n, BIG));
			CHECK_OK(rig_read_begin(&g, &m, round * 100 + n));
			own = m.m.data; /* that one is read plainly */
			while (!m.over)
				rig_turn(&g);
			CHECK_OK(m.result);
			/* into the region: some cross two stretches */
			m.over = false;
			m.m.data =
				mem + n * (11u << 20) + (60u << 20) * (n == 5);
			CHECK_OK(tier_nvme.read(g.t, &m.m));
			while (!m.over)
				rig_turn(&g);
			CHECK_OK(m.result);
			CHECK_MEM(m.m.data, own, BIG);
			free(own);
		}
		tier_nvme.memory_drop(g.t, mem, bytes);
	}
	munmap(mem, bytes);
	rig_fini(&g);
}

static int no_direct(void *ctx, const char *path, int flags, unsigned mode)
{
	(void)ctx;
	return flags & O_DIRECT ? -EINVAL
				: nvme_io_real.open(NULL, path, flags, mode);
}

TEST(through_the_page_cache)
{
	struct rig g;

	rig_init(&g, 0, 0);
	g.table.open = no_direct;
	rig_open(&g);
	CHECK(!rig_stat(&g).direct);
	for (uint64_t n = 0; n < 100; n++) {
		CHECK_OK(rig_write(&g, n, 0));
		CHECK_OK(rig_read(&g, n));
	}
	rig_stop(&g);
	rig_open(&g);
	CHECK_OK(rig_read(&g, 99));
	rig_fini(&g);
}

/* A smaller limit holds at once; a larger one is used again. */
TEST(another_limit)
{
	struct stat st;
	struct rig g;

	rig_init(&g, 8u << 20, 0);
	rig_open(&g);
	for (uint64_t n = 0; n < 100; n++)
		CHECK_OK(rig_write(&g, n, 0));
	rig_stop(&g);
	g.options.size = 4u << 20;
	rig_open(&g);
	CHECK_OK(stat(rig_file(&g), &st));
	CHECK_INT(st.st_size, <=, 4u << 20);
	CHECK_INT(st.st_blocks * 512, <=, 4u << 20);
	CHECK_INT(rig_stat(&g).recovered, >, 10);
	for (uint64_t n = 0; n < 100; n++)
		if (rig_has(&g, n))
			CHECK_OK(rig_read(&g, n));
	rig_stop(&g);
	g.options.size = 8u << 20;
	rig_open(&g);
	for (uint64_t n = 100; n < 300; n++)
		CHECK_OK(rig_write(&g, n, 0));
	CHECK_OK(stat(rig_file(&g), &st));
	CHECK_INT(st.st_size, >, 7u << 20);
	CHECK_INT(st.st_size, <=, 8u << 20);
	rig_stop(&g);
	g.options.size = 1u << 20; /* not eight segments */
	CHECK_INT(rig_open_try(&g), ==, -EINVAL);
	g.t = NULL;
	rig_fini(&g);
}
