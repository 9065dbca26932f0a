/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "demo.h"

bool demo_is_right(const struct demo *d)
{
	return load_is_right(&d->report.result) && d->killed && d->restarted &&
	       d->lost == 0;
}

static void demo_print_costs(const struct load_report *r)
{
	const struct against *a = &r->against;
	char one[32], many[32];

	printf("  %-34s %12s %16s\n", "", "one copy", "a cache each");
	printf("  %-34s %12s %16s\n", "memory that the blocks take",
	       text_size(r->held, one),
	       text_size(a->held_blocks * r->block_bytes, many));
	printf("  %-34s %12llu %16llu\n", "blocks computed, in equal memory",
	       (unsigned long long)(r->result.blocks - r->result.hit_blocks),
	       (unsigned long long)a->prefill_blocks);
	printf("  %-34s %12s %16s\n\n", "bytes written",
	       text_size(r->result.filled_bytes, one),
	       text_size(a->moved_blocks * r->block_bytes, many));
}

static void demo_print_kill(const struct demo *d)
{
	if (!d->killed) {
		printf("  the server was not killed\n");
		return;
	}
	printf("  server killed (SIGKILL) with %llu blocks resident, %llu "
	       "pinned, %llu being written\n",
	       (unsigned long long)d->resident, (unsigned long long)d->pins,
	       (unsigned long long)d->grants);
	printf("    lost at the kill  %llu\n", (unsigned long long)d->lost);
	if (d->restarted)
		printf("    back in           %llu ms\n",
		       (unsigned long long)(d->back_ns / NS_PER_MS));
	else
		printf("    it did not come back\n");
}

void demo_print(const struct demo *d, const char *socket, bool is_default)
{
	const struct load_report *r = &d->report;
	char size[32], time[32], block[32];

	printf("\none copy for %u processes (%u write, %u read), %llu requests, "
	       "blocks of %s, in %s\n\n",
	       r->clients + r->readers, r->clients, r->readers,
	       (unsigned long long)r->result.requests,
	       text_size(r->block_bytes, block), text_time(r->result.ns, time));
	demo_print_costs(r);
	printf("  prefix hit rate   %.1f %%\n",
	       100 * load_hit_rate(&r->result));
	printf("  moves per byte    %.2f  (writes for each byte delivered)\n",
	       load_moves(&r->result));
	printf("  verified          %s\n",
	       text_size(r->result.verified_bytes, size));
	printf("  wrong bytes       %llu\n",
	       (unsigned long long)r->result.wrong_bytes);
	demo_print_kill(d);
	if (d->once)
		return;
	printf("\nThe node goes on; Ctrl-C ends it. In another terminal:\n\n");
	printf("  onecopy stat%s%s\n", is_default ? "" : " --node ",
	       is_default ? "" : socket);
	printf("  onecopy check%s%s\n", is_default ? "" : " --node ",
	       is_default ? "" : socket);
	printf("  onecopy bench local\n\n");
	fflush(stdout);
}

json_t *demo_json(const struct demo *d)
{
	json_t *root = load_report_json(&d->report);
	json_t *kill = json_pack("{s:b,s:b,s:I,s:I,s:I,s:I,s:f}", "killed",
				 d->killed, "restarted", d->restarted,
				 "resident", (json_int_t)d->resident, "lost",
				 (json_int_t)d->lost, "pins",
				 (json_int_t)d->pins, "grants",
				 (json_int_t)d->grants, "back_ms",
				 (double)d->back_ns / 1e6);

	if (!root || !kill || json_object_set_new(root, "kill", kill)) {
		json_decref(root);
		return NULL;
	}
	return root;
}
