/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy cxl list, on a machine that is a folder of the test and on this one. */
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include "tests/prog/run.h"
#include "tests/test.h"

#define REGION "/sys/devices/root0/region0"

static char root[128];

static void put(const char *path, const char *text)
{
	char whole[512];
	int fd;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *at = strchr(whole + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(whole, 0700);
		*at = '/';
	}
	fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK_INT(fd, >=, 0);
	CHECK_INT(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
	close(fd);
}

static void put_link(const char *path, const char *to)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	CHECK_OK(symlink(to, whole));
}

/* A region of 1 GiB over nothing that is known, half of it devdax and half of it
 * memory of node 3. */
static void machine_make(void)
{
	snprintf(root, sizeof(root), "%s", run_dir());
	put(REGION "/size", "0x40000000\n");
	put(REGION "/mode", "ram\n");
	put(REGION "/dax_region0/dax0.0/size", "536870912\n");
	put(REGION "/dax_region0/dax0.0/align", "2097152\n");
	put(REGION "/dax_region0/dax0.0/target_node", "3\n");
	put(REGION "/dax_region0/dax0.1/size", "536870912\n");
	put(REGION "/dax_region0/dax0.1/target_node", "3\n");
	put_link(REGION "/dax_region0/dax0.0/driver", "../device_dax");
	put_link(REGION "/dax_region0/dax0.1/driver", "../kmem");
	put("/sys/bus/cxl/devices/x", "");
	put_link("/sys/bus/cxl/devices/region0",
		 "../../../devices/root0/region0");
	put("/sys/bus/dax/devices/x", "");
	put_link("/sys/bus/dax/devices/dax0.0",
		 "../../../devices/root0/region0/dax_region0/dax0.0");
	put_link("/sys/bus/dax/devices/dax0.1",
		 "../../../devices/root0/region0/dax_region0/dax0.1");
	put("/sys/devices/system/node/node0/cpulist", "0-7\n");
	put("/sys/devices/system/node/node3/cpulist", "\n");
	put("/sys/devices/system/node/node3/meminfo",
	    "Node 3 MemTotal:     524288 kB\nNode 3 MemFree:  262144 kB\n");
	put("/sys/devices/system/node/node3/access0/initiators/read_latency",
	    "250\n");
}

static void machine_end(void)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	CHECK_INT(system(command), ==, 0);
}

static const json_t *named(const json_t *list, const char *name)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o)
		if (strcmp(json_string_value(json_object_get(o, "name")),
			   name) == 0)
			return o;
	FAIL("no %s", name);
}

static json_int_t number(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_integer(v))
		FAIL("no number %s", name);
	return json_integer_value(v);
}

static const char *word(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_string(v))
		FAIL("no text %s", name);
	return json_string_value(v);
}

TEST(another_machine_as_json)
{
	const json_t *list, *o;
	struct run r;
	json_t *all;

	machine_make();
	r = RUN("cxl", "list", "--json", "--root", root);
	CHECK_INT(r.status, ==, 0);
	all = json_loads(r.out, 0, NULL);
	CHECK(all != NULL);
	CHECK_INT(number(all, "format"), ==, 1);
	list = json_object_get(all, "memory");
	CHECK_INT(json_array_size(list), ==, 4);
	o = named(list, "dax0.0");
	CHECK_STR(word(o, "kind"), "dax");
	CHECK_STR(word(o, "state"), "ready");
	CHECK_STR(word(o, "on"), "region0");
	CHECK_INT(number(o, "bytes"), ==, 512 << 20);
	CHECK_INT(number(o, "align"), ==, 2 << 20);
	CHECK_INT(json_array_size(json_object_get(o, "measured")), ==, 0);
	CHECK(!json_object_get(o, "memory_failures"));
	CHECK_STR(word(named(list, "dax0.1"), "state"), "system-ram");
	o = named(list, "node3");
	CHECK_STR(word(o, "on"), "dax0.1");
	CHECK(json_is_true(json_object_get(o, "cxl")));
	CHECK_INT(number(o, "free_bytes"), ==, 256 << 20);
	CHECK_INT(number(o, "firmware_read_latency_ns"), ==, 250);
	json_decref(all);
	run_free(&r);
	machine_end();
}

TEST(another_machine_for_people)
{
	struct run r;

	machine_make();
	r = RUN("cxl", "list", "--root", root);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "dax0.0") && strstr(r.out, "512 MiB on region0"));
	CHECK(strstr(r.out, "node3") && strstr(r.out, "firmware: 250 ns"));
	CHECK(!strstr(r.out, "from node")); /* nothing of it is here */
	run_free(&r);
	machine_end();
}

/* Whatever this machine has. */
TEST(this_machine)
{
	struct run r = RUN("cxl", "list", "--json", "--no-measure");
	json_t *all;

	CHECK_INT(r.status, ==, 0);
	all = json_loads(r.out, 0, NULL);
	CHECK(json_is_array(json_object_get(all, "memory")));
	number(all, "left_out"); /* is told */
	json_decref(all);
	run_free(&r);
}

TEST(nothing_is_said)
{
	struct run r;

	snprintf(root, sizeof(root), "%s", run_dir());
	r = RUN("cxl", "list", "--root", root); /* no machine at all */
	CHECK_INT(r.status, ==, 5);
	CHECK(strstr(r.err, "/sys") && !r.out[0]);
	run_free(&r);
	put("/sys/x", "");
	r = RUN("cxl", "list", "--root", root);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "no CXL bus"));
	run_free(&r);
	machine_end();
}
