/* SPDX-License-Identifier: Apache-2.0 */
/* Address spaces over a real node. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <onecopy/space.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "prog/payload.h"
#include "tests/prog/live.h"

#define PART (16 * KIB)

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct live n;
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
};

static oc_space *make_space(oc_ns *ns, enum oc_space_how how)
{
	struct oc_space_options o = { .size = sizeof(o), .how = how };
	oc_space *s;
	int r = oc_space_create(ns, &o, &s);

	if (r && how == OC_SPACE_FAULTS)
		SKIP("userfaultfd is refused: %s", strerror(-r));
	CHECK_OK(r);
	return s;
}

static void rig_start_words(struct rig *r, enum oc_space_how how,
			    const char *yaml)
{
	if (yaml)
		live_start_config(&r->n, yaml);
	else
		live_start(&r->n, "--dram=64MiB");
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, PART);
	r->s = make_space(r->ns, how);
	CHECK_INT(oc_space_how(r->s), ==, how);
}

#define FEW_PINS                                               \
	"dram: 64MiB\nclients:\n  pins: 64\n  overflow_pins: " \
	"16\n"

static void rig_start(struct rig *r, enum oc_space_how how)
{
	rig_start_words(r, how, NULL);
}

static void rig_end(struct rig *r)
{
	oc_space_destroy(r->s);
	live_check(r->c);
	CHECK_INT(live_stat(r->c).pins_held, ==, 0);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
}

static struct oc_key *keys_of(uint64_t first, size_t n)
{
	struct oc_key *keys = calloc(n, sizeof(*keys));

	for (size_t i = 0; i < n; i++)
		keys[i] = live_key(first + i);
	return keys;
}

static oc_span *map_how(oc_space *s, uint64_t first, size_t n,
			struct oc_span_options o)
{
	struct oc_key *keys = keys_of(first, n);
	oc_span *sp;

	o.size = sizeof(o);
	CHECK_OK(oc_span_map(s, keys, n, &o, &sp));
	free(keys);
	return sp;
}

static oc_span *map(oc_space *s, uint64_t first, size_t n, unsigned flags)
{
	return map_how(s, first, n,
		       (struct oc_span_options){ .part = P0, .flags = flags });
}

static struct oc_span_info info_of(oc_span *sp)
{
	struct oc_span_info info;

	CHECK_OK(oc_span_info(sp, &info));
	return info;
}

static char *at(oc_span *sp, size_t i)
{
	struct oc_span_info info = info_of(sp);

	return (char *)info.base + i * info.block_stride;
}

static enum oc_block_state state_of(oc_span *sp, size_t i)
{
	struct oc_span_block b;

	CHECK_OK(oc_span_block(sp, i, &b));
	CHECK(b.address == at(sp, i));
	return b.state;
}

/* Block i of the span is live_write()'s block `n`. */
static void right(oc_span *sp, size_t i, uint64_t n)
{
	struct oc_key key = live_key(n);

	if (live_wrong(&key, at(sp, i), PART))
		FAIL("block %zu has other bytes than %" PRIu64, i, n);
}

static struct oc_space_report report_of(oc_space *s)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(s, &report));
	return report;
}

/* Where a page lies, for the kernel: the file's inode and the offset in it, or
 * 0 when it is nobody's. */
static void place_of(const void *address, uint64_t *ret_inode,
		     uint64_t *ret_offset)
{
	unsigned long long from, to, offset, inode;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	*ret_inode = *ret_offset = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx %*s %llx %*s %llu", &from, &to,
			   &offset, &inode) != 4 ||
		    (uintptr_t)address < from || (uintptr_t)address >= to)
			continue;
		*ret_inode = inode;
		*ret_offset = offset + ((uintptr_t)address - from);
	}
	fclose(f);
}

/* ---- mapping ---- */

