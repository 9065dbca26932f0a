/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's health: what its answers and its silence say, trials when it is
 * down or takes no writes, and the lock while another process has it.
 *
 * A trial writes one page of the front area and reads it again. Where both fail
 * the path is opened anew (the file system may have been mounted again); if it is
 * still the same log, untouched by others, it takes the old one's place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/nvme.h"

#define LOCK_AGAIN_NS (20 * NS_PER_MS)
#define LOCK_LATER_NS NS_PER_S

enum trial { TRIAL_NONE, TRIAL_WRITE, TRIAL_READ, TRIAL_OPEN };

static void schedule_trial(struct nvme *t, bool first)
{
	if (first)
		t->trial_wait_ns = HEALTH_TRIAL_NS;
	else
		t->trial_wait_ns =
			MIN(2 * t->trial_wait_ns, HEALTH_TRIAL_MOST_NS);
	t->trial_ns = t->now_ns + t->trial_wait_ns;
}

void nvme_watch_event(struct nvme *t, enum health_event event, const char *why)
{
	enum tier_state to = health_step(t->state, event);

	if (to == t->state)
		return;
	if (to == TIER_UP && t->state != TIER_COMING)
		log_info("nvme: %s: up again", t->path);
	else if (to != TIER_UP)
		log_warn("nvme: %s: %s: %s", t->path, tier_state_name(to), why);
	t->state = to;
	t->why = to == TIER_UP ? "" : why;
	t->failed_in_a_row = 0;
	if (to == TIER_DOWN || to == TIER_READONLY)
		schedule_trial(t, true);
	if (to == TIER_DOWN)
		nvme_io_drop(&t->engine, -EIO);
}

static const char *refusal(int result)
{
	return result == -EROFS || result == -EPERM
		       ? "it can be read only"
		       : "there is no space left on it";
}

enum health_answer nvme_watch_answer(struct nvme *t, const struct nvme_io *io)
{
	enum health_answer a = health_answer(io->result, io->op != NVME_READ,
					     io->begun_ns != 0);

	if (io->begun_ns && t->now_ns > io->begun_ns + HEALTH_LATE_NS)
		t->count.late++;
	if (a == HEALTH_FINE) {
		if (io->result == 0 || io->result == -EBADMSG)
			t->failed_in_a_row = 0;
		return a;
	}
	t->count.errors++;
	if (a == HEALTH_REFUSED)
		nvme_watch_event(t, HEALTH_NO_WRITES, refusal(io->result));
	else if (a == HEALTH_GONE)
		nvme_watch_event(t, HEALTH_LOST, "the device is gone");
	else if (++t->failed_in_a_row >= HEALTH_IN_A_ROW)
		nvme_watch_event(
			t, HEALTH_LOST,
			"it fails what it is asked, one after another");
	return a;
}

/* ---- trials ---------------------------------------------------------------------- */

