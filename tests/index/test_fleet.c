/* SPDX-License-Identifier: Apache-2.0 */
/* The fleet index against brute force. */
#include "tests/index/fleet_model.h"

#define ROOMY (4ull << 20)

/* How random steps are drawn. */
struct habits {
	bool linked; /* stores begin at a root */
	bool below;  /* memory is short */
	unsigned steps, looks_every;
};

static void step_store(struct model *m, const struct habits *h)
{
	uint32_t chain[MODEL_DEPTH], n, from, to;
	uint32_t engine = model_any(m, m->o.engines);
	uint32_t group = model_any(m, MAX(m->o.n_groups, 1u));

	n = model_chain(m, 1 + model_any(m, m->n), chain);
	from = h->linked || model_any(m, 2) ? 0 : model_any(m, n);
	to = from + 1 + model_any(m, n - from);
	model_store(m, chain, from, to, engine, group,
		    model_any(m, m->o.tiers));
}

static void step_remove(struct model *m)
{
	uint32_t chain[MODEL_DEPTH], n;
	uint32_t engine = model_any(m, m->o.engines);
	uint32_t group = model_any(m, MAX(m->o.n_groups, 1u));
	uint32_t tier = model_any(m, m->o.tiers);

	n = model_chain(m, 1 + model_any(m, m->n), chain);
	switch (model_any(m, 4)) {
	case 0: /* leaf first, the whole chain */
		for (uint32_t i = n; i-- > 0;)
			model_remove(m, &chain[i], 1, engine, group, tier);
		return;
	case 1: /* root first */
		model_remove(m, chain, n, engine, group, tier);
		return;
	case 2: /* any, twice perhaps */
		for (uint32_t i = 0; i < n; i++) {
			uint32_t j = model_any(m, n), k = chain[i];

			chain[i] = chain[j];
			chain[j] = k;
		}
		model_remove(m, chain, 1 + model_any(m, n), engine, group,
			     tier);
		return;
	default:
		model_remove(m, &chain[n - 1], 1, engine, group, tier);
	}
}

/* A block that somebody has is said to be after another one. */
static void step_conflict(struct model *m)
{
	struct fleet_stat before, after;
	uint32_t b = 1 + model_any(m, m->n), h = 0;
	uint64_t name = model_name(b);
	struct fleet_event e = { .keys = &name, .n = 1, .kind = FLEET_STORE };

	while (h < m->holders && !m->in[(size_t)b * m->holders + h])
		h++;
	if (h == m->holders)
		return;
	if (m->parent[b] && model_any(m, 2))
		e.root = true;
	else
		e.parent = name; /* after itself */
	fleet_stat(m->f, &before);
	fleet_apply(m->f, &e, 1);
	fleet_stat(m->f, &after);
	CHECK_INT(after.conflicts, ==, before.conflicts + 1);
	CHECK_INT(after.pairs, ==, before.pairs);
}

static void look_around(struct model *m, bool below)
{
	uint32_t chain[MODEL_DEPTH];

	for (unsigned i = 0; i < 4; i++) {
		uint32_t n = model_chain(m, 1 + model_any(m, m->n), chain);

		model_look(m, chain, n, model_any(m, 3) ? 0 : 60, below);
	}
}

static void check_counts(struct model *m, bool below)
{
	struct fleet_stat s;
	uint64_t sum = 0;

	fleet_stat(m->f, &s);
	for (uint32_t e = 0; e < m->o.engines; e++)
		for (uint32_t t = 0; t < m->o.tiers; t++)
			sum += fleet_pairs(m->f, e, t);
	CHECK_INT(sum, ==, s.pairs);
	CHECK_INT(s.invalid, ==, 0);
	CHECK(s.bytes_used <= s.bytes);
	if (!below) {
		CHECK_INT(s.pairs, ==, m->pairs);
		CHECK_INT(s.forgotten, ==, 0);
	}
	CHECK(m->pairs - s.pairs <= s.forgotten);
}

static void run(struct model *m, const struct habits *h)
{
	for (unsigned i = 1; i <= h->steps; i++) {
		uint32_t what = model_any(m, 100);

		if (what < 62)
			step_store(m, h);
		else if (what < 97)
			step_remove(m);
		else if (what < 99 && !h->below)
			step_conflict(m);
		else if (what == 99)
			model_clear(m, model_any(m, m->o.engines));
		if (i % h->looks_every)
			continue;
		look_around(m, h->below);
		model_check(m);
		check_counts(m, h->below);
	}
	for (uint32_t e = 0; e < m->o.engines; e++)
		model_clear(m, e);
	model_check(m);
	check_counts(m, h->below);
}

