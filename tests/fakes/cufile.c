/* SPDX-License-Identifier: Apache-2.0 */
/* A fake libcufile: see fakes.h. With FAKE_OLD it is one of the first versions,
 * without parameters, batches and counts. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fakes/fakes.h"
#include "tier/gpu/cufile.h"

#define FILES	16
#define BUFFERS 16
#define ENTRIES 128

void *fake_cuda_behind(uint64_t at, size_t bytes);
bool fake_cuda_allocation(uint64_t at, uint64_t *ret_base, uint64_t *ret_bytes);
bool fake_cuda_current(void);
bool fake_cuda_arrive(uint64_t at, const void *data, size_t bytes);
FAKE_EXPORT struct fake_cufile *fake_cufile_control(void);

struct file {
	int fd; /* + 1; 0: none */
	unsigned flying;
};
struct batch {
	unsigned most, n;
	struct cufile_io io[ENTRIES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_cufile control = { .allow_compat = true };
static struct file file[FILES];
static struct {
	uint64_t base, bytes;
} buffer[BUFFERS];
static struct batch *batches;
static bool set_allow, set_force, was_set; /* staged by the program */
static bool allow, force;		   /* of the open driver */
static bool counting;
static pid_t opened;

static void problem(const char *what)
{
	if (control.problem.n++ == 0)
		snprintf(control.problem.first, sizeof(control.problem.first),
			 "cufile: %s", what);
}

static struct cufile_status status(int err)
{
	return (struct cufile_status){ .err = err };
}

static int failing(void)
{
	control.calls++;
	if (!control.fail_at || --control.fail_at)
		return 0;
	return control.fail_code ? control.fail_code : CUFILE_INTERNAL_ERROR;
}

/* Of each call that needs the driver. */
static int entered(bool context)
{
	int err = failing();

	if (err)
		return err > 5000 ? err : CUFILE_INTERNAL_ERROR;
	if (!control.open) {
		problem("the driver is not open");
		return CUFILE_DRIVER_NOT_INITIALIZED;
	}
	if (opened != getpid())
		problem("used after a fork");
	if (context && !fake_cuda_current())
		problem("no current context");
	return 0;
}

static bool direct(void)
{
	return (control.nvidia_fs || control.p2p) && !force;
}

struct fake_cufile *fake_cufile_control(void)
{
	return &control;
}

#define CUFILE_DECLARE(name, symbol, parameters, result) \
	FAKE_EXPORT result fake_##name parameters __asm__(symbol);
CUFILE_CALLS(CUFILE_DECLARE)
#ifdef FAKE_OLD
FAKE_EXPORT struct cufile_status
fake_driver_close(void) __asm__("cuFileDriverClose");
#else
CUFILE_LATER_CALLS(CUFILE_DECLARE)
#endif

#define LOCKED(type_, body_)                 \
	do {                                 \
		type_ r_;                    \
		pthread_mutex_lock(&lock);   \
		r_ = body_;                  \
		pthread_mutex_unlock(&lock); \
		return r_;                   \
	} while (0)

/* ---- the driver ------------------------------------------------------------------- */

static struct cufile_status driver_up(void)
{
	int err = failing();

	if (err)
		return status(err > 5000 ? err : CUFILE_INTERNAL_ERROR);
	if (control.open)
		return status(CUFILE_DRIVER_ALREADY_OPEN);
	if (!fake_cuda_current())
		problem("opened without a context");
	allow = was_set && !control.insists ? set_allow : control.allow_compat;
	force = was_set && !control.insists ? set_force : false;
	was_set = false; /* what was staged is used up */
	if (!direct() && !allow)
		return status(CUFILE_DRIVER_NOT_INITIALIZED);
	control.open = true;
	opened = getpid();
	return status(0);
}

struct cufile_status fake_driver_open(void)
{
	LOCKED(struct cufile_status, driver_up());
}

static struct cufile_status driver_down(void)
{
	if (!control.open) {
		problem("closed without being open");
		return status(CUFILE_DRIVER_NOT_INITIALIZED);
	}
	if (control.files || control.buffers || batches)
		problem("closed with things registered");
	control.open = false;
	counting = false;
	return status(0);
}

struct cufile_status fake_driver_close(void)
{
	LOCKED(struct cufile_status, driver_down());
}

static struct cufile_status driver_tell(void *ret)
{
	struct cufile_properties p = {
		.major = control.nvidia_fs ? 2 : 0,
		.minor = control.nvidia_fs ? 20 : 0,
		.poll_kib = 4,
		.direct_io_kib = 16384,
		.status = direct() ? 1u << CUFILE_STATUS_NVME : 0,
		.control = allow ? 1u << CUFILE_CONTROL_ALLOW_COMPAT : 0,
		.features = 1u << CUFILE_FEATURE_BATCH,
		.batch_entries = 8,
	};
	int err = entered(false);

	if (err == 0)
		memcpy(ret, &p, sizeof(p));
	return status(err);
}

struct cufile_status fake_driver_properties(void *ret)
{
	LOCKED(struct cufile_status, driver_tell(ret));
}

/* ---- files and buffers ----------------------------------------------------------------- */

/* As seen of the real one: it opens the file once more, by its path. */
static bool file_opens_again(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	return access(path, R_OK) == 0;
}

static int file_judge(const struct cufile_descr *d)
{
	int flags = d ? fcntl(d->handle.fd, F_GETFL) : -1;
	struct stat st;

	if (!d || d->type != 1 || d->ops)
		return CUFILE_INVALID_VALUE;
	if (flags < 0 || fstat(d->handle.fd, &st))
		return CUFILE_INVALID_FILE_TYPE;
	if (flags & (O_APPEND | O_NONBLOCK | O_DIRECTORY))
		return CUFILE_INVALID_OPEN_FLAG;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return CUFILE_INVALID_FILE_TYPE;
	if (!file_opens_again(d->handle.fd))
		return CUFILE_GETNEWFD_FAILED;
	for (size_t i = 0; i < FILES; i++)
		if (file[i].fd == d->handle.fd + 1)
			return CUFILE_HANDLE_ALREADY_REGISTERED;
	return 0;
}

static struct cufile_status file_up(void **ret, const struct cufile_descr *d)
{
	int err = entered(true);

	if (err == 0)
		err = file_judge(d);
	for (size_t i = 0; err == 0 && i < FILES; i++) {
		if (file[i].fd)
			continue;
		file[i].fd = d->handle.fd + 1;
		control.files++;
		*ret = &file[i];
		return status(0);
	}
	return status(err ? err : CUFILE_INTERNAL_ERROR);
}

struct cufile_status fake_handle_register(void **ret, struct cufile_descr *d)
{
	LOCKED(struct cufile_status, file_up(ret, d));
}

static struct file *file_of(void *handle)
{
	for (size_t i = 0; i < FILES; i++)
		if (&file[i] == handle && file[i].fd)
			return &file[i];
	problem("no such file handle");
	return NULL;
}

void fake_handle_deregister(void *handle)
{
	struct file *f;

	pthread_mutex_lock(&lock);
	f = file_of(handle);
	if (f && f->flying)
		problem("a file goes while it is read");
	if (f) {
		*f = (struct file){ 0 };
		control.files--;
	}
	pthread_mutex_unlock(&lock);
}

static int buffer_judge(uint64_t base, size_t bytes, int flags)
{
	uint64_t at, size;

	if (!base || !bytes || flags)
		return CUFILE_INVALID_VALUE;
	if (!fake_cuda_allocation(base, &at, &size) || base - at + bytes > size)
		return CUFILE_POINTER_RANGE;
	for (size_t i = 0; i < BUFFERS; i++)
		if (buffer[i].bytes &&
		    base < buffer[i].base + buffer[i].bytes &&
		    buffer[i].base < base + bytes)
			return CUFILE_MEMORY_ALREADY_REGISTERED;
	return 0;
}

static struct cufile_status buffer_up(uint64_t base, size_t bytes, int flags)
{
	int err = entered(true);

	if (err == 0)
		err = buffer_judge(base, bytes, flags);
	for (size_t i = 0; err == 0 && i < BUFFERS; i++) {
		if (buffer[i].bytes)
			continue;
		buffer[i].base = base;
		buffer[i].bytes = bytes;
		control.buffers++;
		return status(0);
	}
	return status(err ? err : CUFILE_INTERNAL_ERROR);
}

struct cufile_status fake_buf_register(const void *base, size_t bytes,
				       int flags)
{
	LOCKED(struct cufile_status,
	       buffer_up((uint64_t)(uintptr_t)base, bytes, flags));
}

static struct cufile_status buffer_down(uint64_t base)
{
	for (size_t i = 0; i < BUFFERS; i++) {
		if (!buffer[i].bytes || buffer[i].base != base)
			continue;
		buffer[i].bytes = 0;
		control.buffers--;
		return status(0);
	}
	problem("no such buffer");
	return status(CUFILE_MEMORY_NOT_REGISTERED);
}

struct cufile_status fake_buf_deregister(const void *base)
{
	LOCKED(struct cufile_status, buffer_down((uint64_t)(uintptr_t)base));
}

/* ---- reading -------------------------------------------------------------------------- */

static int read_judge(uint64_t base, size_t size, off_t at, off_t offset)
{
	bool registered = false;

	for (size_t i = 0; i < BUFFERS; i++) {
		if (!buffer[i].bytes || buffer[i].base != base)
			continue;
		registered = true;
		if ((uint64_t)offset + size > buffer[i].bytes)
			return CUFILE_POINTER_RANGE;
	}
	if (!registered && offset)
		problem("an offset into a buffer that is not registered");
	control.unregistered_reads += !registered;
	if (!size || at < 0 || offset < 0)
		return CUFILE_INVALID_VALUE;
	if ((size | (size_t)at | (base + (size_t)offset)) % CUFILE_ALIGN)
		problem("a read that is not on 4096 is bounced");
	if (!fake_cuda_behind(base + (uint64_t)offset, size))
		return CUFILE_POINTER_RANGE;
	return 0;
}

static ssize_t read_bytes(struct file *f, uint64_t to, size_t size, off_t at)
{
	uint8_t *behind = fake_cuda_behind(to, size), *bounce;
	int err = failing();
	bool to_host;
	ssize_t n;

	if (!f || !behind)
		return -CUFILE_HANDLE_NOT_REGISTERED;
	if (err > 5000)
		return -err;
	if (err) {
		errno = err;
		return -1;
	}
	/* The file may be open with O_DIRECT, and this memory is aligned. */
	to_host = !direct() || control.lies;
	bounce = to_host ? aligned_alloc(CUFILE_ALIGN, size) : behind;
	n = pread(f->fd - 1, bounce, size, at);
	if (n > 0 && control.short_by) {
		n -= (ssize_t)MIN(control.short_by, (uint64_t)n);
		control.short_by = 0;
	}
	if (n > 0 && control.flip_at) {
		bounce[(control.flip_at - 1) % (size_t)n] ^= 1;
		control.flip_at = 0;
	}
	if (to_host && n > 0 && !fake_cuda_arrive(to, bounce, (size_t)n))
		n = -CUFILE_POINTER_RANGE;
	if (to_host)
		free(bounce);
	control.direct_reads += !to_host;
	control.posix_reads += to_host;
	return n;
}

static ssize_t read_one(void *handle, uint64_t base, size_t size, off_t at,
			off_t offset)
{
	struct file *f;
	int err;

	if (!control.open || opened != getpid() || !fake_cuda_current())
		problem("a read without driver or context");
	f = file_of(handle);
	err = read_judge(base, size, at, offset);
	return err ? -err : read_bytes(f, base + (uint64_t)offset, size, at);
}

ssize_t fake_read(void *handle, void *base, size_t size, off_t at, off_t offset)
{
	LOCKED(ssize_t,
	       read_one(handle, (uint64_t)(uintptr_t)base, size, at, offset));
}

ssize_t fake_write(void *handle, const void *base, size_t size, off_t at,
		   off_t offset)
{
	(void)handle;
	(void)base;
	(void)size;
	(void)at;
	(void)offset;
	problem("onecopy writes nothing from a device");
	return -CUFILE_PERMISSION_DENIED;
}

#ifndef FAKE_OLD

struct cufile_status fake_driver_close_v2(void)
{
	return fake_driver_close();
}

struct cufile_status fake_version(int *ret)
{
	*ret = 1150;
	return status(0);
}

/* ---- parameters and counts ---------------------------------------------------------------- */

static struct cufile_status parameter_set(int parameter, bool value)
{
	int err = failing();

	if (err)
		return status(err > 5000 ? err : CUFILE_INTERNAL_ERROR);
	if (control.open)
		return status(CUFILE_DRIVER_ALREADY_OPEN);
	if (!was_set) {
		set_allow = control.allow_compat;
		set_force = false;
	}
	was_set = true;
	if (parameter == CUFILE_BOOL_ALLOW_COMPAT)
		set_allow = value;
	else if (parameter == CUFILE_BOOL_FORCE_COMPAT)
		set_force = value;
	else if (parameter != CUFILE_BOOL_PCI_P2PDMA)
		return status(CUFILE_INVALID_VALUE);
	return status(0);
}

struct cufile_status fake_set_bool(int parameter, bool value)
{
	LOCKED(struct cufile_status, parameter_set(parameter, value));
}

struct cufile_status fake_get_bool(int parameter, bool *ret)
{
	int err;

	pthread_mutex_lock(&lock);
	err = entered(false);
	*ret = parameter == CUFILE_BOOL_ALLOW_COMPAT ? allow : force;
	pthread_mutex_unlock(&lock);
	return status(err);
}

struct cufile_status fake_stats_level(int level)
{
	return status(level < 0 || level > 3 || control.no_counts
			      ? CUFILE_INVALID_VALUE
			      : 0);
}

struct cufile_status fake_stats_start(void)
{
	counting = true;
	return status(control.open ? 0 : CUFILE_DRIVER_NOT_INITIALIZED);
}

struct cufile_status fake_stats_stop(void)
{
	counting = false;
	return status(0);
}

struct cufile_status fake_stats_get(void *ret)
{
	struct cufile_stats *s = ret;

	if (!counting)
		return status(CUFILE_INVALID_VALUE);
	memset(s, 0, sizeof(*s));
	s->gpus = 1;
	s->gpu[0].reads = control.direct_reads + control.posix_reads;
	s->gpu[0].posix_reads = control.posix_reads;
	*(control.nvidia_fs ? &s->gpu[0].nvfs_reads : &s->gpu[0].p2p_reads) =
		control.direct_reads;
	return status(0);
}

/* ---- batches -------------------------------------------------------------------------------- */

static struct cufile_status batch_up(void **ret, unsigned entries)
{
	int err = entered(true);

	if (err == 0 && (!entries || entries > ENTRIES || batches))
		err = CUFILE_INTERNAL_ERROR;
	if (err)
		return status(err);
	batches = calloc(1, sizeof(*batches));
	batches->most = entries;
	*ret = batches;
	return status(0);
}

struct cufile_status fake_batch_create(void **ret, unsigned entries)
{
	LOCKED(struct cufile_status, batch_up(ret, entries));
}

static struct cufile_status batch_take(struct batch *b, unsigned n,
				       const struct cufile_io *io,
				       unsigned flags)
{
	int err = entered(true);

	if (b != batches || flags || !n)
		problem("no such batch");
	if (err == 0 && (control.refuse_batch || b->n + n > b->most))
		err = CUFILE_BATCH_FULL;
	for (unsigned i = 0; err == 0 && i < n; i++) {
		if (io[i].mode != 1 || io[i].opcode != 0)
			problem("not a read of a batch");
		err = read_judge((uint64_t)(uintptr_t)io[i].base, io[i].size,
				 io[i].file_offset, io[i].base_offset);
	}
	for (unsigned i = 0; err == 0 && i < n; i++) {
		struct file *f = file_of(io[i].file);

		if (f)
			f->flying++;
		b->io[b->n++] = io[i];
	}
	control.batches += err == 0;
	return status(err);
}

struct cufile_status fake_batch_submit(void *batch, unsigned n,
				       struct cufile_io *io, unsigned flags)
{
	LOCKED(struct cufile_status, batch_take(batch, n, io, flags));
}

/* The last one first, two at a time. */
static struct cufile_status batch_look(struct batch *b, unsigned least,
				       unsigned *n, struct cufile_event *event)
{
	int err = entered(true);
	unsigned done = 0, most = MIN(MAX(least, 2u), *n);

	if (b != batches || least > *n)
		problem("a batch is asked for more than it holds");
	while (err == 0 && done < most && b->n && !control.stuck) {
		struct cufile_io *io = &b->io[--b->n];
		struct file *f = file_of(io->file);
		ssize_t got = read_bytes(f,
					 (uint64_t)(uintptr_t)io->base +
						 (uint64_t)io->base_offset,
					 io->size, io->file_offset);

		if (f)
			f->flying--;
		event[done++] = (struct cufile_event){
			.cookie = io->cookie,
			.status = got < 0 ? CUFILE_FAILED : CUFILE_COMPLETE,
			.ret = (size_t)got,
		};
	}
	*n = done;
	return status(err);
}

struct cufile_status fake_batch_status(void *batch, unsigned least, unsigned *n,
				       struct cufile_event *event,
				       struct timespec *timeout)
{
	(void)timeout;
	LOCKED(struct cufile_status, batch_look(batch, least, n, event));
}

struct cufile_status fake_batch_cancel(void *batch)
{
	if (batch != batches)
		problem("no such batch");
	return status(0);
}

void fake_batch_destroy(void *batch)
{
	pthread_mutex_lock(&lock);
	if (batch != batches || !batch)
		problem("no such batch");
	free(batches);
	batches = NULL;
	pthread_mutex_unlock(&lock);
}

#endif
