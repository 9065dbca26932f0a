/* SPDX-License-Identifier: Apache-2.0 */
#include "load_report.h"

#include <errno.h>
#include <string.h>

#include "ask.h"
#include "base/clock.h"
#include "base/text.h"

/* A tenant's quota is its limit where that is less than the node's. */
static void lower_to_quota(oc_client *c, struct oc_stat *s)
{
	json_t *root = NULL, *tenant;
	const char *own;
	size_t i;

	if (ask_json(c, "stat", NULL, &root))
		return;
	own = json_string_value(
		json_object_get(json_object_get(root, "node"), "tenant"));
	json_array_foreach(json_object_get(root, "tenants"), i, tenant) {
		const char *name =
			json_string_value(json_object_get(tenant, "tenant"));
		uint64_t quota = ask_u64(tenant, "quota_bytes");

		if (own && name && !strcmp(own, name) && quota)
			s->limit_bytes = MIN(s->limit_bytes, quota);
	}
	json_decref(root);
}

int load_stat(const char *socket, struct oc_stat *ret_stat)
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = socket,
		.name = "onecopy",
		.read_only = true,
	};
	char error[256] = "";
	oc_client *c;
	int r = oc_client_connect(&options, &c, error);

	if (r) {
		fprintf(stderr, "onecopy: %s\n", error);
		return r;
	}
	r = oc_stat(c, ret_stat);
	if (r == 0)
		lower_to_quota(c, ret_stat);
	oc_client_close(c);
	return r;
}

double load_hit_rate(const struct load_result *r)
{
	return r->blocks ? (double)r->hit_blocks / (double)r->blocks : 0;
}

bool load_is_right(const struct load_result *r)
{
	return r->wrong_bytes == 0 && r->bad_blocks == 0 && r->died == 0;
}

int load_report_fill(struct load_report *r, const struct load_options *options,
		     const struct oc_stat *before, const struct oc_stat *after)
{
	r->block_bytes = options->block_bytes;
	r->clients = options->deck->clients;
	r->readers = options->readers;
	r->tiers = options->tiers;
	r->dram = after->limit_bytes;
	r->held = after->slab_bytes;
	r->evicted += after->evicted - before->evicted;
	return against_private(options->deck, options->readers,
			       r->dram / r->block_bytes, &r->against);
}

static json_t *report_times(const struct load_result *r)
{
	json_t *all = json_object();

	for (int t = 0; t < LOAD_TIMES; t++) {
		const struct hist *h = &r->time[t];

		json_object_set_new(
			all, load_time_names[t],
			json_pack("{s:I,s:I,s:I,s:I}", "count",
				  (json_int_t)h->count, "p50",
				  (json_int_t)hist_quantile(h, 0.5), "p99",
				  (json_int_t)hist_quantile(h, 0.99), "max",
				  (json_int_t)h->max));
	}
	return all;
}

static json_t *report_against(const struct load_report *r)
{
	const struct against *a = &r->against;
	uint64_t block = r->block_bytes;

	return json_pack("{s:I,s:I,s:I,s:I,s:{s:I,s:I,s:I}}", "caches",
			 (json_int_t)a->caches, "dram_bytes",
			 (json_int_t)(a->held_blocks * block), "prefill_blocks",
			 (json_int_t)a->prefill_blocks, "moved_bytes",
			 (json_int_t)(a->moved_blocks * block), "one_copy",
			 "dram_bytes", (json_int_t)r->held, "prefill_blocks",
			 (json_int_t)(r->result.blocks - r->result.hit_blocks),
			 "moved_bytes", (json_int_t)r->result.filled_bytes);
}

