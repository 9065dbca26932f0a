/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs and what reads from a disk into them. Vendors' libraries are asked by
 * name; what they do to this process is of no matter, it ends with the probe. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "doctor.h"

#define VENDOR_NVIDIA 0x10de
#define VENDOR_AMD    0x1002
#define CLASS_DISPLAY 0x03
#define CLASS_ACCEL   0x12

/* ---- CUDA: the driver's library ------------------------------------------------------ */

struct cuda {
	int (*init)(unsigned flags);
	int (*version)(int *ret);
	int (*count)(int *ret);
	int (*get)(int *ret_device, int i);
	int (*name)(char *ret, int cap, int device);
	int (*memory)(size_t *ret, int device);
};

static bool cuda_load(struct cuda *c)
{
	static const char *const names[] = {
		"cuInit",      "cuDriverGetVersion", "cuDeviceGetCount",
		"cuDeviceGet", "cuDeviceGetName",    "cuDeviceTotalMem_v2"
	};
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	void *at[ARRAY_LEN(names)];

	for (size_t i = 0; library && i < ARRAY_LEN(names); i++) {
		at[i] = dlsym(library, names[i]);
		if (!at[i])
			return false;
	}
	_Static_assert(sizeof(at) == sizeof(*c), "one pointer each, in order");
	if (library)
		memcpy(c, at, sizeof(*c));
	return library != NULL;
}

static void cuda_device(const struct cuda *c, struct doctor_answer *a, int i)
{
	char name[96] = "unknown", label[DOCTOR_NAME], size[32];
	struct doctor_result *r;
	size_t bytes = 0;
	int device;

	snprintf(label, sizeof(label), "GPU %d", i);
	r = doctor_add(a, label);
	if (c->get(&device, i) || c->name(name, sizeof(name), device) ||
	    c->memory(&bytes, device)) {
		doctor_worsen(r, DOCTOR_BROKEN);
		doctor_value(r, "does not answer");
		doctor_cost(r, "Nothing can be placed in its memory.");
		doctor_mend(r, "nvidia-smi");
		return;
	}
	doctor_text(r, "name", name);
	doctor_number(r, "bytes", (double)bytes);
	doctor_value(r, "%s, %s", name, text_size(bytes, size));
}

/* How many cards of a vendor sit in this machine, driver or not. */
static unsigned pci_cards(const struct doctor *d, uint64_t vendor)
{
	struct doctor_names names;
	uint64_t who, class;
	unsigned n = 0;

	doctor_list(d, "/sys/bus/pci/devices", "", &names);
	for (size_t i = 0; i < names.n; i++)
		n += doctor_read_u64(d, &who, "/sys/bus/pci/devices/%s/vendor",
				     names.name[i]) == 0 &&
		     who == vendor &&
		     doctor_read_u64(d, &class, "/sys/bus/pci/devices/%s/class",
				     names.name[i]) == 0 &&
		     (class >> 16 == CLASS_DISPLAY ||
		      class >> 16 == CLASS_ACCEL);
	return n;
}

static void gpu_none(const struct doctor *d, struct doctor_answer *a,
		     unsigned nodes)
{
	struct doctor_result *r = doctor_add(a, "GPU");
	unsigned cards = pci_cards(d, VENDOR_NVIDIA);

	doctor_worsen(r, DOCTOR_MISSING);
	doctor_number(r, "cards", cards);
	doctor_number(r, "device_files", nodes);
	if (!cards && !nodes) {
		doctor_value(r, "no NVIDIA card");
		doctor_cost(r, "There is no device memory to read into: blocks "
			       "from disk end in this machine's memory.");
		return;
	}
	doctor_value(r, "%u NVIDIA card%s, libcuda.so.1 is not found",
		     MAX(cards, 1u), cards > 1 ? "s" : "");
	doctor_cost(r, "Blocks reach the card's memory only through copies "
		       "that the engine makes.");
	doctor_mend(r,
		    "apt-get install nvidia-driver   (docker run --gpus all)");
}

