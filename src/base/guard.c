/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

struct guard {
	sigjmp_buf here;
	struct guard_fault fault;
};
static _Thread_local struct guard *_Atomic guard_here;

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
}

int guard_run(void (*fn)(void *ctx), void *ctx, struct guard_fault *ret_fault)
{
	struct guard g;

	/* no mask is kept: SA_NODEFER blocks nothing */
	if (sigsetjmp(g.here, 0)) {
		atomic_store_explicit(&guard_here, NULL, memory_order_relaxed);
		if (ret_fault)
			*ret_fault = g.fault;
		return -EIO;
	}
	atomic_store_explicit(&guard_here, &g, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	fn(ctx);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&guard_here, NULL, memory_order_relaxed);
	return 0;
}
