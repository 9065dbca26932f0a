/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "prog/config.h"
#include "region/region.h"

static int parse(const char *text, struct node_config *c, char *error)
{
	return config_parse(text, strlen(text), "f.yaml", c, error);
}

static void defaults(struct node_config *c)
{
	memset(c, 0, sizeof(*c));
	config_defaults(c);
}

/* Of the word "password"; as `sha256sum` says. */
#define PASSWORD_SHA256                    \
	"5e884898da28047151d0e56f8dc62927" \
	"73603d0d6aabbdd62a11ef721d1542d8"

/* Prints, reads back, compares. */
static void check_round_trip(const struct node_config *c)
{
	char *text = NULL, error[CONFIG_ERROR] = "";
	struct node_config back;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	config_print(c, out);
	CHECK_OK(fclose(out));
	memset(&back, 0, sizeof(back));
	fprintf(stderr, "%s", text);
	if (config_parse(text, len, "printed", &back, error))
		FAIL("%s", error);
	CHECK_MEM(c, &back, sizeof(back));
	free(text);
}

TEST(empty_is_all_defaults)
{
	static const char *const empty[] = { "",      "\n", "# nothing\n",
					     "---\n", "{}", "--- {}\n" };
	struct node_config want, c;
	char error[CONFIG_ERROR];

	defaults(&want);
	CHECK_INT(want.dram.share, ==, 2500);
	CHECK_STR(want.tenants[0].name, "default");
	for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
		memset(&c, 0x5a, sizeof(c));
		CHECK_OK(parse(empty[i], &c, error));
		CHECK_MEM(&c, &want, sizeof(c));
	}
	check_round_trip(&want);
}

static const char everything[] = "socket: /run/one \"copy\\.sock\n"
				 "dram: 12.5%\n"
				 "slab: 1G\n"
				 "scrub: 128MiB/s\n"
				 "history: 1MiB\n"
				 "prefill_rate: 35000\n"
				 "prefill_growth: 485\n"
				 "huge_pages: never\n"
				 "backend: epoll\n"
				 "log_level: debug\n"
				 "clients:\n"
				 "  max: 7\n"
				 "  pins: 100\n"
				 "  overflow_pins: 0\n"
				 "  granted_frames: 64\n"
				 "  slab_share: 30%\n"
				 "  revoke_deadline: 250ms\n"
				 "  revoke_end: yes\n"
				 "tenants:\n"
				 "  - name: a\n"
				 "    uids: [0, 1000, 4294967294]\n"
				 "    dram: 3GiB\n"
				 "    share: 1GiB\n"
				 "  - {name: \"b:c\", dram: 50%, share: 25%,\n"
				 "     borrow: no}\n"
				 "  - name: '#d'\n"
				 "    borrow: yes\n"
				 "    tokens_sha256: [" PASSWORD_SHA256 "]\n"
				 "resp:\n"
				 "  listen: \"[::1]:6380\"\n"
				 "  password: password\n"
				 "  max_connections: 12\n"
				 "  stall: 1500ms\n"
				 "  verify: 0s\n"
				 "  tls: {certificate: c.pem, key: k.pem,\n"
				 "        client_ca: ca.pem}\n"
				 "  without: [tls]\n"
				 "  users:\n"
				 "    - {name: alice, password: password,\n"
				 "       tenant: \"b:c\"}\n"
				 "    - name: bob\n"
				 "      password_sha256: " PASSWORD_SHA256 "\n"
				 "    - {name: carol, password: \"p w\",\n"
				 "       tenant: default}\n"
				 "http:\n"
				 "  listen: localhost:0\n"
				 "  token: password\n"
				 "  tls: {certificate: /c.pem, key: /k.pem}\n"
				 "  without: [tls, authentication]\n";

TEST(every_key)
{
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	if (parse(everything, &c, error))
		FAIL("%s", error);
	CHECK_STR(c.socket, "/run/one \"copy\\.sock");
	CHECK_INT(c.dram.share, ==, 1250);
	CHECK_INT(c.slab_bytes, ==, 1 << 30);
	CHECK_INT(c.scrub_bytes_per_s, ==, 128 << 20);
	CHECK_INT(c.huge, ==, CONFIG_HUGE_NEVER);
	CHECK_INT(c.prefill_rate, ==, 35000);
	CHECK_INT(c.prefill_growth_ps, ==, 485);
	CHECK_INT(c.backend, ==, CONFIG_BACKEND_EPOLL);
	CHECK_INT(c.log_level, ==, LOG_DEBUG);
	CHECK_INT(c.max_clients, ==, 7);
	CHECK_INT(c.pins, ==, 100);
	CHECK_INT(c.overflow_pins, ==, 0);
	CHECK_INT(c.granted_frames, ==, 64);
	CHECK_INT(c.slab_percent, ==, 30);
	CHECK_INT(c.revoke_ns, ==, 250 * NS_PER_MS);
	CHECK_INT(c.revoke_end, ==, 1);
	CHECK_INT(c.n_tenants, ==, 3);
	CHECK_INT(c.tenants[0].n_uids, ==, 3);
	CHECK_INT(c.tenants[0].uids[2], ==, 4294967294);
	CHECK_INT(c.tenants[0].dram.bytes, ==, 3ll << 30);
	CHECK_STR(c.tenants[1].name, "b:c");
	CHECK_INT(c.tenants[1].dram.share, ==, 5000);
	CHECK_STR(c.tenants[2].name, "#d");
	CHECK_INT(c.tenants[2].n_uids, ==, 0);
	CHECK_INT(c.history_bytes, ==, 1 << 20);
	CHECK_INT(c.tenants[0].share.bytes, ==, 1ll << 30);
	CHECK_INT(c.tenants[0].strict, ==, 0);
	CHECK_INT(c.tenants[1].share.share, ==, 2500);
	CHECK_INT(c.tenants[1].strict, ==, 1);
	CHECK_INT(c.tenants[2].strict, ==, 0);
	CHECK_INT(c.tenants[2].n_tokens, ==, 1);
	check_round_trip(&c);
}

