/* SPDX-License-Identifier: Apache-2.0 */
/* Spaces: made and ended. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "space/space.h"

#define BYTES_WANTED (1ull << 40)
#define BYTES_LEAST  (1ull << 30)
#define MAPS_DEFAULT 65530u /* of a kernel that does not say */
#define MOVES_SHARE  16u    /* of the node's memory */

/* ---- addresses ---- */

static int reserve(oc_space *s, uint64_t bytes)
{
	uint64_t want = bytes ? ALIGN_UP(bytes, PAGE_BYTES) : BYTES_WANTED;
	int prot = s->how == OC_SPACE_FAULTS ? PROT_READ | PROT_WRITE
					     : PROT_NONE;
	int r;

	if (want < bytes)
		return -ENOMEM;
	s->base = space_map_anywhere(want, prot);
	while (!s->base && !bytes && want > BYTES_LEAST)
		s->base = space_map_anywhere(want /= 4, prot);
	if (!s->base)
		return -ENOMEM;
	s->bytes = want;
	space_not_in_child(s->base, want);
	if (s->how != OC_SPACE_FAULTS)
		return 0;
	r = uffd_register(s->uffd, s->base, want);
	return r;
}

/* A line of text at a time is enough for both. */
static uint64_t max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long long n = MAPS_DEFAULT;

	if (f && fscanf(f, "%llu", &n) != 1)
		n = MAPS_DEFAULT;
	if (f)
		fclose(f);
	return n;
}

static uint64_t maps_now(void)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	char text[16384];
	uint64_t n = 0;
	ssize_t got;

	while (fd >= 0 && (got = read(fd, text, sizeof(text))) > 0)
		for (const char *p = text;
		     (p = memchr(p, '\n', (size_t)(text + got - p))); p++)
			n++;
	fd_close(fd);
	return n;
}

static void limit_maps(oc_space *s, uint32_t asked)
{
	uint64_t most = max_map_count(), now = maps_now();

	s->n.mappings_limit = asked ? asked : most > now ? (most - now) / 2 : 0;
}

static void limit_moves(oc_space *s, uint64_t asked)
{
	uint64_t share =
		shared_load64(&s->c->meta->header.limit_bytes) / MOVES_SHARE;

	s->moved_most = asked == UINT64_MAX ? 0 : asked ? asked : share;
}

/* ---- what the kernel allows ---- */

static int open_faults(oc_space *s, enum oc_space_how asked)
{
	int r = asked == OC_SPACE_EXPLICIT ? -EPERM : uffd_open(&s->uffd);

	s->how = r ? OC_SPACE_EXPLICIT : OC_SPACE_FAULTS;
	s->why = "";
	if (r && asked == OC_SPACE_FAULTS)
		return client_fail(s->c, r, "userfaultfd: %s", oc_strerror(r));
	if (r == -ENOMEM || r == -EIO || r == -EMFILE || r == -ENFILE)
		return r;
	if (r && asked != OC_SPACE_EXPLICIT)
		s->why = r == -EOPNOTSUPP
				 ? "the kernel's userfaultfd cannot protect "
				   "shared memory (Linux 5.19 can)"
			 : r == -ENOSYS ? "the kernel has no userfaultfd"
					: "userfaultfd is refused (a seccomp "
					  "filter, or no access to "
					  "/dev/userfaultfd)";
	return 0;
}

static int open_files(oc_space *s)
{
	if (fault_point(FAULT_IO))
		return -EMFILE;
	s->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->kick < 0)
		return -errno;
	if (fault_point(FAULT_IO))
		return -EMFILE;
	s->hole = memfd_create("onecopy-hole", MFD_CLOEXEC);
	if (s->hole < 0)
		return -errno;
	/* Without it everything counts as written. */
	s->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return 0;
}

/* ---- threads ---- */

