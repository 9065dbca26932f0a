/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door over real sockets, in one process: a store without clients, a
 * loop, the door, and callers by hand in the same thread: whatever waits, turns
 * the loop.
 *
 * Time is the node's own: it begins with the clock's, and passes as nothing
 * happens. What does not come within so many idle turns does not come.
 */
#ifndef ONECOPY_TESTS_FRONT_COUNTER_H
#define ONECOPY_TESTS_FRONT_COUNTER_H

#include "front/resp/internal.h"
#include "store/internal.h"
#include "tests/pool/fake_hold.h"
#include "tests/test.h"

#define IDLE_TURNS 2000

struct counter {
	struct fake_hold k;
	struct hold_ops hold;
	struct store *store;
	struct loop *loop;
	struct resp_door *door;
	int listen_fd;
	uint16_t port;
	uint64_t now;
	unsigned idle; /* turns in which nothing happened, in a row */
	bool broken;   /* its loop has failed: a server would start afresh */
};

/* Skips the test where the backend is not to be had. */
void counter_open(struct counter *n, enum loop_backend backend,
		  uint64_t limit_bytes, uint64_t stall_ns);
void counter_close(struct counter *n);
/* Once around, all ticks included. */
void counter_turn(struct counter *n);
/* As the server looks when it serves nobody. */
void counter_check_quiet(struct counter *n);
uint64_t counter_sum(const struct counter *n, enum door_counter which);
/* Tenant "default", once somebody came. */
struct resp_tenant *counter_tenant(struct counter *n);
/* False: it does not come to pass. */
#define COUNTER_UNTIL(n_, cond_)                            \
	({                                                  \
		(n_)->idle = 0;                             \
		while (!(cond_) && (n_)->idle < IDLE_TURNS) \
			counter_turn(n_);                   \
		(cond_);                                    \
	})

/* ---- requests: bytes that grow */
struct text {
	char *at;
	size_t n, cap;
};
void text_add(struct text *t, const void *bytes, size_t n);
/* A request of words. */
void text_words(struct text *t, unsigned n, ...);
void text_array(struct text *t, unsigned n);
void text_word(struct text *t, const char *word);
/* `n` bytes that depend on seed (1 .. 255), as a bulk string. */
void text_value(struct text *t, unsigned seed, size_t n);
bool text_is_value(const struct text *t, unsigned seed, size_t bytes);
void text_free(struct text *t);

/* ---- callers */
struct caller {
	struct counter *n;
	int fd;
	char *in;
	size_t got, cap, whole; /* whole: bytes of the first reply */
	size_t put;		/* bytes of the request that are sent */
	bool ended;
};
struct caller caller_open(struct counter *n);
void caller_close(struct caller *c);
/* With a reset. */
void caller_reset(struct caller *c);
/* What the socket takes of it now. */
size_t caller_put(struct caller *c, const char *bytes, size_t n);
/* Takes what came. True: a reply is whole, or the connection ended. */
bool caller_look(struct caller *c);

enum said { SAID_REPLY, SAID_ERROR, SAID_ENDED, SAID_NOTHING };
/* Sends all and waits for one reply, which is in c->in up to c->whole. */
enum said caller_ask(struct caller *c, const struct text *request);
/* Goes on with it, for no more than so many idle turns. */
enum said caller_wait(struct caller *c, const struct text *request,
		      unsigned idle_turns);
/* The same, with a connection of its own; reply NULL: nobody wants it. */
enum said counter_ask(struct counter *n, const struct text *request,
		      struct text *reply);
void counter_ask_ok(struct counter *n, const struct text *request,
		    const char *reply);
/* Somebody new is served. */
void counter_check_serves(struct counter *n);

#endif
