/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy torture: clients and servers are killed, and nobody sees anything
 * that is wrong. */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "commands.h"
#include "load_report.h"
#include "stop.h"

enum {
	OPT_PLANT_BYTES = CLI_LONG,
	OPT_PLANT_RACE,
	OPT_PLANT_DEVICE,
	OPT_SERVER_KILLS,
	OPT_THREADS
};

static const struct cli_option torture_options[] = {
	{ 'c', "clients", "N", "12", "actors at a time, 4 to 64" },
	{ OPT_THREADS, "threads", "N", "1",
	  "of each actor, which share its clients; 1 to 4" },
	{ 'k', "kills", "N", "100", "of them that are killed" },
	{ OPT_SERVER_KILLS, "server-kills", "N", "5",
	  "how often the server is killed" },
	{ 't', "seconds", "N", "30", "for so long" },
	{ 's', "seed", "N", "1", "of what is done and when who is killed" },
	{ OPT_PLANT_BYTES, "plant-bytes", NULL, NULL,
	  "fault: now and then a byte changes before its seal" },
	{ OPT_PLANT_RACE, "plant-race", NULL, NULL,
	  "fault: threads change a number without order" },
	{ OPT_PLANT_DEVICE, "plant-device", NULL, NULL,
	  "fault: the node is not told that devices write frames" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static int number(const struct cli *c, uint64_t least, uint64_t most,
		  uint32_t *ret)
{
	uint64_t value = 0;
	int r = cli_number(c, least, most, &value);

	if (r == 0)
		*ret = (uint32_t)value;
	return r;
}

static int torture_option(struct torture_options *o, const struct cli *c,
			  int id, bool *json)
{
	switch (id) {
	case 'c':
		return number(c, 4, TORTURE_PLACES_MAX, &o->clients);
	case OPT_THREADS:
		return number(c, 1, TORTURE_THREADS_MAX, &o->threads);
	case 'k':
		return number(c, 0, 1000000, &o->kills);
	case OPT_SERVER_KILLS:
		return number(c, 0, 100000, &o->server_kills);
	case 't':
		return cli_number(c, 1, 86400, &o->seconds);
	case 's':
		return cli_number(c, 0, UINT64_MAX, &o->seed);
	case OPT_PLANT_BYTES:
		o->plant_bytes = true;
		return 0;
	case OPT_PLANT_RACE:
		o->plant_race = true;
		return 0;
	case OPT_PLANT_DEVICE:
		o->plant_device = true;
		return 0;
	default:
		*json = true;
		return 0;
	}
}

static uint64_t illegal(const struct torture_result *r)
{
	return r->illegal[TRIAL_ORIGIN] + r->illegal[TRIAL_REMOVED] +
	       r->illegal[TRIAL_TWICE] + r->generations + r->sessions;
}

static const char *const call_names[] = {
#define X(name, text) text,
	TORTURE_CALLS(X)
#undef X
};

/* The call that stood still for the longest. */
static unsigned longest(const struct torture_result *r)
{
	unsigned most = 0;

	for (unsigned i = 1; i < TORTURE_CALLS_USED; i++)
		if (r->stall_ns[i] > r->stall_ns[most])
			most = i;
	return most;
}

static double stall_ms(const struct torture_result *r, unsigned call)
{
	return (double)r->stall_ns[call] / NS_PER_MS;
}

static json_t *stalls_json(const struct torture_result *r)
{
	json_t *of = json_object();

	for (unsigned i = 0; i < TORTURE_CALLS_USED; i++)
		json_object_set_new(of, call_names[i],
				    json_real(stall_ms(r, i)));
	return of;
}

#define INT(x) ((json_int_t)(x))

static json_t *result_json(const struct torture_options *o,
			   const struct torture_result *r)
{
	return json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:{s:I,s:I,s:I,s:I,s:I},"
		"s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:I,s:I,s:"
		"f,s:b}",
		"ops", INT(r->ops), "client_kills", INT(r->client_kills),
		"server_kills", INT(r->server_kills), "wrong_bytes",
		INT(r->wrong_bytes), "illegal_histories", INT(illegal(r)),
		"leaked_frames", INT(r->leaked_frames), "leaked_pins",
		INT(r->leaked_pins), "lost_blocks", INT(r->illegal[TRIAL_LOST]),
		"longest_stall_ms", stall_ms(r, longest(r)), "stalls_ms",
		stalls_json(r), "illegal", "origin",
		INT(r->illegal[TRIAL_ORIGIN]), "removed",
		INT(r->illegal[TRIAL_REMOVED]), "twice",
		INT(r->illegal[TRIAL_TWICE]), "generations",
		INT(r->generations), "sessions", INT(r->sessions), "problems",
		INT(r->problems), "failures", INT(r->failures), "device_kills",
		INT(r->device_kills), "quarantines", INT(r->quarantines),
		"quarantined", INT(r->quarantined), "forks", INT(r->forks),
		"leaked_sessions", INT(r->leaked_sessions), "evicted",
		INT(r->evicted), "resp_ops", INT(r->resp_ops), "refused",
		INT(r->errors), "records", INT(r->records), "rounds",
		INT(r->rounds), "device_reads", r->device, "clients",
		INT(o->clients), "threads", INT(o->threads), "seed",
		INT(o->seed), "seconds", (double)r->elapsed_ns / NS_PER_S,
		"right", torture_is_right(r));
}

static void line(const char *name, uint64_t value, const char *text)
{
	printf("  %-20s %12" PRIu64 "  %s\n", name, value, text);
}

static void result_print(const struct torture_options *o,
			 const struct torture_result *r)
{
	printf("%u actors, %u threads each, for %.1f s, seed %" PRIu64 "\n",
	       o->clients, o->threads, (double)r->elapsed_ns / NS_PER_S,
	       o->seed);
	line("ops", r->ops, "");
	line("resp_ops", r->resp_ops, "of these, at the RESP door");
	line("client_kills", r->client_kills, "");
	line("server_kills", r->server_kills, "");
	line("device_kills", r->device_kills,
	     r->device ? "of clients, while a device wrote their frames"
		       : "while a slow device wrote (no direct reads here)");
	line("quarantines", r->quarantines, "frames, since the beginning");
	line("evicted", r->evicted, "parts, in the pool under pressure");
	line("wrong_bytes", r->wrong_bytes, "must be 0");
	line("illegal_histories", illegal(r), "must be 0");
	for (unsigned i = 0; i < TRIAL_LOST; i++)
		if (r->illegal[i])
			line("", r->illegal[i], trial_wrong_names[i]);
	if (r->generations)
		line("", r->generations, "a generation that went back");
	if (r->sessions)
		line("", r->sessions, "a session that is another one");
	line("leaked_frames", r->leaked_frames, "must be 0");
	line("leaked_pins", r->leaked_pins, "must be 0");
	line("leaked_sessions", r->leaked_sessions, "must be 0");
	line("lost_blocks", r->illegal[TRIAL_LOST], "must be 0");
	line("problems", r->problems, "of the recounts, must be 0");
	printf("  %-20s %12.1f  of a call: %s\n", "longest_stall_ms",
	       stall_ms(r, longest(r)), call_names[longest(r)]);
	printf("%s\n", torture_is_right(r) ? "Nothing was wrong."
					   : "SOMETHING WAS WRONG.");
}

static int torture_main(const struct command *self, int argc, char **argv)
{
	struct torture_options o = { .clients = 12,
				     .threads = 1,
				     .kills = 100,
				     .server_kills = 5,
				     .seconds = 30,
				     .seed = 1 };
	struct torture_result result;
	bool json = false;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = torture_option(&o, &c, id, &json);
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	stop_catch();
	o.terminal = isatty(STDERR_FILENO);
	r = torture_run(&o, &result);
	if (r)
		return cli_fail(self, r == -EINTR ? PROG_FAILED : PROG_SYSTEM,
				"%s",
				r == -EINTR ? "interrupted" : strerror(-r));
	if (json) {
		if (load_json_out(result_json(&o, &result)))
			return PROG_SYSTEM;
	} else {
		result_print(&o, &result);
	}
	return torture_is_right(&result) ? PROG_OK : PROG_FAILED;
}

const struct command command_torture = {
	.name = "torture",
	.summary = "kill clients and servers, and judge what everybody saw",
	.usage = "[OPTIONS]",
	.options = torture_options,
	.run = torture_main,
};
