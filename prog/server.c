/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: one loop over everything. It may die at any instruction; what it
 * must not lose is in shared memory and in the keeper's hands.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/text.h"
#include "below.h"
#include "low.h"
#include "doors.h"
#include "exit.h"
#include "front/native/native.h"
#include "front/report/report.h"
#include "keep.h"
#include "share.h"
#include "loop/loop.h"
#include "shm/segment.h"
#include "store/shard.h"
#include "store/store.h"
#include "tier/cxl/cxl.h"
#include "tier/speed.h"
#include "tier/tier.h"

static struct tier_price low_price; /* measure_low()'s, as it may be left */

/* How often descriptors are looked at while rings are busy. */
#define LOOK_NS (50 * NS_PER_US)
/* How long the lock of a keeper that is gone is waited for. */
#define LOCK_NS (5 * NS_PER_S)
#define TIER_NS (60 * NS_PER_S)
#define LOW_NS	(1 * NS_PER_S)

struct server {
	const struct node_config *config;
	int control, listen;
	int resp_listen, http_listen; /* -1: no such door */
	struct loop *loop;
	struct store *store;
	struct native *native;
	struct doors doors;
	struct below below;
	struct share share;
	struct report report; /* what the doors tell of the node */
	struct hold_set given;
	struct hold_ops hold;
	bool stop, orphaned; /* orphaned: the keeper has died */
	unsigned stops;	     /* how often it was told to */
	bool first;	     /* of the node's servers */
	uint64_t tier_ns;    /* when prices are measured next */
	uint64_t low_ns;     /* when that below DRAM is, without the others */
	struct low low;	     /* memory of the rung below */
};

static int server_hold(void *ctx, const struct hold_tag *tag, int fd)
{
	struct server *v = ctx;

	return keep_send(v->control, KEEP_HOLD, tag, fd);
}

static void server_drop(void *ctx, const struct hold_tag *tag)
{
	struct server *v = ctx;

	keep_send(v->control, KEEP_DROP, tag, -1);
}

static int receive_given(struct server *v)
{
	for (;;) {
		struct pollfd p = { .fd = v->control, .events = POLLIN };
		struct keep_msg m;
		int fd, r = keep_recv(v->control, &m, &fd);

		if (r == -EAGAIN) {
			poll(&p, 1, -1);
			continue;
		}
		if (r < 0)
			return r;
		if (m.op == KEEP_GIVEN) {
			v->first = !m.tag.id;
			return 0;
		}
		if (m.op == KEEP_STOP)
			v->stop = true;
		if (m.op != KEEP_GIVE || fd < 0) {
			fd_close(fd);
			continue;
		}
		r = hold_set_add(&v->given, &m.tag, fd);
		if (r < 0)
			return r;
	}
}

static void on_control(void *ctx, int fd, unsigned events)
{
	struct server *v = ctx;
	struct keep_msg m;
	int got, r;

	(void)events;
	while ((r = keep_recv(fd, &m, &got)) == 0) {
		fd_close(got);
		if (m.op != KEEP_STOP)
			continue;
		v->stop = true;
		v->stops++;
	}
	if (r == -EAGAIN)
		return;
	log_error("the keeper has ended: the node ends");
	v->orphaned = v->stop = true;
}

static void on_store(void *ctx, int fd, unsigned events)
{
	struct server *v = ctx;

	(void)fd;
	(void)events;
	store_ready(v->store, clock_ns());
}

static void answer(void *ctx, struct store_client *c,
		   const struct ring_call *call, const struct ring_answer *a)
{
	struct server *v = ctx;

	if (c->local)
		resp_answer(v->doors.resp, c, call, a);
	else
		native_answer(v->native, c, call, a);
}

static void announce(void *ctx, struct store_client *c)
{
	struct server *v = ctx;

	native_announce(v->native, c);
}

static void ended(void *ctx, struct store_client *c)
{
	struct server *v = ctx;

	native_ended(v->native, c);
}

static void ask(void *ctx, struct store_client *c)
{
	struct server *v = ctx;

	native_ask(v->native, c);
}

static int end_client(void *ctx, struct store_client *c)
{
	struct server *v = ctx;

	return native_end(v->native, c);
}

static uint64_t below_share(void *ctx, const char *tenant)
{
	const struct server *v = ctx;

	return config_tenant_nvme(v->config, tenant);
}

/* The rung below DRAM. A device that has gone since the node's start keeps no
 * server from its work: what is left of it is attached, and there is no more. */
