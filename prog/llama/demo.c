/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy-llama demo: agents with one copy of their system prompt. */
#include "llama/demo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "commands.h"
#include "llama/engine_path.h"
#include "stop.h"

#define DEMO_SYSTEM 2048u
#define DEMO_UBATCH 512u

enum { OPT_ENGINE = CLI_LONG, OPT_SVG };

static const struct cli_option demo_options[] = {
	{ 'm', "model", "FILE", "random:base",
	  "GGUF model, or random:tiny|small|base|medium[:SEED]" },
	{ OPT_SVG, "svg", "FILE", NULL, "draw the report there" },
	{ 'j', "json", NULL, NULL, "print the report as JSON" },
	{ OPT_ENGINE, "engine", "PATH", "$ONECOPY_LLAMA",
	  "libllama, or its folder" },
	CLI_END
};

static int demo_run(const struct command *self, int argc, char **argv);

static const struct command demo_self = {
	.name = "llama demo",
	.summary = "agents with one copy of their system prompt",
	.usage = "[OPTIONS]",
	.options = demo_options,
	.run = demo_run,
	.alone = true,
};

static int demo_option(struct demo *d, const struct cli *c, int id)
{
	switch (id) {
	case 'm':
		d->session.model = c->value;
		return 0;
	case OPT_SVG:
		d->svg = c->value;
		return 0;
	case OPT_ENGINE:
		d->session.engine = c->value;
		return 0;
	default:
		d->json = true;
		return 0;
	}
}

static int demo_tell(struct demo *d)
{
	int r = d->svg ? demo_svg(d, d->svg) : 0;

	if (r)
		return cli_fail(&demo_self, PROG_BAD_INPUT, "%s: %s", d->svg,
				oc_strerror(r));
	if (d->json)
		return demo_print_json(d) ? PROG_SYSTEM : 0;
	demo_print(d);
	return 0;
}

static int demo_all(struct demo *d)
{
	int r = demo_acts(d);

	demo_end(d);
	if (r)
		return cli_fail(&demo_self,
				r == -EINTR    ? PROG_FAILED
				: r == -ENOMEM ? PROG_SYSTEM
					       : PROG_BAD_INPUT,
				"%s", d->error);
	r = demo_tell(d);
	if (r == 0 && !demo_is_right(d))
		r = cli_fail(&demo_self, PROG_FAILED,
			     "something was wrong: see above");
	return r;
}

static int demo_run(const struct command *self, int argc, char **argv)
{
	static struct demo d = {
		.session = { .model = "random:base",
			     .exact = true,
			     .timeout_ns = SESSION_COMPARES_NS,
			     .threads = 1,
			     .ubatch = DEMO_UBATCH,
			     .block_tokens = DEMO_BLOCK,
			     .seed = 1 },
		.system_tokens = DEMO_SYSTEM,
	};
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = demo_option(&d, &c, id);
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	if (!d.session.engine)
		d.session.engine = engine_fetched();
	d.session.context = DEMO_SYSTEM + DEMO_ROOM;
	d.terminal = isatty(STDERR_FILENO);
	stop_catch();
	return demo_all(&d);
}

int demo_command(int argc, char **argv)
{
	return demo_run(&demo_self, argc, argv);
}
