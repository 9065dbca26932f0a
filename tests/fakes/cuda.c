/* SPDX-License-Identifier: Apache-2.0 */
/* A fake libcuda: see fakes.h. One lock around everything. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fakes/fakes.h"
#include "tier/gpu/cuda.h"

#define MOST   256
#define LAUNCH 719 /* an error that has no other meaning here */

enum op_kind { OP_IN, OP_OUT, OP_FILL, OP_EVENT, OP_ARRIVE };

struct op {
	enum op_kind kind;
	cuda_address device;
	void *host;
	size_t bytes;
	unsigned char byte;
	struct cuda_event_ *event;
	uint64_t number;
	struct op *next;
};

struct cuda_context_ {
	int retained;
};
struct cuda_stream_ {
	bool live;
	struct op *first, **last;
};
struct cuda_event_ {
	bool live;
	cuda_stream stream;
	uint64_t recorded, reached; /* numbers of ops */
};

static struct range {
	uint64_t at;
	size_t bytes;
	uint8_t *behind;
	int fd;
	bool foreign;
} memory[MOST];
static struct {
	uint8_t *at;
	size_t bytes;
	bool allocated;
} host[MOST];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_cuda control = { .devices = 1 };
static struct cuda_context_ primary;
static struct cuda_stream_ own = { .live = true }; /* cuFile's copies */
static pid_t started;
static uint64_t op_number;
static __thread cuda_context stack[8];
static __thread unsigned depth;

FAKE_EXPORT struct fake_cuda *fake_cuda_control(void);
FAKE_EXPORT void *fake_cuda_behind(uint64_t at, size_t bytes);
FAKE_EXPORT bool fake_cuda_allocation(uint64_t at, uint64_t *ret_base,
				      uint64_t *ret_bytes);
FAKE_EXPORT bool fake_cuda_current(void);
FAKE_EXPORT bool fake_cuda_arrive(uint64_t at, const void *data, size_t bytes);

static void problem(const char *what)
{
	if (control.problem.n++ == 0)
		snprintf(control.problem.first, sizeof(control.problem.first),
			 "cuda: %s", what);
}

/* Of every call but those that end something. */
static int failing(void)
{
	control.calls++;
	if (!control.fail_at)
		return 0;
	if (control.fail_at > 1) {
		control.fail_at--;
		return 0;
	}
	if (!control.fail_sticky)
		control.fail_at = 0;
	return control.fail_code ? control.fail_code : LAUNCH;
}

static int entered(bool context)
{
	int r = failing();

	if (r)
		return r;
	if (!started)
		return CUDA_NOT_INITIALIZED;
	if (started != getpid()) {
		problem("used after a fork");
		return CUDA_NOT_INITIALIZED;
	}
	if (context && (!depth || !stack[depth - 1]->retained)) {
		problem("no current context");
		return CUDA_INVALID_CONTEXT;
	}
	return 0;
}

static struct range *range_of(uint64_t at, size_t bytes)
{
	for (size_t i = 0; i < MOST; i++) {
		struct range *r = &memory[i];

		if (r->bytes && at >= r->at && at - r->at <= r->bytes &&
		    bytes <= r->bytes - (at - r->at))
			return r;
	}
	return NULL;
}

static void op_run(cuda_stream stream);

static bool is_pinned(const void *at, size_t bytes)
{
	const uint8_t *p = at;

	for (size_t i = 0; i < MOST; i++)
		if (host[i].bytes && p >= host[i].at &&
		    (size_t)(p - host[i].at) <= host[i].bytes &&
		    bytes <= host[i].bytes - (size_t)(p - host[i].at))
			return true;
	return false;
}

struct fake_cuda *fake_cuda_control(void)
{
	return &control;
}

void *fake_cuda_behind(uint64_t at, size_t bytes)
{
	struct range *r;
	void *behind;

	pthread_mutex_lock(&lock);
	r = range_of(at, bytes);
	behind = r ? r->behind + (at - r->at) : NULL;
	pthread_mutex_unlock(&lock);
	return behind;
}

bool fake_cuda_allocation(uint64_t at, uint64_t *ret_base, uint64_t *ret_bytes)
{
	struct range *r;

	pthread_mutex_lock(&lock);
	r = range_of(at, 1);
	if (r) {
		*ret_base = r->at;
		*ret_bytes = r->bytes;
	}
	pthread_mutex_unlock(&lock);
	return r != NULL;
}

