/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's list of poisoned addresses. The kernel hands it out in one way only:
 * who writes to trigger_poison_list gets an event in the traces for each entry. A
 * trace of this process's own is used, so that nobody else's is disturbed; it is
 * gone afterwards (after this process's death it stays, empty but for that, until
 * somebody removes it).
 *
 *	... cxl_poison: memdev=mem0 host=0000:0d:00.0 serial=0 trace_type=List ...
 *		dpa=0x1000 dpa_length=0x40 source=Injected ...
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/sysfs.h"
#include "tier/cxl/cxl.h"

#define TRACE_BYTES (1u << 20)

/* The value of " NAME=" in a line; NULL. */
static const char *value_of(const char *line, const char *end, const char *name)
{
	const char *at = strstr(line, name);

	return at && at < end ? at + strlen(name) : NULL;
}

static bool same_word(const char *at, const char *word)
{
	size_t len = strlen(word);

	return at && strncmp(at, word, len) == 0 &&
	       (at[len] == ' ' || at[len] == '\n' || at[len] == '\0');
}

uint64_t cxl_poison_count(const char *trace, const char *memdev)
{
	uint64_t bytes = 0;

	for (const char *line = trace; *line;) {
		const char *end = strchrnul(line, '\n');
		const char *event = value_of(line, end, " cxl_poison: ");
		const char *length = value_of(line, end, " dpa_length=");

		if (event && length &&
		    same_word(value_of(event, end, "memdev="), memdev) &&
		    same_word(value_of(event, end, " trace_type="), "List")) {
			uint64_t more = strtoull(length, NULL, 0);

			bytes += MIN(more, UINT64_MAX - bytes);
		}
		line = end + (*end == '\n');
	}
	return bytes;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	CLEANUP(fd_close_at) int fd = -1;
	char path[PATH_MAX];

	if (fault_point(FAULT_IO))
		return -EIO;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -EOPNOTSUPP : -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int trace_make(char dir[PATH_MAX])
{
	static const char *const roots[] = { "/sys/kernel/tracing",
					     "/sys/kernel/debug/tracing" };
	int r = -EOPNOTSUPP;

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		snprintf(dir, PATH_MAX, "%s/instances/onecopy-%d", roots[i],
			 (int)getpid());
		if (mkdir(dir, 0700) == 0)
			return 0;
		if (errno != ENOENT)
			r = errno == EACCES ? -EPERM : -errno;
	}
	return r;
}

int cxl_poison(struct cxl_memory *m)
{
	CLEANUP(mem_free_at) char *text = mem_alloc(TRACE_BYTES);
	char dir[PATH_MAX], device[PATH_MAX];
	int r;

	if (!text)
		return -ENOMEM;
	if (m->kind != CXL_MEMDEV)
		return -EOPNOTSUPP;
	r = trace_make(dir);
	if (r)
		return r;
	snprintf(device, sizeof(device), "/sys/bus/cxl/devices/%s", m->name);
	r = write_file(dir, "events/cxl/cxl_poison/enable", "1");
	if (r == 0)
		r = write_file(device, "trigger_poison_list", "1");
	if (r == 0)
		r = sysfs_read("", text, TRACE_BYTES, "%s/trace", dir);
	rmdir(dir);
	if (r == 0)
		m->poison_bytes = (int64_t)MIN(cxl_poison_count(text, m->name),
					       (uint64_t)INT64_MAX);
	return r == -EACCES ? -EPERM : r;
}
