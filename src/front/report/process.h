/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of this process. */
#ifndef ONECOPY_FRONT_REPORT_PROCESS_H
#define ONECOPY_FRONT_REPORT_PROCESS_H

#include "base/compiler.h"

struct process {
	uint64_t resident_bytes, virtual_bytes; /* 0: not known */
	uint64_t fds, fds_most;			/* open, limit; 0: not known */
	double cpu_s;				/* user and system */
};

/* A few system calls; counts descriptors only as far as that is quick. */
void process_look(struct process *ret_process);

#endif
