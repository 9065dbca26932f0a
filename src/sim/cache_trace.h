/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace in memory, as the simulation of one cache reads it: requests in the
 * order of the file, their blocks as dense numbers (0 .. distinct - 1, in the
 * order of first use). Made once, then read only. Memory is that of the trace;
 * a node never needs this.
 *
 * A request whose timestamp lies before its predecessor's has the
 * predecessor's: the file's order is the order of arrival, and time does not
 * run back.
 */
#ifndef ONECOPY_SIM_CACHE_TRACE_H
#define ONECOPY_SIM_CACHE_TRACE_H

#include "base/compiler.h"
#include "trace/trace.h"

struct sim_request {
	uint64_t at_ms;
	uint64_t session; /* TRACE_NO_SESSION: not said */
	uint64_t first;	  /* its blocks: block[first .. first + n) */
	uint32_t n;
	uint32_t input, output; /* tokens, at most UINT32_MAX */
	uint32_t kind;		/* hash of agent and model */
	enum trace_stop stop;
	uint32_t n_next;
	uint64_t first_next; /* next[first_next .. + n_next) */
};

/* That session, of callers of that kind, is expected in so many ms. */
struct sim_next {
	uint64_t session, in_ms;
	uint32_t kind;
};

struct sim_trace {
	struct sim_request *request;
	uint64_t requests, request_cap;
	uint32_t *block;
	uint64_t blocks, block_cap;
	uint64_t *id; /* of a dense number, as in the trace */
	uint32_t distinct;
	uint64_t id_cap;
	uint64_t *used; /* while it is made: 1 + the last request with it */
	struct sim_next *next;
	uint64_t nexts, next_cap;
	uint64_t late;	/* requests whose time lay before their predecessor's */
	uint32_t *slot; /* hash table: dense number + 1 */
	uint64_t slots;
};

void sim_trace_init(struct sim_trace *t);
void sim_trace_fini(struct sim_trace *t);
/* 0, -ENOMEM, -E2BIG (more than 2^30 distinct blocks). An id that stands twice
 * in a request counts where it stands first. */
int sim_trace_add(struct sim_trace *t, const struct trace_request *request);
/* All requests of a source. 0, -ENOMEM, -E2BIG, or what trace_next() said,
 * with the text in s->error. */
int sim_trace_load(struct sim_trace *t, struct trace_source *s);
struct fleet_work;
/* Generated work; a block's id is its node. Its sessions have no names. 0,
 * -ENOMEM, -E2BIG. */
int sim_trace_make(struct sim_trace *t, const struct fleet_work *w);

#endif
