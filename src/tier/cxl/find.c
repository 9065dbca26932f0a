/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list, from the bus up: devices, regions, dax devices, nodes. What one of
 * them says of another is looked up in the entries that are there already; where
 * files contradict each other, the entry itself is right.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/sysfs.h"
#include "base/text.h"
#include "tier/cxl/cxl.h"
#include "tier/cxl/find.h"

#define CXL_DIR "/sys/bus/cxl/devices"
#define DAX_DIR "/sys/bus/dax/devices"

const char *cxl_memory_kind_name(enum cxl_kind kind)
{
	static const char *const names[CXL_KINDS] = {
		[CXL_MEMDEV] = "memdev",
		[CXL_REGION] = "region",
		[CXL_DAX] = "dax",
		[CXL_NODE] = "node",
	};

	return kind < CXL_KINDS ? names[kind] : "";
}

const char *cxl_memory_state_name(enum cxl_state state)
{
	static const char *const names[CXL_STATES] = {
		[CXL_READY] = "ready",	   [CXL_GIVEN] = "system-ram",
		[CXL_OFFLINE] = "offline", [CXL_UNBOUND] = "no driver",
		[CXL_DENIED] = "denied",   [CXL_UNUSED] = "unused",
	};

	return state < CXL_STATES ? names[state] : "";
}

struct cxl_memory *cxl_entry(struct cxl_list *list, const char *name)
{
	if (strncmp(name, "/dev/", 5) == 0)
		name += 5;
	for (uint32_t i = 0; i < list->n; i++)
		if (strcmp(list->memory[i].name, name) == 0)
			return &list->memory[i];
	return NULL;
}

struct cxl_memory *find_add(struct finder *f, enum cxl_kind kind,
			    const char *name)
{
	struct cxl_list *list = f->list;
	struct cxl_memory *m;

	if (list->n == CXL_MOST) {
		list->spilled++;
		return NULL;
	}
	m = &list->memory[list->n];
	*m = (struct cxl_memory){ .kind = kind,
				  .node = -1,
				  .rank = -1,
				  .failures = -1,
				  .poison_bytes = -1 };
	if (text_copy(m->name, sizeof(m->name), name)) {
		list->spilled++;
		return NULL;
	}
	list->n++;
	return m;
}

void find_on(struct cxl_memory *m, const char *name)
{
	size_t len = strlen(m->on);

	snprintf(m->on + len, sizeof(m->on) - len, "%s%s", len ? " " : "",
		 name);
}

bool find_numbered(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 &&
	       isdigit((unsigned char)name[len]);
}

/* The number of a file; -1 where there is none. "-1" is one. */
static int read_int(const struct finder *f, const char *dir, const char *name,
		    const char *file)
{
	char text[32], *end;
	long value;

	if (sysfs_read(f->root, text, sizeof(text), "%s/%s/%s", dir, name,
		       file))
		return -1;
	value = strtol(text, &end, 10);
	return end == text || value < 0 || value > INT_MAX ? -1 : (int)value;
}

void find_claim(const struct finder *f, const char *folder,
		struct cxl_claim *claim)
{
	struct cxl_claim c = { 0 };
	uint64_t mib = 1ull << 20;

	sysfs_read_u64(f->root, &c.read_latency_ns, "%s/read_latency", folder);
	sysfs_read_u64(f->root, &c.write_latency_ns, "%s/write_latency",
		       folder);
	sysfs_read_u64(f->root, &c.read_bytes_per_s, "%s/read_bandwidth",
		       folder);
	sysfs_read_u64(f->root, &c.write_bytes_per_s, "%s/write_bandwidth",
		       folder);
	if (c.read_bytes_per_s > UINT64_MAX / mib)
		c.read_bytes_per_s = 0;
	if (c.write_bytes_per_s > UINT64_MAX / mib)
		c.write_bytes_per_s = 0;
	c.read_bytes_per_s *= mib;
	c.write_bytes_per_s *= mib;
	if (c.read_latency_ns || c.read_bytes_per_s)
		*claim = c;
}

/* ---- the bus -------------------------------------------------------------------- */

static void memdev_find(struct finder *f, const char *name)
{
	struct cxl_memory *m = find_add(f, CXL_MEMDEV, name);
	uint64_t ram = 0;

	if (!m)
		return;
	sysfs_read_u64(f->root, &ram, CXL_DIR "/%s/ram/size", name);
	sysfs_read_u64(f->root, &m->persistent_bytes, CXL_DIR "/%s/pmem/size",
		       name);
	sysfs_link(f->root, m->driver, sizeof(m->driver), CXL_DIR "/%s/driver",
		   name);
	m->node = read_int(f, CXL_DIR, name, "numa_node");
	m->bytes = ram + m->persistent_bytes;
	m->persistent = ram == 0 && m->persistent_bytes;
	m->cxl = true;
	m->state = m->driver[0] ? CXL_UNUSED : CXL_UNBOUND;
}

/* The device of an endpoint decoder: "decoder5.1" is of endpoint5, whose uport is
 * the device. */
static void target_find(struct finder *f, struct cxl_memory *region,
			const char *decoder)
{
	struct cxl_memory *m;
	char name[CXL_NAME];
	unsigned port;

	if (sscanf(decoder, "decoder%u.", &port) != 1)
		return;
	sysfs_link(f->root, name, sizeof(name), CXL_DIR "/endpoint%u/uport",
		   port);
	m = name[0] ? cxl_entry(f->list, name) : NULL;
	if (!m || m->kind != CXL_MEMDEV)
		return;
	if (m->state == CXL_UNUSED)
		m->state = CXL_READY;
	find_on(region, name);
}

