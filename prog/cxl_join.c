/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy cxl join: a member in the foreground, until it is asked to end or was
 * declared dead. With --work it does what nodes do, and checks each byte: it
 * pins blocks of all shards and writes those that are missing into its own.
 *
 * Memory that fails (a file that was cut, a page that the device has lost) costs the
 * block that lay there, which is said and counted, and is in the exit status. Where
 * the member itself cannot go on, its own pins or the control area, it ends with a
 * message, and does not leave: what there is to be written for that may have gone
 * too, and its end is proof enough for the others.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/rng.h"
#include "cxl.h"
#include "cxl_region.h"
#include "payload.h"
#include "stop.h"

#define JOIN_HELD 8u /* pins kept while other work is done */

struct join {
	const struct command *command;
	const char *path, *name;
	uint64_t shards, work, bytes, operations, seed;
	bool adopt, json;
	struct region *region;
	struct rng rng;
	unsigned char *data;
	struct region_pin pin[JOIN_HELD];
	uint64_t pinned[JOIN_HELD]; /* block + 1; 0: none */
	uint64_t done, hits, remote, misses, sealed, full, wrong, lost;
};

static const struct cli_option join_options[] = {
	{ 'n', "name", "NAME", "the host's", "what status calls it" },
	{ 'S', "shards", "N", "1", "shards to own; 0: only read" },
	{ 'a', "adopt", NULL, NULL,
	  "take over the shards of members that are proved dead" },
	{ 'w', "work", "N", NULL,
	  "pin, verify and write blocks 0 to N-1 at random" },
	{ 'b', "bytes", "SIZE", "a frame", "of each block that --work writes" },
	{ 'o', "operations", "N", "without end", "then leave" },
	{ CLI_LONG, "seed", "N", "1", "of --work" },
	{ 'j', "json", NULL, NULL, "print JSON, a line a second" },
	CLI_END
};

/* ---- work ---------------------------------------------------------------------------- */

static int block_name(const struct join *j, uint64_t block, struct oc_key *key,
		      struct region_name *name)
{
	int r = payload_key("region", 0, block, key);

	(void)j;
	*name = (struct region_name){ .ns = { 0x6e6f69676572, 1, 2, 3 } };
	memcpy(name->key, key->bytes, sizeof(name->key));
	return r;
}

/* What is done in a guard. */
struct touch {
	const struct oc_key *key;
	const struct region_pin *pin;
	uint64_t result;
};

static void touch_verify(void *ctx)
{
	struct touch *t = ctx;

	t->result = payload_wrong(t->key, t->pin->data, t->pin->bytes);
}

/* The first ones are told one by one. */
#define LOST_TOLD 8u

static void join_lost(struct join *j, uint32_t shard, uint32_t frame)
{
	if (j->lost++ < LOST_TOLD)
		fprintf(stderr,
			"onecopy cxl join: shard %u frame %u: its memory "
			"fails; the block is lost\n",
			shard, frame);
}

/* A block has the length that its writer gave it; where it is not ours, the
 * checksum says whether it is right. */
static int join_verify(struct join *j, const struct oc_key *key,
		       const struct region_name *name,
		       const struct region_pin *pin)
{
	struct touch t = { .key = key, .pin = pin };

	if (guard_run(touch_verify, &t, NULL)) {
		join_lost(j, pin->shard, pin->frame);
		/* its owner is told */
		return region_verify(j->region, name, pin) == REGION_STALE
			       ? REGION_STALE
			       : 0;
	}
	if (!t.result && pin->bytes != j->bytes &&
	    region_verify(j->region, name, pin))
		t.result = pin->bytes;
	if (t.result)
		fprintf(stderr,
			"onecopy cxl join: shard %u frame %u: %llu wrong "
			"bytes\n",
			pin->shard, pin->frame, (unsigned long long)t.result);
	j->wrong += t.result;
	return 0;
}

