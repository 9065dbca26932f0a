/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the eviction policy has learned outlives the server: a segment of each pool
 * that the keeper holds (HOLD_LEARNED), written once a second where anything has
 * changed, mapped by the server alone, and made when there is something to keep.
 *
 *	two slots, each: struct learned_head | the policy's bytes | padding
 *
 * They are written in turn, so one is always whole: a slot counts if its hash is
 * that of its bytes, seeded with its number, and its check that of its head. A
 * server that dies between any two stores leaves one that does not, and the other,
 * which is a second older. Of two that count the larger number is the younger.
 *
 * A successor gives the policy what is there. Where nothing is, or it is another
 * build's, the policy begins with nothing learned: eviction goes on as by age, and
 * no pool is refused for it. Whose sessions they were is not kept.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/learned.h"

#define LEARNED_NS    NS_PER_S
#define LEARNED_MAGIC 0x314e52454c50434full /* "OCPLERN1" */

struct learned_head {
	shared_u64 magic;
	shared_u64 number; /* of the write, from 1 on; its slot is number % 2 */
	shared_u64 bytes;
	shared_u64 hash;  /* XXH3-64 of the bytes, seed: number */
	shared_u64 check; /* XXH3-64 of the four words before it */
	shared_u64 reserved[3];
};
_Static_assert(sizeof(struct learned_head) == 64, "one line");

struct learned {
	struct segment segment;
	uint64_t *words; /* as the policy says them; of a slot */
	uint64_t number; /* of the last write; 0: none */
	uint64_t seen;	 /* hash of what was looked at last, seed 0 */
	uint64_t next_ns;
};

static size_t bytes_of(const struct pool *p)
{
	return ALIGN_UP(p->policy_ops->learned_bytes(), 8);
}

static size_t slot_bytes(const struct pool *p)
{
	return ALIGN_UP(sizeof(struct learned_head) + bytes_of(p), CACHE_LINE);
}

static uint64_t segment_bytes(const struct pool *p)
{
	return ALIGN_UP(2 * slot_bytes(p), PAGE_BYTES);
}

static struct learned_head *slot_of(const struct pool *p,
				    const struct learned *l, uint64_t number)
{
	return (void *)((char *)l->segment.base + number % 2 * slot_bytes(p));
}

static shared_u64 *words_of(struct learned_head *h)
{
	return (shared_u64 *)(h + 1);
}

static uint64_t check_of(const struct learned_head *h)
{
	uint64_t word[4];

	shared_load_words(word, &h->magic, 4);
	return hash_bytes(word, sizeof(word), 0);
}

static struct learned *learned_make(const struct pool *p)
{
	struct learned *l = mem_alloc(sizeof(*l));

	if (!l)
		return NULL;
	l->segment = SEGMENT_NONE;
	l->words = mem_array(bytes_of(p) / 8, 8);
	if (l->words)
		return l;
	free(l);
	return NULL;
}

static void learned_free(struct learned *l)
{
	if (!l)
		return;
	segment_close(&l->segment);
	free(l->words);
	free(l);
}

void learned_fini(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		learned_free(s->learned[n]);
}

/* ---- writing --------------------------------------------------------------- */

static int hold(const struct pool *p, struct learned *l)
{
	const struct hold_tag tag = { HOLD_LEARNED, p->number, 0 };
	struct segment made;
	int r;

	if (l->segment.base)
		return 0;
	r = segment_create("onecopy-learned", segment_bytes(p), 0, &made);
	if (r < 0)
		return r;
	r = p->hold->hold(p->hold->ctx, &tag, made.fd);
	if (r < 0)
		segment_close(&made);
	else
		l->segment = made;
	return r;
}

static void write_slot(const struct pool *p, struct learned *l)
{
	uint64_t number = l->number + 1;
	struct learned_head *h = slot_of(p, l, number);

	shared_store_words(words_of(h), l->words, bytes_of(p) / 8);
	shared_store64(&h->magic, LEARNED_MAGIC);
	shared_store64(&h->number, number);
	shared_store64(&h->bytes, bytes_of(p));
	shared_store64(&h->hash, hash_bytes(l->words, bytes_of(p), number));
	shared_store64(&h->check, check_of(h));
	l->number = number;
}

