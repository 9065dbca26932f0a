/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands on values. A command that writes first has all its frames, then
 * makes everything visible without waiting: others see it whole or not at all.
 */
#include <errno.h>
#include "base/clock.h"
#include "base/hash.h"
#include "front/resp/internal.h"

#define WRONG_SYNTAX "ERR syntax error"
#define WRONG_NUMBER "ERR value is not an integer or out of range"

/* ---- reading ------------------------------------------------------------------ */

static bool found_it(struct call *k, bool found)
{
	resp_count(k->c, found ? DOOR_C_hits : DOOR_C_misses, 1);
	return found;
}

static bool find(struct call *k, uint32_t arg, struct entry *ret)
{
	return found_it(k, entry_find(k->t, call_arg(k, arg), ret));
}

/* Its bytes as well. */
static bool find_value(struct call *k, uint32_t arg, struct entry *ret)
{
	return found_it(k, entry_find(k->t, call_arg(k, arg), ret) &&
				   !ret->bulk_below);
}

/* 0: the reply is there, or on its way. */
static int reply_value(struct call *k, const struct entry *e)
{
	int r;

	entry_touch(k->t, e);
	r = entry_verify(k->t, e) ? 0 : 1;
	if (r == 0 && !e->is_inline)
		r = send_begin(k->c, e);
	else if (r == 0) {
		out_bulk(k->out, e->value, e->record.value_len);
		resp_count(k->c, DOOR_C_value_sent_bytes, e->record.value_len);
		resp_count(k->c, DOOR_C_value_copied_bytes,
			   e->record.value_len);
	}
	if (r > 0)
		out_null(k->out);
	return r;
}

enum exec_result exec_get(struct call *k)
{
	struct entry e;

	if (below_awaited(k, 1, true))
		return EXEC_AGAIN;
	if (!find_value(k, 1, &e))
		out_null(k->out);
	else if (reply_value(k, &e) < 0)
		k->c->broken = true;
	return EXEC_DONE;
}

enum exec_result exec_mget(struct call *k)
{
	struct conn *c = k->c;

	if (!c->resume && !c->waits)
		out_array(k->out, k->n - 1);
	while (c->resume + 1 < k->n) {
		struct entry e;

		if (below_awaited(k, c->resume + 1, true))
			return EXEC_AGAIN;
		c->resume++;
		if (!find_value(k, c->resume, &e))
			out_null(k->out);
		else if (reply_value(k, &e) < 0)
			c->broken = true;
		if (c->broken)
			return EXEC_DONE;
		if (c->state == CONN_SEND)
			return EXEC_AGAIN;
		if (k->out->len >= RESP_OUT_MAX && send_out(c, false) < 0)
			c->broken = true;
		if (c->out_len)
			return EXEC_AGAIN;
	}
	return EXEC_DONE;
}

enum exec_result exec_exists(struct call *k)
{
	int64_t n = 0;

	for (uint32_t i = k->c->resume + 1; i < k->n; i++) {
		k->c->resume = i - 1;
		if (below_awaited(k, i, false))
			return EXEC_AGAIN;
	}
	for (uint32_t i = 1; i < k->n; i++) {
		struct entry e;

		n += find(k, i, &e);
	}
	out_int(k->out, n);
	return EXEC_DONE;
}

enum exec_result exec_strlen(struct call *k)
{
	struct entry e;

	if (below_awaited(k, 1, false))
		return EXEC_AGAIN;
	out_int(k->out, find(k, 1, &e) ? (int64_t)e.record.value_len : 0);
	return EXEC_DONE;
}

enum exec_result exec_type(struct call *k)
{
	struct entry e;

	if (below_awaited(k, 1, false))
		return EXEC_AGAIN;
	out_simple(k->out, find(k, 1, &e) ? "string" : "none");
	return EXEC_DONE;
}

enum exec_result exec_ttl(struct call *k)
{
	bool seconds = k->id == RESP_CMD_TTL;
	struct entry e;
	uint64_t left;

