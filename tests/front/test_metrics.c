/* SPDX-License-Identifier: Apache-2.0 */
/* What /metrics says, through a strict reader of its format. */
#include "front/report/metrics.h"
#include "base/fault.h"
#include "front/report/lines.h"
#include "tests/front/exposition.h"
#include "tests/front/told.h"

#define MANY (1u << 20)

static struct expo look(struct told *t)
{
	struct expo e;
	size_t bytes;
	char *text;

	CHECK_OK(metrics_text(&t->report, t->report.start_ns, MANY, &text,
			      &bytes));
	CHECK_INT(strlen(text), ==, bytes);
	e = expo_read(text);
	free(text);
	return e;
}

#define SMALL_SLAB (16ull * PART_BYTES)

TEST(figures_of_the_pool)
{
	const char *of = "tenant=\"test\",tier=\"dram\"";
	struct told *t = told_create();
	struct expo e = look(t);

	CHECK(expo_value(&e, "onecopy_pool_sealed_bytes", of) == 5 * 4096);
	CHECK(expo_value(&e, "onecopy_pool_sealed_parts", of) == 5);
	CHECK(expo_value(&e, "onecopy_pool_seals_total", "tenant=\"test\"") ==
	      5);
	CHECK(expo_value(&e, "onecopy_pool_slab_bytes", of) ==
	      expo_value(&e, "onecopy_memory_used_bytes", ""));
	CHECK(expo_value(&e, "onecopy_memory_limit_bytes", "") == 64 << 20);
	CHECK(expo_value(&e, "onecopy_cxl_limit_bytes", "") == 0);
	CHECK(expo_value(&e, "onecopy_cxl_used_bytes", "") == 0);
	CHECK(expo_value(&e, "onecopy_cxl_up", "") == 0);
	/* of all slabs, wherever they are */
	CHECK(expo_value(&e, "onecopy_pool_silently_mapped_bytes",
			 "tenant=\"test\"") == 0);
	CHECK(expo_value(&e, "onecopy_pool_slabs", "tenant=\"test\"") > 0);
	CHECK(expo_value(&e, "onecopy_pool_quota_bytes", "tenant=\"test\"") ==
	      64 << 20);
	CHECK(expo_value(&e, "onecopy_tier_latency_seconds", "tier=\"dram\"") <
	      1e-3);
	CHECK(expo_value(&e, "onecopy_tier_bytes_per_second", "tier=\"dram\"") >
	      1e6);
	expo_free(&e);
	told_destroy(t);
}

static bool is_low_full(struct world *w)
{
	return pool_counter(w->p, POOL_C_cxl_slab_bytes) == 2 * SMALL_SLAB;
}

/* DRAM's are labelled so; what lies below it has limits and rows of its own. */
TEST(memory_below_dram)
{
	const struct world_config config = { .limit = 2 * SMALL_SLAB,
					     .slab_bytes = SMALL_SLAB,
					     .low = 2 * SMALL_SLAB };
	const char *of = "tenant=\"test\"",
		   *dram = "tenant=\"test\",tier=\"dram\"";
	struct told t = { .w = world_create(&config) };
	struct world *w = t.w;
	struct sim *c;
	struct expo e;

	store_pool_serve(w->p);
	report_init(&t.report, w->s, NULL, "1.2.3");
	c = sim_add(w, 0);
	for (uint64_t n = 0; n < 400 && !is_low_full(w); n++) {
		struct ring_answer last;
		int64_t r = sim_grant(c, n, PART, WORLD_SEC);
		uint32_t slot = c->slot;

		for (unsigned i = 0; i < 50 && r == SIM_LATER; i++) {
			sim_let_go(c);
			world_ready(w);
			world_tick(w, WORLD_SEC / 500);
			r = sim_answer(c, slot);
		}
		CHECK_OK(r);
		last = w->last;
		CHECK_OK(sim_seal(c, n, PART, &last));
	}
	CHECK(is_low_full(w));
	e = look(&t);
	CHECK(expo_value(&e, "onecopy_cxl_limit_bytes", "") == 2 * SMALL_SLAB);
	CHECK(expo_value(&e, "onecopy_cxl_used_bytes", "") == 2 * SMALL_SLAB);
	CHECK(expo_value(&e, "onecopy_cxl_up", "") == 1);
	CHECK(expo_value(&e, "onecopy_cxl_memory_errors_total", "") == 0);
	CHECK(expo_value(&e, "onecopy_pool_cxl_slab_bytes", of) ==
	      2 * SMALL_SLAB);
	CHECK(expo_value(&e, "onecopy_pool_slab_bytes", dram) ==
	      2 * SMALL_SLAB);
	CHECK(expo_value(&e, "onecopy_pool_slabs", of) == 4);
	expo_free(&e);
	world_destroy(w);
}

