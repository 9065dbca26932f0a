/* SPDX-License-Identifier: Apache-2.0 */
#include "below.h"
#include <errno.h>
#include <onecopy/onecopy.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/shared.h"
#include "base/text.h"
#include "pool/pool.h"
#include "store/move.h"
#include "tier/slow.h"
#include "tier/tier.h"

#define KILLED_NS (2 * NS_PER_S)
#define AGAIN_NS  NS_PER_S /* between two tries to open it */
/* How long a dead predecessor's device may still have it without being news. */
#define ENDING_NS   (5 * NS_PER_S)
#define PROGRESS_NS NS_PER_S	   /* between two lines of a save */
#define STUCK_NS    (5 * NS_PER_S) /* a save in which nothing is written ends */
#define STOP_NS	    (3 * NS_PER_S)

static void gone(void *ctx, const struct tier_id *id, bool wrong)
{
	struct below *b = ctx;

	store_below_gone(b->store, id, wrong);
}

static const char *reason(int error, bool device)
{
	switch (-error) {
	case EBUSY:
		return device ? "it is mounted, or another node or program "
				"uses it; end that or name another place"
			      : "another node uses it; stop that one or name "
				"another place";
	case EPROTONOSUPPORT:
		return "another version of onecopy wrote it in another format; "
		       "name another place";
	case EPROTO:
		return "something else lies there and is left alone; name "
		       "another place, or, if it was a log of onecopy's,";
	case EINVAL:
		return "it cannot have that size";
	case ENOSPC:
		return "there is no room for that size";
	case EOPNOTSUPP:
		return "this build has no such tier";
	default:
		return strerror(-error);
	}
}

static bool is_a(const char *path, mode_t sort)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == sort;
}

/* In b->why. */
static const char *why_not(struct below *b, int error)
{
	const char *path = b->config->nvme.path;
	bool device = is_a(path, S_IFBLK);
	const char *what = reason(error, device);

	if (error != -EPROTO)
		text_copy(b->why, sizeof(b->why), what);
	else
		snprintf(b->why, sizeof(b->why), "%s %s %s%s", what,
			 device ? "clear the first MiB of" : "delete", path,
			 is_a(path, S_IFDIR) ? "/onecopy.log" : "");
	return b->why;
}

/* A test: `onecopy replay --slow-nvme`. */
static int slow_down(struct below *b)
{
	const char *factor = getenv("ONECOPY_TEST_SLOW_NVME");
	int r = factor ? tier_slow(strtod(factor, NULL), &b->tier) : 0;

	if (factor && r == 0)
		log_warn("nvme is slowed %s times, for a test", factor);
	if (r == 0)
		return 0;
	b->tier->ops->close(b->tier);
	b->tier = NULL;
	return r;
}

static int open_tier(struct below *b, bool first)
{
	const struct config_nvme *n = &b->config->nvme;
	const struct tier_ops *ops = tier_find(OC_TIER_NVME);
	struct tier_options o = {
		.path = n->path,
		.size = n->size,
		.segment_bytes = n->segment_bytes,
		.depth = n->depth,
		.io = n->backend == CONFIG_NVME_URING	  ? TIER_IO_URING
		      : n->backend == CONFIG_NVME_THREADS ? TIER_IO_THREADS
							  : TIER_IO_AUTO,
		.gone = gone,
		.ctx = b,
		.now_ns = clock_ns(),
		.busy_ns = first ? 0 : ENDING_NS,
	};

	int r = ops ? ops->open(&o, &b->tier) : -EOPNOTSUPP;

	return r ? r : slow_down(b);
}

static void on_tier(void *ctx, int fd, unsigned events)
{
	struct below *b = ctx;

	(void)fd;
	(void)events;
	store_below_ready(b->store, clock_ns());
}

static int begin(struct below *b, bool first)
{
	int r = open_tier(b, first);

	if (r < 0)
		return r;
	r = loop_add(b->loop, b->tier->ops->fd(b->tier), LOOP_IN, on_tier, b);
	if (r == 0)
		r = store_below_attach(b->store, b->tier);
	if (r < 0)
		below_close(b);
	return r;
}

static void failed(struct below *b, int error)
{
	char size[32];

	if (b->told)
		return;
	b->told = true;
	log_error("nvme %s:%s: %s", b->config->nvme.path,
		  text_size(b->config->nvme.size, size), why_not(b, error));
}

/* A node that was killed has its place until the kernel has taken back what its
 * server had under way. */
static int begin_first(struct below *b)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	uint64_t end = clock_ns() + KILLED_NS;
	int r = begin(b, true);

	while (r == -EBUSY && clock_ns() < end) {
		nanosleep(&pause, NULL);
		r = begin(b, true);
	}
	return r;
}

int below_begin(struct below *b, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		bool first)
{
	int r;

	*b = (struct below){
		.config = config, .loop = loop, .store = store, .report = report
	};
	if (!*config->nvme.path || !first)
		return 0;
	r = begin_first(b);
	if (r < 0)
		failed(b, r);
	return r;
}

void below_turn(struct below *b, uint64_t now_ns)
{
	int r;

	if (!b->config || !*b->config->nvme.path)
		return;
	if (b->tier) {
		store_below_serving(b->store);
		return;
	}
	if (now_ns < b->again_ns)
		return;
	r = begin(b, false);
	b->report->below_missing = r < 0 ? why_not(b, r) : NULL;
	if (r == 0)
		return;
	b->again_ns = now_ns + AGAIN_NS;
	failed(b, r);
}

