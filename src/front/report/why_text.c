/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to `onecopy why` in one sentence. */
#include <stdarg.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/text.h"
#include "front/report/why.h"

static const char *const event_names[PAST_EVENTS] = {
	[PAST_EVICTED] = "evicted",
	[PAST_REMOVED] = "removed",
	[PAST_WRONG] = "wrong_bytes",
	[PAST_REPLACED] = "replaced",
	[PAST_ABANDONED] = "given_back",
	[PAST_ORPHANED] = "writer_died",
	[PAST_REFUSED] = "refused",
	[PAST_LEFT_BELOW] = "left_nvme",
	[PAST_WRONG_BELOW] = "wrong_on_nvme",
	[PAST_LOST_BELOW] = "lost_on_nvme",
};
static const char *const pressure_names[PRESSURE_KINDS] = {
	[PRESSURE_ARENA] = "arena",
	[PRESSURE_SLAB] = "slab",
	[PRESSURE_DRAIN] = "drain",
	[PRESSURE_TENANT] = "tenant",
};
static const char *const limit_names[LIMIT_KINDS] = {
	[LIMIT_NODE] = "node",	   [LIMIT_QUOTA] = "quota",
	[LIMIT_CLIENT] = "client", [LIMIT_LENT] = "lent",
	[LIMIT_KERNEL] = "kernel", [LIMIT_GRANTS] = "grants",
	[LIMIT_SILENT] = "silent",
};

const char *why_event_name(unsigned event)
{
	return event < PAST_EVENTS ? event_names[event] : NULL;
}

const char *why_pressure_name(unsigned pressure)
{
	return pressure < PRESSURE_KINDS ? pressure_names[pressure] : NULL;
}

const char *why_limit_name(unsigned limit)
{
	return limit < LIMIT_KINDS ? limit_names[limit] : NULL;
}

const char *why_state_name(const struct why_key *k)
{
	static const char *const names[] = {
		[WHY_RESIDENT] = "resident",
		[WHY_BELOW] = "on_nvme",
		[WHY_INCOMPLETE] = "incomplete",
		[WHY_WRITTEN] = "being_written",
		[WHY_WAITING] = "waiting_for_room",
		[WHY_OTHER_NS] = "other_namespace",
		[WHY_NEVER] = "never_seen",
		[WHY_UNKNOWN] = "not_known",
	};

	return k->state == WHY_EVENT ? why_event_name(k->note[0].event)
				     : names[k->state];
}

/* ---- pieces -------------------------------------------------------------- */

struct say {
	char *text;
	size_t n;
};

/* What does not fit is left out. */
PRINTF_LIKE(2, 3) static void say(struct say *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->n, WHY_TEXT - s->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->n = MIN(s->n + (size_t)n, WHY_TEXT - 1);
}

static void say_ms(struct say *s, uint64_t ms)
{
	char text[32];

	say(s, "%s", text_time(ms * NS_PER_MS, text));
}

static void say_ago(struct say *s, const struct why *w, uint64_t at_ms)
{
	say_ms(s, w->now_ms - MIN(at_ms, w->now_ms));
	say(s, " ago");
}

struct seek {
	uint64_t id;
	const struct store_client *found;
};

static void is_it(void *ctx, struct store_client *c)
{
	struct seek *s = ctx;

	if (c->id == s->id)
		s->found = c;
}

static void say_client(struct say *s, const struct why *w, uint64_t id)
{
	struct seek seek = { .id = id };
	char name[LAYOUT_NAME + 1] = "";

	if (id == CLIENT_SERVER) {
		say(s, "the server itself");
		return;
	}
	say(s, "client %llu", (unsigned long long)id);
	store_each_client(w->report->store, w->pool, is_it, &seek);
	if (!seek.found)
		return;
	shared_load_bytes(name, LAYOUT_NAME, seek.found->record->name);
	say(s, " (%s, process %u)", name,
	    (unsigned)(shared_load64(&seek.found->record->pid_uid) >> 32));
}

static void say_ns(struct say *s, const struct why *w, uint32_t ns)
{
	char label[LAYOUT_NAME + 1] = "";

	say(s, "namespace %u", ns);
	if (!w->pool || !ns || ns > LAYOUT_NS_MAX)
		return;
	shared_load_bytes(label, LAYOUT_NAME, w->pool->m->ns[ns - 1].label);
	if (*label)
		say(s, " (%s)", label);
}

