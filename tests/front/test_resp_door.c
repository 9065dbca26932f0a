/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door when something goes wrong: memory, maps and sockets that fail
 * one after the other, peers that vanish. Whatever happens, an exchange has an
 * end, nobody is told a wrong value, and the server is afterwards as it was
 * before.
 */
#include <sys/mman.h>
#include "tests/front/counter.h"

#define LIMIT	 (64ull << 20)
#define FOREVER	 (1000 * NS_PER_S * 1000)
#define SHORT	 100
#define LONG	 300000
#define LONGER	 3000000
#define KEYS_MAX 4
#define MIXED	 SHORT, LONG, LONG, SHORT

static const char *key(unsigned i)
{
	static const char *const keys[KEYS_MAX] = { "k0", "k1", "k2", "k3" };

	return keys[i];
}

/* ---- every fault of an exchange */

enum {
	WRITES = 1, /* values of seed 2 */
	FRESH = 2,  /* each time on a node that nobody has used */
	PARTS = 4,  /* the request comes in two: the door keeps the first */
};

struct step {
	const char *name;
	unsigned n; /* keys, with values of these lengths and seed 1 */
	size_t bytes[KEYS_MAX];
	void (*ask)(const struct step *s, struct text *request);
	void (*want)(const struct step *s, struct text *reply); /* or this: */
	const char *holds;
	unsigned how;
};

static void ask_mset(const struct step *s, unsigned seed, struct text *t)
{
	text_array(t, 1 + 2 * s->n);
	text_word(t, "MSET");
	for (unsigned i = 0; i < s->n; i++) {
		text_word(t, key(i));
		text_value(t, seed, s->bytes[i]);
	}
}

static void mset(const struct step *s, struct text *t)
{
	ask_mset(s, 2, t);
}

static void set(const struct step *s, struct text *t)
{
	text_array(t, 3);
	text_word(t, "SET");
	text_word(t, key(0));
	text_value(t, 2, s->bytes[0]);
}

static void setex(const struct step *s, struct text *t)
{
	text_array(t, 4);
	text_word(t, "SETEX");
	text_word(t, key(0));
	text_word(t, "1000");
	text_value(t, 2, s->bytes[0]);
}

static void get(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 2, "GET", key(0));
}

static void mget(const struct step *s, struct text *t)
{
	text_array(t, 1 + s->n);
	text_word(t, "MGET");
	for (unsigned i = 0; i < s->n; i++)
		text_word(t, key(i));
}

static void expire(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 3, "EXPIRE", key(0), "1000");
}

static void scan(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 2, "SCAN", "0");
}

static void flush(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 1, "FLUSHDB");
}

static void info(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 1, "INFO");
}

static void list(const struct step *s, struct text *t)
{
	(void)s;
	text_words(t, 2, "CLIENT", "LIST");
}

static void ok(const struct step *s, struct text *t)
{
	(void)s;
	text_add(t, "+OK\r\n", 5);
}

static void one(const struct step *s, struct text *t)
{
	(void)s;
	text_add(t, ":1\r\n", 4);
}

static void value(const struct step *s, struct text *t)
{
	text_value(t, 1, s->bytes[0]);
}

static void values(const struct step *s, struct text *t)
{
	text_array(t, s->n);
	for (unsigned i = 0; i < s->n; i++)
		text_value(t, 1, s->bytes[i]);
}

static const struct step steps[] = {
	{ "SET, first", 1, { SHORT }, set, ok, NULL, WRITES | FRESH },
	{ "SET long, first", 1, { LONG }, set, ok, NULL, WRITES | FRESH },
	{ "SET", 1, { SHORT }, set, ok, NULL, WRITES },
	{ "SET long", 1, { LONG }, set, ok, NULL, WRITES },
	{ "SET longer", 1, { LONGER }, set, ok, NULL, WRITES },
	{ "GET", 1, { SHORT }, get, value, NULL, 0 },
	{ "GET long", 1, { LONG }, get, value, NULL, 0 },
	{ "GET longer", 1, { LONGER }, get, value, NULL, 0 },
	{ "GET in parts", 1, { LONGER }, get, value, NULL, PARTS },
	{ "MSET", 4, { MIXED }, mset, ok, NULL, WRITES },
	{ "MSET in parts", 4, { MIXED }, mset, ok, NULL, WRITES | PARTS },
	{ "MGET", 4, { MIXED }, mget, values, NULL, 0 },
	{ "MGET in parts", 4, { MIXED }, mget, values, NULL, PARTS },
	{ "SETEX", 1, { SHORT }, setex, ok, NULL, WRITES },
	{ "SETEX long", 1, { LONG }, setex, ok, NULL, WRITES },
	{ "EXPIRE", 1, { SHORT }, expire, one, NULL, 0 },
	{ "EXPIRE long", 1, { LONG }, expire, one, NULL, 0 },
	{ "SCAN", 1, { SHORT }, scan, NULL, "k0", 0 },
	{ "FLUSHDB", 2, { SHORT, LONG }, flush, ok, NULL, 0 },
	{ "INFO", 1, { SHORT }, info, NULL, "redis_version", 0 },
	{ "CLIENT LIST", 1, { SHORT }, list, NULL, "cmd=", 0 },
};