bool fake_cuda_current(void)
{
	return depth > 0 && stack[depth - 1]->retained;
}

/* ---- the library ----------------------------------------------------------------- */

#define CUDA_DECLARE(name, symbol, parameters) \
	FAKE_EXPORT cuda_result fake_##name parameters __asm__(symbol);
CUDA_CALLS(CUDA_DECLARE)

#define LOCKED(body_)                        \
	do {                                 \
		int r_;                      \
		pthread_mutex_lock(&lock);   \
		r_ = body_;                  \
		pthread_mutex_unlock(&lock); \
		return r_;                   \
	} while (0)

cuda_result fake_init(unsigned flags)
{
	if (flags)
		return CUDA_INVALID_VALUE;
	if (!control.devices)
		return CUDA_NO_DEVICE;
	if (!started)
		started = getpid();
	LOCKED(entered(false));
}

cuda_result fake_driver_version(int *ret)
{
	*ret = 13000;
	LOCKED(entered(false));
}

cuda_result fake_error_name(cuda_result code, const char **ret)
{
	*ret = code == CUDA_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
					  : "CUDA_ERROR_OF_A_FAKE";
	return CUDA_SUCCESS;
}

cuda_result fake_device_count(int *ret)
{
	*ret = control.devices;
	LOCKED(entered(false));
}

static bool device_bad(cuda_device device)
{
	return device < 0 || device >= control.devices;
}

cuda_result fake_device_get(cuda_device *ret, int number)
{
	if (device_bad(number))
		return CUDA_INVALID_DEVICE;
	*ret = number;
	LOCKED(entered(false));
}

cuda_result fake_device_name(char *ret, int cap, cuda_device device)
{
	if (device_bad(device) || cap < 1)
		return CUDA_INVALID_DEVICE;
	snprintf(ret, (size_t)cap, "fake GPU");
	LOCKED(entered(false));
}

cuda_result fake_device_memory(size_t *ret, cuda_device device)
{
	if (device_bad(device))
		return CUDA_INVALID_DEVICE;
	*ret = 1ull << 30;
	LOCKED(entered(false));
}

cuda_result fake_device_attribute(int *ret, int attribute, cuda_device device)
{
	if (device_bad(device))
		return CUDA_INVALID_DEVICE;
	*ret = attribute == CUDA_CAN_READ_ONLY_REGISTER &&
	       !control.no_read_only;
	LOCKED(entered(false));
}

cuda_result fake_device_pci(char *ret, int cap, cuda_device device)
{
	if (device_bad(device) || cap < 13)
		return CUDA_INVALID_VALUE;
	snprintf(ret, (size_t)cap, "0000:00:00.0");
	LOCKED(entered(false));
}

static int retain(cuda_context *ret, cuda_device device)
{
	int r = entered(false);

	if (r == 0 && device_bad(device))
		r = CUDA_INVALID_DEVICE;
	if (r)
		return r;
	primary.retained++;
	control.retained++;
	*ret = &primary;
	return 0;
}

cuda_result fake_context_retain(cuda_context *ret, cuda_device device)
{
	LOCKED(retain(ret, device));
}

cuda_result fake_context_release(cuda_device device)
{
	if (device_bad(device) || !primary.retained)
		problem("a context is released that nobody has");
	else
		primary.retained--;
	control.retained = (unsigned)primary.retained;
	return CUDA_SUCCESS;
}

/* What cuFile copied by itself arrives here, or where a stream is destroyed. */
static int context_sync(void)
{
	int r = entered(true);

	while (own.first)
		op_run(&own);
	return r;
}

cuda_result fake_context_wait(void)
{
	LOCKED(context_sync());
}

bool fake_cuda_arrive(uint64_t at, const void *data, size_t bytes)
{
	struct op *op = calloc(1, sizeof(*op) + bytes);
	bool ok;

	if (!op)
		return false;
	pthread_mutex_lock(&lock);
	*op = (struct op){ .kind = OP_ARRIVE, .device = at, .bytes = bytes };
	memcpy(op + 1, data, bytes);
	if (!own.first)
		own.last = &own.first;
	*own.last = op;
	own.last = &op->next;
	ok = range_of(at, bytes) != NULL;
	pthread_mutex_unlock(&lock);
	return ok;
}

