/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: what is accepted prints as something equal. */
#include "prog/config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONFIG_ERROR] = "", *text = NULL;
	struct node_config config, back;
	size_t len = 0;
	FILE *out;

	if (config_parse((const char *)data, size, "fuzz", &config, error)) {
		must(error[0] && memchr(error, 0, sizeof(error)));
		must(!strchr(error, '\n'));
		return 0;
	}
	out = open_memstream(&text, &len);
	must(out);
	config_print(&config, out);
	must(fclose(out) == 0);
	must(config_parse(text, len, "printed", &back, error) == 0);
	must(memcmp(&config, &back, sizeof(config)) == 0);
	free(text);
	return 0;
}
