/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of four times the node's memory, read from its drive through a
 * space, beside the tier alone on the same drive in the same run (bench nvme
 * compares that with fio).
 */
#include <errno.h>
#include <onecopy/space.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask.h"
#include "base/clock.h"
#include "bench.h"
#include "bench_file.h"
#include "bench_space.h"
#include "bench_tier.h"
#include "payload.h"
#include "stop.h"

#define BYTES	(2ull << 20)
#define DRAM	(256ull << 20)
#define BLOCKS	512u
#define DRIVE	(2ull << 30)
#define AHEAD	32u /* blocks of a prefetch */
#define WAIT_NS (50 * NS_PER_MS)
#define IN_DRAM 100u /* blocks that it surely has room for */
#define DEPTH	16u

struct drive_bench {
	struct node *node;
	oc_client *c;
	oc_ns *ns;
	struct oc_key key[BLOCKS];
	double tier[BENCH_RUNS_MAX]; /* bytes a second */
	double stream[BENCH_RUNS_MAX], prefetch[BENCH_RUNS_MAX];
	double faults[BENCH_RUNS_MAX], random[BENCH_RUNS_MAX], lost;
};

/* ---- the tier alone ---- */

static int tier_alone(struct bench *b, struct drive_bench *d)
{
	struct bench_tier *t = NULL;
	char base[4096], dir[4200];
	struct bench_pass pass;
	uint64_t asked;
	int r = bench_dir(b, base, &asked);

	if (r)
		return r;
	snprintf(dir, sizeof(dir), "%s/onecopy-space-XXXXXX", base);
	if (!mkdtemp(dir))
		return -errno;
	r = bench_tier_open(dir, BYTES, BLOCKS, DEPTH, &t);
	if (r == 0)
		r = bench_tier_write(t, &pass);
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		r = bench_tier_read(t, false, &pass);
		d->tier[i] = (double)(BLOCKS * BYTES) / pass.seconds;
	}
	bench_tier_close(t, false);
	snprintf(dir + strlen(dir), sizeof(dir) - strlen(dir), "/onecopy.log");
	unlink(dir);
	*strrchr(dir, '/') = '\0';
	rmdir(dir);
	return r;
}

/* ---- the node ---- */

static int connect_to(struct drive_bench *d)
{
	struct oc_client_options o = { .size = sizeof(o),
				       .socket = node_socket(d->node),
				       .name = "bench" };
	struct oc_ns_options no = { .size = sizeof(no),
				    .block_tokens = 16,
				    .n_groups = 1,
				    .groups = { { .slices = 1,
						  .slice_bytes = BYTES } } };
	char error[256] = "";
	int r = oc_client_connect(&o, &d->c, error);

	if (r == 0)
		r = oc_ns_open(d->c, &no, 0, &d->ns);
	if (r)
		fprintf(stderr, "onecopy: bench: space: %s\n", error);
	return r;
}

static void leave(struct drive_bench *d)
{
	if (d->ns)
		oc_ns_close(d->ns);
	oc_client_close(d->c);
	d->ns = NULL;
	d->c = NULL;
}

static uint64_t demoted(struct drive_bench *d)
{
	json_t *root;
	uint64_t n = 0;

	if (ask_json(d->c, "stat", NULL, &root) == 0) {
		n = ask_u64(json_object_get(root, "counters"), "demoted");
		json_decref(root);
	}
	return n;
}

/* Gives the drive time: what memory must forget before it was written down is
 * lost, and told. */
static void wait_for_drive(struct drive_bench *d, uint64_t n)
{
	uint64_t end = clock_ns() + WAIT_NS;

	while (demoted(d) < n && clock_ns() < end && !stop_wanted())
		poll(NULL, 0, 2);
}

static int write_all(struct drive_bench *d)
{
	uint8_t *data = malloc(BYTES);
	int r = data ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < BLOCKS && r == 0; i++) {
		r = payload_key("space", 0, i, &d->key[i]);
		if (r)
			break;
		payload_make(&d->key[i], data, BYTES);
		r = oc_put(d->ns, &d->key[i], (struct oc_part){ 0, 0 }, data,
			   BYTES, 0);
		/* not faster than the drive takes them */
		if (r == 0 && i >= IN_DRAM)
			wait_for_drive(d, i - IN_DRAM);
	}
	free(data);
	return r;
}

/* ---- through a space ---- */

enum order { ON, PREFETCHED, ANY };

/* In an order that no guess follows. */
static void read_any(char *base)
{
	for (uint32_t i = 0; i < BLOCKS; i++)
		plain_pages(base + (uint64_t)(i * 157 % BLOCKS) * BYTES, BYTES);
}

