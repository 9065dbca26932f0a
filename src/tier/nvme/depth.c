/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/nvme/depth.h"

void nvme_depth_init(struct nvme_depth *d, uint32_t least, uint32_t most,
		     uint64_t long_ns)
{
	memset(d, 0, sizeof(*d));
	d->least = MIN(least, most);
	d->most = most;
	d->long_ns = long_ns;
	d->now = MAX(d->least, MIN(most, 32u));
	d->waited = true;
}

static void change(struct nvme_depth *d, bool fewer)
{
	uint32_t by = MAX(d->now / 4, 1u);

	d->fewer = fewer;
	if (fewer)
		d->now = MAX(d->now - MIN(by, d->now), d->least);
	else
		d->now = MIN(d->now + by, d->most);
}

static void judge(struct nvme_depth *d, uint64_t now_ns)
{
	uint64_t ns = MAX(now_ns - d->begin_ns, 1ull);
	uint64_t rate = (uint64_t)((double)d->bytes * 1e9 / (double)ns);
	uint64_t mean = d->took_ns / d->moves, before = d->rate;

	if (before == 0 || mean < d->long_ns / 4) {
		d->rate = rate;
		change(d, mean > d->long_ns);
	} else if (rate > before + before / 16) {
		d->rate = rate;
		change(d, d->fewer);
	} else if (rate < before - before / 16) {
		d->rate = rate;
		change(d, !d->fewer);
	} else if (mean > d->long_ns) {
		d->rate = rate;
		change(d, true);
	}
}

void nvme_depth_ended(struct nvme_depth *d, uint64_t bytes, uint64_t took_ns,
		      bool waiting, uint64_t now_ns)
{
	if (d->moves == 0 && d->begin_ns == 0)
		d->begin_ns = now_ns - MIN(took_ns, now_ns);
	d->moves++;
	d->bytes += bytes;
	d->took_ns += took_ns;
	d->waited = d->waited && waiting;
	if (d->moves < 2ull * d->now && d->waited)
		return;
	if (d->waited)
		judge(d, now_ns);
	d->begin_ns = d->waited ? now_ns : 0;
	d->moves = d->bytes = d->took_ns = 0;
	d->waited = true;
}
