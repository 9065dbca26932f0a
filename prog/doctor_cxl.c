/* SPDX-License-Identifier: Apache-2.0 */
/* Shared CXL memory: devices of the CXL bus, and memory that is lent out whole
 * (device dax), as tier/cxl finds them. */
#include <errno.h>

#include "base/text.h"
#include "doctor.h"
#include "tier/cxl/cxl.h"

static void list_destroy_at(struct cxl_list **list)
{
	cxl_list_destroy(*list);
}

static void node_text(const struct cxl_memory *m, char text[24])
{
	if (m->node < 0)
		text_copy(text, 24, "unknown");
	else
		snprintf(text, 24, "%d", m->node);
}

static uint32_t count(const struct cxl_list *list, enum cxl_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < list->n; i++)
		n += list->memory[i].kind == kind;
	return n;
}

static void cxl_device(struct doctor_answer *a, const struct cxl_memory *m)
{
	struct doctor_result *r = doctor_add(a, m->name);
	uint64_t ram = m->bytes - m->persistent_bytes;
	char size[32], kept[32], node[24];

	node_text(m, node);
	doctor_number(r, "ram_bytes", (double)ram);
	doctor_number(r, "pmem_bytes", (double)m->persistent_bytes);
	doctor_text(r, "numa_node", node);
	doctor_text(r, "driver", m->driver);
	doctor_text(r, "state", cxl_memory_state_name(m->state));
	doctor_value(r, "%s of RAM, %s persistent, node %s",
		     text_size(ram, size), text_size(m->persistent_bytes, kept),
		     node);
	if (m->driver[0])
		return;
	doctor_cost(r, "No driver has it: its %s are not used.", size);
	doctor_mend(r, "modprobe cxl_mem");
}

/* Memory on the bus that no region makes addressable. */
static void cxl_regions(struct doctor_result *r, const struct cxl_list *list)
{
	uint32_t memdevs = count(list, CXL_MEMDEV);
	uint32_t regions = count(list, CXL_REGION);

	doctor_number(r, "memdevs", memdevs);
	doctor_number(r, "regions", regions);
	doctor_number(r, "decoders", list->decoders);
	doctor_value(r, "%u memory devices, %u regions", memdevs, regions);
	if (memdevs && !regions) {
		doctor_cost(r,
			    "%u devices and no region: their memory has no "
			    "addresses.",
			    memdevs);
		doctor_mend(r,
			    "cxl create-region -t ram -d decoder0.0 -m mem0");
	}
	if (memdevs == 0) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_cost(r, "The bus has no memory: the pool ends with this "
			       "machine's own DRAM.");
	}
}

void doctor_cxl(const struct doctor *d, struct doctor_answer *a)
{
	CLEANUP(list_destroy_at) struct cxl_list *list = NULL;
	int e = cxl_find(d->root, &list);
	struct doctor_result *r = doctor_add(a, "CXL bus");

	if (e) {
		doctor_failed(r, DOCTOR_BROKEN, "list of CXL devices", e);
		return;
	}
	if (!list->bus) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r, "no CXL bus");
		doctor_cost(r, "The pool ends with this machine's own DRAM: no "
			       "memory is shared with other machines.");
		doctor_mend(r, "modprobe cxl_acpi   (on a machine that has "
			       "CXL devices)");
		return;
	}
	cxl_regions(r, list);
	for (uint32_t i = 0; i < list->n; i++)
		if (list->memory[i].kind == CXL_MEMDEV)
			cxl_device(a, &list->memory[i]);
}

static const char *dax_mode(const struct cxl_memory *m)
{
	switch (m->state) {
	case CXL_UNBOUND:
		return "none";
	case CXL_GIVEN:
	case CXL_OFFLINE:
		return "system-ram";
	default:
		return "devdax";
	}
}

static void dax_gaps(const struct cxl_memory *m, const char *size,
		     struct doctor_result *r)
{
	const char *name = m->name;

	switch (m->state) {
	case CXL_UNBOUND:
		doctor_cost(r, "No driver has it: its %s are not used.", size);
		doctor_mend(r, "daxctl reconfigure-device --mode=devdax %s",
			    name);
		break;
	case CXL_OFFLINE:
		doctor_cost(r,
			    "Its memory was given to the kernel, and none of "
			    "it is online: its %s are not used.",
			    size);
		doctor_mend(r, "daxctl online-memory %s", name);
		break;
	case CXL_DENIED:
		doctor_cost(r,
			    "This user may not open /dev/%s: its %s are "
			    "not used.",
			    name, size);
		doctor_mend(r, "chgrp onecopy /dev/%s && chmod g+rw /dev/%s",
			    name, name);
		break;
	default:
		break;
	}
}

static void dax_device(struct doctor_answer *a, const struct cxl_memory *m)
{
	struct doctor_result *r = doctor_add(a, m->name);
	char size[32], node[24];

	node_text(m, node);
	text_size(m->bytes, size);
	doctor_number(r, "bytes", (double)m->bytes);
	doctor_number(r, "align_bytes", (double)m->align);
	doctor_text(r, "mode", dax_mode(m));
	doctor_text(r, "state", cxl_memory_state_name(m->state));
	doctor_text(r, "target_node", node);
	doctor_text(r, "on", m->on);
	doctor_value(r, "%s%s%s, mode %s, node %s", size,
		     m->on[0] ? " on " : "", m->on, dax_mode(m), node);
	dax_gaps(m, size, r);
}

void doctor_dax(const struct doctor *d, struct doctor_answer *a)
{
	CLEANUP(list_destroy_at) struct cxl_list *list = NULL;
	int e = cxl_find(d->root, &list);
	struct doctor_result *r;

	for (uint32_t i = 0; e == 0 && i < list->n; i++)
		if (list->memory[i].kind == CXL_DAX)
			dax_device(a, &list->memory[i]);
	if (a->n)
		return;
	r = doctor_add(a, "device dax");
	if (e) {
		doctor_failed(r, DOCTOR_BROKEN, "list of dax devices", e);
		return;
	}
	doctor_worsen(r, DOCTOR_MISSING);
	doctor_value(r, "no /dev/dax*");
	doctor_cost(r, "No memory is lent out whole: a pool on CXL has "
		       "nothing to map.");
	doctor_mend(r, "daxctl create-device   (where a region is)");
}

void doctor_cxl_libraries(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	/* Neither is used: what they know is in sysfs, which is read. */
	doctor_library(a, "libcxl", "libcxl.so.1", "ndctl",
		       "Nothing for onecopy, which reads sysfs; cxl(1), which "
		       "makes regions, comes with it.");
	doctor_library(a, "libdaxctl", "libdaxctl.so.1", "daxctl",
		       "Nothing for onecopy, which reads sysfs; daxctl(1), "
		       "which changes a device's mode, comes with it.");
	doctor_library(a, "libnuma", "libnuma.so.1", "libnuma1",
		       "Pages are placed on nodes by system calls alone.");
}
