/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter between a real node and a fake engine, which can do what the real
 * one does seldom: change its layout, refuse, keep cells in any order, be killed
 * while it writes. No llama.cpp is needed.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "adapters/llama/internal.h"
#include "base/fault.h"
#include "client/client.h"
#include "tests/adapters/fake_engine.h"
#include "tests/prog/live.h"

#define TOKENS	 256
#define DRAM_MIB 64

static const uint8_t weights[32] = { 42 };
static int32_t tokens[TOKENS];

static void begin(struct live *n)
{
	for (int i = 0; i < TOKENS; i++)
		tokens[i] = i * 3 + 1;
	live_start(n, "--dram", "64M");
}

static oc_llama *opened(oc_client *c, const struct engine *e,
			struct oc_llama_options o)
{
	char error[256] = "";
	oc_llama *l;
	int r;

	o.size = sizeof(o);
	if (!o.weights)
		o.weights = weights;
	if (!o.timeout_ns)
		o.timeout_ns = LIVE_DEADLINE;
	r = llama_open(e, c, fake_engine_context(), &o, &l, error);
	if (r)
		FAIL("open: %d %s", r, error);
	return l;
}

#define OPEN(c_, e_, ...) \
	opened(c_, e_, (struct oc_llama_options){ __VA_ARGS__ })

