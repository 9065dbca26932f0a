/* The index against a plain array. */
#include "base/fault.h"
#include "base/rng.h"
#include "tests/test.h"
#include "tier/nvme/index.h"

#define IDS 20000u

static struct tier_id id_of(uint64_t n)
{
	return (struct tier_id){ .key = { n, n * 3, 0, 7 },
				 .space = (uint32_t)n % 3,
				 .part = (uint32_t)n % 2 };
}

TEST(random)
{
	uint32_t *node = calloc(IDS, sizeof(*node)), present = 0;
	struct rng r = { 4 };
	struct nvme_index x;

	CHECK(node);
	CHECK_OK(nvme_index_init(&x, IDS, 99));
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t n = rng_below(&r, IDS);
		struct tier_id id = id_of(n);

		CHECK_INT(nvme_index_find(&x, &id), ==, node[n]);
		if (node[n] == NODE_NONE) {
			CHECK_OK(nvme_index_add(&x, &id, &node[n]));
			present++;
		} else if (rng_below(&r, 3) == 0) {
			nvme_index_hide(&x, node[n]);
			nvme_index_free(&x, node[n]);
			node[n] = NODE_NONE;
			present--;
		}
		CHECK_INT(x.hashed, ==, present);
	}
	for (uint64_t n = 0; n < IDS; n++) {
		struct tier_id id = id_of(n);

		CHECK_INT(nvme_index_find(&x, &id), ==, node[n]);
	}
	CHECK_INT((1u << x.level) + x.split, >=, present);
	nvme_index_fini(&x);
	free(node);
}

TEST(two_of_one_id)
{
	struct tier_id id = id_of(5);
	uint32_t a, b, first;
	struct nvme_index x;

	CHECK_OK(nvme_index_init(&x, 10, 1));
	CHECK_OK(nvme_index_add(&x, &id, &a));
	CHECK_OK(nvme_index_add(&x, &id, &b));
	first = nvme_index_find(&x, &id);
	CHECK(first == a || first == b);
	CHECK_INT(nvme_index_next(&x, &id, first), ==, first == a ? b : a);
	nvme_index_hide(&x, first);
	CHECK_INT(nvme_index_find(&x, &id), ==, first == a ? b : a);
	nvme_index_fini(&x);
}

TEST(bounded)
{
	struct nvme_index x;
	struct tier_id id;
	uint32_t n;

	CHECK_OK(nvme_index_init(&x, 3, 1));
	for (uint64_t i = 0; i < 3; i++) {
		id = id_of(i);
		CHECK_OK(nvme_index_add(&x, &id, &n));
	}
	id = id_of(9);
	CHECK_INT(nvme_index_add(&x, &id, &n), ==, -ENOSPC);
	nvme_index_fini(&x);
}

/* Without memory for more buckets chains get longer, and all is found. */
TEST(no_memory)
{
	struct nvme_index x;
	uint32_t n, added = 0;

	CHECK_OK(nvme_index_init(&x, IDS, 1));
	for (uint64_t i = 0; i < IDS; i++) {
		struct tier_id id = id_of(i);
		int r;

		fault_arm(FAULT_ALLOC, 1 + i % 3, false);
		r = nvme_index_add(&x, &id, &n);
		fault_arm(0, 0, false);
		CHECK(r == 0 || r == -ENOMEM);
		added += r == 0;
		CHECK_INT(nvme_index_find(&x, &id), ==, r ? NODE_NONE : n);
	}
	CHECK_INT(added, >, NVME_CHUNK);
	nvme_index_fini(&x);
	for (uint64_t nth = 1; nth <= 4; nth++) {
		fault_arm(FAULT_ALLOC, nth, false);
		CHECK_INT(nvme_index_init(&x, IDS, 1), ==, -ENOMEM);
		fault_arm(0, 0, false);
	}
}
