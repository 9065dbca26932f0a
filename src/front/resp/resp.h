/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door: clients of Redis, unchanged. What it understands, and where it
 * differs from Redis, is in docs/formats/resp.md.
 *
 *   listen -> accept -> connection: stream (plain or TLS) + parser
 *     small commands are answered at once from the store
 *     SET: a frame is granted when the value's length is known, the payload
 *       is received into it and hashed piece by piece, sealed at the end
 *     GET: the frame is pinned, hashed and sent piece by piece; its last
 *       piece leaves when the checksum was right
 *
 * A connection that dies leaves nothing: its frame is granted to the server and
 * goes back, its pin is dropped. One that stands still is ended, sooner while
 * others wait for room.
 */
#ifndef ONECOPY_FRONT_RESP_RESP_H
#define ONECOPY_FRONT_RESP_RESP_H

#include "front/door.h"
#include "front/resp/stream.h"

#define RESP_USERS_MAX 64

struct resp_door;

struct resp_user {
	char name[LAYOUT_NAME];
	uint8_t password_sha256[32];
	char tenant[LAYOUT_NAME];
};

struct resp_options {
	struct loop *loop;
	struct store *store;
	int listen_fd; /* listening, non-blocking; stays the caller's */
	struct stream_tls *tls; /* NULL: plain; stays the caller's */
	/* requirepass, the password of user "default"; NULL: none, and without
	 * users either no authentication */
	const uint8_t *password_sha256;
	const struct resp_user *users; /* copied */
	unsigned n_users;
	uint32_t max_connections;
	/* A long value is not hashed again when it was right so lately; 0: it
	 * always is. */
	uint64_t verify_ns;
	uint64_t stall_ns;   /* without a step forward: the connection ends */
	const char *version; /* of onecopy */
	uint16_t port;	     /* for INFO */
	/* What a tenant may have, for a pool that is made when its first user
	 * comes. NULL: all. */
	uint64_t (*quota)(void *ctx, const char *tenant);
	uint64_t (*share)(void *ctx, const char *tenant);
	/* Without authentication, a peer on this machine is known by its user
	 * (front/peer.h): may that use the tenant? NULL: all may. */
	bool (*allowed)(void *ctx, const char *tenant, uint32_t uid);
	/* without authentication, and told so by name: all peers may */
	bool anybody;
	void *ctx; /* of both */
};

/* Bytes of a value's name. */
#define RESP_VALUE_NAME_MAX 16384u

/* The key of the block that a name's value is kept in: docs/formats/resp.md.
 * Pure. */
void resp_block_key(const char *name, uint32_t len, uint8_t ret_key[32]);

/* Of a block's parts (bit i: group i) in the door's namespace, those that it needs
 * when these are there: a record for each name that it has. 0: no block of a
 * name. Pure. */
uint64_t resp_block_needs(const uint64_t key[4], uint64_t there);

int resp_create(const struct resp_options *options,
		struct resp_door **ret_door);
void resp_destroy(struct resp_door *d);
const struct door *resp_counts(const struct resp_door *d);
/* Called as often as store_tick(). */
void resp_tick(struct resp_door *d, uint64_t now_ns);
/* A grant of the server's own client that waited is answered. */
void resp_answer(struct resp_door *d, struct store_client *c,
		 const struct ring_call *call,
		 const struct ring_answer *answer);

#endif
