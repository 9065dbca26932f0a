/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy cxl WORD: hands the rest of the line to the word's own command. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "cxl.h"

static const struct command *const verbs[] = {
	&cxl_command_list,  &cxl_command_format, &cxl_command_join,
	&cxl_command_leave, &cxl_command_status, &cxl_command_check,
	&cxl_command_fence,
};

/* "list" of "cxl list". */
static const char *verb_name(const struct command *command)
{
	return strchr(command->name, ' ') + 1;
}

static void cxl_help(const struct command *self)
{
	cli_help(self);
	printf("\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		printf("  %-10s %s\n", verb_name(verbs[i]), verbs[i]->summary);
	printf("\nonecopy cxl WORD --help tells more.\n");
}

static int cxl_run(const struct command *self, int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		cxl_help(self);
		return PROG_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(word, verb_name(verbs[i])) == 0)
			return verbs[i]->run(verbs[i], argc - 1, argv + 1);
	return cli_fail(
		self, PROG_USAGE,
		word[0] ? "no such word: %s; see onecopy cxl --help"
			: "a word has to follow; see onecopy cxl --help",
		word);
}

/* For the help: each word takes them itself. */
static const struct cli_option cxl_options[] = {
	{ 'j', "json", NULL, NULL, "with any word: print JSON" }, CLI_END
};

const struct command command_cxl = {
	.name = "cxl",
	.summary = "memory behind CXL links: what there is, and what is on it",
	.usage = "WORD [OPTIONS]",
	.options = cxl_options,
	.run = cxl_run,
};
