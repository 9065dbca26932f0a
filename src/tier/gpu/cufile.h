/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's storage library, libcufile, found at run time: it lets a disk write
 * into device memory (GPUDirect Storage).
 *
 * Its types and rules are declared here as "GDS cuFile API Reference" documents
 * them (docs.nvidia.com/gpudirect-storage/api-reference-guide, 1.7 to 1.16) and
 * as NVIDIA's own Python binding lists the fields (cuda.bindings.cufile, 12.9 to
 * 13.0). Calls that came later than 1.0 may be missing, and are NULL then.
 *
 * What nobody may be deceived about is the *mode*. Where nvidia-fs, the drive's
 * peer-to-peer DMA or the file system is missing, cuFile by default reads into
 * memory of its own in the host and copies ("compatibility mode"), and says
 * nothing. So cufile_open() is told which of the two is wanted, switches the
 * other off before the driver is opened, and looks whether that was heeded;
 * where the library counts its reads by kind, cufile_counts() tells after the
 * fact which they were.
 *
 * One process has one driver session: cufile_open() again after cufile_close().
 * fork() after cufile_load() is forbidden by the vendor. Calls are thread safe
 * by the vendor's word; `said` is not.
 */
#ifndef ONECOPY_TIER_GPU_CUFILE_H
#define ONECOPY_TIER_GPU_CUFILE_H

#include <sys/types.h>
#include <time.h>

#include "base/compiler.h"

/* Offsets in file and device memory and sizes that are multiples of this go by
 * themselves; others are bounced by the library, inside. */
#define CUFILE_ALIGN 4096u

/* CUfileError_t: err 0 or 5001..; 5011 says that cu_err is the driver's. */
struct cufile_status {
	int err, cu_err;
};
_Static_assert(sizeof(struct cufile_status) == 8, "CUfileError_t");

enum {
	CUFILE_SUCCESS = 0,
	CUFILE_DRIVER_NOT_INITIALIZED = 5001,
	CUFILE_PLATFORM_NOT_SUPPORTED = 5007,
	CUFILE_IO_NOT_SUPPORTED = 5008,
	CUFILE_DEVICE_NOT_SUPPORTED = 5009,
	CUFILE_CUDA_DRIVER_ERROR = 5011,
	CUFILE_POINTER_RANGE = 5014,
	CUFILE_INVALID_FILE_TYPE = 5018,
	CUFILE_INVALID_OPEN_FLAG = 5019,
	CUFILE_INVALID_VALUE = 5022,
	CUFILE_MEMORY_ALREADY_REGISTERED = 5023,
	CUFILE_MEMORY_NOT_REGISTERED = 5024,
	CUFILE_PERMISSION_DENIED = 5025,
	CUFILE_DRIVER_ALREADY_OPEN = 5026,
	CUFILE_HANDLE_NOT_REGISTERED = 5027,
	CUFILE_HANDLE_ALREADY_REGISTERED = 5028,
	CUFILE_INTERNAL_ERROR = 5030,
	CUFILE_GETNEWFD_FAILED = 5031,
	CUFILE_IO_DISABLED = 5034,
	CUFILE_BATCH_FULL = 5037,
};

/* CUfileDrvProps_t */
struct cufile_properties {
	unsigned major, minor; /* of nvidia-fs; both 0: it is not there */
	size_t poll_kib, direct_io_kib;
	unsigned status; /* bits of file systems and drives: below */
	unsigned control;
	unsigned features;
	unsigned cache_kib, buffer_kib, pinned_kib;
	unsigned batch_entries, batch_timeout_ms;
};
_Static_assert(offsetof(struct cufile_properties, features) == 32,
	       "CUfileDrvProps_t.fflags");
enum {
	CUFILE_STATUS_NVME = 4, /* bit numbers */
	CUFILE_CONTROL_ALLOW_COMPAT = 1,
	CUFILE_FEATURE_BATCH = 1,
};

/* CUfileDescr_t */
struct cufile_descr {
	int type; /* 1: a descriptor of Linux */
	union {
		int fd;
		void *handle;
	} handle;
	const void *ops;
};
_Static_assert(sizeof(struct cufile_descr) == 24, "CUfileDescr_t");

/* CUfileIOParams_t and CUfileIOEvents_t */
struct cufile_io {
	int mode; /* 1 */
	void *base;
	off_t file_offset, base_offset;
	size_t size;
	void *file;
	int opcode; /* 0: read */
	void *cookie;
};
struct cufile_event {
	void *cookie;
	int status; /* one of the bits below */
	size_t ret; /* bytes, or a negative error */
};
_Static_assert(sizeof(struct cufile_io) == 64, "CUfileIOParams_t");
_Static_assert(sizeof(struct cufile_event) == 24, "CUfileIOEvents_t");
enum {
	CUFILE_WAITING = 0x01,
	CUFILE_PENDING = 0x02,
	CUFILE_INVALID = 0x04,
	CUFILE_CANCELED = 0x08,
	CUFILE_COMPLETE = 0x10,
	CUFILE_TIMEOUT = 0x20,
	CUFILE_FAILED = 0x40,
};

/* CUFileBoolConfigParameter_t, CUFileStringConfigParameter_t */
enum {
	CUFILE_BOOL_ALLOW_COMPAT = 1,
	CUFILE_BOOL_FORCE_COMPAT = 2,
	CUFILE_BOOL_PCI_P2PDMA = 7,
};

