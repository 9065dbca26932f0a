/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy why, asked of a real node. */
#include <onecopy/session.h>
#include <signal.h>
#include "base/text.h"
#include "tests/prog/live.h"
#include "tests/prog/respc.h"
#include "tests/prog/run.h"

#define BYTES (64 * KIB)

static const struct oc_part part0 = { 0, 0 };

struct scene {
	struct live n;
	oc_client *c;
	oc_ns *ns;
};

static void scene_begin(struct scene *s)
{
	live_start(&s->n, "--dram", "2M", "--slab", "1M");
	s->c = live_connect(&s->n);
	s->ns = live_ns(s->c, BYTES);
}

static void scene_end(struct scene *s)
{
	live_check(s->c);
	oc_ns_close(s->ns);
	oc_client_close(s->c);
	live_stop(&s->n);
}

static void hex_of(uint64_t i, char hex[65])
{
	struct oc_key key = live_key(i);

	text_hex(key.bytes, sizeof(key.bytes), hex);
}

static void expect(struct scene *s, uint64_t i, int status, const char *says)
{
	char hex[65];
	struct run r;

	hex_of(i, hex);
	r = RUN("why", "--node", s->n.socket, hex);
	if (r.status != status || !strstr(r.out, says))
		FAIL("%d, \"%s\" (%s) does not say \"%s\"", r.status, r.out,
		     r.err, says);
	run_free(&r);
}

TEST(the_life_of_a_block)
{
	struct oc_key key = live_key(1);
	struct oc_grant g;
	struct scene s;

	scene_begin(&s);
	expect(&s, 1, 1, "never seen");
	CHECK_OK(oc_grant(s.ns, &key, part0, 0, 0, 0, &g));
	expect(&s, 1, 1, "has not sealed it yet");
	CHECK_OK(oc_abandon(s.ns, &g, 0));
	expect(&s, 1, 1, "gave the frame back");
	CHECK_OK(live_write(s.ns, 1, BYTES));
	expect(&s, 1, 0, "resident in dram, namespace 1 (live)");
	live_write_some(s.ns, 100, 40, BYTES);
	expect(&s, 1, 1, "because the node's memory was all in use");
	CHECK_OK(live_write(s.ns, 2, BYTES));
	key = live_key(2);
	CHECK_OK(oc_remove(s.ns, &key, 0));
	expect(&s, 2, 1, "removed");
	expect(&s, 2, 1, "The history is complete.");
	scene_end(&s);
}

/* What the predecessor knew is lost, and that is said. */
TEST(after_the_server_was_replaced)
{
	struct scene s;
	pid_t server;

	scene_begin(&s);
	CHECK_OK(live_write(s.ns, 1, BYTES));
	live_write_some(s.ns, 100, 40, BYTES);
	expect(&s, 1, 1, "evicted");
	server = live_server(s.c);
	kill(server, SIGKILL);
	LIVE_WAIT(&s.n, live_server(s.c) != server);
	expect(&s, 1, 1, "the history reaches back no further");
	expect(&s, 1, 1, "does not outlive the server process");
	expect(&s, 139, 0, "resident");
	scene_end(&s);
}

/* ---- token ids ------------------------------------------------------------- */

static void write_key(struct scene *s, const struct oc_key *key)
{
	static uint8_t bytes[BYTES];
	int r = oc_put(s->ns, key, part0, bytes, sizeof(bytes), 0);

	CHECK(r == 0 || r == OC_EXISTS);
}

