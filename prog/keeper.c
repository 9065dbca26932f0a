/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper. Small on purpose: it must not die.
 *
 * Life: lock and socket; a server is started; descriptors are handed over,
 * then held or dropped as the server says; a server that dies is replaced at
 * once. It ends on SIGTERM or SIGINT (the server is told and given five
 * seconds, and the time for a save where one is asked for; a second signal, a
 * second later or more, ends the save), or when a server cannot even start.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "exit.h"
#include "keep.h"
#include "listen.h"
#include "shm/segment.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#define STARTS_MAX	5	       /* failed starts in a row */
#define SHORT_LIFE_NS	(1 * NS_PER_S) /* shorter lives count as crashing */
#define SHORT_LIVES_MAX 20	       /* then each start waits */
#define STOP_NS		(5 * NS_PER_S)
/* timeout(1) signals its child, and then the group that the child is in: what
 * comes so soon is the same signal. */
#define STOP_AGAIN_NS (1 * NS_PER_S)

struct keeper {
	const struct node_config *config;
	char path[CONFIG_PATH], lock_path[CONFIG_PATH + 8];
	char program[4096];
	int lock, listen, signals, config_fd;
	bool bound;		/* the socket at path is ours */
	int door[LISTEN_DOORS]; /* passed to us, then ours: -1 none */
	struct hold_set held;
	/* the server in hand */
	pid_t server;
	int control;
	size_t given; /* of held, handed over so far */
	bool given_all, ready;
	bool has_run; /* a server was ready once */
	uint64_t ready_ns, heard_ns, start_at_ns, stop_at_ns;
	uint64_t stopped_ns; /* the last signal to stop that counted */
	unsigned failed_starts, short_lives;
	bool stopping;
	int status;
};

static int fail(int status, const char *what, const char *path, int error)
{
	fprintf(stderr, "onecopy serve: %s %s: %s\n", what, path,
		strerror(error));
	return status;
}

/* ---- the place: lock and socket ------------------------------------------ */

static int refuse_second(struct keeper *k)
{
	char text[32] = "";
	ssize_t n = pread(k->lock, text, sizeof(text) - 1, 0);

	if (n < 0)
		n = 0;
	text[strcspn(text, "\n")] = '\0';
	fprintf(stderr,
		"onecopy serve: a node already serves %s (process %s); stop it "
		"or choose another --socket\n",
		k->path, text[0] ? text : "unknown");
	return PROG_REFUSED;
}

/* Without XDG_RUNTIME_DIR the place is /run, which is root's. */
static int refuse_place(const struct keeper *k, int error)
{
	fprintf(stderr,
		"onecopy serve: cannot open %s: %s; choose a place of your own "
		"with --socket\n",
		k->lock_path, strerror(error));
	return PROG_REFUSED;
}

/* Who stopped between our open and our lock has unlinked the file: then the
 * lock is on nothing, and a third node could lock a new file. */
