/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of front/report/ that make JSON. */
#ifndef ONECOPY_FRONT_REPORT_JSON_H
#define ONECOPY_FRONT_REPORT_JSON_H

#include "front/report/report.h"

/* Pin slots that one report looks at, all clients together: some milliseconds.
 * Beyond them pins are not told. */
#define REPORT_SLOTS_MAX (1ull << 20)

static inline void json_num(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

/* A zero-padded text of shared memory. */
void json_shared(json_t *o, const char *name, const shared_u64 *words);

struct report_slots {
	const shared_u64 *pins, *overflow;
	uint64_t n_pins, n_overflow; /* that may be in use */
};
/* What of a client's slots may hold pins; none when it is closed. */
struct report_slots report_slots(const struct store_client *c);

#endif
