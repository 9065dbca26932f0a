/* SPDX-License-Identifier: Apache-2.0 */
#include "base/slices.h"

void slices_copy(const struct slices *to, const struct slices *from,
		 uint64_t len)
{
	uint64_t run;

	for (uint64_t at = 0; at < len; at += run) {
		const uint8_t *f = slices_at(from, at, len - at, &run);
		uint8_t *t = slices_at(to, at, run, &run);

		memcpy(t, f, run);
	}
}
