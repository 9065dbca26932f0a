/* SPDX-License-Identifier: Apache-2.0 */
#include "region/host.h"
#include "base/fault.h"
#include "base/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The file's text, ended by a zero; at most cap - 1 bytes of it. */
static int read_text(const char *path, char *text, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = fault_point(FAULT_IO) ? -1 : read(fd, text, cap - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

int region_host_id(int fd, struct region_host *ret_host)
{
	struct {
		char boot[64];
		uint64_t pids, times, dev, ino;
	} id = { .pids = 0 };
	struct stat st;
	int err;

	err = read_text("/proc/sys/kernel/random/boot_id", id.boot,
			sizeof(id.boot));
	if (err)
		return err;
	if (stat("/proc/self/ns/pid", &st))
		return -errno;
	id.pids = st.st_ino;
	/* starts of processes are told by the reader's clock since boot, which such
	 * a namespace shifts */
	id.times = stat("/proc/self/ns/time", &st) ? 0 : st.st_ino;
	if (fstat(fd, &st))
		return -errno;
	id.dev = st.st_dev;
	id.ino = st.st_ino;
	hash_name(&id, sizeof(id), ret_host->id);
	return 0;
}

/* Field 22 of /proc/PID/stat; the second is a name in brackets, with anything
 * in it. */
int region_host_started(uint64_t pid, uint64_t *ret_started)
{
	char path[64], text[1024], *at;
	int err;

	if (pid == (uint64_t)getpid()) /* whatever numbers /proc has */
		snprintf(path, sizeof(path), "/proc/self/stat");
	else
		snprintf(path, sizeof(path), "/proc/%llu/stat",
			 (unsigned long long)pid);
	err = read_text(path, text, sizeof(text));
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	at = strrchr(text, ')');
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EPROTO;
	*ret_started = strtoull(at, NULL, 10);
	return 0;
}

/* Of 16 random bytes that the kernel gives each program that it starts. Secrets of the
 * process are made of them, so nothing may lead back. */
uint64_t region_host_image(void)
{
	struct hash_piece bytes = { (const void *)getauxval(AT_RANDOM), 16 };
	uint64_t hash[4];

	return bytes.data && hash_sha256(&bytes, 1, (uint8_t *)hash) == 0
		       ? hash[0]
		       : 0;
}

bool region_host_ended(uint64_t pid, uint64_t started)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t now = 0;
	bool ended;
	int err;

	if (!pid || pid > INT32_MAX)
		return false;
	p.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (p.fd < 0) {
		/* EINVAL or, since Linux 6.9, ENOENT: the number is a thread's now */
		if (errno == EINVAL || errno == ENOENT) {
			err = region_host_started(pid, &now);
			return err == -ESRCH || (err == 0 && now != started);
		}
		return errno == ESRCH;
	}
	/* Readable: the last thread has ended, reaped or not. */
	ended = poll(&p, 1, 0) == 1 && p.revents & POLLIN;
	if (!ended) {
		/* The number may have gone to another process. */
		err = region_host_started(pid, &now);
		ended = err == 0 && now != started;
	}
	close(p.fd);
	return ended;
}
