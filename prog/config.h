/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration of a node: defaults, a YAML file over them, options of the
 * command line over both. The keys are described in onecopy.yaml(5).
 *
 * Plain data without pointers: copied freely, handed to the server process.
 */
#ifndef ONECOPY_PROG_CONFIG_H
#define ONECOPY_PROG_CONFIG_H

#include <stdio.h>
#include "base/compiler.h"
#include "base/log.h"
#include "cli.h"

#define CONFIG_BYTES_MAX   (1u << 20) /* of a file */
#define CONFIG_PATH	   108	      /* a socket's address, zero included */
#define CONFIG_NAME	   64
#define CONFIG_TENANTS_MAX 16
#define CONFIG_UIDS_MAX	   16
#define CONFIG_ERROR	   256
#define CONFIG_FILE	   256 /* a path */
#define CONFIG_TOKENS_MAX  4   /* of a tenant */
#define CONFIG_TOKEN_LEAST 16  /* characters */

enum config_eviction { CONFIG_EVICTION_LRU, CONFIG_EVICTION_ONECOPY };
enum config_huge { CONFIG_HUGE_AUTO, CONFIG_HUGE_NEVER };
enum config_backend {
	CONFIG_BACKEND_AUTO,
	CONFIG_BACKEND_URING,
	CONFIG_BACKEND_EPOLL
};

/* Bytes, or a share of something in hundredths of a percent; 0, 0: not set. */
struct config_size {
	uint64_t bytes;
	uint32_t share;
	uint32_t zero;
};

struct config_tenant {
	char name[CONFIG_NAME];
	uint32_t n_uids; /* 0: the user that runs the node, no other */
	uint32_t uids[CONFIG_UIDS_MAX];
	struct config_size dram; /* quota, a share of the node's; not set: all */
	struct config_size share; /* of it guaranteed; not set: nothing */
	struct config_size nvme;  /* what it may have there; not set: all */
	uint32_t strict;	  /* it does not borrow: share is its quota */
	uint32_t n_tokens;
	uint8_t token_sha256[CONFIG_TOKENS_MAX][32];
	char token_file[CONFIG_FILE]; /* "": none; config_load() reads it */
};

#define CONFIG_USERS_MAX 64
#define CONFIG_LISTEN	 80  /* "ADDRESS:PORT", "[ADDRESS]:PORT", "off" */
#define CONFIG_SECRET	 255 /* bytes of a password or token */

/* What a door beyond loopback must have, and may be told to do without. */
enum config_without { CONFIG_WITHOUT_AUTH = 1, CONFIG_WITHOUT_TLS = 2 };

struct config_user {
	char name[CONFIG_NAME];
	char tenant[CONFIG_NAME];    /* "": "default" */
	uint8_t password_sha256[32]; /* passwords themselves are not kept */
};

struct config_resp {
	char listen[CONFIG_LISTEN];
	uint32_t chosen;  /* listen was given, it is not the default */
	uint32_t without; /* enum config_without, bits */
	uint32_t max_connections;
	uint32_t has_password;
	uint8_t password_sha256[32];			 /* of user "default" */
	char certificate[CONFIG_FILE], key[CONFIG_FILE]; /* PEM; "": none */
	char client_ca[CONFIG_FILE]; /* clients show a certificate of it */
	uint64_t verify_ns; /* a value that was right so lately is not hashed */
	uint64_t stall_ns;  /* a connection may stand still so long */
	uint32_t n_users, zero;
	struct config_user users[CONFIG_USERS_MAX];
};

struct config_http {
	char listen[CONFIG_LISTEN];
	uint32_t chosen, without;
	uint32_t has_token, zero;
	uint8_t token_sha256[32];
	char certificate[CONFIG_FILE], key[CONFIG_FILE];
};

/* The tier below; path "": none. */
struct config_nvme {
	char path[CONFIG_FILE]; /* directory, file or block device */
	uint64_t size;		/* hard limit */
	uint64_t segment_bytes; /* 0: chosen from size */
	uint64_t save_ns;	/* that the save at the end may take */
	uint32_t save;		/* write DRAM's content out at a clean stop */
	uint32_t backend;	/* enum config_nvme_io */
	uint32_t depth;		/* moves with the device; 0: the tier's own */
	uint32_t zero;
};
/* The rung below DRAM; at "": none. */
struct config_cxl {
	char at[CONFIG_FILE]; /* "node:N", "/dev/daxX.Y", "memory" */
	uint64_t size;	      /* 0: all of it; config_cxl_check() fills it in */
	char tenant[CONFIG_FILE]; /* of a device; "": the first one */
};
/* The CXL region that the node is a member of; path "": none. */
struct config_region {
	char path[CONFIG_FILE];	  /* as onecopy cxl format made it */
	char tenant[CONFIG_FILE]; /* ""; the region's own name for it */
	char name[CONFIG_FILE];	  /* of the member; "": the host's */
	uint32_t shards;	  /* to own */
	uint32_t adopt;		  /* those of the dead as well */
	uint32_t publish;	  /* what clients seal is copied there */
	uint32_t zero;
};
enum config_nvme_io {
	CONFIG_NVME_AUTO,
	CONFIG_NVME_URING,
	CONFIG_NVME_THREADS
};