void doctor_gpu(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_names nodes;
	struct doctor_result *r;
	int e, version = 0, n = 0;
	struct cuda c;

	doctor_list(d, "/dev", "nvidia", &nodes);
	if (d->root[0] || !cuda_load(&c)) {
		gpu_none(d, a, (unsigned)nodes.n);
		return;
	}
	r = doctor_add(a, "CUDA");
	e = c.init(0);
	if (e == 0)
		e = c.version(&version);
	if (e == 0)
		e = c.count(&n);
	doctor_number(r, "cuda_version", version);
	doctor_number(r, "devices", n);
	doctor_number(r, "device_files", (double)nodes.n);
	if (e || n == 0) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r,
			     "libcuda.so.1 is there, and has no device "
			     "(error %d)",
			     e);
		doctor_cost(r, "No block reaches a card's memory.");
		doctor_mend(r, "nvidia-smi   (docker run --gpus all)");
		return;
	}
	doctor_value(r, "driver for CUDA %d.%d, %d device%s", version / 1000,
		     version % 1000 / 10, n, n == 1 ? "" : "s");
	for (int i = 0; i < n; i++)
		cuda_device(&c, a, i);
}

void doctor_rocm(const struct doctor *d, struct doctor_answer *a)
{
	unsigned cards = pci_cards(d, VENDOR_AMD);
	bool kfd = doctor_exists(d, "/dev/kfd");
	struct doctor_result *r;

	if (!cards && !kfd)
		return;
	r = doctor_add(a, "ROCm");
	doctor_number(r, "cards", cards);
	doctor_number(r, "kfd", kfd);
	doctor_value(r, "%u AMD card%s, %s", cards, cards == 1 ? "" : "s",
		     kfd ? "/dev/kfd" : "no /dev/kfd");
	if (!kfd) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_cost(r, "Blocks reach the card's memory only through "
			       "copies that the engine makes.");
		doctor_mend(r, "modprobe amdgpu   (docker run --device "
			       "/dev/kfd --device /dev/dri)");
	} else if (!d->root[0] && access("/dev/kfd", R_OK | W_OK) != 0) {
		doctor_cost(r, "This user may not open /dev/kfd.");
		doctor_mend(r, "usermod -aG render,video USER");
	}
}

/* ---- cuFile -------------------------------------------------------------------------- */

/* "name": false, in a file that is JSON with comments. */
static bool says_no(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		return false;
	at += strlen(name);
	at += strspn(at, "\" \t:");
	return strncmp(at, "false", 5) == 0;
}

void doctor_cufile(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "cuFile");
	static char text[65536];
	bool direct = doctor_exists(d, "/proc/driver/nvidia-fs");
	void *library =
		d->root[0] ? NULL
			   : dlopen("libcufile.so.0", RTLD_LAZY | RTLD_LOCAL);
	bool compat = true;

	if (doctor_read(d, text, sizeof(text), "/etc/cufile.json") == 0) {
		doctor_text(r, "configuration", "/etc/cufile.json");
		compat = !says_no(text, "allow_compat_mode");
	}
	doctor_number(r, "library", library != NULL);
	doctor_number(r, "nvidia_fs", direct);
	if (!library && !d->root[0]) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_text(r, "mode", "none");
		doctor_value(r, "libcufile.so.0 is not found");
		doctor_cost(r, "A block from disk goes to a card through this "
			       "machine's memory: two moves for each byte in "
			       "place of one.");
		doctor_mend(r, "apt-get install libcufile-12-4   (of NVIDIA's "
			       "repository)");
		return;
	}
	doctor_text(r, "mode", direct ? "direct" : compat ? "compat" : "none");
	doctor_value(r, "%s",
		     direct   ? "nvidia-fs is loaded: direct"
		     : compat ? "compatible mode"
			      : "no nvidia-fs, and compatible mode "
				"is switched off");
	if (direct)
		return;
	if (!compat)
		doctor_worsen(r, DOCTOR_MISSING);
	doctor_cost(r, "A block from disk goes to a card through this "
		       "machine's memory: two moves for each byte in place of "
		       "one.");
	doctor_mend(r, "modprobe nvidia-fs");
}
