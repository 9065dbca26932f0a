/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/talk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void talk_init(struct talk *t, struct session *s, bool raw)
{
	*t = (struct talk){ 0 };
	if (!raw)
		t->template = s->abi.llama_model_chat_template(s->model, NULL);
}

void talk_fini(struct talk *t)
{
	for (size_t i = 0; i < t->n; i++)
		free((char *)(uintptr_t)t->messages[i].content);
	free(t->messages);
	*t = (struct talk){ 0 };
}

int talk_add(struct talk *t, const char *role, const char *text)
{
	char *copy;

	if (t->n == t->room) {
		void *p = realloc(t->messages,
				  (t->room * 2 + 8) * sizeof(*t->messages));

		if (!p)
			return -ENOMEM;
		t->messages = p;
		t->room = t->room * 2 + 8;
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	t->messages[t->n++] = (struct abi_message){ role, copy };
	return 0;
}

static char *plain(const struct talk *t)
{
	size_t len = 1, at = 0;
	char *text;

	for (size_t i = 0; i < t->n; i++)
		len += strlen(t->messages[i].content);
	text = malloc(len);
	if (!text)
		return NULL;
	for (size_t i = 0; i < t->n; i++) {
		size_t n = strlen(t->messages[i].content);

		memcpy(text + at, t->messages[i].content, n);
		at += n;
	}
	text[at] = '\0';
	return text;
}

static char *formatted(const struct talk *t, struct session *s)
{
	int32_t n = s->abi.llama_chat_apply_template(t->template, t->messages,
						     t->n, true, NULL, 0);
	char *text = n < 0 ? NULL : malloc((size_t)n + 1);

	if (!text)
		return NULL;
	s->abi.llama_chat_apply_template(t->template, t->messages, t->n, true,
					 text, n);
	text[n] = '\0';
	return text;
}

char *talk_text(const struct talk *t, struct session *s)
{
	return t->template ? formatted(t, s) : plain(t);
}
