/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "load_part.h"
#include "payload.h"

#define WRITER_WAIT_NS (20 * NS_PER_MS)
/* A reader that does not come to look is not waited for longer than this. */
#define WRITER_PATIENCE_NS (60 * NS_PER_S)

struct writer {
	const struct load_options *options;
	struct load_shared *shared;
	struct load_part *part;
	struct load_result *result;
	oc_client *client;
	oc_ns *ns;
	uint32_t self;
	uint64_t start_ns;
	uint8_t *block; /* payload is made here */
	uint32_t cap;	/* entries of the arrays */
	struct oc_key *key;
	struct oc_pin *pin;
	struct load_tiers_state *tiers; /* NULL: the node's drive is not asked */
};

/* A part of the blocks to write, tail first. */
struct window {
	uint32_t n;
	struct oc_key key[LOAD_WINDOW];
	struct oc_grant grant[LOAD_WINDOW];
	uint64_t checksum[LOAD_WINDOW];
	int result[LOAD_WINDOW];
};

static int writer_reserve(struct writer *w, uint32_t n)
{
	if (n <= w->cap)
		return 0;
	free(w->key);
	free(w->pin);
	w->cap = n;
	w->key = calloc(n, sizeof(*w->key));
	w->pin = calloc(n, sizeof(*w->pin));
	return w->key && w->pin ? 0 : -ENOMEM;
}

static int writer_keys(struct writer *w, const struct deck_request *q)
{
	const struct deck *d = w->options->deck;
	int r = writer_reserve(w, q->n);

	for (uint32_t i = 0; r == 0 && i < q->n; i++)
		r = payload_key(w->options->label, w->options->seed,
				d->id[d->block[q->first + i]], &w->key[i]);
	return r;
}

/* With --speed: until the request's time has come. */
static void writer_pace(struct writer *w, const struct deck_request *q)
{
	const struct deck *d = w->options->deck;
	uint64_t begin_ms = d->request[w->options->first].at_ms;
	double after = w->options->speed > 0 ? (double)(q->at_ms - begin_ms) /
						       w->options->speed
					     : 0;
	uint64_t at = w->start_ns + (uint64_t)(after * (double)NS_PER_MS);
	uint64_t now;

	while ((now = clock_ns()) < at && !load_stops(w->shared)) {
		uint64_t ns = MIN(at - now, 100 * NS_PER_MS);
		struct timespec ts = { .tv_nsec = (long)ns };

		nanosleep(&ts, NULL);
	}
}

static void writer_hold(struct writer *w)
{
	if (!atomic_load_explicit(&w->shared->hold, memory_order_acquire))
		return;
	atomic_store_explicit(&w->part->holds, 1, memory_order_release);
	while (atomic_load_explicit(&w->shared->hold, memory_order_acquire) &&
	       !load_stops(w->shared))
		load_wait(&w->shared->hold, 1, WRITER_WAIT_NS);
	atomic_store_explicit(&w->part->holds, 0, memory_order_release);
}

/* Once for all writers. */
static void writer_come_to_hold(struct writer *w, uint64_t number)
{
	if (!w->options->hold_at || number < w->options->hold_at ||
	    atomic_load_explicit(&w->shared->came, memory_order_acquire) ||
	    atomic_exchange_explicit(&w->shared->came, 1, memory_order_acq_rel))
		return;
	atomic_store_explicit(&w->shared->hold, 1, memory_order_release);
}

static struct load_ring *writer_ring(struct writer *w, uint32_t reader)
{
	return &w->shared->ring[w->self * w->shared->readers + reader];
}

/* Waits until the reader has come to `head`. False: it never did. */
static bool writer_wait_reader(struct writer *w, uint32_t reader, uint32_t upto)
{
	struct load_ring *ring = writer_ring(w, reader);
	struct load_part *part = &w->shared->reader[reader];
	uint64_t end = clock_ns() + WRITER_PATIENCE_NS;
	uint32_t head;

	for (;;) {
		head = atomic_load_explicit(&ring->head, memory_order_acquire);
		if ((int32_t)(head - upto) >= 0)
			return true;
		if (load_stops(w->shared) || clock_ns() > end ||
		    atomic_load_explicit(&part->ended, memory_order_acquire))
			return false;
		load_wait(&ring->head, head, WRITER_WAIT_NS);
	}
}

