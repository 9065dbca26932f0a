/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that read another node's blocks through one client, while these are
 * removed and written again. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/rng.h"
#include "region/region.h"
#include "tests/prog/live.h"

#define BYTES	4096ull
#define BLOCKS	32u
#define THREADS 3u
#define STEPS	LIVE_N(6000)

struct reader {
	oc_ns *ns;
	struct rng rng;
};

/* And until it has found one, which may be after all was removed and written for
 * the last time. */
static void *read_all(void *arg)
{
	struct reader *r = arg;
	bool hit = false;

	for (unsigned i = 0; i < STEPS || !hit; i++) {
		int got = live_read(r->ns, rng_below(&r->rng, BLOCKS), BYTES);

		CHECK(got == 0 || got == OC_MISS);
		hit |= got == 0;
	}
	return NULL;
}

static void make(char path[64], int *ret_fd)
{
	struct region_format_options o = { .size = sizeof(o),
					   .members = 4,
					   .shards = 2,
					   .frames = 64,
					   .frame_bytes = BYTES };
	struct region_geometry least;

	CHECK_OK(region_format_least(&o, &least));
	o.bytes = least.bytes;
	*ret_fd = memfd_create("onecopy-test-region", MFD_CLOEXEC);
	CHECK_INT(*ret_fd, >=, 0);
	snprintf(path, 64, "/proc/%d/fd/%d", getpid(), *ret_fd);
	CHECK_OK(region_format(path, &o));
}

TEST(threads_read_what_another_node_removes)
{
	struct reader reader[THREADS];
	pthread_t thread[THREADS];
	struct rng rng = { 9 };
	oc_client *ca, *cb;
	struct live a, b;
	oc_ns *na, *nb;
	char path[64];
	int fd;

	make(path, &fd);
	live_start(&a, "--dram", "8M", "--region", path);
	live_start(&b, "--dram", "8M", "--region", path);
	ca = live_connect(&a);
	cb = live_connect(&b);
	na = live_ns(ca, BYTES);
	nb = live_ns(cb, BYTES);
	live_write_some(na, 0, BLOCKS, BYTES);
	LIVE_WAIT(&a, live_counter(ca, "region_published") == BLOCKS);
	for (unsigned i = 0; i < THREADS; i++) {
		reader[i] = (struct reader){ nb, { i + 1 } };
		CHECK_OK(
			pthread_create(&thread[i], NULL, read_all, &reader[i]));
	}
	for (unsigned i = 0; i < STEPS / 10; i++) {
		uint64_t at = rng_below(&rng, BLOCKS);
		struct oc_key key = live_key(at);

		CHECK_OK(oc_remove(na, &key, 0));
		CHECK_OK(live_write(na, at, BYTES));
	}
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_OK(pthread_join(thread[i], NULL));
	CHECK_INT(live_stat(cb).pins_held, ==, 0);
	live_check(ca);
	live_check(cb);
	oc_ns_close(na);
	oc_ns_close(nb);
	oc_client_close(ca);
	oc_client_close(cb);
	live_stop(&a);
	live_stop(&b);
	close(fd);
}
