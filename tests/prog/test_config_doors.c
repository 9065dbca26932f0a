/* SPDX-License-Identifier: Apache-2.0 */
/* Who may come in: doors, secrets, tenants. */
#include "tests/prog/config_rig.h"

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
