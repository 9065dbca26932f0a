/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding llama.cpp. A process has one: the caller's own is taken as it is,
 * with whatever it has initialized; one that is loaded here stays loaded, for
 * its threads and backends do not survive being unloaded.
 */
#include "adapters/llama/engine.h"

#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <onecopy/llama.h>
#include "base/text.h"

#define ERROR_BYTES 256
#define PATH_BYTES  4096

/* Written once, under the lock: what the library was asked for is complete
 * before (release in engine_load(), acquire in engine_symbol()). */
static _Atomic(void *) loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool present(void)
{
	return dlsym(RTLD_DEFAULT, "llama_state_seq_set_data") != NULL;
}

void *engine_symbol(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);
	void *own = atomic_load_explicit(&loaded, memory_order_acquire);

	return p || !own ? p : dlsym(own, name);
}

int engine_bind(struct engine *ret_engine, const char **ret_missing)
{
	struct engine e;
	/* A function's address has no portable way out of a void *. */
	union {
		void *p;
		void (*f)(void);
	} u;

#define X(result, name, params)                \
	u.p = engine_symbol("llama_" #name);   \
	if (!u.p) {                            \
		*ret_missing = "llama_" #name; \
		return -ENOSYS;                \
	}                                      \
	memcpy(&e.name, &u.p, sizeof(e.name));
	ENGINE_SYMBOLS(X)
#undef X
	*ret_engine = e;
	return 0;
}

static int fail(char *error, size_t cap, int r, const char *format, ...)
	PRINTF_LIKE(4, 5);
static int fail(char *error, size_t cap, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (error)
		vsnprintf(error, cap, format, args);
	va_end(args);
	return r;
}

/* A folder's library: libllama.so, or the one that has its version in its
 * name (libllama.v0.5.0.so, libllama.so.0). */
static int in_folder(const char *folder, char path[PATH_BYTES])
{
	static const char *const names[] = { "libllama.so", "libllama.so.*",
					     "libllama.*.so" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char pattern[PATH_BYTES];
		glob_t found;
		int n = snprintf(pattern, sizeof(pattern), "%s/%s", folder,
				 names[i]);
		int r = -ENOENT;

		if (n < 0 || (size_t)n >= sizeof(pattern))
			return -ENAMETOOLONG;
		if (glob(pattern, 0, NULL, &found) == 0) {
			r = text_copy(path, PATH_BYTES, found.gl_pathv[0]);
			globfree(&found);
		}
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

static int find(const char *where, char path[PATH_BYTES])
{
	struct stat st;

	if (stat(where, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return in_folder(where, path);
	return text_copy(path, PATH_BYTES, where);
}

/* ---- what a libllama that was loaded here needs before a model */

typedef void (*log_fn)(int level, const char *text, void *ctx);

static void silent(int level, const char *text, void *ctx)
{
	(void)level;
	(void)text;
	(void)ctx;
}

/* NULL: the engine's own again. */
static void start_log(log_fn log)
{
	void *f = engine_symbol("ggml_log_set");
	void (*set)(log_fn, void *);

	if (!f)
		return;
	memcpy(&set, &f, sizeof(set));
	set(log, NULL);
}

/* The backends lie beside the library; without one there is no device. */
static void start_backends(void)
{
	void *f = engine_symbol("ggml_backend_load_all_from_path");
	void (*backends)(const char *);
	char folder[PATH_BYTES];
	Dl_info info;
	char *slash;

	if (!f || !dladdr(engine_symbol("llama_state_seq_set_data"), &info) ||
	    !info.dli_fname ||
	    text_copy(folder, sizeof(folder), info.dli_fname))
		return;
	slash = strrchr(folder, '/');
	if (!slash)
		return;
	*slash = '\0';
	memcpy(&backends, &f, sizeof(backends));
	backends(folder);
}

static bool has_backends(void)
{
	void *f = engine_symbol("ggml_backend_reg_count");
	size_t (*count)(void);

	if (!f)
		return true;
	memcpy(&count, &f, sizeof(count));
	return count() > 0;
}

static void start(void)
{
	void *f = engine_symbol("llama_backend_init");
	void (*init)(void);

	start_log(silent);
	start_backends();
	if (f) {
		memcpy(&init, &f, sizeof(init));
		init();
	}
	start_log(NULL);
}

/* Where the loader looks; without its development package a system has the
 * second name only. */
static void *open_usual(void)
{
	static const char *const names[] = { "libllama.so", "libllama.so.0" };
	void *handle = NULL;

	for (size_t i = 0; i < ARRAY_LEN(names) && !handle; i++)
		handle = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
	return handle;
}

static int open_at(const char *where, void **ret_handle, char *error,
		   size_t cap)
{
	char path[PATH_BYTES];
	const char *why;
	void *handle;
	int r = find(where, path);

	if (r)
		return fail(error, cap, r, "no libllama in %s: %s", where,
			    oc_strerror(r));
	handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
	if (!handle) {
		why = dlerror();
		return fail(error, cap, -ENOENT, "%s", why ? why : path);
	}
	*ret_handle = handle;
	return 0;
}

static int load(const char *where, char *error, size_t cap)
{
	void *handle;
	int r;

	if (!where) {
		handle = open_usual();
		if (!handle)
			return fail(error, cap, -ENOENT,
				    "no llama.cpp: set ONECOPY_LLAMA to the "
				    "folder of libllama, or run "
				    "tools/fetch-llama");
	} else {
		r = open_at(where, &handle, error, cap);
		if (r)
			return r;
	}
	if (!dlsym(handle, "llama_state_seq_set_data")) {
		dlclose(handle);
		return fail(error, cap, -ENOSYS,
			    "%s has no llama_state_seq_set_data",
			    where ? where : "libllama");
	}
	atomic_store_explicit(&loaded, handle, memory_order_release);
	start();
	return 0;
}

int engine_load(const char *where, char *error, size_t cap)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!atomic_load_explicit(&loaded, memory_order_relaxed) &&
	    !present()) {
		if (!where)
			where = getenv("ONECOPY_LLAMA");
		r = load(where, error, cap);
	} else if (!has_backends()) {
		start_backends();
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int oc_llama_engine(const char *where, char *error)
{
	struct engine e;
	const char *missing;
	int r = engine_load(where, error, ERROR_BYTES);

	if (r)
		return r;
	r = engine_bind(&e, &missing);
	if (r)
		return fail(error, ERROR_BYTES, r,
			    "this llama.cpp has no %s: too old", missing);
	return 0;
}

void *oc_llama_symbol(const char *name)
{
	return engine_symbol(name);
}
