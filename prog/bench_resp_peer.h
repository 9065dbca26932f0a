/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The servers that `bench resp` measures, each in processes of its own on a
 * port of the loopback: a private node, redis-server, and a bare socket that
 * moves the same bytes.
 *
 * Life cycle: bench_peer_start() returns when the peer accepts connections;
 * bench_peer_stop() ends it. A caller that is killed takes them along. One
 * thread.
 */
#ifndef ONECOPY_PROG_BENCH_RESP_PEER_H
#define ONECOPY_PROG_BENCH_RESP_PEER_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "node.h"

enum bench_peer_kind { PEER_ONECOPY, PEER_REDIS, PEER_SOCKET, PEERS };

#define BENCH_PEER_DRAM (2ull << 30) /* of the node */
#define BENCH_BARE_AREA (256ull << 20)
/* What the bare socket writes at both ends of a value. */
#define BENCH_BARE_STAMP 0x6f6e65636f707921ull

/* What the bare socket moves: its process reads this before each request. The
 * client writes it while no request is in flight, so relaxed order is enough:
 * the request's own bytes come later. */
struct bench_bare {
	_Atomic uint64_t in_bytes;    /* of a request, framing included */
	_Atomic uint64_t value_bytes; /* of that or of the answer */
	_Atomic uint64_t answers;     /* 1: answers a value; 0: "+OK" */
};

struct bench_peer {
	enum bench_peer_kind kind;
	const char *name;
	char version[128];
	uint16_t port;
	pid_t pid[2]; /* processes that work for it; 0: none */
	struct node *node;
	oc_client *client;	 /* of the node */
	struct bench_bare *bare; /* shared with the bare socket's process */
	char dir[64];
};

/* 0, or -errno after saying why on stderr. -ENOENT without a word: it is not
 * installed. */
int bench_peer_start(struct bench_peer *p, enum bench_peer_kind kind);
/* Takes one that was never started. */
void bench_peer_stop(struct bench_peer *p);

/* Processor time of all its threads, also of those that have ended. */
int bench_peer_cpu(const struct bench_peer *p, uint64_t *ret_ns);
/* Its share of memory (PSS). */
int bench_peer_memory(const struct bench_peer *p, uint64_t *ret_bytes);
/* How often its threads went to sleep, and so were woken. To be preempted by
 * others is no wakeup and does not count. */
int bench_peer_wakeups(const struct bench_peer *p, uint64_t *ret_wakeups);

/* The bare socket's process: serves until it is killed. */
_Noreturn void bench_bare_serve(int listen_fd, const struct bench_bare *what);

#endif
