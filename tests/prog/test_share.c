/* SPDX-License-Identifier: Apache-2.0 */
/* One copy: the same pages in all clients, and who can write them. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "tests/prog/live.h"

#define BYTES (64 * KIB)

static _Atomic uint64_t touched; /* so that a read is one */

/* The physical page behind an address; 0: this kernel does not say. */
static uint64_t frame_number(const void *at)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	touched += *(const uint8_t *)at; /* present */
	CHECK_INT(fd, >=, 0);
	if (pread(fd, &entry, 8, (off_t)((uintptr_t)at / 4096 * 8)) != 8)
		entry = 0;
	close(fd);
	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

static void report_pages(const struct live *n, int fd, void *arg)
{
	oc_client *c =
		live_connect_as(n, (struct live_as){ .read_only = true });
	oc_ns *ns = live_ns(c, BYTES);
	struct oc_key key = live_key(1);
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	uint64_t pages[BYTES / 4096];

	(void)arg;
	CHECK_OK(oc_pin(ns, &key, part, 0, &pin));
	for (size_t i = 0; i < BYTES / 4096; i++)
		pages[i] = frame_number((const char *)pin.data + i * 4096);
	CHECK_INT(write(fd, pages, sizeof(pages)), ==, sizeof(pages));
	oc_unpin(ns, &pin);
	oc_ns_close(ns);
	oc_client_close(c);
}

TEST(readers_have_the_same_physical_pages)
{
	struct live n;
	oc_client *c;
	oc_ns *ns;
	uint64_t pages[2][BYTES / 4096];
	bool known;

	live_start(&n, "--dram", "64M");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	for (int i = 0; i < 2; i++) {
		struct child child = child_start(report_pages, &n, NULL);

		CHECK_INT(recv(child.fd, pages[i], sizeof(pages[i]),
			       MSG_WAITALL),
			  ==, sizeof(pages[i]));
		CHECK_INT(child_end(&child), ==, 0);
	}
	known = pages[0][0] != 0;
	if (known)
		CHECK_MEM(pages[0], pages[1], sizeof(pages[0]));
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
	if (!known)
		SKIP("page frame numbers need CAP_SYS_ADMIN");
}

/* Calls fn for each shared memfd mapping: start, length, permissions. */
static unsigned each_mapping(void (*fn)(char *at, size_t bytes,
					const char *perms))
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], perms[5];
	unsigned long from, to;
	unsigned n = 0;

	CHECK(maps != NULL);
	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "/memfd:onecopy") ||
		    sscanf(line, "%lx-%lx %4s", &from, &to, perms) != 3)
			continue;
		if (strstr(line, "onecopy-client"))
			continue; /* its own pins and rings */
		fn((char *)(uintptr_t)from, to - from, perms);
		n++;
	}
	fclose(maps);
	return n;
}

static void cannot_be_written(char *at, size_t bytes, const char *perms)
{
	CHECK_STR(perms, "r--s");
	CHECK_INT(mprotect(at, bytes, PROT_READ | PROT_WRITE), ==, -1);
	CHECK_INT(errno, ==, EACCES);
}

static void touch_all(char *at, size_t bytes, const char *perms)
{
	CHECK_INT(perms[0], ==, 'r');
	for (size_t i = 0; i < bytes; i += 4096)
		touched += (unsigned char)at[i];
}

static void read_only_client(const struct live *n, int fd, void *arg)
{
	oc_client *c =
		live_connect_as(n, (struct live_as){ .read_only = true });
	oc_ns *ns = live_ns(c, BYTES);
	struct oc_key key = live_key(100);
	struct oc_part part = { 0, 0 };
	struct oc_grant g;

	(void)arg;
	CHECK_INT(live_read_some(ns, 0, 8, BYTES), ==, 8);
	CHECK_INT(oc_grant(ns, &key, part, 0, 0, 0, &g), ==, -EPERM);
	key = live_key(1);
	CHECK_INT(oc_remove(ns, &key, 0), ==, -EPERM);
	CHECK_INT(each_mapping(cannot_be_written), >=, 3);
	child_say(fd, 'r');
	CHECK_INT(child_hear(fd), ==, 't');
	each_mapping(touch_all);
	child_say(fd, 'd');
	CHECK_INT(child_hear(fd), ==, 'e');
	oc_ns_close(ns);
	oc_client_close(c);
}

