/* SPDX-License-Identifier: Apache-2.0 */
/* tier/gpu against fakes of NVIDIA's libraries. They prove the calling code and
 * nothing of the hardware: test_real.c runs where a GPU is. */
#include <fcntl.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/hash.h"
#include "tests/test.h"
#include "tests/tier/gpu/rig.h"
#include <onecopy/onecopy.h>

#define MOST (100u << 10)

static void all_well(const struct rig *r, const struct gpu_job *jobs,
		     enum gpu_path path)
{
	for (uint32_t i = 0; i < RIG_PARTS; i++) {
		CHECK_OK(jobs[i].result);
		CHECK_STR(gpu_path_name(jobs[i].took), gpu_path_name(path));
		gpu_rig_check(r, i);
	}
	gpu_rig_no_problem(r);
}

/* ---- opening --------------------------------------------------------------------- */

TEST(fake_library_that_is_not_there)
{
	struct gpu_options o = { .cuda = "/nowhere/libcuda.so.1" };
	char why[160];
	struct rig r;

	gpu_rig_fakes(&r, false);
	CHECK_INT(gpu_rig_open(&r, o, why), ==, -ENOENT);
	CHECK_STR(why, "/nowhere/libcuda.so.1 is not found");
	o.cuda = "libm.so.6";
	CHECK_INT(gpu_rig_open(&r, o, why), ==, -ELIBBAD);
	CHECK_STR(why, "the driver's library has no cuInit");
	gpu_rig_end(&r);
}

TEST(fake_device_that_is_not_there)
{
	struct gpu_options o = { .device = 3 };
	char why[160];
	struct rig r;

	gpu_rig_fakes(&r, false);
	CHECK_INT(gpu_rig_open(&r, o, why), ==, -ENODEV);
	CHECK_STR(why, "no device 3, there is 1");
	r.cuda->devices = 0;
	o.device = 0;
	CHECK_INT(gpu_rig_open(&r, o, why), ==, -ENODEV);
	gpu_rig_end(&r);
}

TEST(fake_no_cufile_is_no_error)
{
	struct gpu_options o = { .cufile = "/nowhere/libcufile.so.0" };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct rig r;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(!about.cufile && !about.direct);
	CHECK(strstr(about.why, "/nowhere/libcufile.so.0") != NULL);
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	gpu_rig_jobs(&r, GPU_DIRECT, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -ENOTSUP);
	CHECK_STR(jobs[0].why, about.why);
	gpu_rig_end(&r);
}

/* ---- the fallback ------------------------------------------------------------------ */

static void fallback(enum gpu_io_kind io, uint32_t pieces)
{
	struct gpu_options o = { .no_cufile = true,
				 .io = io,
				 .pieces = pieces };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct gpu_stat stat;
	uint64_t sum = 0;
	struct rig r;
	int e;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	e = gpu_rig_open(&r, o, NULL);
	if (e && io == GPU_IO_URING)
		SKIP("no io_uring here: %s", strerror(-e));
	CHECK_OK(e);
	gpu_rig_memory(&r, false);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		sum += r.part[i].bytes;
	gpu_stat(r.gpu, &stat);
	CHECK_INT(stat.fallback_bytes, ==, sum);
	CHECK_INT(stat.jobs, ==, RIG_PARTS);
	CHECK_INT(stat.back_bytes, ==, 0);
	gpu_about(r.gpu, &about);
	CHECK_STR(about.io, io == GPU_IO_URING ? "io_uring" : "threads");
	gpu_rig_end(&r);
}

TEST(fake_fallback_uring)
{
	fallback(GPU_IO_URING, 4);
}

TEST(fake_fallback_threads)
{
	fallback(GPU_IO_THREADS, 4);
}

TEST(fake_fallback_two_pieces)
{
	fallback(GPU_IO_THREADS, 2);
}

TEST(fake_fallback_touches_no_byte_beyond)
{
	struct gpu_options o = { .no_cufile = true };
	struct gpu_job job[RIG_PARTS];
	const uint8_t *at;
	struct rig r;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, false);
	memset(r.behind(r.to, r.file_bytes), 0x77, r.file_bytes);
	gpu_rig_jobs(&r, GPU_BEST, job);
	/* any address will do, and no more room than the payload's */
	job[1].to = r.to + 3;
	job[1].room = job[1].place.bytes;
	CHECK_OK(gpu_read(r.gpu, &job[1], 1));
	at = r.behind(r.to, r.file_bytes);
	CHECK_INT(at[2], ==, 0x77);
	CHECK_INT(at[3 + job[1].place.bytes], ==, 0x77);
	job[1].room--;
	CHECK_INT(gpu_read(r.gpu, &job[1], 1), ==, -E2BIG);
	gpu_rig_end(&r);
}

