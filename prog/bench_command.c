/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy bench: the registry, and the command. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "bench.h"
#include "commands.h"
#include "stop.h"

#define BENCH_TIME_NS (300 * NS_PER_S)

#define BENCH_ROW(name_)  { #name_, bench_##name_ },
#define BENCH_WORD(name_) #name_ ", "

static const struct {
	const char *name;
	int (*run)(struct bench *b);
} benches[] = { BENCHES(BENCH_ROW) };

static const struct cli_option bench_options[] = {
	{ 'r', "runs", "N", "3", "runs; figures are medians" },
	{ 'b', "blocks", "N", "1000000", "blocks of the large pool" },
	{ 'm', "model", "FILE", "random:medium", "model of the bench llama" },
	{ 'd', "dir", "DIR[:SIZE]", "$TMPDIR, else .",
	  "where the benches device and nvme put their files" },
	{ 't', "trace", "FILE", "generated",
	  "trace that the bench eviction plays" },
	{ CLI_LONG, "strict", NULL, NULL,
	  "exit with 1 when a figure does not hold" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

/* Bit i: benches[i]. */
static int bench_select(const struct cli *c, unsigned *ret_set)
{
	const char *names[ARRAY_LEN(benches) + 1], *near;
	size_t n = ARRAY_LEN(benches), k;

	for (k = 0; k < n; k++)
		names[k] = benches[k].name;
	names[n] = "all";
	*ret_set = 0;
	for (int i = c->first; i < c->argc; i++) {
		const char *word = c->argv[i];

		for (k = 0; k <= n && strcmp(names[k], word) != 0; k++)
			;
		if (k < n) {
			*ret_set |= 1u << k;
		} else if (k == n) {
			*ret_set |= (1u << n) - 1;
		} else {
			near = text_nearest(word, names, n + 1);
			return cli_fail(c->command, PROG_USAGE,
					"no bench %s%s%s; there are " BENCHES(
						BENCH_WORD) "all",
					word, near ? ", did you mean " : "",
					near ? near : "");
		}
	}
	return 0;
}

static int bench_each(const struct command *self, struct bench *b, unsigned set)
{
	int status = PROG_OK;

	for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
		int r;

		if (!(set & 1u << i) || stop_wanted())
			continue;
		bench_says(benches[i].name);
		b->end_ns = clock_ns() + BENCH_TIME_NS;
		r = benches[i].run(b);
		bench_says(NULL);
		if (r)
			status = cli_fail(self, PROG_FAILED, "%s: %s",
					  benches[i].name,
					  stop_wanted() ? "interrupted"
					  : r == -ETIME ? "it took too long"
							: strerror(-r));
	}
	bench_pool_close(b->pool);
	return stop_wanted() ? PROG_FAILED : status;
}

static int bench_all(const struct command *self, struct bench *b, unsigned set,
		     bool json, bool strict)
{
	int r = bench_machine(b);

	if (r)
		return cli_fail(self, PROG_SYSTEM, "%s", strerror(-r));
	if (json)
		b->figures = json_array();
	else
		bench_machine_print(b);
	fflush(stdout);
	r = bench_each(self, b, set);
	if (json) {
		json_dumpf(b->figures, stdout,
			   JSON_INDENT(2) | JSON_REAL_PRECISION(9));
		printf("\n");
	}
	json_decref(b->figures);
	json_decref(b->machine);
	return r == 0 && strict && b->missed ? PROG_FAILED : r;
}

static int bench_run(const struct command *self, int argc, char **argv)
{
	struct bench b = { .blocks = 1000000 };
	bool json = false, strict = false;
	uint64_t runs = 3;
	unsigned set = 0;
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while (r == 0 && (id = cli_next(&c)) > 0) {
		if (id == 'r')
			r = cli_number(&c, 1, BENCH_RUNS_MAX, &runs);
		else if (id == 'b')
			r = cli_number(&c, 16384, 1ull << 28, &b.blocks);
		else if (id == 'm')
			b.model = c.value;
		else if (id == 't')
			b.trace = c.value;
		else if (id == 'd')
			b.dir = c.value;
		else if (id == CLI_LONG)
			strict = true;
		else
			json = true;
	}
	if (r == 0 && id < 0)
		return c.status;
	if (r == 0)
		r = cli_words(&c, 1, 64);
	if (r == 0)
		r = bench_select(&c, &set);
	if (r)
		return r;
	b.runs = (uint32_t)runs;
	stop_catch();
	return bench_all(self, &b, set, json, strict);
}

const struct command command_bench = {
	.name = "bench",
	.summary = "measure against a peer or a limit",
	.usage = "[OPTIONS] NAME...  (" BENCHES(BENCH_WORD) "all)",
	.options = bench_options,
	.run = bench_run,
};
