/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/text.h"
#include "llama/state.h"
#include "stop.h"

#define TICK_MS	    100
#define PATH_BYTES  512
#define DEADLINE_NS (600 * NS_PER_S)

struct worker {
	pid_t pid;
	int fd;
};

/* As it goes over the socket; n tokens follow. */
struct question {
	struct worker_ask ask;
	char path[PATH_BYTES];
	uint32_t n;
};

/* ---- the socket */

/* -EPIPE at its end. */
static int read_all(int fd, void *buf, size_t n)
{
	char *at = buf;

	while (n) {
		ssize_t got = read(fd, at, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EPIPE;
		at += got;
		n -= (size_t)got;
	}
	return 0;
}

static int write_all(int fd, const void *buf, size_t n)
{
	const char *at = buf;

	while (n) {
		ssize_t put = send(fd, at, n, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -EPIPE;
		at += put;
		n -= (size_t)put;
	}
	return 0;
}

/* ---- the engine's side */

struct answer {
	struct worker_reply *reply;
	size_t text;
};

static bool keep_text(void *ctx, const char *bytes, size_t n)
{
	struct answer *a = ctx;
	size_t room = WORKER_TEXT - 1 - a->text;

	n = MIN(n, room);
	memcpy(a->reply->text + a->text, bytes, n);
	a->text += n;
	a->reply->text[a->text] = '\0';
	return true;
}

static int do_tokens(struct session *s, const int32_t *bytes, uint32_t n,
		     struct worker_reply *reply)
{
	char *text = calloc(1, n + 1ull);
	int32_t *tokens = NULL;
	size_t got = 0;
	int r;

	if (!text)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		text[i] = (char)bytes[i];
	r = session_tokens(s, text, false, &tokens, &got);
	if (r == 0) {
		reply->n = (uint32_t)MIN(got, (size_t)WORKER_PROMPT);
		memcpy(reply->tokens, tokens, reply->n * sizeof(*tokens));
	}
	free(tokens);
	free(text);
	return r;
}

static int do_answer(struct session *s, const struct question *q,
		     const int32_t *tokens, struct worker_reply *reply)
{
	struct answer a = { .reply = reply };
	oc_llama *share = s->share;
	int r;

	if (!q->ask.share)
		s->share = NULL;
	r = session_prompt(s, tokens, q->n);
	if (r == 0)
		r = session_generate(s, MIN(q->ask.generate, WORKER_MOST),
				     keep_text, &a);
	s->share = share;
	if (r || s->times.generated == 0)
		return r;
	/* The last one was sampled and not decoded. */
	reply->n = (uint32_t)s->times.generated;
	memcpy(reply->tokens, s->tokens + q->n,
	       (reply->n - 1) * sizeof(*s->tokens));
	reply->tokens[reply->n - 1] = s->sampled;
	return 0;
}

static int do_state(struct session *s, const struct question *q,
		    const int32_t *tokens)
{
	if (q->ask.op == WORKER_SAVE)
		return state_save(s, q->path);
	return state_restore(s, q->path, tokens, q->n);
}

static void reply_fill(struct session *s, struct worker_reply *reply)
{
	reply->times = s->times;
	reply->first_logits = s->first_logits;
	reply->logits = s->logits;
	reply->shared = s->share != NULL;
	if (s->share)
		oc_llama_stat(s->share, &reply->stat);
	text_copy(reply->error, sizeof(reply->error),
		  s->error[0] ? s->error : s->no_node);
}

static int serve_one(struct session *s, int fd, struct worker_reply *reply)
{
	static int32_t tokens[WORKER_PROMPT];
	struct question q;
	int r = read_all(fd, &q, sizeof(q));

	if (r == 0 && q.n > WORKER_PROMPT)
		r = -E2BIG;
	if (r == 0)
		r = read_all(fd, tokens, q.n * sizeof(*tokens));
	if (r)
		return r;
	s->error[0] = '\0';
	reply->n = 0;
	reply->text[0] = '\0';
	if (q.ask.fresh)
		session_forget(s);
	if (q.ask.op == WORKER_TOKENS)
		reply->result = do_tokens(s, tokens, q.n, reply);
	else if (q.ask.op == WORKER_ANSWER)
		reply->result = do_answer(s, &q, tokens, reply);
	else
		reply->result = do_state(s, &q, tokens);
	reply_fill(s, reply);
	return write_all(fd, reply, sizeof(*reply));
}

_Noreturn static void serve(const struct session_options *o, int fd,
			    pid_t parent)
{
	static struct worker_reply reply; /* large, as is the session */
	static struct session s;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	reply.result = session_init(&s, o);
	s.watch = true;
	if (reply.result == 0) {
		text_copy(reply.engine, sizeof(reply.engine),
			  state_engine_version());
		reply.random = s.random;
		reply.trained = s.abi.llama_model_n_ctx_train(s.model);
		reply.parameters = state_parameters(&s);
	}
	reply_fill(&s, &reply);
	r = write_all(fd, &reply, sizeof(reply));
	while (r == 0 && reply.result != -EINTR)
		r = serve_one(&s, fd, &reply);
	_exit(0);
}

/* ---- the caller's side */

int worker_start(const struct session_options *options,
		 struct worker **ret_worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	pid_t parent = getpid();
	int fds[2];

	if (!w)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
		free(w);
		return -errno;
	}
	fflush(NULL);
	w->pid = fork();
	if (w->pid == 0) {
		close(fds[0]);
		serve(options, fds[1], parent);
	}
	close(fds[1]);
	w->fd = fds[0];
	if (w->pid < 0) {
		int r = -errno;

		close(w->fd);
		free(w);
		return r;
	}
	*ret_worker = w;
	return 0;
}

int worker_ask(struct worker *w, const struct worker_ask *ask,
	       const int32_t *tokens, size_t n)
{
	struct question q = { .ask = *ask, .n = (uint32_t)n };
	int r;

	if (n > WORKER_PROMPT ||
	    text_copy(q.path, sizeof(q.path), ask->path ? ask->path : ""))
		return -E2BIG;
	r = write_all(w->fd, &q, sizeof(q));
	return r ? r : write_all(w->fd, tokens, n * sizeof(*tokens));
}

int worker_hear(struct worker *w, void (*tick)(void *ctx), void *ctx,
		struct worker_reply *ret_reply)
{
	uint64_t end = clock_ns() + DEADLINE_NS;
	struct pollfd p = { .fd = w->fd, .events = POLLIN };

	for (;;) {
		int n = poll(&p, 1, TICK_MS);

		if (stop_wanted())
			return -EINTR;
		if (n > 0)
			return read_all(w->fd, ret_reply, sizeof(*ret_reply));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (clock_ns() > end)
			return -ETIMEDOUT;
		if (tick)
			tick(ctx);
	}
}

void worker_kill(struct worker *w)
{
	if (!w)
		return;
	kill(w->pid, SIGKILL);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	close(w->fd);
	free(w);
}
