/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of four times the node's memory, read from its drive through a space,
 * beside plain reads of the file in which the node keeps it: the same bytes at the
 * same offsets, with as many reads at once as the drive has use for. Plain reads
 * come before and after each stream, because the speed of a drive that others use
 * changes within seconds. They read into memory in pages of 4 KiB, as fio does for
 * the bench nvme: a request to a drive has room for so many pieces of memory, and a
 * read into a page of 2 MiB is one. So much more the drive can do is told as well.
 *
 * A stream is judged by what it has from the drive, not by its length: some of the
 * blocks are in memory when it begins.
 */
#include <errno.h>
#include <onecopy/space.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "base/clock.h"
#include "bench.h"
#include "bench_space.h"
#include "payload.h"
#include "stop.h"

#define BYTES	 (2ull << 20)
#define DRAM	 (256ull << 20)
#define BLOCKS	 512u
#define DRIVE	 (2ull << 30)
#define AHEAD	 32u /* blocks of a prefetch */
#define WAIT_NS	 (200 * NS_PER_MS)
#define IN_DRAM	 112u /* blocks that it surely has room for */
#define DEPTH	 32u
#define STRIDE	 4u /* blocks */
#define LEAST_UP (BLOCKS * BYTES / 2)

enum order { ON, PREFETCHED, BACK, STRIDES, ANY, ORDERS };

struct drive_bench {
	struct node *node;
	oc_client *c;
	oc_ns *ns;
	struct oc_key key[BLOCKS];
	double plain; /* the last plain pass, bytes a second */
	double drive[BENCH_RUNS_MAX * (ORDERS + 1)], huge[BENCH_RUNS_MAX];
	uint32_t n_drive;
	double rate[ORDERS][BENCH_RUNS_MAX]; /* of the drive's */
	double faults[ORDERS][BENCH_RUNS_MAX], lost;
};

static uint64_t counter(struct drive_bench *d, const char *name)
{
	json_t *root;
	uint64_t n = 0;

	if (ask_json(d->c, "stat", NULL, &root) == 0) {
		n = ask_u64(json_object_get(root, "counters"), name);
		json_decref(root);
	}
	return n;
}

/* ---- the drive alone ---- */

static double read_log(struct drive_bench *d, bool huge)
{
	uint64_t bytes = MIN(counter(d, "demoted_bytes"), BLOCKS * BYTES);
	char path[128];

	snprintf(path, sizeof(path), "%s/onecopy.log", node_drive(d->node));
	return plain_read(path, bytes, BYTES, DEPTH, huge);
}

