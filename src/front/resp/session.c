/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SESSION: sessions for clients of Redis. A connection is no client that could
 * own one, so what is opened here lives by its lease alone.
 */
#include <errno.h>
#include <onecopy/session.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/text.h"
#include "front/resp/internal.h"
#include "store/session.h"

#define WRONG_SYNTAX "ERR syntax error"
#define WRONG_NUMBER "ERR value is not an integer or out of range"
#define LIST_USUAL   100
#define LIST_MOST    1000

/* ---- answers ----------------------------------------------------------------- */

static const char *error_text(int64_t r)
{
	switch (r) {
	case OC_MISS:
		return "ERR no such session";
	case OC_EXISTS:
		return "EXISTS a session of this name is there";
	case OC_BUSY:
		return "BUSY a client has this session";
	case OC_STALE:
		return "STALE it has other keys, or fewer";
	case -EINVAL:
		return "ERR a session's name has 1 to 63 printable ASCII "
		       "characters";
	case -EEXIST:
		return "EXISTS a session of this name is in another namespace";
	case -ENFILE:
		return "QUOTA the tenant has all the sessions that it may have";
	case -ENOSPC:
		return "QUOTA the tenant's sessions have all the keys that "
		       "they may have";
	default:
		return "ERR the node has no memory for it";
	}
}

static enum exec_result say_error(struct call *k, int64_t r)
{
	out_error(k->out, error_text(r));
	return EXEC_DONE;
}

static enum exec_result say_keys(struct call *k, int64_t r,
				 const struct session_record *s)
{
	if (r)
		return say_error(k, r);
	out_int(k->out, pool_session_keys(k->t->pool, s));
	return EXEC_DONE;
}

static enum exec_result say_syntax(struct call *k)
{
	out_error(k->out, WRONG_SYNTAX);
	return EXEC_DONE;
}

/* ---- words ------------------------------------------------------------------- */

/* False: it is none. */
static bool name_of(struct name word, char ret_name[LAYOUT_NAME])
{
	if (!word.len || word.len >= LAYOUT_NAME ||
	    memchr(word.text, '\0', word.len))
		return false;
	memset(ret_name, 0, LAYOUT_NAME);
	memcpy(ret_name, word.text, word.len);
	return true;
}

static struct session_record *find(struct call *k, uint32_t arg)
{
	char name[LAYOUT_NAME];

	if (!name_of(call_arg(k, arg), name))
		return NULL;
	return pool_session_find(k->t->pool, name);
}

/* Words behind the fixed ones: NAME number, in any order, each once; a flag has
 * no number; one with names has one of these. False: there is a reply. */
struct option {
	const char *word;
	int64_t value; /* -1: not given */
	bool flag;
	const char *(*name)(uint64_t value);
};

static bool option_named(struct call *k, struct name word, struct option *o)
{
	for (uint64_t v = 0; o->name(v); v++) {
		if (!word_is(word, o->name(v)))
			continue;
		o->value = (int64_t)v;
		return true;
	}
	out_error(k->out, WRONG_SYNTAX);
	return false;
}

static bool option_take(struct call *k, uint32_t *i, struct option *o)
{
	struct name number;

	if (o->value >= 0)
		return false;
	o->value = 1;
	if (o->flag)
		return true;
	if (++*i >= k->n)
		return false;
	number = call_arg(k, *i);
	if (o->name)
		return option_named(k, number, o);
	if (resp_number(number.text, number.len, &o->value) && o->value >= 0)
		return true;
	out_error(k->out, WRONG_NUMBER);
	return false;
}

static bool options_take(struct call *k, uint32_t from, struct option *o,
			 size_t n)
{
	uint64_t errors = k->out->errors;

	for (uint32_t i = from; i < k->n; i++) {
		size_t at = 0;

		while (at < n && !word_is(call_arg(k, i), o[at].word))
			at++;
		if (at < n && option_take(k, &i, &o[at]))
			continue;
		if (k->out->errors == errors)
			out_error(k->out, WRONG_SYNTAX);
		return false;
	}
	return true;
}

