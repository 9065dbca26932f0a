/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy cxl format, fence, leave. */
#include "cxl_region.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/text.h"
#include "cxl.h"
#include "region/host.h"

bool cxl_stands_in(const struct region *r)
{
	return region_kind_of(r) != REGION_DEVDAX;
}

static int say_error(const struct command *command, const char *path, int r)
{
	switch (r) {
	case -ENOENT:
		return cli_fail(command, PROG_BAD_INPUT, "%s: no such file",
				path);
	case -ENODATA:
		return cli_fail(command, PROG_BAD_INPUT,
				"%s: no region is there; see onecopy cxl "
				"format",
				path);
	case -EPROTONOSUPPORT:
		return cli_fail(command, PROG_BAD_INPUT,
				"%s: a region of another version, build or "
				"mode of coherence than this program knows",
				path);
	case -EPROTO:
		return cli_fail(command, PROG_BAD_INPUT,
				"%s: the region is damaged", path);
	case -EMEDIUMTYPE:
	case -EISDIR:
		return cli_fail(command, PROG_BAD_INPUT,
				"%s: neither a devdax device with pages of 2 "
				"MiB nor a file on tmpfs or hugetlbfs",
				path);
	case -EEXIST:
		return cli_fail(command, PROG_REFUSED,
				"%s: a region is there; --force ends it and "
				"all blocks in it",
				path);
	case -EIO:
		return cli_fail(command, PROG_SYSTEM, "%s: " CXL_LOST, path);
	case -ENOTEMPTY:
		return cli_fail(command, PROG_REFUSED,
				"%s: it holds something that is no region; "
				"--force overwrites it",
				path);
	case -EBUSY:
		return cli_fail(command, PROG_REFUSED,
				"%s: every member slot is taken; see onecopy "
				"cxl status",
				path);
	case -EAGAIN:
		return cli_fail(command, PROG_REFUSED,
				"%s: another process holds its lock: a node "
				"whose rung it is (onecopy serve --cxl), or "
				"one that formats or joins",
				path);
	default:
		return cli_fail(command, (int)exit_of(r), "%s: %s", path,
				strerror(-r));
	}
}

int cxl_say(const struct command *command, const char *path, int r)
{
	switch (r) {
	case 0:
		return PROG_OK;
	case REGION_STALE:
		return cli_fail(command, PROG_FAILED,
				"%s: this member was declared dead", path);
	case REGION_ALIVE:
		return cli_fail(command, PROG_REFUSED,
				"%s: not proved dead: its process lives, or is "
				"on another host; --told vouches for its end",
				path);
	case REGION_MISS:
		return cli_fail(command, PROG_FAILED, "%s: nobody is there",
				path);
	default:
		return r < 0 ? say_error(command, path, r)
			     : cli_fail(command, PROG_SYSTEM, "%s: answer %d",
					path, r);
	}
}

/* ---- memory that fails ------------------------------------------------------------ */

static char last_words[PATH_MAX + 128];

static void on_lost(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code > 0) {
		ssize_t n = write(STDERR_FILENO, last_words,
				  strnlen(last_words, sizeof(last_words)));

		(void)n; /* there is nobody else to tell */
		_exit(PROG_SYSTEM);
	}
	raise(sig); /* somebody sent it, and the handler is gone */
}

void cxl_catch(const struct command *command, const char *path)
{
	struct sigaction action = { .sa_sigaction = on_lost,
				    .sa_flags = SA_SIGINFO | SA_RESETHAND };

	snprintf(last_words, sizeof(last_words),
		 "onecopy %s: %s: " CXL_LOST "\n", command->name, path);
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
	guard_install();
}

int cxl_open(const struct cli *c, struct region **ret_region)
{
	const char *path = c->argv[c->first];
	int r;

	cxl_catch(c->command, path);
	r = region_open(path, ret_region);

	return r ? cxl_say(c->command, path, r) : 0;
}

const char *cxl_state_name(enum member_state state)
{
	static const char *const names[MEMBER_STATES] = {
		[MEMBER_FREE] = "free",	    [MEMBER_JOINING] = "joining",
		[MEMBER_LIVE] = "live",	    [MEMBER_EXITED] = "exited",
		[MEMBER_TOLD] = "declared",
	};

	return state < MEMBER_STATES ? names[state] : "damaged";
}

static bool member_numbered(struct region *r, const char *word,
			    struct cxl_id *ret_id)
{
	uint32_t members = region_geometry_of(r)->members;
	struct region_member_status s;
	uint64_t number, inc = 0;
	char text[32] = "";
	size_t n = strcspn(word, ".");

