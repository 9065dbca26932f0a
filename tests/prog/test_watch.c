/* SPDX-License-Identifier: Apache-2.0 */
/* `onecopy stat` for people: what it prints, and --watch on a terminal. */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "tests/prog/respc.h"
#include "tests/prog/run.h"
#include "tests/test.h"

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"
#define HOME  "\033[H"
#define MOST  (1u << 20)

/* ---- a terminal -------------------------------------------------------------- */

struct terminal {
	int fd;
	pid_t pid;
	char *text; /* all that came */
	size_t n;
};

static void set_size(struct terminal *t, unsigned rows, unsigned columns)
{
	const struct winsize w = {
		.ws_row = (unsigned short)rows,
		.ws_col = (unsigned short)columns,
	};

	CHECK_OK(ioctl(t->fd, TIOCSWINSZ, &w));
}

static void become(int master, const char *socket)
{
	char *name = ptsname(master);
	int fd;

	setsid();
	fd = open(name, O_RDWR | O_CLOEXEC);
	CHECK_INT(fd, >=, 0);
	CHECK_OK(ioctl(fd, TIOCSCTTY, 0));
	dup2(fd, 0); /* words: its own terminal */
	dup2(fd, 1); /* words: its own terminal */
	dup2(fd, 2); /* words: its own terminal */
	execl(getenv("ONECOPY_BIN"), "onecopy", "stat", "--node", socket,
	      "--watch", "1", NULL);
	_exit(127);
}

static struct terminal terminal_open(const char *socket, unsigned rows,
				     unsigned columns)
{
	struct terminal t = { .text = calloc(1, MOST) };

	CHECK(t.text);
	t.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK_INT(t.fd, >=, 0);
	CHECK_OK(grantpt(t.fd));
	CHECK_OK(unlockpt(t.fd));
	set_size(&t, rows, columns);
	t.pid = fork();
	CHECK_INT(t.pid, >=, 0);
	if (t.pid == 0)
		become(t.fd, socket);
	return t;
}

/* False: the other side has closed. */
static bool terminal_read(struct terminal *t)
{
	struct pollfd p = { .fd = t->fd, .events = POLLIN };
	ssize_t n;

	CHECK_INT(poll(&p, 1, -1), ==, 1);
	n = read(t->fd, t->text + t->n, MOST - 1 - t->n);
	if (n <= 0)
		return false;
	t->n += (size_t)n;
	t->text[t->n] = '\0';
	return true;
}

/* What came from `from` on until this text has; where it begins. */
static char *terminal_until(struct terminal *t, size_t from, const char *text)
{
	char *at;

	while (!(at = strstr(t->text + from, text)))
		if (!terminal_read(t))
			FAIL("ended before %s came", text + 1);
	return at;
}

