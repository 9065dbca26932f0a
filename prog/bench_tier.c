/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_tier.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/rng.h"
#include "bench.h"
#include "coherence/frame.h"
#include "onecopy/onecopy.h"

#define OPEN_NS (60 * NS_PER_S)
#define STOP_NS (60 * NS_PER_S)
/* Of the limit beyond the parts: the tier frees segments before it is full. */
#define SLACK_BYTES (1ull << 30)

struct bench_slot {
	struct tier_move move;
	struct bench_tier *of;
	uint32_t part;
	bool flies;
};

double bench_cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct tier_id part_id(const struct bench_tier *b, uint32_t part)
{
	struct tier_id id = { .key = { part + 1 }, .space = b->space };

	return id;
}

static uint64_t part_seed(const struct tier_id *id)
{
	return hash_part_seed((const uint8_t *)id->key, 0, 0);
}

static uint8_t *slot_data(const struct bench_tier *b, uint32_t i)
{
	return b->area + i * b->part_bytes;
}

/* Waits until the tier has something to say, and lets it. */
static void tier_turn(const struct tier_ops *ops, struct tier *t)
{
	uint64_t next = ops->tick(t, clock_ns());
	struct pollfd p = { .fd = ops->fd(t), .events = POLLIN };
	struct timespec wait = { .tv_sec = (time_t)(next / NS_PER_S),
				 .tv_nsec = (long)(next % NS_PER_S) };

	if (ppoll(&p, 1, &wait, NULL) > 0)
		ops->ready(t, clock_ns());
}

/* All are to be there at the end. */
static bool wanted(void *ctx, const struct tier_id *id,
		   const struct tier_block *block)
{
	(void)ctx;
	(void)id;
	(void)block;
	return true;
}

static int tier_up(const struct tier_ops *ops, const char *dir, uint64_t bytes,
		   uint32_t depth, struct tier **ret_tier)
{
	uint64_t end = clock_ns() + OPEN_NS;
	struct tier_options o = { .path = dir,
				  .size = bytes,
				  .depth = depth,
				  .wanted = wanted,
				  .now_ns = clock_ns() };
	struct tier_stat stat;
	struct tier *t;
	int r = ops->open(&o, &t);

	if (r)
		return r;
	ops->stat(t, &stat);
	while (stat.state == TIER_COMING && clock_ns() < end) {
		tier_turn(ops, t);
		ops->stat(t, &stat);
	}
	if (stat.state != TIER_UP) {
		fprintf(stderr, "onecopy: bench: the tier in %s is %s: %s\n",
			dir, tier_state_name(stat.state), stat.why);
		ops->close(t);
		return -EIO;
	}
	*ret_tier = t;
	return 0;
}

static uint64_t tier_bytes(uint64_t part_bytes, uint32_t parts)
{
	uint64_t payload = ALIGN_UP(part_bytes, PAGE_BYTES) * parts;

	return payload + payload / 2 + SLACK_BYTES;
}

/* ---- life ------------------------------------------------------------------------ */

static int tier_memory(struct bench_tier *b)
{
	uint64_t bytes = b->depth * b->part_bytes;
	struct rng rng = { 11 };
	void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (area == MAP_FAILED)
		return -ENOMEM;
	b->area = area;
	for (uint64_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = rng_next(&rng);

		memcpy(b->area + i, &word, sizeof(word));
	}
	b->ops->memory_add(b->tier, b->area, bytes);
	b->slot = mem_array(b->depth, sizeof(*b->slot));
	b->sum = mem_array(b->parts, sizeof(*b->sum));
	return b->slot && b->sum ? 0 : -ENOMEM;
}

int bench_tier_open(const char *dir, uint64_t part_bytes, uint32_t parts,
		    uint32_t depth, struct bench_tier **ret_tier)
{
	struct bench_tier *b = mem_alloc(sizeof(*b));
	struct tier_space space = { .digest = { 1 }, .tenant = "bench" };
	int r;

	if (!b)
		return -ENOMEM;
	b->ops = tier_find(OC_TIER_NVME);
	b->part_bytes = part_bytes;
	b->parts = parts;
	b->depth = depth;
	r = b->ops ? tier_up(b->ops, dir, tier_bytes(part_bytes, parts), depth,
			     &b->tier)
		   : -ENOENT;
	if (r == 0)
		r = b->ops->space(b->tier, &space, &b->space);
	if (r == 0)
		r = tier_memory(b);
	if (r) {
		bench_tier_close(b, false);
		return r;
	}
	*ret_tier = b;
	return 0;
}

void bench_tier_close(struct bench_tier *b, bool clean)
{
	if (!b)
		return;
	if (b->tier) {
		if (b->area)
			b->ops->memory_drop(b->tier, b->area,
					    b->depth * b->part_bytes);
		if (clean)
			(void)b->ops->stop(b->tier, clock_ns() + STOP_NS);
		b->ops->close(b->tier);
	}
	if (b->area)
		munmap(b->area, b->depth * b->part_bytes);
	free(b->order);
	free(b->slot);
	free(b->sum);
	free(b);
}

