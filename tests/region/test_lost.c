/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a region fails: a page of a mapping becomes one behind the end of a
 * file, which is told by the same signal; and, on a device, the kernel's own poison
 * ($ONECOPY_CXL_REGION names one that may be overwritten, as root). */
#include "base/guard.h"
#include "region/internal.h"
#include "tests/region/rig.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FRAMES 64u

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

struct lossy {
	struct rig g;
	struct region *a, *b, *c; /* own a shard each; reads */
};

static struct lossy begin(void)
{
	struct lossy l = { .g = rig_create_small(4, 2, FRAMES) };

	guard_install();
	l.a = rig_join(&l.g, "a", 1, false);
	l.b = rig_join(&l.g, "b", 1, false);
	l.c = rig_join(&l.g, "c", 0, false);
	for (uint64_t id = 1; id <= 8; id++) {
		CHECK_OK(rig_put(l.a, id, 1));
		CHECK_OK(rig_put(l.b, 100 + id, 2));
	}
	return l;
}

static void end(struct lossy *l)
{
	region_close(l->a);
	region_close(l->b);
	region_close(l->c);
	rig_destroy(&l->g);
}

static void lose_at(const void *where)
{
	char *at = (char *)((uintptr_t)where & ~(uintptr_t)(PAGE_BYTES - 1));
	int fd = memfd_create("end", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) == at);
	close(fd);
}

/* As a handle sees it: through each of its mappings. */
static void lose(struct region *r, uint64_t offset)
{
	uint64_t unit = r->places.units + r->self * REGION_UNIT;

	lose_at(r->all + offset);
	if (offset < REGION_UNIT)
		lose_at((char *)r->control + offset);
	if (r->unit && offset - unit < REGION_UNIT)
		lose_at((char *)r->unit + (offset - unit));
	for (uint32_t i = 0; i < r->n_own; i++) {
		uint64_t shard = r->places.shards +
				 r->own[i]->shard * r->places.shard_bytes;

		if (offset - shard < r->places.shard_bytes)
			lose_at(r->own[i]->base + (offset - shard));
	}
}

static struct region_found where(struct region *r, uint64_t id)
{
	struct region_name name = rig_name(id);
	struct region_found f = { .frame = 0 };

	CHECK_OK(region_find(r, &name, &f));
	return f;
}

static uint64_t shard_at(const struct region *r, uint32_t shard)
{
	return r->places.shards + shard * r->places.shard_bytes;
}

static uint64_t bytes_of(struct region *r, uint64_t id)
{
	struct region_found f = where(r, id);

	return shard_at(r, f.shard) + r->places.payload + f.frame * RIG_FRAME;
}

static uint64_t errors_of(struct region *r)
{
	struct region_member_status s;

	region_member_status(r, r->self, &s);
	return s.count[REGION_C_memory_errors];
}

/* What is to be put lies where memory fails: nothing is sealed, and nothing lost. */
TEST(bytes_that_cannot_be_read_are_not_sealed)
{
	struct lossy l = begin();
	struct region_name name = rig_name(70);
	uint32_t free = region_free(l.a);
	struct region_pin pin;
	void *from = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(from != MAP_FAILED);
	lose_at(from);
	CHECK_INT(region_put(l.a, &name, from, RIG_BYTES, 16), ==, -EIO);
	CHECK_INT(region_pin(l.c, &name, &pin), ==, REGION_MISS);
	CHECK_INT(region_free(l.a), ==, free);
	CHECK_OK(rig_put(l.a, 70, 1));
	rig_check(l.a, true);
	munmap(from, PAGE_BYTES);
	end(&l);
}

/* A reader meets it: a bad block, which the owner hears of, finds out by itself and
 * never uses again. */
