/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values on their way in.
 *
 * A long value has a frame before its bytes are read: what came together with
 * its length is copied, the rest is received into the frame, a piece at a time,
 * and hashed while it is in the cache. Only the whole command makes it visible
 * (strings.c); whatever ends the connection before gives the frame back.
 *
 * Values that are under way may take half of the memory: beyond that they are
 * queued, their bytes stay in the socket. Small ones go first, so that they need
 * not wait for others' large ones that do not come.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/hash.h"
#include "front/resp/internal.h"

/* ---- fills -------------------------------------------------------------------- */

struct fill *value_of(const struct conn *c, uint32_t arg)
{
	struct fill *f = c->fill;

	while (f && f->arg != arg)
		f = f->next;
	return f;
}

static struct fill *fill_add(struct conn *c, uint32_t arg)
{
	struct fill *f = mem_alloc(sizeof(*f));

	if (!f)
		return NULL;
	f->arg = arg;
	f->next = c->fill;
	c->fill = f;
	return f;
}

static void fill_free(struct conn *c, struct fill *f)
{
	if (f->asked) {
		c->door->fill_bytes -= f->bytes;
		c->tenant->fill_bytes -= f->bytes;
	}
	hash_stream_destroy(f->hash);
	free(f);
}

void value_drop(struct conn *c)
{
	struct fill *f;

	while ((f = c->fill)) {
		c->fill = f->next;
		if (f->has_bulk)
			local_abandon(c->tenant->client, &f->bulk);
		if (f->has_record)
			local_abandon(c->tenant->client, &f->record);
		fill_free(c, f);
	}
}

/* ---- is it wanted? --------------------------------------------------------------- */

/* Which word of the command may be long. */
static bool is_value(enum resp_command_id id, uint32_t arg)
{
	switch (id) {
	case RESP_CMD_SET:
	case RESP_CMD_SETNX:
		return arg == 2;
	case RESP_CMD_SETEX:
	case RESP_CMD_PSETEX:
		return arg == 3;
	case RESP_CMD_MSET:
		return arg >= 2 && arg % 2 == 0;
	default:
		return false;
	}
}

/* The largest value that is ever taken. */
static uint64_t value_max(const struct conn *c)
{
	const struct pool *p = c->tenant->pool;

	uint64_t most = MIN(p->quota, shared_load64(&p->m->header.max_frame));

	return most - MIN(most, PAGE_BYTES); /* its record wants a page */
}

/* Why this value is not wanted; NULL: it is. */
static const char *unwanted(struct conn *c, const struct resp_parser *p,
			    const char *data)
{
	uint32_t arg = p->n_args - 1;
	struct name word = arg ? conn_arg(p, data, 0) : (struct name){ "", 0 };

	if (!is_value(resp_command_find(word.text, word.len), arg))
		return "ERR a word of the command is too long";
	if (p->value_bytes > value_max(c))
		return "ERR the value is larger than the largest frame of "
		       "this node";
	return NULL;
}

static void skip(struct conn *c, uint64_t bytes, const char *why)
{
	struct input *in = c->in;
	uint32_t have = in->len - in->at - in->parser.at;
	uint32_t n = (uint32_t)MIN((uint64_t)have, bytes);
	char *at = in->buf + in->at + in->parser.at;

	if (!c->wrong)
		c->wrong = why;
	memmove(at, at + n, have - n);
	in->len -= n;
	c->skip = bytes - n;
	c->state = c->skip ? CONN_SKIP : CONN_TAIL;
}

size_t value_skip(struct conn *c, size_t len)
{
	size_t n = (size_t)MIN((uint64_t)len, c->skip);

	c->skip -= n;
	if (!c->skip)
		c->state = CONN_TAIL;
	return n;
}

/* ---- receiving --------------------------------------------------------------------- */

struct piece {
	struct fill *f;
	const char *from; /* NULL: the kernel has put it there */
	uint64_t n;
};

static void take_piece(void *ctx)
{
	const struct piece *p = ctx;
	uint8_t *at = p->f->bulk.data + p->f->got;

	if (p->from)
		memcpy(at, p->from, p->n);
	hash_stream_add(p->f->hash, at, p->n);
}

/* Where the frame's memory fails it cannot be sealed: the command is answered so. */
static void value_got(struct conn *c, struct fill *f, const char *from,
		      uint64_t n)
{
	struct piece piece = { f, from, n };
	struct guard_fault fault;

	if (guard_run(take_piece, &piece, &fault) < 0)
		local_broken(c->tenant->client, &f->bulk, &fault);
	f->got += n;
}

static uint64_t next_piece(const struct fill *f)
{
	return MIN(f->bytes - f->got, (uint64_t)RESP_PIECE);
}

/* The same where it is the kernel, or OpenSSL, that would write there: what is still
 * to come of the value is passed over. */