static void say_parts(struct say *s, const struct why_ns *n, uint64_t parts)
{
	const char *comma = "";

	for (unsigned i = 0; i < n->parts.n && i < 64; i++) {
		uint64_t part = ns_parts_at(&n->parts, i);

		if (!(parts >> i & 1))
			continue;
		say(s, "%sgroup %u rank %u", comma, frame_part_group(part),
		    frame_part_rank(part));
		comma = ", ";
	}
}

/* ---- sentences ------------------------------------------------------------- */

static void say_resident(struct say *s, const struct why *w,
			 const struct why_ns *n)
{
	unsigned parts = n->parts.n;

	say(s, "resident in %s, ",
	    !n->low		? "dram"
	    : n->low == n->have ? "cxl"
				: "dram and cxl");
	say_ns(s, w, n->id);
	if (parts > 1)
		say(s, ", all %u parts", parts);
	if (n->low && n->low != n->have) {
		say(s, " (in cxl: ");
		say_parts(s, n, n->low);
		say(s, ")");
	}
	if (n->shards)
		say(s, "; read in place in the CXL region, from %s%s",
		    *n->node ? "the shard of " : "a shard that is nobody's now",
		    n->node);
	if (n->have == n->shards)
		return; /* who sealed it, its own node knows */
	say(s, ": sealed ");
	say_ago(s, w, n->sealed_ms);
	say(s, " by ");
	say_client(s, w, n->owner);
}

static void say_below(struct say *s, const struct why *w,
		      const struct why_key *k)
{
	const struct why_ns *n = k->about;
	char time[32];

	say(s, "on nvme, ");
	say_ns(s, w, n->id);
	if (n->have) {
		say(s, ": in memory is ");
		say_parts(s, n, n->have);
	}
	say(s, "; brought up in about %s", text_time(n->expected_ns, time));
	if (!k->n_notes || k->note[0].event != PAST_EVICTED)
		return;
	say(s, "; it left memory ");
	say_ago(s, w, k->note[0].at_ms);
}

static void say_writer(struct say *s, const struct why *w,
		       const struct why_writer *r)
{
	say_client(s, w, r->owner);
	say(s, " was lent a frame for it ");
	say_ago(s, w, r->granted_ms);
	say(s, " and has not sealed it yet");
}

static void say_incomplete(struct say *s, const struct why *w,
			   const struct why_key *k)
{
	uint64_t missing = why_all(k->about) &
			   ~(k->about->have | k->about->below);

	say(s, "incomplete in ");
	say_ns(s, w, k->about->id);
	say(s, ": missing is ");
	say_parts(s, k->about, missing);
	for (unsigned i = 0; i < k->n_writers; i++) {
		if (frame_part_ns(k->writer[i].part) != k->about->id)
			continue;
		say(s, "; ");
		say_writer(s, w, &k->writer[i]);
		return;
	}
	say(s, "; nobody is writing it now");
}

static void say_limit(struct say *s, unsigned limit)
{
	static const char *const texts[LIMIT_KINDS] = {
		[LIMIT_NODE] = "the node's memory was all in use",
		[LIMIT_QUOTA] = "the tenant's quota was reached",
		[LIMIT_CLIENT] = "the client's share of the node was reached",
		[LIMIT_LENT] = "the rest of the node is kept for tenants below "
			       "their share",
		[LIMIT_KERNEL] = "the kernel had no memory for a slab",
		[LIMIT_GRANTS] = "the client had as many frames lent as it may",
		[LIMIT_SILENT] = "clients that do not answer map some of the "
				 "tenant's memory",
	};

	if (limit < LIMIT_KINDS && texts[limit])
		say(s, "%s", texts[limit]);
	else
		say(s, "room was wanted");
}

static void say_pressure(struct say *s, const struct past_note *n)
{
	char size[32];

	text_size(n->frame_bytes, size);
	switch (n->pressure) {
	case PRESSURE_ARENA:
		say(s,
		    "it was the coldest of its writer's blocks in frames of "
		    "%s that nobody pinned",
		    size);
		break;
	case PRESSURE_SLAB:
		say(s,
		    "it was in the coldest slab (frames of %s), which went to "
		    "another writer or size",
		    size);
		break;
	case PRESSURE_DRAIN:
		say(s, "its slab was emptied for a writer that had none");
		break;
	case PRESSURE_TENANT:
		say(s, "its slab went to another tenant");
		break;
	default:
		say(s, "no more is known");
	}
}

