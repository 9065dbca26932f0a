/* SPDX-License-Identifier: Apache-2.0 */
/* A small node to be reported: a store with a client, and a door that counts. */
#ifndef ONECOPY_TESTS_FRONT_TOLD_H
#define ONECOPY_TESTS_FRONT_TOLD_H

#include "front/report/report.h"
#include "tests/store/world.h"

struct told {
	struct world *w;
	struct report report;
	struct door door;
};

/* Tenant "test" with a few blocks, tenant "od\"d\\" with nothing; door "resp"
 * with figures of both, 100 GETs of 1 .. 100 us, and no SET. */
struct told *told_create(void);
void told_destroy(struct told *t);
/* A file of the sources, whole; skips the test when it is not known where they
 * are. free() it. */
char *told_source(const char *path);

#endif
