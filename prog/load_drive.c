/* SPDX-License-Identifier: Apache-2.0 */
/* The node's drive under a load: what it did, and whether loading was worth it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "load_report.h"
#include "stop.h"

#define WAIT_NS (120 * NS_PER_S)

static const char tier_coming[] = "coming";

static uint64_t number(const json_t *from, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(from, name));

	return n > 0 ? (uint64_t)n : 0;
}

static void read_drive(const json_t *below, const json_t *counters,
		       struct load_drive *d)
{
	const char *io = json_string_value(json_object_get(below, "io"));

	const char *state = json_string_value(json_object_get(below, "state"));

	d->there = true;
	d->coming = state && strcmp(state, tier_coming) == 0;
	d->direct = json_is_true(json_object_get(below, "direct"));
	text_copy(d->io, sizeof(d->io), io ? io : "");
	d->latency_ns = number(below, "read_latency_ns");
	d->bytes_per_s = number(below, "read_bytes_per_s");
	d->read_bytes = number(below, "read_bytes");
	d->write_bytes = number(below, "write_bytes");
	d->device_read_bytes = number(below, "device_read_bytes");
	d->device_write_bytes = number(below, "device_write_bytes");
	d->carried_bytes = number(below, "carried_bytes");
	d->bad = number(below, "bad");
	d->errors = number(below, "errors");
	d->parts = number(below, "parts");
	d->recovered = number(below, "recovered");
	d->recover_us = number(below, "recover_us");
	d->demoted = number(counters, "demoted");
	d->demote_missed = number(counters, "demote_missed");
}

static int ask(const char *socket, char **ret_text)
{
	struct oc_client_options options = { .size = sizeof(options),
					     .socket = socket,
					     .name = "onecopy",
					     .read_only = true };
	char error[256] = "";
	oc_client *c;
	int r = oc_client_connect(&options, &c, error);

	if (r) {
		fprintf(stderr, "onecopy: %s\n", error);
		return r;
	}
	r = oc_inspect(c, "stat", NULL, 0, ret_text);
	oc_client_close(c);
	return r > 0 ? -EPROTO : r;
}

int load_drive(const char *socket, struct load_drive *ret_drive)
{
	char *text = NULL;
	const json_t *below;
	json_t *root;
	int r = ask(socket, &text);

	if (r)
		return r;
	root = json_loads(text, 0, NULL);
	free(text);
	if (!root)
		return -EPROTO;
	memset(ret_drive, 0, sizeof(*ret_drive));
	below = json_object_get(root, "below");
	if (json_is_object(below))
		read_drive(below, json_object_get(root, "counters"), ret_drive);
	json_decref(root);
	return 0;
}

int load_drive_await(const char *socket, struct load_drive *ret_drive)
{
	struct timespec pause = { .tv_nsec = (long)(5 * NS_PER_MS) };
	uint64_t end = clock_ns() + WAIT_NS;

	do {
		int r = load_drive(socket, ret_drive);

		if (r || !ret_drive->coming || clock_ns() > end)
			return r;
		nanosleep(&pause, NULL);
	} while (!stop_wanted());
	return -EINTR;
}

void load_drive_add(struct load_drive *sum, const struct load_drive *before,
		    const struct load_drive *after)
{
	struct load_drive was = *sum;

	*sum = *after;
#define ADD(field) \
	sum->field = was.field + after->field - MIN(before->field, after->field)
	ADD(read_bytes);
	ADD(write_bytes);
	ADD(device_read_bytes);
	ADD(device_write_bytes);
	ADD(carried_bytes);
	ADD(bad);
	ADD(errors);
	ADD(demoted);
	ADD(demote_missed);
#undef ADD
}

/* ---- figures ---------------------------------------------------------------- */

static double per(uint64_t part, uint64_t all)
{
	return all ? (double)part / (double)all : 0;
}

