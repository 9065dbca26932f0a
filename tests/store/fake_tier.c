/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/fake_tier.h"
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/hash.h"
#include "tests/test.h"

static struct fake_tier *fake(const struct tier *t)
{
	return (struct fake_tier *)(uintptr_t)t;
}

static struct fake_part *find(const struct fake_tier *f,
			      const struct tier_id *id)
{
	for (unsigned i = 0; i < FAKE_PARTS; i++) {
		const struct fake_part *p = &f->part[i];

		if (p->used && p->id.space == id->space &&
		    p->id.part == id->part &&
		    !memcmp(p->id.key, id->key, sizeof(id->key)))
			return (struct fake_part *)(uintptr_t)p;
	}
	return NULL;
}

static uint64_t bytes_of(const struct tier_block *b)
{
	return frame_extent_bytes(b->extent);
}

static void forget(struct fake_part *p)
{
	free(p->data);
	*p = (struct fake_part){ 0 };
}

static uint64_t sum(const struct tier_id *id, const struct tier_block *b,
		    const uint8_t *data)
{
	uint8_t key[32];

	memcpy(key, id->key, sizeof(key));
	return hash_payload(data, bytes_of(b),
			    hash_part_seed(key, (uint16_t)(id->part >> 16),
					   (uint16_t)id->part));
}

static bool is_right(const struct tier_id *id, const struct tier_block *b,
		     const uint8_t *data)
{
	return sum(id, b, data) == b->checksum;
}

static int fake_space(struct tier *t, const struct tier_space *space,
		      uint32_t *ret_space)
{
	struct fake_tier *f = fake(t);
	unsigned i = 0;

	f->asked++;
	while (i < f->n_spaces && (memcmp(f->space[i].digest, space->digest,
					  sizeof(space->digest)) ||
				   strncmp(f->space[i].tenant, space->tenant,
					   sizeof(space->tenant))))
		i++;
	if (i == FAKE_SPACES)
		return -ENOSPC;
	if (i == f->n_spaces)
		f->space[f->n_spaces++] = *space;
	*ret_space = i;
	return 0;
}

static bool fake_find(const struct tier *t, const struct tier_id *id,
		      struct tier_found *ret_found)
{
	const struct fake_tier *f = fake(t);
	const struct fake_part *p = find(f, id);

	if (!p || f->state == TIER_COMING || f->state == TIER_DOWN)
		return false;
	ret_found->block = p->block;
	ret_found->expected_ns = 1000 * (1 + f->n_moves);
	return true;
}

static int begin(struct fake_tier *f, struct tier_move *m, bool write)
{
	if (f->n_moves >= (f->most ? f->most : FAKE_MOVES))
		return -EAGAIN;
	CHECK_INT((uintptr_t)m->data % 4096, ==, 0);
	CHECK_INT(m->room % 4096, ==, 0);
	f->move[f->n_moves++] = (struct fake_move){ .m = m,
						    .write = write,
						    .order = f->begun++ };
	f->most_flying = MAX(f->most_flying, (uint64_t)f->n_moves);
	return 0;
}

static int fake_read(struct tier *t, struct tier_move *m)
{
	struct fake_tier *f = fake(t);
	const struct fake_part *p = find(f, &m->id);

	if (!p)
		return OC_MISS;
	if (bytes_of(&p->block) > m->room)
		return -E2BIG;
	m->block = p->block;
	return begin(f, m, false);
}

static bool being_written(const struct fake_tier *f, const struct tier_id *id)
{
	for (unsigned i = 0; i < f->n_moves; i++)
		if (f->move[i].write &&
		    !memcmp(&f->move[i].m->id, id, sizeof(*id)))
			return true;
	return false;
}

static int fake_write(struct tier *t, struct tier_move *m)
{
	struct fake_tier *f = fake(t);

	if (f->refuse_write &&
	    (!f->refuse_space || f->refuse_space == m->id.space + 1))
		return f->refuse_write;
	if (f->state == TIER_READONLY)
		return -EROFS;
	if (f->state != TIER_UP)
		return -EIO;
	if (find(f, &m->id))
		return OC_EXISTS;
	if (being_written(f, &m->id))
		return OC_BUSY;
	if (f->limit && fake_tier_bytes(f) + bytes_of(&m->block) > f->limit)
		return -ENOSPC;
	/* nobody may ask for wrong bytes to be kept */
	CHECK(is_right(&m->id, &m->block, m->data));
	return begin(f, m, true);
}

