/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/sysfs.h"
#include "base/text.h"

static int path_make(const char *root, char path[PATH_MAX], const char *fmt,
		     va_list ap) __attribute__((format(printf, 3, 0)));

static int path_make(const char *root, char path[PATH_MAX], const char *fmt,
		     va_list ap)
{
	int n = snprintf(path, PATH_MAX, "%s", root);
	int m;

	if (n < 0 || n >= PATH_MAX)
		return -ENAMETOOLONG;
	m = vsnprintf(path + n, (size_t)(PATH_MAX - n), fmt, ap);
	return m < 0 || m >= PATH_MAX - n ? -ENAMETOOLONG : 0;
}

/* The path of a "fmt, ..." in PATH_MAX bytes; empty where it is too long, so
 * that whatever opens it fails. */
#define PATH_OF(root_, path_, fmt_)                           \
	do {                                                  \
		va_list ap_;                                  \
		va_start(ap_, fmt_);                          \
		if (path_make((root_), (path_), (fmt_), ap_)) \
			(path_)[0] = '\0';                    \
		va_end(ap_);                                  \
	} while (0)

static int read_path(const char *path, char *text, size_t cap)
{
	CLEANUP(fd_close_at) int fd = -1;
	size_t len = 0;
	ssize_t n = 0;

	text[0] = '\0';
	if (fault_point(FAULT_IO))
		return -EIO;
	/* a driver's file may wait for its device: not for us */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	while (len < cap - 1 && (n = read(fd, text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	if (len == 0 && n < 0)
		return -errno;
	while (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return 0;
}

int sysfs_read(const char *root, char *text, size_t cap, const char *fmt, ...)
{
	char path[PATH_MAX];

	PATH_OF(root, path, fmt);
	return read_path(path, text, cap);
}

int sysfs_read_u64(const char *root, uint64_t *ret_value, const char *fmt, ...)
{
	char path[PATH_MAX], text[64], *end;
	uint64_t value;
	int r;

	PATH_OF(root, path, fmt);
	r = read_path(path, text, sizeof(text));
	if (r)
		return r;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno)
		return -errno;
	*ret_value = value;
	return 0;
}

bool sysfs_exists(const char *root, const char *fmt, ...)
{
	char path[PATH_MAX];

	PATH_OF(root, path, fmt);
	return access(path, F_OK) == 0;
}

void sysfs_link(const char *root, char *text, size_t cap, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	ssize_t n;

	PATH_OF(root, path, fmt);
	text[0] = '\0';
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	last = strrchr(target, '/');
	text_copy(text, cap, last ? last + 1 : target);
}

void sysfs_resolve(const char *root, char *text, size_t cap, const char *fmt,
		   ...)
{
	char path[PATH_MAX], real[PATH_MAX];

	PATH_OF(root, path, fmt);
	if (!realpath(path, real) || text_copy(text, cap, real))
		text[0] = '\0';
}

uint64_t sysfs_field(const char *text, const char *name)
{
	size_t len = strlen(name);
	const char *at = text;

	while ((at = strstr(at, name)) != NULL) {
		/* "MemFree:" is not the end of "ShmemFree:" */
		if ((at == text || isspace((unsigned char)at[-1])) &&
		    at[len] == ':')
			return strtoull(at + len + 1, NULL, 10) * 1024;
		at += len;
	}
	return 0;
}

static int name_compare(const void *a, const void *b)
{
	return strverscmp(a, b);
}

size_t sysfs_list(const char *root, const char *path, const char *prefix,
		  struct sysfs_names *ret_names)
{
	struct dirent *entry;
	char whole[PATH_MAX];
	DIR *dir;

	ret_names->n = 0;
	if (snprintf(whole, sizeof(whole), "%s%s", root, path) >=
	    (int)sizeof(whole))
		return 0;
	dir = opendir(whole);
	while (dir && ret_names->n < SYSFS_NAMES &&
	       (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (text_copy(ret_names->name[ret_names->n],
			      sizeof(ret_names->name[0]), entry->d_name) == 0)
			ret_names->n++;
	}
	if (dir)
		closedir(dir);
	qsort(ret_names->name, ret_names->n, sizeof(ret_names->name[0]),
	      name_compare);
	return ret_names->n;
}

unsigned sysfs_cpu_list(const char *text, cpu_set_t *ret_set)
{
	unsigned n = 0;
	char *end;

	CPU_ZERO(ret_set);
	while (*text) {
		unsigned long from = strtoul(text, &end, 10), to = from;

		if (end == text)
			break;
		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		for (; from <= to && from < CPU_SETSIZE; from++) {
			CPU_SET(from, ret_set);
			n++;
		}
		text = end + (*end == ',');
	}
	return n;
}
