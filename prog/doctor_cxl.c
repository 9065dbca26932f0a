/* SPDX-License-Identifier: Apache-2.0 */
/* Shared CXL memory: devices of the CXL bus, and memory that is lent out whole
 * (device dax). */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "doctor.h"

static size_t count_prefix(const struct sysfs_names *names, const char *prefix)
{
	size_t n = 0, len = strlen(prefix);

	for (size_t i = 0; i < names->n; i++)
		n += strncmp(names->name[i], prefix, len) == 0 &&
		     isdigit((unsigned char)names->name[i][len]);
	return n;
}

static void cxl_device(const struct doctor *d, struct doctor_answer *a,
		       const char *name)
{
	struct doctor_result *r = doctor_add(a, name);
	uint64_t ram = 0, pmem = 0;
	char numa[32] = "", driver[64], size[32], kept[32];

	sysfs_read_u64(d->root, &ram, "/sys/bus/cxl/devices/%s/ram/size", name);
	sysfs_read_u64(d->root, &pmem, "/sys/bus/cxl/devices/%s/pmem/size",
		       name);
	sysfs_read(d->root, numa, sizeof(numa),
		   "/sys/bus/cxl/devices/%s/numa_node", name);
	sysfs_link(d->root, driver, sizeof(driver),
		   "/sys/bus/cxl/devices/%s/driver", name);
	doctor_number(r, "ram_bytes", (double)ram);
	doctor_number(r, "pmem_bytes", (double)pmem);
	doctor_text(r, "numa_node", numa);
	doctor_text(r, "driver", driver);
	doctor_value(r, "%s of RAM, %s persistent, node %s",
		     text_size(ram, size), text_size(pmem, kept),
		     numa[0] ? numa : "unknown");
	if (driver[0])
		return;
	doctor_cost(r, "No driver has it: its %s are not used.", size);
	doctor_mend(r, "modprobe cxl_mem");
}

/* Memory on the bus that no region makes addressable. */
static void cxl_regions(struct doctor_result *r, size_t memdevs, size_t regions,
			size_t decoders)
{
	doctor_number(r, "memdevs", (double)memdevs);
	doctor_number(r, "regions", (double)regions);
	doctor_number(r, "decoders", (double)decoders);
	doctor_value(r, "%zu memory devices, %zu regions", memdevs, regions);
	if (memdevs && !regions) {
		doctor_cost(r,
			    "%zu devices and no region: their memory has no "
			    "addresses.",
			    memdevs);
		doctor_mend(r,
			    "cxl create-region -t ram -d decoder0.0 -m mem0");
	}
}

void doctor_cxl(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "CXL bus");
	struct sysfs_names names;
	size_t memdevs;

	if (!sysfs_exists(d->root, "/sys/bus/cxl")) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r, "no CXL bus");
		doctor_cost(r, "The pool ends with this machine's own DRAM: no "
			       "memory is shared with other machines.");
		doctor_mend(r, "modprobe cxl_acpi   (on a machine that has "
			       "CXL devices)");
		return;
	}
	sysfs_list(d->root, "/sys/bus/cxl/devices", "", &names);
	memdevs = count_prefix(&names, "mem");
	cxl_regions(r, memdevs, count_prefix(&names, "region"),
		    count_prefix(&names, "decoder"));
	if (memdevs == 0) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_cost(r, "The bus has no memory: the pool ends with this "
			       "machine's own DRAM.");
	}
	for (size_t i = 0; i < names.n; i++)
		if (strncmp(names.name[i], "mem", 3) == 0 &&
		    isdigit((unsigned char)names.name[i][3]))
			cxl_device(d, a, names.name[i]);
}

/* May this user use it? */
static bool dax_open(const struct doctor *d, const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), "/dev/%s", name);
	return d->root[0] || access(path, R_OK | W_OK) == 0;
}

static void dax_device(const struct doctor *d, struct doctor_answer *a,
		       const char *name)
{
	struct doctor_result *r = doctor_add(a, name);
	char driver[64], node[32] = "", size[32];
	uint64_t bytes = 0;
	bool system;

	sysfs_read_u64(d->root, &bytes, "/sys/bus/dax/devices/%s/size", name);
	sysfs_read(d->root, node, sizeof(node),
		   "/sys/bus/dax/devices/%s/target_node", name);
	sysfs_link(d->root, driver, sizeof(driver),
		   "/sys/bus/dax/devices/%s/driver", name);
	system = strcmp(driver, "kmem") == 0;
	doctor_number(r, "bytes", (double)bytes);
	doctor_text(r, "mode",
		    system	? "system-ram"
		    : driver[0] ? "devdax"
				: "none");
	doctor_text(r, "target_node", node);
	doctor_value(r, "%s, mode %s, node %s", text_size(bytes, size),
		     system	 ? "system-ram"
		     : driver[0] ? "devdax"
				 : "none",
		     node[0] ? node : "unknown");
	if (!driver[0]) {
		doctor_cost(r, "No driver has it: its %s are not used.", size);
		doctor_mend(r, "daxctl reconfigure-device --mode=devdax %s",
			    name);
	} else if (!system && !dax_open(d, name)) {
		doctor_cost(r,
			    "This user may not open /dev/%s: its %s are "
			    "not used.",
			    name, size);
		doctor_mend(r, "chgrp onecopy /dev/%s && chmod g+rw /dev/%s",
			    name, name);
	}
}

void doctor_dax(const struct doctor *d, struct doctor_answer *a)
{
	struct sysfs_names names;

	sysfs_list(d->root, "/sys/bus/dax/devices", "dax", &names);
	for (size_t i = 0; i < names.n; i++)
		dax_device(d, a, names.name[i]);
	if (names.n == 0) {
		struct doctor_result *r = doctor_add(a, "device dax");

		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r, "no /dev/dax*");
		doctor_cost(r, "No memory is lent out whole: a pool on CXL has "
			       "nothing to map.");
		doctor_mend(r, "daxctl create-device   (where a region is)");
	}
}

void doctor_cxl_libraries(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	doctor_library(a, "libcxl", "libcxl.so.1", "libcxl1",
		       "CXL devices are found in sysfs alone.");
	doctor_library(a, "libdaxctl", "libdaxctl.so.1", "libdaxctl1",
		       "A dax device's mode has to be set by hand.");
	doctor_library(a, "libnuma", "libnuma.so.1", "libnuma1",
		       "Pages are placed on nodes by system calls alone.");
}
