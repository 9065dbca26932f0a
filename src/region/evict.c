/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making room in the own shards, and what readers tell their owners.
 *
 *   reader (any member)                 owner
 *   R1 slot = (loc, gen)                S1 desc.word = LEAVING or DOOMED, each
 *   R2 full fence                       S2 full fence, one for the batch
 *   R3 desc.word == (gen, SEALED)?      S3 which members are LIVE; their `high`;
 *      pinned : a miss                     their slots
 *                                       S4 named: SPARE (DOOMED waits);
 *                                          else: entry out, RELEASE, gen + 1
 *
 * As in coherence/pin.h: store buffering with a full fence on both sides. A
 * member stores LIVE and `high` before its slot, so who misses those has missed
 * the slot, and its own mark was seen. Slots of a member that is late are looked
 * at as ever: it may come back and read on. Those of the dead are not.
 *
 * The order is a clock: a block that was touched, or pinned when it was looked
 * at, is passed over once. Readers of other nodes say so in their touch rings,
 * which lose what is not read in time.
 */
#include "base/hash.h"
#include "coherence/pin.h"
#include "region/internal.h"
#include <errno.h>

#define EVICT_BATCH   64u /* the first, at most; each next one twice as much */
#define EVICT_BATCHES 16u /* of one shard in one call */
#define EVICT_AHEAD   16u /* made free beyond what was asked for */
#define REPORTS_READ  4u  /* blocks that a tick reads because of reports */

/* ---- pins --------------------------------------------------------------------------- */

static bool is_own(const struct region_own *own, uint64_t pin,
		   uint32_t *ret_frame)
{
	uint64_t loc = pin_word_loc(pin);

	*ret_frame = frame_loc_frame(loc);
	return frame_loc_slab(loc) == own->shard + 1 &&
	       *ret_frame < own->frames;
}

/* Is it a pin word of what the frame holds now? */
static bool names_now(const struct region_own *own, uint64_t pin,
		      uint32_t frame)
{
	uint64_t word = shared_load64(&own->desc[frame].word);

	return pin_word_names(pin, region_loc(own->shard, frame),
			      frame_word_gen(word));
}

/* Which of the frames that have these marks do the slots name? Of those that have
 * no mark to go by, where anything is pinned, whatever filling it is. */
static void scan_unit(const struct region *r, struct region_own *own,
		      const struct region_unit *unit, uint8_t among)
{
	uint64_t high;
	uint32_t frame;

	if (r->mem->refresh)
		r->mem->refresh(&unit->head, sizeof(unit->head));
	high = shared_load64_acquire(&unit->head.high);
	high = MIN(high, REGION_SLOTS);
	if (r->mem->refresh)
		r->mem->refresh(unit->slot, high * sizeof(*unit->slot));
	for (uint64_t i = 0; i < high; i++) {
		uint64_t pin = pin_read(&unit->slot[i]);

		if (!pin || !is_own(own, pin, &frame) ||
		    (own->mark[frame] & among) != among)
			continue;
		if (!among || names_now(own, pin, frame))
			own->mark[frame] |= MARK_PINNED;
	}
}

/* What is done in a guard. */
struct scan {
	struct region *r;
	struct region_own *own;
	uint32_t member;
	uint8_t among;
	bool read;
};

static void scan_run(void *ctx)
{
	struct scan *s = ctx;

	scan_unit(s->r, s->own, region_unit_of(s->r, s->member), s->among);
}

/* A member whose pins cannot be read pins all there is. */
static void pin_all(struct region_own *own, uint8_t among)
{
	for (uint32_t f = 0; f < own->frames; f++)
		if ((own->mark[f] & among) == among)
			own->mark[f] |= MARK_PINNED;
}

static void scan_all(struct region *r, struct region_own *own, uint8_t among)
{
	struct scan s = { .r = r, .own = own, .among = among };

	r->scans++;
	for (uint32_t i = 0; i < r->g.members; i++) {
		if (!member_pins(
			    shared_load64_acquire(&region_record(r, i)->word)))
			continue;
		s.member = i;
		if (region_guard(r, scan_run, &s, NULL))
			pin_all(own, among);
	}
}

