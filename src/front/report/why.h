/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of front/report/ that answer `onecopy why`: why.c finds
 * out, why_text.c says it in a sentence, both about one key at a time. */
#ifndef ONECOPY_FRONT_REPORT_WHY_H
#define ONECOPY_FRONT_REPORT_WHY_H

#include "front/report/report.h"

#define WHY_NS	    8u /* namespaces of one key that are told */
#define WHY_WRITERS 8u
#define WHY_NOTES   4u
#define WHY_TEXT    512u

enum why_state {
	WHY_RESIDENT,
	WHY_BELOW, /* not all of it in memory, but on the tier below */
	WHY_INCOMPLETE,
	WHY_WRITTEN, /* being */
	WHY_WAITING, /* somebody waits for room for it */
	WHY_EVENT,   /* the newest note says */
	WHY_OTHER_NS,
	WHY_NEVER,
	WHY_UNKNOWN, /* as far back as the history reaches: nothing */
};

/* What a namespace has of the key: bits are group * ranks + rank. */
struct why_ns {
	uint32_t id;
	struct ns_parts parts;
	uint64_t have, below;	   /* below: of the others, on the tier below */
	uint64_t low;		   /* of `have`: in memory below DRAM */
	uint64_t shards;	   /* of `low`: in a CXL region */
	char node[64];		   /* whose shard has the last of these */
	uint64_t need;		   /* what it must have to be whole */
	uint64_t expected_ns;	   /* to have the slowest of these */
	uint64_t owner, sealed_ms; /* of a part that is there */
};

struct why_writer { /* a frame that is lent for a part of it */
	uint64_t part, owner, granted_ms;
};

struct why_key {
	uint64_t key[4];
	char hex[65];
	enum why_state state;
	struct why_ns ns[WHY_NS];
	unsigned n_ns;
	struct why_writer writer[WHY_WRITERS];
	unsigned n_writers;
	uint64_t waiting; /* a client that waits for room for it; 0: none */
	struct past_note note[WHY_NOTES]; /* the newest first */
	unsigned n_notes;
	const struct why_ns *about; /* the namespace that the state is about;
				       NULL: none */
};

struct why {
	const struct report *report;
	struct pool *pool; /* NULL: nobody has come to the tenant yet */
	struct past_extent history;
	uint64_t now_ms;
	uint32_t ns; /* asked about; 0: any */
	uint64_t probes_left, frames_left;
	bool cut; /* not everything was looked at */
	unsigned n;
	struct why_key key[];
};

static inline uint64_t why_all(const struct why_ns *n)
{
	return n->need;
}

/* why_text.c */
const char *why_state_name(const struct why_key *k);
const char *why_event_name(unsigned event);
const char *why_pressure_name(unsigned pressure);
const char *why_limit_name(unsigned limit);
/* "other weights", "another layout": how namespace `other` differs. */
const char *why_difference(const struct pool *p, uint32_t ns, uint32_t other);
void why_sentence(const struct why *w, const struct why_key *k,
		  char ret_text[WHY_TEXT]);

#endif
