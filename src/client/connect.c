/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting and closing.
 *
 * The other side is the node of this user or the system's; still every number
 * it sends is checked before it is used, because a wrong build on the other
 * side is likely enough.
 */
#include "client/client.h"
#include "client/shards.h"
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/text.h"

#define RETRY_MS    10
#define PINS_MOST   (1u << 20)
#define ERROR_BYTES 256
/* A welcome can be lost with the server that sent it. */
#define HELLO_WAIT_NS NS_PER_S

struct attempt {
	oc_client *c;
	const struct oc_client_options *o;
	uint64_t deadline;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *error;
};

static int fail(const struct attempt *a, int error, const char *format, ...)
	PRINTF_LIKE(3, 4);
static int fail(const struct attempt *a, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (a->error)
		vsnprintf(a->error, ERROR_BYTES, format, args);
	va_end(args);
	return error;
}

static bool path_in(char *buf, size_t cap, const char *dir)
{
	int n = dir && *dir ? snprintf(buf, cap, "%s/onecopy.sock", dir) : -1;

	return n > 0 && (size_t)n < cap;
}

/* A node of this user, of the installed service, of root; and where a node
 * would be started, when there is none. */
int oc_default_socket(char *buf, size_t cap)
{
	const char *path = getenv("ONECOPY_SOCKET");
	const char *dirs[] = { getenv("XDG_RUNTIME_DIR"), "/run/onecopy",
			       "/run" };

	if (path && *path)
		return text_copy(buf, cap, path);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (path_in(buf, cap, dirs[i]) && access(buf, F_OK) == 0)
			return 0;
	return path_in(buf, cap, dirs[0]) || path_in(buf, cap, "/run")
		       ? 0
		       : -ENAMETOOLONG;
}

/* ---- the object ---- */

static void client_free(oc_client *c)
{
	slots_fini(&c->pins);
	slots_fini(&c->calls);
	free(c->slab);
	free(c->info);
	free(c->call);
	free(c->stripe);
	free(c);
}

static void free_views(oc_client *c)
{
	struct view *v = atomic_load_explicit(&c->view, memory_order_relaxed);

	while (v) {
		struct view *next = v->next;

		free(v);
		v = next;
	}
	while (c->leftovers) {
		struct leftover *next = c->leftovers->next;

		free(c->leftovers);
		c->leftovers = next;
	}
}

/* Takes half-built clients. In a child only the heap is there; its copies of
 * the descriptors stay open until it executes or ends, because their numbers
 * may be somebody else's by now. */
static void client_destroy(oc_client *c)
{
	if (c->family && client_is_child(c)) {
		munmap((void *)(uintptr_t)c->family, PAGE_BYTES);
		free_views(c);
		free(c->revoker); /* its thread is the parent's */
		client_free(c);
		return;
	}
	shards_close(c);
	region_close_all(c);
	/* Its slabs may go although this process lives on. */
	if (c->seg)
		shared_store64_release(&c->seg->header.let_go_epoch,
				       UINT64_MAX);
	segment_close(&c->meta_segment);
	segment_close(&c->own_segment);
	if (c->family)
		munmap((void *)(uintptr_t)c->family, PAGE_BYTES);
	fd_close(c->socket);
	fd_close(c->notify);
	fd_close(c->self);
	fd_close(c->bell);
	client_free(c);
}

/* A page that a fork wipes: one load tells a child what it is. */
static int make_family(oc_client *c)
{
	_Atomic(uint64_t) *page;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK)) {
		int error = -errno;

		munmap(page, PAGE_BYTES);
		return error;
	}
	atomic_store_explicit(page, 1, memory_order_relaxed);
	c->family = page;
	return 0;
}

static void *aligned_zeros(size_t bytes)
{
	void *p = fault_point(FAULT_ALLOC)
			  ? NULL
			  : aligned_alloc(CACHE_LINE,
					  ALIGN_UP(bytes, CACHE_LINE));

	return p ? memset(p, 0, bytes) : NULL;
}

static oc_client *client_alloc(void)
{
	static _Atomic(uint64_t) serials;
	oc_client *c;

	c = aligned_zeros(sizeof(*c));
	if (!c)
		return NULL;
	c->serial = 1 + atomic_fetch_add_explicit(&serials, 1,
						  memory_order_relaxed);
	pthread_mutex_init(&c->revoke_lock, NULL);
	c->socket = c->bell = c->self = c->notify = -1;
	c->meta_segment = c->own_segment = SEGMENT_NONE;
	return c;
}

