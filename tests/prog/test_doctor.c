/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor on machines that are folders of the test, its judges on answers
 * that this machine would not give, and its child that crashes or hangs.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/stat.h>
#include "prog/doctor.h"
#include "tests/prog/run.h"
#include "tests/test.h"

/* ---- a machine in a folder ------------------------------------------------------- */

static struct doctor machine;
static struct doctor_answer *answer;

/* A file of the machine, with the folders above it. */
static void put(const char *path, const char *text)
{
	char whole[512];
	int fd;

	snprintf(whole, sizeof(whole), "%s%s", machine.root, path);
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

static void put_link(const char *path, const char *target)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s%s", machine.root, path);
	CHECK_OK(symlink(target, whole));
}

static void machine_new(void)
{
	static char root[128];

	snprintf(root, sizeof(root), "%s", run_dir());
	machine = (struct doctor){ .root = root, .dir = root, .quick = true };
	answer = doctor_answer_create(1);
	CHECK(answer != NULL);
	put("/proc/meminfo", "MemTotal:       16777216 kB\n"
			     "MemFree:         8388608 kB\n"
			     "MemAvailable:    8388608 kB\n");
	put("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n"
				 "NoNewPrivs:\t0\nSeccomp:\t0\n");
	put("/proc/self/cgroup", "0::/\n");
}

static void machine_end(void)
{
	char command[160];

	doctor_answer_destroy(answer, 1);
	snprintf(command, sizeof(command), "rm -rf '%s'", machine.root);
	CHECK_INT(system(command), ==, 0);
}

static struct doctor_answer *probe(const char *name)
{
	const struct doctor_probe *p = doctor_find(name);

	CHECK(p != NULL);
	doctor_probe(&machine, p, answer);
	for (uint32_t i = 0; i < answer->n; i++)
		fprintf(stderr, "%s: %s: %s\n",
			doctor_state_name(answer->result[i].state),
			answer->result[i].name, answer->result[i].value);
	return answer;
}

static const struct doctor_result *result(const char *name)
{
	for (uint32_t i = 0; i < answer->n; i++)
		if (strcmp(answer->result[i].name, name) == 0)
			return &answer->result[i];
	FAIL("no result %s", name);
}

static double fact(const struct doctor_result *r, const char *name)
{
	for (uint32_t i = 0; i < r->n_facts; i++)
		if (strcmp(r->fact[i].name, name) == 0 && !r->fact[i].is_text)
			return r->fact[i].number;
	FAIL("%s has no fact %s", r->name, name);
}

static const char *fact_text(const struct doctor_result *r, const char *name)
{
	for (uint32_t i = 0; i < r->n_facts; i++)
		if (strcmp(r->fact[i].name, name) == 0 && r->fact[i].is_text)
			return r->fact[i].text;
	FAIL("%s has no fact %s", r->name, name);
}

static bool mends(const struct doctor_result *r, const char *text)
{
	for (uint32_t i = 0; i < r->n_gaps; i++)
		if (strstr(r->gap[i].mend, text))
			return true;
	return false;
}

static bool costs(const struct doctor_result *r, const char *text)
{
	for (uint32_t i = 0; i < r->n_gaps; i++)
		if (strstr(r->gap[i].cost, text))
			return true;
	return false;
}

/* ---- CXL and nodes ------------------------------------------------------------------ */

TEST(no_cxl_bus)
{
	machine_new();
	probe("cxl");
	CHECK_INT(answer->n, ==, 1);
	CHECK_INT(answer->result[0].state, ==, DOCTOR_MISSING);
	CHECK(mends(&answer->result[0], "modprobe"));
	machine_end();
}

