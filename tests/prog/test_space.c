/* SPDX-License-Identifier: Apache-2.0 */
/* Address spaces over a real node: blocks at their addresses, asked for and
 * touched; processes that fork, end and die. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "tests/prog/space_rig.h"

/* ---- mapping ---- */

static void maps_in_runs(enum oc_space_how how)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, how);
	live_write_some(r.ns, 0, 200, SP_PART);
	sp = sp_map(r.s, 0, 200, 0);
	CHECK_INT(sp_info(sp).mapped, ==, 200);
	CHECK_INT(sp_info(sp).block_stride, ==, SP_PART);
	/* frames of one client's slabs, taken one after the other */
	CHECK_INT(sp_report(r.s).mmaps, <=, 20);
	for (size_t i = 0; i < 200; i++)
		sp_right(sp, i, i);
	CHECK_INT(sp_report(r.s).faults, ==, 0);
	CHECK_INT(sp_report(r.s).gathered_bytes, ==, 0);
	CHECK_INT(live_stat(r.c).pins_held, ==, 200);
	oc_span_unmap(sp);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	sp_end(&r);
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
	struct space_rig r;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, SP_PART);
	a = sp_map(r.s, 0, 8, 0);
	/* the same first two blocks, and others after them */
	for (int i = 0; i < 4; i++)
		keys[i] = live_key(i < 2 ? i : 9 - i);
	CHECK_OK(oc_span_map(r.s, keys, 4, NULL, &b));
	for (int i = 0; i < 2; i++) {
		sp_place(sp_at(a, i), &inode[0], &offset[0]);
		sp_place(sp_at(b, i), &inode[1], &offset[1]);
		CHECK(inode[0] && inode[0] == inode[1]);
		CHECK_INT(offset[0], ==, offset[1]);
	}
	sp_right(b, 2, 7);
	sp_right(b, 3, 6);
	sp_end(&r);
}

static void other_process(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, SP_PART);
	oc_space *s = sp_make(ns, OC_SPACE_FAULTS);
	oc_span *sp = sp_map(s, 0, 4, 0);
	uint64_t place[2];
	(void)arg;

	sp_right(sp, 1, 1);
	sp_place(sp_at(sp, 1), &place[0], &place[1]);
	CHECK_INT(write(fd, place, sizeof(place)), ==, sizeof(place));
	/* the parent writes: nothing changes here */
	child_hear(fd);
	sp_right(sp, 1, 1);
	oc_space_destroy(s);
	oc_ns_close(ns);
	oc_client_close(c);
	_exit(0);
}

TEST(two_processes_share_pages_and_not_writes)
{
	uint64_t here[2], there[2];
	struct child child;
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	child = child_start(other_process, &r.n, NULL);
	CHECK_INT(read(child.fd, there, sizeof(there)), ==, sizeof(there));
	sp_place(sp_at(sp, 1), &here[0], &here[1]);
	CHECK(here[0] && here[0] == there[0] && here[1] == there[1]);
	memset(sp_at(sp, 1), 7, SP_PART);
	child_say(child.fd, 'w');
	CHECK_INT(child_end(&child), ==, 0);
	CHECK_INT(live_read(r.ns, 1, SP_PART), ==, 0);
	sp_end(&r);
}

TEST(a_touch_maps)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 64, SP_PART);
	sp = sp_map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_INT(sp_info(sp).absent, ==, 64);
	CHECK_INT(live_stat(r.c).pins_held, ==, 0);
	sp_right(sp, 40, 40);
	CHECK_INT(sp_report(r.s).faults_map, ==, 1);
	for (size_t i = 0; i < 64; i++)
		sp_right(sp, i, i);
	CHECK_INT(sp_info(sp).mapped, ==, 64);
	/* neighbours come along */
	CHECK_INT(sp_report(r.s).faults_map, <, 20);
	CHECK_INT(sp_report(r.s).faults_lost, ==, 0);
	oc_span_unmap(sp);

	sp = sp_map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_RANDOM, 0));
	for (size_t i = 0; i < 64; i++)
		sp_right(sp, i * 37 % 64, i * 37 % 64);
	/* one a block, not a page, and no neighbours */
	CHECK_INT(sp_report(r.s).mapped_around, <=, 63);
	CHECK_INT(sp_report(r.s).faults_map, >=, 64);
	CHECK_INT(sp_report(r.s).faults_map, <, 64 + 20);
	sp_end(&r);
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
	struct space_rig r;

	sp_start(&r, OC_SPACE_EXPLICIT);
	CHECK_STR(oc_space_why(r.s), "");
	live_write_some(r.ns, 0, 4, SP_PART);
	refuse_faults();
	CHECK_INT(oc_space_create(r.ns, &o, &s), ==, -EPERM);
	CHECK_OK(oc_space_create(r.ns, NULL, &s));
	CHECK_INT(oc_space_how(s), ==, OC_SPACE_EXPLICIT);
	CHECK(strstr(oc_space_why(s), "refused"));
	sp_right(sp_map(s, 0, 4, 0), 3, 3);
	oc_space_destroy(s);
	sp_end(&r);
}

