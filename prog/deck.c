/* SPDX-License-Identifier: Apache-2.0 */
#include "deck.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"

#define DECK_DISTINCT_MAX (1u << 31)
#define DECK_NOBODY	  UINT32_MAX

int deck_init(struct deck *d)
{
	memset(d, 0, sizeof(*d));
	d->slots = 1u << 16;
	d->slot = calloc(d->slots, sizeof(*d->slot));
	return d->slot ? 0 : -ENOMEM;
}

void deck_fini(struct deck *d)
{
	free(d->request);
	free(d->block);
	free(d->id);
	free(d->slot);
	free(d->session);
	memset(d, 0, sizeof(*d));
}

/* Grows *array to hold `need` elements of `size` bytes. */
static int deck_reserve(void **array, uint64_t *cap, uint64_t need, size_t size)
{
	uint64_t more = round_up_pow2(MAX(need, 1024));
	void *grown;

	if (need <= *cap)
		return 0;
	grown = realloc(*array, more * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*cap = more;
	return 0;
}

static uint32_t *deck_slot(const struct deck *d, uint64_t id)
{
	uint64_t i = hash_bytes(&id, sizeof(id), 0);

	for (;; i++) {
		uint32_t *s = &d->slot[i & (d->slots - 1)];

		if (*s == 0 || d->id[*s - 1] == id)
			return s;
	}
}

static int deck_rehash(struct deck *d)
{
	uint32_t *old = d->slot;

	d->slot = calloc((size_t)d->slots * 2, sizeof(*d->slot));
	if (!d->slot) {
		d->slot = old;
		return -ENOMEM;
	}
	d->slots *= 2;
	for (uint32_t i = 0; i < d->distinct; i++)
		*deck_slot(d, d->id[i]) = i + 1;
	free(old);
	return 0;
}

static int deck_dense(struct deck *d, uint64_t id, uint32_t *ret_dense)
{
	uint32_t *s = deck_slot(d, id);
	uint64_t cap = d->id_cap;
	void *ids = d->id;
	int r;

	if (*s) {
		*ret_dense = *s - 1;
		return 0;
	}
	if (d->distinct == DECK_DISTINCT_MAX / 4)
		return -E2BIG;
	r = deck_reserve(&ids, &cap, d->distinct + 1ull, sizeof(*d->id));
	if (r)
		return r;
	d->id = ids;
	d->id_cap = (uint32_t)cap;
	d->id[d->distinct] = id;
	*ret_dense = d->distinct;
	*s = ++d->distinct;
	return d->distinct * 2ull > d->slots ? deck_rehash(d) : 0;
}

static int deck_room(struct deck *d, uint32_t n)
{
	uint64_t cap = d->request_cap;
	void *sessions = d->session, *requests = d->request, *blocks = d->block;
	int r;

	r = deck_reserve(&sessions, &cap, d->requests + 1, sizeof(uint64_t));
	if (r)
		return r;
	d->session = sessions;
	r = deck_reserve(&requests, &d->request_cap, d->requests + 1,
			 sizeof(*d->request));
	if (r)
		return r;
	d->request = requests;
	r = deck_reserve(&blocks, &d->block_cap, d->blocks + n,
			 sizeof(*d->block));
	d->block = blocks;
	return r;
}

int deck_add(struct deck *d, uint64_t at_ms, uint64_t session,
	     const uint64_t *ids, uint32_t n)
{
	int r = deck_room(d, n);

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = deck_dense(d, ids[i], &d->block[d->blocks + i]);
	if (r)
		return r;
	d->session[d->requests] = session;
	d->request[d->requests++] = (struct deck_request){
		.at_ms = at_ms,
		.first = d->blocks,
		.n = n,
	};
	d->blocks += n;
	return 0;
}

/* Whether a block is the first one of a request. */
static int deck_heads(const struct deck *d, uint8_t **ret_heads)
{
	uint8_t *heads = calloc(d->distinct + 1ull, 1);

	if (!heads)
		return -ENOMEM;
	for (uint64_t i = 0; i < d->requests; i++)
		if (d->request[i].n)
			heads[d->block[d->request[i].first]] = 1;
	*ret_heads = heads;
	return 0;
}

/* The client of the request's deepest block that somebody has. */
static uint32_t deck_by_block(const struct deck *d,
			      const struct deck_request *q,
			      const uint8_t *heads, const uint32_t *client_of)
{
	for (uint32_t i = q->n; i-- > 0;) {
		uint32_t b = d->block[q->first + i];

		if (!heads[b] && client_of[b] != DECK_NOBODY)
			return client_of[b];
	}
	return DECK_NOBODY;
}

/* Sessions get dense numbers from the table that blocks get them from. */
static int deck_by_session(struct deck *d)
{
	struct deck sessions;
	uint32_t dense = 0;
	int r = deck_init(&sessions);

	for (uint64_t i = 0; r == 0 && i < d->requests; i++) {
		uint64_t s = d->session[i];

		if (s == DECK_NO_SESSION) {
			d->request[i].client = DECK_NOBODY;
			continue;
		}
		r = deck_dense(&sessions, s, &dense);
		d->request[i].client = dense % d->clients;
	}
	deck_fini(&sessions);
	return r;
}

int deck_deal(struct deck *d, uint32_t clients)
{
	uint32_t *client_of = malloc((d->distinct + 1ull) * sizeof(*client_of));
	uint8_t *heads = NULL;
	uint32_t turn = 0;
	int r;

	d->clients = clients;
	r = client_of ? deck_heads(d, &heads) : -ENOMEM;
	if (r == 0)
		r = deck_by_session(d);
	if (r)
		goto out;
	memset(client_of, 0xff, (d->distinct + 1ull) * sizeof(*client_of));
	for (uint64_t i = 0; i < d->requests; i++) {
		struct deck_request *q = &d->request[i];

		if (q->client == DECK_NOBODY)
			q->client = deck_by_block(d, q, heads, client_of);
		if (q->client == DECK_NOBODY)
			q->client = turn++ % clients;
		for (uint32_t k = 0; k < q->n; k++)
			client_of[d->block[q->first + k]] = q->client;
	}
out:
	free(client_of);
	free(heads);
	return r;
}
