/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page with charts: no script, no font, nothing fetched. Charts are SVG,
 * logarithmic where times are drawn, because policies differ by orders of
 * magnitude. Names come from the command line and are escaped.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "sim_fleet.h"

#define WIDTH  920.0
#define LEFT   150.0
#define RIGHT  70.0
#define ROW    26.0
#define HEIGHT 300.0
#define BOTTOM 40.0
#define SERIES 16u
#define BARS   40u
#define PLACES 48u /* with charts of their own */

static const char *const color[SERIES] = {
	"#0b6e4f", "#c8553d", "#28527a", "#e0a458", "#7b4b94", "#4f8a8b",
	"#b23a48", "#6a994e", "#5c677d", "#d17a22", "#3a86c8", "#8d6a9f",
	"#444444", "#c2185b", "#9a8c00", "#00a3a3",
};

static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fputc(*text, out);
	}
}

static void put_ms(FILE *out, double ms)
{
	if (ms < 1000)
		fprintf(out, "%.0f ms", ms);
	else if (ms < 100000)
		fprintf(out, "%.1f s", ms / 1000);
	else
		fprintf(out, "%.0f s", ms / 1000);
}

static void put_head(const struct sim_points *p, FILE *out)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	      "<title>onecopy sim</title>\n<style>\n"
	      "body{font:15px/1.5 system-ui,sans-serif;color:#222;margin:2em "
	      "auto;max-width:960px;padding:0 1em}\n"
	      "h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .3em}\n"
	      "h3{font-size:1em;margin:1.2em 0 .3em}\n"
	      "summary{cursor:pointer;font-weight:600;margin:.6em 0}\n"
	      "p.note{color:#666;margin:.2em 0 .6em}\n"
	      "table{border-collapse:collapse;font-size:13px}\n"
	      "td,th{padding:.2em .7em;text-align:right;border-bottom:1px "
	      "solid #ddd}td.l,th.l{text-align:left}\n"
	      "div.wide{overflow-x:auto}svg{max-width:100%;height:auto}\n"
	      "svg text{font:12px system-ui,sans-serif;fill:#333}\n"
	      "</style></head><body>\n<h1>onecopy sim: ",
	      out);
	put_text(out, p->trace);
	fprintf(out,
		"</h1>\n<p class=\"note\">%zu run%s. A request's first "
		"token (TTFT), where its KV was, what was moved for "
		"it.</p>\n",
		p->n, p->n == 1 ? "" : "s");
}

/* Who is handed the page can repeat it. */
static void put_options(json_t *options, FILE *out)
{
	const char *name;
	json_t *value;

	fputs("<h2>What it depends on</h2>\n<p class=\"note\">Beside what each "
	      "place says; names and units as in the JSON of onecopy-sim(1)."
	      "</p>\n<div class=\"wide\"><table>\n",
	      out);
	json_object_foreach(options, name, value) {
		char *text = json_dumps(value, JSON_ENCODE_ANY |
						       JSON_REAL_PRECISION(12));

		fprintf(out, "<tr><td class=\"l\">%s</td><td class=\"l\">",
			name);
		put_text(out, text ? text : "?");
		fputs("</td></tr>\n", out);
		free(text);
	}
	fputs("</table></div>\n", out);
}

static void put_place(const struct sim_point *p, FILE *out)
{
	char text[SIM_SIZE_TEXT];

	fprintf(out, "%u engines, load %g, link %g Gbit/s,", p->engines,
		p->load, p->gbit);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		if (!p->blocks[t])
			continue;
		fprintf(out, " %s ", route_tier_name(t));
		put_text(out, sim_size_text(p, t, text));
		fputs(p->asked[t] ? "" : " blocks", out);
	}
}

/* A chart that has not room for all says so. */
static void put_left_out(size_t n, size_t most, FILE *out)
{
	if (n > most)
		fprintf(out,
			"<p class=\"note\">The first %zu of %zu; all are in the "
			"table below.</p>\n",
			most, n);
}

/* ---- axes ----------------------------------------------------------------- */

struct scale {
	double low, high; /* of the logarithm */
};

static void scale_add(struct scale *s, double v)
{
	if (!(v > 0))
		return;
	s->low = MIN(s->low, floor(log10(v)));
	s->high = MAX(s->high, ceil(log10(v)));
}

