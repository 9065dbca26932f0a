/* SPDX-License-Identifier: Apache-2.0 */
/* Processors: topology, caches, instructions, and what it costs to hand a cache
 * line from one to another. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"
#include "doctor.h"

#define EXCHANGE_NS  (20 * NS_PER_MS)
#define EXCHANGE_RUN 16u
#define HASH_BYTES   (4ull << 20)

static unsigned list_count(const char *text)
{
	cpu_set_t set;

	return sysfs_cpu_list(text, &set);
}

static unsigned allowed(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 0;
	return (unsigned)CPU_COUNT(&set);
}

static void processors_distance(const struct doctor *d, struct doctor_result *r,
				const struct sysfs_names *nodes)
{
	char text[256], fact[DOCTOR_NAME];

	for (size_t i = 0; i < nodes->n && i < 16; i++) {
		if (sysfs_read(d->root, text, sizeof(text),
			       "/sys/devices/system/node/%s/distance",
			       nodes->name[i]))
			continue;
		snprintf(fact, sizeof(fact), "distance_%.24s", nodes->name[i]);
		doctor_text(r, fact, text);
	}
}

void doctor_processors(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "processors");
	struct sysfs_names nodes;
	char text[256] = "", model[128] = "";
	unsigned online, mine = d->root[0] ? 0 : allowed();

	sysfs_read(d->root, text, sizeof(text),
		   "/sys/devices/system/cpu/online");
	sysfs_list(d->root, "/sys/devices/system/node", "node", &nodes);
	online = list_count(text);
	if (online == 0)
		online = (unsigned)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1l);
	doctor_number(r, "online", online);
	doctor_number(r, "nodes", (double)MAX(nodes.n, (size_t)1));
	processors_distance(d, r, &nodes);
	if (mine && mine < online)
		snprintf(model, sizeof(model), ", %u for this process", mine);
	if (mine)
		doctor_number(r, "allowed", mine);
	doctor_value(r, "%u online%s, %zu NUMA node%s", online, model,
		     MAX(nodes.n, (size_t)1), nodes.n > 1 ? "s" : "");
}

void doctor_caches(const struct doctor *d, struct doctor_answer *a)
{
	static const char at[] = "/sys/devices/system/cpu/cpu0/cache";
	struct doctor_result *r = doctor_add(a, "caches");
	char type[32], size[32], shared[64], value[DOCTOR_TEXT] = "";
	char fact[DOCTOR_NAME], bytes[32];
	struct sysfs_names names;
	uint64_t level, n;
	size_t used = 0;

	sysfs_list(d->root, at, "index", &names);
	for (size_t i = 0; i < names.n; i++) {
		if (sysfs_read_u64(d->root, &level, "%s/%s/level", at,
				   names.name[i]) ||
		    sysfs_read(d->root, type, sizeof(type), "%s/%s/type", at,
			       names.name[i]) ||
		    sysfs_read(d->root, size, sizeof(size), "%s/%s/size", at,
			       names.name[i]) ||
		    strcmp(type, "Instruction") == 0 ||
		    text_parse_size(size, 0, &n))
			continue;
		sysfs_read(d->root, shared, sizeof(shared),
			   "%s/%s/shared_cpu_list", at, names.name[i]);
		snprintf(fact, sizeof(fact), "l%u_bytes", (unsigned)level);
		doctor_number(r, fact, (double)n);
		used += (size_t)snprintf(value + used, sizeof(value) - used,
					 "%sL%u %s by %u", used ? ", " : "",
					 (unsigned)level, text_size(n, bytes),
					 MAX(list_count(shared), 1u));
		if (used >= sizeof(value))
			break;
	}
	doctor_value(r, "%s", value[0] ? value : "unknown");
}

/* ---- instructions ------------------------------------------------------------------- */

static const struct instruction {
	const char *flag, *without; /* NULL: nothing to say */
} instructions[] = {
	{ "sse4_2", NULL },
	{ "avx2", "copies and checksums are made by portable code" },
	{ "avx512f", NULL },
	{ "avx512bw", NULL },
	{ "avx512vl", NULL },
	{ "sha_ni", "keys are hashed without the processor's SHA-256" },
	{ "clflushopt", NULL },
	{ "clwb", "lines for memory that is not coherent are flushed out of "
		  "the cache, not written back" },
	{ "cldemote", NULL },
	{ "movdiri", NULL },
	{ "movdir64b", NULL },
	{ "enqcmd", NULL },
};

static bool has_flag(const char *flags, const char *flag)
{
	size_t len = strlen(flag);
	const char *at = flags;

	while ((at = strstr(at, flag)) != NULL) {
		if ((at == flags || at[-1] == ' ' || at[-1] == '\t') &&
		    (at[len] == ' ' || at[len] == '\0'))
			return true;
		at += len;
	}
	return false;
}

