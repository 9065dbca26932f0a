/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy doctor: the command. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "doctor.h"
#include "progress.h"
#include "stop.h"

static const struct cli_option doctor_options[] = {
	{ 'd', "dir", "DIR", "the working directory",
	  "where direct I/O is tried" },
	{ 'q', "quick", NULL, NULL, "measure shorter, and less" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static void doctor_run_all(const struct doctor *d,
			   struct doctor_answer *answers)
{
	for (size_t i = 0; i < doctor_n_probes; i++) {
		const struct doctor_probe *p = &doctor_probes[i];

		if (p->measures)
			progress_show(d->terminal,
				      doctor_technique_id(p->technique),
				      (double)i / (double)doctor_n_probes);
		doctor_probe(d, p, &answers[i]);
		progress_clear(d->terminal && p->measures);
		if (stop_wanted())
			return;
	}
}

static int doctor_output(const struct doctor *d,
			 const struct doctor_answer *answers, bool json)
{
	struct doctor_verdict v;
	json_t *root;
	int bad;

	doctor_decide(answers, &v);
	if (!json) {
		doctor_print(answers, &v, stdout);
		return v.status;
	}
	root = doctor_json(d, answers, &v);
	bad = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;
	json_decref(root);
	printf("\n");
	return bad ? PROG_SYSTEM : v.status;
}

static int doctor_all(const struct command *self, const struct doctor *d,
		      bool json)
{
	struct doctor_answer *answers;
	struct stat s;
	int status;

	if (stat(d->dir, &s) < 0 || !S_ISDIR(s.st_mode))
		return cli_fail(self, PROG_BAD_INPUT, "--dir %s: %s", d->dir,
				strerror(s.st_mode ? ENOTDIR : errno));
	answers = doctor_answer_create(doctor_n_probes);
	if (!answers)
		return cli_fail(self, PROG_SYSTEM, "no memory");
	stop_catch();
	doctor_run_all(d, answers);
	status = stop_wanted() ? cli_fail(self, PROG_FAILED, "interrupted")
			       : doctor_output(d, answers, json);
	doctor_answer_destroy(answers, doctor_n_probes);
	return status;
}

static int doctor_command(const struct command *self, int argc, char **argv)
{
	struct doctor d = { .root = "", .dir = "." };
	char here[PATH_MAX];
	bool json = false;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == 'd')
			d.dir = c.value;
		else if (id == 'q')
			d.quick = true;
		else
			json = true;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	if (strcmp(d.dir, ".") == 0 && getcwd(here, sizeof(here)))
		d.dir = here;
	d.terminal = isatty(STDERR_FILENO);
	return doctor_all(self, &d, json);
}

const struct command command_doctor = {
	.name = "doctor",
	.summary = "what this machine offers, what a gap costs, what mends it",
	.usage = "[OPTIONS]",
	.options = doctor_options,
	.run = doctor_command,
};
