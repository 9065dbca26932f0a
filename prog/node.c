/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "stop.h"

#define NODE_WAIT_NS (30 * NS_PER_S)
#define NODE_STOP_NS (10 * NS_PER_S)
#define NODE_SAVE_NS (120 * NS_PER_S)
#define NODE_POLL_NS (5 * NS_PER_MS)

struct node {
	struct node_options options;
	pid_t pid;
	pid_t parent;
	bool ended;
	char dir[64];
	char socket[108];
	char log[96];
	char config[96];	  /* "": none */
	char drive[48], nvme[80]; /* options.drive's folder; "": none */
	int door[LISTEN_DOORS];	  /* until the node has them */
	uint16_t port[LISTEN_DOORS];
};

/* For exit(): at most one node at a time needs it. */
static struct node *node_running;

static void node_pause(void)
{
	struct timespec ts = { .tv_nsec = (long)NODE_POLL_NS };

	nanosleep(&ts, NULL);
}

static void node_at_exit(void)
{
	if (node_running && node_running->parent == getpid())
		node_stop(node_running);
}

static int node_make_dir(struct node *n)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	const char *bases[] = { base && *base == '/' ? base : "/tmp", "/tmp" };

	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		if (strlen(bases[i]) > sizeof(n->dir) - 20)
			continue;
		snprintf(n->dir, sizeof(n->dir), "%s/onecopy-XXXXXX", bases[i]);
		if (mkdtemp(n->dir))
			return 0;
	}
	n->dir[0] = '\0';
	return -errno;
}

static int node_make_drive(struct node *n)
{
	if (!n->options.drive)
		return 0;
	snprintf(n->drive, sizeof(n->drive), "/var/tmp/onecopy-drive-XXXXXX");
	if (!mkdtemp(n->drive)) {
		n->drive[0] = '\0';
		return -errno;
	}
	snprintf(n->nvme, sizeof(n->nvme), "%s:%llu", n->drive,
		 (unsigned long long)n->options.drive);
	n->options.nvme = n->nvme;
	return 0;
}

/* Everything in it is the node's; there are no folders in it. */
static void node_remove_dir(const char *path)
{
	struct dirent *entry;
	DIR *dir = path[0] ? opendir(path) : NULL;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(path);
}

/* Its input is nothing, its output the log. */
static int node_redirect(const struct node *n)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (in < 0 || log < 0)
		return -errno;
	if (dup2(in, 0) < 0 ||	/* words: the node's own input and output */
	    dup2(log, 1) < 0 || /* words: as above */
	    dup2(log, 2) < 0)	/* words: as above */
		return -errno;
	return 0;
}

_Noreturn static void node_exec(const struct node *n,
				const struct node_options *o, pid_t parent)
{
	static const char *const options[] = { "--resp", "--http" };
	const char *argv[20] = { "onecopy", "serve", "--socket", n->socket };
	char size[32], slow[32];
	size_t at = 4;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1); /* the parent died before prctl() */
	if (n->config[0]) {
		argv[at++] = "--config";
		argv[at++] = n->config;
	}
	if (o->dram) {
		snprintf(size, sizeof(size), "%llu",
			 (unsigned long long)o->dram);
		argv[at++] = "--dram";
		argv[at++] = size;
	}
	if (o->nvme) {
		argv[at++] = "--nvme";
		argv[at++] = o->nvme;
	}
	if (o->save)
		argv[at++] = "--save-on-exit";
	if (o->slow_nvme > 0) {
		snprintf(slow, sizeof(slow), "%.9g", o->slow_nvme);
		setenv("ONECOPY_TEST_SLOW_NVME", slow, 1);
	}
	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		if (n->door[i] >= 0)
			continue;
		argv[at++] = options[i];
		argv[at++] = "off";
	}
	if (node_redirect(n) < 0 || listen_pass(n->door) < 0)
		_exit(127);
	execv(o->program ? o->program : "/proc/self/exe",
	      (char **)(uintptr_t)argv);
	_exit(127);
}

/* The last line of the node's log: what it said before it ended. */
static void node_last_line(const struct node *n, char *line, int cap)
{
	FILE *f = fopen(n->log, "re");
	char text[256];

	line[0] = '\0';
	while (f && fgets(text, sizeof(text), f)) {
		text[strcspn(text, "\n")] = '\0';
		if (text[0])
			snprintf(line, (size_t)cap, "%s", text);
	}
	if (f)
		fclose(f);
}

bool node_alive(struct node *n)
{
	int status;

	if (!n->ended && waitpid(n->pid, &status, WNOHANG) == n->pid)
		n->ended = true;
	return !n->ended;
}

/* One attempt to reach it: 0, -EAGAIN (not yet), or what is wrong. */
static int node_try(struct node *n, char *error)
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = n->socket,
		.name = "onecopy",
		.read_only = true,
		.timeout_ns = NS_PER_S,
	};
	oc_client *c;
	char line[256];
	int r;

	if (!node_alive(n)) {
		node_last_line(n, line, sizeof(line));
		snprintf(error, NODE_ERROR, "the node ended at once: %.400s",
			 line[0] ? line : "it said nothing");
		return -ECHILD;
	}
	r = oc_client_connect(&options, &c, error);
	if (r == 0) {
		oc_client_close(c);
		return 0;
	}
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ETIMEDOUT)
		return -EAGAIN;
	return r;
}