static bool lock_is_at_path(const struct keeper *k)
{
	struct stat ours, there;

	return fstat(k->lock, &ours) == 0 && stat(k->lock_path, &there) == 0 &&
	       ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

static int open_lock(struct keeper *k)
{
	for (;;) {
		k->lock = open(k->lock_path,
			       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (k->lock < 0)
			return refuse_place(k, errno);
		if (flock(k->lock, LOCK_EX | LOCK_NB) < 0) {
			int r = refuse_second(k);

			k->lock = fd_close(k->lock); /* its file is another's */
			return r;
		}
		if (lock_is_at_path(k))
			return 0;
		k->lock = fd_close(k->lock);
	}
}

static int take_lock(struct keeper *k)
{
	char text[32];
	int n, r;

	snprintf(k->lock_path, sizeof(k->lock_path), "%s.lock", k->path);
	r = open_lock(k);
	if (r != 0)
		return r;
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(k->lock, 0) < 0 ||
	    pwrite(k->lock, text, (size_t)n, 0) < 0)
		return fail(PROG_SYSTEM, "cannot write", k->lock_path, errno);
	return 0;
}

/* Other users may connect only where a tenant names them, or gives them a
 * token. */
static mode_t socket_mode(const struct node_config *config)
{
	for (uint32_t i = 0; i < config->n_tenants; i++)
		if (config->tenants[i].n_uids || config->tenants[i].n_tokens)
			return 0666;
	return 0600;
}

/* Does somebody listen there? A socket of another type counts. */
static bool is_served(const struct sockaddr_un *addr)
{
	static const int types[] = { SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		CLEANUP(fd_close_at)
		int fd = socket(AF_UNIX,
				types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd >= 0 && (connect(fd, (const struct sockaddr *)addr,
					sizeof(*addr)) == 0 ||
				errno == EAGAIN))
			return true;
	}
	return false;
}

/* The place is free, or a dead node's socket was taken away. */
static int clear_place(const struct keeper *k, const struct sockaddr_un *addr)
{
	struct stat st;
	const char *what = NULL;

	if (lstat(k->path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		what = "is there and is no socket";
	else if (is_served(addr))
		what = "is the socket of another program";
	if (!what) {
		unlink(k->path);
		return 0;
	}
	fprintf(stderr, "onecopy serve: %s %s; choose another --socket\n",
		k->path, what);
	return PROG_REFUSED;
}

static int open_socket(struct keeper *k)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const int none = 0;
	mode_t old;
	int r;

	memcpy(addr.sun_path, k->path,
	       MIN(strlen(k->path) + 1, sizeof(addr.sun_path) - 1));
	r = clear_place(k, &addr);
	if (r != 0)
		return r;
	k->listen = socket(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->listen < 0)
		return fail(PROG_SYSTEM, "socket", k->path, errno);
	old = umask(0177);
	r = bind(k->listen, (struct sockaddr *)&addr, sizeof(addr));
	umask(old);
	if (r < 0)
		return fail(PROG_REFUSED, "cannot bind", k->path, errno);
	k->bound = true;
	/* Linux 6.16: nobody can make us close a descriptor of theirs, which may
	 * block; older kernels do not know it */
	setsockopt(k->listen, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof(none));
	if (chmod(k->path, socket_mode(k->config)) < 0 ||
	    listen(k->listen, 128) < 0)
		return fail(PROG_SYSTEM, "cannot listen on", k->path, errno);
	return 0;
}

static int open_config(struct keeper *k)
{
	FILE *out;
	int fd = memfd_create("onecopy-config", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	k->config_fd = fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out) {
		fd_close(fd);
		return -ENOMEM;
	}
	config_print(k->config, out);
	return fclose(out) == 0 ? 0 : -errno;
}

static int open_signals(struct keeper *k)
{
	/* a pool is not worth a stray signal */
	static const int harmless[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGALRM };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
		signal(harmless[i], SIG_IGN);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signals < 0 ? -errno : 0;
}

/* ---- the server process ----------------------------------------------------- */

static _Noreturn void child(struct keeper *k, int control)
{
	sigset_t none;
	/* out of the way of 3 and 4 first; these copies survive exec */
	int high = fcntl(control, F_DUPFD_CLOEXEC, 10);
	int config = fcntl(k->config_fd, F_DUPFD_CLOEXEC, 10);

	if (high < 0 || config < 0 ||
	    dup2(high, 3) < 0 ||   /* words: passed on to the server */
	    dup2(config, 4) < 0 || /* words: so is this */
	    lseek(4, 0, SEEK_SET) < 0)
		_exit(PROG_SYSTEM);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* The terminal's, and what goes to the whole process group (timeout(1),
	 * service managers), is for the keeper. It says when to end; its own
	 * end says so too. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	/* this very program, also when another was installed in its place:
	 * that one may not understand this pool */
	execl("/proc/self/exe", "onecopy", "server", (char *)NULL);
	execl(k->program, "onecopy", "server", (char *)NULL);
	_exit(PROG_SYSTEM);
}

static int start_server(struct keeper *k)
{
	pid_t pid;
	int pair[2];

	k->given_all = k->ready = false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(k, pair[1]);
	fd_close(pair[1]);
	if (pid < 0) {
		fd_close(pair[0]);
		return -errno;
	}
	k->server = pid;
	k->control = pair[0];
	k->given = 0;
	k->heard_ns = clock_ns();
	return 0;
}

/* Hands over without waiting: POLLOUT calls again. */
static void give(struct keeper *k)
{
	while (!k->given_all) {
		bool more = k->given < k->held.n;
		struct keep_msg m = { .op = more ? KEEP_GIVE : KEEP_GIVEN };
		int fd = more ? k->held.given[k->given].fd : -1, r;

		if (more)
			m.tag = k->held.given[k->given].tag;
		else
			m.tag.id = k->has_run;
		r = segment_send(k->control, &m, sizeof(m), &fd, more);
		if (r == -EAGAIN)
			return;
		if (r == -EPIPE || r == -ECONNRESET) {
			k->given_all = true; /* its end will be seen */
			return;
		}
		if (r < 0) { /* too many descriptors under way: POLLOUT again */
			poll(NULL, 0, 1);
			return;
		}
		if (more)
			k->given++;
		else
			k->given_all = true;
	}
}

static void on_message(struct keeper *k, const struct keep_msg *m, int fd)
{
	if (m->op == KEEP_HOLD && fd >= 0) {
		if (hold_set_add(&k->held, &m->tag, fd) < 0) {
			log_error("out of memory: a descriptor is not held");
			fd_close(fd);
		}
		return;
	}
	fd_close(fd);
	if (m->op == KEEP_DROP) {
		hold_set_close(&k->held, &m->tag);
	} else if (m->op == KEEP_READY && !k->ready) {
		k->ready = k->has_run = true;
		k->ready_ns = clock_ns();
		k->failed_starts = 0;
	}
}

static void read_control(struct keeper *k)
{
	struct keep_msg m;
	int fd, r = 0;

	while (k->control >= 0 && (r = keep_recv(k->control, &m, &fd)) == 0) {
		k->heard_ns = clock_ns();
		on_message(k, &m, fd);
	}
	if (r == -EPIPE)
		k->control = fd_close(k->control);
}

static void plan_restart(struct keeper *k, uint64_t now)
{
	bool brief = k->ready && now - k->ready_ns < SHORT_LIFE_NS;

	k->start_at_ns = now;
	if (!k->ready) {
		k->failed_starts++;
		k->start_at_ns = now + k->failed_starts * 50 * NS_PER_MS;
	}
	k->short_lives = brief ? k->short_lives + 1 : 0;
	if (k->short_lives > SHORT_LIVES_MAX)
		k->start_at_ns = now + 200 * NS_PER_MS;
	if (k->failed_starts >= STARTS_MAX) {
		log_error("the server failed to start %u times: giving up",
			  k->failed_starts);
		k->stopping = true;
		k->status = PROG_SYSTEM;
	}
}

/* While the node stops: what was to be saved may be lost. Else nothing is. */
static void on_last_end(struct keeper *k, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFSIGNALED(status))
		log_warn("the server was ended by signal %d while it stopped",
			 WTERMSIG(status));
	else
		log_warn("the server ended with status %d while it stopped",
			 WEXITSTATUS(status));
	if (k->status == 0 && k->config->nvme.save)
		k->status = PROG_SYSTEM;
}

