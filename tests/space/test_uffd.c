/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel gives a process without any privilege. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "space/uffd.h"
#include "tests/test.h"

#define NOBODY 65534

TEST(a_process_without_privilege_is_told_of_its_touches)
{
	struct uffd_fault fault;
	int fd, r;
	char *at;

	if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY))
		SKIP("cannot become another user: %s", strerror(errno));
	CHECK_INT(geteuid(), !=, 0);
	r = uffd_open(&fd);
	if (r)
		SKIP("userfaultfd is refused here: %s", strerror(-r));
	at = space_map_anywhere(2 * PAGE_BYTES, PROT_READ | PROT_WRITE);
	CHECK(at != NULL);
	CHECK_OK(uffd_register(fd, at, 2 * PAGE_BYTES));
	CHECK_OK(uffd_zero(fd, at, PAGE_BYTES));
	CHECK_OK(uffd_arm(fd, at, PAGE_BYTES));
	CHECK_INT(at[0], ==, 0);
	CHECK_OK(uffd_disarm(fd, at, PAGE_BYTES));
	at[0] = 1;
	/* nobody touched the other, and nobody is told */
	CHECK_INT(uffd_read(fd, &fault, 1), ==, 0);
	/* the kernel itself is not served */
	r = (int)write(STDOUT_FILENO, at + PAGE_BYTES, 1);
	CHECK_INT(r, ==, -1);
	CHECK_INT(errno, ==, EFAULT);
	CHECK_OK(close(fd));
}