/* A number, or a label. 0: there is none. */
static uint32_t ns_of(struct call *k, uint32_t arg)
{
	const struct pool_meta *m = k->t->pool->m;
	struct name word = call_arg(k, arg);
	char label[LAYOUT_NAME];
	int64_t n;

	if (resp_number(word.text, word.len, &n))
		return n > 0 && n <= LAYOUT_NS_MAX &&
				       shared_load64(&m->ns[n - 1].id)
			       ? (uint32_t)n
			       : 0;
	for (uint32_t i = 0; i < LAYOUT_NS_MAX; i++) {
		if (!shared_load64(&m->ns[i].id))
			break;
		shared_load_bytes(label, LAYOUT_NAME, m->ns[i].label);
		if (strnlen(label, LAYOUT_NAME) == word.len &&
		    !memcmp(label, word.text, word.len))
			return i + 1;
	}
	return 0;
}

/* 32 bytes, or their 64 hexadecimal digits. */
static bool key_of(struct name word, uint64_t ret_key[4])
{
	char hex[65] = "";

	if (word.len == 32) {
		memcpy(ret_key, word.text, 32);
		return true;
	}
	if (word.len != 64)
		return false;
	memcpy(hex, word.text, 64);
	return text_parse_hex(hex, (uint8_t *)ret_key, 32) == 0;
}

/* ---- subcommands -------------------------------------------------------------- */

static enum exec_result run_open(struct call *k)
{
	struct option o[] = { { "lease", -1, false, NULL },
			      { "new", -1, true, NULL } };
	struct session_wish wish = { .flags = OC_SESSION_LEASED };
	struct session_record *s = NULL;
	int64_t r;
	bool made;

	if (!options_take(k, 4, o, ARRAY_LEN(o)))
		return EXEC_DONE;
	if (!name_of(call_arg(k, 2), wish.name))
		return say_error(k, -EINVAL);
	wish.ns = ns_of(k, 3);
	if (!wish.ns) {
		out_error(k->out, "ERR no such namespace");
		return EXEC_DONE;
	}
	wish.lease_ms = (uint64_t)MAX(o[0].value, 0);
	wish.flags |= o[1].value > 0 ? OC_SESSION_NEW : 0;
	r = store_session_open(k->t->client, &wish, &s, &made);
	return say_keys(k, r, s);
}

static enum exec_result run_append(struct call *k)
{
	uint64_t keys[RESP_ARGS_MAX][4], at = UINT64_MAX;
	struct session_record *s = find(k, 2);
	uint32_t i = 3, n = 0;

	if (!s)
		return say_error(k, OC_MISS);
	if (k->n > 5 && word_is(call_arg(k, 3), "at")) {
		struct name number = call_arg(k, 4);
		int64_t value;

		if (!resp_number(number.text, number.len, &value) ||
		    value < 0) {
			out_error(k->out, WRONG_NUMBER);
			return EXEC_DONE;
		}
		at = (uint64_t)value;
		i = 5;
	}
	for (; i < k->n; i++) {
		if (!key_of(call_arg(k, i), keys[n++])) {
			out_error(k->out, "ERR a key has 32 bytes, or 64 "
					  "hexadecimal digits");
			return EXEC_DONE;
		}
	}
	return say_keys(k,
			store_session_append(k->t->client, s, at,
					     (const uint64_t(*)[4])keys, n),
			s);
}

static enum exec_result run_fork(struct call *k)
{
	struct option o[] = { { "lease", -1, false, NULL },
			      { "blocks", -1, false, NULL } };
	struct session_wish wish = { .flags = OC_SESSION_LEASED };
	struct session_record *parent, *s;
	int64_t r;

	if (!options_take(k, 4, o, ARRAY_LEN(o)))
		return EXEC_DONE;
	parent = find(k, 2);
	if (!parent)
		return say_error(k, OC_MISS);
	if (!name_of(call_arg(k, 3), wish.name))
		return say_error(k, -EINVAL);
	wish.lease_ms = (uint64_t)MAX(o[0].value, 0);
	r = store_session_fork(
		k->t->client, parent,
		o[1].value < 0 ? UINT64_MAX : (uint64_t)o[1].value, &wish, &s);
	return say_keys(k, r, s);
}

