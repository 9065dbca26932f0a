/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Death of members: who has ended, and declaring it.
 *
 * A member is declared dead by one compare-and-swap of its word, when the kernel of its
 * host says that every process of it has ended (EXITED), or when somebody vouches for
 * that (TOLD). Late is not dead: no clock decides. From `known` on, the record says which
 * processes must have ended; before that a claim of this host is judged by the
 * lock of the region's file, which a process holds from before its claim until
 * after it entered: who gets the lock and still sees the claim knows that
 * nobody is at it.
 *
 * Nothing else is changed here: pins are cleared by the next claimant, shards are taken
 * by who wants them. Who is declared dead finds it out by region_is_live().
 */
#include "region/internal.h"
#include <errno.h>
#include <unistd.h>

/* What is done in a guard: `member` is the one to be declared dead. */
struct doing {
	struct region *r;
	uint32_t member;
	uint64_t inc;
	bool told;
	int result;
};

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

/* Is the word still that one? */
struct still {
	const struct region_member *m;
	uint64_t word;
	bool is;
};

static void still_run(void *ctx)
{
	struct still *s = ctx;

	s->is = shared_load64_acquire(&s->m->word) == s->word;
}

/* Does nobody work at a claim that names nobody? Then nobody of this host has the
 * lock. In a guard of its own: who is left in the middle here leaves the lock. */
static bool is_deserted(struct region *r, const struct region_member *m,
			uint64_t word)
{
	struct still s = { .m = m, .word = word };
	int err;

	if (region_host_lock(r, 1))
		return false;
	err = region_guard(r, still_run, &s, NULL);
	region_host_unlock(r);
	return !err && s.is;
}

/* Does this host's kernel say that the member with this word has ended? */
static bool is_proved(struct region *r, uint32_t member, uint64_t word)
{
	const struct region_member *m = region_record(r, member);
	uint64_t mine = r->host.id[0] & ((1ull << MEMBER_HOST_BITS) - 1);

	if (member_word_host(word) != mine)
		return false;
	/* Pairs with identify(). */
	if (shared_load64_acquire(&m->known) == member_word_inc(word))
		return shared_load64(&m->host[0]) == r->host.id[0] &&
		       shared_load64(&m->host[1]) == r->host.id[1] &&
		       region_has_ended(m);
	return is_deserted(r, m, word);
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
	if (region_record_step(r, member, word, event, &to) == 0 && r->word &&
	    !told)
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
void region_fence_ended(struct region *r)
{
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t beat = shared_load64(&m->beat);

		if (i != r->self && beat == r->beat_seen[i])
			region_fence(r, i, 0, false);
		r->beat_seen[i] = beat;
	}
}

/*
 * A program that was replaced by exec() has the number and the start of the one
 * after it, so nobody can prove its end but that one: what it mapped is gone, and it
 * reads no more.
 */
void region_fence_former_program(struct region *r)
{
	uint64_t pid = (uint64_t)getpid(), started, to;
	uint64_t image = region_host_image();

	if (!image || region_host_started(pid, &started))
		return;
	for (uint32_t i = 0; i < r->g.members; i++) {
		const struct region_member *m = region_record(r, i);
		uint64_t word = shared_load64_acquire(&m->word);

		if (!member_gone(word, member_word_inc(word)) &&
		    shared_load64_acquire(&m->known) == member_word_inc(word) &&
		    shared_load64(&m->host[0]) == r->host.id[0] &&
		    shared_load64(&m->host[1]) == r->host.id[1] &&
		    shared_load64(&m->pid) == pid &&
		    shared_load64(&m->started) == started &&
		    shared_load64(&m->image) &&
		    shared_load64(&m->image) != image)
			(void)region_record_step(r, i, word, MEMBER_EV_EXITED,
						 &to);
	}
}
