/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: bytes in, commands, bytes out.
 *
 * Half duplex: it receives while it takes commands or a value, and not while
 * replies go out; so a peer that does not read is not read from either. What
 * came is parsed where the loop put it; only what is left over (a command that
 * is not whole, or behind one that goes on later) is copied to c->in.
 *
 *   OPEN -> (long value) ROOM -> FILL -> TAIL -> OPEN
 *   OPEN -> (long reply) SEND -> OPEN
 *
 * Nothing here is called while it is on the stack: callbacks come from the
 * loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "front/resp/internal.h"

#define INPUT_LEAST 512u

/* ---- lists ------------------------------------------------------------------ */

static void busy_remove(struct conn *c)
{
	struct resp_door *d = c->door;

	if (!c->busy)
		return;
	*(c->busy_prev ? &c->busy_prev->busy_next : &d->busy_first) =
		c->busy_next;
	*(c->busy_next ? &c->busy_next->busy_prev : &d->busy_last) =
		c->busy_prev;
	c->busy = false;
}

void conn_step(struct conn *c, bool busy)
{
	struct resp_door *d = c->door;

	/* nobody has one time for everything, from its beginning */
	if (!c->tenant && c->busy)
		return;
	c->step_ns = d->now_ns;
	if (c->busy && d->busy_last == c && busy)
		return;
	busy_remove(c);
	if (!busy)
		return;
	c->busy = true;
	c->busy_prev = d->busy_last;
	c->busy_next = NULL;
	*(d->busy_last ? &d->busy_last->busy_next : &d->busy_first) = c;
	d->busy_last = c;
}

/* ---- what is left over --------------------------------------------------------- */

/* What its memory is counted in: those who have not said who they are cannot use
 * up what others need. */
static uint64_t *account(struct conn *c)
{
	return c->in->nobody ? &c->door->nobody_bytes : &c->door->input_bytes;
}

static void input_free(struct conn *c)
{
	if (!c->in)
		return;
	*account(c) -= c->in->cap + sizeof(*c->in);
	free(c->in->buf);
	free(c->in);
	c->in = NULL;
}

static bool input_room(struct conn *c, size_t more)
{
	struct input *in = c->in;
	uint64_t need = in->len - in->at + more;
	uint32_t cap = (uint32_t)round_up_pow2(MAX(need, INPUT_LEAST));
	char *grown;

	if (in->nobody && c->tenant) { /* it has said who it is */
		*account(c) -= in->cap + sizeof(*in);
		in->nobody = false;
		*account(c) += in->cap + sizeof(*in);
	}
	if (in->at && in->len + more > in->cap) {
		memmove(in->buf, in->buf + in->at, in->len - in->at);
		in->len -= in->at;
		in->at = 0;
	}
	if (in->len + more <= in->cap)
		return true;
	if (need > (c->tenant ? 2 * RESP_COMMAND_MAX : RESP_NOBODY_MAX) ||
	    *account(c) + cap - in->cap >
		    (in->nobody ? RESP_NOBODY_ALL : RESP_INPUT_ALL))
		return false;
	grown = mem_grow(in->buf, cap, 1);
	if (!grown)
		return false;
	*account(c) += cap - in->cap;
	in->buf = grown;
	in->cap = cap;
	return true;
}

/* Keeps data, and the parser's state for it (NULL: at a command's beginning). */
static bool input_keep(struct conn *c, const struct resp_parser *p,
		       const char *data, size_t len)
{
	bool fresh = !c->in;

	if (fresh) {
		c->in = mem_alloc(sizeof(*c->in));
		if (!c->in)
			return false;
		c->in->nobody = !c->tenant;
		*account(c) += sizeof(*c->in);
		memcpy(&c->in->parser, p ? p : &c->door->parser,
		       offsetof(struct resp_parser, arg) +
			       (p ? p->n_args : 0) * sizeof(p->arg[0]));
		if (!p)
			resp_begin(&c->in->parser);
	}
	if (!input_room(c, len))
		return false;
	memcpy(c->in->buf + c->in->len, data, len);
	c->in->len += (uint32_t)len;
	return true;
}

/* ---- its end -------------------------------------------------------------------- */

/* The loop has let go of its memory: what it held goes back. Itself it may be on
 * the stack of whoever closed it. */
static void conn_gone(void *ctx)
{
	struct conn *c = ctx;
	struct resp_door *d = c->door;

	value_drop(c);
	send_drop(c);
	input_free(c);
	d->out_bytes -= c->out_len;
	free(c->out);
	free(c->name);
	d->conn[c->index] = NULL;
	d->conn_hint = MIN(d->conn_hint, c->index);
	d->n_conns--;
	c->busy_next = d->dead;
	d->dead = c;
}

