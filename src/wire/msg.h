/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on the node's socket (SOCK_SEQPACKET): only what needs descriptors.
 * Fixed little-endian structs; a message of another size, type, magic or
 * version is refused with an error message and changes nothing.
 *
 *   client -> server   HELLO                  server -> client  WELCOME (fds)
 *                      REGION id, generation                    REGION (fds) / ERROR
 *                      INDEX epoch                              INDEX (fd)
 *                      CXL                                      CXL (fd) / ERROR
 *
 * Requests carry a sequence number that the answer repeats; all are
 * repeatable, so a client whose server was replaced sends again.
 */
#ifndef ONECOPY_WIRE_MSG_H
#define ONECOPY_WIRE_MSG_H

#include "base/compiler.h"

#define MSG_MAGIC	  0x504f434eu /* "NCOP" */
#define MSG_VERSION_MAJOR 2
#define MSG_VERSION_MINOR 0
#define MSG_MAX		  512
#define MSG_NAME	  64
#define MSG_TOKEN	  256

enum msg_type {
	MSG_HELLO = 1,
	MSG_WELCOME = 2, /* fds: meta (ro), index (ro), client segment (rw),
			    bell (wire/ring.h) */
	MSG_REGION = 3,	 /* question; answer fds: payload (rw for the owner,
			    else ro), descriptors (ro) */
	MSG_INDEX = 4, /* question; answer fd: the newest index segment (ro) */
	MSG_ERROR = 5,
	MSG_CXL = 6, /* question; answer fd: the memory of the tenant's CXL
			region (rw) */
	MSG_TYPES
};

struct msg_head {
	uint32_t magic;
	uint16_t major, minor;
	uint16_t type;
	uint16_t bytes; /* of the whole message */
	uint32_t zero;
	uint64_t seq;
};

struct msg_hello {
	struct msg_head head;
	uint64_t stamp;	       /* layout_stamp() */
	uint32_t flags;	       /* MSG_HELLO_READ_ONLY */
	uint32_t pins;	       /* slots wanted, 0 = default */
	char tenant[MSG_NAME]; /* zero-terminated; "": the token's */
	char name[MSG_NAME];
	char token[MSG_TOKEN]; /* "": none */
};
#define MSG_HELLO_READ_ONLY 1u

struct msg_welcome {
	struct msg_head head;
	uint64_t client_id;
	uint64_t meta_bytes, index_bytes, client_bytes;
	uint64_t index_epoch;
	uint32_t pins;	   /* slots in the client segment */
	uint32_t overflow; /* slots on the server's side */
};

struct msg_region { /* question and answer */
	struct msg_head head;
	uint32_t region;
	uint32_t writable;
	uint64_t generation;
	uint64_t bytes, desc_bytes;
};

struct msg_index { /* question and answer */
	struct msg_head head;
	uint64_t epoch;
	uint64_t bytes;
};

struct msg_cxl { /* question and answer */
	struct msg_head head;
	uint64_t host[2]; /* whose processes' ends the node can prove */
};

struct msg_error {
	struct msg_head head;
	int32_t error; /* -errno */
	uint32_t zero;
	char text[200]; /* zero-terminated, one line */
};

union msg {
	struct msg_head head;
	struct msg_hello hello;
	struct msg_welcome welcome;
	struct msg_region region;
	struct msg_index index;
	struct msg_cxl cxl;
	struct msg_error error;
	uint8_t raw[MSG_MAX];
};

/* Starts a message of this type: zeroes it and fills the head. */
void msg_init(union msg *m, enum msg_type type, uint64_t seq);
/* Checks what came from the other side: head, size for its type, strings
 * terminated, printable ASCII and padded with zeros; MSG_ERROR carries an
 * error. 0; -EPROTO not a message of ours; -EPROTONOSUPPORT another major
 * version. Never reads beyond len. */
int msg_check(const void *raw, size_t len, union msg *ret_msg);
/* An answer that refuses; `error` is -errno (anything else becomes -EIO). */
void msg_error(union msg *m, uint64_t seq, int error, const char *text);
/* Copies a text so that msg_check() accepts it: cut to cap - 1 bytes, what is
 * not printable ASCII becomes '?', the rest is zeros. NULL is "". */
void msg_text(char *dst, size_t cap, const char *src);
/* True when `text` is such a string. */
bool msg_text_ok(const char *text, size_t cap);
/* Bytes of a message of this type; 0 for a type that is none. */
size_t msg_bytes(unsigned type);

#endif
