/*
 * Proves tests/test.h: every fault planted in planted.c is charged to its own
 * test, and to no other.
 */
#include "tests/test.h"

#include <fcntl.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SELFTEST_RACES 1
#endif
#endif

static char selftest_output[1 << 18];

static int selftest_run(const char *name)
{
	char *const argv[] = { strdup("planted"), name ? strdup(name) : NULL,
			       NULL };
	char path[] = "/tmp/onecopy-selftest-XXXXXX";
	int status, fd = mkostemp(path, O_CLOEXEC);
	ssize_t got;
	pid_t pid;

	CHECK(fd >= 0);
	unlink(path);
	unsetenv("ONECOPY_TEST_HARNESS");
	setenv("ONECOPY_TEST_TIME_SCALE", "1", 1);
	setenv("ONECOPY_TEST_TIMEOUT", name ? "2" : "4", 1);
	CHECK(getenv("ONECOPY_PLANTED"));
	pid = fork();
	if (pid == 0) {
		dup2(fd, STDOUT_FILENO); /* words: the program's output */
		execv(getenv("ONECOPY_PLANTED"), argv);
		_exit(127);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	got = pread(fd, selftest_output, sizeof(selftest_output) - 1, 0);
	CHECK(got >= 0);
	selftest_output[got] = 0;
	close(fd);
	free(argv[0]);
	free(argv[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The one test ends with this status, and its output holds this text. */
static void selftest_expect(const char *name, int status, const char *text)
{
	int got = selftest_run(name);

	if (got != status || !strstr(selftest_output, text))
		FAIL("%s: status %d, wanted %d with \"%s\" in:\n%s", name, got,
		     status, text, selftest_output);
}

TEST(pass)
{
	selftest_expect("first_passes", 0, "ok 1 - first_passes\n");
}

TEST(failed_checks)
{
	selftest_expect("check_fails", 1,
			"CHECK_INT(small > 3): 2 (0x2) and 3 (0x3)");
	selftest_expect("check_fails", 1, "planted.c:");
	selftest_expect("call_fails", 1, "-22 (Invalid argument)");
	selftest_expect("string_differs", 1, "\"one\" and \"two\"");
	selftest_expect("memory_differs", 1, "byte 2 is 63 and 64");
}

TEST(crash)
{
	selftest_expect("crashes", 1, "not ok 1 - crashes");
	/* A sanitizer turns the signal into its report and an exit status. */
	CHECK(strstr(selftest_output, "# killed by signal 11 (") ||
	      strstr(selftest_output, "Sanitizer: SEGV"));
}

TEST(silent_exit)
{
	selftest_expect("leaves", 1, "# exit status 3");
}

TEST(skip)
{
	selftest_expect("skips", 77, "ok 1 - skips # SKIP no device here");
}

TEST(failure_in_a_child)
{
	selftest_expect("child_fails", 1, "in the child");
}

TEST(timeout)
{
	selftest_expect("hangs", 1, "# killed after 2 seconds");
}

/* The runner returns only when it has no descendant left. */
TEST(stray_processes_are_killed)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	selftest_expect("strays", 0, "ok 1 - strays");
	CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
	CHECK_INT(errno, ==, ECHILD);
}

#ifdef TEST_LEAKS
TEST(leak)
{
	selftest_expect("leaks", 1, "LeakSanitizer");
}

TEST(overrun)
{
	selftest_expect("overruns", 1, "heap-buffer-overflow");
}
#endif

#ifdef SELFTEST_RACES
TEST(race)
{
	selftest_expect("races", 1, "data race");
}
#endif

/* All in one run: the tests around the faults pass. */
TEST(neighbours_pass)
{
	CHECK_INT(selftest_run(NULL), ==, 1);
	CHECK(strstr(selftest_output, "1..16\n"));
	CHECK(strstr(selftest_output, "\nok 1 - first_passes\n"));
	CHECK(strstr(selftest_output, "\nok 6 - passes_between\n"));
	CHECK(strstr(selftest_output, "\nok 16 - last_passes\n"));
	CHECK(strstr(selftest_output, "\nnot ok 7 - crashes\n"));
}

TEST(unknown_name)
{
	CHECK_INT(selftest_run("nothing"), ==, 1);
}
