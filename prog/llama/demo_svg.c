/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report as one picture: bars of time to the first token at the left, of
 * prompt tokens at the right, what memory holds and what went wrong below. All
 * in the file: no script, no style sheet, no font of its own.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "llama/demo.h"

#define WIDTH	 1040
#define HEIGHT	 782
#define TOP	 138 /* of the bars */
#define GROUP	 92  /* height of an act */
#define BAR	 16
#define TIME_X	 96
#define TIME_W	 400
#define TOKENS_X 668
#define TOKENS_W 260
#define CARD_Y	 640
#define CARD_H	 104

/* Told apart by lightness as well as by hue. */
static const char *const colours[DEMO_ACTS] = { "#9a3b26", "#1f6f8b", "#3b9ab2",
						"#6cb6a5", "#a8c686" };
#define INK   "#1d2733"
#define PALE  "#5b6673"
#define PAPER "#fbfaf7"
#define LINE  "#dcd8cf"

static void text_at(FILE *f, int x, int y, int size, const char *colour,
		    const char *more, const char *text)
{
	fprintf(f,
		"<text x=\"%d\" y=\"%d\" font-size=\"%d\" fill=\"%s\"%s>%s"
		"</text>\n",
		x, y, size, colour, more, text);
}

static void box(FILE *f, double x, int y, double w, int h, const char *colour)
{
	fprintf(f,
		"<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
		"rx=\"2\" fill=\"%s\"/>\n",
		x, y, w, h, colour);
}

/* What comes from the engine goes into the file as plain letters only. */
static const char *plain(const char *text, char buf[32])
{
	size_t n = 0;

	for (; *text && n < 31; text++)
		if (isalnum((unsigned char)*text) || strchr(".-+ ", *text))
			buf[n++] = *text;
	buf[n] = '\0';
	return buf;
}

static void begin(FILE *f, const struct demo *d)
{
	char line[256], version[32];

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d "
		"%d\" width=\"%d\" height=\"%d\" font-family=\"Helvetica, "
		"Arial, 'DejaVu Sans', sans-serif\">\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	box(f, 0, 0, WIDTH, HEIGHT, PAPER);
	text_at(f, 40, 52, 26, INK, " font-weight=\"bold\"",
		"One system prompt, one copy");
	snprintf(line, sizeof(line),
		 "llama.cpp %s, %.1f M parameters%s; %d agents, an engine "
		 "process each; a system prompt of %u tokens",
		 plain(d->engine, version), (double)d->parameters / 1e6,
		 d->random ? " of random weights" : "", DEMO_AGENTS,
		 d->system_tokens);
	text_at(f, 40, 78, 14, PALE, "", line);
	text_at(f, 40, TOP - 18, 15, INK, " font-weight=\"bold\"",
		"Time to first token");
	text_at(f, TOKENS_X, TOP - 18, 15, INK, " font-weight=\"bold\"",
		"Prompt tokens");
}

static void time_bars(FILE *f, const struct demo *d, int act, uint64_t most)
{
	int y = TOP + act * GROUP;

	text_at(f, 40, y + 14, 13, INK, "", demo_act_names[act]);
	for (int a = 0; a < DEMO_AGENTS; a++) {
		uint64_t ns = demo_first_ns(&d->act[act], a);
		double w = (double)ns * TIME_W / (double)most;
		int at = y + 24 + a * (BAR + 4);
		char label[32], time[32];

		snprintf(label, sizeof(label), "agent %d", a + 1);
		text_at(f, 40, at + 13, 12, PALE, "", label);
		box(f, TIME_X, at, w < 2 ? 2 : w, BAR, colours[act]);
		text_at(f, TIME_X + (int)w + 8, at + 13, 12, INK, "",
			text_time(ns, time));
	}
}

