/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static log_sink sink_fn;
static void *sink_ctx;
static enum log_level sink_most = LOG_INFO;
static const char *sink_who = "onecopy";
static bool sink_journal; /* systemd's journal stamps the time itself */

static const char *const level_names[] = { "error", "warning", "info",
					   "debug" };

void log_set(log_sink sink, void *ctx, enum log_level most)
{
	sink_fn = sink;
	sink_ctx = ctx;
	sink_most = most;
}

static void sink_stderr(void *ctx, enum log_level level, const char *line)
{
	static const int priority[] = { 3, 4, 6, 7 };
	char out[1200], stamp[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	int n;

	(void)ctx;
	if (sink_journal)
		snprintf(stamp, sizeof(stamp), "<%d>", priority[level]);
	else if (gmtime_r(&now, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ ", &tm);
	n = snprintf(out, sizeof(out), "%s%s[%d] %s: %s\n", stamp, sink_who,
		     (int)getpid(), level_names[level], line);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(out)) {
		n = (int)sizeof(out);
		out[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, out, (size_t)n) < 0)
		return; /* nowhere left to say it */
}

void log_to_stderr(enum log_level most, const char *who)
{
	if (who)
		sink_who = who;
	sink_journal = getenv("JOURNAL_STREAM") != NULL;
	log_set(sink_stderr, NULL, most);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!sink_fn || level > sink_most)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sink_fn(sink_ctx, level, line);
}

void must_failed(const char *cond, const char *file, int line)
{
	char out[512];
	int n = snprintf(out, sizeof(out), "onecopy[%d] bug: %s:%d: %s\n",
			 (int)getpid(), file, line, cond);

	if (n > 0 && write(STDERR_FILENO, out, MIN((size_t)n, sizeof(out))) < 0)
		abort();
	abort();
}