static void value_broken(struct conn *c)
{
	struct fill *f = c->fill;
	uint64_t left = f->bytes - f->got;
	struct guard_fault fault;

	if (guard_touch(f->bulk.data + f->got, next_piece(f), &fault) < 0)
		local_broken(c->tenant->client, &f->bulk, &fault);
	local_abandon(c->tenant->client, &f->bulk);
	c->fill = f->next;
	fill_free(c, f);
	skip(c, left, RESP_BROKEN);
}

static void on_piece(void *ctx, const char *data, int64_t n);

/* What is there is taken at once and hashed while it is in the core's cache: a
 * loop that first receives for everybody would have to read it back. True: the
 * connection goes on in its next state. False: the loop will call, or it has ended. */
static bool receive(struct conn *c)
{
	struct fill *f = c->fill;
	uint64_t end = MIN(f->bytes, f->got + RESP_TURN);
	ssize_t n = -EAGAIN;

	conn_step(c, true);
	while (f->got < end) {
		n = stream_receive_now(c->stream, f->bulk.data + f->got,
				       next_piece(f));
		if (n <= 0)
			break;
		resp_count(c, DOOR_C_received_bytes, (uint64_t)n);
		value_got(c, f, NULL, (uint64_t)n);
	}
	if (f->got == f->bytes) {
		c->state = CONN_TAIL;
		return true;
	}
	if (n == -EFAULT) {
		value_broken(c);
		return true;
	}
	if ((n <= 0 && n != -EAGAIN) ||
	    stream_receive(c->stream, f->bulk.data + f->got, next_piece(f),
			   n == -EAGAIN ? LOOP_NOT_YET : 0, on_piece, c) < 0)
		conn_close(c);
	return false;
}

static void on_piece(void *ctx, const char *data, int64_t n)
{
	struct conn *c = ctx;

	(void)data;
	if (n == -EFAULT) {
		value_broken(c);
		conn_resume(c, (enum conn_state)c->state);
		return;
	}
	if (n <= 0) {
		conn_close(c);
		return;
	}
	resp_count(c, DOOR_C_received_bytes, (uint64_t)n);
	value_got(c, c->fill, NULL, (uint64_t)n);
	if (receive(c))
		conn_resume(c, (enum conn_state)c->state);
}

/* It has its frame: what came with the command first. */
static void start(struct conn *c, struct fill *f)
{
	struct input *in = c->in;
	uint32_t have = in->len - in->at - in->parser.at;
	uint32_t n = (uint32_t)MIN((uint64_t)have, f->bytes);
	char *at = in->buf + in->at + in->parser.at;

	f->has_bulk = true;
	value_got(c, f, at, n);
	memmove(at, at + n, have - n);
	in->len -= n;
	resp_count(c, DOOR_C_value_copied_bytes, n);
	c->state = CONN_FILL;
	(void)receive(c);
}

static struct name name_of(const struct conn *c, const struct fill *f)
{
	const struct input *in = c->in;

	/* SETEX name seconds value; elsewhere the name stands before it */
	return conn_arg(&in->parser, in->buf + in->at,
			f->arg == 3 ? 1 : f->arg - 1);
}

static void refuse(struct conn *c, struct fill *f, const char *why)
{
	uint64_t bytes = f->bytes;

	c->fill = f->next;
	fill_free(c, f);
	skip(c, bytes, why);
}

/* Asks for the frame. The kernel receives into it: a server that dies meanwhile
 * leaves it quarantined (docs/design/coherence.md). */
static void ask(struct conn *c, struct fill *f)
{
	struct place place;
	int64_t result;

	f->asked = true;
	c->door->fill_bytes += f->bytes;
	c->tenant->fill_bytes += f->bytes;
	place_of(name_of(c, f), &place);
	hash_stream_reset(f->hash, place_seed(&place, PLACE_BULK));
	if (local_grant(c->tenant->client, place.key,
			place_part(c->tenant, &place, PLACE_BULK), f->bytes,
			FRAME_GRANT_DEVICE, c->ticket, RESP_ROOM_NS, &result,
			&f->bulk) == STORE_LATER) {
		c->awaits = f;
		c->state = CONN_ROOM;
	} else if (result < 0) {
		refuse(c, f, RESP_NO_ROOM);
	} else {
		start(c, f);
	}
}

/* Half of the node's memory, and of the tenant's, may be under way. An MSET's own
 * earlier values are no reason for it to wait. */
static bool crowded(const struct conn *c, uint64_t bytes)
{
	const struct pool *p = c->tenant->pool;
	uint64_t others = c->door->fill_bytes, ours = c->tenant->fill_bytes;

	for (const struct fill *f = c->fill; f; f = f->next) {
		others -= f->asked ? f->bytes : 0;
		ours -= f->asked ? f->bytes : 0;
	}
	return (others && others + bytes > p->budget->limit / 2) ||
	       (ours && ours + bytes > p->quota / 2);
}

