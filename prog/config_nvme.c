/* SPDX-License-Identifier: Apache-2.0 */
/* The tier below in the configuration: what the file and the options have of it,
 * and whether it can be there. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "base/log.h"
#include "base/text.h"
#include "config_internal.h"

void config_nvme_print(const struct node_config *config, FILE *out)
{
	if (!*config->nvme.path)
		return;
	fputs("nvme:\n", out);
	config_print_section(config, "nvme.", out);
}

uint64_t config_tenant_nvme(const struct node_config *config,
			    const char *tenant)
{
	for (uint32_t i = 0; i < config->n_tenants; i++)
		if (strcmp(config->tenants[i].name, tenant) == 0)
			return config_size_bytes(config->tenants[i].nvme,
						 config->nvme.size);
	return 0;
}

static int wrong_sort(const struct config_nvme *n, char error[CONFIG_ERROR])
{
	snprintf(error, CONFIG_ERROR,
		 "nvme: %.120s is no directory, no file and no block device",
		 n->path);
	return -EINVAL;
}

#define SEGMENTS_LEAST 8u /* of a log */

static int check_segment(const struct config_nvme *n, char error[CONFIG_ERROR])
{
	uint64_t segment = n->segment_bytes;

	if (segment & (segment - 1)) {
		snprintf(error, CONFIG_ERROR,
			 "nvme.segment: %llu bytes are no power of two: give "
			 "one from 1M to 1G, or auto",
			 (unsigned long long)segment);
		return -EINVAL;
	}
	if (segment > n->size / SEGMENTS_LEAST) {
		snprintf(error, CONFIG_ERROR,
			 "nvme.segment: %u segments of %llu bytes do not fit "
			 "into nvme.size: give a smaller one, or auto",
			 SEGMENTS_LEAST, (unsigned long long)segment);
		return -EINVAL;
	}
	return 0;
}

int config_nvme_check(const struct node_config *config,
		      char error[CONFIG_ERROR])
{
	const struct config_nvme *n = &config->nvme;
	struct stat st;

	if (!*n->path && (n->size || n->save)) {
		snprintf(error, CONFIG_ERROR,
			 "%s is there, and no place to keep blocks in: give "
			 "--nvme PATH:SIZE",
			 n->save ? "save-on-exit" : "nvme.size");
		return -EINVAL;
	}
	if (!*n->path)
		return 0;
	if (!n->size) {
		snprintf(error, CONFIG_ERROR,
			 "nvme: %.120s has no size: give nvme.size, or --nvme "
			 "PATH:SIZE",
			 n->path);
		return -EINVAL;
	}
	if (check_segment(n, error) < 0)
		return -EINVAL;
	if (stat(n->path, &st) < 0) {
		snprintf(error, CONFIG_ERROR, "nvme: %.120s: %s%s", n->path,
			 strerror(errno),
			 errno == ENOENT ? "; make a directory for it, or name "
					   "a file or block device"
					 : "");
		return -EINVAL;
	}
	return S_ISDIR(st.st_mode) || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)
		       ? 0
		       : wrong_sort(n, error);
}