static int client_create(const struct oc_client_options *o,
			 oc_client **ret_client)
{
	oc_client *c = client_alloc();
	int r;

	if (!c)
		return -ENOMEM;
	c->timeout_ns = o->timeout_ns && o->timeout_ns != OC_NOWAIT
				? o->timeout_ns
				: CLIENT_TIMEOUT_NS;
	c->read_only = o->read_only;
	c->on_region = o->on_region;
	c->region_ctx = o->region_ctx;
	(void)text_copy(c->name, sizeof(c->name),
			o->name ? o->name : program_invocation_short_name);
	c->slab = mem_array(LAYOUT_SLABS_MAX, sizeof(*c->slab));
	c->info = mem_array(LAYOUT_SLABS_MAX, sizeof(*c->info));
	c->call = mem_array(RING_SLOTS, sizeof(*c->call));
	c->stripe = aligned_zeros(CLIENT_STRIPES * sizeof(*c->stripe));
	r = slots_init(&c->calls, RING_SLOTS);
	if (r == 0)
		r = make_family(c);
	if (r == 0 && (!c->slab || !c->info || !c->call || !c->stripe))
		r = -ENOMEM;
	if (r) {
		client_destroy(c);
		return r;
	}
	*ret_client = c;
	return 0;
}

/* ---- the socket ---- */

static int try_connect(const struct attempt *a, int *ret_fd)
{
	CLEANUP(fd_close_at) int fd = -1;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	if (fault_point(FAULT_IO))
		return -EIO;
	memcpy(sun.sun_path, a->path, sizeof(sun.sun_path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)))
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

/* A socket nobody listens on yet, or one whose queue is full, is waited for. */
static int connect_socket(const struct attempt *a)
{
	int r;

	for (;;) {
		r = try_connect(a, &a->c->socket);
		if (r != -ECONNREFUSED && r != -EAGAIN && r != -EINTR)
			break;
		if (clock_ns() >= a->deadline)
			break;
		poll(NULL, 0, RETRY_MS);
	}
	if (r == 0)
		return 0;
	if (r == -ENOENT || r == -ECONNREFUSED)
		return fail(a, r,
			    "no node at %s (%s): start one with "
			    "`onecopy serve` or set ONECOPY_SOCKET",
			    a->path, oc_strerror(r));
	return fail(a, r == -EAGAIN ? -ETIMEDOUT : r,
		    "cannot connect to %s: %s", a->path, oc_strerror(r));
}

static const char *token_of(const struct oc_client_options *o)
{
	const char *given = o->token ? o->token : getenv("ONECOPY_TOKEN");

	return given ? given : "";
}

static const char *tenant_of(const struct oc_client_options *o)
{
	const char *given = getenv("ONECOPY_TENANT");

	if (o->tenant)
		return o->tenant;
	if (given && *given)
		return given;
	return *token_of(o) ? "" : "default";
}

static int make_hello(const struct attempt *a, union msg *m)
{
	const struct oc_client_options *o = a->o;

	msg_init(m, MSG_HELLO, 1);
	m->hello.stamp = layout_stamp();
	m->hello.flags = o->read_only ? MSG_HELLO_READ_ONLY : 0;
	m->hello.pins = o->pins;
	if (text_copy(m->hello.tenant, sizeof(m->hello.tenant), tenant_of(o)))
		return fail(a, -EINVAL, "the tenant's name is too long");
	if (text_copy(m->hello.token, sizeof(m->hello.token), token_of(o)) ||
	    !msg_text_ok(m->hello.token, sizeof(m->hello.token)))
		return fail(a, -EINVAL,
			    "a token has at most 255 printable characters");
	text_copy(m->hello.name, sizeof(m->hello.name),
		  o->name ? o->name : program_invocation_short_name);
	return 0;
}

/* -EAGAIN: that server is gone, or the next one does not know of us; connect
 * again. */
static int say_hello(const struct attempt *a, struct answer *ret_answer)
{
	uint64_t until = clock_ns() + HELLO_WAIT_NS;
	union msg m;
	int r = make_hello(a, &m);

	if (r)
		return r;
	r = talk_send(a->c->socket, &m, MIN(until, a->deadline));
	explicit_bzero(&m, sizeof(m));
	if (r == 0)
		r = talk_receive(a->c->socket, MIN(until, a->deadline),
				 ret_answer);
	if ((r == -ENOTCONN || r == -ETIMEDOUT) && clock_ns() < a->deadline)
		return -EAGAIN;
	if (r == -EPROTO || r == -EPROTONOSUPPORT)
		return fail(a, -EPROTO,
			    "%s speaks another version: use the "
			    "library and the node of one release",
			    a->path);
	if (r)
		return fail(a, r, "no welcome from %s: %s", a->path,
			    oc_strerror(r));
	return 0;
}

static int refused(const struct attempt *a, const struct msg_error *m)
{
	int error = m->error;

	if (error >= 0 || error < -4095 || error == -EPROTONOSUPPORT)
		error = -EPROTO;
	/* there is a node, which knows no such tenant: a refusal */
	if (error == -ENOENT)
		error = -EACCES;
	return fail(a, error, "%s", m->text);
}

/* ---- the welcome ---- */

static bool welcome_fits(const struct answer *a)
{
	const struct msg_welcome *w = &a->msg.welcome;

	return w->head.type == MSG_WELCOME && a->n_fds == 4 &&
	       w->client_id != 0 && w->pins > 0 && w->pins <= PINS_MOST &&
	       w->overflow <= PINS_MOST && w->meta_bytes == POOL_META_BYTES &&
	       w->client_bytes == client_segment_bytes(w->pins, w->overflow);
}

