/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/health.h"
#include <stdarg.h>
#include <stdio.h>

#define RESTART_LATELY_S 60u   /* a restart is news for so long */
#define OFTEN_STARTS	 4u    /* "often": so many servers, */
#define OFTEN_LIFE_S	 600u  /* whose mean life is shorter */
#define RETURNS_LEAST	 1000u /* blocks, to say anything of them */
#define SMALL_PART	 4u    /* "small": so often in a frame */
#define LATELY_MIN	 (HEALTH_LATELY_S / 60)

/* ---- trend ------------------------------------------------------------------- */

uint64_t health_due(const struct health_trend *t)
{
	return t->n ? t->sample[(t->n - 1) % HEALTH_SAMPLES].at_ns +
			       HEALTH_STEP_NS
		    : 0;
}

void health_sample(struct health_trend *t, uint64_t now_ns,
		   const struct health_counts *now)
{
	t->sample[t->n % HEALTH_SAMPLES].at_ns = now_ns;
	t->sample[t->n % HEALTH_SAMPLES].counts = *now;
	t->n++;
}

/* A count that went back began anew with its pool. */
static uint64_t grown(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

struct health_counts health_lately(const struct health_trend *t,
				   uint64_t now_ns,
				   const struct health_counts *now)
{
	const uint64_t back = HEALTH_LATELY_S * 1000000000ull;
	const uint64_t since = now_ns - MIN(back, now_ns);
	uint64_t i = t->n - MIN(t->n, (uint64_t)HEALTH_SAMPLES);
	const struct health_counts *old;

	if (t->n == 0)
		return (struct health_counts){ 0 };
	while (i + 1 < t->n && t->sample[i % HEALTH_SAMPLES].at_ns < since)
		i++;
	old = &t->sample[i % HEALTH_SAMPLES].counts;
	return (struct health_counts){
		.grants_refused =
			grown(now->grants_refused, old->grants_refused),
		.wrong_parts = grown(now->wrong_parts, old->wrong_parts),
		.slabs_refused = grown(now->slabs_refused, old->slabs_refused),
		.memory_errors = grown(now->memory_errors, old->memory_errors),
		.region_errors = grown(now->region_errors, old->region_errors),
	};
}

/* ---- judgement --------------------------------------------------------------- */

PRINTF_LIKE(3, 4)
static void say(char (*texts)[HEALTH_TEXT], unsigned *n, const char *fmt, ...)
{
	va_list ap;

	if (*n == HEALTH_TEXTS)
		return;
	va_start(ap, fmt);
	vsnprintf(texts[(*n)++], HEALTH_TEXT, fmt, ap);
	va_end(ap);
}

#define degraded(h, ...) say((h)->degraded, &(h)->n_degraded, __VA_ARGS__)
#define note(h, ...)	 say((h)->note, &(h)->n_notes, __VA_ARGS__)

static void judge_restarts(const struct health_facts *f, struct health *h)
{
	unsigned long long restarts = f->starts - 1;

	if (f->starts < 2)
		return;
	if (f->up_s < RESTART_LATELY_S)
		degraded(h, "The server was restarted %llu seconds ago.",
			 (unsigned long long)f->up_s);
	if (f->starts >= OFTEN_STARTS && f->age_s / f->starts < OFTEN_LIFE_S)
		degraded(h,
			 "The server was restarted %llu times in %llu "
			 "minutes.",
			 restarts, (unsigned long long)f->age_s / 60);
	else if (f->up_s >= RESTART_LATELY_S)
		note(h, "The server was restarted %llu times.", restarts);
}

static void judge_bytes(const struct health_facts *f, struct health *h)
{
	unsigned long long lately = f->lately.wrong_parts;
	unsigned long long ever = f->ever.wrong_parts;

	if (lately)
		degraded(h,
			 "%llu parts with wrong bytes were dropped in the last "
			 "%u minutes: memory fails, or somebody writes to it.",
			 lately, LATELY_MIN);
	else if (ever)
		note(h, "%llu parts with wrong bytes were dropped so far.",
		     ever);
}

static void judge_memory(const struct health_facts *f, struct health *h)
{
	unsigned long long lately = f->lately.memory_errors;
	unsigned long long ever = f->ever.memory_errors;

	if (lately)
		degraded(h,
			 "Memory failed under %llu frames in the last %u "
			 "minutes; they are not used again.",
			 lately, LATELY_MIN);
	else if (ever)
		note(h, "Memory failed under %llu frames so far.", ever);
}

static void judge_room(const struct health_facts *f, struct health *h)
{
	if (f->lately.grants_refused)
		degraded(h,
			 "%llu grants were refused in the last %u minutes: "
			 "everything was pinned or being written.",
			 (unsigned long long)f->lately.grants_refused,
			 LATELY_MIN);
	if (f->lately.slabs_refused)
		degraded(h,
			 "The kernel had no memory for %llu slabs in the last "
			 "%u minutes.",
			 (unsigned long long)f->lately.slabs_refused,
			 LATELY_MIN);
}

static void judge_below(const struct health_facts *f, struct health *h)
{
	if (f->below_state)
		degraded(h, "The nvme tier is %s%s%s.", f->below_state,
			 f->below_why[0] ? ": " : "", f->below_why);
	if (f->below_short)
		degraded(h, "The nvme tier: %s.", f->below_short);
	if (f->below_bad)
		note(h,
		     "%llu parts on nvme were wrong; their places are not used "
		     "again.",
		     (unsigned long long)f->below_bad);
	if (f->below_errors)
		note(h, "The device of the nvme tier failed %llu times.",
		     (unsigned long long)f->below_errors);
	if (f->below_note)
		note(h, "The nvme tier %s.", f->below_note);
}

static void judge_low(const struct health_facts *f, struct health *h)
{
	if (f->low_missing)
		degraded(h, "The memory below DRAM is not there: %s.",
			 f->low_missing);
	if (f->low_aside)
		note(h,
		     "%llu MiB of the device below DRAM have failed and are "
		     "not used again.",
		     (unsigned long long)(f->low_aside >> 20));
}

static void judge_region_memory(const struct health_facts *f, struct health *h)
{
	if (f->region_out)
		degraded(h,
			 "The CXL region: its memory failed, and %u of this "
			 "node's shards are out of use.",
			 f->region_out);
	else if (f->lately.region_errors)
		degraded(h,
			 "The CXL region: its memory failed %llu times in the "
			 "last %u minutes.",
			 (unsigned long long)f->lately.region_errors,
			 LATELY_MIN);
	else if (f->ever.region_errors)
		note(h, "The CXL region: its memory failed %llu times so far.",
		     (unsigned long long)f->ever.region_errors);
}

static void judge_region_room(const struct health_facts *f, struct health *h)
{
	if (f->region_idle)
		degraded(h, "The CXL region: this node has no shard, so what "
			    "is sealed here is not copied there: all are "
			    "others', or wait for one that is silent (onecopy "
			    "cxl status; onecopy cxl format --shards).");
}

/* Room that nobody uses, by how the region was made. */
static void judge_region_shape(const struct health_facts *f, struct health *h)
{
	uint64_t part = f->region_parts ? f->region_bytes / f->region_parts : 0;

	if (f->region_nobodys)
		note(h,
		     "The CXL region: %u of %u shards are nobody's, and their "
		     "room is not used: raise region.shards of its nodes "
		     "(onecopy.yaml), or make it with fewer (onecopy cxl "
		     "format --shards).",
		     f->region_nobodys, f->region_shards);
	if (f->region_parts && part * SMALL_PART <= f->region_frame)
		note(h,
		     "The CXL region: parts have %llu KiB, and each takes a "
		     "frame of %llu KiB: make it with smaller ones (onecopy "
		     "cxl format --frame).",
		     (unsigned long long)DIV_UP(part, 1024),
		     (unsigned long long)f->region_frame / 1024);
}

static void judge_region(const struct health_facts *f, struct health *h)
{
	if (f->region_state)
		degraded(h, "The CXL region: this node is %s%s%s.",
			 f->region_state,
			 f->region_why && f->region_why[0] ? ": " : "",
			 f->region_why ? f->region_why : "");
	if (f->region_quarantined)
		degraded(h,
			 "The CXL region: %u shards wait for %u members that "
			 "are silent; onecopy cxl status names them.",
			 f->region_quarantined, f->region_late);
	else if (f->region_late)
		note(h, "The CXL region: %u members are silent.",
		     f->region_late);
	if (f->region_held)
		note(h, "The CXL region: %llu frames are used no more.",
		     (unsigned long long)f->region_held);
	if (f->region_outside)
		degraded(h,
			 "%u clients found no slot in the CXL region, and read "
			 "this node alone.",
			 f->region_outside);
}

/* Less than half of what is wanted again is kept: fewer sessions would get more
 * done. That is a matter of who lets them in, and no fault of the node. */
static void judge_returns(const struct health_facts *f, struct health *h)
{
	if (f->returned < RETURNS_LEAST || f->lost * 2 < f->returned)
		return;
	note(h,
	     "Of %llu blocks that sessions came back for lately %llu were not "
	     "in memory: about %llu sessions fit.",
	     (unsigned long long)f->returned, (unsigned long long)f->lost,
	     (unsigned long long)f->sessions_fit);
}

void health_judge(const struct health_facts *f, struct health *ret_health)
{
	struct health *h = ret_health;

	*h = (struct health){ .live = true,
			      .ready = f->serving && !f->n_failures };
	if (!f->serving)
		degraded(h, "The server does not take requests.");
	judge_bytes(f, h);
	judge_memory(f, h);
	judge_room(f, h);
	judge_restarts(f, h);
	judge_low(f, h);
	judge_below(f, h);
	judge_region(f, h);
	judge_region_memory(f, h);
	judge_region_room(f, h);
	judge_region_shape(f, h);
	judge_returns(f, h);
	/* what the program says last: it has the most texts */
	for (unsigned i = 0; i < f->n_failures; i++)
		degraded(h, "A door is not there: %s.", f->failure[i]);
	if (f->silent_bytes)
		degraded(h,
			 "%llu MiB are mapped by clients that do not answer: "
			 "onecopy stat names them.",
			 (unsigned long long)DIV_UP(f->silent_bytes,
						    1ull << 20));
	if (f->quarantined)
		note(h,
		     "%llu frames are in quarantine: their writers ended while "
		     "a device wrote.",
		     (unsigned long long)f->quarantined);
	if (f->uring_refused)
		note(h, "The kernel refuses io_uring; epoll is used.");
}
