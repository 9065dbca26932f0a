/* SPDX-License-Identifier: Apache-2.0 */
/* What the probes found, for people and for programs; and the verdict. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/text.h"
#include "doctor.h"
#include "exit.h"

#define NAME_WIDTH 17
#define TEXT_LEFT  28  /* of costs and mends, and of values that are long */
#define TEXT_WIDTH 100 /* where the terminal does not say */

/* ---- verdict --------------------------------------------------------------------- */

static bool stops(const struct doctor_probe *p, const struct doctor_result *r)
{
	return p->technique == DOCTOR_NODE && p->needed &&
	       r->state >= DOCTOR_MISSING;
}

/* Permission and limits can be mended from outside: PROG_REFUSED. */
static int status_of(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
	case -ENOSPC:
	case -EDQUOT:
		return PROG_REFUSED;
	default:
		return PROG_SYSTEM;
	}
}

static void append(char *text, size_t cap, const char *between,
		   const char *more)
{
	size_t len = strlen(text);

	snprintf(text + len, cap - len, "%s%s", len ? between : "", more);
}

void doctor_decide(const struct doctor_answer *answers,
		   struct doctor_verdict *ret_verdict)
{
	struct doctor_verdict v = { .status = PROG_OK };
	char limits[sizeof(v.why)] = "";

	for (size_t i = 0; i < doctor_n_probes; i++)
		for (uint32_t k = 0; k < answers[i].n; k++) {
			const struct doctor_result *r = &answers[i].result[k];

			if (r->limit[0])
				append(limits, sizeof(limits), "; ", r->limit);
			if (!stops(&doctor_probes[i], r))
				continue;
			if (v.status == PROG_OK)
				v.status = status_of(r->error);
			append(v.why, sizeof(v.why), "; ", r->name);
			append(v.why, sizeof(v.why), ": ", r->value);
		}
	if (v.status == PROG_OK)
		memcpy(v.why, limits, sizeof(v.why));
	*ret_verdict = v;
}

/* What it cannot do without decides whether it is there; anything else whether
 * it is whole. Of results of a kind (cards, devices) one that works is enough. */
unsigned doctor_technique_state(const struct doctor_answer *answers,
				enum doctor_technique t)
{
	unsigned state = DOCTOR_OK;

	for (size_t i = 0; i < doctor_n_probes; i++) {
		const struct doctor_probe *p = &doctor_probes[i];
		unsigned best = DOCTOR_BROKEN;

		if (p->technique != t || answers[i].n == 0)
			continue;
		for (uint32_t k = 0; k < answers[i].n; k++) {
			const struct doctor_result *r = &answers[i].result[k];

			best = MIN(best, r->state);
			if (r->state != DOCTOR_OK)
				state = MAX(state, (unsigned)DOCTOR_LIMITED);
		}
		if (p->needed)
			state = MAX(state, best);
	}
	return state;
}

/* ---- for people ---------------------------------------------------------------------- */

