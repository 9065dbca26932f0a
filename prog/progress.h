/* SPDX-License-Identifier: Apache-2.0 */
/* A line of progress on stderr, when that is a terminal. */
#ifndef ONECOPY_PROG_PROGRESS_H
#define ONECOPY_PROG_PROGRESS_H

#include <stdbool.h>

/* done: 0..1. Writes over its last line. */
void progress_show(bool terminal, const char *what, double done);
void progress_clear(bool terminal);

#endif
