/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_resp_peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "stop.h"

#define PEER_WAIT_NS (20 * NS_PER_S)

static int peer_fail(const struct bench_peer *p, const char *what, int r)
{
	fprintf(stderr, "onecopy: bench: %s: %s: %s\n", p->name, what,
		strerror(-r));
	return r;
}

/* A listening socket of the loopback, on a port that the kernel picks. */
static int peer_listen(struct bench_peer *p)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&at, &len)) {
		int r = -errno;

		close(fd);
		return r;
	}
	p->port = ntohs(at.sin_port);
	return fd;
}

/* A port that was free a moment ago: those peers that listen by themselves
 * want a number. */
static int peer_port(struct bench_peer *p)
{
	int fd = peer_listen(p);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static bool peer_answers(const struct bench_peer *p)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons(p->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = fd >= 0 &&
		   connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

	if (fd >= 0)
		close(fd);
	return yes;
}

static int peer_wait(struct bench_peer *p, pid_t child)
{
	struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t end = clock_ns() + PEER_WAIT_NS;

	while (!peer_answers(p)) {
		if (child && waitpid(child, NULL, WNOHANG) == child) {
			p->pid[0] = 0;
			return peer_fail(p, "it ended at once", -ECHILD);
		}
		if (stop_wanted())
			return -EINTR;
		if (clock_ns() > end)
			return peer_fail(p, "it does not answer", -ETIMEDOUT);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* ---- the node ------------------------------------------------------------------ */

static int peer_node(struct bench_peer *p)
{
	char error[NODE_ERROR] = "";
	struct node_options options = { .dram = BENCH_PEER_DRAM,
					.doors = 1u << LISTEN_RESP };
	struct oc_client_options client = {
		.size = sizeof(client),
		.name = "bench",
		.read_only = true,
	};
	int r;

	snprintf(p->version, sizeof(p->version), "onecopy " ONECOPY_VERSION);
	r = node_start(&options, &p->node, error);
	if (r == 0) {
		p->port = node_port(p->node, LISTEN_RESP);
		client.socket = node_socket(p->node);
		r = oc_client_connect(&client, &p->client, error);
	}
	if (r) {
		fprintf(stderr, "onecopy: bench: no node: %s\n", error);
		return r;
	}
	p->pid[0] = node_keeper_pid(p->node);
	r = node_server_pid(p->client, &p->pid[1]);
	return r ? peer_fail(p, "server", r) : peer_wait(p, 0);
}

/* ---- redis-server -------------------------------------------------------------- */

/* The line that it prints about itself. -ENOENT: it is not there. */
static int redis_version(struct bench_peer *p)
{
	FILE *f = popen("redis-server --version 2>/dev/null", "re");
	char *end;
	bool got;

	if (!f)
		return -errno;
	got = fgets(p->version, sizeof(p->version), f) != NULL;
	pclose(f);
	if (!got)
		return -ENOENT;
	p->version[strcspn(p->version, "\n")] = '\0';
	end = strstr(p->version, " sha=");
	if (end)
		*end = '\0';
	return 0;
}

_Noreturn static void redis_exec(const struct bench_peer *p, pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char port[8];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* the parent died before prctl() */
	setpgid(0, 0);
	snprintf(port, sizeof(port), "%u", p->port);
	if (null < 0 || dup2(null, 0) < 0 || /* words: its own input */
	    dup2(null, 1) < 0)		     /* words: its own output */
		_exit(127);
	execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port",
	       port, "--dir", p->dir, "--save", "", "--appendonly", "no",
	       "--io-threads", "2", "--loglevel", "warning", (char *)NULL);
	_exit(127);
}

static int peer_redis(struct bench_peer *p)
{
	pid_t parent = getpid();
	int r = redis_version(p);

	if (r)
		return r;
	r = peer_port(p);
	if (r)
		return peer_fail(p, "port", r);
	snprintf(p->dir, sizeof(p->dir), "/tmp/onecopy-bench-XXXXXX");
	if (!mkdtemp(p->dir)) {
		p->dir[0] = '\0';
		return peer_fail(p, "directory", -errno);
	}
	fflush(NULL);
	p->pid[0] = fork();
	if (p->pid[0] == 0)
		redis_exec(p, parent);
	if (p->pid[0] < 0)
		return peer_fail(p, "fork", -errno);
	return peer_wait(p, p->pid[0]);
}

/* ---- the bare socket ------------------------------------------------------------ */

static int peer_socket(struct bench_peer *p)
{
	pid_t parent = getpid();
	int fd = peer_listen(p);

	if (fd < 0)
		return peer_fail(p, "port", fd);
	snprintf(p->version, sizeof(p->version), "a bare socket");
	p->bare = mmap(NULL, sizeof(*p->bare), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->bare == MAP_FAILED) {
		p->bare = NULL;
		close(fd);
		return peer_fail(p, "memory", -ENOMEM);
	}
	fflush(NULL);
	p->pid[0] = fork();
	if (p->pid[0] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		setpgid(0, 0);
		bench_bare_serve(fd, p->bare);
	}
	close(fd);
	return p->pid[0] < 0 ? peer_fail(p, "fork", -errno) : 0;
}

/* ---- life cycle ------------------------------------------------------------------ */

int bench_peer_start(struct bench_peer *p, enum bench_peer_kind kind)
{
	static int (*const start[PEERS])(struct bench_peer *) = {
		[PEER_ONECOPY] = peer_node,
		[PEER_REDIS] = peer_redis,
		[PEER_SOCKET] = peer_socket,
	};
	static const char *const names[PEERS] = {
		[PEER_ONECOPY] = "onecopy",
		[PEER_REDIS] = "redis-server",
		[PEER_SOCKET] = "bare socket",
	};
	int r;

	*p = (struct bench_peer){ .kind = kind, .name = names[kind] };
	r = start[kind](p);
	if (r)
		bench_peer_stop(p);
	return r;
}

void bench_peer_stop(struct bench_peer *p)
{
	if (!p->node && p->pid[0] > 0) {
		kill(p->pid[0], SIGKILL);
		while (waitpid(p->pid[0], NULL, 0) < 0 && errno == EINTR)
			;
	}
	oc_client_close(p->client);
	node_stop(p->node);
	if (p->bare)
		munmap(p->bare, sizeof(*p->bare));
	if (p->dir[0])
		rmdir(p->dir);
	memset(p, 0, sizeof(*p));
}

/* ---- what it costs --------------------------------------------------------------- */

int bench_peer_cpu(const struct bench_peer *p, uint64_t *ret_ns)
{
	struct timespec ts;
	uint64_t sum = 0;
	clockid_t clock;

	for (size_t i = 0; i < ARRAY_LEN(p->pid) && p->pid[i]; i++) {
		if (clock_getcpuclockid(p->pid[i], &clock) ||
		    clock_gettime(clock, &ts))
			return peer_fail(p, "its processor time", -ESRCH);
		sum += (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	}
	*ret_ns = sum;
	return 0;
}

/* The sum of the numbers behind `format` in a file of /proc. */
static int peer_sum(const char *path, const char *const *format,
		    uint64_t *ret_sum)
{
	FILE *f = fopen(path, "re");
	unsigned long long value;
	char line[256];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		for (const char *const *at = format; *at; at++) {
			size_t len = strlen(*at);

			if (strncmp(line, *at, len) != 0)
				continue;
			value = strtoull(line + len, NULL, 10);
			*ret_sum += value;
		}
	}
	fclose(f);
	return 0;
}

int bench_peer_memory(const struct bench_peer *p, uint64_t *ret_bytes)
{
	static const char *const pss[] = { "Pss:", NULL };
	uint64_t kib = 0;
	char path[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(p->pid) && p->pid[i]; i++) {
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup",
			 (int)p->pid[i]);
		r = peer_sum(path, pss, &kib);
	}
	if (r)
		return peer_fail(p, "its memory", r);
	*ret_bytes = kib * 1024;
	return 0;
}

static int peer_sleeps(pid_t pid, uint64_t *sum)
{
	static const char *const sleeps[] = { "voluntary_ctxt_switches:",
					      NULL };
	struct dirent *entry;
	char path[320];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status",
			 (int)pid, entry->d_name);
		peer_sum(path, sleeps, sum); /* a thread may have ended */
	}
	closedir(dir);
	return 0;
}

int bench_peer_wakeups(const struct bench_peer *p, uint64_t *ret_wakeups)
{
	uint64_t sum = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(p->pid) && p->pid[i]; i++)
		r = peer_sleeps(p->pid[i], &sum);
	if (r)
		return peer_fail(p, "its threads", r);
	*ret_wakeups = sum;
	return 0;
}