struct node_config {
	char socket[CONFIG_PATH]; /* "": the default path */
	struct config_size dram;  /* a share is one of config_memory() */
	struct config_nvme nvme;
	struct config_cxl cxl;
	struct config_region region;
	uint64_t slab_bytes;	    /* 0: chosen from dram */
	uint64_t scrub_bytes_per_s; /* 0: no scrubber */
	uint64_t history_bytes;	    /* of each tenant; 0: none */
	uint32_t eviction;	    /* enum config_eviction */
	uint32_t prefill_rate;	    /* tokens a second; 0: not known */
	uint32_t prefill_growth_ps; /* more for each token before it */
	uint32_t eviction_zero;
	uint32_t huge;	    /* enum config_huge */
	uint32_t backend;   /* enum config_backend */
	uint32_t log_level; /* enum log_level */
	/* quotas of one client */
	uint32_t max_clients;
	uint32_t pins, overflow_pins; /* slots of its own, the server's */
	uint32_t granted_frames;      /* lent for writing at a time */
	uint32_t slab_percent;	      /* of dram that its slabs may be */
	uint64_t revoke_ns;	      /* to give back what it maps */
	uint32_t revoke_end;	      /* who does not is ended */
	struct config_sessions {
		uint32_t max, per_client; /* of a tenant, of a client */
		uint32_t keys, keys_per_client;
		uint64_t lease_ns, lease_max_ns;
	} sessions;
	uint32_t n_tenants;
	struct config_tenant tenants[CONFIG_TENANTS_MAX];
	struct config_resp resp;
	struct config_http http;
};

/* dram 25 %, one tenant "default", and so on: onecopy.yaml(5). */
void config_defaults(struct node_config *ret_config);

/* YAML over the defaults. Pure. `name` is the file's name for the errors.
 * Never fails halfway: *ret_config is written only on success. -EINVAL with
 * "NAME:LINE: what is wrong and what is expected"; -ENOMEM. */
int config_parse(const char *text, size_t len, const char *name,
		 struct node_config *ret_config, char error[CONFIG_ERROR]);
/* The same from a file. -errno of reading it as well; -EFBIG. *ret_exposed: it
 * has a plain password or token, and all users of the machine can read it. */
int config_load(const char *path, struct node_config *ret_config,
		bool *ret_exposed, char error[CONFIG_ERROR]);

/* What a tenant may have of the tier below; 0: all. */
uint64_t config_tenant_nvme(const struct node_config *config,
			    const char *tenant);
/* Can the tier below be there? Looks at the path. -EINVAL, -errno and a text. */
int config_nvme_check(const struct node_config *config,
		      char error[CONFIG_ERROR]);

/* Is the memory there? Fills in what was left to be found: size and, for a device,
 * the tenant. *ret_lock: of a device (else -1), held as long as it is used: no
 * other node takes it. -EINVAL and a text. */
int config_cxl_check(struct node_config *config, int *ret_lock,
		     char error[CONFIG_ERROR]);
/* Is that memory there (still)? fd: of its device; -1: it could not be opened. 0 or
 * -errno. */
int config_cxl_there(const struct node_config *config, int fd);
/* Do its settings go together? No file is opened. -EINVAL and a text. */
int config_region_settings_check(const struct node_config *config,
				 char error[CONFIG_ERROR]);
/* The same; and is it a region, of a tenant that is there? Fills in the tenant. -EINVAL and a
 * text. */
int config_region_check(struct node_config *config, char error[CONFIG_ERROR]);
struct segment_source;
/* Where slabs of it come from; fd stays -1. After the check. */
void config_cxl_source(const struct node_config *config,
		       struct segment_source *ret_source);

bool config_has_tenant(const struct node_config *config, const char *name);
/* What a tenant may have and what it has for certain, where the node has
 * `dram`. 0: all of it; nothing. */
void config_tenant_quota(const struct node_config *config, const char *tenant,
			 uint64_t dram, uint64_t *ret_quota,
			 uint64_t *ret_share);
/* Do the shares fit? -EINVAL and a text. */
int config_tenants_check(const struct node_config *config, uint64_t dram,
			 char error[CONFIG_ERROR]);
/* Is it a token for the native door? */
bool config_token_ok(const char *token, size_t len);

/* YAML that config_parse() reads as the same configuration; passwords and
 * tokens as their SHA-256. */
void config_print(const struct node_config *config, FILE *out);

#define CONFIG_RESP_LISTEN "127.0.0.1:6380"
#define CONFIG_HTTP_LISTEN "127.0.0.1:9470"

