/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What state the device is in, as a table. Pure: events in, a state out.
 *
 * COMING ends once and never comes back. READONLY and DOWN end by themselves when
 * a trial went well; SLOW when nothing is late any more.
 */
#ifndef ONECOPY_TIER_NVME_HEALTH_H
#define ONECOPY_TIER_NVME_HEALTH_H

#include "tier/tier.h"

enum health_event {
	HEALTH_FOUND,	  /* what the device has is known */
	HEALTH_LATE,	  /* something is with the device for too long */
	HEALTH_PROMPT,	  /* nothing is */
	HEALTH_NO_WRITES, /* a write was refused for good: read-only, full */
	HEALTH_LOST,	  /* the device is gone, or fails all in a row */
	HEALTH_READS,	  /* a trial: it reads, and does not write */
	HEALTH_WORKS,	  /* a trial: it reads and writes */
	HEALTH_EVENTS
};

/* The state after the event: the same one where it changes nothing. */
enum tier_state health_step(enum tier_state state, enum health_event event);

/* What one answer of the device says. */
enum health_answer {
	HEALTH_FINE,
	HEALTH_REFUSED, /* EROFS, ENOSPC, EDQUOT: of a write */
	HEALTH_GONE,	/* ENODEV and such: the device, not the place */
	HEALTH_PLACE,	/* EIO and such: perhaps this place alone */
	HEALTH_HOST,	/* ENOMEM and such: this machine, not the place */
};
/* begun: the device was asked. */
enum health_answer health_answer(int result, bool write, bool begun);

#define HEALTH_LATE_NS 1000000000ull
/* Places that fail one after the other, none well between, are a device. */
#define HEALTH_IN_A_ROW 3u
/* Trials: after a second, then ever more seldom. */
#define HEALTH_TRIAL_NS	     1000000000ull
#define HEALTH_TRIAL_MOST_NS 30000000000ull

#endif
