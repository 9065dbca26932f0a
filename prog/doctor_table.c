/* SPDX-License-Identifier: Apache-2.0 */
/* The probes, in the order in which they are run and printed. */
#include <string.h>

#include "doctor.h"

#define PROBE(technique_, name_, ...)                      \
	{                                                  \
		.technique = (technique_), .name = #name_, \
		.run = doctor_##name_, __VA_ARGS__         \
	}

const struct doctor_probe doctor_probes[] = {
	PROBE(DOCTOR_NODE, memfd, .needed = true),
	PROBE(DOCTOR_NODE, pidfd, .needed = true),
	PROBE(DOCTOR_NODE, sockets, .needed = true),
	PROBE(DOCTOR_NODE, proc, .needed = true),
	PROBE(DOCTOR_NODE, events, .needed = true),
	PROBE(DOCTOR_NODE, wipe, .needed = true),
	PROBE(DOCTOR_NODE, memory, .needed = true),
	PROBE(DOCTOR_NODE, files, .needed = true),
	PROBE(DOCTOR_NODE, trial, .needed = true, .deadline_ms = 25000,
	      .measures = true),
	PROBE(DOCTOR_NODE, cgroup),
	PROBE(DOCTOR_NODE, pids),
	PROBE(DOCTOR_NODE, overcommit),
	PROBE(DOCTOR_NODE, seccomp),
	PROBE(DOCTOR_NODE, doors),
	PROBE(DOCTOR_CXL, cxl, .needed = true),
	PROBE(DOCTOR_CXL, dax),
	PROBE(DOCTOR_CXL, nodes, .measures = true, .deadline_ms = 30000),
	PROBE(DOCTOR_CXL, cxl_libraries),
	PROBE(DOCTOR_COHERENCE, processors, .needed = true),
	PROBE(DOCTOR_COHERENCE, caches),
	PROBE(DOCTOR_COHERENCE, instructions),
	PROBE(DOCTOR_COHERENCE, exchange, .needed = true, .measures = true),
	PROBE(DOCTOR_NETWORK, xdp, .needed = true),
	PROBE(DOCTOR_NETWORK, interfaces, .needed = true),
	PROBE(DOCTOR_NETWORK, rdma),
	PROBE(DOCTOR_NETWORK, network_libraries),
	PROBE(DOCTOR_STORAGE, direct, .needed = true, .measures = true),
	PROBE(DOCTOR_STORAGE, uring),
	PROBE(DOCTOR_STORAGE, gpu, .needed = true),
	PROBE(DOCTOR_STORAGE, rocm),
	PROBE(DOCTOR_STORAGE, cufile),
	PROBE(DOCTOR_SPACE, uffd, .needed = true),
	PROBE(DOCTOR_SPACE, pool_memory, .needed = true, .measures = true),
	PROBE(DOCTOR_SPACE, pages, .measures = true),
	PROBE(DOCTOR_SPACE, hugetlb),
	PROBE(DOCTOR_SPACE, maps),
	PROBE(DOCTOR_SPACE, memlock),
	PROBE(DOCTOR_ROUTING, keys, .needed = true, .measures = true),
	PROBE(DOCTOR_ROUTING, loopback, .needed = true),
	PROBE(DOCTOR_ROUTING, routing_libraries),
};
const size_t doctor_n_probes = ARRAY_LEN(doctor_probes);

static const struct {
	const char *id, *title;
} techniques[DOCTOR_TECHNIQUES] = {
	[DOCTOR_NODE] = { "node", "the node: the main job" },
	[DOCTOR_CXL] = { "cxl", "shared CXL memory" },
	[DOCTOR_COHERENCE] = { "coherence", "coherence between processors" },
	[DOCTOR_NETWORK] = { "network", "network cards that route by meaning" },
	[DOCTOR_STORAGE] = { "storage",
			     "storage that reads straight into devices" },
	[DOCTOR_SPACE] = { "space", "one address space over all memories" },
	[DOCTOR_ROUTING] = { "routing", "KV-cache routing" },
};

const char *doctor_technique_id(enum doctor_technique t)
{
	return techniques[t].id;
}

const char *doctor_technique_title(enum doctor_technique t)
{
	return techniques[t].title;
}

const char *doctor_state_name(unsigned state)
{
	static const char *const names[] = { "ok", "limited", "missing",
					     "broken" };

	return state < ARRAY_LEN(names) ? names[state] : "broken";
}

const struct doctor_probe *doctor_find(const char *name)
{
	for (size_t i = 0; i < doctor_n_probes; i++)
		if (strcmp(doctor_probes[i].name, name) == 0)
			return &doctor_probes[i];
	return NULL;
}
