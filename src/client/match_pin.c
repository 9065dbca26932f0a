/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching and pinning in one, and waiting for what is on a tier below: what is
 * resident is pinned first, so that it stays while the rest comes up, and each
 * block is pinned when it is there.
 */
#include "client/matching.h"
#include "client/shards.h"
#include <stdlib.h>

#define ROUNDS 4 /* of matching and pinning before only pins count */

struct collect {
	struct pin_job jobs[PIN_WINDOW];
	size_t n, failed;
	unsigned flags;
};

static int collect_flush(struct matching *m, struct collect *k)
{
	size_t got = 0;
	int r = pin_window(m->ns->c, k->jobs, k->n, k->flags, &got);

	if (r == 0 && got < k->n && shards_there(m->ns->c))
		got += shards_pin_missed(m->ns, k->jobs, k->n, k->flags);
	for (size_t i = 0; i < k->n && r == 0; i++)
		if (!k->jobs[i].pin->data)
			k->jobs[i].pin->slot = m->reach ? SLOT_WANTED
							: SLOT_FAILED;
	k->failed += k->n - got;
	k->n = 0;
	return r;
}

/* Pins what a prefix needs and is not pinned yet. */
static int pin_needed(struct matching *m, size_t usable, unsigned flags,
		      size_t *ret_failed)
{
	struct collect k = { .flags = flags };
	int r = 0;

	for (size_t i = 0; i < usable * m->parts && r == 0; i++) {
		size_t block = i / m->parts;
		unsigned group = (unsigned)(i % m->parts) / m->ranks;
		unsigned rank = (unsigned)(i % m->parts) % m->ranks;

		if (m->pins[i].data ||
		    !match_needs(&m->ns->rule[group], usable, block))
			continue;
		k.jobs[k.n++] = (struct pin_job){ &m->keys[block],
						  matching_part(m, group, rank),
						  &m->pins[i] };
		if (k.n == PIN_WINDOW)
			r = collect_flush(m, &k);
	}
	if (r == 0 && k.n)
		r = collect_flush(m, &k);
	*ret_failed = k.failed;
	return r;
}

/* ---- what is below ---- */

/* A block has come up, or has not. */
struct coming {
	struct matching *m;
	unsigned flags;
	size_t failed;
	int error;
};

static int pin_come(const struct coming *k, const struct oc_key *key,
		    unsigned group, unsigned rank, struct oc_pin *pin)
{
	struct matching *m = k->m;
	uint64_t part = matching_part(m, group, rank);
	int r = pin_one(m->ns->c, key, part, k->flags, pin);

	if (r != OC_MISS)
		return r;
	return reach_pin(m->ns, key,
			 (struct oc_part){ frame_part_group(part),
					   frame_part_rank(part) },
			 k->flags, m->reach->deadline, pin);
}

static void came(void *ctx, const struct reach_job *job, int result)
{
	struct coming *k = ctx;
	struct matching *m = k->m;

	for (unsigned i = 0; i < m->parts; i++) {
		struct oc_pin *pin = &m->pins[job->block * m->parts + i];
		unsigned group = i / m->ranks, rank = i % m->ranks;
		int r = result;

		if (pin->data || pin->slot != SLOT_WANTED)
			continue;
		if (r == 0 && k->error == 0)
			r = pin_come(k, &m->keys[job->block], group, rank, pin);
		if (r == 0 && k->error == 0)
			continue;
		pin->slot = SLOT_FAILED;
		k->failed++;
		/* what the pin itself met; a node that does not answer is a
		 * miss, as is what came too late */
		if (r < 0 && r != -ETIMEDOUT && result == 0)
			k->error = r;
	}
}

static unsigned wanted_groups(const struct matching *m, size_t block)
{
	unsigned groups = 0;

	for (unsigned i = 0; i < m->parts; i++) {
		const struct oc_pin *pin = &m->pins[block * m->parts + i];

		if (!pin->data && pin->slot == SLOT_WANTED)
			groups |= 1u << i / m->ranks;
	}
	return groups;
}