TEST(a_read_only_client_cannot_write_or_grow_anything)
{
	struct live n;
	struct child child;
	oc_client *c;
	oc_ns *ns;
	uint64_t before;

	live_start(&n, "--dram", "64M");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, 8, BYTES);
	child = child_start(read_only_client, &n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'r');
	before = live_memfd_bytes(n.keeper);
	CHECK_INT(before, >=, 8 * BYTES);
	child_say(child.fd, 't');
	CHECK_INT(child_hear(child.fd), ==, 'd');
	CHECK_INT(live_memfd_bytes(n.keeper), ==, before);
	child_say(child.fd, 'e');
	CHECK_INT(child_end(&child), ==, 0);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* Every memfd that this process has by way of its mappings. */
static unsigned reopened_for_writing(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], path[128];
	unsigned long from, to;
	unsigned n = 0;

	CHECK(maps != NULL);
	while (fgets(line, sizeof(line), maps)) {
		int fd;

		if (!strstr(line, "/memfd:onecopy") ||
		    strstr(line, "onecopy-client") ||
		    sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
			 from, to);
		fd = open(path, O_RDWR | O_CLOEXEC);
		n += fd >= 0;
		if (fd >= 0)
			close(fd);
	}
	fclose(maps);
	return n;
}

/* The descriptors of a welcome, before they are mapped and closed. */
static unsigned fds_opened_for_writing(void)
{
	char path[64], target[128];
	unsigned n = 0;

	for (int i = 3; i < 256; i++) {
		ssize_t len;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		len = readlink(path, target, sizeof(target) - 1);
		if (len <= 0)
			continue;
		target[len] = '\0';
		if (!strstr(target, "memfd:onecopy"))
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC);
		n += fd >= 0;
		if (fd >= 0)
			close(fd);
	}
	return n;
}

static void other_user(const struct live *n, int fd, void *arg)
{
	struct live_as as = { .tenant = "guests", .read_only = true };
	char error[256] = "";
	oc_client *c;
	oc_ns *ns;

	(void)arg;
	CHECK_OK(setresgid(65534, 65534, 65534));
	CHECK_OK(setresuid(65534, 65534, 65534));
	c = live_connect_as(n, as);
	ns = live_ns(c, BYTES);
	CHECK_INT(live_read_some(ns, 0, 4, BYTES), ==, 4);
	CHECK_INT(each_mapping(cannot_be_written), >=, 3);
	CHECK_INT(reopened_for_writing(), ==, 0);
	CHECK_INT(fds_opened_for_writing(), ==, 0);
	oc_ns_close(ns);
	oc_client_close(c);
	CHECK_INT(live_try(n, (struct live_as){ .read_only = true }, &c, error),
		  ==, -EACCES);
	CHECK(strstr(error, "65534") != NULL);
	child_say(fd, 'd');
}

TEST(another_user_cannot_reopen_anything_for_writing)
{
	struct live n;
	struct child child;
	oc_client *c;
	oc_ns *ns;

	if (geteuid() != 0)
		SKIP("changing the user needs root");
	live_start_config(&n, "dram: 64MiB\n"
			      "tenants:\n"
			      "  - name: default\n"
			      "  - name: guests\n"
			      "    uids: [65534]\n");
	c = live_connect_as(&n, (struct live_as){ .tenant = "guests" });
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, 4, BYTES);
	child = child_start(other_user, &n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'd');
	CHECK_INT(child_end(&child), ==, 0);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}
