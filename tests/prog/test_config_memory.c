/* SPDX-License-Identifier: Apache-2.0 */
/* Where blocks lie: memory and its shares, below DRAM, a region, the tier below. */
#include "region/region.h"
#include "tests/prog/config_rig.h"

TEST(memory_below_dram)
{
	static const struct {
		const char *spec, *at;
		uint64_t size;
	} good[] = {
		{ "node:1", "node:1", 0 },
		{ "node:0:1G", "node:0", 1ull << 30 },
		{ "/dev/dax0.0", "/dev/dax0.0", 0 },
		{ "/dev/dax1.2:64M", "/dev/dax1.2", 64ull << 20 },
		{ "memory:2M", "memory", 2ull << 20 },
	};
	static const char *const bad[] = { "node:",	"node:1:",  "memory:1M",
					   "memory:x",	":1G",	    "",
					   "memory",	"memory:0", "node:x",
					   "node:1024", "dram",	    "dram:1G" };
	/* what can be written, and is not there */
	static const char *const absent[] = { "node:1000", "/dev/null",
					      "/nowhere" };
	/* the same in a file, which is looked at as a whole */
	static const char *const unknown[] = { "cxl: {at: memory}",
					       "cxl: {at: \"node:x\"}",
					       "cxl: {at: dram}" };
	char error[CONFIG_ERROR] = "";
	struct node_config c;
	int lock;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		defaults(&c);
		CHECK_OK(config_apply_option(&c, "cxl", good[i].spec, error));
		CHECK_STR(c.cxl.at, good[i].at);
		CHECK_INT(c.cxl.size, ==, good[i].size);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		defaults(&c);
		CHECK_INT(config_apply_option(&c, "cxl", bad[i], error), ==,
			  -EINVAL);
		CHECK_STR(c.cxl.at, "");
	}
	/* a file's is overridden */
	CHECK_OK(parse("cxl: {at: memory, size: 64M}", &c, error));
	CHECK_OK(config_apply_option(&c, "cxl", "memory:2M", error));
	CHECK_INT(c.cxl.size, ==, 2ull << 20);
	for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
		defaults(&c);
		CHECK_OK(config_apply_option(&c, "cxl", absent[i], error));
		CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
		CHECK(strncmp(error, "cxl: ", 5) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		CHECK_OK(parse(unknown[i], &c, error));
		CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
		CHECK(strncmp(error, "cxl: ", 5) == 0);
	}
	CHECK_OK(parse("cxl: {at: memory, size: 64M, tenant: default}", &c,
		       error));
	CHECK_OK(config_cxl_check(&c, &lock, error));
	CHECK_INT(lock, ==, -1);
	CHECK_OK(parse("cxl: {at: memory, size: 64M, tenant: x}", &c, error));
	CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
	CHECK_OK(parse("cxl: {size: 64M}", &c, error));
	CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
}

static void refused(const char *yaml, const char *why)
{
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	CHECK_OK(parse(yaml, &c, error));
	CHECK_INT(config_region_check(&c, error), ==, -EINVAL);
	if (strncmp(error, "region: ", 8) || !strstr(error, why))
		FAIL("%s: %s", yaml, error);
}

/* It is of the tenant that it was made for. */
TEST(a_region_of_several_nodes)
{
	struct region_format_options o = { .size = sizeof(o),
					   .bytes = 16 << 20,
					   .members = 2,
					   .shards = 1,
					   .frame_bytes = 4096,
					   .tenant = "b" };
	int fd = memfd_create("onecopy-test", MFD_CLOEXEC);
	char error[CONFIG_ERROR] = "", path[64], yaml[256];
	struct node_config c;

	CHECK_INT(fd, >=, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s}\ntenants: [{name: b}]\n", path);
	refused(yaml, "holds no region");
	CHECK_OK(region_format(path, &o));
	CHECK_OK(parse(yaml, &c, error));
	CHECK_OK(config_region_check(&c, error));
	CHECK_STR(c.region.tenant, "b");
	CHECK_INT(c.region.shards, ==, 1);
	CHECK(c.region.adopt && c.region.publish);
	snprintf(yaml, sizeof(yaml), "region: {path: %s}\n", path);
	refused(yaml, "for the tenant \"b\": add it under tenants");
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s, tenant: a}\ntenants: [{name: a}]\n", path);
	refused(yaml, "was made for the tenant \"b\"");
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s, name: 7}\ntenants: [{name: b}]\n", path);
	refused(yaml, "name \"7\" cannot be a member's name");
	refused("region: {path: /dev/null}", "is no memory");
	refused("region: {name: x}", "no path");
	refused("region: {shards: 2}", "no path");
	refused("region: {shards: 0}", "no path");
	refused("region: {adopt: no}", "no path");
	refused("region: {publish: no}", "no path");
	CHECK_OK(parse("region: {adopt: yes, publish: yes, shards: 1}", &c,
		       error));
	CHECK_OK(config_region_check(&c, error));
	close(fd);
}

