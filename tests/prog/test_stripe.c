/* SPDX-License-Identifier: Apache-2.0 */
/* Parts in slabs that are striped slice by slice, and spaces over them. */
#include "base/fault.h"
#include <onecopy/session.h>
#include <signal.h>
#include "tests/prog/space_rig.h"

#define SLICES 32u
#define SLICE  (4 * KIB)
#define BYTES  (SLICES * SLICE)
#define RUN    12u
#define RUNS   8u
#define BLOCKS (RUN * RUNS)
#define OTHERS 10000u /* keys of what lies between the runs */
#define STEPS  400u

struct rig {
	struct live n;
	char place[64];
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
};

static oc_ns *striped_ns(oc_client *c)
{
	struct oc_ns_options o = { .size = sizeof(o),
				   .block_tokens = 16,
				   .n_groups = 1,
				   .groups = { { .slices = SLICES,
						 .slice_bytes = SLICE,
						 .stride = OC_STRIPED } } };
	oc_ns *ns;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	return ns;
}

static uint8_t byte_of(uint64_t n, uint32_t slice, uint64_t k)
{
	return (uint8_t)(n * 7 + slice * 31 + k / 61 + 1);
}

static void make(uint64_t n, uint8_t *data)
{
	for (uint32_t s = 0; s < SLICES; s++)
		for (uint64_t k = 0; k < SLICE; k++)
			data[s * SLICE + k] = byte_of(n, s, k);
}

static void put(oc_ns *ns, uint64_t n)
{
	static uint8_t data[BYTES];
	struct oc_key key = live_key(n);

	make(n, data);
	CHECK_OK(oc_put(ns, &key, SP_P0, data, BYTES, 0));
}

static bool slice_is(const uint8_t *at, uint64_t n, uint32_t s)
{
	for (uint64_t k = 0; k < SLICE; k++)
		if (at[k] != byte_of(n, s, k))
			return false;
	return true;
}

static void open_node(struct rig *r)
{
	r->c = live_connect(&r->n);
	r->ns = striped_ns(r->c);
}

static void start_scrub(struct rig *r, const char *rate)
{
	r->place[0] = '\0';
	live_start(&r->n, "--dram=64MiB", "--slab=16MiB", "--scrub", rate);
	open_node(r);
	r->s = NULL;
}

static void start(struct rig *r)
{
	start_scrub(r, "64M");
}

static void start_space(struct rig *r, enum oc_space_how how)
{
	start(r);
	r->s = sp_make(r->ns, how);
}

static void end(struct rig *r)
{
	char file[96];

	oc_space_destroy(r->s);
	live_check(r->c);
	CHECK_INT(live_stat(r->c).pins_held, ==, 0);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
	if (!r->place[0])
		return;
	snprintf(file, sizeof(file), "%s/onecopy.log", r->place);
	unlink(file);
	CHECK_INT(rmdir(r->place), ==, 0);
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

static uint8_t *at(const struct oc_span_info *f, uint32_t slice, size_t i)
{
	return (uint8_t *)f->base + slice * f->slice_stride +
	       i * f->block_stride;
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

/* ---- parts ---- */

TEST(parts_are_written_and_read_in_slices)
{
	static uint8_t back[BYTES];
	struct oc_pin a, b;
	struct oc_where where;
	uint64_t bytes;
	struct rig r;

	start(&r);
	for (uint64_t n = 0; n < 4; n++)
		put(r.ns, n);
	for (uint64_t n = 0; n < 4; n++) {
		struct oc_key key = live_key(n);

		CHECK_OK(oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes));
		CHECK_INT(bytes, ==, BYTES);
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is(back + s * SLICE, n, s));
	}
	for (uint64_t n = 0; n < 3; n++) {
		struct oc_key key = live_key(n), next = live_key(n + 1);

		CHECK_OK(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY, &a));
		CHECK_OK(oc_pin(r.ns, &next, SP_P0, 0, &b));
		/* 128 frames of a slab */
		CHECK_INT(a.stride, ==, 128 * SLICE);
		CHECK_INT(b.offset, ==, a.offset + SLICE);
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is((const uint8_t *)a.data + s * a.stride,
				       n, s));
		CHECK_OK(oc_where(r.ns, &key, SP_P0, &where));
		CHECK_INT(where.offset, ==, a.offset);
		oc_unpin(r.ns, &a);
		oc_unpin(r.ns, &b);
	}
	end(&r);
}

