/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own way to keep a prompt: its state files. What the bench holds
 * onecopy against. And what an engine says of itself.
 */
#ifndef ONECOPY_PROG_LLAMA_STATE_H
#define ONECOPY_PROG_LLAMA_STATE_H

#include "llama/session.h"

/* What the sequence holds. 0; -ENOSYS the engine has no such function; -EIO. */
int state_save(struct session *s, const char *path);
/* Makes the sequence hold the first n - 1 of the file's tokens, which must be
 * those of `tokens`, and decodes the n-th: s->times as after a prompt. */
int state_restore(struct session *s, const char *path, const int32_t *tokens,
		  size_t n);

const char *state_engine_version(void); /* "" where it does not say */
uint64_t state_parameters(struct session *s);

#endif