TEST(a_cxl_device_without_a_region)
{
	const struct doctor_result *r;

	machine_new();
	put("/sys/bus/cxl/devices/mem0/ram/size", "0x4000000000\n");
	put("/sys/bus/cxl/devices/mem0/numa_node", "1\n");
	put("/sys/bus/cxl/devices/decoder0.0/x", "");
	put_link("/sys/bus/cxl/devices/mem0/driver",
		 "../../../bus/cxl/drivers/cxl_mem");
	probe("cxl");
	r = result("CXL bus");
	CHECK_INT(r->state, ==, DOCTOR_LIMITED);
	CHECK_INT((int)fact(r, "memdevs"), ==, 1);
	CHECK_INT((int)fact(r, "regions"), ==, 0);
	CHECK(mends(r, "cxl create-region"));
	r = result("mem0");
	CHECK_INT(r->state, ==, DOCTOR_OK);
	CHECK(fact(r, "ram_bytes") == 256.0 * (1ull << 30));
	CHECK_STR(fact_text(r, "driver"), "cxl_mem");
	machine_end();
}

TEST(a_cxl_device_that_nobody_drives)
{
	machine_new();
	put("/sys/bus/cxl/devices/mem0/ram/size", "0x40000000\n");
	put("/sys/bus/cxl/devices/region0/x", "");
	probe("cxl");
	CHECK_INT(result("CXL bus")->state, ==, DOCTOR_OK);
	CHECK_INT(result("mem0")->state, ==, DOCTOR_LIMITED);
	CHECK(costs(result("mem0"), "1 GiB"));
	CHECK(mends(result("mem0"), "modprobe cxl_mem"));
	machine_end();
}

TEST(modes_of_device_dax)
{
	machine_new();
	put("/sys/bus/dax/devices/dax0.0/size", "1073741824\n");
	put("/sys/bus/dax/devices/dax0.0/target_node", "2\n");
	put_link("/sys/bus/dax/devices/dax0.0/driver", "../drivers/kmem");
	put("/sys/bus/dax/devices/dax1.0/size", "1073741824\n");
	put_link("/sys/bus/dax/devices/dax1.0/driver", "../drivers/device_dax");
	put("/sys/bus/dax/devices/dax2.0/size", "1073741824\n");
	probe("dax");
	CHECK_INT(answer->n, ==, 3);
	CHECK_STR(fact_text(result("dax0.0"), "mode"), "system-ram");
	CHECK_STR(fact_text(result("dax1.0"), "mode"), "devdax");
	CHECK_INT(result("dax1.0")->state, ==, DOCTOR_OK);
	CHECK_STR(fact_text(result("dax2.0"), "mode"), "none");
	CHECK(mends(result("dax2.0"), "daxctl reconfigure-device"));
	machine_end();
}

static void put_node(unsigned node, const char *cpus)
{
	char path[128], text[256];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo",
		 node);
	snprintf(text, sizeof(text),
		 "Node %u MemTotal:       8388608 kB\n"
		 "Node %u MemFree:        4194304 kB\n",
		 node, node);
	put(path, text);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist",
		 node);
	put(path, cpus);
}

TEST(a_node_without_processors_and_its_hmat)
{
	static const char at[] =
		"/sys/devices/system/node/node1/access0/initiators/";
	const struct doctor_result *r;
	char path[128];

	machine_new();
	put_node(0, "0-3,8\n");
	put_node(1, "\n");
	snprintf(path, sizeof(path), "%sread_bandwidth", at);
	put(path, "24000\n");
	snprintf(path, sizeof(path), "%sread_latency", at);
	put(path, "270\n");
	probe("nodes");
	CHECK_INT(answer->n, ==, 2);
	CHECK_STR(fact_text(result("node0"), "kind"), "dram");
	r = result("node1");
	CHECK_STR(fact_text(r, "kind"), "cxl-like");
	CHECK(strstr(r->value, "no processors") != NULL);
	CHECK(fact(r, "bytes") == 8388608.0 * 1024);
	CHECK(fact(r, "free_bytes") == 4194304.0 * 1024);
	CHECK(fact(r, "hmat_read_bytes_per_s") == 24000.0 * 1048576);
	CHECK(fact(r, "hmat_read_latency_ns") == 270);
	machine_end();
}

