/* SPDX-License-Identifier: Apache-2.0 */
/* Why a block is not there: each answer, and its sentence. */
#include "base/fault.h"
#include "base/rng.h"
#include "base/text.h"
#include "tests/front/told.h"

static void hex_of(uint64_t n, char hex[65])
{
	uint64_t key[4];

	key_of(n, key);
	text_hex((const uint8_t *)key, 32, hex);
}

static json_t *ask_in(struct told *t, struct pool *p, uint64_t n, uint32_t ns)
{
	char words[128], hex[65];
	json_t *o;
	int r;

	hex_of(n, hex);
	if (ns)
		snprintf(words, sizeof(words), "ns=%u %s", ns, hex);
	else
		snprintf(words, sizeof(words), "%s", hex);
	o = report_why(&t->report, p, words, t->w->now, &r);
	CHECK(o);
	CHECK_INT(json_array_size(json_object_get(o, "keys")), ==, 1);
	return o;
}

static json_t *first(json_t *o)
{
	return json_array_get(json_object_get(o, "keys"), 0);
}

static void expect_in(struct told *t, struct pool *p, uint64_t n, uint32_t ns,
		      const char *state, const char *says)
{
	json_t *o = ask_in(t, p, n, ns);
	const char *text =
		json_string_value(json_object_get(first(o), "because"));

	CHECK_STR(json_string_value(json_object_get(first(o), "state")), state);
	CHECK(text);
	if (!strstr(text, says))
		FAIL("\"%s\" does not say \"%s\"", text, says);
	CHECK_INT(json_is_true(json_object_get(first(o), "resident")), ==,
		  strcmp(state, "resident") == 0);
	json_decref(o);
}

static void expect(struct told *t, uint64_t n, const char *state,
		   const char *says)
{
	expect_in(t, t->w->p, n, 0, state, says);
}

TEST(what_is_resident)
{
	struct told *t = told_create();

	t->w->now += 5 * WORLD_SEC;
	expect(t, 1, "resident", "namespace 1: sealed 5 s ago by client");
	expect_in(t, t->w->p, 1, 1, "resident", "(sim, process 100)");
	told_destroy(t);
}

TEST(what_was_never_seen)
{
	struct told *t = told_create();
	struct pool *other = store_pool(t->w->s, 1);

	expect(t, 99, "never_seen", "nobody has asked");
	/* what another tenant has is like what nobody has */
	expect_in(t, other, 1, 0, "never_seen", "nobody has asked");
	/* before anybody came to the tenant */
	expect_in(t, NULL, 1, 0, "never_seen", "never seen");
	told_destroy(t);
}

TEST(what_is_being_written)
{
	struct told *t = told_create();
	struct sim *c = &t->w->sim[0];
	struct ring_answer grant;

	CHECK_OK(sim_grant_wait(c, 50, PART));
	grant = t->w->last;
	t->w->now += 2 * WORLD_SEC;
	expect(t, 50, "being_written",
	       "was lent a frame for it 2 s ago and has not sealed it");
	CHECK_OK(sim_abandon(c, &grant));
	expect(t, 50, "given_back", "gave the frame back");
	told_destroy(t);
}

TEST(a_writer_that_died)
{
	struct told *t = told_create();
	struct sim *c = sim_add(t->w, 1);

	CHECK_OK(sim_grant_wait(c, 50, PART));
	sim_die(c);
	expect(t, 50, "writer_died", "its writer ended first");
	told_destroy(t);
}

TEST(a_block_in_parts)
{
	struct told *t = told_create();
	uint32_t ns = world_ns(t->w, 2, 2, PART_BYTES, 9);
	struct sim *c = &t->w->sim[0];
	json_t *o, *in;

	sim_put(c, 70, frame_part(ns, 0, 0));
	sim_put(c, 70, frame_part(ns, 1, 1));
	expect(t, 70, "incomplete",
	       "missing is group 0 rank 1, group 1 rank 0; nobody is writing");
	CHECK_OK(sim_grant_wait(c, 70, frame_part(ns, 1, 0)));
	expect(t, 70, "incomplete", "has not sealed it yet");
	o = ask_in(t, t->w->p, 70, ns);
	in = json_array_get(json_object_get(first(o), "namespaces"), 0);
	CHECK_INT(json_array_size(json_object_get(in, "resident")), ==, 2);
	CHECK_INT(json_array_size(json_object_get(in, "missing")), ==, 2);
	CHECK_INT(json_array_size(json_object_get(first(o), "writing")), ==, 1);
	json_decref(o);
	told_destroy(t);
}

TEST(another_namespace_has_it)
{
	struct told *t = told_create();
	uint32_t ns = world_ns(t->w, 1, 1, PART_BYTES, 5);
	json_t *o, *in;

	expect_in(t, t->w->p, 1, ns, "other_namespace",
		  "resident in namespace 1, which has other weights");
	o = ask_in(t, t->w->p, 1, ns);
	in = json_array_get(json_object_get(first(o), "namespaces"), 1);
	CHECK_STR(json_string_value(json_object_get(in, "difference")),
		  "other weights");
	json_decref(o);
	/* one that there is not */
	expect_in(t, t->w->p, 1, 200, "other_namespace", "another identity");
	told_destroy(t);
}