void conn_close(struct conn *c)
{
	struct resp_door *d = c->door;

	if (c->state == CONN_ENDED)
		return;
	if (c->queued)
		d->n_queued--;
	if (c->state == CONN_WALK)
		d->n_walking--;
	if (c->state == CONN_TURN)
		turn_leave(c);
	c->queued = false;
	move_leave(&c->wait);
	d->n_shaking -= c->shaking;
	c->shaking = false;
	c->state = CONN_ENDED;
	busy_remove(c);
	if (c->awaits) {
		c->awaits = NULL;
		local_cancel(c->tenant->client, c->ticket);
	}
	resp_count(c, DOOR_C_connections_now, -1ull);
	stream_close(c->stream, conn_gone, c);
}

void conn_refuse(struct conn *c)
{
	resp_count(c, DOOR_C_refused, 1);
	conn_close(c);
}

/* ---- commands -------------------------------------------------------------------- */

static void protocol_error(struct conn *c, const char *text)
{
	out_errorf(&c->door->out, "ERR %s", text);
	resp_count(c, DOOR_C_refused, 1);
	c->closing = true;
}

/* Runs what is parsed. Its bytes, or 0: it goes on later. */
static uint32_t run(struct conn *c, struct resp_parser *p, const char *data)
{
	uint32_t bytes = p->at;

	c->large = c->fill != NULL;
	if (p->n_args && exec_command(c, p, data) == EXEC_AGAIN) {
		c->again = true;
		return 0;
	}
	c->again = false;
	c->resume = 0;
	c->waits = 0;
	c->wait_until_ns = 0;
	c->wrong = NULL;
	if (c->fill)
		value_drop(c);
	resp_begin(p);
	return bytes;
}

static uint32_t one_command(struct conn *c, struct resp_parser *p, char *data,
			    size_t len)
{
	int r = c->again ? RESP_COMMAND : resp_parse(p, data, len);

	switch (r) {
	case RESP_MORE:
		return 0;
	case RESP_COMMAND:
		return run(c, p, data);
	case RESP_VALUE:
		c->value_due = true;
		return 0;
	default:
		protocol_error(c, p->error);
		return 0;
	}
}

static bool is_open(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->closing && !c->broken &&
	       !c->value_due;
}

static bool takes_more(const struct conn *c)
{
	return is_open(c) && c->door->out.len < RESP_OUT_MAX;
}

/* Takes commands; the bytes that are done with. */
static size_t take(struct conn *c, struct resp_parser *p, char *data,
		   size_t len)
{
	size_t done = 0;

	while (done < len && takes_more(c)) {
		uint32_t n = one_command(c, p, data + done, len - done);

		if (!n)
			break;
		done += n;
	}
	return done;
}

static void begin_out(struct conn *c)
{
	struct resp_door *d = c->door;

	d->now_ns = clock_ns();
	memset(d->batch, 0, sizeof(d->batch));
	d->out.errors = 0;
	out_begin(&d->out, c->protocol);
}

/* Requests of a batch have one time: from its last byte to their answers. */
static void time_batch(struct conn *c)
{
	struct resp_door *d = c->door;
	uint64_t passed = clock_ns() - d->now_ns, all = 0;

	for (unsigned k = 0; k < RESP_KINDS; k++) {
		if (d->batch[k])
			hist_add_n(&d->counts.time_ns[k], passed, d->batch[k]);
		all += d->batch[k];
		d->batch[k] = 0;
	}
	resp_count(c, DOOR_C_requests, all);
	resp_count(c, DOOR_C_errors, d->out.errors);
	d->out.errors = 0;
}

static void on_input(void *ctx, const char *data, int64_t n);

/* A connection is always waited for by somebody: states in which settle() asks
 * for nothing have their own call. */
static bool under_way(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_ROOM:
		return c->awaits || c->queued;
	case CONN_FILL:
		return c->fill && c->fill->has_bulk;
	case CONN_SEND:
		return c->sending != NULL;
	case CONN_BELOW:
		return c->wait.move != NULL;
	case CONN_WALK:
		return c->door->n_walking > 0;
	default:
		return true;
	}
}

/* Where replies have gone, and what comes next. */
static void settle(struct conn *c)
{
	unsigned flags = c->state == CONN_OPEN ? LOOP_NOT_YET : 0;
	int r = send_out(c, false);

	time_batch(c);
	if (r < 0 || c->door->out.failed || c->broken)
		goto close;
	must(under_way(c));
	if (c->out_len) {
		conn_step(c, true);
		return;
	}
	if (c->state == CONN_OPEN && c->closing)
		goto close;
	if (c->state == CONN_ROOM || c->state == CONN_WALK ||
	    c->state == CONN_BELOW || c->state == CONN_TURN)
		conn_step(c, true);
	if (c->state != CONN_OPEN && c->state != CONN_TAIL &&
	    c->state != CONN_SKIP)
		return;
	if (c->in && c->in->at == c->in->len && !c->again)
		input_free(c);
	conn_step(c, c->in || c->state != CONN_OPEN || !c->tenant);
	if (c->receiving)
		return;
	/* a long value's first bytes are copied: let there be few of them */
	r = stream_receive_any(
		c->stream,
		c->large && c->state != CONN_SKIP ? 1024 : LOOP_ANY_BYTES,
		flags, on_input, c);
	c->receiving = r == 0;
	if (r == 0)
		return;
close:
	conn_close(c);
}

