/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim: a trace file is read, or work made. */
#include <errno.h>
#include <string.h>

#include "commands.h"
#include "progress.h"
#include "sim.h"
#include "stop.h"
#include "trace/trace.h"

int sim_load_tick(void *ctx, double done)
{
	struct sim_load *load = ctx;
	uint32_t now = 1 + (uint32_t)(1000 * done);

	/* asked far more often than anything is to be seen */
	if (now != load->shown)
		progress_show(load->terminal, load->what, done);
	load->shown = now;
	return stop_wanted();
}

static int load_interrupted(const struct sim_command *s)
{
	return cli_fail(s->command, PROG_FAILED,
			"interrupted before all of %s was there", s->trace);
}

int sim_load_open(const struct sim_command *s, struct sim_load *load,
		  struct trace_source **ret_source)
{
	char error[TRACE_ERROR];
	int r = trace_open(s->trace, ret_source, error);

	if (r == -EINTR) /* a pipe that nobody writes to */
		return load_interrupted(s);
	if (r)
		return cli_fail(s->command,
				r == -ENOMEM ? PROG_SYSTEM : PROG_BAD_INPUT,
				"%s", error);
	(*ret_source)->tick = sim_load_tick;
	(*ret_source)->ctx = load;
	return 0;
}

int sim_load_said(const struct sim_command *s, const struct sim_load *load,
		  const struct trace_source *source, int error)
{
	int status;

	progress_clear(load->terminal);
	if (!error)
		return 0;
	if (error == -EINTR)
		return load_interrupted(s);
	if (error == -EINVAL && !source)
		return cli_fail(s->command, PROG_USAGE,
				"no workload of such numbers");
	status = error == -ENOMEM ? PROG_SYSTEM : PROG_BAD_INPUT;
	if (source && source->error[0])
		return cli_fail(s->command, status, "%s", source->error);
	return cli_fail(s->command, status, "%s: %s", s->trace,
			strerror(-error));
}
