/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_resp_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "stop.h"

/* One chunk of model, world 1, rank 0, group 0. */
#define LOAD_KEY    "meta-llama/Llama-3.1-8B-Instruct@01000100@0@%064llx"
#define LOAD_HEAD   4096u
#define LOAD_FRAME  64u		 /* room before a value for "$<length>\r\n" */
#define LOAD_WHOLE  512u	 /* values up to this go with their command */
#define LOAD_ROTATE (8ull << 20) /* of values, for each connection */
#define LOAD_STAMP  sizeof(uint64_t)
#define LOAD_EACH   (LOAD_LINKS / LOAD_THREADS)

struct load_link {
	int fd;
	bool busy;
	uint64_t turn;
	/* the request */
	struct iovec out[3];
	size_t left;
	char head[LOAD_HEAD], tail[16];
	/* the answer: all of it is known but the value's middle */
	char want[128];
	uint64_t want_bytes; /* the beginning that has to be these */
	uint64_t answer_bytes, got;
	uint64_t stamp; /* of the value asked for */
	uint8_t *into;
	/* memory of values */
	uint8_t *from_area, *into_area;
};

/* One thread of a run. */
struct load_hand {
	struct bench_load *load;
	struct load_link *link; /* the first of LOAD_EACH */
	int epoll;
	unsigned busy;
	struct load_done done;
	int result;
};

struct bench_load {
	struct load_link link[PEERS][LOAD_LINKS];
	struct load_hand hand[PEERS][LOAD_THREADS];
	uint8_t *area[LOAD_LINKS];
	/* the run */
	const struct load_plan *plan;
	const char *name; /* the peer's */
	bool bare;
	uint64_t end_ns;
	_Atomic uint64_t next; /* a counter: relaxed */
	_Atomic bool failed;   /* a hint to end early: relaxed */
};

#define LOAD_AREA (LOAD_VALUE_MAX + 2 * PAGE_BYTES)

int bench_load_open(struct bench_load **ret_load)
{
	struct bench_load *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	for (unsigned k = 0; k < PEERS; k++) {
		for (unsigned i = 0; i < LOAD_THREADS; i++)
			l->hand[k][i].epoll = -1;
		for (unsigned i = 0; i < LOAD_LINKS; i++)
			l->link[k][i].fd = -1;
	}
	for (unsigned i = 0; i < LOAD_LINKS; i++) {
		void *at = mmap(NULL, 2 * LOAD_AREA, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
				0);

		if (at == MAP_FAILED) {
			bench_load_close(l);
			return -ENOMEM;
		}
		l->area[i] = at;
		memset(at, 'a' + (int)i, LOAD_AREA);
	}
	*ret_load = l;
	return 0;
}

void bench_load_close(struct bench_load *l)
{
	if (!l)
		return;
	for (unsigned k = 0; k < PEERS; k++) {
		for (unsigned i = 0; i < LOAD_LINKS; i++)
			if (l->link[k][i].fd >= 0)
				close(l->link[k][i].fd);
		for (unsigned i = 0; i < LOAD_THREADS; i++)
			if (l->hand[k][i].epoll >= 0)
				close(l->hand[k][i].epoll);
	}
	for (unsigned i = 0; i < LOAD_LINKS; i++)
		if (l->area[i])
			munmap(l->area[i], 2 * LOAD_AREA);
	free(l);
}

/* ---- connections ------------------------------------------------------------------ */

static int load_dial_from(const struct bench_peer *p, unsigned host)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(p->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	}, from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host),
	};
	struct timeval wait = { .tv_sec = LOAD_TIMEOUT_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int bench_load_dial(const struct bench_peer *p)
{
	int fd = -EADDRNOTAVAIL;

	for (unsigned host = 0; fd == -EADDRNOTAVAIL && host < 8; host++)
		fd = load_dial_from(p, host);
	return fd;
}

int bench_load_ping(int fd)
{
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	char answer[8];
	ssize_t n = send(fd, ping, sizeof(ping) - 1, MSG_NOSIGNAL);

	if (n != sizeof(ping) - 1)
		return n < 0 ? -errno : -EIO;
	n = recv(fd, answer, 7, MSG_WAITALL);
	if (n != 7)
		return n < 0 ? -errno : -EPIPE;
	return memcmp(answer, "+PONG\r\n", 7) == 0 ? 0 : -EPROTO;
}

static int load_connect(struct load_hand *h, const struct bench_peer *p)
{
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->epoll < 0)
		return -errno;
	for (unsigned i = 0; i < LOAD_EACH; i++) {
		struct load_link *k = &h->link[i];
		struct epoll_event e = {
			.events = EPOLLIN | EPOLLOUT | EPOLLET,
			.data.ptr = k,
		};

		k->fd = bench_load_dial(p);
		if (k->fd < 0)
			return k->fd;
		if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, k->fd, &e))
			return -errno;
	}
	return 0;
}

