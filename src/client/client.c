/* SPDX-License-Identifier: Apache-2.0 */
/* What all files of the library share: errors, deadlines, counters, texts. */
#include "client/client.h"
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef ONECOPY_VERSION
#define ONECOPY_VERSION "0.1.0"
#endif

/* The last failure of this thread. One for all clients: a thread that uses
 * two of them asks at once after a failure. */
static _Thread_local struct {
	uint64_t serial; /* of the client it is about */
	char text[256];
} last_error;

const char *oc_version(void)
{
	return ONECOPY_VERSION;
}

const char *oc_strerror(int result)
{
	static const char *const answers[] = {
		[OC_OK] = "success",
		[OC_MISS] = "not resident",
		[OC_EXISTS] = "already sealed",
		[OC_STALE] = "gone or changed meanwhile",
		[OC_NONE] = "nothing to report",
		[OC_BAD] = "verification failed",
		[OC_BUSY] = "another has it now",
		[OC_BELOW] = "on a tier below, not resident",
	};
	const char *text;

	if (result >= 0)
		return (size_t)result < ARRAY_LEN(answers) ? answers[result]
							   : "unknown answer";
	text = result < -4095 ? NULL : strerrordesc_np(-result);
	return text ? text : "unknown error";
}

const char *oc_tier_name(enum oc_tier tier)
{
	static const char *const names[] = {
		[OC_TIER_NONE] = "none", [OC_TIER_VRAM] = "vram",
		[OC_TIER_DRAM] = "dram", [OC_TIER_CXL] = "cxl",
		[OC_TIER_NVME] = "nvme", [OC_TIER_NODE] = "node",
	};

	return (unsigned)tier < ARRAY_LEN(names) ? names[tier] : "unknown";
}

int client_fail(const oc_client *c, int error, const char *format, ...)
{
	va_list args;

	last_error.serial = c->serial;
	va_start(args, format);
	vsnprintf(last_error.text, sizeof(last_error.text), format, args);
	va_end(args);
	return error;
}

const char *oc_client_error(oc_client *c)
{
	return c && last_error.serial == c->serial ? last_error.text : "";
}

int client_child(const oc_client *c)
{
	return client_fail(c, -ECHILD,
			   "this client belongs to the parent of a fork: "
			   "connect again in the child");
}

int client_gone(const oc_client *c)
{
	struct pollfd p = { .fd = c->socket, .events = 0 };

	if (shared_load64_acquire(&c->meta->header.state) == POOL_STOPPED)
		return client_fail(c, -ENOTCONN,
				   "the node has stopped: connect again when "
				   "it runs");
	if (poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR | POLLNVAL))
		return client_fail(c, -ENOTCONN,
				   "the node's keeper has ended: connect "
				   "again when it runs");
	return 0;
}

uint64_t client_span(const oc_client *c, uint64_t timeout_ns)
{
	if (timeout_ns == OC_NOWAIT)
		return 0;
	return timeout_ns ? timeout_ns : c->timeout_ns;
}

uint64_t client_deadline(const oc_client *c, uint64_t timeout_ns)
{
	uint64_t now = clock_ns(), span = client_span(c, timeout_ns);

	/* A quarter of the range stays for grace times. */
	return span > UINT64_MAX / 4 ? UINT64_MAX / 2 : now + span;
}

uint64_t oc_client_id(const oc_client *c)
{
	return c->id;
}

int oc_client_fd(const oc_client *c)
{
	return client_is_child(c) ? client_child(c) : c->notify;
}

void client_count(oc_client *c, uint64_t ret_sums[CLIENT_COUNTS])
{
	memset(ret_sums, 0, CLIENT_COUNTS * sizeof(*ret_sums));
	for (int i = 0; i < CLIENT_STRIPES; i++)
		for (int k = 0; k < CLIENT_COUNTS; k++)
			ret_sums[k] += atomic_load_explicit(
				&c->stripe[i].count[k], memory_order_relaxed);
	for (int i = 0; i < CLIENT_COUNTS; i++)
		shared_store64(&c->seg->header.counter[i], ret_sums[i]);
}
