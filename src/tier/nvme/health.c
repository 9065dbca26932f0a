/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/nvme/health.h"
#include <errno.h>

/* 0 is TIER_COMING, into which nothing leads: an empty cell changes nothing. */
static const uint8_t table[TIER_STATES][HEALTH_EVENTS] = {
	[TIER_COMING] = { [HEALTH_FOUND] = TIER_UP, [HEALTH_LOST] = TIER_DOWN },
	[TIER_UP] = { [HEALTH_LATE] = TIER_SLOW,
		      [HEALTH_NO_WRITES] = TIER_READONLY,
		      [HEALTH_LOST] = TIER_DOWN },
	[TIER_SLOW] = { [HEALTH_PROMPT] = TIER_UP,
			[HEALTH_NO_WRITES] = TIER_READONLY,
			[HEALTH_LOST] = TIER_DOWN },
	[TIER_READONLY] = { [HEALTH_LOST] = TIER_DOWN, [HEALTH_WORKS] = TIER_UP },
	[TIER_DOWN] = { [HEALTH_FOUND] = TIER_UP,
			[HEALTH_READS] = TIER_READONLY,
			[HEALTH_WORKS] = TIER_UP },
};
_Static_assert(TIER_COMING == 0, "an empty cell");

enum tier_state health_step(enum tier_state state, enum health_event event)
{
	uint8_t to = table[state][event];

	return to == TIER_COMING ? state : (enum tier_state)to;
}

enum health_answer health_answer(int result, bool write, bool begun)
{
	switch (-result) {
	case 0:
	case ECANCELED:
	case EBADMSG:
		return HEALTH_FINE;
	case ETIMEDOUT: /* ours, or the block layer's */
		return begun ? HEALTH_PLACE : HEALTH_FINE;
	case ENOMEM:
	case EAGAIN:
	case EINTR:
	case EINVAL:
	case EFAULT:	/* memory here has failed, or */
	case EHWPOISON: /* is known to */
		return HEALTH_HOST;
	case EROFS:
	case ENOSPC:
	case EDQUOT:
	case EPERM:
		return write ? HEALTH_REFUSED : HEALTH_PLACE;
	case ENODEV:
	case ENXIO:
	case ESHUTDOWN:
	case ENOTCONN:
	case ESTALE:
	case ENOMEDIUM:
	case EBADF:
		return HEALTH_GONE;
	default:
		return HEALTH_PLACE;
	}
}
