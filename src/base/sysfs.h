/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in which the kernel tells of itself and of the machine: /proc, /sys and
 * what is like them. All below a root, which is "" for this machine; a test gives
 * a folder of its own, made to look like another machine.
 *
 * What is read is not believed: files may be missing, empty, long, or of another
 * kind than they were. Nothing waits for a device.
 */
#ifndef ONECOPY_BASE_SYSFS_H
#define ONECOPY_BASE_SYSFS_H

#include <sched.h>
#include "base/compiler.h"

/* The start of a file, zero-terminated and without the last newline; 0 or
 * -errno. */
int sysfs_read(const char *root, char *text, size_t cap, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* The number that a file begins with. -EINVAL: it begins with none. */
int sysfs_read_u64(const char *root, uint64_t *ret_value, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
bool sysfs_exists(const char *root, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Last part of what a symbolic link names; "" where there is none. */
void sysfs_link(const char *root, char *text, size_t cap, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* Where a path leads, all links followed; "" where it leads nowhere. With the
 * root. */
void sysfs_resolve(const char *root, char *text, size_t cap, const char *fmt,
		   ...) PRINTF_LIKE(4, 5);
/* "NAME: 123 kB" of a file like meminfo, in bytes; 0 where there is none. */
uint64_t sysfs_field(const char *text, const char *name);
/* Names in a folder that begin with `prefix`, sorted. Returns how many were
 * put into `names`. */
#define SYSFS_NAMES 1024
struct sysfs_names {
	size_t n;
	char name[SYSFS_NAMES][64];
};
size_t sysfs_list(const char *root, const char *path, const char *prefix,
		  struct sysfs_names *ret_names);

/* "0-3,8": the processors of a list, five here. */
unsigned sysfs_cpu_list(const char *text, cpu_set_t *ret_set);

#endif
