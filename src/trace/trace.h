/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a workload, one after another: from a file or generated.
 *
 * A trace file holds one JSON object a line:
 *
 *   {"timestamp": 27482, "input_length": 6955, "output_length": 52,
 *    "hash_ids": [46, 47, 48], "session": 3, "agent": "main", "model": 0,
 *    "stop": "tool_use"}
 *
 * and may say which sessions come next, as who runs a workflow knows it:
 *
 *   "next": [{"session": 4, "agent": "main", "model": 0, "in_ms": 2000}]
 *
 * timestamp is in milliseconds since the trace began; hash_ids has one id for
 * each block of the input, and equal ids mean equal prefixes up to there. The
 * first four fields are required, session, agent, model, stop and next are not
 * (of next: session and in_ms are); others are ignored. Numbers may be written as 5.0 (some writers do), but
 * must be whole and not negative.
 *
 * A file is not trusted: lines, ids and numbers are bounded, memory grows with
 * the longest line and no further, and the first wrong line ends the reading.
 *
 * One thread for each source.
 */
#ifndef ONECOPY_TRACE_TRACE_H
#define ONECOPY_TRACE_TRACE_H

#include "base/compiler.h"

#define TRACE_LINE_MAX	 (16u << 20) /* bytes of a line, without its newline */
#define TRACE_IDS_MAX	 (1u << 20)  /* ids of a request */
#define TRACE_NEXT_MAX	 256u /* sessions that a request says come next */
#define TRACE_NUMBER_MAX (1ull << 53) /* what every JSON writer keeps exact */
#define TRACE_NAME	 32
#define TRACE_ERROR	 256 /* bytes of an error text */

#define TRACE_END 1 /* there are no more requests */

/* Why an answer ended, which says when the session may come back. */
enum trace_stop {
	TRACE_STOP_NONE = 0, /* not said */
	TRACE_STOP_END,	     /* "end_turn", "stop": a person is next */
	TRACE_STOP_TOOL,     /* "tool_use", "tool_calls": back in seconds */
	TRACE_STOP_LENGTH,   /* "max_tokens", "length" */
	TRACE_STOP_OTHER,    /* anything else */
	TRACE_STOPS
};
/* "none", "end", "tool", "length", "other". */
const char *trace_stop_name(enum trace_stop stop);

/* A session, named as in its own requests, is expected after so many ms. */
struct trace_next {
	uint64_t session, model, in_ms;
	char agent[TRACE_NAME];
};

struct trace_request {
	uint64_t timestamp_ms;
	uint64_t input_length, output_length; /* tokens */
	uint64_t session;		      /* TRACE_NO_SESSION: not said */
	uint64_t model;			      /* 0 where it is not said */
	enum trace_stop stop;
	char agent[TRACE_NAME]; /* "" where it is not said; cut when longer */
	size_t n_ids;
	uint64_t *ids; /* each at most TRACE_NUMBER_MAX; NULL when n_ids = 0 */
	size_t room;   /* ids allocated */
	size_t n_next;
	struct trace_next *next; /* NULL when n_next = 0 */
	size_t next_room;
};
#define TRACE_NO_SESSION UINT64_MAX

/*
 * One line without its newline. Pure. A session or model that is a text
 * becomes its XXH3-64 above TRACE_NUMBER_MAX, so that it equals no number.
 * *ret is an initialised request (zeros); its ids and next are reused and grow,
 * free with trace_request_fini(). On failure *ret keeps their memory and is
 * otherwise as it was, but for what they hold. 0; -EINVAL and one line in `error` that says what is
 * wrong (without the line's number); -ENOMEM.
 */
int trace_parse_line(const char *line, size_t len, struct trace_request *ret,
		     char error[TRACE_ERROR]);
void trace_request_fini(struct trace_request *request);

/* ---- sources ------------------------------------------------------------- */

struct trace_source;

struct trace_ops {
	int (*next)(struct trace_source *s, const struct trace_request **ret);
	void (*progress)(const struct trace_source *s, uint64_t *ret_done,
			 uint64_t *ret_total);
	void (*close)(struct trace_source *s);
};

/* The head of each kind of source; made by trace_open() and agents_open(). */
struct trace_source {
	const struct trace_ops *ops;
	char error[TRACE_ERROR]; /* "FILE:LINE: what"; "" without a failure */
	/* Set by whoever reads; NULL: nobody asks. Of a file: called before
	 * each read, when a signal interrupts one, and each second while a pipe
	 * gives nothing. done: 0..1, 0 where the size is not known. A positive
	 * answer ends the reading with -EINTR. */
	int (*tick)(void *ctx, double done);
	void *ctx;
};

/* 0 and a request that stays valid until the next call; TRACE_END; -errno,
 * then s->error says what is wrong, and further calls repeat the failure.
 * -EINTR: s->tick said so. */
static inline int trace_next(struct trace_source *s,
			     const struct trace_request **ret_request)
{
	return s->ops->next(s, ret_request);
}

/* How far: done of total, in bytes or requests; total 0: not known. */
static inline void trace_progress(const struct trace_source *s,
				  uint64_t *ret_done, uint64_t *ret_total)
{
	s->ops->progress(s, ret_done, ret_total);
}

/* Takes NULL. */
static inline void trace_close(struct trace_source *s)
{
	if (s)
		s->ops->close(s);
}

/* Opens a trace file ("-": standard input). -errno of open, and the text. */
int trace_open(const char *path, struct trace_source **ret_source,
	       char error[TRACE_ERROR]);

#endif
