/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports (front/report/) for clients of the native door, fetched through the
 * client's blob in pieces. A client sees its own tenant.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "front/native/session.h"
#include <onecopy/onecopy.h>

#define QUESTION_MAX 8192 /* of `why`: all its keys */

static bool runs_node(const struct session *s)
{
	uint32_t uid = (uint32_t)shared_load64(&s->client->record->pid_uid);

	return uid == 0 || uid == geteuid();
}

static int answer_question(struct session *s, const char *question,
			   const char *args, json_t **ret_root)
{
	const struct report *about = s->native->options.report;
	struct pool *p = s->client->pool;
	int r = -ENOMEM;

	if (!strcmp(question, "stat"))
		*ret_root = report_stat(about, p, runs_node(s));
	else if (!strcmp(question, "where"))
		*ret_root = report_where(about, p, args ? args : "",
					 s->native->now_ns, &r);
	else if (!strcmp(question, "sessions"))
		*ret_root = report_sessions(about, p, args, &r);
	else if (!strcmp(question, "session"))
		*ret_root = report_session(about, p, args ? args : "", &r);
	else if (!strcmp(question, "why"))
		*ret_root = report_why(about, p, args ? args : "",
				       s->native->now_ns, &r);
	else if (!strcmp(question, "check") && !runs_node(s))
		return -EPERM;
	else if (!strcmp(question, "check"))
		*ret_root = report_check(about, p);
	else
		return -EINVAL;
	return *ret_root ? 0 : r;
}

static int make_report(struct session *s)
{
	char question[QUESTION_MAX + 1] = "", *args;
	json_t *o;
	int r;

	shared_load_bytes(question, QUESTION_MAX, s->client->segment->blob);
	args = strchr(question, ' ');
	if (args)
		*args++ = '\0';
	r = answer_question(s, question, args, &o);
	if (r < 0)
		return r;
	free(s->report);
	s->report = fault_point(FAULT_ALLOC) ? NULL
					     : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!s->report)
		return -ENOMEM;
	s->report_bytes = strlen(s->report);
	s->report_id = ++s->native->reports;
	return 0;
}

/* A report that is gone (another server, another question) is asked anew by
 * the client: OC_STALE. */
void report_call(struct session *s, const struct ring_call *call,
		 struct ring_answer *ret_answer)
{
	uint64_t n;
	int r = 0;

	*ret_answer = (struct ring_answer){ 0 };
	if (!call->arg2)
		r = make_report(s);
	else if (!s->report || call->arg2 != s->report_id)
		r = OC_STALE;
	if (r == 0 && call->arg > s->report_bytes)
		r = -EINVAL;
	ret_answer->result = r;
	if (r != 0)
		return;
	n = MIN(s->report_bytes - call->arg, RING_BLOB_BYTES);
	shared_store_bytes(s->client->segment->blob, ALIGN_UP(n, 8),
			   s->report + call->arg, n);
	ret_answer->loc = n;
	ret_answer->arg = s->report_bytes;
	ret_answer->arg2 = s->report_id;
}

void report_ns_open(struct session *s, struct ring_answer *ret_answer)
{
	struct ns_spec spec;
	int64_t id;

	shared_load_bytes(&spec, sizeof(spec), s->client->segment->blob);
	id = store_ns_open(s->client->pool, &spec);
	*ret_answer = (struct ring_answer){ .result = MIN(id, 0),
					    .arg = (uint64_t)MAX(id, 0) };
}
