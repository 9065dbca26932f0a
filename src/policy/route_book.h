/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a router keeps of each engine: what it sent there, when that will be
 * done, and how far the engine's word can be taken. Pure bookkeeping over times
 * that the caller gives (seconds on one clock).
 *
 * What a request adds is written on its ticket, and taken back from the ticket
 * alone, once, in whatever way the request ends (done, cancelled, its engine
 * gone): so a counter cannot leak. The clock of the queue needs no ending at
 * all: work that was sent passes with time, and each first token that is
 * reported sets it right.
 *
 *   ticket:  NONE -- sent --> WAITING -- first --> RUNNING
 *                                \                   /
 *                                 `-- over --> NONE <-
 */
#ifndef ONECOPY_POLICY_ROUTE_BOOK_H
#define ONECOPY_POLICY_ROUTE_BOOK_H

#include "policy/route.h"

enum route_ticket_state {
	ROUTE_TICKET_NONE = 0,
	ROUTE_TICKET_WAITING, /* for its first token */
	ROUTE_TICKET_RUNNING,
};

struct route_ticket {
	uint8_t state;	 /* enum route_ticket_state */
	uint32_t blocks; /* of the prompt */
	double tokens;	 /* of the prompt */
	double uncached; /* of that, not resident when sent */
	double work_s;	 /* of prefill, as predicted */
	double held;	 /* blocks of device memory that it adds */
	double begin_at; /* earliest begin of its prefill: all is moved */
	double first_at;
};

struct route_book {
	double busy_until; /* when the prompts sent so far are done */
	double owed_s;	   /* work of those that wait */
	double last_first; /* time of the last first token */
	double begun_at;   /* of the oldest that waits, at the earliest */
	double head_s;	   /* its work, as far as that is known */
	double moved_at;   /* all that was sent for is there */
	/* how late reports come: decaying mean, of how many, and that of all
	 * engines as the caller has it */
	double late_s, lates, usual_late_s;
	uint32_t waiting, running;
	double prefill_tokens, uncached, decode_blocks;
	/* true work / predicted work, both decaying */
	double observed_s, predicted_s;
	/* what requests in a queue took beside their prefill, and how many they
	 * were; both decaying; and the mean of all engines, as the caller has it */
	double more_s, queued, usual_more_s;
	double trust, trust_at;
	double held; /* blocks, of those in flight */
	/* decaying sum, of how many; the mean of all engines, as the caller has it */
	double decode_s, decodes, usual_decode_s;
	double saved_s, stored, lost; /* decaying sums */
	double served, served_at;     /* bytes sent to others, decaying */
	/* share of the requests that came back to blocks which were there; as
	 * of the request `recent_at` */
	double back;
	uint64_t recent_at;
};

void route_book_init(struct route_book *b);

/* A request was sent. `price` is what was decided, `held` the blocks of device
 * memory that nobody else in flight there holds as well. */
void route_book_sent(struct route_book *b, struct route_ticket *t, double now,
		     const struct route_request *r,
		     const struct route_price *price, double held);
/* The same for one that was counted and is decided anew: the traffic is not
 * counted again. */
void route_book_again(struct route_book *b, struct route_ticket *t, double now,
		      const struct route_request *r,
		      const struct route_price *price, double held);
/* Its first token came at `at`, as is known now. expected_s: what its prefill should have taken
 * by the engine's rates as believed without route_book_slowness(), given the
 * tokens that it did have to compute; 0: not known. No effect unless WAITING. */
void route_book_first(struct route_book *b, struct route_ticket *t, double now,
		      double at, double expected_s);
/* Blocks that were counted with `from`, which is about to be over, are held by
 * `to` as well: from now on they count with that one. */
void route_ticket_inherit(struct route_ticket *from, struct route_ticket *to,
			  double blocks);
/* How late reports come of late, whatever the engine: taken to hold for this one
 * as long as it was hardly heard of. */
void route_book_usual_late(struct route_book *b, double usual_late_s);
double route_book_late(const struct route_book *b);
/* What a request in a queue takes beside its prefill, and an answer, on any
 * engine: what one engine's took of late is noise for the most part, and sends
 * those who come to where nothing of the kind has happened yet. Of an engine's
 * own answers some are waited for until they outweigh the others'. */
void route_book_usual(struct route_book *const *books, uint32_t n);
/* The ticket that has waited longest, where the caller knows it: until its
 * first token the engine is not called stalled. */
void route_book_head(struct route_book *b, const struct route_ticket *t);
/* Who waits there for blocks that move, though it would be its turn: begun with
 * the book, the tickets that wait added in their order, as long as the answer is
 * that more could change it. */
struct route_gap {
	double now, until; /* when the queue of those added is over */
	double ahead_s;	   /* so long before its begin a prompt's turn comes:
			      engines take in ahead what a step or two hold */
	double last;	   /* the last of all blocks are there */
	uint32_t moving;
	double moving_s;
};
bool route_gap_begin(struct route_gap *g, const struct route_book *b,
		     double now, double ahead_s);
bool route_gap_add(struct route_gap *g, const struct route_ticket *t);
/* It is over, in whatever state. No effect on a ticket that is NONE. */
void route_book_over(struct route_book *b, struct route_ticket *t, double at);

/* Seconds for which an engine on which prompts wait gave no first token though
 * it should have: it waits for something itself, say for memory that long
 * answers hold. How long it goes on nobody knows; as long again is a guess. */
double route_book_stall(const struct route_book *b, double now);
/* When those that wait there have their turn: begun with the book, the tickets
 * added in their order. The answer: seconds until the prompt of that ticket is
 * begun; what follows it has its turn in `at` seconds. */
struct route_line {
	double at, more_s;
};
void route_line_begin(struct route_line *l, const struct route_book *b,
		      double now);
double route_line_add(struct route_line *l, const struct route_ticket *t);
/* Seconds until a prompt that is sent now is begun. */
double route_book_wait(const struct route_book *b, double now);
/* How much slower than believed its prefill is: 1 as believed. Learned from
 * first tokens, within 1/4 .. 4. */
double route_book_slowness(const struct route_book *b);

/* The engine said that it held `promised` tokens of a prompt, and reported
 * `cached` (its answer's cached_tokens). Distrust grows by what was missing and
 * heals with what holds and with time. */
void route_book_cached(struct route_book *b, double now, double promised,
		       double cached);
double route_book_trust(const struct route_book *b, double now);

/* It made `stored` blocks resident and used `saved_s` worth of resident ones;
 * it let `lost` blocks go altogether. */
void route_book_stored(struct route_book *b, double stored, double saved_s);
void route_book_lost(struct route_book *b, double lost);

/* Bytes went out over its link to another engine. */
void route_book_served(struct route_book *b, double now, double bytes);
double route_book_serving(const struct route_book *b, double now);

/* What of a route_engine comes from the book; the engine's rates are in it as
 * believed, and are set right by what was learned. */
void route_book_fill(const struct route_book *b, double now,
		     struct route_engine *e);
/* Share of the fleet's requests of late, as of the request `serial`, that came
 * back to blocks which were there. */
double route_book_returns(const struct route_book *b, uint64_t serial);
/* After that, for all engines together: one of which little was seen at work is
 * taken to be like the others, or those of which too much is believed would be
 * chosen just for that. */
void route_book_pool(const struct route_book *const *books,
		     struct route_engine *engine, uint32_t n);

#endif