static struct scale scale_new(void)
{
	return (struct scale){ 9, -9 };
}

static double at_x(const struct scale *s, double v)
{
	double part = 0, wide = s->high - s->low;

	if (v > 0 && wide > 0)
		part = (log10(v) - s->low) / wide;
	return LEFT + MAX(0, part) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct scale *s, double v)
{
	double part = 0, high = s->high - s->low;

	if (v > 0 && high > 0)
		part = (log10(v) - s->low) / high;
	return HEIGHT - BOTTOM - MAX(0, part) * (HEIGHT - BOTTOM - 10);
}

static void put_svg(FILE *out, double height)
{
	fprintf(out,
		"<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
		"role=\"img\">\n",
		WIDTH, height, WIDTH);
}

static void put_line(FILE *out, double x1, double y1, double x2, double y2)
{
	fprintf(out,
		"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
		"stroke=\"#ddd\"/>\n",
		x1, y1, x2, y2);
}

/* ---- TTFT by policy ---------------------------------------------------------- */

static void put_bar(FILE *out, double x, double y, double width, double height,
		    const char *fill, const char *opacity)
{
	fprintf(out,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%.1f\" fill=\"%s\" opacity=\"%s\"/>\n",
		x, y, MAX(width, 1), height, fill, opacity);
}

static void put_label(FILE *out, double x, double y, const char *anchor,
		      const char *text)
{
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y,
		anchor);
	put_text(out, text);
	fputs("</text>\n", out);
}

static void chart_ttft(const struct sim_point *p, size_t n, FILE *out)
{
	struct scale s = scale_new();
	double high, floor = 0;
	size_t all = n;

	n = MIN(n, BARS);
	high = (double)n * ROW + 30;
	for (size_t i = 0; i < n; i++) {
		scale_add(&s, p[i].result.ttft.mean);
		scale_add(&s, p[i].result.ttft.p50);
		scale_add(&s, p[i].result.ttft.p99);
		scale_add(&s, p[i].result.floor.mean);
		floor = MAX(floor, p[i].result.floor.mean);
	}
	fputs("<h3>Time to the first token</h3><p class=\"note\">dark: mean; "
	      "pale: p99; mark: median; line: the floor, below which no mean can "
	      "be. Logarithmic.</p>\n",
	      out);
	put_left_out(all, BARS, out);
	put_svg(out, high);
	for (double k = s.low; k <= s.high; k++) {
		double x = at_x(&s, pow(10, k));

		put_line(out, x, 0, x, high - 25);
		fprintf(out,
			"<text x=\"%.1f\" y=\"%.1f\" "
			"text-anchor=\"middle\">",
			x, high - 8);
		put_ms(out, pow(10, k));
		fputs("</text>\n", out);
	}
	for (size_t i = 0; i < n; i++) {
		const struct fleet_times *t = &p[i].result.ttft;
		double y = (double)i * ROW, x = at_x(&s, t->p99);
		const char *fill = color[i % SERIES];

		put_label(out, LEFT - 8, y + 17, "end", p[i].policy);
		put_bar(out, LEFT, y + 4, x - LEFT, ROW - 8, fill, "0.3");
		put_bar(out, LEFT, y + 4, at_x(&s, t->mean) - LEFT, ROW - 8,
			fill, "1");
		put_bar(out, at_x(&s, t->p50) - 1, y + 2, 3, ROW - 4, "#111",
			"1");
		fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">", x + 5, y + 17);
		put_ms(out, t->p99);
		fputs("</text>\n", out);
	}
	if (floor > 0)
		put_bar(out, at_x(&s, floor), 0, 1.5, high - 25, "#c8553d",
			"1");
	fputs("</svg>\n", out);
}

/* ---- where the KV was ----------------------------------------------------------- */

