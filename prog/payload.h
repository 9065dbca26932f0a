/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload whose every byte follows from its key, so that any process can verify
 * any block without having seen it written. Word j of a payload is a mix of a
 * seed made of the key and of j: cheap enough to keep up with memory, and a
 * block under a wrong key, a shifted block or an old block differs in nearly
 * every word. Pure.
 */
#ifndef ONECOPY_PROG_PAYLOAD_H
#define ONECOPY_PROG_PAYLOAD_H

#include <stdint.h>

#include "onecopy/onecopy.h"

/* SHA-256 of `label`, seed and id: an id names a whole prefix. 0 or -ENOMEM. */
int payload_key(const char *label, uint64_t seed, uint64_t id,
		struct oc_key *ret_key);

/* bytes: any number; the last word is cut. `data` is aligned to 8. */
void payload_make(const struct oc_key *key, void *data, uint64_t bytes);

/* Number of bytes that differ from what payload_make() writes; 0 is right. */
uint64_t payload_wrong(const struct oc_key *key, const void *data,
		       uint64_t bytes);

#endif