/* Goes on with what is in c->in as far as it can. */
static void work(struct conn *c)
{
	while (c->state != CONN_ENDED) {
		struct input *in = c->in;
		size_t done = 0;

		if (c->state == CONN_TAIL && in)
			value_tail(c);
		/* it stopped for the replies' sake: if they go, it goes on */
		if (in && is_open(c) && !c->out_len &&
		    c->door->out.len >= RESP_OUT_MAX &&
		    send_out(c, false) < 0) {
			conn_close(c);
			return;
		}
		if (!in || !takes_more(c) || c->out_len)
			break;
		if (in->at < in->len || c->again)
			done = take(c, &in->parser, in->buf + in->at,
				    in->len - in->at);
		if (c->state == CONN_ENDED)
			return;
		in->at += (uint32_t)done;
		if (c->value_due) {
			c->value_due = false;
			value_begin(c);
			continue;
		}
		if (!done || in->at == in->len)
			break;
	}
	if (c->state != CONN_ENDED)
		settle(c);
}

void conn_resume(struct conn *c, enum conn_state state)
{
	c->state = (uint8_t)state;
	begin_out(c);
	work(c);
}

/* Who is nobody yet may be about to say who it is: until then it has the little
 * memory that is a nobody's, again and again. False: that was too little. */
static bool input_take(struct conn *c, const char *data, size_t len)
{
	struct input *in = c->in;

	while (!c->tenant && len && is_open(c)) {
		uint32_t have = in->len - in->at;
		size_t n =
			MIN(len, RESP_NOBODY_MAX - MIN(have, RESP_NOBODY_MAX));
		size_t done;

		if (!n || !input_keep(c, NULL, data, n))
			return false;
		data += n;
		len -= n;
		done = take(c, &in->parser, in->buf + in->at, have + n);
		if (c->state == CONN_ENDED)
			return true;
		in->at += (uint32_t)done;
	}
	return !len || c->closing || c->broken ||
	       input_keep(c, NULL, data, len);
}

static void on_input(void *ctx, const char *data, int64_t n)
{
	struct conn *c = ctx;
	struct resp_door *d = c->door;
	size_t len = (size_t)n, done;

	c->receiving = false;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	resp_count(c, DOOR_C_received_bytes, len);
	begin_out(c);
	if (c->state == CONN_SKIP) {
		done = value_skip(c, len);
		data += done;
		len -= done;
	}
	if (!c->in && c->state == CONN_OPEN) {
		resp_begin(&d->parser);
		/* the loop's memory: an inline command is rewritten in place */
		done = take(c, &d->parser, (char *)(uintptr_t)data, len);
		if (c->state == CONN_ENDED)
			return;
		if (done == len && !c->again) {
			settle(c);
			return;
		}
		if (!c->closing && !c->broken &&
		    !input_keep(c, &d->parser, data + done, len - done)) {
			conn_refuse(c);
			return;
		}
	} else if (len && !(c->in ? input_take(c, data, len)
				  : input_keep(c, NULL, data, len))) {
		conn_refuse(c);
		return;
	}
	if (c->value_due) {
		c->value_due = false;
		value_begin(c);
	}
	work(c);
}

/* ---- its beginning ----------------------------------------------------------------- */

static uint32_t index_unused(struct resp_door *d)
{
	uint32_t i = d->conn_hint;

	while (d->conn[i])
		i++;
	d->conn_hint = i + 1;
	d->conn_end = MAX(d->conn_end, i + 1);
	return i;
}

int conn_open(struct resp_door *d, int fd)
{
	struct conn *c = mem_alloc(sizeof(*c));
	int one = 1, r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	/* replies are whole when they are sent: no waiting for more */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	r = stream_open(d->options.loop, fd, d->options.tls, &c->stream);
	if (r < 0) {
		free(c);
		return r;
	}
	c->door = d;
	c->protocol = 2;
	c->index = index_unused(d);
	c->id = ++d->ids;
	c->ticket = c->id << RESP_INDEX_BITS | c->index;
	c->born_ns = d->now_ns;
	d->conn[c->index] = c;
	d->n_conns++;
	c->shaking = d->options.tls != NULL;
	d->n_shaking += c->shaking;
	auth_begin(c);
	resp_count(c, DOOR_C_connections, 1);
	resp_count(c, DOOR_C_connections_now, 1);
	begin_out(c);
	if (c->stranger) { /* it would only take a place */
		out_error(&d->out, RESP_STRANGER);
		resp_count(c, DOOR_C_refused, 1);
		resp_log(d, "a connection of a user who may not use tenant "
			    "'default' was refused");
		c->closing = true;
	}
	settle(c);
	return 0;
}