static void chart_hits(const struct sim_point *p, size_t n, FILE *out)
{
	static const char *const name[] = {
		"vram", "dram", "cxl", "nvme", "another engine", "recomputed"
	};
	static const char *const fill[] = { "#0b6e4f", "#4f8a8b", "#7fb7be",
					    "#28527a", "#e0a458", "#e6e6e6" };
	double wide = WIDTH - LEFT - RIGHT, x = LEFT;

	n = MIN(n, BARS);
	fputs("<h3>Where the KV was</h3><p class=\"note\">share of all blocks "
	      "of prompts</p>\n",
	      out);
	put_svg(out, (double)n * ROW + 30);
	for (uint32_t k = 0; k < ARRAY_LEN(name); k++) {
		put_bar(out, x, 4, 12, 12, fill[k], "1");
		put_label(out, x + 16, 14, "start", name[k]);
		x += 40 + 7.0 * (double)strlen(name[k]);
	}
	for (size_t i = 0; i < n; i++) {
		const struct fleet_result *r = &p[i].result;
		double y = (double)i * ROW + 24,
		       all = MAX(1, (double)r->blocks);
		double rest = 1;

		x = LEFT;
		put_label(out, LEFT - 8, y + 17, "end", p[i].policy);
		for (uint32_t k = 0; k < ARRAY_LEN(name); k++) {
			double part = rest;

			if (k < ROUTE_TIERS)
				part = (double)r->hits[k] / all;
			else if (k == ROUTE_TIERS)
				part = (double)r->pulled / all;
			part = MIN(part, rest);
			rest -= part;
			if (part > 0)
				put_bar(out, x, y + 4, part * wide, ROW - 8,
					fill[k], "1");
			x += part * wide;
		}
		fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%.1f %%</text>\n",
			WIDTH - RIGHT + 5, y + 17, 100 * r->prefix_hit_rate);
	}
	fputs("</svg>\n", out);
}

/* ---- over the time of the run ------------------------------------------------------ */

static void put_legend(const struct sim_point *p, size_t n, FILE *out)
{
	fputs("<p class=\"note\">", out);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "<span style=\"color:%s\">&#9632; ",
			color[i % SERIES]);
		put_text(out, p[i].policy);
		fputs("</span> ", out);
	}
	fputs("</p>\n", out);
}

static void put_grid(const struct scale *s, FILE *out)
{
	for (double k = s->low; k <= s->high; k++) {
		double y = at_y(s, pow(10, k));

		put_line(out, LEFT, y, WIDTH - RIGHT, y);
		fprintf(out,
			"<text x=\"%.1f\" y=\"%.1f\" "
			"text-anchor=\"end\">",
			LEFT - 8, y + 4);
		put_ms(out, pow(10, k));
		fputs("</text>\n", out);
	}
}

static void chart_time(const struct sim_point *p, size_t n, FILE *out)
{
	struct scale s = scale_new();
	size_t all = n;

	n = MIN(n, SERIES);
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < FLEET_SLOTS; k++)
			scale_add(&s, p[i].result.slot[k].ttft_ms);
	fputs("<h3>Over the run</h3><p class=\"note\">mean TTFT of those that "
	      "came in each sixtieth of the time. Logarithmic.</p>\n",
	      out);
	put_left_out(all, SERIES, out);
	put_legend(p, n, out);
	put_svg(out, HEIGHT);
	put_grid(&s, out);
	for (size_t i = 0; i < n; i++) {
		fprintf(out,
			"<polyline fill=\"none\" stroke=\"%s\" "
			"stroke-width=\"1.6\" points=\"",
			color[i % SERIES]);
		for (uint32_t k = 0; k < FLEET_SLOTS; k++) {
			const struct fleet_slot *slot = &p[i].result.slot[k];
			double part = (k + 0.5) / FLEET_SLOTS;

			if (slot->requests)
				fprintf(out, "%.1f,%.1f ",
					LEFT + part * (WIDTH - LEFT - RIGHT),
					at_y(&s, slot->ttft_ms));
		}
		fputs("\"/>\n", out);
	}
	put_label(out, LEFT, HEIGHT - 12, "start", "first arrival");
	put_label(out, WIDTH - RIGHT, HEIGHT - 12, "end", "last arrival");
	fputs("</svg>\n", out);
}

/* ---- over a sweep --------------------------------------------------------------------- */

