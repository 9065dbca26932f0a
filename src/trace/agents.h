/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generated workload: agents at work, for what recorded traces lack (many
 * sessions over one long prefix).
 *
 *   team prefix   | agent's own prompt | turn | turn | turn ...
 *   shared by all | of one session     |       \__ fork: a sub-agent goes on
 *   of the team   |                                from here by itself
 *
 * Agents belong to teams; a team shares a long system prompt. Each turn makes
 * the session's chain longer by some blocks and asks with the whole chain. Now
 * and then an agent forks: a sub-agent (same session, another `agent` name)
 * starts with all that its parent has so far. Between turns lies a short gap
 * (a tool works, TRACE_STOP_TOOL) or a pause (a person is next,
 * TRACE_STOP_END) while others go on. When a session has had its turns, a new
 * one begins in its place.
 *
 * Timestamps never fall. Ids count up from 0 and are given out once, so an id
 * always follows the same predecessor. Equal options give equal requests on
 * every machine.
 */
#ifndef ONECOPY_TRACE_AGENTS_H
#define ONECOPY_TRACE_AGENTS_H

#include "trace/trace.h"

struct agents_options {
	uint64_t seed;
	uint64_t requests;	/* how many in all; at least 1 */
	uint32_t agents;	/* sessions at a time, 1 .. 4096 */
	uint32_t teams;		/* 1 .. agents */
	uint32_t team_blocks;	/* of the shared prompt */
	uint32_t own_blocks;	/* of a session's own prompt */
	uint32_t turn_blocks;	/* a turn adds 1 .. 2 * turn_blocks - 1 */
	uint32_t turns;		/* a session has 1 .. 2 * turns - 1 */
	uint32_t chain_blocks;	/* a longer chain ends its session; at least
				   team_blocks + own_blocks + 2 * turn_blocks,
				   at most AGENTS_CHAIN_MAX */
	uint32_t fork_percent;	/* of an agent's turns */
	uint32_t pause_percent; /* of turns */
	uint32_t gap_ms;	/* mean of a short gap; at least 1 */
	uint32_t pause_ms;	/* mean of a pause; at least 1 */
	uint32_t block_tokens;
};
#define AGENTS_CHAIN_MAX 65536u

/* 8 agents in 2 teams of 40 shared blocks, 1,000 requests, seed 1. */
void agents_defaults(struct agents_options *ret_options);

/* options NULL: the defaults. -EINVAL with a text, -ENOMEM. */
int agents_open(const struct agents_options *options,
		struct trace_source **ret_source, char error[TRACE_ERROR]);

#endif
