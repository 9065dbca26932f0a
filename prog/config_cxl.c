/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of the rung below DRAM: which memory it is, and how much of it.
 *
 *	node:N		the memory of a NUMA node
 *	/dev/daxX.Y	a devdax device, one tenant's
 *	memory		ordinary memory that stands in, for tests and trials
 */
#include "config.h"
#include "config_internal.h"
#include "base/dax.h"
#include "base/fault.h"
#include "base/text.h"
#include "region/region.h"
#include "shm/segment.h"
#include <errno.h>
#include <stdio.h>
#include <sys/file.h>

#define NODES_MOST 1024u
#define KIB	   1024u
/* Of what is free on a node at the start; the kernel needs some of it. */
#define NODE_PART(free) ((free) - (free) / 16)

void config_cxl_print(const struct node_config *config, FILE *out)
{
	if (!*config->cxl.at)
		return;
	fputs("cxl:\n", out);
	if (config->cxl.size) {
		config_print_section(config, "cxl.", out);
	} else { /* all of it: there is no number for that */
		fprintf(out, "  at: \"%s\"\n", config->cxl.at);
		if (*config->cxl.tenant)
			fprintf(out, "  tenant: \"%s\"\n", config->cxl.tenant);
	}
}

static bool is_node(const struct config_cxl *c, uint64_t *ret_node)
{
	return strncmp(c->at, "node:", 5) == 0 &&
	       text_parse_u64(c->at + 5, NODES_MOST - 1, ret_node) == 0;
}

static bool is_memory(const struct config_cxl *c)
{
	return strcmp(c->at, "memory") == 0;
}

/* Whatever machine it is: one of the three, and what only stands in has a size. */
static bool is_known(const struct config_cxl *c)
{
	uint64_t node;

	return is_memory(c) ? c->size != 0 : is_node(c, &node) || *c->at == '/';
}

/* The memory's name ends before a colon and a size; a node has one of its own. */
int config_cxl_option(struct node_config *config, const char *value,
		      char error[CONFIG_ERROR])
{
	static const char expected[] =
		"node:N[:SIZE], /dev/daxX.Y[:SIZE] or memory:SIZE";
	const struct config_cxl before = config->cxl;
	const char *from = value ? value : "", *colon;
	char at[CONFIG_FILE];

	if (strncmp(from, "node:", 5) == 0)
		from += 5;
	colon = strchr(from, ':');
	if (!value || !*from || (colon && !colon[1]) ||
	    strcspn(from, ":") + (size_t)(from - value) >= sizeof(at))
		return config_expected(value ? value : "", expected, error);
	snprintf(at, sizeof(at), "%.*s",
		 (int)(strcspn(from, ":") + (size_t)(from - value)), value);
	config->cxl.size = 0;
	if (setting_set(config, config_setting("cxl.at"), at, error) ||
	    (colon && setting_set(config, config_setting("cxl.size"), colon + 1,
				  error))) {
		config->cxl = before;
		return -EINVAL;
	}
	if (!is_known(&config->cxl)) {
		config->cxl = before;
		return config_expected(value, expected, error);
	}
	return 0;
}

void config_cxl_source(const struct node_config *config,
		       struct segment_source *ret_source)
{
	uint64_t node = 0;

	*ret_source = (struct segment_source){ .kind = SEGMENT_DAX, .fd = -1 };
	if (is_memory(&config->cxl))
		ret_source->kind = SEGMENT_STANDIN;
	else if (is_node(&config->cxl, &node))
		ret_source->kind = SEGMENT_NODE;
	ret_source->node = (int)node;
}

/* "Node 1 MemFree:   123 kB". -ENOENT: there is no such node. */
static int node_field(uint64_t node, const char *name, uint64_t *ret_bytes)
{
	char path[80], line[128];
	unsigned long long kib;
	int r = -EPROTO;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo",
		 (unsigned)node);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (r < 0 && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, name);

		if (at && sscanf(at + strlen(name), " %llu", &kib) == 1) {
			*ret_bytes = (uint64_t)kib * KIB;
			r = 0;
		}
	}
	fclose(f);
	return r;
}

