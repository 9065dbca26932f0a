/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `onecopy why`: what is asked about, as keys with a text for people each. Keys
 * come from the command line, from token ids (why_tokens.c) or from a session
 * (why_session.c); whatever else knows a list of keys adds them with why_add().
 */
#ifndef ONECOPY_PROG_WHY_H
#define ONECOPY_PROG_WHY_H

#include "ask.h"
#include "commands.h"

#define WHY_TOKENS_MAX (1u << 24)
#define WHY_ALSO_MAX   16

/* How tokens become keys. */
struct why_chain {
	uint32_t block_tokens; /* 0: the namespace's */
	const char *seed, *salt, *lora;
};

struct why {
	const struct command *command;
	const char *socket, *ns_text, *tokens_text, *session_text;
	bool json, redis;
	char *const *word; /* of the command line; NULL: keys came otherwise */
	struct why_chain chain;
	/* other salts and seeds that somebody may have used */
	const char *also_salt[WHY_ALSO_MAX], *also_seed[WHY_ALSO_MAX];
	unsigned n_also_salt, n_also_seed;
	oc_client *client;
	json_t *namespaces; /* of the tenant, as stat tells */
	uint64_t ns;	    /* 0: any */
	uint32_t *token;
	size_t n_tokens;
	struct oc_key *key;
	size_t n_keys;
	/* the node's answer, all pieces together */
	json_t *history, *answers;
	bool cut;
};

/* 0, or an exit status and it was said. */
int why_add(struct why *w, const struct oc_key *keys, size_t n);
/* Reads --tokens and adds the keys of its blocks. */
int why_add_tokens(struct why *w);
/* The keys of the session named by --session, and its namespace. */
int why_add_session(struct why *w);
/* Asks about keys in any namespace; *ret_list: the answers, a new reference. */
int why_ask(struct why *w, const struct oc_key *keys, size_t n, uint64_t ns,
	    json_t **ret_list);
/* The tokens up to the end of block `first` (which is not there) under other
 * salts, seeds and sizes of blocks: an array of texts. */
int why_elsewhere(struct why *w, size_t first, json_t **ret_list);

#endif
