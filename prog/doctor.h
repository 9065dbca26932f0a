/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy doctor: what this machine offers for each technique.
 *
 * A probe is a small function in the table of doctor_table.c. It looks at one
 * thing, or a few of a kind, and adds a result for each: a state, a value for
 * people, facts for programs, and for each gap what it costs and the command
 * that mends it.
 *
 * Each probe runs in a process of its own with a deadline (doctor_probe()), so
 * that a driver that crashes or hangs costs that probe alone. Results are plain
 * data in a shared mapping, without pointers; what a child that did not end
 * well wrote is thrown away. Probes change nothing on the machine: what they
 * make has no name, or loses it before they go on.
 *
 * Files of /proc, /sys, /dev and /etc are read through base/sysfs.h, below
 * `root`, which is "" for this machine: a test gives a folder of
 * its own. Where a probe tries something really, what came of it is judged by a
 * function of its own (doctor_judge_*), so that a test can judge what this
 * machine would never answer.
 */
#ifndef ONECOPY_PROG_DOCTOR_H
#define ONECOPY_PROG_DOCTOR_H

#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include "base/compiler.h"
#include "base/sysfs.h"

#define DOCTOR_RESULTS 64
#define DOCTOR_FACTS   40
#define DOCTOR_GAPS    6
#define DOCTOR_TEXT    256
#define DOCTOR_MEND    192
#define DOCTOR_NAME    40
#define DOCTOR_FACT    128

#define DOCTOR_DEADLINE_MS 10000u

enum doctor_technique {
	DOCTOR_NODE, /* the main job */
	DOCTOR_CXL,
	DOCTOR_COHERENCE,
	DOCTOR_NETWORK,
	DOCTOR_STORAGE,
	DOCTOR_SPACE,
	DOCTOR_ROUTING,
	DOCTOR_TECHNIQUES
};

/* From good to bad; a result's state only ever gets worse. */
enum doctor_state {
	DOCTOR_OK,
	DOCTOR_LIMITED, /* works, with a gap */
	DOCTOR_MISSING, /* is not there, or is refused */
	DOCTOR_BROKEN,	/* should work and does not */
};

struct doctor_fact {
	char name[DOCTOR_NAME];
	char text[DOCTOR_FACT]; /* when is_text */
	double number;
	uint32_t is_text, zero;
};

struct doctor_gap {
	char cost[DOCTOR_TEXT]; /* one sentence */
	char mend[DOCTOR_MEND]; /* a command, or ""  */
};

struct doctor_result {
	char name[DOCTOR_NAME];
	char value[DOCTOR_TEXT];
	char limit[DOCTOR_FACT]; /* of the main job; "": none */
	uint32_t state;		 /* enum doctor_state */
	int32_t error;		 /* negative errno of what failed, 0 */
	uint32_t n_facts, n_gaps;
	struct doctor_fact fact[DOCTOR_FACTS];
	struct doctor_gap gap[DOCTOR_GAPS];
};

struct doctor_answer {
	uint32_t n, spilled; /* spilled: results that had no room */
	struct doctor_result result[DOCTOR_RESULTS];
	struct doctor_result spill;
};

struct doctor {
	const char *root; /* "": this machine */
	const char *dir;  /* for O_DIRECT */
	bool quick;
	bool terminal; /* progress is shown */
};

struct doctor_probe {
	enum doctor_technique technique;
	const char *name;
	void (*run)(const struct doctor *d, struct doctor_answer *a);
	uint32_t deadline_ms; /* 0: DOCTOR_DEADLINE_MS */
	bool needed;	      /* the technique cannot do without */
	bool measures;	      /* takes a while: progress says its name */
};

extern const struct doctor_probe doctor_probes[];
extern const size_t doctor_n_probes;

/* What a technique is called, in JSON and for people. */
const char *doctor_technique_id(enum doctor_technique t);
const char *doctor_technique_title(enum doctor_technique t);
const char *doctor_state_name(unsigned state);

/* Runs a probe in a child; never fails: what goes wrong is a BROKEN result.
 * The answer lies in memory that the child can write (doctor_answer_create)
 * and has one result at least, or none where there is nothing to say. */
void doctor_probe(const struct doctor *d, const struct doctor_probe *p,
		  struct doctor_answer *a);
const struct doctor_probe *doctor_find(const char *name);
struct doctor_answer *doctor_answer_create(size_t n); /* NULL: no memory */
void doctor_answer_destroy(struct doctor_answer *a, size_t n);

/* ---- building results ------------------------------------------------------ */