static int text_width(FILE *out)
{
	struct winsize w;

	if (ioctl(fileno(out), TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		return TEXT_WIDTH;
	return MAX(60, MIN((int)w.ws_col, 132));
}

/* Words in a column; the cursor is at it. */
static void print_words(FILE *out, const char *text, int left)
{
	int at = left, width = text_width(out);

	while (*text) {
		int word = (int)strcspn(text, " ");

		if (at > left && at + 1 + word > width) {
			fprintf(out, "\n%*s", left, "");
			at = left;
		}
		at += fprintf(out, "%s%.*s", at > left ? " " : "", word, text);
		text += word;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_result(const struct doctor_result *r, FILE *out)
{
	fprintf(out, "  %-8s %-*s", doctor_state_name(r->state), NAME_WIDTH,
		r->name);
	print_words(out, r->value, TEXT_LEFT);
	for (uint32_t i = 0; i < r->n_gaps; i++) {
		fprintf(out, "%*scost: ", TEXT_LEFT - 6, "");
		print_words(out, r->gap[i].cost, TEXT_LEFT);
		/* a command stays in one piece: it is copied */
		if (r->gap[i].mend[0])
			fprintf(out, "%*smend: %s\n", TEXT_LEFT - 6, "",
				r->gap[i].mend);
	}
}

void doctor_print(const struct doctor_answer *answers,
		  const struct doctor_verdict *v, FILE *out)
{
	for (enum doctor_technique t = 0; t < DOCTOR_TECHNIQUES; t++) {
		fprintf(out, "%s%s: %s\n", t ? "\n" : "",
			doctor_technique_title(t),
			doctor_state_name(doctor_technique_state(answers, t)));
		for (size_t i = 0; i < doctor_n_probes; i++)
			for (uint32_t k = 0; doctor_probes[i].technique == t &&
					     k < answers[i].n;
			     k++)
				print_result(&answers[i].result[k], out);
	}
	fprintf(out, "\nmain job: %s%s%s\n",
		v->status == PROG_OK ? "can run" : "cannot run",
		v->why[0] ? v->status == PROG_OK ? ", with limits: " : ": "
			  : "",
		v->why);
}

/* ---- for programs -------------------------------------------------------------------- */

static json_t *number_json(const struct doctor_fact *f)
{
	if (!isfinite(f->number))
		return json_null();
	if (fabs(f->number) < 9e15 && f->number == floor(f->number))
		return json_integer((json_int_t)f->number);
	return json_real(f->number);
}

static json_t *text_json(const char *text)
{
	json_t *j = json_string(text);

	/* a device's name need not be UTF-8 */
	return j ? j : json_string("?");
}

static json_t *result_json(const struct doctor_probe *p,
			   const struct doctor_result *r)
{
	json_t *facts = json_object(), *gaps = json_array(), *fact;

	for (uint32_t i = 0; i < r->n_facts; i++) {
		fact = r->fact[i].is_text ? text_json(r->fact[i].text)
					  : number_json(&r->fact[i]);
		json_object_set_new(facts, r->fact[i].name, fact);
	}
	for (uint32_t i = 0; i < r->n_gaps; i++)
		json_array_append_new(
			gaps, json_pack("{s:o,s:o}", "cost",
					text_json(r->gap[i].cost), "mend",
					text_json(r->gap[i].mend)));
	return json_pack("{s:s,s:o,s:b,s:s,s:o,s:o,s:o,s:o}", "probe", p->name,
			 "name", text_json(r->name), "needed", (int)p->needed,
			 "state", doctor_state_name(r->state), "value",
			 text_json(r->value), "facts", facts, "gaps", gaps,
			 "limit", text_json(r->limit));
}

static json_t *technique_json(const struct doctor_answer *answers,
			      enum doctor_technique t)
{
	json_t *results = json_array();

	for (size_t i = 0; i < doctor_n_probes; i++)
		for (uint32_t k = 0;
		     doctor_probes[i].technique == t && k < answers[i].n; k++)
			json_array_append_new(
				results, result_json(&doctor_probes[i],
						     &answers[i].result[k]));
	return json_pack("{s:s,s:s,s:s,s:o}", "technique",
			 doctor_technique_id(t), "title",
			 doctor_technique_title(t), "state",
			 doctor_state_name(doctor_technique_state(answers, t)),
			 "results", results);
}

json_t *doctor_json(const struct doctor *d, const struct doctor_answer *answers,
		    const struct doctor_verdict *v)
{
	json_t *all = json_array();
	struct utsname u;

	if (uname(&u) < 0)
		memset(&u, 0, sizeof(u));
	for (enum doctor_technique t = 0; t < DOCTOR_TECHNIQUES; t++)
		json_array_append_new(all, technique_json(answers, t));
	return json_pack(
		"{s:i,s:s,s:{s:s,s:s,s:i},s:o,s:b,s:{s:b,s:i,s:o},s:o}",
		"version", 1, "onecopy", ONECOPY_VERSION, "machine", "kernel",
		u.release, "processor", u.machine, "uid", (int)geteuid(), "dir",
		text_json(d->dir), "quick", (int)d->quick, "main_job",
		"can_run", v->status == PROG_OK, "exit_status", v->status,
		"why", text_json(v->why), "techniques", all);
}
