/* SPDX-License-Identifier: Apache-2.0 */
/* Spaces over parts that are striped slice by slice. */
#include "base/fault.h"
#include <signal.h>
#include "tests/prog/stripe_rig.h"

static void start_space(struct rig *r, enum oc_space_how how)
{
	start(r);
	r->s = sp_make(r->ns, how);
}

/* A session of BLOCKS blocks in RUNS rows of neighbouring frames. */
static void put_runs(oc_ns *ns)
{
	for (uint64_t n = 0; n < BLOCKS; n++) {
		if (n % RUN == 0)
			put(ns, OTHERS + n);
		put(ns, n);
	}
}

static oc_span *map(oc_space *s, uint64_t first, size_t n, unsigned flags)
{
	return sp_map_how(s, first, n,
			  (struct oc_span_options){ .part = SP_P0,
						    .layout = OC_LAYOUT_SLICES,
						    .flags = flags,
						    .capacity = n });
}

static void right(const struct oc_span_info *f, size_t i, uint64_t n)
{
	for (uint32_t s = 0; s < SLICES; s++)
		if (!slice_is(at(f, s, i), n, s))
			FAIL("slice %u of block %zu is not %llu's", s, i,
			     (unsigned long long)n);
}

/* As the kernel counts them, of files alone. */
static uint64_t mappings(const struct oc_span_info *f)
{
	unsigned long long from, to, inode;
	FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t base = (uintptr_t)f->base;
	char line[512];
	uint64_t n = 0;

	while (fgets(line, sizeof(line), maps))
		n += sscanf(line, "%llx-%llx %*s %*s %*s %llu", &from, &to,
			    &inode) == 3 &&
		     inode && from < base + f->bytes && to > base;
	fclose(maps);
	return n;
}

static void maps_in_runs(enum oc_space_how how)
{
	uint64_t inode[2], offset[2];
	struct oc_span_info f;
	struct oc_pin pin;
	struct rig r;
	oc_span *sp;

	start_space(&r, how);
	put_runs(r.ns);
	sp = map(r.s, 0, BLOCKS, 0);
	f = sp_info(sp);
	CHECK(!f.gathered);
	CHECK_STR(f.why, "");
	CHECK_INT(f.mapped, ==, BLOCKS);
	CHECK_INT(f.slices, ==, SLICES);
	/* as many as there are rows in each slice; and told so */
	CHECK_INT(mappings(&f), ==, RUNS * SLICES);
	CHECK_INT(f.mappings, >=, RUNS * SLICES);
	CHECK_INT(f.mappings, <=, RUNS * SLICES + 2);
	CHECK_INT(sp_report(r.s).mmaps, ==, RUNS * SLICES);
	for (size_t i = 0; i < BLOCKS; i++)
		right(&f, i, i);
	/* the pages are the pool's: where the pin says, slice for slice */
	for (size_t i = 0; i < BLOCKS; i += 5) {
		struct oc_key key = live_key(i);

		CHECK_OK(oc_pin(r.ns, &key, SP_P0, 0, &pin));
		sp_place(pin.data, &inode[0], &offset[0]);
		for (uint32_t s = 0; s < SLICES; s++) {
			sp_place(at(&f, s, i), &inode[1], &offset[1]);
			CHECK(inode[0] && inode[0] == inode[1]);
			CHECK_INT(offset[1], ==, pin.offset + s * pin.stride);
		}
		oc_unpin(r.ns, &pin);
	}
	CHECK_INT(sp_report(r.s).gathered_bytes, ==, 0);
	CHECK_INT(live_stat(r.c).pins_held, ==, BLOCKS);
	end(&r);
}

TEST(a_run_of_blocks_is_a_mapping_a_slice)
{
	maps_in_runs(OC_SPACE_FAULTS);
}

TEST(explicit_maps_the_same)
{
	maps_in_runs(OC_SPACE_EXPLICIT);
}

