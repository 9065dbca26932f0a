/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a trace. */
#include "base/log.h"
#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_request r = { 0 };
	char error[TRACE_ERROR] = "";

	if (trace_parse_line((const char *)data, size, &r, error)) {
		must(error[0] && memchr(error, 0, sizeof(error)));
	} else {
		must(r.n_ids <= TRACE_IDS_MAX && r.n_ids <= r.room);
		must(r.timestamp_ms <= TRACE_NUMBER_MAX);
		must(memchr(r.agent, 0, sizeof(r.agent)));
		for (size_t i = 0; i < r.n_ids; i++)
			must(r.ids[i] <= TRACE_NUMBER_MAX);
		must(r.n_next <= TRACE_NEXT_MAX && r.n_next <= r.next_room);
		for (size_t i = 0; i < r.n_next; i++)
			must(r.next[i].session != TRACE_NO_SESSION &&
			     r.next[i].in_ms <= TRACE_NUMBER_MAX &&
			     memchr(r.next[i].agent, 0, TRACE_NAME));
	}
	trace_request_fini(&r);
	return 0;
}