static void token_bars(FILE *f, const struct demo *d, int act, uint64_t most)
{
	const struct demo_act *a = &d->act[act];
	double computed = (double)a->computed * TOKENS_W / (double)most;
	double reused = (double)a->reused * TOKENS_W / (double)most;
	int y = TOP + act * GROUP + 24;
	char line[96];

	box(f, TOKENS_X, y, computed < 2 ? 2 : computed, BAR + 8, colours[act]);
	fprintf(f,
		"<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
		"rx=\"2\" fill=\"none\" stroke=\"%s\" "
		"stroke-dasharray=\"3 3\"/>\n",
		TOKENS_X + (computed < 2 ? 2 : computed) + 1, y + 1, reused,
		BAR + 6, colours[act]);
	snprintf(line, sizeof(line), "%llu computed, %llu taken over",
		 (unsigned long long)a->computed,
		 (unsigned long long)a->reused);
	text_at(f, TOKENS_X, y + BAR + 26, 12, INK, "", line);
}

static void card(FILE *f, int n, const char *head, const char *figure,
		 const char *under, const char *under2)
{
	int x = 40 + n * 244;

	fprintf(f,
		"<rect x=\"%d\" y=\"%d\" width=\"228\" height=\"%d\" rx=\"6\" "
		"fill=\"#ffffff\" stroke=\"" LINE "\"/>\n",
		x, CARD_Y, CARD_H);
	text_at(f, x + 14, CARD_Y + 22, 12, PALE, "", head);
	text_at(f, x + 14, CARD_Y + 54, 26, INK, " font-weight=\"bold\"",
		figure);
	text_at(f, x + 14, CARD_Y + 76, 12, INK, "", under);
	text_at(f, x + 14, CARD_Y + 92, 12, INK, "", under2);
}

static void cards(FILE *f, const struct demo *d)
{
	const struct demo_act *last = &d->act[ACT_TOGETHER];
	char figure[64], under[64], size[32];

	snprintf(under, sizeof(under), "used by %u engines of %d",
		 last->sharing, DEMO_AGENTS);
	snprintf(figure, sizeof(figure), "%llu blocks; the system prompt is",
		 (unsigned long long)last->pool_blocks);
	card(f, 0, "In the pool, one copy", text_size(last->pool_bytes, size),
	     figure, under);
	card(f, 1, "KV in each engine's own context",
	     text_size(last->private_bytes, size), "private to it,",
	     "not shared");
	snprintf(figure, sizeof(figure), "%u of %u", d->wrong, d->compared);
	card(f, 2, "Wrong answers", figure, "by the logits of every token,",
	     "bit for bit");
	snprintf(under, sizeof(under), "%llu blocks lost",
		 (unsigned long long)d->lost);
	card(f, 3, "Server killed; another one after",
	     text_time(d->back_ns, size), under, "every engine went on");
}

static void draw(FILE *f, const struct demo *d)
{
	uint64_t time = 1, tokens = 1;

	for (int i = 0; i < DEMO_ACTS; i++) {
		for (int a = 0; a < DEMO_AGENTS; a++)
			time = MAX(time, demo_first_ns(&d->act[i], a));
		tokens = MAX(tokens, d->act[i].computed + d->act[i].reused);
	}
	begin(f, d);
	for (int i = 0; i < DEMO_ACTS; i++) {
		time_bars(f, d, i, time);
		token_bars(f, d, i, tokens);
	}
	cards(f, d);
	text_at(f, 40, HEIGHT - 16, 11, PALE, "",
		"Filled: computed. Dashed: taken over from the pool. The last "
		"three acts are the conversations' second turns, in engines "
		"that were started anew.");
	fprintf(f, "</svg>\n");
}

int demo_svg(const struct demo *d, const char *path)
{
	FILE *f = fopen(path, "we");
	int r;

	if (!f)
		return -errno;
	draw(f, d);
	r = ferror(f) ? -EIO : 0;
	if (fclose(f) && r == 0)
		r = -errno;
	if (r)
		remove(path);
	return r;
}
