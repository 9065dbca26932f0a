/* SPDX-License-Identifier: Apache-2.0 */
/* Who has a tenant's token may come, whatever its user; nobody else. */
#include <fcntl.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "base/text.h"
#include "tests/prog/live.h"
#include "tests/prog/run.h"

#define TOKEN_A "a-token-of-24-characters"
#define TOKEN_B "another-token-altogether"
#define BYTES	(64 * KIB)

static const char *sha256_of(const char *text)
{
	static char hex[65];
	uint8_t digest[32];

	CHECK_OK(hash_sha256(&(struct hash_piece){ text, strlen(text) }, 1,
			     digest));
	text_hex(digest, 32, hex);
	return hex;
}

static void node(struct live *n)
{
	char yaml[512];
	size_t len;

	len = (size_t)snprintf(yaml, sizeof(yaml),
			       "dram: 16MiB\nlog_level: info\ntenants:\n"
			       "  - name: a\n    tokens_sha256: [%s]\n",
			       sha256_of(TOKEN_A));
	snprintf(yaml + len, sizeof(yaml) - len,
		 "  - name: b\n    tokens_sha256:\n      - %064d\n"
		 "      - %s\n",
		 0, sha256_of(TOKEN_B));
	live_start_config(n, yaml);
}

/* Tenant and token; 0 or an error. */
static int try(const struct live *n, const char *tenant, const char *token)
{
	struct oc_client_options o = {
		.size = sizeof(o),
		.socket = n->socket,
		.tenant = tenant,
		.token = token,
		.timeout_ns = LIVE_DEADLINE,
	};
	char error[256] = "";
	oc_client *c;
	int r = oc_client_connect(&o, &c, error);

	if (r)
		CHECK(*error);
	else
		oc_client_close(c);
	return r;
}

static void stranger(const struct live *n, int fd, void *arg)
{
	static const struct {
		const char *tenant, *token;
		int result;
	} tries[] = {
		{ "a", TOKEN_A, 0 },
		{ "b", TOKEN_B, 0 },
		{ "a", TOKEN_B, -EACCES },
		{ "b", TOKEN_A, -EACCES },
		{ "a", "", -EACCES },
		{ "a", NULL, -EACCES },
		{ "a", TOKEN_A "x", -EACCES },
		{ "a", "a-token-of-24-character", -EACCES },
		{ "default", TOKEN_A, -EACCES },
		{ "none-such", TOKEN_A, -EACCES },
		{ NULL, NULL, -EACCES },
		{ "", TOKEN_A "y", -EACCES },
	};
	oc_client *c;
	oc_ns *ns;

	(void)arg;
	CHECK_OK(setresgid(65534, 65534, 65534));
	CHECK_OK(setresuid(65534, 65534, 65534));
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		fprintf(stderr, "try %zu\n", i);
		CHECK_INT(try(n, tries[i].tenant, tries[i].token), ==,
			  tries[i].result);
	}
	/* the environment; the tenant is the token's */
	CHECK_OK(setenv("ONECOPY_TOKEN", TOKEN_B, 1));
	CHECK_OK(try(n, NULL, NULL));
	CHECK_INT(try(n, NULL, ""), ==, -EACCES);
	c = live_connect_as(n, (struct live_as){ .tenant = "b" });
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 7, BYTES));
	CHECK_OK(live_read(ns, 7, BYTES));
	CHECK_INT(live_read_some(ns, 0, 5, BYTES), ==, 0); /* those are a's */
	oc_ns_close(ns);
	oc_client_close(c);
	child_say(fd, 'd');
}

