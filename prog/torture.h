/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The torture: processes that use a node at random and are killed, its server
 * too; and what all of them saw, judged by a reference model.
 *
 * One process, the driver (torture_run.c), has a private node with two pools:
 * a small one under pressure, and a calm one in which nothing is ever evicted.
 * It forks the actors (torture_actor.c), kills them and the node's server, and
 * puts another actor into a dead one's place. Each place has a log in memory
 * that driver and actors share, so that it outlives who wrote it. In rounds the
 * actors stand still and the driver judges what they logged
 * (torture_trial.h).
 *
 * Of the actors every fourth is never killed: a survivor. An actor is one client
 * of each pool and may have several threads that share them, each with a log of
 * its own.
 */
#ifndef ONECOPY_PROG_TORTURE_H
#define ONECOPY_PROG_TORTURE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "onecopy/onecopy.h"
#include "torture_trial.h"

#define TORTURE_PLACES_MAX  64
#define TORTURE_THREADS_MAX 4
#define TORTURE_LOG	    (1u << 17) /* records of a thread in a round */
#define TORTURE_SLICES	    16u	       /* of the file that devices read */
#define TORTURE_SLICE	    (1u << 20)
#define TORTURE_HEAD	    4096u /* of a device's block: the processor's */

struct torture_options {
	uint32_t clients, threads, kills, server_kills;
	uint64_t seconds, seed;
	/* For tests: now and then a wrong byte is sealed; threads race, which
	 * a thread sanitizer finds; the node is not told that devices write. */
	bool plant_bytes, plant_race, plant_device;
	bool terminal;
};

/* What a thread was at when its longest stall was. */
#define TORTURE_CALLS(X)                    \
	X(PUT, "put")                       \
	X(GET, "get")                       \
	X(HOLD, "hold a pin")               \
	X(LET_GO, "let a pin go")           \
	X(MATCH, "match")                   \
	X(EXISTS, "exists")                 \
	X(REMOVE, "remove")                 \
	X(ABANDON, "abandon")               \
	X(SESSION, "a session's step")      \
	X(DEVICE, "grants for a device")    \
	X(RESP_SET, "SET at the RESP door") \
	X(RESP_GET, "GET there")            \
	X(RESP_DEL, "DEL there")            \
	X(RESP_EXISTS, "EXISTS there")
enum torture_call {
#define X(name, text) TORTURE_##name,
	TORTURE_CALLS(X)
#undef X
		TORTURE_CALLS_USED
};

struct torture_result {
	uint64_t resp_ops, ops, client_kills, device_kills, server_kills;
	uint64_t wrong_bytes, illegal[TRIAL_WRONGS], generations, sessions;
	uint64_t forks, leaked_sessions;
	uint64_t leaked_frames, leaked_pins, problems, failures;
	uint64_t stall_ns[TORTURE_CALLS_USED]; /* the longest of each call */
	uint64_t errors;
	uint64_t evicted, quarantines, quarantined, records, calm_evicted;
	uint64_t elapsed_ns, rounds;
	bool device; /* direct reads into frames were possible */
};

enum torture_phase { TORTURE_RUN, TORTURE_REST, TORTURE_RELEASE, TORTURE_END };

/* What a thread of a place's actors writes, and the driver reads. */
struct torture_log {
	_Atomic uint32_t resting; /* the phase in which it stands still */
	_Atomic uint32_t n;	  /* records that are whole */
	_Atomic uint32_t open;	  /* record n was begun */
	_Atomic uint32_t device;  /* reads of a device under way */
	_Atomic uint64_t ops, wrong_bytes, generations, errors;
	_Atomic uint64_t stall_ns[TORTURE_CALLS_USED]; /* the longest */
	_Atomic uint64_t sessions; /* that are not what they must be */
	_Atomic uint64_t resp_ops; /* of ops */
	struct trial_record record[TORTURE_LOG];
};

/* The driver's own, but for the logs. */
struct torture_place {
	uint32_t incarnation;
	bool survivor;
	pid_t pid;
	struct torture_log log[TORTURE_THREADS_MAX];
};

struct torture_shared {
	_Atomic uint32_t phase;
	struct torture_place place[];
};

struct torture_actor_options {
	const struct torture_options *options;
	const char *socket, *file;
	uint16_t resp; /* port of the RESP door */
	struct torture_shared *shared;
	uint32_t place;
	bool calm_writer; /* may seal in the calm pool */
};

/* In a child: never returns. */
_Noreturn void torture_actor(const struct torture_actor_options *options);

/* ---- blocks: bytes follow from key and version (torture_block.c) */
#define TORTURE_DEVICE_KEY(key_) ((key_) < TORTURE_NAMES && (key_) % 8 == 7)
/* From here on they are names at the RESP door. */
#define TORTURE_NAMES	    65536u
#define TORTURE_NAMED_BYTES 150000u /* most */
/* Bytes of a block of this key. */
uint64_t torture_block_bytes(uint32_t key);
int torture_key(uint32_t key, bool calm, struct oc_key *ret_key);
/* The head of a device's block, or all of another's. */
void torture_block_fill(uint32_t key, uint64_t version, void *data);
/* Bytes that are wrong, 0 mostly; whose it is. */
uint64_t torture_block_wrong(uint32_t key, const void *data, uint64_t bytes,
			     uint64_t *ret_version);
void torture_slice_fill(uint32_t slice, void *data);

/* ---- device I/O of an actor (torture_device.c) */
struct torture_device;
/* -ENOSYS, -EPERM: no io_uring; -EINVAL: the file takes no O_DIRECT. */
int torture_device_open(const char *file, struct torture_device **ret_device);
void torture_device_close(struct torture_device *d); /* takes NULL */
/* Reads slices into n memories; returns when all are done, or -errno. */
int torture_device_read(struct torture_device *d, void *const *to,
			const uint32_t *slices, unsigned n);
/* The same by the slow device, which takes `ns` for it all. What it has begun
 * goes on when this process is killed. */
int torture_device_slow(void *const *to, const uint32_t *slices, unsigned n,
			uint64_t ns);

int torture_run(const struct torture_options *options,
		struct torture_result *ret_result);
bool torture_is_right(const struct torture_result *r);

#endif
