/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CXL memory as the kernel's own drivers offer it: what a devdax mapping may be
 * used for and what it refuses, finding and measuring it, a disk that reads into
 * it, and a memory error in it.
 *
 * $ONECOPY_CXL_DAX names a devdax device that nobody uses, $ONECOPY_CXL_DRIVE a
 * disk: BOTH ARE OVERWRITTEN. Skipped without. tools/check-cxl-vm runs it in an
 * emulated machine, which is where both come from.
 */
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "coherence/frame.h"
#include "tests/test.h"
#include "tests/tier/nvme/rig.h"
#include "tier/cxl/cxl.h"
#include "tier/speed.h"

#define UNIT  (2ull << 20)
#define UNITS 6ull
#define PART  (256u << 10)
#define PARTS 3u

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

static const char *env_or_skip(const char *name)
{
	const char *value = getenv(name);

	if (!value || !value[0])
		SKIP("%s names nothing that may be overwritten", name);
	return value;
}

static int dax_open(void)
{
	int fd = open(env_or_skip("ONECOPY_CXL_DAX"), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		FAIL("%s: %s", getenv("ONECOPY_CXL_DAX"), strerror(errno));
	return fd;
}

static char *dax_map(int fd)
{
	char *p = mmap(NULL, UNITS * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, 0);

	if (p == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	return p;
}

/* ---- found --------------------------------------------------------------------- */

TEST(it_is_found_and_measured)
{
	const char *path = env_or_skip("ONECOPY_CXL_DAX");
	struct cxl_list *list = NULL;
	const void *chunk[CXL_PRICE_CHUNKS];
	struct cxl_speed speed = { 0 };
	struct cxl_memory *m;
	int fd = dax_open();
	char *p = dax_map(fd);
	uint64_t was;

	memset(p, 0x5a, UNIT);
	was = hash_bytes(p, UNIT, 1);
	CHECK_OK(cxl_find("", &list));
	m = cxl_entry(list, path);
	CHECK(m != NULL);
	CHECK_INT(m->state, ==, CXL_READY);
	CHECK_INT(m->align, ==, UNIT);
	CHECK_INT(m->bytes, >=, UNITS * UNIT);
	CHECK_INT(m->bytes % UNIT, ==, 0);
	CHECK_INT(list->n_near, >, 0);
	m->bytes = UNITS * UNIT; /* emulated memory is slow */
	for (uint32_t i = 0; i < list->n_near; i++) {
		CHECK_OK(cxl_measure(m, &list->near[i], NS_PER_MS, &speed));
		CHECK(speed.latency_ns > 0 && speed.read_bytes_per_s > 0);
	}
	NOTE("%.0f ns, %.1f MB/s, emulated", speed.latency_ns,
	     speed.read_bytes_per_s / 1e6);
	CHECK(hash_bytes(p, UNIT, 1) == was);
	/* emulated memory is small: again and again */
	for (unsigned i = 0; i < CXL_PRICE_CHUNKS; i++)
		chunk[i] = p + i % (UNITS * UNIT / SPEED_CHUNK) * SPEED_CHUNK;
	cxl_price_of(chunk, CXL_PRICE_CHUNKS);
	CHECK_OK(tier_publish(&tier_cxl, &(struct pool_meta){ 0 }, 1));
	cxl_price_of(NULL, 0);
	munmap(p, UNITS * UNIT);
	close(fd);
	cxl_list_destroy(list);
}

/* ---- what a mapping may be used for --------------------------------------------- */

static void refused(const char *what, long r)
{
	if (r != -1 || errno != EINVAL)
		FAIL("%s: %ld, %s: not refused as it was", what, r,
		     r == -1 ? strerror(errno) : "no error");
}

static void map_refused(const char *what, uint64_t bytes, int flags, int fd,
			off_t offset)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);

	refused(what, p == MAP_FAILED ? -1 : 0);
}

TEST(what_is_refused)
{
	int fd = dax_open();
	char byte = 0, *p = dax_map(fd);
	struct stat st;

	CHECK_OK(fstat(fd, &st));
	CHECK_INT(st.st_size, ==, 0);
	refused("read", read(fd, &byte, 1));
	refused("write", write(fd, &byte, 1));
	refused("fsync", fsync(fd));
	refused("ftruncate", ftruncate(fd, (off_t)UNIT));
	refused("msync", msync(p, UNIT, MS_SYNC));
	map_refused("a private mapping", UNIT, MAP_PRIVATE, fd, 0);
	map_refused("half a unit", UNIT / 2, MAP_SHARED, fd, 0);
	/* One unit alone at such an offset is not refused, and then shows other
	 * bytes than those: the kernel relies on us. */
	map_refused("from half a unit on", 2 * UNIT, MAP_SHARED, fd,
		    (off_t)UNIT / 2);
	refused("unmapping half a unit", munmap(p, UNIT / 2));
	refused("protecting half a unit", mprotect(p, UNIT / 2, PROT_READ));
	memset(p, 1, UNITS * UNIT); /* all of it is still there */
	CHECK_OK(munmap(p, UNITS * UNIT));
	close(fd);
}

