/*
 * In the ordinary builds a fuzz target has this main instead of libFuzzer's: one
 * test that feeds it the empty input and each file of its corpus, whose folder is
 * named by ONECOPY_FUZZ_CORPUS. The file under way is written out first, so that
 * a crash names its input.
 */
#include "tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	struct stat info;
	uint8_t *data;

	CHECK(fd >= 0);
	CHECK(fstat(fd, &info) == 0);
	if (S_ISREG(info.st_mode)) {
		fprintf(stderr, "input %s, %lld bytes\n", name,
			(long long)info.st_size);
		/* As large as the input and no larger: overreads are seen. */
		data = malloc((size_t)info.st_size);
		CHECK(data || info.st_size == 0);
		CHECK_INT(read(fd, data, (size_t)info.st_size), ==,
			  info.st_size);
		LLVMFuzzerTestOneInput(data, (size_t)info.st_size);
		free(data);
	}
	close(fd);
}

TEST(replay)
{
	const char *path = getenv("ONECOPY_FUZZ_CORPUS");
	struct dirent *entry;
	DIR *folder;

	fprintf(stderr, "the empty input\n");
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	folder = path ? opendir(path) : NULL;
	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] != '.')
			replay_file(dirfd(folder), entry->d_name);
	}
	closedir(folder);
}
