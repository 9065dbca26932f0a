/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds what, for people. Everything read here may be half changed. */
#include "base/clock.h"
#include "region/internal.h"

static uint64_t pins_of(const struct region *r, uint32_t member)
{
	const struct region_unit *unit = region_unit_of(r, member);
	uint64_t high = shared_load64_acquire(&unit->head.high), pins = 0;

	high = MIN(high, REGION_SLOTS);
	for (uint64_t i = 0; i < high; i++)
		pins += shared_load64(&unit->slot[i]) != 0;
	return pins;
}

/* Shards of this incarnation. */
static uint32_t shards_of(const struct region *r, uint32_t member, uint64_t inc)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->g.shards; i++)
		n += shared_load64(&r->control->owner[i].word) ==
		     region_owner_word(member, inc);
	return n;
}

/* Another node wrote it: it may be no text, or text that a terminal obeys. */
static void name_of(const struct region_member *m, char name[REGION_NAME + 1])
{
	shared_load_bytes(name, REGION_NAME, m->name);
	name[REGION_NAME] = '\0';
	for (; *name; name++)
		if (!region_printable(*name))
			*name = '?';
}

static void glance_known(const struct region *r, uint32_t member,
			 struct region_member_status *s)
{
	const struct region_member *m = region_record(r, member);

	s->here = shared_load64(&m->host[0]) == r->host.id[0] &&
		  shared_load64(&m->host[1]) == r->host.id[1];
	s->reader = shared_load64(&m->role) == REGION_READER;
	s->pid = shared_load64(&m->pid);
	s->started = shared_load64(&m->started);
	s->server = region_process_pid(shared_load64(&m->writer));
	s->beats = shared_load64(&m->beat);
	s->silent_ms =
		(int64_t)(clock_realtime_ms() - shared_load64(&m->beat_ms));
	s->late = !s->reader &&
		  (s->state == MEMBER_LIVE || s->state == MEMBER_JOINING) &&
		  s->silent_ms > (int64_t)r->g.lease_ms;
	name_of(m, s->name);
}

static void member_glance(const struct region *r, uint32_t member,
			  struct region_member_status *ret_status)
{
	const struct region_member *m = region_record(r, member);
	uint64_t word = shared_load64_acquire(&m->word);
	struct region_member_status s = {
		.state = member_word_state(word),
		.inc = member_word_inc(word),
	};

	/* Pairs with identify(). */
	s.known = s.inc && shared_load64_acquire(&m->known) == s.inc;
	if (s.known)
		glance_known(r, member, &s);
	*ret_status = s;
}

static void member_status(struct region *r, uint32_t member,
			  struct region_member_status *ret_status)
{
	const struct region_unit_head *head = &region_unit_of(r, member)->head;
	struct region_member_status s;

	member_glance(r, member, &s);
	if (s.state == MEMBER_LIVE)
		s.pins = pins_of(r, member);
	if (s.known) {
		s.ended = s.state == MEMBER_LIVE && s.here &&
			  region_has_ended(region_record(r, member));
		s.shards = shards_of(r, member, s.inc);
		for (unsigned i = 0; i < REGION_COUNTS_USED; i++)
			s.count[i] = shared_load64(&head->count[i]);
	}
	*ret_status = s;
}

bool region_same_host(const struct region *r, uint32_t a, uint32_t b)
{
	const struct region_member *ma = region_record(r, a);
	const struct region_member *mb = region_record(r, b);

	return shared_load64(&ma->host[0]) == shared_load64(&mb->host[0]) &&
	       shared_load64(&ma->host[1]) == shared_load64(&mb->host[1]);
}

/* What is done in a guard. */
struct asking {
	struct region *r;
	uint32_t n;
	struct region_member_status member;
	struct region_shard_status shard;
};

static void member_run(void *ctx)
{
	struct asking *a = ctx;

	member_status(a->r, a->n, &a->member);
}

static void glance_run(void *ctx)
{
	struct asking *a = ctx;

	member_glance(a->r, a->n, &a->member);
}

void region_member_glance(struct region *r, uint32_t member,
			  struct region_member_status *ret_status)
{
	struct asking a = { .r = r, .n = member };

	if (region_guard(r, glance_run, &a, NULL))
		a.member = (struct region_member_status){ .lost = true };
	*ret_status = a.member;
}

void region_member_status(struct region *r, uint32_t member,
			  struct region_member_status *ret_status)
{
	struct asking a = { .r = r, .n = member };

	if (region_guard(r, member_run, &a, NULL))
		a.member = (struct region_member_status){ .lost = true };
	*ret_status = a.member;
}

static void shard_status(struct region *r, uint32_t shard,
			 struct region_shard_status *ret_status)
{
	const struct region_shard_head *head = region_head_of(r, shard);
	uint64_t owner = shared_load64_acquire(&r->control->owner[shard].word);
	struct region_shard_status s = {
		.owner = -1,
		.ready = shared_load64(&head->ready) == owner,
		.free = shared_load64(&head->free),
		.sealed = shared_load64(&head->sealed),
		.held = shared_load64(&head->quarantined),
	};
	uint32_t member = owner ? region_owner_member(owner) : 0;

	if (owner && member < r->g.members) {
		struct region_member_status m;

		region_member_status(r, member, &m);
		s.owner = member;
		s.gone = member_gone(
			shared_load64_acquire(&region_record(r, member)->word),
			region_owner_inc(owner));
		s.ended = !s.gone && m.ended;
		s.quarantined = !s.gone && !s.ended && m.late;
	}
	*ret_status = s;
}

static void shard_run(void *ctx)
{
	struct asking *a = ctx;

	shard_status(a->r, a->n, &a->shard);
}

void region_shard_status(struct region *r, uint32_t shard,
			 struct region_shard_status *ret_status)
{
	struct asking a = { .r = r, .n = shard };

	if (region_guard(r, shard_run, &a, NULL))
		a.shard = (struct region_shard_status){ .owner = -1,
							.lost = true };
	*ret_status = a.shard;
}
