/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of an actor: opened, appended to, forked, paused, resumed, closed,
 * while their server dies. What each must consist of is known here, because
 * nobody else writes them: other keys, or one that has ended although its owner
 * lives and its lease runs, are wrong.
 */
#include "torture_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "torture.h"

#define LEASE_MS  600000u
#define PAUSED_MS 3000u /* of a paused one: it may end when this is over */
#define EXPECT_MS 200u

static uint32_t below(const struct torture_sessions *t, uint32_t n)
{
	return (uint32_t)rng_below(t->rng, n);
}

/* What a call said, where nothing but `good` and errors that pass are right. */
static void judge(struct torture_sessions *t, struct torture_session *o,
		  const char *what, int r)
{
	if (r == 0)
		return;
	if (r == OC_MISS && o->paused) { /* its lease is over */
		oc_session_leave(o->s);
		o->s = NULL;
		return;
	}
	if (r > 0) {
		fprintf(stderr, "onecopy: torture: session: %s: %s\n", what,
			oc_strerror(r));
		t->wrong++;
	} else {
		t->errors++;
	}
	/* whether it happened is not known */
	oc_session_leave(o->s);
	o->s = NULL;
}

static struct torture_session *unused(struct torture_sessions *t)
{
	for (unsigned i = 0; i < TORTURE_SESSIONS; i++)
		if (!t->own[i].s)
			return &t->own[i];
	return NULL;
}

static void open_one(struct torture_sessions *t, struct torture_session *o)
{
	struct oc_session_options options = OC_SESSION_INIT;
	char name[OC_SESSION_NAME];
	int r;

	snprintf(name, sizeof(name), "torture-%llx",
		 (unsigned long long)rng_next(t->rng));
	options.name = below(t, 2) ? name : NULL;
	options.lease_ms = LEASE_MS;
	r = oc_session_open(t->ns, &options, 0, &o->s);
	o->n = 0;
	o->paused = false;
	if (r)
		t->errors++;
	if (r)
		o->s = NULL;
}

static void append(struct torture_sessions *t, struct torture_session *o)
{
	uint32_t n = 1 + below(t, 4);
	struct oc_key keys[4];
	int r = 0;

	if (o->n + n > TORTURE_SESSION_KEYS)
		return;
	for (uint32_t i = 0; i < n && r == 0; i++) {
		o->key[o->n + i] = below(t, t->keys);
		r = torture_key(o->key[o->n + i], false, &keys[i]);
	}
	if (r == 0)
		r = oc_session_append(o->s, keys, n, 0);
	if (r == 0) {
		o->n += n;
		o->paused = false;
	}
	judge(t, o, "append", r);
}

static void fork_one(struct torture_sessions *t, struct torture_session *o)
{
	struct oc_session_options options = OC_SESSION_INIT;
	struct torture_session *to = unused(t);
	int r;

	if (!to)
		return;
	options.lease_ms = LEASE_MS;
	options.blocks = o->n ? below(t, o->n + 1) : 0;
	r = oc_session_fork(o->s, &options, 0, &to->s);
	if (r) {
		to->s = NULL;
		judge(t, o, "fork", r);
		return;
	}
	to->n = options.blocks ? (uint32_t)options.blocks : o->n;
	to->paused = false;
	memcpy(to->key, o->key, sizeof(to->key));
}

static void pause_or_resume(struct torture_sessions *t,
			    struct torture_session *o)
{
	int r;

	if (o->paused) {
		r = oc_session_resume(o->s, 0);
		judge(t, o, "resume", r);
		o->paused = o->s && r != 0;
		return;
	}
	/* from here on it may end by itself */
	o->paused = true;
	judge(t, o, "pause", oc_session_pause(o->s, EXPECT_MS, PAUSED_MS, 0));
}

/* Its keys are those that were appended, in that order. */
static void compare(struct torture_sessions *t, struct torture_session *o)
{
	struct oc_key keys[TORTURE_SESSION_KEYS], want;
	size_t n = 0;
	int r = oc_session_keys(o->s, 0, keys, TORTURE_SESSION_KEYS, 0, &n);

	if (r) {
		judge(t, o, "keys", r);
		return;
	}
	if (n != o->n || oc_session_blocks(o->s) != o->n)
		t->wrong++;
	for (size_t i = 0; i < n && i < o->n; i++)
		if (torture_key(o->key[i], false, &want) ||
		    memcmp(&want, &keys[i], sizeof(want)) != 0)
			t->wrong++;
	if (t->wrong)
		fprintf(stderr,
			"onecopy: torture: a session has other keys (%zu, "
			"not %u)\n",
			n, o->n);
}

static void close_one(struct torture_sessions *t, struct torture_session *o)
{
	int r = oc_session_close(o->s, 0);

	if (r == -ETIMEDOUT || r == -ENOTCONN) {
		judge(t, o, "close", r);
		return;
	}
	o->s = NULL; /* freed */
	if (r < 0)
		t->errors++;
	else if (r != 0 && !(r == OC_MISS && o->paused))
		t->wrong++;
}

void torture_session_step(struct torture_sessions *t)
{
	struct torture_session *o = &t->own[below(t, TORTURE_SESSIONS)];

	if (!o->s) {
		open_one(t, o);
		return;
	}
	switch (below(t, 12)) {
	case 0:
	case 1:
		fork_one(t, o);
		break;
	case 2:
	case 3:
		pause_or_resume(t, o);
		break;
	case 4:
		close_one(t, o);
		break;
	case 5:
	case 6:
	case 7:
		compare(t, o);
		break;
	default:
		append(t, o);
	}
}