	if (below_awaited(k, 1, false))
		return EXEC_AGAIN;
	if (!entry_find(k->t, call_arg(k, 1), &e)) {
		out_int(k->out, -2);
	} else if (!e.record.expire_ms) {
		out_int(k->out, -1);
	} else {
		left = e.record.expire_ms -
		       MIN(clock_realtime_coarse_ms(), e.record.expire_ms);
		out_int(k->out,
			(int64_t)(seconds ? (left + 500) / 1000 : left));
	}
	return EXEC_DONE;
}

enum exec_result exec_del(struct call *k)
{
	int64_t n = 0;

	for (uint32_t i = k->c->resume + 1; i < k->n; i++) {
		k->c->resume = i - 1;
		if (below_awaited(k, i, false))
			return EXEC_AGAIN;
	}
	for (uint32_t i = 1; i < k->n; i++)
		n += entry_remove(k->t, call_arg(k, i));
	out_int(k->out, n);
	return EXEC_DONE;
}

/* ---- writing ------------------------------------------------------------------ */

static void reply_no_room(struct call *k, int error)
{
	out_errorf(k->out, "%s",
		   error == -E2BIG ? "ERR the value is larger than the largest "
				     "frame of this node"
				   : RESP_NO_ROOM);
}

/* The name is bound to the value of argument `arg`, whose record has its frame.
 * What it was bound to goes first. -ENOSPC. */
static int commit(struct call *k, struct name name, uint32_t arg,
		  uint64_t expire_ms, const struct local_part *rec)
{
	struct store_client *client = k->t->client;
	struct fill *f = value_of(k->c, arg);
	bool is_long = f && f->has_bulk;
	struct name value = is_long ? (struct name){ "", 0 } : call_arg(k, arg);
	struct record head = { .magic = RECORD_MAGIC,
			       .name_len = name.len,
			       .value_len = is_long ? f->bytes : value.len,
			       .expire_ms = expire_ms };
	struct place place;
	int r = 0;

	place_of(name, &place);
	place_remove(k->t, &place);
	if (is_long) {
		head.bulk_sum = hash_stream_value(f->hash);
		f->has_bulk = false;
		r = local_seal(client, &f->bulk, f->bytes, head.bulk_sum);
	}
	if (r < 0) {
		local_abandon(client, rec);
		return r;
	}
	if (is_long)
		send_verified(k->d, k->t->pool->number, &f->bulk);
	else
		resp_count(k->c, DOOR_C_value_copied_bytes, value.len);
	resp_count(k->c, DOOR_C_value_received_bytes, head.value_len);
	k->t->expiring |= expire_ms != 0;
	k->t->seen |= expire_ms != 0;
	return record_seal(k->t, &place, rec, &head, name,
			   is_long ? NULL : value.text);
}

static uint64_t inline_bytes(const struct call *k, uint32_t arg)
{
	const struct fill *f = value_of(k->c, arg);

	return f && f->has_bulk ? 0 : call_arg(k, arg).len;
}

struct set_options {
	bool nx, xx, keep_ttl;
	uint64_t expire_ms;
};

/* An absolute time from a number of some unit. */
static bool expiry(int64_t n, uint64_t unit_ms, bool absolute, uint64_t *ret_ms)
{
	uint64_t ms;

	if (n <= 0 || __builtin_mul_overflow((uint64_t)n, unit_ms, &ms) ||
	    (!absolute &&
	     __builtin_add_overflow(ms, clock_realtime_coarse_ms(), &ms)) ||
	    ms > INT64_MAX)
		return false;
	*ret_ms = ms;
	return true;
}

static const struct {
	const char *word;
	uint64_t unit_ms;
	bool absolute;
} expiries[] = {
	{ "ex", 1000, false },
	{ "px", 1, false },
	{ "exat", 1000, true },
	{ "pxat", 1, true },
};

