/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of `bench resp`. */
#ifndef ONECOPY_PROG_BENCH_RESP_H
#define ONECOPY_PROG_BENCH_RESP_H

#include "bench.h"
#include "bench_resp_peer.h"

/* What ten thousand connections cost that do nothing: before any other work is
 * done, since memory that was freed would pay for them. */
int bench_resp_idle(struct bench *b, const struct bench_peer *p);

#endif
