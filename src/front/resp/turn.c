/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heavy commands: those whose cost grows with what others have (SCAN, CLIENT
 * LIST, INFO, ...). One of them runs in a turn of the loop, of all connections
 * together, in the order in which they came; so a pipeline of them costs others
 * one at a time.
 */
#include "front/resp/internal.h"

static void on_soon(struct loop_op *op, int64_t result)
{
	struct resp_door *d = container_of(op, struct resp_door, soon);
	struct conn *c = d->turn_first;

	d->soon_busy = false;
	d->heavy_ran = false;
	if (!c || result < 0)
		return;
	d->turn_first = c->turn_next;
	if (!d->turn_first)
		d->turn_last = NULL;
	conn_resume(c, CONN_OPEN);
	/* it may have had nothing heavy to do after all */
	if (d->turn_first && !d->soon_busy) {
		d->soon_busy = true;
		loop_soon(d->options.loop, &d->soon);
	}
}

void turn_init(struct resp_door *d)
{
	d->soon.fn = on_soon;
}

bool turn_take(struct conn *c)
{
	struct resp_door *d = c->door;

	if (!d->soon_busy) {
		d->soon_busy = true;
		loop_soon(d->options.loop, &d->soon);
	}
	if (!d->heavy_ran) {
		d->heavy_ran = true;
		return true;
	}
	c->state = CONN_TURN;
	c->turn_next = NULL;
	*(d->turn_last ? &d->turn_last->turn_next : &d->turn_first) = c;
	d->turn_last = c;
	return false;
}

void turn_leave(struct conn *c)
{
	struct resp_door *d = c->door;
	struct conn **link = &d->turn_first, *last = NULL;

	while (*link && *link != c) {
		last = *link;
		link = &last->turn_next;
	}
	if (!*link)
		return;
	*link = c->turn_next;
	if (d->turn_last == c)
		d->turn_last = last;
}
