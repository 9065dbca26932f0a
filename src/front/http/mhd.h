/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that speak to libmicrohttpd share. Empty without it. */
#ifndef ONECOPY_FRONT_HTTP_MHD_H
#define ONECOPY_FRONT_HTTP_MHD_H

#include "front/http/internal.h"

#ifdef ONECOPY_MHD
#include <microhttpd.h>

#define CONN_NOBODY UINT32_MAX

struct http_conn {
	struct http_conn *next, *prev;
	int fd;
	uint64_t since_ns; /* it came, or its last answer was sent */
	uint32_t uid;	   /* its user; CONN_NOBODY: not known, or no limit */
	bool ended;
};

struct http {
	struct http_options options;
	struct http_asked asked;
	uint8_t token[32];
	struct MHD_Daemon *mhd;
	int epoll_fd;
	uint64_t run_ns;	/* when MHD_run() is due */
	struct http_conn conns; /* head of a ring */
	size_t unsent;
	bool peers_known; /* front/peer.h works here */
	bool starting;	  /* what the library says is worth a line */
	struct door door;
};

static inline void http_count(struct http *h, enum door_counter c, uint64_t n)
{
	door_count(&h->door, DOOR_NO_TENANT, c, n);
}

/* request.c: the library's MHD_AccessHandlerCallback; ctx: struct http */
enum MHD_Result http_request(void *ctx, struct MHD_Connection *c,
			     const char *path, const char *method,
			     const char *version, const char *upload,
			     size_t *upload_bytes, void **request);

#endif
#endif
