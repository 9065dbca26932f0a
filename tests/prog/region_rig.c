/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/region_rig.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void two_format_lease(struct two *t, uint32_t members, uint32_t shards,
		      uint32_t frames, uint32_t lease_ms)
{
	struct region_format_options o = {
		.size = sizeof(o),
		.members = members,
		.shards = shards,
		.frames = frames,
		.frame_bytes = TWO_BYTES,
		.lease_ms = lease_ms,
	};
	struct region_geometry least;

	CHECK_OK(region_format_least(&o, &least));
	o.bytes = least.bytes;
	t->fd = memfd_create("onecopy-test-region", MFD_CLOEXEC);
	CHECK_INT(t->fd, >=, 0);
	snprintf(t->path, sizeof(t->path), "/proc/%d/fd/%d", getpid(), t->fd);
	CHECK_OK(region_format(t->path, &o));
}

void two_format(struct two *t, uint32_t members, uint32_t shards,
		uint32_t frames)
{
	two_format_lease(t, members, shards, frames, 200);
}

const char *const *two_words(const struct two *t)
{
	static const char *of[] = { "--dram",	"8M", "--slab", "256K",
				    "--region", NULL, NULL };

	of[5] = t->path;
	return of;
}

void two_open_a(struct two *t)
{
	t->ca = live_connect(&t->a);
	t->na = live_ns(t->ca, TWO_BYTES);
}

void two_open_b(struct two *t)
{
	oc_ns *other;

	t->cb = live_connect(&t->b);
	/* another number there than on A */
	other = live_ns(t->cb, 4096);
	oc_ns_close(other);
	t->nb = live_ns(t->cb, TWO_BYTES);
}

void two_close_a(struct two *t)
{
	oc_ns_close(t->na);
	oc_client_close(t->ca);
}

void two_close_b(struct two *t)
{
	oc_ns_close(t->nb);
	oc_client_close(t->cb);
}

void two_begin_lease(struct two *t, uint32_t members, uint32_t frames,
		     uint32_t lease_ms)
{
	two_format_lease(t, members, 2, frames, lease_ms);
	live_start_words(&t->a, two_words(t));
	live_start_words(&t->b, two_words(t));
	two_open_a(t);
	two_open_b(t);
}

void two_begin(struct two *t, uint32_t members, uint32_t frames)
{
	two_begin_lease(t, members, frames, 200);
}

void two_end(struct two *t)
{
	live_check(t->ca);
	live_check(t->cb);
	two_close_a(t);
	two_close_b(t);
	live_stop(&t->a);
	live_stop(&t->b);
	close(t->fd);
}

void two_publish(struct two *t, uint64_t first, uint64_t n)
{
	uint64_t was = live_counter(t->ca, "region_published");

	live_write_some(t->na, first, n, TWO_BYTES);
	LIVE_WAIT(&t->a, live_counter(t->ca, "region_published") == was + n);
}

struct region *two_looker(const struct two *t)
{
	struct region *r = NULL;

	CHECK_OK(region_open(t->path, &r));
	return r;
}

uint32_t two_member_of(struct region *r, pid_t keeper)
{
	struct region_member_status s;

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		region_member_status(r, i, &s);
		if (s.state == MEMBER_LIVE && !s.reader &&
		    s.pid == (uint64_t)keeper)
			return i;
	}
	FAIL("process %d is no member", (int)keeper);
}

bool two_says(oc_client *c, const char *what, const char *args,
	      const char *text)
{
	bool says;
	char *json;

	CHECK_OK(oc_inspect(c, what, args, 0, &json));
	says = strstr(json, text) != NULL;
	free(json);
	return says;
}

void two_told(oc_client *c, const char *what, const char *args,
	      const char *text)
{
	char *json;

	CHECK_OK(oc_inspect(c, what, args, 0, &json));
	if (!strstr(json, text))
		FAIL("%s does not say \"%s\": %s", what, text, json);
	free(json);
}
