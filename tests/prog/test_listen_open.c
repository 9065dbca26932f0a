/* SPDX-License-Identifier: Apache-2.0 */
/* The doors' sockets: opened, taken, passed; those of a real node. */
#include "tests/prog/live.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "tests/prog/run.h"

/* ---- sockets */

static bool log_warned;
static char log_text[1024];

static void keep_line(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	log_warned |= level == LOG_WARN;
	snprintf(log_text, sizeof(log_text), "%s", line);
}

static struct node_config listening(const char *resp, const char *http)
{
	char error[CONFIG_ERROR];
	struct node_config c;

	config_defaults(&c);
	CHECK_OK(config_apply_option(&c, "resp", resp, error));
	CHECK_OK(config_apply_option(&c, "http", http, error));
	return c;
}

/* 0, or what socket(), connect() said. */
static int reach(uint16_t port, int *ret_fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(fd, >=, 0);
	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0) {
		close(fd);
		return -errno;
	}
	*ret_fd = fd;
	return 0;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	CHECK_OK(getsockname(fd, (struct sockaddr *)&in, &len));
	return ntohs(in.sin_port);
}

TEST(opened_sockets)
{
	struct node_config c = listening("127.0.0.1:0", "localhost:0");
	int fds[LISTEN_DOORS] = { -1, -1 }, fd;
	char error[LISTEN_ERROR] = "";

	log_set(keep_line, NULL, LOG_INFO);
	CHECK_OK(listen_open_all(&c, fds, error));
	CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	CHECK_OK(reach(port_of(fds[0]), &fd));
	close(fd);
	listen_say_all(&c, (const int[]){ fds[0], -1 });
	CHECK(strstr(log_text, "RESP on 127.0.0.1:"));
	CHECK(strstr(log_text, "without authentication, without TLS"));
	close(fds[0]);
	fd_close(fds[1]);
}

/* [::] alone is what it says: IPv4 is not listened on. */
TEST(ipv6_is_only_that)
{
	struct node_config c = listening("[::]:0", "off");
	int fds[LISTEN_DOORS] = { -1, -1 }, fd, r;
	char error[LISTEN_ERROR] = "";
	struct sockaddr_in6 in;
	socklen_t len = sizeof(in);

	c.resp.without = CONFIG_WITHOUT_AUTH | CONFIG_WITHOUT_TLS;
	r = listen_open_all(&c, fds, error);
	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
		SKIP("no IPv6 here: %.200s", error);
	CHECK_OK(r);
	CHECK_OK(getsockname(fds[0], (struct sockaddr *)&in, &len));
	CHECK_INT(reach(ntohs(in.sin6_port), &fd), ==, -ECONNREFUSED);
	close(fds[0]);
}

TEST(a_port_that_is_taken)
{
	char error[LISTEN_ERROR] = "", text[LISTEN_TEXT];
	int fds[LISTEN_DOORS] = { -1, -1 }, taken;
	struct node_config c;
	uint16_t port;

	log_set(keep_line, NULL, LOG_INFO);
	CHECK_OK(listen_any(&taken, &port));
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	c = listening("127.0.0.1:0", text);
	CHECK_INT(listen_open_all(&c, fds, error), ==, -EADDRINUSE);
	CHECK(strstr(error, text) && strstr(error, "http"));
	CHECK(fds[0] == -1 && fds[1] == -1); /* the other one is closed */
	c.http.chosen = 0;
	CHECK_OK(listen_open_all(&c, fds, error));
	CHECK(fds[0] >= 0 && fds[1] == -1);
	CHECK(log_warned && strstr(log_text, text));
	CHECK(strstr(log_text, "--http off"));
	close(fds[0]);
	close(taken);
}

