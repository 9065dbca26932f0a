/* SPDX-License-Identifier: Apache-2.0 */
/* A trace file: lines out of a buffer that grows to the longest line. */
#include "trace/trace.h"
#include "base/fault.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_FIRST (64u << 10)
#define AWAIT_MS     1000

struct trace_file {
	struct trace_source source;
	struct trace_request request;
	char *path;
	int fd;
	int failed; /* 0, TRACE_END or -errno: what every further call says */
	bool at_end;
	char *buf;
	size_t room, from, to; /* unread bytes are buf[from .. to) */
	uint64_t line;
	uint64_t done, total; /* bytes */
};

static struct trace_file *file_of(struct trace_source *s)
{
	return container_of(s, struct trace_file, source);
}

static int fail(struct trace_file *f, int error, const char *text)
{
	snprintf(f->source.error, sizeof(f->source.error),
		 "%.100s:%llu: %.130s", f->path, (unsigned long long)f->line,
		 text);
	f->failed = error;
	return error;
}

/* Moves what is unread to the front and doubles the buffer when it is full. */
static int make_room(struct trace_file *f)
{
	size_t room = f->room ? f->room * 2 : BUFFER_FIRST;
	char *buf;

	if (f->from) {
		memmove(f->buf, f->buf + f->from, f->to - f->from);
		f->to -= f->from;
		f->from = 0;
	}
	if (f->to < f->room)
		return 0;
	buf = mem_grow(f->buf, room, 1);
	if (!buf)
		return -ENOMEM;
	f->buf = buf;
	f->room = room;
	return 0;
}

static bool ends(const struct trace_file *f)
{
	const struct trace_source *s = &f->source;
	double done = f->total ? MIN(1, (double)f->done / (double)f->total) : 0;

	return s->tick && s->tick(s->ctx, done);
}

/* Until there is something to read. A signal that comes just before the wait does
 * not end it: hence the timeout. */
static int await(const struct trace_file *f)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };
	int r;

	do {
		if (ends(f))
			return -EINTR;
		r = f->source.tick ? poll(&p, 1, AWAIT_MS) : 1;
	} while (r == 0 || (r < 0 && errno == EINTR));
	return r < 0 ? -errno : 0;
}

static int fill(struct trace_file *f)
{
	ssize_t n;
	int r = make_room(f);

	if (r)
		return r;
	do {
		r = await(f);
		if (r)
			return r;
		if (fault_point(FAULT_IO))
			return -EIO;
		n = read(f->fd, f->buf + f->to, f->room - f->to);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	f->at_end = n == 0;
	f->to += (size_t)n;
	return 0;
}

/* The next line without its newline; it stays in the buffer until the next
 * call. TRACE_END after the last one. */
static int next_line(struct trace_file *f, const char **ret, size_t *ret_len)
{
	size_t looked = 0;

	for (;;) {
		char *start = f->buf + f->from;
		size_t have = f->to - f->from;
		char *end = have > looked ? memchr(start + looked, '\n',
						   have - looked)
					  : NULL;
		int r;

		if (end || (f->at_end && have)) {
			*ret = start;
			*ret_len = end ? (size_t)(end - start) : have;
			f->from += *ret_len + (end != NULL);
			f->done += *ret_len + (end != NULL);
			return 0;
		}
		if (f->at_end)
			return TRACE_END;
		if (have > TRACE_LINE_MAX)
			return -EFBIG;
		looked = have;
		r = fill(f);
		if (r)
			return r;
	}
}

static bool blank(const char *line, size_t len)
{
	while (len && (line[len - 1] == ' ' || line[len - 1] == '\t' ||
		       line[len - 1] == '\r'))
		len--;
	return len == 0;
}

static int line_failed(struct trace_file *f, int r)
{
	char text[TRACE_ERROR];

	if (r == TRACE_END) {
		f->failed = r;
		return r;
	}
	if (r == -EFBIG)
		snprintf(text, sizeof(text), "the line is longer than %u MiB",
			 TRACE_LINE_MAX >> 20);
	else
		snprintf(text, sizeof(text), "cannot read: %s", strerror(-r));
	return fail(f, r == -EFBIG ? -EINVAL : r, text);
}

static int file_next(struct trace_source *s, const struct trace_request **ret)
{
	struct trace_file *f = file_of(s);
	char error[TRACE_ERROR];
	const char *line;
	size_t len;
	int r;

	if (f->failed)
		return f->failed;
	do {
		f->line++;
		r = next_line(f, &line, &len);
		if (r)
			return line_failed(f, r);
	} while (blank(line, len));
	r = trace_parse_line(line, len, &f->request, error);
	if (r)
		return fail(f, r, error);
	*ret = &f->request;
	return 0;
}

static void file_progress(const struct trace_source *s, uint64_t *ret_done,
			  uint64_t *ret_total)
{
	const struct trace_file *f =
		(const void *)((const char *)s -
			       offsetof(struct trace_file, source));

	*ret_done = f->done;
	/* a file that grew meanwhile is never read beyond 100 % */
	*ret_total = f->total ? MAX(f->total, f->done) : 0;
}

static void file_close(struct trace_source *s)
{
	struct trace_file *f = file_of(s);

	if (f->fd != STDIN_FILENO)
		fd_close(f->fd);
	trace_request_fini(&f->request);
	free(f->buf);
	free(f->path);
	free(f);
}

static const struct trace_ops file_ops = {
	.next = file_next,
	.progress = file_progress,
	.close = file_close,
};

static int file_attach(struct trace_file *f, const char *path)
{
	struct stat info;

	f->path = mem_dup(path);
	if (!f->path || make_room(f))
		return -ENOMEM;
	if (strcmp(path, "-") == 0) {
		f->fd = STDIN_FILENO;
		return 0;
	}
	if (fault_point(FAULT_IO))
		return -EIO;
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &info) < 0)
		return -errno;
	if (S_ISDIR(info.st_mode))
		return -EISDIR;
	if (S_ISREG(info.st_mode))
		f->total = (uint64_t)info.st_size;
	return 0;
}

int trace_open(const char *path, struct trace_source **ret_source,
	       char error[TRACE_ERROR])
{
	struct trace_file *f = mem_alloc(sizeof(*f));
	int r = -ENOMEM;

	if (f) {
		f->source.ops = &file_ops;
		f->fd = -1;
		r = file_attach(f, path);
		if (!r) {
			*ret_source = &f->source;
			return 0;
		}
		file_close(&f->source);
	}
	snprintf(error, TRACE_ERROR, "%.200s: %s", path, strerror(-r));
	return r;
}