/* Computes tokens[0..n) in sequence 0 and shares all of it. */
static void share(oc_client *c, size_t n)
{
	struct engine e = fake_engine_reset();
	oc_llama *l = OPEN(c, &e, 0);
	size_t left;

	fake_engine_compute(0, tokens, 0, n);
	CHECK_OK(oc_llama_export(l, 0, tokens, n, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	CHECK(fake_engine_holds(0, tokens, n));
	CHECK(fake_engine_holds(1, tokens, 0));
	oc_llama_close(l);
}

static size_t imported(oc_llama *l, size_t n)
{
	size_t past;

	CHECK_OK(oc_llama_import(l, 0, tokens, n, &past));
	CHECK(fake_engine_holds(0, tokens, past));
	return past;
}

static void end(struct live *n, oc_client *c)
{
	live_check(c);
	oc_client_close(c);
	live_stop(n);
}

/* Every way, and every place where a prompt can end. */
TEST(every_length_by_every_way)
{
	static const uint32_t kinds[][2] = { { 2, 1 }, { 1, 1 }, { 3, 3 } };
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	share(c, 100); /* 6 blocks */
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t len = 1; len <= TOKENS; len += len < 120 ? 1 : 17) {
			struct engine e = fake_engine_reset();
			size_t full = MIN(len, 96) / 16 * 16;
			oc_llama *l;

			fake_engine.n_seq = kinds[k][0];
			fake_engine.n_stream = kinds[k][1];
			l = OPEN(c, &e, 0);
			CHECK_INT(imported(l, len), ==, MIN(full, len - 1));
			oc_llama_close(l);
		}
	end(&n, c);
}

/* ---- blocks on the node's drive */

static char drive[64], nvme[80];

/* What was shared, on the drive of a node that was started again; slow: times. */
static oc_client *begin_below(struct live *n, const char *slow)
{
	oc_client *c;

	for (int i = 0; i < TOKENS; i++)
		tokens[i] = i * 3 + 1;
	snprintf(drive, sizeof(drive), "/var/tmp/onecopy-fake-XXXXXX");
	CHECK(mkdtemp(drive) != NULL);
	snprintf(nvme, sizeof(nvme), "%s:64M", drive);
	live_start(n, "--dram", "64M", "--nvme", nvme, "--save-on-exit");
	c = live_connect(n);
	share(c, 96);
	oc_client_close(c);
	live_stop(n);
	if (slow)
		setenv("ONECOPY_TEST_SLOW_NVME", slow, 1);
	live_start(n, "--dram", "64M", "--nvme", nvme);
	return live_connect(n);
}

static bool comes(oc_llama *l, size_t n)
{
	struct oc_llama_stat st;
	size_t past;

	CHECK_OK(oc_llama_import(l, 0, tokens, n, &past));
	CHECK_OK(oc_llama_stat(l, &st));
	return st.below_blocks != 0;
}

static void end_below(struct live *n, oc_client *c)
{
	char file[96];

	end(n, c);
	snprintf(file, sizeof(file), "%s/onecopy.log", drive);
	CHECK_OK(remove(file));
	CHECK_OK(rmdir(drive));
}

TEST(blocks_come_from_the_drive)
{
	struct live n;
	oc_client *c = begin_below(&n, NULL);
	struct engine e = fake_engine_reset();
	struct oc_llama_stat st;
	oc_llama *l = OPEN(c, &e, 0);

	/* until the node knows what it has */
	LIVE_WAIT(&n, comes(l, 100));
	CHECK(fake_engine_holds(0, tokens, 96));
	CHECK_OK(oc_llama_stat(l, &st));
	CHECK_INT(st.below_blocks, ==, 6);
	CHECK_INT(st.fetched_blocks, ==, 6);
	CHECK_INT(st.tokens_reused, ==, 96);
	CHECK(st.fetch_ns > 0);
	oc_llama_close(l);
	end_below(&n, c);
}

/* A drive of a tenth of a second, and a token computed in a microsecond. */
TEST(what_is_computed_sooner_is_not_waited_for)
{
	struct live n;
	oc_client *c = begin_below(&n, "1000");
	struct engine e = fake_engine_reset();
	struct oc_llama_stat st;
	oc_llama *l = OPEN(c, &e, 0);

	oc_llama_computed(l, 1000, 1000000);
	LIVE_WAIT(&n, comes(l, 100));
	CHECK(fake_engine_holds(0, tokens, 0));
	CHECK_OK(oc_llama_stat(l, &st));
	CHECK_INT(st.below_blocks, ==, 6);
	CHECK_INT(st.fetched_blocks, ==, 0);
	/* one computed in a second is */
	for (int i = 0; i < 40; i++)
		oc_llama_computed(l, 100, 100 * NS_PER_S);
	CHECK_INT(imported(l, 100), ==, 96);
	CHECK_OK(oc_llama_stat(l, &st));
	CHECK_INT(st.fetched_blocks, ==, 6);
	oc_llama_close(l);
	end_below(&n, c);
}

/* A sequence that already holds a beginning gets what is behind it. */
TEST(what_is_held_is_kept)
{
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	share(c, 96);
	for (size_t held = 0; held < 120; held++)
		for (uint32_t n_seq = 1; n_seq <= 2; n_seq++) {
			struct engine e = fake_engine_reset();
			oc_llama *l;

			fake_engine.n_seq = n_seq;
			l = OPEN(c, &e, 0);
			fake_engine_compute(0, tokens, 0, held);
			CHECK_INT(imported(l, 200), ==, MAX(held, 96));
			oc_llama_close(l);
		}
	end(&n, c);
}

TEST(export_is_bounded_and_comes_to_its_end)
{
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	size_t left = 0, calls = 0;
	struct live n;
	oc_client *c;
	oc_llama *l;

	begin(&n);
	c = live_connect(&n);
	l = OPEN(c, &e, .export_blocks = 5, .export_ns = LIVE_DEADLINE);
	fake_engine_compute(0, tokens, 0, 79); /* 4 blocks wait: not yet */
	CHECK_OK(oc_llama_export(l, 0, tokens, 79, 0, &left));
	CHECK_INT(left, ==, 4);
	fake_engine_compute(0, tokens, 79, TOKENS);
	/* each may take as long as it does, and the next comes all the same */
	l->pace.credit_ns = NS_PER_S;
	CHECK_OK(oc_llama_export(l, 0, tokens, TOKENS, 0, &left));
	CHECK_INT(left, ==, 11);
	for (; left && calls < 20; calls++) {
		l->pace.credit_ns = NS_PER_S;
		CHECK_OK(oc_llama_export(l, 0, tokens, TOKENS, OC_LLAMA_FLUSH,
					 &left));
	}
	CHECK_INT(calls, ==, 3);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.exported_blocks, ==, 16);
	CHECK_INT(s.exported_moved, ==, s.exported_bytes);
	CHECK_INT(s.pool_bytes, ==, s.exported_bytes);
	CHECK_INT(s.private_bytes, ==, FAKE_CELLS * 64);
	/* Somebody else computes the same: nothing moves. */
	l->tracks[0].sealed = 0;
	CHECK_OK(oc_llama_export(l, 0, tokens, TOKENS, OC_LLAMA_ALL, &left));
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.exported_blocks, ==, 16);
	CHECK_INT(s.existing_blocks, ==, 16);
	oc_llama_close(l);
	end(&n, c);
}