static void maps_in_runs(enum oc_space_how how)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, how);
	live_write_some(r.ns, 0, 200, PART);
	sp = map(r.s, 0, 200, 0);
	CHECK_INT(info_of(sp).mapped, ==, 200);
	CHECK_INT(info_of(sp).block_stride, ==, PART);
	/* frames of one client's slabs, taken one after the other */
	CHECK_INT(report_of(r.s).mmaps, <=, 20);
	for (size_t i = 0; i < 200; i++)
		right(sp, i, i);
	CHECK_INT(report_of(r.s).faults, ==, 0);
	CHECK_INT(report_of(r.s).gathered_bytes, ==, 0);
	CHECK_INT(live_stat(r.c).pins_held, ==, 200);
	oc_span_unmap(sp);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	rig_end(&r);
}

TEST(a_span_is_one_array_of_scattered_blocks)
{
	maps_in_runs(OC_SPACE_FAULTS);
}

TEST(explicit_maps_the_same)
{
	maps_in_runs(OC_SPACE_EXPLICIT);
}

TEST(two_spans_show_the_same_pages)
{
	uint64_t inode[2], offset[2];
	struct oc_key keys[4];
	oc_span *a, *b;
	struct rig r;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, PART);
	a = map(r.s, 0, 8, 0);
	/* the same first two blocks, and others after them */
	for (int i = 0; i < 4; i++)
		keys[i] = live_key(i < 2 ? i : 9 - i);
	CHECK_OK(oc_span_map(r.s, keys, 4, NULL, &b));
	for (int i = 0; i < 2; i++) {
		place_of(at(a, i), &inode[0], &offset[0]);
		place_of(at(b, i), &inode[1], &offset[1]);
		CHECK(inode[0] && inode[0] == inode[1]);
		CHECK_INT(offset[0], ==, offset[1]);
	}
	right(b, 2, 7);
	right(b, 3, 6);
	rig_end(&r);
}

static void other_process(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, PART);
	oc_space *s = make_space(ns, OC_SPACE_FAULTS);
	oc_span *sp = map(s, 0, 4, 0);
	uint64_t place[2];
	(void)arg;

	right(sp, 1, 1);
	place_of(at(sp, 1), &place[0], &place[1]);
	CHECK_INT(write(fd, place, sizeof(place)), ==, sizeof(place));
	/* the parent writes: nothing changes here */
	child_hear(fd);
	right(sp, 1, 1);
	oc_space_destroy(s);
	oc_ns_close(ns);
	oc_client_close(c);
	_exit(0);
}

TEST(two_processes_share_pages_and_not_writes)
{
	uint64_t here[2], there[2];
	struct child child;
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, 0);
	child = child_start(other_process, &r.n, NULL);
	CHECK_INT(read(child.fd, there, sizeof(there)), ==, sizeof(there));
	place_of(at(sp, 1), &here[0], &here[1]);
	CHECK(here[0] && here[0] == there[0] && here[1] == there[1]);
	memset(at(sp, 1), 7, PART);
	child_say(child.fd, 'w');
	CHECK_INT(child_end(&child), ==, 0);
	CHECK_INT(live_read(r.ns, 1, PART), ==, 0);
	rig_end(&r);
}

TEST(a_touch_maps)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 64, PART);
	sp = map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_INT(info_of(sp).absent, ==, 64);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	right(sp, 40, 40);
	CHECK_INT(report_of(r.s).faults_map, ==, 1);
	for (size_t i = 0; i < 64; i++)
		right(sp, i, i);
	CHECK_INT(info_of(sp).mapped, ==, 64);
	/* neighbours come along */
	CHECK_INT(report_of(r.s).faults_map, <, 20);
	CHECK_INT(report_of(r.s).faults_lost, ==, 0);
	oc_span_unmap(sp);

	sp = map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_RANDOM, 0));
	for (size_t i = 0; i < 64; i++)
		right(sp, i * 37 % 64, i * 37 % 64);
	/* one a block, not a page, and no neighbours */
	CHECK_INT(report_of(r.s).mapped_around, <=, 63);
	CHECK_INT(report_of(r.s).faults_map, >=, 64);
	CHECK_INT(report_of(r.s).faults_map, <, 64 + 20);
	rig_end(&r);
}