TEST(bytes_that_fail_cost_their_block_and_frame)
{
	struct lossy l = begin();
	struct region_name name = rig_name(3);
	struct region_shard_status s;
	struct region_pin pin;
	uint64_t at = bytes_of(l.c, 3);

	lose(l.c, at);
	lose(l.a, at);
	CHECK_OK(region_pin(l.c, &name, &pin));
	CHECK_INT(region_verify(l.c, &name, &pin), ==, REGION_BAD);
	CHECK_INT(errors_of(l.c), ==, 1);
	CHECK_OK(region_tick(l.a));
	CHECK_INT(errors_of(l.a), ==, 1);
	CHECK(!rig_has(l.c, 3));
	region_unpin(l.c, &pin);
	CHECK_OK(region_tick(l.a));
	region_shard_status(l.c, where(l.a, 4).shard, &s);
	CHECK_INT(s.held, ==, 1);
	CHECK_INT(s.sealed, ==, 7);
	/* all the other frames serve, over and over */
	for (uint64_t id = 1000; id < 1300; id++)
		CHECK_OK(rig_put(l.a, id, 3));
	CHECK_INT(errors_of(l.a), ==, 1);
	CHECK_OK(region_leave(l.a));
	region_shard_status(l.c, 0, &s);
	CHECK_INT(s.held, ==, 1);
	CHECK_INT(s.sealed + s.free, ==, FRAMES - 1);
	CHECK_OK(region_take(l.c, 0));
	CHECK_INT(l.c->own[0]->n_quarantined, ==, 1);
	end(&l);
}

/* A free frame fails when it is filled. */
TEST(bytes_that_fail_when_they_are_written)
{
	struct lossy l = begin();
	struct region_own *own = l.a->own[0];
	uint32_t frame = own->free[own->n_free - 1];

	lose(l.a, shard_at(l.a, own->shard) + l.a->places.payload +
			  frame * RIG_FRAME);
	CHECK_INT(rig_put(l.a, 50, 1), ==, -EIO);
	CHECK_INT(errors_of(l.a), ==, 1);
	CHECK_INT(own->n_quarantined, ==, 1);
	CHECK(!rig_has(l.b, 50));
	CHECK_OK(rig_put(l.a, 50, 1));
	CHECK(rig_has(l.b, 50));
	for (uint64_t id = 1000; id < 1300; id++)
		CHECK_OK(rig_put(l.a, id, 3));
	CHECK_INT(errors_of(l.a), ==, 1);
	CHECK_OK(region_leave(l.a));
	end(&l);
}

/* A reader's look-ups pass over a shard where its index or its descriptors fail. */
TEST(a_reader_finds_the_rest)
{
	for (unsigned what = 0; what < 2; what++) {
		struct lossy l = begin();
		uint64_t at = shard_at(l.c, l.a->own[0]->shard);
		unsigned lost = 0;

		at += what ? l.c->places.desc
			   : l.c->places.table + sizeof(struct table_header);
		lose(l.c, at);
		for (uint64_t id = 1; id <= 8; id++) {
			lost += !rig_has(l.c, id);
			CHECK(rig_has(l.c, 100 + id));
			CHECK(rig_has(l.b, id)); /* its memory is well */
		}
		CHECK_INT(lost, ==, 8);
		CHECK_INT(errors_of(l.c), >=, 8);
		CHECK_INT(l.c->made, <=, 2); /* no slot was lost */
		end(&l);
	}
}

