/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NUMA nodes. One without processors is memory behind a link; whether that link is
 * CXL is known where a dax device of a CXL region is its memory. A node is listed
 * where it has memory, online or not.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/text.h"
#include "tier/cxl/find.h"

#define NODE_DIR "/sys/devices/system/node"
#define RANK_DIR "/sys/devices/virtual/memory_tiering"

/* Lists of nodes are written like lists of processors. */
static bool list_has(const char *text, int node)
{
	cpu_set_t set;

	sysfs_cpu_list(text, &set);
	return node >= 0 && node < CPU_SETSIZE && CPU_ISSET((size_t)node, &set);
}

/* A device's bytes are in no tier of the kernel, whichever node is near it. */
static bool has_rank(const struct cxl_memory *m)
{
	return m->kind == CXL_NODE || m->state == CXL_GIVEN;
}

/* The kernel's memory tier of each node, and of dax devices that are its memory. */
static void ranks_find(struct finder *f)
{
	char text[1024];

	sysfs_list(f->root, RANK_DIR, "memory_tier", f->names);
	for (size_t i = 0; i < f->names->n; i++) {
		const char *name = f->names->name[i];

		if (!find_numbered(name, "memory_tier") ||
		    sysfs_read(f->root, text, sizeof(text),
			       RANK_DIR "/%s/nodelist", name))
			continue;
		for (uint32_t k = 0; k < f->list->n; k++) {
			struct cxl_memory *m = &f->list->memory[k];

			if (has_rank(m) && list_has(text, m->node))
				m->rank = (int)strtol(name + 11, NULL, 10);
		}
	}
}

/* Has it blocks of memory at all, be they offline? */
static bool node_has_blocks(const struct finder *f, const char *name)
{
	struct sysfs_names *names = f->names;
	char path[128];

	snprintf(path, sizeof(path), NODE_DIR "/%s", name);
	sysfs_list(f->root, path, "memory", names);
	for (size_t i = 0; i < names->n; i++)
		if (find_numbered(names->name[i], "memory"))
			return true;
	return false;
}

/* Its memory is that of these dax devices, and theirs is in its hands. */
static void node_dax(struct finder *f, struct cxl_memory *node)
{
	for (uint32_t i = 0; i < f->list->n; i++) {
		struct cxl_memory *m = &f->list->memory[i];

		if (m->kind != CXL_DAX || m->node != node->node ||
		    m->state != CXL_OFFLINE)
			continue;
		find_on(node, m->name);
		node->cxl |= m->cxl;
		if (node->bytes)
			m->state = CXL_GIVEN;
	}
}

static void far_find(struct finder *f, const char *name, int number,
		     const char *meminfo)
{
	uint64_t total = sysfs_field(meminfo, "MemTotal"), failures;
	struct cxl_memory *m;
	char folder[128];

	if (total == 0 && !node_has_blocks(f, name))
		return;
	m = find_add(f, CXL_NODE, name);
	if (!m)
		return;
	m->node = number;
	m->bytes = total;
	m->free_bytes = sysfs_field(meminfo, "MemFree");
	m->state = total ? CXL_READY : CXL_OFFLINE;
	if (sysfs_read_u64(f->root, &failures,
			   NODE_DIR "/%s/memory_failure/total", name) == 0)
		m->failures = (int64_t)MIN(failures, (uint64_t)INT64_MAX);
	snprintf(folder, sizeof(folder), NODE_DIR "/%s/access0/initiators",
		 name);
	find_claim(f, folder, &m->claim);
	node_dax(f, m);
}

static void node_find(struct finder *f, const char *name)
{
	unsigned long number = strtoul(name + 4, NULL, 10);
	char cpus[sizeof(((struct cxl_near *)0)->cpus)] = "", text[4096] = "";
	struct cxl_list *list = f->list;

	if (number > INT_MAX)
		return;
	sysfs_read(f->root, text, sizeof(text), NODE_DIR "/%s/meminfo", name);
	if (sysfs_read(f->root, cpus, sizeof(cpus), NODE_DIR "/%s/cpulist",
		       name))
		return; /* not known to be without */
	if (!cpus[0]) {
		far_find(f, name, (int)number, text);
	} else if (list->n_near < CXL_NEARS) {
		struct cxl_near *near = &list->near[list->n_near++];

		near->node = (int)number;
		text_copy(near->cpus, sizeof(near->cpus), cpus);
	}
}

/* A node that is to be may say already how far it is. */
static void dax_claims(struct finder *f)
{
	char folder[128];

	for (uint32_t i = 0; i < f->list->n; i++) {
		struct cxl_memory *m = &f->list->memory[i];

		if (m->kind != CXL_DAX || m->node < 0 ||
		    m->claim.read_latency_ns)
			continue;
		snprintf(folder, sizeof(folder),
			 NODE_DIR "/node%d/access0/initiators", m->node);
		find_claim(f, folder, &m->claim);
	}
}

int find_nodes(struct finder *f)
{
	struct sysfs_names *all = f->names;
	static const char prefix[] = "node";
	char(*name)[CXL_NAME];
	size_t n = 0;

	/* node_find() lists folders itself. */
	sysfs_list(f->root, NODE_DIR, prefix, all);
	name = mem_array(MAX(all->n, (size_t)1), sizeof(*name));
	if (!name)
		return -ENOMEM;
	for (size_t i = 0; i < all->n; i++)
		if (find_numbered(all->name[i], prefix) &&
		    text_copy(name[n], sizeof(*name), all->name[i]) == 0)
			n++;
	for (size_t i = 0; i < n; i++)
		node_find(f, name[i]);
	free(name);
	dax_claims(f);
	ranks_find(f);
	return 0;
}