/* ---- writing ---- */

TEST(a_first_write_gets_a_frame_of_its_own)
{
	struct rig r;
	oc_span *a, *b;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, PART);
	a = map(r.s, 0, 8, 0);
	b = map(r.s, 0, 8, 0);
	at(a, 3)[100] ^= 1;
	CHECK_INT(state_of(a, 3), ==, OC_BLOCK_OWN);
	CHECK_INT(state_of(a, 2), ==, OC_BLOCK_MAPPED);
	right(b, 3, 3);
	at(a, 3)[100] ^= 1;
	right(a, 3, 3);
	CHECK_INT(live_read(r.ns, 3, PART), ==, 0);
	CHECK_INT(report_of(r.s).faults_write, ==, 1);
	CHECK_INT(report_of(r.s).own_bytes, ==, PART);
	CHECK_INT(live_stat(r.c).granted, ==, 1);
	oc_span_unmap(a);
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	rig_end(&r);
}

TEST(what_was_written_is_sealed)
{
	struct oc_key key = live_key(1000);
	struct rig r;
	oc_span *sp;
	char *p;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, 0);
	CHECK_INT(oc_span_seal(sp, 2, &key, 0), ==, -EINVAL);
	payload_make(&key, at(sp, 2), PART);
	p = at(sp, 2);
	CHECK_OK(oc_span_seal(sp, 2, &key, 0));
	CHECK(p == at(sp, 2));
	CHECK_INT(state_of(sp, 2), ==, OC_BLOCK_MAPPED);
	CHECK_OK(live_read(r.ns, 1000, PART));
	right(sp, 2, 1000);
	rig_end(&r);
}

TEST(a_frame_is_lent_for_its_key)
{
	struct oc_key key = live_key(1000), there = live_key(2);
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, OC_SPAN_LAZY);
	CHECK_INT(oc_span_write_as(sp, 1, &there, 0), ==, OC_EXISTS);
	CHECK_OK(oc_span_write_as(sp, 1, &key, 0));
	right(sp, 1, 1);
	CHECK_INT(oc_span_write_as(sp, 1, &key, 0), ==, -EBUSY);
	payload_make(&key, at(sp, 1), PART);
	CHECK_OK(oc_span_seal(sp, 1, &key, 0));
	CHECK_OK(live_read(r.ns, 1000, PART));
	CHECK_OK(live_read(r.ns, 1, PART));
	right(sp, 1, 1000);
	CHECK_INT(live_stat(r.c).granted, ==, 0);
	CHECK_INT(report_of(r.s).own_bytes, ==, PART);
	rig_end(&r);
}

static void kernel_copies(enum oc_space_how how)
{
	struct oc_key key = live_key(1000);
	struct rig r;
	oc_span *sp;

	rig_start(&r, how);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, OC_SPAN_PAGES);
	at(sp, 1)[5000] ^= 1;
	CHECK_OK(live_read(r.ns, 1, PART));
	CHECK_INT(report_of(r.s).faults_write, ==, 0);
	CHECK_INT(state_of(sp, 1), ==, OC_BLOCK_MAPPED);
	CHECK_INT(oc_span_seal(sp, 2, &key, 0), ==, -EINVAL);
	payload_make(&key, at(sp, 1), PART);
	CHECK_OK(oc_span_seal(sp, 1, &key, 0));
	CHECK_OK(live_read(r.ns, 1000, PART));
	right(sp, 1, 1000);
	rig_end(&r);
}

TEST(the_kernel_copies_pages)
{
	kernel_copies(OC_SPACE_FAULTS);
	kernel_copies(OC_SPACE_EXPLICIT);
}

