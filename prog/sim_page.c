/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the page of onecopy sim goes. A sweep takes long, and may be interrupted
 * or killed: the page is made under a name beside its own and renamed when it is
 * whole, so that nobody finds an empty one, or has lost the one before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "commands.h"
#include "sim_fleet.h"

static int page_fail(const struct sim_page *page, const struct command *command,
		     int error)
{
	return cli_fail(command, PROG_SYSTEM, "%s: %s", page->path,
			strerror(error));
}

/* A pipe, a terminal or a link is written in place. */
static bool replaceable(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT;
	return S_ISREG(st.st_mode);
}

static char *beside_of(const char *path)
{
	size_t cap = strlen(path) + 32;
	char *name = mem_alloc(cap);

	if (name)
		snprintf(name, cap, "%s.%ld.part", path, (long)getpid());
	return name;
}

int sim_page_open(struct sim_page *page, const struct command *command,
		  const char *path)
{
	int error;

	*page = (struct sim_page){ .path = path };
	if (!path)
		return 0;
	if (replaceable(path)) {
		page->beside = beside_of(path);
		if (!page->beside)
			return page_fail(page, command, ENOMEM);
	}
	page->out = fopen(page->beside ? page->beside : path, "we");
	if (page->out)
		return 0;
	error = errno;
	free(page->beside);
	page->beside = NULL;
	return page_fail(page, command, error);
}

int sim_page_put(struct sim_page *page, const struct command *command,
		 const struct sim_points *points)
{
	int r;

	if (!page->path)
		return 0;
	r = sim_points_html(points, page->out);
	if (fclose(page->out) && !r)
		r = -errno;
	page->out = NULL;
	if (!r && page->beside && rename(page->beside, page->path))
		r = -errno;
	if (r)
		return page_fail(page, command, -r);
	free(page->beside);
	page->beside = NULL;
	return 0;
}

void sim_page_drop(struct sim_page *page)
{
	if (page->out)
		fclose(page->out);
	page->out = NULL;
	if (page->beside)
		unlink(page->beside);
	free(page->beside);
	page->beside = NULL;
}