static void check_password(const uint8_t sha256[32])
{
	char hex[65];

	text_hex(sha256, 32, hex);
	CHECK_STR(hex, PASSWORD_SHA256);
}

TEST(every_key_of_the_doors)
{
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	CHECK_OK(parse(everything, &c, error));
	CHECK_STR(c.resp.listen, "[::1]:6380");
	CHECK(c.resp.chosen && c.resp.has_password);
	check_password(c.resp.password_sha256);
	CHECK_INT(c.resp.max_connections, ==, 12);
	CHECK_INT(c.resp.stall_ns, ==, 1500000000);
	CHECK_INT(c.resp.verify_ns, ==, 0);
	CHECK_STR(c.resp.certificate, "c.pem");
	CHECK_STR(c.resp.key, "k.pem");
	CHECK_STR(c.resp.client_ca, "ca.pem");
	CHECK_INT(c.resp.without, ==, CONFIG_WITHOUT_TLS);
	CHECK_INT(c.resp.n_users, ==, 3);
	CHECK_STR(c.resp.users[0].name, "alice");
	CHECK_STR(c.resp.users[0].tenant, "b:c");
	check_password(c.resp.users[0].password_sha256);
	CHECK_STR(c.resp.users[1].tenant, "");
	check_password(c.resp.users[1].password_sha256);
	CHECK_STR(c.resp.users[2].tenant, "default");
	CHECK_STR(c.http.listen, "localhost:0");
	CHECK(c.http.chosen && c.http.has_token);
	check_password(c.http.token_sha256);
	CHECK_STR(c.http.certificate, "/c.pem");
	CHECK_STR(c.http.key, "/k.pem");
	CHECK_INT(c.http.without, ==, CONFIG_WITHOUT_AUTH | CONFIG_WITHOUT_TLS);
}

TEST(doors_that_nobody_chose)
{
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	CHECK_OK(parse("resp: {}\nhttp: {token: x}\n", &c, error));
	CHECK_STR(c.resp.listen, "127.0.0.1:6380");
	CHECK_STR(c.http.listen, "127.0.0.1:9470");
	CHECK(!c.resp.chosen && !c.http.chosen && !c.resp.has_password);
	check_round_trip(&c);
	/* the same address, but chosen: the node ends where it is taken */
	CHECK_OK(parse("resp: {listen: \"127.0.0.1:6380\"}", &c, error));
	CHECK(c.resp.chosen && !c.http.chosen);
	check_round_trip(&c);
	CHECK_OK(parse("resp: {listen: off}\nhttp: {listen: off}", &c, error));
	CHECK_STR(c.resp.listen, "off");
	CHECK_STR(c.http.listen, "off");
	check_round_trip(&c);
}

/* Neither in what is printed nor in what is said of another mistake. */
TEST(a_password_is_shown_nowhere)
{
	static const char *const bad[] = {
		"resp: {password: \"hunter2\", password_sha256: \"hunter2\"}",
		"resp: {password_sha256: hunter2}",
		"resp: {users: [{name: a, password: hunter2, tenant: x}]}",
		"resp: {users: [{name: a b, password: hunter2}]}",
		"http: {token: \"hunter2 \"}",
		"http: {token: hunter2, token_sha256: hunter2}",
	};
	char error[CONFIG_ERROR] = "", *text = NULL;
	struct node_config c;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	CHECK(out);
	CHECK_OK(parse(everything, &c, error));
	config_print(&c, out);
	CHECK_OK(fclose(out));
	CHECK(!strstr(text, "password:") && !strstr(text, "token:"));
	CHECK(!strstr(text, "p w"));
	free(text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK_INT(parse(bad[i], &c, error), ==, -EINVAL);
		CHECK(error[0] && !strstr(error, "hunter2"));
	}
}

struct bad {
	const char *text, *says;
};

static void check_bad(const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char error[CONFIG_ERROR] = "";
		struct node_config c, untouched;

		memset(&c, 0x5a, sizeof(c));
		untouched = c;
		fprintf(stderr, "%s\n", bad[i].text);
		CHECK_INT(parse(bad[i].text, &c, error), ==, -EINVAL);
		if (!strstr(error, bad[i].says))
			FAIL("\"%s\" does not say \"%s\"", error, bad[i].says);
		CHECK(!strchr(error, '\n'));
		CHECK_MEM(&c, &untouched, sizeof(c));
	}
}

