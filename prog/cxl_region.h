/* SPDX-License-Identifier: Apache-2.0 */
/* What the words of "onecopy cxl" that work on a region have in common. */
#ifndef ONECOPY_PROG_CXL_REGION_H
#define ONECOPY_PROG_CXL_REGION_H

#include <jansson.h>

#include "commands.h"
#include "region/region.h"

/* A line that says so stands wherever figures or contents are shown. */
#define CXL_STANDS_IN "ordinary memory stands in for CXL"
bool cxl_stands_in(const struct region *r);

#define CXL_LOST \
	"its memory fails: the file was cut, or the device has lost a page"

/* From now on memory of this path that fails outside of a guard ends the process with
 * a message, and a status of its own. */
void cxl_catch(const struct command *command, const char *path);
/* The only word left is the region's path. Opens it, or says what is wrong: 0 or
 * an exit status; cxl_catch() included. */
int cxl_open(const struct cli *c, struct region **ret_region);
/* Says what an answer of region.h means; returns the exit status. */
int cxl_say(const struct command *command, const char *path, int r);
/* One life of a member; `join` and `status` tell both. */
struct cxl_id {
	uint32_t member;
	uint64_t inc;
};
/* A member by its number (who has it now), "NUMBER.INCARNATION", or its name: of a
 * living one rather than of a dead one, and with `only` if nobody else has it, be
 * he alive or dead. 0, or an exit status and it was said. */
int cxl_member(const struct command *command, struct region *r,
	       const char *word, bool only, struct cxl_id *ret_id);
const char *cxl_state_name(enum member_state state);

/* {path-independent facts}: id, kind, sizes. New reference. */
json_t *cxl_region_json(const struct region *r);
/* Two spaces and a line. */
void cxl_region_print(const struct region *r);

#endif