static void empty_at_last(struct model *m)
{
	struct fleet_stat s;

	fleet_stat(m->f, &s);
	CHECK_INT(s.pairs, ==, 0);
	CHECK_INT(s.blocks, ==, 0);
	CHECK_INT(s.stretches, ==, 0);
}

static void random_run(struct fleet_options o, uint64_t bytes, struct habits h,
		       uint64_t seed)
{
	static struct model m;

	model_open(&m, o, bytes, seed);
	run(&m, &h);
	if (!h.below)
		empty_at_last(&m);
	model_close(&m);
}

TEST(one_group_against_brute_force)
{
	struct fleet_options o = { .engines = 6, .tiers = 3 };
	struct habits h = { .steps = 3000, .looks_every = 10 };

	for (uint64_t seed = 1; seed <= 3; seed++)
		random_run(o, ROOMY, h, seed);
}

TEST(many_engines_share_rows)
{
	/* 640 holders: rows of two kinds, member lines, and moves between */
	struct fleet_options o = { .engines = 300, .tiers = 2, .seed = 9 };
	struct habits h = { .steps = 6000, .looks_every = 100 };
	static struct model m;
	uint32_t chain[MODEL_DEPTH], n = 0, b = 0;

	model_open(&m, o, ROOMY, 21);
	while (n < 150)
		n = model_chain(&m, ++b, chain);
	/* a prefix on all of them, which then goes from here and there */
	for (uint32_t e = 0; e < o.engines; e++)
		model_store(&m, chain, 0, n, e, 0, e % 2);
	model_look(&m, chain, n, 0, false);
	model_check(&m);
	for (uint32_t e = 0; e < o.engines; e += 3)
		model_remove(&m, &chain[e % n], 1, e, 0, e % 2);
	model_look(&m, chain, n, 10, false);
	run(&m, &h);
	empty_at_last(&m);
	model_close(&m);
}

TEST(groups_with_a_full_one)
{
	struct fleet_options o = {
		.engines = 4,
		.tiers = 2,
		.n_groups = 3,
		.groups = { { .rule = MATCH_FULL },
			    { .rule = MATCH_WINDOW, .window = 60 },
			    { .rule = MATCH_STATE } },
	};
	struct habits h = { .steps = 4000, .looks_every = 10 };

	for (uint64_t seed = 1; seed <= 3; seed++)
		random_run(o, ROOMY, h, seed);
}

TEST(groups_without_a_full_one)
{
	struct fleet_options o = {
		.engines = 3,
		.tiers = 3,
		.n_groups = 2,
		.groups = { { .rule = MATCH_WINDOW, .window = 5 },
			    { .rule = MATCH_STATE } },
	};
	struct habits h = { .linked = true, .steps = 3000, .looks_every = 10 };

	for (uint64_t seed = 1; seed <= 3; seed++)
		random_run(o, ROOMY, h, seed);
}

TEST(memory_ends_and_answers_only_shorten)
{
	struct fleet_options o = { .engines = 90, .tiers = 2 };
	struct habits h = { .below = true, .steps = 4000, .looks_every = 20 };
	static struct model m;
	struct fleet_stat s;

	for (uint64_t seed = 1; seed <= 2; seed++) {
		model_open(&m, o, FLEET_BYTES_MIN, seed);
		run(&m, &h);
		fleet_stat(m.f, &s);
		printf("forgotten %llu of %llu, refused %llu\n",
		       (unsigned long long)s.forgotten,
		       (unsigned long long)s.stored,
		       (unsigned long long)s.refused);
		CHECK(s.forgotten > 0);
		model_close(&m);
	}
}

TEST(what_was_not_written_to_for_longest_leaves)
{
	struct fleet_options o = { .engines = 1, .tiers = 1 };
	static struct model m;
	uint64_t name[48], kept = 0;
	struct fleet_event e = {
		.keys = name, .n = 48, .kind = FLEET_STORE, .root = true
	};
	struct fleet_found found;

	model_open(&m, o, FLEET_BYTES_MIN, 1);
	for (uint64_t i = 0; i < 1000; i++) {
		for (unsigned k = 0; k < 48; k++)
			name[k] = fleet_key(i * 48 + k, 1);
		fleet_apply(m.f, &e, 1);
		fleet_look(m.reader, name, 48, &found);
		CHECK_INT(found.n_hits, ==, 1); /* the newest is there */
		CHECK_INT(found.hits[0].blocks[0], ==, 48);
	}
	model_check(&m);
	for (uint64_t i = 0; i < 1000; i++) {
		for (unsigned k = 0; k < 48; k++)
			name[k] = fleet_key(i * 48 + k, 1);
		fleet_look(m.reader, name, 48, &found);
		CHECK(i > 500 || !found.n_hits);
		CHECK(i < 995 || found.n_hits);
		kept += found.n_hits;
	}
	CHECK(kept >= 10); /* what the memory is good for */
	model_close(&m);
}