/* May it pass by others in the queue? */
static bool small(const struct conn *c)
{
	return c->fill->bytes <= c->tenant->pool->budget->limit / 64;
}

void value_begin(struct conn *c)
{
	const struct resp_parser *p = &c->in->parser;
	const char *why;
	struct fill *f;

	if (!c->tenant) { /* nobody yet: not worth reading on */
		conn_refuse(c);
		return;
	}
	why = unwanted(c, p, c->in->buf + c->in->at);
	c->large = true;
	if (why || c->wrong) {
		skip(c, p->value_bytes, why);
		return;
	}
	f = fill_add(c, p->n_args - 1);
	if (!f || hash_stream_create(0, &f->hash) < 0) {
		conn_close(c);
		return;
	}
	f->bytes = p->value_bytes;
	if (!crowded(c, f->bytes)) {
		ask(c, f);
		return;
	}
	c->state = CONN_ROOM;
	c->queued = true;
	c->room_ns = c->door->now_ns;
	c->door->n_queued++;
}

static void dequeue(struct conn *c)
{
	c->queued = false;
	c->door->n_queued--;
}

static void go_on(struct conn *c)
{
	/* FILL: the loop calls; ROOM: the store does */
	if (c->state != CONN_FILL && c->state != CONN_ROOM &&
	    c->state != CONN_ENDED)
		conn_resume(c, (enum conn_state)c->state);
}

static void queue_pass(struct resp_door *d, bool only_small)
{
	struct conn *c = d->busy_first, *next;

	for (; c && d->n_queued; c = next) {
		next = c->busy_next;
		if (!c->queued || (only_small && !small(c)))
			continue;
		if (d->now_ns - c->room_ns > RESP_ROOM_NS) {
			dequeue(c);
			pool_count(c->tenant->pool, POOL_C_refused, 1);
			refuse(c, c->fill, RESP_NO_ROOM);
			go_on(c);
		} else if (!crowded(c, c->fill->bytes)) {
			dequeue(c);
			ask(c, c->fill);
			go_on(c);
		}
	}
}

void value_queued(struct resp_door *d)
{
	queue_pass(d, true);
	queue_pass(d, false);
}

/* A grant that waited is answered: for a long value, or for a record. */
void value_granted(struct conn *c, const struct ring_answer *answer)
{
	struct fill *f = c->awaits;
	int r = (int)answer->result;

	c->awaits = NULL;
	if (f->bytes && !f->has_bulk) {
		if (r == 0)
			r = local_granted(c->tenant->client, answer, &f->bulk);
		if (r < 0)
			refuse(c, f, RESP_NO_ROOM);
		else
			start(c, f);
		go_on(c);
		return;
	}
	if (r == 0)
		r = local_granted(c->tenant->client, answer, &f->record);
	f->error = r;
	f->has_record = r == 0;
	conn_resume(c, CONN_OPEN);
}

void value_tail(struct conn *c)
{
	struct input *in = c->in;
	uint32_t have = in->len - in->at - in->parser.at;
	char *at = in->buf + in->at + in->parser.at;

	if (have < 2)
		return;
	if (memcmp(at, "\r\n", 2) != 0) {
		out_error(&c->door->out,
			  "ERR Protocol error: expected CRLF after a bulk");
		c->closing = true;
		c->state = CONN_OPEN;
		return;
	}
	memmove(at, at + 2, have - 2);
	in->len -= 2;
	resp_after_value(&in->parser);
	c->state = CONN_OPEN;
}

/* ---- records ------------------------------------------------------------------------- */

static int record_taken(struct fill *f, struct local_part *ret_part)
{
	int error = f->error;

	f->error = 0;
	if (error)
		return error;
	f->has_record = false;
	*ret_part = f->record;
	return 0;
}

int value_record(struct conn *c, struct name name, uint32_t arg,
		 uint64_t inline_bytes, struct local_part *ret_part)
{
	struct fill *f = value_of(c, arg);
	struct place place;
	int64_t result;

	if (f && (f->has_record || f->error))
		return record_taken(f, ret_part);
	place_of(name, &place);
	if (local_grant(c->tenant->client, place.key,
			place_part(c->tenant, &place, PLACE_RECORD),
			record_bytes(name, inline_bytes), 0, c->ticket,
			RESP_ROOM_NS, &result, ret_part) == STORE_ANSWERED)
		return (int)result;
	if (!f)
		f = fill_add(c, arg);
	if (!f) {
		local_cancel(c->tenant->client, c->ticket);
		return -ENOMEM;
	}
	c->awaits = f;
	c->state = CONN_ROOM;
	return 1;
}

int value_keep_record(struct conn *c, uint32_t arg,
		      const struct local_part *part)
{
	struct fill *f = value_of(c, arg);

	if (!f)
		f = fill_add(c, arg);
	if (!f)
		return -ENOMEM;
	f->record = *part;
	f->has_record = true;
	return 0;
}