/* More than one question: a block for each token. */
TEST(thousands_of_keys)
{
	enum { N = 3000 };
	const struct oc_chain_options o = { .size = sizeof(o),
					    .block_tokens = 1 };
	static struct oc_key keys[N];
	static uint32_t token[N];
	char path[160], hex[65];
	struct scene s;
	struct run r;
	json_t *root, *k;
	size_t n, i;
	FILE *f;

	scene_begin(&s);
	snprintf(path, sizeof(path), "%s/tokens", s.n.dir);
	f = fopen(path, "we");
	CHECK(f);
	for (i = 0; i < N; i++)
		fprintf(f, "%u\n", token[i] = (uint32_t)(i * 7));
	CHECK_OK(fclose(f));
	CHECK_OK(oc_chain(&o, token, N, keys, &n));
	for (i = 0; i < 10; i++)
		write_key(&s, &keys[i]);
	r = RUN("why", "--json", "--node", s.n.socket, "--tokens", path,
		"--block-tokens", "1");
	CHECK_INT(r.status, ==, 1);
	root = run_json(&r);
	CHECK_INT(json_array_size(json_object_get(root, "keys")), ==, N);
	json_array_foreach(json_object_get(root, "keys"), i, k) {
		text_hex(keys[i].bytes, sizeof(keys[i].bytes), hex);
		CHECK_STR(json_string_value(json_object_get(k, "key")), hex);
		CHECK_INT(json_is_true(json_object_get(k, "resident")), ==,
			  i < 10);
	}
	json_decref(root);
	run_free(&r);
	unlink(path);
	scene_end(&s);
}

/* Blocks of the tokens 0..n-1 under a salt. */
static void write_chain(struct scene *s, const char *salt, uint32_t n)
{
	const struct oc_chain_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.salt = salt,
	};
	struct oc_key keys[16];
	uint32_t token[256];
	size_t got;

	for (uint32_t i = 0; i < n; i++)
		token[i] = i;
	CHECK_OK(oc_chain(&o, token, n, keys, &got));
	for (size_t i = 0; i < got; i++)
		write_key(s, &keys[i]);
}

static const char *token_list(uint32_t n)
{
	static char text[2048];
	size_t len = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u",
					i ? ", " : "[", i);
	snprintf(text + len, sizeof(text) - len, "]");
	return text;
}

TEST(tokens)
{
	struct scene s;
	struct run r;

	scene_begin(&s);
	write_chain(&s, NULL, 32);
	r = RUN("why", "--node", s.n.socket, "--tokens", token_list(70));
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.out, "block 1 (tokens 16 to 31) "));
	CHECK(strstr(r.out, "The first 2 of 4 blocks are resident."));
	run_free(&r);
	r = RUN("why", "--node", s.n.socket, "--tokens", token_list(32),
		"--namespace", "live");
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
	scene_end(&s);
}

/* The RESP door's keys are of names: its blocks have no tokens. */
TEST(tokens_beside_the_names_of_redis)
{
	struct oc_ns_options o = { .size = sizeof(o),
				   .label = "resp",
				   .block_tokens = 1,
				   .n_groups = 1,
				   .groups = { { .slices = 1 } } };
	struct scene s;
	struct run r;
	oc_ns *names;

	scene_begin(&s);
	o.groups[0].slice_bytes = 4096;
	CHECK_OK(oc_ns_open(s.c, &o, 0, &names));
	write_chain(&s, NULL, 32);
	r = RUN("why", "--node", s.n.socket, "--tokens", token_list(32));
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "block 1 (tokens 16 to 31) "));
	run_free(&r);
	oc_ns_close(names);
	scene_end(&s);
}

TEST(the_same_tokens_elsewhere)
{
	struct scene s;
	struct run r;

	scene_begin(&s);
	write_chain(&s, NULL, 32);
	r = RUN("why", "--node", s.n.socket, "--tokens", token_list(32),
		"--salt", "secret");
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.out, "The same tokens are resident without a salt "
			    "(namespace 1)."));
	run_free(&r);
	r = RUN("why", "--node", s.n.socket, "--tokens", token_list(32),
		"--seed", "7", "--block-tokens", "8");
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.out, "with the seed '0', in blocks of 16 tokens"));
	run_free(&r);
	write_chain(&s, "theirs", 64);
	r = RUN("why", "--json", "--node", s.n.socket, "--tokens",
		token_list(64), "--also-salt", "theirs");
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.out, "with the salt 'theirs'"));
	run_free(&r);
	scene_end(&s);
}

