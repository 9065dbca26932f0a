/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over a session's own pages: softmax(Q K^T / sqrt(d)) V by two
 * processes, each on a fork of one session, without a copy of K or V.
 *
 * One process writes K and V of a prompt, block by block, and ends. Two others
 * fork its session and map the fork slice after slice, so that K and V are plain
 * arrays over all tokens. Each computes its attention twice: from the pages of
 * the node, and from a private copy; the results are the same to the last bit,
 * and the pages of both together are the memory of one.
 *
 *	cc attend.c -lonecopy -lm -o attend
 *	onecopy serve & ./attend
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <onecopy/session.h>
#include <onecopy/space.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_TOKENS 16
#define TOKENS	     4096
#define BLOCKS	     (TOKENS / BLOCK_TOKENS)
#define HEADS	     4
#define DIM	     64
#define ROW	     (HEADS * DIM) /* floats of a token in K, or in V */
#define SLICE	     (BLOCK_TOKENS * ROW * sizeof(float))
#define SESSION	     "attend-example"
#define LEASE_MS     60000
#define WAIT_NS	     5000000000ull

static void need(int r, const char *what, oc_client *c)
{
	if (r == 0)
		return;
	fprintf(stderr, "attend: %s: %s\n", what,
		c && *oc_client_error(c) ? oc_client_error(c) : oc_strerror(r));
	exit(1);
}

static oc_ns *start(oc_client **ret_client)
{
	/* A part: K of 16 tokens, then V of them; whole pages each. In slabs that
	 * are striped for it, K of neighbouring blocks lies side by side. */
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = BLOCK_TOKENS,
		.n_groups = 1,
		.groups = { { .slices = 2,
			      .slice_bytes = SLICE,
			      .stride = OC_STRIPED } },
		.label = "attend",
	};
	char error[256] = "";
	oc_ns *ns;

	if (oc_client_connect(NULL, ret_client, error)) {
		fprintf(stderr, "attend: %s\n", error);
		exit(1);
	}
	need(oc_ns_open(*ret_client, &o, 0, &ns), "namespace", *ret_client);
	return ns;
}

/* ---- what a model would compute ---- */

static float noise(uint64_t n)
{
	n = (n ^ n >> 31) * 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 29) * 0xbf58476d1ce4e5b9ull;
	return (float)(int32_t)(n >> 32) / 2147483648.0f;
}

/* One head: `out` is DIM floats. K and V have ROW floats a token. */
static void attend(const float *q, const float *k, const float *v, float *out)
{
	static float weight[TOKENS];
	float most = -INFINITY, sum = 0;

	for (int t = 0; t < TOKENS; t++) {
		float dot = 0;

		for (int i = 0; i < DIM; i++)
			dot += q[i] * k[t * ROW + i];
		weight[t] = dot / sqrtf(DIM);
		most = fmaxf(most, weight[t]);
	}
	for (int t = 0; t < TOKENS; t++)
		sum += weight[t] = expf(weight[t] - most);
	memset(out, 0, DIM * sizeof(*out));
	for (int t = 0; t < TOKENS; t++)
		for (int i = 0; i < DIM; i++)
			out[i] += weight[t] / sum * v[t * ROW + i];
}

static void attend_heads(int who, const float *k, const float *v, float *out)
{
	float q[ROW];

	for (int i = 0; i < ROW; i++)
		q[i] = 4 * noise((uint64_t)who << 32 | (uint64_t)i);
	for (int h = 0; h < HEADS; h++)
		attend(q + h * DIM, k + h * DIM, v + h * DIM, out + h * DIM);
}

/* ---- the process that writes ---- */

static void write_prompt(void)
{
	struct oc_chain_options co = { .size = sizeof(co),
				       .block_tokens = BLOCK_TOKENS };
	struct oc_session_options so = OC_SESSION_INIT;
	static uint32_t token[TOKENS];
	static struct oc_key key[BLOCKS];
	static float part[2 * BLOCK_TOKENS * ROW];
	oc_session *session;
	oc_client *c;
	oc_ns *ns = start(&c);
	size_t n;
	int r;

	for (uint32_t i = 0; i < TOKENS; i++)
		token[i] = i % 1000;
	need(oc_chain(&co, token, TOKENS, key, &n), "keys", c);
	for (size_t b = 0; b < n; b++) {
		for (size_t i = 0; i < 2 * BLOCK_TOKENS * ROW; i++)
			part[i] = noise(b << 32 | 1u << 30 | i);
		r = oc_put(ns, &key[b], (struct oc_part){ 0, 0 }, part,
			   sizeof(part), 0);
		need(r == OC_EXISTS ? 0 : r, "put", c);
	}
	so.name = SESSION;
	so.flags = OC_SESSION_LEASED;
	so.lease_ms = LEASE_MS;
	need(oc_session_open(ns, &so, 0, &session), "session", c);
	if (oc_session_blocks(session) == 0)
		need(oc_session_append(session, key, n, 0), "append", c);
	oc_session_leave(session);
	oc_ns_close(ns);
	oc_client_close(c);
}

/* ---- those that read ---- */

struct result {
	int equal;
	uint64_t bytes, pss, mappings;
	float first;
};

/* PSS of what lies at these addresses, in bytes. */
static uint64_t pss_of(const char *base, uint64_t bytes)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long long from, to, kib;
	uint64_t sum = 0;
	int inside = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
			inside = from >= (uintptr_t)base &&
				 to <= (uintptr_t)base + bytes;
		else if (inside && sscanf(line, "Pss: %llu kB", &kib) == 1)
			sum += kib * 1024;
	}
	if (f)
		fclose(f);
	return sum;
}

