/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/llama/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"

#define CACHE_MOST (64u << 10) /* then it is begun anew */
#define NAME_BYTES 160	       /* of a file's identity as text */
#define RACY_S	   2
#define SPLITS_MAX 4096u

static long long ns_of(struct timespec t)
{
	return (long long)t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void name_of(const struct stat *st, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "%llu %llu %llu %lld %lld ",
		 (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
		 (unsigned long long)st->st_size, ns_of(st->st_mtim),
		 ns_of(st->st_ctim));
}

/* ---- the cache */

int digest_cache_path(char *buf, size_t cap)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	bool given = base && base[0] == '/';
	size_t at;
	int n;

	if (!given && (!home || home[0] != '/'))
		return -ENOENT;
	n = snprintf(buf, cap, "%s%s", given ? base : home,
		     given ? "" : "/.cache");
	if (n < 0 || (size_t)n + 32 > cap)
		return -ENAMETOOLONG;
	at = (size_t)n;
	mkdir(buf, 0700);
	at += (size_t)snprintf(buf + at, cap - at, "/onecopy");
	mkdir(buf, 0700);
	snprintf(buf + at, cap - at, "/llama-digests");
	return 0;
}

static int cache_open(const char *cache, int flags, struct stat *ret_st)
{
	int fd = open(cache, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (fstat(fd, ret_st) || !S_ISREG(ret_st->st_mode) ||
	    ret_st->st_uid != geteuid() || (ret_st->st_mode & 022))
		return fd_close(fd), -EACCES;
	return fd;
}

static bool cache_line(char *line, const char *name, uint8_t *ret_digest)
{
	size_t len = strlen(name);

	line[strcspn(line, "\n")] = '\0';
	return strncmp(line, name, len) == 0 &&
	       text_parse_hex(line + len, ret_digest, DIGEST_BYTES) == 0;
}

static bool cache_find(const char *cache, const char *name, uint8_t *ret_digest)
{
	char line[NAME_BYTES + 2 * DIGEST_BYTES + 2];
	struct stat st;
	bool found = false;
	int fd = cache_open(cache, O_RDONLY, &st);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

	if (!f) {
		fd_close(fd < 0 ? -1 : fd);
		return false;
	}
	while (fgets(line, sizeof(line), f))
		found |= cache_line(line, name, ret_digest);
	fclose(f);
	return found;
}

/* One write, so that lines of several processes do not mix. */
static void cache_add(const char *cache, const char *name,
		      const uint8_t *digest)
{
	char line[NAME_BYTES + 2 * DIGEST_BYTES + 2], hex[2 * DIGEST_BYTES + 1];
	struct stat st;
	int fd, n;

	text_hex(digest, DIGEST_BYTES, hex);
	n = snprintf(line, sizeof(line), "%s%s\n", name, hex);
	fd = cache_open(cache, O_WRONLY | O_CREAT | O_APPEND, &st);
	if (fd < 0)
		return;
	if ((st.st_size <= CACHE_MOST || ftruncate(fd, 0) == 0) &&
	    write(fd, line, (size_t)n) != n)
		(void)ftruncate(fd, 0);
	fd_close(fd);
}

/* ---- hashing */

static int hash_map(int fd, size_t size, uint8_t *ret_digest)
{
	struct hash_piece piece = { .len = size };
	void *p;
	int r;

	if (size == 0)
		return -EINVAL;
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	madvise(p, size, MADV_SEQUENTIAL);
	piece.data = p;
	r = hash_sha256(&piece, 1, ret_digest);
	munmap(p, size);
	return r;
}

static int hash_open(int fd, const struct stat *before, const char *cache,
		     uint8_t *ret_digest)
{
	char name[NAME_BYTES], name_after[NAME_BYTES];
	struct timespec now;
	struct stat after;
	int r = hash_map(fd, (size_t)before->st_size, ret_digest);

	if (r)
		return r;
	if (fstat(fd, &after))
		return -errno;
	name_of(before, name);
	name_of(&after, name_after);
	if (strcmp(name, name_after))
		return -EAGAIN;
	clock_gettime(CLOCK_REALTIME, &now);
	if (cache && now.tv_sec - after.st_ctim.tv_sec > RACY_S)
		cache_add(cache, name, ret_digest);
	return 0;
}

static int digest_file(const char *path, const char *cache, uint8_t *ret_digest)
{
	char name[NAME_BYTES];
	struct stat st;
	int r, fd;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st)) {
		r = -errno;
	} else if (!S_ISREG(st.st_mode)) {
		r = -EINVAL;
	} else {
		name_of(&st, name);
		r = 0;
		if (!cache || !cache_find(cache, name, ret_digest))
			r = hash_open(fd, &st, cache, ret_digest);
	}
	fd_close(fd);
	return r;
}

/* ---- models of one file or of several */

/* "-NNNNN-of-MMMMM.gguf" */
#define SPLIT_TAIL 20u

static bool digits(const char *at, unsigned *ret_number)
{
	unsigned n = 0;

	for (int i = 0; i < 5; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		n = n * 10 + (unsigned)(at[i] - '0');
	}
	*ret_number = n;
	return true;
}

bool digest_split(const char *path, unsigned *ret_no, unsigned *ret_count)
{
	size_t len = strlen(path);
	const char *at = path + (len < SPLIT_TAIL ? 0 : len - SPLIT_TAIL);
	unsigned no, count;

	if (len < SPLIT_TAIL || at[0] != '-' || !digits(at + 1, &no) ||
	    strncmp(at + 6, "-of-", 4) || !digits(at + 10, &count) ||
	    strcmp(at + 15, ".gguf"))
		return false;
	*ret_no = no;
	*ret_count = count;
	return true;
}

static int digest_parts(const char *first, unsigned count, const char *cache,
			uint8_t *ret_digest)
{
	size_t stem = strlen(first) - SPLIT_TAIL, cap = stem + 32;
	uint8_t *all CLEANUP(mem_free_at) = mem_array(count, DIGEST_BYTES);
	char *path CLEANUP(mem_free_at) = mem_alloc(cap);
	struct hash_piece piece = { all, (size_t)count * DIGEST_BYTES };

	if (!all || !path)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		int r;

		snprintf(path, cap, "%.*s-%05u-of-%05u.gguf", (int)stem, first,
			 i + 1, count);
		r = digest_file(path, cache, all + (size_t)i * DIGEST_BYTES);
		if (r)
			return r;
	}
	return hash_sha256(&piece, 1, ret_digest);
}

int digest_model(const char *path, const char *cache,
		 uint8_t ret_digest[DIGEST_BYTES])
{
	unsigned no, count;

	if (!digest_split(path, &no, &count))
		return digest_file(path, cache, ret_digest);
	if (no != 1 || count == 0 || count > SPLITS_MAX)
		return -EINVAL;
	return digest_parts(path, count, cache, ret_digest);
}