/* Bytes that are copied and hashed in a second, as into a frame. */
static double copy_rate(void)
{
	CLEANUP(mem_free_at) char *from = mem_alloc(HASH_BYTES);
	CLEANUP(mem_free_at) char *into = mem_alloc(HASH_BYTES);
	uint64_t best = UINT64_MAX, start;

	if (!from || !into)
		return 0;
	memset(from, 1, HASH_BYTES);
	for (unsigned i = 0; i < 4; i++) {
		start = clock_ns();
		hash_copy(into, from, HASH_BYTES, 0);
		best = MIN(best, MAX(clock_ns() - start, 1ull));
	}
	return (double)HASH_BYTES * 1e9 / (double)best;
}

void doctor_instructions(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "instructions");
	static char text[16384];
	char value[DOCTOR_TEXT] = "", *flags;
	double rate = d->root[0] ? 0 : copy_rate();
	size_t used = 0;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/cpuinfo") ||
	    ((flags = strstr(text, "\nflags")) == NULL &&
	     (flags = strstr(text, "\nFeatures")) == NULL)) {
		doctor_value(r, "unknown");
		return;
	}
	flags++;
	flags[strcspn(flags, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(instructions); i++) {
		const struct instruction *in = &instructions[i];
		bool has = has_flag(flags, in->flag);

		doctor_number(r, in->flag, has);
		if (has && used < sizeof(value))
			used += (size_t)snprintf(value + used,
						 sizeof(value) - used, "%s%s",
						 used ? " " : "", in->flag);
		if (has || !in->without)
			continue;
		if (rate > 0)
			doctor_cost(r,
				    "No %s: %s (%.1f GB/s copied and "
				    "hashed by one thread here).",
				    in->flag, in->without, rate / 1e9);
		else
			doctor_cost(r, "No %s: %s.", in->flag, in->without);
	}
	if (rate > 0)
		doctor_number(r, "copy_hash_bytes_per_s", rate);
	doctor_value(r, "%s", value[0] ? value : "none that matter");
}

/* ---- a line from one processor to another ------------------------------------------- */

struct exchange {
	_Alignas(CACHE_LINE) _Atomic uint32_t word; /* odd: the other's turn */
	_Alignas(CACHE_LINE) int cpu;
};

static void exchange_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

#define EXCHANGE_END UINT32_MAX

static void *exchange_other(void *arg)
{
	struct exchange *x = arg;
	uint32_t word;

	exchange_pin(x->cpu);
	for (;;) {
		/* pairs with the release stores of exchange_rounds() */
		word = atomic_load_explicit(&x->word, memory_order_acquire);
		if (word == EXCHANGE_END)
			return NULL;
		if (word & 1)
			atomic_store_explicit(&x->word, word + 1,
					      memory_order_release);
		else
			cpu_relax();
	}
}

/* The best of many short runs: in others one of the two had no processor. */
static double exchange_rounds(struct exchange *x)
{
	uint64_t start = clock_ns(), now = start, last = start;
	uint64_t best = UINT64_MAX;
	uint32_t rounds = 0;

	while (now - start < EXCHANGE_NS) {
		atomic_store_explicit(&x->word, 2 * rounds + 1,
				      memory_order_release);
		/* pairs with the release store of exchange_other() */
		while (atomic_load_explicit(&x->word, memory_order_acquire) !=
		       2 * rounds + 2)
			cpu_relax();
		rounds++;
		if (rounds % EXCHANGE_RUN)
			continue;
		now = clock_ns();
		best = MIN(best, now - last);
		last = now;
	}
	atomic_store_explicit(&x->word, EXCHANGE_END, memory_order_release);
	return (double)best / EXCHANGE_RUN;
}

static int exchange_measure(int here, int there, double *ret_ns)
{
	static struct exchange x;
	pthread_t other;
	int r;

	x = (struct exchange){ .cpu = there };
	exchange_pin(here);
	r = pthread_create(&other, NULL, exchange_other, &x);
	if (r)
		return -r;
	*ret_ns = exchange_rounds(&x);
	pthread_join(other, NULL);
	return 0;
}

/* First and last of the processors that this process may use: on a machine of
 * two sockets mostly the farthest. */
void doctor_exchange(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "line exchange");
	int first = -1, last = -1, e;
	cpu_set_t set;
	double ns;

	(void)d;
	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET((size_t)i, &set)) {
				first = first < 0 ? i : first;
				last = i;
			}
	if (first == last) {
		doctor_value(r, "one processor: nothing to exchange");
		doctor_cost(r, "Server and engines take turns on one "
			       "processor: each seal waits for a switch.");
		doctor_mend(r, "docker run --cpus 2");
		return;
	}
	e = exchange_measure(first, last, &ns);
	if (e) {
		doctor_failed(r, DOCTOR_BROKEN, "a thread", e);
		return;
	}
	doctor_number(r, "round_trip_ns", ns);
	doctor_value(r, "processor %d to %d and back: %.0f ns", first, last,
		     ns);
}