/* Cells in another order than positions: rows go where they belong. */
static void disordered(uint32_t n_seq)
{
	struct engine e = fake_engine_reset();
	struct live n;
	oc_client *c;
	oc_llama *l;
	size_t left;

	begin(&n);
	c = live_connect(&n);
	fake_engine.n_seq = n_seq;
	fake_engine.backwards = true;
	l = OPEN(c, &e, 0);
	fake_engine_compute(0, tokens, 0, 64);
	CHECK_OK(oc_llama_export(l, 0, tokens, 64, OC_LLAMA_ALL, &left));
	oc_llama_close(l);
	e = fake_engine_reset();
	l = OPEN(c, &e, 0);
	CHECK_INT(imported(l, 65), ==, 64);
	oc_llama_close(l);
	end(&n, c);
}

TEST(cells_in_any_order_by_blocks)
{
	disordered(2);
}

TEST(cells_in_any_order_whole)
{
	disordered(1);
}

TEST(another_identity_finds_nothing)
{
	static const uint8_t others[32] = { 43 };
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	share(c, 96);
	for (int what = 0; what < 5; what++) {
		struct engine e = fake_engine_reset();
		struct oc_llama_options o = { 0 };
		oc_llama *l;

		if (what == 1)
			o.weights = others;
		else if (what == 2)
			o.variant = "a LoRA";
		else if (what == 3)
			o.block_tokens = 32;
		else if (what == 4)
			fake_engine.type = 8; /* KV of another type */
		l = opened(c, &e, o);
		CHECK_INT(imported(l, 97), ==, what == 0 ? 96 : 0);
		oc_llama_close(l);
	}
	end(&n, c);
}

/* An engine that begins to write another layout: nothing of it is sealed. */
TEST(a_layout_that_changes_is_refused)
{
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	struct live n;
	oc_client *c;
	oc_llama *l;
	size_t left;

	begin(&n);
	c = live_connect(&n);
	l = OPEN(c, &e, 0);
	fake_engine_compute(0, tokens, 0, 64);
	for (int what = 0; what < 3; what++) {
		fake_engine.type = what == 0 ? 8 : 1;
		fake_engine.layers = what == 1 ? 1 : 0;
		fake_engine.trailing = what == 2;
		CHECK_INT(oc_llama_export(l, 0, tokens, 64, OC_LLAMA_ALL,
					  &left),
			  ==, -EPROTO);
		CHECK(strstr(oc_llama_error(l), "not what it was") != NULL);
	}
	fake_engine.trailing = false;
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.exported_blocks, ==, 0);
	LIVE_WAIT(&n, live_stat(c).granted == 0);
	CHECK_OK(oc_llama_export(l, 0, tokens, 64, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	oc_llama_close(l);
	end(&n, c);
}

/* A block of that key in another layout (a writer that lies). */
static void wrong_block(uint32_t n_seq)
{
	struct engine e = fake_engine_reset();
	struct oc_grant g;
	struct oc_llama_stat s;
	struct live n;
	oc_client *c;
	oc_llama *l;

	begin(&n);
	c = live_connect(&n);
	share(c, 48);
	e = fake_engine_reset();
	fake_engine.n_seq = n_seq;
	l = OPEN(c, &e, 0);
	CHECK_OK(track_take(&l->tracks[0], tokens, 64));
	CHECK_OK(oc_grant(l->ns, &l->tracks[0].keys[3],
			  (struct oc_part){ 0, 0 }, 0, 0, 0, &g));
	memset(g.data, 0, g.bytes);
	CHECK_OK(oc_seal(l->ns, &g, NULL, 0));
	CHECK_INT(imported(l, 65), ==, 48);
	CHECK(strstr(oc_llama_error(l), "layout") != NULL);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.import_failures, ==, 1);
	CHECK_INT(s.tokens_reused, ==, 48);
	oc_llama_close(l);
	end(&n, c);
}

TEST(a_block_of_another_layout_ends_the_prefix)
{
	wrong_block(2);
}

TEST(a_block_of_another_layout_ends_the_prefix_whole)
{
	wrong_block(1);
}

/* The engine has no room: what it took stays, and is whole. */
TEST(an_engine_that_refuses)
{
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	share(c, 96);
	for (uint32_t n_seq = 1; n_seq <= 2; n_seq++) {
		struct engine e = fake_engine_reset();
		oc_llama *l;

		fake_engine.n_seq = n_seq;
		l = OPEN(c, &e, 0);
		fake_engine.refuse_after = 2;
		fake_engine.sets = n_seq == 1 ? 2 : 0;
		CHECK_INT(imported(l, 97), ==, n_seq == 1 ? 0 : 32);
		CHECK(oc_llama_error(l)[0] != '\0');
		oc_llama_close(l);
	}
	end(&n, c);
}

