/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/deep.h"

static void gone(void *ctx, const struct tier_id *id, bool wrong)
{
	struct deep *d = ctx;

	store_below_gone(d->w->s, id, wrong);
}

void deep_begin_as(struct deep *d, const struct world_config *config,
		   const struct policy_ops *policy)
{
	d->w = world_create_with(config, policy);
	d->f = fake_tier_create();
	d->f->options.gone = gone;
	d->f->options.ctx = d;
	CHECK_OK(store_below_attach(d->w->s, &d->f->tier));
	d->a = sim_add(d->w, 0);
}

void deep_begin(struct deep *d, unsigned slabs)
{
	const struct world_config config = { .limit = slabs * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };

	deep_begin_as(d, &config, NULL);
}

void deep_end(struct deep *d)
{
	world_check(d->w);
	world_destroy(d->w);
	fake_tier_destroy(d->f);
}

void deep_rest(struct deep *d)
{
	bool was = d->f->by_itself;

	d->f->by_itself = true;
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned c = 0; c < SIMS; c++)
			if (d->w->sim[c].c && !d->w->sim[c].closed)
				sim_let_go(&d->w->sim[c]);
		world_tick(d->w, WORLD_SEC / 200);
		world_ready(d->w);
		if (i > 60 && !d->f->n_moves)
			break;
	}
	d->f->by_itself = was;
	CHECK_INT(d->f->n_moves, ==, 0);
}

void deep_restart(struct deep *d, bool coming)
{
	world_die(d->w);
	fake_tier_reopen(d->f, coming);
	CHECK_OK(world_attach(d->w));
	world_adopt(d->w);
	CHECK_OK(store_below_attach(d->w->s, &d->f->tier));
}

bool deep_below(const struct deep *d, uint64_t n)
{
	uint64_t key[4];

	key_of(n, key);
	return fake_tier_has(d->f, key, 0);
}

void deep_put(struct deep *d, uint64_t first, uint64_t n)
{
	bool was = d->f->by_itself;

	d->f->by_itself = true;
	for (uint64_t i = 0; i < n; i++) {
		struct sim *a = d->a;
		int64_t r = sim_grant(a, first + i, PART, WORLD_SEC);
		uint32_t slot = a->slot;

		for (unsigned j = 0; j < 200 && r == SIM_LATER; j++) {
			sim_let_go(a);
			world_tick(d->w, WORLD_SEC / 500);
			world_ready(d->w);
			r = sim_answer(a, slot);
		}
		CHECK_OK(r);
		CHECK_OK(sim_seal(a, first + i, PART, &d->w->last));
		world_tick(d->w, WORLD_SEC / 500);
	}
	d->f->by_itself = was;
}

static void told(struct move_waiter *w, int result)
{
	struct waiter *mine = container_of(w, struct waiter, w);

	mine->told++;
	mine->result = result;
}

int deep_up(struct deep *d, uint64_t n, enum tier_urgency urgency,
	    struct waiter *w)
{
	uint64_t key[4];

	key_of(n, key);
	if (w)
		*w = (struct waiter){ .w.done = told };
	return move_up(d->w->s, d->w->p, key, PART, urgency, 0,
		       w ? &w->w : NULL);
}

int deep_fetch(struct deep *d, uint64_t n)
{
	struct waiter w;
	int r = deep_up(d, n, TIER_WAITED, &w);

	if (r)
		return r;
	CHECK_INT(w.told, ==, 0); /* never from the call that began it */
	d->f->by_itself = true;
	for (unsigned i = 0; i < 1000 && !w.told; i++) {
		sim_let_go(d->a);
		world_tick(d->w, WORLD_SEC / 500);
		world_ready(d->w);
	}
	d->f->by_itself = false;
	CHECK_INT(w.told, ==, 1);
	return w.result;
}

void deep_lower(struct deep *d, uint64_t n)
{
	deep_put(d, n, 1);
	while (world_has(d->w, n, PART))
		deep_put(d, 1000000 + d->fillers++, 1);
	CHECK(deep_below(d, n));
}
