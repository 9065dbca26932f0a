/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the movement service alone (store/move.h). */
#ifndef ONECOPY_STORE_MOVE_INTERNAL_H
#define ONECOPY_STORE_MOVE_INTERNAL_H

#include "policy/ladder.h"
#include "store/internal.h"
#include "store/local.h"
#include "store/move.h"

#define MOVE_BUCKETS 4096u /* of moves under way */

/* Up, with the tier at once; the tier serves its queue by urgency, but cannot be
 * told that one of its moves has become urgent, so few that nobody waits for. */
#define UP_WAITED 64u
#define UP_AHEAD  8u
/* Of them a tenant's, those that wait for room included. */
#define UP_TENANT 48u
/* Asked for ahead of need by a tenant, and not yet begun. */
#define AHEAD_MOST 256u
/* Down, with the tier at once. */
#define DOWN_MOST  32u
#define DOWN_BYTES (64ull << 20)

enum move_state {
	MOVE_QUEUED, /* in its pool's queue */
	MOVE_ROOM,   /* its grant waits for room */
	MOVE_FLYING, /* the tier's */
	MOVE_OVER,   /* its result is known; in mover.over */
};

struct move {
	struct mover *mv;
	struct move *same;	  /* next of its bucket */
	struct move *next, *prev; /* of its list */
	struct tier_move tm;
	uint64_t key[4], part;
	uint32_t pool;
	enum move_state state;
	enum tier_urgency urgency, asked; /* asked: when it asked for room */
	bool down;
	bool ahead;	/* wanted though nobody waits */
	bool stale;	/* removed above meanwhile: what it brings is not */
	bool cancelled; /* the tier was asked to */
	int result;
	uint64_t deadline_ns;
	struct move_waiter *waiters;
	struct local_part frame; /* lent (up) or pinned (down) */
	int64_t pin;		 /* down */
	uint32_t arena;		 /* down */
	void *bounce;		 /* down: of a frame that is less than a page */
	/* ahead: what may leave for it: nothing that was used later than this,
	 * nor what is likelier to be used in the next ms (in 2^-32) */
	uint64_t stamp, rate;
	uint64_t seq; /* of its grant's request */
};

struct move_list {
	struct move *head, *tail;
	uint32_t n;
};

/* A space of the tier, and whose it is. */
struct below_space {
	uint32_t pool, ns; /* ns 0: nobody has asked yet */
	uint64_t parts, bytes;
	uint64_t spent; /* below_spent() of them */
};

/* What a part takes of a drive: whole pages, and its record. */
#define BELOW_RECORD 64u

static inline uint64_t below_spent(uint64_t bytes)
{
	return ALIGN_UP(bytes, PAGE_BYTES) + BELOW_RECORD;
}

/* How far an arena's next victims have been looked at. */
struct behind {
	uint32_t at; /* last item that was; POLICY_NONE: none */
	uint64_t word, stamp;
	uint32_t clean;	 /* items up to it that can go for nothing */
	uint32_t frames; /* of the arena, */
	uint32_t free;	 /* free ones, as counted last */
	uint32_t flying;
};

/* A session whose blocks are brought up in order. */
struct ahead {
	uint32_t pool;
	uint64_t session;
	uint32_t at, end; /* keys */
	uint64_t rate, stamp;
};
#define AHEADS	      (STORE_POOLS_MAX * AHEADS_TENANT)
#define AHEADS_TENANT 64u

/* A tier numbers some thousands, for all tenants. */
#define SPACES_TENANT 240u
#define SPACE_REFUSED UINT32_MAX

struct mover {
	struct store *s;
	struct tier *t;
	struct tier_stat stat; /* of the last look */
	uint64_t stat_ns, price_ns, count_ns;
	bool stopped; /* nothing new begins */
	bool hears;   /* has found what it has: removals reach it */
	bool counted; /* what is below was counted, */
	bool inexact; /* not all of it: again at times */
	bool settled; /* a dead server's reads are over */
	bool serving; /* memory may be registered */
	bool pumping; /* up_pump() is at work */
	bool full;    /* the tier takes no more for now */

	struct move *bucket[MOVE_BUCKETS];
	struct move_list queue[TIER_BEHIND][STORE_POOLS_MAX]; /* up */
	uint32_t turn[TIER_URGENCIES]; /* pool that is next */
	uint32_t queued[TIER_BEHIND];
	uint64_t queued_bytes;
	uint32_t flying[TIER_URGENCIES];
	uint32_t flying_of[TIER_URGENCIES][STORE_POOLS_MAX];
	uint64_t down_bytes;
	/* of a tenant, below_spent(): on their way down, and there */
	uint64_t down_of[STORE_POOLS_MAX], spent_of[STORE_POOLS_MAX];
	struct move_list over;
	struct move_list roomless[STORE_POOLS_MAX]; /* MOVE_ROOM */
	uint64_t seq;

