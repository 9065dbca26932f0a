/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy sim: what it says is what its decisions come to, counted here from the
 * trace and the decisions by code that shares nothing with it; and what it must
 * show on recorded traces, where they are at hand.
 */
#include <fcntl.h>
#include <jansson.h>
#include "tests/prog/run.h"
#include "tests/test.h"

#define IDS (1u << 20)

/* ---- the recount ------------------------------------------------------------- */

struct decision {
	long request;
	char what;
	long id;
};

static int next_decision(FILE *f, struct decision *d)
{
	return fscanf(f, "%ld %c %ld", &d->request, &d->what, &d->id) == 3;
}

/* Reads the trace beside the decisions. Returns the hits, and the blocks. */
static long recount(const char *trace, const char *decisions, long limit,
		    long *ret_blocks)
{
	FILE *lines = fopen(trace, "re"), *f = fopen(decisions, "re");
	char *resident = calloc(IDS, 1), *line = NULL;
	long hits = 0, blocks = 0, held = 0, request = 0;
	struct decision d;
	int more;
	size_t cap = 0;

	CHECK(lines && f && resident);
	more = next_decision(f, &d);
	while (getline(&line, &cap, lines) > 0) {
		json_t *q = json_loads(line, 0, NULL);
		json_t *ids = json_object_get(q, "hash_ids"), *id;
		int run = 1;
		size_t i;

		json_array_foreach(ids, i, id) {
			long n = (long)json_integer_value(id);

			CHECK(n >= 0 && n < (long)IDS);
			run = run && resident[n];
			hits += run;
			blocks++;
		}
		json_decref(q);
		for (; more && d.request == request;
		     more = next_decision(f, &d)) {
			CHECK(d.id >= 0 && d.id < (long)IDS);
			CHECK_INT(resident[d.id], ==, d.what == '-');
			resident[d.id] = d.what == '+';
			held += d.what == '+' ? 1 : -1;
			CHECK_INT(held, <=, limit);
		}
		request++;
	}
	CHECK(!more);
	fclose(lines);
	fclose(f);
	free(resident);
	free(line);
	*ret_blocks = blocks;
	return hits;
}

static double number(const json_t *root, const char *name)
{
	const json_t *v = json_object_get(root, name);

	if (!json_is_number(v))
		FAIL("%s is not in the answer", name);
	return json_number_value(v);
}

static json_t *sim(const char *trace, const char *policy, const char *dram,
		   const char *decisions)
{
	struct run r = decisions ? RUN("sim", "--json", "--policy", policy,
				       "--dram", dram, "--decisions", decisions,
				       trace)
				 : RUN("sim", "--json", "--policy", policy,
				       "--dram", dram, trace);
	json_t *root;

	CHECK_INT(r.status, ==, 0);
	root = run_json(&r);
	run_free(&r);
	return root;
}

