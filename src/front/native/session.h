/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of front/native/ alone. */
#ifndef ONECOPY_FRONT_NATIVE_SESSION_H
#define ONECOPY_FRONT_NATIVE_SESSION_H

#include "front/native/native.h"
#include "wire/msg.h"

struct session {
	struct native *native;
	struct session *next_awake;
	struct store_client *client; /* NULL before HELLO */
	struct segment segment;
	int sock, pidfd; /* -1: none */
	/* A stream pair: the client's bytes wake the server, the server's tell
	 * the client. Not eventfds: both sides of those share one open file,
	 * and a client that makes it blocking could stop the server. The
	 * client's end is kept for a repeated WELCOME. */
	int bell, bell_peer;
	uint64_t head;	  /* requests taken from the ring */
	uint32_t unseen;  /* slots that turn_repeat() has not come to */
	uint64_t busy_ns; /* last time that it had a request */
	uint64_t born_ns; /* for dropping those that never say HELLO */
	bool awake;
	bool notify_due;       /* ring the bell at the end of the turn */
	uint32_t answered[64]; /* slots answered in this turn */
	uint32_t n_answered;
	char *report; /* JSON that the client fetches in pieces */
	size_t report_bytes;
	uint64_t report_id;
};

struct native {
	struct native_options options;
	struct session **session;
	uint32_t n_sessions, cap;
	struct session *awake;
	uint64_t now_ns;
	uint64_t reports; /* for report ids */
	int spare; /* a descriptor kept for refusing when there are no more */
	uint64_t log_second; /* log_some() */
	uint32_t log_lines;
};

/* session.c */
/* A line of the log about what clients do: ten a second at most, so that they
 * cannot fill it. */
void log_some(struct native *n, const char *fmt, ...) PRINTF_LIKE(2, 3);
int session_open(struct native *n, int sock, struct session **ret_session);
void session_close(struct session *s); /* frees; descriptors closed */
int session_watch(struct session *s);
/* The client's end of it is over; `died`: the process is. */
void session_end(struct session *s, bool died);
void session_send(struct session *s, union msg *m, const int *fds,
		  unsigned n_fds);
void session_refuse(struct session *s, uint64_t seq, int error,
		    const char *text);
void session_drop_holds(struct session *s, uint64_t id, uint32_t pool,
			bool keep_pidfd);

/* hello.c */
/* A pool gets what its tenant may have. */
void native_quota(const struct native *n, const char *tenant, struct pool *p);
void hello_handle(struct session *s, const struct msg_hello *hello);

/* region.c */
void region_handle(struct session *s, const struct msg_region *question);
void index_handle(struct session *s, const struct msg_index *question);
void cxl_handle(struct session *s, const struct msg_cxl *question);

/* turn.c */
void turn_wake(struct session *s);
void turn_answer(struct session *s, const struct ring_call *call,
		 const struct ring_answer *answer);
void turn_flush(struct session *s);
void turn_ring(struct session *s); /* the client's bell */
/* After adopting: begins to look at every slot once. */
void turn_repeat(struct session *s);
void turn_wake_sleepers(struct session *s);

/* report.c */
void report_call(struct session *s, const struct ring_call *call,
		 struct ring_answer *ret_answer);
void report_ns_open(struct session *s, struct ring_answer *ret_answer);

#endif
