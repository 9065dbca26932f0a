/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of store/ alone. */
#ifndef ONECOPY_STORE_INTERNAL_H
#define ONECOPY_STORE_INTERNAL_H

#include "base/guard.h"
#include "store/past.h"
#include "store/store.h"

/* A set of frames that leave together or not at all, block by block. */
struct evict_entry {
	struct pool_slab *slab;
	uint32_t frame, block;
};
/* What becomes of a block. Of two pins the one that says more counts. */
enum evict_what {
	EVICT_LEAVES,
	EVICT_MAPPED,  /* mappings alone hold it */
	EVICT_AWAITED, /* ... that have something else to answer first */
	EVICT_ASKED,   /* ... that are asked for it */
	EVICT_DEAR,    /* ... that would lose it */
	EVICT_DEAREST,
	EVICT_PINNED,  /* in use */
	EVICT_SURPLUS, /* there are others before it */
};
struct evict_batch {
	struct evict_entry *entry;
	uint32_t n, cap;
	uint8_t *pinned; /* for each block: enum evict_what */
	uint32_t blocks, blocks_cap;
	uint32_t most; /* blocks that shall leave; the others are spared */
	/* store/revoke.h */
	struct revoke_note *note;
	uint32_t n_notes, notes_cap;
	uint32_t ask_most; /* blocks whose mappings may be asked for now */
	uint32_t asked;	   /* that are, or will be when there is an answer */
};

struct pending_grant {
	struct store_client *client;
	struct ring_call call;
	uint64_t deadline_ns;
};

/* Why room is being made now, for the history. */
struct store_cause {
	uint64_t client;
	uint32_t pool;		 /* the client's */
	uint8_t pressure, limit; /* store/past.h */
};

struct scrub {
	uint32_t pool, slab, frame;
	uint64_t slab_gen, gen; /* of the frame in hand */
	uint64_t done;		/* its bytes that are hashed */
	struct hash_stream *stream;
	uint64_t credit; /* bytes that may be hashed now */
	uint64_t last_ns;
};

/* A part in low memory that was used again: to be copied up. */
struct rise {
	uint32_t pool, tries;
	uint64_t loc, gen;
	uint64_t before; /* stamp of its use before */
};
#define RISES 256u

/* Where the look for leases that have run out stands. */
struct session_lapse {
	uint32_t next;	   /* record */
	uint64_t again_ms; /* when a pass over all begins again */
};

/* Of a pool: removals that the tier has not heard of (store/owed.c). */
struct owed_part {
	uint64_t key[4], part;
};
struct owed {
	struct owed_part *part;
	uint32_t n, cap;
	uint64_t all[LAYOUT_NS_MAX / 64]; /* namespaces */
};

struct session_record;