static void fake_cancel(struct tier *t, struct tier_move *m)
{
	struct fake_tier *f = fake(t);

	f->cancels++;
	for (unsigned i = 0; i < f->n_moves; i++)
		if (f->move[i].m == m)
			f->move[i].cancelled = true;
}

static int fake_remove(struct tier *t, const struct tier_id *id)
{
	struct fake_tier *f = fake(t);
	struct fake_part *p = find(f, id);

	/* it has not found it yet, and keeps no word */
	if (!p || f->state == TIER_COMING)
		return OC_MISS;
	f->removes++;
	forget(p);
	return 0;
}

static int keep(struct fake_tier *f, const struct tier_move *m)
{
	struct fake_part *p = f->part;

	while (p->used)
		p++;
	CHECK(p < f->part + FAKE_PARTS);
	/* a pin keeps its bytes, whatever becomes of the block */
	CHECK(is_right(&m->id, &m->block, m->data));
	*p = (struct fake_part){ .used = true,
				 .id = m->id,
				 .block = m->block,
				 .data = malloc(bytes_of(&m->block) + 1) };
	memcpy(p->data, m->data, bytes_of(&m->block));
	f->writes++;
	f->write_bytes += bytes_of(&m->block);
	return 0;
}

static int give(struct fake_tier *f, const struct tier_move *m)
{
	struct fake_part *p = find(f, &m->id);

	/* a device writes first and is judged then */
	if (p)
		memcpy(m->data, p->data, bytes_of(&p->block));
	if (!p)
		return OC_STALE;
	if (!is_right(&m->id, &m->block, m->data)) {
		forget(p);
		if (f->options.gone)
			f->options.gone(f->options.ctx, &m->id, true);
		return -EBADMSG;
	}
	f->reads++;
	f->read_bytes += bytes_of(&m->block);
	return 0;
}

void fake_tier_end(struct fake_tier *f, unsigned i, int result)
{
	struct fake_move fm = f->move[i];

	CHECK_INT(i, <, f->n_moves);
	memmove(&f->move[i], &f->move[i + 1],
		(f->n_moves - i - 1) * sizeof(f->move[0]));
	f->n_moves--;
	if (result == 0 && fm.cancelled)
		result = -ECANCELED;
	if (result == 0)
		result = fm.write ? keep(f, fm.m) : give(f, fm.m);
	else if (!fm.write && result != -EFAULT) /* it could not */
		memset(fm.m->data, 0xee, MIN(fm.m->room, 64ull));
	fm.m->done(fm.m, result);
}

void fake_tier_end_all(struct fake_tier *f)
{
	/* those that begin meanwhile are for the next time */
	for (unsigned n = f->n_moves; n--;)
		fake_tier_end(f, 0,
			      f->move[0].write ? f->fail_write : f->fail_read);
}

static void fake_ready(struct tier *t, uint64_t now_ns)
{
	(void)now_ns;
	if (fake(t)->by_itself)
		fake_tier_end_all(fake(t));
}

static uint64_t fake_tick(struct tier *t, uint64_t now_ns)
{
	fake_ready(t, now_ns);
	return UINT64_MAX;
}

static int fake_stop(struct tier *t, uint64_t deadline_ns)
{
	(void)deadline_ns;
	while (fake(t)->n_moves)
		fake_tier_end_all(fake(t));
	return 0;
}

static void fake_use(struct tier *t, const struct tier_id *id)
{
	(void)id;
	fake(t)->uses++;
}

static void memory_add(struct tier *t, void *base, uint64_t bytes)
{
	CHECK(base != NULL);
	fake(t)->added += bytes;
}

static void memory_drop(struct tier *t, void *base, uint64_t bytes)
{
	CHECK(base != NULL);
	fake(t)->dropped += bytes;
}

