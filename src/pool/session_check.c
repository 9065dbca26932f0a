/* SPDX-License-Identifier: Apache-2.0 */
/* Recounts a pool's sessions and their history from the records. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "pool/session_internal.h"

struct recount {
	const struct pool *p;
	const struct pool_sessions *s;
	struct history_node *node; /* counted again */
	uint32_t live;
	void (*say)(void *ctx, const char *text);
	void *ctx;
};

static void PRINTF_LIKE(2, 3) say(struct recount *c, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->say(c->ctx, text);
}

/* Walks from a head up, a node's own references once. */
static void recount_head(struct recount *c, uint32_t index, uint64_t head,
			 uint64_t ns)
{
	const struct history *h = &c->s->history;
	bool child = false;

	for (; head; child = true) {
		uint32_t id = session_head_node(head);
		uint32_t count = session_head_count(head);

		if (!id || id >= history_end(h) || !count ||
		    count > SESSION_NODE_KEYS || !h->node[id].refs) {
			say(c, "session %u: its history leads nowhere", index);
			return;
		}
		if (count > h->node[id].used)
			say(c, "session %u: %u keys of node %u, which has %u",
			    index, count, id, h->node[id].used);
		if (shared_load64(&history_at(h, id)->ns) != ns)
			say(c, "session %u: keys of another namespace", index);
		c->node[id].children += child;
		c->node[id].used = MAX(c->node[id].used, count);
		if (c->node[id].refs++)
			return;
		head = shared_load64(&history_at(h, id)->parent);
	}
}

static void check_record(struct recount *c, uint32_t index)
{
	struct session_record *r = pool_session_record(c->s, index);
	char name[LAYOUT_NAME];

	if (pool_session_state(r) == SESSION_FREE)
		return;
	c->live++;
	if (pool_session_state(r) >= SESSION_STATES)
		say(c, "session %u: no such state", index);
	shared_load_bytes(name, sizeof(name), r->name);
	if (name[0] && pool_session_find(c->p, name) != r)
		say(c, "session %u: not found by its name", index);
	recount_head(c, index, shared_load64(&r->head), shared_load64(&r->ns));
}

static void check_node(struct recount *c, uint32_t id)
{
	const struct history *h = &c->s->history;
	const struct history_node *have = &h->node[id], *want = &c->node[id];
	const struct session_node *n = history_at(h, id);
	uint64_t parent;

	if (have->refs != want->refs || have->children != want->children)
		say(c, "node %u: %u references (%u children), counted %u (%u)",
		    id, have->refs, have->children, want->refs, want->children);
	if (!have->refs)
		return;
	parent = shared_load64(&n->parent);
	if (shared_load64(&n->base) != history_keys(h, parent))
		say(c, "node %u: begins elsewhere than its parent ends", id);
	if (have->root !=
	    (parent ? h->node[session_head_node(parent)].root : id))
		say(c, "node %u: of another history than its parent", id);
}

static uint32_t listed(const uint32_t *head, const struct history *h)
{
	uint32_t n = 0;

	for (uint32_t id = *head; id && n <= history_end(h); n++)
		id = h->node[id].next;
	return n;
}

static void check_lists(struct recount *c)
{
	const struct history *h = &c->s->history;
	uint32_t used = 0;

	for (uint32_t i = 0; i < h->buckets; i++)
		used += listed(&h->bucket[i], h);
	if (used != h->n_used || listed(&h->free_head, h) != h->n_free ||
	    h->n_used + h->n_free + 1 != history_end(h))
		say(c, "history: %u nodes in use and %u listed, %u free, of %u",
		    h->n_used, used, h->n_free, history_end(h) - 1);
	if (shared_load64(&c->s->t->header.segments) != h->n_segs)
		say(c, "history: header and server disagree on segments");
}

void pool_session_check(const struct pool *p,
			void (*tell)(void *ctx, const char *text), void *ctx)
{
	struct recount c = { .p = p, .s = p->sessions, .say = tell, .ctx = ctx };

	if (!c.s)
		return;
	c.node = mem_array(history_end(&c.s->history), sizeof(*c.node));
	if (!c.node) {
		say(&c, "no memory to recount the sessions");
		return;
	}
	for (uint32_t i = 0; i < c.s->records; i++)
		check_record(&c, i);
	for (uint32_t id = 1; id < history_end(&c.s->history); id++)
		check_node(&c, id);
	check_lists(&c);
	if (c.live != c.s->live)
		say(&c, "%u sessions, %u counted", c.s->live, c.live);
	free(c.node);
}
