/* SPDX-License-Identifier: Apache-2.0 */
#include "beside.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

int beside_path(const char *name, char *ret_path, size_t cap)
{
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int len;

	if (n < 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	slash[1] = '\0';
	len = snprintf(path, sizeof(path), "%s%s", self, name);
	if (len < 0 || (size_t)len >= MIN(sizeof(path), cap))
		return -ENAMETOOLONG;
	if (access(path, X_OK))
		return -ENOENT;
	memcpy(ret_path, path, (size_t)len + 1);
	return 0;
}
