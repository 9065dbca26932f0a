/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim: what a policy would do with a recorded workload. */
#include <inttypes.h>
#include <string.h>

#include "base/compiler.h"
#include "base/text.h"
#include "commands.h"
#include "sim.h"
#include "sim_fleet.h"

enum {
	OPT_DECISIONS = CLI_LONG,
	OPT_SEED,
	OPT_BLOCK_TOKENS,
	OPT_DRAM_RATE,
	OPT_NVME_RATE,
	OPT_NVME_LATENCY,
	OPT_NO_PREFETCH,
	OPT_HINT_ERROR,
	OPT_HINT_MISSING,
	OPT_ROWS,
};

static const struct cli_option sim_options[] = {
	{ 'p', "policy", "P", "lru",
	  "lru, onecopy, onecopy-hints, s3-fifo, sieve, arc, lfu-da, gdsf, bound; "
	  "of an engine's tiers lru, onecopy" },
	{ 'd', "dram", "N", "10000; an engine's: 6000",
	  "blocks that memory holds; with a unit (64G) bytes; a list for a fleet" },
	{ 'n', "nvme", "N", NULL,
	  "of a second rung below, or of an engine's disk, likewise" },
	{ OPT_DRAM_RATE, "dram-rate", "SIZE", "24G; an engine's: 40000000000",
	  "bytes a second from memory to the engine" },
	{ OPT_NVME_RATE, "nvme-rate", "SIZE", "5G; an engine's: 6000000000",
	  "bytes a second from the second rung" },
	{ OPT_NVME_LATENCY, "nvme-latency", "TIME", "100us; an engine's: 0",
	  "of each read of it; of an engine's, of each load" },
	{ OPT_NO_PREFETCH, "no-prefetch", NULL, NULL,
	  "load nothing ahead of announced returns" },
	{ OPT_HINT_ERROR, "hint-error", "PERCENT", "50",
	  "announced returns are wrong by up to so much" },
	{ OPT_HINT_MISSING, "hint-missing", "PERCENT", "0",
	  "sessions that announce nothing" },
	{ 'b', "block-bytes", "SIZE", "64K; a fleet's: 72K a token",
	  "bytes of a block" },
	{ OPT_BLOCK_TOKENS, "block-tokens", "N", "512",
	  "tokens of a block of the trace" },
	{ OPT_DECISIONS, "decisions", "FILE", NULL,
	  "write each admission and eviction" },
	{ 'l', "limit", "N", NULL, "only the first N requests" },
	{ OPT_SEED, "seed", "N", "1", "of what is random" },
	{ OPT_ROWS, "rows", "N", NULL,
	  "how it went over time, in N rows, at most 60" },
	{ 'j', "json", NULL, NULL, "print the result as JSON" },
	SIM_FLEET_OPTIONS,
	CLI_END
};

/* Blocks where it has no unit, bytes where it has one. */
static int sim_dram(const struct cli *c, const char **ret_bytes,
		    uint64_t *ret_blocks)
{
	if (strspn(c->value, "0123456789") == strlen(c->value)) {
		*ret_bytes = NULL;
		return cli_number(c, 1, UINT32_MAX - 1, ret_blocks);
	}
	*ret_bytes = c->value;
	return cli_size(c, 0, ret_blocks);
}

/* Noted: where it would change nothing, sim_fits() refuses it. */
static void sim_given(struct sim_command *s, int id, const char *name)
{
	bool hints = id == OPT_NO_PREFETCH || id == OPT_HINT_ERROR ||
		     id == OPT_HINT_MISSING;

	if (hints)
		s->of_hints = name;
	if (hints || id == OPT_DECISIONS)
		s->one_cache = name;
	if (id == OPT_NO_PREFETCH || id == OPT_DRAM_RATE ||
	    id == OPT_NVME_RATE || id == OPT_NVME_LATENCY)
		s->of_rung = name;
}

static int sim_rate(const struct cli *c, uint64_t *ret_rate)
{
	int r = cli_size(c, 0, ret_rate);

	if (r || *ret_rate)
		return r;
	return cli_fail(c->command, PROG_USAGE, "--%s: must not be 0",
			c->option->name);
}

static int sim_option(struct sim_command *s, const struct cli *c, int id,
		      const char **dram)
{
	switch (id) {
	case 'p':
		s->policy = c->value;
		return 0;
	case 'd':
		return sim_dram(c, dram, &s->dram);
	case 'n':
		return cli_number(c, 1, UINT32_MAX - 1, &s->nvme);
	case OPT_DRAM_RATE:
		return sim_rate(c, &s->dram_rate);
	case OPT_NVME_RATE:
		return sim_rate(c, &s->nvme_rate);
	case OPT_NVME_LATENCY:
		s->nvme_latency = true;
		return cli_time(c, &s->nvme_latency_ns);
	case OPT_HINT_ERROR:
		return cli_number(c, 0, 10000, &s->hint_error);
	case OPT_HINT_MISSING:
		return cli_number(c, 0, 100, &s->hint_missing);
	case OPT_NO_PREFETCH:
		s->no_prefetch = true;
		return 0;
	case 'b':
		return cli_size(c, 0, &s->block_bytes);
	case OPT_BLOCK_TOKENS:
		return cli_number(c, 1, 1u << 20, &s->block_tokens);
	case OPT_ROWS:
		return cli_number(c, 1, FLEET_SLOTS, &s->rows);
	case OPT_DECISIONS:
		s->decisions = c->value;
		return 0;
	case 'l':
		return cli_number(c, 1, UINT64_MAX, &s->limit);
	case OPT_SEED:
		return cli_number(c, 0, UINT64_MAX, &s->seed);
	default:
		s->json = true;
		return 0;
	}
}