/* The block in which the sequence ends is taken over whole, so that no hole is
 * left among the cells; refused, the sequence ends where the block begins. */
TEST(a_sequence_that_ends_in_a_block)
{
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	share(c, 96);
	for (unsigned sets = 0; sets < 2; sets++) {
		struct engine e = fake_engine_reset();
		struct oc_llama_stat s;
		oc_llama *l = OPEN(c, &e, 0);

		fake_engine_compute(0, tokens, 0, 20);
		fake_engine.refuse_after = 1;
		fake_engine.sets = 1 - sets;
		CHECK_INT(imported(l, 97), ==, sets ? 32 : 16);
		CHECK_OK(oc_llama_stat(l, &s));
		CHECK_INT(s.tokens_reused, ==, sets ? 12 : 0);
		CHECK_INT(s.import_failures, ==, 1);
		oc_llama_close(l);
	}
	end(&n, c);
}

TEST(calls_that_cannot_be)
{
	struct engine e = fake_engine_reset();
	struct live n;
	oc_client *c;
	oc_llama *l;
	size_t past;

	begin(&n);
	c = live_connect(&n);
	l = OPEN(c, &e, 0);
	fake_engine_compute(0, tokens, 0, 20);
	CHECK_INT(oc_llama_import(l, 0, tokens, 20, &past), ==, -EINVAL);
	CHECK_INT(oc_llama_import(l, 0, tokens, 0, &past), ==, -EINVAL);
	CHECK_INT(oc_llama_import(l, 1, tokens, 40, &past), ==, -EINVAL);
	CHECK_INT(oc_llama_import(l, -1, tokens, 40, &past), ==, -EINVAL);
	e.memory_seq_rm(NULL, 0, 0, 3);
	CHECK_INT(oc_llama_import(l, 0, tokens, 40, &past), ==, -EINVAL);
	CHECK_INT(oc_llama_export(l, 0, tokens, 40, 0, NULL), ==, -EINVAL);
	oc_llama_close(l);
	oc_llama_close(NULL);
	end(&n, c);
}

/* ---- no memory */

/* Each allocation of a whole life fails once: nothing leaks, nothing wrong is
 * held, and what was not shared then is shared by the next. */
static int life(oc_client *c, const struct engine *e, uint32_t n_seq)
{
	struct oc_llama_options o = { .size = sizeof(o),
				      .weights = weights,
				      .timeout_ns = LIVE_DEADLINE };
	size_t past = 0, left = 0;
	oc_llama *l;
	int r;

	fake_engine.n_seq = n_seq;
	r = llama_open(e, c, fake_engine_context(), &o, &l, NULL);
	if (r)
		return r;
	r = oc_llama_import(l, 0, tokens, 100, &past);
	CHECK_OK(r);
	CHECK(fake_engine_holds(0, tokens, past));
	fake_engine_compute(0, tokens, past, 120);
	r = oc_llama_export(l, 0, tokens, 120, OC_LLAMA_ALL, &left);
	CHECK(r == 0 || r == -ENOMEM);
	CHECK(fake_engine_holds(0, tokens, 120));
	oc_llama_close(l);
	return r;
}

static void without_memory(uint32_t n_seq)
{
	struct live n;
	oc_client *c;
	uint64_t at;

	begin(&n);
	c = live_connect(&n);
	share(c, 64);
	for (at = 1;; at++) {
		struct engine e = fake_engine_reset();
		int r;

		fault_arm(FAULT_ALLOC, at, false);
		r = life(c, &e, n_seq);
		CHECK(r == 0 || r == -ENOMEM);
		if (!fault_fired())
			break;
		fault_arm(0, 0, false);
	}
	fault_arm(0, 0, false);
	CHECK_INT(at, >, 5);
	LIVE_WAIT(&n, live_stat(c).granted == 0);
	CHECK_INT(live_stat(c).sealed_blocks, ==, 7);
	end(&n, c);
}

TEST(without_memory_by_blocks)
{
	without_memory(2);
}

TEST(without_memory_whole)
{
	without_memory(1);
}

/* ---- an engine that is killed while it writes into a frame */

struct dying {
	int fd;
	unsigned at;
};

static void die_in_get(void *ctx)
{
	struct dying *d = ctx;
	char word;

	if (fake_engine.gets < d->at)
		return;
	child_say(d->fd, 'x');
	/* Until it is killed. */
	while (read(d->fd, &word, 1) >= 0)
		continue;
}