TEST(wrong_files_say_where)
{
	static const struct bad bad[] = {
		{ "dram: 1G\nsokcet: x\n",
		  "f.yaml:2: unknown key 'sokcet'; did you mean 'socket'?" },
		{ "\n\nzzz: 1\n", "f.yaml:3: unknown key 'zzz'" },
		{ "clients:\n  max: 1\n  pin: 1\n",
		  "f.yaml:3: unknown key 'pin'; did you mean 'pins'?" },
		{ "tenants:\n  - name: a\n    uid: [1]\n",
		  "f.yaml:3: unknown key 'uid'; did you mean 'uids'?" },
		{ "dram: 1G\ndram: 2G\n",
		  "f.yaml:2: 'dram' is there twice (first on line 1)" },
		{ "\ndram: lots\n",
		  "f.yaml:2: dram: 'lots': expected a size like 8G" },
		{ "dram:\n", "f.yaml:1: dram: '': expected a size" },
		{ "dram: 0\n", "expected a size" },
		{ "dram: 101%\n", "expected a size" },
		{ "dram: -1G\n", "expected a size" },
		{ "dram: 99999999999G\n", "expected a size" },
		{ "slab: 65537\n", "f.yaml:1: slab: '65537': expected auto" },
		{ "scrub: fast\n", "f.yaml:1: scrub: 'fast': expected a rate" },
		{ "huge_pages: maybe\n", "expected auto or never" },
		{ "backend: select\n", "expected auto, uring or epoll" },
		{ "log_level: 3\n", "expected error, warn, info or debug" },
		{ "clients:\n  max: 513\n",
		  "f.yaml:2: clients.max: '513': expected a number" },
		{ "clients:\n  max: 0\n", "expected a number from 1 to 512" },
		{ "clients: {slab_share: 30}\n", "expected whole percents" },
		{ "clients: {slab_share: 0%}\n", "expected whole percents" },
		{ "clients: 3\n", "f.yaml:1: 'clients': expected a mapping" },
		{ "clients: []\n", "f.yaml:1: 'clients': expected a mapping" },
		{ "dram: [1G]\n", "f.yaml:1: 'dram': expected one value" },
		{ "tenants: a\n", "f.yaml:1: 'tenants': expected a list" },
		{ "tenants: []\n", "f.yaml:1: tenants: expected at least one" },
		{ "tenants:\n  - a\n",
		  "f.yaml:2: 'tenants[0]': expected a mapping" },
		{ "tenants:\n  - dram: 1G\n",
		  "f.yaml:2: tenants[0]: expected a name" },
		{ "tenants: [{name: \"a b\"}]\n", "expected a name" },
		{ "tenants: [{name: a},\n {name: a}]\n",
		  "f.yaml:2: tenants[1]: its name is there twice" },
		{ "tenants:\n - name: a\n   uids:\n   - 1\n   - root\n",
		  "f.yaml:5: tenants[0].uids[1]: expected a user's number" },
		{ "tenants: [{name: a, uids: [4294967295]}]\n",
		  "expected a user's number" },
		{ "tenants: [{name: a, uids: [0,1,2,3,4,5,6,7,8,9,10,11,12,"
		  "13,14,15,16]}]",
		  "'tenants[0].uids' has more than 16 entries" },
		{ "tenants:\n  - name: a\n    share: most\n",
		  "f.yaml:3: tenants[0].share: 'most': expected a size" },
		{ "tenants: [{name: a, borrow: no}]\n",
		  "tenants[0].borrow: without a share" },
		{ "tenants: [{name: a, share: 1G, borrow: maybe}]\n",
		  "tenants[0].borrow: 'maybe': expected yes or no" },
		{ "tenants: [{name: a, tokens_sha256: [abc]}]\n",
		  "tenants[0].tokens_sha256[0]: expected 64 hexadecimal" },
		{ "tenants: [{name: a, token_file: \"\"}]\n",
		  "tenants[0].token_file: '': expected a path" },
		{ "history: lots\n", "history: 'lots': expected a size" },
		{ "- a\n", "f.yaml:1: expected a mapping" },
		{ "word\n", "f.yaml:1: expected a mapping" },
		{ "dram: 1G\n--- \ndram: 2G\n", "more than one document" },
		{ "dram: &a 1G\nslab: *a\n", "f.yaml:2: aliases" },
		{ "{a: [}\n", "f.yaml:1: " },
		{ "? [a]\n: b\n", "f.yaml:1: a key must be a word" },
		{ "dram: \"\\0\"\n", "a zero byte" },
		{ "dram: 'x\n", "not YAML" },
		{ "dram: \xc3\x28\n", "not YAML" },
		{ "socket: ''\n", "f.yaml:1: socket: '': expected a path" },
		{ "socket: \"a\\nb\"\n", "'a?b': expected a path" },
	};

	check_bad(bad, ARRAY_LEN(bad));
}

