/* SPDX-License-Identifier: Apache-2.0 */
/* The node asks for what spaces map: clients that answer, that do not, that may
 * not be ended, and that end. */
#include <errno.h>
#include <fcntl.h>
#include <onecopy/space.h>
#include <signal.h>
#include <sys/wait.h>
#include "prog/payload.h"
#include "tests/prog/space_rig.h"

#define PART   (64 * KIB)
#define FRAMES 128u /* of a node of 8 MiB */
#define HALF   (FRAMES / 2)
#define HELD   4u
#define NOBODY 65534

static const struct oc_part P0 = { 0, 0 };

/* What a child maps, and how. */
struct mapping {
	uint64_t first, n;
	enum oc_lost lost;
	bool holds; /* HELD of them, and pins one more for direct use */
};

struct mapper {
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
	oc_span *sp;
	char *base;
	struct oc_pin pin;
	struct oc_span_block held[HELD]; /* as it was then */
	const struct mapping *m;
};

static void map_all(struct mapper *r, const struct live *n,
		    const struct mapping *m)
{
	struct oc_span_options o = OC_SPAN_INIT;
	static struct oc_key keys[FRAMES];
	struct oc_span_info info;

	*r = (struct mapper){ .m = m };
	r->c = live_connect(n);
	r->ns = live_ns(r->c, PART);
	r->s = sp_make(r->ns, OC_SPACE_FAULTS);
	for (uint64_t i = 0; i < m->n; i++)
		keys[i] = live_key(m->first + i);
	o.lost = m->lost;
	CHECK_OK(oc_span_map(r->s, keys, m->n, &o, &r->sp));
	CHECK_OK(oc_span_prefetch(r->sp, 0, 0, OC_PREFETCH_WAIT, 0));
	CHECK_OK(oc_span_info(r->sp, &info));
	/* the node may have asked for some again, for those that came after */
	CHECK_INT(info.mapped, >, m->n / 2);
	r->base = info.base;
	if (!m->holds)
		return;
	CHECK_OK(oc_span_hold(r->sp, 0, HELD, 0, 0));
	for (uint64_t i = 0; i < HELD; i++)
		CHECK_OK(oc_span_block(r->sp, i, &r->held[i]));
	CHECK_OK(oc_pin(r->ns, &keys[HELD], P0, 0, &r->pin));
}

static struct oc_space_report report_of(oc_space *s)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(s, &report));
	return report;
}

static void check_held(struct mapper *r)
{
	struct oc_key pinned = live_key(r->m->first + HELD);

	for (uint64_t i = 0; i < HELD; i++) {
		struct oc_span_block b;

		CHECK_OK(oc_span_block(r->sp, i, &b));
		CHECK_INT(b.state, ==, r->held[i].state);
		CHECK_INT(b.region, ==, r->held[i].region);
		CHECK_INT(b.offset, ==, r->held[i].offset);
	}
	oc_span_release(r->sp, 0, HELD);
	/* what is pinned is where it was, mapped or not */
	CHECK(!live_wrong(&pinned, r->pin.data, PART));
	oc_unpin(r->ns, &r->pin);
}

/* Each block is right where it was. */
static void check_all(struct mapper *r)
{
	struct oc_span_info info;

	for (uint64_t i = 0; i < r->m->n; i++) {
		struct oc_key key = live_key(r->m->first + i);

		struct oc_span_block b;

		if (!live_wrong(&key, r->base + i * PART, PART))
			continue;
		CHECK_OK(oc_span_block(r->sp, i, &b));
		if (r->m->lost != OC_LOST_ZERO || b.state != OC_BLOCK_ZERO)
			FAIL("block %llu has other bytes",
			     (unsigned long long)i);
	}
	CHECK_OK(oc_span_info(r->sp, &info));
	CHECK(info.base == r->base);
	CHECK(r->m->lost == OC_LOST_ZERO || info.lost == 0);
}

static void unmap_all(struct mapper *r)
{
	oc_space_destroy(r->s);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
}

static void was_lost(int signo, siginfo_t *info, void *context)
{
	(void)context;
	FAIL("signal %d at %p: a mapped block was lost", signo, info->si_addr);
}

/* A child that maps, waits, looks at everything, and tells whether it was asked
 * for some of it. */
