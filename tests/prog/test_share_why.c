/* SPDX-License-Identifier: Apache-2.0 */
/* A region that a node cannot join: what the log and the report say. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "region/region.h"
#include "share.h"
#include "tests/test.h"

static char last[512];
static unsigned lines;

static void hear(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	if (level == LOG_ERROR) {
		snprintf(last, sizeof(last), "%s", line);
		lines++;
	}
}

/* Once for each reason, however often it is tried. */
TEST(each_reason_is_logged_once)
{
	static struct node_config config;
	struct region_format_options o = { .size = sizeof(o),
					   .members = 2,
					   .shards = 1,
					   .frames = 4,
					   .frame_bytes = 4096,
					   .tenant = "another" };
	struct report report = { .store = NULL };
	struct region_geometry least;
	struct share h;
	int fd = memfd_create("onecopy-test-region", MFD_CLOEXEC);

	CHECK_INT(fd, >=, 0);
	snprintf(config.region.path, sizeof(config.region.path),
		 "/proc/%d/fd/%d", getpid(), fd);
	snprintf(config.region.tenant, sizeof(config.region.tenant), "mine");
	log_set(hear, NULL, LOG_INFO);
	share_begin(&h, &config, -1, NULL, &report, 0);
	CHECK_INT(lines, ==, 1);
	CHECK_STR(report.region_missing, strchr(last, '/'));
	share_turn(&h, NS_PER_S);
	share_turn(&h, 2 * NS_PER_S);
	CHECK_INT(lines, ==, 1);
	CHECK_OK(region_format_least(&o, &least));
	o.bytes = least.bytes;
	CHECK_OK(region_format(config.region.path, &o));
	share_turn(&h, 3 * NS_PER_S);
	share_turn(&h, 4 * NS_PER_S);
	CHECK_INT(lines, ==, 2);
	CHECK(strstr(last, "another tenant"));
	CHECK_STR(report.region_missing, strchr(last, '/'));
	share_end(&h);
	close(fd);
}
