/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/live.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include "base/fault.h"
#include "prog/payload.h"
#include "tests/prog/run.h"

/* ---- waiting */

void live_pause(const struct live *n, struct live_wait *w, const char *what)
{
	struct pollfd p = { .fd = n ? n->pidfd : -1, .events = POLLIN };
	uint64_t now = clock_ns();

	if (!w->until)
		w->until = now + LIVE_DEADLINE;
	if (now > w->until)
		FAIL("waited too long for %s", what);
	poll(&p, 1, 1);
}

/* ---- the node */

static void live_place(struct live *n)
{
	memset(n, 0, sizeof(*n));
	n->pidfd = -1;
	snprintf(n->dir, sizeof(n->dir), "/tmp/onecopy-live-XXXXXX");
	CHECK(mkdtemp(n->dir) != NULL);
	CHECK_OK(chmod(n->dir, 0755));
	snprintf(n->socket, sizeof(n->socket), "%s/node.sock", n->dir);
	snprintf(n->log, sizeof(n->log), "%s/log", n->dir);
	snprintf(n->config, sizeof(n->config), "%s/node.yaml", n->dir);
}

/* The node's words: what the caller says comes last and so holds. */
static void live_words(const struct live *n, struct live_how how,
		       const char *const *words, const char *argv[40])
{
	static const char *const doors[] = { "--resp", "--http" };
	size_t at = 0;

	argv[at++] = "onecopy";
	argv[at++] = "serve";
	argv[at++] = "--socket";
	argv[at++] = n->socket;
	if (how.yaml) {
		argv[at++] = "--config";
		argv[at++] = n->config;
	}
	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		if (how.doors & (LIVE_OWN | 1u << i))
			continue;
		argv[at++] = doors[i];
		argv[at++] = "off";
	}
	for (; *words && at < 39; words++)
		argv[at++] = *words;
	argv[at] = NULL;
}

_Noreturn static void live_exec(const struct live *n, const int *doors,
				const char *const *argv)
{
	const char *binary = getenv("ONECOPY_BIN");
	int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (log < 0 || dup2(log, 1) < 0 || /* words: the node's own output */
	    dup2(log, 2) < 0)		   /* words: the node's own output */
		_exit(126);
	if (listen_pass(doors) < 0)
		_exit(126);
	execv(binary, (char **)(uintptr_t)argv);
	_exit(127);
}

static void live_fork(struct live *n, struct live_how how,
		      const char *const *words)
{
	const char *argv[40];
	int doors[LISTEN_DOORS];

	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		doors[i] = -1;
		if (how.doors & 1u << i)
			CHECK_OK(listen_any(&doors[i], &n->port[i]));
	}
	live_words(n, how, words, argv);
	n->keeper = fork();
	CHECK_INT(n->keeper, >=, 0);
	if (n->keeper == 0)
		live_exec(n, doors, argv);
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		fd_close(doors[i]);
}

static void live_await(struct live *n)
{
	struct live_as as = { .read_only = true, .timeout_ns = NS_PER_S };
	struct live_wait w = { 0 };
	char error[256] = "";
	oc_client *c;

	n->pidfd = (int)syscall(SYS_pidfd_open, n->keeper, 0);
	CHECK_INT(n->pidfd, >=, 0);
	while (live_try(n, as, &c, error)) {
		if (waitpid(n->keeper, NULL, WNOHANG))
			FAIL("the node ended at once");
		live_pause(n, &w, error);
	}
	oc_client_close(c);
}

static void live_write_config(const struct live *n, const char *yaml)
{
	FILE *f = fopen(n->config, "we");

	CHECK(f != NULL);
	fputs(yaml, f);
	CHECK_OK(fclose(f));
}

void live_start_how(struct live *n, struct live_how how,
		    const char *const *words)
{
	if (!getenv("ONECOPY_BIN"))
		SKIP("ONECOPY_BIN does not name the program");
	live_place(n);
	if (how.yaml)
		live_write_config(n, how.yaml);
	live_fork(n, how, words);
	live_await(n);
}

void live_start_words(struct live *n, const char *const *words)
{
	live_start_how(n, (struct live_how){ 0 }, words);
}

void live_start_config(struct live *n, const char *yaml)
{
	live_start_how(n, (struct live_how){ .yaml = yaml },
		       (const char *const[]){ NULL });
}

void live_again(struct live *n, const char *const *words)
{
	close(n->pidfd);
	live_fork(n, (struct live_how){ 0 }, words);
	live_await(n);
}

/* What its ring had under way keeps a dead server's socket for a moment. */
static bool live_listens(const struct live *n)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	int r;

	CHECK_INT(fd, >=, 0);
	memcpy(sun.sun_path, n->socket, sizeof(sun.sun_path));
	r = connect(fd, (const struct sockaddr *)&sun, sizeof(sun));
	close(fd);
	return r == 0 || errno != ECONNREFUSED;
}