	/* down */
	struct behind *behind[STORE_POOLS_MAX];
	uint32_t n_behind[STORE_POOLS_MAX];
	uint32_t *declined[STORE_POOLS_MAX]; /* by item: filling */
	uint32_t n_declined[STORE_POOLS_MAX];
	uint64_t recount_ns, again_ns, write_after_ns, since_ns;
	/* of a tenant: it has had no room for it since; 0: it has; and it is
	 * not asked again before */
	uint64_t crowded_ns[STORE_POOLS_MAX], after_ns[STORE_POOLS_MAX];
	uint64_t busy_ns;	 /* the drive has enough to do since; 0: not */
	uint64_t verified_bytes; /* in this turn */
	uint64_t wrote_ns; /* when a write ended well, or the first began */
	bool saving;	   /* before the end: store/move_save.c writes, alone */
	struct save {
		struct save_item *item; /* the warmest first */
		uint32_t n, at, passes;
		bool made;
		bool wrote;	/* in this pass */
		uint64_t spent; /* below_spent() of what lies there or goes */
	} save;

	/* spaces */
	/* number + 1; SPACE_REFUSED: the tier has none left for it */
	uint32_t space[STORE_POOLS_MAX][LAYOUT_NS_MAX];
	uint32_t spaces_of[STORE_POOLS_MAX];
	struct below_space *of_space;
	uint32_t n_spaces;

	struct ahead ahead[AHEADS];
	uint32_t n_aheads;
};

/* ---- store/move.c */
struct move *move_of(const struct mover *mv, uint32_t pool,
		     const uint64_t key[4], uint64_t part);
/* In the table, on no list; NULL: no memory. */
struct move *move_make(struct mover *mv, uint32_t pool, const uint64_t key[4],
		       uint64_t part);
/* Tells who waits; the move is no more. */
void move_end(struct mover *mv, struct move *m, int result);
/* The same of a move down. */
void move_turn(struct mover *mv, struct move *m);
void move_list_add(struct move_list *l, struct move *m);
void move_list_take(struct move_list *l, struct move *m);
/* What it has come to is dealt with later, never in the caller's call. */
void move_over(struct mover *mv, struct move *m, int result);
void move_flown(struct tier_move *tm, int result);

/* What a read from the tier costs: a guess as long as nothing was read, or nothing
 * would be worth a write to a drive that holds nothing. */
struct tier_price move_read_price(const struct mover *mv);

/* ---- store/move_up.c */
void up_pump(struct mover *mv);
void up_finish(struct mover *mv, struct move *m);
void up_deadlines(struct mover *mv);
/* Nobody wants it any more. */
void up_unwanted(struct mover *mv, struct move *m);

/* ---- store/move_worth.c */
/* Once in a turn: since when has the drive had enough to do? */
void down_see_busy(struct mover *mv);
/* The part of a block that would have to be written. */
bool down_worth_it(const struct mover *mv, const struct pool *p,
		   const struct pool_slab *slab, uint32_t frame);
/* It is not to be written, for as long as the frame holds it. False: that was said
 * before, or cannot be remembered. */
bool down_decline_part(struct mover *mv, struct pool *p,
		       const struct pool_slab *slab, uint32_t frame);
/* Was it said of what this frame holds that it is not to be written? */
bool down_is_declined(const struct mover *mv, const struct pool *p,
		      const struct pool_slab *slab, uint32_t frame);
/* Has it been used since it was sealed? */
bool down_used_since(const struct frame_desc *d);

/* ---- store/move_cold.c */
void down_pump(struct mover *mv);
void down_fini(struct mover *mv);

/* ---- store/move_down.c */
void down_finish(struct mover *mv, struct move *m);
bool down_may_write(const struct mover *mv);
/* As much as may be is under way. */
bool down_full(const struct mover *mv);
/* There is no room just now, and soon there may be. */
bool down_passing(const struct mover *mv, const struct pool *p);
enum down { DOWN_CLEAN, DOWN_GOES, DOWN_LATER, DOWN_STOP };
/* Begins to write what of the block is not below. hard: without asking whether
 * it is worth it, nor how much of the arena it takes. */
enum down down_block(struct mover *mv, struct pool *p, struct pool_slab *slab,
		     uint32_t frame, bool hard);

/* ---- store/move_save.c */
void save_fini(struct mover *mv);

/* ---- store/move_ahead.c */
void ahead_pump(struct mover *mv);
/* There is no room for what nobody waits for. */
void ahead_stop(struct mover *mv, uint32_t pool);
/* Somebody waits for a part: what follows it in its chain is wanted soon. */
void move_follow(struct store *s, struct pool *p, const uint64_t key[4],
		 uint64_t part);

/* As move_up(); rate 0: as somebody who waits. */
struct move_wish {
	enum tier_urgency urgency;
	uint64_t deadline_ns;
	uint64_t rate, stamp; /* struct move */
};
int move_up_as(struct store *s, struct pool *p, const uint64_t key[4],
	       uint64_t part, const struct move_wish *wish,
	       struct move_waiter *w);

/* ---- store/below.c */
bool below_id(struct mover *mv, const struct pool *p, const uint64_t key[4],
	      uint64_t part, struct tier_id *ret_id);
bool below_find(struct mover *mv, const struct pool *p, const uint64_t key[4],
		uint64_t part, struct tier_found *ret_found);
/* What a sealed frame holds is below as well. Under its name may lie what is of
 * the past (a node was killed before a removal was kept): that is removed. */
bool below_holds(struct mover *mv, const struct pool *p,
		 const struct frame_desc *d);
/* One more there, or (n -1) one less. */
void below_count(struct mover *mv, uint32_t space, uint64_t extent, int n);
void below_recount(struct mover *mv);
/* Tells the tier of memory that it may register. */
void memory_tick(struct mover *mv);

#endif