/* ---- prefetch, fork, exit, death ---- */

TEST(a_prefetch_needs_no_touch)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 64, SP_PART);
	sp = sp_map(r.s, 0, 64, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 32, OC_ADVISE_WILL_NEED, 0));
	LIVE_WAIT(&r.n, sp_report(r.s).prefetched == 32);
	CHECK_OK(oc_span_prefetch(sp, 32, 0, OC_PREFETCH_WAIT, 0));
	for (size_t i = 0; i < 64; i++)
		sp_right(sp, i, i);
	CHECK_INT(sp_report(r.s).faults, ==, 0);
	sp_end(&r);
}

TEST(system_calls_need_a_hold)
{
	char path[128];
	struct space_rig r;
	oc_span *sp;
	int fd;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 2, SP_PART);
	sp = sp_map(r.s, 0, 2, OC_SPAN_LAZY);
	snprintf(path, sizeof(path), "%s/out", r.n.dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(write(fd, sp_at(sp, 1), SP_PART), ==, -1);
	CHECK_INT(errno, ==, EFAULT);
	CHECK_OK(oc_span_hold(sp, 1, 1, 0, 0));
	CHECK_INT(write(fd, sp_at(sp, 1), SP_PART), ==, SP_PART);
	/* read() into what is protected */
	CHECK_INT(pread(fd, sp_at(sp, 1), SP_PART, 0), ==, -1);
	CHECK_INT(errno, ==, EFAULT);
	CHECK_OK(oc_span_hold(sp, 1, 1, OC_PREFETCH_WRITE, 0));
	CHECK_INT(pread(fd, sp_at(sp, 1), SP_PART, 0), ==, SP_PART);
	sp_right(sp, 1, 1);
	oc_span_release(sp, 1, 1);
	oc_span_release(sp, 1, 1);
	close(fd);
	unlink(path);
	sp_end(&r);
}

TEST(a_child_has_no_space)
{
	struct space_rig r;
	oc_span *sp;
	int status;
	pid_t pid;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	sp_at(sp, 1)[0] ^= 1;
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
		char *first = sp_at(sp, 0), *own = sp_at(sp, 1),
		     *none = sp_at(sp, 3);

		pid = fork();
		if (pid == 0) {
			sp_catch_bus();
			_exit(!(sp_is_bus(first) && sp_is_bus(own) &&
				sp_is_bus(none)));
		}
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	sp_right(sp, 0, 0);
	sp_at(sp, 1)[0] ^= 1;
	sp_right(sp, 1, 1);
	sp_end(&r);
}

static void leave_open(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, SP_PART);
	oc_space *s = sp_make(ns, OC_SPACE_FAULTS);
	oc_span *sp = sp_map(s, 0, 8, OC_SPAN_LAZY);
	(void)arg;

	sp_right(sp, 3, 3);
	sp_at(sp, 2)[0] ^= 1;
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_WILL_NEED, 0));
	child_say(fd, 'r');
	exit(0);
}

TEST(a_process_ends_with_a_space_open)
{
	struct child child;
	struct space_rig r;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, SP_PART);
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
	sp_end(&r);
}

TEST(the_server_dies_while_a_write_waits)
{
	struct space_rig r;
	oc_span *sp;
	pid_t server;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	server = live_server(r.c);
	/* it takes no request any more; the write waits for its successor */
	CHECK_OK(kill(server, SIGSTOP));
	CHECK_OK(kill(server, SIGKILL));
	sp_at(sp, 2)[5] ^= 1;
	CHECK_INT(sp_state(sp, 2), ==, OC_BLOCK_OWN);
	sp_at(sp, 2)[5] ^= 1;
	sp_right(sp, 2, 2);
	CHECK(live_server(r.c) != server);
	CHECK_OK(live_read(r.ns, 2, SP_PART));
	sp_end(&r);
}

TEST(a_report_says_what_it_cost)
{
	struct space_rig r;
	char *json;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp_right(sp_map(r.s, 0, 4, OC_SPAN_LAZY), 0, 0);
	CHECK_OK(oc_space_report_json(r.s, &json));
	CHECK(strstr(json, "\"how\":\"faults\""));
	CHECK(strstr(json, "\"faults_map\":1,"));
	CHECK_INT(sp_report(r.s).stalled_ns, >, 0);
	free(json);
	sp_end(&r);
}

/* ---- the example ---- */

TEST(two_processes_attend_over_one_prompt)
{
	const char *program = getenv("ONECOPY_ATTEND");
	int status;
	struct space_rig r;
	pid_t pid;

	if (!program)
		SKIP("ONECOPY_ATTEND does not name the example");
	sp_start(&r, OC_SPACE_EXPLICIT);
	pid = fork();
	if (pid == 0) {
		setenv("ONECOPY_SOCKET", r.n.socket, 1);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	sp_end(&r);
}
