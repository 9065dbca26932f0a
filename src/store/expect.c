/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What others say of sessions: who runs a workflow knows which of them goes on
 * next, and when. A word is kept with the session as its expected return, marked
 * as of others (SESSION_TOLD), by one store; the policy is told at once, and what
 * is below is brought up in time as for a return that the session announced
 * itself (move_ahead.c).
 *
 * Any client of the tenant that may write may say it, of the tenant's sessions
 * alone: nobody is attached, resumed, or kept alive by it. The newest word
 * counts; the session's own replaces it, its return ends it, and when its time is
 * over it stands for nothing more. Who takes back takes back what others said;
 * what the session said itself stands. How far it is believed the policy learns.
 */
#include <errno.h>
#include <onecopy/session.h>
#include "base/clock.h"
#include "store/internal.h"
#include "store/session.h"

static void tell_policy(const struct store_client *c,
			const struct session_record *r, uint64_t in_ms)
{
	struct pool *p = c->pool;
	const struct policy_use u = {
		.now_ms = c->store->now_ns / NS_PER_MS,
		.session = pool_session_id(p, r),
		.kind = (uint32_t)shared_load64(&r->ns),
		.back_ms = in_ms,
	};

	if (p->policy_ops->expect)
		p->policy_ops->expect(p->policy, &u);
}

int64_t store_session_expect(struct store_client *c,
			     const char name[LAYOUT_NAME], uint64_t in_ms)
{
	const struct store_sessions *l = store_session_limits(c->store);
	uint64_t now = c->store->now_ns / NS_PER_MS;
	struct session_record *r;

	if (c->read_only)
		return -EPERM;
	r = pool_session_find(c->pool, name);
	if (!r) {
		pool_count(c->pool, POOL_C_session_told_unknown, in_ms != 0);
		return OC_MISS;
	}
	if (!in_ms && !(shared_load64(&r->expected_ms) & SESSION_TOLD))
		return 0;
	in_ms = MIN(in_ms, l->lease_max_ms);
	shared_store64(&r->expected_ms,
		       in_ms ? (now + in_ms) | SESSION_TOLD : 0);
	/* what takes a word back announces nothing */
	pool_count(c->pool, POOL_C_session_told, in_ms != 0);
	tell_policy(c, r, in_ms);
	return 0;
}

void expect_call(struct store_client *c, const struct ring_call *call,
		 struct ring_answer *a)
{
	uint64_t known = 0;
	int64_t r = 0;

	answer_set(a, -EINVAL);
	if (!call->arg || call->arg > RING_NEXT_MOST)
		return;
	for (uint64_t i = 0; i < call->arg; i++) {
		struct ring_next next;

		shared_load_words((uint64_t *)&next,
				  c->segment->blob +
					  i * (sizeof(next) / sizeof(uint64_t)),
				  sizeof(next) / sizeof(uint64_t));
		r = store_session_expect(c, next.name, next.in_ms);
		if (r < 0)
			break;
		known += r == 0;
	}
	answer_set(a, MIN(r, 0));
	a->loc = known;
}

bool expect_over(const struct store *s, uint64_t word)
{
	uint64_t now = s->now_ns / NS_PER_MS;

	/* a pass may have begun just before, and takes some ticks */
	return (word & SESSION_TOLD) &&
	       session_expected(word) + 2 * SESSION_LAPSE_MS < now;
}

/* In the place of LADDER_RATE_ONE / in_ms, which is as if the word were sure. */
uint64_t expect_rate(const struct store *s, const struct pool *p,
		     const struct session_record *r)
{
	const struct policy_ops *ops = p->policy_ops;
	const struct policy_use u = {
		.now_ms = s->now_ns / NS_PER_MS,
		.session = pool_session_id(p, r),
		.kind = (uint32_t)shared_load64(&r->ns),
		.n = 1, /* it is known by its name */
	};

	for (uint32_t l = 0; ops->find && l < p->n_arenas; l++) {
		uint32_t ticket = ops->find(p->policy, l, &u);

		if (ticket != POLICY_NONE)
			return MAX(ops->rate_of(p->policy, ticket, false),
				   1ull);
	}
	return ops->find ? 1 : UINT64_MAX;
}