/* The owner's: its shard is out of use, and the others' are not. */
TEST(an_owner_loses_one_shard)
{
	struct lossy l = begin();
	uint32_t shard = l.a->own[0]->shard;
	struct region_grant grant;
	struct region_name name = rig_name(60);

	CHECK_OK(region_take(l.a, shard));
	CHECK_OK(region_grant(l.a, &name, RIG_BYTES, 16, 0, &grant));
	lose(l.a, shard_at(l.a, shard) + l.a->places.desc);
	CHECK_INT(region_seal(l.a, &grant, RIG_BYTES, 16, 0), ==, -EIO);
	CHECK_INT(region_owned(l.a), ==, 0);
	CHECK_INT(region_take(l.a, shard), ==, -EIO);
	CHECK_INT(rig_put(l.a, 61, 1), ==, REGION_FULL);
	memset(grant.data, 1, RIG_BYTES); /* it is lent still */
	CHECK_OK(region_tick(l.a));
	CHECK_INT(region_take(l.b, shard), ==, REGION_ALIVE);
	for (uint64_t id = 1; id <= 8; id++) {
		CHECK(rig_has(l.c, id));
		CHECK(rig_has(l.a, 100 + id));
	}
	/* the next one's memory is well in this test */
	CHECK_OK(region_leave(l.a));
	CHECK_OK(region_take(l.b, shard));
	CHECK_OK(rig_put(l.b, 60, 1));
	rig_check(l.c, false);
	end(&l);
}

/* The file ends inside the last shard. */
static void cut(const struct lossy *l, uint64_t at)
{
	CHECK_OK(ftruncate(l->g.fd,
			   (off_t)(shard_at(l->a, l->a->g.shards - 1) + at)));
}

/* Who takes a shard over: of descriptors that are lost the frames are held back; an
 * index that is lost is the shard. */
TEST(who_takes_over_holds_back_what_is_lost)
{
	struct lossy l = begin();
	struct region_own *own;
	uint32_t last = l.a->g.shards - 1;

	CHECK_OK(region_leave(l.a));
	CHECK_OK(region_leave(l.b));
	cut(&l, l.c->places.desc + PAGE_BYTES);
	CHECK_OK(region_take(l.c, last));
	own = region_own_of(l.c, last);
	CHECK_INT(own->n_quarantined, ==, FRAMES - PAGE_BYTES / 128);
	CHECK_INT(own->n_free + own->n_sealed, ==, PAGE_BYTES / 128);
	CHECK_OK(region_take(l.c, 0));
	CHECK_INT(region_owned(l.c), ==, 2);
	CHECK_OK(region_give(l.c, last));
	cut(&l, l.c->places.table);
	CHECK_INT(region_take(l.c, last), ==, -EIO);
	CHECK_INT(region_owned(l.c), ==, 1);
	CHECK_OK(rig_put(l.c, 500, 1));
	CHECK_OK(region_tick(l.c));
	CHECK_OK(region_leave(l.c));
	end(&l);
}

/* ---- what is met while another frame is taken over -------------------------------- */

/* The first page of the shard's descriptors is lost to who takes it over when that one
 * stores into another for the first time. */
static struct region *loser;

static void publish_and_lose(shared_u64 *word, uint64_t value)
{
	struct region *r = loser;

	region_mem_coherent.publish(word, value);
	loser = NULL;
	if (r)
		lose_at(r->taking->base + r->places.desc);
}

/* How many of the two buckets of one name are the other's too. */
static unsigned shared_buckets(const struct table *t, uint64_t id,
			       const struct region_name *with)
{
	struct region_name name = rig_name(id);
	struct table_hash h = region_hash(&name), w = region_hash(with);
	uint64_t a = table_bucket_a(t, h), b = table_bucket_b(t, h);
	uint64_t c = table_bucket_a(t, w), d = table_bucket_b(t, w);

	return (a == c || a == d) + (b == c || b == d);
}

static void put_until(struct region *r, uint32_t frames, unsigned sharing,
		      const struct region_name *with)
{
	const struct region_own *own = r->own[0];

	for (uint64_t id = 1000; own->n_sealed < frames; id++)
		if (shared_buckets(&own->table, id, with) == sharing)
			(void)rig_put(r, id, 1);
}

/* Blocks of frames that are lost fill both buckets of one that is not, and that its
 * owner had not entered when it died: to enter it is to look at those. They are held
 * back, and all the rest is of use. */
