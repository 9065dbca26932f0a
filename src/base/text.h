/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and names as people write them. Pure, bounded. */
#ifndef ONECOPY_BASE_TEXT_H
#define ONECOPY_BASE_TEXT_H

#include "base/compiler.h"

/* "4096", "64K", "1.5G", "2MiB", "10%" (percent of `whole`; refused when whole
 * is 0). Powers of 1024. 0, -EINVAL (not a size), -ERANGE (overflow). */
int text_parse_size(const char *text, uint64_t whole, uint64_t *ret_bytes);
/* "250ms", "2s", "10us", "1m", plain = milliseconds; nanoseconds out. */
int text_parse_time(const char *text, uint64_t *ret_ns);
int text_parse_u64(const char *text, uint64_t most, uint64_t *ret_value);
/* 64 hex digits <-> 32 bytes. -EINVAL. hex must hold 2*n+1. */
int text_parse_hex(const char *text, uint8_t *ret_bytes, size_t n);
void text_hex(const uint8_t *bytes, size_t n, char *ret_hex);

/* "1.5 GiB", "318 us". Return buf. */
const char *text_size(uint64_t bytes, char buf[32]);
const char *text_time(uint64_t ns, char buf[32]);

/* The entry of names[] nearest to `word` by edit distance, or NULL when none
 * is near (more than a third of the letters differ). */
const char *text_nearest(const char *word, const char *const *names, size_t n);

/* Copy with truncation to a zero-terminated buffer. -ENAMETOOLONG when cut. */
int text_copy(char *dst, size_t cap, const char *src);

#endif