/* What of a place differs from the first one: the words under an axis. */
static void put_changes(const struct sim_points *p, const struct sim_point *at,
			FILE *out)
{
	bool engines = false, load = false, gbit = false, tier;
	const struct sim_point *first = p->point, *x;
	const char *gap = "";
	char text[SIM_SIZE_TEXT];

	for (x = first; x < first + p->n; x++) {
		engines |= x->engines != first->engines;
		load |= fabs(x->load - first->load) > 0;
		gbit |= fabs(x->gbit - first->gbit) > 0;
	}
	if (engines) {
		fprintf(out, "%u engines", at->engines);
		gap = ", ";
	}
	if (load) {
		fprintf(out, "%sload %g", gap, at->load);
		gap = ", ";
	}
	if (gbit) {
		fprintf(out, "%s%g Gbit/s", gap, at->gbit);
		gap = ", ";
	}
	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		tier = false;
		for (x = first; x < first + p->n; x++)
			tier |= x->blocks[t] != first->blocks[t];
		if (!tier)
			continue;
		fprintf(out, "%s%s ", gap, route_tier_name(t));
		put_text(out, sim_size_text(at, t, text));
		gap = ", ";
	}
}

static void put_sweep_line(const struct sim_points *p, const struct scale *s,
			   size_t i, bool p99, FILE *out)
{
	size_t policies = sim_place_size(p, 0), places = p->n / policies;
	double step = (WIDTH - LEFT - RIGHT) / MAX(1, (double)places - 1);

	fprintf(out,
		"<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" "
		"%spoints=\"",
		color[i % SERIES], p99 ? "stroke-dasharray=\"4 4\" " : "");
	for (size_t k = 0; k < places; k++) {
		const struct fleet_times *t =
			&p->point[k * policies + i].result.ttft;

		fprintf(out, "%.1f,%.1f ", LEFT + step * (double)k,
			at_y(s, p99 ? t->p99 : t->mean));
	}
	fputs("\"/>\n", out);
}

/* Names of the places stand upright when they are many or long. */
#define UNDER 150.0

static void chart_sweep(const struct sim_points *p, FILE *out)
{
	size_t policies = sim_place_size(p, 0), places = p->n / policies;
	double step = (WIDTH - LEFT - RIGHT) / MAX(1, (double)places - 1);
	struct scale s = scale_new();

	if (places < 2 || policies * places != p->n)
		return;
	for (size_t i = 0; i < p->n; i++) {
		scale_add(&s, p->point[i].result.ttft.mean);
		scale_add(&s, p->point[i].result.ttft.p99);
	}
	fputs("<h2>Over the sweep</h2><p class=\"note\">TTFT: line: mean; "
	      "dashed: p99. Logarithmic.</p>\n",
	      out);
	put_left_out(policies, SERIES, out);
	put_legend(p->point, MIN(policies, SERIES), out);
	put_svg(out, HEIGHT + UNDER);
	put_grid(&s, out);
	for (size_t i = 0; i < MIN(policies, SERIES); i++) {
		put_sweep_line(p, &s, i, false, out);
		put_sweep_line(p, &s, i, true, out);
	}
	for (size_t k = 0; k < places; k += DIV_UP(places, 40)) {
		double x = LEFT + step * (double)k, y = HEIGHT - BOTTOM + 14;

		fprintf(out,
			"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" "
			"transform=\"rotate(-40 %.1f %.1f)\">",
			x, y, x, y);
		put_changes(p, &p->point[k * policies], out);
		fputs("</text>\n", out);
	}
	fputs("</svg>\n", out);
}

static void put_worth_row(const struct sim_points *p, size_t i,
			  const struct sim_worth *w, FILE *out)
{
	const struct sim_point *at = &p->point[i];

	fputs("<tr><td class=\"l\">", out);
	put_changes(p, at, out);
	fputs("</td><td class=\"l\">", out);
	put_text(out, at->policy);
	fprintf(out,
		"</td><td>%+.0f ms</td><td>%+.0f ms</td><td>%+.1f</td>"
		"<td>%+.0f s</td><td>%+.2f</td><td>%+.2f</td>",
		w->ttft_ms, w->ttft_p99_ms, 100 * w->hit_rate, w->saved_s,
		w->engines, w->tb);
	if (w->memory)
		fprintf(out, "<td>%.0f s</td><td>%.2f</td><td>%.1f ms</td>",
			w->saved_s_tb, w->engines_tb, w->ttft_ms_tb);
	else
		fputs("<td></td><td></td><td></td>", out);
	fputs("<td class=\"l\">", out);
	if (w->like_engines > 0)
		fprintf(out, "as %.1f engines ", w->like_engines);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (sim_all_fits(at, t) &&
		    at->blocks[t] != p->point[0].blocks[t])
			fprintf(out, "all fits in %s ", route_tier_name(t));
	fputs("</td></tr>\n", out);
}

