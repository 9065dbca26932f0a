/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of keys against lists of keys, step by step. */
#include "pool/history.h"
#include "base/rng.h"
#include "tests/test.h"

#define LISTS 40u
#define KEYS  400u

struct list { /* what a head must have */
	bool used;
	uint64_t head;
	uint32_t ns, n;
	uint32_t key[KEYS];
};

static struct list lists[LISTS];
static struct history h;
static int64_t paid[4];

static void pay(void *ctx, uint64_t payer, int n)
{
	(void)ctx;
	paid[payer] += n;
}

static void key_of(uint32_t n, uint64_t key[4])
{
	key[0] = key[1] = n;
	key[2] = ~(uint64_t)n;
	key[3] = 1;
}

static void start(void)
{
	struct segment seg;

	h.pay = pay;
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(segment_create("history", SESSION_SEG_BYTES, 0, &seg));
		CHECK_OK(history_add(&h, &seg));
	}
}

static void check_list(const struct list *l)
{
	uint64_t keys[KEYS][4], want[4];

	CHECK_INT(history_keys(&h, l->head), ==, l->n);
	history_read(&h, l->head, 0, l->n, keys);
	for (uint32_t i = 0; i < l->n; i++) {
		key_of(l->key[i], want);
		CHECK_MEM(keys[i], want, sizeof(want));
	}
	CHECK(history_same(&h, l->head, 0, (const uint64_t(*)[4])keys, l->n));
	if (l->n > 1) {
		uint32_t cut = l->n / 2;

		CHECK_INT(history_keys(&h, history_cut(&h, l->head, cut)), ==,
			  cut);
		keys[cut][0]++;
		CHECK(!history_same(&h, l->head, 0, (const uint64_t(*)[4])keys,
				    l->n));
	}
}

static uint32_t common(const struct list *a, const struct list *b)
{
	uint32_t n = 0;

	while (a->ns == b->ns && n < a->n && n < b->n && a->key[n] == b->key[n])
		n++;
	return n;
}

static void check_all(void)
{
	uint32_t steps = UINT32_MAX, nodes = 0;

	for (unsigned i = 0; i < LISTS; i++) {
		if (!lists[i].used)
			continue;
		check_list(&lists[i]);
		if (!lists[0].used)
			continue;
		/* what the tree has in common is so in truth */
		CHECK_INT(history_common(&h, lists[i].head, lists[0].head,
					 &steps),
			  <=, common(&lists[i], &lists[0]));
	}
	for (unsigned i = 0; i < LISTS; i++) {
		uint32_t most = 0, least;

		if (!lists[i].used)
			continue;
		for (unsigned j = 0; j < LISTS; j++)
			if (j != i && lists[j].used)
				most = MAX(most,
					   history_common(&h, lists[i].head,
							  lists[j].head,
							  &steps));
		least = history_shared(&h, lists[i].head);
		CHECK_INT(least, <=, most);
		CHECK_INT(most, <, least + SESSION_NODE_KEYS);
		CHECK_INT(least == 0, ==, most == 0);
	}
	for (uint32_t id = 1; id < history_end(&h); id++)
		nodes += h.node[id].refs != 0;
	CHECK_INT(nodes, ==, h.n_used);
	CHECK_INT(paid[1] + paid[2] + paid[3], ==, nodes);
}

/* Few different keys, so that lists meet again. */
static void extend(struct list *l, struct rng *r)
{
	uint64_t keys[100][4], next;
	uint32_t n = 1 + (uint32_t)rng_below(r, rng_below(r, 3) ? 5 : 100);
	uint32_t nodes, free_before = h.n_free;

	n = MIN(n, KEYS - l->n);
	for (uint32_t i = 0; i < n; i++) {
		l->key[l->n + i] = (uint32_t)rng_below(r, 20) ? l->n + i : 9999;
		key_of(l->key[l->n + i], keys[i]);
	}
	nodes = history_nodes(&h, l->head, l->ns, (const uint64_t(*)[4])keys,
			      n);
	next = history_extend(&h, l->head, l->ns, 1 + l->ns,
			      (const uint64_t(*)[4])keys, n);
	CHECK_INT(free_before - h.n_free, <=, nodes);
	history_ref(&h, next);
	history_unref(&h, l->head);
	l->head = next;
	l->n += n;
}

static void step(struct rng *r)
{
	struct list *l = &lists[rng_below(r, LISTS)];
	const struct list *from = &lists[rng_below(r, LISTS)];

	if (!l->used) {
		*l = (struct list){ .ns = (uint32_t)rng_below(r, 2) };
		if (from->used && rng_below(r, 3))
			*l = *from;
		if (from->used && rng_below(r, 2)) {
			l->n = from->n / 3;
			l->ns = from->ns;
			memcpy(l->key, from->key, sizeof(l->key));
			l->head = history_cut(&h, from->head, l->n);
		}
		l->used = true;
		history_ref(&h, l->head);
	} else if (rng_below(r, 5) == 0) {
		history_unref(&h, l->head);
		l->used = false;
	} else {
		extend(l, r);
	}
}

