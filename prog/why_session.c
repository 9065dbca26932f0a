/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of a session, for `onecopy why`. */
#include <errno.h>
#include <onecopy/session.h>
#include <stdlib.h>
#include "base/fault.h"
#include "why.h"

static int no_session(const struct why *w, int r)
{
	if (r == OC_MISS || r == -ENOENT)
		return cli_fail(w->command, PROG_BAD_INPUT,
				"--session %.100s: no such session",
				w->session_text);
	return cli_fail(w->command, r < 0 ? (int)exit_of(r) : PROG_FAILED,
			"--session %.100s: %s", w->session_text,
			oc_strerror(r));
}

int why_add_session(struct why *w)
{
	struct oc_key *keys = NULL;
	oc_session *s;
	size_t n, got = 0;
	oc_ns *ns;
	int r = ask_session(w->client, w->session_text, &ns, &s);

	if (r)
		return no_session(w, r);
	w->ns = oc_ns_id(ns);
	n = oc_session_blocks(s);
	if (n)
		keys = mem_array(n, sizeof(*keys));
	if (n)
		r = keys ? oc_session_keys(s, 0, keys, n, 0, &got) : -ENOMEM;
	if (r)
		r = no_session(w, r);
	else if (!got)
		r = cli_fail(w->command, PROG_BAD_INPUT,
			     "--session %.100s: it has no blocks yet",
			     w->session_text);
	else
		r = why_add(w, keys, got);
	free(keys);
	oc_session_leave(s);
	oc_ns_close(ns);
	return r;
}
