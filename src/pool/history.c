/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/history.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"

void history_fini(struct history *h)
{
	for (uint32_t i = 0; i < h->n_segs; i++)
		segment_close(&h->seg[i]);
	free(h->seg);
	free(h->node);
	free(h->bucket);
	*h = (struct history){ 0 };
}

/* ---- children by their first key ------------------------------------------ */

/* Where a child of (parent, namespace) that begins with this key is listed. */
static uint32_t bucket_of(const struct history *h, uint64_t parent, uint32_t ns,
			  const uint64_t key[4])
{
	return (uint32_t)hash_bytes(key, 32,
				    h->seed ^ parent ^ (uint64_t)ns << 20) &
	       (h->buckets - 1);
}

static uint32_t bucket_of_node(const struct history *h, uint32_t id)
{
	const struct session_node *n = history_at(h, id);
	uint64_t key[4];

	shared_load_words(key, n->key[0], 4);
	return bucket_of(h, shared_load64(&n->parent),
			 (uint32_t)shared_load64(&n->ns), key);
}

static void list(struct history *h, uint32_t id)
{
	uint32_t *link = &h->bucket[bucket_of_node(h, id)];

	h->node[id].next = *link;
	*link = id;
}

static void unlist(struct history *h, uint32_t id)
{
	uint32_t *link = &h->bucket[bucket_of_node(h, id)];

	while (*link != id)
		link = &h->node[*link].next;
	*link = h->node[id].next;
}

static bool key_is(const struct session_node *n, uint32_t i,
		   const uint64_t key[4])
{
	for (unsigned w = 0; w < 4; w++)
		if (shared_load64(&n->key[i][w]) != key[w])
			return false;
	return true;
}

static uint32_t child_find(const struct history *h, uint64_t parent,
			   uint32_t ns, const uint64_t key[4])
{
	uint32_t id = h->buckets ? h->bucket[bucket_of(h, parent, ns, key)]
				 : HISTORY_NONE;

	for (; id; id = h->node[id].next) {
		const struct session_node *n = history_at(h, id);

		if (shared_load64(&n->parent) == parent &&
		    shared_load64(&n->ns) == ns && key_is(n, 0, key))
			return id;
	}
	return HISTORY_NONE;
}

/* ---- segments -------------------------------------------------------------- */

static void free_push(struct history *h, uint32_t id)
{
	h->node[id] = (struct history_node){ .next = h->free_head };
	h->free_head = id;
	h->n_free++;
}

static int grow(struct history *h)
{
	uint32_t end = history_end(h), more = end + SESSION_NODES;
	uint32_t want = h->buckets ? h->buckets : SESSION_NODES;
	struct history_node *node;
	struct segment *seg;
	uint32_t *bucket;

	while (want < more)
		want *= 2;
	seg = mem_grow(h->seg, h->n_segs + 1, sizeof(*seg));
	if (!seg)
		return -ENOMEM;
	h->seg = seg;
	node = mem_grow(h->node, more, sizeof(*node));
	if (!node)
		return -ENOMEM;
	h->node = node;
	if (want == h->buckets)
		return 0;
	bucket = mem_array(want, sizeof(*bucket));
	if (!bucket)
		return -ENOMEM;
	free(h->bucket);
	h->bucket = bucket;
	h->buckets = want;
	for (uint32_t id = 1; id < end; id++)
		if (h->node[id].refs)
			list(h, id);
	return 0;
}

int history_add(struct history *h, struct segment *seg)
{
	uint32_t first = history_end(h);
	int r = h->n_segs < SESSION_SEGS_MAX ? grow(h) : -ENOSPC;

	if (r < 0)
		return r;
	h->seg[h->n_segs++] = *seg;
	*seg = SEGMENT_NONE;
	for (uint32_t i = SESSION_NODES; i-- > 0;)
		free_push(h, first + i);
	return 0;
}

