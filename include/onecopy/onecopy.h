/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libonecopy: one copy of every KV block of a node, shared by its processes.
 *
 * A program connects to the node's daemon (`onecopy serve`), opens a namespace
 * and then finds, pins, writes and seals blocks that lie in memory which all
 * clients of the tenant map. A hit costs no system call, no lock and no copy.
 *
 * Words. A *block* is the KV state of `block_tokens` consecutive tokens; its
 * *key* is 32 bytes, the chained hash of all tokens up to its end. What one KV
 * group and one parallel rank contribute to a block is a *part*. A *pin*
 * protects a part while it is read; a *grant* is a frame lent for writing; a
 * sealed part never changes, and the first seal of a key wins. The bytes of
 * equal keys are interchangeable.
 *
 * Results. 0 is success. Negative is -errno: something is wrong, see
 * oc_client_error(). Positive is an answer that a caller handles (enum
 * oc_answer): a miss is not an error. Outputs named ret_... are written only
 * when the result is 0, unless the call says more.
 *
 * Waiting. Every call that waits for the server takes `timeout_ns`: 0 uses the
 * client's default (oc_client_options), OC_NOWAIT never waits. No call waits
 * for ever. When the server dies it is restarted within moments; calls that
 * need it wait within their timeout and go on; pins and reads need no server.
 * Looking and pinning make no system call, except that a call which meets a
 * slab for the first time, or a node that has changed its regions or index
 * since, maps what is new: system calls, within the client's default timeout.
 * Grants, seals, abandons, removals and fetches have a submit form,
 * oc_op_submit(); connecting, oc_ns_open(), oc_inspect(), oc_put() and oc_get() have none.
 *
 * Threads. A client may be used by several threads at once. A pin or a grant
 * is used by one thread at a time. After fork() the child must not use its
 * parent's client: every call there gives -ECHILD, and the shared memory is
 * not mapped in it; oc_client_close() only frees memory there.
 *
 * Versions. Structs that may grow begin with their size; set it with
 * sizeof(struct ...) (or the OC_..._INIT macro); zeros in the rest mean the
 * defaults. A size that cannot be (0 is one) gives -EINVAL.
 */
#ifndef ONECOPY_H
#define ONECOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with hidden symbols; what is declared here is not. */
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define OC_VERSION_MAJOR 0
#define OC_VERSION_MINOR 1
const char *oc_version(void); /* "0.1.0" */

enum oc_answer {
	OC_OK = 0,
	OC_MISS = 1,   /* not resident */
	OC_EXISTS = 2, /* already sealed by someone: nothing to write */
	OC_STALE = 3,  /* it was there and is gone or changed; try again */
	OC_NONE = 4,   /* nothing (more) to report */
	OC_BAD = 5,    /* verification failed: treat as a miss */
	OC_BUSY = 6,   /* somebody else has it now */
	OC_BELOW = 7,  /* not resident, but on a tier of this node from where
			  it can be brought up: tiers.h */
};
/* Text for a negative errno or a positive answer; static. */
const char *oc_strerror(int result);

#define OC_NOWAIT    UINT64_MAX
#define OC_KEY_BYTES 32

struct oc_key {
	uint8_t bytes[OC_KEY_BYTES];
};

/* ---- keys ------------------------------------------------------------- */

/* One multimodal item inside a block: its identifier and token offset. */
struct oc_chain_item {
	const char *id;
	uint32_t block; /* index, in this call's tokens, of the block it is in */
	int64_t offset; /* as the engine hashes it; may be negative */
};

struct oc_chain_options {
	size_t size;
	uint32_t block_tokens;	     /* tokens of a full block; required */
	const char *seed;	     /* root = SHA-256(CBOR text); NULL: "0" */
	const struct oc_key *parent; /* go on after this key; NULL: the root */
	const char *lora;	     /* LoRA name, NULL: none; every block */
	const char *salt;	     /* cache salt, NULL: none; first block of a
				       chain only (no parent given) */
	const struct oc_chain_item *items; /* ascending by block */
	size_t n_items;
};

