/* SPDX-License-Identifier: Apache-2.0 */
/* Huge pages: what the kernel gives, and what a load costs without them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "doctor.h"
#include "tier/speed.h"
#include "shm/segment.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#define TRY_BYTES (64ull << 20)
#define LOOK_NS	  (20 * NS_PER_MS)

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* "always [madvise] never": the one in brackets. */
static void chosen(const char *text, char *word, size_t cap)
{
	const char *from = strchr(text, '[');
	const char *to = from ? strchr(from, ']') : NULL;

	word[0] = '\0';
	if (to && (size_t)(to - from) <= cap)
		snprintf(word, cap, "%.*s", (int)(to - from - 1), from + 1);
}

static void setting(const struct doctor *d, const char *file, char *word,
		    size_t cap)
{
	char text[128] = "";

	sysfs_read(d->root, text, sizeof(text), THP "%s", file);
	chosen(text, word, cap);
}

void doctor_judge_pages(const struct doctor *d, const struct doctor_pages *p,
			struct doctor_result *r)
{
	char enabled[32], shmem[32], loads[96] = "";

	setting(d, "enabled", enabled, sizeof(enabled));
	setting(d, "shmem_enabled", shmem, sizeof(shmem));
	doctor_text(r, "enabled", enabled);
	doctor_text(r, "shmem_enabled", shmem);
	doctor_number(r, "collapse", p->collapse == 0);
	if (p->small_ns > 0)
		doctor_number(r, "latency_4k_ns", p->small_ns);
	if (p->huge_ns > 0)
		doctor_number(r, "latency_2m_ns", p->huge_ns);
	doctor_value(r, "transparent: %s, shared: %s, MADV_COLLAPSE: %s",
		     enabled[0] ? enabled : "none", shmem[0] ? shmem : "none",
		     p->collapse ? strerror(-p->collapse) : "works");
	if (p->collapse == 0)
		return;
	if (p->made) {
		doctor_cost(r,
			    "Not tried: there is no shared memory to try it "
			    "on (%s).",
			    strerror(-p->made));
		return;
	}
	if (p->small_ns > 0)
		snprintf(loads, sizeof(loads),
			 ": a load from anywhere in a pool takes %.0f ns here",
			 p->small_ns);
	doctor_cost(r,
		    "The pool has pages of 4 KiB%s, 512 times as many "
		    "entries of the processor's table as with 2 MiB.",
		    loads);
	if (strcmp(enabled, "never") == 0)
		doctor_mend(r, "echo madvise > " THP "enabled");
	else if (shmem[0] && strcmp(shmem, "advise") != 0 &&
		 strcmp(shmem, "always") != 0)
		doctor_mend(r, "echo advise > " THP "shmem_enabled");
	else
		doctor_mend(r, "echo 1 > /proc/sys/vm/compact_memory");
}

/* Bytes of the mapping at `base` that huge pages back. */
static uint64_t huge_bytes(const void *base)
{
	char line[256], want[32];
	uint64_t kib = 0;
	bool here = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	snprintf(want, sizeof(want), "%" PRIxPTR "-", (uintptr_t)base);
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, want, strlen(want)) == 0)
			here = true;
		else if (here && sscanf(line, "ShmemPmdMapped: %" SCNu64 " kB",
					&kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kib * 1024;
}

static void pages_try(uint64_t bytes, struct doctor_pages *p)
{
	struct segment s = SEGMENT_NONE;

	p->made = segment_create("onecopy-doctor", bytes, 0, &s);
	p->collapse = p->made;
	if (p->made)
		return;
	if (huge_bytes(s.base) == 0)
		p->small_ns = speed_latency(s.base, bytes, LOOK_NS);
	if (madvise(s.base, bytes, MADV_COLLAPSE) < 0)
		p->collapse = -errno;
	else if (huge_bytes(s.base) == 0)
		p->collapse = -ENOTSUP;
	if (p->collapse == 0)
		p->huge_ns = speed_latency(s.base, bytes, LOOK_NS);
	segment_close(&s);
}

static void append_loads(struct doctor_result *r, const struct doctor_pages *p)
{
	size_t len = strlen(r->value);

	snprintf(r->value + len, sizeof(r->value) - len,
		 ": a load takes %.0f ns instead of %.0f", p->huge_ns,
		 p->small_ns);
}

void doctor_pages(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "huge pages");
	uint64_t bytes =
		MIN(TRY_BYTES, round_down_pow2(doctor_available(d) / 8));
	struct doctor_pages p = { 0 };

	pages_try(MAX(bytes, SEGMENT_HUGE_BYTES), &p);
	doctor_judge_pages(d, &p, r);
	if (p.small_ns > 0 && p.huge_ns > 0)
		append_loads(r, &p);
}

void doctor_hugetlb(const struct doctor *d, struct doctor_answer *a)
{
	static const char folder[] = "/sys/kernel/mm/hugepages";
	struct doctor_result *r = doctor_add(a, "hugetlb pools");
	char value[DOCTOR_TEXT] = "", fact[DOCTOR_NAME], size[32];
	struct sysfs_names names;
	uint64_t n, free, bytes;
	size_t used = 0;

	sysfs_list(d->root, folder, "hugepages-", &names);
	for (size_t i = 0; i < names.n; i++) {
		n = free = 0;
		bytes = strtoull(names.name[i] + strlen("hugepages-"), NULL,
				 10) *
			1024;
		sysfs_read_u64(d->root, &n, "%s/%s/nr_hugepages", folder,
			       names.name[i]);
		sysfs_read_u64(d->root, &free, "%s/%s/free_hugepages", folder,
			       names.name[i]);
		snprintf(fact, sizeof(fact), "pages_%" PRIu64, bytes);
		doctor_number(r, fact, (double)n);
		if (used < sizeof(value))
			used += (size_t)snprintf(
				value + used, sizeof(value) - used,
				"%s%s: %" PRIu64 ", %" PRIu64 " free",
				used ? "; " : "", text_size(bytes, size), n,
				free);
	}
	/* the pool does not use them (docs/design/memory.md) */
	doctor_value(r, "%s", names.n ? value : "the kernel has none");
}
