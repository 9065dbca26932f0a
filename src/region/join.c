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

/* What is done in a guard: `member` is the one to be declared dead. */
struct doing {
	struct region *r;
	const struct region_join_options *options;
	uint32_t member;
	uint64_t inc;
	bool told;
	int result;
};

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

/* Which processes the member is: itself, or its keeper and itself. */
static int processes(const struct region_join_options *o, uint64_t *ret_pid,
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

static int identify(struct region *r, uint64_t word,
		    const struct region_join_options *o)
{
	struct region_member *m = region_record(r, r->self);
	char host[REGION_NAME + 1] = "";
	const char *name = o->name;
	uint64_t pid, started, writer;
	int err = processes(o, &pid, &started, &writer);

	if (err)
		return err;
	if (!name &&
	    (gethostname(host, sizeof(host) - 1) || !region_name_is_good(host)))
		host[0] = '\0';
	name = name ? name : host;
	shared_store64(&m->host[0], r->host.id[0]);
	shared_store64(&m->host[1], r->host.id[1]);
	shared_store64(&m->pid, pid);
	shared_store64(&m->started, started);
	shared_store64(&m->writer, writer);
	shared_store64(&m->image, o->keeper ? 0 : region_host_image());
	shared_store64(&m->role, o->reader ? REGION_READER : REGION_OWNER);
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
	for (unsigned i = 0; i < REGION_COUNTS_USED && !r->resumed; i++)
		shared_store64(&head->count[i], 0);
	r->mem->publish(&head->high, 0);
	r->touches = shared_load64(&head->touch_tail);
}

static int map_unit(struct region *r)
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
	int err = map_unit(r);

	if (!err)
		err = identify(r, word, o);
	if (err)
		return err;
	clear_unit(r);
	return record_step(r, r->self, word, MEMBER_EV_ENTER, &r->word);
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

/* ---- going on as a member that is there ----------------------------------------- */

/* The member that this process' keeper is of; REGION_MISS. */
static int find_kept(const struct region *r, uint64_t pid, uint64_t started,
		     uint32_t *ret_member, uint64_t *ret_word)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t word = shared_load64_acquire(&m->word);

		if (member_gone(word, member_word_inc(word)) ||
		    shared_load64_acquire(&m->known) != member_word_inc(word) ||
		    shared_load64(&m->host[0]) != r->host.id[0] ||
		    shared_load64(&m->host[1]) != r->host.id[1] ||
		    shared_load64(&m->pid) != pid ||
		    shared_load64(&m->started) != started ||
		    !shared_load64(&m->writer))
			continue;
		*ret_member = i;
		*ret_word = word;
		return 0;
	}
	return REGION_MISS;
}

/*
 * This process is its writer from now on. Who would prove the member dead looks
 * at the keeper first and at the writer then (region_has_ended()); here the
 * writer is stored first, and then the keeper must be alive: so either that one
 * sees this process, or this one sees that its keeper has ended. The swap finds
 * nobody's writer but that of the member, even if it was declared dead and
 * followed meanwhile: a process has such a word once.
 */
static int become_writer(struct region *r, struct region_member *m,
			 uint64_t word, uint64_t keeper, uint64_t mine)
{
	uint64_t old = shared_load64_acquire(&m->writer);

	/* after the load: then it is that member's, or was, and the swap fails when
	 * another incarnation stores one of its own */
	if (!old || shared_load64_acquire(&m->word) != word)
		return REGION_MISS;
	if (old != mine && !region_host_ended(region_process_pid(old),
					      region_process_started(old)))
		return -EBUSY;
	if (!r->mem->swap(&m->writer, old, mine))
		return REGION_MISS;
	r->mem->fence();
	if ((uint64_t)getppid() != keeper)
		return -ECHILD;
	return shared_load64_acquire(&m->word) == word ? 0 : REGION_MISS;
}

/* Pins of the last process are nobody's: it has ended, and whom it let read has no
 * say here. Shards are taken again by take_what_is_wanted(). REGION_MISS: there is
 * no such member. */