/* The limit is that of all blocks as they lie, and one less. */
TEST(too_many_runs_are_gathered)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS };
	struct oc_span_info f;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	put_runs(r.ns);
	for (int less = 0; less < 2; less++) {
		oc_space *s;

		/* the reserve is one; a row of each slice may be cut */
		so.mappings = RUNS * SLICES + SLICES + 1 - (uint32_t)less;
		CHECK_OK(oc_space_create(r.ns, &so, &s));
		sp = map(s, 0, BLOCKS, 0);
		f = sp_info(sp);
		CHECK_INT(f.gathered, ==, less);
		CHECK((strstr(f.why, "too many mappings") != NULL) == less);
		CHECK_INT(mappings(&f), ==, less ? 0 : RUNS * SLICES);
		CHECK_INT(f.copied, ==, less ? BLOCKS : 0);
		CHECK_INT(sp_report(s).gathered_bytes, ==,
			  less ? BLOCKS * BYTES : 0);
		for (size_t i = 0; i < BLOCKS; i++)
			right(&f, i, i);
		oc_space_destroy(s);
	}
	/* block after block they cannot be shown as they lie */
	sp = sp_map(r.s, 0, BLOCKS, 0);
	f = sp_info(sp);
	CHECK(f.gathered);
	CHECK(strstr(f.why, "striped"));
	for (size_t i = 0; i < BLOCKS; i += 7)
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is((uint8_t *)sp_at(sp, i) + s * SLICE, i,
				       s));
	end(&r);
}

/* As it is touched: mapped while there is room, then copied. */
TEST(a_lazy_span_maps_what_it_can)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = 3 * SLICES + 1 };
	struct oc_span_info f;
	struct rig r;
	oc_span *sp;

	start(&r);
	put_runs(r.ns);
	if (oc_space_create(r.ns, &so, &r.s))
		SKIP("userfaultfd is refused");
	sp = map(r.s, 0, BLOCKS, OC_SPAN_LAZY);
	f = sp_info(sp);
	for (size_t i = 0; i < BLOCKS; i++)
		right(&f, i, i);
	f = sp_info(sp);
	CHECK(!f.gathered);
	CHECK_INT(f.mapped, >, 0);
	CHECK_INT(f.copied, >, 0);
	CHECK_INT(f.mapped + f.copied, ==, BLOCKS);
	CHECK_INT(mappings(&f), <=, 3 * SLICES);
	CHECK_INT(sp_report(r.s).gathered_bytes, ==, f.copied * BYTES);
	CHECK_INT(sp_report(r.s).maps_full, >, 0);
	end(&r);
}

/* Where nothing is copied, what has no mappings is refused; it is not lost. */
TEST(explicit_says_that_mappings_ran_out)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_EXPLICIT,
				       .mappings = 4 * SLICES };
	struct oc_span_info f;
	struct rig r;
	oc_span *sp;
	size_t held = 0;
	int e = 0;

	start(&r);
	put_runs(r.ns);
	CHECK_OK(oc_space_create(r.ns, &so, &r.s));
	sp = map(r.s, 0, BLOCKS, OC_SPAN_LAZY);
	while (held < BLOCKS && (e = oc_span_hold(sp, held, 1, 0, 0)) == 0)
		held++;
	CHECK_INT(e, ==, -ENOSPC);
	CHECK_INT(held, >, 0);
	CHECK_INT(held, <, BLOCKS);
	f = sp_info(sp);
	CHECK_INT(f.lost, ==, 0);
	for (size_t i = 0; i < held; i++)
		right(&f, i, i);
	/* others are let go of for it */
	oc_span_release(sp, 0, held);
	CHECK_OK(oc_span_advise(sp, 0, held, OC_ADVISE_DO_NOT_NEED, 0));
	CHECK_OK(oc_span_hold(sp, BLOCKS - 1, 1, 0, 0));
	f = sp_info(sp);
	CHECK_INT(f.lost, ==, 0);
	right(&f, BLOCKS - 1, BLOCKS - 1);
	oc_span_release(sp, BLOCKS - 1, 1);
	end(&r);
}