static void mapper(const struct live *n, int fd, void *arg)
{
	const struct sigaction lost = { .sa_sigaction = was_lost,
					.sa_flags = SA_SIGINFO };
	struct oc_space_report report;
	struct mapper r;

	CHECK_OK(sigaction(SIGBUS, &lost, NULL));
	map_all(&r, n, arg);
	child_say(fd, 'm');
	child_hear(fd);
	if (r.m->holds)
		check_held(&r);
	check_all(&r);
	report = report_of(r.s);
	child_say(fd, report.revoked ? 'r' : '-');
	child_hear(fd);
	unmap_all(&r);
}

struct node {
	struct live n;
	char place[LIVE_PLACE];
	oc_client *c;
	oc_ns *ns;
};

/* Writes those of the first n blocks that are gone: the drive was late. How many. */
static unsigned write_lost(oc_ns *ns, uint64_t n)
{
	unsigned lost = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct oc_key key = live_key(i);

		if (oc_exists(ns, &key, P0) != OC_MISS)
			continue;
		CHECK_OK(live_write(ns, i, PART));
		lost++;
	}
	return lost;
}

/* A node whose memory is full of blocks that nobody's process can write any
 * more: 0 to FRAMES. `times` as many were written, none before those that leave
 * for it are below. */
static void node_fill(struct node *r, unsigned times)
{
	oc_client *c = live_connect(&r->n);
	oc_ns *ns = live_ns(c, PART);

	for (uint64_t i = 0; i < times * FRAMES; i++) {
		if (i >= FRAMES)
			LIVE_WAIT(&r->n,
				  live_counter(c, "demoted") +
						  live_counter(
							  c, "demote_missed") >
					  i - FRAMES);
		CHECK_OK(live_write(ns, i, PART));
	}
	LIVE_WAIT(&r->n, write_lost(ns, times * FRAMES) == 0);
	CHECK_INT(live_counter(c, "sealed"), ==, FRAMES);
	oc_ns_close(ns);
	oc_client_close(c);
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, PART);
	/* skips where there are none: a child could not say so */
	oc_space_destroy(sp_make(r->ns, OC_SPACE_FAULTS));
}

static void node_start(struct node *r, const char *deadline, const char *end)
{
	live_start(&r->n, "--dram=8M", "--slab=512K", "--revoke-deadline",
		   deadline, "--revoke-end", end);
	r->place[0] = '\0';
	node_fill(r, 1);
}

static void node_start_drive(struct node *r)
{
	char nvme[LIVE_DRIVE];

	live_drive_begin("64M", r->place, nvme);
	live_start(&r->n, "--dram=8M", "--slab=512K", "--revoke-deadline=1h",
		   "--nvme", nvme);
	LIVE_WAIT(&r->n, live_said(&r->n, "the nvme tier is up"));
	node_fill(r, 2);
}

static void node_end(struct node *r)
{
	live_check(r->c);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
	if (r->place[0])
		live_drive_end(r->place);
}

static struct child start(struct node *r, struct mapping *m)
{
	struct child child = child_start(mapper, &r->n, m);

	CHECK_INT(child_hear(child.fd), ==, 'm');
	return child;
}

static char finish(struct child *child)
{
	char said;

	child_say(child->fd, 'l');
	said = child_hear(child->fd);
	child_say(child->fd, 'e');
	CHECK_INT(child_end(child), ==, 0);
	return said;
}

/* So many frames are lent at once: what is mapped there is asked for. */
static void take(struct node *r, unsigned n)
{
	static struct oc_grant g[FRAMES];

	for (unsigned i = 0; i < n; i++) {
		struct oc_key key = live_key(3000 + i);

		CHECK_OK(oc_grant(r->ns, &key, P0, 0, 0, 0, &g[i]));
	}
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(oc_abandon(r->ns, &g[i], 0));
}

/* All of its threads: a signal alone is only on its way. */
static void stand_still(const struct child *child)
{
	int status;

	CHECK_OK(kill(child->pid, SIGSTOP));
	CHECK_INT(waitpid(child->pid, &status, WUNTRACED), ==, child->pid);
	CHECK(WIFSTOPPED(status));
}