/* Each counter of the layout has a name of its own, and each tenant a line. */
TEST(every_counter_is_told)
{
	struct told *t = told_create();
	struct expo e = look(t);
	size_t pools = 0, doors = 0;

	for (size_t i = 0; i < e.n_families; i++) {
		if (!strncmp(e.family[i].name, "onecopy_pool_", 13)) {
			CHECK_INT(e.family[i].n, ==, 2);
			pools++;
		}
		if (!strncmp(e.family[i].name, "onecopy_door_", 13) &&
		    strcmp(e.family[i].type, "histogram")) {
			CHECK_INT(e.family[i].n, ==, 3);
			doors++;
		}
	}
	CHECK_INT(pools, ==, POOL_COUNTERS_USED + 3); /* and the quotas */
	CHECK_INT(doors, ==, DOOR_COUNTERS_USED);
	for (unsigned c = 0; c < POOL_COUNTERS_USED; c++) {
		size_t seen = 0;

		for (size_t i = 0; i < e.n_families; i++)
			seen += !strcmp(e.family[i].help,
					pool_counter_texts[c]);
		CHECK_INT(seen, ==, 1);
	}
	expo_free(&e);
	told_destroy(t);
}

/* The layout says of each counter whether it is a level ("now"). */
TEST(levels_are_gauges)
{
	struct told *t = told_create();
	struct expo e = look(t);

	for (size_t i = 0; i < e.n_families; i++) {
		size_t n = strlen(e.family[i].help);
		bool level = n > 4 && !strcmp(e.family[i].help + n - 4, " now");

		if (strncmp(e.family[i].name, "onecopy_pool_", 13) || !level)
			continue;
		CHECK_STR(e.family[i].type, "gauge");
	}
	expo_free(&e);
	told_destroy(t);
}

TEST(doors_by_tenant)
{
	struct told *t = told_create();
	struct expo e = look(t);

	CHECK(expo_value(&e, "onecopy_door_hits_total",
			 "door=\"resp\",tenant=\"test\"") == 90);
	CHECK(expo_value(&e, "onecopy_door_hits_total",
			 "door=\"resp\",tenant=\"od\\\"d\\\\\"") == 10);
	CHECK(expo_value(&e, "onecopy_door_connections_total",
			 "door=\"resp\",tenant=\"\"") == 3);
	CHECK(expo_value(&e, "onecopy_door_open_connections",
			 "door=\"resp\",tenant=\"test\"") == 2);
	expo_free(&e);
	told_destroy(t);
}

TEST(durations_are_a_histogram)
{
	const char *name = "onecopy_door_request_duration_seconds_bucket";
	const char *get = "door=\"resp\",kind=\"get\"";
	struct told *t = told_create();
	struct expo e = look(t);
	unsigned seen = 0;

	CHECK(expo_value(&e, "onecopy_door_request_duration_seconds_count",
			 get) == 100);
	CHECK(expo_value(&e, "onecopy_door_request_duration_seconds_sum",
			 get) == 5050e-6);
	for (size_t i = 0; i < e.n_samples; i++) {
		const struct expo_sample *s = &e.sample[i];

		if (strcmp(s->name, name) || strcmp(s->labels, get))
			continue;
		seen++;
		/* a bucket of the histogram may be cut: 1/16 */
		if (!strcmp(s->le, "5e-05"))
			CHECK(s->value <= 50 && s->value >= 46);
		if (!strcmp(s->le, "0.00025"))
			CHECK(s->value == 100);
	}
	CHECK_INT(seen, ==, 19);
	CHECK(expo_value(&e, "onecopy_door_request_duration_seconds_count",
			 "door=\"resp\",kind=\"set\"") == 0);
	expo_free(&e);
	told_destroy(t);
}