static int resume(struct region *r, const struct region_join_options *o)
{
	uint64_t pid, started, mine, word, left;
	int err = processes(o, &pid, &started, &mine);

	if (!err)
		err = find_kept(r, pid, started, &r->self, &word);
	if (!err)
		err = become_writer(r, region_record(r, r->self), word,
				    o->keeper, mine);
	if (err)
		return err;
	if (member_word_state(word) == MEMBER_JOINING) {
		/* it died before it was in */
		record_step(r, r->self, word, MEMBER_EV_LEAVE, &left);
		return REGION_MISS;
	}
	err = map_unit(r);
	if (err) {
		region_forget(r);
		return err;
	}
	/* somebody may have vouched that it was gone while this one mapped */
	if (shared_load64_acquire(&region_record(r, r->self)->word) != word) {
		region_forget(r);
		return REGION_MISS;
	}
	r->resumed = true;
	clear_unit(r);
	r->word = word;
	return 0;
}

bool region_resumed(const struct region *r)
{
	return r->resumed;
}

/*
 * A program that was replaced by exec() has the number and the start of the one
 * after it, so nobody can prove its end but that one: what it mapped is gone, and it
 * reads no more.
 */
static void fence_former_program(struct region *r)
{
	uint64_t pid = (uint64_t)getpid(), started, to;
	uint64_t image = region_host_image();

	if (!image || region_host_started(pid, &started))
		return;
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t word = shared_load64_acquire(&m->word);

		if (is_taken(r, i) &&
		    shared_load64_acquire(&m->known) == member_word_inc(word) &&
		    shared_load64(&m->host[0]) == r->host.id[0] &&
		    shared_load64(&m->host[1]) == r->host.id[1] &&
		    shared_load64(&m->pid) == pid &&
		    shared_load64(&m->started) == started &&
		    shared_load64(&m->image) &&
		    shared_load64(&m->image) != image)
			(void)record_step(r, i, word, MEMBER_EV_EXITED, &to);
	}
}

static int join_locked(struct region *r, const struct region_join_options *o)
{
	const struct region_header *h = &r->control->header;
	uint64_t word, left;
	int err;

	/* who formats has the lock as well */
	if (shared_load64_acquire(&h->magic) != REGION_MAGIC ||
	    shared_load64(&h->id) != r->id)
		return -ENODATA;
	fence_former_program(r);
	err = o->keeper ? resume(r, o) : REGION_MISS;
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
		record_step(r, r->self, word, MEMBER_EV_LEAVE, &left);
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

static void fence_former(void *ctx);

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
	err = host_lock(r, o->lock_ms ? o->lock_ms : LOCK_TRIES);
	if (err)
		return err;
	r->locked = true;
	r->resumed = false;
	err = region_guard(r, join_run, &d, NULL) ? -EIO : d.result;
	if (err)
		region_forget(r);
	r->locked = false;
	host_unlock(r);
	if (err)
		return err;
	r->want = o->shards;
	r->adopt = o->adopt;
	memcpy(r->node, o->node, sizeof(r->node));
	if (o->reader)
		return 0;
	(void)region_guard(r, fence_former, r, NULL);
	err = region_tick(r);
	if (err >= 0)
		return 0;
	/* not a slot for each try */
	region_leave(r);
	return err;
}

int region_self(const struct region *r, uint32_t *ret_member, uint64_t *ret_inc)
{
	if (!r->word)
		return -ENOTCONN;
	*ret_member = r->self;
	*ret_inc = member_word_inc(r->word);
	return 0;
}

int region_says_live(const struct region *r)
{
	if (!r->word)
		return -ENOTCONN;
	return region_is_live(r) ? 0 : REGION_STALE;
}

static void may_write_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = region_says_live(d->r);
}

int region_may_write(struct region *r)
{
	struct doing d = { .r = r };

	return region_guard(r, may_write_run, &d, NULL) ? -EIO : d.result;
}

/* ---- death ----------------------------------------------------------------------- */

bool region_has_ended(const struct region_member *m)
{
	uint64_t writer;

	if (!region_host_ended(shared_load64(&m->pid),
			       shared_load64(&m->started)))
		return false;
	/* After its keeper: pairs with become_writer(). */
	writer = shared_load64_acquire(&m->writer);
	return !writer || region_host_ended(region_process_pid(writer),
					    region_process_started(writer));
}

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
		       region_has_ended(m);
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

static int fence(struct region *r, uint32_t member, uint64_t inc, bool told)
{
	enum member_event event = told ? MEMBER_EV_TOLD : MEMBER_EV_EXITED;
	uint64_t word, to;

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

static void fence_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = fence(d->r, d->member, d->inc, d->told);
}

