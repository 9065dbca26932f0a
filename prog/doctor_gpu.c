/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs and what reads from a disk into them. Vendors' libraries are asked by
 * name; what they do to this process is of no matter, it ends with the probe. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"
#include "tier/gpu/gpu.h"

#define VENDOR_NVIDIA 0x10de
#define VENDOR_AMD    0x1002
#define CLASS_DISPLAY 0x03
#define CLASS_ACCEL   0x12

/* ---- CUDA: the driver's library ------------------------------------------------------ */

static void card_tell(struct cuda *c, struct doctor_answer *a, int i)
{
	char name[96] = "unknown", label[DOCTOR_NAME], size[32];
	struct doctor_result *r;
	cuda_device device;
	size_t bytes = 0;

	snprintf(label, sizeof(label), "GPU %d", i);
	r = doctor_add(a, label);
	if (CUDA(c, device_get, &device, i) ||
	    CUDA(c, device_name, name, sizeof(name), device) ||
	    CUDA(c, device_memory, &bytes, device)) {
		doctor_worsen(r, DOCTOR_BROKEN);
		doctor_value(r, "does not answer (%s)", c->said);
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
	struct sysfs_names names;
	uint64_t who, class;
	unsigned n = 0;

	sysfs_list(d->root, "/sys/bus/pci/devices", "", &names);
	for (size_t i = 0; i < names.n; i++)
		n += sysfs_read_u64(d->root, &who,
				    "/sys/bus/pci/devices/%s/vendor",
				    names.name[i]) == 0 &&
		     who == vendor &&
		     sysfs_read_u64(d->root, &class,
				    "/sys/bus/pci/devices/%s/class",
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
	struct sysfs_names nodes;
	struct doctor_result *r;
	char why[DOCTOR_FACT];
	struct cuda c = { 0 };
	int e, n = 0;

	sysfs_list(d->root, "/dev", "nvidia", &nodes);
	e = d->root[0] ? -ENOENT : cuda_open(NULL, &c, why, sizeof(why));
	if (e == -ENOENT || e == -ELIBBAD) {
		gpu_none(d, a, (unsigned)nodes.n);
		return;
	}
	r = doctor_add(a, "CUDA");
	if (e == 0 && CUDA(&c, device_count, &n))
		text_copy(why, sizeof(why), c.said);
	else if (e == 0)
		text_copy(why, sizeof(why), "none is there");
	doctor_number(r, "cuda_version", c.version);
	doctor_number(r, "devices", n);
	doctor_number(r, "device_files", (double)nodes.n);
	if (n == 0) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_value(r, "libcuda.so.1 is there, and has no device: %s",
			     why);
		doctor_cost(r, "No block reaches a card's memory.");
		doctor_mend(r, "nvidia-smi   (docker run --gpus all)");
		return;
	}
	doctor_value(r, "driver for CUDA %d.%d, %d device%s", c.version / 1000,
		     c.version % 1000 / 10, n, n == 1 ? "" : "s");
	for (int i = 0; i < n; i++)
		card_tell(&c, a, i);
}

void doctor_rocm(const struct doctor *d, struct doctor_answer *a)
{
	unsigned cards = pci_cards(d, VENDOR_AMD);
	bool kfd = sysfs_exists(d->root, "/dev/kfd");
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

static void cufile_bounces(struct doctor_result *r)
{
	doctor_cost(r, "A block from disk goes to a card through pinned memory "
		       "of this machine: two moves for each byte in place of "
		       "one.");
}

/* By the files of a machine, where its libraries cannot be asked. */
static void cufile_by_files(const struct doctor *d, struct doctor_result *r)
{
	static char text[65536];
	bool direct = sysfs_exists(d->root, "/proc/driver/nvidia-fs");
	bool compat = true;

	if (sysfs_read(d->root, text, sizeof(text), "/etc/cufile.json") == 0) {
		doctor_text(r, "configuration", "/etc/cufile.json");
		compat = !says_no(text, "allow_compat_mode");
	}
	doctor_number(r, "library", 0);
	doctor_number(r, "nvidia_fs", direct);
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
	cufile_bounces(r);
	doctor_mend(r, "modprobe nvidia-fs");
}

static void cufile_says(struct doctor_result *r, const struct gpu_about *g)
{
	doctor_number(r, "library", g->cufile);
	doctor_number(r, "nvidia_fs", g->nvidia_fs);
	doctor_number(r, "version", g->cufile_version);
	doctor_number(r, "counts", g->counts);
	if (g->cufile)
		doctor_text(r, "path", g->cufile_path);
	doctor_text(r, "mode",
		    g->direct	? "direct"
		    : g->cufile ? "compat"
				: "none");
	if (g->direct) {
		doctor_value(r, "%d.%d: direct%s", g->cufile_version / 1000,
			     g->cufile_version % 1000 / 10,
			     g->nvidia_fs ? ", by nvidia-fs"
					  : ", without nvidia-fs");
		return;
	}
	doctor_worsen(r, g->cufile ? DOCTOR_LIMITED : DOCTOR_MISSING);
	doctor_text(r, "why", g->why);
	if (g->cufile)
		doctor_value(r,
			     "%d.%d: compatible mode only, which onecopy "
			     "does not take unasked: %s",
			     g->cufile_version / 1000,
			     g->cufile_version % 1000 / 10, g->why);
	else
		doctor_value(r, "%s", g->why);
	cufile_bounces(r);
	doctor_mend(r, "%s",
		    g->cufile ? "modprobe nvidia-fs"
			      : "apt-get install libcufile-12-4   (of NVIDIA's "
				"repository; or ONECOPY_CUFILE=PATH)");
}

/* Does it take files of the folder at all? It looks at the file system, and at
 * what udev knows of the drive. */
static void cufile_file(const struct doctor *d, struct gpu *g,
			struct doctor_result *r)
{
	CLEANUP(fd_close_at) int fd = -1;
	char path[PATH_MAX];
	bool takes;

	if (snprintf(path, sizeof(path), "%s/.onecopy-doctor-XXXXXX",
		     d->dir ? d->dir : ".") >= (int)sizeof(path))
		return;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fcntl(fd, F_SETFL, O_DIRECT);
	takes = ftruncate(fd, 4096) == 0 && gpu_file_add(g, fd) == 0;
	doctor_number(r, "takes_files", takes);
	if (!takes)
		doctor_cost(r, "cuFile does not take files of %s: %s.",
			    d->dir ? d->dir : ".", gpu_said(g));
	gpu_file_drop(g, fd);
	unlink(path);
}

/* The library is opened as the tier opens it: what it says is what is had. */
void doctor_cufile(const struct doctor *d, struct doctor_answer *a)
{
	struct gpu_options o = { .size = sizeof(o), .pieces = 2 };
	struct doctor_result *r = doctor_add(a, "cuFile");
	struct gpu_about about;
	struct gpu *g = NULL;
	char why[160];

	if (d->root[0]) {
		cufile_by_files(d, r);
		return;
	}
	if (gpu_open(&o, &g, why, sizeof(why))) {
		doctor_worsen(r, DOCTOR_MISSING);
		doctor_number(r, "library", 0);
		doctor_text(r, "mode", "none");
		doctor_value(r, "no GPU to read into: %s", why);
		cufile_bounces(r);
		return;
	}
	gpu_about(g, &about);
	cufile_says(r, &about);
	if (about.cufile && !about.direct) {
		gpu_close(g);
		g = NULL;
		o.compat = true;
		if (gpu_open(&o, &g, why, sizeof(why)))
			return;
	}
	gpu_about(g, &about);
	if (about.direct || strstr(about.why, "opened to go through"))
		cufile_file(d, g, r);
	gpu_close(g);
}
