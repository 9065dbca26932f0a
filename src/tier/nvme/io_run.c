/* SPDX-License-Identifier: Apache-2.0 */
/* The device's thread: who goes next, and what came back. */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/guard.h"
#include "base/hash.h"
#include "base/log.h"
#include "tier/nvme/io_internal.h"

/* With the device at once. Small enough that who comes next does not wait long
 * (at 2 GB/s: 3 and 4 ms), large enough that the device is never idle. With two
 * parts of 2 MiB writes came to 0.46 to 0.90 of fio's, with three to 1.08, with four
 * to 0.94 to 0.98; the first read behind them took 3.06 times the idle one with
 * three, 3.26 with four. */
#define WRITE_FLYING (6u << 20)
#define READ_FLYING  (8u << 20)
/* Of what is less urgent, while somebody waits for a read. */
#define LESS_FLYING  (1u << 20)
#define LESS_PIECE   (512u << 10)
#define PIECE_MOST   (1u << 30)
#define QUEUE_WAITED (2 + 2 * TIER_WAITED) /* reads that are waited for */
#define JOB_DEPTH    16u

/* ---- pieces -------------------------------------------------------------------- */

static void count(struct nvme_engine *e, const struct nvme_io *io,
		  uint64_t bytes, bool begins)
{
	uint64_t *of = io->op == NVME_READ ? &e->read_flying : &e->write_flying;
	unsigned q = nvme_queue_of(io);

	if (io->op > NVME_WRITE)
		return;
	*of += begins ? bytes : -bytes;
	if (q >= 2 && q != QUEUE_WAITED)
		e->less_flying += begins ? bytes : -bytes;
	if (q == QUEUE_WAITED)
		e->waited_flying += begins ? 1 : -1u;
}

static struct nvme_piece *piece_take(struct nvme_engine *e, struct nvme_io *io,
				     uint64_t bytes)
{
	struct nvme_piece *p = e->free;

	e->free = p->next;
	p->next = NULL;
	p->io = io;
	p->result = p->from_kernel = 0;
	p->from = io->sent;
	p->bytes = bytes;
	io->sent += bytes;
	io->pieces++;
	e->flying++;
	return p;
}

/* To the kernel, or to what the table makes of it. */
static void piece_start(struct nvme_engine *e, struct nvme_piece *p)
{
	struct nvme_io *io = p->io;
	struct nvme_fate fate = { 0 };

	if (e->table->fate)
		fate = e->table->fate(e->table->ctx, (enum nvme_op)io->op,
				      io->offset + p->from, p->bytes);
	if (fault_point(FAULT_IO))
		fate.result = -EIO;
	if (fate.result < 0 && !fate.hold) {
		nvme_engine_ended(e, p, fate.result);
		return;
	}
	if (fate.hold) {
		p->result = fate.result;
		p->next = e->held;
		e->held = p;
		return;
	}
	if (fate.bytes && fate.bytes < p->bytes) {
		/* the rest is sent again, when this has come back short */
		p->result = (int64_t)(p->bytes - fate.bytes);
		p->bytes = fate.bytes;
	} else {
		p->result = 0;
	}
	e->backend->start(e, p);
}

/* Those that were held go on, or end as was said. */
static void look_at_held(struct nvme_engine *e)
{
	struct nvme_piece *p;

	while (e->held && !e->table->held(e->table->ctx)) {
		p = e->held;
		e->held = p->next;
		p->next = NULL;
		if (p->result < 0)
			nvme_engine_ended(e, p, p->result);
		else
			e->backend->start(e, p);
	}
}

void nvme_engine_ended(struct nvme_engine *e, struct nvme_piece *p,
		       int64_t result)
{
	/* what fate cut off was not done either */
	if (p->result > 0 && p->io->op <= NVME_WRITE) {
		p->bytes += (uint64_t)p->result;
		if (result > 0)
			result = MIN(result, (int64_t)p->bytes - p->result);
	}
	p->result = result;
	p->next = e->ended;
	e->ended = p;
}

unsigned nvme_engine_vec(struct nvme_engine *e, const struct nvme_piece *p,
			 const struct iovec **ret_vec)
{
	struct iovec *vec = e->vec + (p - e->piece) * NVME_VEC;
	uint64_t at = p->from, end = p->from + p->bytes, run;
	unsigned n = 0;

	for (; at < end; at += run) {
		must(n < NVME_VEC);
		vec[n].iov_base = slices_at(&p->io->slices, at, end - at, &run);
		vec[n++].iov_len = run;
	}
	*ret_vec = vec;
	return n;
}

/* ---- who goes next --------------------------------------------------------------- */