/* One option and its number. Words taken, or 0: there is a reply. */
static uint32_t set_expiry(struct call *k, uint32_t i, struct set_options *o)
{
	struct name word = call_arg(k, i), number;
	int64_t n;

	for (size_t e = 0; e < ARRAY_LEN(expiries); e++) {
		if (!word_is(word, expiries[e].word))
			continue;
		if (i + 1 >= k->n || o->expire_ms || o->keep_ttl)
			break;
		number = call_arg(k, i + 1);
		if (!resp_number(number.text, number.len, &n)) {
			out_error(k->out, WRONG_NUMBER);
			return 0;
		}
		if (!expiry(n, expiries[e].unit_ms, expiries[e].absolute,
			    &o->expire_ms)) {
			out_error(k->out,
				  "ERR invalid expire time in 'set' command");
			return 0;
		}
		return 2;
	}
	out_error(k->out, WRONG_SYNTAX);
	return 0;
}

static bool set_options(struct call *k, struct set_options *o)
{
	for (uint32_t i = 3, n; i < k->n; i += n) {
		struct name word = call_arg(k, i);

		n = 1;
		if (word_is(word, "nx") && !o->xx)
			o->nx = true;
		else if (word_is(word, "xx") && !o->nx)
			o->xx = true;
		else if (word_is(word, "keepttl") && !o->expire_ms)
			o->keep_ttl = true;
		else
			n = set_expiry(k, i, o);
		if (!n)
			return false;
	}
	return true;
}

/* 0: done; 1: come again; -errno; 2: the condition does not hold. */
static int set_value(struct call *k, uint32_t arg, struct set_options *o)
{
	struct name name = call_arg(k, 1);
	struct local_part rec;
	struct entry old;
	bool asks = o->nx || o->xx || o->keep_ttl, exists;
	int r;

	if (asks && below_awaited(k, 1, false))
		return 1;
	exists = asks && entry_find(k->t, name, &old);
	if ((o->nx && exists) || (o->xx && !exists))
		return 2;
	if (o->keep_ttl && exists)
		o->expire_ms = old.record.expire_ms;
	r = value_record(k->c, name, arg, inline_bytes(k, arg), &rec);
	return r ? r : commit(k, name, arg, o->expire_ms, &rec);
}

enum exec_result exec_set(struct call *k)
{
	struct set_options o = { 0 };
	int r;

	if (!set_options(k, &o))
		return EXEC_DONE;
	r = set_value(k, 2, &o);
	if (r == 1)
		return EXEC_AGAIN;
	if (r == 2)
		out_null(k->out);
	else if (r < 0)
		reply_no_room(k, r);
	else
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

enum exec_result exec_setnx(struct call *k)
{
	struct set_options o = { .nx = true };
	int r = set_value(k, 2, &o);

	if (r == 1)
		return EXEC_AGAIN;
	if (r < 0)
		reply_no_room(k, r);
	else
		out_int(k->out, r == 0);
	return EXEC_DONE;
}

enum exec_result exec_setex(struct call *k)
{
	struct set_options o = { 0 };
	struct name number = call_arg(k, 2);
	bool seconds = k->id == RESP_CMD_SETEX;
	int64_t n;
	int r;

	if (!resp_number(number.text, number.len, &n)) {
		out_error(k->out, WRONG_NUMBER);
		return EXEC_DONE;
	}
	if (!expiry(n, seconds ? 1000 : 1, false, &o.expire_ms)) {
		out_errorf(k->out, "ERR invalid expire time in '%s' command",
			   seconds ? "setex" : "psetex");
		return EXEC_DONE;
	}
	r = set_value(k, 3, &o);
	if (r == 1)
		return EXEC_AGAIN;
	if (r < 0)
		reply_no_room(k, r);
	else
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

/* All frames first, then all names at once. */
enum exec_result exec_mset(struct call *k)
{
	struct conn *c = k->c;
	int r = 0;