bool history_take_last(struct history *h, struct segment *ret_seg)
{
	uint32_t first, *link = &h->free_head;

	if (!h->n_segs)
		return false;
	first = history_end(h) - SESSION_NODES;
	for (uint32_t i = 0; i < SESSION_NODES; i++)
		if (h->node[first + i].refs)
			return false;
	while (*link) {
		if (*link >= first) {
			*link = h->node[*link].next;
			h->n_free--;
		} else {
			link = &h->node[*link].next;
		}
	}
	*ret_seg = h->seg[--h->n_segs];
	return true;
}

/* ---- ways up --------------------------------------------------------------- */

static uint64_t parent_of(const struct history *h, uint32_t node)
{
	return shared_load64(&history_at(h, node)->parent);
}

static uint32_t up_of(const struct history *h, uint32_t node)
{
	return session_head_node(parent_of(h, node));
}

/* What a node has from those above it. Two jumps of one length make one of
 * twice that (and one more): any ancestor is a few steps away. */
static void place(struct history *h, uint32_t id, uint32_t up)
{
	struct history_node *own = &h->node[id];
	const struct history_node *above = &h->node[up], *far;

	own->root = up ? above->root : id;
	own->depth = up ? above->depth + 1 : 0;
	own->jump = up ? up : id;
	if (!up)
		return;
	far = &h->node[above->jump];
	if (above->depth - far->depth == far->depth - h->node[far->jump].depth)
		own->jump = far->jump;
}

/* ---- references ------------------------------------------------------------ */

void history_ref(struct history *h, uint64_t head)
{
	uint32_t node = session_head_node(head);

	if (!node)
		return;
	h->node[node].refs++;
	h->node[h->node[node].root].sessions++;
}

void history_unref(struct history *h, uint64_t head)
{
	uint32_t id = session_head_node(head);

	if (!id)
		return;
	h->node[h->node[id].root].sessions--;
	while (id && --h->node[id].refs == 0) {
		const struct session_node *n = history_at(h, id);
		uint32_t up = session_head_node(shared_load64(&n->parent));

		unlist(h, id);
		h->pay(h->ctx, shared_load64(&n->payer), -1);
		h->n_used--;
		free_push(h, id);
		if (up)
			h->node[up].children--;
		id = up;
	}
}

/* ---- going on -------------------------------------------------------------- */

struct extend {
	struct history *h;
	uint32_t node, count; /* the place so far */
	uint32_t mine;	      /* where the session that goes on stands */
	uint32_t ns;
	uint64_t payer;
};

/* A node after the place, with its first key. Nobody reaches it yet. */
static void child_make(struct extend *e, const uint64_t key[4])
{
	struct history *h = e->h;
	uint32_t id = h->free_head;
	uint64_t parent = session_head(e->node, e->count);
	struct session_node *n = history_at(h, id);

	must(id != HISTORY_NONE);
	h->free_head = h->node[id].next;
	h->n_free--;
	h->n_used++;
	shared_store64(&n->parent, parent);
	shared_store64(&n->base, history_keys(h, parent));
	shared_store64(&n->ns, e->ns);
	shared_store64(&n->payer, e->payer);
	shared_store_words(n->key[0], key, 4);
	h->node[id] = (struct history_node){ .used = 1 };
	place(h, id, e->node);
	list(h, id);
	if (e->node) {
		h->node[e->node].refs++;
		h->node[e->node].children++;
	}
	h->pay(h->ctx, e->payer, 1);
	e->node = id;
	e->count = 1;
}

