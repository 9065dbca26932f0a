/* The engine alone: operations that are taken back while they are half sent. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "tests/test.h"
#include "tier/nvme/io.h"

#define MIB (1ull << 20)

struct bench {
	struct nvme_engine e;
	struct nvme_io_table table;
	struct nvme_io waited, ahead, write;
	_Atomic bool held, cancel_at_end;
	bool begun;
	uint32_t done;
	char path[64];
	int fd;
};

static struct bench *bench_now;

static int table_open(void *ctx, const char *path, int flags, unsigned mode)
{
	(void)ctx;
	return open(path, flags | O_CLOEXEC, mode);
}

static uint64_t table_now(void *ctx)
{
	(void)ctx;
	return NS_PER_S;
}

/* Reads stay with the device. When the write's first piece begins, a read comes
 * that goes before the rest of it. */
static struct nvme_fate fate(void *ctx, enum nvme_op op, uint64_t offset,
			     uint64_t bytes)
{
	struct bench *b = ctx;

	(void)offset;
	(void)bytes;
	if (op == NVME_WRITE && !b->begun) {
		b->begun = true;
		nvme_io_submit(&b->e, &b->ahead);
	}
	return (struct nvme_fate){ .hold = op == NVME_READ && b->held };
}

/* Between the kernel's answer and what is made of it. */
static bool held(void *ctx)
{
	struct bench *b = ctx;
	uint32_t back = 0;

	for (const struct nvme_piece *p = b->e.ended; p; p = p->next)
		back += p->io == &b->write;
	if (b->cancel_at_end && back && back == b->write.pieces &&
	    b->write.sent < b->write.bytes) {
		b->cancel_at_end = false;
		nvme_io_cancel(&b->e, &b->write);
	}
	return b->held;
}

static void done(struct nvme_io *io)
{
	(void)io;
	bench_now->done++;
}

static void operation(struct nvme_io *io, enum nvme_op op,
		      enum tier_urgency urgency, uint64_t at, uint64_t bytes)
{
	io->op = (uint8_t)op;
	io->urgency = (uint8_t)urgency;
	io->offset = at;
	io->bytes = bytes;
	io->data = nvme_pages(bytes);
	CHECK(io->data);
	io->done = done;
}

static void open_file(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	bench_now = b;
	snprintf(b->path, sizeof(b->path), "/tmp/onecopy-engine-XXXXXX");
	b->fd = mkostemp(b->path, O_CLOEXEC);
	CHECK(b->fd >= 0);
	CHECK_OK(ftruncate(b->fd, 16 * (off_t)MIB));
}

static void start(struct bench *b, int kind, uint64_t ahead)
{
	open_file(b);
	b->held = true;
	b->table = (struct nvme_io_table){ .open = table_open,
					   .now = table_now,
					   .fate = fate,
					   .held = held,
					   .ctx = b };
	CHECK_OK(nvme_engine_start(&b->e, &b->table, b->fd, kind, 64));
	operation(&b->waited, NVME_READ, TIER_WAITED, 0, MIB);
	operation(&b->ahead, NVME_READ, TIER_AHEAD, 0, ahead);
	operation(&b->write, NVME_WRITE, TIER_BEHIND, 8 * MIB, 4 * MIB);
}

/* Until so many are done; ten seconds at most. */
static void wait_done(struct bench *b, uint32_t n)
{
	struct pollfd p = { .fd = b->e.event, .events = POLLIN };

	for (unsigned i = 0; i < 1000 && b->done < n; i++) {
		poll(&p, 1, 10);
		nvme_io_reap(&b->e);
	}
	CHECK_INT(b->done, ==, n);
}

static void finish(struct bench *b)
{
	b->held = false;
	nvme_io_kick(&b->e);
	wait_done(b, 3);
	CHECK_INT(b->write.result, ==, -ECANCELED);
	CHECK_INT(b->write.sent, <, b->write.bytes);
	nvme_engine_stop(&b->e);
	nvme_engine_fini(&b->e);
	free(b->waited.data);
	free(b->ahead.data);
	free(b->write.data);
	close(b->fd);
	unlink(b->path);
}

static void wait_waited(struct bench *b)
{
	struct nvme_engine_stat s;

	nvme_io_submit(&b->e, &b->waited);
	do {
		nvme_engine_stat(&b->e, &s);
	} while (s.flying_bytes < MIB);
}