/* S2 and S3. */
static void scan(struct region *r, struct region_own *own)
{
	r->mem->fence();
	scan_all(r, own, MARK_LEAVING);
}

static enum frame_state state_of(const struct region_own *own, uint32_t frame)
{
	return frame_word_state(shared_load64(&own->desc[frame].word));
}

/* True: it is free; or its memory has failed, and it is out of the way. */
static bool release(struct region *r, struct region_own *own, uint32_t frame)
{
	region_unlist(own, frame);
	if (region_step(r, own, frame, FRAME_EV_RELEASE))
		return false;
	region_freed(r, own, frame);
	return true;
}

/* S4 for one frame that is LEAVING: true when it is free. */
static bool settle(struct region *r, struct region_own *own, uint32_t frame)
{
	bool pinned = own->mark[frame] & MARK_PINNED;

	own->mark[frame] &= MARK_STAYS;
	if (own->mark[frame] & MARK_HELD)
		return false;
	if (pinned) {
		if (region_step(r, own, frame, FRAME_EV_SPARE))
			return false;
		own->mark[frame] |= MARK_USED;
		region_count(r, REGION_C_spared, 1);
		return false;
	}
	own->mark[frame] &= (uint8_t)~MARK_SEALED;
	own->n_sealed--;
	region_count(r, REGION_C_evictions, 1);
	return release(r, own, frame);
}

static uint32_t judge_doomed(struct region *r, struct region_own *own)
{
	uint32_t n = own->n_doomed;

	for (uint32_t i = 0; i < n; i++)
		own->mark[own->doomed[i]] |= MARK_LEAVING;
	scan(r, own);
	own->n_doomed = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t frame = own->doomed[i];

		bool pinned = own->mark[frame] & MARK_PINNED;

		own->mark[frame] &= MARK_STAYS;
		if (pinned) {
			own->doomed[own->n_doomed++] = frame;
			continue;
		}
		own->mark[frame] &= (uint8_t)~MARK_LISTED;
		release(r, own, frame);
	}
	return n - own->n_doomed;
}

struct judging {
	struct region *r;
	struct region_own *own;
	uint32_t n;
};

static void judge_run(void *ctx)
{
	struct judging *j = ctx;

	j->n = judge_doomed(j->r, j->own);
}

uint32_t region_judge_doomed(struct region *r, struct region_own *own)
{
	struct judging j = { .r = r, .own = own };

	return region_guard(r, judge_run, &j, NULL) ? 0 : j.n;
}

static uint32_t judge(struct region *r, struct region_own *own,
		      const uint32_t *frames, uint32_t n)
{
	uint32_t freed = 0;

	for (uint32_t i = 0; i < n; i++) {
		(void)region_step(r, own, frames[i], FRAME_EV_LEAVE);
		own->mark[frames[i]] |= MARK_LEAVING;
	}
	scan(r, own);
	for (uint32_t i = 0; i < n; i++)
		freed += settle(r, own, frames[i]);
	return freed;
}

/* ---- what readers tell ---------------------------------------------------------------- */

static void take_touch(struct region *r, uint64_t pin)
{
	uint32_t frame;

	for (uint32_t i = 0; i < r->n_own; i++) {
		struct region_own *own = r->own[i];

		if (is_own(own, pin, &frame) && names_now(own, pin, frame))
			own->mark[frame] |= MARK_USED;
	}
}

static void touches_run(void *ctx)
{
	struct scan *s = ctx;
	struct region *r = s->r;
	const struct region_unit *unit = region_unit_of(r, s->member);
	uint64_t tail, *seen = &r->touch_seen[s->member];

	if (r->mem->refresh)
		r->mem->refresh(unit, sizeof(*unit));
	/* Pairs with touch(). */
	tail = shared_load64_acquire(&unit->head.touch_tail);
	if (tail - *seen > REGION_TOUCHES)
		*seen = tail - REGION_TOUCHES;
	while (*seen < tail)
		take_touch(r,
			   shared_load64(
				   &unit->touch[(*seen)++ % REGION_TOUCHES]));
}

/* What cannot be read is passed over: it serves recency alone. */
static void take_touches(struct region *r)
{
	struct scan s = { .r = r };

	for (; s.member < r->g.members; s.member++)
		(void)region_guard(r, touches_run, &s, NULL);
}