TEST(what_works)
{
	int fd = dax_open(), status;
	char *p = dax_map(fd);
	pid_t child;

	CHECK_OK(flock(fd, LOCK_EX | LOCK_NB));
	CHECK_OK(mlock(p, UNIT));
	memset(p, 3, UNIT);
	child = fork();
	CHECK_INT(child, >=, 0);
	if (child == 0) {
		p[7] = 9;
		_exit(p[8] == 3 ? 0 : 1);
	}
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
	CHECK_INT(p[7], ==, 9);
	munmap(p, UNITS * UNIT);
	close(fd);
}

/* Its bytes are still there for who maps it next. */
TEST(bytes_stay_where_they_are)
{
	int fd = dax_open();
	char *p = dax_map(fd);

	memset(p + UNIT, 0x37, UNIT);
	munmap(p, UNITS * UNIT);
	close(fd);
	fd = dax_open();
	p = dax_map(fd);
	for (uint64_t i = UNIT; i < 2 * UNIT; i += 4096)
		CHECK_INT(p[i], ==, 0x37);
	munmap(p, UNITS * UNIT);
	close(fd);
}

/* ---- a disk reads into it --------------------------------------------------------- */

static void rig_on_drive(struct rig *g)
{
	rig_init(g, 64u << 20, 1u << 20);
	g->options.path = env_or_skip("ONECOPY_CXL_DRIVE");
	/* the last test's ring may still be on its way out, and with it the
	 * drive's only opener */
	g->options.busy_ns = 20 * NS_PER_S;
}

static void part_read_into(struct rig *g, uint64_t number, char *at)
{
	struct rig_move m = { .number = number };
	struct tier_found found;
	char *want = malloc(PART);

	CHECK(want != NULL);
	rig_id(g, number, &m.m.id);
	CHECK(tier_nvme.find(g->t, &m.m.id, &found));
	m.m.done = rig_move_done;
	m.m.data = at;
	m.m.room = PART;
	memset(at, 0, PART);
	CHECK_OK(tier_nvme.read(g->t, &m.m));
	while (!m.over)
		rig_turn(g);
	CHECK_OK(m.result);
	rig_fill(number, want, PART);
	CHECK_MEM(at, want, PART);
	free(want);
}

static void parts_through(uint64_t first, int io, bool add)
{
	struct tier_stat stat;
	struct rig g;
	int fd = dax_open();
	char *p = dax_map(fd);

	rig_on_drive(&g);
	g.options.io = io;
	rig_open(&g);
	for (uint64_t i = 0; i < PARTS; i++) {
		rig_remove(&g, first + i); /* of an earlier run */
		CHECK_OK(rig_write(&g, first + i, PART));
	}
	if (add)
		tier_nvme.memory_add(g.t, p, UNITS * UNIT);
	for (uint64_t i = 0; i < PARTS; i++)
		part_read_into(&g, first + i, p + i * PART);
	if (add)
		tier_nvme.memory_drop(g.t, p, UNITS * UNIT);
	stat = rig_stat(&g);
	CHECK(stat.direct);
	CHECK_INT(stat.errors, ==, 0);
	CHECK_INT(stat.bad, ==, 0);
	NOTE("%s, past the page cache", stat.io);
	rig_stop(&g);
	rig_fini(&g);
	munmap(p, UNITS * UNIT);
	close(fd);
}

TEST(a_disk_reads_into_it)
{
	parts_through(100, TIER_IO_URING, false);
}

TEST(a_disk_reads_into_it_registered)
{
	parts_through(200, TIER_IO_URING, true);
}

TEST(a_disk_reads_into_it_by_threads)
{
	parts_through(300, TIER_IO_THREADS, true);
}

/* Whether this kernel registers such memory, whatever the tier makes of it. */
TEST(the_kernel_registers_it)
{
	struct io_uring ring;
	int fd = dax_open(), r;
	char *p = dax_map(fd);
	struct iovec v = { p, UNIT };

	CHECK_OK(io_uring_queue_init(4, &ring, 0));
	r = io_uring_register_buffers(&ring, &v, 1);
	io_uring_queue_exit(&ring);
	if (r == -EOPNOTSUPP)
		SKIP("this kernel does not (Linux before 6.12): plain reads");
	CHECK_OK(r);
	munmap(p, UNITS * UNIT);
	close(fd);
}

/* ---- an error in it: last, its memory is gone until the machine starts anew -------- */

static sigjmp_buf jump;
static siginfo_t told;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	told = *info;
	siglongjmp(jump, 1);
}

static void bus_catch(void)
{
	struct sigaction act = { .sa_sigaction = on_bus,
				 .sa_flags = SA_SIGINFO };

	CHECK_OK(sigaction(SIGBUS, &act, NULL));
}