TEST(what_was_removed_or_wrong)
{
	struct told *t = told_create();
	struct sim *c = &t->w->sim[0];
	struct pool_slab *s;
	struct ring_call bad = call_of(RING_BAD, 3, PART);
	uint64_t key[4];
	uint32_t frame;

	CHECK_OK(sim_call(c, call_of(RING_REMOVE, 2, PART)));
	expect(t, 2, "removed", "by client");
	key_of(3, key);
	s = pool_find(t->w->p, key, PART, &frame);
	CHECK(s);
	CHECK_INT(pwrite(s->payload.fd, "!", 1,
			 (off_t)(frame * s->frame_bytes)),
		  ==, 1);
	bad.loc = frame_loc(s->id, frame);
	bad.gen = pool_frame_gen(s, frame);
	CHECK_OK(sim_call(c, bad));
	expect(t, 3, "wrong_bytes", "did not match its checksum");
	told_destroy(t);
}

TEST(what_was_evicted)
{
	struct told *t = told_create();
	struct sim *c = &t->w->sim[0];

	store_pool_quota(t->w->p, 2 << 20); /* the slab that there is */
	for (uint64_t n = 1000; n < 1512; n++)
		sim_put(c, n, PART);
	expect(t, 0, "evicted", "because the tenant's quota was reached");
	expect(t, 0, "evicted", "uses of other blocks came after its last one");
	expect(t, 0, "evicted", "in frames of 4 KiB");
	told_destroy(t);
}

TEST(who_waits_for_room)
{
	struct told *t = told_create();
	struct sim *c = &t->w->sim[0];

	store_pool_quota(t->w->p, 2 << 20);
	for (uint64_t n = 1000; n < 1507; n++)
		CHECK_OK(sim_grant_wait(c, n, PART));
	for (uint32_t n = 0; n < 5; n++)
		CHECK(sim_pin(c, n, n, PART));
	CHECK_INT(sim_grant(c, 2000, PART, WORLD_SEC), ==, SIM_LATER);
	expect(t, 2000, "waiting_for_room", "waits for room for it");
	world_tick(t->w, 2 * WORLD_SEC);
	expect(t, 2000, "refused", "because the tenant's quota was reached");
	told_destroy(t);
}

/* Another server has no history of its predecessor, and says so. */
TEST(after_a_restart)
{
	struct told *t = told_create();
	json_t *o;

	CHECK_OK(sim_call(&t->w->sim[0], call_of(RING_REMOVE, 2, PART)));
	o = ask_in(t, t->w->p, 2, 0);
	CHECK(json_is_true(
		json_object_get(json_object_get(o, "history"), "complete")));
	json_decref(o);
	store_pool_serve(t->w->p); /* the second server */
	expect(t, 99, "not_known", "the history reaches back no further");
	o = ask_in(t, t->w->p, 99, 0);
	CHECK(json_is_false(
		json_object_get(json_object_get(o, "history"), "complete")));
	json_decref(o);
	told_destroy(t);
}

TEST(without_a_history)
{
	struct told *t = told_create();

	past_destroy(t->w->s->past[0]);
	t->w->s->past[0] = NULL;
	CHECK_OK(sim_call(&t->w->sim[0], call_of(RING_REMOVE, 2, PART)));
	expect(t, 2, "not_known", "no history is kept");
	expect(t, 1, "resident", "resident");
	told_destroy(t);
}

TEST(many_keys)
{
	struct told *t = told_create();
	char words[66 * 70] = "", hex[65];
	json_t *o;
	int r;

	for (uint64_t n = 0; n < 64; n++) {
		hex_of(n, hex);
		strncat(words, n & 1 ? "," : " ", 2);
		strncat(words, hex, 65);
	}
	o = report_why(&t->report, t->w->p, words, t->w->now, &r);
	CHECK(o);
	CHECK_INT(json_array_size(json_object_get(o, "keys")), ==, 64);
	CHECK(json_is_false(json_object_get(o, "cut")));
	json_decref(o);
	strncat(words, " ", 2);
	strncat(words, hex, 65);
	CHECK(!report_why(&t->report, t->w->p, words, t->w->now, &r));
	CHECK_INT(r, ==, -E2BIG);
	told_destroy(t);
}

TEST(odd_words)
{
	static const char *const words[] = {
		"",    "  , ", "ns=1", "ns=0 ", "ns=257",
		"ns=", "abc",  "ns=x", "0123",	"ns=99999999999999999999999",
	};
	struct told *t = told_create();
	struct rng rng = { 11 };
	char text[256];
	int r;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		CHECK(!report_why(&t->report, t->w->p, words[i], 0, &r));
		CHECK_INT(r, ==, -EINVAL);
	}
	for (unsigned i = 0; i < 3000; i++) {
		size_t n = rng_below(&rng, sizeof(text));
		json_t *o;

		for (size_t k = 0; k < n; k++)
			text[k] = "0123456789abcdef ,=nsZ\xff"[rng_below(&rng,
									 23)];
		text[n] = '\0';
		o = report_why(&t->report, t->w->p, text, 0, &r);
		if (!o)
			CHECK(r == -EINVAL || r == -E2BIG);
		json_decref(o);
	}
	told_destroy(t);
}

TEST(refused_memory)
{
	struct told *t = told_create();
	char hex[65];
	int r = 0;

	hex_of(1, hex);
	fault_arm(FAULT_ALLOC, 1, false);
	CHECK(!report_why(&t->report, t->w->p, hex, t->w->now, &r));
	CHECK_INT(r, ==, -ENOMEM);
	fault_arm(0, 0, false);
	told_destroy(t);
}