/* Brings up and pins what could not be pinned so far. */
static int fetch_wanted(struct matching *m, size_t usable, unsigned flags,
			size_t *ret_failed)
{
	struct coming k = { .m = m, .flags = flags };
	struct reach_job *jobs = mem_array(usable, sizeof(*jobs));
	size_t n = 0;

	if (!jobs)
		return client_fail(m->ns->c, -ENOMEM, "no memory for a fetch");
	for (size_t i = 0; i < usable; i++) {
		jobs[n].block = i;
		jobs[n].groups = wanted_groups(m, i);
		n += jobs[n].groups != 0;
	}
	reach_fetch(m->reach, jobs, n, came, &k);
	free(jobs);
	*ret_failed = k.failed;
	return k.error;
}

/* ---- both ---- */

/* Gives back what a prefix does not need; clears private marks. */
static void drop_unneeded(struct matching *m, size_t usable)
{
	for (size_t i = 0; i < m->n * m->parts; i++) {
		size_t block = i / m->parts;
		unsigned group = (unsigned)(i % m->parts) / m->ranks;

		if (block < usable &&
		    match_needs(&m->ns->rule[group], usable, block) &&
		    m->pins[i].data)
			continue;
		if (m->pins[i].data)
			pin_drop(m->ns->c, &m->pins[i], 1, false);
		m->pins[i].slot = 0;
	}
}

/* Each round that fails marks a part as gone; after some, nothing new is
 * pinned and the rule is applied to what is held. */
static int match_and_pin(struct matching *m, unsigned flags, size_t *ret_usable)
{
	for (int round = 0;; round++) {
		size_t failed = 0, usable;
		int r = 0;

		m->only_pins = round == ROUNDS;
		usable = matching_run(m);
		if (!m->only_pins)
			r = pin_needed(m, usable, flags, &failed);
		if (r == 0 && failed && m->reach)
			r = fetch_wanted(m, usable, flags, &failed);
		if (r) {
			drop_unneeded(m, 0);
			return r;
		}
		if (failed)
			continue;
		drop_unneeded(m, usable);
		*ret_usable = usable;
		return 0;
	}
}

static void count_pins(struct matching *m, size_t usable)
{
	uint64_t pins = 0, bytes = 0;

	for (size_t i = 0; i < usable * m->parts; i++) {
		if (!m->pins[i].data)
			continue;
		pins++;
		bytes += m->pins[i].bytes;
	}
	client_add(m->ns->c, CLIENT_PINS, pins);
	client_add(m->ns->c, CLIENT_READ_BYTES, bytes);
	client_add(m->ns->c, CLIENT_MISSES, usable < m->n);
}

static int match_pin(struct matching *m, const struct oc_match_options *o,
		     size_t *ret_usable)
{
	oc_client *c = m->ns->c;
	struct reach r = { .ns = m->ns };
	int e = 0;

	if (o->fetch_ns && m->n && reach_exists(c)) {
		e = reach_init(&r, m->ns, m->keys, m->n, matching_rank(m),
			       client_deadline(c, o->fetch_ns));
		m->reach = &r;
	}
	if (e == 0)
		e = match_and_pin(m, o->pin_flags, ret_usable);
	reach_fini(&r);
	return e;
}

int oc_match_pin(oc_ns *ns, const struct oc_key *keys, size_t n,
		 const struct oc_match_options *options,
		 struct oc_pin *ret_pins, size_t *ret_usable)
{
	struct oc_match_options o = OC_MATCH_INIT;
	struct matching m;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = ns_usable(ns);
	if (r == 0)
		r = matching_options(ns->c, options, &o);
	if (r == 0)
		r = matching_init(&m, ns, keys, n, o.rank);
	if (r)
		return r;
	if (client_behind(ns->c))
		region_follow(ns->c);
	m.pins = ret_pins;
	for (size_t i = 0; i < n * m.parts; i++) {
		ret_pins[i].data = NULL;
		ret_pins[i].slot = 0;
	}
	r = match_pin(&m, &o, ret_usable);
	if (r == 0)
		count_pins(&m, *ret_usable);
	return r;
}