/* A new result, state OK. Never NULL. */
struct doctor_result *doctor_add(struct doctor_answer *a, const char *name);
void doctor_value(struct doctor_result *r, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
void doctor_worsen(struct doctor_result *r, enum doctor_state state);
void doctor_number(struct doctor_result *r, const char *name, double value);
void doctor_text(struct doctor_result *r, const char *name, const char *text);
/* A gap: its cost, then the command for it. */
void doctor_cost(struct doctor_result *r, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
void doctor_mend(struct doctor_result *r, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
/* Of the main job: what it has to do without. */
void doctor_limit(struct doctor_result *r, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
/* A result that says "WHAT: text of the errno". */
void doctor_failed(struct doctor_result *r, enum doctor_state state,
		   const char *what, int error);

/* Has this process a seccomp filter (/proc/self/status)? Then that is the first
 * suspect for a call that was refused. */
bool doctor_filtered(const struct doctor *d);
/* Can the library be opened? Adds a result; `package` mends it, or NULL. */
struct doctor_result *doctor_library(struct doctor_answer *a, const char *name,
				     const char *soname, const char *package,
				     const char *cost);

/* ---- memory, measured (doctor_measure.c) -------------------------------------- */

struct doctor_speed {
	double one_bytes_per_s, all_bytes_per_s, latency_ns;
	uint32_t threads, zero;
};
/* Reads `bytes` (a power of two) of mapped memory at `base`: streams of one
 * thread, of all processors of the process, and dependent loads, each for
 * about window_ns. 0 or -errno. */
int doctor_measure(const void *base, uint64_t bytes, uint64_t window_ns,
		   struct doctor_speed *ret_speed);
/* Bytes of a buffer that is worth measuring: beyond the last cache, below what
 * is free. A power of two. */
uint64_t doctor_buffer(const struct doctor *d);
/* Would a buffer of so many bytes lie in the last cache for the most part? */
bool doctor_cached(const struct doctor *d, uint64_t bytes);
/* Memory that can still be had: of the machine, or of the control group. */
uint64_t doctor_available(const struct doctor *d);

/* ---- judges ------------------------------------------------------------------ */

struct doctor_uring {
	int setup; /* 0 or -errno, of each step that was tried */
	int nop, buffer_ring, multishot;
	uint32_t features, ops;
};
void doctor_judge_uring(const struct doctor *d, const struct doctor_uring *u,
			struct doctor_result *r);

struct doctor_uffd {
	int user_mode; /* 0 or -errno of userfaultfd(UFFD_USER_MODE_ONLY) */
	int device;    /* of opening /dev/userfaultfd */
	int full;      /* of userfaultfd() that sees the kernel's faults too */
	int missing, wp, minor; /* of really using each on shared memory */
	uint64_t features;
	double fault_ns; /* one fault served; 0: not measured */
};
void doctor_judge_uffd(const struct doctor *d, const struct doctor_uffd *u,
		       struct doctor_result *r);

struct doctor_xdp {
	int load; /* 0 or -errno of BPF_PROG_LOAD */
};
void doctor_judge_xdp(const struct doctor *d, const struct doctor_xdp *x,
		      struct doctor_result *r);

struct doctor_pages {
	int made;		  /* 0 or -errno of making a memfd */
	int collapse;		  /* 0 or -errno of MADV_COLLAPSE on it */
	double small_ns, huge_ns; /* a load with each; 0: not measured */
};
void doctor_judge_pages(const struct doctor *d, const struct doctor_pages *p,
			struct doctor_result *r);

/* nofile: the hard limit. */
void doctor_judge_files(uint64_t nofile, struct doctor_result *r);

/* ---- the report ---------------------------------------------------------------- */

struct doctor_verdict {
	int status;		   /* enum exit_status */
	char why[DOCTOR_TEXT * 2]; /* what stops it, or its limits; or "" */
};

/* answers[i] is that of doctor_probes[i]. */
void doctor_decide(const struct doctor_answer *answers,
		   struct doctor_verdict *ret_verdict);
unsigned doctor_technique_state(const struct doctor_answer *answers,
				enum doctor_technique t);
void doctor_print(const struct doctor_answer *answers,
		  const struct doctor_verdict *v, FILE *out);
/* A new reference; NULL: no memory. docs/formats/doctor.md. */
json_t *doctor_json(const struct doctor *d, const struct doctor_answer *answers,
		    const struct doctor_verdict *v);

/* ---- the probes ------------------------------------------------------------------ */

#define DOCTOR_PROBE(name_) \
	void doctor_##name_(const struct doctor *d, struct doctor_answer *a)
DOCTOR_PROBE(memfd);
DOCTOR_PROBE(pidfd);
DOCTOR_PROBE(sockets);
DOCTOR_PROBE(proc);
DOCTOR_PROBE(events);
DOCTOR_PROBE(wipe);
DOCTOR_PROBE(trial);
DOCTOR_PROBE(memory);
DOCTOR_PROBE(cgroup);
DOCTOR_PROBE(pids);
DOCTOR_PROBE(overcommit);
DOCTOR_PROBE(files);
DOCTOR_PROBE(memlock);
DOCTOR_PROBE(seccomp);
DOCTOR_PROBE(doors);
DOCTOR_PROBE(nodes);
DOCTOR_PROBE(cxl);
DOCTOR_PROBE(dax);
DOCTOR_PROBE(cxl_libraries);
DOCTOR_PROBE(processors);
DOCTOR_PROBE(caches);
DOCTOR_PROBE(instructions);
DOCTOR_PROBE(exchange);
DOCTOR_PROBE(xdp);
DOCTOR_PROBE(interfaces);
DOCTOR_PROBE(rdma);
DOCTOR_PROBE(network_libraries);
DOCTOR_PROBE(uring);
DOCTOR_PROBE(direct);
DOCTOR_PROBE(gpu);
DOCTOR_PROBE(rocm);
DOCTOR_PROBE(cufile);
DOCTOR_PROBE(uffd);
DOCTOR_PROBE(pages);
DOCTOR_PROBE(hugetlb);
DOCTOR_PROBE(maps);
DOCTOR_PROBE(pool_memory);
DOCTOR_PROBE(keys);
DOCTOR_PROBE(loopback);
DOCTOR_PROBE(routing_libraries);

#endif