TEST(a_touch_brings_the_run_in_all_slices)
{
	struct oc_span_info f;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	put_runs(r.ns);
	sp = map(r.s, 0, BLOCKS, OC_SPAN_LAZY);
	f = sp_info(sp);
	CHECK_INT(f.absent, ==, BLOCKS);
	/* one layer, from begin to end */
	for (size_t i = 0; i < BLOCKS; i++)
		CHECK(slice_is(at(&f, 17, i), i, 17));
	CHECK_INT(sp_report(r.s).faults, <=, 2 * RUNS);
	for (size_t i = 0; i < BLOCKS; i++)
		right(&f, i, i);
	CHECK_INT(sp_info(sp).mapped, ==, BLOCKS);
	/* what came one after the other is one for the kernel as well */
	CHECK_INT(mappings(&f), ==, RUNS * SLICES);
	end(&r);
}

TEST(a_first_write_gets_a_frame_in_stripes)
{
	static uint8_t back[BYTES];
	struct oc_key key = live_key(500), first = live_key(3);
	struct oc_span_info f, g;
	struct oc_span_block b;
	uint64_t bytes;
	oc_space *other;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	put_runs(r.ns);
	other = sp_make(r.ns, OC_SPACE_FAULTS);
	sp = map(r.s, 0, BLOCKS, 0);
	f = sp_info(sp);
	g = sp_info(map(other, 0, BLOCKS, 0));
	at(&f, 9, 3)[77] ^= 0xff;
	CHECK_OK(oc_span_block(sp, 3, &b));
	CHECK_INT(b.state, ==, OC_BLOCK_OWN);
	CHECK_INT(sp_report(r.s).own_bytes, ==, BYTES);
	at(&f, 9, 3)[77] ^= 0xff;
	right(&f, 3, 3);
	at(&f, 9, 3)[77] ^= 0xff;
	/* nobody else sees it */
	for (size_t i = 0; i < BLOCKS; i++)
		right(&g, i, i);
	CHECK_OK(oc_get(r.ns, &first, SP_P0, back, BYTES, &bytes));
	CHECK(slice_is(back + 9 * SLICE, 3, 9));
	/* and sealed it is a block like others */
	CHECK_OK(oc_span_seal(sp, 3, &key, 0));
	CHECK_OK(oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes));
	CHECK_INT(back[9 * SLICE + 77], ==, (uint8_t)~byte_of(3, 9, 77));
	back[9 * SLICE + 77] ^= 0xff;
	for (uint32_t s = 0; s < SLICES; s++)
		CHECK(slice_is(back + s * SLICE, 3, s));
	CHECK_INT(at(&f, 9, 3)[77], ==, (uint8_t)~byte_of(3, 9, 77));
	CHECK_INT(sp_info(sp).own, ==, 0);
	/* lent for its key, the frame itself is sealed: nothing is copied */
	key = live_key(501);
	CHECK_OK(oc_span_write_as(sp, 4, &key, 0));
	at(&f, 31, 4)[0] = 0;
	bytes = live_stat(r.c).sealed_blocks;
	CHECK_OK(oc_span_seal(sp, 4, &key, 0));
	CHECK_INT(live_stat(r.c).sealed_blocks, ==, bytes + 1);
	CHECK_INT(live_stat(r.c).granted, ==, 0);
	CHECK_INT(at(&f, 31, 4)[0], ==, 0);
	right(&g, 4, 4);
	oc_space_destroy(other);
	end(&r);
}

