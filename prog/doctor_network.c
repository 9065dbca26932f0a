/* SPDX-License-Identifier: Apache-2.0 */
/* Network cards: programs in them (XDP), their drivers and speed, RDMA. */
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "doctor.h"

/* Of drivers that run an XDP program before the kernel makes a packet of what
 * came. Others can only run it afterwards (generic mode). */
static const char *const native_xdp[] = {
	"atlantic", "bnxt_en",	 "cxgb4",      "dpaa2-eth", "ena",
	"fec",	    "gve",	 "hv_netvsc",  "i40e",	    "ice",
	"igb",	    "igc",	 "ixgbe",      "ixgbevf",   "mana",
	"mlx4_en",  "mlx5_core", "mvneta",     "mvpp2",	    "nfp",
	"nicvf",    "qede",	 "sfc",	       "stmmac",    "thunder-nicvf",
	"tun",	    "veth",	 "virtio_net", "vmxnet3",
};

static int xdp_load(void)
{
	static const char license[] = "GPL";
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_0,
		  .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (uint64_t)(uintptr_t)program;
	attr.insn_cnt = ARRAY_LEN(program);
	attr.license = (uint64_t)(uintptr_t)license;
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd); /* attached to nothing: it is gone with this */
	return 0;
}

static uint64_t effective_capabilities(const struct doctor *d)
{
	char text[8192];
	const char *at;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/self/status"))
		return 0;
	at = strstr(text, "\nCapEff:");
	return at ? strtoull(at + strlen("\nCapEff:"), NULL, 16) : 0;
}

#define CAPABILITY_NET_ADMIN 12
#define CAPABILITY_SYS_ADMIN 21
#define CAPABILITY_BPF	     39

static void xdp_refused(const struct doctor *d, struct doctor_result *r)
{
	uint64_t have = effective_capabilities(d), off = 0;
	bool bpf = have >> CAPABILITY_BPF & 1 ||
		   have >> CAPABILITY_SYS_ADMIN & 1;
	bool net = have >> CAPABILITY_NET_ADMIN & 1;

	sysfs_read_u64(d->root, &off,
		       "/proc/sys/kernel/unprivileged_bpf_disabled");
	doctor_number(r, "unprivileged_bpf_disabled", (double)off);
	doctor_number(r, "cap_bpf", bpf);
	doctor_number(r, "cap_net_admin", net);
	if (bpf && net && doctor_filtered(d)) {
		doctor_value(r, "bpf() is refused by a seccomp filter");
		doctor_mend(r, "docker run --security-opt seccomp=unconfined");
		return;
	}
	if (bpf && net) {
		doctor_value(r, "refused in spite of the capabilities: in a "
				"user namespace they do not count");
		doctor_mend(r, "docker run --userns host --cap-add BPF "
			       "--cap-add NET_ADMIN");
		return;
	}
	doctor_value(r, "refused: without %s%s%s", bpf ? "" : "CAP_BPF",
		     !bpf && !net ? " and " : "", net ? "" : "CAP_NET_ADMIN");
	doctor_mend(r, "docker run --cap-add BPF --cap-add NET_ADMIN   "
		       "(setcap cap_bpf,cap_net_admin+ep onecopy)");
}

void doctor_judge_xdp(const struct doctor *d, const struct doctor_xdp *x,
		      struct doctor_result *r)
{
	doctor_number(r, "loads", x->load == 0);
	if (x->load == 0) {
		doctor_value(r, "an XDP program loads");
		return;
	}
	doctor_worsen(r, DOCTOR_MISSING);
	r->error = x->load;
	doctor_cost(r, "No packet is steered by what it asks for: each goes to "
		       "a processor and a socket first.");
	switch (x->load) {
	case -EPERM:
	case -EACCES:
		xdp_refused(d, r);
		break;
	case -ENOSYS:
		doctor_value(r, "the kernel has no bpf()%s",
			     doctor_filtered(d) ? ", or a seccomp filter "
						  "says so"
						: "");
		break;
	case -EINVAL:
		doctor_value(r, "the kernel has no XDP");
		break;
	default:
		doctor_value(r, "bpf(): %s", strerror(-x->load));
	}
}

void doctor_xdp(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_xdp x = { .load = xdp_load() };

	doctor_judge_xdp(d, &x, doctor_add(a, "XDP"));
}

/* ---- interfaces ---------------------------------------------------------------------- */

static bool has_native(const char *driver)
{
	for (size_t i = 0; i < ARRAY_LEN(native_xdp); i++)
		if (strcmp(native_xdp[i], driver) == 0)
			return true;
	return false;
}

