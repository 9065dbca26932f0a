/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "load_part.h"
#include "payload.h"

/* One block in so many is also pinned with OC_PIN_VERIFY: the library's own
 * check reads all bytes once more. */
#define READER_VERIFY_EVERY 8u
#define READER_DOZE_NS	    (20 * NS_PER_MS)

struct reader {
	const struct load_options *options;
	struct load_shared *shared;
	struct load_part *part;
	struct load_result *result;
	oc_client *client;
	oc_ns *ns;
	uint32_t self;
	uint64_t seen;
};

static void reader_library_check(struct reader *r, const struct oc_key *key)
{
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	int answer =
		oc_pin(r->ns, key, part, OC_PIN_NO_TOUCH | OC_PIN_VERIFY, &pin);

	if (answer == OC_BAD)
		r->result->bad_blocks++;
	if (answer == 0)
		oc_unpin(r->ns, &pin);
}

static int reader_look(struct reader *r, const struct oc_key *key)
{
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	uint64_t start = clock_ns();
	int answer = oc_pin(r->ns, key, part, OC_PIN_NO_TOUCH, &pin);

	if (answer < 0) {
		fprintf(stderr, "onecopy: reader: pin: %s\n",
			oc_client_error(r->client));
		return answer;
	}
	if (answer) {
		r->result->late++;
		return 0;
	}
	hist_add(&r->result->time[LOAD_PIN], clock_ns() - start);
	load_verified(r->result, pin.bytes,
		      payload_wrong(key, pin.data, pin.bytes));
	oc_unpin(r->ns, &pin);
	if (r->seen++ % READER_VERIFY_EVERY == 0)
		reader_library_check(r, key);
	return 0;
}

/* All that one writer has shown. *ret_any: there was something. */
static int reader_drain(struct reader *r, uint32_t writer, bool *ret_any)
{
	struct load_ring *ring =
		&r->shared->ring[writer * r->shared->readers + r->self];
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	int answer;

	while (head !=
	       atomic_load_explicit(&ring->tail, memory_order_acquire)) {
		answer = reader_look(r, &ring->key[head % LOAD_RING]);
		if (answer < 0)
			return answer;
		atomic_store_explicit(&ring->head, ++head,
				      memory_order_release);
		*ret_any = true;
	}
	load_wake(&ring->head);
	return 0;
}

static int reader_loop(struct reader *r)
{
	for (;;) {
		uint32_t bell = atomic_load_explicit(&r->part->bell,
						     memory_order_acquire);
		bool over = atomic_load_explicit(&r->shared->over,
						 memory_order_acquire);
		bool any = false;

		for (uint32_t w = 0; w < r->shared->writers; w++) {
			int answer = reader_drain(r, w, &any);

			if (answer)
				return answer;
		}
		if (load_stops(r->shared) || (over && !any))
			return 0;
		if (any)
			continue;
		/* who makes no call lets go of no memory that retires */
		oc_client_dispatch(r->client);
		load_wait(&r->part->bell, bell, READER_DOZE_NS);
	}
}

int load_reader(const struct load_options *options, struct load_shared *shared,
		uint32_t self)
{
	struct reader r = {
		.options = options,
		.shared = shared,
		.part = &shared->reader[self],
		.result = &shared->reader[self].result,
		.self = self,
	};
	char name[32];
	int answer;

	snprintf(name, sizeof(name), "reader-%u", self);
	answer = load_open(options, name, true, &r.client, &r.ns);
	if (answer)
		return 1;
	answer = reader_loop(&r);
	oc_ns_close(r.ns);
	oc_client_close(r.client);
	return answer ? 1 : 0;
}