static void report_counts(json_t *root, const struct load_report *r)
{
	const struct load_result *s = &r->result;
	const struct {
		const char *name;
		uint64_t value;
	} counts[] = {
		{ "requests", s->requests },
		{ "blocks", s->blocks },
		{ "hit_blocks", s->hit_blocks },
		{ "sealed_blocks", s->sealed_blocks },
		{ "exists", s->exists },
		{ "refused", s->refused },
		{ "stale", s->stale },
		{ "late", s->late },
		{ "evicted", r->evicted },
		{ "wrong_bytes", s->wrong_bytes },
		{ "bad_blocks", s->bad_blocks },
		{ "died", s->died },
		{ "verified_bytes", s->verified_bytes },
		{ "delivered_bytes", s->delivered_bytes },
		{ "filled_bytes", s->filled_bytes },
		{ "block_bytes", r->block_bytes },
		{ "dram_bytes", r->dram },
		{ "clients", r->clients },
		{ "readers", r->readers },
	};

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		json_object_set_new(root, counts[i].name,
				    json_integer((json_int_t)counts[i].value));
}

json_t *load_report_json(const struct load_report *r)
{
	json_t *root = json_object();

	if (!root)
		return NULL;
	report_counts(root, r);
	json_object_set_new(root, "prefix_hit_rate",
			    json_real(load_hit_rate(&r->result)));
	json_object_set_new(root, "moves_per_byte",
			    json_real(load_moves(&r->result)));
	json_object_set_new(root, "seconds",
			    json_real((double)r->result.ns / 1e9));
	json_object_set_new(root, "latency_ns", report_times(&r->result));
	json_object_set_new(root, "against", report_against(r));
	if (r->tiers.ask)
		load_drive_json(root, r);
	return root;
}

static void report_against_print(const struct load_report *r, FILE *to)
{
	const struct against *a = &r->against;
	char one[32], many[32];

	fprintf(to, "\n  %-30s %14s  %14s\n", "", "one copy", "private caches");
	fprintf(to, "  %-30s %14s  %14s\n", "memory for the blocks",
		text_size(r->held, one),
		text_size(a->held_blocks * r->block_bytes, many));
	fprintf(to, "  %-30s %14llu  %14llu\n", "blocks computed, same memory",
		(unsigned long long)(r->result.blocks - r->result.hit_blocks),
		(unsigned long long)a->prefill_blocks);
	fprintf(to, "  %-30s %14s  %14s\n", "bytes written",
		text_size(r->result.filled_bytes, one),
		text_size(a->moved_blocks * r->block_bytes, many));
	fprintf(to, "  (%u processes: %u write, %u read)\n\n", a->caches,
		r->clients, r->readers);
}

static void report_times_print(const struct load_result *r, FILE *to)
{
	char p50[32], p99[32], most[32];

	for (int t = 0; t < LOAD_TIMES; t++) {
		const struct hist *h = &r->time[t];

		if (h->count)
			fprintf(to, "  %-8s median %-9s  99 %% %-9s  most %s\n",
				load_time_names[t],
				text_time(hist_quantile(h, 0.5), p50),
				text_time(hist_quantile(h, 0.99), p99),
				text_time(h->max, most));
	}
}

void load_report_print(const struct load_report *r, FILE *to)
{
	const struct load_result *s = &r->result;
	char size[32], time[32];

	fprintf(to, "  %llu requests, %llu blocks of %s in %s\n",
		(unsigned long long)s->requests, (unsigned long long)s->blocks,
		text_size(r->block_bytes, size), text_time(s->ns, time));
	fprintf(to, "  prefix hit rate  %.2f %%\n", 100 * load_hit_rate(s));
	fprintf(to, "  moves per byte delivered  %.3f\n", load_moves(s));
	fprintf(to, "  verified  %s in processes that pinned them\n",
		text_size(s->verified_bytes, size));
	fprintf(to, "  wrong bytes  %llu\n",
		(unsigned long long)s->wrong_bytes);
	fprintf(to, "  evicted %llu, refused %llu, sealed by another %llu\n",
		(unsigned long long)r->evicted, (unsigned long long)s->refused,
		(unsigned long long)s->exists);
	if (r->tiers.ask)
		load_drive_print(r, to);
	report_against_print(r, to);
	report_times_print(s, to);
}

int load_json_out(json_t *root)
{
	int bad = !root || json_dumpf(root, stdout,
				      JSON_INDENT(2) | JSON_REAL_PRECISION(9));

	printf("\n");
	json_decref(root);
	return bad || fflush(stdout) ? 1 : 0;
}