int region_fence(struct region *r, uint32_t member, uint64_t inc, bool told)
{
	struct doing d = { .r = r, .member = member, .inc = inc, .told = told };

	if (member >= r->g.members)
		return -EINVAL;
	if (!r->mem->swap)
		return -EOPNOTSUPP;
	return region_guard(r, fence_run, &d, NULL) ? -EIO : d.result;
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

/* What is taken first. */
enum liking {
	LIKE_MINE,   /* it is, and a process before this one had it in hand */
	LIKE_FORMER, /* this node had it last */
	LIKE_EMPTY,
	LIKE_FREE,
	LIKE_DEAD, /* or it is somebody's who lives: region_take() knows */
	LIKINGS
};

struct liked {
	const struct region *r;
	uint32_t shard;
	enum liking like;
};

static void like_run(void *ctx)
{
	struct liked *l = ctx;
	const struct region *r = l->r;
	const struct region_shard_head *head = region_head_of(r, l->shard);
	uint64_t owner =
		shared_load64_acquire(&r->control->owner[l->shard].word);

	if (owner == region_owner_word(r->self, member_word_inc(r->word)))
		l->like = LIKE_MINE;
	else if (r->node[0] && shared_load64(&head->node[0]) == r->node[0] &&
		 shared_load64(&head->node[1]) == r->node[1])
		l->like = LIKE_FORMER;
	else if (owner)
		l->like = LIKE_DEAD;
	else
		l->like = shared_load64(&head->sealed) ? LIKE_FREE : LIKE_EMPTY;
}

/* One whose head's memory fails is not liked at all. */
static enum liking liking_of(struct region *r, uint32_t shard)
{
	struct liked l = { .r = r, .shard = shard };

	return region_guard(r, like_run, &l, NULL) ? LIKINGS : l.like;
}

static void take_what_is_wanted(struct region *r)
{
	for (unsigned like = 0; like < LIKINGS; like++)
		for (uint32_t i = 0; i < r->g.shards; i++) {
			uint64_t owner = shared_load64_acquire(
				&r->control->owner[i].word);
			bool more = r->n_own < r->want || like == LIKE_MINE ||
				    (r->adopt && owner);

			if (more && liking_of(r, i) == like)
				(void)region_take(r, i);
		}
}

/* A node that comes back need not wait until somebody sees that it had ended. */
static void fence_former(void *ctx)
{
	struct region *r = ctx;

	for (uint32_t i = 0; i < r->g.shards; i++) {
		uint64_t owner =
			shared_load64_acquire(&r->control->owner[i].word);

		if (owner && liking_of(r, i) == LIKE_FORMER)
			(void)region_fence(r, region_owner_member(owner),
					   region_owner_inc(owner), false);
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

static void tick_run(void *ctx)
{
	struct doing *d = ctx;

	d->result = tick(d->r);
}

int region_tick(struct region *r)
{
	struct doing d = { .r = r };

	if (!r->word)
		return -ENOTCONN;
	return region_guard(r, tick_run, &d, NULL) ? -EIO : d.result;
}

/* Those that are of no use are the next one's to judge. */
static void leave_out(struct region *r)
{
	while (r->n_out) {
		struct region_own *own = r->out[r->n_out - 1];

		(void)r->mem->swap(&r->control->owner[own->shard].word,
				   own->owner, 0);
		r->n_out--;
		region_own_destroy(r, own);
	}
}

/* Shards whose memory fails are out of use then: the next one's to judge. */
static int give_all(struct region *r)
{
	while (r->n_own) {
		uint32_t shard = r->own[r->n_own - 1]->shard;
		int err = region_give(r, shard);

		if (err && !(err == -EIO && region_is_out(r, shard)))
			return err;
	}
	return 0;
}

static void leave_run(void *ctx)
{
	struct doing *d = ctx;
	struct region *r = d->r;
	uint64_t left;

	d->result = give_all(r);
	if (d->result < 0)
		return;
	leave_out(r);
	d->result = record_step(r, r->self, r->word, MEMBER_EV_LEAVE, &left);
	region_forget(r);
}

int region_leave(struct region *r)
{
	struct doing d = { .r = r };

	if (!r->word)
		return -ENOTCONN;
	if (r->pinned)
		return -EBUSY;
	return region_guard(r, leave_run, &d, NULL) ? -EIO : d.result;
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
