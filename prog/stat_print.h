/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ONECOPY_PROG_STAT_PRINT_H
#define ONECOPY_PROG_STAT_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "onecopy/onecopy.h"

/* A node's report for people. `last` is an earlier one, `ns` ago, or NULL:
 * rates are then taken since the pool began, as far as the node says when. */
void stat_print(FILE *out, const json_t *now, const json_t *last, uint64_t ns);
/* Its tables of doors; seconds 0: rates are not known. */
void stat_print_doors(FILE *out, const json_t *now, const json_t *last,
		      double seconds);

/* Milliseconds since 1970 as a date, and how long ago it was. false: there is
 * none, and `text` is as it was. */
bool stat_moment(uint64_t ms, char *text, size_t cap);

/* From shared memory alone, when the server does not answer. */
void stat_print_short(FILE *out, const struct oc_stat *s);
json_t *stat_short_json(const struct oc_stat *s);

#endif