TEST(who_takes_over_enters_beside_what_is_lost)
{
	const uint32_t lost = PAGE_BYTES / sizeof(struct region_desc);
	struct rig g = rig_create_small(4, 1, FRAMES);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_name last = rig_name(1), lent = rig_name(2);
	struct table_hash h = region_hash(&last);
	struct region_mem mem = *b->mem;
	struct region_grant grant;
	struct region_own *own = a->own[0];

	guard_install();
	put_until(a, 2 * TABLE_WAYS - 1, 2, &last);
	put_until(a, lost, 0, &last);
	CHECK_OK(rig_put(a, 1, 1));
	CHECK_INT(where(a, 1).frame, ==, lost);
	region_unlist(own, lost);
	/* of a filling of frame 3 that is over */
	CHECK_OK(table_insert(&own->table, h,
			      table_word(h, 99, region_loc(0, 3)), NULL, NULL));
	CHECK_OK(region_grant(a, &lent, RIG_BYTES, 16, 0, &grant));
	CHECK_INT(grant.frame, ==, lost + 1);
	rig_kill(a, b);

	mem.publish = publish_and_lose; /* what was lent */
	b->mem = &mem;
	loser = b;
	CHECK_OK(region_take(b, 0));
	own = region_own_of(b, 0);
	CHECK_INT(own->n_quarantined, ==, lost);
	CHECK_INT(own->n_sealed, ==, 1);
	CHECK_INT(own->n_free, ==, FRAMES - lost - 1);
	CHECK(rig_has(b, 1));
	CHECK_OK(region_leave(b));
	region_close(b);
	rig_destroy(&g);
}

/* ---- a lock that is held meanwhile ------------------------------------------------- */

static void *lost_in_lock; /* once */

/* Instead of the C library's. */
int flock(int fd, int operation)
{
	int r = (int)syscall(SYS_flock, fd, operation);

	if (lost_in_lock && r == 0) {
		lose_at(lost_in_lock);
		lost_in_lock = NULL;
	}
	return r;
}

/* A claim that names nobody is judged under the memory's lock, and there its record is
 * lost: nothing is proved, and the lock is given back. */
TEST(who_is_left_in_the_middle_holds_no_lock)
{
	struct lossy l = begin();
	struct region_member *m = region_record(l.a, 3);
	struct region *other = rig_open(&l.g);
	uint64_t word;

	CHECK_OK(member_step(shared_load64(&m->word), MEMBER_EV_CLAIM,
			     l.a->host.id[0], &word));
	shared_store64(&m->word, word);
	lost_in_lock = m;
	CHECK_INT(region_fence(l.a, 3, 0, false), ==, REGION_ALIVE);
	CHECK(!lost_in_lock);
	CHECK_INT(region_failed(l.a).times, ==, 1);
	CHECK_OK(region_lock(other->fd, 1));
	region_close(other);
	end(&l);
}

/* What cannot be read is pinned, for all that anybody knows. */
TEST(pins_that_cannot_be_read_hold)
{
	struct lossy l = begin();
	struct region_pin pin;
	uint32_t c = 0;
	uint64_t inc;

	CHECK_OK(rig_pin(l.c, 1, &pin));
	CHECK_OK(region_self(l.c, &c, &inc));
	lose(l.a, l.a->places.units + c * REGION_UNIT);
	for (uint64_t id = 1000; id < 1000 + FRAMES; id++) {
		int err = rig_put(l.a, id, 1);

		CHECK(err == 0 || err == REGION_FULL);
	}
	CHECK_INT(rig_put(l.a, 2000, 1), ==, REGION_FULL);
	CHECK_INT(region_evict(l.a, 4), ==, 0);
	CHECK(rig_right(1, pin.data, pin.bytes));
	CHECK_OK(region_tick(l.a));
	/* it ends, and with it what nobody can read */
	region_unpin(l.c, &pin);
	CHECK_OK(region_leave(l.c));
	CHECK_INT(region_evict(l.a, 4), >=, 4);
	CHECK_OK(rig_put(l.a, 2000, 1));
	end(&l);
}