int space_start_thread(oc_space *s, void *(*run)(void *), pthread_t *ret_thread)
{
	sigset_t all, before;
	int r;

	if (fault_point(FAULT_ALLOC))
		return -EAGAIN;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret_thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static int start_threads(oc_space *s)
{
	int r = space_start_thread(s, worker_main, &s->worker[0]);

	s->workers = r == 0;
	if (r == 0 && s->how == OC_SPACE_FAULTS) {
		r = space_start_thread(s, fault_main, &s->faults);
		s->has_faults = r == 0;
	}
	return r;
}

static void stop_threads(oc_space *s)
{
	uint64_t one = 1;

	space_lock(s);
	/* Relaxed: read under the lock; by the fault thread after the kick. */
	atomic_store_explicit(&s->stop, STOP_WORKERS, memory_order_relaxed);
	pthread_cond_broadcast(&s->work);
	space_unlock(s);
	for (uint32_t i = 0; i < s->workers; i++)
		pthread_join(s->worker[i], NULL);
	atomic_store_explicit(&s->stop, STOP_ALL, memory_order_relaxed);
	if (s->kick >= 0)
		(void)!write(s->kick, &one, sizeof(one));
	if (s->has_faults)
		pthread_join(s->faults, NULL);
}

/* ---- life ---- */

static oc_space *space_alloc(oc_ns *ns)
{
	oc_space *s = mem_alloc(sizeof(*s));

	if (!s)
		return NULL;
	s->ns = ns;
	s->c = ns->c;
	s->uffd = s->kick = s->hole = s->pagemap = -1;
	s->slab = mem_array(LAYOUT_SLABS_MAX, sizeof(*s->slab));
	if (!s->slab) {
		free(s);
		return NULL;
	}
	for (uint32_t i = 0; i < LAYOUT_SLABS_MAX; i++)
		s->slab[i].fd = -1;
	must(pthread_mutex_init(&s->lock, NULL) == 0);
	must(pthread_cond_init(&s->work, NULL) == 0);
	must(pthread_cond_init(&s->done, NULL) == 0);
	return s;
}

static void space_free(oc_space *s)
{
	while (s->span) {
		oc_span *next = s->span->next;

		span_free(s->span);
		s->span = next;
	}
	for (uint32_t i = 0; i < LAYOUT_SLABS_MAX; i++)
		fd_close(s->slab[i].fd);
	fd_close(s->uffd);
	fd_close(s->kick);
	fd_close(s->hole);
	fd_close(s->pagemap);
	free(s->slab);
	free(s);
}

void oc_space_destroy(oc_space *s)
{
	if (!s)
		return;
	/* Threads and addresses are the parent's, and so is who waits for the
	 * conditions; descriptors are this process's as well. */
	if (client_is_child(s->c)) {
		space_free(s);
		return;
	}
	revoke_leave(s->c, &s->user);
	stop_threads(s);
	if (s->base)
		must(munmap(s->base, s->bytes) == 0);
	for (oc_span *sp = s->span; sp; sp = sp->next)
		for (size_t i = 0; i < sp->shape.capacity; i++)
			block_drop(sp, i);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->done);
	pthread_mutex_destroy(&s->lock);
	space_free(s);
}

static int options_read(oc_ns *ns, const struct oc_space_options *options,
			struct oc_space_options *ret)
{
	*ret = (struct oc_space_options){ .size = sizeof(*ret) };
	if (!options)
		return 0;
	if (options->size < sizeof(size_t) || options->size > sizeof(*ret))
		return client_fail(ns->c, -EINVAL, "options without a size");
	memcpy(ret, options, options->size);
	if ((unsigned)ret->how > OC_SPACE_EXPLICIT)
		return client_fail(ns->c, -EINVAL, "no such kind of space");
	if (ret->kind > SEGMENT_DRAM)
		return client_fail(ns->c, -EOPNOTSUPP,
				   "there is no space of memory kind %u",
				   ret->kind);
	return 0;
}

int oc_space_create(oc_ns *ns, const struct oc_space_options *options,
		    oc_space **ret_space)
{
	struct oc_space_options o;
	oc_space *s;
	int r = client_is_child(ns->c) ? client_child(ns->c)
				       : options_read(ns, options, &o);

	if (r)
		return r;
	s = space_alloc(ns);
	if (!s)
		return client_fail(ns->c, -ENOMEM, "no memory for a space");
	s->timeout_ns = o.timeout_ns;
	s->maps = 1;
	limit_maps(s, o.mappings);
	limit_moves(s, o.move_bytes);
	r = open_faults(s, o.how);
	if (r == 0)
		r = open_files(s);
	if (r == 0)
		r = reserve(s, o.bytes);
	if (r == 0)
		r = start_threads(s);
	if (r == 0)
		r = space_revocable(s);
	if (r) {
		oc_space_destroy(s);
		return client_fail(ns->c, r, "cannot make a space: %s",
				   oc_strerror(r));
	}
	*ret_space = s;
	return 0;
}

enum oc_space_how oc_space_how(const oc_space *s)
{
	return s->how;
}

const char *oc_space_why(const oc_space *s)
{
	return s->why;
}
