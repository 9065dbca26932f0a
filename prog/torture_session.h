/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of a thread of an actor of the torture (torture.h). */
#ifndef ONECOPY_PROG_TORTURE_SESSION_H
#define ONECOPY_PROG_TORTURE_SESSION_H

#include "base/rng.h"
#include "onecopy/onecopy.h"

#include <onecopy/session.h>

#define TORTURE_SESSIONS     8
#define TORTURE_SESSION_KEYS 64u

struct torture_session {
	oc_session *s;
	uint32_t key[TORTURE_SESSION_KEYS], n;
	bool paused;
};

struct torture_sessions {
	oc_ns *ns;
	struct rng *rng;
	uint32_t keys; /* numbers below this */
	uint64_t wrong, errors;
	struct torture_session own[TORTURE_SESSIONS];
};

/* One random operation on one of them. */
void torture_session_step(struct torture_sessions *t);

#endif