static void writer_ring_bell(struct writer *w, uint32_t reader)
{
	struct load_part *part = &w->shared->reader[reader];

	atomic_fetch_add_explicit(&part->bell, 1, memory_order_release);
	load_wake(&part->bell);
}

/* Shows keys to a reader. `all`: wait for room, else leave out what does not
 * fit. Returns the ring's tail afterwards. */
static uint32_t writer_show(struct writer *w, uint32_t reader,
			    const struct oc_key *keys, uint32_t n, bool all)
{
	struct load_ring *ring = writer_ring(w, reader);
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t head =
			atomic_load_explicit(&ring->head, memory_order_acquire);

		if (tail - head == LOAD_RING) {
			if (!all)
				break;
			writer_ring_bell(w, reader);
			if (!writer_wait_reader(w, reader,
						tail - LOAD_RING + 1))
				break;
		}
		ring->key[tail % LOAD_RING] = keys[i];
		atomic_store_explicit(&ring->tail, ++tail,
				      memory_order_release);
	}
	writer_ring_bell(w, reader);
	return tail;
}

static void writer_check_hits(struct writer *w, uint32_t hits)
{
	for (uint32_t i = 0; i < hits; i++)
		load_verified(w->result, w->pin[i].bytes,
			      payload_wrong(&w->key[i], w->pin[i].data,
					    w->pin[i].bytes));
}

static int writer_fail(struct writer *w, const char *what, int r)
{
	const char *why = oc_client_error(w->client);

	fprintf(stderr, "onecopy: writer %u: %s: %s\n", w->self, what,
		why && *why ? why : oc_strerror(r));
	return r < 0 ? r : -EIO;
}

/* What the grants said; makes and fills what was granted. The granted ones
 * move to the front: n of them. */
static int writer_fill(struct writer *w, struct window *v, uint32_t *ret_n)
{
	uint64_t bytes = w->options->block_bytes;
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->n; i++) {
		int r = v->result[i];

		if (r == OC_EXISTS) {
			w->result->exists++;
		} else if (r == -ENOBUFS || r == -EDQUOT) {
			w->result->refused++;
		} else if (r != 0) {
			return writer_fail(w, "grant", r);
		} else {
			payload_make(&v->key[i], w->block, bytes);
			v->checksum[n] = oc_fill(&v->grant[i], w->block, bytes);
			v->grant[n] = v->grant[i];
			v->key[n++] = v->key[i];
			w->result->filled_bytes += bytes;
		}
	}
	*ret_n = n;
	return 0;
}

static int writer_seal(struct writer *w, struct window *v, uint32_t n,
		       uint32_t reader)
{
	uint64_t start = clock_ns();
	int r = oc_seal_batch(w->ns, v->grant, v->checksum, n,
			      w->options->timeout_ns, v->result);

	if (r)
		return writer_fail(w, "seal", r);
	hist_add(&w->result->time[LOAD_SEAL], clock_ns() - start);
	for (uint32_t i = 0; i < n; i++) {
		if (v->result[i] == OC_EXISTS)
			w->result->exists++;
		else if (v->result[i] == OC_STALE)
			w->result->stale++;
		else if (v->result[i] == 0)
			w->result->sealed_blocks++;
		else
			return writer_fail(w, "seal", v->result[i]);
	}
	if (w->shared->readers)
		writer_show(w, reader, v->key, n, false);
	return 0;
}

