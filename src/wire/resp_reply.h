/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis protocol's answers, written into the caller's bytes. Pure.
 *
 * Each function writes one piece at `at` and returns how many bytes that were,
 * or -ENOSPC when they would be more than `cap`; nothing useful is left at `at`
 * then, the caller begins the answer again where there is room. An aggregate is
 * its header and then its elements, each written by itself. `version` is 2 or 3,
 * as HELLO chose; pieces that look the same in both take none.
 */
#ifndef ONECOPY_WIRE_RESP_REPLY_H
#define ONECOPY_WIRE_RESP_REPLY_H

#include "base/compiler.h"

#define RESP_HEAD_MAX	24 /* of a header, an integer, a null, a boolean */
#define RESP_DOUBLE_MAX 64 /* of a double */

/* "+OK\r\n" and the like; `text` without line ends. */
int resp_put_simple(char *at, size_t cap, const char *text);
/* "-ERR ...\r\n"; `text` begins with its code ("ERR", "NOAUTH", "WRONGPASS").
 * It may carry bytes of a client's: line ends and other control characters are
 * written as spaces, so that none can forge an answer. */
int resp_put_error(char *at, size_t cap, const char *text, size_t len);
/* ":n\r\n" */
int resp_put_integer(char *at, size_t cap, int64_t n);
/* "$len\r\n": the len bytes and RESP_LINE_END are the caller's to send. */
int resp_put_bulk_head(char *at, size_t cap, uint64_t len);
#define RESP_LINE_END "\r\n"
/* "$len\r\n", the bytes, "\r\n" */
int resp_put_bulk(char *at, size_t cap, const void *data, size_t len);
/* "$-1\r\n", or "_\r\n" */
int resp_put_null(char *at, size_t cap, unsigned version);
/* "*n\r\n": n elements follow */
int resp_put_array(char *at, size_t cap, uint64_t n);
/* "%n\r\n", or "*2n\r\n": n keys follow, each with its value */
int resp_put_map(char *at, size_t cap, unsigned version, uint64_t n);
/* "~n\r\n", or "*n\r\n" */
int resp_put_set(char *at, size_t cap, unsigned version, uint64_t n);
/* "#t\r\n", or ":1\r\n" */
int resp_put_bool(char *at, size_t cap, unsigned version, bool value);
/* ",0.5\r\n", or as a bulk; the shortest of up to 17 digits that gives `value`
 * again; "inf", "-inf", "nan". */
int resp_put_double(char *at, size_t cap, unsigned version, double value);
/* "=n\r\ntxt:...\r\n", or as a bulk: text for people (INFO) */
int resp_put_text(char *at, size_t cap, unsigned version, const char *text,
		  size_t len);

#endif