/* Bytes of the queue's next operation that may go now; 0: none. */
static uint64_t allowed(const struct nvme_engine *e, unsigned q,
			const struct nvme_io *io)
{
	uint64_t left = MIN(io->bytes - io->sent, PIECE_MOST);
	bool waited = e->waited_flying || e->queue[QUEUE_WAITED].n;

	if (q < 2)
		return left;
	if (e->flying >= e->depth.now && (q == QUEUE_WAITED || e->less_flying))
		return 0;
	if (q == QUEUE_WAITED)
		return left;
	if (waited)
		return e->less_flying < LESS_FLYING ? MIN(left, LESS_PIECE) : 0;
	if (q & 1)
		return e->write_flying < WRITE_FLYING ? left : 0;
	return e->read_flying < READ_FLYING ? left : 0;
}

/* As far as one call of the kernel goes over its slices. */
static uint64_t in_reach(const struct nvme_io *io, uint64_t bytes)
{
	uint64_t slice = io->slices.bytes;

	return slice ? MIN(bytes, NVME_VEC * slice - io->sent % slice) : bytes;
}

/* From the queue to the device. NULL: its time is over. */
static struct nvme_io *begin(struct nvme_engine *e, unsigned q, uint64_t now)
{
	struct nvme_io *io = e->queue[q].first;

	nvme_list_remove(&e->queue[q], io);
	e->queued_bytes[q] -= io->bytes;
	if (io->deadline_ns && now >= io->deadline_ns) {
		io->result = -ETIMEDOUT;
		nvme_engine_done(e, io);
		return NULL;
	}
	io->at = NVME_AT_DEVICE;
	io->begun_ns = now;
	io->alone = e->device.n == 0;
	io->among = e->read_flying + e->write_flying + io->bytes;
	nvme_list_add(&e->device, io);
	return io;
}

/* The next piece of one queue, under the lock. False: nothing more now. */
static bool next_of(struct nvme_engine *e, unsigned q, uint64_t now,
		    struct nvme_piece ***tail)
{
	struct nvme_io *io = e->partial[q] ? e->partial[q] : e->queue[q].first;
	uint64_t bytes;

	if (!io || !e->free)
		return false;
	bytes = io->op <= NVME_WRITE ? allowed(e, q, io) : io->bytes;
	if (io->op <= NVME_WRITE && bytes == 0)
		return false;
	if (io->op <= NVME_WRITE)
		bytes = in_reach(io, bytes);
	if (!e->partial[q] && !begin(e, q, now))
		return true;
	**tail = piece_take(e, io, bytes);
	*tail = &(**tail)->next;
	count(e, io, bytes, true);
	e->partial[q] = io->sent < io->bytes ? io : NULL;
	return true;
}

static void over(struct nvme_engine *e, struct nvme_io *io);

/* What was half sent and is taken back: nothing comes that could end it, when all
 * that was sent is back already. */
static void drop_cancelled(struct nvme_engine *e, unsigned q)
{
	struct nvme_io *io = e->partial[q];

	if (!io || !io->cancelled)
		return;
	e->partial[q] = NULL;
	if (io->pieces == 0)
		over(e, io);
}

/* What may begin now, in order. */
static struct nvme_piece *choose(struct nvme_engine *e)
{
	uint64_t now = e->table->now(e->table->ctx);
	struct nvme_piece *first = NULL, **tail = &first;

	for (unsigned q = 0; q < NVME_QUEUES; q++) {
		drop_cancelled(e, q);
		while (next_of(e, q, now, &tail))
			;
	}
	return first;
}

/* ---- what came back ---------------------------------------------------------------- */

static void blend(uint64_t *mean, uint64_t fresh)
{
	*mean = *mean ? *mean - *mean / 8 + fresh / 8 : fresh;
}

/* What the device costs, from an operation that went well. */
static void learn(struct nvme_engine *e, const struct nvme_io *io,
		  uint64_t took)
{
	struct tier_price *p = io->op == NVME_READ ? &e->read : &e->write;
	uint64_t moving;

	/* of a few bytes the time is mostly the latency */
	if (io->among >= 256u << 10 || p->bytes_per_s == 0)
		blend(&p->bytes_per_s,
		      (uint64_t)((double)io->among * 1e9 / (double)took));
	if (!io->alone)
		return;
	moving = (uint64_t)((double)io->bytes * 1e9 /
			    (double)MAX(p->bytes_per_s, 1ull));
	blend(&p->latency_ns, MAX(took - MIN(moving, took), took / 8 + 1));
}