static int wrong(char error[CONFIG_ERROR], const struct config_cxl *c,
		 const char *what)
{
	snprintf(error, CONFIG_ERROR, "cxl: %.120s %s", c->at, what);
	return -EINVAL;
}

static int check_node(struct config_cxl *c, uint64_t node,
		      char error[CONFIG_ERROR])
{
	uint64_t left = 0;

	if (node_field(node, "MemFree:", &left) < 0)
		return wrong(error, c,
			     "is not there: the kernel has no such node");
	left = NODE_PART(left) & ~(SEGMENT_DAX_UNIT - 1);
	if (c->size > left || !left)
		return wrong(error, c, "has not so much memory free");
	if (!c->size)
		c->size = left;
	return 0;
}

/* Members of a region may be at work in it, and no lock of theirs says so. */
static int check_no_region(const struct config_cxl *c, int fd,
			   char error[CONFIG_ERROR])
{
	int r = region_is_there(fd);

	if (r == -ENODATA)
		return 0;
	if (r == 0)
		return wrong(error, c,
			     "holds a region of several nodes, which onecopy "
			     "cxl format --force --none ends");
	return wrong(error, c, strerror(-r));
}

/* The lock keeps a second node off, whose slabs would lie on the same bytes, and
 * who would format a region there. */
static int check_device(struct config_cxl *c, int *ret_lock,
			char error[CONFIG_ERROR])
{
	uint64_t bytes;
	int fd, r = segment_dax_open(c->at, &fd, &bytes);

	if (r == -EPROTO)
		return wrong(error, c,
			     "is no devdax device with pages of 2 MiB");
	if (r < 0) {
		snprintf(error, CONFIG_ERROR, "cxl: %.120s: %s", c->at,
			 strerror(-r));
		return -EINVAL;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		fd_close(fd);
		return wrong(error, c,
			     "is another node's, or a region is made there");
	}
	r = check_no_region(c, fd, error);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	if (c->size > bytes) {
		fd_close(fd);
		return wrong(error, c, "is smaller than that");
	}
	c->size = (c->size ? c->size : bytes) & ~(SEGMENT_DAX_UNIT - 1);
	*ret_lock = fd;
	return 0;
}

int config_cxl_there(const struct node_config *config, int fd)
{
	uint64_t node, bytes = 0;
	int r;

	if (is_memory(&config->cxl))
		return 0;
	if (is_node(&config->cxl, &node)) {
		r = node_field(node, "MemTotal:", &bytes);
		return r < 0 ? r : bytes ? 0 : -ENODEV;
	}
	if (fd < 0)
		return -ENODEV;
	r = dax_probe(fd, &bytes);
	return r == -EPROTO || (r == 0 && !bytes) ? -ENODEV : r;
}

int config_cxl_check(struct node_config *config, int *ret_lock,
		     char error[CONFIG_ERROR])
{
	struct config_cxl *c = &config->cxl;
	uint64_t node;

	*ret_lock = -1;
	if (!*c->at) {
		if (!c->size && !*c->tenant)
			return 0;
		snprintf(error, CONFIG_ERROR,
			 "cxl.size is there, and no memory: give --cxl SPEC");
		return -EINVAL;
	}
	if (*c->tenant && !config_has_tenant(config, c->tenant))
		return wrong(error, c, "is for a tenant that is not there");
	if (is_memory(c))
		return c->size ? 0
			       : wrong(error, c,
				       "needs a size: give memory:SIZE");
	if (is_node(c, &node))
		return check_node(c, node, error);
	if (*c->at != '/')
		return wrong(error, c,
			     "is no memory that is known: expected "
			     "node:N, /dev/daxX.Y or memory");
	/* whoever holds its descriptor sees all of it */
	if (!*c->tenant)
		text_copy(c->tenant, sizeof(c->tenant),
			  config->tenants[0].name);
	return check_device(c, ret_lock, error);
}
