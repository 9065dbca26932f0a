/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/client/fake.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include "tests/test.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"
#include "coherence/pin.h"

#define CLIENT_ID (1ull << 16 | 3)
#define REPORT	  "{\"pool\":\"fake\"}"

struct frame_desc *fake_desc(struct fake *f, uint32_t slab, uint32_t frame)
{
	return (struct frame_desc *)f->slab[slab].desc.base + frame;
}

struct oc_key fake_key(uint64_t n)
{
	struct oc_key key = { { 0 } };
	uint64_t words[4] = { n * 0x9e3779b97f4a7c15ull, n, ~n, 7 };

	memcpy(key.bytes, words, sizeof(words));
	return key;
}

uint64_t fake_payload(uint64_t n, uint8_t buf[FAKE_FRAME_BYTES])
{
	struct oc_key key = fake_key(n);

	for (unsigned i = 0; i < FAKE_FRAME_BYTES; i++)
		buf[i] = (uint8_t)(n + i);
	return hash_payload(buf, FAKE_FRAME_BYTES,
			    hash_part_seed(key.bytes, 0, 0));
}

static void index_make(struct fake *f, uint64_t entries)
{
	CHECK_OK(segment_create("fake-index",
				ALIGN_UP(table_bytes(entries), PAGE_BYTES), 0,
				&f->index_segment));
	CHECK_OK(table_init(&f->table, f->index_segment.base,
			    f->index_segment.bytes));
}

void fake_slab_make(struct fake *f, uint32_t slab, uint32_t frames,
		    uint64_t owner)
{
	struct slab_record *r = &f->meta->slab[slab];
	struct fake_slab *s = &f->slab[slab];
	uint64_t gen = slab_word_gen(shared_load64(&r->word)) + 1;

	segment_close(&s->data);
	segment_close(&s->desc);
	CHECK_OK(segment_create(
		"fake-data", (uint64_t)frames * FAKE_FRAME_BYTES, 0, &s->data));
	CHECK_OK(segment_create("fake-desc",
				ALIGN_UP(frames * sizeof(struct frame_desc),
					 PAGE_BYTES),
				0, &s->desc));
	shared_store64(&r->frame_bytes, FAKE_FRAME_BYTES);
	shared_store64(&r->frames_kind, (uint64_t)frames << 32 | SEGMENT_DRAM);
	shared_store64(&r->bytes, s->data.bytes);
	shared_store64(&r->desc_bytes, s->desc.bytes);
	shared_store64(&r->owner, owner);
	shared_store64_release(&r->word, slab_word(gen, SLAB_LIVE));
	shared_store64_release(&f->meta->header.region_epoch,
			       shared_load64(&f->meta->header.region_epoch) +
				       1);
}

void fake_slab_retire(struct fake *f, uint32_t slab)
{
	struct slab_record *r = &f->meta->slab[slab];
	uint64_t epoch = shared_load64(&f->meta->header.region_epoch) + 1;

	for (uint32_t i = 0;
	     i < shared_load64(&r->frames_kind) >> 32 && i < FAKE_FRAMES; i++)
		shared_store64_release(
			&fake_desc(f, slab, i)->word,
			frame_word(frame_word_gen(shared_load64(
					   &fake_desc(f, slab, i)->word)) +
					   1,
				   FRAME_FREE));
	shared_store64(&r->retire_epoch, epoch);
	shared_store64_release(&r->word,
			       slab_word(slab_word_gen(shared_load64(&r->word)),
					 SLAB_RETIRING));
	shared_store64_release(&f->meta->header.region_epoch, epoch);
}

void fake_entry(struct fake *f, const struct oc_key *key, uint64_t part,
		uint32_t slab, uint32_t frame, uint64_t gen)
{
	struct table_hash h;
	uint64_t words[4];

	memcpy(words, key->bytes, sizeof(words));
	h = table_hash(words, part);
	CHECK_OK(table_insert(&f->table, h,
			      table_word(h, gen, frame_loc(slab, frame)), NULL,
			      NULL));
}

void fake_seal(struct fake *f, uint32_t slab, uint32_t frame, uint64_t gen,
	       const struct oc_key *key, uint64_t part)
{
	struct frame_desc *d = fake_desc(f, slab, frame);
	uint8_t *data = (uint8_t *)f->slab[slab].data.base +
			(uint64_t)frame * FAKE_FRAME_BYTES;
	uint64_t words[4];

	memcpy(words, key->bytes, sizeof(words));
	shared_store_words(d->key, words, 4);
	shared_store64(&d->part, part);
	shared_store64(&d->extent, frame_extent(FAKE_FRAME_BYTES, 0));
	shared_store64(&d->checksum, fake_payload(words[1], data));
	shared_store64(&d->owner, CLIENT_ID);
	shared_store64_release(&d->word, frame_word(gen, FRAME_SEALED));
	fake_entry(f, key, part, slab, frame, gen);
}

