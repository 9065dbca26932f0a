/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demonstration: conversations of some agents over one long system prompt,
 * an engine process for each agent. Acts:
 *
 *	alone		without a node: what is right, and what it costs
 *	together	the same engines anew, with a node
 *	restarted	those engines killed (SIGKILL) and others started, which
 *			go on with the conversations' second turns
 *	killed		the same again, and the node's server is killed (SIGKILL)
 *			while the second agent is answered
 *	stopped		the node is stopped well and started again, with engines
 *			that were started anew: all comes from its drive
 *
 * Every answer is held against the first act's by its logits, bit for bit. So
 * that they can be equal, batches are split in the same way everywhere
 * (onecopy/llama.h): the system prompt ends at a multiple of n_ubatch, whole
 * prompts at a multiple of a block. Agents are answered one after the other,
 * by engines of one thread.
 */
#ifndef ONECOPY_PROG_LLAMA_DEMO_H
#define ONECOPY_PROG_LLAMA_DEMO_H

#include "llama/worker.h"
#include "node.h"

#define DEMO_AGENTS   3
#define DEMO_TURNS    2
#define DEMO_BLOCK    16
#define DEMO_GENERATE 24
#define DEMO_ROOM     512 /* tokens of the context behind the system prompt */

enum {
	ACT_ALONE,
	ACT_TOGETHER,
	ACT_RESTARTED,
	ACT_KILLED,
	ACT_STOPPED,
	DEMO_ACTS
};

struct demo_answer {
	bool asked;
	bool wrong; /* other logits than in the first act */
	struct session_times times;
	uint64_t logits;
	uint32_t n; /* tokens of the answer */
	int32_t tokens[DEMO_GENERATE];
	char text[256];
};

struct demo_act {
	struct demo_answer answer[DEMO_AGENTS][DEMO_TURNS];
	uint64_t private_bytes;	   /* KV memory of each engine, its own */
	uint64_t computed, reused; /* tokens of the prompts, in sum */
	unsigned sharing;	   /* engines that use the prompt's blocks */
	uint64_t pool_bytes, pool_blocks; /* at its end */
	uint64_t failures;		  /* imports turned into recomputing */
	uint64_t fetched;		  /* blocks brought up from the drive */
};

/* One conversation as tokens: each turn's prompt begins with the one before. */
struct demo_talk {
	int32_t tokens[WORKER_PROMPT];
	size_t n[DEMO_TURNS];
	int32_t text[DEMO_TURNS][512]; /* what the agent says */
	size_t length[DEMO_TURNS];
};

struct demo {
	struct session_options session;
	const char *svg;
	bool json, terminal;
	struct node *node;
	struct worker *worker[DEMO_AGENTS];
	struct worker_reply reply; /* the last one */
	/* what the model is */
	char engine[32];
	bool random;
	int32_t trained;
	uint64_t parameters;
	/* the conversations */
	uint32_t system_tokens; /* a multiple of session.ubatch */
	int32_t *system;
	struct demo_talk talk[DEMO_AGENTS];
	/* what happened */
	struct demo_act act[DEMO_ACTS];
	uint64_t block_bytes;
	uint64_t back_ns;  /* from the kill of the server to the next one */
	uint64_t lost;	   /* blocks that were there and are not */
	uint64_t again_ns; /* from the node's stop until it answered again */
	uint64_t found;	   /* parts on its drive then */
	uint64_t ns;	   /* of all of it */
	/* for the line of progress, in answers computed cold */
	char doing[64];
	double done, now;
	uint64_t cold_ns, asked_ns;
	unsigned wrong, compared;
	char error[NODE_ERROR];
};

/* A small model that has been trained tells stories, and short ones. */
bool demo_is_small(const struct demo *d);
/* What the agents say, as tokens: about rules, or, for small trained models,
 * the beginning of a story. The first worker's engine makes them. */
int demo_texts(struct demo *d);
/* Makes the turn's prompt for an agent: what was said, the first act's answer
 * to that, and the agent's next words. -EINVAL: it has too few words. */
int demo_prompt(struct demo *d, int agent, int turn);

/* Runs all acts. 0; -EINTR; else d->error says why. */
int demo_acts(struct demo *d);
void demo_end(struct demo *d);

extern const char *const demo_act_names[DEMO_ACTS];
/* Time to the first token of an agent's first answer in an act. */
uint64_t demo_first_ns(const struct demo_act *a, int agent);
/* Does the report say that all is as it should be? */
bool demo_is_right(const struct demo *d);
void demo_print(const struct demo *d);
int demo_print_json(const struct demo *d);
/* 0 or -errno. */
int demo_svg(const struct demo *d, const char *path);

int demo_command(int argc, char **argv);

#endif