static void spoil(struct rig *r, uint32_t i)
{
	uint64_t at = r->part[i].bytes / 2;
	uint8_t *page;
	off_t where = (off_t)(r->part[i].offset + at / PAGE_BYTES * PAGE_BYTES);

	CHECK_OK(posix_memalign((void **)&page, PAGE_BYTES, PAGE_BYTES));
	CHECK_INT(pread(r->fd, page, PAGE_BYTES, where), ==, PAGE_BYTES);
	page[at % PAGE_BYTES] ^= 0x10;
	CHECK_INT(pwrite(r->fd, page, PAGE_BYTES, where), ==, PAGE_BYTES);
	free(page);
}

static void wrong_bytes(struct gpu_options o, enum gpu_path took)
{
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_stat stat;
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = took == GPU_DIRECT;
	gpu_rig_parts(&r, "/tmp", MOST);
	for (uint32_t i = 0; i < RIG_PARTS; i += 2)
		spoil(&r, i);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	memset(r.behind(r.to, r.file_bytes), 0x77, r.file_bytes);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -EBADMSG);
	for (uint32_t i = 0; i < RIG_PARTS; i++) {
		/* what cuFile brings and is wrong is read again */
		CHECK_INT(jobs[i].took, ==, i % 2 ? took : GPU_FALLBACK);
		CHECK_INT(jobs[i].result, ==, i % 2 ? 0 : -EBADMSG);
		if (i % 2)
			gpu_rig_check(&r, i);
		else
			gpu_rig_check_wiped(&r, i);
	}
	gpu_stat(r.gpu, &stat);
	CHECK_INT(stat.bad, ==, RIG_PARTS / 2);
	CHECK_INT(stat.jobs, ==, RIG_PARTS / 2);
	gpu_rig_end(&r);
}

TEST(fake_fallback_wrong_bytes)
{
	wrong_bytes((struct gpu_options){ .no_cufile = true }, GPU_FALLBACK);
}

TEST(fake_direct_wrong_bytes)
{
	wrong_bytes((struct gpu_options){ 0 }, GPU_DIRECT);
}

TEST(fake_fallback_short_file)
{
	struct gpu_options o = { .no_cufile = true };
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, false);
	CHECK_OK(ftruncate(r.fd, (off_t)r.part[7].offset + 20480));
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -EIO);
	for (uint32_t i = 0; i < RIG_PARTS; i++) {
		CHECK_INT(jobs[i].result, ==, i < 7 ? 0 : -EIO);
		if (i >= 7)
			gpu_rig_check_wiped(&r, i);
	}
	gpu_rig_end(&r);
}

/* A disk that does not answer: the call ends, the piece is not used again before
 * the disk has let go of it. */
TEST(fake_fallback_disk_that_does_not_answer)
{
	struct gpu_options o = { .no_cufile = true,
				 .io = GPU_IO_URING,
				 .pieces = 2,
				 .patience_ns = 1 };
	struct gpu_job job = { .seed = 1, .room = 4096 }, jobs[RIG_PARTS];
	static uint8_t bytes[4096];
	struct rig r;
	int ends[2], e;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	e = gpu_rig_open(&r, o, NULL);
	if (e)
		SKIP("no io_uring here: %s", strerror(-e));
	gpu_rig_memory(&r, false);
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	job.place = (struct tier_place){ .fd = ends[0], .bytes = 4096 };
	job.to = r.to;
	CHECK_INT(gpu_read(r.gpu, &job, 1), ==, -ETIMEDOUT);
	CHECK_INT(gpu_read(r.gpu, &job, 1), ==, -ETIMEDOUT);
	/* both pieces are with the disk now */
	CHECK_INT(gpu_read(r.gpu, &job, 1), ==, -EBUSY);
	CHECK_INT(write(ends[1], bytes, sizeof(bytes)), ==, sizeof(bytes));
	CHECK_INT(write(ends[1], bytes, sizeof(bytes)), ==, sizeof(bytes));
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	/* a nanosecond is not enough for a real disk either */
	do
		e = gpu_read(r.gpu, jobs, 1);
	while (e == -ETIMEDOUT || e == -EBUSY);
	CHECK_OK(e);
	gpu_rig_check(&r, 0);
	close(ends[0]);
	close(ends[1]);
	gpu_rig_end(&r);
}

