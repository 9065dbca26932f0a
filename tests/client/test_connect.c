/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, hostile welcomes, forks, and every fault on the way. */
#include "tests/client/fake.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include "tests/test.h"
#include "base/fault.h"

static const struct oc_part P0 = { 0, 0 };

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int try_connect(struct fake *f, uint64_t timeout_ns, char *error,
		       oc_client **ret_client)
{
	struct oc_client_options o = {
		.size = sizeof(o),
		.socket = f->path,
		.timeout_ns = timeout_ns,
	};

	return oc_client_connect(&o, ret_client, error);
}

TEST(no_node)
{
	struct oc_client_options o = {
		.size = sizeof(o),
		.socket = "/nonexistent/onecopy.sock",
	};
	char error[256], path[300];
	oc_client *c;

	CHECK_INT(oc_client_connect(&o, &c, error), ==, -ENOENT);
	CHECK(strstr(error, "onecopy serve") != NULL);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	o.socket = path;
	CHECK_INT(oc_client_connect(&o, &c, NULL), ==, -ENAMETOOLONG);
	oc_client_close(NULL);
}

TEST(default_socket)
{
	char buf[64];

	setenv("ONECOPY_SOCKET", "/a/b", 1);
	CHECK_OK(oc_default_socket(buf, sizeof(buf)));
	CHECK_STR(buf, "/a/b");
	CHECK_INT(oc_default_socket(buf, 4), ==, -ENAMETOOLONG);
	unsetenv("ONECOPY_SOCKET");
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	CHECK_OK(oc_default_socket(buf, sizeof(buf)));
	CHECK_STR(buf, "/run/user/1/onecopy.sock");
	unsetenv("XDG_RUNTIME_DIR");
	CHECK_OK(oc_default_socket(buf, sizeof(buf)));
	CHECK_STR(buf, "/run/onecopy.sock");
}

TEST(texts)
{
	CHECK_STR(oc_strerror(OC_MISS), "not resident");
	CHECK_STR(oc_strerror(-ENOENT), strerror(ENOENT));
	CHECK_STR(oc_strerror(-99999), "unknown error");
	CHECK_STR(oc_strerror(99), "unknown answer");
	CHECK_STR(oc_tier_name(OC_TIER_DRAM), "dram");
	CHECK_STR(oc_tier_name((enum oc_tier)99), "unknown");
	CHECK_STR(oc_version(), "0.1.0");
}

TEST(options_need_their_size)
{
	static const size_t sizes[] = { 0, 1, SIZE_MAX, 4097 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct oc_client_options o = { .size = sizes[i] };
		struct oc_chain_options chain = { .size = sizes[i],
						  .block_tokens = 16 };
		char error[256];
		struct oc_key key;
		oc_client *c;
		size_t n;

		CHECK_INT(oc_client_connect(&o, &c, error), ==, -EINVAL);
		CHECK(*error);
		CHECK_INT(oc_chain(&chain, NULL, 0, &key, &n), ==, -EINVAL);
	}
}

TEST(fake_silent_node_times_out)
{
	struct fake *f = fake_start();
	char error[256];
	oc_client *c;
	int fds;

	f->mute_socket = true;
	fds = count_fds();
	CHECK_INT(try_connect(f, 30000000, error, &c), ==, -ETIMEDOUT);
	CHECK(*error);
	CHECK_INT(count_fds(), <=, fds + 1);
	fake_stop(f);
}

/* ---- hostile welcomes ---- */

static void no_fds(union msg *m, int *fds, unsigned *n)
{
	(void)m;
	for (unsigned i = 0; i < *n; i++)
		close(fds[i]);
	*n = 0;
}

static void too_many(union msg *m, int *fds, unsigned *n)
{
	(void)m;
	fds[(*n)++] = eventfd(0, EFD_CLOEXEC);
}

static void swapped(union msg *m, int *fds, unsigned *n)
{
	int fd = fds[0];

	(void)m, (void)n;
	fds[0] = fds[1];
	fds[1] = fd;
}