TEST(the_tail_grows_in_all_slices)
{
	static uint8_t back[BYTES];
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_session_options fo = OC_SESSION_INIT;
	struct oc_key keys[3] = { live_key(0), live_key(1), live_key(2) };
	struct oc_key part = live_key(90);
	oc_session *session, *fork;
	struct oc_span_info f;
	struct oc_tail tail;
	uint64_t bytes;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	put(r.ns, 0);
	put(r.ns, 1);
	CHECK_OK(oc_session_open(r.ns, NULL, 0, &session));
	CHECK_OK(oc_session_append(session, keys, 2, 0));
	o.layout = OC_LAYOUT_SLICES;
	o.capacity = 8;
	CHECK_OK(oc_span_map_session(r.s, session, &o, 0, &sp));
	f = sp_info(sp);
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	CHECK(tail.data == at(&f, 0, 2));
	CHECK_INT(tail.stride, ==, f.slice_stride);
	for (uint32_t s = 0; s < SLICES; s++)
		for (uint64_t k = 0; k < SLICE; k++)
			at(&f, s, 2)[k] = byte_of(2, s, k);
	/* a fork shares it and gets a copy with its first write */
	fo.tail_key = &part;
	fo.tail_tokens = 5;
	CHECK_OK(oc_session_fork(session, &fo, 0, &fork));
	CHECK_OK(oc_session_tail(fork, SP_P0, 0, 0, &tail));
	CHECK(tail.copied);
	for (uint32_t s = 0; s < SLICES; s++)
		CHECK(slice_is((uint8_t *)tail.data + s * tail.stride, 2, s));
	((uint8_t *)tail.data)[0] ^= 1;
	CHECK_OK(oc_session_close(fork, 0));
	/* ours is another frame now */
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	right(&f, 2, 2);
	CHECK_OK(oc_span_tail_seal(sp, session, &keys[2], 0));
	CHECK_OK(oc_get(r.ns, &keys[2], SP_P0, back, BYTES, &bytes));
	for (uint32_t s = 0; s < SLICES; s++)
		CHECK(slice_is(back + s * SLICE, 2, s));
	for (size_t i = 0; i < 3; i++)
		right(&f, i, i);
	CHECK_INT(sp_info(sp).mapped, ==, 3);
	oc_span_unmap(sp);
	CHECK_OK(oc_session_close(session, 0));
	end(&r);
}

/* Sessions that are written at the same time, as an engine decodes. */
TEST(sessions_that_grow_together_have_runs)
{
	enum { TOGETHER = 4, LONG = 12 };
	oc_session *session[TOGETHER];
	uint64_t before[TOGETHER] = { 0 };
	uint32_t runs = 0;
	struct rig r;

	start(&r);
	for (uint32_t i = 0; i < TOGETHER; i++)
		CHECK_OK(oc_session_open(r.ns, NULL, 0, &session[i]));
	for (uint32_t k = 0; k < TOGETHER * LONG; k++) {
		struct oc_key key = live_key(3000 + k);
		struct oc_where where;
		struct oc_tail tail;

		CHECK_OK(oc_session_tail(session[k % TOGETHER], SP_P0, 0, 0,
					 &tail));
		CHECK_OK(oc_session_tail_seal(session[k % TOGETHER], &key, NULL,
					      0));
		CHECK_OK(oc_where(r.ns, &key, SP_P0, &where));
		runs += k < TOGETHER ||
			where.offset != before[k % TOGETHER] + SLICE;
		before[k % TOGETHER] = where.offset;
	}
	CHECK_INT(runs, ==, TOGETHER);
	for (uint32_t i = 0; i < TOGETHER; i++)
		CHECK_OK(oc_session_close(session[i], 0));
	end(&r);
}

