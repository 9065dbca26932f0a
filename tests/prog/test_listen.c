/* SPDX-License-Identifier: Apache-2.0 */
/* Where the doors listen and whether they may; files. */
#include "prog/listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include "base/fault.h"
#include "prog/pem.h"
#include "tests/front/tls_peer.h"
#include "tests/prog/run.h"
#include "tests/test.h"

/* ---- addresses */

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage at;

	if (listen_parse(text, &at) != 0)
		FAIL("'%s' is no address", text);
	return at;
}

TEST(addresses)
{
	static const struct {
		const char *text, *back;
		bool loopback;
	} good[] = {
		{ "127.0.0.1:6380", "127.0.0.1:6380", true },
		{ "127.255.255.254:0", "127.255.255.254:0", true },
		{ "localhost:1", "127.0.0.1:1", true },
		{ "[::1]:65535", "[::1]:65535", true },
		{ "[0:0:0:0:0:0:0:1]:5", "[::1]:5", true },
		{ "[::ffff:127.0.0.2]:5", "127.0.0.2:5", true },
		{ "0.0.0.0:6380", "0.0.0.0:6380", false },
		{ "128.0.0.1:6380", "128.0.0.1:6380", false },
		{ "126.0.0.1:6380", "126.0.0.1:6380", false },
		{ "1.127.0.1:6380", "1.127.0.1:6380", false },
		{ "[::]:6380", "[::]:6380", false },
		{ "[::2]:6380", "[::2]:6380", false },
		{ "[::127.0.0.1]:1", "[::127.0.0.1]:1", false },
		{ "[::ffff:0.0.0.0]:1", "0.0.0.0:1", false },
		{ "[::ffff:10.127.0.1]:1", "10.127.0.1:1", false },
		{ "[fe80::1]:1", "[fe80::1]:1", false },
		{ "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535",
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct sockaddr_storage at = address(good[i].text);
		char text[LISTEN_TEXT];

		CHECK_STR(listen_text(&at, text), good[i].back);
		CHECK_INT(listen_is_loopback(&at), ==, good[i].loopback);
	}
}

TEST(what_is_no_address)
{
	static const char *const bad[] = {
		"",
		":",
		"6380",
		":6380",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:x",
		"127.0.0.1:-1",
		"127.0.0.1:65536",
		"127.0.0.1:1 ",
		" 127.0.0.1:1",
		"127.1:1",
		"0177.0.0.1:1",
		"host:1",
		"::1:6380",
		"[::1]",
		"[::1]:",
		"[::1:5",
		"[]:5",
		"[:5",
		"]:5",
		"[127.0.0.1]:5",
		"[::1%lo]:5",
		"Off",
		"off:1",
		"*:6380",
		"[[::1]]:5",
		/* longer than any address */
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:1]:1",
	};
	struct sockaddr_storage at;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (listen_parse(bad[i], &at) != -EINVAL)
			FAIL("'%s' is an address", bad[i]);
	CHECK_INT(listen_parse("off", &at), ==, 1);
}

/* A socket that was passed may have such an address. */
TEST(loopback_as_ipv6)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_storage at = { 0 };

	CHECK_INT(inet_pton(AF_INET6, "::ffff:127.9.9.9", &v6.sin6_addr), ==,
		  1);
	memcpy(&at, &v6, sizeof(v6));
	CHECK(listen_is_loopback(&at));
	CHECK_INT(inet_pton(AF_INET6, "::ffff:12.7.0.1", &v6.sin6_addr), ==, 1);
	memcpy(&at, &v6, sizeof(v6));
	CHECK(!listen_is_loopback(&at));
	at.ss_family = AF_UNIX;
	CHECK(!listen_is_loopback(&at));
}

/* ---- the rule */

/* Bits of what a door has, and of what it is told to do without. */
static struct node_config has(enum listen_door door, unsigned has,
			      unsigned without)
{
	struct node_config c;

	config_defaults(&c);
	if (door == LISTEN_RESP) {
		c.resp.has_password = has & CONFIG_WITHOUT_AUTH;
		c.resp.certificate[0] = has & CONFIG_WITHOUT_TLS ? 'c' : 0;
		c.resp.without = without;
	} else {
		c.http.has_token = has & CONFIG_WITHOUT_AUTH;
		c.http.certificate[0] = has & CONFIG_WITHOUT_TLS ? 'c' : 0;
		c.http.without = without;
	}
	return c;
}

TEST(beyond_loopback_only_with_both)
{
	struct sockaddr_storage near = address("127.0.0.1:1"),
				far = address("10.0.0.1:1");
	unsigned both = CONFIG_WITHOUT_AUTH | CONFIG_WITHOUT_TLS;

	for (unsigned i = 0; i <= both; i++) {
		for (unsigned w = 0; w <= both; w++) {
			for (unsigned d = 0; d < LISTEN_DOORS; d++) {
				struct node_config c = has(d, i, w);

				CHECK_INT(listen_missing(&c, d, &near), ==, 0);
				CHECK_INT(listen_missing(&c, d, &far), ==,
					  both & ~(i | w));
			}
		}
	}
}

TEST(each_door_has_its_own)
{
	struct sockaddr_storage far = address("[::]:1");
	unsigned both = CONFIG_WITHOUT_AUTH | CONFIG_WITHOUT_TLS;
	struct node_config c = has(LISTEN_RESP, both, 0);

	CHECK_INT(listen_missing(&c, LISTEN_HTTP, &far), ==, both);
	c = has(LISTEN_HTTP, 0, both);
	CHECK_INT(listen_missing(&c, LISTEN_RESP, &far), ==, both);
	c.resp.n_users = 1; /* users are authentication as well */
	CHECK_INT(listen_missing(&c, LISTEN_RESP, &far), ==,
		  CONFIG_WITHOUT_TLS);
}

