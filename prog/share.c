/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tried once a second until it is joined. A reason is logged when it is another than
 * the last; the report has it for as long as it holds.
 */
#include "share.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "keep.h"
#include "region/region.h"
#include "store/shard.h"

#define AGAIN_NS NS_PER_S /* between two tries to join */

/* What stays the same when the node starts again: where it listens, and on which
 * machine, whatever that is called. */
static void identity(const struct node_config *config, uint64_t ret_node[2])
{
	char text[CONFIG_PATH + 96] = "", machine[64] = "";
	FILE *f = fopen("/etc/machine-id", "re");
	char path[CONFIG_PATH] = "";

	if (f && !fgets(machine, sizeof(machine), f))
		machine[0] = '\0';
	if (f)
		fclose(f);
	(void)keep_socket_path(config, path, sizeof(path));
	snprintf(text, sizeof(text), "%s %s", machine, path);
	hash_name(text, strlen(text), ret_node);
	ret_node[0] |= 1; /* not nobody */
}

static const char *reason(int error)
{
	switch (error) {
	case REGION_STALE:
		return "this node was declared dead while it joined";
	case -ECHILD:
		return "the keeper has ended";
	case -EBUSY:
		return "every slot of a member is taken: end some, or make the "
		       "region anew with more (onecopy cxl format --members)";
	case -EAGAIN:
		return "somebody joins or formats it now";
	case -ENODATA:
		return "no region is there any more";
	case -EXDEV:
		return "it was made for another tenant since this node "
		       "started";
	case -EPROTO:
		return "the region is damaged, or was cut short (onecopy cxl "
		       "check)";
	case -EPROTONOSUPPORT:
		return "another version of onecopy made the region";
	default:
		return strerror(error < 0 ? -error : EIO);
	}
}

/* patient: nobody is served yet. */
static int join(struct region *r, const struct config_region *c,
		uint64_t keeper, const uint64_t node[2], bool patient)
{
	struct region_join_options o = {
		.size = sizeof(o),
		.name = *c->name ? c->name : NULL,
		.shards = c->shards,
		.adopt = c->adopt,
		.keeper = keeper,
		.node = { node[0], node[1] },
		.lock_ms = patient ? 300 : 1,
	};

	return region_join(r, &o);
}

/* -EXDEV: it is another's. */
static int check_tenant(const struct region *r, const char *tenant)
{
	char made_for[REGION_NAME + 1];

	region_tenant(r, made_for);
	return strcmp(made_for, tenant) ? -EXDEV : 0;
}

static void tell_room(struct region *r, const struct config_region *c)
{
	uint32_t shards = region_geometry_of(r)->shards, nobodys = 0;
	struct region_shard_status s;

	for (uint32_t i = 0; i < shards; i++) {
		region_shard_status(r, i, &s);
		nobodys += !s.lost && (s.owner < 0 || s.gone);
	}
	if (nobodys)
		log_info("%u of the region's %u shards are nobody's: their "
			 "room is used when nodes come, or have more "
			 "(region.shards of onecopy.yaml)",
			 nobodys, shards);
	if (c->publish && c->shards && !region_owned(r))
		log_warn("no shard of the region is free: what is sealed here "
			 "is not copied there (onecopy cxl format --shards)");
}

/* 0, -EXDEV, or what region_open() and region_join() say. */
static int begin(struct share *h, bool patient)
{
	const struct config_region *c = &h->config->region;
	struct store_region_options o = { .tenant = c->tenant,
					  .publish = c->publish,
					  .shards = c->shards };
	struct region *r = NULL;
	uint64_t node[2], inc = 0;
	uint32_t member = 0;
	int err = region_open(c->path, &r);

	identity(h->config, node);
	/* it may have been made anew since the keeper looked */
	if (!err)
		err = check_tenant(r, c->tenant);
	if (!err)
		err = join(r, c, h->keeper, node, patient);
	if (!err)
		err = store_region_attach(h->store, r, &o);
	if (err) {
		region_close(r);
		return err;
	}
	(void)region_self(r, &member, &inc);
	log_info("member %u.%llu of the region %s%s: %u of its %u shards",
		 member, (unsigned long long)inc, c->path,
		 region_resumed(r) ? ", as before" : "", region_owned(r),
		 region_geometry_of(r)->shards);
	tell_room(r, c);
	return 0;
}

static void try(struct share *h, uint64_t now_ns, bool patient)
{
	int err = begin(h, patient);
	char why[sizeof(h->why)];

	h->joined = err == 0;
	h->report->region_missing = NULL;
	if (!err)
		return;
	h->again_ns = now_ns + AGAIN_NS;
	snprintf(why, sizeof(why), "%s: %s", h->config->region.path,
		 reason(err));
	/* the next tries are silent, until it is something else */
	if (strcmp(why, h->why)) {
		text_copy(h->why, sizeof(h->why), why);
		log_error("region %s", why);
	}
	h->report->region_missing = h->why;
}

/* The process that made the pair of sockets. */
static uint64_t maker_of(int socket)
{
	struct ucred maker = { .pid = 0 };
	socklen_t bytes = sizeof(maker);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &maker, &bytes))
		maker.pid = getppid();
	return (uint64_t)maker.pid;
}

void share_begin(struct share *h, const struct node_config *config, int control,
		 struct store *store, struct report *report, uint64_t now_ns)
{
	*h = (struct share){ .config = config,
			     .keeper = maker_of(control),
			     .store = store,
			     .report = report };
	if (*config->region.path)
		try(h, now_ns, true);
}

/* Once a second: whoever joins now finds another region at the path, or none. */
static void look(struct share *h, uint64_t now_ns)
{
	const char *path = h->config->region.path;
	int err = store_region_is_at(h->store, path);

	h->again_ns = now_ns + AGAIN_NS;
	if (err != -ENOENT && err != -ESTALE) {
		h->report->region_moved = NULL;
		return;
	}
	if (h->report->region_moved)
		return;
	snprintf(h->moved, sizeof(h->moved), "%s %s: start the node again",
		 path, err == -ENOENT ? "was deleted" : "is another file now");
	h->report->region_moved = h->moved;
	log_warn(
		"this node is a member of a region that others do not find: %s",
		h->moved);
}

void share_turn(struct share *h, uint64_t now_ns)
{
	if (!h->config || !*h->config->region.path || now_ns < h->again_ns)
		return;
	if (h->joined)
		look(h, now_ns);
	else
		try(h, now_ns, false);
}

void share_end(struct share *h)
{
	int err = h->joined ? store_region_leave(h->store) : 0;

	h->joined = false;
	if (err)
		log_warn("the region was not left in order (%s): others see "
			 "that this process has ended",
			 err == REGION_STALE
				 ? "this node was declared dead, or "
				   "it was made anew"
				 : strerror(err < 0 ? -err : EIO));
}
