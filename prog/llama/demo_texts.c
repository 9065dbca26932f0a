/* SPDX-License-Identifier: Apache-2.0 */
/* What the agents are told and what they say. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "llama/demo.h"

#define TEXT_BYTES   WORKER_PROMPT
#define SMALL_MODEL  2048 /* trained for so many tokens or fewer */
#define RANDOM_WORDS 31u

static const char *const rules[] = {
	"You are one of several agents who keep a data centre running.\n",
	"Say what you know and how you know it, and nothing else.\n",
	"Never restart a machine that holds the only copy of anything.\n",
	"Before you change a thing, write down what it was.\n",
	"Ask for a second opinion when a disk, a link or a person is slow.\n",
	"A graph is evidence; a feeling about a graph is not.\n",
	"Numbers come with their unit and with the time of their measurement.\n",
	"If two alarms disagree, find the clock that is wrong.\n",
	"Prefer the small change that can be undone.\n",
	"Tools: search(logs), read(metric), page(person), drain(machine).\n",
};
static const char *const said[DEMO_AGENTS][DEMO_TURNS] = {
	{ "\nAgent for storage: disk 7 of rack 12 reads at half its speed "
	  "since noon. What do I look at first?\nAnswer:",
	  "\nIts neighbour is slow as well, and the fan of that tray is not. "
	  "What follows from that, and what do I drain?\nAnswer:" },
	{ "\nAgent for network: packets to rack 12 arrive twice, in bursts of "
	  "a second. Which counter tells me why?\nAnswer:",
	  "\nThe counter grows on one port only, and its twin is quiet. Do I "
	  "take the link out now or at night?\nAnswer:" },
	{ "\nAgent for people: three teams ask who moved their jobs off rack "
	  "12. What do I tell them now?\nAnswer:",
	  "\nOne of them has a deadline tonight and asks for two machines "
	  "back. What do I promise?\nAnswer:" },
};

/* In the words of the stories that small models are trained on. */
static const char *const story[] = {
	"Once upon a time, there was a little girl named Lily. ",
	"She lived in a small house near a big park. ",
	"Lily had a dog named Max and a cat named Kitty. ",
	"Every day they played together in the sun. ",
	"Her mom gave them bread and milk. ",
	"One day, they went to the park to see their friends. ",
	"They saw a big tree with red apples. ",
	"Max wanted to jump and get an apple. ",
	"Kitty was tired and sat on the green grass. ",
	"Lily was very happy and she smiled. ",
};
static const char *const told[DEMO_AGENTS][DEMO_TURNS] = {
	{ "Then they met a boy named Tim. Tim had a big red ball and he wanted "
	  "to play with them. Lily said, \"",
	  " They ran and played all day. When it was dark, Mom came to the park "
	  "and said, \"" },
	{ "Then it started to rain. They were wet and cold and wanted to go "
	  "home. Max saw a",
	  " They went inside and sat down. Mom was happy to see them and gave "
	  "them" },
	{ "Then they found a little bird on the ground. The bird was sad "
	  "because it could not fly. Lily",
	  " The bird looked at them and sang a song. Everyone was happy. The "
	  "next day" },
};

/* Text to tokens, by the first agent's engine. */
static int tokens_of(struct demo *d, const char *text)
{
	static int32_t bytes[TEXT_BYTES];
	struct worker_ask ask = { .op = WORKER_TOKENS };
	size_t n = MIN(strlen(text), (size_t)TEXT_BYTES);
	int r;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)text[i];
	r = worker_ask(d->worker[0], &ask, bytes, n);
	if (r == 0)
		r = worker_hear(d->worker[0], NULL, NULL, &d->reply);
	return r ? r : d->reply.result;
}

bool demo_is_small(const struct demo *d)
{
	return !d->random && d->trained <= SMALL_MODEL;
}

/* Lines over and over, until there are tokens enough. */
static int make_system(struct demo *d)
{
	const char *const *lines = demo_is_small(d) ? story : rules;
	static char text[TEXT_BYTES + 1];
	size_t at = 0;
	int r;

	for (size_t i = 0;; i++) {
		const char *line = lines[i % ARRAY_LEN(rules)];
		size_t len = strlen(line);

		if (at + len > TEXT_BYTES)
			break;
		memcpy(text + at, line, len);
		at += len;
	}
	text[at] = '\0';
	r = tokens_of(d, text);
	if (r)
		return r;
	/* A model with long words needs more text than there is room for. */
	if (d->reply.n < d->system_tokens)
		d->system_tokens =
			d->reply.n / d->session.ubatch * d->session.ubatch;
	if (d->system_tokens == 0)
		return -EINVAL;
	d->system = calloc(d->system_tokens, sizeof(*d->system));
	if (!d->system)
		return -ENOMEM;
	memcpy(d->system, d->reply.tokens,
	       d->system_tokens * sizeof(*d->system));
	return 0;
}

/* Without what a tokenizer puts before any text. Random models take a byte for
 * a token, and do not mind where a text begins. */
static void take_words(struct demo *d, struct demo_talk *k, int turn)
{
	size_t n = d->reply.n, skip = n && d->reply.tokens[0] == d->system[0];
	size_t most = d->random ? RANDOM_WORDS : ARRAY_LEN(k->text[turn]);

	if (n - skip > most)
		skip = n - most;
	k->length[turn] = n - skip;
	memcpy(k->text[turn], d->reply.tokens + skip,
	       (n - skip) * sizeof(*k->text[turn]));
}

int demo_texts(struct demo *d)
{
	int r = make_system(d);

	for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
		for (int t = 0; t < DEMO_TURNS && r == 0; t++) {
			r = tokens_of(d, demo_is_small(d) ? told[a][t]
							  : said[a][t]);
			if (r == 0)
				take_words(d, &d->talk[a], t);
		}
	return r;
}

int demo_prompt(struct demo *d, int agent, int turn)
{
	struct demo_talk *k = &d->talk[agent];
	const struct demo_answer *before;
	size_t skip, n = d->system_tokens;

	if (turn == 0) {
		memcpy(k->tokens, d->system, n * sizeof(*d->system));
	} else {
		before = &d->act[ACT_ALONE].answer[agent][turn - 1];
		n = k->n[turn - 1];
		memcpy(k->tokens + n, before->tokens,
		       before->n * sizeof(*before->tokens));
		n += before->n;
	}
	/* The whole at a multiple of a block: its first words are left out. */
	skip = (n + k->length[turn]) % DEMO_BLOCK;
	if (skip >= k->length[turn])
		return -EINVAL;
	memcpy(k->tokens + n, k->text[turn] + skip,
	       (k->length[turn] - skip) * sizeof(*k->tokens));
	k->n[turn] = n + k->length[turn] - skip;
	return 0;
}