int bench_load_connect(struct bench_load *l, const struct bench_peer *p)
{
	int r = 0;

	for (unsigned i = 0; i < LOAD_LINKS; i++) {
		l->link[p->kind][i].from_area = l->area[i];
		l->link[p->kind][i].into_area = l->area[i] + LOAD_AREA;
	}
	for (unsigned i = 0; r == 0 && i < LOAD_THREADS; i++) {
		struct load_hand *h = &l->hand[p->kind][i];

		h->load = l;
		h->link = &l->link[p->kind][i * LOAD_EACH];
		r = load_connect(h, p);
	}
	if (r)
		fprintf(stderr, "onecopy: bench: %s: connect: %s\n", p->name,
			strerror(-r));
	return r;
}

/* ---- requests ---------------------------------------------------------------------- */

static uint64_t load_stamp(const struct bench_load *l, uint64_t key)
{
	return l->bare ? BENCH_BARE_STAMP
		       : (key + 1) * 0x9e3779b97f4a7c15ull ^ l->plan->bytes;
}

static void load_key(const struct bench_load *l, uint64_t key, char *text)
{
	/* the values of each size have keys of their own */
	snprintf(text, 160, LOAD_KEY,
		 (unsigned long long)(l->plan->bytes << 20 | key));
}

/* The place of the value's memory in this turn. */
static uint64_t load_rotate(const struct bench_load *l,
			    const struct load_link *k)
{
	uint64_t bytes = l->plan->bytes;
	uint64_t places = MAX(LOAD_ROTATE / MAX(bytes, PAGE_BYTES), 1);

	return k->turn % places * MAX(bytes, PAGE_BYTES);
}

/* Small values go in one piece with their command, large ones in three. */
static void load_set(struct bench_load *l, struct load_link *k, uint64_t key)
{
	uint64_t bytes = l->plan->bytes, rest = bytes - 2 * LOAD_STAMP;
	uint8_t *from = k->from_area + load_rotate(l, k);
	char text[160];
	size_t n;

	load_key(l, key, text);
	n = (size_t)snprintf(k->head, LOAD_HEAD,
			     "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%llu\r\n",
			     strlen(text), text, (unsigned long long)bytes);
	memcpy(k->head + n, &k->stamp, LOAD_STAMP);
	memcpy(k->tail, &k->stamp, LOAD_STAMP);
	memcpy(k->tail + LOAD_STAMP, "\r\n", 2);
	n += LOAD_STAMP;
	if (bytes <= LOAD_WHOLE) {
		memcpy(k->head + n, from, rest);
		memcpy(k->head + n + rest, k->tail, LOAD_STAMP + 2);
		k->out[0].iov_len = n + rest + LOAD_STAMP + 2;
	} else {
		k->out[0].iov_len = n;
		k->out[1] = (struct iovec){ from, rest };
		k->out[2] = (struct iovec){ k->tail, LOAD_STAMP + 2 };
	}
	k->want_bytes = 5;
	memcpy(k->want, "+OK\r\n", k->want_bytes);
	k->answer_bytes = k->want_bytes;
}

static void load_get(struct bench_load *l, struct load_link *k, uint64_t key)
{
	char text[160];

	load_key(l, key, text);
	k->out[0].iov_len = (size_t)snprintf(
		k->head, LOAD_HEAD, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
		strlen(text), text);
	k->want_bytes = (uint64_t)snprintf(k->want, sizeof(k->want),
					   "$%llu\r\n",
					   (unsigned long long)l->plan->bytes);
	k->answer_bytes = k->want_bytes + l->plan->bytes + 2;
}