	if (n >= sizeof(text))
		return false;
	memcpy(text, word, n);
	if (text_parse_u64(text, members - 1, &number) ||
	    (word[n] && text_parse_u64(word + n + 1, MEMBER_INC_MAX, &inc)))
		return false;
	if (!word[n]) {
		region_member_status(r, (uint32_t)number, &s);
		inc = s.inc;
	}
	*ret_id = (struct cxl_id){ (uint32_t)number, inc };
	return true;
}

static bool is_living(const struct region_member_status *s)
{
	return s->state == MEMBER_LIVE || s->state == MEMBER_JOINING;
}

static bool is_named(struct region *r, uint32_t member, const char *name,
		     struct region_member_status *ret_status)
{
	region_member_status(r, member, ret_status);
	return ret_status->known && ret_status->state != MEMBER_FREE &&
	       strcmp(ret_status->name, name) == 0;
}

static int say_namesakes(const struct command *command, struct region *r,
			 const char *name)
{
	struct region_member_status s;
	char text[256] = "";
	size_t n = 0;

	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++)
		if (is_named(r, i, name, &s) && n < sizeof(text))
			n += (size_t)snprintf(
				text + n, sizeof(text) - n, " %u.%llu (%s)", i,
				(unsigned long long)s.inc,
				s.ended ? "ended" : cxl_state_name(s.state));
	return cli_fail(command, PROG_REFUSED,
			"several members are called %s:%s; give one of these",
			name, text);
}

int cxl_member(const struct command *command, struct region *r,
	       const char *word, bool only, struct cxl_id *ret_id)
{
	struct cxl_id first[2] = { { 0 } }; /* of the living, of the dead */
	struct region_member_status s;
	uint32_t n[2] = { 0 };

	if (member_numbered(r, word, ret_id))
		return 0;
	for (uint32_t i = 0; i < region_geometry_of(r)->members; i++) {
		bool dead;

		if (!is_named(r, i, word, &s))
			continue;
		dead = !is_living(&s);
		if (!n[dead]++)
			first[dead] = (struct cxl_id){ i, s.inc };
	}
	if (!n[0] && !n[1])
		return cli_fail(command, PROG_FAILED, "no member %s", word);
	if (n[!n[0]] > 1 || (only && n[0] && n[1]))
		return say_namesakes(command, r, word);
	*ret_id = first[!n[0]];
	return 0;
}

json_t *cxl_region_json(const struct region *r)
{
	const struct region_geometry *g = region_geometry_of(r);

	return json_pack("{s:s,s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "kind",
			 region_kind_name(region_kind_of(r)), "stands_in",
			 (int)cxl_stands_in(r), "mode", "coherent", "bytes",
			 (json_int_t)g->bytes, "members",
			 (json_int_t)g->members, "shards",
			 (json_int_t)g->shards, "frames", (json_int_t)g->frames,
			 "frame_bytes", (json_int_t)g->frame_bytes, "lease_ms",
			 (json_int_t)g->lease_ms);
}

void cxl_region_print(const struct region *r)
{
	const struct region_geometry *g = region_geometry_of(r);
	char all[32], frame[32];

	printf("%s, coherent: %s, %u members, %u shards of %u frames of %s, "
	       "lease %u ms\n",
	       region_kind_name(region_kind_of(r)), text_size(g->bytes, all),
	       g->members, g->shards, g->frames,
	       text_size(g->frame_bytes, frame), g->lease_ms);
	if (cxl_stands_in(r))
		printf("(" CXL_STANDS_IN ")\n");
}

/* ---- format -------------------------------------------------------------------- */

enum { FORMAT_FORCE = CLI_LONG, FORMAT_EVEN_IF_LIVE, FORMAT_NONE };