/* ---- direct ------------------------------------------------------------------------- */

static void direct(bool p2p, uint32_t each)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct gpu_stat stat;
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = !p2p;
	r.cufile->p2p = p2p;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(about.direct && about.counts && !about.why[0]);
	CHECK_INT(about.nvidia_fs, ==, !p2p);
	CHECK_INT(about.cufile_version, ==, 1150);
	gpu_rig_memory(&r, true);
	CHECK_OK(gpu_file_add(r.gpu, r.fd));
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	for (uint32_t i = 0; i < RIG_PARTS; i += each)
		CHECK_OK(gpu_read(r.gpu, &jobs[i], MIN(each, RIG_PARTS - i)));
	all_well(&r, jobs, GPU_DIRECT);
	gpu_stat(r.gpu, &stat);
	CHECK_INT(stat.fallback_bytes + stat.compat_bytes, ==, 0);
	CHECK_INT(stat.back_bytes, ==, stat.direct_bytes);
	CHECK_INT(r.cufile->posix_reads, ==, 0);
	CHECK_INT(r.cufile->direct_reads, ==, RIG_PARTS);
	CHECK_INT(r.cufile->unregistered_reads, ==, 0);
	CHECK_INT(r.cufile->batches, ==, each > 1 ? 2 : 0);
	gpu_rig_end(&r);
}

TEST(fake_direct_nvidia_fs)
{
	direct(false, 1);
}

TEST(fake_direct_batches)
{
	direct(false, RIG_PARTS);
}

TEST(fake_direct_p2pdma)
{
	direct(true, RIG_PARTS);
}

TEST(fake_direct_memory_that_is_not_registered)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, false);
	/* all but the last part's room */
	CHECK_OK(gpu_region_add(r.gpu, r.to, r.file_bytes - PAGE_BYTES));
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		CHECK_INT(jobs[i].took, ==,
			  i < RIG_PARTS - 1 ? GPU_DIRECT : GPU_FALLBACK);
	CHECK_STR(jobs[RIG_PARTS - 1].why, "the memory is not registered");
	gpu_region_drop(r.gpu, r.to);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	CHECK_INT(r.cufile->unregistered_reads, ==, 0);
	gpu_rig_end(&r);
}

TEST(fake_direct_batch_refused)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = r.cufile->refuse_batch = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_DIRECT, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_DIRECT);
	gpu_rig_end(&r);
}

TEST(fake_direct_unaligned_falls_back)
{
	struct gpu_options o = { 0 };
	struct gpu_job job[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_BEST, job);
	job[1].to += 512;
	job[3].room = job[3].place.bytes;
	CHECK_OK(gpu_read(r.gpu, job, 4));
	CHECK_INT(job[0].took, ==, GPU_DIRECT);
	CHECK_INT(job[1].took, ==, GPU_FALLBACK);
	CHECK_STR(job[1].why, "the address does not lie on 4096");
	CHECK_INT(job[2].took, ==, GPU_DIRECT);
	CHECK_INT(job[3].took, ==, GPU_FALLBACK);
	CHECK_STR(job[3].why, "the room does not go on to a multiple of 4096");
	job[1].path = GPU_DIRECT;
	CHECK_INT(gpu_read(r.gpu, &job[1], 1), ==, -ENOTSUP);
	gpu_rig_end(&r);
}

/* A file that cuFile does not take, and one that it cannot open again. */
TEST(fake_direct_file_that_is_not_taken)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(unlink(r.path));
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	CHECK_INT(gpu_file_add(r.gpu, r.fd), ==, -EMFILE);
	CHECK(strstr(gpu_said(r.gpu), "5031") != NULL);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	CHECK(strstr(jobs[0].why, "no new file descriptor") != NULL);
	gpu_rig_jobs(&r, GPU_DIRECT, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -EMFILE);
	gpu_rig_check_wiped(&r, 0);
	gpu_rig_end(&r);
}

