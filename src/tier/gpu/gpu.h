/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a disk into device memory that an engine names.
 *
 * A tier that keeps blocks on a disk says where a part lies (tier_ops.hold()); a
 * job moves it from there to an address of a GPU by one of three paths:
 *
 *	direct    the disk writes into device memory (cuFile, with nvidia-fs or
 *	          the kernel's peer-to-peer DMA): one move. The bytes are then
 *	          copied back piece by piece and hashed, which costs a second trip
 *	          over the bus, because a block is verified before it is seen
 *	fallback  the disk writes into pinned memory of the host, which is hashed
 *	          there while it is in the cache, and the copy engine takes it on:
 *	          two moves, pieces of both under way at once
 *	compat    cuFile doing the same inside, through memory of its own. It is
 *	          slower than fallback and verifies nothing on the way, so it is
 *	          taken only when it is asked for
 *
 * GPU_BEST takes direct where it is to be had, else fallback; each job says which
 * it took and why it was not direct. Nothing is called direct that was not: the
 * library is opened with its own bouncing switched off, and where it counts its
 * reads by kind, the counts are compared after each call.
 *
 *	gpu_open -> (file_add, region_add) -> read ... -> gpu_close
 *
 * Bytes that cuFile brought and that do not verify are read again by the fallback
 * (GPU_BEST): when those are right, it was the library, which is not used again.
 *
 * A job with result 0 holds bytes that were verified. With any other result the
 * memory at `to` holds zeros or undefined bytes, never a block. Exception: after
 * -ETIMEDOUT the device may still write there until gpu_close() has returned.
 *
 * One thread uses a struct gpu at a time, and calls wait for the device; the
 * store's thread does not call this. The caller's CUDA context is left as it was.
 * A process has one struct gpu at a time where cuFile is used. Dying costs
 * nothing: the driver takes back device memory, and nothing on disk is written.
 */
#ifndef ONECOPY_TIER_GPU_GPU_H
#define ONECOPY_TIER_GPU_GPU_H

#include "tier/gpu/cuda.h"
#include "tier/gpu/io.h"
#include "tier/tier.h"

enum gpu_path {
	GPU_BEST,
	GPU_DIRECT,
	GPU_FALLBACK,
	GPU_COMPAT,
	GPU_PATHS,
};
const char *gpu_path_name(enum gpu_path path); /* static text */

struct gpu_options {
	size_t size; /* of this struct */
	int device;
	const char *cuda, *cufile; /* libraries; NULL: looked for */
	bool compat; /* cuFile is opened to bounce: GPU_COMPAT is to
				      be had, GPU_DIRECT is not */
	bool no_cufile;
	enum gpu_io_kind io;
	uint64_t piece_bytes; /* multiple of 4096; 0: 1 MiB */
	uint32_t pieces;      /* of pinned memory, 2 .. 64; 0: 16 */
	uint64_t patience_ns; /* with one read; 0: 30 s */
};

struct gpu_about {
	char name[96], pci[24];
	uint64_t memory;
	int cuda_version;    /* 1000 * major + 10 * minor */
	const char *io;	     /* of the fallback: "io_uring", "threads" */
	bool cufile, direct; /* a library is there; it goes direct */
	bool nvidia_fs;	     /* the kernel's module */
	bool counts;	     /* which way reads went is counted */
	int cufile_version;  /* as above; 0: unknown */
	char cufile_path[256];
	char cufile_by[64]; /* how its mode is known */
	char why[160];	    /* it does not go direct; "" */
};

struct gpu_job {
	/* the caller's */
	struct tier_place place; /* fd, offset, bytes, block.checksum */
	uint64_t seed;		 /* of the checksum: hash_part_seed() */
	cuda_address to;
	uint64_t room; /* bytes at `to`; direct wants whole 4096 */
	enum gpu_path path;
	/* answered. 0; -EBADMSG the bytes are not those that were written; -EIO;
	 * -ENOTSUP the path that was asked for is not to be had; -E2BIG; -EINVAL;
	 * -ETIMEDOUT; other errors of the device */
	int result;
	enum gpu_path took;
	const char *why; /* not direct; static text, or of the struct gpu */
	uint64_t private_;
};

#define GPU_STATS(X)                                                       \
	X(jobs, "jobs done well")                                          \
	X(direct_bytes, "payload bytes that the disk put into the device") \
	X(fallback_bytes, "payload bytes by way of pinned memory")         \
	X(compat_bytes, "payload bytes that cuFile bounced")               \
	X(bad, "jobs whose bytes were wrong")                              \
	X(errors, "jobs that failed otherwise")                            \
	X(disk_ns, "waiting for the disk")                                 \
	X(hash_ns, "hashing")                                              \
	X(copy_ns, "waiting for the copy engine")                          \
	X(back_bytes, "bytes copied back to be verified")
struct gpu_stat {
#define X(name, text) uint64_t name;
	GPU_STATS(X)
#undef X
};

struct gpu;

/* -ENODEV, -ENOENT: no device, no driver; why, of cap bytes, in words. That there
 * is no cuFile is no error. */
int gpu_open(const struct gpu_options *options, struct gpu **ret_gpu, char *why,
	     size_t cap);
/* Takes NULL. Waits for what the disk has in hand. */
void gpu_close(struct gpu *g);
void gpu_about(const struct gpu *g, struct gpu_about *ret_about);
/* What failed last, in the driver's words. */
const char *gpu_said(const struct gpu *g);

/* Runs all jobs; each has its result. 0, or the first result that is not. */
int gpu_read(struct gpu *g, struct gpu_job *jobs, uint32_t n);
void gpu_stat(const struct gpu *g, struct gpu_stat *ret_stat);

/* A descriptor that many jobs name is registered once; it stays open until it is
 * dropped, and its file keeps its path (cuFile opens some a second time). Others are
 * registered for each call. -ENOSPC; 0 without cuFile too. */
int gpu_file_add(struct gpu *g, int fd);
void gpu_file_drop(struct gpu *g, int fd);
/* Device memory that jobs name: cuFile is used for jobs into registered memory
 * alone. base and bytes: multiples of 4096. */
int gpu_region_add(struct gpu *g, cuda_address base, uint64_t bytes);
void gpu_region_drop(struct gpu *g, cuda_address base);

/* Device memory of this process, and of another one that shares it. */
int gpu_memory_create(struct gpu *g, uint64_t bytes, cuda_address *ret_at);
void gpu_memory_destroy(struct gpu *g, cuda_address at);
int gpu_share(struct gpu *g, cuda_address at, struct cuda_share *ret_share);
int gpu_share_open(struct gpu *g, const struct cuda_share *share,
		   cuda_address *ret_at);
void gpu_share_close(struct gpu *g, cuda_address at);

/* Host memory (a slab): pinned, so that the copy engine takes it by itself.
 * read_only: it is mapped without write. -ENOTSUP: not on this device. */
int gpu_pin(struct gpu *g, void *base, uint64_t bytes, bool read_only);
void gpu_unpin(struct gpu *g, void *base);
/* Copies and waits. */
int gpu_copy_in(struct gpu *g, cuda_address to, const void *from,
		uint64_t bytes);
int gpu_copy_out(struct gpu *g, void *to, cuda_address from, uint64_t bytes);

/* Host to device, from pinned memory, in pieces as the fallback copies them:
 * `bytes` of them for the rate (0: some milliseconds' worth). The price is what
 * tier_gpu.measure() answers from then on. */
int gpu_measure(struct gpu *g, uint64_t bytes, struct tier_price *ret_price);

/* Its measure() gives what gpu_measure() found last in this process; -ENODATA
 * before that: opening a device takes longer than measure() may. */
extern const struct tier_ops tier_gpu;

#endif
