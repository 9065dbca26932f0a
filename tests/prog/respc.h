/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small client of Redis's protocol that looks at bytes, and nodes with that
 * door. What goes wrong fails the test, unless a function says otherwise.
 * Sending reads as well, so that long pipelines do not stand still.
 */
#ifndef ONECOPY_TESTS_PROG_RESPC_H
#define ONECOPY_TESTS_PROG_RESPC_H

#include "tests/prog/live.h"

struct respc {
	int fd;
	bool ended; /* the other side has */
	char *buf;  /* what came and was not taken: [at, len) */
	size_t at, len, cap;
};

struct respc *respc_open(uint16_t port);
/* NULL: nobody listens. */
struct respc *respc_try_open(uint16_t port);
void respc_close(struct respc *c);

/* false: the connection ended in between. */
bool respc_try_send(struct respc *c, const void *bytes, size_t len);
void respc_send(struct respc *c, const void *bytes, size_t len);
/* Text, without its terminating zero. */
void respc_say(struct respc *c, const char *text);
/* A command of words. */
void respc_command(struct respc *c, const char *const *words);
#define RESPC(c_, ...) \
	respc_command(c_, (const char *const[]){ __VA_ARGS__, NULL })

/* The next answer's bytes, whole; valid until the next call. NULL: the
 * connection ended before it was. */
const char *respc_answer(struct respc *c, size_t *ret_len);
/* The next answer is exactly this. */
void respc_expect(struct respc *c, const char *text);
/* A command of words and its exact answer. */
#define RESPC_IS(c_, text_, ...)         \
	do {                             \
		RESPC(c_, __VA_ARGS__);  \
		respc_expect(c_, text_); \
	} while (0)
/* The next answer is an integer. */
int64_t respc_int(struct respc *c);
/* The other side has ended, or ends now; what came before is thrown away. */
void respc_await_end(struct respc *c);

/* Values whose bytes say which they are. */
void respc_bytes(uint64_t id, char *buf, size_t len);
/* SET key <value>, not waiting; and its answer is +OK. */
void respc_set_send(struct respc *c, const char *key, uint64_t id, size_t len);
void respc_set(struct respc *c, const char *key, uint64_t id, size_t len);
/* 0: exactly this value; 1: null; -1: the connection ended before it was whole.
 * Anything else fails the test. */
int respc_value(struct respc *c, uint64_t id, size_t len);
int respc_get(struct respc *c, const char *key, uint64_t id, size_t len);
/* Binary words. */
struct respc_word {
	const void *at;
	size_t len;
};
void respc_words(struct respc *c, const struct respc_word *w, size_t n);

/* A node with the door; yaml NULL: as it is by default. */
void respc_node(struct live *n, const char *yaml, const char *const *words);
#define RESPC_NODE(n_, yaml_, ...) \
	respc_node(n_, yaml_, (const char *const[]){ __VA_ARGS__, NULL })
static inline uint16_t respc_port(const struct live *n)
{
	return n->port[LISTEN_RESP];
}
/* A counter of the door, of all tenants together. */
uint64_t respc_counter(oc_client *c, const char *name);
/* A number of INFO, of the tenant. */
uint64_t respc_info(struct respc *c, const char *name);
/* Sockets that a process holds. */
unsigned respc_sockets(pid_t pid);
/* Memory of a process, in bytes. */
uint64_t respc_rss(pid_t pid);

#endif
