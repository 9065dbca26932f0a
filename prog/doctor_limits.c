/* SPDX-License-Identifier: Apache-2.0 */
/* Limits that hold the main job: memory, control groups, descriptors, maps. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/text.h"
#include "config.h"
#include "doctor.h"

/* A node of less does not do much: metadata, a few slabs, two processes. */
#define NODE_LEAST_BYTES (32ull << 20)
/* Descriptors: of the node itself; of each slab, each client. */
#define NODE_FILES   16u
#define SLAB_FILES   2u
#define CLIENT_FILES 5u
#define FILES_LEAST  20u /* a small node and one client: tried */
/* Of the default configuration at its fullest. */
#define SLABS_MOST   256u
#define CLIENTS_MOST 512u
/* Mappings that server and keeper have for each client at most. */
#define CLIENT_MAPS 8u
#define MAPS_LEAST  512u
#define MAPS_WANTED 1048576u
#define SPACE_RANGE 65536ull

/* ---- memory --------------------------------------------------------------------- */

struct group {
	char what[16]; /* "cgroup v2", "cgroup v1" */
	char path[512];
	uint64_t limit, current; /* UINT64_MAX: no limit */
};

static void group_at(const struct doctor *d, const char *base, const char *path,
		     const char *limit, const char *current, struct group *g)
{
	uint64_t most, now = 0;

	if (sysfs_read_u64(d->root, &most, "%s%s/%s", base, path, limit) ||
	    most >= g->limit)
		return;
	sysfs_read_u64(d->root, &now, "%s%s/%s", base, path, current);
	g->limit = most;
	g->current = now;
	snprintf(g->path, sizeof(g->path), "%s%s", base, path);
}

/* The group and all above it: the least limit holds. */
static void group_up(const struct doctor *d, const char *base, char *path,
		     bool second, struct group *g)
{
	for (;;) {
		char *slash = strrchr(path, '/');

		group_at(d, base, path,
			 second ? "memory.max" : "memory.limit_in_bytes",
			 second ? "memory.current" : "memory.usage_in_bytes",
			 g);
		if (!slash)
			return;
		*slash = '\0';
	}
}

/* "0::/path" or "4:memory:/path". */
static void group_line(const struct doctor *d, char *line, struct group *g)
{
	char *names = strchr(line, ':');
	char *path = names ? strchr(names + 1, ':') : NULL;

	if (!path)
		return;
	*names++ = '\0';
	*path++ = '\0';
	if (!*names) {
		if (!g->what[0])
			text_copy(g->what, sizeof(g->what), "cgroup v2");
		group_up(d, "/sys/fs/cgroup", path, true, g);
	} else if (strcmp(names, "memory") == 0) {
		text_copy(g->what, sizeof(g->what), "cgroup v1");
		group_up(d, "/sys/fs/cgroup/memory", path, false, g);
	}
}

static void group_find(const struct doctor *d, struct group *g)
{
	char text[8192], *line, *rest = text;
	uint64_t total = UINT64_MAX;

	*g = (struct group){ .limit = UINT64_MAX };
	if (sysfs_read(d->root, text, sizeof(text), "/proc/self/cgroup"))
		return;
	while ((line = strsep(&rest, "\n")))
		group_line(d, line, g);
	/* "no limit" of v1 is a number that no machine has */
	if (sysfs_read(d->root, text, sizeof(text), "/proc/meminfo") == 0)
		total = sysfs_field(text, "MemTotal");
	if (total && g->limit >= total)
		g->limit = UINT64_MAX;
}

uint64_t doctor_available(const struct doctor *d)
{
	char text[4096];
	uint64_t bytes = 0;
	struct group g;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/meminfo") == 0)
		bytes = sysfs_field(text, "MemAvailable");
	group_find(d, &g);
	if (g.limit != UINT64_MAX)
		bytes = MIN(bytes, g.limit - MIN(g.current, g.limit));
	return bytes;
}

/* What `onecopy serve` without options would take. */
static uint64_t node_dram(const struct doctor *d, uint64_t *ret_whole)
{
	struct node_config c;
	char text[4096];
	uint64_t whole = 0;
	struct group g;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/meminfo") == 0)
		whole = sysfs_field(text, "MemTotal");
	group_find(d, &g);
	whole = MIN(whole, g.limit);
	config_defaults(&c);
	*ret_whole = whole;
	return config_size_bytes(c.dram, whole);
}

