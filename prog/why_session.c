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

static int open_session(struct why *w, oc_ns **ret_ns, oc_session **ret_session)
{
	struct oc_session_options o = OC_SESSION_INIT;
	json_t *root;
	int r = ask_json(w->client, "session", w->session_text, &root);

	if (r)
		return r;
	o.flags = OC_SESSION_FIND;
	o.id = ask_u64(root, "id");
	w->ns = ask_u64(root, "ns");
	json_decref(root);
	r = oc_ns_find(w->client, (uint32_t)w->ns, ret_ns);
	if (r)
		return r;
	r = oc_session_open(*ret_ns, &o, 0, ret_session);
	if (r)
		oc_ns_close(*ret_ns);
	return r;
}

int why_add_session(struct why *w)
{
	struct oc_key *keys = NULL;
	oc_session *s;
	size_t n, got = 0;
	oc_ns *ns;
	int r = open_session(w, &ns, &s);

	if (r)
		return no_session(w, r);
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