TEST(wrong_doors_say_where)
{
	static const struct bad bad[] = {
		{ "resp: {lisen: off}",
		  "unknown key 'lisen'; did you mean 'listen'?" },
		{ "resp: {tls: {cert: x}}", "unknown key 'cert'" },
		{ "http: {tls: {client_ca: x}}", "unknown key 'client_ca'" },
		{ "http: {users: []}", "unknown key 'users'" },
		{ "resp:\n  listen: 6380\n",
		  "f.yaml:2: resp.listen: '6380': expected ADDRESS:PORT" },
		{ "resp: {listen: \"host:1\"}", "expected ADDRESS:PORT" },
		{ "http: {listen: \"1.2.3.4:65536\"}", "expected ADDRESS" },
		{ "resp: {listen: [::1]:6380}", "expected one value" },
		{ "resp: {max_connections: 0}", "expected a number from 1" },
		{ "resp: {stall: 1ms}", "expected a time like 10s" },
		{ "resp: {stall: 25h}", "expected a time like 10s" },
		{ "resp: {verify: 2h}", "expected a time like 1s" },
		{ "resp: {tls: {key: ''}}", "expected a path of at most 255" },
		{ "resp:\n  without:\n  - tls\n  - auth\n",
		  "f.yaml:4: resp.without[1]: 'auth': expected "
		  "authentication or tls" },
		{ "http: {without: tls}", "'http.without': expected a list" },
		{ "resp: {without: [tls, tls, tls]}",
		  "'resp.without' has more than 2 entries" },
		{ "resp: {password: ''}",
		  "resp.password: expected 1 to 255 characters" },
		{ "resp: {password_sha256: 00}",
		  "resp.password_sha256: expected 64 hexadecimal digits" },
		{ "resp:\n  password: x\n  password_sha256: y\n",
		  "f.yaml:3: resp.password_sha256: it is there in plain" },
		{ "http: {token: 'a b'}",
		  "http.token: expected 1 to 255 printable ASCII" },
		{ "resp:\n  users:\n  - {name: a, password: x}\n"
		  "  - {name: a, password: x}\n",
		  "f.yaml:4: resp.users[1]: its name is there twice" },
		{ "resp: {users: [{name: a}]}",
		  "resp.users[0]: expected a password" },
		{ "resp: {users: [{password: a}]}",
		  "resp.users[0]: expected a name" },
		{ "resp:\n  password: a\n  users:\n"
		  "  - {name: default, password: x}\n",
		  "f.yaml:4: resp.users[0]: resp.password is default's" },
		{ "resp:\n  users:\n  - name: a\n    password: x\n"
		  "    tenant: b\n",
		  "f.yaml:5: resp.users[0].tenant: 'b': expected a tenant of "
		  "this configuration" },
		{ "resp: {users: [{name: a, password: x, tenant: ''}]}",
		  "expected a tenant" },
	};

	check_bad(bad, ARRAY_LEN(bad));
}

TEST(hostile_size_and_depth)
{
	size_t len = CONFIG_BYTES_MAX;
	char error[CONFIG_ERROR];
	char *text = malloc(len + 1);
	struct node_config c;

	CHECK(text);
	memset(text, '[', len + 1);
	CHECK_INT(config_parse(text, len + 1, "f", &c, error), ==, -EINVAL);
	CHECK_STR(error, "f: larger than 1 MiB");
	CHECK_INT(config_parse(text, len, "f", &c, error), ==, -EINVAL);
	memset(text, 'a', len);
	CHECK_INT(config_parse(text, len, "f", &c, error), ==, -EINVAL);
	memset(text, '\n', len);
	CHECK_OK(config_parse(text, len, "f", &c, error));
	free(text);
}

TEST(too_many_tenants)
{
	char text[4096] = "tenants:\n", error[CONFIG_ERROR] = "";
	size_t at = strlen(text);
	struct node_config c;

	for (int i = 0; i < CONFIG_TENANTS_MAX; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "- name: t%d\n", i);
	CHECK_OK(parse(text, &c, error));
	CHECK_INT(c.n_tenants, ==, CONFIG_TENANTS_MAX);
	check_round_trip(&c);
	snprintf(text + at, sizeof(text) - at, "- name: more\n");
	CHECK_INT(parse(text, &c, error), ==, -EINVAL);
	CHECK_STR(error, "f.yaml:18: 'tenants' has more than 16 entries");
}