void doctor_memory(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "memory");
	uint64_t whole, dram = node_dram(d, &whole), free = doctor_available(d);
	char x[32], y[32], z[32];

	doctor_number(r, "bytes", (double)whole);
	doctor_number(r, "available_bytes", (double)free);
	doctor_number(r, "default_dram_bytes", (double)dram);
	if (whole == 0) {
		doctor_failed(r, DOCTOR_MISSING, "/proc/meminfo", -ENOENT);
		doctor_cost(r, "A node cannot tell how much its share is.");
		doctor_mend(r, "mount -t proc proc /proc");
		return;
	}
	doctor_value(r, "%s, %s available; a node takes %s by default",
		     text_size(whole, x), text_size(free, y),
		     text_size(dram, z));
	if (free < NODE_LEAST_BYTES) {
		doctor_worsen(r, DOCTOR_MISSING);
		r->error = -ENOMEM;
		doctor_cost(r,
			    "The main job cannot run: %s are available, the "
			    "smallest node that is of use takes %s.",
			    y, text_size(NODE_LEAST_BYTES, z));
		doctor_mend(r, "docker run --memory 4g");
	} else if (dram > free) {
		doctor_limit(r, "less memory than the default %s", z);
		doctor_cost(r,
			    "The default node of %s does not fit into what is "
			    "available: grants would be refused at %s.",
			    z, y);
		doctor_mend(r, "onecopy serve --dram %" PRIu64 "M",
			    (free / 4 * 3) >> 20);
	}
}

void doctor_cgroup(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "control group");
	char most[32], now[32], what[64];
	struct group g;

	group_find(d, &g);
	doctor_text(r, "version", g.what[0] ? g.what : "none");
	snprintf(what, sizeof(what), "%s", g.what[0] ? g.what : "none");
	if (g.limit == UINT64_MAX) {
		doctor_value(r, "%s, no limit of memory", what);
		return;
	}
	doctor_text(r, "path", g.path);
	doctor_number(r, "limit_bytes", (double)g.limit);
	doctor_number(r, "current_bytes", (double)g.current);
	doctor_value(r, "%s, %s of %s used", what, text_size(g.current, now),
		     text_size(g.limit, most));
	doctor_cost(
		r,
		"The pool counts against %s, together with all processes of "
		"the group.",
		most);
	doctor_mend(r, "docker run --memory SIZE   (MemoryMax= in a unit)");
}

void doctor_pids(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "processes");
	struct rlimit l = { 0 };
	uint64_t most = UINT64_MAX, value;
	char text[8192], *line, *rest = text;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/self/cgroup"))
		text[0] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		char *pids = strstr(line, ":pids:");

		if (strncmp(line, "0::", 3) == 0 &&
		    sysfs_read_u64(d->root, &value, "/sys/fs/cgroup%s/pids.max",
				   line + 3) == 0)
			most = MIN(most, value);
		else if (pids &&
			 sysfs_read_u64(d->root, &value,
					"/sys/fs/cgroup/pids%s/pids.max",
					pids + 6) == 0)
			most = MIN(most, value);
	}
	if (!d->root[0] && getrlimit(RLIMIT_NPROC, &l) == 0 &&
	    l.rlim_cur != RLIM_INFINITY && geteuid() != 0)
		most = MIN(most, (uint64_t)l.rlim_cur);
	if (most == UINT64_MAX) {
		doctor_value(r, "no limit");
		return;
	}
	doctor_number(r, "limit", (double)most);
	doctor_value(r, "%" PRIu64 " processes and threads at most", most);
	if (most < 64) {
		doctor_cost(r,
			    "A node has about 8 threads, an engine hundreds: "
			    "%" PRIu64 " are soon used.",
			    most);
		doctor_mend(r, "docker run --pids-limit 4096");
	}
}

void doctor_overcommit(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "overcommit");
	uint64_t mode = 0, percent = 50;
	char text[4096], left[32];

	if (sysfs_read_u64(d->root, &mode, "/proc/sys/vm/overcommit_memory")) {
		doctor_value(r, "unknown");
		return;
	}
	doctor_number(r, "mode", (double)mode);
	if (mode != 2) {
		doctor_value(r, "%s (%" PRIu64 ")",
			     mode ? "always" : "heuristic", mode);
		return;
	}
	sysfs_read_u64(d->root, &percent, "/proc/sys/vm/overcommit_ratio");
	if (sysfs_read(d->root, text, sizeof(text), "/proc/meminfo"))
		text[0] = '\0';
	text_size(sysfs_field(text, "CommitLimit") -
			  MIN(sysfs_field(text, "CommitLimit"),
			      sysfs_field(text, "Committed_AS")),
		  left);
	doctor_value(r, "strict (2), %s can still be promised", left);
	doctor_cost(r,
		    "Reserved addresses count as memory: the pool and all "
		    "else together can take %s more.",
		    left);
	doctor_mend(r, "sysctl -w vm.overcommit_memory=0");
}

/* ---- descriptors, locked memory, maps -------------------------------------------- */