TEST(a_pool_full_of_mapped_blocks_makes_room)
{
	struct mapping left = { 0, HALF, OC_LOST_BUS, true };
	struct mapping right = { HALF, HALF, OC_LOST_BUS, false };
	struct child a, b;
	struct node r;
	unsigned asked;

	node_start_drive(&r);
	/* from the drive: there they are, whatever happens in memory */
	a = start(&r, &left);
	b = start(&r, &right);
	/* a third client's: more than what is not mapped */
	take(&r, HALF + HALF / 4);
	for (uint64_t i = 0; i < HALF; i++)
		CHECK_OK(live_write(r.ns, 1000 + i, PART));
	CHECK_INT(live_counter(r.c, "refused"), ==, 0);
	CHECK_INT(live_counter(r.c, "revoke_asks"), >, 0);
	CHECK_INT(live_counter(r.c, "revoked"), >, 0);
	CHECK_INT(live_counter(r.c, "revoke_late"), ==, 0);
	asked = finish(&a) == 'r';
	asked += finish(&b) == 'r';
	CHECK_INT(asked, >, 0);
	NOTE("%llu questions, %llu given back, %llu kept",
	     (unsigned long long)live_counter(r.c, "revoke_asks"),
	     (unsigned long long)live_counter(r.c, "revoked"),
	     (unsigned long long)live_counter(r.c, "revoke_kept"));
	node_end(&r);
}

static int try_grant(struct node *r)
{
	struct oc_key key = live_key(5000);
	struct oc_grant g;
	int e = oc_grant(r->ns, &key, P0, 0, 0, OC_NOWAIT, &g);

	if (e == 0)
		oc_abandon(r->ns, &g, 0);
	return e;
}

/* Room is asked for until the node says so much of the counter. */
static bool press(struct node *r, const char *counter, uint64_t least)
{
	try_grant(r);
	return live_counter(r->c, counter) >= least;
}

TEST(a_client_that_stands_still_is_no_trouble_of_others)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct child child;
	struct node r;

	node_start(&r, "10ms", "no");
	child = start(&r, &all);
	stand_still(&child);
	LIVE_WAIT(&r.n, press(&r, "revoke_late", 1));
	CHECK_INT(live_counter(r.c, "revoke_held_bytes"), ==, FRAMES * PART);
	CHECK(live_said(&r.n, "did not answer for what it maps"));
	/* it is read as ever, and the node answers others */
	CHECK_INT(live_read_some(r.ns, 0, FRAMES, PART), ==, FRAMES);
	CHECK_INT(try_grant(&r), ==, -ENOBUFS);
	/* it answers after all */
	CHECK_OK(kill(child.pid, SIGCONT));
	LIVE_WAIT(&r.n, live_counter(r.c, "revoke_held_bytes") == 0);
	CHECK_INT(live_counter(r.c, "revoke_late"), ==, 1);
	CHECK_OK(live_write(r.ns, 2000, PART));
	child_kill(&child);
	node_end(&r);
}

TEST(what_a_silent_client_maps_comes_back_with_its_end)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct child child;
	struct node r;

	node_start(&r, "10ms", "no");
	child = start(&r, &all);
	stand_still(&child);
	LIVE_WAIT(&r.n, press(&r, "revoke_late", 1));
	child_kill(&child);
	LIVE_WAIT(&r.n, live_counter(r.c, "revoke_held_bytes") == 0);
	live_write_some(r.ns, 2000, 2 * FRAMES, PART);
	CHECK_INT(live_read_some(r.ns, 2000, 2 * FRAMES, PART), >=, HALF / 8);
	node_end(&r);
}

TEST(a_silent_client_is_ended_where_that_is_wanted)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct child child;
	struct node r;

	node_start(&r, "10ms", "yes");
	child = start(&r, &all);
	stand_still(&child);
	LIVE_WAIT(&r.n, press(&r, "revoke_late", 1));
	CHECK_INT(child_end(&child), ==, 128 + SIGKILL);
	CHECK(live_said(&r.n, "it is ended (SIGKILL)"));
	LIVE_WAIT(&r.n, live_counter(r.c, "revoke_held_bytes") == 0);
	CHECK_OK(live_write(r.ns, 2000, PART));
	node_end(&r);
}

TEST(a_client_that_may_not_be_ended_lives)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	const char *binary = getenv("ONECOPY_BIN");
	struct child child;
	struct node r;

	if (geteuid() != 0)
		SKIP("needs root: a node of another user");
	/* its exec makes the node all theirs */
	CHECK_OK(setresuid(NOBODY, NOBODY, 0));
	/* built in root's home, as an example */
	if (binary && faccessat(AT_FDCWD, binary, X_OK, AT_EACCESS) < 0)
		SKIP("another user may not run %s", binary);
	live_start(&r.n, "--dram=8M", "--slab=512K", "--revoke-deadline=10ms",
		   "--revoke-end=yes");
	CHECK_OK(setresuid(0, 0, 0));
	r.place[0] = '\0';
	node_fill(&r, 1);
	child = start(&r, &all);
	stand_still(&child);
	LIVE_WAIT(&r.n, press(&r, "revoke_late", 1));
	CHECK(live_said(&r.n, "it may not be ended"));
	CHECK_INT(live_counter(r.c, "revoke_held_bytes"), ==, FRAMES * PART);
	CHECK_OK(kill(child.pid, SIGCONT));
	LIVE_WAIT(&r.n, live_counter(r.c, "revoke_held_bytes") == 0);
	CHECK_INT(finish(&child), ==, 'r');
	node_end(&r);
}

