/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the RESP door costs: the same client against a private node, against
 * redis-server, and against a bare socket that moves the same bytes.
 *
 * A run goes through the phases; in a phase the peers take turns in rounds of
 * half a second, so that noise of the machine meets all alike. A peer's value
 * of a run is the median of its rounds; ratios are taken run by run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench.h"
#include "bench_resp.h"
#include "bench_resp_load.h"

#define RESP_MIB      (1ull << 20)
#define RESP_ROUND_NS (NS_PER_S / 2)
#define RESP_ROUNDS   3 /* of the phases with a limit; odd */
#define RESP_NO_REDIS \
	"redis-server is not installed: apt-get install redis-server"
/* The node's, redis-server's, the bare socket's and the client's. */
#define RESP_MEMORY (BENCH_PEER_DRAM + 3072 * RESP_MIB)

#define BY(kind_) (1u << (kind_))
#define BY_STORES (BY(PEER_ONECOPY) | BY(PEER_REDIS))
#define BY_ALL	  (BY_STORES | BY(PEER_SOCKET))

enum resp_phase {
	SET_4M,
	GET_4M,
	SET_64,
	GET_64,
	EXISTS,
	SET_1M,
	GET_1M,
	SET_16M,
	GET_16M,
	PHASES
};

static const struct phase {
	const char *name;
	enum load_op op;
	uint64_t bytes;
	unsigned keys, rounds, peers;
} phases[PHASES] = {
	[SET_4M] = { "set_4m", LOAD_SET, 4 * RESP_MIB, 64, RESP_ROUNDS,
		     BY_ALL },
	[GET_4M] = { "get_4m", LOAD_GET, 4 * RESP_MIB, 64, RESP_ROUNDS,
		     BY_ALL },
	[SET_64] = { "set_64", LOAD_SET, 64, 16384, RESP_ROUNDS, BY_STORES },
	[GET_64] = { "get_64", LOAD_GET, 64, 16384, RESP_ROUNDS, BY_STORES },
	[EXISTS] = { "exists", LOAD_EXISTS, 64, 16384, RESP_ROUNDS, BY_STORES },
	[SET_1M] = { "set_1m", LOAD_SET, RESP_MIB, 256, 1, BY_ALL },
	[GET_1M] = { "get_1m", LOAD_GET, RESP_MIB, 256, 1, BY_ALL },
	[SET_16M] = { "set_16m", LOAD_SET, 16 * RESP_MIB, 16, 1, BY_ALL },
	[GET_16M] = { "get_16m", LOAD_GET, 16 * RESP_MIB, 16, 1, BY_ALL },
};

/* Of one phase and peer, by run. */
struct measured {
	double rate[BENCH_RUNS_MAX]; /* B/s of values; commands a second */
	double cpu[BENCH_RUNS_MAX];  /* processor seconds per 1e9 bytes */
};

struct resp {
	struct bench_peer peer[PEERS];
	struct bench_load *load;
	bool redis;
	struct measured of[PHASES][PEERS];
	/* of the phase's rounds */
	double rate[PEERS][RESP_ROUNDS], cpu[PEERS][RESP_ROUNDS];
};

/* ---- measuring ----------------------------------------------------------------- */

static bool resp_large(const struct phase *p)
{
	return p->bytes >= RESP_MIB;
}

static bool resp_takes(const struct resp *s, const struct phase *p,
		       unsigned kind)
{
	return (p->peers & BY(kind)) && (kind != PEER_REDIS || s->redis);
}

static int resp_round(struct resp *s, const struct phase *p, unsigned kind,
		      unsigned round)
{
	const struct load_plan plan = { .op = p->op,
					.bytes = p->bytes,
					.keys = p->keys,
					.ns = RESP_ROUND_NS };
	struct bench_peer *peer = &s->peer[kind];
	struct load_done done;
	uint64_t before, after;
	int r = bench_peer_cpu(peer, &before);

	if (r == 0)
		r = bench_load_run(s->load, peer, &plan, &done);
	if (r == 0)
		r = bench_peer_cpu(peer, &after);
	if (r)
		return r;
	s->rate[kind][round] =
		(double)(resp_large(p) ? done.bytes : done.commands) * 1e9 /
		(double)done.ns;
	s->cpu[kind][round] =
		(double)(after - before) / (double)MAX(done.bytes, 1);
	return 0;
}

