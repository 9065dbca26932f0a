/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "llama/demo.h"

#define BAR 44

static uint64_t longest(const struct demo *d)
{
	uint64_t most = 1;

	for (int i = 0; i < DEMO_ACTS; i++)
		for (int a = 0; a < DEMO_AGENTS; a++)
			most = MAX(most, demo_first_ns(&d->act[i], a));
	return most;
}

static unsigned wrong_in(const struct demo_act *act)
{
	unsigned n = 0;

	for (int a = 0; a < DEMO_AGENTS; a++)
		for (int t = 0; t < DEMO_TURNS; t++)
			n += act->answer[a][t].wrong;
	return n;
}

static void print_table(const struct demo *d)
{
	printf("%-27s %28s %9s %9s %7s\n", "", "time to first token", "tokens",
	       "taken", "wrong");
	printf("%-27s %9s %9s %9s %9s %9s %7s\n", "", "agent 1", "agent 2",
	       "agent 3", "computed", "over", "answers");
	for (int i = 0; i < DEMO_ACTS; i++) {
		const struct demo_act *act = &d->act[i];
		char time[DEMO_AGENTS][32];

		for (int a = 0; a < DEMO_AGENTS; a++)
			text_time(demo_first_ns(act, a), time[a]);
		printf("%-27s %9s %9s %9s %9llu %9llu", demo_act_names[i],
		       time[0], time[1], time[2],
		       (unsigned long long)act->computed,
		       (unsigned long long)act->reused);
		if (i == ACT_ALONE)
			printf(" %7s\n", "-");
		else
			printf(" %7u\n", wrong_in(act));
	}
}

static void print_bars(const struct demo *d)
{
	uint64_t most = longest(d);

	printf("\ntime to first token\n");
	for (int i = 0; i < DEMO_ACTS; i++)
		for (int a = 0; a < DEMO_AGENTS; a++) {
			uint64_t ns = demo_first_ns(&d->act[i], a);
			int n = (int)((ns * BAR + most - 1) / most);
			char bar[BAR + 1], time[32];

			memset(bar, '#', (size_t)n);
			bar[n] = '\0';
			printf("  %-26s %d %s %s\n",
			       a == 0 ? demo_act_names[i] : "", a + 1, bar,
			       text_time(ns, time));
		}
}

static void print_memory(const struct demo *d)
{
	const struct demo_act *last = &d->act[ACT_TOGETHER];
	char pool[32], own[32], prompt[32];
	uint64_t blocks = d->system_tokens / DEMO_BLOCK;

	printf("\n  in the pool          %s, one copy: %llu blocks; the %llu of "
	       "the system prompt (%s) are used by %u engines of %d\n",
	       text_size(last->pool_bytes, pool),
	       (unsigned long long)last->pool_blocks,
	       (unsigned long long)blocks,
	       text_size(blocks * d->block_bytes, prompt), last->sharing,
	       DEMO_AGENTS);
	printf("  KV of each engine    %s in its own context: private, not "
	       "shared\n",
	       text_size(last->private_bytes, own));
}

static void print_end(const struct demo *d)
{
	char back[32];

	printf("  server killed        another one answered after %s; blocks "
	       "lost: %llu\n",
	       text_time(d->back_ns, back), (unsigned long long)d->lost);
	printf("  node stopped         and back after %s with %llu blocks on "
	       "its drive; %llu were brought up for the answers\n",
	       text_time(d->again_ns, back), (unsigned long long)d->found,
	       (unsigned long long)d->act[ACT_STOPPED].fetched);
	printf("  wrong answers        %u of %u, by the logits of every token, "
	       "bit for bit\n",
	       d->wrong, d->compared);
}

/* What a trained model said; random weights have nothing to say. */
static void print_words(const struct demo *d)
{
	if (d->random)
		return;
	printf("\nwhat the agents heard (with onecopy, first turn)\n");
	for (int a = 0; a < DEMO_AGENTS; a++) {
		const char *text = d->act[ACT_TOGETHER].answer[a][0].text;

		printf("  %d ...", a + 1);
		for (; *text; text++)
			putchar((unsigned char)*text < ' ' ? ' ' : *text);
		printf("\n");
	}
}

void demo_print(const struct demo *d)
{
	char time[32];

	printf("\nllama.cpp %s, a model of %.1f M parameters%s; %d agents, an "
	       "engine process of one thread each; a system prompt of %u "
	       "tokens; %s\n\n",
	       d->engine, (double)d->parameters / 1e6,
	       d->random ? " (random weights)" : "", DEMO_AGENTS,
	       d->system_tokens, text_time(d->ns, time));
	print_table(d);
	print_bars(d);
	print_memory(d);
	print_end(d);
	print_words(d);
	if (d->svg)
		printf("\nThe same as a picture: %s\n", d->svg);
	printf("\n");
	fflush(stdout);
}

/* ---- JSON */

static json_t *act_json(const struct demo *d, int i)
{
	const struct demo_act *act = &d->act[i];
	json_t *first = json_array();

	for (int a = 0; first && a < DEMO_AGENTS; a++)
		json_array_append_new(
			first, json_real((double)demo_first_ns(act, a) / 1e6));
	return json_pack("{s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i}", "act",
			 demo_act_names[i], "first_token_ms", first,
			 "computed_tokens", (json_int_t)act->computed,
			 "reused_tokens", (json_int_t)act->reused, "pool_bytes",
			 (json_int_t)act->pool_bytes, "pool_blocks",
			 (json_int_t)act->pool_blocks, "private_bytes",
			 (json_int_t)act->private_bytes, "fetched_blocks",
			 (json_int_t)act->fetched, "sharing_engines",
			 (int)act->sharing, "wrong_answers",
			 (int)wrong_in(act));
}

int demo_print_json(const struct demo *d)
{
	json_t *acts = json_array();
	json_t *root;

	for (int i = 0; acts && i < DEMO_ACTS; i++)
		json_array_append_new(acts, act_json(d, i));
	root = json_pack(
		"{s:s,s:I,s:b,s:i,s:I,s:i,s:i,s:f,s:f,s:I,s:I,s:f,s:o}",
		"engine", d->engine, "parameters", (json_int_t)d->parameters,
		"random", d->random, "system_tokens", (int)d->system_tokens,
		"block_bytes", (json_int_t)d->block_bytes, "wrong_answers",
		(int)d->wrong, "compared_answers", (int)d->compared,
		"server_back_ms", (double)d->back_ns / 1e6, "node_back_ms",
		(double)d->again_ns / 1e6, "found_blocks", (json_int_t)d->found,
		"lost_blocks", (json_int_t)d->lost, "seconds",
		(double)d->ns / 1e9, "acts", acts);
	if (!root)
		return -ENOMEM;
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	printf("\n");
	json_decref(root);
	return 0; /* cli_finish() looks at the stream */
}
