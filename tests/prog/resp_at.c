/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/resp_at.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define RESP_DRAM     "1G"
#define RESP_PASSWORD "correct horse"
#define RESP_WAIT_S   30

/* ---- the server */

/* A port that was free a moment ago. */
static unsigned resp_port(void)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(fd, >=, 0);
	CHECK_OK(bind(fd, (struct sockaddr *)&at, len));
	CHECK_OK(getsockname(fd, (struct sockaddr *)&at, &len));
	close(fd);
	return ntohs(at.sin_port);
}

static void resp_given(struct resp_at *s, const char *address, bool password)
{
	const char *colon = strrchr(address, ':');
	const char *secret = getenv("ONECOPY_RESP_PASSWORD");
	char auth[96];
	int fd;

	CHECK(colon != NULL);
	if (password != (secret != NULL))
		SKIP("the server at ONECOPY_RESP_ADDRESS has %s password",
		     secret ? "a" : "no");
	snprintf(s->host, sizeof(s->host), "%.*s", (int)(colon - address),
		 address);
	snprintf(s->port, sizeof(s->port), "%s", colon + 1);
	fd = resp_at_dial(s);
	if (secret) {
		snprintf(s->password, sizeof(s->password), "%s", secret);
		snprintf(auth, sizeof(auth), "AUTH \"%s\"\r\n", secret);
		resp_at_ask(fd, auth, "+OK\r\n");
	}
	resp_at_ask(fd, "FLUSHDB\r\n", "+OK\r\n");
	close(fd);
}

static void resp_started(struct resp_at *s, bool password)
{
	char address[96], path[96];
	FILE *f;

	snprintf(s->host, sizeof(s->host), "127.0.0.1");
	snprintf(s->port, sizeof(s->port), "%u", resp_port());
	snprintf(address, sizeof(address), "%s:%s", s->host, s->port);
	s->own = true;
	if (!password) {
		live_start(&s->node, "--dram", RESP_DRAM, "--resp", address);
		return;
	}
	snprintf(s->password, sizeof(s->password), RESP_PASSWORD);
	snprintf(path, sizeof(path), "%s/password", run_dir());
	f = fopen(path, "we");
	CHECK(f != NULL);
	CHECK_OK(fchmod(fileno(f), 0600));
	fprintf(f, "%s\n", s->password);
	CHECK_OK(fclose(f));
	live_start(&s->node, "--dram", RESP_DRAM, "--resp", address,
		   "--resp-password-file", path);
}

void resp_at_open(struct resp_at *s, bool password)
{
	const char *given = getenv("ONECOPY_RESP_ADDRESS");

	memset(s, 0, sizeof(*s));
	if (given)
		resp_given(s, given, password);
	else
		resp_started(s, password);
}

void resp_at_close(struct resp_at *s)
{
	if (s->own)
		live_stop(&s->node);
	run_clean();
}

/* ---- talking to it */

int resp_at_dial(const struct resp_at *s)
{
	struct timeval wait = { .tv_sec = RESP_WAIT_S };
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *to;
	int fd;

	CHECK_INT(getaddrinfo(s->host, s->port, &hints, &to), ==, 0);
	fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(fd, >=, 0);
	CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)));
	CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)));
	if (connect(fd, to->ai_addr, to->ai_addrlen))
		FAIL("%s:%s: %s", s->host, s->port, strerror(errno));
	freeaddrinfo(to);
	return fd;
}

void resp_at_send(int fd, const void *data, size_t bytes)
{
	const char *at = data;

	while (bytes) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);

		if (n < 0)
			FAIL("send: %s", strerror(errno));
		at += n;
		bytes -= (size_t)n;
	}
}

void resp_at_recv(int fd, void *data, size_t bytes)
{
	char *at = data;
	size_t left = bytes;

	while (left) {
		ssize_t n = recv(fd, at, left, 0);

		if (n <= 0)
			FAIL("%zu of %zu bytes came: %s", bytes - left, bytes,
			     n ? strerror(errno) : "the connection was closed");
		at += n;
		left -= (size_t)n;
	}
}

void resp_at_ask(int fd, const char *request, const char *answer)
{
	char got[256] = "";
	size_t want = strlen(answer);

	CHECK_INT(want, <, sizeof(got));
	resp_at_send(fd, request, strlen(request));
	resp_at_recv(fd, got, want);
	CHECK_STR(got, answer);
}

/* ---- programs */

static int tool_file(const char *text, size_t bytes)
{
	int fd = memfd_create("tool", MFD_CLOEXEC);

	CHECK_INT(fd, >=, 0);
	for (size_t at = 0; at < bytes;) {
		ssize_t n = write(fd, text + at, bytes - at);

		CHECK_INT(n, >, 0);
		at += (size_t)n;
	}
	CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
	return fd;
}

static char *tool_read(int fd)
{
	char *text = calloc(1, RUN_OUTPUT + 1);

	CHECK(text != NULL);
	CHECK_INT(pread(fd, text, RUN_OUTPUT, 0), >=, 0);
	close(fd);
	return text;
}

void tool_need(const char *name)
{
	const char *path = getenv("PATH");
	char file[512];
	size_t len;

	if (name[0] == '/' && access(name, X_OK) == 0)
		return;
	for (; name[0] != '/' && path && *path; path += len + !!path[len]) {
		len = strcspn(path, ":");
		snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, name);
		if (access(file, X_OK) == 0)
			return;
	}
	SKIP("%s is not installed", name);
}

struct run tool_run(const char *const *words, const char *input, size_t bytes)
{
	int in = tool_file(input, input ? bytes : 0);
	int out = tool_file(NULL, 0), err = tool_file(NULL, 0);
	struct run r;
	pid_t pid = fork();

	CHECK_INT(pid, >=, 0);
	if (pid == 0) {
		CHECK_INT(dup2(in, 0), ==, 0);	/* words: its own input */
		CHECK_INT(dup2(out, 1), ==, 1); /* words: its own output */
		CHECK_INT(dup2(err, 2), ==, 2); /* words: its own output */
		execvp(words[0], (char **)(uintptr_t)words);
		_exit(126);
	}
	close(in);
	r.status = run_end(pid, 0);
	r.out = tool_read(out);
	r.err = tool_read(err);
	if (r.status == 77)
		SKIP("%.*s", (int)strcspn(r.out, "\n"), r.out);
	if (r.err[0])
		fprintf(stderr, "%s", r.err);
	return r;
}