static const char *scratch(char path[64])
{
	int fd;

	snprintf(path, 64, "/tmp/onecopy-sim-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	CHECK(fd >= 0);
	close(fd);
	return path;
}

/* Sessions that grow, fork and return, with the head of all in common. */
static const char *make_trace(char path[64])
{
	FILE *f = fopen(scratch(path), "we");
	unsigned state = 1;

	CHECK(f);
	for (int i = 0; i < 600; i++) {
		unsigned who, n;

		state = state * 1103515245 + 12345;
		who = (state >> 16) % 25;
		n = 2 + (state >> 8) % 4 + (unsigned)i / 100;
		fprintf(f,
			"{\"timestamp\": %d, \"input_length\": %u, "
			"\"output_length\": 10, \"session\": %u, "
			"\"stop\": \"tool_use\", \"hash_ids\": [0",
			i * 700, n * 512 - 5, who);
		for (unsigned k = 1; k < n; k++)
			fprintf(f, ", %u", 1 + who * 100 + k);
		fprintf(f, "]}\n");
	}
	CHECK_INT(fclose(f), ==, 0);
	return path;
}

static const char *const policies[] = {
	"lru", "onecopy", "onecopy-hints", "s3-fifo", "sieve",
	"arc", "lfu-da",  "gdsf",	   "bound",
};

TEST(decisions_recounted)
{
	char trace[64], log[64];

	make_trace(trace);
	scratch(log);
	for (size_t i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
		json_t *root = sim(trace, policies[i], "40", log);
		long blocks, hits = recount(trace, log, 40, &blocks);

		CHECK_INT(hits, ==, (long)number(root, "hit_blocks"));
		CHECK_INT(blocks, ==, (long)number(root, "blocks"));
		CHECK(number(root, "prefix_hit_rate") <= 1);
		CHECK(number(root, "saved_prefill_s") > 0);
		json_decref(root);
	}
	unlink(trace);
	unlink(log);
}

static void broken(const char *text, const char *said)
{
	char path[64];
	FILE *f = fopen(scratch(path), "we");
	struct run r;

	CHECK(f);
	fputs(text, f);
	CHECK_INT(fclose(f), ==, 0);
	r = RUN("sim", path);
	CHECK_INT(r.status, ==, said ? 5 : 0);
	if (said && !strstr(r.err, said))
		FAIL("'%s' is not in: %s", said, r.err);
	run_free(&r);
	unlink(path);
}

#define LINE(t, ids)                                     \
	"{\"timestamp\": " t ", \"input_length\": 700, " \
	"\"output_length\": 1, \"hash_ids\": [" ids "]}\n"

TEST(traces_that_are_odd)
{
	broken("", NULL);
	broken(LINE("5", "1, 2") LINE("5", "1, 2") LINE("1", "1, 2"), NULL);
	broken(LINE("5", "") LINE("9007199254740992", "9007199254740992"),
	       NULL);
	broken(LINE("5", "1, 2") "{\"timestamp\": 5}\n", ":2: ");
	broken(LINE("5", "1, 2") "\n" LINE("-1", "1"), ":3: ");
	broken(LINE("5", "1, 2") LINE("5", "1.5"), ":2: ");
	broken(LINE("5", "1, 2") "{\"timest", ":2: ");
}

TEST(values)
{
	char trace[64];
	struct run r;

	make_trace(trace);
	r = RUN("sim", "--policy", "best", trace);
	CHECK_INT(r.status, ==, 2);
	run_free(&r);
	r = RUN("sim", "--dram", "0", trace);
	CHECK_INT(r.status, ==, 2);
	run_free(&r);
	/* 40 blocks of 64 KiB */
	r = RUN("sim", "--dram", "2560K", trace);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, " 40 blocks, of 65536 bytes") != NULL);
	run_free(&r);
	r = RUN("sim", "--dram", "40", "--nvme", "9M", "--block-bytes", "1M",
		trace);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, " 40 blocks and 9 below, of 1048576") != NULL);
	run_free(&r);
	r = RUN("sim", "--nvme", "63K", trace);
	CHECK_INT(r.status, ==, 2);
	CHECK(strstr(r.err, "--nvme: 63K is not from 1 to ") != NULL);
	run_free(&r);
	r = RUN("sim", "--nvme", "4X", trace);
	CHECK_INT(r.status, ==, 2);
	CHECK(strstr(r.err, "--nvme: 4X") != NULL);
	run_free(&r);
	/* announced returns may be the true ones, and are not told wrong then,
	 * whatever the seed is */
	for (size_t i = 0; i < 2; i++) {
		const char *error = i ? "50" : "0";
		json_t *a, *b;

		r = RUN("sim", "--policy", "onecopy-hints", "--dram", "40",
			"--hint-error", error, "--json", trace);
		CHECK_INT(r.status, ==, 0);
		a = run_json(&r);
		run_free(&r);
		r = RUN("sim", "--policy", "onecopy-hints", "--dram", "40",
			"--hint-error", error, "--seed", "7", "--json", trace);
		b = run_json(&r);
		run_free(&r);
		CHECK((number(a, "hit_blocks") == number(b, "hit_blocks") &&
		       number(a, "evicted") == number(b, "evicted")) == !i);
		json_decref(a);
		json_decref(b);
	}
	r = RUN("sim", "--decisions", "/nowhere/at/all", trace);
	CHECK_INT(r.status, ==, 6);
	run_free(&r);
	unlink(trace);
}

/* ---- generated work -------------------------------------------------------------- */

/* Load that rises past what fits and falls again, as a command shows it: what is
 * found falls with it and comes back, and at the top onecopy keeps more. */
static void waves(const char *policy, double rate[12])
{
	struct run r = RUN("sim", "waves", "--agents", "8", "--limit", "4000",
			   "--dram", "1500", "--rows", "12", "--policy", policy,
			   "--json");
	json_t *root = run_json(&r), *rows, *row;
	size_t i;

	CHECK_INT(r.status, ==, 0);
	rows = json_object_get(root, "rows");
	CHECK_INT(json_array_size(rows), ==, 12);
	json_array_foreach(rows, i, row)
		rate[i] = number(row, "prefix_hit_rate");
	json_decref(root);
	run_free(&r);
}

TEST(load_that_rises_and_falls)
{
	double lru[12], own[12];

	waves("lru", lru);
	waves("onecopy", own);
	for (size_t i = 0; i < 12; i++)
		CHECK(own[i] > lru[i] - 0.05);
	/* the rate is highest in rows 3 to 5, and lowest in 8 and 9 */
	CHECK(own[3] < own[0] - 0.1 && own[3] < own[8] - 0.2);
	CHECK(own[4] > lru[4] + 0.01 && own[5] > lru[5] + 0.04);
	CHECK(own[8] > own[0]);
}

