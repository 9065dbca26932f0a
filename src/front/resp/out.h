/* SPDX-License-Identifier: Apache-2.0 */
/* Replies, in a buffer that grows. A reply that finds no memory is noted in
 * `failed`: its connection cannot go on. */
#ifndef ONECOPY_FRONT_RESP_OUT_H
#define ONECOPY_FRONT_RESP_OUT_H

#include "base/compiler.h"

struct out {
	char *at;
	size_t len, cap;
	uint8_t protocol; /* 2 or 3 */
	bool failed;
	uint64_t errors; /* error replies; the owner clears it */
};

void out_begin(struct out *o, uint8_t protocol);
void out_fini(struct out *o);
/* Room for `more` bytes at the end; NULL: refused. len is the caller's to move. */
char *out_room(struct out *o, size_t more);
void out_raw(struct out *o, const char *bytes, size_t len);
void out_simple(struct out *o, const char *text);
/* "ERR no such key": the code is a part of it. */
void out_error(struct out *o, const char *text);
void out_errorf(struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
void out_int(struct out *o, int64_t n);
void out_bulk(struct out *o, const char *bytes, size_t len);
void out_text(struct out *o, const char *text); /* a bulk string */
/* Text for people (INFO): RESP3 marks it as such. */
void out_people(struct out *o, const char *text, size_t len);
void out_bulk_head(struct out *o, uint64_t len); /* the bytes follow */
void out_null(struct out *o);
void out_array(struct out *o, uint32_t n);
void out_map(struct out *o, uint32_t n); /* pairs */

#endif