TEST(what_the_kernel_copied_is_not_let_go)
{
	struct rig r;
	oc_span *sp;

	rig_start_words(&r, OC_SPACE_FAULTS, FEW_PINS);
	live_write_some(r.ns, 0, 500, PART);
	sp = map(r.s, 0, 500, OC_SPAN_LAZY | OC_SPAN_PAGES);
	for (size_t i = 0; i < 500; i += 5)
		at(sp, i)[9] ^= 0x55;
	for (size_t i = 0; i < 500; i++)
		if (i % 5)
			right(sp, i, i);
	for (size_t i = 0; i < 500; i += 5) {
		at(sp, i)[9] ^= 0x55;
		right(sp, i, i);
	}
	CHECK_INT(info_of(sp).own, >, 0);
	rig_end(&r);
}

TEST(explicit_writes_are_asked_for)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_EXPLICIT);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, 0);
	CHECK_OK(oc_span_prefetch(sp, 1, 1,
				  OC_PREFETCH_WAIT | OC_PREFETCH_WRITE, 0));
	CHECK_INT(state_of(sp, 1), ==, OC_BLOCK_OWN);
	right(sp, 1, 1);
	at(sp, 1)[0] ^= 1;
	CHECK_OK(live_read(r.ns, 1, PART));
	CHECK_OK(oc_span_advise(sp, 1, 1, OC_ADVISE_DO_NOT_NEED, 0));
	CHECK_INT(state_of(sp, 1), ==, OC_BLOCK_ABSENT);
	CHECK_OK(oc_span_hold(sp, 0, 0, 0, 0));
	right(sp, 1, 1);
	oc_span_release(sp, 0, 0);
	rig_end(&r);
}

/* ---- where the kernel refuses ---- */

#define REFUSE (SECCOMP_RET_ERRNO | EPERM)
#define LOAD(field_)                       \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
		 offsetof(struct seccomp_data, field_))
#define IS(value_, then_, else_) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value_, then_, else_)