/* All that was sent is back, the rest waits for its turn. */
static bool between(struct bench *b)
{
	bool is;

	pthread_mutex_lock(&b->e.lock);
	is = b->write.sent > 0 && b->write.pieces == 0 &&
	     b->write.sent < b->write.bytes && b->e.less_flying >= MIB;
	pthread_mutex_unlock(&b->e.lock);
	return is;
}

static void cancelled_between(int kind)
{
	struct bench b;

	start(&b, kind, MIB);
	wait_waited(&b);
	nvme_io_submit(&b.e, &b.write);
	while (!between(&b))
		sched_yield();
	nvme_io_cancel(&b.e, &b.write);
	wait_done(&b, 1); /* while the reads are still with the device */
	finish(&b);
}

TEST(cancelled_between_pieces)
{
	cancelled_between(TIER_IO_URING);
	cancelled_between(TIER_IO_THREADS);
}

static void cancelled_at_end(int kind)
{
	struct bench b;

	start(&b, kind, MIB / 2);
	wait_waited(&b);
	b.cancel_at_end = true;
	nvme_io_submit(&b.e, &b.write);
	wait_done(&b, 1);
	CHECK(!b.cancel_at_end);
	finish(&b);
}

TEST(cancelled_as_a_piece_ends)
{
	cancelled_at_end(TIER_IO_URING);
	cancelled_at_end(TIER_IO_THREADS);
}

/* ---- slices */

#define SLICE	 4096u
#define SLICES	 200u /* more than one call of the kernel takes */
#define DISTANCE (3u * SLICE)

static struct nvme_fate cut(void *ctx, enum nvme_op op, uint64_t offset,
			    uint64_t bytes)
{
	unsigned *cuts = ctx;

	(void)op;
	(void)offset;
	/* in the middle of a row of slices: the rest is sent again */
	if (bytes > 5 * SLICE && *cuts)
		return (struct nvme_fate){ .bytes = 5 * SLICE * (*cuts)-- };
	return (struct nvme_fate){ 0 };
}

static void one(struct bench *b, struct nvme_io *io, enum nvme_op op,
		const struct slices *at)
{
	uint32_t n = b->done + 1;

	io->op = (uint8_t)op;
	io->urgency = TIER_WAITED;
	io->offset = MIB;
	io->bytes = io->payload = SLICES * SLICE;
	io->slices = *at;
	io->done = done;
	io->seed = 5;
	io->checksum = hash_slices(at, io->bytes, io->seed);
	nvme_io_submit(&b->e, io);
	wait_done(b, n);
}

static void over_slices(int kind, unsigned cuts)
{
	static uint8_t file[SLICES * SLICE];
	struct slices at = { nvme_pages(SLICES * DISTANCE), SLICE, DISTANCE };
	uint64_t run;
	struct bench b;

	CHECK(at.base);
	open_file(&b);
	b.table = nvme_io_real;
	b.table.fate = cut;
	b.table.ctx = &cuts;
	CHECK_OK(nvme_engine_start(&b.e, &b.table, b.fd, kind, 64));
	for (uint64_t i = 0; i < sizeof(file); i++)
		*slices_at(&at, i, 1, &run) = (uint8_t)(i * 2654435761u >> 11);
	memset(at.base + SLICE, 0xee, SLICE); /* another's */
	one(&b, &b.write, NVME_WRITE, &at);
	CHECK_OK(b.write.result);
	CHECK_INT(pread(b.fd, file, sizeof(file), MIB), ==, sizeof(file));
	for (uint64_t i = 0; i < sizeof(file); i++)
		CHECK_INT(file[i], ==, *slices_at(&at, i, 1, &run));
	/* and back: what came is what is hashed */
	memset(at.base + 7 * DISTANCE, 0, SLICE);
	one(&b, &b.waited, NVME_READ, &at);
	CHECK_INT(b.waited.result, ==, -EBADMSG);
	CHECK(hash_slices(&at, sizeof(file), 5) == b.write.checksum);
	one(&b, &b.waited, NVME_READ, &at);
	CHECK_OK(b.waited.result);
	for (uint64_t i = 0; i < SLICE; i++)
		CHECK_INT(at.base[SLICE + i], ==, 0xee);
	CHECK_INT(cuts, ==, 0);
	nvme_engine_stop(&b.e);
	nvme_engine_fini(&b.e);
	free(at.base);
	close(b.fd);
	unlink(b.path);
}

TEST(parts_in_slices)
{
	over_slices(TIER_IO_URING, 0);
	over_slices(TIER_IO_THREADS, 0);
	over_slices(TIER_IO_URING, 3);
	over_slices(TIER_IO_THREADS, 3);
}
