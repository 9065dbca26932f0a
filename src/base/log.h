/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of the programs. The library logs nothing unless its user gives it
 * a sink. One line a fact, written with one write(2); thread safe.
 */
#ifndef ONECOPY_BASE_LOG_H
#define ONECOPY_BASE_LOG_H

#include "base/compiler.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Receives a whole line without newline. */
typedef void (*log_sink)(void *ctx, enum log_level level, const char *line);

/* Default: no sink, nothing is written. log_to_stderr prints
 * "TIME onecopy[pid] level: line" (for systemd's journal its priority instead
 * of the time). `who` replaces "onecopy" (NULL keeps it); the
 * string must live as long as the process. */
void log_set(log_sink sink, void *ctx, enum log_level most);
void log_to_stderr(enum log_level most, const char *who);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* Always-on assertion for cheap checks of shared state: says what is wrong and
 * aborts, because going on would spread the damage. */
#define must(cond)                                              \
	do {                                                    \
		if (unlikely(!(cond)))                          \
			must_failed(#cond, __FILE__, __LINE__); \
	} while (0)
_Noreturn void must_failed(const char *cond, const char *file, int line);

#endif
