/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

/* SA_NODEFER blocks nothing, so no mask is kept; but the thread sanitizer's own
 * handler blocks all. */
#ifdef ONECOPY_TSAN
#define KEEP_MASK 1
#else
#define KEEP_MASK 0
#endif

struct guard {
	sigjmp_buf here;
	struct guard_fault fault;
	struct guard *outer; /* that this one runs in; NULL */
};
static _Thread_local struct guard *_Atomic guard_here;

/* Without the handler a guard is a call. */
static atomic_bool installed;

/* What SIGBUS was before; written before the handler is there. */
static struct sigaction before = { .sa_handler = SIG_DFL };

/* Whatever is told, a page at least, and no more than a huge one of 1 GiB. */
static uint64_t width(const siginfo_t *info)
{
	unsigned bits = (unsigned)info->si_addr_lsb;

	if (info->si_code != BUS_MCEERR_AR || bits < 12 || bits > 30)
		return PAGE_BYTES;
	return 1ull << bits;
}

/* The fault is this thread's own, at the very instruction: nothing that it was
 * about is half done in the C library. Elsewhere it is what it was: the instruction
 * is tried again with the handler that was there before, or none. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	struct guard *g =
		atomic_load_explicit(&guard_here, memory_order_relaxed);

	(void)context;
	/* somebody else's page is lost, and nobody touched it: who does will
	 * be told then */
	if (info->si_code == BUS_MCEERR_AO)
		return;
	if (g && info->si_code > 0) {
		g->fault = (struct guard_fault){
			.at = (uintptr_t)info->si_addr,
			.bytes = width(info),
		};
		siglongjmp(g->here, 1);
	}
	sigaction(sig, &before, NULL);
	if (info->si_code <= 0) /* somebody sent it */
		raise(sig);
}

void guard_install(void)
{
	struct sigaction action = { .sa_sigaction = on_bus,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction was;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &was) == 0 &&
	    !(was.sa_flags & SA_SIGINFO && was.sa_sigaction == on_bus))
		before = was;
	sigaction(SIGBUS, &action, NULL);
	atomic_store_explicit(&installed, true, memory_order_relaxed);
}

static void guard_set(struct guard *g)
{
	atomic_store_explicit(&guard_here, g, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

int guard_run(void (*fn)(void *ctx), void *ctx, struct guard_fault *ret_fault)
{
	struct guard g;

	if (!atomic_load_explicit(&installed, memory_order_relaxed)) {
		fn(ctx);
		return 0;
	}
	g.outer = atomic_load_explicit(&guard_here, memory_order_relaxed);
	if (sigsetjmp(g.here, KEEP_MASK)) {
		guard_set(g.outer);
		if (ret_fault)
			*ret_fault = g.fault;
		return -EIO;
	}
	guard_set(&g);
	fn(ctx);
	atomic_signal_fence(memory_order_seq_cst);
	guard_set(g.outer);
	return 0;
}

struct touch {
	const char *at;
	uint64_t bytes;
};

static void touch_run(void *ctx)
{
	const struct touch *t = ctx;
	const volatile char *at = t->at; /* words: not between threads */
	uint64_t i = 0;

	while (i < t->bytes) {
		(void)at[i];
		i += PAGE_BYTES - ((uintptr_t)(t->at + i) & (PAGE_BYTES - 1));
	}
}

int guard_touch(const void *at, uint64_t bytes, struct guard_fault *ret_fault)
{
	struct touch t = { at, bytes };

	return guard_run(touch_run, &t, ret_fault);
}
