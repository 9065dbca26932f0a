/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/gpu/cufile.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "tier/gpu/cufile_find.h"

/* Structures that the library fills may have grown since: room for that. */
#define CUFILE_GROWN 65536u

#define CUFILE_SYMBOL(name, symbol, parameters, result) \
	{ symbol, offsetof(struct cufile, name), true },
#define CUFILE_LATER_SYMBOL(name, symbol, parameters, result) \
	{ symbol, offsetof(struct cufile, name), false },

static const struct {
	const char *symbol;
	size_t at;
	bool needed;
} cufile_symbols[] = { CUFILE_CALLS(CUFILE_SYMBOL)
			       CUFILE_LATER_CALLS(CUFILE_LATER_SYMBOL) };

/* ---- errors ------------------------------------------------------------------ */

static const struct {
	int err, errno_;
	const char *words;
} cufile_errors[] = {
	{ 5001, ENOTSUP, "the nvidia-fs driver is not loaded" },
	{ 5002, EINVAL, "invalid property" },
	{ 5003, ERANGE, "property out of range" },
	{ 5004, ENOTSUP, "nvidia-fs is of another version" },
	{ 5005, ENOTSUP, "the version of nvidia-fs cannot be read" },
	{ 5006, EBUSY, "the driver is closing" },
	{ 5007, ENOTSUP, "not supported on this platform" },
	{ 5008, ENOTSUP, "not supported on this file" },
	{ 5009, ENOTSUP, "not supported on this device" },
	{ 5010, EIO, "an ioctl of nvidia-fs failed" },
	{ 5011, EIO, "an error of the CUDA driver" },
	{ 5012, EFAULT, "invalid device pointer" },
	{ 5013, EINVAL, "invalid type of memory" },
	{ 5014, ERANGE, "the range exceeds the allocation" },
	{ 5015, EINVAL, "another CUDA context" },
	{ 5016, ENOMEM, "beyond the largest pinned size" },
	{ 5017, ERANGE, "beyond the mapped size" },
	{ 5018, ENOTSUP, "unsupported type of file" },
	{ 5019, ENOTSUP, "unsupported flags of the open file" },
	{ 5020, ENOTSUP, "the file was not opened with O_DIRECT" },
	{ 5022, EINVAL, "invalid argument" },
	{ 5023, EEXIST, "the memory is registered already" },
	{ 5024, ENOENT, "the memory is not registered" },
	{ 5025, EACCES, "no access to the driver or the file" },
	{ 5026, EBUSY, "the driver is open already" },
	{ 5027, EBADF, "the file is not registered" },
	{ 5028, EEXIST, "the file is registered already" },
	{ 5029, ENODEV, "no such device" },
	{ 5030, EIO, "an internal error" },
	{ 5031, EMFILE, "no new file descriptor" },
	{ 5033, ENOTSUP, "nvidia-fs does not start" },
	{ 5034, ENOTSUP, "switched off by the configuration for this file" },
	{ 5035, EIO, "the batch was not taken" },
	{ 5036, ENOMEM, "no device memory could be pinned" },
	{ 5037, EAGAIN, "the batch is full" },
	{ 5038, ENOTSUP, "streams are not supported" },
	{ 5043, ENOMEM, "no memory" },
	{ 5044, EIO, "an I/O error" },
	{ 5049, ENOTSUP, "compatibility mode is off" },
};

const char *cufile_error(int err)
{
	for (size_t i = 0; i < ARRAY_LEN(cufile_errors); i++)
		if (cufile_errors[i].err == err)
			return cufile_errors[i].words;
	return "an error without a name";
}

static int cufile_errno(int err)
{
	for (size_t i = 0; i < ARRAY_LEN(cufile_errors); i++)
		if (cufile_errors[i].err == err)
			return -cufile_errors[i].errno_;
	return -EIO;
}

int cufile_check(struct cufile *c, const char *what, struct cufile_status s)
{
	if (s.err == CUFILE_SUCCESS)
		return 0;
	if (s.err == CUFILE_CUDA_DRIVER_ERROR)
		snprintf(c->said, sizeof(c->said), "%s: CUDA's error %d", what,
			 s.cu_err);
	else
		snprintf(c->said, sizeof(c->said), "%s: %s (%d)", what,
			 cufile_error(s.err), s.err);
	return cufile_errno(s.err);
}

ssize_t cufile_bytes(struct cufile *c, const char *what, ssize_t n)
{
	int e = errno;

	if (n >= 0)
		return n;
	if (n == -1) {
		snprintf(c->said, sizeof(c->said), "%s: %s", what, strerror(e));
		return e > 0 ? -e : -EIO;
	}
	return cufile_check(c, what, (struct cufile_status){ .err = (int)-n });
}

/* ---- loading ----------------------------------------------------------------- */

static int cufile_bind(void *library, struct cufile *c, char *why, size_t cap)
{
	for (size_t i = 0; i < ARRAY_LEN(cufile_symbols); i++) {
		void *call = dlsym(library, cufile_symbols[i].symbol);

		if (!call && cufile_symbols[i].needed) {
			snprintf(why, cap, "%s has no %s", c->path,
				 cufile_symbols[i].symbol);
			return -ELIBBAD;
		}
		if (call)
			memcpy((char *)c + cufile_symbols[i].at, &call,
			       sizeof(call));
	}
	return 0;
}

/* Some builds of the library forget that they need librt; all of them write a
 * log into the current folder unless told where. */
