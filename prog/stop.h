/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asked to stop. SIGINT, SIGTERM and SIGHUP set a flag that long loops look at,
 * so that every exit path runs its cleanup. Waits in system calls end with
 * EINTR (no SA_RESTART). Forked children keep the handlers.
 */
#ifndef ONECOPY_PROG_STOP_H
#define ONECOPY_PROG_STOP_H

#include <stdbool.h>

void stop_catch(void);
/* The signal that asked, or 0. */
int stop_wanted(void);

#endif