TEST(as_much_as_fits)
{
	static char text[65536], error[CONFIG_ERROR];
	static struct node_config c;
	FILE *out = fmemopen(text, sizeof(text), "w");

	CHECK(out);
	fputs("tenants:\n", out);
	for (int i = 0; i < CONFIG_TENANTS_MAX; i++) {
		fprintf(out,
			"- {name: t%d, dram: 1G, share: 1M, borrow: no,\n"
			"   token_file: /a, uids: [0",
			i);
		for (int k = 1; k < CONFIG_UIDS_MAX; k++)
			fprintf(out, ",%d", k);
		fputs("],\n   tokens_sha256: [", out);
		for (int k = 0; k < CONFIG_TOKENS_MAX; k++)
			fputs(k ? "," PASSWORD_SHA256 : PASSWORD_SHA256, out);
		fputs("]}\n", out);
	}
	fputs("resp:\n  users:\n", out);
	for (int i = 0; i < CONFIG_USERS_MAX; i++)
		fprintf(out, "  - {name: u%d, password: x, tenant: t1}\n", i);
	CHECK_OK(fclose(out));
	if (parse(text, &c, error))
		FAIL("%s", error);
	CHECK_INT(c.resp.n_users, ==, CONFIG_USERS_MAX);
	check_round_trip(&c);
}

/* A file with this text, removed by the caller. */
static const char *secret_file(const void *text, size_t len)
{
	static char path[40];
	int fd;

	snprintf(path, sizeof(path), "/tmp/onecopy-secret-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(write(fd, text, len), ==, len);
	close(fd);
	return path;
}

TEST(secrets_from_files)
{
	static const struct {
		const char *text;
		size_t len;
		const char *password, *token; /* what is wrong; NULL: nothing */
	} files[] = {
		{ "password", 8, NULL, NULL },
		{ "password\n", 9, NULL, NULL },
		{ "password\n\n", 10, NULL, "printable ASCII" },
		{ "", 0, "Invalid argument", "Invalid argument" },
		{ "\n", 1, "expected 1 to 255", "expected 1 to 255" },
		{ "a\0b", 3, "Invalid argument", "Invalid argument" },
	};
	char error[CONFIG_ERROR];
	struct node_config c;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		const char *path = secret_file(files[i].text, files[i].len);

		config_defaults(&c);
		error[0] = '\0';
		CHECK_INT(config_apply_option(&c, "resp-password-file", path,
					      error),
			  ==, files[i].password ? -EINVAL : 0);
		CHECK_INT(c.resp.has_password, ==, !files[i].password);
		CHECK(strstr(error, files[i].password ?: ""));
		error[0] = '\0';
		CHECK_INT(config_apply_option(&c, "http-token-file", path,
					      error),
			  ==, files[i].token ? -EINVAL : 0);
		CHECK_INT(c.http.has_token, ==, !files[i].token);
		CHECK(strstr(error, files[i].token ?: ""));
		unlink(path);
		if (i < 2)
			check_password(c.resp.password_sha256);
		if (i < 2)
			check_password(c.http.token_sha256);
	}
	CHECK_OK(parse("resp: {users: [{name: default, password: x}]}", &c,
		       error));
	CHECK_INT(config_apply_option(&c, "resp-password-file", "/x", error),
		  ==, -EINVAL);
	CHECK(strstr(error, "a user named default"));
}

TEST(memory_below_dram)
{
	static const struct {
		const char *spec, *at;
		uint64_t size;
	} good[] = {
		{ "node:1", "node:1", 0 },
		{ "node:0:1G", "node:0", 1ull << 30 },
		{ "/dev/dax0.0", "/dev/dax0.0", 0 },
		{ "/dev/dax1.2:64M", "/dev/dax1.2", 64ull << 20 },
		{ "memory:2M", "memory", 2ull << 20 },
	};
	static const char *const bad[] = { "node:",	"node:1:",  "memory:1M",
					   "memory:x",	":1G",	    "",
					   "memory",	"memory:0", "node:x",
					   "node:1024", "dram",	    "dram:1G" };
	/* what can be written, and is not there */
	static const char *const absent[] = { "node:1000", "/dev/null",
					      "/nowhere" };
	/* the same in a file, which is looked at as a whole */
	static const char *const unknown[] = { "cxl: {at: memory}",
					       "cxl: {at: \"node:x\"}",
					       "cxl: {at: dram}" };
	char error[CONFIG_ERROR] = "";
	struct node_config c;
	int lock;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		defaults(&c);
		CHECK_OK(config_apply_option(&c, "cxl", good[i].spec, error));
		CHECK_STR(c.cxl.at, good[i].at);
		CHECK_INT(c.cxl.size, ==, good[i].size);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		defaults(&c);
		CHECK_INT(config_apply_option(&c, "cxl", bad[i], error), ==,
			  -EINVAL);
		CHECK_STR(c.cxl.at, "");
	}
	/* a file's is overridden */
	CHECK_OK(parse("cxl: {at: memory, size: 64M}", &c, error));
	CHECK_OK(config_apply_option(&c, "cxl", "memory:2M", error));
	CHECK_INT(c.cxl.size, ==, 2ull << 20);
	for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
		defaults(&c);
		CHECK_OK(config_apply_option(&c, "cxl", absent[i], error));
		CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
		CHECK(strncmp(error, "cxl: ", 5) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		CHECK_OK(parse(unknown[i], &c, error));
		CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
		CHECK(strncmp(error, "cxl: ", 5) == 0);
	}
	CHECK_OK(parse("cxl: {at: memory, size: 64M, tenant: default}", &c,
		       error));
	CHECK_OK(config_cxl_check(&c, &lock, error));
	CHECK_INT(lock, ==, -1);
	CHECK_OK(parse("cxl: {at: memory, size: 64M, tenant: x}", &c, error));
	CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
	CHECK_OK(parse("cxl: {size: 64M}", &c, error));
	CHECK_INT(config_cxl_check(&c, &lock, error), ==, -EINVAL);
}

