/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory behind a CXL link, found by itself: what there is, in what state it is,
 * what its firmware says of it, and how fast it really is.
 *
 *	memdev  mem0      a device of the CXL bus
 *	   |
 *	region  region0   what gives bytes of devices (interleaved over some)
 *	   |              addresses
 *	dax     dax0.0    such a range, lent out: mapped as it is (devdax), or given
 *	   |              to the kernel as memory (system-ram)
 *	node    node2     a NUMA node without processors: memory by mbind()
 *
 * Each of them is one entry of one list; `on` says what it lies on. Slabs can lie
 * in a dax device that is READY and in a node that is READY. All is read from
 * sysfs below a root, "" for this machine: libcxl and libdaxctl read the same
 * files and know nothing more (docs/design/cxl.md).
 *
 * Finding changes nothing and waits for no device. Nothing here is kept: a list
 * is a picture of a moment, and devices may go at any time. Any thread.
 */
#ifndef ONECOPY_TIER_CXL_H
#define ONECOPY_TIER_CXL_H

#include "tier/tier.h"

#define CXL_NAME  32
#define CXL_ON	  96
#define CXL_MOST  256 /* entries of a list */
#define CXL_NEARS 64  /* nodes with processors */

enum cxl_kind { CXL_MEMDEV, CXL_REGION, CXL_DAX, CXL_NODE, CXL_KINDS };

enum cxl_state {
	CXL_READY,   /* can be used as it is */
	CXL_GIVEN,   /* dax: its memory is that of its node, which is online */
	CXL_OFFLINE, /* dax that is system-ram, node: none of it is online */
	CXL_UNBOUND, /* no driver has it */
	CXL_DENIED,  /* dax: this user may not open it */
	CXL_UNUSED, /* memdev: none of it lies in a region; region: not committed */
	CXL_STATES
};
const char *cxl_memory_kind_name(enum cxl_kind kind);
const char *cxl_memory_state_name(enum cxl_state state);

/* What the firmware says (HMAT, or CDAT by way of the region); 0: nothing. */
struct cxl_claim {
	uint64_t read_latency_ns, write_latency_ns;
	uint64_t read_bytes_per_s, write_bytes_per_s;
};

struct cxl_memory {
	enum cxl_kind kind;
	enum cxl_state state;
	char name[CXL_NAME];   /* as in sysfs */
	char driver[CXL_NAME]; /* "": none */
	char on[CXL_ON]; /* what it lies on, names with blanks between; "" */
	bool cxl; /* it lies on a CXL device in the end, as far as known */
	bool persistent; /* memdev: all of it; region, dax: its mode */
	uint64_t bytes;	 /* memdev: RAM and persistent; node: online */
	uint64_t persistent_bytes; /* memdev */
	uint64_t free_bytes;	   /* node */
	uint64_t align;		   /* dax: of maps, lengths and offsets */
	uint64_t resource; /* region, dax: physical address; 0 unknown */
	unsigned ways, granularity; /* region: its interleave */
	int node;	  /* where processors meet it: NUMA node; -1 */
	int rank;	  /* memory tier of the kernel; -1 */
	int64_t failures; /* node: pages lost to memory errors; -1 unknown */
	int64_t poison_bytes; /* memdev: cxl_poison() puts it here; -1 not asked */
	struct cxl_claim claim;
};

/* A NUMA node that has processors. */
struct cxl_near {
	int node;
	char cpus[240]; /* "0-7,16-23" */
};

struct cxl_list {
	bool bus; /* there is a CXL bus */
	uint32_t decoders;
	uint32_t spilled; /* entries that had no room */
	uint32_t n, n_near;
	struct cxl_memory memory[CXL_MOST];
	struct cxl_near near[CXL_NEARS];
};

/* 0 (with an empty list where there is nothing), -ENOMEM. Free it with
 * cxl_list_destroy(), which takes NULL. */
int cxl_find(const char *root, struct cxl_list **ret_list);
void cxl_list_destroy(struct cxl_list *list);
/* The entry of a name; NULL. "/dev/dax0.0" is that of dax0.0. */
struct cxl_memory *cxl_entry(struct cxl_list *list, const char *name);

/* ---- measured ------------------------------------------------------------------ */

struct cxl_speed {
	double latency_ns;
	double read_bytes_per_s; /* one thread */
	uint64_t bytes;		 /* that were read over and over */
};
/* Of a dax device or node that is READY, from the processors of `near` (NULL: from
 * where this thread runs), each figure for about window_ns. Reads alone: what
 * lies on a device stays. The thread moves there and back. 0; -ENOTSUP it is not
 * READY or neither; -ENODEV it went meanwhile; -EINVAL this process may use none
 * of those processors; -EIO a memory error on the way (SIGBUS as ever without
 * guard_install()); -errno. Not inside a guard. */
int cxl_measure(const struct cxl_memory *m, const struct cxl_near *near,
		uint64_t window_ns, struct cxl_speed *ret_speed);

/* What tier_cxl.measure() reads from now on: chunks of SPEED_CHUNK bytes of memory
 * of the tier that this process has mapped. n 0: nothing, and measure() says
 * -ENODEV. Fewer than CXL_PRICE_CHUNKS: -EAGAIN, for what most caches hold would
 * be told as the price of the memory. The list is copied; the caller takes it back
 * before the memory goes. One thread calls both. */
#define CXL_PRICE_CHUNKS 64u
void cxl_price_of(const void *const *chunk, unsigned n);
extern const struct tier_ops tier_cxl;

/* ---- poison -------------------------------------------------------------------- */

/* Asks a memory device for its list of poisoned addresses, by way of the kernel's
 * traces, and puts the bytes of it into m->poison_bytes. For root alone, and for
 * people: it makes a trace of its own and may wait for the device. 0; -EPERM;
 * -EOPNOTSUPP this kernel or device has no such list; -errno. */
int cxl_poison(struct cxl_memory *m);
/* Bytes that lines of a trace say are poisoned on a device. Pure. */
uint64_t cxl_poison_count(const char *trace, const char *memdev);

#endif
