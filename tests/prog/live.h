/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real node for a test, clients of it, and children that are clients.
 *
 * A node lives in a private directory and writes its log there. What goes wrong
 * in a helper fails the test. Nothing here sleeps: waiting is looking at a
 * condition, and in between at a descriptor that tells of the node's end.
 */
#ifndef ONECOPY_TESTS_PROG_LIVE_H
#define ONECOPY_TESTS_PROG_LIVE_H

#include <onecopy/onecopy.h>
#include <stdbool.h>
#include <sys/types.h>
#include "base/clock.h"
#include "prog/listen.h"
#include "tests/test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIVE_SLOW 1
#endif
#if __has_feature(thread_sanitizer)
#define LIVE_TSAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIVE_SLOW 1
#endif
#ifdef LIVE_SLOW
#define LIVE_N(n_) ((n_) / 10)
#else
#define LIVE_N(n_) (n_)
#endif

#define LIVE_DEADLINE (40 * NS_PER_S)
#define KIB	      1024ull
#define MIB	      (1024 * KIB)

struct live {
	pid_t keeper;
	int pidfd;
	char dir[64], socket[108], log[80], config[80];
	uint16_t port[LISTEN_DOORS]; /* on 127.0.0.1; 0: no such door */
};

/* Doors over TCP: none that is not asked for here. */
#define LIVE_RESP (1u << LISTEN_RESP)
#define LIVE_HTTP (1u << LISTEN_HTTP)
#define LIVE_OWN  (1u << LISTEN_DOORS) /* as the words or the file say */

struct live_how {
	unsigned doors;
	const char *yaml; /* text of a configuration file; NULL: none */
};
/* `onecopy serve` with these options; returns when it answers. */
void live_start_how(struct live *n, struct live_how how,
		    const char *const *words);
#define live_start_doors(n_, doors_, ...)                     \
	live_start_how(n_, (struct live_how){ doors_, NULL }, \
		       (const char *const[]){ __VA_ARGS__, NULL })
/* Without doors. */
void live_start_words(struct live *n, const char *const *words);
#define live_start(n_, ...) \
	live_start_words(n_, (const char *const[]){ __VA_ARGS__, NULL })
/* With a configuration file of this text. */
void live_start_config(struct live *n, const char *yaml);
/* Ends it with SIGTERM, checks that it ended well and removes all of it. */
void live_stop(struct live *n);
/* Room for a node's drive: a new folder, and what --nvme takes, with this size
 * ("64M"). */
#define LIVE_PLACE 64
#define LIVE_DRIVE 80
void live_drive_begin(const char *size, char ret_place[LIVE_PLACE],
		      char ret_option[LIVE_DRIVE]);
/* Removes it and the log in it, in which nothing else is left. */
void live_drive_end(const char *place);
/* kill -9 of keeper and server, none of which comes to do anything more. */
void live_kill(struct live *n, oc_client *c);
/* One that has ended once more, in the same place. */
void live_again(struct live *n, const char *const *words);
/* Only the private directory, for a node that has ended. */
void live_remove(struct live *n);
/* The node's exit status when it has ended within the deadline. */
int live_ended(struct live *n);
/* True when the node's log has this text. */
bool live_said(const struct live *n, const char *text);

struct live_as {
	const char *tenant;
	bool read_only;
	uint32_t pins;
	uint64_t timeout_ns;
};
oc_client *live_connect(const struct live *n);
oc_client *live_connect_as(const struct live *n, struct live_as as);
int live_try(const struct live *n, struct live_as as, oc_client **ret_client,
	     char *error);

/* A namespace of whole parts of this size; of any size up to it. */
oc_ns *live_ns(oc_client *c, uint64_t bytes);
oc_ns *live_ns_any(oc_client *c, uint64_t bytes);

struct oc_key live_key(uint64_t i);
/* Grant, fill, seal of block i's bytes: 0, or what grant or seal said. */
int live_write(oc_ns *ns, uint64_t i, uint64_t bytes);
void live_write_some(oc_ns *ns, uint64_t first, uint64_t n, uint64_t bytes);
/* Pin, compare each byte, unpin: 0, OC_MISS. Wrong bytes fail the test. */
int live_read(oc_ns *ns, uint64_t i, uint64_t bytes);
/* Does it differ from what live_write() wrote? */
bool live_wrong(const struct oc_key *key, const void *data, uint64_t bytes);
/* How many of these blocks are there, and right. */
uint64_t live_read_some(oc_ns *ns, uint64_t first, uint64_t n, uint64_t bytes);

/* Of the node's report. */
uint64_t live_counter(oc_client *c, const char *name);
uint64_t live_node(oc_client *c, const char *name);
pid_t live_server(oc_client *c);
struct oc_stat live_stat(oc_client *c);
/* `check` finds nothing wrong. */
void live_check(oc_client *c);

/* Waits until a condition holds. */
struct live_wait {
	uint64_t until;
};
void live_pause(const struct live *n, struct live_wait *w, const char *what);
#define LIVE_WAIT(n_, cond_)                            \
	do {                                            \
		struct live_wait wait_ = { 0 };         \
		while (!(cond_))                        \
			live_pause(n_, &wait_, #cond_); \
	} while (0)

/* A child of the test, and a socket to it. */
struct child {
	pid_t pid;
	int fd;
};
struct child child_start(void (*run)(const struct live *n, int fd, void *arg),
			 const struct live *n, void *arg);
/* One byte. hear: fails the test when the other side ends or takes long. */
void child_say(int fd, char word);
char child_hear(int fd);
/* Exit status of a child that ends by itself; or is killed. */
int child_end(struct child *c);
void child_kill(struct child *c);

/* Descriptors that a process holds. */
unsigned live_fds(pid_t pid);
/* Bytes that the memory behind a process's memfds takes. */
uint64_t live_memfd_bytes(pid_t pid);

#endif