static const struct cli_option format_options[] = {
	{ 's', "size", "SIZE", "all there is",
	  "of a file on tmpfs or hugetlbfs, which is made" },
	{ 'm', "members", "N", "16", "processes that can join, at most 512" },
	{ 'S', "shards", "N", "as members", "parts with one writer each" },
	{ 'f', "frame", "SIZE", "2MiB", "room for one part of a block" },
	{ 'l', "lease", "TIME", "1s",
	  "a member that is silent for longer is told as late" },
	{ 't', "tenant", "NAME", "default", "whose region it is" },
	{ FORMAT_FORCE, "force", NULL, NULL,
	  "even where a region or anything else is: all in it is lost" },
	{ FORMAT_EVEN_IF_LIVE, "even-if-live", NULL, NULL,
	  "with --force: even if members are not proved dead" },
	{ FORMAT_NONE, "none", NULL, NULL,
	  "with --force: end it, and make no other" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static int format_lease(const struct cli *c, uint32_t *ret_ms)
{
	uint64_t ns = 0;
	int r = cli_time(c, &ns);

	if (r)
		return r;
	if (ns < NS_PER_MS)
		return cli_fail(c->command, PROG_USAGE,
				"--lease %s: 1 ms is the least", c->value);
	*ret_ms = (uint32_t)MIN(ns / NS_PER_MS, 1u << 30);
	return 0;
}

static int format_option(const struct cli *c, int id,
			 struct region_format_options *o)
{
	uint64_t n = 0;
	int r = 0;

	if (id == 's')
		return cli_size(c, 0, &o->bytes);
	if (id == 'f')
		return cli_size(c, 0, &o->frame_bytes);
	if (id == 'm' && !(r = cli_number(c, 1, REGION_MEMBERS_MAX, &n)))
		o->members = (uint32_t)n;
	else if (id == 'S' && !(r = cli_number(c, 1, REGION_SHARDS_MAX, &n)))
		o->shards = (uint32_t)n;
	else if (id == 'l')
		return format_lease(c, &o->lease_ms);
	else if (id == 't')
		o->tenant = c->value;
	return r;
}

static int format_show(const struct cli *c, bool json)
{
	struct region *region;
	json_t *root;
	int r = cxl_open(c, &region);

	if (r)
		return r;
	if (json) {
		root = cxl_region_json(region);
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(root);
	} else {
		cxl_region_print(region);
	}
	region_close(region);
	return PROG_OK;
}

/* Who is in the way. */
static int format_say_living(const struct command *self, const char *path)
{
	struct region_member_status s;
	struct region *r = NULL;
	char text[256] = "";
	size_t n = 0;
	uint32_t members = 0;

	if (region_open(path, &r) == 0)
		members = region_geometry_of(r)->members;
	for (uint32_t i = 0; i < members && n < sizeof(text); i++) {
		region_member_status(r, i, &s);
		if (is_living(&s) && !s.ended)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      " %u.%llu (%s)", i,
					      (unsigned long long)s.inc,
					      s.known ? s.name : "joining");
	}
	region_close(r);
	return cli_fail(self, PROG_REFUSED,
			"%s: not proved dead:%s; end them, or fence those that "
			"have ended (onecopy cxl fence --told); with "
			"--even-if-live they go on writing into the new one",
			path, text);
}

static int format_say_least(const struct command *self, const char *path,
			    const struct region_format_options *o)
{
	struct region_geometry g = { 0 };

	(void)region_format_least(o, &g); /* it was asked for, and is too big */
	return cli_fail(self, PROG_REFUSED,
			"%s: too small: %u members and %u shards, each with "
			"room for one block, need %llu MiB",
			path, g.members, g.shards,
			(unsigned long long)(g.bytes >> 20));
}

static int format_say(const struct command *self, const char *path,
		      const struct region_format_options *o, int r)
{
	if (r == -EBUSY)
		return format_say_living(self, path);
	if (r == -EINVAL)
		return cli_fail(self, PROG_USAGE,
				"frames are whole pages of 4 KiB, below 4 GiB; "
				"a tenant's name has up to %d bytes",
				REGION_NAME);
	if (r == -ENOSPC)
		return format_say_least(self, path, o);
	if (r == -ENOENT && !o->bytes)
		return cli_fail(self, PROG_BAD_INPUT,
				"%s: no such file; with --size it is made",
				path);
	if (r == -ENOMEM)
		return cli_fail(self, PROG_REFUSED,
				"%s: there is not so much memory: its file "
				"system is full, or a limit is reached",
				path);
	return cxl_say(self, path, r);
}

static int format_run(const struct command *self, int argc, char **argv)
{
	struct region_format_options o = { .size = sizeof(o) };
	bool json = false;
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while (r == 0 && (id = cli_next(&c)) > 0) {
		if (id == FORMAT_FORCE)
			o.force = true;
		else if (id == FORMAT_EVEN_IF_LIVE)
			o.even_if_live = true;
		else if (id == FORMAT_NONE)
			o.none = true;
		else if (id == 'j')
			json = true;
		else
			r = format_option(&c, id, &o);
	}
	if (r == 0 && id < 0)
		return c.status;
	if (r == 0)
		r = cli_words(&c, 1, 1);
	if (r)
		return r;
	cxl_catch(self, c.argv[c.first]);
	r = region_format(c.argv[c.first], &o);
	if (r)
		return format_say(self, c.argv[c.first], &o, r);
	if (!o.none)
		return format_show(&c, json);
	printf("%s\n", json ? "{\"region\": null}" : "no region is there");
	return PROG_OK;
}

const struct command cxl_command_format = {
	.name = "cxl format",
	.summary = "make a region of a devdax device or a file in memory",
	.usage = "[OPTIONS] PATH",
	.options = format_options,
	.run = format_run,
};

/* ---- fence ----------------------------------------------------------------------- */

#define FENCE_HOST (CLI_LONG + 1)

static const struct cli_option fence_options[] = {
	{ CLI_LONG, "told", NULL, NULL,
	  "its process has ended, or its host was cut off: I vouch for it" },
	{ FENCE_HOST, "host", NULL, NULL,
	  "with --told: it is its host that has, and all members there" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static int fence_member(const struct cli *c, struct region *region, bool told,
			bool json)
{
	const char *word = c->argv[c->first + 1];
	struct region_member_status s;
	struct cxl_id id = { 0 };
	/* nobody looks whether it has ended: there must be no doubt who */
	int r = cxl_member(c->command, region, word, told, &id);

	if (r)
		return r;
	r = id.inc ? region_fence(region, id.member, id.inc, told)
		   : REGION_MISS;
	if (r)
		return cxl_say(c->command, word, r);
	region_member_status(region, id.member, &s);
	if (s.inc != id.inc) { /* dead, and followed by another */
		s.state = MEMBER_EXITED;
		s.shards = 0;
	}
	if (json)
		printf("{\"member\": %u, \"incarnation\": %llu, \"state\": "
		       "\"%s\", \"shards\": %u}\n",
		       id.member, (unsigned long long)id.inc,
		       cxl_state_name(s.state), s.shards);
	else
		printf("member %u.%llu is %s: its pins do not count, and its "
		       "%u shard%s may be taken\n",
		       id.member, (unsigned long long)id.inc,
		       cxl_state_name(s.state), s.shards,
		       s.shards == 1 ? "" : "s");
	return PROG_OK;
}

/* The others of its host: clients that read, above all. Each is declared dead as
 * the incarnation that was seen, and before the one that was named: as long as
 * that has its slot, its record says which host is meant. */
static int fence_host(const struct cli *c, struct region *region,
		      struct cxl_id which)
{
	struct region_member_status s, after, named;
	int r = 0;

	for (uint32_t i = 0; i < region_geometry_of(region)->members; i++) {
		bool same;

		/* the records are of these two when they are before and after */
		region_member_status(region, i, &s);
		same = region_same_host(region, i, which.member);
		region_member_status(region, i, &after);
		region_member_status(region, which.member, &named);
		if (named.inc != which.inc || !named.known)
			return cxl_say(c->command, c->argv[c->first + 1],
				       REGION_MISS);
		if (i == which.member || !s.known || !is_living(&s) || !same ||
		    !after.known || after.inc != s.inc)
			continue;
		r = region_fence(region, i, s.inc, true);
		if (r < 0)
			return cxl_say(c->command, c->argv[c->first + 1], r);
	}
	return PROG_OK;
}

static int fence_run(const struct command *self, int argc, char **argv)
{
	bool told = false, host = false, json = false;
	struct region *region = NULL;
	struct cxl_id which = { 0 };
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == CLI_LONG)
			told = true;
		else if (id == FENCE_HOST)
			host = true;
		else
			json = true;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 2, 2);
	if (r == 0 && host && !told)
		r = cli_fail(self, PROG_USAGE, "--host wants --told");
	if (r == 0)
		r = cxl_open(&c, &region);
	if (r)
		return r;
	if (host)
		r = cxl_member(self, region, c.argv[c.first + 1], true, &which);
	if (r == 0 && host)
		r = fence_host(&c, region, which);
	if (r == 0)
		r = fence_member(&c, region, told, json);
	region_close(region);
	return r;
}

const struct command cxl_command_fence = {
	.name = "cxl fence",
	.summary = "declare a member dead, so that its room is used again",
	.usage = "[OPTIONS] PATH MEMBER",
	.options = fence_options,
	.run = fence_run,
};

/* ---- leave ------------------------------------------------------------------------ */

static const struct cli_option leave_options[] = {
	{ 't', "timeout", "TIME", "10s", "how long to wait for it" },
	{ CLI_LONG, "stop-node", NULL, NULL,
	  "even if it is a node: the whole of it ends, with its DRAM" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

/* Does this incarnation live, or has it left? 0, or an exit status and it was
 * said. */
static int leave_look(const struct command *self, struct region *region,
		      struct cxl_id id, struct region_member_status *ret_status)
{
	unsigned long long inc = id.inc;

	region_member_status(region, id.member, ret_status);
	if (ret_status->inc != id.inc)
		return cli_fail(self, PROG_FAILED,
				"member %u.%llu is gone, and another has its "
				"slot: whether it left is not known",
				id.member, inc);
	if (ret_status->state == MEMBER_LIVE ||
	    ret_status->state == MEMBER_FREE)
		return 0;
	return cli_fail(self, PROG_FAILED, "member %u.%llu is %s", id.member,
			inc, cxl_state_name(ret_status->state));
}

/* SIGTERM, by a pidfd, so that it reaches this process or nobody. */
static int leave_signal(const struct command *self, struct region *region,
			struct cxl_id id,
			const struct region_member_status *was)
{
	CLEANUP(fd_close_at) int fd = -1;
	struct region_member_status s;
	int r;

	if (was->pid && was->pid <= INT32_MAX)
		fd = (int)syscall(SYS_pidfd_open, (pid_t)was->pid, 0);
	/* The number may have gone to another process, and the slot to another
	 * member, but not after the file descriptor is there. */
	if (region_host_ended(was->pid, was->started))
		return cli_fail(self, PROG_FAILED,
				"its process has ended: see onecopy cxl fence");
	r = leave_look(self, region, id, &s);
	if (r || s.state == MEMBER_FREE)
		return r;
	if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0))
		return cli_fail(self, PROG_REFUSED, "process %llu: %s",
				(unsigned long long)was->pid,
				fd < 0 ? "it is none" : strerror(errno));
	return 0;
}

/* May it be asked? Of a node, keeper and server hear it: all of it ends. */
static int leave_may(const struct command *self, struct cxl_id id,
		     const struct region_member_status *s, bool stop_node)
{
	unsigned long long inc = id.inc;

	if (s->state == MEMBER_FREE)
		return cli_fail(self, PROG_FAILED, "member %u is free",
				id.member);
	if (!s->known || !s->here)
		return cli_fail(self, PROG_REFUSED,
				"member %u.%llu is not of this host: end it "
				"there",
				id.member, inc);
	if (s->server && !stop_node)
		return cli_fail(self, PROG_REFUSED,
				"member %u.%llu is a node: all of it would "
				"stop, with its DRAM and all its tenants; "
				"--stop-node does that",
				id.member, inc);
	return 0;
}

/* Until its record says that it left. */
static int leave_ask(const struct command *self, struct region *region,
		     struct cxl_id id, uint64_t timeout_ns, bool stop_node)
{
	uint64_t end = clock_ns() + timeout_ns;
	struct region_member_status s;
	int r = leave_look(self, region, id, &s);

	if (r == 0)
		r = leave_may(self, id, &s, stop_node);
	if (r)
		return r;
	r = leave_signal(self, region, id, &s);
	while (r == 0) {
		r = leave_look(self, region, id, &s);
		if (r || s.state == MEMBER_FREE)
			return r;
		if (clock_ns() > end)
			return cli_fail(self, PROG_FAILED,
					"member %u.%llu does not leave",
					id.member, (unsigned long long)id.inc);
		poll(NULL, 0, 20);
	}
	return r;
}

static int leave_run(const struct command *self, int argc, char **argv)
{
	uint64_t timeout = 10 * NS_PER_S;
	struct region *region = NULL;
	struct cxl_id member = { 0 };
	bool json = false, stop_node = false;
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while (r == 0 && (id = cli_next(&c)) > 0) {
		if (id == 't')
			r = cli_time(&c, &timeout);
		else if (id == CLI_LONG)
			stop_node = true;
		else
			json = true;
	}
	if (r == 0 && id < 0)
		return c.status;
	if (r == 0)
		r = cli_words(&c, 2, 2);
	if (r == 0)
		r = cxl_open(&c, &region);
	if (r)
		return r;
	r = cxl_member(self, region, c.argv[c.first + 1], false, &member);
	if (r == 0)
		r = leave_ask(self, region, member, timeout, stop_node);
	if (r == 0 && json)
		printf("{\"member\": %u, \"incarnation\": %llu, \"left\": "
		       "true}\n",
		       member.member, (unsigned long long)member.inc);
	else if (r == 0)
		printf("member %u.%llu left\n", member.member,
		       (unsigned long long)member.inc);
	region_close(region);
	return r;
}

const struct command cxl_command_leave = {
	.name = "cxl leave",
	.summary = "ask a member of this host to leave its region",
	.usage = "[OPTIONS] PATH MEMBER",
	.options = leave_options,
	.run = leave_run,
};
