/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door when there is no room: values wait for it in the store, or for
 * others' values that are under way, and not for ever.
 */
#include "tests/front/counter.h"

#define LIMIT	(64ull << 20)
#define FOREVER (1000 * NS_PER_S * 1000)
#define SHORT	100
#define LONG	300000
#define LONGER	3000000

/* An MSET of k0, k1, ... with values of these lengths and seed 2. */
struct ask {
	const char *name;
	unsigned n;
	size_t bytes[3];
};

static const char *key(unsigned i)
{
	static const char *const keys[] = { "k0", "k1", "k2" };

	return keys[i];
}

static void ask_of(const struct ask *s, struct text *t)
{
	text_array(t, 1 + 2 * s->n);
	text_word(t, "MSET");
	for (unsigned i = 0; i < s->n; i++) {
		text_word(t, key(i));
		text_value(t, 2, s->bytes[i]);
	}
}

/* ---- room that does not come */

#define TINY  (16ull << 20)
#define INNER 10000 /* in its record, which nothing else has the shape of */

struct crowd {
	struct counter n;
	int64_t slot[1000];
	unsigned n_slots;
};

static void pin(struct crowd *w, const char *name)
{
	struct name key = { name, (uint32_t)strlen(name) };
	struct resp_tenant *t = counter_tenant(&w->n);
	struct entry e;

	CHECK(entry_find(t, key, &e));
	CHECK_INT(w->n_slots + 2, <, ARRAY_LEN(w->slot));
	w->slot[w->n_slots++] = local_pin(t->client, &e.part);
	CHECK_INT(w->slot[w->n_slots - 1], >=, 0);
	if (!e.is_inline)
		w->slot[w->n_slots++] = local_pin(t->client, &e.bulk);
}

static void let_go(struct crowd *w)
{
	while (w->n_slots)
		local_unpin(counter_tenant(&w->n)->client,
			    w->slot[--w->n_slots]);
}

/* Values of this length, each pinned, until there is no room for another. */
static void fill_with(struct crowd *w, size_t bytes)
{
	enum said said = SAID_REPLY;

	for (unsigned i = 0; said == SAID_REPLY; i++) {
		struct text t = { 0 };
		char name[32];

		snprintf(name, sizeof(name), "full %zu %u", bytes, i);
		text_array(&t, 3);
		text_word(&t, "SET");
		text_word(&t, name);
		text_value(&t, 3, bytes);
		said = counter_ask(&w->n, &t, NULL);
		if (said == SAID_REPLY)
			pin(w, name);
		text_free(&t);
	}
	CHECK_INT(said, ==, SAID_ERROR);
}

static void crowd_open(struct crowd *w, enum loop_backend backend)
{
	*w = (struct crowd){ 0 };
	counter_open(&w->n, backend, TINY, FOREVER);
	fill_with(w, LONGER);
	fill_with(w, LONG);
	fill_with(w, INNER);
	CHECK_INT(w->n_slots, >, 4);
}

static void crowd_close(struct crowd *w)
{
	let_go(w);
	counter_check_quiet(&w->n);
	counter_check_serves(&w->n);
	counter_check_quiet(&w->n);
	counter_close(&w->n);
}

/* Asks for what there is no room for now. */
static struct caller ask_room(struct crowd *w, const struct text *ask)
{
	struct caller c = caller_open(&w->n);

	w->n.idle = 0;
	while (!store_waiting(w->n.store)) {
		CHECK_INT(w->n.idle, <, IDLE_TURNS);
		c.put += caller_put(&c, ask->at + c.put, ask->n - c.put);
		counter_turn(&w->n);
	}
	CHECK(!caller_look(&c));
	return c;
}

static const struct ask waits[] = {
	{ "the value waits", 1, { LONG } },
	{ "the record waits", 1, { INNER } },
	{ "records wait", 3, { INNER, INNER, INNER } },
	{ "values wait", 3, { LONG, INNER, LONG } },
};

/* Nothing makes room: the answer comes at the deadline. */
static void too_late(struct crowd *w, const struct text *ask)
{
	uint64_t from = w->n.now;
	struct caller c = ask_room(w, ask);

	CHECK_INT(caller_wait(&c, ask, IDLE_TURNS), ==, SAID_ERROR);
	CHECK(!strncmp(c.in, "-" RESP_NO_ROOM, strlen("-" RESP_NO_ROOM)));
	CHECK_INT(w->n.now - from, >=, RESP_ROOM_NS);
	caller_close(&c);
	CHECK(COUNTER_UNTIL(&w->n, !w->n.door->n_conns));
}