static void make_low(struct server *v, struct store_options *o)
{
	const struct config_cxl *c = &v->config->cxl;
	uint64_t bytes;

	if (!*c->at)
		return;
	config_cxl_source(v->config, &o->low);
	o->low_bytes = c->size & ~(PAGE_BYTES - 1);
	o->low_tenant = *c->tenant ? c->tenant : NULL;
	if (o->low.kind != SEGMENT_DAX)
		return;
	v->low.error = segment_dax_open(c->at, &v->low.fd, &bytes);
	o->low.fd = v->low.fd;
}

static int make_store(struct server *v)
{
	const struct node_config *config = v->config;
	uint64_t memory, dram;
	struct store_options o = {
		.policy = config->eviction == CONFIG_EVICTION_ONECOPY
				  ? &policy_onecopy
				  : &policy_lru,
		.slab_bytes = config->slab_bytes,
		.segment_flags =
			config->huge == CONFIG_HUGE_AUTO ? SEGMENT_TRY_HUGE : 0,
		.grants_per_client = config->granted_frames,
		.prefill_rate = config->prefill_rate,
		.prefill_growth_ps = config->prefill_growth_ps,
		.slab_percent = config->slab_percent,
		.scrub_bytes_per_s = config->scrub_bytes_per_s,
		.sessions = {
			.max = config->sessions.max,
			.per_client = config->sessions.per_client,
			.keys = config->sessions.keys,
			.keys_per_client = config->sessions.keys_per_client,
			.lease_ms = config->sessions.lease_ns / NS_PER_MS,
			.lease_max_ms =
				config->sessions.lease_max_ns / NS_PER_MS,
		},
		.history_bytes = config->history_bytes,
		.hold = &v->hold,
		.below_share = below_share,
		.revoke_ns = config->revoke_ns,
		.revoke_end = config->revoke_end,
		.threaded = true,
		.answer = answer,
		.announce = announce,
		.ended = ended,
		.ask = ask,
		.end = end_client,
		.ctx = v,
	};
	int r = config_memory(&memory);

	if (r < 0)
		return r;
	dram = config_size_bytes(config->dram, memory);
	o.limit_bytes = dram & ~(PAGE_BYTES - 1);
	make_low(v, &o);
	r = store_create(&o, &v->store);
	v->low.store = v->store;
	return r;
}

static void native_tenants(const struct server *v, struct native_options *o)
{
	const struct node_config *config = v->config;
	uint64_t memory = 0, dram;

	config_memory(&memory);
	dram = config_size_bytes(config->dram, memory);
	for (uint32_t i = 0; i < config->n_tenants; i++) {
		const struct config_tenant *t = &config->tenants[i];
		struct native_tenant *to;

		if (o->n_tenants == NATIVE_TENANTS_MAX)
			return;
		to = &o->tenant[o->n_tenants++];
		text_copy(to->name, sizeof(to->name), t->name);
		to->n_uids = MIN(t->n_uids, (uint32_t)NATIVE_UIDS_MAX);
		memcpy(to->uids, t->uids, to->n_uids * sizeof(to->uids[0]));
		_Static_assert(sizeof(to->token_sha256) ==
				       sizeof(t->token_sha256),
			       "all tokens fit");
		memcpy(to->token_sha256, t->token_sha256,
		       sizeof(to->token_sha256));
		to->n_tokens = t->n_tokens;
		config_tenant_quota(config, t->name, dram, &to->quota_bytes,
				    &to->share_bytes);
	}
}

static int make_native(struct server *v)
{
	struct native_options o = {
		.loop = v->loop,
		.store = v->store,
		.hold = &v->hold,
		.listen_fd = v->listen,
		.max_clients = v->config->max_clients,
		.pins = v->config->pins,
		.overflow = v->config->overflow_pins,
		.report = &v->report,
	};

	report_init(&v->report, v->store, v->loop, ONECOPY_VERSION);
	v->report.loop_wanted_epoll = v->config->backend ==
				      CONFIG_BACKEND_EPOLL;
	native_tenants(v, &o);
	return native_create(&o, &v->native);
}

struct alive {
	struct server *v;
	uint32_t pool;
};

static bool client_alive(void *ctx, uint64_t client)
{
	const struct alive *a = ctx;

	return native_alive(&a->v->given, a->pool, client);
}

