/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tier/gpu on a real GPU, with the vendor's own libraries; skipped where there is
 * none. Parts are read from a file in $ONECOPY_GPU_DIR (/var/tmp) by each path
 * that is to be had, and compared after they were copied back.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "tests/test.h"
#include "tests/tier/gpu/rig.h"

#define MOST (8u << 20)

static const char *real_dir(void)
{
	const char *dir = getenv("ONECOPY_GPU_DIR");

	return dir && dir[0] ? dir : "/var/tmp";
}

static void real_open(struct rig *r, bool compat)
{
	struct gpu_options o = { .size = sizeof(o), .compat = compat };
	char why[160];
	int e;

	*r = (struct rig){ .fd = -1 };
	e = gpu_open(&o, &r->gpu, why, sizeof(why));
	if (e == -ENOENT || e == -ENODEV)
		SKIP("no GPU here: %s", why);
	if (e)
		FAIL("gpu_open: %s", why);
	gpu_rig_parts(r, real_dir(), MOST);
	gpu_rig_memory(r, false);
}

static void real_end(struct rig *r)
{
	gpu_region_drop(r->gpu, r->to);
	gpu_memory_destroy(r->gpu, r->to);
	gpu_close(r->gpu);
	gpu_rig_file_end(r);
}

static void real_file(struct rig *r)
{
	char said[160];
	int e = gpu_file_add(r->gpu, r->fd);

	if (e == 0)
		return;
	snprintf(said, sizeof(said), "%s", gpu_said(r->gpu));
	real_end(r);
	SKIP("cuFile does not take a file of %s: %s", real_dir(), said);
}

/* Bytes that did not verify are nowhere to be seen. */
static void real_wiped(struct rig *r, const struct gpu_job *job, uint8_t *back,
		       uint64_t bytes)
{
	CHECK_OK(gpu_copy_out(r->gpu, back, job->to, bytes));
	for (uint64_t i = 0; i < bytes; i++)
		CHECK(!back[i]);
}

/* All parts, from the device and from the file. cuFile's own way through the host
 * is known to give wrong bytes now and then (docs/design/gpu.md): found by their
 * checksum, and wiped. */
static void real_compare(struct rig *r, const struct gpu_job *jobs,
			 uint8_t *back, uint8_t *want)
{
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < RIG_PARTS; i++) {
		const struct tier_place *p = &r->part[i];
		uint64_t whole = ALIGN_UP(p->bytes, PAGE_BYTES);

		if (jobs[i].result == -EBADMSG && jobs[i].took == GPU_COMPAT) {
			real_wiped(r, &jobs[i], back, p->bytes);
			wrong++;
			continue;
		}
		if (jobs[i].result)
			FAIL("part %u, %s: %s (%s)", i,
			     gpu_path_name(jobs[i].took),
			     strerror(-jobs[i].result), gpu_said(r->gpu));
		CHECK_OK(gpu_copy_out(r->gpu, back, jobs[i].to, p->bytes));
		CHECK_INT(pread(r->fd, want, whole, (off_t)p->offset), ==,
			  whole);
		CHECK_MEM(back, want, p->bytes);
	}
	if (wrong)
		NOTE("%u of %u parts did not verify, and were wiped", wrong,
		     RIG_PARTS);
}

static void real_run(struct rig *r, enum gpu_path path)
{
	struct gpu_job jobs[RIG_PARTS];
	uint8_t *back, *want;

	CHECK_OK(posix_memalign((void **)&back, PAGE_BYTES, MOST));
	CHECK_OK(posix_memalign((void **)&want, PAGE_BYTES, MOST));
	CHECK_OK(gpu_pin(r->gpu, back, MOST, false));
	gpu_rig_jobs(r, path, jobs);
	(void)gpu_read(r->gpu, jobs, RIG_PARTS);
	real_compare(r, jobs, back, want);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		CHECK_STR(gpu_path_name(jobs[i].took), gpu_path_name(path));
	gpu_unpin(r->gpu, back);
	free(back);
	free(want);
}

TEST(real_fallback)
{
	struct gpu_about about;
	struct rig r;

	real_open(&r, false);
	real_run(&r, GPU_FALLBACK);
	gpu_about(r.gpu, &about);
	NOTE("%s, CUDA %d, by %s", about.name, about.cuda_version, about.io);
	real_end(&r);
}

