/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama.cpp over onecopy. onecopy-llama measures, because it is the program that
 * finds the engine at run time; here its figures are judged.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench.h"
#include "beside.h"
#include "exit.h"

#define OUTPUT	256u * 1024
#define TICK_MS 200

static const struct bench_figure wanted[] = {
	{ .name = "ttft_vs_cold",
	  .unit = "x",
	  .sense = BENCH_AT_MOST,
	  .wanted = 0.01,
	  .against =
		  "the same prompt of 2,048 tokens computed, in the same run",
	  .note = "time to the first token in a process that has never seen the "
		  "prompt" },
	{ .name = "ttft_vs_statefile",
	  .unit = "x",
	  .sense = BENCH_AT_MOST,
	  .wanted = 1.2,
	  .against =
		  "the engine's own state file, restored from the page cache" },
	{ .name = "logits_equal",
	  .unit = "wrong",
	  .sense = BENCH_AT_MOST,
	  .wanted = 0,
	  .against =
		  "logits computed cold, bit for bit: whole prompts, a prefix "
		  "with the rest computed, after a kill of the server" },
	{ .name = "shared_bytes",
	  .unit = "x",
	  .sense = BENCH_AT_MOST,
	  .wanted = 1.05,
	  .against =
		  "the unique blocks of three agents over one system prompt" },
	{ .name = "ttft_drive_vs_cold",
	  .unit = "x",
	  .sense = BENCH_AT_MOST,
	  .wanted = 0.05,
	  .against =
		  "the same prompt of 2,048 tokens computed, in the same run",
	  .note = "the node was stopped and started again: all blocks come from "
		  "its drive" },
	{ .name = "miss_overhead",
	  .unit = "%",
	  .sense = BENCH_AT_MOST,
	  .wanted = 2,
	  .against = "prompts that share nothing, computed without onecopy",
	  .note = "processor time, or time in onecopy's calls, the larger" },
	{ .name = "export_stall",
	  .unit = "%",
	  .sense = BENCH_AT_MOST,
	  .wanted = 3,
	  .against = "generating without exporting",
	  .note = "processor time, or time in onecopy's calls, the larger" },
};

/* ---- the other program */

struct child {
	pid_t pid;
	int out, err;
	char text[OUTPUT];
	char said[1024]; /* the end of what it wrote as errors */
	size_t n, n_said;
};

_Noreturn static void child_exec(const struct bench *b, const char *path,
				 int out, int err, pid_t parent)
{
	char runs[16];
	const char *argv[] = { "onecopy-llama",
			       "bench",
			       "--runs",
			       runs,
			       b->model ? "--model" : NULL,
			       b->model,
			       NULL };

	snprintf(runs, sizeof(runs), "%u", b->runs);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || dup2(out, 1) < 0 || /* words: its output */
	    dup2(err, 2) < 0)			       /* words: as above */
		_exit(127);
	execv(path, (char **)(uintptr_t)argv);
	_exit(127);
}

static int child_start(const struct bench *b, const char *path, struct child *c)
{
	pid_t parent = getpid();
	int out[2], err[2];

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	if (pipe2(err, O_CLOEXEC)) {
		int r = -errno;

		close(out[0]);
		close(out[1]);
		return r;
	}
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0)
		child_exec(b, path, out[1], err[1], parent);
	close(out[1]);
	close(err[1]);
	c->out = out[0];
	c->err = err[0];
	return c->pid < 0 ? -errno : 0;
}

/* What does not fit is left out: of the report nothing then is believed. */
static bool child_take(int *fd, char *text, size_t cap, size_t *n)
{
	char buf[4096];
	ssize_t got = read(*fd, buf, sizeof(buf));

	if (got < 0 && errno == EINTR)
		return true;
	if (got <= 0) {
		close(*fd);
		*fd = -1;
		return false;
	}
	if ((size_t)got < cap - *n) {
		memcpy(text + *n, buf, (size_t)got);
		*n += (size_t)got;
		text[*n] = '\0';
	}
	return true;
}

