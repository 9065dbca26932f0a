/* SPDX-License-Identifier: Apache-2.0 */
/* Of the finder's files alone. */
#ifndef ONECOPY_TIER_CXL_FIND_H
#define ONECOPY_TIER_CXL_FIND_H

#include "base/sysfs.h"
#include "tier/cxl/cxl.h"

struct finder {
	const char *root;
	struct sysfs_names *names; /* for whoever lists a folder */
	struct cxl_list *list;
};

/* A new entry, state READY; NULL: no room, and it was counted. */
struct cxl_memory *find_add(struct finder *f, enum cxl_kind kind,
			    const char *name);
/* It lies on that, too. */
void find_on(struct cxl_memory *m, const char *name);
/* Is the name the prefix and a number? */
bool find_numbered(const char *name, const char *prefix);
/* The figures in a folder; *claim stays as it was where there are none. */
void find_claim(const struct finder *f, const char *folder,
		struct cxl_claim *claim);

/* Nodes with processors, nodes without, and what those mean for dax devices. 0 or
 * -ENOMEM. */
int find_nodes(struct finder *f);

#endif
