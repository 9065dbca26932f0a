/* SPDX-License-Identifier: Apache-2.0 */
/* Where libcufile may lie. The toolkit's package puts it on the linker's paths;
 * Python's packages (nvidia-cufile, and the CUDA 13 bundle) do not. */
#include "tier/gpu/cufile_find.h"

#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"

static const char *const plain[] = {
	"libcufile.so.0",
	"libcufile.so",
};

/* Of the toolkit, where the linker was not told of it. */
static const char *const toolkit[] = {
	"/usr/local/cuda/targets/*/lib/libcufile.so.0",
	"/usr/local/cuda/lib64/libcufile.so.0",
	"/usr/local/cuda-*/targets/*/lib/libcufile.so.0",
};

/* Below a folder of Python's packages. */
static const char *const packages[] = {
	"nvidia/cufile/lib/libcufile.so.0",
	"nvidia/cu13/lib/libcufile.so.0",
};

static void *find_open(const char *path, char *ret_path, size_t cap)
{
	void *library = fault_point(FAULT_IO)
				? NULL
				: dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (library)
		text_copy(ret_path, cap, path);
	return library;
}

static void *find_pattern(const char *pattern, char *ret_path, size_t cap)
{
	void *library = NULL;
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return NULL;
	for (size_t k = 0; !library && k < found.gl_pathc; k++)
		library = find_open(found.gl_pathv[k], ret_path, cap);
	globfree(&found);
	return library;
}

/* Below PREFIX/lib/python3... */
static void *find_prefix(const char *prefix, const char *folder, char *ret_path,
			 size_t cap)
{
	char pattern[512];
	void *library = NULL;

	for (size_t i = 0; !library && i < ARRAY_LEN(packages); i++) {
		snprintf(pattern, sizeof(pattern), "%s/lib/python3*/%s/%s",
			 prefix, folder, packages[i]);
		library = find_pattern(pattern, ret_path, cap);
	}
	return library;
}

/* The environment that the python3 of PATH belongs to. */
static void *find_python(char *ret_path, size_t cap)
{
	const char *at = getenv("PATH");
	char prefix[256], program[300];
	void *library = NULL;

	while (!library && at && *at) {
		size_t len = strcspn(at, ":");

		if (len > 4 && len < sizeof(prefix) &&
		    strncmp(at + len - 4, "/bin", 4) == 0) {
			memcpy(prefix, at, len - 4);
			prefix[len - 4] = '\0';
			snprintf(program, sizeof(program), "%s/bin/python3",
				 prefix);
			if (access(program, X_OK) == 0)
				library = find_prefix(prefix, "site-packages",
						      ret_path, cap);
		}
		at += len + (at[len] == ':');
	}
	return library;
}

void *cufile_find(char *ret_path, size_t cap)
{
	const char *home = getenv("HOME"), *venv = getenv("VIRTUAL_ENV");
	char local[256];
	void *library = NULL;

	for (size_t i = 0; !library && i < ARRAY_LEN(plain); i++)
		library = find_open(plain[i], ret_path, cap);
	for (size_t i = 0; !library && i < ARRAY_LEN(toolkit); i++)
		library = find_pattern(toolkit[i], ret_path, cap);
	if (!library && venv && venv[0])
		library = find_prefix(venv, "site-packages", ret_path, cap);
	if (!library)
		library = find_python(ret_path, cap);
	if (!library && home && home[0]) {
		snprintf(local, sizeof(local), "%s/.local", home);
		library = find_prefix(local, "site-packages", ret_path, cap);
	}
	if (!library)
		library = find_prefix("/usr/local", "dist-packages", ret_path,
				      cap);
	return library;
}
