/* SPDX-License-Identifier: Apache-2.0 */
/* The doors' sockets: opened here, or passed by whoever started the node. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "listen.h"
#include "tls_files.h"

#define INHERIT_MAX 64

static const char *const shown[LISTEN_DOORS] = { "RESP", "HTTP" };

/* What both doors have. */
struct door_config {
	const char *listen, *certificate, *key, *client_ca;
	bool chosen, auth;
};

static struct door_config door_config(const struct node_config *c,
				      enum listen_door door)
{
	if (door == LISTEN_RESP)
		return (struct door_config){
			.listen = c->resp.listen,
			.certificate = c->resp.certificate,
			.key = c->resp.key,
			.client_ca = c->resp.client_ca,
			.chosen = c->resp.chosen,
			.auth = c->resp.has_password || c->resp.n_users,
		};
	return (struct door_config){
		.listen = c->http.listen,
		.certificate = c->http.certificate,
		.key = c->http.key,
		.client_ca = "",
		.chosen = c->http.chosen,
		.auth = c->http.has_token,
	};
}

static bool is_off(const struct door_config *d)
{
	return strcmp(d->listen, "off") == 0;
}

/* ---- files --------------------------------------------------------------- */

static int load_files(const char *name, const struct door_config *d,
		      char *error)
{
	const struct tls_paths paths = { name, d->certificate, d->key,
					 d->client_ca };
	struct stream_tls *tls = NULL;
	struct tls_files files;
	int r = tls_files_load(&paths, &files, &tls, error);

	_Static_assert((int)LISTEN_ERROR >= (int)TLS_FILES_ERROR,
		       "its text fits");
	if (r == 0)
		tls_files_free(&files);
	stream_tls_destroy(tls);
	return r;
}

static int check_door(const char *name, const struct door_config *d,
		      char *error)
{
	bool certificate = d->certificate[0], key = d->key[0];

	if (is_off(d))
		return 0;
	if (certificate != key || (d->client_ca[0] && !certificate)) {
		snprintf(error, LISTEN_ERROR,
			 "%s.tls: %s is missing; it takes a certificate and "
			 "its key",
			 name, certificate ? "the key" : "the certificate");
		return -EINVAL;
	}
	return load_files(name, d, error);
}

int listen_check_files(const struct node_config *config,
		       char error[LISTEN_ERROR])
{
	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		struct door_config d = door_config(config, i);
		int r = check_door(listen_names[i], &d, error);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- inherited sockets --------------------------------------------------- */

/* How many there are for this very process. */
static unsigned inherited_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	uint64_t value;

	if (!pid || !n || text_parse_u64(pid, INT32_MAX, &value) ||
	    value != (uint64_t)getpid())
		return 0;
	return text_parse_u64(n, INHERIT_MAX, &value) ? 0 : (unsigned)value;
}

static int door_of(const char *name)
{
	for (int i = 0; i < LISTEN_DOORS; i++) {
		if (strcmp(listen_names[i], name) == 0)
			return i;
	}
	return -1;
}

static int take_inherited(int fd, const char *name, int fds[LISTEN_DOORS],
			  char *error)
{
	int door = door_of(name);

	/* not a descriptor at all: the variables lie */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return 0;
	if (door < 0) {
		log_warn("a socket was passed for '%.64s', which is neither "
			 "resp nor http: closed",
			 name);
		close(fd);
		return 0;
	}
	if (fds[door] >= 0) {
		snprintf(error, LISTEN_ERROR,
			 "two sockets were passed for %s; a door has one",
			 listen_names[door]);
		return -EINVAL;
	}
	fds[door] = fd;
	return 0;
}

int listen_inherit(int ret_fds[LISTEN_DOORS], char error[LISTEN_ERROR])
{
	const char *given = getenv("LISTEN_FDNAMES");
	char list[1024] = "", *rest = list;
	unsigned n = inherited_count();
	int r = 0;

	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		ret_fds[i] = -1;
	if (given)
		text_copy(list, sizeof(list), given);
	for (unsigned i = 0; i < n && r == 0; i++) {
		const char *name = strsep(&rest, ":");

		r = take_inherited(LISTEN_FIRST + (int)i, name ? name : "",
				   ret_fds, error);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return r;
}

static int number_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1
								    : value;
}