void live_kill(struct live *n, oc_client *c)
{
	pid_t server = live_server(c);
	struct pollfd p = { .events = POLLIN };

	p.fd = (int)syscall(SYS_pidfd_open, server, 0);
	CHECK_INT(p.fd, >=, 0);
	CHECK_OK(kill(server, SIGSTOP));
	CHECK_OK(kill(n->keeper, SIGKILL));
	CHECK_INT(live_ended(n), ==, 128 + SIGKILL);
	CHECK_OK(kill(server, SIGKILL));
	CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)), ==, 1);
	close(p.fd);
	LIVE_WAIT(NULL, !live_listens(n));
}

bool live_said(const struct live *n, const char *text)
{
	static char log[1 << 20];
	FILE *f = fopen(n->log, "re");
	size_t got = f ? fread(log, 1, sizeof(log) - 1, f) : 0;

	if (f)
		fclose(f);
	log[got] = '\0';
	return strstr(log, text) != NULL;
}

void live_remove(struct live *n)
{
	struct dirent *entry;
	DIR *dir = opendir(n->dir);

	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(n->dir);
	close(n->pidfd);
}

int live_ended(struct live *n)
{
	struct pollfd p = { .fd = n->pidfd, .events = POLLIN };
	int status;

	CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)), ==, 1);
	CHECK_INT(waitpid(n->keeper, &status, 0), ==, n->keeper);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void live_show_log(const struct live *n)
{
	FILE *f = fopen(n->log, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

void live_drive_begin(const char *size, char ret_place[LIVE_PLACE],
		      char ret_option[LIVE_DRIVE])
{
	snprintf(ret_place, LIVE_PLACE, "/tmp/onecopy-drive-XXXXXX");
	CHECK(mkdtemp(ret_place) != NULL);
	snprintf(ret_option, LIVE_DRIVE, "%s:%s", ret_place, size);
}

void live_drive_end(const char *place)
{
	char file[LIVE_PLACE + 16];

	snprintf(file, sizeof(file), "%s/onecopy.log", place);
	unlink(file);
	CHECK_INT(rmdir(place), ==, 0);
}

void live_stop(struct live *n)
{
	int status;

	kill(n->keeper, SIGTERM);
	status = live_ended(n);
	if (status != 0 || live_said(n, "Sanitizer") ||
	    live_said(n, "runtime error")) {
		live_show_log(n);
		FAIL("the node ended with status %d", status);
	}
	CHECK_INT(access(n->socket, F_OK), ==, -1);
	live_remove(n);
}

/* ---- clients */

int live_try(const struct live *n, struct live_as as, oc_client **ret_client,
	     char *error)
{
	struct oc_client_options o = {
		.size = sizeof(o),
		.socket = n->socket,
		.tenant = as.tenant,
		.name = "test",
		.read_only = as.read_only,
		.pins = as.pins,
		.timeout_ns = as.timeout_ns ? as.timeout_ns : LIVE_DEADLINE,
	};

	return oc_client_connect(&o, ret_client, error);
}

oc_client *live_connect_as(const struct live *n, struct live_as as)
{
	char error[256] = "";
	oc_client *c;
	int r = live_try(n, as, &c, error);

	if (r)
		FAIL("connect: %d %s", r, error);
	return c;
}

oc_client *live_connect(const struct live *n)
{
	return live_connect_as(n, (struct live_as){ 0 });
}

static oc_ns *open_ns(oc_client *c, uint32_t slices, uint64_t bytes)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = slices, .slice_bytes = bytes } },
		.label = "live",
	};
	oc_ns *ns;
	int r = oc_ns_open(c, &o, 0, &ns);

	if (r)
		FAIL("oc_ns_open: %d %s", r, oc_client_error(c));
	return ns;
}

oc_ns *live_ns(oc_client *c, uint64_t bytes)
{
	return open_ns(c, 1, bytes);
}

oc_ns *live_ns_any(oc_client *c, uint64_t bytes)
{
	return open_ns(c, 0, bytes);
}

/* ---- blocks */

/* What orders one thread's writing before another's reading passes through the
 * server, where the thread sanitizer sees nothing: payload is left out. */
#ifdef LIVE_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define PAYLOAD_BEGIN                                          \
	do {                                                   \
		AnnotateIgnoreReadsBegin(__FILE__, __LINE__);  \
		AnnotateIgnoreWritesBegin(__FILE__, __LINE__); \
	} while (0)
#define PAYLOAD_END                                          \
	do {                                                 \
		AnnotateIgnoreWritesEnd(__FILE__, __LINE__); \
		AnnotateIgnoreReadsEnd(__FILE__, __LINE__);  \
	} while (0)
#else
#define PAYLOAD_BEGIN (void)0
#define PAYLOAD_END   (void)0
#endif

bool live_wrong(const struct oc_key *key, const void *data, uint64_t bytes)
{
	bool wrong;

	PAYLOAD_BEGIN;
	wrong = payload_wrong(key, data, bytes) != 0;
	PAYLOAD_END;
	return wrong;
}