static void region_find(struct finder *f, const char *name)
{
	struct cxl_memory *m = find_add(f, CXL_REGION, name);
	char text[64], folder[128];
	uint64_t value = 0;

	if (!m)
		return;
	m->cxl = true;
	sysfs_read_u64(f->root, &m->bytes, CXL_DIR "/%s/size", name);
	if (sysfs_read_u64(f->root, &value, CXL_DIR "/%s/resource", name) == 0)
		m->resource = value == UINT64_MAX ? 0 : value;
	if (sysfs_read(f->root, text, sizeof(text), CXL_DIR "/%s/mode", name) ==
	    0)
		m->persistent = strcmp(text, "pmem") == 0;
	m->ways =
		(unsigned)MAX(read_int(f, CXL_DIR, name, "interleave_ways"), 0);
	m->granularity = (unsigned)MAX(
		read_int(f, CXL_DIR, name, "interleave_granularity"), 0);
	sysfs_link(f->root, m->driver, sizeof(m->driver), CXL_DIR "/%s/driver",
		   name);
	snprintf(folder, sizeof(folder), CXL_DIR "/%s/access0", name);
	find_claim(f, folder, &m->claim);
	m->state = read_int(f, CXL_DIR, name, "commit") == 0 ? CXL_UNUSED
		   : m->driver[0]			     ? CXL_READY
							     : CXL_UNBOUND;
	for (unsigned i = 0; i < MIN(m->ways, 16u); i++) {
		if (sysfs_read(f->root, text, sizeof(text),
			       CXL_DIR "/%s/target%u", name, i) == 0)
			target_find(f, m, text);
	}
}

static void bus_find(struct finder *f)
{
	f->list->bus = sysfs_exists(f->root, "/sys/bus/cxl");
	sysfs_list(f->root, CXL_DIR, "", f->names);
	for (size_t i = 0; i < f->names->n; i++)
		if (find_numbered(f->names->name[i], "mem"))
			memdev_find(f, f->names->name[i]);
		else if (find_numbered(f->names->name[i], "decoder"))
			f->list->decoders++;
	for (size_t i = 0; i < f->names->n; i++)
		if (find_numbered(f->names->name[i], "region"))
			region_find(f, f->names->name[i]);
}

/* ---- device dax ----------------------------------------------------------------- */

/* The region that a dax device belongs to is a folder above it. One of an NVDIMM
 * bus has numbers of its own: "nd/region1"; that bus may stand for CXL memory. */
static void dax_region(struct finder *f, struct cxl_memory *m)
{
	char path[PATH_MAX], *at, *save = NULL;
	const struct cxl_memory *r = NULL;
	const char *region = "";

	sysfs_resolve(f->root, path, sizeof(path), DAX_DIR "/%s", m->name);
	at = path + MIN(strlen(f->root), strlen(path));
	m->persistent = strstr(at, "/ndbus") != NULL;
	m->cxl = m->persistent && strstr(at, "/nvdimm-bridge") != NULL;
	for (at = strtok_r(at, "/", &save); at; at = strtok_r(NULL, "/", &save))
		if (find_numbered(at, "region"))
			region = at;
	if (!region[0])
		return;
	if (!m->persistent)
		r = cxl_entry(f->list, region);
	else
		snprintf(m->on, sizeof(m->on), "nd/%.*s", CXL_NAME, region);
	if (r) {
		find_on(m, r->name);
		m->cxl = true;
		m->claim = r->claim;
	}
}

/* May this user use it? Of another machine nobody knows. */
static bool dax_allowed(const struct finder *f, const char *name)
{
	char path[CXL_NAME + 8];

	snprintf(path, sizeof(path), "/dev/%s", name);
	return f->root[0] || access(path, R_OK | W_OK) == 0;
}

static enum cxl_state dax_state(const struct finder *f,
				const struct cxl_memory *m)
{
	if (!m->driver[0])
		return CXL_UNBOUND;
	if (strcmp(m->driver, "kmem") == 0)
		return CXL_OFFLINE; /* until its node says more */
	return dax_allowed(f, m->name) ? CXL_READY : CXL_DENIED;
}

static void dax_find(struct finder *f, const char *name)
{
	struct cxl_memory *m = find_add(f, CXL_DAX, name);
	uint64_t value;

	if (!m)
		return;
	sysfs_read_u64(f->root, &m->bytes, DAX_DIR "/%s/size", name);
	sysfs_read_u64(f->root, &m->align, DAX_DIR "/%s/align", name);
	if (sysfs_read_u64(f->root, &value, DAX_DIR "/%s/resource", name) == 0)
		m->resource = value == UINT64_MAX ? 0 : value;
	sysfs_link(f->root, m->driver, sizeof(m->driver), DAX_DIR "/%s/driver",
		   name);
	m->node = read_int(f, DAX_DIR, name, "target_node");
	dax_region(f, m);
	m->state = dax_state(f, m);
}

int cxl_find(const char *root, struct cxl_list **ret_list)
{
	CLEANUP(mem_free_at)
	struct sysfs_names *names = mem_alloc(sizeof(*names));
	struct finder f = { .root = root, .names = names };
	int r;

	f.list = names ? mem_alloc(sizeof(*f.list)) : NULL;
	if (!f.list)
		return -ENOMEM;
	bus_find(&f);
	sysfs_list(root, DAX_DIR, "dax", names);
	for (size_t i = 0; i < names->n; i++)
		if (find_numbered(names->name[i], "dax"))
			dax_find(&f, names->name[i]);
	r = find_nodes(&f);
	if (r) {
		cxl_list_destroy(f.list);
		return r;
	}
	*ret_list = f.list;
	return 0;
}

void cxl_list_destroy(struct cxl_list *list)
{
	free(list);
}
