/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end of a connection over loopback? The kernel knows the
 * user of the socket there (sock_diag(7)), so a door over TCP can hold the same
 * boundary between users as the node's own socket, without passwords.
 *
 * It tells nothing about peers on other machines or in other network
 * namespaces: they have no user here.
 */
#ifndef ONECOPY_FRONT_PEER_H
#define ONECOPY_FRONT_PEER_H

#include "base/compiler.h"

/* The user of a connected TCP socket's peer. -ENOENT: it has none here (it is
 * elsewhere, or closed already); another -errno: the kernel does not tell. */
int peer_uid(int fd, uint32_t *ret_uid);
/* Whether the kernel tells users at all, tried on a connection of one's own: 1;
 * 0 where sock_diag is not built in, or a filter refuses it; -errno: want of
 * memory or descriptors, which says nothing. */
int peer_known(void);

#endif
