/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an actor's thread says of what it does. A record is begun before the call and
 * ended after it, so the log is whole but for one, whenever the process is killed: the
 * driver reads it when that is dead (`open`, `n`: release). What is wrong is counted
 * there and told at once. And its choices, which are made of one seed.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include "torture_actor.h"
#ifdef ONECOPY_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define HOT 32u /* of the keys, every other operation takes one */

/* ---- what the thread sanitizer cannot see ------------------------------------ */

/* A frame goes from thread to thread through the server, another process. That
 * its bytes are in order is what this program looks at itself; the sanitizer is
 * told, frame by frame, and is left to judge the library. */
void actor_frame_goes(const void *data)
{
#ifdef ONECOPY_TSAN
	__tsan_release((void *)(uintptr_t)data);
#endif
	(void)data;
}

void actor_frame_comes(const void *data)
{
#ifdef ONECOPY_TSAN
	__tsan_acquire((void *)(uintptr_t)data);
#endif
	(void)data;
}

void actor_unpin(struct pool_of *p, struct oc_pin *pin)
{
	actor_frame_goes(pin->data);
	oc_unpin(p->ns, pin);
}

/* ---- the log ----------------------------------------------------------------- */

/* A record that is under way; the driver makes UNKNOWN of it if this is the
 * last that is heard. */
struct trial_record *actor_begin(struct actor *a, enum trial_op op,
				 uint32_t key, uint64_t version, bool calm)
{
	struct torture_log *p = a->log;
	uint32_t n = atomic_load_explicit(&p->n, memory_order_relaxed);
	struct trial_record *r = &p->record[n];

	*r = (struct trial_record){
		.end_ns = UINT64_MAX,
		.version = version,
		.key = key << 1 | calm,
		.op = (uint8_t)op,
		.result = TRIAL_UNKNOWN,
		.calm = calm,
	};
	r->begin_ns = clock_ns();
	/* release: the driver reads it when this process is dead */
	atomic_store_explicit(&p->open, 1, memory_order_release);
	return r;
}

void actor_stall(struct actor *a, uint64_t took)
{
	_Atomic uint64_t *most = &a->log->stall_ns[a->call];

	if (took > atomic_load_explicit(most, memory_order_relaxed))
		atomic_store_explicit(most, took, memory_order_relaxed);
}

/* What the call answered to what the record says of it. */
void actor_end(struct actor *a, struct trial_record *r,
	       enum trial_result result, uint64_t version)
{
	struct torture_log *p = a->log;
	uint32_t n = atomic_load_explicit(&p->n, memory_order_relaxed);
	uint64_t now = clock_ns(), took = now - r->begin_ns;

	if (result != TRIAL_UNKNOWN)
		r->end_ns = now;
	if (version)
		r->version = version;
	r->result = (uint8_t)result;
	atomic_store_explicit(&p->open, 0, memory_order_release);
	atomic_store_explicit(&p->n, n + 1, memory_order_release);
	atomic_fetch_add_explicit(&p->ops, 1, memory_order_relaxed);
	actor_stall(a, took);
}

/* Nothing that others could see came of it. */
void actor_end_without(struct actor *a, struct trial_record *r)
{
	uint64_t took = clock_ns() - r->begin_ns;

	atomic_store_explicit(&a->log->open, 0, memory_order_release);
	actor_stall(a, took);
}

void actor_wrong(struct actor *a, uint64_t n, const char *what, uint32_t key,
		 uint64_t version)
{
	if (!n)
		return;
	atomic_fetch_add_explicit(&a->log->wrong_bytes, n,
				  memory_order_relaxed);
	fprintf(stderr,
		"onecopy: torture: %llu wrong bytes, %s: key %u, version "
		"%#llx\n",
		(unsigned long long)n, what, key, (unsigned long long)version);
}

void actor_error(struct actor *a, const char *what, int r)
{
	atomic_fetch_add_explicit(&a->log->errors, 1, memory_order_relaxed);
	if (r != -ENOBUFS && r != -ETIMEDOUT && r != -EDQUOT)
		fprintf(stderr, "onecopy: torture: %s: %s\n", what,
			oc_strerror(r));
}

/* A frame's generation grows, as long as its region is the same. */
void actor_generation(struct actor *a, const struct pool_of *p, uint32_t region,
		      uint64_t offset, uint64_t generation)
{
	uint64_t h = (offset / 4096 + region * 2654435761u) % ACTOR_GENS;
	struct gen *g = &a->gen[p->calm][h];
	uint64_t use = atomic_load_explicit(&p->uses[region % ACTOR_REGIONS],
					    memory_order_relaxed);

	if (g->region == region && g->offset == offset && g->use == use &&
	    generation < g->generation) {
		atomic_fetch_add_explicit(&a->log->generations, 1,
					  memory_order_relaxed);
		fprintf(stderr,
			"onecopy: torture: region %u offset %llu: generation "
			"%llu after %llu\n",
			region, (unsigned long long)offset,
			(unsigned long long)generation,
			(unsigned long long)g->generation);
	}
	*g = (struct gen){ offset, use, generation, region };
}

/* ---- choices ----------------------------------------------------------------- */

uint32_t actor_chance(struct actor *a, uint32_t of)
{
	return (uint32_t)rng_below(&a->rng, of);
}

uint32_t actor_some_key(struct actor *a)
{
	uint32_t key = actor_chance(a, actor_chance(a, 2) ? HOT : ACTOR_KEYS);

	return TORTURE_DEVICE_KEY(key) ? key - 1 : key;
}

struct pool_of *actor_some_pool(struct actor *a)
{
	return &a->pool[actor_chance(a, 3) == 0];
}

uint64_t actor_next_version(struct actor *a)
{
	return ++a->version;
}

void actor_doze(uint32_t us)
{
	struct timespec t = { .tv_nsec = (long)us * 1000 };

	nanosleep(&t, NULL);
}
