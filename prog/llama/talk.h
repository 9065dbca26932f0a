/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text that the model gets: a system text, what was said so far, and what
 * comes next; by the model's own template where it has one, else one after the
 * other as they are.
 */
#ifndef ONECOPY_PROG_LLAMA_TALK_H
#define ONECOPY_PROG_LLAMA_TALK_H

#include "llama/session.h"

struct talk {
	const char *template; /* NULL: plain */
	struct abi_message *messages;
	size_t n, room;
};

void talk_init(struct talk *t, struct session *s, bool raw);
void talk_fini(struct talk *t);
/* role: "system", "user", "assistant". 0, -ENOMEM. */
int talk_add(struct talk *t, const char *role, const char *text);
/* All of it as one text, ready for an answer; free() it. NULL: no memory, or a
 * template that the engine does not know. */
char *talk_text(const struct talk *t, struct session *s);

#endif