static void look(struct store *s, struct pool *p)
{
	struct learned *l = s->learned[p->number];
	bool first = !l->next_ns;
	uint64_t seen;

	l->next_ns = s->now_ns + LEARNED_NS;
	p->policy_ops->save(p->policy, l->words);
	seen = hash_bytes(l->words, bytes_of(p), 0);
	/* the first look sees what is known without any traffic */
	if (!first && seen != l->seen) {
		if (hold(p, l) < 0)
			return; /* again in a second */
		write_slot(p, l);
	}
	l->seen = seen;
}

static bool is_due(struct store *s, struct pool *p)
{
	struct learned **l;

	if (!p || !p->policy_ops->save)
		return false;
	l = &s->learned[p->number];
	if (!*l)
		*l = learned_make(p);
	return *l && s->now_ns >= (*l)->next_ns;
}

/* One pool at a time, or all of them would be saved within one turn of the loop:
 * who was looked at is not due again for a second. */
void learned_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		if (!is_due(s, s->pool[n]))
			continue;
		look(s, s->pool[n]);
		return;
	}
}

/* ---- a successor ------------------------------------------------------------ */

/* Its bytes, in l->words. */
static bool is_whole(const struct pool *p, struct learned *l,
		     struct learned_head *h)
{
	size_t bytes = bytes_of(p);

	if (shared_load64(&h->magic) != LEARNED_MAGIC ||
	    shared_load64(&h->bytes) != bytes ||
	    shared_load64(&h->check) != check_of(h))
		return false;
	shared_load_words(l->words, words_of(h), bytes / 8);
	return hash_bytes(l->words, bytes, shared_load64(&h->number)) ==
	       shared_load64(&h->hash);
}

/* The younger one that is whole. */
static bool read_slot(const struct pool *p, struct learned *l)
{
	struct learned_head *a = slot_of(p, l, 0), *b = slot_of(p, l, 1);

	if (shared_load64(&a->number) < shared_load64(&b->number)) {
		struct learned_head *older = a;

		a = b;
		b = older;
	}
	if (!is_whole(p, l, a)) {
		a = b;
		if (!is_whole(p, l, a))
			return false;
	}
	l->number = shared_load64(&a->number);
	return true;
}

/* A server that died before its first write leaves nothing to read. */
static bool was_written(const struct pool *p, const struct learned *l)
{
	return shared_load64(&slot_of(p, l, 0)->number) ||
	       shared_load64(&slot_of(p, l, 1)->number);
}

/* The segment, if it is one of this build's size: else the next is made anew. */
static struct learned *take(const struct pool *p, struct hold_set *given)
{
	const struct hold_tag tag = { HOLD_LEARNED, p->number, 0 };
	int fd = hold_set_take(given, HOLD_LEARNED, p->number, 0);
	struct learned *l = fd < 0 ? NULL : learned_make(p);

	if (l && segment_attach(fd, segment_bytes(p), true, &l->segment) == 0)
		return l;
	learned_free(l);
	if (fd >= 0) {
		p->hold->drop(p->hold->ctx, &tag);
		log_info("what eviction of pool %u had learned is let go",
			 p->number);
	}
	fd_close(fd);
	return NULL;
}

void learned_attach(struct store *s, struct pool *p, struct hold_set *given)
{
	struct learned *l;
	bool known;

	if (!p->policy_ops->save)
		return;
	l = s->learned[p->number] = take(p, given);
	known = l && read_slot(p, l);
	/* it begins when the one before ended, not with the last seal */
	p->policy_ops->tick(p->policy, shared_load64(&p->m->header.alive_ms));
	if (!p->policy_ops->recall(p->policy, known ? l->words : NULL,
				   p->policy_ops->learned_bytes()) &&
	    l && was_written(p, l))
		log_warn("what eviction of pool %u had learned cannot be read: "
			 "it begins anew",
			 p->number);
}