/* Is the next key there already, or can it be put behind the place? */
static bool step_here(struct extend *e, const uint64_t key[4])
{
	struct history_node *own = &e->h->node[e->node];
	struct session_node *n;

	if (!e->node || e->count == SESSION_NODE_KEYS)
		return false;
	n = history_at(e->h, e->node);
	if (e->count < own->used && key_is(n, e->count, key)) {
		e->count++;
		return true;
	}
	/* what stood behind this place has gone with its last session: the one
	 * reference is the head that goes on */
	if (e->count < own->used && own->refs == 1 && !own->children &&
	    e->node == e->mine)
		own->used = e->count;
	if (e->count < own->used)
		return false;
	/* a successor may have children where a longer session once ended */
	if (own->children &&
	    child_find(e->h, session_head(e->node, e->count), e->ns, key))
		return false;
	shared_store_words(n->key[e->count], key, 4);
	own->used = ++e->count;
	return true;
}

uint32_t history_nodes(const struct history *h, uint64_t head, uint32_t ns,
		       const uint64_t (*keys)[4], uint32_t n)
{
	uint32_t node = session_head_node(head);
	uint32_t count = session_head_count(head), room = 0;

	for (; n; n--, keys++) {
		uint32_t child;

		if (node && count < h->node[node].used &&
		    key_is(history_at(h, node), count, keys[0])) {
			count++;
			continue;
		}
		child = child_find(h, session_head(node, count), ns, keys[0]);
		if (!child)
			break;
		node = child;
		count = 1;
	}
	if (node && count == h->node[node].used)
		room = SESSION_NODE_KEYS - count;
	return n > room ? DIV_UP(n - room, SESSION_NODE_KEYS) : 0;
}

uint64_t history_extend(struct history *h, uint64_t head, uint32_t ns,
			uint64_t payer, const uint64_t (*keys)[4], uint32_t n)
{
	struct extend e = {
		.h = h,
		.node = session_head_node(head),
		.count = session_head_count(head),
		.mine = session_head_node(head),
		.ns = ns,
		.payer = payer,
	};

	for (uint32_t i = 0; i < n; i++) {
		uint32_t child;

		if (step_here(&e, keys[i]))
			continue;
		child = child_find(h, session_head(e.node, e.count), ns,
				   keys[i]);
		if (child) {
			e.node = child;
			e.count = 1;
		} else {
			child_make(&e, keys[i]);
		}
	}
	return session_head(e.node, e.count);
}

/* ---- reading --------------------------------------------------------------- */

static uint64_t base_of(const struct history *h, uint32_t node)
{
	return shared_load64(&history_at(h, node)->base);
}

uint64_t history_cut(const struct history *h, uint64_t head, uint32_t keys)
{
	uint32_t node = session_head_node(head);

	if (!keys)
		return 0;
	while (base_of(h, node) >= keys) {
		uint32_t far = h->node[node].jump;

		node = base_of(h, far) >= keys ? far : up_of(h, node);
	}
	return session_head(node, keys - (uint32_t)base_of(h, node));
}

void history_read(const struct history *h, uint64_t head, uint32_t first,
		  uint32_t n, uint64_t (*ret_keys)[4])
{
	uint32_t end = first + n;

	for (uint64_t at = history_cut(h, head, end); end > first;) {
		const struct session_node *node =
			history_at(h, session_head_node(at));
		uint32_t base = (uint32_t)shared_load64(&node->base);

		for (; end > first && end > base; end--)
			shared_load_words(ret_keys[end - 1 - first],
					  node->key[end - 1 - base], 4);
		at = shared_load64(&node->parent);
	}
}

bool history_same(const struct history *h, uint64_t head, uint32_t first,
		  const uint64_t (*keys)[4], uint32_t n)
{
	uint32_t end = first + n;

	for (uint64_t at = history_cut(h, head, end); end > first;) {
		const struct session_node *node =
			history_at(h, session_head_node(at));
		uint32_t base = (uint32_t)shared_load64(&node->base);

		for (; end > first && end > base; end--)
			if (!key_is(node, end - 1 - base,
				    keys[end - 1 - first]))
				return false;
		at = shared_load64(&node->parent);
	}
	return true;
}