static int terminal_end(struct terminal *t, int signo)
{
	int status;

	if (signo)
		CHECK_OK(kill(t->pid, signo));
	while (terminal_read(t))
		continue;
	CHECK_INT(waitpid(t->pid, &status, 0), ==, t->pid);
	close(t->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* One page, from HOME to the clearing of what is below it. */
struct extent {
	unsigned rows, columns; /* that it uses */
};

static struct extent measure(const char *page, const char *end)
{
	struct extent e = { .rows = 1 };
	unsigned column = 0;

	while (page < end) {
		if (!strncmp(page, "\033[", 2)) {
			page += 2;
			page += strcspn(page, "HKJ") + 1;
		} else if (!strncmp(page, "\r\n", 2)) {
			page += 2;
			e.rows++;
			column = 0;
		} else {
			CHECK((unsigned char)*page >= 0x20);
			page++;
			column++;
			if (column > e.columns)
				e.columns = column;
		}
	}
	return e;
}

static struct extent next_page(struct terminal *t, size_t *from)
{
	char *begin = terminal_until(t, *from, HOME);
	char *end = terminal_until(t, (size_t)(begin - t->text), "\033[J");

	*from = (size_t)(end + 3 - t->text);
	return measure(begin, end);
}

/* ---- tests ------------------------------------------------------------------- */

TEST(redrawn_in_place)
{
	char socket[108];
	pid_t node = run_node("64M", socket);
	struct terminal t = terminal_open(socket, 10, 40);
	struct extent e;
	size_t from = 0;

	for (unsigned i = 0; i < 2; i++) {
		e = next_page(&t, &from);
		CHECK_INT(e.rows, ==, 10);
		CHECK_INT(e.columns, ==, 40);
	}
	CHECK(!strncmp(t.text, ENTER, strlen(ENTER)));
	CHECK(strstr(t.text, "node") != NULL);
	/* another size: drawn anew, no row or column too many */
	set_size(&t, 5, 20);
	do
		e = next_page(&t, &from);
	while (e.rows != 5);
	CHECK_INT(e.columns, ==, 20);
	set_size(&t, 200, 200);
	do
		e = next_page(&t, &from);
	while (e.rows == 5);
	CHECK_INT(e.rows, >, 20);
	CHECK_INT(terminal_end(&t, SIGINT), ==, 0);
	CHECK_STR(t.text + t.n - strlen(LEAVE), LEAVE);
	free(t.text);
	run_end(node, SIGTERM);
	run_clean();
}

static void ends_with(const char *socket, int signo)
{
	struct terminal t = terminal_open(socket, 24, 80);
	size_t from = 0;

	next_page(&t, &from);
	CHECK_INT(terminal_end(&t, signo), ==, 0);
	CHECK_STR(t.text + t.n - strlen(LEAVE), LEAVE);
	free(t.text);
}

TEST(the_terminal_is_given_back)
{
	char socket[108];
	pid_t node = run_node("64M", socket);

	ends_with(socket, SIGTERM);
	ends_with(socket, SIGHUP);
	ends_with(socket, SIGQUIT);
	run_end(node, SIGTERM);
	run_clean();
}

/* Ctrl-Z: given back while it is stopped, taken again afterwards. */
TEST(stopped_and_continued)
{
	char socket[108], *left;
	pid_t node = run_node("64M", socket);
	struct terminal t = terminal_open(socket, 24, 80);
	size_t from = 0;
	int status;

	next_page(&t, &from);
	CHECK_OK(kill(t.pid, SIGTSTP));
	CHECK_INT(waitpid(t.pid, &status, WUNTRACED), ==, t.pid);
	CHECK(WIFSTOPPED(status));
	left = terminal_until(&t, from, LEAVE);
	CHECK_OK(kill(t.pid, SIGCONT));
	from = (size_t)(left - t.text);
	terminal_until(&t, from, ENTER HOME);
	CHECK_INT(terminal_end(&t, SIGINT), ==, 0);
	free(t.text);
	run_end(node, SIGTERM);
	run_clean();
}

static bool maps_a_pool(pid_t pid)
{
	char path[64], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, "/memfd:") != NULL;
	fclose(f);
	return found;
}

static size_t seen(const struct terminal *t, const char *at, const char *text)
{
	return (size_t)(at - t->text) + strlen(text);
}

/* Its memory is let go, and whoever comes next on the socket is shown. */
TEST(another_node_follows)
{
	static const char ended[] = HOME "the node has ended; waiting for one";
	char socket[108], *at;
	pid_t node = run_node("64M", socket);
	struct terminal t = terminal_open(socket, 24, 80);
	size_t from;

	at = terminal_until(&t, 0, "64 MiB");
	CHECK(maps_a_pool(t.pid));
	run_end(node, SIGTERM);
	at = terminal_until(&t, seen(&t, at, "64 MiB"), ended);
	CHECK(!maps_a_pool(t.pid));
	/* it goes on waiting */
	at = terminal_until(&t, seen(&t, at, ended), ended);
	from = seen(&t, at, ended);
	node = run_node("32M", socket);
	at = terminal_until(&t, from, "32 MiB");
	/* killed, its socket stays and leads nowhere */
	run_end(node, SIGKILL);
	at = terminal_until(&t, seen(&t, at, "32 MiB"), ended);
	from = seen(&t, at, ended);
	node = run_node("48M", socket);
	terminal_until(&t, from, "48 MiB");
	CHECK_INT(terminal_end(&t, SIGINT), ==, 0);
	free(t.text);
	run_end(node, SIGTERM);
	run_clean();
}

TEST(no_terminal_no_screen)
{
	char socket[108];
	pid_t node = run_node("64M", socket), watch;
	int fds[2];
	FILE *in;
	char line[512];
	unsigned looks = 0;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	watch = fork();
	CHECK_INT(watch, >=, 0);
	if (watch == 0) {
		dup2(fds[1], 1); /* words: its own output */
		execl(getenv("ONECOPY_BIN"), "onecopy", "stat", "--node",
		      socket, "--watch", "1", NULL);
		_exit(127);
	}
	close(fds[1]);
	in = fdopen(fds[0], "r");
	CHECK(in);
	while (looks < 2 && fgets(line, sizeof(line), in)) {
		CHECK(!strchr(line, '\033'));
		looks += !strcmp(line, "node\n");
	}
	CHECK_INT(looks, ==, 2);
	CHECK_INT(run_end(watch, SIGINT), ==, 0);
	fclose(in);
	run_end(node, SIGTERM);
	run_clean();
}

/* Windows cut the end: what is watched is above it. */
TEST(what_is_watched_comes_first)
{
	static const char *const order[] = {
		HOME "node", "  used_bytes ", "\r\ntenants",
		"\r\ndoors", "requests/s",    "\r\ntimes of requests",
		"p99",	     " set ",
	};
	struct live n;
	struct respc *c;
	struct terminal t;
	char *at, *end;

	RESPC_NODE(&n, NULL, "--dram", "64M");
	c = respc_open(respc_port(&n));
	respc_set(c, "key", 1, 100);
	t = terminal_open(n.socket, 24, 80);
	at = terminal_until(&t, 0, HOME);
	end = terminal_until(&t, (size_t)(at - t.text), "\033[J");
	*end = '\0';
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		at = strstr(at, order[i]);
		if (!at)
			FAIL("%s is not where it belongs", order[i]);
	}
	*end = '\033';
	CHECK_INT(terminal_end(&t, SIGINT), ==, 0);
	free(t.text);
	respc_close(c);
	live_stop(&n);
}

/* Moments and rates are written for people; JSON keeps the numbers. */
TEST(figures_with_units)
{
	char socket[108];
	pid_t node = run_node("64M", socket);
	struct run r = RUN("stat", "--node", socket);
	json_t *root;

	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "  born               20") != NULL);
	CHECK(strstr(r.out, " seconds ago\n") != NULL);
	CHECK(strstr(r.out, "B/s") != NULL);
	CHECK(strstr(r.out, "born_ms") == NULL);
	run_free(&r);
	r = RUN("stat", "--node", socket, "--json");
	root = run_json(&r);
	CHECK(json_integer_value(json_object_get(json_object_get(root, "node"),
						 "born_ms")) > 0);
	CHECK(json_is_array(json_object_get(root, "doors")));
	json_decref(root);
	run_free(&r);
	run_end(node, SIGTERM);
	run_clean();
}
