/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory, pinned memory, plain copies, and what a copy costs. */
#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/fault.h"
#include <onecopy/onecopy.h>
#include "tier/gpu/gpu_internal.h"

#define MEASURE_BYTES (64ull << 20)
#define MEASURE_SMALL 32u /* copies of one page */

int gpu_memory_create(struct gpu *g, uint64_t bytes, cuda_address *ret_at)
{
	cuda_address at = 0;
	int r = fault_point(FAULT_MAP) ? -ENOMEM : gpu_enter(g);

	if (r)
		return r;
	r = CUDA(&g->cuda, mem_alloc, &at, bytes);
	gpu_leave(g);
	g->said = g->cuda.said;
	if (r == 0)
		*ret_at = at;
	return r;
}

void gpu_memory_destroy(struct gpu *g, cuda_address at)
{
	if (!at || gpu_enter(g))
		return;
	(void)CUDA(&g->cuda, mem_free, at);
	gpu_leave(g);
}

int gpu_share(struct gpu *g, cuda_address at, struct cuda_share *ret_share)
{
	int r = gpu_enter(g);

	if (r)
		return r;
	r = CUDA(&g->cuda, ipc_export, ret_share, at);
	gpu_leave(g);
	g->said = g->cuda.said;
	return r;
}

int gpu_share_open(struct gpu *g, const struct cuda_share *share,
		   cuda_address *ret_at)
{
	cuda_address at = 0;
	int r = gpu_enter(g);

	if (r)
		return r;
	r = CUDA(&g->cuda, ipc_open, &at, *share, CUDA_SHARE_LAZY);
	gpu_leave(g);
	g->said = g->cuda.said;
	if (r == 0)
		*ret_at = at;
	return r;
}

void gpu_share_close(struct gpu *g, cuda_address at)
{
	if (!at || gpu_enter(g))
		return;
	(void)CUDA(&g->cuda, ipc_close, at);
	gpu_leave(g);
}

int gpu_pin(struct gpu *g, void *base, uint64_t bytes, bool read_only)
{
	unsigned flags = CUDA_HOST_PORTABLE |
			 (read_only ? CUDA_HOST_READ_ONLY : 0u);
	int able = 1, r = gpu_enter(g);

	if (r)
		return r;
	if (read_only)
		r = CUDA(&g->cuda, device_attribute, &able,
			 CUDA_CAN_READ_ONLY_REGISTER, g->device);
	if (r == 0)
		r = !able ? -ENOTSUP
			  : CUDA(&g->cuda, mem_host_register, base, bytes,
				 flags);
	gpu_leave(g);
	g->said = g->cuda.said;
	return r;
}

void gpu_unpin(struct gpu *g, void *base)
{
	if (gpu_enter(g))
		return;
	(void)CUDA(&g->cuda, mem_host_unregister, base);
	gpu_leave(g);
}

int gpu_copy_in(struct gpu *g, cuda_address to, const void *from,
		uint64_t bytes)
{
	int r = gpu_enter(g), e;

	if (r)
		return r;
	r = CUDA(&g->cuda, copy_in, to, from, bytes, g->stream);
	e = CUDA(&g->cuda, stream_wait, g->stream);
	gpu_leave(g);
	g->said = g->cuda.said;
	return r ? r : e;
}

int gpu_copy_out(struct gpu *g, void *to, cuda_address from, uint64_t bytes)
{
	int r = gpu_enter(g), e;

	if (r)
		return r;
	r = CUDA(&g->cuda, copy_out, to, from, bytes, g->stream);
	e = CUDA(&g->cuda, stream_wait, g->stream);
	gpu_leave(g);
	g->said = g->cuda.said;
	return r ? r : e;
}

/* ---- the price ------------------------------------------------------------------- */

/* What gpu_measure() found last, for measure(), from whatever thread. */
static _Atomic uint64_t price_latency, price_rate;

/* Pieces one after the other, as many in line as there are; ns for all. */
static int measure_rate(struct gpu *g, cuda_address to, uint64_t bytes,
			uint64_t *ret_ns)
{
	uint64_t start = clock_ns();
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < bytes; at += g->piece_bytes) {
		int slot = gpu_slot_take(g, true);

		if (slot < 0)
			return slot;
		r = CUDA(&g->cuda, copy_in,
			 to + (uint64_t)slot * g->piece_bytes,
			 gpu_piece(g, (uint32_t)slot), g->piece_bytes,
			 g->stream);
		if (r == 0)
			r = gpu_slot_copies(g, (uint32_t)slot);
	}
	if (r == 0)
		r = CUDA(&g->cuda, stream_wait, g->stream);
	*ret_ns = MAX(clock_ns() - start, 1u);
	return r;
}

static int measure_latency(struct gpu *g, cuda_address to, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;
	int r = 0, slot = gpu_slot_take(g, true);

	if (slot < 0)
		return slot;
	for (uint32_t i = 0; r == 0 && i < MEASURE_SMALL; i++) {
		uint64_t start = clock_ns();

		r = CUDA(&g->cuda, copy_in, to, gpu_piece(g, (uint32_t)slot),
			 PAGE_BYTES, g->stream);
		if (r == 0)
			r = CUDA(&g->cuda, stream_wait, g->stream);
		best = MIN(best, clock_ns() - start);
	}
	*ret_ns = best;
	return r;
}

static int measure_all(struct gpu *g, uint64_t bytes,
		       struct tier_price *ret_price)
{
	uint64_t whole = ALIGN_UP(MAX(bytes, g->piece_bytes), g->piece_bytes);
	struct tier_price p = { 0 };
	cuda_address to = 0;
	uint64_t ns = 1;
	int r = CUDA(&g->cuda, mem_alloc, &to, g->pieces * g->piece_bytes);

	if (r)
		return r;
	r = measure_latency(g, to, &p.latency_ns);
	if (r == 0)
		r = measure_rate(g, to, whole, &ns);
	(void)CUDA(&g->cuda, stream_wait, g->stream);
	(void)CUDA(&g->cuda, mem_free, to);
	p.bytes_per_s = (uint64_t)((double)whole * 1e9 / (double)ns);
	if (r == 0)
		*ret_price = p;
	return r;
}

int gpu_measure(struct gpu *g, uint64_t bytes, struct tier_price *ret_price)
{
	int r = gpu_enter(g);

	if (r)
		return r;
	r = measure_all(g, bytes ? bytes : MEASURE_BYTES, ret_price);
	gpu_leave(g);
	g->said = g->cuda.said;
	if (r == 0) {
		atomic_store_explicit(&price_latency, ret_price->latency_ns,
				      memory_order_relaxed);
		/* release: pairs with gpu_price()'s acquire; the rate is
		 * written last and says that both are there */
		atomic_store_explicit(&price_rate, ret_price->bytes_per_s,
				      memory_order_release);
	}
	return r;
}

static int gpu_price(struct tier_price *ret_price)
{
	/* acquire: pairs with gpu_measure()'s release */
	uint64_t rate = atomic_load_explicit(&price_rate, memory_order_acquire);

	if (!rate)
		return -ENODATA;
	ret_price->bytes_per_s = rate;
	ret_price->latency_ns =
		atomic_load_explicit(&price_latency, memory_order_relaxed);
	return 0;
}

const struct tier_ops tier_gpu = {
	.name = "vram",
	.kind = OC_TIER_VRAM,
	.measure = gpu_price,
};
