/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "deck.h"
#include "stop.h"
#include "trace/trace.h"

int deck_load(struct deck *d, struct trace_source *source, uint64_t limit)
{
	const struct trace_request *q;
	uint64_t first_ms = 0;
	int r = 0;

	while (r == 0 && (limit == 0 || d->requests < limit)) {
		if (stop_wanted())
			return -EINTR;
		r = trace_next(source, &q);
		if (r == TRACE_END)
			return 0;
		if (r) {
			fprintf(stderr, "onecopy: %s\n", source->error);
			return r;
		}
		if (d->requests == 0)
			first_ms = q->timestamp_ms;
		r = deck_add(d,
			     q->timestamp_ms > first_ms
				     ? q->timestamp_ms - first_ms
				     : 0,
			     q->session == TRACE_NO_SESSION ? DECK_NO_SESSION
							    : q->session,
			     q->ids, (uint32_t)q->n_ids);
	}
	return r;
}