/* The rounds of one phase; each time another peer begins. */
static int resp_phase(struct bench *b, struct resp *s, enum resp_phase phase,
		      uint32_t run)
{
	const struct phase *p = &phases[phase];

	for (unsigned i = 0; i < p->rounds * PEERS; i++) {
		unsigned kind = (i + i / PEERS + run) % PEERS;
		int r = bench_late(b) ? -ETIME : 0;

		if (r == 0 && resp_takes(s, p, kind))
			r = resp_round(s, p, kind, i / PEERS);
		if (r)
			return r;
	}
	for (unsigned kind = 0; kind < PEERS; kind++) {
		struct measured *m = &s->of[phase][kind];

		if (!resp_takes(s, p, kind))
			continue;
		m->rate[run] = bench_median(s->rate[kind], p->rounds);
		m->cpu[run] = bench_median(s->cpu[kind], p->rounds);
	}
	return 0;
}

/* Each key once: the working set is there before a round begins. */
static int resp_fill(struct resp *s)
{
	for (unsigned i = 0; i < PHASES; i++) {
		struct load_plan plan = { .op = LOAD_SET,
					  .bytes = phases[i].bytes,
					  .keys = phases[i].keys };
		struct load_done done;

		if (phases[i].op != LOAD_SET)
			continue;
		for (unsigned kind = 0; kind < PEERS; kind++) {
			int r = 0;

			if (resp_takes(s, &phases[i], kind))
				r = bench_load_run(s->load, &s->peer[kind],
						   &plan, &done);
			if (r)
				return r;
		}
	}
	return 0;
}

/* ---- figures --------------------------------------------------------------------- */

static const char *resp_against(const struct resp *s, unsigned kind)
{
	return s->peer[kind].version;
}

/* Ratio of two peers' rates, run by run. */
static void resp_rate(struct bench *b, struct resp *s, const char *name,
		      enum resp_phase phase, unsigned kind, double wanted)
{
	struct bench_figure f = {
		.name = name,
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = wanted,
		.against = resp_against(s, kind),
		.reference = 1,
	};
	struct measured *m = s->of[phase];
	double ratio[BENCH_RUNS_MAX];

	if (kind == PEER_REDIS && !s->redis) {
		bench_unmeasured(b, name, RESP_NO_REDIS);
		return;
	}
	for (uint32_t i = 0; i < b->runs; i++)
		ratio[i] = m[PEER_ONECOPY].rate[i] / m[kind].rate[i];
	bench_report(b, &f, ratio, b->runs);
}

static void resp_cpu(struct bench *b, struct resp *s, const char *name,
		     enum resp_phase phase)
{
	struct bench_figure f = {
		.name = name,
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 0.7,
		.against = resp_against(s, PEER_REDIS),
		.reference = 1,
	};
	struct measured *m = s->of[phase];
	double ratio[BENCH_RUNS_MAX];

	if (!s->redis) {
		bench_unmeasured(b, name, RESP_NO_REDIS);
		return;
	}
	for (uint32_t i = 0; i < b->runs; i++)
		ratio[i] = m[PEER_ONECOPY].cpu[i] / m[PEER_REDIS].cpu[i];
	bench_report(b, &f, ratio, b->runs);
}

/* Of 64-byte SET and GET, the one where the door does worse. */
static void resp_small(struct bench *b, struct resp *s)
{
	struct bench_figure f = {
		.name = "small_vs_redis",
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = 1,
		.against = resp_against(s, PEER_REDIS),
		.reference = 1,
	};
	double least[BENCH_RUNS_MAX], ratio[2][BENCH_RUNS_MAX];

	if (!s->redis) {
		bench_unmeasured(b, f.name, RESP_NO_REDIS);
		return;
	}
	for (uint32_t i = 0; i < b->runs; i++) {
		for (unsigned k = 0; k < 2; k++) {
			struct measured *m = s->of[k ? GET_64 : SET_64];

			ratio[k][i] =
				m[PEER_ONECOPY].rate[i] / m[PEER_REDIS].rate[i];
		}
		least[i] = MIN(ratio[0][i], ratio[1][i]);
	}
	bench_report(b, &f, least, b->runs);
	bench_inform(b, "small_set_vs_redis", "x", ratio[0], b->runs);
	bench_inform(b, "small_get_vs_redis", "x", ratio[1], b->runs);
}