/* Old, new or gone, and nothing else; new together or not at all. */
static void check_keys(struct counter *n, const struct step *s)
{
	unsigned written = 0;

	for (unsigned i = 0; i < s->n; i++) {
		struct text ask = { 0 }, t = { 0 };

		text_words(&ask, 2, "GET", key(i));
		CHECK_INT(counter_ask(n, &ask, &t), ==, SAID_REPLY);
		if ((s->how & WRITES) && text_is_value(&t, 2, s->bytes[i]))
			written++;
		else if (t.n != 5 || memcmp(t.at, "$-1\r\n", 5) != 0)
			CHECK(text_is_value(&t, 1, s->bytes[i]));
		text_free(&ask);
		text_free(&t);
	}
	CHECK(written == 0 || written == s->n);
}

static void prepare(struct counter *n, const struct step *s)
{
	struct text t = { 0 };

	if (s->how & FRESH)
		return;
	ask_mset(s, 1, &t);
	counter_ask_ok(n, &t, "+OK\r\n");
	text_free(&t);
}

static void check_reply(const struct step *s, const struct caller *c)
{
	struct text want = { 0 };

	if (s->holds) {
		CHECK(memmem(c->in, c->whole, s->holds, strlen(s->holds)));
		return;
	}
	s->want(s, &want);
	CHECK_INT(c->whole, ==, want.n);
	CHECK_MEM(c->in, want.at, want.n);
	text_free(&want);
}

/* So much that it is no command yet, and time for the door to take it. */
static size_t part_of(struct caller *c, const struct text *ask)
{
	size_t put = 0;

	for (unsigned i = 0; i < 5; i++) {
		put += caller_put(c, ask->at + put, 10 - put);
		counter_turn(c->n);
	}
	return put;
}

/* One exchange whose nth point fails. True: there was no such point. */
static bool walk_one(struct counter *n, const struct step *s, uint64_t nth,
		     bool sticky)
{
	struct text ask = { 0 }, ping = { 0 };
	struct caller c;
	enum said said;
	bool fired;

	s->ask(s, &ask);
	if (!sticky)
		fault_arm(FAULT_ALL, nth, false);
	c = caller_open(n);
	if (sticky) {
		/* nobody is accepted once everything fails */
		text_words(&ping, 1, "PING");
		CHECK_INT(caller_ask(&c, &ping), ==, SAID_REPLY);
		fault_arm(FAULT_ALL, nth, true);
	}
	c.got = c.whole = c.put = 0;
	if (s->how & PARTS)
		c.put = part_of(&c, &ask);
	said = caller_wait(&c, &ask, sticky ? 20 : IDLE_TURNS);
	if (sticky && said == SAID_NOTHING) { /* until the failing ends */
		fault_arm(FAULT_ALL, 0, false);
		said = caller_wait(&c, &ask, IDLE_TURNS);
	}
	if (said == SAID_REPLY)
		check_reply(s, &c);
	caller_close(&c);
	COUNTER_UNTIL(n, !n->door->n_conns || n->broken || sticky);
	fired = fault_fired();
	fault_arm(FAULT_ALL, 0, false);
	if (said == SAID_NOTHING && !n->broken)
		FAIL("point %llu: no answer", (unsigned long long)nth);
	text_free(&ask);
	text_free(&ping);
	return !fired;
}

static void again(struct counter *n, enum loop_backend backend)
{
	counter_close(n);
	counter_open(n, backend, LIMIT, FOREVER);
}

static bool walk_checked(struct counter *n, const struct step *s,
			 enum loop_backend backend, uint64_t nth, bool sticky)
{
	bool over;

	prepare(n, s);
	over = walk_one(n, s, nth, sticky);
	if (n->broken) {
		again(n, backend);
		return over;
	}
	counter_check_quiet(n);
	check_keys(n, s);
	counter_check_serves(n);
	counter_check_quiet(n);
	if (s->how & FRESH)
		again(n, backend);
	return over;
}

