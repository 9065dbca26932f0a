/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the doors over TCP listen, and whether they may.
 *
 * The rule: a door that can be reached from other machines has authentication
 * and TLS, or the configuration names what it does without. It is applied to
 * the address that a socket really has, also of one that was passed by whoever
 * started the node.
 *
 * The keeper opens the sockets and holds them, so that a server that follows
 * another has the same port and connections wait meanwhile. The first part is
 * pure; names of hosts are not looked up.
 */
#ifndef ONECOPY_PROG_LISTEN_H
#define ONECOPY_PROG_LISTEN_H

#include <sys/socket.h>
#include "config.h"

enum listen_door { LISTEN_RESP, LISTEN_HTTP, LISTEN_DOORS };

#define LISTEN_TEXT    64 /* "[ADDRESS]:PORT" */
#define LISTEN_ERROR   512
#define LISTEN_BACKLOG 4096
#define LISTEN_FIRST   3 /* of the passed descriptors: sd_listen_fds(3) */

/* In $LISTEN_FDNAMES and in messages. */
extern const char *const listen_names[LISTEN_DOORS];

/* "127.0.0.1:6380", "[::1]:6380", "localhost:6380" (that is 127.0.0.1); port 0:
 * any. 1: "off", nothing is written. -EINVAL. An IPv4 address that is written
 * as one of IPv6 becomes IPv4. */
int listen_parse(const char *text, struct sockaddr_storage *ret_at);
/* 127.0.0.0/8, ::1, and the former as an address of IPv6. */
bool listen_is_loopback(const struct sockaddr_storage *at);
/* As listen_parse() reads it; returns buf. */
const char *listen_text(const struct sockaddr_storage *at,
			char buf[LISTEN_TEXT]);
/* What keeps the door from listening there: bits of enum config_without, 0 when
 * it may. */
unsigned listen_missing(const struct node_config *config, enum listen_door door,
			const struct sockaddr_storage *at);
/* 0, or -EPERM and a text that says what is missing and how to mend it. */
int listen_judge(const struct node_config *config, enum listen_door door,
		 const struct sockaddr_storage *at, char error[LISTEN_ERROR]);

/* Are the TLS files of the doors that listen complete, can they be read, and do
 * they belong together? 0, or -errno with a text. */
int listen_check_files(const struct node_config *config,
		       char error[LISTEN_ERROR]);

/* Sockets that the process was started with: $LISTEN_FDS, $LISTEN_FDNAMES
 * ("resp", "http") and $LISTEN_PID, as systemd passes them. -1: none. They are
 * close-on-exec from now on, and the variables are gone. Before anything else
 * is opened. -EINVAL with a text: two of one name. */
int listen_inherit(int ret_fds[LISTEN_DOORS], char error[LISTEN_ERROR]);
/* Opens the doors' sockets. fds: what was inherited, which is the function's in
 * every case; afterwards the doors'. -1: there is no door, because it is off or
 * because the default address cannot be had, which is logged. -errno with a
 * text: the node must not start; all are closed. */
int listen_open_all(const struct node_config *config, int fds[LISTEN_DOORS],
		    char error[LISTEN_ERROR]);
/* For each door a line in the log: "RESP on 127.0.0.1:6380, ...". */
void listen_say_all(const struct node_config *config,
		    const int fds[LISTEN_DOORS]);

/* For who starts a node of his own: a socket that listens on any free port of
 * 127.0.0.1, so that the port is known before the node runs and cannot be taken
 * in between. */
int listen_any(int *ret_fd, uint16_t *ret_port);
/* In the process that is about to become the node (descriptors 0 to 2 are in
 * place): passes these on, -1: none, as listen_inherit() takes them. */
int listen_pass(const int fds[LISTEN_DOORS]);

#endif
