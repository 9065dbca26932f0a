/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining.
 *
 * A join is: CLAIM (one compare-and-swap, with the host in it), who it is, no
 * pins, ENTER. It may end between any two stores. From `known` on, the record
 * says which process must be dead; before that, a claim of this host is judged
 * by the lock of the region's file, which a process holds from before its claim
 * until after it entered (fence.c).
 *
 * A member writes its own pin unit as soon as it has claimed; so a claim is
 * never taken away because it is old.
 *
 * A server whose keeper is a member already goes on as that one (resume.c).
 */
#include "base/clock.h"
#include "base/fault.h"
#include "coherence/pin.h"
#include "region/internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_TRIES 2000 /* of a millisecond */

/* What is done in a guard. */
struct doing {
	struct region *r;
	const struct region_join_options *options;
	int result;
};

int region_host_lock(struct region *r, unsigned tries)
{
	if (r->locked)
		return 0;
	return region_lock(r->fd, tries);
}

void region_host_unlock(struct region *r)
{
	if (!r->locked)
		flock(r->fd, LOCK_UN);
}

/* One step of a record, whatever it is now. 0, or REGION_STALE: it was not
 * `from` any more; -EPROTO, -EOVERFLOW. */
int region_record_step(struct region *r, uint32_t member, uint64_t from,
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

/* ---- a slot ------------------------------------------------------------------------ */

static bool is_taken(const struct region *r, uint32_t member)
{
	enum member_state state = member_word_state(
		shared_load64_acquire(&region_record(r, member)->word));

	return state == MEMBER_JOINING || state == MEMBER_LIVE;
}

/* Shards that nobody has, or whose owner is gone. */
static uint32_t shards_without_owner(const struct region *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->g.shards; i++) {
		uint64_t owner =
			shared_load64_acquire(&r->control->owner[i].word);
		uint32_t member = owner ? region_owner_member(owner) : 0;

		n += !owner || member >= r->g.members ||
		     member_gone(shared_load64_acquire(
					 &region_record(r, member)->word),
				 region_owner_inc(owner));
	}
	return n;
}

/* Readers are many, and nodes are few: while there are shards for nodes to come, a
 * quarter of the slots is left to these. */
static bool is_left_to_nodes(const struct region *r)
{
	uint32_t wanted = MIN(shards_without_owner(r), DIV_UP(r->g.members, 4));
	uint32_t free = 0;

	for (uint32_t i = 0; i < r->g.members; i++)
		free += !is_taken(r, i);
	return free <= wanted;
}

static int claim(struct region *r, bool reader, uint64_t *ret_word)
{
	if (reader && is_left_to_nodes(r))
		return -EBUSY;
	for (uint32_t i = 0; i < r->g.members; i++) {
		uint64_t word =
			shared_load64_acquire(&region_record(r, i)->word);

		if (region_record_step(r, i, word, MEMBER_EV_CLAIM, ret_word))
			continue;
		r->self = i;
		return 0;
	}
	return -EBUSY;
}

/* ---- who it is --------------------------------------------------------------------- */

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

/* Which processes the member is: itself, or its keeper and itself. */
int region_processes(const struct region_join_options *o, uint64_t *ret_pid,
		     uint64_t *ret_started, uint64_t *ret_writer)
{
	uint64_t self = (uint64_t)getpid(), started, keeper;
	int err = region_host_started(self, &started);

	if (err)
		return err;
	if (!o->keeper) {
		*ret_pid = self;
		*ret_started = started;
		*ret_writer = 0;
		return 0;
	}
	if ((uint64_t)getppid() != o->keeper)
		return -ECHILD;
	err = region_host_started(o->keeper, &keeper);
	if (err)
		return err;
	*ret_pid = o->keeper;
	*ret_started = keeper;
	*ret_writer = region_process(self, started);
	return 0;
}

/* Does a node go by this name that may live? One whose processes have ended on this
 * host does not, though nobody has declared it dead yet. */
static bool is_named(const struct region *r, const char *name)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t word = shared_load64_acquire(&m->word);
		char other[REGION_NAME + 1] = "";

		/* Pairs with identify(). */
		if (i == r->self || !is_taken(r, i) ||
		    shared_load64_acquire(&m->known) != member_word_inc(word) ||
		    shared_load64(&m->role) == REGION_READER)
			continue;
		shared_load_bytes(other, REGION_NAME, m->name);
		if (strcmp(name, other) == 0 &&
		    !(shared_load64(&m->host[0]) == r->host.id[0] &&
		      shared_load64(&m->host[1]) == r->host.id[1] &&
		      region_has_ended(m)))
			return true;
	}
	return false;
}

/* The host's; of a node that finds a node of that name there, with a number behind.
 * "": the host's is none that a member could have. */
static void default_name(const struct region *r, bool reader,
			 char ret_name[REGION_NAME + 1])
{
	char host[REGION_NAME + 1] = "";

	if (gethostname(host, sizeof(host) - 1) || !region_name_is_good(host))
		host[0] = '\0';
	memcpy(ret_name, host, sizeof(host));
	for (unsigned n = 2; host[0] && !reader && is_named(r, ret_name); n++)
		snprintf(ret_name, sizeof(host), "%.*s-%u", REGION_NAME - 5,
			 host, n);
}