static void barrier(int to, int from)
{
	char word = 'x';

	if (write(to, &word, 1) != 1 || read(from, &word, 1) != 1)
		exit(1);
}

/* A touch of what was evicted before the span held it is SIGBUS: say it first. */
static void need_all(oc_span *span, oc_client *c)
{
	struct oc_span_info info;
	int r = oc_span_prefetch(span, 0, BLOCKS, OC_PREFETCH_WAIT, WAIT_NS);

	need(r < 0 ? r : 0, "prefetch", c);
	need(oc_span_info(span, &info), "info", c);
	if (info.lost == 0)
		return;
	fprintf(stderr,
		"attend: %zu of %d blocks were evicted: the node needs more "
		"memory than the prompt (%llu bytes)\n",
		info.lost, BLOCKS, (unsigned long long)info.bytes);
	exit(1);
}

static void read_prompt(int who, int to, int from)
{
	struct oc_session_options so = OC_SESSION_INIT;
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info info;
	float shared[ROW], private[ROW];
	struct result result = { 0 };
	oc_session *session, *own;
	oc_space *space;
	oc_span *span;
	oc_client *c;
	oc_ns *ns = start(&c);
	float *copy;

	so.name = SESSION;
	so.flags = OC_SESSION_LEASED;
	need(oc_session_open(ns, &so, 0, &session), "session", c);
	need(oc_session_fork(session, NULL, 0, &own), "fork", c);
	need(oc_space_create(ns, NULL, &space), "space", c);
	o.layout = OC_LAYOUT_SLICES;
	o.flags = OC_SPAN_READ_ONLY;
	o.capacity = BLOCKS;
	need(oc_span_map_session(space, own, &o, 0, &span), "map", c);
	need_all(span, c);
	need(oc_span_info(span, &info), "info", c);
	attend_heads(who, info.base,
		     (float *)((char *)info.base + info.slice_stride), shared);
	/* both have touched all of it */
	barrier(to, from);
	result.pss = pss_of(info.base, info.bytes);
	barrier(to, from);

	copy = malloc(info.bytes);
	if (!copy)
		exit(1);
	memcpy(copy, info.base, info.bytes);
	attend_heads(who, copy, copy + info.slice_stride / sizeof(float),
		     private);
	result.equal = memcmp(shared, private, sizeof(shared)) == 0;
	result.bytes = info.bytes;
	result.mappings = info.mappings;
	result.first = shared[0];
	if (write(to, &result, sizeof(result)) != sizeof(result))
		exit(1);
	free(copy);
	oc_span_unmap(span);
	oc_space_destroy(space);
	oc_session_close(own, 0);
	oc_session_leave(session);
	oc_ns_close(ns);
	oc_client_close(c);
}

/* ---- both ---- */

static void in_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		exit(1);
}

/* Starts one that reads. Nobody else has the ends that it has: when it dies, the
 * parent's read ends. */
static pid_t start_reader(int who, int *ret_to, int *ret_from)
{
	int to[2], from[2];
	pid_t pid;

	need(pipe2(to, O_CLOEXEC) ? -errno : 0, "pipe", NULL);
	need(pipe2(from, O_CLOEXEC) ? -errno : 0, "pipe", NULL);
	pid = fork();
	need(pid < 0 ? -errno : 0, "fork", NULL);
	if (pid == 0) {
		close(to[1]);
		close(from[0]);
		read_prompt(who, from[1], to[0]);
		exit(0);
	}
	close(to[0]);
	close(from[1]);
	*ret_to = to[1];
	*ret_from = from[0];
	return pid;
}

/* Its end of a pipe is closed: it has ended, and mostly said why. */
static void ended_early(int who, pid_t pid)
{
	int status = 0;

	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		fprintf(stderr, "attend: process %d: %s\n", who,
			strsignal(WTERMSIG(status)));
	fprintf(stderr, "attend: process %d ended before it was done\n", who);
	exit(1);
}

int main(void)
{
	int to[2], from[2], status, failed = 0;
	struct result result[2];
	pid_t pid[2];
	char word;

	signal(SIGPIPE, SIG_IGN);
	in_child(write_prompt);
	for (int i = 0; i < 2; i++)
		pid[i] = start_reader(i, &to[i], &from[i]);
	for (int step = 0; step < 2; step++) {
		for (int i = 0; i < 2; i++)
			if (read(from[i], &word, 1) != 1)
				ended_early(i, pid[i]);
		for (int i = 0; i < 2; i++)
			if (write(to[i], "x", 1) != 1)
				ended_early(i, pid[i]);
	}
	for (int i = 0; i < 2; i++)
		if (read(from[i], &result[i], sizeof(result[i])) !=
		    sizeof(result[i]))
			ended_early(i, pid[i]);
	while (wait(&status) > 0)
		failed |= status;
	for (int i = 0; i < 2; i++)
		printf("process %d: %d tokens, %llu bytes of K and V in %llu "
		       "mappings, PSS %llu; %s its private copy\n",
		       i, TOKENS, (unsigned long long)result[i].bytes,
		       (unsigned long long)result[i].mappings,
		       (unsigned long long)result[i].pss,
		       result[i].equal ? "bit-equal to" : "NOT EQUAL to");
	printf("both: PSS %llu, %.2f of one\n",
	       (unsigned long long)(result[0].pss + result[1].pss),
	       (double)(result[0].pss + result[1].pss) /
		       (double)result[0].bytes);
	return failed || !result[0].equal || !result[1].equal ||
	       result[0].pss + result[1].pss > result[0].bytes * 21 / 20;
}
