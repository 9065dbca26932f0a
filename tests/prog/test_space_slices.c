/* SPDX-License-Identifier: Apache-2.0 */
/* Slice after slice, over a real node. */
#include "base/fault.h"
#include "tests/prog/space_rig.h"

TEST(slices_lie_side_by_side)
{
	struct oc_ns_options no = { .size = sizeof(no),
				    .block_tokens = 16,
				    .n_groups = 1,
				    .groups = { { .slices = 4,
						  .slice_bytes = 4096 } } };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[8];
	uint8_t data[SP_PART];
	oc_space *s;
	struct space_rig r;
	oc_span *sp;
	oc_ns *ns;

	sp_start(&r, OC_SPACE_FAULTS);
	for (int gather = 0; gather < 2; gather++) {
		no.groups[0].slice_bytes = gather ? 1000 : 4096;
		CHECK_OK(oc_ns_open(r.c, &no, 0, &ns));
		for (int i = 0; i < 8; i++) {
			keys[i] = live_key(i);
			for (uint64_t k = 0; k < 4 * no.groups[0].slice_bytes;
			     k++)
				data[k] =
					(uint8_t)(k / no.groups[0].slice_bytes *
							  16 +
						  i);
			CHECK_OK(oc_put(ns, &keys[i], SP_P0, data,
					4 * no.groups[0].slice_bytes, 0));
		}
		s = sp_make(ns, OC_SPACE_FAULTS);
		o.layout = OC_LAYOUT_SLICES;
		o.capacity = 8;
		CHECK_OK(oc_span_map(s, keys, 8, &o, &sp));
		CHECK_INT(sp_info(sp).gathered, ==, gather);
		CHECK_INT(sp_info(sp).slices, ==, 4);
		CHECK((sp_info(sp).why[0] != 0) == gather);
		for (int sl = 0; sl < 4; sl++)
			for (int i = 0; i < 8; i++) {
				struct oc_span_info f = sp_info(sp);
				uint8_t *p = (uint8_t *)f.base +
					     sl * f.slice_stride +
					     i * f.block_stride;

				CHECK_INT(p[0], ==, sl * 16 + i);
				CHECK_INT(p[no.groups[0].slice_bytes - 1], ==,
					  sl * 16 + i);
			}
		oc_space_destroy(s);
		oc_ns_close(ns);
	}
	sp_end(&r);
}