TEST(a_gap_is_told_later)
{
	struct fleet_options o = { .engines = 2, .tiers = 1 };
	static struct model m;
	uint32_t chain[MODEL_DEPTH], n = 0, b = 0;
	struct fleet_stat s;

	model_open(&m, o, ROOMY, 4);
	while (n < 120)
		n = model_chain(&m, ++b, chain);
	model_store(&m, chain, 100, 120, 0, 0, 0);
	model_store(&m, chain, 60, 90, 0, 0, 0);
	fleet_stat(m.f, &s);
	CHECK_INT(s.waiting, ==, 2);
	model_look(&m, chain, n, 0, false);
	model_store(&m, chain, 90, 100, 0, 0, 0);
	model_look(&m, chain, n, 0, false);
	model_store(&m, chain, 0, 60, 0, 0, 0);
	model_look(&m, chain, n, 0, false);
	CHECK_INT(model_prefix(&m, chain, n, 0, 0), ==, 120);
	model_check(&m);
	model_close(&m);
}

TEST(a_row_of_events_is_applied_in_order)
{
	struct fleet_options o = { .engines = 2,
				   .tiers = 1,
				   .size = sizeof(o) };
	static struct model m;
	uint64_t name[300];
	struct fleet_event e[302] = { { 0 } };
	struct fleet_found found;

	model_open(&m, o, ROOMY, 4);
	for (unsigned i = 0; i < 300; i++) {
		name[i] = fleet_key(i, 5);
		e[i] = (struct fleet_event){
			.keys = &name[i], .n = 1, .engine = 1, .root = !i
		};
		e[i].parent = i ? name[i - 1] : 0;
	}
	e[300] = (struct fleet_event){
		.keys = &name[250], .n = 50, .engine = 1, .kind = FLEET_REMOVE
	};
	e[301] = (struct fleet_event){
		.keys = &name[260], .n = 5, .engine = 1, .parent = name[259]
	};
	fleet_apply(m.f, e, 302);
	model_check(&m);
	fleet_look(m.reader, name, 300, &found);
	/* of a prompt longer than the reader, the beginning */
	CHECK_INT(found.n_hits, ==, 1);
	CHECK_INT(found.hits[0].engine, ==, 1);
	CHECK_INT(found.hits[0].blocks[0], ==, 250);
	model_close(&m);
}

TEST(what_is_invalid_changes_nothing)
{
	struct fleet_options o = { .engines = 2, .tiers = 2 };
	static struct model m;
	uint64_t name = 5;
	const struct fleet_event bad[] = {
		{ .keys = &name, .n = 1, .engine = 2, .root = true },
		{ .keys = &name, .n = 1, .tier = 2, .root = true },
		{ .keys = &name, .n = 1, .group = 1, .root = true },
		{ .keys = &name, .n = 1, .kind = 2, .root = true },
	};
	struct fleet_stat s;

	model_open(&m, o, ROOMY, 4);
	fleet_apply(m.f, bad, ARRAY_LEN(bad));
	fleet_clear(m.f, 2);
	fleet_stat(m.f, &s);
	CHECK_INT(s.invalid, ==, 5);
	CHECK_INT(s.blocks, ==, 0);
	model_close(&m);
}

TEST(options_and_memory_are_judged)
{
	static _Alignas(64) char mem[FLEET_BYTES_MIN + 64];
	struct fleet_options o = { .size = sizeof(o), .engines = 4 }, bad;
	struct fleet *f;

	CHECK_OK(fleet_init(mem, FLEET_BYTES_MIN, &o, &f));
	CHECK_INT(fleet_init(mem, FLEET_BYTES_MIN - 1, &o, &f), ==, -EINVAL);
	CHECK_INT(fleet_init(mem + 8, FLEET_BYTES_MIN, &o, &f), ==, -EINVAL);
	bad = o;
	bad.engines = 0;
	CHECK_INT(fleet_init(mem, FLEET_BYTES_MIN, &bad, &f), ==, -EINVAL);
	bad = o;
	bad.engines = 65536; /* too few bytes to count their pairs */
	CHECK_INT(fleet_init(mem, FLEET_BYTES_MIN, &bad, &f), ==, -EINVAL);
	bad.tiers = 2;
	CHECK_INT(fleet_init(mem, 1 << 30, &bad, &f), ==, -EINVAL);
	bad = o;
	bad.n_groups = 1;
	bad.groups[0].rule = MATCH_WINDOW;
	CHECK_INT(fleet_init(mem, FLEET_BYTES_MIN, &bad, &f), ==, -EINVAL);
}
