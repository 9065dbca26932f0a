/* SPDX-License-Identifier: Apache-2.0 */
/* `onecopy serve`, and the server process that the keeper starts. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/sysfs.h"
#include "base/text.h"
#include "commands.h"
#include "config.h"
#include "keep.h"
#include "listen.h"
#include "shm/segment.h"

/* Descriptors that the keeper passes (keeper.c). */
#define SERVER_CONTROL_FD 3
#define SERVER_CONFIG_FD  4

static const struct cli_option serve_options[] = {
	CONFIG_OPTIONS,
	{ 'c', "config", "FILE", NULL, "YAML file, see onecopy.yaml(5)" },
	{ 'p', "print-config", NULL, NULL,
	  "print the configuration that would be used, and end" },
	CLI_END
};

struct serve_args {
	const char *file;
	bool print;
	unsigned cxl; /* how often it is there */
	bool exposed; /* the file has a password, and everybody can read it */
	/* files of a password and a token that options named */
	const char *password, *token;
};

/* Files of secrets are looked at again: who can read them? */
static void note_file(const struct cli *c, struct serve_args *args)
{
	args->cxl += strcmp(c->option->name, "cxl") == 0;
	if (strcmp(c->option->name, "resp-password-file") == 0)
		args->password = c->value;
	else if (strcmp(c->option->name, "http-token-file") == 0)
		args->token = c->value;
}

/* The file first, options over it, whatever their order on the line. */
static int read_options(const struct command *self, int argc, char **argv,
			struct node_config *config, struct serve_args *args,
			bool apply)
{
	struct cli c;
	int id;

	args->cxl = 0;
	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		char error[CONFIG_ERROR];

		note_file(&c, args);
		if (id == 'c')
			args->file = c.value;
		else if (id == 'p')
			args->print = true;
		else if (args->cxl > 1)
			return cli_fail(self, PROG_USAGE,
					"--cxl is there twice: there is one "
					"memory below DRAM at a time");
		else if (apply && config_apply_option(config, c.option->name,
						      c.value, error) < 0)
			return cli_fail(self, PROG_USAGE, "--%s: %s",
					c.option->name, error);
	}
	return id < 0 ? (c.status ? c.status : -1) : cli_words(&c, 0, 0);
}

