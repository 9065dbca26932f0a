/*
 * The runner behind tests/test.h; include that one.
 *
 * The runner is a single thread. It is the reaper of whatever a test leaves
 * behind (PR_SET_CHILD_SUBREAPER), so that a daemon which left its process group
 * is found as well. A test that takes too long is killed by the alarm's handler.
 */
#ifndef ONECOPY_TESTS_TEST_RUN_H
#define ONECOPY_TESTS_TEST_RUN_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_LEAKS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TEST_LEAKS 1
#endif
#ifdef TEST_LEAKS
int __lsan_do_recoverable_leak_check(void);
#endif

/* The section's bounds, made by the linker. */
extern const struct test_case *const __start_test_cases[] TEST_WEAK;
extern const struct test_case *const __stop_test_cases[] TEST_WEAK;

TEST_WEAK volatile sig_atomic_t test_timed_out;
TEST_WEAK volatile sig_atomic_t test_group; /* the running test's, or 0 */

TEST_STATIC void test_on_signal(int signo)
{
	if (test_group > 0)
		kill(-test_group, SIGKILL);
	if (signo != SIGALRM)
		_exit(1);
	test_timed_out = 1;
}

TEST_STATIC unsigned int test_env(const char *name, unsigned int normal)
{
	const char *text = getenv(name);
	unsigned long value = text ? strtoul(text, NULL, 10) : 0;

	return value > 0 && value < 100000 ? (unsigned int)value : normal;
}

__attribute__((noreturn)) TEST_STATIC void
test_child(const struct test_case *test, int output)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	dup2(output, STDOUT_FILENO); /* words: the test's own output */
	dup2(output, STDERR_FILENO); /* words: the test's own output */
	test->run();
	fflush(NULL);
#ifdef TEST_LEAKS
	if (__lsan_do_recoverable_leak_check()) {
		fputs("memory was leaked\n", stderr);
		_exit(1);
	}
#endif
	_exit(0);
}

/* Kill what the test left behind, until nothing is left. */
TEST_STATIC void test_reap(void)
{
	char line[4096];
	char *at, *end;
	FILE *list;
	pid_t pid;
	long left;

	for (;;) {
		list = fopen("/proc/thread-self/children", "re");
		if (list && fgets(line, sizeof(line), list)) {
			at = line;
			while ((left = strtol(at, &end, 10)) > 0) {
				kill((pid_t)left, SIGKILL);
				at = end;
			}
		}
		if (list)
			fclose(list);
		pid = waitpid(-1, NULL, list ? 0 : WNOHANG);
		if (pid == 0 || (pid < 0 && errno != EINTR))
			return;
	}
}

/* Print what the test wrote, as TAP comments; at most its last 64 KiB. */
TEST_STATIC void test_print_output(int output)
{
	off_t size = lseek(output, 0, SEEK_END);
	off_t at = size > 65536 ? size - 65536 : 0;
	char buffer[4096], last = '\n';
	ssize_t got;

	for (; (got = pread(output, buffer, sizeof(buffer), at)) > 0;
	     at += got) {
		for (ssize_t i = 0; i < got; i++) {
			if (last == '\n')
				fputs("# ", stdout);
			last = buffer[i] ? buffer[i] : '?';
			putchar(last);
		}
	}
	if (last != '\n')
		putchar('\n');
}

/* Wait for the test's first process, and end all the others. */
TEST_STATIC int test_wait(pid_t pid)
{
	siginfo_t info;
	int status = 0;

	/* The process stays a zombie, so that its group's number stays ours. */
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 &&
	       errno == EINTR)
		;
	alarm(0);
	kill(-pid, SIGKILL);
	test_group = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	test_reap();
	return status;
}

/* 0 passed, 1 failed, 77 skipped. */
TEST_STATIC int test_run_one(const struct test_case *test, unsigned int number)
{
	unsigned int limit = test_env("ONECOPY_TEST_TIMEOUT", 60) *
			     test_env("ONECOPY_TEST_TIME_SCALE", 1);
	int output = memfd_create("test-output", MFD_CLOEXEC);
	int status, skipped, failed;
	pid_t pid;

	memset(test_shared, 0, sizeof(*test_shared));
	test_timed_out = 0;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		test_child(test, output);
	if (pid < 0 || output < 0) {
		printf("Bail out! cannot start a test: %s\n", strerror(errno));
		_exit(1);
	}
	setpgid(pid, pid);
	test_group = pid;
	alarm(limit);
	status = test_wait(pid);

	skipped = WIFEXITED(status) && WEXITSTATUS(status) == 77;
	failed = (status != 0 && !skipped) || test_timed_out ||
		 test_shared->failed;
	printf("%s %u - %s%s%s\n", failed ? "not ok" : "ok", number, test->name,
	       skipped && !failed ? " # SKIP " : "",
	       skipped && !failed ? test_shared->skipped : "");
	if (test_shared->noted[0] && !failed)
		printf("# %s: %s\n", test->name, test_shared->noted);
	if (failed)
		test_print_output(output);
	if (test_timed_out)
		printf("# killed after %u seconds\n", limit);
	else if (WIFSIGNALED(status))
		printf("# killed by signal %d (%s)\n", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else if (failed)
		printf("# exit status %d\n", WEXITSTATUS(status));
	close(output);
	return failed ? 1 : skipped ? 77 : 0;
}

TEST_STATIC int test_compare(const void *a, const void *b)
{
	const struct test_case *const *x = a, *const *y = b;

	return ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

TEST_STATIC void test_prepare(void)
{
	struct sigaction action = { .sa_handler = test_on_signal };

	test_shared = mmap(NULL, sizeof(*test_shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (test_shared == MAP_FAILED)
		_exit(1);
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

TEST_WEAK int main(int argc, char **argv)
{
	size_t count = (size_t)(__stop_test_cases - __start_test_cases);
	const struct test_case **tests = calloc(count + 1, sizeof(*tests));
	const char *harness = getenv("ONECOPY_TEST_HARNESS");
	const char *name = argc > 1 ? argv[1] : NULL;
	unsigned int chosen = 0, failed = 0, skipped = 0;

	for (size_t i = 0; tests && i < count; i++) {
		if (name && strcmp(name, "-l") == 0)
			puts(__start_test_cases[i]->name);
		else if (!name ||
			 strcmp(name, __start_test_cases[i]->name) == 0)
			tests[chosen++] = __start_test_cases[i];
	}
	if (name && strcmp(name, "-l") == 0)
		return 0;
	if (chosen == 0) {
		fprintf(stderr, "%s: no such test\n", name ? name : "(none)");
		return 1;
	}
	qsort(tests, chosen, sizeof(*tests), test_compare);

	test_prepare();
	printf("1..%u\n", chosen);
	for (unsigned int i = 0; i < chosen; i++) {
		int result = test_run_one(tests[i], i + 1);

		failed += result == 1;
		skipped += result == 77;
	}
	free(tests);
	fflush(NULL);
	if (harness && strcmp(harness, "meson") == 0)
		return 0;
	return failed ? 1 : skipped == chosen ? 77 : 0;
}

#endif