TEST(the_process)
{
	struct told *t = told_create();
	struct expo e = look(t);

	CHECK(expo_value(&e, "process_resident_memory_bytes", "") > 100000);
	CHECK(expo_value(&e, "process_open_fds", "") >= 3);
	CHECK(expo_value(&e, "process_open_fds", "") < 1000);
	CHECK(expo_value(&e, "process_cpu_seconds_total", "") > 0);
	CHECK(expo_value(&e, "process_start_time_seconds", "") > 1.6e9);
	CHECK(expo_value(&e, "onecopy_ready", "") == 1);
	CHECK(expo_value(&e, "onecopy_server_restarts_total", "") == 0);
	CHECK(expo_value(&e, "onecopy_build_info",
			 "version=\"1.2.3\",loop=\"none\"") == 1);
	expo_free(&e);
	told_destroy(t);
}

/* Living clients count for themselves until they end. */
TEST(counts_of_living_clients)
{
	struct told *t = told_create();
	struct sim *c = &t->w->sim[0];
	struct expo e;

	shared_store64(&c->cs->header.counter[CLIENT_PINS], 7);
	e = look(t);
	CHECK(expo_value(&e, "onecopy_pool_hits_total", "tenant=\"test\"") ==
	      7);
	expo_free(&e);
	sim_die(c);
	e = look(t);
	CHECK(expo_value(&e, "onecopy_pool_hits_total", "tenant=\"test\"") ==
	      7);
	expo_free(&e);
	told_destroy(t);
}

TEST(restarts)
{
	struct told *t = told_create();
	struct expo e;

	store_pool_serve(t->w->p);
	store_pool_serve(t->w->p);
	e = look(t);
	CHECK(expo_value(&e, "onecopy_server_restarts_total", "") == 2);
	CHECK(expo_value(&e, "onecopy_degraded_reasons", "") == 1);
	expo_free(&e);
	told_destroy(t);
}

/* Nothing is cut in the middle: it fits, or there is none. */
TEST(text_is_bounded)
{
	struct told *t = told_create();
	size_t bytes, fits;
	char *text;

	CHECK_OK(metrics_text(&t->report, 0, MANY, &text, &fits));
	free(text);
	for (size_t most = 0; most < fits - 64; most += 997)
		CHECK_INT(metrics_text(&t->report, 0, most, &text, &bytes), ==,
			  -E2BIG);
	told_destroy(t);
}

TEST(memory_that_fails)
{
	struct told *t = told_create();
	size_t bytes;
	uint64_t n;
	char *text;
	int r;

	for (n = 1;; n++) {
		fault_arm(FAULT_ALL, n, false);
		r = metrics_text(&t->report, 0, MANY, &text, &bytes);
		if (r == 0)
			free(text);
		else
			CHECK_INT(r, ==, -ENOMEM);
		if (!fault_fired())
			break;
	}
	fault_arm(0, 0, false);
	CHECK_INT(r, ==, 0);
	CHECK_INT(n, >, 2);
	told_destroy(t);
}

TEST(labels_are_escaped)
{
	const struct lines_label labels[LINES_LABELS] = { { "a", "1\n2" },
							  { NULL, "x" },
							  { "b", "\\\"" } };
	struct lines l = { .most = 1000 };

	lines_family(&l, "n", LINES_GAUGE, "help");
	lines_u64(&l, "", labels, 1);
	lines_real(&l, "", NULL, 0.25);
	CHECK_INT(l.error, ==, 0);
	CHECK_STR(l.data, "# HELP n help\n# TYPE n gauge\n"
			  "n{a=\"1\\n2\",b=\"\\\\\\\"\"} 1\nn 0.25\n");
	free(l.data);
}