/* Does a sealed frame of an own shard have its checksum? Its descriptor may be
 * that of an owner before this one, and may lie. */
static bool is_sound(const struct region *r, const struct region_own *own,
		     uint32_t frame)
{
	const struct region_desc *d = &own->desc[frame];
	struct region_name name = { .group = 0 };
	uint64_t part = shared_load64(&d->part);
	uint64_t bytes = frame_extent_bytes(shared_load64(&d->extent));

	if (bytes > r->g.frame_bytes)
		return false;
	shared_load_words(name.key, d->key, 4);
	name.group = frame_part_group(part);
	name.rank = frame_part_rank(part);
	return hash_payload(own->payload + frame * r->g.frame_bytes, bytes,
			    region_seed(&name)) == shared_load64(&d->checksum);
}

/* Is it sound? */
struct sounding {
	const struct region *r;
	const struct region_own *own;
	uint32_t frame;
	bool sound;
};

static void sound_run(void *ctx)
{
	struct sounding *s = ctx;

	s->sound = is_sound(s->r, s->own, s->frame);
}

/* A reader found a block bad: believed when the owner finds it bad too. True: that
 * took reading it. */
static bool take_report(struct region *r, uint64_t pin)
{
	struct region_own *own =
		region_own_of(r, frame_loc_slab(pin_word_loc(pin)) - 1);
	struct sounding s = { .r = r, .own = own };
	uint64_t word;

	if (!own || !is_own(own, pin, &s.frame))
		return false;
	word = shared_load64(&own->desc[s.frame].word);
	if (frame_word_state(word) != FRAME_SEALED ||
	    pin != pin_word(region_loc(own->shard, s.frame),
			    frame_word_gen(word)))
		return false;
	/* where its memory fails it is doomed already */
	if (region_guard(r, sound_run, &s, NULL) == 0 && !s.sound &&
	    region_doom(r, own, s.frame))
		region_count(r, REGION_C_bad, 1);
	return true;
}

static void reports_run(void *ctx)
{
	struct scan *s = ctx;
	struct region *r = s->r;
	const struct region_unit *unit = region_unit_of(r, s->member);
	uint64_t tail, *seen = &r->report_seen[s->member];

	if (r->mem->refresh)
		r->mem->refresh(&unit->head, sizeof(unit->head));
	/* Pairs with report(). */
	tail = shared_load64_acquire(&unit->head.report_tail);
	if (tail - *seen > REGION_REPORTS)
		*seen = tail - REGION_REPORTS;
	while (*seen < tail && !s->read)
		s->read = take_report(
			r,
			shared_load64(
				&unit->head.report[(*seen)++ % REGION_REPORTS]));
}

/* Reports may lie, and each costs reading a block: so few in a call, one of a member,
 * and another member is the first next time. Those of members that have left since
 * count: a tool that meets a bad block ends. */
void region_take_reports(struct region *r)
{
	unsigned reads = 0;
	uint32_t i = 0;

	for (; i < r->g.members && reads < REPORTS_READ; i++) {
		struct scan s = { .r = r };

		s.member = (r->report_next + i) % r->g.members;
		(void)region_guard(r, reports_run, &s, NULL);
		reads += s.read;
	}
	r->report_next = (r->report_next + i) % r->g.members;
}

/* ---- leaving ---------------------------------------------------------------------------- */

/* The next frames that may leave; at most two turns of the hand. */
static uint32_t choose(struct region_own *own, uint32_t *frames, uint32_t n)
{
	uint32_t got = 0;

	for (uint64_t turn = 0; turn < 2ull * own->frames && got < n; turn++) {
		uint32_t frame = own->hand;

		own->hand = own->hand + 1 < own->frames ? own->hand + 1 : 0;
		if (own->mark[frame] & MARK_PINNED) {
			own->mark[frame] |= MARK_USED; /* as if spared */
			continue;
		}
		if (!(own->mark[frame] & MARK_SEALED) ||
		    state_of(own, frame) != FRAME_SEALED)
			continue;
		if (own->mark[frame] & MARK_USED) {
			own->mark[frame] &= (uint8_t)~MARK_USED;
			continue;
		}
		if (own->mark[frame] & MARK_LEAVING)
			break; /* all the way round */
		own->mark[frame] |= MARK_LEAVING;
		frames[got++] = frame;
	}
	return got;
}