static void cufile_prepare(void)
{
	(void)dlopen("librt.so.1", RTLD_NOW | RTLD_GLOBAL);
	(void)setenv("CUFILE_LOGFILE_PATH", "/dev/null", 0);
}

int cufile_load(const char *path, struct cufile *c, char *why, size_t cap)
{
	const char *set = getenv("ONECOPY_CUFILE");
	struct cufile fresh = { .by = "" };
	void *library;
	int r;

	cufile_prepare();
	if (!path && set && set[0])
		path = set;
	if (!path) {
		library = cufile_find(fresh.path, sizeof(fresh.path));
	} else {
		text_copy(fresh.path, sizeof(fresh.path), path);
		library = fault_point(FAULT_IO)
				  ? NULL
				  : dlopen(path, RTLD_NOW | RTLD_LOCAL);
	}
	if (!library) {
		const char *text = path ? dlerror() : NULL;

		snprintf(why, cap, "%s",
			 text ? text : "libcufile is not found");
		return -ENOENT;
	}
	r = cufile_bind(library, &fresh, why, cap);
	if (r) {
		dlclose(library);
		return r;
	}
	if (fresh.version)
		(void)CUFILE(&fresh, version, &fresh.number);
	*c = fresh;
	return 0;
}

/* ---- the driver's session ------------------------------------------------------ */

static void cufile_shut(struct cufile *c)
{
	if (c->driver_close_v2)
		(void)CUFILE(c, driver_close_v2);
	else if (c->driver_close)
		(void)CUFILE(c, driver_close);
}

static int cufile_refuse(struct cufile *c, const char *why)
{
	cufile_shut(c);
	text_copy(c->said, sizeof(c->said), why);
	return -ENOTSUP;
}

/* Before the driver is opened: the other mode is switched off. */
static int cufile_ask(struct cufile *c, enum cufile_mode mode)
{
	bool compat = mode == CUFILE_COMPAT;
	int r;

	if (!c->set_bool)
		return 0; /* judged by what the driver says afterwards */
	r = CUFILE(c, set_bool, CUFILE_BOOL_ALLOW_COMPAT, compat);
	if (r == 0)
		r = CUFILE(c, set_bool, CUFILE_BOOL_FORCE_COMPAT, compat);
	/* Peer-to-peer DMA of the kernel does without nvidia-fs; a library or a
	 * machine without it refuses, and nothing is lost. */
	if (r == 0 && !compat)
		(void)CUFILE(c, set_bool, CUFILE_BOOL_PCI_P2PDMA, true);
	return r;
}

/* Was it heeded? An administrator's file or a driver may know better. */
static int cufile_judge(struct cufile *c, enum cufile_mode mode)
{
	bool allow = c->properties.control >> CUFILE_CONTROL_ALLOW_COMPAT & 1;
	bool force = false, direct = mode == CUFILE_DIRECT;

	if (c->get_bool &&
	    CUFILE(c, get_bool, CUFILE_BOOL_ALLOW_COMPAT, &allow) == 0)
		(void)CUFILE(c, get_bool, CUFILE_BOOL_FORCE_COMPAT, &force);
	c->by = c->set_bool ? "the other mode is switched off"
			    : "flags of the driver";
	if (direct && (allow || force))
		return cufile_refuse(c, "the library may bounce through the "
					"host, and cannot be told not to");
	if (!direct && c->nvidia_fs && !force)
		return cufile_refuse(c,
				     "the library goes direct, and cannot be "
				     "told not to");
	return 0;
}

static void cufile_count(struct cufile *c)
{
	c->counts = c->stats_level && c->stats_start && c->stats_get &&
		    CUFILE(c, stats_level, 3) == 0 &&
		    CUFILE(c, stats_start) == 0;
}

int cufile_open(struct cufile *c, enum cufile_mode mode)
{
	union {
		struct cufile_properties known;
		uint8_t room[CUFILE_GROWN];
	} * p;
	int r;

	if (c->mode != CUFILE_CLOSED)
		return -EBUSY;
	p = mem_alloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	r = cufile_ask(c, mode);
	if (r == 0)
		r = CUFILE(c, driver_open);
	if (r == 0) {
		r = CUFILE(c, driver_properties, p);
		if (r)
			cufile_shut(c);
	}
	if (r == 0) {
		c->properties = p->known;
		c->nvidia_fs = c->properties.major || c->properties.minor;
		r = cufile_judge(c, mode);
	}
	free(p);
	if (r)
		return r;
	cufile_count(c);
	c->mode = mode;
	return 0;
}

void cufile_close(struct cufile *c)
{
	if (c->mode == CUFILE_CLOSED)
		return;
	if (c->counts && c->stats_stop)
		(void)CUFILE(c, stats_stop);
	cufile_shut(c);
	c->mode = CUFILE_CLOSED;
	c->counts = false;
}

int cufile_counts(struct cufile *c, struct cufile_counts *ret_counts)
{
	union {
		struct cufile_stats known;
		uint8_t room[CUFILE_GROWN];
	} * s;
	struct cufile_counts sum = { 0 };
	int r;

	if (!c->counts)
		return -ENOSYS;
	s = mem_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = CUFILE(c, stats_get, s);
	for (uint32_t i = 0; r == 0 && i < MIN(s->known.gpus, CUFILE_GPUS);
	     i++) {
		const struct cufile_gpu_stats *g = &s->known.gpu[i];

		sum.all += g->reads;
		sum.p2p += g->p2p_reads;
		sum.nvfs += g->nvfs_reads;
		sum.posix += g->posix_reads;
	}
	free(s);
	if (r == 0)
		*ret_counts = sum;
	return r;
}
