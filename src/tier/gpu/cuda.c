/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/gpu/cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"

#define CUDA_SYMBOL(name, symbol, parameters) \
	{ symbol, offsetof(struct cuda, name) },

static const struct {
	const char *symbol;
	size_t at;
} cuda_symbols[] = { CUDA_CALLS(CUDA_SYMBOL) };

static int cuda_bind(void *library, struct cuda *c, char *why, size_t cap)
{
	for (size_t i = 0; i < ARRAY_LEN(cuda_symbols); i++) {
		void *call = dlsym(library, cuda_symbols[i].symbol);

		if (!call) {
			snprintf(why, cap, "the driver's library has no %s",
				 cuda_symbols[i].symbol);
			return -ELIBBAD;
		}
		memcpy((char *)c + cuda_symbols[i].at, &call, sizeof(call));
	}
	return 0;
}

int cuda_open(const char *path, struct cuda *c, char *why, size_t cap)
{
	const char *set = getenv("ONECOPY_CUDA");
	struct cuda fresh = { 0 };
	void *library;
	int r;

	if (!path)
		path = set && set[0] ? set : "libcuda.so.1";
	library = fault_point(FAULT_IO) ? NULL
					: dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(why, cap, "%s is not found", path);
		return -ENOENT;
	}
	r = cuda_bind(library, &fresh, why, cap);
	if (r) {
		dlclose(library); /* nothing of it ran */
		return r;
	}
	r = CUDA(&fresh, init, 0);
	if (r == 0)
		r = CUDA(&fresh, driver_version, &fresh.version);
	if (r) {
		snprintf(why, cap, "%s", fresh.said);
		return -ENODEV;
	}
	*c = fresh;
	return 0;
}

static int cuda_errno(cuda_result result)
{
	switch (result) {
	case CUDA_SUCCESS:
		return 0;
	case CUDA_INVALID_VALUE:
	case CUDA_INVALID_CONTEXT:
	case CUDA_INVALID_HANDLE:
		return -EINVAL;
	case CUDA_OUT_OF_MEMORY:
		return -ENOMEM;
	case CUDA_NOT_INITIALIZED:
	case CUDA_NO_DEVICE:
	case CUDA_INVALID_DEVICE:
		return -ENODEV;
	case CUDA_NOT_READY:
		return -EAGAIN;
	case CUDA_ALREADY_REGISTERED:
		return -EEXIST;
	case CUDA_NOT_REGISTERED:
		return -ENOENT;
	case CUDA_NOT_SUPPORTED:
		return -ENOTSUP;
	default:
		return -EIO;
	}
}

int cuda_check(struct cuda *c, const char *what, cuda_result result)
{
	const char *name = NULL;

	if (result == CUDA_SUCCESS)
		return 0;
	if (result != CUDA_NOT_READY) {
		if (c->error_name(result, &name) || !name)
			name = "an error without a name";
		snprintf(c->said, sizeof(c->said), "%s: %s (%d)", what, name,
			 result);
	}
	return cuda_errno(result);
}
