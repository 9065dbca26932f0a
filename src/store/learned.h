/* SPDX-License-Identifier: Apache-2.0 */
/* What eviction has learned, kept over servers. Inside store/ only; learned.c. */
#ifndef ONECOPY_STORE_LEARNED_H
#define ONECOPY_STORE_LEARNED_H

#include "store/internal.h"

/* Kept as far as it can be: no memory, or none to hold it, is no error. */
void learned_tick(struct store *s);
/* A pool was taken over, and its order stands: what its predecessor had learned. */
void learned_attach(struct store *s, struct pool *p, struct hold_set *given);
void learned_fini(struct store *s);

#endif