static void refused(const char *yaml, const char *why)
{
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	CHECK_OK(parse(yaml, &c, error));
	CHECK_INT(config_region_check(&c, error), ==, -EINVAL);
	if (strncmp(error, "region: ", 8) || !strstr(error, why))
		FAIL("%s: %s", yaml, error);
}

/* It is of the tenant that it was made for. */
TEST(a_region_of_several_nodes)
{
	struct region_format_options o = { .size = sizeof(o),
					   .bytes = 16 << 20,
					   .members = 2,
					   .shards = 1,
					   .frame_bytes = 4096,
					   .tenant = "b" };
	int fd = memfd_create("onecopy-test", MFD_CLOEXEC);
	char error[CONFIG_ERROR] = "", path[64], yaml[256];
	struct node_config c;

	CHECK_INT(fd, >=, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s}\ntenants: [{name: b}]\n", path);
	refused(yaml, "holds no region");
	CHECK_OK(region_format(path, &o));
	CHECK_OK(parse(yaml, &c, error));
	CHECK_OK(config_region_check(&c, error));
	CHECK_STR(c.region.tenant, "b");
	CHECK_INT(c.region.shards, ==, 1);
	CHECK(c.region.adopt && c.region.publish);
	snprintf(yaml, sizeof(yaml), "region: {path: %s}\n", path);
	refused(yaml, "for the tenant \"b\": add it under tenants");
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s, tenant: a}\ntenants: [{name: a}]\n", path);
	refused(yaml, "was made for the tenant \"b\"");
	snprintf(yaml, sizeof(yaml),
		 "region: {path: %s, name: 7}\ntenants: [{name: b}]\n", path);
	refused(yaml, "name \"7\" cannot be a member's name");
	refused("region: {path: /dev/null}", "is no memory");
	refused("region: {name: x}", "no path");
	refused("region: {shards: 2}", "no path");
	CHECK_OK(parse("region: {adopt: no, publish: no, shards: 0}", &c,
		       error));
	CHECK_OK(config_region_check(&c, error));
	close(fd);
}

TEST(every_option)
{
	static const char *const values[] = {
		"/tmp/x.sock", "8G",
		"64M",	       "0",
		"never",       "uring",
		"error",       "9",
		"0.0.0.0:1",   "authentication,tls",
		NULL,	       "/c",
		"/k",	       "off",
		"tls",	       NULL,
		"onecopy",     "/data:a:200G",
		"memory:64M",
	}, *const more[][2] = {
		{ "revoke-deadline", "50ms" },
		{ "revoke-end", "yes" },
	};
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	defaults(&c);
	/* after them one that takes no value, a path, which may be any, and a
	 * number */
	CHECK_INT(config_n_options, ==,
		  ARRAY_LEN(values) + 3 + ARRAY_LEN(more));
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		CHECK_INT(config_options[i].id, ==, CONFIG_OPTION_FIRST + i);
		if (!values[i]) { /* a file's name */
			CHECK_INT(config_apply_option(&c,
						      config_options[i].name,
						      "/nowhere/at all", error),
				  ==, -ENOENT);
			CHECK(strncmp(error, "'/nowhere/at all': No", 21) == 0);
			continue;
		}
		CHECK_OK(config_apply_option(&c, config_options[i].name,
					     values[i], error));
		CHECK_INT(config_apply_option(&c, config_options[i].name, "",
					      error),
			  ==, -EINVAL);
		CHECK(strncmp(error, "'': expected", 12) == 0);
	}
	CHECK_OK(config_apply_option(&c, "save-on-exit", NULL, error));
	CHECK_STR(c.cxl.at, "memory");
	CHECK_INT(c.cxl.size, ==, 64 << 20);
	CHECK_INT(c.revoke_ns, ==, 2 * NS_PER_S);
	CHECK_INT(c.revoke_end, ==, 0);
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		CHECK_OK(
			config_apply_option(&c, more[i][0], more[i][1], error));
		CHECK_INT(config_apply_option(&c, more[i][0], "5", error), ==,
			  -EINVAL);
		CHECK(strncmp(error, "'5': expected", 13) == 0);
	}
	CHECK_OK(config_apply_option(&c, "prefill-rate", "35000", error));
	CHECK_INT(config_apply_option(&c, "prefill-rate", "fast", error), ==,
		  -EINVAL);
	CHECK_INT(c.prefill_rate, ==, 35000);
	CHECK_INT(c.revoke_ns, ==, 50 * NS_PER_MS);
	CHECK_INT(c.revoke_end, ==, 1);
	CHECK_OK(config_apply_option(&c, "region", "/dev/dax9.0", error));
	CHECK_STR(c.region.path, "/dev/dax9.0");
	CHECK_STR(c.nvme.path, "/data:a"); /* a size has no colon */
	CHECK_INT(c.nvme.size, ==, 200ull << 30);
	CHECK_INT(c.nvme.save, ==, 1);
	CHECK_STR(c.socket, "/tmp/x.sock");
	CHECK(c.dram.bytes == 8ull << 30 && !c.dram.share);
	CHECK_INT(c.slab_bytes, ==, 64 << 20);
	CHECK_INT(c.scrub_bytes_per_s, ==, 0);
	CHECK_INT(c.huge, ==, CONFIG_HUGE_NEVER);
	CHECK_INT(c.backend, ==, CONFIG_BACKEND_URING);
	CHECK_INT(c.eviction, ==, CONFIG_EVICTION_ONECOPY);
	CHECK_INT(c.log_level, ==, LOG_ERROR);
	CHECK_INT(c.max_clients, ==, 9);
	CHECK_STR(c.resp.listen, "0.0.0.0:1");
	CHECK_STR(c.http.listen, "off");
	CHECK(c.resp.chosen && c.http.chosen);
	CHECK_INT(c.resp.without, ==, CONFIG_WITHOUT_AUTH | CONFIG_WITHOUT_TLS);
	CHECK_INT(c.http.without, ==, CONFIG_WITHOUT_TLS);
	CHECK_STR(c.resp.certificate, "/c");
	CHECK_STR(c.resp.key, "/k");
	check_round_trip(&c);
	CHECK_INT(config_apply_option(&c, "nothing", "1", error), ==, -ENOENT);
}