/* ---- limits ---------------------------------------------------------------------------- */

TEST(few_mappings)
{
	machine_new();
	put("/proc/sys/vm/max_map_count", "65530\n");
	probe("maps");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_LIMITED);
	CHECK_STR(answer->result[0].limit, "");
	CHECK(mends(&answer->result[0], "sysctl -w vm.max_map_count=1048576"));

	put("/proc/sys/vm/max_map_count", "1024\n");
	probe("maps");
	CHECK(costs(&answer->result[0], "1024"));
	CHECK_STR(answer->result[0].limit, "vm.max_map_count 1024");

	put("/proc/sys/vm/max_map_count", "1048576\n");
	probe("maps");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_OK);
	CHECK_INT(answer->result[0].n_gaps, ==, 0);
	machine_end();
}

TEST(no_control_group_limit)
{
	machine_new();
	put("/sys/fs/cgroup/memory.max", "max\n");
	probe("cgroup");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_OK);
	probe("memory");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_OK);
	CHECK(fact(&answer->result[0], "default_dram_bytes") ==
	      4.0 * (1ull << 30));
	machine_end();
}

TEST(a_limit_of_a_group_above)
{
	machine_new();
	put("/proc/self/cgroup", "0::/box/inner\n");
	put("/sys/fs/cgroup/box/inner/memory.max", "max\n");
	put("/sys/fs/cgroup/box/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/box/memory.current", "1000000000\n");
	probe("cgroup");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_LIMITED);
	CHECK(fact(&answer->result[0], "limit_bytes") == 1073741824);
	CHECK(fact(&answer->result[0], "current_bytes") == 1e9);
	CHECK_STR(fact_text(&answer->result[0], "version"), "cgroup v2");
	CHECK(costs(&answer->result[0], "1 GiB"));
	/* a quarter of 1 GiB does not fit into what is left of it */
	probe("memory");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_LIMITED);
	CHECK(answer->result[0].limit[0] != '\0');
	CHECK(mends(&answer->result[0], "onecopy serve --dram 52M"));
	machine_end();
}

TEST(a_limit_of_the_first_version_leaves_no_room)
{
	machine_new();
	put("/proc/self/cgroup", "4:memory:/box\n1:name=systemd:/\n0::/\n");
	put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "16777216\n");
	put("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "8388608\n");
	probe("cgroup");
	CHECK_STR(fact_text(&answer->result[0], "version"), "cgroup v1");
	probe("memory");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_MISSING);
	CHECK_INT(answer->result[0].error, ==, -ENOMEM);
	CHECK(costs(&answer->result[0], "cannot run"));
	machine_end();
}

TEST(strict_overcommit)
{
	machine_new();
	put("/proc/sys/vm/overcommit_memory", "2\n");
	put("/proc/meminfo", "MemTotal: 16777216 kB\nCommitLimit: 2097152 kB\n"
			     "Committed_AS: 1048576 kB\n");
	probe("overcommit");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_LIMITED);
	CHECK(costs(&answer->result[0], "1 GiB"));
	CHECK(mends(&answer->result[0], "vm.overcommit_memory=0"));
	machine_end();
}

TEST(few_processes)
{
	machine_new();
	put("/proc/self/cgroup", "0::/box\n");
	put("/sys/fs/cgroup/box/pids.max", "20\n");
	probe("pids");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_LIMITED);
	CHECK(mends(&answer->result[0], "--pids-limit"));
	machine_end();
}

static struct doctor_result judged;

TEST(few_descriptors)
{
	memset(&judged, 0, sizeof(judged));
	doctor_judge_files(1048576, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_OK);
	memset(&judged, 0, sizeof(judged));
	doctor_judge_files(256, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_LIMITED);
	CHECK_STR(judged.limit, "256 descriptors: about 24 clients at a time");
	CHECK(mends(&judged, "ulimit -n"));
	memset(&judged, 0, sizeof(judged));
	doctor_judge_files(10, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_MISSING);
	CHECK_INT(judged.error, ==, -EMFILE);
}

