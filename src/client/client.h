/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's side of a pool.
 *
 * A client holds: the pool's metadata and index (read-only), its own segment
 * (pins, ring, touches), a table of the slabs that it has met, a socket for
 * questions that need descriptors, the bell, and an eventfd of its own.
 *
 * What is hot and what is slow. Finding, pinning and unpinning touch mapped
 * memory alone. Everything that asks for a descriptor (a slab met for the
 * first time, a grown index) happens under `slow`, with a deadline.
 *
 * No thread faults because another dropped a mapping. Addresses once used for
 * descriptors or an index stay reserved for the client's life; dropping puts
 * zero pages there, and zeros read as FREE and as an empty bucket: a miss.
 *
 * Life cycle: client_create (heap) -> connected -> oc_client_close. The server
 * sees the death of the process, not of the socket. A forked child inherits
 * the heap and nothing that is mapped; `family` reads 0 there.
 *
 * Locks, each taken alone or in this order: revoke_lock, those of its users
 * (client/revoke.h: a space's), blob, slow, push, high.
 */
#ifndef ONECOPY_CLIENT_CLIENT_H
#define ONECOPY_CLIENT_CLIENT_H

#include <errno.h>
#include <onecopy/onecopy.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/slices.h"
#include "client/lock.h"
#include "client/options.h"
#include "client/slots.h"
#include "index/match.h"
#include "index/table.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "wire/msg.h"

#define CLIENT_TIMEOUT_NS (5 * NS_PER_S)
/* Longer than the server was given: it answers near the deadline itself. */
#define CLIENT_GRACE_NS (50 * NS_PER_MS)
/* How often a waiting thread looks whether the node is still there. */
#define CLIENT_SLICE_NS (100 * NS_PER_MS)
#define CLIENT_STRIPES	16

/* Addresses that stay reserved; what is mapped there changes. */
struct place {
	char *base;
	uint64_t bytes;
};

/* A slab. Written under `slow`; desc, data and the shape are read anywhere. */
struct client_slab {
	_Atomic(const struct frame_desc *) desc;
	_Atomic(char *) data;
	_Atomic(uint64_t) form;	  /* struct form; one word, and the whole two to
				   a line: every pin reads this table */
	_Atomic(uint64_t) frames; /* 0: not mapped now. Release, after desc */
};

/* What the frames of a slab are like. In a word: step in units of 512 bytes, then
 * stripes << 24 | frames << 40. */
struct form {
	uint64_t step; /* from a frame's begin to the next one's */
	uint64_t frame_bytes;
	uint64_t stride; /* from slice to slice; 0: a frame is one run of bytes
			    (shm/layout.h, slab_stripes()) */
};
#define FORM_UNIT 512u
_Static_assert(LAYOUT_PART_MAX / FORM_UNIT < 1u << 24 &&
		       LAYOUT_STRIPES_MAX < 1u << 16 &&
		       FRAME_IN_SLAB_MAX < 1u << 24,
	       "a form is a word");
static inline uint64_t form_word(uint64_t step, uint32_t stripes,
				 uint32_t frames)
{
	return step / FORM_UNIT | (uint64_t)stripes << 24 |
	       (uint64_t)frames << 40;
}
/* After the acquire of a frame's word: what belongs to it. */
static inline struct form region_form(const struct client_slab *r)
{
	uint64_t word = atomic_load_explicit(&r->form, memory_order_relaxed);
	uint64_t step = (word & 0xffffff) * FORM_UNIT;
	uint64_t stripes = word >> 24 & 0xffff;

	if (likely(!stripes))
		return (struct form){ step, step, 0 };
	return (struct form){ step, step * stripes, (word >> 40) * step };
}

/* The part of a slab that only the slow path reads. */
struct region_info {
	uint64_t word;	/* the record's, when it was mapped; 0: not mapped */
	bool told_gone; /* GOES was called, its pages are still there */
	uint64_t bytes;
	uint32_t kind;
	bool writable;
	struct place desc, data;
	int payload; /* its descriptor + 1, when one was asked for; 0: none */
};
/* So many of them are kept, for those who ask again. */
#define REGION_PAYLOADS 64u

/* Addresses given up for larger ones; unmapped when the client closes. */
struct leftover {
	struct leftover *next;
	struct place place;
};

/* An index segment. Old views stay until the end, on zero pages. */
struct view {
	struct table table;
	struct view *next;
	struct place place;
};

enum call_state {
	CALL_FREE = 0,
	CALL_WAITED, /* a thread waits for it */
	CALL_OP,     /* submitted; its completion is to be taken */
	CALL_ZOMBIE, /* nobody waits; reaped when answered */
	CALL_TAKING, /* one thread has answered or zombie work in hand */
};

/* A ring slot, this process's side. */
struct call {
	_Atomic(uint32_t) state;
	uint32_t op;
	_Atomic(uint64_t) seq;
	/* CALL_OP */
	_Atomic(uint64_t) deadline;
	uint64_t user_data;
	enum oc_op_kind kind;
	oc_ns *ns;
	struct oc_grant *grant;
	struct oc_grant asked; /* what a GRANT fills in */
};

struct member; /* client/member.h */

struct stripe {
	_Alignas(CACHE_LINE) _Atomic(uint64_t) count[CLIENT_COUNTS];
};

struct oc_client {
	/* Written once. */
	const _Atomic(uint64_t) *family; /* 0 in a forked child */
	const struct pool_meta *meta;
	struct client_segment *seg;
	struct client_slab *slab; /* LAYOUT_SLABS_MAX */
	struct region_info *info;
	uint32_t payloads; /* kept; the slow lock */
	struct call *call; /* RING_SLOTS */
	struct stripe *stripe;
	struct slots pins, calls;
	uint32_t n_pins, n_overflow;
	uint64_t id, serial, timeout_ns;
	int socket;
	int bell;   /* wakes the server; readable when it has news */
	int self;   /* eventfd: one thread passes an event on to others */
	int notify; /* epoll of both: oc_client_fd() */
	bool read_only;
	oc_region_fn on_region;
	void *region_ctx;
	char name[LAYOUT_NAME];
	struct segment meta_segment, own_segment;

	_Alignas(CACHE_LINE) _Atomic(struct view *) view;
	_Atomic(uint64_t) seen_region, seen_index;
	_Atomic(uint32_t) pin_high;

	_Alignas(CACHE_LINE) _Atomic(uint64_t) touch_next;

	_Alignas(CACHE_LINE) struct lock push;
	uint64_t tail;

	_Alignas(CACHE_LINE) struct lock slow;
	uint64_t msg_seq;
	uint32_t regions_met;		  /* ids below this may be mapped */
	_Atomic(uint64_t) index_retry_ns; /* do not ask again before */
	struct leftover *leftovers;

	_Alignas(CACHE_LINE) struct lock blob;
	uint32_t blob_slot; /* of a question that may still be read */
	uint64_t blob_seq;  /* 0: none */
	struct lock high;
	_Atomic(uint32_t) zombies, ops;

	/* client/shards.h; written under `slow` */
	_Alignas(CACHE_LINE) _Atomic(struct member *) shards; /* NULL: none */
	_Atomic(uint64_t) shards_refused; /* the node's word when it was */
	_Atomic(uint64_t) shards_again_ns;
	/* by itself: every pin reads the line before */
	_Alignas(CACHE_LINE) _Atomic(uint64_t) shards_unpins;

	pthread_mutex_t revoke_lock; /* client/revoke.h */
	struct revoker *revoker;     /* NULL: nobody maps */
};

struct oc_ns {
	oc_client *c;
	uint32_t id;
	struct ns_spec spec;
	struct match_group rule[MATCH_GROUPS_MAX];
	uint64_t part_bytes[MATCH_GROUPS_MAX];
	uint64_t digest[4]; /* how other nodes know it */
	bool unaware; /* it has striped parts, and who uses it may not know */
};

/* What the public header and the shared layout say alike. */
_Static_assert((int)OC_RULE_FULL == (int)MATCH_FULL &&
		       (int)OC_RULE_WINDOW == (int)MATCH_WINDOW &&
		       (int)OC_RULE_STATE == (int)MATCH_STATE,
	       "rules are passed on as numbers");
_Static_assert(OC_GROUPS_MAX == MATCH_GROUPS_MAX, "groups of a namespace");
_Static_assert(OC_RANKS_MAX == LAYOUT_RANKS_MAX, "ranks of a namespace");
_Static_assert(OC_KEY_BYTES == sizeof(((struct frame_desc *)0)->key),
	       "a key fits a descriptor");

/* ---- everyone ---- */

static inline bool client_is_child(const oc_client *c)
{
	return unlikely(atomic_load_explicit(c->family, memory_order_relaxed) ==
			0);
}

/* True when the part is one of the namespace's. */
static inline bool ns_has(const oc_ns *ns, struct oc_part part)
{
	return part.group < ns->spec.groups && part.rank < ns->spec.ranks;
}

/* -EOPNOTSUPP with its text: payload of this namespace is not for this caller. */
int ns_unaware(const oc_ns *ns);
static inline int ns_usable(const oc_ns *ns)
{
	return unlikely(ns->unaware) ? ns_unaware(ns) : 0;
}

static inline uint64_t ns_part(const oc_ns *ns, struct oc_part part)
{
	return frame_part(ns->id, part.group, part.rank);
}

static inline void key_words(const struct oc_key *key, uint64_t ret_words[4])
{
	memcpy(ret_words, key->bytes, OC_KEY_BYTES);
}

/* The end of a wait in clock_ns() time. OC_NOWAIT: now. */
uint64_t client_deadline(const oc_client *c, uint64_t timeout_ns);
/* Of a public timeout: what the server may take. */
uint64_t client_span(const oc_client *c, uint64_t timeout_ns);

/* Remembers the text of this thread's failure and returns `error`. */
int client_fail(const oc_client *c, int error, const char *format, ...)
	PRINTF_LIKE(3, 4);
/* -ECHILD with its text. */
int client_child(const oc_client *c);
/* Is the keeper gone or the node stopped? 0 or -ENOTCONN with its text. */
int client_gone(const oc_client *c);

/* Sums the stripes; stores them where the server reports them from. */
void client_count(oc_client *c, uint64_t ret_sums[CLIENT_COUNTS]);

/* A thread with a stripe of its own needs no locked instruction. */
static inline void client_add(oc_client *c, enum client_counter k, uint64_t n)
{
	uint32_t thread = slots_thread();
	_Atomic(uint64_t) *p;

	if (likely(thread < CLIENT_STRIPES - 1)) {
		p = &c->stripe[thread].count[k];
		atomic_store_explicit(
			p, atomic_load_explicit(p, memory_order_relaxed) + n,
			memory_order_relaxed);
	} else {
		p = &c->stripe[CLIENT_STRIPES - 1].count[k];
		atomic_fetch_add_explicit(p, n, memory_order_relaxed);
	}
}

/* ---- talk.c: questions over the socket; `slow` is held ---- */

struct answer {
	union msg msg;
	int fds[SEGMENT_FDS_MAX];
	unsigned n_fds;
};
/* Closes the descriptors that were not taken. */
void answer_fini(struct answer *a);

/* Waits until the socket can be written or read. 0, -ETIMEDOUT, -ENOTCONN. */
int talk_wait(int socket, short events, uint64_t deadline);
/* One message, or -ETIMEDOUT/-ENOTCONN/-EPROTO/... */
int talk_receive(int socket, uint64_t deadline, struct answer *ret_answer);
int talk_send(int socket, const union msg *m, uint64_t deadline);
/* Sends until an answer of this type comes. A MSG_ERROR gives its error. */
int talk_ask(oc_client *c, union msg *question, uint64_t deadline,
	     struct answer *ret_answer);

/* ---- region.c ---- */

/* Maps a slab that was met in the index or in an answer. 0; OC_MISS when it is
 * not (or no longer) there; -errno. */
int region_need(oc_client *c, uint32_t slab, uint64_t deadline);
/* Follows what the node announced, after a miss. Waits a moment for a new
 * index segment; what could not be had is tried again later, and until then
 * its parts are misses. Called when client_behind(). */
void region_resync(oc_client *c, uint64_t deadline);
/* The same for slabs alone; never waits. For the way to a hit. */
void region_follow(oc_client *c);
/* Has the node announced something that this client has not followed? */
static inline bool client_behind(const oc_client *c)
{
	const struct pool_header *h = &c->meta->header;

	return unlikely(shared_load64(&h->region_epoch) !=
			atomic_load_explicit(&c->seen_region,
					     memory_order_relaxed)) ||
	       unlikely(shared_load64(&h->index_epoch) !=
			atomic_load_explicit(&c->seen_index,
					     memory_order_relaxed));
}
/* A descriptor of a slab's payload, for a mapping of one's own; the caller
 * closes it. A frame in the slab is pinned or lent, so that it stays. Writable
 * for this client's own slabs. The node is asked unless it was for this slab
 * before. 0, -ESTALE, -errno. */
int region_descriptor(oc_client *c, uint32_t slab, uint64_t deadline,
		      int *ret_fd);
/* The same without waiting for anything: -EAGAIN when it takes that. */
int region_descriptor_kept(oc_client *c, uint32_t slab, int *ret_fd);
/* Makes the first view; takes the descriptor on success. */
int region_first_view(oc_client *c, int fd, uint64_t bytes, uint64_t epoch);
void region_close_all(oc_client *c);

/* Reserves, fills and empties addresses. fill takes the segment's mapping. */
enum place_pages { PLACE_LATER, PLACE_READ, PLACE_WRITE };
int place_reserve(struct place *p, uint64_t bytes);
int place_fill(struct place *p, struct segment *s, enum place_pages pages);
int place_empty(const struct place *p);
void place_close(struct place *p);

/* Where a frame lies; false when its slab is not mapped. */
static inline const struct frame_desc *region_desc(const oc_client *c,
						   uint64_t loc)
{
	uint32_t slab = frame_loc_slab(loc), frame = frame_loc_frame(loc);
	const struct frame_desc *desc;
	const struct client_slab *r;

	if (unlikely(slab >= LAYOUT_SLABS_MAX))
		return NULL;
	r = &c->slab[slab];
	/* The count first: pairs with publish() in region.c. What is reserved
	 * behind desc only ever grows, so a late desc is large enough. */
	if (unlikely(frame >=
		     atomic_load_explicit(&r->frames, memory_order_acquire)))
		return NULL;
	desc = atomic_load_explicit(&r->desc, memory_order_acquire);
	return desc + frame;
}

/* A pinned part, as what reads it goes by. */
static inline struct slices pin_slices(const oc_client *c,
				       const struct oc_pin *pin)
{
	struct slices s = slices_whole(pin->data);

	if (unlikely(pin->stride)) {
		s.bytes = region_form(&c->slab[pin->region]).step;
		s.stride = pin->stride;
	}
	return s;
}
/* A lent frame. */
static inline struct slices grant_slices(const struct oc_grant *grant)
{
	return (struct slices){ grant->data, grant->slice_bytes,
				grant->stride };
}

/* ---- call.c: requests through the ring ---- */

/* Claims a slot, fills it and pushes it; does not wake. Waits for a free slot
 * until the deadline: -EAGAIN. */
int call_begin(oc_client *c, const struct ring_call *q, enum call_state state,
	       uint64_t deadline, uint32_t *ret_slot);
/* The same in two steps: a slot that only this thread knows. push returns the
 * request's sequence number. */
int call_claim(oc_client *c, uint64_t deadline, uint32_t *ret_slot);
uint64_t call_push(oc_client *c, uint32_t slot, const struct ring_call *q,
		   enum call_state state);
/* Wakes the server when it sleeps. After any number of pushes. */
void call_wake(oc_client *c);
/* Takes the answer of a CALL_WAITED slot. -ETIMEDOUT, -ENOTCONN: the slot is a
 * zombie now and the server was asked to give it up. */
int call_wait(oc_client *c, uint32_t slot, uint64_t deadline,
	      struct ring_answer *ret_answer);
/* Begin, wake, wait. The server's result is in the answer. */
int call_round(oc_client *c, struct ring_call *q, uint64_t timeout_ns,
	       struct ring_answer *ret_answer);
/* Pushes something whose answer nobody needs; does nothing when no slot is
 * free within the deadline. */
int call_forget(oc_client *c, const struct ring_call *q, uint64_t deadline);
/* Gives back an answered slot. */
void call_free(oc_client *c, uint32_t slot);
/* Nobody waits for it any more. */
void call_zombie(oc_client *c, uint32_t slot, bool cancel);
/* Frees zombies that were answered; late grants are abandoned. */
void call_reap(oc_client *c);

/* ---- ns.c: requests with a question or an answer in the blob ---- */

/* Takes the blob: nobody else uses it, here or at the server. Ends with
 * lock_drop(&c->blob). */
int blob_take(oc_client *c, uint64_t deadline);
/* One round with the blob in hand. */
int blob_round(oc_client *c, struct ring_call *q, uint64_t deadline,
	       struct ring_answer *ret_answer);

/* ---- pin.c ---- */

/* Beside enum oc_pin_flags: for a mapping; and it may be lost (coherence/pin.h). Of
 * a slot of the server's side; one of our own is told by revoke_say(). */
#define PIN_BY_MAPPING 0x20000u
#define PIN_BY_LOSER   0x40000u
/* Not in a CXL region: the caller needs a descriptor of its own. */
#define PIN_HERE 0x80000u

struct pin_job {
	const struct oc_key *key;
	uint64_t part;
	struct oc_pin *pin; /* data == NULL: a miss */
};
/* A fence for each window of a batch: 1 % of its time, and what a window reads
 * is still in the first-level cache when it is checked. */
#define PIN_WINDOW 128
/* Beside enum oc_pin_flags, for batches: what would have to wait for the node (a
 * slab that was not met, an index that grew, slots that ran out) is left out. */
#define PIN_QUICK 0x10000u
/* Pins up to PIN_WINDOW jobs with one fence. 0 or -errno; on an error no pin
 * of the window is held. */
int pin_window(oc_client *c, const struct pin_job *jobs, size_t n,
	       unsigned flags, size_t *ret_pinned);
/* One pin. 0, OC_MISS, OC_BAD, -errno. */
int pin_one(oc_client *c, const struct oc_key *key, uint64_t part,
	    unsigned flags, struct oc_pin *ret_pin);
void pin_drop(oc_client *c, struct oc_pin *pins, size_t n, bool touch);

/* What a look was based on; when it changed, a miss may have become a hit. */
struct footing {
	const struct view *view;
	uint64_t region;
};
static inline struct footing footing_get(const oc_client *c)
{
	return (struct footing){
		/* Pairs with show_view(). */
		atomic_load_explicit(&c->view, memory_order_acquire),
		atomic_load_explicit(&c->seen_region, memory_order_relaxed),
	};
}
/* A node that changes all the time does not hold a call for ever. */
#define FOOTING_TRIES 4
/* After a miss: follows the node; true when it is worth looking again. */
bool footing_moved(oc_client *c, const struct footing *f);

/* A part seen without a pin: as of one moment, or a miss. */
struct seen {
	uint64_t loc, gen, extent, checksum;
};
/* 0, OC_MISS or -errno from mapping a slab. */
int pin_look(oc_client *c, const uint64_t key[4], uint64_t part,
	     struct seen *ret_seen);
#define LOOK_MOST 64
/* Looks at the same part of n <= LOOK_MOST keys; bit i of the result: there. extents
 * may be NULL. */
uint64_t pin_look_some(oc_client *c, const struct oc_key *keys, size_t n,
		       uint64_t part, uint64_t *ret_extents);
/* Expected time to read so many bytes of this tier; of that, what they take when
 * others are read before them. */
uint64_t tier_expect(const oc_client *c, enum oc_tier tier, uint64_t bytes);
uint64_t tier_stream(const oc_client *c, enum oc_tier tier, uint64_t bytes);

/* ---- write.c ---- */

/* What a call's answer means to its caller. */
int write_granted(oc_ns *ns, const struct oc_grant *asked,
		  const struct ring_answer *a, uint64_t deadline,
		  struct oc_grant *ret_grant);
int write_grant_call(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		     uint64_t bytes, uint32_t tokens, unsigned flags,
		     struct ring_call *ret_q, struct oc_grant *ret_asked);
int write_seal_call(oc_ns *ns, const struct oc_grant *grant, uint64_t checksum,
		    struct ring_call *ret_q);
int write_abandon_call(oc_ns *ns, const struct oc_grant *grant,
		       struct ring_call *ret_q);
int write_remove_call(oc_ns *ns, const struct oc_key *key,
		      struct ring_call *ret_q);
int write_result(const oc_client *c, enum ring_op op, int64_t result);
/* What lies in a lent frame, as a part of this key. */
uint64_t write_checksum(const struct oc_grant *grant, const struct oc_key *key);

#endif