/* Options of `onecopy serve` that override the file. */
extern const struct cli_option config_options[];
extern const size_t config_n_options;
#define CONFIG_OPTION_FIRST (CLI_LONG + 64) /* their ids, upwards */
#define CONFIG_OPTIONS                                                                \
	{ CONFIG_OPTION_FIRST, "socket", "PATH",                                      \
	  "$ONECOPY_SOCKET, $XDG_RUNTIME_DIR/onecopy.sock, or /run/onecopy.sock",     \
	  "where clients connect" },                                                  \
		{ CONFIG_OPTION_FIRST + 1, "dram", "SIZE|N%", "25%",                  \
		  "hard limit for slabs; a share is one of the machine's memory, or " \
		  "of the cgroup's limit" },                                          \
		{ CONFIG_OPTION_FIRST + 2, "slab", "SIZE", "auto",                    \
		  "bytes of a slab" },                                                \
		{ CONFIG_OPTION_FIRST + 3, "scrub", "RATE", "64MiB",                  \
		  "bytes a second that the scrubber verifies; 0: none" },             \
		{ CONFIG_OPTION_FIRST + 4, "huge", "auto|never", "auto",              \
		  "pages of 2 MiB" },                                                 \
		{ CONFIG_OPTION_FIRST + 5, "backend", "auto|uring|epoll",             \
		  "auto", "the event loop's" },                                       \
		{ CONFIG_OPTION_FIRST + 6, "log-level", "LEVEL", "info",              \
		  "error, warn, info or debug" },                                     \
		{ CONFIG_OPTION_FIRST + 7, "max-clients", "N", "512",                 \
		  "clients at a time" },                                              \
		{ CONFIG_OPTION_FIRST + 8, "resp", "ADDR:PORT|off",                   \
		  CONFIG_RESP_LISTEN, "where clients of Redis connect" },             \
		{ CONFIG_OPTION_FIRST + 9, "resp-without", "LIST", NULL,              \
		  "what RESP does without beyond loopback: authentication, "          \
		  "tls, or both with a comma" },                                      \
		{ CONFIG_OPTION_FIRST + 10, "resp-password-file", "FILE",             \
		  NULL, "the password of RESP's user default" },                      \
		{ CONFIG_OPTION_FIRST + 11, "resp-tls-cert", "FILE", NULL,            \
		  "RESP speaks TLS with this certificate" },                          \
		{ CONFIG_OPTION_FIRST + 12, "resp-tls-key", "FILE", NULL,             \
		  "and this key" },                                                   \
		{ CONFIG_OPTION_FIRST + 13, "http", "ADDR:PORT|off",                  \
		  CONFIG_HTTP_LISTEN, "where metrics and reports are read" },         \
		{ CONFIG_OPTION_FIRST + 14, "http-without", "LIST", NULL,             \
		  "as --resp-without" },                                              \
		{ CONFIG_OPTION_FIRST + 15, "http-token-file", "FILE", NULL,          \
		  "the bearer token that HTTP asks for" },                            \
		{ CONFIG_OPTION_FIRST + 16, "eviction", "lru|onecopy", "lru",         \
		  "which blocks leave first when memory is full" },                   \
		{ CONFIG_OPTION_FIRST + 17, "nvme", "PATH:SIZE", NULL,                \
		  "keep blocks in this directory, file or block device as "           \
		  "well, in at most so many bytes" },                                 \
		{ CONFIG_OPTION_FIRST + 18, "cxl", "SPEC", NULL,                      \
		  "CXL memory below DRAM: node:N[:SIZE], /dev/daxX.Y[:SIZE], "        \
		  "or memory:SIZE, which stands in" },                                \
		{ CONFIG_OPTION_FIRST + 19, "save-on-exit", NULL, NULL,               \
		  "at a clean stop write what is in memory alone to nvme" },          \
		{ CONFIG_OPTION_FIRST + 20, "revoke-deadline", "TIME", "2s",          \
		  "for clients to give back what they map when room is needed" },     \
		{ CONFIG_OPTION_FIRST + 21, "revoke-end", "yes|no", "no",             \
		  "clients that do not are ended, where they may be" },               \
		{ CONFIG_OPTION_FIRST + 22, "region", "PATH", NULL,                   \
		  "be a member of the CXL region there, with the nodes that "         \
		  "map it as well: onecopy-cxl(1)" },                                 \
	{                                                                             \
		CONFIG_OPTION_FIRST + 23, "prefill-rate", "N", "0",                   \
			"tokens a second that an engine here computes, for what "     \
			"making a block again takes; 0: not known"                    \
	}
/* Applies one by its name ("dram"). -ENOENT no such option; -EINVAL with a
 * text that begins with the value (NULL: the option takes none). Those of a
 * password or token read the file, and may answer -errno of that. */
int config_apply_option(struct node_config *config, const char *name,
			const char *value, char error[CONFIG_ERROR]);

/* Memory that a share is of: MemTotal, or the limit of a cgroup that this
 * process is in where that is less. */
int config_memory(uint64_t *ret_bytes);
/* Bytes of a size where `whole` is 100 %, rounded down to pages. */
uint64_t config_size_bytes(struct config_size size, uint64_t whole);

#endif