struct store {
	struct store_options options;
	struct pool_budget budget;
	struct pool_low low; /* limit 0: there is none */
	uint64_t low_refused_ns;
	uint64_t low_errors;
	bool low_gone;
	/* store/rung_small.c's: slabs of it were retired last for larger ones,
	 * of such frames; until when what comes free is kept for them */
	uint64_t low_retired_ns, low_kept_for, low_kept_ns;
	struct rise rise[RISES];
	uint32_t rises; /* waiting, the oldest first */
	struct maker *maker;
	struct pool *pool[STORE_POOLS_MAX];
	struct store_client *client[STORE_POOLS_MAX][LAYOUT_CLIENTS_MAX];
	struct store_client *local[STORE_POOLS_MAX]; /* store/local.h */
	struct pending_grant *pending;
	size_t n_pending, pending_cap;
	uint64_t pass; /* over the waiting grants */
	/* Is there one now, because something changed, and is it the last try
	 * of the grant in hand? */
	bool passing, changed, last_try;
	uint64_t refused_ns; /* memory for a slab was refused: ask again then */
	uint64_t slabs_refused;
	bool retry; /* something changed that may help a pending grant */
	struct evict_batch batch;
	struct store_cause cause;
	struct past *past[STORE_POOLS_MAX]; /* NULL: none is kept */
	struct scrub scrub;
	uint64_t bad_after_ns; /* no report of wrong bytes is looked at before */
	/* pools of a predecessor, some of whose clients are not adopted yet */
	bool pins_unknown[STORE_POOLS_MAX];
	uint64_t now_ns;     /* as told by the caller */
	uint32_t retiring;   /* slabs */
	bool announce_again; /* a predecessor may have died before it told */
	struct session_lapse lapse[STORE_POOLS_MAX];
	uint64_t session_keys[RING_BLOB_KEYS][4]; /* of the request in hand */
	struct mover *mover;			  /* NULL: no tier below */
	bool slab_gone; /* a closed client may have lost its last one */
	struct {	/* store/fetch.c */
		struct fetch *first, *last; /* fetches under way */
		struct fetch *told;	    /* to be answered */
		size_t parked;		    /* not begun yet */
		bool room;		    /* one has ended since */
	} fetch;
	struct owed owed[STORE_POOLS_MAX];
	struct linger *linger[STORE_POOLS_MAX]; /* NULL: nothing ever did */
	struct {				/* store/revoke.c */
		uint32_t open, late;		/* clients */
		bool unsent;
		uint64_t recount_ns, doomed_ns;
		uint32_t *held[STORE_POOLS_MAX]; /* by slab; NULL: nothing */
	} revoke;
	struct shard *shard; /* NULL: never in a CXL region */
};

/* store/store.c */
void client_free(struct store_client *c);

/* store/clients.c */
bool client_owns_slabs(const struct store_client *c);
/* Ends closed clients that own nothing any more. */
void clients_tick(struct store *s);

/* store/local.c */
void local_free(struct store_client *c);

/* store/evict.c */
/* Starts a batch; adds the block of a sealed frame (all its parts) and marks
 * it LEAVING. False: it cannot leave now (memory). */
void evict_begin(struct store *s);
bool evict_add(struct store *s, struct pool *p, struct pool_slab *slab,
	       uint32_t frame);
/* The same of a twin alone (pool/pool.h). */
bool evict_add_twin(struct store *s, struct pool *p, struct pool_slab *slab,
		    uint32_t frame);
/* Has the block of a sealed frame in DRAM twins of all that it has there? Then
 * evict_add() loses nothing of it. */
bool evict_falls(const struct pool *p, const struct pool_slab *slab,
		 uint32_t frame);
/* Its part is lost to memory when this frame of a batch goes: it is no twin, and
 * no twin of it stays. */
bool evict_loses(const struct pool *p, const struct pool_slab *slab,
		 uint32_t frame);
/* Fence, look at all pins, release or spare. What has twins of all that it has in
 * DRAM falls, all else leaves. all: everything or nothing.
 * Number of frames released. */
uint32_t evict_finish(struct store *s, struct pool *p, bool all);
/* Up to `want` victims among the first `mark` of an arena's order that may leave;
 * frames freed in that arena may be more or fewer. for_nothing: of those, near
 * the cold end, that are below or not worth it. ask: mappings are asked for what they
 * alone keep (batch.asked). */
uint32_t evict_from_arena(struct store *s, struct pool *p, uint32_t arena,
			  uint32_t mark, uint32_t want, bool for_nothing,
			  bool ask);
/* Empties a slab if nobody uses any of it. Of one that only mappings keep from
 * that, these are asked for, if `ask` (batch.asked). */
bool evict_slab(struct store *s, struct pool *p, struct pool_slab *slab,
		bool ask);
/* Empties a slab that nobody may stop from leaving: what is pinned is DOOMED
 * and goes with its last pin. */
void evict_slab_hard(struct store *s, struct pool *p, struct pool_slab *slab);
/* Releases DOOMED frames that nobody pins any more. */
void evict_drain(struct store *s, struct pool *p);

