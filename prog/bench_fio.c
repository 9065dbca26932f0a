/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_fio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

#define FIO_FILE   "onecopy-fio"
#define FIO_OUTPUT (1u << 20)
#define FIO_WORDS  24
#define FIO_WORD   4200

struct fio_line {
	char word[FIO_WORDS][FIO_WORD];
	char *argv[FIO_WORDS + 1];
	int n;
};

static void word(struct fio_line *l, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void word(struct fio_line *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->word[l->n], FIO_WORD, fmt, ap);
	va_end(ap);
	l->argv[l->n] = l->word[l->n];
	l->argv[++l->n] = NULL;
}

/* Runs it to its end; what it printed, zero-terminated. */
static int line_run(struct fio_line *l, char *out, size_t cap)
{
	int ends[2], status = 0;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO); /* words: for the program */
		execvp(l->argv[0], l->argv);
		_exit(127);
	}
	close(ends[1]);
	while (pid > 0 && len < cap - 1 &&
	       (n = read(ends[0], out + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	close(ends[0]);
	out[len] = '\0';
	if (pid < 0)
		return -EAGAIN;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOENT;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int fio_version(char ret_version[64])
{
	struct fio_line *l = mem_alloc(sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	word(l, "fio");
	word(l, "--version");
	r = line_run(l, ret_version, 64);
	ret_version[strcspn(ret_version, "\n")] = '\0';
	free(l);
	return r;
}

void fio_clean(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, FIO_FILE) <
	    (int)sizeof(path))
		unlink(path);
}

static void job_line(const struct fio_job *j, struct fio_line *l)
{
	word(l, "fio");
	word(l, "--name=onecopy");
	word(l, "--filename=%s/%s", j->dir, FIO_FILE);
	word(l, "--ioengine=io_uring");
	word(l, "--direct=1");
	word(l, "--rw=%s", j->rw);
	word(l, "--bs=%" PRIu64, j->block);
	word(l, "--size=%" PRIu64, j->bytes);
	word(l, "--iodepth=%u", j->depth);
	word(l, "--numjobs=1");
	word(l, "--thread");
	word(l, "--output-format=json");
}

static double number(const json_t *o, const char *name)
{
	return json_number_value(json_object_get(o, name));
}

/* Its figures for reading, or writing. */
static int job_figures(const json_t *all, const char *rw,
		       struct fio_result *ret_result)
{
	const json_t *job = json_array_get(json_object_get(all, "jobs"), 0);
	const json_t *io =
		json_object_get(job, strstr(rw, "read") ? "read" : "write");
	double cpu = number(job, "usr_cpu") + number(job, "sys_cpu");
	double seconds = number(io, "runtime") / 1e3;
	struct fio_result r = { .bytes_per_s = number(io, "bw_bytes"),
				.ops_per_s = number(io, "iops") };

	if (r.bytes_per_s <= 0 || number(job, "error") != 0)
		return -EIO;
	r.p99_us = number(json_object_get(json_object_get(io, "clat_ns"),
					  "percentile"),
			  "99.000000") /
		   1e3;
	r.cpu_per_gb = cpu / 100 * seconds * 1e9 / number(io, "io_bytes");
	*ret_result = r;
	return 0;
}

int fio_run(const struct fio_job *job, struct fio_result *ret_result)
{
	struct fio_line *l = mem_alloc(sizeof(*l));
	char *out = mem_alloc(FIO_OUTPUT);
	json_t *all = NULL;
	int r = l && out ? 0 : -ENOMEM;

	if (r == 0) {
		if (job->fresh)
			fio_clean(job->dir);
		job_line(job, l);
		r = line_run(l, out, FIO_OUTPUT);
	}
	if (r == 0) {
		/* notes of its own may come first */
		const char *start = strchr(out, '{');

		all = json_loads(start ? start : out, JSON_DISABLE_EOF_CHECK,
				 NULL);
		r = all ? job_figures(all, job->rw, ret_result) : -EBADMSG;
	}
	if (r)
		fprintf(stderr, "onecopy: bench: fio %s: %s\n", job->rw,
			strerror(-r));
	json_decref(all);
	free(out);
	free(l);
	return r;
}
