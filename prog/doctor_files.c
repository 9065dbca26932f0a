/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the kernel, below the doctor's root. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"

static int path_make(const struct doctor *d, char path[PATH_MAX],
		     const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static int path_make(const struct doctor *d, char path[PATH_MAX],
		     const char *fmt, va_list ap)
{
	int n = snprintf(path, PATH_MAX, "%s", d->root);
	int m;

	if (n < 0 || n >= PATH_MAX)
		return -ENAMETOOLONG;
	m = vsnprintf(path + n, (size_t)(PATH_MAX - n), fmt, ap);
	return m < 0 || m >= PATH_MAX - n ? -ENAMETOOLONG : 0;
}

/* The path of a "fmt, ..." in PATH_MAX bytes; empty where it is too long, so
 * that whatever opens it fails. */
#define PATH_OF(d_, path_, fmt_)                           \
	do {                                               \
		va_list ap_;                               \
		va_start(ap_, fmt_);                       \
		if (path_make((d_), (path_), (fmt_), ap_)) \
			(path_)[0] = '\0';                 \
		va_end(ap_);                               \
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

int doctor_read(const struct doctor *d, char *text, size_t cap, const char *fmt,
		...)
{
	char path[PATH_MAX];

	PATH_OF(d, path, fmt);
	return read_path(path, text, cap);
}

int doctor_read_u64(const struct doctor *d, uint64_t *ret_value,
		    const char *fmt, ...)
{
	char path[PATH_MAX], text[64], *end;
	uint64_t value;
	int r;

	PATH_OF(d, path, fmt);
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

bool doctor_exists(const struct doctor *d, const char *fmt, ...)
{
	char path[PATH_MAX];

	PATH_OF(d, path, fmt);
	return access(path, F_OK) == 0;
}

void doctor_link(const struct doctor *d, char *text, size_t cap,
		 const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	ssize_t n;

	PATH_OF(d, path, fmt);
	text[0] = '\0';
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	last = strrchr(target, '/');
	text_copy(text, cap, last ? last + 1 : target);
}

uint64_t doctor_field(const char *text, const char *name)
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

size_t doctor_list(const struct doctor *d, const char *path, const char *prefix,
		   struct doctor_names *ret_names)
{
	struct dirent *entry;
	char whole[PATH_MAX];
	DIR *dir;

	ret_names->n = 0;
	if (snprintf(whole, sizeof(whole), "%s%s", d->root, path) >=
	    (int)sizeof(whole))
		return 0;
	dir = opendir(whole);
	while (dir && ret_names->n < DOCTOR_NAMES &&
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

bool doctor_filtered(const struct doctor *d)
{
	char text[8192];
	const char *at;

	if (doctor_read(d, text, sizeof(text), "/proc/self/status"))
		return false;
	at = strstr(text, "\nSeccomp:");
	return at && strtoul(at + strlen("\nSeccomp:"), NULL, 10) == 2;
}
