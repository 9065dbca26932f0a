/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `onecopy session`: what routing knows of sessions, under the names of the
 * record.
 */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "front/report/json.h"
#include "front/report/report.h"
#include <onecopy/onecopy.h>
#include "store/session.h"

#define SESSIONS_MOST 512u /* of one answer */

/* UINT64_MAX: null. */
static void json_or_null(json_t *o, const char *name, uint64_t v, uint64_t none)
{
	if (v == none)
		json_object_set_new(o, name, json_null());
	else
		json_num(o, name, v);
}

static void add_place(json_t *list, const char *name, uint32_t blocks)
{
	json_t *tier;

	if (!blocks)
		return;
	tier = json_object();
	json_object_set_new(tier, "tier", json_string(name));
	json_num(tier, "blocks", blocks);
	json_array_append_new(list, tier);
}

static json_t *resident_on(const struct session_said *s)
{
	json_t *list;

	if (s->resident == UINT32_MAX)
		return json_null();
	list = json_array();
	add_place(list, "dram", s->resident);
	add_place(list, "nvme", s->below);
	return list;
}

static json_t *record_json(const struct session_said *s)
{
	char hex[2 * OC_KEY_BYTES + 1];
	json_t *o = json_object();

	json_object_set_new(o, "resident_on", resident_on(s));
	json_or_null(o, "hot_since",
		     s->hot_ms == UINT64_MAX ? UINT64_MAX
					     : clock_realtime_ms() - s->hot_ms,
		     UINT64_MAX);
	json_num(o, "shared_with", s->shared_with);
	json_or_null(o, "shared_blocks", s->shared_keys, UINT32_MAX);
	text_hex((const uint8_t *)s->prefix_hash, OC_KEY_BYTES, hex);
	json_object_set_new(o, "prefix_hash",
			    s->keys ? json_string(hex) : json_null());
	json_object_set_new(o, "evict_to",
			    json_string(session_tier_name(s->evict_to)));
	return o;
}

static void put_turns(json_t *o, const struct session_said *s)
{
	json_num(o, "turns", s->turns);
	json_num(o, "gap_ms", s->gap_ms);
	json_num(o, "last_gap_ms", s->last_gap_ms);
	json_num(o, "age_ms", s->born_ms);
	json_num(o, "used_ms", s->used_ms);
	json_or_null(o, "paused_ms", s->paused_ms, UINT64_MAX);
	json_or_null(o, "expected_return_ms", s->expected_ms, 0);
	json_num(o, "lease_ms", s->lease_ms);
}

static json_t *session_json(const struct report *r, struct pool *pool,
			    const struct session_record *record, bool deep)
{
	struct session_said s;
	json_t *o = json_object();

	store_session_say(r->store, pool, record, deep, &s);
	json_object_set_new(o, "name", json_string(s.name));
	json_num(o, "id", s.id);
	json_num(o, "ns", s.ns);
	json_object_set_new(o, "state",
			    json_string(s.state == SESSION_PAUSED ? "paused"
								  : "active"));
	json_num(o, "owner", s.owner);
	json_or_null(o, "parent", s.parent, 0);
	json_num(o, "blocks", s.keys);
	json_num(o, "tail_tokens", s.tail_tokens);
	put_turns(o, &s);
	json_object_set_new(o, "record", record_json(&s));
	return o;
}

json_t *report_sessions(const struct report *r, struct pool *pool,
			const char *from, int *ret_error)
{
	const struct pool_sessions *s = pool->sessions;
	json_t *o, *list;
	uint64_t i = 0, n = 0;

	*ret_error = -EINVAL;
	if (from && *from && text_parse_u64(from, UINT32_MAX, &i) < 0)
		return NULL;
	*ret_error = -ENOMEM;
	o = json_object();
	list = json_array();
	for (; s && i < s->end && n < SESSIONS_MOST; i++) {
		struct session_record *record =
			pool_session_record(s, (uint32_t)i);

		if (pool_session_state(record) == SESSION_FREE)
			continue;
		json_array_append_new(list,
				      session_json(r, pool, record, false));
		n++;
	}
	json_object_set_new(o, "sessions", list);
	json_or_null(o, "next", s && i < s->end ? i : UINT64_MAX, UINT64_MAX);
	json_num(o, "total", s ? s->live : 0);
	return o;
}

json_t *report_session(const struct report *r, struct pool *pool,
		       const char *which, int *ret_error)
{
	struct session_record *record;
	uint64_t id;

	if (which[0] == '#' && text_parse_u64(which + 1, UINT64_MAX, &id) == 0)
		record = pool_session_at(pool, id);
	else
		record = pool_session_find(pool, which);
	*ret_error = record ? -ENOMEM : -ENOENT;
	return record ? session_json(r, pool, record, true) : NULL;
}