static void trial_submit(struct nvme *t, enum trial step);

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* In the device's thread. What is still under way with the old open file keeps it. */
static int open_again(struct nvme_io *io)
{
	struct nvme *t = container_of(io, struct nvme, trial_io);
	int flags = O_RDWR | O_CLOEXEC | (t->direct ? O_DIRECT : 0);
	CLEANUP(fd_close_at)
	int fd = t->table->open(t->table->ctx, t->path, flags, 0);
	int r;

	if (fd < 0)
		return fd;
	r = nvme_super_same(t, fd);
	if (r < 0)
		return r;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) /* perhaps by ourselves */
		return same_file(fd, t->fd) ? -EIO : -EBUSY;
	return dup3(fd, t->fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static void trial_failed(struct nvme *t, const char *why)
{
	t->trial_step = TRIAL_NONE;
	if (why)
		t->why = why;
	schedule_trial(t, false);
}

static void trial_done(struct nvme_io *io)
{
	struct nvme *t = container_of(io, struct nvme, trial_io);
	bool reads = io->result == 0 &&
		     (!t->trial_wrote ||
		      !memcmp(t->trial_page, t->trial_page + LOG_UNIT, 8));

	switch ((enum trial)t->trial_step) {
	case TRIAL_WRITE:
		t->trial_wrote = io->result == 0;
		trial_submit(t, TRIAL_READ);
		return;
	case TRIAL_READ:
		t->trial_step = TRIAL_NONE;
		if (reads && t->trial_wrote) {
			nvme_watch_event(t, HEALTH_WORKS, "");
		} else if (reads) {
			nvme_watch_event(t, HEALTH_READS,
					 "it can be read only");
			trial_failed(t, NULL);
		} else if (t->state == TIER_DOWN) {
			trial_submit(t, TRIAL_OPEN);
		} else {
			nvme_watch_event(t, HEALTH_LOST, "the device is gone");
		}
		return;
	case TRIAL_OPEN:
		if (io->result == -ESTALE || io->result == -EBUSY)
			trial_failed(t, "another process used it meanwhile: "
					"the node must start anew");
		else if (io->result < 0)
			trial_failed(t, NULL);
		else
			trial_submit(t, TRIAL_WRITE);
		return;
	case TRIAL_NONE:
		break;
	}
}

static void trial_submit(struct nvme *t, enum trial step)
{
	t->trial_step = (uint8_t)step;
	memset(&t->trial_io, 0, sizeof(t->trial_io));
	t->trial_io.urgency = NVME_LOG_ITSELF;
	t->trial_io.done = trial_done;
	t->trial_io.op = step == TRIAL_OPEN   ? NVME_JOB
			 : step == TRIAL_READ ? NVME_READ
					      : NVME_WRITE;
	t->trial_io.run = open_again;
	t->trial_io.offset = LOG_PROBE_AT;
	t->trial_io.bytes = step == TRIAL_OPEN ? 0 : LOG_UNIT;
	t->trial_io.data = t->trial_page + (step == TRIAL_READ ? LOG_UNIT : 0);
	nvme_io_submit(&t->engine, &t->trial_io);
}

static void trial(struct nvme *t)
{
	if ((t->state != TIER_DOWN && t->state != TIER_READONLY) ||
	    t->trial_step != TRIAL_NONE || t->now_ns < t->trial_ns)
		return;
	if (!t->found) { /* what it has was not found */
		if (t->locked && !t->recovering) {
			schedule_trial(t, false);
			nvme_recover_begin(t);
		}
		return;
	}
	if (!t->trial_page && !(t->trial_page = nvme_pages(2 * LOG_UNIT)))
		return;
	memcpy(t->trial_page, &t->now_ns, sizeof(t->now_ns));
	trial_submit(t, TRIAL_WRITE);
}

/* ---- the lock --------------------------------------------------------------------- */

void nvme_watch_lock(struct nvme *t)
{
	if (t->locked || t->now_ns < t->lock_ns)
		return;
	if (nvme_file_lock(t) == 0) {
		nvme_recover_begin(t);
		return;
	}
	if (t->now_ns >= t->busy_until_ns)
		nvme_watch_event(t, HEALTH_LOST, "another process has it");
	t->lock_ns = t->now_ns +
		     (t->state == TIER_COMING ? LOCK_AGAIN_NS : LOCK_LATER_NS);
}

void nvme_watch(struct nvme *t)
{
	struct nvme_engine_stat s;

	nvme_watch_lock(t);
	nvme_engine_stat(&t->engine, &s);
	if (s.oldest_ns && t->now_ns > s.oldest_ns + HEALTH_LATE_NS)
		nvme_watch_event(t, HEALTH_LATE,
				 "the device does not answer in time");
	else
		nvme_watch_event(t, HEALTH_PROMPT, "");
	trial(t);
}

uint64_t nvme_watch_wants_ns(const struct nvme *t)
{
	if (!t->locked)
		return t->lock_ns;
	if (t->state == TIER_DOWN || t->state == TIER_READONLY)
		return t->trial_ns;
	return UINT64_MAX;
}
