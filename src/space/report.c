/* SPDX-License-Identifier: Apache-2.0 */
/* What a space has cost, and what would have helped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "space/space.h"

#define BOUNCES_MANY 3
#define STALL_MUCH   (10 * NS_PER_MS)
#define JSON_BYTES   4096

static uint64_t count_thrashing(const oc_space *s)
{
	uint64_t n = 0;

	for (const oc_span *sp = s->span; sp; sp = sp->next)
		for (size_t i = 0; i < sp->n; i++)
			n += sp->block[i].bounces >= BOUNCES_MANY;
	return n;
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
	if (n->gathered_bytes && n->maps_full)
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

static void fill(oc_space *s, struct oc_space_report *ret)
{
	*ret = s->n;
	ret->size = sizeof(*ret);
	ret->mappings = space_count_maps(s);
	ret->thrashing = count_thrashing(s);
	snprintf(ret->advice, sizeof(ret->advice), "%s", advice(s, ret));
}

int oc_space_report(oc_space *s, struct oc_space_report *ret_report)
{
	struct oc_space_report report;
	size_t size = ret_report->size;
	int r = space_usable(s);

	if (r)
		return r;
	if (size < sizeof(size_t) || size > sizeof(report))
		return client_fail(s->c, -EINVAL, "a report without a size");
	space_lock(s);
	fill(s, &report);
	space_unlock(s);
	report.size = size;
	memcpy(ret_report, &report, size);
	return 0;
}

int oc_space_report_json(oc_space *s, char **ret_json)
{
	struct oc_space_report report = { .size = sizeof(report) };
	int r = oc_space_report(s, &report), n = 0;
	char *text;

	if (r)
		return r;
	text = mem_alloc(JSON_BYTES);
	if (!text)
		return -ENOMEM;
	n += snprintf(text, JSON_BYTES, "{\"how\":\"%s\",\"why\":\"%s\"",
		      s->how == OC_SPACE_FAULTS ? "faults" : "explicit",
		      s->why);
#define X(name, about)                                    \
	n += snprintf(text + n, (size_t)(JSON_BYTES - n), \
		      ",\"" #name "\":%" PRIu64, report.name);
	OC_SPACE_COUNTS(X)
#undef X
	snprintf(text + n, (size_t)(JSON_BYTES - n), ",\"advice\":\"%s\"}\n",
		 report.advice);
	*ret_json = text;
	return 0;
}