static enum exec_result run_state(struct call *k, enum ring_state what)
{
	struct option o[] = { { "lease", -1, false, NULL },
			      { "return", -1, false, NULL },
			      { "answer", -1, false, NULL },
			      { "ended", -1, false, ring_answer_end_name } };
	struct session_turn turn;
	struct session_record *s;
	int64_t r;

	if (!options_take(k, 3, o, what == RING_STATE_PAUSE ? ARRAY_LEN(o) : 0))
		return EXEC_DONE;
	s = find(k, 2);
	if (!s && what == RING_STATE_CLOSE) {
		out_int(k->out, 0);
		return EXEC_DONE;
	}
	if (!s)
		return say_error(k, OC_MISS);
	turn = (struct session_turn){
		.lease_ms = (uint64_t)MAX(o[0].value, 0),
		.back_ms = (uint64_t)MAX(o[1].value, 0),
		.answer_tokens = (uint64_t)MAX(o[2].value, 0),
		.ended = (uint32_t)MAX(o[3].value, 0),
	};
	r = store_session_state(k->t->client, s, what, &turn, true);
	if (r)
		return say_error(k, r);
	if (what == RING_STATE_CLOSE)
		out_int(k->out, 1);
	else
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

/* Of any sessions of the tenant; all words are looked at first. */
static enum exec_result run_expect(struct call *k)
{
	uint32_t n = (k->n - 2) / 3;
	int64_t known = 0, in_ms[RING_NEXT_MOST];

	if (n > RING_NEXT_MOST) {
		out_error(k->out, "ERR at most 256 sessions at once");
		return EXEC_DONE;
	}
	if (k->n != 2 + 3 * n)
		return say_syntax(k);
	for (uint32_t i = 0; i < n; i++) {
		struct name number = call_arg(k, 4 + 3 * i);

		if (!word_is(call_arg(k, 3 + 3 * i), "return"))
			return say_syntax(k);
		if (!resp_number(number.text, number.len, &in_ms[i]) ||
		    in_ms[i] < 0) {
			out_error(k->out, WRONG_NUMBER);
			return EXEC_DONE;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		char name[LAYOUT_NAME] = "";
		int64_t r;

		name_of(call_arg(k, 2 + 3 * i), name);
		r = store_session_expect(k->t->client, name,
					 (uint64_t)in_ms[i]);
		if (r < 0)
			return say_error(k, r);
		known += r == 0;
	}
	out_int(k->out, known);
	return EXEC_DONE;
}

/* ---- telling ------------------------------------------------------------------ */

static void put_number(struct out *o, const char *name, uint64_t n,
		       uint64_t none)
{
	out_text(o, name);
	if (n == none)
		out_null(o);
	else
		out_int(o, (int64_t)n);
}

static bool some(uint32_t blocks)
{
	return blocks && blocks != UINT32_MAX;
}

static void put_record(struct call *k, const struct session_said *s)
{
	struct out *o = k->out;
	char hex[65];

	out_text(o, "resident_on");
	out_map(o, (uint32_t)some(s->resident) + some(s->below));
	if (some(s->resident))
		put_number(o, "dram", s->resident, UINT32_MAX);
	if (some(s->below))
		put_number(o, "nvme", s->below, UINT32_MAX);
	put_number(o, "hot_since",
		   s->hot_ms == UINT64_MAX
			   ? UINT64_MAX
			   : clock_realtime_coarse_ms() - s->hot_ms,
		   UINT64_MAX);
	put_number(o, "shared_with", s->shared_with, UINT64_MAX);
	put_number(o, "shared_blocks", s->shared_keys, UINT32_MAX);
	out_text(o, "prefix_hash");
	text_hex((const uint8_t *)s->prefix_hash, OC_KEY_BYTES, hex);
	if (s->keys)
		out_text(o, hex);
	else
		out_null(o);
	out_text(o, "evict_to");
	out_text(o, session_tier_name(s->evict_to));
}

static enum exec_result run_info(struct call *k)
{
	const struct session_record *r;
	struct session_said s;