TEST(fake_direct_read_that_fails_goes_the_other_way)
{
	struct gpu_options o = { 0 };
	struct gpu_job job[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	CHECK_OK(gpu_file_add(r.gpu, r.fd));
	gpu_rig_jobs(&r, GPU_BEST, job);
	r.cufile->fail_at = 1;
	CHECK_OK(gpu_read(r.gpu, &job[5], 1));
	CHECK_INT(job[5].took, ==, GPU_FALLBACK);
	CHECK(strstr(job[5].why, "5030") != NULL);
	gpu_rig_check(&r, 5);
	gpu_rig_end(&r);
}

TEST(fake_direct_library_that_gives_wrong_bytes)
{
	struct gpu_options o = { 0 };
	struct gpu_job job[RIG_PARTS];
	struct gpu_about about;
	struct gpu_stat stat;
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	CHECK_OK(gpu_file_add(r.gpu, r.fd));
	gpu_rig_jobs(&r, GPU_BEST, job);
	r.cufile->flip_at = 9;
	CHECK_OK(gpu_read(r.gpu, &job[5], 1));
	CHECK_INT(job[5].took, ==, GPU_FALLBACK);
	CHECK_STR(job[5].why, "cuFile gave wrong bytes");
	gpu_rig_check(&r, 5);
	gpu_about(r.gpu, &about);
	CHECK(!about.direct);
	CHECK_STR(about.why, "cuFile gave wrong bytes");
	gpu_stat(r.gpu, &stat);
	CHECK_INT(stat.bad, ==, 0); /* the place on disk is good */
	CHECK_OK(gpu_read(r.gpu, job, RIG_PARTS));
	all_well(&r, job, GPU_FALLBACK);
	gpu_rig_end(&r);
}

TEST(fake_direct_short_and_failing_reads)
{
	struct gpu_options o = { 0 };
	struct gpu_job job[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	CHECK_OK(gpu_file_add(r.gpu, r.fd));
	gpu_rig_jobs(&r, GPU_DIRECT, job);
	r.cufile->short_by = 4096;
	CHECK_INT(gpu_read(r.gpu, &job[5], 1), ==, -EIO);
	gpu_rig_check_wiped(&r, 5);
	r.cufile->fail_at = 1;
	r.cufile->fail_code = ENXIO;
	CHECK_INT(gpu_read(r.gpu, &job[5], 1), ==, -ENXIO);
	r.cufile->fail_at = 1;
	r.cufile->fail_code = 5030;
	CHECK_INT(gpu_read(r.gpu, &job[5], 1), ==, -EIO);
	CHECK(strstr(gpu_said(r.gpu), "5030") != NULL);
	r.cufile->flip_at = 1000;
	CHECK_INT(gpu_read(r.gpu, &job[5], 1), ==, -EBADMSG);
	CHECK_OK(gpu_read(r.gpu, &job[5], 1));
	gpu_rig_check(&r, 5);
	gpu_rig_end(&r);
}

TEST(fake_direct_batch_that_does_not_end)
{
	struct gpu_options o = { .patience_ns = 1 };
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = r.cufile->stuck = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	CHECK_OK(gpu_file_add(r.gpu, r.fd));
	gpu_rig_jobs(&r, GPU_DIRECT, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -ETIMEDOUT);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		CHECK_INT(jobs[i].result, ==, -ETIMEDOUT);
	gpu_memory_destroy(r.gpu, r.to);
	gpu_close(r.gpu);
	gpu_rig_file_end(&r);
	CHECK_INT(r.cuda->problem.n, ==, 0);
	/* handles of a batch that was given up stay: the library may use them */
	CHECK(strstr(r.cufile->problem.first, "closed with things") != NULL);
	CHECK_INT(r.cufile->problem.n, ==, 1);
}

/* ---- which way it went: never silent ----------------------------------------------- */

TEST(fake_compat_is_not_taken_unasked)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct rig r;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(about.cufile && !about.direct);
	CHECK(strstr(about.why, "nvidia-fs driver is not loaded") != NULL);
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	CHECK_INT(r.cufile->posix_reads, ==, 0);
	gpu_rig_jobs(&r, GPU_COMPAT, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -ENOTSUP);
	gpu_rig_end(&r);
}

static void compat(bool old)
{
	struct gpu_options o = { .compat = true };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct gpu_stat stat;
	struct rig r;

	gpu_rig_fakes(&r, old);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(!about.direct && about.why[0]);
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_COMPAT, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_COMPAT);
	gpu_stat(r.gpu, &stat);
	CHECK_INT(stat.direct_bytes, ==, 0);
	CHECK_INT(stat.compat_bytes, ==, stat.back_bytes);
	/* not even then without being asked for */
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	gpu_rig_end(&r);
}