static void interface_one(const struct doctor *d, struct doctor_answer *a,
			  const char *name)
{
	static const char at[] = "/sys/class/net";
	struct doctor_result *r = doctor_add(a, name);
	char driver[64], state[32] = "", speed[32] = "", numa[32] = "";
	char rate[48];
	struct sysfs_names queues;
	char path[128];
	bool native;

	sysfs_link(d->root, driver, sizeof(driver), "%s/%s/device/driver", at,
		   name);
	sysfs_read(d->root, state, sizeof(state), "%s/%s/operstate", at, name);
	sysfs_read(d->root, speed, sizeof(speed), "%s/%s/speed", at, name);
	sysfs_read(d->root, numa, sizeof(numa), "%s/%s/device/numa_node", at,
		   name);
	snprintf(path, sizeof(path), "%s/%s/queues", at, name);
	sysfs_list(d->root, path, "rx-", &queues);
	native = has_native(driver);
	doctor_text(r, "driver", driver);
	doctor_text(r, "state", state);
	doctor_number(r, "queues", (double)queues.n);
	doctor_number(r, "native_xdp", native);
	if (numa[0])
		doctor_text(r, "numa_node", numa);
	snprintf(rate, sizeof(rate), "speed unknown");
	if (speed[0] && speed[0] != '-' && speed[0] != '0') {
		doctor_number(r, "bits_per_s", strtod(speed, NULL) * 1e6);
		snprintf(rate, sizeof(rate), "%s Mbit/s", speed);
	}
	doctor_value(r, "driver %s, %s, %s, %zu receive queue%s%s",
		     driver[0] ? driver : "unknown", state, rate, queues.n,
		     queues.n == 1 ? "" : "s", native ? ", native XDP" : "");
	if (!native)
		doctor_cost(r, "XDP only in generic mode: a program runs after "
			       "the packet was made, and saves little.");
}

void doctor_interfaces(const struct doctor *d, struct doctor_answer *a)
{
	struct sysfs_names names;
	char path[128];

	sysfs_list(d->root, "/sys/class/net", "", &names);
	for (size_t i = 0; i < names.n; i++) {
		snprintf(path, sizeof(path), "/sys/class/net/%.63s/device",
			 names.name[i]);
		/* those with hardware behind them */
		if (sysfs_exists(d->root, "%s", path))
			interface_one(d, a, names.name[i]);
	}
	if (a->n == 0) {
		struct doctor_result *r = doctor_add(a, "network cards");

		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r, "none that this process can see");
		doctor_cost(r, "Other machines are reached through somebody "
			       "else's card, if at all.");
		doctor_mend(r, "docker run --network host");
	}
}

/* ---- RDMA --------------------------------------------------------------------------- */

static void rdma_one(const struct doctor *d, struct doctor_answer *a,
		     const char *name)
{
	static const char at[] = "/sys/class/infiniband";
	struct doctor_result *r = doctor_add(a, name);
	char rate[64] = "", state[64] = "", layer[64] = "", numa[32] = "";

	sysfs_read(d->root, rate, sizeof(rate), "%s/%s/ports/1/rate", at, name);
	sysfs_read(d->root, state, sizeof(state), "%s/%s/ports/1/state", at,
		   name);
	sysfs_read(d->root, layer, sizeof(layer), "%s/%s/ports/1/link_layer",
		   at, name);
	sysfs_read(d->root, numa, sizeof(numa), "%s/%s/device/numa_node", at,
		   name);
	doctor_text(r, "state", state);
	doctor_text(r, "link_layer", layer);
	doctor_text(r, "numa_node", numa);
	doctor_number(r, "bits_per_s", strtod(rate, NULL) * 1e9);
	doctor_value(r, "%s, %s, %s", layer, rate, state);
	if (!strstr(state, "ACTIVE")) {
		doctor_cost(r,
			    "Port 1 is not active: nothing goes through its "
			    "%s.",
			    rate[0] ? rate : "link");
		doctor_mend(r, "rdma link show");
	}
}

void doctor_rdma(const struct doctor *d, struct doctor_answer *a)
{
	struct sysfs_names names;
	struct doctor_result *r;

	sysfs_list(d->root, "/sys/class/infiniband", "", &names);
	for (size_t i = 0; i < names.n; i++)
		rdma_one(d, a, names.name[i]);
	if (names.n)
		return;
	r = doctor_add(a, "RDMA");
	doctor_worsen(r, DOCTOR_MISSING);
	doctor_value(r, "no device in /sys/class/infiniband");
	doctor_cost(r, "A block from another machine is copied by the kernel's "
		       "socket on both sides: two writes more for each byte.");
	doctor_mend(r, "modprobe mlx5_ib   (where there is a card)");
}

void doctor_network_libraries(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	doctor_library(a, "libbpf", "libbpf.so.1", "libbpf1",
		       "No XDP program is attached.");
	doctor_library(a, "libibverbs", "libibverbs.so.1", "libibverbs1",
		       "RDMA devices cannot be used.");
	doctor_library(a, "UCX", "libucp.so.0", "libucx0",
		       "Other nodes are reached through sockets alone.");
}