static int sim_list(const struct sim_command *s, const char *name,
		    const char *value)
{
	if (!value || !strchr(value, ','))
		return 0;
	return cli_fail(s->command, PROG_USAGE,
			"--%s: lists are for a fleet: say --engines", name);
}

static bool is_blocks(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0' &&
	       text[strspn(text, "0")] != '\0';
}

static int sim_capacity(const struct sim_command *s, const char *name,
			const char *text, uint64_t blocks)
{
	if (blocks && blocks < UINT32_MAX)
		return 0;
	return cli_fail(s->command, PROG_USAGE,
			"--%s: %s is not from 1 to %u blocks of %" PRIu64
			" bytes",
			name, text, UINT32_MAX - 1, s->block_bytes);
}

/* What was given in bytes becomes blocks. */
static int sim_blocks(struct sim_command *s, const struct sim_fleet *f,
		      const char *dram)
{
	int r = 0;

	if (!s->block_bytes)
		return cli_fail(s->command, PROG_USAGE,
				"--block-bytes: must not be 0");
	if (dram)
		s->dram /= s->block_bytes;
	if (f->dram)
		r = sim_capacity(s, "dram", f->dram, s->dram);
	if (r || !f->nvme || is_blocks(f->nvme))
		return r;
	if (text_parse_size(f->nvme, 0, &s->nvme))
		return cli_fail(
			s->command, PROG_USAGE,
			"--nvme: %s is not a number of blocks or a size",
			f->nvme);
	s->nvme /= s->block_bytes;
	return sim_capacity(s, "nvme", f->nvme, s->nvme);
}

/* Of one cache. */
static int sim_fits(const struct sim_command *s)
{
	if (s->of_hints && strcmp(s->policy, "onecopy-hints") != 0)
		return cli_fail(s->command, PROG_USAGE,
				"--%s: needs --policy onecopy-hints",
				s->of_hints);
	if (s->of_rung && !s->nvme)
		return cli_fail(s->command, PROG_USAGE, "--%s: needs --nvme",
				s->of_rung);
	return 0;
}

static int sim_run(const struct command *self, int argc, char **argv)
{
	struct sim_command s = {
		.command = self,
		.policy = "lru",
		.dram = 10000,
		.nvme_latency_ns = 100000,
		.block_bytes = 64 << 10,
		.block_tokens = 512,
		.hint_error = 50,
		.seed = 1,
	};
	struct sim_fleet fleet = { 0 };
	const char *dram = NULL;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = 0;
		if (sim_fleet_has(id))
			sim_fleet_option(&fleet, &c, id);
		else if (id == 'd' &&
			 (strchr(c.value, ',') || strcmp(c.value, "0") == 0))
			s.dram = 0; /* what a fleet may have, a cache may not */
		else if (id == 'n' && !is_blocks(c.value))
			s.nvme = UINT32_MAX; /* likewise */
		else
			r = sim_option(&s, &c, id, &dram);
		if (id == 'd')
			fleet.dram = c.value;
		if (id == 'n')
			fleet.nvme = c.value;
		sim_given(&s, id, c.option->name);
		fleet.block_bytes |= id == 'b';
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 1, 1);
	if (r)
		return r;
	s.trace = argv[c.first];
	if (fleet.asked)
		return sim_fleet_main(&s, &fleet);
	if (fleet.of_fleet)
		return cli_fail(self, PROG_USAGE,
				"--%s: needs --engines, --route or --compare",
				fleet.of_fleet);
	if (fleet.of_shape && !sim_fleet_makes(s.trace))
		return cli_fail(self, PROG_USAGE,
				"--%s: of generated work (shared, bursts, "
				"waves), not of %s",
				fleet.of_shape, s.trace);
	r = sim_fits(&s);
	if (!r)
		r = sim_list(&s, "dram", fleet.dram);
	if (!r)
		r = sim_list(&s, "nvme", fleet.nvme);
	if (!r)
		r = sim_blocks(&s, &fleet, dram);
	return r ? r : sim_cache_main(&s, &fleet);
}

const struct command command_sim = {
	.name = "sim",
	.summary = "what a policy would do with a recorded workload",
	.usage = "[OPTIONS] TRACE|shared|bursts|waves",
	.options = sim_options,
	.run = sim_run,
};
