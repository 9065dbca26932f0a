/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fakes of NVIDIA's libraries: libfake_cuda.so and libfake_cufile.so have the
 * vendor's symbols (declared from the vendor's documents, tier/gpu/cuda.h and
 * cufile.h) and are loaded by path, as the real ones are. They check every
 * argument: handles and their state, ranges, alignment, registration, order of
 * calls, the current context, a fork in between. What is wrong is answered as
 * the vendor documents it and, where a correct caller could never do it, written
 * down in `problem`.
 *
 * What cuFile reads through the host arrives when the context is waited for.
 *
 * Device memory has addresses that fault when they are touched. Copies are done
 * when somebody waits for them, not when they are asked for, so that a buffer
 * which is used again too early shows wrong bytes.
 *
 * They prove the calling code; they prove nothing of the hardware.
 */
#ifndef ONECOPY_TESTS_FAKES_FAKES_H
#define ONECOPY_TESTS_FAKES_FAKES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_EXPORT __attribute__((visibility("default")))

struct fake_problems {
	unsigned n;
	char first[256];
};

struct fake_cuda {
	int devices;	   /* 1 unless changed before cuInit() */
	int fail_code;	   /* of the failure that is armed */
	uint64_t fail_at;  /* 1: the next call that may fail; 0: none */
	bool fail_sticky;  /* and all that follow */
	bool no_read_only; /* memory cannot be registered read-only */
	uint64_t calls;	   /* that may fail */
	uint64_t copies;   /* done */
	unsigned memory, host, registered, streams, events, retained, shares;
	struct fake_problems problem;
};
/* Symbols: struct fake_cuda *fake_cuda_control(void);
 * host memory behind a device's range, NULL when it is not all allocated:
 * void *fake_cuda_behind(uint64_t at, size_t bytes);
 * base and length of its allocation: bool fake_cuda_allocation(uint64_t at,
 * uint64_t *ret_base, uint64_t *ret_bytes);
 * is a context current: bool fake_cuda_current(void); */

struct fake_cufile {
	bool nvidia_fs, p2p; /* what the machine has */
	bool allow_compat;   /* the administrator's file; true at first */
	bool insists;	     /* it wins over the program */
	bool lies;	     /* reads through the host whatever it was told */
	bool no_counts;
	bool stuck;	   /* batches take requests and do not end them */
	bool refuse_batch; /* submit fails */
	uint64_t fail_at;  /* 1: the next call that may fail; 0: none */
	int fail_code;	   /* 5001 ..., or a small errno for reads */
	uint64_t short_by; /* bytes that the next read lacks */
	uint64_t flip_at;  /* 1 + byte of the next read that is wrong */
	uint64_t calls;
	uint64_t direct_reads, posix_reads, unregistered_reads, batches;
	unsigned files, buffers;
	bool open;
	struct fake_problems problem;
};
/* Symbol: struct fake_cufile *fake_cufile_control(void); */

#endif
