/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring: this machine's own memory stands in. What the figures are nobody
 * knows here; that there are any, and that nothing is changed or left, is known. */
#include <onecopy/onecopy.h>
#include <fcntl.h>
#include <sched.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/hash.h"
#include "tests/numa.h"
#include "tests/test.h"
#include "tier/cxl/cxl.h"
#include "tier/speed.h"

#define BYTES (4ull << 20)

TEST(reading_changes_nothing_and_takes_time)
{
	uint64_t *words = mem_alloc(BYTES), was;
	struct speed_stream s;

	CHECK(words != NULL);
	for (uint64_t i = 0; i < BYTES / 8; i++)
		words[i] = i * 0x9e3779b97f4a7c15ull;
	was = hash_bytes(words, BYTES, 1);
	CHECK(speed_latency(words, BYTES, NS_PER_MS) > 0);
	speed_stream(words, BYTES, NS_PER_MS, &s);
	CHECK_INT(s.bytes, >=, SPEED_CHUNK);
	CHECK_INT(s.ns, >, 0);
	CHECK(hash_bytes(words, BYTES, 1) == was);
	free(words);
}

/* Less than this would be the price of a cache. */
TEST(the_price_is_of_what_was_named)
{
	const void *chunk[CXL_PRICE_CHUNKS];
	const uint64_t bytes = CXL_PRICE_CHUNKS * SPEED_CHUNK;
	struct tier_price price = { 0 };
	void *memory = NULL;

	CHECK(tier_find(OC_TIER_CXL) == &tier_cxl);
	CHECK_INT(tier_cxl.measure(&price), ==, -ENODEV);
	CHECK_OK(speed_map(bytes, -1, &memory));
	memset(memory, 1, bytes);
	for (unsigned i = 0; i < CXL_PRICE_CHUNKS; i++)
		chunk[i] = (const char *)memory + i * SPEED_CHUNK;
	cxl_price_of(chunk, 1);
	CHECK_INT(tier_cxl.measure(&price), ==, -EAGAIN);
	cxl_price_of(chunk, CXL_PRICE_CHUNKS - 1);
	CHECK_INT(tier_cxl.measure(&price), ==, -EAGAIN);
	CHECK_INT(price.latency_ns, ==, 0);
	cxl_price_of(chunk, CXL_PRICE_CHUNKS);
	CHECK_OK(tier_cxl.measure(&price));
	CHECK_INT(price.latency_ns, >, 0);
	CHECK_INT(price.bytes_per_s, >, 1000);
	cxl_price_of(NULL, 0);
	CHECK_INT(tier_cxl.measure(&price), ==, -ENODEV);
	munmap(memory, bytes);
}

static struct cxl_memory node_of_ours(void)
{
	return (struct cxl_memory){ .kind = CXL_NODE,
				    .state = CXL_READY,
				    .name = "node",
				    .node = numa_allowed(),
				    .bytes = 256ull << 20,
				    .free_bytes = 32ull << 20 };
}

TEST(a_node_from_its_own_processors)
{
	struct cxl_memory m = node_of_ours();
	struct cxl_near all = { .node = 0, .cpus = "0-1023" };
	struct cxl_near none = { .node = 7, .cpus = "1023" };
	struct cxl_speed speed = { 0 };
	cpu_set_t before, after;
	int r;

	CHECK_OK(sched_getaffinity(0, sizeof(before), &before));
	r = cxl_measure(&m, &all, NS_PER_MS, &speed);
	if (r == -EPERM || r == -ENOSYS)
		SKIP("mbind: %s", strerror(-r));
	CHECK_OK(r);
	CHECK(speed.latency_ns > 0 && speed.read_bytes_per_s > 1000);
	CHECK_INT(speed.bytes, ==, 4ull << 20);
	if (!CPU_ISSET(1023, &before))
		CHECK_INT(cxl_measure(&m, &none, NS_PER_MS, &speed), ==,
			  -EINVAL);
	CHECK_OK(sched_getaffinity(0, sizeof(after), &after));
	CHECK(CPU_EQUAL(&before, &after));
}

TEST(what_cannot_be_measured)
{
	struct cxl_memory m = node_of_ours();
	struct cxl_speed speed;

	m.free_bytes = 1 << 20;
	CHECK_INT(cxl_measure(&m, NULL, 1, &speed), ==, -ENOMEM);
	m.state = CXL_OFFLINE;
	CHECK_INT(cxl_measure(&m, NULL, 1, &speed), ==, -ENOTSUP);
	m = (struct cxl_memory){ .kind = CXL_DAX,
				 .name = "dax99.9",
				 .bytes = 64ull << 20 };
	CHECK_INT(cxl_measure(&m, NULL, 1, &speed), ==, -ENODEV);
	m.kind = CXL_MEMDEV;
	CHECK_INT(cxl_measure(&m, NULL, 1, &speed), ==, -ENOTSUP);
	CHECK_INT(cxl_poison(&(struct cxl_memory){ .kind = CXL_DAX }), ==,
		  -EOPNOTSUPP);
}

/* Addresses behind the end of a file stand for those of poisoned memory. */
TEST(memory_that_fails_is_an_error_of_the_measurement)
{
	char path[] = "/dev/shm/onecopy-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct cxl_memory m = { .kind = CXL_DAX,
				.state = CXL_READY,
				.bytes = 8ull << 20 };
	struct cxl_speed speed = { .bytes = 1 };

	if (fd < 0)
		SKIP("no /dev/shm");
	snprintf(m.name, sizeof(m.name), "%s", path + strlen("/dev/"));
	guard_install();
	CHECK_INT(cxl_measure(&m, NULL, NS_PER_MS, &speed), ==, -EIO);
	CHECK_INT(speed.bytes, ==, 1);
	CHECK_OK(ftruncate(fd, 8 << 20));
	CHECK_OK(cxl_measure(&m, NULL, NS_PER_MS, &speed));
	CHECK_INT(speed.bytes, ==, 8 << 20);
	unlink(path);
	close(fd);
}

TEST(every_failure_of_a_measurement)
{
	struct cxl_memory m = node_of_ours();
	bool fired = true;

	for (uint64_t n = 1; fired; n++) {
		struct cxl_speed speed;
		int r;

		fault_arm(FAULT_ALL, n, false);
		r = cxl_measure(&m, NULL, 1, &speed);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK_INT(r, <=, 0);
		if (fired)
			CHECK_INT(r, <, 0);
	}
}