/* ---- judges ------------------------------------------------------------------------------ */

static void filter_on(void)
{
	put("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n"
				 "NoNewPrivs:\t1\nSeccomp:\t2\n");
}

static void judge_uring(int setup)
{
	struct doctor_uring u = { .setup = setup };

	memset(&judged, 0, sizeof(judged));
	doctor_judge_uring(&machine, &u, &judged);
	fprintf(stderr, "%s\n", judged.value);
}

TEST(who_refuses_io_uring)
{
	machine_new();
	put("/proc/sys/kernel/io_uring_disabled", "2\n");
	judge_uring(-EPERM);
	CHECK_INT(judged.state, ==, DOCTOR_MISSING);
	CHECK(strstr(judged.value, "io_uring_disabled") != NULL);
	CHECK(mends(&judged, "sysctl -w kernel.io_uring_disabled=0"));
	CHECK_STR(judged.limit, "epoll in place of io_uring");
	CHECK(costs(&judged, "epoll"));

	put("/proc/sys/kernel/io_uring_disabled", "0\n");
	filter_on();
	judge_uring(-EPERM);
	CHECK(strstr(judged.value, "seccomp") != NULL);
	CHECK(mends(&judged, "seccomp="));
	judge_uring(-ENOSYS);
	CHECK(strstr(judged.value, "seccomp") != NULL);
	judge_uring(-ENOMEM);
	CHECK(mends(&judged, "ulimit -l"));
	machine_end();
}

TEST(a_kernel_without_io_uring)
{
	machine_new();
	judge_uring(-ENOSYS);
	CHECK(strstr(judged.value, "the kernel has none") != NULL);
	machine_end();
}

TEST(who_refuses_userfaultfd)
{
	struct doctor_uffd u = { .user_mode = -EPERM,
				 .device = -ENOENT,
				 .full = -EPERM };

	machine_new();
	memset(&judged, 0, sizeof(judged));
	doctor_judge_uffd(&machine, &u, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_MISSING);
	CHECK(mends(&judged, "vm.unprivileged_userfaultfd=1"));
	filter_on();
	memset(&judged, 0, sizeof(judged));
	doctor_judge_uffd(&machine, &u, &judged);
	CHECK(strstr(judged.value, "seccomp") != NULL);
	machine_end();
}

TEST(faults_of_user_mode_alone)
{
	struct doctor_uffd u = { .device = -EACCES, .full = -EPERM };

	machine_new();
	put("/proc/sys/vm/unprivileged_userfaultfd", "0\n");
	memset(&judged, 0, sizeof(judged));
	doctor_judge_uffd(&machine, &u, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_LIMITED);
	CHECK(costs(&judged, "EFAULT"));
	u = (struct doctor_uffd){ .wp = -EINVAL,
				  .features = UFFD_FEATURE_MISSING_SHMEM };
	memset(&judged, 0, sizeof(judged));
	doctor_judge_uffd(&machine, &u, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_LIMITED);
	CHECK(mends(&judged, "Linux 5.19"));
	machine_end();
}

TEST(why_no_xdp)
{
	struct doctor_xdp x = { .load = -EPERM };

	machine_new();
	put("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n");
	memset(&judged, 0, sizeof(judged));
	doctor_judge_xdp(&machine, &x, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_MISSING);
	CHECK(strstr(judged.value, "CAP_BPF and CAP_NET_ADMIN") != NULL);
	CHECK(mends(&judged, "--cap-add BPF"));
	filter_on();
	memset(&judged, 0, sizeof(judged));
	doctor_judge_xdp(&machine, &x, &judged);
	CHECK(strstr(judged.value, "seccomp") != NULL);
	x.load = 0;
	memset(&judged, 0, sizeof(judged));
	doctor_judge_xdp(&machine, &x, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_OK);
	machine_end();
}