static bool listens(int fd)
{
	int family = number_option(fd, SO_DOMAIN);

	return (family == AF_INET || family == AF_INET6) &&
	       number_option(fd, SO_TYPE) == SOCK_STREAM &&
	       number_option(fd, SO_ACCEPTCONN) == 1;
}

static int address_of(int fd, struct sockaddr_storage *ret_at)
{
	socklen_t len = sizeof(*ret_at);

	*ret_at = (struct sockaddr_storage){ 0 };
	if (getsockname(fd, (struct sockaddr *)ret_at, &len) < 0)
		return -errno;
	return 0;
}

static int take_passed(const struct node_config *config, enum listen_door door,
		       int fd, char *error)
{
	struct sockaddr_storage at;
	int flags = fcntl(fd, F_GETFL);

	if (!listens(fd) || flags < 0 || address_of(fd, &at) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		snprintf(error, LISTEN_ERROR,
			 "what was passed for %s is no TCP socket that listens",
			 listen_names[door]);
		return -EINVAL;
	}
	return listen_judge(config, door, &at, error);
}

/* ---- sockets of our own -------------------------------------------------- */

static int bind_socket(int fd, const struct sockaddr_storage *at)
{
	bool v6 = at->ss_family == AF_INET6;
	socklen_t len = v6 ? sizeof(struct sockaddr_in6)
			   : sizeof(struct sockaddr_in);
	const int one = 1;

	/* connections of a node that has ended do not keep its port */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	/* [::] is what it says on every machine */
	if (v6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)at, len) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	return 0;
}

static int open_socket(const struct sockaddr_storage *at, int *ret_fd)
{
	CLEANUP(fd_close_at) int fd = -1;
	int r;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return -errno;
	r = bind_socket(fd, at);
	if (r == 0)
		*ret_fd = fd_take(&fd);
	return r;
}

/* Nobody asked for the default address: a node without that door is better
 * than none, and two nodes on a machine are nothing wrong. */
static int no_default(enum listen_door door, const char *at, int error)
{
	log_warn("%s: %s cannot be had (%s): no such door; choose another "
		 "with --%s ADDRESS:PORT, or --%s off",
		 shown[door], at, strerror(-error), listen_names[door],
		 listen_names[door]);
	return 0;
}

static int open_own(const struct node_config *config, enum listen_door door,
		    const struct door_config *d, int *ret_fd, char *error)
{
	struct sockaddr_storage at;
	int r = listen_parse(d->listen, &at);

	if (r == 0)
		r = listen_judge(config, door, &at, error);
	if (r != 0)
		return r;
	r = open_socket(&at, ret_fd);
	if (r == 0)
		return 0;
	if (!d->chosen)
		return no_default(door, d->listen, r);
	snprintf(error, LISTEN_ERROR, "cannot listen on %s for %s: %s",
		 d->listen, listen_names[door], strerror(-r));
	return r;
}

/* *fd: the inherited one, then the door's. */
static int open_door(const struct node_config *config, enum listen_door door,
		     int *fd, char *error)
{
	struct door_config d = door_config(config, door);

	if (!is_off(&d))
		return *fd >= 0 ? take_passed(config, door, *fd, error)
				: open_own(config, door, &d, fd, error);
	if (*fd >= 0)
		log_warn("%s is off: the socket that was passed for it is "
			 "closed",
			 listen_names[door]);
	*fd = fd_close(*fd);
	return 0;
}

int listen_open_all(const struct node_config *config, int fds[LISTEN_DOORS],
		    char error[LISTEN_ERROR])
{
	int r = 0;

	for (unsigned i = 0; i < LISTEN_DOORS && r == 0; i++)
		r = open_door(config, i, &fds[i], error);
	for (unsigned i = 0; i < LISTEN_DOORS && r < 0; i++)
		fds[i] = fd_close(fds[i]);
	return r;
}

static void say(const struct node_config *config, enum listen_door door, int fd)
{
	struct door_config d = door_config(config, door);
	struct sockaddr_storage at;
	char text[LISTEN_TEXT];

	if (fd < 0 || address_of(fd, &at) < 0)
		return;
	log_info("%s on %s, %s authentication, %s TLS", shown[door],
		 listen_text(&at, text), d.auth ? "with" : "without",
		 d.certificate[0] ? "with" : "without");
}

void listen_say_all(const struct node_config *config,
		    const int fds[LISTEN_DOORS])
{
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		say(config, i, fds[i]);
}