static int check_memory(const struct command *self,
			const struct node_config *config)
{
	uint64_t memory, dram;
	char a[32], b[32], error[CONFIG_ERROR];

	if (config_memory(&memory) < 0)
		return cli_fail(self, PROG_SYSTEM,
				"cannot find out how much memory there is");
	dram = config_size_bytes(config->dram, memory);
	if (dram > memory)
		return cli_fail(self, PROG_REFUSED,
				"--dram %s is more than the memory there is "
				"(%s)",
				text_size(dram, a), text_size(memory, b));
	if (dram < 64 * 1024)
		return cli_fail(self, PROG_USAGE,
				"--dram %s is too little: 64 KiB at least",
				text_size(dram, a));
	if (config_tenants_check(config, dram, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	return 0;
}

/* The rung below takes from the same memory, but for a device: what the kernel
 * says that there is, and what a control group may have, is of all nodes. */
static int check_low_memory(const struct command *self,
			    const struct node_config *config)
{
	struct segment_source source;
	uint64_t memory, dram;
	char a[32], b[32], c[32];

	if (!*config->cxl.at)
		return 0;
	config_cxl_source(config, &source);
	if (source.kind == SEGMENT_DAX)
		return 0;
	if (config_memory(&memory) < 0)
		return cli_fail(self, PROG_SYSTEM,
				"cannot find out how much memory there is");
	dram = config_size_bytes(config->dram, memory);
	if (dram <= memory && config->cxl.size <= memory - dram)
		return 0;
	return cli_fail(self, PROG_REFUSED,
			"--dram %s and --cxl %s of %s are more than the memory "
			"there is (%s)",
			text_size(dram, a), config->cxl.at,
			text_size(config->cxl.size, b), text_size(memory, c));
}

static int check_nvme(const struct command *self,
		      const struct node_config *config)
{
	char error[CONFIG_ERROR];

	if (config_nvme_check(config, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	return 0;
}

/* The lock of a device lasts as long as this process, the keeper. */
static int check_cxl(const struct command *self, struct node_config *config)
{
	char error[CONFIG_ERROR];
	int lock;

	if (config_cxl_check(config, &lock, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	return check_low_memory(self, config);
}

static int check_region(const struct command *self, struct node_config *config)
{
	char error[CONFIG_ERROR];

	if (config_region_check(config, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	return 0;
}

static int print_config(const struct node_config *config)
{
	char path[CONFIG_PATH] = "", size[32];
	uint64_t memory = 0;

	config_memory(&memory);
	keep_socket_path(config, path, sizeof(path));
	printf("# socket: %s; dram: %s of %llu bytes\n", path,
	       text_size(config_size_bytes(config->dram, memory), size),
	       (unsigned long long)memory);
	config_print(config, stdout);
	return 0;
}

static int check_files(const struct command *self,
		       const struct node_config *config)
{
	char error[LISTEN_ERROR];

	if (listen_check_files(config, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	return 0;
}

/* A secret that everybody can read is none. NULL and "": there is no file. */
static void warn_exposed(const char *path, const char *what)
{
	struct stat st;

	if (path && *path && stat(path, &st) == 0 && st.st_mode & S_IROTH)
		log_warn("%s has %s, and every user of this machine can read "
			 "it: chmod o-r",
			 path, what);
}

static void warn_all_exposed(const struct node_config *config,
			     const struct serve_args *args)
{
	warn_exposed(args->password, "a password");
	warn_exposed(args->token, "a token");
	warn_exposed(config->resp.key, "a private key");
	warn_exposed(config->http.key, "a private key");
	for (uint32_t i = 0; i < config->n_tenants; i++)
		warn_exposed(config->tenants[i].token_file, "tokens");
}

/* A node with processors is their own DRAM: a rung there is none. */
static void warn_near(const struct node_config *config)
{
	struct segment_source source;
	char cpus[1024];
	cpu_set_t set;

	config_cxl_source(config, &source);
	if (!*config->cxl.at || source.kind != SEGMENT_NODE)
		return;
	if (sysfs_read("", cpus, sizeof(cpus),
		       "/sys/devices/system/node/node%d/cpulist",
		       source.node) < 0)
		return;
	if (sysfs_cpu_list(cpus, &set))
		log_warn("--cxl %s: processors %s are there: this is their "
			 "DRAM, no memory below it; see onecopy cxl list",
			 config->cxl.at, cpus);
}

static int run_node(const struct node_config *config,
		    const struct serve_args *args)
{
	log_to_stderr((enum log_level)config->log_level, "onecopy");
	if (args->exposed)
		log_warn("%s has a password or token, and every user of this "
			 "machine can read it: chmod o-r, or give its SHA-256",
			 args->file);
	warn_all_exposed(config, args);
	warn_near(config);
	return keeper_run(config);
}

static int serve_run(const struct command *self, int argc, char **argv)
{
	struct node_config config;
	struct serve_args args = { 0 };
	char error[CONFIG_ERROR];
	int r;

	config_defaults(&config);
	r = read_options(self, argc, argv, &config, &args, false);
	if (r != 0)
		return r < 0 ? 0 : r;
	if (args.file &&
	    config_load(args.file, &config, &args.exposed, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	r = read_options(self, argc, argv, &config, &args, true);
	if (r != 0)
		return r;
	r = check_memory(self, &config);
	if (r != 0)
		return r;
	if (config_region_settings_check(&config, error) < 0)
		return cli_fail(self, PROG_BAD_INPUT, "%s", error);
	if (args.print)
		return print_config(&config);
	r = check_files(self, &config);
	if (r == 0)
		r = check_nvme(self, &config);
	if (r == 0)
		r = check_cxl(self, &config);
	if (r == 0)
		r = check_region(self, &config);
	if (r != 0)
		return r;
	return run_node(&config, &args);
}

const struct command command_serve = {
	.name = "serve",
	.summary = "run a node: keeper and server",
	.usage = "[OPTIONS]",
	.options = serve_options,
	.run = serve_run,
};

/* Not for people: the keeper starts it with its descriptors in place. */
static int read_config(struct node_config *config, char error[CONFIG_ERROR])
{
	CLEANUP(mem_free_at) char *text = mem_alloc(CONFIG_BYTES_MAX);
	size_t len = 0;
	ssize_t n;

	if (!text)
		return -ENOMEM;
	while (len < CONFIG_BYTES_MAX && (n = read(SERVER_CONFIG_FD, text + len,
						   CONFIG_BYTES_MAX - len)) > 0)
		len += (size_t)n;
	if (!len)
		return -EBADF;
	return config_parse(text, len, "configuration", config, error);
}

static int server_command(const struct command *self, int argc, char **argv)
{
	char error[CONFIG_ERROR] = "it is started by onecopy serve";
	struct node_config config;

	(void)argc;
	(void)argv;
	if (fcntl(SERVER_CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0 ||
	    read_config(&config, error) < 0)
		return cli_fail(self, PROG_USAGE, "%s", error);
	close(SERVER_CONFIG_FD);
	log_to_stderr((enum log_level)config.log_level, "onecopy-server");
	return server_run(&config, SERVER_CONTROL_FD);
}

const struct command command_server = {
	.name = "server",
	.summary = "the server process of a node",
	.usage = "",
	.run = server_command,
	.hidden = true,
};
