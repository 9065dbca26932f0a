/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "demo.h"
#include "payload.h"
#include "progress.h"

#define DEMO_HOLD_NS (20 * NS_PER_S)
#define DEMO_BACK_NS (30 * NS_PER_S)
/* Ids of the trace stay below 2^53; these blocks are the demo's own. */
#define DEMO_OWN_ID (1ull << 60)

struct kill {
	struct demo *demo;
	oc_client *client;
	oc_ns *ns;
	struct oc_pin own;  /* the demo's own block */
	struct oc_key *key; /* what was resident */
	uint64_t n;
	uint8_t *block;
};

/* Seals a block of the demo's own. */
static int kill_put(struct kill *k, uint64_t number)
{
	const struct load_options *o = &k->demo->load;
	struct oc_part part = { 0, 0 };
	struct oc_key key;
	int r = payload_key(o->label, o->seed, DEMO_OWN_ID + number, &key);

	if (r)
		return r;
	payload_make(&key, k->block, o->block_bytes);
	return oc_put(k->ns, &key, part, k->block, o->block_bytes,
		      DEMO_BACK_NS);
}

/* Gives its own block's frame back: the first new seal needs no eviction. */
static int kill_make_room(struct kill *k)
{
	const struct load_options *o = &k->demo->load;
	struct oc_key key;
	int r = payload_key(o->label, o->seed, DEMO_OWN_ID, &key);

	oc_unpin(k->ns, &k->own);
	k->own.data = NULL;
	if (r == 0)
		r = oc_remove(k->ns, &key, 0);
	return r < 0 ? r : 0;
}

/* All blocks of the trace that are there now. */
static int kill_remember(struct kill *k)
{
	const struct load_options *o = &k->demo->load;
	struct oc_part part = { 0, 0 };

	for (uint32_t i = 0; i < o->deck->distinct; i++) {
		int r = payload_key(o->label, o->seed, o->deck->id[i],
				    &k->key[k->n]);

		if (r)
			return r;
		if (oc_exists(k->ns, &k->key[k->n], part) == 0)
			k->n++;
	}
	return 0;
}

/* Every byte of all that was there: absent or wrong is lost. */
static uint64_t kill_count_lost(struct kill *k)
{
	struct oc_part part = { 0, 0 };
	uint64_t lost = 0;
	struct oc_pin pin;

	for (uint64_t i = 0; i < k->n; i++) {
		if (oc_pin(k->ns, &k->key[i], part, OC_PIN_NO_TOUCH, &pin)) {
			lost++;
			continue;
		}
		lost += payload_wrong(&k->key[i], pin.data, pin.bytes) != 0;
		oc_unpin(k->ns, &pin);
	}
	return lost;
}

static int kill_server(struct kill *k)
{
	struct demo *d = k->demo;
	uint64_t start;
	pid_t pid = 0;
	int r = node_server_pid(k->client, &pid);

	if (r)
		return r;
	start = clock_ns();
	if (kill(pid, SIGKILL))
		return -errno;
	d->killed = true;
	r = kill_put(k, 1);
	d->back_ns = clock_ns() - start;
	d->restarted = r == 0;
	return r;
}

static int demo_kill(struct demo *d, struct load *l)
{
	struct kill *k = d->kill;
	int r = load_hold(l, DEMO_HOLD_NS);

	if (r == 0) {
		r = kill_make_room(k);
		if (r == 0)
			r = kill_remember(k);
		load_held(l, &d->grants, &d->pins);
		d->resident = k->n;
		if (r == 0)
			r = kill_server(k);
		if (r == 0)
			d->lost = kill_count_lost(k);
		load_go_on(l);
	}
	if (r)
		fprintf(stderr, "onecopy: demo: the kill: %s\n",
			oc_strerror(r));
	return r > 0 ? -EIO : r;
}

static int kill_open(struct kill *k)
{
	const struct load_options *o = &k->demo->load;
	struct oc_client_options client = {
		.size = sizeof(client),
		.socket = o->socket,
		.name = "demo",
		.timeout_ns = DEMO_BACK_NS,
	};
	char error[256] = "";
	int r = oc_client_connect(&client, &k->client, error);

	if (r) {
		fprintf(stderr, "onecopy: demo: %s\n", error);
		return r;
	}
	r = load_ns_open(o, k->client, &k->ns);
	k->key = calloc(o->deck->distinct + 1ull, sizeof(*k->key));
	k->block = calloc(1, o->block_bytes);
	return r ? r : k->key && k->block ? 0 : -ENOMEM;
}

void demo_finish(struct demo *d)
{
	struct kill *k = d->kill;

	if (!k)
		return;
	if (k->own.data)
		oc_unpin(k->ns, &k->own);
	if (k->ns)
		oc_ns_close(k->ns);
	oc_client_close(k->client);
	free(k->key);
	free(k->block);
	free(k);
	d->kill = NULL;
}

/* A pool that is full has no slab for a new writer until a whole one is empty,
 * and would evict for its first seal, which is not a loss. So the demo has a
 * block of its own from the beginning, pinned, and frees its frame at the
 * kill. */
int demo_prepare(struct demo *d)
{
	struct oc_part part = { 0, 0 };
	struct kill *k = calloc(1, sizeof(*k));
	struct oc_key key;
	int r;

	if (!k)
		return -ENOMEM;
	k->demo = d;
	d->kill = k;
	r = kill_open(k);
	if (r == 0)
		r = kill_put(k, 0);
	if (r == 0)
		r = payload_key(d->load.label, d->load.seed, DEMO_OWN_ID, &key);
	if (r == 0)
		r = oc_pin(k->ns, &key, part, 0, &k->own);
	if (r)
		fprintf(stderr, "onecopy: demo: its own block: %s\n",
			oc_strerror(r));
	return r > 0 ? -EIO : r;
}

int demo_tick(void *ctx, struct load *l, double done)
{
	struct demo *d = ctx;

	progress_show(d->terminal, "workload", done);
	/* its own client lets go of what retires */
	if (d->kill)
		oc_client_dispatch(d->kill->client);
	if (d->killed || !load_came_to_hold(l))
		return 0;
	return demo_kill(d, l);
}