static int take_over(struct server *v)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct alive a = { v, n };
		struct pool *p;
		int r = store_pool_attach(v->store, n, &v->given, client_alive,
					  &a, &p);

		if (r == -ENOENT)
			continue;
		if (r < 0) {
			log_error("pool %u cannot be taken over: %s", n,
				  strerror(-r));
			return r;
		}
		store_pool_serve(p);
		r = native_adopt(v->native, p, &v->given);
		if (r < 0)
			return r;
	}
	return 0;
}

static void measure_at(void *ctx)
{
	*(int *)ctx = tier_cxl.measure(&low_price);
}

/* What is priced as CXL memory: the rung below, or else the region. */
static unsigned low_samples(struct server *v, const void **chunk)
{
	if (*v->config->cxl.at)
		return store_low_samples(v->store, SPEED_CHUNK,
					 CXL_PRICE_CHUNKS, chunk);
	return store_region_samples(v->store, SPEED_CHUNK, CXL_PRICE_CHUNKS,
				    chunk);
}

static bool low_priced(const struct server *v, const struct pool *p)
{
	return *v->config->cxl.at || store_region_of(v->store, p);
}

/* The rung below, as soon as enough lies there. Memory that fails meanwhile is
 * found by others. */
static void measure_low(struct server *v, uint64_t now_ns)
{
	const void *chunk[CXL_PRICE_CHUNKS];
	int r = -ENODEV;

	v->low_ns = now_ns + LOW_NS;
	if (!*v->config->cxl.at && !v->share.joined)
		return;
	cxl_price_of(chunk, low_samples(v, chunk));
	if (guard_run(measure_at, &r, NULL) < 0)
		r = -EIO;
	cxl_price_of(NULL, 0);
	for (uint32_t n = 0; r == 0 && n < STORE_POOLS_MAX; n++) {
		struct pool *p = store_pool(v->store, n);

		if (p && low_priced(v, p))
			tier_publish_price(tier_cxl.kind, &low_price, p->m,
					   now_ns / NS_PER_MS);
	}
	if (r == 0)
		v->low_ns = UINT64_MAX; /* with the others */
}

static void measure_tiers(struct server *v, uint64_t now_ns)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = store_pool(v->store, n);

		if (p)
			tier_publish(&tier_dram, p->m, now_ns / NS_PER_MS);
	}
	measure_low(v, now_ns);
	v->tier_ns = now_ns + TIER_NS;
}

static int serve(struct server *v)
{
	const struct keep_msg alive = { .op = KEEP_ALIVE };
	uint64_t tick = 0, look = 0, beat = 0;
	int r;

	while (!v->stop) {
		uint64_t now = clock_ns();
		bool awake, busy = native_turn(v->native, now, &awake);
		uint64_t next;

		store_settle(v->store, now);
		below_turn(&v->below, now);
		low_turn(&v->low, now);
		share_turn(&v->share, now);
		next = doors_turn(&v->doors, now);
		if (now >= tick) {
			tick = now + store_tick(v->store, now);
			if (v->doors.resp)
				resp_tick(v->doors.resp, now);
		}
		if (now >= beat) {
			/* a keeper that does not read misses it: no matter */
			segment_send(v->control, &alive, sizeof(alive), NULL,
				     0);
			beat = now + KEEP_BEAT_NS;
		}
		if (now >= v->tier_ns && !busy)
			measure_tiers(v, now);
		else if (now >= v->low_ns && !busy)
			measure_low(v, now);
		awake = awake || store_region_busy(v->store);
		if (awake && now < look) {
			cpu_relax();
			continue;
		}
		r = loop_run(v->loop,
			     awake ? 0 : MAX(MIN(tick, next), now) - now);
		if (r < 0) { /* something may stay unheard: start afresh */
			log_error("the event loop failed: %s", strerror(-r));
			return r;
		}
		look = clock_ns() + LOOK_NS;
	}
	return 0;
}

static void say_stopped(struct server *v)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = store_pool(v->store, n);

		if (p)
			shared_store64_release(&p->m->header.state,
					       POOL_STOPPED);
	}
	native_stop(v->native);
}

/* A killed keeper's descriptors are closed one after the other, the memory that
 * some of them hold is freed in between, and the lock's turn comes late. */