	if (k->n % 2 == 0) {
		out_error(k->out, "ERR wrong number of arguments for 'mset' "
				  "command");
		return EXEC_DONE;
	}
	for (uint32_t i = MAX(c->resume, 1u); i < k->n; i += 2) {
		struct local_part rec;

		c->resume = i;
		r = value_record(c, call_arg(k, i), i + 1,
				 inline_bytes(k, i + 1), &rec);
		if (r == 1)
			return EXEC_AGAIN;
		if (r == 0 && value_keep_record(c, i + 1, &rec) < 0) {
			local_abandon(k->t->client, &rec);
			r = -ENOMEM;
		}
		if (r < 0) {
			reply_no_room(k, r);
			return EXEC_DONE;
		}
	}
	for (uint32_t i = 1; i < k->n && r == 0; i += 2) {
		struct fill *f = value_of(c, i + 1);

		f->has_record = false;
		r = commit(k, call_arg(k, i), i + 1, 0, &f->record);
	}
	if (r < 0)
		reply_no_room(k, r);
	else
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

/* ---- expiry -------------------------------------------------------------------- */

/* The same record with another expiry, in a new frame; the bulk stays. */
static int rewrite(struct call *k, uint64_t expire_ms)
{
	struct name name = call_arg(k, 1);
	struct local_part rec;
	struct entry e;
	uint64_t bytes;
	int r;

	if (below_awaited(k, 1, false))
		return 1;
	if (!entry_find(k->t, name, &e))
		return 2;
	entry_touch(k->t, &e); /* making room shall not take it */
	bytes = e.is_inline ? e.record.value_len : 0;
	r = value_record(k->c, name, 1, bytes, &rec);
	if (r)
		return r;
	/* what made room may have taken it, or changed it while this waited */
	if (!entry_find(k->t, name, &e) || !entry_verify(k->t, &e) ||
	    (e.is_inline ? e.record.value_len : 0) != bytes) {
		local_abandon(k->t->client, &rec);
		return 2;
	}
	e.record.expire_ms = expire_ms;
	k->t->expiring |= expire_ms != 0;
	k->t->seen |= expire_ms != 0;
	return record_seal(k->t, &e.place, &rec, &e.record, name,
			   e.is_inline ? e.value : NULL);
}

static enum exec_result reply_rewrite(struct call *k, int r)
{
	if (r == 1)
		return EXEC_AGAIN;
	if (r < 0)
		reply_no_room(k, r);
	else
		out_int(k->out, r == 0);
	return EXEC_DONE;
}

enum exec_result exec_persist(struct call *k)
{
	struct entry e;

	if (below_awaited(k, 1, false))
		return EXEC_AGAIN;
	if (!entry_find(k->t, call_arg(k, 1), &e) || !e.record.expire_ms) {
		out_int(k->out, 0);
		return EXEC_DONE;
	}
	return reply_rewrite(k, rewrite(k, 0));
}

enum exec_result exec_expire(struct call *k)
{
	struct name number = call_arg(k, 2);
	uint64_t unit = k->id == RESP_CMD_EXPIRE ? 1000 : 1, at;
	int64_t n;

	if (k->n > 3) { /* NX, XX, GT, LT */
		out_errorf(k->out, "ERR Unsupported option %.*s",
			   (int)MIN(call_arg(k, 3).len, 128u),
			   call_arg(k, 3).text);
		return EXEC_DONE;
	}
	if (!resp_number(number.text, number.len, &n)) {
		out_error(k->out, WRONG_NUMBER);
		return EXEC_DONE;
	}
	if (n <= 0 && below_awaited(k, 1, false))
		return EXEC_AGAIN;
	if (n <= 0) { /* in the past: it goes now */
		out_int(k->out, entry_remove(k->t, call_arg(k, 1)));
		return EXEC_DONE;
	}
	if (!expiry(n, unit, false, &at)) {
		out_errorf(k->out, "ERR invalid expire time in '%s' command",
			   unit == 1000 ? "expire" : "pexpire");
		return EXEC_DONE;
	}
	return reply_rewrite(k, rewrite(k, at));
}
