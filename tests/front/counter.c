/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/front/counter.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* How far the node's time goes in a turn; and when there has been no event for
 * long enough that the kernel has none on its way. */
#define TURN_NS	  (100 * NS_PER_US)
#define IDLE_NS	  (100 * NS_PER_MS)
#define IDLE_LONG 20
#define WAIT_NS	  (200 * NS_PER_US) /* of the clock's */

static void on_answer(void *ctx, struct store_client *c,
		      const struct ring_call *call,
		      const struct ring_answer *answer)
{
	struct counter *n = ctx;

	CHECK(c->local);
	resp_answer(n->door, c, call, answer);
}

static void listen_somewhere(struct counter *n)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(at);

	n->listen_fd =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_INT(n->listen_fd, >=, 0);
	CHECK_OK(bind(n->listen_fd, (void *)&at, sizeof(at)));
	CHECK_OK(listen(n->listen_fd, 512));
	CHECK_OK(getsockname(n->listen_fd, (void *)&at, &len));
	n->port = ntohs(at.sin_port);
}

void counter_open(struct counter *n, enum loop_backend backend,
		  uint64_t limit_bytes, uint64_t stall_ns)
{
	struct store_options store = {
		.limit_bytes = limit_bytes,
		.slab_bytes = 2 << 20,
		.grants_per_client = 1000,
		.slab_percent = 100,
		.hold = &n->hold,
		.answer = on_answer,
		.ctx = n,
	};
	struct resp_options resp = {
		.max_connections = 1000,
		.stall_ns = stall_ns,
		.version = "1.2.3",
	};
	int r;

	memset(n, 0, sizeof(*n));
	n->hold = fake_hold_ops(&n->k);
	n->now = clock_ns();
	r = loop_create(backend, &n->loop);
	if (r == -ENOSYS)
		SKIP("this kernel has no such backend");
	CHECK_OK(r);
	CHECK_OK(store_create(&store, &n->store));
	store_tick(n->store, n->now);
	listen_somewhere(n);
	resp.loop = n->loop;
	resp.store = n->store;
	resp.listen_fd = n->listen_fd;
	resp.port = n->port;
	CHECK_OK(resp_create(&resp, &n->door));
}

void counter_close(struct counter *n)
{
	resp_destroy(n->door);
	loop_destroy(n->loop);
	close(n->listen_fd);
	store_destroy(n->store);
	fake_hold_fini(&n->k);
}

void counter_turn(struct counter *n)
{
	int r = loop_run(n->loop, n->idle ? WAIT_NS : 0);

	n->broken |= r < 0;
	if (r < 0)
		CHECK(fault_fired());
	n->idle = r > 0 ? 0 : n->idle + 1;
	n->now += n->idle < IDLE_LONG ? TURN_NS : IDLE_NS;
	store_ready(n->store, n->now);
	store_settle(n->store, n->now);
	store_tick(n->store, n->now);
	resp_tick(n->door, n->now);
}

uint64_t counter_sum(const struct counter *n, enum door_counter which)
{
	const struct door *d = resp_counts(n->door);
	uint64_t sum = 0;

	for (uint32_t i = 0; i <= DOOR_NO_TENANT; i++)
		sum += d->count[i][which];
	return sum;
}

struct resp_tenant *counter_tenant(struct counter *n)
{
	struct pool *p;

	if (store_pool_by_tenant(n->store, "default", &p) < 0 ||
	    !n->door->tenant[p->number].client)
		return NULL;
	return &n->door->tenant[p->number];
}

static void on_problem(void *ctx, const char *text)
{
	(void)ctx;
	FAIL("%s", text);
}

static void check_tenant(struct counter *n, const struct resp_tenant *t)
{
	struct pool_checked seen;
	uint64_t high =
		shared_load64(&t->client->segment->header.overflow_high);

	CHECK_INT(t->client->granted, ==, 0);
	CHECK_INT(pool_counter(t->pool, POOL_C_granted), ==, 0);
	for (uint64_t i = 0; i < high; i++)
		CHECK_INT(shared_load64(&t->client->segment->slots[i]), ==, 0);
	store_check(n->store, t->pool, on_problem, NULL, &seen);
	CHECK_INT(seen.granted, ==, 0);
}

void counter_check_quiet(struct counter *n)
{
	const struct resp_door *d = n->door;
	const struct resp_tenant *t;

	CHECK(COUNTER_UNTIL(n, !d->n_conns));
	counter_turn(n); /* the last are freed */
	CHECK_INT(counter_sum(n, DOOR_C_connections_now), ==, 0);
	CHECK(!d->busy_first && !d->busy_last && !d->dead);
	CHECK_INT(d->n_queued + d->n_walking, ==, 0);
	CHECK_INT(d->input_bytes, ==, 0);
	CHECK_INT(d->out_bytes, ==, 0);
	CHECK_INT(d->fill_bytes, ==, 0);
	CHECK_INT(store_waiting(n->store), ==, 0);
	t = counter_tenant(n);
	if (t)
		check_tenant(n, t);
}

/* ---- requests */

void text_add(struct text *t, const void *bytes, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = MAX(2 * t->cap, t->n + n + 256);
		t->at = realloc(t->at, t->cap);
		CHECK(t->at);
	}
	memcpy(t->at + t->n, bytes, n);
	t->n += n;
}