#define THP "/sys/kernel/mm/transparent_hugepage/"

TEST(pages_that_are_not_huge)
{
	struct doctor_pages p = { .collapse = -EINVAL, .small_ns = 123 };

	machine_new();
	put(THP "enabled", "always [madvise] never\n");
	put(THP "shmem_enabled",
	    "always within_size advise [never] deny force\n");
	memset(&judged, 0, sizeof(judged));
	doctor_judge_pages(&machine, &p, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_LIMITED);
	CHECK(costs(&judged, "123 ns"));
	CHECK(mends(&judged, "echo advise > " THP "shmem_enabled"));
	put(THP "enabled", "always madvise [never]\n");
	memset(&judged, 0, sizeof(judged));
	doctor_judge_pages(&machine, &p, &judged);
	CHECK(mends(&judged, "echo madvise > " THP "enabled"));
	p.collapse = 0;
	memset(&judged, 0, sizeof(judged));
	doctor_judge_pages(&machine, &p, &judged);
	CHECK_INT(judged.state, ==, DOCTOR_OK);
	machine_end();
}

/* ---- devices -------------------------------------------------------------------------------- */

TEST(network_cards_and_rdma)
{
	machine_new();
	put("/sys/class/net/lo/operstate", "unknown\n");
	put("/sys/class/net/eth0/operstate", "up\n");
	put("/sys/class/net/eth0/speed", "100000\n");
	put("/sys/class/net/eth0/device/numa_node", "1\n");
	put("/sys/class/net/eth0/queues/rx-0/x", "");
	put("/sys/class/net/eth0/queues/rx-1/x", "");
	put_link("/sys/class/net/eth0/device/driver", "../drivers/mlx5_core");
	probe("interfaces");
	CHECK_INT(answer->n, ==, 1);
	CHECK(fact(result("eth0"), "bits_per_s") == 100e9);
	CHECK(fact(result("eth0"), "native_xdp") == 1);
	CHECK(fact(result("eth0"), "queues") == 2);
	CHECK_STR(fact_text(result("eth0"), "numa_node"), "1");
	probe("rdma");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_MISSING);
	put("/sys/class/infiniband/mlx5_0/ports/1/rate",
	    "100 Gb/sec (4X EDR)\n");
	put("/sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN\n");
	probe("rdma");
	CHECK_INT(result("mlx5_0")->state, ==, DOCTOR_LIMITED);
	CHECK(fact(result("mlx5_0"), "bits_per_s") == 100e9);
	put("/sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n");
	probe("rdma");
	CHECK_INT(result("mlx5_0")->state, ==, DOCTOR_OK);
	machine_end();
}

TEST(a_card_without_its_driver)
{
	machine_new();
	probe("gpu");
	CHECK(strstr(answer->result[0].value, "no NVIDIA card") != NULL);
	put("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
	put("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
	probe("gpu");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_MISSING);
	CHECK(fact(&answer->result[0], "cards") == 1);
	CHECK(mends(&answer->result[0], "nvidia-driver"));
	probe("rocm");
	CHECK_INT(answer->n, ==, 0);
	put("/sys/bus/pci/devices/0000:02:00.0/vendor", "0x1002\n");
	put("/sys/bus/pci/devices/0000:02:00.0/class", "0x120000\n");
	probe("rocm");
	CHECK(mends(&answer->result[0], "/dev/kfd"));
	machine_end();
}

TEST(modes_of_cufile)
{
	machine_new();
	put("/etc/cufile.json", "{ \"properties\": { // a comment\n"
				"\"allow_compat_mode\": true } }\n");
	probe("cufile");
	CHECK_STR(fact_text(&answer->result[0], "mode"), "compat");
	CHECK(mends(&answer->result[0], "modprobe nvidia-fs"));
	put("/etc/cufile.json", "{ \"allow_compat_mode\" : false }\n");
	probe("cufile");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_MISSING);
	put("/proc/driver/nvidia-fs/version", "2.17\n");
	probe("cufile");
	CHECK_STR(fact_text(&answer->result[0], "mode"), "direct");
	CHECK_INT(answer->result[0].state, ==, DOCTOR_OK);
	machine_end();
}