TEST(who_does_not_know_is_refused)
{
	struct oc_key key = live_key(0);
	uint8_t few[SLICE] = { 0 };
	struct oc_grant g;
	struct oc_pin pin;
	struct rig r;
	size_t n;
	oc_ns *ns;

	start(&r);
	put(r.ns, 0);
	/* by its number alone */
	CHECK_OK(oc_ns_find(r.c, oc_ns_id(r.ns), &ns));
	CHECK_INT(oc_pin(ns, &key, SP_P0, 0, &pin), ==, -EOPNOTSUPP);
	CHECK(strstr(oc_client_error(r.c), "OC_STRIPED"));
	CHECK_INT(oc_pin_batch(ns, &key, 1, SP_P0, 0, &pin, &n), ==,
		  -EOPNOTSUPP);
	CHECK_INT(oc_match_pin(ns, &key, 1, NULL, &pin, &n), ==, -EOPNOTSUPP);
	key = live_key(1);
	CHECK_INT(oc_grant(ns, &key, SP_P0, 0, 0, 0, &g), ==, -EOPNOTSUPP);
	CHECK_INT(oc_exists(ns, &key, SP_P0), ==, OC_MISS);
	oc_ns_close(ns);
	/* less than all slices */
	CHECK_INT(oc_put(r.ns, &key, SP_P0, few, SLICE, 0), ==, -EINVAL);
	CHECK_OK(oc_grant(r.ns, &key, SP_P0, 0, 0, 0, &g));
	oc_fill(&g, few, SLICE);
	CHECK_INT(oc_seal(r.ns, &g, NULL, 0), ==, -EINVAL);
	/* packed it is another namespace */
	ns = live_ns(r.c, BYTES);
	key = live_key(0);
	CHECK_INT(oc_pin(ns, &key, SP_P0, 0, &pin), ==, OC_MISS);
	CHECK_OK(live_write(ns, 0, BYTES));
	CHECK_OK(oc_pin(ns, &key, SP_P0, 0, &pin));
	CHECK_INT(pin.stride, ==, 0);
	CHECK(!live_wrong(&key, pin.data, BYTES));
	oc_unpin(ns, &pin);
	oc_ns_close(ns);
	end(&r);
}

/* A byte of the last slice, by whoever wrote it. */
TEST(wrong_bytes_in_a_slice_are_found)
{
	static uint8_t data[BYTES];
	struct oc_pin pin;
	struct oc_grant g;
	uint64_t sum;
	struct rig r;

	for (uint64_t n = 0; n < 2; n++) {
		struct oc_key key = live_key(n);
		uint8_t *last;

		start_scrub(&r, n ? "64M" : "0");
		make(n, data);
		CHECK_OK(oc_grant(r.ns, &key, SP_P0, 0, 0, 0, &g));
		last = (uint8_t *)g.data + (SLICES - 1) * g.stride;
		CHECK_INT(g.slice_bytes, ==, SLICE);
		sum = oc_fill(&g, data, BYTES);
		CHECK(sum == oc_checksum(&key, SP_P0, data, BYTES));
		CHECK_OK(oc_seal(r.ns, &g, n ? NULL : &sum, 0));
		CHECK_OK(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY, &pin));
		oc_unpin(r.ns, &pin);
		last[SLICE - 1] ^= 1;
		if (n == 0) /* by who reads it; else by the scrubber */
			CHECK_INT(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY,
					 &pin),
				  ==, OC_BAD);
		LIVE_WAIT(&r.n, live_counter(r.c, "bad") == 1);
		CHECK_INT(oc_exists(r.ns, &key, SP_P0), ==, OC_MISS);
		end(&r);
	}
}

/* ---- spaces ---- */

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

/* ---- below ---- */

/* The rung below DRAM is not for them: they leave, or stay, and others fall. */
TEST(striped_blocks_do_not_fall_to_the_rung)
{
	static uint8_t back[BYTES];
	uint64_t bytes, there = 0, fallen;
	struct rig r;
	oc_ns *ns;

	r.place[0] = '\0';
	live_start(&r.n, "--dram=8M", "--slab=1M", "--cxl=memory:8M");
	open_node(&r);
	r.s = NULL;
	for (uint64_t n = 0; n < 128; n++)
		put(r.ns, n);
	CHECK_INT(live_counter(r.c, "cxl_parts"), ==, 0);
	CHECK_INT(live_counter(r.c, "evicted"), >, 60);
	for (uint64_t n = 0; n < 128; n++) {
		struct oc_key key = live_key(n);

		if (oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes))
			continue;
		there++;
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is(back + s * SLICE, n, s));
	}
	CHECK_INT(there, >, 32);
	/* packed ones of the same client take their slabs, and fall */
	ns = live_ns(r.c, BYTES);
	live_write_some(ns, 5000, 128, BYTES);
	fallen = live_counter(r.c, "cxl_parts");
	CHECK_INT(fallen, >, 0);
	for (uint64_t n = 200; n < 300; n++)
		put(r.ns, n);
	CHECK_INT(live_read_some(ns, 5000, 128, BYTES), >, 0);
	oc_ns_close(ns);
	end(&r);
}