TEST(a_stranger_with_a_token)
{
	struct child child;
	struct stat st;
	struct live n;
	oc_client *c;
	oc_ns *ns;

	if (geteuid() != 0)
		SKIP("changing the user needs root");
	node(&n);
	CHECK_OK(stat(n.socket, &st));
	CHECK_INT(st.st_mode & 0777, ==, 0666);
	c = live_connect_as(&n, (struct live_as){ .tenant = "a" });
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, 5, BYTES);
	child = child_start(stranger, &n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'd');
	CHECK_INT(child_end(&child), ==, 0);
	CHECK(live_said(&n, "with a token) was refused"));
	CHECK(!live_said(&n, TOKEN_A));
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* All commands say it alike: it is a refusal, and not a node that is missing. */
TEST(a_tenant_that_is_none_is_a_refusal)
{
	static const char key[] = "0123456789abcdef0123456789abcdef"
				  "0123456789abcdef0123456789abcdef";
	static const char *const commands[][4] = {
		{ "stat" },	  { "check" },	  { "session", "list" },
		{ "where", key }, { "why", key }, { "session", "show", "a" },
	};
	struct live n;

	node(&n);
	CHECK_OK(setenv("ONECOPY_SOCKET", n.socket, 1));
	CHECK_OK(setenv("ONECOPY_TENANT", "none-such", 1));
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
		struct run r = run_program(commands[i]);

		if (r.status != 4)
			fprintf(stderr, "%s: %d: %s\n", commands[i][0],
				r.status, r.err);
		CHECK_INT(r.status, ==, 4);
		CHECK(strstr(r.err, "none-such"));
		run_free(&r);
	}
	live_stop(&n);
}

/* The node's own user needs none, and a wrong one does it no harm. */
TEST(who_needs_none)
{
	struct live n;

	node(&n);
	CHECK_OK(try(&n, "a", NULL));
	CHECK_OK(try(&n, "default", "wrong-but-long-enough"));
	CHECK_OK(try(&n, NULL, TOKEN_B));
	CHECK_INT(try(&n, "none-such", NULL), ==, -EACCES);
	CHECK_INT(try(&n, NULL, "of nobody at all"), ==, -EACCES);
	CHECK_INT(try(&n, "a", "not\tprintable"), ==, -EINVAL);
	live_stop(&n);
}

TEST(tokens_of_commands)
{
	char path[160];
	struct live n;
	struct run r;
	FILE *f;

	node(&n);
	snprintf(path, sizeof(path), "%s/token", n.dir);
	f = fopen(path, "we");
	CHECK(f);
	fputs(TOKEN_B "\n", f);
	CHECK_OK(fclose(f));
	r = RUN("stat", "--node", n.socket, "--json", "--token-file", path);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "\"tenant\": \"b\""));
	run_free(&r);
	r = RUN("session", "--node", n.socket, "--token-file", path, "list");
	CHECK_INT(r.status, ==, 0);
	CHECK_STR(r.out, "no sessions\n");
	run_free(&r);
	r = RUN("why", "--node", n.socket, "--token-file", "/no/such",
		"0000000000000000000000000000000000000000000000000000000000000"
		"000");
	CHECK_INT(r.status, ==, 5);
	run_free(&r);
	f = fopen(path, "we");
	CHECK(f);
	fputs("of-nobody-at-all\n", f);
	CHECK_OK(fclose(f));
	r = RUN("stat", "--node", n.socket, "--token-file", path);
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "no tenant has this token"));
	run_free(&r);
	unlink(path);
	live_stop(&n);
}

TEST(a_file_of_tokens_that_all_can_read)
{
	char path[] = "/tmp/onecopy-tokens-XXXXXX", yaml[128];
	int fd = mkostemp(path, O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, TOKEN_A "\n", sizeof(TOKEN_A)), ==,
		  sizeof(TOKEN_A));
	snprintf(yaml, sizeof(yaml), "tenants: [{name: a, token_file: %s}]\n",
		 path);
	for (unsigned open_to_all = 0; open_to_all < 2; open_to_all++) {
		struct live n;

		CHECK_OK(fchmod(fd, open_to_all ? 0644 : 0600));
		live_start_config(&n, yaml);
		CHECK_OK(try(&n, NULL, TOKEN_A));
		CHECK_INT(live_said(&n, "every user of this machine can read"),
			  ==, open_to_all);
		live_stop(&n);
	}
	close(fd);
	unlink(path);
}
