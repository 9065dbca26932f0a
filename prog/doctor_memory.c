/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory kinds: each NUMA node with memory, its size, and how fast this process
 * reads it, on pages that are bound to it; and shared memory as a pool makes
 * it. A node without processors is memory behind a link: CXL, or like it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/text.h"
#include "doctor.h"
#include "shm/segment.h"
#include "tier/speed.h"

#define WINDOW_NS	(60 * NS_PER_MS)
#define QUICK_WINDOW_NS (15 * NS_PER_MS)
#define POOL_BYTES	(64ull << 20)
#define FILL_NS		(400 * NS_PER_MS)
#define NODES_MEASURED	8u

static uint64_t window_ns(const struct doctor *d)
{
	return d->quick ? QUICK_WINDOW_NS : WINDOW_NS;
}

static void rate_text(double bytes_per_s, char text[32])
{
	snprintf(text, 32, "%.1f GB/s", bytes_per_s / 1e9);
}

/* ---- a node ------------------------------------------------------------------------ */

static int node_measure(const struct doctor *d, unsigned node, bool bind,
			bool *ret_cached, struct doctor_speed *ret)
{
	uint64_t bytes = doctor_buffer(d);
	void *p = NULL;
	int64_t filled;
	int r = speed_map(bytes, bind ? (int)node : -1, &p);

	if (r)
		return r;
	filled = speed_fill(p, bytes, d->quick ? FILL_NS / 4 : FILL_NS);
	if (filled > 0) {
		r = doctor_measure(p, (uint64_t)filled, window_ns(d), ret);
		*ret_cached = doctor_cached(d, (uint64_t)filled);
	} else {
		r = (int)filled;
	}
	munmap(p, bytes);
	return r;
}

/* From the node's own processors, where it has any that this process may use;
 * from all others otherwise. cpus NULL: there is only this node. */
static int node_measure_near(const struct doctor *d, unsigned node,
			     const char *cpus, bool *ret_cached,
			     struct doctor_speed *ret)
{
	cpu_set_t all, near;
	bool moved = false;
	int r;

	if (cpus && sched_getaffinity(0, sizeof(all), &all) == 0 &&
	    sysfs_cpu_list(cpus, &near)) {
		CPU_AND(&near, &near, &all);
		moved = CPU_COUNT(&near) &&
			sched_setaffinity(0, sizeof(near), &near) == 0;
	}
	r = node_measure(d, node, cpus != NULL, ret_cached, ret);
	if (moved)
		sched_setaffinity(0, sizeof(all), &all);
	return r;
}

static void speed_facts(struct doctor_result *r, const struct doctor_speed *s,
			bool cached)
{
	doctor_number(r, "read_bytes_per_s", s->one_bytes_per_s);
	doctor_number(r, "read_all_bytes_per_s", s->all_bytes_per_s);
	doctor_number(r, "threads", s->threads);
	doctor_number(r, "latency_ns", s->latency_ns);
	doctor_number(r, "in_cache", cached);
}

/* What the firmware says of a node's memory, seen from its initiators. */
static void node_hmat(const struct doctor *d, unsigned node,
		      struct doctor_result *r)
{
	static const struct {
		const char *file, *fact;
		double scale;
	} values[] = {
		{ "read_bandwidth", "hmat_read_bytes_per_s", 1048576 },
		{ "write_bandwidth", "hmat_write_bytes_per_s", 1048576 },
		{ "read_latency", "hmat_read_latency_ns", 1 },
		{ "write_latency", "hmat_write_latency_ns", 1 },
	};
	uint64_t value;

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		if (sysfs_read_u64(d->root, &value,
				   "/sys/devices/system/node/node%u/access0/"
				   "initiators/%s",
				   node, values[i].file) == 0)
			doctor_number(r, values[i].fact,
				      (double)value * values[i].scale);
}

static void node_value(struct doctor_result *r, uint64_t total, uint64_t free,
		       bool far, const struct doctor_speed *s, bool cached)
{
	char size[32], left[32], one[32], all[32];

	text_size(total, size);
	text_size(free, left);
	if (s->threads == 0) {
		doctor_value(r, "%s, %s free%s", size, left,
			     far ? ", no processors: CXL-like" : "");
		return;
	}
	rate_text(s->one_bytes_per_s, one);
	rate_text(s->all_bytes_per_s, all);
	doctor_value(r, "%s, %s free%s; %s one thread, %s with %u, %.0f ns%s",
		     size, left, far ? ", no processors: CXL-like" : "", one,
		     all, s->threads, s->latency_ns,
		     cached ? " (in the cache)" : "");
}

