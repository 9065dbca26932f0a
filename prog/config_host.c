/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a share is of. */
#include "config.h"
#include "base/fault.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static int read_small(const char *path, char *buf, size_t cap)
{
	CLEANUP(fd_close_at) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, cap - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int total_memory(uint64_t *ret_bytes)
{
	char text[4096];
	const char *at;
	int r = read_small("/proc/meminfo", text, sizeof(text));

	if (r)
		return r;
	at = strstr(text, "MemTotal:");
	if (!at)
		return -EPROTO;
	*ret_bytes = strtoull(at + strlen("MemTotal:"), NULL, 10) * 1024;
	return *ret_bytes ? 0 : -EPROTO;
}

static void limit_by(const char *folder, const char *group, const char *file,
		     uint64_t *bytes)
{
	char path[PATH_MAX], text[64];
	uint64_t limit;
	char *end;

	if (snprintf(path, sizeof(path), "%s%s/%s", folder, group, file) >=
	    (int)sizeof(path))
		return;
	if (read_small(path, text, sizeof(text)))
		return;
	errno = 0;
	limit = strtoull(text, &end, 10); /* "max": no digits */
	if (end != text && !errno && limit && limit < *bytes)
		*bytes = limit;
}

/* The group and all above it: the least limit is the one that holds. */
static void limit_up(const char *folder, char *group, const char *file,
		     uint64_t *bytes)
{
	for (;;) {
		char *slash = strrchr(group, '/');

		limit_by(folder, group, file, bytes);
		if (!slash)
			return;
		*slash = '\0';
	}
}

/* A line of /proc/self/cgroup: "0::/path" or "4:memory:/path". */
static void limit_by_line(char *line, uint64_t *bytes)
{
	char *names = strchr(line, ':');
	char *group = names ? strchr(names + 1, ':') : NULL;

	if (!group)
		return;
	*names++ = '\0';
	*group++ = '\0';
	if (!*names)
		limit_up("/sys/fs/cgroup", group, "memory.max", bytes);
	else if (strcmp(names, "memory") == 0)
		limit_up("/sys/fs/cgroup/memory", group,
			 "memory.limit_in_bytes", bytes);
}

int config_memory(uint64_t *ret_bytes)
{
	char text[8192], *line, *rest = text;
	uint64_t bytes;
	int r = total_memory(&bytes);

	if (r)
		return r;
	if (!read_small("/proc/self/cgroup", text, sizeof(text))) {
		while ((line = strsep(&rest, "\n")))
			limit_by_line(line, &bytes);
	}
	*ret_bytes = bytes;
	return 0;
}
