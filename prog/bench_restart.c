/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a crash costs: the server is killed with a million blocks resident.
 * Measured until a client that was there before has sealed a new block; then
 * every block is looked up, and some are verified.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench.h"
#include "payload.h"

#define RESTART_SAMPLE 20000u

static int restart_count_lost(struct bench_pool *p, uint64_t seed,
			      double *ret_lost)
{
	struct oc_part part = { 0, 0 };
	struct rng rng = { seed };
	struct oc_pin pin;
	uint64_t lost = 0;

	for (uint64_t i = 0; i < p->blocks; i++)
		lost += oc_exists(p->ns, &p->key[i], part) != 0;
	for (uint32_t i = 0; i < RESTART_SAMPLE; i++) {
		const struct oc_key *key = &p->key[rng_below(&rng, p->blocks)];
		int r = oc_pin(p->ns, key, part, OC_PIN_NO_TOUCH, &pin);

		if (r < 0)
			return r;
		if (r)
			continue; /* already counted as lost */
		lost += payload_wrong(key, pin.data, pin.bytes) != 0;
		oc_unpin(p->ns, &pin);
	}
	*ret_lost = (double)lost;
	return 0;
}

static int restart_once(struct bench_pool *p, double *ret_ms)
{
	struct oc_part part = { 0, 0 };
	struct oc_key key;
	uint64_t start;
	pid_t pid = 0;
	int r = node_server_pid(p->client, &pid);

	if (r == 0)
		r = payload_key("restart", 0, p->next++, &key);
	if (r)
		return r;
	payload_make(&key, p->scratch, p->block_bytes);
	start = clock_ns();
	if (kill(pid, SIGKILL))
		return -errno;
	r = oc_put(p->ns, &key, part, p->scratch, p->block_bytes,
		   30 * NS_PER_S);
	*ret_ms = (double)(clock_ns() - start) / NS_PER_MS;
	return r > 0 ? -EIO : r;
}

int bench_restart(struct bench *b)
{
	static const struct bench_figure ms = {
		.name = "restart_ms", .unit = "ms", .sense = BENCH_AT_MOST,
		.wanted = 500, .reference = 500,
		.against = "a limit: 500 ms from SIGKILL to the next seal",
	}, gone = {
		.name = "restart_lost", .unit = "blocks",
		.sense = BENCH_AT_MOST, .wanted = 0,
		.against = "all blocks looked up, 20,000 of them verified",
	};
	double times[BENCH_RUNS_MAX], lost[BENCH_RUNS_MAX];
	struct bench_pool *p = bench_large(b);
	int r = p ? 0 : -ENODEV;

	for (uint32_t i = 0; r == 0 && i < b->runs; i++) {
		r = bench_late(b) ? -ETIME : restart_once(p, &times[i]);
		if (r == 0)
			r = restart_count_lost(p, i, &lost[i]);
	}
	if (r) {
		if (p && r != -ETIME)
			fprintf(stderr, "onecopy: bench: restart: %s\n",
				oc_client_error(p->client));
		return r;
	}
	bench_report(b, &ms, times, b->runs);
	bench_report(b, &gone, lost, b->runs);
	return 0;
}