/* Each shape can be played by one cache, with the options of generated work. */
TEST(generated_work_for_one_cache)
{
	static const char *const shape[] = { "shared", "bursts", "waves" };

	for (size_t i = 0; i < 3; i++) {
		struct run r = RUN("sim", shape[i], "--limit", "64", "--agents",
				   "4", "--prefix", "5120", "--own", "100",
				   "--json");
		json_t *root = run_json(&r);

		CHECK_INT(r.status, ==, 0);
		CHECK(number(root, "requests") >= 64);
		CHECK(number(root, "hit_blocks") > 0);
		CHECK(number(root, "short_prompts") < 1);
		json_decref(root);
		run_free(&r);
	}
}

/* The answer says what it depends on, and nothing that it does not depend on. */
TEST(options_are_in_the_answer)
{
	struct run r = RUN("sim", "waves", "--limit", "64", "--agents", "4",
			   "--policy", "onecopy-hints", "--nvme", "900",
			   "--nvme-rate", "1G", "--nvme-latency", "2ms",
			   "--hint-error", "0", "--hint-missing", "20",
			   "--no-prefetch", "--block-tokens", "256",
			   "--block-bytes", "1M", "--seed", "3", "--json");
	json_t *root = run_json(&r), *o = json_object_get(root, "options"), *g;

	run_free(&r);
	CHECK(number(o, "seed") == 3 && number(o, "limit") == 64);
	CHECK(number(o, "block_tokens") == 256);
	CHECK(number(o, "block_bytes") == 1 << 20);
	CHECK(number(o, "hint_error_percent") == 0);
	CHECK(number(o, "hint_missing_percent") == 20);
	CHECK(json_is_false(json_object_get(o, "prefetch")));
	CHECK(number(o, "dram_rate") == 24.0 * (1 << 30));
	CHECK(number(o, "nvme_rate") == 1 << 30);
	CHECK(number(o, "nvme_latency_s") == 0.002);
	g = json_object_get(o, "generated");
	CHECK(number(g, "agents") == 4 && number(g, "requests") == 64);
	json_decref(root);
	r = RUN("sim", "waves", "--limit", "64", "--json");
	root = run_json(&r);
	run_free(&r);
	o = json_object_get(root, "options");
	CHECK(!json_object_get(o, "nvme_rate") && json_is_object(o));
	CHECK(!json_object_get(o, "hint_error_percent"));
	json_decref(root);
}

/* ---- recorded traces ------------------------------------------------------------ */

static const char *recorded(char *path, size_t cap, const char *name)
{
	/* beside the sources, as seen from there and from a build folder */
	const char *dirs[] = { getenv("ONECOPY_TRACES"), "../shared/traces",
			       "../../shared/traces" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		if (!dirs[i])
			continue;
		snprintf(path, cap, "%s/%s.jsonl", dirs[i], name);
		if (access(path, R_OK) == 0)
			return path;
	}
	SKIP("%s.jsonl is not here; ONECOPY_TRACES names its folder", name);
}

static double rate(const char *trace, const char *policy, const char *dram)
{
	json_t *root = sim(trace, policy, dram, NULL);
	double r = 100 * number(root, "prefix_hit_rate");

	json_decref(root);
	return r;
}

/* Above every published policy; so many percent of what lies between LRU and the
 * bound, and with hints at least 70. */
static void shows(const char *name, const char *dram, double percent)
{
	char path[256];
	double lru, bound, own, hints;

	recorded(path, sizeof(path), name);
	lru = rate(path, "lru", dram);
	bound = rate(path, "bound", dram);
	own = rate(path, "onecopy", dram);
	hints = rate(path, "onecopy-hints", dram);
	fprintf(stderr,
		"%s %s: lru %.2f, onecopy %.2f, hints %.2f, bound %.2f\n", name,
		dram, lru, own, hints, bound);
	for (size_t i = 3; i < 8; i++)
		CHECK(own > rate(path, policies[i], dram));
	CHECK(own >= lru + (bound - lru) * percent / 100);
	CHECK(hints >= lru + (bound - lru) * 0.7);
}

TEST(conversation)
{
	shows("conversation", "3000", 25);
	shows("conversation", "10000", 10);
}

TEST(agentic)
{
	shows("agentic", "1000", 50);
	shows("agentic", "3000", 35);
	shows("agentic", "6000", 15);
}

/* Independent counts gave these; the bound of the same in both. */
TEST(known_rates)
{
	char path[256];

	recorded(path, sizeof(path), "conversation");
	CHECK(rate(path, "lru", "3000") - 6.534 < 0.001);
	CHECK(6.534 - rate(path, "lru", "3000") < 0.001);
	CHECK(rate(path, "arc", "3000") > 8.65);
	CHECK(rate(path, "s3-fifo", "3000") > 9.35);
	CHECK(rate(path, "bound", "3000") > 29.35);
	CHECK(rate(path, "bound", "3000") < 29.5);
}