static void copy_entry(void *ctx, uint64_t bucket, uint64_t word)
{
	struct fake *f = ctx;
	struct frame_desc *d;
	uint64_t key[4], loc = table_word_loc(word);
	struct table_hash h;

	(void)bucket;
	d = fake_desc(f, frame_loc_slab(loc), frame_loc_frame(loc));
	shared_load_words(key, d->key, 4);
	h = table_hash(key, shared_load64(&d->part));
	CHECK_OK(table_insert(&f->table, h, word, NULL, NULL));
}

void fake_index_grow(struct fake *f, uint64_t entries)
{
	struct segment old_segment = f->index_segment;
	struct table old = f->table;

	index_make(f, entries);
	table_each(&old, copy_entry, f);
	segment_close(&old_segment);
	f->index_epoch++;
	shared_store64_release(&f->meta->header.index_epoch, f->index_epoch);
}

/* ---- the socket ---- */

static int reopen(int fd)
{
	int ro;

	CHECK_OK(segment_reopen_readonly(fd, &ro));
	return ro;
}

static void reply(struct fake *f, union msg *m, int *fds, unsigned n_fds)
{
	segment_send(f->sock, m, m->head.bytes, fds, n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		fd_close(fds[i]);
}

static void welcome(struct fake *f, const union msg *hello)
{
	int fds[SEGMENT_FDS_MAX];
	unsigned n = 4;
	union msg m;

	segment_close(&f->client_segment);
	CHECK_OK(segment_create("fake-client",
				client_segment_bytes(FAKE_PINS, FAKE_OVERFLOW),
				0, &f->client_segment));
	f->client = f->client_segment.base;
	f->head = 0;
	msg_init(&m, MSG_WELCOME, hello->head.seq);
	m.welcome.client_id = CLIENT_ID;
	m.welcome.meta_bytes = POOL_META_BYTES;
	m.welcome.index_bytes = f->index_segment.bytes;
	m.welcome.client_bytes = f->client_segment.bytes;
	m.welcome.index_epoch = f->index_epoch;
	m.welcome.pins = FAKE_PINS;
	m.welcome.overflow = FAKE_OVERFLOW;
	shared_store64(&f->meta->client[3].id, CLIENT_ID);
	fds[0] = reopen(f->meta_segment.fd);
	fds[1] = reopen(f->index_segment.fd);
	fds[2] = fcntl(f->client_segment.fd, F_DUPFD_CLOEXEC, 0);
	fds[3] = fcntl(f->bell_peer, F_DUPFD_CLOEXEC, 0);
	if (f->spoil)
		f->spoil(&m, fds, &n);
	reply(f, &m, fds, n);
}

static void tell_region(struct fake *f, const union msg *q)
{
	uint32_t id = q->region.region;
	struct slab_record *r;
	int fds[2];
	union msg m;

	CHECK_INT(id, <, FAKE_SLABS);
	r = &f->meta->slab[id];
	if (shared_load64(&r->word) !=
		    slab_word(q->region.generation, SLAB_LIVE) ||
	    f->refuse_region) {
		msg_error(&m, q->head.seq, -ENOENT, "no such region");
		reply(f, &m, NULL, 0);
		return;
	}
	msg_init(&m, MSG_REGION, q->head.seq);
	m.region.region = id;
	m.region.generation = q->region.generation;
	m.region.writable = shared_load64(&r->owner) == CLIENT_ID;
	m.region.bytes = f->slab[id].data.bytes;
	m.region.desc_bytes = f->slab[id].desc.bytes;
	fds[0] = m.region.writable
			 ? fcntl(f->slab[id].data.fd, F_DUPFD_CLOEXEC, 0)
			 : reopen(f->slab[id].data.fd);
	fds[1] = reopen(f->slab[id].desc.fd);
	reply(f, &m, fds, 2);
}

static void tell_index(struct fake *f, const union msg *q)
{
	union msg m;
	int fd = reopen(f->index_segment.fd);

	msg_init(&m, MSG_INDEX, q->head.seq);
	m.index.epoch = f->index_epoch;
	m.index.bytes = f->index_segment.bytes;
	reply(f, &m, &fd, 1);
}

static void on_socket(struct fake *f)
{
	uint8_t raw[MSG_MAX];
	int fds[SEGMENT_FDS_MAX];
	unsigned n_fds;
	size_t len = 0;
	union msg m;

	if (segment_recv(f->sock, raw, sizeof(raw), fds, &n_fds, &len) < 0 ||
	    len == 0) {
		f->sock = fd_close(f->sock);
		return;
	}
	CHECK_OK(msg_check(raw, len, &m));
	if (f->mute_socket)
		return;
	switch (m.head.type) {
	case MSG_HELLO:
		welcome(f, &m);
		break;
	case MSG_REGION:
		tell_region(f, &m);
		break;
	case MSG_INDEX:
		tell_index(f, &m);
		break;
	default:
		FAIL("message %u", m.head.type);
	}
}

/* ---- the ring ---- */

static void do_grant(struct fake *f, const struct ring_call *q,
		     struct ring_answer *a)
{
	struct oc_key key;

	for (uint32_t i = 0; i < FAKE_FRAMES; i++) {
		struct frame_desc *d = fake_desc(f, FAKE_OWN, i);
		uint64_t word = shared_load64(&d->word);

		if (frame_word_state(word) == FRAME_SEALED &&
		    frame_is(d, q->key, q->part)) {
			a->result = OC_EXISTS;
			return;
		}
	}
	memcpy(key.bytes, q->key, sizeof(key.bytes));
	for (uint32_t i = 0; i < FAKE_FRAMES; i++) {
		struct frame_desc *d = fake_desc(f, FAKE_OWN, i);
		uint64_t word = shared_load64(&d->word);

		if (frame_word_state(word) != FRAME_FREE)
			continue;
		shared_store_words(d->key, q->key, 4);
		shared_store64(&d->part, q->part);
		shared_store64_release(&d->word,
				       frame_word(frame_word_gen(word),
						  FRAME_GRANTED));
		a->loc = frame_loc(FAKE_OWN, i);
		a->gen = frame_word_gen(word);
		f->granted++;
		return;
	}
	a->result = -ENOBUFS;
}

static void do_seal(struct fake *f, const struct ring_call *q,
		    struct ring_answer *a)
{
	struct frame_desc *d = fake_desc(f, FAKE_OWN, frame_loc_frame(q->loc));
	struct oc_key key;

	if (shared_load64(&d->word) != frame_word(q->gen, FRAME_GRANTED)) {
		a->result = OC_STALE;
		return;
	}
	shared_store64(&d->checksum, q->checksum);
	shared_store64(&d->extent, q->extent);
	shared_store64_release(&d->word, frame_word(q->gen, FRAME_SEALED));
	memcpy(key.bytes, q->key, sizeof(key.bytes));
	fake_entry(f, &key, q->part, FAKE_OWN, frame_loc_frame(q->loc), q->gen);
}

static void do_abandon(struct fake *f, const struct ring_call *q,
		       struct ring_answer *a)
{
	struct frame_desc *d = fake_desc(f, FAKE_OWN, frame_loc_frame(q->loc));

	if (shared_load64(&d->word) != frame_word(q->gen, FRAME_GRANTED)) {
		/* but for a seal that the client does not know of: a mistake */
		CHECK(f->hush_seals);
		a->result = OC_STALE;
		return;
	}
	shared_store64_release(&d->word, frame_word(q->gen + 1, FRAME_FREE));
	f->abandoned++;
}

static void do_pin(struct fake *f, const struct ring_call *q,
		   struct ring_answer *a)
{
	struct table_hash h = table_hash(q->key, q->part);
	unsigned cursor = 0;
	uint64_t word = table_probe(&f->table, h, &cursor);
	shared_u64 *slots = &f->client->slots[FAKE_PINS];
	uint64_t loc = table_word_loc(word);

	if (!word) {
		a->result = OC_MISS;
		return;
	}
	for (uint32_t i = 0; i < FAKE_OVERFLOW; i++) {
		if (shared_load64(&slots[i]))
			continue;
		a->loc = loc;
		a->gen = frame_word_gen(shared_load64(
			&fake_desc(f, frame_loc_slab(loc), frame_loc_frame(loc))
				 ->word));
		a->arg = i;
		shared_store64(&slots[i], pin_word(loc, a->gen));
		return;
	}
	a->result = -EDQUOT;
}

/* ---- a tier below ---- */

void fake_tier(struct fake *f)
{
	struct tier_record *t = &f->meta->tier[OC_TIER_NVME];

	shared_store64(&t->kind, OC_TIER_NVME);
	shared_store64(&t->latency_ns, 1000000);
	shared_store64(&t->bytes_per_s, 4096000);
	shared_store64(&t->measured_ms, 1);
}

void fake_below(struct fake *f, uint64_t n, uint64_t part, int fate)
{
	CHECK_INT(f->n_below, <, FAKE_FRAMES);
	f->below[f->n_below].key = fake_key(n);
	f->below[f->n_below].part = part;
	f->below[f->n_below++].fate = fate;
}

static bool resident(const struct fake *f, const uint64_t key[4], uint64_t part)
{
	struct table_hash h = table_hash(key, part);
	unsigned cursor = 0;
	uint64_t word;

	while ((word = table_probe(&f->table, h, &cursor))) {
		uint64_t loc = table_word_loc(word);
		const struct frame_desc *d =
			(const struct frame_desc *)f->slab[frame_loc_slab(loc)]
				.desc.base +
			frame_loc_frame(loc);

		if (frame_word_state(shared_load64(&d->word)) == FRAME_SEALED &&
		    frame_is(d, key, part))
			return true;
	}
	return false;
}

static struct fake_below *find_below(struct fake *f, const uint64_t key[4],
				     uint64_t part)
{
	for (uint32_t i = 0; i < f->n_below; i++)
		if (memcmp(f->below[i].key.bytes, key, OC_KEY_BYTES) == 0 &&
		    f->below[i].part == part)
			return &f->below[i];
	return NULL;
}

static bool is_meant(const struct fake *f, const struct ring_call *q,
		     uint32_t group)
{
	uint64_t mask = q->arg2 >> RING_GROUPS_SHIFT;

	return group < MAX(f->groups, 1u) && (!mask || mask >> group & 1);
}

static struct ring_place place_of(struct fake *f, const struct ring_call *q,
				  const uint64_t key[4])
{
	struct ring_place p = { .tier = OC_TIER_DRAM };

	for (uint32_t g = 0; g < 8; g++) {
		uint64_t part = frame_part(1, (uint16_t)g, 0);

		if (!is_meant(f, q, g) || resident(f, key, part))
			continue;
		if (!find_below(f, key, part))
			return (struct ring_place){ 0 };
		p.tier = f->on_rung >> g & 1 ? OC_TIER_CXL : OC_TIER_NVME;
		p.bytes += FAKE_FRAME_BYTES;
		p.expected_ns = 3000000;
	}
	return p;
}

static void key_at(const struct fake *f, const struct ring_call *q, size_t i,
		   uint64_t ret_key[4])
{
	if (q->arg == 1)
		memcpy(ret_key, q->key, OC_KEY_BYTES);
	else
		shared_load_words(ret_key, f->client->blob + 4 * i, 4);
}

static void do_look(struct fake *f, const struct ring_call *q,
		    struct ring_answer *a)
{
	static uint64_t keys[RING_BLOB_KEYS][4];
	size_t n = f->look_most ? MIN(q->arg, (size_t)f->look_most) : q->arg;

	CHECK_INT(q->arg, <=, RING_BLOB_KEYS);
	f->looks++;
	for (size_t i = 0; i < n; i++)
		key_at(f, q, i, keys[i]);
	a->loc = n;
	for (size_t i = 0; i < n; i++) {
		struct ring_place p = place_of(f, q, keys[i]);

		if (q->arg > 1) {
			shared_store_bytes(f->client->blob + 3 * i, sizeof(p),
					   &p, sizeof(p));
			continue;
		}
		a->gen = p.bytes;
		a->arg = p.expected_ns;
		a->arg2 = (uint64_t)p.tier << 32 | p.tokens;
	}
}

/* False: it is not answered. */
static bool do_fetch(struct fake *f, const struct ring_call *q,
		     struct ring_answer *a)
{
	struct fake_below *b;

	if (q->arg2 & RING_FETCH_AHEAD) {
		f->ahead += q->arg;
		a->loc = q->arg;
		return true;
	}
	CHECK_INT(q->arg, ==, 1);
	f->fetches++;
	for (uint32_t g = 0; g < 8; g++) {
		uint64_t part = frame_part(1, (uint16_t)g, 0);

		if (!is_meant(f, q, g) || resident(f, q->key, part))
			continue;
		b = find_below(f, q->key, part);
		if (b && b->fate == BELOW_STUCK)
			return false;
		if (!b || b->fate == BELOW_GONE) {
			a->result = OC_MISS;
			return true;
		}
		if (b->fate == BELOW_LATE) {
			b->fate = BELOW_COMES;
			return true;
		}
		f->fetched++;
		fake_seal(f, FAKE_OTHER, FAKE_FRAMES - f->fetched, 5, &b->key,
			  part);
	}
	return true;
}

static void respond(struct fake *f, const struct ring_call *q,
		    const struct ring_answer *a)
{
	struct ring_resp *resp = &f->client->resp[q->slot];
	struct ring_req *req = &f->client->req[q->slot];

	ring_resp_store(resp, q->seq, a);
	shared_fence();
	if (shared_load32(&req->waiting))
		syscall(SYS_futex, (uint32_t *)(uintptr_t)&resp->seq,
			FUTEX_WAKE, 1, NULL, NULL, 0);
	if (shared_load32(&req->notify))
		CHECK(send(f->bell, "", 1, MSG_DONTWAIT) == 1 ||
		      errno == EAGAIN);
	f->done++;
}

static void do_cancel(struct fake *f, const struct ring_call *q)
{
	uint32_t slot = (uint32_t)q->arg;
	struct ring_call target;

	f->cancelled++;
	if (slot < RING_SLOTS &&
	    ring_req_load(&f->client->req[slot], &f->client->resp[slot], slot,
			  &target) &&
	    target.seq == q->arg2)
		respond(f, &target,
			&(struct ring_answer){ .result = -ECANCELED });
}

static void do_blob(struct fake *f, const struct ring_call *q,
		    struct ring_answer *a)
{
	if (q->op == RING_NS_OPEN) {
		struct ns_spec spec;

		shared_load_bytes(&spec, sizeof(spec), f->client->blob);
		a->result = ns_spec_check(&spec);
		a->arg = 1;
		return;
	}
	/* In two pieces; the first second one comes from another server. */
	if (q->arg2 == 9 && !f->stale_once) {
		f->stale_once = true;
		a->result = OC_STALE;
		return;
	}
	a->arg = strlen(REPORT);
	a->arg2 = 9;
	a->loc = MIN(a->arg - q->arg, 8ull);
	shared_store_bytes(f->client->blob, 16, &REPORT[q->arg],
			   (size_t)a->loc);
}

static void serve(struct fake *f, const struct ring_call *q)
{
	struct ring_answer a = { 0 };

	switch (q->op) {
	case RING_GRANT:
		do_grant(f, q, &a);
		break;
	case RING_SEAL:
		if (!f->drop_seals)
			do_seal(f, q, &a);
		if (f->drop_seals || f->hush_seals) {
			f->unanswered++;
			return;
		}
		break;
	case RING_ABANDON:
		do_abandon(f, q, &a);
		break;
	case RING_PIN:
		do_pin(f, q, &a);
		break;
	case RING_UNPIN:
		shared_store64(&f->client->slots[FAKE_PINS + q->arg], 0);
		f->unpinned++;
		break;
	case RING_CANCEL:
		do_cancel(f, q);
		break;
	case RING_BAD:
		f->bad++;
		break;
	case RING_LOOK:
		do_look(f, q, &a);
		break;
	case RING_FETCH:
		if (!do_fetch(f, q, &a))
			return;
		break;
	case RING_NS_OPEN:
	case RING_REPORT:
		do_blob(f, q, &a);
		break;
	default:
		break;
	}
	respond(f, q, &a);
}

static bool on_ring(struct fake *f)
{
	uint64_t tail;

	if (!f->client || f->mute_ring)
		return false;
	tail = shared_load64_acquire(&f->client->header.tail);
	if (tail == f->head)
		return false;
	for (; f->head != tail; f->head++) {
		uint32_t slot =
			shared_load32(&f->client->ring[f->head % RING_SLOTS]);
		struct ring_call q;

		if (ring_req_load(&f->client->req[slot], &f->client->resp[slot],
				  slot, &q))
			serve(f, &q);
	}
	return true;
}

static void doze(struct fake *f, bool asleep)
{
	if (!f->client)
		return;
	shared_store64(&f->client->header.asleep, asleep);
	shared_fence();
}

static void *run(void *ctx)
{
	struct fake *f = ctx;

	for (;;) {
		struct pollfd p[] = {
			{ .fd = f->stop, .events = POLLIN },
			{ .fd = f->bell, .events = POLLIN },
			{ .fd = f->sock, .events = POLLIN },
			{ .fd = f->sock < 0 ? f->listener : -1,
			  .events = POLLIN },
		};
		char rings[256];
		bool busy;

		pthread_mutex_lock(&f->lock);
		doze(f, true);
		busy = on_ring(f);
		pthread_mutex_unlock(&f->lock);
		if (poll(p, ARRAY_LEN(p), busy ? 0 : -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		pthread_mutex_lock(&f->lock);
		if (p[1].revents && recv(f->bell, rings, sizeof(rings), 0) < 0)
			FAIL("recv: %s", strerror(errno));
		if (p[2].revents)
			on_socket(f);
		if (p[3].revents)
			f->sock = accept4(f->listener, NULL, NULL,
					  SOCK_CLOEXEC | SOCK_NONBLOCK);
		pthread_mutex_unlock(&f->lock);
	}
}

void fake_serve_again(struct fake *f)
{
	f->mute_ring = false;
	f->mute_socket = false;
	CHECK_INT(send(f->bell_peer, "", 1, MSG_DONTWAIT), ==, 1);
}

/* ---- life ---- */

static void listen_at(struct fake *f)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(f->path, sizeof(f->path), "/tmp/onecopy-fake-%d", getpid());
	unlink(f->path);
	CHECK_OK(text_copy(sun.sun_path, sizeof(sun.sun_path), f->path));
	f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK_OK(bind(f->listener, (struct sockaddr *)&sun, sizeof(sun)));
	CHECK_OK(listen(f->listener, 8));
}

struct fake *fake_start(void)
{
	int pair[2];
	struct fake *f = calloc(1, sizeof(*f));

	CHECK(f != NULL);
	for (int i = 0; i < FAKE_SLABS; i++)
		f->slab[i].data = f->slab[i].desc = SEGMENT_NONE;
	f->client_segment = SEGMENT_NONE;
	f->sock = -1;
	pthread_mutex_init(&f->lock, NULL);
	CHECK_OK(segment_create("fake-meta", POOL_META_BYTES, 0,
				&f->meta_segment));
	f->meta = f->meta_segment.base;
	layout_init(f->meta, 42, "default");
	shared_store64(&f->meta->header.state, POOL_SERVING);
	shared_store64(&f->meta->header.server_epoch, 1);
	shared_store64(&f->meta->tier[0].kind, OC_TIER_DRAM);
	shared_store64(&f->meta->tier[0].latency_ns, 100);
	shared_store64(&f->meta->tier[0].bytes_per_s, 4096000000ull);
	shared_store64(&f->meta->tier[0].measured_ms, 1);
	f->index_epoch = 1;
	shared_store64(&f->meta->header.index_epoch, 1);
	index_make(f, 256);
	fake_slab_make(f, FAKE_OWN, FAKE_FRAMES, CLIENT_ID);
	fake_slab_make(f, FAKE_OTHER, FAKE_FRAMES, 0);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			    0, pair));
	f->bell = pair[0];
	f->bell_peer = pair[1];
	f->stop = eventfd(0, EFD_CLOEXEC);
	listen_at(f);
	CHECK_OK(pthread_create(&f->thread, NULL, run, f));
	return f;
}