void doctor_judge_files(uint64_t nofile, struct doctor_result *r)
{
	uint64_t all = NODE_FILES + SLABS_MOST * SLAB_FILES +
		       CLIENTS_MOST * CLIENT_FILES;
	uint64_t left = nofile - MIN(nofile, (uint64_t)NODE_FILES);

	doctor_number(r, "hard_limit", (double)nofile);
	doctor_number(r, "wanted", (double)all);
	doctor_value(r, "%" PRIu64 " descriptors", nofile);
	if (nofile >= all)
		return;
	if (nofile < FILES_LEAST) {
		doctor_worsen(r, DOCTOR_MISSING);
		r->error = -EMFILE;
		doctor_cost(r,
			    "The main job cannot run: the smallest node takes "
			    "%u descriptors.",
			    FILES_LEAST);
	} else {
		doctor_limit(r,
			     "%" PRIu64 " descriptors: about %" PRIu64
			     " clients at a time",
			     nofile, MAX(left / 2 / CLIENT_FILES, (uint64_t)1));
		doctor_cost(r,
			    "A slab takes %u of the %" PRIu64
			    " and a client %u: %" PRIu64 " slabs, or %" PRIu64
			    " clients; a full node has %u and %u.",
			    SLAB_FILES, nofile, CLIENT_FILES, left / SLAB_FILES,
			    left / CLIENT_FILES, SLABS_MOST, CLIENTS_MOST);
	}
	doctor_mend(r, "ulimit -n 1048576   (docker run --ulimit "
		       "nofile=1048576; LimitNOFILE= in a unit)");
}

void doctor_files(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "descriptors");
	struct rlimit l;

	(void)d;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0) {
		doctor_failed(r, DOCTOR_BROKEN, "getrlimit", -errno);
		return;
	}
	/* the keeper raises the soft limit to the hard one */
	doctor_number(r, "soft_limit", (double)l.rlim_cur);
	doctor_judge_files(
		l.rlim_max == RLIM_INFINITY ? UINT32_MAX : l.rlim_max, r);
}

void doctor_memlock(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "locked memory");
	uint64_t whole, dram = node_dram(d, &whole);
	struct rlimit l;
	char x[32], y[32];

	if (getrlimit(RLIMIT_MEMLOCK, &l) < 0) {
		doctor_failed(r, DOCTOR_BROKEN, "getrlimit", -errno);
		return;
	}
	if (l.rlim_cur == RLIM_INFINITY) {
		doctor_value(r, "no limit");
		return;
	}
	doctor_number(r, "limit_bytes", (double)l.rlim_cur);
	doctor_value(r, "%s", text_size(l.rlim_cur, x));
	if (l.rlim_cur >= dram || geteuid() == 0)
		return;
	doctor_cost(r,
		    "Of a pool of %s no more than %s can be registered with a "
		    "network card or with io_uring: the rest is copied or "
		    "pinned again for each transfer.",
		    text_size(dram, y), x);
	doctor_mend(r, "ulimit -l unlimited   (docker run --ulimit memlock=-1; "
		       "LimitMEMLOCK=infinity in a unit)");
}

static uint64_t maps_of_node(void)
{
	return SLABS_MOST * 2 + CLIENTS_MOST * CLIENT_MAPS + 200;
}

void doctor_maps(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "mappings");
	uint64_t most, full = maps_of_node();
	char x[32];
	int e = sysfs_read_u64(d->root, &most, "/proc/sys/vm/max_map_count");

	if (e) {
		doctor_value(r, "vm.max_map_count cannot be read");
		return;
	}
	doctor_number(r, "max_map_count", (double)most);
	doctor_value(r, "vm.max_map_count %" PRIu64, most);
	if (most >= MAPS_WANTED)
		return;
	doctor_cost(r,
		    "One process can have %" PRIu64
		    " ranges: placed singly in blocks of 64 KiB, that is %s of "
		    "address space.",
		    most, text_size(most * SPACE_RANGE, x));
	doctor_mend(r, "sysctl -w vm.max_map_count=%u", MAPS_WANTED);
	if (most >= full)
		return;
	doctor_limit(r, "vm.max_map_count %" PRIu64, most);
	doctor_cost(r,
		    "A full node of %u slabs and %u clients needs %" PRIu64
		    " mappings: with %" PRIu64 " it refuses clients before.",
		    SLABS_MOST, CLIENTS_MOST, full, most);
	doctor_mend(r, "sysctl -w vm.max_map_count=%u", MAPS_WANTED);
	if (most < MAPS_LEAST) {
		doctor_worsen(r, DOCTOR_MISSING);
		r->error = -ENOMEM;
	}
}

void doctor_seccomp(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "filters");
	bool filter = doctor_filtered(d);
	uint64_t no_new = 0;
	char text[8192];
	const char *at;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/self/status") == 0 &&
	    (at = strstr(text, "\nNoNewPrivs:")) != NULL)
		no_new = strtoull(at + strlen("\nNoNewPrivs:"), NULL, 10);
	doctor_number(r, "seccomp", filter);
	doctor_number(r, "no_new_privileges", (double)no_new);
	doctor_value(r, "%s",
		     filter ? "a seccomp filter is at work"
			    : "no seccomp filter");
}

void doctor_doors(const struct doctor *d, struct doctor_answer *a)
{
	(void)d;
	doctor_library(a, "libmicrohttpd", "libmicrohttpd.so.12",
		       "libmicrohttpd12",
		       "No HTTP door: no /metrics, no /health.");
	doctor_library(a, "OpenSSL", "libssl.so.3", "libssl3",
		       "No TLS at the doors: they listen on loopback alone.");
}