/* A member's own pin unit, the control area: it is told, and lives. */
TEST(a_member_without_pins_is_told)
{
	struct lossy l = begin();
	struct region_name name = rig_name(1);
	struct region_pin pin;
	uint64_t unit = l.c->places.units + l.c->self * REGION_UNIT;

	lose(l.c, unit + offsetof(struct region_unit, slot));
	CHECK_INT(region_pin(l.c, &name, &pin), ==, -EIO);
	lose(l.b, 0 + offsetof(struct region_control, owner));
	lose(l.b, 0 + offsetof(struct region_control, member));
	CHECK_INT(region_tick(l.b), ==, -EIO);
	CHECK(rig_has(l.a, 1));
	end(&l);
}

/* Counters lie in the own unit: where that fails, what was counted is still done, and
 * said. */
TEST(what_cannot_be_counted_is_done)
{
	struct lossy l = begin();
	uint32_t shard = l.a->own[0]->shard;
	struct region_pin pin;

	lose(l.b, l.b->places.units + l.b->self * REGION_UNIT);
	CHECK_OK(rig_put(l.b, 200, 2));
	CHECK_OK(rig_pin(l.c, 200, &pin));
	region_unpin(l.c, &pin);
	rig_kill(l.a, l.c);
	l.a = NULL;
	CHECK_OK(region_take(l.b, shard));
	CHECK_INT(region_owned(l.b), ==, 2);
	CHECK_OK(region_give(l.b, shard));
	end(&l);
}

static void look_at(const void *at, uint64_t bytes)
{
	if (bytes)
		(void)*(const volatile char *)at; /* words: one thread */
}

/* Where caches are flushed, that meets it. */
TEST(a_frame_that_fails_under_its_seal_is_given_back)
{
	struct lossy l = begin();
	struct region_mem mem = *l.a->mem;
	struct region_name name = rig_name(70);
	struct region_own *own = l.a->own[0];
	char data[RIG_BYTES] = { 1 };
	struct region_grant g;
	uint64_t checksum;

	mem.flush = look_at;
	l.a->mem = &mem;
	CHECK_OK(region_grant(l.a, &name, RIG_BYTES, 16, 0, &g));
	CHECK_OK(region_fill(l.a, &g, data, RIG_BYTES, &checksum));
	lose(l.a, shard_at(l.a, g.shard) + l.a->places.payload +
			  g.frame * RIG_FRAME);
	CHECK_INT(region_seal(l.a, &g, RIG_BYTES, 16, checksum), ==, -EIO);
	CHECK_INT(own->n_quarantined, ==, 1);
	CHECK_INT(own->n_free + own->n_sealed, ==, FRAMES - 1);
	CHECK_OK(region_give(l.a, g.shard));
	end(&l);
}

/* Another member's unit fails, and who joins meets it: in, without what that one
 * told. Of the control area it cannot do without any. */
TEST(who_joins_meets_what_is_lost)
{
	struct lossy l = begin();
	struct region_join_options o = { .size = sizeof(o) };
	uint64_t lost[] = {
		l.b->places.units + l.b->self * REGION_UNIT,
		offsetof(struct region_control, member),
		offsetof(struct region_control, owner),
	};

	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		struct region *late = rig_open(&l.g);

		lose(late, lost[i]);
		CHECK_INT(region_join(late, &o), ==, i ? -EIO : 0);
		if (!i) {
			CHECK(rig_has(late, 1) && rig_has(late, 101));
			CHECK_OK(region_tick(late));
			CHECK_OK(region_leave(late));
		}
		region_close(late);
	}
	end(&l);
}