TEST(a_refusal_says_what_to_do)
{
	struct sockaddr_storage far = address("10.0.0.1:77");
	struct node_config c = has(LISTEN_RESP, 0, 0);
	char error[LISTEN_ERROR] = "";

	CHECK_INT(listen_judge(&c, LISTEN_RESP, &far, error), ==, -EPERM);
	CHECK(strstr(error, "resp on 10.0.0.1:77"));
	CHECK(strstr(error, "no authentication and no TLS"));
	CHECK(strstr(error, "--resp-password-file"));
	CHECK(strstr(error, "--resp-tls-cert"));
	CHECK(strstr(error, "--resp-without authentication,tls"));
	c = has(LISTEN_HTTP, CONFIG_WITHOUT_AUTH, 0);
	CHECK_INT(listen_judge(&c, LISTEN_HTTP, &far, error), ==, -EPERM);
	CHECK(strstr(error, "has no TLS: give it http.tls, or"));
	CHECK(!strstr(error, "authentication"));
	c = has(LISTEN_HTTP, CONFIG_WITHOUT_TLS, 0);
	CHECK_INT(listen_judge(&c, LISTEN_HTTP, &far, error), ==, -EPERM);
	CHECK(strstr(error, "has no authentication: give it http.token"));
	CHECK(!strstr(error, "tls"));
	c = has(LISTEN_HTTP, 0, 3);
	CHECK_OK(listen_judge(&c, LISTEN_HTTP, &far, error));
}

/* ---- files */

/* Of this length, in the test's folder. */
static const char *file_of(const char *name, size_t len)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", run_dir(), name);
	f = fopen(path, "we");
	CHECK(f != NULL);
	for (size_t i = 0; i < len; i++)
		fputc('a' + (int)(i % 26), f);
	CHECK_OK(fclose(f));
	return path;
}

TEST(a_file_whole)
{
	char *text = NULL;

	CHECK_OK(pem_load(file_of("one", 1), &text));
	CHECK_STR(text, "a");
	pem_free(text);
	CHECK_OK(pem_load(file_of("most", PEM_BYTES_MAX), &text));
	CHECK_INT(strlen(text), ==, PEM_BYTES_MAX);
	pem_free(text);
	text = NULL;
	CHECK_INT(pem_load(file_of("more", PEM_BYTES_MAX + 1), &text), ==,
		  -EFBIG);
	CHECK_INT(pem_load(file_of("none", 0), &text), ==, -EINVAL);
	CHECK_INT(pem_load("/dev/zero", &text), ==, -EFBIG);
	CHECK_INT(pem_load("/nowhere", &text), ==, -ENOENT);
	CHECK_INT(pem_load("/tmp", &text), ==, -EISDIR);
	CHECK(text == NULL);
	pem_free(NULL);
	run_clean();
}

TEST(a_files_faults)
{
	const char *path = file_of("one", 100);
	uint64_t n = 0;
	char *text;
	int r;

	do {
		text = NULL;
		fault_arm(FAULT_ALL, ++n, false);
		r = pem_load(path, &text);
		CHECK_INT(r == 0, ==, !fault_fired());
		CHECK_INT(r == 0, ==, text != NULL);
		CHECK(r == 0 || r == -ENOMEM || r == -EIO);
	} while (r);
	fault_arm(0, 0, false);
	CHECK_INT(n, ==, 4); /* two pieces of memory and the file */
	pem_free(text);
	run_clean();
}

static void put(char room[CONFIG_FILE], const char *name, const char *text)
{
	FILE *f;

	snprintf(room, CONFIG_FILE, "%s/%s", run_dir(), name);
	f = fopen(room, "we");
	CHECK(f != NULL);
	fputs(text, f);
	CHECK_OK(fclose(f));
}

TEST(files_of_tls)
{
	char error[LISTEN_ERROR] = "";
	struct identity id, other;
	struct node_config c;

	identity_make(&id, "node", NULL);
	identity_make(&other, "other", NULL);
	config_defaults(&c);
	CHECK_OK(listen_check_files(&c, error));
	put(c.http.certificate, "cert.pem", id.certificate_pem);
	CHECK_INT(listen_check_files(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "http.tls: the key is missing"));
	put(c.http.key, "key.pem", id.key_pem);
	CHECK_OK(listen_check_files(&c, error));
	put(c.http.key, "key.pem", other.key_pem);
	CHECK_INT(listen_check_files(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "http.tls: key values mismatch"));
	put(c.http.key, "key.pem", id.key_pem);
	snprintf(c.resp.client_ca, CONFIG_FILE, "%s", c.http.certificate);
	CHECK_INT(listen_check_files(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "resp.tls: the certificate is missing"));
	snprintf(c.resp.certificate, CONFIG_FILE, "%s", c.http.certificate);
	snprintf(c.resp.key, CONFIG_FILE, "/nowhere");
	CHECK_INT(listen_check_files(&c, error), ==, -ENOENT);
	CHECK(strstr(error, "resp.tls.key /nowhere: No such file"));
	put(c.resp.key, "encrypted.pem",
	    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
	    "-----END ENCRYPTED PRIVATE KEY-----\n");
	CHECK_INT(listen_check_files(&c, error), ==, -EINVAL);
	CHECK(strstr(error, "resp.tls: the key is encrypted"));
	snprintf(c.resp.listen, CONFIG_LISTEN, "off");
	CHECK_OK(listen_check_files(&c, error)); /* nobody needs them */
	identity_end(&id);
	identity_end(&other);
	run_clean();
}
