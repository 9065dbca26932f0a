/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include <fcntl.h>
#include <unistd.h>
#include "base/fault.h"
#include "trace/trace.h"

#define LINE(t)                                                         \
	"{\"timestamp\":" #t ",\"input_length\":1,\"output_length\":2," \
	"\"hash_ids\":[1,2," #t "]}"

static char path[64];

static void write_file(const char *text, size_t len)
{
	int fd;

	snprintf(path, sizeof(path), "/tmp/onecopy-trace-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	CHECK(fd >= 0);
	while (len) {
		ssize_t n = write(fd, text, len);

		CHECK(n > 0);
		text += n;
		len -= (size_t)n;
	}
	close(fd);
}

static struct trace_source *open_text(const char *text)
{
	struct trace_source *s = NULL;
	char error[TRACE_ERROR] = "";

	write_file(text, strlen(text));
	CHECK_OK(trace_open(path, &s, error));
	unlink(path);
	return s;
}

TEST(requests_in_order)
{
	/* a blank line, a CR before the newline, no newline at the end */
	struct trace_source *s =
		open_text(LINE(1) "\n\n" LINE(2) "\r\n" LINE(3));
	const struct trace_request *r;
	uint64_t done, total;

	for (unsigned i = 1; i <= 3; i++) {
		CHECK_OK(trace_next(s, &r));
		CHECK_INT(r->timestamp_ms, ==, i);
		CHECK_INT(r->n_ids, ==, 3);
		CHECK_INT(r->ids[2], ==, i);
	}
	trace_progress(s, &done, &total);
	CHECK_INT(done, ==, total);
	CHECK_INT(total, ==, 3 * strlen(LINE(1)) + 4);
	CHECK_INT(trace_next(s, &r), ==, TRACE_END);
	CHECK_INT(trace_next(s, &r), ==, TRACE_END);
	CHECK_STR(s->error, "");
	trace_close(s);
}

TEST(empty_file_ends_at_once)
{
	struct trace_source *s = open_text("");
	const struct trace_request *r;

	CHECK_INT(trace_next(s, &r), ==, TRACE_END);
	trace_close(s);
}

TEST(wrong_line_is_named)
{
	struct trace_source *s =
		open_text(LINE(1) "\n\n{\"timestamp\":1}\n" LINE(2) "\n");
	const struct trace_request *r;
	char want[128];

	CHECK_OK(trace_next(s, &r));
	CHECK_INT(trace_next(s, &r), ==, -EINVAL);
	snprintf(want, sizeof(want), "%s:3: no \"input_length\"", path);
	CHECK_STR(s->error, want);
	CHECK_INT(trace_next(s, &r), ==, -EINVAL);
	CHECK_STR(s->error, want);
	trace_close(s);
}

TEST(endless_line_is_refused)
{
	size_t len = TRACE_LINE_MAX + 100;
	struct trace_source *s = NULL;
	const struct trace_request *r;
	char error[TRACE_ERROR];
	char *text = malloc(len);

	CHECK(text);
	memset(text, ' ', len);
	write_file(text, len);
	free(text);
	CHECK_OK(trace_open(path, &s, error));
	unlink(path);
	CHECK_INT(trace_next(s, &r), ==, -EINVAL);
	CHECK(strstr(s->error, ":1: the line is longer than 16 MiB"));
	trace_close(s);
}

struct asked {
	unsigned n, stop_at;
	double done;
};

static int ask(void *ctx, double done)
{
	struct asked *a = ctx;

	CHECK(done >= a->done && done <= 1);
	a->done = done;
	return ++a->n == a->stop_at;
}

/* Who reads is asked on the way, and may end it there. */
TEST(reading_is_ended_when_asked)
{
	size_t line = strlen(LINE(1) "\n"), n = 8000;
	char *text = calloc(n, line + 1);
	struct trace_source *s;
	const struct trace_request *r;
	struct asked a = { 0 };
	int e;

	CHECK(text);
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * line, LINE(1) "\n", line);
	s = open_text(text);
	free(text);
	s->tick = ask;
	s->ctx = &a;
	CHECK_OK(trace_next(s, &r));
	CHECK_INT(a.n, ==, 1);
	a.stop_at = 3;
	do
		e = trace_next(s, &r);
	while (!e);
	CHECK_INT(e, ==, -EINTR);
	CHECK_INT(a.n, ==, 3);
	CHECK(a.done > 0.1 && a.done < 0.9);
	CHECK_INT(trace_next(s, &r), ==, -EINTR);
	CHECK_INT(a.n, ==, 3);
	trace_close(s);
}

/* ... also where nothing comes. */
TEST(a_silent_pipe_is_not_waited_for)
{
	struct trace_source *s = NULL;
	const struct trace_request *r;
	struct asked a = { .stop_at = 2 };
	char error[TRACE_ERROR];
	int ends[2];

	CHECK_OK(pipe2(ends, O_CLOEXEC));
	snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
	CHECK_OK(trace_open(path, &s, error));
	s->tick = ask;
	s->ctx = &a;
	CHECK_INT(trace_next(s, &r), ==, -EINTR);
	CHECK_INT(a.n, ==, 2);
	trace_close(s);
	close(ends[0]);
	close(ends[1]);
}

TEST(missing_file_and_folder)
{
	struct trace_source *s = NULL;
	char error[TRACE_ERROR];

	CHECK_INT(trace_open("/nonexistent/x", &s, error), ==, -ENOENT);
	CHECK_STR(error, "/nonexistent/x: No such file or directory");
	CHECK_INT(trace_open("/tmp", &s, error), ==, -EISDIR);
	CHECK(!s);
	trace_close(NULL);
}

/* Reads all; every failure has a text. */
static int read_all(const char *file)
{
	struct trace_source *s = NULL;
	const struct trace_request *req;
	char error[TRACE_ERROR] = "";
	int r = trace_open(file, &s, error);

	if (r) {
		CHECK(error[0]);
		return r;
	}
	do
		r = trace_next(s, &req);
	while (!r);
	CHECK(r == TRACE_END || s->error[0]);
	trace_close(s);
	return r;
}

TEST(every_fault_is_reported)
{
	static const char text[] = LINE(1) "\n" LINE(2) "\n";
	uint64_t n = 0;
	int r;

	write_file(text, sizeof(text) - 1);
	do {
		fault_arm(FAULT_ALL, ++n, false);
		r = read_all(path);
		CHECK_INT(r == TRACE_END, ==, !fault_fired());
	} while (r != TRACE_END);
	fault_arm(0, 0, false);
	unlink(path);
	CHECK_INT(n, >, 5);
}
