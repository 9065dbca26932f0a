/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes. XXH3-64 (xxHash, https://xxhash.com) for places and checksums,
 * SHA-256 (OpenSSL's libcrypto) for keys.
 *
 * The checksum of a part is XXH3_64bits_withSeed(payload, seed), where
 * seed = XXH3_64bits(key[32] || group u16 LE || rank u16 LE), so that bytes
 * which are right but belong to another key or part do not verify. Byte order
 * of the input is memory order; the result is the 64-bit integer of xxHash.
 */
#ifndef ONECOPY_BASE_HASH_H
#define ONECOPY_BASE_HASH_H

#include "base/slices.h"

#define HASH_KEY_BYTES 32

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

/* 128 bits of a name, XXH3_128bits: low half first. Not for names that a stranger
 * may choose to collide, unless names are compared as well. */
void hash_name(const void *name, size_t len, uint64_t ret[2]);

/* Seed of a part's checksum. */
uint64_t hash_part_seed(const uint8_t key[HASH_KEY_BYTES], uint16_t group,
			uint16_t rank);
uint64_t hash_payload(const void *data, size_t len, uint64_t seed);

/* Copies len bytes to dst and returns hash_payload(src, len, seed) from the
 * same pass. Destination writes are non-temporal where the machine has them
 * and len is large (the payload is not read back by this core), and are
 * complete (sfence) when the call returns. The areas do not overlap; any
 * alignment. The result is that of the bytes that were written to dst even if
 * src changes meanwhile. */
uint64_t hash_copy(void *dst, const void *src, size_t len, uint64_t seed);

/* hash_payload() of what lies in slices. */
uint64_t hash_slices(const struct slices *data, size_t len, uint64_t seed);
/* hash_copy() between slices; either may be all in one. */
uint64_t hash_slices_copy(const struct slices *to, const struct slices *from,
			  size_t len, uint64_t seed);

/* Payload of any number of pieces, in order. */
struct hash_stream;
int hash_stream_create(uint64_t seed, struct hash_stream **ret_stream);
void hash_stream_reset(struct hash_stream *s, uint64_t seed);
void hash_stream_add(struct hash_stream *s, const void *data, size_t len);
uint64_t hash_stream_value(const struct hash_stream *s);
void hash_stream_destroy(struct hash_stream *s);

/* SHA-256 of several pieces. 0, or -ENOMEM when libcrypto refuses. */
struct hash_piece {
	const void *data;
	size_t len;
};
int hash_sha256(const struct hash_piece *pieces, size_t n, uint8_t ret[32]);

#endif