/*
 * Keys of the full blocks of a token sequence, as vLLM's `sha256_cbor`:
 *   key_i = SHA-256(canonical CBOR of [parent, [ids of the block], extra])
 * `extra` is null or an array in this order: LoRA name, [id, offset] of each
 * item of the block, cache salt. Only full blocks have a key here: n /
 * block_tokens keys are written. Pure, any thread.
 * 0; -EINVAL (no block_tokens, items out of order, no size); -ENOMEM.
 */
int oc_chain(const struct oc_chain_options *options, const uint32_t *tokens,
	     size_t n, struct oc_key *ret_keys, size_t *ret_n);
/* The root key of a seed (NULL: "0"). */
int oc_chain_root(const char *seed, struct oc_key *ret_key);
/* Key of the partial block at the end (0 < n < block_tokens tokens after
 * `parent`): SHA-256(canonical CBOR of [parent, [ids], extra, "partial"]), so
 * that it can never equal a full block's. onecopy's own definition. */
int oc_chain_partial(const struct oc_chain_options *options,
		     const uint32_t *tokens, size_t n, struct oc_key *ret_key);

/* ---- client ------------------------------------------------------------ */

typedef struct oc_client oc_client;

struct oc_region; /* below */
typedef void (*oc_region_fn)(void *ctx, int event,
			     const struct oc_region *region);

struct oc_client_options {
	size_t size;
	const char *socket;  /* NULL: $ONECOPY_SOCKET, else the default path */
	const char *tenant;  /* NULL: $ONECOPY_TENANT, else "default" */
	const char *name;    /* shown by `onecopy stat`; NULL: program name */
	bool read_only;	     /* never grants; owns no slabs */
	uint32_t pins;	     /* pins held at once without a system call;
			       0: 16,384; the node's quota is the limit */
	uint64_t timeout_ns; /* default for all calls; 0: 5 s */
	oc_region_fn on_region; /* NULL: regions are managed silently */
	void *region_ctx;
	const char *token; /* a tenant's, for a user whom it does not name;
			      NULL: $ONECOPY_TOKEN, "" none. With a token and no
			      tenant named, the tenant is the token's */
};

/* Blocking up to the timeout (also while no server listens yet when the socket
 * exists). options NULL: all defaults. -ENOENT, -ECONNREFUSED no node;
 * -ETIMEDOUT one that does not answer; -EACCES not allowed in this tenant, or
 * there is none of this name; -EPROTO another version; -ENOMEM, -EMFILE; -EUSERS
 * too many clients; -EINVAL options that cannot be (size, pins, the tenant's
 * name); -ENAMETOOLONG the socket's path.
 * *ret_client is written only on success; `error` (may be NULL, at least 256
 * bytes) gets one line that says what is wrong and what to do. */
int oc_client_connect(const struct oc_client_options *options,
		      oc_client **ret_client, char *error);
/* Gives back everything: pins, grants, slabs. Takes NULL. Pins' pointers are
 * invalid afterwards. No other thread may be inside a call. */
void oc_client_close(oc_client *c);
/* One line about the last failure of this thread with this client; "" if
 * none. Valid until the thread's next call. */
const char *oc_client_error(oc_client *c);
uint64_t oc_client_id(const oc_client *c);
/* Where a node is found without being told: $ONECOPY_SOCKET; else what is there
 * of $XDG_RUNTIME_DIR/onecopy.sock, /run/onecopy/onecopy.sock (the installed
 * service) and /run/onecopy.sock; else where `onecopy serve` would make it.
 * 0 or -ENAMETOOLONG. */
int oc_default_socket(char *buf, size_t cap);

/* ---- namespaces --------------------------------------------------------- */

typedef struct oc_ns oc_ns;

#define OC_GROUPS_MAX 8
#define OC_RANKS_MAX  64 /* groups x ranks is at most this as well */

enum oc_rule {
	OC_RULE_FULL = 0,   /* full attention: needs all blocks of a prefix */
	OC_RULE_WINDOW = 1, /* sliding window: the last ceil(window_tokens /
			       block_tokens) blocks */
	OC_RULE_STATE = 2,  /* recurrent state: the last block */
};