/* The byte, or -1: SIGBUS instead of a value. */
static int byte_at(const char *at)
{
	char byte;

	if (sigsetjmp(jump, 1))
		return -1;
	/* relaxed: only that the load is made now */
	__atomic_load(at, &byte, __ATOMIC_RELAXED);
	return (unsigned char)byte;
}

/* Loses the unit at `at`, for everybody who has it mapped. This process is told by
 * a signal before madvise() comes back. */
static void unit_lose(char *at)
{
	told = (siginfo_t){ 0 };
	if (sigsetjmp(jump, 1) == 0 && madvise(at, 4096, MADV_HWPOISON) < 0)
		FAIL("MADV_HWPOISON: %s", strerror(errno));
}

/* The last units: what is lost stays so until the machine starts anew. Afterwards
 * an emulated device shows the old bytes again; a real one would tell again. */
TEST(a_memory_error_is_a_signal)
{
	int fd = dax_open();
	char *p = dax_map(fd), *bad = p + (UNITS - 1) * UNIT;

	memset(p, 1, UNITS * UNIT);
	bus_catch();
	unit_lose(bad);
	CHECK_INT(told.si_code, ==, BUS_MCEERR_AR);
	CHECK_INT(told.si_addr_lsb, ==, 21);
	CHECK_INT((uintptr_t)told.si_addr / UNIT, ==, (uintptr_t)bad / UNIT);
	/* 2 MiB wide, and nothing else is lost */
	CHECK_INT(byte_at(p), ==, 1);
	CHECK_INT(byte_at(bad - 1), ==, 1);
	munmap(p, UNITS * UNIT);
	close(fd);
}

/* Another process that has it mapped: waits until it is lost, then what it finds. */
static int neighbour(const char *bad, int ready, int lost)
{
	char byte = bad[7];

	bus_catch();
	if (sigsetjmp(jump, 1))
		return told.si_code; /* told before it asked */
	CHECK_INT(write(ready, &byte, 1), ==, 1);
	CHECK_INT(read(lost, &byte, 1), ==, 1);
	byte_at(bad);
	return 0;
}

static int neighbour_of_lost(uint64_t unit, bool early)
{
	int fd = dax_open(), ready[2], lost[2], status;
	char *p = dax_map(fd), *bad = p + unit * UNIT, byte = 0;
	pid_t child;

	memset(bad, 1, UNIT);
	CHECK_OK(pipe2(ready, O_CLOEXEC));
	CHECK_OK(pipe2(lost, O_CLOEXEC));
	child = fork();
	CHECK_INT(child, >=, 0);
	if (child == 0) {
		if (early)
			CHECK_OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET,
				       PR_MCE_KILL_EARLY, 0, 0));
		_exit(neighbour(bad, ready[1], lost[0]));
	}
	CHECK_INT(read(ready[0], &byte, 1), ==, 1);
	bus_catch();
	unit_lose(bad);
	CHECK_INT(told.si_code, ==, BUS_MCEERR_AR);
	CHECK_INT(write(lost[1], &byte, 1), ==, 1);
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK(WIFEXITED(status));
	munmap(p, UNITS * UNIT);
	close(fd);
	return WEXITSTATUS(status);
}

/* Memory that somebody else lost is lost when it is touched, not before. */
TEST(a_memory_error_does_not_disturb_others)
{
	CHECK_INT(neighbour_of_lost(UNITS - 2, false), ==, 0);
}

/* Who asked for it, or vm.memory_failure_early_kill, is told without having touched
 * anything, by another code. */
TEST(a_memory_error_is_told_early_to_who_asked)
{
	CHECK_INT(neighbour_of_lost(UNITS - 3, true), ==, BUS_MCEERR_AO);
}

/* ---- taken away while it is mapped ------------------------------------------------ */

static bool is_there(const char *path)
{
	struct cxl_list *list = NULL;
	bool there;

	CHECK_OK(cxl_find("", &list));
	there = cxl_entry(list, path) != NULL;
	cxl_list_destroy(list);
	return there;
}

/* $ONECOPY_CXL_LEAVES is a file that is made when somebody may take it away. */
TEST(it_is_taken_away)
{
	const char *mark = env_or_skip("ONECOPY_CXL_LEAVES");
	const char *path = env_or_skip("ONECOPY_CXL_DAX");
	struct cxl_memory m = { .kind = CXL_DAX, .align = UNIT, .bytes = UNIT };
	struct cxl_speed speed;
	int fd = dax_open(), made;
	char *p = dax_map(fd);

	snprintf(m.name, sizeof(m.name), "%s", path + strlen("/dev/"));
	memset(p, 1, UNIT);
	bus_catch();
	CHECK_OK(cxl_measure(&m, NULL, 1, &speed));
	made = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK_INT(made, >=, 0);
	while (is_there(path))
		(void)byte_at(p);
	/* its content is gone; this process is not */
	CHECK_INT(byte_at(p), ==, -1);
	CHECK_INT(cxl_measure(&m, NULL, 1, &speed), ==, -ENODEV);
	munmap(p, UNITS * UNIT);
	close(fd);
	close(made);
}