/* All pieces are back. Under the lock. */
static void over(struct nvme_engine *e, struct nvme_io *io)
{
	uint64_t now = e->table->now(e->table->ctx);
	uint64_t took = MAX(now - MIN(io->begun_ns, now), 1ull);
	bool waiting = false;

	nvme_list_remove(&e->device, io);
	if (io->result == 0 && io->sent < io->bytes)
		io->result = -ECANCELED;
	if (io->op <= NVME_WRITE && io->result == 0 && io->done &&
	    io->urgency != NVME_LOG_ITSELF) {
		learn(e, io, took);
		for (unsigned q = 2; q < NVME_QUEUES; q++)
			waiting |= e->queue[q].n > 0;
		nvme_depth_ended(&e->depth, io->bytes, took, waiting, now);
	}
	if (io->done)
		nvme_engine_done(e, io);
	else
		io->at = NVME_AT_DONE;
}

/* What is left of a piece that came back short, or is to be tried again. */
static bool again(struct nvme_engine *e, struct nvme_piece *p)
{
	struct nvme_io *io = p->io;
	uint64_t moved = 0;

	/* what moves no bytes was not done, and is not called done */
	if (io->op > NVME_WRITE)
		return io->op != NVME_JOB && p->result == -EINTR;
	if (p->result == -EINTR || p->result == -EAGAIN)
		p->result = 0;
	else if (p->result <= 0)
		return false;
	else
		moved = (uint64_t)p->result & ~(PAGE_BYTES - 1);
	if (moved >= p->bytes || (moved == 0 && p->result > 0))
		return false;
	p->from += moved;
	p->bytes -= moved;
	(void)e;
	return true;
}

static int outcome(const struct nvme_piece *p)
{
	if (p->result < 0)
		return (int)p->result;
	if (p->io->op > NVME_WRITE || (uint64_t)p->result >= p->bytes)
		return 0;
	return p->io->op == NVME_READ ? -ENODATA : -EIO;
}

static void sum_run(void *ctx)
{
	struct nvme_io *io = ctx;

	if (hash_slices(&io->slices, io->payload, io->seed) != io->checksum)
		io->result = -EBADMSG;
}

/* What was read, or what a write's memory holds now that the device is done with
 * it: who shares that memory may have changed it meanwhile. Where the memory fails
 * the drive is not to blame. */
static void verify(struct nvme_io *io)
{
	if (io->op > NVME_WRITE || io->result || io->payload == 0 ||
	    io->sent < io->bytes)
		return;
	if (guard_run(sum_run, io, NULL) < 0)
		io->result = io->op == NVME_READ ? -EFAULT : -EBADMSG;
}

static void lock(struct nvme_engine *e)
{
	must(pthread_mutex_lock(&e->lock) == 0);
}

/* The rest of it is not sent. */
static void unpart(struct nvme_engine *e, const struct nvme_io *io)
{
	for (unsigned q = 0; q < NVME_QUEUES; q++)
		if (e->partial[q] == io)
			e->partial[q] = NULL;
}

/* One piece is back: its operation is over, or goes on. */
static void settle_piece(struct nvme_engine *e, struct nvme_piece *p)
{
	struct nvme_io *io = p->io;
	uint64_t was = p->bytes;
	int r;

	if (again(e, p)) {
		lock(e);
		count(e, io, was - p->bytes, false);
		if (nvme_queue_of(io) == QUEUE_WAITED)
			e->waited_flying++; /* it was counted as ended */
		pthread_mutex_unlock(&e->lock);
		piece_start(e, p);
		return;
	}
	r = outcome(p);
	if (r < 0 && io->result == 0)
		io->result = r;
	p->next = e->free;
	e->free = p;
	e->flying--;
	/* The last piece: it is hashed before others may know. */
	if (io->pieces == 1)
		verify(io);
	lock(e);
	count(e, io, was, false);
	io->pieces--;
	if (io->result || io->cancelled)
		unpart(e, io);
	if (io->pieces == 0 &&
	    (io->sent == io->bytes || io->result || io->cancelled))
		over(e, io);
	pthread_mutex_unlock(&e->lock);
}

static bool settle(struct nvme_engine *e)
{
	struct nvme_piece *p, *next, *in_order = NULL;
	bool any = e->ended != NULL;

	for (p = e->ended; p; p = next) {
		next = p->next;
		p->next = in_order;
		in_order = p;
	}
	e->ended = NULL;
	for (p = in_order; p; p = next) {
		next = p->next;
		p->next = NULL;
		settle_piece(e, p);
	}
	return any;
}

/* ---- jobs ------------------------------------------------------------------------ */

static bool memory_step(struct nvme_engine *e);

