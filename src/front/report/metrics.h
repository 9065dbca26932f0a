/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All figures of the node in Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). Base units;
 * names of what only grows end in _total. Labels are tenants, tiers, doors and
 * kinds of requests, all of them bounded; clients are in `stat` alone.
 * docs/formats/http.md lists the names.
 */
#ifndef ONECOPY_FRONT_REPORT_METRICS_H
#define ONECOPY_FRONT_REPORT_METRICS_H

#include "front/report/report.h"

/* Text of at most `most` bytes for the caller to free(), terminated; bytes
 * without the terminator. -ENOMEM; -E2BIG. */
int metrics_text(const struct report *r, uint64_t now_ns, size_t most,
		 char **ret_text, size_t *ret_bytes);

#endif
