/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a devdax device is: memory that the kernel maps and otherwise leaves alone.
 * Its file has no size, takes no read or write, and gives EINVAL for a mapping
 * that is not of whole units of its alignment; what it is, sysfs tells.
 *
 * sysfs is asked by the device number of the descriptor itself, so a path that
 * names something else in the meantime deceives nobody.
 */
#ifndef ONECOPY_BASE_DAX_H
#define ONECOPY_BASE_DAX_H

#include "base/compiler.h"

/* Everything here is laid out, mapped and given away in such units. */
#define DAX_UNIT (2ull << 20)

/* The bytes of the device behind a descriptor. -EPROTO: it is none, or one whose
 * alignment our units are not whole numbers of. */
int dax_probe(int fd, uint64_t *ret_bytes);

/* The same of device `major:minor` as the files below a root tell it (sysfs.h). */
int dax_read(const char *root, unsigned major, unsigned minor,
	     uint64_t *ret_bytes);

#endif
