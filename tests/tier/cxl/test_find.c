/* SPDX-License-Identifier: Apache-2.0 */
/* What the finder makes of machines that are folders, whole ones and others. */
#include "base/fault.h"
#include "tests/test.h"
#include "tests/tier/cxl/tree.h"
#include "tier/cxl/cxl.h"

#define DAX                                                   \
	"/sys/devices/platform/ACPI0017:00/root0/decoder0.0/" \
	"region0/dax_region0/dax0.0"

static struct tree tree;

static struct cxl_list *find(void)
{
	struct cxl_list *list = NULL;

	CHECK_OK(cxl_find(tree.root, &list));
	return list;
}

/* An entry that has to be there. */
static struct cxl_memory *entry(struct cxl_list *list, const char *name)
{
	struct cxl_memory *m = cxl_entry(list, name);

	if (!m)
		FAIL("no %s among %u entries", name, list->n);
	return m;
}

TEST(a_machine_without_cxl)
{
	struct cxl_list *list;

	tree_make(&tree);
	list = find();
	CHECK(!list->bus);
	CHECK_INT(list->n, ==, 0);
	CHECK(cxl_entry(list, "mem0") == NULL);
	cxl_list_destroy(list);
	cxl_list_destroy(NULL);
	tree_end(&tree);
}

TEST(a_device_from_the_bus_to_the_processor)
{
	struct cxl_list *list;
	struct cxl_memory *m;

	tree_make(&tree);
	tree_cxl(&tree);
	list = find();
	CHECK(list->bus);
	CHECK_INT(list->decoders, ==, 2);
	CHECK_INT(list->n, ==, 3);
	CHECK_INT(list->n_near, ==, 1);
	CHECK_STR(list->near[0].cpus, "0-1");

	m = entry(list, "mem0");
	CHECK_INT(m->kind, ==, CXL_MEMDEV);
	CHECK_INT(m->state, ==, CXL_READY);
	CHECK_INT(m->bytes, ==, 512ull << 20);
	CHECK_INT(m->node, ==, -1);
	CHECK_INT(m->poison_bytes, ==, -1);
	CHECK_STR(m->driver, "cxl_mem");

	m = entry(list, "region0");
	CHECK_INT(m->kind, ==, CXL_REGION);
	CHECK_INT(m->state, ==, CXL_READY);
	CHECK_INT(m->resource, ==, 0x3d0000000ull);
	CHECK_INT(m->ways, ==, 1);
	CHECK_INT(m->granularity, ==, 256);
	CHECK_STR(m->on, "mem0");

	m = entry(list, "/dev/dax0.0");
	CHECK_INT(m->kind, ==, CXL_DAX);
	CHECK_INT(m->state, ==, CXL_READY);
	CHECK_INT(m->align, ==, 2ull << 20);
	CHECK_INT(m->bytes, ==, 512ull << 20);
	CHECK_INT(m->node, ==, 2);
	CHECK(m->cxl && !m->persistent);
	CHECK_STR(m->on, "region0");
	cxl_list_destroy(list);
	tree_end(&tree);
}

TEST(system_ram_is_a_node)
{
	struct cxl_list *list;
	struct cxl_memory *m;

	tree_make(&tree);
	tree_cxl_given(&tree);
	list = find();
	CHECK_INT(list->n, ==, 4);
	CHECK_INT(entry(list, "dax0.0")->state, ==, CXL_GIVEN);
	m = entry(list, "node2");
	CHECK_INT(m->kind, ==, CXL_NODE);
	CHECK_INT(m->state, ==, CXL_READY);
	CHECK(m->cxl);
	CHECK_STR(m->on, "dax0.0");
	CHECK_INT(m->bytes, ==, 512ull << 20);
	CHECK_INT(m->free_bytes, ==, 256ull << 20);
	CHECK_INT(m->failures, ==, 3);
	CHECK_INT(m->rank, ==, 22);
	CHECK_INT(m->claim.read_latency_ns, ==, 250);
	CHECK_INT(m->claim.read_bytes_per_s, ==, 20480ull << 20);
	CHECK_INT(m->claim.write_latency_ns, ==, 280);
	CHECK_INT(m->claim.write_bytes_per_s, ==, 10240ull << 20);
	cxl_list_destroy(list);
	tree_end(&tree);
}