static void walk(enum loop_backend backend, const struct step *s)
{
	static const unsigned from[] = { 1, 2, 3, 5, 8, 13, 21 };
	struct counter n;
	uint64_t nth = 1;

	fprintf(stderr, "%s\n", s->name);
	counter_open(&n, backend, LIMIT, FOREVER);
	while (!walk_checked(&n, s, backend, nth, false))
		CHECK_INT(++nth, <, 1000);
	CHECK_INT(nth, >, 5);
	fprintf(stderr, "%llu points\n", (unsigned long long)nth - 1);
	for (unsigned i = 0; i < ARRAY_LEN(from); i++)
		walk_checked(&n, s, backend, from[i], true);
	counter_close(&n);
}

TEST(every_fault_of_an_exchange_epoll)
{
	for (unsigned i = 0; i < ARRAY_LEN(steps); i++)
		walk(LOOP_EPOLL, &steps[i]);
}

TEST(every_fault_of_an_exchange_uring)
{
	for (unsigned i = 0; i < ARRAY_LEN(steps); i++)
		walk(LOOP_URING, &steps[i]);
}

/* ---- peers that vanish */

static void half(struct text *t)
{
	t->n -= t->n / 3;
}

static void ask_and_vanish(struct counter *n, const struct text *ask,
			   unsigned turns)
{
	struct caller c = caller_open(n);
	size_t put = caller_put(&c, ask->at, ask->n);

	for (unsigned i = 0; i < turns; i++) {
		counter_turn(n);
		put += caller_put(&c, ask->at + put, ask->n - put);
	}
	caller_reset(&c);
}

static void vanish(enum loop_backend backend)
{
	const struct step s = { .n = 2, .bytes = { LONGER, LONG } };
	struct text ask[3] = { 0 };
	struct counter n;

	counter_open(&n, backend, LIMIT, FOREVER);
	prepare(&n, &s);
	text_words(&ask[0], 2, "GET", key(0));
	set(&s, &ask[1]);
	half(&ask[1]);
	ask_mset(&s, 2, &ask[2]);
	ask[2].n -= LONG / 2;
	for (unsigned i = 0; i < 200; i++)
		ask_and_vanish(&n, &ask[0], i % 4);
	for (unsigned i = 0; i < 60; i++)
		ask_and_vanish(&n, &ask[i % 3], i);
	counter_check_quiet(&n);
	check_keys(&n, &s);
	counter_check_serves(&n);
	counter_check_quiet(&n);
	for (unsigned i = 0; i < ARRAY_LEN(ask); i++)
		text_free(&ask[i]);
	counter_close(&n);
}

TEST(peers_that_vanish_leave_nothing_epoll)
{
	vanish(LOOP_EPOLL);
}

TEST(peers_that_vanish_leave_nothing_uring)
{
	vanish(LOOP_URING);
}

/* ---- memory that fails */

/* The page of a name's record: what touches it gets SIGBUS. */
static void spoil(struct counter *n, const char *name)
{
	struct name which = { name, (uint32_t)strlen(name) };
	int fd = memfd_create("end", MFD_CLOEXEC);
	struct entry e;
	char *at;

	CHECK(fd >= 0 && entry_find(counter_tenant(n), which, &e));
	at = (char *)((uintptr_t)e.part.data & ~(uintptr_t)(PAGE_BYTES - 1));
	CHECK(mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) == at);
	close(fd);
}

static void says(struct caller *c, const char *reply, unsigned words,
		 const char *a, const char *b, const char *d, const char *e)
{
	struct text t = { 0 };

	text_words(&t, words, a, b, d, e);
	CHECK_INT(caller_ask(c, &t), ==, SAID_REPLY);
	if (strncmp(c->in, reply, strlen(reply)) != 0)
		FAIL("%s: %.*s", a, (int)c->whole, c->in);
	text_free(&t);
}

/* A record's memory fails under each command that reads it: it is a miss. */
TEST(a_record_whose_memory_fails_is_a_miss)
{
	static const struct {
		const char *name, *reply;
		unsigned words;
		const char *arg, *more;
	} asks[] = {
		{ "GET", "$-1\r\n", 2, NULL, NULL },
		{ "EXISTS", ":0\r\n", 2, NULL, NULL },
		{ "SET", "+OK\r\n", 4, "two", "nx" },
		{ "EXPIRE", ":0\r\n", 3, "100", NULL },
		{ "DEL", ":0\r\n", 2, NULL, NULL },
		{ "SCAN", "*2\r\n", 2, NULL, NULL },
	};
	struct counter n;
	struct caller c;

	counter_open(&n, LOOP_EPOLL, LIMIT, FOREVER);
	c = caller_open(&n);
	for (unsigned i = 0; i < ARRAY_LEN(asks); i++) {
		bool scan = strcmp(asks[i].name, "SCAN") == 0;
		char name[16];

		snprintf(name, sizeof(name), "spoilt%u", i);
		says(&c, "+OK\r\n", 3, "SET", name, "one", NULL);
		spoil(&n, name);
		says(&c, asks[i].reply, asks[i].words, asks[i].name,
		     scan ? "0" : name, asks[i].arg, asks[i].more);
		CHECK_INT(pool_counter(counter_tenant(&n)->pool,
				       POOL_C_memory_errors),
			  >, i);
	}
	says(&c, "+OK\r\n", 3, "SET", "another", "three", NULL);
	says(&c, "$5\r\nthree\r\n", 2, "GET", "another", NULL, NULL);
	caller_close(&c);
	counter_close(&n);
}

