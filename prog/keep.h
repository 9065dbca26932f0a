/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeper and server: two processes, one node.
 *
 * The keeper holds what must survive (descriptors under tags), restarts the
 * server when that dies, and parses nothing that comes from a client. They
 * talk over one SOCK_SEQPACKET pair in fixed-size messages, the descriptor
 * beside them:
 *
 *   keeper -> server   GIVE tag + fd ... GIVEN      what the last one left;
 *                                                   GIVEN's id: 1 when there
 *                                                   was a server before
 *                      STOP                         end cleanly
 *   server -> keeper   HOLD tag + fd, DROP tag      from now on
 *                      READY                        serving
 *                      ALIVE                        each second
 *
 * A HOLD is safe once it is sent: the descriptor is in the keeper's queue. The
 * server exits when the pair breaks (the keeper has died: the node ends). A
 * server that is not heard of for KEEP_SILENT_NS is replaced.
 */
#ifndef ONECOPY_PROG_KEEP_H
#define ONECOPY_PROG_KEEP_H

#include "base/clock.h"
#include "config.h"
#include "pool/hold.h"

enum keep_op {
	KEEP_GIVE = 1,
	KEEP_GIVEN,
	KEEP_STOP,
	KEEP_HOLD,
	KEEP_DROP,
	KEEP_READY,
	KEEP_ALIVE
};

#define KEEP_BEAT_NS   (1 * NS_PER_S)
#define KEEP_SILENT_NS (15 * NS_PER_S)

struct keep_msg {
	uint32_t op; /* enum keep_op */
	uint32_t zero;
	struct hold_tag tag;
};
_Static_assert(sizeof(struct keep_msg) == 24, "no padding");

/* Waits until it is sent. -EPIPE: the other side is gone. */
int keep_send(int sock, enum keep_op op, const struct hold_tag *tag, int fd);
/* One message if there is one: 0; -EAGAIN; -EPIPE; -EPROTO. *ret_fd -1: none. */
int keep_recv(int sock, struct keep_msg *ret_msg, int *ret_fd);

/* Runs the node until it is told to end; an enum exit_status. */
int keeper_run(const struct node_config *config);
/* The server process: `control` is its end of the pair. */
int server_run(const struct node_config *config, int control);

/* The socket's path that this configuration means. 0 or -ENAMETOOLONG. */
int keep_socket_path(const struct node_config *config, char *buf, size_t cap);

#endif