static bool lock_comes(int fd)
{
	const struct timespec pause = { .tv_nsec = 10 * NS_PER_MS };
	uint64_t end = clock_ns() + LOCK_NS;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (clock_ns() > end)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* False: told to stop once more. */
static bool say_alive(void *ctx)
{
	const struct keep_msg alive = { .op = KEEP_ALIVE };
	struct server *v = ctx;

	segment_send(v->control, &alive, sizeof(alive), NULL, 0);
	if (!v->orphaned)
		on_control(v, v->control, LOOP_IN);
	return v->stops < 2;
}

/* The keeper is gone: what it would have cleaned away. */
static void clean_place(const struct server *v)
{
	char path[CONFIG_PATH], lock[CONFIG_PATH + 8];
	CLEANUP(fd_close_at) int fd = -1;

	if (keep_socket_path(v->config, path, sizeof(path)) < 0)
		return;
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	/* a new node may be there already: then the lock is its */
	if (fd < 0 || !lock_comes(fd))
		return;
	unlink(path);
	unlink(lock);
}

static int set_up(struct server *v)
{
	static const enum loop_backend backends[] = {
		[CONFIG_BACKEND_AUTO] = LOOP_AUTO,
		[CONFIG_BACKEND_URING] = LOOP_URING,
		[CONFIG_BACKEND_EPOLL] = LOOP_EPOLL,
	};
	int r = receive_given(v);

	if (r < 0)
		return r;
	v->listen =
		hold_set_take(&v->given, HOLD_LISTEN, 0, HOLD_LISTEN_NATIVE);
	v->resp_listen =
		hold_set_take(&v->given, HOLD_LISTEN, 0, HOLD_LISTEN_RESP);
	v->http_listen =
		hold_set_take(&v->given, HOLD_LISTEN, 0, HOLD_LISTEN_HTTP);
	r = loop_create(backends[v->config->backend], &v->loop);
	if (r == 0)
		r = make_store(v);
	if (r == 0)
		r = make_native(v);
	if (r == 0)
		r = below_begin(&v->below, v->config, v->loop, v->store,
				&v->report, v->first);
	if (r == 0)
		r = take_over(v);
	if (r == 0)
		share_begin(&v->share, v->config, v->control, v->store,
			    &v->report, clock_ns());
	if (r == 0)
		r = loop_add(v->loop, v->control, LOOP_IN, on_control, v);
	if (r == 0)
		r = loop_add(v->loop, store_fd(v->store), LOOP_IN, on_store, v);
	if (r < 0)
		return r;
	doors_open(&v->doors, v->config, v->loop, v->store, &v->report,
		   v->resp_listen, v->http_listen);
	return keep_send(v->control, KEEP_READY, NULL, -1);
}

static void say_ready(const struct server *v, uint64_t start)
{
	uint64_t parts = 0, clients = 0;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(v->store, n);

		if (!p)
			continue;
		parts += pool_counter(p, POOL_C_sealed);
		clients += pool_counter(p, POOL_C_clients);
	}
	log_info("ready after %llu ms (%s): %llu parts resident, %llu clients",
		 (unsigned long long)((clock_ns() - start) / NS_PER_MS),
		 loop_backend_name(v->loop), (unsigned long long)parts,
		 (unsigned long long)clients);
}

int server_run(const struct node_config *config, int control)
{
	struct server v = { .config = config,
			    .control = control,
			    .listen = -1,
			    .resp_listen = -1,
			    .http_listen = -1,
			    .low = { .config = config, .fd = -1 } };
	uint64_t start = clock_ns();
	bool refused; /* --nvme, which has been said */
	int r;

	v.hold = (struct hold_ops){ server_hold, server_drop, &v };
	v.low.report = &v.report;
	v.tier_ns = clock_ns() + TIER_NS;
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "onecopy-server");
	r = set_up(&v);
	/* what nobody took belongs to nothing that is published; a server that
	 * could not take over leaves everything to the next */
	hold_set_fini(&v.given, r == 0 ? &v.hold : NULL);
	refused = r < 0 && v.below.told && v.first;
	if (r < 0) {
		if (!refused)
			log_error("the server cannot start: %s", strerror(-r));
	} else {
		say_ready(&v, start);
		r = serve(&v);
	}
	if (r == 0) {
		say_stopped(&v);
		below_end(&v.below, say_alive, &v);
		share_end(&v.share);
		if (v.orphaned)
			clean_place(&v);
	}
	doors_close(&v.doors);
	native_destroy(v.native);
	below_close(&v.below);
	store_destroy(v.store);
	loop_destroy(v.loop);
	fd_close(v.listen);
	fd_close(v.resp_listen);
	fd_close(v.http_listen);
	fd_close(v.low.fd);
	if (refused)
		return PROG_REFUSED;
	return r == 0 ? PROG_OK : PROG_SYSTEM;
}
