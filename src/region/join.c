/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership: joining, heartbeats, death, leaving.
 *
 * A join is: CLAIM (one compare-and-swap, with the host in it), who it is, no
 * pins, ENTER. It may end between any two stores. From `known` on, the record
 * says which process must be dead; before that, a claim of this host is judged
 * by the lock of the region's file, which a process holds from before its claim
 * until after it entered: who gets the lock and still sees the claim knows that
 * nobody is at it.
 *
 * A member writes its own pin unit as soon as it has claimed; so a claim is
 * never taken away because it is old.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "coherence/pin.h"
#include "region/internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 2000 /* of a millisecond */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static int host_lock(struct region *r, unsigned tries)
{
	if (r->locked)
		return 0;
	return region_lock(r->fd, tries);
}

static void host_unlock(struct region *r)
{
	if (!r->locked)
		flock(r->fd, LOCK_UN);
}

/* One step of a record, whatever it is now. 0, or REGION_STALE: it was not
 * `from` any more; -EPROTO, -EOVERFLOW. */
static int record_step(struct region *r, uint32_t member, uint64_t from,
		       enum member_event event, uint64_t *ret_word)
{
	uint64_t to;
	int err = member_step(from, event, r->host.id[0], &to);

	if (err)
		return err;
	if (!r->mem->swap(&region_record(r, member)->word, from, to))
		return REGION_STALE;
	*ret_word = to;
	return 0;
}

/* ---- joining ------------------------------------------------------------------- */

static int claim(struct region *r, uint64_t *ret_word)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		uint64_t word =
			shared_load64_acquire(&region_record(r, i)->word);

		if (record_step(r, i, word, MEMBER_EV_CLAIM, ret_word))
			continue;
		r->self = i;
		return 0;
	}
	return -EBUSY;
}

bool region_name_is_good(const char *name)
{
	size_t n = strlen(name);

	if (n > REGION_NAME || (n && strspn(name, "0123456789.") == n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!region_printable(name[i]))
			return false;
	return true;
}

static int identify(struct region *r, uint64_t word, const char *name)
{
	struct region_member *m = region_record(r, r->self);
	char host[REGION_NAME + 1] = "";
	uint64_t started;
	int err = region_host_started((uint64_t)getpid(), &started);

	if (err)
		return err;
	if (!name &&
	    (gethostname(host, sizeof(host) - 1) || !region_name_is_good(host)))
		host[0] = '\0';
	name = name ? name : host;
	shared_store64(&m->host[0], r->host.id[0]);
	shared_store64(&m->host[1], r->host.id[1]);
	shared_store64(&m->pid, (uint64_t)getpid());
	shared_store64(&m->started, started);
	shared_store_bytes(m->name, REGION_NAME, name,
			   strnlen(name, REGION_NAME));
	shared_store64(&m->beat_ms, now_ms());
	shared_store64(&m->wants, 0);
	/* Pairs with is_proved(). */
	r->mem->publish(&m->known, member_word_inc(word));
	return 0;
}

/* The last member's pins: it is gone, so nobody reads by them. `high` goes last:
 * who comes after a death in here finds it. */
static void clear_unit(struct region *r)
{
	struct region_unit_head *head = &r->unit->head;
	uint64_t high = MIN(shared_load64(&head->high), REGION_SLOTS);

	for (uint64_t i = 0; i < high; i++)
		pin_clear(&r->unit->slot[i]);
	for (unsigned i = 0; i < REGION_COUNTS_USED; i++)
		shared_store64(&head->count[i], 0);
	r->mem->publish(&head->high, 0);
	r->touches = shared_load64(&head->touch_tail);
}

static int enter(struct region *r, uint64_t word, const char *name)
{
	void *unit = NULL;
	int err;

	r->slot = mem_array(REGION_SLOTS, sizeof(*r->slot));
	if (!r->slot)
		return -ENOMEM;
	err = region_map(r, r->places.units + r->self * REGION_UNIT,
			 REGION_UNIT, REGION_UNIT, &unit);
	if (err)
		return err;
	r->unit = unit;
	err = identify(r, word, name);
	if (err)
		return err;
	clear_unit(r);
	return record_step(r, r->self, word, MEMBER_EV_ENTER, &r->word);
}

static void see_all(struct region *r)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_unit_head *head =
			&region_unit_of(r, i)->head;

		r->touch_seen[i] = shared_load64_acquire(&head->touch_tail);
		r->report_seen[i] = shared_load64_acquire(&head->report_tail);
		r->beat_seen[i] = 0;
	}
}

