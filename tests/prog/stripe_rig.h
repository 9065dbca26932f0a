/* SPDX-License-Identifier: Apache-2.0 */
/* A node, a namespace whose parts lie in stripes, and perhaps a space over it. */
#ifndef ONECOPY_TESTS_PROG_STRIPE_RIG_H
#define ONECOPY_TESTS_PROG_STRIPE_RIG_H

#include <onecopy/session.h>
#include "tests/prog/space_rig.h"

#define SLICES 32u
#define SLICE  (4 * KIB)
#define BYTES  (SLICES * SLICE)
#define RUN    12u
#define RUNS   8u
#define BLOCKS (RUN * RUNS)
#define OTHERS 10000u /* keys of what lies between the runs */
#define STEPS  400u

struct rig {
	struct live n;
	char place[LIVE_PLACE];
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
};

static inline oc_ns *striped_ns(oc_client *c)
{
	struct oc_ns_options o = { .size = sizeof(o),
				   .block_tokens = 16,
				   .n_groups = 1,
				   .groups = { { .slices = SLICES,
						 .slice_bytes = SLICE,
						 .stride = OC_STRIPED } } };
	oc_ns *ns;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	return ns;
}

static inline uint8_t byte_of(uint64_t n, uint32_t slice, uint64_t k)
{
	return (uint8_t)(n * 7 + slice * 31 + k / 61 + 1);
}

static inline void make(uint64_t n, uint8_t *data)
{
	for (uint32_t s = 0; s < SLICES; s++)
		for (uint64_t k = 0; k < SLICE; k++)
			data[s * SLICE + k] = byte_of(n, s, k);
}

static inline void put(oc_ns *ns, uint64_t n)
{
	static uint8_t data[BYTES];
	struct oc_key key = live_key(n);

	make(n, data);
	CHECK_OK(oc_put(ns, &key, SP_P0, data, BYTES, 0));
}

static inline bool slice_is(const uint8_t *at, uint64_t n, uint32_t s)
{
	for (uint64_t k = 0; k < SLICE; k++)
		if (at[k] != byte_of(n, s, k))
			return false;
	return true;
}

static inline void open_node(struct rig *r)
{
	r->c = live_connect(&r->n);
	r->ns = striped_ns(r->c);
}

static inline void start_scrub(struct rig *r, const char *rate)
{
	r->place[0] = '\0';
	live_start(&r->n, "--dram=64MiB", "--slab=16MiB", "--scrub", rate);
	open_node(r);
	r->s = NULL;
}

static inline void start(struct rig *r)
{
	start_scrub(r, "64M");
}

static inline void end(struct rig *r)
{
	oc_space_destroy(r->s);
	live_check(r->c);
	CHECK_INT(live_stat(r->c).pins_held, ==, 0);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
	if (r->place[0])
		live_drive_end(r->place);
}

static inline uint8_t *at(const struct oc_span_info *f, uint32_t slice,
			  size_t i)
{
	return (uint8_t *)f->base + slice * f->slice_stride +
	       i * f->block_stride;
}

#endif