TEST(what_was_passed)
{
	int fds[LISTEN_DOORS], wrong, good, fd;
	char error[LISTEN_ERROR] = "";
	struct node_config c = listening("127.0.0.1:0", "off");
	uint16_t port;

	log_set(keep_line, NULL, LOG_INFO);
	wrong = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(wrong, >=, 0);
	fds[0] = wrong; /* does not listen */
	fds[1] = -1;
	CHECK_INT(listen_open_all(&c, fds, error), ==, -EINVAL);
	CHECK(strstr(error, "passed for resp is no TCP socket that listens"));
	CHECK_INT(fcntl(wrong, F_GETFD), ==, -1);
	CHECK_OK(listen_any(&good, &port));
	fds[0] = good;
	CHECK_OK(listen_any(&fds[1], &port)); /* for a door that is off */
	CHECK_OK(listen_open_all(&c, fds, error));
	CHECK(fds[0] == good && fds[1] == -1);
	CHECK(log_warned);
	CHECK_INT(reach(port, &fd), ==, -ECONNREFUSED);
	close(good);
}

/* Beyond loopback the rule is the same for a socket that was passed. */
TEST(what_was_passed_is_judged)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fds[LISTEN_DOORS] = { -1, -1 };
	char error[LISTEN_ERROR] = "";
	struct node_config c = listening("127.0.0.1:0", "off");

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_OK(bind(fds[0], (struct sockaddr *)&in, sizeof(in)));
	CHECK_OK(listen(fds[0], 1));
	CHECK_INT(listen_open_all(&c, fds, error), ==, -EPERM);
	CHECK(strstr(error, "resp on 0.0.0.0:"));
	CHECK_INT(fds[0], ==, -1);
}

TEST(variables_of_another_process)
{
	int fds[LISTEN_DOORS] = { 7, 7 };
	char error[LISTEN_ERROR] = "";

	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "resp:http", 1);
	CHECK_OK(listen_inherit(fds, error));
	CHECK(fds[0] == -1 && fds[1] == -1);
	CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") &&
	      !getenv("LISTEN_FDNAMES"));
}

/* Both descriptors, moved to where they belong, and back. */
TEST(passed_and_inherited)
{
	int fds[LISTEN_DOORS] = { -1, -1 }, back[LISTEN_DOORS];
	char error[LISTEN_ERROR] = "";
	uint16_t ports[LISTEN_DOORS];

	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		CHECK_OK(listen_any(&fds[i], &ports[i]));
	CHECK_OK(listen_pass(fds));
	CHECK_STR(getenv("LISTEN_FDNAMES"), "resp:http");
	CHECK_OK(listen_inherit(back, error));
	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		CHECK_INT(port_of(back[i]), ==, ports[i]);
		CHECK(fcntl(back[i], F_GETFD) & FD_CLOEXEC);
	}
	/* the same socket twice for one door */
	CHECK_OK(listen_pass(fds));
	setenv("LISTEN_FDNAMES", "http:http", 1);
	CHECK_INT(listen_inherit(back, error), ==, -EINVAL);
	CHECK(strstr(error, "two sockets were passed for http"));
}

TEST(a_name_that_no_door_has)
{
	int fds[LISTEN_DOORS] = { -1, -1 }, back[LISTEN_DOORS];
	char error[LISTEN_ERROR] = "";
	uint16_t port;

	log_set(keep_line, NULL, LOG_INFO);
	CHECK_OK(listen_any(&fds[1], &port));
	CHECK_OK(listen_pass(fds));
	setenv("LISTEN_FDNAMES", "onecopy.socket", 1);
	CHECK_OK(listen_inherit(back, error));
	CHECK(back[0] == -1 && back[1] == -1);
	CHECK(log_warned && strstr(log_text, "'onecopy.socket'"));
}

/* ---- a node */

static const char *secret_file(void)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/secret", run_dir());
	f = fopen(path, "we");
	CHECK(f != NULL);
	fputs("secret\n", f);
	CHECK_OK(fclose(f));
	return path;
}

TEST(a_node_refuses)
{
	char socket[128];
	struct run r;

	snprintf(socket, sizeof(socket), "%s/node.sock", run_dir());
	r = RUN("serve", "--socket", socket, "--resp", "0.0.0.0:0");
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "--resp-without authentication,tls"));
	CHECK_INT(access(socket, F_OK), ==, -1);
	run_free(&r);
	r = RUN("serve", "--socket", socket, "--resp", "off", "--http",
		"[::]:0", "--http-token-file", secret_file());
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "has no TLS"));
	run_free(&r);
	r = RUN("serve", "--socket", socket, "--resp-tls-cert", secret_file());
	CHECK_INT(r.status, ==, 5);
	CHECK(strstr(r.err, "the key is missing"));
	run_free(&r);
	r = RUN("serve", "--socket", socket, "--resp-password-file",
		"/nowhere");
	CHECK_INT(r.status, ==, 2);
	run_free(&r);
	run_clean();
}