/* A long value of which one page of the frame fails while nobody has it, so that the
 * next one is received into that frame: it is refused, is not stored, and the frame is
 * not used again. The connection goes on. */
static void refused_where_memory_fails(size_t bytes, size_t at)
{
	static const char name[] = "long";
	const struct name which = { name, sizeof(name) - 1 };
	char *value = calloc(1, bytes + 1);
	struct resp_tenant *t;
	struct local_part part;
	struct place place;
	struct counter n;
	struct caller c;
	struct text ask = { 0 };
	int fd = memfd_create("end", MFD_CLOEXEC);

	CHECK(value && fd >= 0);
	memset(value, 'x', bytes);
	counter_open(&n, LOOP_EPOLL, LIMIT, FOREVER);
	c = caller_open(&n);
	says(&c, "+OK\r\n", 3, "SET", name, value, NULL);
	t = counter_tenant(&n);
	place_of(which, &place);
	CHECK(local_find(t->client, place.key,
			 place_part(t, &place, PLACE_BULK), &part));
	CHECK((uintptr_t)part.data % PAGE_BYTES == 0);
	says(&c, ":1\r\n", 2, "DEL", name, NULL, NULL);
	CHECK(mmap(part.data + at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) == part.data + at);
	close(fd);
	text_words(&ask, 3, "SET", name, value);
	CHECK_INT(caller_ask(&c, &ask), ==, SAID_ERROR);
	CHECK_INT(pool_counter(t->pool, POOL_C_memory_errors), ==, 1);
	says(&c, "$-1\r\n", 2, "GET", name, NULL, NULL);
	says(&c, "+OK\r\n", 3, "SET", name, value, NULL);
	says(&c, ":1\r\n", 2, "EXISTS", name, NULL, NULL);
	CHECK_INT(pool_counter(t->pool, POOL_C_memory_errors), ==, 1);
	text_free(&ask);
	free(value);
	caller_close(&c);
	counter_close(&n);
}

TEST(a_value_whose_memory_fails_is_refused)
{
	refused_where_memory_fails(LONGER, 0);
}

/* A later page of it: the kernel cannot write there. */
TEST(a_long_value_is_refused_in_its_middle)
{
	refused_where_memory_fails(3u << 20, 300 * PAGE_BYTES);
}

/* ---- bounds */

static enum said inline_set(struct caller *c, size_t bytes)
{
	struct text t = { 0 };
	enum said said;

	text_add(&t, "SET word ", 9);
	for (size_t i = 0; i < bytes; i++)
		text_add(&t, "x", 1);
	text_add(&t, "\r\n", 2);
	said = caller_ask(c, &t);
	text_free(&t);
	return said;
}

TEST(a_long_word_in_a_line)
{
	struct text get = { 0 };
	struct counter n;
	struct caller c;

	counter_open(&n, LOOP_AUTO, LIMIT, FOREVER);
	c = caller_open(&n);
	text_words(&get, 2, "STRLEN", "word");
	CHECK_INT(inline_set(&c, RESP_INLINE_MAX + 1), ==, SAID_ERROR);
	CHECK_INT(caller_ask(&c, &get), ==, SAID_REPLY);
	CHECK_STR(c.in, ":0\r\n");
	CHECK_INT(inline_set(&c, RESP_INLINE_MAX), ==, SAID_REPLY);
	CHECK_INT(caller_ask(&c, &get), ==, SAID_REPLY);
	CHECK_STR(c.in, ":16384\r\n");
	CHECK_INT(inline_set(&c, RESP_INLINE_MAX + 1), ==, SAID_ERROR);
	CHECK_INT(caller_ask(&c, &get), ==, SAID_REPLY);
	CHECK_STR(c.in, ":16384\r\n");
	caller_close(&c);
	counter_check_quiet(&n);
	counter_close(&n);
	text_free(&get);
}