TEST(caches_and_instructions)
{
	static const char at[] = "/sys/devices/system/cpu/cpu0/cache/index3/";
	char path[128];

	machine_new();
	snprintf(path, sizeof(path), "%slevel", at);
	put(path, "3\n");
	snprintf(path, sizeof(path), "%stype", at);
	put(path, "Unified\n");
	snprintf(path, sizeof(path), "%ssize", at);
	put(path, "32768K\n");
	snprintf(path, sizeof(path), "%sshared_cpu_list", at);
	put(path, "0-7,16-23\n");
	probe("caches");
	CHECK_STR(answer->result[0].value, "L3 32 MiB by 16");
	put("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 clwb\n\n");
	probe("instructions");
	CHECK(fact(&answer->result[0], "avx2") == 1);
	CHECK(fact(&answer->result[0], "avx512f") == 0);
	CHECK(costs(&answer->result[0], "sha_ni"));
	CHECK(!costs(&answer->result[0], "No clwb"));
	machine_end();
}

/* ---- the child ------------------------------------------------------------------------------ */

static void crash(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	doctor_value(doctor_add(a, "half"), "written before the end");
	raise(SIGKILL);
}

static void hang(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	(void)a;
	/* a grandchild that would outlive it, and both wait for ever */
	fork();
	for (;;)
		pause();
}

static void leave(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	(void)a;
	_exit(3);
}

static void wild(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	memset(a, 0x41, sizeof(*a)); /* no text ends, no count is right */
}

static const char *broken(void (*run)(const struct doctor *,
				      struct doctor_answer *),
			  uint32_t deadline_ms)
{
	struct doctor_probe p = { .name = "planted",
				  .run = run,
				  .deadline_ms = deadline_ms };

	doctor_probe(&machine, &p, answer);
	CHECK_INT(answer->n, ==, 1);
	CHECK_INT(answer->result[0].state, ==, DOCTOR_BROKEN);
	CHECK_STR(answer->result[0].name, "planted");
	return answer->result[0].value;
}

TEST(a_probe_that_crashes_or_hangs)
{
	struct doctor_probe p = { .name = "planted", .run = wild };

	machine_new();
	CHECK(strstr(broken(crash, 0), "signal 9") != NULL);
	CHECK(strstr(broken(leave, 0), "status 3") != NULL);
	CHECK_STR(broken(hang, 300), "no answer within 0.3 s");
	doctor_probe(&machine, &p, answer);
	CHECK_INT(answer->n, <=, DOCTOR_RESULTS);
	CHECK_INT(strnlen(answer->result[0].value, DOCTOR_TEXT), <,
		  DOCTOR_TEXT);
	CHECK_INT(answer->result[0].n_gaps, <=, DOCTOR_GAPS);
	machine_end();
}

TEST(more_of_a_kind_than_there_is_room_for)
{
	const struct doctor_result *r;
	char path[128];

	machine_new();
	for (unsigned i = 0; i < DOCTOR_RESULTS + 3; i++) {
		snprintf(path, sizeof(path),
			 "/sys/bus/dax/devices/dax%u.0/size", i);
		put(path, "4096\n");
	}
	probe("dax");
	CHECK_INT(answer->n, ==, DOCTOR_RESULTS);
	r = &answer->result[DOCTOR_RESULTS - 1];
	CHECK(fact(r, "left_out") == 3);
	CHECK(strstr(r->value, "(and 3 more)") != NULL);
	machine_end();
}
