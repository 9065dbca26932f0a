/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines in processes of their own, for the demonstration and the bench: each
 * loads llama.cpp and a model after it was forked, and answers one question at
 * a time over a socket pair.
 *
 * Life cycle. worker_start() forks; worker_hear() then gives the first reply,
 * when the model is loaded. worker_ask() sends a question and worker_hear()
 * waits for its answer. worker_kill() ends the process with SIGKILL whatever it
 * does: that is what is demonstrated, and there is nothing it has to tidy. The
 * kernel ends it when the caller dies. The caller must not have loaded an
 * engine itself: its threads would not be there in the child.
 */
#ifndef ONECOPY_PROG_LLAMA_WORKER_H
#define ONECOPY_PROG_LLAMA_WORKER_H

#include "llama/session.h"

#define WORKER_TEXT   1024
#define WORKER_MOST   128  /* tokens of one answer */
#define WORKER_PROMPT 8192 /* tokens, and bytes of a text */

enum worker_op {
	WORKER_TOKENS,	/* text to tokens */
	WORKER_ANSWER,	/* a prompt, and so many tokens of an answer */
	WORKER_SAVE,	/* what the sequence holds, to a state file of the
			  engine's own making */
	WORKER_RESTORE, /* that file, then the prompt's last token */
};

struct worker_ask {
	enum worker_op op;
	bool share;	   /* the node may be used */
	bool fresh;	   /* the sequence is emptied before */
	uint32_t generate; /* at most WORKER_MOST */
	const char *path;  /* of the state file */
};

struct worker_reply {
	int result;
	char error[SESSION_ERROR];
	char engine[32]; /* its version */
	bool random;	 /* weights; else the model has been trained */
	int32_t trained; /* tokens of a context that it was trained for */
	uint64_t parameters;
	struct session_times times;
	uint64_t first_logits, logits; /* digests */
	bool shared;		       /* stat says something */
	struct oc_llama_stat stat;
	uint32_t n; /* WORKER_TOKENS: their number; else of the answer */
	int32_t tokens[WORKER_PROMPT];
	char text[WORKER_TEXT]; /* of the answer */
};

struct worker;

/* `options` must stay until worker_hear() has returned. */
int worker_start(const struct session_options *options,
		 struct worker **ret_worker);
/* tokens: of the prompt; WORKER_TOKENS: the bytes of a text, one each. 0;
 * -EPIPE it has died. */
int worker_ask(struct worker *w, const struct worker_ask *ask,
	       const int32_t *tokens, size_t n);
/* Waits. tick() (may be NULL) is called some times a second. 0 also when
 * ret_reply->result says that it failed; -EPIPE it has died; -EINTR asked to
 * stop; -ETIMEDOUT. */
int worker_hear(struct worker *w, void (*tick)(void *ctx), void *ctx,
		struct worker_reply *ret_reply);
/* Takes NULL. */
void worker_kill(struct worker *w);

#endif