static uint64_t dram_hits(const struct load_result *r)
{
	return r->hit_blocks - r->nvme_blocks;
}

static json_t *hits_json(const struct load_result *r)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "requests",
			 (json_int_t)r->requests, "blocks",
			 (json_int_t)r->blocks, "dram_blocks",
			 (json_int_t)dram_hits(r), "nvme_blocks",
			 (json_int_t)r->nvme_blocks, "wrong_bytes",
			 (json_int_t)r->wrong_bytes, "dram_hit_rate",
			 per(dram_hits(r), r->blocks), "nvme_hit_rate",
			 per(r->nvme_blocks, r->blocks));
}

static json_t *drive_json(const struct load_report *r)
{
	const struct load_drive *d = &r->drive;
	double seconds = (double)r->result.ns / 1e9;
	const struct {
		const char *name;
		uint64_t value;
	} counts[] = {
		{ "read_bytes", d->read_bytes },
		{ "write_bytes", d->write_bytes },
		{ "device_read_bytes", d->device_read_bytes },
		{ "device_write_bytes", d->device_write_bytes },
		{ "carried_bytes", d->carried_bytes },
		{ "demoted", d->demoted },
		{ "demote_missed", d->demote_missed },
		{ "bad", d->bad },
		{ "errors", d->errors },
		{ "parts", d->parts },
		{ "read_latency_ns", d->latency_ns },
		{ "read_bytes_per_s", d->bytes_per_s },
	};
	json_t *o = json_pack("{s:s,s:b}", "io", d->io, "direct", d->direct);

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		json_object_set_new(o, counts[i].name,
				    json_integer((json_int_t)counts[i].value));
	json_object_set_new(
		o, "write_amplification",
		json_real(per(d->device_write_bytes, d->write_bytes)));
	json_object_set_new(o, "used_read_bytes_per_s",
			    json_real((double)d->device_read_bytes / seconds));
	json_object_set_new(o, "used_write_bytes_per_s",
			    json_real((double)d->device_write_bytes / seconds));
	return o;
}

/* Expected against expected: what was is another thing, with the time that nobody
 * expected. Of the policy that ran. */
static double saved_s(const struct load_report *r, enum load_policy other)
{
	const uint64_t *e = r->result.expected_ns;

	return ((double)e[other] - (double)e[r->tiers.policy]) / 1e9;
}

static json_t *first_json(const struct load_report *r)
{
	const struct load_result *s = &r->result;
	const uint64_t *e = s->expected_ns;

	return json_pack("{s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "policy",
			 load_policy_names[r->tiers.policy], "tokens_per_s",
			 r->tiers.tokens_per_s, "depth_ns", r->tiers.depth_ns,
			 "actual_s", (double)s->first_ns / 1e9, "loading_s",
			 (double)s->load_ns / 1e9, "expected_plan_s",
			 (double)e[LOAD_PLANNED] / 1e9,
			 "expected_always_load_s", (double)e[LOAD_ALWAYS] / 1e9,
			 "expected_always_compute_s",
			 (double)e[LOAD_NEVER] / 1e9, "saved_against_load_s",
			 saved_s(r, LOAD_ALWAYS), "saved_against_compute_s",
			 saved_s(r, LOAD_NEVER));
}

void load_drive_json(json_t *root, const struct load_report *r)
{
	const struct load_result *s = &r->result;
	json_t *tiers = hits_json(s);

	json_object_set_new(tiers, "below_blocks",
			    json_integer((json_int_t)s->below_blocks));
	json_object_set_new(tiers, "computed_below",
			    json_integer((json_int_t)s->computed_below));
	json_object_set_new(tiers, "not_come",
			    json_integer((json_int_t)s->not_come));
	json_object_set_new(root, "tiers", tiers);
	json_object_set_new(root, "drive", drive_json(r));
	json_object_set_new(root, "first_token", first_json(r));
	if (!r->restart_at)
		return;
	json_object_set_new(root, "restart",
			    json_pack("{s:I,s:f,s:I,s:f,s:o,s:o}", "at",
				      (json_int_t)r->restart_at, "seconds",
				      (double)r->restart_ns / 1e9, "recovered",
				      (json_int_t)r->drive.recovered,
				      "recover_ms",
				      (double)r->drive.recover_us / 1e3,
				      "before", hits_json(&r->part[0]), "after",
				      hits_json(&r->part[1])));
}