/* The store's thread waits for who drops memory, job or no job. */
static void serve_drops(struct nvme_engine *e)
{
	bool drop;

	lock(e);
	drop = e->memory && e->memory->drop;
	pthread_mutex_unlock(&e->lock);
	if (drop)
		memory_step(e);
}

static uint64_t posted(struct nvme_engine *e)
{
	uint64_t n;

	lock(e);
	n = e->posted;
	pthread_mutex_unlock(&e->lock);
	return n;
}

void nvme_io_wait(struct nvme_engine *e, struct nvme_io *ios, uint32_t n)
{
	uint32_t begun = 0, ended = 0;

	while (ended < n) {
		uint64_t seen = posted(e);

		look_at_held(e);
		serve_drops(e);
		for (; begun < n && begun - ended < JOB_DEPTH; begun++) {
			struct nvme_io *io = &ios[begun];

			io->at = NVME_AT_DEVICE;
			io->urgency = NVME_LOG_ITSELF;
			io->begun_ns = e->table->now(e->table->ctx);
			lock(e);
			nvme_list_add(&e->device, io);
			count(e, io, io->bytes, true);
			pthread_mutex_unlock(&e->lock);
			piece_start(e, piece_take(e, io, io->bytes));
		}
		/* pairs with the exchange in unlock_and_wake() */
		atomic_store_explicit(&e->nap, true, memory_order_seq_cst);
		e->backend->wait(e, !e->ended && posted(e) == seen);
		atomic_store_explicit(&e->nap, false, memory_order_seq_cst);
		look_at_held(e);
		settle(e);
		ended = 0;
		for (uint32_t i = 0; i < begun; i++)
			ended += ios[i].at == NVME_AT_DONE;
	}
}

static void run_job(struct nvme_engine *e, struct nvme_piece *p)
{
	nvme_engine_ended(e, p, p->io->run(p->io));
}

/* ---- memory ---------------------------------------------------------------------- */

static void drop_memory(struct nvme_engine *e, struct nvme_memory *m)
{
	e->backend->memory_drop(e, m->base, m->bytes);
	lock(e);
	m->dropped = true;
	pthread_cond_broadcast(&e->memory_done);
	pthread_mutex_unlock(&e->lock);
}

/* One step: a drop, or a stretch to register while nobody waits. */
static bool memory_step(struct nvme_engine *e)
{
	struct nvme_memory *m, step;
	bool last;

	lock(e);
	m = e->memory;
	if (!m || (!m->drop && (e->waited_flying || e->stop))) {
		pthread_mutex_unlock(&e->lock);
		return false;
	}
	step = *m;
	last = m->drop || m->bytes <= NVME_MEMORY_BYTES;
	if (last) {
		e->memory = m->next;
	} else {
		step.bytes = NVME_MEMORY_BYTES;
		m->base += step.bytes;
		m->bytes -= step.bytes;
	}
	pthread_mutex_unlock(&e->lock);
	if (step.drop) {
		drop_memory(e, m);
		return true;
	}
	e->backend->memory_add(e, step.base, step.bytes);
	if (last)
		free(m);
	return true;
}

/* ---- the thread -------------------------------------------------------------------- */

static bool finished(const struct nvme_engine *e)
{
	uint32_t left = e->device.n;

	for (unsigned q = 0; q < NVME_QUEUES; q++)
		left += e->queue[q].n;
	return e->stop && left == 0 && (!e->memory || !e->memory->drop);
}

static bool start_all(struct nvme_engine *e, struct nvme_piece *first)
{
	struct nvme_piece *p, *next;
	bool job = false;

	for (p = first; p; p = next) {
		next = p->next;
		p->next = NULL;
		if (p->io->op == NVME_JOB) {
			job = true;
			run_job(e, p);
		} else {
			piece_start(e, p);
		}
	}
	return job;
}

void nvme_engine_run(struct nvme_engine *e)
{
	struct nvme_piece *first;
	uint64_t seen;
	bool end, busy;

	for (;;) {
		lock(e);
		first = choose(e);
		seen = e->posted;
		end = finished(e);
		pthread_mutex_unlock(&e->lock);
		if (end)
			return;
		busy = start_all(e, first);
		if (e->held) /* who let go of it may have posted before `seen` */
			look_at_held(e);
		busy |= memory_step(e);
		busy |= e->ended != NULL;
		/* pairs with the exchange in unlock_and_wake() */
		atomic_store_explicit(&e->nap, true, memory_order_seq_cst);
		lock(e);
		busy |= e->posted != seen;
		pthread_mutex_unlock(&e->lock);
		e->backend->wait(e, !busy);
		atomic_store_explicit(&e->nap, false, memory_order_seq_cst);
		if (e->held)
			look_at_held(e);
		settle(e);
	}
}