	if (!turn_take(k->c))
		return EXEC_AGAIN;
	r = find(k, 2);
	if (!r) {
		out_null(k->out);
		return EXEC_DONE;
	}
	store_session_say(k->d->options.store, k->t->pool, r, true, &s);
	out_map(k->out, 19);
	out_text(k->out, "name");
	out_text(k->out, s.name);
	put_number(k->out, "id", s.id, 0);
	put_number(k->out, "ns", s.ns, 0);
	out_text(k->out, "state");
	out_text(k->out, s.state == SESSION_PAUSED ? "paused" : "active");
	put_number(k->out, "owner", s.owner, UINT64_MAX);
	put_number(k->out, "parent", s.parent, 0);
	put_number(k->out, "blocks", s.keys, UINT64_MAX);
	put_number(k->out, "tail_tokens", s.tail_tokens, UINT64_MAX);
	put_number(k->out, "turns", s.turns, UINT64_MAX);
	put_number(k->out, "gap_ms", s.gap_ms, UINT64_MAX);
	put_number(k->out, "used_ms", s.used_ms, UINT64_MAX);
	put_number(k->out, "expected_return_ms", s.expected_ms, 0);
	put_number(k->out, "lease_ms", s.lease_ms, UINT64_MAX);
	put_record(k, &s);
	return EXEC_DONE;
}

/* A cursor is a record's number: sessions that are there all the time are told
 * once. */
static enum exec_result run_list(struct call *k)
{
	struct option o[] = { { "count", -1, false, NULL } };
	const struct pool_sessions *s = k->t->pool->sessions;
	uint32_t end = s ? s->end : 0, n = 0, i;
	struct name cursor = k->n > 2 ? call_arg(k, 2)
				      : (struct name){ "0", 1 };
	uint32_t at[LIST_MOST];
	int64_t from, most;
	char text[32];

	if (!turn_take(k->c))
		return EXEC_AGAIN;
	if (!resp_number(cursor.text, cursor.len, &from) || from < 0) {
		out_error(k->out, "ERR invalid cursor");
		return EXEC_DONE;
	}
	if (!options_take(k, 3, o, ARRAY_LEN(o)))
		return EXEC_DONE;
	most = o[0].value < 0 ? LIST_USUAL : o[0].value;
	if (!most) {
		out_error(k->out, WRONG_SYNTAX);
		return EXEC_DONE;
	}
	most = MIN(most, LIST_MOST);
	for (i = (uint32_t)MIN(from, (int64_t)end); i < end && n < most; i++) {
		const struct session_record *r = pool_session_record(s, i);

		if (pool_session_state(r) != SESSION_FREE)
			at[n++] = i;
	}
	out_array(k->out, 2);
	snprintf(text, sizeof(text), "%u", i < end ? i : 0);
	out_text(k->out, text);
	out_array(k->out, n);
	for (uint32_t j = 0; j < n; j++) {
		char name[LAYOUT_NAME];

		shared_load_bytes(name, LAYOUT_NAME,
				  pool_session_record(s, at[j])->name);
		out_bulk(k->out, name, strnlen(name, LAYOUT_NAME));
	}
	return EXEC_DONE;
}

/* ---- the command --------------------------------------------------------------- */

static enum exec_result run_pause(struct call *k)
{
	return run_state(k, RING_STATE_PAUSE);
}

static enum exec_result run_resume(struct call *k)
{
	return run_state(k, RING_STATE_RESUME);
}

static enum exec_result run_close(struct call *k)
{
	return run_state(k, RING_STATE_CLOSE);
}

enum exec_result exec_session(struct call *k)
{
	static const struct {
		const char *word;
		exec_fn run;
		uint32_t least;
	} sub[] = {
		{ "open", run_open, 4 },     { "append", run_append, 4 },
		{ "fork", run_fork, 4 },     { "pause", run_pause, 3 },
		{ "resume", run_resume, 3 }, { "close", run_close, 3 },
		{ "info", run_info, 3 },     { "list", run_list, 2 },
		{ "expect", run_expect, 5 },
	};
	static const char *const known[] = { "open",  "append", "fork",
					     "pause", "resume", "close",
					     "info",  "list",	"expect",
					     NULL };

	for (size_t i = 0; i < ARRAY_LEN(sub); i++)
		if (word_is(call_arg(k, 1), sub[i].word) &&
		    k->n >= sub[i].least)
			return sub[i].run(k);
	return exec_no_subcommand(k, known);
}
