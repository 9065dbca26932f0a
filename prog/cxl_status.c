/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy cxl status, check: looking at a region without being a member. */
#include <stdio.h>

#include "ask.h"
#include "cxl.h"
#include "cxl_region.h"

/* ---- status --------------------------------------------------------------------- */

static const char *member_how(const struct region_member_status *s)
{
	if (s->lost)
		return "memory fails";
	if (s->ended)
		return "ended";
	if (s->state == MEMBER_LIVE && s->late)
		return "late";
	return cxl_state_name(s->state);
}

static const char *member_role(const struct region_member_status *s)
{
	if (!s->known)
		return "";
	return s->reader ? "reader" : s->server ? "node" : "program";
}

/* Brief: what fits in a line. NULL for a slot that nobody ever had. */
static json_t *member_json(struct region *r, uint32_t i, bool brief)
{
	struct region_member_status s;
	json_t *o;

	region_member_status(r, i, &s);
	if (s.state == MEMBER_FREE && brief && !s.lost)
		return NULL;
	o = json_pack("{s:i,s:s,s:s,s:s,s:I,s:s,s:I,s:I,s:i,s:I}", "member",
		      (int)i, "name", s.known ? s.name : "", "role",
		      member_role(&s), "state", member_how(&s), "pid",
		      (json_int_t)s.pid, "host",
		      s.known ? s.here ? "this" : "another" : "", "silent_ms",
		      (json_int_t)s.silent_ms, "incarnation", (json_int_t)s.inc,
		      "shards", (int)s.shards, "pinned", (json_int_t)s.pins);
	if (o && !brief)
		json_object_set_new(o, "server_pid",
				    json_integer((json_int_t)s.server));
	for (unsigned c = 0; o && c < REGION_COUNTS_USED; c++)
		if (!brief || c == REGION_C_bad || c == REGION_C_seals ||
		    c == REGION_C_memory_errors)
			json_object_set_new(
				o, region_count_names[c],
				json_integer((json_int_t)s.count[c]));
	return o;
}

static json_t *shard_json(struct region *r, uint32_t i)
{
	struct region_shard_status s;

	region_shard_status(r, i, &s);
	return json_pack("{s:i,s:o,s:s,s:I,s:I,s:I}", "shard", (int)i, "owner",
			 s.owner < 0 ? json_null() : json_integer(s.owner),
			 "room",
			 s.lost		 ? "memory fails"
			 : s.owner < 0	 ? "nobody's"
			 : s.gone	 ? "to be taken"
			 : s.ended	 ? "to be fenced"
			 : s.quarantined ? "quarantined"
			 : s.ready	 ? "in use"
					 : "taken over",
			 "sealed", (json_int_t)s.sealed, "free",
			 (json_int_t)s.free, "held", (json_int_t)s.held);
}

static json_t *members_json(struct region *r, bool brief)
{
	json_t *rows = json_array();

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		json_t *one = member_json(r, i, brief);

		if (one)
			json_array_append_new(rows, one);
	}
	return rows;
}

static json_t *shards_json(struct region *r)
{
	json_t *rows = json_array();

	for (uint32_t i = 0; i < region_geometry_of(r)->shards; i++)
		json_array_append_new(rows, shard_json(r, i));
	return rows;
}

/* Nobody of this host has seen to it: a member would have. */
static void print_hints(struct region *r, const char *path)
{
	struct region_member_status s;

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		region_member_status(r, i, &s);
		if (s.ended)
			printf("member %u has ended: onecopy cxl fence %s "
			       "%u.%llu frees its room\n",
			       i, path, i, (unsigned long long)s.inc);
	}
}

static void status_print(struct region *r, const char *path)
{
	json_t *rows = members_json(r, true);

	cxl_region_print(r);
	printf("\n");
	if (json_array_size(rows))
		ask_table(stdout, rows);
	else
		printf("no members\n");
	json_decref(rows);
	rows = shards_json(r);
	printf("\n");
	ask_table(stdout, rows);
	json_decref(rows);
	print_hints(r, path);
}

static void status_dump(struct region *r)
{
	json_t *root = json_pack("{s:o,s:o,s:o}", "region", cxl_region_json(r),
				 "members", members_json(r, false), "shards",
				 shards_json(r));

	json_dumpf(root, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(root);
}

static const struct cli_option status_options[] = {
	{ 'j', "json", NULL, NULL, "print JSON, with all counters" }, CLI_END
};

static int status_run(const struct command *self, int argc, char **argv)
{
	struct region *region = NULL;
	bool json = false;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0)
		json = true;
	if (id < 0)
		return c.status;
	r = cli_words(&c, 1, 1);
	if (r == 0)
		r = cxl_open(&c, &region);
	if (r)
		return r;
	if (json)
		status_dump(region);
	else
		status_print(region, c.argv[c.first]);
	region_close(region);
	return PROG_OK;
}

const struct command cxl_command_status = {
	.name = "cxl status",
	.summary = "who holds what of a region, leases, quarantine, errors",
	.usage = "[OPTIONS] PATH",
	.options = status_options,
	.run = status_run,
};

/* ---- check ------------------------------------------------------------------------ */

static const struct cli_option check_options[] = {
	{ 'b', "bytes", NULL, NULL, "hash every sealed block as well" },
	{ 'q', "quiet", NULL, NULL,
	  "nobody works there: counts must agree to the last" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static void check_tell(void *ctx, const char *problem)
{
	json_array_append_new(ctx, json_string(problem));
}

static void check_print(const struct region_checked *d, const json_t *problems,
			bool json)
{
	const json_t *one;
	json_t *root = json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "frames",
		(json_int_t)d->frames, "sealed", (json_int_t)d->sealed, "free",
		(json_int_t)d->free, "granted", (json_int_t)d->granted, "other",
		(json_int_t)d->other, "entries", (json_int_t)d->entries, "pins",
		(json_int_t)d->pins, "verified_bytes",
		(json_int_t)d->verified_bytes);
	const char *name;
	json_t *value;
	size_t i;

	if (json) {
		root = json_pack("{s:o,s:O}", "checked", root, "problems",
				 problems);
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		json_object_foreach(root, name, value)
			printf("  %-18s %lld\n", name,
			       (long long)json_integer_value(value));
		json_array_foreach(problems, i, one)
			printf("problem: %s\n", json_string_value(one));
		printf("%zu problem%s\n", json_array_size(problems),
		       json_array_size(problems) == 1 ? "" : "s");
	}
	json_decref(root);
}

static int check_run(const struct command *self, int argc, char **argv)
{
	bool json = false, quiet = false, bytes = false;
	struct region *region = NULL;
	struct region_checked done;
	json_t *problems;
	uint64_t n;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		json |= id == 'j';
		quiet |= id == 'q';
		bytes |= id == 'b';
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 1, 1);
	if (r == 0)
		r = cxl_open(&c, &region);
	if (r)
		return r;
	problems = json_array();
	n = region_check(region, quiet, bytes, check_tell, problems, &done);
	check_print(&done, problems, json);
	json_decref(problems);
	region_close(region);
	return n ? PROG_FAILED : PROG_OK;
}

const struct command cxl_command_check = {
	.name = "cxl check",
	.summary = "recount a region: descriptors, indexes, pins, bytes",
	.usage = "[OPTIONS] PATH",
	.options = check_options,
	.run = check_run,
};
