/* SPDX-License-Identifier: Apache-2.0 */
/* What a workflow says of sessions that go on next: one request, and the list in
 * the blob. The server remembers; nothing is kept here. */
#include "client/session.h"

_Static_assert(OC_SESSION_NEXT_MAX == RING_NEXT_MOST, "one list, one request");

/* A name that cannot be is no session's: it goes over as none. */
static void put(oc_client *c, size_t i, const struct oc_session_next *next)
{
	struct ring_next to = { .in_ms = next->in_ms };
	size_t n = next->name ? strnlen(next->name, sizeof(to.name)) : 0;

	if (n < sizeof(to.name))
		memcpy(to.name, next->name ? next->name : "", n);
	shared_store_bytes(c->seg->blob + i * (sizeof(to) / sizeof(uint64_t)),
			   sizeof(to), &to, sizeof(to));
}

int oc_session_expect(oc_client *c, const struct oc_session_next *next,
		      size_t n, uint64_t timeout_ns, size_t *ret_known)
{
	struct ring_call q = { .op = RING_SESSION_EXPECT, .arg = n };
	struct ring_answer a;
	uint64_t deadline;
	int r;

	if (client_is_child(c))
		return client_child(c);
	if (!n || n > OC_SESSION_NEXT_MAX)
		return client_fail(c, -EINVAL,
				   "from 1 to %d sessions are announced at "
				   "once",
				   OC_SESSION_NEXT_MAX);
	deadline = client_deadline(c, timeout_ns);
	r = blob_take(c, deadline);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++)
		put(c, i, &next[i]);
	r = blob_round(c, &q, deadline, &a);
	lock_drop(&c->blob);
	if (r == 0)
		r = session_result(c, a.result);
	if (r == 0 && a.loc > n)
		r = client_fail(c, -EPROTO, "a malformed answer");
	if (r == 0 && ret_known)
		*ret_known = a.loc;
	return r;
}
