/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/run.h"

#include <dirent.h>
#include <fcntl.h>

#include "onecopy/onecopy.h"
#include "tests/test.h"

static const char *run_binary(void)
{
	const char *path = getenv("ONECOPY_BIN");

	if (!path)
		SKIP("ONECOPY_BIN does not name the program");
	return path;
}

_Noreturn static void run_exec(const char *const *words)
{
	const char *argv[64] = { "onecopy" };
	size_t n = 1;

	for (; *words; words++) {
		CHECK_INT(n, <, 63);
		argv[n++] = *words;
	}
	execv(run_binary(), (char **)(uintptr_t)argv);
	FAIL("%s: %s", run_binary(), strerror(errno));
}

/* A file of no name that a child writes and the test reads. */
static int run_file(void)
{
	int fd = memfd_create("output", MFD_CLOEXEC);

	CHECK_INT(fd, >=, 0);
	return fd;
}

static char *run_read(int fd)
{
	char *text = calloc(1, RUN_OUTPUT + 1);
	ssize_t n;

	CHECK(text != NULL);
	n = pread(fd, text, RUN_OUTPUT, 0);
	CHECK_INT(n, >=, 0);
	close(fd);
	return text;
}

int run_end(pid_t pid, int signo)
{
	int status;

	if (signo)
		kill(pid, signo);
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct run run_program(const char *const *words)
{
	int out = run_file(), err = run_file();
	struct run r;
	pid_t pid;

	run_binary(); /* skips here, not in the child */
	pid = fork();

	CHECK_INT(pid, >=, 0);
	if (pid == 0) {
		CHECK_INT(dup2(out, 1), ==, 1); /* words: its own output */
		CHECK_INT(dup2(err, 2), ==, 2); /* words: its own output */
		run_exec(words);
	}
	r.status = run_end(pid, 0);
	r.out = run_read(out);
	r.err = run_read(err);
	if (r.err[0])
		fprintf(stderr, "%s", r.err);
	return r;
}

void run_free(struct run *r)
{
	free(r->out);
	free(r->err);
}

pid_t run_start(const char *const *words)
{
	pid_t pid;

	run_binary(); /* skips here, not in the child */
	pid = fork();

	CHECK_INT(pid, >=, 0);
	if (pid == 0)
		run_exec(words);
	return pid;
}

json_t *run_json(const struct run *r)
{
	json_error_t error;
	json_t *root = json_loads(r->out, 0, &error);

	if (!root)
		FAIL("no JSON: line %d: %s\n%s", error.line, error.text,
		     r->out);
	return root;
}

static char run_folder[64];

const char *run_dir(void)
{
	if (!run_folder[0]) {
		snprintf(run_folder, sizeof(run_folder),
			 "/tmp/onecopy-test-XXXXXX");
		CHECK(mkdtemp(run_folder) != NULL);
	}
	return run_folder;
}

void run_clean(void)
{
	struct dirent *entry;
	DIR *dir = run_folder[0] ? opendir(run_folder) : NULL;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(run_folder);
	run_folder[0] = '\0';
}

pid_t run_node(const char *dram, char socket[108])
{
	return run_node_with(dram, "lru", socket);
}

pid_t run_node_with(const char *dram, const char *eviction, char socket[108])
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = socket,
		.read_only = true,
	};
	oc_client *c;
	pid_t pid;
	int r;

	snprintf(socket, 108, "%s/node.sock", run_dir());
	pid = run_start((const char *const[]){
		"serve", "--socket", socket, "--dram", dram, "--resp", "off",
		"--http", "off", "--eviction", eviction, NULL });
	/* Bounded by the test's own time. */
	do {
		CHECK_INT(waitpid(pid, NULL, WNOHANG), ==, 0);
		r = oc_client_connect(&options, &c, NULL);
	} while (r == -ENOENT || r == -ECONNREFUSED || r == -ETIMEDOUT);
	CHECK_OK(r);
	oc_client_close(c);
	return pid;
}

const char *run_trace(unsigned requests, unsigned sessions, unsigned turns,
		      unsigned step)
{
	static char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace.jsonl", run_dir());
	f = fopen(path, "we");
	CHECK(f != NULL);
	for (unsigned i = 0; i < requests; i++) {
		unsigned slot = i % sessions, turn = i / sessions;
		unsigned session = slot + turn / turns * sessions;
		unsigned n = (turn % turns + 1) * step;

		fprintf(f,
			"{\"timestamp\": %u, \"input_length\": %u, "
			"\"output_length\": 9, \"session\": %u, "
			"\"hash_ids\": [0",
			i * 10, n * 512, session);
		for (unsigned k = 1; k < n; k++)
			fprintf(f, ", %u", session * turns * step + k);
		fprintf(f, "]}\n");
	}
	fclose(f);
	return path;
}
