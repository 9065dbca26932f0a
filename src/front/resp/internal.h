/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of front/resp/ alone.
 *
 *   door.c    made and ended, accepting, ticks, time-outs
 *   conn.c    a connection: bytes in, commands, bytes out
 *   value.c   values on their way in: from the socket into frames
 *   send.c    values on their way out: from frames to the socket
 *   keys.c    names, records and expiry over store/local.h
 *   exec.c    commands: dispatch
 *   strings.c, admin.c, auth.c, scan.c, session.c  commands
 *   below.c   waiting for what is on the tier below
 *   out.c     replies in a growing buffer
 */
#ifndef ONECOPY_FRONT_RESP_INTERNAL_H
#define ONECOPY_FRONT_RESP_INTERNAL_H

#include "base/clock.h"
#include "front/resp/out.h"
#include "front/resp/resp.h"
#include "store/local.h"
#include "store/move.h"
#include "wire/resp.h"
#include "wire/resp_commands.h"

/* Values up to this are copied into their record (docs/formats/resp.md); longer
 * ones have a frame of their own that the socket reads and writes. */
#define RESP_INLINE_MAX 16384u
/* Bytes of a long value that are received and then hashed at a time: they stay
 * in the core's cache in between; and those that one connection receives before
 * others have their turn. */
#define RESP_PIECE (128u << 10)
#define RESP_TURN  (1u << 20)
/* Bytes a second that a peer must take, or give, while others wait for room. */
#define RESP_SLOW (64u << 10)
/* Replies that wait for the socket, beyond which no command is taken. */
#define RESP_OUT_MAX (256u << 10)
/* All connections together: halves of commands, replies that wait. */
#define RESP_INPUT_ALL (64ull << 20)
#define RESP_OUT_ALL   (256ull << 20)
/* Half a command of somebody who is not authenticated. */
#define RESP_NOBODY_MAX (2u << 10)
#define RESP_NOBODY_ALL (16ull << 20)
/* How long a SET waits for room. */
#define RESP_ROOM_NS (5 * NS_PER_S)
/* TLS handshakes under way: each costs the one thread a signature, and a peer
 * that begins one need not be anybody. Others wait in the listening socket. */
#define RESP_SHAKING_MAX 128u

/* The Redis whose answers are meant: clients compare versions. */
#define RESP_AS_REDIS "7.0.15"

/* A connection's place in the door's table, within its ticket. */
#define RESP_INDEX_BITS	     20
#define RESP_CONNECTIONS_MAX ((1u << RESP_INDEX_BITS) - 1)

/* Kinds of requests that are timed apart. */
enum resp_kind { KIND_GET, KIND_SET, KIND_EXISTS, KIND_OTHER, RESP_KINDS };
_Static_assert(RESP_KINDS <= DOOR_KINDS_MAX, "room for the kinds");

struct resp_tenant {
	struct store_client *client; /* NULL: not opened */
	struct pool *pool;
	uint8_t *copy; /* the door's */
	uint32_t ns;
	/* the sweep for expired names: where it stands, and whether a name
	 * with an expiry was seen since it began */
	uint64_t fill_bytes; /* of values that are being received */
	uint64_t sweep;
	bool expiring, seen;
};

/* ---- keys.c ---------------------------------------------------------------- */

struct name {
	const char *text;
	uint32_t len;
};

/* Where a name's parts are: docs/formats/resp.md. */
struct place {
	uint64_t key[4];
	uint16_t group; /* of the record; the bulk's is the next */
	bool paired;
};

struct record {
	uint32_t magic, name_len;
	uint64_t value_len;
	uint64_t expire_ms; /* CLOCK_REALTIME; 0: never */
	uint64_t bulk_sum;  /* checksum of the bulk part; inline: 0 */
};
_Static_assert(sizeof(struct record) == 32, "no padding");
#define RECORD_MAGIC 0x3152434fu /* "OCR1" */
/* With the longest name, and the longest value that it has itself. */
#define RECORD_MOST (sizeof(struct record) + 2 * RESP_INLINE_MAX)

struct entry {
	struct place place;
	struct local_part part, bulk;
	struct record record;
	/* inline: in the copy that entry_verify() makes, until the next entry is
	 * looked for; else in the bulk's frame */
	const char *value;
	bool is_inline;
	bool bulk_below; /* not in memory: no value, and no bulk */
};

