/* SPDX-License-Identifier: Apache-2.0 */
/* What stat and where tell whom. */
#include "base/text.h"
#include "tests/front/told.h"

static json_t *member(json_t *o, const char *list, size_t i)
{
	json_t *found = json_array_get(json_object_get(o, list), i);

	CHECK(found);
	return found;
}

static json_int_t number(json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	CHECK(json_is_integer(v));
	return json_integer_value(v);
}

TEST(the_node_s_own_user_sees_all)
{
	struct told *t = told_create();
	json_t *o = report_stat(&t->report, t->w->p, true);
	json_t *door = member(o, "doors", 0), *kind = member(door, "kinds", 0);

	CHECK_INT(json_array_size(json_object_get(o, "tenants")), ==, 2);
	CHECK_STR(json_string_value(json_object_get(door, "door")), "resp");
	CHECK_INT(json_array_size(json_object_get(door, "tenants")), ==, 3);
	CHECK_INT(number(member(door, "tenants", 0), "hits"), ==, 90);
	CHECK_INT(number(member(door, "tenants", 1), "hits"), ==, 10);
	CHECK_INT(number(member(door, "tenants", 2), "connections"), ==, 3);
	CHECK(json_is_null(
		json_object_get(member(door, "tenants", 2), "tenant")));
	CHECK_INT(number(kind, "count"), ==, 100);
	CHECK(number(kind, "p50_ns") >= 50000 &&
	      number(kind, "p50_ns") < 54000);
	CHECK_INT(number(kind, "p99_ns"), <=, 100000);
	json_decref(o);
	told_destroy(t);
}

/* Nothing of the other tenant, not even in sums. */
TEST(a_tenant_sees_its_own)
{
	struct told *t = told_create();
	json_t *o = report_stat(&t->report, t->w->p, false);
	json_t *door = member(o, "doors", 0);
	char *text = json_dumps(o, 0);

	CHECK_INT(json_array_size(json_object_get(o, "tenants")), ==, 1);
	CHECK_INT(json_array_size(json_object_get(door, "tenants")), ==, 1);
	CHECK_INT(number(member(door, "tenants", 0), "hits"), ==, 90);
	CHECK(!json_object_get(door, "kinds"));
	CHECK(text && !strstr(text, "od\\"));
	free(text);
	json_decref(o);
	told_destroy(t);
}

TEST(shapes)
{
	struct told *t = told_create();
	uint32_t ns = world_ns(t->w, 1, 1, 65536, 9);
	json_t *o;
	struct ring_call call = call_of(RING_GRANT, 50, frame_part(ns, 0, 0));

	call.timeout_ns = WORLD_SEC;
	CHECK_INT(sim_call(&t->w->sim[0], call), ==, SIM_LATER);
	world_ready(t->w);
	o = report_stat(&t->report, t->w->p, true);
	CHECK_INT(json_array_size(json_object_get(o, "shapes")), ==, 2);
	CHECK_INT(number(member(o, "shapes", 0), "frame_bytes"), ==, 4096);
	CHECK_INT(number(member(o, "shapes", 0), "sealed"), ==, 5);
	CHECK_INT(number(member(o, "shapes", 1), "frame_bytes"), ==, 65536);
	CHECK_INT(number(member(o, "shapes", 1), "granted"), ==, 1);
	json_decref(o);
	told_destroy(t);
}

TEST(before_any_tenant)
{
	struct told *t = told_create();
	json_t *o = report_stat(&t->report, NULL, true);

	CHECK(json_object_get(o, "node"));
	CHECK_INT(json_array_size(json_object_get(o, "tenants")), ==, 2);
	CHECK(!json_object_get(o, "counters"));
	json_decref(o);
	told_destroy(t);
}

static json_int_t pins(struct told *t, uint64_t n)
{
	json_t *o;
	uint64_t key[4];
	json_int_t seen;
	char hex[65];
	int r;

	key_of(n, key);
	text_hex((const uint8_t *)key, 32, hex);
	o = report_where(&t->report, t->w->p, hex, t->w->now, &r);
	CHECK(o);
	CHECK_INT(json_array_size(o), ==, 1);
	seen = number(json_array_get(o, 0), "pins");
	json_decref(o);
	return seen;
}

TEST(pins_of_a_block)
{
	struct told *t = told_create();
	struct sim *other = sim_add(t->w, 1);

	CHECK_INT(pins(t, 1), ==, 0);
	CHECK(sim_pin(&t->w->sim[0], 0, 1, PART));
	CHECK(sim_pin(&t->w->sim[0], 9, 1, PART));
	CHECK(sim_pin(other, 5, 1, PART));
	CHECK(sim_pin(other, 6, 2, PART));
	CHECK_INT(pins(t, 1), ==, 3);
	CHECK_INT(pins(t, 2), ==, 1);
	sim_unpin(other, 5);
	CHECK_INT(pins(t, 1), ==, 2);
	/* a client that says that it uses more slots than it has */
	shared_store64(&other->cs->header.pin_high, UINT64_MAX);
	shared_store64(&other->cs->header.overflow_high, UINT64_MAX);
	CHECK_INT(pins(t, 1), ==, 2);
	json_decref(report_stat(&t->report, t->w->p, true));
	told_destroy(t);
}

TEST(doors_come_and_go)
{
	struct told *t = told_create();
	struct door more[DOORS_MAX];

	for (unsigned i = 1; i < DOORS_MAX; i++)
		CHECK_OK(report_door_add(&t->report, &more[i]));
	CHECK_INT(report_door_add(&t->report, &more[0]), ==, -ENOSPC);
	report_door_remove(&t->report, &more[0]);
	CHECK_INT(t->report.n_doors, ==, DOORS_MAX);
	report_door_remove(&t->report, &t->door);
	CHECK_INT(t->report.n_doors, ==, DOORS_MAX - 1);
	CHECK(t->report.door[0] == &more[1]);
	told_destroy(t);
}
