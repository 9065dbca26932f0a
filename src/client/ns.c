/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces and reports: requests whose question lies in the blob.
 *
 * The blob is one; `blob` (a lock) is held for the whole round. A round that
 * was given up leaves its slot's sequence behind, and the next user waits for
 * that answer first, because the server may still read the blob for it.
 */
#include "client/client.h"
#include <stdio.h>
#include <stdlib.h>
#include "base/text.h"

int blob_take(oc_client *c, uint64_t deadline)
{
	struct ring_answer a;
	int r = lock_take(&c->blob, deadline);

	if (r)
		return client_fail(c, r,
				   "other threads wait for the server's "
				   "answers");
	while (c->blob_seq &&
	       !ring_resp_load(&c->seg->resp[c->blob_slot], c->blob_seq, &a)) {
		/* A later answer there means that ours came before it. */
		if (shared_load64_acquire(&c->seg->resp[c->blob_slot].seq) >
		    c->blob_seq)
			break;
		r = client_gone(c);
		if (r == 0 && clock_ns() >= deadline)
			r = client_fail(c, -ETIMEDOUT,
					"an earlier question is unanswered");
		if (r) {
			lock_drop(&c->blob);
			return r;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	c->blob_seq = 0;
	return 0;
}

int blob_round(oc_client *c, struct ring_call *q, uint64_t deadline,
	       struct ring_answer *ret_answer)
{
	uint64_t now = clock_ns();
	uint32_t slot;
	int r;

	q->timeout_ns = now < deadline ? deadline - now : 0;
	r = call_begin(c, q, CALL_WAITED, deadline, &slot);
	if (r)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	c->blob_slot = slot;
	c->blob_seq =
		atomic_load_explicit(&c->call[slot].seq, memory_order_relaxed);
	call_wake(c);
	r = call_wait(c, slot, deadline, ret_answer);
	if (r == 0)
		c->blob_seq = 0;
	return r;
}

/* ---- namespaces ---- */

static int spec_of(oc_client *c, const struct oc_ns_options *options,
		   struct ns_spec *ret_spec)
{
	struct oc_ns_options o = { .size = sizeof(o) };
	struct ns_spec *s = ret_spec;

	if (options_copy(&o, sizeof(o), options))
		return client_fail(c, -EINVAL, "options without their size");
	memset(s, 0, sizeof(*s));
	memcpy(s->weights, o.weights, sizeof(s->weights));
	memcpy(s->layout, o.layout, sizeof(s->layout));
	s->block_tokens = o.block_tokens;
	s->ranks = o.ranks ? o.ranks : 1;
	s->groups = o.n_groups;
	for (unsigned i = 0; i < o.n_groups && i < MATCH_GROUPS_MAX; i++) {
		s->group[i].rule = (uint32_t)o.groups[i].rule;
		s->group[i].window_tokens = o.groups[i].window_tokens;
		s->group[i].slices = o.groups[i].slices;
		s->group[i].slice_bytes = o.groups[i].slice_bytes;
		s->group[i].stride = o.groups[i].stride;
	}
	/* The label is for people: too long a one is cut. */
	if (o.label)
		text_copy(s->label, sizeof(s->label), o.label);
	if (ns_spec_check(s))
		return client_fail(c, -EINVAL,
				   "a namespace's geometry that cannot be");
	return 0;
}

static int ask_open(oc_client *c, const struct ns_spec *spec,
		    uint64_t timeout_ns, uint32_t *ret_id)
{
	uint64_t deadline = client_deadline(c, timeout_ns);
	struct ring_call q = { .op = RING_NS_OPEN };
	struct ring_answer a;
	int r = blob_take(c, deadline);

	if (r)
		return r;
	shared_store_bytes(c->seg->blob, ALIGN_UP(sizeof(*spec), 8), spec,
			   sizeof(*spec));
	r = blob_round(c, &q, deadline, &a);
	lock_drop(&c->blob);
	if (r == 0)
		r = write_result(c, RING_NS_OPEN, a.result);
	if (r)
		return r;
	if (a.arg == 0 || a.arg > LAYOUT_NS_MAX)
		return client_fail(c, -EPROTO, "a namespace that cannot be");
	*ret_id = (uint32_t)a.arg;
	return 0;
}

static int ns_complete(oc_ns *ns)
{
	uint8_t digest[32];
	int r = ns_spec_digest(&ns->spec, digest);

	if (r)
		return client_fail(ns->c, r, "no memory for a namespace");
	memcpy(ns->digest, digest, sizeof(ns->digest));
	for (unsigned i = 0; i < ns->spec.groups; i++) {
		ns->rule[i] = ns_spec_rule(&ns->spec, i);
		ns->part_bytes[i] = ns_spec_part_bytes(&ns->spec, i);
	}
	return 0;
}

int ns_unaware(const oc_ns *ns)
{
	return client_fail(ns->c, -EOPNOTSUPP,
			   "namespace %u has parts that are striped: open it "
			   "with OC_STRIPED",
			   ns->id);
}

int oc_ns_open(oc_client *c, const struct oc_ns_options *options,
	       uint64_t timeout_ns, oc_ns **ret_ns)
{
	oc_ns *ns;
	int r;

	if (client_is_child(c))
		return client_child(c);
	ns = mem_alloc(sizeof(*ns));
	if (!ns)
		return client_fail(c, -ENOMEM, "no memory for a namespace");
	ns->c = c;
	r = spec_of(c, options, &ns->spec);
	if (r == 0)
		r = ask_open(c, &ns->spec, timeout_ns, &ns->id);
	if (r == 0)
		r = ns_complete(ns);
	if (r) {
		free(ns);
		return r;
	}
	*ret_ns = ns;
	return 0;
}

int oc_ns_find(oc_client *c, uint32_t id, oc_ns **ret_ns)
{
	oc_ns *ns;
	int r;

	if (client_is_child(c))
		return client_child(c);
	if (!id || id > LAYOUT_NS_MAX)
		return OC_MISS;
	ns = mem_alloc(sizeof(*ns));
	if (!ns)
		return client_fail(c, -ENOMEM, "no memory for a namespace");
	if (!ns_record_load(&c->meta->ns[id - 1], &ns->spec)) {
		free(ns);
		return OC_MISS;
	}
	ns->c = c;
	ns->id = id;
	ns->unaware = ns_spec_is_striped(&ns->spec);
	r = ns_complete(ns);
	if (r) {
		free(ns);
		return r;
	}
	*ret_ns = ns;
	return 0;
}

void oc_ns_close(oc_ns *ns)
{
	free(ns);
}

uint32_t oc_ns_id(const oc_ns *ns)
{
	return ns->id;
}

uint64_t oc_ns_part_bytes(const oc_ns *ns, uint16_t group)
{
	return group < ns->spec.groups ? ns->part_bytes[group] : 0;
}

/* ---- reports ---- */

#define QUESTION_MAX 8192

/* The text so far. */
struct report {
	char *text;
	uint64_t got, total, id;
};

static int report_piece(oc_client *c, struct report *p, uint64_t deadline)
{
	struct ring_call q = {
		.op = RING_REPORT,
		.arg = p->got,
		.arg2 = p->id,
	};
	struct ring_answer a;
	uint64_t bytes;
	char *text;
	int r = blob_round(c, &q, deadline, &a);

	if (r)
		return r;
	/* OC_STALE: another server, which does not know this report. */
	if (a.result)
		return write_result(c, RING_REPORT, a.result);
	bytes = a.loc;
	if (bytes > RING_BLOB_BYTES || a.arg > SIZE_MAX / 2 ||
	    p->got + bytes > a.arg || (bytes == 0 && p->got < a.arg))
		return client_fail(c, -EPROTO, "a malformed report");
	text = mem_grow(p->text, a.arg + ALIGN_UP(bytes, 8) - bytes + 8, 1);
	if (!text)
		return client_fail(c, -ENOMEM, "no memory for a report");
	p->text = text;
	shared_load_bytes(text + p->got, ALIGN_UP(bytes, 8), c->seg->blob);
	p->got += bytes;
	p->total = a.arg;
	p->id = a.arg2;
	text[p->got] = '\0';
	return 0;
}

/* From the question to the end. OC_STALE: begin again, unless it is too late.
 */
static int report_all(oc_client *c, const char question[QUESTION_MAX],
		      struct report *p, uint64_t deadline)
{
	int r;

	p->got = p->id = 0;
	shared_store_bytes(c->seg->blob, QUESTION_MAX, question,
			   strlen(question) + 1);
	do
		r = report_piece(c, p, deadline);
	while (r == 0 && p->got < p->total);
	if (r == OC_STALE && clock_ns() >= deadline)
		return client_fail(c, -ETIMEDOUT,
				   "no server lived long enough to report");
	return r;
}

int oc_inspect(oc_client *c, const char *what, const char *args,
	       uint64_t timeout_ns, char **ret_json)
{
	uint64_t deadline;
	struct report p = { 0 };
	char question[QUESTION_MAX];
	int n, r;

	if (client_is_child(c))
		return client_child(c);
	n = snprintf(question, sizeof(question), "%s%s%s", what,
		     args && *args ? " " : "", args ? args : "");
	if (n < 0 || (size_t)n >= sizeof(question))
		return client_fail(c, -EINVAL, "the question is too long");
	deadline = client_deadline(c, timeout_ns);
	r = blob_take(c, deadline);
	if (r)
		return r;
	do
		r = report_all(c, question, &p, deadline);
	while (r == OC_STALE);
	lock_drop(&c->blob);
	if (r) {
		free(p.text);
		return r;
	}
	*ret_json = p.text;
	return 0;
}
