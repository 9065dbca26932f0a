/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace's description as a client put it into its blob. */
#include "base/log.h"
#include "shm/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t digest[32], other[32];
	struct ns_spec spec, back;
	struct ns_record record;

	memset(&spec, 0, sizeof(spec));
	memcpy(&spec, data, MIN(size, sizeof(spec)));
	if (ns_spec_check(&spec))
		return 0;
	for (unsigned g = 0; g < spec.groups; g++) {
		uint64_t bytes = ns_spec_part_bytes(&spec, g);
		struct match_group rule = ns_spec_rule(&spec, g);

		must(bytes > 0 && bytes <= LAYOUT_PART_MAX);
		must(bytes % MAX(ns_spec_stripes(&spec, g) * PAGE_BYTES,
				 (size_t)1) ==
		     0);
		must(rule.rule <= MATCH_STATE);
		must((rule.rule == MATCH_WINDOW) == (rule.window > 0));
	}
	must(ns_spec_digest(&spec, digest) == 0);
	memset((void *)&record, 0, sizeof(record));
	ns_record_store(&record, 1, &spec, digest);
	must(ns_record_load(&record, &back));
	must(ns_spec_digest(&back, other) == 0);
	must(memcmp(digest, other, sizeof(digest)) == 0);
	/* What follows a label's end is not kept. */
	must(strcmp(spec.label, back.label) == 0);
	return 0;
}