static void exporter(const struct live *n, int fd, void *arg)
{
	struct dying d = { fd, *(unsigned *)arg };
	struct engine e = fake_engine_reset();
	oc_client *c = live_connect(n);
	/* However slow the machine: windows of four, from the first call on. */
	oc_llama *l = OPEN(c, &e, .export_ns = LIVE_DEADLINE);
	size_t left;

	fake_engine_compute(0, tokens, 0, TOKENS);
	fake_engine.on_get = die_in_get;
	fake_engine.on_get_ctx = &d;
	(void)oc_llama_export(l, 0, tokens, TOKENS, OC_LLAMA_FLUSH, &left);
	(void)oc_llama_export(l, 0, tokens, TOKENS, OC_LLAMA_ALL, &left);
}

TEST(an_engine_killed_while_it_exports)
{
	static const unsigned ats[] = { 2, 3, 5, 6, 7, 2 };
	size_t sealed = 0;
	struct live n;
	oc_client *c;

	begin(&n);
	c = live_connect(&n);
	/* In the first window of four blocks, and in the one behind it. */
	for (size_t i = 0; i < ARRAY_LEN(ats); i++) {
		unsigned at = ats[i];
		struct child child = child_start(exporter, &n, &at);
		struct engine e;
		oc_llama *l;

		CHECK_INT(child_hear(child.fd), ==, 'x');
		child_kill(&child);
		LIVE_WAIT(&n, live_stat(c).granted == 0);
		live_check(c);
		e = fake_engine_reset();
		l = OPEN(c, &e, 0);
		sealed += at > 5 ? 4 : 0;
		CHECK_INT(imported(l, TOKENS), ==, sealed * 16);
		oc_llama_close(l);
	}
	share(c, TOKENS);
	end(&n, c);
}

static void die_in_set(void *ctx)
{
	struct dying *d = ctx;
	char word;

	if (fake_engine.sets < d->at)
		return;
	child_say(d->fd, 'x');
	while (read(d->fd, &word, 1) >= 0)
		continue;
}

static void importer(const struct live *n, int fd, void *arg)
{
	struct dying d = { fd, *(unsigned *)arg };
	struct engine e = fake_engine_reset();
	oc_client *c = live_connect(n);
	oc_llama *l = OPEN(c, &e, 0);
	size_t past;

	fake_engine.on_set = die_in_set;
	fake_engine.on_set_ctx = &d;
	(void)oc_llama_import(l, 0, tokens, TOKENS, &past);
}

/* At each block of an import, while another engine imports and exports: that
 * one is not held up, and what the dead one had pinned comes back. */
TEST(an_engine_killed_while_it_imports)
{
	struct live n;
	oc_client *c;
	uint64_t free_frames = 0;

	begin(&n);
	c = live_connect(&n);
	for (unsigned at = 0; at < 6; at++) {
		struct engine e;
		struct child child;
		oc_llama *l;

		share(c, 96);
		child = child_start(importer, &n, &at);
		CHECK_INT(child_hear(child.fd), ==, 'x');
		e = fake_engine_reset();
		l = OPEN(c, &e, 0);
		CHECK_INT(imported(l, 97), ==, 96);
		child_kill(&child);
		LIVE_WAIT(&n, live_stat(c).clients == 1);
		for (size_t i = 0; i < 6; i++)
			CHECK_OK(oc_remove(l->ns, &l->tracks[0].keys[i], 0));
		oc_llama_close(l);
		live_check(c);
		CHECK_INT(live_stat(c).sealed_blocks, ==, 0);
		if (at == 0)
			free_frames = live_stat(c).free_frames;
		LIVE_WAIT(&n, live_stat(c).free_frames == free_frames);
	}
	end(&n, c);
}

/* ---- a node that is away */

/* A server that hangs, and a slab that was never met: asking for it costs an
 * import the client's timeout once, and then nothing for a second. */
TEST(a_hung_node_does_not_hold_up_imports)
{
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	struct live n;
	oc_client *c, *new;
	oc_llama *l;
	pid_t server;

	begin(&n);
	c = live_connect(&n);
	share(c, 96);
	server = live_server(c);
	new = live_connect(&n);
	e = fake_engine_reset();
	l = OPEN(new, &e, 0);
	CHECK_OK(kill(server, SIGSTOP));
	/* not before: joining takes its time on a busy machine */
	new->timeout_ns = 50 * NS_PER_MS;
	l->timeout_ns = 20 * NS_PER_MS;
	for (int i = 0; i < 20; i++)
		CHECK_INT(imported(l, 97), ==, 0);
	CHECK_OK(oc_llama_stat(l, &s));
	/* Each that waits fails, and twenty seconds do not pass. */
	CHECK_INT(s.import_failures, >=, 1);
	CHECK_INT(s.import_failures, <, 20);
	CHECK(oc_llama_error(l)[0] != '\0');
	CHECK_OK(kill(server, SIGCONT));
	oc_llama_close(l);
	oc_client_close(new);
	end(&n, c);
}