static void on_server_end(struct keeper *k, int status)
{
	uint64_t now = clock_ns();
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	read_control(k); /* what it still said counts */
	k->control = fd_close(k->control);
	k->server = 0;
	if (k->stopping) {
		on_last_end(k, status);
		return;
	}
	if (!k->ready && !k->has_run && code > 0) {
		k->stopping = true; /* the first start: it said why */
		k->status = code;
		return;
	}
	if (WIFSIGNALED(status))
		log_warn("the server was ended by signal %d: starting another",
			 WTERMSIG(status));
	else
		log_warn("the server ended with status %d: starting another",
			 code);
	plan_restart(k, now);
}

static void reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == k->server)
			on_server_end(k, status);
}

static void stop(struct keeper *k)
{
	struct keep_msg m = { .op = KEEP_STOP };
	uint64_t now = clock_ns(), end = now + STOP_NS;

	if (k->stopped_ns && now - k->stopped_ns < STOP_AGAIN_NS)
		return;
	k->stopped_ns = now;
	if (k->stopping)
		end = MIN(end, k->stop_at_ns);
	else if (k->config->nvme.save)
		end += k->config->nvme.save_ns;
	k->stopping = true;
	k->stop_at_ns = end;
	if (k->control >= 0)
		segment_send(k->control, &m, sizeof(m), NULL, 0);
}

static void read_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(k);
		else
			stop(k);
	}
}

/* Taking over a large pool says nothing for a while. */
static uint64_t patience(const struct keeper *k)
{
	return k->ready ? KEEP_SILENT_NS : 10 * KEEP_SILENT_NS;
}

static int wait_ms(const struct keeper *k)
{
	uint64_t now = clock_ns(), until = k->start_at_ns;

	if (k->server)
		until = k->stopping ? k->stop_at_ns : k->heard_ns + patience(k);
	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)((until - now) / NS_PER_MS) + 1;
}

/* Nothing heard, though what there was to hear has just been read: it hangs. */
static void end_silent(struct keeper *k)
{
	if (!k->server || k->stopping || clock_ns() - k->heard_ns < patience(k))
		return;
	log_error("the server has been silent for %llu s: killed",
		  (unsigned long long)(patience(k) / NS_PER_S));
	k->heard_ns = clock_ns();
	kill(k->server, SIGKILL);
}

static void wait_events(struct keeper *k)
{
	struct pollfd p[2] = {
		{ .fd = k->signals, .events = POLLIN },
		{ .fd = k->control,
		  .events = (short)(POLLIN | (k->given_all ? 0 : POLLOUT)) },
	};

	if (poll(p, 2, wait_ms(k)) < 0)
		return; /* EINTR */
	if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
		read_control(k);
	if (k->control >= 0 && p[1].revents & POLLOUT)
		give(k);
	if (p[0].revents)
		read_signals(k);
}