/* Until it has closed both; false: out of time, or asked to stop. */
static bool child_hear(const struct bench *b, struct child *c)
{
	while (c->out >= 0 || c->err >= 0) {
		struct pollfd p[2] = { { .fd = c->out, .events = POLLIN },
				       { .fd = c->err, .events = POLLIN } };
		int n = poll(p, 2, TICK_MS);

		if (bench_late(b))
			return false;
		if (n > 0 && p[0].revents)
			child_take(&c->out, c->text, sizeof(c->text), &c->n);
		if (n > 0 && p[1].revents)
			child_take(&c->err, c->said, sizeof(c->said),
				   &c->n_said);
	}
	return true;
}

/* Its exit status. It tidies up after SIGTERM: its node is a process too. */
static int child_end(struct child *c, bool heard)
{
	int status = 0;

	if (!heard)
		kill(c->pid, SIGTERM);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (c->out >= 0)
		close(c->out);
	if (c->err >= 0)
		close(c->err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- its report */

static uint32_t values_of(const json_t *one, double *values)
{
	const json_t *list = json_object_get(one, "values");
	size_t n = MIN(json_array_size(list), (size_t)BENCH_RUNS_MAX);

	for (size_t i = 0; i < n; i++)
		values[i] = json_number_value(json_array_get(list, i));
	return (uint32_t)n;
}

static const struct bench_figure *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (strcmp(wanted[i].name, name) == 0)
			return &wanted[i];
	return NULL;
}

static void tell_engine(struct bench *b, const json_t *root)
{
	const char *engine = json_string_value(json_object_get(root, "engine"));
	const char *model = json_string_value(json_object_get(root, "model"));
	double parameters =
		json_number_value(json_object_get(root, "parameters"));
	double compared =
		json_number_value(json_object_get(root, "compared_answers"));
	char name[128];

	if (!b->figures)
		printf("llama.cpp %s, %s, %.0f M parameters; %.0f answers "
		       "compared\n",
		       engine ? engine : "?", model ? model : "?",
		       parameters / 1e6, compared);
	snprintf(name, sizeof(name), "llama.cpp %s, %s", engine ? engine : "?",
		 model ? model : "?");
	if (b->figures)
		bench_inform(b, name, "parameters", &parameters, 1);
	bench_inform(b, "compared_answers", "answers", &compared, 1);
}

static int tell(struct bench *b, const char *text)
{
	json_t *root = json_loads(text, 0, NULL);
	const json_t *one;
	size_t i;

	if (!root)
		return -EPROTO;
	tell_engine(b, root);
	json_array_foreach(json_object_get(root, "figures"), i, one) {
		const char *name =
			json_string_value(json_object_get(one, "figure"));
		const char *unit =
			json_string_value(json_object_get(one, "unit"));
		const struct bench_figure *f = name ? find(name) : NULL;
		double values[BENCH_RUNS_MAX];
		uint32_t n = values_of(one, values);

		if (n == 0 || !name || !unit)
			continue;
		if (f)
			bench_report(b, f, values, n);
		else
			bench_inform(b, name, unit, values, n);
	}
	json_decref(root);
	return 0;
}

static int unmeasured(struct bench *b, const char *why)
{
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		bench_unmeasured(b, wanted[i].name, why);
	return 0;
}

int bench_llama(struct bench *b)
{
	static struct child c; /* large */
	char path[4096];
	bool heard;
	int r = beside_path("onecopy-llama", path, sizeof(path));

	if (r)
		return unmeasured(b, "onecopy-llama is not beside onecopy");
	bench_says("llama: engines compute prompts, for a minute or two");
	memset(&c, 0, sizeof(c));
	r = child_start(b, path, &c);
	if (r)
		return r;
	heard = child_hear(b, &c);
	r = child_end(&c, heard);
	if (!heard)
		return -ETIME;
	c.said[strcspn(c.said, "\n")] = '\0';
	if (r == PROG_BAD_INPUT) /* no engine, no such model */
		return unmeasured(b, c.said[0] ? c.said : "no engine");
	if (r) {
		fprintf(stderr, "%s\n", c.said);
		return -EIO;
	}
	return tell(b, c.text);
}