TEST(real_direct)
{
	struct gpu_about about;
	struct rig r;

	real_open(&r, false);
	gpu_about(r.gpu, &about);
	if (!about.direct)
		gpu_rig_file_end(&r);
	if (!about.direct)
		SKIP("cuFile does not go direct here: %s", about.why);
	real_file(&r);
	CHECK_OK(gpu_region_add(r.gpu, r.to, r.file_bytes));
	real_run(&r, GPU_DIRECT);
	gpu_about(r.gpu, &about);
	NOTE("cuFile %d, nvidia-fs %s, %s; counted: %s", about.cufile_version,
	     about.nvidia_fs ? "yes" : "no", about.cufile_by,
	     about.counts ? "yes" : "no");
	real_end(&r);
}

TEST(real_compat)
{
	struct gpu_about about;
	struct rig r;

	real_open(&r, true);
	gpu_about(r.gpu, &about);
	if (!about.cufile || !strstr(about.why, "opened to go through"))
		gpu_rig_file_end(&r);
	if (!about.cufile)
		SKIP("no cuFile here: %s", about.why);
	if (strstr(about.why, "opened to go through the host") == NULL)
		SKIP("cuFile cannot be opened that way: %s", about.why);
	real_file(&r);
	CHECK_OK(gpu_region_add(r.gpu, r.to, r.file_bytes));
	for (int i = 0; i < 8; i++)
		real_run(&r, GPU_COMPAT);
	NOTE("cuFile %d, %s; counted: %s", about.cufile_version,
	     about.cufile_by, about.counts ? "yes" : "no");
	real_end(&r);
}

TEST(real_wrong_bytes_are_wiped)
{
	uint8_t *page, *back;
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;

	real_open(&r, false);
	CHECK_OK(posix_memalign((void **)&page, PAGE_BYTES, PAGE_BYTES));
	CHECK_OK(posix_memalign((void **)&back, PAGE_BYTES, MOST));
	CHECK_OK(gpu_pin(r.gpu, back, MOST, false));
	CHECK_INT(pread(r.fd, page, PAGE_BYTES, (off_t)r.part[8].offset), ==,
		  PAGE_BYTES);
	page[77] ^= 1;
	CHECK_INT(pwrite(r.fd, page, PAGE_BYTES, (off_t)r.part[8].offset), ==,
		  PAGE_BYTES);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_INT(gpu_read(r.gpu, jobs, RIG_PARTS), ==, -EBADMSG);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		CHECK_INT(jobs[i].result, ==, i == 8 ? -EBADMSG : 0);
	CHECK_OK(gpu_copy_out(r.gpu, back, jobs[8].to, r.part[8].bytes));
	for (uint64_t i = 0; i < r.part[8].bytes; i++)
		CHECK_INT(back[i], ==, 0);
	gpu_unpin(r.gpu, back);
	free(page);
	free(back);
	real_end(&r);
}

/* The memory is another process's, as an engine's is. */
static void owner(int to, int from)
{
	struct cuda_share share;
	uint8_t *back, *want;
	struct gpu_job jobs[RIG_PARTS];
	struct rig r;
	char go;

	real_open(&r, false);
	CHECK_OK(posix_memalign((void **)&back, PAGE_BYTES, MOST));
	CHECK_OK(posix_memalign((void **)&want, PAGE_BYTES, MOST));
	CHECK_OK(gpu_pin(r.gpu, back, MOST, false));
	CHECK_OK(gpu_share(r.gpu, r.to, &share));
	CHECK_INT(write(to, &share, sizeof(share)), ==, sizeof(share));
	CHECK_INT(read(from, &go, 1), ==, 1);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		jobs[i].result = 0;
	real_compare(&r, jobs, back, want);
	gpu_rig_file_end(&r);
	_exit(0);
}

TEST(real_memory_of_another_process)
{
	struct gpu_job jobs[RIG_PARTS];
	struct cuda_share share;
	int there[2], back[2], status, e;
	cuda_address own;
	struct rig r;
	pid_t child;

	CHECK_OK(pipe2(there, O_CLOEXEC));
	CHECK_OK(pipe2(back, O_CLOEXEC));
	child = fork();
	CHECK_INT(child, >=, 0);
	if (child == 0)
		owner(there[1], back[0]);
	close(there[1]);
	real_open(&r, false);
	own = r.to;
	/* its parts are made in the same way, so ours hold the same bytes */
	CHECK_INT(read(there[0], &share, sizeof(share)), ==, sizeof(share));
	e = gpu_share_open(r.gpu, &share, &r.to);
	if (e == -ENOTSUP)
		SKIP("no sharing between processes here: %s", gpu_said(r.gpu));
	CHECK_OK(e);
	gpu_rig_jobs(&r, GPU_BEST, jobs);
	CHECK_OK(gpu_read(r.gpu, jobs, RIG_PARTS));
	gpu_share_close(r.gpu, r.to);
	CHECK_INT(write(back[1], "", 1), ==, 1);
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
	r.to = own;
	real_end(&r);
}