/* No userfaultfd, by the call or by the device. */
static void refuse_faults(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		IS(SYS_userfaultfd, 3, 0),
		IS(SYS_ioctl, 0, 3),
		LOAD(args[1]),
		IS(0xaa00, 0, 1), /* USERFAULTFD_IOC_NEW */
		BPF_STMT(BPF_RET | BPF_K, REFUSE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_LEN(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP("no seccomp filter: %s", strerror(errno));
}

TEST(refused_faults_make_it_explicit)
{
	struct oc_space_options o = { .size = sizeof(o),
				      .how = OC_SPACE_FAULTS };
	oc_space *s;
	struct rig r;

	rig_start(&r, OC_SPACE_EXPLICIT);
	CHECK_STR(oc_space_why(r.s), "");
	live_write_some(r.ns, 0, 4, PART);
	refuse_faults();
	CHECK_INT(oc_space_create(r.ns, &o, &s), ==, -EPERM);
	CHECK_OK(oc_space_create(r.ns, NULL, &s));
	CHECK_INT(oc_space_how(s), ==, OC_SPACE_EXPLICIT);
	CHECK(strstr(oc_space_why(s), "refused"));
	right(map(s, 0, 4, 0), 3, 3);
	oc_space_destroy(s);
	rig_end(&r);
}

/* ---- the tail ---- */

TEST(the_tail_grows_behind_the_blocks)
{
	struct oc_session_options so = OC_SESSION_INIT;
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key *keys = keys_of(0, 4), next = live_key(4);
	struct oc_tail tail;
	oc_session *session;
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	CHECK_OK(oc_session_open(r.ns, &so, 0, &session));
	CHECK_OK(oc_session_append(session, keys, 4, 0));
	o.capacity = 6;
	CHECK_OK(oc_span_map_session(r.s, session, &o, 0, &sp));
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	CHECK(tail.data == at(sp, 4));
	CHECK_INT(state_of(sp, 4), ==, OC_BLOCK_TAIL);
	payload_make(&next, tail.data, PART);
	/* asked for again: the same frame, at the same address */
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	CHECK(tail.data == at(sp, 4));
	CHECK_OK(oc_span_tail_seal(sp, session, &next, 0));
	CHECK_INT(info_of(sp).blocks, ==, 5);
	CHECK_INT(oc_session_blocks(session), ==, 5);
	right(sp, 4, 4);
	CHECK_OK(live_read(r.ns, 4, PART));
	/* sealed: a write is this space's own again */
	at(sp, 4)[0] ^= 1;
	CHECK_OK(live_read(r.ns, 4, PART));
	CHECK_OK(oc_session_close(session, 0));
	free(keys);
	rig_end(&r);
}

/* ---- gone for good ---- */

static sigjmp_buf bus_back;
static volatile sig_atomic_t bus_count;

static void on_bus(int signo)
{
	(void)signo;
	bus_count++;
	siglongjmp(bus_back, 1);
}

static bool is_bus(char *p)
{
	bus_count = 0;
	if (sigsetjmp(bus_back, 1) == 0)
		(void)atomic_load_explicit((_Atomic(char) *)p,
					   memory_order_relaxed);
	return bus_count;
}

static void catch_bus(void)
{
	struct sigaction a = { .sa_handler = on_bus };

	CHECK_OK(sigaction(SIGBUS, &a, NULL));
	CHECK_OK(sigaction(SIGSEGV, &a, NULL));
}

TEST(what_is_gone_is_a_bus_error)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 3, PART);
	sp = map(r.s, 0, 5, 0);
	catch_bus();
	right(sp, 2, 2);
	CHECK(is_bus(at(sp, 4)));
	CHECK_INT(state_of(sp, 4), ==, OC_BLOCK_BUS);
	CHECK_INT(report_of(r.s).faults_lost, ==, 1);
	/* past the end, and outside of every span */
	CHECK(is_bus(at(sp, 5)));
	CHECK(is_bus(at(sp, 0) + 64 * MIB));
	/* it is there now: let go, it comes */
	live_write_some(r.ns, 3, 2, PART);
	CHECK_OK(oc_span_advise(sp, 4, 1, OC_ADVISE_DO_NOT_NEED, 0));
	right(sp, 4, 4);
	right(sp, 3, 3);
	rig_end(&r);
}

TEST(what_is_gone_is_zeros)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 1, PART);
	sp = map_how(r.s, 0, 2,
		     (struct oc_span_options){ .lost = OC_LOST_ZERO });
	for (size_t i = 0; i < PART; i++)
		CHECK_INT(at(sp, 1)[i], ==, 0);
	CHECK_INT(state_of(sp, 1), ==, OC_BLOCK_ZERO);
	CHECK_INT(info_of(sp).lost, ==, 1);
	rig_end(&r);
}

static int recompute(void *ctx, const struct oc_key *key, size_t block,
		     void *data, uint64_t bytes)
{
	atomic_fetch_add((_Atomic(int) *)ctx, 1);
	if (block == 3)
		return -EIO;
	payload_make(key, data, bytes);
	return 0;
}

TEST(what_is_gone_is_computed)
{
	struct rig r;
	_Atomic(int) calls = 0;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 1, PART);
	sp = map_how(r.s, 0, 4,
		     (struct oc_span_options){ .lost = OC_LOST_CALL,
					       .recompute = recompute,
					       .ctx = &calls });
	right(sp, 1, 1);
	CHECK_INT(calls, ==, 1);
	CHECK_INT(report_of(r.s).recomputed, ==, 1);
	/* everybody has it again */
	CHECK_OK(live_read(r.ns, 1, PART));
	CHECK_INT(state_of(sp, 1), ==, OC_BLOCK_MAPPED);
	catch_bus();
	CHECK(is_bus(at(sp, 3)));
	CHECK_INT(calls, ==, 2);
	rig_end(&r);
}

