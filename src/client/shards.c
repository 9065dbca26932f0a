/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining. One thread asks the node for the memory under `slow`, opens and joins,
 * announces the region, and shows the handle last (release). A refusal is
 * remembered for that incarnation of the node, and tried again after a while where
 * that may help: others end.
 */
#include "client/member.h"
#include "client/pin_inline.h"
#include "client/shards.h"
#include <string.h>

#define AGAIN_NS    (1 * NS_PER_S)
#define ASK_NS	    (200 * NS_PER_MS) /* how long a miss waits for the node */
#define COUNT_EVERY 1024 /* unpins between two publications of counters */

/* ---- being a member --------------------------------------------------------------- */

static void say(oc_client *c, enum client_cxl state, uint32_t member)
{
	shared_store64(&c->seg->header.cxl, (uint64_t)state << 32 | member);
}

static int refused(oc_client *c, uint64_t word, int error)
{
	enum client_cxl state = error == -EBUSY	  ? CLIENT_CXL_FULL
				: error == -EXDEV ? CLIENT_CXL_APART
						  : CLIENT_CXL_FAILED;
	bool again = error != -EXDEV && error != -EACCES && error != -EPERM;

	say(c, state, 0);
	atomic_store_explicit(&c->shards_again_ns,
			      again ? clock_ns() + AGAIN_NS : UINT64_MAX,
			      memory_order_relaxed);
	atomic_store_explicit(&c->shards_refused, word, memory_order_relaxed);
	if (error == -EBUSY)
		client_fail(c, error,
			    "the CXL region has no free slot for this client: "
			    "it reads what its own node has (make the region "
			    "with more --members)");
	else if (error == -EXDEV)
		client_fail(c, error,
			    "this process has other process ids, or another "
			    "clock, than its node: it is no member of the CXL "
			    "region, and reads what its own node has");
	else
		client_fail(c, error,
			    "the CXL region cannot be read (%s): this client "
			    "reads what its own node has",
			    oc_strerror(error));
	return error;
}

static void fill_region(const struct member *m, struct oc_region *ret)
{
	struct member_memory mem = member_memory(m);

	*ret = (struct oc_region){
		.id = SHARDS_REGION,
		.kind = mem.device ? SEGMENT_DAX : SEGMENT_STANDIN,
		/* read only, whatever the type says */
		.base = (void *)(uintptr_t)mem.base,
		.bytes = mem.bytes,
		.frame_bytes = mem.frame_bytes,
	};
}

/* The node's word was read before: a member of it has this memory. */
static int join(oc_client *c, uint64_t word, uint64_t deadline)
{
	struct answer a = { .n_fds = 0 };
	struct oc_region region;
	struct member *m = NULL;
	union msg q;
	int r;

	msg_init(&q, MSG_CXL, 0);
	r = talk_ask(c, &q, deadline, &a);
	if (r == 0 && a.n_fds != 1)
		r = -EPROTO;
	if (r == 0)
		r = member_join(fd_take(&a.fds[0]), a.msg.cxl.host, c->name,
				&m);
	answer_fini(&a);
	if (r)
		return refused(c, word, r);
	fill_region(m, &region);
	if (c->on_region)
		c->on_region(c->region_ctx, OC_REGION_COMES, &region);
	say(c, CLIENT_CXL_MEMBER, member_slot(m));
	/* Release: pairs with the acquire in handle(). */
	atomic_store_explicit(&c->shards, m, memory_order_release);
	return 0;
}

/* Not worth a try: it was refused, and nothing has changed. */
static bool is_refused(const oc_client *c, uint64_t word)
{
	return atomic_load_explicit(&c->shards_refused, memory_order_relaxed) ==
		       word &&
	       clock_ns() < atomic_load_explicit(&c->shards_again_ns,
						 memory_order_relaxed);
}

static NOINLINE struct member *join_once(oc_client *c)
{
	/* It is a miss that waits here, and that asked for no more than a look. */
	uint64_t deadline = MIN(client_deadline(c, 0), clock_ns() + ASK_NS);
	struct member *m;
	uint64_t word;

	/* A writer can be a member; who may only read is given nothing that can be
	 * written. */
	if (c->read_only || lock_take(&c->slow, deadline))
		return NULL;
	word = shared_load64_acquire(&c->meta->cxl);
	m = atomic_load_explicit(&c->shards, memory_order_relaxed);
	if (!m && word && !is_refused(c, word) && join(c, word, deadline) == 0)
		m = atomic_load_explicit(&c->shards, memory_order_relaxed);
	lock_drop(&c->slow);
	return m;
}

/* NULL: it is no member. */
static inline struct member *handle(oc_client *c)
{
	/* Pairs with join(). */
	struct member *m =
		atomic_load_explicit(&c->shards, memory_order_acquire);
	uint64_t word;

	if (likely(m))
		return member_is_lost(m) ? NULL : m;
	word = shared_load64(&c->meta->cxl);
	return word && !c->read_only && !is_refused(c, word) ? join_once(c)
							     : NULL;
}