/* store/note.c: what goes into a pool's history */
void note_cause(struct store_client *c, enum past_pressure pressure,
		enum past_limit limit);
/* While the frames still say what they hold. parts: that leave together. */
void note_evicted(struct store *s, const struct pool *p,
		  const struct pool_slab *slab, uint32_t frame, uint32_t parts);
void note_gone(struct store *s, const struct pool *p,
	       const struct pool_slab *slab, uint32_t frame,
	       enum past_event event, uint64_t client);
void note_unsealed(struct store *s, const struct pool *p,
		   const struct pool_slab *slab, uint32_t frame,
		   enum past_event event);
void note_refused(struct store_client *c, const struct ring_call *call,
		  enum past_limit limit);
/* What happened below to a part of a namespace. */
void note_below(struct store *s, const struct pool *p, uint32_t ns,
		const uint64_t key[4], enum past_event event);

/* store/quota.c */
/* Bytes of slabs that it has or that are on their way to it. */
uint64_t quota_held(const struct pool *p);
/* What it has less than its share. */
uint64_t quota_owed(const struct pool *p);
/* What it may have more before its quota is reached. */
uint64_t quota_left(const struct pool *p);
/* Bytes of the node that are free for it. */
uint64_t quota_room(const struct store *s, const struct pool *p);
/* It wants what it is owed: nobody borrows that for a while. */
void quota_claim(struct store *s, struct pool *p);
/* The other pool that borrows most, and so much; NULL: none. */
struct pool *quota_lender(const struct store *s, const struct pool *p,
			  uint64_t more_than, uint64_t less_than);

/* store/worth.c: what the eviction policy is told beside single uses. */
void worth_tick(struct store *s);
/* A session that was paused is used again. */
void worth_of_return(const struct store_client *c,
		     const struct session_record *r);
/* A session pauses; turn->back_ms as in struct policy_use. */
struct session_turn;
void worth_of_session(struct store_client *c, const struct session_record *r,
		      const struct session_turn *turn);

/* store/rung.c: the rung below DRAM. Without one: nothing is there. */
bool rung_there(const struct store *s, const struct pool *p);
/* Blocks at the cold end of an arena in DRAM are written below and leave it. The
 * frames that came free. *ret_awaits: room there is on its way. */
uint32_t rung_evict(struct store_client *c, uint32_t arena, uint32_t want,
		    bool *ret_awaits);
/* The same for what is copied up instead of them. */
uint32_t rung_exchange(struct store_client *c, uint32_t arena);
/* A slab in DRAM shall be emptied: what it holds is written below, as there is
 * room. 0: all of it is; 1: not yet; -ENOSPC. exchange: as above. */
int rung_press_slab(struct store_client *c, struct pool *p,
		    struct pool_slab *slab, bool exchange);
/* A frame below that nothing leaves for but twins, for what is read ahead and is
 * not worth a place in DRAM. */
bool rung_spare(struct store_client *c, uint64_t frame_bytes,
		uint32_t *ret_item);
/* May what lies in this arena go there? Striped slabs are of DRAM alone. */
static inline bool rung_takes(const struct pool_arena *a)
{
	return !a->low && !a->stripes;
}
/* A sealed part is used. */
void rung_touch(struct store *s, struct pool *p, struct pool_slab *slab,
		uint32_t frame);
/* Copies up what was used again, as there is room. */
void rung_rise(struct store *s);
/* Slabs before they are needed. */
void rung_tick(struct store *s);

/* Bytes that a tenant's slabs in low memory may still have; can it be had at all
 * now? */
uint64_t rung_room(const struct store *s, const struct pool *p);
bool rung_gives(const struct store *s);