/* A node that makes memory keeps the first export waiting: what generates does
 * not wait for it, and what comes at the end is not left out because of that. */
TEST(a_slow_node_is_asked_again)
{
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	struct live n;
	pid_t server;
	oc_client *c;
	oc_llama *l;
	size_t left = 0;

	begin(&n);
	c = live_connect(&n);
	server = live_server(c);
	l = OPEN(c, &e, .export_percent = 100);
	l->pace.credit_ns = NS_PER_S;
	fake_engine_compute(0, tokens, 0, 200);
	CHECK_OK(kill(server, SIGSTOP));
	for (int i = 0; i < 3; i++)
		CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_FLUSH,
					 &left));
	CHECK_INT(left, ==, 12);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.export_failures, ==, 0);
	/* The deadline of a test's call is long: what counts is that there is
	 * another for who generates. */
	CHECK_INT(s.export_ns_most, <, LIVE_DEADLINE / 4);
	CHECK_OK(kill(server, SIGCONT));
	CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	oc_llama_close(l);
	end(&n, c);
}

/* All of the pool is in somebody's hands: the same, until he lets go. */
TEST(a_full_node_is_asked_again)
{
	struct oc_ns_options wide = {
		.size = sizeof(wide),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = MIB } },
	};
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	struct oc_key key = { { 0 } };
	struct oc_grant g;
	struct live n;
	oc_client *c, *greedy;
	oc_llama *l;
	oc_ns *ns;
	size_t left = 0;

	begin(&n);
	c = live_connect(&n);
	greedy = live_connect(&n);
	CHECK_OK(oc_ns_open(greedy, &wide, 0, &ns));
	for (; key.bytes[0] < DRAM_MIB; key.bytes[0]++)
		CHECK_OK(oc_grant(ns, &key, (struct oc_part){ 0, 0 }, 0, 0,
				  LIVE_DEADLINE, &g));
	CHECK_INT(live_stat(c).slab_bytes, ==, DRAM_MIB * MIB);
	l = OPEN(c, &e, .export_percent = 100);
	l->pace.credit_ns = NS_PER_S;
	fake_engine_compute(0, tokens, 0, 200);
	CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_FLUSH, &left));
	CHECK_INT(left, ==, 12);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.export_failures, ==, 0);
	oc_ns_close(ns);
	oc_client_close(greedy);
	CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_ALL, &left));
	CHECK_INT(left, ==, 0);
	oc_llama_close(l);
	end(&n, c);
}

TEST(a_node_that_is_away_is_left_alone)
{
	struct engine e = fake_engine_reset();
	struct oc_llama_stat s;
	struct live n;
	oc_client *c;
	oc_llama *l;
	size_t left = 0, past;

	begin(&n);
	c = live_connect(&n);
	share(c, 64);
	e = fake_engine_reset();
	l = OPEN(c, &e, .timeout_ns = 20 * NS_PER_MS, .export_percent = 100);
	l->pace.credit_ns = NS_PER_S;
	kill(n.keeper, SIGKILL);
	live_ended(&n);
	/* What lies in memory is still found. */
	CHECK_OK(oc_llama_import(l, 0, tokens, 100, &past));
	CHECK(past == 64 || past == 0);
	fake_engine_compute(0, tokens, past, 200);
	/* Given up after ten timeouts. */
	do {
		CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_FLUSH,
					 &left));
		CHECK_OK(oc_llama_stat(l, &s));
	} while (s.export_failures == 0);
	for (int i = 0; i < 50; i++)
		CHECK_OK(oc_llama_export(l, 0, tokens, 200, OC_LLAMA_FLUSH,
					 &left));
	CHECK_INT(left, >, 0);
	CHECK_OK(oc_llama_stat(l, &s));
	CHECK_INT(s.export_failures, <, 50);
	CHECK(oc_llama_error(l)[0] != '\0');
	oc_llama_close(l);
	oc_client_close(c);
	live_remove(&n);
}