static int read_blocks(oc_span *sp, char *base, bool prefetch)
{
	int r = 0;

	for (uint32_t i = 0; i < BLOCKS && r == 0; i++) {
		if (prefetch && i % (AHEAD / 2) == 0) {
			size_t from = i ? i + AHEAD / 2 : 0;
			size_t n = i ? AHEAD / 2 : AHEAD;

			if (from < BLOCKS)
				r = oc_span_prefetch(
					sp, from, MIN(n, BLOCKS - from), 0, 0);
			if (i >= AHEAD && r == 0)
				r = oc_span_advise(sp, i - AHEAD, AHEAD / 2,
						   OC_ADVISE_DO_NOT_NEED, 0);
		}
		plain_pages(base + i * BYTES, BYTES);
	}
	return r;
}

static int through(struct drive_bench *d, enum order order, double *ret_rate,
		   double *ret_faults)
{
	struct oc_space_report report = { .size = sizeof(report) };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info info;
	oc_space *space;
	uint64_t start;
	oc_span *sp;
	int r = oc_space_create(d->ns, NULL, &space);

	if (r)
		return r;
	o.flags = OC_SPAN_LAZY | OC_SPAN_READ_ONLY;
	o.lost = OC_LOST_ZERO;
	r = oc_span_map(space, d->key, BLOCKS, &o, &sp);
	if (r == 0)
		r = oc_span_info(sp, &info);
	if (r == 0 && order == ANY)
		r = oc_span_advise(sp, 0, 0, OC_ADVISE_RANDOM, 0);
	start = clock_ns();
	if (r == 0 && order == ANY)
		read_any(info.base);
	else if (r == 0)
		r = read_blocks(sp, info.base, order == PREFETCHED);
	*ret_rate =
		(double)(BLOCKS * BYTES) * 1e9 / (double)(clock_ns() - start);
	if (r == 0)
		r = oc_space_report(space, &report);
	*ret_faults =
		(double)(order == ANY ? report.faults : report.faults_bring);
	d->lost += (double)report.faults_lost;
	oc_space_destroy(space);
	return r;
}

static int node_runs(struct bench *b, struct drive_bench *d)
{
	struct node_options options = { .dram = DRAM, .drive = DRIVE };
	char error[NODE_ERROR] = "";
	double ignored;
	int r = node_start(&options, &d->node, error);

	if (r) {
		fprintf(stderr, "onecopy: bench: no node: %s\n", error);
		return r;
	}
	r = connect_to(d);
	if (r == 0)
		r = write_all(d);
	/* the writer's slabs become the node's */
	leave(d);
	if (r == 0)
		r = connect_to(d);
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		r = bench_late(b)
			    ? -ETIME
			    : through(d, ON, &d->stream[i], &d->faults[i]);
		if (r == 0)
			r = through(d, PREFETCHED, &d->prefetch[i], &ignored);
		if (r == 0)
			r = through(d, ANY, &ignored, &d->random[i]);
	}
	return r;
}

static void tell(struct bench *b, struct drive_bench *d)
{
	struct bench_figure f = {
		.name = "stream_from_disk",
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = 0.85,
		.reference = 1,
		.against = "the tier alone, 16 reads of 2 MiB at once, same "
			   "drive",
	};
	static const struct bench_figure any = {
		.name = "random_from_disk",
		.unit = "faults a block",
		.sense = BENCH_AT_MOST,
		.wanted = 1,
		.against = "one fault for each of 512 blocks of 2 MiB, in any "
			   "order",
	};
	double tier = bench_median(d->tier, b->runs);

	for (uint32_t i = 0; i < b->runs; i++) {
		d->stream[i] /= tier;
		d->prefetch[i] /= tier;
		d->random[i] /= BLOCKS;
	}
	bench_report(b, &f, d->stream, b->runs);
	f.name = "stream_prefetch";
	f.wanted = 0.95;
	bench_report(b, &f, d->prefetch, b->runs);
	bench_report(b, &any, d->random, b->runs);
	bench_inform(b, "drive_rate", "B/s", d->tier, b->runs);
	bench_inform(b, "stream_waits", "faults of 512 blocks", d->faults,
		     b->runs);
	bench_inform(b, "stream_lost", "blocks", &d->lost, 1);
}

int space_from_drive(struct bench *b)
{
	struct drive_bench *d = calloc(1, sizeof(*d));
	int r = d ? tier_alone(b, d) : -ENOMEM;

	if (r == 0)
		r = node_runs(b, d);
	if (r == 0)
		tell(b, d);
	if (d) {
		leave(d);
		node_stop(d->node);
	}
	free(d);
	return r;
}