/* As a group's stride: its parts lie in slabs that are striped slice by slice, so
 * that the same slice of neighbouring frames lies side by side, and a space maps a
 * run of blocks with one mapping for each slice (space.h). Slices are whole pages
 * then, 65,535 at most, parts are whole, and how far apart the slices of a part are is told by its
 * pin or its grant: `stride`. Such parts live in DRAM and on the NVMe tier, never
 * on the rung of CXL memory. */
#define OC_STRIPED UINT64_MAX

/* A part is `slices` runs of slice_bytes (for instance layers x K/V). In a
 * frame they lie `stride` bytes apart (0: packed). */
struct oc_group {
	enum oc_rule rule;
	uint32_t window_tokens; /* OC_RULE_WINDOW */
	uint32_t slices;	/* 0: parts of any size up to slice_bytes */
	uint64_t slice_bytes;
	uint64_t stride; /* 0, >= slice_bytes, or OC_STRIPED */
};

struct oc_ns_options {
	size_t size;
	uint8_t weights[32]; /* digest of the model's weights */
	uint8_t layout[32];  /* digest of dtype, layers, heads, ... */
	uint32_t block_tokens;
	uint16_t ranks;	   /* parallel ranks; 0: 1 */
	uint16_t n_groups; /* 1 .. OC_GROUPS_MAX */
	struct oc_group groups[OC_GROUPS_MAX];
	const char *label; /* for people; not part of the identity */
};

/* Opens, making it when it is new. The identity is everything but the label:
 * two programs that differ in any of it never see each other's blocks.
 * Waits for the server. -EINVAL a geometry that cannot be, -E2BIG a part
 * larger than the largest frame, -ENOSPC too many namespaces. */
int oc_ns_open(oc_client *c, const struct oc_ns_options *options,
	       uint64_t timeout_ns, oc_ns **ret_ns);
/* One that is there, by its number. OC_MISS. Does not wait. Parts that are striped
 * (OC_STRIPED) are not pinned or written through it, -EOPNOTSUPP, because whoever
 * knows a namespace by its number alone may not know that: open it. */
int oc_ns_find(oc_client *c, uint32_t id, oc_ns **ret_ns);
void oc_ns_close(oc_ns *ns); /* frees the handle; the blocks stay */
uint32_t oc_ns_id(const oc_ns *ns);
/* Bytes of a whole part of a group as it lies in a frame. */
uint64_t oc_ns_part_bytes(const oc_ns *ns, uint16_t group);

/* ---- finding and pinning ------------------------------------------------ */

/* Coordinates of a part in a block. {0, 0} for simple models. */
struct oc_part {
	uint16_t group;
	uint16_t rank;
};

enum oc_tier {
	OC_TIER_NONE,
	OC_TIER_VRAM,
	OC_TIER_DRAM,
	OC_TIER_CXL,
	OC_TIER_NVME,
	OC_TIER_NODE
};
const char *oc_tier_name(enum oc_tier tier);

/* A pinned part. Everything here stays true until oc_unpin(). */
struct oc_pin {
	const void *data; /* bytes readable here; may be device memory later.
			     Striped: see stride */
	uint64_t bytes;	  /* payload */
	uint64_t offset;  /* of the payload in its region */
	uint64_t generation;
	uint64_t checksum; /* XXH3-64, see docs/formats/pool.md */
	uint32_t region;
	uint32_t tokens; /* 0: a full block */
	uint64_t slot;	 /* private */
	uint64_t stride; /* OC_STRIPED: slice s is slice_bytes at data + s *
			    stride; what is between is not this part. Else 0 */
};

enum oc_pin_flags {
	OC_PIN_VERIFY = 1,   /* hash the bytes before returning them; OC_BAD and
			      the block is dropped when they are wrong */
	OC_PIN_NO_TOUCH = 2, /* do not count as a use */
	OC_PIN_BY_RING = 4,  /* take a slot of the server's side (slow) */
};