static int writer_window(struct writer *w, struct window *v, uint32_t reader)
{
	struct oc_part part = { 0, 0 };
	uint64_t start = clock_ns();
	uint32_t n = 0;
	int r = oc_grant_batch(w->ns, v->key, v->n, part, 0,
			       w->options->timeout_ns, v->grant, v->result);

	if (r)
		return writer_fail(w, "grant", r);
	hist_add(&w->result->time[LOAD_GRANT], clock_ns() - start);
	r = writer_fill(w, v, &n);
	if (r || n == 0)
		return r;
	atomic_store_explicit(&w->part->grants, n, memory_order_relaxed);
	writer_hold(w);
	r = writer_seal(w, v, n, reader);
	atomic_store_explicit(&w->part->grants, 0, memory_order_relaxed);
	return r;
}

/* The blocks behind the hits, from the last to the first. */
static int writer_write(struct writer *w, uint32_t n, uint32_t hits,
			uint32_t reader)
{
	static struct window v; /* one thread; too large for the stack */
	int r = 0;

	while (r == 0 && n > hits) {
		v.n = MIN(n - hits, LOAD_WINDOW);
		for (uint32_t i = 0; i < v.n; i++)
			v.key[i] = w->key[n - 1 - i];
		n -= v.n;
		r = writer_window(w, &v, reader);
	}
	return r;
}

static int writer_request(struct writer *w, const struct deck_request *q,
			  uint64_t number)
{
	uint32_t readers = w->shared->readers, tail = 0;
	uint32_t reader = readers ? (uint32_t)(number % readers) : 0;
	size_t hits = 0;
	uint64_t start = clock_ns();
	int r = w->tiers
			? load_tiers_find(w->tiers, w->key, q->n, w->pin, &hits)
			: oc_match_pin(w->ns, w->key, q->n, NULL, w->pin,
				       &hits);

	if (r)
		return writer_fail(w, "match", r);
	hist_add(&w->result->time[LOAD_MATCH], clock_ns() - start);
	atomic_store_explicit(&w->part->pins, hits, memory_order_relaxed);
	w->result->requests++;
	w->result->blocks += q->n;
	w->result->hit_blocks += hits;
	if (readers && hits)
		tail = writer_show(w, reader, w->key, (uint32_t)hits, true);
	writer_check_hits(w, (uint32_t)hits);
	r = writer_write(w, q->n, (uint32_t)hits, reader);
	if (r == 0 && readers && hits)
		writer_wait_reader(w, reader, tail);
	oc_unpin_batch(w->ns, w->pin, hits);
	atomic_store_explicit(&w->part->pins, 0, memory_order_relaxed);
	return r;
}

static int writer_loop(struct writer *w)
{
	const struct deck *d = w->options->deck;
	int r = 0;

	for (uint64_t i = w->options->first; r == 0 && i < w->options->end;
	     i++) {
		const struct deck_request *q = &d->request[i];

		writer_come_to_hold(w, i);
		if (q->client != w->self || q->n == 0)
			continue;
		writer_pace(w, q);
		writer_hold(w);
		if (load_stops(w->shared))
			break;
		r = writer_keys(w, q);
		if (r == 0)
			r = writer_request(w, q, i);
		atomic_fetch_add_explicit(&w->part->done, 1,
					  memory_order_relaxed);
	}
	return r;
}

int load_writer(const struct load_options *options, struct load_shared *shared,
		uint32_t self)
{
	struct writer w = {
		.options = options,
		.shared = shared,
		.part = &shared->writer[self],
		.result = &shared->writer[self].result,
		.self = self,
		.start_ns = clock_ns(),
	};
	char name[32];
	int r;

	snprintf(name, sizeof(name), "writer-%u", self);
	w.block = aligned_alloc(PAGE_BYTES,
				ALIGN_UP(options->block_bytes, PAGE_BYTES));
	if (!w.block || load_open(options, name, false, &w.client, &w.ns)) {
		free(w.block);
		return 1;
	}
	if (options->tiers.ask)
		w.tiers = load_tiers_begin(options, w.client, w.ns, w.result);
	r = options->tiers.ask && !w.tiers ? -ENOMEM : writer_loop(&w);
	load_tiers_end(w.tiers);
	oc_ns_close(w.ns);
	oc_client_close(w.client);
	free(w.block);
	free(w.key);
	free(w.pin);
	return r ? 1 : 0;
}