/* The block that was pinned some time ago is still what it was. */
static int join_let_go(struct join *j, unsigned at)
{
	struct region_name name;
	struct oc_key key;
	int r;

	if (!j->pinned[at])
		return 0;
	r = block_name(j, j->pinned[at] - 1, &key, &name);
	if (r)
		return r;
	r = join_verify(j, &key, &name, &j->pin[at]);
	if (r)
		return r;
	region_unpin(j->region, &j->pin[at]);
	j->pinned[at] = 0;
	return 0;
}

/* region_put(), which would not say where memory has failed. */
static int join_put(struct join *j, const struct region_name *name)
{
	struct region_grant grant;
	uint64_t checksum;
	int r = region_grant(j->region, name, j->bytes, 0, 0, &grant);

	if (r)
		return r == -EIO ? REGION_FULL : r; /* a shard is of no use */
	r = region_fill(j->region, &grant, j->data, j->bytes, &checksum);
	if (r == 0)
		r = region_seal(j->region, &grant, j->bytes, 0, checksum);
	if (r != -EIO)
		return r;
	join_lost(j, grant.shard, grant.frame);
	return REGION_FULL;
}

static int join_write(struct join *j, const struct oc_key *key,
		      const struct region_name *name)
{
	int r;

	j->misses++;
	payload_make(key, j->data, j->bytes);
	r = join_put(j, name);
	j->sealed += r == 0;
	j->full += r == REGION_FULL;
	return r == REGION_EXISTS || r == REGION_FULL ? 0 : r;
}

static int join_once(struct join *j)
{
	unsigned at = (unsigned)(j->done++ % JOIN_HELD);
	uint64_t block = rng_below(&j->rng, j->work);
	struct region_name name;
	struct oc_key key;
	int r = join_let_go(j, at);

	if (r == 0)
		r = block_name(j, block, &key, &name);
	if (r)
		return r;
	r = region_pin(j->region, &name, &j->pin[at]);
	if (r == REGION_MISS)
		return j->shards ? join_write(j, &key, &name) : 0;
	if (r)
		return r;
	j->hits++;
	j->remote += !region_owns(j->region, j->pin[at].shard);
	j->pinned[at] = block + 1;
	return join_verify(j, &key, &name, &j->pin[at]);
}

/* ---- life ----------------------------------------------------------------------------- */

static void join_tell(const struct join *j)
{
	struct region_member_status s;
	uint32_t member = 0;
	uint64_t inc = 0;

	if (region_self(j->region, &member, &inc))
		return;
	region_member_status(j->region, member, &s);
	if (j->json)
		printf("{\"member\": %u, \"incarnation\": %llu, \"shards\": "
		       "%u, \"operations\": %llu, \"hits\": %llu, \"remote\": "
		       "%llu, \"sealed\": %llu, \"evicted\": %llu, \"full\": "
		       "%llu, \"wrong_bytes\": %llu, \"lost\": %llu}\n",
		       member, (unsigned long long)inc, s.shards,
		       (unsigned long long)j->done, (unsigned long long)j->hits,
		       (unsigned long long)j->remote,
		       (unsigned long long)j->sealed,
		       (unsigned long long)s.count[REGION_C_evictions],
		       (unsigned long long)j->full,
		       (unsigned long long)j->wrong,
		       (unsigned long long)j->lost);
	else
		printf("member %u.%llu: %u shards, %llu operations, %llu hits "
		       "(%llu of others), %llu sealed, %llu wrong bytes, %llu "
		       "lost\n",
		       member, (unsigned long long)inc, s.shards,
		       (unsigned long long)j->done, (unsigned long long)j->hits,
		       (unsigned long long)j->remote,
		       (unsigned long long)j->sealed,
		       (unsigned long long)j->wrong,
		       (unsigned long long)j->lost);
	fflush(stdout);
}

static bool join_over(const struct join *j)
{
	return stop_wanted() || (j->operations && j->done >= j->operations);
}

/* Until the next heartbeat. The clock is asked after each operation: with large
 * frames a few of them are as long as a lease. */
static int join_work(struct join *j, uint64_t until)
{
	int r = 0;

	do
		r = join_once(j);
	while (r == 0 && !join_over(j) && clock_ns() < until);
	return r;
}