/* Something does: it comes then. */
static void in_time(struct crowd *w, const struct ask *s,
		    const struct text *ask)
{
	struct caller c = ask_room(w, ask);
	uint64_t from;

	let_go(w);
	from = w->n.now;
	CHECK_INT(caller_wait(&c, ask, IDLE_TURNS), ==, SAID_REPLY);
	CHECK_INT(w->n.now - from, <, RESP_ROOM_NS);
	caller_close(&c);
	for (unsigned i = 0; i < s->n; i++) {
		struct text get = { 0 }, t = { 0 };

		text_words(&get, 2, "GET", key(i));
		CHECK_INT(counter_ask(&w->n, &get, &t), ==, SAID_REPLY);
		CHECK(text_is_value(&t, 2, s->bytes[i]));
		text_free(&get);
		text_free(&t);
	}
}

static void wait_for_room(enum loop_backend backend)
{
	for (unsigned i = 0; i < ARRAY_LEN(waits); i++) {
		struct text ask = { 0 };
		struct crowd w;
		struct caller c;

		fprintf(stderr, "%s\n", waits[i].name);
		ask_of(&waits[i], &ask);
		crowd_open(&w, backend);
		too_late(&w, &ask);
		c = ask_room(&w, &ask);
		caller_reset(&c);
		CHECK(COUNTER_UNTIL(&w.n, !w.n.door->n_conns));
		in_time(&w, &waits[i], &ask);
		crowd_close(&w);
		text_free(&ask);
	}
}

TEST(a_value_waits_for_room_epoll)
{
	wait_for_room(LOOP_EPOLL);
}

TEST(a_value_waits_for_room_uring)
{
	wait_for_room(LOOP_URING);
}

TEST(a_door_that_closes_waits_for_no_room)
{
	for (unsigned i = 0; i < ARRAY_LEN(waits); i++) {
		struct text ask = { 0 };
		struct crowd w;
		struct caller c;
		struct store_client *client;

		ask_of(&waits[i], &ask);
		crowd_open(&w, LOOP_AUTO);
		c = ask_room(&w, &ask);
		client = counter_tenant(&w.n)->client;
		let_go(&w);
		resp_destroy(w.n.door);
		w.n.door = NULL;
		CHECK_INT(store_waiting(w.n.store), ==, 0);
		CHECK_INT(client->granted, ==, 0);
		caller_close(&c);
		counter_close(&w.n);
		text_free(&ask);
	}
}

/* Values under way have half of the memory; others wait for them. */
static void start_value(struct counter *n, struct caller *c,
			const struct text *ask, size_t bytes)
{
	*c = caller_open(n);
	n->idle = 0;
	while (c->put < bytes) {
		CHECK_INT(n->idle, <, IDLE_TURNS);
		c->put += caller_put(c, ask->at + c->put, bytes - c->put);
		counter_turn(n);
	}
}

/* So much more of each, again and again, that nobody is too slow. */
static void drip(struct counter *n, struct caller *c, unsigned callers,
		 const struct text *ask, uint64_t for_ns)
{
	uint64_t until = n->now + for_ns;

	while (n->now < until) {
		n->now += NS_PER_S / 2;
		for (unsigned i = 0; i < callers; i++) {
			uint64_t due = counter_sum(n, DOOR_C_received_bytes);
			size_t put = caller_put(&c[i], ask->at + c[i].put,
						RESP_SLOW);

			c[i].put += put;
			due += put;
			CHECK(COUNTER_UNTIL(
				n,
				counter_sum(n, DOOR_C_received_bytes) >= due));
		}
	}
}

static void finish(struct caller *c, unsigned callers, const struct text *ask)
{
	for (unsigned i = 0; i < callers; i++) {
		CHECK_INT(caller_wait(&c[i], ask, IDLE_TURNS), ==, SAID_REPLY);
		caller_close(&c[i]);
	}
}

/* Two under way, and two behind them. */
static void start_four(struct counter *n, struct caller c[4],
		       const struct text *ask)
{
	for (unsigned i = 0; i < 4; i++)
		start_value(n, &c[i], ask, i < 2 ? LONG : SHORT);
	CHECK(COUNTER_UNTIL(n, n->door->n_queued == 2));
}

