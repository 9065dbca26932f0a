/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of a load share (load.h): an anonymous shared mapping made
 * before they are forked. Every counter has one writer; the parent adds up when
 * they have ended.
 *
 * From each writer to each reader there is a ring of keys. The writer moves
 * `tail` (release), the reader `head` when it is done with a key (release, then
 * a futex wake when somebody may wait). Hits wait for room; blocks just written
 * are left out when there is none.
 */
#ifndef ONECOPY_PROG_LOAD_PART_H
#define ONECOPY_PROG_LOAD_PART_H

#include <stdatomic.h>

#include "load.h"

#define LOAD_RING   1024u /* a power of two */
#define LOAD_WINDOW 64u	  /* blocks granted at a time */

struct load_ring {
	_Atomic uint32_t tail; /* writer */
	uint8_t pad0[60];
	_Atomic uint32_t head; /* reader; futex */
	uint8_t pad1[60];
	struct oc_key key[LOAD_RING];
};

/* Of one process. */
struct load_part {
	_Atomic uint64_t done;	 /* writer: requests done */
	_Atomic uint32_t holds;	 /* writer: waits in load_part_hold() */
	_Atomic uint32_t ended;	 /* the parent saw its end */
	_Atomic uint32_t bell;	 /* reader: futex, grows when keys came */
	_Atomic uint64_t grants; /* writer: filled, not sealed yet */
	_Atomic uint64_t pins;	 /* writer: pinned now */
	struct load_result result;
};

struct load_shared {
	_Atomic uint32_t hold; /* parent, or who comes to hold_at; futex */
	_Atomic uint32_t came; /* a writer came to hold_at */
	_Atomic uint32_t stop; /* parent: end early */
	_Atomic uint32_t over; /* parent: all writers have ended */
	uint32_t writers, readers;
	struct load_part writer[LOAD_PROCESSES_MAX];
	struct load_part reader[LOAD_PROCESSES_MAX];
	struct load_ring ring[]; /* [writer * readers + reader] */
};

struct load {
	const struct load_options *options;
	struct load_shared *shared;
	uint64_t bytes; /* of shared */
	uint32_t left;	/* processes not ended yet */
	pid_t writer_pid[LOAD_PROCESSES_MAX];
	pid_t reader_pid[LOAD_PROCESSES_MAX];
	bool failed;
	bool killed; /* those that did not stop in time */
};

/* One process: returns its exit status. */
int load_writer(const struct load_options *options, struct load_shared *shared,
		uint32_t self);
int load_reader(const struct load_options *options, struct load_shared *shared,
		uint32_t self);

/* Of one request: n keys, where their blocks are, and what was decided. */
struct load_tiers_state;
/* NULL: no memory. */
struct load_tiers_state *load_tiers_begin(const struct load_options *options,
					  oc_client *c, oc_ns *ns,
					  struct load_result *result);
void load_tiers_end(struct load_tiers_state *t); /* takes NULL */
/* Brings up what the policy wants of n keys and pins the usable prefix, as
 * oc_match_pin() does. 0 or -errno. */
int load_tiers_find(struct load_tiers_state *t, const struct oc_key *keys,
		    uint32_t n, struct oc_pin *ret_pins, size_t *ret_hits);

/* Connects and opens the namespace; says on stderr what is wrong. */
int load_open(const struct load_options *options, const char *name,
	      bool read_only, oc_client **ret_client, oc_ns **ret_ns);
/* Counts a verification: bytes that were delivered, and how many were wrong. */
void load_verified(struct load_result *r, uint64_t bytes, uint64_t wrong);

/* Sleeps while *word is `value`, at most `ns`; may return early. */
void load_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns);
void load_wake(_Atomic uint32_t *word);

/* True when the load is to end early. */
bool load_stops(const struct load_shared *shared);

#endif
