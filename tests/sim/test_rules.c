/* SPDX-License-Identifier: Apache-2.0 */
/* Each policy against an example that was worked by hand from its published
 * rule. */
#include "sim/cache.h"
#include "tests/test.h"
#include <stdio.h>

#define LINE 256

static void note(void *ctx, uint64_t request, char what, uint64_t id)
{
	char *line = ctx;
	size_t at = strlen(line);

	(void)request;
	snprintf(line + at, LINE - at, "%s%c%c", at ? " " : "", what,
		 (char)('A' + id));
}

/* Chains are separated by spaces: "A AB" is block A, then the chain A, B. */
static void load(struct sim_trace *t, const char *text)
{
	uint64_t ids[LINE];
	struct trace_request r = { .ids = ids, .session = TRACE_NO_SESSION };

	sim_trace_init(t);
	for (;; text++) {
		if (*text && *text != ' ') {
			ids[r.n_ids++] = (uint64_t)(*text - 'A');
			continue;
		}
		r.input_length = 512 * r.n_ids;
		r.timestamp_ms += 1000;
		CHECK_OK(sim_trace_add(t, &r));
		r.n_ids = 0;
		if (!*text)
			return;
	}
}

static void expect(const char *policy, uint32_t dram, const char *text,
		   const char *decisions, uint64_t hits)
{
	char line[LINE] = "";
	struct sim_cache_options o = {
		.policy = policy,
		.dram = dram,
		.prefill = { .rate = 1000, .twice = 512 },
		.decided = note,
		.ctx = line,
	};
	struct sim_cache_result r;
	struct sim_trace t;

	load(&t, text);
	CHECK_OK(sim_cache_run(&t, &o, &r));
	CHECK_STR(line, decisions);
	CHECK_INT(r.hit_blocks, ==, hits);
	sim_trace_fini(&t);
}

TEST(lru)
{
	expect("lru", 2, "A B A C B", "+A +B -B +C -A +B", 1);
	/* a chain from its end: the head lives longest */
	expect("lru", 3, "ABC D AB", "+C +B +A -C +D", 2);
}

/* What was used once leaves first (C and B come from T1); a ghost of B1 makes
 * T1 larger, so the next leaves T2; a ghost of B2 makes it smaller again. */
TEST(arc)
{
	expect("arc", 2, "A A B C B A", "+A +B -B +C -A +B -C +A", 1);
}

/* A was used twice in the small queue and goes to the main one; B does not, but
 * comes back from the ghosts to the main queue, whose oldest is A. */
TEST(s3_fifo)
{
	expect("s3-fifo", 2, "A B A A C B D", "+A +B -B +C -C +B -A +D", 2);
}

/* The hand clears A's mark, takes B, and goes on from there. */
TEST(sieve)
{
	expect("sieve", 3, "A B C A D E F", "+A +B +C -B +D -C +E -D +F", 1);
}

/* Priorities: A 3, B 1, C 2, D 3; of A and D the older leaves. */
TEST(lfu_da)
{
	expect("lfu-da", 2, "A A A B C D E", "+A +B -B +C -C +D -A +E", 2);
}

/* The second block of a chain costs 5/3 of the first: A 1, B 1.67, C 2,
 * D 2.67. */
TEST(gdsf)
{
	expect("gdsf", 2, "AB C D E", "+B +A -A +C -B +D -C +E", 0);
}

TEST(bound)
{
	/* C is never used again and is not taken in */
	expect("bound", 2, "A B C A B", "+A +B", 2);
	expect("bound", 1, "A B B A", "+A -A +B", 1);
	/* of a chain the end leaves first */
	expect("bound", 2, "AB C C AB", "+A +B -B +C", 2);
}

/* With nothing learned, what is younger is worth more; and of a chain the end
 * leaves first. */
TEST(onecopy_begins_as_lru)
{
	expect("onecopy", 3, "ABC D", "+A +B +C -C +D", 0);
}

TEST(there_is_no_other)
{
	struct sim_cache_options o = { .policy = "fifo", .dram = 1 };
	struct sim_cache_result r;
	struct sim_trace t;

	load(&t, "A");
	CHECK_INT(sim_cache_run(&t, &o, &r), ==, -EINVAL);
	o.policy = "lru";
	o.dram = 0;
	CHECK_INT(sim_cache_run(&t, &o, &r), ==, -EINVAL);
	sim_trace_fini(&t);
}
