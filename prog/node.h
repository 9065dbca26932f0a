/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node of one's own: commands that need a node and were given none start one
 * from their own binary (onecopy-llama: from the one beside it) and stop it
 * again.
 *
 * Life cycle. node_start() makes a private directory (mode 0700, in
 * $XDG_RUNTIME_DIR or /tmp), runs `onecopy serve` with its socket there, and
 * returns when it answers. node_stop() ends it (SIGTERM, after a bounded wait
 * SIGKILL) and removes the directory. It also runs at exit() if the caller
 * forgot, and the kernel ends the node when the caller is killed. The node has
 * a process group of its own: Ctrl-C reaches the caller, who stops it.
 *
 * One thread, and only the process that started a node may stop it: in a forked
 * child node_stop() does nothing to the processes.
 */
#ifndef ONECOPY_PROG_NODE_H
#define ONECOPY_PROG_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "listen.h"
#include "onecopy/onecopy.h"

struct node;

/* Texts are not copied: they live as long as the node. */
struct node_options {
	const char *program; /* path of onecopy; NULL: this program is it */
	uint64_t dram;	     /* bytes; 0: the server's default */
	const char *socket;  /* NULL: in the private directory */
	const char *config;  /* text of a configuration file; NULL: none */
	uint64_t wait_ns;    /* until it answers; 0: 30 s */
	unsigned doors;	  /* over TCP, bits 1u << enum listen_door; the others
			       are off */
	const char *nvme; /* PATH:SIZE of its drive; NULL: none */
	uint64_t drive;	  /* instead: bytes of one in a folder in /var/tmp that
			     goes with the node; 0: none */
	bool save; /* what is in DRAM goes there at a node_restart(), or at the
		      stop of a node that was never restarted */
	double slow_nvme; /* times that its drive is slowed, a test; 0: not */
};

#define NODE_ERROR 512

/* 0; -ETIMEDOUT, -ECHILD (it ended: `error` has the last line it logged), or
 * another -errno. `error` has NODE_ERROR bytes. */
int node_start(const struct node_options *options, struct node **ret_node,
	       char *error);
/* Takes NULL. */
void node_stop(struct node *n);
/* Ends it well and starts it again, with the same options at the same place: its
 * clients must connect anew. As node_start(); on failure it is stopped, and
 * node_stop() is still to be called. Not with doors. */
int node_restart(struct node *n, char *error);

const char *node_socket(const struct node *n);
/* The private directory: what is put there goes with the node. */
const char *node_dir(const struct node *n);
/* The folder of its `drive`; "": none. */
const char *node_drive(const struct node *n);
/* On 127.0.0.1; 0: it has no such door. */
uint16_t node_port(const struct node *n, enum listen_door door);
pid_t node_keeper_pid(const struct node *n);
/* False when its process has ended by itself. */
bool node_alive(struct node *n);

/* Process id of the server behind a client; 0 or -errno. */
int node_server_pid(oc_client *c, pid_t *ret_pid);

#endif