/* kmem has it, and nobody put its memory online. */
TEST(system_ram_that_is_offline)
{
	struct cxl_list *list;

	tree_make(&tree);
	tree_cxl_given(&tree);
	tree_put(&tree, "/sys/devices/system/node/node2/meminfo",
		 "Node 2 MemTotal:        0 kB\nNode 2 MemFree:    0 kB\n");
	list = find();
	CHECK_INT(entry(list, "dax0.0")->state, ==, CXL_OFFLINE);
	CHECK_INT(entry(list, "node2")->state, ==, CXL_OFFLINE);
	CHECK_INT(entry(list, "node2")->bytes, ==, 0);
	cxl_list_destroy(list);
	tree_end(&tree);
}

TEST(what_nobody_drives)
{
	struct cxl_list *list;

	tree_make(&tree);
	tree_cxl(&tree);
	tree_cut(&tree, DAX "/driver");
	list = find();
	CHECK_INT(entry(list, "dax0.0")->state, ==, CXL_UNBOUND);
	CHECK_INT(entry(list, "mem0")->state, ==, CXL_READY);
	cxl_list_destroy(list);
	tree_end(&tree);
}

/* Its decoder names no device, or one that is gone. */
TEST(a_region_that_lost_its_device)
{
	struct cxl_list *list;

	tree_make(&tree);
	tree_cxl(&tree);
	tree_cut(&tree, "/sys/bus/cxl/devices/mem0");
	list = find();
	CHECK(cxl_entry(list, "mem0") == NULL);
	CHECK_STR(entry(list, "region0")->on, "");
	CHECK(entry(list, "dax0.0")->cxl);
	cxl_list_destroy(list);
	tree_end(&tree);
}

TEST(a_device_that_no_region_uses)
{
	struct cxl_list *list;

	tree_make(&tree);
	tree_cxl(&tree);
	tree_cut(&tree, "/sys/bus/cxl/devices/region0");
	tree_cut(&tree, "/sys/bus/dax/devices/dax0.0");
	list = find();
	CHECK_INT(entry(list, "mem0")->state, ==, CXL_UNUSED);
	cxl_list_destroy(list);
	tree_end(&tree);
}

/* An NVDIMM's region has numbers of its own: 0 is not that of the CXL bus. */
TEST(an_nvdimm_is_not_cxl)
{
	static const char dax[] =
		"/sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/"
		"region0/dax0.0/dax0.0";
	struct cxl_list *list;
	struct cxl_memory *m;
	char path[256];

	tree_make(&tree);
	tree_cxl(&tree);
	snprintf(path, sizeof(path), "%s/size", dax);
	tree_put(&tree, path, "262144000\n");
	tree_link(&tree, "/sys/bus/dax/devices/dax1.0", dax);
	list = find();
	m = entry(list, "dax1.0");
	CHECK(!m->cxl && m->persistent);
	CHECK_STR(m->on, "nd/region0");
	CHECK_INT(m->bytes, ==, 262144000);
	CHECK_INT(m->rank, ==, -1);
	cxl_list_destroy(list);
	tree_end(&tree);
}

/* Memory behind a link that is no CXL device's, as far as anybody says. */
TEST(a_node_without_processors)
{
	struct cxl_list *list;

	tree_make(&tree);
	tree_put(&tree, "/sys/devices/system/node/node1/cpulist", "\n");
	tree_put(&tree, "/sys/devices/system/node/node1/meminfo",
		 "Node 1 MemTotal:       1024 kB\n");
	/* no memory, no processors: a device's node, or nothing */
	tree_put(&tree, "/sys/devices/system/node/node3/cpulist", "\n");
	tree_put(&tree, "/sys/devices/system/node/node3/meminfo",
		 "Node 3 MemTotal:       0 kB\n");
	list = find();
	CHECK_INT(list->n, ==, 1);
	CHECK(!entry(list, "node1")->cxl);
	CHECK_INT(entry(list, "node1")->failures, ==, -1);
	CHECK_INT(entry(list, "node1")->rank, ==, -1);
	cxl_list_destroy(list);
	tree_end(&tree);
}