static void keep_going(struct keeper *k)
{
	while (k->server || !k->stopping) {
		int r = 0;

		if (!k->server && !k->stopping && clock_ns() >= k->start_at_ns)
			r = start_server(k);
		if (r < 0) {
			log_error("cannot start a server: %s", strerror(-r));
			plan_restart(k, clock_ns());
			continue;
		}
		wait_events(k);
		end_silent(k);
		if (k->server && k->stopping && clock_ns() >= k->stop_at_ns) {
			log_warn("the server did not stop in time: killed");
			kill(k->server, SIGKILL);
			k->stop_at_ns = UINT64_MAX;
		}
	}
}

/* For the server too: it inherits the limit. */
static void raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* A refusal: what it says is all there is to say. */
static int refuse(const char *error)
{
	fprintf(stderr, "onecopy serve: %s\n", error);
	return PROG_REFUSED;
}

static int open_doors(struct keeper *k)
{
	char error[LISTEN_ERROR] = "";

	return listen_open_all(k->config, k->door, error) < 0 ? refuse(error)
							      : 0;
}

/* The held set owns the descriptor from then on. */
static int hold_listening(struct keeper *k, enum hold_listen which, int *fd)
{
	struct hold_tag tag = { HOLD_LISTEN, 0, which };
	int r = *fd < 0 ? 0 : hold_set_add(&k->held, &tag, *fd);

	if (r == 0)
		*fd = -1;
	return r;
}

static int hold_all(struct keeper *k)
{
	int r = hold_listening(k, HOLD_LISTEN_NATIVE, &k->listen);

	if (r == 0)
		r = hold_listening(k, HOLD_LISTEN_RESP, &k->door[LISTEN_RESP]);
	if (r == 0)
		r = hold_listening(k, HOLD_LISTEN_HTTP, &k->door[LISTEN_HTTP]);
	return r;
}

static const char *cxl_memory(const struct node_config *config)
{
	struct segment_source source;

	config_cxl_source(config, &source);
	return source.kind == SEGMENT_STANDIN
		       ? "ordinary memory, which stands in for CXL"
		       : config->cxl.at;
}

static void say_start(const struct keeper *k)
{
	uint64_t memory = 0, dram;
	char size[32];

	config_memory(&memory);
	dram = config_size_bytes(k->config->dram, memory);
	log_info("onecopy %s serves %s: %s (%llu bytes) of memory for slabs, "
		 "%u tenant%s",
		 ONECOPY_VERSION, k->path, text_size(dram, size),
		 (unsigned long long)dram, k->config->n_tenants,
		 k->config->n_tenants == 1 ? "" : "s");
	if (*k->config->cxl.at)
		log_info("below it %s of %s",
			 text_size(k->config->cxl.size, size),
			 cxl_memory(k->config));
	listen_say_all(k->config, k->door);
}

static int set_up(struct keeper *k)
{
	ssize_t n =
		readlink("/proc/self/exe", k->program, sizeof(k->program) - 1);
	int r;

	if (n < 0 || keep_socket_path(k->config, k->path, sizeof(k->path)) < 0)
		return fail(PROG_SYSTEM, "no path for", "the socket",
			    ENAMETOOLONG);
	k->program[n] = '\0';
	raise_limits();
	r = take_lock(k);
	if (r == 0)
		r = open_doors(k);
	if (r == 0)
		r = open_socket(k);
	if (r != 0)
		return r;
	r = open_config(k);
	if (r == 0)
		r = open_signals(k);
	if (r == 0) {
		say_start(k);
		r = hold_all(k);
	}
	if (r < 0)
		return fail(PROG_SYSTEM, "cannot start on", k->path, -r);
	return 0;
}

int keeper_run(const struct node_config *config)
{
	struct keeper k = { .config = config,
			    .lock = -1,
			    .listen = -1,
			    .signals = -1,
			    .config_fd = -1,
			    .control = -1 };
	char error[LISTEN_ERROR] = "";

	if (listen_inherit(k.door, error) < 0)
		k.status = refuse(error);
	else
		k.status = set_up(&k);
	if (k.status == 0) {
		keep_going(&k);
		if (k.status == 0)
			log_info("stopped");
	}
	if (k.bound)
		unlink(k.path);
	if (k.lock >= 0)
		unlink(k.lock_path);
	hold_set_fini(&k.held, NULL);
	fd_close(k.listen);
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		fd_close(k.door[i]);
	fd_close(k.signals);
	fd_close(k.config_fd);
	fd_close(k.lock);
	return k.status;
}
