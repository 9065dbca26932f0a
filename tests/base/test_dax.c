/* SPDX-License-Identifier: Apache-2.0 */
/* What counts as a devdax device, by a folder made to look like sysfs. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/dax.h"
#include "tests/test.h"

static char root[64];

/* Device 252:N. NULL: there is no such file. */
static void make(unsigned n, const char *subsystem, const char *size,
		 const char *align)
{
	const char *const name[] = { "size", "align" };
	const char *const text[] = { size, align };
	char path[160];

	snprintf(path, sizeof(path), "%s/sys/dev/char/252:%u", root, n);
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	CHECK_OK(mkdir(path, 0700));
	for (unsigned i = 0; i < 2; i++) {
		int fd;

		if (!text[i])
			continue;
		snprintf(path, sizeof(path), "%s/sys/dev/char/252:%u/%s", root,
			 n, name[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		CHECK_INT(fd, >=, 0);
		CHECK_INT(write(fd, text[i], strlen(text[i])), ==,
			  (ssize_t)strlen(text[i]));
		close(fd);
	}
	snprintf(path, sizeof(path), "%s/sys/dev/char/252:%u/subsystem", root,
		 n);
	if (subsystem)
		CHECK_OK(symlink(subsystem, path));
}

TEST(only_dax_devices_with_units_of_ours)
{
	static const struct {
		const char *subsystem, *size, *align;
		int answer;
	} one[] = {
		{ "../../bus/dax", "536870912\n", "2097152\n", 0 },
		{ "../../bus/dax", "536870912\n", "4096\n", 0 },
		{ "../../bus/dax", "536870912\n", NULL, 0 },
		{ "../../bus/dax", "536870912\n", "1073741824\n", -EPROTO },
		{ "../../bus/dax", "536870912\n", "0\n", -EPROTO },
		{ "../../bus/dax", "536870912\n", "many\n", -EPROTO },
		{ "../../bus/dax", NULL, "2097152\n", -EPROTO },
		/* of something else */
		{ "../../class/block", "536870912\n", "2097152\n", -EPROTO },
		{ "dax/other", "536870912\n", "2097152\n", -EPROTO },
		{ NULL, "536870912\n", "2097152\n", -EPROTO },
	};
	char command[96];

	snprintf(root, sizeof(root), "/tmp/onecopy-dax-XXXXXX");
	CHECK(mkdtemp(root) != NULL);
	for (unsigned i = 0; i < ARRAY_LEN(one); i++) {
		uint64_t bytes = 0;

		make(i, one[i].subsystem, one[i].size, one[i].align);
		CHECK_INT(dax_read(root, 252, i, &bytes), ==, one[i].answer);
		CHECK_INT(bytes, ==, one[i].answer ? 0 : 512 << 20);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	CHECK_INT(system(command), ==, 0);
}

TEST(a_descriptor_of_something_else_is_none)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), pipes[2];
	uint64_t bytes;

	CHECK_INT(fd, >=, 0);
	CHECK_INT(dax_probe(fd, &bytes), ==, -EPROTO);
	close(fd);
	CHECK_OK(pipe2(pipes, O_CLOEXEC));
	CHECK_INT(dax_probe(pipes[0], &bytes), ==, -EPROTO);
	close(pipes[0]);
	close(pipes[1]);
	CHECK_INT(dax_probe(-1, &bytes), ==, -EBADF);
}
