/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of this process in the kernel's files. */
#include <stdlib.h>

#include "doctor.h"

bool doctor_filtered(const struct doctor *d)
{
	char text[8192];
	const char *at;

	if (sysfs_read(d->root, text, sizeof(text), "/proc/self/status"))
		return false;
	at = strstr(text, "\nSeccomp:");
	return at && strtoul(at + strlen("\nSeccomp:"), NULL, 10) == 2;
}