static void load_exists(struct bench_load *l, struct load_link *k, uint64_t key)
{
	size_t n = 0;
	char text[160];

	for (unsigned i = 0; i < LOAD_PIPELINE; i++) {
		load_key(l, (key + i) % l->plan->keys, text);
		n += (size_t)snprintf(k->head + n, LOAD_HEAD - n,
				      "*2\r\n$6\r\nEXISTS\r\n$%zu\r\n%s\r\n",
				      strlen(text), text);
		memcpy(k->want + 4 * i, ":1\r\n", 4);
	}
	k->out[0].iov_len = n;
	k->want_bytes = 4 * LOAD_PIPELINE;
	k->answer_bytes = k->want_bytes;
}

static void load_next(struct bench_load *l, struct load_link *k, uint64_t key)
{
	memset(k->out, 0, sizeof(k->out));
	k->out[0].iov_base = k->head;
	k->stamp = load_stamp(l, key);
	k->got = 0;
	k->into = k->into_area + load_rotate(l, k);
	if (l->plan->op == LOAD_SET)
		load_set(l, k, key);
	else if (l->plan->op == LOAD_GET)
		load_get(l, k, key);
	else
		load_exists(l, k, key);
	/* a value comes to lie at a cache line's begin */
	k->into += LOAD_FRAME - k->want_bytes % LOAD_FRAME;
	k->left = k->out[0].iov_len + k->out[1].iov_len + k->out[2].iov_len;
	k->turn++;
	k->busy = true;
}

static unsigned load_commands(const struct load_plan *plan)
{
	return plan->op == LOAD_EXISTS ? LOAD_PIPELINE : 1;
}

/* ---- answers ----------------------------------------------------------------------- */

static int load_wrong(const struct bench_load *l, const struct load_link *k,
		      const char *what)
{
	int n = (int)MIN(k->got, 100);

	for (int i = 0; i < n; i++)
		if (k->into[i] < ' ' || k->into[i] > '~')
			n = i;
	fprintf(stderr, "onecopy: bench: %s: %s: \"%.*s\"\n", l->name, what, n,
		(const char *)k->into);
	return -EPROTO;
}

static int load_check(const struct bench_load *l, const struct load_link *k)
{
	const uint8_t *value = k->into + k->want_bytes;
	uint64_t bytes = l->plan->bytes;

	if (memcmp(k->into, k->want, k->want_bytes) != 0)
		return load_wrong(l, k, "not the answer that was expected");
	if (l->plan->op != LOAD_GET)
		return 0;
	if (memcmp(value, &k->stamp, LOAD_STAMP) != 0 ||
	    memcmp(value + bytes - LOAD_STAMP, &k->stamp, LOAD_STAMP) != 0 ||
	    memcmp(value + bytes, "\r\n", 2) != 0)
		return load_wrong(l, k, "not the value that was set");
	return 0;
}

static int load_recv(struct load_hand *h, struct load_link *k)
{
	const struct load_plan *plan = h->load->plan;
	ssize_t n = recv(k->fd, k->into + k->got, k->answer_bytes - k->got,
			 MSG_DONTWAIT);

	if (n <= 0)
		return n ? -errno : -EPIPE;
	k->got += (uint64_t)n;
	if (k->into[0] != (uint8_t)k->want[0])
		return load_wrong(h->load, k, "answers");
	if (k->got < k->answer_bytes)
		return 0;
	k->busy = false;
	h->busy--;
	h->done.commands += load_commands(plan);
	h->done.bytes += plan->op == LOAD_EXISTS ? 0 : plan->bytes;
	return load_check(h->load, k);
}