/* store/rung_small.c: room below for a frame that is larger than the slabs there. */
#define SMALL_MOST  64u
#define SMALL_TRIED 8u
struct rung_small {
	uint64_t frame_bytes;
	uint64_t bytes;	 /* of a slab for one of them */
	uint64_t stamp;	 /* all that goes was used before */
	bool empty_only; /* nothing goes but slabs that hold nothing */
	bool patient;	 /* writes to the tier below may be waited for */
	/* planned */
	struct pool_slab *slab[SMALL_MOST];
	uint32_t n_slabs;
	uint64_t warmest; /* mean stamp of any of them */
	/* slabs that could not be emptied in this turn */
	uint32_t tried[SMALL_TRIED], n_tried;
};
/* Which slabs would go; none: what it takes is on its way. False: there are not
 * enough. */
bool rung_small_plan(const struct store *s, const struct pool *p,
		     struct rung_small *want);
/* They go. True: there will be room; False: they could not be emptied. */
bool rung_small_go(struct store *s, struct pool *p, struct rung_small *want);
/* Room is kept for larger frames than these. */
bool rung_small_kept(const struct store *s, uint64_t frame_bytes);
/* A slab for such frames has got its room. */
void rung_small_given(struct store *s, uint64_t frame_bytes);

/* store/room.c: a free frame for this client and shape. 0 and the item; 1:
 * perhaps later; -errno: never. */
int room_find(struct store_client *c, struct pool_shape shape, uint32_t want,
	      uint32_t *ret_item);
/* What keeps a client from having another slab with such a frame. */
enum past_limit room_limit(const struct store_client *c, uint64_t frame_bytes);
/* The same in DRAM for what lies low and was used twice since `before`; nothing
 * waits for it, and nothing that is worth more leaves for it. rate: 0 not known. */
int room_rise(struct store_client *c, uint64_t frame_bytes, uint64_t before,
	      uint64_t rate, uint32_t *ret_item);
/* Growing batches from an arena's cold end until something leaves. */
uint32_t room_evict_some(struct store_client *c, uint32_t arena, uint32_t want,
			 bool *ret_awaits);
void room_slab_ready(struct store *s, struct maker_job *job);
void room_retire_tick(struct store *s);
/* An empty slab is on its way out, and all who have it are told. */
void room_retire(struct store *s, struct pool *p, uint32_t id);
/* Slabs in which nothing is left but what a device may write: their memory goes
 * back to the kernel, which keeps it until the device is done. */
void room_quarantine_tick(struct store *s);
/* Slabs that were drained for a grant which no longer waits. */
void room_drain_tick(struct store *s);

/* store/grant.c */
enum store_result grant_call(struct store_client *c,
			     const struct ring_call *call, uint32_t backlog,
			     bool repeat, struct ring_answer *ret_answer);
void grant_retry(struct store *s, bool force);
bool grant_cancel(struct store_client *c, uint32_t slot, uint64_t seq);
void grant_forget_client(struct store_client *c);

/* store/fetch.c */
enum store_result fetch_call(struct store_client *c,
			     const struct ring_call *call,
			     struct ring_answer *ret_answer);
/* Answers what has come up. */
void fetch_settle(struct store *s);
/* Deadlines. */
void fetch_tick(struct store *s);
bool fetch_waits(const struct store *s);
bool fetch_cancel(struct store_client *c, uint32_t slot, uint64_t seq);
void fetch_forget_client(struct store_client *c);
void fetch_fini(struct store *s);

/* store/owed.c */
/* A part, or all of a namespace, is removed, and the tier cannot hear of it. */
void owed_add(struct store *s, const struct pool *p, const uint64_t key[4],
	      uint64_t part);
void owed_add_all(struct store *s, const struct pool *p, uint32_t ns);
/* Now it can. */
void owed_pay(struct store *s);
void owed_fini(struct store *s);

/* store/linger.c */
/* A part that somebody waited for is resident. */
void linger_add(struct store *s, struct pool *p, const uint64_t key[4],
		uint64_t part);
void linger_tick(struct store *s);

