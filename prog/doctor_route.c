/* SPDX-License-Identifier: Apache-2.0 */
/* KV-cache routing: how fast keys are computed, how fast a neighbour answers,
 * and the libraries that bring engines' events and a cluster's state. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <onecopy/onecopy.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"

#define TOKENS	65536u
#define BLOCK	16u
#define KEYS_NS (50 * NS_PER_MS)
#define ROUNDS	200u

/* Keys of a long prompt, again and again. */
void doctor_keys(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "keys");
	struct oc_chain_options o = { .size = sizeof(o),
				      .block_tokens = BLOCK };
	CLEANUP(mem_free_at)
	struct oc_key *keys = mem_array(TOKENS / BLOCK + 1, sizeof(*keys));
	CLEANUP(mem_free_at)
	uint32_t *tokens = mem_array(TOKENS, sizeof(*tokens));
	uint64_t start = clock_ns(), ns = 0, made = 0;
	size_t n = 0;
	int e = keys && tokens ? 0 : -ENOMEM;

	(void)d;
	for (uint32_t i = 0; e == 0 && i < TOKENS; i++)
		tokens[i] = i;
	while (e == 0 && ns < KEYS_NS) {
		e = oc_chain(&o, tokens, TOKENS, keys, &n);
		made += n;
		ns = clock_ns() - start;
	}
	if (e) {
		doctor_failed(r, DOCTOR_BROKEN, "keys of a prompt", e);
		return;
	}
	doctor_number(r, "keys_per_s", (double)made * 1e9 / (double)ns);
	doctor_value(r,
		     "%.2f million a second by one thread: %.1f ms for a "
		     "prompt of 65,536 tokens",
		     (double)made * 1e3 / (double)ns,
		     (double)ns / 1e6 / ((double)made * BLOCK / TOKENS));
}

static int tcp_pair(int pair[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CLEANUP(fd_close_at)
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(at);
	int on = 1;

	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || pair[0] < 0)
		return -errno;
	/* port 0: any that is free */
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) < 0 ||
	    connect(pair[0], (struct sockaddr *)&at, len) < 0)
		return -errno;
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair[1] < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return 0;
}

static int echo_rounds(int pair[2], double *ret_ns)
{
	uint64_t start;
	char c = 1;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(pair[0]);
		while (read(pair[1], &c, 1) == 1 && write(pair[1], &c, 1) == 1)
			;
		_exit(0);
	}
	start = clock_ns();
	for (unsigned i = 0; i < ROUNDS; i++)
		if (write(pair[0], &c, 1) != 1 || read(pair[0], &c, 1) != 1)
			return -EIO;
	*ret_ns = (double)(clock_ns() - start) / ROUNDS;
	return 0;
}

void doctor_loopback(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "TCP");
	int pair[2] = { -1, -1 };
	double ns = 0;
	char text[32];
	int e = tcp_pair(pair);

	(void)d;
	if (e == 0)
		e = echo_rounds(pair, &ns);
	fd_close(pair[0]);
	fd_close(pair[1]);
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "a connection to 127.0.0.1",
			      e);
		doctor_cost(r, "Neither routers nor Redis clients reach this "
			       "node: only programs with the library do.");
		doctor_mend(r, "ip link set lo up");
		return;
	}
	doctor_number(r, "round_trip_ns", ns);
	doctor_value(r, "a byte to 127.0.0.1 and back: %s",
		     text_time((uint64_t)ns, text));
}

void doctor_routing_libraries(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	doctor_library(a, "ZeroMQ", "libzmq.so.5", "libzmq5",
		       "Engines' KV events are not received: what lies in "
		       "their memory is not known.");
	doctor_library(a, "msgpack", "libmsgpackc.so.2", "libmsgpackc2",
		       "Engines' KV events cannot be read.");
	doctor_library(a, "hiredis", "libhiredis.so.0.14", "libhiredis0.14",
		       "No cluster state in Valkey or Redis.");
	doctor_library(a, "llama.cpp", "libllama.so", NULL,
		       "No engine in this process: blocks are computed by "
		       "others.");
}