/* CUfileStatsLevel3_t, as far as it is read here: fields in front of each. */
#define CUFILE_GPUS 16u
struct cufile_gpu_stats {
	char uuid[16];
	uint64_t read[4]; /* bytes, per second, utilization, duration */
	uint64_t reads, p2p_reads, nvfs_reads, posix_reads;
	uint64_t read_rest[5];
	uint64_t write[11];
	uint64_t registered[5];
};
struct cufile_stats {
	uint64_t basic[2 * 6 + 10 + 2 * 15 + 10 + 2]; /* level 1 */
	uint64_t sizes[2][32];			      /* level 2 */
	uint32_t gpus, zero;
	struct cufile_gpu_stats gpu[CUFILE_GPUS];
};

/* X(member, symbol, parameters, result) */
#define CUFILE_CALLS(X)                                                      \
	X(driver_open, "cuFileDriverOpen", (void), struct cufile_status)     \
	X(driver_properties, "cuFileDriverGetProperties", (void *ret),       \
	  struct cufile_status)                                              \
	X(handle_register, "cuFileHandleRegister",                           \
	  (void **ret, struct cufile_descr *descr), struct cufile_status)    \
	X(handle_deregister, "cuFileHandleDeregister", (void *file), void)   \
	X(buf_register, "cuFileBufRegister",                                 \
	  (const void *base, size_t bytes, int flags), struct cufile_status) \
	X(buf_deregister, "cuFileBufDeregister", (const void *base),         \
	  struct cufile_status)                                              \
	X(read, "cuFileRead",                                                \
	  (void *file, void *base, size_t size, off_t file_offset,           \
	   off_t base_offset),                                               \
	  ssize_t)                                                           \
	X(write, "cuFileWrite",                                              \
	  (void *file, const void *base, size_t size, off_t file_offset,     \
	   off_t base_offset),                                               \
	  ssize_t)
#define CUFILE_LATER_CALLS(X)                                                 \
	X(driver_close, "cuFileDriverClose", (void), struct cufile_status)    \
	X(driver_close_v2, "cuFileDriverClose_v2", (void),                    \
	  struct cufile_status)                                               \
	X(version, "cuFileGetVersion", (int *ret), struct cufile_status)      \
	X(batch_create, "cuFileBatchIOSetUp", (void **ret, unsigned entries), \
	  struct cufile_status)                                               \
	X(batch_submit, "cuFileBatchIOSubmit",                                \
	  (void *batch, unsigned n, struct cufile_io *io, unsigned flags),    \
	  struct cufile_status)                                               \
	X(batch_status, "cuFileBatchIOGetStatus",                             \
	  (void *batch, unsigned least, unsigned *n,                          \
	   struct cufile_event *events, struct timespec *timeout),            \
	  struct cufile_status)                                               \
	X(batch_cancel, "cuFileBatchIOCancel", (void *batch),                 \
	  struct cufile_status)                                               \
	X(batch_destroy, "cuFileBatchIODestroy", (void *batch), void)         \
	X(set_bool, "cuFileSetParameterBool", (int parameter, bool value),    \
	  struct cufile_status)                                               \
	X(get_bool, "cuFileGetParameterBool", (int parameter, bool *ret),     \
	  struct cufile_status)                                               \
	X(stats_level, "cuFileSetStatsLevel", (int level),                    \
	  struct cufile_status)                                               \
	X(stats_start, "cuFileStatsStart", (void), struct cufile_status)      \
	X(stats_stop, "cuFileStatsStop", (void), struct cufile_status)        \
	X(stats_get, "cuFileGetStatsL3", (void *ret), struct cufile_status)

enum cufile_mode {
	CUFILE_CLOSED,
	CUFILE_DIRECT, /* the disk writes into device memory, or it fails */
	CUFILE_COMPAT, /* through the host's memory */
};

struct cufile {
#define CUFILE_MEMBER(name, symbol, parameters, result) \
	result(*name) parameters;
	CUFILE_CALLS(CUFILE_MEMBER)
	CUFILE_LATER_CALLS(CUFILE_MEMBER)
#undef CUFILE_MEMBER
	int number;	/* of the version: 1000 * major + 10 * minor; 0 */
	char path[256]; /* where it was found */
	char said[160]; /* what failed last, in words */
	enum cufile_mode mode;
	bool nvidia_fs; /* the kernel's module is loaded */
	bool counts;	/* reads are counted by kind */
	const char *by; /* how the mode is known; static text */
	struct cufile_properties properties;
};

/* How many reads there were of each kind, all devices. */
struct cufile_counts {
	uint64_t all, p2p, nvfs, posix;
};

/* path NULL: $ONECOPY_CUFILE, the linker's paths, the usual places of the
 * toolkit, and those of Python's packages. -ENOENT, -ELIBBAD; why says it. */
int cufile_load(const char *path, struct cufile *c, char *why, size_t cap);

/* mode: CUFILE_DIRECT or CUFILE_COMPAT. -ENOTSUP: that one is not to be had
 * here, `said` says why; -EBUSY: it is open. */
int cufile_open(struct cufile *c, enum cufile_mode mode);
void cufile_close(struct cufile *c);

/* -ENOSYS: this library does not count. */
int cufile_counts(struct cufile *c, struct cufile_counts *ret_counts);

/* 0 or -errno for an answer of call `what`; keeps the words. */
int cufile_check(struct cufile *c, const char *what, struct cufile_status s);
/* The same for what read() and events answer: -1 with errno, or -5001 ...;
 * bytes otherwise. */
ssize_t cufile_bytes(struct cufile *c, const char *what, ssize_t n);
/* The vendor's words for 5001 ...; static text. */
const char *cufile_error(int err);
#define CUFILE(c, call, ...) cufile_check((c), #call, (c)->call(__VA_ARGS__))

#endif