/* store/seal.c */
void seal_call(struct store_client *c, const struct ring_call *call,
	       struct ring_answer *ret_answer);
void abandon_call(struct store_client *c, const struct ring_call *call,
		  struct ring_answer *ret_answer);
void remove_call(struct store_client *c, const struct ring_call *call,
		 struct ring_answer *ret_answer);
void bad_call(struct store_client *c, const struct ring_call *call,
	      struct ring_answer *ret_answer);
/* Dooms every part of a block. */
struct doomed {
	uint64_t parts, bytes; /* payload */
};
struct doomed block_doom(struct pool *p, const uint64_t key[4], uint32_t ns);
/* The block that a sealed frame is of. */
struct doomed block_doom_of(struct pool *p, const struct pool_slab *s,
			    uint32_t frame);
/* The same; it is wrong, and goes from below as well. */
struct doomed block_forget_of(struct store *st, struct pool *p,
			      const struct pool_slab *s, uint32_t frame);
/* And its bytes were found to be wrong here: that is said and counted. */
void block_drop_wrong(struct store *s, struct pool *p, struct pool_slab *slab,
		      uint32_t frame);

/* store/pins.c */
void pin_call(struct store_client *c, const struct ring_call *call, bool repeat,
	      struct ring_answer *ret_answer);
void unpin_call(struct store_client *c, const struct ring_call *call,
		struct ring_answer *ret_answer);

/* store/move.c, store/below.c, store/move_*.c: the tier below. Without one: none
 * has an effect, and every victim is free. */
struct mover;
void mover_destroy(struct mover *mv);
/* A predecessor's pool is there. */
void move_pool(struct store *s, struct pool *p);
/* Recounts all of it. */
void move_check(struct store *s, void (*problem)(void *ctx, const char *text),
		void *ctx);
/* Deals with what has ended, begins what may. */
void move_settle(struct store *s);
/* ns until it wants to be called again. */
uint64_t move_tick(struct store *s);
/* Sequences of the server's own grants that are for moves; doors use others. */
#define MOVE_SEQ (1ull << 63)
void move_granted(const struct store_client *c, const struct ring_call *call,
		  const struct ring_answer *answer);
/* May this victim (POLICY_NONE: whatever it takes) leave for that grant? */
bool move_may_evict(const struct store_client *c, uint64_t seq, uint32_t item);
/* May a move that nobody waits for take a slab? */
bool move_may_take(const struct store_client *c);
/* What leaving of a sealed frame's block means. */
enum victim {
	VICTIM_FREE,   /* it is below, or is not worth it */
	VICTIM_MOVING, /* it is being written: not now */
	VICTIM_DIRTY,  /* it would be lost */
};
enum victim move_victim(struct store *s, const struct pool *p,
			const struct pool_slab *slab, uint32_t frame);
/* The tier below has what this frame holds. */
bool move_holds(const struct store *s, const struct pool *p,
		const struct frame_desc *d);
/* Begins to write a block, worth it or not: a mapping will want it again. */
bool move_save(struct store *s, struct pool *p, struct pool_slab *slab,
	       uint32_t frame);
/* Victims that are free can be told from others. */
bool move_could_clean(const struct store *s);
/* The part is pinned by its being written. */
bool move_is_written(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame);
/* A part is evicted; its frame still says what it holds. */
void move_leaves(struct store *s, struct pool *p, const struct pool_slab *slab,
		 uint32_t frame);
/* Begins to write what would leave next. True: it is under way, and waiting for
 * it a little is worth it. */
bool move_press(struct store *s, struct pool *p, uint32_t arena, uint32_t want);
bool move_press_slab(struct store *s, struct pool *p, struct pool_slab *slab);
/* A part is removed, or another takes its place: not below either, and what is
 * under way of it comes to nothing. True: it was there. */
bool move_forget(struct store *s, const struct pool *p, const uint64_t key[4],
		 uint64_t part);