static int join_live(struct join *j)
{
	uint64_t step =
		region_geometry_of(j->region)->lease_ms * NS_PER_MS / 10;
	uint64_t tick = 0, told = clock_ns();
	int r = 0;

	join_tell(j);
	while (r == 0 && !join_over(j)) {
		uint64_t now = clock_ns();

		if (now - tick >= step) {
			r = region_tick(j->region);
			tick = now;
		}
		if (now - told >= NS_PER_S && (j->work || j->json)) {
			join_tell(j);
			told = now;
		}
		if (r == 0 && j->work)
			r = join_work(j, tick + step);
		else if (r == 0)
			poll(NULL, 0, (int)MAX(step / NS_PER_MS, 1));
	}
	return r;
}

static int join_end(struct join *j)
{
	int r = 0;

	for (unsigned i = 0; i < JOIN_HELD && r == 0; i++)
		r = join_let_go(j, i);
	join_tell(j);
	return r ? r : region_leave(j->region);
}

static int join_region(struct join *j)
{
	struct region_join_options o = { .size = sizeof(o),
					 .name = j->name,
					 .shards = (uint32_t)j->shards,
					 .adopt = j->adopt };
	uint64_t frame = region_geometry_of(j->region)->frame_bytes;
	int r;

	if (!j->bytes)
		j->bytes = frame;
	if (j->bytes > frame)
		return cli_fail(j->command, PROG_USAGE,
				"blocks of %llu bytes in frames of %llu",
				(unsigned long long)j->bytes,
				(unsigned long long)frame);
	j->data = aligned_alloc(PAGE_BYTES, ALIGN_UP(j->bytes, PAGE_BYTES));
	r = j->data ? region_join(j->region, &o) : -ENOMEM;
	if (r == 0)
		r = join_live(j);
	if (r == 0)
		r = join_end(j);
	free(j->data);
	if (r)
		return cxl_say(j->command, j->path, r);
	return j->wrong ? PROG_FAILED : j->lost ? PROG_SYSTEM : PROG_OK;
}

static int join_option(struct join *j, const struct cli *c, int id)
{
	switch (id) {
	case 'n':
		j->name = c->value;
		return c->value[0] && region_name_is_good(c->value)
			       ? 0
			       : cli_fail(j->command, PROG_USAGE,
					  "a name is 1 to %d printable "
					  "characters of ASCII, and no number",
					  REGION_NAME);
	case 'S':
		return cli_number(c, 0, REGION_SHARDS_MAX, &j->shards);
	case 'w':
		return cli_number(c, 1, UINT64_MAX, &j->work);
	case 'b':
		return cli_size(c, 0, &j->bytes);
	case 'o':
		return cli_number(c, 1, UINT64_MAX, &j->operations);
	case CLI_LONG:
		return cli_number(c, 0, UINT64_MAX, &j->seed);
	case 'a':
		j->adopt = true;
		return 0;
	default:
		j->json = true;
		return 0;
	}
}

static int join_run(const struct command *self, int argc, char **argv)
{
	struct join j = { .command = self, .shards = 1, .seed = 1 };
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while (r == 0 && (id = cli_next(&c)) > 0)
		r = join_option(&j, &c, id);
	if (r == 0 && id < 0)
		return c.status;
	if (r == 0)
		r = cli_words(&c, 1, 1);
	if (r == 0 && j.operations && !j.work)
		r = cli_fail(self, PROG_USAGE, "--operations wants --work");
	if (r == 0)
		r = cxl_open(&c, &j.region);
	if (r)
		return r;
	j.path = c.argv[c.first];
	j.rng.state = j.seed;
	stop_catch();
	if (!j.json)
		cxl_region_print(j.region);
	r = join_region(&j);
	region_close(j.region);
	return r;
}

const struct command cxl_command_join = {
	.name = "cxl join",
	.summary = "be a member of a region until told to end",
	.usage = "[OPTIONS] PATH",
	.options = join_options,
	.run = join_run,
};