static void say_evicted(struct say *s, const struct why *w,
			const struct past_note *n)
{
	say(s, "evicted ");
	say_ago(s, w, n->at_ms);
	say(s, " because ");
	say_limit(s, n->limit);
	say(s, "; ");
	say_pressure(s, n);
	if (n->client) {
		say(s, "; the room was for ");
		say_client(s, w, n->client);
	}
	say(s, "; %u uses of other blocks came after its last one, ", n->idle);
	say_ms(s, n->life_ms);
	say(s, " after its seal");
}

static void say_event(struct say *s, const struct why *w,
		      const struct past_note *n)
{
	switch (n->event) {
	case PAST_EVICTED:
		say_evicted(s, w, n);
		return;
	case PAST_REMOVED:
		say(s, "removed ");
		break;
	case PAST_WRONG:
		say(s,
		    "dropped because its bytes did not match its checksum, ");
		break;
	case PAST_REPLACED:
		say(s, "replaced by a newer value ");
		break;
	case PAST_LEFT_BELOW:
		say(s, "it had left memory for nvme, which made room ");
		break;
	case PAST_WRONG_BELOW:
		say(s,
		    "its bytes on nvme were not what had been written, seen ");
		break;
	case PAST_LOST_BELOW:
		say(s, "the drive did not give it back ");
		break;
	case PAST_ABANDONED:
		say(s, "never sealed: its writer gave the frame back ");
		break;
	case PAST_ORPHANED:
		say(s, "never sealed: its writer ended first, ");
		break;
	default:
		say(s, "never sealed: no room was given for it because ");
		say_limit(s, n->limit);
		say(s, ", ");
	}
	say_ago(s, w, n->at_ms);
	if (n->event >= PAST_ABANDONED) {
		say(s, "; it was ");
		say_client(s, w, n->owner);
	} else if (n->client) {
		say(s, n->event == PAST_WRONG ? "; reported by " : " by ");
		say_client(s, w, n->client);
	}
}

static void say_other(struct say *s, const struct why *w,
		      const struct why_key *k)
{
	say(s, "not in ");
	say_ns(s, w, w->ns);
	say(s, ", but the same tokens are resident in ");
	say_ns(s, w, k->about->id);
	say(s, ", which has %s", why_difference(w->pool, w->ns, k->about->id));
}

static void say_unknown(struct say *s, const struct why *w)
{
	if (!w->history.capacity) {
		say(s, "not resident; no history is kept, so no more is known");
		return;
	}
	say(s, "not seen since ");
	say_ago(s, w, w->history.since_ms);
	say(s, "; the history reaches back no further");
}

void why_sentence(const struct why *w, const struct why_key *k,
		  char ret_text[WHY_TEXT])
{
	struct say s = { ret_text, 0 };

	ret_text[0] = '\0';
	switch (k->state) {
	case WHY_RESIDENT:
		say_resident(&s, w, k->about);
		break;
	case WHY_BELOW:
		say_below(&s, w, k);
		break;
	case WHY_INCOMPLETE:
		say_incomplete(&s, w, k);
		break;
	case WHY_WRITTEN:
		say(&s, "not sealed yet: ");
		say_writer(&s, w, &k->writer[0]);
		break;
	case WHY_WAITING:
		say(&s, "not sealed yet: ");
		say_client(&s, w, k->waiting);
		say(&s, " waits for room for it");
		break;
	case WHY_EVENT:
		say_event(&s, w, &k->note[0]);
		break;
	case WHY_OTHER_NS:
		say_other(&s, w, k);
		break;
	case WHY_NEVER:
		say(&s, "never seen: nobody has asked for a frame for it since "
			"the tenant's pool began");
		break;
	case WHY_UNKNOWN:
		say_unknown(&s, w);
	}
}

const char *why_difference(const struct pool *p, uint32_t ns, uint32_t other)
{
	const struct ns_record *a, *b;
	uint64_t x[8], y[8];

	if (!ns || ns > LAYOUT_NS_MAX || !shared_load64(&p->m->ns[ns - 1].id))
		return "another identity";
	a = &p->m->ns[ns - 1];
	b = &p->m->ns[other - 1];
	shared_load_words(x, a->weights, 4);
	shared_load_words(x + 4, a->layout, 4);
	shared_load_words(y, b->weights, 4);
	shared_load_words(y + 4, b->layout, 4);
	if (memcmp(x, y, 32) != 0 && memcmp(x + 4, y + 4, 32) != 0)
		return "other weights and another layout";
	if (memcmp(x, y, 32) != 0)
		return "other weights";
	if (memcmp(x + 4, y + 4, 32) != 0)
		return "another layout";
	if (shared_load64(&a->block_tokens) != shared_load64(&b->block_tokens))
		return "blocks of another size";
	return "other groups or ranks";
}