int bench_tier_again(const char *dir, uint64_t part_bytes, uint32_t parts,
		     uint64_t *ret_ns, uint64_t *ret_parts)
{
	const struct tier_ops *ops = tier_find(OC_TIER_NVME);
	uint64_t start = clock_ns();
	struct tier_stat stat;
	struct tier *t;
	int r = tier_up(ops, dir, tier_bytes(part_bytes, parts), 64, &t);

	if (r)
		return r;
	*ret_ns = clock_ns() - start;
	ops->stat(t, &stat);
	*ret_parts = stat.parts;
	(void)ops->stop(t, clock_ns() + STOP_NS);
	ops->close(t);
	return 0;
}

/* ---- passes ------------------------------------------------------------------------ */

static void pass_begin(struct bench_tier *b, struct bench_slot *s);

static void pass_done(struct tier_move *m, int result)
{
	struct bench_slot *s = container_of(m, struct bench_slot, move);
	struct bench_tier *b = s->of;

	s->flies = false;
	b->flying--;
	b->ended++;
	if (result && !b->error)
		b->error = result < 0 ? result : -ESTALE;
	/* the next one goes out while others are still with the drive */
	pass_begin(b, s);
}

/* The next part into a slot that is free; the tier may be full for now. */
static void pass_begin(struct bench_tier *b, struct bench_slot *s)
{
	uint32_t part = b->begun;
	int r;

	if (b->error || part == b->parts)
		return;
	if (b->order)
		part = b->order[part];
	s->part = part;
	s->move = (struct tier_move){
		.done = pass_done,
		.id = part_id(b, part),
		.data = slot_data(b, (uint32_t)(s - b->slot)),
		.room = b->part_bytes,
		.urgency = b->writes ? TIER_BEHIND : TIER_WAITED,
		.block = { .checksum = b->writes ? b->sum[part] : 0,
			   .extent = b->writes
					     ? frame_extent(
						       (uint32_t)b->part_bytes,
						       16)
					     : 0 },
	};
	r = b->writes ? b->ops->write(b->tier, &s->move)
		      : b->ops->read(b->tier, &s->move);
	if (r == 0) {
		s->flies = true;
		b->begun++;
		b->flying++;
	} else if (r != -EAGAIN && r != -ENOSPC) {
		b->error = r < 0 ? r : -ENODATA;
	}
}

static int pass_run(struct bench_tier *b, struct bench_pass *ret_pass)
{
	uint64_t start = clock_ns();
	double cpu = bench_cpu_s();

	b->begun = b->ended = b->flying = 0;
	b->error = 0;
	for (uint32_t i = 0; i < b->depth; i++)
		b->slot[i].of = b;
	while (b->flying || (b->ended < b->parts && !b->error)) {
		for (uint32_t i = 0; i < b->depth && b->begun < b->parts; i++)
			if (!b->slot[i].flies)
				pass_begin(b, &b->slot[i]);
		tier_turn(b->ops, b->tier);
	}
	ret_pass->seconds = (double)(clock_ns() - start) / 1e9;
	ret_pass->cpu_s = bench_cpu_s() - cpu;
	if (b->error)
		fprintf(stderr, "onecopy: bench: the tier: %s\n",
			strerror(-b->error));
	return b->error;
}

int bench_tier_write(struct bench_tier *b, struct bench_pass *ret_pass)
{
	b->writes = true;
	free(b->order);
	b->order = NULL;
	/* A block's checksum is known since it was sealed. Which slot a part
	 * goes through is not known here: all hold the same bytes. */
	for (uint32_t i = 1; i < b->depth; i++)
		memcpy(slot_data(b, i), slot_data(b, 0), b->part_bytes);
	for (uint32_t i = 0; i < b->parts; i++) {
		struct tier_id id = part_id(b, i);

		b->sum[i] =
			hash_payload(b->area, b->part_bytes, part_seed(&id));
	}
	return pass_run(b, ret_pass);
}

int bench_tier_read(struct bench_tier *b, bool shuffled,
		    struct bench_pass *ret_pass)
{
	struct rng rng = { 3 };

	b->writes = false;
	free(b->order);
	b->order = NULL;
	if (shuffled) {
		b->order = mem_array(b->parts, sizeof(*b->order));
		if (!b->order)
			return -ENOMEM;
		for (uint32_t i = 0; i < b->parts; i++)
			b->order[i] = i;
		for (uint32_t i = b->parts - 1; i > 0; i--) {
			uint32_t k = (uint32_t)rng_below(&rng, i + 1);
			uint32_t was = b->order[i];

			b->order[i] = b->order[k];
			b->order[k] = was;
		}
	}
	return pass_run(b, ret_pass);
}