static int join_locked(struct region *r, const struct region_join_options *o)
{
	uint64_t word, left;
	int err = claim(r, &word);

	if (err == -EBUSY) {
		/* perhaps nobody was there to see somebody's end */
		for (uint32_t i = 0; i < r->g.members; i++)
			(void)region_fence(r, i, 0, false);
		err = claim(r, &word);
	}
	if (err)
		return err;
	err = enter(r, word, o->name);
	if (err) {
		/* declared dead by somebody: then it is no more ours */
		record_step(r, r->self, word, MEMBER_EV_LEAVE, &left);
		region_forget(r);
		return err;
	}
	see_all(r);
	return 0;
}

int region_join(struct region *r, const struct region_join_options *o)
{
	int err;

	if (o->size != sizeof(*o) || (o->name && !region_name_is_good(o->name)))
		return -EINVAL;
	if (r->word)
		return -EALREADY;
	if (!r->mem->swap)
		return -EOPNOTSUPP;
	err = host_lock(r, LOCK_TRIES);
	if (err)
		return err;
	r->locked = true;
	err = join_locked(r, o);
	r->locked = false;
	host_unlock(r);
	if (err)
		return err;
	r->want = o->shards;
	r->adopt = o->adopt;
	err = region_tick(r);
	return err < 0 ? err : 0;
}

int region_self(const struct region *r, uint32_t *ret_member, uint64_t *ret_inc)
{
	if (!r->word)
		return -ENOTCONN;
	*ret_member = r->self;
	*ret_inc = member_word_inc(r->word);
	return 0;
}

int region_may_write(const struct region *r)
{
	if (!r->word)
		return -ENOTCONN;
	return region_is_live(r) ? 0 : REGION_STALE;
}

/* ---- death ----------------------------------------------------------------------- */

/* Does this host's kernel say that the member with this word has ended? */
static bool is_proved(struct region *r, uint32_t member, uint64_t word)
{
	const struct region_member *m = region_record(r, member);
	uint64_t mine = r->host.id[0] & ((1ull << MEMBER_HOST_BITS) - 1);
	bool proved;

	if (member_word_host(word) != mine)
		return false;
	/* Pairs with identify(). */
	if (shared_load64_acquire(&m->known) == member_word_inc(word))
		return shared_load64(&m->host[0]) == r->host.id[0] &&
		       shared_load64(&m->host[1]) == r->host.id[1] &&
		       region_host_ended(shared_load64(&m->pid),
					 shared_load64(&m->started));
	if (host_lock(r, 1))
		return false;
	proved = shared_load64_acquire(&m->word) == word;
	host_unlock(r);
	return proved;
}

bool region_may_live(struct region *r, uint32_t member)
{
	uint64_t word = shared_load64_acquire(&region_record(r, member)->word);
	enum member_state state = member_word_state(word);

	return (state == MEMBER_LIVE || state == MEMBER_JOINING) &&
	       !is_proved(r, member, word);
}

int region_fence(struct region *r, uint32_t member, uint64_t inc, bool told)
{
	enum member_event event = told ? MEMBER_EV_TOLD : MEMBER_EV_EXITED;
	uint64_t word, to;

	if (member >= r->g.members)
		return -EINVAL;
	if (!r->mem->swap)
		return -EOPNOTSUPP;
	word = shared_load64_acquire(&region_record(r, member)->word);
	if (inc && member_word_inc(word) != inc)
		return REGION_MISS;
	switch (member_word_state(word)) {
	case MEMBER_FREE:
		return REGION_MISS;
	case MEMBER_JOINING:
	case MEMBER_LIVE:
		break;
	default:
		return 0;
	}
	if (!told && !is_proved(r, member, word))
		return REGION_ALIVE;
	/* A failure: somebody else did it, or it left. */
	if (record_step(r, member, word, event, &to) == 0 && r->word && !told)
		region_count(r, REGION_C_exited, 1);
	return 0;
}