TEST(the_next_server_asks_again)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct child child;
	struct node r;
	pid_t server;

	node_start(&r, "1h", "no");
	child = start(&r, &all);
	stand_still(&child);
	/* asked, and no answer: then the server dies */
	LIVE_WAIT(&r.n, press(&r, "revoke_asks", 1));
	server = live_server(r.c);
	CHECK_OK(kill(server, SIGKILL));
	LIVE_WAIT(&r.n, live_server(r.c) != server);
	CHECK_OK(kill(child.pid, SIGCONT));
	CHECK_OK(live_write(r.ns, 2000, PART));
	child_kill(&child);
	node_end(&r);
}

/* ---- in one process: what becomes of single blocks */

TEST(what_was_written_page_by_page_is_not_lost)
{
	struct oc_span_options o = OC_SPAN_INIT;
	static struct oc_key keys[HALF];
	struct oc_span_block b;
	struct mapper m;
	struct node r;

	node_start(&r, "1h", "no");
	m.c = live_connect(&r.n);
	m.ns = live_ns(m.c, PART);
	m.s = sp_make(m.ns, OC_SPACE_FAULTS);
	for (uint64_t i = 0; i < HALF; i++)
		keys[i] = live_key(i);
	o.flags = OC_SPAN_PAGES;
	o.lost = OC_LOST_ZERO;
	CHECK_OK(oc_span_map(m.s, keys, HALF, &o, &m.sp));
	CHECK_OK(oc_span_block(m.sp, 5, &b));
	memcpy((char *)b.address + 8192, "mine", 4);
	take(&r, FRAMES - 8);
	CHECK_INT(report_of(m.s).revoked, >, 0);
	/* the kernel's copies are the process's, with the rest of the block */
	CHECK(memcmp((char *)b.address + 8192, "mine", 4) == 0);
	CHECK_OK(oc_span_block(m.sp, 5, &b));
	CHECK(b.state == OC_BLOCK_COPIED || b.state == OC_BLOCK_MAPPED);
	unmap_all(&m);
	node_end(&r);
}

/* Pins of the server's side, when the client's own are all in use. */
TEST(pins_of_the_servers_side_are_asked_for_as_well)
{
	static const char yaml[] = "dram: 8M\nslab: 512K\nclients:\n  pins: "
				   "64\n  overflow_pins: 64\n"
				   "  revoke_deadline: 1h\n";
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct oc_space_report report;
	struct mapper m;
	struct node r;

	live_start_config(&r.n, yaml);
	r.place[0] = '\0';
	node_fill(&r, 1);
	map_all(&m, &r.n, &all);
	take(&r, FRAMES - 8);
	report = report_of(m.s);
	/* more than the client has slots of its own */
	CHECK_INT(report.revoked, >, HALF);
	CHECK_INT(report.revoke_kept, ==, 0);
	CHECK_INT(live_counter(r.c, "refused"), ==, 0);
	check_all(&m);
	unmap_all(&m);
	node_end(&r);
}

/* The node's own order of things: a block that is read again and again is let go
 * and comes back, and the report tells of both. */
TEST(a_report_tells_of_it)
{
	struct mapping all = { 0, FRAMES, OC_LOST_ZERO, false };
	struct mapper m;
	struct node r;
	char *json;

	node_start(&r, "1h", "no");
	map_all(&m, &r.n, &all);
	CHECK_INT(report_of(m.s).revoke_asks, ==, 0);
	take(&r, FRAMES - 8);
	CHECK_INT(report_of(m.s).revoke_asks, >, 0);
	CHECK_INT(report_of(m.s).revoked, ==, live_counter(r.c, "revoked"));
	CHECK_INT(report_of(m.s).let_go, >=, report_of(m.s).revoked);
	CHECK_OK(oc_space_report_json(m.s, &json));
	CHECK(strstr(json, "\"revoked\":") && strstr(json, "\"revoke_asks\":"));
	free(json);
	unmap_all(&m);
	node_end(&r);
}