/* What a new server counts, in memory that the old one wrote. */
static void take_over(void)
{
	struct history next = { .pay = pay };
	uint32_t used = h.n_used;

	memset(paid, 0, sizeof(paid));
	for (uint32_t i = 0; i < h.n_segs; i++) {
		CHECK_OK(history_add(&next, &h.seg[i]));
		h.seg[i] = SEGMENT_NONE;
	}
	for (unsigned i = 0; i < LISTS; i++)
		if (lists[i].used)
			CHECK(history_recount(&next, lists[i].head,
					      lists[i].ns));
	history_recount_end(&next);
	CHECK_INT(next.n_used, ==, used);
	for (uint32_t id = 1; id < history_end(&next); id++) {
		CHECK_INT(next.node[id].refs, ==, h.node[id].refs);
		CHECK_INT(next.node[id].children, ==, h.node[id].children);
		CHECK_INT(next.node[id].sessions, ==, h.node[id].sessions);
		CHECK_INT(next.node[id].used, <=, h.node[id].used);
		if (!h.node[id].refs)
			continue;
		CHECK_INT(next.node[id].root, ==, h.node[id].root);
		CHECK_INT(next.node[id].depth, ==, h.node[id].depth);
		CHECK_INT(next.node[id].jump, ==, h.node[id].jump);
	}
	history_fini(&h);
	h = next;
}

TEST(agrees_with_lists)
{
	struct rng r = { 0 };

	r.state = 7;
	start();
	for (unsigned i = 0; i < 20000; i++) {
		step(&r);
		if (i % 97 == 0)
			check_all();
		if (i % 1999 == 0)
			take_over();
	}
	for (unsigned i = 0; i < LISTS; i++)
		if (lists[i].used)
			history_unref(&h, lists[i].head);
	CHECK_INT(h.n_used, ==, 0);
	CHECK_INT(h.n_free, ==, 3 * SESSION_NODES);
	history_fini(&h);
}

/* Steps from a node up to the first. */
static unsigned steps_up(const struct history *tree, uint32_t id)
{
	unsigned n = 0;

	for (; tree->node[id].depth; n++)
		id = tree->node[id].jump;
	return n;
}

/* One conversation of three million keys, which a tenant may have: the server's
 * one thread takes it over and cuts it without a walk for each node or key. */
#define LONG_SEGS 96u

TEST(long_histories_are_not_walked)
{
	struct history next = { .pay = pay };
	uint64_t keys[1024][4], head = 0, was;
	struct segment seg;

	h.pay = pay;
	for (unsigned i = 0; i < LONG_SEGS; i++) {
		CHECK_OK(segment_create("history", SESSION_SEG_BYTES, 0, &seg));
		CHECK_OK(history_add(&h, &seg));
	}
	while (h.n_free >= 1024) {
		for (uint32_t i = 0; i < 1024; i++)
			key_of(history_keys(&h, head) + i, keys[i]);
		was = head;
		head = history_extend(&h, was, 1, 1, (const uint64_t(*)[4])keys,
				      1024);
		history_ref(&h, head);
		history_unref(&h, was);
	}
	CHECK_INT(steps_up(&h, session_head_node(head)), <=, 64);
	CHECK_INT(history_cut(&h, head, 1), ==,
		  session_head(h.node[session_head_node(head)].root, 1));
	/* a walk of each node to the first would be a thousand million steps */
	for (unsigned i = 0; i < LONG_SEGS; i++) {
		CHECK_OK(history_add(&next, &h.seg[i]));
		h.seg[i] = SEGMENT_NONE;
	}
	CHECK(history_recount(&next, head, 1));
	history_recount_end(&next);
	CHECK_INT(steps_up(&next, session_head_node(head)), <=, 64);
	CHECK_INT(next.n_used, ==, h.n_used);
	history_fini(&next);
	history_fini(&h);
}

/* What is no place is refused, not followed. */
TEST(damaged_places)
{
	const uint64_t key[1][4] = { { 1, 2, 3, 4 } };
	struct session_node *n;
	uint64_t head;

	start();
	head = history_extend(&h, 0, 1, 1, key, 1);
	CHECK(!history_recount(&h, session_head(1, 63), 1));
	CHECK(!history_recount(&h, session_head(1, 0), 1));
	CHECK(!history_recount(&h, session_head(5000, 1), 1));
	CHECK(!history_recount(&h, session_head(0, 1), 1));
	CHECK(!history_recount(&h, head, 2)); /* another namespace's */
	n = history_at(&h, session_head_node(head));
	/* a circle */
	shared_store64(&n->parent, session_head(session_head_node(head), 1));
	CHECK(!history_recount(&h, head, 1));
	shared_store64(&n->parent, session_head(5000, 1));
	CHECK(!history_recount(&h, head, 1));
	shared_store64(&n->parent, 0);
	shared_store64(&n->base, 7);
	CHECK(!history_recount(&h, head, 1));
	shared_store64(&n->base, 0);
	CHECK(history_recount(&h, head, 1));
	history_fini(&h);
}