static void node_one(const struct doctor *d, struct doctor_answer *a,
		     const char *name, unsigned node, bool bind)
{
	struct doctor_speed s = { 0 };
	char text[4096], cpus[256] = "";
	uint64_t total, free;
	struct doctor_result *r;
	bool cached = false, far;
	int e = 0;

	if (sysfs_read(d->root, text, sizeof(text),
		       "/sys/devices/system/node/%s/meminfo", name))
		return;
	total = sysfs_field(text, "MemTotal");
	free = sysfs_field(text, "MemFree");
	if (total == 0)
		return; /* processors alone */
	r = doctor_add(a, name);
	sysfs_read(d->root, cpus, sizeof(cpus),
		   "/sys/devices/system/node/%s/cpulist", name);
	far = cpus[0] == '\0';
	doctor_text(r, "kind", far ? "cxl-like" : "dram");
	doctor_text(r, "processors", cpus);
	doctor_number(r, "bytes", (double)total);
	doctor_number(r, "free_bytes", (double)free);
	node_hmat(d, node, r);
	if (!d->root[0] && a->n <= NODES_MEASURED)
		e = node_measure_near(d, node, bind ? cpus : NULL, &cached, &s);
	if (s.threads)
		speed_facts(r, &s, cached);
	node_value(r, total, free, far, &s, cached);
	if (e == 0)
		return;
	doctor_cost(r,
		    "Not measured (%s): its price is not known, so nothing "
		    "is placed there by it.",
		    strerror(-e));
	if (e == -EPERM || e == -EACCES)
		doctor_mend(r, "docker run --cap-add SYS_NICE");
}

static void nodes_none(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "node0");
	struct doctor_speed s = { 0 };
	char text[4096];
	bool cached = false;
	uint64_t total = 0;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/meminfo") == 0)
		total = sysfs_field(text, "MemTotal");
	if (!d->root[0] && node_measure(d, 0, false, &cached, &s) == 0)
		speed_facts(r, &s, cached);
	doctor_text(r, "kind", "dram");
	doctor_number(r, "bytes", (double)total);
	node_value(r, total, doctor_available(d), false, &s, cached);
}

void doctor_nodes(const struct doctor *d, struct doctor_answer *a)
{
	struct sysfs_names names;

	sysfs_list(d->root, "/sys/devices/system/node", "node", &names);
	for (size_t i = 0; i < names.n; i++)
		if (names.name[i][4] >= '0' && names.name[i][4] <= '9')
			node_one(d, a, names.name[i],
				 (unsigned)strtoul(names.name[i] + 4, NULL, 10),
				 names.n > 1);
	if (a->n == 0)
		nodes_none(d, a);
}

/* ---- shared memory as the pool uses it ----------------------------------------------- */

void doctor_pool_memory(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "pool memory");
	uint64_t bytes = MIN(d->quick ? POOL_BYTES / 2 : POOL_BYTES,
			     round_down_pow2(doctor_available(d) / 8));
	struct segment s = SEGMENT_NONE;
	struct doctor_speed speed;
	uint64_t start = clock_ns();
	char made[32], one[32], all[32];
	double rate;
	int e;

	bytes = MAX(bytes, 4ull << 20);
	e = segment_create("onecopy-doctor", bytes, SEGMENT_TRY_HUGE, &s);
	rate = (double)bytes * 1e9 / (double)MAX(clock_ns() - start, 1ull);
	if (e == 0)
		e = doctor_measure(s.base, bytes, window_ns(d), &speed);
	segment_close(&s);
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "shared memory", e);
		doctor_cost(r,
			    "No pool: a slab of %" PRIu64
			    " MiB could not be made.",
			    bytes >> 20);
		return;
	}
	rate_text(rate, made);
	rate_text(speed.one_bytes_per_s, one);
	rate_text(speed.all_bytes_per_s, all);
	speed_facts(r, &speed, doctor_cached(d, bytes));
	doctor_number(r, "made_bytes_per_s", rate);
	doctor_value(r,
		     "made at %s; read at %s by one thread, %s by %u, "
		     "%.0f ns%s",
		     made, one, all, speed.threads, speed.latency_ns,
		     doctor_cached(d, bytes) ? " (in the cache)" : "");
}
