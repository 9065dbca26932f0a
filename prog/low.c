/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looked at every two seconds. What is told is the change: the log once, the report
 * for as long as it is gone; the store makes no slab of it meanwhile.
 */
#include "low.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define LOOK_NS (2 * NS_PER_S)

static void tell(struct low *l, int error)
{
	const char *at = l->config->cxl.at;

	l->gone = error < 0;
	store_low_gone(l->store, l->gone);
	if (!l->gone) {
		l->report->low_missing = NULL;
		log_info("%s is there again", at);
		return;
	}
	snprintf(l->why, sizeof(l->why), "%.40s: %s", at, strerror(-error));
	l->report->low_missing = l->why;
	log_error("%s: no more blocks go there; what lies there is lost as it "
		  "is touched",
		  l->why);
}

void low_turn(struct low *l, uint64_t now_ns)
{
	int r;

	if (!l->store || !*l->config->cxl.at || now_ns < l->next_ns)
		return;
	l->next_ns = now_ns + LOOK_NS;
	r = l->error < 0 ? l->error : config_cxl_there(l->config, l->fd);
	if ((r < 0) != l->gone)
		tell(l, r);
}