uint64_t move_forget_block(struct store *s, const struct pool *p,
			   const uint64_t key[4], uint32_t ns);
/* A session goes on. */
void move_session(struct store *s, struct pool *p,
		  const struct session_record *r);
/* Does a paused one come back soon? */
void move_expected(struct store *s, struct pool *p, struct session_record *r);

/* store/session_ring.c */
void session_call(struct store_client *c, const struct ring_call *call,
		  bool repeat, struct ring_answer *ret_answer);
/* Ends sessions whose lease has run out. */
#define SESSION_LAPSE_MS 250u /* between two passes over all */
void session_tick(struct store *s);
/* store/expect.c: what others say of sessions. */
void expect_call(struct store_client *c, const struct ring_call *call,
		 struct ring_answer *ret_answer);
/* What others said, as expected_ms has it, is over, and a pass over all sessions
 * has come since: nothing is done for it any more. */
bool expect_over(const struct store *s, uint64_t word);
/* The chance of a use of what others expect, for each ms kept, in 2^-32, as far as
 * the policy believes it: 1, the least, where it does not know the session;
 * UINT64_MAX: it knows no sessions at all. */
uint64_t expect_rate(const struct store *s, const struct pool *p,
		     const struct session_record *r);

/* store/ns.c */
const struct ns_record *ns_find(const struct pool *p, uint32_t id);
/* Of a namespace that there is not: none. */
struct ns_parts ns_parts_of(const struct pool *p, uint32_t id);
/* 0, or -EINVAL, -E2BIG. Fills in bytes 0. */
int ns_part_check(struct pool *p, uint64_t part, uint64_t extent,
		  uint64_t *ret_extent, struct pool_shape *ret_shape);

/* store/scrub.c */
int scrub_init(struct store *s);
void scrub_fini(struct store *s);
void scrub_step(struct store *s);
/* store/shard.c: this node's share of a CXL region; none: no effect */
void shard_fini(struct store *s);
/* Clients of a pool are told whether there is a region, and which incarnation of
 * this node's part in it. */
void shard_tell(struct store *s, struct pool *p);
/* A client's part is sealed. */
void shard_sealed(struct store *s, const struct pool *p,
		  const struct pool_slab *slab, uint32_t frame);
/* A part leaves this node's memory; its frame still says what it holds. It is
 * copied there now, if it never was or has left there, and there is time. */
void shard_leaves(struct store *s, struct pool *p, struct pool_slab *slab,
		  uint32_t frame);
/* Copies some of what is to be there. */
void shard_settle(struct store *s);
/* Did it find no slot in the region? */
bool shard_is_outside(const struct store_client *c);
/* Counts a client that found no slot in the region, once. */
void shard_outside(struct store_client *c);
/* ns until it wants to be called again. */
uint64_t shard_tick(struct store *s);
/* A part is removed, or wrong: own shards have it no more. True: they had. */
bool shard_forget(struct store *s, const struct pool *p, const uint64_t key[4],
		  uint64_t part);
uint64_t shard_forget_block(struct store *s, const struct pool *p,
			    const uint64_t key[4], uint32_t ns);

/* store/broken.c */
/* Memory of a slab has failed there: the blocks that lie in it go, and their
 * frames are not used again. What is lent is left to whom it is lent to. */
void broken_at(struct store *s, struct pool *p, struct pool_slab *slab,
	       const struct guard_fault *fault);

/* Seed of the checksum of what a descriptor tells of. */
uint64_t scrub_seed(const struct frame_desc *d);
/* Hashes a sealed frame whole and compares. True: right; where its memory has
 * failed it is gone. */
bool scrub_verify(struct store *s, struct pool *p, struct pool_slab *slab,
		  uint32_t frame);

static inline void answer_set(struct ring_answer *a, int64_t result)
{
	*a = (struct ring_answer){ .result = result };
}

#endif