/* All of it at once, and no tick has seen that yet: each call says so and returns. */
TEST(a_region_that_is_gone_is_told_by_every_call)
{
	struct lossy l = begin();
	struct region_join_options o = { .size = sizeof(o) };
	struct region_name name = rig_name(1), other = rig_name(1000);
	struct region *late = rig_open(&l.g);
	struct region_grant grant;
	struct region_pin pin, more;
	uint32_t own = l.a->own[0]->shard;

	CHECK_OK(rig_pin(l.c, 1, &pin));
	CHECK_OK(region_grant(l.b, &other, RIG_BYTES, 16, 0, &grant));
	CHECK_OK(ftruncate(l.g.fd, 0));
	CHECK_INT(region_join(late, &o), ==, -EIO);
	CHECK_INT(region_remove(l.a, &name), ==, -EIO);
	CHECK_INT(region_evict(l.a, 4), ==, 0);
	CHECK_INT(region_take(l.a, 1 - own), ==, -EIO);
	CHECK_INT(region_fence(l.a, l.c->self, 0, true), ==, -EIO);
	region_use(l.a, &name);
	CHECK_INT(region_verify(l.c, &name, &pin), ==, REGION_BAD);
	CHECK_INT(region_pin(l.c, &other, &more), ==, -EIO);
	region_unpin(l.c, &pin);
	region_unpin_all(l.c);
	/*
	 * A release store and a compare-and-swap take a lock of the sanitizer's
	 * (SlotLock(), clang 14) around the store itself; loads and relaxed stores
	 * take none. Where such a one meets memory that is gone, the guard's
	 * siglongjmp() leaves the lock taken, and the thread waits for itself in the
	 * next: the swap of the word in this region_leave(), and then the swap of
	 * the owner in the one of l.a, as their stacks showed. A program of one such
	 * store, a handler that jumps, and a second store does the same.
	 */
#ifdef ONECOPY_TSAN
	SKIP("a swap that faults leaves a lock of the thread sanitizer's "
	     "taken; all before it passed");
#endif
	CHECK_INT(region_leave(l.c), ==, -EIO);
	CHECK_INT(region_seal(l.b, &grant, RIG_BYTES, 16, 0), ==, -EIO);
	region_abandon(l.b, &grant);
	CHECK_INT(region_grant(l.b, &other, RIG_BYTES, 16, 0, &grant), ==,
		  -EIO);
	CHECK_INT(region_give(l.a, own), ==, -EIO);
	CHECK_INT(region_leave(l.a), ==, -EIO);
	CHECK_INT(region_tick(l.a), ==, -EIO);
	region_close(late);
	end(&l);
}

/* Its own pins fail, so it must end: it gives its shard to others. So it does where
 * the shard fails, too. */
TEST(who_must_end_gives_its_shards)
{
	struct lossy l = begin();
	uint32_t own = l.a->own[0]->shard;

	lose(l.a, l.a->places.units + l.a->self * REGION_UNIT);
	lose(l.b, shard_at(l.b, 1 - own));
	CHECK_OK(region_leave(l.a));
	CHECK_OK(region_leave(l.b));
	CHECK_OK(region_take(l.c, own));
	CHECK_OK(region_take(l.c, 1 - own));
	CHECK(rig_has(l.c, 1));
	end(&l);
}

static unsigned told;

static void tell(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
	told++;
}

/* Who only looks: check says each, status says that it does not know. */
TEST(who_looks_survives)
{
	struct lossy l = begin();
	struct region *eye = rig_open(&l.g);
	struct region_member_status m;
	struct region_shard_status s;
	struct region_checked done;
	uint32_t shard = l.a->own[0]->shard;

	lose(eye, bytes_of(eye, 3));
	lose(eye, bytes_of(eye, 5));
	CHECK_INT(region_check(eye, false, true, tell, NULL, &done), ==, 2);
	CHECK_INT(told, ==, 2);
	CHECK_INT(done.sealed, ==, 16);
	CHECK_INT(region_check(eye, false, false, tell, NULL, &done), ==, 0);
	lose(eye, shard_at(eye, shard) + eye->places.desc);
	CHECK_INT(region_check(eye, false, true, tell, NULL, &done), ==, 1);
	CHECK_INT(done.frames, ==, 2 * FRAMES - PAGE_BYTES / 128);
	lose(eye, shard_at(eye, shard) + eye->places.table +
			  sizeof(struct table_header));
	lose(eye, shard_at(eye, shard));
	CHECK_INT(region_check(eye, true, true, tell, NULL, &done), >=, 2);
	lose(eye, eye->places.units + l.c->self * REGION_UNIT);
	CHECK_INT(region_check(eye, false, true, tell, NULL, &done), >=, 3);
	region_member_status(eye, l.c->self, &m);
	CHECK(m.lost);
	region_member_status(eye, l.a->self, &m);
	CHECK(!m.lost && m.state == MEMBER_LIVE);
	region_shard_status(eye, shard, &s);
	CHECK(s.lost && s.owner == -1);
	region_shard_status(eye, 1 - shard, &s);
	CHECK(!s.lost && s.owner == (int64_t)l.b->self);
	region_close(eye);
	end(&l);
}

