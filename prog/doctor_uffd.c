/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userfaultfd on shared memory, each of its three ways really used: a page that
 * is missing, one that is there but not mapped (minor), one that is protected.
 * A thread touches pages, this one serves its faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xaa, 0x00) /* Linux 6.1 */
#endif
#define PAGES 64u

/* By the system call; or by the device, which asks for no privilege. */
static int uffd_open(int flags, int *ret_fd)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

static int uffd_device(int *ret_fd)
{
	CLEANUP(fd_close_at)
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int uffd_features(int fd, uint64_t want, uint64_t *ret_have)
{
	struct uffdio_api api = { .api = UFFD_API, .features = want };

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	*ret_have = api.features;
	return 0;
}

/* ---- a thread that touches --------------------------------------------------------- */

struct touch {
	char *at;
	bool write;
	atomic_uint done;
};

static void *touch_main(void *arg)
{
	struct touch *t = arg;

	for (unsigned i = 0; i < PAGES; i++) {
		_Atomic(char) *p = (_Atomic(char) *)(t->at + i * PAGE_BYTES);

		if (t->write)
			atomic_store_explicit(p, 1, memory_order_relaxed);
		else
			(void)atomic_load_explicit(p, memory_order_relaxed);
	}
	/* pairs with the acquire load of serve() */
	atomic_store_explicit(&t->done, 1, memory_order_release);
	return NULL;
}

static int serve_fault(int fd, uint64_t mode, uint64_t address, void *page)
{
	uint64_t at = address & ~(PAGE_BYTES - 1);
	struct uffdio_copy copy = { .dst = at,
				    .src = (uintptr_t)page,
				    .len = PAGE_BYTES };
	struct uffdio_continue go = { .range = { at, PAGE_BYTES } };
	struct uffdio_writeprotect wp = { .range = { at, PAGE_BYTES } };
	int r;

	if (mode == UFFDIO_REGISTER_MODE_MISSING)
		r = ioctl(fd, UFFDIO_COPY, &copy);
	else if (mode == UFFDIO_REGISTER_MODE_MINOR)
		r = ioctl(fd, UFFDIO_CONTINUE, &go);
	else
		r = ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	return r < 0 ? -errno : 0;
}

/* Until the thread is through; the number of faults served, or -errno. */
static int serve(int fd, uint64_t mode, struct touch *t, void *page)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;
	int served = 0, r;

	/* pairs with the release store of touch_main() */
	while (!atomic_load_explicit(&t->done, memory_order_acquire)) {
		if (poll(&p, 1, 1) <= 0)
			continue;
		if (read(fd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		r = serve_fault(fd, mode, msg.arg.pagefault.address, page);
		if (r)
			return r;
		served++;
	}
	return served;
}

/* Shared memory, registered in a mode and ready to fault. */
static int arm(int fd, uint64_t mode, int memfd, char **ret_base)
{
	size_t bytes = PAGES * PAGE_BYTES;
	struct uffdio_register reg = { .mode = mode };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	char *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (mode == UFFDIO_REGISTER_MODE_WP)
		memset(p, 2, bytes);
	reg.range.start = wp.range.start = (uintptr_t)p;
	reg.range.len = wp.range.len = bytes;
	if (ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	if (mode == UFFDIO_REGISTER_MODE_WP &&
	    ioctl(fd, UFFDIO_WRITEPROTECT, &wp) < 0)
		return -errno;
	*ret_base = p;
	return 0;
}

/* Not undone where it fails: the thread may wait in a fault for ever, and this
 * process ends soon. */
static int try_faults(int fd, uint64_t mode, int memfd, double *ret_ns)
{
	static char page[PAGE_BYTES];
	struct touch t = { .write = mode == UFFDIO_REGISTER_MODE_WP };
	uint64_t start;
	pthread_t thread;
	int r = arm(fd, mode, memfd, &t.at);

	if (r)
		return r;
	start = clock_ns();
	r = pthread_create(&thread, NULL, touch_main, &t);
	if (r)
		return -r;
	r = serve(fd, mode, &t, page);
	if (r < 0)
		return r;
	pthread_join(thread, NULL);
	*ret_ns = (double)(clock_ns() - start) / PAGES;
	return r == (int)PAGES ? 0 : -ENODATA;
}

static int try_mode(int how, uint64_t features, uint64_t mode, double *ret_ns)
{
	uint64_t have;
	int fd = -1, memfd, r;

	r = how ? uffd_device(&fd) : uffd_open(UFFD_USER_MODE_ONLY, &fd);
	if (r)
		return r;
	r = uffd_features(fd, features, &have);
	if (r)
		return r;
	memfd = memfd_create("onecopy-doctor", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, PAGES * PAGE_BYTES) < 0)
		return -errno;
	if (mode == UFFDIO_REGISTER_MODE_MINOR) {
		/* pages that are there, and that this mapping has not */
		char *p = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_SHARED, memfd, 0);

		if (p == MAP_FAILED)
			return -errno;
		memset(p, 3, PAGES * PAGE_BYTES);
	}
	return try_faults(fd, mode, memfd, ret_ns);
}

static void uffd_try(struct doctor_uffd *u)
{
	int fd = -1, how;
	double ns;

	memset(u, 0, sizeof(*u));
	u->full = uffd_open(0, &fd);
	fd = fd_close(fd);
	u->device = uffd_device(&fd);
	fd = fd_close(fd);
	u->user_mode = uffd_open(UFFD_USER_MODE_ONLY, &fd);
	how = u->user_mode != 0;
	if (how && u->device)
		return;
	if (how)
		u->device = uffd_device(&fd);
	uffd_features(fd, 0, &u->features);
	fd_close(fd);
	u->missing = try_mode(how, UFFD_FEATURE_MISSING_SHMEM,
			      UFFDIO_REGISTER_MODE_MISSING, &u->fault_ns);
	u->minor = try_mode(how, UFFD_FEATURE_MINOR_SHMEM,
			    UFFDIO_REGISTER_MODE_MINOR, &ns);
	u->wp = try_mode(how,
			 UFFD_FEATURE_PAGEFAULT_FLAG_WP |
				 UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			 UFFDIO_REGISTER_MODE_WP, &ns);
}

/* ---- judging ------------------------------------------------------------------------- */

static void judge_refusal(const struct doctor *d, const struct doctor_uffd *u,
			  struct doctor_result *r)
{
	doctor_worsen(r, DOCTOR_MISSING);
	r->error = u->user_mode;
	doctor_cost(r, "No address space whose pages come when they are "
		       "touched: whoever uses a block has to ask for it by "
		       "name first.");
	if (u->user_mode == -ENOSYS && !doctor_filtered(d)) {
		doctor_value(r, "the kernel has none");
		doctor_mend(r, "a kernel with CONFIG_USERFAULTFD (Linux 5.11 "
			       "or later)");
	} else if (doctor_filtered(d)) {
		doctor_value(r, "refused by a seccomp filter (%s)",
			     strerror(-u->user_mode));
		doctor_mend(r, "docker run --security-opt seccomp=FILE   (one "
			       "that allows userfaultfd), or --device "
			       "/dev/userfaultfd");
	} else {
		doctor_value(r, "refused (%s)", strerror(-u->user_mode));
		doctor_mend(r, "sysctl -w vm.unprivileged_userfaultfd=1");
	}
}

static void judge_full(const struct doctor *d, const struct doctor_uffd *u,
		       struct doctor_result *r)
{
	uint64_t open = 0;

	if (sysfs_read_u64(d->root, &open,
			   "/proc/sys/vm/unprivileged_userfaultfd") == 0)
		doctor_number(r, "unprivileged_userfaultfd", (double)open);
	if (u->full == 0 || u->device == 0)
		return;
	doctor_cost(r, "Faults inside system calls are not seen: a read() into "
		       "a page that is not there fails with EFAULT.");
	if (sysfs_exists(d->root, "/dev/userfaultfd"))
		doctor_mend(r, "chmod o+rw /dev/userfaultfd   (or sysctl -w "
			       "vm.unprivileged_userfaultfd=1)");
	else
		doctor_mend(r, "sysctl -w vm.unprivileged_userfaultfd=1");
}

static void judge_lacks(const struct doctor_uffd *u, struct doctor_result *r)
{
	const uint64_t all = UFFD_FEATURE_MISSING_SHMEM |
			     UFFD_FEATURE_MINOR_SHMEM |
			     UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

	if ((u->features & all) == all) {
		doctor_cost(r,
			    "A fault on shared memory was not served (%s): "
			    "pages have to be asked for by name.",
			    strerror(-MIN(MIN(u->missing, u->minor), u->wp)));
		return;
	}
	doctor_cost(r, "The kernel serves not every fault on shared memory: "
		       "such pages have to be asked for by name.");
	doctor_mend(r, "Linux 5.19 or later");
}

void doctor_judge_uffd(const struct doctor *d, const struct doctor_uffd *u,
		       struct doctor_result *r)
{
	char time[32] = "";

	doctor_number(r, "user_mode", u->user_mode == 0);
	doctor_number(r, "device", u->device == 0);
	doctor_number(r, "kernel_faults", u->full == 0);
	if (u->user_mode && u->device) {
		judge_refusal(d, u, r);
		return;
	}
	doctor_number(r, "features", (double)u->features);
	doctor_number(r, "missing_shmem", u->missing == 0);
	doctor_number(r, "minor_shmem", u->minor == 0);
	doctor_number(r, "wp_shmem", u->wp == 0);
	if (u->missing == 0 && u->fault_ns > 0) {
		doctor_number(r, "fault_ns", u->fault_ns);
		text_time((uint64_t)u->fault_ns, time);
	}
	doctor_value(r, "missing %s, minor %s, write protection %s%s%s",
		     u->missing ? "no" : "yes", u->minor ? "no" : "yes",
		     u->wp ? "no" : "yes", time[0] ? "; a fault " : "", time);
	judge_full(d, u, r);
	if (u->missing)
		doctor_worsen(r, DOCTOR_MISSING);
	if (u->missing || u->minor || u->wp)
		judge_lacks(u, r);
}

void doctor_uffd(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_uffd u;

	uffd_try(&u);
	doctor_judge_uffd(d, &u, doctor_add(a, "userfaultfd"));
}
