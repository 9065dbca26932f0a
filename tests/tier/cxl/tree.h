/* SPDX-License-Identifier: Apache-2.0 */
/* A machine in a folder of the test: files as sysfs has them, with its links. */
#ifndef ONECOPY_TESTS_TIER_CXL_TREE_H
#define ONECOPY_TESTS_TIER_CXL_TREE_H

#include "base/compiler.h"

struct tree {
	char root[128];
};

void tree_make(struct tree *t);
/* Takes all of it away. */
void tree_end(struct tree *t);
/* A file, with the folders above it; "" is a folder's mark alone. */
void tree_put(const struct tree *t, const char *path, const char *text);
/* A link to another path of the tree. */
void tree_link(const struct tree *t, const char *path, const char *to);
/* Removes one file or link. */
void tree_cut(const struct tree *t, const char *path);

/* What an emulated machine showed (QEMU 10.0, Linux 6.12): processors on node 0,
 * and mem0, 512 MiB, whole in region0, whole in dax0.0, whose node is 2; device_dax
 * has it. */
void tree_cxl(const struct tree *t);
/* The same, but that kmem has dax0.0, and node2 is online. */
void tree_cxl_given(const struct tree *t);

#endif