/* Pins one part. No system call, no lock, no allocation, except when its
 * region is seen for the first time. OC_MISS; OC_BAD (with OC_PIN_VERIFY);
 * -EDQUOT no slot left. When the client's own slots are all in use, the
 * server is asked for one (a round trip, within the default timeout).
 *
 * What the node does not have is looked for in its CXL region, if it is a member of
 * one (onecopy serve --region), and pinned there in place; so by all calls that
 * find or pin. That takes a short lock, and joins the region the first time: where the
 * node does not answer, or another process stands still while it joins, such a miss
 * takes up to 250 ms, and one more each second. A client that cannot join reads what
 * its node has: oc_client_error() says why after the miss. Not for read-only clients.
 * Where the region's memory fails, the calls that find or pin, oc_unpin() of such a pin,
 * oc_client_close() and who reads its bytes meet SIGBUS. A handler is the
 * application's: the library takes none. */
int oc_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	   unsigned flags, struct oc_pin *ret_pin);
/* Any time, any thread. Recency counts from here: a pinned part cannot leave
 * anyway. */
void oc_unpin(oc_ns *ns, struct oc_pin *pin);

/* The same part of n blocks with one fence. ret_pins[i].data is NULL for a
 * miss. Returns 0 and the number pinned. On failure nothing is pinned, but
 * ret_pins may have been written. */
int oc_pin_batch(oc_ns *ns, const struct oc_key *keys, size_t n,
		 struct oc_part part, unsigned flags, struct oc_pin *ret_pins,
		 size_t *ret_pinned);
/* Pins with data == NULL are skipped. Touches from the last to the first, so
 * that heads of chains live longest. */
void oc_unpin_batch(oc_ns *ns, struct oc_pin *pins, size_t n);

/* Where one block of a match is and what reaching it is expected to cost (all
 * its parts that the match needs; from the node's measurements). Of a block on
 * several tiers: the slowest. */
struct oc_block_info {
	enum oc_tier tier;  /* OC_TIER_NONE: nowhere on this node */
	uint32_t stream_ns; /* of expected_ns: what it adds to others of its tier
			       that are reached in one go; UINT32_MAX: so much
			       or more */
	uint64_t bytes;
	uint64_t expected_ns; /* until it alone is here, after what is queued
				 there now */
};

enum oc_match_flags {
	OC_MATCH_BELOW = 1, /* oc_match(): tells of tiers below DRAM, too.
			       ret_info (not NULL) has all n entries written:
			       the longest prefix that can be had from this node,
			       and behind it OC_TIER_NONE. *ret_usable is what is
			       resident, as without it. One request where
			       something is missing and the node has such a
			       tier, within the default timeout (-ETIMEDOUT) */
};

struct oc_match_options {
	size_t size;
	int32_t rank; /* -1 (default through OC_MATCH_INIT): all ranks must be
			 there; else only this one */
	unsigned pin_flags;
	uint64_t fetch_ns; /* oc_match_pin(): what is on a tier below is brought
			      up and waited for, so long at most; 0: it is not.
			      What has not come by then shortens the prefix */
	unsigned flags;	   /* enum oc_match_flags */
};
#define OC_MATCH_INIT                                        \
	{                                                    \
		sizeof(struct oc_match_options), -1, 0, 0, 0 \
	}

/* Longest usable prefix of keys[0..n): the joint hit rule over all groups of
 * the namespace. options NULL: OC_MATCH_INIT. ret_info may be NULL, else n
 * entries, of which the first *ret_usable are written. No system call, except
 * when a slab is met for the first time or the node has changed (then it may
 * wait within the default timeout). The answer may be old at once; to hold on
 * to it use oc_match_pin(). 0 also when nothing matches (*ret_usable = 0);
 * -EINVAL no such rank. */
int oc_match(oc_ns *ns, const struct oc_key *keys, size_t n,
	     const struct oc_match_options *options,
	     struct oc_block_info *ret_info, size_t *ret_usable);

