/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values on their way out: from the frame to the socket, hashed a piece at a
 * time just before the piece is sent. The last piece waits for the whole
 * checksum: where that is wrong, a value of one piece is a miss, and a longer
 * one, whose beginning is gone already, ends the connection. So nobody receives
 * a whole value whose bytes are not those that were stored.
 *
 * Reading a value twice, for its hash and for the socket, costs a quarter of
 * what the socket can carry. So a value that was right a moment ago
 * (options.verify_ns) is not hashed again: its frame lies in memory that the
 * server alone can write, and what rots there does so in hours.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/hash.h"
#include "front/resp/internal.h"

/* ---- replies -------------------------------------------------------------------- */

static void out_gone(struct conn *c)
{
	c->door->out_bytes -= c->out_len;
	free(c->out);
	c->out = NULL;
	c->out_len = 0;
}

static void on_out(void *ctx, const char *data, int64_t n)
{
	struct conn *c = ctx;

	(void)data;
	if (n < (int64_t)(c->out_len - c->out_sent)) {
		conn_close(c);
		return;
	}
	resp_count(c, DOOR_C_sent_bytes, (uint64_t)n);
	out_gone(c);
	conn_step(c, true);
	if (c->state == CONN_SEND)
		send_next(c);
	else
		conn_resume(c, (enum conn_state)c->state);
}

/* What the socket did not take. */
static int out_later(struct conn *c, const char *bytes, size_t len, bool more)
{
	struct resp_door *d = c->door;
	struct iovec piece = { .iov_len = len };
	int r;

	must(!c->out);
	if (d->out_bytes + len > RESP_OUT_ALL)
		return -ENOBUFS;
	c->out = mem_alloc(len);
	if (!c->out)
		return -ENOMEM;
	memcpy(c->out, bytes, len);
	c->out_len = len;
	c->out_sent = 0;
	d->out_bytes += len;
	piece.iov_base = c->out;
	r = stream_send(c->stream, &piece, 1, more ? LOOP_MORE : 0, on_out, c);
	if (r < 0)
		out_gone(c);
	return r;
}

int send_out(struct conn *c, bool more)
{
	struct out *o = &c->door->out;
	size_t len = o->len;
	ssize_t n;

	if (!len)
		return 0;
	if (o->failed)
		return -ENOMEM;
	o->len = 0;
	n = stream_send_now(c->stream, o->at, len, more ? LOOP_MORE : 0);
	if (n < 0)
		return (int)n;
	resp_count(c, DOOR_C_sent_bytes, (uint64_t)n);
	if ((size_t)n == len)
		return 0;
	return out_later(c, o->at + n, len - (size_t)n, more);
}

/* ---- values ---------------------------------------------------------------------- */

void send_drop(struct conn *c)
{
	struct sending *s = c->sending;

	if (!s)
		return;
	local_unpin(c->tenant->client, s->slot);
	hash_stream_destroy(s->hash);
	free(s);
	c->sending = NULL;
}

/* Large enough that the peer is not woken for crumbs (at 256 KiB the socket
 * carries little more than half), small enough that others have their turn. */
#define SEND_PIECE (1u << 20)

static struct verified *verified_at(struct resp_door *d, uint64_t loc)
{
	return &d->verified[loc * 0x9e3779b97f4a7c15ull >>
			    (64 - RESP_VERIFIED_BITS)];
}

void send_verified(struct resp_door *d, uint32_t pool,
		   const struct local_part *part)
{
	*verified_at(d, part->loc) =
		(struct verified){ .loc = part->loc | (uint64_t)pool
							      << FRAME_LOC_BITS,
				   .gen = part->gen,
				   .at_ns = d->now_ns };
}

static bool was_verified(struct conn *c, const struct local_part *part)
{
	struct resp_door *d = c->door;
	const struct verified *v = verified_at(d, part->loc);

	return v->loc == (part->loc | (uint64_t)c->tenant->pool->number
					      << FRAME_LOC_BITS) &&
	       v->gen == part->gen &&
	       d->now_ns - v->at_ns < d->options.verify_ns;
}