TEST(the_tier_below)
{
	static const struct bad bad[] = {
		{ "nvme: {path: /d, size: 15M}", "expected a size like 200G" },
		{ "nvme: {path: '', size: 1G}", "expected a path" },
		{ "nvme: {pth: /d}", "did you mean 'path'?" },
		{ "nvme: {save_on_exit: maybe}", "expected yes or no" },
		{ "nvme: {save_time: 2h}", "expected a time like 60s" },
		{ "nvme: {backend: fast}", "expected auto, uring or threads" },
		{ "nvme: {segment: 2G}", "a power of two from 1M to 1G" },
		{ "tenants:\n  - name: a\n    nvme: 0%\n",
		  "tenants[0].nvme: '0%': expected a size" },
	};
	static const char *const options[] = { "",    ":",    "/d",  "/d:",
					       ":1G", "/d:1", "/d:x" };
	char error[CONFIG_ERROR] = "";
	struct node_config c;

	check_bad(bad, ARRAY_LEN(bad));
	defaults(&c);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		CHECK_INT(config_apply_option(&c, "nvme", options[i], error),
			  ==, -EINVAL);
	CHECK_OK(config_nvme_check(&c, error)); /* none is asked for */
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, save_on_exit: yes, "
		       "save_time: 5s, segment: 64M, backend: threads, "
		       "depth: 7}\n"
		       "tenants:\n  - name: a\n    nvme: 25%\n"
		       "  - name: b\n    nvme: 64M\n  - name: c\n",
		       &c, error));
	CHECK_OK(config_nvme_check(&c, error));
	CHECK_INT(config_tenant_nvme(&c, "a"), ==, 256 << 20);
	CHECK_INT(config_tenant_nvme(&c, "b"), ==, 64 << 20);
	CHECK_INT(config_tenant_nvme(&c, "c"), ==, 0);
	CHECK_INT(c.nvme.save_ns, ==, 5000000000);
	CHECK_INT(c.nvme.segment_bytes, ==, 64 << 20);
	CHECK_INT(c.nvme.backend, ==, CONFIG_NVME_THREADS);
	check_round_trip(&c);
	CHECK_OK(parse("nvme: {path: /tmp}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "has no size"));
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, segment: 3M}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "no power of two"));
	CHECK_OK(parse("nvme: {path: /tmp, size: 1G, segment: 256M}", &c,
		       error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "do not fit into nvme.size"));
	CHECK_OK(parse("nvme: {path: /nowhere/at/all, size: 1G}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "make a directory for it"));
	CHECK_OK(parse("nvme: {path: /dev/null, size: 1G}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK_OK(parse("nvme: {save_on_exit: yes}", &c, error));
	CHECK_INT(config_nvme_check(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "give --nvme"));
}

TEST(memory_and_shares)
{
	struct config_size quarter = { .share = 2500 };
	uint64_t bytes = 0;

	CHECK_OK(config_memory(&bytes));
	CHECK_INT(bytes, >, 1 << 20);
	CHECK_INT(config_size_bytes(quarter, 16ull << 30), ==, 4ll << 30);
	CHECK_INT(config_size_bytes(quarter, UINT64_MAX), ==,
		  (UINT64_MAX / 4) & ~4095ull);
	quarter = (struct config_size){ .bytes = 10000 };
	CHECK_INT(config_size_bytes(quarter, 0), ==, 8192);
}

TEST(files)
{
	char path[] = "/tmp/onecopy-config-XXXXXX", error[CONFIG_ERROR] = "";
	static const char hashed[] = "resp: {password_sha256: " PASSWORD_SHA256
				     "}";
	bool exposed = true;
	struct node_config c;
	int fd = mkostemp(path, O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, everything, sizeof(everything) - 1), ==,
		  sizeof(everything) - 1);
	CHECK_OK(config_load(path, &c, &exposed, error));
	CHECK_INT(c.max_clients, ==, 7);
	CHECK(!exposed); /* only its owner can read it */
	CHECK_OK(fchmod(fd, 0644));
	CHECK_OK(config_load(path, &c, &exposed, error));
	CHECK(exposed);
	CHECK_OK(ftruncate(fd, 0));
	CHECK_INT(pwrite(fd, hashed, strlen(hashed), 0), ==, strlen(hashed));
	CHECK_OK(config_load(path, &c, &exposed, error));
	CHECK(c.resp.has_password && !exposed);
	CHECK_OK(ftruncate(fd, CONFIG_BYTES_MAX + 1));
	CHECK_INT(config_load(path, &c, &exposed, error), ==, -EFBIG);
	close(fd);
	unlink(path);
	CHECK_INT(config_load(path, &c, &exposed, error), ==, -ENOENT);
	CHECK(strstr(error, "No such file"));
	CHECK_INT(config_load("/tmp", &c, &exposed, error), ==, -EISDIR);
}

TEST(every_fault_is_reported)
{
	uint64_t n = 0;
	int r;

	do {
		char error[CONFIG_ERROR] = "";
		struct node_config c;

		fault_arm(FAULT_ALL, ++n, false);
		r = parse(everything, &c, error);
		CHECK(r == 0 || r == -ENOMEM);
		CHECK_INT(r == 0, ==, !fault_fired());
		CHECK_INT(r != 0, ==, error[0] != 0);
	} while (r);
	CHECK_INT(n, >, 5);
}

/* ---- tenants ------------------------------------------------------------- */

TEST(files_of_tokens)
{
	static const struct {
		const char *text;
		uint32_t tokens;
		int result;
	} files[] = {
		{ "0123456789abcdef", 1, 0 },
		{ "0123456789abcdef\n\nfedcba9876543210\n", 2, 0 },
		{ "0123456789abcdef\n0123456789abcdef\n", 1, 0 }, /* twice */
		{ "too short\n", 0, -EINVAL },
		{ "with a space in it, long\n", 0, -EINVAL },
		{ "aaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbb\ncccccccccccccccc\n"
		  "dddddddddddddddd\neeeeeeeeeeeeeeee\n",
		  0, -E2BIG },
	};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char token[40], yaml[128], error[CONFIG_ERROR] = "";
		struct node_config c;
		bool exposed;
		const char *file;
		int r;

		fprintf(stderr, "file %zu\n", i);
		snprintf(token, sizeof(token), "%s",
			 secret_file(files[i].text, strlen(files[i].text)));
		snprintf(yaml, sizeof(yaml),
			 "tenants: [{name: a, token_file: %s}]\n", token);
		file = secret_file(yaml, strlen(yaml));
		r = config_load(file, &c, &exposed, error);
		CHECK_INT(r, ==, files[i].result);
		if (r)
			CHECK(strstr(error, token) != NULL);
		else
			CHECK_INT(c.tenants[0].n_tokens, ==, files[i].tokens);
		unlink(file);
		unlink(token);
	}
}

TEST(what_a_tenant_may_have)
{
	static const struct {
		const char *yaml;
		uint64_t quota, share; /* of tenant a, of 1000 pages */
		const char *wrong;
	} cases[] = {
		{ "tenants: [{name: a}]", 0, 0, NULL },
		{ "tenants: [{name: a, dram: 50%}]", 500, 0, NULL },
		{ "tenants: [{name: a, dram: 50%, share: 20%}]", 500, 200,
		  NULL },
		{ "tenants: [{name: a, share: 20%, borrow: no}]", 200, 200,
		  NULL },
		{ "tenants: [{name: a, dram: 10%, share: 10%, borrow: no}]",
		  100, 100, NULL },
		{ "tenants: [{name: a, dram: 10%, share: 20%}]", 100, 200,
		  "tenant a: its share" },
		{ "tenants: [{name: a, share: 60%}, {name: b, share: 60%}]", 0,
		  600, "add up to" },
		{ "tenants: [{name: a, share: 40%}, {name: b, share: 60%}]", 0,
		  400, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char error[CONFIG_ERROR] = "";
		struct node_config c;
		uint64_t quota, share;

		fprintf(stderr, "%s\n", cases[i].yaml);
		CHECK_OK(parse(cases[i].yaml, &c, error));
		config_tenant_quota(&c, "a", 1000 * PAGE_BYTES, &quota, &share);
		CHECK_INT(quota, ==, cases[i].quota * PAGE_BYTES);
		CHECK_INT(share, ==, cases[i].share * PAGE_BYTES);
		CHECK_INT(config_tenants_check(&c, 1000 * PAGE_BYTES, error),
			  ==, cases[i].wrong ? -EINVAL : 0);
		if (cases[i].wrong)
			CHECK(strstr(error, cases[i].wrong) != NULL);
	}
}