static void fake_stat(const struct tier *t, struct tier_stat *ret_stat)
{
	const struct fake_tier *f = fake(t);

	*ret_stat = (struct tier_stat){
		.state = f->state,
		.why = f->why ? f->why : "",
		.io = "memory",
		.limit_bytes = f->limit ? f->limit : 1ull << 40,
		.room_bytes = f->limit,
		.used_bytes = fake_tier_bytes(f),
		.live_bytes = fake_tier_bytes(f),
		.parts = fake_tier_parts(f),
		.flying = f->n_moves,
		.reads = f->reads,
		.read_bytes = f->read_bytes,
		.writes = f->writes,
		.write_bytes = f->write_bytes,
		.read = { 100000, 1000000000 },
		.write = { 100000, 500000000 },
	};
	if (f->fresh && !f->reads)
		ret_stat->read = (struct tier_price){ 0 };
}

static void fake_each(const struct tier *t,
		      void (*fn)(void *ctx, const struct tier_id *id,
				 const struct tier_block *block),
		      void *ctx)
{
	struct fake_tier *f = fake(t);

	f->passes++;
	for (unsigned i = 0; i < FAKE_PARTS; i++)
		if (f->part[i].used && f->state != TIER_COMING && !f->blank)
			fn(ctx, &f->part[i].id, &f->part[i].block);
}

static const struct tier_ops fake_ops = {
	.name = "fake",
	.kind = OC_TIER_NVME,
	.stop = fake_stop,
	.ready = fake_ready,
	.tick = fake_tick,
	.space = fake_space,
	.find = fake_find,
	.read = fake_read,
	.write = fake_write,
	.cancel = fake_cancel,
	.remove = fake_remove,
	.use = fake_use,
	.memory_add = memory_add,
	.memory_drop = memory_drop,
	.stat = fake_stat,
	.each = fake_each,
};

struct fake_tier *fake_tier_create(void)
{
	struct fake_tier *f = calloc(1, sizeof(*f));

	CHECK(f);
	f->tier.ops = &fake_ops;
	f->state = TIER_UP;
	return f;
}

void fake_tier_destroy(struct fake_tier *f)
{
	for (unsigned i = 0; i < FAKE_PARTS; i++)
		free(f->part[i].data);
	free(f);
}

void fake_tier_reopen(struct fake_tier *f, bool coming)
{
	f->n_moves = 0;
	f->n_spaces = 0; /* numbers are of one opening */
	f->state = coming ? TIER_COMING : TIER_UP;
	f->added = f->dropped = 0;
}

static struct fake_part *named(const struct fake_tier *f, const uint64_t key[4],
			       uint32_t part)
{
	for (unsigned i = 0; i < FAKE_PARTS; i++)
		if (f->part[i].used && f->part[i].id.part == part &&
		    !memcmp(f->part[i].id.key, key, 32))
			return (struct fake_part *)(uintptr_t)&f->part[i];
	return NULL;
}

bool fake_tier_has(const struct fake_tier *f, const uint64_t key[4],
		   uint32_t part)
{
	return named(f, key, part) != NULL;
}

void fake_tier_spoil(struct fake_tier *f, const uint64_t key[4], uint32_t part)
{
	struct fake_part *p = named(f, key, part);

	CHECK(p != NULL);
	p->data[bytes_of(&p->block) / 2] ^= 4;
}

void fake_tier_replace(struct fake_tier *f, const uint64_t key[4],
		       uint32_t part)
{
	struct fake_part *p = named(f, key, part);

	CHECK(p != NULL);
	p->data[0] ^= 1;
	p->block.checksum = sum(&p->id, &p->block, p->data);
}

void fake_tier_drop(struct fake_tier *f, const uint64_t key[4], uint32_t part)
{
	struct fake_part *p = named(f, key, part);
	struct tier_id id;

	CHECK(p != NULL);
	id = p->id;
	forget(p);
	if (f->options.gone)
		f->options.gone(f->options.ctx, &id, false);
}

uint64_t fake_tier_bytes(const struct fake_tier *f)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < FAKE_PARTS; i++)
		bytes += f->part[i].used ? bytes_of(&f->part[i].block) : 0;
	return bytes;
}

unsigned fake_tier_parts(const struct fake_tier *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_PARTS; i++)
		n += f->part[i].used;
	return n;
}
