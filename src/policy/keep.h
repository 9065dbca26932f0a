/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy "onecopy" keeps: records of sessions, and where each stands.
 * Inside policy/ only; keep.c says what it is for.
 *
 * A record stands for a session's own blocks on one list, for a trunk: the
 * blocks that several sessions begin with, for what a session has left behind:
 * blocks of a chain that it did not go on from, or (`untold`) for blocks that
 * came or were used in one moment, and of which nobody has told whose they are.
 * Its items form a ring from the head of the chain to the leaf: the leaf leaves
 * first. A record is always in one of three places:
 *
 *	a level  it has items; level = log of their worth. The lowest leaves first
 *	stuck    its leaf has resident successors in other records, which go
 *		 before it; the last level, reached when all others are empty
 *	ghost    it has no items, and is remembered for when it comes back;
 *		 reclaimed when a record is needed, the longest unused first
 *
 * and on the timer of the step of age that it is in, for its next one (but for
 * the last step). All lists are linked by record numbers; a list of records is
 * ended by POLICY_NONE.
 */
#ifndef ONECOPY_POLICY_KEEP_H
#define ONECOPY_POLICY_KEEP_H

#include "policy/comeback.h"
#include "policy/policy.h"

#define KEEP_LEVELS 256
#define KEEP_STUCK  (KEEP_LEVELS - 1)
#define KEEP_FIRST  8192 /* records that there always are */
#define KEEP_EACH   32	 /* items, and one record more */

struct keep_item {
	uint32_t next, prev; /* towards the leaf, towards the head */
	uint32_t record;     /* POLICY_NONE: on no list */
	uint32_t parent;     /* item, or POLICY_NONE */
	uint32_t children;   /* items whose parent this is */
	uint16_t filling, parent_filling; /* to know a parent that has left */
	uint64_t stamp;
};

enum keep_kind {
	KEEP_SESSION,
	KEEP_TRUNK, /* what several sessions begin with */
	KEEP_LEFT,  /* what a session went on without */
	KEEP_KINDS,
};

struct keep_record {
	uint64_t at_ms; /* last use */
	uint64_t name;	/* of the session, or of the chain's last whole block */
	uint32_t bucket_next; /* of the names' table */
	uint32_t list;
	uint32_t head, leaf; /* items */
	uint32_t items;
	uint32_t next, prev; /* in its level, or among the ghosts */
	uint32_t timer_next, timer_prev;
	uint32_t chain;	    /* blocks in the last use */
	uint32_t last_mark; /* of the chain's last block's key */
	uint16_t turns;
	uint8_t level;
	uint8_t timer; /* the step whose end it waits for */
	/* at its step of age: of the first steps since the last use, and then
	 * of the step that it is in, in the last place */
	uint8_t worth[COMEBACK_SHORT];
	bool named : 1; /* in the names' table */
	unsigned kind : 2;
	bool partial : 1; /* the chain's last block is not whole */
	bool loose : 1;	  /* the leaf is the chain's last block */
	bool placed : 1;  /* on a level */
	bool timed : 1;
	bool in_turn : 1; /* its return was learned; its use is to come */
	bool untold : 1;  /* blocks of one moment, whose session nobody told */
	bool found : 1; /* when it was used last nobody knows: teaches nothing */
	int16_t saves;	/* in classes of worth */
	struct comeback_session session;
};

struct keep_queue {
	uint32_t first, last;
};

struct keep_list {
	struct keep_queue level[KEEP_LEVELS];
	uint64_t full[KEEP_LEVELS / 64]; /* levels that are not empty */
	uint32_t recent; /* the record that was used last, or POLICY_NONE */
	uint32_t items;
};

struct policy {
	uint32_t items, lists, records;
	struct keep_item *item;
	struct keep_list *list;
	struct keep_record *record;
	uint32_t *bucket; /* names' table */
	uint32_t buckets; /* a power of two */
	struct keep_queue timer[COMEBACK_STEPS];
	uint64_t due_ms[COMEBACK_STEPS]; /* the first of each; UINT64_MAX: none */
	struct keep_queue ghosts;
	uint32_t unused; /* records that never were used begin here */
	uint64_t now_ms, even_ms;
	/* moments in which blocks were used whose session nobody told */
	uint64_t singles;
	/* nothing is lost of late: least recently used will do. Where nobody
	 * tells of sessions so many moments end it; the next return of one
	 * that is told says again what it is. */
	bool by_age;
	struct policy_load load;
	struct comeback model[KEEP_KINDS];
};

/* keep_record.c */
int keep_reserve(struct policy *p, uint32_t items, uint32_t lists);
/* A record of that kind for a list, a ghost that nothing is known of; the longest
 * unused ghost where there is no other. POLICY_NONE when all have items. */
uint32_t keep_record_new(struct policy *p, uint32_t list, enum keep_kind kind);
/* The same when all have items: the two that leave first of some list become one,
 * which leaves in their order; better two of blocks whose session nobody told. */
uint32_t keep_record_merged(struct policy *p, uint32_t list);
void keep_name(struct policy *p, uint32_t record, uint64_t name);
uint32_t keep_find(const struct policy *p, uint32_t list, uint64_t name);
/* The session is used now: it is at the beginning of all ages. */
void keep_restart(struct policy *p, uint32_t record);
/* Its hint has changed: it is judged anew, at the age that it has. */
void keep_rejudge(struct policy *p, uint32_t record);
/* It was used last at that time, which is not in the future. */
void keep_restart_at(struct policy *p, uint32_t record, uint64_t at_ms);
/* Puts the record where it belongs, by its items and its age. */
void keep_settle(struct policy *p, uint32_t record);
/* Lets time pass for all records. */
void keep_advance(struct policy *p, uint64_t now_ms);

/* keep_learned.c: policy_ops' */
size_t keep_learned_bytes(void);
void keep_save(const struct policy *p, void *ret_bytes);
bool keep_recall(struct policy *p, const void *bytes, size_t n);

/* Behind `after` (POLICY_NONE: as the head). */
void keep_link(struct policy *p, uint32_t record, uint32_t item,
	       uint32_t after);
void keep_unlink(struct policy *p, uint32_t item);

static inline uint32_t keep_record_of(const struct policy *p, uint32_t item)
{
	return item < p->items ? p->item[item].record : POLICY_NONE;
}

/* Of a record with items. */
static inline uint8_t keep_worth(const struct keep_record *r)
{
	return r->worth[MIN(r->session.step, COMEBACK_SHORT - 1)];
}

/* Worth of a record's leaf at its age, or of its last block (`last`). */
uint8_t keep_level(const struct policy *p, const struct keep_record *r,
		   bool last);
/* The first level of a list that is not empty; KEEP_LEVELS: none. */
unsigned keep_lowest(const struct keep_list *l, unsigned from);

/* keep_check.c: 0, or -EPROTO. */
int keep_check(const struct policy *p);

#endif