static int identify(struct region *r, uint64_t word,
		    const struct region_join_options *o)
{
	struct region_member *m = region_record(r, r->self);
	char own[REGION_NAME + 1];
	const char *name = o->name;
	uint64_t pid, started, writer;
	int err = region_processes(o, &pid, &started, &writer);

	if (err)
		return err;
	if (!name) {
		default_name(r, o->reader, own);
		name = own;
	}
	shared_store64(&m->host[0], r->host.id[0]);
	shared_store64(&m->host[1], r->host.id[1]);
	shared_store64(&m->pid, pid);
	shared_store64(&m->started, started);
	shared_store64(&m->writer, writer);
	shared_store64(&m->image, o->keeper ? 0 : region_host_image());
	shared_store64(&m->role, o->reader ? REGION_READER : REGION_OWNER);
	shared_store_bytes(m->name, REGION_NAME, name,
			   strnlen(name, REGION_NAME));
	shared_store64(&m->beat_ms, clock_realtime_ms());
	shared_store64(&m->wants, 0);
	/* Pairs with is_proved(). */
	r->mem->publish(&m->known, member_word_inc(word));
	return 0;
}

/* The last member's pins: it is gone, so nobody reads by them. `high` goes last:
 * who comes after a death in here finds it. */
void region_clear_unit(struct region *r)
{
	struct region_unit_head *head = &r->unit->head;
	uint64_t high = MIN(shared_load64(&head->high), REGION_SLOTS);

	for (uint64_t i = 0; i < high; i++)
		pin_clear(&r->unit->slot[i]);
	for (unsigned i = 0; i < REGION_COUNTS_USED && !r->resumed; i++)
		shared_store64(&head->count[i], 0);
	r->mem->publish(&head->high, 0);
	r->touches = shared_load64(&head->touch_tail);
}

int region_map_unit(struct region *r)
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
	return 0;
}

static int enter(struct region *r, uint64_t word,
		 const struct region_join_options *o)
{
	int err = region_map_unit(r);

	if (!err)
		err = identify(r, word, o);
	if (err)
		return err;
	region_clear_unit(r);
	return region_record_step(r, r->self, word, MEMBER_EV_ENTER, &r->word);
}

struct seeing {
	struct region *r;
	uint32_t member;
};

static void see_run(void *ctx)
{
	const struct seeing *s = ctx;
	const struct region_unit_head *head =
		&region_unit_of(s->r, s->member)->head;

	s->r->touch_seen[s->member] = shared_load64_acquire(&head->touch_tail);
	s->r->report_seen[s->member] =
		shared_load64_acquire(&head->report_tail);
}

/* A member whose unit fails keeps nobody out: what it has told is passed over. */
static void see_all(struct region *r)
{
	struct seeing s = { .r = r };

	for (; s.member < r->g.members; s.member++) {
		r->touch_seen[s.member] = 0;
		r->report_seen[s.member] = 0;
		r->beat_seen[s.member] = 0;
		(void)region_guard(r, see_run, &s, NULL);
	}
}

/* ---- all of it --------------------------------------------------------------------- */

static int join_locked(struct region *r, const struct region_join_options *o)
{
	const struct region_header *h = &r->control->header;
	uint64_t word, left;
	int err;

	/* who formats has the lock as well */
	if (shared_load64_acquire(&h->magic) != REGION_MAGIC ||
	    shared_load64(&h->id) != r->id)
		return -ENODATA;
	region_fence_former_program(r);
	err = o->keeper ? region_resume(r, o) : REGION_MISS;
	if (!err)
		see_all(r);
	if (err != REGION_MISS)
		return err;
	err = claim(r, o->reader, &word);
	if (err == -EBUSY) {
		/* perhaps nobody was there to see somebody's end */
		for (uint32_t i = 0; i < r->g.members; i++)
			(void)region_fence(r, i, 0, false);
		err = claim(r, o->reader, &word);
	}
	if (err)
		return err;
	err = enter(r, word, o);
	if (err) {
		/* declared dead by somebody: then it is no more ours */
		region_record_step(r, r->self, word, MEMBER_EV_LEAVE, &left);
		region_forget(r);
		return err;
	}
	see_all(r);
	return 0;
}

static void join_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = join_locked(d->r, d->options);
}

int region_join(struct region *r, const struct region_join_options *o)
{
	struct doing d = { .r = r, .options = o };
	int err;

	if (o->size != sizeof(*o) ||
	    (o->name && !region_name_is_good(o->name)) ||
	    (o->reader && (o->shards || o->adopt || o->keeper)))
		return -EINVAL;
	if (r->word)
		return -EALREADY;
	if (!r->mem->swap)
		return -EOPNOTSUPP;
	err = region_host_lock(r, o->lock_ms ? o->lock_ms : LOCK_TRIES);
	if (err)
		return err;
	r->locked = true;
	r->resumed = false;
	err = region_guard(r, join_run, &d, NULL) ? -EIO : d.result;
	if (err)
		region_forget(r);
	r->locked = false;
	region_host_unlock(r);
	if (err)
		return err;
	r->want = o->shards;
	r->adopt = o->adopt;
	memcpy(r->node, o->node, sizeof(r->node));
	if (o->reader)
		return 0;
	region_fence_former(r);
	err = region_tick(r);
	if (err >= 0)
		return 0;
	/* not a slot for each try */
	region_leave(r);
	return err;
}