void place_of(struct name name, struct place *ret_place);
enum place_which { PLACE_RECORD = 0, PLACE_BULK = 1 };
/* For the store, and for the checksum. */
uint64_t place_part(const struct resp_tenant *t, const struct place *p,
		    enum place_which which);
uint64_t place_seed(const struct place *p, enum place_which which);
/* A name's entry, not expired (one that is goes). */
bool entry_find(struct resp_tenant *t, struct name name, struct entry *ret);
/* The same of a frame that is walked over. False: it is no record. Expired ones
 * are found. The name is there until the next entry is looked for. */
bool entry_at(struct resp_tenant *t, uint32_t slab, uint32_t frame,
	      struct name *ret_name, struct entry *ret);
/* The place of whatever part of a name lies there. */
bool place_at(struct resp_tenant *t, uint32_t slab, uint32_t frame,
	      struct place *ret);
bool entry_expired(const struct entry *e);
/* Are the bytes of the record what was written? One that is not goes. The copy
 * of those that are is the one that was hashed. */
bool entry_verify(struct resp_tenant *t, const struct entry *e);
void entry_touch(struct resp_tenant *t, const struct entry *e);
/* False: there was none. */
bool entry_remove(struct resp_tenant *t, struct name name);
void place_remove(struct resp_tenant *t, const struct place *place);
/* Bytes of a record. */
uint64_t record_bytes(struct name name, uint64_t inline_bytes);
/* Fills the frame of a record, and seals it. value NULL: not inline. -EIO: its
 * memory has failed, and it is given back. */
int record_seal(struct resp_tenant *t, const struct place *place,
		const struct local_part *part, const struct record *head,
		struct name name, const char *value);
/* What it takes of the pool, descriptors included. */
uint64_t entry_memory(struct resp_tenant *t, const struct entry *e);
uint64_t tenant_names(const struct resp_tenant *t);
int tenant_open(struct resp_door *d, const char *tenant,
		struct resp_tenant **ret_tenant);

/* ---- a connection ---------------------------------------------------------- */

/* A value on its way in, or in and not yet committed; or the frame of a record
 * that had to be waited for. */
struct fill {
	struct fill *next;
	uint32_t arg; /* of the command */
	bool asked;   /* for its frame: it counts as under way */
	bool has_bulk, has_record;
	int error;			/* -errno: no room for the record */
	struct local_part bulk, record; /* granted */
	uint64_t bytes, got;
	struct hash_stream *hash;
};

/* A value on its way out. */
struct sending {
	int64_t slot; /* pin */
	struct local_part part;
	uint64_t bytes, hashed, sent;
	struct hash_stream *hash; /* NULL: it was right a moment ago */
};

/* What has come of commands that are not done. */
struct input {
	bool nobody; /* it is counted as one's */
	char *buf;
	uint32_t at, len, cap; /* commands begin at `at`; bytes end at `len` */
	struct resp_parser parser;
};

enum conn_state {
	CONN_OPEN,  /* takes commands */
	CONN_ROOM,  /* a grant waits, or is not asked for yet (queued) */
	CONN_FILL,  /* a value comes */
	CONN_SKIP,  /* a value comes that nobody wants */
	CONN_TAIL,  /* the two bytes behind a value come */
	CONN_SEND,  /* a value goes out */
	CONN_TURN,  /* a heavy command waits for its turn */
	CONN_BELOW, /* what a command needs is brought up from the tier below */
	CONN_WALK,  /* FLUSHDB: goes on in the next tick */
	CONN_ENDED, /* closed: to be freed */
};

