/* SPDX-License-Identifier: Apache-2.0 */
/* Building the results of probes. Everything is cut to its place. */
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "doctor.h"

struct doctor_result *doctor_add(struct doctor_answer *a, const char *name)
{
	struct doctor_result *r = &a->spill;

	if (a->n < DOCTOR_RESULTS)
		r = &a->result[a->n++];
	else
		a->spilled++;
	memset(r, 0, sizeof(*r));
	text_copy(r->name, sizeof(r->name), name);
	return r;
}

void doctor_worsen(struct doctor_result *r, enum doctor_state state)
{
	r->state = MAX(r->state, (uint32_t)state);
}

#define FORMAT(into_, fmt_)                                     \
	do {                                                    \
		va_list ap_;                                    \
		va_start(ap_, fmt_);                            \
		vsnprintf((into_), sizeof(into_), (fmt_), ap_); \
		va_end(ap_);                                    \
	} while (0)

void doctor_value(struct doctor_result *r, const char *fmt, ...)
{
	FORMAT(r->value, fmt);
}

void doctor_limit(struct doctor_result *r, const char *fmt, ...)
{
	FORMAT(r->limit, fmt);
}

void doctor_cost(struct doctor_result *r, const char *fmt, ...)
{
	if (r->n_gaps == DOCTOR_GAPS)
		return;
	r->gap[r->n_gaps].mend[0] = '\0';
	FORMAT(r->gap[r->n_gaps].cost, fmt);
	r->n_gaps++;
	doctor_worsen(r, DOCTOR_LIMITED);
}

void doctor_mend(struct doctor_result *r, const char *fmt, ...)
{
	if (r->n_gaps)
		FORMAT(r->gap[r->n_gaps - 1].mend, fmt);
}

static struct doctor_fact *fact_add(struct doctor_result *r, const char *name)
{
	struct doctor_fact *f;

	if (r->n_facts == DOCTOR_FACTS)
		return NULL;
	f = &r->fact[r->n_facts++];
	memset(f, 0, sizeof(*f));
	text_copy(f->name, sizeof(f->name), name);
	return f;
}

void doctor_number(struct doctor_result *r, const char *name, double value)
{
	struct doctor_fact *f = fact_add(r, name);

	if (f)
		f->number = value;
}

void doctor_text(struct doctor_result *r, const char *name, const char *text)
{
	struct doctor_fact *f = fact_add(r, name);

	if (!f)
		return;
	f->is_text = 1;
	text_copy(f->text, sizeof(f->text), text);
}

void doctor_failed(struct doctor_result *r, enum doctor_state state,
		   const char *what, int error)
{
	doctor_worsen(r, state);
	r->error = error;
	doctor_value(r, "%s: %s", what, strerror(-error));
	doctor_text(r, "error", strerror(-error));
}

struct doctor_result *doctor_library(struct doctor_answer *a, const char *name,
				     const char *soname, const char *package,
				     const char *cost)
{
	struct doctor_result *r = doctor_add(a, name);
	void *library = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);

	doctor_text(r, "library", soname);
	doctor_number(r, "found", library != NULL);
	if (library) {
		doctor_value(r, "%s", soname);
		dlclose(library);
		return r;
	}
	doctor_worsen(r, DOCTOR_MISSING);
	doctor_value(r, "%s is not installed", soname);
	doctor_cost(r, "%s", cost);
	if (package)
		doctor_mend(r, "apt-get install %s", package);
	return r;
}