/* Maps one segment; the descriptor is used up on success. */
static int map_segment(int *fd, uint64_t bytes, bool writable,
		       struct segment *ret_segment)
{
	int r = segment_map_consume(*fd, bytes, writable, writable,
				    ret_segment);

	if (r == 0)
		*fd = -1;
	return r;
}

static int make_notify(oc_client *c)
{
	struct epoll_event e = { .events = EPOLLIN };

	if (fault_point(FAULT_IO))
		return -EIO;
	c->self = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->notify = epoll_create1(EPOLL_CLOEXEC);
	if (c->self < 0 || c->notify < 0 ||
	    epoll_ctl(c->notify, EPOLL_CTL_ADD, c->self, &e) ||
	    epoll_ctl(c->notify, EPOLL_CTL_ADD, c->bell, &e))
		return -errno;
	return 0;
}

static int map_meta(const struct attempt *a, struct answer *w)
{
	oc_client *c = a->c;
	const char *why = "";
	int r = map_segment(&w->fds[0], w->msg.welcome.meta_bytes, false,
			    &c->meta_segment);

	if (r)
		return fail(a, r, "cannot map the pool's metadata: %s",
			    oc_strerror(r));
	r = layout_check(c->meta_segment.base, c->meta_segment.bytes, &why);
	if (r)
		return fail(a, -EPROTO, "%s: %s", a->path, why);
	c->meta = c->meta_segment.base;
	return 0;
}

static int map_all(const struct attempt *a, struct answer *w)
{
	const struct msg_welcome *m = &w->msg.welcome;
	oc_client *c = a->c;
	int r = map_meta(a, w);

	if (r)
		return r;
	r = map_segment(&w->fds[2], m->client_bytes, true, &c->own_segment);
	if (r == 0)
		r = slots_init(&c->pins, m->pins);
	if (r == 0)
		r = region_first_view(c, w->fds[1], m->index_bytes,
				      m->index_epoch);
	if (r == 0) {
		w->fds[1] = -1;
		c->bell = fd_take(&w->fds[3]);
		r = make_notify(c);
	}
	if (r)
		return fail(a, r, "cannot map what %s shares: %s", a->path,
			    oc_strerror(r));
	c->seg = c->own_segment.base;
	c->id = m->client_id;
	c->n_pins = m->pins;
	c->n_overflow = m->overflow;
	return 0;
}

static int enter(const struct attempt *a)
{
	oc_client *c = a->c;
	struct answer w = { .n_fds = 0 };
	uint64_t epoch;
	int r;

	do {
		c->socket = fd_close(c->socket);
		r = connect_socket(a);
		if (r == 0)
			r = say_hello(a, &w);
	} while (r == -EAGAIN);
	if (r == 0 && w.msg.head.type == MSG_ERROR)
		r = refused(a, &w.msg.error);
	else if (r == 0 && !welcome_fits(&w))
		r = fail(a, -EPROTO, "a malformed welcome from %s", a->path);
	if (r == 0)
		r = map_all(a, &w);
	answer_fini(&w);
	if (r)
		return r;
	/* Nothing is mapped yet, so everything is let go. */
	epoch = shared_load64_acquire(&c->meta->header.region_epoch);
	shared_store64_release(&c->seg->header.let_go_epoch, epoch);
	atomic_store_explicit(&c->seen_region, epoch, memory_order_relaxed);
	return 0;
}

static int find_path(struct attempt *a)
{
	const char *path = a->o->socket;
	int r;

	if (path && *path)
		r = text_copy(a->path, sizeof(a->path), path);
	else
		r = oc_default_socket(a->path, sizeof(a->path));
	return r ? fail(a, -ENAMETOOLONG, "the socket's path is too long") : 0;
}

int oc_client_connect(const struct oc_client_options *options,
		      oc_client **ret_client, char *error)
{
	struct oc_client_options o = { .size = sizeof(o) };
	struct attempt a = { .o = &o, .error = error };
	int r;

	if (error)
		*error = '\0';
	if (options && options_copy(&o, sizeof(o), options))
		return fail(&a, -EINVAL, "options without their size");
	r = find_path(&a);
	if (r == 0 && o.pins > PINS_MOST)
		r = fail(&a, -EINVAL, "at most %u pins", PINS_MOST);
	if (r)
		return r;
	r = client_create(&o, &a.c);
	if (r)
		return fail(&a, r, "no memory for a client");
	a.deadline =
		clock_ns() + (o.timeout_ns == OC_NOWAIT
				      ? CLIENT_GRACE_NS
				      : MIN(a.c->timeout_ns, UINT64_MAX / 4));
	r = enter(&a);
	if (r) {
		client_destroy(a.c);
		return r;
	}
	*ret_client = a.c;
	return 0;
}

void oc_client_close(oc_client *c)
{
	uint64_t sums[CLIENT_COUNTS];

	if (!c)
		return;
	if (!client_is_child(c))
		client_count(c, sums);
	client_destroy(c);
}
