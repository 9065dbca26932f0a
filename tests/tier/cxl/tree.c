/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/test.h"
#include "tests/tier/cxl/tree.h"

#define BUS	 "/sys/bus/cxl/devices"
#define PLATFORM "/sys/devices/platform/ACPI0017:00/root0"
#define PCI	 "/sys/devices/pci0000:0c/0000:0c:00.0/0000:0d:00.0"
#define REGION	 PLATFORM "/decoder0.0/region0"
#define ENDPOINT PLATFORM "/port1/endpoint2"
#define DAX	 REGION "/dax_region0/dax0.0"
#define NODE	 "/sys/devices/system/node"

void tree_make(struct tree *t)
{
	snprintf(t->root, sizeof(t->root), "/tmp/onecopy-tree-XXXXXX");
	CHECK(mkdtemp(t->root) != NULL);
}

void tree_end(struct tree *t)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf '%s'", t->root);
	CHECK_INT(system(command), ==, 0);
}

static void above(char *path)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
}

void tree_put(const struct tree *t, const char *path, const char *text)
{
	char whole[512];
	int fd;

	snprintf(whole, sizeof(whole), "%s%s", t->root, path);
	above(whole);
	fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK_INT(fd, >=, 0);
	CHECK_INT(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
	close(fd);
}

void tree_link(const struct tree *t, const char *path, const char *to)
{
	char whole[512], target[640] = "";
	size_t len = 0;

	/* As the kernel makes them: up from the link, then down. */
	for (const char *at = strchr(path + 1, '/'); at;
	     at = strchr(at + 1, '/'))
		len += (size_t)snprintf(target + len, sizeof(target) - len,
					"../");
	snprintf(target + len, sizeof(target) - len, "%s", to + 1);
	snprintf(whole, sizeof(whole), "%s%s", t->root, path);
	above(whole);
	unlink(whole);
	CHECK_OK(symlink(target, whole));
}

void tree_cut(const struct tree *t, const char *path)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s%s", t->root, path);
	CHECK_OK(unlink(whole));
}

static void tree_device(const struct tree *t)
{
	tree_put(t, PCI "/mem0/ram/size", "0x20000000\n");
	tree_put(t, PCI "/mem0/pmem/size", "0x0\n");
	tree_put(t, PCI "/mem0/numa_node", "-1\n");
	tree_put(t, "/sys/bus/cxl/drivers/cxl_mem/bind", "");
	tree_put(t, "/sys/bus/cxl/drivers/cxl_region/bind", "");
	tree_link(t, PCI "/mem0/driver", "/sys/bus/cxl/drivers/cxl_mem");
	tree_link(t, BUS "/mem0", PCI "/mem0");
	tree_put(t, ENDPOINT "/decoder2.0/region", "region0\n");
	tree_link(t, ENDPOINT "/uport", PCI "/mem0");
	tree_link(t, BUS "/endpoint2", ENDPOINT);
	tree_link(t, BUS "/decoder2.0", ENDPOINT "/decoder2.0");
	tree_link(t, BUS "/decoder0.0", PLATFORM "/decoder0.0");
	tree_put(t, PLATFORM "/port1/devtype", "cxl_port\n");
	tree_link(t, BUS "/port1", PLATFORM "/port1");
	tree_link(t, BUS "/root0", PLATFORM);
}

static void tree_region(const struct tree *t)
{
	tree_put(t, REGION "/size", "0x20000000\n");
	tree_put(t, REGION "/resource", "0x3d0000000\n");
	tree_put(t, REGION "/mode", "ram\n");
	tree_put(t, REGION "/commit", "1\n");
	tree_put(t, REGION "/interleave_ways", "1\n");
	tree_put(t, REGION "/interleave_granularity", "256\n");
	tree_put(t, REGION "/target0", "decoder2.0\n");
	tree_link(t, REGION "/driver", "/sys/bus/cxl/drivers/cxl_region");
	tree_link(t, BUS "/region0", REGION);
}

static void tree_nodes(const struct tree *t)
{
	tree_put(t, NODE "/node0/cpulist", "0-1\n");
	tree_put(t, NODE "/node0/meminfo",
		 "Node 0 MemTotal:       1048576 kB\n"
		 "Node 0 MemFree:         524288 kB\n");
	tree_put(t, NODE "/possible", "0-2\n");
}

void tree_cxl(const struct tree *t)
{
	tree_device(t);
	tree_region(t);
	tree_nodes(t);
	tree_put(t, DAX "/size", "536870912\n");
	tree_put(t, DAX "/align", "2097152\n");
	tree_put(t, DAX "/resource", "0x3d0000000\n");
	tree_put(t, DAX "/target_node", "2\n");
	tree_put(t, DAX "/numa_node", "-1\n");
	tree_put(t, "/sys/bus/dax/drivers/device_dax/new_id", "");
	tree_put(t, "/sys/bus/dax/drivers/kmem/new_id", "");
	tree_link(t, DAX "/driver", "/sys/bus/dax/drivers/device_dax");
	tree_link(t, "/sys/bus/dax/devices/dax0.0", DAX);
}

void tree_cxl_given(const struct tree *t)
{
	static const char rank[] = "/sys/devices/virtual/memory_tiering";
	char path[128];

	tree_cxl(t);
	tree_link(t, DAX "/driver", "/sys/bus/dax/drivers/kmem");
	tree_put(t, NODE "/node2/cpulist", "\n");
	tree_put(t, NODE "/node2/meminfo",
		 "Node 2 MemTotal:        524288 kB\n"
		 "Node 2 MemFree:         262144 kB\n");
	tree_put(t, NODE "/node2/memory122/state", "online\n");
	tree_put(t, NODE "/node2/memory_failure/total", "3\n");
	tree_put(t, NODE "/node2/access0/initiators/read_latency", "250\n");
	tree_put(t, NODE "/node2/access0/initiators/read_bandwidth", "20480\n");
	tree_put(t, NODE "/node2/access0/initiators/write_latency", "280\n");
	tree_put(t, NODE "/node2/access0/initiators/write_bandwidth",
		 "10240\n");
	snprintf(path, sizeof(path), "%s/memory_tier4/nodelist", rank);
	tree_put(t, path, "0\n");
	snprintf(path, sizeof(path), "%s/memory_tier22/nodelist", rank);
	tree_put(t, path, "2\n");
}