/*
 * Until `need` are free here, or all that may leave was looked at; when room has
 * to be made, up to `want`.
 *
 * A scan looks at every slot of every member, so their number must not grow with
 * that of the pinned frames. When the first batch was not enough, one scan tells
 * where pins are: that frees nothing by itself, and from then on frames are passed
 * over as if they had been judged and spared. What is chosen then is nearly
 * always free, but for what was pinned meanwhile.
 */
static uint32_t evict_own(struct region *r, struct region_own *own,
			  uint32_t need, uint32_t want)
{
	/* what is sealed and what is doomed, both as marked, are together not more
	 * than frames */
	uint32_t *frames = own->doomed + own->n_doomed;
	uint32_t freed = 0, batch = EVICT_BATCH;
	bool told = false;

	for (unsigned n = 0; n < EVICT_BATCHES && freed < need; n++) {
		uint32_t got;

		if (n == 1) {
			scan_all(r, own, 0);
			told = true;
		}
		got = choose(own, frames, MIN(want - freed, batch));
		if (!got)
			break;
		freed += judge(r, own, frames, got);
		batch *= 2;
	}
	for (uint32_t i = 0; told && i < own->frames; i++)
		own->mark[i] &= (uint8_t)~MARK_PINNED;
	return freed;
}

static void evict_run(void *ctx)
{
	struct judging *j = ctx;
	struct region_own *own = j->own;
	uint32_t freed = 0, n = j->n;

	if (own->n_doomed)
		freed = judge_doomed(j->r, own);
	if (freed < n)
		freed += evict_own(j->r, own, n - freed,
				   MAX(n - freed,
				       MIN(EVICT_AHEAD, own->frames / 32)));
	j->n = freed;
}

uint32_t region_evict(struct region *r, uint32_t n)
{
	uint32_t freed = 0;

	if (region_may_write(r) || !n)
		return 0;
	take_touches(r);
	/* a scan costs as much for some as for one; shards take turns */
	for (uint32_t i = 0; i < r->n_own && freed < n; i++) {
		struct judging j = { .r = r, .n = n - freed };

		r->next_own = (r->next_own + 1) % r->n_own;
		j.own = r->own[r->next_own];
		if (region_guard(r, evict_run, &j, NULL) == 0)
			freed += j.n;
	}
	return freed;
}

struct using
{
	struct region *r;
	const struct region_name *name;
};

static void use_run(void *ctx)
{
	struct using *u = ctx;
	struct region_found found;

	if (region_find_own(u->r, u->name, &found))
		region_own_of(u->r, found.shard)->mark[found.frame] |=
			MARK_USED;
}

void region_use(struct region *r, const struct region_name *name)
{
	struct using u = { .r = r, .name = name };

	if (r->word)
		(void)region_guard(r, use_run, &u, NULL);
}

struct removal {
	struct region *r;
	const struct region_name *name;
	bool any;
};

static void remove_run(void *ctx)
{
	struct removal *m = ctx;
	struct region_found found;

	/* one that adopted a shard can own two replicas */
	for (uint32_t i = 0; i <= m->r->n_own; i++) {
		struct region_own *own;

		if (!region_find_own(m->r, m->name, &found))
			return;
		own = region_own_of(m->r, found.shard);
		if (!region_doom(m->r, own, found.frame)) {
			/* it is no block of ours: not found any more, and judged
			 * when it comes off its list */
			region_unlist(own, found.frame);
			continue;
		}
		m->any = true;
		region_count(m->r, REGION_C_removed, 1);
		region_judge_doomed(m->r, own);
	}
}

int region_remove(struct region *r, const struct region_name *name)
{
	struct removal m = { .r = r, .name = name };
	int err = region_may_write(r);

	if (err)
		return err;
	if (region_guard(r, remove_run, &m, NULL))
		return -EIO;
	return m.any ? 0 : REGION_MISS;
}
