/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis protocol's requests (RESP, https://redis.io/docs/reference/protocol-spec):
 * an array of bulk strings, or a line of words. Pure, bounded, incremental: the
 * parser keeps offsets, never pointers, and looks at no byte twice but for the
 * line that it is in.
 *
 * The caller keeps the bytes of one command together, from its first byte on;
 * `data` is where that command begins, `len` what has come of it so far. A bulk
 * string longer than `large` is not waited for: the parser stops in front of
 * its bytes (RESP_VALUE), the caller takes value_bytes and the two that end the
 * line itself, wherever it wants them, and goes on with resp_after_value(); what
 * follows is then to be appended at data + at, as if the value had been empty.
 */
#ifndef ONECOPY_WIRE_RESP_H
#define ONECOPY_WIRE_RESP_H

#include "base/compiler.h"

#define RESP_ARGS_MAX	 1024u
#define RESP_LINE_MAX	 (64u << 10)  /* an inline command */
#define RESP_COMMAND_MAX (1u << 20)   /* of one, large values not counted */
#define RESP_BULK_MAX	 (512u << 20) /* a value: Redis's proto-max-bulk-len */

struct resp_arg {
	uint32_t at, len; /* bytes of data */
};
#define RESP_ARG_VALUE UINT32_MAX /* .at of one that was told by RESP_VALUE */

enum resp_result {
	RESP_MORE = 0,	  /* all of data was looked at: call again with more */
	RESP_COMMAND = 1, /* arg[0..n_args) is a command of `at` bytes; n_args
			     may be 0 (an empty line or array: ignore it) */
	RESP_VALUE = 2,	  /* value_bytes, for arg[n_args - 1] */
};

struct resp_parser {
	uint32_t at;	  /* bytes of data that are done with */
	uint32_t scanned; /* no line's end before this */
	uint32_t wanted;  /* arguments of this command; 0: not known yet */
	uint32_t n_args;
	uint32_t large; /* bulk strings beyond this are told by RESP_VALUE;
			    0: none are */
	uint64_t bulk;	/* internal: length of the bulk string that comes */
	bool in_bulk;
	uint64_t value_bytes;
	const char *error; /* static text, after -EPROTO */
	struct resp_arg arg[RESP_ARGS_MAX];
};

/* For the next command; `large` stays. */
void resp_begin(struct resp_parser *p);
/* enum resp_result, or -EPROTO: not RESP, or beyond the bounds above; `error`
 * is what to say ("Protocol error: ..."), and the connection is of no use any
 * more. Inline words may be quoted as in redis-cli; their arguments are then
 * told as they stand in data after it was rewritten in place (so data is not
 * const). */
int resp_parse(struct resp_parser *p, char *data, size_t len);
/* The value that RESP_VALUE told was taken, its line's end too. */
void resp_after_value(struct resp_parser *p);

/* A bulk argument as a decimal number in the whole range; false: it is none.
 * As Redis reads them: an optional '-', no '+', no spaces, no leading zeros. */
bool resp_number(const char *text, size_t len, int64_t *ret);

#endif
