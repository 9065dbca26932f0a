/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest of a model's weights: SHA-256 of the GGUF file's content; of a
 * split model, SHA-256 of its files' digests one after the other.
 *
 * Hashing takes a second for some GB, so digests are remembered in a text file
 * of the user's, a line each:
 *
 *	device inode size mtime ctime digest		(times in ns)
 *
 * A line holds as long as all of these are the file's. A file that changed
 * within the last two seconds is not remembered: it could change again within
 * the file system's grain of time. The cache is read only when it belongs to
 * this user and nobody else may write it; it is a help, and no failure of it
 * matters.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_DIGEST_H
#define ONECOPY_ADAPTERS_LLAMA_DIGEST_H

#include "base/compiler.h"

#define DIGEST_BYTES 32

/* cache NULL: none. 0, or what open, stat and map say; -EAGAIN the file changed
 * meanwhile; -EINVAL a split model's first file is asked for, and it is not. */
int digest_model(const char *path, const char *cache,
		 uint8_t ret_digest[DIGEST_BYTES]);
/* Where the cache is; makes its folder. -ENOENT when there is no home. */
int digest_cache_path(char *buf, size_t cap);

/* Names of a split model: true when `path` ends in -NNNNN-of-MMMMM.gguf. Pure. */
bool digest_split(const char *path, unsigned *ret_no, unsigned *ret_count);

#endif