/* ---- letting go ---- */

struct reader {
	oc_span *sp;
	size_t n;
	_Atomic(bool) stop;
	_Atomic(uint64_t) rounds, wrong;
};

static void *read_on(void *arg)
{
	struct reader *w = arg;
	char *base = at(w->sp, 0);
	uint64_t want[64];

	for (size_t i = 0; i < w->n; i++)
		memcpy(&want[i], base + i * PART, sizeof(want[i]));
	while (!w->stop) {
		for (size_t i = 0; i < w->n; i++) {
			uint64_t got;

			memcpy(&got, base + i * PART, sizeof(got));
			w->wrong += got != want[i];
		}
		w->rounds++;
	}
	return NULL;
}

TEST(readers_never_see_a_block_leave)
{
	struct reader w = { .n = 32 };
	pthread_t thread;
	struct rig r;
	uint64_t base;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 32, PART);
	w.sp = map(r.s, 0, 32, 0);
	CHECK_OK(pthread_create(&thread, NULL, read_on, &w));
	LIVE_WAIT(&r.n, w.rounds > 0);
	for (int i = 0; i < LIVE_N(2000); i++)
		CHECK_OK(oc_span_advise(w.sp, (size_t)i % 30, 2,
					OC_ADVISE_DO_NOT_NEED, 0));
	base = w.rounds;
	LIVE_WAIT(&r.n, w.rounds > base + 1);
	w.stop = true;
	CHECK_OK(pthread_join(thread, NULL));
	CHECK_INT(w.wrong, ==, 0);
	CHECK_INT(report_of(r.s).returned, >, 0);
	rig_end(&r);
}

TEST(a_space_larger_than_its_pins)
{
	struct rig r;
	oc_span *sp;

	rig_start_words(&r, OC_SPACE_FAULTS, FEW_PINS);
	live_write_some(r.ns, 0, 1000, PART);
	sp = map(r.s, 0, 1000, OC_SPAN_LAZY);
	CHECK_OK(oc_span_hold(sp, 0, 4, 0, 0));
	for (size_t i = 0; i < 1000; i++)
		right(sp, i, i);
	for (size_t i = 1000; i-- > 0;)
		right(sp, i, i);
	CHECK_INT(report_of(r.s).let_go, >, 800);
	CHECK_INT(state_of(sp, 0), ==, OC_BLOCK_MAPPED);
	CHECK_INT(state_of(sp, 3), ==, OC_BLOCK_MAPPED);
	CHECK_INT(report_of(r.s).faults_lost, ==, 0);
	rig_end(&r);
}

TEST(what_was_written_is_not_let_go)
{
	struct rig r;
	oc_span *sp;

	rig_start_words(&r, OC_SPACE_FAULTS, FEW_PINS);
	live_write_some(r.ns, 0, 500, PART);
	sp = map(r.s, 0, 500, OC_SPAN_LAZY);
	for (size_t i = 0; i < 500; i += 5)
		at(sp, i)[9] ^= 0x55;
	for (size_t i = 0; i < 500; i++)
		if (i % 5)
			right(sp, i, i);
	for (size_t i = 0; i < 500; i += 5) {
		at(sp, i)[9] ^= 0x55;
		right(sp, i, i);
	}
	rig_end(&r);
}

/* ---- mappings run out ---- */

TEST(mappings_run_out_and_blocks_are_copied)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = 40 };
	struct oc_key keys[64];
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 200, PART);
	oc_space_destroy(r.s);
	CHECK_OK(oc_space_create(r.ns, &so, &r.s));
	for (int i = 0; i < 64; i++)
		keys[i] = live_key(3 * i);
	CHECK_OK(oc_span_map(r.s, keys, 64, NULL, &sp));
	for (size_t i = 0; i < 64; i++)
		right(sp, i, 3 * i);
	CHECK_INT(info_of(sp).copied, >, 0);
	CHECK_INT(report_of(r.s).maps_full, >, 0);
	CHECK_INT(report_of(r.s).mappings, <=, 40);
	rig_end(&r);
}