void fake_stop(struct fake *f)
{
	uint64_t one = 1;

	CHECK_INT(write(f->stop, &one, sizeof(one)), ==, sizeof(one));
	pthread_join(f->thread, NULL);
	fd_close(f->listener);
	fd_close(f->sock);
	fd_close(f->bell);
	fd_close(f->bell_peer);
	fd_close(f->stop);
	unlink(f->path);
	for (int i = 0; i < FAKE_SLABS; i++) {
		segment_close(&f->slab[i].data);
		segment_close(&f->slab[i].desc);
	}
	segment_close(&f->meta_segment);
	segment_close(&f->index_segment);
	segment_close(&f->client_segment);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

oc_client *fake_client(struct fake *f, const struct oc_client_options *from)
{
	struct oc_client_options o = { .size = sizeof(o) };
	char error[256] = "";
	oc_client *c = NULL;
	int r;

	if (from)
		o = *from;
	o.socket = f->path;
	r = oc_client_connect(&o, &c, error);
	if (r)
		FAIL("connect: %d (%s)", r, error);
	return c;
}

oc_ns *fake_ns(oc_client *c)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = FAKE_FRAME_BYTES } },
	};
	oc_ns *ns = NULL;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	CHECK_INT(oc_ns_id(ns), ==, 1);
	return ns;
}