struct oc_key live_key(uint64_t i)
{
	struct oc_key key;

	CHECK_OK(payload_key("live", 0, i, &key));
	return key;
}

int live_write(oc_ns *ns, uint64_t i, uint64_t bytes)
{
	struct oc_key key = live_key(i);
	struct oc_part part = { 0, 0 };
	struct oc_grant g;
	uint64_t sum;
	int r = oc_grant(ns, &key, part, bytes, 0, 0, &g);

	if (r)
		return r;
	PAYLOAD_BEGIN;
	payload_make(&key, g.data, bytes);
	sum = oc_checksum(&key, part, g.data, bytes);
	PAYLOAD_END;
	return oc_seal(ns, &g, &sum, 0);
}

void live_write_some(oc_ns *ns, uint64_t first, uint64_t n, uint64_t bytes)
{
	for (uint64_t i = first; i < first + n; i++)
		CHECK_OK(live_write(ns, i, bytes));
}

int live_read(oc_ns *ns, uint64_t i, uint64_t bytes)
{
	struct oc_key key = live_key(i);
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	int r = oc_pin(ns, &key, part, 0, &pin);

	if (r)
		return r;
	CHECK_INT(pin.bytes, ==, bytes);
	if (live_wrong(&key, pin.data, bytes))
		FAIL("block %llu: wrong bytes", (unsigned long long)i);
	oc_unpin(ns, &pin);
	return 0;
}

uint64_t live_read_some(oc_ns *ns, uint64_t first, uint64_t n, uint64_t bytes)
{
	uint64_t there = 0;

	for (uint64_t i = first; i < first + n; i++) {
		int r = live_read(ns, i, bytes);

		CHECK_INT(r, >=, 0);
		there += r == 0;
	}
	return there;
}

/* ---- reports */

static json_t *report(oc_client *c, const char *what)
{
	json_t *root;
	char *text;
	int r = oc_inspect(c, what, NULL, 0, &text);

	if (r)
		FAIL("%s: %d %s", what, r, oc_client_error(c));
	root = json_loads(text, 0, NULL);
	free(text);
	CHECK(root != NULL);
	return root;
}

static uint64_t report_number(oc_client *c, const char *part, const char *name)
{
	json_t *root = report(c, "stat");
	json_t *value = json_object_get(json_object_get(root, part), name);
	uint64_t n;

	if (!json_is_integer(value))
		FAIL("no %s in the report", name);
	n = (uint64_t)json_integer_value(value);
	json_decref(root);
	return n;
}

uint64_t live_counter(oc_client *c, const char *name)
{
	return report_number(c, "counters", name);
}

uint64_t live_node(oc_client *c, const char *name)
{
	return report_number(c, "node", name);
}

pid_t live_server(oc_client *c)
{
	return (pid_t)live_node(c, "server_pid");
}

struct oc_stat live_stat(oc_client *c)
{
	struct oc_stat s;

	CHECK_OK(oc_stat(c, &s));
	return s;
}

void live_check(oc_client *c)
{
	json_t *root = report(c, "check"), *value;
	json_t *problems = json_object_get(root, "problems");
	size_t i;

	CHECK(json_is_array(problems));
	json_array_foreach(problems, i, value)
		fprintf(stderr, "problem: %s\n", json_string_value(value));
	CHECK_INT(json_array_size(problems), ==, 0);
	json_decref(root);
}

/* ---- children */

struct child child_start(void (*run)(const struct live *n, int fd, void *arg),
			 const struct live *n, void *arg)
{
	struct child c;
	int pair[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fflush(NULL);
	c.pid = fork();
	CHECK_INT(c.pid, >=, 0);
	if (c.pid == 0) {
		close(pair[0]);
		run(n, pair[1], arg);
		fflush(NULL);
		_exit(0);
	}
	close(pair[1]);
	c.fd = pair[0];
	return c;
}

void child_say(int fd, char word)
{
	CHECK_INT(send(fd, &word, 1, MSG_NOSIGNAL), ==, 1);
}

char child_hear(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char word = 0;

	CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)), ==, 1);
	CHECK_INT(read(fd, &word, 1), ==, 1);
	return word;
}

int child_end(struct child *c)
{
	int status;

	CHECK_INT(waitpid(c->pid, &status, 0), ==, c->pid);
	close(c->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void child_kill(struct child *c)
{
	kill(c->pid, SIGKILL);
	CHECK_INT(child_end(c), ==, 128 + SIGKILL);
}

/* ---- /proc */

unsigned live_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		SKIP("cannot look into %s", path);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

uint64_t live_memfd_bytes(pid_t pid)
{
	char path[64], target[128];
	struct dirent *entry;
	uint64_t bytes = 0;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		SKIP("cannot look into %s", path);
	while ((entry = readdir(dir)) != NULL) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target,
					 sizeof(target) - 1);

		if (len <= 0)
			continue;
		target[len] = '\0';
		if (strncmp(target, "/memfd:", 7) == 0 &&
		    fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return bytes;
}