static void head(struct text *t, char kind, size_t n)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%c%zu\r\n", kind, n);

	text_add(t, line, (size_t)len);
}

void text_array(struct text *t, unsigned n)
{
	head(t, '*', n);
}

void text_word(struct text *t, const char *word)
{
	head(t, '$', strlen(word));
	text_add(t, word, strlen(word));
	text_add(t, "\r\n", 2);
}

void text_words(struct text *t, unsigned n, ...)
{
	va_list args;

	va_start(args, n);
	text_array(t, n);
	for (unsigned i = 0; i < n; i++)
		text_word(t, va_arg(args, const char *));
	va_end(args);
}

void text_value(struct text *t, unsigned seed, size_t n)
{
	static char bytes[65536 + 251];
	size_t left = n;

	head(t, '$', n);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251 * seed + (i >> 8));
	/* pieces differ: one in another's place is seen */
	for (size_t k = 0; left; k++) {
		size_t piece = MIN(left, (size_t)65536);

		text_add(t, bytes + k % 251, piece);
		left -= piece;
	}
	text_add(t, "\r\n", 2);
}

bool text_is_value(const struct text *t, unsigned seed, size_t bytes)
{
	struct text want = { 0 };
	bool same;

	text_value(&want, seed, bytes);
	same = t->n == want.n && !memcmp(t->at, want.at, t->n);
	text_free(&want);
	return same;
}

void text_free(struct text *t)
{
	free(t->at);
	*t = (struct text){ 0 };
}

/* ---- callers */

struct caller caller_open(struct counter *n)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(n->port),
	};
	struct caller c = { .n = n };

	c.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_INT(c.fd, >=, 0);
	if (connect(c.fd, (void *)&at, sizeof(at)) < 0)
		CHECK_INT(errno, ==, EINPROGRESS);
	return c;
}

void caller_close(struct caller *c)
{
	close(c->fd);
	free(c->in);
	c->in = NULL;
}

void caller_reset(struct caller *c)
{
	struct linger now = { .l_onoff = 1 };

	CHECK_OK(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	caller_close(c);
}

size_t caller_put(struct caller *c, const char *bytes, size_t n)
{
	ssize_t r = n ? send(c->fd, bytes, n, MSG_NOSIGNAL) : 0;

	return r > 0 ? (size_t)r : 0;
}

/* The bytes of the reply at `at`; 0: it is not whole. */
static size_t reply_bytes(const char *at, size_t n)
{
	const char *end = n ? memchr(at, '\n', n) : NULL;
	size_t len;
	long count;

	if (!end)
		return 0;
	len = (size_t)(end - at) + 1;
	count = strtol(at + 1, NULL, 10);
	if (*at == '$') {
		len += count < 0 ? 0 : (size_t)count + 2;
		return len <= n ? len : 0;
	}
	if (*at != '*') {
		CHECK(strchr("+-:", *at));
		return len;
	}
	for (long i = 0; i < count; i++) {
		size_t one = reply_bytes(at + len, n - len);

		if (!one)
			return 0;
		len += one;
	}
	return len;
}

bool caller_look(struct caller *c)
{
	ssize_t r;

	do {
		if (c->cap - c->got < 65536) {
			c->cap = MAX(2 * c->cap, (size_t)131072);
			c->in = realloc(c->in, c->cap);
			CHECK(c->in);
		}
		r = recv(c->fd, c->in + c->got, c->cap - c->got - 1, 0);
		c->got += r > 0 ? (size_t)r : 0;
		c->in[c->got] = '\0';
	} while (r > 0);
	c->ended = r == 0 || (errno != EAGAIN && errno != ENOTCONN);
	c->whole = reply_bytes(c->in, c->got);
	return c->whole || c->ended;
}

enum said caller_wait(struct caller *c, const struct text *request,
		      unsigned idle_turns)
{
	c->n->idle = 0;
	while (!caller_look(c) && c->n->idle < idle_turns && !c->n->broken) {
		c->put += caller_put(c, request->at + c->put,
				     request->n - c->put);
		counter_turn(c->n);
	}
	if (c->whole)
		return c->in[0] == '-' ? SAID_ERROR : SAID_REPLY;
	return c->ended ? SAID_ENDED : SAID_NOTHING;
}

enum said caller_ask(struct caller *c, const struct text *request)
{
	c->got = c->whole = c->put = 0;
	return caller_wait(c, request, IDLE_TURNS);
}

enum said counter_ask(struct counter *n, const struct text *request,
		      struct text *reply)
{
	struct caller c = caller_open(n);
	enum said said = caller_ask(&c, request);

	if (reply) {
		reply->n = 0;
		text_add(reply, c.in, c.whole);
	}
	caller_close(&c);
	return said;
}

void counter_ask_ok(struct counter *n, const struct text *request,
		    const char *reply)
{
	struct text t = { 0 };

	CHECK_INT(counter_ask(n, request, &t), !=, SAID_NOTHING);
	CHECK_INT(t.n, ==, strlen(reply));
	CHECK_MEM(t.at, reply, t.n);
	text_free(&t);
}

void counter_check_serves(struct counter *n)
{
	struct text t = { 0 };

	text_words(&t, 3, "SET", "probe", "what");
	counter_ask_ok(n, &t, "+OK\r\n");
	t.n = 0;
	text_words(&t, 2, "GET", "probe");
	counter_ask_ok(n, &t, "$4\r\nwhat\r\n");
	text_free(&t);
}