/* Those of this host whose heart stands still. */
static void look_for_the_dead(struct region *r)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t beat = shared_load64(&m->beat);

		if (i != r->self && beat == r->beat_seen[i])
			region_fence(r, i, 0, false);
		r->beat_seen[i] = beat;
	}
}

/* ---- living ---------------------------------------------------------------------- */

static void take_what_is_wanted(struct region *r)
{
	for (uint32_t i = 0; i < r->g.shards; i++) {
		uint64_t owner =
			shared_load64_acquire(&r->control->owner[i].word);

		if (owner ? r->n_own < r->want || r->adopt : r->n_own < r->want)
			(void)region_take(r, i);
	}
}

static bool somebody_wants(const struct region *r)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);

		if (i != r->self &&
		    member_word_state(shared_load64_acquire(&m->word)) ==
			    MEMBER_LIVE &&
		    shared_load64(&m->wants))
			return true;
	}
	return false;
}

static void gauges_run(void *ctx)
{
	struct region *r = ctx;

	for (uint32_t i = 0; i < r->n_own; i++)
		region_gauge(r->own[i]);
}

static int tick(struct region *r)
{
	struct region_member *m = region_record(r, r->self);
	uint64_t wants;

	if (!region_is_live(r))
		return REGION_STALE;
	shared_store64(&m->beat_ms, now_ms());
	r->mem->publish(&m->beat, shared_load64(&m->beat) + 1);
	look_for_the_dead(r);
	take_what_is_wanted(r);
	region_take_reports(r);
	for (uint32_t i = 0; i < r->n_own; i++)
		if (r->own[i]->n_doomed)
			region_judge_doomed(r, r->own[i]);
	/* the shards that were taken over last */
	if (r->n_own > MAX(r->want, 1u) && somebody_wants(r))
		(void)region_give(r, r->own[r->n_own - 1]->shard);
	wants = r->want && !r->n_own;
	if (shared_load64(&m->wants) != wants)
		r->mem->publish(&m->wants, wants);
	region_make_views(r);
	(void)region_guard(r, gauges_run, r, NULL);
	return 0;
}

/* What is done in a guard. */
struct ticking {
	struct region *r;
	int result;
};

static void tick_run(void *ctx)
{
	struct ticking *t = ctx;

	t->result = tick(t->r);
}

int region_tick(struct region *r)
{
	struct ticking t = { .r = r };

	if (!r->word)
		return -ENOTCONN;
	return region_guard(r, tick_run, &t, NULL) ? -EIO : t.result;
}

/* Those that are of no use are the next one's to judge. */
static void leave_out(struct region *r)
{
	while (r->n_out) {
		struct region_own *own = r->out[--r->n_out];

		(void)r->mem->swap(&r->control->owner[own->shard].word,
				   own->owner, 0);
		region_own_destroy(r, own);
	}
}

int region_leave(struct region *r)
{
	uint64_t left;
	int err = 0;

	if (!r->word)
		return -ENOTCONN;
	if (r->pinned)
		return -EBUSY;
	while (r->n_own && !err)
		err = region_give(r, r->own[r->n_own - 1]->shard);
	if (err < 0)
		return err;
	leave_out(r);
	err = record_step(r, r->self, r->word, MEMBER_EV_LEAVE, &left);
	region_forget(r);
	return err;
}

void region_forget(struct region *r)
{
	while (r->n_own)
		region_own_destroy(r, r->own[--r->n_own]);
	while (r->n_out)
		region_own_destroy(r, r->out[--r->n_out]);
	region_unmap(r->unit, REGION_UNIT);
	free(r->slot);
	r->unit = NULL;
	r->slot = NULL;
	r->n_slot = r->made = r->pinned = 0;
	r->word = 0;
}