/* ---- prefetch, fork, exit, death ---- */

TEST(a_prefetch_needs_no_touch)
{
	struct rig r;
	oc_span *sp;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 64, PART);
	sp = map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 32, OC_ADVISE_WILL_NEED, 0));
	LIVE_WAIT(&r.n, report_of(r.s).prefetched == 32);
	CHECK_OK(oc_span_prefetch(sp, 32, 0, OC_PREFETCH_WAIT, 0));
	for (size_t i = 0; i < 64; i++)
		right(sp, i, i);
	CHECK_INT(report_of(r.s).faults, ==, 0);
	rig_end(&r);
}

TEST(system_calls_need_a_hold)
{
	char path[128];
	struct rig r;
	oc_span *sp;
	int fd;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 2, PART);
	sp = map(r.s, 0, 2, OC_SPAN_LAZY);
	snprintf(path, sizeof(path), "%s/out", r.n.dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(write(fd, at(sp, 1), PART), ==, -1);
	CHECK_INT(errno, ==, EFAULT);
	CHECK_OK(oc_span_hold(sp, 1, 1, 0, 0));
	CHECK_INT(write(fd, at(sp, 1), PART), ==, PART);
	/* read() into what is protected */
	CHECK_INT(pread(fd, at(sp, 1), PART, 0), ==, -1);
	CHECK_INT(errno, ==, EFAULT);
	CHECK_OK(oc_span_hold(sp, 1, 1, OC_PREFETCH_WRITE, 0));
	CHECK_INT(pread(fd, at(sp, 1), PART, 0), ==, PART);
	right(sp, 1, 1);
	oc_span_release(sp, 1, 1);
	oc_span_release(sp, 1, 1);
	close(fd);
	unlink(path);
	rig_end(&r);
}

TEST(a_child_has_no_space)
{
	struct rig r;
	oc_span *sp;
	int status;
	pid_t pid;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, 0);
	at(sp, 1)[0] ^= 1;
	pid = fork();
	if (pid == 0) {
		struct oc_span_info info;
		oc_span *other;

		CHECK_INT(oc_span_info(sp, &info), ==, -ECHILD);
		CHECK_INT(oc_span_map(r.s, NULL, 0, NULL, &other), ==, -ECHILD);
		oc_span_unmap(sp);
		oc_space_destroy(r.s);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	{
		char *first = at(sp, 0), *own = at(sp, 1), *none = at(sp, 3);

		pid = fork();
		if (pid == 0) {
			catch_bus();
			_exit(!(is_bus(first) && is_bus(own) && is_bus(none)));
		}
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	right(sp, 0, 0);
	at(sp, 1)[0] ^= 1;
	right(sp, 1, 1);
	rig_end(&r);
}

static void leave_open(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, PART);
	oc_space *s = make_space(ns, OC_SPACE_FAULTS);
	oc_span *sp = map(s, 0, 8, OC_SPAN_LAZY);
	(void)arg;

	right(sp, 3, 3);
	at(sp, 2)[0] ^= 1;
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_WILL_NEED, 0));
	child_say(fd, 'r');
	exit(0);
}

TEST(a_process_ends_with_a_space_open)
{
	struct child child;
	struct rig r;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, PART);
	child = child_start(leave_open, &r.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'r');
	CHECK_INT(child_end(&child), ==, 0);
	LIVE_WAIT(&r.n,
		  live_stat(r.c).granted == 0 && live_stat(r.c).clients == 1);
	for (uint64_t i = 0; i < 8; i++) {
		struct oc_key key = live_key(i);

		CHECK_OK(oc_remove(r.ns, &key, 0));
	}
	LIVE_WAIT(&r.n, live_counter(r.c, "leaving") == 0);
	rig_end(&r);
}