TEST(files_that_lie)
{
	struct cxl_list *list;
	struct cxl_memory *m;

	tree_make(&tree);
	tree_cxl(&tree);
	tree_put(&tree, DAX "/size", "plenty\n");
	tree_put(&tree, DAX "/align", "\n");
	tree_put(&tree, DAX "/target_node", "99999999999999999999\n");
	tree_put(&tree, DAX "/resource", "0xffffffffffffffff\n");
	tree_put(&tree, "/sys/bus/cxl/devices/region0/interleave_ways",
		 "4000000000\n");
	tree_put(&tree, "/sys/bus/cxl/devices/region0/target0",
		 "decoder99999.9\n");
	tree_put(&tree, "/sys/bus/cxl/devices/memory/x", "");
	tree_put(&tree, "/sys/devices/system/node/node0/cpulist",
		 "0-99999999,x");
	list = find();
	m = entry(list, "dax0.0");
	CHECK_INT(m->bytes, ==, 0);
	CHECK_INT(m->align, ==, 0);
	CHECK_INT(m->resource, ==, 0);
	CHECK_INT(m->node, ==, -1);
	CHECK_STR(entry(list, "region0")->on, "");
	CHECK(cxl_entry(list, "memory") == NULL);
	cxl_list_destroy(list);
	tree_end(&tree);
}

TEST(more_devices_than_there_is_room_for)
{
	struct cxl_list *list;
	char path[128];

	tree_make(&tree);
	for (unsigned i = 0; i < CXL_MOST + 5; i++) {
		snprintf(path, sizeof(path),
			 "/sys/bus/cxl/devices/mem%u/ram/size", i);
		tree_put(&tree, path, "0x1000\n");
	}
	list = find();
	CHECK_INT(list->n, ==, CXL_MOST);
	CHECK_INT(list->spilled, ==, 5);
	cxl_list_destroy(list);
	tree_end(&tree);
}

/* Whatever fails: -ENOMEM and nothing left, or a list without what could not be
 * read. */
TEST(every_failure)
{
	bool fired = true;

	tree_make(&tree);
	tree_cxl_given(&tree);
	for (uint64_t n = 1; fired; n++) {
		struct cxl_list *list = NULL;
		int r;

		fault_arm(FAULT_ALL, n, false);
		r = cxl_find(tree.root, &list);
		fired = fault_fired();
		fault_arm(0, 0, false);
		CHECK(r == 0 || (r == -ENOMEM && !list));
		if (!fired)
			CHECK_INT(list->n, ==, 4);
		cxl_list_destroy(list);
	}
	tree_end(&tree);
}

TEST(poison_is_counted_by_device_and_kind)
{
	static const char trace[] =
		"# tracer: nop\n#\n"
		" sh-1 [000] ..... 1.0: cxl_poison: memdev=mem0 host=0000:0d:00.0 "
		"serial=0 trace_type=List region= region_uuid= hpa=0x0 "
		"dpa=0x1000 dpa_length=0x40 source=Injected flags= \n"
		" sh-1 [000] ..... 1.1: cxl_poison: memdev=mem0 host=x serial=0 "
		"trace_type=List dpa=0x2000 dpa_length=0x80 source=Internal\n"
		" sh-1 [000] ..... 1.2: cxl_poison: memdev=mem0 host=x serial=0 "
		"trace_type=Inject dpa=0x9000 dpa_length=0x40 source=Injected\n"
		" sh-1 [000] ..... 1.3: cxl_poison: memdev=mem01 host=x serial=0 "
		"trace_type=List dpa=0x2000 dpa_length=0x1000 source=Internal\n"
		" sh-1 [000] ..... 1.4: other: memdev=mem0 trace_type=List "
		"dpa_length=0x40";

	CHECK_INT(cxl_poison_count(trace, "mem0"), ==, 0xc0);
	CHECK_INT(cxl_poison_count(trace, "mem01"), ==, 0x1000);
	CHECK_INT(cxl_poison_count(trace, "mem"), ==, 0);
	CHECK_INT(cxl_poison_count("", "mem0"), ==, 0);
	CHECK_INT(cxl_poison_count(
			  " cxl_poison: memdev=m trace_type=List dpa_length=",
			  "m"),
		  ==, 0);
}