/* ---- on a device ------------------------------------------------------------------- */

static void poison_run(void *ctx)
{
	char *at = (char *)((uintptr_t)ctx & ~(uintptr_t)(PAGE_BYTES - 1));

	CHECK_OK(madvise(at, PAGE_BYTES, MADV_HWPOISON));
}

/* 2 MiB are lost at once, with all blocks in them; the rest serves. Emulated memory
 * shows its old bytes afterwards, so it is the poisoning itself that is met. */
TEST(real_poison_costs_what_lies_there)
{
	const uint32_t wide = REGION_UNIT / RIG_FRAME;
	struct region_format_options o = { .size = sizeof(o),
					   .members =
						   16, /* its data lies far */
					   .shards = 1,
					   .frame_bytes = RIG_FRAME,
					   .frames = 4 * wide,
					   .lease_ms = 1000,
					   .force = true,
					   .even_if_live = true };
	struct region_where lost = { .part = LOST_CONTROL };
	const char *path = getenv("ONECOPY_CXL_REGION");
	struct rig g = { .fd = -1 };
	struct region_shard_status s;
	struct region *a, *c;
	struct region_pin pin;

	if (!path)
		SKIP("ONECOPY_CXL_REGION names nothing that may be overwritten");
	snprintf(g.path, sizeof(g.path), "%s", path);
	CHECK_OK(region_format(path, &o));
	guard_install();
	a = rig_join(&g, "a", 1, false);
	c = rig_join(&g, "c", 0, false);
	/* beyond the unit in which the descriptors lie */
	for (uint64_t id = 1; id <= wide + 9; id++)
		CHECK_OK(rig_put(a, id, 1));
	CHECK_OK(rig_pin(a, wide + 3, &pin));
	CHECK_INT(region_guard(a, poison_run, (void *)(uintptr_t)pin.data,
			       &lost),
		  ==, -EIO);
	CHECK_INT(lost.part, ==, LOST_FRAME);
	CHECK_INT(lost.frame, <=, pin.frame);
	CHECK_INT(lost.bytes, ==, REGION_UNIT);
	CHECK_INT(errors_of(a), ==, 1);
	region_unpin(a, &pin);
	CHECK_OK(region_tick(a));
	region_shard_status(c, 0, &s);
	CHECK_INT(s.held, >=, wide);
	CHECK_INT(s.held, <=, wide + 1);
	CHECK_INT(s.held + s.free + s.sealed, ==, 4 * wide);
	CHECK(rig_has(c, 3));
	CHECK(!rig_has(c, wide + 3));
	for (uint64_t id = 1000; id < 1000 + 4 * wide; id++)
		CHECK_OK(rig_put(a, id, 1));
	CHECK(rig_has(c, 999 + 4 * wide));
	CHECK_INT(errors_of(a), ==, 1);
	CHECK_OK(region_leave(a));
	CHECK_OK(region_leave(c));
	rig_check(c, true);
	region_close(a);
	region_close(c);
	o.none = true;
	CHECK_OK(region_format(path, &o));
}