TEST(odd_tokens)
{
	static const char *const bad[] = { "1,,x", "99999999999", "/no/such",
					   "-1",   "4294967296",  "" };
	struct scene s;
	struct run r;

	scene_begin(&s);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		r = RUN("why", "--node", s.n.socket, "--tokens", bad[i],
			"--block-tokens", "1");
		CHECK_INT(r.status, ==, 5);
		CHECK(*r.err);
		run_free(&r);
	}
	r = RUN("why", "--node", s.n.socket, "--tokens", "1,2",
		"--block-tokens", "16");
	CHECK_INT(r.status, ==, 5); /* less than a block */
	run_free(&r);
	r = RUN("why", "--node", s.n.socket, "--tokens", "1", "--namespace",
		"none");
	CHECK_INT(r.status, ==, 5);
	run_free(&r);
	scene_end(&s);
}

/* ---- a session ------------------------------------------------------------- */

TEST(the_blocks_of_a_session)
{
	struct oc_session_options o = OC_SESSION_INIT;
	struct oc_key keys[3] = { live_key(1), live_key(2), live_key(3) };
	oc_session *session;
	struct scene s;
	struct run r;

	scene_begin(&s);
	live_write_some(s.ns, 1, 3, BYTES);
	o.name = "talk";
	CHECK_OK(oc_session_open(s.ns, &o, 0, &session));
	r = RUN("why", "--node", s.n.socket, "--session", "talk");
	CHECK_INT(r.status, ==, 5); /* no blocks */
	run_free(&r);
	CHECK_OK(oc_session_append(session, keys, 3, 0));
	r = RUN("why", "--node", s.n.socket, "--session", "talk");
	if (r.status)
		FAIL("%s %s", r.out, r.err);
	run_free(&r);
	CHECK_OK(oc_remove(s.ns, &keys[1], 0));
	r = RUN("why", "--node", s.n.socket, "--session", "talk");
	CHECK_INT(r.status, ==, 1);
	CHECK(strstr(r.out, "block 1 "));
	CHECK(strstr(r.out, ": removed "));
	CHECK(strstr(r.out, "The first 1 of 3 blocks are resident."));
	run_free(&r);
	r = RUN("why", "--node", s.n.socket, "--session", "none");
	CHECK_INT(r.status, ==, 5);
	run_free(&r);
	CHECK_OK(oc_session_close(session, 0));
	scene_end(&s);
}

/* Names at the RESP door, which nobody has the hashes of in mind. */
TEST(names_of_redis)
{
	struct live n;
	struct respc *c;
	json_t *root, *first;
	struct run r;

	live_start_doors(&n, LIVE_RESP, "--dram", "16M");
	c = respc_open(respc_port(&n));
	respc_say(c, "SET one hello\r\n");
	respc_expect(c, "+OK\r\n");
	respc_say(c, "SET model@1kv_bytes abc\r\n");
	respc_expect(c, "+OK\r\n");
	respc_say(c, "DEL one\r\n");
	respc_expect(c, ":1\r\n");
	r = RUN("why", "--node", n.socket, "--redis", "model@1kv_bytes");
	if (r.status)
		fprintf(stderr, "%s%s\n", r.out, r.err);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "model@1kv_bytes: "));
	run_free(&r);
	r = RUN("why", "--node", n.socket, "--redis", "--json", "one", "two");
	CHECK_INT(r.status, ==, 1);
	root = run_json(&r);
	first = json_array_get(json_object_get(root, "keys"), 0);
	CHECK_STR(json_string_value(json_object_get(first, "name")), "one");
	CHECK(strstr(json_string_value(json_object_get(first, "because")),
		     "removed"));
	json_decref(root);
	run_free(&r);
	r = RUN("where", "--node", n.socket, "--redis", "model@1kv_bytes");
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "group=2"));
	run_free(&r);
	r = RUN("where", "--node", n.socket, "--redis", "two");
	CHECK_INT(r.status, ==, 1);
	run_free(&r);
	r = RUN("why", "--node", n.socket, "--redis", "--tokens", "1,2");
	CHECK_INT(r.status, ==, 2);
	run_free(&r);
	respc_close(c);
	live_stop(&n);
}