/* Match and pin in one: the longest prefix that could be pinned. ret_pins has
 * n * parts entries, parts = groups * (rank < 0 ? ranks : 1), indexed
 * [block][group][rank]; entries that the rules do not need have data NULL. On
 * failure nothing is pinned, but ret_pins may have been written. */
int oc_match_pin(oc_ns *ns, const struct oc_key *keys, size_t n,
		 const struct oc_match_options *options,
		 struct oc_pin *ret_pins, size_t *ret_usable);

/* 0 resident; OC_BELOW; OC_MISS. No system call, except as oc_match(); on a node
 * with a tier below, one request for what is not resident, within the default
 * timeout (a node that does not answer: OC_MISS). */
int oc_exists(oc_ns *ns, const struct oc_key *key, struct oc_part part);

/* The four questions for one part, from the metadata; of one on a tier below:
 * tier, expected_ns, bytes, tokens and replicas, the rest is 0 (asked as
 * oc_exists() does). OC_MISS. */
struct oc_where {
	enum oc_tier tier; /* fastest one that has it; OC_TIER_CXL also of a CXL
				 region */
	uint64_t owner;	   /* client that wrote it; 0 when it is gone, or of
				 another node */
	uint64_t expected_ns; /* how fast to reach: time to have all bytes */
	uint32_t replicas;    /* how many copies on this node */
	uint32_t region;
	uint64_t offset, bytes, generation, checksum;
	uint32_t tokens;
	uint32_t pins; /* slots that name it now; 0 unless asked by oc_inspect */
	uint64_t age_ms; /* since its seal */
};
int oc_where(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	     struct oc_where *ret_where);

/* ---- writing ------------------------------------------------------------ */

/* A frame lent for writing. data is writable until seal or abandon. */
struct oc_grant {
	void *data;
	uint64_t bytes; /* as asked for */
	uint64_t offset;
	uint64_t generation;
	struct oc_key key;
	struct oc_part part;
	uint32_t region;
	uint32_t tokens;
	uint64_t frame; /* private */
	/* OC_STRIPED: slice s is slice_bytes at data + s * stride. Else 0 */
	uint64_t slice_bytes, stride;
};

/* What the owner will do with a frame, told before it does. */
enum oc_grant_flags {
	OC_GRANT_DEVICE = 1, /* a device writes there: io_uring, O_DIRECT, RDMA,
				a copy engine. It must be done, by its own
				word, before the seal, and before the frame is
				given back. When this process dies meanwhile,
				the frame is quarantined: the device may go on,
				and nobody else is granted that memory */
};

/* Asks for a frame that the processor alone will write. bytes 0: the whole part
 * of the group. tokens 0: a full block; else a partial one. OC_EXISTS: already
 * sealed, nothing granted.
 * -E2BIG larger than the largest frame; -ENOBUFS the pool is full and all of
 * it is in use; -EDQUOT this client's quota; -ENOMEM, -ENOSPC the node has no
 * memory or no room in its tables; -ETIMEDOUT no answer; -EPERM read-only
 * client; -EINVAL no such part. */
int oc_grant(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	     uint64_t bytes, uint32_t tokens, uint64_t timeout_ns,
	     struct oc_grant *ret_grant);
/* The same, with enum oc_grant_flags. -EINVAL also: an unknown flag. */
int oc_grant_flags(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		   uint64_t bytes, uint32_t tokens, unsigned flags,
		   uint64_t timeout_ns, struct oc_grant *ret_grant);
/* Publishes what was written. The checksum is computed from the frame when
 * `checksum` is NULL (an extra pass), else it is what oc_fill() or
 * oc_checksum() returned. 0 sealed; OC_EXISTS: another was first, the frame
 * went back, use theirs; OC_STALE: the grant was taken away. The grant is used
 * up in every case but -ETIMEDOUT (then seal or abandon again). */
int oc_seal(oc_ns *ns, struct oc_grant *grant, const uint64_t *checksum,
	    uint64_t timeout_ns);
/* Gives the frame back; what was written there is lost. 0; OC_STALE: the grant
 * had been taken away; -EINVAL: it was used up already. The grant is used up
 * in every case but -ETIMEDOUT (then abandon again). A client's end gives back
 * what it still holds. */
