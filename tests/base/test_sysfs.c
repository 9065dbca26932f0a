/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the kernel below a root: ones that are as they should be, and others. */
#include <fcntl.h>
#include <sys/stat.h>
#include "base/sysfs.h"
#include "tests/test.h"

static char root[64];

static void make(void)
{
	snprintf(root, sizeof(root), "/tmp/onecopy-sysfs-XXXXXX");
	CHECK(mkdtemp(root) != NULL);
}

static void put(const char *name, const char *text)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(fd, >=, 0);
	CHECK_INT(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
	close(fd);
}

static void end(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	CHECK_INT(system(command), ==, 0);
}

TEST(texts_and_numbers)
{
	uint64_t value = 7;
	char text[8];

	make();
	put("text", "ab\n\n");
	put("long", "0123456789");
	put("hex", "0x20\n");
	put("negative", "-1\n");
	put("empty", "");
	put("large", "99999999999999999999\n");
	CHECK_OK(sysfs_read(root, text, sizeof(text), "/%s", "text"));
	CHECK_STR(text, "ab");
	CHECK_OK(sysfs_read(root, text, sizeof(text), "/long"));
	CHECK_STR(text, "0123456");
	CHECK_INT(sysfs_read(root, text, sizeof(text), "/none"), ==, -ENOENT);
	CHECK_STR(text, "");
	CHECK_OK(sysfs_read_u64(root, &value, "/hex"));
	CHECK_INT(value, ==, 32);
	CHECK_INT(sysfs_read_u64(root, &value, "/negative"), ==, -EINVAL);
	CHECK_INT(sysfs_read_u64(root, &value, "/empty"), ==, -EINVAL);
	CHECK_INT(sysfs_read_u64(root, &value, "/large"), ==, -ERANGE);
	CHECK_INT(value, ==, 32);
	CHECK(sysfs_exists(root, "/hex") && !sysfs_exists(root, "/none"));
	end();
}

TEST(links)
{
	char path[160], text[160], want[160];

	make();
	put("file", "");
	snprintf(path, sizeof(path), "%s/one", root);
	CHECK_OK(symlink("two", path));
	snprintf(path, sizeof(path), "%s/two", root);
	CHECK_OK(symlink("./file", path));
	sysfs_link(root, text, sizeof(text), "/one");
	CHECK_STR(text, "two");
	sysfs_link(root, text, sizeof(text), "/file");
	CHECK_STR(text, "");
	sysfs_resolve(root, text, sizeof(text), "/one");
	snprintf(want, sizeof(want), "%s/file", root);
	CHECK_STR(text, want);
	sysfs_resolve(root, text, 8, "/one"); /* has no room */
	CHECK_STR(text, "");
	sysfs_resolve(root, text, sizeof(text), "/none");
	CHECK_STR(text, "");
	end();
}

TEST(folders_are_sorted_by_number)
{
	static struct sysfs_names names;

	make();
	put("dax10.0", "");
	put("dax9.0", "");
	put("other", "");
	put(".dax", "");
	CHECK_INT(sysfs_list(root, "", "dax", &names), ==, 2);
	CHECK_STR(names.name[0], "dax9.0");
	CHECK_STR(names.name[1], "dax10.0");
	CHECK_INT(sysfs_list(root, "/none", "", &names), ==, 0);
	end();
}

TEST(lists_of_processors)
{
	cpu_set_t set;

	CHECK_INT(sysfs_cpu_list("0-3,8", &set), ==, 5);
	CHECK(CPU_ISSET(8, &set) && !CPU_ISSET(4, &set));
	CHECK_INT(sysfs_cpu_list("", &set), ==, 0);
	CHECK_INT(sysfs_cpu_list("x", &set), ==, 0);
	CHECK_INT(sysfs_cpu_list("4-2", &set), ==, 0);
	CHECK_INT(sysfs_cpu_list("1023,1024-99999999999", &set), ==, 1);
}

TEST(fields)
{
	static const char text[] = "Node 1 ShmemFree:  3 kB\n"
				   "Node 1 MemFree:    5 kB\n";

	CHECK_INT(sysfs_field(text, "MemFree"), ==, 5 * 1024);
	CHECK_INT(sysfs_field(text, "Free"), ==, 0);
	CHECK_INT(sysfs_field("", "MemFree"), ==, 0);
}
