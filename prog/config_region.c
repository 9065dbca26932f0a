/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the CXL region that the node is a member of. */
#include "config.h"
#include "config_internal.h"
#include "base/text.h"
#include "region/region.h"
#include <errno.h>

void config_region_print(const struct node_config *config, FILE *out)
{
	if (!*config->region.path)
		return;
	fputs("region:\n", out);
	config_print_section(config, "region.", out);
}

static int wrong(const struct config_region *c, const char *what,
		 char error[CONFIG_ERROR])
{
	snprintf(error, CONFIG_ERROR, "region: %.120s %s", c->path, what);
	return -EINVAL;
}

static int no_region(const struct config_region *c, int r,
		     char error[CONFIG_ERROR])
{
	switch (r) {
	case -ENODATA:
		return wrong(c,
			     "holds no region: make one with onecopy cxl "
			     "format",
			     error);
	case -EPROTO:
		return wrong(c,
			     "holds a region that is damaged, or was cut "
			     "short: see onecopy cxl check",
			     error);
	case -EPROTONOSUPPORT:
		return wrong(c, "holds a region of another version of onecopy",
			     error);
	case -EMEDIUMTYPE:
		return wrong(c,
			     "is no memory: expected a devdax device, or a "
			     "file on tmpfs or hugetlbfs",
			     error);
	default:
		snprintf(error, CONFIG_ERROR, "region: %.120s: %s", c->path,
			 strerror(-r));
		return -EINVAL;
	}
}

/* Whoever maps the region sees all of it, so it is one tenant's: on every node
 * the one that it was made for. */
static int check_tenant(struct node_config *config, const char *made_for,
			char error[CONFIG_ERROR])
{
	struct config_region *c = &config->region;
	char text[112];

	if (!*c->tenant)
		text_copy(c->tenant, sizeof(c->tenant), made_for);
	if (strcmp(c->tenant, made_for)) {
		snprintf(text, sizeof(text),
			 "was made for the tenant \"%.64s\"", made_for);
		return wrong(c, text, error);
	}
	if (!config_has_tenant(config, c->tenant)) {
		snprintf(text, sizeof(text),
			 "is for the tenant \"%.64s\": add it under tenants",
			 c->tenant);
		return wrong(c, text, error);
	}
	return 0;
}

int config_region_settings_check(const struct node_config *config,
				 char error[CONFIG_ERROR])
{
	const struct config_region *c = &config->region;

	if (!*c->path) {
		if (!*c->tenant && !*c->name && c->shards == 1 && c->adopt &&
		    c->publish)
			return 0; /* nothing is asked for */
		snprintf(error, CONFIG_ERROR,
			 "region: there are settings of it, and no path: give "
			 "--region PATH");
		return -EINVAL;
	}
	if (!region_name_is_good(c->name)) {
		snprintf(error, CONFIG_ERROR,
			 "region: name \"%.64s\" cannot be a member's name: up "
			 "to %d printable characters of ASCII, and no number",
			 c->name, REGION_NAME);
		return -EINVAL;
	}
	return 0;
}

int config_region_check(struct node_config *config, char error[CONFIG_ERROR])
{
	struct config_region *c = &config->region;
	char tenant[REGION_NAME + 1];
	struct region *r = NULL;
	int e = config_region_settings_check(config, error);

	if (e < 0 || !*c->path)
		return e;
	e = region_open(c->path, &r);
	if (e)
		return no_region(c, e, error);
	region_tenant(r, tenant);
	region_close(r);
	return check_tenant(config, tenant, error);
}