int oc_abandon(oc_ns *ns, struct oc_grant *grant, uint64_t timeout_ns);

/* n at once (any n; goes through the ring in windows). ret_results[i] has what
 * the single call would have returned, also when the whole call fails.
 * ret_grants[i].data is NULL where nothing was granted. Returns 0 when all
 * entries have a result, else -errno (entries not reached have the same). */
int oc_grant_batch(oc_ns *ns, const struct oc_key *keys, size_t n,
		   struct oc_part part, uint64_t bytes, uint64_t timeout_ns,
		   struct oc_grant *ret_grants, int *ret_results);
int oc_grant_batch_flags(oc_ns *ns, const struct oc_key *keys, size_t n,
			 struct oc_part part, uint64_t bytes, unsigned flags,
			 uint64_t timeout_ns, struct oc_grant *ret_grants,
			 int *ret_results);
int oc_seal_batch(oc_ns *ns, struct oc_grant *grants, const uint64_t *checksums,
		  size_t n, uint64_t timeout_ns, int *ret_results);
int oc_abandon_batch(oc_ns *ns, struct oc_grant *grants, size_t n,
		     uint64_t timeout_ns);

/* Copies into a grant and hashes in the same pass (non-temporal); the checksum
 * for oc_seal(). Fewer bytes than were asked for make the grant as short:
 * grant->bytes is then what is sealed (-EINVAL of a striped part, which is whole).
 * More are not copied. `data` is in one piece, slice after slice; what is written
 * into a striped grant by hand goes by grant->stride. */
uint64_t oc_fill(struct oc_grant *grant, const void *data, uint64_t bytes);
/* Checksum of bytes as a part of this key. */
uint64_t oc_checksum(const struct oc_key *key, struct oc_part part,
		     const void *data, uint64_t bytes);

/* Copying forms, for those who want them. put: grant, fill, seal; OC_EXISTS is
 * no failure. get: pin, verify, copy, unpin; OC_MISS; -ENOSPC cap too small
 * (*ret_bytes is then the size needed). Both in one piece, also of striped parts. */
int oc_put(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	   const void *data, uint64_t bytes, uint64_t timeout_ns);
int oc_get(oc_ns *ns, const struct oc_key *key, struct oc_part part, void *buf,
	   uint64_t cap, uint64_t *ret_bytes);
/* Removes all parts of a block. Pinned readers keep what they hold; nobody new
 * finds it. OC_MISS when nothing was there. Of a CXL region, what this node has there
 * as a member goes, too; not what other nodes have sealed, nor, while this node cannot
 * join it or was declared dead there, what it had sealed itself. */
int oc_remove(oc_ns *ns, const struct oc_key *key, uint64_t timeout_ns);

/* ---- regions ------------------------------------------------------------ */

/* A slab as clients and devices see it. An engine registers each region once
 * with CUDA or RDMA when it is announced, and drops it when it is told that it
 * goes. A region's frames are handed out only after its announcement, and its
 * memory stays until every client has taken the event or ended. */
struct oc_region {
	uint32_t id;
	uint32_t kind; /* 1: DRAM; 2: a NUMA node of CXL memory, 3: a devdax
			  device, 4: ordinary memory that stands in for it. A CXL
			  region of several nodes is one as a whole */
	bool writable; /* this client's own */
	void *base;    /* mapped here */
	uint64_t bytes;
	uint64_t frame_bytes;
};
/* Told to oc_client_options.on_region, from inside the call of whichever
 * thread noticed: COMES before any frame of the region is returned by a call,
 * GOES before its base becomes invalid (no frame in it is held then). The
 * callback may not call the client. */
enum oc_region_event { OC_REGION_COMES = 1, OC_REGION_GOES = 2 };

/* Calls fn with OC_REGION_COMES for each region that is mapped now. */
void oc_region_each(oc_client *c, oc_region_fn fn, void *ctx);