TEST(a_node_says_where_it_listens)
{
	struct live n;

	live_start_doors(&n, LIVE_OWN, "--dram", "4M", "--resp", "127.0.0.1:0",
			 "--http", "0.0.0.0:0", "--http-without",
			 "authentication,tls");
	CHECK(live_said(&n, "RESP on 127.0.0.1:"));
	CHECK(live_said(&n, "HTTP on 0.0.0.0:"));
	live_stop(&n);
	live_start(&n, "--dram", "4M");
	CHECK(!live_said(&n, "RESP on") && !live_said(&n, "HTTP on"));
	live_stop(&n);
}

TEST(a_taken_port_ends_the_node_that_chose_it)
{
	char socket[128], address_text[LISTEN_TEXT];
	struct run r;
	uint16_t port;
	int taken;

	CHECK_OK(listen_any(&taken, &port));
	snprintf(address_text, sizeof(address_text), "127.0.0.1:%u", port);
	snprintf(socket, sizeof(socket), "%s/node.sock", run_dir());
	r = RUN("serve", "--socket", socket, "--http", "off", "--resp",
		address_text);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, address_text) && strstr(r.err, "in use"));
	run_free(&r);
	close(taken);
	run_clean();
}

TEST(a_file_that_all_can_read)
{
	struct live n;

	umask(022);
	live_start_how(
		&n, (struct live_how){ .yaml = "resp: {password: hunter2}\n" },
		(const char *const[]){ "--dram", "4M", NULL });
	CHECK(live_said(&n, "every user of this machine can read it"));
	CHECK(!live_said(&n, "hunter2"));
	live_stop(&n);
}

static bool is_dead(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int error = 0;
	socklen_t len = sizeof(error);

	CHECK_INT(poll(&p, 1, 0), >=, 0);
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
	return error != 0 || p.revents & (POLLHUP | POLLERR);
}

/* The port is the keeper's: who connects while there is no server waits. */
TEST(a_restarted_server_has_the_same_port)
{
	struct live n;
	int fd, later;
	oc_client *c;
	pid_t server;

	live_start_doors(&n, LIVE_RESP | LIVE_HTTP, "--dram", "4M");
	c = live_connect(&n);
	server = live_server(c);
	CHECK_OK(kill(server, SIGSTOP)); /* it accepts no more */
	CHECK_OK(reach(n.port[LISTEN_HTTP], &fd));
	CHECK_OK(kill(server, SIGKILL));
	LIVE_WAIT(&n, live_server(c) != server);
	CHECK(!is_dead(fd));
	CHECK_OK(reach(n.port[LISTEN_HTTP], &later));
	close(later);
	CHECK_OK(reach(n.port[LISTEN_RESP], &later));
	close(later);
	close(fd);
	oc_client_close(c);
	live_stop(&n);
	CHECK_INT(reach(n.port[LISTEN_HTTP], &fd), ==, -ECONNREFUSED);
}

/* Who runs a node may have set a low one. */
TEST(limits_are_raised)
{
	struct rlimit low, got;
	struct live n;
	oc_client *c;

	CHECK_OK(getrlimit(RLIMIT_NOFILE, &low));
	low.rlim_cur = 100;
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &low));
	live_start(&n, "--dram", "4M");
	c = live_connect(&n);
	CHECK_OK(prlimit(n.keeper, RLIMIT_NOFILE, NULL, &got));
	CHECK_INT(got.rlim_cur, ==, low.rlim_max);
	CHECK_OK(prlimit(live_server(c), RLIMIT_NOFILE, NULL, &got));
	CHECK_INT(got.rlim_cur, ==, low.rlim_max);
	oc_client_close(c);
	live_stop(&n);
}