struct conn {
	struct resp_door *door;
	struct stream *stream;
	struct resp_tenant *tenant;	    /* NULL: not authenticated */
	struct conn *busy_next, *busy_prev; /* in the order of their steps */
	struct conn *turn_next;
	bool busy;
	uint8_t state; /* enum conn_state */
	uint8_t protocol;
	bool receiving;	 /* a receive is under way */
	bool closing;	 /* after the replies: QUIT, errors of protocol */
	bool large;	 /* its last command carried a long value */
	bool again;	 /* the command in hand goes on: it is parsed already */
	bool value_due;	 /* the parser stands before a long value */
	bool broken;	 /* a reply cannot be given: to be closed */
	bool stranger;	 /* its user may not use the tenant */
	bool shaking;	 /* its TLS handshake is under way */
	bool queued;	 /* its value waits for others' to be complete */
	uint32_t resume; /* where a command goes on that does so later */
	uint64_t began_ns; /* of such a command; 0: none */
	uint64_t walk;	   /* FLUSHDB's */
	uint32_t index;	   /* in the door's table */
	uint64_t ticket;   /* names it in grants: never used again */
	uint64_t id, born_ns, step_ns, room_ns;
	/* how far the value was when its pace was looked at */
	const struct fill *pace_fill;
	uint64_t pace_got, pace_ns;
	uint64_t acked; /* bytes that the peer had taken when it was asked */
	struct input *in;
	struct fill *fill;   /* of the command in hand, the last first */
	struct fill *awaits; /* the one that waits for a grant */
	struct sending *sending;
	struct move_waiter wait;  /* BELOW */
	uint64_t wait_until_ns;	  /* the command's, for all; 0: not yet */
	uint32_t wait_arg, waits; /* the command's, for this argument */
	uint64_t skip;		  /* bytes of a value that are thrown away */
	const char *wrong;	  /* what to say about the command in hand */
	char *out;
	size_t out_len, out_sent;
	char *name;	  /* CLIENT SETNAME */
	const char *user; /* the door's */
	const char *last; /* name of the last command */
	uint64_t commands;
};

/* When a bulk's checksum was seen to be right: a table by location that forgets
 * (another takes the place). */
#define RESP_VERIFIED_BITS 14
struct verified {
	uint64_t loc; /* pool << 40 | location */
	uint64_t gen, at_ns;
};

struct resp_door {
	struct resp_options options;
	struct door counts;
	struct resp_tenant tenant[STORE_POOLS_MAX];
	uint8_t copy[RECORD_MOST]; /* of the record in hand */
	struct conn **conn;	   /* by index; NULL: unused */
	uint32_t n_conns, conn_end, conn_hint;
	uint32_t n_shaking; /* those that were over since the last tick too */
	struct conn *busy_first, *busy_last;
	struct conn *dead; /* by busy_next: freed in the next tick */
	uint32_t n_queued, n_walking;
	uint64_t ids;
	uint64_t now_ns, born_ns;
	uint64_t nobody_bytes;	    /* the same, of those without a tenant */
	uint64_t input_bytes;	    /* of all struct input */
	uint64_t out_bytes;	    /* of all conn.out */
	uint64_t fill_bytes;	    /* of values that have asked for frames */
	struct out out;		    /* replies of the commands in hand */
	uint32_t batch[RESP_KINDS]; /* how many, by kind */
	struct resp_parser parser;
	/* Heavy commands: one in a turn of the loop, of all connections. */
	struct conn *turn_first, *turn_last;
	struct loop_op soon;
	bool soon_busy, heavy_ran;
	bool accepting;
	int fd_end; /* descriptors from this number on are kept for others */
	uint64_t log_second;
	uint32_t log_lines;
	bool peers_known; /* front/peer.h works here */
	struct verified verified[1u << RESP_VERIFIED_BITS];
	uint8_t password_sha256[32];
	struct resp_user users[RESP_USERS_MAX];
};

static inline void resp_count(const struct conn *c, enum door_counter which,
			      uint64_t n)
{
	struct resp_door *d = c->door;

	door_count(&d->counts,
		   c->tenant ? c->tenant->pool->number : DOOR_NO_TENANT, which,
		   n);
}

#define RESP_STRANGER                                                       \
	"NOAUTH this user may not use tenant 'default': see tenants, uids " \
	"and resp.users in onecopy.yaml(5)"

