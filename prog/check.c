/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy check: let a node recount everything that it knows. */
#include <stdio.h>

#include "ask.h"
#include "commands.h"

static const struct cli_option check_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	ASK_TOKEN_OPTION,
	{ 'j', "json", NULL, NULL, "print the node's JSON" },
	CLI_END
};

static void check_print(const json_t *root)
{
	json_t *checked = json_object_get(root, "checked"), *value;
	json_t *problems = json_object_get(root, "problems");
	const char *name;
	char text[64];
	size_t i;

	json_object_foreach(checked, name, value) {
		ask_value(name, value, text, sizeof(text));
		printf("  %-18s %s\n", name, text);
	}
	json_array_foreach(problems, i, value)
		printf("problem: %s\n", json_string_value(value));
	printf("%zu problem%s\n", json_array_size(problems),
	       json_array_size(problems) == 1 ? "" : "s");
}

static int check_node(const struct command *self, oc_client *c, bool json)
{
	json_t *root = NULL;
	int r = ask_json(c, "check", NULL, &root);

	if (r)
		return cli_fail(self, r < 0 ? (int)exit_of(r) : PROG_FAILED,
				"%s", oc_strerror(r));
	if (json) {
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		check_print(root);
	}
	/* An answer without the list is no clean bill. */
	r = json_is_array(json_object_get(root, "problems")) &&
			    json_array_size(
				    json_object_get(root, "problems")) == 0
		    ? PROG_OK
		    : PROG_FAILED;
	json_decref(root);
	return r;
}

static int check_run(const struct command *self, int argc, char **argv)
{
	const char *socket = NULL;
	oc_client *client;
	bool json = false;
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == 'n')
			socket = c.value;
		else if (id == ASK_TOKEN)
			r = ask_token(&c);
		else
			json = true;
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	r = ask_connect(socket, &client);
	if (r)
		return exit_of(r);
	r = check_node(self, client, json);
	oc_client_close(client);
	return r;
}

const struct command command_check = {
	.name = "check",
	.summary = "let a node recount everything that it knows",
	.usage = "[OPTIONS]",
	.options = check_options,
	.run = check_run,
};
