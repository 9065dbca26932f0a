/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of `bench resp`: 8 connections, one request in flight on each, as
 * LMCache's client works, and the same code against every peer.
 *
 * Keys have LMCache's form and all the same length, so that a request's size
 * depends on the value's alone. A value begins and ends with a stamp of its
 * key; in between lies memory that rotates, so that caches are treated alike
 * whoever answers. Each answer's framing and both stamps are checked.
 *
 * Two threads (LOAD_THREADS) with an epoll each serve all connections: of one
 * thread, two, and one for each connection, two made the bare socket fastest and
 * steadiest. One is the limit before a server is; eight wait for each other.
 */
#ifndef ONECOPY_PROG_BENCH_RESP_LOAD_H
#define ONECOPY_PROG_BENCH_RESP_LOAD_H

#include <stdint.h>

#include "bench_resp_peer.h"

#ifndef LOAD_THREADS
#define LOAD_THREADS 2u
#endif
#define LOAD_LINKS	8u
#define LOAD_KEYS_MAX	16384u
#define LOAD_VALUE_MAX	(16ull << 20)
#define LOAD_PIPELINE	16u
#define LOAD_TIMEOUT_MS 10000

enum load_op { LOAD_SET, LOAD_GET, LOAD_EXISTS };

struct load_plan {
	enum load_op op;
	uint64_t bytes; /* of a value */
	unsigned keys;	/* a multiple of LOAD_PIPELINE; in order, again and
			   again */
	uint64_t ns;	/* no new request after that long; 0: each key once */
};

struct load_done {
	uint64_t commands, bytes; /* bytes of values */
	uint64_t ns; /* from the first request to the last answer */
};

struct bench_load;

/* The client's memory. */
int bench_load_open(struct bench_load **ret_load);
/* Takes NULL. */
void bench_load_close(struct bench_load *l);

/* Connects to a peer, whose connections stay open until bench_load_close(). */
int bench_load_connect(struct bench_load *l, const struct bench_peer *p);
/* 0, or -errno after saying why on stderr. */
int bench_load_run(struct bench_load *l, const struct bench_peer *p,
		   const struct load_plan *plan, struct load_done *ret_done);

#endif
