/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/process.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"

/* Counted one by one, a thousand descriptors are some 200 us. */
#define FDS_COUNTED_MAX 4096u

/* /proc/self/statm: pages, "virtual resident ..." */
static void look_memory(struct process *p)
{
	CLEANUP(fd_close_at)
	int fd = fault_point(FAULT_IO)
			 ? -1
			 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long whole, resident;
	char text[128] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%llu %llu", &whole, &resident) != 2)
		return;
	p->virtual_bytes = whole * page;
	p->resident_bytes = resident * page;
}

static uint64_t count_fds(void)
{
	DIR *dir = fault_point(FAULT_IO) ? NULL : opendir("/proc/self/fd");
	const struct dirent *entry;
	uint64_t n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)) && n <= FDS_COUNTED_MAX)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n > FDS_COUNTED_MAX ? 0 : n - 1; /* without the folder's own */
}

static void look_fds(struct process *p)
{
	struct rlimit most;
	struct stat st;

	/* since Linux 6.2 the size of the folder is their number */
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		p->fds = (uint64_t)st.st_size;
	else
		p->fds = count_fds();
	if (getrlimit(RLIMIT_NOFILE, &most) == 0 &&
	    most.rlim_cur != RLIM_INFINITY)
		p->fds_most = most.rlim_cur;
}

void process_look(struct process *ret_process)
{
	struct timespec ts = { 0 };

	*ret_process = (struct process){ 0 };
	look_memory(ret_process);
	look_fds(ret_process);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	ret_process->cpu_s = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