static void put_worth(const struct sim_points *p, FILE *out)
{
	struct sim_worth w;

	if (sim_place_size(p, 0) == p->n)
		return;
	fputs("<h2>Against the first</h2><p class=\"note\">Each route with "
	      "itself. Memory is that of all engines. Engines: the prefill that "
	      "is saved, in engines that do nothing else.</p><div "
	      "class=\"wide\"><table><tr><th class=\"l\"></th><th "
	      "class=\"l\">route</th><th>TTFT mean</th><th>p99</th>"
	      "<th>hits, points</th><th>saved</th><th>engines</th><th>TB</th>"
	      "<th>saved / TB</th><th>engines / TB</th><th>TTFT / TB</th>"
	      "<th></th></tr>\n",
	      out);
	for (size_t i = 0; i < p->n; i++)
		if (sim_worth_of(p, i, &w))
			put_worth_row(p, i, &w, out);
	fputs("</table></div>\n", out);
}

static void put_table(const struct sim_points *p, FILE *out)
{
	size_t size, number = 0;

	fputs("<h2>All runs</h2><div class=\"wide\"><table><tr><th></th><th "
	      "class=\"l\">route</th><th>TTFT mean</th><th>p50</th><th>p90</th>"
	      "<th>p99</th><th>end p99</th><th>hits</th><th>pulled</th>"
	      "<th>busiest link</th><th>saved</th><th>fairness</th><th>refused</th>"
	      "<th>gave up</th></tr>\n",
	      out);
	for (size_t i = 0; i < p->n; i += size) {
		size = sim_place_size(p, i);
		fprintf(out, "<tr><td>%zu</td><td class=\"l\" colspan=\"13\">",
			++number);
		put_place(&p->point[i], out);
		fputs("</td></tr>\n", out);
		for (size_t k = i; k < i + size; k++) {
			const struct fleet_result *r = &p->point[k].result;

			fputs("<tr><td></td><td class=\"l\">", out);
			put_text(out, p->point[k].policy);
			fprintf(out,
				"</td><td>%.0f ms</td><td>%.0f</td>"
				"<td>%.0f</td><td>%.0f</td><td>%.0f</td>"
				"<td>%.1f %%</td><td>%.1f GB</td>"
				"<td>%.1f GB</td><td>%.0f s</td>"
				"<td>%.2f</td><td>%llu</td><td>%llu</td></tr>\n",
				r->ttft.mean, r->ttft.p50, r->ttft.p90,
				r->ttft.p99, r->total.p99,
				100 * r->prefix_hit_rate, r->pulled_bytes / 1e9,
				r->busiest_bytes / 1e9, r->saved_s, r->fairness,
				(unsigned long long)r->refused,
				(unsigned long long)r->cancelled);
		}
	}
	fputs("</table></div>\n", out);
}

/* The charts of one place; of all but the first folded up. */
static void put_place_charts(const struct sim_points *points, size_t first,
			     FILE *out)
{
	const struct sim_point *p = &points->point[first];
	size_t n = sim_place_size(points, first);

	fprintf(out, "<details%s><summary>", first ? "" : " open");
	put_place(p, out);
	fputs("</summary>\n", out);
	chart_ttft(p, n, out);
	chart_hits(p, n, out);
	chart_time(p, n, out);
	fputs("</details>\n", out);
}

int sim_points_html(const struct sim_points *points, FILE *out)
{
	size_t places = 0;

	put_head(points, out);
	chart_sweep(points, out);
	put_worth(points, out);
	fputs("<h2>Each place</h2>\n", out);
	for (size_t i = 0; i < points->n; i += sim_place_size(points, i))
		if (places++ < PLACES)
			put_place_charts(points, i, out);
	put_left_out(places, PLACES, out);
	put_table(points, out);
	put_options(points->options, out);
	fputs("</body></html>\n", out);
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}