TEST(the_server_dies_while_a_write_waits)
{
	struct oc_span_info f;
	struct rig r;
	oc_span *sp;
	pid_t server;
	size_t own;

	start_space(&r, OC_SPACE_FAULTS);
	put_runs(r.ns);
	sp = map(r.s, 0, BLOCKS, 0);
	f = sp_info(sp);
	server = live_server(r.c);
	CHECK_OK(kill(server, SIGSTOP));
	CHECK_OK(kill(server, SIGKILL));
	/* here the write is, whether its frame came in time or it was copied */
	at(&f, 30, 2)[5] ^= 1;
	own = sp_info(sp).own;
	CHECK_INT(own + sp_info(sp).copied, ==, 1);
	at(&f, 30, 2)[5] ^= 1;
	for (size_t i = 0; i < BLOCKS; i++)
		right(&f, i, i);
	LIVE_WAIT(&r.n, live_server(r.c) != server);
	/* its successor knows the stripes */
	at(&f, 30, 3)[5] ^= 1;
	CHECK_INT(sp_info(sp).own, ==, own + 1);
	at(&f, 30, 3)[5] ^= 1;
	right(&f, 3, 3);
	put(r.ns, 700);
	oc_span_unmap(sp);
	sp = map(r.s, 700, 1, 0);
	f = sp_info(sp);
	right(&f, 0, 700);
	end(&r);
}

/* Each thing that can fail fails once: all is as it was, or there. */
TEST(mapping_that_fails_leaves_nothing)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[RUN];
	struct oc_span_info f;
	bool fired = true;
	unsigned step = 1;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	put_runs(r.ns);
	for (size_t i = 0; i < RUN; i++)
		keys[i] = live_key(i);
	o.layout = OC_LAYOUT_SLICES;
	for (; fired && step < STEPS; step++) {
		int e;

		fault_arm(FAULT_MAP, step, false);
		e = oc_span_map(r.s, keys, RUN, &o, &sp);
		fired = fault_fired();
		fault_arm(0, 0, false);
		if (e)
			continue;
		f = sp_info(sp);
		for (size_t i = 0; i < RUN; i++)
			right(&f, i, i);
		fault_arm(FAULT_MAP, step, false);
		at(&f, 3, 1)[9] ^= 1;
		fired |= fault_fired();
		fault_arm(0, 0, false);
		at(&f, 3, 1)[9] ^= 1;
		for (size_t i = 0; i < RUN; i++)
			right(&f, i, i);
		oc_span_unmap(sp);
	}
	CHECK(!fired);
	CHECK_INT(step, >, SLICES);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	end(&r);
}

/* A tail's slices, one of which finds no place: the next call maps the rest. */
TEST(a_tail_that_came_half_is_mapped_again)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info f;
	struct oc_tail tail;
	oc_session *session;
	bool fired = true;
	unsigned step = 1;
	struct rig r;
	oc_span *sp;

	start_space(&r, OC_SPACE_FAULTS);
	CHECK_OK(oc_session_open(r.ns, NULL, 0, &session));
	o.layout = OC_LAYOUT_SLICES;
	o.capacity = 4;
	for (; fired && step < STEPS; step++) {
		struct oc_key key = live_key(2000 + step);

		CHECK_OK(oc_span_map_session(r.s, session, &o, 0, &sp));
		CHECK_OK(oc_session_tail(session, SP_P0, 0, 0, &tail));
		f = sp_info(sp);
		fault_arm(FAULT_MAP, step, false);
		oc_span_tail(sp, session, 0, &tail);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK_OK(oc_span_tail(sp, session, 0, &tail));
		for (uint32_t s = 0; s < SLICES; s++)
			for (uint64_t k = 0; k < SLICE; k++)
				at(&f, s, f.blocks)[k] = byte_of(9, s, k);
		fault_arm(FAULT_MAP, step, false);
		if (oc_span_tail_seal(sp, session, &key, 0)) {
			fired |= fault_fired();
			fault_arm(0, 0, false);
			CHECK_OK(oc_span_tail_seal(sp, session, &key, 0));
		}
		fault_arm(0, 0, false);
		right(&f, f.blocks, 9);
		CHECK_INT(sp_info(sp).blocks, ==, f.blocks + 1);
		oc_span_unmap(sp);
		CHECK_OK(oc_session_close(session, 0));
		CHECK_OK(oc_session_open(r.ns, NULL, 0, &session));
	}
	CHECK(!fired);
	CHECK_INT(step, >, SLICES);
	CHECK_OK(oc_session_close(session, 0));
	end(&r);
}