TEST(fake_compat_asked_for)
{
	compat(false);
}

TEST(fake_compat_of_an_old_library)
{
	compat(true);
}

TEST(fake_library_that_reads_through_the_host_all_the_same)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = r.cufile->lies = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_COMPAT);
	gpu_about(r.gpu, &about);
	CHECK(!about.direct);
	CHECK_STR(about.why, "cuFile was told to read directly, and did not");
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_FALLBACK);
	gpu_rig_end(&r);
}

TEST(fake_library_that_cannot_be_told)
{
	struct gpu_options o = { 0 };
	struct gpu_about about;
	struct rig r;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = r.cufile->insists = true;
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(!about.direct);
	CHECK(strstr(about.why, "cannot be told not to") != NULL);
	gpu_rig_end(&r);
}

TEST(fake_old_library_by_its_flags)
{
	struct gpu_options o = { 0 };
	struct gpu_job jobs[RIG_PARTS];
	struct gpu_about about;
	struct rig r;

	gpu_rig_fakes(&r, true);
	r.cufile->nvidia_fs = true;
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(!about.direct); /* the administrator allows bouncing */
	gpu_close(r.gpu);
	r.gpu = NULL;
	r.cufile->allow_compat = false;
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_about(r.gpu, &about);
	CHECK(about.direct && !about.counts);
	CHECK_STR(about.cufile_by, "flags of the driver");
	gpu_rig_memory(&r, true);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	all_well(&r, jobs, GPU_DIRECT);
	gpu_rig_end(&r);
}

/* ---- memory --------------------------------------------------------------------------- */

TEST(fake_memory_pinned_and_copied)
{
	struct gpu_options o = { .no_cufile = true };
	static uint8_t data[65536] __attribute__((aligned(4096)));
	uint8_t *back;
	struct rig r;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	gpu_rig_memory(&r, false);
	memset(data, 0x5a, sizeof(data));
	CHECK_OK(gpu_pin(r.gpu, data, sizeof(data), true));
	CHECK_INT(gpu_pin(r.gpu, data, sizeof(data), true), ==, -EEXIST);
	CHECK_OK(gpu_copy_in(r.gpu, r.to + 100, data, sizeof(data)));
	back = r.behind(r.to + 100, sizeof(data));
	CHECK_MEM(back, data, sizeof(data));
	gpu_unpin(r.gpu, data);
	CHECK_OK(gpu_pin(r.gpu, data, sizeof(data), false));
	memset(data, 0, sizeof(data));
	CHECK_OK(gpu_copy_out(r.gpu, data, r.to + 100, sizeof(data)));
	CHECK_MEM(back, data, sizeof(data));
	gpu_unpin(r.gpu, data);
	r.cuda->no_read_only = true;
	CHECK_INT(gpu_pin(r.gpu, data, sizeof(data), true), ==, -ENOTSUP);
	gpu_rig_end(&r);
}

TEST(fake_measured_price)
{
	struct gpu_options o = { .no_cufile = true };
	struct tier_price price, known;
	struct rig r;

	gpu_rig_fakes(&r, false);
	CHECK_INT(tier_gpu.measure(&known), ==, -ENODATA);
	CHECK(tier_find(OC_TIER_VRAM) == &tier_gpu);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	CHECK_OK(gpu_measure(r.gpu, 1 << 20, &price));
	CHECK_INT(price.bytes_per_s, >, 0);
	CHECK_INT(price.latency_ns, >, 0);
	CHECK_INT(r.cuda->copies, ==, 32 + (1 << 20) / 16384);
	CHECK_OK(tier_gpu.measure(&known));
	CHECK_INT(known.bytes_per_s, ==, price.bytes_per_s);
	CHECK_INT(known.latency_ns, ==, price.latency_ns);
	gpu_rig_end(&r);
}

