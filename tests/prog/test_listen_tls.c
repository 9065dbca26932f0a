/* SPDX-License-Identifier: Apache-2.0 */
/* Files of TLS that are of no use: at the node's start, and to a server that
 * follows another. */
#include "tests/prog/live.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include "tests/front/tls_peer.h"
#include "tests/prog/run.h"

static char certificate[256], key[256], yaml[256];

static void put(char path[256], const char *name, const char *text)
{
	FILE *f;

	snprintf(path, 256, "%s/%s", run_dir(), name);
	f = fopen(path, "we");
	CHECK(f != NULL);
	fputs(text, f);
	CHECK_OK(fclose(f));
}

static const char *text_of_config(void)
{
	static char text[2048];

	snprintf(text, sizeof(text),
		 "resp: {tls: {certificate: %s, key: %s}}\n"
		 "http: {tls: {certificate: %s, key: %s}}\n",
		 certificate, key, certificate, key);
	return text;
}

static void refused(const char *why)
{
	char socket[128];
	struct run r;

	snprintf(socket, sizeof(socket), "%s/node.sock", run_dir());
	put(yaml, "node.yaml", text_of_config());
	r = RUN("serve", "--socket", socket, "--config", yaml, "--dram", "4M",
		"--resp", "127.0.0.1:0", "--http", "127.0.0.1:0");
	CHECK_INT(r.status, ==, 5);
	if (!strstr(r.err, why))
		FAIL("'%s' is not in: %s", why, r.err);
	CHECK(strstr(r.err, certificate));
	CHECK_INT(access(socket, F_OK), ==, -1);
	run_free(&r);
}

TEST(a_node_does_not_start_with_them)
{
	struct identity id, other;

	identity_make(&id, "node", NULL);
	identity_make(&other, "other", NULL);
	put(certificate, "cert.pem", id.certificate_pem);
	put(key, "key.pem", other.key_pem);
	refused("key values mismatch");
	put(key, "key.pem", "no key\n");
	refused("the key is not one in PEM");
	put(certificate, "cert.pem", "no certificate\n");
	refused("the certificate is not PEM");
	identity_end(&id);
	identity_end(&other);
	run_clean();
}

static int reach(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(fd, >=, 0);
	CHECK_OK(connect(fd, (struct sockaddr *)&in, sizeof(in)));
	return fd;
}

/* Says nothing, so that nothing but a refusal ends it. */
static void check_closed(uint16_t port)
{
	int fd = reach(port);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	CHECK_INT(poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)), ==, 1);
	CHECK_INT(read(fd, &c, 1), <=, 0);
	close(fd);
}

static void ping(const struct live *n, int fd, void *arg)
{
	const struct peer_options o = { .tls = true, .ca = arg };
	char answer[7];
	struct peer p;

	if (!peer_open(&p, reach(n->port[LISTEN_RESP]), &o) ||
	    !peer_write(&p, "PING\r\n", 6) ||
	    !peer_read_all(&p, answer, sizeof(answer)) ||
	    memcmp(answer, "+PONG\r\n", sizeof(answer)) != 0)
		child_say(fd, 'n');
	else
		child_say(fd, 'y');
}

static void check_works(const struct live *n, struct identity *id)
{
	struct child c = child_start(ping, n, id);

	CHECK_INT(child_hear(c.fd), ==, 'y');
	CHECK_INT(child_end(&c), ==, 0);
}

static void kill_server(const struct live *n, oc_client *c)
{
	pid_t server = live_server(c);

	CHECK_OK(kill(server, SIGKILL));
	LIVE_WAIT(n, live_server(c) != server);
}

/* Its successor finds a renewal half done. */
TEST(a_server_waits_for_better_ones)
{
	struct identity id, renewed;
	oc_client *c;
	struct live n;

	identity_make(&id, "node", NULL);
	identity_make(&renewed, "node", NULL);
	put(certificate, "cert.pem", id.certificate_pem);
	put(key, "key.pem", id.key_pem);
	live_start_how(&n,
		       (struct live_how){ LIVE_RESP | LIVE_HTTP,
					  text_of_config() },
		       (const char *const[]){ "--dram", "4M", NULL });
	c = live_connect(&n);
	check_works(&n, &id);
	put(certificate, "cert.pem", renewed.certificate_pem);
	kill_server(&n, c);
	LIVE_WAIT(&n, live_said(&n, "resp.tls: key values mismatch"));
	LIVE_WAIT(&n, live_said(&n, "http.tls: key values mismatch"));
	check_closed(n.port[LISTEN_RESP]);
	check_closed(n.port[LISTEN_HTTP]);
	CHECK(!live_said(&n, "works again"));
	put(key, "key.pem", renewed.key_pem);
	LIVE_WAIT(&n, live_said(&n, "RESP works again"));
	LIVE_WAIT(&n, live_said(&n, "HTTP works again") ||
			      live_said(&n, "http: Function not implemented"));
	check_works(&n, &renewed);
	oc_client_close(c);
	live_stop(&n);
	identity_end(&id);
	identity_end(&renewed);
	run_clean();
}

/* More than may shake hands at a time, and none of them does: they are ended
 * soon, and who waits behind them gets in. */
TEST(many_who_do_not_shake_hands)
{
	struct identity id;
	struct live n;
	int fds[300];

	identity_make(&id, "node", NULL);
	put(certificate, "cert.pem", id.certificate_pem);
	put(key, "key.pem", id.key_pem);
	live_start_how(&n,
		       (struct live_how){ LIVE_RESP | LIVE_HTTP,
					  text_of_config() },
		       (const char *const[]){ "--dram", "4M", NULL });
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = reach(n.port[LISTEN_RESP]);
	check_works(&n, &id);
	/* the first ones are gone by now */
	for (unsigned i = 0; i < 100; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };

		CHECK_INT(poll(&p, 1, 0), ==, 1);
	}
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	check_works(&n, &id);
	live_stop(&n);
	identity_end(&id);
	run_clean();
}