cuda_result fake_context_push(cuda_context context)
{
	int r = failing();

	if (r)
		return r;
	if (context != &primary || !context->retained || depth == 8) {
		problem("a context is pushed that is none");
		return CUDA_INVALID_CONTEXT;
	}
	stack[depth++] = context;
	return CUDA_SUCCESS;
}

cuda_result fake_context_pop(cuda_context *ret)
{
	if (!depth) {
		problem("a context is popped that was not pushed");
		return CUDA_INVALID_CONTEXT;
	}
	*ret = stack[--depth];
	return CUDA_SUCCESS;
}

/* ---- memory ----------------------------------------------------------------------- */

static int range_make(int fd, size_t bytes, bool foreign, cuda_address *ret)
{
	struct range *r = NULL;
	void *at, *behind;

	for (size_t i = 0; i < MOST && !r; i++)
		r = memory[i].bytes ? NULL : &memory[i];
	at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	behind = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!r || at == MAP_FAILED || behind == MAP_FAILED)
		return CUDA_OUT_OF_MEMORY;
	*r = (struct range){ .at = (uint64_t)(uintptr_t)at,
			     .bytes = bytes,
			     .behind = behind,
			     .fd = fd,
			     .foreign = foreign };
	*ret = r->at;
	return 0;
}