/* Absolute values, for who wants to know: they judge nothing. */
static void resp_absolute(struct bench *b, struct resp *s)
{
	static const char *const who[PEERS] = { "onecopy", "redis", "socket" };

	for (unsigned i = 0; i < PHASES; i++) {
		const struct phase *p = &phases[i];
		bool large = resp_large(p);
		char name[48];

		for (unsigned kind = 0; kind < PEERS; kind++) {
			struct measured *m = &s->of[i][kind];

			if (!resp_takes(s, p, kind))
				continue;
			snprintf(name, sizeof(name), "%s_%s", p->name,
				 who[kind]);
			for (uint32_t k = 0; large && k < b->runs; k++)
				m->rate[k] /= 1e9;
			bench_inform(b, name, large ? "GB/s" : "1/s", m->rate,
				     b->runs);
			if (!large)
				continue;
			snprintf(name, sizeof(name), "%s_cpu_%s", p->name,
				 who[kind]);
			bench_inform(b, name, "s/GB", m->cpu, b->runs);
		}
	}
}

static void resp_figures(struct bench *b, struct resp *s)
{
	resp_rate(b, s, "set_vs_socket", SET_4M, PEER_SOCKET, 0.85);
	resp_rate(b, s, "get_vs_socket", GET_4M, PEER_SOCKET, 0.9);
	resp_rate(b, s, "set_vs_redis", SET_4M, PEER_REDIS, 1.5);
	resp_rate(b, s, "get_vs_redis", GET_4M, PEER_REDIS, 1.15);
	resp_cpu(b, s, "set_cpu_per_gb", SET_4M);
	resp_cpu(b, s, "get_cpu_per_gb", GET_4M);
	resp_small(b, s);
	resp_rate(b, s, "exists_vs_redis", EXISTS, PEER_REDIS, 1);
	resp_absolute(b, s); /* last: it sorts and scales the values */
}

/* ---- the bench -------------------------------------------------------------------- */

static int resp_peers(struct bench *b, struct resp *s)
{
	int r = bench_peer_start(&s->peer[PEER_SOCKET], PEER_SOCKET);

	if (r == 0)
		r = bench_peer_start(&s->peer[PEER_ONECOPY], PEER_ONECOPY);
	if (r)
		return r;
	r = bench_peer_start(&s->peer[PEER_REDIS], PEER_REDIS);
	s->redis = r == 0;
	if (r && r != -ENOENT)
		return r;
	json_object_set_new(b->machine, "redis",
			    s->redis ? json_string(s->peer[PEER_REDIS].version)
				     : json_null());
	if (!b->figures)
		printf("%s; %s\n\n", s->peer[PEER_ONECOPY].version,
		       s->redis ? s->peer[PEER_REDIS].version : RESP_NO_REDIS);
	return 0;
}

static int resp_runs(struct bench *b, struct resp *s)
{
	char text[64];
	int r = 0;

	for (unsigned kind = 0; r == 0 && kind < PEERS; kind++)
		if (kind != PEER_REDIS || s->redis)
			r = bench_load_connect(s->load, &s->peer[kind]);
	if (r == 0)
		r = resp_fill(s);
	for (uint32_t run = 0; r == 0 && run < b->runs; run++) {
		for (unsigned i = 0; r == 0 && i < PHASES; i++) {
			snprintf(text, sizeof(text), "resp: run %u of %u, %s",
				 run + 1, b->runs, phases[i].name);
			bench_says(text);
			r = resp_phase(b, s, i, run);
		}
	}
	bench_says(NULL);
	return r;
}

int bench_resp(struct bench *b)
{
	struct resp *s;
	int r;

	if (bench_memory_free() < RESP_MEMORY) {
		fprintf(stderr,
			"onecopy: bench: resp: too little memory: %llu "
			"MiB are needed\n",
			(unsigned long long)(RESP_MEMORY / RESP_MIB));
		return -ENOMEM;
	}
	s = calloc(1, sizeof(*s));
	r = s ? resp_peers(b, s) : -ENOMEM;
	if (r == 0)
		r = bench_resp_idle(b, &s->peer[PEER_ONECOPY]);
	if (r == 0)
		r = bench_load_open(&s->load);
	if (r == 0)
		r = resp_runs(b, s);
	if (r == 0)
		resp_figures(b, s);
	if (s)
		bench_load_close(s->load);
	for (unsigned kind = 0; s && kind < PEERS; kind++)
		bench_peer_stop(&s->peer[kind]);
	free(s);
	return r;
}