/* ---- the end ----------------------------------------------------------------- */

/* What is in memory and not on the drive. */
struct alone {
	uint64_t parts, bytes;
};

static void add_alone(const struct store *s, const struct pool *p,
		      const struct pool_slab *slab, struct alone *sum)
{
	for (uint32_t f = 0; f < slab->frames; f++) {
		const struct frame_desc *d = &slab->desc[f];
		struct tier_found found;
		uint64_t key[4];

		if (pool_frame_state(slab, f) != FRAME_SEALED)
			continue;
		shared_load_words(key, d->key, 4);
		if (move_find(s, p, key, shared_load64(&d->part), &found))
			continue;
		sum->parts++;
		sum->bytes += frame_extent_bytes(shared_load64(&d->extent));
	}
}

static struct alone count_alone(struct store *s)
{
	struct alone sum = { 0 };

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(s, n);

		for (uint32_t i = 1; p && i < p->slab_end; i++) {
			const struct pool_slab *slab = pool_slab_at(p, i);

			if (slab && !slab->retiring)
				add_alone(s, p, slab, &sum);
		}
	}
	return sum;
}

static void say_saved(struct store *s, struct alone before, const char *why)
{
	struct alone lost = count_alone(s);
	uint64_t saved = before.parts - MIN(before.parts, lost.parts);
	char size[32];

	if (saved || !lost.parts)
		log_info("saved %llu of %llu parts that were in memory alone",
			 (unsigned long long)saved,
			 (unsigned long long)before.parts);
	if (lost.parts)
		log_warn("%llu parts, %s, were in memory alone and are lost: "
			 "the drive %s",
			 (unsigned long long)lost.parts,
			 text_size(lost.bytes, size), why);
}

/* How far a save is. */
struct saving {
	struct alone alone;
	uint64_t end_ns, said_ns, wrote_ns;
	uint64_t writes, writes_first; /* the tier's counts */
};

/* Why it is over; NULL: it goes on. A drive that is late may be in time again, and
 * one that comes may come; one that takes no writes has been tried already. */
static const char *save_over(const struct store *s, struct saving *v, bool more,
			     uint64_t now)
{
	const struct tier_stat *st = store_below_stat(s);

	if (!st || st->state == TIER_DOWN)
		return "is down";
	if (st->state == TIER_READONLY)
		return "takes no writes";
	if (now >= v->end_ns)
		return st->state == TIER_SLOW	  ? "is slow"
		       : st->state == TIER_COMING ? "is still coming"
						  : "was not in time";
	if (st->state != TIER_UP || st->writes != v->writes) {
		v->writes = st->writes;
		v->wrote_ns = now;
	}
	if (st->state == TIER_UP && !more)
		return "did not take them: full, over a tenant's share of it, "
		       "or failing";
	return now - v->wrote_ns >= STUCK_NS ? "took nothing for 5 seconds"
					     : NULL;
}

static bool save_goes_on(struct saving *v, uint64_t now,
			 bool (*alive)(void *ctx), void *ctx)
{
	if (now - v->said_ns < PROGRESS_NS)
		return true;
	v->said_ns = now;
	log_info("saving: %llu of %llu parts",
		 (unsigned long long)MIN(v->writes - v->writes_first,
					 v->alone.parts),
		 (unsigned long long)v->alone.parts);
	return alive(ctx);
}

static void save(struct below *b, bool (*alive)(void *ctx), void *ctx)
{
	const struct tier_stat *st = store_below_stat(b->store);
	struct pollfd p = { .fd = b->tier->ops->fd(b->tier), .events = POLLIN };
	struct saving v = { .alone = count_alone(b->store) };
	uint64_t now = clock_ns();
	const char *why;

	v.writes = v.writes_first = st ? st->writes : 0;
	v.said_ns = v.wrote_ns = now;
	v.end_ns = now + b->config->nvme.save_ns;
	for (;;) {
		bool more = store_save(b->store, now);

		why = save_over(b->store, &v, more, now);
		if (!why && !save_goes_on(&v, now, alive, ctx))
			why = "was not waited for: told to end again";
		if (why)
			break;
		if (poll(&p, 1, 5) > 0)
			store_below_ready(b->store, clock_ns());
		now = clock_ns();
	}
	say_saved(b->store, v.alone, why);
}

void below_end(struct below *b, bool (*alive)(void *ctx), void *ctx)
{
	bool saves = b->config && b->config->nvme.save;
	int r;

	if (!b->tier) {
		if (saves)
			say_saved(b->store, count_alone(b->store),
				  "is not there");
		return;
	}
	if (saves)
		save(b, alive, ctx);
	r = store_below_stop(b->store, clock_ns() + STOP_NS);
	if (r < 0)
		log_warn("nvme was not ended in time (%s): the next start "
			 "looks closer",
			 strerror(-r));
}

void below_close(struct below *b)
{
	if (!b->tier)
		return;
	loop_remove(b->loop, b->tier->ops->fd(b->tier));
	b->tier->ops->close(b->tier);
	b->tier = NULL;
}