TEST(the_tier_below)
{
	static const struct bad bad[] = {
		{ "nvme: {path: /d, size: 15M}", "expected a size like 200G" },
		{ "nvme: {path: '', size: 1G}", "expected a path" },
		{ "nvme: {pth: /d}", "did you mean 'path'?" },
		{ "nvme: {save_on_exit: maybe}", "expected yes or no" },
		{ "nvme: {save_time: 2h}", "expected a time like 60s" },
		{ "nvme: {backend: fast}", "expected auto, uring or threads" },
		{ "nvme: {segment: 2G}", "a power of two from 1M to 1G" },
		{ "tenants:\n  - name: a\n    nvme: 0%\n",
		  "tenants[0].nvme: '0%': expected a size" },
	};
	static const char *const options[] = { "",    ":",    "/d",  "/d:",
					       ":1G", "/d:1", "/d:x" };
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	check_bad(bad, ARRAY_LEN(bad));
	defaults(&c);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		CHECK_INT(config_apply_option(&c, "nvme", options[i], error),
			  ==, -EINVAL);
	CHECK_OK(config_nvme_check(&c, error)); /* none is asked for */
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, save_on_exit: yes, "
		       "save_time: 5s, segment: 64M, backend: threads, "
		       "depth: 7}\n"
		       "tenants:\n  - name: a\n    nvme: 25%\n"
		       "  - name: b\n    nvme: 64M\n  - name: c\n",
		       &c, error));
	CHECK_OK(config_nvme_check(&c, error));
	CHECK_INT(config_tenant_nvme(&c, "a"), ==, 256 << 20);
	CHECK_INT(config_tenant_nvme(&c, "b"), ==, 64 << 20);
	CHECK_INT(config_tenant_nvme(&c, "c"), ==, 0);
	CHECK_INT(c.nvme.save_ns, ==, 5000000000);
	CHECK_INT(c.nvme.segment_bytes, ==, 64 << 20);
	CHECK_INT(c.nvme.backend, ==, CONFIG_NVME_THREADS);
	check_round_trip(&c);
	CHECK_OK(parse("nvme: {path: /tmp}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "has no size"));
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, segment: 3M}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "no power of two"));
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, segment: 256M}", &c,
		       error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "do not fit into nvme.size"));
	CHECK_OK(parse("nvme: {path: /nowhere/at/all, size: 1G}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "make a directory for it"));
	CHECK_OK(parse("nvme: {path: /dev/null, size: 1G}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK_OK(parse("nvme: {save_on_exit: yes}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "give --nvme"));
}

TEST(memory_and_shares)
{
	struct config_size quarter = { .share = 2500 };
	uint64_t bytes = 0;

	CHECK_OK(config_memory(&bytes));
	CHECK_INT(bytes, >, 1 << 20);
	CHECK_INT(config_size_bytes(quarter, 16ull << 30), ==, 4ll << 30);
	CHECK_INT(config_size_bytes(quarter, UINT64_MAX), ==,
		  (UINT64_MAX / 4) & ~4095ull);
	quarter = (struct config_size){ .bytes = 10000 };
	CHECK_INT(config_size_bytes(quarter, 0), ==, 8192);
}