static int node_wait(struct node *n, uint64_t wait_ns, char *error)
{
	uint64_t end = clock_ns() + (wait_ns ? wait_ns : NODE_WAIT_NS);
	int r;

	while ((r = node_try(n, error)) == -EAGAIN) {
		if (stop_wanted()) {
			snprintf(error, NODE_ERROR, "interrupted");
			return -EINTR;
		}
		if (clock_ns() > end) {
			snprintf(error, NODE_ERROR,
				 "the node did not answer in time");
			return -ETIMEDOUT;
		}
		node_pause();
	}
	return r;
}

static int node_open_doors(struct node *n, unsigned doors)
{
	int r = 0;

	for (unsigned i = 0; i < LISTEN_DOORS && r == 0; i++) {
		if (doors & 1u << i)
			r = listen_any(&n->door[i], &n->port[i]);
	}
	return r;
}

static void node_close_doors(struct node *n)
{
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		n->door[i] = fd_close(n->door[i]);
}

static int node_spawn(struct node *n, const struct node_options *o)
{
	pid_t parent = getpid();

	/* a node of one's own knows neither the user's tenant nor his token */
	unsetenv("ONECOPY_TENANT");
	unsetenv("ONECOPY_TOKEN");
	fflush(NULL);
	n->pid = fork();
	if (n->pid < 0)
		return -errno;
	if (n->pid == 0)
		node_exec(n, o, parent);
	n->parent = parent;
	return 0;
}

static int node_write_config(struct node *n, const char *text)
{
	FILE *f;
	int r = 0;

	if (!text)
		return 0;
	snprintf(n->config, sizeof(n->config), "%s/onecopy.yaml", n->dir);
	f = fopen(n->config, "we");
	if (!f)
		return -errno;
	if (fputs(text, f) < 0)
		r = -EIO;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	return r;
}

static int node_begin(struct node *n, char *error)
{
	static bool registered;
	int r = node_spawn(n, &n->options);

	node_close_doors(n);
	if (r) {
		snprintf(error, NODE_ERROR, "fork: %s", strerror(-r));
		return r;
	}
	n->ended = false;
	node_running = n;
	if (!registered && atexit(node_at_exit) == 0)
		registered = true;
	return node_wait(n, n->options.wait_ns, error);
}

int node_start(const struct node_options *options, struct node **ret_node,
	       char *error)
{
	struct node *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->options = *options;
	n->ended = true;
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		n->door[i] = -1;
	r = node_make_dir(n);
	if (r) {
		snprintf(error, NODE_ERROR, "no private directory: %s",
			 strerror(-r));
		goto fail;
	}
	r = node_make_drive(n);
	if (r) {
		snprintf(error, NODE_ERROR, "no folder for a drive: %s",
			 strerror(-r));
		goto fail;
	}
	snprintf(n->log, sizeof(n->log), "%s/log", n->dir);
	snprintf(n->socket, sizeof(n->socket), "%s/%s", n->dir, "node.sock");
	if (options->socket)
		snprintf(n->socket, sizeof(n->socket), "%s", options->socket);
	r = node_open_doors(n, options->doors);
	if (r) {
		snprintf(error, NODE_ERROR, "no port: %s", strerror(-r));
		goto fail;
	}
	r = node_write_config(n, options->config);
	if (r) {
		snprintf(error, NODE_ERROR, "%s: %s", n->config, strerror(-r));
		goto fail;
	}
	r = node_begin(n, error);
	if (r)
		goto fail;
	*ret_node = n;
	return 0;
fail:
	node_stop(n);
	return r;
}

/* Saving what DRAM holds takes as long as the drive needs; the node bounds it. */
static void node_end(struct node *n)
{
	uint64_t end =
		clock_ns() + (n->options.save ? NODE_SAVE_NS : NODE_STOP_NS);

	kill(n->pid, SIGTERM);
	while (node_alive(n) && clock_ns() < end)
		node_pause();
	if (n->ended)
		return;
	/* The group has the server too. */
	kill(-n->pid, SIGKILL);
	kill(n->pid, SIGKILL);
	while (node_alive(n))
		node_pause();
}

void node_stop(struct node *n)
{
	if (!n)
		return;
	if (n->ended || n->parent == getpid()) {
		if (!n->ended)
			node_end(n);
		node_remove_dir(n->dir);
		node_remove_dir(n->drive);
	}
	if (node_running == n)
		node_running = NULL;
	node_close_doors(n);
	free(n);
}

int node_restart(struct node *n, char *error)
{
	if (!n->ended)
		node_end(n);
	n->options.save = false;
	unlink(n->socket);
	return node_begin(n, error);
}

const char *node_socket(const struct node *n)
{
	return n->socket;
}

const char *node_drive(const struct node *n)
{
	return n->drive;
}

const char *node_dir(const struct node *n)
{
	return n->dir;
}

uint16_t node_port(const struct node *n, enum listen_door door)
{
	return n->port[door];
}

pid_t node_keeper_pid(const struct node *n)
{
	return n->pid;
}

int node_server_pid(oc_client *c, pid_t *ret_pid)
{
	json_int_t pid = 0;
	json_t *root;
	char *text;
	int r = oc_inspect(c, "stat", NULL, 0, &text);

	if (r)
		return r < 0 ? r : -EPROTO;
	root = json_loads(text, 0, NULL);
	free(text);
	if (!root)
		return -EPROTO;
	pid = json_integer_value(json_object_get(root, "server_pid"));
	if (!pid)
		pid = json_integer_value(json_object_get(
			json_object_get(root, "node"), "server_pid"));
	json_decref(root);
	if (pid <= 1)
		return -EPROTO;
	*ret_pid = (pid_t)pid;
	return 0;
}
