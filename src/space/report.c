/* SPDX-License-Identifier: Apache-2.0 */
/* What a space has cost, and what would have helped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "space/space.h"

#define STALL_MUCH (10 * NS_PER_MS)
#define JSON_BYTES 4096
#define WORST	   8u /* blocks that are named */

/* The blocks that thrash most, of all spans. */
struct worst {
	size_t n;
	struct {
		const oc_span *span;
		size_t block;
		uint32_t bounces, turns;
	} at[WORST];
};

static void worst_add(struct worst *w, const oc_span *sp, size_t i,
		      uint32_t bounces, uint32_t turns)
{
	size_t k = w->n < WORST ? w->n++ : WORST - 1;

	if (k == WORST - 1 && w->at[k].span &&
	    w->at[k].bounces + w->at[k].turns >= bounces + turns)
		return;
	for (; k && w->at[k - 1].bounces + w->at[k - 1].turns < bounces + turns;
	     k--)
		w->at[k] = w->at[k - 1];
	w->at[k].span = sp;
	w->at[k].block = i;
	w->at[k].bounces = bounces;
	w->at[k].turns = turns;
}

static void find_thrashing(const oc_space *s, struct oc_space_report *n,
			   struct worst *worst)
{
	uint32_t now = space_ms();

	memset(worst, 0, sizeof(*worst));
	n->thrashing = n->thrashing_writers = 0;
	for (const oc_span *sp = s->span; sp; sp = sp->next)
		for (size_t i = 0; i < sp->n; i++) {
			const struct block *b = &sp->block[i];
			uint32_t bounces = decay_now(b->bounces, now);
			uint32_t turns = decay_now(b->turns, now);

			n->thrashing += bounces >= BOUNCES_MANY;
			n->thrashing_writers += turns >= BOUNCES_MANY;
			if (bounces >= BOUNCES_MANY || turns >= BOUNCES_MANY)
				worst_add(worst, sp, i, bounces, turns);
		}
}

/* The one that saves most. */
static const char *advice(const oc_space *s, const struct oc_space_report *n)
{
	if (s->how == OC_SPACE_EXPLICIT)
		return s->why[0] ? "allow userfaultfd (onecopy doctor): blocks "
				   "must be mapped by calls until then"
				 : "";
	if (n->thrashing)
		return "blocks come and go: more pins for the client "
		       "(oc_client_options.pins) or a larger node, "
		       "oc_span_advise(DO_NOT_NEED) behind the reader, or "
		       "PREFERRED_TIER for what may wait";
	if (n->thrashing_writers)
		return "writers take turns at the same blocks: "
		       "oc_span_write_as() where the next key is known, or "
		       "blocks of their own";
	if (n->gathered_bytes && (n->maps_full || n->maps_refused))
		return "mappings ran out and blocks were copied: raise "
		       "vm.max_map_count, or share fewer scattered blocks in "
		       "one space";
	if (n->faults_bring > n->faults / 4 && n->stalled_ns > STALL_MUCH)
		return "touches waited for blocks from below: "
		       "oc_span_prefetch() before reading";
	if (n->faults_map > 64 && n->faults_map * 4 > n->mapped_blocks)
		return "resident blocks were mapped one by one: map without "
		       "OC_SPAN_LAZY, or oc_span_advise(READ_MOSTLY)";
	if (n->faults_write > 64)
		return "many first writes: oc_span_prefetch(OC_PREFETCH_WRITE) "
		       "makes the copies before";
	return "";
}

static void fill(oc_space *s, struct oc_space_report *ret, struct worst *worst)
{
	*ret = s->n;
	ret->size = sizeof(*ret);
	ret->mappings = space_count_maps(s);
	find_thrashing(s, ret, worst);
	snprintf(ret->advice, sizeof(ret->advice), "%s", advice(s, ret));
}

int oc_space_report(oc_space *s, struct oc_space_report *ret_report)
{
	struct oc_space_report report;
	size_t size = ret_report->size;
	struct worst worst;
	int r = space_usable(s);

	if (r)
		return r;
	if (size < sizeof(size_t) || size > sizeof(report))
		return client_fail(s->c, -EINVAL, "a report without a size");
	space_lock(s);
	fill(s, &report, &worst);
	space_unlock(s);
	report.size = size;
	memcpy(ret_report, &report, size);
	return 0;
}

static int worst_print(char *to, size_t room, const struct worst *w)
{
	int n = snprintf(to, room, ",\"worst\":[");

	for (size_t k = 0; k < w->n; k++)
		n += snprintf(
			to + n, room - (size_t)n,
			"%s{\"span\":%llu,\"block\":%zu,"
			"\"bounces\":%u,\"turns\":%u}",
			k ? "," : "",
			(unsigned long long)(uintptr_t)w->at[k].span->base,
			w->at[k].block, w->at[k].bounces, w->at[k].turns);
	return n + snprintf(to + n, room - (size_t)n, "]");
}

static void print(oc_space *s, char *text)
{
	struct oc_space_report report;
	struct worst worst;
	int n;

	space_lock(
		s); /* of a span that is unmapped meanwhile nothing is left */
	fill(s, &report, &worst);
	n = snprintf(text, JSON_BYTES, "{\"how\":\"%s\",\"why\":\"%s\"",
		     s->how == OC_SPACE_FAULTS ? "faults" : "explicit", s->why);
#define X(name, about)                                    \
	n += snprintf(text + n, (size_t)(JSON_BYTES - n), \
		      ",\"" #name "\":%" PRIu64, report.name);
	OC_SPACE_COUNTS(X)
#undef X
	n += worst_print(text + n, (size_t)(JSON_BYTES - n), &worst);
	space_unlock(s);
	snprintf(text + n, (size_t)(JSON_BYTES - n), ",\"advice\":\"%s\"}\n",
		 report.advice);
}

int oc_space_report_json(oc_space *s, char **ret_json)
{
	int r = space_usable(s);
	char *text;

	if (r)
		return r;
	text = mem_alloc(JSON_BYTES);
	if (!text)
		return -ENOMEM;
	print(s, text);
	*ret_json = text;
	return 0;
}
