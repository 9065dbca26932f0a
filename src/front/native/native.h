/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native door: clients of libonecopy over the node's socket and their
 * segments. Sockets carry only what needs descriptors (wire/msg.h); all else
 * goes through the ring (wire/ring.h).
 *
 *   accept -> session (no client yet) -> HELLO -> client: segment, bell,
 *   pidfd, all held by the keeper before the record is published
 *
 * A session is *awake* while its ring is looked at in every turn, and asleep
 * (its client must ring the bell) when nothing came for a while.
 * Each turn serves a bounded number of requests of each awake session, so no
 * client keeps another waiting.
 *
 * A client ends when its pidfd says so; a closed socket alone ends only the
 * session (store_client_close()).
 */
#ifndef ONECOPY_FRONT_NATIVE_NATIVE_H
#define ONECOPY_FRONT_NATIVE_NATIVE_H

#include "front/report/report.h"
#include "loop/loop.h"
#include "store/store.h"

struct native;

#define NATIVE_TENANTS_MAX 16
#define NATIVE_UIDS_MAX	   16
#define NATIVE_TOKENS_MAX  4

struct native_tenant {
	char name[LAYOUT_NAME];
	uint32_t uids[NATIVE_UIDS_MAX];
	uint32_t n_uids;
	uint64_t quota_bytes; /* 0: the node's limit */
	uint64_t share_bytes; /* guaranteed */
	uint8_t token_sha256[NATIVE_TOKENS_MAX][32];
	uint32_t n_tokens; /* who has one may come, whatever its user */
};

struct native_options {
	struct loop *loop;
	struct store *store;
	const struct hold_ops *hold;
	int listen_fd; /* SOCK_SEQPACKET, non-blocking; stays the caller's */
	uint32_t max_clients;
	uint32_t pins, overflow;     /* quota of one client */
	const struct report *report; /* what clients are told; stays the
					caller's */
	/* Besides "default", which the node's own user and root may use. */
	struct native_tenant tenant[NATIVE_TENANTS_MAX];
	uint32_t n_tenants;
};

int native_create(const struct native_options *options,
		  struct native **ret_native);
/* Closes this process's descriptors; clients stay held. */
void native_destroy(struct native *n);
/* Takes over the clients of a pool that a predecessor served. The store's pool
 * is attached already. */
int native_adopt(struct native *n, struct pool *p, struct hold_set *given);
/* Is the process of this client still there? For store_pool_attach(): looks
 * at descriptors in `given` without taking them. */
bool native_alive(const struct hold_set *given, uint32_t pool, uint64_t client);

/* Serves rings once. True when there was something to do. *ret_awake: a session
 * is awake, its ring must be looked at again soon. */
bool native_turn(struct native *n, uint64_t now_ns, bool *ret_awake);

/* For store_options. ctx: a struct native **. */
void native_answer(void *ctx, struct store_client *c,
		   const struct ring_call *call,
		   const struct ring_answer *answer);
void native_announce(void *ctx, struct store_client *c);
void native_ended(void *ctx, struct store_client *c);
void native_ask(void *ctx, struct store_client *c);
int native_end(void *ctx, struct store_client *c);

/* All clients learn that the node ends. */
void native_stop(struct native *n);

#endif