struct piece {
	struct hash_stream *hash;
	const uint8_t *at;
	uint64_t n;
};

static void add_piece(void *ctx)
{
	const struct piece *p = ctx;

	hash_stream_add(p->hash, p->at, p->n);
}

/* Hashes the next piece. False: that was the last, and the sum is wrong, or the
 * memory has failed. */
static bool hash_piece(struct conn *c)
{
	struct sending *s = c->sending;
	uint64_t n = MIN(s->bytes - s->hashed, (uint64_t)SEND_PIECE);
	struct piece piece = { s->hash, s->part.data + s->hashed, n };
	struct guard_fault fault;

	if (s->hash && guard_run(add_piece, &piece, &fault) < 0) {
		local_broken(c->tenant->client, &s->part, &fault);
		return false;
	}
	s->hashed += n;
	if (s->hashed < s->bytes || !s->hash)
		return true;
	if (hash_stream_value(s->hash) != s->part.checksum)
		return false;
	send_verified(c->door, c->tenant->pool->number, &s->part);
	return true;
}

static void on_sent(void *ctx, const char *data, int64_t n)
{
	struct conn *c = ctx;
	struct sending *s = c->sending;
	uint64_t tail = s->hashed == s->bytes ? 2 : 0;

	(void)data;
	if (n < (int64_t)(s->hashed - s->sent + tail)) {
		conn_close(c);
		return;
	}
	resp_count(c, DOOR_C_sent_bytes, (uint64_t)n);
	resp_count(c, DOOR_C_value_sent_bytes, (uint64_t)n - tail);
	s->sent = s->hashed;
	if (s->sent < s->bytes) {
		send_next(c);
		return;
	}
	send_drop(c);
	conn_resume(c, CONN_OPEN);
}

/* -EBADMSG: it was the last, and the sum is wrong. */
static int send_piece(struct conn *c)
{
	struct sending *s = c->sending;
	struct iovec pieces[2];
	bool last;

	conn_step(c, true);
	if (s->hashed == s->sent && !hash_piece(c)) {
		local_bad(c->tenant->client, &s->part);
		return -EBADMSG;
	}
	last = s->hashed == s->bytes;
	pieces[0] =
		(struct iovec){ s->part.data + s->sent, s->hashed - s->sent };
	pieces[1] = (struct iovec){ (char *)(uintptr_t) "\r\n", 2 };
	return stream_send(c->stream, pieces, last ? 2 : 1,
			   last ? 0 : LOOP_MORE, on_sent, c);
}

void send_next(struct conn *c)
{
	if (send_piece(c) < 0)
		conn_close(c);
}

int send_begin(struct conn *c, const struct entry *e)
{
	struct sending *s = mem_alloc(sizeof(*s));
	int r = -ENOMEM;

	if (!s)
		return r;
	r = was_verified(c, &e->bulk)
		    ? 0
		    : hash_stream_create(place_seed(&e->place, PLACE_BULK),
					 &s->hash);
	if (r < 0)
		goto free_it;
	s->part = e->bulk;
	s->bytes = e->bulk.bytes;
	s->slot = local_pin(c->tenant->client, &e->bulk);
	r = (int)MIN(s->slot, 0);
	if (r < 0)
		goto free_hash;
	c->sending = s;
	if (!hash_piece(c)) {
		local_bad(c->tenant->client, &s->part);
		send_drop(c);
		return 1;
	}
	out_bulk_head(&c->door->out, s->bytes);
	r = send_out(c, true);
	/* not closed from here: the command that asks is still at work */
	if (r == 0 && !c->out_len)
		r = send_piece(c);
	if (r < 0) {
		send_drop(c);
		return r;
	}
	c->state = CONN_SEND;
	return 0;
free_hash:
	hash_stream_destroy(s->hash);
free_it:
	must(r < 0);
	free(s);
	return r;
}