TEST(the_server_dies_while_a_write_waits)
{
	struct rig r;
	oc_span *sp;
	pid_t server;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	sp = map(r.s, 0, 4, 0);
	server = live_server(r.c);
	/* it takes no request any more; the write waits for its successor */
	CHECK_OK(kill(server, SIGSTOP));
	CHECK_OK(kill(server, SIGKILL));
	at(sp, 2)[5] ^= 1;
	CHECK_INT(state_of(sp, 2), ==, OC_BLOCK_OWN);
	at(sp, 2)[5] ^= 1;
	right(sp, 2, 2);
	CHECK(live_server(r.c) != server);
	CHECK_OK(live_read(r.ns, 2, PART));
	rig_end(&r);
}

/* ---- slices ---- */

TEST(slices_lie_side_by_side)
{
	struct oc_ns_options no = { .size = sizeof(no),
				    .block_tokens = 16,
				    .n_groups = 1,
				    .groups = { { .slices = 4,
						  .slice_bytes = 4096 } } };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[8];
	uint8_t data[PART];
	oc_space *s;
	struct rig r;
	oc_span *sp;
	oc_ns *ns;

	rig_start(&r, OC_SPACE_FAULTS);
	for (int gather = 0; gather < 2; gather++) {
		no.groups[0].slice_bytes = gather ? 1000 : 4096;
		CHECK_OK(oc_ns_open(r.c, &no, 0, &ns));
		for (int i = 0; i < 8; i++) {
			keys[i] = live_key(i);
			for (uint64_t k = 0; k < 4 * no.groups[0].slice_bytes;
			     k++)
				data[k] =
					(uint8_t)(k / no.groups[0].slice_bytes *
							  16 +
						  i);
			CHECK_OK(oc_put(ns, &keys[i], P0, data,
					4 * no.groups[0].slice_bytes, 0));
		}
		s = make_space(ns, OC_SPACE_FAULTS);
		o.layout = OC_LAYOUT_SLICES;
		o.capacity = 8;
		CHECK_OK(oc_span_map(s, keys, 8, &o, &sp));
		CHECK_INT(info_of(sp).gathered, ==, gather);
		CHECK_INT(info_of(sp).slices, ==, 4);
		CHECK((info_of(sp).why[0] != 0) == gather);
		for (int sl = 0; sl < 4; sl++)
			for (int i = 0; i < 8; i++) {
				struct oc_span_info f = info_of(sp);
				uint8_t *p = (uint8_t *)f.base +
					     sl * f.slice_stride +
					     i * f.block_stride;

				CHECK_INT(p[0], ==, sl * 16 + i);
				CHECK_INT(p[no.groups[0].slice_bytes - 1], ==,
					  sl * 16 + i);
			}
		oc_space_destroy(s);
		oc_ns_close(ns);
	}
	rig_end(&r);
}

TEST(a_report_says_what_it_cost)
{
	struct rig r;
	char *json;

	rig_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, PART);
	right(map(r.s, 0, 4, OC_SPAN_LAZY), 0, 0);
	CHECK_OK(oc_space_report_json(r.s, &json));
	CHECK(strstr(json, "\"how\":\"faults\""));
	CHECK(strstr(json, "\"faults_map\":1,"));
	CHECK_INT(report_of(r.s).stalled_ns, >, 0);
	free(json);
	rig_end(&r);
}

/* ---- the example ---- */

TEST(two_processes_attend_over_one_prompt)
{
	const char *program = getenv("ONECOPY_ATTEND");
	int status;
	struct rig r;
	pid_t pid;

	if (!program)
		SKIP("ONECOPY_ATTEND does not name the example");
	rig_start(&r, OC_SPACE_EXPLICIT);
	pid = fork();
	if (pid == 0) {
		setenv("ONECOPY_SOCKET", r.n.socket, 1);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	rig_end(&r);
}