/* ---- in words ----------------------------------------------------------------- */

static void print_drive(const struct load_report *r, FILE *to)
{
	const struct load_drive *d = &r->drive;
	double seconds = (double)r->result.ns / 1e9;
	char a[32], b[32], c[32], e[32];

	fprintf(to,
		"  drive (%s%s)  read %s, %s/s; written %s, %s/s; write "
		"amplification %.3f\n",
		d->io, d->direct ? "" : ", through the page cache",
		text_size(d->device_read_bytes, a),
		text_size((uint64_t)((double)d->device_read_bytes / seconds),
			  b),
		text_size(d->device_write_bytes, c),
		text_size((uint64_t)((double)d->device_write_bytes / seconds),
			  e),
		per(d->device_write_bytes, d->write_bytes));
	fprintf(to,
		"  price of a read  %s and %s/s; evicted before written "
		"%llu of %llu\n",
		text_time(d->latency_ns, a), text_size(d->bytes_per_s, b),
		(unsigned long long)d->demote_missed,
		(unsigned long long)(d->demoted + d->demote_missed));
}

static void print_hits(const char *label, const struct load_result *r, FILE *to)
{
	fprintf(to, "  %-16s dram %.2f %%, nvme %.2f %% of %llu blocks\n",
		label, 100 * per(dram_hits(r), r->blocks),
		100 * per(r->nvme_blocks, r->blocks),
		(unsigned long long)r->blocks);
}

static void print_first(const struct load_report *r, FILE *to)
{
	const struct load_result *s = &r->result;
	const uint64_t *e = s->expected_ns;

	fprintf(to,
		"  first tokens, summed  %.2f s (loading %.2f s, the rest "
		"computing at %.0f tokens/s, %.3g ns more for each before)\n",
		(double)s->first_ns / 1e9, (double)s->load_ns / 1e9,
		r->tiers.tokens_per_s, r->tiers.depth_ns);
	fprintf(to,
		"    this was \"%s\"; expected by plan %.2f s, always loading "
		"%.2f s, always computing %.2f s\n",
		load_policy_names[r->tiers.policy],
		(double)e[LOAD_PLANNED] / 1e9, (double)e[LOAD_ALWAYS] / 1e9,
		(double)e[LOAD_NEVER] / 1e9);
	fprintf(to,
		"    expected to save %.2f s against loading, %.2f s against "
		"computing\n",
		saved_s(r, LOAD_ALWAYS), saved_s(r, LOAD_NEVER));
}

void load_drive_print(const struct load_report *r, FILE *to)
{
	const struct load_result *s = &r->result;

	print_hits("hits by tier", s, to);
	fprintf(to,
		"  on the drive  %llu blocks when they were wanted: %llu "
		"computed as planned, %llu not had\n",
		(unsigned long long)s->below_blocks,
		(unsigned long long)s->computed_below,
		(unsigned long long)s->not_come);
	print_drive(r, to);
	print_first(r, to);
	if (!r->restart_at)
		return;
	fprintf(to,
		"  restarted before request %llu in %.2f s; %llu parts found "
		"in %.1f ms\n",
		(unsigned long long)r->restart_at, (double)r->restart_ns / 1e9,
		(unsigned long long)r->drive.recovered,
		(double)r->drive.recover_us / 1e3);
	print_hits("  before", &r->part[0], to);
	print_hits("  after", &r->part[1], to);
}
