/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of an actor of the torture (torture.h). One thread, one actor in a
 * process. */
#ifndef ONECOPY_PROG_TORTURE_SESSION_H
#define ONECOPY_PROG_TORTURE_SESSION_H

#include "base/rng.h"
#include "onecopy/onecopy.h"

#define TORTURE_SESSIONS 8

struct torture_sessions {
	oc_ns *ns;
	struct rng *rng;
	uint32_t keys; /* numbers below this */
	uint64_t wrong, errors;
};

/* One random operation on one of them. */
void torture_session_step(struct torture_sessions *t);

#endif
