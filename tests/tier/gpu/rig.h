/* SPDX-License-Identifier: Apache-2.0 */
/* Parts in a file, device memory, and (for tests of the fake) the fakes. */
#ifndef ONECOPY_TESTS_TIER_GPU_RIG_H
#define ONECOPY_TESTS_TIER_GPU_RIG_H

#include "tests/fakes/fakes.h"
#include "tier/gpu/gpu.h"

#define RIG_PARTS 12u
#define RIG_SEED  0x5eed

struct rig {
	struct fake_cuda *cuda;
	struct fake_cufile *cufile;
	void *(*behind)(uint64_t at, size_t bytes);
	char cuda_path[512], cufile_path[512];
	struct gpu *gpu;
	char path[256]; /* of the file: it stays, cuFile opens it again */
	int fd;		/* past the page cache where the file system has that */
	struct tier_place part[RIG_PARTS];
	uint64_t file_bytes;
	cuda_address to; /* device memory: part i at to + its offset */
};

/* Loads the fakes from beside the test; old: the first version of cuFile. */
void gpu_rig_fakes(struct rig *r, bool old);
/* Writes the parts, of all sizes up to `most`, to an unlinked file in `dir`. */
void gpu_rig_parts(struct rig *r, const char *dir, uint64_t most);
void gpu_rig_file_end(struct rig *r);
/* Opens the fake GPU with pieces of 16 KiB. why may be NULL. */
int gpu_rig_open(struct rig *r, struct gpu_options o, char why[160]);
/* Device memory for all parts, each at its offset in the file, registered when
 * `region`. */
void gpu_rig_memory(struct rig *r, bool region);
/* Jobs for all parts. */
void gpu_rig_jobs(const struct rig *r, enum gpu_path path,
		  struct gpu_job jobs[RIG_PARTS]);
/* The part's bytes on the device are those in the file. */
void gpu_rig_check(const struct rig *r, uint32_t i);
/* They are zeros. */
void gpu_rig_check_wiped(const struct rig *r, uint32_t i);
/* Closes all; the fakes must have nothing left and nothing to complain about. */
void gpu_rig_end(struct rig *r);
void gpu_rig_no_problem(const struct rig *r);

#endif