static int mem_alloc_(cuda_address *ret, size_t bytes)
{
	int r = entered(true), fd;

	if (r == 0 && !bytes)
		r = CUDA_INVALID_VALUE;
	if (r)
		return r;
	bytes = ALIGN_UP(bytes, 4096);
	fd = memfd_create("fake-device", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		return CUDA_OUT_OF_MEMORY;
	r = range_make(fd, bytes, false, ret);
	control.memory += r == 0;
	return r;
}

cuda_result fake_mem_alloc(cuda_address *ret, size_t bytes)
{
	LOCKED(mem_alloc_(ret, bytes));
}

static int range_end(cuda_address at, bool foreign)
{
	for (size_t i = 0; i < MOST; i++) {
		struct range *r = &memory[i];

		if (!r->bytes || r->at != at || r->foreign != foreign)
			continue;
		munmap((void *)(uintptr_t)r->at, r->bytes);
		munmap(r->behind, r->bytes);
		close(r->fd);
		r->bytes = 0;
		return 0;
	}
	problem("memory is freed that is none");
	return CUDA_INVALID_VALUE;
}

static int mem_free_(cuda_address at)
{
	int r = range_end(at, false);

	control.memory -= r == 0;
	return r;
}

cuda_result fake_mem_free(cuda_address at)
{
	LOCKED(mem_free_(at));
}

cuda_result fake_mem_range(cuda_address *ret_base, size_t *ret_bytes,
			   cuda_address at)
{
	uint64_t bytes;

	if (!fake_cuda_allocation(at, ret_base, &bytes))
		return CUDA_INVALID_VALUE;
	*ret_bytes = bytes;
	LOCKED(entered(true));
}

static int host_add(void *at, size_t bytes, bool allocated)
{
	for (size_t i = 0; i < MOST; i++) {
		if (host[i].bytes)
			continue;
		host[i].at = at;
		host[i].bytes = bytes;
		host[i].allocated = allocated;
		return 0;
	}
	return CUDA_OUT_OF_MEMORY;
}

static int host_alloc(void **ret, size_t bytes, unsigned flags)
{
	int r = entered(true);
	void *at;

	if (r == 0 && (!bytes || flags & ~7u))
		r = CUDA_INVALID_VALUE;
	if (r)
		return r;
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return CUDA_OUT_OF_MEMORY;
	r = host_add(at, bytes, true);
	control.host += r == 0;
	*ret = at;
	return r;
}

cuda_result fake_mem_host_alloc(void **ret, size_t bytes, unsigned flags)
{
	LOCKED(host_alloc(ret, bytes, flags));
}

static int host_end(void *at, bool allocated)
{
	for (size_t i = 0; i < MOST; i++) {
		if (!host[i].bytes || host[i].at != at ||
		    host[i].allocated != allocated)
			continue;
		if (allocated)
			munmap(at, host[i].bytes);
		host[i].bytes = 0;
		return 0;
	}
	problem("host memory is given back that is not pinned");
	return allocated ? CUDA_INVALID_VALUE : CUDA_NOT_REGISTERED;
}

static int host_free(void *at)
{
	int r = host_end(at, true);

	control.host -= r == 0;
	return r;
}

cuda_result fake_mem_host_free(void *at)
{
	LOCKED(host_free(at));
}

static int host_register(void *at, size_t bytes, unsigned flags)
{
	int r = entered(true);

	if (r)
		return r;
	if (!at || !bytes || flags & ~0xfu)
		return CUDA_INVALID_VALUE;
	if (flags & CUDA_HOST_READ_ONLY && control.no_read_only)
		return CUDA_NOT_SUPPORTED;
	if (is_pinned(at, 1))
		return CUDA_ALREADY_REGISTERED;
	r = host_add(at, bytes, false);
	control.registered += r == 0;
	return r;
}

cuda_result fake_mem_host_register(void *at, size_t bytes, unsigned flags)
{
	LOCKED(host_register(at, bytes, flags));
}

static int host_unregister(void *at)
{
	int r = host_end(at, false);

	control.registered -= r == 0;
	return r;
}

cuda_result fake_mem_host_unregister(void *at)
{
	LOCKED(host_unregister(at));
}

cuda_result fake_pointer(void *ret, int attribute, cuda_address at)
{
	uint64_t base, bytes;

	if (attribute != CUDA_POINTER_MEMORY_TYPE ||
	    !fake_cuda_allocation(at, &base, &bytes))
		return CUDA_INVALID_VALUE;
	*(unsigned *)ret = CUDA_MEMORY_DEVICE;
	LOCKED(entered(true));
}

/* ---- streams and events -------------------------------------------------------------- */

static void op_run(cuda_stream stream)
{
	struct op *op = stream->first;
	struct range *r = range_of(op->device, op->bytes);
	uint8_t *behind = r ? r->behind + (op->device - r->at) : NULL;

	stream->first = op->next;
	if (!stream->first)
		stream->last = &stream->first;
	if (op->kind == OP_EVENT) {
		if (op->event->live)
			op->event->reached = op->number;
	} else if (!behind) {
		problem("device memory was freed under a copy");
	} else if (op->kind == OP_ARRIVE) {
		memcpy(behind, op + 1, op->bytes);
	} else if (op->kind == OP_FILL) {
		memset(behind, op->byte, op->bytes);
	} else if (!is_pinned(op->host, op->bytes)) {
		problem("host memory was freed under a copy");
	} else {
		control.copies++;
		if (op->kind == OP_IN)
			memcpy(behind, op->host, op->bytes);
		else
			memcpy(op->host, behind, op->bytes);
	}
	free(op);
}

static int op_add(cuda_stream stream, const struct op *what)
{
	int r = entered(true);
	struct op *op;

	if (r)
		return r;
	if (!stream || !stream->live) {
		problem("no such stream");
		return CUDA_INVALID_HANDLE;
	}
	if (what->kind != OP_EVENT && !range_of(what->device, what->bytes)) {
		problem("a copy goes beyond the allocation");
		return CUDA_INVALID_VALUE;
	}
	if ((what->kind == OP_IN || what->kind == OP_OUT) &&
	    !is_pinned(what->host, what->bytes)) {
		problem("a copy from memory that is not pinned");
		return CUDA_INVALID_VALUE;
	}
	op = malloc(sizeof(*op));
	if (!op)
		return CUDA_OUT_OF_MEMORY;
	*op = *what;
	op->number = ++op_number;
	op->next = NULL;
	if (op->kind == OP_EVENT) {
		op->event->stream = stream;
		op->event->recorded = op->number;
	}
	*stream->last = op;
	stream->last = &op->next;
	return 0;
}

cuda_result fake_copy_in(cuda_address to, const void *from, size_t bytes,
			 cuda_stream stream)
{
	struct op op = { .kind = OP_IN, .device = to, .bytes = bytes };

	memcpy(&op.host, &from, sizeof(from));
	LOCKED(op_add(stream, &op));
}

cuda_result fake_copy_out(void *to, cuda_address from, size_t bytes,
			  cuda_stream stream)
{
	struct op op = {
		.kind = OP_OUT, .device = from, .host = to, .bytes = bytes
	};

	LOCKED(op_add(stream, &op));
}

cuda_result fake_fill(cuda_address at, unsigned char byte, size_t bytes,
		      cuda_stream stream)
{
	struct op op = {
		.kind = OP_FILL, .device = at, .byte = byte, .bytes = bytes
	};

	LOCKED(op_add(stream, &op));
}

static int stream_new(cuda_stream *ret, unsigned flags)
{
	int r = entered(true);
	cuda_stream stream;

	if (r == 0 && flags > 1)
		r = CUDA_INVALID_VALUE;
	if (r)
		return r;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return CUDA_OUT_OF_MEMORY;
	stream->live = true;
	stream->last = &stream->first;
	control.streams++;
	*ret = stream;
	return 0;
}

cuda_result fake_stream_create(cuda_stream *ret, unsigned flags)
{
	LOCKED(stream_new(ret, flags));
}

static int stream_sync(cuda_stream stream)
{
	int r = entered(true);

	while (stream->first)
		op_run(stream); /* also when the wait itself fails */
	return r;
}

cuda_result fake_stream_wait(cuda_stream stream)
{
	LOCKED(stream_sync(stream));
}

cuda_result fake_stream_destroy(cuda_stream stream)
{
	pthread_mutex_lock(&lock);
	if (!depth)
		problem("a stream is destroyed without a context");
	if (stream->first && !control.fail_sticky)
		problem("a stream is destroyed under work");
	while (stream->first)
		op_run(stream);
	control.streams--;
	free(stream);
	pthread_mutex_unlock(&lock);
	return CUDA_SUCCESS;
}

static int event_new(cuda_event *ret, unsigned flags)
{
	int r = entered(true);

	if (r == 0 && flags & ~7u)
		r = CUDA_INVALID_VALUE;
	if (r)
		return r;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return CUDA_OUT_OF_MEMORY;
	(*ret)->live = true;
	control.events++;
	return 0;
}

cuda_result fake_event_create(cuda_event *ret, unsigned flags)
{
	LOCKED(event_new(ret, flags));
}

cuda_result fake_event_destroy(cuda_event event)
{
	pthread_mutex_lock(&lock);
	if (event->recorded > event->reached) {
		problem("an event is destroyed under work");
		stream_sync(event->stream);
	}
	control.events--;
	free(event);
	pthread_mutex_unlock(&lock);
	return CUDA_SUCCESS;
}

cuda_result fake_event_record(cuda_event event, cuda_stream stream)
{
	struct op op = { .kind = OP_EVENT, .event = event };

	LOCKED(op_add(stream, &op));
}

/* A query lets one thing happen: nothing is done because time passes. */
static int event_look(cuda_event event)
{
	int r = entered(true);

	if (r)
		return r;
	if (event->recorded > event->reached)
		op_run(event->stream);
	return event->recorded > event->reached ? CUDA_NOT_READY : 0;
}

cuda_result fake_event_query(cuda_event event)
{
	LOCKED(event_look(event));
}

static int event_sync(cuda_event event)
{
	int r = entered(true);

	while (event->recorded > event->reached)
		op_run(event->stream);
	return r;
}

cuda_result fake_event_wait(cuda_event event)
{
	LOCKED(event_sync(event));
}

/* ---- between processes --------------------------------------------------------------- */

struct share_text {
	pid_t pid;
	int fd;
	uint64_t bytes;
};

static int ipc_make(struct cuda_share *ret, cuda_address at)
{
	struct share_text text;
	struct range *range;
	int r = entered(true);

	if (r)
		return r;
	range = range_of(at, 1);
	if (!range || range->at != at || range->foreign)
		return CUDA_INVALID_VALUE;
	text = (struct share_text){ getpid(), range->fd, range->bytes };
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->reserved, &text, sizeof(text));
	return 0;
}

cuda_result fake_ipc_export(struct cuda_share *ret, cuda_address at)
{
	LOCKED(ipc_make(ret, at));
}

static int ipc_take(cuda_address *ret, const struct cuda_share *share,
		    unsigned flags)
{
	struct share_text text;
	int r = entered(true), fd;
	char path[64];

	memcpy(&text, share->reserved, sizeof(text));
	if (r == 0 && (flags != CUDA_SHARE_LAZY || text.pid == getpid()))
		r = CUDA_INVALID_VALUE;
	if (r)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)text.pid, text.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return CUDA_INVALID_VALUE;
	r = range_make(fd, text.bytes, true, ret);
	control.shares += r == 0;
	return r;
}

cuda_result fake_ipc_open(cuda_address *ret, struct cuda_share share,
			  unsigned flags)
{
	LOCKED(ipc_take(ret, &share, flags));
}

static int ipc_end(cuda_address at)
{
	int r = range_end(at, true);

	control.shares -= r == 0;
	return r;
}

cuda_result fake_ipc_close(cuda_address at)
{
	LOCKED(ipc_end(at));
}
