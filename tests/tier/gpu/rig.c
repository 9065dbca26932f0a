/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tier/gpu/rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>

#include "base/hash.h"
#include "base/rng.h"
#include "tests/test.h"

static void *rig_load(const char *name, char path[512])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	void *library;

	CHECK_INT(n, >, 0);
	self[n] = '\0';
	slash = strrchr(self, '/');
	CHECK(slash != NULL);
	*slash = '\0';
	CHECK_INT(snprintf(path, 512, "%s/%s", self, name), <, 512);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		FAIL("%s", dlerror());
	return library;
}

static void *rig_symbol(void *library, const char *name)
{
	void *at = dlsym(library, name);

	CHECK(at != NULL);
	return at;
}

void gpu_rig_fakes(struct rig *r, bool old)
{
	struct fake_cuda *(*cuda)(void);
	struct fake_cufile *(*cufile)(void);
	void *library, *at;

	*r = (struct rig){ .fd = -1 };
	library = rig_load("libfake_cuda.so", r->cuda_path);
	at = rig_symbol(library, "fake_cuda_control");
	memcpy(&cuda, &at, sizeof(at));
	at = rig_symbol(library, "fake_cuda_behind");
	memcpy(&r->behind, &at, sizeof(at));
	library = rig_load(old ? "libfake_cufile_old.so" : "libfake_cufile.so",
			   r->cufile_path);
	at = rig_symbol(library, "fake_cufile_control");
	memcpy(&cufile, &at, sizeof(at));
	r->cuda = cuda();
	r->cufile = cufile();
}

static uint64_t part_bytes(uint32_t i, uint64_t most)
{
	static const uint64_t edge[] = { 1, 4095, 4096, 4097, 16384, 16385 };

	return i < ARRAY_LEN(edge) ? MIN(edge[i], most)
				   : most - (i - ARRAY_LEN(edge)) * 1021;
}

static void part_make(struct rig *r, uint32_t i, uint64_t bytes)
{
	uint64_t whole = ALIGN_UP(bytes, PAGE_BYTES);
	struct tier_place *p = &r->part[i];
	struct rng rng = { i + 1 };
	uint8_t *data;

	CHECK_OK(posix_memalign((void **)&data, PAGE_BYTES, whole));
	memset(data, 0xee, whole);
	for (uint64_t at = 0; at < bytes; at++)
		data[at] = (uint8_t)rng_next(&rng);
	*p = (struct tier_place){
		.fd = r->fd,
		.offset = r->file_bytes,
		.bytes = bytes,
		.block.checksum = hash_payload(data, bytes, RIG_SEED + i),
	};
	CHECK_INT(pwrite(r->fd, data, whole, (off_t)p->offset), ==, whole);
	r->file_bytes += whole;
	free(data);
}

void gpu_rig_parts(struct rig *r, const char *dir, uint64_t most)
{
	snprintf(r->path, sizeof(r->path), "%s/onecopy-gpu-XXXXXX", dir);
	r->fd = mkostemp(r->path, O_CLOEXEC);
	CHECK_INT(r->fd, >=, 0);
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		part_make(r, i, part_bytes(i, most));
	CHECK_OK(fdatasync(r->fd));
	/* tmpfs of an old kernel refuses it: the bytes are the same */
	(void)fcntl(r->fd, F_SETFL, O_DIRECT);
}

void gpu_rig_file_end(struct rig *r)
{
	if (r->fd < 0)
		return;
	close(r->fd);
	unlink(r->path);
	r->fd = -1;
}

int gpu_rig_open(struct rig *r, struct gpu_options o, char why[160])
{
	char own[160];

	o.size = sizeof(o);
	o.cuda = o.cuda ? o.cuda : r->cuda_path;
	o.cufile = o.cufile ? o.cufile : r->cufile_path;
	o.piece_bytes = o.piece_bytes ? o.piece_bytes : 16384;
	o.pieces = o.pieces ? o.pieces : 4;
	return gpu_open(&o, &r->gpu, why ? why : own, 160);
}

void gpu_rig_memory(struct rig *r, bool region)
{
	CHECK_OK(gpu_memory_create(r->gpu, r->file_bytes, &r->to));
	if (region)
		CHECK_OK(gpu_region_add(r->gpu, r->to, r->file_bytes));
}

void gpu_rig_jobs(const struct rig *r, enum gpu_path path,
		  struct gpu_job jobs[RIG_PARTS])
{
	for (uint32_t i = 0; i < RIG_PARTS; i++)
		jobs[i] = (struct gpu_job){
			.place = r->part[i],
			.seed = RIG_SEED + i,
			.to = r->to + r->part[i].offset,
			.room = ALIGN_UP(r->part[i].bytes, PAGE_BYTES),
			.path = path,
		};
}

void gpu_rig_check(const struct rig *r, uint32_t i)
{
	const struct tier_place *p = &r->part[i];
	uint64_t whole = ALIGN_UP(p->bytes, PAGE_BYTES);
	uint8_t *want;

	CHECK_OK(posix_memalign((void **)&want, PAGE_BYTES, whole));
	CHECK_INT(pread(r->fd, want, whole, (off_t)p->offset), ==, whole);
	CHECK_MEM(r->behind(r->to + p->offset, p->bytes), want, p->bytes);
	free(want);
}

void gpu_rig_check_wiped(const struct rig *r, uint32_t i)
{
	const struct tier_place *p = &r->part[i];
	const uint8_t *at = r->behind(r->to + p->offset, p->bytes);

	CHECK(at != NULL);
	for (uint64_t k = 0; k < p->bytes; k++)
		CHECK_INT(at[k], ==, 0);
}

void gpu_rig_no_problem(const struct rig *r)
{
	if (r->cuda->problem.n)
		FAIL("%s", r->cuda->problem.first);
	if (r->cufile->problem.n)
		FAIL("%s", r->cufile->problem.first);
}

void gpu_rig_end(struct rig *r)
{
	if (r->gpu)
		gpu_memory_destroy(r->gpu, r->to);
	gpu_close(r->gpu);
	gpu_rig_file_end(r);
	gpu_rig_no_problem(r);
	CHECK_INT(r->cuda->memory, ==, 0);
	CHECK_INT(r->cuda->host, ==, 0);
	CHECK_INT(r->cuda->registered, ==, 0);
	CHECK_INT(r->cuda->streams, ==, 0);
	CHECK_INT(r->cuda->events, ==, 0);
	CHECK_INT(r->cuda->retained, ==, 0);
	CHECK_INT(r->cuda->shares, ==, 0);
	CHECK_INT(r->cufile->files, ==, 0);
	CHECK_INT(r->cufile->buffers, ==, 0);
	CHECK(!r->cufile->open);
}
