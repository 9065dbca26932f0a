/* SPDX-License-Identifier: Apache-2.0 */
/* The words that can follow "onecopy cxl", each a command with options and help of
 * its own. A new one: declared here, and in the table of cxl.c. */
#ifndef ONECOPY_PROG_CXL_H
#define ONECOPY_PROG_CXL_H

#include "commands.h"

extern const struct command cxl_command_list, cxl_command_format,
	cxl_command_join, cxl_command_leave, cxl_command_status,
	cxl_command_check, cxl_command_fence;

#endif