static int drive_alone(struct drive_bench *d)
{
	double rate = read_log(d, false);

	if (rate < 0)
		return (int)rate;
	d->plain = rate;
	d->drive[d->n_drive++] = rate;
	return 0;
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

/* Gives the drive time: what memory must forget before it was written down is
 * lost, and told. */
static void wait_for_drive(struct drive_bench *d, uint64_t n)
{
	uint64_t end = clock_ns() + WAIT_NS;

	while (counter(d, "demoted") + counter(d, "demote_missed") < n &&
	       clock_ns() < end && !stop_wanted())
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

/* The nth block that a reader touches. */
static uint32_t nth_block(enum order order, uint32_t n)
{
	switch (order) {
	case BACK:
		return BLOCKS - 1 - n;
	case STRIDES: /* each fourth, then those after them */
		return n % (BLOCKS / STRIDE) * STRIDE + n / (BLOCKS / STRIDE);
	case ANY: /* in an order that no guess follows */
		return n * 157 % BLOCKS;
	default:
		return n;
	}
}

static int ahead_of(oc_span *sp, uint32_t i)
{
	size_t from = i ? i + AHEAD / 2 : 0;
	size_t n = i ? AHEAD / 2 : AHEAD;
	int r = 0;

	if (i % (AHEAD / 2))
		return 0;
	if (from < BLOCKS)
		r = oc_span_prefetch(sp, from, MIN(n, BLOCKS - from), 0, 0);
	if (i >= AHEAD && r == 0)
		r = oc_span_advise(sp, i - AHEAD, AHEAD / 2,
				   OC_ADVISE_DO_NOT_NEED, 0);
	return r;
}

static int read_blocks(oc_span *sp, const char *base, enum order order)
{
	int r = 0;

	for (uint32_t i = 0; i < BLOCKS && r == 0; i++) {
		if (order == PREFETCHED)
			r = ahead_of(sp, i);
		plain_pages(base + nth_block(order, i) * BYTES, BYTES);
	}
	return r;
}

/* What a stream had from the drive, a second; and its faults. */
static int through(struct drive_bench *d, enum order order, double *ret_rate,
		   double *ret_faults)
{
	struct oc_space_report report = { .size = sizeof(report) };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info info;
	uint64_t start, up;
	oc_space *space;
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
	up = counter(d, "promoted_bytes");
	start = clock_ns();
	if (r == 0)
		r = read_blocks(sp, info.base, order);
	*ret_rate = 1e9 / (double)(clock_ns() - start);
	if (r == 0)
		r = oc_space_report(space, &report);
	up = MIN(counter(d, "promoted_bytes") - up, BLOCKS * BYTES);
	*ret_rate *= (double)up;
	*ret_faults =
		(double)(order == ANY ? report.faults : report.faults_bring);
	d->lost += (double)report.faults_lost;
	oc_space_destroy(space);
	return r ? r : up < LEAST_UP ? -ESTALE : 0;
}

/* One stream, between two plain passes. */
static int paired(struct drive_bench *d, enum order order, uint32_t run)
{
	double before = d->plain, rate;
	int r = through(d, order, &rate, &d->faults[order][run]);

	if (r == 0)
		r = drive_alone(d);
	if (r == 0)
		d->rate[order][run] = 2 * rate / (before + d->plain);
	return r;
}

static int node_up(struct drive_bench *d)
{
	struct node_options options = { .dram = DRAM, .drive = DRIVE };
	char error[NODE_ERROR] = "";
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
	return r ? r : connect_to(d);
}

static int node_runs(struct bench *b, struct drive_bench *d)
{
	int r = node_up(d);

	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		d->huge[i] = read_log(d, true);
		r = d->huge[i] < 0 ? (int)d->huge[i] : drive_alone(d);
		for (enum order o = 0; o < ORDERS && r == 0; o++)
			r = bench_late(b) ? -ETIME : paired(d, o, i);
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
		.against = "32 plain reads of 2 MiB at once of the same file, "
			   "before and after; bytes that came from the drive",
	};
	static const struct bench_figure any = {
		.name = "random_from_disk",
		.unit = "faults a block",
		.sense = BENCH_AT_MOST,
		.wanted = 1,
		.against = "one fault for each of 512 blocks of 2 MiB, in any "
			   "order",
	};

	for (uint32_t i = 0; i < b->runs; i++)
		d->faults[ANY][i] /= BLOCKS;
	bench_report(b, &f, d->rate[ON], b->runs);
	f.name = "stream_prefetch";
	f.wanted = 0.95;
	bench_report(b, &f, d->rate[PREFETCHED], b->runs);
	bench_report(b, &any, d->faults[ANY], b->runs);
	bench_inform(b, "stream_backward", "x", d->rate[BACK], b->runs);
	bench_inform(b, "stream_strides", "x", d->rate[STRIDES], b->runs);
	bench_inform(b, "stream_random", "x", d->rate[ANY], b->runs);
	bench_inform(b, "drive_rate", "B/s", d->drive, d->n_drive);
	bench_inform(b, "drive_rate_2m_pages", "B/s", d->huge, b->runs);
	bench_inform(b, "stream_waits", "faults of 512 blocks", d->faults[ON],
		     b->runs);
	bench_inform(b, "stream_lost", "blocks", &d->lost, 1);
}

int space_from_drive(struct bench *b)
{
	struct drive_bench *d = calloc(1, sizeof(*d));
	int r = d ? node_runs(b, d) : -ENOMEM;

	if (r == 0)
		tell(b, d);
	if (d) {
		leave(d);
		node_stop(d->node);
	}
	free(d);
	return r;
}