uint32_t history_sharers(const struct history *h, uint64_t head)
{
	uint32_t node = session_head_node(head);

	return node ? h->node[h->node[node].root].sessions : 0;
}

uint32_t history_shared(const struct history *h, uint64_t head)
{
	uint32_t id = session_head_node(head);

	while (id && h->node[id].refs < 2)
		id = up_of(h, id);
	return id ? (uint32_t)base_of(h, id) + 1 : 0;
}

uint32_t history_common(const struct history *h, uint64_t a, uint64_t b,
			uint32_t *steps)
{
	while (session_head_node(a) != session_head_node(b)) {
		uint32_t x = session_head_node(a), y = session_head_node(b);
		/* by nodes, not by keys: a place may stand before the end of
		 * its node, and another's node branch off before that */
		uint64_t *deeper = h->node[x].depth > h->node[y].depth ? &a
								       : &b;

		if (!x || !y || !*steps)
			return 0;
		--*steps;
		*deeper = parent_of(h, session_head_node(*deeper));
	}
	if (!session_head_node(a))
		return 0;
	return MIN(history_keys(h, a), history_keys(h, b));
}

/* ---- after a restart -------------------------------------------------------- */

/* A place as its predecessor wrote it; bases grow along a path, so a walk up
 * ends. */
static bool is_place(const struct history *h, uint64_t head, uint32_t ns)
{
	uint32_t id = session_head_node(head), count = session_head_count(head);
	const struct session_node *n;
	uint64_t parent;

	if (!id || id >= history_end(h) || !count || count > SESSION_NODE_KEYS)
		return false;
	n = history_at(h, id);
	parent = shared_load64(&n->parent);
	if (shared_load64(&n->ns) != ns)
		return false;
	if (!session_head_node(parent))
		return shared_load64(&n->base) == 0 && parent == 0;
	return session_head_node(parent) < history_end(h) &&
	       shared_load64(&n->base) == history_keys(h, parent) &&
	       history_keys(h, parent) > 0 &&
	       shared_load64(&history_at(h, session_head_node(parent))->base) <
		       shared_load64(&n->base);
}

static bool is_path(const struct history *h, uint64_t head, uint32_t ns)
{
	while (head) {
		if (!is_place(h, head, ns))
			return false;
		if (h->node[session_head_node(head)].refs)
			break; /* another's path led here */
		head = parent_of(h, session_head_node(head));
	}
	return true;
}

bool history_recount(struct history *h, uint64_t head, uint32_t ns)
{
	bool child = false;

	if (!is_path(h, head, ns))
		return false;
	for (; head; child = true) {
		uint32_t id = session_head_node(head);
		struct history_node *own = &h->node[id];

		own->used = MAX(own->used, session_head_count(head));
		own->children += child;
		if (own->refs++)
			break;
		head = parent_of(h, id);
	}
	return true;
}

/* From a node up to where that is known, and down again: each node's way is gone
 * once, however long a history is. `next` is nobody's yet. */
static void place_path(struct history *h, uint32_t id)
{
	uint32_t way = HISTORY_NONE;

	for (; id && !h->node[id].root; id = up_of(h, id)) {
		h->node[id].next = way;
		way = id;
	}
	for (; way; way = h->node[way].next)
		place(h, way, up_of(h, way));
}

void history_recount_end(struct history *h)
{
	h->free_head = HISTORY_NONE;
	h->n_free = h->n_used = 0;
	for (uint32_t id = history_end(h); id-- > 1;) {
		if (!h->node[id].refs) {
			free_push(h, id);
			continue;
		}
		h->n_used++;
		h->pay(h->ctx, shared_load64(&history_at(h, id)->payer), 1);
		place_path(h, id);
		/* heads that stand here are not children */
		h->node[h->node[id].root].sessions +=
			h->node[id].refs - h->node[id].children;
	}
	for (uint32_t id = history_end(h); id-- > 1;)
		if (h->node[id].refs)
			list(h, id);
}
