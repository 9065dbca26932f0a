/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What doors count, for whoever reports it (front/report, front/http). A door
 * owns its struct door and hands a pointer to it to the reporters; all in the
 * server's one thread.
 */
#ifndef ONECOPY_FRONT_DOOR_H
#define ONECOPY_FRONT_DOOR_H

#include "base/hist.h"
#include "store/store.h"

/* By tenant. X(name, text): names end in what Prometheus expects of the unit;
 * all but those ending in _now only grow. */
#define DOOR_COUNTERS(X)                                            \
	X(connections_now, "connections open now")                  \
	X(connections, "connections accepted")                      \
	X(refused, "connections refused or closed by the door")     \
	X(auth_failures, "attempts to authenticate that failed")    \
	X(requests, "requests answered")                            \
	X(errors, "requests answered with an error")                \
	X(hits, "values found")                                     \
	X(misses, "values not found")                               \
	X(received_bytes, "bytes received")                         \
	X(sent_bytes, "bytes sent")                                 \
	X(value_received_bytes, "bytes of values that were stored") \
	X(value_sent_bytes, "bytes of values that were sent")       \
	X(value_copied_bytes, "bytes of values copied in between")  \
	X(stalled, "connections ended because their peer stood still")

enum door_counter {
#define X(name, text) DOOR_C_##name,
	DOOR_COUNTERS(X)
#undef X
		DOOR_COUNTERS_USED
};
extern const char *const door_counter_names[DOOR_COUNTERS_USED];
extern const char *const door_counter_texts[DOOR_COUNTERS_USED];

#define DOOR_KINDS_MAX 8 /* kinds of requests with times of their own */
#define DOORS_MAX      4

struct door {
	const char *name; /* "resp", "http", "native" */
	/* by the pool's number; what belongs to no tenant yet is the last's */
	uint64_t count[STORE_POOLS_MAX + 1][DOOR_COUNTERS_USED];
	/* From the last byte of a request to the first of its answer given to
	 * the kernel, ns. */
	const char *kind[DOOR_KINDS_MAX]; /* "get", "set", ...; NULL: unused */
	struct hist time_ns[DOOR_KINDS_MAX];
};

#define DOOR_NO_TENANT STORE_POOLS_MAX

static inline void door_count(struct door *d, uint32_t pool,
			      enum door_counter c, uint64_t n)
{
	d->count[pool][c] += n;
}

#endif
