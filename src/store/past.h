/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened to blocks that are not resident, for `onecopy why`: the last so
 * many, in memory that is taken once and never grows.
 *
 * Two rings of notes: of blocks that were resident and left, and of blocks that
 * nobody sealed (given back, their writer ended, refused), so that a client
 * which asks for room again and again displaces no evictions. Beside each ring
 * lies one of 32 bits of each key: adding is a store at the end of two arrays,
 * looking reads the small one through.
 *
 * A note keeps 128 bits of a key. Private memory of the server: it ends with
 * it, and history_since_ms() says how far it reaches back. Pure: no clock.
 */
#ifndef ONECOPY_STORE_PAST_H
#define ONECOPY_STORE_PAST_H

#include "base/compiler.h"

enum past_event {
	PAST_EVICTED = 1,
	PAST_REMOVED,  /* on request */
	PAST_WRONG,    /* its bytes were not what its checksum says */
	PAST_REPLACED, /* the server's own client sealed it anew */
	/* below, where it was still after it had left memory: */
	PAST_LEFT_BELOW,  /* the tier made room */
	PAST_WRONG_BELOW, /* its bytes were not what had been written */
	PAST_LOST_BELOW,  /* the device did not give it */
	/* never sealed: */
	PAST_ABANDONED, /* its writer gave the frame back */
	PAST_ORPHANED,	/* its writer ended first */
	PAST_REFUSED,	/* there was no room for it */
	PAST_EVENTS
};

/* What pushed a block out. */
enum past_pressure {
	PRESSURE_NONE,
	PRESSURE_ARENA,	 /* its writer wrote on: the coldest of the same size */
	PRESSURE_SLAB,	 /* its slab went to another writer or size */
	PRESSURE_DRAIN,	 /* the same, for a writer that had no slab at all */
	PRESSURE_TENANT, /* its slab went to another tenant */
	PRESSURE_KINDS
};

/* The limit that was reached. */
enum past_limit {
	LIMIT_NONE,
	LIMIT_NODE,   /* all memory of the node is in use */
	LIMIT_QUOTA,  /* the tenant's */
	LIMIT_CLIENT, /* one client's share of the node */
	LIMIT_LENT,   /* the rest is guaranteed to tenants that want it */
	LIMIT_KERNEL, /* the kernel had no memory for a slab */
	LIMIT_GRANTS, /* frames lent to one client at a time */
	LIMIT_SILENT, /* some of the tenant's memory is mapped by clients that
			 do not answer */
	LIMIT_KINDS
};

struct past_note {
	uint64_t key[2]; /* of four words the first two */
	uint64_t at_ms;
	uint64_t owner;	 /* the client that wrote it, or would have */
	uint64_t client; /* who removed it, or for whom room was made; 0: it is
			    not of this tenant, or nobody */
	uint32_t ns;
	uint32_t idle;	  /* uses of other blocks since its own last one */
	uint32_t life_ms; /* from seal to end; UINT32_MAX: that or more */
	uint32_t frame_bytes;
	uint16_t parts; /* that left together */
	uint8_t event, pressure, limit;
	uint8_t zero[3];
};
_Static_assert(sizeof(struct past_note) == 64, "a line");

/* Bytes of one note with what lies beside it. */
#define PAST_NOTE_BYTES (sizeof(struct past_note) + sizeof(uint32_t))

struct past;

/* At most `bytes`; fewer than 16 notes' worth: none are kept. -ENOMEM. */
int past_create(uint64_t bytes, uint64_t now_ms, struct past **ret_past);
void past_destroy(struct past *h);
/* NULL: no effect. */
void past_add(struct past *h, const struct past_note *note);
/* The newest notes of a key in a namespace (0: in any), newest first; their
 * number, at most `most`. */
unsigned past_find(const struct past *h, const uint64_t key[4], uint32_t ns,
		   unsigned most, struct past_note *ret_notes);

struct past_extent {
	uint64_t notes, capacity, bytes;
	uint64_t since_ms; /* everything after this is known, in both rings */
	bool whole;	   /* nothing was displaced since it began */
};
void past_extent(const struct past *h, struct past_extent *ret_extent);

#endif
