/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as a whole: its keys, its options, its files, what is wrong in it. */
#include "base/fault.h"
#include "tests/prog/config_rig.h"

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

/* long: a value for each option, and what becomes of it */
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