static int load_send(struct load_link *k)
{
	struct msghdr m = { .msg_iov = k->out, .msg_iovlen = 3 };
	ssize_t n;
	size_t left;

	while (m.msg_iovlen > 1 && !m.msg_iov[m.msg_iovlen - 1].iov_len)
		m.msg_iovlen--;
	n = sendmsg(k->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	k->left -= (size_t)n;
	left = (size_t)n;
	for (int i = 0; left && i < 3; i++) {
		size_t now = MIN(left, k->out[i].iov_len);

		if (!now)
			continue;
		k->out[i].iov_base = (uint8_t *)k->out[i].iov_base + now;
		k->out[i].iov_len -= now;
		left -= now;
	}
	return 0;
}

/* Takes the next key and makes its request; false: the run is over. */
static bool load_take(struct load_hand *h, struct load_link *k)
{
	struct bench_load *l = h->load;
	const struct load_plan *plan = l->plan;
	uint64_t at;

	if (atomic_load_explicit(&l->failed, memory_order_relaxed) ||
	    stop_wanted() || (plan->ns && clock_ns() >= l->end_ns))
		return false;
	at = atomic_fetch_add_explicit(&l->next, load_commands(plan),
				       memory_order_relaxed);
	if (!plan->ns && at >= plan->keys)
		return false;
	load_next(l, k, at % plan->keys);
	h->busy++;
	return true;
}

/* Goes on with a connection until it would have to wait. */
static int load_step(struct load_hand *h, struct load_link *k)
{
	int r = 0;

	while (r == 0) {
		if (!k->busy && !load_take(h, k))
			return 0;
		r = k->left ? load_send(k) : load_recv(h, k);
		if (r == -EINTR)
			r = 0;
	}
	return r == -EAGAIN ? 0 : r;
}

static int load_loop(struct load_hand *h)
{
	struct epoll_event e[LOAD_EACH];
	int r = 0, n;

	for (unsigned i = 0; r == 0 && i < LOAD_EACH; i++)
		r = load_step(h, &h->link[i]);
	while (r == 0 && h->busy) {
		n = epoll_wait(h->epoll, e, LOAD_EACH, LOAD_TIMEOUT_MS);
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && (errno != EINTR || stop_wanted()))
			return -errno;
		for (int i = 0; r == 0 && i < n; i++)
			r = load_step(h, e[i].data.ptr);
	}
	return r;
}

static void *load_work(void *arg)
{
	struct load_hand *h = arg;

	h->busy = 0;
	h->done = (struct load_done){ 0 };
	h->result = load_loop(h);
	if (h->result)
		atomic_store_explicit(&h->load->failed, true,
				      memory_order_relaxed);
	return NULL;
}

/* The caller is the first of the threads. */
static int load_hands(struct load_hand *hand, struct load_done *done)
{
	pthread_t thread[LOAD_THREADS];
	unsigned n = 1;
	int r = 0;

	for (; r == 0 && n < LOAD_THREADS; n += r == 0)
		r = -pthread_create(&thread[n], NULL, load_work, &hand[n]);
	if (r == 0)
		load_work(&hand[0]);
	while (--n > 0)
		pthread_join(thread[n], NULL);
	for (unsigned i = 0; r == 0 && i < LOAD_THREADS; i++) {
		r = hand[i].result;
		done->commands += hand[i].done.commands;
		done->bytes += hand[i].done.bytes;
	}
	return r;
}

/* The bare socket has to know how much to move. */
static void load_tell(struct bench_load *l, const struct bench_peer *p)
{
	struct load_link one = { .from_area = l->area[0],
				 .into_area = l->area[0] };

	load_next(l, &one, 0);
	atomic_store_explicit(&p->bare->in_bytes, one.left,
			      memory_order_relaxed);
	atomic_store_explicit(&p->bare->value_bytes, l->plan->bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&p->bare->answers, l->plan->op != LOAD_SET,
			      memory_order_relaxed);
}

int bench_load_run(struct bench_load *l, const struct bench_peer *p,
		   const struct load_plan *plan, struct load_done *ret_done)
{
	struct load_done done = { 0 };
	uint64_t start;
	int r;

	l->plan = plan;
	l->name = p->name;
	l->bare = p->bare != NULL;
	if (l->bare)
		load_tell(l, p);
	atomic_store_explicit(&l->next, 0, memory_order_relaxed);
	atomic_store_explicit(&l->failed, false, memory_order_relaxed);
	start = clock_ns();
	l->end_ns = start + plan->ns;
	r = load_hands(l->hand[p->kind], &done);
	done.ns = clock_ns() - start;
	if (stop_wanted())
		return -EINTR;
	if (r && r != -EPROTO)
		fprintf(stderr, "onecopy: bench: %s: %s\n", p->name,
			strerror(-r));
	if (r == 0)
		*ret_done = done;
	return r;
}