bool shards_region(const oc_client *c, struct oc_region *ret_region)
{
	const struct member *m =
		atomic_load_explicit(&c->shards, memory_order_acquire);

	if (m)
		fill_region(m, ret_region);
	return m != NULL;
}

void shards_close(oc_client *c)
{
	member_leave(atomic_load_explicit(&c->shards, memory_order_acquire));
	atomic_store_explicit(&c->shards, NULL, memory_order_relaxed);
}

/* ---- reading ---------------------------------------------------------------------- */

static struct region_name name_of(const oc_ns *ns, const struct oc_key *key,
				  struct oc_part part)
{
	struct region_name name = { .group = part.group, .rank = part.rank };

	memcpy(name.key, key->bytes, sizeof(name.key));
	memcpy(name.ns, ns->digest, sizeof(name.ns));
	return name;
}

static int lost(oc_client *c)
{
	say(c, CLIENT_CXL_FENCED, 0);
	client_fail(c, OC_MISS,
		    "this client was declared dead in the CXL region, or that "
		    "was made anew: it reads what its own node has");
	return OC_MISS;
}

int shards_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	       unsigned flags, struct oc_pin *ret_pin)
{
	struct region_name name = name_of(ns, key, part);
	struct member *m = handle(ns->c);
	struct member_pin pin;
	int r;

	if (!m)
		return OC_MISS;
	r = member_pin(m, &name,
		       (flags & OC_PIN_VERIFY ? MEMBER_VERIFY : 0) |
			       (flags & OC_PIN_NO_TOUCH ? MEMBER_NO_TOUCH : 0),
		       &pin);
	switch (r) {
	case 0:
		break;
	case MEMBER_BAD:
		return client_fail(ns->c, OC_BAD,
				   "a part's bytes are not what was sealed");
	case MEMBER_LOST:
		return lost(ns->c);
	default:
		return OC_MISS;
	}
	/* larger than any part of this group, whatever its checksum says: another
	 * member wrote that, and a caller has room for a part */
	if (unlikely(pin.bytes > ns->part_bytes[part.group])) {
		member_unpin(m, pin.slot);
		return OC_MISS;
	}
	*ret_pin = (struct oc_pin){
		.data = pin.data,
		.bytes = pin.bytes,
		.offset = (uint64_t)((const char *)pin.data -
				     (const char *)member_memory(m).base),
		.generation = pin.gen,
		.checksum = pin.checksum,
		.region = SHARDS_REGION,
		.tokens = pin.tokens,
		.slot = SLOT_SHARDS | pin.slot,
	};
	client_add(ns->c, CLIENT_REGION_PINS, 1);
	client_add(ns->c, CLIENT_REGION_BYTES, pin.bytes);
	return 0;
}

size_t shards_pin_missed(oc_ns *ns, const struct pin_job *jobs, size_t n,
			 unsigned flags)
{
	size_t got = 0;

	for (size_t i = 0; i < n; i++) {
		struct oc_part part = { frame_part_group(jobs[i].part),
					frame_part_rank(jobs[i].part) };

		got += !jobs[i].pin->data &&
		       shards_pin(ns, jobs[i].key, part, flags, jobs[i].pin) ==
			       0;
	}
	return got;
}

void shards_unpin(oc_client *c, uint64_t slot)
{
	uint64_t n = atomic_fetch_add_explicit(&c->shards_unpins, 1,
					       memory_order_relaxed);
	uint64_t sums[CLIENT_COUNTS];

	/* who reads here alone is counted as well */
	if (unlikely(n % COUNT_EVERY == COUNT_EVERY - 1))
		client_count(c, sums);
	member_unpin(atomic_load_explicit(&c->shards, memory_order_acquire),
		     (uint32_t)slot);
}

/* One that is larger than any part of its group is none, as in shards_pin(). */
static bool look(struct member *m, const oc_ns *ns, const struct oc_key *key,
		 struct oc_part part, struct region_seen *ret_seen)
{
	struct region_name name = name_of(ns, key, part);

	return member_look(m, &name, ret_seen) == 0 &&
	       ret_seen->bytes <= ns->part_bytes[part.group];
}

int shards_look(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		struct region_seen *ret_seen)
{
	struct member *m = handle(ns->c);
	struct region_seen seen;

	if (!m || !look(m, ns, key, part, &seen))
		return OC_MISS;
	*ret_seen = seen;
	return 0;
}

uint64_t shards_look_some(oc_ns *ns, const struct oc_key *keys, size_t n,
			  struct oc_part part, uint64_t wanted,
			  uint64_t *ret_extents)
{
	struct member *m = handle(ns->c);
	uint64_t there = 0;

	for (size_t i = 0; m && i < n; i++) {
		struct region_seen seen;

		if (!(wanted >> i & 1) || !look(m, ns, &keys[i], part, &seen))
			continue;
		there |= 1ull << i;
		if (ret_extents)
			ret_extents[i] =
				frame_extent((uint32_t)seen.bytes, seen.tokens);
	}
	return there;
}