/* Handles what the node has announced meanwhile (regions that come and go).
 * Every call does this when it notices; a client that makes no calls for long
 * should call it when oc_client_fd() is readable, so that memory which the
 * node wants to give away is not held up. Does not wait. */
int oc_client_dispatch(oc_client *c);

/* ---- submit forms --------------------------------------------------------- */

enum oc_op_kind {
	OC_OP_GRANT = 1,
	OC_OP_SEAL = 2,
	OC_OP_ABANDON = 3,
	OC_OP_REMOVE = 4,
	OC_OP_NOP = 5,	 /* a round trip */
	OC_OP_FETCH = 6, /* brings a block up from a tier below: tiers.h */
};

struct oc_op {
	size_t size;
	enum oc_op_kind kind;
	oc_ns *ns;
	uint64_t user_data;
	uint64_t timeout_ns;
	struct oc_key key;	/* GRANT, REMOVE, FETCH */
	struct oc_part part;	/* GRANT; FETCH with OC_FETCH_PART */
	uint64_t bytes;		/* GRANT */
	uint32_t tokens;	/* GRANT */
	struct oc_grant *grant; /* SEAL, ABANDON: in; GRANT: out, written when
				   its completion is taken; stays the
				   caller's, untouched until then */
	uint64_t checksum;	/* SEAL */
	unsigned flags;		/* GRANT: enum oc_grant_flags; FETCH: enum
				   oc_fetch_flags */
};

struct oc_completion {
	uint64_t user_data;
	enum oc_op_kind kind;
	int result; /* what the blocking call would have returned */
};

/* Hands the operation to the server without waiting. 0; -EAGAIN when too many
 * are under way (take completions first); -EINVAL an operation that is not
 * whole, no such part, or a grant that was used up; -E2BIG; -EPERM read-only
 * client. *ret_id names it for cancelling. */
int oc_op_submit(oc_client *c, const struct oc_op *op, uint64_t *ret_id);
/* Asks to give it up; its completion still comes (-ECANCELED, or its result
 * when it was too late). 0; -EAGAIN when too many requests are under way to
 * ask: nothing was done. */
int oc_op_cancel(oc_client *c, uint64_t id);
/* Takes up to n completions; waits for at least one within the timeout.
 * 0 and *ret_n >= 1, or OC_NONE. A grant in a slab that this client has not
 * met is mapped here: that waits within the client's default timeout, also
 * with OC_NOWAIT. */
int oc_op_take(oc_client *c, struct oc_completion *ret_done, size_t n,
	       uint64_t timeout_ns, size_t *ret_n);
/* Readable when a completion, or an announcement for oc_client_dispatch(),
 * may be waiting: for poll. It stays the client's; do not read or close it. */
int oc_client_fd(const oc_client *c);

/* ---- what the node says of itself ----------------------------------------- */

struct oc_stat {
	uint64_t limit_bytes;	/* the node's hard limit for slabs */
	uint64_t slab_bytes;	/* this tenant's slabs */
	uint64_t meta_bytes;	/* its metadata segments */
	uint64_t sealed_blocks; /* parts resident */
	uint64_t sealed_bytes;	/* payload */
	uint64_t granted;	/* frames lent */
	uint64_t free_frames;
	uint64_t clients;
	uint64_t evicted;      /* parts, since the pool began */
	uint64_t server_epoch; /* number of server starts */
	uint64_t pins_held;    /* by this client, now */
	uint64_t hits, misses; /* of this client: parts pinned, not found */
};
int oc_stat(oc_client *c, struct oc_stat *ret_stat);

/* The node's report as JSON text (malloc; free() it): what is `onecopy stat
 * --json`. what: "stat", "check", "where" with a key's hexadecimal digits, "why"
 * with up to 64 keys (docs/formats/), "sessions" with the record to go on from
 * (none: the first), "session" with a name, or "#" and an id. Waits for the
 * server. -EPERM for "check" from another user; -ENOENT no such session; -EINVAL a
 * question that is none; -E2BIG too many keys. */
int oc_inspect(oc_client *c, const char *what, const char *args,
	       uint64_t timeout_ns, char **ret_json);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