/* An engine's process has the memory, this one reads into it. */
TEST(fake_memory_of_another_process)
{
	struct gpu_options o = { .no_cufile = true };
	struct gpu_job jobs[RIG_PARTS];
	struct cuda_share share;
	int there[2], back[2], status;
	struct rig r;
	pid_t child;
	char done;

	gpu_rig_fakes(&r, false);
	gpu_rig_parts(&r, "/tmp", MOST);
	CHECK_OK(pipe2(there, O_CLOEXEC));
	CHECK_OK(pipe2(back, O_CLOEXEC));
	child = fork(); /* before CUDA is used */
	CHECK_INT(child, >=, 0);
	CHECK_OK(gpu_rig_open(&r, o, NULL));
	if (child == 0) {
		gpu_rig_memory(&r, false);
		CHECK_OK(gpu_share(r.gpu, r.to, &share));
		CHECK_INT(write(there[1], &share, sizeof(share)), ==,
			  sizeof(share));
		CHECK_INT(read(back[0], &done, 1), ==, 1);
		for (uint32_t i = 0; i < RIG_PARTS; i++)
			gpu_rig_check(&r, i);
		gpu_rig_end(&r);
		_exit(0);
	}
	CHECK_INT(read(there[0], &share, sizeof(share)), ==, sizeof(share));
	CHECK_OK(gpu_share_open(r.gpu, &share, &r.to));
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	gpu_share_close(r.gpu, r.to);
	r.to = 0;
	CHECK_INT(write(back[1], "", 1), ==, 1);
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
	gpu_rig_end(&r);
}

/* ---- failures by countdown --------------------------------------------------------------- */

/* One whole use. What cannot be had is an error; what was answered well is
 * right. */
static int use(struct rig *r, enum gpu_path path)
{
	struct gpu_options o = { .compat = path == GPU_COMPAT };
	struct gpu_job jobs[RIG_PARTS];
	int e = gpu_rig_open(r, o, NULL);

	if (e)
		return e;
	e = gpu_memory_create(r->gpu, r->file_bytes, &r->to);
	if (e)
		return e;
	(void)gpu_region_add(r->gpu, r->to, r->file_bytes);
	(void)gpu_file_add(r->gpu, r->fd);
	gpu_rig_jobs(r, path, jobs);
	e = gpu_read(r->gpu, jobs, RIG_PARTS);
	for (uint32_t i = 0; i < RIG_PARTS; i++) {
		CHECK_INT(jobs[i].result, <=, 0);
		if (jobs[i].result == 0)
			gpu_rig_check(r, i);
	}
	return e;
}

static void used(struct rig *r)
{
	int fd = r->fd;

	r->fd = -1;
	gpu_rig_end(r);
	r->fd = fd;
	r->gpu = NULL;
	r->to = 0;
}

/* kind: of the countdown: 0 base/fault.h, 1 CUDA's, 2 cuFile's. */
static void countdown(enum gpu_path path, int kind)
{
	uint64_t n = 1;
	struct rig r;
	int e;

	gpu_rig_fakes(&r, false);
	r.cufile->nvidia_fs = path == GPU_DIRECT;
	gpu_rig_parts(&r, "/tmp", 40000);
	for (; n < 2000; n++) {
		bool untouched;

		if (kind == 0)
			fault_arm(FAULT_ALL, n, false);
		r.cuda->fail_at = kind == 1 ? n : 0;
		r.cufile->fail_at = kind == 2 ? n : 0;
		e = use(&r, path);
		untouched = kind == 0	? !fault_fired()
			    : kind == 1 ? r.cuda->fail_at > 0
					: r.cufile->fail_at > 0;
		fault_arm(FAULT_ALL, 0, false);
		r.cuda->fail_at = r.cufile->fail_at = 0;
		used(&r);
		if (untouched)
			break;
	}
	CHECK_OK(e);
	CHECK_INT(n, >, 3);
	CHECK_INT(n, <, 2000);
	gpu_rig_file_end(&r);
}

TEST(fake_countdown_faults_fallback)
{
	countdown(GPU_FALLBACK, 0);
}

TEST(fake_countdown_faults_direct)
{
	countdown(GPU_DIRECT, 0);
}

TEST(fake_countdown_cuda_fallback)
{
	countdown(GPU_FALLBACK, 1);
}

TEST(fake_countdown_cuda_direct)
{
	countdown(GPU_DIRECT, 1);
}

TEST(fake_countdown_cufile_direct)
{
	countdown(GPU_DIRECT, 2);
}

TEST(fake_countdown_cufile_compat)
{
	countdown(GPU_COMPAT, 2);
}