static void other_files(union msg *m, int *fds, unsigned *n)
{
	(void)m, (void)n;
	close(fds[1]);
	fds[1] = open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static void meta_small(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->welcome.meta_bytes -= PAGE_BYTES;
}

static void pins_huge(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->welcome.pins = UINT32_MAX;
}

static void pins_more(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->welcome.pins += PAGE_BYTES;
	m->welcome.client_bytes =
		client_segment_bytes(m->welcome.pins, m->welcome.overflow);
}

static void index_bytes(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->welcome.index_bytes += PAGE_BYTES;
}

static void nobody(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->welcome.client_id = 0;
}

static void read_only_pins(union msg *m, int *fds, unsigned *n)
{
	int fd;

	(void)m, (void)n;
	CHECK_OK(segment_reopen_readonly(fds[2], &fd));
	close(fds[2]);
	fds[2] = fd;
}

static void an_error(union msg *m, int *fds, unsigned *n)
{
	no_fds(m, fds, n);
	msg_error(m, m->head.seq, -EACCES, "not this tenant");
}

static void a_wrong_error(union msg *m, int *fds, unsigned *n)
{
	no_fds(m, fds, n);
	msg_error(m, m->head.seq, -EIO, "odd");
	m->error.error = 7;
}

static void another_type(union msg *m, int *fds, unsigned *n)
{
	no_fds(m, fds, n);
	msg_init(m, MSG_INDEX, m->head.seq);
}

static void another_magic(union msg *m, int *fds, unsigned *n)
{
	(void)fds, (void)n;
	m->head.magic++;
}

TEST(fake_hostile_welcomes_are_refused)
{
	static void (*const spoils[])(union msg *, int *, unsigned *) = {
		no_fds,	       too_many,       swapped,	     other_files,
		meta_small,    pins_huge,      pins_more,    index_bytes,
		nobody,	       read_only_pins, another_type, another_magic,
		a_wrong_error,
	};

	for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
		struct fake *f = fake_start();
		char error[256] = "";
		oc_client *c = NULL;
		int r;

		f->spoil = spoils[i];
		r = try_connect(f, 1000000000, error, &c);
		if (r >= 0 || c || !*error)
			FAIL("welcome %zu: %d (%s)", i, r, error);
		f->spoil = NULL;
		CHECK_OK(try_connect(f, 0, error, &c));
		oc_client_close(c);
		fake_stop(f);
	}
}

TEST(fake_refusal_is_passed_on)
{
	struct fake *f = fake_start();
	char error[256];
	oc_client *c;

	f->spoil = an_error;
	CHECK_INT(try_connect(f, 0, error, &c), ==, -EACCES);
	CHECK_STR(error, "not this tenant");
	fake_stop(f);
}

TEST(fake_another_layout_is_refused)
{
	struct fake *f = fake_start();
	char error[256];
	oc_client *c;

	shared_store64(&f->meta->header.stamp, 1);
	CHECK_INT(try_connect(f, 0, error, &c), ==, -EPROTO);
	fake_stop(f);
}

/* ---- forks ---- */

static bool maps_memfds(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		found |= strstr(line, "memfd:fake") != NULL;
	fclose(file);
	return found;
}

