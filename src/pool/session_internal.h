/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by pool/session*.c alone. */
#ifndef ONECOPY_POOL_SESSION_INTERNAL_H
#define ONECOPY_POOL_SESSION_INTERNAL_H

#include "pool/internal.h"
#include "pool/session.h"

int pool_sessions_alloc(uint32_t records, struct pool_sessions **ret_sessions);
void pool_session_record_free(struct pool_sessions *s, uint32_t index);
/* A record that is a session is counted and listed. */
void pool_session_enter(struct pool *p, struct session_record *r);

#endif
