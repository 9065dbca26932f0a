/* SPDX-License-Identifier: Apache-2.0 */
#include "below.h"
#include <errno.h>
#include <onecopy/onecopy.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "tier/slow.h"
#include "tier/tier.h"

#define KILLED_NS (2 * NS_PER_S)
#define AGAIN_NS  NS_PER_S /* between two tries to open it */
/* How long a dead predecessor's device may still have it without being news. */
#define ENDING_NS   (5 * NS_PER_S)
#define PROGRESS_NS NS_PER_S /* between two lines of a save */
#define STOP_NS	    (3 * NS_PER_S)

static void gone(void *ctx, const struct tier_id *id, bool wrong)
{
	struct below *b = ctx;

	store_below_gone(b->store, id, wrong);
}

static const char *why_not(int error)
{
	switch (-error) {
	case EBUSY:
		return "another node uses it; stop that one or name another "
		       "place";
	case EPROTONOSUPPORT:
		return "another version of onecopy wrote it in another format; "
		       "name another place";
	case EPROTO:
		return "something else lies there and is left alone; name "
		       "another place";
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
		  text_size(b->config->nvme.size, size), why_not(error));
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
	b->report->below_missing = r < 0 ? why_not(r) : NULL;
	if (r == 0)
		return;
	b->again_ns = now_ns + AGAIN_NS;
	failed(b, r);
}

/* ---- the end ----------------------------------------------------------------- */

static void say_progress(struct store *s, const char *what)
{
	uint64_t bytes = 0, parts = 0;
	char size[32];

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = store_pool(s, n);

		bytes += p ? pool_counter(p, POOL_C_below_bytes) : 0;
		parts += p ? pool_counter(p, POOL_C_below_parts) : 0;
	}
	log_info("%s: %llu parts, %s, are on nvme", what,
		 (unsigned long long)parts, text_size(bytes, size));
}

static void save(struct below *b, void (*alive)(void *ctx), void *ctx)
{
	uint64_t now = clock_ns(), said = now;
	uint64_t end = now + b->config->nvme.save_ns;
	struct pollfd p = { .fd = b->tier->ops->fd(b->tier), .events = POLLIN };
	bool more;

	while ((more = store_save(b->store, now)) && now < end) {
		if (poll(&p, 1, 5) > 0)
			store_below_ready(b->store, clock_ns());
		now = clock_ns();
		if (now - said < PROGRESS_NS)
			continue;
		said = now;
		say_progress(b->store, "saving");
		alive(ctx);
	}
	say_progress(b->store, more ? "not all was saved in time" : "saved");
}

void below_end(struct below *b, void (*alive)(void *ctx), void *ctx)
{
	int r;

	if (!b->tier)
		return;
	if (b->config->nvme.save)
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
