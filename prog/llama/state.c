/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static size_t (*save)(struct llama_context *, const char *, int32_t,
		      const int32_t *, size_t);
static size_t (*load)(struct llama_context *, const char *, int32_t, int32_t *,
		      size_t, size_t *);

static int state_bind(void)
{
	void *s = oc_llama_symbol("llama_state_seq_save_file");
	void *l = oc_llama_symbol("llama_state_seq_load_file");

	if (!s || !l)
		return -ENOSYS;
	memcpy(&save, &s, sizeof(save));
	memcpy(&load, &l, sizeof(load));
	return 0;
}

static int state_fail(struct session *s, int r, const char *path)
{
	snprintf(s->error, sizeof(s->error), "%.200s: the engine's state file",
		 path);
	return r;
}

int state_save(struct session *s, const char *path)
{
	if (state_bind())
		return state_fail(s, -ENOSYS, path);
	if (!save(s->ctx, path, 0, s->tokens, s->n))
		return state_fail(s, -EIO, path);
	return 0;
}

static int state_load(struct session *s, const char *path,
		      const int32_t *tokens, size_t n)
{
	int32_t *held = calloc(n, sizeof(*held));
	size_t got = 0;
	int r = 0;

	if (!held)
		return -ENOMEM;
	if (!load(s->ctx, path, 0, held, n, &got) || got + 1 < n ||
	    memcmp(held, tokens, (n - 1) * sizeof(*held)) != 0)
		r = state_fail(s, -EIO, path);
	free(held);
	return r;
}

int state_restore(struct session *s, const char *path, const int32_t *tokens,
		  size_t n)
{
	uint64_t begin = clock_ns(), loaded;
	int r = n < 2 ? -EINVAL : state_bind();

	session_forget(s);
	if (r == 0)
		r = state_load(s, path, tokens, n);
	loaded = clock_ns();
	if (r == 0)
		r = session_put(s, tokens, n - 1);
	if (r)
		return r;
	r = session_last(s, tokens, n);
	s->times = (struct session_times){
		.prompt = n,
		.held = n - 1,
		.import_ns = loaded - begin,
		.compute_ns = clock_ns() - loaded,
		.first_ns = clock_ns() - begin,
	};
	return r;
}

const char *state_engine_version(void)
{
	void *p = oc_llama_symbol("llama_version");
	const char *(*version)(void);
	const char *text;

	if (!p)
		return "";
	memcpy(&version, &p, sizeof(version));
	text = version();
	return text ? text : "";
}

uint64_t state_parameters(struct session *s)
{
	void *p = oc_llama_symbol("llama_model_n_params");
	uint64_t (*count)(const struct llama_model *);

	if (s->random) /* of which the engine counts none */
		return s->parameters;
	if (!p)
		return 0;
	memcpy(&count, &p, sizeof(count));
	return count(s->model);
}
