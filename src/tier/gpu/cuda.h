/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's driver library, libcuda.so.1, found at run time.
 *
 * Nothing of NVIDIA's is needed to build: types and calls are declared here as
 * the CUDA Driver API documents them (docs.nvidia.com/cuda/cuda-driver-api, CUDA
 * 11 to 13; the names with _v2 are those that its header gives to programs).
 *
 * cuda_open() binds all calls or none. A library that has been opened stays
 * loaded until the process ends: the driver has threads of its own. What it
 * gives is thread safe but for `said`, which is the last failure's text.
 *
 * A fork after cuInit() leaves the child without CUDA: what forks opens later.
 */
#ifndef ONECOPY_TIER_GPU_CUDA_H
#define ONECOPY_TIER_GPU_CUDA_H

#include "base/compiler.h"

typedef int cuda_result;       /* CUresult */
typedef int cuda_device;       /* CUdevice */
typedef uint64_t cuda_address; /* CUdeviceptr: never dereferenced here */
typedef struct cuda_context_ *cuda_context;
typedef struct cuda_stream_ *cuda_stream;
typedef struct cuda_event_ *cuda_event;

/* CUipcMemHandle: memory of one process, for another. */
struct cuda_share {
	uint8_t reserved[64];
};
_Static_assert(sizeof(struct cuda_share) == 64, "CU_IPC_HANDLE_SIZE");

/* Those that are told apart; all others are errors of the device. */
enum {
	CUDA_SUCCESS = 0,
	CUDA_INVALID_VALUE = 1,
	CUDA_OUT_OF_MEMORY = 2,
	CUDA_NOT_INITIALIZED = 3,
	CUDA_NO_DEVICE = 100,
	CUDA_INVALID_DEVICE = 101,
	CUDA_INVALID_CONTEXT = 201,
	CUDA_INVALID_HANDLE = 400,
	CUDA_NOT_READY = 600,
	CUDA_ALREADY_REGISTERED = 712,
	CUDA_NOT_REGISTERED = 713,
	CUDA_NOT_SUPPORTED = 801,
};

enum {
	CUDA_STREAM_NON_BLOCKING = 1,
	CUDA_EVENT_DISABLE_TIMING = 2,
	CUDA_HOST_PORTABLE = 1,
	CUDA_HOST_READ_ONLY = 8, /* of mem_host_register */
	CUDA_SHARE_LAZY = 1,	 /* of ipc_open: the only flag there is */
	CUDA_POINTER_MEMORY_TYPE = 2,
	CUDA_MEMORY_DEVICE = 2,
	CUDA_CAN_READ_ONLY_REGISTER = 113, /* attributes of a device */
};

/* X(member, symbol, parameters) */
#define CUDA_CALLS(X)                                                         \
	X(init, "cuInit", (unsigned flags))                                   \
	X(driver_version, "cuDriverGetVersion", (int *ret))                   \
	X(error_name, "cuGetErrorName", (cuda_result code, const char **ret)) \
	X(device_count, "cuDeviceGetCount", (int *ret))                       \
	X(device_get, "cuDeviceGet", (cuda_device * ret, int number))         \
	X(device_name, "cuDeviceGetName",                                     \
	  (char *ret, int cap, cuda_device device))                           \
	X(device_memory, "cuDeviceTotalMem_v2",                               \
	  (size_t * ret, cuda_device device))                                 \
	X(device_attribute, "cuDeviceGetAttribute",                           \
	  (int *ret, int attribute, cuda_device device))                      \
	X(device_pci, "cuDeviceGetPCIBusId",                                  \
	  (char *ret, int cap, cuda_device device))                           \
	X(context_retain, "cuDevicePrimaryCtxRetain",                         \
	  (cuda_context * ret, cuda_device device))                           \
	X(context_release, "cuDevicePrimaryCtxRelease_v2",                    \
	  (cuda_device device))                                               \
	X(context_push, "cuCtxPushCurrent_v2", (cuda_context context))        \
	X(context_pop, "cuCtxPopCurrent_v2", (cuda_context * ret))            \
	X(context_wait, "cuCtxSynchronize", (void))                           \
	X(mem_alloc, "cuMemAlloc_v2", (cuda_address * ret, size_t bytes))     \
	X(mem_free, "cuMemFree_v2", (cuda_address at))                        \
	X(mem_range, "cuMemGetAddressRange_v2",                               \
	  (cuda_address * ret_base, size_t * ret_bytes, cuda_address at))     \
	X(mem_host_alloc, "cuMemHostAlloc",                                   \
	  (void **ret, size_t bytes, unsigned flags))                         \
	X(mem_host_free, "cuMemFreeHost", (void *at))                         \
	X(mem_host_register, "cuMemHostRegister_v2",                          \
	  (void *at, size_t bytes, unsigned flags))                           \
	X(mem_host_unregister, "cuMemHostUnregister", (void *at))             \
	X(copy_in, "cuMemcpyHtoDAsync_v2",                                    \
	  (cuda_address to, const void *from, size_t bytes,                   \
	   cuda_stream stream))                                               \
	X(copy_out, "cuMemcpyDtoHAsync_v2",                                   \
	  (void *to, cuda_address from, size_t bytes, cuda_stream stream))    \
	X(fill, "cuMemsetD8Async",                                            \
	  (cuda_address at, unsigned char byte, size_t bytes,                 \
	   cuda_stream stream))                                               \
	X(stream_create, "cuStreamCreate",                                    \
	  (cuda_stream * ret, unsigned flags))                                \
	X(stream_destroy, "cuStreamDestroy_v2", (cuda_stream stream))         \
	X(stream_wait, "cuStreamSynchronize", (cuda_stream stream))           \
	X(event_create, "cuEventCreate", (cuda_event * ret, unsigned flags))  \
	X(event_destroy, "cuEventDestroy_v2", (cuda_event event))             \
	X(event_record, "cuEventRecord",                                      \
	  (cuda_event event, cuda_stream stream))                             \
	X(event_query, "cuEventQuery", (cuda_event event))                    \
	X(event_wait, "cuEventSynchronize", (cuda_event event))               \
	X(pointer, "cuPointerGetAttribute",                                   \
	  (void *ret, int attribute, cuda_address at))                        \
	X(ipc_export, "cuIpcGetMemHandle",                                    \
	  (struct cuda_share * ret, cuda_address at))                         \
	X(ipc_open, "cuIpcOpenMemHandle_v2",                                  \
	  (cuda_address * ret, struct cuda_share share, unsigned flags))      \
	X(ipc_close, "cuIpcCloseMemHandle", (cuda_address at))

struct cuda {
#define CUDA_MEMBER(name, symbol, parameters) cuda_result(*name) parameters;
	CUDA_CALLS(CUDA_MEMBER)
#undef CUDA_MEMBER
	int version;	/* of the driver: 1000 * major + 10 * minor */
	char said[160]; /* what failed last, and the driver's name for it */
};

/* path: of the library; NULL: $ONECOPY_CUDA, else libcuda.so.1. Loads it and
 * cuInit(). -ENOENT: there is none; -ELIBBAD: a call is missing; -ENODEV: no
 * device; why, of cap bytes, says it in words. */
int cuda_open(const char *path, struct cuda *c, char *why, size_t cap);

/* 0 or -errno for the answer of call `what`; remembers the failure's text.
 * CUDA_NOT_READY is -EAGAIN. */
int cuda_check(struct cuda *c, const char *what, cuda_result result);
#define CUDA(c, call, ...) cuda_check((c), #call, (c)->call(__VA_ARGS__))

#endif