static void queue_open(struct counter *n, struct caller c[4], struct text *ask)
{
	const struct ask s = { NULL, 1, { LONGER } };

	*ask = (struct text){ 0 };
	ask_of(&s, ask);
	counter_open(n, LOOP_AUTO, TINY, FOREVER);
	start_four(n, c, ask);
}

static void queue_close(struct counter *n, struct text *ask)
{
	counter_check_quiet(n);
	counter_check_serves(n);
	counter_close(n);
	text_free(ask);
}

TEST(values_wait_for_those_under_way)
{
	struct caller c[4];
	struct counter n;
	struct text ask;

	queue_open(&n, c, &ask);
	finish(c, 4, &ask);
	CHECK_INT(counter_sum(&n, DOOR_C_stalled), ==, 0);
	queue_close(&n, &ask);
}

/* What still comes is read and thrown away. */
TEST(values_wait_no_longer_than_for_room)
{
	struct caller c[4];
	struct counter n;
	struct text ask;

	queue_open(&n, c, &ask);
	drip(&n, c, 2, &ask, RESP_ROOM_NS + NS_PER_S);
	CHECK_INT(n.door->n_queued, ==, 0);
	CHECK_INT(caller_wait(&c[2], &ask, IDLE_TURNS), ==, SAID_ERROR);
	caller_close(&c[2]);
	caller_reset(&c[3]);
	finish(c, 2, &ask);
	CHECK_INT(counter_sum(&n, DOOR_C_stalled), ==, 0);
	queue_close(&n, &ask);
}

/* One that is ended may be enough: the other's last step is a little later, when the
 * kernel was late with its bytes. */
static void check_ended(const struct counter *n)
{
	CHECK_INT(counter_sum(n, DOOR_C_stalled), >=, 1);
	CHECK_INT(counter_sum(n, DOOR_C_stalled), <=, 2);
}

/* A byte now and then is a step, and no pace. */
TEST(who_gives_a_byte_now_and_then_is_ended_before_others)
{
	struct caller c[4];
	struct counter n;
	struct text ask;

	queue_open(&n, c, &ask);
	for (unsigned turn = 0; turn < 6; turn++) {
		n.now += NS_PER_S / 2;
		for (unsigned i = 0; i < 2; i++)
			c[i].put += caller_put(&c[i], ask.at + c[i].put, 1);
		for (unsigned i = 0; i < 8; i++)
			counter_turn(&n);
	}
	finish(&c[2], 2, &ask);
	check_ended(&n);
	caller_close(&c[0]);
	caller_close(&c[1]);
	queue_close(&n, &ask);
}

TEST(who_stands_still_before_others_is_ended)
{
	struct caller c[4];
	struct counter n;
	struct text ask;

	queue_open(&n, c, &ask);
	finish(&c[2], 2, &ask);
	check_ended(&n);
	caller_close(&c[0]);
	caller_close(&c[1]);
	queue_close(&n, &ask);
}

/* ---- time */

TEST(an_older_tick_ends_nobody)
{
	struct text ask = { 0 };
	struct counter n;
	struct caller c;

	text_words(&ask, 1, "PING");
	counter_open(&n, LOOP_AUTO, LIMIT, 10 * NS_PER_S);
	start_value(&n, &c, &ask, 5);
	CHECK(COUNTER_UNTIL(&n, n.door->busy_first));
	resp_tick(n.door, n.now - NS_PER_S);
	resp_tick(n.door, clock_ns() - 100 * NS_PER_S);
	resp_tick(n.door, 0);
	CHECK_INT(n.door->n_conns, ==, 1);
	CHECK_INT(caller_wait(&c, &ask, IDLE_TURNS), ==, SAID_REPLY);
	CHECK_INT(counter_sum(&n, DOOR_C_stalled), ==, 0);
	/* and a later one ends who stands still */
	c.got = c.whole = c.put = 0;
	ask.n = 5;
	CHECK_INT(caller_wait(&c, &ask, IDLE_TURNS), ==, SAID_ENDED);
	CHECK_INT(counter_sum(&n, DOOR_C_stalled), ==, 1);
	caller_close(&c);
	counter_check_quiet(&n);
	counter_close(&n);
	text_free(&ask);
}