static void child_of(oc_client *c, oc_ns *ns, struct oc_pin *pin,
		     const void *data)
{
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	struct oc_key key = fake_key(0);
	struct oc_grant g = { 0 };
	struct oc_completion done;
	struct oc_stat stat;
	unsigned char present;
	char *json;
	uint64_t id;
	size_t n;

	CHECK_INT(oc_pin(ns, &key, P0, 0, pin), ==, -ECHILD);
	CHECK(*oc_client_error(c));
	CHECK_INT(oc_pin_batch(ns, &key, 1, P0, 0, pin, &n), ==, -ECHILD);
	CHECK_INT(oc_match(ns, &key, 1, NULL, NULL, &n), ==, -ECHILD);
	CHECK_INT(oc_match_pin(ns, &key, 1, NULL, pin, &n), ==, -ECHILD);
	CHECK_INT(oc_exists(ns, &key, P0), ==, -ECHILD);
	CHECK_INT(oc_grant(ns, &key, P0, 0, 0, 0, &g), ==, -ECHILD);
	CHECK_INT(oc_seal(ns, &g, NULL, 0), ==, -ECHILD);
	CHECK_INT(oc_abandon(ns, &g, 0), ==, -ECHILD);
	CHECK_INT(oc_remove(ns, &key, 0), ==, -ECHILD);
	CHECK_INT(oc_put(ns, &key, P0, "x", 1, 0), ==, -ECHILD);
	CHECK_INT(oc_stat(c, &stat), ==, -ECHILD);
	CHECK_INT(oc_inspect(c, "stat", NULL, 0, &json), ==, -ECHILD);
	CHECK_INT(oc_op_submit(c, &op, &id), ==, -ECHILD);
	CHECK_INT(oc_op_take(c, &done, 1, 0, &n), ==, -ECHILD);
	CHECK_INT(oc_client_dispatch(c), ==, -ECHILD);
	CHECK_INT(oc_client_fd(c), ==, -ECHILD);
	oc_unpin(ns, pin);
	/* The pinned page is not mapped here. */
	CHECK_INT(mincore((void *)((uintptr_t)data & ~(PAGE_BYTES - 1)), 1,
			  &present),
		  ==, -1);
	oc_ns_close(ns);
	oc_client_close(c);
}

TEST(fake_child_of_a_fork_has_nothing)
{
	struct fake *f = fake_start();
	oc_client *c = fake_client(f, NULL);
	oc_ns *ns = fake_ns(c);
	struct oc_key key = fake_key(0);
	struct oc_pin pin;
	int status;
	pid_t pid;

	pthread_mutex_lock(&f->lock);
	fake_seal(f, FAKE_OTHER, 0, 1, &key, frame_part(1, 0, 0));
	pthread_mutex_unlock(&f->lock);
	CHECK_OK(oc_pin(ns, &key, P0, 0, &pin));
	CHECK(maps_memfds());
	pid = fork();
	if (pid == 0) {
		child_of(c, ns, &pin, pin.data);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	CHECK_INT(*(const uint8_t *)pin.data, ==, 0);
	oc_unpin(ns, &pin);
	oc_ns_close(ns);
	oc_client_close(c);
	fake_stop(f);
}

/* ---- faults ---- */

static int everything(struct fake *f, int *ret_stage)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = FAKE_FRAME_BYTES } },
	};
	struct oc_key key = fake_key(1);
	struct oc_grant g;
	struct oc_pin pin;
	oc_client *c = NULL;
	oc_ns *ns = NULL;
	int r;

	*ret_stage = 0;
	r = try_connect(f, 300000000, NULL, &c);
	if (r)
		return r;
	*ret_stage = 1;
	r = oc_ns_open(c, &o, 0, &ns);
	if (r == 0)
		r = oc_grant(ns, &key, P0, 0, 0, 0, &g);
	if (r == 0)
		r = oc_seal(ns, &g, NULL, 0);
	if (r == OC_EXISTS)
		r = 0;
	if (r == 0)
		r = oc_pin(ns, &key, P0, OC_PIN_VERIFY, &pin);
	if (r == 0)
		oc_unpin(ns, &pin);
	oc_ns_close(ns);
	oc_client_close(c);
	return r;
}

static void walk(struct fake *f)
{
	int fds, stage, r = -1;
	uint64_t n;

	CHECK_OK(everything(f, &stage));
	fds = count_fds();
	for (n = 1; n < 500; n++) {
		fault_arm(FAULT_ALL, n, false);
		r = everything(f, &stage);
		if (!fault_fired())
			break;
		fault_arm(0, 0, false);
		CHECK_INT(r, <=, OC_MISS);
		CHECK_INT(count_fds(), ==, fds);
	}
	fault_arm(0, 0, false);
	CHECK_OK(r);
	CHECK_INT(n, >, 20);
}

/* The client is a child, so that the fake's own points do not fail. */
TEST(fake_every_fault_is_survived)
{
	struct fake *f = fake_start();
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		walk(f);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	fake_stop(f);
}