/* door.c: a line of the log about what peers do; ten a second at most. */
void resp_log(struct resp_door *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* conn.c */
int conn_open(struct resp_door *d, int fd);
/* Ends it now; frees it when nobody uses it any more. */
void conn_close(struct conn *c);
/* turn.c: may it run a heavy command now? False: its state is TURN, it is
 * resumed when it may. */
bool turn_take(struct conn *c);
void turn_leave(struct conn *c); /* it ends while it waits */
void turn_init(struct resp_door *d);
void conn_refuse(struct conn *c); /* the same, and counted as refused */
/* It made a step: its time begins again. busy: it is in the middle of
 * something. */
void conn_step(struct conn *c, bool busy);
/* What it waited for has come: goes on. */
void conn_resume(struct conn *c, enum conn_state state);
#define RESP_BAD_NAME \
	"ERR Client names cannot contain spaces, newlines or special characters."
int conn_name(struct conn *c, struct name name); /* -EINVAL, -ENOMEM */
struct conn_address {
	char peer[64], own[64];
};
void conn_addresses(const struct conn *c, struct conn_address *ret);
/* The command's words. */
static inline struct name conn_arg(const struct resp_parser *p,
				   const char *data, uint32_t i)
{
	return (struct name){ data + p->arg[i].at, p->arg[i].len };
}

/* value.c: RESP_VALUE was told; what of the value has come already begins at
 * c->in's parser.at. Sets the state. */
void value_begin(struct conn *c);
/* The two bytes behind a value, as far as they have come. */
void value_tail(struct conn *c);
/* The bytes of data that belong to a value that nobody wants. */
size_t value_skip(struct conn *c, size_t len);
void value_queued(struct resp_door *d); /* tries for those that are queued */
void value_granted(struct conn *c, const struct ring_answer *answer);
void value_drop(struct conn *c); /* all fills of the command */
struct fill *value_of(const struct conn *c, uint32_t arg);
/* A frame for the record of argument `arg`. 0: *ret_part is the caller's; 1:
 * it has to wait (state ROOM), come again; -errno. */
int value_record(struct conn *c, struct name name, uint32_t arg,
		 uint64_t inline_bytes, struct local_part *ret_part);
int value_keep_record(struct conn *c, uint32_t arg,
		      const struct local_part *part);
#define RESP_NO_ROOM "OOM no room for the value: all memory is in use"
#define RESP_BROKEN  "ERR the memory for the value has failed"

/* send.c: a bulk string, header included. 0: it goes out (CONN_SEND); 1: its
 * bytes are wrong, it is a miss; -errno. */
int send_begin(struct conn *c, const struct entry *e);
void send_next(struct conn *c);
void send_drop(struct conn *c);
/* Its checksum was right, or has just been made. */
void send_verified(struct resp_door *d, uint32_t pool,
		   const struct local_part *part);
/* Gives door->out to the socket; what that does not take goes out by and by
 * (c->out). more: something follows at once. -errno. */
int send_out(struct conn *c, bool more);

/* below.c: must the command wait for this argument's record, or also its value?
 * True: it is to be called again. */
struct call;
bool below_awaited(struct call *k, uint32_t arg, bool value);

/* exec.c */
enum exec_result {
	EXEC_DONE,
	EXEC_AGAIN, /* to be called again, with c->resume, when state is OPEN */
};
enum exec_result exec_command(struct conn *c, const struct resp_parser *p,
			      const char *data);

struct call {
	struct conn *c;
	struct resp_door *d;
	struct resp_tenant *t;
	struct out *out;
	enum resp_command_id id;
	const struct resp_parser *p;
	const char *data;
	uint32_t n; /* words, the command's name included */
};
static inline struct name call_arg(const struct call *k, uint32_t i)
{
	return conn_arg(k->p, k->data, i);
}
/* text: small letters; the word's case does not matter */
static inline bool word_is(struct name word, const char *text)
{
	return resp_word(word.text, word.len, text);
}

/* Says that the command's second word is none of `known` (in small letters, ends
 * with NULL), or came with too few or too many others. */
enum exec_result exec_no_subcommand(struct call *k, const char *const *known);
typedef enum exec_result (*exec_fn)(struct call *k);
/* strings.c */
enum exec_result exec_get(struct call *k), exec_mget(struct call *k),
	exec_set(struct call *k), exec_setex(struct call *k),
	exec_setnx(struct call *k), exec_mset(struct call *k),
	exec_exists(struct call *k), exec_del(struct call *k),
	exec_strlen(struct call *k), exec_ttl(struct call *k),
	exec_expire(struct call *k), exec_persist(struct call *k),
	exec_type(struct call *k);
/* scan.c */
enum exec_result exec_dbsize(struct call *k), exec_scan(struct call *k),
	exec_flush(struct call *k);
void scan_sweep(struct resp_tenant *t);
/* session.c */
enum exec_result exec_session(struct call *k);
/* auth.c */
enum exec_result exec_auth(struct call *k), exec_hello(struct call *k),
	exec_reset(struct call *k);
void auth_begin(struct conn *c);
bool auth_needed(const struct resp_door *d);
/* admin.c */
enum exec_result exec_ping(struct call *k), exec_echo(struct call *k),
	exec_select(struct call *k), exec_client(struct call *k),
	exec_command_info(struct call *k), exec_info(struct call *k),
	exec_config(struct call *k), exec_quit(struct call *k),
	exec_memory(struct call *k), exec_time(struct call *k);

#endif