#define FRAMES 64u /* what memory holds */
#define MANY   (3 * FRAMES)

static void start_below(struct rig *r)
{
	char nvme[96];

	snprintf(r->place, sizeof(r->place), "/tmp/onecopy-stripe-XXXXXX");
	CHECK(mkdtemp(r->place) != NULL);
	snprintf(nvme, sizeof(nvme), "%s:64M", r->place);
	live_start(&r->n, "--dram=8M", "--slab=1M", "--nvme", nvme);
	LIVE_WAIT(&r->n, live_said(&r->n, "the nvme tier is up"));
	open_node(r);
	r->s = NULL;
	/* what a grant waits for too long is evicted unwritten, and counted */
	for (uint64_t n = 0; n < MANY; n++) {
		if (n >= FRAMES)
			LIVE_WAIT(
				&r->n,
				live_counter(r->c, "demoted") +
						live_counter(r->c,
							     "demote_missed") >
					n - FRAMES);
		put(r->ns, n);
	}
	LIVE_WAIT(&r->n, live_counter(r->c, "demoted") > 0);
	/* its frames are others' to have */
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	open_node(r);
	r->s = sp_make(r->ns, OC_SPACE_FAULTS);
}

/* 0: right; 1: lost, and flagged. */
static unsigned look(oc_span *sp, const struct oc_span_info *f, size_t i)
{
	struct oc_span_block b;
	unsigned wrong = 0;

	for (uint32_t s = 0; s < SLICES; s++)
		wrong += !slice_is(at(f, s, i), i, s);
	CHECK_OK(oc_span_block(sp, i, &b));
	if (b.state == OC_BLOCK_ZERO)
		return 1;
	CHECK_INT(wrong, ==, 0);
	return 0;
}

TEST(blocks_come_back_from_the_drive)
{
	struct oc_span_info f;
	unsigned lost = 0, again = 0;
	struct rig r;
	oc_span *sp;

	start_below(&r);
	sp = sp_map_how(r.s, 0, MANY,
			(struct oc_span_options){ .part = SP_P0,
						  .layout = OC_LAYOUT_SLICES,
						  .lost = OC_LOST_ZERO,
						  .flags = OC_SPAN_LAZY,
						  .capacity = MANY });
	f = sp_info(sp);
	for (size_t i = 0; i < MANY; i++)
		lost += look(sp, &f, i);
	CHECK_INT(lost, <=, live_counter(r.c, "demote_missed"));
	CHECK_INT(sp_report(r.s).moved_bytes + lost * BYTES, >=,
		  MANY / 3 * BYTES);
	CHECK_INT(sp_report(r.s).let_go + lost, >=, MANY - FRAMES);
	/* and from the end: each at its address */
	for (size_t i = MANY; i-- > 0;)
		again += look(sp, &f, i);
	CHECK_INT(again, >=, lost);
	CHECK_INT(again, <=, live_counter(r.c, "demote_missed"));
	NOTE("%u lost of %u, then %u", lost, MANY, again);
	end(&r);
}

/* What is on the drive does not know how it lay in memory. */
TEST(the_drive_outlives_the_node)
{
	static uint8_t back[BYTES];
	struct oc_match_options o = OC_MATCH_INIT;
	uint64_t bytes, there = 0, written;
	char nvme[96];
	struct rig r;

	start_below(&r);
	written = live_counter(r.c, "demoted");
	oc_space_destroy(r.s);
	r.s = NULL;
	oc_ns_close(r.ns);
	oc_client_close(r.c);
	live_stop(&r.n);
	snprintf(nvme, sizeof(nvme), "%s:64M", r.place);
	live_start(&r.n, "--dram=8M", "--slab=1M", "--nvme", nvme);
	LIVE_WAIT(&r.n, live_said(&r.n, "the nvme tier is up"));
	open_node(&r);
	o.fetch_ns = LIVE_DEADLINE;
	for (uint64_t n = 0; n < MANY; n++) {
		struct oc_key key = live_key(n);
		struct oc_pin pin = { 0 };
		size_t usable = 0;

		CHECK_OK(oc_match_pin(r.ns, &key, 1, &o, &pin, &usable));
		if (!usable)
			continue;
		there++;
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is((const uint8_t *)pin.data +
					       s * pin.stride,
				       n, s));
		oc_unpin(r.ns, &pin);
		CHECK_OK(oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes));
	}
	CHECK_INT(there, >=, written);
	NOTE("%llu written, %llu there", (unsigned long long)written,
	     (unsigned long long)there);
	end(&r);
}
