/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going on as a member that is there: a server whose keeper lives is the same member
 * as its predecessor, with its shards (docs/design/region.md, model/writer.pml).
 *
 * The record names the keeper, which does not change, and the process that writes,
 * which does; a member is proved dead when both have ended. So at each moment either
 * a living process is the writer, or the keeper is there to start the next one.
 */
#include "region/internal.h"
#include <errno.h>
#include <unistd.h>

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
int region_resume(struct region *r, const struct region_join_options *o)
{
	uint64_t pid, started, mine, word, left;
	int err = region_processes(o, &pid, &started, &mine);

	if (!err)
		err = find_kept(r, pid, started, &r->self, &word);
	if (!err)
		err = become_writer(r, region_record(r, r->self), word,
				    o->keeper, mine);
	if (err)
		return err;
	if (member_word_state(word) == MEMBER_JOINING) {
		/* it died before it was in */
		region_record_step(r, r->self, word, MEMBER_EV_LEAVE, &left);
		return REGION_MISS;
	}
	err = region_map_unit(r);
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
	region_clear_unit(r);
	r->word = word;
	return 0;
}

bool region_resumed(const struct region *r)
{
	return r->resumed;
}
